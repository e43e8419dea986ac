package index

import (
	"bytes"
	"slices"

	"waypost/directory"
	"waypost/internal/fault"
)

// group is how many objects a writer changes at once, while readers wait.
const group = 32

// change is an object made ready to be changed.
type change struct {
	encoded
	object *Object
	links  []newLinks // of Links, unless KeepLinks
	gone   bool
}

// newLinks is a list that replaces the one of before.
type newLinks struct {
	code code
	ids  []uint32
}

// Apply brings in what changed up to usn: objects as they are now, and those
// that are gone for good, with all links to them. A reader sees an object
// before or after, never half; on return all readers see all of it. After a
// fault (Invalid, which names the object) nothing of it is there.
func (x *Index) Apply(usn directory.USN, changed []Object, gone []directory.ObjectID) error {
	x.writer.Lock()
	defer x.writer.Unlock()
	e := &encoder{x: x, info: x.info, schema: x.schema}
	changes := make([]change, 0, len(changed)+len(gone))
	for i := range changed {
		c, err := e.change(&changed[i])
		if err != nil {
			return err
		}
		changes = append(changes, c)
	}
	for _, id := range gone {
		if id >= 1 && id <= MaxID {
			changes = append(changes, change{encoded: encoded{id: uint32(id)}, gone: true})
		}
	}
	if len(e.learn) > 0 {
		x.mu.Lock()
		x.dict.learn(e.learn)
		x.mu.Unlock()
	}
	for len(changes) > 0 {
		n := distinct(changes)
		x.applyGroup(e, changes[:n])
		changes = changes[n:]
	}
	x.mu.Lock()
	x.usn = max(x.usn, usn)
	x.mu.Unlock()
	x.tidy()
	return nil
}

// distinct gives how many changes can be made at once: no object twice.
func distinct(changes []change) int {
	n := min(len(changes), group)
	for i := range n {
		for j := range i {
			if changes[i].id == changes[j].id {
				return i
			}
		}
	}
	return n
}

func (e *encoder) change(o *Object) (change, error) {
	done, err := e.object(o)
	if err != nil {
		return change{}, err
	}
	c := change{encoded: done, object: o}
	if o.KeepLinks {
		for _, l := range o.LinkChanges {
			if _, err := e.linkAttribute(o, l.Attribute); err != nil {
				return change{}, err
			}
			for _, t := range append(slices.Clone(l.Add), l.Remove...) {
				if t < 1 || t > MaxID {
					return change{}, fault.New(fault.Invalid, "object %d: %s leads to %d", o.ID, l.Attribute, t)
				}
			}
		}
		return c, nil
	}
	rows, err := e.linkRows(nil, o)
	if err != nil {
		return change{}, err
	}
	for _, r := range rows {
		at := slices.IndexFunc(c.links, func(l newLinks) bool { return l.code == r.code })
		if at < 0 {
			at = len(c.links)
			c.links = append(c.links, newLinks{code: r.code})
		}
		c.links[at].ids = append(c.links[at].ids, r.id)
	}
	for i := range c.links {
		slices.Sort(c.links[i].ids)
		c.links[i].ids = slices.Compact(c.links[i].ids)
	}
	return c, nil
}

// applyGroup makes some changes, no object twice among them.
func (x *Index) applyGroup(e *encoder, changes []change) {
	// What the indexes get is computed beforehand: nobody else writes.
	var news keys
	var dirty []uint32
	var buf []byte
	var was, is keys
	for i := range changes {
		c := &changes[i]
		was.reset()
		is.reset()
		if s := x.table.live(c.id); s != nil {
			r := x.record(s)
			buf = x.keysOf(&was, x.info, c.id, s.parent, &r, buf)
		}
		if !c.gone {
			r := parseRecord(body(e.out[c.from:c.to]))
			buf = x.keysOf(&is, x.info, c.id, c.parent, &r, buf)
		}
		slices.Sort(was.pairs)
		slices.Sort(is.pairs)
		slices.SortFunc(was.places, comparePlaces)
		slices.SortFunc(is.places, comparePlaces)
		pairs, places := len(news.pairs), len(news.places)
		news.pairs = less(news.pairs, is.pairs, was.pairs, comparePairs)
		news.places = less(news.places, is.places, was.places, comparePlaces)
		x.stale += max(0, len(was.pairs)+len(was.places)+len(news.pairs)-pairs+len(news.places)-places-len(is.pairs)-len(is.places))
		if len(is.grams) > 0 && !bytes.Equal(was.grams, is.grams) {
			dirty = append(dirty, c.id)
		}
	}
	slices.Sort(news.pairs)
	slices.SortFunc(news.places, comparePlaces)
	pairs := x.pairs.with(slices.Compact(news.pairs))
	places := with(x.places, slices.Compact(news.places), comparePlaces)

	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range changes {
		if changes[i].gone {
			x.remove(changes[i].id)
		} else {
			x.replace(&changes[i], e.out)
		}
	}
	x.pairs, x.places = pairs, places
	x.grams.dirty = append(x.grams.dirty, dirty...)
}

func (k *keys) reset() {
	k.pairs, k.places, k.grams = k.pairs[:0], k.places[:0], k.grams[:0]
}

// body cuts the length of a record off.
func body(b []byte) []byte {
	n, rest := uvarint(b)
	return rest[:n]
}

// less appends what is in a and not in b, both sorted.
func less[T any](dst, a, b []T, compare func(a, b T) int) []T {
	for _, v := range a {
		for len(b) > 0 && compare(b[0], v) < 0 {
			b = b[1:]
		}
		if len(b) == 0 || compare(b[0], v) != 0 {
			dst = append(dst, v)
		}
	}
	return dst
}

// replace puts an object in the place of what it was. The lock is held.
func (x *Index) replace(c *change, out []byte) {
	s := x.table.at(c.id)
	renamed := false
	if s.record != 0 {
		r := x.record(s)
		n := parseRecord(body(out[c.from:c.to]))
		renamed = s.parent != c.parent || r.rdn != n.rdn || r.rdnAttr != n.rdnAttr
		x.unmark(c.id, s, &r)
		x.slabs.dead += len(x.slabs.get(s.record))
	} else {
		x.table.count++
		x.ghosts.remove(c.id)
	}
	if s.record == 0 || s.parent != c.parent {
		if s.record != 0 && s.parent != 0 {
			x.unlink(s.parent, children, c.id)
		}
		if c.parent != 0 {
			x.leadTo(c.parent, children, c.id)
		}
	}
	s.record, s.parent, s.class, s.flags = x.slabs.put(out[c.from:c.to]), c.parent, c.class, c.flags
	if c.parent == 0 {
		x.root = c.id
	}
	if renamed && len(x.links.list(s.links, children)) > 0 {
		x.names.Add(1)
	} else if renamed {
		x.cache.forget(c.id) // it may have been a container before
	}
	x.named(c.rdnAttr, c.parent)
	r := x.record(s)
	m := indexes{present: x.present, classes: x.classes, extra: x.extra, heads: x.heads}
	m.deleted[0] = x.deleted
	m.mark(c.id, s, &r)
	x.deleted, x.heads = m.deleted[0], m.heads
	if s.flags&flagHead != 0 {
		slices.Sort(x.heads)
		x.names.Add(1)
	}
	x.history.add(r.changed, c.id)
	if n := len(x.history.usns); n > 1 && x.history.usns[n-2] > r.changed {
		x.history.settle()
	}
	x.relink(c, s)
}

// settle puts the newest entry of a history, which came late, into its place.
func (h *history) settle() {
	for n := len(h.usns) - 1; n > 0 && h.usns[n-1] > h.usns[n]; n-- {
		h.Swap(n, n-1)
	}
}

// relink brings the object's links to what c says.
func (x *Index) relink(c *change, s *slot) {
	if c.object.KeepLinks {
		for _, l := range c.object.LinkChanges {
			a, _ := x.schema.Attribute(l.Attribute) // e.change has found it
			way := forward(uint16(a.Number))
			for _, t := range l.Remove {
				x.links.remove(&s.links, way, uint32(t))
				x.unlink(uint32(t), way|1, c.id)
			}
			for _, t := range l.Add {
				x.links.add(&s.links, way, uint32(t))
				x.leadTo(uint32(t), way|1, c.id)
			}
		}
		return
	}
	var drop []newLinks
	x.links.each(s.links, func(way code, ids []uint32) {
		if way&1 == 0 && !slices.ContainsFunc(c.links, func(l newLinks) bool { return l.code == way }) {
			drop = append(drop, newLinks{code: way})
		}
	})
	for _, l := range append(drop, c.links...) {
		old := slices.Clone(x.links.list(s.links, l.code))
		for _, t := range less(nil, old, l.ids, compareIDs) {
			x.unlink(t, l.code|1, c.id)
		}
		for _, t := range less(nil, l.ids, old, compareIDs) {
			x.leadTo(t, l.code|1, c.id)
		}
		if !slices.Equal(old, l.ids) {
			s.links = x.links.set(s.links, l.code, l.ids)
		}
	}
}

func compareIDs(a, b uint32) int { return comparePairs(uint64(a), uint64(b)) }

// leadTo puts id into a list of another object, which need not be here.
func (x *Index) leadTo(target uint32, c code, id uint32) {
	s := x.table.at(target)
	x.links.add(&s.links, c, id)
	if s.record == 0 {
		x.ghosts.add(target)
	}
}

// unlink takes id out of a list of another object.
func (x *Index) unlink(of uint32, c code, id uint32) {
	if s := x.table.get(of); s != nil {
		x.links.remove(&s.links, c, id)
	}
}

// unmark takes back what mark noted.
func (x *Index) unmark(id uint32, s *slot, r *record) {
	x.classes[s.class].remove(id)
	each(r.extra, func(n uint16) { x.extra[n].remove(id) })
	each(r.cold, func(n uint16) { x.present[n].remove(id) })
	for b := r.stored; len(b) > 0; {
		var n uint16
		n, _, b = next(b)
		x.present[n].remove(id)
	}
	x.deleted.remove(id)
	if s.flags&flagHead != 0 {
		x.heads = slices.DeleteFunc(slices.Clone(x.heads), func(h uint32) bool { return h == id })
	}
}

// remove takes an object away for good, with the links from and to it. The lock
// is held.
func (x *Index) remove(id uint32) {
	s := x.table.live(id)
	if s == nil {
		return
	}
	r := x.record(s)
	x.unmark(id, s, &r)
	x.slabs.dead += len(x.slabs.get(s.record))
	x.table.count--
	if s.parent != 0 {
		x.unlink(s.parent, children, id)
	}
	var lists []newLinks
	x.links.each(s.links, func(way code, ids []uint32) {
		if way != children {
			lists = append(lists, newLinks{way, slices.Clone(ids)})
		}
	})
	for _, l := range lists {
		for _, other := range l.ids {
			x.unlink(other, l.code^1, id)
		}
		s.links = x.links.set(s.links, l.code, nil)
	}
	if s.links != 0 || s.flags&flagHead != 0 {
		x.names.Add(1) // something lies below still, or it was a context
	}
	x.cache.forget(id)
	s.record, s.parent, s.class, s.flags = 0, 0, 0, 0
}

// tidy merges and makes anew what changes have left behind. The writer's lock
// is held; readers go on meanwhile.
func (x *Index) tidy() {
	if len(x.grams.dirty) >= maxDirty {
		x.undirty()
	}
	if n := len(x.history.ids); n > 2*x.table.count+1024 {
		x.mu.Lock()
		x.history = x.history.newest(&x.table, x.slabs.get)
		x.mu.Unlock()
	}
	live := 0
	for _, p := range x.pairs.pieces {
		live += len(p)
	}
	for _, p := range x.places {
		live += len(p)
	}
	if x.stale > 1<<14 && x.stale > live/2 || x.slabs.dead > 16*slabSize && x.slabs.dead > x.slabs.total/2 {
		x.rebuild()
	}
}

// undirty makes a piece of the dirty objects' grams.
func (x *Index) undirty() {
	ids := slices.Clone(x.grams.dirty)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	b := newGramBuilder()
	var k keys
	var buf []byte
	for _, id := range ids {
		if s := x.table.live(id); s != nil {
			r := x.record(s)
			k.reset()
			buf = x.keysOf(&k, x.info, id, s.parent, &r, buf)
			b.begin(id)
			b.add(k.grams)
		}
	}
	g := gramIndex{pieces: x.grams.pieces}
	g.grow(b.piece())
	x.mu.Lock()
	defer x.mu.Unlock()
	x.grams = g
}

// newest keeps each object's last change.
func (h *history) newest(t *table, get func(place uint64) []byte) history {
	var kept history
	for i, id := range h.ids {
		if s := t.live(id); s != nil {
			if r := parseRecord(get(s.record)); r.changed == h.usns[i] {
				if n := len(kept.ids); n == 0 || kept.ids[n-1] != id || kept.usns[n-1] != r.changed {
					kept.add(r.changed, id)
				}
			}
		}
	}
	return kept
}

// rebuild copies the records that are used and makes all indexes anew.
func (x *Index) rebuild() {
	var fresh slabs
	var ids []uint32
	var places []uint64
	x.table.each(0, func(id uint32, s *slot) bool {
		record := x.slabs.get(s.record)
		whole := make([]byte, 0, len(record)+4)
		whole = appendLength(whole, record)
		ids, places = append(ids, id), append(places, fresh.put(whole))
		return true
	})
	m := x.makeIndexes()
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, id := range ids {
		x.table.get(id).record = places[i]
	}
	x.slabs = fresh
	m.put(x)
}

func appendLength(dst, record []byte) []byte {
	return appendText(dst, text(record))
}
