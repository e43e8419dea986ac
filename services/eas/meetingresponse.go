package eas

import (
	"context"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/internal/itip"
	"waypost/internal/mail"
	"waypost/internal/zone"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// Status values of MeetingResponse (MS-ASCMD 2.2.3.177.9).
const (
	meetingOK       = 1
	meetingInvalid  = 2
	meetingMailbox  = 3
	meetingServer   = 4
	maxMeetingItems = 100 // MS-ASCMD 3.1.5.10
)

var meetingFaults = map[fault.Kind]int{
	fault.Internal:        meetingServer,
	fault.Invalid:         meetingInvalid,
	fault.Unauthenticated: meetingMailbox,
	fault.Denied:          meetingInvalid,
	fault.NotFound:        meetingInvalid,
	fault.Exists:          meetingServer,
	fault.Conflict:        meetingServer,
	fault.OverQuota:       meetingMailbox,
	fault.TooLarge:        meetingInvalid,
	fault.Limit:           meetingServer,
	fault.Resync:          meetingServer,
	fault.Unavailable:     meetingServer,
}

// meetingResponse answers invitations (MS-ASCMD 2.2.1.11).
func (s *Server) meetingResponse(ctx context.Context, r *request) error {
	n, err := r.tree(nil)
	if err != nil {
		return err
	}
	if len(n.Children) == 0 || len(n.Children) > maxMeetingItems {
		return status(StatusInvalidXML)
	}
	answer := wbxml.New(wbxml.MeetingResponseMeetingResponse)
	for q := range n.All(wbxml.MeetingResponseRequest) {
		id := q.Get(wbxml.MeetingResponseRequestId)
		if id == "" {
			id = q.Get(wbxml.SearchLongId)
		}
		st, event, err := s.respond(ctx, r, q, id)
		if err != nil {
			return err
		}
		result := wbxml.New(wbxml.MeetingResponseResult)
		if q.Has(wbxml.MeetingResponseRequestId) {
			result.Add(wbxml.NewText(wbxml.MeetingResponseRequestId, id))
		} else if q.Has(wbxml.SearchLongId) {
			result.Add(wbxml.NewText(wbxml.SearchLongId, id))
		}
		result.Add(wbxml.NewInt(wbxml.MeetingResponseStatus, st))
		if event != 0 {
			result.Add(wbxml.NewText(wbxml.MeetingResponseCalendarId, itemID(event)))
		}
		answer.Add(result)
	}
	return r.reply(answer)
}

// respond carries out one answer and gives the appointment it concerns.
func (s *Server) respond(ctx context.Context, r *request, q *wbxml.Node, id string) (st int, event store.ItemID, err error) {
	item, ok := parseItem(id)
	a, good, err := s.readAnswer(r, q)
	switch {
	case err != nil:
		return 0, 0, err
	case !ok || !good:
		return meetingInvalid, 0, nil
	}
	x, entry, err := s.oneItem(ctx, r, item)
	if err == nil && x.obj != nil && !a.At.IsZero() {
		a.At, a.Day, err = s.instanceAt(ctx, r, x.obj, &entry, a.At)
	}
	if err == nil {
		var made store.Entry
		if made, err = s.opt.Meetings.Respond(ctx, r.who, r.box(), item, a); err == nil {
			event = made.Item
		}
	}
	if err == nil && x.msg != nil {
		err = s.fileAway(ctx, r, &entry)
	}
	switch kind := fault.Of(err); {
	case err == nil:
		return meetingOK, event, nil
	case kind == fault.Internal:
		if st, ok := statusOf(err); ok {
			return st, 0, nil
		}
		return 0, 0, err
	default:
		return meetingFaults[kind], 0, nil
	}
}

// readAnswer reads what the phone's owner says. good is false for an answer that
// makes no sense.
func (s *Server) readAnswer(r *request, q *wbxml.Node) (a itip.Answer, good bool, err error) {
	switch q.Get(wbxml.MeetingResponseUserResponse) {
	case "1":
		a.Status = itip.Accepted
	case "2":
		a.Status = itip.Tentative
	case "3":
		a.Status = itip.Declined
	default:
		return a, false, nil
	}
	times := []struct {
		tag   wbxml.Tag
		dst   *time.Time
		since wbxml.Version
	}{
		{wbxml.MeetingResponseInstanceId, &a.At, wbxml.V141},
		{wbxml.MeetingResponseProposedStartTime, &a.From, wbxml.V161},
		{wbxml.MeetingResponseProposedEndTime, &a.To, wbxml.V161},
	}
	send := q.Child(wbxml.MeetingResponseSendResponse)
	for _, t := range times {
		v := q.Get(t.tag)
		if v == "" { // MS-ASCMD 2.2.3.141 has the proposed times in SendResponse
			v = send.Get(t.tag)
		}
		if v != "" && r.version >= t.since {
			at, ok := parseTime(v)
			if !ok {
				return a, false, status(StatusInvalidDateTime)
			}
			*t.dst = at
		}
	}
	if a.From.IsZero() != a.To.IsZero() || a.To.Before(a.From) {
		return a, false, nil
	}
	// Before 16.0 the phone mails the answer itself; from then on it says whether
	// one is to be sent (MS-ASCMD 2.2.3.160).
	a.Silent = r.before(wbxml.V160) || send == nil
	if b := send.Child(wbxml.AirSyncBaseBody); b != nil {
		text := nodeText(wbxml.NewText(wbxml.AirSyncBaseData, b.Get(wbxml.AirSyncBaseData)))
		if kind, _ := b.Int(wbxml.AirSyncBaseType, bodyPlain); kind == bodyHTML {
			text = mail.HTMLToText(strings.NewReader(text), maxHeldText)
		}
		a.Comment = text
	}
	return a, true, nil
}

// instanceAt places the InstanceId of an appointment: a series of days is named
// by days.
func (s *Server) instanceAt(ctx context.Context, r *request, o *store.Object, e *store.Entry, at time.Time) (time.Time, bool, error) {
	f, err := s.store.Folder(ctx, r.who, r.box(), e.Folder)
	if err != nil {
		return at, false, err
	}
	opts := defaultOptions()
	side, err := s.side(ctx, r, &f, &opts)
	if err != nil {
		return at, false, err
	}
	x, err := side.openAppointment(o.Text)
	switch {
	case err != nil:
		return at, false, err
	case x.a.Recurrence == nil && !x.a.Partial:
		return at, false, status(StatusNoRecurrenceInCalendar)
	case x.a.AllDay && r.before(wbxml.V160):
		return zone.Wall(at, side.zone), true, nil
	}
	return at, x.a.AllDay, nil
}

// fileAway moves an invitation that was answered to the trash.
func (s *Server) fileAway(ctx context.Context, r *request, e *store.Entry) error {
	trash, err := s.store.FolderByRole(ctx, r.who, r.box(), store.RoleTrash)
	if err != nil || e.Folder == trash.ID {
		return err
	}
	_, err = s.store.Move(ctx, r.who, r.box(), e.Folder, []store.ItemID{e.Item}, trash.ID)
	return err
}
