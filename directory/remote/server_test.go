package remote_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waypost/directory"
	"waypost/directory/authn"
	"waypost/directory/remote"
	"waypost/internal/fault"
)

// fake is a directory that answers a little and remembers who asked.
type fake struct {
	directory.Directory // nil: what is not faked panics
	mu                  sync.Mutex
	usn                 directory.USN
	owner               map[string]directory.ObjectID
	asked               atomic.Int64
	wake                chan struct{}
	news                []directory.Change
	err                 error
}

func newFake() *fake {
	return &fake{usn: 10, owner: map[string]directory.ObjectID{}, wake: make(chan struct{})}
}

func (f *fake) USN() directory.USN {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.usn
}

// set gives address to id and tells the feed.
func (f *fake) set(address string, id directory.ObjectID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.usn++
	if old := f.owner[address]; old != 0 {
		f.news = append(f.news, directory.Change{USN: f.usn, ID: old, Kind: directory.KindUser})
	}
	f.owner[address] = id
	f.news = append(f.news, directory.Change{USN: f.usn, ID: id, Kind: directory.KindUser, Epoch: 1, Enabled: true})
	close(f.wake)
	f.wake = make(chan struct{})
}

func (f *fake) Resolve(_ context.Context, address string) (directory.Resolution, error) {
	f.asked.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return directory.Resolution{}, f.err
	}
	id := f.owner[address]
	if id == 0 {
		return directory.Resolution{Standing: directory.Unknown}, nil
	}
	return directory.Resolution{Standing: directory.Person, Target: directory.Target{ID: id, Mailbox: 1, Address: address}}, nil
}

func (f *fake) Follow(ctx context.Context, since directory.USN, fn func([]directory.Change) error) error {
	f.mu.Lock()
	if since < 0 {
		since = f.usn
	}
	f.mu.Unlock()
	if err := fn([]directory.Change{{USN: since}}); err != nil {
		return err
	}
	for {
		f.mu.Lock()
		var news []directory.Change
		for _, c := range f.news {
			if c.USN > since {
				news = append(news, c)
			}
		}
		wake := f.wake
		f.mu.Unlock()
		if len(news) > 0 {
			if err := fn(news); err != nil {
				return err
			}
			since = news[len(news)-1].USN
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		}
	}
}

func (f *fake) AddDomain(context.Context, directory.Principal, string) (directory.Domain, error) {
	f.asked.Add(1)
	return directory.Domain{ID: 5, Name: "a.test"}, f.err
}

func (f *fake) People(context.Context, directory.Principal, directory.PeopleQuery) ([]directory.User, int, error) {
	f.asked.Add(1)
	return nil, 0, f.err
}

func (f *fake) User(_ context.Context, _ directory.Principal, id directory.ObjectID) (directory.User, error) {
	return directory.User{ID: id, Epoch: 1, Enabled: true}, nil
}

func (f *fake) SignIn(_ context.Context, c directory.Credentials) (directory.Session, error) {
	f.asked.Add(1)
	if c.Password != "secret" {
		return directory.Session{}, fault.New(fault.Unauthenticated, "wrong user name or password")
	}
	return directory.Session{Principal: directory.Principal{ID: 7, Epoch: 1}}, nil
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// TestResolveIsKept: an answer is given from memory until the news say that it
// may be another; nobody's address may become somebody's.
func TestResolveIsKept(t *testing.T) {
	f := newFake()
	f.owner["ann@a.test"], f.owner["ann+x@a.test"], f.owner["bob@a.test"] = 1, 1, 2
	at, _ := serve(t, f)
	c := dial(t, at)
	get := func(address string) directory.ObjectID {
		t.Helper()
		r, err := c.Resolve(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		return r.Target.ID
	}
	all := []string{"ann@a.test", "ann+x@a.test", "bob@a.test", "nobody@a.test"}
	await(t, "answers from memory", func() bool {
		before := f.asked.Load()
		for _, a := range all {
			get(a)
		}
		return f.asked.Load() == before
	})
	// A change of bob drops what is bob's, nobody's, and answered by less.
	f.set("bob@a.test", 3)
	await(t, "the new bob", func() bool { return get("bob@a.test") == 3 })
	before := f.asked.Load()
	for _, a := range all {
		get(a)
	}
	if n := f.asked.Load() - before; n != 2 {
		t.Errorf("after a change of another, %d of 3 addresses were asked for again, want the unknown one and the one with a detail", n)
	}
	f.set("nobody@a.test", 4)
	await(t, "the former nobody", func() bool { return get("nobody@a.test") == 4 })
	f.set("ann+x@a.test", 5)
	await(t, "a detail that became an address", func() bool { return get("ann+x@a.test") == 5 })
}

// TestLostServer: reads go on at the next server, the cache does not outlive
// the feed, and a gate refuses once all are lost.
func TestLostServer(t *testing.T) {
	f := newFake()
	f.owner["ann@a.test"] = 7
	first, stopFirst := serve(t, f)
	second, stopSecond := serve(t, f)
	c := dial(t, first, second)
	g := authn.NewGate(c, authn.GateOptions{Log: quiet, CutOff: 300 * time.Millisecond})
	beat := start(t, func(ctx context.Context) error { // the fake's database is alive
		for i := 0; ctx.Err() == nil; i++ {
			f.set("x@a.test", directory.ObjectID(1000+i))
			time.Sleep(20 * time.Millisecond)
		}
		return nil
	})
	start(t, g.Run)
	in := func() error {
		_, err := g.SignIn(t.Context(), directory.Credentials{Login: "ann", Password: "secret"})
		return err
	}
	await(t, "signing in", func() bool { return in() == nil })
	stopFirst()
	for range 20 {
		if r, err := c.Resolve(t.Context(), "ann@a.test"); err != nil || r.Target.ID != 7 {
			t.Fatalf("Resolve with one server lost: %+v, %v", r, err)
		}
	}
	await(t, "signing in at the second", func() bool { return in() == nil })
	beat()
	stopSecond()
	await(t, "refusing", func() bool { return fault.Of(in()) == fault.Unavailable })
	if _, err := c.Resolve(t.Context(), "ann@a.test"); fault.Of(err) != fault.Unavailable {
		t.Errorf("Resolve with all servers lost: %v, want Unavailable", err)
	}
	if _, err := c.AddDomain(t.Context(), directory.System("test"), "a.test"); fault.Of(err) != fault.Unavailable {
		t.Errorf("AddDomain with all servers lost: %v, want Unavailable", err)
	}
}

// TestFaultsKeepKindAndText sends every kind through.
func TestFaultsKeepKindAndText(t *testing.T) {
	f := newFake()
	at, _ := serve(t, f)
	c := dial(t, at)
	for _, k := range fault.Kinds() {
		f.mu.Lock()
		f.err = fault.From(k, context.Canceled, "what the peer hears of %v", k)
		f.mu.Unlock()
		_, _, err := c.People(t.Context(), directory.System("test"), directory.PeopleQuery{})
		if fault.Of(err) != k || fault.Say(err) != "what the peer hears of "+k.String() || !strings.Contains(err.Error(), "context canceled") {
			t.Errorf("kind %v arrived as %v: %v", k, fault.Of(err), err)
		}
	}
	f.err = context.DeadlineExceeded
	if _, _, err := c.People(t.Context(), directory.System("test"), directory.PeopleQuery{}); fault.Of(err) != fault.Unavailable {
		t.Errorf("a deadline arrived as %v", err)
	}
}

// TestChangesAreNotRepeated: a change that the server answered Unavailable may
// have happened.
func TestChangesAreNotRepeated(t *testing.T) {
	f := newFake()
	f.err = fault.New(fault.Unavailable, "later")
	first, _ := serve(t, f)
	second, _ := serve(t, f)
	c := dial(t, first, second)
	if _, err := c.AddDomain(t.Context(), directory.System("test"), "a.test"); fault.Of(err) != fault.Unavailable || f.asked.Load() != 1 {
		t.Errorf("AddDomain: %v after %d requests, want one", err, f.asked.Load())
	}
	f.asked.Store(0)
	if _, _, err := c.People(t.Context(), directory.System("test"), directory.PeopleQuery{}); fault.Of(err) != fault.Unavailable || f.asked.Load() < 2 {
		t.Errorf("People: %v after %d requests, want several", err, f.asked.Load())
	}
}

// pki makes certificates of one authority.
type pki struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newPKI(t *testing.T) *pki {
	p := &pki{t: t, pool: x509.NewCertPool()}
	p.key, p.cert, _ = p.make("authority", true)
	p.pool.AddCert(p.cert)
	return p
}

func (p *pki) make(name string, ca bool) (*ecdsa.PrivateKey, *x509.Certificate, tls.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: ca, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	parent, signer := p.cert, p.key
	if ca {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		p.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		p.t.Fatal(err)
	}
	return key, cert, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (p *pki) leaf(name string) tls.Certificate {
	_, _, c := p.make(name, false)
	return c
}

// TestPeers tries what each program's certificate may call.
func TestPeers(t *testing.T) {
	f := newFake()
	p := newPKI(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := remote.NewServer(f, remote.ServerOptions{Log: quiet, TLS: &tls.Config{
		Certificates: []tls.Certificate{p.leaf("waypost-directory")}, ClientCAs: p.pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}})
	start(t, func(ctx context.Context) error { return s.Serve(ctx, l) })
	peer := func(certs ...tls.Certificate) *remote.Client {
		c, err := remote.New(remote.Options{URLs: []string{"https://" + l.Addr().String()}, Log: quiet, TLS: &tls.Config{RootCAs: p.pool, Certificates: certs}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	person := directory.Principal{ID: 7, Epoch: 1, Roles: directory.RoleAdmin}
	calls := []struct {
		name string
		call func(*remote.Client) error
	}{
		{"look", func(c *remote.Client) error { _, err := c.Resolve(t.Context(), "a@a.test"); return err }},
		{"feed", func(c *remote.Client) error {
			heard := fault.New(fault.Exists, "heard")
			err := c.Follow(t.Context(), -1, func([]directory.Change) error { return heard })
			if fault.Of(err) == fault.Exists {
				return nil
			}
			return err
		}},
		{"read", func(c *remote.Client) error {
			_, _, err := c.People(t.Context(), person, directory.PeopleQuery{})
			return err
		}},
		{"change", func(c *remote.Client) error { _, err := c.AddDomain(t.Context(), person, "a.test"); return err }},
		{"own", func(c *remote.Client) error {
			_, err := c.AddDomain(t.Context(), directory.System("x"), "a.test")
			return err
		}},
	}
	for name, may := range map[string]string{
		"waypost-smtp":      "look feed",
		"waypost-store":     "look feed read",
		"waypost-frontend":  "look feed read change",
		"waypost-directory": "look feed read change own",
		"waypost":           "look feed read change own",
		"somebody else":     "",
	} {
		c := peer(p.leaf(name))
		for _, call := range calls {
			err := call.call(c)
			allowed := strings.Contains(" "+may+" ", " "+call.name+" ")
			if allowed && err != nil {
				t.Errorf("%s as %q: %v", call.name, name, err)
			}
			if !allowed && fault.Of(err) != fault.Denied {
				t.Errorf("%s as %q: got %v, want Denied", call.name, name, err)
			}
		}
	}
	// No certificate, or another authority's, gets nowhere.
	for name, c := range map[string]*remote.Client{"none": peer(), "another authority's": peer(newPKI(t).leaf("waypost"))} {
		if _, err := c.Resolve(t.Context(), "a@a.test"); fault.Of(err) != fault.Unavailable {
			t.Errorf("with %s certificate: %v, want no connection", name, err)
		}
	}
}

func TestServeRefusesToBeOpen(t *testing.T) {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, o := range map[string]remote.ServerOptions{
		"without TLS":          {},
		"without client certs": {TLS: &tls.Config{}},
		"with optional certs":  {TLS: &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven}},
	} {
		if err := remote.NewServer(newFake(), o).Serve(t.Context(), l); fault.Of(err) != fault.Invalid {
			t.Errorf("Serve %s on all addresses: %v, want Invalid", name, err)
		}
	}
	for _, bad := range []string{"http://192.0.2.1:80", "https://dc.example.test", "ftp://127.0.0.1", "http://u:p@127.0.0.1", "", ":"} {
		if _, err := remote.New(remote.Options{URLs: []string{bad}}); fault.Of(err) != fault.Invalid {
			t.Errorf("New(%q) without TLS: %v, want Invalid", bad, err)
		}
	}
}

// TestBadRequests: what makes no sense gets a fault and harms nothing.
func TestBadRequests(t *testing.T) {
	f := newFake()
	at, _ := serve(t, f)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: &protocols}}
	defer client.CloseIdleConnections()
	for _, tt := range []struct {
		name, verb, method, body string
		want                     fault.Kind
	}{
		{"GET", "GET", "Resolve", "", fault.Invalid},
		{"unknown method", "POST", "Nothing", "{}", fault.NotFound},
		{"path upwards", "POST", "../v1/x", "{}", fault.NotFound},
		{"no body", "POST", "Resolve", "", fault.Invalid},
		{"no JSON", "POST", "Resolve", "abc", fault.Invalid},
		{"another type", "POST", "Resolve", `{"Address":5}`, fault.Invalid},
		{"unknown field", "POST", "Resolve", `{"Adress":"a@a.test"}`, fault.Invalid},
		{"nested deep", "POST", "Resolve", strings.Repeat("[", 100000), fault.Invalid},
		{"too large", "POST", "Resolve", `{"Address":"` + strings.Repeat("a", 5<<20) + `"}`, fault.TooLarge},
		{"feed with no body", "POST", "Follow", "", fault.Invalid},
		{"what panics", "POST", "Keys", "{}", fault.Internal},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.verb, at+"/directory/v1/"+tt.method, bytes.NewReader([]byte(tt.body)))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var r struct{ Fault struct{ Kind string } }
		err = json.NewDecoder(resp.Body).Decode(&r)
		_ = resp.Body.Close()
		if err != nil || r.Fault.Kind != tt.want.String() || resp.StatusCode < 400 {
			t.Errorf("%s: %d %q, %v; want %v", tt.name, resp.StatusCode, r.Fault.Kind, err, tt.want)
		}
	}
	if _, err := dial(t, at).Resolve(t.Context(), "a@a.test"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestNothingIsForgotten: every method of the interface has a row in the
// server's table.
func TestNothingIsForgotten(t *testing.T) {
	in := reflect.TypeFor[directory.Directory]()
	known := remote.Methods()
	for i := range in.NumMethod() {
		if name := in.Method(i).Name; !known[name] {
			t.Errorf("%s cannot be called from afar", name)
		}
		delete(known, in.Method(i).Name)
	}
	delete(known, "Approvers") // how MaySendTo is asked; its own row answers programs of the version before
	for name := range known {
		t.Errorf("%s is no method of a directory", name)
	}
}

func BenchmarkResolve(b *testing.B) {
	f := newFake()
	f.owner["ann@a.test"] = 1
	at, _ := serve(b, f)
	c := dial(b, at)
	b.Run("far", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := c.Resolve(b.Context(), string(rune('a'+i%26))+"@a.test"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
