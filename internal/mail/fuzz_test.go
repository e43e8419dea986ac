package mail

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"waypost/internal/corpus"
)

// seeds are messages with the shapes that parsers get wrong.
var seeds = []string{
	"",
	"\r\n",
	"Subject: x",
	"Subject: x\r\n\r\nbody",
	"From x\nA: b\n\nc\rd",
	"no header at all\r\n",
	"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\none\r\n--a\r\nContent-Type: text/html\r\n\r\n<p>two\r\n--a--\r\nend",
	"Content-Type: multipart/mixed; boundary=a\n\n--a\n--a\n--a--",
	"Content-Type: multipart/mixed; boundary=\"\"\n\n--\n\nx\n----\n",
	"Content-Type: multipart/digest; boundary=a\r\n\r\n--a\r\n\r\nSubject: in\r\n\r\nx\r\n--a--",
	"Content-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n\r\nFrom: a@b\r\n\r\nx",
	"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nRnJvbTogYQ==",
	"Content-Type: message/rfc822",
	"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n--b--",
	"Content-Type: text/plain; charset=utf-7\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n+AGE-=\r\n=41=",
	"Content-Type: application/x; name*0*=utf-8''%e2; name*1*=%82%ac; x*=y; =z; a\r\nContent-Transfer-Encoding: uuencode\r\n\r\nbegin 644 x\n#86)C\nend",
	"To: a: b@c, \"d\\\"e\"@f;, <@g,@h:i@j> (k), =?utf-8?q?l?= m <n@o\r\nFrom: <\r\nCc: (((\r\n\r\n",
	"Subject: =?utf-8?b?4oKs?= =?iso-2022-jp?B?GyRC?=\x80\x1b$B\r\nDate: 1 1 1 1:1:1 +9999\r\nReferences: <<a> <b>c>\r\n\r\n",
	"Content-Type: text/html\r\n\r\n<title>a<body><pre>\n\n x<br><li>y&nbsp;&#0;&#xd800;<script>",
	"Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\r\nMETHOD:request\r\n",
}

func addSeeds(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	dir, err := corpus.Find()
	if err != nil {
		return
	}
	for _, pattern := range []string{"mail/stalwartlabs_mail-parser/*.eml", "mail/python-email/*.eml"} {
		names, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, name := range names {
			if b, err := os.ReadFile(name); err == nil && len(b) < 4<<10 {
				f.Add(b)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) { checkMessage(t, "fuzz", raw) })
}

// checkMessage proves of any bytes all that the package promises of them.
func checkMessage(t testing.TB, name string, raw []byte) *Summary {
	t.Helper()
	s, err := Parse(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	checkTree(t, name, s, raw)
	if _, err := Parse(io.MultiReader(bytes.NewReader(raw), failing{io.ErrClosedPipe})); err != io.ErrClosedPipe {
		t.Errorf("%s: reader's error lost: %v", name, err)
	}

	// The pieces in which a message arrives make no difference.
	p := NewParser()
	for i, n := 0, 1; i < len(raw); i, n = i+n, n%7+1 {
		p.Write(raw[i:min(i+n, len(raw))])
	}
	if diff := cmp.Diff(s, p.Summary()); diff != "" {
		t.Errorf("%s: read in pieces:\n%s", name, diff)
	}

	b, err := s.AppendBinary(nil)
	if err != nil {
		t.Fatalf("%s: encode: %v", name, err)
	}
	got, err := DecodeSummary(b)
	if err != nil {
		t.Fatalf("%s: decode: %v", name, err)
	}
	if diff := cmp.Diff(normal(s), normal(got)); diff != "" {
		t.Errorf("%s: binary round trip:\n%s", name, diff)
	}

	for _, text := range allTexts(s) {
		if !cleanText(text) {
			t.Errorf("%s: unclean text %q", name, text)
		}
	}
	if utf8.RuneCountInString(s.Preview) > MaxPreview || strings.ContainsAny(s.Preview, "\r\n") {
		t.Errorf("%s: preview %q", name, s.Preview)
	}
	c := bytes.NewReader(raw)
	s.Root.Walk(func(p *Part, depth int) bool {
		if depth > MaxDepth {
			t.Errorf("%s: depth %d", name, depth)
		}
		if _, err := io.Copy(io.Discard, p.Decoded(c)); err != nil {
			t.Errorf("%s: decoded: %v", name, err)
		}
		text, err := io.ReadAll(p.Text(c))
		if err != nil || !cleanText(string(text)) {
			t.Errorf("%s: text: %v, %q", name, err, text)
		}
		fields, err := ReadFields(c, p)
		if err != nil {
			t.Errorf("%s: fields: %v", name, err)
		}
		fields.Filter([]string{"subject"}, true)
		for i := range fields.Len() {
			if _, v := fields.At(i); !utf8.ValidString(v) {
				t.Errorf("%s: field %q", name, v)
			}
		}
		return true
	})
	s.Bodies()
	return s
}

// normal is s as it is after a round trip: empty lists and maps are nil.
func normal(s *Summary) *Summary {
	n := *s
	n.Root.Walk(func(p *Part, _ int) bool {
		if len(p.Params) == 0 {
			p.Params = nil
		}
		if len(p.DispParams) == 0 {
			p.DispParams = nil
		}
		return true
	})
	return &n
}

func allTexts(s *Summary) (all []string) {
	addresses := func(l []Address) {
		for _, a := range l {
			all = append(all, a.Name, a.Mailbox, a.Host, a.String(), FormatAddress(a))
		}
	}
	envelope := func(e *Envelope) {
		for _, t := range e.texts() {
			all = append(all, *t)
		}
		for _, l := range e.lists() {
			addresses(*l)
		}
	}
	envelope(&s.Envelope)
	addresses(s.ReceiptTo)
	for _, t := range s.texts() {
		all = append(all, *t)
	}
	all = append(append(all, s.References...), s.Defects...)
	s.Root.Walk(func(p *Part, _ int) bool {
		for _, t := range p.texts() {
			all = append(all, *t)
		}
		for _, m := range []map[string]string{p.Params, p.DispParams} {
			for k, v := range m {
				all = append(all, k, v)
			}
		}
		all = append(append(all, p.Language...), p.Filename())
		if p.Envelope != nil {
			envelope(p.Envelope)
		}
		return true
	})
	return all
}

func cleanText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r < ' ' && r != '\t' && r != '\r' && r != '\n' || r == 0xfffe || r == 0xffff {
			return false
		}
	}
	return true
}

func FuzzDecodeSummary(f *testing.F) {
	for _, s := range seeds {
		sum, _ := Parse(strings.NewReader(s))
		b, err := sum.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSummary(b)
		if err != nil {
			return
		}
		again, err := s.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeSummary(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, got); diff != "" {
			t.Error(diff)
		}
	})
}

func FuzzHTMLToText(f *testing.F) {
	for _, s := range []string{
		"", "<p>a<p>b", "a<br><br><br>b", "<pre>a\n b</pre>", "<ul><li>x<li>y</ul>", "<head><title>t</title>a<body>b",
		"<style>x</style>&amp;&#0;", "<!-- x -->", "<table><tr><td>1<td>2<tr><td>3</table>", "\xff<svg><svg>",
	} {
		f.Add([]byte(s), 0)
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		limit = max(limit, 0)
		got := HTMLToText(bytes.NewReader(b), limit)
		if !cleanText(got) || limit > 0 && len(got) > limit {
			t.Errorf("HTMLToText(%q, %d) = %q", b, limit, got)
		}
		if h := TextToHTML(string(b)); !cleanText(h) {
			t.Errorf("TextToHTML(%q) = %q", b, h)
		}
	})
}

func FuzzHeader(f *testing.F) {
	for _, s := range []string{"", "=?utf-8?q?a?=", "a <b@c>, d: e@f;", "Re: [x] Fwd: y (fwd)", "Fri, 21 Nov 1997 09:55:06 -0600", "<a@b> <c@d>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = headerString([]byte(s), "")
		for _, v := range []string{DecodeHeader(s), EncodeWord(s), EncodeHeader("X", s), FormatAddresses(ParseAddresses(s))} {
			if !cleanText(v) {
				t.Errorf("%q becomes %q", s, v)
			}
		}
		if got := DecodeHeader(EncodeWord(s)); squash(got) != squash(cleanLine(s)) && !strings.Contains(s, "=?") {
			t.Errorf("DecodeHeader(EncodeWord(%q)) = %q", s, got)
		}
		for _, a := range ParseAddresses(s) {
			got := ParseAddresses(FormatAddress(a))
			if a.Host != "" && a.Host != MissingHost && isDotAtom(a.Host) && a.Mailbox != "" &&
				(len(got) != 1 || got[0].Addr() != a.Addr()) {
				t.Errorf("%#v written as %q is read as %#v", a, FormatAddress(a), got)
			}
		}
		base, _ := BaseSubject(s)
		if again, _ := BaseSubject(base); again != base {
			t.Errorf("BaseSubject(%q) = %q, and of that %q", s, base, again)
		}
		ParseDate(s)
		MessageIDs(s)
	})
}
