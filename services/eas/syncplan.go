package eas

import (
	"cmp"
	"context"
	"slices"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// What a Sync tells a phone is planned before the first byte is written: the
// answer begins with the new key and the word that more is to come, and the
// state is saved before the answer leaves.

const (
	pageRows      = 512             // rows asked of the store at a time
	maxPages      = 40              // pages one collection may read for one answer
	maxAnswer     = 2 << 20         // bytes of items in one answer, estimated
	maxPlanning   = 8 * time.Second // after it, the rest comes in the next answer
	cutoffStep    = 30 * 60         // seconds: smaller moves of the cut-off wait
	itemOverhead  = 700             // bytes of an item besides its body
	changeBytes   = 60              // bytes of a change of marks
	deletionBytes = 20              // bytes of a Delete or SoftDelete
)

type opKind uint8

const (
	opNone opKind = iota // an Add whose item left again
	opAdd
	opChange
	opDelete
	opSoftDelete
)

// op is one element of Commands in an answer.
type op struct {
	kind  opKind
	item  store.ItemID
	entry store.Entry
	wide  // of an Add, and of a Change of what is no mail
}

// wide is an item's wide part: a message, or an object with its text.
type wide struct {
	msg   *store.Message
	obj   *store.Object
	later bool // it was not read: there is no room for it
}

func (w wide) gone() bool { return w.msg == nil && w.obj == nil }

// plan is the answer for one collection.
type plan struct {
	ops   []op
	index map[store.ItemID]int
	live  int   // ops that are not opNone
	bytes int64 // estimated
	view  view  // what the phone holds after it
	more  bool
}

// planner makes plans for one collection.
type planner struct {
	mail    itemStore
	objects objectReader
	as      directory.Principal
	box     store.MailboxID
	folder  store.Folder
	version wbxml.Version
	now     time.Time
	window  int   // items at most
	budget  int64 // bytes at most; one item always fits an empty answer
	// estimate: only the number of ops matters.
	estimate bool
	pages    int
	deadline time.Time
	vanished store.ItemID // an item whose message was not there
	// inside tells of objects under a filter whether they are in its reach.
	inside map[store.ItemID]reach
}

// run plans the answer for a phone that holds v.
func (p *planner) run(ctx context.Context, v view) (*plan, error) {
	pl := &plan{view: v, index: map[store.ItemID]int{}}
	p.deadline = time.Now().Add(maxPlanning)
	if !pl.view.started {
		p.start(&pl.view)
	}
	caughtUp, err := p.changes(ctx, pl)
	if err != nil {
		return nil, err
	}
	if caughtUp {
		if caughtUp, err = p.arrivals(ctx, pl); err != nil {
			return nil, err
		}
	}
	if caughtUp {
		if err := p.moveCutoff(ctx, pl); err != nil {
			return nil, err
		}
		if err := p.download(ctx, pl); err != nil {
			return nil, err
		}
	}
	v = pl.view
	pl.more = !caughtUp || v.load != nil || v.shift != nil || p.shiftDue(&v)
	pl.view.prune(caughtUp)
	return pl, nil
}

// start begins a collection: the first download goes up to this moment.
func (p *planner) start(v *view) {
	v.started = true
	v.pos = store.After(p.folder.HighestSeq)
	v.load = &download{upTo: p.folder.HighestSeq}
	v.cutoff = p.cutoff(v)
	if !p.isMail() && v.cutoff != 0 {
		v.members = &members{}
	}
}

func (p *planner) isMail() bool { return p.folder.Class == store.ClassMail }

// carries tells whether an op brings the item's wide part. Of mail only marks
// change; an object is told anew.
func (p *planner) carries(k opKind) bool { return k == opAdd || k == opChange && !p.isMail() }

// room tells whether one more op of that size fits.
func (p *planner) room(pl *plan, bytes int64) bool {
	if p.estimate {
		return true
	}
	return pl.live < p.window && (pl.live == 0 || pl.bytes+bytes <= p.budget)
}

// page tells whether another page may be read.
func (p *planner) page(pl *plan) bool {
	p.pages++
	return p.pages <= maxPages && (p.pages == 1 || pl.live < p.window || p.estimate) && time.Now().Before(p.deadline)
}

func (p *planner) limit(pl *plan) int {
	if p.estimate {
		return pageRows
	}
	return min(max(p.window-pl.live, 0)+16, pageRows)
}

// put adds an op, joined with what this answer says of the item already, for a
// phone must not be told of one item twice.
func (pl *plan) put(o op, bytes int64) {
	i, ok := pl.index[o.item]
	if !ok {
		pl.index[o.item] = len(pl.ops)
		pl.ops = append(pl.ops, o)
		pl.live++
		pl.bytes += bytes
		return
	}
	was := &pl.ops[i]
	gone := o.kind == opDelete || o.kind == opSoftDelete
	switch was.kind {
	case opNone: // the phone does not have it
		if o.kind == opAdd {
			*was = o
			pl.live++
		}
	case opAdd:
		if gone {
			was.kind = opNone
			pl.live--
		} else {
			was.entry = o.entry
			if !o.gone() {
				was.wide = o.wide
			}
		}
	case opChange:
		if !gone {
			o.kind = opChange
		}
		*was = o
	default: // it was to go and is back: its content is the same
		if !gone {
			o.kind = opChange
		}
		*was = o
	}
}

// event is one change of a page: an entry, or a tombstone.
type event struct {
	seq   store.Seq
	item  store.ItemID
	entry *store.Entry
	tomb  *store.Tombstone
}

// journal puts a page's entries and tombstones into the order of the journal:
// arrivals stand where they entered, other entries where they changed.
func journal(c *store.Changes) []event {
	events := make([]event, 0, len(c.Changed)+len(c.Gone))
	for i := range c.Changed {
		e := &c.Changed[i]
		at := e.Changed
		if c.IsNew(e) {
			at = e.Entered
		}
		events = append(events, event{seq: at, item: e.Item, entry: e})
	}
	for i := range c.Gone {
		t := &c.Gone[i]
		events = append(events, event{seq: t.Left, item: t.Item, tomb: t})
	}
	slices.SortStableFunc(events, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.item, b.item))
	})
	return events
}

// changes plans what happened after the view's position, as far as there is
// room; it tells whether that was all.
func (p *planner) changes(ctx context.Context, pl *plan) (all bool, err error) {
	v := &pl.view
	defer v.passed()
reading:
	for p.page(pl) {
		since := v.pos
		c, err := p.mail.Changes(ctx, p.as, p.box, p.folder.ID, since, p.limit(pl))
		if err != nil {
			return false, err
		}
		if err := v.reads(c.Folder.HighestSeq); err != nil {
			return false, err
		}
		events := journal(&c)
		if err := p.look(ctx, v, c.Changed); err != nil {
			return false, err
		}
		ops := make([]op, len(events))
		var told []store.Entry
		for i, e := range events {
			ops[i] = p.judge(v, since, e)
			if p.carries(ops[i].kind) {
				told = append(told, *e.entry)
			}
		}
		contents, err := p.contents(ctx, pl, told)
		if err != nil {
			return false, err
		}
		for i, e := range events {
			o := ops[i]
			size := int64(deletionBytes)
			switch {
			case p.carries(o.kind):
				o.wide = contents[e.item]
				if o.later {
					return false, nil
				}
				if o.gone() && !p.estimate {
					if p.vanished != e.item { // gone since: the journal says so now
						p.vanished = e.item
						continue reading
					}
					o.kind = opNone
				} else {
					size = p.size(o.wide, &v.opts)
				}
			case o.kind == opChange:
				size = changeBytes
			}
			if o.kind != opNone {
				if !p.room(pl, size) {
					return false, nil
				}
				pl.put(o, size)
			}
			switch {
			case e.entry != nil && after(e.entry.Entered, e.item, since):
				if v.arrived(e.item, e.entry.Entered) {
					v.members.add(e.item)
				}
				v.resolve(e.item, e.entry.Entered)
			case e.tomb != nil:
				v.members.remove(e.item)
				v.resolve(e.item, e.tomb.Left)
			}
			v.members.note(o)
			v.pos = store.Position{Seq: e.seq, Item: e.item + 1}
		}
		if !c.More {
			v.pos = store.After(max(c.Folder.HighestSeq, v.pos.Seq))
			return true, nil
		}
		v.pos = c.Position
	}
	return false, nil
}

// settled tells whether nothing has changed since the position: what was read
// of the folder meanwhile is the folder as of there. What has changed is
// planned first, and stop tells that it leaves no room.
func (p *planner) settled(ctx context.Context, pl *plan) (ok, stop bool, err error) {
	was := pl.view.pos
	all, err := p.changes(ctx, pl)
	return pl.view.pos == was, !all, err
}

// judge decides what a change means to the phone that holds v; since is the
// position that the page begins at.
func (p *planner) judge(v *view, since store.Position, e event) op {
	if e.tomb != nil {
		t := e.tomb
		// A phone's own deletion, an item that it never had, or one that it has
		// itself brought back since.
		if v.arrived(t.Item, still) && !v.arrived(t.Item, t.Left) || after(t.Entered, t.Item, since) || !v.holds(t.Item, t.Entered, t.Left, t.Received) {
			return op{}
		}
		return op{kind: opDelete, item: t.Item}
	}
	n := e.entry
	o := op{item: n.Item, entry: *n}
	switch {
	case !after(n.Entered, n.Item, since):
		holds := v.holds(n.Item, n.Entered, still, n.Received)
		switch {
		case v.members == nil: // whether mail is in reach does not change with it
			if holds && !v.hasEcho(n.Item, n.Changed) {
				o.kind = opChange
			}
		case holds && !p.wants(v, n):
			o.kind = opSoftDelete
		case holds && !v.hasEcho(n.Item, n.Changed):
			o.kind = opChange
		case !holds && p.wants(v, n) && !v.toCome(n):
			o.kind = opAdd
		}
	case v.arrived(n.Item, n.Entered):
		switch {
		case !p.wants(v, n): // brought here from out of the filter's reach
			o.kind = opSoftDelete
		case !v.hasEcho(n.Item, n.Changed):
			o.kind = opChange
		}
	case p.wants(v, n):
		o.kind = opAdd
	}
	return o
}

// arrivals looks after the items that the phone brought here and whose arrival
// lies behind the position. One that left before that was read is not here: no
// tombstone speaks of it. One that had been told already when the phone brought
// it too is told again, because the phone may have kept either. all tells
// whether all were dealt with.
func (p *planner) arrivals(ctx context.Context, pl *plan) (all bool, err error) {
	v := &pl.view
	var lost []store.ItemID
	stale, waits, back := map[store.ItemID]bool{}, map[store.ItemID]bool{}, map[store.ItemID]bool{}
	for i := range v.echoes {
		switch e := &v.echoes[i]; {
		case after(e.seq, e.item, v.pos):
		case e.back && !back[e.item]:
			lost = append(lost, e.item)
			back[e.item] = true
		case e.arrival && v.arrived(e.item, still) && !back[e.item]:
			lost = append(lost, e.item)
			stale[e.item] = stale[e.item] || e.stale
		}
	}
	all = true
	for len(lost) > 0 {
		n := min(len(lost), 1000)
		entries, err := p.mail.EntriesOf(ctx, p.as, p.box, lost[:n])
		if err != nil {
			return false, err
		}
		if err := p.look(ctx, v, entries); err != nil {
			return false, err
		}
		var told []store.Entry
		here := make(map[store.ItemID]op, len(entries))
		for _, e := range entries {
			o := op{item: e.Item, entry: e}
			switch {
			case e.Folder != p.folder.ID:
				continue
			case after(e.Entered, e.Item, v.pos): // it has just come back
				all, waits[e.Item] = false, true
			case back[e.Item] && p.wants(v, &e) && !v.toCome(&e):
				o.kind = opAdd
			case back[e.Item]: // not in reach, or the download comes to it
			case !p.wants(v, &e):
				o.kind = opSoftDelete
			case v.toCome(&e):
				waits[e.Item] = true // the download comes to it
			case stale[e.Item]:
				o.kind = opChange
			}
			here[e.Item] = o
			if p.carries(o.kind) {
				told = append(told, e)
			}
		}
		contents, err := p.contents(ctx, pl, told)
		if err != nil {
			return false, err
		}
		for _, item := range lost[:n] {
			o, ok := here[item]
			size := int64(deletionBytes)
			switch {
			case !ok && back[item]:
				v.resolve(item, still)
				continue // the phone does not have it
			case !ok:
				o = op{kind: opDelete, item: item}
			case waits[item]:
				continue
			case p.carries(o.kind):
				if o.wide = contents[item]; o.gone() && !p.estimate {
					return false, nil // no room for it, or gone: the journal says so
				}
				size = p.size(o.wide, &v.opts)
			case o.kind == opChange:
				size = changeBytes
			}
			if o.kind != opNone {
				if !p.room(pl, size) {
					return false, nil
				}
				pl.put(o, size)
			}
			if !back[item] {
				v.members.add(item)
			}
			v.members.note(o)
			v.resolve(item, still)
		}
		lost = lost[n:]
	}
	return all, nil
}

// shiftDue tells whether the cut-off has to move and may.
func (p *planner) shiftDue(v *view) bool {
	want := p.cutoff(v)
	switch {
	case v.shift != nil || want == v.cutoff:
		return false
	case !p.isMail():
		return true
	case want == 0 || v.cutoff == 0:
		return true
	case want < v.cutoff:
		return v.cutoff-want >= cutoffStep
	}
	return want-v.cutoff >= cutoffStep
}

// moveCutoff moves the cut-off to where the filter wants it: items that fall
// out are soft-deleted, items that come into reach are added (MS-ASCMD
// 2.2.3.68.2). A changed filter is the same thing and needs no new key.
func (p *planner) moveCutoff(ctx context.Context, pl *plan) error {
	v := &pl.view
	if p.shiftDue(v) {
		to := p.cutoff(v)
		narrows := to != 0 && to > v.cutoff
		if (!narrows || !p.isMail()) && v.load != nil {
			return nil // first the download, up to the old cut-off
		}
		if !p.isMail() && v.members == nil {
			if ok, err := p.countMembers(ctx, pl); err != nil || !ok {
				return err
			}
		}
		v.shift = &shift{to: to, since: v.pos.Seq}
		if v.load != nil {
			v.shift.unloaded, v.shift.upTo = v.load.before, v.load.upTo
			if v.load.before == 0 {
				v.shift.unloaded = store.MaxItem
			}
		}
	}
	if v.shift == nil {
		return nil
	}
	if !p.isMail() {
		return p.refilter(ctx, pl)
	}
	narrows := v.shift.to != 0 && v.shift.to > v.cutoff
	from, to := v.cutoff, v.shift.to
	if !narrows {
		from, to = to, from
	}
	for p.page(pl) {
		limit := p.limit(pl)
		entries, err := p.mail.Aged(ctx, p.as, p.box, p.folder.ID, cutoffTime(from), cutoffTime(to), v.shift.after, limit)
		if err != nil {
			return err
		}
		var msgs map[store.ItemID]wide
		if !narrows {
			if msgs, err = p.contents(ctx, pl, entries); err != nil {
				return err
			}
		}
		if ok, stop, err := p.settled(ctx, pl); err != nil || stop {
			return err
		} else if !ok {
			continue
		}
		for _, e := range entries {
			o, size := op{item: e.Item, entry: e}, int64(deletionBytes)
			switch {
			case after(e.Entered, e.Item, v.pos): // comes with the changes
			case !narrows:
				if o.wide = msgs[e.Item]; !o.gone() || p.estimate {
					o.kind, size = opAdd, p.size(o.wide, &v.opts)
				}
			case v.holds(e.Item, e.Entered, still, e.Received):
				o.kind = opSoftDelete
			}
			if o.kind != opNone {
				if !p.room(pl, size) {
					return nil
				}
				pl.put(o, size)
				if o.kind == opSoftDelete {
					v.resolve(e.Item, e.Entered)
				}
			}
			v.shift.after = e.Item
		}
		if len(entries) < limit {
			v.cutoff, v.shift = v.shift.to, nil
			return nil
		}
	}
	return nil
}

func cutoffTime(unix int64) time.Time {
	if unix == 0 {
		return time.Time{}
	}
	return time.Unix(unix, 0)
}

// download goes on with the first load, newest item first.
func (p *planner) download(ctx context.Context, pl *plan) error {
	v := &pl.view
	cutoff := v.cutoff
	if v.shift != nil {
		cutoff = max(cutoff, v.shift.to)
	}
	for v.load != nil && !p.estimate && p.page(pl) {
		limit := min(max(p.window-pl.live, 0)+1, pageRows) // one more, to know the end
		if !p.isMail() {
			cutoff = 0 // the filter does not ask when an object was made
		}
		entries, err := p.mail.Newest(ctx, p.as, p.box, p.folder.ID, cutoffTime(cutoff), v.load.upTo, v.load.before, limit)
		if err != nil {
			return err
		}
		if err := p.look(ctx, v, entries); err != nil {
			return err
		}
		var told []store.Entry
		for _, e := range entries {
			if p.isMail() || p.wants(v, &e) {
				told = append(told, e)
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
		for _, e := range entries {
			w := contents[e.Item]
			switch {
			case w.later:
				return nil
			case v.arrived(e.Item, e.Entered): // the phone brought it itself
				o, size := op{item: e.Item, entry: e, wide: w}, int64(changeBytes)
				switch {
				case !p.isMail() && !p.wants(v, &e):
					o.kind = opSoftDelete
				case w.gone() || v.hasEcho(e.Item, e.Changed):
				case p.isMail():
					o.kind = opChange
				default:
					o.kind, size = opChange, p.size(w, &v.opts)
				}
				if o.kind != opNone {
					if !p.room(pl, size) {
						return nil
					}
					pl.put(o, size)
				}
				v.members.add(e.Item)
				v.members.note(o)
				v.resolve(e.Item, e.Entered)
			case w.gone():
			default:
				size := p.size(w, &v.opts)
				if !p.room(pl, size) {
					return nil
				}
				o := op{kind: opAdd, item: e.Item, entry: e, wide: w}
				pl.put(o, size)
				v.members.note(o)
			}
			v.load.before = e.Item
			v.load.sent++
		}
		if len(entries) < limit {
			v.load = nil
		}
	}
	return nil
}

// contents reads the wide parts of items: of messages all, of objects, which
// come with their texts, as many as there is room for.
func (p *planner) contents(ctx context.Context, pl *plan, entries []store.Entry) (map[store.ItemID]wide, error) {
	if len(entries) == 0 || p.estimate {
		return nil, nil
	}
	if !p.isMail() {
		return p.objectContents(ctx, pl, entries)
	}
	items := make([]store.ItemID, len(entries))
	for i, e := range entries {
		items[i] = e.Item
	}
	byItem := make(map[store.ItemID]wide, len(items))
	for len(items) > 0 {
		n := min(len(items), 1000)
		msgs, err := p.mail.Messages(ctx, p.as, p.box, items[:n])
		if err != nil {
			return nil, err
		}
		if len(msgs) != n {
			return nil, fault.From(fault.Internal, errState, "messages")
		}
		for i, m := range msgs {
			if m != nil {
				byItem[items[i]] = wide{msg: m}
			}
		}
		items = items[n:]
	}
	return byItem, nil
}

// size estimates the bytes of an item.
func (p *planner) size(w wide, o *options) int64 {
	switch {
	case w.msg != nil:
		return itemOverhead + estimateBody(w.msg, o, p.version)
	case w.obj != nil:
		return itemOverhead + w.obj.Size
	}
	return itemOverhead
}
