package mail

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func parse(t testing.TB, raw string) *Summary {
	t.Helper()
	return checkMessage(t, t.Name(), []byte(raw))
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// shape writes the tree of parts for comparison: type, offsets and lines.
func shape(root *Part) string {
	var b strings.Builder
	root.Walk(func(p *Part, depth int) bool {
		fmt.Fprintf(&b, "%*s%s %d+%d..%d lines %d\n", 2*depth, "", p.MediaType(), p.HeaderStart, p.BodyStart-p.HeaderStart, p.BodyEnd, p.Lines)
		return true
	})
	return b.String()
}

// RFC 2046 section 5.1.1: the example with a preamble and an epilogue.
func TestMultipart(t *testing.T) {
	raw := crlf(`From: Nathaniel Borenstein <nsb@bellcore.com>
To: Ned Freed <ned@innosoft.com>
Date: Sun, 21 Mar 1993 23:56:48 -0800 (PST)
Subject: Sample message
MIME-Version: 1.0
Content-type: multipart/mixed; boundary="simple boundary"

This is the preamble.  It is to be ignored.

--simple boundary

This is implicitly typed plain US-ASCII text.
It does NOT end with a linebreak.
--simple boundary
Content-type: text/plain; charset=us-ascii

This is explicitly typed plain US-ASCII text.
It DOES end with a linebreak.

--simple boundary--

This is the epilogue.  It is also to be ignored.
`)
	s := parse(t, raw)
	if got, want := len(s.Root.Children), 2; got != want {
		t.Fatalf("%d parts, want %d", got, want)
	}
	for i, want := range []string{
		"This is implicitly typed plain US-ASCII text.\r\nIt does NOT end with a linebreak.",
		"This is explicitly typed plain US-ASCII text.\r\nIt DOES end with a linebreak.\r\n",
	} {
		p := s.Root.Children[i]
		if got := raw[p.BodyStart:p.BodyEnd]; got != want || p.Lines != 2 {
			t.Errorf("part %d is %q with %d lines, want %q with 2", i+1, got, p.Lines, want)
		}
	}
	if got, want := raw[s.Root.Children[1].HeaderStart:s.Root.Children[1].BodyStart], "Content-type: text/plain; charset=us-ascii\r\n\r\n"; got != want {
		t.Errorf("header %q, want %q", got, want)
	}
	if want := time.Date(1993, 3, 21, 23, 56, 48, 0, time.FixedZone("", -8*3600)); !s.Date.Equal(want) {
		t.Errorf("date %v, want %v", s.Date, want)
	}
	if want := "This is implicitly typed plain US-ASCII text. It does NOT end with a linebreak."; s.Preview != want {
		t.Errorf("preview %q, want %q", s.Preview, want)
	}
}

func TestLineEnds(t *testing.T) {
	for _, eol := range []string{"\r\n", "\n", "\r"} {
		raw := strings.ReplaceAll("Subject: a|Content-Type: multipart/mixed; boundary=b||--b||one|two|--b||three|--b--|", "|", eol)
		s := parse(t, raw)
		if len(s.Root.Children) != 2 {
			t.Errorf("%q: %s", eol, shape(s.Root))
			continue
		}
		p := s.Root.Children[0]
		if got, want := raw[p.BodyStart:p.BodyEnd], "one"+eol+"two"; got != want || p.Lines != 2 || s.Lines != 11 {
			t.Errorf("%q: part %q with %d lines of %d, want %q", eol, got, p.Lines, s.Lines, want)
		}
	}
}

func TestStructure(t *testing.T) {
	for _, c := range []struct{ name, raw, want string }{
		{"empty", "", "text/plain 0+0..0 lines 0\n"},
		{"header only", "A: b\n", "text/plain 0+5..5 lines 0\n"},
		{"no header", "hello\nworld", "text/plain 0+0..11 lines 2\n"},
		{"mbox line", "From x y\nA: b\n\nc", "text/plain 0+15..16 lines 1\n"},
		{
			"digest", "Content-Type: multipart/digest; boundary=b\n\n--b\n\nA: b\n\nc\n--b--\n",
			"multipart/digest 0+44..63 lines 6\n  message/rfc822 48+1..56 lines 3\n    text/plain 49+6..56 lines 1\n",
		},
		{
			"no parts", "Content-Type: multipart/mixed; boundary=b\n\nhello\n",
			"text/plain 0+43..49 lines 1\n",
		},
		{
			"doubled delimiter", "Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\nx\n--b--",
			"multipart/mixed 0+43..59 lines 5\n  text/plain 51+1..53 lines 1\n",
		},
		{
			"ended by the outer delimiter", "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--a\n\ny\n--a--",
			"multipart/mixed 0+43..109 lines 10\n  multipart/mixed 47+43..96 lines 3\n    text/plain 94+1..96 lines 1\n  text/plain 101+1..103 lines 1\n",
		},
		{
			"header ended by a delimiter", "Content-Type: multipart/mixed; boundary=a\n\n--a\nA: b\n--a--",
			"multipart/mixed 0+43..57 lines 3\n  text/plain 47+4..51 lines 0\n",
		},
		{
			"encoded message", "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nQTogYg==",
			"message/rfc822 0+64..72 lines 1\n  text/plain 64+0..64 lines 0\n",
		},
		{
			"boundary with a longer one inside", "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=aa\n\n--aa\n\nx\n--aa--\n--a--",
			"multipart/mixed 0+43..111 lines 8\n  multipart/mixed 47+44..105 lines 4\n    text/plain 96+1..98 lines 1\n",
		},
	} {
		if got := shape(parse(t, c.raw).Root); got != c.want {
			t.Errorf("%s:\n%swant\n%s", c.name, got, c.want)
		}
	}
}

func TestLimits(t *testing.T) {
	deep := strings.Repeat("Content-Type: message/rfc822\n\n", 200) + "A: b\n\nc"
	s := parse(t, deep)
	depth := 0
	s.Root.Walk(func(_ *Part, d int) bool { depth = max(depth, d); return true })
	if depth > MaxDepth || len(s.Defects) == 0 {
		t.Errorf("depth %d, defects %v", depth, s.Defects)
	}

	s = parse(t, "Content-Type: multipart/mixed; boundary=b\n\n"+strings.Repeat("--b\n\nx\n", 3000)+"--b--\n")
	if n := len(s.Root.Children); n != MaxParts-1 {
		t.Errorf("%d parts", n)
	}

	s = parse(t, "To: "+strings.Repeat("a@b.example,\n ", 20_000)+"\nSubject: late\n\nx")
	if len(s.To) != MaxAddresses || s.Subject != "" || s.Root.Size() != 1 {
		t.Errorf("%d addresses, subject %q, body of %d", len(s.To), s.Subject, s.Root.Size())
	}

	huge := "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\nContent-Type: a/b; name=\""+strings.Repeat("n", 8000)+"\"\n\nx\n", 900) + "--b--\n"
	s, _ = Parse(strings.NewReader(huge))
	if b, err := s.AppendBinary(nil); err != nil || len(b) > maxText+200_000 {
		t.Errorf("summary of %d bytes, %v", len(b), err)
	}

	// A line without end is not kept.
	p := NewParser()
	p.Write([]byte("A: b\n\n"))
	for range 1000 {
		p.Write(bytes.Repeat([]byte("x"), 10_000))
	}
	if got := cap(p.held); got > 4*keepPlain {
		t.Errorf("%d bytes of a long line are held", got)
	}
	if s := p.Summary(); s.Size != 10_000_006 || s.Lines != 3 {
		t.Errorf("size %d, lines %d", s.Size, s.Lines)
	}
}

func TestSummary(t *testing.T) {
	s := parse(t, crlf(`Return-Path: <x@y>
From: "Doe, Jane" <jane@example.org>
Sender: list-owner@example.org
Reply-To: <list@example.org>
To: Undisclosed recipients:;
Cc: A <a@example.org>, b@example.org
Cc: c@example.org
Subject: =?utf-8?q?Caf=C3=A9?=
 =?utf-8?q?_cr=C3=A8me?= today
Date: Fri, 21 Nov 1997 09:55:06 -0600
Message-ID: <1234@local.machine.example>
In-Reply-To: <0@x>
References: <-1@x> (comment)
 <0@x>
X-Priority: 1 (Highest)
Auto-Submitted: auto-replied; owner-email="a@b"
Precedence: Bulk
List-Id: Friends <friends.example.org>
Disposition-Notification-To: jane@example.org
Thread-Topic: Caf
Thread-Index: AcVYwU40wMtR
 c21XQZWc
Content-Type: multipart/signed; boundary=s; protocol="application/pkcs7-signature"

--s
Content-Type: multipart/alternative; boundary=a

--a
Content-Type: text/html; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

<p>Hell=F6 <b>you</b></p>
--a
Content-Type: text/calendar; method=request

BEGIN:VCALENDAR
--a--
--s
Content-Type: application/pkcs7-signature; name=smime.p7s
Content-Transfer-Encoding: base64
Content-Disposition: attachment; filename=smime.p7s

AAAA
--s--
`))
	want := &Summary{
		Envelope: Envelope{
			Date: time.Date(1997, 11, 21, 9, 55, 6, 0, zone(-360)), DateText: "Fri, 21 Nov 1997 09:55:06 -0600",
			Subject: "Café crème today", MessageID: "<1234@local.machine.example>", InReplyTo: "<0@x>",
			From: []Address{{"Doe, Jane", "jane", "example.org"}}, Sender: []Address{{"", "list-owner", "example.org"}},
			ReplyTo: []Address{{"", "list", "example.org"}}, To: []Address{{"", "Undisclosed recipients", ""}, {}},
			Cc: []Address{{"A", "a", "example.org"}, {"", "b", "example.org"}, {"", "c", "example.org"}},
		},
		References: []string{"-1@x", "0@x"}, Preview: "Hellö you", Attachments: 1, Importance: 2,
		Flags: Signed | SMIME | HasCalendar | HasHTML, AutoSubmitted: "auto-replied", Precedence: "bulk",
		ListID: "Friends <friends.example.org>", ReceiptTo: []Address{{"", "jane", "example.org"}},
		CalendarMethod: "REQUEST", ThreadTopic: "Caf", ThreadIndex: "AcVYwU40wMtRc21XQZWc",
		Size: s.Size, Lines: s.Lines, Root: s.Root,
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
	if !s.IsAutomatic() || !s.Has(Signed|SMIME) || s.Has(Encrypted) {
		t.Error("flags")
	}
	plain, html, files := s.Bodies()
	if plain != nil || html == nil || len(files) != 1 || files[0].Filename() != "smime.p7s" {
		t.Errorf("bodies %v %v %v", plain, html, files)
	}
	if more := s.MoreText(); len(more) != 1 || more[0].Subtype != "calendar" {
		t.Errorf("more text %v", more)
	}
}

func TestAutomatic(t *testing.T) {
	for _, c := range []struct {
		header string
		want   bool
	}{
		{"", false},
		{"Auto-Submitted: no", false},
		{"Auto-Submitted: auto-generated", true},
		{"Precedence: list", true},
		{"Precedence: normal", false},
		{"List-Id: <a.b>", true},
		{"Content-Type: multipart/report; boundary=a\n\n--a\n\n--a--", true},
	} {
		if got := parse(t, c.header+"\n\nx").IsAutomatic(); got != c.want {
			t.Errorf("%q: %v", c.header, got)
		}
	}
}

func TestImportance(t *testing.T) {
	for h, want := range map[string]int8{
		"X: y": 1, "Importance: High": 2, "Importance: low": 0, "X-Priority: 5 (Lowest)": 0, "X-Priority: 3": 1,
		"Priority: urgent": 2, "X-MSMail-Priority: High": 2, "Importance: normal": 1,
	} {
		if got := parse(t, h+"\n\n").Importance; got != want {
			t.Errorf("%s: %d, want %d", h, got, want)
		}
	}
}

// RFC 9051 section 6.4.5: the example of section numbers.
func TestFind(t *testing.T) {
	raw := crlf(`Content-Type: multipart/mixed; boundary=a

--a

one
--a
Content-Type: application/octet-stream

two
--a
Content-Type: message/rfc822

Content-Type: multipart/mixed; boundary=b

--b

three one
--b
Content-Type: application/octet-stream

three two
--b--
--a
Content-Type: multipart/mixed; boundary=c

--c
Content-Type: image/gif

four one
--c
Content-Type: message/rfc822

Content-Type: multipart/mixed; boundary=d

--d

four two one
--d
Content-Type: multipart/alternative; boundary=e

--e

four two two one
--e
Content-Type: text/richtext

four two two two
--e--
--d--
--c--
--a--
`)
	root := parse(t, raw).Root
	for _, c := range []struct {
		path []int
		want string
	}{
		{[]int{1}, "one"},
		{[]int{2}, "two"},
		{[]int{3, 1}, "three one"},
		{[]int{3, 2}, "three two"},
		{[]int{4, 1}, "four one"},
		{[]int{4, 2, 1}, "four two one"},
		{[]int{4, 2, 2, 1}, "four two two one"},
		{[]int{4, 2, 2, 2}, "four two two two"},
	} {
		p := Find(root, c.path)
		if p == nil || raw[p.BodyStart:p.BodyEnd] != c.want {
			t.Errorf("%v: %+v, want %q", c.path, p, c.want)
		}
	}
	for _, path := range [][]int{{0}, {5}, {1, 1}, {3, 3}, {3, 1, 1}, {-1}, {4, 2, 2, 3}} {
		if p := Find(root, path); p != nil {
			t.Errorf("%v exists", path)
		}
	}
	if Find(root, nil) != root || Find(root, []int{3}) != root.Children[2] {
		t.Error("root or part 3")
	}
	single := parse(t, "A: b\n\nc").Root
	if Find(single, []int{1}) != single || Find(single, []int{1, 1}) != nil || Find(single, []int{2}) != nil {
		t.Error("message of one part")
	}
	embedded := parse(t, "Content-Type: message/rfc822\n\nA: b\n\nc").Root
	if Find(embedded, []int{1}) != embedded || Find(embedded, []int{1, 1}) != embedded.Message {
		t.Error("message that is a message")
	}
}

func TestFields(t *testing.T) {
	raw := "From x\r\nSubject: a\r\n  b\r\nTO: c\nX : d\r\n e\rsubject: f\r\nbroken\r\n\r\nbody"
	s := parse(t, raw)
	s.Root.BodyStart = int64(strings.Index(raw, "body"))
	f, err := ReadFields(strings.NewReader(raw), s.Root)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		names []string
		not   bool
		want  string
	}{
		{[]string{"SUBJECT"}, false, "Subject: a\r\n  b\r\nsubject: f\r\n\r\n"},
		{[]string{"to", "x"}, false, "TO: c\nX : d\r\n e\r\r\n"},
		{[]string{"subject"}, true, "TO: c\nX : d\r\n e\r\r\n"},
		{[]string{"none"}, false, "\r\n"},
	} {
		if got := string(f.Filter(c.names, c.not)); got != c.want {
			t.Errorf("Filter(%v, %v) = %q, want %q", c.names, c.not, got, c.want)
		}
	}
	if got := f.Get("Subject"); got != "a  b" {
		t.Errorf("Get = %q", got)
	}
	if diff := cmp.Diff([]string{"a  b", "f"}, f.Values("subject")); diff != "" {
		t.Error(diff)
	}
	if got := ParseFields([]byte("A: b")).Filter([]string{"a"}, false); string(got) != "A: b\r\n\r\n" {
		t.Errorf("unfinished line: %q", got)
	}
}

func text(t *testing.T, header, body string) string {
	t.Helper()
	raw := header + "\n\n" + body
	s := parse(t, raw)
	b, err := io.ReadAll(s.Root.Text(strings.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestText(t *testing.T) {
	const ct = "Content-Type: text/plain; charset="
	const qp = "\nContent-Transfer-Encoding: quoted-printable"
	const b64 = "\nContent-Transfer-Encoding: base64"
	for _, c := range []struct{ header, body, want string }{
		{ct + "iso-8859-1", "\xe9\x80", "é€"},
		{ct + "\"KOI8-R\"", "\xf0\xd2\xc9", "При"},
		{ct + "utf-7", "Hi +AOk-+- A+2D3cAA-", "Hi é+ A🐀"},
		{ct + "iso-2022-jp", "\x1b$B$3\x1b(B.", "こ."},
		{ct + "gb2312", "\xc4\xe3", "你"},
		{ct + "iso-8859-8-i", "\xf9", "ש"},
		{ct + "cp-850", "\x82", "é"},
		{ct + "utf-16le", "a\x00\xac\x20", "a€"},
		{ct + "x-nonsense", "\xe9", "é"},
		{ct + "us-ascii", "caf\xe9", "café"},
		{ct + "us-ascii", "café", "café"},
		{ct + "utf-8", "good é \xff", "good é \uFFFD"},
		{ct + "utf-8", "a\xe9b", "aéb"},
		{"A: b", "\x82\xb1\x82\xf1\x82\xc9\x82\xbf\x82\xcd", "こんにちは"},
		{"A: b", "a\x00\x01\x0cb\x7f\uFFFE", "a b"},
		{"Content-Type: text/html", "<meta charset=koi8-r>\xf0", "<meta charset=koi8-r>П"},
		{ct + "utf-8" + qp, "a=C3=A9 =\nb  \nc=\r\nd=4 =zz =", "aé b\ncd=4 =zz "},
		{ct + "utf-8" + qp, "x= \t\ny", "xy"},
		{ct + "utf-8" + b64, "w6\nk=\n-- \nlist footer", "é"},
		{ct + "utf-8" + b64, "YWJj!ZGVm", "abcdef"},
		{ct + "utf-8" + b64, "YWJjZ", "abc"},
		{ct + "utf-8" + b64, "This is no base64 at all, sir!", "This is no base64 at all, sir!"},
		{"Content-Transfer-Encoding: x-uuencode", "begin 644 x\n#86)C\n`\nend\n", "abc"},
		{"Content-Transfer-Encoding: odd", "abc", "abc"},
	} {
		if got := text(t, c.header, c.body); got != c.want {
			t.Errorf("%q %q: got %q, want %q", c.header, c.body, got, c.want)
		}
	}
}

// A decoder must not depend on how its input is cut.
func TestDecodeInPieces(t *testing.T) {
	long := strings.Repeat("=C3=A9 text   \r\n=\r\n w6k= ", 5000)
	for _, enc := range []string{"base64", "quoted-printable", "x-uuencode"} {
		whole, _ := io.ReadAll(decodeTransfer(strings.NewReader(long), enc, int64(len(long))))
		slow, _ := io.ReadAll(decodeTransfer(&slowReader{s: long}, enc, 1))
		if !bytes.Equal(whole, slow) {
			t.Errorf("%s: %d bytes at once, %d in pieces", enc, len(whole), len(slow))
		}
	}
}

type slowReader struct {
	s string
	n int
}

func (r *slowReader) Read(b []byte) (int, error) {
	if r.s == "" {
		return 0, io.EOF
	}
	r.n = r.n%5 + 1
	n := copy(b, r.s[:min(r.n, len(r.s))])
	r.s = r.s[n:]
	return n, nil
}

// Hostile headers cost time in proportion to their length only.
func TestHostile(t *testing.T) {
	fill := func(unit string) string { return strings.Repeat(unit, (MaxHeader-100)/len(unit)) }
	for _, unit := range []string{
		",<", "x=?a?q?x", "=?a?q?", "(", "\"", "a:", "a@b:", "[a]", "re:", "[fwd:", "<", "=?utf-8?q?a?= ", "\\", ";a=\"", "*0*=", "a\n ", "\x80", "\x1b$", "@",
	} {
		for _, field := range []string{"Subject", "To", "Content-Type", "Content-Disposition: a; name", "References", "Date", "Content-Language"} {
			raw := field + ": " + fill(unit) + "\nX: y\n\nbody"
			start := time.Now()
			s, _ := Parse(strings.NewReader(raw))
			BaseSubject(s.Subject)
			if d := time.Since(start); d > 2*time.Second { // some milliseconds when all is well
				t.Errorf("%q in %s: took %v", unit, field, d)
			}
			if len(s.Root.Params) > maxParams || len(s.To) > MaxAddresses {
				t.Errorf("%q in %s: %d parameters, %d addresses", unit, field, len(s.Root.Params), len(s.To))
			}
		}
	}
}
