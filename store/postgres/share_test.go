package postgres

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/store"
	"waypost/store/storetest"
)

// TestShareGroups: rights of groups count, together, and not beside one's own; a
// change of who is in them counts within seconds.
func TestShareGroups(t *testing.T) {
	var mu sync.Mutex
	in := []directory.ObjectID{70, 71}
	s := open(t, pgtest.New(t, migrations.Mail), Options{Groups: func(_ context.Context, id directory.ObjectID) ([]directory.ObjectID, error) {
		mu.Lock()
		defer mu.Unlock()
		if id != 2 {
			return nil, nil
		}
		return in, nil
	}})
	ctx, ann, bob := t.Context(), storetest.Owner(1), storetest.Owner(2)
	f, err := s.FolderByRole(ctx, ann, 1, store.RoleCalendar)
	if err != nil {
		t.Fatal(err)
	}
	give := func(to directory.ObjectID, role string) {
		t.Helper()
		rights, ok := store.ParseRights(role)
		if err := s.SetGrant(ctx, ann, 1, ann.ID, f.ID, store.Grant{To: to, Rights: rights}); err != nil || !ok {
			t.Fatal(err)
		}
	}
	rights := func() store.Rights {
		t.Helper()
		got, err := s.Folder(ctx, bob, 1, f.ID)
		if err != nil && fault.Of(err) != fault.NotFound {
			t.Fatal(err)
		}
		return got.Rights
	}
	give(store.Everyone, "editor")
	give(70, "reviewer")
	give(71, "contributor")
	want, _ := store.ParseRights("read,create,visible")
	if got := rights(); got != want {
		t.Errorf("of two groups %s", got)
	}
	if list, err := s.SharedWith(ctx, bob); err != nil || len(list) != 1 || list[0].Folder.Rights != want {
		t.Errorf("shared %+v, %v", list, err)
	}
	give(2, "free-busy")
	if got := rights(); got.Role() != "free-busy" {
		t.Errorf("one's own beside groups: %s", got)
	}
	if err := s.RemoveGrant(ctx, ann, 1, f.ID, 2); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	in = nil
	mu.Unlock()
	for end := time.Now().Add(10 * time.Second); rights().Role() != "editor"; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("a member still after it left: %s", rights())
		}
	}
}

// TestShareByIndex: what is shared with somebody is found without reading the rights
// of others.
func TestShareByIndex(t *testing.T) {
	s := open(t, pgtest.New(t, migrations.Mail), Options{})
	ctx := t.Context()
	db := s.homes[DefaultHome].db
	if _, err := db.Exec(ctx, `insert into mail.share (mailbox, folder, grantee, owner, rights, seq)
		select m, 7, g, m, 1025, 1 from generate_series(1, 2000) m, generate_series(5000, 5009) g`); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(ctx, "analyze mail.share"); err != nil {
		t.Fatal(err)
	}
	var plan string
	rows, err := db.Query(ctx, "explain select "+sharedCols+" from mail.share s where grantee = any('{3,4}') and mailbox <> 2 limit 5000")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		plan += line + "\n"
	}
	if !strings.Contains(plan, "share_grantee") {
		t.Error(plan)
	}
}
