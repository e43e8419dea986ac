package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

// MailChanges lists a page of the changes of a mailbox's mail.
//
// An item's change is told at its newest: where it changed last, or left the last
// folder of mail. A change between two pages moves it on, so none is missed. Whether it is new is judged by
// the reader's Base, at which it knew everything: it was there when it had
// entered its folder by then, or left one since that it had entered by then. One
// whose mark as deleted was taken off since is told as new.
func (s *Store) MailChanges(ctx context.Context, as directory.Principal, box store.MailboxID, since store.MailPosition, limit int) (c store.MailChanges, err error) {
	defer fault.Wrap(&err, "changes of mail of mailbox %d", box)
	limit = page(limit)
	walking := since.At != (store.Position{})
	if !walking {
		since.At = store.After(since.Base)
	}
	err = s.asking(ctx, as, box, func(ctx context.Context, x *querier) error {
		c = store.MailChanges{}
		switch {
		case since.Base > x.seq || since.At.Seq > x.seq:
			return fault.New(fault.Resync, "there was no such position")
		case since.Base != 0 && since.Base < x.floor:
			return fault.New(fault.Resync, "the position is older than what is kept")
		}
		list, more, err := x.changed(ctx, since, limit)
		if err != nil {
			return err
		}
		c.Position = store.MailPosition{Base: x.seq}
		if more {
			c.More = true
			c.Position = store.MailPosition{Base: since.Base, At: list[limit].at}
			list = list[:limit]
		}
		affected := make(map[store.ThreadID]bool)
		for i := range list {
			e := &list[i]
			switch {
			case e.live && e.was:
				c.Updated = append(c.Updated, e.item)
				// Its conversation has the same items, but when it was restored on the way
				// the conversation may have been told as gone.
				if !e.left || !walking {
					continue
				}
			case e.live:
				c.Created = append(c.Created, e.item)
			case e.was || e.told:
				c.Destroyed = append(c.Destroyed, e.item)
			default:
				continue // it came and went
			}
			if e.thread == 0 {
				c.ThreadsUnknown = true
			} else {
				affected[e.thread] = true
			}
		}
		return x.changedThreads(ctx, since.Base, affected, &c)
	})
	if err != nil {
		return store.MailChanges{}, err
	}
	return c, nil
}

// mailEvent is the newest change of an item.
type mailEvent struct {
	at        store.Position
	item      store.ItemID
	thread    store.ThreadID
	live, was bool
	told      bool // it may have been told on the way from Base
	left      bool // it left a folder since Base
}

// since gives the folders in which something may have happened after base: those
// whose newest change is newer, and those that are gone since.
const sinceFolders = `
	select id from mail.folder where mailbox = $1 and class = 'mail' and highest_seq > $2
	union all select id from mail.folder_tombstone where mailbox = $1 and seq > $2`

// changed reads events at and after a position, at most limit and one more.
func (x *querier) changed(ctx context.Context, since store.MailPosition, limit int) (list []mailEvent, more bool, err error) {
	rows, err := x.tx.Query(ctx, `
		with f as materialized (`+sinceFolders+`),
		-- what left a folder since Base; one that it had entered before, if any
		gone as materialized (
			select t.item, max(t.left_seq) as seq, min(t.entered_seq) as entered from f
			join mail.tombstone t on t.mailbox = $1 and t.folder = f.id and t.left_seq > $2
			where t.name is null group by t.item),
		here as (
			select e.item, e.changed_seq as seq, case when e.shown_seq > $2 then e.shown_seq else least(e.entered_seq, g.entered) end as entered, e.flags & $6 = 0 as live, g.item is not null as gone from f
			join mail.entry e on e.mailbox = $1 and e.folder = f.id and (e.changed_seq, e.item) >= ($3, $4)
			left join gone g on g.item = e.item
			where exists (select from mail.message m where m.mailbox = $1 and m.item = e.item)
			order by e.changed_seq, e.item limit $5),
		-- not those that are in another folder now
		left_all as (
			select g.item, g.seq, g.entered, false as live, true as gone from gone g
			where (g.seq, g.item) >= ($3, $4) and not exists (
				select from mail.entry e join mail.folder l on l.mailbox = $1 and l.id = e.folder and l.class = 'mail'
				where e.mailbox = $1 and e.item = g.item)
			order by g.seq, g.item limit $5)
		select a.seq, a.item, a.entered, a.live, a.gone, coalesce((select m.thread from mail.message m where m.mailbox = $1 and m.item = a.item), 0)
		from (select * from here union all select * from left_all) a order by a.seq, a.item limit $5`,
		int64(x.box), int64(since.Base), int64(since.At.Seq), int64(since.At.Item), limit+1, int32(store.Deleted))
	if err != nil {
		return nil, false, err
	}
	var e mailEvent
	var entered store.Seq
	_, err = pgx.ForEachRow(rows, []any{&e.at.Seq, &e.item, &entered, &e.live, &e.left, &e.thread}, func() error {
		e.at.Item = e.item
		e.was = entered <= since.Base
		e.told = since.At != store.After(since.Base) && (store.Position{Seq: entered, Item: e.item}).Less(since.At)
		list = append(list, e)
		return nil
	})
	return list, len(list) > limit, err
}

// changedThreads tells what became of the conversations of items that came or
// went.
func (x *querier) changedThreads(ctx context.Context, base store.Seq, affected map[store.ThreadID]bool, c *store.MailChanges) error {
	if len(affected) == 0 {
		return nil
	}
	threads := make([]int64, 0, len(affected))
	for t := range affected {
		threads = append(threads, int64(t))
	}
	slices.Sort(threads)
	rows, err := x.tx.Query(ctx, `
		with f as materialized (`+sinceFolders+`),
		was as materialized (
			select t.item from f join mail.tombstone t on t.mailbox = $1 and t.folder = f.id and t.left_seq > $2
			where t.entered_seq <= $2)
		select m.thread, bool_or(coalesce(e.flags & $4 = 0, false)),
			bool_or((coalesce(e.entered_seq <= $2, false) or m.item in (select item from was)) and coalesce(e.shown_seq, 0) <= $2)
		from mail.message m left join mail.entry e on e.mailbox = $1 and e.item = m.item and e.folder = any($5)
		where m.mailbox = $1 and m.thread = any($3) group by m.thread order by m.thread`,
		int64(x.box), int64(base), threads, int32(store.Deleted), x.folders)
	if err != nil {
		return err
	}
	var t store.ThreadID
	var is, was bool
	_, err = pgx.ForEachRow(rows, []any{&t, &is, &was}, func() error {
		switch {
		case is && was:
			c.UpdatedThreads = append(c.UpdatedThreads, t)
		case is:
			c.CreatedThreads = append(c.CreatedThreads, t)
		default:
			c.DestroyedThreads = append(c.DestroyedThreads, t)
		}
		return nil
	})
	return err
}
