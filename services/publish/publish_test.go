package publish_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/internal/vcard"
	"waypost/migrations"
	"waypost/services/publish"
	"waypost/store"
	"waypost/store/postgres"
	"waypost/store/storetest"
)

type people struct{ disabled, gone bool }

func (p *people) User(_ context.Context, _ directory.Principal, id directory.ObjectID) (directory.User, error) {
	if p.gone || id != 1 {
		return directory.User{}, fault.New(fault.NotFound, "nobody")
	}
	return directory.User{ID: id, Kind: directory.KindUser, Enabled: !p.disabled}, nil
}

type world struct {
	*testing.T
	store    *postgres.Store
	people   people
	me       directory.Principal
	calendar store.Folder
	url      string
	now      time.Time
	client   string
	log      strings.Builder
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db, err := pgdb.Open(t.Context(), pgtest.New(t, migrations.Mail), pgdb.Options{Name: "publish"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s, err := postgres.New(map[string]*pgdb.DB{postgres.DefaultHome: db}, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, store: s, me: storetest.Owner(1), now: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), client: "192.0.2.1"}
	srv := httptest.NewServer(publish.New(s, &w.people, publish.Options{
		Log: slog.New(slog.NewTextHandler(&w.log, nil)), Now: func() time.Time { return w.now },
		ClientAddr: func(*http.Request) netip.Addr { return netip.MustParseAddr(w.client) },
	}))
	t.Cleanup(srv.Close)
	w.url = srv.URL
	if w.calendar, err = s.FolderByRole(t.Context(), w.me, 1, store.RoleCalendar); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) event(uid, summary, start string, lines ...string) {
	w.Helper()
	_, err := w.store.PutObject(w.Context(), w.me, 1, store.PutObject{
		Folder: w.calendar.ID, UID: uid, Edit: storetest.SetText(storetest.Event(uid, summary, start, lines...)),
	})
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) publish(p store.Publication) (store.Publication, string) {
	w.Helper()
	class := store.ClassCalendar
	if p.Folder == 0 {
		p.Folder = w.calendar.ID
	} else {
		class = store.ClassContacts
	}
	p.Owner = 1
	made, secret, err := w.store.Publish(w.Context(), w.me, 1, p)
	if err != nil {
		w.Fatal(err)
	}
	return made, publish.Path(class, secret)
}

func (w *world) get(path string, headers ...string) (int, http.Header, string) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, w.url+path, nil)
	if err != nil {
		w.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // read only
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.Fatal(err)
	}
	return res.StatusCode, res.Header, string(body)
}

// events are those of a calendar: "summary|location|description|uid".
func (w *world) events(text string) (all []string) {
	w.Helper()
	root, problems, err := ical.Parse([]byte(text), ical.Import)
	if err != nil || len(problems) > 0 {
		w.Fatalf("%v %v\n%s", err, problems, text)
	}
	for _, cal := range root.Children {
		for _, e := range cal.Parts("VEVENT") {
			all = append(all, strings.Join([]string{e.Text("SUMMARY"), e.Text("LOCATION"), e.Text("DESCRIPTION")}, "|"))
		}
	}
	return all
}

func TestDetail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.event("plain", "Dentist", ";TZID=Europe/Berlin:20261130T100000", "DURATION:PT1H", "LOCATION:Main St", "DESCRIPTION:Root", "X-WAYPOST-ASKED:1", "CATEGORIES:Teeth",
		"ATTENDEE:mailto:d@x.example", "ATTACH;VALUE=BINARY;ENCODING=BASE64:AAAA", "BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER:-PT5M", "END:VALARM")
	w.event("secret", "Interview", ":20261201T100000Z", "CLASS:PRIVATE", "LOCATION:Rival Ltd", "DESCRIPTION:Hush", "COMMENT:psst", "URL:https://rival.example")
	w.event("confidential", "Board", ":20261202T100000Z", "CLASS:confidential", "X-MICROSOFT-CDO-BUSYSTATUS:TENTATIVE", "ORGANIZER:mailto:boss@x.example")
	w.event("free", "Lunch maybe", ":20261203T120000Z", "TRANSP:TRANSPARENT")
	for _, tt := range []struct {
		detail store.Detail
		want   []string
		hidden []string
	}{
		{
			store.DetailFull,
			[]string{"Dentist|Main St|Root", "Busy||", "Tentative||", "Lunch maybe||"},
			[]string{"Interview", "Rival", "rival", "Hush", "psst", "Board", "boss", "UID:secret", "X-WAYPOST", "VALARM", "BASE64"},
		},
		{
			store.DetailLimited,
			[]string{"Dentist|Main St|", "Busy||", "Tentative||", "Lunch maybe||"},
			[]string{"Root", "Teeth", "d@x", "Interview", "Rival", "Hush", "Board", "boss", "UID:plain", "UID:secret", "VALARM"},
		},
		{
			store.DetailBusy,
			[]string{"Busy||", "Busy||", "Tentative||"},
			[]string{"Dentist", "Main", "Root", "Teeth", "d@x", "Interview", "Rival", "Board", "boss", "Lunch", "UID:plain"},
		},
	} {
		_, path := w.publish(store.Publication{Detail: tt.detail})
		code, h, body := w.get(path)
		if code != http.StatusOK || h.Get("Content-Type") != "text/calendar; charset=utf-8" || h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Cache-Control"), "private") || h.Get("ETag") == "" {
			t.Errorf("%s: %d %v", tt.detail, code, h)
		}
		if got := w.events(body); strings.Join(got, ";") != strings.Join(tt.want, ";") {
			t.Errorf("%s: %q, want %q", tt.detail, got, tt.want)
		}
		for _, word := range tt.hidden {
			if strings.Contains(body, word) {
				t.Errorf("%s tells %q:\n%s", tt.detail, word, body)
			}
		}
		if _, _, again := w.get(path); again != body {
			t.Errorf("%s: another text the second time", tt.detail)
		}
		if tt.detail == store.DetailFull && strings.Count(body, "BEGIN:VTIMEZONE") != 1 {
			t.Errorf("zones:\n%s", body)
		}
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for uid, start := range map[string]string{"old": ":20200101T100000Z", "past": ":20260101T100000Z", "next": ":20270101T100000Z", "far": ":20350101T100000Z"} {
		w.event(uid, uid, start)
	}
	w.event("ever", "ever", ":20150101T100000Z", "RRULE:FREQ=YEARLY")
	w.event("ended", "ended", ":20150101T100000Z", "RRULE:FREQ=YEARLY;COUNT=3")
	_, path := w.publish(store.Publication{Detail: store.DetailFull})
	_, _, body := w.get(path)
	for uid, want := range map[string]bool{"old": false, "past": true, "next": true, "far": false, "ever": true, "ended": false} {
		if strings.Contains(body, "UID:"+uid+"\r\n") != want {
			t.Errorf("%s is there: %v", uid, !want)
		}
	}
	_, path = w.publish(store.Publication{Detail: store.DetailFull, All: true})
	if _, _, body = w.get(path); len(w.events(body)) != 6 {
		t.Errorf("all: %s", body)
	}
}

func TestNotModified(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.event("a", "A", ":20261201T100000Z")
	_, path := w.publish(store.Publication{Detail: store.DetailFull})
	_, h, _ := w.get(path)
	tag := h.Get("ETag")
	for _, sent := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		if code, h, body := w.get(path, "If-None-Match", sent); code != http.StatusNotModified || body != "" || h.Get("ETag") != tag {
			t.Errorf("%s: %d %q", sent, code, body)
		}
	}
	w.event("b", "B", ":20261201T100000Z")
	code, h, body := w.get(path, "If-None-Match", tag)
	if code != http.StatusOK || len(w.events(body)) != 2 || h.Get("ETag") == tag {
		t.Errorf("after a change: %d %s", code, h.Get("ETag"))
	}
	tag = h.Get("ETag")
	w.now = w.now.AddDate(0, 0, 1) // the window moves
	if code, _, _ := w.get(path, "If-None-Match", tag); code != http.StatusOK {
		t.Errorf("a day later: %d", code)
	}
}

// TestSecrets: everything that is wrong has one answer, and who guesses is held back.
func TestSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, path := w.publish(store.Publication{Detail: store.DetailFull})
	secret := strings.TrimSuffix(path[strings.LastIndex(path, "/")+1:], ".ics")
	wantCode, wantHead, wantBody := w.get("/feeds/calendar/" + strings.Repeat("a", 26) + ".ics")
	if wantCode != http.StatusNotFound {
		t.Fatal(wantCode)
	}
	wrong := []string{
		"/feeds/", "/feeds/calendar/", "/feeds/calendar/.ics", "/feeds/calendar/" + secret, "/feeds/contacts/" + secret + ".vcf", "/feeds/calendar/" + secret[:25] + ".ics",
		"/feeds/calendar/" + strings.ToUpper(secret) + ".ics", "/feeds/calendar/" + secret + "a.ics", "/feeds/calendar/..%2f" + secret + ".ics", "/feeds/calendar/%00" + secret + ".ics",
		"/feeds/calendar/" + strings.Repeat("x", 5000) + ".ics", "/feeds/calendar/%ff%fe" + secret + ".ics",
	}
	for i, path := range wrong {
		w.client = fmt.Sprintf("192.0.2.%d", 10+i)
		if code, h, body := w.get(path); code != wantCode || body != wantBody || len(h) != len(wantHead) {
			t.Errorf("%.60s: %d %q %v", path, code, body, h)
		}
	}
	if code, _, _ := w.get(path); code != http.StatusOK {
		t.Errorf("the right one: %d", code)
	}
	w.people.disabled = true
	if code, _, body := w.get(path); code != wantCode || body != wantBody {
		t.Errorf("a disabled account: %d", code)
	}
	w.people = people{gone: true}
	if code, _, _ := w.get(path); code != wantCode {
		t.Errorf("an account that is gone: %d", code)
	}
	w.people = people{}
	if err := w.store.Unpublish(t.Context(), w.me, 1, p.ID); err != nil {
		t.Fatal(err)
	}
	w.client = "192.0.2.200"
	if code, _, body := w.get(path); code != wantCode || body != wantBody {
		t.Errorf("revoked: %d", code)
	}

	_, path = w.publish(store.Publication{Detail: store.DetailFull})
	w.client = "2001:db8::1"
	for n := range 40 {
		code, _, _ := w.get(fmt.Sprintf("/feeds/calendar/%026d.ics", n))
		if want := map[bool]int{true: http.StatusNotFound, false: http.StatusTooManyRequests}[n < 30]; code != want {
			t.Errorf("guess %d: %d", n, code)
		}
		w.client = fmt.Sprintf("2001:db8::%x", n+2) // of one network
	}
	if code, h, _ := w.get(path); code != http.StatusTooManyRequests || h.Get("Retry-After") == "" {
		t.Errorf("who guessed knows more than others: %d", code)
	}
	w.client = "2001:db8:1::1"
	if code, _, _ := w.get(path); code != http.StatusOK {
		t.Errorf("somebody else: %d", code)
	}
	for range 40 {
		w.get(path)
	}
	if code, _, _ := w.get(path); code != http.StatusTooManyRequests {
		t.Errorf("the 41st reading in a minute: %d", code)
	}
	w.now = w.now.Add(time.Minute)
	if code, _, _ := w.get(path); code != http.StatusOK {
		t.Errorf("a minute later: %d", code)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+path, strings.NewReader("x"))
	if res, err := http.DefaultClient.Do(req); err != nil || res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v, %v", res, err)
	} else {
		_ = res.Body.Close()
	}
	secret = strings.TrimSuffix(path[strings.LastIndex(path, "/")+1:], ".ics")
	if log := w.log.String(); strings.Contains(log, secret) || !strings.Contains(log, "result=200") {
		t.Error("the log tells a secret, or nothing")
	}
}

func TestContacts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	book, err := w.store.FolderByRole(t.Context(), w.me, 1, store.RoleContacts)
	if err != nil {
		t.Fatal(err)
	}
	for uid, lines := range map[string][]string{"ann": {"EMAIL:ann@x.example"}, "bob": {"BDAY:--0415"}, "hid": {"CLASS:PRIVATE"}} {
		_, err := w.store.PutObject(t.Context(), w.me, 1, store.PutObject{Folder: book.ID, UID: uid, Edit: storetest.SetText(storetest.Card(uid, "Name "+uid, lines...))})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, path := w.publish(store.Publication{Folder: book.ID, Detail: store.DetailFull})
	code, h, body := w.get(path)
	cards, problems, err := vcard.Parse([]byte(body), vcard.Import)
	if code != http.StatusOK || h.Get("Content-Type") != "text/vcard; charset=utf-8" || err != nil || len(problems) > 0 || len(cards) != 2 || cards[0].Version() != "3.0" {
		t.Errorf("%d %v %v %v\n%s", code, h, err, problems, body)
	}
}

// TestPrograms: what is not ours reads it.
func TestPrograms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for n := range 300 {
		w.event(fmt.Sprintf("e%d", n), fmt.Sprintf("Grüße %d", n), ";TZID=Europe/Berlin:20261130T100000", "DURATION:PT1H", "RRULE:FREQ=WEEKLY;COUNT=5")
	}
	_, path := w.publish(store.Publication{Detail: store.DetailFull})
	if _, err := exec.LookPath("curl"); err == nil {
		out, err := exec.CommandContext(t.Context(), "curl", "-sS", "-i", w.url+path).CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), "HTTP/1.1 200 OK") || strings.Count(string(out), "BEGIN:VEVENT") != 300 {
			t.Errorf("curl: %v\n%.300s", err, out)
		}
	}
	script := `
import sys, urllib.request, icalendar
c = icalendar.Calendar.from_ical(urllib.request.urlopen(sys.argv[1]).read())
events = list(c.walk("VEVENT"))
print(len(events), len(list(c.walk("VTIMEZONE"))), events[0]["SUMMARY"], events[0]["DTSTART"].dt.utcoffset())
`
	const python = "/usr/bin/python3" // Debian's, which has its packages
	if exec.CommandContext(t.Context(), python, "-c", "import icalendar").Run() == nil {
		out, err := exec.CommandContext(t.Context(), python, "-c", script, w.url+path).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != "300 1 Grüße 0 1:00:00" {
			t.Errorf("icalendar: %v, %q", err, got)
		}
	}
	if _, err := exec.LookPath("vdirsyncer"); err != nil {
		t.Skip("without vdirsyncer")
	}
	dir := t.TempDir()
	conf := fmt.Sprintf("[general]\nstatus_path = %q\n[pair p]\na = \"l\"\nb = \"r\"\ncollections = null\nconflict_resolution = \"b wins\"\n"+
		"[storage l]\ntype = \"filesystem\"\npath = %q\nfileext = \".ics\"\n[storage r]\ntype = \"http\"\nurl = %q\n", dir+"/status", dir+"/l", w.url+path)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `mkdir "$D/l"; cat > "$D/c"; yes | vdirsyncer -c "$D/c" discover; vdirsyncer -c "$D/c" sync && ls "$D/l" | wc -l`)
	cmd.Env, cmd.Stdin = append(cmd.Environ(), "D="+dir, "HOME="+dir), strings.NewReader(conf)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "300") {
		t.Errorf("vdirsyncer: %v\n%s", err, out)
	}
}
