package eas

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/itip"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// fakeMeetings notes what the door asks of the role.
type fakeMeetings struct {
	m     *memory
	calls []string
}

func (f *fakeMeetings) PutObject(ctx context.Context, as directory.Principal, box store.MailboxID, p store.PutObject, quiet bool) (store.Put, error) {
	put, err := f.m.PutObject(ctx, as, box, p)
	f.calls = append(f.calls, fmt.Sprintf("put quiet=%v %v", quiet, err))
	return put, err
}

func (f *fakeMeetings) RemoveObject(ctx context.Context, as directory.Principal, box store.MailboxID, r store.RemoveObject, quiet bool) (store.Seq, error) {
	f.calls = append(f.calls, fmt.Sprintf("remove %v quiet=%v", r.Item, quiet))
	seq, gone, err := f.m.Delete(ctx, as, box, r.Folder, []store.ItemID{r.Item}, false)
	if err == nil && len(gone) == 0 {
		err = fault.New(fault.NotFound, "gone")
	}
	return seq, err
}

func (f *fakeMeetings) Respond(_ context.Context, _ directory.Principal, _ store.MailboxID, item store.ItemID, a itip.Answer) (store.Entry, error) {
	f.calls = append(f.calls, fmt.Sprintf("%v %s at=%s day=%v from=%s silent=%v %q", item, a.Status, clock(a.At), a.Day, clock(a.From), a.Silent, a.Comment))
	if a.Status == itip.Declined {
		return store.Entry{}, nil
	}
	return store.Entry{Item: 777}, nil
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format(compact)
}

func (f *fakeMeetings) FreeBusy(_ context.Context, _ directory.Principal, addresses []string, from, to time.Time) ([]store.Availability, error) {
	all := make([]store.Availability, len(addresses))
	for i := range all {
		all[i] = store.Availability{View: store.ViewBusy, Slots: []store.Slot{
			{Start: from.Add(-time.Hour), End: from.Add(10 * time.Minute), Busy: store.BusyTentative},
			{Start: from.Add(time.Hour), End: from.Add(2 * time.Hour), Busy: store.BusyBusy},
			{Start: from.Add(90 * time.Minute), End: from.Add(2 * time.Hour), Busy: store.BusyOut},
			{Start: from.Add(2 * time.Hour), End: to.Add(time.Hour), Busy: store.BusyElsewhere},
		}}
	}
	return all, nil
}

func serverWithMeetings(t *testing.T) (*memory, *fakeMeetings, *Server) {
	m := newMemory()
	f := &fakeMeetings{m: m}
	s := New(m, m, m, Options{Log: quiet(), Meetings: f, Now: func() time.Time { return mailNow }})
	t.Cleanup(s.Stop)
	return m, f, s
}

// TestWhoTellsOthers: before 16.0 the phone, from then on the server (MS-ASCAL
// 3.1.4.6).
func TestWhoTellsOthers(t *testing.T) {
	for v, want := range map[wbxml.Version]string{
		wbxml.V141: "put quiet=true <nil>", wbxml.V160: "put quiet=false <nil>; remove M101 quiet=false",
	} {
		m, f, s := serverWithMeetings(t)
		m.object(7, objectSamples["weekly"])
		p := &testPhone{h: s, version: v, device: "d"}
		key := p.sync(t, p.prime(t, "F7"), "F7", "").Get(wbxml.AirSyncSyncKey)
		key = p.sync(t, key, "F7", "<Commands><Change><ServerId>M101</ServerId><ApplicationData><Calendar:Subject>x</Calendar:Subject></ApplicationData></Change></Commands>").Get(wbxml.AirSyncSyncKey)
		c := p.sync(t, key, "F7", "<Commands><Delete><ServerId>M101</ServerId></Delete></Commands>")
		if got := strings.Join(f.calls, "; "); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
		if c.Has(wbxml.AirSyncCommands) || m.text(101) != "" {
			t.Errorf("%v: after the deletion %s", v, c)
		}
	}
}

// TestMeetingResponse: MS-ASCMD 2.2.1.11.
func TestMeetingResponse(t *testing.T) {
	for _, tt := range []struct {
		v            wbxml.Version
		request      string
		call, status string
		event, filed bool
	}{
		{v: wbxml.V25, request: "<UserResponse>1</UserResponse><RequestId>M101</RequestId>", call: `M101 ACCEPTED at=- day=false from=- silent=true ""`, status: "1", event: true, filed: true},
		{v: wbxml.V141, request: "<UserResponse>3</UserResponse><RequestId>M101</RequestId>", call: `M101 DECLINED at=- day=false from=- silent=true ""`, status: "1", filed: true},
		{v: wbxml.V141, request: "<UserResponse>2</UserResponse><RequestId>M102</RequestId><InstanceId>2026-11-30T08:00:00.000Z</InstanceId>", call: `M102 TENTATIVE at=20261130T080000Z day=false from=- silent=true ""`, status: "1", event: true},
		{v: wbxml.V141, request: "<UserResponse>2</UserResponse><RequestId>M103</RequestId><InstanceId>2026-11-30T08:00:00.000Z</InstanceId>", status: "146"},
		{
			v: wbxml.V161, status: "1", event: true, filed: true,
			request: "<UserResponse>2</UserResponse><RequestId>M101</RequestId><ProposedStartTime>20261201T120000Z</ProposedStartTime><ProposedEndTime>20261201T130000Z</ProposedEndTime><SendResponse><AirSyncBase:Body><Type>1</Type><Data>Later?</Data></AirSyncBase:Body></SendResponse>",
			call:    `M101 TENTATIVE at=- day=false from=20261201T120000Z silent=false "Later?"`,
		},
		{
			v: wbxml.V161, status: "1", event: true, filed: true, // where MS-ASCMD 2.2.3.141 has them
			request: "<UserResponse>2</UserResponse><RequestId>M101</RequestId><SendResponse><ProposedStartTime>20261201T120000Z</ProposedStartTime><ProposedEndTime>20261201T130000Z</ProposedEndTime></SendResponse>",
			call:    `M101 TENTATIVE at=- day=false from=20261201T120000Z silent=false ""`,
		},
		{v: wbxml.V161, request: "<UserResponse>1</UserResponse><RequestId>M101</RequestId>", call: `M101 ACCEPTED at=- day=false from=- silent=true ""`, status: "1", event: true, filed: true},
		{v: wbxml.V161, request: "<UserResponse>4</UserResponse><RequestId>M101</RequestId>", status: "2"},
		{v: wbxml.V161, request: "<UserResponse>1</UserResponse><RequestId>M999</RequestId>", status: "2"},
	} {
		m, f, s := serverWithMeetings(t)
		m.put(1, samples["invitation"], mailNow, 0)
		m.object(7, objectSamples["weekly"])
		m.object(7, objectSamples["day"])
		p := &testPhone{h: s, version: tt.v, device: "d"}
		out := p.must(t, "MeetingResponse", "<MeetingResponse:MeetingResponse><Request>"+tt.request+"</Request></MeetingResponse:MeetingResponse>")
		r := out.Child(wbxml.MeetingResponseResult)
		if got := strings.Join(f.calls, "; "); got != tt.call {
			t.Errorf("%v %s: called %s, want %s", tt.v, tt.request, got, tt.call)
		}
		if got := r.Get(wbxml.MeetingResponseStatus); got != tt.status || r.Has(wbxml.MeetingResponseCalendarId) != tt.event {
			t.Errorf("%v %s: answer %s", tt.v, tt.request, out)
		}
		if filed := m.items[101].e.Folder == 4; filed != tt.filed {
			t.Errorf("%v %s: in the trash: %v", tt.v, tt.request, filed)
		}
	}
}

// TestAvailability: a digit for each half hour (MS-ASCMD 2.2.3.108).
func TestAvailability(t *testing.T) {
	_, _, s := serverWithMeetings(t)
	p := &testPhone{h: s, version: wbxml.V141, device: "d"}
	out := p.must(t, "ResolveRecipients", "<ResolveRecipients:ResolveRecipients><To>ann@example.test</To><Options><Availability><StartTime>2026-12-01T08:00:00.000Z</StartTime><EndTime>2026-12-01T11:15:00.000Z</EndTime></Availability></Options></ResolveRecipients:ResolveRecipients>")
	got := out.Get(wbxml.ResolveRecipientsResponse, wbxml.ResolveRecipientsRecipient, wbxml.ResolveRecipientsAvailability, wbxml.ResolveRecipientsMergedFreeBusy)
	if got != "1023000" {
		t.Errorf("got %q in %s", got, out)
	}
}
