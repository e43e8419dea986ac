package pgcluster

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"waypost/internal/fault"
)

const (
	dataDir = "pgdata" // inside the cluster's folder
	pidName = "postmaster.pid"
	// socketMax is how long the path of a socket's folder may be, in bytes: 108
	// of sockaddr_un less the NUL and "/.s.PGSQL.5432".
	socketMax = 108 - 1 - len("/.s.PGSQL.5432")
)

// exiled is where a cluster goes that root keeps in a place which the server's
// user cannot reach, such as below /root.
var exiled = "/var/lib/waypost"

// settle makes the cluster's folder and tells who runs the server there.
func settle(dir string, log *slog.Logger) (Account, string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Account{}, "", err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return Account{}, "", err
	}
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		acc, err := ServerAccount()
		if err != nil {
			return acc, "", err
		}
		if closed := unreachable(filepath.Dir(dir), acc); closed != "" {
			if err := exile(dir, closed, acc, log); err != nil {
				return acc, "", err
			}
		} else if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return acc, "", err
		} else if err := acc.Own(dir); err != nil {
			return acc, "", err
		}
	}
	home, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return Account{}, "", err
	}
	acc, err := owner(home)
	if err != nil {
		return acc, "", err
	}
	if closed := unreachable(filepath.Dir(home), acc); closed != "" {
		return acc, "", fault.New(fault.Denied, "%s cannot be entered by the user %s who runs PostgreSQL: chmod o+x %s, or choose another data folder", closed, acc.Name, closed)
	}
	return acc, home, os.Chmod(home, 0o700)
}

// owner tells who runs the server of an existing cluster: whoever made it, as
// PostgreSQL insists on.
func owner(home string) (Account, error) {
	acc, err := ServerAccount()
	if err != nil {
		return acc, err
	}
	info, err := os.Stat(filepath.Join(home, dataDir))
	if errors.Is(err, os.ErrNotExist) {
		return acc, acc.Own(home)
	}
	if err != nil {
		return acc, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) == acc.UID {
		return acc, nil
	}
	u, err := user.LookupId(strconv.Itoa(int(st.Uid)))
	if err != nil || os.Geteuid() != 0 || st.Uid == 0 {
		return acc, fault.New(fault.Denied, "the cluster in %s belongs to user id %d, not to %s: run as its owner or as root", home, st.Uid, acc.Name)
	}
	return account(u.Username)
}

// exile makes the folder elsewhere and a symbolic link to it.
func exile(dir, closed string, acc Account, log *slog.Logger) error {
	home := filepath.Join(exiled, "cluster-"+shortHash(dir))
	if err := os.MkdirAll(exiled, 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(home, 0o700); err != nil {
		if !errors.Is(err, os.ErrExist) {
			return err
		}
		if entries, err := os.ReadDir(home); err != nil || len(entries) > 0 {
			return fault.New(fault.Conflict, "%s is left from an earlier cluster at %s: link it back with ln -s %s %s, or remove it", home, dir, home, dir)
		}
	}
	if err := acc.Own(home); err != nil {
		return err
	}
	log.Warn("cluster is kept outside of the data folder, which the server's user cannot enter",
		slog.String("closed", closed), slog.String("user", acc.Name), slog.String("kept", home))
	return os.Symlink(home, dir)
}

// unreachable names the first folder on the way to dir that the account cannot
// enter, or "".
func unreachable(dir string, acc Account) string {
	if !acc.other {
		return ""
	}
	var way []string
	for d := dir; ; d = filepath.Dir(d) {
		way = append([]string{d}, way...)
		if d == filepath.Dir(d) {
			break
		}
	}
	for _, d := range way {
		info, err := os.Stat(d)
		if err != nil {
			continue
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			continue
		}
		x := st.Mode & 0o001
		switch {
		case int(st.Uid) == acc.UID:
			x = st.Mode & 0o100
		case int(st.Gid) == acc.GID:
			x = st.Mode & 0o010
		}
		if x == 0 {
			return d
		}
	}
	return ""
}

func shortHash(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:6])
}

// socketDir makes the folder of the socket: in the cluster's folder, or in the
// user's run-time folder when that path is too long for a socket.
func socketDir(home string, acc Account) (string, error) {
	dir := filepath.Join(home, "socket")
	if len(dir) > socketMax {
		base := os.TempDir()
		if run := os.Getenv("XDG_RUNTIME_DIR"); run != "" && !acc.other {
			base = run
		}
		dir = filepath.Join(base, "waypost-"+shortHash(home))
		if len(dir) > socketMax {
			dir = filepath.Join("/tmp", "waypost-"+shortHash(home))
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(st.Uid) != acc.UID && int(st.Uid) != os.Geteuid() {
		return "", fault.New(fault.Denied, "%s belongs to somebody else", dir)
	}
	if err := acc.Own(dir); err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o700)
}

// takeLock makes this process the owner. The lock goes with the process,
// however it ends; the number inside is for the message only.
func takeLock(home string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(home, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, err
		}
		text := make([]byte, 20)
		n, _ := f.ReadAt(text, 0)
		return nil, fault.New(fault.Conflict, "another waypost (process %s) is running on this data folder", strings.TrimSpace(string(text[:n])))
	}
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		if err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

// pidFile gives the lines of postmaster.pid: pid, data folder, start, port,
// socket folder, ...
func pidFile(home string) []string {
	text, err := os.ReadFile(filepath.Join(home, dataDir, pidName))
	if err != nil {
		return nil
	}
	return strings.Split(string(text), "\n")
}

// writeFile replaces a file as a whole, gives it to acc unless nil, and has it
// on disk when it returns.
func writeFile(path, text string, mode os.FileMode, acc *Account) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(mode))
	if acc != nil {
		err = errors.Join(err, acc.Own(tmp))
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
