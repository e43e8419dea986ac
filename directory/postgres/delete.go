package postgres

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/index"
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
	d := &deleting{r: r, dn: dn, o: o}
	j := &job{ctx: ctx, by: by, del: d}
	j.fn = func(ctx context.Context, w *writing) error {
		d.by = j.by
		if err := w.deleteAll(ctx, []*deleting{d}); err != nil {
			return err
		}
		return d.err
	}
	if err := s.do(j); err != nil {
		return tree.Written{}, err
	}
	return d.done, nil
}

// deleting is an entry to be removed whose caller waits for it.
type deleting struct {
	r    *rights
	dn   tree.DN
	o    tree.Options
	by   actor
	done tree.Written
	err  error // why it is refused
}

// deleteAll removes entries of several callers, each of which has nothing below
// it; what is refused says so. A domain goes alone. It may run more than once.
func (w *writing) deleteAll(ctx context.Context, list []*deleting) error {
	dns := make([]tree.DN, len(list))
	for i, d := range list {
		dns[i], d.done, d.err = d.dn, tree.Written{}, nil
	}
	memory := w.memory()
	spots, _, err := w.survey(ctx, dns, nil, nil)
	if err != nil {
		return err
	}
	found := w.before
	if found == nil {
		found = newLeaves()
	}
	if err := found.rest(ctx, w, spots); err != nil {
		return err
	}
	var graves []burial
	gone := map[directory.ObjectID]bool{}
	for i, d := range list {
		s := &spots[i]
		if gone[s.id] && s.there() {
			d.err = w.absent(d.r, &spot{id: s.chain[0], chain: s.chain[1:], left: 1}, d.dn)
			continue
		}
		m, err := w.opened(ctx, d.r, d.dn, d.o, s, found.objects[s.id])
		switch {
		case err != nil:
			d.err = err
			continue
		case m.fam == domain && w.last != nil:
			return errApart
		case m.fam == domain:
			d.done = tree.Written{ID: m.o.id, USN: w.usn, Pre: m.pre}
			d.err = m.deleteDomain(ctx)
			return nil
		}
		if d.err = m.mayDeleteLeaf(ctx, found.below[m.o.id]); d.err != nil {
			continue
		}
		if w.last != nil && w.last.leaned[m.o.id] {
			return errApart
		}
		if len(graves) > 0 {
			w.usn++ // the first has the number of the writing itself
		}
		gone[m.o.id] = true
		graves = append(graves, burial{m.o, d.by, w.usn})
		d.done = tree.Written{ID: m.o.id, USN: w.usn, Pre: m.pre}
	}
	w.counters.usn = max(w.counters.usn, w.usn)
	w.own.all = true
	return w.buryAll(ctx, graves, memory)
}

// leaves are objects that are to go, and which of them have something below.
type leaves struct {
	ids     []directory.ObjectID // to be asked for
	objects map[directory.ObjectID]*object
	below   map[directory.ObjectID]bool
}

func newLeaves() *leaves {
	return &leaves{objects: map[directory.ObjectID]*object{}, below: map[directory.ObjectID]bool{}}
}

// leavesOf are what removals ask for, as far as the index knows it.
func (s *Store) leavesOf(parts [][]*job) *leaves {
	l := newLeaves()
	x := s.index.Load()
	for _, part := range parts {
		for _, j := range part {
			if j.del == nil {
				continue
			}
			if id, _, ok := x.Resolve(j.del.dn); ok && id < index.FirstMade {
				l.ids = append(l.ids, id)
			}
		}
	}
	return l
}

// queue asks for them with the statements of b.
func (l *leaves) queue(b *pgx.Batch) {
	if len(l.ids) == 0 {
		return
	}
	b.Queue(objectSQL+`o.id = ANY ($1)`, l.ids).Query(func(rows pgx.Rows) error { return collectObjects(rows, l.objects) })
	b.Queue(`SELECT q.id FROM unnest($1::bigint[]) AS q (id), LATERAL (SELECT FROM directory.object WHERE parent = q.id LIMIT 1) below`, l.ids).Query(func(rows pgx.Rows) error {
		some, err := collectIDs(rows)
		for _, id := range some {
			l.below[id] = true
		}
		return err
	})
}

// rest asks for those that were not asked for yet.
func (l *leaves) rest(ctx context.Context, w *writing, spots []spot) error {
	l.ids = l.ids[:0]
	for i := range spots {
		if s := &spots[i]; s.there() && s.id != rootID && l.objects[s.id] == nil {
			l.ids = append(l.ids, s.id)
		}
	}
	if len(l.ids) == 0 {
		return nil
	}
	b := &pgx.Batch{}
	l.queue(b)
	return w.Batch(ctx, b)
}

// deleteDomain removes a domain that is not used.
func (m *modification) deleteDomain(ctx context.Context) error {
	if !m.r.all() {
		return errForbidden
	}
	return asUnwilling(m.w.removeDomain(ctx, m.o.rdn))
}

func asUnwilling(err error) error {
	if fault.Of(err) == fault.Conflict {
		return tree.Refuse(tree.ResultNotAllowedOnNonLeaf, "%s", say(err))
	}
	return err
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

// mayDeleteLeaf refuses what has something below it, what others need, and who
// may not.
func (m *modification) mayDeleteLeaf(ctx context.Context, below bool) error {
	if err := m.mayDelete(ctx); err != nil {
		return err
	}
	if below {
		return tree.Refuse(tree.ResultNotAllowedOnNonLeaf, "there is something below it")
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
	return nil
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
	var graves []burial
	for _, id := range ids {
		o := objects[id]
		if o == nil {
			continue
		}
		one := &modification{w: w, r: m.r, o: o, fam: familyOf(w.schema, o.class), spot: &spot{id: id, class: o.class, chain: chains[id], domain: m.spot.domain}}
		if one.perms, err = m.r.of(ctx, w, o, chains[id]); err != nil {
			return 0, err
		}
		if err := one.mayDeleteLeaf(ctx, false); err != nil {
			return 0, err
		}
		graves = append(graves, burial{o, w.by, w.usn})
	}
	w.own.all = true
	return len(ids), w.buryAll(ctx, graves, nil)
}

// readAll is read for many objects, without their name keys.
func (w *writing) readAll(ctx context.Context, ids []directory.ObjectID) (map[directory.ObjectID]*object, error) {
	rows, err := w.Query(ctx, objectSQL+`o.id = ANY ($1)`, ids)
	if err != nil {
		return nil, err
	}
	found := make(map[directory.ObjectID]*object, len(ids))
	return found, collectObjects(rows, found)
}

func collectObjects(rows pgx.Rows, into map[directory.ObjectID]*object) error {
	list, err := pgx.CollectRows(rows, scanObject)
	for _, o := range list {
		into[o.id] = o
	}
	return err
}
