package imap

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/wiretest"
	"waypost/store"
)

// Every row of the table has a conversation, and so a seed of the fuzz target.
func TestEveryCommandHasAConversation(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		lines, err := wiretest.Read(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lines {
			f := strings.Fields(strings.ToUpper(l.Text))
			if l.Verb == "S" || len(f) < 2 {
				continue
			}
			seen[f[1]] = true
			if len(f) > 2 {
				seen[f[1]+" "+f[2]] = true
			}
		}
	}
	for name := range commands {
		if !seen[name] {
			t.Errorf("no conversation has %s", name)
		}
	}
}

// A command is refused in the states that the table does not name, and refused
// for its syntax, never worse, when it has no arguments that make sense.
func TestEveryCommandInEveryState(t *testing.T) {
	d := openMem(t)
	for name, cmd := range commands {
		for _, st := range []states{notAuthenticated, authenticated, selected} {
			c := dialRaw(t, d)
			c.enter(st)
			got := c.cmd("x " + name + " )(")
			switch {
			case cmd.in&st == 0 && got != "x BAD Command not allowed in this state":
				t.Errorf("%s in state %d: %q", name, st, got)
			case !strings.HasPrefix(got, "x BAD "):
				t.Errorf("%s with nonsense in state %d: %q", name, st, got)
			}
			_ = c.nc.Close()
		}
	}
}

func TestCapabilitiesComeFromTheTable(t *testing.T) {
	d := openMem(t)
	for name, cmd := range commands {
		for _, word := range strings.Fields(cmd.caps) {
			if !slices.Contains(strings.Fields(d.capsSignedIn), word) {
				t.Errorf("%s: CAPABILITY lacks %s", name, word)
			}
		}
	}
	for mech := range mechanisms {
		if !strings.Contains(d.capsTLS, " AUTH="+mech) {
			t.Errorf("CAPABILITY lacks AUTH=%s", mech)
		}
	}
}

func TestEveryFaultHasAReply(t *testing.T) {
	for _, k := range fault.Kinds() {
		if codes[k] == "" {
			t.Errorf("no response code for %v", k)
		}
		r := replyFor(fmt.Errorf("wrapped: %w", fault.New(k, "said")))
		if r.status != "NO" || r.text != "said" || r.code != codes[k] {
			t.Errorf("%v: reply %+v", k, r)
		}
	}
	if r := replyFor(errors.New("secret")); r.status != "NO" || strings.Contains(r.text, "secret") {
		t.Errorf("an unclassified error is told to the client: %+v", r)
	}
	if got := sayable("a\r\nb OK"); got != "a??b OK" {
		t.Errorf("sayable = %q", got)
	}
}

// raw is a client that compares lines.
type raw struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

func dialRaw(t testing.TB, d *door) *raw {
	t.Helper()
	c := &raw{t: t, nc: d.dial(t)}
	c.r = bufio.NewReader(c.nc)
	if got := c.line(); !strings.HasPrefix(got, "* OK ") {
		t.Fatalf("greeting %q", got)
	}
	return c
}

func (c *raw) line() string {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	s, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("read %q: %v", s, err)
	}
	return strings.TrimRight(s, "\r\n")
}

func (c *raw) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, s); err != nil {
		c.t.Fatal(err)
	}
}

// cmd sends a line and gives its tagged reply.
func (c *raw) cmd(s string) string {
	c.t.Helper()
	c.send(s + "\r\n")
	tag, _, _ := strings.Cut(s, " ")
	for {
		if l := c.line(); strings.HasPrefix(l, tag+" ") {
			return l
		}
	}
}

func (c *raw) enter(st states) {
	c.t.Helper()
	if st == notAuthenticated {
		return
	}
	if got := c.cmd("i1 LOGIN ann secret"); !strings.HasPrefix(got, "i1 OK ") {
		c.t.Fatal(got)
	}
	if st == selected {
		if got := c.cmd("i2 SELECT INBOX"); !strings.HasPrefix(got, "i2 OK ") {
			c.t.Fatal(got)
		}
	}
}

func TestShutdownSaysBye(t *testing.T) {
	d := openMem(t)
	guest, idler, user := dialRaw(t, d), dialRaw(t, d), dialRaw(t, d)
	idler.enter(selected)
	user.enter(authenticated)
	idler.send("a IDLE\r\n")
	if got := idler.line(); got != "+ Idling" {
		t.Fatal(got)
	}
	begun := time.Now()
	d.stop()
	for _, c := range []*raw{guest, idler, user} {
		if got := c.line(); got != "* BYE [UNAVAILABLE] The server is stopping" {
			t.Errorf("got %q", got)
		}
		if _, err := c.r.ReadByte(); err == nil {
			t.Error("the connection stays open")
		}
	}
	if err := <-d.ended; err != nil {
		t.Error(err)
	}
	d.ended <- nil
	if dur := time.Since(begun); dur > time.Second {
		t.Errorf("stopping took %v", dur)
	}
}

func TestEpochEndsConnections(t *testing.T) {
	d := openMem(t)
	idler, user, other := dialRaw(t, d), dialRaw(t, d), dialRaw(t, d)
	idler.enter(selected)
	user.enter(selected)
	if got := other.cmd("a LOGIN bob secret"); !strings.HasPrefix(got, "a OK") {
		t.Fatal(got)
	}
	idler.send("a IDLE\r\n")
	idler.line()
	d.accounts.revoke(people["ann"])
	for _, c := range []*raw{idler, user} {
		if got := c.line(); got != "* BYE [EXPIRED] The account has changed, please sign in again" {
			t.Errorf("got %q", got)
		}
	}
	if got := other.cmd("b NOOP"); got != "b OK done" {
		t.Errorf("another account's connection: %q", got)
	}
}

func TestTimeouts(t *testing.T) {
	s := newMemStore()
	cfg := testConfig()
	cfg.SignInTimeout, cfg.IdleTimeout, cfg.ReadTimeout = 200*time.Millisecond, 300*time.Millisecond, 100*time.Millisecond
	d := open(t, cfg, s, s, nil)
	for _, tt := range []struct {
		name string
		st   states
		send string
	}{
		{"nobody signs in", notAuthenticated, ""},
		{"silent", selected, ""},
		{"idling", selected, "a IDLE\r\n"},
		{"within a command", selected, "a NO"},
		{"within a literal", selected, "a APPEND INBOX {100+}\r\nabc"},
	} {
		c := dialRaw(t, d)
		c.enter(tt.st)
		c.send(tt.send)
		var last string
		for {
			_ = c.nc.SetReadDeadline(time.Now().Add(5 * time.Second))
			l, err := c.r.ReadString('\n')
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: stays open", tt.name)
			}
			if err != nil {
				break
			}
			last = l
		}
		if !strings.HasPrefix(last, "* BYE Autologout") {
			t.Errorf("%s: ends with %q", tt.name, last)
		}
	}
}

func TestTooManyGuests(t *testing.T) {
	s := newMemStore()
	cfg := testConfig()
	cfg.MaxUnauthenticated = 3
	d := open(t, cfg, s, s, nil)
	for range 3 {
		dialRaw(t, d)
	}
	nc := d.dial(t)
	line, _ := bufio.NewReader(nc).ReadString('\n')
	if !strings.HasPrefix(line, "* BYE [UNAVAILABLE] ") {
		t.Errorf("the fourth guest hears %q", line)
	}
}

func TestSigningInFreesAGuest(t *testing.T) {
	s := newMemStore()
	cfg := testConfig()
	cfg.MaxUnauthenticated = 1
	d := open(t, cfg, s, s, nil)
	for range 3 {
		dialRaw(t, d).enter(authenticated)
	}
	dialRaw(t, d)
}

func TestGuessersWait(t *testing.T) {
	s := newMemStore()
	cfg := testConfig()
	cfg.FailureDelay = 30 * time.Millisecond
	d := open(t, cfg, s, s, nil)
	c := dialRaw(t, d)
	begun := time.Now()
	for i := range maxFailures {
		if got := c.cmd(fmt.Sprintf("a%d LOGIN ann wrong", i)); !strings.Contains(got, "NO [AUTHENTICATIONFAILED]") {
			t.Fatal(got)
		}
	}
	if got := c.line(); got != "* BYE Too many failures" {
		t.Error(got)
	}
	if dur := time.Since(begun); dur < 300*time.Millisecond { // 30 + 60 + 90 + 120
		t.Errorf("five guesses took only %v", dur)
	}
}

func TestNoClientAtAll(t *testing.T) {
	d := openMem(t)
	c := dialRaw(t, d)
	c.send("GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: b\r\nAccept: c\r\nX: d\r\nCookie: e\r\n\r\n")
	for range maxMistakes {
		if got := c.line(); !strings.Contains(got, " BAD ") {
			t.Fatal(got)
		}
	}
	if got := c.line(); got != "* BYE Too many mistakes" {
		t.Error(got)
	}
}

// syncBuffer is a log that several connections write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestPanicEndsItsConnectionOnly(t *testing.T) {
	s := newMemStore()
	var log syncBuffer
	cfg := testConfig()
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	reg := prometheus.NewRegistry()
	cfg.Metrics = reg
	d := open(t, cfg, s, s, nil)
	victim, idler, other := dialRaw(t, d), dialRaw(t, d), dialRaw(t, d)
	victim.enter(selected)
	other.enter(selected)
	idler.enter(selected)
	idler.send("a IDLE\r\n")
	idler.line()
	s.mu.Lock()
	s.fail = func(method string) error {
		if method == "Folders" || method == "Changes" {
			panic("the store is broken")
		}
		return nil
	}
	s.mu.Unlock()
	// The panic leaves the fake's lock held: release it as a database would.
	s.fail = func(method string) error {
		if method == "Folders" || method == "Changes" {
			s.mu.Unlock()
			panic("the store is broken")
		}
		return nil
	}
	victim.send("x STATUS INBOX (MESSAGES)\r\n")
	if _, err := victim.r.ReadByte(); err == nil {
		t.Error("the victim's connection goes on")
	}
	s.mu.Lock()
	for w := range s.box(people["ann"].Mailbox).watchers {
		w.c <- struct{}{}
	}
	s.mu.Unlock()
	if _, err := io.ReadAll(idler.r); err != nil {
		t.Errorf("idler: %v", err)
	}
	s.mu.Lock()
	s.fail = nil
	s.mu.Unlock()
	if got := other.cmd("x NOOP"); got != "x OK done" {
		t.Error(got)
	}
	for _, want := range []string{"the store is broken", "status_cmd.go", "cmd=IDLE", "user=ann@example.test"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	if values["waypost_imap_panics_total"] != 2 || values["waypost_imap_connections"] != 1 ||
		values["waypost_imap_commands_total"] < 7 || values["waypost_imap_command_seconds"] < 7 {
		t.Errorf("metrics: %v", values)
	}
}

// faulty returns a fault from one method.
func TestFaultsOfTheStore(t *testing.T) {
	d := openMem(t)
	a := d.store.deliver(t, people["ann"], "Subject: x\r\n\r\nbody\r\n")
	_ = a
	tests := []struct{ method, cmd, want string }{
		{"Add", "x APPEND INBOX {3+}\r\nabc", "x NO [OVERQUOTA] Full"},
		{"NewBlob", "x APPEND INBOX {3+}\r\nabc", "x NO [OVERQUOTA] Full"},
		{"Copy", "x COPY 1 Drafts", "x NO [OVERQUOTA] Full"},
		{"Move", "x MOVE 1 Drafts", "x NO [OVERQUOTA] Full"},
		{"Flag", "x STORE 1 +FLAGS (\\Seen)", "x NO [OVERQUOTA] Full"},
		{"Messages", "x FETCH 1 ENVELOPE", "x NO [OVERQUOTA] Full"},
		{"EntriesOf", "x FETCH 1 INTERNALDATE", "x NO [OVERQUOTA] Full"},
		{"Content", "x FETCH 1 BODY.PEEK[]", "x NO [OVERQUOTA] Full"},
		{"Content", "x SEARCH BODY x", "x NO [OVERQUOTA] Full"},
		{"Folders", "x LIST \"\" *", "x NO [OVERQUOTA] Full"},
		{"CreateFolder", "x CREATE new", "x NO [OVERQUOTA] Full"},
		{"Changes", "x NOOP", "x NO [OVERQUOTA] Full"},
	}
	for _, tt := range tests {
		c := dialRaw(t, d)
		c.enter(selected)
		d.store.mu.Lock()
		d.store.fail = func(method string) error {
			if method == tt.method {
				return fault.New(fault.OverQuota, "Full")
			}
			return nil
		}
		d.store.mu.Unlock()
		if got := c.cmd(tt.cmd); got != tt.want {
			t.Errorf("%s fails in %q: got %q, want %q", tt.method, tt.cmd, got, tt.want)
		}
		d.store.mu.Lock()
		d.store.fail = nil
		d.store.mu.Unlock()
		if got := c.cmd("y NOOP"); got != "y OK done" {
			t.Errorf("after %q: %q", tt.cmd, got)
		}
	}
}

// brokenContent ends in the middle of a literal: the connection cannot go on.
type brokenStore struct{ *memStore }

type shortContent struct{ store.Content }

func (c shortContent) ReadAt(p []byte, off int64) (int, error) {
	if off > 10 {
		return 0, errors.New("chunk lost")
	}
	return c.Content.ReadAt(p[:min(len(p), 11)], off)
}

func (s brokenStore) Content(ctx context.Context, as directory.Principal, box store.MailboxID, item store.ItemID) (store.Content, error) {
	c, err := s.memStore.Content(ctx, as, box, item)
	return shortContent{c}, err
}

func TestShortContentClosesTheConnection(t *testing.T) {
	s := newMemStore()
	d := open(t, testConfig(), brokenStore{s}, s, nil)
	s.deliver(t, people["ann"], "Subject: x\r\n\r\nbody\r\n")
	c := dialRaw(t, d)
	c.enter(selected)
	c.send("x FETCH 1 BODY.PEEK[]\r\n")
	all, err := io.ReadAll(c.r)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(all, []byte("x OK")) {
		t.Errorf("a cut message is answered with OK: %q", all)
	}
}

func TestPipelining(t *testing.T) {
	d := openMem(t)
	d.store.deliver(t, people["ann"], "Subject: x\r\n\r\nbody\r\n")
	c := dialRaw(t, d)
	c.send("a LOGIN ann secret\r\nb SELECT INBOX\r\nc FETCH 1 UID\r\nd STORE 1 +FLAGS.SILENT (\\Seen)\r\ne LOGOUT\r\n")
	all, err := io.ReadAll(c.r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a OK", "b OK", "* 1 FETCH (UID 1)\r\nc OK", "d OK", "* BYE", "e OK"} {
		if !bytes.Contains(all, []byte(want)) {
			t.Errorf("no %q in %q", want, all)
		}
	}
}

func TestImplicitTLS(t *testing.T) {
	s := newMemStore()
	srv, err := New(testConfig(), s, newMemAccounts())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- srv.ServeTLS(ctx, l) }()
	nc, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	c := &raw{t: t, nc: nc, r: bufio.NewReader(nc)}
	if got := c.line(); strings.Contains(got, "STARTTLS") || !strings.Contains(got, "AUTH=PLAIN") {
		t.Errorf("greeting %q", got)
	}
	c.enter(selected)
	if got := c.cmd("a LOGOUT"); got != "a OK done" {
		t.Error(got)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A message of 100 MiB goes through APPEND and FETCH in buffers.
func TestLargeMessageStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("100 MiB")
	}
	s := &bigStore{memStore: newMemStore()}
	d := open(t, testConfig(), s, s.memStore, nil)
	c := dialRaw(t, d)
	c.enter(selected)
	const size = 100 << 20
	go func() {
		_, _ = io.WriteString(c.nc, fmt.Sprintf("x APPEND INBOX {%d}\r\n", size))
		time.Sleep(50 * time.Millisecond)
		_, _ = io.Copy(c.nc, io.LimitReader(lines{}, size))
		_, _ = io.WriteString(c.nc, "\r\n")
	}()
	for {
		l := c.line()
		if strings.HasPrefix(l, "x ") {
			if !strings.HasPrefix(l, "x OK [APPENDUID") {
				t.Error(l)
			}
			break
		}
	}
	if s.size != size {
		t.Errorf("the store got %d bytes", s.size)
	}
}

type bigStore struct {
	*memStore
	size int64
}

func (s *bigStore) NewBlob(context.Context, string) (store.BlobWriter, error) {
	return &countBlob{s: s}, nil
}

type countBlob struct{ s *bigStore }

func (w *countBlob) Write(p []byte) (int, error) { w.s.size += int64(len(p)); return len(p), nil }

func (w *countBlob) Close(context.Context) (store.Blob, error) {
	b := store.Blob{Hash: [32]byte{1}, Size: w.s.size}
	blobs.Store(b.Hash, []byte("counted"))
	return b, nil
}

func (*countBlob) Abort() {}

type lines struct{}

func (lines) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "Hello, this is a line of text\r\n"[i%31]
	}
	return len(p), nil
}

func TestMatches(t *testing.T) {
	tests := []struct {
		pattern, path string
		want          bool
	}{
		{"*", "a/b/c", true},
		{"%", "a", true},
		{"%", "a/b", false},
		{"a/%", "a/b", true},
		{"a/%", "a/b/c", false},
		{"a/*", "a/b/c", true},
		{"*/c", "a/b/c", true},
		{"%/c", "a/b/c", false},
		{"%/%/c", "a/b/c", true},
		{"a%c", "abc", true},
		{"a%c", "a/c", false},
		{"a*c%", "abcabcd", true},
		{"inbox", "INBOX", true},
		{"in%", "INBOX", true},
		{"", "a", false},
		{"a", "", false},
		{"*%*%*%*%*%*%*%*x", strings.Repeat("a/", 100), false},
		{"%a*b", "xa/yb", true},
	}
	for _, tt := range tests {
		if got := matches(tt.pattern, tt.path); got != tt.want {
			t.Errorf("matches(%q, %q) = %v, want %v", tt.pattern, tt.path, got, tt.want)
		}
	}
}
