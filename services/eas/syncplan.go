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
	msg   *store.Message // of an Add
}

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
	v.cutoff = filterStart(v.opts.filter, p.now)
}

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
		ops := make([]op, len(events))
		var adds []store.ItemID
		for i, e := range events {
			ops[i] = p.judge(v, since, e)
			if ops[i].kind == opAdd {
				adds = append(adds, e.item)
			}
		}
		msgs, err := p.messages(ctx, adds)
		if err != nil {
			return false, err
		}
		for i, e := range events {
			o := ops[i]
			size := int64(deletionBytes)
			switch o.kind {
			case opAdd:
				if o.msg = msgs[e.item]; o.msg == nil && !p.estimate {
					if p.vanished != e.item { // gone since: the journal says so now
						p.vanished = e.item
						continue reading
					}
					o.kind = opNone
				} else {
					size = p.size(o.msg, &v.opts)
				}
			case opChange:
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
				v.resolve(e.item, e.entry.Entered)
			case e.tomb != nil:
				v.resolve(e.item, e.tomb.Left)
			}
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
		if v.holds(n.Item, n.Entered, still, n.Received) && !v.hasEcho(n.Item, n.Changed) {
			o.kind = opChange
		}
	case v.arrived(n.Item, n.Entered):
		switch {
		case !v.wants(n.Item, n.Received): // brought here from out of the filter's reach
			o.kind = opSoftDelete
		case !v.hasEcho(n.Item, n.Changed):
			o.kind = opChange
		}
	case v.wants(n.Item, n.Received):
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
	stale, waits := map[store.ItemID]bool{}, map[store.ItemID]bool{}
	for i := range v.echoes {
		if e := &v.echoes[i]; e.arrival && !after(e.seq, e.item, v.pos) && v.arrived(e.item, still) {
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
		here := make(map[store.ItemID]op, len(entries))
		for _, e := range entries {
			o := op{item: e.Item, entry: e}
			switch {
			case e.Folder != p.folder.ID:
				continue
			case after(e.Entered, e.Item, v.pos): // it has just come back
				all, waits[e.Item] = false, true
			case !v.wants(e.Item, e.Received):
				o.kind = opSoftDelete
			case v.load != nil && e.Entered <= v.load.upTo && (v.load.before == 0 || e.Item < v.load.before):
				waits[e.Item] = true // the download comes to it
			case stale[e.Item]:
				o.kind = opChange
			}
			here[e.Item] = o
		}
		for _, item := range lost[:n] {
			o, ok := here[item]
			size := int64(deletionBytes)
			switch {
			case !ok:
				o = op{kind: opDelete, item: item}
			case waits[item]:
				continue
			case o.kind == opChange:
				size = changeBytes
			}
			if o.kind != opNone {
				if !p.room(pl, size) {
					return false, nil
				}
				pl.put(o, size)
			}
			v.resolve(item, still)
		}
		lost = lost[n:]
	}
	return all, nil
}

// shiftDue tells whether the cut-off has to move and may.
func (p *planner) shiftDue(v *view) bool {
	want := filterStart(v.opts.filter, p.now)
	switch {
	case v.shift != nil || want == v.cutoff:
		return false
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
		to := filterStart(v.opts.filter, p.now)
		narrows := to != 0 && to > v.cutoff
		if !narrows && v.load != nil {
			return nil // first the download, up to the old cut-off
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
		var msgs map[store.ItemID]*store.Message
		if !narrows {
			var adds []store.ItemID
			for _, e := range entries {
				adds = append(adds, e.Item)
			}
			if msgs, err = p.messages(ctx, adds); err != nil {
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
				if o.msg = msgs[e.Item]; o.msg != nil || p.estimate {
					o.kind, size = opAdd, p.size(o.msg, &v.opts)
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
		entries, err := p.mail.Newest(ctx, p.as, p.box, p.folder.ID, cutoffTime(cutoff), v.load.upTo, v.load.before, limit)
		if err != nil {
			return err
		}
		items := make([]store.ItemID, len(entries))
		for i, e := range entries {
			items[i] = e.Item
		}
		msgs, err := p.messages(ctx, items)
		if err != nil {
			return err
		}
		if ok, stop, err := p.settled(ctx, pl); err != nil || stop {
			return err
		} else if !ok {
			continue
		}
		for _, e := range entries {
			m := msgs[e.Item]
			switch {
			case m == nil:
			case v.arrived(e.Item, e.Entered): // the phone brought it itself
				if !v.hasEcho(e.Item, e.Changed) {
					if !p.room(pl, changeBytes) {
						return nil
					}
					pl.put(op{kind: opChange, item: e.Item, entry: e}, changeBytes)
				}
				v.resolve(e.Item, e.Entered)
			default:
				size := p.size(m, &v.opts)
				if !p.room(pl, size) {
					return nil
				}
				pl.put(op{kind: opAdd, item: e.Item, entry: e, msg: m}, size)
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

// messages reads the wide parts of items, at most 1,000 at a time.
func (p *planner) messages(ctx context.Context, items []store.ItemID) (map[store.ItemID]*store.Message, error) {
	if len(items) == 0 || p.estimate {
		return nil, nil
	}
	byItem := make(map[store.ItemID]*store.Message, len(items))
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
				byItem[items[i]] = m
			}
		}
		items = items[n:]
	}
	return byItem, nil
}

// size estimates the bytes of an Add.
func (p *planner) size(m *store.Message, o *options) int64 {
	if m == nil {
		return itemOverhead
	}
	return itemOverhead + estimateBody(m, o, p.version)
}
