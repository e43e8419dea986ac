package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/access"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// maxMoved bounds the accounts and groups that go to another domain at once:
// each of them gets another SID.
const maxMoved = 20000

// MoveEntry implements tree.Tree. What is below comes along; the accounts and
// groups of a subtree that goes to another domain keep mailbox, groups and
// addresses and get a SID of that domain, with the one before in sIDHistory.
func (s *Store) MoveEntry(ctx context.Context, as directory.Principal, dn tree.DN, rdn tree.RDN, deleteOld bool, superior *tree.DN, o tree.Options) (done tree.Written, err error) {
	defer fault.Wrap(&err, "move %s", dn)
	r, err := s.rightsOf(ctx, as)
	if err != nil {
		return done, err
	}
	if len(rdn) != 1 {
		return done, tree.Refuse(tree.ResultNamingViolation, "a name with several values is not kept here")
	}
	err = s.write(ctx, actor{as: r.as, from: o.From, op: "move", name: dn.String()}, func(ctx context.Context, w *writing) error {
		done = tree.Written{}
		m, err := w.begin(ctx, r, dn, o)
		if err != nil {
			return err
		}
		if err := m.move(ctx, rdn[0], deleteOld, superior); err != nil {
			return err
		}
		done = tree.Written{ID: m.o.id, USN: w.usn, Pre: m.pre}
		return nil
	})
	if err != nil {
		return tree.Written{}, err
	}
	return done, s.postRead(ctx, r, &done, o)
}

func (m *modification) move(ctx context.Context, name tree.AVA, deleteOld bool, superior *tree.DN) error {
	o := m.o
	if m.fam == domain {
		return tree.Refuse(tree.ResultUnwillingToPerform, "a domain is neither renamed nor moved")
	}
	if m.fixed() {
		return tree.Refuse(tree.ResultUnwillingToPerform, "what every domain has stays where it is")
	}
	if err := m.rename(name, deleteOld); err != nil {
		return err
	}
	if o.rdnKey() == gravesKey && o.rdn != o.stored.rdn {
		return errGraves
	}
	if superior != nil {
		if err := m.under(ctx, *superior); err != nil {
			return err
		}
	}
	if o.rdn == o.stored.rdn && o.parent == o.stored.parent && !m.mayRename() {
		return errForbidden
	}
	if o.class == classMDB && o.rdn != o.stored.rdn {
		var used bool
		if err := m.w.QueryRow(ctx, `SELECT EXISTS (SELECT FROM directory.link WHERE attribute = $1 AND target = $2)`, linkHome, o.id).Scan(&used); err != nil {
			return err
		}
		if used {
			return tree.Refuse(tree.ResultUnwillingToPerform, "a mailbox database with mailboxes is not renamed")
		}
	}
	return m.save(ctx)
}

// mayRename tells whether the caller may write the naming attribute.
func (m *modification) mayRename() bool {
	a, ok := m.w.schema.Attribute(m.o.naming)
	return ok && m.perms.Write(a)
}

// rename gives another name in the same container.
func (m *modification) rename(name tree.AVA, deleteOld bool) error {
	o := m.o
	a, ok := m.w.schema.Attribute(o.naming)
	if !ok || rdnKey(name.Attribute, "x") != rdnKey(o.naming, "x") {
		return tree.Refuse(tree.ResultNamingViolation, "a %s is named by %s", o.class, o.naming)
	}
	value, err := cleanName(a, name.Value)
	if err != nil {
		return err
	}
	if value == o.rdn {
		return nil
	}
	if !m.perms.Write(a) {
		return errForbidden
	}
	values := decodeAll(a, o.attrs[a.Name])
	if i := indexOf(a, values, o.rdn); i >= 0 && (deleteOld || valueKey(a, value) == valueKey(a, o.rdn)) {
		values = slices.Delete(values, i, i+1)
	}
	if indexOf(a, values, value) < 0 {
		values = append([]string{value}, values...)
	}
	if a.Single && len(values) > 1 {
		return tree.Refuse(tree.ResultConstraintViolation, "%s has one value: the old one goes", a.Name)
	}
	o.attrs[a.Name] = encodeAll(a, values)
	o.rdn = value
	return nil
}

// under moves the object, with everything below it, to another container.
func (m *modification) under(ctx context.Context, superior tree.DN) error {
	o, w := m.o, m.w
	spots, err := w.resolve(ctx, superior)
	if err != nil {
		return err
	}
	to := &spots[0]
	if !to.there() || !m.r.at(to).Visible() {
		return w.absent(m.r, to, superior)
	}
	if to.id == o.parent {
		return nil
	}
	if to.id == o.id || slices.Contains(to.chain, o.id) {
		return tree.Refuse(tree.ResultUnwillingToPerform, "an object cannot be below itself")
	}
	if to.isGraves() {
		return tree.Refuse(tree.ResultUnwillingToPerform, "to remove something, delete it")
	}
	class, ok := w.schema.Class(o.class)
	up, okUp := w.schema.Class(to.class)
	if !ok || !okUp || !mayBeUnder(class, up) {
		return tree.Refuse(tree.ResultNamingViolation, "a %s cannot be below a %s", o.class, to.class)
	}
	if !m.r.at(to).Create(class) {
		return errForbidden
	}
	if err := m.mayGo(ctx, class); err != nil {
		return err
	}
	depth, err := w.depthBelow(ctx, o.id)
	if err != nil {
		return err
	}
	if len(to.chain)+1+depth >= maxDepth {
		return tree.Refuse(tree.ResultAdminLimit, "containers nested too deep")
	}
	// The contexts of configuration and schema are apart from the domains.
	if inConfiguration(w, m.spot.chain) != inConfiguration(w, append([]directory.ObjectID{to.id}, to.chain...)) {
		return tree.Refuse(tree.ResultAffectsMultipleDSAs, "the configuration is apart")
	}
	o.parent = to.id
	if to.domain != m.spot.domain {
		return m.otherDomain(ctx, to)
	}
	return nil
}

// inConfiguration tells whether a chain of containers passes the configuration.
func inConfiguration(w *writing, chain []directory.ObjectID) bool {
	return slices.ContainsFunc(chain, func(id directory.ObjectID) bool {
		e := w.store.view.get(id)
		return e != nil && e.class == "configuration"
	})
}

// mayGo tells whether the caller may take the object away from where it is: by
// a right on it or on its container (MS-ADTS 3.1.1.5.4.1).
func (m *modification) mayGo(ctx context.Context, class *schema.Class) error {
	if m.perms.May(access.Delete) {
		return nil
	}
	if m.r.protects(m.o) {
		return errForbidden
	}
	up, err := m.w.spotOf(ctx, m.o.parent)
	if err != nil {
		return err
	}
	if !m.r.at(&up).DeleteChild(class) {
		return errForbidden
	}
	return nil
}

// spotOf is resolve for an object whose id is known.
func (w *writing) spotOf(ctx context.Context, id directory.ObjectID) (s spot, err error) {
	s.id = id
	err = w.QueryRow(ctx, `SELECT class, rdn, sid, deleted IS NOT NULL, kind FROM directory.object WHERE id = $1`, id).
		Scan(&s.class, &s.rdn, &s.sid, &s.deleted, &s.kind)
	if err != nil {
		return s, err
	}
	return s, w.climb(ctx, &s)
}

// depthBelow is how many levels there are below an object.
func (w *writing) depthBelow(ctx context.Context, id directory.ObjectID) (depth int, err error) {
	err = w.QueryRow(ctx, `
		WITH RECURSIVE below (id, depth) AS (
			SELECT $1::bigint, 0 UNION ALL SELECT o.id, b.depth + 1 FROM below b, LATERAL (SELECT id FROM directory.object WHERE parent = b.id AND deleted IS NULL OFFSET 0) o)
		SELECT max(depth) FROM below`, id).Scan(&depth)
	return depth, err
}

// otherDomain gives the accounts and groups of the subtree SIDs of the domain
// that they move to. Groups that are primary ones cannot go: their members stay.
func (m *modification) otherDomain(ctx context.Context, to *spot) error {
	o := m.o
	if m.fam.principal() {
		if o.builtIn() {
			return tree.Refuse(tree.ResultUnwillingToPerform, "a built-in group stays in its domain")
		}
		o.changeSID(ownSID(to.domSID, o.id))
		m.defaultGroup()
	}
	const below = `
		WITH RECURSIVE below (id) AS (
			SELECT id FROM directory.object WHERE parent = $1 AND deleted IS NULL
			UNION ALL SELECT o.id FROM below b, LATERAL (SELECT id FROM directory.object WHERE parent = b.id AND deleted IS NULL OFFSET 0) o)`
	var principals int
	var primary string
	b := &pgx.Batch{}
	b.Queue(below+` SELECT count(*) FROM below JOIN directory.object o USING (id) WHERE o.sid <> ''`, o.id).QueryRow(func(r pgx.Row) error {
		return r.Scan(&principals)
	})
	b.Queue(below+`
		SELECT coalesce(min(g.rdn), '') FROM (SELECT id FROM below UNION SELECT $1) m JOIN directory.object g USING (id)
		JOIN directory.object u ON u.attributes -> 'primaryGroupID' ->> 0 NOT IN ('513', '515') AND substr(u.sid, 1, 24) = substr(g.sid, 1, 24)
			AND directory.le32((u.attributes -> 'primaryGroupID' ->> 0)::bigint) = substr(g.sid, 25, 4) AND u.deleted IS NULL
		WHERE g.class = 'group' AND length(g.sid) = 28`, o.id).QueryRow(func(r pgx.Row) error {
		return r.Scan(&primary)
	})
	if err := m.w.Batch(ctx, b); err != nil {
		return err
	}
	if principals > maxMoved {
		return tree.Refuse(tree.ResultAdminLimit, "at most %d accounts and groups go to another domain at once: move parts of it", maxMoved)
	}
	if primary != "" {
		return tree.Refuse(tree.ResultUnwillingToPerform, "%s is the primary group of others", primary)
	}
	if principals == 0 {
		return nil
	}
	m.extra = append(m.extra, func(b *pgx.Batch) {
		b.Queue(below+`
			, moved AS (
			UPDATE directory.object o SET usn_changed = $3, changed = now(), sid = directory.sid_below($2, $4 + o.id),
				attributes = o.attributes
					|| jsonb_build_object('sIDHistory', coalesce(o.attributes -> 'sIDHistory', '[]') || jsonb_build_array(encode(o.sid, 'base64')))
					|| CASE WHEN o.attributes ? 'primaryGroupID' THEN jsonb_build_object('primaryGroupID', jsonb_build_array(CASE o.class WHEN 'computer' THEN '515' ELSE '513' END)) ELSE '{}' END
			FROM below WHERE below.id = o.id AND length(o.sid) = 28 RETURNING o.id)
			UPDATE directory.change c SET usn = $3, at = now() FROM moved WHERE moved.id = c.object`,
			o.id, to.domSID, m.w.usn, firstRID)
	})
	return nil
}

// defaultGroup makes the primary group that of every account.
func (m *modification) defaultGroup() {
	if m.o.attrs.get("primaryGroupID") != "" {
		m.o.attrs.set("primaryGroupID")
		m.o.settle(m.fam)
	}
}

// fixedNames are what furnish makes below a domain, by class and key.
var fixedNames = map[string]bool{
	"container/cn=users": true, "container/cn=computers": true, "organizationalUnit/ou=domain controllers": true,
	"container/cn=system": true, "container/cn=foreignsecurityprincipals": true, "container/cn=deleted objects": true,
	"container/cn=services": true, "container/cn=waypost": true, "container/cn=mailbox databases": true,
	"container/cn=windows nt": true, "container/cn=extended-rights": true,
}

// fixedClasses are those of which furnish makes the only ones that matter.
var fixedClasses = map[string]bool{
	"configuration": true, "dMD": true, "sitesContainer": true, "subnetContainer": true, "crossRefContainer": true, "crossRef": true,
	"builtinDomain": true, "lostAndFound": true, "nTDSService": true, "msDS-PasswordSettingsContainer": true,
}

// fixed tells whether the object is one that every domain or the configuration
// has: it is neither moved nor removed but with the domain.
func (m *modification) fixed() bool {
	o := m.o
	if o.id == rootID || fixedClasses[o.class] || m.fam == group && o.builtIn() {
		return true
	}
	top := len(m.spot.chain) > 0 && m.spot.chain[0] == m.spot.domain || inConfiguration(m.w, m.spot.chain)
	return top && fixedNames[o.class+"/"+o.rdnKey()]
}
