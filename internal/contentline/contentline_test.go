package contentline

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"waypost/internal/fault"
)

var loose = Limits{Size: 1 << 20, Lines: 1000, Line: 1 << 18}

func readAll(text []byte, limits Limits) (props []*Property, problems []Problem, err error) {
	r := NewReader(text, limits)
	for {
		p, _, err := r.Next()
		if err == io.EOF {
			return props, r.Problems(), nil
		}
		if err != nil {
			return props, r.Problems(), err
		}
		props = append(props, p)
	}
}

func TestLines(t *testing.T) {
	for _, row := range []struct{ name, in, want string }{
		{"plain", "SUMMARY:a: b\r\n", "SUMMARY:a: b\r\n"},
		{"line ends", "A:1\nB:2\rC:3", "A:1\r\nB:2\r\nC:3\r\n"},
		{"byte order mark", "\ufeffA:1\n", "A:1\r\n"},
		{"unfolding inside a character", "A:\xc3\r\n \xa9\n", "A:é\r\n"},
		{"tab folds too, and one octet goes", "A:x\n\t  y\n", "A:x  y\r\n"},
		{"order and letters", "x-b;Z=1;a=2:v\n", "x-b;Z=1;a=2:v\r\n"},
		{"quotes that are needed stay", `ATTENDEE;CN="a;b:c,d",e:x`, "ATTENDEE;CN=\"a;b:c,d\",e:x\r\n"},
		{"a backslash at the end", `A;P="x\",y:v`, "A;P=\"x\\\",y:v\r\n"},
		{"an escaped comma in a parameter", `A;CN=Society\, 2014\;x;Q=1:v`, "A;CN=\"Society\\, 2014\\;x\";Q=1:v\r\n"},
		{"quotes that are not go", `A;P="q":x`, "A;P=q:x\r\n"},
		{"RFC 6868", `A;P=^^x^'y^n^z:v`, "A;P=^^x^'y^n^^z:v\r\n"},
		{"a quote never closed", `A;CN="x:mailto:y`, "A;CN=^'x:mailto:y\r\n"},
		{"CR CR LF", "A:1\r\r\n B\r\r\nC:2\r\r\n", "A:1B\r\nC:2\r\n"},
		{"bare parameters", "TEL;HOME;VOICE:1", "TEL;HOME;VOICE:1\r\n"},
		{"several in one", "TEL;FAX,WORK:1", "TEL;FAX,WORK:1\r\n"},
		{"group", "item1.X-ABLabel:_$!<Home>!$_", "item1.X-ABLabel:_$!<Home>!$_\r\n"},
		{"a line that is none", "no line at all\nA:1", "no line at all\r\nA:1\r\n"},
		{"empty lines", "A:1\r\n\r\n\r\nB:2\r\n", "A:1\r\nB:2\r\n"},
		{"Latin", "A:caf\xe9\n", "A:café\r\n"},
		{"control characters", "A:x\x00\x07y\tz", "A:xy\tz\r\n"},
		{"quoted-printable with charset", "A;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:caf=E9=0D=0Ax=\n y=3D\n", `A:café\nx y=` + "\r\n"},
		{"soft breaks without a space", "A;QUOTED-PRINTABLE:one =\ntwo\nB:1", "A:one two\r\nB:1\r\n"},
		{"charset without encoding", "A;CHARSET=SHIFT_JIS:\x82\xa0", "A:あ\r\n"},
		{"base64 cut without folding", "P;ENCODING=b:" + strings.Repeat("QUJD", 15) + "\n" + strings.Repeat("QUJD", 14) + "\nB:1", "P;ENCODING=b:" + strings.Repeat("QUJD", 15) + "QU\r\n JD" + strings.Repeat("QUJD", 13) + "\r\nB:1\r\n"},
	} {
		props, _, err := readAll([]byte(row.in), loose)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		var got []byte
		for _, p := range props {
			got = p.Append(got)
		}
		if string(got) != row.want {
			t.Errorf("%s: %q became\n%q, want\n%q", row.name, row.in, got, row.want)
		}
	}
}

func TestFoldKeepsCharactersWhole(t *testing.T) {
	for pad := range 8 {
		p := &Property{Name: "A", Value: strings.Repeat("x", pad) + strings.Repeat("漢🎉", 60)}
		text := p.Append(nil)
		for line := range bytes.SplitSeq(bytes.TrimSuffix(text, []byte("\r\n")), []byte("\r\n")) {
			if len(line) > width || !utf8.Valid(line) {
				t.Fatalf("%d octets, valid %v: %q", len(line), utf8.Valid(line), line)
			}
		}
		if back, _, _ := readAll(text, loose); len(back) != 1 || !back[0].Equal(p) {
			t.Fatalf("came back as %v", back)
		}
	}
}

func TestProblemsNameTheLine(t *testing.T) {
	_, problems, err := readAll([]byte("A:1\r\n folded\r\nodd\r\nB:\x01\r\n"), loose)
	if err != nil || len(problems) != 2 || problems[0].Line != 3 || problems[1].Line != 4 {
		t.Errorf("problems %v, error %v", problems, err)
	}
}

func TestLimits(t *testing.T) {
	for _, row := range []struct {
		name, in string
		want     fault.Kind
	}{
		{"size", strings.Repeat("A:1\n", 1<<19), fault.TooLarge},
		{"lines", strings.Repeat("A:1\n", 1001), fault.Limit},
		{"one line", "A:" + strings.Repeat("x", 1<<18), fault.TooLarge},
		{"folded line", "A:" + strings.Repeat("x\n ", 1<<18), fault.TooLarge},
		{"soft breaks", "A;QUOTED-PRINTABLE:" + strings.Repeat("xx=\n", 1<<18-10), fault.TooLarge},
	} {
		if _, _, err := readAll([]byte(row.in), loose); fault.Of(err) != row.want {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
	}
}

func TestText(t *testing.T) {
	for _, row := range []struct{ text, value string }{
		{"a,b;c\\d\ne", `a\,b\;c\\d\ne`},
		{`"q": x`, `"q": x`},
	} {
		if got := Escape(row.text); got != row.value {
			t.Errorf("Escape(%q) = %q", row.text, got)
		}
		if got := Unescape(row.value); got != row.text {
			t.Errorf("Unescape(%q) = %q", row.value, got)
		}
	}
	if got := Unescape(`C:\x\:\N`); got != "C:\\x:\n" {
		t.Errorf("odd escapes: %q", got)
	}
	if got := List(`a\,b,c\;d,`); len(got) != 3 || got[0] != "a,b" || got[1] != "c;d" || got[2] != "" {
		t.Errorf("list %q", got)
	}
	if got := JoinFields([]string{"a;b", "", "c"}); got != `a\;b;;c` {
		t.Errorf("fields %q", got)
	}
}

func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"A:1\r\n B\r\n", `A;P="x;y",z;Q=^n:v`, "TEL;HOME:1", "x.y;A=:\xff", "A;CHARSET=SHIFT_JIS:\x82\xa0",
		"A;CHARSET=utf-8;ENCODING=QUOTED-PRINTABLE:=E9=\n=\nB", "P;ENCODING=B:QUJD\n QUJD\n", "no line", "A;CHARSET=UTF-16:\x00\n\x00", "0;CHARSET=0:\x82",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		props, _, err := readAll(text, loose)
		if err != nil {
			return
		}
		var once []byte
		for _, p := range props {
			once = p.Append(once)
		}
		again, _, err := readAll(once, Limits{Size: 1 << 24, Lines: 1000, Line: 1 << 20})
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if len(again) != len(props) {
			t.Fatalf("%d lines became %d: %q", len(props), len(again), once)
		}
		for i := range props {
			if !props[i].Equal(again[i]) {
				t.Fatalf("%#v came back as %#v", props[i], again[i])
			}
		}
	})
}
