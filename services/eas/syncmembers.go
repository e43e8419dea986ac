package eas

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"waypost/services/eas/wbxml"
	"waypost/store"
)

// Under a filter an appointment or a task is in reach or not by what it says,
// which changes; so what the phone holds cannot be computed from the journal
// and is kept as a list of items.

// members are the items of a collection that a phone holds, in order. All
// methods work on nil, which keeps none.
type members struct{ items []store.ItemID }

func (m *members) has(i store.ItemID) bool {
	if m == nil {
		return false
	}
	_, ok := slices.BinarySearch(m.items, i)
	return ok
}

func (m *members) add(i store.ItemID) {
	if m == nil {
		return
	}
	if at, ok := slices.BinarySearch(m.items, i); !ok {
		m.items = slices.Insert(m.items, at, i)
	}
}

func (m *members) remove(i store.ItemID) {
	if m == nil {
		return
	}
	if at, ok := slices.BinarySearch(m.items, i); ok {
		m.items = slices.Delete(m.items, at, at+1)
	}
}

// note keeps the list in step with what the phone is told.
func (m *members) note(o op) {
	switch o.kind {
	case opAdd, opChange:
		m.add(o.item)
	case opDelete, opSoftDelete:
		m.remove(o.item)
	}
}

func (m *members) clone() *members {
	if m == nil {
		return nil
	}
	return &members{slices.Clone(m.items)}
}

// append writes the list as distances, which are short; nil writes nothing.
func (m *members) append(b []byte) []byte {
	if m == nil {
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(m.items)))
	last := store.ItemID(0)
	for _, i := range m.items {
		b = binary.AppendUvarint(b, uint64(i-last))
		last = i
	}
	return b
}

func (r *stateReader) members() *members {
	m := &members{}
	last := store.ItemID(0)
	for range r.count(1) {
		last += store.ItemID(r.uint())
		m.items = append(m.items, last)
	}
	if !slices.IsSorted(m.items) {
		r.bad = true
	}
	return m
}

// cutoff is where the filter of the phone wants the collection to begin, as
// Unix seconds; 0 is everything. Of tasks 1 means those that are not done.
func (p *planner) cutoff(v *view) int64 {
	f := v.opts.filter
	switch p.folder.Class {
	case store.ClassMail:
		return filterStart(f, p.now)
	case store.ClassCalendar:
		if f == 0 || f == 8 {
			return 0
		}
		// Two weeks are the shortest (MS-ASCMD 2.2.3.68.2). A day is the step.
		return filterStart(max(f, 4), p.now.UTC().Truncate(24*time.Hour))
	case store.ClassTasks:
		if f == 8 {
			return 1
		}
	}
	return 0
}

// reach is what a filter asks of an object.
type reach struct {
	ends int64 // Unix seconds after which nothing of it happens; of a task 0 when it is done
}

const endless = 1<<63 - 1

// look reads what the filter asks of objects.
func (p *planner) look(ctx context.Context, v *view, entries []store.Entry) error {
	if p.isMail() || v.members == nil || len(entries) == 0 {
		return nil
	}
	if p.inside == nil {
		p.inside = map[store.ItemID]reach{}
	}
	if p.folder.Class == store.ClassTasks {
		return p.lookAtTasks(ctx, entries)
	}
	for part := range slices.Chunk(entries, 1000) {
		objects, err := p.objects.ObjectsOf(ctx, p.as, p.box, itemsOf(part))
		if err != nil {
			return err
		}
		for i, o := range objects {
			switch {
			case o == nil:
				delete(p.inside, part[i].Item)
			case o.Ends.IsZero():
				p.inside[part[i].Item] = reach{endless}
			default:
				p.inside[part[i].Item] = reach{o.Ends.Unix()}
			}
		}
	}
	return nil
}

// lookAtTasks reads whether tasks are done, which only their texts tell.
func (p *planner) lookAtTasks(ctx context.Context, entries []store.Entry) error {
	for len(entries) > 0 {
		n, bytes := 1, entries[0].Size
		for n < len(entries) && n < 1000 && bytes+entries[n].Size <= maxAnswer {
			bytes += entries[n].Size
			n++
		}
		objects, err := p.objects.Objects(ctx, p.as, p.box, itemsOf(entries[:n]))
		if err != nil {
			return err
		}
		for i, o := range objects {
			r := reach{endless}
			if o == nil || taskDone(o.Text) {
				r.ends = 0
			}
			p.inside[entries[i].Item] = r
		}
		entries = entries[n:]
	}
	return nil
}

func itemsOf(entries []store.Entry) []store.ItemID {
	items := make([]store.ItemID, len(entries))
	for i, e := range entries {
		items[i] = e.Item
	}
	return items
}

// wants tells whether an item is in reach of the filter.
func (p *planner) wants(v *view, e *store.Entry) bool {
	switch {
	case p.isMail():
		return v.wants(e.Item, e.Received)
	case v.members == nil:
		return true
	}
	from := v.cutoff
	if s := v.shift; s != nil && e.Item <= s.after {
		from = s.to
	}
	return from == 0 || p.inside[e.Item].ends >= from
}

// refilter goes through a collection of objects once for a filter that has
// moved: what falls out of its reach is soft-deleted, what comes into it added.
func (p *planner) refilter(ctx context.Context, pl *plan) error {
	v := &pl.view
	for p.page(pl) {
		limit := p.limit(pl)
		entries, err := p.mail.Aged(ctx, p.as, p.box, p.folder.ID, time.Time{}, farAhead, v.shift.after, limit)
		if err != nil {
			return err
		}
		if err := p.look(ctx, v, entries); err != nil {
			return err
		}
		inside := func(e *store.Entry) bool { return v.shift.to == 0 || p.inside[e.Item].ends >= v.shift.to }
		var told []store.Entry
		for i := range entries {
			if e := &entries[i]; inside(e) && !v.holds(e.Item, e.Entered, still, e.Received) {
				told = append(told, *e)
			}
		}
		contents, err := p.contents(ctx, pl, told)
		if err != nil {
			return err
		}
		if ok, stop, err := p.settled(ctx, pl); err != nil || stop {
			return err
		} else if !ok {
			continue
		}
		for i := range entries {
			e := &entries[i]
			o, size := op{item: e.Item, entry: *e}, int64(deletionBytes)
			holds := v.holds(e.Item, e.Entered, still, e.Received)
			switch {
			case after(e.Entered, e.Item, v.pos): // comes with the changes
			case inside(e) && !holds:
				o.wide = contents[e.Item]
				if o.later {
					return nil
				}
				if !o.gone() || p.estimate {
					o.kind, size = opAdd, p.size(o.wide, &v.opts)
				}
			case !inside(e) && holds:
				o.kind = opSoftDelete
			}
			if o.kind != opNone {
				if !p.room(pl, size) {
					return nil
				}
				pl.put(o, size)
				v.members.note(o)
				if o.kind == opSoftDelete {
					v.resolve(e.Item, e.Entered)
				}
			}
			v.shift.after = e.Item
		}
		if len(entries) < limit {
			if v.cutoff, v.shift = v.shift.to, nil; v.cutoff == 0 {
				v.members = nil // all that is here: computed again
			}
			return nil
		}
	}
	return nil
}

// farAhead is after all times of receipt.
var farAhead = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// countMembers lists what the phone holds of a collection that had no filter
// so far. ok is false when changes came between, and it is to be tried again.
func (p *planner) countMembers(ctx context.Context, pl *plan) (ok bool, err error) {
	v := &pl.view
	m := &members{}
	const rows = 1000
	for at := store.ItemID(0); ; {
		entries, err := p.mail.Aged(ctx, p.as, p.box, p.folder.ID, time.Time{}, farAhead, at, rows)
		if err != nil {
			return false, err
		}
		for i := range entries {
			e := &entries[i]
			if !after(e.Entered, e.Item, v.pos) && v.holds(e.Item, e.Entered, still, e.Received) {
				m.add(e.Item)
			}
			at = e.Item
		}
		if len(entries) < rows {
			break
		}
	}
	if ok, stop, err := p.settled(ctx, pl); err != nil || stop || !ok {
		return false, err
	}
	v.members = m
	return true, nil
}

// objectContents reads objects with their texts, the first ones that fit.
func (p *planner) objectContents(ctx context.Context, pl *plan, entries []store.Entry) (map[store.ItemID]wide, error) {
	contents := make(map[store.ItemID]wide, len(entries))
	n, bytes := 0, pl.bytes
	for n < len(entries) && n < 1000 {
		bytes += itemOverhead + entries[n].Size
		if bytes > p.budget && (n > 0 || pl.live > 0) {
			break
		}
		n++
	}
	for _, e := range entries[n:] {
		contents[e.Item] = wide{later: true}
	}
	if n == 0 {
		return contents, nil
	}
	objects, err := p.objects.Objects(ctx, p.as, p.box, itemsOf(entries[:n]))
	if err != nil {
		return nil, err
	}
	for i, o := range objects {
		if o != nil {
			contents[entries[i].Item] = wide{obj: o}
		}
	}
	return contents, nil
}

// classOf is the class of a folder in ActiveSync's words.
func classOf(f *store.Folder) string { return served[f.Class].name }

// knows tells whether a version of the protocol has the folder's class.
func knows(f *store.Folder, v wbxml.Version) bool {
	c, ok := served[f.Class]
	return ok && v >= c.since
}
