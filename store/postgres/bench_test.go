package postgres

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/store"
	"waypost/store/storetest"
)

// These measure what they are told to: the shared test server keeps nothing
// safe, so figures that count need WAYPOST_TEST_POSTGRES to name a server with
// fsync, synchronous_commit and full_page_writes on. They log which it was.

func benchStore(b *testing.B, o Options) *Store {
	b.Helper()
	s := open(b, pgtest.New(b, migrations.Mail), o)
	var fsync, sync, fpw string
	if err := s.homes[DefaultHome].db.QueryRow(b.Context(),
		"select current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes')").Scan(&fsync, &sync, &fpw); err != nil {
		b.Fatal(err)
	}
	b.Logf("fsync %s, synchronous_commit %s, full_page_writes %s", fsync, sync, fpw)
	return s
}

// mailText is a message of about n bytes of words.
func mailText(r *rand.Rand, i, n int) []byte {
	var body bytes.Buffer
	for body.Len() < n {
		for range 10 {
			fmt.Fprintf(&body, "word%d ", r.IntN(3000))
		}
		body.WriteString("\r\n")
	}
	return storetest.Text(fmt.Sprintf("Message %d about %d", i, r.IntN(1000)), body.String(),
		fmt.Sprintf("Message-ID: <%d.%d@bench.example>", i, r.Uint64()), "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8")
}

func BenchmarkAdd(b *testing.B) {
	for _, bb := range []struct{ writers, boxes int }{{1, 1}, {8, 1}, {8, 8}, {32, 32}} {
		b.Run(fmt.Sprintf("writers=%d/mailboxes=%d", bb.writers, bb.boxes), func(b *testing.B) {
			s := benchStore(b, Options{})
			for i := range bb.boxes {
				if _, err := s.Mailbox(b.Context(), storetest.Owner(store.MailboxID(i+1)), store.MailboxID(i+1)); err != nil {
					b.Fatal(err)
				}
			}
			var n atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for w := range bb.writers {
				id := store.MailboxID(w%bb.boxes + 1)
				wg.Go(func() {
					r := rand.New(rand.NewPCG(uint64(w), 2))
					for {
						i := int(n.Add(1))
						if i > b.N {
							return
						}
						blob, sum, err := storetest.Upload(b.Context(), s, bytes.NewReader(mailText(r, i, 10<<10)))
						if err == nil {
							_, err = s.Add(b.Context(), storetest.Owner(id), id, store.NewMessage{Blob: blob, Summary: sum, Once: fmt.Sprint("bench ", i)})
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "adds/s")
		})
	}
}

// filled is a store with a folder of n messages.
func filled(b *testing.B, o Options, n int) (*Store, store.FolderID, []store.Entry) {
	b.Helper()
	s := benchStore(b, o)
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range 50 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 3))
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				add(b, s, newMessage(b, s, mailText(r, i, 2<<10)))
			}
		})
	}
	wg.Wait()
	if _, err := s.homes[DefaultHome].db.Exec(b.Context(), "vacuum analyze"); err != nil {
		b.Fatal(err)
	}
	inbox, err := s.FolderByRole(b.Context(), me, box, store.RoleInbox)
	if err != nil {
		b.Fatal(err)
	}
	_, list, err := s.Entries(b.Context(), me, box, inbox.ID, 0, n)
	if err != nil || len(list) != n {
		b.Fatal(len(list), err)
	}
	return s, inbox.ID, list
}

func BenchmarkEntries10k(b *testing.B) {
	s, inbox, _ := filled(b, Options{}, 10_000)
	for _, page := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("page=%d", page), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				after, n := store.UID(0), 0
				for n < 10_000 {
					_, list, err := s.Entries(b.Context(), me, box, inbox, after, page)
					if err != nil {
						b.Fatal(err)
					}
					n += len(list)
					after = list[len(list)-1].UID
				}
			}
		})
	}
}

func BenchmarkMessages10k(b *testing.B) {
	for _, cache := range []struct {
		name  string
		bytes int64
	}{{"warm", 256 << 20}, {"cold", -1}} {
		b.Run(cache.name, func(b *testing.B) {
			s, _, list := filled(b, Options{MessageCache: cache.bytes}, 10_000)
			items := make([]store.ItemID, len(list))
			for i, e := range list {
				items[i] = e.Item
			}
			all := func() {
				for at := 0; at < len(items); at += 1000 {
					ms, err := s.Messages(b.Context(), me, box, items[at:at+1000])
					if err != nil || ms[999] == nil {
						b.Fatal(err)
					}
				}
			}
			all()
			b.ReportAllocs()
			for b.Loop() {
				all()
			}
		})
	}
}

func BenchmarkContent(b *testing.B) {
	for _, cache := range []struct {
		name  string
		bytes int64
	}{{"warm", 0}, {"cold", -1}} {
		b.Run(cache.name, func(b *testing.B) {
			s, _, list := filled(b, Options{ContentCache: cache.bytes}, 1000)
			i := 0
			buf := make([]byte, 1<<20)
			one := func() {
				c, err := s.Content(b.Context(), me, box, list[i%len(list)].Item)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := c.ReadAt(buf[:c.Size()], 0); err != nil || int64(n) != c.Size() {
					b.Fatal(n, err)
				}
				i++
			}
			for range list {
				one()
			}
			b.ReportAllocs()
			for b.Loop() {
				one()
			}
		})
	}
}

func BenchmarkChanges(b *testing.B) {
	s, inbox, list := filled(b, Options{}, 10_000)
	at := store.After(list[len(list)-1].Changed)
	b.ReportAllocs()
	for b.Loop() {
		c, err := s.Changes(b.Context(), me, box, inbox, at, 100)
		if err != nil || c.More {
			b.Fatal(err)
		}
	}
}

func BenchmarkFlag(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, inbox, list := filled(b, Options{}, 1000)
			var items []store.ItemID
			for _, e := range list[:n] {
				items = append(items, e.Item)
			}
			i := 0
			for b.Loop() {
				i++
				f := store.FlagChange{Folder: inbox, Items: items, Set: store.Seen}
				if i%2 == 0 {
					f.Set, f.Clear = 0, store.Seen
				}
				if _, err := s.Flag(b.Context(), me, box, f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
