package e2e

import (
	"fmt"
	"testing"
	"time"

	wb "waypost/services/eas/wbxml"
)

// TestMeetingFromPhone: alice's phone of 16.1 invites bob, and the server mails
// the invitation; bob's phone sees it, and an appointment in his calendar before
// any answer; he accepts, and alice's other phone, of 14.1, sees that he did.
func TestMeetingFromPhone(t *testing.T) {
	s := newSite(t)
	s.freePorts()
	s.serve()
	s.organisation("alice", "bob")
	ctx := t.Context()
	open := func(user, id, version string) (*phone, *collection, *collection) {
		t.Helper()
		p := s.phone(user, id, version)
		if err := p.provision(ctx); err != nil {
			t.Fatal(err)
		}
		if err := p.folderSync(ctx); err != nil {
			t.Fatal(err)
		}
		inbox, calendar := p.collection(p.folderOf(typeInbox)), p.collection(p.folderOf("8"))
		for _, c := range []*collection{inbox, calendar} {
			if err := c.drain(ctx); err != nil {
				t.Fatal(err)
			}
		}
		return p, inbox, calendar
	}
	_, _, alice := open("alice", "alice16", "16.1")
	_, _, other := open("alice", "alice14", "14.1")
	bob, inbox, calendar := open("bob", "bob16", "16.1")
	start := time.Now().UTC().AddDate(0, 0, 7).Truncate(time.Hour)
	const compact = "20060102T150405Z"
	answer, err := alice.sync(ctx, wb.New(wb.AirSyncAdd, wb.NewText(wb.AirSyncClientId, "c1"), wb.New(wb.AirSyncApplicationData,
		wb.NewText(wb.CalendarClientUid, "phones-meeting"), wb.NewText(wb.CalendarSubject, "Plan"),
		wb.NewText(wb.CalendarStartTime, start.Format(compact)), wb.NewText(wb.CalendarEndTime, start.Add(time.Hour).Format(compact)),
		wb.New(wb.AirSyncBaseLocation, wb.NewText(wb.AirSyncBaseDisplayName, "Room")),
		wb.New(wb.CalendarAttendees, wb.New(wb.CalendarAttendee, wb.NewText(wb.CalendarEmail, "bob@"+domain), wb.NewText(wb.CalendarName, "Bob"))))))
	if err != nil || answer.Get(wb.AirSyncAdd, wb.AirSyncStatus) != "1" || answer.Get(wb.AirSyncAdd, wb.AirSyncApplicationData, wb.CalendarUID) == "" {
		t.Fatalf("new meeting: %v %v", answer, err)
	}
	var request string
	eventually(t, 30*time.Second, "bob is invited", func() error {
		if err := inbox.drain(ctx); err != nil {
			return err
		}
		for id, data := range inbox.items {
			if m := data.Child(wb.EmailMeetingRequest); m.Get(wb.EmailStartTime) == start.Format("2006-01-02T15:04:05.000Z") {
				request = id
				return nil
			}
		}
		return fmt.Errorf("no invitation in %d mails", len(inbox.items))
	})
	attends := func(c *collection, tag wb.Tag, want string) error {
		if err := c.drain(ctx); err != nil {
			return err
		}
		if len(c.items) != 1 {
			return fmt.Errorf("%d appointments", len(c.items))
		}
		for _, data := range c.items {
			if got := data.Child(wb.CalendarAttendees, wb.CalendarAttendee).Get(wb.CalendarAttendeeStatus); tag == wb.CalendarAttendeeStatus && got != want {
				return fmt.Errorf("bob's status is %q, want %s in %s", got, want, data)
			}
			if got := data.Get(tag); tag != wb.CalendarAttendeeStatus && got != want {
				return fmt.Errorf("%v is %q, want %s in %s", tag, got, want, data)
			}
		}
		return nil
	}
	eventually(t, 30*time.Second, "bob's calendar", func() error { return attends(calendar, wb.CalendarResponseType, "5") })
	out, err := bob.do(ctx, "MeetingResponse", wb.New(wb.MeetingResponseMeetingResponse, wb.New(wb.MeetingResponseRequest,
		wb.NewText(wb.MeetingResponseUserResponse, "1"), wb.NewText(wb.MeetingResponseCollectionId, inbox.id),
		wb.NewText(wb.MeetingResponseRequestId, request), wb.New(wb.MeetingResponseSendResponse))))
	if err != nil || out.Get(wb.MeetingResponseResult, wb.MeetingResponseStatus) != "1" {
		t.Fatalf("answer: %v %v", out, err)
	}
	if err := attends(calendar, wb.CalendarResponseType, "3"); err != nil {
		t.Error(err)
	}
	eventually(t, 30*time.Second, "alice hears", func() error { return attends(other, wb.CalendarAttendeeStatus, "3") })
	if err := attends(alice, wb.CalendarAttendeeStatus, "3"); err != nil {
		t.Error(err)
	}
	// It is off: bob's goes or is marked so.
	for id := range alice.items {
		if _, err := alice.sync(ctx, wb.New(wb.AirSyncDelete, wb.NewText(wb.AirSyncServerId, id))); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 30*time.Second, "bob hears of the end", func() error {
		if err := calendar.drain(ctx); err != nil || len(calendar.items) == 0 {
			return err
		}
		return attends(calendar, wb.CalendarMeetingStatus, "7")
	})
	if err := other.drain(ctx); err != nil || len(other.items) != 0 {
		t.Errorf("alice's other phone has %d appointments, %v", len(other.items), err)
	}
}
