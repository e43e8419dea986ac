package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"waypost/internal/fault"
	"waypost/store"
	"waypost/store/object"
)

// placing is an object on its way into a folder.
type placing struct {
	item   store.ItemID
	folder store.FolderID
	kind   store.Kind
	uid    string
	name   string
}

// placings are the objects among items that are moved, copied or restored.
type placings struct {
	all    map[store.ItemID]*placing
	placed []*placing
}

// queue reads which of the items are objects.
func (p *placings) queue(b *pgx.Batch, box store.MailboxID, items []store.ItemID) {
	p.all, p.placed = nil, nil
	b.Queue("select item, kind, uid, name from mail.object where mailbox = $1 and item = any($2)", int64(box), ids(items)).
		Query(func(rows pgx.Rows) error {
			var x placing
			_, err := pgx.ForEachRow(rows, []any{&x.item, &x.kind, &x.uid, &x.name}, func() error {
				if p.all == nil {
					p.all = make(map[store.ItemID]*placing)
				}
				one := x
				p.all[one.item] = &one
				return nil
			})
			return err
		})
}

// role is the standard folder of an item.
func (p *placings) role(item store.ItemID) store.Role {
	if x := p.all[item]; x != nil {
		return object.RoleOf(x.kind)
	}
	return store.RoleInbox
}

// settle checks that entries may be in the folders that they go to. A folder
// takes objects of its class, each UID once; a name that is taken there is
// replaced.
func (p *placings) settle(ctx context.Context, c *change, list []*store.Entry, to func(*store.Entry) store.Folder) error {
	type key struct {
		folder store.FolderID
		text   string
	}
	var folders []int64
	var uids, names []string
	var objects []*placing
	known, named := make(map[key]bool), make(map[key]bool)
	for _, e := range list {
		f := to(e)
		x := p.all[e.Item]
		if x == nil {
			if f.Class != store.ClassMail {
				return fault.New(fault.Invalid, "a folder of class %s takes no messages", f.Class)
			}
			continue
		}
		kind, ok := object.In(f.Class, x.kind)
		if !ok {
			return object.Misplaced(f.Class, x.kind)
		}
		x.kind, x.folder = kind, f.ID
		if k := (key{f.ID, x.uid}); known[k] {
			return taken()
		} else {
			known[k] = true
		}
		objects = append(objects, x)
		folders, uids, names = append(folders, int64(f.ID)), append(uids, x.uid), append(names, x.name)
	}
	p.placed = objects
	if len(objects) == 0 {
		return nil
	}
	rows, err := c.tx.Query(ctx, `
		select u.folder, u.name, exists (select from mail.object o where o.mailbox = $1 and o.folder = u.folder and o.uid = u.uid),
			exists (select from mail.object o where o.mailbox = $1 and o.folder = u.folder and o.name = u.name)
		from unnest($2::bigint[], $3::text[], $4::text[]) as u (folder, uid, name)`, int64(c.box), folders, uids, names)
	if err != nil {
		return err
	}
	var folder int64
	var name string
	var uidTaken, nameTaken, conflict bool
	_, err = pgx.ForEachRow(rows, []any{&folder, &name, &uidTaken, &nameTaken}, func() error {
		conflict = conflict || uidTaken
		if nameTaken {
			named[key{store.FolderID(folder), name}] = true
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case conflict:
		return taken()
	}
	for _, x := range objects {
		k := key{x.folder, x.name}
		if named[k] {
			x.name = newName(x.kind)
		}
		named[k] = true
	}
	return nil
}

func taken() error {
	return fault.New(fault.Conflict, "the folder has an object with this UID already")
}

// columns are those of the objects that settle placed.
func (p *placings) columns() (items, folders []int64, kinds, names []string) {
	for _, x := range p.placed {
		items, folders = append(items, int64(x.item)), append(folders, int64(x.folder))
		kinds, names = append(kinds, string(x.kind)), append(names, x.name)
	}
	return items, folders, kinds, names
}

// move has the objects in their new folders.
func (p *placings) move(c *change) {
	if len(p.placed) == 0 {
		return
	}
	items, folders, kinds, names := p.columns()
	c.last.Queue(`
		with u as (
			select * from unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[]) as u (id, dest, as_kind, called)),
		occurrence as (
			update mail.occurrence o set folder = u.dest from u where o.mailbox = $1 and o.item = u.id)
		update mail.object o set folder = u.dest, kind = u.as_kind, name = u.called from u where o.mailbox = $1 and o.item = u.id`,
		int64(c.box), items, folders, kinds, names)
}

// copy makes new objects of the old ones.
func (p *placings) copy(c *change, x *access, olds, news []int64) {
	if len(p.placed) == 0 {
		return
	}
	to := make(map[int64]int64, len(olds))
	for i, old := range olds {
		to[old] = news[i]
	}
	items, folders, kinds, names := p.columns()
	copies := make([]int64, len(items))
	for i, item := range items {
		copies[i] = to[item]
	}
	// The sources keep the collector off the contents.
	c.last.Queue(`
		with u as (
			select * from unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[]) as u (id, copy, dest, as_kind, called)),
		occurrence as (
			insert into mail.occurrence (mailbox, item, folder, starts, ends, flags, instance)
			select $1, u.copy, u.dest, starts, ends, flags, instance from u join mail.occurrence o on o.mailbox = $1 and o.item = u.id)
		insert into mail.object (mailbox, item, folder, version, blob_size, starts, ends, expanded_from, expanded_to, kind, uid, name, blob, text, search, creator)
		select $1, u.copy, u.dest, $7, blob_size, starts, ends, expanded_from, expanded_to, u.as_kind, uid, u.called, blob, text, search, nullif($8::bigint, 0)
		from u join mail.object o on o.mailbox = $1 and o.item = u.id`,
		int64(c.box), items, copies, folders, kinds, names, int64(c.seq), int64(x.who))
}
