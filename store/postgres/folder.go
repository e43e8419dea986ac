package postgres

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/store"
)

const folderCols = "id, parent, name, role, class, uidvalidity, uidnext, highest_seq, floor, total, unread, deleted, size, subscribed, changed_seq, origin, created_seq"

func folderTargets(f *store.Folder) []any {
	return []any{
		&f.ID, &f.Parent, &f.Name, &f.Role, &f.Class, &f.UIDValidity, &f.UIDNext, &f.HighestSeq, &f.Floor,
		&f.Total, &f.Unread, &f.Deleted, &f.Size, &f.Subscribed, &f.Changed, &f.Origin, &f.Created,
	}
}

func noFolder() error { return fault.New(fault.NotFound, "no such folder") }

// scanFolder reads the only row of folderCols.
func scanFolder(row pgx.Row, f *store.Folder) error {
	err := row.Scan(folderTargets(f)...)
	if errors.Is(err, pgx.ErrNoRows) {
		return noFolder()
	}
	return err
}

// queueFolder adds the reading of a folder to a batch.
func queueFolder(b *pgx.Batch, box store.MailboxID, id store.FolderID, f *store.Folder) {
	b.Queue("select "+folderCols+" from mail.folder where mailbox = $1 and id = $2", int64(box), int64(id)).
		QueryRow(func(row pgx.Row) error { return scanFolder(row, f) })
}

// scanFolders reads rows of folderCols.
func scanFolders(rows pgx.Rows) ([]store.Folder, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (f store.Folder, err error) {
		err = row.Scan(folderTargets(&f)...)
		return f, err
	})
}

// Folders lists all folders, parents before children.
func (s *Store) Folders(ctx context.Context, as directory.Principal, box store.MailboxID) (list []store.Folder, seq store.Seq, err error) {
	defer fault.Wrap(&err, "folders of mailbox %d", box)
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return nil, 0, err
	}
	err = s.retryMade(ctx, h, box, func() error {
		return h.db.Snapshot(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
			b := &pgx.Batch{}
			b.Queue("select hierarchy_seq from mail.mailbox where id = $1", int64(box)).QueryRow(func(row pgx.Row) error {
				err := row.Scan(&seq)
				if errors.Is(err, pgx.ErrNoRows) {
					return fault.New(fault.NotFound, "no such mailbox")
				}
				return err
			})
			b.Queue("select "+folderCols+" from mail.folder where mailbox = $1 order by name_key", int64(box)).Query(func(rows pgx.Rows) (err error) {
				list, err = scanFolders(rows)
				return err
			})
			return tx.SendBatchAndCommit(ctx, b)
		})
	})
	list = slices.DeleteFunc(list, func(f store.Folder) bool { return x.rights(f.ID) == 0 })
	for i := range list {
		x.show(&list[i])
	}
	return inOrder(list), seq, err
}

// inOrder puts parents before children, the standard folders first.
func inOrder(list []store.Folder) []store.Folder {
	children := make(map[store.FolderID][]store.Folder)
	for _, f := range list {
		children[f.Parent] = append(children[f.Parent], f)
	}
	rank := func(f store.Folder) int {
		for i, st := range standard {
			if f.Role != "" && st.role == f.Role {
				return i
			}
		}
		return len(standard)
	}
	sorted := make([]store.Folder, 0, len(list))
	var add func(parent store.FolderID)
	add = func(parent store.FolderID) {
		level := children[parent]
		delete(children, parent)
		slices.SortStableFunc(level, func(a, b store.Folder) int { return cmp.Compare(rank(a), rank(b)) })
		for _, f := range level {
			sorted = append(sorted, f)
			add(f.ID)
		}
	}
	add(0)
	return sorted
}

// Folder gives one folder.
func (s *Store) Folder(ctx context.Context, as directory.Principal, box store.MailboxID, id store.FolderID) (f store.Folder, err error) {
	defer fault.Wrap(&err, "folder %d of mailbox %d", id, box)
	return s.oneFolder(ctx, as, box, "id = $2", int64(id))
}

// FolderByRole gives a standard folder.
func (s *Store) FolderByRole(ctx context.Context, as directory.Principal, box store.MailboxID, r store.Role) (f store.Folder, err error) {
	defer fault.Wrap(&err, "folder %q of mailbox %d", r, box)
	if r == store.RoleNone {
		return f, noFolder()
	}
	return s.oneFolder(ctx, as, box, "role = $2 and role <> ''", string(r))
}

func (s *Store) oneFolder(ctx context.Context, as directory.Principal, box store.MailboxID, where string, arg any) (f store.Folder, err error) {
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return f, err
	}
	err = s.retryMade(ctx, h, box, func() error {
		return scanFolder(h.db.QueryRow(ctx, "select "+folderCols+" from mail.folder where mailbox = $1 and "+where, int64(box), arg), &f)
	})
	if err == nil && !x.show(&f) {
		return store.Folder{}, noFolder()
	}
	return f, err
}

// FolderChanges lists what changed in the tree after since.
func (s *Store) FolderChanges(ctx context.Context, as directory.Principal, box store.MailboxID, since store.Seq) (c store.FolderChanges, err error) {
	defer fault.Wrap(&err, "folder changes of mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return c, err
	}
	err = s.retryMade(ctx, h, box, func() error {
		return h.db.Snapshot(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
			c = store.FolderChanges{}
			var floor store.Seq
			b := &pgx.Batch{}
			b.Queue("select hierarchy_seq, hierarchy_floor from mail.mailbox where id = $1", int64(box)).QueryRow(func(row pgx.Row) error {
				err := row.Scan(&c.At, &floor)
				if errors.Is(err, pgx.ErrNoRows) {
					return fault.New(fault.NotFound, "no such mailbox")
				}
				return err
			})
			b.Queue("select "+folderCols+" from mail.folder where mailbox = $1 and changed_seq > $2 order by name_key", int64(box), int64(since)).
				Query(func(rows pgx.Rows) (err error) {
					c.Changed, err = scanFolders(rows)
					return err
				})
			b.Queue("select id from mail.folder_tombstone where mailbox = $1 and seq > $2 order by seq, id", int64(box), int64(since)).
				Query(func(rows pgx.Rows) (err error) {
					c.Gone, err = pgx.CollectRows(rows, pgx.RowTo[store.FolderID])
					return err
				})
			if err := tx.SendBatchAndCommit(ctx, b); err != nil {
				return err
			}
			if since > 0 && since < floor {
				return fault.New(fault.Resync, "the folder position is too old")
			}
			return nil
		})
	})
	if err != nil {
		return store.FolderChanges{}, err
	}
	return c, nil
}

// tree reads the folder tree inside a change.
func (c *change) tree(ctx context.Context) (map[store.FolderID]store.Folder, error) {
	rows, err := c.tx.Query(ctx, "select "+folderCols+" from mail.folder where mailbox = $1", int64(c.box))
	if err != nil {
		return nil, err
	}
	list, err := scanFolders(rows)
	if err != nil {
		return nil, err
	}
	all := make(map[store.FolderID]store.Folder, len(list))
	for _, f := range list {
		all[f.ID] = f
	}
	return all, nil
}

// place checks that a folder called name may live under parent; id is the
// folder that is moved there, 0 for a new one.
func place(all map[store.FolderID]store.Folder, id, parent store.FolderID, name string) error {
	depth := 0
	for p := parent; p != 0; depth++ {
		f, ok := all[p]
		if !ok {
			return fault.New(fault.NotFound, "no such parent folder")
		}
		if p == id {
			return fault.New(fault.Invalid, "a folder cannot be moved into itself")
		}
		if depth >= maxDepth {
			return fault.New(fault.Limit, "folders are nested at most %d deep", maxDepth)
		}
		p = f.Parent
	}
	key := nameKey(name)
	for _, f := range all {
		if f.ID != id && f.Parent == parent && nameKey(f.Name) == key {
			return fault.New(fault.Exists, "a folder of that name is already there")
		}
	}
	return nil
}

// CreateFolder makes a folder: Parent, Name, Class (mail when empty), Role
// (only a role that the mailbox does not have yet) and Subscribed of f count.
func (s *Store) CreateFolder(ctx context.Context, as directory.Principal, box store.MailboxID, f store.Folder) (made store.Folder, err error) {
	defer fault.Wrap(&err, "create folder in mailbox %d", box)
	name, err := folderName(f.Name)
	if err != nil {
		return made, err
	}
	if f.Class == "" {
		f.Class = store.ClassMail
	}
	switch f.Class {
	case store.ClassMail, store.ClassCalendar, store.ClassContacts, store.ClassTasks, store.ClassNotes, store.ClassJournal:
	default:
		return made, fault.New(fault.Invalid, "no such class of folders")
	}
	if f.Role != store.RoleNone && f.Role != store.RoleArchive {
		return made, fault.New(fault.Exists, "the mailbox has that standard folder")
	}
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return made, err
	}
	if err := x.may(f.Parent, store.RightSubfolders); err != nil {
		return made, err
	}
	f.Name, f.Origin = name, store.OriginOwn
	_, err = s.changeIn(ctx, h, box, changeOf{ids: 1, run: func(ctx context.Context, c *change) (err error) {
		if made, err = c.createFolder(ctx, f); err == nil {
			c.inherit(&made, x)
		}
		return err
	}})
	if err != nil {
		return store.Folder{}, err
	}
	return made, nil
}

// createFolder makes a folder, with the first of the ids reserved.
func (c *change) createFolder(ctx context.Context, f store.Folder) (made store.Folder, err error) {
	all, err := c.tree(ctx)
	if err != nil {
		return made, err
	}
	if len(all) >= maxFolders {
		return made, fault.New(fault.Limit, "a mailbox has at most %d folders", maxFolders)
	}
	if err := place(all, 0, f.Parent, f.Name); err != nil {
		return made, err
	}
	for _, other := range all {
		if f.Role != store.RoleNone && other.Role == f.Role {
			return made, fault.New(fault.Exists, "the mailbox has that standard folder")
		}
	}
	c.hierarchy = true
	made = store.Folder{
		ID: store.FolderID(c.firstID), Parent: f.Parent, Name: f.Name, Role: f.Role, Class: f.Class, Origin: f.Origin,
		UIDNext: 1, HighestSeq: c.seq, Subscribed: f.Subscribed, Changed: c.seq, Created: c.seq,
	}
	// A name that is used again must not get an older UIDVALIDITY
	// (RFC 9051 section 2.3.1.1): seconds of the clock, never twice.
	err = c.tx.QueryRow(ctx, `
		update mail.mailbox set next_uidvalidity = greatest(next_uidvalidity, $2) + 1
		where id = $1 returning next_uidvalidity - 1`, int64(c.box), time.Now().Unix()).Scan(&made.UIDValidity)
	if err != nil {
		return made, err
	}
	c.last.Queue(`
		insert into mail.folder (mailbox, id, parent, uidvalidity, highest_seq, created_seq, changed_seq,
			subscribed, name, name_key, role, class, origin)
		values ($1, $2, $3, $4, $5, $5, $5, $6, $7, $8, $9, $10, $11)`,
		int64(c.box), int64(made.ID), int64(made.Parent), int64(made.UIDValidity), int64(c.seq),
		made.Subscribed, made.Name, nameKey(made.Name), string(made.Role), string(made.Class), string(made.Origin))
	return made, nil
}

// RenameFolder gives a folder another parent and name.
func (s *Store) RenameFolder(ctx context.Context, as directory.Principal, box store.MailboxID, id, parent store.FolderID, name string) (f store.Folder, err error) {
	defer fault.Wrap(&err, "rename folder %d of mailbox %d", id, box)
	name, err = folderName(name)
	if err != nil {
		return f, err
	}
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return f, err
	}
	if err := x.may(id, store.RightOwner); err != nil {
		return f, err
	}
	_, err = s.changeIn(ctx, h, box, changeOf{run: func(ctx context.Context, c *change) error {
		all, err := c.tree(ctx)
		if err != nil {
			return err
		}
		var ok bool
		if f, ok = all[id]; !ok {
			return noFolder()
		}
		if !x.all { // who sees less of the tree leaves the folder where it is, or puts it where it may
			if x.rights(f.Parent) == 0 && parent == 0 {
				parent = f.Parent
			}
			if parent != f.Parent {
				if err := x.may(parent, store.RightSubfolders); err != nil {
					return err
				}
			}
		}
		if f.Role != store.RoleNone {
			return fault.New(fault.Denied, "standard folders cannot be moved or renamed")
		}
		if err := place(all, id, parent, name); err != nil {
			return err
		}
		if f.Parent == parent && f.Name == name {
			return errNothing
		}
		below, err := depthBelow(all, id)
		if err != nil {
			return err
		}
		if above := depthOf(all, parent); above+below > maxDepth {
			return fault.New(fault.Limit, "folders are nested at most %d deep", maxDepth)
		}
		x.show(&f)
		f.Parent, f.Name, f.Changed = parent, name, c.seq
		c.hierarchy = true
		c.last.Queue("update mail.folder set parent = $3, name = $4, name_key = $5, changed_seq = $6 where mailbox = $1 and id = $2",
			int64(box), int64(id), int64(parent), name, nameKey(name), int64(c.seq))
		return nil
	}})
	if err != nil {
		return store.Folder{}, err
	}
	return f, nil
}

func depthOf(all map[store.FolderID]store.Folder, id store.FolderID) (n int) {
	for ; id != 0 && n <= maxDepth; n++ {
		id = all[id].Parent
	}
	return n
}

// depthBelow is the height of the tree at id, 1 when it has no children.
func depthBelow(all map[store.FolderID]store.Folder, id store.FolderID) (int, error) {
	deepest := 0
	for _, f := range all {
		n := 1
		for at := f.ID; at != id; n++ {
			if at == 0 || n > 2*maxDepth {
				n = 0
				break
			}
			at = all[at].Parent
		}
		deepest = max(deepest, n)
	}
	return deepest, nil
}

// DeleteFolder deletes a folder, with all below it when deep is set.
func (s *Store) DeleteFolder(ctx context.Context, as directory.Principal, box store.MailboxID, id store.FolderID, deep bool) (err error) {
	defer fault.Wrap(&err, "delete folder %d of mailbox %d", id, box)
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return err
	}
	_, err = s.changeIn(ctx, h, box, changeOf{run: func(ctx context.Context, c *change) error {
		all, err := c.tree(ctx)
		if err != nil {
			return err
		}
		if err := x.may(id, store.RightOwner); err != nil {
			return err
		}
		if _, ok := all[id]; !ok {
			return noFolder()
		}
		doomed := []store.FolderID{id}
		for i := 0; i < len(doomed); i++ {
			if all[doomed[i]].Role != store.RoleNone {
				return fault.New(fault.Denied, "standard folders cannot be deleted")
			}
			if x.may(doomed[i], store.RightOwner) != nil {
				return fault.New(fault.Denied, "the folder has folders below it that are not yours to delete")
			}
			for _, f := range all {
				if f.Parent == doomed[i] {
					doomed = append(doomed, f.ID)
				}
			}
			if len(doomed) > 1 && !deep {
				return fault.New(fault.Conflict, "the folder has folders below it")
			}
		}
		slices.Sort(doomed)
		var fed []store.Folder
		for _, f := range doomed {
			if all[f].Origin != store.OriginOwn {
				fed = append(fed, all[f])
				continue
			}
			c.used -= all[f].Size
			c.recoverable += all[f].Size
			c.items -= int64(all[f].Total)
		}
		c.hierarchy = true
		c.dropFolders(fed)
		// In sets, so that a large folder takes one transaction. Nobody can ask for
		// the changes of a folder that is gone; the tombstones are for those of the
		// whole mailbox.
		c.last.Queue(`
			with gone as (
				delete from mail.entry where mailbox = $1 and folder = any($2)
				returning item, folder, uid, entered_seq, size, received, flags, keywords, props),
			tombstone as (
				insert into mail.tombstone (mailbox, folder, left_seq, item, uid, entered_seq, received, name)
				select $1, folder, $3, item, uid, entered_seq, received,
					(select name from mail.object o where o.mailbox = $1 and o.item = gone.item)
				from gone),
			object as (
				update mail.object set folder = null where mailbox = $1 and folder = any($2)),
			occurrence as (
				update mail.occurrence set folder = null where mailbox = $1 and folder = any($2)),
			props as (
				delete from mail.folder_props where mailbox = $1 and folder = any($2)),
			share as (
				delete from mail.share where mailbox = $1 and folder = any($2))
			insert into mail.recoverable (mailbox, item, folder, size, received, flags, keywords, props)
			select $1, item, folder, size, received, flags, keywords, props from gone`,
			int64(box), ids(doomed), int64(c.seq))
		c.last.Queue("delete from mail.publication where mailbox = $1 and folder = any($2)", int64(box), ids(doomed))
		c.last.Queue("delete from mail.folder where mailbox = $1 and id = any($2)", int64(box), ids(doomed))
		c.last.Queue("insert into mail.folder_tombstone (mailbox, seq, id) select $1, $2, unnest($3::bigint[])",
			int64(box), int64(c.seq), ids(doomed))
		return nil
	}})
	return err
}

// SubscribeFolder marks a folder as subscribed or not.
func (s *Store) SubscribeFolder(ctx context.Context, as directory.Principal, box store.MailboxID, id store.FolderID, on bool) (err error) {
	defer fault.Wrap(&err, "subscribe folder %d of mailbox %d", id, box)
	_, err = s.change(ctx, as, box, changeOf{run: func(ctx context.Context, c *change) error {
		var was bool
		err := c.tx.QueryRow(ctx, "select subscribed from mail.folder where mailbox = $1 and id = $2", int64(box), int64(id)).Scan(&was)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return noFolder()
		case err != nil:
			return err
		case was == on:
			return errNothing
		}
		c.hierarchy = true
		c.last.Queue("update mail.folder set subscribed = $3, changed_seq = $4 where mailbox = $1 and id = $2",
			int64(box), int64(id), on, int64(c.seq))
		return nil
	}})
	return err
}
