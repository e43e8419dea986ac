package postgres

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"

	"waypost/internal/corpus"
	"waypost/internal/mail"
	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/store"
)

// TestCorpus keeps every real message, however malformed, and gives it back
// byte for byte with the summary that was made of it.
func TestCorpus(t *testing.T) {
	t.Parallel()
	dir := corpus.Dir(t)
	var files []string
	_ = filepath.WalkDir(filepath.Join(dir, "mail"), func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, p)
		}
		return nil
	})
	if len(files) == 0 {
		t.Fatalf("no messages in %s", dir)
	}
	s := open(t, pgtest.New(t, migrations.Mail), Options{MessageCache: -1, ContentCache: -1})
	work := make(chan string)
	items := make(map[store.ItemID]string)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for p := range work {
				raw, err := os.ReadFile(p)
				if err != nil {
					t.Error(err)
					continue
				}
				a, err := s.Add(t.Context(), me, box, newMessage(t, s, raw))
				if err != nil {
					t.Errorf("%s: %v", p, err)
					continue
				}
				mu.Lock()
				items[a.Entry.Item] = p
				mu.Unlock()
			}
		})
	}
	for _, p := range files {
		work <- p
	}
	close(work)
	wg.Wait()
	for item, p := range items {
		raw, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.Content(t.Context(), me, box, item)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(read(t, c), raw) {
			t.Errorf("%s came back different", p)
		}
		ms, err := s.Messages(t.Context(), me, box, []store.ItemID{item})
		if err != nil {
			t.Fatal(err)
		}
		sum, err := mail.Parse(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if got := ms[0].Summary; got.Subject != sum.Subject || got.Preview != sum.Preview || !reflect.DeepEqual(got.From, sum.From) {
			t.Errorf("%s: summary %+v, want %+v", p, got, sum)
		}
	}
	if len(items) != len(files) {
		t.Errorf("%d of %d messages are there", len(items), len(files))
	}
	var rows, wide, toasted, inline int64
	err := s.homes[DefaultHome].db.QueryRow(t.Context(), `
		select count(*), avg(pg_column_size(m.*))::bigint, count(*) filter (where pg_column_size(m.*) > 2000),
			(select count(*) from mail.blob where length(data) < 8000) from mail.message m`).Scan(&rows, &wide, &toasted, &inline)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d messages, rows of %d bytes on average, %d above 2000; %d contents in their rows", rows, wide, toasted, inline)
}
