// Package e2e runs the programs as a user would and talks to them only through
// their doors: SMTP, IMAP, ActiveSync and the command line.
package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
)

var (
	buildOnce sync.Once
	buildErr  error
	binDir    string
)

// bins builds the programs once for all tests and gives their folder.
func bins(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("WAYPOST_E2E_BIN"); dir != "" {
		return dir
	}
	buildOnce.Do(func() {
		if binDir, buildErr = os.MkdirTemp("", "waypost-e2e-bin-"); buildErr != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", binDir, "waypost/cmd/...")
		if out, err := cmd.CombinedOutput(); err != nil {
			buildErr = fmt.Errorf("building: %w\n%s", err, out)
		}
		buildErr = errors.Join(buildErr, os.Chmod(binDir, 0o755))
	})
	if buildErr != nil {
		t.Fatal(buildErr)
	}
	return binDir
}

func TestMain(m *testing.M) {
	code := m.Run()
	if binDir != "" {
		_ = os.RemoveAll(binDir)
	}
	os.Exit(code)
}

// site is a running installation.
type site struct {
	t    *testing.T
	dir  string // the data folder
	bin  string
	conf string // the configuration file, if there is one
	addr map[string]string
	env  []string
	mu   sync.Mutex
	proc map[string]*proc
	// launch starts a program as it was started first; await waits until all
	// programs are ready again. The torture kills and launches.
	launch map[string]func()
	await  func()
}

type proc struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
	log  *os.File
}

const (
	password = "Waypost-demo-1"
	domain   = "example.test"
)

var doors = []string{"SMTP", "SUBMISSION", "SUBMISSIONS", "LMTP", "IMAP", "IMAPS", "POP3", "POP3S", "LDAP", "LDAPS", "GC", "GCS", "HTTP", "HTTPS", "METRICS"}

// newSite makes a folder that a private cluster of another user can live in.
func newSite(t *testing.T) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "waypost-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: filepath.Join(dir, "data"), bin: bins(t), proc: map[string]*proc{}}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.stopAll()
		if t.Failed() {
			t.Logf("what the programs logged is kept in %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	return s
}

// freePorts gives every door a port of its own that stays the same over
// restarts, so that clients find the programs again. The ports are below those that
// the system gives to connections (ip_local_port_range), which could take one
// between here and the program's start, or while it is down.
func (s *site) freePorts() {
	for _, d := range doors {
		for tries := 0; ; tries++ {
			addr := fmt.Sprint("127.0.0.1:", 18000+nextPort.Add(1)%14000)
			l, err := net.Listen("tcp", addr)
			if err == nil {
				s.env = append(s.env, "WAYPOST_LISTEN_"+d+"="+addr)
				_ = l.Close()
				break
			}
			if tries == 100 {
				s.t.Fatal(err)
			}
		}
	}
}

// nextPort begins anywhere, so that two runs of the tests at once seldom meet.
var nextPort = func() *atomic.Uint32 {
	var n atomic.Uint32
	n.Store(rand.Uint32N(14000))
	return &n
}()

// start begins a program; its output goes to a file beside the data folder.
func (s *site) start(name string, args ...string) *proc {
	s.t.Helper()
	return s.startAs(nil, s.env, name, args...)
}

// startAs begins a program as another user, nil being this one.
func (s *site) startAs(as *syscall.Credential, env []string, name string, args ...string) *proc {
	s.t.Helper()
	log, err := os.OpenFile(filepath.Join(filepath.Dir(s.dir), name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: as}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	p := &proc{cmd: cmd, done: make(chan struct{}), log: log}
	go func() {
		p.err = cmd.Wait()
		_ = log.Close()
		close(p.done)
	}()
	s.mu.Lock()
	s.proc[name] = p
	s.mu.Unlock()
	return p
}

func (s *site) stopAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, p := range s.proc {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(15 * time.Second):
			s.t.Errorf("%s did not end within 15 seconds of SIGTERM", name)
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	}
	clear(s.proc)
}

// serve starts everything in one process and waits until it is ready.
func (s *site) serve(args ...string) {
	s.t.Helper()
	s.launch = map[string]func(){"waypost": func() { s.start("waypost", append([]string{"serve", "--data", s.dir}, args...)...) }}
	s.await = s.waitReady
	s.launch["waypost"]()
	s.await()
}

func (s *site) waitReady() {
	s.t.Helper()
	if out, err := s.cli("", "ready", "--wait", "90s"); err != nil {
		s.t.Fatalf("not ready: %v\n%s\n%s", err, out, s.logTail())
	}
	raw, err := os.ReadFile(filepath.Join(s.dir, "run", "addresses.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = map[string]string{}
	if err := json.Unmarshal(raw, &s.addr); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) logTail() string {
	var all strings.Builder
	files, _ := filepath.Glob(filepath.Join(filepath.Dir(s.dir), "*.log"))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		fmt.Fprintf(&all, "--- %s\n%s\n", filepath.Base(f), b[max(0, len(b)-6000):])
	}
	return all.String()
}

// cli runs the command line with the site's data folder.
func (s *site) cli(stdin string, args ...string) (string, error) {
	return s.cliAt(s.dir, stdin, args...)
}

func (s *site) cliAt(data, stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "waypost"), append(args, "--data", data)...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("waypost %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), err
}

func (s *site) must(args ...string) string {
	s.t.Helper()
	out, err := s.cli("", args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// organisation makes the domain and users of the tests.
func (s *site) organisation(users ...string) {
	s.t.Helper()
	s.must("domain", "add", domain)
	for _, u := range users {
		if _, err := s.cli(password+"\n", "user", "add", u+"@"+domain, "--name", strings.ToUpper(u[:1])+u[1:], "--password-stdin"); err != nil {
			s.t.Fatal(err)
		}
	}
}

var noVerify = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the test's own server, self-signed

// imap signs in over TLS.
func (s *site) imap(user string, opt *imapclient.Options) *imapclient.Client {
	s.t.Helper()
	c, err := s.tryIMAP(user, opt)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *site) tryIMAP(user string, opt *imapclient.Options) (*imapclient.Client, error) {
	if opt == nil {
		opt = &imapclient.Options{}
	}
	opt.TLSConfig = noVerify
	c, err := imapclient.DialTLS(s.addr["imaps"], opt)
	if err != nil {
		return nil, err
	}
	if err := c.Login(user+"@"+domain, password).Wait(); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func (s *site) phone(user, id, version string) *phone {
	return newPhone("https://"+s.addr["https"], user+"@"+domain, password, id, version)
}

// deliver hands messages to port 25 on one connection. It calls answered with
// the index of each message that got a 250, and returns at the first error.
func deliver(addr, from string, to [][]string, body func(int) io.Reader, answered func(int)) error {
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return err
	}
	c, err := smtp.NewClient(conn, "127.0.0.1")
	if err != nil {
		_ = conn.Close()
		return err
	}
	defer c.Close()
	if err := c.Hello("sender.example.net"); err != nil {
		return err
	}
	for i := range to {
		_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
		if err := c.Mail(from); err != nil {
			return err
		}
		for _, r := range to[i] {
			if err := c.Rcpt(r); err != nil {
				return err
			}
		}
		w, err := c.Data()
		if err != nil {
			return err
		}
		if _, err := io.Copy(w, body(i)); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
		answered(i)
	}
	return c.Quit()
}

// eventually waits until fn gives nil.
func eventually(t *testing.T, within time.Duration, what string, fn func() error) {
	t.Helper()
	end := time.Now().Add(within)
	for {
		err := fn()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v: %v", what, within, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
