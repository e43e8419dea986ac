package postgres

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"strings"
	"time"

	"waypost/directory"
	"waypost/directory/access"
	"waypost/directory/tree"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
)

// newPassword is a password to be set, with the slow work done.
type newPassword struct {
	old  *string // the one before, for a change by who knows it
	was  string  // the stored form that old was compared with
	hash string
	keep int // how many former ones are remembered
}

// readPassword finds the password that a modify sets (MS-ADTS 3.1.1.3.1.5.1): a
// delete of the old one and an add of the new one is a change, a replace is a
// reset, and so is an add alone. It hashes before any lock is held.
func (s *Store) readPassword(ctx context.Context, as directory.Principal, dn tree.DN, parts []part) (*newPassword, error) {
	var old, now *string
	for _, p := range parts {
		if !p.a.Password() {
			continue
		}
		if p.op == tree.ModIncrement || len(p.values) > 1 || len(p.values) == 0 {
			return nil, tree.Refuse(tree.ResultUnwillingToPerform, "one password at a time")
		}
		text, err := passwordOf(p.a, p.values[0])
		if err != nil {
			return nil, err
		}
		into := &now
		if p.op == tree.ModDelete {
			into = &old
		}
		if *into != nil {
			return nil, tree.Refuse(tree.ResultUnwillingToPerform, "one password at a time")
		}
		*into = &text
	}
	if old == nil && now == nil {
		return nil, nil
	}
	if now == nil {
		return nil, tree.Refuse(tree.ResultUnwillingToPerform, "a password is not taken away")
	}
	return s.preparePassword(ctx, as, dn, old, *now)
}

// preparePassword compares the old password, if one is given, holds the new one
// to the policy and hashes it. It does not tell whether there is such an account.
func (s *Store) preparePassword(ctx context.Context, as directory.Principal, dn tree.DN, old *string, text string) (*newPassword, error) {
	var id directory.ObjectID
	err := s.read(ctx, func(ctx context.Context, w *writing) error {
		spots, err := w.resolve(ctx, dn)
		if err == nil && spots[0].there() {
			id = spots[0].id
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	c, err := s.secretOf(ctx, id)
	if err != nil {
		return nil, err
	}
	if old != nil {
		if err := s.oldPassword(ctx, id, c, *old); err != nil {
			return nil, err
		}
	}
	p, err := s.newSecret(ctx, as, id, c, text, old != nil)
	if err != nil {
		return nil, refusal(err)
	}
	p.old = old
	return p, nil
}

// The diagnostic that clients look for when the old password is wrong.
var errOldPassword = tree.Refuse(tree.ResultConstraintViolation, "00000056: the old password is wrong")

// samePassword tells whether a password has this stored form: hashed with the
// salt of it, it comes out the same.
func (s *Store) samePassword(ctx context.Context, password, stored string) (bool, error) {
	hash, err := s.hash(ctx, password, stored)
	return err == nil && stored != "" && subtle.ConstantTimeCompare([]byte(hash), []byte(stored)) == 1, err
}

// read runs fn with what a change finds names by, without being one.
func (s *Store) read(ctx context.Context, fn func(context.Context, *writing) error) error {
	return s.db.Snapshot(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		return fn(ctx, s.newWriting(tx, actor{}, 0, &counters{}))
	})
}

// password sets what readPassword prepared.
func (m *modification) password(ctx context.Context) error {
	o := m.o
	if o.account == nil {
		return tree.Refuse(tree.ResultUnwillingToPerform, "nobody signs in as this")
	}
	var was string
	if err := m.w.QueryRow(ctx, `SELECT hash FROM directory.account WHERE object = $1`, o.id).Scan(&was); err != nil {
		return err
	}
	if was != m.pw.was {
		return fault.New(fault.Conflict, "the password was changed at the same time")
	}
	if m.pw.old == nil && !m.perms.May(access.Reset) {
		return errForbidden
	}
	if !m.must { // reset and to be changed, in one
		o.attrs.set("pwdLastSet", fileTime(time.Now()))
	}
	o.tell("password", "(set)")
	return m.w.setHash(ctx, o, m.pw.hash, m.pw.keep)
}

// setHash stores another password; what was granted before ends. At least the
// last two before it are kept, so that a phone that still has one of them does
// not lock its owner out, and as many as the policy wants remembered.
func (w *writing) setHash(ctx context.Context, o *object, hash string, keep int) error {
	return w.QueryRow(ctx, `
		UPDATE directory.account SET hash = $2, epoch = epoch + 1, set_at = now(), must_change = false,
			former = CASE WHEN hash = '' THEN former ELSE (ARRAY[hash] || former)[1:$3] END
		WHERE object = $1 RETURNING epoch`, o.id, hash, keep).Scan(&o.account.epoch)
}

// madeLength is how many characters a password has that was made up; each has
// five bits.
const madeLength = 20

// makePassword makes a password that people can read aloud, with characters of
// three kinds.
func makePassword() string {
	const letters = "abcdefghijkmnpqrstuvwxyz23456789"
	for {
		var raw [madeLength]byte
		_, _ = rand.Read(raw[:]) // never fails
		out := make([]byte, 0, madeLength+madeLength/5)
		for i, b := range raw {
			if i > 0 && i%5 == 0 {
				out = append(out, '-')
			}
			out = append(out, letters[b&31])
		}
		if made := string(out); strings.ContainsAny(made, "23456789") {
			return made
		}
	}
}

// ChangePassword implements tree.Tree.
func (s *Store) ChangePassword(ctx context.Context, as directory.Principal, dn tree.DN, old *string, text string) (made string, err error) {
	defer fault.Wrap(&err, "set the password of %s", dn)
	r, err := s.rightsOf(ctx, as)
	if err != nil {
		return "", err
	}
	if text == "" {
		made = makePassword()
		text = made
	}
	pw, err := s.preparePassword(ctx, r.as, dn, old, text)
	if err != nil {
		return "", err
	}
	err = s.write(ctx, actor{as: r.as, op: "set password", name: dn.String()}, func(ctx context.Context, w *writing) error {
		m, err := w.begin(ctx, r, dn, tree.Options{})
		if err != nil {
			return err
		}
		m.pw = pw
		if m.fam != person {
			return tree.Refuse(tree.ResultUnwillingToPerform, "nobody signs in as this")
		}
		if err := m.account(ctx, map[string]bool{}); err != nil {
			return err
		}
		return m.save(ctx)
	})
	if err != nil {
		return "", err
	}
	return made, nil
}
