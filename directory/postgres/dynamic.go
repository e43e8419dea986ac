package postgres

import (
	"context"
	"sync"
	"time"

	"waypost/directory"
	"waypost/directory/index"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

const (
	// maxFound bounds whom the filter of a group or of an address list finds.
	maxFound = 100_000
	// findTimeout bounds how long it may take.
	findTimeout = 20 * time.Second
	// holdFound is how long the later pages of a list go on with what its first
	// one found, whatever changes meanwhile.
	holdFound = time.Minute
	// maxHeld is how many lists are remembered.
	maxHeld = 200
	// maxLayers bounds groups by filter inside groups by filter.
	maxLayers = 20
)

// foundLists remembers whom filters found, for one state of the directory.
type foundLists struct {
	mu sync.Mutex
	by map[directory.ObjectID]foundList
}

type foundList struct {
	usn directory.USN
	at  time.Time
	ids []uint32
}

// recall gives what is remembered of a list; of an older state only when it
// goes on.
func (f *foundLists) recall(id directory.ObjectID, usn directory.USN, goesOn bool) ([]uint32, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l, ok := f.by[id]
	return l.ids, ok && (l.usn == usn || goesOn && time.Since(l.at) < holdFound)
}

func (f *foundLists) keep(id directory.ObjectID, usn directory.USN, ids []uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.by == nil || len(f.by) >= maxHeld {
		f.by = map[directory.ObjectID]foundList{}
	}
	f.by[id] = foundList{usn, time.Now(), ids}
}

// checkDynamic refuses a group whose filter is none.
func checkDynamic(a attributes) error {
	text := a.get("msExchDynamicDLFilter")
	if text == "" {
		return nil
	}
	_, err := tree.ParseFilter(text)
	return err
}

// expand gives a part of whom mail to a group reaches.
func (s *Store) expand(ctx context.Context, g *entry, after directory.ObjectID, limit int) ([]directory.Target, error) {
	found, _, err := s.closure(ctx, g, after, s.ruled)
	if err != nil {
		return nil, err
	}
	var all []directory.Target
	for len(found) > 0 && len(all) < limit {
		n := min(len(found), limit-len(all))
		all = append(all, s.redirectAll(ctx, s.fillForwards(ctx, s.view.targets(found[:n])))...)
		found = found[n:]
	}
	return all, nil
}

// closure walks a group and asks the filters of those groups that have one. With
// ruled, the groups inside it for which that holds are found themselves and
// not entered.
func (s *Store) closure(ctx context.Context, g *entry, after directory.ObjectID, ruled func(context.Context, uint32) bool) ([]uint32, bits, error) {
	made, shut := map[uint32][]uint32{}, map[uint32]bool{}
	for range maxLayers {
		w := s.view.walk(g, after, made, shut)
		again := false
		if ruled != nil {
			for _, id := range w.groups {
				if _, known := shut[id]; !known {
					shut[id] = ruled(ctx, id)
					again = again || shut[id]
				}
			}
		}
		if again { // without what is behind those
			continue
		}
		if len(w.asked) == 0 {
			return w.found, w.seen, nil
		}
		for _, id := range w.asked {
			ids, err := s.found(ctx, directory.ObjectID(id), "msExchDynamicDLFilter", "msExchDynamicDLBaseDN", after > 0)
			if err != nil {
				return nil, nil, err
			}
			made[id] = ids
		}
	}
	return nil, nil, fault.New(fault.Limit, "groups by filter are inside each other more than %d deep", maxLayers)
}

// found gives whom the filter of a list finds below its base: recipients of
// mail and groups, by id.
func (s *Store) found(ctx context.Context, id directory.ObjectID, filterAttr, baseAttr string, goesOn bool) (ids []uint32, err error) {
	defer fault.Wrap(&err, "find the members of list %d", id)
	x := s.index.Load()
	usn := x.USN()
	if ids, ok := s.founds.recall(id, usn, goesOn); ok {
		return ids, nil
	}
	filter, bases, err := listQuery(ctx, x, id, filterAttr, baseAttr)
	if err != nil || filter == nil {
		return nil, err
	}
	until := time.Now().Add(findTimeout)
	for _, base := range bases {
		q := &tree.Query{Base: base, Scope: tree.Sub, Filter: filter, Attributes: []string{"1.1"}, Limit: maxFound, Deadline: until}
		err := x.Search(ctx, q, nil, func(e *tree.Entry) error {
			if len(ids) == maxFound {
				return fault.New(fault.Limit, "the list has more than %d members", maxFound)
			}
			ids = append(ids, uint32(e.ID)) //nolint:gosec // index.MaxID bounds ids
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	ids = s.view.recipients(ids)
	s.founds.keep(id, usn, ids)
	return ids, nil
}

// listQuery reads a list's filter and where it looks: its base, or everywhere.
// No filter is nil.
func listQuery(ctx context.Context, x *index.Index, id directory.ObjectID, filterAttr, baseAttr string) (*tree.Filter, []tree.DN, error) {
	e, err := x.Get(ctx, id, &tree.Query{Attributes: []string{filterAttr}}, nil)
	if err != nil {
		return nil, nil, err
	}
	text := e.Get(filterAttr)
	if len(text) == 0 {
		return nil, nil, nil
	}
	filter, err := tree.ParseFilter(text[0])
	if err != nil {
		return nil, nil, err
	}
	below := x.Linked(id, baseAttr)
	if len(below) == 0 {
		below = x.Contexts()
	}
	var bases []tree.DN
	for _, b := range below {
		if dn, ok := x.DN(b); ok {
			bases = append(bases, dn)
		}
	}
	return filter, bases, nil
}

// withAddress gives those that have an address.
func (v *view) withAddress(ids []uint32) (kept []uint32) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, id := range ids {
		if e := v.entry(directory.ObjectID(id)); e != nil && e.address != "" {
			kept = append(kept, id)
		}
	}
	return kept
}

// recipients leaves those that mail or a list can mean.
func (v *view) recipients(ids []uint32) []uint32 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	kept := ids[:0]
	for _, id := range ids {
		if s := v.slot(directory.ObjectID(id)); s != nil && (s.kind != 0 || s.mailbox != 0 || s.flags&slotForwards != 0) {
			kept = append(kept, id)
		}
	}
	return kept
}
