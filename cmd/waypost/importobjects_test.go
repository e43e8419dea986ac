package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"waypost/internal/corpus"
	"waypost/internal/ical"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/internal/vcard"
	"waypost/migrations"
	"waypost/store"
	storepg "waypost/store/postgres"
	"waypost/store/storetest"
)

func newMail(t *testing.T) *app {
	t.Helper()
	db, err := pgdb.Open(t.Context(), pgtest.New(t, migrations.Mail), pgdb.Options{Log: quietLog(), MaxConns: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	a := &app{}
	if a.mail, err = storepg.New(map[string]*pgdb.DB{storepg.DefaultHome: db}, storepg.Options{Log: quietLog()}); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *app) imported(t *testing.T, box store.MailboxID, in mailboxImportCmd) *mailboxImported {
	t.Helper()
	res, err := a.importInto(t.Context(), storetest.Owner(box), box, in, nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// writtenOut writes a mailbox and gives the folder.
func (a *app) writtenOut(t *testing.T, box store.MailboxID) string {
	t.Helper()
	as := storetest.Owner(box)
	list, _, err := a.mail.Folders(t.Context(), as, box)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "out")
	if _, _, err := a.exportAll(t.Context(), as, box, list, paths(list), dir, progress("", 1, false)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// held gives all objects by folder, kind and UID.
func (a *app) held(t *testing.T, box store.MailboxID) map[string]*store.Object {
	t.Helper()
	as := storetest.Owner(box)
	list, _, err := a.mail.Folders(t.Context(), as, box)
	if err != nil {
		t.Fatal(err)
	}
	path := paths(list)
	all := map[string]*store.Object{}
	for _, f := range list {
		if f.Class == store.ClassMail {
			continue
		}
		x := &objectExporter{a: a, as: as, box: box, bar: progress("", 1, false)}
		var found []*store.Object
		for after := store.ItemID(0); ; after = found[len(found)-1].Item {
			page, err := a.mail.ObjectList(t.Context(), as, box, f.ID, after, 1000)
			if err != nil {
				t.Fatal(err)
			}
			if found = append(found, page...); len(page) < 1000 {
				break
			}
		}
		i := 0
		err = x.objects(t.Context(), f.ID, func(text []byte) error {
			o := found[i]
			o.Text = bytes.Clone(text)
			all[fmt.Sprintf("%s %s %s", strings.Join(path[f.ID], "/"), o.Kind, o.UID)] = o
			i++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if i != f.Total || i != len(found) {
			t.Errorf("folder %s says %d, %d read, %d listed", f.Name, f.Total, i, len(found))
		}
	}
	return all
}

func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const twoKinds = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nX-WR-CALNAME:Team / north\r\nX-APPLE-CALENDAR-COLOR:#102030\r\nX-WR-TIMEZONE:Europe/Berlin\r\n" +
	"BEGIN:VEVENT\r\nUID:e\r\nSUMMARY:one\r\nSEQUENCE:%d\r\nDTSTART:20261124T100000Z\r\nEND:VEVENT\r\n" +
	"BEGIN:VTODO\r\nUID:t\r\nSUMMARY:task\r\nEND:VTODO\r\nBEGIN:VJOURNAL\r\nUID:n\r\nSUMMARY:note\r\nEND:VJOURNAL\r\n" +
	"BEGIN:VJOURNAL\r\nUID:j\r\nDTSTART;VALUE=DATE:20261124\r\nEND:VJOURNAL\r\nBEGIN:VEVENT\r\nSUMMARY:no UID\r\nDTSTART:20261124T100000Z\r\nEND:VEVENT\r\n" +
	"BEGIN:VFREEBUSY\r\nUID:f\r\nEND:VFREEBUSY\r\nEND:VCALENDAR\r\n"

func TestImportObjects(t *testing.T) {
	a := newMail(t)
	dir := t.TempDir()
	file := writeFile(t, dir, "all.ics", fmt.Sprintf(twoKinds, 1))
	newer := writeFile(t, dir, "sub/newer.ics", strings.Replace(fmt.Sprintf(twoKinds, 2), "SUMMARY:one", "SUMMARY:two", 1))
	other := writeFile(t, dir, "sub/other.txt", strings.Replace(fmt.Sprintf(twoKinds, 1), "SUMMARY:one", "SUMMARY:three", 1))
	const box = 1
	sum := func(in mailboxImportCmd) objectsImported {
		got := a.imported(t, box, in).Objects
		got.Refusals = nil
		return got
	}
	check := func(what string, got, want objectsImported) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	res := a.imported(t, box, mailboxImportCmd{Path: file})
	if r := res.Objects.Refusals; len(r) != 1 || r[0].UID != "f" || r[0].Line == 0 || !strings.Contains(r[0].Why, "VFREEBUSY") {
		t.Errorf("refusals %+v", r)
	}
	res.Objects.Refusals = nil
	check("first", res.Objects, objectsImported{Files: 1, Added: 5, Refused: 1})
	check("again", sum(mailboxImportCmd{Path: file}), objectsImported{Files: 1, Present: 5, Refused: 1})
	check("newer", sum(mailboxImportCmd{Path: newer}), objectsImported{Files: 1, Changed: 1, Present: 4, Refused: 1})
	check("not newer", sum(mailboxImportCmd{Path: other}), objectsImported{Files: 1, Present: 4, Older: 1, Refused: 1})
	check("first once more", sum(mailboxImportCmd{Path: file}), objectsImported{Files: 1, Present: 5, Refused: 1})

	held := a.held(t, box)
	for _, key := range []string{"Calendar event e", "Tasks task t", "Notes note n", "Journal journal j"} {
		if held[key] == nil {
			t.Errorf("%s is not there", key)
		}
	}
	if o := held["Calendar event e"]; o == nil || !bytes.Contains(o.Text, []byte("SUMMARY:two")) || bytes.Contains(o.Text, []byte("X-WR-")) || len(held) != 5 {
		t.Errorf("%d objects, event %+v", len(held), o)
	}
	// What its owner deleted stays deleted.
	o := held["Calendar event e"]
	if _, err := a.mail.RemoveObject(t.Context(), storetest.Owner(box), box, store.RemoveObject{Folder: o.Folder, Item: o.Item}); err != nil {
		t.Fatal(err)
	}
	check("deleted", sum(mailboxImportCmd{Path: file}), objectsImported{Files: 1, Present: 4, Gone: 1, Refused: 1})

	// Folders of their own.
	check("new folder", sum(mailboxImportCmd{Path: file, NewFolder: true}), objectsImported{Files: 1, Added: 5, Refused: 1})
	check("--folder", sum(mailboxImportCmd{Path: file, Folder: "Old/Stuff"}), objectsImported{Files: 1, Added: 5, Refused: 1})
	check("--folder again", sum(mailboxImportCmd{Path: file, Folder: "old/stuff"}), objectsImported{Files: 1, Present: 5, Refused: 1})
	held = a.held(t, box)
	for _, key := range []string{"Team - north event e", "Team - north (tasks) task t", "Old/Stuff event e", "Old/Stuff (notes) note n"} {
		if held[key] == nil {
			t.Errorf("%s is not there", key)
		}
	}
	props, err := a.mail.FolderProps(t.Context(), storetest.Owner(box), box, []store.FolderID{held["Team - north event e"].Folder})
	if err != nil || props[0].Color != "#102030" || props[0].Zone != "Europe/Berlin" {
		t.Errorf("props %+v, %v", props, err)
	}

	// A folder with a file for each object, messages and a broken file among them.
	vdir := t.TempDir()
	writeFile(t, vdir, "Friends/a.vcf", "BEGIN:VCARD\nVERSION:3.0\nUID:a\nFN:A\nEND:VCARD\n")
	writeFile(t, vdir, "Friends/b.vcf", "BEGIN:VCARD\nVERSION:3.0\nFN:B\nEND:VCARD\nBEGIN:VCARD\nVERSION:3.0\nUID:c\nFN:C\nEND:VCARD\n")
	writeFile(t, vdir, "Friends/broken.vcf", "nothing\n")
	writeFile(t, vdir, "one.eml", "Subject: x\r\n\r\ny\r\n")
	const friends = 2
	got := a.imported(t, friends, mailboxImportCmd{Path: vdir, NewFolder: true})
	if got.Imported != 1 || got.Objects.Added != 3 || got.Objects.Refused != 1 || got.Objects.Refusals[0].File != filepath.Join("Friends", "broken.vcf") {
		t.Errorf("folder: %+v", got)
	}
	if a.held(t, friends)["Friends card c"] == nil {
		t.Errorf("held %v", a.held(t, friends))
	}

	// All of it goes out and comes in.
	const third = 3
	out := a.writtenOut(t, box)
	back := a.imported(t, third, mailboxImportCmd{Path: out}).Objects
	if back.Refused != 0 || back.Added != len(held) {
		t.Errorf("back: %+v of %d", back, len(held))
	}
	sameHeld(t, "export", held, a.held(t, third))
	again := a.imported(t, box, mailboxImportCmd{Path: out}).Objects
	if again.Present != len(held) {
		t.Errorf("into where it came from: %+v of %d", again, len(held))
	}
	props, err = a.mail.FolderProps(t.Context(), storetest.Owner(third), third, []store.FolderID{a.held(t, third)["Team - north event e"].Folder})
	if err != nil || props[0].Color != "#102030" {
		t.Errorf("props after the export %+v, %v", props, err)
	}
}

// sameHeld compares mailboxes property by property, but for what an export is
// documented to write anew: PRODID, and the rules of zones whose name is known.
func sameHeld(t *testing.T, what string, want, got map[string]*store.Object) {
	t.Helper()
	for key, w := range want {
		g := got[key]
		if g == nil {
			t.Errorf("%s: %s is missing", what, key)
			continue
		}
		if w.Kind == store.KindCard || w.Kind == store.KindGroup {
			if !bytes.Equal(w.Text, g.Text) {
				t.Errorf("%s: %s differs:\n%s\n%s", what, key, w.Text, g.Text)
			}
			continue
		}
		if a, b := normal(t, w.Text), normal(t, g.Text); a != b {
			t.Errorf("%s: %s differs:\n%s\n%s", what, key, a, b)
		}
	}
	for key := range got {
		if want[key] == nil {
			t.Errorf("%s: %s is too much", what, key)
		}
	}
}

func normal(t *testing.T, text []byte) string {
	t.Helper()
	root, _, err := ical.Parse(text, ical.Object)
	if err != nil || len(root.Children) != 1 {
		t.Fatal(err)
	}
	cal := root.Children[0]
	for _, name := range []string{"PRODID", "VERSION", "CALSCALE"} {
		cal.Remove(name)
	}
	named := string(text)
	known := ical.ZonesOf(&ical.Component{}, nil)
	cal.Children = slices.DeleteFunc(cal.Children, func(c *ical.Component) bool {
		id := c.Text("TZID")
		return c.Is("VTIMEZONE") && (known.Location(id) != nil || strings.Count(named, "TZID=") == 0)
	})
	slices.SortStableFunc(cal.Children, func(a, b *ical.Component) int { return strings.Compare(a.Text("TZID"), b.Text("TZID")) })
	return cal.String()
}

// TestImportCorpus: every calendar and address book of the corpus goes into a
// mailbox, property by property as an independent cut of the file has it, goes
// out and comes into another one the same.
func TestImportCorpus(t *testing.T) {
	dir := corpus.Dir(t)
	a := newMail(t)
	var files []string
	for _, kind := range []string{"ics", "vcard"} {
		_ = filepath.WalkDir(filepath.Join(dir, kind), func(p string, d os.DirEntry, err error) error {
			if ext := filepath.Ext(p); err == nil && d.Type().IsRegular() && (ext == ".ics" || ext == ".vcf") {
				files = append(files, p)
			}
			return nil
		})
	}
	if len(files) < 500 {
		t.Fatalf("only %d files", len(files))
	}
	box, objects, refused, twice := store.MailboxID(0), 0, 0, 0
	for _, p := range files {
		box += 2
		res := a.imported(t, box, mailboxImportCmd{Path: p}).Objects
		held := a.held(t, box)
		if res.Added != len(held) {
			t.Errorf("%s: %+v, %d are there", p, res, len(held))
		}
		objects, refused, twice = objects+len(held), refused+res.Refused, twice+res.Changed+res.Older+res.Present
		for _, r := range res.Refusals {
			t.Logf("%s: %+v", p, r)
		}
		if res.Changed+res.Older == 0 {
			comparedWith(t, p, held)
		}
		if len(held) == 0 {
			continue
		}
		back := a.imported(t, box+1, mailboxImportCmd{Path: a.writtenOut(t, box)}).Objects
		if back.Added != len(held) || back.Refused > 0 {
			t.Errorf("%s: back %+v of %d", p, back, len(held))
		}
		sameHeld(t, p, held, a.held(t, box+1))
		if again := a.imported(t, box, mailboxImportCmd{Path: p}).Objects; again.Added+again.Changed > 0 {
			t.Errorf("%s: a second import %+v", p, again)
		}
	}
	t.Logf("%d files, %d objects, %d refused, %d of a UID that the file has already", len(files), objects, refused, twice)
}

// comparedWith finds every component and card of a file in what is held.
func comparedWith(t *testing.T, path string, held map[string]*store.Object) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]int{}
	for _, o := range held {
		if o.Kind == store.KindCard || o.Kind == store.KindGroup {
			have[withoutMade(string(o.Text))]++
			continue
		}
		root, _, err := ical.Parse(o.Text, ical.Object)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range root.Children[0].Parts("VEVENT", "VTODO", "VJOURNAL") {
			have[withoutMade(c.String())]++
		}
	}
	if cards, _, err := vcard.Parse(text, vcard.Import); err == nil && filepath.Ext(path) == ".vcf" {
		for _, c := range cards {
			if have[withoutMade(c.To("4.0").String())] == 0 {
				t.Errorf("%s: a card is not there:\n%s", path, c)
			}
		}
		return
	}
	root, _, err := ical.Parse(text, ical.Import)
	if err != nil {
		return // over the limits, and refused
	}
	for _, series := range ical.Series(root) {
		for _, c := range series {
			if key := withoutMade(c.String()); have[key] == 0 && len(held) > 0 {
				t.Errorf("%s: a component is not there:\n%s", path, key)
			}
		}
	}
}

// withoutMade leaves out a UID that was made, and a UID that is empty.
func withoutMade(text string) string {
	var kept []string
	for line := range strings.SplitSeq(text, "\r\n") {
		if !strings.HasPrefix(line, "UID:import-") && line != "UID:" {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\r\n")
}
