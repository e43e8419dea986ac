package postgres

import (
	"context"
	"sync"

	"waypost/directory"
	"waypost/directory/index"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// keptMoves bounds the moves of containers that are remembered.
const keptMoves = 10000

// moves are the containers whose name or rights changed: everything below them
// may have entered or left a search, without a change of its own.
type moves struct {
	mu    sync.Mutex
	at    map[directory.ObjectID]directory.USN
	floor directory.USN // what happened up to it is not known
}

// noteMoves looks at what is about to be replaced in the view.
func (s *Store) noteMoves(usn directory.USN, ids []directory.ObjectID, fresh map[directory.ObjectID]*entry) {
	m := &s.moves
	for _, id := range ids {
		old, now := s.view.get(id), fresh[id]
		if old == nil || now == nil || old.parent == now.parent && old.rdn == now.rdn && len(old.acl) == 0 && len(now.acl) == 0 {
			continue
		}
		m.mu.Lock()
		if m.at == nil || len(m.at) >= keptMoves {
			m.at, m.floor = map[directory.ObjectID]directory.USN{}, s.view.now()
		}
		m.at[id] = usn
		m.mu.Unlock()
	}
}

// moved tells whether what is below a container must be looked at again.
func (m *moves) moved(id directory.ObjectID, since directory.USN) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return since < m.floor || m.at[id] > since
}

// watched are the entries that a watched search has, by id.
type watched map[uint64]uint64

func (w watched) has(id directory.ObjectID) bool { return w[uint64(id)>>6]>>(uint64(id)&63)&1 != 0 }

func (w watched) set(id directory.ObjectID, in bool) {
	if in {
		w[uint64(id)>>6] |= 1 << (uint64(id) & 63)
	} else {
		w[uint64(id)>>6] &^= 1 << (uint64(id) & 63)
	}
}

// watch is one watched search.
type watch struct {
	s  *Store
	as directory.Principal
	q  tree.Query
	fn func(*tree.Event) error
	in watched
	// early are entries that were told as a change after the one that was looked
	// at left them: that one has been told, too.
	early map[directory.ObjectID]directory.USN
	at    directory.USN // everything up to it was told
	view  index.Sight
}

// Watch implements tree.Tree. The position of an event is the USN after which a
// client may go on; groups that the reader enters meanwhile count for what
// changes from then on.
func (s *Store) Watch(ctx context.Context, as directory.Principal, q *tree.Query, fn func(*tree.Event) error) (err error) {
	w := &watch{s: s, as: as, q: *q, fn: fn, in: watched{}, early: map[directory.ObjectID]directory.USN{}}
	w.q.Sort, w.q.Limit, w.q.After = nil, 0, 0
	since := q.Since
	w.q.Since = 0
	if w.view, _, err = s.sightOf(ctx, as); err != nil {
		return err
	}
	if since > 0 {
		if err := w.resume(ctx, since); err != nil {
			return err
		}
	} else if err := w.begin(ctx); err != nil {
		return err
	}
	if err := fn(&tree.Event{Present: true, USN: w.at}); err != nil {
		return err
	}
	return w.follow(ctx)
}

// begin tells everything that is there.
func (w *watch) begin(ctx context.Context) error {
	w.at = w.s.feed.now()
	return w.s.index.Load().Search(ctx, &w.q, w.view, func(e *tree.Entry) error {
		w.in.set(e.ID, true)
		if e.USN > w.at {
			w.early[e.ID] = e.USN
		}
		return w.fn(&tree.Event{Entry: e, ID: e.ID, GUID: e.GUID, Added: true, USN: w.at})
	})
}

// resume tells what changed after a position. What is in the search now is
// remembered without being told.
func (w *watch) resume(ctx context.Context, since directory.USN) error {
	if now := w.s.feed.now(); since > now {
		if err := w.s.look(ctx, 0); err != nil {
			return err
		}
		if now = w.s.feed.now(); since > now {
			return fault.New(fault.Resync, "the directory is at %d, not yet at %d", now, since)
		}
	}
	w.at = w.s.feed.now()
	ids := w.q
	ids.Attributes = []string{"1.1"}
	if err := w.s.index.Load().Search(ctx, &ids, w.view, func(e *tree.Entry) error {
		w.in.set(e.ID, true)
		return nil
	}); err != nil {
		return err
	}
	for from := since; ; {
		changes, err := w.s.changesAfter(ctx, from, w.at)
		if err != nil {
			return err
		}
		if len(changes) == 0 {
			return nil
		}
		for _, c := range changes {
			if err := w.tell(ctx, c.ID, c.USN, true, false); err != nil {
				return err
			}
			if w.s.moves.moved(c.ID, since) {
				if err := w.below(ctx, c.ID, c.USN, true); err != nil {
					return err
				}
			}
		}
		from = changes[len(changes)-1].USN
	}
}

// follow tells every change from now on.
func (w *watch) follow(ctx context.Context) error {
	for {
		changes, usn, wake, whole := w.s.feed.after(w.at)
		if usn < w.at {
			return fault.New(fault.Resync, "the directory went back to %d", usn)
		}
		if !whole {
			var err error
			if changes, err = w.s.changesAfter(ctx, w.at, usn); err != nil {
				return err
			}
		}
		if len(changes) == 0 {
			w.at = max(w.at, usn)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-wake:
			}
			continue
		}
		var err error
		if w.view, _, err = w.s.sightOf(ctx, w.as); err != nil {
			return err
		}
		for _, c := range changes {
			if err := w.tell(ctx, c.ID, c.USN, false, false); err != nil {
				return err
			}
			if w.s.moves.moved(c.ID, w.at) {
				if err := w.below(ctx, c.ID, c.USN, false); err != nil {
					return err
				}
			}
		}
		w.at = changes[len(changes)-1].USN
	}
}

// tell tells of one object what its change means to the search. Of one that is
// not in it, a client that resumes hears that it is not.
func (w *watch) tell(ctx context.Context, id directory.ObjectID, usn directory.USN, resumed, moved bool) error {
	x := w.s.index.Load()
	was := w.in.has(id)
	match, err := x.Matches(id, &w.q, w.view)
	if err != nil {
		return err // the base is gone
	}
	w.in.set(id, match)
	if match {
		e, err := x.Get(ctx, id, &w.q, w.view)
		if err != nil {
			if fault.Of(err) == fault.NotFound { // gone a moment ago: the next change tells
				w.in.set(id, was)
				return nil
			}
			return err
		}
		if told := w.early[id]; told > 0 {
			delete(w.early, id)
			if told == e.USN && was && !moved {
				return nil
			}
		}
		if e.USN > usn {
			w.early[id] = e.USN
		}
		return w.fn(&tree.Event{Entry: e, ID: id, GUID: e.GUID, Added: !was && !resumed, Moved: moved && was, USN: usn})
	}
	if !was && !resumed {
		return nil
	}
	delete(w.early, id)
	guid, ok := w.s.guid(ctx, id)
	if !ok {
		return nil
	}
	return w.fn(&tree.Event{ID: id, GUID: guid, USN: usn})
}

// below looks at everything below a container again.
func (w *watch) below(ctx context.Context, id directory.ObjectID, usn directory.USN, resumed bool) error {
	x := w.s.index.Load()
	for after := directory.ObjectID(0); ; {
		ids := x.Children(id, after, 1000)
		for _, child := range ids {
			match, err := x.Matches(child, &w.q, w.view)
			if err != nil {
				return err
			}
			if match || w.in.has(child) {
				if err := w.tell(ctx, child, usn, resumed, true); err != nil {
					return err
				}
			}
			if err := w.below(ctx, child, usn, resumed); err != nil {
				return err
			}
			after = child
		}
		if len(ids) < 1000 {
			return nil
		}
	}
}

// guid gives an object's objectGUID, also when it is gone for good.
func (s *Store) guid(ctx context.Context, id directory.ObjectID) (guid [16]byte, ok bool) {
	if e, err := s.index.Load().Get(ctx, id, &tree.Query{Attributes: []string{"1.1"}, Deleted: true}, nil); err == nil {
		return e.GUID, true
	}
	var text string
	if err := s.db.QueryRow(ctx, `SELECT coalesce(guid::text, '') FROM directory.change WHERE object = $1`, id).Scan(&text); err != nil {
		return guid, false
	}
	return parseGUID(text)
}
