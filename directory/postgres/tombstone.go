package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/access"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// maxRDN bounds the name in a container, in characters (AD: 255).
const maxRDN = 255

// fileTime writes an instant as AD's large integers do: units of 100 ns since
// 1601 (MS-DTYP 2.3.3).
func fileTime(t time.Time) string {
	return strconv.FormatInt(t.UnixMicro()*10+fileTimeEpoch, 10)
}

// fileTimeEpoch is 1970 in those units.
const fileTimeEpoch = 116444736000000000

// timeOfFile reads what fileTime writes.
func timeOfFile(n int64) time.Time { return time.UnixMicro((n - fileTimeEpoch) / 10).UTC() }

// burial is an object that is to become a tombstone.
type burial struct {
	o   *object
	by  actor // who is told of in the audit log
	usn directory.USN
}

// bury makes a tombstone of o; see buryAll.
func (w *writing) bury(ctx context.Context, o *object) error {
	return w.buryAll(ctx, []burial{{o, w.by, w.usn}}, nil)
}

// buryAll makes tombstones of objects (MS-ADTS 3.1.1.5.5.1): each moves to
// Deleted Objects of its domain under a name that nothing else can have, and
// keeps what identifies it, its last parent, and the attributes that the schema
// says. Its names are free, its links gone, its account cannot sign in any more.
// What it was linked from changes too. m, if not nil, is the memory of a writing
// that has written nothing yet: what it knows need not be asked or done.
func (w *writing) buryAll(ctx context.Context, list []burial, m *memory) error {
	if len(list) == 0 {
		return nil
	}
	last, err := w.reference(ctx, "lastKnownParent")
	if err != nil {
		return err
	}
	var (
		now         = time.Now().UTC().Truncate(time.Microsecond)
		kept        = make([]attributes, len(list))
		at          = make(map[directory.ObjectID]int, len(list))
		ids, above  []directory.ObjectID
		usns        []directory.USN
		guids       []string
		names, keys []string
		values      [][]byte
		lines       = &bulk{}
	)
	for i, l := range list {
		o := l.o
		kept[i] = w.keptOf(o)
		raw, err := json.Marshal(kept[i])
		if err != nil {
			return err
		}
		at[o.id] = i
		ids, above, usns, guids = append(ids, o.id), append(above, o.parent), append(usns, l.usn), append(guids, o.guid)
		names, keys, values = append(names, kept[i].get(o.naming)), append(keys, rdnKey(o.naming, kept[i].get(o.naming))), append(values, raw)
		o.usn = l.usn
		c := changed{}
		c.diff(o.attrs, nil)
		lines.audit(l.by, l.usn, o.id, o.label(), c)
	}
	places, err := w.gravesOf(ctx, above, m)
	if err != nil {
		return err
	}
	led, tied := true, true // links lead to some of them; there are any of theirs
	if m != nil {
		led, tied = m.x.Tied(ids)
	}
	b := &pgx.Batch{}
	others := new(bool)
	if led {
		others = logHolders(b, ids, slices.Max(usns))
	}
	if tied {
		b.Queue(`DELETE FROM directory.link WHERE source = ANY ($1) OR target = ANY ($1) AND attribute <> $2`, ids, last)
	}
	b.Queue(`
		WITH n AS (DELETE FROM directory.name WHERE object = ANY ($1)), c AS (DELETE FROM directory.cold WHERE object = ANY ($1)),
			l AS (INSERT INTO directory.link (attribute, source, target, usn) SELECT $2, * FROM unnest($1::bigint[], $3::bigint[], $4::bigint[]))
		DELETE FROM directory.account WHERE object = ANY ($1)`, ids, last, above, usns)
	graves := make([]grave, len(list))
	b.Queue(`
		UPDATE directory.object o SET deleted = now(), changed = $7, usn_changed = d.usn, attributes = d.raw, rdn = d.rdn, rdn_key = d.key, parent = d.place,
			kind = 0, address = '', name = '', home_mdb = '', quota = 0, hidden = false, roles = 0, terms = '', names = ''
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::jsonb[], $5::text[], $6::text[]) AS d (id, place, usn, raw, rdn, key)
		WHERE o.id = ANY ($1) AND o.id = d.id RETURNING o.id, o.parent, o.usn_created`, ids, places, usns, values, names, keys, now).Query(func(rows pgx.Rows) error {
		var id directory.ObjectID
		var g grave
		_, err := pgx.ForEachRow(rows, []any{&id, &g.in, &g.created}, func() error { graves[at[id]] = g; return nil })
		return err
	})
	b.Queue(`
		INSERT INTO directory.change AS c (object, usn, kind, gone, guid)
		SELECT id, usn, 0, true, guid FROM unnest($1::bigint[], $2::bigint[], $3::uuid[]) AS d (id, usn, guid)
		ON CONFLICT (object) DO UPDATE SET usn = excluded.usn, gone = true, enabled = false, epoch = c.epoch + 1, at = now()
		RETURNING c.object, c.usn, c.kind, c.epoch`, ids, usns, guids).Query(func(rows pgx.Rows) error {
		c := directory.Change{Gone: true}
		_, err := pgx.ForEachRow(rows, []any{&c.ID, &c.USN, &c.Kind, &c.Epoch}, func() error {
			graves[at[c.ID]].change = c
			return nil
		})
		return err
	})
	queueRows(b, lines.tables())
	return w.send(ctx, b, func() {
		for i, l := range list {
			w.own.bury(w.schema, l.o, kept[i], graves[i], now)
		}
		w.own.all = w.own.all && !*others
	})
}

// gravesOf gives for each container where tombstones of what it had come to lie:
// in that of the nearest domain, or of the configuration, above.
func (w *writing) gravesOf(ctx context.Context, containers []directory.ObjectID, m *memory) ([]directory.ObjectID, error) {
	places := make([]directory.ObjectID, len(containers))
	if m != nil {
		found := true
		for i, id := range containers {
			if places[i] = m.grave(id); places[i] == 0 {
				found = false
			}
		}
		if found {
			return places, nil
		}
	}
	rows, err := w.Query(ctx, `
		SELECT d.n, g.id FROM unnest($1::bigint[]) WITH ORDINALITY AS d (id, n),
		LATERAL (
			WITH RECURSIVE up (id, depth) AS (
				SELECT d.id, 0
				UNION ALL SELECT p.parent, depth + 1 FROM up, LATERAL (SELECT parent FROM directory.object WHERE id = up.id LIMIT 1) p)
			SELECT g.id FROM up, LATERAL (SELECT id FROM directory.object WHERE parent = up.id AND rdn_key = '`+gravesKey+`' LIMIT 1) g
			ORDER BY depth LIMIT 1) g`, containers)
	if err != nil {
		return nil, err
	}
	var n int
	var id directory.ObjectID
	left := len(places)
	if _, err := pgx.ForEachRow(rows, []any{&n, &id}, func() error { places[n-1] = id; left--; return nil }); err != nil {
		return nil, err
	}
	if left > 0 {
		return nil, fault.New(fault.Internal, "there is no container of removed objects")
	}
	return places, nil
}

// grave is where a tombstone came to lie.
type grave struct {
	in      directory.ObjectID
	created directory.USN // of the object
	change  directory.Change
}

// keptOf are the attributes that a tombstone has.
func (w *writing) keptOf(o *object) attributes {
	kept := attributes{"isDeleted": {"TRUE"}, "msDS-LastKnownRDN": {o.rdn}}
	for name, values := range o.attrs {
		if a, ok := w.schema.Attribute(name); ok && a.OnTombstone() {
			kept[name] = values
		}
	}
	kept[o.naming] = []string{o.rdn + "\nDEL:" + o.guid}
	// What it was says who may see and bring back it and what went with it.
	if acl := o.attrs[access.AttributeName]; len(acl) > 0 {
		kept[access.AttributeName] = acl
	}
	if o.protected() || w.store.guarded(o.id, func(directory.ObjectID) bool { return false }) {
		kept["adminCount"] = []string{"1"}
	}
	return kept
}

// linkNumber is the number that links of an attribute are stored under.
func (w *writing) linkNumber(ctx context.Context, a *schema.Attribute) (int32, error) {
	if a.LinkID != 0 {
		return int32(a.LinkID), nil //nolint:gosec // a link id has 31 bits
	}
	return w.reference(ctx, a.Name)
}

// reference gives the link number of an attribute that has none of AD; one that
// is new is made.
func (w *writing) reference(ctx context.Context, name string) (id int32, err error) {
	if id = w.refs[name]; id != 0 {
		return id, nil
	}
	if known, ok := w.store.refs.Load(name); ok {
		return known.(int32), nil //nolint:forcetypeassert // mirror puts nothing else there
	}
	err = w.QueryRow(ctx, `
		WITH made AS (
			INSERT INTO directory.reference (id, attribute) SELECT coalesce(max(id), 100000) + 1, $1 FROM directory.reference
			HAVING NOT EXISTS (SELECT FROM directory.reference WHERE attribute = $1) RETURNING id)
		SELECT id FROM made UNION ALL SELECT id FROM directory.reference WHERE attribute = $1`, name).Scan(&id)
	w.refs[name] = id
	return id, err
}

var errNoTombstone = tree.Refuse(tree.ResultNoSuchObject, "no such removed object")

// purgeTogether bounds the tombstones that one transaction takes away.
const purgeTogether = 500

// purge takes tombstones away for good whose time is over. Followers hear of it
// as of a change; what the change log has of them goes as much later again.
func (s *Store) purge(ctx context.Context) error {
	for {
		n := 0
		err := s.write(ctx, actor{as: directory.System("housekeeping"), op: "purge"}, func(ctx context.Context, w *writing) error {
			rows, err := w.Query(ctx, `
				SELECT id FROM directory.object WHERE deleted < now() - $1::interval ORDER BY deleted LIMIT $2`, goneFor, purgeTogether)
			if err != nil {
				return err
			}
			ids, err := collectIDs(rows)
			if err != nil {
				return err
			}
			for _, id := range ids {
				if err := w.erase(ctx, id); err != nil {
					return err
				}
			}
			n = len(ids)
			return nil
		})
		if err != nil || n < purgeTogether {
			return err
		}
	}
}
