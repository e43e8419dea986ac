package postgres

import (
	"context"
	"slices"
	"sync"

	"waypost/directory"
	"waypost/directory/access"
	"waypost/directory/index"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// byName is the Store as a tree.Tree: one method has a name that
// directory.Objects uses otherwise.
type byName struct{ *Store }

var _ tree.Tree = byName{}

// Tree gives the directory as LDAP sees it.
func (s *Store) Tree() tree.Tree { return byName{s} }

// Resolve implements tree.Tree.
func (t byName) Resolve(id directory.ObjectID) (tree.DN, bool) { return t.index.Load().DN(id) }

// Contexts implements tree.Tree.
func (s *Store) Contexts() []tree.DN {
	x := s.index.Load()
	var domains, others []tree.DN
	for _, id := range x.Contexts() {
		dn, ok := x.DN(id)
		if !ok {
			continue
		}
		if len(dn.Labels()) == len(dn) {
			domains = append(domains, dn)
		} else {
			others = append(others, dn)
		}
	}
	return append(domains, others...)
}

// Who implements tree.Tree.
func (s *Store) Who(dn tree.DN) (login string, ok bool) {
	id, _, ok := s.index.Load().Resolve(dn)
	if !ok {
		return "", false
	}
	e := s.view.get(id)
	if e == nil || e.family != person || e.epoch == 0 {
		return "", false
	}
	for _, kind := range []nameKind{nameUPN, nameAddress, nameAccount} {
		for _, k := range e.keys() {
			if k.kind == kind {
				return k.key, true
			}
		}
	}
	return "", false
}

// sight is what a reader sees of the index.
type sight struct{ r *rights }

// seen is the rights on one object as the index asks for them.
type seen struct{ *access.Permissions }

// Reads implements index.View.
func (s seen) Reads(a *schema.Attribute) bool { return s.Read(a) }

// See implements index.Sight.
func (s *sight) See(p *index.Place) index.View {
	o := access.Object{ID: p.ID, Class: p.Class}
	switch {
	case p.Deleted: // as it was
		if o.Parent = p.Last; p.Last == 0 {
			return nil
		}
	case len(p.Chain) > 0:
		o.Parent = p.Chain[0]
	}
	if e := s.r.lists.store.view.get(p.ID); e != nil {
		o.Listed = len(e.acl) > 0
		o.Protected = e.protected
		if o.HiddenMembers = e.hideMembers; o.HiddenMembers {
			o.Owned = slices.ContainsFunc(e.owners, func(id uint32) bool {
				return directory.ObjectID(id) == s.r.as.ID || s.r.groups[directory.ObjectID(id)]
			})
		}
	}
	perms := s.r.view.At(o)
	if !perms.Visible() {
		return nil
	}
	return seen{perms}
}

// sights keeps what readers see for one state of the directory.
type sights struct {
	mu  sync.Mutex
	usn directory.USN
	by  map[sightKey]*rights
}

type sightKey struct {
	id    directory.ObjectID
	epoch directory.Epoch
	roles directory.Role
	app   bool
}

// maxSights bounds the readers that are remembered.
const maxSights = 10000

// sightOf gives what as sees: nil for everything.
func (s *Store) sightOf(ctx context.Context, as directory.Principal) (index.Sight, *rights, error) {
	usn := s.index.Load().USN()
	key := sightKey{as.ID, as.Epoch, as.Roles, as.App}
	c := &s.sights
	c.mu.Lock()
	if c.usn != usn || len(c.by) > maxSights {
		c.usn, c.by = usn, map[sightKey]*rights{}
	}
	r := c.by[key]
	c.mu.Unlock()
	if r != nil && !r.all() && as.ID != 0 {
		// An account may end without a change.
		if _, err := s.roles(ctx, as); err != nil {
			return nil, nil, err
		}
	}
	if r == nil {
		var err error
		if r, err = s.rightsOf(ctx, as); err != nil {
			return nil, nil, err
		}
		c.mu.Lock()
		if c.usn == usn {
			c.by[key] = r
		}
		c.mu.Unlock()
	}
	if r.all() {
		return nil, r, nil
	}
	return &sight{r}, r, nil
}

// Search implements tree.Tree.
func (s *Store) Search(ctx context.Context, as directory.Principal, q *tree.Query, fn func(*tree.Entry) error) (err error) {
	view, _, err := s.sightOf(ctx, as)
	if err != nil {
		return err
	}
	for _, add := range []func(*tree.Entry){s.computing(ctx, q, view), s.showsLists(ctx, q, view)} {
		if add != nil {
			show := fn
			fn = func(e *tree.Entry) error { add(e); return show(e) }
		}
	}
	return s.index.Load().Search(ctx, s.findsLists(ctx, q), view, fn)
}

// Compare implements tree.Tree.
func (s *Store) Compare(ctx context.Context, as directory.Principal, dn tree.DN, attribute, value string) (same bool, err error) {
	defer fault.Wrap(&err, "compare %s", dn)
	view, _, err := s.sightOf(ctx, as)
	if err != nil {
		return false, err
	}
	a, ok := s.Schema().Attribute(attribute)
	if !ok {
		return false, tree.Refuse(tree.ResultUndefinedType, "no attribute %q", attribute)
	}
	x := s.index.Load()
	q := &tree.Query{Base: dn, Scope: tree.Base, Filter: &tree.Filter{Op: tree.Equal, Attribute: a.Name, Value: value}, Attributes: []string{a.Name}}
	id, _, _ := x.Resolve(dn) // Matches refuses what is not there, as what may not be seen
	if same, err = x.Matches(id, q, view); err != nil || same {
		return same, err
	}
	q.Filter = &tree.Filter{Op: tree.Present, Attribute: a.Name}
	there, err := x.Matches(id, q, view)
	if err != nil {
		return false, err
	}
	if !there {
		return false, tree.Refuse(tree.ResultNoSuchAttribute, "no %s", a.Name)
	}
	if !a.Syntax.DN() && len(value) > coldAt { // large values are not in memory
		e, err := x.Get(ctx, id, q, view)
		if err != nil {
			return false, err
		}
		return indexOf(a, e.Get(a.Name), value) >= 0, nil
	}
	return false, nil
}

// postRead shows an entry as a write left it (RFC 4527).
func (s *Store) postRead(ctx context.Context, r *rights, done *tree.Written, o tree.Options) error {
	if o.PostRead == nil {
		return nil
	}
	var view index.Sight
	if !r.all() {
		view = &sight{r}
	}
	e, err := s.index.Load().Get(ctx, done.ID, &tree.Query{Attributes: o.PostRead}, view)
	if err != nil {
		return nil //nolint:nilerr // the change is made; it may have been changed again, or not be the caller's to see
	}
	done.Post = e
	return nil
}
