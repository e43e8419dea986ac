package imap

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/store"
)

// memStore is a mailbox store in memory, with the promises of store.Store that
// this door relies on: numbers in order, positions, tombstones, floors, pages.
type memStore struct {
	mu    sync.Mutex
	boxes map[store.MailboxID]*memBox
	calls map[string]int
	page  int                       // most rows a page gives out, to force paging; 0: as asked
	fail  func(method string) error // faults on demand
}

type memBox struct {
	seq, hierarchy store.Seq
	next           int64
	folders        []*memFolder
	watchers       map[*memWatcher]bool
	quota, used    int64
	once           map[string]store.Added
}

type memFolder struct {
	store.Folder
	items []*memItem
	tombs []store.Tombstone
}

type memItem struct {
	entry store.Entry
	msg   *store.Message
	data  []byte
}

type memWatcher struct {
	box *memBox
	s   *memStore
	c   chan struct{}
}

func (w *memWatcher) C() <-chan struct{} { return w.c }

func (w *memWatcher) Close() {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	delete(w.box.watchers, w)
}

func newMemStore() *memStore {
	return &memStore{boxes: map[store.MailboxID]*memBox{}, calls: map[string]int{}}
}

// enter locks the store for a method; leave with unlock.
func (s *memStore) enter(method string, as directory.Principal, id store.MailboxID) (*memBox, error) {
	s.mu.Lock()
	s.calls[method]++
	if s.fail != nil {
		if err := s.fail(method); err != nil {
			s.mu.Unlock()
			return nil, err
		}
	}
	if !as.MayUse(id) {
		s.mu.Unlock()
		return nil, fault.New(fault.Denied, "not yours")
	}
	return s.box(id), nil
}

func (s *memStore) box(id store.MailboxID) *memBox {
	b := s.boxes[id]
	if b == nil {
		b = &memBox{next: 1, watchers: map[*memWatcher]bool{}, once: map[string]store.Added{}}
		s.boxes[id] = b
		for _, f := range []struct {
			name  string
			role  store.Role
			class store.Class
		}{
			{"Inbox", store.RoleInbox, store.ClassMail},
			{"Drafts", store.RoleDrafts, store.ClassMail},
			{"Sent Items", store.RoleSent, store.ClassMail},
			{"Deleted Items", store.RoleTrash, store.ClassMail},
			{"Junk E-mail", store.RoleJunk, store.ClassMail},
			{"Outbox", store.RoleOutbox, store.ClassMail},
			{"Calendar", store.RoleCalendar, store.ClassCalendar},
			{"Contacts", store.RoleContacts, store.ClassContacts},
			{"Tasks", store.RoleTasks, store.ClassTasks},
			{"Notes", store.RoleNotes, store.ClassNotes},
			{"Journal", store.RoleJournal, store.ClassJournal},
		} {
			b.newFolder(store.Folder{Name: f.name, Role: f.role, Class: f.class, Subscribed: true})
		}
	}
	return b
}

func (b *memBox) newFolder(f store.Folder) *memFolder {
	b.seq++
	b.hierarchy = b.seq
	f.ID = store.FolderID(b.next)
	b.next++
	f.UIDValidity, f.UIDNext, f.HighestSeq, f.Changed = 1000+uint32(f.ID), 1, b.seq, b.seq
	mf := &memFolder{Folder: f}
	b.folders = append(b.folders, mf)
	return mf
}

func (b *memBox) find(id store.FolderID) (*memFolder, error) {
	for _, f := range b.folders {
		if f.ID == id {
			return f, nil
		}
	}
	return nil, fault.New(fault.NotFound, "no such folder")
}

func (b *memBox) item(id store.ItemID) (*memFolder, *memItem) {
	for _, f := range b.folders {
		for _, it := range f.items {
			if it.entry.Item == id {
				return f, it
			}
		}
	}
	return nil, nil
}

// done numbers counts and wakes; the caller holds the lock.
func (b *memBox) done(folders ...*memFolder) {
	for _, f := range folders {
		f.HighestSeq = b.seq
		f.Total, f.Unread, f.Deleted, f.Size = len(f.items), 0, 0, 0
		for _, it := range f.items {
			f.Size += it.entry.Size
			if it.entry.Flags&store.Seen == 0 {
				f.Unread++
			}
			if it.entry.Flags&store.Deleted != 0 {
				f.Deleted++
			}
		}
	}
	b.used = 0
	for _, f := range b.folders {
		b.used += f.Size
	}
	for w := range b.watchers {
		select {
		case w.c <- struct{}{}:
		default:
		}
	}
}

func (s *memStore) Mailbox(_ context.Context, as directory.Principal, id store.MailboxID) (store.Mailbox, error) {
	b, err := s.enter("Mailbox", as, id)
	if err != nil {
		return store.Mailbox{}, err
	}
	defer s.mu.Unlock()
	return store.Mailbox{ID: id, Seq: b.seq, Hierarchy: b.hierarchy, Used: b.used, Quota: b.quota}, nil
}

func (s *memStore) Watch(id store.MailboxID) store.Watcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &memWatcher{s.box(id), s, make(chan struct{}, 1)}
	w.box.watchers[w] = true
	return w
}

func (s *memStore) Folders(_ context.Context, as directory.Principal, id store.MailboxID) ([]store.Folder, store.Seq, error) {
	b, err := s.enter("Folders", as, id)
	if err != nil {
		return nil, 0, err
	}
	defer s.mu.Unlock()
	var all []store.Folder
	placed := map[store.FolderID]bool{0: true}
	for len(all) < len(b.folders) { // parents before children
		for _, f := range b.folders {
			if placed[f.Parent] && !placed[f.ID] {
				placed[f.ID] = true
				all = append(all, f.Folder)
			}
		}
	}
	return all, b.hierarchy, nil
}

func (b *memBox) free(parent store.FolderID, name string, role store.Role) error {
	if name == "" || len(name) > 250 || strings.Contains(name, "/") {
		return fault.New(fault.Invalid, "not a folder name")
	}
	for _, f := range b.folders {
		if f.Parent == parent && strings.EqualFold(f.Name, name) || role != "" && f.Role == role {
			return fault.New(fault.Exists, "there is such a folder")
		}
	}
	return nil
}

func (s *memStore) CreateFolder(_ context.Context, as directory.Principal, id store.MailboxID, f store.Folder) (store.Folder, error) {
	b, err := s.enter("CreateFolder", as, id)
	if err != nil {
		return store.Folder{}, err
	}
	defer s.mu.Unlock()
	if err := b.free(f.Parent, f.Name, f.Role); err != nil {
		return store.Folder{}, err
	}
	mf := b.newFolder(f)
	b.done()
	return mf.Folder, nil
}

func (s *memStore) RenameFolder(_ context.Context, as directory.Principal, id store.MailboxID, folder, parent store.FolderID, name string) (store.Folder, error) {
	b, err := s.enter("RenameFolder", as, id)
	if err != nil {
		return store.Folder{}, err
	}
	defer s.mu.Unlock()
	f, err := b.find(folder)
	if err != nil {
		return store.Folder{}, err
	}
	if f.Role != "" {
		return store.Folder{}, fault.New(fault.Denied, "a standard folder")
	}
	if err := b.free(parent, name, ""); err != nil {
		return store.Folder{}, err
	}
	b.seq++
	b.hierarchy, f.Changed, f.Parent, f.Name = b.seq, b.seq, parent, name
	b.done()
	return f.Folder, nil
}

func (s *memStore) DeleteFolder(_ context.Context, as directory.Principal, id store.MailboxID, folder store.FolderID, deep bool) error {
	b, err := s.enter("DeleteFolder", as, id)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	f, err := b.find(folder)
	if err != nil {
		return err
	}
	if f.Role != "" {
		return fault.New(fault.Denied, "a standard folder")
	}
	for _, c := range b.folders {
		if c.Parent == folder && !deep {
			return fault.New(fault.Conflict, "it has folders below")
		}
	}
	b.seq++
	b.hierarchy = b.seq
	b.folders = slices.DeleteFunc(b.folders, func(c *memFolder) bool { return c.ID == folder || c.Parent == folder })
	b.done()
	return nil
}

func (s *memStore) SubscribeFolder(_ context.Context, as directory.Principal, id store.MailboxID, folder store.FolderID, on bool) error {
	b, err := s.enter("SubscribeFolder", as, id)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	f, err := b.find(folder)
	if err != nil {
		return err
	}
	b.seq++
	b.hierarchy, f.Changed, f.Subscribed = b.seq, b.seq, on
	b.done()
	return nil
}

func (s *memStore) limit(n int) int {
	if s.page > 0 {
		return min(n, s.page)
	}
	return n
}

func (s *memStore) Entries(_ context.Context, as directory.Principal, id store.MailboxID, folder store.FolderID, after store.UID, limit int) (store.Folder, []store.Entry, error) {
	b, err := s.enter("Entries", as, id)
	if err != nil {
		return store.Folder{}, nil, err
	}
	defer s.mu.Unlock()
	f, err := b.find(folder)
	if err != nil {
		return store.Folder{}, nil, err
	}
	var page []store.Entry
	for _, it := range f.items {
		if it.entry.UID > after && len(page) < limit {
			page = append(page, it.entry)
		}
	}
	return f.Folder, page, nil
}

func (s *memStore) EntriesOf(_ context.Context, as directory.Principal, id store.MailboxID, items []store.ItemID) ([]store.Entry, error) {
	b, err := s.enter("EntriesOf", as, id)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if len(items) > 1000 {
		return nil, fault.New(fault.Invalid, "too many")
	}
	var page []store.Entry
	for _, i := range items {
		if _, it := b.item(i); it != nil {
			page = append(page, it.entry)
		}
	}
	return page, nil
}

func (s *memStore) Changes(_ context.Context, as directory.Principal, id store.MailboxID, folder store.FolderID, since store.Position, limit int) (store.Changes, error) {
	b, err := s.enter("Changes", as, id)
	if err != nil {
		return store.Changes{}, err
	}
	defer s.mu.Unlock()
	f, err := b.find(folder)
	if err != nil {
		return store.Changes{}, err
	}
	if since.Seq < f.Floor {
		return store.Changes{}, fault.New(fault.Resync, "too old")
	}
	type event struct {
		pos   store.Position
		entry *store.Entry
		tomb  *store.Tombstone
	}
	var all []event
	later := func(p store.Position) bool {
		return p.Seq > since.Seq || p.Seq == since.Seq && p.Item > since.Item
	}
	for _, it := range f.items {
		if p := (store.Position{Seq: it.entry.Changed, Item: it.entry.Item}); later(p) {
			all = append(all, event{p, &it.entry, nil})
		}
	}
	for i := range f.tombs {
		t := &f.tombs[i]
		if p := (store.Position{Seq: t.Left, Item: t.Item}); later(p) && t.Entered <= since.Seq {
			all = append(all, event{p, nil, t})
		}
	}
	slices.SortFunc(all, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.pos.Seq, b.pos.Seq), cmp.Compare(a.pos.Item, b.pos.Item))
	})
	c := store.Changes{Folder: f.Folder, Position: store.Position{Seq: f.HighestSeq, Item: math.MaxInt64}}
	if n := s.limit(limit); len(all) > n {
		all, c.More = all[:n], true
		c.Position = all[n-1].pos
	}
	for _, e := range all {
		if e.entry != nil {
			c.Changed = append(c.Changed, *e.entry)
		} else {
			c.Gone = append(c.Gone, *e.tomb)
		}
	}
	return c, nil
}

func (s *memStore) Messages(_ context.Context, as directory.Principal, id store.MailboxID, items []store.ItemID) ([]*store.Message, error) {
	b, err := s.enter("Messages", as, id)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if len(items) > 1000 {
		return nil, fault.New(fault.Invalid, "too many")
	}
	index := map[store.ItemID]*memItem{}
	for _, f := range b.folders {
		for _, it := range f.items {
			index[it.entry.Item] = it
		}
	}
	page := make([]*store.Message, len(items))
	for k, i := range items {
		if it := index[i]; it != nil {
			page[k] = it.msg
		}
	}
	return page, nil
}

func (s *memStore) Content(_ context.Context, as directory.Principal, id store.MailboxID, item store.ItemID) (store.Content, error) {
	b, err := s.enter("Content", as, id)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	_, it := b.item(item)
	if it == nil {
		return nil, fault.New(fault.NotFound, "no such item")
	}
	return bytes.NewReader(append(slices.Clone(it.msg.Prefix), it.data...)), nil
}

type memBlob struct {
	bytes.Buffer
	s *memStore
}

// blobs hands the content from NewBlob to Add, as a database would by hash.
var blobs sync.Map

func (s *memStore) NewBlob(context.Context, string) (store.BlobWriter, error) {
	if s.fail != nil {
		if err := s.fail("NewBlob"); err != nil {
			return nil, err
		}
	}
	return &memBlob{s: s}, nil
}

func (w *memBlob) Close(context.Context) (store.Blob, error) {
	b := store.Blob{Hash: sha256.Sum256(w.Bytes()), Size: int64(w.Len())}
	blobs.Store(b.Hash, w.Bytes())
	return b, nil
}

func (w *memBlob) Abort() {}

func (s *memStore) Add(_ context.Context, as directory.Principal, id store.MailboxID, m store.NewMessage) (store.Added, error) {
	b, err := s.enter("Add", as, id)
	if err != nil {
		return store.Added{}, err
	}
	defer s.mu.Unlock()
	var f *memFolder
	for _, c := range b.folders {
		if c.ID == m.Folder || m.Folder == 0 && c.Role == cmp.Or(m.Role, store.RoleInbox) {
			f = c
		}
	}
	if f == nil {
		return store.Added{}, fault.New(fault.NotFound, "no such folder")
	}
	data, ok := blobs.Load(m.Blob.Hash)
	if !ok {
		return store.Added{}, fault.New(fault.Invalid, "no such blob")
	}
	size := int64(len(m.Prefix) + len(data.([]byte)))
	if b.quota > 0 && b.used+size > b.quota {
		return store.Added{}, fault.New(fault.OverQuota, "Mailbox is full")
	}
	if m.Received.IsZero() {
		m.Received = time.Now()
	}
	b.seq++
	it := &memItem{data: data.([]byte)}
	it.entry = store.Entry{
		Item: store.ItemID(b.next), UID: f.UIDNext, Folder: f.ID, Flags: m.Flags, Keywords: sortedWords(m.Keywords),
		Size: size, Received: m.Received, Entered: b.seq, Changed: b.seq,
	}
	it.msg = &store.Message{Item: it.entry.Item, Thread: store.ThreadID(b.next + 1000), Size: size, Prefix: m.Prefix, Summary: m.Summary}
	b.next++
	f.UIDNext++
	f.items = append(f.items, it)
	b.done(f)
	return store.Added{Entry: it.entry, UIDValidity: f.UIDValidity, Thread: it.msg.Thread}, nil
}

func sortedWords(w []string) []string {
	w = slices.Clone(w)
	slices.Sort(w)
	return slices.Compact(w)
}

func (s *memStore) Flag(_ context.Context, as directory.Principal, id store.MailboxID, c store.FlagChange) (store.FlagResult, error) {
	b, err := s.enter("Flag", as, id)
	if err != nil {
		return store.FlagResult{}, err
	}
	defer s.mu.Unlock()
	f, err := b.find(c.Folder)
	if err != nil {
		return store.FlagResult{}, err
	}
	var res store.FlagResult
	next := b.seq + 1
	changed := false
	for _, id := range c.Items {
		for _, it := range f.items {
			if it.entry.Item != id {
				continue
			}
			e := &it.entry
			was := e.Changed
			if c.UnchangedSince != nil && e.Changed > *c.UnchangedSince {
				res.Modified = append(res.Modified, id)
			} else {
				flags := e.Flags&^c.Clear | c.Set
				words := slices.Clone(e.Keywords)
				if c.Replace {
					words = nil
				}
				words = slices.DeleteFunc(words, func(w string) bool { return slices.Contains(c.Remove, w) })
				words = sortedWords(append(words, c.Add...))
				if flags != e.Flags || !slices.Equal(words, e.Keywords) {
					e.Flags, e.Keywords, e.Changed = flags, words, next
					changed = true
				}
			}
			res.Entries = append(res.Entries, *e)
			res.Was = append(res.Was, was)
		}
	}
	if changed {
		b.seq = next
		res.Seq = next
		b.done(f)
	}
	return res, nil
}

func (s *memStore) Copy(_ context.Context, as directory.Principal, id store.MailboxID, from store.FolderID, items []store.ItemID, to store.FolderID) (store.PlaceResult, error) {
	return s.place("Copy", as, id, from, items, to)
}

func (s *memStore) Move(_ context.Context, as directory.Principal, id store.MailboxID, from store.FolderID, items []store.ItemID, to store.FolderID) (store.PlaceResult, error) {
	return s.place("Move", as, id, from, items, to)
}

func (s *memStore) place(method string, as directory.Principal, id store.MailboxID, from store.FolderID, items []store.ItemID, to store.FolderID) (store.PlaceResult, error) {
	b, err := s.enter(method, as, id)
	if err != nil {
		return store.PlaceResult{}, err
	}
	defer s.mu.Unlock()
	src, err := b.find(from)
	if err != nil {
		return store.PlaceResult{}, err
	}
	dst, err := b.find(to)
	if err != nil {
		return store.PlaceResult{}, err
	}
	res := store.PlaceResult{Seq: b.seq + 1, UIDValidity: dst.UIDValidity}
	var found []*memItem
	for _, id := range items {
		at := slices.IndexFunc(src.items, func(it *memItem) bool { return it.entry.Item == id })
		if at < 0 {
			if method == "Copy" {
				return store.PlaceResult{}, fault.New(fault.NotFound, "an item is gone")
			}
			continue
		}
		found = append(found, src.items[at])
	}
	b.seq++
	for _, it := range found {
		p := store.Placed{Item: it.entry.Item, UID: it.entry.UID, To: it.entry.Item, Was: it.entry.Changed}
		if method == "Move" && src == dst {
			p.ToUID = p.UID
			res.Placed = append(res.Placed, p)
			continue
		}
		n := *it
		if method == "Copy" {
			n.entry.Item = store.ItemID(b.next)
			b.next++
			m := *it.msg
			m.Item = n.entry.Item
			n.msg = &m
			p.To = n.entry.Item
		} else {
			src.items = slices.DeleteFunc(src.items, func(x *memItem) bool { return x == it })
			src.tombs = append(src.tombs, store.Tombstone{Item: it.entry.Item, UID: it.entry.UID, Entered: it.entry.Entered, Left: b.seq})
		}
		n.entry.Folder, n.entry.UID, n.entry.Entered, n.entry.Changed = dst.ID, dst.UIDNext, b.seq, b.seq
		dst.UIDNext++
		p.ToUID = n.entry.UID
		dst.items = append(dst.items, &n)
		res.Placed = append(res.Placed, p)
	}
	b.done(src, dst)
	return res, nil
}

func (s *memStore) Delete(_ context.Context, as directory.Principal, id store.MailboxID, folder store.FolderID, items []store.ItemID, onlyMarked bool) (store.Seq, []store.Tombstone, error) {
	b, err := s.enter("Delete", as, id)
	if err != nil {
		return 0, nil, err
	}
	defer s.mu.Unlock()
	f, err := b.find(folder)
	if err != nil {
		return 0, nil, err
	}
	want := map[store.ItemID]bool{}
	for _, i := range items {
		want[i] = true
	}
	var out []store.Tombstone
	f.items = slices.DeleteFunc(f.items, func(it *memItem) bool {
		e := &it.entry
		if !want[e.Item] || onlyMarked && e.Flags&store.Deleted == 0 {
			return false
		}
		out = append(out, store.Tombstone{Item: e.Item, UID: e.UID, Entered: e.Entered, Left: b.seq + 1})
		return true
	})
	if len(out) == 0 {
		return 0, nil, nil
	}
	b.seq++
	f.tombs = append(f.tombs, out...)
	b.done(f)
	return b.seq, out, nil
}

// forget makes a folder's positions so far too old.
func (s *memStore) forget(id store.MailboxID, folder string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.box(id).folders {
		if f.Name == folder {
			f.Floor, f.tombs = f.HighestSeq+1, nil
			s.box(id).seq++
			f.HighestSeq = s.box(id).seq
		}
	}
}

// deliver adds a message as a delivery would: with a trace header.
func (s *memStore) deliver(t testing.TB, p directory.Principal, text string) store.Added {
	t.Helper()
	ctx := t.Context()
	w, err := s.NewBlob(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	b, err := w.Close(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := mail.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.Add(ctx, p, p.Mailbox, store.NewMessage{
		Blob: b, Summary: sum, Prefix: []byte("Return-Path: <sender@example.test>\r\n"),
		Received: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC),
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// WithWords knows nothing: every message is looked at.
func (s *memStore) WithWords(_ context.Context, as directory.Principal, id store.MailboxID, _ store.WordQuery) (store.WithWords, error) {
	_, err := s.enter("WithWords", as, id)
	if err == nil {
		s.mu.Unlock()
	}
	return store.WithWords{}, err
}
