package eas

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/store"
)

// The objects of memory.

// describe reads what the store knows of a text.
func describe(o *store.Object) error {
	o.Size = int64(len(o.Text))
	if bytes.HasPrefix(o.Text, []byte("BEGIN:VCARD")) {
		card, err := readCard(o.Text)
		if err != nil {
			return err
		}
		o.Kind, o.UID = store.KindCard, card.Text("UID")
		return nil
	}
	root, _, err := ical.Parse(o.Text, ical.Object)
	if err != nil {
		return err
	}
	parts := series(root)
	if len(parts) == 0 {
		return fault.New(fault.Invalid, "nothing in it")
	}
	o.UID = parts[0].Text("UID")
	o.Kind = map[string]store.Kind{"VEVENT": store.KindEvent, "VTODO": store.KindTask, "VJOURNAL": store.KindNote}[parts[0].Name]
	o.Starts, o.Ends = time.Time{}, time.Time{}
	if o.Kind != store.KindEvent {
		return nil
	}
	set := ical.NewSet(parts, ical.ZonesOf(root, nil))
	from := time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
	all, err := set.List(from, from.AddDate(100, 0, 0), 2000)
	if err != nil || len(all) == 0 {
		return nil
	}
	o.Starts, o.Ends = all[0].Start, all[len(all)-1].End
	if o.Ends.Year() > 2088 {
		o.Ends = time.Time{}
	}
	return nil
}

func (m *memory) PutObject(_ context.Context, as directory.Principal, box store.MailboxID, p store.PutObject) (store.Put, error) {
	leave, err := m.in("PutObject", as, box)
	if err != nil {
		return store.Put{}, err
	}
	defer leave()
	if p.Once != "" {
		if id, ok := m.once[p.Once]; ok {
			put := store.Put{Repeated: true}
			if it := m.items[id]; it != nil && !it.gone {
				put.Entry, put.Object = cloneEntry(it.e), *it.obj
			}
			put.Entry.Item = id
			return put, nil
		}
	}
	if m.folderOf(p.Folder) == nil {
		return store.Put{}, fault.New(fault.NotFound, "no such folder")
	}
	var it *memItem
	for id, x := range m.items {
		if x.gone || x.obj == nil || x.e.Folder != p.Folder {
			continue
		}
		if p.Item != 0 && id == p.Item || p.Item == 0 && p.UID != "" && x.obj.UID == p.UID {
			it = x
		}
	}
	if it == nil && p.Item != 0 {
		return store.Put{}, fault.New(fault.NotFound, "no such object")
	}
	var old *store.Object
	if it != nil {
		o := *it.obj
		o.Folder = it.e.Folder
		old = &o
	}
	e, err := p.Edit(old)
	if err != nil {
		return store.Put{}, err
	}
	if e, err = p.Edit(old); err != nil { // it may be called again
		return store.Put{}, err
	}
	o := store.Object{Folder: p.Folder, Text: e.Text}
	if err := describe(&o); err != nil {
		return store.Put{}, err
	}
	put := store.Put{}
	if it != nil {
		put.Was = it.e.Changed
		if !bytes.Equal(it.obj.Text, o.Text) {
			put.Changed = true
			o.Item, o.Version = it.e.Item, m.touch(p.Folder)
			it.obj, it.e.Changed, it.e.Size = &o, o.Version, o.Size
		}
	} else {
		it = m.addLocked(store.NewMessage{Folder: p.Folder, Received: mailNow, Flags: store.Seen}, m.touch(p.Folder))
		o.Item, o.Version = it.e.Item, it.e.Entered
		it.obj, it.e.Size = &o, o.Size
		put.Created, put.Changed = true, true
	}
	if p.Once != "" {
		m.once[p.Once] = it.e.Item
	}
	put.Entry, put.Object = cloneEntry(it.e), *it.obj
	return put, nil
}

func (m *memory) RemoveObject(ctx context.Context, as directory.Principal, box store.MailboxID, r store.RemoveObject) (store.Seq, error) {
	seq, gone, err := m.Delete(ctx, as, box, r.Folder, []store.ItemID{r.Item}, false)
	if err == nil && len(gone) == 0 {
		err = fault.New(fault.NotFound, "no such object")
	}
	return seq, err
}

func (m *memory) Objects(_ context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) ([]*store.Object, error) {
	leave, err := m.in("Objects", as, box)
	if err != nil {
		return nil, err
	}
	defer leave()
	os := make([]*store.Object, len(items))
	for i, id := range items {
		if it := m.items[id]; it != nil && !it.gone && it.obj != nil {
			o := *it.obj
			o.Folder = it.e.Folder
			os[i] = &o
		}
	}
	return os, nil
}

func (m *memory) ObjectsOf(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) ([]*store.Object, error) {
	os, err := m.Objects(ctx, as, box, items)
	for _, o := range os {
		if o != nil {
			o.Text = nil
		}
	}
	return os, err
}

// FindObjects looks for words in the texts.
func (m *memory) FindObjects(_ context.Context, as directory.Principal, box store.MailboxID, q store.FindObjects) ([]*store.Object, error) {
	leave, err := m.in("FindObjects", as, box)
	if err != nil {
		return nil, err
	}
	defer leave()
	var os []*store.Object
	for id, it := range m.items {
		if it.gone || it.obj == nil || id <= q.After || len(q.Folders) > 0 && !slices.Contains(q.Folders, it.e.Folder) || !slices.Contains(q.Kinds, it.obj.Kind) {
			continue
		}
		ok := true
		for w := range strings.FieldsSeq(strings.ToLower(q.Text)) {
			ok = ok && strings.Contains(strings.ToLower(string(it.obj.Text)), w)
		}
		if ok {
			o := *it.obj
			o.Folder, o.Text = it.e.Folder, nil
			os = append(os, &o)
		}
	}
	slices.SortFunc(os, func(a, b *store.Object) int { return cmp.Compare(a.Item, b.Item) })
	return os[:min(q.Limit, len(os))], nil
}

func (m *memory) FolderProps(_ context.Context, _ directory.Principal, _ store.MailboxID, folders []store.FolderID) ([]store.FolderProps, error) {
	props := make([]store.FolderProps, len(folders))
	for i := range props {
		props[i].Zone = m.zone
	}
	return props, nil
}

// object stores an object as another door does.
func (m *memory) object(folder store.FolderID, text string) store.ItemID {
	text = crlf(strings.TrimLeft(text, "\n"))
	put, err := m.PutObject(context.Background(), directory.System("test"), 7, store.PutObject{
		Folder: folder, Edit: func(*store.Object) (store.Edit, error) { return store.Edit{Text: []byte(text)}, nil },
	})
	if err != nil {
		panic(err)
	}
	return put.Entry.Item
}

// text is an object's text with plain line ends, unfolded.
func (m *memory) text(item store.ItemID) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	it := m.items[item]
	if it == nil || it.gone || it.obj == nil {
		return ""
	}
	return strings.ReplaceAll(strings.ReplaceAll(string(it.obj.Text), "\r\n ", ""), "\r\n", "\n")
}

// rewrite changes an object's text behind the phone's back.
func (m *memory) rewrite(item store.ItemID, fn func(text string) string) error {
	_, err := m.PutObject(context.Background(), directory.System("test"), 7, store.PutObject{
		Folder: m.items[item].e.Folder, Item: item,
		Edit: func(old *store.Object) (store.Edit, error) {
			plain := strings.ReplaceAll(strings.ReplaceAll(string(old.Text), "\r\n ", ""), "\r\n", "\n")
			return store.Edit{Text: []byte(crlf(fn(plain)))}, nil
		},
	})
	return err
}

// objectSamples are objects that conversations name.
var objectSamples = map[string]string{
	"ash": `
BEGIN:VCARD
VERSION:4.0
UID:ash
N:Ash;Ann;B.;Dr.;
FN:Dr. Ann B. Ash
X-KEPT;A=b:yes
ORG:Firm;Sales;Room 1
TITLE:Head
EMAIL;PREF=1:first@ex.test
EMAIL:second@ex.test
TEL;TYPE="work,voice":1
TEL;TYPE=cell:2
ADR;TYPE=home:;;Way 1;Town;;12345;Land
BDAY:19900501
NOTE:Two\nlines
CATEGORIES:A,B
END:VCARD
`,
	"weekly": `
BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//test//EN
BEGIN:VEVENT
UID:weekly
DTSTAMP:20260101T000000Z
DTSTART;TZID=Europe/Berlin:20261102T090000
DTEND;TZID=Europe/Berlin:20261102T100000
RRULE:FREQ=WEEKLY;BYDAY=MO
EXDATE;TZID=Europe/Berlin:20261109T090000
SUMMARY:Round
LOCATION:Room 1
DESCRIPTION:Agenda
X-KEPT;A=b:yes
ORGANIZER;CN=Ann Miller:mailto:ann@example.test
ATTENDEE;CN=Bob;PARTSTAT=ACCEPTED;X-N=1:mailto:bob@example.org
BEGIN:VALARM
ACTION:DISPLAY
TRIGGER:-PT15M
DESCRIPTION:x
END:VALARM
END:VEVENT
BEGIN:VEVENT
UID:weekly
DTSTAMP:20260101T000000Z
RECURRENCE-ID;TZID=Europe/Berlin:20261116T090000
DTSTART;TZID=Europe/Berlin:20261116T140000
DTEND;TZID=Europe/Berlin:20261116T150000
SUMMARY:Round late
LOCATION:Room 1
DESCRIPTION:Agenda
X-KEPT:too
ORGANIZER;CN=Ann Miller:mailto:ann@example.test
ATTENDEE;CN=Bob;PARTSTAT=ACCEPTED:mailto:bob@example.org
END:VEVENT
END:VCALENDAR
`,
	"day": `
BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//test//EN
BEGIN:VEVENT
UID:day
DTSTAMP:20260101T000000Z
DTSTART;VALUE=DATE:20261224
DTEND;VALUE=DATE:20261225
SUMMARY:Eve
CONFERENCE;VALUE=URI;FEATURE=VIDEO:https://meet.example/1
TRANSP:TRANSPARENT
END:VEVENT
END:VCALENDAR
`,
	"old": `
BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//test//EN
BEGIN:VEVENT
UID:old
DTSTAMP:20260101T000000Z
DTSTART:20260901T090000Z
DTEND:20260901T100000Z
SUMMARY:Past
END:VEVENT
END:VCALENDAR
`,
	"task": `
BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//test//EN
BEGIN:VTODO
UID:task
DTSTAMP:20260101T000000Z
DTSTART;VALUE=DATE:20261201
DUE;VALUE=DATE:20261203
SUMMARY:File
PRIORITY:1
X-KEPT:yes
RRULE:FREQ=MONTHLY
END:VTODO
END:VCALENDAR
`,
	"errand": `
BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//test//EN
BEGIN:VTODO
UID:errand
DTSTAMP:20260101T000000Z
DUE;VALUE=DATE:20261123
SUMMARY:Errand
RRULE:FREQ=WEEKLY;BYDAY=MO
END:VTODO
END:VCALENDAR
`,
	"note": `
BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//test//EN
BEGIN:VJOURNAL
UID:note
DTSTAMP:20260101T000000Z
LAST-MODIFIED:20260102T000000Z
SUMMARY:Shopping
DESCRIPTION:milk\nbread
CATEGORIES:Blue
X-KEPT:yes
END:VJOURNAL
END:VCALENDAR
`,
}
