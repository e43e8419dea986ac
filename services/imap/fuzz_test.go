package imap

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waypost/internal/wiretest"
)

// script is a connection whose client has sent everything and reads everything.
type script struct {
	in  *bytes.Reader
	out bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error) { return s.out.Write(p) }
func (s *script) Close() error                { return nil }
func (s *script) LocalAddr() net.Addr         { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// FuzzSession feeds arbitrary bytes to a connection in each state. Whatever
// comes, the session ends, does not panic, and answers in whole lines.
func FuzzSession(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		lines, err := wiretest.Read(file)
		if err != nil {
			f.Fatal(err)
		}
		for name, sent := range wiretest.Sent(lines) {
			if name == "mta" || len(sent) > 20000 {
				continue
			}
			f.Add(byte(0), []byte(sent))
			// Each command alone, in the state it is for.
			for _, l := range strings.SplitAfter(sent, "\r\n") {
				f.Add(byte(2), []byte(l))
			}
		}
	}
	for name := range commands {
		for st := range byte(3) {
			f.Add(st, []byte("x "+name+" 1:* {3+}\r\nabc (a \"b\") BODY[1.2]<0.1>\r\nDONE\r\n"))
		}
	}
	f.Fuzz(func(t *testing.T, st byte, in []byte) {
		s := newMemStore()
		for _, text := range seedMail {
			s.deliver(t, people["ann"], text)
		}
		cfg := testConfig()
		cfg.FailureDelay = 1
		cfg.MaxAppend = 1 << 20
		cfg.TLS = nil
		srv, err := New(cfg, s, newMemAccounts())
		if err != nil {
			t.Fatal(err)
		}
		var prelude string
		switch st % 3 {
		case 1:
			prelude = "i1 LOGIN ann secret\r\n"
		case 2:
			prelude = "i1 LOGIN ann secret\r\ni2 SELECT INBOX\r\n"
		}
		sc := &script{in: bytes.NewReader(append([]byte(prelude), in...))}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		c := newConn(srv, ctx, ctx, sc, remoteAddr(sc))
		c.serve() // not serveConn: a panic shall be seen
		c.close()
		if ctx.Err() != nil {
			t.Fatal("the session hangs")
		}
		if out := sc.out.Bytes(); len(out) > 0 && !bytes.HasSuffix(out, []byte("\r\n")) {
			t.Errorf("the last line is not whole: %q", out[max(0, len(out)-100):])
		}
	})
}
