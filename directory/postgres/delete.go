package postgres

import (
	"context"
	"errors"
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
	if m.fixed() || m.o.class == "attributeSchema" || m.o.class == "classSchema" {
		return tree.Refuse(tree.ResultUnwillingToPerform, "it belongs to the directory itself")
	}
	class, ok := m.w.schema.Class(m.o.class)
	if !ok {
		return tree.Refuse(tree.ResultOther, "no class %q", m.o.class)
	}
	if err := m.mayGo(ctx, class); err != nil {
		return err
	}
	var below, home bool
	err := m.w.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM directory.object WHERE parent = $1),
			EXISTS (SELECT FROM directory.link WHERE attribute = $2 AND target = $1)`, m.o.id, linkHome).Scan(&below, &home)
	switch {
	case err != nil:
		return err
	case below:
		return tree.Refuse(tree.ResultNotAllowedOnNonLeaf, "there is something below it")
	case home:
		return tree.Refuse(tree.ResultUnwillingToPerform, "a mailbox database with mailboxes stays")
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
			rows, err := w.Query(ctx, `
				WITH RECURSIVE below (id, depth) AS (
					SELECT id, 1 FROM directory.object WHERE parent = $1 AND deleted IS NULL
					UNION ALL SELECT o.id, depth + 1 FROM below b JOIN directory.object o ON o.parent = b.id WHERE o.deleted IS NULL)
				SELECT id FROM below ORDER BY depth DESC, id LIMIT $2`, m.o.id, deleteTogether)
			if err != nil {
				return err
			}
			ids, err := collectIDs(rows)
			if err != nil {
				return err
			}
			for _, id := range ids {
				if err := w.deleteOne(ctx, r, id); err != nil {
					return err
				}
			}
			left = len(ids)
			return nil
		})
		if err != nil || left < deleteTogether {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// deleteOne removes an object whose id is known.
func (w *writing) deleteOne(ctx context.Context, r *rights, id directory.ObjectID) error {
	o, err := w.read(ctx, id)
	if err != nil {
		return err
	}
	s, err := w.spotOf(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	m := &modification{w: w, r: r, o: o, fam: familyOf(w.schema, o.class), spot: &s}
	if m.perms, err = r.of(ctx, w, o, s.chain); err != nil {
		return err
	}
	return m.delete(ctx)
}
