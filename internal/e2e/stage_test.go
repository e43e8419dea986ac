package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	netmail "net/mail"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/services/dav"
	"waypost/services/delivery"
	"waypost/services/eas"
	"waypost/services/meeting"
	"waypost/store"
	"waypost/store/postgres"
)

// people are the organisation of a stage: each is its place in the list, from 1.
type people struct {
	names     []string
	delegates map[string][]string
}

func (d *people) target(name string) directory.Target {
	i := slices.Index(d.names, name) + 1
	return directory.Target{ID: directory.ObjectID(i), Mailbox: directory.MailboxID(i), HomeMDB: postgres.DefaultHome, Address: name + "@" + domain}
}

func (d *people) as(name string) directory.Principal {
	t := d.target(name)
	return directory.Principal{ID: t.ID, Mailbox: t.Mailbox, HomeMDB: t.HomeMDB, Address: t.Address, Name: name}
}

func (d *people) Resolve(_ context.Context, address string) (directory.Resolution, error) {
	local, host := envelope.Split(strings.ToLower(address))
	switch {
	case host != domain:
		return directory.Resolution{}, nil
	case slices.Contains(d.names, local):
		return directory.Resolution{Standing: directory.Person, Target: d.target(local)}, nil
	}
	return directory.Resolution{Standing: directory.Unknown}, nil
}

func (d *people) Expand(context.Context, directory.ObjectID, directory.Page) ([]directory.Target, error) {
	return nil, fault.New(fault.NotFound, "no group")
}

func (d *people) MaySendTo(context.Context, directory.Sender, directory.ObjectID) ([]directory.Target, error) {
	return nil, nil
}

func (d *people) User(_ context.Context, _ directory.Principal, id directory.ObjectID) (directory.User, error) {
	if id < 1 || int(id) > len(d.names) {
		return directory.User{}, fault.New(fault.NotFound, "nobody")
	}
	name := d.names[id-1]
	u := directory.User{
		ID: id, Kind: directory.KindUser, Address: name + "@" + domain, Mailbox: directory.MailboxID(id), HomeMDB: postgres.DefaultHome,
		Addresses: []string{name + "@" + domain}, Name: strings.ToUpper(name[:1]) + name[1:],
	}
	if strings.HasPrefix(name, "room") {
		u.Kind = directory.KindRoom
	}
	return u, nil
}

func (d *people) UserByAddress(ctx context.Context, as directory.Principal, address string) (directory.User, error) {
	r, err := d.Resolve(ctx, address)
	if err != nil || r.Standing != directory.Person {
		return directory.User{}, fault.New(fault.NotFound, "nobody")
	}
	return d.User(ctx, as, r.Target.ID)
}

func (d *people) People(context.Context, directory.Principal, directory.PeopleQuery) ([]directory.User, int, error) {
	return nil, 0, nil
}

func (d *people) Photo(context.Context, directory.Principal, directory.ObjectID) ([]byte, error) {
	return nil, fault.New(fault.NotFound, "no photo")
}

func (d *people) Group(context.Context, directory.Principal, string) (directory.Group, error) {
	return directory.Group{}, fault.New(fault.NotFound, "no group")
}

func (d *people) Delegates(_ context.Context, _ directory.Principal, id directory.ObjectID) ([]directory.Target, error) {
	var all []directory.Target
	for _, n := range d.delegates[d.names[id-1]] {
		all = append(all, d.target(n))
	}
	return all, nil
}

func (d *people) SignIn(_ context.Context, c directory.Credentials) (directory.Principal, error) {
	local, _ := envelope.Split(strings.ToLower(c.Login))
	return d.as(local), nil
}

func (d *people) MaySendAs(_ context.Context, as directory.Principal, address string) (bool, error) {
	return strings.EqualFold(as.Address, address), nil
}

// crashing is the store of a process that is killed after a commit: what was to be
// answered never is.
type crashing struct {
	*postgres.Store
	armed atomic.Bool
	kills atomic.Int64
}

// kill tells whether the process ends here.
func (c *crashing) kill() bool {
	if !c.armed.CompareAndSwap(true, false) {
		return false
	}
	c.kills.Add(1)
	return true
}

var errKilled = fault.New(fault.Unavailable, "killed between commit and answer")

func (c *crashing) PutObject(ctx context.Context, as directory.Principal, box store.MailboxID, p store.PutObject) (store.Put, error) {
	res, err := c.Store.PutObject(ctx, as, box, p)
	if err == nil && res.Changed && c.kill() {
		return store.Put{}, errKilled
	}
	return res, err
}

func (c *crashing) RemoveObject(ctx context.Context, as directory.Principal, box store.MailboxID, r store.RemoveObject) (store.Seq, error) {
	seq, err := c.Store.RemoveObject(ctx, as, box, r)
	if err == nil && c.kill() {
		return 0, errKilled
	}
	return seq, err
}

func (c *crashing) Send(ctx context.Context, as directory.Principal, box store.MailboxID, o store.Outgoing) (store.Sent, error) {
	sent, err := c.Store.Send(ctx, as, box, o)
	if err == nil && c.kill() {
		return store.Sent{}, errKilled
	}
	return sent, err
}

// stage is the real store with the role of meetings, delivery and the doors for
// phones and calendars in one process, and what carries mail between them.
type stage struct {
	testing.TB
	dir     *people
	store   *crashing
	m       *meeting.Service
	deliver *delivery.Service
	srv     *httptest.Server
	now     time.Time
	news    map[string]told // what was told last of one thing by one person
}

type told struct {
	seq   int
	stamp string
}

func newStage(t testing.TB) *stage {
	quiet := slog.New(slog.DiscardHandler)
	db, err := pgdb.Open(t.Context(), pgtest.New(t, migrations.Mail), pgdb.Options{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s, err := postgres.New(map[string]*pgdb.DB{postgres.DefaultHome: db}, postgres.Options{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	w := &stage{
		TB: t, store: &crashing{Store: s}, now: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC), news: map[string]told{},
		dir: &people{names: []string{"alice", "bob", "carol", "dave", "room1"}, delegates: map[string][]string{}},
	}
	clock := func() time.Time { return w.now }
	w.m = meeting.New(w.store, w.dir, meeting.Options{Log: quiet, Now: clock})
	w.deliver = delivery.New(s, delivery.Options{Log: quiet, Calendars: w.m})
	calendars := dav.New(w.store, w.dir, w.dir, dav.Options{Log: quiet, Now: clock, Scheduler: w.m})
	phones := eas.New(w.store, w.dir, w.dir, eas.Options{Log: quiet, Now: clock, Meetings: w.m})
	t.Cleanup(phones.Stop)
	mux := http.NewServeMux()
	mux.Handle(dav.Prefix, calendars)
	mux.Handle(eas.Path, phones)
	w.srv = httptest.NewServer(mux)
	t.Cleanup(w.srv.Close)
	for _, name := range w.dir.names {
		if _, err := s.Mailbox(t.Context(), w.dir.as(name), w.dir.target(name).Mailbox); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// dav makes one request.
func (w *stage) dav(user, method, path, body string, header ...string) (int, string) {
	w.Helper()
	code, text, _ := w.davTag(user, method, path, body, header...)
	return code, text
}

// davTag gives the ETag too.
func (w *stage) davTag(user, method, path, body string, header ...string) (code int, text, tag string) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), method, w.srv.URL+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	req.SetBasicAuth(user+"@"+domain, password)
	req.Header.Set("Content-Type", "text/calendar; charset=utf-8")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b), res.Header.Get("ETag")
}

// object finds somebody's copy of an event.
func (w *stage) object(name, uid string) *store.Object {
	w.Helper()
	list, err := w.store.ObjectsByUID(w.Context(), w.dir.as(name), w.dir.target(name).Mailbox, store.ClassCalendar, uid)
	if err != nil || len(list) > 1 {
		w.Fatalf("%s has %d copies of %s: %v", name, len(list), uid, err)
	}
	if len(list) == 0 {
		return nil
	}
	full, err := w.store.Objects(w.Context(), w.dir.as(name), w.dir.target(name).Mailbox, []store.ItemID{list[0].Item})
	if err != nil {
		w.Fatal(err)
	}
	return full[0]
}

type outboxBody struct{ store.Content }

func (c outboxBody) Reader() io.Reader { return io.NewSectionReader(c.Content, 0, c.Content.Size()) }

// carry moves the outbox until it is empty and tells what was in it. Every delivery
// is done twice, as by a mover that was killed before it noted the first one.
func (w *stage) carry() (all []string) {
	w.Helper()
	for {
		list, err := w.store.NextOutbox(w.Context(), postgres.DefaultHome, 100)
		if err != nil {
			w.Fatal(err)
		}
		if len(list) == 0 {
			slices.Sort(all)
			return all
		}
		for _, e := range list {
			c, err := w.store.OutboxContent(w.Context(), postgres.DefaultHome, e.ID)
			if err != nil {
				w.Fatal(err)
			}
			text, _ := io.ReadAll(outboxBody{c}.Reader())
			all = append(all, w.letter(text, e.From, e.Recipients))
			var to []directory.Target
			for _, addr := range e.Recipients {
				if r, _ := w.dir.Resolve(w.Context(), addr); r.Standing == directory.Person {
					to = append(to, r.Target)
				}
			}
			env := envelope.Envelope{ID: delivery.OutboxID(postgres.DefaultHome, e), From: e.From, Trusted: true, Created: e.Created}
			for range 2 {
				for _, err := range w.deliver.Deliver(w.Context(), env, to, outboxBody{c}) {
					if err != nil {
						w.Error(err)
					}
				}
			}
			if err := w.store.DoneOutbox(w.Context(), postgres.DefaultHome, e.ID); err != nil {
				w.Fatal(err)
			}
		}
	}
}

// outside delivers mail that came from elsewhere, twice.
func (w *stage) outside(id, from string, to []string, text string) {
	w.Helper()
	var targets []directory.Target
	for _, n := range to {
		targets = append(targets, w.dir.target(n))
	}
	for range 2 {
		for _, err := range w.deliver.DeliverFrom(w.Context(), envelope.Envelope{ID: id, From: from}, targets, strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n"))) {
			if err != nil {
				w.Error(err)
			}
		}
	}
}

// letter checks the form of a message of iMIP (RFC 6047 section 2) and says what
// it tells: method, sender, recipients and events.
func (w *stage) letter(raw []byte, from string, recipients []string) string {
	w.Helper()
	msg, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		w.Fatalf("%v in\n%s", err, raw)
	}
	parts := leaves(w, msg.Header.Get("Content-Type"), msg.Header.Get("Content-Transfer-Encoding"), msg.Body)
	var calendar, file *leaf
	for i := range parts {
		switch parts[i].kind {
		case "text/calendar":
			calendar = &parts[i]
		case "application/ics":
			file = &parts[i]
		}
	}
	if calendar == nil {
		return "mail " + msg.Header.Get("Subject")
	}
	c, problems, err := ical.Parse(calendar.body, ical.Object)
	if err != nil || len(problems) > 0 {
		w.Fatalf("%v %v in\n%s", problems, err, calendar.body)
	}
	c = c.Parts("VCALENDAR")[0]
	method := c.Text("METHOD")
	if !strings.EqualFold(calendar.params["method"], method) || !strings.EqualFold(calendar.params["charset"], "utf-8") {
		w.Errorf("text/calendar has %v, the calendar METHOD:%s", calendar.params, method)
	}
	if file != nil && !bytes.Equal(file.body, calendar.body) {
		w.Errorf("the file is not what is in the mail:\n%s\n%s", file.body, calendar.body)
	}
	author, err := msg.Header.AddressList("From")
	if err != nil || len(author) != 1 {
		w.Fatalf("From %q: %v", msg.Header.Get("From"), err)
	}
	if copied := msg.Header.Get("X-Waypost-Copy-For"); copied != "" {
		method = "copy of " + method
	} else {
		if !strings.EqualFold(author[0].Address, from) && msg.Header.Get("Sender") == "" {
			w.Errorf("From %s, the envelope has %s", author[0].Address, from)
		}
		list, _ := msg.Header.AddressList("To")
		var to []string
		for _, a := range list {
			to = append(to, strings.ToLower(a.Address))
		}
		have := slices.Clone(recipients)
		slices.Sort(to)
		slices.Sort(have)
		if !slices.Equal(to, have) {
			w.Errorf("To %v, the envelope has %v", to, have)
		}
	}
	var names []string
	for _, r := range recipients {
		names = append(names, short(r))
	}
	slices.Sort(names)
	out := method + " " + short(author[0].Address) + ">" + strings.Join(names, ",")
	for _, e := range c.Parts("VEVENT") {
		out += " [" + describe(e, method) + "]"
		w.order(e, short(author[0].Address), method)
	}
	return out
}

// order: what one person tells of one thing is newer every time (RFC 5546 sections
// 2.1.4 and 2.1.5).
func (w *stage) order(e *ical.Component, who, method string) {
	w.Helper()
	if strings.HasPrefix(method, "copy") {
		return
	}
	key := who + " " + e.Text("UID") + " " + e.Text("RECURRENCE-ID")
	seq, _ := strconv.Atoi(e.Text("SEQUENCE"))
	now := told{seq, e.Text("DTSTAMP")}
	was, known := w.news[key]
	if now.stamp == "" || known && (now.seq < was.seq || now.seq == was.seq && now.stamp < was.stamp) {
		w.Errorf("%s of %s says %v after %v", method, key, now, was)
	}
	w.news[key] = now
}

type leaf struct {
	kind   string
	params map[string]string
	body   []byte
}

func leaves(w testing.TB, kind, encoding string, body io.Reader) (all []leaf) {
	media, params, err := mime.ParseMediaType(kind)
	if err != nil {
		media = "text/plain"
	}
	if strings.HasPrefix(media, "multipart/") {
		r := multipart.NewReader(body, params["boundary"])
		for {
			p, err := r.NextRawPart()
			if err != nil {
				return all
			}
			all = append(all, leaves(w, p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p)...)
		}
	}
	if strings.EqualFold(encoding, "base64") {
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	b, err := io.ReadAll(body)
	if err != nil {
		w.Error(err)
	}
	return []leaf{{media, params, b}}
}

func short(address string) string {
	return strings.TrimSuffix(strings.ToLower(address), "@"+domain)
}

// describe says what matters of an event: SEQUENCE, RECURRENCE-ID, time, title, and
// who comes (? not answered, + accepts, ~ perhaps, - does not).
func describe(e *ical.Component, method string) string {
	out := []string{"#" + e.Text("SEQUENCE")}
	if rid := e.Prop("RECURRENCE-ID"); rid != nil {
		out = append(out, "@"+clockOf(rid))
	}
	if p := e.Prop("DTSTART"); p != nil && method != "REPLY" {
		out = append(out, clockOf(p))
	}
	if e.Text("RRULE") != "" {
		out = append(out, "weekly")
	}
	var gone []string
	for _, p := range e.All("EXDATE") {
		gone = append(gone, "-"+clockOf(p))
	}
	slices.Sort(gone)
	out = append(out, gone...)
	if method != "REPLY" {
		out = append(out, e.Text("SUMMARY"))
	}
	if e.Text("STATUS") == "CANCELLED" {
		out = append(out, "CANCELLED")
	}
	var who []string
	organizer, _ := e.Organizer()
	for _, a := range e.Attendees() {
		if strings.EqualFold(a.Address, organizer.Address) {
			continue
		}
		mark := map[string]string{"": "?", "NEEDS-ACTION": "?", "ACCEPTED": "+", "TENTATIVE": "~", "DECLINED": "-"}[a.Status]
		if a.SentBy != "" {
			mark += "(" + short(a.SentBy) + ")"
		}
		who = append(who, short(a.Address)+mark)
	}
	slices.Sort(who)
	return strings.Join(append(out, who...), " ")
}

// clockOf is a time in UTC, without the year.
func clockOf(p *ical.Property) string {
	at, err := ical.ParseTime(p)
	if err != nil {
		return "?" + p.Value
	}
	zone := time.UTC
	switch p.ParamText("TZID") {
	case "Europe/Berlin", "W. Europe Standard Time":
		zone, _ = time.LoadLocation("Europe/Berlin")
	}
	if at.UTC {
		return at.Wall.Format("0102T1504")
	}
	return time.Date(at.Wall.Year(), at.Wall.Month(), at.Wall.Day(), at.Wall.Hour(), at.Wall.Minute(), 0, 0, zone).UTC().Format("0102T1504")
}

// copyOf says what somebody's calendar has of an event.
func (w *stage) copyOf(name, uid string) string {
	w.Helper()
	o := w.object(name, uid)
	if o == nil {
		return name + ": nothing"
	}
	c, _, err := ical.Parse(o.Text, ical.Object)
	if err != nil {
		w.Fatal(err)
	}
	var parts []string
	for _, cal := range c.Parts("VCALENDAR") {
		for _, e := range cal.Parts("VEVENT") {
			d := describe(e, "")
			_, d, _ = strings.Cut(d, " ") // the number is the messages'
			parts = append(parts, "["+d+"]")
		}
	}
	slices.Sort(parts)
	return fmt.Sprintf("%s: %s", name, strings.Join(parts, " "))
}
