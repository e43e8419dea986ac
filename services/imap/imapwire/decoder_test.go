package imapwire

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/google/go-cmp/cmp"
)

func decoderOf(t testing.TB, in string) *Decoder {
	t.Helper()
	d := NewDecoder(strings.NewReader(in), Limits{})
	d.Continue = func() error { return nil }
	if err := d.Next(); err != nil {
		t.Fatalf("Next(%q): %v", in, err)
	}
	return d
}

func TestValues(t *testing.T) {
	tests := []struct {
		name, in string
		read     func(*Decoder) any
		want     any // nil: an error
	}{
		{"tag", "a.1", func(d *Decoder) any { return d.Tag() }, "a.1"},
		{"tag with plus", "+", func(d *Decoder) any { return d.Tag() }, nil},
		{"word", "uid", func(d *Decoder) any { return d.Word() }, "UID"},
		{"atom", "a]", func(d *Decoder) any { return d.Atom() }, nil},
		{"astring", "a]b", func(d *Decoder) any { return d.AString() }, "a]b"},
		{"empty astring", "", func(d *Decoder) any { return d.AString() }, nil},
		{"quoted", `"a\"b\\c"`, func(d *Decoder) any { return d.String() }, `a"b\c`},
		{"quoted 8-bit", "\"\xc3\xa9\"", func(d *Decoder) any { return d.String() }, "é"},
		{"quoted bad escape", `"a\n"`, func(d *Decoder) any { return d.String() }, nil},
		{"quoted open", `"abc`, func(d *Decoder) any { return d.String() }, nil},
		{"quoted NUL", "\"a\x00\"", func(d *Decoder) any { return d.String() }, nil},
		{"literal", "{3}\r\nabc", func(d *Decoder) any { return d.AString() }, "abc"},
		{"literal with line end", "{4+}\r\na\r\nb", func(d *Decoder) any { return d.AString() }, "a\r\nb"},
		{"literal empty", "{0}\r\n", func(d *Decoder) any { return d.AString() }, ""},
		{"literal NUL", "{1}\r\n\x00", func(d *Decoder) any { return d.AString() }, nil},
		{"literal8 where none may be", "~{1}\r\na", func(d *Decoder) any { return d.AString() }, nil},
		{"literal too large", "{70000}\r\n", func(d *Decoder) any { return d.AString() }, nil},
		{"literal overflow", "{99999999999999999999999}\r\n", func(d *Decoder) any { return d.AString() }, nil},
		{"literal not at the end", "{3} abc", func(d *Decoder) any { return d.AString() }, nil},
		{"number", "4294967295", func(d *Decoder) any { return d.Number() }, uint32(4294967295)},
		{"number overflow", "4294967296", func(d *Decoder) any { return d.Number() }, nil},
		{"number64", "9223372036854775807", func(d *Decoder) any { return d.Number64() }, uint64(9223372036854775807)},
		{"number64 overflow", "9223372036854775808", func(d *Decoder) any { return d.Number64() }, nil},
		{"seq set", "1,3:5,*", func(d *Decoder) any { return d.SeqSet().String() }, "1,3:5,*"},
		{"seq set reversed", "5:3,*:2", func(d *Decoder) any { return d.SeqSet().String() }, "2:*"},
		{"seq set zero", "0", func(d *Decoder) any { return d.SeqSet() }, nil},
		{"seq set open", "1,", func(d *Decoder) any { return d.SeqSet() }, nil},
		{"search result", "$", func(d *Decoder) any { return d.NumSet(true).String() }, "$"},
		{"flags", `(\Seen $Work \flagged)`, func(d *Decoder) any { return d.FlagList() }, []imap.Flag{"\\Seen", "$Work", "\\flagged"}},
		{"flags without list", `\Seen a`, func(d *Decoder) any { return d.Flags() }, []imap.Flag{"\\Seen", "a"}},
		{"flags empty", `()`, func(d *Decoder) any { return d.FlagList() }, []imap.Flag(nil)},
		{"date", "1-feb-2003", func(d *Decoder) any { return d.Date() }, time.Date(2003, 2, 1, 0, 0, 0, 0, time.UTC)},
		{"date quoted", `"12-Dec-1999"`, func(d *Decoder) any { return d.Date() }, time.Date(1999, 12, 12, 0, 0, 0, 0, time.UTC)},
		{"date wrong", "31-Feb-2003", func(d *Decoder) any { return d.Date() }, nil},
		{"date-time", `" 1-Feb-2003 04:05:06 +0100"`, func(d *Decoder) any { return d.DateTime().UTC() }, time.Date(2003, 2, 1, 3, 5, 6, 0, time.UTC)},
		{"inbox", "iNbOx", func(d *Decoder) any { return d.Mailbox() }, "INBOX"},
		{"mailbox utf-7", "~peter/mail/&U,BTFw-/&ZeVnLIqe-", func(d *Decoder) any { return d.Mailbox() }, "~peter/mail/台北/日本語"},
		{"mailbox ampersand", "a&-b", func(d *Decoder) any { return d.Mailbox() }, "a&b"},
		{"mailbox bad utf-7", "a&b", func(d *Decoder) any { return d.Mailbox() }, nil},
		{"mailbox utf-7 of ascii", "&AGE-", func(d *Decoder) any { return d.Mailbox() }, nil},
		{"mailbox control", "\"a\x01b\"", func(d *Decoder) any { return d.Mailbox() }, nil},
		{"mailbox not utf-8", "\"\xff\"", func(d *Decoder) any { return d.Mailbox() }, nil},
		{"pattern", "a/%*]", func(d *Decoder) any { return d.ListMailbox() }, "a/%*]"},
		{"nstring nil", "nil", func(d *Decoder) any { s, ok := d.NString(); return fmt.Sprintf("%q %v", s, ok) }, `"" false`},
		{"nstring", `"NIL"`, func(d *Decoder) any { s, ok := d.NString(); return fmt.Sprintf("%q %v", s, ok) }, `"NIL" true`},
		{"section whole", "[]", func(d *Decoder) any { return *d.BodySection() }, imap.FetchItemBodySection{}},
		{
			"section part", "[1.2.MIME]<0.10>", func(d *Decoder) any { return *d.BodySection() },
			imap.FetchItemBodySection{Part: []int{1, 2}, Specifier: imap.PartSpecifierMIME, Partial: &imap.SectionPartial{Size: 10}},
		},
		{
			"section fields", "[3.HEADER.FIELDS (From {2}\r\nTo)]", func(d *Decoder) any { return *d.BodySection() },
			imap.FetchItemBodySection{Part: []int{3}, Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"From", "To"}},
		},
		{
			"section fields not", "[header.fields.not (A)]", func(d *Decoder) any { return *d.BodySection() },
			imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFieldsNot: []string{"A"}},
		},
		{"section no fields", "[HEADER.FIELDS ()]", func(d *Decoder) any { return *d.BodySection() }, nil},
		{"section mime of all", "[MIME]", func(d *Decoder) any { return *d.BodySection() }, nil},
		{"section trailing dot", "[1.]", func(d *Decoder) any { return *d.BodySection() }, nil},
		{"section part zero", "[0]", func(d *Decoder) any { return *d.BodySection() }, nil},
		{"section partial of none", "[]<0.0>", func(d *Decoder) any { return *d.BodySection() }, nil},
		{"binary section", "[1.2]", func(d *Decoder) any { return d.BinarySection() }, []int{1, 2}},
		{"binary section text", "[1.TEXT]", func(d *Decoder) any { return d.BinarySection() }, nil},
		{"list not closed", "(a b", func(d *Decoder) any { d.List(func() { d.Atom() }); return 0 }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := decoderOf(t, tt.in+"\r\n")
			got := tt.read(d)
			err := d.End()
			if tt.want == nil {
				if err == nil {
					t.Errorf("read %q as %#v, want an error", tt.in, got)
				}
				return
			}
			if err != nil {
				t.Fatalf("read %q: %v", tt.in, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("read %q (-want +got):\n%s", tt.in, diff)
			}
		})
	}
}

// The framing must hold whatever becomes of a command: each input is one
// command that is not understood, followed by NEXT.
func TestFinishStaysInStep(t *testing.T) {
	big := strings.Repeat("x", 5000)
	tests := []struct {
		name, in string
		desync   bool
	}{
		{name: "plain", in: "a FOO bar\r\n"},
		{name: "synchronizing literal is not sent", in: "a FOO {100}\r\n"},
		{name: "non-synchronizing literal", in: "a FOO {21+}\r\nb DELETE Precious\r\n\r\n\r\n"},
		{name: "two literals", in: "a FOO {3+}\r\nabc {2+}\r\n\r\n {3}\r\n"},
		{name: "above the limit of LITERAL-", in: "a APPEND x {5000+}\r\n" + big + "\r\n"},
		{name: "too large to skip", in: "a APPEND x {50000000+}\r\n", desync: true},
		{name: "endless number", in: "a APPEND x {" + strings.Repeat("9", 40) + "+}\r\n", desync: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := NewDecoder(iotest.OneByteReader(strings.NewReader(tt.in+"NEXT\r\n")), Limits{})
			if err := d.Next(); err != nil {
				t.Fatal(err)
			}
			d.Tag()
			d.Fail("unknown command")
			err := d.Finish()
			if tt.desync {
				if !errors.Is(err, ErrDesync) {
					t.Errorf("Finish = %v, want ErrDesync", err)
				}
				if err := d.Next(); !errors.Is(err, ErrDesync) {
					t.Errorf("Next after it = %v, want ErrDesync", err)
				}
				return
			}
			if err != nil {
				t.Fatalf("Finish: %v", err)
			}
			if err := d.Next(); err != nil {
				t.Fatal(err)
			}
			if got := d.Word(); got != "NEXT" {
				t.Errorf("next command is %q, want NEXT", got)
			}
		})
	}
}

func TestStreamLiteral(t *testing.T) {
	asked := 0
	in := "{10}\r\n0123456789 tail\r\n{10}\r\nNEXT\r\n"
	d := NewDecoder(strings.NewReader(in), Limits{Command: 40})
	d.Continue = func() error { asked++; return nil }
	if err := d.Next(); err != nil {
		t.Fatal(err)
	}
	r := d.StreamLiteral(100)
	half := make([]byte, 5)
	if _, err := io.ReadFull(r, half); err != nil || string(half) != "01234" {
		t.Fatalf("read %q, %v", half, err)
	}
	d.EndLiteral() // the other half is skipped
	d.SP()
	if got := d.Atom(); got != "tail" || d.End() != nil {
		t.Errorf("after the literal: %q, %v", got, d.Err())
	}
	if err := d.Finish(); err != nil {
		t.Fatal(err)
	}
	if err := d.Next(); err != nil {
		t.Fatal(err)
	}
	if r := d.StreamLiteral(9); r != nil {
		t.Error("a literal above max was given out")
	}
	var big *TooBigError
	if !errors.As(d.Err(), &big) || big.Size != 10 || big.Max != 9 {
		t.Errorf("err = %v, want TooBigError{10, 9}", d.Err())
	}
	if asked != 1 {
		t.Errorf("asked for %d literals, want 1", asked)
	}
	if err := d.Finish(); err != nil {
		t.Fatal(err)
	}
	if err := d.Next(); err != nil || d.Word() != "NEXT" {
		t.Errorf("the command after a refused literal is lost: %v", err)
	}
}

func TestCommandLimit(t *testing.T) {
	d := NewDecoder(strings.NewReader("a "+strings.Repeat("x", 100)+"\r\n"), Limits{Command: 50})
	if err := d.Next(); !errors.Is(err, ErrTooLong) {
		t.Errorf("Next = %v, want ErrTooLong", err)
	}
	d = NewDecoder(strings.NewReader("{30+}\r\n"+strings.Repeat("x", 30)+" {30+}\r\n"+strings.Repeat("x", 30)+"\r\n"), Limits{Command: 60})
	if err := d.Next(); err != nil {
		t.Fatal(err)
	}
	d.AString()
	d.SP()
	d.AString()
	var big *TooBigError
	if !errors.As(d.Err(), &big) {
		t.Errorf("second literal: %v, want TooBigError", d.Err())
	}
	// One long command must not keep its memory.
	d = NewDecoder(strings.NewReader(strings.Repeat("x", 60000)+"\r\nNOOP\r\n"), Limits{})
	if err := d.Next(); err != nil {
		t.Fatal(err)
	}
	if err := d.Next(); err != nil {
		t.Fatal(err)
	}
	if cap(d.line) > 4*readerSize {
		t.Errorf("line buffer keeps %d bytes", cap(d.line))
	}
}

func FuzzDecoder(f *testing.F) {
	for _, s := range []string{
		"a APPEND x (\\Seen) \" 1-Feb-2003 04:05:06 +0100\" {3}\r\nabc\r\n",
		"a FETCH 1:*,$ BODY.PEEK[1.2.HEADER.FIELDS (a {1+}\r\nb)]<0.5>\r\n",
		"a SEARCH OR NOT {2+}\r\nxx 1-Jan-2000 &U,BTFw-\r\nb NOOP\r\n",
		"~{5+}\r\nab\x00cd\r\n", "{99999999999999999999+}\r\n", "((((((\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		reads := []func(*Decoder){
			func(d *Decoder) { d.Tag() },
			func(d *Decoder) { d.Mailbox() },
			func(d *Decoder) { d.FlagList() },
			func(d *Decoder) { d.NumSet(false) },
			func(d *Decoder) { d.Date() },
			func(d *Decoder) { d.DateTime() },
			func(d *Decoder) { d.BodySection() },
			func(d *Decoder) { d.BinarySection() },
			func(d *Decoder) { d.List(func() { d.AString() }) },
			func(d *Decoder) { d.ListMailbox() },
			func(d *Decoder) { d.NString() },
			func(d *Decoder) { d.Number64() },
		}
		for i := range reads {
			d := NewDecoder(strings.NewReader(string(in)), Limits{Command: 1 << 10})
			d.Continue = func() error { return nil }
			for n := 0; d.Next() == nil; n++ {
				for j := range 6 {
					reads[(i+j*(i+1))%len(reads)](d)
					d.TrySP()
				}
				if r := d.StreamLiteral(1 << 20); r != nil {
					if _, err := io.Copy(io.Discard, r); err == nil {
						d.EndLiteral()
					}
				}
				if d.End() == nil && !d.AtEnd() {
					t.Fatal("End accepted a command that goes on")
				}
				if d.Finish() != nil {
					break
				}
				if n > len(in) {
					t.Fatal("reads more commands than there are bytes")
				}
			}
		}
	})
}

func FuzzUTF7(f *testing.F) {
	for _, s := range []string{"&U,BTFw-", "a&-b", "&Jjo-&Jjo-", "&AGE-", "&2D3eCg-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := DecodeUTF7(s)
		if err != nil {
			return
		}
		if back := string(AppendUTF7(nil, name)); back != s && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q decodes to %q and encodes to %q", s, name, back)
		}
	})
}
