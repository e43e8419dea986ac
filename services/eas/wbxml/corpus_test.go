package wbxml

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waypost/internal/corpus"
	"waypost/internal/fault"
)

// documents gives the files of the WBXML corpus whose tags contain one.
func documents(t testing.TB, tag string) []string {
	t.Helper()
	files, err := documentsIn(corpus.Dir(t), tag)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skipf("the corpus has no %q documents", tag)
	}
	return files
}

func documentsIn(dir, tag string) ([]string, error) {
	rows, err := corpus.Rows(dir, "wbxml")
	if err != nil {
		return nil, err
	}
	var files []string
	for _, r := range rows {
		if strings.Contains(r["tags"], tag) && strings.HasSuffix(r["path"], ".wbxml") {
			files = append(files, filepath.Join(dir, r["path"]))
		}
	}
	return files, nil
}

func mustRead(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCorpusAgainstLibwbxml compares our reading with that of libwbxml, which
// the corpus brings along.
func TestCorpusAgainstLibwbxml(t *testing.T) {
	for _, tag := range []string{"captured", "encoded-by-libwbxml"} {
		for _, name := range documents(t, tag) {
			t.Run(filepath.Base(name), func(t *testing.T) {
				b := mustRead(t, name)
				n, err := decode(b)
				if err != nil {
					t.Fatal(err)
				}
				want := flattenXML(t, mustRead(t, strings.TrimSuffix(name, ".wbxml")+".libwbxml.xml"))
				if diff := cmp.Diff(want, flatten(n, nil)); diff != "" {
					t.Errorf("against libwbxml (-theirs +ours):\n%s", diff)
				}
				roundTrip(t, n)
			})
		}
	}
}

func TestCorpusFragments(t *testing.T) {
	for _, name := range documents(t, "fragment") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			d := NewFragmentDecoder(bytes.NewReader(mustRead(t, name)), Limits{})
			elements := 0
			for n := d.Tree(nil); n != nil; n = d.Tree(nil) {
				elements++
				if !n.Tag.Known() {
					t.Errorf("unknown element %v", n.Tag)
				}
				roundTrip(t, n)
			}
			if err := d.Err(); err != nil || elements == 0 {
				t.Errorf("%d elements, %v", elements, err)
			}
		})
	}
}

func TestCorpusOtherVocabularies(t *testing.T) {
	for _, name := range documents(t, "wap-other") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			_, err := decode(mustRead(t, name))
			if _, ok := errors.AsType[*SyntaxError](err); !ok || fault.Of(err) != fault.Invalid {
				t.Errorf("got %v, want a syntax error of kind invalid", err)
			}
		})
	}
}

// TestAgainstXML2WBXML has Debian's xml2wbxml and wbxml2xml as peers.
func TestAgainstXML2WBXML(t *testing.T) {
	toXML, err1 := exec.LookPath("wbxml2xml")
	toWBXML, err2 := exec.LookPath("xml2wbxml")
	if err1 != nil || err2 != nil {
		t.Skip("libwbxml2-utils is not installed")
	}
	doc := `
<FolderHierarchy:FolderSync>
  <Status>1</Status>
  <SyncKey>7</SyncKey>
  <Changes>
    <Count>1</Count>
    <Add>
      <ServerId>f1</ServerId>
      <ParentId>0</ParentId>
      <DisplayName>Übung &amp; Spiel &lt;中&gt;</DisplayName>
      <Type>12</Type>
    </Add>
  </Changes>
</FolderHierarchy:FolderSync>`
	n, err := Parse(doc)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	// Without a public id a reader must be told the language.
	theirXML := pipe(t, ours, toXML, "-l", "ACTIVESYNC", "-o", "-", "-")
	if diff := cmp.Diff(flatten(n, nil), flattenXML(t, theirXML)); diff != "" {
		t.Errorf("libwbxml reads ours (-ours +theirs):\n%s", diff)
	}
	theirs := pipe(t, theirXML, toWBXML, "-o", "-", "-")
	back, err := decode(theirs)
	if err != nil {
		t.Fatalf("their document: %v\n%x", err, theirs)
	}
	if diff := cmp.Diff(n, back); diff != "" {
		t.Errorf("we read theirs (-ours +theirs):\n%s", diff)
	}
}

func pipe(t *testing.T, in []byte, cmd string, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.WriteFile(from, in, 0o600); err != nil {
		t.Fatal(err)
	}
	args[len(args)-1], args[len(args)-2] = from, to
	if out, err := exec.Command(cmd, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", cmd, err, out)
	}
	return mustRead(t, to)
}

func decode(b []byte) (*Node, error) {
	d := NewDecoder(bytes.NewReader(b), Limits{})
	n := d.Tree(nil)
	return n, d.Err()
}

// roundTrip takes n through bytes and through text.
func roundTrip(t *testing.T, n *Node) {
	t.Helper()
	b, err := Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	back, err := decode(b)
	if err != nil {
		t.Fatalf("our own document: %v", err)
	}
	if diff := cmp.Diff(n, back); diff != "" {
		t.Errorf("through bytes (-before +after):\n%s", diff)
	}
	text := Format(n, 0)
	back, err = Parse(text)
	if err != nil {
		t.Fatalf("our own text: %v\n%s", err, text)
	}
	if diff := cmp.Diff(n, back); diff != "" {
		t.Errorf("through text (-before +after):\n%s\n%s", diff, text)
	}
}

// flatten gives a line an element: page, name and value.
func flatten(n *Node, lines []string) []string {
	v := n.Text
	if n.Bytes != nil {
		v = base64.StdEncoding.EncodeToString(n.Bytes)
	}
	lines = append(lines, fmt.Sprintf("%s %s %q",
		strings.ToLower(n.Tag.PageName()), strings.ToLower(n.Tag.Name()), strings.TrimSpace(strings.ReplaceAll(v, "\r\n", "\n"))))
	for _, c := range n.Children {
		lines = flatten(c, lines)
	}
	return append(lines, "/")
}

// theirNames are libwbxml's spellings of elements, which also writes a hyphen
// or underscore and other capitals here and there.
var theirNames = strings.NewReplacer("Recurrence_", "", "Attendee_Name", "Name", "Attendee_Email", "Email", "-", "", "_", "")

func flattenXML(t *testing.T, b []byte) []string {
	t.Helper()
	var lines []string
	var text strings.Builder
	last := -1
	d := xml.NewDecoder(bytes.NewReader(b))
	flush := func() {
		if last >= 0 {
			lines[last] += fmt.Sprintf(" %q", strings.TrimSpace(text.String()))
		}
		last = -1
		text.Reset()
	}
	for {
		tok, err := d.Token()
		if err == io.EOF {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			flush()
			ns := strings.ToLower(strings.TrimSuffix(tok.Name.Space, ":"))
			ns = ns[strings.LastIndex(ns, "/")+1:]
			lines = append(lines, ns+" "+strings.ToLower(theirNames.Replace(tok.Name.Local)))
			last = len(lines) - 1
		case xml.CharData:
			text.Write(tok)
		case xml.EndElement:
			flush()
			lines = append(lines, "/")
		}
	}
}
