package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/index"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// memory answers for the tables in a transaction: see writing.memory.
type memory struct {
	w          *writing
	x          *index.Index
	key        []byte                // used again and again
	containers map[string]*container // found so far, by the name as it is written
}

// container is a spot with the chain of what lies right below it.
type container struct {
	spot
	below []directory.ObjectID
}

// memory gives this process's view in place of the tables, nil when it is not
// as they are. Who holds the counter row keeps everybody from changing anything:
// a view and an index that are at the change before are what the tables are,
// until the transaction itself writes. It must be asked before that.
func (w *writing) memory() *memory {
	x := w.store.index.Load()
	before := w.usn - 1
	if w.last != nil {
		before = w.last.base
	}
	if w.store.view.now() != before || x.USN() != before {
		return nil
	}
	return &memory{w: w, x: x, containers: map[string]*container{}}
}

// survey finds where names lead and whose name keys are, before the transaction
// has written anything: from memory, or in one round trip.
func (w *writing) survey(ctx context.Context, dns []tree.DN, kinds []int16, texts []string) ([]spot, nameSet, error) {
	if m := w.memory(); m != nil {
		spots, ok, err := m.spots(ctx, dns)
		if ok || err != nil {
			return spots, m.whose(kinds, texts), err
		}
	}
	b := &pgx.Batch{}
	q, err := w.ask(ctx, b, dns)
	if err != nil {
		return nil, nil, err
	}
	taken := nameSet{}
	if len(kinds) > 0 {
		b.Queue(whoseSQL, kinds, texts).Query(func(rows pgx.Rows) error {
			return scanNames(rows, func(k nameKey, id directory.ObjectID) { taken.take(k, id) })
		})
	}
	if b.Len() > 0 {
		if err := w.Batch(ctx, b); err != nil {
			return nil, nil, err
		}
	}
	return q.spots, taken, q.finish(ctx, w)
}

// spots finds where names lead; false when there is one of a special form.
func (m *memory) spots(ctx context.Context, dns []tree.DN) ([]spot, bool, error) {
	spots := make([]spot, len(dns))
	for i, dn := range dns {
		if form, _ := dn.Special(); form != "" {
			return nil, false, nil
		}
		c, err := m.find(ctx, dn)
		if err != nil {
			return nil, false, err
		}
		spots[i] = *c
	}
	return spots, true, nil
}

// find finds where a name leads, from the domain at its end down.
func (m *memory) find(ctx context.Context, dn tree.DN) (*spot, error) {
	if len(dn.Labels()) == len(dn) {
		if s, err := m.domain(ctx, dn); s != nil || err != nil {
			return s, err
		}
	}
	up, err := m.container(ctx, dn[1:])
	if err != nil {
		return nil, err
	}
	if up.id != 0 && up.left == 0 {
		if s := m.child(up, dn[0]); s != nil {
			return s, nil
		}
	}
	s := up.spot
	s.left++
	return &s, nil
}

// child finds what an RDN names in a container; nil when it is nothing. That is
// so for the schema, which the index shows and no table has.
func (m *memory) child(up *container, rdn tree.RDN) *spot {
	id, ok := m.x.Child(up.id, rdn)
	if !ok {
		return nil
	}
	s, ok := m.w.store.view.spot(id)
	if !ok { // the view has no tombstones
		p, ok := m.x.Place(id)
		if !ok || !p.Deleted {
			return nil
		}
		s = spot{id: id, class: p.Class.Name, deleted: true}
	}
	s.chain, s.domain, s.domSID = up.below, up.domain, up.domSID
	return &s
}

// domain finds a domain by its whole name; nil when the name leads on from one,
// and an empty spot when it is nobody's.
func (m *memory) domain(ctx context.Context, dn tree.DN) (*spot, error) {
	p, err := m.w.split(ctx, dn)
	switch {
	case err != nil:
		return nil, err
	case p.start == 0:
		return &spot{left: len(dn)}, nil
	case len(p.keys) > 0:
		return nil, nil
	}
	s, ok := m.w.store.view.spot(p.start)
	sid, has := m.x.SID(p.start)
	if !ok || !has {
		return nil, fault.New(fault.Internal, "domain %d is not in memory", p.start)
	}
	s.chain, s.domain, s.domSID = []directory.ObjectID{rootID}, p.start, []byte(sid)
	return &s, nil
}

// container is find for what several names end with.
func (m *memory) container(ctx context.Context, dn tree.DN) (*container, error) {
	m.key = m.key[:0]
	for _, rdn := range dn {
		for _, ava := range rdn {
			m.key = append(append(append(append(m.key, ava.Attribute...), 0), ava.Value...), 0)
		}
		m.key = append(m.key, 1)
	}
	if c := m.containers[string(m.key)]; c != nil {
		return c, nil
	}
	key := string(m.key)
	s, err := m.find(ctx, dn)
	if err != nil {
		return nil, err
	}
	c := &container{spot: *s, below: append([]directory.ObjectID{s.id}, s.chain...)}
	m.containers[key] = c
	return c, nil
}

// whose tells who has names, as whoseSQL does.
func (m *memory) whose(kinds []int16, texts []string) nameSet {
	taken := nameSet{}
	v := &m.w.store.view
	v.mu.RLock()
	defer v.mu.RUnlock()
	for i, kind := range kinds {
		k := nameKey{nameKind(kind), texts[i]} //nolint:gosec // it was one
		if id := v.names.find(k.kind, k.key, v.namesOf); id != 0 {
			taken.take(k, directory.ObjectID(id))
		}
	}
	return taken
}

// grave finds the container of tombstones of what lies in a container; 0 when
// there is none.
func (m *memory) grave(container directory.ObjectID) directory.ObjectID {
	p, ok := m.x.Place(container)
	if !ok {
		return 0
	}
	for _, up := range append([]directory.ObjectID{container}, p.Chain...) {
		if id, ok := m.x.Child(up, gravesRDN); ok {
			return id
		}
	}
	return 0
}
