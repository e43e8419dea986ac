package birthdays_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/ical"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/services/birthdays"
	"waypost/store"
	"waypost/store/postgres"
	"waypost/store/storetest"
)

func TestDays(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string
		want  string // "kind year-month-day" with commas
	}{
		{"basic", []string{"BDAY:19850412"}, "birthday 1985-4-12"},
		{"extended", []string{"BDAY:1985-04-12"}, "birthday 1985-4-12"},
		{"with a time", []string{"BDAY:19850412T000000Z"}, "birthday 1985-4-12"},
		{"without a year", []string{"BDAY:--0415"}, "birthday 0-4-15"},
		{"without a year, extended", []string{"BDAY:--04-15"}, "birthday 0-4-15"},
		{"Apple's year", []string{"BDAY;X-APPLE-OMIT-YEAR=1604:1604-04-15"}, "birthday 0-4-15"},
		{"leap day", []string{"BDAY:--0229"}, "birthday 0-2-29"},
		{"leap day of a year", []string{"BDAY:20000229"}, "birthday 2000-2-29"},
		{"both", []string{"BDAY:19850412", "ANNIVERSARY:20100704"}, "birthday 1985-4-12,anniversary 2010-7-4"},
		{"older name", []string{"X-ANNIVERSARY:2010-07-04"}, "anniversary 2010-7-4"},
		{"no such day", []string{"BDAY:20010229"}, ""},
		{"month 13", []string{"BDAY:20011301"}, ""},
		{"a year alone", []string{"BDAY:1985"}, ""},
		{"a month", []string{"BDAY:1985-04"}, ""},
		{"a day of some month", []string{"BDAY:---12"}, ""},
		{"text", []string{"BDAY;VALUE=text:circa 1800"}, ""},
		{"nonsense", []string{"BDAY:abcdefgh"}, ""},
		{"signs", []string{"BDAY:-+12-+1-+1"}, ""},
		{"empty", []string{"BDAY:"}, ""},
		{"a group", []string{"KIND:group", "BDAY:19850412"}, ""},
	} {
		days, err := birthdays.Days(storetest.Card("u", "Ann", tt.lines...))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		var got []string
		for _, d := range days {
			got = append(got, fmt.Sprintf("%s %d-%d-%d", d.Kind, d.Year, d.Month, d.Day))
		}
		if strings.Join(got, ",") != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestEvent: once a year, on the day; the 29th of February on the last of it.
func TestEvent(t *testing.T) {
	for _, tt := range []struct {
		day  birthdays.Day
		want map[int]string
	}{
		{birthdays.Day{Kind: "birthday", Who: "Ann, the great", Year: 1985, Month: 4, Day: 12}, map[int]string{1984: "", 1985: "0412", 2026: "0412"}},
		{birthdays.Day{Kind: "birthday", Who: "Leap", Year: 2000, Month: 2, Day: 29}, map[int]string{2000: "0229", 2026: "0228", 2028: "0229", 2100: "0228"}},
		{birthdays.Day{Kind: "anniversary", Who: "Some", Month: 2, Day: 29}, map[int]string{2027: "0228", 2028: "0229"}},
		{birthdays.Day{Kind: "birthday", Who: "Old", Year: 1901, Month: 12, Day: 31}, map[int]string{1901: "1231", 2026: "1231"}},
	} {
		root, problems, err := ical.Parse(tt.day.Event("u"), ical.Object)
		if err != nil || len(problems) > 0 {
			t.Fatal(err, problems)
		}
		parts := ical.Series(root.Children[0])[0]
		if !strings.HasPrefix(parts[0].Text("SUMMARY"), tt.day.Who+": "+tt.day.Kind) {
			t.Errorf("summary %q", parts[0].Text("SUMMARY"))
		}
		set := ical.NewSet(parts, ical.ZonesOf(root, nil))
		for year, want := range tt.want {
			from := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
			list, err := set.List(from, from.AddDate(1, 0, 0), 10)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range list {
				got = append(got, o.Start.UTC().Format("0102"))
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s in %d: %q, want %q", tt.day.Who, year, got, want)
			}
		}
	}
}

type world struct {
	*testing.T
	store *postgres.Store
	role  *birthdays.Service
	me    directory.Principal
	book  store.Folder
}

func newWorld(t *testing.T) *world {
	db, err := pgdb.Open(t.Context(), pgtest.New(t, migrations.Mail), pgdb.Options{Name: "birthdays"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s, err := postgres.New(map[string]*pgdb.DB{postgres.DefaultHome: db}, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t, s, birthdays.New(s, nil), storetest.Owner(1), store.Folder{}}
	w.book, err = s.FolderByRole(t.Context(), w.me, 1, store.RoleContacts)
	w.must(err)
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) card(folder store.FolderID, uid, name string, lines ...string) store.ItemID {
	w.Helper()
	res, err := w.store.PutObject(w.Context(), w.me, 1, store.PutObject{Folder: folder, UID: uid, Edit: storetest.SetText(storetest.Card(uid, name, lines...))})
	w.must(err)
	return res.Entry.Item
}

// folder is the calendar of birthdays.
func (w *world) folder() (f store.Folder) {
	w.Helper()
	list, _, err := w.store.Folders(w.Context(), w.me, 1)
	w.must(err)
	for _, g := range list {
		if g.Origin == store.OriginBirthdays {
			f = g
		}
	}
	return f
}

// shown are the events' summaries after the role did its work.
func (w *world) shown() (all []string) {
	w.Helper()
	w.must(w.role.Follow(w.Context(), postgres.DefaultHome))
	list, err := w.store.ObjectList(w.Context(), w.me, 1, w.folder().ID, 0, 1000)
	w.must(err)
	for _, o := range list {
		texts, err := w.store.Objects(w.Context(), w.me, 1, []store.ItemID{o.Item})
		w.must(err)
		root, _, err := ical.Parse(texts[0].Text, ical.Object)
		w.must(err)
		all = append(all, root.Children[0].Children[0].Text("SUMMARY"))
	}
	slices.Sort(all)
	return all
}

func (w *world) want(want ...string) {
	w.Helper()
	if got := w.shown(); !slices.Equal(got, want) {
		w.Errorf("shown %q, want %q", got, want)
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	ann := w.card(w.book.ID, "ann", "Ann", "BDAY:19850412", "ANNIVERSARY:20100704")
	w.must(w.store.SetBirthdays(ctx, w.me, 1, true))
	w.want("Ann: anniversary (2010)", "Ann: birthday (1985)")
	seq := w.folder().HighestSeq

	// What says nothing new writes nothing.
	w.card(w.book.ID, "bob", "Bob", "NOTE:no birthday")
	w.card(w.book.ID, "ann", "Ann", "BDAY:19850412", "ANNIVERSARY:20100704", "NOTE:new")
	w.want("Ann: anniversary (2010)", "Ann: birthday (1985)")
	if got := w.folder().HighestSeq; got != seq {
		t.Errorf("the calendar changed: %d, was %d", got, seq)
	}

	w.card(w.book.ID, "ann", "Ann Lee", "BDAY:--0412")
	bob := w.card(w.book.ID, "bob", "Bob", "BDAY:19700101")
	w.want("Ann Lee: birthday", "Bob: birthday (1970)")

	other, err := w.store.CreateFolder(ctx, w.me, 1, store.Folder{Name: "Others", Class: store.ClassContacts})
	w.must(err)
	_, err = w.store.Move(ctx, w.me, 1, 0, []store.ItemID{ann}, other.ID)
	w.must(err)
	w.want("Ann Lee: birthday", "Bob: birthday (1970)")
	_, err = w.store.RemoveObject(ctx, w.me, 1, store.RemoveObject{Item: bob})
	w.must(err)
	w.want("Ann Lee: birthday")
	w.must(w.store.Restore(ctx, w.me, 1, []store.ItemID{bob}, 0))
	w.want("Ann Lee: birthday", "Bob: birthday (1970)")
	w.must(w.store.DeleteFolder(ctx, w.me, 1, other.ID, false))
	w.want("Bob: birthday (1970)")

	// Off and on again; somebody's client may delete the calendar too.
	w.must(w.store.SetBirthdays(ctx, w.me, 1, false))
	w.must(w.role.Follow(ctx, postgres.DefaultHome))
	if f := w.folder(); f.ID != 0 {
		t.Errorf("still there: %+v", f)
	}
	w.must(w.store.SetBirthdays(ctx, w.me, 1, true))
	w.want("Bob: birthday (1970)")
	w.must(w.store.DeleteFolder(ctx, w.me, 1, w.folder().ID, false))
	w.must(w.role.Follow(ctx, postgres.DefaultHome))
	w.must(w.store.SetBirthdays(ctx, w.me, 1, true))
	w.want("Bob: birthday (1970)")
}

// TestFollowRandom: whatever happens to contacts, and whenever the role looks, in
// the end the calendar is what a new one would be.
func TestFollowRandom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	r := rand.New(rand.NewPCG(6, 4))
	w.must(w.store.SetBirthdays(ctx, w.me, 1, true))
	second, err := w.store.CreateFolder(ctx, w.me, 1, store.Folder{Name: "Second", Class: store.ClassContacts})
	w.must(err)
	books := []store.FolderID{w.book.ID, second.ID}
	for n := range 400 {
		uid := fmt.Sprintf("c%d", r.IntN(30))
		var found []*store.Object
		found, err = w.store.ObjectsByUID(ctx, w.me, 1, store.ClassContacts, uid)
		w.must(err)
		switch k := r.IntN(10); {
		case len(found) == 0 || k < 5:
			lines := []string{"NOTE:" + fmt.Sprint(n)}
			if r.IntN(3) > 0 {
				lines = append(lines, fmt.Sprintf("BDAY:19%02d%02d%02d", r.IntN(100), 1+r.IntN(12), 1+r.IntN(28)))
			}
			book := books[r.IntN(2)]
			if len(found) > 0 {
				book = found[0].Folder
			}
			w.card(book, uid, "Name "+uid, lines...)
		case k < 8:
			_, err = w.store.RemoveObject(ctx, w.me, 1, store.RemoveObject{Item: found[0].Item})
			w.must(err)
		default:
			_, err = w.store.Move(ctx, w.me, 1, 0, []store.ItemID{found[0].Item}, books[r.IntN(2)])
			w.must(err)
		}
		if r.IntN(20) == 0 {
			w.must(w.role.Follow(ctx, postgres.DefaultHome))
		}
	}
	got := w.shown()
	w.must(w.store.SetBirthdays(ctx, w.me, 1, false))
	w.must(w.store.SetBirthdays(ctx, w.me, 1, true))
	if want := w.shown(); !slices.Equal(got, want) || len(want) == 0 {
		t.Errorf("followed %q, made anew %q", got, want)
	}
}
