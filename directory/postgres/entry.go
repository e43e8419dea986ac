package postgres

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/access"
	"waypost/directory/schema"
	"waypost/directory/tree"
)

// snapshot is an object as a transaction sees it before it changes it: what an
// assertion is asked of and a pre-read shows (RFC 4528, RFC 4527). The index
// may be a moment behind.
type snapshot struct {
	sch    *schema.Schema
	perms  *access.Permissions
	dn     tree.DN
	o      *object
	values map[string][]string
}

// maxRead bounds the links that a pre-read shows.
const maxRead = 5000

// entry reads the object of a write as it is.
func (w *writing) entry(ctx context.Context, r *rights, perms *access.Permissions, o *object) (*snapshot, error) {
	e := &snapshot{sch: w.schema, perms: perms, o: o, values: map[string][]string{}}
	names, err := w.names(ctx, []directory.ObjectID{o.id})
	if err != nil {
		return nil, err
	}
	e.dn = names[o.id]
	for name, values := range o.attrs {
		if a, ok := w.schema.Attribute(name); ok {
			e.values[a.Name] = decodeAll(a, values)
		}
	}
	if err := w.entryLinks(ctx, r, e); err != nil {
		return nil, err
	}
	shape, err := w.schema.Shape(append([]string{o.class}, o.extra...))
	if err != nil {
		return nil, err
	}
	e.values["objectClass"] = shape.ObjectClass()
	e.values["distinguishedName"] = []string{e.dn.String()}
	e.values["name"] = []string{o.rdn}
	e.values["uSNChanged"] = []string{strconv.FormatInt(int64(o.usn), 10)}
	e.values["whenCreated"] = []string{schema.FormatTime(o.created)}
	if g, ok := schema.ParseGUID(o.guid); ok {
		e.values["objectGUID"] = []string{string(g[:])}
	}
	if len(o.sid) > 0 {
		e.values["objectSid"] = []string{string(o.sid)}
	}
	return e, nil
}

// entryLinks reads links in both directions and large values.
func (w *writing) entryLinks(ctx context.Context, r *rights, e *snapshot) error {
	type end struct {
		attribute int32
		id        directory.ObjectID
		back      bool
	}
	var ends []end
	refs := map[int32]string{}
	b := &pgx.Batch{}
	b.Queue(`
		(SELECT attribute, target, false FROM directory.link WHERE source = $1 ORDER BY attribute, target LIMIT $2)
		UNION ALL (SELECT attribute, source, true FROM directory.link WHERE target = $1 AND attribute < 100000 LIMIT $2)`, e.o.id, maxRead).Query(func(rows pgx.Rows) error {
		var one end
		_, err := pgx.ForEachRow(rows, []any{&one.attribute, &one.id, &one.back}, func() error { ends = append(ends, one); return nil })
		return err
	})
	b.Queue(`SELECT id, attribute FROM directory.reference`).Query(func(rows pgx.Rows) error {
		var id int32
		var name string
		_, err := pgx.ForEachRow(rows, []any{&id, &name}, func() error { refs[id] = name; return nil })
		return err
	})
	b.Queue(`SELECT attribute, value FROM directory.cold WHERE object = $1 ORDER BY attribute, place`, e.o.id).Query(func(rows pgx.Rows) error {
		var name string
		var value []byte
		_, err := pgx.ForEachRow(rows, []any{&name, &value}, func() error { e.values[name] = append(e.values[name], string(value)); return nil })
		return err
	})
	if err := w.Batch(ctx, b); err != nil {
		return err
	}
	ids := make([]directory.ObjectID, 0, len(ends))
	for _, x := range ends {
		ids = append(ids, x.id)
	}
	slices.Sort(ids)
	names, err := w.names(ctx, slices.Compact(ids))
	if err != nil {
		return err
	}
	for _, x := range ends {
		a, ok := linkAttribute(w.schema, x.attribute, refs)
		if ok && x.back {
			if a, ok = w.schema.Link(a.LinkID + 1); ok && !r.all() {
				if hidden := (&sight{r}).Hides(a); hidden != nil && hidden(x.id) {
					continue
				}
			}
		}
		if dn, there := names[x.id]; ok && there {
			e.values[a.Name] = append(e.values[a.Name], dn.String())
		}
	}
	return nil
}

// Values implements tree.Subject.
func (e *snapshot) Values(a *schema.Attribute) []string {
	if !e.perms.Read(a) {
		return nil
	}
	return e.values[a.Name]
}

// InChain implements tree.Subject. One step is what an assertion on an entry
// that is about to change can ask for.
func (e *snapshot) InChain(a *schema.Attribute, to tree.DN) bool {
	return slices.ContainsFunc(e.Values(a), func(v string) bool {
		dn, err := tree.ParseDN(v)
		return err == nil && dn.Equal(to)
	})
}

// Name implements tree.Subject.
func (e *snapshot) Name() tree.DN { return e.dn }

// show gives the entry with the attributes asked for.
func (e *snapshot) show(names []string) *tree.Entry {
	out := &tree.Entry{ID: e.o.id, DN: e.dn.String(), USN: e.o.usn}
	out.GUID, _ = schema.ParseGUID(e.o.guid)
	all := len(names) == 0 || slices.Contains(names, "*")
	operational := slices.Contains(names, "+")
	for name := range e.values {
		a, ok := e.sch.Attribute(name)
		if !ok || !e.perms.Read(a) {
			continue
		}
		asked := slices.ContainsFunc(names, func(n string) bool {
			b, ok := e.sch.Attribute(n)
			return ok && b == a || strings.EqualFold(n, a.Name)
		})
		if asked || all && !a.Operational || operational && a.Operational {
			out.Attributes = append(out.Attributes, tree.Attribute{Name: a.Name, Values: e.values[name]})
		}
	}
	slices.SortFunc(out.Attributes, func(x, y tree.Attribute) int { return strings.Compare(x.Name, y.Name) })
	return out
}
