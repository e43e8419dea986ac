package meeting

import (
	"bytes"
	"context"
	"errors"

	"waypost/directory"
	"waypost/internal/itip"
	"waypost/store"
)

// errConcerns: the change is one for put.
var errConcerns = errors.New("others are concerned")

// putPrivate runs a door's change of what concerns nobody else, before and after:
// most of them, for which nothing has to be known of their owner.
func (s *Service) putPrivate(ctx context.Context, as directory.Principal, box store.MailboxID, p store.PutObject) (store.Put, error) {
	if as.Mailbox != box || as.ID == 0 {
		return store.Put{}, errConcerns
	}
	if p.Limit == 0 {
		u, err := s.dir.User(ctx, system, as.ID)
		if err != nil {
			return store.Put{}, err
		}
		p.Limit = u.Quota
	}
	edit := p.Edit
	p.Edit = func(old *store.Object) (store.Edit, error) {
		e, err := edit(old)
		if err == nil && (namesPeople(e.Text) || old != nil && namesPeople(old.Text)) {
			return store.Edit{}, errConcerns
		}
		return e, err
	}
	return s.store.PutObject(ctx, as, box, p)
}

// namesPeople tells whether a text may have an organizer or attendees.
func namesPeople(text []byte) bool {
	for i, c := range text {
		switch c {
		case 'o', 'O':
			if begins(text[i:], "organizer") {
				return true
			}
		case 'a', 'A':
			if begins(text[i:], "attendee") {
				return true
			}
		}
	}
	return false
}

// begins tells whether a text begins with a word of small letters, however it is
// written and wherever its line is folded (RFC 5545 section 3.1).
func begins(text []byte, word string) bool {
	for n := 0; n < len(word); n++ {
		for n > 0 {
			rest := bytes.TrimPrefix(text, []byte("\r"))
			if len(rest) < 2 || rest[0] != '\n' || rest[1] != ' ' && rest[1] != '\t' {
				break
			}
			text = rest[2:]
		}
		if len(text) == 0 || text[0]|0x20 != word[n] {
			return false
		}
		text = text[1:]
	}
	return true
}

// put runs a door's change and adds what it means for others.
func (s *Service) put(ctx context.Context, a *actor, p store.PutObject, quiet bool) (res store.Put, err error) {
	c := s.call(a, p.Once)
	c.side.Quiet = quiet
	edit := p.Edit
	p.Edit = func(old *store.Object) (store.Edit, error) {
		e, err := edit(old)
		if err != nil {
			return e, err
		}
		var was []byte
		if old != nil {
			was = old.Text
		}
		if bytes.Equal(was, e.Text) {
			return e, nil
		}
		r, err := c.side.Change(was, e.Text)
		if err != nil {
			return e, err
		}
		send, err := c.sends(r, quiet)
		if err != nil {
			return e, err
		}
		if r.Text != nil {
			e.Text = r.Text
		}
		e.Send = append(e.Send, send...)
		return e, nil
	}
	if p.Limit == 0 {
		p.Limit = a.limit
	}
	err = c.attempts(ctx, func() error {
		res, err = s.store.PutObject(ctx, a.as, a.box, p)
		return err
	})
	return res, err
}

func (s *Service) remove(ctx context.Context, a *actor, r store.RemoveObject, quiet bool) (seq store.Seq, err error) {
	c := s.call(a, "")
	c.side.Quiet = quiet
	more := r.Send
	r.Send = func(old *store.Object) ([]store.Outgoing, error) {
		var all []store.Outgoing
		if more != nil {
			if all, err = more(old); err != nil {
				return nil, err
			}
		}
		res, err := c.side.Change(old.Text, nil)
		if err != nil {
			return all, nil // what makes no sense concerns nobody
		}
		send, err := c.sends(res, quiet)
		return append(all, send...), err
	}
	err = c.attempts(ctx, func() error {
		seq, err = s.store.RemoveObject(ctx, a.as, a.box, r)
		return err
	})
	return seq, err
}

func (c *call) sends(r itip.Result, quiet bool) ([]store.Outgoing, error) {
	if quiet {
		r.Messages = nil
	}
	if c.missing() {
		return nil, errMissing
	}
	return c.outgoing(r.Messages)
}
