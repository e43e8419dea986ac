package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
)

const clientColumns = `id, name, secret, redirects, scopes, trusted, created`

func scanClient(r pgx.Row) (c directory.StoredClient, err error) {
	err = r.Scan(&c.ID, &c.Name, &c.Digest, &c.Redirects, &c.Scopes, &c.Trusted, &c.Created)
	c.Confidential = len(c.Digest) > 0
	return c, err
}

// OAuthClients implements authn.Keeper.
func (s *Store) OAuthClients(ctx context.Context, as directory.Principal) (_ []directory.OAuthClient, err error) {
	defer fault.Wrap(&err, "list the OAuth clients")
	if err := s.may(ctx, as, change); err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `SELECT `+clientColumns+` FROM directory.oauth_client ORDER BY id`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (directory.OAuthClient, error) {
		c, err := scanClient(r)
		return c.OAuthClient, err
	})
}

// ClientBy implements authn.Keeper.
func (s *Store) ClientBy(ctx context.Context, id string) (c directory.StoredClient, err error) {
	none := fault.New(fault.NotFound, "no program is called %q", id)
	if _, err := cleanText("the client", id); err != nil {
		return c, none
	}
	c, err = scanClient(s.db.QueryRow(ctx, `SELECT `+clientColumns+` FROM directory.oauth_client WHERE id = $1`, id))
	if errors.Is(err, pgx.ErrNoRows) {
		err = none
	}
	return c, err
}

// KeepClient implements authn.Keeper.
func (s *Store) KeepClient(ctx context.Context, as directory.Principal, c directory.StoredClient) (err error) {
	defer fault.Wrap(&err, "add OAuth client %q", c.ID)
	if err := s.may(ctx, as, change); err != nil {
		return err
	}
	if c.Name, err = cleanText("the name", c.Name); err != nil {
		return err
	}
	tag, err := s.db.Exec(ctx, `
		WITH made AS (
			INSERT INTO directory.oauth_client (id, name, secret, redirects, scopes, trusted)
			VALUES ($1, $2, coalesce($3, ''::bytea), coalesce($4, '{}'::text[]), coalesce($5, '{}'::text[]), $6) ON CONFLICT DO NOTHING RETURNING id)
		`+auditSQL+`SELECT f.usn, $7, $8, $9, 'add OAuth client', 0, made.id, NULL FROM made, directory.forest f`,
		append([]any{c.ID, c.Name, c.Digest, c.Redirects, c.Scopes, c.Trusted}, auditWho(ctx, as)...)...)
	if err == nil && tag.RowsAffected() == 0 {
		return fault.New(fault.Exists, "there is a program called %q", c.ID)
	}
	return err
}

// RemoveOAuthClient implements authn.Keeper.
func (s *Store) RemoveOAuthClient(ctx context.Context, as directory.Principal, id string) (err error) {
	defer fault.Wrap(&err, "remove OAuth client %q", id)
	if err := s.may(ctx, as, change); err != nil {
		return err
	}
	tag, err := s.db.Exec(ctx, `
		WITH gone AS (DELETE FROM directory.oauth_client WHERE id = $1 RETURNING id)
		`+auditSQL+`SELECT f.usn, $2, $3, $4, 'remove OAuth client', 0, gone.id, NULL FROM gone, directory.forest f`,
		append([]any{id}, auditWho(ctx, as)...)...)
	if err == nil && tag.RowsAffected() == 0 {
		return fault.New(fault.NotFound, "no program is called %q", id)
	}
	if err != nil {
		return err
	}
	_, err = s.end(ctx, `client = $1 AND client <> ''`, id)
	return err
}

// auditWho is who acts, for a line of the audit log without an object.
func auditWho(ctx context.Context, as directory.Principal) []any {
	by := actor{as: as, from: directory.ClientOf(ctx)}
	who, name := by.who()
	return []any{who, name, by.source()}
}

// Consented implements authn.Keeper.
func (s *Store) Consented(ctx context.Context, as directory.Principal, client, scope string) (bool, error) {
	if as.ID == 0 || as.App {
		return false, nil
	}
	rows, err := s.db.Query(ctx, `
		SELECT s.scope FROM directory.session s JOIN directory.account a ON a.object = s.object
		WHERE s.object = $1 AND s.client = $2 AND s.client <> '' AND `+goodSession, as.ID, client)
	if err != nil {
		return false, err
	}
	granted, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return slices.ContainsFunc(granted, func(g string) bool {
		return !slices.ContainsFunc(strings.Fields(scope), func(name string) bool { return !directory.HasScope(g, name) })
	}), err
}

// Linked implements authn.Keeper.
func (s *Store) Linked(ctx context.Context, o directory.Identity) (id directory.ObjectID, err error) {
	err = s.db.QueryRow(ctx, `SELECT object FROM directory.outside WHERE issuer = $1 AND subject = $2`, o.Issuer, o.Subject).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return id, err
}

// Link implements authn.Keeper.
func (s *Store) Link(ctx context.Context, o directory.Identity, id directory.ObjectID) error {
	_, err := s.db.Exec(ctx, `INSERT INTO directory.outside (issuer, subject, object) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, o.Issuer, o.Subject, id)
	return err
}
