package postgres

import (
	"cmp"
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

// queueTarget reads the folder that items go to.
func queueTarget(b *pgx.Batch, box store.MailboxID, id store.FolderID, f *store.Folder, missing *bool) {
	*missing = false
	b.Queue("select "+folderCols+" from mail.folder where mailbox = $1 and id = $2", int64(box), int64(id)).
		QueryRow(func(row pgx.Row) error {
			// Told after the batch, so that the mailbox's own absence wins.
			err := scanFolder(row, f)
			if fault.Of(err) == fault.NotFound {
				*missing = true
				return nil
			}
			return err
		})
}

// inSourceOrder sorts entries as they stand in their folders, which is the
// order they get in the new one.
func inSourceOrder(list []*store.Entry) {
	slices.SortFunc(list, func(a, b *store.Entry) int {
		return cmp.Or(cmp.Compare(a.Folder, b.Folder), cmp.Compare(a.UID, b.UID))
	})
}

// numbers checks that a folder has n UIDs left.
func numbers(f *store.Folder, n int) error {
	if int64(f.UIDNext)+int64(n) > 1<<32-1 {
		return fault.New(fault.Limit, "the folder has no numbers left")
	}
	return nil
}

// Copy makes new items in another folder, all or none.
func (s *Store) Copy(ctx context.Context, as directory.Principal, box store.MailboxID, from store.FolderID, items []store.ItemID, to store.FolderID) (res store.PlaceResult, err error) {
	defer fault.Wrap(&err, "copy in mailbox %d", box)
	if items, err = distinct(items); err != nil {
		return res, err
	}
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return res, err
	}
	if err := s.mayPlace(ctx, h, x, box, from, items, to, false); err != nil {
		return res, err
	}
	var found []store.Entry
	var objects placings
	var target store.Folder
	var missing bool
	seq, err := s.changeIn(ctx, h, box, changeOf{
		ids: len(items),
		first: func(b *pgx.Batch) {
			queueTarget(b, box, to, &target, &missing)
			queueItems(b, box, items, &found)
			objects.queue(b, box, items)
		},
		run: func(ctx context.Context, c *change) error {
			res = store.PlaceResult{}
			if missing {
				return noFolder()
			}
			res.UIDValidity = target.UIDValidity
			byItem := index(found)
			var sources []*store.Entry
			for _, item := range items {
				e := byItem[item]
				if e == nil || from != 0 && e.Folder != from {
					return fault.New(fault.NotFound, "a message to be copied is gone")
				}
				sources = append(sources, e)
			}
			if len(sources) == 0 {
				return errNothing
			}
			if target.Origin != store.OriginOwn {
				return errFed()
			}
			if err := numbers(&target, len(sources)); err != nil {
				return err
			}
			inSourceOrder(sources)
			if err := objects.settle(ctx, c, sources, func(*store.Entry) store.Folder { return target }); err != nil {
				return err
			}
			d := c.folder(to)
			placed := make(map[store.ItemID]store.Placed, len(sources))
			var olds, news, uids []int64
			for i, e := range sources {
				c.used += e.Size
				c.items++
				id, uid := store.ItemID(c.firstID+int64(i)), target.UIDNext+store.UID(i)
				olds, news, uids = append(olds, int64(e.Item)), append(news, int64(id)), append(uids, int64(uid))
				d.uids++
				d.enter(e)
				placed[e.Item] = store.Placed{Item: e.Item, UID: e.UID, To: id, ToUID: uid, Was: e.Changed}
			}
			if limit := c.limit(); limit > 0 && c.row.used+c.used > limit {
				return overQuota()
			}
			// The sources' messages keep the collector off the contents.
			c.last.Queue(`
				insert into mail.message (mailbox, item, thread, blob_size, sent, blob, prefix, summary, subject, people, preview)
				select $1, u.new, thread, blob_size, sent, blob, prefix, summary, subject, people, preview
				from unnest($2::bigint[], $3::bigint[]) as u (old, new)
				join mail.message m on m.mailbox = $1 and m.item = u.old`, int64(box), olds, news)
			objects.copy(c, x, olds, news)
			c.last.Queue(`
				insert into mail.entry (mailbox, item, folder, uid, received, entered_seq, changed_seq, size, flags, keywords, props)
				select $1, u.new, $2, u.uid, received, $3, $3, size, flags, keywords, props
				from unnest($4::bigint[], $5::bigint[], $6::bigint[]) as u (old, new, uid)
				join mail.entry e on e.mailbox = $1 and e.item = u.old`, int64(box), int64(to), int64(c.seq), olds, news, uids)
			for _, item := range items {
				res.Placed = append(res.Placed, placed[item])
			}
			return nil
		},
	})
	if err != nil {
		return store.PlaceResult{}, err
	}
	res.Seq = seq
	return res, nil
}

// Move takes items to another folder, all that exist.
func (s *Store) Move(ctx context.Context, as directory.Principal, box store.MailboxID, from store.FolderID, items []store.ItemID, to store.FolderID) (res store.PlaceResult, err error) {
	defer fault.Wrap(&err, "move in mailbox %d", box)
	if items, err = distinct(items); err != nil {
		return res, err
	}
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return res, err
	}
	if err := s.mayPlace(ctx, h, x, box, from, items, to, true); err != nil {
		return res, err
	}
	var found []store.Entry
	var objects placings
	var fed fedFolders
	var target store.Folder
	var missing bool
	seq, err := s.changeIn(ctx, h, box, changeOf{
		first: func(b *pgx.Batch) {
			queueTarget(b, box, to, &target, &missing)
			queueItems(b, box, items, &found)
			fed.queue(b, box)
			objects.queue(b, box, items)
		},
		run: func(ctx context.Context, c *change) error {
			res = store.PlaceResult{}
			if missing {
				return noFolder()
			}
			res.UIDValidity = target.UIDValidity
			byItem := index(found)
			var moving []*store.Entry
			for _, item := range items {
				e := byItem[item]
				if e != nil && e.Folder != to && (from == 0 || e.Folder == from) {
					moving = append(moving, e)
				}
			}
			if len(moving) > 0 && target.Origin != store.OriginOwn {
				return errFed()
			}
			if err := fed.refuse(moving); err != nil {
				return err
			}
			if err := numbers(&target, len(moving)); err != nil {
				return err
			}
			inSourceOrder(moving)
			if err := objects.settle(ctx, c, moving, func(*store.Entry) store.Folder { return target }); err != nil {
				return err
			}
			uid := make(map[store.ItemID]store.UID, len(moving))
			d := c.folder(to)
			var movers, uids []int64
			for i, e := range moving {
				uid[e.Item] = target.UIDNext + store.UID(i)
				movers, uids = append(movers, int64(e.Item)), append(uids, int64(uid[e.Item]))
				c.folder(e.Folder).leave(e)
				d.enter(e)
				d.uids++
			}
			for _, item := range items {
				e := byItem[item]
				p := store.Placed{Item: item}
				switch {
				case e == nil || from != 0 && e.Folder != from && e.Folder != to:
					p.Absent = true
				case e.Folder == to:
					p.There = true
					p.UID, p.To, p.ToUID, p.Was = e.UID, item, e.UID, e.Changed
				default:
					p.UID, p.To, p.ToUID, p.Was = e.UID, item, uid[item], e.Changed
				}
				res.Placed = append(res.Placed, p)
			}
			if len(moving) == 0 {
				return errNothing
			}
			// Tombstones first: they read where the entries are now.
			queueTombstones(c, movers, nil)
			c.last.Queue(`
				update mail.entry e set folder = $2, uid = u.uid, entered_seq = $3, changed_seq = $3
				from unnest($4::bigint[], $5::bigint[]) as u (item, uid)
				where e.mailbox = $1 and e.item = u.item`, int64(box), int64(to), int64(c.seq), movers, uids)
			objects.move(c)
			return nil
		},
	})
	if err != nil {
		return store.PlaceResult{}, err
	}
	res.Seq = seq
	return res, nil
}

// queueTombstones writes tombstones of entries that leave their folders. named,
// if not nil, is told the names of those that are objects, after the commit.
func queueTombstones(c *change, items []int64, named func(store.ItemID, string)) {
	c.last.Queue(`
		with gone as (
			insert into mail.tombstone (mailbox, folder, left_seq, item, uid, entered_seq, received, name)
			select mailbox, folder, $2, item, uid, entered_seq, received,
				(select name from mail.object o where o.mailbox = e.mailbox and o.item = e.item)
			from mail.entry e where mailbox = $1 and item = any($3)
			returning item, name)
		select item, name from gone where name is not null`,
		int64(c.box), int64(c.seq), items).Query(func(rows pgx.Rows) error {
		var item int64
		var name string
		_, err := pgx.ForEachRow(rows, []any{&item, &name}, func() error {
			if named != nil {
				named(store.ItemID(item), name)
			}
			return nil
		})
		return err
	})
}

// Delete makes items of a folder recoverable.
func (s *Store) Delete(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, items []store.ItemID, onlyMarked bool) (seq store.Seq, gone []store.Tombstone, err error) {
	defer fault.Wrap(&err, "delete from folder %d of mailbox %d", folder, box)
	if items, err = distinct(items); err != nil {
		return 0, nil, err
	}
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return 0, nil, err
	}
	if err := s.mayRemove(ctx, h, x, box, folder, items); err != nil {
		return 0, nil, err
	}
	var found []store.Entry
	var fed fedFolders
	seq, err = s.changeIn(ctx, h, box, changeOf{
		first: func(b *pgx.Batch) {
			queueItems(b, box, items, &found)
			fed.queue(b, box)
		},
		run: func(_ context.Context, c *change) error {
			gone = nil
			if fed[folder] {
				return errFed()
			}
			var doomed []*store.Entry
			for i := range found {
				if e := &found[i]; e.Folder == folder && (!onlyMarked || e.Flags&store.Deleted != 0) {
					doomed = append(doomed, e)
				}
			}
			inSourceOrder(doomed)
			gone = c.remove(doomed)
			if len(gone) == 0 {
				return errNothing
			}
			return nil
		},
	})
	if err != nil {
		return 0, nil, err
	}
	return seq, gone, nil
}

// remove makes entries recoverable.
func (c *change) remove(doomed []*store.Entry) (gone []store.Tombstone) {
	if len(doomed) == 0 {
		return nil
	}
	var items []int64
	for _, e := range doomed {
		items = append(items, int64(e.Item))
		c.folder(e.Folder).leave(e)
		c.used -= e.Size
		c.items--
		c.recoverable += e.Size
		gone = append(gone, store.Tombstone{Item: e.Item, UID: e.UID, Entered: e.Entered, Left: c.seq, Received: e.Received})
	}
	at := make(map[store.ItemID]int, len(gone))
	for i := range gone {
		at[gone[i].Item] = i
	}
	queueTombstones(c, items, func(item store.ItemID, name string) { gone[at[item]].Name = name })
	c.last.Queue(`
		with gone as (
			delete from mail.entry where mailbox = $1 and item = any($2)
			returning item, folder, size, received, flags, keywords, props),
		object as ( -- an object's name and UID are free from now on
			update mail.object set folder = null where mailbox = $1 and item = any($2)),
		occurrence as (
			update mail.occurrence set folder = null where mailbox = $1 and item = any($2))
		insert into mail.recoverable (mailbox, item, folder, size, received, flags, keywords, props)
		select $1, item, folder, size, received, flags, keywords, props from gone`, int64(c.box), items)
	return gone
}

// Empty makes all items of a folder recoverable, in pages.
func (s *Store) Empty(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID) (err error) {
	defer fault.Wrap(&err, "empty folder %d of mailbox %d", folder, box)
	f, err := s.Folder(ctx, as, box, folder)
	if err != nil {
		return err
	}
	// What arrives meanwhile stays.
	end := f.UIDNext
	for after := store.UID(0); ; {
		_, list, err := s.Entries(ctx, as, box, folder, after, maxPage)
		if err != nil {
			return err
		}
		var items []store.ItemID
		for _, e := range list {
			if e.UID < end {
				items = append(items, e.Item)
			}
			after = e.UID
		}
		if len(items) > 0 {
			if _, _, err := s.Delete(ctx, as, box, folder, items, false); err != nil {
				return err
			}
		}
		if len(list) < maxPage || after >= end-1 {
			return nil
		}
	}
}

// Recoverables lists what was deleted for good, by Item.
func (s *Store) Recoverables(ctx context.Context, as directory.Principal, box store.MailboxID, after store.ItemID, limit int) (list []store.Recoverable, err error) {
	defer fault.Wrap(&err, "recoverable items of mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return nil, err
	}
	err = reading(ctx, func() error {
		rows, err := h.db.Query(ctx, "select item, folder, size, received, gone from mail.recoverable where mailbox = $1 and item > $2 order by item limit $3",
			int64(box), int64(after), page(limit))
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r store.Recoverable, err error) {
			err = row.Scan(&r.Item, &r.Folder, &r.Size, &r.Received, &r.Gone)
			return r, err
		})
		return err
	})
	return list, err
}

// Restore brings recoverable items back into a folder (0: where they were, or
// the inbox). Items that are no longer recoverable are left out.
func (s *Store) Restore(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID, to store.FolderID) (err error) {
	defer fault.Wrap(&err, "restore in mailbox %d", box)
	if items, err = distinct(items); err != nil {
		return err
	}
	_, err = s.change(ctx, as, box, changeOf{run: func(ctx context.Context, c *change) error {
		all, err := c.tree(ctx)
		if err != nil {
			return err
		}
		target, ok := all[to]
		if !ok && to != 0 {
			return noFolder()
		}
		byRole := make(map[store.Role]store.FolderID)
		for _, f := range all {
			byRole[f.Role] = f.ID
		}
		rows, err := c.tx.Query(ctx, `select item, folder, size, flags from mail.recoverable
			where mailbox = $1 and item = any($2) order by item`, int64(box), ids(items))
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*store.Entry, error) {
			var e store.Entry
			var flags int32
			err := row.Scan(&e.Item, &e.Folder, &e.Size, &flags)
			e.Flags = store.Flags(flags)
			return &e, err
		})
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return errNothing
		}
		var objects placings
		b := &pgx.Batch{}
		objects.queue(b, box, items)
		if err := c.tx.Batch(ctx, b); err != nil {
			return err
		}
		var back, folders, uids []int64
		next := make(map[store.FolderID]int64)
		for _, e := range list {
			if to != 0 {
				e.Folder = target.ID
			} else if _, ok := all[e.Folder]; !ok {
				e.Folder = byRole[objects.role(e.Item)]
			}
			if all[e.Folder].Origin != store.OriginOwn {
				return errFed()
			}
			d := c.folder(e.Folder)
			uid := int64(all[e.Folder].UIDNext) + next[e.Folder]
			next[e.Folder]++
			d.uids++
			d.enter(e)
			c.used += e.Size
			c.items++
			c.recoverable -= e.Size
			back, folders, uids = append(back, int64(e.Item)), append(folders, int64(e.Folder)), append(uids, uid)
			if uid >= 1<<32-1 {
				return fault.New(fault.Limit, "the folder has no numbers left")
			}
		}
		if err := objects.settle(ctx, c, list, func(e *store.Entry) store.Folder { return all[e.Folder] }); err != nil {
			return err
		}
		if limit := c.limit(); limit > 0 && c.row.used+c.used > limit {
			return overQuota()
		}
		c.last.Queue(`
			with back as (
				delete from mail.recoverable where mailbox = $1 and item = any($3)
				returning item, size, received, flags, keywords, props)
			insert into mail.entry (mailbox, item, folder, uid, received, entered_seq, changed_seq, size, flags, keywords, props)
			select $1, item, u.folder, u.uid, received, $2, $2, size, flags, keywords, props
			from back join unnest($3::bigint[], $4::bigint[], $5::bigint[]) as u (id, folder, uid) on u.id = item`,
			int64(box), int64(c.seq), back, folders, uids)
		objects.move(c)
		return nil
	}})
	return err
}
