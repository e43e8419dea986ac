package postgres

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

// objectRow is an object with what only the store may know.
type objectRow struct {
	store.Object
	blob [32]byte
}

// objectCols are read by scanObjects.
const objectCols = "item, coalesce(folder, 0), kind, uid, name, version, blob_size, starts, ends, blob"

func scanObjects(rows pgx.Rows) ([]*objectRow, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (*objectRow, error) {
		o := &objectRow{}
		var starts, ends *time.Time
		var blob []byte
		if err := row.Scan(&o.Item, &o.Folder, &o.Kind, &o.UID, &o.Name, &o.Version, &o.Size, &starts, &ends, &blob); err != nil {
			return nil, err
		}
		if len(blob) != len(o.blob) {
			return nil, errFormat
		}
		copy(o.blob[:], blob)
		if starts != nil {
			o.Starts = starts.UTC()
		}
		if ends != nil {
			o.Ends = ends.UTC()
		}
		return o, nil
	})
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

// maxTexts bounds the texts of one answer in bytes.
const maxTexts = 32 << 20

// texts reads the texts of objects, in one question for the first chunks of all
// that are not in memory. It stops before limit bytes and tells whether it did.
func (s *Store) texts(ctx context.Context, h *home, list []*objectRow, limit int64) (more bool, err error) {
	for i, o := range list {
		if limit -= o.Size; limit < 0 && i > 0 {
			list, more = list[:i], true
			break
		}
	}
	firsts := make(map[[32]byte][]byte, len(list))
	var wanted [][]byte
	for _, o := range list {
		if data, ok := s.chunks.get(chunkKey{o.blob, 0}); ok {
			firsts[o.blob] = data
		} else if _, asked := firsts[o.blob]; !asked {
			firsts[o.blob] = nil
			wanted = append(wanted, o.blob[:])
		}
	}
	if len(wanted) > 0 {
		err := s.firstChunks(ctx, h, wanted, func(hash [32]byte, data []byte) { firsts[hash] = data })
		if err != nil {
			return false, err
		}
	}
	for _, o := range list {
		first := firsts[o.blob]
		switch {
		case first == nil && o.Size > 0:
			return false, fault.New(fault.Internal, "the text of object %d is missing", o.Item)
		case int64(len(first)) == o.Size:
			o.Text = first
		default:
			c := &content{s: s, h: h, ctx: ctx, hash: o.blob, blobSize: o.Size}
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
func (s *Store) objects(ctx context.Context, h *home, box store.MailboxID, items []store.ItemID, texts bool) ([]*store.Object, error) {
	if len(items) > maxPage {
		return nil, fault.New(fault.Limit, "more than %d objects at once", maxPage)
	}
	rows, err := s.objectRows(ctx, h, "select "+objectCols+" from mail.object where mailbox = $1 and item = any($2) and folder is not null",
		int64(box), ids(items))
	if err != nil || !texts {
		return public(rows, items), err
	}
	place := make(map[store.ItemID]int, len(items))
	for i, item := range items {
		place[item] = i
	}
	slices.SortFunc(rows, func(a, b *objectRow) int { return place[a.Item] - place[b.Item] })
	more, err := s.texts(ctx, h, rows, maxTexts)
	if err != nil {
		return nil, err
	}
	if more {
		fit := slices.IndexFunc(rows, func(o *objectRow) bool { return o.Text == nil && o.Size > 0 })
		return public(rows[:fit], items), fault.New(fault.Limit, "more than %d bytes of objects at once", maxTexts)
	}
	return public(rows, items), nil
}

// Objects gives objects with their texts.
func (s *Store) Objects(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) (list []*store.Object, err error) {
	defer fault.Wrap(&err, "objects of mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return nil, err
	}
	return s.objects(ctx, h, box, items, true)
}

// ObjectsOf is Objects without texts.
func (s *Store) ObjectsOf(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) (list []*store.Object, err error) {
	defer fault.Wrap(&err, "objects of mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return nil, err
	}
	return s.objects(ctx, h, box, items, false)
}

// ObjectsNamed finds objects of a folder by name.
func (s *Store) ObjectsNamed(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, names []string) (list []*store.Object, err error) {
	defer fault.Wrap(&err, "objects of folder %d of mailbox %d", folder, box)
	h, err := s.open(as, box)
	if err != nil {
		return nil, err
	}
	if len(names) > maxPage {
		return nil, fault.New(fault.Limit, "more than %d objects at once", maxPage)
	}
	wanted := make([]string, len(names))
	for i, name := range names {
		wanted[i] = clean(name) // none has a name that this changes
	}
	rows, err := s.objectRows(ctx, h, "select "+objectCols+" from mail.object where mailbox = $1 and folder = $2 and name = any($3)",
		int64(box), int64(folder), wanted)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]*store.Object, len(rows))
	for _, o := range rows {
		byName[o.Name] = &o.Object
	}
	list = make([]*store.Object, len(names))
	for i, name := range names {
		list[i] = byName[name]
	}
	return list, nil
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
	h, err := s.open(as, box)
	if err != nil {
		return nil, err
	}
	rows, err := s.objectRows(ctx, h, `select `+objectCols+` from (select id as in_folder from mail.folder where mailbox = $1 and class = $2 and origin = '') f
		cross join lateral (select * from mail.object where mailbox = $1 and folder = in_folder and uid = $3 offset 0) o
		where `+outside+` order by item`, int64(box), string(class), clean(uid))
	return all(rows), err
}

// ObjectList lists a page of a folder's objects.
func (s *Store) ObjectList(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, after store.ItemID, limit int) (list []*store.Object, err error) {
	defer fault.Wrap(&err, "objects of folder %d of mailbox %d", folder, box)
	h, err := s.open(as, box)
	if err != nil {
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
	h, err := s.open(as, box)
	if err != nil {
		return nil, err
	}
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
	rows, err := s.objectRows(ctx, h, `select `+objectCols+` from mail.object
		where mailbox = $1 and folder is not null and (cardinality($2::bigint[]) = 0 or folder = any($2)) and `+where+` and item > $3
			and (cardinality($4::text[]) = 0 or kind = any($4))
			and not exists (select from unnest($5::text[]) as w (word) where position(word in search) = 0)
		order by item limit $6`, int64(box), ids(q.Folders), int64(q.After), kinds, nonNilText(words), page(q.Limit))
	return all(rows), err
}

func nonNilText(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
