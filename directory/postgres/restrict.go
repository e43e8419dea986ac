package postgres

import (
	"context"
	"slices"
	"strconv"

	"waypost/directory"
	"waypost/directory/access"
	"waypost/directory/index"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// MaySendTo implements directory.AddressBook. Who is refused (unauthOrig,
// dLMemRejectPerms) is refused whatever else is said of him; where anybody is
// named as allowed (authOrig, dLMemSubmitPerms), only those are; what others than
// its moderators and owners send to a moderated group needs their approval. A
// sender that nobody vouches for is no person of ours when it comes to being
// allowed, but is when it comes to being refused; contacts are taken for who they
// say they are, but not for moderators. It needs no SQL.
func (s *Store) MaySendTo(ctx context.Context, from directory.Sender, group directory.ObjectID) ([]directory.Target, error) {
	g := s.view.get(group)
	if g == nil || g.kind != directory.KindGroup {
		return nil, errNoGroup
	}
	x := s.index.Load()
	inside, moderated, err := flagged(ctx, x, group)
	if err != nil {
		return nil, err
	}
	if inside && !from.Known {
		return nil, directory.ErrSignInFirst
	}
	who := s.sender(from.Address)
	refused, err := s.isAmong(ctx, who, x.Linked(group, "unauthOrig"), x.Linked(group, "dLMemRejectPerms"))
	if err != nil {
		return nil, err
	}
	if refused {
		return nil, directory.ErrRefused
	}
	if !from.Known && who != nil && who.kind != directory.KindContact {
		who = nil
	}
	one, of := x.Linked(group, "authOrig"), x.Linked(group, "dLMemSubmitPerms")
	if len(one)+len(of) > 0 {
		allowed, err := s.isAmong(ctx, who, one, of)
		if err != nil {
			return nil, err
		}
		if !allowed {
			return nil, directory.ErrNotAllowed
		}
	}
	if !moderated {
		return nil, nil
	}
	return s.approvers(ctx, x, g, who, from.Known)
}

// flagged reads the two rules of a group that are no links.
func flagged(ctx context.Context, x *index.Index, group directory.ObjectID) (inside, moderated bool, err error) {
	e, err := x.Get(ctx, group, &tree.Query{Attributes: []string{"msExchRequireAuthToSendTo", "msExchEnableModeration"}}, nil)
	if err != nil {
		return false, false, err
	}
	says := func(name string) bool { v := e.Get(name); return len(v) > 0 && v[0] == "TRUE" }
	return says("msExchRequireAuthToSendTo"), says("msExchEnableModeration"), nil
}

// ruled tells whether anything is said of who may send to a group that mail can
// be sent to. Mail to a group that it is in then goes to it as to a recipient of
// its own.
func (s *Store) ruled(ctx context.Context, id uint32) bool {
	x, group := s.index.Load(), directory.ObjectID(id)
	inside, moderated, err := flagged(ctx, x, group)
	if err != nil {
		return false // gone
	}
	rules := inside || moderated
	for _, name := range []string{"authOrig", "dLMemSubmitPerms", "unauthOrig", "dLMemRejectPerms"} {
		rules = rules || len(x.Linked(group, name)) > 0
	}
	if !rules {
		return false
	}
	e := s.view.get(group)
	return e != nil && e.address != ""
}

// maxApprovers bounds who is asked about one message.
const maxApprovers = 50

// approvers gives who must approve a message of who to a moderated group: its
// moderators, or its owners when it has none, and the members of those that are
// groups; nobody when who is one of either.
func (s *Store) approvers(ctx context.Context, x *index.Index, g *entry, who *entry, known bool) ([]directory.Target, error) {
	moderators := x.Linked(g.id, "msExchModeratedByLink")
	var owners []directory.ObjectID
	for _, id := range g.owners {
		owners = append(owners, directory.ObjectID(id))
	}
	if known {
		all := append(slices.Clone(moderators), owners...)
		if ok, err := s.isAmong(ctx, who, all, all); ok || err != nil {
			return nil, err
		}
	}
	for _, some := range [][]directory.ObjectID{moderators, owners} {
		seen := map[directory.ObjectID]bool{}
		var ask []directory.Target
		add := func(list []directory.Target) {
			for _, t := range list {
				if !seen[t.ID] && len(ask) < maxApprovers {
					seen[t.ID] = true
					ask = append(ask, t)
				}
			}
		}
		for _, id := range some {
			e := s.view.get(id)
			switch {
			case e == nil:
			case isGroup(e.family):
				// Those of groups inside it that have rules of their own are not
				// asked: what is sent to them could itself need approval.
				list, err := s.expand(ctx, e, 0, maxApprovers)
				if err != nil {
					return nil, err
				}
				add(slices.DeleteFunc(list, func(t directory.Target) bool {
					m := s.view.get(t.ID)
					return m == nil || isGroup(m.family)
				}))
			case e.mailbox != 0 || e.forwards:
				add(s.fillForwards(ctx, []directory.Target{e.target()}))
			}
		}
		if len(ask) > 0 {
			return ask, nil
		}
	}
	return nil, directory.ErrModerated
}

// sender finds whose address it is, with any +detail; nil for nobody's.
func (s *Store) sender(address string) *entry {
	if address == "" {
		return nil
	}
	key, err := directory.AddressKey(address)
	if err != nil {
		return nil
	}
	if e := s.view.find(nameAddress, key); e != nil {
		return e
	}
	r, err := s.lookUp(address)
	if err != nil || r.Target.ID == 0 {
		return nil
	}
	return s.view.get(r.Target.ID)
}

// isAmong tells whether who is one of some, or is in one of groups, however
// deep.
func (s *Store) isAmong(ctx context.Context, who *entry, some, groups []directory.ObjectID) (bool, error) {
	if who == nil || len(some)+len(groups) == 0 {
		return false, nil
	}
	if slices.Contains(some, who.id) {
		return true, nil
	}
	if len(groups) == 0 {
		return false, nil
	}
	in := s.index.Load().Groups(who.id)
	if slices.ContainsFunc(groups, func(g directory.ObjectID) bool { return slices.Contains(in, g) }) {
		return true, nil
	}
	for _, id := range groups {
		g := s.view.get(id)
		if g == nil || !isGroup(g.family) {
			continue
		}
		// Groups by filter are in no memberOf.
		_, seen, err := s.closure(ctx, g, 0, nil)
		if err != nil {
			return false, err
		}
		if seen.has(uint32(who.id)) { //nolint:gosec // index.MaxID bounds ids
			return true, nil
		}
	}
	return false, nil
}

// onGroup gives the rights of somebody on a group as the view has it. It is asked
// under the index's lock, so protected groups that this one is in do not count.
func (r *rights) onGroup(e *entry) *access.Permissions {
	return r.on(subject{
		id: e.id, class: e.class, chain: []directory.ObjectID{e.parent}, listed: len(e.acl) > 0, protected: e.protected, hidden: e.hideMembers,
		owned: slices.ContainsFunc(e.owners, func(id uint32) bool {
			return directory.ObjectID(id) == r.as.ID || r.groups[directory.ObjectID(id)]
		}),
	})
}

// mayManageMembers lets administrators change the members of every group, others
// those of the groups that they own or that were delegated to them.
func (s *Store) mayManageMembers(ctx context.Context, as directory.Principal, id directory.ObjectID) error {
	if err := s.may(ctx, as, change); err == nil || fault.Of(err) != fault.Denied {
		return err
	}
	e := s.view.get(id)
	if as.ID == 0 || as.App || e == nil || e.family != group {
		return fault.New(fault.Denied, "not allowed")
	}
	r, err := s.rightsOf(ctx, as)
	if err != nil {
		return err
	}
	member, ok := r.sch.Attribute("member")
	if !ok || r.guards(id) || !r.onGroup(e).Write(member) {
		return fault.New(fault.Denied, "not allowed")
	}
	return nil
}

// membersShown gives the direct members of a group that as may see; those of a
// group by filter are whom it finds.
func (s *Store) membersShown(ctx context.Context, as directory.Principal, e *entry) ([]uint32, error) {
	if e.hideMembers && s.may(ctx, as, seeAll) != nil {
		r, err := s.rightsOf(ctx, as)
		if err != nil {
			return nil, err
		}
		if member, ok := r.sch.Attribute("member"); !ok || !r.onGroup(e).Read(member) {
			return nil, nil
		}
	}
	if e.family == dynamic {
		ids, err := s.found(ctx, e.id, "msExchDynamicDLFilter", "msExchDynamicDLBaseDN", false)
		return s.view.withAddress(ids), err
	}
	return e.members, nil
}

// hidesMembers tells whether an object is a group that hides who is in it.
func (v *view) hidesMembers(id directory.ObjectID) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	s := v.slot(id)
	return s != nil && s.flags&slotHideMembers != 0
}

// Hides implements index.Hider: memberOf does not tell of groups that hide their
// members from the reader.
func (s *sight) Hides(a *schema.Attribute) func(directory.ObjectID) bool {
	member, ok := s.r.sch.Attribute("member")
	if !ok || a.Name != "memberOf" {
		return nil
	}
	v := &s.r.lists.store.view
	return func(id directory.ObjectID) bool {
		if !v.hidesMembers(id) {
			return false
		}
		e := v.get(id)
		return e != nil && !s.r.onGroup(e).Read(member)
	}
}

// groupRules tells what holds for a group, as far as as may read it.
func (s *Store) groupRules(ctx context.Context, as directory.Principal, e *entry) (g directory.GroupRules, err error) {
	view, _, err := s.sightOf(ctx, as)
	if err != nil {
		return g, err
	}
	links := []struct {
		name string
		to   *[]directory.Member
	}{
		{"managedBy", &g.Owners},
		{"owner", &g.Owners},
		{"authOrig", &g.Allowed},
		{"dLMemSubmitPerms", &g.Allowed},
		{"unauthOrig", &g.Refused},
		{"dLMemRejectPerms", &g.Refused},
		{"msExchModeratedByLink", &g.Moderators},
	}
	q := &tree.Query{Attributes: []string{
		"groupType", "msExchDynamicDLFilter", "msExchDynamicDLBaseDN", "hideDLMembership", "msExchHideFromAddressLists",
		"msExchRequireAuthToSendTo", "msExchEnableModeration",
	}}
	for _, l := range links {
		q.Attributes = append(q.Attributes, l.name)
	}
	x := s.index.Load()
	got, err := x.Get(ctx, e.id, q, view)
	if err != nil {
		if fault.Of(err) == fault.NotFound {
			err = errNoGroup
		}
		return g, err
	}
	one := func(name string) string {
		if v := got.Get(name); len(v) > 0 {
			return v[0]
		}
		return ""
	}
	g.Filter, g.Base = one("msExchDynamicDLFilter"), one("msExchDynamicDLBaseDN")
	kind, _ := strconv.ParseInt(one("groupType"), 10, 64)
	g.Security = kind < 0
	g.HiddenMembers, g.Hidden = one("hideDLMembership") == "TRUE", one("msExchHideFromAddressLists") == "TRUE"
	g.SignedInOnly, g.Moderated = one("msExchRequireAuthToSendTo") == "TRUE", one("msExchEnableModeration") == "TRUE"
	for _, l := range links {
		if len(got.Get(l.name)) == 0 {
			continue
		}
		for _, id := range x.Linked(e.id, l.name) {
			if m := s.view.get(id); m != nil {
				*l.to = append(*l.to, directory.Member{ID: m.id, Kind: m.kind, Address: m.address, Name: m.name})
			}
		}
	}
	return g, nil
}
