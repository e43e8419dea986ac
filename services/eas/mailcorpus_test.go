package eas

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"waypost/internal/corpus"
	"waypost/internal/mail"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// TestCorpusItems writes every mail of the corpus for every version in every
// form of its body: the document decodes, holds only elements of the version,
// and has the subject and the number of files that the reader found. A Type 4
// body is the message byte for byte.
func TestCorpusItems(t *testing.T) {
	dir := corpus.Dir(t)
	rows, err := corpus.Rows(dir, "mail")
	if err != nil {
		t.Fatal(err)
	}
	m, _ := testServer(t)
	count := 0
	for _, row := range rows {
		if testing.Short() && count >= 300 {
			break
		}
		count++
		raw, err := os.ReadFile(filepath.Join(dir, row["path"]))
		if err != nil {
			t.Fatal(err)
		}
		sum, err := mail.Parse(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		id := store.ItemID(count)
		it := &memItem{content: raw, m: store.Message{Item: id, Thread: 1, Size: int64(len(raw)), Summary: sum}}
		it.e = store.Entry{Item: id, Folder: 1, Received: time.Now()}
		m.items[id] = it
		for _, v := range []wbxml.Version{wbxml.V25, wbxml.V120, wbxml.V121, wbxml.V140, wbxml.V141, wbxml.V160, wbxml.V161} {
			for _, kind := range []uint8{bodyPlain, bodyHTML, bodyMIME} {
				checkItem(t, row["path"], m, it, v, kind)
			}
		}
		delete(m.items, id)
	}
	if count < 100 {
		t.Errorf("%d mails", count)
	}
}

func checkItem(t *testing.T, name string, m *memory, it *memItem, v wbxml.Version, kind uint8) {
	t.Helper()
	o := defaultOptions()
	limit := int64(-1)
	if kind == bodyPlain {
		limit = 500
	}
	o.bodies = []bodyPref{{kind: kind, size: limit}}
	if kind == bodyMIME {
		o.mime = 2
	}
	w := &itemWriter{
		mail: m, who: who{as: annPrincipal, box: 7}, version: v, opts: &o,
		zone: func() (*time.Location, error) { return time.UTC, nil },
	}
	n, err := treeOf(func(e *wbxml.Encoder) error {
		e.Start(wbxml.AirSyncApplicationData)
		err := w.write(t.Context(), e, &it.m, &it.e)
		e.End()
		return err
	})
	if err != nil {
		t.Errorf("%s, %v, type %d: %v", name, v, kind, err)
		return
	}
	if err := foreign(n, v); err != nil {
		t.Errorf("%s, %v: %v", name, v, err)
	}
	if got := n.Get(wbxml.EmailSubject); got != it.m.Summary.Subject {
		t.Errorf("%s: subject %q, want %q", name, got, it.m.Summary.Subject)
	}
	files := len(children(n.Child(wbxml.AirSyncBaseAttachments))) + len(children(n.Child(wbxml.EmailAttachments)))
	if files != it.m.Summary.Attachments {
		t.Errorf("%s: %d files, want %d", name, files, it.m.Summary.Attachments)
	}
	if v < wbxml.V120 {
		if kind == bodyMIME && n.Get(wbxml.EmailMIMEData) != string(it.content) {
			t.Errorf("%s: MIMEData differs", name)
		}
		return
	}
	body := n.Child(wbxml.AirSyncBaseBody)
	data := body.Get(wbxml.AirSyncBaseData)
	if kind == bodyMIME && data != string(it.content) {
		t.Errorf("%s: MIME differs", name)
	}
	size, err := strconv.Atoi(body.Get(wbxml.AirSyncBaseEstimatedDataSize))
	cut := body.Has(wbxml.AirSyncBaseTruncated)
	if err != nil || limit >= 0 && int64(len(data)) > limit || cut && size <= len(data) || body.Get(wbxml.AirSyncBaseTruncated) == "0" {
		t.Errorf("%s, type %d: %d bytes of %d, truncated %v, %v", name, kind, len(data), size, cut, err)
	}
	// Every file can be fetched by its reference.
	for a := range n.Child(wbxml.AirSyncBaseAttachments).All(wbxml.AirSyncBaseAttachment) {
		ref := a.Get(wbxml.AirSyncBaseFileReference)
		_, path, ok := parseReference(ref)
		p := partAt(it.m.Summary.Root, path)
		if !ok || p == nil || p.IsMultipart() {
			t.Errorf("%s: reference %q leads nowhere", name, ref)
			continue
		}
		if kind == bodyPlain && v == wbxml.V141 {
			if _, err := io.Copy(io.Discard, p.Decoded(bytes.NewReader(it.content))); err != nil {
				t.Errorf("%s: %v", ref, err)
			}
		}
		if p.IsMessage() && !strings.HasSuffix(a.Get(wbxml.AirSyncBaseDisplayName), ".eml") && !strings.HasSuffix(a.Get(wbxml.AirSyncBaseDisplayName), ".EML") {
			t.Errorf("%s: message named %q", name, a.Get(wbxml.AirSyncBaseDisplayName))
		}
	}
}
