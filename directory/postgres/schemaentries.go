package postgres

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/index"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/pgdb"
)

// readSchema is the product's schema with the extensions that the directory has.
func (s *Store) readSchema(ctx context.Context, tx *pgdb.Tx) (*schema.Schema, error) {
	rows, err := tx.Query(ctx, `
		SELECT class, attributes FROM directory.object WHERE class IN ('attributeSchema', 'classSchema') AND deleted IS NULL
		ORDER BY class, id`) // attributes before classes
	if err != nil {
		return nil, err
	}
	type extension struct {
		class string
		attrs attributes
	}
	var all []extension
	var one extension
	if _, err := pgx.ForEachRow(rows, []any{&one.class, &one.attrs}, func() error {
		all = append(all, one)
		one.attrs = nil
		return nil
	}); err != nil {
		return nil, err
	}
	sch := productSchema()
	for _, x := range all {
		ext, err := extensionOf(sch, x.class, x.attrs)
		if err == nil {
			var next *schema.Schema
			if next, err = sch.Extend(ext); err == nil {
				sch = next
				continue
			}
		}
		s.log.WarnContext(ctx, "a part of the schema is left out", slog.String("name", x.attrs.get("lDAPDisplayName")), slog.Any("fault", err))
	}
	return sch, nil
}

// schemaObjects are the entries of the base schema below its container. They are
// no rows: every process makes the same.
func schemaObjects(sch *schema.Schema, container directory.ObjectID) []index.Object {
	var objects []index.Object
	made := map[string]directory.ObjectID{}
	next := index.FirstMade
	add := func(class, name string, fields []schema.Field) {
		next++
		o := index.Object{
			ID: next, Parent: container, Class: class, RDN: tree.AVA{Attribute: "cn", Value: schema.CommonName(name)},
			Created: 1, Changed: 1, CreatedAt: schemaBorn, ChangedAt: schemaBorn,
		}
		made[name] = o.ID
		for _, f := range fields {
			a, ok := sch.Attribute(f.Name)
			if !ok || a.Syntax.DN() || a.Name == "cn" {
				continue
			}
			if a.Name == "schemaIDGUID" && len(f.Values) == 1 && len(f.Values[0]) == 16 {
				copy(o.GUID[:], f.Values[0])
			}
			o.Attributes = append(o.Attributes, tree.Attribute{Name: a.Name, Values: f.Values})
		}
		objects = append(objects, o)
	}
	for _, a := range sch.Attributes() {
		if !a.Extension || productOwn(a.Name) {
			add("attributeSchema", a.Name, a.Fields())
		}
	}
	for _, c := range sch.Classes() {
		if !c.Extension {
			add("classSchema", c.Name, c.Fields())
		}
	}
	n := len(objects)
	for _, c := range sch.Classes() {
		if id, ok := made[c.ObjectCategory().Name]; ok && !c.Extension {
			for i := range n {
				if objects[i].ID == made[c.Name] {
					objects[i].Links = []index.Link{{Attribute: "defaultObjectCategory", Targets: []directory.ObjectID{id}}}
				}
			}
		}
	}
	return objects
}

// schemaBorn is when the base schema's entries were made, for whenCreated.
var schemaBorn = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// cold reads the large values of some objects for the index.
func (s *Store) cold(ctx context.Context, ids []directory.ObjectID, names []string) (map[directory.ObjectID][]tree.Attribute, error) {
	rows, err := s.db.Query(ctx, `
		SELECT object, attribute, value FROM directory.cold WHERE object = ANY ($1) AND attribute = ANY ($2) ORDER BY object, attribute, place`, ids, names)
	if err != nil {
		return nil, err
	}
	found := make(map[directory.ObjectID][]tree.Attribute, len(ids))
	var id directory.ObjectID
	var name string
	var value []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &name, &value}, func() error {
		list := found[id]
		if n := len(list); n == 0 || list[n-1].Name != name {
			list = append(list, tree.Attribute{Name: name})
		}
		last := &list[len(list)-1]
		last.Values = append(last.Values, string(value))
		found[id] = list
		return nil
	})
	return found, err
}
