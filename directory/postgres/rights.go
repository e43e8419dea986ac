package postgres

import (
	"context"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
)

// right is what a method needs.
type right int

const (
	// seeList: read the address list. Everybody who is signed in may.
	seeList right = iota + 1
	// seeAll: read every attribute of every object.
	seeAll
	// change: change any object.
	change
)

// granted tells which rights come with which role; a person has seeList.
var granted = map[directory.Role][]right{
	directory.RoleAdmin:  {seeList, seeAll, change},
	directory.RoleSystem: {seeList, seeAll, change},
}

var errSignedOut = fault.New(fault.Unauthenticated, "signed out")

// may tells whether as has right r. What as says of itself counts only as far
// as the directory agrees: the account must be enabled, in the epoch that the
// principal was granted in, and the roles are those of the directory.
func (s *Store) may(ctx context.Context, as directory.Principal, r right) error {
	roles, err := s.roles(ctx, as)
	if err != nil {
		return err
	}
	if r == seeList {
		return nil
	}
	for role, rights := range granted {
		if roles&role == 0 {
			continue
		}
		for _, have := range rights {
			if have == r {
				return nil
			}
		}
	}
	return fault.New(fault.Denied, "not allowed")
}

// roles gives the roles that as has now.
func (s *Store) roles(ctx context.Context, as directory.Principal) (directory.Role, error) {
	if as.Is(directory.RoleSystem) {
		return as.Roles & (directory.RoleSystem | directory.RoleAdmin), nil
	}
	if as.ID == 0 {
		return 0, fault.New(fault.Denied, "not allowed")
	}
	e := s.view.get(as.ID)
	if e == nil || e.epoch < as.Epoch {
		// Granted by a process that knows more than this one yet.
		if err := s.look(ctx, 0); err != nil {
			return 0, err
		}
		e = s.view.get(as.ID)
	}
	if e == nil || e.epoch == 0 || e.epoch != as.Epoch || !e.enabled || e.expires != 0 && e.expires <= time.Now().Unix() {
		return 0, errSignedOut
	}
	if as.App {
		return e.roles &^ (directory.RoleSystem | directory.RoleAdmin), nil
	}
	return e.roles &^ directory.RoleSystem, nil
}
