package postgres

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/store"
)

// change is one transaction that changes a mailbox, after it took the counter
// row. What is put into last travels with the commit, so most changes cost two
// round trips: counter and look-ups, then writes and commit.
type change struct {
	s       *Store
	box     store.MailboxID
	tx      *pgdb.Tx
	seq     store.Seq
	firstID int64 // of the ids reserved
	row     counters

	last *pgx.Batch
	// What flush adds to the counters.
	used, items, recoverable int64
	hierarchy                bool
	quota                    *int64 // what the mailbox's row says from now on
	folders                  map[store.FolderID]*folderDelta
}

// counters is the counter row after seq was taken.
type counters struct {
	used, items, recoverable, quota int64
	away                            bool // an absence notice is set
}

// folderDelta is what a change adds to a folder's counts. Every folder that is
// named there gets the change's seq as its highest.
type folderDelta struct {
	total, unread, deleted int32
	size                   int64
	uids                   int64
}

// changeOf describes a change.
type changeOf struct {
	ids   int              // how many ids to reserve
	first func(*pgx.Batch) // reads to travel with the counter
	run   func(context.Context, *change) error
}

// errNothing ends a change that has nothing to do: it is rolled back and takes
// no number.
var errNothing = errors.New("nothing to change")

// errNoMailbox: the counter row is not there.
var errNoMailbox = errors.New("the mailbox is not made yet")

// change runs one transaction that changes the mailbox and gives its number, 0
// when there was nothing to do. run may be called again, and then must begin anew.
func (s *Store) change(ctx context.Context, as directory.Principal, box store.MailboxID, of changeOf) (store.Seq, error) {
	h, err := s.open(as, box)
	if err != nil {
		return 0, err
	}
	return s.changeIn(ctx, h, box, of)
}

func (s *Store) changeIn(ctx context.Context, h *home, box store.MailboxID, of changeOf) (store.Seq, error) {
	var seq store.Seq
	attempt := func() error {
		return h.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
			c := s.newChange(box, tx, &pgx.Batch{})
			if err := c.begin(ctx, of, 0, 0); err != nil {
				return err
			}
			seq = c.seq
			if err := of.run(ctx, c); err != nil {
				return err
			}
			flush(c.last, c)
			return tx.SendBatchAndCommit(ctx, c.last)
		})
	}
	err := attempt()
	if errors.Is(err, errNoMailbox) {
		if err := s.ensure(ctx, h, box); err != nil {
			return 0, err
		}
		err = attempt()
	}
	switch {
	case errors.Is(err, errNothing):
		return 0, nil
	case err != nil:
		return 0, err
	}
	s.announce(h, box, seq)
	return seq, nil
}

func (s *Store) newChange(box store.MailboxID, tx *pgdb.Tx, last *pgx.Batch) *change {
	return &change{s: s, box: box, tx: tx, last: last, folders: make(map[store.FolderID]*folderDelta)}
}

// begin takes the counter row, reserves ids and counts what will surely be
// added, all in the first round trip.
func (c *change) begin(ctx context.Context, of changeOf, used, items int64) error {
	b := &pgx.Batch{}
	b.Queue(`update mail.mailbox set seq = seq + 1, next_id = next_id + $2, used = used + $3, items = items + $4
		where id = $1 returning seq, next_id - $2, used, items, recoverable, quota, away`,
		int64(c.box), int64(of.ids), used, items).
		QueryRow(func(row pgx.Row) error {
			err := row.Scan(&c.seq, &c.firstID, &c.row.used, &c.row.items, &c.row.recoverable, &c.row.quota, &c.row.away)
			if errors.Is(err, pgx.ErrNoRows) {
				return errNoMailbox
			}
			return err
		})
	if of.first != nil {
		of.first(b)
	}
	return c.tx.Batch(ctx, b)
}

// counting is a change of several in one transaction, with the ids that it
// reserves and what it will surely add.
type counting struct {
	*change
	ids, bytes, items int64
}

// queueCounters queues the taking of the counter rows of changes that are in the
// order of their mailboxes. A row that somebody else holds, or that is not
// there, is left out: its change has seq 0 then.
func queueCounters(b *pgx.Batch, list []counting) {
	boxes, ids, bytes, items := make([]int64, len(list)), make([]int64, len(list)), make([]int64, len(list)), make([]int64, len(list))
	for i, c := range list {
		boxes[i], ids[i], bytes[i], items[i] = int64(c.box), c.ids, c.bytes, c.items
		c.seq = 0
	}
	b.Queue(`
		with free as materialized (select id from mail.mailbox where id = any($1) order by id for update skip locked)
		update mail.mailbox m set seq = seq + 1, next_id = next_id + u.n, used = used + u.bytes, items = m.items + u.items
		from free, unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) as u (id, n, bytes, items)
		where m.id = free.id and u.id = free.id
		returning m.id, m.seq, m.next_id - u.n, m.used, m.items, m.recoverable, m.quota, m.away`, boxes, ids, bytes, items).
		Query(func(rows pgx.Rows) error {
			var id int64
			var c change
			_, err := pgx.ForEachRow(rows, []any{&id, &c.seq, &c.firstID, &c.row.used, &c.row.items, &c.row.recoverable, &c.row.quota, &c.row.away}, func() error {
				at, _ := slices.BinarySearch(boxes, id)
				x := list[at].change
				x.seq, x.firstID, x.row = c.seq, c.firstID, c.row
				return nil
			})
			return err
		})
}

// folder is the record of what the change adds to a folder.
func (c *change) folder(id store.FolderID) *folderDelta {
	d := c.folders[id]
	if d == nil {
		d = &folderDelta{}
		c.folders[id] = d
	}
	return d
}

// enter and leave count an entry in or out.
func (d *folderDelta) enter(e *store.Entry) { d.count(e, 1) }
func (d *folderDelta) leave(e *store.Entry) { d.count(e, -1) }

func (d *folderDelta) count(e *store.Entry, n int32) {
	d.total += n
	d.size += int64(n) * e.Size
	d.mark(e.Flags, n)
}

// mark counts flags in or out.
func (d *folderDelta) mark(f store.Flags, n int32) {
	if f&store.Seen == 0 {
		d.unread += n
	}
	if f&store.Deleted != 0 {
		d.deleted += n
	}
}

// flush puts the counts of changes in one transaction into its last batch.
func flush(last *pgx.Batch, changes ...*change) {
	var box, seq, id, size, uids []int64
	var total, unread, deleted []int32
	var boxes, used, items, recoverable []int64
	var hierarchy []bool
	var quota []*int64
	for _, c := range changes {
		for f, d := range c.folders {
			box, seq = append(box, int64(c.box)), append(seq, int64(c.seq))
			id, size, uids = append(id, int64(f)), append(size, d.size), append(uids, d.uids)
			total, unread, deleted = append(total, d.total), append(unread, d.unread), append(deleted, d.deleted)
		}
		if c.used != 0 || c.items != 0 || c.recoverable != 0 || c.hierarchy || c.quota != nil {
			boxes, used, items = append(boxes, int64(c.box)), append(used, c.used), append(items, c.items)
			recoverable, hierarchy, quota = append(recoverable, c.recoverable), append(hierarchy, c.hierarchy), append(quota, c.quota)
		}
	}
	if len(id) > 0 {
		last.Queue(`
			update mail.folder f set highest_seq = u.seq, uidnext = f.uidnext + u.uids, total = f.total + u.total,
				unread = f.unread + u.unread, deleted = f.deleted + u.deleted, size = f.size + u.size
			from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::int[], $6::int[], $7::int[], $8::bigint[])
				as u (mailbox, seq, id, uids, total, unread, deleted, size)
			where f.mailbox = u.mailbox and f.id = u.id`,
			box, seq, id, uids, total, unread, deleted, size)
	}
	if len(boxes) > 0 {
		last.Queue(`
			update mail.mailbox m set used = m.used + u.used, items = m.items + u.items, recoverable = m.recoverable + u.recoverable,
				hierarchy_seq = case when u.hierarchy then m.seq else m.hierarchy_seq end, quota = coalesce(u.quota, m.quota)
			from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::boolean[], $6::bigint[])
				as u (id, used, items, recoverable, hierarchy, quota)
			where m.id = u.id`,
			boxes, used, items, recoverable, hierarchy, quota)
	}
}

// limit is the quota in bytes that counts, 0 for none: the mailbox's own, else
// the default.
func (c *change) limit() int64 {
	if c.row.quota > 0 {
		return c.row.quota
	}
	return c.s.opts.Quota
}

// setQuota keeps what the directory says the mailbox's quota is.
func (c *change) setQuota(bytes int64) {
	if bytes != c.row.quota {
		c.row.quota = bytes
		c.quota = &bytes
	}
}

func overQuota() error { return fault.New(fault.OverQuota, "the mailbox is full") }

// items reads entries inside a change, or queues it with first.
func queueItems(b *pgx.Batch, box store.MailboxID, items []store.ItemID, into *[]store.Entry) {
	b.Queue("select "+entryCols+" from mail.entry where mailbox = $1 and item = any($2)", int64(box), ids(items)).
		Query(func(rows pgx.Rows) error {
			*into = nil
			return entries(rows, into, len(items))
		})
}

// distinct gives items without repetitions, in the same order.
func distinct(items []store.ItemID) ([]store.ItemID, error) {
	if len(items) > maxItems {
		return nil, fault.New(fault.Limit, "more than %d items at once", maxItems)
	}
	seen := make(map[store.ItemID]struct{}, len(items))
	list := make([]store.ItemID, 0, len(items))
	for _, item := range items {
		if _, ok := seen[item]; !ok {
			seen[item] = struct{}{}
			list = append(list, item)
		}
	}
	return list, nil
}
