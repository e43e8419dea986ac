package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/store"
	"waypost/store/storetest"
)

// objectOf reads one object with its text; nil: it is gone.
func objectOf(t testing.TB, s *Store, item store.ItemID) *store.Object {
	t.Helper()
	list, err := s.Objects(t.Context(), me, box, []store.ItemID{item})
	if err != nil {
		t.Fatal(err)
	}
	return list[0]
}

// TestCollectorObjects: the collector spares the text of an object, also of one
// that can still be restored, and takes those that edits left behind.
func TestCollectorObjects(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t, migrations.Mail), Options{ContentCache: -1, MessageCache: -1})
	long := "DESCRIPTION:" + strings.Repeat("0123456789abcdef", 50_000) // more than one chunk
	put := func(text []byte) store.Put {
		t.Helper()
		p, err := s.PutObject(t.Context(), me, box, store.PutObject{Role: store.RoleCalendar, UID: "u", Edit: storetest.SetText(text)})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	put(storetest.Event("u", "first", ":20261124T100000Z", long))
	p := put(storetest.Event("u", "second", ":20261124T100000Z", long))
	want := objectOf(t, s, p.Entry.Item).Text
	if n := count(t, s, "mail.blob where part = 0"); n != 2 {
		t.Errorf("%d contents before, want 2", n)
	}
	purge(t, s, 25*time.Hour)
	if n := count(t, s, "mail.blob where part = 0"); n != 1 {
		t.Errorf("%d contents, want that of the newest text", n)
	}
	if got := objectOf(t, s, p.Entry.Item); got == nil || !bytes.Equal(got.Text, want) {
		t.Fatal("the collector took the text of an object")
	}
	if _, err := s.RemoveObject(t.Context(), me, box, store.RemoveObject{Folder: p.Entry.Folder, Item: p.Entry.Item}); err != nil {
		t.Fatal(err)
	}
	purge(t, s, 25*time.Hour)
	if err := s.Restore(t.Context(), me, box, []store.ItemID{p.Entry.Item}, 0); err != nil {
		t.Fatal(err)
	}
	if got := objectOf(t, s, p.Entry.Item); got == nil || !bytes.Equal(got.Text, want) {
		t.Fatal("the collector took the text of an object that can be restored")
	}
	if _, err := s.RemoveObject(t.Context(), me, box, store.RemoveObject{Folder: p.Entry.Folder, Item: p.Entry.Item}); err != nil {
		t.Fatal(err)
	}
	purge(t, s, 1000*day)
	purge(t, s, 1002*day)
	for _, table := range []string{"mail.blob", "mail.blob_check", "mail.object", "mail.occurrence", "mail.recoverable", "mail.tombstone"} {
		if n := count(t, s, table); n != 0 {
			t.Errorf("%d rows are left in %s", n, table)
		}
	}
}

// TestCollectorObjectRace: the collector runs all the time, as if every content
// were old, while few texts are written again and again.
func TestCollectorObjectRace(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t, migrations.Mail), Options{ContentCache: -1, MessageCache: -1})
	stop := make(chan struct{})
	var purging, wg sync.WaitGroup
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
	for w := range 4 {
		wg.Go(func() {
			for i := range 60 {
				uid := fmt.Sprint("u", w)
				text := storetest.Event(uid, fmt.Sprint("text ", i%3), ":20261124T100000Z", "DESCRIPTION:"+strings.Repeat("x", i%2*9000))
				var p store.Put
				var err error
				for try := 0; ; try++ {
					p, err = s.PutObject(t.Context(), me, box, store.PutObject{Role: store.RoleCalendar, UID: uid, Edit: storetest.SetText(text)})
					if fault.Of(err) != fault.Unavailable || err == nil || try > 100 {
						break
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
				list, err := s.Objects(t.Context(), me, box, []store.ItemID{p.Entry.Item})
				if err != nil || list[0] == nil || !bytes.Contains(list[0].Text, []byte(fmt.Sprint("SUMMARY:text ", i%3))) {
					t.Errorf("the object of %s after put %d: %v", uid, i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	purging.Wait()
}

// counted is the edit that adds one to a number in the text.
func counted(uid string) func(*store.Object) (store.Edit, error) {
	return func(old *store.Object) (store.Edit, error) {
		n := 0
		if old != nil {
			n = numberIn(old.Text)
		}
		return store.Edit{Text: storetest.Event(uid, "counter", ":20261124T100000Z", fmt.Sprint("X-N:", n+1))}, nil
	}
}

func numberIn(text []byte) int {
	_, rest, _ := bytes.Cut(text, []byte("X-N:"))
	line, _, _ := bytes.Cut(rest, []byte("\r\n"))
	n, _ := strconv.Atoi(string(line))
	return n
}

// TestTwoProcessesPut: two processes edit the same objects of one mailbox at
// once, while connections are cut. No edit that was answered is lost, none is done
// twice, and there is one object for each UID. The mailbox is made by whoever
// comes first.
func TestTwoProcessesPut(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t, migrations.Mail)
	procs := []*Store{open(t, url, Options{}), open(t, url, Options{})}
	for _, s := range procs {
		running(t, s)
	}
	killer, err := pgdb.Open(t.Context(), url, pgdb.Options{Name: "killer"})
	if err != nil {
		t.Fatal(err)
	}
	defer killer.Close()
	const writers, each, uids = 6, 40, 4
	ctx, cancel := context.WithCancel(t.Context())
	var killing, wg sync.WaitGroup
	cut := 0
	killing.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Duration(50+rand.IntN(150)) * time.Millisecond):
			}
			n := 0
			err := killer.QueryRow(t.Context(), `select count(pg_terminate_backend(pid)) from (
				select pid from pg_stat_activity where datname = current_database() and application_name = 'storetest'
				order by random() limit 1) p`).Scan(&n)
			if err != nil {
				t.Error(err)
				return
			}
			cut += n
		}
	})
	var mu sync.Mutex
	done := map[string]int{}
	repeated := 0
	for w := range writers {
		wg.Go(func() {
			s := procs[w%len(procs)]
			for i := range each {
				uid := fmt.Sprint("u", (w+i)%uids)
				for try := 0; ; try++ {
					_, err := s.PutObject(t.Context(), me, box, store.PutObject{
						Role: store.RoleCalendar, UID: uid, Once: fmt.Sprintf("w%d i%d", w, i), Edit: counted(uid),
					})
					if err == nil {
						mu.Lock()
						done[uid]++
						repeated += min(try, 1)
						mu.Unlock()
						break
					}
					// Conflict: all attempts met somebody faster.
					if kind := fault.Of(err); kind != fault.Unavailable && kind != fault.Conflict || try > 200 || errors.Is(err, context.Canceled) {
						t.Errorf("put: %v (%v)", err, kind)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	cancel()
	killing.Wait()
	t.Logf("%d connections cut, %d puts repeated", cut, repeated)

	cal, err := procs[0].FolderByRole(t.Context(), me, box, store.RoleCalendar)
	if err != nil {
		t.Fatal(err)
	}
	list, err := procs[1].ObjectList(t.Context(), me, box, cal.ID, 0, 100)
	if err != nil || len(list) != uids || cal.Total != uids {
		t.Fatalf("%d objects, the folder says %d, want %d; %v", len(list), cal.Total, uids, err)
	}
	for _, o := range list {
		for i, s := range procs {
			if n := numberIn(objectOf(t, s, o.Item).Text); n != done[o.UID] {
				t.Errorf("process %d: %s counts %d, %d were answered", i, o.UID, n, done[o.UID])
			}
		}
	}
}
