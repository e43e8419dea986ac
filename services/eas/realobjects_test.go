package eas

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"waypost/directory"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// TestRealObjects plays the life of each class against the real store: what
// another door puts is shown, the phone's changes are made in the text and not
// told to it, conflicts are the server's, and nothing is made twice.
func TestRealObjects(t *testing.T) {
	st, s := realServer(t, 0)
	ctx, as := t.Context(), directory.System("test")
	for _, c := range []struct {
		role               store.Role
		sample, add        string
		change, want, kept string
		since              wbxml.Version
	}{
		{
			store.RoleContacts, "ash", "<Contacts:FirstName>Bo</Contacts:FirstName>",
			"<Contacts:FirstName>Anna</Contacts:FirstName>", "N:Ash;Anna;B.;Dr.;", "X-KEPT;A=b:yes", wbxml.V25,
		},
		{
			store.RoleCalendar, "day",
			"<Calendar:Subject>New</Calendar:Subject><Calendar:StartTime>20261201T080000Z</Calendar:StartTime><Calendar:EndTime>20261201T090000Z</Calendar:EndTime>",
			"<Calendar:Subject>Christmas</Calendar:Subject>", "SUMMARY:Christmas", "TRANSP:TRANSPARENT", wbxml.V25,
		},
		{
			store.RoleTasks, "task", "<Tasks:Subject>New</Tasks:Subject><Tasks:Complete>0</Tasks:Complete>",
			"<Tasks:Subject>Files</Tasks:Subject><Tasks:StartDate>2026-12-01T00:00:00.000Z</Tasks:StartDate>", "SUMMARY:Files", "X-KEPT:yes", wbxml.V25,
		},
		{
			store.RoleNotes, "note", "<Notes:Subject>New</Notes:Subject>",
			"<Notes:Subject>Shop</Notes:Subject>", "SUMMARY:Shop", "X-KEPT:yes", wbxml.V140,
		},
	} {
		for _, v := range []wbxml.Version{wbxml.V25, wbxml.V121, wbxml.V141, wbxml.V161} {
			if v < c.since {
				continue
			}
			t.Run(string(c.role)+" "+v.String(), func(t *testing.T) {
				f, err := st.FolderByRole(ctx, as, 7, c.role)
				if err != nil {
					t.Fatal(err)
				}
				id := f.ID.String()
				text := crlf(strings.TrimLeft(objectSamples[c.sample], "\n"))
				put := func(item store.ItemID, text string) store.Put {
					t.Helper()
					p, err := st.PutObject(ctx, as, 7, store.PutObject{
						Folder: f.ID, Item: item, Edit: func(*store.Object) (store.Edit, error) { return store.Edit{Text: []byte(text)}, nil },
					})
					if err != nil {
						t.Fatal(err)
					}
					return p
				}
				read := func(item store.ItemID) string {
					t.Helper()
					os, err := st.Objects(ctx, as, 7, []store.ItemID{item})
					if err != nil || os[0] == nil {
						t.Fatalf("%v %v", os, err)
					}
					return string(os[0].Text)
				}
				p := &testPhone{h: s, version: v, device: "o" + itoa(int(v))}
				key := p.prime(t, id)
				c1 := p.sync(t, key, id, "")
				if k := c1.Get(wbxml.AirSyncSyncKey); k != "" { // else an empty answer
					key = k
				}
				made := put(0, strings.Replace(text, "UID:"+c.sample, "UID:"+c.sample+v.String(), 1))
				item := made.Entry.Item.String()
				c1 = p.sync(t, key, id, "")
				if got := c1.Get(wbxml.AirSyncCommands, wbxml.AirSyncAdd, wbxml.AirSyncServerId); got != item {
					t.Fatalf("new object: %s", c1)
				}
				key = c1.Get(wbxml.AirSyncSyncKey)
				change := "<Commands><Change><ServerId>" + item + "</ServerId><ApplicationData>" + c.change + "</ApplicationData></Change></Commands>"
				if c.role == store.RoleContacts {
					// Nothing is said of Supported: the phone speaks of all.
					change = strings.Replace(change, "</ApplicationData>", "<Contacts:LastName>Ash</Contacts:LastName><Contacts:MiddleName>B.</Contacts:MiddleName><Contacts:Title>Dr.</Contacts:Title></ApplicationData>", 1)
				}
				c1 = p.sync(t, key, id, change)
				if key = c1.Get(wbxml.AirSyncSyncKey); c1.Has(wbxml.AirSyncCommands) || c1.Has(wbxml.AirSyncResponses) {
					t.Fatalf("own change: %s", c1)
				}
				if got := read(made.Entry.Item); !strings.Contains(got, c.want) || !strings.Contains(got, c.kept) {
					t.Fatalf("changed: %s", got)
				}
				put(made.Entry.Item, strings.Replace(read(made.Entry.Item), c.kept, "X-OTHER:door", 1))
				c1 = p.sync(t, key, id, strings.ReplaceAll(change, "na<", "ne<"))
				if c.role == store.RoleContacts && c1.Get(wbxml.AirSyncResponses, wbxml.AirSyncChange, wbxml.AirSyncStatus) != "7" {
					t.Fatalf("conflict: %s", c1)
				}
				if got := c1.Get(wbxml.AirSyncCommands, wbxml.AirSyncChange, wbxml.AirSyncServerId); got != item {
					t.Fatalf("another's change: %s", c1)
				}
				key = c1.Get(wbxml.AirSyncSyncKey)
				add := "<Commands><Add><ClientId>c</ClientId><ApplicationData>" + c.add + "</ApplicationData></Add></Commands>"
				c1 = p.sync(t, key, id, add)
				again := p.sync(t, key, id, add)
				first, second := c1.Get(wbxml.AirSyncResponses, wbxml.AirSyncAdd, wbxml.AirSyncServerId), again.Get(wbxml.AirSyncResponses, wbxml.AirSyncAdd, wbxml.AirSyncServerId)
				if first == "" || first != second {
					t.Fatalf("added twice: %s %s", c1, again)
				}
				key = again.Get(wbxml.AirSyncSyncKey)
				c1 = p.sync(t, key, id, "<Commands><Delete><ServerId>"+first+"</ServerId></Delete><Delete><ServerId>"+item+"</ServerId></Delete></Commands>")
				if c1.Has(wbxml.AirSyncCommands) || c1.Has(wbxml.AirSyncResponses) {
					t.Fatalf("deleted: %s", c1)
				}
				if now, err := st.Folder(ctx, as, 7, f.ID); err != nil || now.Total != 0 {
					t.Errorf("%d objects are left, %v", now.Total, err)
				}
			})
		}
	}
}

// BenchmarkIncrementalCalendar is a sync of 14.1 that shows one changed event of
// a calendar of 5,000, without a filter and with one.
func BenchmarkIncrementalCalendar(b *testing.B) {
	for name, filter := range map[string]string{"all": "0", "month": "5"} {
		b.Run(name, func(b *testing.B) {
			st, s := realServer(b, 0)
			ctx, as := b.Context(), directory.System("test")
			f, err := st.FolderByRole(ctx, as, 7, store.RoleCalendar)
			if err != nil {
				b.Fatal(err)
			}
			var items []store.ItemID
			put := func(item store.ItemID, i, n int) {
				text := crlf(fmt.Sprintf(modelEvent, i, fmt.Sprint("event ", n), time.Now().AddDate(0, 0, 60-i%120).UTC().Format(compact)))
				p, err := st.PutObject(ctx, as, 7, store.PutObject{
					Folder: f.ID, Item: item, Edit: func(*store.Object) (store.Edit, error) { return store.Edit{Text: []byte(text)}, nil },
				})
				if err != nil {
					b.Fatal(err)
				}
				if item == 0 {
					items = append(items, p.Entry.Item)
				}
			}
			for i := range 5000 {
				put(0, i, 0)
			}
			p := &testPhone{h: s, version: wbxml.V141, device: "bench"}
			id := f.ID.String()
			options := "<WindowSize>512</WindowSize><Options><FilterType>" + filter + "</FilterType></Options>"
			c := syncOnce(b, p, syncOnce(b, p, "0", id, "").Get(wbxml.AirSyncSyncKey), id, options)
			for c.Has(wbxml.AirSyncMoreAvailable) {
				c = syncOnce(b, p, c.Get(wbxml.AirSyncSyncKey), id, "")
			}
			key := c.Get(wbxml.AirSyncSyncKey)
			var took time.Duration
			for i := range b.N {
				put(items[i%30], i%30, i+1) // one that is to come
				began := time.Now()
				c := syncOnce(b, p, key, id, "")
				took += time.Since(began)
				if key = c.Get(wbxml.AirSyncSyncKey); !c.Has(wbxml.AirSyncCommands, wbxml.AirSyncChange) {
					b.Fatalf("answer %s", c)
				}
			}
			b.ReportMetric(float64(took.Microseconds())/float64(b.N), "µs/sync")
		})
	}
}
