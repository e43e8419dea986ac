package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/access"
	"waypost/internal/fault"
)

// mayKeep tells whether as may see to the account id: its administrators, who
// may reset its password and, where it is about what is one's own, its owner.
func (s *Store) mayKeep(ctx context.Context, as directory.Principal, id directory.ObjectID, own bool) error {
	if as.App {
		return errAppPassword
	}
	r, err := s.rightsOf(ctx, as)
	if err != nil {
		return err
	}
	e := s.view.get(id)
	if e == nil || e.family != person {
		if r.all() {
			return errNoUser
		}
		return fault.New(fault.Denied, "not allowed")
	}
	if r.all() || own && as.ID == id {
		return nil
	}
	perms := r.on(subject{
		id: id, class: e.class, chain: s.chain(e), listed: len(e.acl) > 0, protected: e.protected || r.guards(id), hidden: e.hideMembers,
	})
	if perms.May(access.Reset) {
		return nil
	}
	return fault.New(fault.Denied, "not allowed")
}

// chain gives the containers of e, nearest first.
func (s *Store) chain(e *entry) (up []directory.ObjectID) {
	for depth := 0; e != nil && e.parent != 0 && depth < maxDepth; depth++ {
		up = append(up, e.parent)
		e = s.view.get(e.parent)
	}
	return up
}

// changeAccount runs fn on the account of a person.
func (s *Store) changeAccount(ctx context.Context, as directory.Principal, id directory.ObjectID, op string, fn func(context.Context, *writing, *object) error) error {
	return s.write(ctx, actor{as: as, op: op}, func(ctx context.Context, w *writing) error {
		o, err := w.readUser(ctx, id)
		if err != nil {
			return err
		}
		if o.account == nil {
			return fault.New(fault.Invalid, "nobody signs in to a room")
		}
		if err := fn(ctx, w, o); err != nil {
			return err
		}
		return w.save(ctx, o, false)
	})
}

// AccountState implements directory.Accounts.
func (s *Store) AccountState(ctx context.Context, as directory.Principal, id directory.ObjectID) (a directory.AccountState, err error) {
	defer fault.Wrap(&err, "look at account %d", id)
	if err := s.mayKeep(ctx, as, id, true); err != nil {
		return a, err
	}
	policy := s.policyOf(ctx, id, 0)
	a.ID, a.Policy = id, policy.Name
	var expires *time.Time
	var never, found bool
	var locked float64
	b := &pgx.Batch{}
	b.Queue(`
		SELECT a.enabled, a.expires, a.hash <> '', a.set_at, a.must_change,
			coalesce(o.attributes -> 'userAccountControl' ->> 0, '0')::bigint & 65536 <> 0,
			EXISTS (SELECT FROM directory.factor f WHERE f.object = a.object AND f.active),
			coalesce((SELECT cardinality(f.recovery) FROM directory.factor f WHERE f.object = a.object AND f.active), 0),
			(SELECT count(*) FROM directory.app_password p WHERE p.object = a.object)
		FROM directory.account a JOIN directory.object o ON o.id = a.object WHERE a.object = $1`, id).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{
			&a.Enabled, &expires, &a.HasPassword, &a.PasswordSet, &a.MustChange, &never, &a.Factor, &a.Recovery, &a.AppPasswords,
		}, func() error { found = true; return nil })
		return err
	})
	b.Queue(lockedSQL, "account", lockKey(id, "")).QueryRow(func(r pgx.Row) error { return r.Scan(&locked) })
	if err := s.db.Batch(ctx, b); err != nil {
		return a, err
	}
	if !found {
		return a, fault.New(fault.Invalid, "nobody signs in to a room")
	}
	a.Locked = time.Duration(locked * float64(time.Second))
	if expires != nil {
		a.Expires = *expires
	}
	if a.HasPassword {
		a.PasswordExpires = passwordEnds(policy, a.PasswordSet, never)
	}
	return a, nil
}

// SetMustChange implements directory.Accounts. pwdLastSet tells it by LDAP: 0.
func (s *Store) SetMustChange(ctx context.Context, as directory.Principal, id directory.ObjectID, must bool) (err error) {
	defer fault.Wrap(&err, "demand a change of password of user %d", id)
	if err := s.mayKeep(ctx, as, id, false); err != nil {
		return err
	}
	op := "demand change of password"
	if !must {
		op = "demand no change of password"
	}
	return s.changeAccount(ctx, as, id, op, func(ctx context.Context, w *writing, o *object) error {
		var set time.Time
		err := w.QueryRow(ctx, `UPDATE directory.account SET must_change = $2 WHERE object = $1 RETURNING set_at`, id, must).Scan(&set)
		if err != nil {
			return err
		}
		if !must {
			o.attrs.set("pwdLastSet", fileTime(set))
			return nil
		}
		o.attrs.set("pwdLastSet", "0")
		return w.newEpoch(ctx, o, o.account.enabled)
	})
}

// SetExpires implements directory.Accounts.
func (s *Store) SetExpires(ctx context.Context, as directory.Principal, id directory.ObjectID, at time.Time) (err error) {
	defer fault.Wrap(&err, "set the end of account %d", id)
	if err := s.may(ctx, as, change); err != nil {
		return err
	}
	if !at.IsZero() && (at.Year() < 1970 || at.Year() > 9999) {
		return fault.New(fault.Invalid, "an account ends between 1970 and 9999")
	}
	return s.changeAccount(ctx, as, id, "set end of account", func(ctx context.Context, w *writing, o *object) error {
		var until *time.Time
		o.attrs.set("accountExpires")
		if !at.IsZero() {
			at = at.UTC().Truncate(time.Microsecond)
			until = &at
			o.attrs.set("accountExpires", fileTime(at))
		}
		if _, err := w.Exec(ctx, `UPDATE directory.account SET expires = $2 WHERE object = $1`, id, until); err != nil {
			return err
		}
		return w.newEpoch(ctx, o, o.account.enabled)
	})
}

// Unlock implements directory.Accounts.
func (s *Store) Unlock(ctx context.Context, as directory.Principal, id directory.ObjectID) (err error) {
	defer fault.Wrap(&err, "unlock user %d", id)
	if err := s.mayKeep(ctx, as, id, false); err != nil {
		return err
	}
	return s.changeAccount(ctx, as, id, "unlock", func(ctx context.Context, w *writing, o *object) error {
		delete(o.attrs, "lockoutTime")
		_, err := w.Exec(ctx, `DELETE FROM directory.lockout WHERE kind IN ('account', 'factor') AND key = $1`, lockKey(id, ""))
		return err
	})
}
