package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/store"
)

const (
	submissionCols = "id, item, thread, identity, sender, recipients, coalesce(params::text, ''), send_at, created, canceled, changed_seq"
	maxParams      = 64 << 10 // bytes of Track.Params
)

func checkTrack(t *store.Track) error {
	switch {
	case t == nil:
	case len(t.Params) > maxParams:
		return fault.New(fault.TooLarge, "the parameters of a message to be sent are too large")
	case len(t.Identity) > maxOnce || t.Identity != clean(t.Identity):
		return fault.New(fault.Invalid, "that is no identity")
	}
	return nil
}

// track keeps the record of what is sent. Beyond MaxSubmissions the oldest are
// forgotten, and of those that are forgotten as many are kept to tell of it.
func (c *change) track(o *store.Outgoing, sendAt time.Time) {
	t := o.Track
	c.last.Queue(`
		insert into mail.submission (mailbox, id, changed_seq, item, thread, send_at, key, identity, sender, recipients, params)
		values ($1, $2, $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb)`,
		int64(c.box), int64(c.seq), int64(t.Item), int64(t.Thread), sendAt, o.Key, t.Identity, o.From, o.Recipients, paramsText(t.Params))
	c.last.Queue(`update mail.submission set gone = true, changed_seq = $2 where mailbox = $1 and id in (
		select id from mail.submission where mailbox = $1 and not gone order by id desc offset $3)`,
		int64(c.box), int64(c.seq), store.MaxSubmissions)
	c.last.Queue(`delete from mail.submission where mailbox = $1 and id in (
		select id from mail.submission where mailbox = $1 and gone order by changed_seq desc, id desc offset $2)`,
		int64(c.box), store.MaxSubmissions)
}

func paramsText(data []byte) *string {
	if len(data) == 0 {
		return nil
	}
	text := jsonText(data)
	return &text
}

func scanSubmission(row pgx.CollectableRow) (s store.Submission, err error) {
	var params string
	err = row.Scan(&s.ID, &s.Item, &s.Thread, &s.Identity, &s.From, &s.Recipients, &params, &s.SendAt, &s.Created, &s.Canceled, &s.Changed)
	if params != "" {
		s.Params = []byte(params)
	}
	return s, err
}

const submissionSeq = "select coalesce(max(changed_seq), 0) from mail.submission where mailbox = $1"

// Submissions lists all records, newest first.
func (s *Store) Submissions(ctx context.Context, as directory.Principal, box store.MailboxID) (list []store.Submission, at store.Seq, err error) {
	defer fault.Wrap(&err, "submissions of mailbox %d", box)
	err = s.submissions(ctx, as, box, &at, func(b *pgx.Batch) {
		b.Queue("select "+submissionCols+" from mail.submission where mailbox = $1 and not gone order by id desc", int64(box)).
			Query(func(rows pgx.Rows) (err error) {
				list, err = pgx.CollectRows(rows, scanSubmission)
				return err
			})
	})
	return list, at, err
}

// submissions runs reads with the newest change of the records.
func (s *Store) submissions(ctx context.Context, as directory.Principal, box store.MailboxID, at *store.Seq, more func(*pgx.Batch)) error {
	h, err := s.open(as, box)
	if err != nil {
		return err
	}
	return reading(ctx, func() error {
		return h.db.Snapshot(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
			b := &pgx.Batch{}
			b.Queue(submissionSeq, int64(box)).QueryRow(func(row pgx.Row) error { return row.Scan(at) })
			more(b)
			return tx.SendBatchAndCommit(ctx, b)
		})
	})
}

// SubmissionChanges lists what changed after since.
func (s *Store) SubmissionChanges(ctx context.Context, as directory.Principal, box store.MailboxID, since store.Seq) (c store.SubmissionChanges, err error) {
	defer fault.Wrap(&err, "changes of submissions of mailbox %d", box)
	var kept int
	var oldest store.Seq
	err = s.submissions(ctx, as, box, &c.At, func(b *pgx.Batch) {
		b.Queue("select "+submissionCols+" from mail.submission where mailbox = $1 and not gone and changed_seq > $2 order by id", int64(box), int64(since)).
			Query(func(rows pgx.Rows) (err error) {
				c.Changed, err = pgx.CollectRows(rows, scanSubmission)
				return err
			})
		b.Queue("select id from mail.submission where mailbox = $1 and gone and changed_seq > $2 order by id", int64(box), int64(since)).
			Query(func(rows pgx.Rows) (err error) {
				c.Gone, err = pgx.CollectRows(rows, pgx.RowTo[int64])
				return err
			})
		b.Queue("select count(*), coalesce(min(changed_seq), 0) from mail.submission where mailbox = $1 and gone", int64(box)).
			QueryRow(func(row pgx.Row) error { return row.Scan(&kept, &oldest) })
	})
	switch {
	case err != nil:
		return store.SubmissionChanges{}, err
	case since > c.At, kept >= store.MaxSubmissions && since < oldest:
		return store.SubmissionChanges{}, fault.New(fault.Resync, "the position is older than what is kept")
	}
	return c, nil
}

// CancelSubmission takes a message back that was not sent yet.
func (s *Store) CancelSubmission(ctx context.Context, as directory.Principal, box store.MailboxID, id int64) (err error) {
	defer fault.Wrap(&err, "cancel submission %d of mailbox %d", id, box)
	_, err = s.change(ctx, as, box, changeOf{run: func(ctx context.Context, c *change) error {
		var key string
		var canceled bool
		err := c.tx.QueryRow(ctx, "select key, canceled from mail.submission where mailbox = $1 and id = $2 and not gone", int64(box), id).Scan(&key, &canceled)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return fault.New(fault.NotFound, "no such submission")
		case err != nil:
			return err
		case canceled:
			return errNothing
		}
		// A mover that has it leased may have handed it on already.
		tag, err := c.tx.Exec(ctx, `
			with gone as (
				delete from mail.outbox where mailbox = $1 and key = $2 and leased is null and not_before > now() returning blob)
			insert into mail.blob_check (hash) select blob from gone on conflict (hash) do update set at = now()`, int64(box), key)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return fault.New(fault.Conflict, "the message is on its way")
		}
		c.last.Queue("update mail.submission set canceled = true, changed_seq = $3 where mailbox = $1 and id = $2", int64(box), id, int64(c.seq))
		return nil
	}})
	return err
}

// ForgetSubmission removes a record.
func (s *Store) ForgetSubmission(ctx context.Context, as directory.Principal, box store.MailboxID, id int64) (err error) {
	defer fault.Wrap(&err, "forget submission %d of mailbox %d", id, box)
	_, err = s.change(ctx, as, box, changeOf{run: func(ctx context.Context, c *change) error {
		c.last.Queue("update mail.submission set gone = true, changed_seq = $3 where mailbox = $1 and id = $2 and not gone", int64(box), id, int64(c.seq)).
			Exec(func(tag pgconn.CommandTag) error {
				if tag.RowsAffected() == 0 {
					return fault.New(fault.NotFound, "no such submission")
				}
				return nil
			})
		return nil
	}})
	return err
}
