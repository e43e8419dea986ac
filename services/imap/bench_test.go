package imap

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// fill puts n messages of about size bytes into ann's inbox.
func fill(t testing.TB, m Mailboxes, n, size int) {
	t.Helper()
	pad := strings.Repeat("0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 abcdefghijklmnop\r\n", size/60+1)[:size]
	if _, err := m.Mailbox(t.Context(), people["ann"], people["ann"].Mailbox); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for w := range 8 { // the store combines what waits
		all.Go(func() {
			for i := w; i < n; i += 8 {
				deliverTo(t, m, people["ann"], fmt.Sprintf("From: Sender %d <s%d@example.test>\r\nTo: Ann <ann@example.test>\r\nSubject: a report number %d\r\n"+
					"Date: Tue, 3 Nov 2026 09:00:00 +0100\r\nMessage-ID: <%d@example.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s", i, i%50, i, i, pad))
			}
		})
	}
	all.Wait()
}

// run sends a command and reads up to its tagged reply, as cheaply as can be.
func (c *raw) run(b testing.TB, cmd string) (n int) {
	c.send("q " + cmd + "\r\n")
	_ = c.nc.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		l, err := c.r.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			n += len(l)
			continue
		}
		if err != nil {
			b.Fatal(err)
		}
		n += len(l)
		if bytes.HasPrefix(l, []byte("q ")) {
			if !bytes.HasPrefix(l, []byte("q OK")) {
				b.Fatalf("%s: %s", cmd, l)
			}
			return n
		}
		if bytes.HasSuffix(l, []byte("}\r\n")) {
			i := bytes.LastIndexByte(l, '{')
			size := int64(0)
			if _, err := fmt.Sscanf(string(l[i:]), "{%d}", &size); err != nil {
				b.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, c.r, size); err != nil {
				b.Fatal(err)
			}
			n += int(size)
		}
	}
}

func benchDoor(b *testing.B, real bool, n, size int) *raw {
	var m Mailboxes
	s := newMemStore()
	m = s
	if real {
		m, s = openPostgres(b), nil
	}
	d := open(b, testConfig(), m, s, nil)
	fill(b, m, n, size)
	c := dialRaw(b, d)
	c.r = bufio.NewReaderSize(c.nc, 64<<10)
	c.enter(selected)
	return c
}

func benchmark(b *testing.B, n, size int, cmds ...string) {
	for _, real := range []bool{false, true} {
		b.Run(fmt.Sprintf("postgres=%v", real), func(b *testing.B) {
			c := benchDoor(b, real, n, size)
			for _, cmd := range cmds { // warm
				b.SetBytes(int64(c.run(b, cmd)))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				c.run(b, cmds[i%len(cmds)])
			}
		})
	}
}

func BenchmarkSelect10000(b *testing.B) { benchmark(b, 10_000, 100, "SELECT INBOX") }

func BenchmarkList10000(b *testing.B) {
	benchmark(b, 10_000, 100, "UID FETCH 1:* (FLAGS ENVELOPE)")
}

func BenchmarkFlags10000(b *testing.B) { benchmark(b, 10_000, 100, "UID FETCH 1:* (FLAGS)") }

func BenchmarkBody(b *testing.B) {
	var cmds []string
	for i := range 100 {
		cmds = append(cmds, fmt.Sprintf("UID FETCH %d (RFC822.SIZE BODY.PEEK[])", i+1))
	}
	benchmark(b, 100, 10_000, cmds...)
}

func BenchmarkStore(b *testing.B) {
	benchmark(b, 100, 100, "UID STORE 7 +FLAGS (\\Flagged)", "UID STORE 7 -FLAGS (\\Flagged)")
}

func BenchmarkSearchHeader10000(b *testing.B) {
	benchmark(b, 10_000, 100, "UID SEARCH HEADER Message-ID <7777@example.test>")
}
