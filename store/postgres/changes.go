package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/store"
)

// Changes lists a page of the changes of a folder after since.
//
// An arrival is reported at its Entered, which never changes, and a change of
// what had already arrived at its Changed. So a reader in pages meets every
// arrival once, as new, however often the item is marked between its pages; a
// mark that it sees with the arrival it may see again as a change. Each of the
// three lists is read from its own index, at most a page of it, and they are
// merged up to where all of them are complete.
func (s *Store) Changes(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, since store.Position, limit int) (c store.Changes, err error) {
	defer fault.Wrap(&err, "changes of folder %d of mailbox %d", folder, box)
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return c, err
	}
	if err := x.mayRead(folder); err != nil {
		return c, err
	}
	if limit <= 0 {
		limit = 100
	}
	limit = min(limit, maxPage)
	var arrived, changed []store.Entry
	var gone []store.Tombstone
	err = s.retryMade(ctx, h, box, func() error {
		return h.db.Snapshot(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
			c, arrived, changed, gone = store.Changes{}, nil, nil, nil
			b := &pgx.Batch{}
			args := []any{int64(box), int64(folder), int64(since.Seq), int64(since.Item), limit + 1}
			queueFolder(b, box, folder, &c.Folder)
			b.Queue("select "+entryCols+` from mail.entry where mailbox = $1 and folder = $2
				and (entered_seq, item) >= ($3, $4) order by entered_seq, item limit $5`, args...).
				Query(func(rows pgx.Rows) error { return entries(rows, &arrived, 16) })
			b.Queue("select "+entryCols+` from mail.entry where mailbox = $1 and folder = $2
				and (changed_seq, item) >= ($3, $4) order by changed_seq, item limit $5`, args...).
				Query(func(rows pgx.Rows) error { return entries(rows, &changed, 16) })
			b.Queue(`select item, uid, entered_seq, left_seq, received, coalesce(name, '') from mail.tombstone where mailbox = $1 and folder = $2
				and (left_seq, item) >= ($3, $4) order by left_seq, item limit $5`, args...).
				Query(func(rows pgx.Rows) (err error) {
					gone, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t store.Tombstone, err error) {
						err = row.Scan(&t.Item, &t.UID, &t.Entered, &t.Left, &t.Received, &t.Name)
						return t, err
					})
					return err
				})
			return tx.SendBatchAndCommit(ctx, b)
		})
	})
	if err != nil {
		return store.Changes{}, err
	}
	x.show(&c.Folder)
	if tooOld(since, c.Folder.Floor) {
		return store.Changes{}, fault.New(fault.Resync, "the position is older than what is kept")
	}
	merge(&c, since, arrived, changed, gone, limit)
	return c, nil
}

// tooOld tells that tombstones after since are gone. Who holds nothing, at the
// zero Position, needs none.
func tooOld(since store.Position, floor store.Seq) bool {
	return since != (store.Position{}) && since.Less(store.After(floor))
}

// event is one line of a page: an entry or a tombstone with its position.
type event struct {
	at    store.Position
	entry *store.Entry
	gone  *store.Tombstone
}

// merge makes the page. Each list is complete up to its last element when it
// has more than limit of them, and complete to the end otherwise.
func merge(c *store.Changes, since store.Position, arrived, changed []store.Entry, gone []store.Tombstone, limit int) {
	c.Since = since
	end := store.Position{Seq: c.Folder.HighestSeq, Item: store.MaxItem}
	if end.Less(since) {
		end = since
	}
	full := end
	var events []event
	cover := func(n int, last store.Position) {
		if n > limit && last.Less(end) {
			end = last
		}
	}
	for i := range arrived {
		e := &arrived[i]
		events = append(events, event{at: store.Position{Seq: e.Entered, Item: e.Item}, entry: e})
	}
	if n := len(arrived); n > 0 {
		cover(n, store.Position{Seq: arrived[n-1].Entered, Item: arrived[n-1].Item})
	}
	for i := range changed {
		e := &changed[i]
		// Those that arrived after since are told as arrivals.
		if (store.Position{Seq: e.Entered, Item: e.Item}).Less(since) {
			events = append(events, event{at: store.Position{Seq: e.Changed, Item: e.Item}, entry: e})
		}
	}
	if n := len(changed); n > 0 {
		cover(n, store.Position{Seq: changed[n-1].Changed, Item: changed[n-1].Item})
	}
	for i := range gone {
		t := &gone[i]
		// What came and went after since was never told.
		if (store.Position{Seq: t.Entered, Item: t.Item}).Less(since) {
			events = append(events, event{at: store.Position{Seq: t.Left, Item: t.Item}, gone: t})
		}
	}
	if n := len(gone); n > 0 {
		cover(n, store.Position{Seq: gone[n-1].Left, Item: gone[n-1].Item})
	}
	slices.SortStableFunc(events, func(a, b event) int {
		switch {
		case a.at.Less(b.at):
			return -1
		case b.at.Less(a.at):
			return 1
		}
		return 0
	})
	// The end itself belongs to the next page unless it is the very end.
	n := 0
	for n < len(events) && (events[n].at.Less(end) || end == full) {
		if n == limit {
			end = events[n].at
			break
		}
		ev := events[n]
		if ev.gone != nil {
			c.Gone = append(c.Gone, *ev.gone)
		} else {
			c.Changed = append(c.Changed, *ev.entry)
		}
		n++
	}
	c.Position, c.More = end, end != full
}
