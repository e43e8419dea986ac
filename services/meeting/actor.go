package meeting

import (
	"context"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/itip"
	"waypost/internal/zone"
	"waypost/store"
)

// actor is whose mailbox changes and who changes it.
type actor struct {
	as    directory.Principal // towards the store
	box   store.MailboxID
	owner directory.User
	side  itip.Side
	limit int64
	// language is that of the words in the owner's mail.
	language string
}

var system = directory.System("meetings")

// inside is the product acting in somebody's mailbox.
func inside(t directory.Target) directory.Principal {
	as := system
	as.Mailbox, as.HomeMDB, as.Address = t.Mailbox, t.HomeMDB, t.Address
	return as
}

// own is somebody in its own mailbox.
func (s *Service) own(ctx context.Context, as directory.Principal, box store.MailboxID) (*actor, error) {
	if as.Mailbox != box || as.ID == 0 {
		return nil, fault.New(fault.Denied, "this is somebody else's calendar")
	}
	return s.actor(ctx, as, as.ID)
}

func (s *Service) actor(ctx context.Context, as directory.Principal, id directory.ObjectID) (*actor, error) {
	u, err := s.dir.User(ctx, system, id)
	if err != nil {
		return nil, err
	}
	set, err := s.store.Settings(ctx, as, as.Mailbox)
	if err != nil {
		return nil, err
	}
	return &actor{
		as: as, box: as.Mailbox, owner: u, limit: u.Quota, language: set.Language,
		side: itip.Side{Address: u.Address, Aliases: u.Addresses, Name: u.Name, Now: s.o.Now(), Zone: zoneOf(set.Calendar)},
	}, nil
}

// target is the product acting for the owner of a mailbox.
func (s *Service) target(ctx context.Context, t directory.Target) (*actor, error) {
	return s.actor(ctx, inside(t), t.ID)
}

// delegate is somebody acting for the owner of a mailbox.
func (s *Service) delegate(ctx context.Context, as directory.Principal, owner directory.Target) (*actor, error) {
	if as.ID == owner.ID {
		return s.own(ctx, as, owner.Mailbox)
	}
	ok, err := s.isDelegate(ctx, as.ID, owner.ID)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fault.New(fault.Denied, "you are no delegate of this person")
	}
	a, err := s.target(ctx, owner)
	if err != nil {
		return nil, err
	}
	a.side.SentBy = as.Address
	return a, nil
}

func (s *Service) isDelegate(ctx context.Context, who, owner directory.ObjectID) (bool, error) {
	if who == 0 {
		return false, nil
	}
	list, err := s.dir.Delegates(ctx, system, owner)
	if err != nil {
		return false, err
	}
	for _, t := range list {
		if t.ID == who {
			return true, nil
		}
	}
	return false, nil
}

func zoneOf(c store.CalendarSettings) *time.Location {
	if l := zone.Load(c.Zone); c.Zone != "" && l != nil {
		return l
	}
	return time.UTC
}
