package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
)

// maxMembers bounds the members added and removed in one call.
const maxMembers = 10000

// distributionUniversal is AD's groupType of a distribution list.
const distributionUniversal = "8"

// AddGroup implements directory.Directory.
func (s *Store) AddGroup(ctx context.Context, as directory.Principal, address, name string) (g directory.Group, err error) {
	defer fault.Wrap(&err, "add group %s", address)
	if err := s.may(ctx, as, change); err != nil {
		return g, err
	}
	if address, err = directory.CleanAddress(address); err != nil {
		return g, err
	}
	local, _, _ := directory.SplitAddress(address)
	if name, err = cleanText("displayName", name); err != nil {
		return g, err
	}
	if name == "" {
		name = local
	}
	err = s.write(ctx, actor{as: as, op: "add group"}, func(ctx context.Context, w *writing) error {
		o := &object{id: w.newObject(), guid: newGUID(), class: classGroup, naming: "cn", rdn: name, attrs: attributes{}}
		var sid []byte
		if o.parent, sid, err = w.place(ctx, address, ""); err != nil {
			return err
		}
		o.sid = ownSID(sid, o.id)
		account, err := w.freeAccount(ctx, local)
		if err != nil {
			return err
		}
		if err := o.putAddresses(address, nil); err != nil {
			return err
		}
		o.attrs.set("displayName", name)
		o.attrs.set("cn", name)
		o.attrs.set("groupType", distributionUniversal)
		o.attrs.set("sAMAccountName", account)
		if err := w.save(ctx, o, true); err != nil {
			return err
		}
		g = o.group()
		return nil
	})
	return g, err
}

func (o *object) group() directory.Group {
	return directory.Group{
		ID: o.id, GUID: o.guid, Address: o.attrs.get("mail"), Addresses: smtpAddresses(o.attrs),
		Name: o.attrs.get("displayName"), Changed: o.usn,
	}
}

// RemoveGroup implements directory.Directory. Its members stay.
func (s *Store) RemoveGroup(ctx context.Context, as directory.Principal, id directory.ObjectID) (err error) {
	defer fault.Wrap(&err, "remove group %d", id)
	if err := s.may(ctx, as, change); err != nil {
		return err
	}
	return s.write(ctx, actor{as: as, op: "remove group"}, func(ctx context.Context, w *writing) error {
		o, err := w.readGroup(ctx, id)
		if err != nil {
			return err
		}
		if len(o.sid) > 0 && o.builtIn() {
			return fault.New(fault.Denied, "a built-in group stays")
		}
		return w.bury(ctx, o)
	})
}

func (w *writing) readGroup(ctx context.Context, id directory.ObjectID) (*object, error) {
	o, err := w.read(ctx, id)
	if fault.Of(err) == fault.NotFound || err == nil && (!isGroup(familyOf(w.schema, o.class)) || o.attrs.get("mail") == "") {
		return nil, errNoGroup
	}
	return o, err
}

func isGroup(f family) bool { return f == group || f == dynamic }

var errNoGroup = fault.New(fault.NotFound, "no such group")

// Group implements directory.Directory. A person sees groups that the address
// list shows, and of their members those.
func (s *Store) Group(ctx context.Context, as directory.Principal, address string) (g directory.Group, err error) {
	defer fault.Wrap(&err, "look up group %s", address)
	if err := s.may(ctx, as, seeList); err != nil {
		return g, err
	}
	key, err := directory.AddressKey(address)
	if err != nil {
		return g, err
	}
	all := s.may(ctx, as, seeAll) == nil
	e := s.view.find(nameAddress, key)
	if e == nil || e.kind != directory.KindGroup || !all && !e.listed() {
		return g, errNoGroup
	}
	found, err := s.groups(ctx, []*entry{e})
	if err != nil {
		return g, err
	}
	if len(found) == 0 {
		return g, errNoGroup
	}
	g = found[0]
	rules, err := s.groupRules(ctx, as, e)
	if err != nil {
		return g, err
	}
	members, err := s.membersShown(ctx, as, e)
	if err != nil {
		return g, err
	}
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	for _, id := range members {
		m := s.view.entry(directory.ObjectID(id))
		if m != nil && m.kind != 0 && (all || m.listed()) {
			g.Members = append(g.Members, directory.Member{ID: m.id, Kind: m.kind, Address: m.address, Name: m.name})
		}
	}
	g.Count = len(g.Members)
	g.GroupRules = rules
	return g, nil
}

// groups reads the wide attributes of group entries and keeps their order.
func (s *Store) groups(ctx context.Context, entries []*entry) ([]directory.Group, error) {
	ids := make([]directory.ObjectID, len(entries))
	for i, e := range entries {
		ids[i] = e.id
	}
	rows, err := s.db.Query(ctx, objectSQL+`o.id = ANY($1)`, ids)
	if err != nil {
		return nil, err
	}
	objects, err := pgx.CollectRows(rows, scanObject)
	if err != nil {
		return nil, err
	}
	byID := make(map[directory.ObjectID]*object, len(objects))
	for _, o := range objects {
		byID[o.id] = o
	}
	all := make([]directory.Group, 0, len(entries))
	for _, e := range entries {
		if o := byID[e.id]; o != nil {
			g := o.group()
			g.Count = len(e.members)
			all = append(all, g)
		}
	}
	return all, nil
}

// Groups implements directory.Directory.
func (s *Store) Groups(ctx context.Context, as directory.Principal, p directory.Page) (_ []directory.Group, err error) {
	defer fault.Wrap(&err, "list groups")
	if err := s.may(ctx, as, seeAll); err != nil {
		return nil, err
	}
	page, err := s.page(ctx, p, directory.KindGroup)
	if err != nil {
		return nil, err
	}
	return s.groups(ctx, page)
}

// SetMembers implements directory.Directory. Adding who is a member, and
// removing who is none, changes nothing and is no error.
func (s *Store) SetMembers(ctx context.Context, as directory.Principal, id directory.ObjectID, add, remove []string) (err error) {
	defer fault.Wrap(&err, "set the members of group %d", id)
	if err := s.mayManageMembers(ctx, as, id); err != nil {
		return err
	}
	if len(add)+len(remove) > maxMembers {
		return fault.New(fault.Limit, "at most %d members at a time", maxMembers)
	}
	return s.write(ctx, actor{as: as, op: "set members"}, func(ctx context.Context, w *writing) error {
		o, err := w.readGroup(ctx, id)
		if err != nil {
			return err
		}
		if o.class == classDynamic {
			return fault.New(fault.Invalid, "the members of this group are found by its filter")
		}
		in, err := w.mailObjects(ctx, add)
		if err != nil {
			return err
		}
		out, err := w.mailObjects(ctx, remove)
		if err != nil {
			return err
		}
		if err := w.checkCycle(ctx, id, in); err != nil {
			return err
		}
		b := &pgx.Batch{}
		b.Queue(`DELETE FROM directory.link WHERE attribute = 2 AND source = $1 AND target = ANY($2)`, id, out)
		b.Queue(`INSERT INTO directory.link (attribute, source, target, usn) SELECT 2, $1, t, $3 FROM unnest($2::bigint[]) t ON CONFLICT DO NOTHING`, id, in, w.usn)
		if err := w.Batch(ctx, b); err != nil {
			return err
		}
		return w.save(ctx, o, false)
	})
}

// mailObjects gives the objects that have these addresses.
func (w *writing) mailObjects(ctx context.Context, addresses []string) ([]directory.ObjectID, error) {
	if len(addresses) == 0 {
		return nil, nil
	}
	keys := make([]string, len(addresses))
	for i, a := range addresses {
		key, err := directory.AddressKey(a)
		if err != nil {
			return nil, err
		}
		keys[i] = key
	}
	rows, err := w.Query(ctx, `SELECT key, object FROM directory.name WHERE kind = 1 AND key = ANY($1)`, keys)
	if err != nil {
		return nil, err
	}
	found := make(map[string]directory.ObjectID, len(keys))
	var key string
	var id directory.ObjectID
	if _, err := pgx.ForEachRow(rows, []any{&key, &id}, func() error { found[key] = id; return nil }); err != nil {
		return nil, err
	}
	ids := make([]directory.ObjectID, len(keys))
	for i, key := range keys {
		if ids[i] = found[key]; ids[i] == 0 {
			return nil, fault.New(fault.NotFound, "nobody here has the address %s", addresses[i])
		}
	}
	return ids, nil
}

// checkCycle refuses members through which the group would contain itself.
// The counter row is held, so nobody closes the circle in between.
func (w *writing) checkCycle(ctx context.Context, group directory.ObjectID, members []directory.ObjectID) error {
	var address string
	err := w.QueryRow(ctx, `
		WITH RECURSIVE inside (id, via) AS (
			SELECT m, m FROM unnest($1::bigint[]) m
			UNION SELECT l.target, i.via FROM inside i, LATERAL (SELECT target FROM directory.link WHERE attribute = 2 AND source = i.id OFFSET 0) l
			JOIN directory.object o ON o.id = l.target AND o.class = $3)
		SELECT o.address FROM inside i JOIN directory.object o ON o.id = i.via WHERE i.id = $2 LIMIT 1`,
		members, group, classGroup).Scan(&address)
	switch {
	case err == nil:
		return fault.New(fault.Invalid, "the group would contain itself through %s", address)
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	}
	return err
}
