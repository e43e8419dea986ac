package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waypost/internal/pgcluster"
	"waypost/migrations"
)

// TestSeparate runs the main job through the four programs, each a process of
// its own with the database role of its own, against one external PostgreSQL and
// with mutual TLS between them: the topology of docker-compose.yml.
func TestSeparate(t *testing.T) {
	s := newSeparate(t)
	s.startSeparate()
	mainJob(t, s)
}

// newSeparate prepares an external PostgreSQL and the configuration.
func newSeparate(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var roles []string
	for _, sc := range migrations.Schemas() {
		roles = append(roles, sc.Role())
	}
	// The test's own context ends before its clean-ups run.
	pg, err := pgcluster.Start(context.WithoutCancel(t.Context()), pgcluster.Config{Dir: filepath.Join(s.dir, "external"), Roles: roles, MaxConns: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pg.Stop)
	// Clean-ups run last in, first out: the programs end before their database.
	t.Cleanup(s.stopAll)

	s.addr = map[string]string{}
	var listen strings.Builder
	for _, d := range append(doors, "DIRECTORY", "RELAY") {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		name := strings.ToLower(d)
		s.addr[name] = l.Addr().String()
		fmt.Fprintf(&listen, "%s = %q\n", name, l.Addr())
		_ = l.Close()
	}
	conf := fmt.Sprintf("data = %q\nhostname = \"mail.example.test\"\n[listen]\n%s[links]\nlmtp = [%q]\ndirectory = \"https://%s\"\nrelay = %q\n[eas]\nheartbeat_min = \"1s\"\n",
		s.dir, listen.String(), s.addr["lmtp"], s.addr["directory"], s.addr["relay"])
	s.conf = filepath.Join(filepath.Dir(s.dir), "waypost.toml")
	if err := os.WriteFile(s.conf, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	s.env = []string{
		"WAYPOST_CONFIG=" + s.conf,
		"WAYPOST_DATABASE_DIRECTORY_URL=" + pg.URL(migrations.Directory.Role()),
		"WAYPOST_DATABASE_MAIL_URL=" + pg.URL(migrations.Mail.Role()),
		"WAYPOST_DATABASE_QUEUE_URL=" + pg.URL(migrations.Queue.Role()),
		"WAYPOST_DATABASE_ADMIN_URL=" + pg.AdminURL(),
	}
	s.must("migrate", "--roles")
	return s
}

// roleEnv is what one program may know: its own database and no other.
func roleEnv(all []string, role string) []string {
	own := map[string]string{"directory": "DIRECTORY_URL", "store": "MAIL_URL", "frontend": "MAIL_URL", "smtp": "QUEUE_URL"}[role]
	var env []string
	for _, e := range all {
		if strings.HasPrefix(e, "WAYPOST_DATABASE_") && !strings.HasPrefix(e, "WAYPOST_DATABASE_"+own) {
			continue
		}
		env = append(env, e)
	}
	// One machine, four programs: each shows its health elsewhere.
	return append(env, "WAYPOST_LISTEN_METRICS=127.0.0.1:0")
}

// startSeparate starts the four programs; the order does not matter, and they
// start at once so that nothing may depend on it.
func (s *site) startSeparate() {
	s.t.Helper()
	s.launch = map[string]func(){}
	s.await = func() {
		for _, role := range []string{"directory", "store", "smtp", "frontend"} {
			if out, err := s.cliAt(filepath.Join(s.dir, role), "", "ready", "--wait", "90s"); err != nil {
				s.t.Fatalf("%s is not ready: %v\n%s\n%s", role, err, out, s.logTail())
			}
		}
	}
	for _, role := range []string{"frontend", "smtp", "store", "directory"} {
		env := roleEnv(s.env, role)
		s.launch["waypost-"+role] = func() { s.startAs(nil, env, "waypost-"+role) }
		s.launch["waypost-"+role]()
	}
	s.await()
}
