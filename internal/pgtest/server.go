package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/internal/fault"
	"waypost/internal/pgcluster"
)

// settings of a server whose data nobody needs tomorrow.
var settings = []string{
	"listen_addresses=", "fsync=off", "synchronous_commit=off", "full_page_writes=off",
	"max_connections=400", "shared_buffers=128MB", "autovacuum=on", "jit=off",
	"wal_level=minimal", "max_wal_senders=0", "timezone=UTC", "log_min_messages=warning",
	"unix_socket_permissions=0700",
}

// held keeps the shared lock for as long as the process lives: a file that
// nothing refers to would be closed.
var held []*os.File

// shared gives the URL of the server that all test binaries use, and starts it
// when it is not there.
func shared() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	bin, err := pgcluster.Find(ctx)
	if err != nil {
		return "", err
	}
	acc, err := pgcluster.ServerAccount()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(os.TempDir(), "waypost-pgtest-"+strconv.Itoa(os.Geteuid()))
	if err := makeDir(dir, acc); err != nil {
		return "", err
	}
	use, err := lock(filepath.Join(dir, "use"), syscall.LOCK_SH)
	if err != nil {
		return "", err
	}
	held = append(held, use)
	// One process starts the server, the others wait here.
	starting, err := lock(filepath.Join(dir, "lock"), syscall.LOCK_EX)
	if err != nil {
		return "", err
	}
	defer starting.Close()

	at := (&url.URL{
		Scheme: "postgres", User: url.User("postgres"), Path: "/postgres",
		RawQuery: url.Values{"host": {dir}, "sslmode": {"disable"}}.Encode(),
	}).String()
	// A server that is only slow or full is waited for: others use it.
	if err := alive(ctx, at); errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
		if err := start(ctx, bin, acc, dir); err != nil {
			return "", err
		}
	}
	for {
		err := alive(ctx, at)
		if err == nil {
			return at, nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("the test server does not answer (see %s): %w", filepath.Join(dir, "log"), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// makeDir makes the folder and refuses one that somebody else put there.
func makeDir(dir string, acc pgcluster.Account) error {
	if err := os.Mkdir(dir, 0o700); err == nil {
		return acc.Own(dir)
	} else if !os.IsExist(err) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || info.Mode().Perm() != 0o700 || int(st.Uid) != acc.UID && int(st.Uid) != os.Geteuid() {
		return fault.New(fault.Denied, "%s belongs to somebody else", dir)
	}
	return acc.Own(dir) // its maker may have died in between
}

func lock(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), how); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func alive(ctx context.Context, at string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, at)
	if err != nil {
		return err
	}
	return c.Close(ctx)
}

// watchdog ends the server when two looks a minute apart find the file "use"
// unlocked. Holding the lock meanwhile keeps newcomers waiting; they start a
// fresh server. Arguments: folder, pg_ctl.
const watchdog = `
cd "$1" || exit 0
idle=0
while sleep 30; do
	[ -f data/postmaster.pid ] || exit 0
	exec 9>>use
	if flock -n -x 9; then
		idle=$((idle+1))
		if [ $idle -ge 2 ]; then
			"$2" stop -D data -m immediate -t 20 >/dev/null 2>&1
			rm -rf data
			exit 0
		fi
	else
		idle=0
	fi
	exec 9>&-
done
`

// start makes a fresh cluster and its watchdog. With fsync off, what a crash
// left behind is not worth a look.
func start(ctx context.Context, bin pgcluster.Binaries, acc pgcluster.Account, dir string) error {
	data := filepath.Join(dir, "data")
	stop := osexec.CommandContext(ctx, bin.Path("pg_ctl"), "stop", "-D", data, "-m", "immediate", "-t", "20")
	acc.Apply(stop)
	_ = stop.Run() // a server that does not answer, or none
	if err := os.RemoveAll(data); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	for _, name := range []string{"log", "use", "lock"} {
		if err := acc.Own(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	initdb := osexec.CommandContext(ctx, bin.Path("initdb"), "-D", data, "-U", "postgres", "-A", "trust",
		"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	acc.Apply(initdb)
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	args := []string{"-D", data, "-k", dir}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	// Both outlive this process, so neither may hold its standard output, which
	// go test waits for.
	for _, cmd := range []*osexec.Cmd{
		osexec.Command(bin.Path("postgres"), args...),
		osexec.Command("/bin/sh", "-c", watchdog, "watchdog", dir, bin.Path("pg_ctl")),
	} {
		acc.Apply(cmd)
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			return err
		}
		if err := cmd.Process.Release(); err != nil {
			return err
		}
	}
	return nil
}
