package postgres

import (
	"context"
	"crypto/subtle"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/services/relay"
)

// moderate lets a recipient wait for moderators; false when it is another
// worker's by now.
func moderate(ctx context.Context, tx *pgdb.Tx, w relay.Work, o relay.Outcome, now time.Time) (bool, error) {
	if _, err := tx.Exec(ctx, "select 1 from queue.message where id = $1 for update", w.Message); err != nil {
		return false, err
	}
	var id int64
	err := tx.QueryRow(ctx, `
		with r as (
			update queue.recipient set state = 'moderated', lease = null, next_at = $3 where id = $1 and lease = $2
			returning id, message, address)
		insert into queue.moderation (recipient, key, address, sender, subject, size, created, expires)
		select r.id, m.key, r.address, m.sender, $4, m.size, $5, $3 from r join queue.message m on m.id = r.message
		returning id`, o.ID, w.Lease, o.Due, o.Asked.Subject, now).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var who []string
	var tokens [][]byte
	for address, t := range o.Asked.Moderators {
		who, tokens = append(who, address), append(tokens, t[:])
	}
	_, err = tx.Exec(ctx, "insert into queue.moderator (moderation, address, token) select $1, * from unnest($2::text[], $3::bytea[])", id, who, tokens)
	return true, err
}

const moderationSQL = `
	select m.id, m.key, m.address, m.sender, m.subject, m.size, m.created, m.expires,
		case when m.verdict = '' and m.recipient is null then 'deleted' else m.verdict end,
		coalesce(m.decided, 'epoch'), m.decided_by, m.cause, m.comment,
		array(select address from queue.moderator where moderation = m.id order by address)
	from queue.moderation m `

func scanModeration(row pgx.CollectableRow) (m relay.Moderation, err error) {
	err = row.Scan(&m.ID, &m.Key, &m.Group, &m.From, &m.Subject, &m.Size, &m.Created, &m.Expires,
		&m.Verdict, &m.Decided, &m.By, &m.Cause, &m.Comment, &m.Moderators)
	if m.Decided.Unix() == 0 {
		m.Decided = time.Time{}
	}
	return m, err
}

var errNoModeration = fault.New(fault.NotFound, "no such message waits for a moderator")

func oneModeration(rows pgx.Rows, err error) (m relay.Moderation, _ error) {
	if err != nil {
		return m, err
	}
	m, err = pgx.CollectExactlyOneRow(rows, scanModeration)
	if errors.Is(err, pgx.ErrNoRows) {
		err = errNoModeration
	}
	return m, err
}

// Waiting implements relay.Queue.
func (q *Queue) Waiting(ctx context.Context, group string) (n int, err error) {
	defer fault.Wrap(&err, "count what waits for the moderators of %s", group)
	err = q.db.QueryRow(ctx, "select count(*) from queue.recipient where state = 'moderated' and address = $1", group).Scan(&n)
	return n, err
}

// Ballot implements relay.Queue.
func (q *Queue) Ballot(ctx context.Context, t relay.Token) (m relay.Moderation, who string, err error) {
	defer fault.Wrap(&err, "look up a moderator's token")
	var id int64
	var stored []byte
	err = q.db.QueryRow(ctx, "select moderation, address, token from queue.moderator where token = $1", t[:]).Scan(&id, &who, &stored)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && subtle.ConstantTimeCompare(stored, t[:]) != 1 {
		return m, "", errNoModeration
	}
	if err != nil {
		return m, "", err
	}
	m, err = oneModeration(q.db.Query(ctx, moderationSQL+"where m.id = $1", id))
	return m, who, err
}

// Decide implements relay.Queue. An approved message begins a new life of five
// days; with it those of its recipients that still wait for their servers.
func (q *Queue) Decide(ctx context.Context, d relay.Decision, now time.Time) (m relay.Moderation, err error) {
	defer fault.Wrap(&err, "decide about moderated message %d", d.ID)
	err = q.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		// The message's row first: see the law of the package.
		if _, err := tx.Exec(ctx, `
			select 1 from queue.message where id = (
				select r.message from queue.recipient r join queue.moderation m on m.recipient = r.id where m.id = $1) for update`, d.ID); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `
			with m as (
				update queue.moderation set verdict = $2, decided = $3, decided_by = $4, comment = $5, cause = $6
				where id = $1 and verdict = '' and recipient is not null returning recipient),
			r as (
				update queue.recipient set state = 'queued', next_at = $3, verdict = $2, comment = $5
				from m where id = m.recipient and state = 'moderated' returning message)
			update queue.message set expires = greatest(expires, case when $2 = 'approved' then $7::timestamptz end)
			from r where id = r.message`,
			d.ID, d.Verdict, now, d.By, d.Comment, d.Cause, now.Add(relay.Life)); err != nil {
			return err
		}
		m, err = oneModeration(tx.Query(ctx, moderationSQL+"where m.id = $1", d.ID))
		return err
	})
	return m, err
}

// Expire implements relay.Queue. A row that somebody decides about right now is
// left alone.
func (q *Queue) Expire(ctx context.Context, now time.Time) (n int64, err error) {
	defer fault.Wrap(&err, "expire moderated messages")
	rows, err := q.db.Query(ctx, "select id from queue.moderation where verdict = '' and recipient is not null and expires <= $1 order by expires limit 1000", now)
	if err != nil {
		return 0, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		if _, err := q.Decide(ctx, relay.Decision{ID: id, Verdict: relay.Expired}, now); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Moderations lists what waits for moderators and what they decided, newest
// first.
func (q *Queue) Moderations(ctx context.Context, as directory.Principal, f relay.ModerationFilter) (list []relay.Moderation, err error) {
	defer fault.Wrap(&err, "list moderated messages")
	if err := relay.MayOperate(as); err != nil {
		return nil, err
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	rows, err := q.db.Query(ctx, moderationSQL+`
		where ($1 = 0 or m.id < $1) and ($2 = '' or lower(m.address) = lower($2)) and (not $3 or m.verdict = '' and m.recipient is not null)
		order by m.id desc limit $4`, f.Before, f.Group, f.Waiting, min(f.Limit, 1000))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanModeration)
}

// Moderation gives one of them.
func (q *Queue) Moderation(ctx context.Context, as directory.Principal, id int64) (m relay.Moderation, err error) {
	defer fault.Wrap(&err, "show moderated message %d", id)
	if err := relay.MayOperate(as); err != nil {
		return m, err
	}
	return oneModeration(q.db.Query(ctx, moderationSQL+"where m.id = $1", id))
}

// Moderate is an administrator's decision; Conflict when there is one already.
func (q *Queue) Moderate(ctx context.Context, as directory.Principal, d relay.Decision, now time.Time) (m relay.Moderation, err error) {
	if err := relay.MayOperate(as); err != nil {
		return m, err
	}
	before, err := q.Moderation(ctx, as, d.ID)
	if err != nil {
		return m, err
	}
	if before.Verdict == relay.Undecided {
		d.By, d.Cause = as.Name, envelope.NewID(now)
		if as.Address != "" {
			d.By = as.Address
		}
		before, err = q.Decide(ctx, d, now)
		if err != nil || before.Cause == d.Cause {
			return before, err
		}
	}
	by := ""
	if before.By != "" {
		by = " by " + before.By
	}
	return before, fault.New(fault.Conflict, "it was decided before: %s%s", before.Verdict, by)
}
