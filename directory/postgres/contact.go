package postgres

import (
	"context"
	"strings"

	"waypost/directory"
	"waypost/directory/tree"
)

// What a mailbox that nobody signs in to is for, as msExchResourceMetaData says.
const (
	resourceRoom      = "ResourceType:Room"
	resourceEquipment = "ResourceType:Equipment"
)

// forwardAddress reads a targetAddress, "SMTP:joe@elsewhere.test" or the address
// alone; "" for what mail cannot go to, such as another network's address.
func forwardAddress(target string) string {
	if kind, address, ok := strings.Cut(target, ":"); ok {
		if !strings.EqualFold(kind, "smtp") {
			return ""
		}
		target = address
	}
	if target == "" {
		return ""
	}
	address, err := directory.CleanAddress(target)
	if err != nil {
		return ""
	}
	return address
}

// forward gives where mail for an object without a mailbox goes: its
// targetAddress, or a contact's own address. own is its primary address.
func (s *Store) forward(ctx context.Context, id directory.ObjectID, own string) string {
	e, err := s.index.Load().Get(ctx, id, &tree.Query{Attributes: []string{"targetAddress"}}, nil)
	if err != nil {
		return ""
	}
	if v := e.Get("targetAddress"); len(v) > 0 {
		return forwardAddress(v[0])
	}
	return own
}

// outside completes a resolution of what has no mailbox. One that leads to an
// address of ours must be a mailbox's: chains could be circles.
func (s *Store) outside(ctx context.Context, r directory.Resolution) (directory.Resolution, error) {
	e := s.view.get(r.Target.ID)
	if e == nil {
		return directory.Resolution{Standing: directory.Unknown}, nil
	}
	address := s.forward(ctx, e.id, e.address)
	if address == "" {
		return directory.Resolution{Standing: directory.Unknown}, nil
	}
	end, err := s.lookUp(address)
	if err != nil || end.Standing != directory.Foreign && end.Standing != directory.Person {
		return directory.Resolution{Standing: directory.Unknown}, nil //nolint:nilerr // an address that nobody can have
	}
	r.Forward = address
	return r, nil
}

// fillForwards gives the targets without a mailbox their outside addresses, and
// leaves out those that have none.
func (s *Store) fillForwards(ctx context.Context, targets []directory.Target) []directory.Target {
	kept := targets[:0]
	for _, t := range targets {
		if t.Mailbox == 0 && t.Forward == "" {
			r, _ := s.outside(ctx, directory.Resolution{Standing: directory.Outside, Target: t})
			if r.Standing != directory.Outside {
				continue
			}
			t.Forward, t.HomeMDB, t.Quota = r.Forward, "", 0
		}
		kept = append(kept, t)
	}
	return kept
}
