package postgres

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

func errFed() error {
	return fault.New(fault.Denied, "what is in this folder comes from elsewhere and cannot be changed here")
}

// fedFolders are the folders of a mailbox that are fed.
type fedFolders map[store.FolderID]bool

// queue reads which they are.
func (f *fedFolders) queue(b *pgx.Batch, box store.MailboxID) {
	*f = nil
	b.Queue("select id from mail.folder where mailbox = $1 and origin <> ''", int64(box)).Query(func(rows pgx.Rows) error {
		list, err := pgx.CollectRows(rows, pgx.RowTo[store.FolderID])
		if len(list) > 0 {
			*f = make(fedFolders, len(list))
		}
		for _, id := range list {
			(*f)[id] = true
		}
		return err
	})
}

// refuse is Denied when one of the entries is in a fed folder.
func (f fedFolders) refuse(list []*store.Entry) error {
	if len(f) > 0 && slices.ContainsFunc(list, func(e *store.Entry) bool { return f[e.Folder] }) {
		return errFed()
	}
	return nil
}

// DropObjects removes objects of a fed folder for good.
func (s *Store) DropObjects(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, items []store.ItemID) (seq store.Seq, err error) {
	defer fault.Wrap(&err, "drop from folder %d of mailbox %d", folder, box)
	if !as.Is(directory.RoleSystem) {
		return 0, errFed()
	}
	if items, err = distinct(items); err != nil {
		return 0, err
	}
	var found []store.Entry
	var fed fedFolders
	return s.change(ctx, as, box, changeOf{
		first: func(b *pgx.Batch) {
			queueItems(b, box, items, &found)
			fed.queue(b, box)
		},
		run: func(_ context.Context, c *change) error {
			if !fed[folder] {
				return fault.New(fault.NotFound, "no such folder that is fed")
			}
			var doomed []*store.Entry
			for i := range found {
				if found[i].Folder == folder {
					doomed = append(doomed, &found[i])
				}
			}
			if len(doomed) == 0 {
				return errNothing
			}
			c.drop(doomed)
			return nil
		},
	})
}

// drop removes entries of fed folders for good.
func (c *change) drop(doomed []*store.Entry) {
	var items []int64
	for _, e := range doomed {
		items = append(items, int64(e.Item))
		c.folder(e.Folder).leave(e)
		c.used -= e.Size
		c.items--
	}
	queueTombstones(c, items, nil)
	c.last.Queue(`
		with entry as (
			delete from mail.entry where mailbox = $1 and item = any($2)),
		occurrence as (
			delete from mail.occurrence where mailbox = $1 and item = any($2)),
		object as (
			delete from mail.object where mailbox = $1 and item = any($2) returning blob)
		insert into mail.blob_check (hash) select distinct blob from object where blob is not null order by blob
		on conflict (hash) do update set at = now()`, int64(c.box), items)
}

// dropFolders ends the feeding of folders, which are about to go, and removes what
// was in them for good.
func (c *change) dropFolders(fed []store.Folder) {
	if len(fed) == 0 {
		return
	}
	var folders []int64
	for _, f := range fed {
		folders = append(folders, int64(f.ID))
		c.used -= f.Size
		c.items -= int64(f.Total)
	}
	c.last.Queue(`
		with entry as (
			delete from mail.entry where mailbox = $1 and folder = any($2)),
		occurrence as (
			delete from mail.occurrence where mailbox = $1 and folder = any($2)),
		object as (
			delete from mail.object where mailbox = $1 and folder = any($2) returning blob),
		feed as (
			delete from mail.feed where mailbox = $1 and folder = any($2)),
		birthdays as (
			delete from mail.birthdays where mailbox = $1 and folder = any($2))
		insert into mail.blob_check (hash) select distinct blob from object where blob is not null order by blob
		on conflict (hash) do update set at = now()`, int64(c.box), folders)
}

// createFed makes a fed folder with its properties.
func (c *change) createFed(ctx context.Context, f store.Folder, p store.FolderProps) (store.Folder, error) {
	made, err := c.createFolder(ctx, f)
	if err != nil {
		return made, err
	}
	data, err := json.Marshal(p)
	if err != nil {
		return made, err
	}
	c.last.Queue("insert into mail.folder_props (mailbox, folder, data) values ($1, $2, $3)", int64(c.box), int64(made.ID), jsonText(data))
	return made, nil
}
