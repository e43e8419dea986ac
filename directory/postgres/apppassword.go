package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/authn"
	"waypost/internal/fault"
)

const (
	// maxApps bounds the application passwords of an account.
	maxApps    = 40
	maxAppName = 64 // characters
)

// AppPasswords implements directory.Accounts.
func (s *Store) AppPasswords(ctx context.Context, as directory.Principal, id directory.ObjectID) (_ []directory.AppPassword, err error) {
	defer fault.Wrap(&err, "list the application passwords of user %d", id)
	if err := s.mayKeep(ctx, as, id, true); err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `
		SELECT name, created, last_used, last_from, last_door FROM directory.app_password WHERE object = $1 ORDER BY id`, id)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (a directory.AppPassword, err error) {
		var used *time.Time
		err = r.Scan(&a.Name, &a.Created, &used, &a.LastFrom, &a.LastDoor)
		if used != nil {
			a.LastUsed = *used
		}
		return a, err
	})
}

// AddAppPassword implements directory.Accounts.
func (s *Store) AddAppPassword(ctx context.Context, as directory.Principal, id directory.ObjectID, name string) (a directory.AppPassword, secret string, err error) {
	defer fault.Wrap(&err, "add an application password of user %d", id)
	if err := s.mayKeep(ctx, as, id, true); err != nil {
		return a, "", err
	}
	if name, err = cleanText("the name", name); err != nil {
		return a, "", err
	}
	if n := len([]rune(name)); n == 0 || n > maxAppName {
		return a, "", fault.New(fault.Invalid, "an application password has a name of 1 to %d characters", maxAppName)
	}
	secret, digest := authn.NewAppPassword()
	err = s.changeAccount(ctx, as, id, "add application password", func(ctx context.Context, w *writing, o *object) error {
		var n int
		var taken bool
		err := w.QueryRow(ctx, `
			SELECT count(*), coalesce(bool_or(key = $2), false) FROM directory.app_password WHERE object = $1`, id, directory.Fold(name)).Scan(&n, &taken)
		switch {
		case err != nil:
			return err
		case taken:
			return fault.New(fault.Exists, "there is an application password called %q", name)
		case n >= maxApps:
			return fault.New(fault.Limit, "at most %d application passwords", maxApps)
		}
		o.tell("application password", name)
		return w.QueryRow(ctx, `
			INSERT INTO directory.app_password (object, name, key, digest) VALUES ($1, $2, $3, $4) RETURNING name, created`,
			id, name, directory.Fold(name), digest).Scan(&a.Name, &a.Created)
	})
	if err != nil {
		return directory.AppPassword{}, "", err
	}
	return a, secret, nil
}

// RemoveAppPassword implements directory.Accounts.
func (s *Store) RemoveAppPassword(ctx context.Context, as directory.Principal, id directory.ObjectID, name string) (err error) {
	defer fault.Wrap(&err, "remove an application password of user %d", id)
	if err := s.mayKeep(ctx, as, id, true); err != nil {
		return err
	}
	return s.changeAccount(ctx, as, id, "remove application password", func(ctx context.Context, w *writing, o *object) error {
		tag, err := w.Exec(ctx, `DELETE FROM directory.app_password WHERE object = $1 AND key = $2`, id, directory.Fold(name))
		switch {
		case err != nil:
			return err
		case tag.RowsAffected() == 0:
			return fault.New(fault.NotFound, "no application password is called %q", name)
		}
		o.also = changed{}
		o.also.add("application password", []string{name}, nil)
		if err := w.newEpoch(ctx, o, o.account.enabled); err != nil {
			return err
		}
		return w.keepSessions(ctx, o)
	})
}
