package postgres

import (
	"context"
	"slices"

	"waypost/directory"
	"waypost/internal/fault"
)

// maxDelegates bounds who acts for one person.
const maxDelegates = 100

// Delegates implements directory.AddressBook. It needs no SQL but for the rights.
func (s *Store) Delegates(ctx context.Context, as directory.Principal, id directory.ObjectID) (all []directory.Target, err error) {
	defer fault.Wrap(&err, "delegates of %d", id)
	need := seeAll
	if as.ID == id {
		need = seeList
	}
	if err := s.may(ctx, as, need); err != nil {
		return nil, err
	}
	add := func(list ...directory.Target) {
		for _, t := range list {
			known := slices.ContainsFunc(all, func(have directory.Target) bool { return have.ID == t.ID })
			if m := s.view.get(t.ID); !known && m != nil && m.mailbox != 0 && m.id != id && len(all) < maxDelegates {
				all = append(all, m.target())
			}
		}
	}
	for _, to := range s.index.Load().Linked(id, "publicDelegates") {
		e := s.view.get(to)
		switch {
		case e == nil:
		case isGroup(e.family):
			list, err := s.expand(ctx, e, 0, maxDelegates)
			if err != nil {
				return nil, err
			}
			add(list...)
		default:
			add(e.target())
		}
	}
	return all, nil
}

// MemberOf implements directory.AddressBook, from memory.
func (s *Store) MemberOf(ctx context.Context, as directory.Principal, id directory.ObjectID) (list []directory.ObjectID, err error) {
	defer fault.Wrap(&err, "groups of %d", id)
	if err := s.may(ctx, as, seeAll); err != nil {
		return nil, err
	}
	return s.index.Load().Groups(id), nil
}
