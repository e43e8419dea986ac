package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

// sink is the outside world: it keeps every message that is sent there.
type sink struct {
	mu   sync.Mutex
	mail []string
	addr string
}

func newSink(t *testing.T) *sink {
	k := &sink{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k.addr = l.Addr().String()
	srv := gosmtp.NewServer(gosmtp.BackendFunc(func(*gosmtp.Conn) (gosmtp.Session, error) { return k, nil }))
	srv.Domain, srv.ErrorLog = "sink.example.net", silent{}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return k
}

type silent struct{}

func (silent) Printf(string, ...any) {}
func (silent) Println(...any)        {}

func (k *sink) Reset()                                 {}
func (k *sink) Logout() error                          { return nil }
func (k *sink) Mail(string, *gosmtp.MailOptions) error { return nil }
func (k *sink) Rcpt(string, *gosmtp.RcptOptions) error { return nil }
func (k *sink) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.mail = append(k.mail, string(b))
	k.mu.Unlock()
	return nil
}

var messageID = regexp.MustCompile(`(?mi)^message-id: <(\S+)>`)

// ids are the different messages whose text has all of the parts.
func (k *sink) ids(parts ...string) map[string]bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	got := map[string]bool{}
next:
	for _, m := range k.mail {
		for _, p := range parts {
			if !strings.Contains(m, p) {
				continue next
			}
		}
		if id := messageID.FindStringSubmatch(m); id != nil {
			got[id[1]] = true
		}
	}
	return got
}

var davClient = &http.Client{Transport: &http.Transport{TLSClientConfig: noVerify}, Timeout: 30 * time.Second}

// dav makes one request as a user.
func (s *site) dav(user, method, path, body string, header ...string) (int, string, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, "https://"+s.addr["https"]+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.SetBasicAuth(user+"@"+domain, password)
	req.Header.Set("Content-Type", "text/calendar; charset=utf-8")
	if strings.HasPrefix(body, "<") {
		req.Header.Set("Content-Type", "application/xml; charset=utf-8")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := davClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

var calendarHref = regexp.MustCompile(`<(?:\w+:)?href>([^<]*/calendars/[^<]+/[^<]+/)</`)

// calendar finds somebody's calendar.
func (s *site) calendar(t *testing.T, user string) (path string) {
	t.Helper()
	eventually(t, 30*time.Second, "the calendar of "+user, func() error {
		code, body, err := s.dav(user, "PROPFIND", "/dav/calendars/"+user+"@"+domain+"/", "", "Depth", "1")
		if err != nil || code != http.StatusMultiStatus {
			return fmt.Errorf("%d %s, %w", code, body, err)
		}
		for _, part := range strings.Split(body, "response>") {
			if m := calendarHref.FindStringSubmatch(part); m != nil && strings.Contains(part, "VEVENT") {
				path = m[1]
				return nil
			}
		}
		return fmt.Errorf("none in %s", body)
	})
	return path
}

const allEvents = `<c:calendar-query xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><d:prop><c:calendar-data/></d:prop>` +
	`<c:filter><c:comp-filter name="VCALENDAR"><c:comp-filter name="VEVENT"/></c:comp-filter></c:filter></c:calendar-query>`

// copies are the texts of somebody's events by UID.
func (s *site) copies(user, calendar string) (map[string]string, error) {
	code, body, err := s.dav(user, "REPORT", calendar, allEvents, "Depth", "1")
	if err != nil || code != http.StatusMultiStatus {
		return nil, fmt.Errorf("%d %.300s, %w", code, body, err)
	}
	body = strings.NewReplacer("&#13;", "", "&#xD;", "", "\r", "").Replace(body)
	body = strings.ReplaceAll(body, "\n ", "")
	got := map[string]string{}
	for _, part := range strings.Split(body, "BEGIN:VCALENDAR")[1:] {
		if _, uid, ok := strings.Cut(part, "\nUID:"); ok {
			uid, _, _ = strings.Cut(uid, "\n")
			if got[uid] != "" {
				return nil, fmt.Errorf("%s has %s twice", user, uid)
			}
			got[uid] = part
		}
	}
	return got, nil
}

// TestMeetings: alice invites bob, a room and somebody outside from CalDAV, while
// the program is killed again and again and every request is repeated until it is
// answered. Everybody hears of every meeting once, and once of its end.
func TestMeetings(t *testing.T) {
	k, s := newSink(t), newSite(t)
	s.freePorts()
	s.env = append(s.env, "WAYPOST_SMTP_SMART_HOST="+k.addr)
	s.serve()
	meetings(t, s, k)
}

// TestMeetingsSeparate is the same with the four programs.
func TestMeetingsSeparate(t *testing.T) {
	k, s := newSink(t), newSeparate(t)
	s.env = append(s.env, "WAYPOST_SMTP_SMART_HOST="+k.addr)
	s.startSeparate()
	meetings(t, s, k)
}

func meetings(t *testing.T, s *site, k *sink) {
	t.Helper()
	s.organisation("alice", "bob")
	s.must("room", "add", "room1@"+domain, "--name", "Room 1")
	alice, bob := s.calendar(t, "alice"), s.calendar(t, "bob")

	const count = 8
	request := func(method, path, body string, ok ...int) {
		t.Helper()
		eventually(t, 60*time.Second, method+" "+path, func() error {
			code, answer, err := s.dav("alice", method, path, body)
			if err != nil {
				return err
			}
			for _, want := range ok {
				if code == want {
					return nil
				}
			}
			return fmt.Errorf("%d %.300s", code, answer)
		})
	}
	uid := func(i int) string { return fmt.Sprintf("meeting-%d@example.test", i) }
	text := func(i int) string {
		return strings.ReplaceAll(fmt.Sprintf(`BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//test//EN
BEGIN:VEVENT
UID:%s
DTSTAMP:20261124T080000Z
DTSTART:%sT%02d0000Z
DURATION:PT1H
SUMMARY:Meeting %d.
ORGANIZER:mailto:alice@example.test
ATTENDEE;PARTSTAT=ACCEPTED:mailto:alice@example.test
ATTENDEE;RSVP=TRUE:mailto:bob@example.test
ATTENDEE;CUTYPE=ROOM;RSVP=TRUE:mailto:room1@example.test
ATTENDEE;RSVP=TRUE:mailto:zoe@other.example
END:VEVENT
END:VCALENDAR
`, uid(i), time.Now().AddDate(0, 0, 7).Format("20060102"), 8+i, i), "\n", "\r\n")
	}
	var killer sync.WaitGroup
	killer.Go(func() {
		names := slices.Sorted(maps.Keys(s.launch))
		for i := range 3 {
			time.Sleep(700 * time.Millisecond)
			name := names[i%len(names)]
			s.mu.Lock()
			p := s.proc[name]
			s.mu.Unlock()
			_ = p.cmd.Process.Signal(syscall.SIGKILL)
			<-p.done
			s.launch[name]()
			s.await()
		}
	})
	for i := range count {
		path := alice + fmt.Sprintf("m%d.ics", i)
		for range 2 { // a client that repeats itself
			request("PUT", path, text(i), http.StatusCreated, http.StatusNoContent)
		}
	}
	killer.Wait()
	once := func(what, subject, method string) {
		t.Helper()
		eventually(t, 60*time.Second, what, func() error {
			for i := range count {
				subj := fmt.Sprintf("Subject: %sMeeting %d.", subject, i)
				if n := len(k.ids(subj, "method="+method)); n != 1 {
					return fmt.Errorf("outside has %d different messages %q", n, subj)
				}
			}
			return nil
		})
		for i := range count {
			letterTo(t, s, "bob", fmt.Sprintf("Subject: %sMeeting %d.\r\n", subject, i))
		}
	}
	once("everybody is invited", "", "REQUEST")
	eventually(t, 30*time.Second, "the calendars agree", func() error {
		theirs, err := s.copies("bob", bob)
		if err != nil {
			return err
		}
		mine, err := s.copies("alice", alice)
		if err != nil {
			return err
		}
		if len(theirs) != count || len(mine) != count {
			return fmt.Errorf("bob has %d, alice %d", len(theirs), len(mine))
		}
		for i := range count {
			if !strings.Contains(theirs[uid(i)], "BUSYSTATUS:TENTATIVE") {
				return fmt.Errorf("bob's copy is\n%s", theirs[uid(i)])
			}
			if !regexp.MustCompile(`PARTSTAT=ACCEPTED[^\n]*:mailto:room1@`).MatchString(mine[uid(i)]) {
				return fmt.Errorf("alice's copy is\n%s", mine[uid(i)])
			}
		}
		return nil
	})
	for i := range count {
		letterTo(t, s, "alice", fmt.Sprintf("Subject: Accepted: Meeting %d.\r\n", i))
	}

	// The room is taken: who asks now hears so within a second.
	begun := time.Now()
	code, body, err := s.dav("bob", "PUT", bob+"clash.ics", strings.NewReplacer("alice@", "bob@", "bob@", "alice@", uid(0), "clash", "zoe@other.example", "alice@example.test").Replace(text(0)))
	if err != nil || code != http.StatusCreated {
		t.Fatalf("%d %s %v", code, body, err)
	}
	letterTo(t, s, "bob", "Subject: Declined: Meeting 0.\r\n")
	t.Logf("the room answered after %v", time.Since(begun))

	// Somebody outside answers.
	reply := "From: zoe@other.example\r\nTo: alice@example.test\r\nSubject: Accepted: x\r\nMIME-Version: 1.0\r\nContent-Type: text/calendar; method=REPLY; charset=UTF-8\r\n\r\n" +
		"BEGIN:VCALENDAR\r\nMETHOD:REPLY\r\nVERSION:2.0\r\nPRODID:-//Google Inc//Google Calendar 70.9054//EN\r\nBEGIN:VEVENT\r\nUID:" + uid(1) +
		"\r\nDTSTAMP:" + time.Now().UTC().Format("20060102T150405Z") + "\r\nSEQUENCE:0\r\nORGANIZER:mailto:alice@example.test\r\nATTENDEE;PARTSTAT=ACCEPTED:mailto:zoe@other.example\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
	if err := deliver(s.addr["smtp"], "zoe@other.example", [][]string{{"alice@" + domain}}, func(int) io.Reader { return strings.NewReader(reply) }, func(int) {}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the answer is in alice's calendar", func() error {
		mine, err := s.copies("alice", alice)
		if err == nil && !regexp.MustCompile(`PARTSTAT=ACCEPTED[^\n]*:mailto:zoe@`).MatchString(mine[uid(1)]) {
			err = fmt.Errorf("it is\n%s", mine[uid(1)])
		}
		return err
	})

	for i := range count {
		request("DELETE", alice+fmt.Sprintf("m%d.ics", i), "", http.StatusNoContent, http.StatusOK, http.StatusNotFound)
	}
	once("everybody hears of the end", "Cancelled: ", "CANCEL")
}
