package postgres

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/index"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
)

// loadTogether is how many objects go to the index at a time while it is filled.
const loadTogether = 512

// rowSQL reads objects for the index, tombstones among them.
const rowSQL = `
	SELECT o.id, coalesce(o.parent, 0), o.guid, o.class, o.extra, split_part(o.rdn_key, '=', 1), o.rdn, o.attributes, o.sid,
		o.usn_created, o.usn_changed, o.created, o.changed, o.deleted IS NOT NULL
	FROM directory.object o `

// mirror makes objects of the index from rows.
type mirror struct {
	sch   *schema.Schema
	refs  map[int32]string                 // link numbers without AD's
	names map[int32]string                 // all link numbers seen
	cold  map[directory.ObjectID][]string  // attributes with large values
	links map[directory.ObjectID][]linkRow // by source
	lost  map[string]bool                  // what the schema does not know
	store *Store

	sources []linkRow // while filling: all links by source
}

// linkRow is a row of directory.link.
type linkRow struct {
	source, target uint32
	attribute      int32
}

// row reads one object. Values are parts of one string for each object.
func (m *mirror) row(rows pgx.Rows) (o index.Object, err error) {
	var (
		guid    [16]byte
		naming  string
		raw     []byte
		sid     []byte
		created time.Time
		changed time.Time
	)
	err = rows.Scan(&o.ID, &o.Parent, &guid, &o.Class, &o.Extra, &naming, &o.RDN.Value, (*pgBytes)(&raw), &sid,
		&o.Created, &o.Changed, &created, &changed, &o.Deleted)
	if err != nil {
		return o, err
	}
	o.GUID = schema.SwapGUID(guid)
	o.CreatedAt, o.ChangedAt = created, changed
	if a, ok := m.sch.Attribute(naming); ok {
		naming = a.Name // as the schema spells it; keys are folded
	}
	o.RDN.Attribute = naming
	if o.Attributes, err = m.attributes(string(raw), naming); err != nil {
		return o, fault.From(fault.Internal, err, "attributes of object %d", o.ID)
	}
	switch {
	case len(sid) == 28 && !o.Deleted:
		o.RID = uint32(sid[24]) | uint32(sid[25])<<8 | uint32(sid[26])<<16 | uint32(sid[27])<<24
	case len(sid) > 0:
		o.Attributes = append(o.Attributes, tree.Attribute{Name: "objectSid", Values: []string{string(sid)}})
	}
	for _, name := range m.cold[o.ID] {
		if _, ok := m.sch.Attribute(name); ok {
			o.Cold = append(o.Cold, name)
		}
	}
	return o, nil
}

// pgBytes scans jsonb without a copy that pgx would make.
type pgBytes []byte

// ScanBytes implements pgtype.BytesScanner.
func (b *pgBytes) ScanBytes(v []byte) error { *b = v; return nil }

// attributes reads the attributes column. naming is left to the RDN when that is
// its only value.
func (m *mirror) attributes(raw, naming string) (list []tree.Attribute, err error) {
	p := jsonReader{s: raw}
	err = p.object(func(name string, values []string) {
		a, ok := m.sch.Attribute(name)
		if !ok {
			m.lost[name] = true
			return
		}
		if a.Syntax.Binary() {
			for i, v := range values {
				values[i] = decode(a, v)
			}
		}
		if a.Name == naming && len(values) == 1 || a.Syntax.DN() {
			return
		}
		list = append(list, tree.Attribute{Name: a.Name, Values: values})
	})
	return list, err
}

// attach gives an object its links.
func (m *mirror) attach(o *index.Object, rows []linkRow) {
	for i := 0; i < len(rows); {
		n := i
		for n < len(rows) && rows[n].attribute == rows[i].attribute {
			n++
		}
		if name := m.name(rows[i].attribute); name != "" {
			targets := make([]directory.ObjectID, n-i)
			for k := range targets {
				targets[k] = directory.ObjectID(rows[i+k].target)
			}
			o.Links = append(o.Links, index.Link{Attribute: name, Targets: targets})
		}
		i = n
	}
}

// name is the attribute of a link number, "" when the schema has none.
func (m *mirror) name(number int32) string {
	if name, ok := m.names[number]; ok {
		return name
	}
	a, ok := linkAttribute(m.sch, number, m.refs)
	if ok {
		m.names[number] = a.Name
		return a.Name
	}
	m.names[number] = ""
	return ""
}

func (s *Store) newMirror(ctx context.Context, tx *pgdb.Tx, sch *schema.Schema) (*mirror, error) {
	m := &mirror{
		sch: sch, refs: map[int32]string{}, names: map[int32]string{}, cold: map[directory.ObjectID][]string{},
		links: map[directory.ObjectID][]linkRow{}, lost: map[string]bool{}, store: s,
	}
	rows, err := tx.Query(ctx, `SELECT id, attribute FROM directory.reference`)
	if err != nil {
		return nil, err
	}
	var id int32
	var name string
	_, err = pgx.ForEachRow(rows, []any{&id, &name}, func() error { m.refs[id] = name; return nil })
	return m, err
}

// fillIndex makes the index from a snapshot, in one stream.
func (s *Store) fillIndex(ctx context.Context, tx *pgdb.Tx, usn directory.USN) error {
	began := time.Now()
	sch, err := s.readSchema(ctx, tx)
	if err != nil {
		return err
	}
	m, err := s.newMirror(ctx, tx, sch)
	if err != nil {
		return err
	}
	if err := m.readAll(ctx, tx); err != nil {
		return err
	}
	x := index.New(sch, s.cold)
	l := x.Load()
	rows, err := tx.Query(ctx, rowSQL+`ORDER BY o.id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	// One goroutine reads, another folds: two processors are used.
	batches := make(chan []index.Object, 4)
	done := make(chan error, 1)
	go func() {
		var err error
		for b := range batches {
			if err == nil {
				err = l.Add(b)
			}
		}
		done <- err
	}()
	var container directory.ObjectID
	batch := make([]index.Object, 0, loadTogether)
	read := func() error {
		next := 0
		for rows.Next() {
			o, err := m.row(rows)
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
			m.attach(&o, m.sources[next:end])
			next = end
			if o.Class == "dMD" {
				container = o.ID
			}
			if batch = append(batch, o); len(batch) == loadTogether {
				batches <- batch
				batch = make([]index.Object, 0, loadTogether)
			}
		}
		return rows.Err()
	}
	err = read()
	if err == nil && container != 0 {
		batch = append(batch, schemaObjects(sch, container, usn)...)
	}
	batches <- batch
	close(batches)
	if added := <-done; err == nil {
		err = added
	}
	if err != nil {
		return err
	}
	if err := l.Done(usn); err != nil {
		return err
	}
	m.report(s.log)
	s.schema.Store(sch)
	s.index.Store(x)
	s.log.InfoContext(ctx, "directory read", slog.Int("objects", x.Len()), slog.Duration("dur", time.Since(began)))
	return nil
}

// readAll reads all links, by source, and which attributes are large.
func (m *mirror) readAll(ctx context.Context, tx *pgdb.Tx) error {
	rows, err := tx.Query(ctx, `SELECT source, target, attribute FROM directory.link`)
	if err != nil {
		return err
	}
	var source, target int64
	var one linkRow
	if _, err := pgx.ForEachRow(rows, []any{&source, &target, &one.attribute}, func() error {
		one.source, one.target = uint32(source), uint32(target) //nolint:gosec // index.MaxID bounds ids
		m.sources = append(m.sources, one)
		return nil
	}); err != nil {
		return err
	}
	slices.SortFunc(m.sources, func(a, b linkRow) int {
		if a.source != b.source {
			return int(int64(a.source) - int64(b.source))
		}
		if a.attribute != b.attribute {
			return int(a.attribute - b.attribute)
		}
		return int(int64(a.target) - int64(b.target))
	})
	return m.readCold(ctx, tx, ``)
}

func (m *mirror) readCold(ctx context.Context, tx *pgdb.Tx, where string, args ...any) error {
	rows, err := tx.Query(ctx, `SELECT object, attribute FROM directory.cold WHERE place = 0 `+where, args...)
	if err != nil {
		return err
	}
	var id directory.ObjectID
	var name string
	_, err = pgx.ForEachRow(rows, []any{&id, &name}, func() error { m.cold[id] = append(m.cold[id], name); return nil })
	return err
}

// report tells once what was left out of the index.
func (m *mirror) report(log *slog.Logger) {
	if len(m.lost) == 0 {
		return
	}
	names := make([]string, 0, len(m.lost))
	for n := range m.lost {
		names = append(names, n)
	}
	slices.Sort(names)
	log.Warn("attributes that the schema does not know are not shown", slog.String("names", strings.Join(names, " ")))
}

// applyIndex brings the index from one USN to another: what the changes name is
// read again.
func (s *Store) applyIndex(ctx context.Context, tx *pgdb.Tx, usn directory.USN, ids []directory.ObjectID) error {
	x := s.index.Load()
	if len(ids) == 0 {
		return x.Apply(usn, nil, nil)
	}
	sch := s.Schema()
	m, err := s.newMirror(ctx, tx, sch)
	if err != nil {
		return err
	}
	b := &pgx.Batch{}
	var objects []index.Object
	var extended bool
	var container directory.ObjectID
	b.Queue(`SELECT object, attribute FROM directory.cold WHERE place = 0 AND object = ANY ($1)`, ids).Query(func(rows pgx.Rows) error {
		var id directory.ObjectID
		var name string
		_, err := pgx.ForEachRow(rows, []any{&id, &name}, func() error { m.cold[id] = append(m.cold[id], name); return nil })
		return err
	})
	b.Queue(rowSQL+`WHERE o.id = ANY ($1)`, ids).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			o, err := m.row(rows)
			if err != nil {
				return err
			}
			extended = extended || o.Class == "attributeSchema" || o.Class == "classSchema"
			if o.Class == "dMD" {
				container = o.ID
			}
			objects = append(objects, o)
		}
		return rows.Err()
	})
	b.Queue(`SELECT source, target, attribute FROM directory.link WHERE source = ANY ($1) ORDER BY source, attribute, target`, ids).Query(func(rows pgx.Rows) error {
		var source, target int64
		var one linkRow
		_, err := pgx.ForEachRow(rows, []any{&source, &target, &one.attribute}, func() error {
			one.source, one.target = uint32(source), uint32(target) //nolint:gosec // index.MaxID bounds ids
			id := directory.ObjectID(source)
			m.links[id] = append(m.links[id], one)
			return nil
		})
		return err
	})
	if err := tx.Batch(ctx, b); err != nil {
		return err
	}
	there := make(map[directory.ObjectID]bool, len(objects))
	for i := range objects {
		m.attach(&objects[i], m.links[objects[i].ID])
		there[objects[i].ID] = true
	}
	var gone []directory.ObjectID
	for _, id := range ids {
		if !there[id] {
			gone = append(gone, id)
		}
	}
	if extended {
		if sch, err = s.readSchema(ctx, tx); err != nil {
			return err
		}
		s.schema.Store(sch)
		x.SetSchema(sch)
	}
	sortByDepth(objects)
	if container != 0 {
		objects = append(objects, schemaObjects(sch, container, usn)...)
	}
	return x.Apply(usn, objects, gone)
}

// sortByDepth puts objects behind those that they are below.
func sortByDepth(objects []index.Object) {
	at := make(map[directory.ObjectID]directory.ObjectID, len(objects))
	for i := range objects {
		at[objects[i].ID] = objects[i].Parent
	}
	depth := func(id directory.ObjectID) (n int) {
		for n = 0; n < maxDepth; n++ {
			up, ok := at[id]
			if !ok {
				break
			}
			id = up
		}
		return n
	}
	slices.SortStableFunc(objects, func(a, b index.Object) int { return depth(a.ID) - depth(b.ID) })
}

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
func schemaObjects(sch *schema.Schema, container directory.ObjectID, usn directory.USN) []index.Object {
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
