package postgres

import (
	"context"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/services/relay"
)

// List gives a page of messages, oldest first, with all their recipients.
func (q *Queue) List(ctx context.Context, as directory.Principal, f relay.Filter) (list []relay.Entry, err error) {
	defer fault.Wrap(&err, "list the queue")
	if err := relay.MayOperate(as); err != nil {
		return nil, err
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	return q.entries(ctx, `
		select id from queue.message m where id > $1 and ($2 = '' or sender = $2)
		and ($3 = '' and $4 = '' or exists (select from queue.recipient r
			where r.message = m.id and ($3 = '' or r.state = $3) and ($4 = '' or r.domain = $4)))
		order by id limit $5`, f.After, f.From, string(f.State), f.Domain, min(f.Limit, 1000))
}

// Show gives one message.
func (q *Queue) Show(ctx context.Context, as directory.Principal, id int64) (e relay.Entry, err error) {
	defer fault.Wrap(&err, "show queued message %d", id)
	if err := relay.MayOperate(as); err != nil {
		return e, err
	}
	list, err := q.entries(ctx, "select $1::bigint", id)
	if err == nil && len(list) == 0 {
		err = fault.New(fault.NotFound, "no such message in the queue")
	}
	if err != nil {
		return e, err
	}
	return list[0], nil
}

func (q *Queue) entries(ctx context.Context, which string, args ...any) (list []relay.Entry, err error) {
	rows, err := q.db.Query(ctx, `
		select m.id, m.key, m.sender, m.size, m.created, m.expires,
			r.address, r.state, r.next_at, r.lease is not null, r.attempts,
			coalesce(r.last_at, 'epoch'), r.last_code, r.last_status, r.last_text, r.last_host
		from queue.message m join queue.recipient r on r.message = m.id and r.state <> 'done'
		where m.id in (`+which+`) order by m.id, r.id`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			e relay.Entry
			r relay.EntryRcpt
		)
		if err := rows.Scan(&e.ID, &e.Key, &e.From, &e.Size, &e.Created, &e.Expires,
			&r.Address, &r.State, &r.Next, &r.Active, &r.Attempts,
			&r.Last.At, &r.Last.Code, &r.Last.Status, &r.Last.Text, &r.Last.Host); err != nil {
			return nil, err
		}
		if r.Last.At.Unix() == 0 {
			r.Last.At = time.Time{}
		}
		if n := len(list); n > 0 && list[n-1].ID == e.ID {
			list[n-1].To = append(list[n-1].To, r)
			continue
		}
		e.To = []relay.EntryRcpt{r}
		list = append(list, e)
	}
	return list, rows.Err()
}

// Retry makes waiting and dead recipients of a message due at once (0: of all
// messages) and gives dead messages another life of five days. It tells how
// many recipients there were.
func (q *Queue) Retry(ctx context.Context, as directory.Principal, id int64, now time.Time) (n int64, err error) {
	defer fault.Wrap(&err, "retry queued message %d", id)
	if err := relay.MayOperate(as); err != nil {
		return 0, err
	}
	err = q.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		if _, err := tx.Exec(ctx, `
			update queue.message m set expires = $2 where ($1 = 0 or id = $1)
			and exists (select from queue.recipient where message = m.id and state = 'dead')`, id, now.Add(relay.Life)); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
			update queue.recipient set state = 'queued', next_at = $2
			where ($1 = 0 or message = $1) and state in ('queued', 'dead') and lease is null`, id, now)
		n = tag.RowsAffected()
		return err
	})
	return n, q.known(ctx, id, n, err)
}

// Hold keeps waiting recipients of a message (0: of all) from being sent. One
// that is being worked on is held if that fails.
func (q *Queue) Hold(ctx context.Context, as directory.Principal, id int64) (int64, error) {
	return q.operate(ctx, as, "hold", id, "update queue.recipient set state = 'held' where ($1 = 0 or message = $1) and state = 'queued'")
}

// Release lets held recipients of a message (0: of all) go on.
func (q *Queue) Release(ctx context.Context, as directory.Principal, id int64) (int64, error) {
	return q.operate(ctx, as, "release", id, "update queue.recipient set state = 'queued' where ($1 = 0 or message = $1) and state = 'held'")
}

// Delete removes a message with all its recipients; nobody is told. It tells
// how many recipients there were.
func (q *Queue) Delete(ctx context.Context, as directory.Principal, id int64) (int64, error) {
	return q.operate(ctx, as, "delete", id, `
		with gone as (delete from queue.message where id = $1 returning id)
		select r.id from queue.recipient r join gone on gone.id = r.message`)
}

func (q *Queue) operate(ctx context.Context, as directory.Principal, what string, id int64, sql string) (n int64, err error) {
	defer fault.Wrap(&err, "%s queued message %d", what, id)
	if err := relay.MayOperate(as); err != nil {
		return 0, err
	}
	tag, err := q.db.Exec(ctx, sql, id)
	n = tag.RowsAffected()
	return n, q.known(ctx, id, n, err)
}

// known answers NotFound when nothing happened because there is no such message.
func (q *Queue) known(ctx context.Context, id, n int64, err error) error {
	if err != nil || n > 0 || id == 0 {
		return err
	}
	var there bool
	if err := q.db.QueryRow(ctx, "select exists (select from queue.message where id = $1)", id).Scan(&there); err != nil {
		return err
	}
	if !there {
		return fault.New(fault.NotFound, "no such message in the queue")
	}
	return nil
}
