package postgres

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
)

// AddDomain implements directory.Directory.
func (s *Store) AddDomain(ctx context.Context, as directory.Principal, name string) (d directory.Domain, err error) {
	defer fault.Wrap(&err, "add domain %s", name)
	if err := s.may(ctx, as, change); err != nil {
		return d, err
	}
	name, err = directory.FoldDomain(name)
	if err != nil {
		return d, err
	}
	err = s.write(ctx, func(ctx context.Context, w *writing) error {
		o := &object{
			id: w.newObject(), guid: newGUID(), parent: rootID, class: classDomain, rdn: name,
			attrs: attributes{"dc": {strings.SplitN(name, ".", 2)[0]}},
		}
		if err := w.save(ctx, o, true); err != nil {
			return err
		}
		d = directory.Domain{ID: o.id, Name: name, Created: o.created}
		return nil
	})
	return d, err
}

// RemoveDomain implements directory.Directory. A domain in which anybody has an
// address, or lives, is refused (Conflict); organisational units without
// anything in them go with it.
func (s *Store) RemoveDomain(ctx context.Context, as directory.Principal, name string) (err error) {
	defer fault.Wrap(&err, "remove domain %s", name)
	if err := s.may(ctx, as, change); err != nil {
		return err
	}
	if name, err = directory.FoldDomain(name); err != nil {
		return err
	}
	return s.write(ctx, func(ctx context.Context, w *writing) error {
		id, err := w.domain(ctx, name)
		if err != nil {
			return err
		}
		var used bool
		err = w.QueryRow(ctx, `
			WITH RECURSIVE tree (id, class) AS (
				SELECT id, class FROM directory.object WHERE id = $1
				UNION ALL SELECT o.id, o.class FROM directory.object o JOIN tree t ON o.parent = t.id)
			SELECT EXISTS (SELECT FROM tree WHERE id <> $1 AND class <> $3)
				OR EXISTS (SELECT FROM directory.name WHERE kind IN (1, 2) AND right(key, length($2) + 1) = '@' || $2)`,
			id, name, classOU).Scan(&used)
		if err != nil {
			return err
		}
		if used {
			return fault.New(fault.Conflict, "domain %s still has users or groups", name)
		}
		rows, err := w.Query(ctx, `
			WITH RECURSIVE tree (id, depth) AS (
				SELECT id, 0 FROM directory.object WHERE id = $1
				UNION ALL SELECT o.id, depth + 1 FROM directory.object o JOIN tree t ON o.parent = t.id)
			SELECT id FROM tree ORDER BY depth DESC`, id)
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[directory.ObjectID])
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := w.remove(ctx, id, 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// Domains implements directory.Directory, by name.
func (s *Store) Domains(ctx context.Context, as directory.Principal) (all []directory.Domain, err error) {
	defer fault.Wrap(&err, "list domains")
	if err := s.may(ctx, as, seeAll); err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `SELECT id, rdn, created FROM directory.object WHERE parent = $1 AND class = $2`, rootID, classDomain)
	if err != nil {
		return nil, err
	}
	all, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (d directory.Domain, err error) {
		err = r.Scan(&d.ID, &d.Name, &d.Created)
		return d, err
	})
	slices.SortFunc(all, func(a, b directory.Domain) int { return strings.Compare(a.Name, b.Name) })
	return all, err
}

// domain gives the object of a domain of ours; one writing asks once.
func (w *writing) domain(ctx context.Context, name string) (id directory.ObjectID, err error) {
	if id = w.domains[name]; id != 0 {
		return id, nil
	}
	defer func() {
		if err == nil {
			w.domains[name] = id
		}
	}()
	err = w.QueryRow(ctx, `SELECT object FROM directory.name WHERE kind = $1 AND key = $2`, int16(nameDomain), name).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, fault.New(fault.NotFound, "no such domain: %s", name)
	}
	return id, err
}

// container gives the organisational unit at path ("Sales/North") below the
// domain, making what is missing of it.
func (w *writing) container(ctx context.Context, domain directory.ObjectID, path string) (directory.ObjectID, error) {
	at := domain
	if path == "" {
		return at, nil
	}
	steps := strings.Split(path, "/")
	if len(steps) > maxDepth/2 {
		return 0, fault.New(fault.Invalid, "organisational units nested too deep")
	}
	for _, step := range steps {
		step, err := cleanText("organisational unit", step)
		if err != nil {
			return 0, err
		}
		if step == "" {
			return 0, fault.New(fault.Invalid, "%q is not a path of organisational units", path)
		}
		ou := &object{parent: at, class: classOU, rdn: step, attrs: attributes{"ou": {step}}}
		err = w.QueryRow(ctx, `SELECT id FROM directory.object WHERE parent = $1 AND rdn_key = $2`, at, ou.rdnKey()).Scan(&at)
		switch {
		case err == nil:
			continue
		case !errors.Is(err, pgx.ErrNoRows):
			return 0, err
		}
		ou.id, ou.guid = w.newObject(), newGUID()
		if err := w.save(ctx, ou, true); err != nil {
			return 0, err
		}
		at = ou.id
	}
	return at, nil
}

// remove deletes an object; the groups that it was in change too.
func (w *writing) remove(ctx context.Context, id directory.ObjectID, kind directory.Kind) error {
	b := &pgx.Batch{}
	b.Queue(`
		WITH holder AS (
			UPDATE directory.object o SET usn_changed = $2, changed = now()
			FROM (SELECT DISTINCT source FROM directory.link WHERE target = $1 AND source <> $1) l WHERE o.id = l.source
			RETURNING o.id, o.kind)
		INSERT INTO directory.change (object, usn, kind, epoch, enabled)
		SELECT h.id, $2, h.kind, coalesce(a.epoch, 0), coalesce(a.enabled, false)
		FROM holder h LEFT JOIN directory.account a ON a.object = h.id
		ON CONFLICT (object) DO UPDATE SET usn = $2, at = now()`, id, w.usn)
	b.Queue(`DELETE FROM directory.object WHERE id = $1`, id)
	b.Queue(`
		INSERT INTO directory.change (object, usn, kind, gone) VALUES ($1, $2, $3, true)
		ON CONFLICT (object) DO UPDATE SET usn = $2, kind = $3, gone = true, enabled = false, epoch = directory.change.epoch + 1, at = now()`,
		id, w.usn, int16(kind))
	return w.Batch(ctx, b)
}

// newGUID makes a random objectGUID (RFC 9562 §5.4) in canonical text.
func newGUID() string {
	var g [16]byte
	_, _ = rand.Read(g[:]) // never fails
	g[6], g[8] = g[6]&0x0f|0x40, g[8]&0x3f|0x80
	h := hex.EncodeToString(g[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
