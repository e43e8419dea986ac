package mail

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// RFC 5322 appendix A.1.2, A.1.3, A.5 and A.6.1, and what real mail writes.
func TestParseAddresses(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []Address
	}{
		{`"Joe Q. Public" <john.q.public@example.com>`, []Address{{"Joe Q. Public", "john.q.public", "example.com"}}},
		{`Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>`, []Address{{"Mary Smith", "mary", "x.test"}, {"", "jdoe", "example.org"}, {"Who?", "one", "y.test"}}},
		{`<boss@nil.test>, "Giant; \"Big\" Box" <sysservices@example.net>`, []Address{{"", "boss", "nil.test"}, {`Giant; "Big" Box`, "sysservices", "example.net"}}},
		{`A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;`, []Address{{"", "A Group", ""}, {"Ed Jones", "c", "a.test"}, {"", "joe", "where.test"}, {"John", "jdoe", "one.test"}, {}}},
		{`Undisclosed recipients:;`, []Address{{"", "Undisclosed recipients", ""}, {}}},
		{`Pete(A nice \) chap) <pete(his account)@silly.test(his host)>`, []Address{{"Pete", "pete", "silly.test"}}},
		{`(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;`, []Address{{"", "Hidden recipients", ""}, {}}},
		{`Joe Q. Public <john.q.public@example.com>`, []Address{{"Joe Q. Public", "john.q.public", "example.com"}}},
		{`Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example`, []Address{{"Mary Smith", "mary", "example.net"}, {"", "jdoe", "test.example"}}},
		{`John Doe <jdoe@machine(comment).  example>`, []Address{{"John Doe", "jdoe", "machine.example"}}},
		{`"a b"@example.org`, []Address{{"", "a b", "example.org"}}},
		{`=?iso-8859-1?q?J=F8rn?= =?iso-8859-1?q?_Doe?= <j@x.y>`, []Address{{"Jørn Doe", "j", "x.y"}}},
		{`"=?utf-8?q?caf=C3=A9=2C_x?=" <j@x.y>`, []Address{{"café, x", "j", "x.y"}}},
		{`j@x.y (Jane Doe)`, []Address{{"Jane Doe", "j", "x.y"}}},
		{`jørgen@exämple.org`, []Address{{"", "jørgen", "exämple.org"}}},
		{`root`, []Address{{"", "root", MissingHost}}},
		{`Jane Doe`, []Address{{"Jane Doe", "", MissingHost}}},
		{`Jane <jane>`, []Address{{"Jane", "jane", MissingHost}}},
		{`jane@x.y <jane@x.y>`, []Address{{"jane@x.y", "jane", "x.y"}}},
		{`Jane <mailto:jane@x.y>`, []Address{{"Jane", "jane", "x.y"}}},
		{`Jane jane@x.y`, []Address{{"Jane", "jane", "x.y"}}},
		{`<a@b> <c@d>`, []Address{{"", "a", "b"}, {"", "c", "d"}}},
		{`Jane <jane@x.y, b@c`, []Address{{"Jane", "jane", "x.y"}, {"", "b", "c"}}},
		{`jane@x.y>`, []Address{{"", "jane", "x.y"}}},
		{`a@b; c@d`, []Address{{"", "a", "b"}, {"", "c", "d"}}},
		{`jane@[192.0.2.1]`, []Address{{"", "jane", "[192.0.2.1]"}}},
		{`<>`, nil},
		{`, ,`, nil},
	} {
		if diff := cmp.Diff(c.want, ParseAddresses(c.in)); diff != "" {
			t.Errorf("%s:\n%s", c.in, diff)
		}
	}
}

func TestFormatAddress(t *testing.T) {
	for _, c := range []struct {
		a               Address
		text, formatted string
	}{
		{Address{"", "a", "b.c"}, "a@b.c", "a@b.c"},
		{Address{"Jane Doe", "a", "b.c"}, "Jane Doe <a@b.c>", "Jane Doe <a@b.c>"},
		{Address{"Doe, Jane", "a", "b.c"}, `"Doe, Jane" <a@b.c>`, `"Doe, Jane" <a@b.c>`},
		{Address{`a "b" \`, "a", "b.c"}, `"a \"b\" \\" <a@b.c>`, `"a \"b\" \\" <a@b.c>`},
		{Address{"Jørn (x)", "a", "b.c"}, `"Jørn (x)" <a@b.c>`, "=?utf-8?q?J=C3=B8rn_=28x=29?= <a@b.c>"},
		{Address{"", "a b", "b.c"}, `"a b"@b.c`, `"a b"@b.c`},
		{Address{"", ".a", "b.c"}, `".a"@b.c`, `".a"@b.c`},
		{Address{"x", "root", MissingHost}, "x <root>", "x <root>"},
		{Address{"", "A Group", ""}, "A Group:", "A Group:"},
		{Address{}, ";", ";"},
	} {
		if got := c.a.String(); got != c.text {
			t.Errorf("%#v: String %q, want %q", c.a, got, c.text)
		}
		if got := FormatAddress(c.a); got != c.formatted {
			t.Errorf("%#v: FormatAddress %q, want %q", c.a, got, c.formatted)
		}
	}
	list := ParseAddresses("a@b, G: c@d, E <e@f>;, g@h")
	if got, want := FormatAddresses(list), "a@b, G: c@d, E <e@f>;, g@h"; got != want {
		t.Errorf("FormatAddresses %q, want %q", got, want)
	}
}

// RFC 2047 section 8, RFC 2231 section 5, and what writers made of them.
func TestDecodeHeader(t *testing.T) {
	for in, want := range map[string]string{
		"=?ISO-8859-1?Q?a?=":                                "a",
		"=?ISO-8859-1?Q?a?= b":                              "a b",
		"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=":             "ab",
		"=?ISO-8859-1?Q?a?=  \r\n =?ISO-8859-1?Q?b?=":       "ab",
		"=?ISO-8859-1?Q?a_b?=":                              "a b",
		"=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=":            "a b",
		"=?US-ASCII?Q?Keith_Moore?=":                        "Keith Moore",
		"=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=": "If you can read this yo",
		"=?US-ASCII*EN?Q?Keith?=":                           "Keith",
		"=?utf-8?q?=E2=82?= =?utf-8?q?=AC?=":                "€",
		"=?utf-8?b?4oI=?= =?utf-8?b?rA==?=":                 "€",
		"=?utf-8?Q?a b?=":                                   "a b",
		"x=?utf-8?Q?=C3=A9?=y":                              "xéy",
		"=?nonsense?q?=E9?=":                                "é",
		"=?utf-8?x?a?=":                                     "=?utf-8?x?a?=",
		"=?utf-8?q?a":                                       "=?utf-8?q?a",
		"=??q?a?=":                                          "=??q?a?=",
		"a\r\n b\tc\x00":                                    "a   b c",
		"=?utf-8?q?a=00=0Ab?=":                              "a b",
		"=?iso-8859-1?q?Fr\u00f6sche?=":                     "Frösche",
		"":                                                  "",
	} {
		if got := DecodeHeader(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestEncodeHeader(t *testing.T) {
	long := strings.Repeat("Grüße ", 30)
	for _, c := range []struct{ name, text string }{
		{"Subject", "plain"},
		{"Subject", "Grüße"},
		{"Subject", strings.Repeat("word ", 40) + "end"},
		{"Subject", strings.TrimSpace(long)},
		{"Subject", strings.Repeat("日本語", 40)},
		{"Subject", "=?utf-8?q?not really?="},
		{"Subject", strings.Repeat("x", 200)},
		{"Subject", ""},
		{"Subject", "two  spaces"},
	} {
		got := EncodeHeader(c.name, c.text)
		for i, line := range strings.Split(strings.TrimSuffix(got, "\r\n"), "\r\n") {
			if len(line) > 78 && !strings.Contains(line, strings.Repeat("x", 200)) || i > 0 && !strings.HasPrefix(line, " ") {
				t.Errorf("%q: line %q", c.text, line)
			}
			for j := range len(line) {
				if line[j] < ' ' || line[j] >= 0x7f {
					t.Fatalf("%q: line %q", c.text, line)
				}
			}
		}
		s := parse(t, got+"\r\n")
		if s.Subject != c.text {
			t.Errorf("%q: read back as %q from %q", c.text, s.Subject, got)
		}
	}
	if got := EncodeHeader("Subject", "a\r\nBcc: victim@example.org"); strings.Count(got, "\r\n") != 1 {
		t.Errorf("a header was smuggled in: %q", got)
	}
}

// RFC 2045 section 5.1, RFC 2231 sections 3 and 4.
func TestParams(t *testing.T) {
	for _, c := range []struct {
		in, value string
		want      map[string]string
	}{
		{`text/plain; charset=us-ascii (Plain text)`, "text/plain", map[string]string{"charset": "us-ascii"}},
		{`text/plain; charset="us-ascii"`, "text/plain", map[string]string{"charset": "us-ascii"}},
		{`message/external-body; access-type=URL; URL*0="ftp://"; URL*1="cs.utk.edu/pub"`, "message/external-body", map[string]string{"access-type": "URL", "url": "ftp://cs.utk.edu/pub"}},
		{`application/x-stuff; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A`, "application/x-stuff", map[string]string{"title": "This is ***fun***"}},
		{`application/x-stuff; title*0*=us-ascii'en'This%20is%20even%20more%20; title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2="isn't it!"`, "application/x-stuff", map[string]string{"title": "This is even more ***fun*** isn't it!"}},
		{`a/b; name*1=b; name*0=a`, "a/b", map[string]string{"name": "ab"}},
		{`a/b; name="plain"; name*=utf-8''%e2%82%ac`, "a/b", map[string]string{"name": "€"}},
		{`a/b; name="=?utf-8?q?=E2=82=AC?="`, "a/b", map[string]string{"name": "€"}},
		{`a/b; name*=iso-8859-1''%e9`, "a/b", map[string]string{"name": "é"}},
		{`a/b; name=a b.txt; x=y`, "a/b", map[string]string{"name": "a b.txt", "x": "y"}},
		{`a/b; name="a;b\"c"`, "a/b", map[string]string{"name": `a;b"c`}},
		{`a/b;; name=c;`, "a/b", map[string]string{"name": "c"}},
		{`a/b; name="open`, "a/b", map[string]string{"name": "open"}},
		{`text/plain charset=utf-8`, "text/plain", map[string]string{"charset": "utf-8"}},
		{`a/b; x; =y; z=`, "a/b", map[string]string{"z": ""}},
		{`a/b; boundary=----=_x`, "a/b", map[string]string{"boundary": "----=_x"}},
		{`attachment`, "attachment", nil},
		{``, "", nil},
	} {
		value, params := mimeValue(c.in)
		if diff := cmp.Diff(c.want, params); value != c.value || diff != "" {
			t.Errorf("%s: %q\n%s", c.in, value, diff)
		}
	}
}

func TestFilename(t *testing.T) {
	for in, want := range map[string]string{
		"a.txt": "a.txt", "../../etc/passwd": "passwd", `C:\\Users\\x\\b.doc`: "b.doc", "..": "", "dir/": "", " ": "",
	} {
		s := parse(t, "Content-Disposition: attachment; filename=\""+in+"\"\n\nx")
		if got := s.Root.Filename(); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := parse(t, "Content-Type: a/b; name=c\n\n").Root.Filename(); got != "c" {
		t.Errorf("name of Content-Type: %q", got)
	}
}

// RFC 5322 section 3.3 and appendix A, section 4.3, and other writers.
func TestParseDate(t *testing.T) {
	at := func(y, m, d, h, mi, s, off int) time.Time {
		return time.Date(y, time.Month(m), d, h, mi, s, 0, zone(off))
	}
	for in, want := range map[string]time.Time{
		"Fri, 21 Nov 1997 09:55:06 -0600": at(1997, 11, 21, 9, 55, 6, -360),
		"Tue, 1 Jul 2003 10:52:37 +0200":  at(2003, 7, 1, 10, 52, 37, 120),
		"Thu,\r\n      13\r\n        Feb\r\n          1969\r\n      23:32\r\n               -0330 (Newfoundland Time)": at(1969, 2, 13, 23, 32, 0, -210),
		"21 Nov 97 09:55:06 GMT":                          at(1997, 11, 21, 9, 55, 6, 0),
		"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600": {},
		"21 Nov 03 09:55 EST":                             at(2003, 11, 21, 9, 55, 0, -300),
		"Fri Nov 21 09:55:06 1997":                        at(1997, 11, 21, 9, 55, 6, 0),
		"Fri Nov 21 09:55:06 -0600 1997":                  at(1997, 11, 21, 9, 55, 6, -360),
		"Friday, 21-Nov-97 09:55:06 GMT":                  at(1997, 11, 21, 9, 55, 6, 0),
		"1997-11-21T09:55:06+01:00":                       at(1997, 11, 21, 9, 55, 6, 60),
		"1997-11-21 09:55:06":                             at(1997, 11, 21, 9, 55, 6, 0),
		"Fri, 21 November 1997 09:55:06 GMT+0100":         at(1997, 11, 21, 9, 55, 6, 60),
		"Fri, 21 Nov 1997 23:59:60 +0000":                 at(1997, 11, 21, 23, 59, 59, 0),
		"Fri, 21 Nov 1997 09:55:06 +9999":                 at(1997, 11, 21, 9, 55, 6, 0),
		"Fri, 41 Nov 1997 09:55:06":                       {},
		"Fri, 21 Foo 1997 09:55:06":                       {},
		"":                                                {},
		"now":                                             {},
		", , (":                                           {},
	} {
		if got := ParseDate(in); !got.Equal(want) || got.Format(time.RFC3339) != want.Format(time.RFC3339) {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}

// RFC 5256 section 2.1.
func TestBaseSubject(t *testing.T) {
	for _, c := range []struct {
		in, want string
		reply    bool
	}{
		{"hello", "hello", false},
		{"Re: hello", "hello", true},
		{"RE: re: Re : hello", "hello", true},
		{"Re[2]: hello", "hello", true},
		{"Fwd: [list] Re: hello (fwd) (FWD)", "hello", true},
		{"[fwd: Re: hello]", "hello", true},
		{"[list] hello", "hello", false},
		{"[list]", "[list]", false},
		{"[a] [b]", "[b]", false},
		{"AW: WG: Grüße", "Grüße", true},
		{"  two \t spaces  ", "two spaces", false},
		{"Re:", "", true},
		{"Regarding: x", "Regarding: x", false},
		{"Re： x", "x", true},
		{"[fwd: x", "[fwd: x", false},
		{"", "", false},
	} {
		if got, reply := BaseSubject(c.in); got != c.want || reply != c.reply {
			t.Errorf("%q: %q %v, want %q %v", c.in, got, reply, c.want, c.reply)
		}
	}
}

func TestMessageIDs(t *testing.T) {
	for in, want := range map[string][]string{
		"<a@b> <c@d>":             {"a@b", "c@d"},
		"<a@b><c@d>":              {"a@b", "c@d"},
		"text <a@b> (x <y>)":      {"a@b", "y"},
		"<a@\r\n b>":              {"a@b"},
		"a@b, c@d":                {"a@b", "c@d"},
		"<a@b":                    {"a@b"},
		"<>":                      nil,
		"Your message of Tuesday": nil,
		"":                        nil,
	} {
		if diff := cmp.Diff(want, MessageIDs(in)); diff != "" {
			t.Errorf("%q:\n%s", in, diff)
		}
	}
}

func TestHTMLToText(t *testing.T) {
	for in, want := range map[string]string{
		"a  b\n c":                               "a b c",
		"<p>a</p><p>b</p>":                       "a\n\nb",
		"a<br>b<br><br>c":                        "a\nb\n\nc",
		"<div>a</div><div>b</div>":               "a\nb",
		"<ul><li>a<li>b</ul>c":                   "- a\n- b\n\nc",
		"<table><tr><td>a<td>b<tr><td>c</table>": "a b\nc",
		"<head><title>t</title><style>s</style></head><body>a<script>x</script>b": "ab",
		"<head><title>t<body>a":         "",
		"<head><style>s</style><body>a": "a",
		"&lt;a&gt; &amp;&nbsp;b&#8364;": "<a> & b€",
		"<pre> a\n  b</pre>":            "a\n  b",
		"a<b>b</b> c <i>d</i>":          "ab c d",
		"<!-- x -->a":                   "a",
		"a\x00\x01b":                    "ab",
	} {
		if got := HTMLToText(strings.NewReader(in), 0); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := HTMLToText(strings.NewReader("ééééé"), 5); got != "éé" {
		t.Errorf("limit: %q", got)
	}
	if got := HTMLToText(strings.NewReader("a<img src=\"data:"+strings.Repeat("x", 5<<20)+"\">b"), 0); got != "a" {
		t.Errorf("huge tag: %d bytes", len(got))
	}
}

func TestTextToHTML(t *testing.T) {
	for in, want := range map[string]string{
		"a<b>&\"":                  "a&lt;b&gt;&amp;&#34;",
		"a\r\nb\rc\n":              "a<br>\r\nb<br>\r\nc<br>\r\n",
		"  a  b":                   "&nbsp; a &nbsp;b",
		"see http://x.y/?a=1&b=2.": `see <a href="http://x.y/?a=1&amp;b=2">http://x.y/?a=1&amp;b=2</a>.`,
		"(https://x.y)":            `(<a href="https://x.y">https://x.y</a>)`,
		"http:// no, httpd":        "http:// no, httpd",
		"a\x00\x02":                "a",
	} {
		if got := TextToHTML(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
