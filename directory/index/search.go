package index

import (
	"context"
	"slices"
	"time"

	"waypost/directory"
	"waypost/directory/tree"
)

// One turn under the lock looks at so many candidates or makes so many entries,
// whichever comes first.
const (
	turnCandidates = 2048
	turnEntries    = 128
)

// search is one search on its way.
type search struct {
	x      *Index
	q      *tree.Query
	sight  Sight
	filter *node
	// monotone filters have no Not: what the reader may not see can only take
	// from what they find.
	monotone bool
	reads    []*attribute // that the filter looks at; nil: any
	scope    *scope
	want     want
	place    Place
	subject  subject
	// candidates, in order: a list, a set or (both nil) everything.
	list  []uint32
	set   *bitmap
	also  []*bitmap
	next  uint32 // of a set or of everything
	chunk []uint32
	done  bool
}

// newSearch makes a search ready, all but its aim. The lock is held.
func (x *Index) newSearch(q *tree.Query, sight Sight, base uint32) *search {
	s := &search{x: x, q: q, sight: sight, scope: x.newScope(base, q), want: x.wantOf(q)}
	s.subject = subject{x: x, sight: sight, global: q.Global, hides: x.hidesOf(sight)}
	if q.Filter != nil {
		s.filter = x.compile(tree.Prepare(x.schema, q.Filter))
		x.closeChains(s.filter, s.subject.hides)
		s.monotone = true
		s.reads = []*attribute{}
		s.study(s.filter)
	}
	return s
}

// study finds what the filter looks at.
func (s *search) study(n *node) {
	switch {
	case n.leaf == leafNever:
	case n.parts != nil || n.leaf == leafAny && n.a == nil && n.Op <= tree.Not:
		s.monotone = s.monotone && n.Op != tree.Not
		for _, p := range n.parts {
			s.study(p)
		}
	case n.leaf == leafBegins:
		for attr, asked := range n.names {
			if asked && s.reads != nil {
				s.reads = append(s.reads, &s.x.info[attr])
			}
		}
	case n.a == nil || n.Op == tree.Extensible && n.DNAttributes:
		s.reads = nil // any; nothing is appended to nil from here on
	case s.reads != nil:
		s.reads = append(s.reads, n.a)
	}
}

// aim finds where to look.
func (s *search) aim() {
	after := uint32(0)
	if len(s.q.Sort) == 0 {
		after = uint32(min(max(s.q.After, 0), MaxID))
	}
	s.next = after + 1
	if s.q.Scope == tree.Base {
		s.list = sorted([]uint32{s.scope.base}, after)
		s.done = len(s.list) == 0
		return
	}
	var p *plan
	if s.filter != nil {
		p = s.x.within(s.filter)
	}
	if s.q.Since > 0 {
		if since := s.x.since(s.q.Since); p == nil || since.count < p.count {
			p = since
		}
	}
	most := s.x.table.count / 4
	if p != nil {
		most = min(most, p.count/2)
	}
	if (p == nil || p.count > 256) && !s.scope.large() {
		if ids, ok := s.scope.objects(min(most, 1<<16)); ok {
			s.list = sorted(ids, after)
			s.done = len(s.list) == 0
			return
		}
	}
	switch {
	case p == nil:
	case p.set != nil:
		s.set, s.also = p.set, p.also
	default:
		s.list = sorted(p.appendTo(nil), after)
		s.done = len(s.list) == 0
	}
}

// candidates gives the next ones, none at the end. The lock is held.
func (s *search) candidates() []uint32 {
	var chunk []uint32
	switch {
	case s.done:
		return nil
	case s.list != nil:
		n := min(len(s.list), turnCandidates)
		chunk, s.list = s.list[:n], s.list[n:]
		s.done = len(s.list) == 0
		return chunk
	case s.set != nil:
		for {
			chunk = s.set.appendFrom(s.chunk[:0], s.next, turnCandidates)
			s.chunk = chunk[:0]
			if s.done = len(chunk) < turnCandidates; len(chunk) > 0 {
				s.next = chunk[len(chunk)-1] + 1
			}
			if len(s.also) > 0 {
				chunk = slices.DeleteFunc(chunk, (&plan{also: s.also}).outside)
			}
			if s.done || len(chunk) > 0 {
				return chunk
			}
		}
	}
	chunk = s.chunk[:0]
	s.done = true
	s.x.table.each(s.next, func(id uint32, _ *slot) bool {
		if len(chunk) == turnCandidates {
			s.done = false
			return false
		}
		chunk = append(chunk, id)
		return true
	})
	if len(chunk) > 0 {
		s.next = chunk[len(chunk)-1] + 1
	}
	s.chunk = chunk
	return chunk
}

// meets tells whether a candidate is found and seen; s.subject is then it. The
// lock is held.
func (s *search) meets(id uint32) bool {
	e := &s.subject
	e.s = s.x.table.live(id)
	if e.s == nil || e.s.parent == 0 || e.s.flags&flagDeleted != 0 && !s.q.Deleted || !s.scope.has(id, e.s) {
		return false
	}
	e.id, e.r, e.view = id, s.x.record(e.s), nil
	if s.q.Since > 0 && directory.USN(e.r.changed) <= s.q.Since {
		return false
	}
	if s.filter != nil && (s.monotone || s.sight == nil) && e.eval(s.filter) != tree.True {
		return false
	}
	if s.sight == nil {
		return true
	}
	s.x.place(&s.place, id, e.s)
	view := s.sight.See(&s.place)
	if view == nil {
		return false
	}
	if view == Everything {
		return s.filter == nil || s.monotone || e.eval(s.filter) == tree.True
	}
	e.view = view
	if s.filter == nil || s.monotone && s.readsAll(view) {
		return true
	}
	return e.eval(s.filter) == tree.True
}

func (s *search) readsAll(view View) bool {
	for _, a := range s.reads {
		if !view.Reads(a.Attribute) {
			return false
		}
	}
	return s.reads != nil
}

// turn is what one turn under the lock found.
type turn struct {
	entries []*tree.Entry
	cold    []coldPart
}

// coldPart is what an entry lacks.
type coldPart struct {
	entry *tree.Entry
	names []string
}

// take makes the entry of s.subject.
func (s *search) take(t *turn, b *batch) {
	e := &s.subject
	entry := s.x.show(b, &s.want, e)
	t.entries = append(t.entries, entry)
	if e.s.flags&flagCold == 0 {
		return
	}
	var names []string
	each(e.r.cold, func(n uint16) {
		a := &s.x.info[n]
		if !s.want.set[n] || !e.reads(a) {
			return
		}
		if s.want.typesOnly {
			entry.Attributes = append(entry.Attributes, tree.Attribute{Name: a.Name})
			return
		}
		names = append(names, a.Name)
	})
	if len(names) > 0 {
		t.cold = append(t.cold, coldPart{entry, names})
	}
}

// warm fetches what the entries of a turn lack.
func (x *Index) warm(ctx context.Context, t *turn) error {
	if len(t.cold) == 0 || x.cold == nil {
		return nil
	}
	var ids []directory.ObjectID
	var names []string
	for _, c := range t.cold {
		ids = append(ids, c.entry.ID)
		for _, n := range c.names {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	values, err := x.cold(ctx, ids, names)
	if err != nil {
		return err
	}
	for _, c := range t.cold {
		for _, a := range values[c.entry.ID] {
			if slices.Contains(c.names, a.Name) && len(a.Values) > 0 {
				c.entry.Attributes = append(c.entry.Attributes, a)
			}
		}
	}
	return nil
}

// Search calls fn with what the query finds and the reader may see, in order of
// ID or of q.Sort, without a lock held. Errors are *tree.Refusal, ctx's, Cold's
// and fn's own. A search stays in the naming context of its base unless
// q.Global.
func (x *Index) Search(ctx context.Context, q *tree.Query, sight Sight, fn func(*tree.Entry) error) error {
	x.mu.RLock()
	base, err := x.base(q, sight)
	if err != nil {
		x.mu.RUnlock()
		return err
	}
	s := x.newSearch(q, sight, base)
	if len(q.Sort) > 0 {
		x.mu.RUnlock()
		return s.sorted(ctx, fn)
	}
	s.aim()
	found := 0
	var rest []uint32
	for {
		var t turn
		var b batch
		over := false
		s.scope.fresh()
		if len(rest) == 0 {
			rest = s.candidates()
		}
		for len(rest) > 0 && len(t.entries) < turnEntries && !over {
			id := rest[0]
			rest = rest[1:]
			if s.meets(id) {
				if over = q.Limit > 0 && found == q.Limit; !over {
					found++
					s.take(&t, &b)
				}
			}
		}
		end := s.done && len(rest) == 0
		x.mu.RUnlock()
		if err := x.warm(ctx, &t); err != nil {
			return err
		}
		for _, entry := range t.entries {
			if err := fn(entry); err != nil {
				return err
			}
		}
		switch {
		case over:
			return tree.Refuse(tree.ResultSizeLimit, "more than %d entries", q.Limit)
		case end:
			return nil
		}
		if err := inTime(ctx, q); err != nil {
			return err
		}
		x.mu.RLock()
	}
}

func inTime(ctx context.Context, q *tree.Query) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !q.Deadline.IsZero() && time.Now().After(q.Deadline) {
		return tree.Refuse(tree.ResultTimeLimit, "the search took too long")
	}
	return nil
}

// base resolves a query's base. The root has no name: a global search may begin
// there.
func (x *Index) base(q *tree.Query, sight Sight) (uint32, error) {
	id, matched, ok := x.resolve(q.Base)
	s := x.table.live(id)
	if ok && id == x.root && !(q.Global && q.Scope != tree.Base) {
		return 0, tree.Refuse(tree.ResultNoSuchObject, "the empty name is the root of a global search alone")
	}
	if ok && s.flags&flagDeleted != 0 && !q.Deleted {
		ok, matched = false, max(0, matched-1)
	}
	sees := func(id uint32, s *slot) bool {
		var p Place
		x.place(&p, id, s)
		return sight == nil || id == x.root || sight.See(&p) != nil
	}
	if ok && sees(id, s) {
		return id, nil
	}
	if ok {
		matched = max(0, len(q.Base)-1)
	}
	if form, _ := q.Base.Special(); form != "" {
		matched = 0
	}
	r := tree.Refuse(tree.ResultNoSuchObject, "no such object")
	// What may not be seen is not told to be there.
	for ; sight != nil && matched > 0; matched-- {
		up, _, ok := x.resolve(q.Base[len(q.Base)-matched:])
		if s := x.table.live(up); ok && s != nil && up != x.root && sees(up, s) {
			break
		}
	}
	r.Matched = slices.Clone(q.Base[len(q.Base)-matched:])
	return 0, r
}

// Get shows one object as a Base search of it would, whatever q's Base, Scope
// and Filter are; ResultNoSuchObject when it is not there or not seen.
func (x *Index) Get(ctx context.Context, id directory.ObjectID, q *tree.Query, sight Sight) (*tree.Entry, error) {
	one := *q
	one.Scope, one.Filter, one.Since, one.After = tree.Base, nil, 0, 0
	var t turn
	var b batch
	x.mu.RLock()
	if s := x.object(id); s != nil {
		s := x.newSearch(&one, sight, uint32(id))
		if s.meets(uint32(id)) {
			s.take(&t, &b)
		}
	}
	x.mu.RUnlock()
	if len(t.entries) == 0 {
		return nil, tree.Refuse(tree.ResultNoSuchObject, "no such object")
	}
	if err := x.warm(ctx, &t); err != nil {
		return nil, err
	}
	return t.entries[0], nil
}

// Matches tells whether the object is in the search: its scope, its filter,
// what the reader may see. q.Since and q.After are not looked at.
func (x *Index) Matches(id directory.ObjectID, q *tree.Query, sight Sight) (bool, error) {
	one := *q
	one.Since = 0
	x.mu.RLock()
	defer x.mu.RUnlock()
	base, err := x.base(q, sight)
	if err != nil {
		return false, err
	}
	if x.object(id) == nil {
		return false, nil
	}
	return x.newSearch(&one, sight, base).meets(uint32(id)), nil
}

// Find gives the objects with the value, tombstones among them, in order of ID.
// It is quick for attributes that the schema has indexed.
func (x *Index) Find(attribute, value string) []directory.ObjectID {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := x.compile(tree.Prepare(x.schema, &tree.Filter{Op: tree.Equal, Attribute: attribute, Value: value}))
	e := subject{x: x}
	var found []directory.ObjectID
	look := func(id uint32, s *slot) {
		if s == nil || s.parent == 0 {
			return
		}
		if e.id, e.s, e.r = id, s, x.record(s); e.eval(n) == tree.True {
			found = append(found, objectID(id))
		}
	}
	if p := x.within(n); p != nil {
		for _, id := range sorted(p.appendTo(nil), 0) {
			look(id, x.table.live(id))
		}
		return found
	}
	x.table.each(0, func(id uint32, s *slot) bool {
		look(id, s)
		return true
	})
	return found
}
