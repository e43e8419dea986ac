package ldap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/services/ldap/ber"
)

func TestBind(t *testing.T) {
	w := start(t)
	for _, tt := range []struct {
		name, password string
		want           code
		text           string
	}{
		{"ann@example.test", "secret", codeSuccess, ""},
		{"ann", "secret", codeSuccess, ""},
		{`EXAMPLE\ann`, "secret", codeSuccess, ""},
		{"CN=ann,OU=People,DC=example,DC=test", "secret", codeSuccess, ""},
		{"cn=Ann, ou=people, dc=example,dc=TEST", "secret", codeSuccess, ""},
		{"ann@example.test", "wrong", codeInvalidCredentials, "data 52e, v1db1"},
		{"nobody@example.test", "secret", codeInvalidCredentials, "data 52e, v1db1"},
		{"CN=nobody,OU=People,DC=example,DC=test", "secret", codeInvalidCredentials, "data 52e, v1db1"},
		{"OU=People,DC=example,DC=test", "secret", codeInvalidCredentials, "data 52e, v1db1"},
		{"a=b=c,,", "secret", codeInvalidCredentials, "data 52e, v1db1"},
		{"slow", "x", codeInvalidCredentials, "data 775, v1db1"},
		{"down", "x", codeUnavailable, ""},
		{"", "", codeSuccess, ""},
		{"", "secret", codeInvalidCredentials, ""},
		{"ann@example.test", "", codeUnwilling, "needs a password"}, // RFC 4513 §5.1.2
	} {
		c := dial(t, w.addr)
		_, err := c.SimpleBind(&goldap.SimpleBindRequest{Username: tt.name, Password: tt.password, AllowEmptyPassword: true})
		if wantCode(t, tt.name, err, tt.want); err != nil && !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.text)
		}
	}
}

func TestBindTakesEverythingBack(t *testing.T) {
	w := start(t)
	c := w.in(t)
	if r, err := c.WhoAmI(nil); err != nil || r.AuthzID != `u:EXAMPLE\ann` {
		t.Errorf("WhoAmI = %+v, %v", r, err)
	}
	wantCode(t, "a wrong password", c.Bind("ann", "wrong"), codeInvalidCredentials)
	if r, err := c.WhoAmI(nil); err != nil || r.AuthzID != "" {
		t.Errorf("WhoAmI after a failed bind = %+v, %v", r, err)
	}
	_, err := c.Search(find("(cn=ann)"))
	wantCode(t, "a search after a failed bind", err, codeOperationsError)
	if err := c.UnauthenticatedBind(""); err != nil {
		t.Error(err)
	}
}

func TestPasswordsNeedTLSOverANetwork(t *testing.T) {
	w := start(t)
	far := dialThrough(t, w, netAddr("192.0.2.7:4000"))
	wantCode(t, "a simple bind", far.Bind("ann", "secret"), codeConfidentiality)
	_, err := far.PasswordModify(goldap.NewPasswordModifyRequest("ann", "secret", "another"))
	wantCode(t, "a password", err, codeConfidentiality)
	if w.accounts.calls != 0 {
		t.Error("a password was looked at")
	}
	if got := rootDSE(t, far).GetAttributeValues("supportedSASLMechanisms"); len(got) != 0 {
		t.Errorf("mechanisms in clear text: %v", got)
	}
	if err := far.StartTLS(clientTLS); err != nil {
		t.Fatal(err)
	}
	if got := rootDSE(t, far).GetAttributeValues("supportedSASLMechanisms"); strings.Join(got, " ") != "PLAIN" {
		t.Errorf("mechanisms: %v", got)
	}
	if err := far.Bind("ann", "secret"); err != nil {
		t.Errorf("under TLS: %v", err)
	}
	open := start(t, func(c *Config) { c.PlainSignIn = true })
	if err := dialThrough(t, open, netAddr("192.0.2.7:4000")).Bind("ann", "secret"); err != nil {
		t.Errorf("with PlainSignIn: %v", err)
	}
}

// dialThrough connects as if from another address.
func dialThrough(t testing.TB, w *world, from net.Addr) *goldap.Conn {
	t.Helper()
	client, server := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.server.serveConn(&conns{}, ctx, from2(server, from), Door{})
	}()
	c := goldap.NewConn(client, false)
	c.Start()
	t.Cleanup(func() { _ = c.Close(); cancel(); <-done })
	return c
}

type addressed struct {
	net.Conn
	from net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.from }

func from2(c net.Conn, from net.Addr) net.Conn { return addressed{c, from} }

func netAddr(s string) net.Addr {
	a, err := net.ResolveTCPAddr("tcp", s)
	if err != nil {
		panic(err)
	}
	return a
}

// saslOp is a BindRequest with SASL; the library has none for PLAIN.
func saslOp(mechanism string, response ...string) string {
	parts := []string{octets(mechanism)}
	for _, x := range response {
		parts = append(parts, octets(x))
	}
	return element(ber.ApplicationOf(0), integer(3), octets(""), element(ber.ContextOf(3), parts...))
}

func TestSASLPlain(t *testing.T) {
	w := start(t)
	for _, tt := range []struct {
		authzid, name, password string
		want                    code
	}{
		{"", "ann", "secret", codeSuccess},
		{"ann", "ann", "secret", codeSuccess},
		{"u:ann", "ann", "secret", codeSuccess},
		{"u:ann@example.test", "ann", "secret", codeSuccess},
		{"dn:cn=ann,ou=people,dc=example,dc=test", "ann", "secret", codeSuccess},
		{"", "cn=ann,ou=people,dc=example,dc=test", "secret", codeSuccess},
		{"", "ann", "wrong", codeInvalidCredentials},
		{"", "ann", "", codeInvalidCredentials},
		{"u:bob", "ann", "secret", codeInvalidCredentials},
		{"dn:cn=bob,ou=people,dc=example,dc=test", "ann", "secret", codeInvalidCredentials},
		{"dn:", "ann", "secret", codeInvalidCredentials},
	} {
		c := dialRaw(t, w.addr)
		c.send(message(1, saslOp("PLAIN", tt.authzid+"\x00"+tt.name+"\x00"+tt.password)))
		x := c.want(1, tt.want)
		if x.code != tt.want {
			t.Errorf("that was %q %q", tt.authzid, tt.name)
		}
		c.send(message(2, searchOp("DC=example,DC=test", 0, anyObject, "1.1")))
		if done, _ := c.results(2); (done.code == codeSuccess) != (tt.want == codeSuccess) {
			t.Errorf("%q %q: then a search has %v", tt.authzid, tt.name, done.code)
		}
	}
	c := dialRaw(t, w.addr)
	c.send(message(1, saslOp("PLAIN"))) // without an initial response
	c.want(1, codeSASLInProgress)
	c.send(message(2, saslOp("PLAIN", "\x00ann\x00secret")))
	c.want(2, codeSuccess)
	c.send(message(3, saslOp("GSSAPI", "x")))
	c.want(3, codeAuthMethod)
	c.send(message(4, saslOp("PLAIN", "nonsense")))
	c.want(4, codeInvalidCredentials)
}

func TestExternal(t *testing.T) {
	pair, pool := clientCertificate(t)
	w := start(t, func(c *Config) {
		c.TLS.ClientAuth, c.TLS.ClientCAs = tls.VerifyClientCertIfGiven, pool
		c.External = func(_ context.Context, chain []*x509.Certificate) (directory.Principal, error) {
			if chain[0].Subject.CommonName != "ann" {
				return directory.Principal{}, fault.New(fault.Unauthenticated, "unknown")
			}
			return directory.Principal{ID: 7, Address: "ann@example.test", Epoch: 1}, nil
		}
	})
	with := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}} //nolint:gosec // in a test
	c, err := goldap.DialURL("ldaps://"+w.secure, goldap.DialWithTLSConfig(with))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := rootDSE(t, c).GetAttributeValues("supportedSASLMechanisms"); strings.Join(got, " ") != "PLAIN EXTERNAL" {
		t.Errorf("mechanisms: %v", got)
	}
	if err := c.ExternalBind(); err != nil {
		t.Error(err)
	}
	if r, err := c.WhoAmI(nil); err != nil || r.AuthzID != `u:EXAMPLE\ann` {
		t.Errorf("WhoAmI = %+v, %v", r, err)
	}
	wantCode(t, "without TLS", dial(t, w.addr).ExternalBind(), codeInappropriateAuth)
	bare, err := goldap.DialURL("ldaps://"+w.secure, goldap.DialWithTLSConfig(clientTLS))
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	wantCode(t, "without a certificate", bare.ExternalBind(), codeInappropriateAuth)
}

func TestTheAccountChanges(t *testing.T) {
	w := start(t)
	c := w.in(t)
	other := dial(t, w.addr)
	if err := other.Bind("bob", "hidden"); err != nil {
		t.Fatal(err)
	}
	// Who changes the own password is told that it worked, and then to go.
	if _, err := c.PasswordModify(goldap.NewPasswordModifyRequest("", "secret", "another")); err != nil {
		t.Errorf("PasswordModify: %v", err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for !c.IsClosing() && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	// The library knows the notice only as "unexpected message 0".
	if err := c.GetLastError(); !c.IsClosing() || err == nil || !strings.Contains(err.Error(), "message 0") {
		t.Errorf("the connection is %v, %v", c.IsClosing(), err)
	}
	if _, err := other.WhoAmI(nil); err != nil {
		t.Errorf("somebody else's connection: %v", err)
	}
	if err := dial(t, w.addr).Bind("ann", "another"); err != nil {
		t.Errorf("with the new password: %v", err)
	}
}

func TestManyFailuresEndTheConnection(t *testing.T) {
	w := start(t)
	c := dial(t, w.addr)
	for i := range maxFailures + 1 {
		err := c.Bind("ann", "wrong")
		if i < maxFailures-1 {
			wantCode(t, "a wrong password", err, codeInvalidCredentials)
		}
		if i == maxFailures {
			if err == nil || codeOf(err) == codeInvalidCredentials {
				t.Errorf("after %d failures: %v", i, err)
			}
		}
	}
}

func TestProblemsOfTheRightPassword(t *testing.T) {
	w := start(t)
	for _, p := range directory.Problems() {
		if problemData[p] == "" {
			t.Errorf("no code for %v", p)
		}
		r := dialRaw(t, w.addr)
		r.send(message(1, bindOp(p.String(), "right"), controlOf(oidPolicy, false, "")))
		x := r.want(1, codeInvalidCredentials)
		if !strings.Contains(x.text, "data "+problemData[p]+", v1db1") {
			t.Errorf("%v: %s", p, x.text)
		}
		v := controlIn(t, x.controls, oidPolicy)
		if tells := v != element(ber.Sequence); tells != (p == directory.MustChange || p == directory.PasswordExpired) {
			t.Errorf("%v: the policy control says %x", p, v)
		}
	}
	// A password that must be changed changes itself, and nothing else does.
	guest := dial(t, w.addr)
	_, err := guest.PasswordModify(goldap.NewPasswordModifyRequest(directory.PasswordExpired.String(), "hidden", "renewed"))
	wantCode(t, "an expired one", err, codeSuccess)
	_, err = guest.PasswordModify(goldap.NewPasswordModifyRequest(directory.AccountDisabled.String(), "renewed", "again"))
	wantCode(t, "a disabled account's", err, codeInvalidCredentials)
	wantCode(t, "bob's new one", guest.Bind("bob", "renewed"), codeSuccess)
}
