package meeting

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/itip"
	"waypost/internal/mail"
	"waypost/store"
)

const (
	// maxCalendar bounds what is read of a calendar that comes by mail.
	maxCalendar = 8 << 20
	// forField names the owner of whose mail somebody gets a copy as its delegate.
	// Whoever writes it gets no more than mail that changes no calendar.
	forField = "X-Waypost-Copy-For"
)

// errNothing ends a change that would change nothing.
var errNothing = errors.New("nothing to change")

// Delivered takes a message that was put into a mailbox just now, or whose delivery
// is repeated: what its calendar says becomes of the recipient's. An error that is
// Unavailable asks for the delivery to be repeated; others are the message's.
func (s *Service) Delivered(ctx context.Context, to directory.Target, env envelope.Envelope, item store.ItemID, m store.NewMessage) error {
	part := calendarPart(m.Summary)
	if part == nil || item == 0 {
		return nil
	}
	begun := time.Now()
	why, method, err := s.delivered(ctx, to, env, item, m, part)
	level := slog.LevelInfo
	if err != nil {
		level, why = slog.LevelWarn, "failed"
	}
	s.o.Log.Log(ctx, level, "meeting", "proto", "meeting", "cmd", strings.ToLower(method), "id", env.ID, "user", to.Address,
		"dur", time.Since(begun), "result", why, "err", err)
	return err
}

func (s *Service) delivered(ctx context.Context, to directory.Target, env envelope.Envelope, item store.ItemID, m store.NewMessage, part *mail.Part) (why, method string, err error) {
	as := inside(to)
	content, err := s.store.Content(ctx, as, to.Mailbox, item)
	if err != nil {
		if fault.Of(err) == fault.NotFound {
			return "the mail is gone", "", nil // its owner was there first
		}
		return "", "", err
	}
	received := io.NewSectionReader(content, int64(len(m.Prefix)), content.Size()-int64(len(m.Prefix)))
	if copyFor(received, m.Summary) != "" {
		return "a delegate's copy", "", nil
	}
	in, err := s.incoming(ctx, received, m.Summary, part, &env)
	if err != nil {
		return "", "", ignoreInvalid(err)
	}
	a, err := s.target(ctx, to)
	if err != nil {
		return "", in.Method, err
	}
	if err := s.tellDelegates(ctx, a, env.ID, m, in.Method); err != nil {
		return "", in.Method, err
	}
	cause := "delivery " + env.ID
	if a.owner.Kind.Resource() && !in.IsTask() {
		why, err = s.book(ctx, a, in, &env, cause)
	} else {
		why, err = s.receive(ctx, a, in, cause)
	}
	if fault.Of(err) == fault.Conflict && err != nil {
		err = fault.From(fault.Unavailable, err, "the calendar is busy") // it is asked again
	}
	if err == nil && a.owner.Kind.Resource() {
		err = s.tidy(ctx, a, item)
	}
	return why, in.Method, err
}

// tidy takes a message that was dealt with out of a room's inbox, which nobody
// reads and which would be full one day. It can be restored for a while.
func (s *Service) tidy(ctx context.Context, a *actor, item store.ItemID) error {
	list, err := s.store.EntriesOf(ctx, a.as, a.box, []store.ItemID{item})
	if err != nil || len(list) == 0 {
		return err
	}
	_, _, err = s.store.Delete(ctx, a.as, a.box, list[0].Folder, []store.ItemID{item}, false)
	return err
}

// ignoreInvalid leaves what may pass: a calendar that makes no sense never will.
func ignoreInvalid(err error) error {
	switch fault.Of(err) {
	case fault.Invalid, fault.TooLarge, fault.Limit:
		return nil
	}
	return err
}

// calendarPart is the part of a message that is for calendars (RFC 6047 section
// 2.4). Some programs leave the method to the calendar itself.
func calendarPart(sum *mail.Summary) *mail.Part {
	if sum == nil || sum.Root == nil {
		return nil
	}
	var found *mail.Part
	sum.Root.Walk(func(p *mail.Part, depth int) bool {
		if found == nil && p.MediaType() == "text/calendar" {
			found = p
		}
		return found == nil && !p.IsMessage() // what is only forwarded was sent to another one
	})
	return found
}

// incoming reads the calendar, and from whom it is as far as that is known: an
// address of ours counts only when somebody signed in to send it.
func (s *Service) incoming(ctx context.Context, c io.ReaderAt, sum *mail.Summary, part *mail.Part, env *envelope.Envelope) (*itip.Incoming, error) {
	text, err := io.ReadAll(io.LimitReader(part.Text(c), maxCalendar+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxCalendar {
		return nil, fault.New(fault.TooLarge, "the calendar is too large")
	}
	in, err := itip.ReadIncoming(text, method(c, part))
	if err != nil {
		return nil, err
	}
	// Sender and the envelope are anybody's where nobody signed in; From is what
	// people see, and what SPF and DKIM are to answer for (DMARC).
	from := []string{}
	for _, a := range sum.From {
		from = append(from, a.Addr())
	}
	if len(from) == 0 {
		from = append(from, env.From)
	}
	for _, address := range from {
		canonical, err := envelope.Canonical(address)
		if address == "" || err != nil {
			continue
		}
		if !env.Trusted {
			r, err := s.dir.Resolve(ctx, canonical)
			if err != nil {
				return nil, err
			}
			if r.Standing != directory.Foreign {
				continue
			}
		}
		in.From = append(in.From, canonical)
	}
	return in, nil
}

// method is that of the part's type.
func method(c io.ReaderAt, part *mail.Part) string {
	fields, err := mail.ReadFields(c, part)
	if err != nil {
		return ""
	}
	_, params, err := mime.ParseMediaType(fields.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return params["method"]
}

func copyFor(c io.ReaderAt, sum *mail.Summary) string {
	fields, err := mail.ReadFields(c, sum.Root)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(fields.Get(forField))
}

// receive carries a message into its recipient's calendar.
func (s *Service) receive(ctx context.Context, a *actor, in *itip.Incoming, cause string) (why string, err error) {
	class, role := store.ClassCalendar, store.RoleCalendar
	if in.IsTask() {
		class, role = store.ClassTasks, store.RoleTasks
	}
	c := s.call(a, cause)
	var dead *itip.Incoming
	err = c.attempts(ctx, func() error {
		p := store.PutObject{Role: role, UID: in.UID, Once: cause, Limit: a.limit}
		have, err := s.store.ObjectsByUID(ctx, a.as, a.box, class, in.UID)
		if err != nil {
			return err
		}
		var was early
		if len(have) > 0 {
			p.Folder, p.Item, p.UID = have[0].Folder, have[0].Item, ""
		} else if was, err = s.recall(ctx, a, in); err != nil {
			return err
		}
		in.Earlier = was.text
		var remember []byte
		p.Edit = func(old *store.Object) (store.Edit, error) {
			var was []byte
			if old != nil {
				was = old.Text
			}
			r, err := c.side.Receive(was, in)
			if err != nil {
				return store.Edit{}, err
			}
			why, remember = r.Why, r.Remember
			send, err := c.sends(r, false)
			if err != nil {
				return store.Edit{}, err
			}
			switch {
			case r.Text != nil:
				return store.Edit{Text: r.Text, Send: send}, nil
			case old != nil && len(send) > 0:
				return store.Edit{Text: old.Text, Send: send}, nil
			}
			return store.Edit{}, errNothing
		}
		put, err := s.store.PutObject(ctx, a.as, a.box, p)
		switch {
		case errors.Is(err, errNothing) && remember != nil:
			return s.remember(ctx, a, in, was, remember)
		case err == nil && put.Created:
			dead, err = s.overtaken(ctx, a, in, was)
		}
		return err
	})
	if errors.Is(err, errNothing) {
		err = nil
	}
	if err == nil && dead != nil {
		return s.receive(ctx, a, dead, cause+" cancelled")
	}
	return why, err
}

// tellDelegates sends a copy of the mail to those who act for its recipient, when
// it wants them to have one. The message is sent on as it is (RFC 5322 section 3.6.6).
func (s *Service) tellDelegates(ctx context.Context, a *actor, id string, m store.NewMessage, method string) error {
	set, err := s.store.Settings(ctx, a.as, a.box)
	if err != nil || !set.Calendar.Copy || method == "PUBLISH" {
		return err
	}
	return s.sendCopies(ctx, a, id, m)
}

func (s *Service) sendCopies(ctx context.Context, a *actor, id string, m store.NewMessage) error {
	list, err := s.dir.Delegates(ctx, system, a.owner.ID)
	if err != nil || len(list) == 0 {
		return err
	}
	o := store.Outgoing{Key: "copy " + id, From: a.owner.Address, Blob: m.Blob, Summary: m.Summary}
	var to []mail.Address
	for _, t := range list {
		o.Recipients = append(o.Recipients, t.Address)
		to = append(to, mailAddress(t.Address))
	}
	me := mail.FormatAddress(mailAddress(a.owner.Address))
	o.Prefix = []byte(string(copyHeader(a.owner.Address)) +
		mail.FoldHeader("Resent-From", me) + mail.FoldHeader("Resent-To", mail.FormatAddresses(to)) +
		mail.FoldHeader("Resent-Date", a.side.Now.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700")))
	_, err = s.store.Send(ctx, a.as, a.box, o)
	return err
}

// copyHeader marks a copy for the owner's delegates.
func copyHeader(owner string) []byte { return []byte(mail.FoldHeader(forField, owner)) }

func mailAddress(address string) mail.Address {
	at := strings.LastIndexByte(address, '@')
	return mail.Address{Mailbox: address[:max(at, 0)], Host: address[at+1:]}
}
