package lmtp

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/wiretest"
)

var quiet = slog.New(slog.DiscardHandler)

// mailboxes are those of example.test, in memory: "full" is over quota, "away"
// unavailable; staff is a list of alice and bob, mixed one of alice and full.
type mailboxes struct {
	mu  sync.Mutex
	got map[string]map[string]string // address -> id -> message
	own map[string]bool              // ids that came from one of ours
}

func (m *mailboxes) Resolve(_ context.Context, addr string) (directory.Resolution, error) {
	local, domain := envelope.Split(addr)
	switch {
	case domain != "example.test":
		return directory.Resolution{}, nil
	case local == "staff":
		return directory.Resolution{Standing: directory.List, Group: 1}, nil
	case local == "board":
		return directory.Resolution{Standing: directory.List, Group: 3}, nil
	case local == "mixed":
		return directory.Resolution{Standing: directory.List, Group: 2}, nil
	case local == "nobody":
		return directory.Resolution{Standing: directory.Unknown}, nil
	}
	return directory.Resolution{Standing: directory.Person, Target: target(local)}, nil
}

func target(name string) directory.Target {
	return directory.Target{Mailbox: directory.MailboxID(name[0]), HomeMDB: "m" + name[:1], Address: name + "@example.test"}
}

func (m *mailboxes) MaySendTo(_ context.Context, _ directory.Sender, g directory.ObjectID) ([]directory.Target, error) {
	if g == 3 {
		return nil, directory.ErrNotAllowed
	}
	return nil, nil
}

func (m *mailboxes) Expand(_ context.Context, g directory.ObjectID, _ directory.Page) ([]directory.Target, error) {
	if g == 1 {
		return []directory.Target{target("alice"), target("bob")}, nil
	}
	return []directory.Target{target("alice"), target("full")}, nil
}

func (m *mailboxes) DeliverFrom(_ context.Context, env envelope.Envelope, to []directory.Target, r io.Reader) []error {
	b, err := io.ReadAll(r)
	errs := make([]error, len(to))
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, t := range to {
		switch {
		case err != nil:
			errs[i] = err
		case t.Address == "full@example.test":
			errs[i] = fault.New(fault.OverQuota, "mailbox full")
		case t.Address == "away@example.test":
			errs[i] = fault.New(fault.Unavailable, "database is away")
		case strings.Contains(string(b), "PANIC"):
			panic("as asked")
		default:
			if m.got[t.Address] == nil {
				m.got[t.Address] = map[string]string{}
			}
			if env.Trusted {
				m.own[env.ID] = true
			}
			m.got[t.Address][env.ID] = string(env.Prefix(t.Address)) + "|" + string(b)
		}
	}
	return errs
}

func (m *mailboxes) box(name string) map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.got[name+"@example.test"]
}

func serve(t testing.TB, o Options) (*mailboxes, string) {
	t.Helper()
	m := &mailboxes{got: map[string]map[string]string{}, own: map[string]bool{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.Hostname, o.Log = "store.example.test", quiet
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(m, m, o).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return m, l.Addr().String()
}

func TestConversations(t *testing.T) {
	wiretest.Run(t, "testdata/*.txt", func(t *testing.T) wiretest.Peer {
		_, addr := serve(t, Options{TrustLoopback: !strings.Contains(t.Name(), "stranger")})
		return wiretest.Peer{Dial: func(t testing.TB, _ string) net.Conn {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}}
	})
}

func client(t testing.TB, o ClientOptions) *Client {
	t.Helper()
	o.Hostname, o.Log = "mx.example.test", quiet
	c := NewClient(o)
	t.Cleanup(c.Close)
	return c
}

func spool(t testing.TB, content string) *envelope.Spool {
	t.Helper()
	s := envelope.NewSpool(t.TempDir())
	io.WriteString(s, content)
	t.Cleanup(func() { s.Close() })
	return s
}

func TestClient(t *testing.T) {
	m, addr := serve(t, Options{TrustLoopback: true})
	c := client(t, ClientOptions{Servers: func(mdb string) []string {
		if mdb == "mz" { // the database of "zoe"
			return nil
		}
		return []string{"127.0.0.1:1", addr} // the first is down
	}})
	env := envelope.Envelope{ID: "1.a", From: "x@out.example", Trace: []byte("Received: earlier\r\n")}
	names := []string{"alice", "full", "bob", "away", "nobody", "zoe", "alice", "ärger"}
	want := []int{0, 452, 0, 451, 550, -1, 0, 0}
	var to []directory.Target
	for _, n := range names {
		to = append(to, target(n))
	}
	for round := range 3 { // later rounds go over kept connections
		for i, err := range c.Deliver(t.Context(), env, to, spool(t, "Subject: x\n\n.y\r\n")) {
			var reply *gosmtp.SMTPError
			switch {
			case want[i] == 0 && err == nil, errors.As(err, &reply) && reply.Code == want[i]:
			case want[i] == -1 && fault.Of(err) == fault.Unavailable:
			default:
				t.Errorf("round %d, %s: %v, want %d", round, names[i], err, want[i])
			}
		}
	}
	for _, n := range []string{"alice", "bob", "ärger"} {
		got := m.box(n)
		if msg := got["1.a"]; len(got) != 1 || !strings.HasPrefix(msg, "Return-Path: <x@out.example>\r\nReceived: from mx.example.test ([127.0.0.1])\r\n\tby store.example.test (Waypost) with ") ||
			!strings.HasSuffix(msg, "\r\nReceived: earlier\r\n|Subject: x\r\n\r\n.y\r\n") {
			t.Errorf("%s has %q", n, got)
		}
	}
}

// A kept connection that the server has closed in the meantime is no failure.
func TestStaleConnection(t *testing.T) {
	m, addr := serve(t, Options{TrustLoopback: true})
	c := client(t, ClientOptions{Servers: func(string) []string { return []string{addr} }})
	for i := range 3 {
		env := envelope.Envelope{ID: fmt.Sprint("i", i)}
		if errs := c.Deliver(t.Context(), env, []directory.Target{target("alice")}, spool(t, "A: b\r\n\r\n")); errs[0] != nil {
			t.Error(errs[0])
		}
		c.mu.Lock()
		for _, l := range c.idle[addr] {
			l.conn.Close()
		}
		c.mu.Unlock()
	}
	if got := m.box("alice"); len(got) != 3 {
		t.Errorf("alice has %v", got)
	}
}

// A panic in delivery is answered, and the server lives on.
func TestPanic(t *testing.T) {
	m, addr := serve(t, Options{TrustLoopback: true})
	c := client(t, ClientOptions{Servers: func(string) []string { return []string{addr} }})
	if errs := c.Deliver(t.Context(), envelope.Envelope{ID: "1"}, []directory.Target{target("alice")}, spool(t, "PANIC\r\n")); errs[0] == nil {
		t.Error("no error")
	}
	if errs := c.Deliver(t.Context(), envelope.Envelope{ID: "2"}, []directory.Target{target("alice")}, spool(t, "A: b\r\n\r\n")); errs[0] != nil {
		t.Error(errs[0])
	}
	if got := m.box("alice"); len(got) != 1 {
		t.Errorf("alice has %v", got)
	}
}

// Between machines both sides show certificates.
func TestMutualTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"store.example.test"}, NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	certs := []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	m, addr := serve(t, Options{TLS: &tls.Config{Certificates: certs, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}})
	servers := func(string) []string { return []string{addr} }
	to := []directory.Target{target("alice")}

	good := client(t, ClientOptions{Servers: servers, TLS: &tls.Config{RootCAs: pool, ServerName: "store.example.test", Certificates: certs}})
	if errs := good.Deliver(t.Context(), envelope.Envelope{ID: "1"}, to, spool(t, "A: b\r\n\r\n")); errs[0] != nil {
		t.Error(errs[0])
	}
	bad := client(t, ClientOptions{Servers: servers, TLS: &tls.Config{RootCAs: pool, ServerName: "store.example.test"}})
	if errs := bad.Deliver(t.Context(), envelope.Envelope{ID: "2"}, to, spool(t, "A: b\r\n\r\n")); fault.Of(errs[0]) != fault.Unavailable {
		t.Errorf("without a certificate: %v", errs[0])
	}
	if got := m.box("alice"); len(got) != 1 || !strings.Contains(got["1"], " with LMTPS ") {
		t.Errorf("alice has %q", got)
	}
}

// Who sent a message goes along from peers, and nobody else can say it.
func TestOwn(t *testing.T) {
	for _, peer := range []bool{true, false} {
		m, addr := serve(t, Options{TrustLoopback: peer})
		c := client(t, ClientOptions{Servers: func(string) []string { return []string{addr} }})
		for _, env := range []envelope.Envelope{{ID: "ours", Trusted: true}, {ID: "theirs"}} {
			_ = c.Deliver(t.Context(), env, []directory.Target{target("alice")}, spool(t, "A: b\r\n\r\n"))
		}
		m.mu.Lock()
		if m.own["ours"] != peer || m.own["theirs"] {
			t.Errorf("peer %v: %v", peer, m.own)
		}
		m.mu.Unlock()
	}
}
