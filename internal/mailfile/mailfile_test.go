package mailfile

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

type got struct {
	Folder, Body string
	Seen, Draft  bool
	Received     time.Time
}

func walk(t *testing.T, path string) []got {
	t.Helper()
	var all []got
	err := Walk(context.Background(), path, nil, func(it Item) error {
		b, err := io.ReadAll(iotest.OneByteReader(it.Body))
		all = append(all, got{strings.Join(it.Folder, "/"), string(b), it.Seen, it.Draft, it.Received.UTC()})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestMbox(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box")
	text := "From a@b Thu Nov 12 10:11:12 2026\nSubject: one\n\nline\n>From me\n>>From you\n\nFrom-age is no separator\nFrom here neither: no blank line before\n\n" +
		"From c@d Fri Nov 13 10:11:12 2026\nSubject: two\n\n" + strings.Repeat("x", 200<<10) + "\n\n\n" +
		"From e@f Sat Nov 14 10:11:12 2026\r\nSubject: three\r\n\r\nend"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []got{
		{Body: "Subject: one\r\n\r\nline\r\nFrom me\r\n>From you\r\n\r\nFrom-age is no separator\r\nFrom here neither: no blank line before\r\n", Received: time.Date(2026, 11, 12, 10, 11, 12, 0, time.UTC)},
		{Body: "Subject: two\r\n\r\n" + strings.Repeat("x", 200<<10) + "\r\n\r\n", Received: time.Date(2026, 11, 13, 10, 11, 12, 0, time.UTC)},
		{Body: "Subject: three\r\n\r\nend", Received: time.Date(2026, 11, 14, 10, 11, 12, 0, time.UTC)},
	}
	if diff := cmp.Diff(want, walk(t, path)); diff != "" {
		t.Errorf("messages differ (-want +got):\n%s", diff)
	}
}

func TestMaildirRoundTrip(t *testing.T) {
	root := t.TempDir()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, it := range []Item{
		{Folder: []string{"Inbox"}, Seen: true, Received: at, Body: strings.NewReader("Subject: a\r\n\r\nb\r\n")},
		{Folder: []string{"Work", "2026/Q1"}, Draft: true, Received: at, Body: strings.NewReader("Subject: c\r\n\r\nd\r\n")},
	} {
		if err := Write(root, "1.x", it); err != nil {
			t.Fatal(err)
		}
	}
	want := []got{
		{Folder: "Inbox", Body: "Subject: a\r\n\r\nb\r\n", Seen: true, Received: at},
		{Folder: "Work/2026_Q1", Body: "Subject: c\r\n\r\nd\r\n", Draft: true, Received: at},
	}
	if diff := cmp.Diff(want, walk(t, root)); diff != "" {
		t.Errorf("messages differ (-want +got):\n%s", diff)
	}
}

func TestFolderOfFiles(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"a.eml": "A: 1\n\nx", "sub/b.eml": "B: 2\r\rold mac", "index.csv": "no message"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := walk(t, root)
	if len(all) != 2 || all[0].Body != "A: 1\r\n\r\nx" || all[1].Body != "B: 2\r\n\r\nold mac" || all[1].Folder != "sub" {
		t.Errorf("got %+v", all)
	}
}

func FuzzMbox(f *testing.F) {
	f.Add([]byte("From a\nx\n\nFrom b\n>From\n"))
	f.Add([]byte("From a\r\n\r\n\r\nFrom b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		w := &walker{ctx: context.Background(), read: func(int64) {}, fn: func(it Item) error {
			b, err := io.ReadAll(it.Body)
			if len(b) > 2*len(data)+2 {
				t.Errorf("a message of %d bytes from %d", len(b), len(data))
			}
			if bytes.Contains(bytes.ReplaceAll(b, []byte("\r\n"), nil), []byte("\n")) {
				t.Errorf("bare LF in %q", b)
			}
			return err
		}}
		if err := w.mbox(bytes.NewReader(data), "fuzz", nil); err != nil {
			t.Error(err)
		}
	})
}
