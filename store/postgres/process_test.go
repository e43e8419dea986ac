package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/store"
	"waypost/store/storetest"
)

// running runs a store's background work until the test ends.
func running(t *testing.T, s *Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	})
}

func newMessage(t testing.TB, s *Store, raw []byte) store.NewMessage {
	t.Helper()
	blob, sum, err := storetest.Upload(t.Context(), s, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return store.NewMessage{Blob: blob, Summary: sum}
}

func read(t testing.TB, c store.Content) []byte {
	t.Helper()
	raw, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

const box = store.MailboxID(7)

var me = storetest.Owner(box)

func add(t testing.TB, s *Store, m store.NewMessage) store.Added {
	t.Helper()
	a, err := s.Add(t.Context(), me, box, m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func woken(w store.Watcher, within time.Duration) bool {
	select {
	case <-w.C():
		return true
	case <-time.After(within):
		return false
	}
}

// TestTwoProcesses: one process hears what another one commits.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t, migrations.Mail)
	writer, mute, reader := open(t, url, Options{}), open(t, url, Options{}), open(t, url, Options{})
	running(t, writer)
	running(t, reader)
	m := newMessage(t, writer, storetest.Text("x", "x"))
	add(t, writer, m)
	w := reader.Watch(box)
	defer w.Close()
	woken(w, 4*time.Second) // the first comparison knows of no number before
	start := time.Now()
	add(t, writer, m)
	if !woken(w, time.Second) {
		t.Error("not woken within a second")
	}
	t.Logf("woken after %v", time.Since(start))
	// mute is not running, so its notification is lost.
	start = time.Now()
	add(t, mute, m)
	if !woken(w, pollEvery+time.Second) {
		t.Error("not woken by the comparison")
	}
	t.Logf("woken without a notification after %v", time.Since(start))
	sent, err := writer.Send(t.Context(), me, box, store.Outgoing{Key: "k", From: "a@b", Recipients: []string{"c@d"}, Blob: m.Blob, Summary: m.Summary})
	if err != nil || sent.Repeated {
		t.Fatal(sent, err)
	}
	select {
	case <-reader.OutboxReady():
	case <-time.After(2 * time.Second):
		t.Error("the other process's mover was not woken")
	}
}

// TestKilledBackends: connections are cut at random moments; every addition is
// repeated under its key until it is answered, and is there exactly once.
func TestKilledBackends(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t, migrations.Mail)
	s := open(t, url, Options{})
	killer, err := pgdb.Open(t.Context(), url, pgdb.Options{Name: "killer"})
	if err != nil {
		t.Fatal(err)
	}
	defer killer.Close()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)

	const writers, each = 8, 40
	boxes := []store.MailboxID{1, 2}
	var wg sync.WaitGroup
	raw := func(w, i int) []byte {
		n := 200
		if i%10 == 0 {
			n = 300_000 // more than one chunk
		}
		return storetest.Text(fmt.Sprintf("w%d i%d", w, i), string(bytes.Repeat([]byte(fmt.Sprintf("%d-%d ", w, i)), n/5)))
	}
	answered := make([]map[string]store.Added, writers)
	repeats := make([]int, writers)
	for w := range writers {
		answered[w] = make(map[string]store.Added)
		wg.Go(func() {
			for i := range each {
				id := boxes[i%2]
				for try := 0; ; try++ {
					a, err := func() (store.Added, error) {
						blob, sum, err := storetest.Upload(t.Context(), s, bytes.NewReader(raw(w, i)))
						if err != nil {
							return store.Added{}, err
						}
						return s.Add(t.Context(), storetest.Owner(id), id, store.NewMessage{Blob: blob, Summary: sum, Once: fmt.Sprintf("%d %d", w, i)})
					}()
					if err == nil {
						answered[w][fmt.Sprintf("w%d i%d", w, i)] = a
						break
					}
					if k := fault.Of(err); k != fault.Unavailable || try > 200 {
						t.Errorf("add: %v (%v)", err, k)
						return
					}
					repeats[w]++
				}
			}
		})
	}
	stop := make(chan struct{})
	killed := 0
	var killing sync.WaitGroup
	killing.Go(func() {
		r := rand.New(rand.NewPCG(seed, 1))
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(50+r.IntN(200)) * time.Millisecond):
			}
			var n int
			err := killer.QueryRow(t.Context(), `select count(pg_terminate_backend(pid)) from (
				select pid from pg_stat_activity where datname = current_database() and application_name = 'storetest'
				order by random() limit 1) p`).Scan(&n)
			if err != nil {
				t.Error(err)
				return
			}
			killed += n
		}
	})
	wg.Wait()
	close(stop)
	killing.Wait()
	total := 0
	for _, n := range repeats {
		total += n
	}
	t.Logf("%d connections cut, %d calls repeated", killed, total)

	there := make(map[string]int)
	for _, id := range boxes {
		inbox, err := s.FolderByRole(t.Context(), storetest.Owner(id), id, store.RoleInbox)
		if err != nil {
			t.Fatal(err)
		}
		_, list, err := s.Entries(t.Context(), storetest.Owner(id), id, inbox.ID, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if inbox.Total != len(list) {
			t.Errorf("the folder says %d, has %d", inbox.Total, len(list))
		}
		for _, e := range list {
			ms, err := s.Messages(t.Context(), storetest.Owner(id), id, []store.ItemID{e.Item})
			if err != nil {
				t.Fatal(err)
			}
			there[ms[0].Summary.Subject]++
			c, err := s.Content(t.Context(), storetest.Owner(id), id, e.Item)
			if err != nil {
				t.Fatal(err)
			}
			var w, i int
			fmt.Sscanf(ms[0].Summary.Subject, "w%d i%d", &w, &i)
			if !bytes.Equal(read(t, c), raw(w, i)) {
				t.Errorf("%q has another content", ms[0].Summary.Subject)
			}
		}
	}
	for w := range writers {
		for subject := range answered[w] {
			if there[subject] != 1 {
				t.Errorf("%q is there %d times", subject, there[subject])
			}
		}
	}
	if len(there) != writers*each {
		t.Errorf("%d messages, want %d", len(there), writers*each)
	}
}

func TestOutbox(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t, migrations.Mail)
	s := open(t, url, Options{})
	m := newMessage(t, s, storetest.Text("out", "going"))
	out := store.Outgoing{Key: "1", From: "a@b", Recipients: []string{"c@d", "e@f"}, Blob: m.Blob, Prefix: []byte("Received: here\r\n"), Summary: m.Summary}
	if _, err := s.Send(t.Context(), me, box, out); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.OutboxReady():
	default:
		t.Error("the mover was not woken")
	}
	out.Key, out.NotBefore = "later", time.Now().Add(time.Hour)
	if _, err := s.Send(t.Context(), me, box, out); err != nil {
		t.Fatal(err)
	}
	list, err := s.NextOutbox(t.Context(), DefaultHome, 10)
	if err != nil || len(list) != 1 || list[0].Mailbox != box || len(list[0].Recipients) != 2 || list[0].From != "a@b" {
		t.Fatalf("due: %+v, %v", list, err)
	}
	if again, err := s.NextOutbox(t.Context(), DefaultHome, 10); err != nil || len(again) != 0 {
		t.Errorf("taken twice: %+v, %v", again, err)
	}
	c, err := s.OutboxContent(t.Context(), DefaultHome, list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := read(t, c), append([]byte("Received: here\r\n"), storetest.Text("out", "going")...); !bytes.Equal(got, want) {
		t.Errorf("content %q, want %q", got, want)
	}
	// The one that waits keeps the content.
	for range 2 {
		if err := s.DoneOutbox(t.Context(), DefaultHome, list[0].ID); err != nil {
			t.Fatal(err)
		}
	}
	purge(t, s, 2*day)
	if n := count(t, s, "mail.blob"); n != 1 {
		t.Errorf("%d contents, want 1", n)
	}
	if _, err := s.homes[DefaultHome].db.Exec(t.Context(), "update mail.outbox set not_before = now()"); err != nil {
		t.Fatal(err)
	}
	list, err = s.NextOutbox(t.Context(), DefaultHome, 10)
	if err != nil || len(list) != 1 {
		t.Fatalf("due: %+v, %v", list, err)
	}
	if err := s.DoneOutbox(t.Context(), DefaultHome, list[0].ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.OutboxContent(t.Context(), DefaultHome, list[0].ID); fault.Of(err) != fault.NotFound {
		t.Errorf("content of what was moved: %v", err)
	}
	purge(t, s, 2*day)
	if n := count(t, s, "mail.blob") + count(t, s, "mail.blob_check"); n != 0 {
		t.Errorf("%d contents are left", n)
	}
}

func purge(t testing.TB, s *Store, ahead time.Duration) Purged {
	t.Helper()
	p, err := s.PurgeOnce(t.Context(), DefaultHome, time.Now().Add(ahead), Retention{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func count(t testing.TB, s *Store, table string) (n int) {
	t.Helper()
	if err := s.homes[DefaultHome].db.QueryRow(t.Context(), "select count(*) from "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestLeftovers: what a process that died left behind is collected, and not sooner.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t, migrations.Mail), Options{})
	big := bytes.Repeat([]byte("0123456789abcdef"), 50_000)
	w, err := s.NewBlob(t.Context(), DefaultHome)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(big); err != nil { // never closed
		t.Fatal(err)
	}
	unused := newMessage(t, s, append(storetest.Text("unused", "x"), big...))
	used := newMessage(t, s, append(storetest.Text("used", "x"), big...))
	a := add(t, s, used)
	purge(t, s, 23*time.Hour)
	if n := count(t, s, "mail.blob where part = 0"); n != 3 {
		t.Errorf("%d contents, want 3", n)
	}
	p := purge(t, s, 25*time.Hour)
	if n := count(t, s, "mail.blob where part = 0"); n != 1 || p.Contents != 3 {
		t.Errorf("%d contents are left after %+v, want 1", n, p)
	}
	if n := count(t, s, "mail.blob_check"); n != 0 {
		t.Errorf("%d are still to be checked", n)
	}
	c, err := s.Content(t.Context(), me, box, a.Entry.Item)
	if err != nil || !bytes.Equal(read(t, c), append(storetest.Text("used", "x"), big...)) {
		t.Errorf("the used content: %v", err)
	}
	// Too late: the caller must send it again.
	if _, err := s.Add(t.Context(), me, box, unused); fault.Of(err) != fault.Unavailable {
		t.Errorf("add of collected content: %v", err)
	}
	if _, err := s.Send(t.Context(), me, box, store.Outgoing{Key: "k", Recipients: []string{"a@b"}, Blob: unused.Blob}); fault.Of(err) != fault.Unavailable {
		t.Errorf("send of collected content: %v", err)
	}
	add(t, s, newMessage(t, s, append(storetest.Text("unused", "x"), big...)))
}

// TestCollectorRace: the collector runs all the time, as if every content were
// old, while the same few contents are added and deleted.
func TestCollectorRace(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t, migrations.Mail), Options{ContentCache: -1, MessageCache: -1})
	big := bytes.Repeat([]byte("0123456789abcdef"), 6_000)
	stop := make(chan struct{})
	var purging sync.WaitGroup
	for range 2 {
		purging.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					purge(t, s, 1000*day)
				}
			}
		})
	}
	var wg sync.WaitGroup
	for w := range 4 {
		id := store.MailboxID(1 + w)
		as := storetest.Owner(id)
		wg.Go(func() {
			for i := range 40 {
				raw := storetest.Text(fmt.Sprint("m", i%3), "x")
				if i%4 == 0 {
					raw = append(raw, big...)
				}
				var a store.Added
				for try := 0; ; try++ {
					blob, sum, err := storetest.Upload(t.Context(), s, bytes.NewReader(raw))
					if err == nil {
						a, err = s.Add(t.Context(), as, id, store.NewMessage{Blob: blob, Summary: sum})
					}
					if err == nil {
						break
					}
					if fault.Of(err) != fault.Unavailable || try > 100 {
						t.Errorf("add: %v", err)
						return
					}
				}
				c, err := s.Content(t.Context(), as, id, a.Entry.Item)
				if err != nil {
					t.Error(err)
					return
				}
				got := make([]byte, c.Size())
				if _, err := c.ReadAt(got, 0); err != nil || !bytes.Equal(got, raw) {
					t.Errorf("content of %d: %v", a.Entry.Item, err)
					return
				}
				if _, _, err := s.Delete(t.Context(), as, id, a.Entry.Folder, []store.ItemID{a.Entry.Item}, false); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	purging.Wait()
	purge(t, s, 1000*day)
	purge(t, s, 1002*day)
	for _, table := range []string{"mail.blob", "mail.blob_check", "mail.message", "mail.recoverable", "mail.tombstone"} {
		if n := count(t, s, table); n != 0 {
			t.Errorf("%d rows are left in %s", n, table)
		}
	}
}

// TestRecoverableQuota: beyond it the oldest go first.
func TestRecoverableQuota(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t, migrations.Mail), Options{RecoverableQuota: 1000})
	var items []store.ItemID
	for i := range 10 {
		m := newMessage(t, s, storetest.Text(fmt.Sprint(i), string(bytes.Repeat([]byte("x"), 300))))
		a := add(t, s, m)
		items = append(items, a.Entry.Item)
		if _, _, err := s.Delete(t.Context(), me, box, a.Entry.Folder, []store.ItemID{a.Entry.Item}, false); err != nil {
			t.Fatal(err)
		}
	}
	purge(t, s, 0)
	rec, err := s.Recoverables(t.Context(), me, box, 0, 100)
	if err != nil || len(rec) != 2 || rec[1].Item != items[9] || rec[0].Item != items[8] {
		t.Errorf("left %+v, %v", rec, err)
	}
	if m, err := s.Mailbox(t.Context(), me, box); err != nil || m.Recoverable != rec[0].Size+rec[1].Size {
		t.Errorf("mailbox %+v, %v", m, err)
	}
}

// TestWithdraw: who gives up while it waits is not added, and the others are.
func TestWithdraw(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t, migrations.Mail), Options{})
	m := newMessage(t, s, storetest.Text("x", "x"))
	add(t, s, m)
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for i := range 200 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(20_000))*time.Microsecond)
			defer cancel()
			if i%3 == 0 {
				ctx = t.Context()
			}
			_, err := s.Add(ctx, me, box, m)
			if err == nil {
				mu.Lock()
				done++
				mu.Unlock()
			} else if fault.Of(err) != fault.Unavailable {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f, err := s.FolderByRole(t.Context(), me, box, store.RoleInbox)
	if err != nil || f.Total != done+1 {
		t.Errorf("%d are there, %d were answered: %v", f.Total, done+1, err)
	}
	noneLeft(t, s)
	t.Logf("%d of 200 added", done)
}

// noneLeft checks that the combiner came to rest.
func noneLeft(t *testing.T, s *Store) {
	t.Helper()
	c := &s.homes[DefaultHome].adds
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) != 0 || c.running != 0 || len(c.apart) != 0 {
		t.Errorf("the combiner has %d waiting, %d running, %d apart", len(c.waiting), c.running, len(c.apart))
	}
}

// TestBusyMailbox: while somebody holds one mailbox's counter row, mail for the
// others goes on, and that for it comes when the row is free.
func TestBusyMailbox(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t, migrations.Mail), Options{})
	const boxes = 5
	m := newMessage(t, s, storetest.Text("x", "x"))
	addTo := func(i int) error {
		id := store.MailboxID(i)
		_, err := s.Add(t.Context(), storetest.Owner(id), id, m)
		return err
	}
	for i := 1; i <= boxes; i++ {
		if err := addTo(i); err != nil { // makes it
			t.Fatal(err)
		}
	}
	held, release := make(chan struct{}), make(chan struct{})
	var holder, waiters, others sync.WaitGroup
	holder.Go(func() {
		if err := s.homes[DefaultHome].db.Tx(t.Context(), func(ctx context.Context, tx *pgdb.Tx) error {
			if _, err := tx.Exec(ctx, "select from mail.mailbox where id = 1 for update"); err != nil {
				return err
			}
			close(held)
			<-release
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
	<-held
	var early atomic.Int64
	for range 20 {
		waiters.Go(func() {
			if err := addTo(1); err != nil {
				t.Error(err)
			}
			early.Add(1)
		})
	}
	for range 20 {
		for i := 2; i <= boxes; i++ {
			others.Go(func() {
				if err := addTo(i); err != nil {
					t.Error(err)
				}
			})
		}
	}
	others.Wait() // while mailbox 1 is held
	if n := early.Load(); n != 0 {
		t.Errorf("%d additions passed the holder of their mailbox", n)
	}
	close(release)
	holder.Wait()
	waiters.Wait()
	for i := 1; i <= boxes; i++ {
		id := store.MailboxID(i)
		if f, err := s.FolderByRole(t.Context(), storetest.Owner(id), id, store.RoleInbox); err != nil || f.Total != 21 || f.UIDNext != 22 {
			t.Errorf("mailbox %d: %d messages, next %d, %v", i, f.Total, f.UIDNext, err)
		}
	}
	noneLeft(t, s)
}

func TestHomes(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t, migrations.Mail)
	s := open(t, url, Options{})
	as := me
	as.HomeMDB = "elsewhere"
	if _, err := s.Mailbox(t.Context(), as, box); fault.Of(err) != fault.Unavailable {
		t.Errorf("unknown mailbox database: %v", err)
	}
	if _, err := New(map[string]*pgdb.DB{"x": nil}, Options{}); fault.Of(err) != fault.Invalid {
		t.Errorf("without a default: %v", err)
	}
	if got := s.Homes(); len(got) != 1 || got[0] != DefaultHome {
		t.Errorf("Homes = %v", got)
	}
}
