package ldap

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

	"waypost/directory"
	"waypost/directory/tree"
)

// idleConns is how many connections the measurement opens; WAYPOST_IDLE_CONNS
// makes it more.
var idleConns = func() int {
	if n, err := strconv.Atoi(os.Getenv("WAYPOST_IDLE_CONNS")); err == nil && n > 0 {
		return n
	}
	return 1000
}()

// TestIdleMemory measures what a connection costs on which somebody has signed
// in and searched, and then nothing happens. The clients live in a process of
// their own.
func TestIdleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("opens many connections")
	}
	for _, withTLS := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS=%v", withTLS), func(t *testing.T) {
			w := start(t)
			addr := w.addr
			if withTLS {
				addr = w.secure
			}
			before := settled()
			cmd := exec.Command(os.Args[0], "-test.run=^TestIdleClients$", "-test.v")
			cmd.Env = append(os.Environ(), "WAYPOST_IDLE_CLIENTS="+addr, "WAYPOST_IDLE_TLS="+strconv.FormatBool(withTLS))
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
				if strings.HasPrefix(line, "idle") {
					break
				}
			}
			each := float64(settled()-before) / float64(idleConns)
			_ = in.Close()
			_, _ = io.Copy(io.Discard, r)
			_ = cmd.Wait()
			t.Logf("%.1f KiB an idle connection, of %d", each/1024, idleConns)
			if most := 22.0 * 1024; each > most && !raceDetector {
				t.Errorf("an idle connection takes %.0f bytes, at most %.0f are allowed", each, most)
			}
		})
	}
}

// settled is the heap and the stacks after the garbage is gone.
func settled() int64 {
	for range 4 { // stacks shrink and pools empty over several collections
		runtime.GC()
		time.Sleep(20 * time.Millisecond)
	}
	return inUse()
}

// TestIdleClients is the clients' process of TestIdleMemory.
func TestIdleClients(t *testing.T) {
	addr := os.Getenv("WAYPOST_IDLE_CLIENTS")
	if addr == "" {
		t.Skip("not the clients' process")
	}
	for range idleConns {
		r := dialRaw(t, addr)
		_ = r.c.SetDeadline(time.Time{})
		if os.Getenv("WAYPOST_IDLE_TLS") == "true" {
			r.c = tls.Client(r.c, clientTLS)
		}
		r.bind()
		r.send(message(2, searchOp("DC=example,DC=test", 2, equal("cn", "ann"))))
		r.results(2)
	}
	fmt.Println("idle")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// oneEntry is a tree whose searches cost nothing: what is measured is the door.
type oneEntry struct {
	*memTree
	entry *tree.Entry
}

func newOneEntry(m *memTree) *oneEntry {
	e := &tree.Entry{ID: 9, DN: "CN=Ann Example,OU=People,DC=example,DC=test"}
	for i := range 25 {
		e.Attributes = append(e.Attributes, tree.Attribute{Name: "extensionAttribute" + strconv.Itoa(i), Values: []string{"a value of a usual length"}})
	}
	return &oneEntry{m, e}
}

// Search implements tree.Tree.
func (o *oneEntry) Search(_ context.Context, _ directory.Principal, _ *tree.Query, fn func(*tree.Entry) error) error {
	return fn(o.entry)
}

// BenchmarkEquality is an equality search over a real connection, one after the
// other and many in flight.
func BenchmarkEquality(b *testing.B) {
	for _, flight := range []int{1, 16} {
		b.Run(fmt.Sprintf("inflight=%d", flight), func(b *testing.B) {
			w := start(b)
			w.server.tree = newOneEntry(w.tree)
			c, err := net.Dial("tcp", w.addr)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close() //nolint:errcheck // of a benchmark
			r := &raw{t: b, c: c}
			r.bind()
			var all strings.Builder
			for i := range flight {
				all.WriteString(message(int64(2+i), searchOp("DC=example,DC=test", 2, equal("mail", "ann@example.test"))))
			}
			question := all.String()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%flight != 0 {
					continue
				}
				r.send(question)
				for done := 0; done < flight; {
					x, err := r.receive()
					if err != nil {
						b.Fatal(err)
					}
					if x.tag == 0x65 {
						done++
					}
				}
			}
		})
	}
}

// BenchmarkOperation is what one search costs the server besides the socket.
func BenchmarkOperation(b *testing.B) {
	w := start(b)
	w.server.tree = newOneEntry(w.tree)
	nc := &nowhere{}
	c := newConn(w.server, b.Context(), nc, netAddr("127.0.0.1:1").(*net.TCPAddr).AddrPort().Addr(), Door{})
	c.who = w.accounts.people[0].who
	msg := message(2, searchOp("DC=example,DC=test", 2, equal("mail", "ann@example.test")))
	b.ReportAllocs()
	for b.Loop() {
		if err := c.handle(msg); err != nil {
			b.Fatal(err)
		}
		c.running.Wait()
	}
}

type nowhere struct{ net.Conn }

func (*nowhere) Write(b []byte) (int, error)       { return len(b), nil }
func (*nowhere) SetWriteDeadline(time.Time) error  { return nil }
func (*nowhere) SetReadDeadline(t time.Time) error { return nil }
func (*nowhere) Close() error                      { return nil }
