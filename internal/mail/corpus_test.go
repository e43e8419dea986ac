package mail

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"waypost/internal/corpus"
)

type corpusMail struct {
	path string
	col  corpus.Row
	raw  []byte
}

// corpusMails reads every mail that the manifest lists.
func corpusMails(t testing.TB) []corpusMail {
	t.Helper()
	dir := corpus.Dir(t)
	rows, err := corpus.Rows(dir, "mail")
	if err != nil {
		t.Fatal(err)
	}
	var all []corpusMail
	for _, r := range rows {
		raw, err := os.ReadFile(filepath.Join(dir, r["path"]))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, corpusMail{path: r["path"], col: r, raw: raw})
	}
	return all
}

func squash(s string) string { return strings.Join(strings.Fields(s), " ") }

func firstFrom(s *Summary) string {
	for _, a := range s.From {
		if addr := a.Addr(); addr != "" {
			return strings.ToLower(addr)
		}
	}
	return ""
}

// TestCorpus compares what we read in real mail with an independent reader's
// columns in the corpus's manifest. testdata/corpus-differences.tsv lists each
// difference that is meant, with its reason.
func TestCorpus(t *testing.T) {
	known, err := CorpusDifferences()
	if err != nil {
		t.Fatal(err)
	}
	used := map[[2]string]bool{}
	mails, compared, differ := corpusMails(t), 0, 0
	for _, m := range mails {
		s, err := Parse(bytes.NewReader(m.raw))
		if err != nil {
			t.Fatal(err)
		}
		checkTree(t, m.path, s, m.raw)
		if m.col["reader_flags"] != "" {
			continue
		}
		compared++
		text := ""
		if plain, html, _ := s.Bodies(); plain != nil || html != nil {
			if plain == nil {
				plain = html
			}
			if plain.Subtype == "html" || plain.Subtype == "plain" {
				b, err := io.ReadAll(plain.Text(bytes.NewReader(m.raw)))
				if err != nil {
					t.Errorf("%s: text: %v", m.path, err)
				}
				sum := sha256.Sum256([]byte(squash(string(b))))
				text = hex.EncodeToString(sum[:])
			}
		}
		for _, c := range []struct{ field, got string }{
			{"subject_decoded", squash(s.Subject)},
			{"from_addr", firstFrom(s)},
			{"n_attachments", strconv.Itoa(s.Attachments)},
			{"text_sha", text},
		} {
			if c.got == m.col[c.field] {
				continue
			}
			key := [2]string{m.path, c.field}
			if known[key] != "" {
				used[key] = true
				differ++
				continue
			}
			t.Errorf("%s: %s: got %q, the manifest has %q", m.path, c.field, c.got, m.col[c.field])
		}
	}
	for key := range known {
		if !used[key] {
			t.Errorf("listed difference does not occur: %s %s", key[0], key[1])
		}
	}
	t.Logf("%d mails, %d compared, %d listed differences", len(mails), compared, differ)
	if differ*100 > compared*4 {
		t.Errorf("too many listed differences: %d in %d mails of 4 fields", differ, compared)
	}
}

// checkTree proves that the offsets nest and that text is clean.
func checkTree(t testing.TB, name string, s *Summary, raw []byte) {
	t.Helper()
	if s.Size != int64(len(raw)) || s.Root.HeaderStart != 0 || s.Root.BodyEnd != s.Size {
		t.Errorf("%s: size %d of %d, root [%d,%d)", name, s.Size, len(raw), s.Root.HeaderStart, s.Root.BodyEnd)
	}
	s.Root.Walk(func(p *Part, _ int) bool {
		if p.HeaderStart > p.BodyStart || p.BodyStart > p.BodyEnd {
			t.Errorf("%s: part [%d %d %d]", name, p.HeaderStart, p.BodyStart, p.BodyEnd)
		}
		if p.IsMultipart() != (len(p.Children) > 0) || p.IsMessage() != (p.Message != nil) || p.IsMessage() != (p.Envelope != nil) {
			t.Errorf("%s: %s with %d children, message %v", name, p.MediaType(), len(p.Children), p.Message != nil)
		}
		at := p.BodyStart
		for _, c := range p.Children {
			if c.HeaderStart < at || c.BodyEnd > p.BodyEnd {
				t.Errorf("%s: child [%d,%d) in [%d,%d)", name, c.HeaderStart, c.BodyEnd, at, p.BodyEnd)
			}
			at = c.BodyEnd
		}
		if c := p.Message; c != nil && (c.HeaderStart != p.BodyStart || c.BodyEnd > p.BodyEnd) {
			t.Errorf("%s: embedded [%d,%d) in [%d,%d)", name, c.HeaderStart, c.BodyEnd, p.BodyStart, p.BodyEnd)
		}
		return true
	})
}
