package ldap

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"math/big"
	"net"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"waypost/directory"
	"waypost/internal/tlsconf"
)

// world is a server with a tree that has ann (password "secret") and bob.
type world struct {
	tree     *memTree
	accounts *memAccounts
	server   *Server
	addr     string
	global   string
	secure   string // a door with TLS from the start
	stop     context.CancelFunc
	stopped  chan error
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func start(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	w := &world{tree: newMemTree(), accounts: &memAccounts{}, stopped: make(chan error, 3)}
	w.tree.accounts = w.accounts
	w.tree.person("ann", "secret")
	w.tree.person("bob", "hidden")
	w.accounts.people[0].who.Roles = directory.RoleAdmin
	cert, err := tlsconf.Open(tlsconf.Options{Dir: t.TempDir(), Names: []string{"ldap.example.test"}, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Host: "ldap.example.test", TLS: cert.Server(), FailureDelay: time.Millisecond, Log: quiet(), Grace: time.Second}
	for _, f := range change {
		f(&cfg)
	}
	if w.server, err = New(cfg, w.tree, w.accounts); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, w.stop = context.WithCancel(context.Background())
	serve := func(door Door) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { w.stopped <- w.server.ServeDoor(ctx, l, door) }()
		return l.Addr().String()
	}
	w.addr, w.global = serve(Door{}), serve(Door{Global: true})
	doors := 2
	if cfg.TLS != nil {
		w.secure = serve(Door{TLS: true})
		doors++
	}
	t.Cleanup(func() {
		w.stop()
		for range doors {
			select {
			case err := <-w.stopped:
				if err != nil {
					t.Errorf("ServeDoor: %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Error("the server does not stop")
			}
		}
	})
	return w
}

var clientTLS = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // self-signed, in a test

func dial(t testing.TB, addr string) *goldap.Conn {
	t.Helper()
	c, err := goldap.DialURL("ldap://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	c.SetTimeout(20 * time.Second)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// in is a connection on which ann has signed in.
func (w *world) in(t testing.TB) *goldap.Conn {
	t.Helper()
	c := dial(t, w.addr)
	if err := c.Bind("ann@example.test", "secret"); err != nil {
		t.Fatal(err)
	}
	return c
}

// codeOf is the result code of a client's error.
func codeOf(err error) code {
	if err == nil {
		return codeSuccess
	}
	if e, ok := err.(*goldap.Error); ok { //nolint:errorlint // as the library gives it
		return code(e.ResultCode)
	}
	return -1
}

func wantCode(t testing.TB, what string, err error, want code) {
	t.Helper()
	if got := codeOf(err); got != want {
		t.Errorf("%s: %v (%v), want %v", what, got, err, want)
	}
}

// clientCertificate makes one for ann, and the pool that knows it.
func clientCertificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ann"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func delRequest(name string) *goldap.DelRequest { return goldap.NewDelRequest(name, nil) }
