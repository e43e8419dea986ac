package envelope

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestParsePath(t *testing.T) {
	for _, tt := range []struct{ in, addr, rest, fail string }{
		{in: "<a@b.example>", addr: "a@b.example"},
		{in: "<a@b.example> SIZE=3", addr: "a@b.example", rest: " SIZE=3"},
		{in: "a@b.example BODY=7BIT", addr: "a@b.example", rest: " BODY=7BIT"},
		{in: "<>", addr: ""},
		{in: "<@one,@two:a@b.example>", addr: "a@b.example"},
		{in: "<Postmaster>", addr: "postmaster"},
		{in: "<postMASTER@B.example>", addr: "postMASTER@B.example"},
		{in: `<"a b"@e.f>`, addr: `"a b"@e.f`},
		{in: `<"a"@e.f>`, addr: `a@e.f`},
		{in: `<"a@b"@e.f>`, addr: `"a@b"@e.f`},
		{in: `<"a\"\\b"@e.f>`, addr: `"a\"\\b"@e.f`},
		{in: `<"a>b"@e.f> X`, addr: `"a>b"@e.f`, rest: " X"},
		{in: "<ü@exämple.test>", addr: "ü@xn--exmple-cua.test"},
		{in: "<a@[192.0.2.1]>", addr: "a@[192.0.2.1]"},
		{in: "<a@[IPv6:2001:db8::1]>", addr: "a@[IPv6:2001:db8::1]"},
		{in: "<a@[nonsense]>", fail: "syntax"},
		{in: "<a@b@c>", fail: "two ats"},
		{in: "<a>", fail: "no domain"},
		{in: "<@b>", fail: "no local part"},
		{in: "<a@>", fail: "empty domain"},
		{in: "<a@b..c>", fail: "empty label"},
		{in: "<a b@c>", fail: "space"},
		{in: "<a@b", fail: "no bracket"},
		{in: `<"a@b>`, fail: "open quote"},
		{in: "<\"a\x00\"@b>", fail: "NUL"},
		{in: "<" + strings.Repeat("a", 65) + "@b.c>", fail: "long local part"},
		{in: "", fail: "empty"},
	} {
		addr, rest, err := ParsePath(tt.in)
		if (err != nil) != (tt.fail != "") || addr != tt.addr || err == nil && rest != tt.rest {
			t.Errorf("ParsePath(%q) = %q, %q, %v; want %q, %q, error: %q", tt.in, addr, rest, err, tt.addr, tt.rest, tt.fail)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"<a@b>", `<"a\"b"@c> SIZE=1`, "<@x:y@z>", "<ü@ä>", "<a@[IPv6:::1]>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		addr, _, err := ParsePath(s)
		if err != nil || addr == "" || addr == "postmaster" {
			return
		}
		again, rest, err := ParsePath("<" + addr + ">")
		if err != nil || again != addr || rest != "" {
			t.Fatalf("%q is canonical for %q, but gives %q, %q, %v", addr, s, again, rest, err)
		}
	})
}

func TestSpool(t *testing.T) {
	for _, size := range []int{0, 1, MemoryLimit - 1, MemoryLimit, MemoryLimit + 1, 3*MemoryLimit + 7} {
		want := bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
		s := NewSpool(t.TempDir())
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 100_003)
			if _, err := s.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		for range 2 {
			got, err := io.ReadAll(s.Reader())
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("size %d: read back %d bytes, %v", size, len(got), err)
			}
		}
		if err := iotest.TestReader(s.Reader(), want); err != nil {
			t.Errorf("size %d: %v", size, err)
		}
		if s.Size() != int64(size) {
			t.Errorf("Size() = %d, want %d", s.Size(), size)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := s.Write([]byte("x")); err == nil {
			t.Error("a closed spool can be written")
		}
	}
}

func TestCRLF(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"a\r\nb\r\n", "a\r\nb\r\n"},
		{"a\nb\n", "a\r\nb\r\n"},
		{"a\rb\r", "a\r\nb\r\n"},
		{"\n.\n", "\r\n.\r\n"},
		{"\r\r\n\n", "\r\n\r\n\r\n"},
		{"\n\r\n", "\r\n\r\n"},
		{"", ""},
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(tt.in), "bytes": iotest.OneByteReader(strings.NewReader(tt.in))} {
			got, err := io.ReadAll(CRLF(r))
			if err != nil || string(got) != tt.want {
				t.Errorf("%s: CRLF(%q) = %q, %v; want %q", name, tt.in, got, err, tt.want)
			}
		}
	}
}

func TestReadHeader(t *testing.T) {
	const msg = "From: a@b.c\r\nSubject: one\r\n two\r\nBcc : x@y.z\r\nreceived: r\r\n\r\nTo: body\r\n"
	h, err := ReadHeader(strings.NewReader(msg))
	if err != nil {
		t.Fatal(err)
	}
	if got := h.Get("subject"); got != "one two" {
		t.Errorf("subject %q", got)
	}
	if h.Count("to") != 0 || h.Count("received") != 1 || !h.Ended {
		t.Errorf("header %+v", h)
	}
	got := string(h.Bytes(func(n string) bool { return n == "bcc" })) + msg[h.End:]
	if want := strings.Replace(msg, "Bcc : x@y.z\r\n", "", 1); got != want {
		t.Errorf("without Bcc:\n%q, want\n%q", got, want)
	}
}

func TestPrefix(t *testing.T) {
	e := Envelope{
		From: "a@b.c", Trace: []byte("Received: earlier\r\n"),
		Hop: &Hop{
			Helo: "mail (evil)\r\n.example", From: netip.MustParseAddr("::ffff:192.0.2.1"), By: "mx.example.test",
			With: "ESMTPS", TLS: "TLS1.3", ID: "id1", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		},
	}
	want := "Return-Path: <a@b.c>\r\n" +
		"Received: from mailevil.example ([192.0.2.1])\r\n\tby mx.example.test (Waypost) with ESMTPS id id1\r\n\t(TLS1.3)\r\n" +
		"\tfor <r@example.test>;\r\n\tFri, 02 Jan 2026 03:04:05 +0000\r\n" +
		"Received: earlier\r\n"
	if got := string(e.Prefix("r@example.test")); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestID(t *testing.T) {
	a, b := NewID(time.Now()), NewID(time.Now())
	if a == b || !ValidID(a) {
		t.Errorf("ids %q and %q", a, b)
	}
	for _, bad := range []string{"", "a b", "a\r\n", strings.Repeat("x", MaxID+1), "é"} {
		if ValidID(bad) {
			t.Errorf("%q is taken for an id", bad)
		}
	}
}

func TestUndeliverable(t *testing.T) {
	for _, raw := range []string{"", "a b", "x@", "ü@ß..", strings.Repeat("y", 500), "a\r\n\"b\\"} {
		addr := Undeliverable(raw)
		if again, err := Canonical(addr); err != nil || again != addr || !IsUndeliverable(addr) {
			t.Errorf("%q: %q, %q, %v", raw, addr, again, err)
		}
	}
}

// The header is found however the reader cuts its bytes.
func TestReadHeaderInPieces(t *testing.T) {
	long := "X: " + strings.Repeat("y", 10_000) + "\r\n"
	for _, msg := range []string{"", "\r\n", "A: b\r\n\r\nbody: c\r\n", "A: b\n\nB: c\n", long + long + "\r\n" + long, "no header\r\nA: b\r\n\r\n"} {
		whole, err := ReadHeader(strings.NewReader(msg))
		if err != nil {
			t.Fatal(err)
		}
		pieces, err := ReadHeader(iotest.OneByteReader(strings.NewReader(msg)))
		if err != nil || pieces.End != whole.End || len(pieces.Fields) != len(whole.Fields) || !pieces.Ended || !whole.Ended {
			t.Errorf("%.40q: whole %d fields to %d, in pieces %d to %d, %v", msg, len(whole.Fields), whole.End, len(pieces.Fields), pieces.End, err)
		}
	}
	if h, _ := ReadHeader(strings.NewReader(strings.Repeat(long, 30))); h.Ended || h.End > MaxHeader {
		t.Errorf("endless header: %d, %v", h.End, h.Ended)
	}
}

func TestBallot(t *testing.T) {
	const secret = "abcdefghijklmnopqrstuvwxyz"
	for address, want := range map[string]string{
		"approve-" + secret + "@example.test":                   "approve",
		"MODERATE-" + strings.ToUpper(secret) + "@EXAMPLE.test": "moderate",
		"other-" + secret + "@example.test":                     "",
		"reject-" + secret + "x@example.test":                   "",
		"reject@example.test":                                   "",
	} {
		word, got, ok := Ballot(address)
		if word != want || ok != (want != "") || ok && got != secret {
			t.Errorf("%s is %q, %q, %t", address, word, got, ok)
		}
		log := ForLog(address)[0]
		if ok && strings.Contains(strings.ToLower(log), "abc") || !ok && log != address {
			t.Errorf("%s is logged as %s", address, log)
		}
	}
}
