package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// spot is where a name leads in a transaction that holds the counter row.
type spot struct {
	id      directory.ObjectID // 0: nobody has the name
	class   string
	rdn     string
	sid     []byte
	deleted bool
	kind    directory.Kind
	chain   []directory.ObjectID // the containers, nearest first, the root last
	domain  directory.ObjectID   // nearest domain at or above; 0 of the root
	domSID  []byte
	left    int // RDNs of the name that lead no further
}

// path is a name as the tables are asked for it: a start and the keys of the
// RDNs from there down.
type path struct {
	start directory.ObjectID
	keys  []string
	whole int // RDNs of the name
	base  int // RDNs that start stands for
}

// split finds the naming context of a name: the longest run of DC components
// that names a domain of ours.
func (w *writing) split(ctx context.Context, dn tree.DN) (p path, err error) {
	p.whole = len(dn)
	labels := dn.Labels()
	for i := range labels {
		name, err := directory.FoldDomain(strings.Join(labels[i:], "."))
		if err != nil {
			continue
		}
		d, ok := w.domains[name]
		if !ok {
			if e := w.store.view.find(nameDomain, name); e != nil {
				d, ok = domainRef{id: e.id}, true
			} else if d, err = w.domainNamed(ctx, name); err == nil {
				ok = true
			} else if !notFound(err) {
				return p, err
			}
		}
		if ok {
			p.start, p.base = d.id, len(labels)-i
			break
		}
	}
	if p.start == 0 {
		return p, nil
	}
	for i := len(dn) - p.base - 1; i >= 0; i-- {
		p.keys = append(p.keys, dn[i].Key())
	}
	return p, nil
}

// keySeparator is in no key of an RDN as it is stored: control characters are
// refused in names, but for the one of tombstones.
const keySeparator = "\x1f"

// resolve finds where names lead, in one question for all of them. Special
// forms (<GUID=…>, <SID=…>, <WKGUID=…>) are names too. Tombstones are found.
func (w *writing) resolve(ctx context.Context, dns ...tree.DN) ([]spot, error) {
	b := &pgx.Batch{}
	q, err := w.ask(ctx, b, dns)
	if err != nil {
		return nil, err
	}
	if b.Len() > 0 {
		if err := w.Batch(ctx, b); err != nil {
			return nil, err
		}
	}
	return q.spots, q.finish(ctx, w)
}

// question is resolve under way.
type question struct {
	dns   []tree.DN
	paths []path
	spots []spot
}

// ask puts the question into a batch; finish completes the answer.
func (w *writing) ask(ctx context.Context, b *pgx.Batch, dns []tree.DN) (*question, error) {
	q := &question{dns: dns, paths: make([]path, len(dns)), spots: make([]spot, len(dns))}
	var (
		at     []int32
		starts []directory.ObjectID
		keys   []string
	)
	for i, dn := range dns {
		q.spots[i].left = len(dn)
		if form, value := dn.Special(); form != "" {
			id, err := w.special(ctx, form, value, dn)
			if err != nil {
				return nil, err
			}
			if id != 0 {
				q.paths[i] = path{start: id, whole: len(dn), base: len(dn)}
			}
		} else if p, err := w.split(ctx, dn); err != nil {
			return nil, err
		} else {
			q.paths[i] = p
		}
		if q.paths[i].start != 0 {
			at, starts = append(at, int32(i)), append(starts, q.paths[i].start) //nolint:gosec // few
			keys = append(keys, strings.Join(q.paths[i].keys, keySeparator))
		}
	}
	if len(at) > 0 {
		b.Queue(walkSQL, at, starts, keys, keySeparator).Query(q.read)
	}
	return q, nil
}

// walkSQL goes down from a start, one key of an RDN after the other. LIMIT makes
// each step a look into the index, whatever the planner thinks of the rest.
const walkSQL = `
	WITH RECURSIVE walk (n, keys, depth, id) AS (
		SELECT n, string_to_array(NULLIF(k, ''), $4), 0, s FROM unnest($1::int[], $2::bigint[], $3::text[]) AS q (n, s, k)
		UNION ALL
		SELECT w.n, w.keys, w.depth + 1, o.id FROM walk w, LATERAL (
			SELECT id FROM directory.object WHERE parent = w.id AND rdn_key = w.keys[w.depth + 1] LIMIT 1) o)
	SELECT w.n, w.depth, o.id, coalesce(o.parent, 0), o.class, o.rdn, o.sid, o.deleted IS NOT NULL, o.kind
	FROM walk w, LATERAL (SELECT * FROM directory.object WHERE id = w.id LIMIT 1) o ORDER BY w.n, w.depth`

func (q *question) read(rows pgx.Rows) error {
	var (
		n, depth int32
		parent   directory.ObjectID
		s        spot
	)
	_, err := pgx.ForEachRow(rows, []any{&n, &depth, &s.id, &parent, &s.class, &s.rdn, &s.sid, &s.deleted, &s.kind}, func() error {
		to, p := &q.spots[n], &q.paths[n]
		chain := to.chain
		if depth == 0 {
			chain = []directory.ObjectID{parent}
		} else {
			chain = append([]directory.ObjectID{to.id}, chain...)
		}
		domain, domSID := to.domain, to.domSID
		if s.class == classDomain {
			domain, domSID = s.id, slices.Clone(s.sid)
		}
		*to = s
		to.sid = slices.Clone(s.sid)
		to.chain, to.domain, to.domSID = chain, domain, domSID
		to.left = p.whole - p.base - int(depth)
		return nil
	})
	return err
}

// finish finds what is above objects that were not found by their names.
func (q *question) finish(ctx context.Context, w *writing) error {
	for i := range q.spots {
		if form, _ := q.dns[i].Special(); form != "" && q.spots[i].id != 0 {
			if err := w.climb(ctx, &q.spots[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// climb completes what is above an object that was not found by its name.
func (w *writing) climb(ctx context.Context, s *spot) error {
	rows, err := w.Query(ctx, `
		WITH RECURSIVE up (id, parent, class, sid, depth) AS (
			SELECT id, parent, class, sid, 0 FROM directory.object WHERE id = $1
			UNION ALL SELECT p.id, p.parent, p.class, p.sid, depth + 1 FROM up, LATERAL (SELECT * FROM directory.object WHERE id = up.parent LIMIT 1) p)
		SELECT id, class, sid FROM up ORDER BY depth`, s.id)
	if err != nil {
		return err
	}
	s.chain = nil
	var id directory.ObjectID
	var class string
	var sid []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &class, &sid}, func() error {
		if id != s.id {
			s.chain = append(s.chain, id)
		}
		if class == classDomain && s.domain == 0 {
			s.domain, s.domSID = id, slices.Clone(sid)
		}
		return nil
	})
	return err
}

// wellKnown are the containers of a domain that clients find by a GUID
// (MS-ADTS 6.1.1.4), in objectGUID's text.
var wellKnown = map[string]string{
	"A9D1CA15768811D1ADED00C04FD8D5CD": "cn=users",
	"AA312825768811D1ADED00C04FD8D5CD": "cn=computers",
	"A361B2FFFFD211D1AA4B00C04FD7D83A": "ou=domain controllers",
	"18E2EA80684F11D2B9AA00C04F79F805": "cn=deleted objects",
	"AB8153B7768811D1ADED00C04FD8D5CD": "cn=lostandfound",
	"AB1D30F3768811D1ADED00C04FD8D5CD": "cn=system",
	"22B70C67D56E4EFB91E9300FCA3DC1AA": "cn=foreignsecurityprincipals",
}

// special finds the object of a name that is none.
func (w *writing) special(ctx context.Context, form, value string, dn tree.DN) (id directory.ObjectID, err error) {
	switch form {
	case tree.ByGUID:
		err = w.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM directory.object WHERE guid = $1`, guidText(value)).Scan(&id)
	case tree.BySID:
		err = w.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM directory.object WHERE sid = $1 AND sid <> ''`, []byte(value)).Scan(&id)
	case tree.ByWellKnown:
		key := wellKnown[hexOf(value)]
		if key == "" {
			return 0, nil
		}
		above, err := w.resolve(ctx, dn[1:])
		if err != nil || above[0].left > 0 || above[0].id == 0 {
			return 0, err
		}
		err = w.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM directory.object WHERE parent = $1 AND rdn_key = $2`, above[0].id, key).Scan(&id)
		return id, err
	}
	return id, err
}

// there tells whether the whole name led to something that is not removed.
func (s *spot) there() bool { return s.id != 0 && s.left == 0 && !s.deleted }

// names gives the names of objects as the transaction sees them.
func (w *writing) names(ctx context.Context, ids []directory.ObjectID) (map[directory.ObjectID]tree.DN, error) {
	found := make(map[directory.ObjectID]tree.DN, len(ids))
	if len(ids) == 0 {
		return found, nil
	}
	rows, err := w.Query(ctx, `
		WITH RECURSIVE up (n, id, depth) AS (
			SELECT n, n, 0 FROM unnest($1::bigint[]) n
			UNION ALL SELECT up.n, o.parent, depth + 1 FROM up, LATERAL (SELECT * FROM directory.object WHERE id = up.id LIMIT 1) o WHERE o.class <> $2)
		SELECT up.n, split_part(o.rdn_key, '=', 1), o.rdn, o.class FROM up, LATERAL (SELECT * FROM directory.object WHERE id = up.id LIMIT 1) o ORDER BY up.n, depth`, ids, classDomain)
	if err != nil {
		return nil, err
	}
	var id directory.ObjectID
	var naming, rdn, class string
	_, err = pgx.ForEachRow(rows, []any{&id, &naming, &rdn, &class}, func() error {
		if class == classDomain {
			found[id] = append(found[id], tree.DomainDN(rdn)...)
		} else if rdn != "" {
			found[id] = append(found[id], tree.RDN{{Attribute: naming, Value: rdn}})
		}
		return nil
	})
	return found, err
}

func notFound(err error) bool { return fault.Of(err) == fault.NotFound }

// guidText is the text of an objectGUID in LDAP's order of bytes, as PostgreSQL
// reads it.
func guidText(b string) string {
	if len(b) != 16 {
		return "00000000-0000-0000-0000-000000000000"
	}
	return schema.FormatGUID([16]byte([]byte(b)))
}

func parseGUID(text string) ([16]byte, bool) { return schema.ParseGUID(text) }
