package postgres

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
)

// knownPerAccount bounds the client addresses remembered for an account.
const knownPerAccount = 64

// asyncCommit is SET LOCAL, which warns outside of an explicit transaction.
const asyncCommit = `SELECT set_config('synchronous_commit', 'off', true)`

// lockKey names an account in the lock-out table. A login that nobody has is
// locked out like one that somebody has, so that the reply tells nothing.
func lockKey(id directory.ObjectID, login string) string {
	if id != 0 {
		return strconv.FormatInt(int64(id), 10)
	}
	sum := sha256.Sum256([]byte(directory.Fold(login))) // it may be any bytes
	return "login " + hex.EncodeToString(sum[:16])
}

// alikeTries bounds the search for an account that a login which nobody has is
// treated like.
const alikeTries = 64

// alike gives some account of the login's domain, always the same one as long as
// it is there: whose lock-out policy holds for a login that nobody has. By the
// default policy one could be told, where the policies of units differ, from a
// login that somebody has. 0: none.
func (v *view) alike(login string) directory.ObjectID {
	sum := sha256.Sum256([]byte("alike " + directory.Fold(login)))
	domain, _, ok := strings.Cut(login, `\`)
	if at := strings.LastIndexByte(login, '@'); !ok && at >= 0 {
		domain, ok = login[at+1:], true
	}
	rng := rand.New(rand.NewChaCha8(sum))
	v.mu.RLock()
	defer v.mu.RUnlock()
	most := len(v.slots) * pageSlots
	if most == 0 {
		return 0
	}
	for left := alikeTries; left > 0; left-- {
		at := rng.IntN(most)
		for step := range pageSlots { // all of a small directory
			id := directory.ObjectID((at + step) % most)
			s := v.slot(id)
			if s == nil || s.family != person || s.epoch == 0 {
				continue
			}
			if e := v.entry(id); !ok || v.inDomain(e, domain) {
				return id
			}
			if left--; left <= 0 {
				return 0
			}
		}
	}
	return 0
}

// Account gives what sign-in needs of the account that a login names; for a
// login that nobody has, ID is 0 and the same queries run. The account's state
// comes from the tables, so that a change counts in every process at once; which
// policy is for it comes from this process's view.
func (s *Store) Account(ctx context.Context, login, client string) (directory.Account, error) {
	var id directory.ObjectID
	if e := s.view.login(login); e != nil && e.family == person {
		id = e.id
	}
	return s.account(ctx, id, login, client)
}

// account is Account of an object, 0 for nobody's.
func (s *Store) account(ctx context.Context, id directory.ObjectID, login, client string) (a directory.Account, err error) {
	defer fault.Wrap(&err, "look up an account")
	policy := s.policyOf(ctx, cmp.Or(id, s.view.alike(login)), 0)
	a.Law = law(policy)
	var (
		found, never bool
		set          time.Time
		expires      *time.Time
	)
	b := &pgx.Batch{}
	b.Queue(`
		SELECT CASE WHEN o.home_mdb = '' THEN 0 ELSE o.mailbox END, o.home_mdb, o.address, o.name, o.roles,
			a.hash, a.former[1:2], a.epoch, a.enabled, a.expires, a.must_change, a.set_at,
			coalesce(o.attributes -> 'userAccountControl' ->> 0, '0')::bigint & 65536 <> 0, o.attributes ? 'lockoutTime'
		FROM directory.account a JOIN directory.object o ON o.id = a.object WHERE a.object = $1`, id).Query(func(rows pgx.Rows) error {
		p := &a.Principal
		_, err := pgx.ForEachRow(rows, []any{
			&p.Mailbox, &p.HomeMDB, &p.Address, &p.Name, &p.Roles, &a.Hash, &a.Former, &p.Epoch, &a.Enabled, &expires, &a.MustChange, &set,
			&never, &a.Noted,
		}, func() error { found = true; return nil })
		return err
	})
	b.Queue(`SELECT failures FROM directory.known_address WHERE object = $1 AND client = $2`, id, client).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&a.Missed}, func() error { a.Known = true; return nil })
		return err
	})
	b.Queue(`
		SELECT kind = 'factor', extract(epoch FROM until - now())::float8 FROM directory.lockout
		WHERE (kind, key) IN (('account', $1), ('client', $2), ('factor', $1)) AND until > now()`, lockKey(id, login), client).Query(func(rows pgx.Rows) error {
		var factor bool
		var seconds float64
		_, err := pgx.ForEachRow(rows, []any{&factor, &seconds}, func() error {
			into := &a.Locked
			if factor {
				into = &a.FactorLocked
			}
			*into = max(*into, time.Duration(seconds*float64(time.Second)))
			return nil
		})
		return err
	})
	b.Queue(`SELECT id, digest FROM directory.app_password WHERE object = $1 ORDER BY id`, id).Query(func(rows pgx.Rows) error {
		var one directory.AppDigest
		_, err := pgx.ForEachRow(rows, []any{&one.ID, &one.Digest}, func() error {
			a.Apps = append(a.Apps, directory.AppDigest{ID: one.ID, Digest: bytes.Clone(one.Digest)})
			return nil
		})
		return err
	})
	b.Queue(`SELECT secret, step, recovery FROM directory.factor WHERE object = $1 AND active`, id).Query(func(rows pgx.Rows) error {
		var f directory.Factor
		_, err := pgx.ForEachRow(rows, []any{&f.Secret, &f.Step, &f.Recovery}, func() error { a.Factor = &f; return nil })
		return err
	})
	if err := s.db.Batch(ctx, b); err != nil {
		return directory.Account{}, err
	}
	if found {
		a.Principal.ID = id
		a.Principal.Roles &^= directory.RoleSystem
		a.PasswordExpires = passwordEnds(policy, set, never)
	}
	if expires != nil {
		a.Expires = *expires
	}
	if a.Factor != nil {
		a.Factor.Locked = a.FactorLocked
	}
	return a, nil
}

// passwordEnds is when a password that was set then expires; zero: never.
func passwordEnds(p directory.Policy, set time.Time, never bool) time.Time {
	if never || p.MaxAge == 0 {
		return time.Time{}
	}
	return set.Add(p.MaxAge)
}

// Failed counts a failed sign-in. From a known address it counts for that pair
// alone and locks nobody out, unless it was the second factor that was wrong.
// It is not durable at once: a crash may forgive the last second's failures, and
// an attack never waits for the disk.
func (s *Store) Failed(ctx context.Context, t directory.Attempt, account, client directory.Backoff) (err error) {
	defer fault.Wrap(&err, "count a failed sign-in")
	b := &pgx.Batch{}
	b.Queue(asyncCommit)
	if t.Known && t.ID != 0 && !t.Factor {
		b.Queue(`UPDATE directory.known_address SET failures = least(failures + 1, 1000000) WHERE object = $1 AND client = $2`, t.ID, t.Client)
		return s.db.Batch(ctx, b)
	}
	var news []lockNews
	count := func(kind, key string, law directory.Backoff) {
		b.Queue(`
			INSERT INTO directory.lockout AS l (kind, key, failures, last, until) VALUES ($1, $2, 1, now(), now())
			ON CONFLICT (kind, key) DO UPDATE SET failures = CASE
					WHEN $4::float8 <= 0 THEN greatest(0, l.failures - floor(extract(epoch FROM now() - l.last) / $3::float8)::int)
					WHEN extract(epoch FROM now() - l.last) > $3::float8 THEN 0
					ELSE l.failures END + 1,
				last = now()`, kind, key, law.Forgive.Seconds(), law.Hard.Seconds())
		b.Queue(`
			UPDATE directory.lockout SET until = now() + interval '1 second' * CASE WHEN $5::float8 > 0 THEN $5::float8
				ELSE least($3::float8, power(2::float8, least(failures - $4::int, 30) - 1)) END
			WHERE kind = $1 AND key = $2 AND failures > $4::int RETURNING failures`,
			kind, key, law.Most.Seconds(), law.Free, law.Hard.Seconds()).Query(func(rows pgx.Rows) error {
			var failures int
			_, err := pgx.ForEachRow(rows, []any{&failures}, func() error {
				if failures == law.Free+1 {
					news = append(news, lockNews{kind: kind, id: t.ID, client: t.Client, door: t.Door, hard: law.Hard, failures: failures})
				}
				return nil
			})
			return err
		})
	}
	// Always in this order, so that two attempts never wait for each other.
	kind := "account"
	if t.Factor {
		kind = "factor"
	}
	count(kind, lockKey(t.ID, t.Login), account)
	if t.Client != "" {
		count("client", t.Client, client)
	}
	if err := s.db.Batch(ctx, b); err != nil {
		return err
	}
	for _, n := range news {
		s.note(n)
	}
	return nil
}

// Succeeded forgives the account what was counted against it when the client is
// new to it, and remembers the client and the application password. A client's
// own failures are only forgiven by time: whoever has one account could guess at
// others for ever.
func (s *Store) Succeeded(ctx context.Context, t directory.Attempt) (err error) {
	defer fault.Wrap(&err, "remember a sign-in")
	b := &pgx.Batch{}
	b.Queue(asyncCommit)
	if t.App != 0 {
		b.Queue(`
			UPDATE directory.app_password SET last_used = now(), last_from = $2, last_door = $3
			WHERE id = $1 AND (last_used IS NULL OR last_used < now() - interval '1 minute' OR (last_from, last_door) <> ($2, $3))`, t.App, t.Client, t.Door)
	}
	if !t.Known && t.App == 0 {
		b.Queue(`DELETE FROM directory.lockout WHERE kind = 'account' AND key = $1`, lockKey(t.ID, t.Login))
	}
	if t.Client != "" {
		// Nothing is written when it was seen today already.
		b.Queue(`
			INSERT INTO directory.known_address AS k (object, client, last)
			SELECT object, $2, now() FROM directory.account WHERE object = $1
			ON CONFLICT (object, client) DO UPDATE SET last = now(), failures = 0
			WHERE k.failures > 0 OR k.last < now() - interval '1 day'`, t.ID, t.Client)
	}
	if !t.Known && t.Client != "" {
		b.Queue(`
			DELETE FROM directory.known_address WHERE object = $1 AND client IN (
				SELECT client FROM directory.known_address WHERE object = $1 ORDER BY last DESC OFFSET $2)`, t.ID, knownPerAccount)
	}
	if err := s.db.Batch(ctx, b); err != nil {
		return err
	}
	if t.Noted && !t.Known && t.App == 0 {
		s.note(lockNews{kind: "account", id: t.ID, client: t.Client, door: t.Door, over: true})
	}
	return nil
}

// Rehash replaces a hash by one of the same password with newer parameters;
// nothing happens when the password was changed meanwhile. It begins no epoch.
func (s *Store) Rehash(ctx context.Context, id directory.ObjectID, old, hash string) error {
	_, err := s.db.Exec(ctx, `UPDATE directory.account SET hash = $3 WHERE object = $1 AND hash = $2`, id, old, hash)
	return err
}

// SigningKeys gives the keys made after a moment, newest first.
func (s *Store) SigningKeys(ctx context.Context, after time.Time) (_ []directory.SigningKey, err error) {
	defer fault.Wrap(&err, "read the signing keys")
	rows, err := s.db.Query(ctx, `SELECT id, private, public, created FROM directory.signing_key WHERE created > $1 ORDER BY created DESC, id`, after)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[directory.SigningKey])
}

// AddSigningKey keeps a new key, unless somebody made one after the moment
// named, and removes those that are older than the other moment.
func (s *Store) AddSigningKey(ctx context.Context, k directory.SigningKey, unless, older time.Time) (err error) {
	defer fault.Wrap(&err, "keep a signing key")
	_, err = s.db.Exec(ctx, `
		INSERT INTO directory.signing_key (id, private, public, created)
		SELECT $1, $2, $3, $4 WHERE NOT EXISTS (SELECT FROM directory.signing_key WHERE created > $5)`,
		k.ID, k.Seed, k.Public, k.Created, unless)
	if err != nil {
		return err
	}
	_, err = s.db.Exec(ctx, `DELETE FROM directory.signing_key WHERE created < $1`, older)
	return err
}
