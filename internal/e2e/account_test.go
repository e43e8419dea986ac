package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2/imapclient"
)

// login signs in by IMAP with any password and tells what the server said.
func (s *site) login(user, with string) error {
	c, err := imapclient.DialTLS(s.addr["imaps"], &imapclient.Options{TLSConfig: noVerify})
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Login(user+"@"+domain, with).Wait()
}

// TestAccounts: what an administrator says of passwords holds at the doors of a
// running server at once.
func TestAccounts(t *testing.T) {
	s := newSite(t)
	s.anyPorts()
	s.serve()
	s.organisation("ann", "bob")
	said := func(what string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", what, err, want)
		}
	}
	_, err := s.cli("Password2026\n", "user", "passwd", "ann@"+domain, "--password-stdin")
	said("a common password", err, "guessed first")
	s.must("policy", "set", "long", "--for", "ann@"+domain, "--min-length", "20", "--precedence", "1")
	_, err = s.cli("Sixteen-chars-77\n", "user", "passwd", "ann@"+domain, "--password-stdin")
	said("a short password", err, "shorter than 20 characters")
	if out := s.must("policy", "show", "--of", "ann@"+domain); !strings.Contains(out, "long") {
		t.Errorf("the policy of ann is\n%s", out)
	}
	s.must("policy", "remove", "long")

	s.must("user", "passwd", "ann@"+domain, "--must-change", "--keep")
	said("a password that must be changed", s.login("ann", password), "must be changed")
	said("a wrong password", s.login("ann", "wrong"), "wrong user name or password")
	if _, err := s.cli("Quite-another-77\n", "user", "passwd", "ann@"+domain, "--password-stdin"); err != nil {
		t.Fatal(err)
	}
	if err := s.login("ann", "Quite-another-77"); err != nil {
		t.Errorf("the new password: %v", err)
	}
	s.must("user", "expire", "ann@"+domain, "--on", "2020-01-31")
	said("an account that has ended", s.login("ann", "Quite-another-77"), "the account has expired")
	s.must("user", "expire", "ann@"+domain, "--never")
	s.must("user", "unlock", "ann@"+domain)

	var app struct{ Name, Password string }
	if err := json.Unmarshal([]byte(s.must("user", "app-password", "add", "bob@"+domain, "Phone", "--json")), &app); err != nil || app.Name != "Phone" {
		t.Fatalf("app-password add gave %+v, %v", app, err)
	}
	if err := s.login("bob", app.Password); err != nil {
		t.Errorf("an application password: %v", err)
	}
	if out := s.must("user", "app-password", "list", "bob@"+domain); !strings.Contains(out, "Phone") || !strings.Contains(out, "imap") {
		t.Errorf("the list is\n%s", out)
	}
	s.must("user", "app-password", "remove", "bob@"+domain, "phone")
	if err := s.login("bob", app.Password); err == nil {
		t.Error("a revoked application password signs in")
	}

	var key struct{ URL, Secret string }
	if err := json.Unmarshal([]byte(s.must("user", "totp", "enable", "bob@"+domain, "--json")), &key); err != nil || !strings.HasPrefix(key.URL, "otpauth://") {
		t.Fatalf("totp enable gave %+v, %v", key, err)
	}
	_, err = s.cli("", "user", "totp", "enable", "bob@"+domain, "--code", "12345")
	said("a wrong code", err, "the code is wrong")
	if out := s.must("user", "totp", "show", "bob@"+domain); !strings.Contains(out, "off") {
		t.Errorf("a factor that was only begun is\n%s", out)
	}

	log := s.must("audit", "list", "--object", "bob@"+domain, "--json")
	for _, want := range []string{`"remove application password"`, `"command line (`, `"add user"`} {
		if !strings.Contains(log, want) {
			t.Errorf("%s is not in the audit log:\n%s", want, log)
		}
	}
	for _, secret := range []string{app.Password, key.Secret, password, "argon2"} {
		if strings.Contains(log, secret) {
			t.Errorf("%q is in the audit log", secret)
		}
	}
	if out := s.must("audit", "list", "--by", "command line", "--since", "1h"); !strings.Contains(out, "add domain") {
		t.Errorf("the log of the last hour is\n%s", out)
	}
}
