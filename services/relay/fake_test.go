package relay_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/services/relay"
	"waypost/services/relay/postgres"
)

// body is a message in memory.
type body string

func (b body) Reader() io.Reader { return strings.NewReader(string(b)) }
func (b body) Size() int64       { return int64(len(b)) }

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// office is the directory and the mailboxes of example.test: "full" is over
// quota, "away" unavailable until it is told otherwise, "nobody" does not exist,
// "staff" is a list of alice and away.
type office struct {
	mu    sync.Mutex
	away  bool
	gone  bool                         // chair moderates nothing any more
	more  int                          // moderators besides
	boxes map[string]map[string]string // address -> id -> message
}

func (o *office) Resolve(_ context.Context, addr string) (directory.Resolution, error) {
	local, domain := envelope.Split(strings.ToLower(addr))
	switch {
	case domain != "example.test":
		return directory.Resolution{Standing: directory.Foreign}, nil
	case local == "nobody":
		return directory.Resolution{Standing: directory.Unknown}, nil
	case local == "staff":
		return directory.Resolution{Standing: directory.List, Group: 1}, nil
	case local == "board":
		return directory.Resolution{Standing: directory.List, Group: 2}, nil
	case local == "mixed":
		return directory.Resolution{Standing: directory.List, Group: 3}, nil
	case local == "redirected":
		return directory.Resolution{Standing: directory.Outside, Forward: "erin@example.test"}, nil
	case local == "copied":
		return directory.Resolution{Standing: directory.Person, Target: person("copied"), Forward: "joe@there.test"}, nil
	case local == "moderated":
		return directory.Resolution{Standing: directory.List, Group: 4}, nil
	case local == "redirects":
		return directory.Resolution{Standing: directory.List, Group: 6}, nil
	case local == "outer":
		return directory.Resolution{Standing: directory.List, Group: 5}, nil
	case strings.Contains(local, "-"): // where decisions go
		return directory.Resolution{Standing: directory.Unknown}, nil
	case local == "joe":
		return directory.Resolution{Standing: directory.Outside, Forward: "joe@there.test"}, nil
	}
	return directory.Resolution{Standing: directory.Person, Target: person(local)}, nil
}

func person(name string) directory.Target {
	return directory.Target{ID: directory.ObjectID(name[0]), Mailbox: directory.MailboxID(name[0]), HomeMDB: "m1", Address: name + "@example.test"}
}

// MaySendTo: the list "board" takes messages of alice alone; chair and somebody
// elsewhere moderate "moderated" until chair has gone.
func (o *office) MaySendTo(_ context.Context, from directory.Sender, g directory.ObjectID) ([]directory.Target, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case g == 2 && !(from.Known && from.Address == "alice@example.test"):
		return nil, directory.ErrNotAllowed
	case g == 4 && !(from.Known && from.Address == "chair@example.test"):
		approvers := []directory.Target{person("chair"), {ID: 91, Address: "mod@example.test", Forward: "mod@there.test"}}
		if o.gone {
			approvers = approvers[1:]
		}
		for i := range o.more {
			approvers = append(approvers, directory.Target{ID: directory.ObjectID(100 + i), Address: fmt.Sprintf("m%d@example.test", i), Forward: fmt.Sprintf("m%d@there.test", i)})
		}
		return approvers, nil
	}
	return nil, nil
}

func (o *office) Expand(_ context.Context, g directory.ObjectID, _ directory.Page) ([]directory.Target, error) {
	switch g {
	case 6:
		both := person("copied")
		both.Forward = "joe@there.test"
		return []directory.Target{both, {ID: 94, Forward: "erin@example.test"}}, nil
	case 3:
		return []directory.Target{person("alice"), {ID: 90, Forward: "joe@there.test"}}, nil
	case 4: // with the group that it is in
		return []directory.Target{person("alice"), {ID: 90, Forward: "joe@there.test"}, {ID: 92, Forward: "outer@example.test"}}, nil
	case 5:
		return []directory.Target{person("erin"), {ID: 90, Forward: "joe@there.test"}, {ID: 93, Forward: "moderated@example.test"}}, nil
	}
	return []directory.Target{person("alice"), person("away")}, nil
}

func (o *office) Deliver(_ context.Context, env envelope.Envelope, to []directory.Target, b envelope.Body) []error {
	errs := make([]error, len(to))
	m, err := io.ReadAll(b.Reader())
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, t := range to {
		switch {
		case err != nil:
			errs[i] = err
		case t.Address == "full@example.test":
			errs[i] = fault.New(fault.OverQuota, "mailbox full")
		case t.Address == "away@example.test" && o.away:
			errs[i] = fault.New(fault.Unavailable, "database is away")
		default:
			if o.boxes[t.Address] == nil {
				o.boxes[t.Address] = map[string]string{}
			}
			o.boxes[t.Address][env.ID] = string(env.Prefix(t.Address)) + string(m)
		}
	}
	return errs
}

func (o *office) box(name string) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []string
	for _, m := range o.boxes[name+"@example.test"] {
		list = append(list, m)
	}
	return list
}

// hop is another organisation's server. Local parts say how it behaves: "no"
// is refused for good, "later" for now, "never" always for now; a message with
// DROP in it loses the connection.
type hop struct {
	addr string
	mu   sync.Mutex
	got  []string // from, to and content
	tls  []bool
	good bool // "later" is accepted now
}

type hopSession struct {
	h    *hop
	c    *gosmtp.Conn
	from string
	to   []string
}

func (s *hopSession) Reset()        { s.from, s.to = "", nil }
func (s *hopSession) Logout() error { return nil }
func (s *hopSession) Mail(from string, _ *gosmtp.MailOptions) error {
	s.from = from
	return nil
}

func (s *hopSession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	local, _, _ := strings.Cut(to, "@")
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	switch {
	case local == "no":
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "No such person"}
	case local == "later" && !s.h.good, local == "never":
		return &gosmtp.SMTPError{Code: 450, EnhancedCode: gosmtp.EnhancedCode{4, 2, 0}, Message: "Not now"}
	}
	s.to = append(s.to, to)
	return nil
}

func (s *hopSession) Data(r io.Reader) error {
	m, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if bytes.Contains(m, []byte("SLOW")) {
		time.Sleep(300 * time.Millisecond)
	}
	if bytes.Contains(m, []byte("DROP")) {
		s.c.Conn().Close()
		return nil
	}
	_, secure := s.c.TLSConnectionState()
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.h.got = append(s.h.got, s.from+" > "+strings.Join(s.to, " ")+"\n"+string(m))
	s.h.tls = append(s.h.tls, secure)
	return nil
}

func (h *hop) messages() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.got)
}

func newHop(t testing.TB, change func(*gosmtp.Server)) *hop {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hop{addr: l.Addr().String()}
	s := gosmtp.NewServer(gosmtp.BackendFunc(func(c *gosmtp.Conn) (gosmtp.Session, error) {
		if c.Hostname() != "mx.example.test" {
			return nil, &gosmtp.SMTPError{Code: 550, Message: "who is " + c.Hostname()}
		}
		return &hopSession{h: h, c: c}, nil
	}))
	s.Domain = "mx.out.example"
	s.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	if change != nil {
		change(s)
	}
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done })
	return h
}

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// names is a DNS in memory.
type names struct {
	mx   map[string][]*net.MX
	ip   map[string][]netip.Addr
	away map[string]bool
}

func (n names) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	if n.away[name] {
		return nil, &net.DNSError{Err: "time-out", Name: name, IsTimeout: true, IsTemporary: true}
	}
	if l := n.mx[name]; l != nil {
		return slices.Clone(l), nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (n names) LookupNetIP(_ context.Context, _, name string) ([]netip.Addr, error) {
	if n.away[name] {
		return nil, &net.DNSError{Err: "time-out", Name: name, IsTimeout: true, IsTemporary: true}
	}
	if l := n.ip[name]; l != nil {
		return l, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// lab is a relay with a queue of its own.
type lab struct {
	*relay.Relay
	t     testing.TB
	db    *pgdb.DB
	url   string
	queue *postgres.Queue
	clock *clock
	*office
	outside *hop // other servers, where a test has them
}

func newLab(t testing.TB, change func(*relay.Options)) *lab {
	t.Helper()
	url := pgtest.New(t, migrations.Queue)
	db, err := pgdb.Open(t.Context(), url, pgdb.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	l := &lab{
		t: t, db: db, url: url, queue: postgres.New(db),
		clock: &clock{t: time.Now().Truncate(time.Second)}, office: &office{boxes: map[string]map[string]string{}},
	}
	o := relay.Options{
		Hostname: "mx.example.test", Now: l.clock.now, Log: slog.New(slog.DiscardHandler),
		Poll: 10 * time.Millisecond, DialTimeout: 2 * time.Second, ReplyTimeout: 5 * time.Second, Resolver: names{},
	}
	if change != nil {
		change(&o)
	}
	l.Relay = relay.New(l.queue, l.office, l.office, o)
	return l
}

// run lets the relay work in the background until the test ends.
func (l *lab) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	l.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Error(err)
		}
	})
}

var (
	admin   = directory.Principal{ID: 1, Roles: directory.RoleAdmin}
	person2 = directory.Principal{ID: 2}
)

func (l *lab) entries() []relay.Entry {
	l.t.Helper()
	list, err := l.queue.List(context.Background(), admin, relay.Filter{})
	if err != nil {
		l.t.Fatal(err)
	}
	return list
}

// until waits for a condition.
func (l *lab) until(what string, ok func() bool) {
	l.t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); {
		if time.Now().After(end) {
			l.t.Fatalf("waited in vain: %s; queue %+v", what, l.entries())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (l *lab) empty() bool { return len(l.entries()) == 0 }

func (l *lab) put(id, from string, to ...string) {
	l.t.Helper()
	l.submit(envelope.Submission{Envelope: envelope.Envelope{ID: id, From: from, Trusted: true, Trace: []byte("Received: ours\r\n")}, To: to}, "Subject: hello\r\n\r\n.dot\r\n")
}

func (l *lab) submit(s envelope.Submission, b body) {
	l.t.Helper()
	if err := l.Enqueue(context.Background(), s, b); err != nil {
		l.t.Fatal(err)
	}
}
