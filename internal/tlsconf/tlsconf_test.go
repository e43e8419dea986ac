package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"waypost/internal/fault"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func open(t *testing.T, o Options) *Certificate {
	t.Helper()
	o.Log = quiet()
	c, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// shake lets a client and a server shake hands, and gives what each said.
func shake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	said := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			said <- err
			return
		}
		defer c.Close()
		s := tls.Server(c, server)
		if err = s.Handshake(); err == nil {
			_, err = s.Write([]byte("x"))
		}
		said <- err
	}()
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", l.Addr().String(), client)
	if err != nil {
		return tls.ConnectionState{}, <-said, err
	}
	defer c.Close()
	_, err = io.ReadFull(c, make([]byte, 1)) // with TLS 1.3 the refusal comes here
	return c.ConnectionState(), <-said, err
}

func TestSelfSigned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	names := []string{"Mail.Example.test", "example.test"}
	c := open(t, Options{Dir: dir, Names: names})
	pool := x509.NewCertPool()
	pool.AddCert(c.Leaf())
	for _, name := range []string{"localhost", "127.0.0.1", "mail.example.test", "example.test", "autodiscover.example.test"} {
		if _, serverErr, err := shake(t, c.Server(), &tls.Config{RootCAs: pool, ServerName: name}); err != nil || serverErr != nil {
			t.Errorf("%s: %v, %v", name, err, serverErr)
		}
	}
	if _, _, err := shake(t, c.Server(), &tls.Config{RootCAs: pool, ServerName: "other.test"}); err == nil {
		t.Error("a name that is not in it was accepted")
	}
	if info, err := os.Stat(filepath.Join(dir, "key.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key has mode %v (%v), want 0600", info.Mode(), err)
	}
	if again := open(t, Options{Dir: dir, Names: names}); !again.Leaf().Equal(c.Leaf()) {
		t.Error("it was made anew though it fits")
	}
	if other := open(t, Options{Dir: dir, Names: []string{"other.test"}}); other.Leaf().VerifyHostname("other.test") != nil {
		t.Error("it was kept though a name is missing")
	}
}

func TestVersions(t *testing.T) {
	for _, tt := range []struct {
		min    string
		client uint16
		cipher uint16
		ok     bool
	}{
		{"", tls.VersionTLS11, 0, false},
		{"", tls.VersionTLS12, 0, true},
		{"", tls.VersionTLS13, 0, true},
		{"1.3", tls.VersionTLS12, 0, false},
		{"1.0", tls.VersionTLS10, 0, true},
		{"1.0", tls.VersionTLS10, tls.TLS_RSA_WITH_AES_128_CBC_SHA, true},
	} {
		c := open(t, Options{Dir: t.TempDir(), MinVersion: tt.min})
		client := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tt.client}
		if tt.cipher != 0 {
			client.CipherSuites = []uint16{tt.cipher}
		}
		if _, _, err := shake(t, c.Server(), client); (err == nil) != tt.ok {
			t.Errorf("least %q, client %s: %v, want success %t", tt.min, tls.VersionName(tt.client), err, tt.ok)
		}
	}
	if _, err := Open(Options{Dir: t.TempDir(), MinVersion: "2.0"}); fault.Of(err) != fault.Invalid {
		t.Errorf("version 2.0: %v", err)
	}
}

func TestNewFilesAreTakenUp(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	open(t, Options{Dir: one, Names: []string{"one.test"}})
	open(t, Options{Dir: two, Names: []string{"two.test"}})
	c := open(t, Options{Cert: filepath.Join(one, "cert.pem"), Key: filepath.Join(one, "key.pem")})
	is := func(name string) bool {
		c.mu.Lock()
		c.looked = time.Time{}
		c.mu.Unlock()
		return c.Leaf().VerifyHostname(name) == nil
	}
	swap := func(name string) {
		text, err := os.ReadFile(filepath.Join(two, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(one, name), text, 0o600)
		}
		if err == nil { // file systems have coarse clocks
			err = os.Chtimes(filepath.Join(one, name), time.Time{}, time.Now().Add(time.Minute))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	swap("cert.pem")
	if !is("one.test") {
		t.Error("half a pair replaced one that works")
	}
	swap("key.pem")
	if !is("two.test") {
		t.Error("the new pair was not taken up")
	}
	if err := os.WriteFile(filepath.Join(one, "cert.pem"), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !is("two.test") {
		t.Error("a broken file replaced one that works")
	}
	if _, err := Open(Options{Cert: filepath.Join(one, "cert.pem"), Key: filepath.Join(one, "key.pem")}); fault.Of(err) != fault.Invalid {
		t.Errorf("broken at the start: %v", err)
	}
}

func TestLinks(t *testing.T) {
	links := func(dir string) map[string]*Link {
		all := map[string]*Link{}
		for range 2 { // the second time everything is there
			a, err := OpenAuthority(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, role := range Roles() {
				if err := a.Issue(role); err != nil {
					t.Fatal(err)
				}
				if all[role], err = OpenLink(LinkFiles(dir, role)); err != nil {
					t.Fatal(err)
				}
			}
			if err := a.Issue("stranger"); err == nil {
				t.Error("a role that does not exist got a certificate")
			}
		}
		return all
	}
	ours, theirs := links(t.TempDir()), links(t.TempDir())
	server := ours["waypost-store"].Server("waypost-smtp")

	state, serverErr, err := shake(t, server, ours["waypost-smtp"].Client("waypost-store"))
	if err := errors.Join(err, serverErr); err != nil {
		t.Fatal(err)
	}
	if role := PeerRole(state); role != "waypost-store" {
		t.Errorf("the client sees %q", role)
	}
	for _, tt := range []struct {
		name   string
		client *tls.Config
	}{
		{"a role that may not call", ours["waypost-frontend"].Client("waypost-store")},
		{"expecting another role", ours["waypost-smtp"].Client("waypost-directory")},
		{"another authority", theirs["waypost-smtp"].Client("waypost-store")},
		{"another authority's client, careless", &tls.Config{
			InsecureSkipVerify: true, GetClientCertificate: theirs["waypost-smtp"].Client("").GetClientCertificate,
		}},
		{"no certificate", &tls.Config{InsecureSkipVerify: true}},
	} {
		if _, _, err := shake(t, server, tt.client); err == nil {
			t.Errorf("%s: accepted", tt.name)
		}
	}
	if _, err := OpenLink("/nonexistent", "", ""); fault.Of(err) != fault.Invalid {
		t.Errorf("missing files: %v", err)
	}
}
