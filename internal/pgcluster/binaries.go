package pgcluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"waypost/internal/fault"
)

// MinMajor is the oldest PostgreSQL that the product works with.
const MinMajor = 15

// Binaries is an installation of the PostgreSQL server.
type Binaries struct {
	Dir   string // holds initdb, postgres and pg_ctl
	Major int    // 15, 16, ...
}

// Path names one of its programs.
func (b Binaries) Path(program string) string { return filepath.Join(b.Dir, program) }

// debianDirs is where Debian keeps the server: outside of PATH.
var debianDirs = "/usr/lib/postgresql/*/bin"

// Find looks for the newest PostgreSQL server of version 15 or later, in PATH
// and in Debian's folders. It answers Unavailable with the command that
// installs one.
func Find(ctx context.Context) (Binaries, error) {
	dirs, _ := filepath.Glob(debianDirs)
	if p, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(p); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	var best Binaries
	var old []string
	for _, dir := range dirs {
		b, err := inspect(ctx, dir)
		switch {
		case err != nil:
		case b.Major < MinMajor:
			old = append(old, fmt.Sprintf("%d in %s", b.Major, dir))
		case b.Major > best.Major:
			best = b
		}
	}
	if best.Dir != "" {
		return best, nil
	}
	seen := "none found"
	if old != nil {
		seen = "found only " + strings.Join(old, ", ")
	}
	return Binaries{}, fault.New(fault.Unavailable,
		"PostgreSQL %d or newer is needed (%s): apt-get install postgresql", MinMajor, seen)
}

// FindMajor looks for the server of one version.
func FindMajor(ctx context.Context, major int) (Binaries, error) {
	dirs, _ := filepath.Glob(debianDirs)
	for _, dir := range dirs {
		if b, err := inspect(ctx, dir); err == nil && b.Major == major {
			return b, nil
		}
	}
	return Binaries{}, fault.New(fault.Unavailable, "PostgreSQL %d is not installed: apt-get install postgresql-%d", major, major)
}

// inspect asks the server in dir for its version.
func inspect(ctx context.Context, dir string) (Binaries, error) {
	for _, p := range []string{"postgres", "initdb"} {
		if _, err := exec.LookPath(filepath.Join(dir, p)); err != nil {
			return Binaries{}, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return Binaries{}, err
	}
	// postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1), or 18beta1
	_, rest, ok := strings.Cut(string(out), "(PostgreSQL) ")
	if !ok {
		return Binaries{}, fmt.Errorf("unexpected answer %q", out)
	}
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	major, err := strconv.Atoi(rest[:digits])
	if err != nil {
		return Binaries{}, fmt.Errorf("unexpected answer %q", out)
	}
	return Binaries{Dir: dir, Major: major}, nil
}

// Account is the system user that the server runs as.
type Account struct {
	Name     string
	UID, GID int
	other    bool // not the user of this process
}

// ServerAccount is this process's user or, as PostgreSQL refuses to run as
// root, the system user postgres when it is root.
func ServerAccount() (Account, error) {
	if uid := os.Geteuid(); uid != 0 {
		name := strconv.Itoa(uid)
		if u, err := user.LookupId(name); err == nil {
			name = u.Username
		}
		return Account{Name: name, UID: uid, GID: os.Getegid()}, nil
	}
	return account("postgres")
}

func account(name string) (Account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return Account{}, fault.From(fault.Unavailable, err,
			"PostgreSQL does not run as root and there is no system user %s: apt-get install postgresql", name)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return Account{}, err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return Account{}, err
	}
	return Account{Name: name, UID: uid, GID: gid, other: uid != os.Geteuid()}, nil
}

// Own gives a file or folder to the account.
func (a Account) Own(path string) error {
	if !a.other {
		return nil
	}
	return os.Lchown(path, a.UID, a.GID)
}

// Apply makes cmd run as the account, in a session of its own: a terminal's
// interrupt must reach the server through its supervisor only.
func (a Account) Apply(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if a.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.UID), Gid: uint32(a.GID)}
	}
	cmd.Dir = "/"
	cmd.Env = serverEnv()
}

// serverEnv is this process's environment without what would change the
// server's or initdb's mind (PGDATA, PGPORT, PGHOST, LC_*, ...).
func serverEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "LC_") || name == "LANG" || name == "LANGUAGE" ||
			strings.HasPrefix(name, "WAYPOST_") || name == "NOTIFY_SOCKET" {
			continue
		}
		env = append(env, kv)
	}
	return append(env, "LC_ALL=C", "TZ=UTC",
		// Backends free and ask for the same memory with every transaction; by
		// default glibc gives it back to the system each time, which was a sixth
		// of the server's processor time under delivery.
		"MALLOC_TRIM_THRESHOLD_=16777216", "MALLOC_TOP_PAD_=1048576")
}
