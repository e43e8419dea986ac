package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
)

// said is what one run of the command line gave.
type said struct {
	out, err string
	code     int
}

// run calls the command line as the user given (nil: this process's).
func (s *site) run(as *syscall.Credential, stdin string, args ...string) said {
	s.t.Helper()
	return s.call(as, stdin, append(args, "--data", s.dir)...)
}

func (s *site) call(as *syscall.Credential, stdin string, args ...string) said {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "waypost"), args...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Dir = "/"
	cmd.Stdin = strings.NewReader(stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("waypost %s: %v", strings.Join(args, " "), err)
	}
	return said{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// anyPorts lets every door take a free port.
func (s *site) anyPorts() {
	for _, d := range doors {
		s.env = append(s.env, "WAYPOST_LISTEN_"+d+"=127.0.0.1:0")
	}
}

// TestCommandLine uses every command as an administrator does, right and wrong,
// for people and with --json.
func TestCommandLine(t *testing.T) {
	s := newSite(t)
	s.anyPorts()
	s.serve()
	home := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	people := file("people.csv", "address,name,password,alias,room\ncarl@example.org,Carl,Geheim-1234,c@example.org,\nroom2@example.org,Room 2,,,yes\n")
	badColumn := file("column.csv", "address,nam\nx@example.org,X\n")
	weak := file("weak.csv", "address,name,password\nx@example.org,X,abc\n")
	eml := file("mail/one.eml", "From: a@b.example\r\nSubject: one\r\n\r\nhello\r\n")
	cal := file("team.ics", "BEGIN:VCALENDAR\r\nX-WR-CALNAME:Team\r\nBEGIN:VEVENT\r\nUID:e\r\nDTSTART:20261124T100000Z\r\nEND:VEVENT\r\n"+
		"BEGIN:VTODO\r\nUID:t\r\nEND:VTODO\r\nEND:VCALENDAR\r\n")
	free := file("free.ics", "BEGIN:VCALENDAR\r\nBEGIN:VFREEBUSY\r\nUID:f\r\nEND:VFREEBUSY\r\nEND:VCALENDAR\r\n")
	conf := file("bad.toml", "[listen]\nsmpt = \"127.0.0.1:1\"\n")
	noCert := file("tls.toml", "[tls]\ncert = \"no.pem\"\nkey = \"no.key\"\n")
	exported := filepath.Join(home, "out")

	const pw = "Waypost-demo-1\n"
	for _, tt := range []struct {
		args  string // | separates
		stdin string
		code  int
		say   string // in the output, or in the error when code is not 0
	}{
		{"user|list", "", 0, "(none)"},
		{"domain|add|example.org", "", 0, "Waypost now receives mail for example.org"},
		{"domain|add|example.org", "", 1, "example.org is taken"},
		{"domain|list", "", 0, "example.org"},
		{"user|add|ann@example.org|--name|Ann Lee|--password-stdin", pw, 0, "Added ann@example.org."},
		{"user|add|ann@example.org|--name|Ann Lee|--password-stdin", pw, 1, "ann@example.org is taken"},
		{"user|add|bob@example.org|--name|Bob|--quota|50MiB|--ou|Sales/North", "", 0, "with the password "},
		{"user|add|x@example.org|--name|X|--password-stdin", "short\n", 1, "shorter than 8 characters"},
		{"user|add|x@example.org|--name|X|--password-stdin", "", 1, "standard input had no password"},
		{"user|add|x@example.org", "", 2, "--name=STRING; see: waypost user add --help"},
		{"user|add|x@example.org|--name|X|--quota|much", "", 2, `"much" is not a size like`},
		{"user|show|bob@example.org", "", 0, "50.0 MiB"},
		{"user|set|bob@example.org|--quota|1GiB|--title|Driver|--alias|b@example.org|--admin", "", 0, "Changed bob@example.org."},
		{"user|show|b@example.org", "", 0, "1.0 GiB"},
		{"user|passwd|bob@example.org|--password-stdin", pw, 0, "is changed"},
		{"user|passwd|bob@example.org", "", 1, "use --password-stdin"},
		{"user|disable|bob@example.org", "", 0, "bob@example.org is disabled."},
		{"user|enable|bob@example.org", "", 0, "bob@example.org is enabled."},
		{"user|rename|bob@example.org|robert@example.org", "", 0, "is now robert@example.org"},
		{"user|import|" + people, "", 0, "2 users added, 0 were there already."},
		{"user|import|" + people, "", 0, "0 users added, 2 were there already."},
		{"user|import|" + badColumn, "", 1, `unknown column "nam"`},
		{"user|import|" + weak, "", 1, "line 2, x@example.org: the password is shorter"},
		{"user|import|/nonexistent.csv", "", 2, "no such file"},
		{"user|list", "", 0, "enabled, admin"},
		{"user|remove|carl@example.org", "", 0, "Removed carl@example.org."},
		{"group|add|staff@example.org|--name|Staff|--member|ann@example.org|--member|robert@example.org", "", 0, "has 2 members"},
		{"group|add|staff@example.org|--member|nobody@example.org", "", 1, "nobody here has the address"},
		{"group|show|staff@example.org", "", 0, "ann@example.org"},
		{"group|remove|staff@example.org|--member|ann@example.org", "", 0, "Removed 1 member from"},
		{"domain|remove|example.org", "", 1, "still has users or groups"},
		{"mailbox|import|ann@example.org|" + filepath.Dir(eml), "", 0, "1 message imported into ann@example.org, 0 were there already."},
		{"mailbox|import|ann@example.org|" + filepath.Dir(eml), "", 0, "0 messages imported into ann@example.org, 1 were there already."},
		{"mailbox|import|ann@example.org|" + eml + "|--folder|Old/Stuff", "", 0, "1 message imported"},
		{"mailbox|import|ann@example.org|" + people, "", 1, "there is no message in"},
		{"mailbox|show|ann@example.org", "", 0, "Old/Stuff"},
		{"mailbox|show|robert@example.org", "", 0, "0 items, 0 B of 1.0 GiB"},
		{"mailbox|export|ann@example.org|" + exported, "", 0, "2 messages written"},
		{"mailbox|export|ann@example.org|" + exported, "", 1, "is there already"},
		{"mailbox|import|ann@example.org|" + cal, "", 0, "2 objects added to ann@example.org, 0 changed, 0 were there already."},
		{"mailbox|import|ann@example.org|" + cal, "", 0, "0 objects added to ann@example.org, 0 changed, 2 were there already."},
		{"mailbox|import|ann@example.org|" + cal + "|--new-folder", "", 0, "2 objects added"},
		{"mailbox|show|ann@example.org", "", 0, "Team (tasks)"},
		{"mailbox|export|ann@example.org|" + exported + "2", "", 0, "2 messages and 4 objects written"},
		{"device|list|ann@example.org", "", 0, "(none)"},
		{"device|wipe|ann@example.org|ABC", "", 1, "ann@example.org has no phone ABC"},
		{"queue|list", "", 0, "(none)"},
		{"queue|show|x", "", 2, "see: waypost queue show --help"},
		{"queue|list|--state|lost", "", 2, "--state must be one of"},
		{"config|check", "", 0, "The configuration is right."},
		{"config|check|--config|" + conf, "", 1, "bad.toml:2: there is no key listen.smpt; did you mean listen.smtp?"},
		{"config|check|--config|" + noCert, "", 1, "tls.cert and tls.key"},
		{"links|init", "", 0, "The certificates are in"},
		{"migrate|--roles", "", 0, "directory  version"},
		{"ready", "", 0, "doors answer"},
		{"doctor|--local", "", 0, "PostgreSQL"},
		{"frob", "", 2, "unexpected argument frob; see: waypost --help"},
		{"user", "", 2, "see: waypost user --help"},
	} {
		args := strings.Split(tt.args, "|")
		got := s.run(nil, tt.stdin, args...)
		text, other := got.out, got.err
		if tt.code != 0 {
			text, other = got.err, got.out
		}
		if got.code != tt.code || !strings.Contains(text, tt.say) || other != "" {
			t.Errorf("waypost %q: exit %d, output %q, error %q; want %d and %q", args, got.code, got.out, got.err, tt.code, tt.say)
		}
		if tt.code != 0 && strings.Count(got.err, "\n") != 1 {
			t.Errorf("waypost %q: not one line: %q", args, got.err)
		}
	}

	// What was refused is told; the command ends with an error all the same.
	if got := s.run(nil, "", "mailbox", "import", "ann@example.org", free); got.code != 1 || !strings.Contains(got.out, "free.ics, line 2, UID f: VFREEBUSY is no event") || !strings.Contains(got.err, "1 object was refused") {
		t.Errorf("import of what is no object: %+v", got)
	}

	// The same for programs: JSON and nothing else, on standard output when it
	// went well and on standard error when not.
	for _, args := range []string{
		"user|show|ann@example.org", "user|show|x@example.org", "group|show|staff@example.org", "mailbox|show|ann@example.org",
		"device|list|ann@example.org", "queue|list", "queue|show|x", "config|check|--config|" + conf, "migrate", "ready", "doctor|--local",
		"user|add|eve@example.org|--name|Eve", "mailbox|import|ann@example.org|" + eml, "mailbox|import|ann@example.org|" + cal, "user|import|" + people,
	} {
		got := s.run(nil, "", append(strings.Split(args, "|"), "--json")...)
		text, other := got.out, got.err
		if got.code != 0 {
			text, other = got.err, got.out
		}
		if !json.Valid([]byte(text)) || strings.TrimSpace(text) == "null" || other != "" {
			t.Errorf("waypost %s --json: exit %d, output %q, error %q; want JSON on one of them", args, got.code, got.out, got.err)
		}
		if got.code != 0 && !strings.Contains(text, `"kind":`) {
			t.Errorf("waypost %s --json: %s names no kind of error", args, text)
		}
	}

	s.stopAll()
	// Without the server the directory and the mailboxes are still there.
	if got := s.run(nil, "", "user", "list"); got.code != 0 || !strings.Contains(got.out, "ann@example.org") {
		t.Errorf("user list after the end: %+v", got)
	}
	if got := s.run(nil, "", "ready"); got.code != 1 || !strings.Contains(got.err, "nothing runs on the data folder") {
		t.Errorf("ready after the end: %+v", got)
	}
	if got := s.run(nil, "", "doctor", "--local"); got.code != 0 || !strings.Contains(got.out, "start it: waypost serve") {
		t.Errorf("doctor after the end: %+v", got)
	}
}

// postmaster is the process id of the private cluster's server; 0 without one.
func (s *site) postmaster() int {
	text, _ := os.ReadFile(filepath.Join(s.dir, "pg", "pgdata", "postmaster.pid"))
	first, _, _ := strings.Cut(string(text), "\n")
	pid, _ := strconv.Atoi(first)
	return pid
}

func alive(pid int) bool { return pid > 0 && syscall.Kill(pid, 0) == nil }

// ended waits for the end of a program and gives its exit status.
func (p *proc) ended(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		t.Fatalf("process %d did not end within %v", p.cmd.Process.Pid, within)
		return -1
	}
}

// TestServeLives kills, doubles and ends waypost serve.
func TestServeLives(t *testing.T) {
	s := newSite(t)
	s.anyPorts()
	s.serve()
	s.organisation("ann")
	first := s.proc["waypost"]

	second := s.run(nil, "", "serve")
	if second.code != 1 || !strings.Contains(second.err, fmt.Sprintf("(process %d) is running on the data folder", first.cmd.Process.Pid)) {
		t.Errorf("a second serve: %+v", second)
	}
	if got := s.run(nil, "", "ready"); got.code != 0 {
		t.Errorf("the first serve after the second: %+v\n%s", got, s.logTail())
	}

	// Killed, it leaves its files and its database server behind.
	_ = first.cmd.Process.Kill()
	<-first.done
	if _, err := os.Stat(filepath.Join(s.dir, "run", "addresses.json")); err != nil {
		t.Error(err)
	}
	if got := s.run(nil, "", "ready"); got.code != 1 || !strings.Contains(got.err, "does not answer") {
		t.Errorf("ready after kill -9: %+v", got)
	}
	if got := s.run(nil, "", "user", "list"); got.code != 0 || !strings.Contains(got.out, "ann@") {
		t.Errorf("user list after kill -9: %+v", got)
	}
	s.serve()

	pg := s.postmaster()
	_ = syscall.Kill(pg, syscall.SIGKILL)
	eventually(t, 60*time.Second, "the database is back", func() error {
		if now := s.postmaster(); now == pg || !alive(now) {
			return fmt.Errorf("process %d", now)
		}
		return nil
	})
	s.waitReady()
	if got := s.run(nil, "", "user", "list"); got.code != 0 || !strings.Contains(got.out, "ann@") {
		t.Errorf("user list after the database was killed: %+v", got)
	}

	// Both at once, and the number of the dead server is now somebody else's.
	p, pg := s.proc["waypost"], s.postmaster()
	_ = p.cmd.Process.Kill()
	_ = syscall.Kill(pg, syscall.SIGKILL)
	<-p.done
	pidFile := filepath.Join(s.dir, "pg", "pgdata", "postmaster.pid")
	if text, err := os.ReadFile(pidFile); err == nil {
		stale := strings.Replace(string(text), strconv.Itoa(pg), strconv.Itoa(os.Getpid()), 1)
		if err := os.WriteFile(pidFile, []byte(stale), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.serve()

	p, pg = s.proc["waypost"], s.postmaster()
	began := time.Now()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if code := p.ended(t, 10*time.Second); code != 0 {
		t.Errorf("SIGTERM: exit %d\n%s", code, s.logTail())
	}
	t.Logf("ended %v after SIGTERM", time.Since(began))
	if alive(pg) {
		t.Errorf("the database server (process %d) is still there", pg)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "run", "addresses.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("addresses.json after the end: %v", err)
	}
}

// TestServeAsOrdinaryUser runs the private cluster as nobody; root's commands
// must leave it usable for nobody, and other users get a clear answer.
func TestServeAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the other tests run as an ordinary user already; trying another one takes root")
	}
	credential := func(name string) *syscall.Credential {
		u, err := user.Lookup(name)
		if err != nil {
			t.Skipf("there is no user %s here", name)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	nobody, stranger := credential("nobody"), credential("daemon")
	s := newSite(t)
	s.anyPorts()
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(s.dir, int(nobody.Uid), int(nobody.Gid)); err != nil {
		t.Fatal(err)
	}
	serve := func() {
		t.Helper()
		s.startAs(nobody, s.env, "waypost", "serve", "--data", s.dir)
		s.waitReady()
	}
	serve()
	s.organisation("ann") // as root, beside the running server
	if got := s.run(nobody, "", "user", "list"); got.code != 0 || !strings.Contains(got.out, "ann@") {
		t.Errorf("user list as the owner: %+v", got)
	}
	if got := s.run(stranger, "", "user", "list"); got.code != 1 || !strings.Contains(got.err, "run it as root, or as the user that owns the data folder") {
		t.Errorf("user list as a stranger: %+v", got)
	}
	s.stopAll()
	if got := s.run(nil, "", "user", "list"); got.code != 0 || !strings.Contains(got.out, "ann@") {
		t.Errorf("user list as root, stopped: %+v", got)
	}
	serve()
	if got := s.run(nobody, "", "user", "list"); got.code != 0 || !strings.Contains(got.out, "ann@") {
		t.Errorf("user list as the owner, after root: %+v", got)
	}
}

// TestDemoStaysAtHome: its passwords are known to everybody.
func TestDemoStaysAtHome(t *testing.T) {
	s := newSite(t)
	s.anyPorts()
	s.env = append(s.env, "WAYPOST_LISTEN_IMAP=0.0.0.0:0", "WAYPOST_LISTEN_SMTP=0.0.0.0:0")
	got := s.run(nil, "", "serve", "--demo")
	if got.code != 1 || !strings.Contains(got.err, "these doors are open to other machines: imap, smtp; listen on 127.0.0.1") {
		t.Errorf("got %+v", got)
	}
	if alive(s.postmaster()) {
		t.Error("the database server is still there")
	}
	if _, err := os.Stat(filepath.Join(s.dir, "run", "addresses.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("addresses.json: %v", err)
	}
}

// TestOperating is an administrator's day: phones, the queue, what was deleted
// by mistake, and a backup that is restored elsewhere.
func TestOperating(t *testing.T) {
	s := newSite(t)
	s.anyPorts()
	// Nobody answers there: mail for others waits in the queue.
	s.env = append(s.env, "WAYPOST_SMTP_SMART_HOST=127.0.0.1:1")
	s.serve()
	s.organisation("alice")
	const alice = "alice@" + domain
	want := func(say string, args ...string) string {
		t.Helper()
		got := s.run(nil, "", args...)
		if got.code != 0 || !strings.Contains(got.out, say) {
			t.Errorf("waypost %q: exit %d, output %q, error %q; want %q", args, got.code, got.out, got.err, say)
		}
		return got.out
	}

	p := s.phone("alice", "ABC123", "14.1")
	// The running server hears of a new account within a second.
	eventually(t, 20*time.Second, "the first sign-in", func() error { return p.provision(t.Context()) })
	if err := p.folderSync(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("abc123", "device", "list", alice)
	want("TestPhone", "device", "show", alice, "ABC123")
	want("is refused from now on", "device", "block", alice, "abc123")
	if err := p.folderSync(t.Context()); err == nil {
		t.Error("a blocked phone is served")
	}
	want("is accepted again", "device", "allow", alice, "abc123")
	if err := p.folderSync(t.Context()); err != nil {
		t.Errorf("an allowed phone: %v", err)
	}
	want("is erased at its next contact", "device", "wipe", alice, "abc123")
	want("wipe pending", "device", "list", alice)
	if err := p.folderSync(t.Context()); err == nil {
		t.Error("a phone that is to be wiped is served")
	}
	want("is taken back", "device", "wipe", alice, "abc123", "--cancel")
	want("is forgotten", "device", "remove", alice, "abc123")
	want("(none)", "device", "list", alice)
	if err := p.provision(t.Context()); err != nil {
		t.Errorf("a forgotten phone sets itself up: %v", err)
	}

	if err := p.send(t.Context(), "1", []byte("From: "+alice+"\r\nTo: far@example.net\r\nSubject: far\r\n\r\nhello\r\n")); err != nil {
		t.Fatal(err)
	}
	var list []struct {
		ID int64
		To []struct{ Address, State string }
	}
	eventually(t, 30*time.Second, "the message is in the queue", func() error {
		if err := json.Unmarshal([]byte(s.must("queue", "list", "--json")), &list); err != nil || len(list) != 1 {
			return fmt.Errorf("%+v, %v", list, err)
		}
		return nil
	})
	id := strconv.FormatInt(list[0].ID, 10)
	want("far@example.net", "queue", "list", "--domain", "example.net")
	want("(none)", "queue", "list", "--domain", "example.org")
	want("to       far@example.net: queued", "queue", "show", id)
	want("Held: 1 recipient.", "queue", "hold", id)
	want("held", "queue", "list", "--state", "held")
	want("Go on: 1 recipient.", "queue", "release", "all")
	want("Tried again now: 1 recipient.", "queue", "retry", id)
	want("Removed, with 1 recipient.", "queue", "delete", id)
	want("(none)", "queue", "list")

	if err := deliver(s.addr["smtp"], "x@example.net", [][]string{{alice}, {alice}}, func(i int) io.Reader {
		return strings.NewReader(fmt.Sprintf("From: x@example.net\r\nSubject: number %d\r\n\r\nhello\r\n", i))
	}, func(int) {}); err != nil {
		t.Fatal(err)
	}
	c := s.imap("alice", nil)
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	all := imap.SeqSet{}
	all.AddRange(1, 2)
	if err := c.Store(all, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Expunge().Close(); err != nil {
		t.Fatal(err)
	}
	var gone []struct {
		ID      string
		Subject string
		Folder  string
	}
	if err := json.Unmarshal([]byte(s.must("mailbox", "deleted", alice, "--json")), &gone); err != nil || len(gone) != 2 || gone[0].Folder != "Inbox" || !strings.HasPrefix(gone[0].Subject, "number ") {
		t.Fatalf("deleted items: %+v, %v", gone, err)
	}
	want("Restored 1 item.", "mailbox", "restore", alice, gone[0].ID)
	want(gone[1].Subject, "mailbox", "deleted", alice)
	want("Restored 1 item.", "mailbox", "restore", alice, "--since", "1h", "--folder", "Found again")
	want("(none)", "mailbox", "deleted", alice)
	if got := want("Found again", "mailbox", "show", alice); !strings.Contains(got, "\n3 items, ") { // and the one sent
		t.Errorf("after restoring: %s", got)
	}
	if got := s.run(nil, "", "mailbox", "restore", alice, "M999"); got.code != 1 || !strings.Contains(got.err, "no deleted item has the number M999") {
		t.Errorf("restore of what is not there: %+v", got)
	}

	dump := filepath.Join(t.TempDir(), "waypost.dump")
	if got := s.database("pg_dump", "-Fc", "-f", dump); got.code != 0 {
		t.Fatalf("pg_dump: %+v", got)
	}
	if got := s.database("frob"); got.code != 1 || !strings.Contains(got.err, "there is no program frob") {
		t.Errorf("a program that is not there: %+v", got)
	}
	s.stopAll()
	other := s.with(t)
	other.dir = filepath.Join(filepath.Dir(s.dir), "restored")
	if got := other.run(nil, "", "migrate"); got.code != 0 {
		t.Fatalf("a fresh data folder: %+v", got)
	}
	if got := other.database("pg_restore", "--clean", "--if-exists", "--single-transaction", "-d", "waypost", dump); got.code != 0 {
		t.Fatalf("pg_restore: %+v", got)
	}
	if got := other.run(nil, "", "mailbox", "show", alice); got.code != 0 || !strings.Contains(got.out, "Found again") {
		t.Errorf("after pg_restore: %+v", got)
	}
}

// database runs a program of PostgreSQL, whose arguments come last.
func (s *site) database(program ...string) said {
	s.t.Helper()
	s.env = append(s.env, "WAYPOST_DATA="+s.dir)
	defer func() { s.env = s.env[:len(s.env)-1] }()
	return s.call(nil, "", append([]string{"database"}, program...)...)
}
