package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"waypost/internal/fault"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func until(name string) Part {
	return Part{name, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
}

func TestRun(t *testing.T) {
	bad := errors.New("bad")
	fails := Part{"fails", func(context.Context) error { return bad }}
	done := Part{"done", func(context.Context) error { return nil }}
	stuck := Part{"stuck", func(context.Context) error { time.Sleep(time.Hour); return nil }}
	panics := Part{"panics", func(context.Context) error { panic("oh") }}
	for _, tt := range []struct {
		name  string
		parts []Part
		want  string // part of the error
		is    error
		after time.Duration
	}{
		{"ends with its context", []Part{until("a"), until("b"), done}, "", nil, time.Second},
		{"all are done", []Part{done, done}, "", nil, 0},
		{"one fails", []Part{until("a"), fails}, "fails: bad", bad, 0},
		{"one panics", []Part{until("a"), panics}, "panics: panic: oh", nil, 0},
		{"one does not end", []Part{until("a"), stuck}, "stuck", ErrStuck, time.Second + Grace},
		{"one fails, one does not end", []Part{stuck, fails}, "fails: bad", bad, Grace},
		{"none", nil, "", nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				ctx, stop := context.WithCancel(ctx)
				defer stop()
				began := time.Now()
				time.AfterFunc(time.Second, stop)
				err := Run(ctx, quiet(), tt.parts...)
				if d := time.Since(began); d != tt.after {
					t.Errorf("took %v, want %v", d, tt.after)
				}
				switch {
				case tt.want == "" && err != nil && !errors.Is(err, context.DeadlineExceeded):
					t.Errorf("got %v", err)
				case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
					t.Errorf("got %v, want %q in it", err, tt.want)
				case tt.is != nil && !errors.Is(err, tt.is):
					t.Errorf("got %v, want %v", err, tt.is)
				}
				time.Sleep(2 * time.Hour) // let the stuck one end, for synctest
			})
		})
	}
}

func TestSignals(t *testing.T) {
	ctx, stop := Signals(t.Context())
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("SIGTERM did not end the context")
	}
}

func TestDoorsAndReadiness(t *testing.T) {
	data := t.TempDir()
	if _, err := Published(data); fault.Of(err) != fault.NotFound {
		t.Errorf("before: %v, want NotFound", err)
	}
	var d Doors
	defer d.Close()
	smtp, err := d.Listen(t.Context(), "smtp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Listen(t.Context(), "imap", smtp.Addr().String()); fault.Of(err) != fault.Unavailable || !strings.Contains(err.Error(), "listen.imap") {
		t.Errorf("an address in use: %v", err)
	}
	if _, err := d.Listen(t.Context(), "smtp", "127.0.0.1:0"); err == nil {
		t.Error("a door was opened twice")
	}
	if l, err := d.Listen(t.Context(), "pop3", ""); l != nil || err != nil {
		t.Errorf("a closed door: %v, %v", l, err)
	}
	metrics, err := d.Listen(t.Context(), "metrics", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if names := d.BeyondLoopback(); len(names) != 0 {
		t.Errorf("beyond loopback: %v", names)
	}
	if _, err := d.Listen(t.Context(), "ldap", ":0"); err != nil {
		t.Fatal(err)
	}
	if names := d.BeyondLoopback(); len(names) != 1 || names[0] != "ldap" {
		t.Errorf("beyond loopback: %v, want ldap", names)
	}

	h := NewHealth(true)
	var broken error = errors.New("away: postgres://u:word@db/x")
	h.Check("db", func(context.Context) error { return broken })
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- HTTP(ctx, metrics, h.Handler(true), quiet()) }()
	get := func(path string) (int, string) {
		res, err := http.Get("http://" + metrics.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text)
	}
	if code, text := get("/healthz"); code != 200 || text != "ok\n" {
		t.Errorf("/healthz %d %q", code, text)
	}
	code, text := get("/readyz")
	if code != 503 || !strings.Contains(text, `"doors":{"ok":false`) || !strings.Contains(text, `"away: postgres://u:***@db/x"`) {
		t.Errorf("/readyz %d %s", code, text)
	}
	if code, text := get("/metrics"); code != 200 || !strings.Contains(text, "go_goroutines") {
		t.Errorf("/metrics %d %.80q", code, text)
	}
	if code, _ := get("/debug/pprof/cmdline"); code != 200 {
		t.Errorf("/debug/pprof/cmdline %d", code)
	}

	// Published but not ready, then ready.
	h.Open(true)
	if err := d.Publish(data); err != nil {
		t.Fatal(err)
	}
	short, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if _, err := AwaitReady(short, data); fault.Of(err) != fault.Unavailable || !strings.Contains(err.Error(), "db") {
		t.Errorf("not ready: %v", err)
	}
	broken = nil
	time.Sleep(checkLife)
	doors, err := AwaitReady(t.Context(), data)
	if err != nil || doors["smtp"] != smtp.Addr().String() {
		t.Errorf("ready: %v, %v", doors, err)
	}
	var rep report
	if code, text := get("/readyz"); code != 200 || json.Unmarshal([]byte(text), &rep) != nil || !rep.Ready || !rep.Checks["db"].OK {
		t.Errorf("/readyz %d %s", code, text)
	}
	h.Open(false) // takes effect at once
	if code, _ := get("/readyz"); code != 503 {
		t.Errorf("/readyz at the end: %d", code)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := Withdraw(data); err != nil {
			t.Error(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(data, "run", "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestHTTPEndsWithAStuckRequest(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	arrived := make(chan bool)
	served := make(chan error, 1)
	go func() {
		served <- HTTP(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(arrived)
			<-r.Context().Done()
		}), quiet())
	}()
	go func() {
		if res, err := http.Get("http://" + l.Addr().String()); err == nil {
			res.Body.Close()
		}
	}()
	<-arrived
	cancel()
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(Grace):
		t.Error("still serving")
	}
}

func TestLogger(t *testing.T) {
	var b bytes.Buffer
	log := Logger(&b, "warn", "auto")
	log.Info("not shown")
	log.Warn("shown", "password", "p1", "Auth_Token", "p2", "url", "postgres://u:p3@h/x?a=b", "plain", "a://b c:d e@f",
		"fault", errors.New("dial postgresql://user:p4@[::1]/db, then password=p5 host=h and password='p 5' x"),
		slog.Group("g", "secret", "p6"))
	out := b.String()
	if strings.Contains(out, "not shown") || !json.Valid(b.Bytes()) {
		t.Errorf("got %s", out)
	}
	for _, word := range []string{"p1", "p2", "p3", "p4", "p5", "p 5", "p6"} {
		if strings.Contains(out, word) {
			t.Errorf("%s is shown: %s", word, out)
		}
	}
	for _, word := range []string{"u:***@h/x?a=b", "user:***@[::1]/db", "a://b c:d e@f"} {
		if !strings.Contains(out, word) {
			t.Errorf("%s is missing: %s", word, out)
		}
	}
	b.Reset()
	Logger(&b, "debug", "text").Debug("x")
	if !strings.Contains(b.String(), "level=DEBUG") {
		t.Errorf("got %s", b.String())
	}
}

func TestNotifyWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	Notify(quiet(), true)
	path := filepath.Join(t.TempDir(), "s")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	Notify(quiet(), false)
	text := make([]byte, 100)
	n, err := c.Read(text)
	if err != nil || string(text[:n]) != "STOPPING=1" {
		t.Errorf("systemd heard %q (%v)", text[:n], err)
	}
}
