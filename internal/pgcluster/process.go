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
	"sync"
	"syscall"
	"time"
)

// server is one postmaster, from its start to its end.
type server struct {
	cmd    *exec.Cmd
	ended  chan struct{}
	err    error // of its end, once ended is closed
	mu     sync.Mutex
	recent []string // last lines it said
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// launch clears away what a killed owner left and starts a server. It returns
// when the server answers.
func (c *Cluster) launch(ctx context.Context) (*server, error) {
	if err := c.clear(ctx); err != nil {
		return nil, err
	}
	s, err := c.spawn()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if err = c.Health(ctx); err == nil {
			c.mu.Lock()
			c.server = s
			c.mu.Unlock()
			return s, nil
		}
		select {
		case <-s.ended:
			return nil, fmt.Errorf("the server ended at its start: %w: %s", s.err, s.said())
		case <-c.quit:
			s.stop(c.log)
			return nil, context.Canceled
		case <-ctx.Done():
			s.stop(c.log)
			return nil, fmt.Errorf("the server does not answer: %w: %s", err, s.said())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *Cluster) spawn() (*server, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s := &server{ended: make(chan struct{})}
	// On the command line these three outrank ALTER SYSTEM and custom.conf.
	s.cmd = exec.Command(c.bin.Path("postgres"), "-D", filepath.Join(c.home, dataDir),
		"-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on")
	c.acc.Apply(s.cmd)
	// A pipe and not a file: nothing to rotate. A server that outlives this
	// process loses its words, no more (it ignores SIGPIPE).
	s.cmd.Stdout, s.cmd.Stderr = w, w
	if err := s.cmd.Start(); err != nil {
		r.Close()
		w.Close()
		return nil, err
	}
	w.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		s.listen(r, c.log)
	}()
	go func() {
		s.err = s.cmd.Wait()
		if s.err == nil {
			s.err = errors.New("exit status 0")
		}
		// A backend that survives its postmaster for a moment holds the pipe.
		select {
		case <-read:
		case <-time.After(time.Second):
		}
		r.Close()
		<-read
		close(s.ended)
	}()
	return s, nil
}

// listen passes on what the server says.
func (s *server) listen(r io.Reader, log *slog.Logger) {
	for in := bufio.NewReaderSize(r, 16<<10); ; {
		line, err := in.ReadString('\n')
		if line = strings.TrimSpace(line); line != "" {
			level := slog.LevelDebug
			// FATAL ends one session; "the database system is starting up" is
			// merely the answer to our own question whether it is ready.
			if strings.HasPrefix(line, "FATAL") && !strings.HasSuffix(line, "starting up") || strings.HasPrefix(line, "PANIC") {
				level = slog.LevelWarn
			}
			if len(line) > 2000 {
				line = line[:2000]
			}
			log.Log(context.Background(), level, "database says", slog.String("text", line))
			s.mu.Lock()
			if s.recent = append(s.recent, line); len(s.recent) > 8 {
				s.recent = s.recent[1:]
			}
			s.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

func (s *server) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.recent, " | ")
}

// stop ends the server: fast (clients are cut off, everything is written),
// then at once (recovery at the next start), then hard.
func (s *server) stop(log *slog.Logger) {
	for _, step := range []struct {
		sig  syscall.Signal
		wait time.Duration
	}{{syscall.SIGINT, fastStop}, {syscall.SIGQUIT, hardStop}, {syscall.SIGKILL, hardStop}} {
		_ = s.cmd.Process.Signal(step.sig)
		select {
		case <-s.ended:
			return
		case <-time.After(step.wait):
			log.Warn("database does not stop", slog.String("signal", step.sig.String()))
		}
	}
	<-s.ended
}

// supervise brings the server back until Stop.
func (c *Cluster) supervise(s *server) {
	defer close(c.done)
	defer c.lock.Close()
	for {
		began := time.Now()
		select {
		case <-c.quit:
			s.stop(c.log)
			return
		case <-s.ended:
		}
		c.mu.Lock()
		c.server = nil
		c.mu.Unlock()
		c.log.Error("database ended, starting it again", slog.Any("fault", s.err), slog.String("said", s.said()))
		pause := 50 * time.Millisecond
		if time.Since(began) < 5*time.Second {
			pause = time.Second
		}
		if s = c.relaunch(pause); s == nil {
			return
		}
	}
}

// relaunch tries until it succeeds; nil after Stop.
func (c *Cluster) relaunch(pause time.Duration) *server {
	for ; ; pause = min(2*pause, 30*time.Second) {
		select {
		case <-c.quit:
			return nil
		case <-time.After(pause):
		}
		s, err := c.launch(context.Background())
		if err == nil {
			c.log.Info("database is back", slog.Int("pid", s.pid()))
			return s
		}
		select {
		case <-c.quit:
			return nil
		default:
			c.log.Error("database does not start", slog.Any("fault", err), slog.Duration("again", min(2*pause, 30*time.Second)))
		}
	}
}

// clear ends what runs on the data folder and removes the files that mark a
// running server. The lock is ours, so nobody owns any of it.
func (c *Cluster) clear(ctx context.Context) error {
	data := filepath.Join(c.home, dataDir)
	if _, err := os.Readlink("/proc/self/cwd"); err != nil {
		return nil // blind: PostgreSQL's own look at the marks must do
	}
	if pid := c.postmaster(); pid != 0 && isServer(pid, data) {
		c.log.Warn("stopping a database server that its owner left behind", slog.Int("pid", pid))
		c.end(ctx, func() []int {
			if isServer(pid, data) {
				return []int{pid}
			}
			return nil
		}, syscall.SIGINT, fastStop)
	}
	// Without a postmaster its backends end by themselves, mostly at once; one
	// that computes holds the shared memory, and no new server starts.
	if left := strays(data); len(left) > 0 {
		c.end(ctx, func() []int { return strays(data) }, syscall.SIGQUIT, hardStop)
	}
	if left := strays(data); len(left) > 0 {
		return fmt.Errorf("processes %v hold the data folder and cannot be ended", left)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c.clearFiles()
	return nil
}

// end signals processes and, after the time given, kills them.
func (c *Cluster) end(ctx context.Context, which func() []int, first syscall.Signal, wait time.Duration) {
	for _, step := range []struct {
		sig  syscall.Signal
		wait time.Duration
	}{{first, wait}, {syscall.SIGKILL, hardStop}} {
		for _, pid := range which() {
			_ = syscall.Kill(pid, step.sig)
		}
		for until := time.Now().Add(step.wait); time.Now().Before(until) && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
			if len(which()) == 0 {
				return
			}
		}
	}
}

// clearFiles removes stale marks. PostgreSQL would refuse to start when the
// process id in one of them now belongs to somebody else.
func (c *Cluster) clearFiles() {
	for _, p := range []string{
		filepath.Join(c.home, dataDir, pidName),
		filepath.Join(c.socket, ".s.PGSQL.5432"),
		filepath.Join(c.socket, ".s.PGSQL.5432.lock"),
	} {
		_ = os.Remove(p)
	}
}

// postmaster is the process id in postmaster.pid, or 0.
func (c *Cluster) postmaster() int {
	lines := pidFile(c.home)
	if len(lines) == 0 {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid <= 1 || pid == os.Getpid() {
		return 0
	}
	return pid
}

// isServer tells whether process pid is a PostgreSQL server on the data folder:
// every one of its processes works in that folder.
func isServer(pid int, data string) bool {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	cwd, err := os.Readlink(filepath.Join(proc, "cwd"))
	if err != nil || cwd != data {
		return false
	}
	comm, err := os.ReadFile(filepath.Join(proc, "comm"))
	return err == nil && strings.HasPrefix(string(comm), "postgres")
}

// strays lists the server processes that work in the data folder.
func strays(data string) []int {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	var all []int
	for _, name := range names {
		if pid, err := strconv.Atoi(filepath.Base(name)); err == nil && isServer(pid, data) {
			all = append(all, pid)
		}
	}
	return all
}
