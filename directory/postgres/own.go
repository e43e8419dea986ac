package postgres

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"waypost/directory"
	"waypost/directory/index"
	"waypost/directory/schema"
	"waypost/directory/tree"
)

// ownWrites are new and removed objects as this process has written them: when
// nobody else has changed anything meanwhile, they need not be read from the
// tables again.
// An import would else spend a third of its time on that. Check compares the
// outcome with the tables.
type ownWrites struct {
	base    directory.USN // the newest change before
	all     bool          // there was nothing else
	objects []index.Object
	entries map[directory.ObjectID]*entry
	changes []directory.Change
}

func newOwnWrites(base directory.USN) *ownWrites {
	return &ownWrites{base: base, entries: map[directory.ObjectID]*entry{}}
}

// add takes a new object with what was derived of it.
func (w *ownWrites) add(sch *schema.Schema, d *draft, dv derived, links map[linkTo]bool, nameOf func(int32) string) {
	o := d.o
	x := index.Object{
		ID: o.id, Parent: o.parent, Created: o.usn, Changed: o.usn, CreatedAt: o.created, ChangedAt: o.created,
		Class: o.class, Extra: o.extra, RDN: tree.AVA{Attribute: o.naming, Value: o.rdn},
	}
	x.GUID, _ = schema.ParseGUID(o.guid)
	if len(o.sid) == 28 {
		x.RID = binary.LittleEndian.Uint32(o.sid[24:])
	}
	for name, values := range o.attrs {
		a, ok := sch.Attribute(name)
		if !ok || a.Syntax.DN() || name == o.naming && len(values) == 1 {
			continue
		}
		x.Attributes = append(x.Attributes, tree.Attribute{Name: a.Name, Values: decodeAll(a, values)})
	}
	for name := range d.cold {
		x.Cold = append(x.Cold, name)
	}
	e := &entry{
		id: o.id, parent: o.parent, usn: o.usn, class: o.class, rdn: o.rdn, family: familyOf(sch, o.class), mailbox: o.openMailbox(),
		quota: dv.quota, roles: dv.roles, kind: dv.kind, hidden: dv.hidden, address: dv.address, name: dv.name, homeMDB: dv.homeMDB,
		terms: dv.terms, names: packNames(dv.keys),
	}
	c := directory.Change{USN: o.usn, ID: o.id, Kind: dv.kind}
	if o.account != nil {
		e.epoch, e.enabled = o.account.epoch, o.account.enabled
		c.Epoch, c.Enabled = e.epoch, e.enabled
		if d.expires != nil {
			e.expires = d.expires.Unix()
		}
	}
	e.describe(&x)
	targets := map[string][]directory.ObjectID{}
	if o.home != 0 {
		targets["homeMDB"] = []directory.ObjectID{o.home}
	}
	for l := range links {
		if name := nameOf(l.attribute); name != "" {
			targets[name] = append(targets[name], l.target)
		}
		switch l.attribute {
		case linkMember:
			e.members = append(e.members, uint32(l.target)) //nolint:gosec // index.MaxID bounds ids
		case linkOwner, linkManagedBy:
			e.owners = append(e.owners, uint32(l.target)) //nolint:gosec // index.MaxID bounds ids
		}
	}
	slices.Sort(e.members)
	for name, ids := range targets {
		slices.Sort(ids)
		x.Links = append(x.Links, index.Link{Attribute: name, Targets: ids})
	}
	slices.SortFunc(x.Links, func(a, b index.Link) int { return strings.Compare(a.Attribute, b.Attribute) })
	w.objects = append(w.objects, x)
	w.entries[o.id] = e
	w.changes = append(w.changes, c)
}

// bury takes an object that became a tombstone.
func (w *ownWrites) bury(sch *schema.Schema, o *object, kept attributes, g grave, now time.Time) {
	x := index.Object{
		ID: o.id, Parent: g.in, Created: g.created, Changed: o.usn, CreatedAt: o.created, ChangedAt: now, Deleted: true,
		Class: o.class, Extra: o.extra, RDN: tree.AVA{Attribute: o.naming, Value: kept.get(o.naming)},
		Links: []index.Link{{Attribute: "lastKnownParent", Targets: []directory.ObjectID{o.parent}}},
	}
	if a, ok := sch.Attribute(o.naming); ok {
		x.RDN.Attribute = a.Name
	}
	x.GUID, _ = schema.ParseGUID(o.guid)
	if len(o.sid) > 0 {
		x.Attributes = append(x.Attributes, tree.Attribute{Name: "objectSid", Values: []string{string(o.sid)}})
	}
	for name, values := range kept {
		if a, ok := sch.Attribute(name); ok && !a.Syntax.DN() && a.Name != x.RDN.Attribute {
			x.Attributes = append(x.Attributes, tree.Attribute{Name: a.Name, Values: decodeAll(a, values)})
		}
	}
	w.objects = append(w.objects, x)
	w.changes = append(w.changes, g.change)
}

// take adds what one job wrote.
func (w *ownWrites) take(job *ownWrites) {
	w.all = w.all && job.all
	if !w.all {
		return
	}
	w.objects, w.changes = append(w.objects, job.objects...), append(w.changes, job.changes...)
	for id, e := range job.entries {
		w.entries[id] = e
	}
}

// applyOwn brings what this process wrote into the view without reading it,
// when the view is at the change before; false when it must be read.
func (s *Store) applyOwn(ctx context.Context, own *ownWrites, usn directory.USN) bool {
	if !own.all || len(own.objects) == 0 {
		return false
	}
	select {
	case s.sync <- struct{}{}:
		defer func() { <-s.sync }()
	case <-ctx.Done():
		return false
	}
	if s.view.now() != own.base || s.whole != own.base {
		return false
	}
	if err := s.index.Load().Apply(usn, own.objects, nil); err != nil {
		return false // reading tells what is wrong
	}
	ids := make([]directory.ObjectID, len(own.changes))
	for i, c := range own.changes {
		ids[i] = c.ID
	}
	s.view.apply(usn, ids, own.entries)
	s.whole = usn
	s.feed.push(own.changes, usn)
	return true
}
