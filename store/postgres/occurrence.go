package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/internal/zone"
	"waypost/store"
	"waypost/store/object"
)

// What mail.occurrence.flags holds; the state of free/busy stands above.
const (
	occAllDay = 1 << iota
	occFloating
	occCancelled
	occPrivate
	occBusy // times store.Busy
)

func occurrenceFlags(o *store.Occurrence) int32 {
	flags := int32(o.Busy) * occBusy
	for bit, set := range map[int32]bool{occAllDay: o.AllDay, occFloating: o.Floating, occCancelled: o.Cancelled, occPrivate: o.Private} {
		if set {
			flags |= bit
		}
	}
	return flags
}

const (
	maxOccurrences = 10000 // of one page
	maxIn          = 100   // folders of one question
	// expandAtOnce is how many texts a question beyond the window reads at a time.
	expandAtOnce = 200
)

// Occurrences lists a page of occurrences by (Starts, Item, Instance).
//
// Those in the table are found by their index. An object whose occurrences there
// do not cover the range is expanded from its text instead; of a calendar these
// are the endless series when the range leaves the window, and what lasts longer
// than the index looks back.
func (s *Store) Occurrences(ctx context.Context, as directory.Principal, box store.MailboxID, q store.Between) (list []store.Occurrence, err error) {
	defer fault.Wrap(&err, "occurrences in mailbox %d", box)
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return nil, err
	}
	if err := x.mayRead(q.Folders...); err != nil {
		return nil, err
	}
	if len(q.Folders) > maxIn {
		return nil, fault.New(fault.Limit, "more than %d folders at once", maxIn)
	}
	if q.Limit <= 0 {
		q.Limit = 1000
	}
	q.Limit = min(q.Limit, maxOccurrences)
	q.From, q.To = bounded(q.From), bounded(q.To)
	if !q.From.Before(q.To) || len(q.Folders) == 0 {
		return nil, nil
	}
	var apart []int64 // items to be expanded
	err = reading(ctx, func() error {
		return h.db.Snapshot(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
			list, apart = nil, nil
			b := &pgx.Batch{}
			queueUncovered(b, box, &q, &apart)
			queueOccurrences(b, box, &q, nil, &list)
			if err := tx.Batch(ctx, b); err != nil || len(apart) == 0 {
				return err
			}
			b = &pgx.Batch{}
			queueOccurrences(b, box, &q, apart, &list)
			return tx.Batch(ctx, b)
		})
	})
	if err != nil {
		return nil, err
	}
	for page := range slices.Chunk(apart, expandAtOnce) {
		if list, err = s.expand(ctx, h, box, page, &q, list); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// bounded makes a time what PostgreSQL can be asked for.
func bounded(t time.Time) time.Time {
	switch {
	case t.Before(minTime):
		return minTime.Add(object.Margin + object.Longest)
	case t.After(maxTime):
		return maxTime.Add(-object.Margin)
	}
	return t
}

// expand adds to a page what the texts of objects give, and cuts it.
func (s *Store) expand(ctx context.Context, h *home, box store.MailboxID, items []int64, q *store.Between, list []store.Occurrence) ([]store.Occurrence, error) {
	rows, err := s.objectRows(ctx, h, "select "+objectText+" from mail.object where mailbox = $1 and item = any($2) and folder = any($3) order by item",
		int64(box), items, ids(q.Folders))
	if err != nil {
		return nil, err
	}
	for len(rows) > 0 {
		if _, err := s.texts(ctx, h, rows, maxTexts); err != nil {
			return nil, err
		}
		for len(rows) > 0 && rows[0].Text != nil {
			o := rows[0]
			rows = rows[1:]
			found, err := object.Between(&o.Object, q)
			if err != nil {
				return nil, err
			}
			o.Text = nil
			list = append(list, found...)
			if len(list) > 2*q.Limit {
				list = cut(list, q.Limit)
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
	}
	return cut(list, q.Limit), nil
}

func cut(list []store.Occurrence, limit int) []store.Occurrence {
	slices.SortFunc(list, object.Compare)
	return list[:min(len(list), limit)]
}

// uncovered are the rows of mail.object that may occur between two arguments and
// whose occurrences there are not all in the table.
func uncovered(from, to string) string {
	return "mailbox = $1 and folder = any($2) and expanded_from is not null and (expanded_from > " + from + " or expanded_to < " + to +
		") and starts < " + to + " and (ends is null or ends >= " + from + ")"
}

// queueUncovered reads the objects in the range whose occurrences there are not
// all in the table. Floating times may be a day from where their digits are.
func queueUncovered(b *pgx.Batch, box store.MailboxID, q *store.Between, into *[]int64) {
	b.Queue("select item from mail.object where "+uncovered("$3", "$4")+" order by item",
		int64(box), ids(q.Folders), q.From.Add(-object.Margin), q.To.Add(object.Margin)).
		Query(func(rows pgx.Rows) (err error) {
			*into, err = pgx.CollectRows(rows, pgx.RowTo[int64])
			return err
		})
}

// inRange are the rows of mail.occurrence that a question is about, by the
// arguments of rangeArgs.
const inRange = `mailbox = $1 and folder = any($2) and starts < $3 and starts >= $4
	and case when flags & $5 = 0
		then starts < $6 and (ends > $7 or ends = starts and starts >= $7)
		else starts < $8 and (ends > $9 or ends = starts and starts >= $9) end`

func rangeArgs(box store.MailboxID, q *store.Between) []any {
	from, to := digits(q.From, q.Floating), digits(q.To, q.Floating)
	least, most := from.Add(-object.Longest), to
	if q.From.Before(from) {
		least = q.From.Add(-object.Longest)
	}
	if q.To.After(to) {
		most = q.To
	}
	if q.After != nil && least.Before(q.After.Starts) {
		least = instant(q.After.Starts)
	}
	return []any{int64(box), ids(q.Folders), most, least, occFloating, q.To, q.From, to, from}
}

// queueOccurrences reads a page from the table, without the items that are
// answered from their texts.
func queueOccurrences(b *pgx.Batch, box store.MailboxID, q *store.Between, apart []int64, into *[]store.Occurrence) {
	after := store.Occurrence{Starts: minTime}
	if q.After != nil {
		after = *q.After
	}
	if apart == nil {
		apart = []int64{}
	}
	b.Queue(`select item, folder, starts, ends, flags, instance from mail.occurrence where `+inRange+`
			and (starts, item, instance) > ($10, $11, $12) and not item = any($13)
		order by starts, item, instance limit $14`,
		append(rangeArgs(box, q), instant(after.Starts), int64(after.Item), after.Instance, apart, q.Limit)...).
		Query(func(rows pgx.Rows) (err error) {
			*into, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (o store.Occurrence, err error) {
				var flags int32
				err = row.Scan(&o.Item, &o.Folder, &o.Starts, &o.Ends, &flags, &o.Instance)
				o.Starts, o.Ends = o.Starts.UTC(), o.Ends.UTC()
				o.AllDay, o.Floating = flags&occAllDay != 0, flags&occFloating != 0
				o.Cancelled, o.Private, o.Busy = flags&occCancelled != 0, flags&occPrivate != 0, store.Busy(flags/occBusy)
				return o, err
			})
			return err
		})
}

// Occurring lists a page of the objects that occur in a range, with their texts.
// It is one question: those that have an occurrence in the table, and those whose
// texts have to be expanded because the table does not cover the range.
func (s *Store) Occurring(ctx context.Context, as directory.Principal, box store.MailboxID, q store.Between, after store.ItemID) (list []*store.Object, err error) {
	defer fault.Wrap(&err, "objects by time in mailbox %d", box)
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return nil, err
	}
	if err := x.mayRead(q.Folders...); err != nil {
		return nil, err
	}
	if len(q.Folders) > maxIn {
		return nil, fault.New(fault.Limit, "more than %d folders at once", maxIn)
	}
	limit := page(q.Limit)
	q.After = nil
	q.From, q.To = bounded(q.From), bounded(q.To)
	if !q.From.Before(q.To) || len(q.Folders) == 0 {
		return nil, nil
	}
	one := q
	one.Limit = 1 // of an object's occurrences
	for {
		ask := limit - len(list)
		rows, err := s.objectRows(ctx, h, `
			select `+objectText+`, uncovered from (
				select item as id, bool_and(uncovered) as uncovered from (
					select item, false as uncovered from mail.occurrence where `+inRange+`
					union all select item, true from mail.object where `+uncovered("$10", "$11")+`) u
				where item > $12 group by item order by item limit $13) u
			cross join lateral (select * from mail.object where mailbox = $1 and item = u.id offset 0) o
			order by item`,
			append(rangeArgs(box, &q), q.From.Add(-object.Margin), q.To.Add(object.Margin), int64(after), ask)...)
		if err != nil {
			return nil, err
		}
		for _, o := range rows {
			after = o.Item
			if o.unsure {
				if _, err := s.texts(ctx, h, []*objectRow{o}, store.MaxObject); err != nil {
					return nil, err
				}
				if found, err := object.Between(&o.Object, &one); err != nil {
					return nil, err
				} else if len(found) == 0 {
					continue
				}
				if err := ctx.Err(); err != nil {
					return nil, err
				}
			}
			if !x.all {
				if _, err := s.texts(ctx, h, []*objectRow{o}, store.MaxObject); err != nil {
					return nil, err
				}
				if err := x.seen([]*objectRow{o}); err != nil {
					return nil, err
				}
			}
			list = append(list, &o.Object)
		}
		if len(rows) < ask || len(list) == limit {
			return list, nil
		}
	}
}

// digits are those of a moment in a zone, as UTC: what floating times are
// compared with.
func digits(t time.Time, l *time.Location) time.Time {
	if l == nil {
		return t
	}
	return zone.Wall(t, l)
}

// moveWindows expands series again whose time in the table has been left behind.
// Their objects do not change, so no number is taken; the counter row keeps
// writers off.
func (s *Store) moveWindows(ctx context.Context, h *home, now time.Time) (n int, err error) {
	from, _ := object.Window(now)
	rows, err := h.db.Query(ctx, `
		select mailbox, array_agg(item) from (
			select mailbox, item from mail.object where expanded_from < $1 order by expanded_from limit $2) o
		group by mailbox order by mailbox`, from.Add(-windowSlack), windowBatch)
	if err != nil {
		return 0, err
	}
	list, err := pgx.CollectRows(rows, scanBoxed)
	if err != nil {
		return 0, err
	}
	for _, b := range list {
		moved, err := s.moveWindowsOf(ctx, h, b, now)
		n += moved
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

const (
	// windowSlack is how far a window may be left behind: moving it a day every
	// day would write all series anew each time.
	windowSlack = 30 * day
	windowBatch = 100 // objects, each with up to a thousand occurrences
)

func (s *Store) moveWindowsOf(ctx context.Context, h *home, b boxed, now time.Time) (n int, err error) {
	list, err := s.objectRows(ctx, h, "select "+objectText+" from mail.object where mailbox = $1 and item = any($2) order by item", int64(b.box), b.items)
	if err != nil {
		return 0, err
	}
	for len(list) > 0 {
		if _, err := s.texts(ctx, h, list, maxTexts); err != nil {
			return n, err
		}
		var rows occurrenceRows
		var items, versions []int64
		var starts, ends, from, to []*time.Time
		for len(list) > 0 && list[0].Text != nil {
			o := list[0]
			list = list[1:]
			t, err := object.TimesOf(o.Text, now)
			if err != nil {
				return n, err
			}
			rows.add(b.box, o.Item, o.Folder, t.Occurrences)
			items, versions = append(items, int64(o.Item)), append(versions, int64(o.Version))
			starts, ends = append(starts, orNull(t.Starts)), append(ends, orNull(t.Ends))
			f, u := window(&t)
			from, to = append(from, f), append(to, u)
		}
		moved := 0
		err := alone(ctx, h, func(ctx context.Context, tx *pgdb.Tx) error {
			last := &pgx.Batch{}
			last.Queue("select from mail.mailbox where id = $1 for update", int64(b.box))
			last.Queue(`
				with u as (
					select * from unnest($2::bigint[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[])
						as u (id, was, new_starts, new_ends, new_from, new_to)),
				moved as (
					update mail.object o set starts = new_starts, ends = new_ends, expanded_from = new_from, expanded_to = new_to
					from u where o.mailbox = $1 and o.item = u.id and o.version = u.was returning o.item)
				delete from mail.occurrence o using moved where o.mailbox = $1 and o.item = moved.item
				`, int64(b.box), items, versions, starts, ends, from, to)
			// Only of those that are in the version that was read, and where they
			// are now.
			last.Queue(`
				insert into mail.occurrence (mailbox, item, folder, starts, ends, flags, instance)
				select o.mailbox, o.item, o.folder, u.starts, u.ends, u.flags, u.instance
				from unnest($2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::int[], $6::text[]) as u (id, starts, ends, flags, instance)
				join unnest($7::bigint[], $8::bigint[]) as v (id, was) on v.id = u.id
				join mail.object o on o.mailbox = $1 and o.item = u.id and o.version = v.was`,
				int64(b.box), rows.items, rows.starts, rows.ends, rows.flags, rows.instances, items, versions)
			moved = len(items)
			return tx.SendBatchAndCommit(ctx, last)
		})
		n += moved
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
