package postgres

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
	"waypost/store/object"
)

const maxObjectName = 255 // bytes

// put is an object to be written, prepared as far as that goes without the
// counter row: edited, read, expanded, compressed, hashed.
type put struct {
	slot[*put]
	p      *store.PutObject
	folder store.FolderID
	system bool
	who    *access
	once   string     // key in mail.once; "" for none
	old    *objectRow // that the edit was made of; nil: none
	same   bool       // the edit left it as it is
	name   string     // of a new one
	read   *object.Read
	size   int64       // of the text that there is afterwards
	blob   *store.Blob // the text as a content; nil: it stands in the row
	chunk  []byte      // a content of one chunk, packed
	search string
	now    time.Time

	// What became of it.
	res   store.Put
	stale bool         // old is no longer what is there: begin anew
	seen  store.ItemID // of the first call with the same Once
	err   error
}

func (a *put) fail(err error) { a.res, a.stale, a.seen, a.err = store.Put{}, false, 0, err }

// grows is by how many bytes the mailbox grows.
func (a *put) grows() int64 {
	if a.old != nil {
		return a.size - a.old.Size
	}
	return a.size
}

// adds is how many items it adds.
func (a *put) adds() int64 {
	if a.old != nil {
		return 0
	}
	return 1
}

// PutObject makes or replaces one object. What is written depends on what was
// read before the counter row was taken; when it turns out under the row that
// somebody else was faster, all is done again.
func (s *Store) PutObject(ctx context.Context, as directory.Principal, box store.MailboxID, p store.PutObject) (res store.Put, err error) {
	defer fault.Wrap(&err, "put an object into mailbox %d", box)
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return res, err
	}
	if err := checkPut(&p); err != nil {
		return res, err
	}
	if p.Folder == 0 && p.Item == 0 {
		f, err := s.FolderByRole(ctx, as, box, p.Role)
		if err != nil {
			return res, err
		}
		p.Folder = f.ID
	}
	if !x.all {
		p.Limit = 0 // what the mailbox may hold is not theirs to say
	}
	if p.Folder != 0 {
		if err := x.may(p.Folder, 0); err != nil {
			return res, err
		}
	}
	for n := range casAttempts {
		if err := apart(ctx, n); err != nil {
			return res, err
		}
		a, outs, err := s.edited(ctx, h, x, box, &p)
		if err != nil {
			return res, err
		}
		if len(outs) > 0 && !x.all && !p.ForOwner {
			return res, notForOwner()
		}
		a.system = as.Is(directory.RoleSystem)
		if err := s.write(ctx, as, h, a, outs); err != nil {
			return res, err
		}
		switch {
		case a.stale:
			continue
		case a.seen != 0:
			return s.repeatedPut(ctx, h, x, box, a.seen)
		}
		return a.res, nil
	}
	return res, fault.New(fault.Conflict, "the object keeps being changed by others")
}

// apart keeps those who were too late away from each other before the attempt n:
// of several that write one object in one transaction only the first succeeds.
func apart(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(rand.N(time.Millisecond << min(n, 7))):
		return nil
	}
}

func checkPut(p *store.PutObject) error {
	switch {
	case p.Edit == nil:
		return fault.New(fault.Invalid, "an object without a text")
	case len(p.Once) > maxOnce || p.Once != clean(p.Once):
		return fault.New(fault.Invalid, "the key of an object has at most %d bytes of text", maxOnce)
	case p.UID != strings.TrimSpace(clean(p.UID)):
		return fault.New(fault.Invalid, "a UID that makes no sense")
	case p.Name != "":
		return objectName(p.Name)
	}
	return nil
}

func objectName(name string) error {
	switch {
	case len(name) > maxObjectName:
		return fault.New(fault.Invalid, "the name of an object is longer than %d bytes", maxObjectName)
	case !utf8.ValidString(name) || name == "." || name == ".." ||
		strings.ContainsFunc(name, func(r rune) bool { return r == '/' || unicode.IsControl(r) }):
		return fault.New(fault.Invalid, "the name of an object has a character that is not allowed")
	}
	return nil
}

// edited reads what there is, has it edited and prepares the writing.
func (s *Store) edited(ctx context.Context, h *home, x *access, box store.MailboxID, p *store.PutObject) (a *put, outs []store.Outgoing, err error) {
	a = &put{slot: slot[*put]{box: box}, p: p, who: x, folder: p.Folder, now: time.Now()}
	if p.Once != "" {
		a.once = "o " + p.Once
		if !x.all { // keys of one's own
			a.once = "g " + strconv.FormatInt(int64(x.who), 10) + " " + p.Once
		}
	}
	if err := s.look(ctx, h, a); err != nil || a.seen != 0 {
		return a, nil, err
	}
	if a.old != nil {
		err = x.mayChange(a.old, store.RightEditOwn, store.RightEditAll)
	} else {
		err = x.may(a.folder, store.RightCreate)
	}
	if err != nil {
		return nil, nil, err
	}
	if p.IfMatch != nil && *p.IfMatch != version(a.old) {
		return nil, nil, changedMeanwhile()
	}
	var old *store.Object
	if a.old != nil {
		old = &a.old.Object
	}
	edit, err := p.Edit(old)
	if err != nil {
		return nil, nil, err
	}
	uid := p.UID
	if old != nil {
		uid = old.UID
	}
	if a.same = old != nil && bytes.Equal(edit.Text, old.Text); !a.same {
		if a.read, err = object.Parse(edit.Text, uid, a.now); err != nil {
			return nil, nil, err
		}
		a.same = old != nil && bytes.Equal(a.read.Text, old.Text)
	}
	if a.same {
		a.size = old.Size
		return a, edit.Send, nil
	}
	switch {
	case old != nil && a.read.UID != old.UID:
		return nil, nil, fault.New(fault.Conflict, "the UID of an object does not change")
	case old == nil && p.UID != "" && a.read.UID != p.UID:
		return nil, nil, fault.New(fault.Invalid, "the object has another UID than it should have")
	}
	if a.name = p.Name; a.name == "" {
		a.name = newName(a.read.Kind)
	}
	a.search = fold(a.read.Words)
	a.size = int64(len(a.read.Text))
	a.weight = len(a.search) + 64*len(a.read.Occurrences)
	if a.size <= smallText {
		a.weight += len(a.read.Text)
		return a, edit.Send, nil
	}
	w, err := s.NewBlob(ctx, h.name)
	if err != nil {
		return nil, nil, err
	}
	defer w.Abort()
	if _, err := w.Write(a.read.Text); err != nil {
		return nil, nil, err
	}
	blob, err := w.Close(ctx)
	if err != nil {
		return nil, nil, err
	}
	if a.blob = &blob; blob.Small != nil {
		a.chunk = pack(blob.Small)
	}
	a.weight += len(a.chunk)
	return a, edit.Send, nil
}

// newName is the name of an object whose maker chose none. It is random, so
// nobody has it.
func newName(kind store.Kind) string {
	if kind == store.KindCard || kind == store.KindGroup {
		return object.NewUID() + ".vcf"
	}
	return object.NewUID() + ".ics"
}

func version(o *objectRow) store.Seq {
	if o == nil {
		return 0
	}
	return o.Version
}

func changedMeanwhile() error {
	return fault.New(fault.Conflict, "the object is not in the version that was expected")
}

// look finds the object that a put is about, unless it must be a new one: then
// whether that is so turns out when it is written.
func (s *Store) look(ctx context.Context, h *home, a *put) error {
	p := a.p
	mustBeNew := p.Item == 0 && (p.IfMatch != nil && *p.IfMatch == 0 || p.Name == "" && p.UID == "")
	if mustBeNew && a.once == "" {
		return nil
	}
	var byItem, byName, byUID, row *objectRow
	err := reading(ctx, func() error {
		a.seen, byItem, byName, byUID = 0, nil, nil, nil
		b := &pgx.Batch{}
		if a.once != "" {
			b.Queue("select item from mail.once where mailbox = $1 and key = $2", int64(a.box), a.once).Query(func(rows pgx.Rows) error {
				_, err := pgx.ForEachRow(rows, []any{&a.seen}, func() error { return nil })
				return err
			})
		}
		one := func(into **objectRow, where string, args ...any) {
			b.Queue("select "+objectText+" from mail.object where mailbox = $1 and "+where, append([]any{int64(a.box)}, args...)...).
				Query(func(rows pgx.Rows) error {
					list, err := scanObjects(rows)
					if err == nil && len(list) > 0 {
						*into = list[0]
					}
					return err
				})
		}
		switch {
		case p.Item != 0:
			one(&byItem, "item = $2 and folder is not null", int64(p.Item))
		case mustBeNew:
		default:
			if p.Name != "" {
				one(&byName, "folder = $2 and name = $3", int64(a.folder), p.Name)
			}
			if p.UID != "" {
				one(&byUID, "folder = $2 and uid = $3", int64(a.folder), p.UID)
			}
		}
		return h.db.Batch(ctx, b)
	})
	if err != nil || a.seen != 0 {
		return err
	}
	switch {
	case p.Item != 0:
		if row = byItem; row == nil || p.Folder != 0 && row.Folder != p.Folder {
			return noObject()
		}
	case byName != nil:
		row = byName
	default:
		row = byUID
	}
	if row == nil {
		return nil
	}
	a.old, a.folder = row, row.Folder
	_, err = s.texts(ctx, h, []*objectRow{row}, store.MaxObject)
	return err
}

func notForOwner() error {
	return fault.New(fault.Denied, "this is told to others in its owner's name: only who acts for the owner may do it")
}

func noObject() error { return fault.New(fault.NotFound, "no such object") }

// write writes a prepared put, with others that wait or, when there is something
// to send, alone.
func (s *Store) write(ctx context.Context, as directory.Principal, h *home, a *put, outs []store.Outgoing) error {
	switch {
	case a.seen != 0:
		return nil
	case len(outs) > 0:
		return s.putAndSend(ctx, as, h, a, outs)
	case a.same && a.once == "":
		return s.leave(ctx, h, a)
	}
	err := h.puts.submit(ctx, a, func(ctx context.Context, t turn[*put]) []*put {
		return together(ctx, t,
			func(ctx context.Context, batch []*put) error { return s.putOnce(ctx, h, batch, nil) },
			func(ctx context.Context, batch []*put) ([]*put, error) { return s.putMany(ctx, h, batch) })
	})
	if err != nil {
		return err
	}
	if a.err == nil && a.res.Changed && a.blob != nil && a.blob.Small != nil {
		s.chunks.put(chunkKey{a.blob.Hash, 0}, a.read.Text) // who wrote it will read it
	}
	return a.err
}

// leave answers an edit that changed nothing.
func (s *Store) leave(ctx context.Context, h *home, a *put) error {
	entry, err := s.entryOf(ctx, h, a.box, a.old.Item)
	if err != nil {
		return err
	}
	a.stale = entry.Folder != a.old.Folder
	a.res = store.Put{Entry: entry, Object: a.old.Object, Was: entry.Changed}
	return nil
}

// entryOf gives one entry; Folder 0 when it is gone.
func (s *Store) entryOf(ctx context.Context, h *home, box store.MailboxID, item store.ItemID) (e store.Entry, err error) {
	var list []store.Entry
	err = reading(ctx, func() error {
		rows, err := h.db.Query(ctx, "select "+entryCols+" from mail.entry where mailbox = $1 and item = $2", int64(box), int64(item))
		if err != nil {
			return err
		}
		return entries(rows, &list, 1)
	})
	if err != nil || len(list) == 0 {
		return store.Entry{Item: item}, err
	}
	return list[0], nil
}

// repeatedPut answers a put whose Once was seen before.
func (s *Store) repeatedPut(ctx context.Context, h *home, x *access, box store.MailboxID, item store.ItemID) (res store.Put, err error) {
	res.Repeated = true
	if res.Entry, err = s.entryOf(ctx, h, box, item); err != nil {
		return res, err
	}
	res.Object.Item = item
	list, err := s.objects(ctx, h, x, box, []store.ItemID{item}, true)
	if list != nil && list[0] != nil {
		res.Object = *list[0]
	}
	return res, err
}

// putAndSend writes a put and what it has to send in one transaction.
func (s *Store) putAndSend(ctx context.Context, as directory.Principal, h *home, a *put, outs []store.Outgoing) error {
	x, err := s.newSends(as, a.box, outs)
	if err != nil {
		return err
	}
	if err := s.putOnce(ctx, h, []*put{a}, x); err != nil {
		return err
	}
	if a.err == nil && x.any() {
		s.announceOutbox(h)
	}
	return a.err
}

// RemoveObject makes an object recoverable.
func (s *Store) RemoveObject(ctx context.Context, as directory.Principal, box store.MailboxID, r store.RemoveObject) (seq store.Seq, err error) {
	defer fault.Wrap(&err, "remove object %d of mailbox %d", r.Item, box)
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return 0, err
	}
	for n := range casAttempts {
		if err := apart(ctx, n); err != nil {
			return 0, err
		}
		seq, err = s.removeObject(ctx, as, h, x, box, &r)
		if !errors.Is(err, errStale) {
			return seq, err
		}
	}
	return 0, fault.New(fault.Conflict, "the object keeps being changed by others")
}

// errStale: what was read before the counter row was taken is no longer so.
var errStale = errors.New("changed meanwhile")

func (s *Store) removeObject(ctx context.Context, as directory.Principal, h *home, access *access, box store.MailboxID, r *store.RemoveObject) (seq store.Seq, err error) {
	a := &put{slot: slot[*put]{box: box}, p: &store.PutObject{Item: r.Item, Folder: r.Folder}}
	if err := s.look(ctx, h, a); err != nil {
		return 0, err
	}
	if err := access.mayChange(a.old, store.RightDeleteOwn, store.RightDeleteAll); err != nil {
		return 0, err
	}
	if r.IfMatch != nil && *r.IfMatch != a.old.Version {
		return 0, changedMeanwhile()
	}
	var outs []store.Outgoing
	if r.Send != nil {
		if outs, err = r.Send(&a.old.Object); err != nil {
			return 0, err
		}
	}
	if len(outs) > 0 && !access.all && !r.ForOwner {
		return 0, notForOwner()
	}
	x, err := s.newSends(as, box, outs)
	if err != nil {
		return 0, err
	}
	var found []store.Entry
	var fed fedFolders
	var now store.Seq
	seq, err = s.changeIn(ctx, h, box, changeOf{
		ids: x.ids(),
		first: func(b *pgx.Batch) {
			queueItems(b, box, []store.ItemID{r.Item}, &found)
			fed.queue(b, box)
			b.Queue("select version from mail.object where mailbox = $1 and item = $2", int64(box), int64(r.Item)).Query(func(rows pgx.Rows) error {
				_, err := pgx.ForEachRow(rows, []any{&now}, func() error { return nil })
				return err
			})
			x.first(b)
		},
		run: func(ctx context.Context, c *change) error {
			if len(found) == 0 || found[0].Folder != a.old.Folder || now != a.old.Version {
				return errStale
			}
			if fed[found[0].Folder] {
				return errFed()
			}
			c.remove([]*store.Entry{&found[0]})
			return x.run(ctx, c)
		},
	})
	if err == nil && x.any() {
		s.announceOutbox(h)
	}
	return seq, err
}
