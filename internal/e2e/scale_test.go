package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// TestClientsAtScale asks a directory of a real size by the tools that people
// have. WAYPOST_E2E_SCALE says how large it is made: lab (40,000 objects) without,
// tiny or production.
func TestClientsAtScale(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes a large organisation")
	}
	needLDAP(t)
	scale := os.Getenv("WAYPOST_E2E_SCALE")
	if scale == "" {
		scale = "lab"
	}
	s := newSite(t)
	s.anyPorts()
	s.serve()
	s.organisation("ann")
	s.must("user", "set", "ann@"+domain, "--admin")
	s.must("org", "generate", "--scale", scale)
	const base = "dc=example,dc=test"
	c, err := s.bind("ldaps", "ann", password)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // only the test's
	all, err := c.SearchWithPaging(goldap.NewSearchRequest(base, goldap.ScopeWholeSubtree, goldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"1.1"}, nil), 1000)
	if err != nil {
		t.Fatal(err)
	}
	n := len(all.Entries)
	t.Logf("%d objects", n)

	begun := time.Now()
	out, err := s.ldap("ldaps", "ann", "", "ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-E", "pr=1000/noprompt", "-b", base, "(objectClass=*)", "*", "+")
	names := map[string]int{}
	for line := range strings.SplitSeq(out, "\n") {
		if strings.HasPrefix(line, "dn:") {
			names[line]++
		}
	}
	if err != nil || len(names) != n {
		t.Errorf("pages: %d entries of %d, %v", len(names), n, err)
	}
	for name, times := range names {
		if times > 1 {
			t.Errorf("pages: %s came %d times", name, times)
		}
	}
	t.Logf("ldapsearch -E pr=1000: %v, %d MiB", time.Since(begun).Round(time.Millisecond), len(out)>>20)

	// Every domain, by the global catalog.
	every, err := s.ldap("gcs", "ann", "", "ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-E", "pr=1000/noprompt", "-b", "", "(objectClass=*)", "mail")
	count := strings.Count("\n"+every, "\ndn:")
	if err != nil || count < n {
		t.Errorf("the global catalog: %d entries, %v", count, err)
	}
	t.Logf("the global catalog has %d", count)

	// What is changed while a client follows is told to it once.
	follow := func(what string, tool string, args []string, entry, refreshed string, want int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, tool, args...)
		cmd.Env = append(os.Environ(), "LDAPTLS_REQCERT=never")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
		begun := time.Now()
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		told, changes, fresh := 0, 0, false
		for lines.Scan() {
			line := lines.Text()
			if strings.HasPrefix(line, refreshed) && !fresh {
				fresh = true
				t.Logf("%s: %d entries in %v", what, told, time.Since(begun).Round(time.Millisecond))
				if told != want {
					t.Errorf("%s: %d entries of %d", what, told, want)
				}
				go func() {
					time.Sleep(300 * time.Millisecond)
					for i := range 20 {
						dn := fmt.Sprintf("cn=%s %d,%s", tool, i, base)
						add := goldap.NewAddRequest(dn, nil)
						add.Attribute("objectClass", []string{"contact"})
						if err := c.Add(add); err != nil {
							t.Errorf("%s: %v", what, err)
						}
					}
				}()
			}
			if !strings.HasPrefix(line, entry) {
				continue
			}
			if !fresh {
				told++
			} else if changes++; strings.HasSuffix(line, " 19,DC=example,DC=test") {
				break
			}
		}
		if changes != 20 {
			t.Errorf("%s: told of 20 changes %d times", what, changes)
		}
	}
	follow("ldapsearch -E sync=rp", "ldapsearch", []string{
		"-x", "-H", "ldaps://" + s.addr["gcs"], "-D", "ann@" + domain, "-w", password, "-o", "ldif-wrap=no",
		"-E", "!sync=rp", "-b", "", "(objectClass=*)", "objectGUID",
	}, "dn:", "# refresh done", count)
	python := "/usr/bin/python3"
	if exec.Command(python, "-c", "import ldap3").Run() != nil {
		t.Log("python3-ldap3 is not installed")
		return
	}
	follow("ldap3's persistent search", python, []string{"-u", "-c", followPython, s.addr["ldaps"], "ann@" + domain, password, base}, "dn: ", "refreshed", 0)
}

const followPython = `
import ldap3, ssl, sys
host, port = sys.argv[1].split(":")
server = ldap3.Server(host, int(port), use_ssl=True, tls=ldap3.Tls(validate=ssl.CERT_NONE))
c = ldap3.Connection(server, sys.argv[2], sys.argv[3], client_strategy=ldap3.ASYNC_STREAM, auto_bind=True)
p = c.extend.standard.persistent_search(sys.argv[4], "(objectClass=*)", ldap3.SUBTREE, attributes=["cn"], changes_only=True, notifications=True, streaming=False)
print("refreshed")
while True:
    e = p.next(block=True, timeout=60)
    if e is None: break
    if e.get("type") == "searchResEntry": print("dn: " + e["dn"])
`
