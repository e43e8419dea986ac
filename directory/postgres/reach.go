package postgres

import (
	"context"

	"waypost/directory"
	"waypost/directory/access"
	"waypost/directory/tree"
)

// far are attributes by which an object looks at or rules what lies elsewhere, by
// the attribute that says where. Who is no administrator gives them only where he
// may change the rights, so that neither a list tells by whom it finds what he
// may not read, nor a policy holds for whom he does not manage.
var far = map[string]string{
	"msExchDynamicDLFilter": "msExchDynamicDLBaseDN",
	"msExchDynamicDLBaseDN": "msExchDynamicDLBaseDN",
	"purportedSearch":       "msExchSearchBase",
	"msExchSearchBase":      "msExchSearchBase",
	psoApplies:              psoApplies,
}

// reaches tells whether as may reach all of where by an attribute of far.
func (w *writing) reaches(ctx context.Context, r *rights, attribute string, where []directory.ObjectID) error {
	if len(where) == 0 && attribute != psoApplies {
		return tree.Refuse(tree.ResultInsufficientAccess, "give %s, a container whose rights you may change", far[attribute])
	}
	for _, id := range where {
		o, err := w.read(ctx, id)
		if err != nil {
			return err
		}
		at, err := w.spotOf(ctx, id)
		if err != nil {
			return err
		}
		perms, err := r.of(ctx, w, o, at.chain)
		if err != nil {
			return err
		}
		if !perms.May(access.Control) {
			return errForbidden
		}
	}
	return nil
}

// looks tells whether the object has a filter.
func (m *modification) looks() bool {
	for _, name := range []string{"msExchDynamicDLFilter", "purportedSearch"} {
		if len(m.o.attrs[name]) > 0 || len(m.cold[name]) > 0 {
			return true
		}
	}
	return false
}

// reach asks about the attributes of far that a modify touched.
func (m *modification) reach(ctx context.Context, touched map[string]bool) error {
	for name := range touched {
		if far[name] == "" || m.r.all() {
			continue
		}
		if name != psoApplies && !m.looks() {
			continue // taken away
		}
		a, ok := m.w.schema.Attribute(far[name])
		if !ok {
			continue
		}
		id, err := m.w.linkNumber(ctx, a)
		if err != nil {
			return err
		}
		there := map[directory.ObjectID]bool{}
		l := m.linked[id]
		if l == nil || !l.clear {
			ids, err := m.w.targets(ctx, m.o.id, id)
			if err != nil {
				return err
			}
			for _, to := range ids {
				there[to] = l == nil || !l.remove[to]
			}
		}
		if l != nil {
			for to := range l.add {
				there[to] = true
			}
		}
		var where []directory.ObjectID
		for to, is := range there {
			if is {
				where = append(where, to)
			}
		}
		if err := m.w.reaches(ctx, m.r, name, where); err != nil {
			return err
		}
	}
	return nil
}

// reach is asked of a draft, too.
func (a *addition) reach(ctx context.Context, d *draft) error {
	given := map[string]bool{}
	where := map[string][]directory.ObjectID{}
	for name := range d.o.attrs {
		given[name] = true
	}
	for name := range d.cold {
		given[name] = true
	}
	for l := range a.links[d] {
		name := a.named[l.attribute]
		given[name] = true
		where[name] = append(where[name], l.target)
	}
	for name := range given {
		if far[name] == "" {
			continue
		}
		if err := a.w.reaches(ctx, d.r, name, where[far[name]]); err != nil {
			return err
		}
	}
	return nil
}
