package eas

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

const pingInbox = `<Ping:Ping><HeartbeatInterval>600</HeartbeatInterval><Folders><Folder><Id>F1</Id></Folder></Folders></Ping:Ping>`

// ready gives a device that has synchronised everything.
func ready(t testing.TB, f *fake, s *Server, device string) {
	t.Helper()
	post(t, s, device, "FolderSync", `<FolderHierarchy:FolderSync><SyncKey>0</SyncKey></FolderHierarchy:FolderSync>`)
	if err := f.does(s)["synced"]([]string{device, "Inbox"}); err != nil {
		t.Fatal(err)
	}
}

func newRequest(t testing.TB, ctx context.Context, url, device, cmd, text string) *http.Request {
	t.Helper()
	n, err := wbxml.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	b, err := wbxml.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+Path+"?Cmd="+cmd+"&DeviceId="+device+"&DeviceType=T", strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("ann", "secret")
	req.Header.Set("MS-ASProtocolVersion", "14.1")
	return req
}

func post(t testing.TB, h http.Handler, device, cmd, text string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, newRequest(t, t.Context(), "", device, cmd, text))
	return w
}

// held waits until n requests are held.
func waitHeld(t testing.TB, s *Server, n int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		s.held.mu.Lock()
		got := len(s.held.by)
		s.held.mu.Unlock()
		if got == n {
			return
		}
	}
	t.Fatalf("not %d requests held", n)
}

func pingAsync(t *testing.T, s *Server, device string) <-chan string {
	t.Helper()
	answer := make(chan string, 1)
	req := newRequest(t, t.Context(), "", device, "Ping", pingInbox)
	go func() {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		n, err := decodeDocument(w.Body.Bytes())
		if err != nil {
			answer <- err.Error()
			return
		}
		answer <- n.Get(wbxml.PingStatus) + " " + n.Get(wbxml.PingFolders, wbxml.PingFolder)
	}()
	return answer
}

func soon(t *testing.T, c <-chan string) string {
	t.Helper()
	select {
	case got := <-c:
		return got
	case <-time.After(5 * time.Second):
		t.Fatal("no answer")
		return ""
	}
}

func TestPingWakes(t *testing.T) {
	f, s := newTestServer(t, Options{})
	ready(t, f, s, "d")
	answer := pingAsync(t, s, "d")
	waitHeld(t, s, 1)
	if err := f.arrive("Sent Items"); err != nil { // not asked for
		t.Fatal(err)
	}
	select {
	case got := <-answer:
		t.Fatalf("woken by another folder: %s", got)
	case <-time.After(50 * time.Millisecond):
	}
	begun := time.Now()
	if err := f.arrive("Inbox"); err != nil {
		t.Fatal(err)
	}
	if got := soon(t, answer); got != "2 F1" {
		t.Errorf("got %q", got)
	}
	t.Logf("answered after %v", time.Since(begun))
	waitHeld(t, s, 0)
	if len(f.watchers) != 0 {
		t.Error("the watcher was left open")
	}
}

// TestPingAndOwnSync: what the phone fetched by a Sync meanwhile is not told.
func TestPingAndOwnSync(t *testing.T) {
	f, s := newTestServer(t, Options{})
	ready(t, f, s, "d")
	answer := pingAsync(t, s, "d")
	waitHeld(t, s, 1)
	f.mu.Lock()
	f.folders[0].HighestSeq = 100
	f.mu.Unlock()
	if err := f.does(s)["synced"]([]string{"d", "Inbox"}); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.wake()
	f.mu.Unlock()
	select {
	case got := <-answer:
		t.Fatalf("woken by what the phone knows: %s", got)
	case <-time.After(50 * time.Millisecond):
	}
	s.Stop()
	if got := soon(t, answer); got != "1 " {
		t.Errorf("after Stop: %q", got)
	}
}

func TestPingHearsOfFolders(t *testing.T) {
	f, s := newTestServer(t, Options{})
	ready(t, f, s, "d")
	answer := pingAsync(t, s, "d")
	waitHeld(t, s, 1)
	if err := f.does(s)["make"]([]string{"New"}); err != nil {
		t.Fatal(err)
	}
	if got := soon(t, answer); got != "7 " {
		t.Errorf("got %q", got)
	}
}

func TestSecondPingSupersedes(t *testing.T) {
	f, s := newTestServer(t, Options{})
	ready(t, f, s, "d")
	ready(t, f, s, "e")
	first, other := pingAsync(t, s, "d"), pingAsync(t, s, "e")
	waitHeld(t, s, 2)
	second := pingAsync(t, s, "d")
	if got := soon(t, first); got != "1 " {
		t.Errorf("the first: %q", got)
	}
	waitHeld(t, s, 2)
	if err := f.arrive("Inbox"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []<-chan string{second, other} {
		if got := soon(t, c); got != "2 F1" {
			t.Errorf("got %q", got)
		}
	}
}

func TestPingLimit(t *testing.T) {
	f, s := newTestServer(t, Options{MaxHeld: 1})
	ready(t, f, s, "d")
	ready(t, f, s, "e")
	pingAsync(t, s, "d")
	waitHeld(t, s, 1)
	if got := soon(t, pingAsync(t, s, "e")); !strings.HasPrefix(got, "111") {
		t.Errorf("one too many: %q", got)
	}
}

func TestPhoneThatLeaves(t *testing.T) {
	f, s := newTestServer(t, Options{})
	s.aliveEvery = 10 * time.Millisecond
	ready(t, f, s, "d")
	srv := httptest.NewServer(s)
	defer srv.Close()
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		resp, err := srv.Client().Do(newRequest(t, ctx, srv.URL, "d", "Ping", pingInbox))
		if err == nil {
			resp.Body.Close()
		}
	}()
	waitHeld(t, s, 1)
	leave()
	waitHeld(t, s, 0)
}

// bound ends what the account does when it is told to.
type bound struct {
	*fake
	mu     sync.Mutex
	cancel []context.CancelFunc
}

func (b *bound) Context(ctx context.Context, _ directory.Principal) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cancel = append(b.cancel, func() { cancel(fault.New(fault.Unauthenticated, "changed")) })
	return ctx, func() { cancel(nil) }
}

func TestEpochEndsAPing(t *testing.T) {
	f, _ := newTestServer(t, Options{})
	b := &bound{fake: f}
	s := New(f, f, b, Options{Log: nothing})
	ready(t, f, s, "d")
	w, done := httptest.NewRecorder(), make(chan struct{})
	req := newRequest(t, t.Context(), "", "d", "Ping", pingInbox)
	go func() { s.ServeHTTP(w, req); close(done) }()
	waitHeld(t, s, 1)
	b.mu.Lock()
	b.cancel[0]()
	b.mu.Unlock()
	<-done
	if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" {
		t.Errorf("code %d", w.Code)
	}
}

// parkingServer serves s over TLS as the front end does.
func parkingServer(t *testing.T, s *Server) (addr string) {
	t.Helper()
	certs := httptest.NewTLSServer(http.NotFoundHandler())
	certs.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := tls.NewListener(tcp, &tls.Config{Certificates: certs.TLS.Certificates})
	srv := &http.Server{Handler: s}
	done := make(chan struct{})
	go func() { _ = srv.Serve(l); close(done) }()
	t.Cleanup(func() {
		s.Stop()
		srv.Close()
		<-done
	})
	return tcp.Addr().String()
}

// wire is one connection of a phone.
type wire struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, addr string) *wire {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the test's own server
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &wire{t, conn, bufio.NewReader(conn)}
}

func (w *wire) send(device, cmd, text string) {
	w.t.Helper()
	if err := newRequest(w.t, w.t.Context(), "https://x", device, cmd, text).Write(w.conn); err != nil {
		w.t.Fatal(err)
	}
}

// answer gives code, Status and the first folder that changed.
func (w *wire) answer() string {
	w.t.Helper()
	_ = w.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b := body(w.t, resp.Body)
	if len(b) == 0 {
		return strconv.Itoa(resp.StatusCode)
	}
	n, err := decodeDocument(b)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(strconv.Itoa(resp.StatusCode) + " " + n.Children[0].Value() + " " + n.Get(wbxml.PingFolders, wbxml.PingFolder))
}

// TestParkedPing: the connection outlives the Ping that was parked on it.
func TestParkedPing(t *testing.T) {
	f, s := newTestServer(t, Options{})
	addr := parkingServer(t, s)
	ready(t, f, s, "d")
	w := dial(t, addr)
	for range 3 {
		w.send("d", "Ping", pingInbox)
		waitHeld(t, s, 1)
		if err := f.arrive("Inbox"); err != nil {
			t.Fatal(err)
		}
		if got := w.answer(); got != "200 2 F1" {
			t.Fatalf("got %q", got)
		}
		w.send("d", "FolderSync", `<FolderHierarchy:FolderSync><SyncKey>0</SyncKey></FolderHierarchy:FolderSync>`)
		if got := w.answer(); got != "200 1" {
			t.Fatalf("on the same connection: %q", got)
		}
		if err := f.does(s)["synced"]([]string{"d", "Inbox"}); err != nil {
			t.Fatal(err)
		}
	}
	w.send("d", "Ping", pingInbox)
	waitHeld(t, s, 1)
	f.mu.Lock()
	f.failing = fault.New(fault.Unavailable, "told")
	f.wake()
	f.mu.Unlock()
	if got := w.answer(); got != "200 111" {
		t.Errorf("a failure: %q", got)
	}
	f.mu.Lock()
	f.failing = nil
	f.mu.Unlock()
	w.send("d", "Ping", pingInbox)
	waitHeld(t, s, 1)
	s.Stop()
	if got := w.answer(); got != "200 1" {
		t.Errorf("after Stop: %q", got)
	}
}

func TestParkedPhoneThatLeaves(t *testing.T) {
	f, s := newTestServer(t, Options{})
	s.aliveEvery = 10 * time.Millisecond
	addr := parkingServer(t, s)
	ready(t, f, s, "d")
	w := dial(t, addr)
	w.send("d", "Ping", pingInbox)
	waitHeld(t, s, 1)
	time.Sleep(50 * time.Millisecond)
	waitHeld(t, s, 1)
	w.conn.Close()
	waitHeld(t, s, 0)
}

func TestParkedPanic(t *testing.T) {
	f, s := newTestServer(t, Options{})
	addr := parkingServer(t, s)
	ready(t, f, s, "d")
	w := dial(t, addr)
	w.send("d", "Ping", pingInbox)
	waitHeld(t, s, 1)
	f.mu.Lock()
	f.panics = true
	f.wake()
	f.mu.Unlock()
	waitHeld(t, s, 0)
	if _, err := w.in.ReadByte(); err == nil {
		t.Error("an answer after a panic")
	}
}

// TestMemoryOfHeldRequests measures what a Ping, and a Sync that waits, over TLS
// costs the server while it is held; the phones are another process. The aim is
// 30 KiB.
func TestMemoryOfHeldRequests(t *testing.T) {
	if addr := os.Getenv("WAYPOST_TEST_PHONES"); addr != "" {
		phones(t, addr, os.Getenv("WAYPOST_TEST_CMD"))
		return
	}
	if testing.Short() {
		t.Skip("opens many connections")
	}
	for _, cmd := range []string{"Ping", "Sync"} {
		t.Run(cmd, func(t *testing.T) {
			m, s := testServer(t)
			m.most = manyPhones
			addr := parkingServer(t, s)
			for i := range manyPhones {
				ready(t, m.fake, s, device(i))
			}
			before := inUse()
			c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemoryOfHeldRequests$")
			c.Env = append(os.Environ(), "WAYPOST_TEST_PHONES="+addr, "WAYPOST_TEST_CMD="+cmd)
			in, err := c.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			waitHeld(t, s, manyPhones)
			time.Sleep(100 * time.Millisecond)
			each := (int64(inUse()) - int64(before)) / manyPhones
			t.Logf("%d bytes each", each)
			if each > 30<<10 {
				t.Errorf("a held %s costs %d bytes", cmd, each)
			}
			s.Stop()
			in.Close()
			if err := c.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// phones holds a request on each of many connections until its input ends.
func phones(t *testing.T, addr, cmd string) {
	for i := range manyPhones {
		w := dial(t, addr)
		if cmd == "Sync" {
			w.send(device(i), "Sync", waitingSync(w.primed(device(i))))
		} else {
			w.send(device(i), "Ping", pingInbox)
		}
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// waitingSync is a Sync of the inbox that waits.
func waitingSync(key string) string {
	return strings.Replace(collectionText(key, "F1", ""), "</Collections>", "</Collections><HeartbeatInterval>600</HeartbeatInterval>", 1)
}

// primed begins the inbox and gives its first key.
func (w *wire) primed(device string) string {
	w.t.Helper()
	w.send(device, "Sync", collectionText("0", "F1", ""))
	_, n := w.document()
	return n.Get(wbxml.AirSyncCollections, wbxml.AirSyncCollection, wbxml.AirSyncSyncKey)
}

// document gives an answer's code and document, which is nil when it is empty.
func (w *wire) document() (int, *wbxml.Node) {
	w.t.Helper()
	_ = w.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b := body(w.t, resp.Body)
	if len(b) == 0 {
		return resp.StatusCode, nil
	}
	n, err := decodeDocument(b)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, n
}

// TestParkedSync: a Sync that was parked answers whatever its size, and the
// connection outlives it.
func TestParkedSync(t *testing.T) {
	m, s := testServer(t)
	w := dial(t, parkingServer(t, s))
	key := w.primed("d")
	for _, size := range []int{10, 3 * heldBack} {
		w.send("d", "Sync", waitingSync(key))
		waitHeld(t, s, 1)
		if n := parkedNow(); n != 1 {
			t.Fatalf("%d parked", n)
		}
		m.put(1, plainMail("news")+strings.Repeat("What is new is long.\n", size/20), time.Now(), 0)
		code, n := w.document()
		c := n.Child(wbxml.AirSyncCollections, wbxml.AirSyncCollection)
		text := c.Get(wbxml.AirSyncCommands, wbxml.AirSyncAdd, wbxml.AirSyncApplicationData, wbxml.AirSyncBaseBody, wbxml.AirSyncBaseData)
		if code != http.StatusOK || c.Get(wbxml.AirSyncStatus) != "1" || len(text) < size/20*20 {
			t.Fatalf("code %d, %d bytes of %d in %.300s", code, len(text), size, n)
		}
		key = c.Get(wbxml.AirSyncSyncKey)
	}
	w.send("d", "Sync", waitingSync(key))
	waitHeld(t, s, 1)
	m.mu.Lock()
	m.folders = m.folders[1:] // the inbox is gone
	m.wake()
	m.mu.Unlock()
	if _, n := w.document(); n.Get(wbxml.AirSyncStatus) != "12" {
		t.Errorf("without its folder: %s", n)
	}
	w.send("d", "Sync", collectionText("0", "F2", ""))
	if _, n := w.document(); n.Get(wbxml.AirSyncCollections, wbxml.AirSyncCollection, wbxml.AirSyncStatus) != "1" {
		t.Errorf("on the same connection: %s", n)
	}
	w.send("d", "Sync", strings.Replace(waitingSync(key), "F1", "F2", 1))
	if _, n := w.document(); n.Get(wbxml.AirSyncCollections, wbxml.AirSyncCollection, wbxml.AirSyncStatus) != "3" {
		t.Errorf("a key of another folder: %s", n)
	}
}

// TestParkedSyncAtStop: the end of the server is the end of the time.
func TestParkedSyncAtStop(t *testing.T) {
	_, s := testServer(t)
	w := dial(t, parkingServer(t, s))
	w.send("d", "Sync", waitingSync(w.primed("d")))
	waitHeld(t, s, 1)
	s.Stop()
	if code, n := w.document(); code != http.StatusOK || n != nil {
		t.Errorf("code %d, %s", code, n)
	}
}

type failingWaiter struct {
	r    *request
	size int
}

func (w failingWaiter) ready(context.Context) (bool, error) { return true, nil }

func (w failingWaiter) answer(context.Context) error {
	_, _ = w.r.out.Write(make([]byte, w.size))
	return fault.New(fault.Unavailable, "half way")
}

// TestParkedAnswerThatFails: while it is small the failure is told instead; half
// of a large answer is not taken for a whole one, and ends the connection.
func TestParkedAnswerThatFails(t *testing.T) {
	for _, c := range []struct {
		size int
		back bool
		code int
		err  error
	}{
		{100, true, http.StatusServiceUnavailable, nil},
		{2 * heldBack, false, http.StatusOK, io.ErrUnexpectedEOF},
	} {
		_, s := testServer(t)
		mine, theirs := net.Pipe()
		r := &request{server: s, log: quiet(), version: wbxml.V121}
		p := &parked{r: r, conn: mine, waiter: failingWaiter{r, c.size}}
		back := make(chan bool, 1)
		go func() {
			back <- p.tell(t.Context(), nil)
			mine.Close()
		}()
		resp, err := http.ReadResponse(bufio.NewReader(theirs), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if got := <-back; got != c.back || resp.StatusCode != c.code || err != c.err {
			t.Errorf("%d bytes: code %d, %v, the connection goes on: %v", c.size, resp.StatusCode, err, got)
		}
	}
}

// parkedNow counts the goroutines of parked requests, waiting for one to begin.
func parkedNow() int {
	n := 0
	for end := time.Now().Add(5 * time.Second); n == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		buf := make([]byte, 1<<20)
		n = strings.Count(string(buf[:runtime.Stack(buf, true)]), "eas.(*parked).run")
	}
	return n
}

const manyPhones = 200

func device(i int) string { return "dev" + string(rune('a'+i%26)) + string(rune('a'+i/26)) }

func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

func TestTreeFaultsAreTotal(t *testing.T) {
	for _, k := range fault.Kinds() {
		if _, ok := treeFaults[k]; !ok {
			t.Errorf("folder commands have no answer for %v", k)
		}
	}
}

func TestSeen(t *testing.T) {
	for _, m := range []seen{{}, {Seq: 1}, {Seq: 1 << 60, More: true}} {
		b := m.append(nil)
		got, rest, err := cutSeen(append(b, "rest"...))
		if err != nil || got != m || string(rest) != "rest" {
			t.Errorf("%+v came back as %+v, %q, %v", m, got, rest, err)
		}
		for n := range b {
			if _, _, err := cutSeen(b[:n]); err == nil {
				t.Errorf("%d bytes of %x were taken", n, b)
			}
		}
	}
}

var _ Store = store.Store(nil)
