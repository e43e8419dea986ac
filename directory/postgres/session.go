package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/authn"
	"waypost/internal/fault"
)

// Store keeps sessions for sign-in.
var _ authn.Keeper = (*Store)(nil)

const (
	// maxSessions bounds the sessions of an account; the one used longest ago makes
	// room.
	maxSessions = 200
	// usedEvery is how exactly a session's last use is known.
	usedEvery = time.Minute
)

var errNoSession = fault.New(fault.Unauthenticated, "you are signed out, sign in again")

// AccountOf implements authn.Keeper.
func (s *Store) AccountOf(ctx context.Context, id directory.ObjectID, client string) (directory.Account, error) {
	a, err := s.account(ctx, id, "", client)
	if err == nil && a.Principal.ID == 0 {
		err = fault.New(fault.NotFound, "no such account")
	}
	return a, err
}

// AddSession implements authn.Keeper.
func (s *Store) AddSession(ctx context.Context, digest []byte, who directory.Principal, n directory.StoredSession) (id directory.SessionID, err error) {
	defer fault.Wrap(&err, "begin a session of user %d", who.ID)
	// Only while the account is as it was when it was looked at.
	err = s.db.QueryRow(ctx, `
		INSERT INTO directory.session (object, epoch, digest, needs, client, scope, how, passkey, private, agent, client_address, idle, until)
		SELECT a.object, a.epoch, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13
		FROM directory.account a WHERE a.object = $1 AND a.epoch = $2 AND a.enabled RETURNING id`,
		who.ID, who.Epoch, digest, n.Needs, n.Client, n.Scope, n.How, n.Passkey, n.Private, valid(n.Agent), n.From, n.Idle, n.Until).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, errNoSession
	}
	if err != nil {
		return 0, err
	}
	_, err = s.end(ctx, `id IN (SELECT id FROM directory.session WHERE object = $1 ORDER BY used DESC, id DESC OFFSET $2)`, who.ID, maxSessions)
	return id, err
}

// goodSession tells that a session s of an account a is good.
const goodSession = `s.epoch = a.epoch AND a.enabled AND (a.expires IS NULL OR a.expires > now())
	AND s.until > now() AND s.used + s.idle > now()`

// SessionBy implements authn.Keeper.
func (s *Store) SessionBy(ctx context.Context, digest []byte) (n directory.StoredSession, err error) {
	defer fault.Wrap(&err, "look for a session")
	p := &n.Principal
	err = s.db.QueryRow(ctx, `
		SELECT s.id, s.needs, s.client, s.scope, s.how, s.passkey, s.private, s.agent, s.client_address, s.created, s.used, s.idle, s.until,
			o.id, CASE WHEN o.home_mdb = '' THEN 0 ELSE o.mailbox END, o.home_mdb, o.address, o.name, o.roles, a.epoch
		FROM directory.session s JOIN directory.account a ON a.object = s.object JOIN directory.object o ON o.id = s.object
		WHERE s.digest = $1 AND `+goodSession, digest).Scan(
		&n.ID, &n.Needs, &n.Client, &n.Scope, &n.How, &n.Passkey, &n.Private, &n.Agent, &n.From, &n.Created, &n.Used, &n.Idle, &n.Until,
		&p.ID, &p.Mailbox, &p.HomeMDB, &p.Address, &p.Name, &p.Roles, &p.Epoch)
	if errors.Is(err, pgx.ErrNoRows) {
		return n, errNoSession
	}
	p.Roles &^= directory.RoleSystem
	return n, err
}

// MoveSession implements authn.Keeper.
func (s *Store) MoveSession(ctx context.Context, was, digest []byte, epoch directory.Epoch, n directory.StoredSession) (err error) {
	defer fault.Wrap(&err, "give a session another secret")
	// The old digest is remembered in the same statement: whoever shows it later is
	// known.
	var id directory.SessionID
	err = s.db.QueryRow(ctx, `
		WITH moved AS (
			UPDATE directory.session s SET digest = $2, epoch = $3, needs = $4, how = $5, passkey = $6, agent = $7, client_address = $8,
				idle = $9, until = $10, used = now()
			FROM directory.account a WHERE s.digest = $1 AND a.object = s.object AND a.epoch = $3 AND a.enabled RETURNING s.id, s.client),
		spent AS (INSERT INTO directory.refresh_used (digest, session) SELECT $1, id FROM moved WHERE client <> '')
		SELECT id FROM moved`,
		was, digest, epoch, n.Needs, n.How, n.Passkey, valid(n.Agent), n.From, n.Idle, n.Until).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return errNoSession
	}
	return err
}

// UseSession implements authn.Keeper.
func (s *Store) UseSession(ctx context.Context, id directory.SessionID, from, agent string) error {
	_, err := s.db.Exec(ctx, `
		UPDATE directory.session SET used = now(), client_address = $2, agent = $3
		WHERE id = $1 AND (used < now() - $4::interval OR client_address <> $2)`, id, from, valid(agent), usedEvery)
	return err
}

// Reused implements authn.Keeper.
func (s *Store) Reused(ctx context.Context, digest []byte) (id directory.SessionID, err error) {
	err = s.db.QueryRow(ctx, `SELECT session FROM directory.refresh_used WHERE digest = $1`, digest).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return id, err
}

// EndSessionsBy implements authn.Keeper.
func (s *Store) EndSessionsBy(ctx context.Context, ids []directory.SessionID, digests [][]byte) (int, error) {
	return s.end(ctx, `id = ANY ($1) OR digest = ANY ($2)`, ids, digests)
}

// SessionsOf implements authn.Keeper.
func (s *Store) SessionsOf(ctx context.Context, as directory.Principal, id directory.ObjectID) (_ []directory.SessionInfo, err error) {
	defer fault.Wrap(&err, "list the sessions of user %d", id)
	if err := s.mayKeep(ctx, as, id, true); err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `
		SELECT s.id, s.created, s.used, s.client_address, s.agent, s.private, s.until, s.how, s.client, coalesce(c.name, ''), s.scope
		FROM directory.session s JOIN directory.account a ON a.object = s.object LEFT JOIN directory.oauth_client c ON c.id = s.client
		WHERE s.object = $1 AND s.needs = 0 AND `+goodSession+` ORDER BY s.used DESC, s.id DESC`, id)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (n directory.SessionInfo, err error) {
		err = r.Scan(&n.ID, &n.Created, &n.Used, &n.From, &n.Agent, &n.Private, &n.Until, &n.How, &n.Client, &n.Name, &n.Scope)
		return n, err
	})
}

// EndSession implements authn.Keeper.
func (s *Store) EndSession(ctx context.Context, as directory.Principal, id directory.ObjectID, session directory.SessionID) (err error) {
	defer fault.Wrap(&err, "end session %d of user %d", session, id)
	if err := s.mayKeep(ctx, as, id, true); err != nil {
		return err
	}
	n, err := s.end(ctx, `object = $1 AND id = $2`, id, session)
	if err == nil && n == 0 {
		return fault.New(fault.NotFound, "no such session")
	}
	return err
}

// EndSessions implements authn.Keeper.
func (s *Store) EndSessions(ctx context.Context, as directory.Principal, id directory.ObjectID, keep directory.SessionID) (n int, err error) {
	defer fault.Wrap(&err, "end the sessions of user %d", id)
	if err := s.mayKeep(ctx, as, id, true); err != nil {
		return 0, err
	}
	return s.end(ctx, `object = $1 AND id <> $2`, id, keep)
}

// valid is text that the database takes.
func valid(text string) string {
	clean, err := cleanText("", text)
	if err != nil {
		return ""
	}
	return clean
}

// keepSessions takes all sessions along into the account's new epoch, where it
// was not by what ended that they began.
func (w *writing) keepSessions(ctx context.Context, o *object) error {
	_, err := w.Exec(ctx, `UPDATE directory.session SET epoch = $2 WHERE object = $1 AND epoch = $2 - 1`, o.id, o.account.epoch)
	return err
}
