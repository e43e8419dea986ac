package postgres

import (
	"context"
	"slices"
	"strings"

	"waypost/directory"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

const classAddressList = "addressBookContainer"

// AddressLists implements directory.AddressBook. The containers of lists that
// have no filter themselves are none.
func (s *Store) AddressLists(ctx context.Context, as directory.Principal) (lists []directory.AddressList, err error) {
	defer fault.Wrap(&err, "list the address lists")
	if err := s.may(ctx, as, seeList); err != nil {
		return nil, err
	}
	x := s.index.Load()
	for _, id := range x.Find("objectClass", classAddressList) {
		e, err := x.Get(ctx, id, &tree.Query{Attributes: []string{"cn", "displayName", "purportedSearch"}}, nil)
		if err != nil || e.Deleted || len(e.Get("purportedSearch")) == 0 {
			continue
		}
		l := directory.AddressList{ID: id, Filter: e.Get("purportedSearch")[0]}
		for _, name := range append(e.Get("displayName"), e.Get("cn")...) {
			if l.Name == "" {
				l.Name = name
			}
		}
		for _, base := range x.Linked(id, "msExchSearchBase") {
			if dn, ok := x.DN(base); ok {
				l.Base = dn.String()
			}
		}
		lists = append(lists, l)
	}
	slices.SortStableFunc(lists, func(a, b directory.AddressList) int {
		return strings.Compare(directory.Fold(a.Name), directory.Fold(b.Name))
	})
	return lists, nil
}

// listMembers gives who is in an address list: whom its filter finds, and who
// says so in showInAddressBook.
func (s *Store) listMembers(ctx context.Context, as directory.Principal, list directory.ObjectID) (bits, error) {
	e := s.view.get(list)
	if e == nil || e.class != classAddressList {
		return nil, fault.New(fault.NotFound, "no such address list")
	}
	ids, err := s.found(ctx, list, "purportedSearch", "msExchSearchBase", false)
	if err != nil {
		return nil, err
	}
	x := s.index.Load()
	dn, _ := x.DN(list)
	s.view.mu.RLock()
	only := newBits(len(s.view.slots) * pageSlots)
	s.view.mu.RUnlock()
	for _, id := range ids {
		only.set(id)
	}
	for _, id := range x.Find("showInAddressBook", dn.String()) {
		only.set(uint32(id)) //nolint:gosec // index.MaxID bounds ids
	}
	return only, nil
}

// pageOf gives a part of the listed entries among some, by name. The lock is
// held.
func (v *view) pageOf(only bits, offset, limit int) (page []*entry, total int) {
	var all []*entry
	for w, word := range only {
		for bit := uint32(0); word != 0; bit, word = bit+1, word>>1 {
			if word&1 == 0 {
				continue
			}
			if e := v.entry(directory.ObjectID(uint32(w)<<6 + bit)); e != nil && e.listed() { //nolint:gosec // index.MaxID bounds ids
				all = append(all, e)
			}
		}
	}
	slices.SortFunc(all, byOrder)
	from := min(offset, len(all))
	return all[from:min(from+limit, len(all))], len(all)
}

func byOrder(a, b *entry) int {
	if c := strings.Compare(a.order, b.order); c != 0 {
		return c
	}
	return int(a.id - b.id)
}

// errNoPhoto is also for whom the reader may not see.
var errNoPhoto = fault.New(fault.NotFound, "no photo")

// Photo implements directory.AddressBook.
func (s *Store) Photo(ctx context.Context, as directory.Principal, id directory.ObjectID) (_ []byte, err error) {
	defer fault.Wrap(&err, "photo of %d", id)
	if err := s.may(ctx, as, seeList); err != nil {
		return nil, err
	}
	e := s.view.get(id)
	if e == nil || e.kind == 0 || !e.listed() && as.ID != id && s.may(ctx, as, seeAll) != nil {
		return nil, errNoPhoto
	}
	view, _, err := s.sightOf(ctx, as)
	if err != nil {
		return nil, err
	}
	got, err := s.index.Load().Get(ctx, id, &tree.Query{Attributes: []string{"thumbnailPhoto"}}, view)
	if err != nil {
		if fault.Of(err) == fault.NotFound {
			return nil, errNoPhoto
		}
		return nil, err
	}
	if v := got.Get("thumbnailPhoto"); len(v) > 0 && v[0] != "" {
		return []byte(v[0]), nil
	}
	return nil, errNoPhoto
}
