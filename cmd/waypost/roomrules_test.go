package main

import (
	"strings"
	"testing"

	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
	storepg "waypost/store/postgres"
)

// How a room answers, and what somebody sets about time, by the commands as somebody types them.
func TestRoomRules(t *testing.T) {
	a, out := newApp(t)
	a.out.json = false
	db, err := pgdb.Open(t.Context(), pgtest.New(t, migrations.Mail), pgdb.Options{Log: quietLog(), MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if a.mail, err = storepg.New(map[string]*pgdb.DB{storepg.DefaultHome: db}, storepg.Options{Log: quietLog()}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ line, want string }{
		{"domain add example.test", "now receives mail"},
		{"user add ann@example.test --name Ann", "Added"},
		{"room add hall@example.test --name Hall", "Added the room"},
		{"room rules hall@example.test", "accepted at once.\n  Up to 365 days ahead.\n  For everybody of the organisation.\n"},
		{"room rules hall@example.test --minutes 90 --days 30 --no-recurring --who ann@example.test --ask --zone Europe/Berlin --delegate ann@example.test", "Delegates: ann@example.test."},
		{"room rules hall@example.test", "  Up to 30 days ahead.\n  For at most 90 minutes.\n  No series of meetings.\n  Only for ann@example.test.\n  What breaks a rule waits for a delegate.\n  Its time zone is Europe/Berlin.\n  Delegates: ann@example.test.\n"},
		{"room rules hall@example.test --recurring --who everybody --no-ask --outside --percent 20 --delegate none", "Of a series, 20 percent or 0 instances"},
		{"room rules hall@example.test", "For at most 90 minutes.\n  For everybody, people elsewhere too.\n  Its time zone is Europe/Berlin.\n"},
		{"room rules hall@example.test --zone Mars/Olympus", "!no time zone is called"},
		{"room rules hall@example.test --who nobody@example.test", "!nobody is called nobody@example.test"},
		{"room rules ann@example.test", "!neither a room nor equipment"},
		{"mailbox settings ann@example.test", "  It has no time zone: UTC.\n  Working hours: mon-fri=09:00-17:00.\n  Mail about meetings is in en.\n"},
		{"mailbox settings ann@example.test --zone Europe/Berlin --hours mon-tue=8-12 --hours tue=13:00-17:30 --copies-to-delegates --language fr", "  Working hours: mon=08:00-12:00, tue=08:00-12:00, tue=13:00-17:30.\n"},
		{"mailbox settings ann@example.test --hours none", "  Its time zone is Europe/Berlin.\n  Working hours: none.\n  Its delegates get a copy of invitations and answers.\n  Mail about meetings is in fr.\n"},
		{"mailbox settings ann@example.test --no-copies-to-delegates --hours default", "  Working hours: mon-fri=09:00-17:00.\n  Mail about"},
		{"mailbox settings ann@example.test --language tlh", "!the languages are ar, de"},
		{"mailbox settings ann@example.test --zone Mars/Olympus", "!no time zone is called"},
		{"mailbox settings nobody@example.test", "!nobody@example.test"},
	} {
		var c cli
		k, err := grammar(&c).Parse(words(t, "waypost "+tt.line))
		if err != nil {
			t.Fatalf("%s: %v", tt.line, err)
		}
		out.Reset()
		err = commands[pathOf(k.Selected())].run(a, t.Context(), &c)
		got := out.String()
		if want, fails := strings.CutPrefix(tt.want, "!"); fails {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %q, %v, want a fault with %q", tt.line, got, err, want)
			}
		} else if err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, %v, want %q in it", tt.line, got, err, want)
		}
	}
}
