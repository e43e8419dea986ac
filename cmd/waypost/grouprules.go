package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"waypost/cmd/internal/roles"
	"waypost/directory"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// groupRules are the flags of what holds for a group. A list that is given
// takes the place of the one before; "none" empties it.
type groupRules struct {
	Dynamic       *string  `help:"Find the members by this filter (RFC 4515), when mail is sent, instead of naming them." placeholder:"FILTER"`
	Base          *string  `help:"Where --dynamic looks: a DN, a domain, or a unit as a path; everywhere if not given." placeholder:"OU"`
	Owner         []string `help:"Who may change the members; may be repeated." placeholder:"ADDRESS"`
	Restrict      []string `help:"Only these people, and the members of these groups, may send to it; may be repeated." placeholder:"ADDRESS"`
	Refuse        []string `help:"These people, and the members of these groups, may not send to it; may be repeated." placeholder:"ADDRESS"`
	Moderator     []string `help:"What others send waits until one of these people, or of the members of these groups, approves it by mail; may be repeated." placeholder:"ADDRESS"`
	Internal      *bool    `negatable:"" help:"Take no messages from outside, or take them."`
	HiddenMembers *bool    `negatable:"" help:"Show the members to nobody but those who may change them, or show them."`
	Hidden        *bool    `negatable:"" help:"Not shown in address lists, or shown."`
	Security      *bool    `negatable:"" help:"Rights can be given to it, or it is for mail alone."`
}

// none tells that no flag was given.
func (r *groupRules) none() bool {
	return r.Dynamic == nil && r.Base == nil && len(r.Owner)+len(r.Restrict)+len(r.Refuse)+len(r.Moderator) == 0 &&
		r.Internal == nil && r.HiddenMembers == nil && r.Hidden == nil && r.Security == nil
}

// openTree opens the tree for a command that needs it seldom.
func (a *app) openTree(ctx context.Context) error {
	if a.more.bulk != nil {
		return nil
	}
	tool, err := roles.OpenTool(ctx, a.cfg, quietLog(), roles.Need{Directory: true, Tree: true})
	if err != nil {
		return err
	}
	a.more.closers = append(a.more.closers, tool.Close)
	a.dir, a.more.bulk = tool.Directory, tool.Bulk
	return nil
}

// recipient is somebody that a rule names.
type recipient struct {
	dn    string
	group bool
}

// recipients finds people and groups by address, account or DN.
func (a *app) recipients(ctx context.Context, names []string) (list []recipient, err error) {
	for _, name := range names {
		if name == "none" {
			continue
		}
		dn, err := a.named(ctx, name)
		if err != nil {
			return nil, err
		}
		found := false
		err = a.tree().Search(ctx, operator(), &tree.Query{Base: dn, Scope: tree.Base, Attributes: []string{"objectClass"}}, func(e *tree.Entry) error {
			found = true
			r := recipient{dn: e.DN}
			for _, c := range e.Get("objectClass") {
				r.group = r.group || c == "group" || c == "msExchDynamicDistributionList"
			}
			list = append(list, r)
			return nil
		})
		if err == nil && !found {
			err = fault.New(fault.NotFound, "no entry %s", dn)
		}
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// mods are the rules as changes of attributes.
func (a *app) mods(ctx context.Context, r *groupRules) (mods []tree.Modification, err error) {
	set := func(name string, values ...string) {
		mods = append(mods, tree.Modification{Op: tree.ModReplace, Name: name, Values: values})
	}
	if r.Dynamic != nil {
		if _, err := tree.ParseFilter(*r.Dynamic); err != nil {
			return nil, err
		}
		set("msExchDynamicDLFilter", *r.Dynamic)
	}
	if r.Base != nil {
		if *r.Base == "" {
			set("msExchDynamicDLBaseDN")
		} else {
			dn, err := a.unit(*r.Base)
			if err != nil {
				return nil, err
			}
			set("msExchDynamicDLBaseDN", dn.String())
		}
	}
	for _, l := range []struct {
		names          []string
		people, groups string
	}{
		{r.Owner, "managedBy", "managedBy"},
		{r.Restrict, "authOrig", "dLMemSubmitPerms"},
		{r.Refuse, "unauthOrig", "dLMemRejectPerms"},
		{r.Moderator, "msExchModeratedByLink", "msExchModeratedByLink"},
	} {
		if len(l.names) == 0 {
			continue
		}
		who, err := a.recipients(ctx, l.names)
		if err != nil {
			return nil, err
		}
		values := map[string][]string{l.people: nil, l.groups: nil}
		for _, w := range who {
			to := l.people
			if w.group {
				to = l.groups
			}
			values[to] = append(values[to], w.dn)
		}
		switch {
		case l.people == "managedBy": // one value; the others own it all the same
			first, rest := values["managedBy"], []string(nil)
			if len(first) > 1 {
				first, rest = first[:1], first[1:]
			}
			set("managedBy", first...)
			set("owner", rest...)
			continue
		case l.people == "msExchModeratedByLink":
			if len(who) > 0 {
				set("msExchEnableModeration", "TRUE")
			} else {
				set("msExchEnableModeration")
			}
		}
		set(l.people, values[l.people]...)
		if l.groups != l.people {
			set(l.groups, values[l.groups]...)
		}
	}
	for _, b := range []struct {
		name string
		on   *bool
	}{
		{"msExchRequireAuthToSendTo", r.Internal}, {"hideDLMembership", r.HiddenMembers}, {"msExchHideFromAddressLists", r.Hidden},
	} {
		switch {
		case b.on == nil:
		case *b.on:
			set(b.name, "TRUE")
		default:
			set(b.name)
		}
	}
	if r.Security != nil {
		kind := "8" // a universal distribution group (MS-ADTS 2.2.12)
		if *r.Security {
			kind = "-2147483640"
		}
		set("groupType", kind)
	}
	return mods, nil
}

// domainOf gives the DN of the domain of an address.
func (a *app) domainOf(address string) (tree.DN, error) {
	_, domain, err := directory.SplitAddress(address)
	if err != nil {
		return nil, err
	}
	for _, dn := range a.tree().Contexts() {
		if labels := dn.Labels(); len(labels) == len(dn) && strings.EqualFold(strings.Join(labels, "."), domain) {
			return dn, nil
		}
	}
	return nil, fault.New(fault.NotFound, "%s is no domain of ours; add it with: waypost domain add %s", domain, domain)
}

// addDynamic makes a group by filter.
func (a *app) addDynamic(ctx context.Context, address, name string, r *groupRules) error {
	domain, err := a.domainOf(address)
	if err != nil {
		return err
	}
	if r.Security != nil && *r.Security {
		return fault.New(fault.Invalid, "a group by filter is for mail alone")
	}
	r.Security = nil
	mods, err := a.mods(ctx, r)
	if err != nil {
		return err
	}
	attributes := []tree.Attribute{
		{Name: "objectClass", Values: []string{"top", "msExchDynamicDistributionList"}},
		{Name: "displayName", Values: []string{name}},
		{Name: "mail", Values: []string{address}},
	}
	for _, m := range mods {
		if len(m.Values) > 0 {
			attributes = append(attributes, tree.Attribute{Name: m.Name, Values: m.Values})
		}
	}
	_, err = a.tree().AddEntry(ctx, operator(), domain.Child(tree.RDN{{Attribute: "cn", Value: name}}), attributes, tree.Options{From: "command line"})
	return err
}

// rule changes what holds for a group.
func (a *app) rule(ctx context.Context, address string, mods []tree.Modification) error {
	if len(mods) == 0 {
		return nil
	}
	dn, err := a.named(ctx, address)
	if err != nil {
		return err
	}
	_, err = a.tree().ModifyEntry(ctx, operator(), dn, mods, tree.Options{From: "command line"})
	return err
}

func (a *app) groupSet(ctx context.Context, c *cli) error {
	in := c.Group.Set
	if _, err := a.dir.Group(ctx, operator(), in.Address); err != nil {
		return err
	}
	mods, err := a.mods(ctx, &in.groupRules)
	if err != nil {
		return err
	}
	if in.Name != nil {
		mods = append(mods, tree.Modification{Op: tree.ModReplace, Name: "displayName", Values: []string{*in.Name}})
	}
	if len(mods) == 0 {
		return fault.New(fault.Invalid, "nothing to change was named; see: waypost group set --help")
	}
	if err := a.rule(ctx, in.Address, mods); err != nil {
		return err
	}
	g, err := a.dir.Group(ctx, operator(), in.Address)
	if err != nil {
		return err
	}
	return a.out.done(g, "Changed %s.", g.Address)
}

// moderators are who is asked about messages of others.
func moderators(g *directory.GroupRules) []directory.Member {
	if len(g.Moderators) > 0 {
		return g.Moderators
	}
	return g.Owners
}

// showRules prints what holds for a group.
func showRules(w io.Writer, g *directory.GroupRules) {
	names := func(list []directory.Member) string {
		var all []string
		for _, m := range list {
			if m.Address == "" {
				m.Address = m.Name
			}
			all = append(all, m.Address)
		}
		return strings.Join(all, ", ")
	}
	yes := func(on bool, text string) string {
		if on {
			return text
		}
		return ""
	}
	for _, f := range []struct{ name, value string }{
		{"Members by", g.Filter},
		{"Below", g.Base},
		{"Owners", names(g.Owners)},
		{"Only from", names(g.Allowed)},
		{"Not from", names(g.Refused)},
		{"Moderated by", yes(g.Moderated, names(moderators(g)))},
		{"Outside", yes(g.SignedInOnly, "takes no messages from outside")},
		{"Members", yes(g.HiddenMembers, "hidden from others")},
		{"Address lists", yes(g.Hidden, "not shown in them")},
		{"Rights", yes(g.Security, "can be given to it")},
	} {
		if f.value != "" {
			fmt.Fprintf(w, "  %-14s %s\n", f.name, f.value)
		}
	}
}
