package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/internal/fault"
	"waypost/store"
)

// The outbox as the mover sees it. The mover takes entries, copies each into
// the transport's queue, unique on (home, entry id), and then says DoneOutbox:
// should it die in between, another takes the entry again after outboxLease
// and the queue knows it already.

const outboxLease = time.Minute

// outboxWord is what a notification says when there is something to move.
const outboxWord = "outbox"

func (s *Store) wakeMover() {
	select {
	case s.outbox <- struct{}{}:
	default:
	}
}

func (s *Store) announceOutbox(h *home) {
	s.wakeMover()
	h.notify.Notify(s.origin + " " + outboxWord)
}

// OutboxReady receives when there may be something to move. It may miss what
// other processes wrote while no Run is running, so the mover also looks by
// itself every few seconds.
func (s *Store) OutboxReady() <-chan struct{} { return s.outbox }

// NextOutbox takes at most limit entries of a mailbox database that are due,
// for a minute.
func (s *Store) NextOutbox(ctx context.Context, home string, limit int) (list []store.OutboxEntry, err error) {
	defer fault.Wrap(&err, "take from the outbox of %s", home)
	h, err := s.home(home)
	if err != nil {
		return nil, err
	}
	rows, err := h.db.Query(ctx, `
		with due as (
			select id from mail.outbox where not_before <= now() and (leased is null or leased < now())
			order by id limit $1 for update skip locked)
		update mail.outbox o set leased = now() + $2::interval from due where o.id = due.id
		returning o.mailbox, o.id, o.sender, o.recipients, o.not_before, o.created`,
		page(limit), outboxLease)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (e store.OutboxEntry, err error) {
		err = row.Scan(&e.Mailbox, &e.ID, &e.From, &e.Recipients, &e.NotBefore, &e.Created)
		return e, err
	})
}

// OutboxContent opens the bytes of an entry. The context bounds its reads too.
func (s *Store) OutboxContent(ctx context.Context, home string, id int64) (c store.Content, err error) {
	defer fault.Wrap(&err, "content of outbox entry %d of %s", id, home)
	h, err := s.home(home)
	if err != nil {
		return nil, err
	}
	var blob []byte
	out := &content{s: s, h: h, ctx: ctx}
	err = h.db.QueryRow(ctx, "select prefix, blob, blob_size from mail.outbox where id = $1", id).Scan(&out.prefix, &blob, &out.blobSize)
	if err == pgx.ErrNoRows {
		return nil, fault.New(fault.NotFound, "no such entry")
	}
	if err != nil {
		return nil, err
	}
	copy(out.hash[:], blob)
	return out, nil
}

// DoneOutbox removes an entry that is in the transport's queue. Repeating it
// does nothing.
func (s *Store) DoneOutbox(ctx context.Context, home string, id int64) (err error) {
	defer fault.Wrap(&err, "remove outbox entry %d of %s", id, home)
	h, err := s.home(home)
	if err != nil {
		return err
	}
	_, err = h.db.Exec(ctx, `
		with gone as (delete from mail.outbox where id = $1 returning blob)
		insert into mail.blob_check (hash) select blob from gone on conflict (hash) do update set at = now()`, id)
	return err
}
