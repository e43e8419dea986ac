package dav

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/store/postgres"
)

// people is a small directory: who signs in, and the address list.
type people []directory.User

var everyone = people{
	{ID: 1, GUID: "6f7c1d0e-0000-4000-8000-000000000001", Kind: directory.KindUser, Address: "alice@example.test", Addresses: []string{"alice@example.test", "a.smith@example.test"}, Name: "Alice Smith", Given: "Alice", Surname: "Smith", Mailbox: 7, Phone: "+1 555 0100", Changed: 4},
	{ID: 2, GUID: "6f7c1d0e-0000-4000-8000-000000000002", Kind: directory.KindUser, Address: "bob@example.test", Addresses: []string{"bob@example.test"}, Name: "Bob Jones", Given: "Bob", Surname: "Jones", Mailbox: 8, Changed: 5},
	{ID: 3, GUID: "6f7c1d0e-0000-4000-8000-000000000003", Kind: directory.KindRoom, Address: "room1@example.test", Name: "Room 1", Mailbox: 9, Changed: 6},
	{ID: 4, GUID: "6f7c1d0e-0000-4000-8000-000000000004", Kind: directory.KindGroup, Address: "sales@example.test", Name: "Sales", Changed: 7},
}

func (p people) SignIn(_ context.Context, c directory.Credentials) (directory.Principal, error) {
	for _, u := range p {
		if u.Address == c.Login && c.Password == "secret" {
			return directory.Principal{ID: u.ID, Mailbox: u.Mailbox, Address: u.Address, Name: u.Name}, nil
		}
	}
	return directory.Principal{}, fault.New(fault.Unauthenticated, "no")
}

func (p people) User(_ context.Context, _ directory.Principal, id directory.ObjectID) (directory.User, error) {
	for _, u := range p {
		if u.ID == id && u.Kind != directory.KindGroup {
			return u, nil
		}
	}
	return directory.User{}, fault.New(fault.NotFound, "no such user")
}

func (p people) UserByAddress(_ context.Context, _ directory.Principal, address string) (directory.User, error) {
	for _, u := range p {
		if u.Kind == directory.KindGroup {
			continue
		}
		for _, a := range append([]string{u.Address}, u.Addresses...) {
			if strings.EqualFold(a, address) {
				return u, nil
			}
		}
	}
	return directory.User{}, fault.New(fault.NotFound, "no such user")
}

func (p people) People(_ context.Context, _ directory.Principal, q directory.PeopleQuery) ([]directory.User, int, error) {
	var hits []directory.User
	for _, u := range p {
		text := strings.ToLower(" " + u.Name + " " + u.Address)
		if strings.Contains(text, " "+strings.ToLower(q.Text)) {
			hits = append(hits, u)
		}
	}
	total := len(hits)
	hits = hits[min(q.Offset, total):]
	return hits[:min(q.Limit, len(hits))], total, nil
}

func (p people) Photo(_ context.Context, _ directory.Principal, id directory.ObjectID) ([]byte, error) {
	if id == 2 {
		return []byte("\xff\xd8\xff picture"), nil
	}
	return nil, fault.New(fault.NotFound, "no picture")
}

// site is the door over the store that is shipped, on a database of its own.
type site struct {
	t     testing.TB
	h     http.Handler
	store *postgres.Store
	dav   *Server
}

func newSite(t testing.TB, opt Options) *site {
	t.Helper()
	db, err := pgdb.Open(t.Context(), pgtest.New(t, migrations.Mail), pgdb.Options{Name: "dav"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	st, err := postgres.New(map[string]*pgdb.DB{postgres.DefaultHome: db}, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range everyone {
		if u.Mailbox != 0 {
			if _, err := st.Mailbox(t.Context(), directory.System("test"), u.Mailbox); err != nil {
				t.Fatal(err)
			}
		}
	}
	if opt.Log == nil {
		level := slog.LevelWarn
		if os.Getenv("DAV_LOG") != "" {
			level = slog.LevelInfo
		}
		opt.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	}
	s := New(st, everyone, everyone, opt)
	return &site{t: t, h: s, store: st, dav: s}
}

// serve opens the door on a port of this machine.
func (s *site) serve() string {
	mux := http.NewServeMux()
	for _, p := range WellKnown {
		mux.HandleFunc(p, Redirect)
	}
	mux.Handle("/", s.h)
	srv := httptest.NewServer(mux)
	s.t.Cleanup(srv.Close)
	return srv.URL
}

// answer is what came back.
type answer struct {
	code int
	http.Header
	body string
}

// do sends one request as alice. head holds header lines "Name: value".
func (s *site) do(method, path, body string, head ...string) answer {
	s.t.Helper()
	return s.as("alice@example.test", method, path, body, head...)
}

func (s *site) as(who, method, path, body string, head ...string) answer {
	s.t.Helper()
	r := httptest.NewRequest(method, "http://dav.example.test/", strings.NewReader(body))
	u := *r.URL
	if err := setPath(&u, path); err != nil {
		s.t.Fatal(err)
	}
	r.URL = &u
	if who != "" {
		r.SetBasicAuth(who, "secret")
	}
	for _, line := range head {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	b, _ := io.ReadAll(w.Result().Body)
	a := answer{w.Code, w.Result().Header, string(b)}
	if _, bench := s.t.(*testing.B); !bench && strings.HasPrefix(a.Get("Content-Type"), "application/xml") {
		if _, err := readXML(bytes.NewReader(b)); err != nil {
			s.t.Fatalf("%s %s: the answer is no XML: %v\n%s", method, path, err, b)
		}
	}
	return a
}

// want does and demands a code.
func (s *site) want(code int, method, path, body string, head ...string) answer {
	s.t.Helper()
	a := s.do(method, path, body, head...)
	if a.code != code {
		s.t.Fatalf("%s %s: %d, want %d\n%s", method, path, a.code, code, a.body)
	}
	return a
}

// has demands that an answer says something.
func (s *site) has(a answer, parts ...string) {
	s.t.Helper()
	for _, p := range parts {
		if !strings.Contains(a.body, p) {
			s.t.Errorf("the answer has no %s:\n%s", p, a.body)
		}
	}
}

func (s *site) hasNot(a answer, parts ...string) {
	s.t.Helper()
	for _, p := range parts {
		if strings.Contains(a.body, p) {
			s.t.Errorf("the answer has %s:\n%s", p, a.body)
		}
	}
}

const (
	calHome  = "/dav/calendars/alice@example.test/"
	bookHome = "/dav/addressbooks/alice@example.test/"
)

// standard is the address of a standard calendar or book.
func (s *site) standard(kind string) string {
	s.t.Helper()
	home := calHome
	if kind == "Contacts" {
		home = bookHome
	}
	a := s.want(207, "PROPFIND", home, `<propfind xmlns="DAV:"><prop><displayname/></prop></propfind>`, "Depth: 1")
	for part := range strings.SplitSeq(a.body, "<D:response>") {
		if strings.Contains(part, "<D:displayname>"+kind+"</D:displayname>") {
			_, rest, _ := strings.Cut(part, "<D:href>")
			href, _, _ := strings.Cut(rest, "</D:href>")
			return href
		}
	}
	s.t.Fatalf("no %s in\n%s", kind, a.body)
	return ""
}

func event(uid, lines string) string {
	return lf("BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//T//T//EN\nBEGIN:VEVENT\nUID:" + uid + "\nDTSTAMP:20260101T000000Z\n" + lines + "\nEND:VEVENT\nEND:VCALENDAR\n")
}

func todo(uid, lines string) string {
	return strings.ReplaceAll(event(uid, lines), "VEVENT", "VTODO")
}

func card(uid, lines string) string {
	return lf("BEGIN:VCARD\nVERSION:3.0\nUID:" + uid + "\n" + lines + "\nEND:VCARD\n")
}

// lf makes CRLF of line feeds.
func lf(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\n\n", "\n"), "\n", "\r\n")
}

func TestEveryFaultHasACode(t *testing.T) {
	for _, k := range fault.Kinds() {
		if codes[k] < 400 {
			t.Errorf("no code for %v", k)
		}
	}
}

func hrefs(a answer) (list []string) {
	for part := range strings.SplitSeq(a.body, "<D:response><D:href>") {
		if href, _, ok := strings.Cut(part, "</D:href>"); ok {
			list = append(list, href)
		}
	}
	return list[min(len(list), 0):]
}

// names are the last parts of the addresses in an answer, sorted as they come.
func names(a answer) string {
	var list []string
	for _, h := range hrefs(a) {
		if !strings.HasSuffix(h, "/") && !strings.Contains(h, "<") {
			list = append(list, h[strings.LastIndexByte(h, '/')+1:])
		}
	}
	return strings.Join(list, " ")
}

func TestSignIn(t *testing.T) {
	s := newSite(t, Options{})
	a := s.as("", "PROPFIND", "/dav/", "")
	if a.code != 401 || a.Get("WWW-Authenticate") != `Basic realm="Waypost", charset="UTF-8"` {
		t.Errorf("%d %v", a.code, a.Header)
	}
	if a := s.as("mallory@example.test", "GET", "/dav/", ""); a.code != 401 {
		t.Errorf("a stranger: %d", a.code)
	}
	// What is somebody else's is not told.
	for _, method := range []string{"PROPFIND", "REPORT", "MKCALENDAR"} {
		body := ""
		if method == "REPORT" {
			body = `<sync-collection xmlns="DAV:"/>`
		}
		for _, path := range []string{"/dav/calendars/bob@example.test/F1/", "/dav/calendars/bob@example.test/x/"} {
			if a := s.do(method, path, body, "Depth: 1"); a.code != 403 && a.code != 404 && a.code != 409 {
				t.Errorf("%s %s: %d %s", method, path, a.code, a.body)
			}
		}
	}
	if a := s.do("PROPFIND", "/dav/calendars/bob@example.test/", "", "Depth: 1"); a.code != 403 && a.code != 404 {
		t.Errorf("bob's home: %d %s", a.code, a.body)
	}
}

func TestObjects(t *testing.T) {
	s := newSite(t, Options{})
	cal := s.standard("Calendar")
	one := event("one", "DTSTART:20260301T100000Z\nDTEND:20260301T110000Z\nSUMMARY:One")
	s.want(412, "PUT", cal+"one.ics", one, "If-Match: *")
	a := s.want(201, "PUT", cal+"one.ics", one, "Content-Type: text/calendar; charset=utf-8", "If-None-Match: *")
	tag := a.Get("ETag")
	if tag == "" {
		t.Error("no ETag for what is stored as it was sent")
	}
	s.want(412, "PUT", cal+"one.ics", one, "If-None-Match: *")
	g := s.want(200, "GET", cal+"one.ics", "")
	if g.body != one || g.Get("ETag") != tag || g.Get("Content-Type") != "text/calendar; charset=utf-8; component=vevent" {
		t.Errorf("%v\n%s", g.Header, g.body)
	}
	if h := s.want(200, "HEAD", cal+"one.ics", ""); h.body != "" || h.Get("Content-Length") != fmt.Sprint(len(one)) {
		t.Errorf("HEAD: %v %q", h.Header, h.body)
	}
	s.want(304, "GET", cal+"one.ics", "", "If-None-Match: "+tag)
	two := event("one", "DTSTART:20260301T100000Z\nDTEND:20260301T110000Z\nSUMMARY:Two")
	s.want(412, "PUT", cal+"one.ics", two, `If-Match: "0"`)
	s.want(412, "PUT", cal+"one.ics", two, "If-Match: W/"+tag)
	s.want(412, "PUT", cal+"one.ics", two, `If: (["0"])`)
	s.want(412, "PUT", cal+"one.ics", two, `If: (<urn:uuid:none>)`)
	a = s.want(204, "PUT", cal+"one.ics", two, `If-Match: "0", `+tag)
	if a.Get("ETag") == tag || a.Get("ETag") == "" {
		t.Errorf("ETag %q after %q", a.Get("ETag"), tag)
	}
	s.want(412, "DELETE", cal+"one.ics", "", "If-Match: "+tag)
	s.want(204, "DELETE", cal+"one.ics", "", "If-Match: "+a.Get("ETag"))
	s.want(404, "DELETE", cal+"one.ics", "")
	s.want(404, "GET", cal+"one.ics", "")

	// What is normalised has no ETag, and RFC 8144 gives it at once.
	odd := strings.ReplaceAll(one, "\r\n", "\n")
	if a := s.want(201, "PUT", cal+"one.ics", odd); a.Get("ETag") != "" {
		t.Error("an ETag for what was not stored as it was sent")
	}
	a = s.want(200, "PUT", cal+"one.ics", strings.Replace(odd, "SUMMARY:One", "SUMMARY:Three", 1), "Prefer: return=representation")
	if !strings.Contains(a.body, "SUMMARY:Three\r\n") || a.Get("ETag") == "" || a.Get("Preference-Applied") == "" {
		t.Errorf("%v\n%s", a.Header, a.body)
	}
}

func TestPreconditions(t *testing.T) {
	s := newSite(t, Options{})
	cal, tasks, book := s.standard("Calendar"), s.standard("Tasks"), s.standard("Contacts")
	when := "DTSTART:20260301T100000Z"
	s.want(201, "PUT", cal+"a.ics", event("a", when))
	for _, tt := range []struct {
		path, body, kind string
		code             int
		has              string
	}{
		{cal + "b.ics", "hello", "", 403, "C:valid-calendar-data"},
		{cal + "b.ics", "", "", 403, "C:valid-calendar-data"},
		{cal + "b.ics", event("b", when), "text/html", 403, "C:supported-calendar-data"},
		{cal + "b.ics", todo("b", when), "", 403, "C:supported-calendar-component"},
		{tasks + "b.ics", event("b", when), "", 403, "C:supported-calendar-component"},
		{cal + "b.ics", event("b", when+"\nEND:VEVENT\nBEGIN:VEVENT\nUID:c\n"+when), "", 403, "C:valid-calendar-object-resource"},
		{cal + "b.ics", event("b", when+"\nEND:VEVENT\nBEGIN:VTODO\nUID:b\nEND:VTODO\nBEGIN:VEVENT\nUID:b"), "", 403, "C:valid-calendar-object-resource"},
		{cal + "b.ics", event("a", when), "", 409, "<C:no-uid-conflict><D:href>" + cal + "a.ics"},
		{cal + "a.ics", event("z", when), "", 409, "C:no-uid-conflict"},
		{cal + "none/b.ics", event("b", when), "", 409, ""},
		{calHome + "none/b.ics", event("b", when), "", 409, ""},
		{cal, event("b", when), "", 405, ""},
		{calHome + "b.ics", event("b", when), "", 404, ""},
		{book + "b.vcf", "hello", "", 403, "A:valid-address-data"},
		{book + "b.vcf", card("b", "FN:B") + card("c", "FN:C"), "", 403, "A:valid-address-data"},
		{bookHome + "directory/b.vcf", card("b", "FN:B"), "", 403, "D:need-privileges"},
		{cal + strings.Repeat("x", 256), event("b", when), "", 400, ""},
		{cal + "a%2Fb.ics", event("b", when), "", 400, ""},
		{cal + "%2e%2e/b.ics", event("b", when), "", 400, ""},
		{cal + "../b.ics", event("b", when), "", 400, ""},
		{cal + "b%00.ics", event("b", when), "", 400, ""},
		{cal + "b%ff.ics", event("b", when), "", 400, ""},
	} {
		var head []string
		if tt.kind != "" {
			head = append(head, "Content-Type: "+tt.kind)
		}
		a := s.do("PUT", tt.path, tt.body, head...)
		if a.code != tt.code && !(tt.path == calHome+"b.ics" && a.code >= 403 && a.code <= 409) {
			t.Errorf("PUT %s: %d, want %d\n%s", tt.path, a.code, tt.code, a.body)
		}
		s.has(a, tt.has)
	}
	// A method is of a message, and taken off.
	s.want(201, "PUT", cal+"m.ics", strings.Replace(event("m", when), "VERSION:2.0\r\n", "VERSION:2.0\r\nMETHOD:PUBLISH\r\n", 1))
	s.hasNot(s.want(200, "GET", cal+"m.ics", ""), "METHOD")
	// A zone that is named is described.
	s.want(201, "PUT", cal+"z.ics", event("z", "DTSTART;TZID=Europe/Berlin:20260301T100000"))
	s.has(s.want(200, "GET", cal+"z.ics", ""), "BEGIN:VTIMEZONE\r\nTZID:Europe/Berlin\r\n", "DTSTART;TZID=Europe/Berlin:20260301T100000\r\n")
}

func TestRaces(t *testing.T) {
	s := newSite(t, Options{})
	cal := s.standard("Calendar")
	const writers = 8
	race := func(head, name string) (won int) {
		codes := make(chan int, writers)
		for i := range writers {
			go func() {
				codes <- s.do("PUT", cal+name, event("race", fmt.Sprintf("DTSTART:20260301T100000Z\nSUMMARY:%d of %s", i, head)), head).code
			}()
		}
		for range writers {
			switch c := <-codes; c {
			case 201, 204:
				won++
			case 412:
			default:
				t.Errorf("code %d", c)
			}
		}
		return won
	}
	if n := race("If-None-Match: *", "race.ics"); n != 1 {
		t.Errorf("%d made it", n)
	}
	for range 5 {
		tag := s.want(200, "GET", cal+"race.ics", "").Get("ETag")
		if n := race("If-Match: "+tag, "race.ics"); n != 1 {
			t.Errorf("%d replaced %s", n, tag)
		}
	}
}

func TestCards(t *testing.T) {
	s := newSite(t, Options{})
	book := s.standard("Contacts")
	jane := card("jane", "FN:Jane Doe\nN:Doe;Jane;;;\nitem1.TEL;TYPE=pref:+1\nitem1.X-ABLabel:Boat\nX-ODD;X-P=1:kept\nPHOTO;ENCODING=b;TYPE=JPEG:AAAA")
	s.want(201, "PUT", book+"jane.vcf", jane, "Content-Type: text/vcard")
	a := s.want(200, "GET", book+"jane.vcf", "")
	s.has(a, "VERSION:3.0", "item1.X-ABLabel:Boat", "X-ODD;X-P=1:kept", "PHOTO;ENCODING=b;TYPE=JPEG:AAAA")
	a = s.want(200, "GET", book+"jane.vcf", "", "Accept: text/vcard; version=4.0, text/vcard;q=0.5")
	s.has(a, "VERSION:4.0", "PHOTO:data:image/jpeg;base64,AAAA")
	s.want(201, "PUT", book+"group.vcf", card("g", "FN:Team\nN:Team;;;;\nX-ADDRESSBOOKSERVER-KIND:group\nX-ADDRESSBOOKSERVER-MEMBER:urn:uuid:jane"))
	s.has(s.want(200, "GET", book+"group.vcf", ""), "X-ADDRESSBOOKSERVER-KIND:group", "X-ADDRESSBOOKSERVER-MEMBER:urn:uuid:jane")
	q := func(filter, more string) answer {
		t.Helper()
		return s.want(207, "REPORT", book, `<A:addressbook-query xmlns="DAV:" xmlns:A="urn:ietf:params:xml:ns:carddav"><prop><getetag/><A:address-data><A:prop name="FN"/></A:address-data></prop>`+filter+more+`</A:addressbook-query>`, "Depth: 1")
	}
	for _, tt := range []struct{ filter, want string }{
		{``, "jane.vcf group.vcf"},
		{`<A:filter><A:prop-filter name="FN"><A:text-match>jane</A:text-match></A:prop-filter></A:filter>`, "jane.vcf"},
		{`<A:filter><A:prop-filter name="FN"><A:text-match match-type="equals">jane</A:text-match></A:prop-filter></A:filter>`, ""},
		{`<A:filter><A:prop-filter name="FN"><A:text-match collation="i;octet">jane</A:text-match></A:prop-filter></A:filter>`, ""},
		{`<A:filter><A:prop-filter name="FN"><A:text-match negate-condition="yes" match-type="starts-with">jane</A:text-match></A:prop-filter></A:filter>`, "group.vcf"},
		{`<A:filter><A:prop-filter name="TEL"><A:is-not-defined/></A:prop-filter></A:filter>`, "group.vcf"},
		{`<A:filter><A:prop-filter name="FN"><A:text-match>jane</A:text-match></A:prop-filter><A:prop-filter name="FN"><A:text-match>team</A:text-match></A:prop-filter></A:filter>`, "jane.vcf group.vcf"},
		{`<A:filter test="allof"><A:prop-filter name="FN"><A:text-match>jane</A:text-match></A:prop-filter><A:prop-filter name="FN"><A:text-match>team</A:text-match></A:prop-filter></A:filter>`, ""},
		{`<A:filter><A:prop-filter name="FN" test="allof"><A:text-match match-type="starts-with">jane</A:text-match><A:text-match match-type="ends-with">doe</A:text-match></A:prop-filter></A:filter>`, "jane.vcf"},
		{`<A:filter><A:prop-filter name="X-ODD"><A:param-filter name="X-P"><A:text-match>1</A:text-match></A:param-filter></A:prop-filter></A:filter>`, "jane.vcf"},
		{`<A:filter><A:prop-filter name="X-ADDRESSBOOKSERVER-KIND"/></A:filter>`, "group.vcf"},
	} {
		a := q(tt.filter, "")
		if names(a) != tt.want {
			t.Errorf("%s: %s, want %s", tt.filter, names(a), tt.want)
		}
		s.hasNot(a, "BEGIN:VCARD&#13;\nVERSION:4.0", "X-ABLabel")
	}
	a = q("", `<A:limit><A:nresults>1</A:nresults></A:limit>`)
	s.has(a, "HTTP/1.1 507 Insufficient Storage", "D:number-of-matches-within-limits")
	if names(a) != "jane.vcf" {
		t.Errorf("limited: %s", names(a))
	}
	a = s.want(403, "REPORT", book, `<A:addressbook-query xmlns="DAV:" xmlns:A="urn:ietf:params:xml:ns:carddav"><A:filter><A:prop-filter name="FN"><A:text-match collation="x">j</A:text-match></A:prop-filter></A:filter></A:addressbook-query>`, "Depth: 1")
	s.has(a, "A:supported-collation")
	a = s.want(207, "REPORT", book, `<A:addressbook-multiget xmlns="DAV:" xmlns:A="urn:ietf:params:xml:ns:carddav"><prop><A:address-data version="4.0"/></prop><href>`+book+`jane.vcf</href><href>`+book+`none.vcf</href><href>/elsewhere</href></A:addressbook-multiget>`)
	s.has(a, "VERSION:4.0", "none.vcf</D:href><D:status>HTTP/1.1 404 Not Found", "/elsewhere</D:href><D:status>HTTP/1.1 404")
}

func TestAddressList(t *testing.T) {
	s := newSite(t, Options{})
	gal := bookHome + "directory/"
	a := s.want(207, "PROPFIND", gal, "", "Depth: 1")
	if names(a) != "alice@example.test.vcf bob@example.test.vcf room1@example.test.vcf sales@example.test.vcf" {
		t.Error(names(a))
	}
	a = s.want(200, "GET", gal+"bob@example.test.vcf", "")
	s.has(a, "FN:Bob Jones", "EMAIL;TYPE=work:bob@example.test", "PHOTO;", "VERSION:3.0")
	s.has(s.want(200, "GET", gal+"sales@example.test.vcf", ""), "X-ADDRESSBOOKSERVER-KIND:group")
	s.want(404, "GET", gal+"nobody.vcf", "")
	s.want(403, "DELETE", gal+"bob@example.test.vcf", "")
	s.want(403, "DELETE", gal, "")
	a = s.want(207, "REPORT", gal, `<A:addressbook-query xmlns="DAV:" xmlns:A="urn:ietf:params:xml:ns:carddav"><prop><A:address-data/></prop><A:filter><A:prop-filter name="FN"><A:text-match match-type="starts-with">bob</A:text-match></A:prop-filter><A:prop-filter name="EMAIL"><A:text-match>bob</A:text-match></A:prop-filter></A:filter><A:limit><A:nresults>10</A:nresults></A:limit></A:addressbook-query>`, "Depth: 1")
	if names(a) != "bob@example.test.vcf" {
		t.Error(a.body)
	}
	s.has(a, "PHOTO")
	a = s.want(207, "REPORT", gal, `<A:addressbook-multiget xmlns="DAV:" xmlns:A="urn:ietf:params:xml:ns:carddav"><prop><getetag/></prop><href>`+gal+`room1@example.test.vcf</href><href>`+gal+`x.vcf</href></A:addressbook-multiget>`)
	s.has(a, `<D:getetag>"d6"</D:getetag>`, "404")
	a = s.want(207, "PROPFIND", gal, `<propfind xmlns="DAV:"><prop><current-user-privilege-set/><resourcetype/></prop></propfind>`, "Depth: 0")
	s.has(a, "<D:read/>", "A:addressbook")
	s.hasNot(a, "D:write", "D:bind")
}

func setPath(u *url.URL, path string) error {
	p, err := url.PathUnescape(path)
	if err != nil {
		return err
	}
	u.Path, u.RawPath = p, path
	return nil
}
