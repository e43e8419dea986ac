package signin_test

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"waypost/directory"
	"waypost/directory/authn"
	dirpg "waypost/directory/postgres"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/services/signin"
)

const password = "correct horse 1"

var system = directory.System("test")

// site is an organisation with ann and bob, and its pages at https://localhost.
type site struct {
	url    string
	dir    directory.Directory
	gate   *authn.Gate
	server *signin.Server
	ann    directory.User
	log    *lockedBuffer
	hash   *authn.Hasher
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func open(t testing.TB, with ...func(*signin.Options)) *site {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	s := &site{log: &lockedBuffer{}, hash: authn.NewHasher(authn.Params{Memory: 64, Time: 1, Threads: 1})}
	db, err := pgdb.Open(t.Context(), pgtest.New(t, migrations.Directory), pgdb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	store, err := dirpg.Open(t.Context(), db, dirpg.Options{Hash: s.hash.Hash, Among: s.hash.Among, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.dir = authn.Near(store, authn.New(store, s.hash, authn.Options{Log: log}))
	s.gate = authn.NewGate(s.dir, authn.GateOptions{Log: quiet})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = store.Run(ctx) })
	wg.Go(func() { _ = s.gate.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	if _, err := s.dir.AddDomain(t.Context(), system, "example.test"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ann", "bob"} {
		u, err := s.dir.AddUser(t.Context(), system, directory.NewUser{User: directory.User{Address: name + "@example.test", Name: name}, Password: password})
		if err != nil {
			t.Fatal(err)
		}
		if name == "ann" {
			s.ann = u
		}
	}
	web := httptest.NewUnstartedServer(nil)
	web.Config.ErrorLog = slog.NewLogLogger(quiet.Handler(), slog.LevelDebug)
	_, port, _ := net.SplitHostPort(web.Listener.Addr().String())
	s.url = "https://localhost:" + port
	o := signin.Options{Site: s.url, Hosts: []string{"127.0.0.1"}, Log: log, ClientAddr: func(r *http.Request) netip.Addr {
		if a, err := netip.ParseAddr(r.Header.Get("X-Test-From")); err == nil {
			return a
		}
		return netip.MustParseAddr("192.0.2.1")
	}}
	for _, fn := range with {
		fn(&o)
	}
	if s.server, err = signin.New(s.dir, s.gate, o); err != nil {
		t.Fatal(err)
	}
	web.Config.Handler = s.server
	web.StartTLS()
	t.Cleanup(web.Close)
	return s
}

// browser is a client without scripts.
type browser struct {
	t    testing.TB
	s    *site
	http *http.Client
	last string // the page
}

func (s *site) browser(t testing.TB) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, s: s, http: &http.Client{
		Jar: jar, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, //nolint:gosec // a test's certificate
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (b *browser) do(method, path string, form url.Values, header ...string) *http.Response {
	b.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.s.url+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	b.last = string(raw)
	return resp
}

var tokenField = regexp.MustCompile(`name="token" value="([^"]*)"`)

// post sends a form with the token of the page at from.
func (b *browser) post(from, path string, form url.Values, header ...string) *http.Response {
	b.t.Helper()
	b.do(http.MethodGet, from, nil)
	form.Set("token", b.token())
	return b.do(http.MethodPost, path, form, header...)
}

func (b *browser) token() string {
	if m := tokenField.FindStringSubmatch(b.last); m != nil {
		return m[1]
	}
	return ""
}

func (b *browser) cookie(name string) string {
	u, _ := url.Parse(b.s.url)
	for _, c := range b.http.Jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// in signs ann in.
func (b *browser) in() *browser {
	b.t.Helper()
	r := b.post("/signin", "/signin", url.Values{"user": {"ann@example.test"}, "password": {password}, "computer": {"private"}})
	if r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "/account" {
		b.t.Fatalf("sign-in: %d %s\n%s", r.StatusCode, r.Header.Get("Location"), b.last)
	}
	return b
}

func containsFold(text, word string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(word))
}
