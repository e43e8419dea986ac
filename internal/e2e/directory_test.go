package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
)

// ldap runs one of OpenLDAP's clients as a user.
func (s *site) ldap(door, user, stdin, tool string, args ...string) (string, error) {
	args = append([]string{"-x", "-H", "ldaps://" + s.addr[door], "-o", "tls_reqcert=never", "-D", user + "@" + domain, "-w", password}, args...)
	cmd := exec.Command(tool, args...)
	cmd.Env = append(os.Environ(), "LDAPTLS_REQCERT=never")
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", tool, err, errs.String())
	}
	return out.String(), nil
}

func needLDAP(t *testing.T) {
	if _, err := exec.LookPath("ldapsearch"); err != nil {
		t.Skip("ldapsearch is not installed: apt-get install ldap-utils")
	}
}

// accepts asks port 25 whether an address is somebody's.
func (s *site) accepts(address string) error {
	c, err := textproto.Dial("tcp", s.addr["smtp"])
	if err != nil {
		return err
	}
	defer c.Close()
	if _, _, err := c.ReadResponse(220); err != nil {
		return err
	}
	for _, line := range []string{"EHLO there.example.net", "MAIL FROM:<x@example.net>", "RCPT TO:<" + address + ">"} {
		if err := c.PrintfLine("%s", line); err != nil {
			return err
		}
		if _, _, err := c.ReadResponse(250); err != nil {
			return err
		}
	}
	return nil
}

// TestDirectory: what an administrator changes with an LDAP client is in force
// at the other doors within a second.
func TestDirectory(t *testing.T) {
	needLDAP(t)
	s := newSite(t)
	s.anyPorts()
	s.serve()
	s.organisation("ann", "bob")
	s.must("user", "set", "ann@"+domain, "--admin")

	for _, door := range []string{"ldaps", "gcs"} {
		out, err := s.ldap(door, "bob", "", "ldapsearch", "-LLL", "-b", "dc=example,dc=test", "(anr=ann)", "mail", "userPassword")
		if err != nil || !strings.Contains(out, "mail: ann@example.test") || strings.Contains(out, "userPassword") {
			t.Errorf("%s: %v\n%s", door, err, out)
		}
	}
	const bob = "dn: cn=Bob,dc=example,dc=test\nchangetype: modify\n"
	if _, err := s.ldap("ldaps", "bob", bob+"replace: title\ntitle: King\n", "ldapmodify"); err == nil || !strings.Contains(err.Error(), "Insufficient access") {
		t.Errorf("somebody made himself king: %v", err)
	}

	if err := s.accepts("robert@" + domain); err == nil {
		t.Fatal("the address is there already")
	}
	if _, err := s.ldap("ldaps", "ann", bob+"add: proxyAddresses\nproxyAddresses: smtp:robert@example.test\n", "ldapmodify"); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Second, "the new address at port 25", func() error { return s.accepts("robert@" + domain) })

	// Disabled by LDAP: no new sign-in, and the open connection ends.
	ended := make(chan struct{})
	c := s.imap("bob", &imapclient.Options{})
	go func() { <-c.Closed(); close(ended) }()
	if _, err := s.ldap("ldaps", "ann", bob+"replace: userAccountControl\nuserAccountControl: 514\n", "ldapmodify"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.tryIMAP("bob", nil); err == nil {
		t.Error("a disabled user signs in")
	}
	select {
	case <-ended:
	case <-time.After(2 * time.Second):
		t.Error("the connection of a disabled user goes on")
	}
	if _, err := s.ldap("ldaps", "bob", "", "ldapwhoami"); err == nil || !strings.Contains(err.Error(), "Invalid credentials") {
		t.Errorf("a disabled user binds: %v", err)
	}

	// A user made by LDAP has a mailbox when it has a home for one.
	const carl = "dn: cn=Carl,dc=example,dc=test\nchangetype: add\nobjectClass: user\nsAMAccountName: carl\n" +
		"mail: carl@example.test\nmailNickname: carl\n" +
		"homeMDB: cn=default,cn=Mailbox Databases,cn=Waypost,cn=Services,cn=Configuration,dc=example,dc=test\n"
	if _, err := s.ldap("ldaps", "ann", carl, "ldapmodify"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ldap("ldaps", "ann", "", "ldappasswd", "-s", password, "cn=Carl,dc=example,dc=test"); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Second, "the new user at port 25", func() error { return s.accepts("carl@" + domain) })
	s.imap("carl", nil)
	if out := s.must("user", "show", "carl@"+domain); !strings.Contains(out, "carl") {
		t.Errorf("the command line does not know carl:\n%s", out)
	}
}

// TestTwoDirectories: two waypost-directory on one database both take writes,
// and each shows the other's within a second; one that was killed catches up.
func TestTwoDirectories(t *testing.T) {
	needLDAP(t)
	s := newSeparate(t)
	programs := t.TempDir()
	if err := os.Chmod(programs, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"waypost": "waypost", "waypost-directory": "waypost-directory", "waypost-store": "waypost-store",
		"waypost-smtp": "waypost-smtp", "waypost-frontend": "waypost-frontend", "second": "waypost-directory",
	} {
		if err := os.Symlink(filepath.Join(s.bin, target), filepath.Join(programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	s.bin = programs
	s.startSeparate()
	s.organisation("ann")
	s.must("user", "set", "ann@"+domain, "--admin")

	second := append(roleEnv(s.env, "directory"), "WAYPOST_LISTEN_DIRECTORY=127.0.0.1:0")
	for _, d := range []string{"LDAP", "LDAPS", "GC", "GCS"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if d == "LDAPS" {
			s.addr["second"] = l.Addr().String()
		}
		second = append(second, "WAYPOST_LISTEN_"+d+"="+l.Addr().String())
		_ = l.Close()
	}
	begin := func() *proc { return s.startAs(nil, second, "second") }
	p := begin()
	answers := func() error {
		_, err := s.ldap("second", "ann", "", "ldapwhoami")
		return err
	}
	eventually(t, 30*time.Second, "the second directory", answers)

	add := func(door, ou string) {
		t.Helper()
		if _, err := s.ldap(door, "ann", "dn: ou="+ou+",dc=example,dc=test\nchangetype: add\nobjectClass: organizationalUnit\n", "ldapmodify"); err != nil {
			t.Fatal(err)
		}
	}
	sees := func(door, ou string) {
		t.Helper()
		eventually(t, time.Second, ou+" at "+door, func() error {
			out, err := s.ldap(door, "ann", "", "ldapsearch", "-LLL", "-b", "dc=example,dc=test", "(ou="+ou+")", "ou")
			if err == nil && !strings.Contains(out, "ou: "+ou) {
				err = errors.New("it is not there")
			}
			return err
		})
	}
	for i := range 5 {
		one, two := fmt.Sprintf("One %d", i), fmt.Sprintf("Two %d", i)
		add("ldaps", one)
		sees("second", one)
		add("second", two)
		sees("ldaps", two)
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	add("ldaps", "Meanwhile")
	begin()
	eventually(t, 30*time.Second, "the second directory", answers)
	sees("second", "Meanwhile")
	add("second", "Again")
	sees("ldaps", "Again")
}
