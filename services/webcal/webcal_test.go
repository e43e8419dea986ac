package webcal

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/store"
	"waypost/store/postgres"
	"waypost/store/storetest"
)

// world is a server that publishes a calendar, and a mailbox that subscribed to it.
type world struct {
	*testing.T
	store  *postgres.Store
	role   *Service
	me     directory.Principal
	folder store.FolderID

	mu       sync.Mutex
	text     string
	code     int
	requests int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db, err := pgdb.Open(t.Context(), pgtest.New(t, migrations.Mail), pgdb.Options{Name: "webcal"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s, err := postgres.New(map[string]*pgdb.DB{postgres.DefaultHome: db}, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, store: s, me: storetest.Owner(1)}
	srv := httptest.NewServer(w)
	t.Cleanup(srv.Close)
	w.role = New(s, near(t, srv), slog.New(slog.DiscardHandler))
	f, err := s.Subscribe(t.Context(), w.me, 1, store.Folder{Name: "Fed", Class: store.ClassCalendar}, store.FolderProps{}, srv.URL+"/c.ics")
	if err != nil {
		t.Fatal(err)
	}
	w.folder = f.ID
	return w
}

func (w *world) ServeHTTP(rw http.ResponseWriter, _ *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests++
	if w.code != 0 {
		rw.WriteHeader(w.code)
		return
	}
	rw.Header().Set("Content-Type", "text/calendar")
	_, _ = rw.Write([]byte(w.text))
}

// cal is a calendar with the head's and the parts' lines.
func cal(head string, parts ...string) string {
	return "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//EN\r\n" + head + strings.Join(parts, "") + "END:VCALENDAR\r\n"
}

func ev(uid, summary string, lines ...string) string {
	text := "BEGIN:VEVENT\r\n"
	if uid != "" {
		text += "UID:" + uid + "\r\n"
	}
	for _, l := range append([]string{"DTSTAMP:20261124T100000Z", "DTSTART:20261124T100000Z", "SUMMARY:" + summary}, lines...) {
		text += l + "\r\n"
	}
	return text + "END:VEVENT\r\n"
}

// read reads the calendar anew.
func (w *world) read(text string) (store.FeedState, error) {
	w.Helper()
	w.mu.Lock()
	w.text = text
	w.mu.Unlock()
	return w.role.Refresh(w.Context(), postgres.DefaultHome, 1, w.folder)
}

func (w *world) must(text string) store.FeedState {
	w.Helper()
	st, err := w.read(text)
	if err != nil {
		w.Fatal(err)
	}
	return st
}

// items are the objects by their UID.
func (w *world) items() map[string]*store.Object {
	w.Helper()
	all := map[string]*store.Object{}
	for after := store.ItemID(0); ; {
		list, err := w.store.ObjectList(w.Context(), w.me, 1, w.folder, after, 1000)
		if err != nil {
			w.Fatal(err)
		}
		for _, o := range list {
			all[o.UID], after = o, o.Item
		}
		if len(list) < 1000 {
			return all
		}
	}
}

func TestOnlyTheDifference(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	series := []string{ev("series", "Weekly", "RRULE:FREQ=WEEKLY"), ev("series", "Moved", "RECURRENCE-ID:20261201T100000Z")}
	first := cal("METHOD:REQUEST\r\nREFRESH-INTERVAL;VALUE=DURATION:PT1H\r\nX-WR-CALNAME:Names\r\n", ev("a", "A"), ev("b", "B", "ORGANIZER:mailto:o@x.example", "ATTENDEE;PARTSTAT=NEEDS-ACTION:mailto:user1@example.test"),
		series[0], series[1], ev("", "No UID"), ev("alarm", "Rings", "BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER:-PT5M", "END:VALARM"),
		"BEGIN:VTODO\r\nUID:todo\r\nEND:VTODO\r\n", "BEGIN:VEVENT\r\nUID:bad\r\nDTSTART:nonsense\r\nno line at all\r\nEND:VEVENT\r\n", ev("a", "A again", "RECURRENCE-ID:20200101T000000Z"))
	st := w.must(first)
	before := w.items()
	if st.Failures != 0 || st.Every != time.Hour || st.Objects != len(before) || st.Skipped == 0 || st.Changed.IsZero() || len(before) < 5 {
		t.Errorf("state %+v, %d objects", st, len(before))
	}
	for uid, o := range before {
		list, err := w.store.Objects(t.Context(), w.me, 1, []store.ItemID{o.Item})
		if err != nil {
			t.Fatal(err)
		}
		text := string(list[0].Text)
		if strings.Contains(text, "METHOD") || strings.Contains(text, "VALARM") || strings.Contains(text, "X-WR-") {
			t.Errorf("%s: %s", uid, text)
		}
		if uid == "series" && (strings.Count(text, "BEGIN:VEVENT") != 2) {
			t.Errorf("series %s", text)
		}
	}
	folder, _ := w.store.Folder(t.Context(), w.me, 1, w.folder)

	// The same with the hour of another export: nothing is written.
	again := strings.NewReplacer("DTSTAMP:20261124T100000Z", "DTSTAMP:20261125T120000Z", "PRODID:-//x//EN", "PRODID:-//y//EN").Replace(first)
	st2 := w.must(again)
	if f, _ := w.store.Folder(t.Context(), w.me, 1, w.folder); f.HighestSeq != folder.HighestSeq || !st2.Changed.Equal(st.Changed) || !st2.Checked.After(st.Checked) {
		t.Errorf("changed: %d, was %d; %+v", f.HighestSeq, folder.HighestSeq, st2)
	}

	// One changed, one gone, one new: the others keep their versions.
	changed := cal("", ev("a", "A2"), series[0], series[1], ev("", "No UID"), ev("new", "New"), ev("alarm", "Rings"))
	w.must(changed)
	after := w.items()
	var kept, put []string
	for uid, o := range after {
		if was := before[uid]; was != nil && was.Version == o.Version {
			kept = append(kept, uid)
		} else {
			put = append(put, uid)
			if was != nil && was.Item != o.Item {
				t.Errorf("%s is another item", uid)
			}
		}
	}
	slices.Sort(put)
	if !slices.Equal(put, []string{"a", "new"}) || len(kept) != 3 || after["b"] != nil || after["bad"] != nil {
		t.Errorf("put %q, kept %q", put, kept)
	}
	if out, err := w.store.NextOutbox(t.Context(), postgres.DefaultHome, 10); err != nil || len(out) != 0 {
		t.Errorf("sent %+v, %v", out, err)
	}
	w.must(cal(""))
	if left := w.items(); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// TestFailure: what was there stays, its owner is told why, and the server is left
// in peace for longer and longer.
func TestFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(cal("", ev("a", "A")))
	feed := func() store.Feed {
		list, err := w.store.Feeds(t.Context(), w.me, 1)
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		return list[0]
	}
	if wait := time.Until(feed().Due); wait < Usual-time.Minute || wait > Usual*2 {
		t.Errorf("due in %v", wait)
	}
	w.code = http.StatusInternalServerError
	for n, least := range []time.Duration{14 * time.Minute, 29 * time.Minute, 59 * time.Minute} {
		if _, err := w.read(""); fault.Of(err) != fault.Unavailable || err == nil {
			t.Errorf("%v", err)
		}
		f := feed()
		if wait := time.Until(f.Due); f.State.Failures != n+1 || !strings.Contains(f.State.Fault, "500") || wait < least || wait > 2*least || !f.Leased.IsZero() {
			t.Errorf("after %d: %+v, due in %v", n+1, f, wait)
		}
	}
	w.code = 0
	for _, text := range []string{"", "<html>", "BEGIN:VCARD\r\nFN:x\r\nEND:VCARD\r\n", cal("", strings.Repeat(ev("x", "x"), maxObjects+1))} {
		if _, err := w.read(text); err == nil || feed().State.Fault == "" {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	if got := w.items(); len(got) != 1 {
		t.Errorf("there are %v", got)
	}
	if st := w.must(cal("", ev("a", "A"))); st.Failures != 0 || st.Fault != "" {
		t.Errorf("%+v", st)
	}
	for n, want := range map[int]time.Duration{1: Often, 2: 2 * Often, 50: maxWait} {
		if got := backOff(n); got != want {
			t.Errorf("after %d failures %v", n, got)
		}
	}
	for asked, want := range map[time.Duration]time.Duration{0: Usual, time.Second: Often, time.Hour: time.Hour, 1000 * time.Hour: Seldom, -1: Usual} {
		if got := every(asked); got != want {
			t.Errorf("%v: every %v", asked, got)
		}
	}
}

// TestLease: one of several readers reads, and one that died is succeeded.
func TestLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.text = cal("", ev("a", "A"))
	ctx := t.Context()
	if !w.role.next(ctx, postgres.DefaultHome) || w.role.next(ctx, postgres.DefaultHome) || w.requests != 1 {
		t.Errorf("%d requests", w.requests)
	}
	f, err := w.store.TakeFeed(ctx, postgres.DefaultHome, 1, w.folder, 300*time.Millisecond)
	if err != nil || f == nil {
		t.Fatal(f, err)
	}
	if _, err := w.role.Refresh(ctx, postgres.DefaultHome, 1, w.folder); fault.Of(err) != fault.Conflict || err == nil {
		t.Errorf("taken twice: %v", err)
	}
	time.Sleep(400 * time.Millisecond)
	if _, err := w.role.Refresh(ctx, postgres.DefaultHome, 1, w.folder); err != nil {
		t.Error(err)
	}
	f.State.Fault = "from beyond"
	if err := w.store.FeedDone(ctx, f); err != nil {
		t.Error(err)
	}
	if list, _ := w.store.Feeds(ctx, w.me, 1); list[0].State.Fault != "" {
		t.Errorf("whoever lost the lease wrote %+v", list[0])
	}
	// The folder goes while it is read.
	g, err := w.store.TakeFeed(ctx, postgres.DefaultHome, 1, w.folder, time.Minute)
	if err != nil || g == nil {
		t.Fatal(g, err)
	}
	if err := w.store.DeleteFolder(ctx, w.me, 1, w.folder, true); err != nil {
		t.Fatal(err)
	}
	w.text = cal("", ev("a", "B"))
	if err := w.role.read(ctx, g); fault.Of(err) != fault.NotFound || err == nil {
		t.Errorf("into a folder that is gone: %v", err)
	}
}

// TestHeavy: what is small on its way and large when it is taken apart is refused
// in bounded memory, and so is a rule that would never end.
func TestHeavy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	zone := func(n int) string {
		return "BEGIN:VTIMEZONE\r\nTZID:Big\r\n" + strings.Repeat("X-RULE:"+strings.Repeat("x", 60)+"\r\n", n) + "END:VTIMEZONE\r\n"
	}
	parts := []string{zone(60_000)} // 4 MB
	for n := range 1000 {
		parts = append(parts, ev(fmt.Sprint("big", n), "Big", "DTEND;TZID=Big:20261224T100000"))
	}
	begun := time.Now()
	if _, err := w.read(cal("", parts...)); fault.Of(err) != fault.Limit || err == nil || len(w.items()) > 0 {
		t.Errorf("%v, %d objects", err, len(w.items()))
	}
	t.Logf("a zone of 4 MB in each of 1,000 events: %v", time.Since(begun))
	parts[0], begun = zone(60_000), time.Now()
	if st, err := w.read(cal("", parts[:20]...)); err != nil || st.Objects != 0 || st.Skipped != 19 {
		t.Errorf("%+v, %v", st, err)
	}
	t.Logf("in each of 19: %v", time.Since(begun))
	var mem runtime.MemStats
	if runtime.ReadMemStats(&mem); mem.Sys > 1<<30 {
		t.Errorf("%d MiB were used", mem.Sys>>20)
	}
	begun = time.Now()
	parts = nil
	for n := range 50 {
		parts = append(parts, ev(fmt.Sprint("bomb", n), "Tick", "RRULE:FREQ=SECONDLY;BYMONTHDAY=31;BYMONTH=2"))
	}
	if st, err := w.read(cal("", parts...)); err != nil || st.Objects != 50 {
		t.Errorf("%+v, %v", st, err)
	}
	t.Logf("50 rules without an end: %v", time.Since(begun))
}

func TestMany(t *testing.T) {
	if testing.Short() {
		t.Skip("writes thousands of events")
	}
	t.Parallel()
	w := newWorld(t)
	var parts []string
	for n := range 5000 {
		parts = append(parts, ev(fmt.Sprintf("e%d", n), fmt.Sprintf("Event %d", n)))
	}
	begun := time.Now()
	if st := w.must(cal("", parts...)); st.Objects != 5000 {
		t.Errorf("%+v", st)
	}
	t.Logf("5,000 events: %v", time.Since(begun))
	parts[77] = ev("e77", "Changed")
	begun = time.Now()
	f, _ := w.store.Folder(t.Context(), w.me, 1, w.folder)
	w.must(cal("", parts...))
	t.Logf("one of them: %v", time.Since(begun))
	if g, _ := w.store.Folder(t.Context(), w.me, 1, w.folder); g.HighestSeq != f.HighestSeq+1 {
		t.Errorf("%d changes", g.HighestSeq-f.HighestSeq)
	}
}
