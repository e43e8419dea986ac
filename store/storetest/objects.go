package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"waypost/internal/fault"
	"waypost/store"
)

// Event makes an event's text; lines are further properties.
func Event(uid, summary, start string, lines ...string) []byte {
	var b strings.Builder
	b.WriteString("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\n")
	if uid != "" {
		fmt.Fprintf(&b, "UID:%s\r\n", uid)
	}
	fmt.Fprintf(&b, "SUMMARY:%s\r\n", summary)
	if start != "" {
		b.WriteString("DTSTART" + start + "\r\n")
	}
	for _, l := range lines {
		b.WriteString(l + "\r\n")
	}
	b.WriteString("END:VEVENT\r\nEND:VCALENDAR\r\n")
	return []byte(b.String())
}

// Card makes a card's text.
func Card(uid, name string, lines ...string) []byte {
	text := "BEGIN:VCARD\r\nVERSION:4.0\r\nUID:" + uid + "\r\nFN:" + name + "\r\n"
	for _, l := range lines {
		text += l + "\r\n"
	}
	return []byte(text + "END:VCARD\r\n")
}

// SetText is the edit that replaces a text.
func SetText(text []byte) func(*store.Object) (store.Edit, error) {
	return func(*store.Object) (store.Edit, error) { return store.Edit{Text: text}, nil }
}

func (b *suite) put(p store.PutObject) store.Put {
	b.Helper()
	res, err := b.Store.PutObject(b.Context(), b.me(), b.box, p)
	b.must(err)
	return res
}

func (b *suite) event(folder store.FolderID, uid, summary, start string, lines ...string) store.Put {
	b.Helper()
	return b.put(store.PutObject{Folder: folder, Name: uid + ".ics", Edit: SetText(Event(uid, summary, start, lines...))})
}

func (b *suite) object(item store.ItemID) *store.Object {
	b.Helper()
	list, err := b.Store.Objects(b.Context(), b.me(), b.box, []store.ItemID{item})
	b.must(err)
	return list[0]
}

func (b *suite) createAs(class store.Class, name string) store.Folder {
	b.Helper()
	f, err := b.Store.CreateFolder(b.Context(), b.me(), b.box, store.Folder{Name: name, Class: class})
	b.must(err)
	return f
}

func seqOf(n store.Seq) *store.Seq { return &n }

func putObject(t *testing.T, b *suite) {
	cal := b.folder(store.RoleCalendar)
	text := Event("u1", "Lunch", ":20261124T120000Z", "DTEND:20261124T130000Z", "X-UNKNOWN;X-P=1:kept")
	res := b.put(store.PutObject{Folder: cal.ID, Name: "a.ics", IfMatch: seqOf(0), Edit: SetText(text)})
	if !res.Created || !res.Changed || res.Entry.Folder != cal.ID || res.Entry.UID != 1 || res.Entry.Flags != store.Seen ||
		res.Entry.Size != int64(len(text)) || res.Object.Version != res.Entry.Changed {
		t.Errorf("put %+v", res)
	}
	o := b.object(res.Entry.Item)
	want := &store.Object{
		Item: res.Entry.Item, Folder: cal.ID, Kind: store.KindEvent, UID: "u1", Name: "a.ics", Version: res.Object.Version, Size: int64(len(text)),
		Starts: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), Ends: time.Date(2026, 11, 24, 13, 0, 0, 0, time.UTC), Text: text,
	}
	if !reflect.DeepEqual(o, want) || !reflect.DeepEqual(&res.Object, want) {
		t.Errorf("object %+v\nput gave %+v\nwant %+v", o, res.Object, want)
	}
	if f := b.folder(store.RoleCalendar); f.Total != 1 || f.Unread != 0 || f.Size != int64(len(text)) || f.UIDNext != 2 {
		t.Errorf("folder %+v", f)
	}

	// The same again changes nothing.
	again := b.put(store.PutObject{Folder: cal.ID, Name: "a.ics", Edit: SetText(text)})
	if again.Changed || again.Created || again.Object.Version != res.Object.Version || again.Was != res.Entry.Changed {
		t.Errorf("the same again: %+v", again)
	}
	// An edit sees what is there.
	longer := Event("u1", "Longer lunch", ":20261124T120000Z", "DTEND:20261124T150000Z")
	edited := b.put(store.PutObject{Folder: cal.ID, UID: "u1", IfMatch: seqOf(res.Object.Version), Edit: func(old *store.Object) (store.Edit, error) {
		if string(old.Text) != string(text) || old.Name != "a.ics" {
			t.Errorf("edit of %+v", old)
		}
		return store.Edit{Text: longer}, nil
	}})
	if edited.Created || !edited.Changed || edited.Entry.Item != res.Entry.Item || edited.Object.Version <= res.Object.Version ||
		edited.Was != res.Entry.Changed || edited.Entry.UID != res.Entry.UID {
		t.Errorf("edited %+v", edited)
	}
	if o := b.object(res.Entry.Item); string(o.Text) != string(longer) || o.Ends.Hour() != 15 {
		t.Errorf("after the edit: %+v", o)
	}
	m, err := b.Store.Mailbox(t.Context(), b.me(), b.box)
	b.must(err)
	if f := b.folder(store.RoleCalendar); f.Size != int64(len(longer)) || m.Used != f.Size || m.Items != 1 {
		t.Errorf("sizes: folder %d, mailbox %d, text %d, items %d", f.Size, m.Used, len(longer), m.Items)
	}
	b.check()

	// Who must not be told it is new, and who must.
	for _, tt := range []struct {
		p    store.PutObject
		want fault.Kind
	}{
		{store.PutObject{Folder: cal.ID, Name: "a.ics", IfMatch: seqOf(0), Edit: SetText(text)}, fault.Conflict},
		{store.PutObject{Folder: cal.ID, Name: "a.ics", IfMatch: seqOf(res.Object.Version), Edit: SetText(text)}, fault.Conflict},
		{store.PutObject{Folder: cal.ID, Name: "b.ics", IfMatch: seqOf(5), Edit: SetText(text)}, fault.Conflict},
		{store.PutObject{Folder: cal.ID, Name: "b.ics", Edit: SetText(text)}, fault.Conflict}, // the UID is there
		{store.PutObject{Folder: cal.ID, Name: "a.ics", Edit: SetText(Event("other", "x", ":20261124"))}, fault.Conflict},
		{store.PutObject{Folder: cal.ID, Item: 99999, Edit: SetText(text)}, fault.NotFound},
		{store.PutObject{Folder: 99999, Name: "a.ics", Edit: SetText(text)}, fault.NotFound},
		{store.PutObject{Folder: cal.ID, Name: "b/c", Edit: SetText(text)}, fault.Invalid},
		{store.PutObject{Folder: cal.ID, Name: strings.Repeat("x", 256), Edit: SetText(text)}, fault.Invalid},
		{store.PutObject{Folder: cal.ID, Name: "c", Edit: SetText([]byte("nothing"))}, fault.Invalid},
		{store.PutObject{Folder: cal.ID, Name: "c", Edit: SetText(Card("c", "Ann"))}, fault.Invalid},
		{store.PutObject{Role: store.RoleContacts, Name: "c", Edit: SetText(Event("e", "x", ":20261124"))}, fault.Invalid},
		{store.PutObject{Role: store.RoleTasks, Name: "c", Edit: SetText(Event("e", "x", ":20261124"))}, fault.Invalid},
		{store.PutObject{Role: store.RoleInbox, Name: "c", Edit: SetText(Event("e", "x", ":20261124"))}, fault.Invalid},
		{store.PutObject{Folder: cal.ID, UID: "e", Edit: SetText(Event("f", "x", ":20261124"))}, fault.Invalid},
		{store.PutObject{Folder: cal.ID, Name: "c", Edit: SetText(make([]byte, store.MaxObject+1))}, fault.TooLarge},
		{store.PutObject{Folder: cal.ID, Name: "c", Edit: func(*store.Object) (store.Edit, error) {
			return store.Edit{}, fault.New(fault.Limit, "no")
		}}, fault.Limit},
	} {
		_, err := b.Store.PutObject(t.Context(), b.me(), b.box, tt.p)
		if err == nil || fault.Of(err) != tt.want {
			t.Errorf("put %+v: error %v, want %v", tt.p, err, tt.want)
		}
	}
	b.check()

	// Without a name and a UID it gets both.
	plain := b.put(store.PutObject{Role: store.RoleCalendar, Edit: SetText(Event("", "Nameless", ":20261125T090000Z"))})
	if plain.Object.UID == "" || plain.Object.Name == "" || !strings.Contains(string(plain.Object.Text), "UID:"+plain.Object.UID) {
		t.Errorf("without a name: %+v", plain.Object)
	}
}

// Of many who saw the same folder only the first writes, also in one transaction.
func putIfFolder(t *testing.T, b *suite) {
	cal := b.folder(store.RoleCalendar)
	for round := range 5 {
		seen := b.folder(store.RoleCalendar).HighestSeq
		errs := make([]error, 8)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				uid := fmt.Sprintf("u%d-%d", round, i)
				_, errs[i] = b.Store.PutObject(t.Context(), b.me(), b.box, store.PutObject{
					Folder: cal.ID, UID: uid, IfFolder: &seen, Edit: SetText(Event(uid, "x", ":20261124T120000Z")),
				})
			})
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else {
				b.wantFault(err, fault.Conflict)
			}
		}
		if won != 1 {
			t.Errorf("round %d: %d wrote", round, won)
		}
	}
	// An object's change counts too.
	seen := b.folder(store.RoleCalendar).HighestSeq
	b.put(store.PutObject{Folder: cal.ID, UID: "u9", Edit: SetText(Event("u9", "x", ":20261124T120000Z"))})
	p := store.PutObject{Folder: cal.ID, UID: "u9", IfFolder: &seen, Edit: SetText(Event("u9", "y", ":20261124T120000Z"))}
	_, err := b.Store.PutObject(t.Context(), b.me(), b.box, p)
	b.wantFault(err, fault.Conflict)
	seen = b.folder(store.RoleCalendar).HighestSeq
	b.put(p)
}

func putOnce(t *testing.T, b *suite) {
	p := store.PutObject{Role: store.RoleTasks, Once: "k", Edit: func(old *store.Object) (store.Edit, error) {
		if old != nil {
			return store.Edit{}, errors.New("edited again")
		}
		return store.Edit{Text: []byte("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VTODO\r\nSUMMARY:Buy\r\nEND:VTODO\r\nEND:VCALENDAR\r\n")}, nil
	}}
	first := b.put(p)
	second := b.put(p)
	if first.Repeated || !second.Repeated || second.Entry.Item != first.Entry.Item || second.Object.UID != first.Object.UID ||
		second.Entry.Folder != first.Entry.Folder || first.Object.Kind != store.KindTask {
		t.Errorf("first %+v, second %+v", first, second)
	}
	_, err := b.Store.RemoveObject(t.Context(), b.me(), b.box, store.RemoveObject{Folder: first.Entry.Folder, Item: first.Entry.Item})
	b.must(err)
	if third := b.put(p); !third.Repeated || third.Entry.Folder != 0 || third.Entry.Item != first.Entry.Item {
		t.Errorf("after removal: %+v", third)
	}
	// At once.
	var wg sync.WaitGroup
	var mu sync.Mutex
	fresh := 0
	for range 8 {
		wg.Go(func() {
			res, err := b.Store.PutObject(t.Context(), b.me(), b.box, store.PutObject{Role: store.RoleCalendar, Once: "many", Edit: SetText(Event("", "x", ":20261124"))})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if !res.Repeated {
				fresh++
			}
		})
	}
	wg.Wait()
	if n := len(b.entries(b.folder(store.RoleCalendar).ID)); n != 1 || fresh != 1 {
		t.Errorf("%d entries, %d were first", n, fresh)
	}
}

// putRace: edits at once lose nothing.
func putRace(t *testing.T, b *suite) {
	cal := b.folder(store.RoleCalendar)
	const writers, rounds = 4, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				line := fmt.Sprintf("X-W%d-%d:1", w, i)
				_, err := b.Store.PutObject(t.Context(), b.me(), b.box, store.PutObject{Folder: cal.ID, Name: "one.ics", UID: "one", Edit: func(old *store.Object) (store.Edit, error) {
					if old == nil {
						return store.Edit{Text: Event("one", "x", ":20261124", line)}, nil
					}
					return store.Edit{Text: []byte(strings.Replace(string(old.Text), "SUMMARY:x\r\n", "SUMMARY:x\r\n"+line+"\r\n", 1))}, nil
				}})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	list := b.entries(cal.ID)
	if len(list) != 1 {
		t.Fatalf("%d objects", len(list))
	}
	text := string(b.object(list[0].Item).Text)
	for w := range writers {
		for i := range rounds {
			if !strings.Contains(text, fmt.Sprintf("X-W%d-%d:1\r\n", w, i)) {
				t.Errorf("the edit %d of %d is lost", i, w)
			}
		}
	}
	b.check()
}

func objectLists(t *testing.T, b *suite) {
	ctx := t.Context()
	cal, other := b.folder(store.RoleCalendar).ID, b.createAs(store.ClassCalendar, "Other").ID
	var items []store.ItemID
	for i := range 5 {
		items = append(items, b.event(cal, fmt.Sprint("u", i), fmt.Sprintf("Number %d Straße", i), ":20261124T120000Z").Entry.Item)
	}
	twin := b.event(other, "u3", "Twin", ":20261124T120000Z").Entry.Item
	gone := b.event(cal, "gone", "Gone", ":20261124T120000Z").Entry.Item
	_, tombs, err := b.Store.Delete(ctx, b.me(), b.box, cal, []store.ItemID{gone}, false)
	b.must(err)
	if len(tombs) != 1 || tombs[0].Name != "gone.ics" {
		t.Errorf("tombstones %+v", tombs)
	}
	got, err := b.Store.ObjectsOf(ctx, b.me(), b.box, []store.ItemID{items[4], gone, items[0]})
	b.must(err)
	if len(got) != 3 || got[1] != nil || got[0].UID != "u4" || got[2].UID != "u0" || got[0].Text != nil {
		t.Errorf("ObjectsOf %+v", got)
	}
	got, err = b.Store.ObjectsNamed(ctx, b.me(), b.box, cal, []string{"u2.ics", "no", "u1.ics", "gone.ics", "\x00\xff"})
	b.must(err)
	if len(got) != 5 || got[0].Item != items[2] || got[1] != nil || got[2].Item != items[1] || got[3] != nil || got[4] != nil {
		t.Errorf("ObjectsNamed %+v", got)
	}
	got, err = b.Store.ObjectsNamedWithTexts(ctx, b.me(), b.box, cal, []string{"no", "u2.ics", "gone.ics"})
	b.must(err)
	if len(got) != 3 || got[0] != nil || got[1].Item != items[2] || got[2] != nil || !strings.Contains(string(got[1].Text), "UID:u2\r\n") {
		t.Errorf("ObjectsNamedWithTexts %+v", got)
	}
	got, err = b.Store.ObjectsByUID(ctx, b.me(), b.box, store.ClassCalendar, "u3")
	b.must(err)
	if len(got) != 2 || got[0].Item != items[3] || got[1].Item != twin {
		t.Errorf("ObjectsByUID %+v", got)
	}
	var listed []store.ItemID
	for after := store.ItemID(0); ; {
		page, err := b.Store.ObjectList(ctx, b.me(), b.box, cal, after, 2)
		b.must(err)
		if len(page) == 0 {
			break
		}
		for _, o := range page {
			listed = append(listed, o.Item)
		}
		after = page[len(page)-1].Item
	}
	if !reflect.DeepEqual(listed, items) {
		t.Errorf("ObjectList %v, want %v", listed, items)
	}
	card := b.put(store.PutObject{Role: store.RoleContacts, Name: "c.vcf", Edit: SetText(Card("c", "Ann Straße", "EMAIL:ann@example.org"))})
	for _, tt := range []struct {
		q    store.FindObjects
		want []store.ItemID
	}{
		{store.FindObjects{Text: "STRASSE number"}, items},
		{store.FindObjects{Text: "strasse", After: items[3]}, []store.ItemID{items[4], card.Entry.Item}},
		{store.FindObjects{Text: "strasse", Kinds: []store.Kind{store.KindCard}}, []store.ItemID{card.Entry.Item}},
		{store.FindObjects{Text: "ann@example"}, []store.ItemID{card.Entry.Item}},
		{store.FindObjects{Folders: []store.FolderID{other}}, []store.ItemID{twin}},
		{store.FindObjects{Limit: 2}, items[:2]},
		{store.FindObjects{Text: "gone"}, nil},
	} {
		got, err := b.Store.FindObjects(ctx, b.me(), b.box, tt.q)
		b.must(err)
		var found []store.ItemID
		for _, o := range got {
			found = append(found, o.Item)
		}
		if !reflect.DeepEqual(found, tt.want) {
			t.Errorf("find %+v: %v, want %v", tt.q, found, tt.want)
		}
	}
	// A folder in the trash is not looked into.
	_, err = b.Store.RenameFolder(ctx, b.me(), b.box, other, b.folder(store.RoleTrash).ID, "Other")
	b.must(err)
	got, err = b.Store.ObjectsByUID(ctx, b.me(), b.box, store.ClassCalendar, "u3")
	b.must(err)
	if len(got) != 1 || got[0].Item != items[3] {
		t.Errorf("in the trash: %+v", got)
	}
}

func occurrences(t *testing.T, b *suite) {
	cal := b.folder(store.RoleCalendar).ID
	now := time.Now().UTC().Truncate(24 * time.Hour)
	at := func(days, hour int) time.Time { return now.AddDate(0, 0, days).Add(time.Duration(hour) * time.Hour) }
	stamp := func(t time.Time) string { return ":" + t.Format("20060102T150405Z") }
	day := func(t time.Time) string { return ";VALUE=DATE:" + t.Format("20060102") }
	name := make(map[store.ItemID]string)
	add := func(uid, start string, lines ...string) {
		name[b.event(cal, uid, uid, start, lines...).Entry.Item] = uid
	}
	add("single", stamp(at(3, 10)), "DURATION:PT1H")
	add("instant", stamp(at(3, 12)))
	add("daily", stamp(at(-5, 8)), "DURATION:PT30M", "RRULE:FREQ=DAILY", "TRANSP:TRANSPARENT")
	add("allday", day(at(4, 0)), "X-MICROSOFT-CDO-BUSYSTATUS:OOF", "CLASS:PRIVATE")
	add("floating", ":"+at(4, 1).Format("20060102T150405"), "DURATION:PT1H")
	add("long", day(at(-100, 0)), "DTEND"+day(at(100, 0)))
	add("old", stamp(at(-9000, 9)), "DURATION:PT1H", "RRULE:FREQ=YEARLY", "STATUS:TENTATIVE")
	ask := func(q store.Between) (list []store.Occurrence, said string) {
		t.Helper()
		q.Folders = []store.FolderID{cal}
		for {
			page, err := b.Store.Occurrences(t.Context(), b.me(), b.box, q)
			b.must(err)
			list = append(list, page...)
			if len(page) < max(q.Limit, 1) {
				break
			}
			q.After = &page[len(page)-1]
		}
		// Occurring tells the same, each object once; the table and the texts of what
		// it does not cover have to agree with that.
		want, got := map[store.ItemID]bool{}, map[store.ItemID]bool{}
		for _, o := range list {
			said += fmt.Sprintf("%s %s-%s\n", name[o.Item], o.Starts.Format("02 15:04"), o.Ends.Format("02 15:04"))
			want[o.Item] = true
		}
		for after := store.ItemID(0); ; {
			page, err := b.Store.Occurring(t.Context(), b.me(), b.box, q, after)
			b.must(err)
			for _, o := range page {
				if got[o.Item] || o.Item <= after || o.Folder != cal || len(o.Text) == 0 {
					t.Errorf("%s comes twice, in another order or without a text", name[o.Item])
				}
				got[o.Item], after = true, o.Item
			}
			if len(page) < max(q.Limit, 1) {
				break
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("from %v to %v in pages of %d Occurring tells of %v, Occurrences of %v", q.From, q.To, q.Limit, got, want)
		}
		return list, said
	}
	line := func(uid string, from, to time.Time) string {
		return fmt.Sprintf("%s %s-%s\n", uid, from.Format("02 15:04"), to.Format("02 15:04"))
	}
	long := line("long", at(-100, 0), at(100, 0))
	want := long + line("daily", at(3, 8), at(3, 8).Add(30*time.Minute)) + line("single", at(3, 10), at(3, 11)) + line("instant", at(3, 12), at(3, 12)) +
		line("allday", at(4, 0), at(5, 0)) + line("floating", at(4, 1), at(4, 2)) + line("daily", at(4, 8), at(4, 8).Add(30*time.Minute))
	q := store.Between{From: at(3, 0), To: at(5, 0), Limit: 1000}
	got, said := ask(q)
	if said != want {
		t.Errorf("two days:\n%s\nwant\n%s", said, want)
	}
	for limit := 1; limit < 5; limit++ {
		q.Limit = limit
		if _, said := ask(q); said != want {
			t.Errorf("in pages of %d:\n%s\nwant\n%s", limit, said, want)
		}
	}
	for _, o := range got {
		ok := true
		switch name[o.Item] {
		case "allday":
			ok = o.AllDay && o.Floating && o.Private && o.Busy == store.BusyOut
		case "floating":
			ok = !o.AllDay && o.Floating && o.Busy == store.BusyBusy
		case "daily":
			ok = !o.Floating && o.Busy == store.BusyFree && o.Instance == o.Starts.Format("20060102T150405Z")
		case "single":
			ok = o.Instance == "" && !o.Private && !o.Cancelled
		}
		if !ok || o.Folder != cal {
			t.Errorf("%s is %+v", name[o.Item], o)
		}
	}
	// The end of what is asked for is outside, its beginning inside.
	if _, said := ask(store.Between{From: at(3, 12), To: at(3, 13)}); said != long+line("instant", at(3, 12), at(3, 12)) {
		t.Errorf("from the instant: %s", said)
	}
	if _, said := ask(store.Between{From: at(3, 11), To: at(3, 12)}); said != long {
		t.Errorf("up to the instant: %s", said)
	}
	// Floating times elsewhere: Tokyo's day begins nine hours earlier.
	tokyo := time.FixedZone("Tokyo", 9*3600)
	if _, said := ask(store.Between{From: at(3, 15), To: at(3, 17), Floating: tokyo}); said != long+line("allday", at(4, 0), at(5, 0))+line("floating", at(4, 1), at(4, 2)) {
		t.Errorf("in Tokyo: %s", said)
	}
	// Far beyond what is kept, both ways.
	far := at(9000, 0)
	if _, said := ask(store.Between{From: far, To: far.AddDate(0, 0, 1)}); said != line("daily", far.Add(8*time.Hour), far.Add(8*time.Hour+30*time.Minute)) {
		t.Errorf("far: %s", said)
	}
	if list, said := ask(store.Between{From: at(-9000, 0), To: at(-8000, 0)}); len(list) != 3 || list[0].Busy != store.BusyTentative {
		t.Errorf("long ago: %s", said)
	}
	year := store.Between{From: far, To: far.AddDate(1, 0, 0), Limit: 7}
	if list, _ := ask(year); len(list) < 365+1 || len(list) > 368 {
		t.Errorf("a far year has %d", len(list))
	}

	// What is moved, removed and restored.
	item := func(uid string) store.ItemID {
		for item, n := range name {
			if n == uid {
				return item
			}
		}
		return 0
	}
	other := b.createAs(store.ClassCalendar, "Other").ID
	_, err := b.Store.Move(t.Context(), b.me(), b.box, cal, []store.ItemID{item("single")}, other)
	b.must(err)
	_, _, err = b.Store.Delete(t.Context(), b.me(), b.box, cal, []store.ItemID{item("allday"), item("long")}, false)
	b.must(err)
	q.Limit = 1000
	if _, said := ask(q); strings.Contains(said, "single") || strings.Contains(said, "allday") || strings.Contains(said, "long") {
		t.Errorf("after they left: %s", said)
	}
	b.must(b.Store.Restore(t.Context(), b.me(), b.box, []store.ItemID{item("allday"), item("long")}, 0))
	_, err = b.Store.Copy(t.Context(), b.me(), b.box, other, []store.ItemID{item("single")}, cal)
	b.must(err)
	list, said := ask(q)
	if len(list) != 7 || !strings.Contains(said, "allday") || !strings.Contains(said, "long") {
		t.Errorf("after they came back: %s", said)
	}
	// Time goes on: the table follows, and answers stay the same.
	before, _ := ask(year)
	b.must(b.Purge(now.AddDate(23, 0, 0)))
	if after, _ := ask(year); !reflect.DeepEqual(before, after) {
		t.Error("the moved window gives other occurrences")
	}
}

// placeObjects: what moves and copies do with classes, UIDs and names.
func placeObjects(t *testing.T, b *suite) {
	ctx := t.Context()
	cal, inbox := b.folder(store.RoleCalendar).ID, b.folder(store.RoleInbox).ID
	other := b.createAs(store.ClassCalendar, "Other").ID
	one := b.event(cal, "one", "One", ":20261124").Entry.Item
	mail := b.text("a message").Entry.Item
	move := func(item store.ItemID, to store.FolderID) error {
		_, err := b.Store.Move(ctx, b.me(), b.box, 0, []store.ItemID{item}, to)
		return err
	}
	copied := func(item store.ItemID, to store.FolderID) error {
		_, err := b.Store.Copy(ctx, b.me(), b.box, 0, []store.ItemID{item}, to)
		return err
	}
	for _, place := range []func(store.ItemID, store.FolderID) error{move, copied} {
		b.wantFault(place(one, inbox), fault.Invalid)
		b.wantFault(place(one, b.folder(store.RoleTrash).ID), fault.Invalid)
		b.wantFault(place(one, b.folder(store.RoleTasks).ID), fault.Invalid)
		b.wantFault(place(mail, cal), fault.Invalid)
	}
	// The same UID is once in a folder; a name that is taken is replaced.
	b.must(copied(one, other))
	b.wantFault(copied(one, other), fault.Conflict)
	b.wantFault(copied(one, cal), fault.Conflict)
	b.wantFault(move(one, other), fault.Conflict)
	two := b.put(store.PutObject{Folder: cal, Name: "one-more.ics", Edit: SetText(Event("two", "Two", ":20261124"))}).Entry.Item
	b.put(store.PutObject{Folder: other, Name: "one-more.ics", Edit: SetText(Event("three", "Three", ":20261124"))})
	b.must(move(two, other))
	if o := b.object(two); o.Folder != other || o.Name == "one-more.ics" || o.Name == "" {
		t.Errorf("moved %+v", o)
	}
	c, err := b.Store.Changes(ctx, b.me(), b.box, cal, store.Position{}, 100)
	b.must(err)
	pos := c.Position
	b.must(move(two, cal))
	// Removed, its UID is free; coming back it may be taken.
	_, err = b.Store.RemoveObject(ctx, b.me(), b.box, store.RemoveObject{Folder: cal, Item: two, IfMatch: seqOf(1)})
	b.wantFault(err, fault.Conflict)
	_, err = b.Store.RemoveObject(ctx, b.me(), b.box, store.RemoveObject{Folder: other, Item: two})
	b.wantFault(err, fault.NotFound)
	version, name := b.object(two).Version, b.object(two).Name
	_, err = b.Store.RemoveObject(ctx, b.me(), b.box, store.RemoveObject{Folder: cal, Item: two, IfMatch: &version})
	b.must(err)
	if b.object(two) != nil {
		t.Error("the removed object is still there")
	}
	_, err = b.Store.RemoveObject(ctx, b.me(), b.box, store.RemoveObject{Folder: cal, Item: one})
	b.must(err)
	c, err = b.Store.Changes(ctx, b.me(), b.box, cal, pos, 100)
	b.must(err)
	if len(c.Gone) != 1 || c.Gone[0].Name != "one.ics" {
		t.Errorf("gone: %+v", c.Gone)
	}
	again := b.put(store.PutObject{Folder: cal, Name: name, Edit: SetText(Event("two", "Two again", ":20261124"))}).Entry.Item
	b.wantFault(b.Store.Restore(ctx, b.me(), b.box, []store.ItemID{two}, 0), fault.Conflict)
	b.wantFault(b.Store.Restore(ctx, b.me(), b.box, []store.ItemID{two}, inbox), fault.Invalid)
	_, err = b.Store.RemoveObject(ctx, b.me(), b.box, store.RemoveObject{Folder: cal, Item: again})
	b.must(err)
	b.must(b.Store.Restore(ctx, b.me(), b.box, []store.ItemID{two}, 0))
	if o := b.object(two); o == nil || o.Folder != cal || o.Name != name || o.Version != version {
		t.Errorf("restored %+v", o)
	}
	// A folder that goes takes its objects along, and its names.
	b.must(b.Store.DeleteFolder(ctx, b.me(), b.box, other, false))
	got, err := b.Store.ObjectsByUID(ctx, b.me(), b.box, store.ClassCalendar, "three")
	b.must(err)
	if len(got) != 0 {
		t.Errorf("of a folder that is gone: %+v", got)
	}
	rec, err := b.Store.Recoverables(ctx, b.me(), b.box, 0, 100)
	b.must(err)
	back := 0
	for _, r := range rec {
		if r.Folder == other {
			if err := b.Store.Restore(ctx, b.me(), b.box, []store.ItemID{r.Item}, 0); err == nil {
				back++
				if o := b.object(r.Item); o == nil || o.Folder != cal {
					t.Errorf("from a folder that is gone: %+v", o)
				}
			}
		}
	}
	if back != 2 { // three, and the copy of one, which was removed
		t.Errorf("%d came back", back)
	}
	b.check()
	// Purged, nothing is left but what is there.
	b.must(b.Store.Empty(ctx, b.me(), b.box, cal))
	b.must(b.Purge(time.Now().AddDate(0, 0, 15)))
	b.must(b.Purge(time.Now().AddDate(0, 0, 17)))
	if rec, err := b.Store.Recoverables(ctx, b.me(), b.box, 0, 100); err != nil || len(rec) != 0 {
		t.Errorf("after the purge: %+v %v", rec, err)
	}
	b.check()
}

func objectQuota(t *testing.T, b *suite) {
	big := Event("big", "Big", ":20261124", "DESCRIPTION:"+strings.Repeat("all work and no play ", 3<<20/21))
	p := store.PutObject{Role: store.RoleCalendar, Name: "big.ics", Limit: 5 << 20, Edit: SetText(big)}
	first := b.put(p)
	if o := b.object(first.Entry.Item); string(o.Text) != string(first.Object.Text) || o.Size != int64(len(o.Text)) || o.Size < 3<<20 {
		t.Errorf("a large object of %d bytes came back with %d", first.Object.Size, len(o.Text))
	}
	p.Name, p.Edit = "big2.ics", SetText([]byte(strings.Replace(string(big), "UID:big", "UID:big2", 1)))
	_, err := b.Store.PutObject(t.Context(), b.me(), b.box, p)
	b.wantFault(err, fault.OverQuota)
	b.put(store.PutObject{Role: store.RoleCalendar, Name: "big.ics", Edit: SetText(Event("big", "Small", ":20261124"))})
	b.check()
	// More than fits one answer.
	var items []store.ItemID
	for i := range 3 {
		text := strings.Replace(string(big), "UID:big", fmt.Sprint("UID:x", i), 1)
		text = strings.Replace(text, "DESCRIPTION:", "DESCRIPTION:"+strings.Repeat("x", 10<<20), 1)
		items = append(items, b.put(store.PutObject{Role: store.RoleCalendar, Limit: 1 << 30, Edit: SetText([]byte(text))}).Entry.Item)
	}
	list, err := b.Store.Objects(t.Context(), b.me(), b.box, items)
	b.wantFault(err, fault.Limit)
	if len(list) != 3 || list[0] == nil || list[1] == nil || list[2] != nil || len(list[0].Text) != int(list[0].Size) {
		t.Errorf("what fits: %v", list)
	}
	b.check()
}

func putAndSend(t *testing.T, b *suite) {
	ctx := t.Context()
	m := b.message(Text("invitation", "come"))
	out := func(key string, save store.Role) store.Outgoing {
		return store.Outgoing{Key: key, From: "me@example.test", Recipients: []string{"ann@example.org"}, Blob: m.Blob, Summary: m.Summary, SaveRole: save}
	}
	edit := func(text []byte, outs ...store.Outgoing) func(*store.Object) (store.Edit, error) {
		return func(*store.Object) (store.Edit, error) { return store.Edit{Text: text, Send: outs}, nil }
	}
	waiting := func(want int) {
		t.Helper()
		list, err := b.Outbox()
		b.must(err)
		if len(list) != want {
			t.Errorf("%d messages more wait, want %d", len(list), want)
		}
	}
	p := store.PutObject{Role: store.RoleCalendar, Name: "m.ics", Edit: edit(Event("m", "Meeting", ":20261124"), out("1", store.RoleSent), out("2", store.RoleSent), out("3", store.RoleNone))}
	res := b.put(p)
	waiting(3)
	if n := len(b.entries(b.folder(store.RoleSent).ID)); n != 2 || !res.Changed || b.object(res.Entry.Item) == nil {
		t.Errorf("%d copies, put %+v", n, res)
	}
	b.check()
	// Sent once, whatever else the edit does.
	p.Edit = edit(Event("m", "Meeting", ":20261125"), out("2", store.RoleSent), out("4", store.RoleSent))
	if res := b.put(p); !res.Changed {
		t.Errorf("edited: %+v", res)
	}
	waiting(1)
	p.Edit = edit(Event("m", "Meeting", ":20261125"), out("5", store.RoleNone))
	if res := b.put(p); res.Changed {
		t.Errorf("only sent: %+v", res)
	}
	waiting(1)
	// What cannot be sent changes nothing.
	bad := out("6", store.RoleNone)
	bad.Recipients = nil
	p.Edit = edit(Event("m", "Meeting", ":20261126"), bad)
	_, err := b.Store.PutObject(ctx, b.me(), b.box, p)
	b.wantFault(err, fault.Invalid)
	p.Edit, p.IfMatch = edit(Event("m", "Meeting", ":20261126"), out("7", store.RoleNone)), seqOf(1)
	_, err = b.Store.PutObject(ctx, b.me(), b.box, p)
	b.wantFault(err, fault.Conflict)
	waiting(0)
	_, err = b.Store.RemoveObject(ctx, b.me(), b.box, store.RemoveObject{Item: res.Entry.Item, Send: func(old *store.Object) ([]store.Outgoing, error) {
		if old.UID != "m" || len(old.Text) == 0 {
			t.Errorf("removed %+v", old)
		}
		return []store.Outgoing{out("8", store.RoleSent)}, nil
	}})
	b.must(err)
	waiting(1)
	b.check()
}

func folderProps(t *testing.T, b *suite) {
	ctx := t.Context()
	cal := b.folder(store.RoleCalendar)
	set := func(fn func(*store.FolderProps)) (store.FolderProps, error) {
		return b.Store.UpdateFolderProps(ctx, b.me(), b.box, cal.ID, func(p *store.FolderProps) error { fn(p); return nil })
	}
	want := store.FolderProps{Color: "#FF0000FF", Zone: "Europe/Berlin", Transparent: true, Dead: map[string]string{"{x}y": "<y/>"}}
	got, err := set(func(p *store.FolderProps) { *p = want })
	b.must(err)
	list, err := b.Store.FolderProps(ctx, b.me(), b.box, []store.FolderID{99999, cal.ID})
	b.must(err)
	if !reflect.DeepEqual(got, want) || len(list) != 2 || !reflect.DeepEqual(list[1], want) || !reflect.DeepEqual(list[0], store.FolderProps{}) {
		t.Errorf("properties %+v, %+v", got, list)
	}
	changed := b.folder(store.RoleCalendar)
	if changed.Changed <= cal.Changed {
		t.Errorf("folder %+v, before %+v", changed, cal)
	}
	_, err = set(func(*store.FolderProps) {})
	b.must(err)
	if f := b.folder(store.RoleCalendar); f.Changed != changed.Changed {
		t.Error("the same again is a change")
	}
	for _, fn := range []func(*store.FolderProps){
		func(p *store.FolderProps) { p.Color = "red" },
		func(p *store.FolderProps) { p.Zone = "Nowhere" },
	} {
		_, err := set(fn)
		b.wantFault(err, fault.Invalid)
	}
	_, err = set(func(p *store.FolderProps) { p.Dead["big"] = strings.Repeat("x", 64<<10) })
	b.wantFault(err, fault.TooLarge)
	_, err = b.Store.UpdateFolderProps(ctx, b.me(), b.box, 99999, func(*store.FolderProps) error { return nil })
	b.wantFault(err, fault.NotFound)
}
