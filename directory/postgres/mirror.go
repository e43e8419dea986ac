package postgres

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"waypost/directory"
	"waypost/directory/access"
	"waypost/directory/index"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
)

// loadTogether is how many objects go to the index at a time while it is filled.
const loadTogether = 512

// rowSQL reads objects for the index, tombstones among them.
const rowSQL = rowSelect + `
	FROM directory.object o LEFT JOIN directory.account a ON a.object = o.id `

// rowChangedSQL reads those of the next changes; LIMIT makes each a look into
// the index, whatever the planner thinks how many there are.
const rowChangedSQL = rowSelect + `
	FROM (` + changedSQL + `) c, LATERAL (SELECT * FROM directory.object WHERE id = c.object LIMIT 1) o
	LEFT JOIN LATERAL (SELECT * FROM directory.account WHERE object = o.id LIMIT 1) a ON true`

const rowSelect = `
	SELECT o.id, coalesce(o.parent, 0), o.guid, o.class, array_to_string(o.extra, ' '), split_part(o.rdn_key, '=', 1), o.rdn, o.attributes, o.sid,
		o.usn_created, o.usn_changed, o.created, o.changed, o.deleted IS NOT NULL,
		CASE WHEN o.home_mdb = '' THEN 0 ELSE o.mailbox END, o.quota, o.roles, o.kind, o.hidden, o.address, o.name, o.home_mdb, o.terms, o.names,
		coalesce(a.epoch, 0), coalesce(a.enabled, false), coalesce(extract(epoch FROM a.expires)::bigint, 0)`

// mirror makes objects of the index from rows.
type mirror struct {
	sch   *schema.Schema
	refs  map[int32]string                 // link numbers without AD's
	names map[int32]string                 // all link numbers seen
	cold  map[directory.ObjectID][]string  // attributes with large values
	links map[directory.ObjectID][]linkRow // by source
	// unlinked are those that went.
	unlinked map[directory.ObjectID][]linkRow
	lost     map[string]bool // what the schema does not know
	// shared are strings that most rows have.
	shared map[string]string
	store  *Store

	sources []linkRow // while filling: all links by source
}

// linkRow is a row of directory.link.
type linkRow struct {
	source, target uint32
	attribute      int32
}

func (a linkRow) compare(b linkRow) int {
	if a.source != b.source {
		return cmp.Compare(a.source, b.source)
	}
	if a.attribute != b.attribute {
		return cmp.Compare(a.attribute, b.attribute)
	}
	return cmp.Compare(a.target, b.target)
}

// row reads one object for the index and for the view; texts are parts of a few
// strings. What is a tombstone is none of the view's.
func (m *mirror) row(raw [][]byte) (o index.Object, e *entry, err error) {
	if len(raw) != rowColumns {
		return o, nil, fault.New(fault.Internal, "%d columns of an object", len(raw))
	}
	r := rawRow{raw: raw}
	o.ID, o.Parent = directory.ObjectID(r.int()), directory.ObjectID(r.int())
	o.GUID = schema.SwapGUID(r.uuid())
	o.Class = m.once(r.bytes())
	o.Extra = strings.Fields(r.text())
	naming := m.once(r.bytes())
	o.RDN.Value = r.text()
	attrs := r.text()
	sid := r.bytes()
	o.Created, o.Changed = directory.USN(r.int()), directory.USN(r.int())
	o.CreatedAt, o.ChangedAt = r.time(), r.time()
	o.Deleted = r.truth()
	e = &entry{
		id: o.ID, parent: o.Parent, usn: o.Changed, class: o.Class, rdn: o.RDN.Value, family: familyOf(m.sch, o.Class),
		mailbox: directory.MailboxID(r.int()), quota: r.int(), roles: directory.Role(r.int()), kind: directory.Kind(r.int()), //nolint:gosec // as it was written
		hidden: r.truth(), address: r.text(), name: r.text(), homeMDB: m.once(r.bytes()), terms: r.text(), names: r.text(),
		epoch: directory.Epoch(r.int()), enabled: r.truth(), expires: r.int(),
	}
	if r.err != nil {
		return o, nil, fault.From(fault.Internal, r.err, "object %d", o.ID)
	}
	if a, ok := m.sch.Attribute(naming); ok {
		naming = a.Name // as the schema spells it; keys are folded
	}
	o.RDN.Attribute = naming
	if o.Attributes, err = m.attributes(attrs, naming); err != nil {
		return o, nil, fault.From(fault.Internal, err, "attributes of object %d", o.ID)
	}
	switch {
	case len(sid) == 28 && !o.Deleted:
		o.RID = binary.LittleEndian.Uint32(sid[24:])
	case len(sid) > 0:
		o.Attributes = append(o.Attributes, tree.Attribute{Name: "objectSid", Values: []string{string(sid)}})
	}
	for _, name := range m.cold[o.ID] {
		if _, ok := m.sch.Attribute(name); ok {
			o.Cold = append(o.Cold, name)
		}
	}
	if o.Deleted {
		return o, nil, nil
	}
	e.describe(&o)
	return o, e, nil
}

// describe gives an entry what follows from the attributes.
func (e *entry) describe(o *index.Object) {
	if e.order = e.name; e.kind != 0 {
		e.order = orderKey(e.name)
	}
	e.protected = e.roles != 0
	e.forwards = e.family == contact && e.address != ""
	for i := range o.Attributes {
		switch a := &o.Attributes[i]; a.Name {
		case access.AttributeName:
			e.acl = parseACL(a.Values)
		case "adminCount":
			e.protected = e.protected || a.Values[0] == "1"
		case "targetAddress":
			e.forwards = forwardAddress(a.Values[0]) != ""
		case "hideDLMembership":
			e.hideMembers = a.Values[0] == "TRUE"
		}
	}
}

// once keeps strings that most rows share a single time.
func (m *mirror) once(b []byte) string {
	s, ok := m.shared[string(b)]
	if !ok {
		s = string(b)
		if len(m.shared) < 10000 {
			m.shared[s] = s
		}
	}
	return s
}

// rowColumns is how many columns rowSQL has.
const rowColumns = 27

// rawRow reads the values of a row as PostgreSQL sends them: pgx asks for the
// binary form of all types that are here but jsonb, which comes as text.
type rawRow struct {
	raw [][]byte
	err error
}

func (r *rawRow) next() []byte {
	b := r.raw[0]
	r.raw = r.raw[1:]
	return b
}

func (r *rawRow) bytes() []byte { return r.next() }

func (r *rawRow) text() string { return string(r.next()) }

func (r *rawRow) int() int64 {
	switch b := r.next(); len(b) {
	case 8:
		return int64(binary.BigEndian.Uint64(b)) //nolint:gosec // the same bits
	case 4:
		return int64(int32(binary.BigEndian.Uint32(b))) //nolint:gosec // the same bits
	case 2:
		return int64(int16(binary.BigEndian.Uint16(b))) //nolint:gosec // the same bits
	default:
		r.err = fmt.Errorf("a number of %d bytes", len(b))
		return 0
	}
}

func (r *rawRow) truth() bool {
	b := r.next()
	if len(b) != 1 {
		r.err = fmt.Errorf("a truth of %d bytes", len(b))
		return false
	}
	return b[0] != 0
}

func (r *rawRow) uuid() (u [16]byte) {
	b := r.next()
	if copy(u[:], b) != 16 || len(b) != 16 {
		r.err = fmt.Errorf("a UUID of %d bytes", len(b))
	}
	return u
}

// time reads microseconds since 2000.
func (r *rawRow) time() time.Time {
	return time.UnixMicro(r.int() + 946684800_000000).UTC()
}

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
func (m *mirror) attach(o *index.Object, e *entry, rows []linkRow) {
	for i := 0; i < len(rows); {
		n := i
		for n < len(rows) && rows[n].attribute == rows[i].attribute {
			n++
		}
		if e != nil {
			switch rows[i].attribute {
			case linkMember:
				e.members = targetsOf(rows[i:n])
			case linkOwner, linkManagedBy:
				e.owners = append(e.owners, targetsOf(rows[i:n])...)
			}
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

// relink gives an object that was there before the links that came and went.
func (m *mirror) relink(s *Store, o *index.Object, e *entry) {
	o.KeepLinks = true
	changes := map[string]*index.LinkChange{}
	note := func(rows []linkRow, into func(*index.LinkChange, directory.ObjectID)) {
		for _, r := range rows {
			name := m.name(r.attribute)
			if name == "" {
				continue
			}
			if changes[name] == nil {
				changes[name] = &index.LinkChange{Attribute: name}
			}
			into(changes[name], directory.ObjectID(r.target))
		}
	}
	note(m.links[o.ID], func(c *index.LinkChange, id directory.ObjectID) { c.Add = append(c.Add, id) })
	note(m.unlinked[o.ID], func(c *index.LinkChange, id directory.ObjectID) { c.Remove = append(c.Remove, id) })
	for _, c := range changes {
		o.LinkChanges = append(o.LinkChanges, *c)
	}
	if e == nil {
		return
	}
	if old := s.view.get(o.ID); old != nil {
		e.members, e.owners = old.members, old.owners
	}
	change := func(list []uint32, attributes ...int32) []uint32 {
		var add, remove []uint32
		for _, r := range m.links[o.ID] {
			if slices.Contains(attributes, r.attribute) {
				add = append(add, r.target)
			}
		}
		for _, r := range m.unlinked[o.ID] {
			if slices.Contains(attributes, r.attribute) {
				remove = append(remove, r.target)
			}
		}
		if len(add)+len(remove) == 0 {
			return list
		}
		slices.Sort(remove)
		list = slices.DeleteFunc(slices.Clone(list), func(id uint32) bool { _, gone := slices.BinarySearch(remove, id); return gone })
		list = append(list, add...)
		slices.Sort(list)
		return slices.Compact(list)
	}
	e.members = change(e.members, linkMember)
	e.owners = change(e.owners, linkOwner, linkManagedBy)
}

func targetsOf(rows []linkRow) []uint32 {
	ids := make([]uint32, len(rows))
	for i, r := range rows {
		ids[i] = r.target
	}
	return ids
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

func (s *Store) newMirror(sch *schema.Schema) *mirror {
	return &mirror{
		sch: sch, refs: map[int32]string{}, names: map[int32]string{}, cold: map[directory.ObjectID][]string{},
		links: map[directory.ObjectID][]linkRow{}, unlinked: map[directory.ObjectID][]linkRow{}, lost: map[string]bool{}, shared: map[string]string{}, store: s,
	}
}

func (m *mirror) readRefs(rows pgx.Rows) error {
	var id int32
	var name string
	_, err := pgx.ForEachRow(rows, []any{&id, &name}, func() error {
		m.refs[id] = name
		m.store.refs.Store(name, id)
		return nil
	})
	return err
}

func (m *mirror) readCold(rows pgx.Rows) error {
	var id directory.ObjectID
	var name string
	_, err := pgx.ForEachRow(rows, []any{&id, &name}, func() error { m.cold[id] = append(m.cold[id], name); return nil })
	return err
}

func (m *mirror) readLinks(rows pgx.Rows, fn func(linkRow)) error {
	for rows.Next() {
		r := rawRow{raw: rows.RawValues()}
		one := linkRow{source: uint32(r.int()), target: uint32(r.int()), attribute: int32(r.int())} //nolint:gosec // index.MaxID bounds ids
		if r.err != nil {
			return r.err
		}
		fn(one)
	}
	return rows.Err()
}

// filled is what fillAll has read and finish makes the index and the view of.
type filled struct {
	m      *mirror
	usn    directory.USN
	index  *index.Index
	loader *index.Loader
	view   *filling
	began  time.Time
}

// fillAll reads everything from a snapshot, in one stream.
func (s *Store) fillAll(ctx context.Context, tx *pgdb.Tx, usn directory.USN) (*filled, error) {
	began := time.Now()
	sch, err := s.readSchema(ctx, tx)
	if err != nil {
		return nil, err
	}
	m := s.newMirror(sch)
	if err := m.readAll(ctx, tx); err != nil {
		return nil, err
	}
	x := index.New(sch, s.cold)
	l := x.Load()
	var most int // objects, more or less
	if err := tx.QueryRow(ctx, `SELECT object FROM directory.forest`).Scan(&most); err != nil {
		return nil, err
	}
	v := newFilling(most)
	rows, err := tx.Query(ctx, rowSQL+`ORDER BY o.id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	container, err := m.copyRows(ctx, rows, l, v)
	if err != nil {
		return nil, err
	}
	if container != 0 {
		if err := l.Add(schemaObjects(sch, container)); err != nil {
			return nil, err
		}
	}
	return &filled{m: m, usn: usn, index: x, loader: l, view: v, began: began}, nil
}

// finish puts what was read in the place of what was there. It takes seconds
// without the database, so no transaction is open.
func (s *Store) finish(ctx context.Context, f *filled) error {
	f.m.sources = nil
	f.m.report(s.log)
	sorted := make(chan struct{})
	go func() {
		defer close(sorted)
		f.view.index()
	}()
	err := f.loader.Done(f.usn)
	<-sorted
	if err != nil {
		return err
	}
	s.schema.Store(f.m.sch)
	s.index.Store(f.index)
	f.view.finish(&s.view, f.usn)
	s.log.InfoContext(ctx, "directory read", slog.Int("objects", f.index.Len()), slog.Duration("dur", time.Since(f.began)))
	return nil
}

// readAll reads all links, by source, and which attributes are large.
func (m *mirror) readAll(ctx context.Context, tx *pgdb.Tx) error {
	b := &pgx.Batch{}
	b.Queue(`SELECT id, attribute FROM directory.reference`).Query(m.readRefs)
	b.Queue(`SELECT object, attribute FROM directory.cold WHERE place = 0`).Query(m.readCold)
	b.Queue(`SELECT source, target, attribute FROM directory.link`).Query(func(rows pgx.Rows) error {
		return m.readLinks(rows, func(one linkRow) { m.sources = append(m.sources, one) })
	})
	if err := tx.Batch(ctx, b); err != nil {
		return err
	}
	slices.SortFunc(m.sources, linkRow.compare)
	return nil
}

// rowBatch is some rows as PostgreSQL sent them.
type rowBatch struct {
	bytes []byte
	ends  []uint32 // of each value
}

// keep copies the values of a row.
func (b *rowBatch) keep(raw [][]byte) {
	for _, v := range raw {
		b.bytes = append(b.bytes, v...)
		b.ends = append(b.ends, uint32(len(b.bytes))) //nolint:gosec // far below 4 GiB
	}
}

// each calls fn with each row; raw is good during the call only.
func (b *rowBatch) each(fn func(raw [][]byte) error) error {
	var raw [rowColumns][]byte
	from := uint32(0)
	for i := 0; i < len(b.ends); i += rowColumns {
		for k := range raw {
			to := b.ends[i+k]
			raw[k], from = b.bytes[from:to:to], to
		}
		if err := fn(raw[:]); err != nil {
			return err
		}
	}
	return nil
}

// copyRows brings all rows into the index and the view. One goroutine reads what
// PostgreSQL sends, others make objects of it. It gives the schema's container.
func (m *mirror) copyRows(ctx context.Context, rows pgx.Rows, l *index.Loader, v *filling) (container directory.ObjectID, err error) {
	work, ctx := errgroup.WithContext(ctx)
	full, empty := make(chan *rowBatch, fillWorkers), make(chan *rowBatch, 2*fillWorkers)
	for range cap(empty) {
		empty <- &rowBatch{}
	}
	var mu sync.Mutex // the view's, and container
	for range fillWorkers {
		work.Go(func() error {
			one := m.clone()
			objects, entries := make([]index.Object, 0, loadTogether), make([]*entry, 0, loadTogether)
			for b := range full {
				objects, entries = objects[:0], entries[:0]
				err := b.each(func(raw [][]byte) error {
					o, e, err := one.row(raw)
					if err != nil {
						return err
					}
					one.attach(&o, e, m.linksOf(o.ID))
					objects = append(objects, o)
					if e != nil {
						entries = append(entries, e)
					}
					return nil
				})
				if err != nil {
					return err
				}
				if err := l.Add(objects); err != nil {
					return err
				}
				mu.Lock()
				for _, e := range entries {
					v.add(e)
					if e.class == "dMD" {
						container = e.id
					}
				}
				mu.Unlock()
				b.bytes, b.ends = b.bytes[:0], b.ends[:0]
				empty <- b
			}
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(m.lost, one.lost)
			return nil
		})
	}
	work.Go(func() error {
		defer close(full)
		for {
			var b *rowBatch
			select {
			case b = <-empty:
			case <-ctx.Done():
				return ctx.Err()
			}
			for n := 0; n < loadTogether && rows.Next(); n++ {
				b.keep(rows.RawValues())
			}
			if len(b.ends) == 0 {
				return rows.Err()
			}
			if len(b.ends)%rowColumns != 0 {
				return fault.New(fault.Internal, "rows of objects have other columns")
			}
			select {
			case full <- b:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	err = work.Wait()
	return container, err
}

// fillWorkers is how many goroutines make objects of rows.
const fillWorkers = 3

// clone is a mirror that another goroutine uses.
func (m *mirror) clone() *mirror {
	c := *m
	c.names, c.lost, c.shared = map[int32]string{}, map[string]bool{}, map[string]string{}
	return &c
}

// linksOf gives the links of an object among those that readAll read.
func (m *mirror) linksOf(id directory.ObjectID) []linkRow {
	from := sort.Search(len(m.sources), func(i int) bool { return directory.ObjectID(m.sources[i].source) >= id })
	to := from
	for to < len(m.sources) && directory.ObjectID(m.sources[to].source) == id {
		to++
	}
	return m.sources[from:to]
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
