package mail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-message"
	"pgregory.net/rapid"

	"waypost/internal/corpus"
)

// made is a message as a generator made it, to compare with what is read.
type made struct {
	header, body string
	kids         []*made
	inner        *made
}

func (m *made) String() string { return m.header + m.body }

// makeMessage draws a well-formed message; boundaries are numbered so that none
// is another's, though one may begin another.
func makeMessage(t *rapid.T, depth int, boundaries *int, eol string) *made {
	m := &made{}
	kind := 0
	if depth < 6 {
		kind = rapid.IntRange(0, 3).Draw(t, "kind")
	}
	lines := func(name string) string {
		l := rapid.SliceOfN(rapid.StringMatching(`[ -,.-~]{0,30}|-[ -,.-~]{0,5}|--[a-z]{0,5}`), 0, 5).Draw(t, name)
		return strings.Join(l, eol)
	}
	if kind < 2 {
		m.header = "Content-Type: text/x-made" + eol
		m.body = lines("body")
	} else if kind == 2 {
		*boundaries++
		b := strings.Repeat("=", *boundaries)
		m.header = fmt.Sprintf("Content-Type: multipart/mixed; boundary=\"%s\"%s", b, eol)
		m.body = lines("preamble") + eol
		for range rapid.IntRange(1, 4).Draw(t, "parts") {
			k := makeMessage(t, depth+1, boundaries, eol)
			m.kids = append(m.kids, k)
			m.body += "--" + b + eol + k.String() + eol
		}
		m.body += "--" + b + "--" + eol + lines("epilogue")
	} else {
		m.header = "Content-Type: message/rfc822" + eol
		m.inner = makeMessage(t, depth+1, boundaries, eol)
		m.body = m.inner.String()
	}
	m.header = "X-Text: a" + eol + " b" + eol + m.header + eol
	return m
}

func compareMade(t *rapid.T, raw string, m *made, p *Part) {
	if got := raw[p.HeaderStart:p.BodyStart]; got != m.header {
		t.Fatalf("header %q, want %q", got, m.header)
	}
	if got := raw[p.BodyStart:p.BodyEnd]; got != m.body {
		t.Fatalf("body %q, want %q", got, m.body)
	}
	if len(p.Children) != len(m.kids) || (p.Message != nil) != (m.inner != nil) {
		t.Fatalf("%d parts, want %d, of %q", len(p.Children), len(m.kids), m)
	}
	for i, k := range m.kids {
		compareMade(t, raw, k, p.Children[i])
	}
	if m.inner != nil {
		compareMade(t, raw, m.inner, p.Message)
	}
}

// What is written as a message is found again, byte for byte, by the offsets.
func TestOffsetsProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		boundaries := 0
		m := makeMessage(rt, 0, &boundaries, rapid.SampledFrom([]string{"\r\n", "\n", "\r"}).Draw(rt, "eol"))
		raw := m.String()
		compareMade(rt, raw, m, checkMessage(t, "made", []byte(raw)).Root)
	})
}

// The gaps between parts and the parts make up the whole message.
func reassemble(raw string, p *Part) string {
	var b strings.Builder
	b.WriteString(raw[p.HeaderStart:p.BodyStart])
	at := p.BodyStart
	for _, c := range p.Children {
		b.WriteString(raw[at:c.HeaderStart])
		b.WriteString(reassemble(raw, c))
		at = c.BodyEnd
	}
	if p.Message != nil {
		b.WriteString(reassemble(raw, p.Message))
		at = p.Message.BodyEnd
	}
	b.WriteString(raw[at:p.BodyEnd])
	return b.String()
}

// All promises hold for real mail, and its summaries survive being stored.
func TestCorpusPromises(t *testing.T) {
	for _, m := range corpusMails(t) {
		if len(m.raw) > 64<<10 {
			continue
		}
		s := checkMessage(t, m.path, m.raw)
		if got := reassemble(string(m.raw), s.Root); got != string(m.raw) {
			t.Errorf("%s: parts do not make up the message", m.path)
		}
	}
}

// The messages in the corpus's mbox files have no manifest of their own.
func TestCorpusMbox(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(corpus.Dir(t), "mbox", "*", "*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no mbox files: %v", err)
	}
	n := 0
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range bytes.Split(append([]byte("\n"), raw...), []byte("\nFrom ")) {
			if i == 0 {
				continue
			}
			n++
			checkMessage(t, fmt.Sprintf("%s message %d", filepath.Base(name), i), append([]byte("From "), m...))
		}
	}
	t.Logf("%d messages in %d files", n, len(names))
}

// TestPeer compares the bodies of well-formed real mail with what go-message,
// an implementation unrelated to ours, decodes.
func TestPeer(t *testing.T) {
	compared := 0
	for _, m := range corpusMails(t) {
		if m.col["reader_flags"] != "" || strings.Contains(m.col["tags"], "malformed") || !strings.Contains(m.col["tags"], "eol=crlf") {
			continue
		}
		e, err := message.Read(bytes.NewReader(m.raw))
		if err != nil && !message.IsUnknownCharset(err) {
			continue
		}
		s, _ := Parse(bytes.NewReader(m.raw))
		if comparePeer(t, m, e, s.Root) {
			compared++
		}
	}
	t.Logf("%d mails compared", compared)
	if compared < 100 {
		t.Errorf("only %d mails compared", compared)
	}
}

func comparePeer(t *testing.T, m corpusMail, e *message.Entity, p *Part) bool {
	if r := e.MultipartReader(); r != nil {
		for i := 0; ; i++ {
			c, err := r.NextPart()
			if errors.Is(err, io.EOF) {
				if i != len(p.Children) {
					t.Errorf("%s: %d parts, go-message has %d", m.path, len(p.Children), i)
				}
				return true
			}
			if err != nil && !message.IsUnknownCharset(err) {
				return false // the peer gives up
			}
			if i >= len(p.Children) {
				t.Errorf("%s: only %d parts", m.path, i)
				return false
			}
			if !comparePeer(t, m, c, p.Children[i]) {
				return false
			}
		}
	}
	if p.Type == "text" {
		return true // go-message applies the charset
	}
	want, err := io.ReadAll(e.Body)
	if err != nil {
		return false
	}
	got, _ := io.ReadAll(p.Decoded(bytes.NewReader(m.raw)))
	if !bytes.Equal(got, want) {
		t.Errorf("%s: part at %d: %d bytes, go-message has %d", m.path, p.HeaderStart, len(got), len(want))
	}
	return true
}
