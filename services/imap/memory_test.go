package imap

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// idleConns is how many connections the measurement opens.
const idleConns = 400

// TestIdleMemory measures what an idling connection costs this process. The
// clients live in a process of their own.
func TestIdleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("opens hundreds of connections")
	}
	for _, withTLS := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS=%v", withTLS), func(t *testing.T) {
			s := newMemStore()
			for range 100 {
				s.deliver(t, people["ann"], "Subject: x\r\n\r\nbody\r\n")
			}
			cfg := testConfig()
			cfg.MaxUnauthenticated = idleConns
			srv, err := New(cfg, s, newMemAccounts())
			if err != nil {
				t.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				if withTLS {
					ended <- srv.ServeTLS(ctx, l)
				} else {
					ended <- srv.Serve(ctx, l)
				}
			}()
			before := inUse()
			cmd := exec.Command(os.Args[0], "-test.run=^TestIdleClients$", "-test.v")
			cmd.Env = append(os.Environ(), "WAYPOST_IDLE_CLIENTS="+l.Addr().String(), "WAYPOST_IDLE_TLS="+strconv.FormatBool(withTLS))
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
			r := bufio.NewReader(out)
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					t.Fatalf("the clients fail: %v", err)
				}
				if strings.HasPrefix(line, "idling") {
					break
				}
			}
			each := float64(inUse()-before) / idleConns
			_ = in.Close()
			_, _ = io.Copy(io.Discard, r)
			_ = cmd.Wait()
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			t.Logf("%.1f KiB an idling connection with 100 messages", each/1024)
			if each > 30<<10 {
				t.Errorf("an idling connection takes %.0f bytes, at most 30 KiB are allowed", each)
			}
		})
	}
}

// inUse is the heap and the stacks after the garbage is gone.
func inUse() int64 {
	var m runtime.MemStats
	for range 4 { // stacks shrink and pools empty over several collections
		runtime.GC()
		time.Sleep(20 * time.Millisecond)
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// TestIdleClients is the clients' process of TestIdleMemory.
func TestIdleClients(t *testing.T) {
	addr := os.Getenv("WAYPOST_IDLE_CLIENTS")
	if addr == "" {
		t.Skip("not the clients' process")
	}
	for range idleConns {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if os.Getenv("WAYPOST_IDLE_TLS") == "true" {
			nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
		}
		c := &raw{t: t, nc: nc, r: bufio.NewReader(nc)}
		c.line()
		c.enter(selected)
		c.send("a IDLE\r\n")
		if got := c.line(); got != "+ Idling" {
			t.Fatal(got)
		}
		defer nc.Close() //nolint:errcheck // to the end of the process
	}
	fmt.Println("idling")
	_, _ = io.Copy(io.Discard, os.Stdin)
}
