package meeting

import (
	"context"
	"errors"
	"io"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/itip"
	"waypost/store"
)

func (s *Service) respond(ctx context.Context, as directory.Principal, box store.MailboxID, item store.ItemID, answer itip.Answer) (store.Entry, error) {
	a, err := s.own(ctx, as, box)
	if err != nil {
		return store.Entry{}, err
	}
	list, err := s.store.Messages(ctx, as, box, []store.ItemID{item})
	if err != nil {
		return store.Entry{}, err
	}
	if len(list) == 0 || list[0] == nil {
		objects, err := s.store.ObjectsOf(ctx, as, box, []store.ItemID{item})
		if err != nil {
			return store.Entry{}, err
		}
		if len(objects) == 0 || objects[0] == nil {
			return store.Entry{}, fault.New(fault.NotFound, "there is no such invitation")
		}
		return s.answer(ctx, a, objects[0].Folder, item, answer)
	}
	uid, a, err := s.invitation(ctx, a, list[0])
	if err != nil {
		return store.Entry{}, err
	}
	have, err := s.store.ObjectsByUID(ctx, a.as, a.box, store.ClassCalendar, uid)
	if err != nil {
		return store.Entry{}, err
	}
	if len(have) == 0 {
		return store.Entry{}, fault.New(fault.NotFound, "the appointment is no longer in the calendar")
	}
	return s.answer(ctx, a, have[0].Folder, have[0].Item, answer)
}

// invitation finds out what a mail invites to and whom: its reader, or whom the
// reader is a delegate of. What is not in the calendar is placed there first, as
// after a delivery whose calendar failed.
func (s *Service) invitation(ctx context.Context, a *actor, m *store.Message) (uid string, _ *actor, err error) {
	part := calendarPart(m.Summary)
	if part == nil {
		return "", nil, fault.New(fault.Invalid, "the message is no invitation")
	}
	content, err := s.store.Content(ctx, a.as, a.box, m.Item)
	if err != nil {
		return "", nil, err
	}
	received := io.NewSectionReader(content, int64(len(m.Prefix)), content.Size()-int64(len(m.Prefix)))
	// Who reads it decides; so the mail's word for its sender is enough.
	in, err := s.incoming(ctx, received, m.Summary, part, &envelope.Envelope{Trusted: true})
	if err != nil {
		return "", nil, err
	}
	if owner := copyFor(received, m.Summary); owner != "" {
		r, err := s.dir.Resolve(ctx, owner)
		if err != nil {
			return "", nil, err
		}
		if r.Standing != directory.Person {
			return "", nil, fault.New(fault.NotFound, "whom it invites is not here any more")
		}
		if a, err = s.delegate(ctx, a.as, r.Target); err != nil {
			return "", nil, err
		}
		return in.UID, a, nil // its own delivery placed it
	}
	if in.Method == "REQUEST" {
		if _, err := s.receive(ctx, a, in, ""); err != nil {
			return "", nil, err
		}
	}
	return in.UID, a, nil
}

func (s *Service) answer(ctx context.Context, a *actor, folder store.FolderID, item store.ItemID, answer itip.Answer) (store.Entry, error) {
	c := s.call(a, "")
	var entry store.Entry
	err := c.attempts(ctx, func() error {
		gone := false
		put, err := s.store.PutObject(ctx, a.as, a.box, store.PutObject{Folder: folder, Item: item, Limit: a.limit, Edit: func(old *store.Object) (store.Edit, error) {
			if old == nil {
				return store.Edit{}, fault.New(fault.NotFound, "there is no such appointment")
			}
			r, err := c.side.Answer(old.Text, answer)
			if err != nil {
				return store.Edit{}, err
			}
			if gone = r.Remove; gone {
				return store.Edit{}, errNothing
			}
			send, err := c.sends(r, answer.Silent)
			return store.Edit{Text: r.Text, Send: send}, err
		}})
		if !errors.Is(err, errNothing) || !gone {
			entry = put.Entry
			return err
		}
		_, err = s.store.RemoveObject(ctx, a.as, a.box, store.RemoveObject{Folder: folder, Item: item, Send: func(old *store.Object) ([]store.Outgoing, error) {
			r, err := c.side.Answer(old.Text, answer)
			if err != nil {
				return nil, err
			}
			return c.sends(r, answer.Silent)
		}})
		return err
	})
	return entry, err
}

// DeclineProposal tells an attendee that the time that it proposed is not taken.
func (s *Service) DeclineProposal(ctx context.Context, as directory.Principal, box store.MailboxID, item store.ItemID, attendee string) error {
	a, err := s.own(ctx, as, box)
	if err != nil {
		return err
	}
	objects, err := s.store.ObjectsOf(ctx, as, box, []store.ItemID{item})
	if err != nil {
		return err
	}
	if len(objects) == 0 || objects[0] == nil {
		return fault.New(fault.NotFound, "there is no such appointment")
	}
	c := s.call(a, "")
	return c.attempts(ctx, func() error {
		_, err := s.store.PutObject(ctx, a.as, a.box, store.PutObject{Folder: objects[0].Folder, Item: item, Limit: a.limit, Edit: func(old *store.Object) (store.Edit, error) {
			if old == nil {
				return store.Edit{}, fault.New(fault.NotFound, "there is no such appointment")
			}
			r, err := c.side.DeclineProposal(old.Text, attendee)
			if err != nil {
				return store.Edit{}, err
			}
			send, err := c.sends(r, false)
			return store.Edit{Text: r.Text, Send: send}, err
		}})
		return err
	})
}
