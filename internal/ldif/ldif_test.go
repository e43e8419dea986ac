package ldif

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"waypost/internal/corpus"
	"waypost/internal/fault"
)

var update = flag.Bool("update", false, "write the answers of testdata anew")

// all reads everything; what is wrong with single records is told apart.
func all(r io.Reader, l Limits) (recs []*Record, wrong []*SyntaxError, err error) {
	for x := NewReader(r, l); ; {
		rec, err := x.Next()
		var s *SyntaxError
		switch {
		case errors.Is(err, io.EOF):
			return recs, wrong, nil
		case errors.As(err, &s):
			wrong = append(wrong, s)
		case err != nil:
			return recs, wrong, err
		default:
			recs = append(recs, rec)
		}
	}
}

// dump tells what was read, in lines.
func dump(text string) string {
	var b strings.Builder
	for x := NewReader(strings.NewReader(text), Limits{}); ; {
		rec, err := x.Next()
		var s *SyntaxError
		switch {
		case errors.Is(err, io.EOF):
			return b.String()
		case errors.As(err, &s):
			fmt.Fprintf(&b, "record of line %d is wrong: %v (%q)\n", s.Start, s, s.DN)
			continue
		case err != nil:
			fmt.Fprintf(&b, "ended: %v\n", err)
			return b.String()
		}
		fmt.Fprintf(&b, "line %d: %v %q\n", rec.Line, rec.Change, rec.DN)
		for _, c := range rec.Controls {
			fmt.Fprintf(&b, "  control %s %t %q\n", c.OID, c.Critical, c.Value)
		}
		for _, a := range rec.Attributes {
			fmt.Fprintf(&b, "  %s %q\n", a.Name, a.Values)
		}
		for _, m := range rec.Mods {
			fmt.Fprintf(&b, "  %v %s %q\n", m.Op, m.Name, m.Values)
		}
		if rec.Change == Rename {
			up := "stays"
			if rec.Superior != nil {
				up = strconv.Quote(*rec.Superior)
			}
			fmt.Fprintf(&b, "  to %q, old deleted %t, superior %s\n", rec.NewRDN, rec.DeleteOld, up)
		}
	}
}

// Each file of testdata is LDIF, a line "----" and what is to be read from it:
// the examples of RFC 2849, and mistakes.
func TestConversations(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d files (%v)", len(files), err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		in, want, ok := strings.Cut(string(text), "----\n")
		if !ok {
			t.Fatalf("%s has no line ----", f)
		}
		got := dump(in)
		if *update {
			if err := os.WriteFile(f, []byte(in+"----\n"+got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", f, diff)
		}
		// Ends of lines as DOS has them make no difference.
		if diff := cmp.Diff(want, dump(strings.ReplaceAll(in, "\n", "\r\n"))); diff != "" {
			t.Errorf("%s with CRLF:\n%s", f, diff)
		}
	}
}

func TestLimits(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, tt := range []struct {
		name, text string
		limits     Limits
		why        string
	}{
		{"line", "dn: a=b\ncn: " + long + "\n", Limits{Line: 200}, "a line is too long"},
		{"first line", "dn: " + long + "\ncn: a\n", Limits{Line: 200}, "a line is too long"},
		{"value", "dn: a=b\ncn: " + long + "\n", Limits{Value: 200}, "cn: the value is too long"},
		{"folded value", "dn: a=b\ncn: a\n" + strings.Repeat(" "+long+"\n", 20), Limits{Value: 200}, "a value is too long"},
		{"record", "dn: a=b\n" + strings.Repeat("cn: "+long+"\n", 20), Limits{Record: 3000}, "the record is too large"},
		{"values", "dn: a=b\n" + strings.Repeat("cn: a\n", 20), Limits{Values: 10}, "too many lines in one record"},
	} {
		recs, wrong, err := all(strings.NewReader("dn: o=1\no: 1\n\n"+tt.text+"\ndn: o=2\no: 2\n"), tt.limits)
		if err != nil || len(recs) != 2 || recs[1].DN != "o=2" {
			t.Errorf("%s: got %d records (%v), want those around the wrong one", tt.name, len(recs), err)
		}
		if len(wrong) != 1 || wrong[0].Why != tt.why || fault.Of(wrong[0]) != fault.Invalid {
			t.Errorf("%s: got %v, want %q", tt.name, wrong, tt.why)
		}
	}
}

// A place told after any record is one from which the rest is read the same.
func TestResume(t *testing.T) {
	text := "# first\nversion: 1\n\ndn: a=1\na: 1\n\n\n# c\ndn: a=2\na: 2\n b\n\nnonsense\n\ndn: a=3\na:: MQ==\n"
	whole := NewReader(strings.NewReader(text), Limits{})
	type step struct {
		rec *Record
		err string
	}
	var steps []step
	var offsets []int64
	var lines []int
	read := func(r *Reader) (step, bool) {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return step{}, false
		}
		return step{rec, fmt.Sprint(err)}, true
	}
	for {
		s, ok := read(whole)
		if !ok {
			break
		}
		steps, offsets, lines = append(steps, s), append(offsets, whole.Offset()), append(lines, whole.Line())
	}
	if len(steps) != 4 {
		t.Fatalf("got %d steps", len(steps))
	}
	for i := range steps {
		r := Resume(strings.NewReader(text[offsets[i]:]), Limits{}, offsets[i], lines[i])
		for j := i + 1; ; j++ {
			s, ok := read(r)
			if !ok {
				if j != len(steps) {
					t.Errorf("resumed after %d: only %d were left", i, j-i-1)
				}
				break
			}
			if diff := cmp.Diff(steps[j], s, cmp.AllowUnexported(step{})); diff != "" {
				t.Errorf("resumed after %d, step %d:\n%s", i, j, diff)
			}
		}
	}
}

type broken struct{ r io.Reader }

func (b broken) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// A record whose end was lost is not one.
func TestBrokenInput(t *testing.T) {
	recs, wrong, err := all(broken{strings.NewReader("dn: a=1\na: 1\n\ndn: a=2\na: 2")}, Limits{})
	if len(recs) != 1 || len(wrong) != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %d records, %v, %v; want one and the error", len(recs), wrong, err)
	}
}

func TestWriter(t *testing.T) {
	up := "o=Ä"
	long := strings.Repeat("0123456789", 20)
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, r := range []*Record{
		{DN: "cn=a,o=b", Attributes: []Attribute{{"cn", []string{"a", " b", "c ", ":d", "<e", "f\ng", "", "ö", "h:i <j"}}, {"x;binary", []string{"\x00\xff"}}, {"l", []string{long}}}},
		{DN: "cn=a,o=b", Change: Delete, Controls: []Control{{OID: "1.2.3"}, {OID: "1.2.4", Critical: true, Value: "é", HasValue: true}}},
		{DN: "cn=a", Change: Modify, Mods: []Mod{{Op: ModAdd, Name: "cn", Values: []string{"b"}}, {Op: ModDelete, Name: "l"}, {Op: ModReplace, Name: "x"}, {Op: ModIncrement, Name: "n", Values: []string{"1"}}}},
		{DN: "cn=a", Change: Rename, NewRDN: "cn=b", DeleteOld: true, Superior: &up},
		{DN: "cn=c", Change: Add, Attributes: []Attribute{{"cn", []string{"c"}}}},
	} {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Comment("the end\nof it"); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	want := `version: 1

dn: cn=a,o=b
cn: a
cn:: IGI=
cn:: YyA=
cn:: OmQ=
cn:: PGU=
cn:: Zgpn
cn:
cn:: w7Y=
cn: h:i <j
x;binary:: AP8=
l: 0123456789012345678901234567890123456789012345678901234567890123456789012
 345678901234567890123456789012345678901234567890123456789012345678901234567
 8901234567890123456789012345678901234567890123456789

dn: cn=a,o=b
control: 1.2.3
control: 1.2.4 true:: w6k=
changetype: delete

dn: cn=a
changetype: modify
add: cn
cn: b
-
delete: l
-
replace: x
-
increment: n
n: 1
-

dn: cn=a
changetype: modrdn
newrdn: cn=b
deleteoldrdn: 1
newsuperior:: bz3DhA==

dn: cn=c
changetype: add
cn: c

# the end
# of it
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
	for _, r := range []*Record{
		{DN: "a=b"},
		{DN: "a=b", Attributes: []Attribute{{"a b", []string{"c"}}}},
		{DN: "a=b", Attributes: []Attribute{{"dn", []string{"c"}}}},
		{DN: "a=b", Attributes: []Attribute{{"a", []string{"c"}}}, Controls: []Control{{OID: "1.2"}}},
		{DN: "a=b", Change: Rename},
		{DN: "a=b", Change: Modify, Mods: []Mod{{Op: 7, Name: "a"}}},
	} {
		if err := w.Write(r); err == nil {
			t.Errorf("%+v was written", r)
		}
	}
}

// What is written is read back the same, and no line is longer than 76 bytes.
func TestRoundTrip(t *testing.T) {
	name := rapid.StringMatching(`[a-z][a-zA-Z0-9-]{0,20}(;[a-z]{1,8})?`).Filter(func(s string) bool {
		return !slices.Contains([]string{"dn", "control", "changetype"}, strings.ToLower(s)) // LDIF's own words, in any case
	})
	bytesOf := rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 200), func(b []byte) string { return string(b) })
	value := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ :<]?[ -~]{0,200} ?`), bytesOf)
	rapid.Check(t, func(t *rapid.T) {
		var want []*Record
		for range rapid.IntRange(1, 5).Draw(t, "records") {
			r := &Record{DN: rapid.StringN(0, 100, -1).Draw(t, "dn"), Change: Change(rapid.IntRange(0, 4).Draw(t, "change"))}
			if r.Change != Entry {
				for range rapid.IntRange(0, 2).Draw(t, "controls") {
					c := Control{OID: "1.2.840", Critical: rapid.Bool().Draw(t, "critical"), HasValue: rapid.Bool().Draw(t, "has")}
					if c.HasValue {
						c.Value = value.Draw(t, "control")
					}
					r.Controls = append(r.Controls, c)
				}
			}
			switch r.Change {
			case Entry, Add:
				seen := map[string]bool{}
				for range rapid.IntRange(1, 30).Draw(t, "attributes") {
					n := name.Draw(t, "name")
					if k := strings.ToLower(n); !seen[k] {
						seen[k] = true
						r.Attributes = append(r.Attributes, Attribute{n, rapid.SliceOfN(value, 1, 3).Draw(t, "values")})
					}
				}
			case Modify:
				for range rapid.IntRange(0, 3).Draw(t, "mods") {
					r.Mods = append(r.Mods, Mod{ModOp(rapid.IntRange(0, 3).Draw(t, "op")), name.Draw(t, "name"), rapid.SliceOfN(value, 1, 3).Draw(t, "values")})
				}
			case Rename:
				r.NewRDN, r.DeleteOld = rapid.StringN(1, 100, -1).Draw(t, "rdn"), rapid.Bool().Draw(t, "old")
				if rapid.Bool().Draw(t, "moves") {
					up := rapid.String().Draw(t, "superior")
					r.Superior = &up
				}
			}
			want = append(want, r)
		}
		var b bytes.Buffer
		w := NewWriter(&b)
		for _, r := range want {
			if err := w.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(b.String()) {
			if len(l) > width+1 {
				t.Fatalf("%d bytes: %q", len(l), l)
			}
		}
		got, wrong, err := all(&b, Limits{})
		if err != nil || len(wrong) > 0 {
			t.Fatal(err, wrong)
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Record{}, "Line"), cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// The LDIF files of the corpus are all read. Which records in them are wrong is
// listed in testdata, so that nothing is refused by mistake.
func TestCorpus(t *testing.T) {
	dir := corpus.Dir(t)
	rows, err := corpus.Rows(dir, "ldif")
	if err != nil || len(rows) == 0 {
		t.Fatal(err)
	}
	const list = "testdata/corpus-differences.tsv"
	var found strings.Builder
	found.WriteString("# Records of the corpus that are refused: path, line, why.\n")
	records := 0
	for _, row := range rows {
		text, err := os.ReadFile(filepath.Join(dir, row["path"]))
		if err != nil {
			t.Fatal(err)
		}
		recs, wrong, err := all(bytes.NewReader(text), Limits{})
		if err != nil {
			t.Errorf("%s: %v", row["path"], err)
		}
		records += len(recs)
		for _, w := range wrong {
			fmt.Fprintf(&found, "%s\t%d\t%s\n", row["path"], w.Line, w.Why)
		}
		for tag := range strings.FieldsSeq(row["tags"]) {
			v, ok := strings.CutPrefix(tag, "entries=")
			if want, _ := strconv.Atoi(v); ok && len(wrong) == 0 && len(recs) != want {
				t.Errorf("%s: %d records, the manifest has %d", row["path"], len(recs), want)
			}
		}
	}
	if *update {
		if err := os.WriteFile(list, []byte(found.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), found.String()); diff != "" {
		t.Errorf("refused otherwise than %s says:\n%s", list, diff)
	}
	if records < 4000 {
		t.Errorf("only %d records", records)
	}
}

func FuzzReader(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txt")
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil {
			f.Add(b)
		}
	}
	if dir, err := corpus.Find(); err == nil {
		if rows, err := corpus.Rows(dir, "ldif"); err == nil {
			for _, row := range rows[:min(len(rows), 40)] {
				if b, err := os.ReadFile(filepath.Join(dir, row["path"])); err == nil && len(b) < 8<<10 {
					f.Add(b)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r := NewReader(bytes.NewReader(text), Limits{Line: 4 << 10, Value: 4 << 10, Record: 32 << 10, Values: 200})
		var b bytes.Buffer
		w := NewWriter(&b)
		var want []*Record
		for i := 0; ; i++ {
			rec, err := r.Next()
			var s *SyntaxError
			if errors.As(err, &s) {
				if s.Line < 1 || s.Line > r.Line() {
					t.Fatalf("line %d of %d: %v", s.Line, r.Line(), s)
				}
				continue
			}
			if err != nil {
				break
			}
			if i > len(text) {
				t.Fatal("no end")
			}
			if err := w.Write(rec); err != nil {
				t.Fatalf("what was read cannot be written: %v", err)
			}
			want = append(want, rec)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		got, wrong, err := all(&b, Limits{})
		if err != nil || len(wrong) > 0 {
			t.Fatalf("what was written is not read: %v, %v", err, wrong)
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Record{}, "Line"), cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	var buf bytes.Buffer
	w := NewWriter(&buf)
	for i := range 1000 {
		_ = w.Write(&Record{DN: fmt.Sprintf("CN=User %d,OU=People,DC=example,DC=test", i), Attributes: []Attribute{
			{"objectClass", []string{"top", "person", "organizationalPerson", "user"}},
			{"cn", []string{fmt.Sprintf("User %d", i)}},
			{"displayName", []string{"Jürgen Müller"}},
			{"mail", []string{"user@example.test"}},
			{"proxyAddresses", []string{"SMTP:user@example.test", "smtp:u@example.test"}},
			{"description", []string{strings.Repeat("something ", 10)}},
		}})
	}
	_ = w.Flush()
	b.SetBytes(int64(buf.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if recs, wrong, err := all(bytes.NewReader(buf.Bytes()), Limits{}); len(recs) != 1000 || len(wrong) > 0 || err != nil {
			b.Fatal(len(recs), wrong, err)
		}
	}
}
