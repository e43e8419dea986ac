package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/index"
	"waypost/internal/pgdb"
)

// reading is what a look finds: the changes, and what changed as it is now.
type reading struct {
	changes []directory.Change
	usn     directory.USN
	more    bool
	objects []index.Object
	entries map[directory.ObjectID]*entry
	made    directory.ObjectID // a schema container that is new
	extends bool               // the schema changed
}

// changedSQL names the objects of the next changes; it is changesSQL without
// their values.
const changedSQL = `
	SELECT object FROM directory.change WHERE usn > $1 AND usn <= coalesce(
		(SELECT usn FROM directory.change WHERE usn > $1 ORDER BY usn, object OFFSET $2 - 1 LIMIT 1), 9223372036854775807)`

// readFrom reads the next changes after a USN and what they changed, in one
// round trip. Of links, only what came and went since the view was whole is read
// (an object that changes again has only its newest change in the log); all of
// them when the look before is too long ago to know what went.
func (s *Store) readFrom(ctx context.Context, tx *pgdb.Tx, since, whole directory.USN, lately bool) (*reading, error) {
	r := &reading{entries: map[directory.ObjectID]*entry{}}
	m := s.newMirror(s.Schema())
	b := &pgx.Batch{}
	b.Queue(`SELECT usn, ` + byIndex + ` FROM directory.forest`).QueryRow(func(row pgx.Row) error { return row.Scan(&r.usn, nil) })
	b.Queue(changesSQL, since, step).Query(func(rows pgx.Rows) (err error) {
		r.changes, err = scanChanges(rows)
		return err
	})
	b.Queue(`SELECT id, attribute FROM directory.reference`).Query(m.readRefs)
	b.Queue(`SELECT object, attribute FROM directory.cold WHERE place = 0 AND object IN (`+changedSQL+`)`, since, step).Query(m.readCold)
	came, arguments := `SELECT source, target, attribute FROM directory.link WHERE source IN (`+changedSQL+`) `, []any{since, step}
	if lately {
		// Whose source has changed is known: a link comes and goes with a change of it.
		came, arguments = `SELECT source, target, attribute FROM directory.link WHERE usn > $1 `, []any{whole}
		b.Queue(`
			SELECT u.source, u.target, u.attribute FROM directory.unlinked u WHERE u.before >= $1
			AND NOT EXISTS (SELECT FROM directory.link l WHERE l.source = u.source AND l.attribute = u.attribute AND l.target = u.target)`, whole).Query(func(rows pgx.Rows) error {
			return m.readLinks(rows, func(one linkRow) {
				id := directory.ObjectID(one.source)
				m.unlinked[id] = append(m.unlinked[id], one)
			})
		})
	}
	b.Queue(came, arguments...).Query(func(rows pgx.Rows) error {
		err := m.readLinks(rows, func(one linkRow) {
			id := directory.ObjectID(one.source)
			m.links[id] = append(m.links[id], one)
		})
		for _, list := range m.links { // by PostgreSQL it would read the whole key in order
			slices.SortFunc(list, linkRow.compare)
		}
		return err
	})
	b.Queue(rowChangedSQL, since, step).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			o, e, err := m.row(rows.RawValues())
			if err != nil {
				return err
			}
			r.extends = r.extends || o.Class == "attributeSchema" || o.Class == "classSchema"
			if o.Class == "dMD" && !o.Deleted {
				r.made = o.ID
			}
			if lately && o.Created <= whole {
				m.relink(s, &o, e)
			} else {
				m.attach(&o, e, m.links[o.ID])
			}
			if e != nil {
				r.entries[o.ID] = e
			}
			r.objects = append(r.objects, o)
		}
		return rows.Err()
	})
	if err := tx.Batch(ctx, b); err != nil {
		return nil, err
	}
	if r.more = len(r.changes) >= step; r.more {
		r.usn = r.changes[len(r.changes)-1].USN
	}
	m.report(s.log)
	return r, nil
}

// applyIndex brings the index to what was read.
func (s *Store) applyIndex(ctx context.Context, tx *pgdb.Tx, r *reading) error {
	x := s.index.Load()
	there := make(map[directory.ObjectID]bool, len(r.objects))
	for i := range r.objects {
		there[r.objects[i].ID] = true
	}
	var gone []directory.ObjectID
	for _, c := range r.changes {
		if !there[c.ID] {
			gone = append(gone, c.ID)
		}
	}
	sch := s.Schema()
	if r.extends {
		var err error
		if sch, err = s.readSchema(ctx, tx); err != nil {
			return err
		}
		s.schema.Store(sch)
		x.SetSchema(sch)
	}
	sortByDepth(r.objects)
	if r.made != 0 {
		r.objects = append(r.objects, schemaObjects(sch, r.made)...)
	}
	return x.Apply(r.usn, r.objects, gone)
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
