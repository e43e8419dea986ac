package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
)

// maxTickets bounds those of one kind that nobody has taken, as anybody can have
// them made; a flood makes others wait for at most their life.
const maxTickets = 50000

var errTicket = fault.New(fault.NotFound, "it was used before, or is over")

// AddTicket implements authn.Keeper.
func (s *Store) AddTicket(ctx context.Context, digest []byte, t directory.Ticket) (err error) {
	defer fault.Wrap(&err, "give out a %s", t.Kind)
	tag, err := s.db.Exec(ctx, `
		INSERT INTO directory.ticket (digest, kind, object, data, label, until)
		SELECT $1, $2, nullif($3::bigint, 0), $4::text::jsonb, nullif($5, ''), $6
		WHERE $3 <> 0 OR (SELECT count(*) FROM (SELECT FROM directory.ticket WHERE object IS NULL AND kind = $2 AND until > now() LIMIT $7) t) < $7`,
		digest, t.Kind, t.Object, string(t.Data), t.Label, t.Until, maxTickets)
	if err == nil && tag.RowsAffected() == 0 {
		return fault.New(fault.Unavailable, "too many at once, try again later")
	}
	return err
}

const ticketColumns = `kind, coalesce(object, 0), data::text, coalesce(label, ''), until, session`

func scanTicket(r pgx.Row) (t directory.Ticket, err error) {
	var data string
	err = r.Scan(&t.Kind, &t.Object, &data, &t.Label, &t.Until, &t.Session)
	t.Data = []byte(data)
	if errors.Is(err, pgx.ErrNoRows) {
		err = errTicket
	}
	return t, err
}

// Ticket implements authn.Keeper.
func (s *Store) Ticket(ctx context.Context, kind string, digest []byte) (directory.Ticket, error) {
	return scanTicket(s.db.QueryRow(ctx, `
		SELECT `+ticketColumns+` FROM directory.ticket WHERE digest = $1 AND kind = $2 AND (until > now() OR session <> 0)`, digest, kind))
}

// TakeTicket implements authn.Keeper.
func (s *Store) TakeTicket(ctx context.Context, kind string, digest []byte) (directory.Ticket, error) {
	return scanTicket(s.db.QueryRow(ctx, `
		DELETE FROM directory.ticket WHERE digest = $1 AND kind = $2 AND until > now() RETURNING `+ticketColumns, digest, kind))
}

// SpendTicket implements authn.Keeper.
func (s *Store) SpendTicket(ctx context.Context, digest []byte, id directory.SessionID) (before directory.SessionID, ok bool, err error) {
	tag, err := s.db.Exec(ctx, `UPDATE directory.ticket SET session = $2 WHERE digest = $1 AND session = 0 AND until > now()`, digest, id)
	if err != nil || tag.RowsAffected() > 0 {
		return 0, err == nil, err
	}
	err = s.db.QueryRow(ctx, `SELECT session FROM directory.ticket WHERE digest = $1`, digest).Scan(&before)
	if errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	return before, false, err
}

// TicketByLabel implements authn.Keeper.
func (s *Store) TicketByLabel(ctx context.Context, kind, label string) (digest []byte, t directory.Ticket, err error) {
	if label == "" {
		return nil, t, errTicket
	}
	err = s.db.QueryRow(ctx, `SELECT digest FROM directory.ticket WHERE label = $1 AND kind = $2 AND until > now()`, label, kind).Scan(&digest)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, t, errTicket
	}
	if err != nil {
		return nil, t, err
	}
	t, err = s.Ticket(ctx, kind, digest)
	return digest, t, err
}

// SetTicket implements authn.Keeper.
func (s *Store) SetTicket(ctx context.Context, digest []byte, was, data []byte, object directory.ObjectID) (bool, error) {
	tag, err := s.db.Exec(ctx, `
		UPDATE directory.ticket SET data = $3::text::jsonb, object = nullif($4::bigint, 0)
		WHERE digest = $1 AND data = $2::text::jsonb AND until > now() AND session = 0`, digest, string(was), string(data), object)
	return err == nil && tag.RowsAffected() > 0, err
}
