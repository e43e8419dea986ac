package imapwire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
)

func TestEncode(t *testing.T) {
	tests := []struct {
		name  string
		write func(*Encoder)
		want  string
	}{
		{"quoted", func(e *Encoder) { e.String(`a"b\c`) }, `"a\"b\\c"`},
		{"empty", func(e *Encoder) { e.String("") }, `""`},
		{"literal for line ends", func(e *Encoder) { e.String("a\r\nb") }, "{4}\r\na\r\nb"},
		{"literal for 8-bit", func(e *Encoder) { e.String("é") }, "{2}\r\né"},
		{"quoted UTF-8", func(e *Encoder) { e.UTF8 = true; e.String("é") }, `"é"`},
		{"broken UTF-8", func(e *Encoder) { e.UTF8 = true; e.String("\xff") }, "{1}\r\n\xff"},
		{"no NUL", func(e *Encoder) { e.String("a\x00b") }, "{2}\r\nab"},
		{"nil", func(e *Encoder) { e.NString("") }, "NIL"},
		{"encoded word", func(e *Encoder) { e.Text("Grüße aus Wien") }, `"=?utf-8?q?Gr=C3=BC=C3=9Fe_aus_Wien?="`},
		{"encoded word base64", func(e *Encoder) { e.Text("日本") }, `"=?utf-8?b?5pel5pys?="`},
		{"text in UTF-8", func(e *Encoder) { e.UTF8 = true; e.NText("Grüße") }, `"Grüße"`},
		{"text of two lines", func(e *Encoder) { e.Text("a\r\nb") }, `"a  b"`},
		{"mailbox", func(e *Encoder) { e.Mailbox("台北 & co") }, `"&U,BTFw- &- co"`},
		{"mailbox in UTF-8", func(e *Encoder) { e.UTF8 = true; e.Mailbox("台北 & co") }, `"台北 & co"`},
		{"flags", func(e *Encoder) { e.Flags([]imap.Flag{"\\Seen", "x"}) }, `(\Seen x)`},
		{"uids", func(e *Encoder) { e.UIDSet(imap.UIDSet{{Start: 1, Stop: 3}, {Start: 9, Stop: 9}}) }, `1:3,9`},
		{"date-time", func(e *Encoder) { e.DateTime(time.Date(2003, 2, 1, 4, 5, 6, 0, time.FixedZone("", 3600))) }, `" 1-Feb-2003 04:05:06 +0100"`},
		{"section", func(e *Encoder) {
			e.BodySection(&imap.FetchItemBodySection{Part: []int{1, 2}, Specifier: "HEADER", HeaderFields: []string{"From", "x y"}, Partial: &imap.SectionPartial{Offset: 7, Size: 9}})
		}, `BODY[1.2.HEADER.FIELDS (From "x y")]<7>`},
		{"section of all", func(e *Encoder) { e.BodySection(&imap.FetchItemBodySection{Peek: true}) }, `BODY[]`},
		{"section text", func(e *Encoder) { e.BodySection(&imap.FetchItemBodySection{Specifier: "TEXT"}) }, `BODY[TEXT]`},
		{"binary", func(e *Encoder) { e.BinarySection("BINARY", []int{4}, nil) }, `BINARY[4]`},
		{"literal8", func(e *Encoder) { e.Literal8(3, strings.NewReader("a\x00b")) }, "~{3}\r\na\x00b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			e := NewEncoder(&b)
			tt.write(e)
			if err := e.Flush(); err != nil {
				t.Fatal(err)
			}
			if got := b.String(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if e.pooled != nil {
				t.Error("the buffer is kept after Flush")
			}
		})
	}
}

func TestLargeLiteralPassesThrough(t *testing.T) {
	const size = 10 << 20
	var n countWriter
	e := NewEncoder(&n)
	allocs := testing.AllocsPerRun(1, func() {
		e.Literal(size, io.LimitReader(zeros{}, size))
		if err := e.Flush(); err != nil {
			t.Fatal(err)
		}
	})
	if want := int64(2 * (size + len("{10485760}\r\n"))); int64(n) != want {
		t.Errorf("wrote %d bytes, want %d", n, want)
	}
	if allocs > 5 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestShortLiteralIsAnError(t *testing.T) {
	e := NewEncoder(io.Discard)
	e.Literal(10, strings.NewReader("abc"))
	if err := e.Flush(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("err = %v, want io.ErrUnexpectedEOF", err)
	}
}

func TestRoundTripStrings(t *testing.T) {
	for _, s := range []string{"", "a", `"\`, "é", "a\r\nb", strings.Repeat("x", 3000), "&", "台北"} {
		for _, utf8 := range []bool{false, true} {
			var b bytes.Buffer
			e := NewEncoder(&b)
			e.UTF8 = utf8
			e.String(s)
			e.CRLF()
			if err := e.Flush(); err != nil {
				t.Fatal(err)
			}
			d := decoderOf(t, b.String())
			if got := d.String(); got != s || d.End() != nil {
				t.Errorf("utf8 %v: %q came back as %q, %v", utf8, s, got, d.Err())
			}
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

type countWriter int64

func (c *countWriter) Write(p []byte) (int, error) { *c += countWriter(len(p)); return len(p), nil }
