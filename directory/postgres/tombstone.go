package postgres

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/access"
	"waypost/directory/schema"
	"waypost/directory/tree"
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

// bury makes a tombstone of o (MS-ADTS 3.1.1.5.5.1): it moves to Deleted
// Objects of its domain under a name that nothing else can have, and keeps what
// identifies it, its last parent, and the attributes that the schema says. Its
// names are free, its links gone, its account cannot sign in any more. What it
// was linked from changes too.
func (w *writing) bury(ctx context.Context, o *object) error {
	last, err := w.reference(ctx, "lastKnownParent")
	if err != nil {
		return err
	}
	kept := attributes{"isDeleted": {"TRUE"}, "msDS-LastKnownRDN": {o.rdn}}
	name := o.rdn + "\nDEL:" + o.guid
	for name, values := range o.attrs {
		if a, ok := w.schema.Attribute(name); ok && a.OnTombstone() {
			kept[name] = values
		}
	}
	kept[o.naming] = []string{name}
	// What it was says who may see and bring back it and what went with it.
	if acl := o.attrs[access.AttributeName]; len(acl) > 0 {
		kept[access.AttributeName] = acl
	}
	if o.protected() || w.store.guarded(o.id, func(directory.ObjectID) bool { return false }) {
		kept["adminCount"] = []string{"1"}
	}
	raw, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	b := &pgx.Batch{}
	w.logHolders(b, o.id)
	b.Queue(`DELETE FROM directory.name WHERE object = $1`, o.id)
	b.Queue(`DELETE FROM directory.link WHERE source = $1`, o.id)
	b.Queue(`DELETE FROM directory.link WHERE target = $1 AND attribute <> $2`, o.id, last)
	b.Queue(`DELETE FROM directory.cold WHERE object = $1`, o.id)
	b.Queue(`DELETE FROM directory.account WHERE object = $1`, o.id)
	b.Queue(`INSERT INTO directory.link (attribute, source, target, usn) VALUES ($1, $2, $3, $4)`, last, o.id, o.parent, w.usn)
	// The container of the nearest domain or the configuration above.
	b.Queue(`
		WITH RECURSIVE up (id, parent, depth) AS (
			SELECT id, parent, 0 FROM directory.object WHERE id = $2
			UNION ALL SELECT p.id, p.parent, depth + 1 FROM up, LATERAL (SELECT * FROM directory.object WHERE id = up.parent LIMIT 1) p)
		UPDATE directory.object o SET deleted = now(), changed = now(), usn_changed = $3, attributes = $4, rdn = $5, rdn_key = $6,
			parent = (SELECT g.id FROM up JOIN directory.object g ON g.parent = up.id AND g.rdn_key = 'cn=deleted objects' ORDER BY depth LIMIT 1),
			kind = 0, address = '', name = '', home_mdb = '', quota = 0, hidden = false, roles = 0, terms = '', names = ''
		WHERE o.id = $1`, o.id, o.parent, w.usn, raw, name, rdnKey(o.naming, name))
	b.Queue(`
		INSERT INTO directory.change (object, usn, kind, gone, guid) SELECT id, $2, kind, true, guid FROM directory.object WHERE id = $1
		ON CONFLICT (object) DO UPDATE SET usn = $2, gone = true, enabled = false, epoch = directory.change.epoch + 1, at = now()`,
		o.id, w.usn)
	o.usn = w.usn
	c := changed{}
	c.diff(o.attrs, nil)
	w.audit(b, o.id, o.label(), c)
	return w.Batch(ctx, b)
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
