package postgres

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
	"waypost/store/object"
)

// smallText is the greatest text in bytes that stands in its object's row. With
// what else is there the row still fits a page; a larger one is a content as a
// message's is, compressed and kept once.
const smallText = 4 << 10

// objectRow is an object with what only the store may know.
type objectRow struct {
	store.Object
	creator directory.ObjectID // 0: the owner of the mailbox
	blob    []byte             // hash of the content that the text is; nil: it stands in the row
	// unsure is what Occurring has to find out from the text.
	unsure bool
}

// objectCols are read by scanObjects, objectText with their texts: all of those
// that are small; Store.texts reads the others.
const (
	objectCols  = "item, coalesce(folder, 0), kind, uid, name, version, blob_size, starts, ends, blob, coalesce(creator, 0)"
	objectText  = objectCols + ", text"
	objectWidth = 11
)

// scanObjects reads rows by position and in binary, as scanEntry does.
func scanObjects(rows pgx.Rows) (list []*objectRow, err error) {
	defer rows.Close()
	for rows.Next() {
		v := rows.RawValues()
		if len(v) < objectWidth || len(v[0]) != 8 || len(v[1]) != 8 || len(v[5]) != 8 || len(v[6]) != 8 || len(v[10]) != 8 {
			return nil, errFormat
		}
		o := &objectRow{Object: store.Object{
			Item: store.ItemID(int64Of(v[0])), Folder: store.FolderID(int64Of(v[1])),
			Kind: kindOf(v[2]), UID: string(v[3]), Name: string(v[4]),
			Version: store.Seq(int64Of(v[5])), Size: int64Of(v[6]),
		}}
		if len(v[7]) == 8 {
			o.Starts = timeOf(v[7])
		}
		if len(v[8]) == 8 {
			o.Ends = timeOf(v[8])
		}
		// The connection's buffer is used again.
		o.blob = bytes.Clone(v[9])
		o.creator = directory.ObjectID(int64Of(v[10]))
		if len(v) > objectWidth {
			o.Text = bytes.Clone(v[objectWidth])
		}
		if len(v) > objectWidth+1 {
			o.unsure = len(v[objectWidth+1]) == 1 && v[objectWidth+1][0] == 1
		}
		list = append(list, o)
	}
	return list, rows.Err()
}

// kindOf is a kind without memory of its own.
func kindOf(b []byte) store.Kind {
	switch string(b) {
	case string(store.KindEvent):
		return store.KindEvent
	case string(store.KindTask):
		return store.KindTask
	case string(store.KindCard):
		return store.KindCard
	}
	return store.Kind(b)
}

// objectRows runs one query of objectCols.
func (s *Store) objectRows(ctx context.Context, h *home, sql string, args ...any) (list []*objectRow, err error) {
	err = reading(ctx, func() error {
		rows, err := h.db.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		list, err = scanObjects(rows)
		return err
	})
	return list, err
}

// maxTexts bounds the texts of one answer in bytes, but for the small ones.
const maxTexts = 32 << 20

// texts reads the texts of rows of objectText that are contents, in one question
// for the first chunks of all that are not in memory. It stops before limit
// bytes of them and tells whether it did.
func (s *Store) texts(ctx context.Context, h *home, list []*objectRow, limit int64) (more bool, err error) {
	var large []*objectRow
	for _, o := range list {
		if o.blob == nil {
			if int64(len(o.Text)) != o.Size {
				return false, fault.New(fault.Internal, "the text of object %d is damaged", o.Item)
			}
			continue
		}
		if limit -= o.Size; limit < 0 && len(large) > 0 {
			more = true
			break
		}
		large = append(large, o)
	}
	if len(large) == 0 {
		return more, nil
	}
	firsts := make(map[[32]byte][]byte, len(large))
	var wanted [][]byte
	for _, o := range large {
		hash := [32]byte(o.blob)
		if data, ok := s.chunks.get(chunkKey{hash, 0}); ok {
			firsts[hash] = data
		} else if _, asked := firsts[hash]; !asked {
			firsts[hash] = nil
			wanted = append(wanted, o.blob)
		}
	}
	if len(wanted) > 0 {
		err := s.firstChunks(ctx, h, wanted, func(hash [32]byte, data []byte) { firsts[hash] = data })
		if err != nil {
			return false, err
		}
	}
	for _, o := range large {
		hash := [32]byte(o.blob)
		first := firsts[hash]
		switch {
		case first == nil && o.Size > 0:
			return false, fault.New(fault.Internal, "the text of object %d is missing", o.Item)
		case int64(len(first)) == o.Size:
			o.Text = first
		default:
			c := &content{s: s, h: h, ctx: ctx, hash: hash, blobSize: o.Size}
			o.Text = make([]byte, o.Size)
			if _, err := c.ReadAt(o.Text, 0); err != nil {
				return false, err
			}
		}
	}
	return more, nil
}

// public gives rows as callers see them, by item in the order asked for.
func public(rows []*objectRow, items []store.ItemID) []*store.Object {
	byItem := make(map[store.ItemID]*store.Object, len(rows))
	for _, o := range rows {
		byItem[o.Item] = &o.Object
	}
	list := make([]*store.Object, len(items))
	for i, item := range items {
		list[i] = byItem[item]
	}
	return list
}

func all(rows []*objectRow) []*store.Object {
	list := make([]*store.Object, len(rows))
	for i, o := range rows {
		list[i] = &o.Object
	}
	return list
}

// objects gives objects by item.
func (s *Store) objects(ctx context.Context, h *home, x *access, box store.MailboxID, items []store.ItemID, texts bool) ([]*store.Object, error) {
	if len(items) > maxPage {
		return nil, fault.New(fault.Limit, "more than %d objects at once", maxPage)
	}
	cols := objectCols
	if texts {
		cols = objectText
	}
	rows, err := s.objectRows(ctx, h, "select "+cols+" from mail.object where mailbox = $1 and item = any($2) and folder is not null",
		int64(box), ids(items))
	rows = x.readableRows(rows)
	if err != nil || !texts {
		return public(rows, items), err
	}
	place := make(map[store.ItemID]int, len(items))
	for i, item := range items {
		place[item] = i
	}
	slices.SortFunc(rows, func(a, b *objectRow) int { return place[a.Item] - place[b.Item] })
	rows, more, err := s.fitting(ctx, h, x, rows)
	if err != nil {
		return nil, err
	}
	return public(rows, items), more
}

// Objects gives objects with their texts.
func (s *Store) Objects(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) (list []*store.Object, err error) {
	defer fault.Wrap(&err, "objects of mailbox %d", box)
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return nil, err
	}
	return s.objects(ctx, h, x, box, items, true)
}

// ObjectsOf is Objects without texts.
func (s *Store) ObjectsOf(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) (list []*store.Object, err error) {
	defer fault.Wrap(&err, "objects of mailbox %d", box)
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return nil, err
	}
	return s.objects(ctx, h, x, box, items, false)
}

// ObjectsNamed finds objects of a folder by name.
func (s *Store) ObjectsNamed(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, names []string) ([]*store.Object, error) {
	return s.named(ctx, as, box, folder, names, false)
}

// ObjectsNamedWithTexts is ObjectsNamed with texts.
func (s *Store) ObjectsNamedWithTexts(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, names []string) ([]*store.Object, error) {
	return s.named(ctx, as, box, folder, names, true)
}

func (s *Store) named(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, names []string, texts bool) (list []*store.Object, err error) {
	defer fault.Wrap(&err, "objects of folder %d of mailbox %d", folder, box)
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return nil, err
	}
	if err := x.mayRead(folder); err != nil {
		return nil, err
	}
	if len(names) > maxPage {
		return nil, fault.New(fault.Limit, "more than %d objects at once", maxPage)
	}
	wanted := make([]string, len(names))
	for i, name := range names {
		wanted[i] = clean(name) // none has a name that this changes
	}
	cols := objectCols
	if texts {
		cols = objectText
	}
	rows, err := s.objectRows(ctx, h, "select "+cols+" from mail.object where mailbox = $1 and folder = $2 and name = any($3)",
		int64(box), int64(folder), wanted)
	if err != nil {
		return nil, err
	}
	var more error
	if texts {
		place := make(map[string]int, len(names))
		for i, name := range names {
			place[name] = i
		}
		slices.SortFunc(rows, func(a, b *objectRow) int { return place[a.Name] - place[b.Name] })
		if rows, more, err = s.fitting(ctx, h, x, rows); err != nil {
			return nil, err
		}
	}
	byName := make(map[string]*store.Object, len(rows))
	for _, o := range rows {
		byName[o.Name] = &o.Object
	}
	list = make([]*store.Object, len(names))
	for i, name := range names {
		list[i] = byName[name]
	}
	return list, more
}

// fitting reads the texts of rows of objectText, as many as fit an answer, and
// gives those, as they may be seen; more is Limit when that are not all.
func (s *Store) fitting(ctx context.Context, h *home, x *access, rows []*objectRow) (fit []*objectRow, more, err error) {
	cut, err := s.texts(ctx, h, rows, maxTexts)
	if err != nil {
		return nil, nil, err
	}
	if !cut {
		return rows, nil, x.seen(rows)
	}
	n := slices.IndexFunc(rows, func(o *objectRow) bool { return o.Text == nil && o.Size > 0 })
	if err := x.seen(rows[:n]); err != nil {
		return nil, nil, err
	}
	return rows[:n], fault.New(fault.Limit, "more than %d bytes of objects at once", maxTexts), nil
}

// outside keeps the trash and what is below it out.
const outside = `folder not in (
	with recursive below (id) as (
		select id from mail.folder where mailbox = $1 and role = 'trash'
		union select f.id from mail.folder f join below on f.mailbox = $1 and f.parent = below.id)
	select id from below)`

// ObjectsByUID finds the objects with a UID in all folders of a class.
func (s *Store) ObjectsByUID(ctx context.Context, as directory.Principal, box store.MailboxID, class store.Class, uid string) (list []*store.Object, err error) {
	defer fault.Wrap(&err, "objects by UID of mailbox %d", box)
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return nil, err
	}
	rows, err := s.objectRows(ctx, h, `select `+objectCols+` from (select id as in_folder from mail.folder where mailbox = $1 and class = $2 and origin = '') f
		cross join lateral (select * from mail.object where mailbox = $1 and folder = in_folder and uid = $3 offset 0) o
		where `+outside+` order by item`, int64(box), string(class), clean(uid))
	return all(x.readableRows(rows)), err
}

// ObjectList lists a page of a folder's objects.
func (s *Store) ObjectList(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, after store.ItemID, limit int) (list []*store.Object, err error) {
	defer fault.Wrap(&err, "objects of folder %d of mailbox %d", folder, box)
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return nil, err
	}
	if err := x.mayRead(folder); err != nil {
		return nil, err
	}
	rows, err := s.objectRows(ctx, h, `select `+objectCols+` from mail.object where mailbox = $1 and folder = $2 and item > $3
		order by item limit $4`, int64(box), int64(folder), int64(after), page(limit))
	return all(rows), err
}

// FindObjects lists a page of what is found. Words are looked for anywhere in
// what was taken from the texts.
func (s *Store) FindObjects(ctx context.Context, as directory.Principal, box store.MailboxID, q store.FindObjects) (list []*store.Object, err error) {
	defer fault.Wrap(&err, "find objects in mailbox %d", box)
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return nil, err
	}
	if !x.all {
		return s.findShared(ctx, h, x, box, q)
	}
	rows, err := s.findObjects(ctx, h, box, q, objectCols)
	return all(rows), err
}

func (s *Store) findObjects(ctx context.Context, h *home, box store.MailboxID, q store.FindObjects, cols string) ([]*objectRow, error) {
	words := strings.Fields(fold(q.Text))
	if len(words) > maxWords {
		words = words[:maxWords]
	}
	kinds := make([]string, len(q.Kinds))
	for i, k := range q.Kinds {
		kinds[i] = string(k)
	}
	where := outside
	if len(q.Folders) > 0 {
		where = "folder = any($2)"
	}
	return s.objectRows(ctx, h, `select `+cols+` from mail.object
		where mailbox = $1 and folder is not null and (cardinality($2::bigint[]) = 0 or folder = any($2)) and `+where+` and item > $3
			and (cardinality($4::text[]) = 0 or kind = any($4))
			and not exists (select from unnest($5::text[]) as w (word) where position(word in search) = 0)
		order by item limit $6`, int64(box), ids(q.Folders), int64(q.After), kinds, nonNilText(words), page(q.Limit))
}

// findShared is FindObjects by somebody else: what it does not see as it is cannot
// be found by words either.
func (s *Store) findShared(ctx context.Context, h *home, x *access, box store.MailboxID, q store.FindObjects) (list []*store.Object, err error) {
	for _, f := range q.Folders {
		if err := x.may(f, store.RightRead); err != nil {
			return nil, err
		}
	}
	if len(q.Folders) == 0 {
		for f := range x.folders {
			if x.rights(f).Has(store.RightRead) {
				q.Folders = append(q.Folders, f)
			}
		}
		if len(q.Folders) == 0 {
			return nil, nil
		}
	}
	q.Limit = page(q.Limit)
	for {
		rows, err := s.findObjects(ctx, h, box, q, objectText)
		if err != nil {
			return nil, err
		}
		for from := 0; from < len(rows); {
			part := rows[from:]
			if _, err := s.texts(ctx, h, part, maxTexts); err != nil {
				return nil, err
			}
			for _, o := range part {
				if o.Text == nil && o.Size > 0 {
					break
				}
				if from++; x.maySeeWhole(o) == nil {
					o.Text = nil
					if list = append(list, &o.Object); len(list) == q.Limit {
						return list, nil
					}
				}
			}
		}
		if len(rows) < q.Limit {
			return list, nil
		}
		q.After = rows[len(rows)-1].Item
	}
}

// readableRows leaves out what is in folders that may not be read.
func (x *access) readableRows(rows []*objectRow) []*objectRow {
	if x.all {
		return rows
	}
	return slices.DeleteFunc(rows, func(o *objectRow) bool { return x.mayRead(o.Folder) != nil })
}

// seen makes of texts what may be seen of them.
func (x *access) seen(rows []*objectRow) (err error) {
	if x.all {
		return nil
	}
	for _, o := range rows {
		if x.maySeeWhole(o) == nil {
			continue
		}
		if o.Text, err = object.Seen(o.Text, x.rights(o.Folder)); err != nil {
			return err
		}
		o.Size = int64(len(o.Text))
	}
	return nil
}

// private tells whether an object is so; one whose text was not read is.
func private(o *objectRow) bool { return o.Text == nil || object.Private(o.Text) }

func nonNilText(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
