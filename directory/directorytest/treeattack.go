package directorytest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"waypost/directory"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// signedIn adds a person with a password and gives who he is then.
func (h *here) signedIn(name, ou string, lines ...string) (dn string, who directory.Principal) {
	h.Helper()
	dn = h.person(name, ou, append([]string{"unicodePwd: " + quoted(secret)}, lines...)...)
	return dn, h.who(name)
}

func (h *here) who(name string) directory.Principal {
	h.Helper()
	u, err := h.f.UserByAddress(h.Context(), system, strings.ToLower(name)+"@example.test")
	if err != nil {
		h.Fatal(err)
	}
	return principal(u)
}

// answer is everything that a refusal tells the peer.
func answer(err error) string {
	if err == nil {
		return "done"
	}
	var r *tree.Refusal
	if errors.As(err, &r) {
		return fmt.Sprintf("%d %q %q", r.Code, r.Matched.String(), fault.Say(err))
	}
	return fault.Say(err)
}

// testTreeHidden: what may not be seen is answered like what is not there, by
// every operation.
func testTreeHidden(t *testing.T, w TreeWorld) {
	h := start(t, w)
	board := "OU=Board," + base
	h.add(board, "objectClass: organizationalUnit")
	h.add("OU=Files,"+board, "objectClass: organizationalUnit")
	hidden := h.person("Secret", board, "title: Chair")
	h.add("CN=Circle,OU=Sales,"+base, "objectClass: group", "hideDLMembership: TRUE")
	self, plain := h.signedIn("Plain", "CN=Users,"+base)
	_, chief := h.signedIn("Chief", "CN=Users,"+base)
	h.modify("CN=Circle,OU=Sales,"+base, "add member: "+self)
	list := "CN=List,OU=Sales," + base
	h.add(list, "objectClass: group", "member: "+hidden)
	h.modify("OU=Sales,"+base, fmt.Sprintf("add accessControlEntry: allow #%d full on all", chief.ID))
	h.modify(board, "add accessControlEntry: deny authenticated full on all")

	present := &tree.Filter{Op: tree.Present, Attribute: "objectClass"}
	search := func(scope tree.Scope, global, deleted bool) func(*here, string) error {
		return func(h *here, dn string) error {
			q := &tree.Query{Base: h.dn(dn), Scope: scope, Filter: present, Global: global, Deleted: deleted}
			return h.tr.Search(t.Context(), h.as, q, func(e *tree.Entry) error {
				return fmt.Errorf("%s is shown", e.DN)
			})
		}
	}
	up := func(dn string) string { _, rest, _ := strings.Cut(dn, ","); return rest }
	for what, call := range map[string]func(*here, string) error{
		"search it":           search(tree.Base, false, false),
		"search below it":     search(tree.One, false, false),
		"search all below it": search(tree.Sub, false, false),
		"search globally":     search(tree.Sub, true, false),
		"search removed ones": search(tree.Sub, false, true),
		"watch it": func(h *here, dn string) error {
			return h.tr.Watch(t.Context(), h.as, &tree.Query{Base: h.dn(dn), Scope: tree.Sub, Filter: present}, func(*tree.Event) error {
				return errors.New("watched")
			})
		},
		"compare": func(h *here, dn string) error {
			_, err := h.tr.Compare(t.Context(), h.as, h.dn(dn), "title", "Chair")
			return err
		},
		"modify":           func(h *here, dn string) error { return h.tryModify(dn, "replace title: x") },
		"delete":           func(h *here, dn string) error { return h.tryDelete(dn, false) },
		"delete a subtree": func(h *here, dn string) error { return h.tryDelete(dn, true) },
		"rename":           func(h *here, dn string) error { return h.tryMove(dn, "CN=Other", "") },
		"move":             func(h *here, dn string) error { return h.tryMove(dn, "CN=Other", "OU=Sales,"+base) },
		"add below it": func(h *here, dn string) error {
			_, err := h.tryAdd("CN=New,"+dn, "objectClass: user")
			return err
		},
		"add far below it": func(h *here, dn string) error {
			_, err := h.tryAdd("CN=New,OU=None,"+dn, "objectClass: user")
			return err
		},
		"reset its password": func(h *here, dn string) error { return h.tryModify(dn, "replace unicodePwd: "+quoted(secret)) },
		"set its password": func(h *here, dn string) error {
			_, err := h.tr.ChangePassword(t.Context(), h.as, h.dn(dn), nil, secret)
			return err
		},
		"guess its password": func(h *here, dn string) error {
			old := "some 1 thing"
			_, err := h.tr.ChangePassword(t.Context(), h.as, h.dn(dn), &old, "other 1 other 1")
			return err
		},
		"link to it":    func(h *here, dn string) error { return h.tryModify(self, "replace assistant: "+dn) },
		"add a link":    func(h *here, dn string) error { return h.tryModify(self, "add assistant: "+dn) },
		"remove a link": func(h *here, dn string) error { return h.tryModify(self, "delete assistant: "+dn) },
		"make it a member of the new": func(h *here, dn string) error {
			_, err := h.tryAdd("CN=Trap,OU=Sales,"+base, "objectClass: group", "member: "+dn)
			return err
		},
		"move another below it": func(h *here, dn string) error { return h.tryMove(list, "CN=List", dn) },
		"take its name": func(h *here, dn string) error {
			_, err := h.tryAdd(dn, "objectClass: user")
			return err
		},
	} {
		for _, as := range []directory.Principal{{}, plain, chief} {
			c := h.like(as)
			for _, pair := range [][2]string{
				{hidden, "CN=Nobody," + board},
				{"OU=Files," + board, "OU=None," + board},
				{board, "OU=Bored," + base},
				{hidden, "CN=Secret,OU=Bored," + base},
			} {
				there, not := answer(call(c, pair[0])), answer(call(c, pair[1]))
				// Names of the question come back in some answers.
				for _, part := range []string{pair[1], up(pair[1]), "OU=Bored"} {
					not = strings.ReplaceAll(not, part, "…")
				}
				for _, part := range []string{pair[0], up(pair[0]), "OU=Board"} {
					there = strings.ReplaceAll(there, part, "…")
				}
				if there != not {
					t.Errorf("%s as %q tells %s from %s: %s; %s", what, as.Address, pair[0], pair[1], there, not)
				}
			}
		}
	}
	// Counts and removed things tell nothing either.
	c := h.like(plain)
	h.modify(board, "replace accessControlEntry: deny authenticated full on below", "add accessControlEntry: allow authenticated read on this")
	c.want(board, "numSubordinates", "0")
	c.want(board, "hasSubordinates", "FALSE")
	if got := c.search(base, "(&(objectClass=organizationalUnit)(hasSubordinates=TRUE))", tree.Sub); slices.Contains(got, board) {
		t.Errorf("a filter tells that there is something below %q", got)
	}
	removed := func() []string {
		return c.search(base, "(isDeleted=TRUE)", tree.Sub, func(q *tree.Query) { q.Deleted = true })
	}
	h.refused("delete a hidden one", h.tryDelete(hidden, false), 0)
	if got := removed(); len(got) != 0 {
		t.Errorf("removed ones that were hidden: %q", got)
	}
	h.refused("delete what is not hidden", h.tryDelete(list, false), 0)
	if got := removed(); len(got) != 1 || !strings.HasPrefix(got[0], "CN=List") {
		t.Errorf("removed ones that were not hidden: %q", got)
	}
	h.refused("delete the hidden container", h.tryDelete(board, true), 0)
	if got := removed(); slices.ContainsFunc(got, func(dn string) bool { return !strings.HasPrefix(dn, "CN=List") }) {
		t.Errorf("removed with a container that had rights of its own: %q", got)
	}
	// Of hidden members neither what a write gives back nor an assertion tells.
	f, _ := tree.ParseFilter("(memberOf=CN=Circle,OU=Sales," + base + ")")
	_, err := h.tr.ModifyEntry(t.Context(), plain, h.dn(self), mods("replace info: x"), tree.Options{Assert: f})
	h.refused("an assertion about a hidden membership", err, tree.ResultAssertionFailed)
	done, err := h.tr.ModifyEntry(t.Context(), plain, h.dn(self), mods("replace info: y"), tree.Options{
		PreRead: []string{"*", "+", "memberOf"}, PostRead: []string{"*", "+", "memberOf"},
	})
	if err != nil || done.Pre == nil || done.Post == nil {
		t.Fatalf("a modify gave %+v, %v", done, err)
	}
	for what, e := range map[string]*tree.Entry{"before": done.Pre, "afterwards": done.Post} {
		if got := e.Get("memberOf"); len(got) != 0 {
			t.Errorf("the entry %s has memberOf %q", what, got)
		}
		for _, a := range e.Attributes {
			if x, ok := h.tr.Schema().Attribute(a.Name); ok && x.Secret {
				t.Errorf("the entry %s has %s", what, a.Name)
			}
		}
	}
	// Nor does what the hidden group is in.
	h.add("CN=Ring,OU=Sales,"+base, "objectClass: group", "member: CN=Circle,OU=Sales,"+base)
	ring := h.values("CN=Ring,OU=Sales,"+base, "objectSid")
	if !slices.Contains(h.entry(self, "tokenGroups").Get("tokenGroups"), ring) {
		t.Error("the system does not see the token of the outer group")
	}
	if e := c.entry(self, "tokenGroups"); e == nil || slices.Contains(e.Get("tokenGroups"), ring) {
		t.Error("tokenGroups passes through a group that hides its members")
	}
}

// testTreeRise: whoever was given a part of the directory does not become more,
// by whatever he writes.
func testTreeRise(t *testing.T, w TreeWorld) {
	h := start(t, w)
	sales, users, admins := "OU=Sales,"+base, "CN=Users,"+base, "CN=Domain Admins,CN=Users,"+base
	chiefDN, chief := h.signedIn("Chief", users)
	_, help := h.signedIn("Help", users)
	_, master := h.signedIn("Master", sales) // a domain administrator who works in Sales
	inner := "CN=Inner," + sales             // a group that makes its members some
	h.add(inner, "objectClass: group", "managedBy: "+chiefDN)
	h.modify(admins, "add member: CN=Master,"+sales, "add member: "+inner)
	nested := h.person("Nested", sales, "unicodePwd: "+quoted(secret))
	h.modify(inner, "add member: "+nested)
	ann := h.person("Ann", sales, "unicodePwd: "+quoted(secret))
	boss := h.person("Boss", users, "waypostRoles: admin", "homePhone: 4711")
	h.modify(sales, fmt.Sprintf("add accessControlEntry: allow #%d full on all", chief.ID))
	h.modify(sales, fmt.Sprintf("add accessControlEntry: allow #%d create,delete-child children(user,contact,group) on all", help.ID))
	h.modify(sales, fmt.Sprintf("add accessControlEntry: allow #%d reset-password,manage-members,write attributes(@person,lockoutTime,pwdLastSet) on below", help.ID))
	h.modify(users, "add accessControlEntry: deny authenticated read attributes(homePhone) on all")

	n := 0
	add := func(lines ...string) func(*here) error {
		return func(h *here) error {
			n++
			_, err := h.tryAdd(fmt.Sprintf("CN=X%d,%s", n, sales), lines...)
			return err
		}
	}
	modify := func(dn string, lines ...string) func(*here) error {
		return func(h *here) error { return h.tryModify(dn, lines...) }
	}
	adminSID := h.values(admins, "objectSid")
	for _, c := range []struct {
		what string
		call func(*here) error
	}{
		{"a role for a new one", add("objectClass: user", "waypostRoles: admin")},
		{"a role", modify(ann, "add waypostRoles: admin")},
		{"adminCount for a new one", add("objectClass: group", "adminCount: 1")},
		{"adminCount", modify(ann, "add adminCount: 1")},
		{"an SID from before for a new one", add("objectClass: user", "sIDHistory: "+adminSID)},
		{"an SID from before", modify(ann, "add sIDHistory: "+adminSID)},
		{"join the administrators", modify(admins, "add member: "+chiefDN)},
		{"join a group within theirs", modify(inner, "add member: "+chiefDN)},
		{"leave it to oneself", modify(inner, "replace managedBy: "+chiefDN)},
		{"write the rights of that group", modify(inner, fmt.Sprintf("add accessControlEntry: allow #%d full on this", chief.ID))},
		{"delete that group", func(h *here) error { return h.tryDelete(inner, false) }},
		{"rename that group", func(h *here) error { return h.tryMove(inner, "CN=Other", "") }},
		{"the password of a domain administrator", modify("CN=Master,"+sales, "replace unicodePwd: "+quoted("other 1 other"))},
		{"the password of a nested one", modify(nested, "replace userPassword: other 1 other")},
		{"his password by the operation", func(h *here) error {
			_, err := h.tr.ChangePassword(t.Context(), h.as, h.dn(nested), nil, "other 1 other")
			return err
		}},
		{"his phone", modify(nested, "replace telephoneNumber: 1")},
		{"disable him", modify(nested, "replace userAccountControl: 514")},
		{"his lock-out", modify(nested, "replace lockoutTime: 0")},
		{"delete him", func(h *here) error { return h.tryDelete(nested, false) }},
		{"move him", func(h *here) error { return h.tryMove(nested, "CN=Nested", "OU=North,"+sales) }},
		{"delete everything", func(h *here) error { return h.tryDelete(sales, true) }},
		{"fetch an administrator", func(h *here) error { return h.tryMove(boss, "CN=Boss", sales) }},
		{"the password of an administrator", modify(boss, "replace unicodePwd: "+quoted("other 1 other"))},
		{"a primary group", modify(ann, "replace primaryGroupID: 512")},
		{"a primary group for a new one", add("objectClass: user", "primaryGroupID: 512")},
		{"a class of the schema", func(h *here) error {
			_, err := h.tryAdd("CN=My,CN=Schema,CN=Configuration,"+base, "objectClass: attributeSchema", "lDAPDisplayName: my",
				"attributeID: 1.3.6.1.4.1.99999.7", "attributeSyntax: 2.5.5.9", "oMSyntax: 2", "isSingleValued: TRUE")
			return err
		}},
		{"a list by what may not be read", add("objectClass: msExchDynamicDistributionList", "mail: spy@example.test", "msExchDynamicDLFilter: (homePhone=47*)")},
		{"one with a base elsewhere", add("objectClass: msExchDynamicDistributionList", "mail: spy@example.test", "msExchDynamicDLFilter: (homePhone=47*)", "msExchDynamicDLBaseDN: "+users)},
	} {
		for _, as := range []directory.Principal{chief, help} {
			before := n
			err := c.call(h.like(as))
			switch codeOf(err) {
			case tree.ResultInsufficientAccess, tree.ResultUnwillingToPerform, tree.ResultNoSuchObject:
			default:
				t.Errorf("%s as %s: %v", c.what, as.Address, err)
			}
			if err == nil && n != before {
				_ = h.tryDelete(fmt.Sprintf("CN=X%d,%s", n, sales), false)
			}
		}
	}
	// A policy for whom one does not manage, however it came to be.
	c := h.like(chief)
	psc := "CN=PSC,CN=Mine," + sales
	c.add("CN=Mine,"+sales, "objectClass: container")
	c.add(psc, "objectClass: msDS-PasswordSettingsContainer")
	policy := []string{
		"objectClass: msDS-PasswordSettings", "msDS-PasswordReversibleEncryptionEnabled: FALSE", "msDS-MinimumPasswordLength: 0",
		"msDS-PasswordHistoryLength: 0", "msDS-MinimumPasswordAge: 0", "msDS-MaximumPasswordAge: 0", "msDS-LockoutThreshold: 1",
		"msDS-LockoutDuration: 0", "msDS-LockoutObservationWindow: 0", "msDS-PasswordComplexityEnabled: FALSE", "msDS-PasswordSettingsPrecedence: 1",
	}
	for _, whom := range []string{admins, base, boss, "CN=Domain Users," + users, nested} {
		_, err := c.tryAdd("CN=Mean,"+psc, append(slices.Clone(policy), "msDS-PSOAppliesTo: "+whom)...)
		h.refused("a policy for "+whom, err, tree.ResultInsufficientAccess)
	}
	c.add("CN=Mild,"+psc, append(slices.Clone(policy), "msDS-PSOAppliesTo: "+ann)...)
	for _, whom := range []string{admins, boss} {
		h.refused("the policy for "+whom, c.tryModify("CN=Mild,"+psc, "add msDS-PSOAppliesTo: "+whom), tree.ResultInsufficientAccess)
	}
	c.modify("CN=Mild,"+psc, "replace msDS-PSOAppliesTo: OU=North,"+sales)
	// A list of his own people is his to make, but not to turn on others.
	mine := "CN=Mine too," + sales
	c.add(mine, "objectClass: msExchDynamicDistributionList", "mail: mine@example.test", "msExchDynamicDLFilter: (title=*)", "msExchDynamicDLBaseDN: "+sales)
	h.refused("its base", c.tryModify(mine, "replace msExchDynamicDLBaseDN: "+users), tree.ResultInsufficientAccess)
	h.refused("no base", c.tryModify(mine, "delete msExchDynamicDLBaseDN"), tree.ResultInsufficientAccess)
	c.modify(mine, "replace msExchDynamicDLFilter: (title=x)")
	// A second place for what was removed.
	_, err := c.tryAdd("CN=Deleted Objects,"+sales, "objectClass: container")
	h.refused("a place for what was removed", err, tree.ResultUnwillingToPerform)
	h.refused("by a rename", c.tryMove("CN=Mine,"+sales, "CN=deleted  OBJECTS", ""), tree.ResultUnwillingToPerform)

	// Who is a domain administrator himself still manages the others.
	h.refused("a domain administrator's own kind", h.like(master).tryModify(nested, "replace telephoneNumber: 2"), 0)
	// Accounts by their numbers.
	id := h.who("Nested").ID
	for what, err := range map[string]error{
		"an application password": func() error { _, _, err := h.f.AddAppPassword(t.Context(), chief, id, "x"); return err }(),
		"a demand":                h.f.SetMustChange(t.Context(), chief, id, true),
		"a second factor":         h.f.RemoveFactor(t.Context(), chief, id),
	} {
		if fault.Of(err) != fault.Denied {
			t.Errorf("%s of a domain administrator: %v", what, err)
		}
	}
	// An application password is for a phone, not for managing.
	app := chief
	app.App = true
	for what, err := range map[string]error{
		"reset":  h.like(app).tryModify(ann, "replace userPassword: other 1 other"),
		"change": h.like(app).tryModify(ann, "replace title: x"),
		"add":    add("objectClass: user")(h.like(app)),
		"delete": h.like(app).tryDelete(ann, false),
		"rights": h.like(app).tryModify(sales, fmt.Sprintf("add accessControlEntry: allow #%d full on this", help.ID)),
	} {
		if codeOf(err) != tree.ResultInsufficientAccess && fault.Of(err) != fault.Denied {
			t.Errorf("%s with an application password: %v", what, err)
		}
	}
	if got := h.like(app).search(base, "(title=*)", tree.Sub); h.like(app).entry(ann) == nil {
		t.Errorf("an application password reads %q only", got)
	}
}

// testTreeRevive: who may make people does not bring back those whom he never
// managed, with all that was theirs.
func testTreeRevive(t *testing.T, w TreeWorld) {
	h := start(t, w)
	sales, users := "OU=Sales,"+base, "CN=Users,"+base
	_, chief := h.signedIn("Chief", users)
	h.modify(sales, fmt.Sprintf("add accessControlEntry: allow #%d full on all", chief.ID))
	c := h.like(chief)
	back := func(dn, name string) (string, func() error) {
		guid := schema.FormatGUID(h.entry(dn, "objectGUID").GUID)
		h.refused("delete "+dn, h.tryDelete(dn, false), 0)
		return guid, func() error {
			return c.tryModify("<GUID="+guid+">", "delete isDeleted", "replace distinguishedName: CN="+name+","+sales)
		}
	}
	_, try := back(h.person("Head", users), "Head")
	h.refused("bring back somebody of elsewhere", try(), tree.ResultInsufficientAccess)
	_, try = back(h.person("Boss", sales, "waypostRoles: admin"), "Boss")
	h.refused("bring back an administrator", try(), tree.ResultInsufficientAccess)
	master := h.person("Master", sales)
	h.modify("CN=Domain Admins,"+users, "add member: "+master)
	_, try = back(master, "Master")
	h.refused("bring back a domain administrator", try(), tree.ResultInsufficientAccess)
	north := h.person("Nora", "OU=North,"+sales)
	_, try = back(north, "Nora")
	h.refused("delete its container", h.tryDelete("OU=North,"+sales, false), 0)
	h.refused("bring back what was in a container that is gone", try(), tree.ResultInsufficientAccess)
	guid, try := back(h.person("Ann", sales), "Ann")
	h.refused("a password with it", c.tryModify("<GUID="+guid+">", "delete isDeleted", "replace distinguishedName: CN=Ann,"+sales, "replace unicodePwd: "+quoted(secret)), tree.ResultUnwillingToPerform)
	h.refused("bring back one's own", try(), 0)
	if e := h.entry("CN=Ann,"+sales, "adminCount"); e == nil || len(e.Get("adminCount")) != 0 {
		t.Errorf("brought back is %+v", e)
	}
}
