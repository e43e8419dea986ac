package eas

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/mail"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/services/eas/wbxml"
	"waypost/store"
	"waypost/store/postgres"
)

// realStore is the store that is shipped, on a database of the test's own.
// cache bounds what it remembers of content, -1 nothing.
func realStore(t testing.TB, cache int64) store.Store {
	t.Helper()
	db, err := pgdb.Open(t.Context(), pgtest.New(t, migrations.Mail), pgdb.Options{Name: "eas"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s, err := postgres.New(map[string]*pgdb.DB{postgres.DefaultHome: db}, postgres.Options{MessageCache: cache, ContentCache: cache})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func realServer(t testing.TB, cache int64) (store.Store, *Server) {
	t.Helper()
	st := realStore(t, cache)
	if _, err := st.Mailbox(t.Context(), directory.System("test"), 7); err != nil {
		t.Fatal(err)
	}
	f := newFake()
	s := New(st, f, f, Options{Log: quiet()})
	t.Cleanup(s.Stop)
	return st, s
}

// deliver puts n messages of about size bytes into the inbox.
func deliver(t testing.TB, st store.Store, first, n, size int) {
	t.Helper()
	ctx, as := context.Background(), directory.System("test")
	line := strings.Repeat("All work and no play makes Jack a dull boy. ", 2) + "\r\n"
	for i := first; i < first+n; i++ {
		raw := crlf(plainMail(fmt.Sprint("mail ", i))) + strings.Repeat(line, size/len(line))
		sum, _ := mail.Parse(strings.NewReader(raw))
		w, err := st.NewBlob(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bytes.NewReader([]byte(raw)).WriteTo(w); err != nil {
			t.Fatal(err)
		}
		b, err := w.Close(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Add(ctx, as, 7, store.NewMessage{Role: store.RoleInbox, Blob: b, Summary: sum}); err != nil {
			t.Fatal(err)
		}
	}
}

func inbox(t testing.TB, st store.Store) string {
	t.Helper()
	f, err := st.FolderByRole(context.Background(), directory.System("test"), 7, store.RoleInbox)
	if err != nil {
		t.Fatal(err)
	}
	return f.ID.String()
}

// TestRealStore plays the life of a collection against the real store.
func TestRealStore(t *testing.T) {
	st, s := realServer(t, 0)
	deliver(t, st, 0, 25, 2000)
	id := inbox(t, st)
	for _, v := range []wbxml.Version{wbxml.V25, wbxml.V121, wbxml.V141, wbxml.V161} {
		t.Run(v.String(), func(t *testing.T) {
			p := &testPhone{h: s, version: v, device: "d" + itoa(int(v))}
			key := p.prime(t, id)
			items := map[string]bool{}
			for range 10 {
				c := p.sync(t, key, id, "<WindowSize>10</WindowSize>")
				if key = c.Get(wbxml.AirSyncSyncKey); c.Get(wbxml.AirSyncStatus) != "1" {
					t.Fatalf("answer %s", c)
				}
				for a := range c.Child(wbxml.AirSyncCommands).All(wbxml.AirSyncAdd) {
					items[a.Get(wbxml.AirSyncServerId)] = true
				}
				if !c.Has(wbxml.AirSyncMoreAvailable) {
					break
				}
			}
			if len(items) < 25 {
				t.Fatalf("%d items, want 25", len(items))
			}
			deliver(t, st, 100, 1, 100)
			c := p.sync(t, key, id, "")
			add := c.Child(wbxml.AirSyncCommands, wbxml.AirSyncAdd)
			if key = c.Get(wbxml.AirSyncSyncKey); add == nil || add.Get(wbxml.AirSyncApplicationData, wbxml.EmailSubject) != "mail 100" {
				t.Fatalf("new mail: %s", c)
			}
			item := add.Get(wbxml.AirSyncServerId)
			c = p.sync(t, key, id, "<Commands><Change><ServerId>"+item+"</ServerId><ApplicationData><Email:Read>1</Email:Read></ApplicationData></Change></Commands>")
			if key = c.Get(wbxml.AirSyncSyncKey); c.Has(wbxml.AirSyncCommands) || c.Has(wbxml.AirSyncResponses) {
				t.Fatalf("own change comes back: %s", c)
			}
			c = p.sync(t, key, id, "<Commands><Delete><ServerId>"+item+"</ServerId></Delete></Commands>")
			if c.Has(wbxml.AirSyncCommands) || c.Has(wbxml.AirSyncResponses) {
				t.Fatalf("own deletion comes back: %s", c)
			}
			n, _ := store.ParseItemID(item)
			es, err := st.EntriesOf(t.Context(), directory.System("test"), 7, []store.ItemID{n})
			if err != nil || len(es) != 1 || es[0].Folder.String() == id || es[0].Flags&store.Seen == 0 {
				t.Fatalf("item %v, %v", es, err)
			}
		})
	}
}

func BenchmarkInitialSync(b *testing.B) {
	for name, cache := range map[string]int64{"warm": 0, "cold": -1} {
		b.Run(name, func(b *testing.B) { benchmarkInitial(b, cache) })
	}
}

func benchmarkInitial(b *testing.B, cache int64) {
	st, s := realServer(b, cache)
	const n = 1000
	deliver(b, st, 0, n, 10<<10)
	id := inbox(b, st)
	const options = "<WindowSize>100</WindowSize><Options><AirSyncBase:BodyPreference><Type>1</Type><TruncationSize>4000</TruncationSize></AirSyncBase:BodyPreference></Options>"
	for i := 0; b.Loop(); i++ {
		p := &testPhone{h: s, version: wbxml.V141, device: fmt.Sprint("b", i)}
		key := syncOnce(b, p, "0", id, "").Get(wbxml.AirSyncSyncKey)
		got := 0
		for {
			c := syncOnce(b, p, key, id, options)
			key = c.Get(wbxml.AirSyncSyncKey)
			got += len(c.Child(wbxml.AirSyncCommands).Children)
			if !c.Has(wbxml.AirSyncMoreAvailable) {
				break
			}
		}
		if got != n {
			b.Fatalf("%d items", got)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func BenchmarkIncrementalSync(b *testing.B) {
	st, s := realServer(b, 0)
	deliver(b, st, 0, 200, 10<<10)
	id := inbox(b, st)
	p := &testPhone{h: s, version: wbxml.V141, device: "inc"}
	key := syncOnce(b, p, "0", id, "").Get(wbxml.AirSyncSyncKey)
	key = syncOnce(b, p, key, id, "<WindowSize>512</WindowSize>").Get(wbxml.AirSyncSyncKey)
	var took time.Duration
	for i := range b.N {
		deliver(b, st, 1000+i, 1, 10<<10)
		t := time.Now()
		c := syncOnce(b, p, key, id, "")
		took += time.Since(t)
		key = c.Get(wbxml.AirSyncSyncKey)
	}
	b.ReportMetric(float64(took.Microseconds())/float64(b.N), "µs/sync")
}

func syncOnce(t testing.TB, p *testPhone, key, id, inner string) *wbxml.Node {
	t.Helper()
	n, err := wbxml.Parse(collectionText(key, id, inner))
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.do("Sync", n)
	if err != nil || out == nil {
		t.Fatalf("sync: %v %v", out, err)
	}
	return out.Child(wbxml.AirSyncCollections, wbxml.AirSyncCollection)
}
