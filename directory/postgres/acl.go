package postgres

import (
	"context"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/access"
	"waypost/directory/schema"
	"waypost/directory/tree"
)

// rights are what a principal may do, for the time of one operation.
type rights struct {
	as    directory.Principal // with the roles that the directory says
	view  *access.View
	sch   *schema.Schema
	lists *lists
	// groups are those that as is in, nested ones too.
	groups map[directory.ObjectID]bool
}

// lists tell directory/access where objects are and what they say themselves.
// What a transaction has found out goes before this process's view.
type lists struct {
	store *Store
	mu    sync.Mutex
	up    map[directory.ObjectID]directory.ObjectID
}

// Up implements access.Lists.
func (l *lists) Up(id directory.ObjectID) directory.ObjectID {
	l.mu.Lock()
	up, ok := l.up[id]
	l.mu.Unlock()
	if ok {
		return up
	}
	if e := l.store.view.get(id); e != nil {
		return e.parent
	}
	return 0
}

// Entries implements access.Lists.
func (l *lists) Entries(id directory.ObjectID) []access.Entry {
	if e := l.store.view.get(id); e != nil {
		return e.acl
	}
	return nil
}

// learn remembers where containers are.
func (l *lists) learn(id directory.ObjectID, chain []directory.ObjectID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up == nil {
		l.up = map[directory.ObjectID]directory.ObjectID{}
	}
	for _, up := range chain {
		if id != 0 {
			l.up[id] = up
		}
		id = up
	}
}

// rightsOf works out who as is. The zero Principal is who did not sign in; it
// has what everyone has.
func (s *Store) rightsOf(ctx context.Context, as directory.Principal) (*rights, error) {
	r := &rights{as: as, sch: s.Schema(), lists: &lists{store: s}, groups: map[directory.ObjectID]bool{}}
	r.as.Roles = 0
	var groups []directory.ObjectID
	if as.ID != 0 || as.Is(directory.RoleSystem) {
		roles, err := s.roles(ctx, as)
		if err != nil {
			return nil, err
		}
		r.as.Roles = roles
		if !r.all() {
			groups = s.index.Load().Groups(as.ID)
		}
	}
	for _, g := range groups {
		r.groups[g] = true
	}
	r.view = access.NewView(r.sch, r.as, groups, r.lists)
	return r, nil
}

// all tells whether every object may be read and changed.
func (r *rights) all() bool { return r.as.Roles&(directory.RoleAdmin|directory.RoleSystem) != 0 }

// subject is what rights on an object depend on.
type subject struct {
	id        directory.ObjectID
	class     string
	chain     []directory.ObjectID
	listed    bool
	owned     bool
	protected bool
	hidden    bool
}

// on gives the rights on an object.
func (r *rights) on(s subject) *access.Permissions {
	o := access.Object{ID: s.id, Listed: s.listed, Owned: s.owned, Protected: s.protected, HiddenMembers: s.hidden}
	if len(s.chain) > 0 {
		o.Parent = s.chain[0]
	}
	o.Class, _ = r.sch.Class(s.class)
	r.lists.learn(s.id, s.chain)
	return r.view.At(o)
}

// at gives the rights on what a name led to, of which no more is known.
func (r *rights) at(s *spot) *access.Permissions {
	return r.on(subject{id: s.id, class: s.class, chain: s.chain, listed: len(r.lists.Entries(s.id)) > 0})
}

// seesSpot tells whether as may know of what a name led to.
func (r *rights) seesSpot(s *spot) bool { return r.all() || r.at(s).Visible() }

// sees tells whether there is anything that as may do with an object of a chain.
func (r *rights) sees(id directory.ObjectID, chain []directory.ObjectID) bool {
	if r.all() {
		return true
	}
	e := r.lists.store.view.get(id)
	return e != nil && r.on(subject{id: id, class: e.class, chain: chain, listed: len(e.acl) > 0}).Visible()
}

// of gives the rights on an object that was read.
func (r *rights) of(ctx context.Context, w *writing, o *object, chain []directory.ObjectID) (*access.Permissions, error) {
	s := subject{
		id: o.id, class: o.class, chain: chain,
		listed: len(o.attrs[access.AttributeName]) > 0, protected: r.protects(o),
		hidden: o.attrs.get("hideDLMembership") == "TRUE",
	}
	if familyOf(r.sch, o.class) == group && !r.all() && r.as.ID != 0 {
		owners, err := w.targets(ctx, o.id, linkManagedBy, linkOwner)
		if err != nil {
			return nil, err
		}
		for _, id := range owners {
			s.owned = s.owned || id == r.as.ID || r.groups[id]
		}
	}
	return r.on(s), nil
}

// above are attributes by which an object becomes more than others: of the
// directory, and of what believes a SID that an account had before (MS-ADTS
// 3.1.1.5.3.2 lets nobody write sIDHistory). Administrators alone write them.
var above = map[string]bool{"waypostRoles": true, "adminCount": true, "sIDHistory": true}

// protected tells whether o is an administrator or makes its members some:
// whoever manages what is below a container does not manage these.
func (o *object) protected() bool {
	return len(o.attrs["waypostRoles"]) > 0 || o.attrs.get("adminCount") == "1"
}

// protects tells whether o is above as: protected itself, or in a protected group
// that as is not in. Who is in one with o does not rise by managing it.
func (r *rights) protects(o *object) bool { return o.protected() || r.guards(o.id) }

// guards is protects as far as groups go.
func (r *rights) guards(id directory.ObjectID) bool {
	return !r.all() && r.lists.store.guarded(id, func(g directory.ObjectID) bool { return r.groups[g] })
}

// guarded tells whether an object is in a protected group, those besides that
// except names.
func (s *Store) guarded(id directory.ObjectID, except func(directory.ObjectID) bool) bool {
	return slices.ContainsFunc(s.index.Load().Groups(id), func(g directory.ObjectID) bool {
		e := s.view.get(g)
		return e != nil && e.protected && !except(g)
	})
}

var errForbidden = tree.Refuse(tree.ResultInsufficientAccess, "not allowed")

// parseACL reads the entries of an object. What this program does not
// understand, a newer one wrote; leaving it out denies.
func parseACL(texts []string) []access.Entry {
	var entries []access.Entry
	for _, t := range texts {
		if e, err := access.Parse(t); err == nil {
			entries = append(entries, e)
		}
	}
	return entries
}

// AD's numbers of links that mean something here.
const (
	linkMember    = 2
	linkManager   = 42
	linkOwner     = 44
	linkManagedBy = 72
)

// targets gives what links of an object lead to.
func (w *writing) targets(ctx context.Context, id directory.ObjectID, attributes ...int32) ([]directory.ObjectID, error) {
	rows, err := w.Query(ctx, `SELECT target FROM directory.link WHERE source = $1 AND attribute = ANY ($2)`, id, attributes)
	if err != nil {
		return nil, err
	}
	return collectIDs(rows)
}

func collectIDs(rows pgx.Rows) ([]directory.ObjectID, error) {
	return pgx.CollectRows(rows, pgx.RowTo[directory.ObjectID])
}
