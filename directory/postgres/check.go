package postgres

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/index"
	"waypost/directory/tree"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
)

// maxFindings bounds what Check reports.
const maxFindings = 1000

// Check verifies the tables against each other and this process's view against
// the tables, and gives a line for everything that is not as it should be. It
// reads the whole directory, holds no lock on it, and changes nothing.
func (s *Store) Check(ctx context.Context) (findings []string, err error) {
	defer fault.Wrap(&err, "check the directory")
	// The view stands still while this is held.
	select {
	case s.sync <- struct{}{}:
		defer func() { <-s.sync }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	err = s.db.Snapshot(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT `+allTime); err != nil {
			return err
		}
		c := checker{tx: tx, store: s}
		if err := c.tables(ctx); err != nil {
			return err
		}
		if err := c.view(ctx, &s.view); err != nil {
			return err
		}
		findings = c.findings
		return nil
	})
	return findings, err
}

type checker struct {
	tx       *pgdb.Tx
	store    *Store
	findings []string
}

func (c *checker) found(format string, args ...any) {
	if len(c.findings) < maxFindings {
		c.findings = append(c.findings, fmt.Sprintf(format, args...))
	}
}

// laws are statements that find nothing in a sound directory.
var laws = []struct{ law, sql string }{
	{"every object hangs in the tree below the root", `
		WITH RECURSIVE tree (id) AS (
			SELECT id FROM directory.object WHERE parent IS NULL
			UNION SELECT o.id FROM directory.object o JOIN tree t ON o.parent = t.id)
		SELECT id FROM directory.object o WHERE NOT EXISTS (SELECT FROM tree t WHERE t.id = o.id)`},
	{"the names of an object are its rows", `
		SELECT o.id FROM directory.object o LEFT JOIN (
			SELECT object, string_agg(kind || key, E'\n' ORDER BY kind, key) AS names FROM directory.name GROUP BY object) n ON n.object = o.id
		WHERE o.names <> coalesce(n.names, '')`},
	{"links have an attribute", `
		SELECT source FROM directory.link WHERE attribute > 100000 AND attribute NOT IN (SELECT id FROM directory.reference)`},
	{"links lead from and to what is there", `
		SELECT l.source FROM directory.link l LEFT JOIN directory.object o ON o.id = l.source WHERE o.id IS NULL
		UNION ALL SELECT l.source FROM directory.link l LEFT JOIN directory.object o ON o.id = l.target WHERE o.id IS NULL`},
	{"names, accounts and values are of what is there", `
		SELECT n.object FROM directory.name n LEFT JOIN directory.object o ON o.id = n.object WHERE o.id IS NULL
		UNION ALL SELECT a.object FROM directory.account a LEFT JOIN directory.object o ON o.id = a.object WHERE o.id IS NULL
		UNION ALL SELECT c.object FROM directory.cold c LEFT JOIN directory.object o ON o.id = c.object WHERE o.id IS NULL`},
	{"there is one root", `SELECT id FROM directory.object WHERE parent IS NULL AND id <> 1`},
	{"nothing that is there has a parent that is gone", `
		SELECT o.id FROM directory.object o JOIN directory.object p ON p.id = o.parent WHERE p.deleted IS NOT NULL`},
	{"no link leads to or from a tombstone, but for its last parent", `
		SELECT l.source FROM directory.link l JOIN directory.object o ON o.id IN (l.source, l.target) AND o.deleted IS NOT NULL
		WHERE l.attribute <> coalesce((SELECT id FROM directory.reference WHERE attribute = 'lastKnownParent'), 0)`},
	{"homeMDB is the name that its link leads to", `
		SELECT o.id FROM directory.object o LEFT JOIN directory.link l ON l.attribute = 32 AND l.source = o.id
		LEFT JOIN directory.object m ON m.id = l.target WHERE o.home_mdb <> coalesce(m.rdn, '') AND o.deleted IS NULL`},
	{"a SID is one object's", `
		SELECT min(id) FROM directory.object WHERE sid <> '' GROUP BY sid HAVING count(*) > 1`},
	{"tombstones have no names", `
		SELECT n.object FROM directory.name n JOIN directory.object o ON o.id = n.object WHERE o.deleted IS NOT NULL`},
	{"values in the table of large ones are large, or another of the attribute is", `
		SELECT object FROM directory.cold GROUP BY object, attribute HAVING max(length(value)) <= 2048`},
	{"large values are not among the others", `
		SELECT c.object FROM directory.cold c JOIN directory.object o ON o.id = c.object WHERE o.attributes ? c.attribute`},
	{"accounts belong to people", `
		SELECT a.object FROM directory.account a JOIN directory.object o ON o.id = a.object WHERE o.class IN ('group', 'computer', 'contact')`},
	{"an address is nobody else's userPrincipalName", `
		SELECT a.object FROM directory.name a JOIN directory.name u ON u.kind = 2 AND u.key = a.key AND u.object <> a.object WHERE a.kind = 1`},
	{"ids do not pass their counters", `
		SELECT o.id FROM directory.object o, directory.forest f WHERE o.id > f.object OR o.mailbox > f.mailbox OR o.usn_changed > f.usn`},
	{"the change log has every object at its newest change", `
		SELECT o.id FROM directory.object o LEFT JOIN directory.change c ON c.object = o.id AND c.gone = (o.deleted IS NOT NULL)
		WHERE o.id <> 1 AND c.usn IS DISTINCT FROM o.usn_changed`},
	{"the change log has the accounts' epochs", `
		SELECT a.object FROM directory.account a JOIN directory.change c ON c.object = a.object
		WHERE c.epoch <> a.epoch OR c.enabled <> a.enabled`},
}

func (c *checker) tables(ctx context.Context) error {
	for _, l := range laws {
		rows, err := c.tx.Query(ctx, l.sql+fmt.Sprintf(" LIMIT %d", maxFindings))
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[directory.ObjectID])
		if err != nil {
			return err
		}
		for _, id := range ids {
			c.found("object %d: %s: not so", id, l.law)
		}
	}
	return c.derived(ctx)
}

// derived compares the derived columns with the attributes, among them the names
// as the object's row has them, which a law compares with the rows of names.
func (c *checker) derived(ctx context.Context) error {
	rows, err := c.tx.Query(ctx, "SELECT "+objectFields+", o.kind, o.address, o.name, o.home_mdb, o.quota, o.hidden, o.roles, o.terms, o.names"+
		objectTables+"WHERE o.deleted IS NULL")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var got derived
		var names string
		o, err := new(objectRow).scan(rows, &got.kind, &got.address, &got.name, &got.homeMDB, &got.quota, &got.hidden, &got.roles, &got.terms, &names)
		if err != nil {
			return err
		}
		want, err := o.derive(c.store.Schema())
		if err != nil {
			c.found("object %d: its attributes make no sense: %v", o.id, err)
			continue
		}
		if got.keys = unpackNames(names); !reflect.DeepEqual(got, want) {
			c.found("object %d: derived columns are %+v, its attributes say %+v", o.id, got, want)
		}
	}
	return rows.Err()
}

// view compares what the view and the index have with the tables, unless those
// moved on.
func (c *checker) view(ctx context.Context, v *view) error {
	x := c.store.index.Load()
	m := c.store.newMirror(c.store.Schema())
	if err := m.readAll(ctx, c.tx); err != nil {
		return err
	}
	rows, err := c.tx.Query(ctx, rowSQL+`ORDER BY o.id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	v.mu.RLock()
	defer v.mu.RUnlock()
	next, names, listed, count := 0, 0, 0, 0
	for rows.Next() {
		o, want, err := m.row(rows.RawValues())
		if err != nil {
			return err
		}
		for next < len(m.sources) && directory.ObjectID(m.sources[next].source) < o.ID {
			next++
		}
		end := next
		for end < len(m.sources) && directory.ObjectID(m.sources[end].source) == o.ID {
			end++
		}
		m.attach(&o, want, m.sources[next:end])
		next = end
		if o.Changed > v.usn {
			continue // changed since the view's last look
		}
		got := v.entry(o.ID)
		switch {
		case want == nil && got != nil:
			c.found("object %d is in the view although it was removed", o.ID)
		case want != nil && got == nil:
			c.found("object %d is not in the view", o.ID)
		case want != nil:
			count++
			slices.Sort(want.owners)
			if a := *got; !reflect.DeepEqual(normal(a), normal(*want)) {
				c.found("object %d is %+v in the view, %+v in the tables", o.ID, a, *want)
			}
			for _, k := range got.keys() {
				names++
				if v.names.find(k.kind, k.key, v.namesOf) != uint32(o.ID) { //nolint:gosec // index.MaxID bounds ids
					c.found("object %d is not found by its name %q in the view", o.ID, k.key)
				}
			}
			if got.listed() {
				listed++
			}
		}
		if err := c.index(ctx, x, &o); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	var usn directory.USN
	if err := c.tx.QueryRow(ctx, `SELECT usn FROM directory.forest`).Scan(&usn); err != nil {
		return err
	}
	if usn != v.usn {
		return nil // what went meanwhile cannot be counted
	}
	if names != v.names.count || listed != v.listed {
		c.found("the view has %d names for %d, and counts %d listed objects as %d", v.names.count, names, listed, v.listed)
	}
	there := 0
	for _, page := range v.slots {
		for i := range page {
			if page != nil && page[i].flags&slotThere != 0 {
				there++
			}
		}
	}
	if there != count {
		c.found("the view has %d objects, the tables %d", there, count)
	}
	return nil
}

// normal makes entries comparable.
func normal(e entry) entry {
	e.owners = slices.Sorted(slices.Values(e.owners))
	if len(e.members) == 0 {
		e.members = nil
	}
	if len(e.owners) == 0 {
		e.owners = nil
	}
	return e
}

// index compares an object of the index with the tables.
func (c *checker) index(ctx context.Context, x *index.Index, o *index.Object) error {
	if o.ID == rootID {
		return nil
	}
	// Not "*": large values are read by another connection than this one.
	asked := []string{"uSNChanged"}
	for _, a := range o.Attributes {
		asked = append(asked, a.Name)
	}
	e, err := x.Get(ctx, o.ID, &tree.Query{Attributes: asked, Deleted: true}, nil)
	if err != nil {
		if fault.Of(err) == fault.NotFound {
			c.found("object %d is not in the index", o.ID)
			return nil
		}
		return err
	}
	if got, want := e.Get("uSNChanged"), strconv.FormatInt(int64(o.Changed), 10); len(got) != 1 || got[0] != want {
		c.found("object %d is at %v in the index, at %s in the tables", o.ID, got, want)
		return nil
	}
	sch := x.Schema()
	for _, a := range o.Attributes {
		if def, ok := sch.Attribute(a.Name); !ok || def.Operational || def.Secret || a.Name == "objectSid" || a.Name == o.RDN.Attribute {
			continue
		}
		got, want := slices.Sorted(slices.Values(e.Get(a.Name))), slices.Sorted(slices.Values(a.Values))
		if !slices.Equal(got, want) {
			c.found("object %d: %s is %q in the index, %q in the tables", o.ID, a.Name, got, want)
		}
	}
	for _, l := range o.Links {
		got := x.Linked(o.ID, l.Attribute)
		if !slices.Equal(got, slices.Sorted(slices.Values(l.Targets))) {
			c.found("object %d: %s leads to %v in the index, to %v in the tables", o.ID, l.Attribute, got, l.Targets)
		}
	}
	if dn, _, ok := x.Resolve(mustName(e.DN)); !ok || dn != o.ID {
		c.found("object %d is not found by its name %s in the index", o.ID, e.DN)
	}
	return nil
}

func mustName(dn string) tree.DN {
	name, err := tree.ParseDN(dn)
	if err != nil {
		return nil
	}
	return name
}
