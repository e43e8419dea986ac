package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
)

// Passkeys implements authn.Keeper.
func (s *Store) Passkeys(ctx context.Context, as directory.Principal, id directory.ObjectID) (_ []directory.Passkey, err error) {
	defer fault.Wrap(&err, "list the passkeys of user %d", id)
	if err := s.mayKeep(ctx, as, id, true); err != nil {
		return nil, err
	}
	stored, err := s.PasskeysOf(ctx, id)
	all := make([]directory.Passkey, len(stored))
	for i, p := range stored {
		all[i] = p.Passkey
	}
	return all, err
}

// MayAddPasskey implements authn.Keeper: only the owner does, in a browser.
func (s *Store) MayAddPasskey(ctx context.Context, as directory.Principal, id directory.ObjectID) (u directory.User, err error) {
	defer fault.Wrap(&err, "add a passkey of user %d", id)
	if err := s.mayKeep(ctx, as, id, true); err != nil {
		return u, err
	}
	if as.ID != id {
		return u, fault.New(fault.Denied, "a passkey is added by whose it is")
	}
	return s.User(ctx, as, id)
}

const passkeyColumns = `id, name, created, last_used, last_from, object, credential, data::text`

func scanPasskey(r pgx.Row) (p directory.StoredPasskey, err error) {
	var used *time.Time
	var data string
	err = r.Scan(&p.ID, &p.Name, &p.Created, &used, &p.LastFrom, &p.Object, &p.Credential, &data)
	if used != nil {
		p.LastUsed = *used
	}
	p.Data = []byte(data)
	return p, err
}

// PasskeysOf implements authn.Keeper.
func (s *Store) PasskeysOf(ctx context.Context, id directory.ObjectID) ([]directory.StoredPasskey, error) {
	rows, err := s.db.Query(ctx, `SELECT `+passkeyColumns+` FROM directory.passkey WHERE object = $1 ORDER BY id`, id)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (directory.StoredPasskey, error) { return scanPasskey(r) })
}

// PasskeyBy implements authn.Keeper.
func (s *Store) PasskeyBy(ctx context.Context, credential []byte) (directory.StoredPasskey, error) {
	p, err := scanPasskey(s.db.QueryRow(ctx, `SELECT `+passkeyColumns+` FROM directory.passkey WHERE credential = $1`, credential))
	if errors.Is(err, pgx.ErrNoRows) {
		err = fault.New(fault.Unauthenticated, "the passkey was not accepted")
	}
	return p, err
}

// KeepPasskey implements authn.Keeper.
func (s *Store) KeepPasskey(ctx context.Context, as directory.Principal, p directory.StoredPasskey) (made directory.Passkey, err error) {
	defer fault.Wrap(&err, "add a passkey of user %d", p.Object)
	name, err := cleanText("the name", p.Name)
	if err != nil {
		return made, err
	}
	if n := len([]rune(name)); n == 0 || n > maxAppName {
		return made, fault.New(fault.Invalid, "a passkey has a name of 1 to %d characters", maxAppName)
	}
	err = s.changeAccount(ctx, as, p.Object, "add passkey", func(ctx context.Context, w *writing, o *object) error {
		o.tell("passkey", name)
		kept, err := scanPasskey(w.QueryRow(ctx, `
			INSERT INTO directory.passkey (object, name, credential, data) VALUES ($1, $2, $3, $4::text::jsonb)
			ON CONFLICT (credential) DO NOTHING RETURNING `+passkeyColumns, p.Object, name, p.Credential, string(p.Data)))
		if errors.Is(err, pgx.ErrNoRows) {
			return fault.New(fault.Exists, "this passkey is there already")
		}
		made = kept.Passkey
		return err
	})
	return made, err
}

// UsePasskey implements authn.Keeper.
func (s *Store) UsePasskey(ctx context.Context, id int64, data []byte, from string) error {
	_, err := s.db.Exec(ctx, `UPDATE directory.passkey SET data = $2::text::jsonb, last_used = now(), last_from = $3 WHERE id = $1`, id, string(data), from)
	return err
}

// RemovePasskey implements authn.Keeper.
func (s *Store) RemovePasskey(ctx context.Context, as directory.Principal, id directory.ObjectID, passkey int64) (err error) {
	defer fault.Wrap(&err, "remove a passkey of user %d", id)
	if err := s.mayKeep(ctx, as, id, true); err != nil {
		return err
	}
	err = s.changeAccount(ctx, as, id, "remove passkey", func(ctx context.Context, w *writing, o *object) error {
		var name string
		err := w.QueryRow(ctx, `DELETE FROM directory.passkey WHERE object = $1 AND id = $2 RETURNING name`, id, passkey).Scan(&name)
		if errors.Is(err, pgx.ErrNoRows) {
			return fault.New(fault.NotFound, "no such passkey")
		}
		o.also = changed{}
		o.also.add("passkey", []string{name}, nil)
		return err
	})
	if err != nil {
		return err
	}
	// But not the one in which its owner does it.
	_, err = s.end(ctx, `object = $1 AND passkey = $2 AND id <> $3`, id, passkey, as.Session)
	return err
}
