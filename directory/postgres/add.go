package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"waypost/directory"
	"waypost/directory/access"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// NewEntry is an entry for AddEntries.
type NewEntry struct {
	DN         tree.DN
	Attributes []tree.Attribute
}

// Added is what became of one entry of AddEntries: its id, or why it was
// refused.
type Added struct {
	ID  directory.ObjectID
	Err error
}

// AddEntry implements tree.Tree.
func (s *Store) AddEntry(ctx context.Context, as directory.Principal, dn tree.DN, attrs []tree.Attribute, o tree.Options) (done tree.Written, err error) {
	defer fault.Wrap(&err, "add %s", dn)
	r, err := s.rightsOf(ctx, as)
	if err != nil {
		return done, err
	}
	d := newDraft(s.Schema(), dn, attrs)
	if d.err != nil {
		return done, d.err
	}
	if err := s.hashPassword(ctx, r.as, d); err != nil {
		return done, err
	}
	if d.err != nil {
		return done, d.err
	}
	d.r = r
	j := &job{ctx: ctx, by: actor{as: r.as, from: o.From, op: "add", name: dn.String()}}
	a := &adding{d: d, first: *d.o}
	j.fn = func(ctx context.Context, w *writing) error {
		a.by = j.by
		if err := w.addAll(ctx, []*adding{a}); err != nil {
			return err
		}
		return d.err
	}
	if !d.alone() {
		j.add = a
	}
	if err = s.do(j); err == nil {
		done = tree.Written{ID: d.o.id, USN: d.o.usn}
	}
	if err != nil {
		return tree.Written{}, err
	}
	return done, s.postRead(ctx, r, &done, o)
}

// adding is a new entry whose caller waits for it.
type adding struct {
	d     *draft
	first object // as it was before any try
	by    actor
}

// addAll adds entries of several callers; what is refused says so in its draft.
// It may run more than once.
func (w *writing) addAll(ctx context.Context, list []*adding) error {
	drafts := make([]*draft, len(list))
	for i, a := range list {
		d := a.d
		*d.o = a.first
		d.o.attrs, d.err, d.by = cloneAttributes(a.first.attrs), nil, &a.by
		drafts[i] = d
	}
	return w.addDrafts(ctx, drafts)
}

// AddEntries adds up to 5,000 entries in one transaction and tells of each what
// became of it: one that is refused leaves nothing, the others stay. A parent
// stands before its children; links may lead to any of them.
func (s *Store) AddEntries(ctx context.Context, as directory.Principal, list []NewEntry, o tree.Options) (added []Added, err error) {
	defer fault.Wrap(&err, "add %d entries", len(list))
	if len(list) > maxBulk {
		return nil, fault.New(fault.Limit, "at most %d entries at a time", maxBulk)
	}
	r, err := s.rightsOf(ctx, as)
	if err != nil {
		return nil, err
	}
	sch := s.Schema()
	drafts := make([]*draft, len(list))
	work, hashing := errgroup.WithContext(ctx)
	work.SetLimit(hashers)
	for i := range list {
		drafts[i] = newDraft(sch, list[i].DN, list[i].Attributes)
		if drafts[i].err == nil && drafts[i].password != "" {
			work.Go(func() error { return s.hashPassword(hashing, r.as, drafts[i]) })
		}
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	added = make([]Added, 0, len(list))
	for len(drafts) > 0 {
		n := 1
		// What others lean on at once, domains and the schema, goes alone.
		for !drafts[0].alone() && n < len(drafts) && !drafts[n].alone() {
			n++
		}
		part := drafts[:n]
		drafts = drafts[n:]
		firsts := make([]object, len(part))
		refused := make([]error, len(part))
		for i, d := range part {
			firsts[i], refused[i] = *d.o, d.err
		}
		by := actor{as: r.as, from: o.From, op: "import", name: strconv.Itoa(len(part)) + " entries from " + part[0].dn.String()}
		if len(part) == 1 {
			by.op, by.name = "add", part[0].dn.String()
		}
		err := s.write(ctx, by, func(ctx context.Context, w *writing) error {
			for i, d := range part {
				*d.o, d.err = firsts[i], refused[i]
				d.o.attrs, d.r = cloneAttributes(firsts[i].attrs), r
			}
			return w.addDrafts(ctx, part)
		})
		if err != nil && len(part) > 1 {
			return nil, err
		}
		for _, d := range part {
			a := Added{ID: d.o.id, Err: d.err}
			if a.Err == nil {
				a.Err = err
			}
			if a.Err != nil {
				a.ID = 0
			}
			added = append(added, a)
		}
		if part[0].schemaObject() && added[len(added)-1].Err == nil {
			// What was refused may be good with the schema of now.
			if r, err = s.rightsOf(ctx, as); err != nil {
				return nil, err
			}
			for i, d := range drafts {
				if d.err == nil {
					continue
				}
				e := &list[len(added)+i]
				drafts[i] = newDraft(s.Schema(), e.DN, e.Attributes)
				if drafts[i].err == nil {
					if err := s.hashPassword(ctx, r.as, drafts[i]); err != nil {
						return nil, err
					}
				}
			}
		}
	}
	return added, nil
}

func (d *draft) schemaObject() bool {
	return d.o.class == "attributeSchema" || d.o.class == "classSchema"
}

// alone tells whether what comes next may need what this one makes.
func (d *draft) alone() bool {
	return d.fam == domain || d.schemaObject()
}

func cloneAttributes(a attributes) attributes {
	c := make(attributes, len(a)+2)
	for k, v := range a {
		c[k] = v
	}
	return c
}

// addition is a set of entries that is being added.
type addition struct {
	w      *writing
	drafts []*draft
	local  map[string]*draft // by DN.Key: what was placed so far
	chains map[*draft][]directory.ObjectID
	sids   map[*draft][]byte // of their domains
	links  map[*draft]map[linkTo]bool
	b      *bulk

	targets []target
	spots   []spot // where the names lead: those of the drafts, then of the targets
	kinds   []int16
	texts   []string
	taken   nameSet
	made    map[*draft]bool  // their account name was not given
	named   map[int32]string // attributes by link number
}

// target is a value of DN syntax of a draft; at is its place among the spots.
type target struct {
	d  *draft
	a  *schema.Attribute
	to tree.DN
	at int
}

// linkTo is a value of an attribute of DN syntax.
type linkTo struct {
	attribute int32
	target    directory.ObjectID
}

// addDrafts adds entries; what is refused says so in its draft. An error is
// none of theirs and undoes all.
func (w *writing) addDrafts(ctx context.Context, drafts []*draft) error {
	a := &addition{
		w: w, drafts: drafts, local: make(map[string]*draft, len(drafts)),
		chains: map[*draft][]directory.ObjectID{}, sids: map[*draft][]byte{}, links: map[*draft]map[linkTo]bool{},
		made: map[*draft]bool{}, named: map[int32]string{}, b: &bulk{},
	}
	if len(drafts) == 1 && drafts[0].err == nil && drafts[0].fam == domain {
		return w.addDomainDraft(ctx, drafts[0])
	}
	for _, step := range []func(context.Context) error{a.place, a.link, a.nameAll, a.rows} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// addDomainDraft adds a domain by its name in the tree.
func (w *writing) addDomainDraft(ctx context.Context, d *draft) error {
	if !d.r.all() {
		d.err = errForbidden
		return nil
	}
	if _, err := w.domainNamed(ctx, d.o.rdn); err == nil {
		d.refuse(tree.ResultEntryAlreadyExists, "%s is there", d.o.rdn)
		return nil
	} else if !notFound(err) {
		return err
	}
	d.o.id, d.o.parent = w.newObject(), rootID
	if err := w.save(ctx, d.o, true); err != nil {
		return err
	}
	return w.furnish(ctx, d.o.id)
}

// place finds the containers, what links lead to and who has names already, and
// gives ids.
func (a *addition) place(ctx context.Context) error {
	var dns []tree.DN
	var asked []*draft
	for _, d := range a.drafts {
		if d.err != nil {
			continue
		}
		a.wantNames(d)
		dns, asked = append(dns, d.dn), append(asked, d)
	}
	for _, d := range a.drafts {
		if d.err != nil {
			continue
		}
		for i := range d.links {
			for _, dn := range d.links[i].names {
				a.targets = append(a.targets, target{d, d.links[i].a, dn, len(dns)})
				dns = append(dns, dn)
			}
		}
	}
	var err error
	if a.spots, a.taken, err = a.w.survey(ctx, dns, a.kinds, a.texts); err != nil {
		return err
	}
	for i, d := range asked {
		if d.err == nil {
			if d.err = a.put(d, &a.spots[i]); d.err == nil {
				a.local[d.dn.Key()] = d
			}
		}
	}
	return nil
}

// put gives a draft its place, or tells why it cannot have it.
func (a *addition) put(d *draft, s *spot) error {
	if a.local[d.dn.Key()] != nil {
		return tree.Refuse(tree.ResultEntryAlreadyExists, "%s comes twice", d.dn)
	}
	var parentClass string
	var perms *access.Permissions
	if up := a.local[d.dn[1:].Key()]; up != nil {
		d.o.parent, parentClass = up.o.id, up.o.class
		a.chains[d] = append([]directory.ObjectID{up.o.id}, a.chains[up]...)
		a.sids[d] = a.sids[up]
		perms = d.r.on(subject{id: up.o.id, class: up.o.class, chain: a.chains[up]})
	} else {
		switch {
		case s.id != 0 && s.left == 0:
			return a.w.occupied(d.r, s, d.dn)
		case s.id == 0 || s.left > 1 || s.deleted:
			return a.w.absent(d.r, s, d.dn)
		}
		d.o.parent, parentClass = s.id, s.class
		a.chains[d] = append([]directory.ObjectID{s.id}, s.chain...)
		a.sids[d] = s.domSID
		if perms = d.r.at(s); !perms.Visible() {
			return a.w.absent(d.r, s, d.dn)
		}
		if s.isGraves() {
			return tree.Refuse(tree.ResultUnwillingToPerform, "nothing is added to what was removed")
		}
	}
	if len(a.chains[d]) >= maxDepth {
		return tree.Refuse(tree.ResultAdminLimit, "containers nested too deep")
	}
	class := d.shape.Class
	if !perms.Create(class) {
		return errForbidden
	}
	if d.o.rdnKey() == gravesKey {
		return errGraves
	}
	if err := a.grants(d, perms); err != nil {
		return err
	}
	if up, ok := a.w.schema.Class(parentClass); !ok || !mayBeUnder(class, up) {
		return tree.Refuse(tree.ResultNamingViolation, "a %s cannot be below a %s", class.Name, parentClass)
	}
	if class.Name == "attributeSchema" || class.Name == "classSchema" {
		if _, err := schemaFor(a.w.schema, class.Name, d.o.attrs); err != nil {
			return err
		}
	}
	d.o.id = a.w.newObject()
	if d.fam.principal() {
		d.o.sid = ownSID(a.sids[d], d.o.id)
	}
	return nil
}

// grants refuses what makes more of an object than who makes it may give away.
func (a *addition) grants(d *draft, parent *access.Permissions) error {
	if len(d.o.attrs[access.AttributeName]) > 0 && !parent.May(access.Control) {
		return errForbidden
	}
	for name := range d.o.attrs {
		if above[name] && !d.r.all() {
			return errForbidden
		}
	}
	return nil
}

// mayBeUnder tells whether the schema lets a class lie below another: what may
// be below a class may be below its subclasses (MS-ADTS 3.1.1.2.4.1).
func mayBeUnder(c, parent *schema.Class) bool {
	return slices.ContainsFunc(parent.Chain(), func(up *schema.Class) bool {
		return c.MayBeUnder(up) && (up.Name != "top" || up == parent)
	})
}

// gravesKey is the name of the containers of tombstones, of which furnish makes
// one for each domain. Another would take what is removed near it.
const gravesKey = "cn=deleted objects"

var gravesRDN = tree.RDN{{Attribute: "cn", Value: "Deleted Objects"}}

var errGraves = tree.Refuse(tree.ResultUnwillingToPerform, "this name is for what was removed")

// isGraves tells whether s is a container of tombstones.
func (s *spot) isGraves() bool { return s.class == "container" && s.rdn == "Deleted Objects" }

// link notes what links lead to.
func (a *addition) link(ctx context.Context) error {
	for _, t := range a.targets {
		if t.d.err != nil {
			continue
		}
		// What another caller adds at the same time may be none of this one's
		// business; it is not there yet.
		if other := a.local[t.to.Key()]; other != nil && other.err == nil && other.r == t.d.r {
			a.lead(ctx, t.d, t.a, &spot{id: other.o.id, class: other.o.class, rdn: other.o.rdn})
			continue
		}
		if s := &a.spots[t.at]; !s.there() || !t.d.r.seesSpot(s) {
			t.d.err = tree.Refuse(tree.ResultConstraintViolation, "%s: no such object: %s", t.a.Name, t.to)
			continue
		}
		a.lead(ctx, t.d, t.a, &a.spots[t.at])
	}
	ours := func(domain string) bool { return a.w.isOurs(ctx, domain) }
	for _, d := range a.drafts {
		if d.err != nil {
			continue
		}
		if !d.r.all() {
			err := a.reach(ctx, d)
			var refused *tree.Refusal
			if err != nil && !errors.As(err, &refused) && !notFound(err) {
				return err
			}
			if d.err = err; err != nil {
				continue
			}
		}
		if d.o.home != 0 {
			d.o.mailbox = a.w.newMailbox()
			d.err = d.o.mailboxRules(ours)
		}
		if v := d.o.attrs.get("primaryGroupID"); v != "" && d.err == nil && v != map[family]string{person: strconv.Itoa(ridUsers), computer: strconv.Itoa(ridComputers)}[d.fam] {
			d.refuse(tree.ResultUnwillingToPerform, "who is new is in no other group yet")
		}
	}
	return nil
}

// lead notes where a link of a draft leads.
func (a *addition) lead(ctx context.Context, d *draft, attr *schema.Attribute, to *spot) {
	if attr.LinkID == linkHome {
		if err := checkHome(a.w.schema, to); err != nil {
			d.err = err
			return
		}
		d.o.home, d.o.homeMDB = to.id, to.rdn
		return
	}
	id, err := a.w.linkNumber(ctx, attr)
	if err != nil {
		d.err = err
		return
	}
	a.named[id] = attr.Name
	if a.links[d] == nil {
		a.links[d] = map[linkTo]bool{}
	}
	l := linkTo{id, to.id}
	if a.links[d][l] {
		d.err = tree.Refuse(tree.ResultValueExists, "%s has a value twice", attr.Name)
		return
	}
	a.links[d][l] = true
}

// checkHome wants a mailbox database.
func checkHome(sch *schema.Schema, to *spot) error {
	c, ok := sch.Class(to.class)
	mdb, _ := sch.Class("msExchMDB")
	if !ok || mdb == nil || !c.IsA(mdb) {
		return tree.Refuse(tree.ResultConstraintViolation, "homeMDB is a mailbox database")
	}
	return nil
}

// isOurs tells whether mail for a domain is received here.
func (w *writing) isOurs(ctx context.Context, domain string) bool {
	if w.store.view.find(nameDomain, domain) != nil {
		return true
	}
	_, err := w.domainNamed(ctx, domain)
	return err == nil
}

// wantNames asks about the names of a draft; an account name that was not given
// is made.
func (a *addition) wantNames(d *draft) {
	if d.fam.principal() && d.o.attrs.get("sAMAccountName") == "" {
		a.made[d] = true
		d.o.attrs.set("sAMAccountName", d.accountName(0))
	}
	d.o.settle(d.fam)
	dv, err := d.o.derive(a.w.schema)
	if err != nil {
		d.err = tree.Refuse(tree.ResultConstraintViolation, "%s", say(err))
		return
	}
	for _, k := range dv.keys {
		a.kinds, a.texts = append(a.kinds, int16(k.kind)), append(a.texts, k.key)
		switch k.kind {
		case nameAddress:
			a.kinds, a.texts = append(a.kinds, int16(nameUPN)), append(a.texts, k.key)
		case nameUPN:
			a.kinds, a.texts = append(a.kinds, int16(nameAddress)), append(a.texts, k.key)
		}
	}
}

// nameAll refuses names that others have.
func (a *addition) nameAll(ctx context.Context) error {
	taken, made := a.taken, a.made
	for _, d := range a.drafts {
		if d.err != nil {
			continue
		}
		if made[d] && taken.has(nameKey{nameAccount, directory.Fold(d.o.attrs.get("sAMAccountName"))}, d.o.id) {
			name, err := a.w.freeAccount(ctx, d.accountName(d.o.id))
			if err != nil {
				return err
			}
			d.o.attrs.set("sAMAccountName", name)
		}
		dv, err := d.o.derive(a.w.schema)
		if err != nil {
			d.err = tree.Refuse(tree.ResultConstraintViolation, "%s", say(err))
			continue
		}
		for _, k := range dv.keys {
			if taken.has(k, d.o.id) {
				d.err = errTaken(k)
				break
			}
		}
		if d.err != nil {
			continue
		}
		for _, k := range dv.keys {
			taken.take(k, d.o.id)
		}
		d.derived = dv
	}
	return nil
}

// accountName makes a sAMAccountName of what the entry is called, with its
// number when that is taken.
func (d *draft) accountName(id directory.ObjectID) string {
	base := d.o.rdn
	if local, _, err := directory.SplitAddress(d.o.attrs.get("mail")); err == nil {
		base = local
	}
	base = accountBase(base)
	end := ""
	if id != 0 {
		end = strconv.FormatInt(int64(id), 10)
	}
	if d.fam == computer {
		end += "$"
	}
	r := []rune(base)
	return string(r[:min(len(r), 20-len(end))]) + end
}

// whose asks for names that somebody has.
func (w *writing) whose(ctx context.Context, kinds []int16, texts []string) (nameSet, error) {
	taken := nameSet{}
	if len(kinds) == 0 {
		return taken, nil
	}
	rows, err := w.Query(ctx, whoseSQL, kinds, texts)
	if err != nil {
		return nil, err
	}
	return taken, scanNames(rows, func(k nameKey, id directory.ObjectID) { taken.take(k, id) })
}

const whoseSQL = `
	SELECT n.kind, n.key, n.object FROM unnest($1::smallint[], $2::text[]) AS want (kind, key),
	LATERAL (SELECT * FROM directory.name WHERE kind = want.kind AND key = want.key LIMIT 1) n`

// lean refuses what leans on something of the same set that was refused: a
// container, or what a link leads to.
func (a *addition) lean() {
	refused := map[directory.ObjectID]bool{}
	for _, d := range a.drafts {
		if d.err != nil && d.o.id != 0 {
			refused[d.o.id] = true
		}
	}
	for again := len(refused) > 0; again; {
		again = false
		for _, d := range a.drafts {
			if d.err != nil {
				continue
			}
			if refused[d.o.parent] {
				d.refuse(tree.ResultNoSuchObject, "its container was refused")
			}
			for l := range a.links[d] {
				if refused[l.target] {
					d.refuse(tree.ResultConstraintViolation, "what it is linked to was refused")
				}
			}
			if d.err != nil || refused[d.o.home] {
				d.refuse(tree.ResultConstraintViolation, "its mailbox database was refused")
				refused[d.o.id], again = true, true
			}
		}
	}
}

// leansOn notes what may not be removed at the same time.
func (w *writing) leansOn(d *draft, links map[linkTo]bool) {
	if w.last == nil {
		return
	}
	w.last.leaned[d.o.parent], w.last.leaned[d.o.home] = true, true
	for l := range links {
		w.last.leaned[l.target] = true
	}
}

func (a *addition) attributeOf(number int32) string { return a.named[number] }

// rows writes what was not refused.
func (a *addition) rows(ctx context.Context) error {
	a.lean()
	w := a.w
	now := time.Now().UTC().Truncate(time.Microsecond)
	var one *draft
	n := 0
	for _, d := range a.drafts {
		if d.err != nil {
			continue
		}
		if n > 0 {
			w.usn++ // the first has the number of the writing itself
		}
		n++
		o := d.o
		one = d
		o.usn, o.created = w.usn, now
		dv := d.derived
		raw, err := json.Marshal(o.attrs)
		if err != nil {
			return err
		}
		a.b.object(o, dv, raw)
		w.leansOn(d, a.links[d])
		if o.account != nil {
			a.b.account(o, d.hash, d.expires, d.must)
		}
		for l := range a.links[d] {
			a.b.link(l.attribute, o, l.target)
		}
		if d.by != nil {
			a.audit(*d.by, d)
		}
		w.own.add(w.schema, d, dv, a.links[d], a.attributeOf)
		for name, values := range d.cold {
			for i, v := range values {
				a.b.cold = append(a.b.cold, []any{int64(o.id), name, int32(i), []byte(v)})
			}
		}
	}
	w.own.all = !slices.ContainsFunc(a.drafts, (*draft).alone)
	if n == 0 {
		return nil
	}
	w.counters.usn = max(w.counters.usn, w.usn)
	switch {
	case one.by != nil: // of callers that are each told of
	case n == 1:
		a.audit(w.by, one)
	default:
		a.b.audit(w.by, w.usn, 0, "", nil)
	}
	return w.copyIn(ctx, a.b)
}

// audit notes a new entry with all of its values.
func (a *addition) audit(by actor, d *draft) {
	c := changed{}
	c.diff(nil, d.o.attrs)
	a.b.audit(by, d.o.usn, d.o.id, "", c)
}
