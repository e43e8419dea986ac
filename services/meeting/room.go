package meeting

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/itip"
	"waypost/store"
)

const (
	// maxInstances of a series are looked at; a room takes no series that has more.
	maxInstances = 1000
	// maxTaken bookings are compared with.
	maxTaken = 50_000
	// bookAttempts are made when other bookings keep coming between.
	bookAttempts = 50
)

// book lets a room answer a message. It looks at its calendar outside of any
// transaction; the booking is written only if nothing changed there since, else it
// looks again. So whoever comes second sees whoever came first.
func (s *Service) book(ctx context.Context, a *actor, in *itip.Incoming, env *envelope.Envelope, cause string) (why string, err error) {
	set, err := s.store.Settings(ctx, a.as, a.box)
	if err != nil {
		return "", err
	}
	c := s.call(a, cause)
	r := &room{s: s, a: a, c: c, settings: set.Calendar, in: in, cause: cause}
	if r.who, err = s.booker(ctx, a, in, env, set.Calendar.Room); err != nil {
		return "", err
	}
	for range bookAttempts {
		err = c.attempts(ctx, func() error {
			why, err = r.try(ctx)
			return err
		})
		if fault.Of(err) != fault.Conflict || err == nil {
			break
		}
	}
	if errors.Is(err, errNothing) {
		err = nil
	}
	if err == nil {
		dead, err := s.overtaken(ctx, a, in, r.early)
		if err != nil {
			return why, err
		}
		if dead != nil {
			return s.book(ctx, a, dead, env, cause+" cancelled")
		}
	}
	if why == "pending" && err == nil {
		err = s.askDelegates(ctx, a, in, cause)
	}
	return why, err
}

// room is one request to a room.
type room struct {
	s        *Service
	a        *actor
	c        *call
	settings store.CalendarSettings
	in       *itip.Incoming
	who      string // why the organizer may not book; empty when it may
	cause    string
	early    early
}

// booker tells why somebody may not book; empty when it may.
func (s *Service) booker(ctx context.Context, a *actor, in *itip.Incoming, env *envelope.Envelope, b store.Booking) (string, error) {
	if len(in.From) == 0 {
		return "The sender is not known.", nil
	}
	var ours directory.ObjectID
	for _, address := range in.From {
		r, err := s.dir.Resolve(ctx, address)
		if err != nil {
			return "", err
		}
		if r.Standing == directory.Person && env.Trusted {
			ours = r.Target.ID
		}
	}
	switch {
	case ours == 0 && !b.Outside:
		return "Only people of this organisation may book " + a.owner.Name + ".", nil
	case len(b.Who) == 0 || ours == 0 && b.Outside:
		return "", nil
	}
	for _, allowed := range b.Who {
		r, err := s.dir.Resolve(ctx, allowed)
		if err != nil {
			return "", ignoreInvalid(err)
		}
		if r.Target.ID == ours && r.Standing == directory.Person {
			return "", nil
		}
		if r.Standing != directory.List {
			continue
		}
		for p := (directory.Page{Limit: 1000}); ; {
			list, err := s.dir.Expand(ctx, r.Group, p)
			if err != nil {
				return "", err
			}
			for _, t := range list {
				if t.ID == ours {
					return "", nil
				}
			}
			if len(list) < p.Limit {
				break
			}
			p.After = list[len(list)-1].ID
		}
	}
	return "You are not among those who may book " + a.owner.Name + ".", nil
}

// try answers by what the calendar holds now.
func (r *room) try(ctx context.Context) (why string, err error) {
	s, a := r.s, r.a
	folder, err := s.store.FolderByRole(ctx, a.as, a.box, store.RoleCalendar)
	if err != nil {
		return "", err
	}
	none := store.Seq(0)
	p := store.PutObject{Folder: folder.ID, UID: r.in.UID, Once: r.cause, Limit: a.limit, IfFolder: &folder.HighestSeq, IfMatch: &none}
	have, err := s.store.ObjectsByUID(ctx, a.as, a.box, store.ClassCalendar, r.in.UID)
	if err != nil {
		return "", err
	}
	var was []byte
	if len(have) > 0 {
		list, err := s.store.Objects(ctx, a.as, a.box, []store.ItemID{have[0].Item})
		if err != nil {
			return "", err
		}
		if len(list) == 0 || list[0] == nil {
			return "", fault.New(fault.Conflict, "the booking is gone")
		}
		was, p.Folder, p.Item, p.UID, p.IfMatch = list[0].Text, list[0].Folder, list[0].Item, "", &list[0].Version
	}
	r.early = early{}
	if len(have) == 0 {
		if r.early, err = s.recall(ctx, a, r.in); err != nil {
			return "", err
		}
	}
	r.in.Earlier = r.early.text
	res, err := r.c.side.Receive(was, r.in)
	switch {
	case err != nil:
		return "", err
	case r.c.missing():
		return "", errMissing
	case res.Remember != nil:
		return res.Why, s.remember(ctx, a, r.in, r.early, res.Remember)
	case res.Text == nil:
		return res.Why, errNothing
	case itip.Cancelled(res.Text):
		_, err := s.store.RemoveObject(ctx, a.as, a.box, store.RemoveObject{Folder: p.Folder, Item: p.Item, IfMatch: p.IfMatch})
		return "cancelled", err
	case r.in.Method == "CANCEL":
		return res.Why, r.put(ctx, p, res)
	}
	verdict, err := r.decide(ctx, folder.ID, p.Item, res.Text)
	if err != nil {
		return "", err
	}
	switch verdict.status {
	case itip.Accepted:
		booked, err := r.c.side.Book(res.Text, itip.Accepted, verdict.declined, r.comment(verdict.why))
		if err != nil {
			return "", err
		}
		return "accepted", r.put(ctx, p, booked)
	case itip.Declined:
		answer, err := r.c.side.Book(res.Text, itip.Declined, nil, r.comment(verdict.why))
		if err != nil {
			return "", err
		}
		return "declined", r.decline(ctx, p, answer)
	}
	return "pending", r.put(ctx, p, res)
}

func (r *room) comment(why string) string {
	return strings.TrimSpace(why + "\n" + r.settings.Room.Text)
}

func (r *room) put(ctx context.Context, p store.PutObject, res itip.Result) error {
	send, err := r.c.sends(res, false)
	if err != nil {
		return err
	}
	p.Edit = func(*store.Object) (store.Edit, error) { return store.Edit{Text: res.Text, Send: send}, nil }
	_, err = r.s.store.PutObject(ctx, r.a.as, r.a.box, p)
	return err
}

// decline answers without keeping anything.
func (r *room) decline(ctx context.Context, p store.PutObject, res itip.Result) error {
	send, err := r.c.sends(res, false)
	if err != nil {
		return err
	}
	if p.Item != 0 {
		_, err = r.s.store.RemoveObject(ctx, r.a.as, r.a.box, store.RemoveObject{
			Folder: p.Folder, Item: p.Item, IfMatch: p.IfMatch,
			Send: func(*store.Object) ([]store.Outgoing, error) { return send, nil },
		})
		return err
	}
	for _, o := range send {
		if _, err := r.s.store.Send(ctx, r.a.as, r.a.box, o); err != nil {
			return err
		}
	}
	return nil
}

// verdict is a room's decision; an empty status waits for a delegate.
type verdict struct {
	status   string
	why      string
	declined []string // instances that are taken
}

// decide applies the room's rules.
func (r *room) decide(ctx context.Context, folder store.FolderID, item store.ItemID, text []byte) (verdict, error) {
	b, now := r.settings.Room, r.c.side.Now
	// Breaking a rule is declined, or waits where a delegate may make an exception.
	broken := func(format string, args ...any) verdict {
		if b.Ask {
			return verdict{}
		}
		return verdict{status: itip.Declined, why: fmt.Sprintf(format, args...)}
	}
	times, recurs, more, err := r.c.side.Times(text, maxInstances)
	name := r.a.owner.Name
	switch {
	case r.who != "":
		return broken("%s", r.who), nil
	case err != nil && len(times) == 0:
		return verdict{status: itip.Declined, why: "The times of the meeting cannot be worked out."}, nil
	case len(times) == 0:
		return verdict{status: itip.Declined, why: "The meeting is over."}, nil
	case recurs && b.NoRecurring:
		return broken("%s takes no series of meetings.", name), nil
	}
	days := b.Days
	if days == 0 {
		days = 365
	}
	last := times[len(times)-1]
	if days > 0 && (more || last.Start.After(now.AddDate(0, 0, days))) {
		return broken("%s can be booked for at most %d days ahead.", name, days), nil
	}
	if more {
		return broken("The series has more instances than %s can take.", name), nil
	}
	for _, t := range times {
		if b.Minutes > 0 && t.End.Sub(t.Start) > time.Duration(b.Minutes)*time.Minute {
			return broken("%s can be booked for at most %d minutes.", name, b.Minutes), nil
		}
		if b.WorkOnly && !within(r.settings, t) {
			return broken("%s can be booked in its working hours only.", name), nil
		}
	}
	if b.Manual {
		return verdict{}, nil
	}
	if b.Conflicts {
		return verdict{status: itip.Accepted}, nil
	}
	taken, err := r.taken(ctx, folder, item, times)
	if err != nil {
		return verdict{}, err
	}
	switch {
	case len(taken) == 0:
		return verdict{status: itip.Accepted}, nil
	case !recurs || len(taken) == len(times) || len(taken)*100 > b.Percent*len(times) && len(taken) > b.Instances:
		return verdict{status: itip.Declined, why: name + " is taken at this time."}, nil
	}
	return verdict{status: itip.Accepted, declined: taken, why: fmt.Sprintf("%s is taken at %d of the times.", name, len(taken))}, nil
}

// taken are the instances at which something else is booked.
func (r *room) taken(ctx context.Context, folder store.FolderID, item store.ItemID, times []itip.Instance) ([]string, error) {
	from, to := times[0].Start, times[0].End
	for _, t := range times {
		if t.End.After(to) {
			to = t.End
		}
	}
	q := store.Between{Folders: []store.FolderID{folder}, From: from, To: to, Floating: r.c.side.Zone, Limit: 10_000}
	var busy []itip.Instance
	for {
		page, err := r.s.store.Occurrences(ctx, r.a.as, r.a.box, q)
		if err != nil {
			return nil, err
		}
		for _, o := range page {
			if o.Item != item && !o.Cancelled && o.Busy != store.BusyFree {
				start, end := placed(o, r.c.side.Zone)
				busy = append(busy, itip.Instance{Start: start, End: end})
			}
		}
		if len(page) < q.Limit {
			break
		}
		if len(busy) > maxTaken {
			return nil, fault.New(fault.Limit, "too many bookings to compare with")
		}
		q.After = &page[len(page)-1]
	}
	var all []string
	for _, t := range times {
		for _, o := range busy {
			if o.Start.Before(t.End) && t.Start.Before(o.End) {
				all = append(all, t.ID)
				break
			}
		}
	}
	return all, nil
}

// within tells whether a time is in the room's working hours of one day.
func within(c store.CalendarSettings, t itip.Instance) bool {
	l := zoneOf(c)
	start, end := t.Start.In(l), t.End.In(l)
	midnight := time.Date(start.Year(), start.Month(), start.Day(), 0, 0, 0, 0, l)
	from := start.Hour()*60 + start.Minute()
	to := from + int(end.Sub(start)/time.Minute)
	if end.Before(midnight.AddDate(0, 0, 1)) {
		to = end.Hour()*60 + end.Minute()
	}
	for _, w := range workOf(c) {
		if w.Day == start.Weekday() && w.From <= from && to <= w.To {
			return true
		}
	}
	return false
}

// askDelegates sends the request to those who decide for the room.
func (s *Service) askDelegates(ctx context.Context, a *actor, in *itip.Incoming, cause string) error {
	list, err := s.dir.Delegates(ctx, system, a.owner.ID)
	if err != nil || len(list) == 0 {
		return err
	}
	m := itip.Message{Kind: itip.Invitation, Method: "REQUEST", From: itip.Person{Address: a.owner.Address, Name: a.owner.Name}, Calendar: in.Calendar, Automatic: true}
	for _, t := range list {
		m.To = append(m.To, itip.Person{Address: t.Address})
	}
	c := s.call(a, cause+" ask")
	return c.attempts(ctx, func() error {
		send, err := c.outgoing([]itip.Message{m})
		if err != nil {
			return err
		}
		for _, o := range send {
			o.Prefix = copyHeader(a.owner.Address)
			if _, err := s.store.Send(ctx, a.as, a.box, o); err != nil {
				return err
			}
		}
		return nil
	})
}
