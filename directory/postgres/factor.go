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

// factorIssuer is how an authenticator shows whose code it is.
const factorIssuer = "Waypost"

// BeginFactor implements directory.Accounts.
func (s *Store) BeginFactor(ctx context.Context, as directory.Principal, id directory.ObjectID) (k directory.FactorKey, err error) {
	defer fault.Wrap(&err, "begin the second factor of user %d", id)
	if err := s.mayKeep(ctx, as, id, true); err != nil {
		return k, err
	}
	e := s.view.get(id)
	if e == nil {
		return k, errNoUser
	}
	name := e.address
	if name == "" {
		name = e.rdn
	}
	k, secret, err := authn.NewFactor(factorIssuer, name)
	if err != nil {
		return k, err
	}
	err = s.changeAccount(ctx, as, id, "begin second factor", func(ctx context.Context, w *writing, o *object) error {
		tag, err := w.Exec(ctx, `
			INSERT INTO directory.factor AS f (object, secret) VALUES ($1, $2)
			ON CONFLICT (object) DO UPDATE SET secret = $2, step = 0, created = now() WHERE NOT f.active`, id, secret)
		if err == nil && tag.RowsAffected() == 0 {
			return fault.New(fault.Exists, "the second factor is on; turn it off first")
		}
		return err
	})
	if err != nil {
		return directory.FactorKey{}, err
	}
	return k, nil
}

// ConfirmFactor implements directory.Accounts. What was granted without the
// second factor ends. Wrong codes count by the law of second factors.
func (s *Store) ConfirmFactor(ctx context.Context, as directory.Principal, id directory.ObjectID, code string) (recovery []string, err error) {
	defer fault.Wrap(&err, "confirm the second factor of user %d", id)
	if err := s.mayKeep(ctx, as, id, true); err != nil {
		return nil, err
	}
	codes, digests := authn.NewRecovery()
	err = s.changeAccount(ctx, as, id, "turn on second factor", func(ctx context.Context, w *writing, o *object) error {
		var secret []byte
		var active bool
		var last int64
		err := w.QueryRow(ctx, `SELECT secret, active, step FROM directory.factor WHERE object = $1`, id).Scan(&secret, &active, &last)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return fault.New(fault.NotFound, "no second factor was begun")
		case err != nil:
			return err
		case active:
			return fault.New(fault.Exists, "the second factor is on")
		}
		step, ok := authn.MatchFactor(secret, code, time.Now(), last)
		if !ok {
			return fault.New(fault.Invalid, "the code is wrong")
		}
		if _, err := w.Exec(ctx, `UPDATE directory.factor SET active = true, step = $2, recovery = $3 WHERE object = $1`, id, step, digests); err != nil {
			return err
		}
		o.tell("second factor", "(on)")
		return w.newEpoch(ctx, o, o.account.enabled)
	})
	if err != nil {
		return nil, err
	}
	return codes, nil
}

// RemoveFactor implements directory.Accounts.
func (s *Store) RemoveFactor(ctx context.Context, as directory.Principal, id directory.ObjectID) (err error) {
	defer fault.Wrap(&err, "turn off the second factor of user %d", id)
	if err := s.mayKeep(ctx, as, id, true); err != nil {
		return err
	}
	return s.changeAccount(ctx, as, id, "turn off second factor", func(ctx context.Context, w *writing, o *object) error {
		tag, err := w.Exec(ctx, `DELETE FROM directory.factor WHERE object = $1`, id)
		switch {
		case err != nil:
			return err
		case tag.RowsAffected() == 0:
			return fault.New(fault.NotFound, "there is no second factor")
		}
		if _, err := w.Exec(ctx, `DELETE FROM directory.lockout WHERE kind = 'factor' AND key = $1`, lockKey(id, "")); err != nil {
			return err
		}
		o.tell("second factor", "(off)")
		return w.newEpoch(ctx, o, o.account.enabled)
	})
}

// UseFactor implements authn.Accounts. It is durable when it returns: a code
// that was used stays used.
func (s *Store) UseFactor(ctx context.Context, id directory.ObjectID, step int64, recovery []byte) (fresh bool, err error) {
	defer fault.Wrap(&err, "use a second factor")
	sql, arg := `UPDATE directory.factor SET step = $2 WHERE object = $1 AND active AND step < $2`, any(step)
	if recovery != nil {
		sql, arg = `UPDATE directory.factor SET recovery = array_remove(recovery, $2) WHERE object = $1 AND active AND $2 = ANY (recovery)`, any(recovery)
	}
	tag, err := s.db.Exec(ctx, sql, id, arg)
	if err != nil || tag.RowsAffected() == 0 {
		return false, err
	}
	_, err = s.db.Exec(ctx, `DELETE FROM directory.lockout WHERE kind = 'factor' AND key = $1`, lockKey(id, ""))
	return true, err
}
