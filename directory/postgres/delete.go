package postgres

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// deleteTogether is how many objects of a subtree one transaction removes.
const deleteTogether = 200

// DeleteEntry implements tree.Tree. A subtree goes in several transactions, the
// lowest objects first; what is left after a crash is removed by asking again.
func (s *Store) DeleteEntry(ctx context.Context, as directory.Principal, dn tree.DN, o tree.Options) (done tree.Written, err error) {
	defer fault.Wrap(&err, "delete %s", dn)
	r, err := s.rightsOf(ctx, as)
	if err != nil {
		return done, err
	}
	by := actor{as: r.as, from: o.From, op: "delete", name: dn.String()}
	if o.Tree {
		if err := s.deleteBelow(ctx, r, by, dn, o); err != nil {
			return done, err
		}
	}
	err = s.write(ctx, by, func(ctx context.Context, w *writing) error {
		done = tree.Written{}
		m, err := w.begin(ctx, r, dn, o)
		if err != nil {
			return err
		}
		if m.fam == domain {
			if !r.all() {
				return errForbidden
			}
			if err := w.removeDomain(ctx, m.o.rdn); err != nil {
				return asUnwilling(err)
			}
		} else if err := m.delete(ctx); err != nil {
			return err
		}
		done = tree.Written{ID: m.o.id, USN: w.usn, Pre: m.pre}
		return nil
	})
	if err != nil {
		return tree.Written{}, err
	}
	return done, nil
}

func asUnwilling(err error) error {
	if fault.Of(err) == fault.Conflict {
		return tree.Refuse(tree.ResultNotAllowedOnNonLeaf, "%s", say(err))
	}
	return err
}

// delete removes one object that has nothing below it.
func (m *modification) delete(ctx context.Context) error {
	var below bool
	if err := m.w.QueryRow(ctx, `SELECT EXISTS (SELECT FROM directory.object WHERE parent = $1)`, m.o.id).Scan(&below); err != nil {
		return err
	}
	if err := m.mayDelete(ctx); err != nil {
		return err
	}
	if below {
		return tree.Refuse(tree.ResultNotAllowedOnNonLeaf, "there is something below it")
	}
	return m.deleteLeaf(ctx)
}

// mayDelete refuses what belongs to the directory itself, and who may not.
func (m *modification) mayDelete(ctx context.Context) error {
	if m.fixed() || m.o.class == "attributeSchema" || m.o.class == "classSchema" {
		return tree.Refuse(tree.ResultUnwillingToPerform, "it belongs to the directory itself")
	}
	class, ok := m.w.schema.Class(m.o.class)
	if !ok {
		return tree.Refuse(tree.ResultOther, "no class %q", m.o.class)
	}
	return m.mayGo(ctx, class)
}

// deleteLeaf removes an object below which nothing is.
func (m *modification) deleteLeaf(ctx context.Context) error {
	if err := m.mayDelete(ctx); err != nil {
		return err
	}
	if m.o.class == classMDB {
		var home bool
		if err := m.w.QueryRow(ctx, `SELECT EXISTS (SELECT FROM directory.link WHERE attribute = $2 AND target = $1)`, m.o.id, linkHome).Scan(&home); err != nil {
			return err
		}
		if home {
			return tree.Refuse(tree.ResultUnwillingToPerform, "a mailbox database with mailboxes stays")
		}
	}
	if rid, prefix := m.o.rid(); m.fam == group && rid != 0 {
		var primary bool
		err := m.w.QueryRow(ctx, `
			SELECT EXISTS (SELECT FROM directory.object WHERE attributes -> 'primaryGroupID' ->> 0 = $2
				AND attributes -> 'primaryGroupID' ->> 0 NOT IN ('513', '515') AND substr(sid, 1, 24) = $1 AND deleted IS NULL)`,
			prefix, strconv.FormatUint(uint64(rid), 10)).Scan(&primary)
		if err != nil {
			return err
		}
		if primary {
			return tree.Refuse(tree.ResultUnwillingToPerform, "it is the primary group of somebody")
		}
	}
	return m.w.bury(ctx, m.o)
}

// deleteBelow removes everything below a name, deepest first, a bounded number
// of objects in one transaction.
func (s *Store) deleteBelow(ctx context.Context, r *rights, by actor, dn tree.DN, o tree.Options) error {
	for {
		left := 0
		by := by
		by.name = "" // each object has its own
		err := s.write(ctx, by, func(ctx context.Context, w *writing) error {
			left = 0
			m, err := w.begin(ctx, r, dn, o)
			if err != nil {
				return err
			}
			if m.fam == domain || m.fixed() {
				return tree.Refuse(tree.ResultUnwillingToPerform, "it belongs to the directory itself")
			}
			left, err = m.deleteSome(ctx)
			return err
		})
		if err != nil || left < deleteTogether {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// deleteSome removes the lowest objects below m's, and tells how many.
func (m *modification) deleteSome(ctx context.Context) (int, error) {
	w := m.w
	rows, err := w.Query(ctx, `
		WITH RECURSIVE below (id, path, depth) AS (
			SELECT id, ARRAY[$1::bigint], 1 FROM directory.object WHERE parent = $1 AND deleted IS NULL
			UNION ALL SELECT o.id, b.id || b.path, depth + 1 FROM below b, LATERAL (SELECT id FROM directory.object WHERE parent = b.id AND deleted IS NULL OFFSET 0) o)
		SELECT id, path FROM below ORDER BY depth DESC, id LIMIT $2`, m.o.id, deleteTogether)
	if err != nil {
		return 0, err
	}
	var ids []directory.ObjectID
	chains := map[directory.ObjectID][]directory.ObjectID{}
	var id directory.ObjectID
	var path []directory.ObjectID
	if _, err := pgx.ForEachRow(rows, []any{&id, &path}, func() error {
		ids = append(ids, id)
		chains[id] = append(path, m.spot.chain...)
		path = nil
		return nil
	}); err != nil {
		return 0, err
	}
	objects, err := w.readAll(ctx, ids)
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		o := objects[id]
		if o == nil {
			continue
		}
		one := &modification{w: w, r: m.r, o: o, fam: familyOf(w.schema, o.class), spot: &spot{id: id, class: o.class, chain: chains[id], domain: m.spot.domain}}
		if one.perms, err = m.r.of(ctx, w, o, chains[id]); err != nil {
			return 0, err
		}
		if err := one.deleteLeaf(ctx); err != nil {
			return 0, err
		}
	}
	return len(ids), nil
}

// readAll is read for many objects, without their name keys.
func (w *writing) readAll(ctx context.Context, ids []directory.ObjectID) (map[directory.ObjectID]*object, error) {
	rows, err := w.Query(ctx, objectSQL+`o.id = ANY ($1)`, ids)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, scanObject)
	found := make(map[directory.ObjectID]*object, len(list))
	for _, o := range list {
		found[o.id] = o
	}
	return found, err
}
