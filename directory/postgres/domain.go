package postgres

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"waypost/directory"
	"waypost/internal/fault"
)

// AddDomain implements directory.Directory.
func (s *Store) AddDomain(ctx context.Context, as directory.Principal, name string) (d directory.Domain, err error) {
	defer fault.Wrap(&err, "add domain %s", name)
	if err := s.may(ctx, as, change); err != nil {
		return d, err
	}
	name, err = directory.FoldDomain(name)
	if err != nil {
		return d, err
	}
	err = s.write(ctx, actor{as: as, op: "add domain"}, func(ctx context.Context, w *writing) error {
		o := &object{
			id: w.newObject(), guid: newGUID(), parent: rootID, class: classDomain, naming: "dc", rdn: name, exact: true,
			attrs: attributes{"dc": {strings.SplitN(name, ".", 2)[0]}},
		}
		if err := w.save(ctx, o, true); err != nil {
			return err
		}
		if err := w.furnish(ctx, o.id); err != nil {
			return err
		}
		d = directory.Domain{ID: o.id, Name: name, Created: o.created}
		return nil
	})
	return d, err
}

// RemoveDomain implements directory.Directory. A domain in which anybody has an
// address, or lives, is refused (Conflict); organisational units without
// anything in them go with it.
func (s *Store) RemoveDomain(ctx context.Context, as directory.Principal, name string) (err error) {
	defer fault.Wrap(&err, "remove domain %s", name)
	if err := s.may(ctx, as, change); err != nil {
		return err
	}
	if name, err = directory.FoldDomain(name); err != nil {
		return err
	}
	return s.write(ctx, actor{as: as, op: "remove domain"}, func(ctx context.Context, w *writing) error {
		return w.removeDomain(ctx, name)
	})
}

// removeDomain takes a domain with what furnish made below it and empty
// organisational units away for good; what was removed from it before stays a
// tombstone of the forest's first domain. The configuration moves to the next
// domain when the first one goes.
func (w *writing) removeDomain(ctx context.Context, name string) error {
	d, err := w.domainNamed(ctx, name)
	if err != nil {
		return err
	}
	var used bool
	err = w.QueryRow(ctx, `
		WITH RECURSIVE tree (id, class, sid) AS (
			SELECT id, class, sid FROM directory.object WHERE id = $1
			UNION ALL SELECT o.id, o.class, o.sid FROM directory.object o JOIN tree t ON o.parent = t.id
			WHERE o.deleted IS NULL AND o.class <> 'configuration')
		SELECT EXISTS (SELECT FROM tree WHERE id <> $1 AND class <> ALL ($3) AND NOT `+builtInSQL+`)
			OR EXISTS (SELECT FROM directory.name WHERE kind IN (1, 2) AND right(key, length($2) + 1) = '@' || $2)`,
		d.id, name, furniture).Scan(&used)
	if err != nil {
		return err
	}
	if used {
		return fault.New(fault.Conflict, "domain %s still has users or groups", name)
	}
	var heir, graves directory.ObjectID // the next first domain, and its container of tombstones
	err = w.QueryRow(ctx, `
		SELECT h.id, g.id FROM directory.object h JOIN directory.object g ON g.parent = h.id AND g.rdn_key = 'cn=deleted objects'
		WHERE h.class = $2 AND h.deleted IS NULL AND h.id <> $1 ORDER BY h.id LIMIT 1`, d.id, classDomain).Scan(&heir, &graves)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	b := &pgx.Batch{}
	if heir != 0 {
		b.Queue(`
			WITH moved AS (
				UPDATE directory.object o SET parent = $2, usn_changed = $3 FROM directory.object p
				WHERE p.parent = $1 AND o.parent = p.id AND o.deleted IS NOT NULL RETURNING o.id)
			UPDATE directory.change c SET usn = $3 FROM moved m WHERE c.object = m.id`, d.id, graves, w.usn)
		b.Queue(`
			WITH moved AS (
				UPDATE directory.object SET parent = $2, usn_changed = $3 WHERE parent = $1 AND class = 'configuration' RETURNING id)
			UPDATE directory.change c SET usn = $3 FROM moved m WHERE c.object = m.id`, d.id, heir, w.usn)
	}
	if err := w.Batch(ctx, b); err != nil {
		return err
	}
	rows, err := w.Query(ctx, `
		WITH RECURSIVE tree (id, depth) AS (
			SELECT id, 0 FROM directory.object WHERE id = $1
			UNION SELECT l.source, 99 FROM directory.link l JOIN directory.object c ON c.id = l.source AND c.class = 'crossRef' WHERE l.target = $1
			UNION ALL SELECT o.id, depth + 1 FROM directory.object o JOIN tree t ON o.parent = t.id)
		SELECT id FROM tree GROUP BY id ORDER BY max(depth) DESC`, d.id)
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[directory.ObjectID])
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := w.erase(ctx, id); err != nil {
			return err
		}
	}
	clear(w.domains)
	return nil
}

// furniture are the classes of what furnish makes, beside the built-in groups.
var furniture = []string{
	classOU, "container", "builtinDomain", "lostAndFound", "msDS-PasswordSettingsContainer",
}

// builtInSQL tells of the columns sid and class whether it is a built-in group.
const builtInSQL = `(class = 'group' AND length(sid) IN (16, 28)
	AND get_byte(sid, length(sid) - 1) = 0 AND get_byte(sid, length(sid) - 2) = 0 AND get_byte(sid, length(sid) - 3) < 4)`

// builtIn tells whether o is a group that furnish made: its RID is below 1,000.
func (o *object) builtIn() bool {
	n := len(o.sid)
	return n >= 16 && binary.LittleEndian.Uint32(o.sid[n-4:]) < firstRID
}

// furnish makes what every domain has, and the first one for the forest.
func (w *writing) furnish(ctx context.Context, domain directory.ObjectID) error {
	if err := w.QueryRow(ctx, `SELECT directory.furnish($1, $2, $3)`, domain, w.usn, w.counters.object).Scan(&w.counters.object); err != nil {
		return err
	}
	err := w.QueryRow(ctx, `
		SELECT CASE count(*) WHEN 1 THEN directory.address_lists($1, $2) ELSE $2 END
		FROM directory.object WHERE class = $3 AND deleted IS NULL`, w.usn, w.counters.object, classDomain).Scan(&w.counters.object)
	clear(w.domains)
	return err
}

// Domains implements directory.Directory, by name.
func (s *Store) Domains(ctx context.Context, as directory.Principal) (all []directory.Domain, err error) {
	defer fault.Wrap(&err, "list domains")
	if err := s.may(ctx, as, seeAll); err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `SELECT id, rdn, created FROM directory.object WHERE parent = $1 AND class = $2`, rootID, classDomain)
	if err != nil {
		return nil, err
	}
	all, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (d directory.Domain, err error) {
		err = r.Scan(&d.ID, &d.Name, &d.Created)
		return d, err
	})
	slices.SortFunc(all, func(a, b directory.Domain) int { return strings.Compare(a.Name, b.Name) })
	return all, err
}

// domainRef is a domain of ours.
type domainRef struct {
	id  directory.ObjectID
	sid []byte
}

// domainNamed gives a domain of ours; one writing asks once.
func (w *writing) domainNamed(ctx context.Context, name string) (d domainRef, err error) {
	if d, ok := w.domains[name]; ok {
		return d, nil
	}
	err = w.QueryRow(ctx, `SELECT o.id, o.sid FROM directory.name n JOIN directory.object o ON o.id = n.object WHERE n.kind = $1 AND n.key = $2`,
		int16(nameDomain), name).Scan(&d.id, &d.sid)
	if errors.Is(err, pgx.ErrNoRows) {
		return d, fault.New(fault.NotFound, "no such domain: %s", name)
	}
	if err == nil {
		w.domains[name] = d
	}
	return d, err
}

// linkHome is AD's link id of homeMDB.
const linkHome = 32

// setHome lets the mailbox of o live in the mailbox database of that name; the
// object of one that is new to the directory is made.
func (w *writing) setHome(ctx context.Context, o *object, name string) (err error) {
	if name, err = cleanText("homeMDB", name); err != nil {
		return err
	}
	if name == o.homeMDB {
		return nil
	}
	o.home, o.homeMDB = 0, name
	if name == "" {
		return nil
	}
	if id, ok := w.homes[name]; ok {
		o.home = id
		return nil
	}
	var place directory.ObjectID
	err = w.QueryRow(ctx, `
		SELECT p.id, coalesce(m.id, 0) FROM directory.object p JOIN directory.object s ON s.id = p.parent AND s.rdn_key = 'cn=waypost'
		LEFT JOIN directory.object m ON m.parent = p.id AND m.rdn = $1 AND m.deleted IS NULL
		WHERE p.rdn_key = 'cn=mailbox databases' AND p.class = 'container' ORDER BY p.id LIMIT 1`, name).Scan(&place, &o.home)
	if errors.Is(err, pgx.ErrNoRows) {
		return fault.New(fault.NotFound, "no domain, so no place for a mailbox database")
	}
	if err != nil {
		return err
	}
	if o.home == 0 {
		mdb := &object{
			id: w.newObject(), guid: newGUID(), parent: place, class: classMDB, naming: "cn", rdn: name, exact: true,
			attrs: attributes{"cn": {name}, "deliveryMechanism": {"0"}},
		}
		if err := w.save(ctx, mdb, true); err != nil {
			return err
		}
		o.home = mdb.id
	}
	w.homes[name] = o.home
	return nil
}

// container gives the organisational unit at path ("Sales/North") below the
// domain, making what is missing of it.
func (w *writing) container(ctx context.Context, domain directory.ObjectID, path string) (directory.ObjectID, error) {
	at := domain
	if path == "" {
		return at, nil
	}
	steps := strings.Split(path, "/")
	if len(steps) > maxDepth/2 {
		return 0, fault.New(fault.Invalid, "organisational units nested too deep")
	}
	for _, step := range steps {
		step, err := cleanText("organisational unit", step)
		if err != nil {
			return 0, err
		}
		if step == "" {
			return 0, fault.New(fault.Invalid, "%q is not a path of organisational units", path)
		}
		ou := &object{parent: at, class: classOU, naming: "ou", rdn: step, exact: true, attrs: attributes{"ou": {step}}}
		err = w.QueryRow(ctx, `SELECT id FROM directory.object WHERE parent = $1 AND rdn_key = $2`, at, ou.rdnKey()).Scan(&at)
		switch {
		case err == nil:
			continue
		case !errors.Is(err, pgx.ErrNoRows):
			return 0, err
		}
		ou.id, ou.guid = w.newObject(), newGUID()
		if err := w.save(ctx, ou, true); err != nil {
			return 0, err
		}
		at = ou.id
	}
	return at, nil
}

// erase takes an object away for good, without a tombstone; what linked to it
// changes too.
func (w *writing) erase(ctx context.Context, id directory.ObjectID) error {
	b := &pgx.Batch{}
	logHolders(b, []directory.ObjectID{id}, w.usn)
	b.Queue(`
		INSERT INTO directory.change (object, usn, kind, gone, guid) SELECT id, $2, kind, true, guid FROM directory.object WHERE id = $1
		ON CONFLICT (object) DO UPDATE SET usn = $2, gone = true, enabled = false, epoch = directory.change.epoch + 1, at = now()`,
		id, w.usn)
	b.Queue(`DELETE FROM directory.object WHERE id = $1`, id)
	return w.Batch(ctx, b)
}

// logHolders logs a change of everything that links to ids, and tells whether
// there is any.
func logHolders(b *pgx.Batch, ids []directory.ObjectID, usn directory.USN) (some *bool) {
	some = new(bool)
	// As arrays: each is then a look into an index.
	b.Queue(`UPDATE directory.object SET usn_changed = $2, changed = now() WHERE id = ANY (ARRAY(`+holdersSQL+`))`, ids, usn).
		Exec(func(ct pgconn.CommandTag) error {
			*some = ct.RowsAffected() > 0
			return nil
		})
	b.Queue(`UPDATE directory.change SET usn = $2, at = now() WHERE object = ANY (ARRAY(`+holdersSQL+`))`, ids, usn)
	return some
}

// No DISTINCT and no order: the planner would read the whole key for it.
const holdersSQL = `SELECT source FROM directory.link WHERE target = ANY ($1) AND source <> target`

// newGUID makes an objectGUID in canonical text: the time in milliseconds and 74
// random bits (RFC 9562 §5.7), so that new objects stand together in the index
// of GUIDs, and not each on a page of its own.
func newGUID() string {
	var g [16]byte
	_, _ = rand.Read(g[:])                                                                                      // never fails
	binary.BigEndian.PutUint64(g[:], uint64(time.Now().UnixMilli())<<16|uint64(binary.BigEndian.Uint16(g[6:]))) //nolint:gosec // after 1970
	g[6], g[8] = g[6]&0x0f|0x70, g[8]&0x3f|0x80
	h := hex.EncodeToString(g[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
