package postgres

import (
	"context"
	"encoding/binary"
	"strconv"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/schema"
	"waypost/directory/tree"
)

// link makes one change of an attribute of DN syntax. spots are where the names
// of the part lead.
func (m *modification) link(ctx context.Context, p *part, spots []spot) error {
	if p.op == tree.ModIncrement {
		return tree.Refuse(tree.ResultConstraintViolation, "%s is no number", p.a.Name)
	}
	id, err := m.w.linkNumber(ctx, p.a)
	if err != nil {
		return err
	}
	l := m.linked[id]
	if l == nil {
		l = &linkSet{a: p.a, add: map[directory.ObjectID]bool{}, remove: map[directory.ObjectID]bool{}}
		m.linked[id] = l
	}
	for i := range spots {
		if spots[i].there() {
			continue
		}
		if p.op == tree.ModDelete {
			if m.opts.Permissive {
				continue
			}
			return tree.Refuse(tree.ResultNoSuchAttribute, "%s has no such value", p.a.Name)
		}
		return tree.Refuse(tree.ResultConstraintViolation, "%s: no such object: %s", p.a.Name, p.names[i])
	}
	there, total, err := m.links(ctx, id, l, spots)
	if err != nil {
		return err
	}
	for i := range spots { // what is linked already may stay
		if p.op != tree.ModDelete && !there[spots[i].id] && !m.r.seesSpot(&spots[i]) {
			return tree.Refuse(tree.ResultConstraintViolation, "%s: no such object: %s", p.a.Name, p.names[i])
		}
	}
	switch p.op {
	case tree.ModReplace:
		l.clear = true
		clear(l.add)
		clear(l.remove)
		for i := range spots {
			if l.add[spots[i].id] {
				return tree.Refuse(tree.ResultValueExists, "%s has a value twice", p.a.Name)
			}
			l.add[spots[i].id] = true
		}
		total = len(spots)
	case tree.ModDelete:
		if len(p.names) == 0 {
			if total == 0 && !m.opts.Permissive {
				return tree.Refuse(tree.ResultNoSuchAttribute, "no %s", p.a.Name)
			}
			l.clear = true
			clear(l.add)
			clear(l.remove)
			total = 0
		}
		for i := range spots {
			to := spots[i].id
			switch {
			case !spots[i].there():
				continue
			case !there[to]:
				if m.opts.Permissive {
					continue
				}
				return tree.Refuse(tree.ResultNoSuchAttribute, "%s has no such value", p.a.Name)
			case l.add[to]:
				delete(l.add, to)
			default:
				l.remove[to] = true
			}
			there[to] = false
			total--
		}
	default:
		for i := range spots {
			to := spots[i].id
			switch {
			case there[to]:
				if m.opts.Permissive {
					continue
				}
				return tree.Refuse(tree.ResultValueExists, "%s has that value", p.a.Name)
			case l.remove[to]:
				delete(l.remove, to)
			default:
				l.add[to] = true
			}
			there[to] = true
			total++
		}
	}
	if p.a.Single && total > 1 {
		return tree.Refuse(tree.ResultConstraintViolation, "%s has one value", p.a.Name)
	}
	switch {
	case id == linkHome:
		return m.moveHome(l, p, spots)
	case id == linkMember && len(l.add) > 0:
		return m.notPrimary(ctx, l)
	}
	return nil
}

// links tells which of the spots are values now, with what this modify has done
// so far, and how many values there are in all (of a single-valued attribute or
// when it matters).
func (m *modification) links(ctx context.Context, id int32, l *linkSet, spots []spot) (there map[directory.ObjectID]bool, total int, err error) {
	there = make(map[directory.ObjectID]bool, len(spots))
	if !l.clear {
		ids := make([]directory.ObjectID, len(spots))
		for i := range spots {
			ids[i] = spots[i].id
		}
		b := &pgx.Batch{}
		b.Queue(`SELECT target FROM directory.link WHERE attribute = $1 AND source = $2 AND target = ANY ($3)`, id, m.o.id, ids).Query(func(rows pgx.Rows) error {
			found, err := collectIDs(rows)
			for _, t := range found {
				there[t] = true
			}
			return err
		})
		if l.a.Single || len(spots) == 0 {
			b.Queue(`SELECT count(*) FROM directory.link WHERE attribute = $1 AND source = $2`, id, m.o.id).QueryRow(func(r pgx.Row) error {
				return r.Scan(&total)
			})
		}
		if err := m.w.Batch(ctx, b); err != nil {
			return nil, 0, err
		}
		for t := range l.remove {
			there[t] = false
		}
		total -= len(l.remove)
	}
	for t := range l.add {
		there[t] = true
	}
	return there, total + len(l.add), nil
}

// moveHome: homeMDB has its name in the object's row, too.
func (m *modification) moveHome(l *linkSet, p *part, spots []spot) error {
	delete(m.linked, linkHome) // save writes it
	if p.op == tree.ModDelete {
		m.o.home, m.o.homeMDB = 0, ""
		return nil
	}
	m.o.home, m.o.homeMDB = 0, ""
	for i := range spots {
		if err := checkHome(m.w.schema, &spots[i]); err != nil {
			return err
		}
		m.o.home, m.o.homeMDB = spots[i].id, spots[i].rdn
	}
	return nil
}

// notPrimary refuses members whose primary group this is: they are in it by
// that (MS-ADTS 3.1.1.3.1.5.2).
func (m *modification) notPrimary(ctx context.Context, l *linkSet) error {
	rid, prefix := m.o.rid()
	if rid == 0 {
		return nil
	}
	var name string
	err := m.w.QueryRow(ctx, `
		SELECT coalesce(min(rdn), '') FROM directory.object
		WHERE id = ANY ($1) AND substr(sid, 1, 24) = $2 AND attributes -> 'primaryGroupID' ->> 0 = $3`,
		keysOf(l.add), prefix, strconv.FormatUint(uint64(rid), 10)).Scan(&name)
	if err != nil {
		return err
	}
	if name != "" {
		return tree.Refuse(tree.ResultEntryAlreadyExists, "it is the primary group of %s", name)
	}
	return nil
}

// rid takes a SID apart: the account's part and its domain's.
func (o *object) rid() (rid uint32, prefix []byte) {
	if len(o.sid) != 28 {
		return 0, nil
	}
	return binary.LittleEndian.Uint32(o.sid[24:]), o.sid[:24]
}

func keysOf(set map[directory.ObjectID]bool) []directory.ObjectID {
	ids := make([]directory.ObjectID, 0, len(set))
	for id := range set {
		ids = append(ids, id)
	}
	return ids
}

// primaryGroup makes another group the primary one: the object must be a member
// of it. It changes from member to primary, the one before the other way.
func (m *modification) primaryGroup(ctx context.Context) error {
	old, now := m.before.get("primaryGroupID"), m.o.attrs.get("primaryGroupID")
	if now == old {
		return nil
	}
	rid, err := strconv.ParseUint(now, 10, 32)
	_, prefix := m.o.rid()
	if err != nil || prefix == nil {
		return tree.Refuse(tree.ResultUnwillingToPerform, "no such primary group")
	}
	find := func(rid uint64) (id directory.ObjectID, err error) {
		sid := binary.LittleEndian.AppendUint32(append([]byte(nil), prefix...), uint32(rid)) //nolint:gosec // read as 32 bits
		err = m.w.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM directory.object WHERE sid = $1 AND class = $2 AND deleted IS NULL`, sid, classGroup).Scan(&id)
		return id, err
	}
	group, err := find(rid)
	if err != nil {
		return err
	}
	var member bool
	err = m.w.QueryRow(ctx, `SELECT EXISTS (SELECT FROM directory.link WHERE attribute = $1 AND source = $2 AND target = $3)`, linkMember, group, m.o.id).Scan(&member)
	if err != nil {
		return err
	}
	if group == 0 || !member {
		return tree.Refuse(tree.ResultUnwillingToPerform, "the primary group is one of the domain that the account is a member of")
	}
	var before directory.ObjectID
	if n, err := strconv.ParseUint(old, 10, 32); err == nil {
		if before, err = find(n); err != nil {
			return err
		}
	}
	m.extra = append(m.extra, func(b *pgx.Batch) {
		b.Queue(`DELETE FROM directory.link WHERE attribute = $1 AND source = $2 AND target = $3`, linkMember, group, m.o.id)
		if before != 0 {
			b.Queue(`INSERT INTO directory.link (attribute, source, target, usn) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`, linkMember, before, m.o.id, m.w.usn)
		}
		m.w.touch(b, group, before)
	})
	return nil
}

// touch logs a change of objects that are changed by a link alone.
func (w *writing) touch(b *pgx.Batch, ids ...directory.ObjectID) {
	b.Queue(`UPDATE directory.object SET usn_changed = $2, changed = now() WHERE id = ANY ($1)`, ids, w.usn)
	b.Queue(`UPDATE directory.change SET usn = $2, at = now() WHERE object = ANY ($1)`, ids, w.usn)
}

// linkAttribute finds the attribute that a link number belongs to.
func linkAttribute(sch *schema.Schema, id int32, refs map[int32]string) (*schema.Attribute, bool) {
	if name, ok := refs[id]; ok {
		return sch.Attribute(name)
	}
	return sch.Link(int(id))
}
