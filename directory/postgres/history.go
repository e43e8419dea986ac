package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/authn"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// secret is what a change of a password is judged by.
type secret struct {
	hash   string
	former []string
	set    time.Time
	must   bool
	locked time.Duration
}

// secretOf reads it; of what is no account it is empty.
func (s *Store) secretOf(ctx context.Context, id directory.ObjectID) (c secret, err error) {
	b := &pgx.Batch{}
	b.Queue(`SELECT hash, former, set_at, must_change FROM directory.account WHERE object = $1`, id).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&c.hash, &c.former, &c.set, &c.must}, func() error { return nil })
		return err
	})
	b.Queue(lockedSQL, "account", lockKey(id, "")).QueryRow(func(r pgx.Row) error {
		var seconds float64
		err := r.Scan(&seconds)
		c.locked = time.Duration(seconds * float64(time.Second))
		return err
	})
	return c, s.db.Batch(ctx, b)
}

const lockedSQL = `
	SELECT coalesce(extract(epoch FROM max(until) - now()), 0)::float8 FROM directory.lockout
	WHERE kind = $1 AND key = $2 AND until > now()`

// errAppPassword refuses who signed in with an application password.
var errAppPassword = fault.New(fault.Denied, "an application password changes nothing that lets anybody in")

// oldPassword checks the old password of a change. Wrong ones count like failed
// sign-ins: a change would else be a place to guess at.
func (s *Store) oldPassword(ctx context.Context, id directory.ObjectID, c secret, old string) error {
	if c.locked > 0 {
		return fault.New(fault.Limit, "too many wrong passwords, try again in %v", max(c.locked.Round(time.Second), time.Second))
	}
	same, err := s.same(ctx, old, []string{c.hash})
	if err != nil || same {
		return err
	}
	lately, err := s.same(ctx, old, c.former[:min(2, len(c.former))])
	if err != nil {
		return err
	}
	if !lately && id != 0 {
		l := authn.AccountBackoff
		if own := law(s.policyOf(ctx, id, 0)); own != nil {
			l = *own
		}
		t := directory.Attempt{ID: id, Client: directory.ClientOf(ctx), Door: "password change"}
		if err := s.Failed(ctx, t, l, authn.ClientBackoff); err != nil {
			return err
		}
	}
	return errOldPassword
}

// newPassword judges a password by the account's policy and hashes it. own: it
// is its owner's change, for which history and the least age count, too
// (MS-SAMR 3.1.1.7).
func (s *Store) newSecret(ctx context.Context, as directory.Principal, id directory.ObjectID, c secret, password string, own bool) (*newPassword, error) {
	if as.App {
		return nil, errAppPassword
	}
	p := s.policyOf(ctx, id, 0)
	var names []string
	if e := s.view.get(id); e != nil {
		names = e.called()
	}
	if err := judge(as, p, password, names...); err != nil {
		return nil, err
	}
	if own && c.hash != "" {
		age := time.Since(c.set)
		if p.MinAge > 0 && age < p.MinAge && !c.must {
			return nil, fault.New(fault.Invalid, "the password was changed less than %s ago", spoken(p.MinAge))
		}
		before := append([]string{c.hash}, c.former...)
		again, err := s.same(ctx, password, before[:min(p.History, len(before))])
		if err != nil {
			return nil, err
		}
		if again {
			return nil, fault.New(fault.Invalid, "the password was used before: the last %d may not come back", p.History)
		}
	}
	hash, err := s.hash(ctx, password, c.hash)
	return &newPassword{was: c.hash, hash: hash, keep: max(2, p.History)}, err
}

// spoken writes a time as people say it.
func spoken(d time.Duration) string {
	if day := 24 * time.Hour; d%day == 0 {
		if d == day {
			return "a day"
		}
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}

// called are the names that a password must not have in it.
func (e *entry) called() []string {
	names := []string{e.name}
	for _, k := range e.keys() {
		if k.kind == nameAccount {
			names = append(names, k.key)
		}
	}
	return names
}

// judge holds a password to a policy. The product itself, when it is not acting
// for the operator, is at nobody's policy.
func judge(as directory.Principal, p directory.Policy, password string, names ...string) error {
	if err := checkPassword(password); err != nil {
		return err
	}
	if as.Is(directory.RoleSystem) && !as.Is(directory.RoleAdmin) {
		return nil
	}
	return authn.Acceptable(p, password, names...)
}

// judgeNew is judge for an account that is to be made in a domain and path.
func (s *Store) judgeNew(ctx context.Context, as directory.Principal, n *directory.NewUser) error {
	if as.App {
		return errAppPassword
	}
	var container directory.ObjectID
	if _, name, err := directory.SplitAddress(n.Address); err == nil {
		if d := s.view.find(nameDomain, name); d != nil {
			if container = s.unitAt(d.id, n.OU); container == 0 {
				container = d.id
			}
		}
	}
	return judge(as, s.policyOf(ctx, 0, container), n.Password, n.Name, n.Account)
}

// judgeDraft is judge for an entry that is to be added.
func (s *Store) judgeDraft(ctx context.Context, as directory.Principal, d *draft) error {
	if as.App {
		return errAppPassword
	}
	var container directory.ObjectID
	for dn := d.dn[1:]; len(dn) > 0 && container == 0; dn = dn[1:] {
		container, _, _ = s.index.Load().Resolve(dn)
	}
	return refusal(judge(as, s.policyOf(ctx, 0, container), d.password, d.o.attrs.get("displayName"), d.o.attrs.get("sAMAccountName"), d.o.rdn))
}

// refusal words a judgement as AD does, so that its clients know it (0000052D is
// ERROR_PASSWORD_RESTRICTION).
func refusal(err error) error {
	if err == nil || fault.Of(err) != fault.Invalid && fault.Of(err) != fault.TooLarge {
		return err
	}
	var r *tree.Refusal
	if errors.As(err, &r) {
		return err
	}
	return tree.Refuse(tree.ResultConstraintViolation, "0000052D: %s", say(err))
}

// same tells whether a password has one of these stored forms.
func (s *Store) same(ctx context.Context, password string, stored []string) (bool, error) {
	stored = slices.DeleteFunc(slices.Clone(stored), func(h string) bool { return h == "" })
	if s.among != nil {
		return s.among(ctx, password, stored)
	}
	// Hashed with the salt of it, it comes out the same.
	for i, h := range stored {
		if i == 4 {
			break
		}
		if same, err := s.samePassword(ctx, password, h); err != nil || same {
			return same, err
		}
	}
	return false, nil
}

// replacePassword stores what newSecret made.
func (w *writing) replacePassword(ctx context.Context, id directory.ObjectID, pw *newPassword) (directory.Epoch, error) {
	o, err := w.readUser(ctx, id)
	if err != nil {
		return 0, err
	}
	if o.account == nil {
		return 0, fault.New(fault.Invalid, "nobody signs in to a room")
	}
	var was string
	if err := w.QueryRow(ctx, `SELECT hash FROM directory.account WHERE object = $1`, id).Scan(&was); err != nil {
		return 0, err
	}
	if was != pw.was {
		return 0, fault.New(fault.Conflict, "the password was changed at the same time")
	}
	if err := w.setHash(ctx, o, pw.hash, pw.keep); err != nil {
		return 0, err
	}
	o.attrs.set("pwdLastSet", fileTime(time.Now()))
	o.tell("password", "(set)")
	return o.account.epoch, w.save(ctx, o, false)
}

// tell adds what is no attribute to what the audit log says of a change.
func (o *object) tell(what, now string) {
	if o.also == nil {
		o.also = changed{}
	}
	o.also.add(what, nil, []string{now})
}

// Renew implements authn.Accounts.
func (s *Store) Renew(ctx context.Context, who directory.Principal, was, password string) (epoch directory.Epoch, err error) {
	defer fault.Wrap(&err, "renew the password of user %d", who.ID)
	if err := s.may(ctx, who, seeList); err != nil {
		return 0, err
	}
	c, err := s.secretOf(ctx, who.ID)
	if err != nil {
		return 0, err
	}
	if c.hash != was {
		return 0, fault.New(fault.Conflict, "the password was changed at the same time")
	}
	pw, err := s.newSecret(ctx, who, who.ID, c, password, true)
	if err != nil {
		return 0, err
	}
	err = s.write(ctx, actor{as: who, op: "change password"}, func(ctx context.Context, w *writing) error {
		epoch, err = w.replacePassword(ctx, who.ID, pw)
		return err
	})
	return epoch, err
}
