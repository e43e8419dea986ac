package postgres

import (
	"context"
	"strings"

	"waypost/directory"
	"waypost/internal/fault"
)

// duties are local parts that every domain must answer to (RFC 5321 §4.5.1,
// RFC 2142 §4); an administrator does where nobody else has them.
var duties = map[string]bool{"postmaster": true, "abuse": true}

// Resolve implements directory.Directory. It needs no SQL.
func (s *Store) Resolve(ctx context.Context, address string) (directory.Resolution, error) {
	r, err := s.lookUp(address)
	switch {
	case err == nil && r.Standing == directory.Outside:
		return s.outside(ctx, r)
	case err == nil && r.Standing == directory.Person:
		return s.redirected(ctx, r), nil
	}
	return r, err
}

// lookUp is Resolve without the addresses to forward to.
func (s *Store) lookUp(address string) (directory.Resolution, error) {
	if strings.EqualFold(address, "postmaster") { // RFC 5321 §4.1.1.3: without a domain
		return s.duty(), nil
	}
	local, domain, err := directory.SplitAddress(address)
	if err != nil {
		return directory.Resolution{}, err
	}
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	if s.view.named(nameDomain, domain) == nil {
		return directory.Resolution{Standing: directory.Foreign}, nil
	}
	local = directory.Fold(local)
	e := s.view.named(nameAddress, local+"@"+domain)
	if e == nil {
		if plus := strings.IndexByte(local, '+'); plus > 0 {
			local = local[:plus]
			e = s.view.named(nameAddress, local+"@"+domain)
		}
	}
	if e == nil && duties[local] {
		return s.view.admin(), nil
	}
	return resolution(e), nil
}

func resolution(e *entry) directory.Resolution {
	switch {
	case e == nil:
		return directory.Resolution{Standing: directory.Unknown}
	case e.kind == directory.KindGroup:
		return directory.Resolution{Standing: directory.List, Group: e.id}
	case e.mailbox != 0:
		return directory.Resolution{Standing: directory.Person, Target: e.target()}
	case e.forwards:
		return directory.Resolution{Standing: directory.Outside, Target: directory.Target{ID: e.id}}
	}
	return directory.Resolution{Standing: directory.Unknown}
}

func (s *Store) duty() directory.Resolution {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	return s.view.admin()
}

// admin is who answers for the organisation: the first administrator.
func (v *view) admin() directory.Resolution {
	if len(v.admins) == 0 {
		return directory.Resolution{Standing: directory.Unknown}
	}
	return resolution(v.entry(v.admins[0]))
}

// Expand implements directory.Directory. It needs no SQL.
func (s *Store) Expand(ctx context.Context, group directory.ObjectID, p directory.Page) ([]directory.Target, error) {
	limit, err := pageLimit(p.Limit, maxPage)
	if err != nil {
		return nil, err
	}
	g := s.view.get(group)
	if g == nil || g.kind != directory.KindGroup {
		return nil, fault.New(fault.NotFound, "no such group")
	}
	return s.expand(ctx, g, p.After, limit)
}

// MaySendAs implements directory.Directory: one's own addresses, with any
// +detail; the product itself may use every address. It needs no SQL.
func (s *Store) MaySendAs(ctx context.Context, as directory.Principal, address string) (bool, error) {
	roles, err := s.roles(ctx, as)
	if err != nil {
		return false, err
	}
	if roles&directory.RoleSystem != 0 {
		return true, nil
	}
	r, err := s.lookUp(address)
	if fault.Of(err) == fault.Invalid && err != nil {
		return false, nil
	}
	return err == nil && r.Standing == directory.Person && r.Target.ID == as.ID, err
}

const (
	maxPage     = 1000
	defaultPage = 100
)

// pageLimit checks how many the caller wants; otherwise is what 0 means.
func pageLimit(n, otherwise int) (int, error) {
	switch {
	case n < 0 || n > maxPage:
		return 0, fault.New(fault.Invalid, "at most %d at a time", maxPage)
	case n == 0:
		return otherwise, nil
	}
	return n, nil
}
