package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

// shareWorld is a mailbox of which others were given a calendar.
type shareWorld struct {
	*suite
	calendar, tasks store.FolderID
	public, private store.ItemID // the owner's
	bobs            store.ItemID // made by bob
	task            store.ItemID // of a folder that nobody was given
	child           store.FolderID
	other, mail     store.FolderID
	message         store.ItemID
}

var (
	bob   = Owner(2)
	carol = Owner(3)
)

// world makes mailbox box, in which bob has rights in the calendar.
func (b *suite) world(box store.MailboxID, rights store.Rights) *shareWorld {
	b.Helper()
	w := &shareWorld{suite: &suite{T: b.T, Opened: b.Opened, box: box}}
	w.calendar, w.tasks = w.folder(store.RoleCalendar).ID, w.folder(store.RoleTasks).ID
	w.public = w.event(w.calendar, "public", "Lunch", ":20261124T120000Z", "LOCATION:Canteen", "DESCRIPTION:soup").Entry.Item
	w.private = w.event(w.calendar, "private", "Doctor", ":20261124T150000Z", "CLASS:PRIVATE", "LOCATION:Hospital").Entry.Item
	w.task = w.put(store.PutObject{Folder: w.tasks, Edit: SetText([]byte("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VTODO\r\nUID:task\r\nSUMMARY:Secret\r\nEND:VTODO\r\nEND:VCALENDAR\r\n"))}).Entry.Item
	m := w.text("secret")
	w.message, w.mail = m.Entry.Item, m.Entry.Folder
	w.grant(w.calendar, bob.ID, store.RightCreate|store.RightVisible)
	made, err := w.Store.PutObject(w.Context(), bob, box, store.PutObject{Folder: w.calendar, Edit: SetText(Event("bobs", "By Bob", ":20261125T120000Z"))})
	w.must(err)
	w.bobs = made.Entry.Item
	w.grant(w.calendar, bob.ID, rights)
	return w
}

func (b *suite) grant(folder store.FolderID, to directory.ObjectID, rights store.Rights) {
	b.Helper()
	b.must(b.Store.SetGrant(b.Context(), b.me(), b.box, b.me().ID, folder, store.Grant{To: to, Rights: rights}))
}

// sharedCall is a method as somebody else calls it, with the rights that it takes.
type sharedCall struct {
	name string
	need store.Rights
	call func(ctx context.Context, as directory.Principal, w *shareWorld) error
}

const (
	// seeing is what any view of the items gives.
	seeing store.Rights = 1 << 30
	never  store.Rights = 1 << 31
)

func put(folder func(*shareWorld) store.FolderID, item func(*shareWorld) store.ItemID, summary string) func(context.Context, directory.Principal, *shareWorld) error {
	return func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		p := store.PutObject{Folder: folder(w)}
		if item != nil {
			p.Item = item(w)
		}
		p.Edit = func(old *store.Object) (store.Edit, error) {
			if old == nil {
				return store.Edit{Text: Event(fmt.Sprintf("new-%s-%d", summary, time.Now().UnixNano()), summary, ":20261126T120000Z")}, nil
			}
			return store.Edit{Text: []byte(strings.Replace(string(old.Text), "SUMMARY:", "SUMMARY:x", 1))}, nil
		}
		_, err := w.Store.PutObject(ctx, as, w.box, p)
		return err
	}
}

// blind checks that texts do not tell more than may be seen.
func (w *shareWorld) blind(ctx context.Context, as directory.Principal, list []*store.Object) error {
	f, err := w.Store.Folder(ctx, as, w.box, w.calendar)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return errors.New("nothing is there")
	}
	for _, o := range list {
		text := string(o.Text)
		if strings.Contains(text, "Hospital") && !f.Rights.Has(store.RightRead|store.RightPrivate) ||
			strings.Contains(text, "soup") && !f.Rights.Has(store.RightRead) {
			return fmt.Errorf("tells %s", text)
		}
	}
	return nil
}

func calendarOf(w *shareWorld) store.FolderID { return w.calendar }

// sharedCalls are all methods that others may use in a shared calendar, in an order
// in which none spoils the next.
var sharedCalls = []sharedCall{
	{"Folders", store.RightVisible, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		list, _, err := w.Store.Folders(ctx, as, w.box)
		if err == nil && (len(list) != 1 || list[0].ID != w.calendar) {
			return fmt.Errorf("folders %+v", list)
		}
		return err
	}},
	{"Folder", store.RightVisible, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.Folder(ctx, as, w.box, w.calendar)
		return err
	}},
	{"FolderByRole", store.RightVisible, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.FolderByRole(ctx, as, w.box, store.RoleCalendar)
		return err
	}},
	{"FolderProps", store.RightVisible, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.FolderProps(ctx, as, w.box, []store.FolderID{w.calendar})
		return err
	}},
	{"Entries", seeing, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, _, err := w.Store.Entries(ctx, as, w.box, w.calendar, 0, 10)
		return err
	}},
	{"Newest", seeing, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.Newest(ctx, as, w.box, w.calendar, time.Time{}, 1<<40, 0, 10)
		return err
	}},
	{"Aged", seeing, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.Aged(ctx, as, w.box, w.calendar, time.Time{}, time.Now(), 0, 10)
		return err
	}},
	{"CountSince", seeing, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.CountSince(ctx, as, w.box, w.calendar, time.Now().Add(-time.Hour))
		return err
	}},
	{"Changes", seeing, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.Changes(ctx, as, w.box, w.calendar, store.Position{}, 10)
		return err
	}},
	{"ObjectsNamed", seeing, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.ObjectsNamed(ctx, as, w.box, w.calendar, []string{"x"})
		return err
	}},
	{"ObjectList", seeing, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.ObjectList(ctx, as, w.box, w.calendar, 0, 10)
		return err
	}},
	{"Occurrences", seeing, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.Occurrences(ctx, as, w.box, store.Between{Folders: []store.FolderID{w.calendar}, From: time.Unix(0, 0), To: time.Now()})
		return err
	}},
	{"Occurring", seeing, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		list, err := w.Store.Occurring(ctx, as, w.box, store.Between{Folders: []store.FolderID{w.calendar}, From: time.Unix(0, 0), To: time.Unix(1<<32, 0)}, 0)
		if err == nil {
			return w.blind(ctx, as, list)
		}
		return err
	}},
	{"ObjectsNamedWithTexts", seeing, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		all, err := w.Store.ObjectList(ctx, w.me(), w.box, w.calendar, 0, 100)
		w.must(err)
		var names []string
		for _, o := range all {
			names = append(names, o.Name)
		}
		list, err := w.Store.ObjectsNamedWithTexts(ctx, as, w.box, w.calendar, names)
		if err == nil {
			return w.blind(ctx, as, list)
		}
		return err
	}},
	{"FindObjects", store.RightRead, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.FindObjects(ctx, as, w.box, store.FindObjects{Folders: []store.FolderID{w.calendar}, Text: "lunch"})
		return err
	}},
	{"PutObject new", store.RightCreate, put(calendarOf, nil, "new")},
	{"PutObject own", store.RightEditOwn | store.RightRead, put(calendarOf, func(w *shareWorld) store.ItemID { return w.bobs }, "")},
	{"PutObject all", store.RightEditAll | store.RightRead, put(calendarOf, func(w *shareWorld) store.ItemID { return w.public }, "")},
	{"PutObject private", store.RightEditAll | store.RightRead | store.RightPrivate, put(calendarOf, func(w *shareWorld) store.ItemID { return w.private }, "")},
	{"Flag own", store.RightEditOwn, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.Flag(ctx, as, w.box, store.FlagChange{Folder: w.calendar, Items: []store.ItemID{w.bobs}, Set: store.Flagged})
		return err
	}},
	{"Flag", store.RightEditAll, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.Flag(ctx, as, w.box, store.FlagChange{Folder: w.calendar, Items: []store.ItemID{w.public}, Set: store.Flagged})
		return err
	}},
	{"UpdateFolderProps", store.RightOwner, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.UpdateFolderProps(ctx, as, w.box, w.calendar, func(p *store.FolderProps) error { p.Color = "#112233"; return nil })
		return err
	}},
	{"Grants", store.RightOwner, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.Grants(ctx, as, w.box, w.calendar)
		return err
	}},
	{"SetGrant", store.RightOwner, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		return w.Store.SetGrant(ctx, as, w.box, w.me().ID, w.calendar, store.Grant{To: 99, Rights: store.RightVisible})
	}},
	{"RemoveGrant", store.RightOwner, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		return w.Store.RemoveGrant(ctx, as, w.box, w.calendar, 99)
	}},
	{"CreateFolder", store.RightSubfolders, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		f, err := w.Store.CreateFolder(ctx, as, w.box, store.Folder{Parent: w.calendar, Name: "below", Class: store.ClassCalendar})
		w.child = f.ID
		return err
	}},
	{"Copy", store.RightRead | store.RightCreate, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.Copy(ctx, as, w.box, w.calendar, []store.ItemID{w.public}, w.calendar)
		if err != nil && fault.Of(err) == fault.Conflict {
			return nil // it has the UID already
		}
		return err
	}},
	{"Copy private", store.RightRead | store.RightCreate | store.RightPrivate, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.Copy(ctx, as, w.box, w.calendar, []store.ItemID{w.private}, w.calendar)
		if err != nil && fault.Of(err) == fault.Conflict {
			return nil
		}
		return err
	}},
	{"Move", store.RightDeleteAll | store.RightRead | store.RightCreate, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.Move(ctx, as, w.box, w.calendar, []store.ItemID{w.public}, w.calendar)
		return err
	}},
	{"RemoveObject own", store.RightDeleteOwn | store.RightRead, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.RemoveObject(ctx, as, w.box, store.RemoveObject{Folder: w.calendar, Item: w.bobs})
		return err
	}},
	{"RemoveObject", store.RightDeleteAll | store.RightRead | store.RightPrivate, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, err := w.Store.RemoveObject(ctx, as, w.box, store.RemoveObject{Folder: w.calendar, Item: w.private})
		return err
	}},
	{"Delete", store.RightDeleteAll | store.RightRead, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		_, _, err := w.Store.Delete(ctx, as, w.box, w.calendar, []store.ItemID{w.public}, false)
		return err
	}},
	{"RenameFolder", never, func(ctx context.Context, as directory.Principal, w *shareWorld) error { // it is a standard one
		_, err := w.Store.RenameFolder(ctx, as, w.box, w.calendar, 0, "mine")
		return err
	}},
	{"DeleteFolder", never, func(ctx context.Context, as directory.Principal, w *shareWorld) error {
		return w.Store.DeleteFolder(ctx, as, w.box, w.calendar, true)
	}},
}

// nobodys are calls that nobody but the owner may do, whatever the rights, and those
// on what was not given.
func nobodys(ctx context.Context, as directory.Principal, w *shareWorld) map[string]func() error {
	s, box := w.Store, w.box
	items := []store.ItemID{w.message}
	first := func(_ any, err error) error { return err }
	return map[string]func() error{
		"Mailbox":       func() error { return first(s.Mailbox(ctx, as, box)) },
		"Settings":      func() error { return first(s.Settings(ctx, as, box)) },
		"FolderChanges": func() error { return first(s.FolderChanges(ctx, as, box, 0)) },
		"UpdateSettings": func() error {
			return first(s.UpdateSettings(ctx, as, box, func(*store.Settings) error { return nil }))
		},
		"SubscribeFolder": func() error { return s.SubscribeFolder(ctx, as, box, w.calendar, true) },
		"Add":             func() error { return first(s.Add(ctx, as, box, w.suite.message(Text("x", "x")))) },
		"Recoverables":    func() error { return first(s.Recoverables(ctx, as, box, 0, 10)) },
		"Restore":         func() error { return s.Restore(ctx, as, box, items, 0) },
		"Send":            func() error { return first(s.Send(ctx, as, box, outgoing(w.suite.message(Text("x", "x")), "k"))) },
		"SyncState":       func() error { return first(s.SyncState(ctx, as, box, "c", "s")) },
		"SaveSyncState":   func() error { return s.SaveSyncState(ctx, as, box, "c", "s", 0, nil, false) },
		"DropSyncStates":  func() error { return s.DropSyncStates(ctx, as, box, "c", "") },
		"Devices":         func() error { return first(s.Devices(ctx, as, box)) },
		"Device":          func() error { return first(s.Device(ctx, as, box, "d")) },
		"UpdateDevice": func() error {
			return first(s.UpdateDevice(ctx, as, box, "d", func(*store.Device) error { return nil }))
		},
		"RemoveDevice": func() error { return s.RemoveDevice(ctx, as, box, "d") },

		"WithWords":    func() error { return first(s.WithWords(ctx, as, box, store.WordQuery{Text: "secret"})) },
		"MailSeq":      func() error { return first(s.MailSeq(ctx, as, box)) },
		"Query":        func() error { return first(s.Query(ctx, as, box, store.Query{})) },
		"Matches":      func() error { return first(s.Matches(ctx, as, box, nil, items)) },
		"MailChanges":  func() error { return first(s.MailChanges(ctx, as, box, store.MailPosition{}, 10)) },
		"Threads":      func() error { _, _, err := s.Threads(ctx, as, box, []store.ThreadID{1}); return err },
		"ThreadCounts": func() error { return first(s.ThreadCounts(ctx, as, box)) },
		"AddUpload": func() error {
			return first(s.AddUpload(ctx, as, box, w.suite.message(Text("x", "x")).Blob, "text/plain"))
		},
		"Upload":            func() error { _, _, err := s.Upload(ctx, as, box, 1); return err },
		"Submissions":       func() error { _, _, err := s.Submissions(ctx, as, box); return err },
		"SubmissionChanges": func() error { return first(s.SubmissionChanges(ctx, as, box, 0)) },
		"CancelSubmission":  func() error { return s.CancelSubmission(ctx, as, box, 1) },
		"ForgetSubmission":  func() error { return s.ForgetSubmission(ctx, as, box, 1) },
		"Subscribe": func() error {
			return first(s.Subscribe(ctx, as, box, store.Folder{Name: "f", Class: store.ClassCalendar}, store.FolderProps{}, "https://example.test/x.ics"))
		},
		"Feeds":        func() error { return first(s.Feeds(ctx, as, box)) },
		"SetBirthdays": func() error { return s.SetBirthdays(ctx, as, box, true) },
		"DropObjects":  func() error { return first(s.DropObjects(ctx, as, box, w.calendar, []store.ItemID{w.public})) },
		"Publish": func() error {
			_, _, err := s.Publish(ctx, as, box, store.Publication{Folder: w.calendar, Detail: store.DetailFull})
			return err
		},
		"Publications": func() error { return first(s.Publications(ctx, as, box)) },
		"Unpublish":    func() error { return s.Unpublish(ctx, as, box, 1) },

		"Folder not given":      func() error { return first(s.Folder(ctx, as, box, w.tasks)) },
		"ByRole not given":      func() error { return first(s.FolderByRole(ctx, as, box, store.RoleInbox)) },
		"FolderProps not given": func() error { return first(s.FolderProps(ctx, as, box, []store.FolderID{w.tasks})) },
		"UpdateProps not given": func() error {
			return first(s.UpdateFolderProps(ctx, as, box, w.tasks, func(*store.FolderProps) error { return nil }))
		},
		"CreateFolder at root":   func() error { return first(s.CreateFolder(ctx, as, box, store.Folder{Name: "x"})) },
		"CreateFolder not given": func() error { return first(s.CreateFolder(ctx, as, box, store.Folder{Parent: w.tasks, Name: "x"})) },
		"Rename not given":       func() error { return first(s.RenameFolder(ctx, as, box, w.other, 0, "x")) },
		"DeleteFolder not given": func() error { return s.DeleteFolder(ctx, as, box, w.other, true) },
		"Entries not given":      func() error { _, _, err := s.Entries(ctx, as, box, w.tasks, 0, 10); return err },
		"Newest not given":       func() error { return first(s.Newest(ctx, as, box, w.mail, time.Time{}, 1<<40, 0, 10)) },
		"Aged not given":         func() error { return first(s.Aged(ctx, as, box, w.mail, time.Time{}, time.Now(), 0, 10)) },
		"CountSince not given":   func() error { return first(s.CountSince(ctx, as, box, w.mail, time.Time{})) },
		"Changes not given":      func() error { return first(s.Changes(ctx, as, box, w.tasks, store.Position{}, 10)) },
		"Content not given":      func() error { return first(s.Content(ctx, as, box, w.message)) },
		"ObjectsNamed not given": func() error { return first(s.ObjectsNamed(ctx, as, box, w.tasks, []string{"x"})) },
		"ObjectList not given":   func() error { return first(s.ObjectList(ctx, as, box, w.tasks, 0, 10)) },
		"Occurrences not given": func() error {
			return first(s.Occurrences(ctx, as, box, store.Between{Folders: []store.FolderID{w.tasks}, From: time.Unix(0, 0), To: time.Now()}))
		},
		"FindObjects not given": func() error {
			return first(s.FindObjects(ctx, as, box, store.FindObjects{Folders: []store.FolderID{w.tasks}, Text: "secret"}))
		},
		"FindMessages not given": func() error {
			_, _, err := s.FindMessages(ctx, as, box, store.Find{Folders: []store.FolderID{w.mail}})
			return err
		},
		"PutObject not given": func() error {
			return first(s.PutObject(ctx, as, box, store.PutObject{Item: w.task, Edit: SetText(nil)}))
		},
		"PutObject new not given": func() error {
			return first(s.PutObject(ctx, as, box, store.PutObject{Folder: w.other, Edit: SetText(Event("n", "n", ":20261126T120000Z"))}))
		},
		"RemoveObject not given": func() error { return first(s.RemoveObject(ctx, as, box, store.RemoveObject{Item: w.task})) },
		"Flag not given":         func() error { return first(s.Flag(ctx, as, box, store.FlagChange{Folder: w.mail, Items: items})) },
		"Delete not given":       func() error { _, _, err := s.Delete(ctx, as, box, w.mail, items, false); return err },
		"Empty not given":        func() error { return s.Empty(ctx, as, box, w.mail) },
		"Copy out":               func() error { return first(s.Copy(ctx, as, box, w.calendar, []store.ItemID{w.public}, w.other)) },
		"Copy in":                func() error { return first(s.Copy(ctx, as, box, w.other, []store.ItemID{w.task}, w.other)) },
		"Move out":               func() error { return first(s.Move(ctx, as, box, w.calendar, []store.ItemID{w.public}, w.other)) },
		"Move from anywhere":     func() error { return first(s.Move(ctx, as, box, 0, []store.ItemID{w.task}, w.calendar)) },
		"Grants not given":       func() error { return first(s.Grants(ctx, as, box, w.tasks)) },
		"SetGrant not given": func() error {
			return s.SetGrant(ctx, as, box, w.me().ID, w.tasks, store.Grant{To: as.ID, Rights: store.RightsAll})
		},
		"RemoveGrant not given": func() error { return s.RemoveGrant(ctx, as, box, w.tasks, as.ID) },
		"SubscribeShared not given": func() error {
			return first(s.SubscribeShared(ctx, as, store.Subscription{Shared: store.Shared{Box: box, Folder: store.Folder{ID: w.tasks}}}))
		},
		"Send by PutObject": func() error {
			return first(s.PutObject(ctx, as, box, store.PutObject{Folder: w.calendar, Edit: func(*store.Object) (store.Edit, error) {
				return store.Edit{Text: Event("send", "send", ":20261126T120000Z"), Send: []store.Outgoing{outgoing(w.suite.message(Text("x", "x")), "k")}}, nil
			}}))
		},
	}
}

// elsewhere are methods whose rights are tried by other tests, or that name no other
// one's mailbox.
var elsewhere = map[string]bool{
	"Watch": true, "NewBlob": true, "Subscriptions": true, "UpdateSubscription": true, "UnsubscribeShared": true, "SharedWith": true,
	"Views": true, "Objects": true, "ObjectsOf": true, "ObjectsByUID": true, "EntriesOf": true, "Messages": true, "Warm": true,
}

// shareMatrix tries every method as every role.
func shareMatrix(t *testing.T, b *suite) {
	roles := append([]store.ShareRole{}, store.ShareRoles...)
	for _, r := range store.RightNames {
		roles = append(roles, store.ShareRole{Name: "only " + r.Name, Rights: r.Rights | store.RightVisible})
	}
	roles = append(roles, store.ShareRole{Name: "all", Rights: store.RightsAll},
		store.ShareRole{Name: "all but visible", Rights: store.RightsAll &^ store.RightVisible})
	for i, role := range roles {
		w := b.world(store.MailboxID(100+i), role.Rights)
		f, err := w.Store.CreateFolder(t.Context(), w.me(), w.box, store.Folder{Name: "Other", Class: store.ClassCalendar})
		w.must(err)
		w.other = f.ID
		for name, call := range nobodys(t.Context(), bob, w) {
			if err := call(); err == nil || fault.Of(err) != fault.NotFound && fault.Of(err) != fault.Denied {
				t.Errorf("%s: %s: %v", role.Name, name, err)
			}
		}
		for _, c := range sharedCalls {
			if err := c.call(t.Context(), carol, w); err == nil || fault.Of(err) != fault.NotFound {
				t.Errorf("%s by somebody without rights: %v", c.name, err)
			}
			err := c.call(t.Context(), bob, w)
			switch {
			case !role.Rights.Has(store.RightVisible):
				if err == nil || fault.Of(err) != fault.NotFound {
					t.Errorf("%s: %s of what is not to be seen: %v", role.Name, c.name, err)
				}
			case may(role.Rights, c.need):
				if err != nil {
					t.Errorf("%s: %s: %v", role.Name, c.name, err)
				}
			default:
				if err == nil || fault.Of(err) != fault.Denied {
					t.Errorf("%s: %s: %v, want Denied", role.Name, c.name, err)
				}
			}
		}
		b.lists(w, role)
	}
	tried := map[string]bool{}
	for _, c := range sharedCalls {
		name, _, _ := strings.Cut(c.name, " ")
		tried[name] = true
	}
	for name := range nobodys(t.Context(), bob, &shareWorld{suite: b}) {
		name, _, _ = strings.Cut(name, " ")
		tried[name] = true
	}
	for m := range reflect.TypeFor[store.Store]().Methods() {
		if !tried[m.Name] && !elsewhere[m.Name] {
			t.Errorf("nobody tries %s as somebody else", m.Name)
		}
	}
}

func may(have, need store.Rights) bool {
	switch need {
	case never:
		return false
	case seeing:
		return have.View() != store.ViewNone
	case store.RightEditOwn, store.RightDeleteOwn | store.RightRead, store.RightEditOwn | store.RightRead:
		// Who may do it to all may do it to its own.
		all := need&store.RightRead | map[bool]store.Rights{true: store.RightEditAll, false: store.RightDeleteAll}[need.Has(store.RightEditOwn)]
		return have.Has(need) || have.Has(all)
	}
	return have.Has(need)
}

// lists tries the methods that leave out what may not be seen.
func (b *suite) lists(w *shareWorld, role store.ShareRole) {
	b.Helper()
	ctx, s := b.Context(), w.Store
	for _, as := range []directory.Principal{bob, carol} {
		sees := as.ID == bob.ID && role.Rights.Has(store.RightVisible) && role.Rights.View() != store.ViewNone
		ids := []store.ItemID{w.task, w.message, w.private}
		for name, call := range map[string]func() (int, error){
			"Objects":   func() (int, error) { l, err := s.Objects(ctx, as, w.box, ids); return count(l), err },
			"ObjectsOf": func() (int, error) { l, err := s.ObjectsOf(ctx, as, w.box, ids); return count(l), err },
			"ObjectsByUID": func() (int, error) {
				l, err := s.ObjectsByUID(ctx, as, w.box, store.ClassTasks, "task")
				return len(l), err
			},
			"EntriesOf": func() (int, error) { l, err := s.EntriesOf(ctx, as, w.box, ids[:2]); return len(l), err },
			"Messages": func() (int, error) {
				l, err := s.Messages(ctx, as, w.box, ids)
				n := 0
				for _, m := range l {
					if m != nil {
						n++
					}
				}
				return n, err
			},
			"Warm": func() (int, error) { return 0, s.Warm(ctx, as, w.box, ids) },
			"Find": func() (int, error) {
				l, _, err := s.FindMessages(ctx, as, w.box, store.Find{Text: "secret"})
				return len(l), err
			},
			"FindObjects": func() (int, error) {
				l, err := s.FindObjects(ctx, as, w.box, store.FindObjects{Text: "secret"})
				return len(l), err
			},
		} {
			n, err := call()
			if err != nil && fault.Of(err) != fault.NotFound {
				b.Errorf("%s: %s: %v", role.Name, name, err)
			}
			most := 0
			if sees && strings.HasPrefix(name, "Objects") && name != "ObjectsByUID" {
				most = 1 // the private one, if it is still there
			}
			if n > most {
				b.Errorf("%s: %s gives %d", role.Name, name, n)
			}
		}
	}
}

func count(l []*store.Object) (n int) {
	for _, o := range l {
		if o != nil {
			n++
		}
	}
	return n
}

// shareViews looks at what is seen of objects.
func shareViews(t *testing.T, b *suite) {
	ctx := t.Context()
	for i, tt := range []struct {
		role           string
		also           store.Rights
		public, secret string // words in the texts, what must not be there behind "|"
	}{
		{"reviewer", 0, "Lunch Canteen soup", "Private CLASS|Doctor Hospital"},
		{"reviewer", store.RightPrivate, "Lunch Canteen soup", "Doctor Hospital"},
		{"editor", 0, "Lunch Canteen soup", "Private|Doctor Hospital"},
		{"free-busy-details", 0, "Lunch Canteen|soup", "Private|Doctor Hospital"},
		{"free-busy", 0, "Busy DTSTART|Lunch Canteen soup", "Private DTSTART|Doctor Hospital"},
	} {
		rights, _ := store.ParseRights(tt.role)
		w := b.world(store.MailboxID(200+i), rights|tt.also)
		list, err := w.Store.Objects(ctx, bob, w.box, []store.ItemID{w.public, w.private, w.bobs})
		w.must(err)
		for j, want := range []string{tt.public, tt.secret} {
			text := string(list[j].Text)
			if int(list[j].Size) != len(text) {
				t.Errorf("%s: size %d of %d bytes", tt.role, list[j].Size, len(text))
			}
			yes, no, _ := strings.Cut(want, "|")
			for word := range strings.FieldsSeq(yes) {
				if !strings.Contains(text, word) {
					t.Errorf("%s: no %s in %s", tt.role, word, text)
				}
			}
			for word := range strings.FieldsSeq(no) {
				if strings.Contains(text, word) {
					t.Errorf("%s: %s in %s", tt.role, word, text)
				}
			}
		}
		if tt.also == 0 && rights.Has(store.RightRead) {
			found, err := w.Store.FindObjects(ctx, bob, w.box, store.FindObjects{Text: "doctor"})
			if err != nil || len(found) != 0 {
				t.Errorf("%s finds %v, %v", tt.role, found, err)
			}
		}
		// What it made itself it sees as it is if it may read at all.
		if rights.Has(store.RightRead) != strings.Contains(string(list[2].Text), "By Bob") && tt.role != "free-busy-details" {
			t.Errorf("%s: %s", tt.role, list[2].Text)
		}
		views, err := w.Store.Views(ctx, bob, w.box)
		if err != nil || views[w.calendar] != rights|tt.also {
			t.Errorf("%s: views %v, %v", tt.role, views, err)
		}
		if views, err = w.Store.Views(ctx, carol, w.box); err != nil || views[w.calendar].View() != store.ViewBusy {
			t.Errorf("who was told nothing sees %v, %v", views, err)
		}
	}
}

// subscriptions walks through a share's life as its taker sees it.
func subscriptions(t *testing.T, b *suite) {
	ctx, s := t.Context(), b.Store
	w := b.world(50, store.ShareRoles[6].Rights)
	shared, err := s.SharedWith(ctx, bob)
	w.must(err)
	if len(shared) != 1 || shared[0].Box != w.box || shared[0].Owner != w.me().ID || shared[0].Folder.ID != w.calendar || shared[0].Folder.Rights.Role() != "reviewer" {
		t.Fatalf("shared with bob: %+v", shared)
	}
	if list, err := s.SharedWith(ctx, carol); err != nil || len(list) != 0 {
		t.Errorf("shared with carol: %v, %v", list, err)
	}
	wish := store.Subscription{Shared: store.Shared{Box: w.box, Folder: store.Folder{ID: w.calendar}}, Props: store.FolderProps{Color: "#00FF00"}}
	sub, err := s.SubscribeShared(ctx, bob, wish)
	w.must(err)
	again, err := s.SubscribeShared(ctx, bob, wish)
	if err != nil || again.ID != sub.ID {
		t.Errorf("again: %+v, %v", again, err)
	}
	mine, _, err := s.Folders(ctx, bob, 2)
	w.must(err)
	for _, f := range mine {
		if f.ID == sub.ID {
			t.Error("a subscription has a folder's id")
		}
	}
	_, err = s.UpdateSubscription(ctx, bob, sub.ID, func(x *store.Subscription) error { x.Name = "Ann"; return nil })
	w.must(err)
	list, err := s.Subscriptions(ctx, bob)
	if err != nil || len(list) != 1 || list[0].Name != "Ann" || list[0].Props.Color != "#00FF00" || list[0].Folder.Name != "Calendar" || list[0].Owner != w.me().ID {
		t.Fatalf("%+v, %v", list, err)
	}
	_, err = s.UpdateSubscription(ctx, carol, sub.ID, func(*store.Subscription) error { return nil })
	b.wantFault(err, fault.NotFound)
	b.wantFault(s.UnsubscribeShared(ctx, carol, sub.ID), fault.NotFound)

	// What was known before the rights changed is void; what is read afterwards stands.
	c, err := s.Changes(ctx, bob, w.box, w.calendar, store.Position{}, 100)
	w.must(err)
	watch := s.Watch(w.box)
	defer watch.Close()
	w.grant(w.calendar, bob.ID, store.ShareRoles[8].Rights)
	select {
	case <-watch.C():
	case <-time.After(10 * time.Second):
		t.Error("nobody heard that rights changed")
	}
	_, err = s.Changes(ctx, bob, w.box, w.calendar, c.Position, 100)
	b.wantFault(err, fault.Resync)
	if c, err = s.Changes(ctx, bob, w.box, w.calendar, store.Position{}, 100); err == nil {
		_, err = s.Changes(ctx, bob, w.box, w.calendar, c.Position, 100)
	}
	w.must(err)
	if _, err := s.Changes(ctx, w.me(), w.box, w.calendar, store.After(c.Folder.HighestSeq-1), 100); err != nil {
		t.Errorf("the owner begins anew: %v", err)
	}

	w.must(s.RemoveGrant(ctx, w.me(), w.box, w.calendar, bob.ID))
	if list, err := s.Subscriptions(ctx, bob); err != nil || len(list) != 0 {
		t.Errorf("after the end: %v, %v", list, err)
	}
	_, err = s.Folder(ctx, bob, w.box, w.calendar)
	b.wantFault(err, fault.NotFound)
	// It comes back as it was.
	w.grant(w.calendar, store.Everyone, store.ShareRoles[8].Rights)
	if list, err = s.Subscriptions(ctx, bob); err != nil || len(list) != 1 || list[0].ID != sub.ID {
		t.Errorf("again: %v, %v", list, err)
	}
	if list, err := s.SharedWith(ctx, bob); err != nil || len(list) != 0 {
		t.Errorf("what everyone has is listed: %v, %v", list, err)
	}
	// A grant of nothing shuts out.
	w.grant(w.calendar, bob.ID, 0)
	_, err = s.Folder(ctx, bob, w.box, w.calendar)
	b.wantFault(err, fault.NotFound)
	w.must(s.UnsubscribeShared(ctx, bob, sub.ID))

	// A folder below has the rights of the one above, and its maker owns it.
	w.grant(w.calendar, bob.ID, store.ShareRoles[1].Rights)
	below, err := s.CreateFolder(ctx, bob, w.box, store.Folder{Parent: w.calendar, Name: "Team", Class: store.ClassCalendar})
	w.must(err)
	if _, err := s.RenameFolder(ctx, bob, w.box, below.ID, w.calendar, "Team 2"); err != nil {
		t.Error(err)
	}
	if _, err := s.ObjectList(ctx, carol, w.box, below.ID, 0, 1); err != nil {
		t.Error(err)
	}
	w.must(s.DeleteFolder(ctx, bob, w.box, below.ID, false))
	if err := s.SetGrant(ctx, w.me(), w.box, w.me().ID, w.tasks, store.Grant{To: bob.ID, Rights: store.RightFreeBusy}); fault.Of(err) != fault.Invalid {
		t.Error(err)
	}
	if err := errors.Join(s.RemoveGrant(ctx, w.me(), w.box, w.calendar, bob.ID), s.RemoveGrant(ctx, w.me(), w.box, w.calendar, 12345)); err != nil {
		t.Error(err)
	}
}
