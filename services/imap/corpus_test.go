package imap

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"waypost/internal/corpus"
)

// Every real message, many of them malformed, comes back byte for byte, and a
// client that others wrote understands its envelope, structure and parts.
func TestCorpus(t *testing.T) {
	dir := corpus.Dir(t)
	d := openMem(t)
	cl := imapclient.New(d.dial(t), nil)
	defer cl.Close() //nolint:errcheck // a test's client
	if err := cl.Login("ann", "secret").Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	n, failures := 0, 0
	err := filepath.WalkDir(filepath.Join(dir, "mail"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil || len(data) == 0 {
			return err
		}
		n++
		if err := roundTrip(cl, data); err != nil {
			t.Errorf("%s: %v", path, err)
			if failures++; failures > 20 {
				return errors.New("too many failures")
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d messages", n)
}

func roundTrip(cl *imapclient.Client, data []byte) error {
	ac := cl.Append("INBOX", int64(len(data)), nil)
	if _, err := ac.Write(data); err != nil {
		return err
	}
	if err := ac.Close(); err != nil {
		return err
	}
	ad, err := ac.Wait()
	if err != nil {
		return err
	}
	whole := &imap.FetchItemBodySection{Peek: true}
	header := &imap.FetchItemBodySection{Peek: true, Specifier: imap.PartSpecifierHeader}
	text := &imap.FetchItemBodySection{Peek: true, Specifier: imap.PartSpecifierText}
	msgs, err := cl.Fetch(imap.UIDSetNum(ad.UID), &imap.FetchOptions{
		Envelope: true, RFC822Size: true, BodyStructure: &imap.FetchItemBodyStructure{Extended: true},
		BodySection: []*imap.FetchItemBodySection{whole, header, text},
	}).Collect()
	if err != nil {
		return err
	}
	if len(msgs) != 1 {
		return fmt.Errorf("%d messages fetched", len(msgs))
	}
	m := msgs[0]
	if got := m.FindBodySection(whole); !bytes.Equal(got, data) {
		return fmt.Errorf("BODY[] has %d bytes and differs from the %d appended", len(got), len(data))
	}
	if got := append(bytes.Clone(m.FindBodySection(header)), m.FindBodySection(text)...); !bytes.Equal(got, data) {
		return errors.New("BODY[HEADER] and BODY[TEXT] are not the message")
	}
	if m.RFC822Size != int64(len(data)) {
		return fmt.Errorf("RFC822.SIZE %d of %d", m.RFC822Size, len(data))
	}
	// Each part has the size that the structure says.
	var parts []*imap.FetchItemBodySection
	var sizes []uint32
	m.BodyStructure.Walk(func(path []int, p imap.BodyStructure) bool {
		if single, ok := p.(*imap.BodyStructureSinglePart); ok && len(parts) < 50 {
			parts = append(parts, &imap.FetchItemBodySection{Peek: true, Part: append([]int(nil), path...)})
			sizes = append(sizes, single.Size)
		}
		return true
	})
	if len(parts) == 0 {
		return errors.New("no parts")
	}
	if msgs, err = cl.Fetch(imap.UIDSetNum(ad.UID), &imap.FetchOptions{BodySection: parts}).Collect(); err != nil {
		return err
	}
	for i, p := range parts {
		got := msgs[0].FindBodySection(p)
		if uint32(len(got)) != sizes[i] {
			return fmt.Errorf("part %v has %d bytes, its structure says %d", p.Part, len(got), sizes[i])
		}
		if !bytes.Contains(data, got) {
			return fmt.Errorf("part %v is no slice of the message", p.Part)
		}
	}
	return nil
}
