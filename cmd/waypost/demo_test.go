package main

import (
	"testing"
	"time"

	"waypost/internal/demo"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/store"
	storepg "waypost/store/postgres"
)

// The demonstration organisation has calendars that make sense today, and a room
// that is booked but never twice.
func TestDemoObjects(t *testing.T) {
	a, _ := newApp(t)
	db, err := pgdb.Open(t.Context(), pgtest.New(t, migrations.Mail), pgdb.Options{Log: quietLog(), MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if a.mail, err = storepg.New(map[string]*pgdb.DB{storepg.DefaultHome: db}, storepg.Options{Log: quietLog()}); err != nil {
		t.Fatal(err)
	}
	if err := a.makeDemo(t.Context()); err != nil {
		t.Fatal(err)
	}
	totals := func() (n int) {
		for _, local := range []string{"alice", "bob", "carol", "dave", demo.Room} {
			as, box, err := a.boxOf(t.Context(), local+"@"+demo.Domain)
			if err != nil {
				t.Fatal(err)
			}
			list, _, err := a.mail.Folders(t.Context(), as, box)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range list {
				n += f.Total
				if local != demo.Room && f.Total == 0 && (f.Role == store.RoleCalendar || f.Role == store.RoleContacts || f.Role == store.RoleTasks || f.Role == store.RoleNotes) {
					t.Errorf("%s has nothing in %s", local, f.Name)
				}
				if f.Role != store.RoleCalendar {
					continue
				}
				now := time.Now()
				found, err := a.mail.Occurrences(t.Context(), as, box, store.Between{Folders: []store.FolderID{f.ID}, From: now.AddDate(0, 0, -14), To: now.AddDate(0, 0, 60)})
				if err != nil || len(found) < 8 {
					t.Errorf("%s: %d occurrences, %v", local, len(found), err)
				}
				for i := range found {
					if local == demo.Room && i > 0 && found[i].Starts.Before(found[i-1].Ends) {
						t.Errorf("the room is booked twice at %v", found[i].Starts)
					}
				}
			}
		}
		return n
	}
	n := totals()
	// Interrupted and begun again, on another day too: nothing is doubled.
	if err := a.demoObjects(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.makeDemo(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := totals(); again != n {
		t.Errorf("%d items, then %d", n, again)
	}
	// Nobody is sent anything.
	if out, err := a.mail.NextOutbox(t.Context(), storepg.DefaultHome, 10); err != nil || len(out) > 0 {
		t.Errorf("%d messages in the outbox, %v", len(out), err)
	}
}
