package eas

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/store"
)

func (f *fake) MaySendAs(_ context.Context, as directory.Principal, address string) (bool, error) {
	for _, u := range f.people {
		if u.ID == as.ID && slices.ContainsFunc(u.Addresses, func(a string) bool { return strings.EqualFold(a, address) }) {
			return true, nil
		}
	}
	return false, nil
}

// memory is a fake with mail: one mailbox in memory with the store's promises.
type memory struct {
	*fake
	items  map[store.ItemID]*memItem
	tombs  []memTomb
	blobs  map[[32]byte][]byte
	once   map[string]store.ItemID
	sent   map[string]store.Outgoing
	outbox []store.Outgoing
	floor  map[store.FolderID]store.Seq
	lastID store.ItemID
	calls  map[string]int
	zone   string // of calendars

	conflicts int    // saves of a state that find another generation
	failures  int    // saves that fail, as when the process dies before them
	between   func() // called before each call that reads or changes items
}

type memItem struct {
	e       store.Entry
	m       store.Message
	content []byte
	obj     *store.Object // nil: a message
	gone    bool          // recoverable
}

type memTomb struct {
	folder store.FolderID
	t      store.Tombstone
}

func newMemory() *memory {
	f := newFake()
	for _, std := range []struct {
		name  string
		role  store.Role
		class store.Class
	}{
		{"Calendar", store.RoleCalendar, store.ClassCalendar}, // F7
		{"Contacts", store.RoleContacts, store.ClassContacts}, // F8
		{"Tasks", store.RoleTasks, store.ClassTasks},
		{"Notes", store.RoleNotes, store.ClassNotes}, // F10
		{"Second", store.RoleNone, store.ClassCalendar},
	} {
		f.put(store.Folder{Name: std.name, Role: std.role, Class: std.class})
	}
	return &memory{
		fake: f, items: map[store.ItemID]*memItem{}, blobs: map[[32]byte][]byte{}, once: map[string]store.ItemID{},
		sent: map[string]store.Outgoing{}, floor: map[store.FolderID]store.Seq{}, calls: map[string]int{}, lastID: 100,
	}
}

// in counts a call and takes the lock.
func (m *memory) in(name string, as directory.Principal, box store.MailboxID) (func(), error) {
	if f := m.between; f != nil && name != "Warm" { // that comes from another goroutine
		m.between = nil
		f()
		m.between = f
	}
	leave, err := m.enter(as, box)
	if err == nil {
		m.calls[name]++
	}
	return leave, err
}

func (m *memory) folderOf(id store.FolderID) *store.Folder {
	if i := m.at(id); i >= 0 {
		return &m.folders[i]
	}
	return nil
}

// touch takes the next number for a change in folders.
func (m *memory) touch(ids ...store.FolderID) store.Seq {
	m.seq++
	for _, id := range ids {
		if f := m.folderOf(id); f != nil {
			f.HighestSeq = m.seq
		}
	}
	m.wake()
	return m.seq
}

func (m *memory) leave(it *memItem, seq store.Seq) {
	m.tombs = append(m.tombs, memTomb{it.e.Folder, store.Tombstone{
		Item: it.e.Item, UID: it.e.UID, Entered: it.e.Entered, Left: seq, Received: it.e.Received,
	}})
}

func (m *memory) SyncState(ctx context.Context, as directory.Principal, box store.MailboxID, client, scope string) (store.SyncState, error) {
	m.count("SyncState")
	return m.fake.SyncState(ctx, as, box, client, scope)
}

func (m *memory) SaveSyncState(ctx context.Context, as directory.Principal, box store.MailboxID, client, scope string, was int64, data []byte, replaceOnly bool) error {
	m.count("SaveSyncState")
	switch {
	case m.conflicts > 0:
		m.conflicts--
		return fault.New(fault.Conflict, "another generation")
	case m.failures > 0:
		m.failures--
		return fault.New(fault.Unavailable, "the database is gone")
	}
	return m.fake.SaveSyncState(ctx, as, box, client, scope, was, data, replaceOnly)
}

func (m *memory) Folder(ctx context.Context, as directory.Principal, box store.MailboxID, id store.FolderID) (store.Folder, error) {
	leave, err := m.in("Folder", as, box)
	if err != nil {
		return store.Folder{}, err
	}
	leave()
	return m.fake.Folder(ctx, as, box, id)
}

func (m *memory) count(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls[name]++
}

func (m *memory) total() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, c := range m.calls {
		n += c
	}
	return n
}

func (m *memory) FolderByRole(_ context.Context, as directory.Principal, box store.MailboxID, r store.Role) (store.Folder, error) {
	leave, err := m.in("FolderByRole", as, box)
	if err != nil {
		return store.Folder{}, err
	}
	defer leave()
	for _, f := range m.folders {
		if f.Role == r {
			return f, nil
		}
	}
	return store.Folder{}, fault.New(fault.NotFound, "no such folder")
}

// sorted lists the entries of a folder that keep says yes to.
func (m *memory) sorted(folder store.FolderID, keep func(*store.Entry) bool, by func(a, b store.Entry) int) []store.Entry {
	var es []store.Entry
	for _, it := range m.items {
		if !it.gone && it.e.Folder == folder && keep(&it.e) {
			es = append(es, cloneEntry(it.e))
		}
	}
	slices.SortFunc(es, by)
	return es
}

func cloneEntry(e store.Entry) store.Entry {
	e.Keywords = slices.Clone(e.Keywords)
	if e.Props != nil {
		p := *e.Props
		e.Props = &p
	}
	return e
}

func (m *memory) Newest(_ context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, cutoff time.Time, upTo store.Seq, before store.ItemID, limit int) ([]store.Entry, error) {
	leave, err := m.in("Newest", as, box)
	if err != nil {
		return nil, err
	}
	defer leave()
	es := m.sorted(folder, func(e *store.Entry) bool {
		return !e.Received.Before(cutoff) && e.Entered <= upTo && (before == 0 || e.Item < before)
	}, func(a, b store.Entry) int { return cmp.Compare(b.Item, a.Item) })
	return es[:min(limit, len(es))], nil
}

func (m *memory) Aged(_ context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, from, to time.Time, after store.ItemID, limit int) ([]store.Entry, error) {
	leave, err := m.in("Aged", as, box)
	if err != nil {
		return nil, err
	}
	defer leave()
	es := m.sorted(folder, func(e *store.Entry) bool {
		return !e.Received.Before(from) && e.Received.Before(to) && e.Item > after
	}, func(a, b store.Entry) int { return cmp.Compare(a.Item, b.Item) })
	return es[:min(limit, len(es))], nil
}

func (m *memory) CountSince(_ context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, cutoff time.Time) (int, error) {
	leave, err := m.in("CountSince", as, box)
	if err != nil {
		return 0, err
	}
	defer leave()
	return len(m.sorted(folder, func(e *store.Entry) bool { return !e.Received.Before(cutoff) }, func(a, b store.Entry) int { return 0 })), nil
}

func (m *memory) EntriesOf(_ context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) ([]store.Entry, error) {
	leave, err := m.in("EntriesOf", as, box)
	if err != nil {
		return nil, err
	}
	defer leave()
	var es []store.Entry
	for _, i := range items {
		if it := m.items[i]; it != nil && !it.gone {
			es = append(es, cloneEntry(it.e))
		}
	}
	return es, nil
}

func (m *memory) Changes(_ context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, since store.Position, limit int) (store.Changes, error) {
	leave, err := m.in("Changes", as, box)
	if err != nil {
		return store.Changes{}, err
	}
	defer leave()
	f := m.folderOf(folder)
	if f == nil {
		return store.Changes{}, fault.New(fault.NotFound, "no such folder")
	}
	if since.Less(store.After(m.floor[folder])) && since != (store.Position{}) {
		return store.Changes{}, fault.New(fault.Resync, "too old")
	}
	c := store.Changes{Folder: *f, Since: since}
	type event struct {
		at store.Position
		e  *store.Entry
		t  *store.Tombstone
	}
	var events []event
	for _, e := range m.sorted(folder, func(*store.Entry) bool { return true }, func(a, b store.Entry) int { return 0 }) {
		at := store.Position{Seq: e.Changed, Item: e.Item}
		if c.IsNew(&e) {
			at.Seq = e.Entered
		}
		if !at.Less(since) {
			events = append(events, event{at: at, e: &e})
		}
	}
	for _, t := range m.tombs {
		at := store.Position{Seq: t.t.Left, Item: t.t.Item}
		if t.folder == folder && !at.Less(since) && (store.Position{Seq: t.t.Entered, Item: t.t.Item}).Less(since) {
			events = append(events, event{at: at, t: &t.t})
		}
	}
	slices.SortFunc(events, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.at.Seq, b.at.Seq), cmp.Compare(a.at.Item, b.at.Item))
	})
	c.Position = store.After(f.HighestSeq)
	if len(events) > limit {
		c.Position, c.More = events[limit].at, true
		events = events[:limit]
	}
	for _, ev := range events {
		if ev.e != nil {
			c.Changed = append(c.Changed, *ev.e)
		} else {
			c.Gone = append(c.Gone, *ev.t)
		}
	}
	return c, nil
}

func (m *memory) Messages(_ context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) ([]*store.Message, error) {
	leave, err := m.in("Messages", as, box)
	if err != nil {
		return nil, err
	}
	defer leave()
	ms := make([]*store.Message, len(items))
	for i, id := range items {
		if it := m.items[id]; it != nil && !it.gone && it.obj == nil {
			msg := it.m
			ms[i] = &msg
		}
	}
	return ms, nil
}

type memContent struct{ *bytes.Reader }

func (c memContent) Size() int64 { return c.Reader.Size() }

func (m *memory) Content(_ context.Context, as directory.Principal, box store.MailboxID, item store.ItemID) (store.Content, error) {
	leave, err := m.enter(as, box) // not counted: one an item is what it takes
	if err != nil {
		return nil, err
	}
	defer leave()
	it := m.items[item]
	if it == nil || it.gone {
		return nil, fault.New(fault.NotFound, "gone")
	}
	return memContent{bytes.NewReader(slices.Concat(it.m.Prefix, it.content))}, nil
}

func (m *memory) FindMessages(_ context.Context, as directory.Principal, box store.MailboxID, q store.Find) ([]store.Entry, int, error) {
	leave, err := m.in("FindMessages", as, box)
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	var es []store.Entry
	for _, it := range m.items {
		s := it.m.Summary
		if s == nil {
			continue
		}
		text := strings.ToLower(s.Subject + " " + joinAddresses(s.From, ",") + " " + s.Preview)
		ok := !it.gone && (len(q.Folders) == 0 || slices.Contains(q.Folders, it.e.Folder)) && (q.Thread == 0 || it.m.Thread == q.Thread) &&
			(q.After.IsZero() || !it.e.Received.Before(q.After)) && (q.Before.IsZero() || it.e.Received.Before(q.Before))
		for w := range strings.FieldsSeq(strings.ToLower(q.Text)) {
			ok = ok && strings.Contains(text, w)
		}
		if ok {
			es = append(es, cloneEntry(it.e))
		}
	}
	slices.SortFunc(es, func(a, b store.Entry) int { return cmp.Compare(b.Item, a.Item) })
	total := len(es)
	es = es[min(q.Offset, total):]
	return es[:min(q.Limit, len(es))], total, nil
}

// Warm is counted; there is nothing to read ahead.
func (m *memory) Warm(_ context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) error {
	leave, err := m.in("Warm", as, box)
	if err != nil {
		return err
	}
	leave()
	if len(items) > 1000 {
		return fault.New(fault.Limit, "too many")
	}
	return nil
}

type memBlob struct {
	m   *memory
	buf bytes.Buffer
}

func (b *memBlob) Write(p []byte) (int, error) { return b.buf.Write(p) }
func (b *memBlob) Abort()                      {}

func (b *memBlob) Close(context.Context) (store.Blob, error) {
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	h := sha256.Sum256(b.buf.Bytes())
	b.m.blobs[h] = b.buf.Bytes()
	return store.Blob{Hash: h, Size: int64(b.buf.Len())}, nil
}

func (m *memory) NewBlob(context.Context, string) (store.BlobWriter, error) {
	return &memBlob{m: m}, nil
}

func (m *memory) addLocked(n store.NewMessage, seq store.Seq) *memItem {
	f := m.folderOf(n.Folder)
	content := m.blobs[n.Blob.Hash]
	m.lastID++
	f.UIDNext++
	if n.Received.IsZero() {
		n.Received = time.Now()
	}
	it := &memItem{
		e: store.Entry{
			Item: m.lastID, Folder: f.ID, UID: f.UIDNext, Flags: n.Flags, Keywords: n.Keywords, Props: n.Props,
			Size: int64(len(content) + len(n.Prefix)), Received: n.Received.Truncate(time.Microsecond), Entered: seq, Changed: seq,
		},
		m: store.Message{
			Item: m.lastID, Thread: store.ThreadID(m.lastID), Size: int64(len(content) + len(n.Prefix)), Prefix: n.Prefix, Summary: n.Summary,
		},
		content: content,
	}
	m.items[m.lastID] = it
	return it
}

func (m *memory) Add(_ context.Context, as directory.Principal, box store.MailboxID, n store.NewMessage) (store.Added, error) {
	leave, err := m.in("Add", as, box)
	if err != nil {
		return store.Added{}, err
	}
	defer leave()
	if n.Once != "" {
		if id, ok := m.once[n.Once]; ok {
			a := store.Added{Repeated: true}
			if it := m.items[id]; it != nil && !it.gone {
				a.Entry = cloneEntry(it.e)
			} else {
				a.Entry.Item = id
			}
			return a, nil
		}
	}
	if n.Folder == 0 {
		for _, f := range m.folders {
			if f.Role == cmp.Or(n.Role, store.RoleInbox) {
				n.Folder = f.ID
			}
		}
	}
	if m.folderOf(n.Folder) == nil {
		return store.Added{}, fault.New(fault.NotFound, "no such folder")
	}
	it := m.addLocked(n, m.touch(n.Folder))
	if n.Once != "" {
		m.once[n.Once] = it.e.Item
	}
	return store.Added{Entry: cloneEntry(it.e), Thread: it.m.Thread}, nil
}

func (m *memory) Flag(_ context.Context, as directory.Principal, box store.MailboxID, c store.FlagChange) (store.FlagResult, error) {
	leave, err := m.in("Flag", as, box)
	if err != nil {
		return store.FlagResult{}, err
	}
	defer leave()
	var r store.FlagResult
	for _, id := range c.Items {
		it := m.items[id]
		if it == nil || it.gone || it.e.Folder != c.Folder {
			continue
		}
		was := cloneEntry(it.e)
		it.e.Flags = it.e.Flags&^c.Clear | c.Set
		if c.Replace {
			it.e.Keywords = nil
		}
		for _, k := range c.Add {
			if !slices.Contains(it.e.Keywords, k) {
				it.e.Keywords = append(it.e.Keywords, k)
			}
		}
		slices.Sort(it.e.Keywords)
		it.e.Keywords = slices.DeleteFunc(it.e.Keywords, func(k string) bool { return slices.Contains(c.Remove, k) })
		if c.Props != nil {
			it.e.Props = c.Props(id, it.e.Props)
		}
		if fmt.Sprint(was.Flags, was.Keywords, propsText(was.Props)) != fmt.Sprint(it.e.Flags, it.e.Keywords, propsText(it.e.Props)) {
			if r.Seq == 0 {
				r.Seq = m.touch(c.Folder)
			}
			it.e.Changed = r.Seq
		}
		r.Entries, r.Was = append(r.Entries, cloneEntry(it.e)), append(r.Was, was.Changed)
	}
	return r, nil
}

func propsText(p *store.Props) string {
	if p == nil {
		return ""
	}
	if p.FollowUp == nil {
		return fmt.Sprintf("%+v", *p)
	}
	return fmt.Sprintf("%+v %+v", *p.FollowUp, p.LastVerb)
}

func (m *memory) Move(_ context.Context, as directory.Principal, box store.MailboxID, from store.FolderID, items []store.ItemID, to store.FolderID) (store.PlaceResult, error) {
	leave, err := m.in("Move", as, box)
	if err != nil {
		return store.PlaceResult{}, err
	}
	defer leave()
	dst := m.folderOf(to)
	if dst == nil {
		return store.PlaceResult{}, fault.New(fault.NotFound, "no such folder")
	}
	var r store.PlaceResult
	for _, id := range items {
		it := m.items[id]
		if it == nil || it.gone || from != 0 && it.e.Folder != from && it.e.Folder != to {
			r.Placed = append(r.Placed, store.Placed{Item: id, Absent: true})
			continue
		}
		p := store.Placed{Item: id, To: id, UID: it.e.UID, Was: it.e.Changed, There: it.e.Folder == to}
		if it.e.Folder != to {
			if r.Seq == 0 {
				r.Seq = m.touch()
			}
			m.folderOf(it.e.Folder).HighestSeq, dst.HighestSeq = r.Seq, r.Seq
			m.leave(it, r.Seq)
			dst.UIDNext++
			it.e.Folder, it.e.UID, it.e.Entered, it.e.Changed = to, dst.UIDNext, r.Seq, r.Seq
		}
		p.ToUID = it.e.UID
		r.Placed = append(r.Placed, p)
	}
	return r, nil
}

func (m *memory) Delete(_ context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, items []store.ItemID, onlyMarked bool) (store.Seq, []store.Tombstone, error) {
	leave, err := m.in("Delete", as, box)
	if err != nil {
		return 0, nil, err
	}
	defer leave()
	var seq store.Seq
	var tombs []store.Tombstone
	for _, id := range items {
		it := m.items[id]
		if it == nil || it.gone || it.e.Folder != folder || onlyMarked && it.e.Flags&store.Deleted == 0 {
			continue
		}
		if seq == 0 {
			seq = m.touch(folder)
		}
		m.leave(it, seq)
		it.gone = true
		tombs = append(tombs, m.tombs[len(m.tombs)-1].t)
	}
	return seq, tombs, nil
}

func (m *memory) Empty(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID) error {
	var items []store.ItemID
	m.mu.Lock()
	for id, it := range m.items {
		if it.e.Folder == folder {
			items = append(items, id)
		}
	}
	m.mu.Unlock()
	_, _, err := m.Delete(ctx, as, box, folder, items, false)
	return err
}

func (m *memory) Send(ctx context.Context, as directory.Principal, box store.MailboxID, o store.Outgoing) (store.Sent, error) {
	leave, err := m.in("Send", as, box)
	if err != nil {
		return store.Sent{}, err
	}
	defer leave()
	if _, ok := m.sent[o.Key]; ok {
		return store.Sent{Repeated: true}, nil
	}
	m.sent[o.Key] = o
	m.outbox = append(m.outbox, o)
	var s store.Sent
	if o.SaveRole != store.RoleNone {
		for _, f := range m.folders {
			if f.Role == o.SaveRole {
				it := m.addLocked(store.NewMessage{Folder: f.ID, Flags: store.Seen, Blob: o.Blob, Summary: o.Summary}, m.touch(f.ID))
				s.Saved = &store.Added{Entry: cloneEntry(it.e)}
			}
		}
	}
	if it := m.items[o.Source]; it != nil && !it.gone {
		verb := map[string]store.Flags{"reply": store.Answered, "replyAll": store.Answered, "forward": store.Forwarded}
		it.e.Flags |= verb[o.SourceVerb]
		it.e.Props = &store.Props{LastVerb: o.SourceVerb, LastVerbAt: time.Now()}
		it.e.Changed = m.touch(it.e.Folder)
	}
	if it := m.items[o.Remove]; it != nil && !it.gone {
		m.leave(it, m.touch(it.e.Folder))
		it.gone = true
	}
	return s, nil
}

// put stores a message as delivery does.
func (m *memory) put(folder store.FolderID, raw string, received time.Time, flags store.Flags) store.ItemID {
	raw = crlf(raw)
	s, _ := mail.Parse(strings.NewReader(raw))
	h := sha256.Sum256([]byte(raw))
	m.mu.Lock()
	m.blobs[h] = []byte(raw)
	m.mu.Unlock()
	a, err := m.Add(context.Background(), directory.System("test"), 7, store.NewMessage{
		Folder: folder, Flags: flags, Received: received, Blob: store.Blob{Hash: h, Size: int64(len(raw))}, Summary: s,
		Prefix: []byte("Return-Path: <x@example.org>\r\n"),
	})
	if err != nil {
		panic(err)
	}
	return a.Entry.Item
}
