package ldap

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The real clients: Debian's ldap-utils and python3-ldap3.

// tool runs one of ldap-utils as ann and gives its output and exit code, which
// is the result code.
func (w *world) tool(t *testing.T, in, name string, args ...string) (string, int) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed (Debian: ldap-utils)", name)
	}
	return w.runTool(t, in, path, append([]string{"-H", "ldap://" + w.addr, "-x", "-D", "ann@example.test", "-w", "secret"}, args...)...)
}

func (w *world) runTool(t *testing.T, in, path string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = environment(t)
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !asExit(err, &exit) {
		t.Fatalf("%s: %v", path, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// environment is that of the clients, with a configuration of its own.
func environment(t *testing.T) []string {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "ldap.conf")
	if err := os.WriteFile(conf, []byte("TLS_REQCERT never\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return append(os.Environ(), "LDAPCONF="+conf)
}

func asExit(err error, to **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError) //nolint:errorlint // exec gives it so
	*to = e
	return ok
}

func TestLdapUtils(t *testing.T) {
	w := start(t, func(c *Config) { c.MaxPage = 100 })
	w.crowd(250)
	const people = "OU=People,DC=example,DC=test"
	for _, tt := range []struct {
		what, in, name string
		args           []string
		code           int
		want           string // pattern
		count          int    // of lines with "dn: "
	}{
		{"rootDSE", "", "ldapsearch", []string{"-b", "", "-s", "base", "*", "+"}, 0, `(?s)namingContexts: DC=example,DC=test.*supportedLDAPVersion: 3`, 0},
		{"equality", "", "ldapsearch", []string{"-LLL", "-b", people, "(mail=ann@example.test)"}, 0, `userPrincipalName: ann@example.test`, 1},
		{"size limit", "", "ldapsearch", []string{"-b", people, "(cn=p*)", "1.1"}, 4, `Size limit exceeded`, 100},
		{"-z", "", "ldapsearch", []string{"-z", "5", "-b", people, "(cn=p*)", "1.1"}, 4, `numEntries: 5`, 5},
		{"pages", "", "ldapsearch", []string{"-E", "pr=40/noprompt", "-b", people, "(cn=p*)", "1.1"}, 0, `numEntries: 250`, 250},
		{"sort", "", "ldapsearch", []string{"-E", "sss=-cn", "-LLL", "-b", people, "(cn=p00*)", "cn"}, 0, `^dn: CN=p0099,`, 100},
		{"sorted pages", "", "ldapsearch", []string{"-E", "sss=sn", "-E", "pr=30/noprompt", "-LLL", "-b", people, "(cn=p*)", "cn"}, 0, `^dn: CN=p0249,`, 250},
		{"matched values", "", "ldapsearch", []string{"-E", "!mv=(objectClass=person)", "-LLL", "-b", people, "(cn=ann)", "objectClass"}, 0, `^dn: CN=ann[^\n]*\nobjectClass: person\n\n$`, 1},
		{"domain scope", "", "ldapsearch", []string{"-E", "!domainScope", "-b", "DC=example,DC=test", "-s", "one", "(ou=*)", "1.1"}, 0, `numEntries: 2`, 2},
		{"references", "", "ldapsearch", []string{"-b", "DC=example,DC=test", "(cn=ann)", "1.1"}, 0, `ref: ldap://ldap.example.test/DC=eu,DC=example,DC=test`, 1},
		{"manage DSA", "", "ldapsearch", []string{"-MM", "-b", "DC=example,DC=test", "(cn=ann)", "1.1"}, 0, `numEntries: 1`, 1},
		{"sync once", "", "ldapsearch", []string{"-E", "!sync=ro", "-b", people, "(sn=ann)", "cn"}, 0, `(?s)CN=ann,.*SyncState.*SyncDone`, 1},
		{"no such base", "", "ldapsearch", []string{"-b", "OU=None,DC=example,DC=test"}, 32, `matchedDN: DC=example,DC=test`, 0},
		{"an unknown control", "", "ldapsearch", []string{"-E", "!1.2.3.4", "-b", people}, 12, `Critical extension`, 0},
		{"start TLS", "", "ldapsearch", []string{"-ZZ", "-LLL", "-b", people, "(cn=ann)", "cn"}, 0, `cn: ann`, 1},
		{"whoami", "", "ldapwhoami", nil, 0, `u:EXAMPLE\\ann`, 0},
		{"whoami with PLAIN", "", "ldapwhoami", []string{"-Z"}, 0, `u:EXAMPLE\\ann`, 0},
		{"add", "dn: CN=New One," + people + "\nobjectClass: person\ncn: New One\nsn: One\ndescription:: w6R1w58=\n\ndn: CN=New Two," + people + "\nobjectClass: person\ncn: New Two\nsn: Two\n", "ldapadd", nil, 0, `adding new entry "CN=New Two`, 0},
		{"add again", "dn: CN=New One," + people + "\nobjectClass: person\ncn: New One\nsn: One\n", "ldapadd", nil, 68, `Already exists`, 0},
		{"what was added", "", "ldapsearch", []string{"-LLL", "-b", people, "(cn=new one)"}, 0, `description:: w6R1w58=`, 1},
		{"modify", "dn: CN=New One," + people + "\nchangetype: modify\nadd: mail\nmail: one@example.test\n-\nreplace: sn\nsn: Uno\n-\ndelete: description\n", "ldapmodify", nil, 0, `modifying entry`, 0},
		{"modify with pre-read and post-read", "dn: CN=New One," + people + "\nchangetype: modify\nreplace: sn\nsn: Eins\n", "ldapmodify", []string{"-e", "!preread=sn", "-e", "!postread=sn"}, 0, `(?s)==> preread.*sn: Uno.*==> postread.*sn: Eins`, 0},
		{"modify with a wrong assertion", "dn: CN=New One," + people + "\nchangetype: modify\nreplace: sn\nsn: x\n", "ldapmodify", []string{"-e", "!assert=(sn=Uno)"}, 122, `Assertion Failed`, 0},
		{"modify with a right assertion", "dn: CN=New One," + people + "\nchangetype: modify\nreplace: sn\nsn: Ein\n", "ldapmodify", []string{"-e", "!assert=(sn=Eins)"}, 0, `modifying entry`, 0},
		{"increment", "dn: CN=New One," + people + "\nchangetype: modify\nreplace: badPwdCount\nbadPwdCount: 5\n\ndn: CN=New One," + people + "\nchangetype: modify\nincrement: badPwdCount\nbadPwdCount: 2\n", "ldapmodify", nil, 0, `modifying entry`, 0},
		{"compare", "", "ldapcompare", []string{"CN=New One," + people, "badPwdCount:7"}, 6, `TRUE`, 0},
		{"compare with another", "", "ldapcompare", []string{"CN=New One," + people, "sn:Uno"}, 5, `FALSE`, 0},
		{"modrdn", "", "ldapmodrdn", []string{"-r", "-s", "OU=Groups,DC=example,DC=test", "CN=New One," + people, "CN=Moved"}, 0, ``, 0},
		{"where it is", "", "ldapsearch", []string{"-LLL", "-b", "OU=Groups,DC=example,DC=test", "(sn=Ein)", "1.1"}, 0, `dn: CN=Moved,OU=Groups`, 1},
		{"password of another", "", "ldappasswd", []string{"-s", "by-tool", "CN=bob," + people}, 0, ``, 0},
		{"a made-up one", "", "ldappasswd", []string{"CN=bob," + people}, 0, `New password: made-up-1`, 0},
		{"a wrong old one", "", "ldappasswd", []string{"-a", "wrong", "-s", "whatever", "CN=bob," + people}, 1, `00000056`, 0},
		{"delete", "", "ldapdelete", []string{"CN=New Two," + people}, 0, ``, 0},
		{"delete what is full", "", "ldapdelete", []string{"OU=Groups,DC=example,DC=test"}, 66, `not allowed on non-leaf`, 0},
		{"delete the tree", "", "ldapdelete", []string{"-e", "1.2.840.113556.1.4.805", "OU=Groups,DC=example,DC=test"}, -1, ``, 0},
	} {
		out, exit := w.tool(t, tt.in, tt.name, tt.args...)
		if tt.code >= 0 && exit != tt.code {
			t.Errorf("%s: code %d, want %d\n%s", tt.what, exit, tt.code, clip(out))
			continue
		}
		if !regexp.MustCompile(tt.want).MatchString(out) {
			t.Errorf("%s: no %q in\n%s", tt.what, tt.want, clip(out))
		}
		if n := len(regexp.MustCompile(`(?m)^dn: `).FindAllString(out, -1)); tt.count > 0 && n != tt.count {
			t.Errorf("%s: %d entries, want %d", tt.what, n, tt.count)
		}
	}
}

func clip(s string) string { return s[:min(len(s), 2000)] }

// TestLdapsearchSync follows changes with refreshAndPersist.
func TestLdapsearchSync(t *testing.T) {
	path, err := exec.LookPath("ldapsearch")
	if err != nil {
		t.Skip("ldapsearch is not installed (Debian: ldap-utils)")
	}
	w := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, path, "-H", "ldap://"+w.addr, "-x", "-D", "ann", "-w", "secret", "-E", "!sync=rp", "-b", "OU=People,DC=example,DC=test", "(objectClass=person)", "cn")
	cmd.Env = environment(t)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	lines := make(chan string, 1000)
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
		close(lines)
	}()
	await := func(want string) {
		t.Helper()
		var seen []string
		timeout := time.After(15 * time.Second)
		for {
			select {
			case line, ok := <-lines:
				if strings.Contains(line, want) {
					return
				}
				if seen = append(seen, line); ok {
					continue
				}
			case <-timeout:
			}
			t.Fatalf("no %q in\n%s\n%s", want, strings.Join(seen, "\n"), errs.String())
		}
	}
	await("dn: CN=bob,")
	await("refresh done")
	w.tree.put("CN=new,OU=People,DC=example,DC=test", "cn", "new", "objectClass", "person")
	await("dn: CN=new,")
	c := w.in(t)
	del := fmt.Sprintf("CN=new,%s", "OU=People,DC=example,DC=test")
	if err := c.Del(delRequest(del)); err != nil {
		t.Fatal(err)
	}
	await("no longer match")
}

// TestLdapsearchVLV scrolls in a list; the tool asks for another part for ever,
// so it is ended after the first.
func TestLdapsearchVLV(t *testing.T) {
	path, err := exec.LookPath("ldapsearch")
	if err != nil {
		t.Skip("ldapsearch is not installed (Debian: ldap-utils)")
	}
	w := start(t)
	w.crowd(250)
	for _, tt := range []struct{ vlv, first, last, position string }{
		{"2/3/50/0", "p0047", "p0052", "pos=50 count=250"},
		{"0/3:p0123", "p0123", "p0126", "pos=124 count=250"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		cmd := exec.CommandContext(ctx, path, "-H", "ldap://"+w.addr, "-x", "-D", "ann", "-w", "secret",
			"-E", "sss=cn", "-E", "!vlv="+tt.vlv, "-b", "OU=People,DC=example,DC=test", "(cn=p*)", "cn")
		cmd.Env = environment(t)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		b := make([]byte, 4096)
		_, _ = in.Write([]byte("\n")) // its output comes when it asks again
		for !strings.Contains(text.String(), tt.position) {
			n, err := out.Read(b)
			text.Write(b[:n])
			if err != nil {
				break
			}
		}
		cancel()
		_ = in.Close()
		_ = cmd.Wait()
		got := text.String()
		for _, want := range []string{"cn: " + tt.first, "cn: " + tt.last, tt.position} {
			if !strings.Contains(got, want) {
				t.Errorf("vlv=%s: no %q in\n%s", tt.vlv, want, clip(got))
			}
		}
	}
}

// TestPythonLdap3 lets a client of another make do everything.
func TestPythonLdap3(t *testing.T) {
	python := ldap3Python(t)
	w := start(t)
	w.crowd(1300)
	script := filepath.Join("testdata", "ldap3_client.py")
	out, exit := w.runTool(t, "", python, script, w.addr, w.secure)
	if exit != 0 {
		t.Errorf("code %d\n%s", exit, out)
	}
}

// ldap3Python is an interpreter that has ldap3.
func ldap3Python(t *testing.T) string {
	t.Helper()
	for _, p := range []string{"python3", "/usr/bin/python3"} {
		if path, err := exec.LookPath(p); err == nil && exec.Command(path, "-c", "import ldap3").Run() == nil {
			return path
		}
	}
	t.Skip("Python's ldap3 is not installed (Debian: python3-ldap3)")
	return ""
}
