package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
)

// User implements directory.Directory. A person sees itself whole, and of
// others what the address list shows; hidden ones do not exist for it.
func (s *Store) User(ctx context.Context, as directory.Principal, id directory.ObjectID) (u directory.User, err error) {
	defer fault.Wrap(&err, "look up user %d", id)
	if err := s.may(ctx, as, seeList); err != nil {
		return u, err
	}
	return s.user(ctx, as, s.view.get(id))
}

// UserByAddress implements directory.Directory.
func (s *Store) UserByAddress(ctx context.Context, as directory.Principal, address string) (u directory.User, err error) {
	defer fault.Wrap(&err, "look up %s", address)
	if err := s.may(ctx, as, seeList); err != nil {
		return u, err
	}
	return s.user(ctx, as, s.view.login(address))
}

var errNoUser = fault.New(fault.NotFound, "no such user")

func (s *Store) user(ctx context.Context, as directory.Principal, e *entry) (directory.User, error) {
	if e == nil || e.family != person {
		return directory.User{}, errNoUser
	}
	all := as.ID == e.id || s.may(ctx, as, seeAll) == nil
	if !all && !e.listed() {
		return directory.User{}, errNoUser
	}
	found, err := s.users(ctx, []*entry{e}, all)
	if err != nil {
		return directory.User{}, err
	}
	if len(found) == 0 {
		return directory.User{}, errNoUser // removed a moment ago
	}
	return found[0], nil
}

// keptPeople is how many people's wide attributes are kept: those whose programs
// ask now. A few KiB each.
const keptPeople = 4096

// as tells whether an object that was read is as the view has it.
func (o *object) as(e *entry) bool {
	if o.account == nil {
		return o.usn == e.usn && e.epoch == 0
	}
	return o.usn == e.usn && o.account.epoch == e.epoch && o.account.enabled == e.enabled
}

// users reads the wide attributes of entries and keeps their order. Without
// all, only what the address list shows is told.
func (s *Store) users(ctx context.Context, entries []*entry, all bool) ([]directory.User, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	byID := make(map[directory.ObjectID]*object, len(entries))
	var ids []directory.ObjectID
	for _, e := range entries {
		if o, ok := s.people.GetIfPresent(e.id); ok && o.as(e) {
			byID[e.id] = o
		} else {
			ids = append(ids, e.id)
		}
	}
	if len(ids) > 0 {
		rows, err := s.db.Query(ctx, objectSQL+`o.id = ANY($1)`, ids)
		if err != nil {
			return nil, err
		}
		objects, err := pgx.CollectRows(rows, scanObject)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			byID[o.id] = o
			s.people.Set(o.id, o)
		}
	}
	users := make([]directory.User, 0, len(entries))
	for _, e := range entries {
		o := byID[e.id]
		if o == nil {
			continue
		}
		s.view.mu.RLock()
		path := s.view.path(e)
		s.view.mu.RUnlock()
		u, err := o.user(s.Schema(), path)
		if err != nil {
			return nil, err
		}
		if !all {
			u.UPN, u.Account, u.HomeMDB, u.OU = "", "", "", ""
			u.Quota, u.Roles, u.Epoch, u.Enabled = 0, 0, 0, false
		}
		users = append(users, u)
	}
	return users, nil
}

// Users implements directory.Directory.
func (s *Store) Users(ctx context.Context, as directory.Principal, p directory.Page) (_ []directory.User, err error) {
	defer fault.Wrap(&err, "list users")
	if err := s.may(ctx, as, seeAll); err != nil {
		return nil, err
	}
	page, err := s.page(ctx, p, directory.KindUser, directory.KindRoom, directory.KindEquipment)
	if err != nil {
		return nil, err
	}
	return s.users(ctx, page, true)
}

// page gives a part of all entries of some kinds, by id.
func (s *Store) page(ctx context.Context, p directory.Page, kinds ...directory.Kind) ([]*entry, error) {
	limit, err := pageLimit(p.Limit, defaultPage)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `
		SELECT id FROM unnest($1::smallint[]) AS k (kind), LATERAL (
			SELECT id FROM directory.object o WHERE o.kind = k.kind AND o.id > $2 ORDER BY o.id LIMIT $3) AS found
		ORDER BY id LIMIT $3`, kinds, p.After, limit)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[directory.ObjectID])
	if err != nil {
		return nil, err
	}
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	var page []*entry
	for _, id := range ids {
		if e := s.view.entry(id); e != nil {
			page = append(page, e)
		}
	}
	return page, nil
}

// People implements directory.Directory. Every word of the text must begin a
// word of the hit. Groups of the address list are hits too, of KindGroup.
func (s *Store) People(ctx context.Context, as directory.Principal, q directory.PeopleQuery) (_ []directory.User, total int, err error) {
	defer fault.Wrap(&err, "search the address list")
	if err := s.may(ctx, as, seeList); err != nil {
		return nil, 0, err
	}
	limit, err := pageLimit(q.Limit, defaultPage)
	if err != nil {
		return nil, 0, err
	}
	if q.Offset < 0 {
		return nil, 0, fault.New(fault.Invalid, "an offset cannot be negative")
	}
	if len(q.Text) > 4*maxText {
		return nil, 0, fault.New(fault.TooLarge, "the text to search for is too long")
	}
	var only bits
	if q.List != 0 {
		if only, err = s.listMembers(ctx, as, q.List); err != nil {
			return nil, 0, err
		}
	}
	page, total := s.view.search(q.Text, q.Offset, limit, only)
	users, err := s.users(ctx, page, s.may(ctx, as, seeAll) == nil)
	return users, total, err
}

// search gives a part of the listed entries that match text, by name; of those
// in only, unless it is nil.
func (v *view) search(text string, offset, limit int, only bits) (page []*entry, total int) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	words := directory.Words(text)
	if whole := directory.Fold(strings.TrimSpace(text)); len(words) > 1 && !strings.Contains(whole, " ") {
		words = []string{whole} // "a.smith", "smith@example.test": as it is written
	}
	if len(words) == 0 {
		if strings.TrimSpace(text) != "" {
			return nil, 0
		}
		if only != nil {
			return v.pageOf(only, offset, limit)
		}
		for _, id := range v.byName.from(offset, limit) {
			page = append(page, v.entry(directory.ObjectID(id)))
		}
		return page, v.listed
	}
	// The longest word leaves the fewest to look at.
	slices.SortFunc(words, func(a, b string) int { return len(b) - len(a) })
	var hits []*entry
	seen := newBits(len(v.slots) * pageSlots)
	v.words.prefix(words[0], func(id uint32) {
		if !seen.set(id) || only != nil && !only.has(id) {
			return
		}
		e := v.entry(directory.ObjectID(id))
		for _, w := range words[1:] {
			if !strings.HasPrefix(e.terms, w) && !strings.Contains(e.terms, " "+w) {
				return
			}
		}
		hits = append(hits, e)
	})
	slices.SortFunc(hits, byOrder)
	from := min(offset, len(hits))
	return hits[from:min(from+limit, len(hits))], len(hits)
}

// login finds who signs in as name: an address, a UPN, account@domain (AD's
// implicit UPN), DOMAIN\account or an account name.
func (v *view) login(name string) *entry {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if domain, account, ok := strings.Cut(name, `\`); ok {
		e := v.named(nameAccount, directory.Fold(account))
		if e != nil && v.inDomain(e, domain) {
			return e
		}
		return nil
	}
	at := strings.LastIndexByte(name, '@')
	if at < 0 {
		return v.named(nameAccount, directory.Fold(name))
	}
	key, err := directory.AddressKey(name)
	if err != nil {
		return nil
	}
	for _, k := range []nameKind{nameUPN, nameAddress} {
		if e := v.named(k, key); e != nil {
			return e
		}
	}
	if e := v.named(nameAccount, directory.Fold(name[:at])); e != nil && v.inDomain(e, name[at+1:]) {
		return e
	}
	return nil
}

// inDomain tells whether e's domain has this DNS name or, as NetBIOS name, this
// first label.
func (v *view) inDomain(e *entry, name string) bool {
	d := v.domainOf(e)
	if d == nil {
		return false
	}
	name = directory.Fold(name)
	label, _, _ := strings.Cut(d.rdn, ".")
	return name == d.rdn || name == label
}
