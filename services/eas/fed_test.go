package eas

import (
	"strings"
	"testing"

	"waypost/directory"
	"waypost/services/eas/wbxml"
	"waypost/store"
	"waypost/store/storetest"
)

// TestFedFolder: a phone shows a calendar that comes from elsewhere. What it does
// there is undone on it at once, whether or not it filters; a lost answer changes
// nothing of that; and what the feed says comes as ever.
func TestFedFolder(t *testing.T) {
	st, s := realServer(t, 0)
	ctx, as := t.Context(), directory.System("test")
	f, err := st.Subscribe(ctx, as, 7, store.Folder{Name: "Holidays", Class: store.ClassCalendar, Subscribed: true}, store.FolderProps{}, "https://x.example/h.ics")
	if err != nil {
		t.Fatal(err)
	}
	id := f.ID.String()
	feed := func(uid, summary string) string {
		t.Helper()
		p, err := st.PutObject(ctx, as, 7, store.PutObject{Folder: f.ID, UID: uid, Feed: true, Edit: storetest.SetText(storetest.Event(uid, summary, ":20261224T100000Z", "DURATION:PT1H", "RRULE:FREQ=YEARLY"))})
		if err != nil {
			t.Fatal(err)
		}
		return p.Entry.Item.String()
	}
	one, two := feed("one", "One"), feed("two", "Two")
	for _, v := range []wbxml.Version{wbxml.V25, wbxml.V121, wbxml.V141, wbxml.V161} {
		for _, filter := range []string{"", "<Options><FilterType>7</FilterType></Options>"} {
			name := v.String()
			if filter != "" {
				name += " filtered"
			}
			t.Run(name, func(t *testing.T) {
				p := &testPhone{h: s, version: v, device: strings.ReplaceAll("fed"+name, " ", "")}
				held := map[string]string{}
				key := p.prime(t, id)
				do := func(inner string) *wbxml.Node {
					t.Helper()
					c := p.sync(t, key, id, filter+inner)
					if c == nil {
						return nil
					}
					if k := c.Get(wbxml.AirSyncSyncKey); k != "" {
						key = k
					}
					if cs := c.Child(wbxml.AirSyncCommands); cs != nil {
						for _, x := range cs.Children {
							item := x.Get(wbxml.AirSyncServerId)
							_, has := held[item]
							switch x.Tag {
							case wbxml.AirSyncAdd:
								if has {
									t.Errorf("%s comes twice", item)
								}
								held[item] = x.Get(wbxml.AirSyncApplicationData, wbxml.CalendarSubject)
							case wbxml.AirSyncChange:
								if !has {
									t.Errorf("a change of %s, which is not there", item)
								}
								held[item] = x.Get(wbxml.AirSyncApplicationData, wbxml.CalendarSubject)
							default:
								delete(held, item)
							}
						}
					}
					return c
				}
				status := func(c *wbxml.Node, tag wbxml.Tag) string {
					return c.Get(wbxml.AirSyncResponses, tag, wbxml.AirSyncStatus)
				}
				want := func(first, second string) {
					t.Helper()
					if len(held) != 2 || held[one] != first || held[two] != second {
						t.Errorf("the phone holds %v", held)
					}
				}
				do("")
				want("One", "Two")

				held[one] = "Mine"
				change := "<Commands><Change><ServerId>" + one + "</ServerId><ApplicationData><Calendar:Subject>Mine</Calendar:Subject></ApplicationData></Change></Commands>"
				before := key
				if c := do(change); status(c, wbxml.AirSyncChange) != "7" {
					t.Errorf("a change: %s", c)
				}
				want("One", "Two")
				key, held[one] = before, "Mine" // the answer was lost
				do(change)
				want("One", "Two")

				delete(held, one)
				drop := "<Commands><Delete><ServerId>" + one + "</ServerId></Delete></Commands>"
				before = key
				if c := do(drop); status(c, wbxml.AirSyncDelete) != "7" {
					t.Errorf("a deletion: %s", c)
				}
				want("One", "Two")
				delete(held, one)
				key = before
				do(drop)
				want("One", "Two")

				clear(held)
				do("<Commands><Delete><ServerId>" + one + "</ServerId></Delete><Delete><ServerId>" + two + "</ServerId></Delete></Commands>")
				want("One", "Two")

				add := "<Commands><Add><ClientId>c</ClientId><ApplicationData><Calendar:Subject>New</Calendar:Subject><Calendar:StartTime>20261201T080000Z</Calendar:StartTime><Calendar:EndTime>20261201T090000Z</Calendar:EndTime></ApplicationData></Add></Commands>"
				if c := do(add); status(c, wbxml.AirSyncAdd) != "6" {
					t.Errorf("an addition: %s", c)
				}
				feed("one", "One more")
				do("")
				want("One more", "Two")
				// The feed says something else while the phone deletes.
				feed("one", "One")
				delete(held, one)
				do(drop)
				want("One", "Two")
				do("")
				do("")
				want("One", "Two")
			})
		}
	}
	if now, err := st.Folder(ctx, as, 7, f.ID); err != nil || now.Total != 2 {
		t.Errorf("%+v, %v", now, err)
	}
}
