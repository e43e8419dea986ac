package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/access"
	"waypost/directory/index"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// maxMods bounds the parts of one modify, maxLinks the values of DN syntax that
// one adds or removes.
const (
	maxMods  = 5000
	maxLinks = 20000
)

// ModifyEntry implements tree.Tree.
func (s *Store) ModifyEntry(ctx context.Context, as directory.Principal, dn tree.DN, mods []tree.Modification, o tree.Options) (done tree.Written, err error) {
	defer fault.Wrap(&err, "modify %s", dn)
	r, err := s.rightsOf(ctx, as)
	if err != nil {
		return done, err
	}
	parts, err := readMods(s.Schema(), mods)
	if err != nil {
		return done, err
	}
	if to, others, ok := undeletion(parts); ok {
		return s.undelete(ctx, r, dn, to, others, o)
	}
	for _, p := range parts {
		if undeletes[p.a.Name] {
			return done, tree.Refuse(tree.ResultConstraintViolation, "%s is kept by the server", p.a.Name)
		}
	}
	pw, err := s.readPassword(directory.WithClient(ctx, o.From), r.as, dn, parts)
	if err != nil {
		return done, err
	}
	err = s.write(ctx, actor{as: r.as, from: o.From, op: "modify", name: dn.String()}, func(ctx context.Context, w *writing) error {
		done = tree.Written{}
		m, err := w.begin(ctx, r, dn, o)
		if err != nil {
			return err
		}
		m.pw = pw
		if err := m.run(ctx, parts); err != nil {
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

// part is a modification as far as the schema goes.
type part struct {
	op     tree.ModOp
	a      *schema.Attribute
	values []string  // cleaned; of passwords raw
	names  []tree.DN // of DN syntax
}

func readMods(sch *schema.Schema, mods []tree.Modification) ([]part, error) {
	if len(mods) == 0 || len(mods) > maxMods {
		return nil, tree.Refuse(tree.ResultUnwillingToPerform, "1 to %d changes at a time", maxMods)
	}
	parts := make([]part, 0, len(mods))
	links := 0
	for _, m := range mods {
		p := part{op: m.Op, values: m.Values}
		var err error
		if a, ok := sch.Attribute(m.Name); ok && undeletes[a.Name] {
			p.a = a
		} else if p.a, err = writable(sch, m.Name); err != nil {
			return nil, err
		}
		switch {
		case p.a.Name == "nTSecurityDescriptor":
			return nil, tree.Refuse(tree.ResultUnwillingToPerform, "rights are written as accessControlEntry")
		case p.a.Defunct && m.Op != tree.ModDelete:
			return nil, tree.Refuse(tree.ResultUndefinedType, "%s is not used any more", p.a.Name)
		case m.Op == tree.ModAdd && len(m.Values) == 0:
			return nil, tree.Refuse(tree.ResultInvalidSyntax, "%s: nothing to add", p.a.Name)
		case m.Op == tree.ModIncrement && len(m.Values) != 1:
			return nil, tree.Refuse(tree.ResultConstraintViolation, "%s: one number to add", p.a.Name)
		case m.Op < tree.ModAdd || m.Op > tree.ModIncrement:
			return nil, tree.Refuse(tree.ResultUnwillingToPerform, "no such change")
		}
		switch {
		case p.a.Password(), undeletes[p.a.Name]:
		case p.a.Syntax.DN():
			if links += len(m.Values); links > maxLinks {
				return nil, tree.Refuse(tree.ResultAdminLimit, "at most %d names at a time", maxLinks)
			}
			for _, v := range m.Values {
				dn, err := linkName(p.a, v)
				if err != nil {
					return nil, err
				}
				p.names = append(p.names, dn)
			}
		case m.Op == tree.ModDelete:
			// What is to go need not be what may be added today.
			p.values = nil
			for _, v := range m.Values {
				if c, err := clean(p.a, v); err == nil {
					v = c
				}
				p.values = append(p.values, v)
			}
		default:
			if p.values, err = cleanAll(p.a, m.Values); err != nil {
				return nil, err
			}
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// modification is a modify under way.
type modification struct {
	w      *writing
	r      *rights
	o      *object
	fam    family
	spot   *spot
	perms  *access.Permissions
	shape  *schema.Shape
	opts   tree.Options
	pre    *tree.Entry
	pw     *newPassword
	before attributes          // stored, as it was
	cold   map[string][]string // loaded cold attributes, raw; nil values: gone
	dirty  map[string]bool     // cold attributes to write
	linked map[int32]*linkSet  // by link number
	extra  []func(*pgx.Batch)  // statements besides
	epoch  bool                // what was granted before ends
	wasOn  bool                // the account was enabled
	must   bool                // the password is to be changed first
}

// linkSet is what a modify does to one attribute of DN syntax.
type linkSet struct {
	a           *schema.Attribute
	clear       bool
	add, remove map[directory.ObjectID]bool
}

// begin finds and reads the object of a write, and asks what may be asked of it
// before it changes.
func (w *writing) begin(ctx context.Context, r *rights, dn tree.DN, o tree.Options) (*modification, error) {
	// The index knows which object it will be, nearly always: it is read in the
	// same round trip.
	b := &pgx.Batch{}
	q, err := w.ask(ctx, b, []tree.DN{dn})
	if err != nil {
		return nil, err
	}
	var obj *object
	if guess, _, ok := w.store.index.Load().Resolve(dn); ok && guess < index.FirstMade {
		w.queueRead(b, guess, &obj)
	}
	if b.Len() > 0 {
		if err := w.Batch(ctx, b); err != nil {
			return nil, err
		}
	}
	if err := q.finish(ctx, w); err != nil {
		return nil, err
	}
	s := &q.spots[0]
	if s.there() && (obj == nil || obj.id != s.id) {
		if obj, err = w.read(ctx, s.id); err != nil {
			return nil, err
		}
	}
	return w.opened(ctx, r, dn, o, s, obj)
}

// opened is begin for an object that was read.
func (w *writing) opened(ctx context.Context, r *rights, dn tree.DN, o tree.Options, s *spot, obj *object) (m *modification, err error) {
	if !s.there() || s.id == rootID {
		return nil, w.absent(r, s, dn)
	}
	m = &modification{
		w: w, r: r, o: obj, fam: familyOf(w.schema, obj.class), spot: s, opts: o, before: cloneAttributes(obj.attrs),
		cold: map[string][]string{}, dirty: map[string]bool{}, linked: map[int32]*linkSet{},
	}
	m.wasOn = obj.account != nil && obj.account.enabled
	if m.perms, err = r.of(ctx, w, obj, s.chain); err != nil {
		return nil, err
	}
	if !m.perms.Visible() {
		return nil, w.absent(r, s, dn)
	}
	if m.shape, err = w.schema.Shape(append([]string{obj.class}, obj.extra...)); err != nil {
		return nil, err
	}
	if o.Assert != nil || o.PreRead != nil {
		e, err := w.entry(ctx, r, m.perms, obj)
		if err != nil {
			return nil, err
		}
		if o.Assert != nil && !tree.Match(o.Assert, w.schema, e) {
			return nil, tree.Refuse(tree.ResultAssertionFailed, "the assertion does not hold")
		}
		if o.PreRead != nil {
			m.pre = e.show(o.PreRead)
		}
	}
	return m, nil
}

// absent is the refusal of a name that leads nowhere, or to what the caller may
// not see: the two look the same. The nearest entry above that he sees comes with
// it (RFC 4511 §4.1.9).
func (w *writing) absent(r *rights, s *spot, dn tree.DN) error {
	refusal := tree.Refuse(tree.ResultNoSuchObject, "no such object")
	if form, _ := dn.Special(); form != "" || s.id == 0 {
		return refusal
	}
	up := append([]directory.ObjectID{s.id}, s.chain...)
	for i, id := range up {
		left := s.left + i
		if left >= len(dn) || id == rootID {
			break
		}
		if left > 0 && r.sees(id, up[i+1:]) {
			refusal.Matched = dn[left:]
			break
		}
	}
	return refusal
}

// occupied is the refusal of a new name that somebody has. That somebody has it
// who may not be seen looks as if nothing could be added there.
func (w *writing) occupied(r *rights, s *spot, dn tree.DN) error {
	switch {
	case r.at(s).Visible():
		return tree.Refuse(tree.ResultEntryAlreadyExists, "%s is there", dn)
	case len(s.chain) > 0 && r.sees(s.chain[0], s.chain[1:]):
		return errForbidden
	}
	return w.absent(r, s, dn)
}

// run makes the changes and saves.
func (m *modification) run(ctx context.Context, parts []part) error {
	targets, err := m.targets(ctx, parts)
	if err != nil {
		return err
	}
	touched := map[string]bool{}
	for i := range parts {
		p := &parts[i]
		if err := m.allowed(p); err != nil {
			return err
		}
		touched[p.a.Name] = true
		switch {
		case p.a.Password():
			// readPassword has read them.
		case p.a.Syntax.DN():
			err = m.link(ctx, p, targets[i])
		case p.a.Name == "objectClass":
			err = m.classes(p)
		default:
			err = m.values(ctx, p)
		}
		if err != nil {
			return err
		}
	}
	if err := m.reach(ctx, touched); err != nil {
		return err
	}
	if err := m.follow(ctx, touched); err != nil {
		return err
	}
	return m.save(ctx)
}

// allowed refuses a change of an attribute that is not the caller's to make.
func (m *modification) allowed(p *part) error {
	switch {
	case p.a.Password() && m.pw != nil && m.pw.old != nil:
		// Who knows the password may change it.
	case above[p.a.Name]:
		if !m.r.all() {
			return errForbidden
		}
	case !m.perms.Write(p.a):
		return errForbidden
	}
	if !m.shape.Allows(p.a) && !p.a.Password() && p.op != tree.ModDelete && p.a.Name != "objectClass" && len(p.values)+len(p.names) > 0 {
		// An auxiliary class may come with the same modify: asked again at the end.
		return nil
	}
	return nil
}

// targets finds the objects that the parts of DN syntax name, in one question.
func (m *modification) targets(ctx context.Context, parts []part) (map[int][]spot, error) {
	var dns []tree.DN
	for i := range parts {
		dns = append(dns, parts[i].names...)
	}
	if len(dns) == 0 {
		return nil, nil
	}
	spots, err := m.w.resolve(ctx, dns...)
	if err != nil {
		return nil, err
	}
	found := map[int][]spot{}
	for i := range parts {
		n := len(parts[i].names)
		if n > 0 {
			found[i], spots = spots[:n], spots[n:]
		}
	}
	return found, nil
}

// current gives the values of an attribute that is no link, raw.
func (m *modification) current(ctx context.Context, a *schema.Attribute) ([]string, error) {
	if v, ok := m.cold[a.Name]; ok {
		return v, nil
	}
	if v := m.o.attrs[a.Name]; len(v) > 0 {
		return decodeAll(a, v), nil
	}
	rows, err := m.w.Query(ctx, `SELECT value FROM directory.cold WHERE object = $1 AND attribute = $2 ORDER BY place`, m.o.id, a.Name)
	if err != nil {
		return nil, err
	}
	raw, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	values := make([]string, len(raw))
	for i, v := range raw {
		values[i] = string(v)
	}
	if len(values) > 0 {
		m.cold[a.Name] = values
	}
	return values, err
}

// put replaces the values of an attribute, where they belong.
func (m *modification) put(a *schema.Attribute, values []string) {
	if _, was := m.cold[a.Name]; was || isCold(a, values) {
		m.dirty[a.Name] = true
		m.cold[a.Name] = nil
	}
	if isCold(a, values) {
		m.cold[a.Name] = values
		delete(m.o.attrs, a.Name)
		return
	}
	m.o.attrs.set(a.Name)
	if len(values) > 0 {
		m.o.attrs[a.Name] = encodeAll(a, values)
	}
}

// values makes one change of an attribute that is no link (RFC 4511 §4.6).
func (m *modification) values(ctx context.Context, p *part) error {
	have, err := m.current(ctx, p.a)
	if err != nil {
		return err
	}
	have = slices.Clone(have)
	switch p.op {
	case tree.ModAdd:
		for _, v := range p.values {
			if indexOf(p.a, have, v) >= 0 {
				if m.opts.Permissive {
					continue
				}
				return tree.Refuse(tree.ResultValueExists, "%s has that value", p.a.Name)
			}
			have = append(have, v)
		}
	case tree.ModDelete:
		if len(p.values) == 0 {
			if len(have) == 0 && !m.opts.Permissive {
				return tree.Refuse(tree.ResultNoSuchAttribute, "no %s", p.a.Name)
			}
			have = nil
		}
		for _, v := range p.values {
			i := indexOf(p.a, have, v)
			if i < 0 {
				if m.opts.Permissive {
					continue
				}
				return tree.Refuse(tree.ResultNoSuchAttribute, "%s has no such value", p.a.Name)
			}
			have = slices.Delete(have, i, i+1)
		}
	case tree.ModReplace:
		have = p.values
	case tree.ModIncrement: // RFC 4525
		if !p.a.Syntax.Numbers() {
			return tree.Refuse(tree.ResultConstraintViolation, "%s is no number", p.a.Name)
		}
		if len(have) == 0 {
			return tree.Refuse(tree.ResultNoSuchAttribute, "no %s", p.a.Name)
		}
		by, err := strconv.ParseInt(p.values[0], 10, 64)
		if err != nil {
			return tree.Refuse(tree.ResultInvalidSyntax, "not a number")
		}
		for i, v := range have {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil || by > 0 && n > n+by || by < 0 && n < n+by {
				return tree.Refuse(tree.ResultConstraintViolation, "%s passes its bounds", p.a.Name)
			}
			if have[i], err = clean(p.a, strconv.FormatInt(n+by, 10)); err != nil {
				return err
			}
		}
	}
	if p.a.Single && len(have) > 1 {
		return tree.Refuse(tree.ResultConstraintViolation, "%s has one value", p.a.Name)
	}
	if len(have) > maxValues {
		return tree.Refuse(tree.ResultAdminLimit, "%s: at most %d values", p.a.Name, maxValues)
	}
	m.put(p.a, have)
	return nil
}

// classes changes objectClass: auxiliary classes come and go, what the object
// is stays (RFC 4512 §2.4.3).
func (m *modification) classes(p *part) error {
	now := m.shape.ObjectClass()
	fold := func(n string) string {
		if c, ok := m.w.schema.Class(n); ok {
			return c.Name
		}
		return n
	}
	switch p.op {
	case tree.ModAdd:
		now = append(now, p.values...)
	case tree.ModDelete:
		if len(p.values) == 0 {
			return tree.Refuse(tree.ResultObjectClassViolation, "no objectClass")
		}
		for _, v := range p.values {
			now = slices.DeleteFunc(now, func(n string) bool { return fold(n) == fold(v) })
		}
	case tree.ModReplace:
		now = p.values
	default:
		return tree.Refuse(tree.ResultConstraintViolation, "objectClass is no number")
	}
	if len(now) == 0 {
		return tree.Refuse(tree.ResultObjectClassViolation, "no objectClass")
	}
	shape, err := m.w.schema.Shape(now)
	if err != nil {
		return tree.Refuse(tree.ResultObjectClassViolation, "%s", say(err))
	}
	if shape.Class.Name != m.o.class {
		return tree.Refuse(tree.ResultObjectClassViolation, "a %s stays one", m.o.class)
	}
	m.shape, m.o.extra = shape, nil
	for _, x := range shape.Extra {
		m.o.extra = append(m.o.extra, x.Name)
	}
	slices.Sort(m.o.extra)
	return nil
}

// save writes the object with everything that the changes need besides.
func (m *modification) save(ctx context.Context) error {
	o := m.o
	if m.epoch && o.account != nil {
		if err := m.w.newEpoch(ctx, o, o.account.enabled); err != nil {
			return err
		}
	}
	o.exact = true
	if o.also == nil {
		o.also = changed{}
	}
	for _, l := range m.linked {
		before, after := []string{}, []string{}
		for id := range l.remove {
			before = append(before, idText(id)...)
		}
		for id := range l.add {
			after = append(after, idText(id)...)
		}
		if l.clear {
			before = append(before, "(all)")
		}
		o.also.add(l.a.Name, before, after)
	}
	for name := range m.dirty {
		o.also.add(name, nil, []string{fmt.Sprintf("(%d large values)", len(m.cold[name]))})
	}
	return m.w.save(ctx, o, false, func(b *pgx.Batch) {
		for name := range m.dirty {
			b.Queue(`DELETE FROM directory.cold WHERE object = $1 AND attribute = $2`, o.id, name)
			for i, v := range m.cold[name] {
				b.Queue(`INSERT INTO directory.cold (object, attribute, place, value) VALUES ($1, $2, $3, $4)`, o.id, name, i, []byte(v))
			}
		}
		for id, l := range m.linked {
			if l.clear {
				b.Queue(`DELETE FROM directory.link WHERE attribute = $1 AND source = $2`, id, o.id)
			}
			if len(l.remove) > 0 {
				b.Queue(`DELETE FROM directory.link WHERE attribute = $1 AND source = $2 AND target = ANY ($3)`, id, o.id, keysOf(l.remove))
			}
			if len(l.add) > 0 {
				b.Queue(`INSERT INTO directory.link (attribute, source, target, usn) SELECT $1, $2, t, $4 FROM unnest($3::bigint[]) t`, id, o.id, keysOf(l.add), m.w.usn)
			}
		}
		for _, add := range m.extra {
			add(b)
		}
	})
}
