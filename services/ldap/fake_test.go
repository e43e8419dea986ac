package ldap

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"waypost/directory"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// memTree is a directory in memory with the promises of tree.Tree that this
// door relies on. It checks no rights but that of being known, and no schema.
type memTree struct {
	mu       sync.Mutex
	objects  map[directory.ObjectID]*memObject
	byName   map[string]*memObject
	log      []directory.ObjectID // of each change; the USN is the index + 1
	next     directory.ObjectID
	contexts []tree.DN
	changed  chan struct{} // closed and replaced at each change
	accounts *memAccounts
	oldest   directory.USN // what is kept of the log

	slow  time.Duration // before each entry of a search
	panic bool
}

type memObject struct {
	id      directory.ObjectID
	dn      tree.DN
	values  map[string][]string
	usn     directory.USN
	created directory.USN
	moved   directory.USN
	gone    bool
}

var _ tree.Tree = (*memTree)(nil)

func newMemTree() *memTree {
	m := &memTree{
		objects: map[directory.ObjectID]*memObject{}, byName: map[string]*memObject{},
		changed: make(chan struct{}), next: 1,
	}
	for _, name := range []string{"DC=example,DC=test", "CN=Configuration,DC=example,DC=test", "CN=Schema,CN=Configuration,DC=example,DC=test", "DC=eu,DC=example,DC=test"} {
		m.contexts = append(m.contexts, mustDN(name))
		m.put(name, "objectClass", "top", "objectClass", "domainDNS")
	}
	m.put("OU=People,DC=example,DC=test", "objectClass", "organizationalUnit", "ou", "People")
	m.put("OU=Groups,DC=example,DC=test", "objectClass", "organizationalUnit", "ou", "Groups")
	return m
}

func mustDN(s string) tree.DN {
	dn, err := tree.ParseDN(s)
	if err != nil {
		panic(err)
	}
	return dn
}

// put makes an object from pairs of attribute and value.
func (m *memTree) put(name string, pairs ...string) directory.ObjectID {
	m.mu.Lock()
	defer m.mu.Unlock()
	values := map[string][]string{}
	for i := 0; i < len(pairs); i += 2 {
		values[pairs[i]] = append(values[pairs[i]], pairs[i+1])
	}
	return m.insert(mustDN(name), values).id
}

// person makes one who can sign in.
func (m *memTree) person(account, password string) directory.ObjectID {
	name := "CN=" + account + ",OU=People,DC=example,DC=test"
	id := m.put(name, "objectClass", "top", "objectClass", "person", "objectClass", "user", "cn", account, "sn", account,
		"sAMAccountName", account, "mail", account+"@example.test", "userPrincipalName", account+"@example.test")
	m.accounts.add(account, password, directory.Principal{ID: id, Address: account + "@example.test", Epoch: 1})
	return id
}

func guidOf(id directory.ObjectID) (g [16]byte) {
	h := sha256.Sum256([]byte(strconv.Itoa(int(id))))
	copy(g[:], h[:])
	return g
}

func (m *memTree) insert(dn tree.DN, values map[string][]string) *memObject {
	o := &memObject{id: m.next, dn: dn, values: values}
	m.next++
	g := guidOf(o.id)
	values["objectGUID"] = []string{string(g[:])}
	values["distinguishedName"] = []string{dn.String()}
	m.objects[o.id] = o
	m.byName[dn.Key()] = o
	m.change(o)
	o.created = o.usn
	return o
}

func (m *memTree) change(o *memObject) {
	m.log = append(m.log, o.id)
	o.usn = directory.USN(len(m.log))
	o.values["uSNChanged"] = []string{strconv.Itoa(len(m.log))}
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *memTree) Schema() *schema.Schema { return schema.Base() }
func (m *memTree) Contexts() []tree.DN    { return m.contexts }
func (m *memTree) USN() directory.USN {
	m.mu.Lock()
	defer m.mu.Unlock()
	return directory.USN(len(m.log))
}

func (m *memTree) Resolve(id directory.ObjectID) (tree.DN, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.objects[id]
	if o == nil || o.gone {
		return nil, false
	}
	return o.dn, true
}

func (m *memTree) Who(dn tree.DN) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.find(dn, false)
	if err != nil || len(o.values["mail"]) == 0 {
		return "", false
	}
	return o.values["mail"][0], true
}

// find finds the object of a name; m.mu is held.
func (m *memTree) find(dn tree.DN, deleted bool) (*memObject, error) {
	if form, value := dn.Special(); form == tree.ByGUID {
		for _, o := range m.objects {
			if g := guidOf(o.id); string(g[:]) == value && (!o.gone || deleted) {
				return o, nil
			}
		}
	} else if o := m.byName[dn.Key()]; o != nil && (!o.gone || deleted) {
		return o, nil
	}
	r := tree.Refuse(tree.ResultNoSuchObject, "no such object")
	for up := dn.Parent(); len(up) > 0; up = up.Parent() {
		if o := m.byName[up.Key()]; o != nil && !o.gone {
			r.Matched = up
			break
		}
	}
	return nil, r
}

// context is the naming context that an object lies in.
func (m *memTree) context(dn tree.DN) int {
	best := -1
	for i, c := range m.contexts {
		if dn.Under(c) && (best < 0 || len(c) > len(m.contexts[best])) {
			best = i
		}
	}
	return best
}

func (m *memTree) inScope(o *memObject, base tree.DN, q *tree.Query) bool {
	if o.gone && !q.Deleted {
		return false
	}
	if !q.Global && m.context(o.dn) != m.context(base) {
		return false
	}
	switch q.Scope {
	case tree.Base:
		return o.dn.Equal(base)
	case tree.One:
		return len(o.dn) == len(base)+1 && o.dn.Under(base)
	default:
		return o.dn.Under(base)
	}
}

// Values implements tree.Subject.
func (o *memObject) Values(a *schema.Attribute) []string         { return o.values[a.Name] }
func (o *memObject) InChain(a *schema.Attribute, _ tree.DN) bool { return false }
func (o *memObject) Name() tree.DN                               { return o.dn }

func (o *memObject) entry(q *tree.Query) *tree.Entry {
	e := &tree.Entry{ID: o.id, GUID: guidOf(o.id), DN: o.dn.String(), USN: o.usn, Deleted: o.gone}
	for _, name := range slices.Sorted(maps.Keys(o.values)) {
		a, _ := schema.Base().Attribute(name)
		wanted := len(q.Attributes) == 0 && !a.Operational
		for _, w := range q.Attributes {
			wanted = wanted || w == "*" && !a.Operational || w == "+" && a.Operational || strings.EqualFold(w, name)
		}
		if !wanted {
			continue
		}
		values := o.values[name]
		cut := tree.Range{Name: name, First: 0, Last: -1}
		asked := false
		for _, r := range q.Ranges {
			if r.Name == name {
				cut, asked = r, true
			}
		}
		if !asked && q.MaxRange > 0 && len(values) > q.MaxRange {
			cut.Last = q.MaxRange - 1
		}
		if cut.First > 0 || cut.Last >= 0 {
			if cut.First >= len(values) {
				values = nil
			} else if cut.Last < 0 || cut.Last >= len(values)-1 {
				cut.Last, values = -1, values[cut.First:]
			} else {
				values = values[cut.First : cut.Last+1]
			}
			e.Partial = append(e.Partial, cut)
		}
		if q.TypesOnly {
			values = nil
		}
		e.Attributes = append(e.Attributes, tree.Attribute{Name: name, Values: values})
	}
	return e
}

func (m *memTree) Search(ctx context.Context, as directory.Principal, q *tree.Query, fn func(*tree.Entry) error) error {
	m.mu.Lock()
	if m.panic {
		m.mu.Unlock()
		panic("the tree is broken")
	}
	var base tree.DN
	if len(q.Base) > 0 {
		o, err := m.find(q.Base, q.Deleted)
		if err != nil {
			m.mu.Unlock()
			return err
		}
		base = o.dn
	}
	var hits []*memObject
	node := tree.Prepare(schema.Base(), q.Filter)
	for _, id := range slices.Sorted(maps.Keys(m.objects)) {
		o := m.objects[id]
		if id > q.After && o.usn > q.Since && m.inScope(o, base, q) && node.Evaluate(schema.Base(), o) == tree.True {
			hits = append(hits, o)
		}
	}
	if len(q.Sort) > 0 {
		slices.SortStableFunc(hits, func(a, b *memObject) int { return order(a, b, q.Sort) })
	}
	var entries []*tree.Entry
	for _, o := range hits {
		entries = append(entries, o.entry(q))
	}
	slow := m.slow
	m.mu.Unlock()
	for i, e := range entries {
		if q.Limit > 0 && i == q.Limit {
			return tree.Refuse(tree.ResultSizeLimit, "too many")
		}
		if !q.Deadline.IsZero() && time.Now().After(q.Deadline) {
			return tree.Refuse(tree.ResultTimeLimit, "too slow")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(slow):
		}
		if err := fn(e); err != nil {
			return fmt.Errorf("search: %w", err)
		}
	}
	return nil
}

func order(a, b *memObject, keys []tree.SortKey) int {
	for _, k := range keys {
		t, _ := schema.Base().Attribute(k.Attribute)
		key := func(o *memObject) string {
			if v := o.values[k.Attribute]; len(v) > 0 {
				s, _ := t.Syntax.Order(v[0])
				return s
			}
			return "\xff"
		}
		c := cmp.Compare(key(a), key(b))
		if k.Reverse {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

func (m *memTree) Compare(_ context.Context, _ directory.Principal, dn tree.DN, attribute, value string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.find(dn, false)
	if err != nil {
		return false, err
	}
	a, ok := schema.Base().Attribute(attribute)
	if !ok || len(o.values[a.Name]) == 0 {
		return false, tree.Refuse(tree.ResultNoSuchAttribute, "no such attribute")
	}
	return tree.Match(&tree.Filter{Op: tree.Equal, Attribute: attribute, Value: value}, schema.Base(), o), nil
}

func (m *memTree) Watch(ctx context.Context, as directory.Principal, q *tree.Query, fn func(*tree.Event) error) error {
	since := q.Since
	node := tree.Prepare(schema.Base(), q.Filter)
	known := map[directory.ObjectID]bool{}
	for first := true; ; first = false {
		m.mu.Lock()
		if since > 0 && since < m.oldest {
			m.mu.Unlock()
			return fault.New(fault.Resync, "too old")
		}
		var base tree.DN
		if len(q.Base) > 0 {
			o, err := m.find(q.Base, false)
			if err != nil {
				m.mu.Unlock()
				return err
			}
			base = o.dn
		}
		var events []*tree.Event
		for _, id := range slices.Sorted(maps.Keys(m.objects)) {
			o := m.objects[id]
			in := m.inScope(o, base, q) && node.Evaluate(schema.Base(), o) == tree.True
			if o.usn <= since {
				known[id] = in
				continue
			}
			e := &tree.Event{ID: id, GUID: guidOf(id), USN: o.usn}
			if in {
				e.Entry, e.Added, e.Moved = o.entry(q), !known[id], o.moved == o.usn && known[id]
			} else if first && since == 0 {
				continue
			}
			known[id] = in
			events = append(events, e)
		}
		since = directory.USN(len(m.log))
		changed := m.changed
		m.mu.Unlock()
		slices.SortFunc(events, func(a, b *tree.Event) int { return cmp.Compare(a.USN, b.USN) })
		if first {
			events = append(events, &tree.Event{Present: true, USN: since})
		}
		for _, e := range events {
			if err := fn(e); err != nil {
				return fmt.Errorf("watch: %w", err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

func (m *memTree) check(o *memObject, f *tree.Filter) error {
	if f != nil && !tree.Match(f, schema.Base(), o) {
		return tree.Refuse(tree.ResultAssertionFailed, "the assertion does not hold")
	}
	return nil
}

func read(o *memObject, names []string) *tree.Entry {
	if names == nil {
		return nil
	}
	return o.entry(&tree.Query{Attributes: names})
}

func (m *memTree) AddEntry(_ context.Context, _ directory.Principal, dn tree.DN, attributes []tree.Attribute, o tree.Options) (tree.Written, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byName[dn.Key()] != nil {
		return tree.Written{}, tree.Refuse(tree.ResultEntryAlreadyExists, "already there")
	}
	if _, err := m.find(dn.Parent(), false); err != nil {
		return tree.Written{}, err
	}
	values := map[string][]string{}
	for _, a := range attributes {
		if strings.HasSuffix(a.Name, "Pwd") || strings.HasSuffix(a.Name, "Password") {
			if err := shortPassword(plainPassword(a.Values[0])); err != nil {
				return tree.Written{}, err
			}
			continue
		}
		values[a.Name] = append(values[a.Name], a.Values...)
	}
	n := m.insert(dn, values)
	return tree.Written{ID: n.id, USN: n.usn, Post: read(n, o.PostRead)}, nil
}

func (m *memTree) ModifyEntry(_ context.Context, _ directory.Principal, dn tree.DN, mods []tree.Modification, o tree.Options) (tree.Written, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x, err := m.find(dn, false)
	if err != nil {
		return tree.Written{}, err
	}
	if err := m.check(x, o.Assert); err != nil {
		return tree.Written{}, err
	}
	w := tree.Written{ID: x.id, Pre: read(x, o.PreRead)}
	values := maps.Clone(x.values)
	var was *string
	for _, mod := range mods {
		if strings.HasSuffix(mod.Name, "Pwd") || strings.HasSuffix(mod.Name, "Password") {
			p := plainPassword(mod.Values[0])
			if mod.Op == tree.ModDelete {
				was = &p
				continue
			}
			if err := shortPassword(p); err != nil {
				return tree.Written{}, err
			}
			if err := m.accounts.change(x.id, was, p); err != nil {
				return tree.Written{}, err
			}
			continue
		}
		old := values[mod.Name]
		switch mod.Op {
		case tree.ModAdd:
			for _, v := range mod.Values {
				if slices.Contains(old, v) && !o.Permissive {
					return tree.Written{}, tree.Refuse(tree.ResultValueExists, "there already")
				}
			}
			values[mod.Name] = append(slices.Clone(old), mod.Values...)
		case tree.ModDelete:
			if len(old) == 0 && !o.Permissive {
				return tree.Written{}, tree.Refuse(tree.ResultNoSuchAttribute, "not there")
			}
			left := slices.DeleteFunc(slices.Clone(old), func(v string) bool { return len(mod.Values) == 0 || slices.Contains(mod.Values, v) })
			values[mod.Name] = left
		case tree.ModReplace:
			values[mod.Name] = mod.Values
		case tree.ModIncrement:
			n, _ := strconv.Atoi(old[0])
			by, _ := strconv.Atoi(mod.Values[0])
			values[mod.Name] = []string{strconv.Itoa(n + by)}
		}
		if len(values[mod.Name]) == 0 {
			delete(values, mod.Name)
		}
	}
	x.values = values
	m.change(x)
	w.USN, w.Post = x.usn, read(x, o.PostRead)
	return w, nil
}

func (m *memTree) MoveEntry(_ context.Context, _ directory.Principal, dn tree.DN, rdn tree.RDN, deleteOld bool, superior *tree.DN, o tree.Options) (tree.Written, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x, err := m.find(dn, false)
	if err != nil {
		return tree.Written{}, err
	}
	to := x.dn.Parent()
	if superior != nil {
		to = *superior
	}
	w := tree.Written{ID: x.id, Pre: read(x, o.PreRead)}
	delete(m.byName, x.dn.Key())
	x.dn = to.Child(rdn)
	x.values["distinguishedName"] = []string{x.dn.String()}
	m.byName[x.dn.Key()] = x
	m.change(x)
	x.moved = x.usn
	w.USN, w.Post = x.usn, read(x, o.PostRead)
	return w, nil
}

func (m *memTree) DeleteEntry(_ context.Context, _ directory.Principal, dn tree.DN, o tree.Options) (tree.Written, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x, err := m.find(dn, false)
	if err != nil {
		return tree.Written{}, err
	}
	if err := m.check(x, o.Assert); err != nil {
		return tree.Written{}, err
	}
	w := tree.Written{ID: x.id, Pre: read(x, o.PreRead)}
	for _, y := range m.objects {
		if y == x || y.gone || !y.dn.Under(x.dn) {
			continue
		}
		if !o.Tree {
			return tree.Written{}, tree.Refuse(tree.ResultNotAllowedOnNonLeaf, "not empty")
		}
		m.remove(y)
	}
	m.remove(x)
	w.USN = x.usn
	return w, nil
}

func (m *memTree) remove(x *memObject) {
	delete(m.byName, x.dn.Key())
	x.gone = true
	x.values["isDeleted"] = []string{"TRUE"}
	m.change(x)
}

func (m *memTree) ChangePassword(_ context.Context, as directory.Principal, dn tree.DN, old *string, fresh string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x, err := m.find(dn, false)
	if err != nil {
		return "", err
	}
	made := ""
	if fresh == "" {
		made = "made-up-1"
		fresh = made
	}
	if err := shortPassword(fresh); err != nil {
		return "", err
	}
	return made, m.accounts.change(x.id, old, fresh)
}

func shortPassword(s string) error {
	if len(s) < 4 {
		return tree.Refuse(tree.ResultConstraintViolation, "the password is too short")
	}
	return nil
}

// plainPassword is what unicodePwd and userPassword mean.
func plainPassword(v string) string {
	v = strings.ReplaceAll(v, "\x00", "") // of the ASCII that tests use
	return strings.Trim(v, `"`)
}

func TestTheFakeFindsByGUID(t *testing.T) {
	m := newMemTree()
	id := m.put("CN=x,OU=People,DC=example,DC=test", "cn", "x")
	n := 0
	err := m.Search(t.Context(), directory.Principal{}, &tree.Query{Base: byGUID(guidOf(id)), Filter: &tree.Filter{Op: tree.Present, Attribute: "cn"}}, func(e *tree.Entry) error {
		n++
		return nil
	})
	if n != 1 || err != nil {
		t.Errorf("found %d, %v", n, err)
	}
	err = m.Search(t.Context(), directory.Principal{}, &tree.Query{Base: mustDN("CN=no,OU=People,DC=example,DC=test"), Filter: &tree.Filter{Op: tree.And}}, nil)
	var r *tree.Refusal
	if !errors.As(err, &r) || r.Matched.String() != "OU=People,DC=example,DC=test" {
		t.Errorf("got %v", err)
	}
}
