package pgcluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/internal/fault"
)

// helperVar makes the test binary an owner of the cluster in the folder that
// it names: it starts it, says so, and stops it when its input ends.
const helperVar = "PGCLUSTER_TEST_HELPER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperVar); dir != "" {
		os.Exit(helper(dir))
	}
	os.Exit(m.Run())
}

func helper(dir string) int {
	c, err := Start(context.Background(), Config{Dir: dir})
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println("started", c.Pid())
	_, _ = io.Copy(io.Discard, os.Stdin)
	c.Stop()
	fmt.Println("stopped")
	return 0
}

// folder is a short temporary path that every user can enter.
func folder(t *testing.T) string {
	t.Helper()
	if _, err := Find(t.Context()); err != nil {
		if os.Getenv("CI") == "true" || os.Getenv("WAYPOST_REQUIRE_POSTGRES") != "" {
			t.Fatal(err)
		}
		t.Skipf("no PostgreSQL for this test: %v", err)
	}
	dir, err := os.MkdirTemp("", "pgc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func start(t *testing.T, dir string) *Cluster {
	t.Helper()
	c, err := Start(t.Context(), Config{Dir: dir, Roles: []string{"waypost_mail"}, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

func run(t *testing.T, url, sql string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	_, err = c.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	return err
}

func ask(t *testing.T, url, sql string) string {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	var got string
	if err := c.QueryRow(t.Context(), sql).Scan(&got); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 30 s: %s", what)
}

func TestLife(t *testing.T) {
	dir := filepath.Join(folder(t), "deeper", "cluster")
	// A killed initdb leaves this.
	if err := os.MkdirAll(filepath.Join(filepath.Dir(dir), "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := start(t, dir)

	t.Run("settings", func(t *testing.T) {
		for name, want := range map[string]string{
			"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "data_checksums": "on",
			"server_encoding": "UTF8", "lc_collate": "C", "lc_ctype": "C", "TimeZone": "UTC", "jit": "off",
			"listen_addresses": "", "password_encryption": "scram-sha-256", "unix_socket_permissions": "0700",
		} {
			if got := ask(t, c.AdminURL(), "show "+name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		info, err := os.Stat(c.socket)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("socket folder has mode %v (%v), want 0700", info.Mode(), err)
		}
	})

	t.Run("who gets in", func(t *testing.T) {
		if err := run(t, c.AdminURL(), "create role waypost_mail login password '"+c.Password("waypost_mail")+"'; create role stranger login password '"+c.Password("stranger")+"'"); err != nil {
			t.Fatal(err)
		}
		if err := run(t, c.URL("waypost_mail"), "select 1"); err != nil {
			t.Errorf("the role: %v", err)
		}
		if err := run(t, c.URL("stranger"), "select 1"); err == nil {
			t.Error("a role that the configuration does not name got in")
		}
		if err := run(t, strings.Replace(c.AdminURL(), c.Password(superuser), "wrong", 1), "select 1"); err == nil {
			t.Error("a wrong password got in")
		}
		if err := run(t, c.AdminURL(), "alter system set fsync = off"); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("one owner", func(t *testing.T) {
		_, err := Start(t.Context(), Config{Dir: dir, Log: quiet()})
		if fault.Of(err) != fault.Conflict || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
			t.Errorf("got %v, want a Conflict that names process %d", err, os.Getpid())
		}
		j, err := Join(t.Context(), Config{Dir: dir, Log: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		if j.URL("waypost_mail") != c.URL("waypost_mail") {
			t.Errorf("joined %s, want %s", j.URL("waypost_mail"), c.URL("waypost_mail"))
		}
		j.Stop() // stops nothing
	})

	if err := run(t, c.AdminURL(), "create table kept as select 1 as i"); err != nil {
		t.Fatal(err)
	}

	t.Run("a backend is killed", func(t *testing.T) {
		before := c.Pid()
		conn, err := pgx.Connect(t.Context(), c.AdminURL())
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(int(conn.PgConn().PID()), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close(t.Context())
		eventually(t, "health after the recovery", func() bool { return run(t, c.AdminURL(), "insert into kept values (2)") == nil })
		if c.Pid() != before {
			t.Errorf("the postmaster changed from %d to %d", before, c.Pid())
		}
	})

	t.Run("the postmaster is killed", func(t *testing.T) {
		for range 2 {
			before := c.Pid()
			// A busy backend holds the shared memory on.
			go func() { _ = run(t, c.AdminURL(), "select count(*) from generate_series(1, 100000000)") }()
			time.Sleep(100 * time.Millisecond)
			if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a new server", func() bool { return c.Pid() != before && c.Pid() != 0 && c.Health(t.Context()) == nil })
		}
	})

	t.Run("everything is killed", func(t *testing.T) {
		before := c.Pid()
		for _, pid := range strays(filepath.Join(c.home, dataDir)) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		eventually(t, "a new server", func() bool { return c.Pid() != before && c.Pid() != 0 && c.Health(t.Context()) == nil })
	})

	t.Run("stop and start again", func(t *testing.T) {
		began := time.Now()
		c.Stop()
		c.Stop()
		if d := time.Since(began); d > 9*time.Second {
			t.Errorf("the stop took %v", d)
		}
		if left := strays(filepath.Join(c.home, dataDir)); len(left) > 0 {
			t.Errorf("processes %v are left", left)
		}
		leaveStaleFiles(t, c)
		c = start(t, dir)
		if got := ask(t, c.AdminURL(), "select sum(i)::text from kept"); got != "3" {
			t.Errorf("sum %s, want 3", got)
		}
		if got := ask(t, c.AdminURL(), "show fsync"); got != "on" {
			t.Errorf("ALTER SYSTEM could turn fsync %s", got)
		}
		c.Stop()
	})

	t.Run("another major version", func(t *testing.T) {
		version := filepath.Join(c.home, dataDir, "PG_VERSION")
		if err := os.WriteFile(version, []byte("13\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Start(t.Context(), Config{Dir: dir, Log: quiet()})
		if fault.Of(err) != fault.Unavailable {
			t.Fatalf("got %v, want Unavailable", err)
		}
		for _, want := range []string{"pg_upgrade", "PostgreSQL 13", c.home, "postgresql-13"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not name %q", err, want)
			}
		}
	})
}

// leaveStaleFiles puts the marks of a running server there, with the id of a
// process that lives and, as after a restart of the machine, is another's.
func leaveStaleFiles(t *testing.T, c *Cluster) {
	t.Helper()
	other := exec.Command("sleep", "60")
	c.acc.Apply(other)
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	})
	text := fmt.Sprintf("%d\n%s\n1700000000\n5432\n%s\n", other.Process.Pid, filepath.Join(c.home, dataDir), c.socket)
	for path, text := range map[string]string{
		filepath.Join(c.home, dataDir, pidName):            text,
		filepath.Join(c.socket, ".s.PGSQL.5432.lock"):      text,
		filepath.Join(c.socket, ".s.PGSQL.5432"):           "not even a socket",
		filepath.Join(c.home, passwordFile):                "left by a killed initdb",
		filepath.Join(c.home, dataDir+".new", "PG_DEBRIS"): "left by a killed initdb",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// An owner is killed; the next one finds its server running.
func TestOwnerIsKilled(t *testing.T) {
	dir := filepath.Join(folder(t), "cluster")
	owner, _, said := startHelper(t, dir, nil)
	pid := helperPid(t, said)
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	if syscall.Kill(pid, 0) != nil {
		t.Fatalf("the server %d is gone already", pid)
	}
	c := start(t, dir)
	if c.Pid() == pid || isServer(pid, filepath.Join(c.home, dataDir)) {
		t.Errorf("the server %d of the killed owner is still there", pid)
	}
	if err := c.Health(t.Context()); err != nil {
		t.Error(err)
	}
}

func startHelper(t *testing.T, dir string, as *Account) (*exec.Cmd, io.WriteCloser, *bufio.Scanner) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	if as != nil { // go test's own folder is closed to others
		cmd = exec.Command(copyOf(t, self))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(as.UID), Gid: uint32(as.GID)}}
		cmd.Dir = "/"
	}
	cmd.Env = append(os.Environ(), helperVar+"="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, in, bufio.NewScanner(out)
}

func copyOf(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(folder(t), "helper")
	if err := os.WriteFile(to, text, 0o755); err != nil {
		t.Fatal(err)
	}
	return to
}

func helperPid(t *testing.T, said *bufio.Scanner) int {
	t.Helper()
	for said.Scan() {
		if n, ok := strings.CutPrefix(said.Text(), "started "); ok {
			pid, err := strconv.Atoi(n)
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
		t.Fatalf("the helper said %q", said.Text())
	}
	t.Fatal("the helper said nothing")
	return 0
}

// Run as root, this plays an ordinary user; and then root on that user's cluster.
func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("every other test has played the ordinary user already")
	}
	nobody, err := account("nobody")
	if err != nil {
		t.Skip(err)
	}
	base := folder(t)
	if err := nobody.Own(base); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, "cluster")
	cmd, in, said := startHelper(t, dir, &nobody)
	pid := helperPid(t, said)
	if st, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid))); err != nil || int(st.Sys().(*syscall.Stat_t).Uid) != nobody.UID {
		t.Errorf("the server does not run as nobody (%v)", err)
	}
	in.Close()
	if !said.Scan() || said.Text() != "stopped" {
		t.Errorf("the helper said %q", said.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	c := start(t, dir)
	if c.acc.Name != "nobody" {
		t.Errorf("root runs it as %s, want nobody, its owner", c.acc.Name)
	}
	c.Stop()

	// And the other way round: nobody cannot run what root made.
	theirs := filepath.Join(base, "theirs")
	if err := os.MkdirAll(filepath.Join(theirs, dataDir), 0o777); err != nil {
		t.Fatal(err)
	}
	_, _, said = startHelper(t, theirs, &nobody)
	if !said.Scan() || !strings.Contains(said.Text(), "error:") {
		t.Errorf("the helper said %q, want an error", said.Text())
	}
}

// Below a folder that the server's user cannot enter, and with a path longer
// than a socket's may be.
func TestOddPlaces(t *testing.T) {
	base := folder(t)
	long := filepath.Join(base, strings.Repeat("long", 30), "cluster")
	c := start(t, long)
	if len(c.socket) > socketMax || strings.HasPrefix(c.socket, base) {
		t.Errorf("socket in %s", c.socket)
	}
	if err := run(t, c.AdminURL(), "select 1"); err != nil {
		t.Error(err)
	}
	c.Stop()
	t.Cleanup(func() { _ = os.RemoveAll(c.socket) })

	if os.Geteuid() != 0 {
		return
	}
	old := exiled
	exiled = filepath.Join(base, "exile")
	t.Cleanup(func() { exiled = old })
	closed := filepath.Join(base, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c = start(t, filepath.Join(closed, "cluster"))
		if !strings.HasPrefix(c.home, exiled) {
			t.Errorf("kept in %s, want below %s", c.home, exiled)
		}
		c.Stop()
	}
	if err := os.Remove(filepath.Join(closed, "cluster")); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Config{Dir: filepath.Join(closed, "cluster"), Log: quiet()}); fault.Of(err) != fault.Conflict {
		t.Errorf("a forgotten cluster: got %v, want Conflict", err)
	}
}

func TestStartIsCancelled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	dir := filepath.Join(folder(t), "cluster")
	if _, err := Start(ctx, Config{Dir: dir, Log: quiet()}); err == nil {
		t.Fatal("no error")
	} else if !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(err.Error(), "killed") && fault.Of(err) != fault.Unavailable {
		t.Errorf("got %v", err)
	}
	if err := start(t, dir).Health(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNoServer(t *testing.T) {
	old := debianDirs
	debianDirs = "/nonexistent/*"
	t.Cleanup(func() { debianDirs = old })
	t.Setenv("PATH", "")
	if _, err := Find(t.Context()); fault.Of(err) != fault.Unavailable || !strings.Contains(err.Error(), "apt-get install postgresql") {
		t.Errorf("got %v", err)
	}
}
