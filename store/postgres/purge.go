package postgres

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/store"
)

// Retention says how long the purger leaves things. A zero field means the
// default beside it.
type Retention struct {
	Recoverable time.Duration // deleted items; 14 days
	Tombstones  time.Duration // the journal's memory; 90 days
	Once        time.Duration // keys of repeatable calls; 30 days
	Subjects    time.Duration // threading by subject; 31 days
	MessageIDs  time.Duration // threading by message identifier; 2 years
	SyncStates  time.Duration // of clients that were never seen again; 400 days
	Content     time.Duration // content that nothing refers to; 1 day
}

const day = 24 * time.Hour

func (r Retention) filled() Retention {
	for _, f := range []struct {
		at  *time.Duration
		def time.Duration
	}{
		{&r.Recoverable, 14 * day},
		{&r.Tombstones, 90 * day},
		{&r.Once, 30 * day},
		{&r.Subjects, 31 * day},
		{&r.MessageIDs, 730 * day},
		{&r.SyncStates, 400 * day},
		{&r.Content, day},
	} {
		if *f.at == 0 {
			*f.at = f.def
		}
	}
	return r
}

// Purged counts what was removed, and what else maintenance did.
type Purged struct {
	Recoverable, Tombstones, Folders, Once, ThreadKeys, SyncStates, Uploads, Contents int
	Windows                                                                           int // series whose occurrences were written anew
}

const (
	purgeBatch = 500  // items of one transaction that holds a mailbox
	sweepBatch = 5000 // rows of one transaction that holds none
)

// errBusy: another process is purging.
var errBusy = errors.New("somebody else is purging")

// purgeLock is an advisory lock of the mailbox database.
const purgeLock = 0x77617970_70757267

// PurgeOnce removes from a mailbox database what is older at the time now than
// r says, in small transactions that hold no mailbox for long. Two processes
// that purge at once do no harm; each steps back when it notices.
func (s *Store) PurgeOnce(ctx context.Context, name string, now time.Time, r Retention) (p Purged, err error) {
	defer fault.Wrap(&err, "purge %s", name)
	h, err := s.home(name)
	if err != nil {
		return p, err
	}
	r = r.filled()
	for _, step := range []struct {
		count *int
		run   func(context.Context, *home, time.Time) (int, error)
		until time.Time
	}{
		{&p.Recoverable, s.purgeOverQuota, now},
		{&p.Recoverable, s.purgeRecoverable, now.Add(-r.Recoverable)},
		// Folders first: their floor is that of the items that were in them.
		{&p.Folders, s.purgeFolderTombstones, now.Add(-r.Tombstones)},
		{&p.Tombstones, s.purgeTombstones, now.Add(-r.Tombstones)},
		{&p.Uploads, purgeUploads, now.Add(-r.Content)},
		{&p.Once, sweep("mail.once", "at < $1"), now.Add(-r.Once)},
		{&p.ThreadKeys, sweep("mail.thread_key", "at < $1 and item > 0"), now.Add(-r.Subjects)},
		{&p.ThreadKeys, sweep("mail.thread_key", "at < $1 and item = 0"), now.Add(-r.MessageIDs)},
		{&p.SyncStates, sweep("mail.sync_state", "at < $1"), now.Add(-r.SyncStates)},
		{&p.Contents, s.purgeContents, now.Add(-r.Content)},
		{&p.Windows, s.moveWindows, now},
	} {
		for {
			n, err := step.run(ctx, h, step.until)
			*step.count += n
			if errors.Is(err, errBusy) {
				return p, nil
			}
			if err != nil {
				return p, err
			}
			if n == 0 {
				break
			}
		}
	}
	return p, nil
}

// alone runs fn in a transaction that only one purger may be in.
func alone(ctx context.Context, h *home, fn func(context.Context, *pgdb.Tx) error) error {
	return h.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		free := false
		if err := tx.QueryRow(ctx, "select pg_try_advisory_xact_lock($1)", int64(purgeLock)).Scan(&free); err != nil {
			return err
		}
		if !free {
			return errBusy
		}
		return fn(ctx, tx)
	})
}

// sweep removes rows that belong to no count.
func sweep(table, where string) func(context.Context, *home, time.Time) (int, error) {
	sql := "delete from " + table + " where ctid = any(array(select ctid from " + table + " where " + where + " limit $2))"
	return func(ctx context.Context, h *home, until time.Time) (n int, err error) {
		err = alone(ctx, h, func(ctx context.Context, tx *pgdb.Tx) error {
			tag, err := tx.Exec(ctx, sql, until, sweepBatch)
			n = int(tag.RowsAffected())
			return err
		})
		return n, err
	}
}

// boxed is a mailbox with what is to be removed from it.
type boxed struct {
	box   store.MailboxID
	items []int64
}

func scanBoxed(row pgx.CollectableRow) (b boxed, err error) {
	err = row.Scan(&b.box, &b.items)
	return b, err
}

func (s *Store) purgeRecoverable(ctx context.Context, h *home, until time.Time) (n int, err error) {
	return s.purgeItems(ctx, h, `
		select mailbox, array_agg(item) from (select mailbox, item from mail.recoverable where gone < $1 limit $2) r
		group by mailbox order by mailbox`, until, purgeBatch)
}

func (s *Store) purgeOverQuota(ctx context.Context, h *home, _ time.Time) (n int, err error) {
	if s.opts.RecoverableQuota < 0 {
		return 0, nil
	}
	// The newest stay.
	return s.purgeItems(ctx, h, `
		select m.id, array(
			select item from (
				select item, sum(size) over (order by gone desc, item desc) as upto from mail.recoverable where mailbox = m.id) r
			where upto > $1 limit $2)
		from mail.mailbox m where m.recoverable > $1 order by m.id limit 20`, s.opts.RecoverableQuota, purgeBatch)
}

// purgeItems removes recoverable items with their messages.
func (s *Store) purgeItems(ctx context.Context, h *home, sql string, args ...any) (n int, err error) {
	rows, err := h.db.Query(ctx, sql, args...)
	if err != nil {
		return 0, err
	}
	list, err := pgx.CollectRows(rows, scanBoxed)
	if err != nil {
		return 0, err
	}
	for _, b := range list {
		removed := 0
		err := alone(ctx, h, func(ctx context.Context, tx *pgdb.Tx) error {
			last := &pgx.Batch{}
			// The counter row first, as everybody does: nobody restores meanwhile.
			last.Queue("select from mail.mailbox where id = $1 for update", int64(b.box))
			last.Queue(`
				with gone as (
					delete from mail.recoverable where mailbox = $1 and item = any($2) returning item, size),
				message as (
					delete from mail.message m using gone where m.mailbox = $1 and m.item = gone.item returning m.blob),
				object as (
					delete from mail.object o using gone where o.mailbox = $1 and o.item = gone.item returning o.blob),
				occurrence as (
					delete from mail.occurrence o using gone where o.mailbox = $1 and o.item = gone.item),
				later as (
					insert into mail.blob_check (hash) select blob from message union select blob from object where blob is not null order by blob
					on conflict (hash) do update set at = now())
				update mail.mailbox set recoverable = recoverable - (select coalesce(sum(size), 0) from gone)
				where id = $1 returning (select count(*) from gone)`, int64(b.box), b.items).
				QueryRow(func(row pgx.Row) error { return row.Scan(&removed) })
			return tx.SendBatchAndCommit(ctx, last)
		})
		n += removed
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// purgeTombstones removes old tombstones and raises the folders' floors over
// them in the same transaction, so that a reader never misses one unawares.
func (s *Store) purgeTombstones(ctx context.Context, h *home, until time.Time) (n int, err error) {
	return s.purgeJournal(ctx, h, "mail.tombstone", until, `
		with gone as (
			delete from mail.tombstone where mailbox = $1 and at < $2 returning folder, left_seq),
		top as (
			select folder, max(left_seq) as seq from gone group by folder),
		raised as (
			update mail.folder f set floor = greatest(f.floor, top.seq) from top where f.mailbox = $1 and f.id = top.folder)
		select count(*) from gone`)
}

func (s *Store) purgeFolderTombstones(ctx context.Context, h *home, until time.Time) (n int, err error) {
	return s.purgeJournal(ctx, h, "mail.folder_tombstone", until, `
		with gone as (
			delete from mail.folder_tombstone where mailbox = $1 and at < $2 returning seq),
		raised as (
			update mail.mailbox set hierarchy_floor = greatest(hierarchy_floor, (select max(seq) from gone))
			where id = $1 and exists (select from gone))
		select count(*) from gone`)
}

func (s *Store) purgeJournal(ctx context.Context, h *home, table string, until time.Time, sql string) (n int, err error) {
	rows, err := h.db.Query(ctx, "select distinct mailbox from (select mailbox from "+table+" where at < $1 limit $2) t order by mailbox", until, sweepBatch)
	if err != nil {
		return 0, err
	}
	boxes, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return 0, err
	}
	for _, box := range boxes {
		removed := 0
		err := alone(ctx, h, func(ctx context.Context, tx *pgdb.Tx) error {
			last := &pgx.Batch{}
			last.Queue("select from mail.mailbox where id = $1 for update", box)
			last.Queue(sql, box, until).QueryRow(func(row pgx.Row) error { return row.Scan(&removed) })
			return tx.SendBatchAndCommit(ctx, last)
		})
		n += removed
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// purgeContents removes content that nothing refers to. A writer locks the row
// of part 0 before it refers to it, so under FOR UPDATE nobody can begin to;
// whoever did before has committed by then and is seen by the statement after,
// or still holds the row, which is then left for next time.
func (s *Store) purgeContents(ctx context.Context, h *home, until time.Time) (n int, err error) {
	rows, err := h.db.Query(ctx, "select hash from mail.blob_check where at < $1 order by at limit $2", until, purgeBatch)
	if err != nil {
		return 0, err
	}
	hashes, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil || len(hashes) == 0 {
		return 0, err
	}
	err = alone(ctx, h, func(ctx context.Context, tx *pgdb.Tx) error {
		rows, err := tx.Query(ctx, "select hash from mail.blob where part = 0 and hash = any($1) order by hash for update skip locked", hashes)
		if err != nil {
			return err
		}
		locked, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
		if err != nil {
			return err
		}
		b := &pgx.Batch{}
		b.Queue(`
			delete from mail.blob where hash in (
				select c.hash from mail.blob_check c where c.hash = any($1) and c.at < $2
					and not exists (select from mail.message m where m.blob = c.hash)
					and not exists (select from mail.object o where o.blob = c.hash)
					and not exists (select from mail.upload u where u.blob = c.hash)
					and not exists (select from mail.outbox o where o.blob = c.hash))`, locked, until)
		// What was looked at, and what was gone before.
		b.Queue(`
			delete from mail.blob_check c where hash = any($1) and at < $2
				and (hash = any($3) or not exists (select from mail.blob b where b.hash = c.hash and part = 0))`, hashes, until, locked).
			Exec(func(tag pgconn.CommandTag) error {
				n = int(tag.RowsAffected())
				return nil
			})
		return tx.SendBatchAndCommit(ctx, b)
	})
	return n, err
}

// MaintainEvery is how often Maintain looks, on average.
const MaintainEvery = 10 * time.Minute

// Maintain purges all mailbox databases again and again until ctx ends.
func (s *Store) Maintain(ctx context.Context, r Retention) error {
	for {
		t := time.NewTimer(MaintainEvery/2 + rand.N(MaintainEvery))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		for name := range s.homes {
			start := time.Now()
			p, err := s.PurgeOnce(ctx, name, start, r)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil:
				s.log.ErrorContext(ctx, "purge failed", slog.String("home", name), slog.Any("fault", err))
			default:
				s.log.InfoContext(ctx, "purged", slog.String("home", name), slog.Duration("dur", time.Since(start)), slog.Any("result", p))
			}
		}
	}
}
