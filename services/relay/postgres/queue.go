// Package postgres keeps the relay's queue in PostgreSQL, in the schema queue.
//
// Its law: recipients are taken with FOR UPDATE SKIP LOCKED in one short
// statement and then belong to a lease, not to a transaction. Whoever changes
// recipients of a message for good locks the message's row first, so that the
// last of them takes the message along.
package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/klauspost/compress/zstd"

	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/services/relay"
)

// chunkSize is the length of a piece of content before compression.
const chunkSize = 256 << 10

// Queue is the queue. It is safe for concurrent use.
type Queue struct {
	db  *pgdb.DB
	enc *zstd.Encoder
	dec *zstd.Decoder
}

var _ relay.Queue = (*Queue)(nil)

// New makes the queue on a database that has the schema.
func New(db *pgdb.DB) *Queue {
	// Both only fail on options that make no sense.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(chunkSize), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err)
	}
	return &Queue{db: db, enc: enc, dec: dec}
}

// One statement commits a message of one chunk: nothing of it happens when the
// id was seen before.
const insert = `
	with k as (
		insert into queue.seen (key, at) values ($1, $2) on conflict do nothing returning key),
	m as (
		insert into queue.message (key, sender, trace, trusted, utf8, size, created, expires, tell)
		select key, $3, $4, $5, $6, $7, $8, $9, $14 from k returning id),
	r as (
		insert into queue.recipient (message, address, domain, next_at)
		select m.id, t.address, t.domain, $10 from m, unnest($11::text[], $12::text[]) as t (address, domain)
		on conflict do nothing),
	c as (
		insert into queue.chunk (message, n, data) select id, 0, $13 from m)
	select id from m`

func arguments(n relay.Message, size int64, chunk []byte) []any {
	addrs, domains := columns(n.To)
	trace := n.Headers("")
	if len(n.To) == 1 {
		trace = n.Headers(n.To[0].Addr)
	}
	if trace == nil {
		trace = []byte{}
	}
	return []any{n.ID, n.Created, n.From, trace, n.Trusted, n.UTF8, size, n.Created, n.Expires, n.Due, addrs, domains, chunk, n.Tell}
}

func columns(to []relay.Address) (addrs, domains []string) {
	for _, a := range to {
		addrs, domains = append(addrs, a.Addr), append(domains, a.Domain)
	}
	return addrs, domains
}

// Put commits a message; false means that its id was seen before.
func (q *Queue) Put(ctx context.Context, n relay.Message, body envelope.Body) (fresh bool, err error) {
	defer fault.Wrap(&err, "queue message %s", n.ID)
	buf := make([]byte, min(chunkSize, body.Size()))
	if body.Size() <= chunkSize {
		if _, err := io.ReadFull(body.Reader(), buf); err != nil {
			return false, err
		}
		var id int64
		err := q.db.QueryRow(ctx, insert, arguments(n, body.Size(), q.enc.EncodeAll(buf, nil))...).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			return false, nil
		}
		return err == nil, err
	}
	err = q.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		fresh = false
		r := body.Reader()
		var id int64
		for i := 0; ; i++ {
			m, err := io.ReadFull(r, buf)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
				return err
			}
			data := q.enc.EncodeAll(buf[:m], nil)
			if i == 0 {
				err = tx.QueryRow(ctx, insert, arguments(n, body.Size(), data)...).Scan(&id)
				if errors.Is(err, pgx.ErrNoRows) {
					return nil
				}
				fresh = true
			} else {
				_, err = tx.Exec(ctx, "insert into queue.chunk (message, n, data) values ($1, $2, $3)", id, i, data)
			}
			if err != nil {
				return err
			}
		}
	})
	return fresh, err
}

// Take leases due recipients.
func (q *Queue) Take(ctx context.Context, now, until time.Time, limit int, busy []string) (list []relay.Work, err error) {
	defer fault.Wrap(&err, "take from the queue")
	if busy == nil {
		busy = []string{}
	}
	lease := rand.Text()
	rows, err := q.db.Query(ctx, `
		with first as (
			select id, message, domain from queue.recipient
			where state = 'queued' and next_at <= $1 and domain <> all($2)
			order by next_at, id limit $3 for update skip locked),
		due as ( -- and who else gets the same message over the same connection
			select id from queue.recipient
			where (message, domain) in (select message, domain from first)
			and state = 'queued' and next_at <= $1
			order by id limit $3 + 1000 for update skip locked),
		taken as (
			update queue.recipient r set lease = $4, next_at = $5 from due where r.id = due.id
			returning r.id, r.message, r.address, r.domain, r.attempts, r.warned, r.listed, r.verdict, r.comment)
		select t.id, t.message, t.address, t.domain, t.attempts, t.warned, t.listed, t.verdict, t.comment,
			m.key, m.sender, m.trace, m.trusted, m.utf8, m.size, m.created, m.expires, m.tell
		from taken t join queue.message m on m.id = t.message
		order by t.domain, t.message, t.id`, now, busy, limit, lease, until)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			r relay.Recipient
			w relay.Work
		)
		if err := rows.Scan(&r.ID, &w.Message, &r.Address, &w.Domain, &r.Attempts, &r.Warned, &r.Listed, &r.Verdict, &r.Comment,
			&w.ID, &w.From, &w.Trace, &w.Trusted, &w.UTF8, &w.Size, &w.Created, &w.Expires, &w.Tell); err != nil {
			return nil, err
		}
		if n := len(list); n > 0 && list[n-1].Message == w.Message && list[n-1].Domain == w.Domain {
			list[n-1].To = append(list[n-1].To, r)
			continue
		}
		w.Lease, w.To = lease, []relay.Recipient{r}
		list = append(list, w)
	}
	return list, rows.Err()
}

// Extend prolongs a lease.
func (q *Queue) Extend(ctx context.Context, w relay.Work, until time.Time) (err error) {
	defer fault.Wrap(&err, "extend the lease of message %s", w.ID)
	_, err = q.db.Exec(ctx, "update queue.recipient set next_at = $3 where message = $1 and lease = $2 and state = 'queued'",
		w.Message, w.Lease, until)
	return err
}

// Content opens the bytes of a message.
func (q *Queue) Content(ctx context.Context, w relay.Work) envelope.Body {
	return &content{q: q, ctx: ctx, id: w.Message, size: w.Size}
}

type content struct {
	q    *Queue
	ctx  context.Context
	id   int64
	size int64
}

func (c *content) Size() int64       { return c.size }
func (c *content) Reader() io.Reader { return &reader{content: c} }

// reader fetches one chunk after the other, holding no connection in between.
type reader struct {
	*content
	n    int
	rest []byte
	done int64
}

func (r *reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.done >= r.size {
			return 0, io.EOF
		}
		var data []byte
		err := r.q.db.QueryRow(r.ctx, "select data from queue.chunk where message = $1 and n = $2", r.id, r.n).Scan(&data)
		if errors.Is(err, pgx.ErrNoRows) {
			return 0, fault.New(fault.NotFound, "the message is gone from the queue")
		}
		if err != nil {
			return 0, err
		}
		if r.rest, err = r.q.dec.DecodeAll(data, nil); err != nil {
			return 0, fmt.Errorf("chunk %d of queued message %d: %w", r.n, r.id, err)
		}
		r.n++
		r.done += int64(len(r.rest))
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Settle writes what became of recipients, and the notices.
func (q *Queue) Settle(ctx context.Context, w relay.Work, now time.Time, outcomes []relay.Outcome, notices []relay.Notice) (err error) {
	defer fault.Wrap(&err, "settle message %s", w.ID)
	return q.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		notices := slices.Clone(notices) // the transaction may run again
		b := &pgx.Batch{}
		b.Queue("select 1 from queue.message where id = $1 for update", w.Message)
		for _, o := range outcomes {
			switch {
			case o.Done && o.Listed:
				b.Queue("update queue.recipient set state = 'done', lease = null where id = $1 and lease = $2", o.ID, w.Lease)
				continue
			case o.Done:
				b.Queue("delete from queue.recipient where id = $1 and lease = $2", o.ID, w.Lease)
				continue
			case o.Asked != nil:
				asked, err := moderate(ctx, tx, w, o, now)
				if err != nil {
					return err
				}
				if asked {
					notices = append(notices, o.Asked.Requests...)
				}
				continue
			}
			b.Queue(`
				update queue.recipient set lease = null, attempts = attempts + 1,
					state = case when state = 'held' then state else $3 end, next_at = $4, warned = $5,
					last_at = $6, last_code = $7, last_status = $8, last_text = $9, last_host = $10
				where id = $1 and lease = $2`,
				o.ID, w.Lease, o.State, o.Due, o.Warned, o.Last.At, o.Last.Code, o.Last.Status, o.Last.Text, o.Last.Host)
		}
		for _, n := range notices {
			q.notice(b, n)
		}
		b.Queue("delete from queue.message m where id = $1 and not exists (select from queue.recipient where message = m.id and state <> 'done')", w.Message)
		return tx.Batch(ctx, b)
	})
}

// notice puts a message of ours into the queue.
func (q *Queue) notice(b *pgx.Batch, n relay.Notice) {
	size := int64(len(n.Body))
	chunk := func() []byte {
		k := min(len(n.Body), chunkSize)
		data := q.enc.EncodeAll(n.Body[:k], nil)
		n.Body = n.Body[k:]
		return data
	}
	b.Queue(insert, arguments(n.Message, size, chunk())...)
	for i := 1; len(n.Body) > 0; i++ {
		// Under an id that was seen before these are there.
		b.Queue("insert into queue.chunk (message, n, data) select id, $2, $3 from queue.message where key = $1 on conflict do nothing", n.ID, i, chunk())
	}
}

// Add gives a message further recipients.
func (q *Queue) Add(ctx context.Context, message int64, to []relay.Address, now time.Time) (err error) {
	defer fault.Wrap(&err, "add recipients to queued message %d", message)
	addrs, domains := columns(to)
	_, err = q.db.Exec(ctx, `
		insert into queue.recipient (message, address, domain, next_at, listed)
		select $1, t.address, t.domain, $2, true from unnest($3::text[], $4::text[]) as t (address, domain)
		on conflict do nothing`, message, now, addrs, domains)
	return err
}

// Next is when the next recipient is due.
func (q *Queue) Next(ctx context.Context) (at time.Time, err error) {
	defer fault.Wrap(&err, "next of the queue")
	var next *time.Time
	err = q.db.QueryRow(ctx, "select min(next_at) from queue.recipient where state = 'queued'").Scan(&next)
	if next != nil {
		at = *next
	}
	return at, err
}

// Stats counts the recipients by state.
func (q *Queue) Stats(ctx context.Context) (n map[relay.State]int, err error) {
	defer fault.Wrap(&err, "count the queue")
	rows, err := q.db.Query(ctx, "select state, count(*) from queue.recipient group by state")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	n = map[relay.State]int{relay.Queued: 0, relay.Held: 0, relay.Dead: 0, relay.Moderated: 0, relay.Done: 0}
	for rows.Next() {
		var s relay.State
		var k int
		if err := rows.Scan(&s, &k); err != nil {
			return nil, err
		}
		n[s] = k
	}
	return n, rows.Err()
}

// Sweep forgets old ids, old dead messages and old decisions.
func (q *Queue) Sweep(ctx context.Context, seen, dead, decided time.Time) (err error) {
	defer fault.Wrap(&err, "sweep the queue")
	if _, err = q.db.Exec(ctx, `
		delete from queue.seen where key in (select key from queue.seen where at < $1 order by at limit 10000)
		and not exists (select from queue.message m where m.key = seen.key)`, seen); err != nil {
		return err
	}
	if _, err = q.db.Exec(ctx, `
		delete from queue.message m where expires < $1
		and not exists (select from queue.recipient where message = m.id and state not in ('dead', 'done'))`, dead); err != nil {
		return err
	}
	_, err = q.db.Exec(ctx, `
		delete from queue.moderation where decided < $1 or expires < $1 and recipient is null`, decided)
	return err
}
