package index

import (
	"math"
	"slices"
	"strconv"

	"waypost/directory"
)

// closure gives everything that lists of a code lead to from an object over any
// number of steps. The object itself is among it only when a way leads back. No
// way leads on from what is closed (nil: nothing is).
func (x *Index) closure(c code, from uint32, closed func(uint32) bool) *bitmap {
	found := new(bitmap)
	todo := []uint32{from}
	for len(todo) > 0 {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		s := x.table.live(id)
		if s == nil || closed != nil && closed(id) {
			continue
		}
		for _, next := range x.links.list(s.links, c) {
			if found.add(next) {
				todo = append(todo, next)
			}
		}
	}
	return found
}

// ids gives the members that are in the table, in order.
func (x *Index) ids(set *bitmap, without uint32) []directory.ObjectID {
	list := make([]directory.ObjectID, 0, set.count)
	for _, id := range set.appendFrom(make([]uint32, 0, set.count), 0, math.MaxInt) {
		if id != without && x.shown(id) {
			list = append(list, objectID(id))
		}
	}
	return list
}

func (x *Index) linkCode(name string) (code, bool) {
	a, ok := x.schema.Attribute(name)
	if !ok {
		return 0, false
	}
	return x.info[a.Number].code()
}

// Linked gives the values of an attribute of DN syntax, forward or back, in
// order of ID.
func (x *Index) Linked(id directory.ObjectID, attribute string) []directory.ObjectID {
	x.mu.RLock()
	defer x.mu.RUnlock()
	s := x.object(id)
	c, ok := x.linkCode(attribute)
	if s == nil || !ok {
		return nil
	}
	var list []directory.ObjectID
	for _, to := range x.links.list(s.links, c) {
		if x.shown(to) {
			list = append(list, objectID(to))
		}
	}
	return list
}

// Tied tells whether links lead to some of these objects, and whether any lead to
// or from them. That something lies below one is none.
func (x *Index) Tied(ids []directory.ObjectID) (led, tied bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, id := range ids {
		s := x.object(id)
		if s == nil {
			return true, true // it is not known here
		}
		x.links.each(s.links, func(c code, _ []uint32) {
			if c != children {
				tied, led = true, led || c&1 == 1
			}
		})
	}
	return led, tied
}

// object gives the slot of an id from outside, nil for none.
func (x *Index) object(id directory.ObjectID) *slot {
	if id < 1 || id > MaxID {
		return nil
	}
	return x.table.live(uint32(id))
}

// Members gives a group's members, with all that are members of those; the
// group itself is not among them, cycles are tolerated. In order of ID.
func (x *Index) Members(id directory.ObjectID) []directory.ObjectID {
	x.mu.RLock()
	defer x.mu.RUnlock()
	c, ok := x.linkCode("member")
	if !ok || x.object(id) == nil {
		return nil
	}
	return x.ids(x.closure(c, uint32(id), nil), uint32(id))
}

// Groups gives the groups that an object is in, directly or by others, and its
// primary group with those that is in. In order of ID.
func (x *Index) Groups(id directory.ObjectID) []directory.ObjectID {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.object(id) == nil {
		return nil
	}
	return x.ids(x.groups(uint32(id), nil), uint32(id))
}

// groups are those that an object is in, none by what hides who is in it (nil:
// nothing does).
func (x *Index) groups(id uint32, hides func(uint32) bool) *bitmap {
	c, ok := x.linkCode("memberOf")
	if !ok {
		return new(bitmap)
	}
	var closed func(uint32) bool
	if hides != nil {
		closed = func(group uint32) bool { return group != id && hides(group) }
	}
	all := x.closure(c, id, closed)
	if primary, ok := x.primaryGroup(id); ok && all.add(primary) {
		all = union([]*bitmap{all, x.closure(c, primary, closed)})
	}
	return all
}

// primaryGroup is the group whose RID primaryGroupID is, in the object's domain.
func (x *Index) primaryGroup(id uint32) (uint32, bool) {
	a, ok := x.schema.Attribute("primaryGroupID")
	if !ok {
		return 0, false
	}
	s := x.table.live(id)
	r := x.record(s)
	values := r.find(uint16(a.Number))
	if len(values) == 0 {
		return 0, false
	}
	v, _ := x.value(values, &r)
	rid, err := strconv.ParseUint(v, 10, 32)
	domain, ok := x.domainSID(s.parent)
	if err != nil || !ok || len(domain) < 8 {
		return 0, false
	}
	sid := []byte(domain)
	sid[1]++
	return x.bySID(string(append(sid, sidTail(uint32(rid))...)))
}

// Children gives at most limit objects directly below, in order of ID after the
// one named, tombstones among them; 0 is no limit.
func (x *Index) Children(id, after directory.ObjectID, limit int) []directory.ObjectID {
	x.mu.RLock()
	defer x.mu.RUnlock()
	s := x.object(id)
	if s == nil || after >= MaxID {
		return nil
	}
	all := x.links.list(s.links, children)
	from, _ := slices.BinarySearch(all, uint32(max(after, 0))+1)
	all = all[from:]
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	list := make([]directory.ObjectID, len(all))
	for i, c := range all {
		list[i] = objectID(c)
	}
	return list
}

// Contexts are the heads of naming contexts (domains, configuration, schema) in
// order of ID.
func (x *Index) Contexts() []directory.ObjectID {
	x.mu.RLock()
	defer x.mu.RUnlock()
	list := make([]directory.ObjectID, len(x.heads))
	for i, id := range x.heads {
		list[i] = objectID(id)
	}
	return list
}
