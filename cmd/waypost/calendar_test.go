package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"waypost/internal/config"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
	storepg "waypost/store/postgres"
)

// Calendars and address books, by the commands as somebody types them.
func TestCalendarCommands(t *testing.T) {
	a, out := newApp(t)
	a.out.json = false
	a.cfg.Hostname = "mail.example.test"
	db, err := pgdb.Open(t.Context(), pgtest.New(t, migrations.Mail), pgdb.Options{Log: quietLog(), MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if a.mail, err = storepg.New(map[string]*pgdb.DB{storepg.DefaultHome: db}, storepg.Options{Log: quietLog()}); err != nil {
		t.Fatal(err)
	}
	code := http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/calendar")
		w.WriteHeader(code)
		_, _ = w.Write([]byte("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:x\r\nSUMMARY:New Year\r\nLOCATION:Everywhere\r\nDTSTART;VALUE=DATE:20270101\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"))
	}))
	t.Cleanup(srv.Close)
	u, _ := url.Parse(srv.URL)
	there := srv.URL + "/days.ics"
	for _, tt := range []struct {
		line, want string
		before     func()
	}{
		{"domain add example.test", "now receives mail", nil},
		{"user add ann@example.test --name Ann", "Added", nil},
		{"room add hall@example.test --name Hall --capacity 12", "Added the room", nil},
		{"calendar list ann@example.test", "Tasks", nil},
		{"calendar create ann@example.test Travel --color '#3366CC' --zone Europe/Berlin", "Made Travel (F", nil},
		{"calendar create ann@example.test travel", "!already there", nil},
		{"calendar create ann@example.test Moon --zone Mars/Olympus", "!no time zone", nil},
		{"calendar show ann@example.test Moon", "!none called", nil}, // half made
		{"calendar create ann@example.test Red --color red", "!#RRGGBB", nil},
		{"calendar create ann@example.test Todo --tasks", "Made Todo", nil},
		{"calendar show ann@example.test Travel", "Travel (F", nil},
		{"calendar show ann@example.test", "  Nothing.\n", nil},
		{"calendar show ann@example.test --days 0", "!1 to 3660", nil},
		{"calendar show ann@example.test Contacts", "!none called", nil},
		{"calendar subscribe ann@example.test file:///etc/passwd", "!address is like", nil},
		{"calendar subscribe ann@example.test " + there, "a place that calendars are not fetched from. It is tried again.", nil},
		{"calendar subscribe ann@example.test " + there, "!already", nil},
		{"calendar refresh ann@example.test " + there, "!not everything could be read", nil},
		{"calendar list ann@example.test", "are not fetched from; again", nil},
		{"calendar unsubscribe ann@example.test " + there, "not subscribed to " + there + " any more", nil},
		{"calendar subscribe ann@example.test " + there + " --name Days", "1 object.", func() {
			a.cfg.Feeds = config.Feeds{Inside: []string{"127.0.0.0/8"}, Ports: []string{u.Port()}}
		}},
		{"calendar show ann@example.test Days --from 2026-12-30", "2027-01-01 all day      New Year, Everywhere", nil},
		{"calendar show ann@example.test Days --from 2026-12-30", "does not count for free/busy", nil},
		{"calendar show ann@example.test Days --from yesterday", "!a day is like", nil},
		{"calendar refresh ann@example.test", "1 object", nil},
		{"calendar refresh ann@example.test Travel", "!no subscription", nil},
		{"calendar refresh ann@example.test Days", "!not everything", func() { code = http.StatusGone }},
		{"calendar show ann@example.test Days --from 2026-12-30", "the server answers 410 Gone; again", nil},
		{"calendar unsubscribe ann@example.test Travel", "!is not subscribed", nil},
		{"calendar remove ann@example.test Days", "Removed Days.", nil},
		{"calendar remove ann@example.test Calendar", "!standard folders", nil},
		{"calendar birthdays on ann@example.test", "has a calendar of birthdays", nil},
		{"calendar show ann@example.test Birthdays", "Birthdays and anniversaries", nil},
		{"calendar birthdays off ann@example.test", "no calendar of birthdays", nil},
		{"calendar show ann@example.test Birthdays", "!none called", nil},
		{"calendar publish ann@example.test Travel --detail limited --note club", "https://mail.example.test/feeds/calendar/", nil},
		{"calendar publish ann@example.test Todo", "!calendars are published", nil},
		{"calendar published ann@example.test", "club", nil},
		{"calendar unpublish ann@example.test 9999", "!no such publication", nil},
		{"addressbook list ann@example.test", "Contacts", nil},
		{"addressbook create ann@example.test Suppliers", "Made Suppliers", nil},
		{"addressbook create ann@example.test More --tasks", "!holds no tasks", nil},
		{"addressbook show ann@example.test Suppliers", "(none)", nil},
		{"addressbook publish ann@example.test Suppliers", "/feeds/contacts/", nil},
		{"addressbook published ann@example.test", "Suppliers", nil},
		{"addressbook remove ann@example.test Suppliers", "with 0 objects", nil},
		{"calendar list nobody@example.test", "!no", nil},
		{"room show hall@example.test", "Hall, room, for 12\nhall@example.test\n  Requests that keep the rules", nil},
		{"room show hall@example.test", "Booked in the next 14 days:\n  Nothing.\n", nil},
		{"room show ann@example.test", "!neither a room", nil},
	} {
		if tt.before != nil {
			tt.before()
		}
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
		if m := regexp.MustCompile(`calendar unpublish (\S+ \d+) ends`).FindStringSubmatch(got); m != nil && strings.Contains(tt.line, "club") {
			var c cli
			k, _ := grammar(&c).Parse(words(t, "waypost calendar unpublish "+m[1]))
			if err := commands[pathOf(k.Selected())].run(a, t.Context(), &c); err != nil {
				t.Error(err)
			}
			c = cli{}
			k, _ = grammar(&c).Parse(words(t, "waypost calendar publish ann@example.test Travel --note club"))
			if err := commands[pathOf(k.Selected())].run(a, t.Context(), &c); err != nil {
				t.Error(err)
			}
		}
	}
}
