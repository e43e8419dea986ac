package eas

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

// fake is a mailbox, a directory and a sign-in of one organisation in memory,
// for the commands that touch no mail.
type fake struct {
	store.Store // the rest is not asked for, and panics

	mu       sync.Mutex
	folders  []store.Folder
	tree     store.Seq
	seq      store.Seq
	next     store.FolderID
	devices  map[string]store.Device
	states   map[string]store.SyncState
	settings store.Settings
	watchers map[*fakeWatcher]bool
	people   []directory.User
	failing  error // what every call returns, if not nil
	panics   bool
	most     int // devices
}

func newFake() *fake {
	f := &fake{devices: map[string]store.Device{}, states: map[string]store.SyncState{}, watchers: map[*fakeWatcher]bool{}, next: 1, most: 100}
	for _, std := range []struct {
		name  string
		role  store.Role
		class store.Class
	}{
		{"Inbox", store.RoleInbox, store.ClassMail},
		{"Drafts", store.RoleDrafts, store.ClassMail},
		{"Sent Items", store.RoleSent, store.ClassMail},
		{"Deleted Items", store.RoleTrash, store.ClassMail},
		{"Journal", store.RoleJournal, store.ClassJournal},
		{"Diary", store.RoleNone, store.ClassJournal},
	} {
		f.put(store.Folder{Name: std.name, Role: std.role, Class: std.class})
	}
	f.people = []directory.User{
		{
			ID: 1, Address: "ann@example.test", Addresses: []string{"ann@example.test", "a.miller@example.test"}, Name: "Ann Miller",
			Given: "Ann", Surname: "Miller", Account: "ann", Mailbox: 7, Phone: "+49 30 1", Title: "Editor",
		},
		{ID: 2, Address: "anton@example.test", Addresses: []string{"anton@example.test"}, Name: "Anton", Account: "anton", Mailbox: 8},
		{ID: 3, Address: "none@example.test", Name: "Nobody", Account: "none"},
	}
	return f
}

func (f *fake) put(x store.Folder) store.Folder {
	x.ID = f.next
	f.next++
	f.seq++
	f.tree, x.Changed = f.seq, f.seq
	f.folders = append(f.folders, x)
	return x
}

func (f *fake) enter(as directory.Principal, box store.MailboxID) (func(), error) {
	f.mu.Lock()
	if f.panics {
		f.mu.Unlock()
		panic("the fake was told to")
	}
	if f.failing != nil {
		defer f.mu.Unlock()
		return nil, f.failing
	}
	if !as.MayUse(box) {
		defer f.mu.Unlock()
		return nil, fault.New(fault.Denied, "not yours")
	}
	return f.mu.Unlock, nil
}

func (f *fake) wake() {
	for w := range f.watchers {
		select {
		case w.c <- struct{}{}:
		default:
		}
	}
}

// arrive puts something new into a folder.
func (f *fake) arrive(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.folders {
		if f.folders[i].Name == name {
			f.seq++
			f.folders[i].HighestSeq = f.seq
			f.wake()
			return nil
		}
	}
	return fmt.Errorf("no folder %q", name)
}

func (f *fake) at(id store.FolderID) int {
	return slices.IndexFunc(f.folders, func(x store.Folder) bool { return x.ID == id })
}

func (f *fake) Folders(_ context.Context, as directory.Principal, box store.MailboxID) ([]store.Folder, store.Seq, error) {
	leave, err := f.enter(as, box)
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	return slices.Clone(f.folders), f.tree, nil
}

func (f *fake) Folder(_ context.Context, as directory.Principal, box store.MailboxID, id store.FolderID) (store.Folder, error) {
	leave, err := f.enter(as, box)
	if err != nil {
		return store.Folder{}, err
	}
	defer leave()
	if i := f.at(id); i >= 0 {
		return f.folders[i], nil
	}
	return store.Folder{}, fault.New(fault.NotFound, "no such folder")
}

func (f *fake) free(id, parent store.FolderID, name string) error {
	if parent != 0 && f.at(parent) < 0 {
		return fault.New(fault.NotFound, "no such parent")
	}
	for _, x := range f.folders {
		if x.ID != id && x.Parent == parent && strings.EqualFold(x.Name, name) {
			return fault.New(fault.Exists, "taken")
		}
	}
	return nil
}

func (f *fake) CreateFolder(_ context.Context, as directory.Principal, box store.MailboxID, x store.Folder) (store.Folder, error) {
	leave, err := f.enter(as, box)
	if err != nil {
		return store.Folder{}, err
	}
	defer leave()
	if err := f.free(0, x.Parent, x.Name); err != nil {
		return store.Folder{}, err
	}
	x = f.put(x)
	f.wake()
	return x, nil
}

func (f *fake) RenameFolder(_ context.Context, as directory.Principal, box store.MailboxID, id, parent store.FolderID, name string) (store.Folder, error) {
	leave, err := f.enter(as, box)
	if err != nil {
		return store.Folder{}, err
	}
	defer leave()
	i := f.at(id)
	if i < 0 {
		return store.Folder{}, fault.New(fault.NotFound, "no such folder")
	}
	if f.folders[i].Role != store.RoleNone {
		return store.Folder{}, fault.New(fault.Denied, "a standard folder")
	}
	if err := f.free(id, parent, name); err != nil {
		return store.Folder{}, err
	}
	f.seq++
	f.tree = f.seq
	f.folders[i].Parent, f.folders[i].Name = parent, name
	f.wake()
	return f.folders[i], nil
}

func (f *fake) DeleteFolder(_ context.Context, as directory.Principal, box store.MailboxID, id store.FolderID, _ bool) error {
	leave, err := f.enter(as, box)
	if err != nil {
		return err
	}
	defer leave()
	i := f.at(id)
	if i < 0 {
		return fault.New(fault.NotFound, "no such folder")
	}
	if f.folders[i].Role != store.RoleNone {
		return fault.New(fault.Denied, "a standard folder")
	}
	f.seq++
	f.tree = f.seq
	f.folders = slices.DeleteFunc(f.folders, func(x store.Folder) bool { return x.ID == id || x.Parent == id })
	f.wake()
	return nil
}

func (f *fake) SyncState(_ context.Context, as directory.Principal, box store.MailboxID, client, scope string) (store.SyncState, error) {
	leave, err := f.enter(as, box)
	if err != nil {
		return store.SyncState{}, err
	}
	defer leave()
	return f.states[client+" "+scope], nil
}

func (f *fake) SaveSyncState(_ context.Context, as directory.Principal, box store.MailboxID, client, scope string, was int64, data []byte, replaceOnly bool) error {
	leave, err := f.enter(as, box)
	if err != nil {
		return err
	}
	defer leave()
	key := client + " " + scope
	st := f.states[key]
	switch {
	case st.Generation != was || replaceOnly && was == 0:
		return fault.New(fault.Conflict, "another generation")
	case replaceOnly:
		st.Data = data
	default:
		st = store.SyncState{Generation: was + 1, Data: data, Previous: st.Data}
	}
	f.states[key] = st
	return nil
}

func (f *fake) DropSyncStates(_ context.Context, as directory.Principal, box store.MailboxID, client, prefix string) error {
	leave, err := f.enter(as, box)
	if err != nil {
		return err
	}
	defer leave()
	maps.DeleteFunc(f.states, func(k string, _ store.SyncState) bool { return strings.HasPrefix(k, client+" "+prefix) })
	return nil
}

func (f *fake) Device(_ context.Context, as directory.Principal, box store.MailboxID, id string) (store.Device, error) {
	leave, err := f.enter(as, box)
	if err != nil {
		return store.Device{}, err
	}
	defer leave()
	d, ok := f.devices[id]
	if !ok {
		return store.Device{}, fault.New(fault.NotFound, "no such device")
	}
	return d, nil
}

func (f *fake) UpdateDevice(_ context.Context, as directory.Principal, box store.MailboxID, id string, fn func(*store.Device) error) (store.Device, error) {
	leave, err := f.enter(as, box)
	if err != nil {
		return store.Device{}, err
	}
	defer leave()
	d, ok := f.devices[id]
	if !ok && len(f.devices) >= f.most {
		return store.Device{}, fault.New(fault.Limit, "too many devices")
	}
	d.ID = id
	if err := fn(&d); err != nil {
		return store.Device{}, err
	}
	f.devices[id] = d
	return d, nil
}

func (f *fake) Settings(_ context.Context, as directory.Principal, box store.MailboxID) (store.Settings, error) {
	leave, err := f.enter(as, box)
	if err != nil {
		return store.Settings{}, err
	}
	defer leave()
	return f.settings, nil
}

func (f *fake) UpdateSettings(_ context.Context, as directory.Principal, box store.MailboxID, fn func(*store.Settings) error) (store.Settings, error) {
	leave, err := f.enter(as, box)
	if err != nil {
		return store.Settings{}, err
	}
	defer leave()
	if err := fn(&f.settings); err != nil {
		return store.Settings{}, err
	}
	return f.settings, nil
}

type fakeWatcher struct {
	f *fake
	c chan struct{}
}

func (w *fakeWatcher) C() <-chan struct{} { return w.c }

func (w *fakeWatcher) Close() {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	delete(w.f.watchers, w)
}

func (f *fake) Watch(store.MailboxID) store.Watcher {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &fakeWatcher{f, make(chan struct{}, 1)}
	f.watchers[w] = true
	return w
}

func (f *fake) SignIn(_ context.Context, c directory.Credentials) (directory.Principal, error) {
	if c.Password != "secret" && c.Password != "pässword" {
		return directory.Principal{}, fault.New(fault.Unauthenticated, "no")
	}
	for _, u := range f.people {
		if strings.EqualFold(c.Login, u.Account) || strings.EqualFold(c.Login, u.Address) || strings.EqualFold(c.Login, `EXAMPLE\`+u.Account) {
			return directory.Principal{ID: u.ID, Mailbox: u.Mailbox, Address: u.Address, Name: u.Name}, nil
		}
	}
	return directory.Principal{}, fault.New(fault.Unauthenticated, "no")
}

func (f *fake) User(_ context.Context, _ directory.Principal, id directory.ObjectID) (directory.User, error) {
	for _, u := range f.people {
		if u.ID == id {
			return u, nil
		}
	}
	return directory.User{}, fault.New(fault.NotFound, "no such user")
}

func (f *fake) People(_ context.Context, _ directory.Principal, q directory.PeopleQuery) ([]directory.User, int, error) {
	var hits []directory.User
	for _, u := range f.people {
		if u.Mailbox != 0 && (strings.HasPrefix(strings.ToLower(u.Name), strings.ToLower(q.Text)) || strings.EqualFold(u.Address, q.Text)) {
			hits = append(hits, u)
		}
	}
	total := len(hits)
	hits = hits[min(q.Offset, total):]
	return hits[:min(q.Limit, len(hits))], total, nil
}

func (f *fake) Photo(context.Context, directory.Principal, directory.ObjectID) ([]byte, error) {
	return nil, fault.New(fault.NotFound, "no photo")
}

func (f *fake) device(id string, fn func(*store.Device)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.devices[id]
	if !ok {
		return fmt.Errorf("no device %q", id)
	}
	fn(&d)
	f.devices[id] = d
	return nil
}

// does are what conversations may do behind the phone's back.
func (f *fake) does(s *Server) map[string]func([]string) error {
	dev := func(fn func(*store.Device)) func([]string) error {
		return func(a []string) error { return f.device(a[0], fn) }
	}
	who := directory.Principal{ID: 1, Mailbox: 7}
	ctx := context.Background()
	folder := func(name string) store.FolderID {
		for _, x := range f.folders {
			if x.Name == name {
				return x.ID
			}
		}
		return 0
	}
	return map[string]func([]string) error{
		"block":        dev(func(d *store.Device) { d.Blocked = true }),
		"allow":        dev(func(d *store.Device) { d.Blocked, d.Wipe = false, "" }),
		"wipe":         dev(func(d *store.Device) { d.Wipe = "pending" }),
		"wipe-account": dev(func(d *store.Device) { d.Wipe, d.WipeAccount = "pending", true }),
		"policy": func(a []string) error {
			p := &Policy{Password: true, MinLength: 4, MaxAttempts: 8, LockAfter: 5 * time.Minute, Recovery: true}
			switch a[0] {
			case "none":
				p = nil
			case "stricter":
				p.MinLength = 6
			case "legacy":
				p.AllowLegacy = true
			}
			s.opt.Policy = p
			return nil
		},
		"make": func(a []string) error {
			_, err := f.CreateFolder(ctx, who, 7, store.Folder{Name: a[0], Class: store.ClassMail})
			return err
		},
		"rename": func(a []string) error {
			_, err := f.RenameFolder(ctx, who, 7, folder(a[0]), 0, a[1])
			return err
		},
		"delete": func(a []string) error { return f.DeleteFolder(ctx, who, 7, folder(a[0]), true) },
		"arrive": func(a []string) error { return f.arrive(strings.Join(a, " ")) },
		// synced is what Sync leaves behind: a key that covers all there is.
		"synced": func(a []string) error {
			x, err := f.Folder(ctx, who, 7, folder(strings.Join(a[1:], " ")))
			if err != nil {
				return err
			}
			st := f.states["eas/"+a[0]+" "+collectionScope(x.ID)]
			return f.SaveSyncState(ctx, who, 7, "eas/"+a[0], collectionScope(x.ID), st.Generation, seen{Seq: x.HighestSeq}.append(nil), false)
		},
		"has-states": func(a []string) error {
			n := 0
			for k := range f.states {
				if strings.HasPrefix(k, "eas/"+a[0]+" ") {
					n++
				}
			}
			if strconv.Itoa(n) != a[1] {
				return fmt.Errorf("%d states, want %s", n, a[1])
			}
			return nil
		},
		"has-device": func(a []string) error {
			d, ok := f.devices[a[0]]
			if want := a[1] == "yes"; ok != want {
				return fmt.Errorf("device known: %v", ok)
			}
			got := strings.Join(strings.Fields(fmt.Sprint(d.Type, " ", d.Version, " ", d.Wipe, " ", d.Info["Model"])), " ")
			if len(a) > 2 && got != strings.Join(a[2:], " ") {
				return fmt.Errorf("device %q", got)
			}
			return nil
		},
		"fail": func(a []string) error {
			f.failing = nil
			for _, k := range fault.Kinds() {
				if k.String() == strings.Join(a, " ") {
					f.failing = fault.New(k, "as told")
				}
			}
			return nil
		},
		"panic": func(a []string) error { f.panics = a[0] == "on"; return nil },
	}
}

func newTestServer(t testing.TB, opt Options) (*fake, *Server) {
	t.Helper()
	f := newFake()
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	s := New(f, f, f, opt)
	t.Cleanup(s.Stop)
	return f, s
}

func TestConversations(t *testing.T) {
	converse(t, "frame-*.txt", func(t *testing.T) (http.Handler, map[string]func([]string) error) {
		f, s := newTestServer(t, Options{MinHeartbeat: time.Second, MaxFolders: 3, Seal: func(b []byte) ([]byte, error) { return b, nil }})
		return s, f.does(s)
	})
}
