package directorytest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"waypost/directory"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// reached gives whom mail to a group reaches, by address.
func reached(t testing.TB, d directory.Directory, group directory.ObjectID) string {
	t.Helper()
	var all []directory.Target
	for p := (directory.Page{Limit: 2}); ; {
		some, err := d.Expand(t.Context(), group, p)
		if err != nil {
			t.Fatalf("Expand(%d): %v", group, err)
		}
		for _, x := range some {
			if x.Mailbox == 0 && x.Forward == "" {
				t.Errorf("%s has mailbox %d and forwards to %q", x.Address, x.Mailbox, x.Forward)
			}
		}
		all = append(all, some...)
		if len(some) < p.Limit {
			return shown(all)
		}
		p.After = some[len(some)-1].ID
	}
}

// shown gives targets by name, sorted, with the addresses that they forward to.
func shown(list []directory.Target) string {
	var all []string
	for _, x := range list {
		name, _, _ := strings.Cut(x.Address, "@")
		if x.Forward != "" && x.Mailbox != 0 {
			name += "+"
		}
		if x.Forward != "" {
			name += ">" + x.Forward
		}
		all = append(all, name)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func testDynamicGroups(t *testing.T, w TreeWorld) {
	h := start(t, w)
	sales, north := "OU=Sales,"+base, "OU=North,OU=Sales,"+base
	ann := h.person("Ann", north, "department: Sales", "unicodePwd: "+quoted(secret))
	h.person("Bob", sales, "department: Sales")
	h.person("Cid", base, "department: Sales")
	h.person("Dan", sales, "department: Other")
	h.add("CN=No Mail,"+sales, "objectClass: user", "sAMAccountName: nomail", "department: Sales")
	static := h.add("CN=Static,"+sales, "objectClass: group", "mail: static@example.test", "member: CN=Dan,"+sales)
	all := h.add("CN=All Sales,"+base, "objectClass: msExchDynamicDistributionList", "displayName: All Sales", "mail: all@example.test", "msExchDynamicDLFilter: (department=Sales)")
	in := h.add("CN=In Sales,"+base, "objectClass: msExchDynamicDistributionList", "displayName: In Sales", "mail: in@example.test",
		"msExchDynamicDLFilter: (|(department=Sales)(objectClass=group)(mail=outer@example.test))", "msExchDynamicDLBaseDN: "+sales)
	outer := h.add("CN=Outer,"+sales, "objectClass: group", "mail: outer@example.test", "member: CN=All Sales,"+base, "member: CN=In Sales,"+base)
	none := h.add("CN=None,"+base, "objectClass: msExchDynamicDistributionList", "displayName: None", "mail: none@example.test")

	expand := func(what string, id directory.ObjectID, want string) {
		t.Helper()
		if got := reached(t, h.f, id); got != want {
			t.Errorf("%s: %s reached, want %s", what, got, want)
		}
	}
	if r := resolve(t, h.f, "all@example.test"); r.Standing != directory.List || r.Group != all {
		t.Errorf("a group by filter resolves to %+v", r)
	}
	expand("by filter, everywhere", all, "ann bob cid")
	expand("below its base, with groups in a circle", in, "ann bob cid dan")
	expand("groups by filter inside another", outer, "ann bob cid dan")
	expand("without a filter", none, "")
	expand("a static one", static, "dan")
	h.modify("CN=Dan,"+sales, "replace department: Sales")
	h.modify(ann, "replace department: Other")
	expand("after changes", all, "bob cid dan")

	g, err := h.f.Group(t.Context(), system, "all@example.test")
	if err != nil || g.Count != 3 || len(g.Members) != 3 {
		t.Errorf("the group is shown as %+v, %v", g, err)
	}
	wantKind(t, "SetMembers of a group by filter", h.f.SetMembers(t.Context(), system, all, []string{"ann@example.test"}, nil), fault.Invalid)
	for _, bad := range []string{"department=Sales)(", "(department"} {
		if err := h.tryModify("CN=All Sales,"+base, "replace msExchDynamicDLFilter: "+bad); err == nil {
			t.Errorf("the filter %q was taken", bad)
		}
	}
	if err := h.f.RemoveGroup(t.Context(), system, in); err != nil {
		t.Error(err)
	}
	if r := resolve(t, h.f, "in@example.test"); r.Standing != directory.Unknown {
		t.Errorf("a removed group resolves to %+v", r)
	}
}

func testSendTo(t *testing.T, w TreeWorld) {
	h := start(t, w)
	for _, name := range []string{"Ann", "Bob", "Boss", "Chair"} {
		h.person(name, base)
	}
	h.add("CN=Joe,"+base, "objectClass: contact", "displayName: Joe", "mail: joe@elsewhere.test", "targetAddress: SMTP:joe@elsewhere.test")
	h.add("CN=Inner,"+base, "objectClass: group", "mail: inner@example.test", "member: CN=Ann,"+base)
	h.add("CN=Some,"+base, "objectClass: group", "mail: some@example.test", "member: CN=Inner,"+base, "member: CN=Boss,"+base)
	h.add("CN=Filter,"+base, "objectClass: msExchDynamicDistributionList", "mail: filter@example.test", "displayName: Filter", "msExchDynamicDLFilter: (cn=Bob)")
	list := func(name string, lines ...string) directory.ObjectID {
		return h.add("CN="+name+","+base, append([]string{"objectClass: group", "mail: " + strings.ToLower(name) + "@example.test"}, lines...)...)
	}
	at := func(name string) string { return "CN=" + name + "," + base }
	open := list("Open")
	inside := list("Inside", "msExchRequireAuthToSendTo: TRUE")
	few := list("Few", "authOrig: "+at("Bob"), "authOrig: "+at("Joe"), "dLMemSubmitPerms: "+at("Some"))
	byFilter := list("ByFilter", "dLMemSubmitPerms: "+at("Filter"))
	notAll := list("NotAll", "unauthOrig: "+at("Joe"), "dLMemRejectPerms: "+at("Some"))
	both := list("Both", "authOrig: "+at("Boss"), "authOrig: "+at("Bob"), "dLMemRejectPerms: "+at("Some"))
	moderated := list("Moderated", "msExchEnableModeration: TRUE", "msExchModeratedByLink: "+at("Chair"), "managedBy: "+at("Boss"))
	owned := list("Owned", "msExchEnableModeration: TRUE", "managedBy: "+at("Some"))
	byFew := list("ByFew", "msExchEnableModeration: TRUE", "msExchModeratedByLink: "+at("Joe"), "msExchModeratedByLink: "+at("Owned"))
	byNobody := list("ByNobody", "msExchEnableModeration: TRUE")

	for _, tt := range []struct {
		what  string
		from  string
		known bool
		group directory.ObjectID
		want  any // an error, or who must approve
	}{
		{"anybody to an open list", "x@out.test", false, open, nil},
		{"the null sender to an open list", "", false, open, nil},
		{"a stranger", "x@out.test", false, inside, directory.ErrSignInFirst},
		{"a stranger under one of our addresses", "ann@example.test", false, inside, directory.ErrSignInFirst},
		{"signed in", "ann@example.test", true, inside, nil},
		{"named", "bob@example.test", true, few, nil},
		{"named, with a detail", "Bob+x@EXAMPLE.test", true, few, nil},
		{"named, but nobody says it is him", "bob@example.test", false, few, directory.ErrNotAllowed},
		{"a contact who is named", "joe@elsewhere.test", false, few, nil},
		{"in a group in a named group", "ann@example.test", true, few, nil},
		{"not named", "chair@example.test", true, few, directory.ErrNotAllowed},
		{"the null sender", "", true, few, directory.ErrNotAllowed},
		{"in a named group by filter", "bob@example.test", true, byFilter, nil},
		{"not in a named group by filter", "ann@example.test", true, byFilter, directory.ErrNotAllowed},
		{"whoever is not refused", "bob@example.test", true, notAll, nil},
		{"refused", "joe@elsewhere.test", false, notAll, directory.ErrRefused},
		{"in a refused group", "ann@example.test", true, notAll, directory.ErrRefused},
		{"under the address of somebody refused", "ann@example.test", false, notAll, directory.ErrRefused},
		{"allowed and refused", "boss@example.test", true, both, directory.ErrRefused},
		{"allowed and not refused", "bob@example.test", true, both, nil},
		{"a moderator", "chair@example.test", true, moderated, nil},
		{"an owner", "boss@example.test", true, moderated, nil},
		{"neither", "ann@example.test", true, moderated, "chair"},
		{"under a moderator's address", "chair@example.test", false, moderated, "chair"},
		{"the null sender to a moderated list", "", false, moderated, "chair"},
		{"with owners and no moderators", "bob@example.test", true, owned, "ann boss"},
		{"in the group that owns it", "ann@example.test", true, owned, nil},
		{"a moderator elsewhere", "ann@example.test", true, byFew, "joe>joe@elsewhere.test"},
		{"under the address of a moderator elsewhere", "joe@elsewhere.test", false, byFew, "joe>joe@elsewhere.test"},
		{"with nobody to approve", "ann@example.test", true, byNobody, directory.ErrModerated},
	} {
		approvers, err := h.f.MaySendTo(t.Context(), directory.Sender{Address: tt.from, Known: tt.known}, tt.group)
		var got any
		if err != nil {
			got = err
		} else if len(approvers) > 0 {
			got = shown(approvers)
		}
		if fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: got %v, want %v", tt.what, got, tt.want)
		}
	}
	_, err := h.f.MaySendTo(t.Context(), directory.Sender{}, 1)
	wantKind(t, "to no group", err, fault.NotFound)

	// Inside another group, one that has rules of its own is a recipient.
	for _, name := range []string{"Open", "Inside", "Few", "NotAll", "Moderated"} {
		h.modify(at(name), "add member: "+at("Chair"))
	}
	h.add("CN=Unaddressed,"+base, "objectClass: group", "sAMAccountName: unaddressed", "authOrig: "+at("Bob"), "member: "+at("Bob"))
	outer := list("Outer", "member: "+at("Inside"), "member: "+at("Few"), "member: "+at("NotAll"), "member: "+at("Moderated"), "member: "+at("Inner"), "member: "+at("Unaddressed"))
	want := "ann bob few>few@example.test inside>inside@example.test moderated>moderated@example.test notall>notall@example.test"
	if got := reached(t, h.f, outer); got != want {
		t.Errorf("mail to a group with restricted ones inside reaches %s, want %s", got, want)
	}
	h.modify(at("Outer"), "add member: "+at("Open"))
	if got := reached(t, h.f, outer); got != strings.Replace(want, "bob", "bob chair", 1) {
		t.Errorf("with an open one besides it reaches %s", got)
	}
}

func testHiddenMembers(t *testing.T, w TreeWorld) {
	h := start(t, w)
	who := func(name string) directory.Principal {
		h.person(name, base, "unicodePwd: "+quoted(secret))
		u, err := h.f.UserByAddress(t.Context(), system, strings.ToLower(name)+"@example.test")
		if err != nil {
			t.Fatal(err)
		}
		return principal(u)
	}
	ann, bob, owner := who("Ann"), who("Bob"), who("Owner")
	at := func(name string) string { return "CN=" + name + "," + base }
	secretGroup := h.add(at("Secret"), "objectClass: group", "mail: secret@example.test", "hideDLMembership: TRUE", "managedBy: "+at("Owner"), "member: "+at("Ann"))
	h.add(at("Shown"), "objectClass: group", "mail: shown@example.test", "member: "+at("Ann"), "member: "+at("Secret"))
	const inChain = ":1.2.840.113556.1.4.1941:="
	for _, tt := range []struct {
		name string
		as   directory.Principal
		sees bool
	}{{"bob", bob, false}, {"ann herself", ann, false}, {"the owner", owner, true}, {"the product", system, true}} {
		me := h.like(tt.as)
		want := func(what string, got, hidden, shown string) {
			t.Helper()
			if expected := map[bool]string{false: hidden, true: shown}[tt.sees]; got != expected {
				t.Errorf("%s, as %s: %q, want %q", what, tt.name, got, expected)
			}
		}
		find := func(filter string) string { return strings.Join(me.search(base, filter, tree.Sub), "|") }
		want("member", me.values(at("Secret"), "member"), "", at("Ann"))
		want("memberOf", me.values(at("Ann"), "memberOf"), at("Shown"), at("Secret")+"|"+at("Shown"))
		want("memberOf=Secret", find("(memberOf="+at("Secret")+")"), "", at("Ann"))
		want("memberOf in chain of Secret", find("(memberOf"+inChain+at("Secret")+")"), "", at("Ann"))
		want("memberOf=Shown", find("(memberOf="+at("Shown")+")"), at("Ann")+"|"+at("Secret"), at("Ann")+"|"+at("Secret"))
		want("groups of Ann in chain", find("(member"+inChain+at("Ann")+")"), at("Shown"), at("Secret")+"|"+at("Shown"))
		if g, err := h.f.Group(t.Context(), tt.as, "secret@example.test"); err != nil {
			t.Error(err)
		} else {
			want("the group's members", fmt.Sprint(len(g.Members)), "0", "1")
		}
	}
	if got := reached(t, h.f, secretGroup); got != "ann" {
		t.Errorf("mail reaches %q", got)
	}
	// An owner manages the members, and nothing else.
	if err := h.f.SetMembers(t.Context(), owner, secretGroup, []string{"bob@example.test"}, nil); err != nil {
		t.Errorf("an owner adds a member: %v", err)
	}
	h.like(owner).modify(at("Secret"), "delete member: "+at("Ann"))
	if got := reached(t, h.f, secretGroup); got != "bob" {
		t.Errorf("mail reaches %q", got)
	}
	for name, as := range map[string]directory.Principal{"ann": ann, "nobody": {}} {
		if err := h.f.SetMembers(t.Context(), as, secretGroup, []string{"ann@example.test"}, nil); fault.Of(err) != fault.Denied {
			t.Errorf("%s adds a member: %v", name, err)
		}
	}
	h.refused("an owner changes the list", h.like(owner).tryModify(at("Secret"), "replace hideDLMembership: FALSE"), tree.ResultInsufficientAccess)
}

func testContacts(t *testing.T, w TreeWorld) {
	h := start(t, w)
	u := func(address string) directory.Principal {
		x, err := h.f.UserByAddress(t.Context(), system, address)
		if err != nil {
			t.Fatal(err)
		}
		return principal(x)
	}
	h.person("Ann", base, "unicodePwd: "+quoted(secret))
	at := func(name string) string { return "CN=" + name + "," + base }
	joe := h.add(at("Joe Out"), "objectClass: contact", "displayName: Joe Out", "sn: Out", "mail: joe@elsewhere.test", "proxyAddresses: smtp:joe@example.test", "targetAddress: SMTP:joe@elsewhere.test", "telephoneNumber: 1")
	h.add(at("Kim"), "objectClass: contact", "displayName: Kim", "mail: kim@elsewhere.test")
	h.add(at("Loop"), "objectClass: contact", "displayName: Loop", "mail: loop@example.test", "targetAddress: SMTP:loop2@example.test")
	h.add(at("Loop2"), "objectClass: contact", "displayName: Loop2", "mail: loop2@example.test", "targetAddress: SMTP:loop@example.test")
	h.add(at("Hidden"), "objectClass: contact", "displayName: Joe Hidden", "mail: hidden@elsewhere.test", "msExchHideFromAddressLists: TRUE")
	h.add(at("X400"), "objectClass: contact", "displayName: X400", "mail: x@example.test", "targetAddress: X400:c=us")
	h.add(at("Mail User"), "objectClass: user", "sAMAccountName: mu", "displayName: Mail User", "mail: mu@example.test", "targetAddress: mu@elsewhere.test")
	list := h.add(at("List"), "objectClass: group", "mail: list@example.test", "member: "+at("Ann"), "member: "+at("Joe Out"), "member: "+at("Kim"),
		"member: "+at("Loop"), "member: "+at("Hidden"), "member: "+at("Mail User"), "member: "+at("X400"))
	for address, want := range map[string]directory.Resolution{
		"joe@elsewhere.test":  {Standing: directory.Foreign},
		"JOE+x@example.test":  {Standing: directory.Outside, Target: directory.Target{ID: joe}, Forward: "joe@elsewhere.test"},
		"loop@example.test":   {Standing: directory.Unknown},
		"x@example.test":      {Standing: directory.Unknown},
		"nobody@example.test": {Standing: directory.Unknown},
	} {
		if got := resolve(t, h.f, address); got != want {
			t.Errorf("%s resolves to %+v, want %+v", address, got, want)
		}
	}
	if got := resolve(t, h.f, "mu@example.test"); got.Standing != directory.Outside || got.Forward != "mu@elsewhere.test" {
		t.Errorf("a user with an outside address resolves to %+v", got)
	}
	const want = "ann hidden>hidden@elsewhere.test joe>joe@elsewhere.test kim>kim@elsewhere.test mu>mu@elsewhere.test"
	if got := reached(t, h.f, list); got != want {
		t.Errorf("mail reaches %s, want %s", got, want)
	}
	ann := u("ann@example.test")
	hits, total, err := h.f.People(t.Context(), ann, directory.PeopleQuery{Text: "joe"})
	if err != nil || total != 1 || hits[0].Kind != directory.KindContact || hits[0].Address != "joe@elsewhere.test" || hits[0].Name != "Joe Out" || hits[0].Phone != "1" {
		t.Errorf("joe is found as %+v, %d, %v", hits, total, err)
	}
	// The address changes, and the contact goes.
	h.modify(at("Joe Out"), "replace targetAddress: SMTP:joe@new.test")
	if got := resolve(t, h.f, "joe@example.test"); got.Forward != "joe@new.test" {
		t.Errorf("after the change it resolves to %+v", got)
	}
	h.refused("delete the contact", h.tryDelete(at("Joe Out"), false), 0)
	if got := resolve(t, h.f, "joe@example.test"); got.Standing != directory.Unknown {
		t.Errorf("after the end it resolves to %+v", got)
	}
}

func testDelegates(t *testing.T, w TreeWorld) {
	h := start(t, w)
	for _, name := range []string{"Ann", "Bob", "Cid", "Dan"} {
		h.person(name, base)
	}
	at := func(name string) string { return "CN=" + name + "," + base }
	h.add(at("Joe"), "objectClass: contact", "mail: joe@elsewhere.test", "proxyAddresses: smtp:joe@example.test")
	h.add(at("Office"), "objectClass: group", "mail: office@example.test", "member: "+at("Bob"), "member: "+at("Cid"), "member: "+at("Ann"))
	ann, err := h.f.UserByAddress(t.Context(), system, "ann@example.test")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		change string
		want   string
	}{
		{"", ""},
		{"add publicDelegates: " + at("Dan"), "dan"},
		{"add publicDelegates: " + at("Office"), "bob cid dan"}, // Ann herself is none
		{"add publicDelegates: " + at("Joe"), "bob cid dan"},    // who has no mailbox here cannot act
		{"delete publicDelegates: " + at("Office"), "dan"},
	} {
		if tt.change != "" {
			h.modify(at("Ann"), tt.change)
		}
		if groups, err := h.f.MemberOf(t.Context(), system, ann.ID); err != nil || len(groups) != 2 { // the office, and Domain Users
			t.Errorf("ann is in %v, %v", groups, err)
		}
		list, err := h.f.Delegates(t.Context(), system, ann.ID)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, d := range list {
			name, _, _ := strings.Cut(d.Address, "@")
			names = append(names, name)
			if d.Mailbox == 0 || d.HomeMDB == "" {
				t.Errorf("%s has no mailbox: %+v", name, d)
			}
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != tt.want {
			t.Errorf("after %q her delegates are %s, want %s", tt.change, got, tt.want)
		}
	}
}

func testRedirects(t *testing.T, w TreeWorld) {
	h := start(t, w)
	for _, name := range []string{"Ann", "Bob", "Cid"} {
		h.person(name, base)
	}
	at := func(name string) string { return "CN=" + name + "," + base }
	h.add(at("Joe"), "objectClass: contact", "mail: joe@elsewhere.test", "proxyAddresses: smtp:joe@example.test")
	h.add(at("Group"), "objectClass: group", "mail: group@example.test", "member: "+at("Ann"))
	h.add(at("Silent"), "objectClass: group", "sAMAccountName: silent")
	list := h.add(at("List"), "objectClass: group", "mail: list@example.test", "member: "+at("Ann"), "member: "+at("Cid"))
	ann, err := h.f.UserByAddress(t.Context(), system, "ann@example.test")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what   string
		change []string
		want   string // whom mail to Ann reaches
	}{
		{"to nobody", nil, "ann"},
		{"to another", []string{"replace altRecipient: " + at("Bob")}, "ann>bob@example.test"},
		{"to another, and a copy", []string{"replace deliverAndRedirect: TRUE"}, "ann+>bob@example.test"},
		{"to a contact, and a copy", []string{"replace altRecipient: " + at("Joe")}, "ann+>joe@elsewhere.test"},
		{"to a contact", []string{"replace deliverAndRedirect: FALSE"}, "ann>joe@elsewhere.test"},
		{"to a group she is in", []string{"replace altRecipient: " + at("Group")}, "ann>group@example.test"},
		{"to a group without an address", []string{"replace altRecipient: " + at("Silent")}, "ann"},
		{"to herself", []string{"replace altRecipient: " + at("Ann")}, "ann"},
	} {
		if len(tt.change) > 0 {
			h.modify(at("Ann"), tt.change...)
		}
		r := resolve(t, h.f, "ann@example.test")
		got := "ann"
		if r.Standing == directory.Person && r.Forward != "" {
			got += "+"
		}
		if r.Forward != "" {
			got += ">" + r.Forward
		}
		if got != tt.want || (r.Standing == directory.Person) != (r.Target.Mailbox != 0) || r.Target.ID != ann.ID {
			t.Errorf("%s: resolved as %+v, want %s", tt.what, r, tt.want)
		}
		if got := reached(t, h.f, list); got != tt.want+" cid" {
			t.Errorf("%s: the list reaches %s, want %s cid", tt.what, got, tt.want)
		}
		if ok, err := h.f.MaySendAs(t.Context(), principal(ann), "ann@example.test"); !ok || err != nil {
			t.Errorf("%s: Ann may not send as Ann: %v", tt.what, err)
		}
	}
	// In a chain mail goes to the next; in a circle it stays.
	h.modify(at("Ann"), "replace altRecipient: "+at("Bob"))
	h.modify(at("Bob"), "replace altRecipient: "+at("Cid"))
	if r := resolve(t, h.f, "ann@example.test"); r.Forward != "bob@example.test" {
		t.Errorf("in a chain Ann is %+v", r)
	}
	h.modify(at("Cid"), "replace altRecipient: "+at("Bob"))
	for _, address := range []string{"ann@example.test", "bob@example.test", "cid@example.test"} {
		if r := resolve(t, h.f, address); r.Standing != directory.Person || r.Forward != "" {
			t.Errorf("in a circle %s is %+v", address, r)
		}
	}
	h.modify(at("Cid"), "delete altRecipient")
	h.refused("delete Bob", h.tryDelete(at("Bob"), false), 0)
	if r := resolve(t, h.f, "ann@example.test"); r.Standing != directory.Person || r.Forward != "" {
		t.Errorf("after Bob has gone Ann is %+v", r)
	}
}

func testAddressLists(t *testing.T, w TreeWorld) {
	h := start(t, w)
	photo := "\xff\xd8\xff" + strings.Repeat("x", 5000)
	h.person("Ann", base, "unicodePwd: "+quoted(secret), "department: Sales", "thumbnailPhoto: "+photo)
	h.person("Bob", base, "department: Sales", "msExchHideFromAddressLists: TRUE", "thumbnailPhoto: \xff\xd8\xff")
	h.person("Cid", "OU=Sales,"+base, "department: Other")
	lists := "CN=Address Lists Container,CN=Configuration," + base
	h.add("CN=Joe,"+base, "objectClass: contact", "displayName: Joe", "mail: joe@elsewhere.test")
	h.add("CN=Staff,"+base, "objectClass: group", "displayName: Staff", "mail: staff@example.test")
	h.add("CN=Room,"+base, "objectClass: user", "sAMAccountName: room", "displayName: Room", "mail: room@example.test",
		"homeMDB: CN=default,CN=Mailbox Databases,CN=Waypost,CN=Services,CN=Configuration,"+base, "msExchResourceMetaData: ResourceType:Room")
	sales := h.add("CN=Sales,"+lists, "objectClass: addressBookContainer", "displayName: Sales people", "purportedSearch: (department=Sales)")
	unit := h.add("CN=Unit,"+lists, "objectClass: addressBookContainer", "displayName: Unit", "purportedSearch: (objectClass=user)", "msExchSearchBase: OU=Sales,"+base)
	h.person("Dan", base, "showInAddressBook: CN=Sales,"+lists)
	x, err := h.f.UserByAddress(t.Context(), system, "ann@example.test")
	if err != nil {
		t.Fatal(err)
	}
	ann := principal(x)
	got, err := h.f.AddressLists(t.Context(), ann)
	want := []directory.AddressList{
		{ID: sales, Name: "Sales people", Filter: "(department=Sales)"},
		{ID: unit, Name: "Unit", Filter: "(objectClass=user)", Base: "OU=Sales," + base},
	}
	usual := map[string]directory.ObjectID{} // the lists that every organisation begins with
	got = slices.DeleteFunc(got, func(l directory.AddressList) bool {
		if !strings.Contains(l.Filter, "(proxyAddresses=*)") {
			return false
		}
		usual[l.Name] = l.ID
		return true
	})
	if err != nil || !slices.Equal(got, want) || len(usual) != 5 {
		t.Errorf("the lists are %+v, %v; usual %v", got, err, usual)
	}
	for _, tt := range []struct {
		text string
		list directory.ObjectID
		want string
	}{
		{"", sales, "Ann Dan"},
		{"", unit, "Cid"},
		{"an", sales, "Ann"},
		{"cid", sales, ""},
		{"", 0, "Ann Cid Dan Joe Room Staff"},
		{"", usual["Default Global Address List"], "Ann Cid Dan Joe Room Staff"},
		{"", usual["All Users"], "Ann Cid Dan"},
		{"", usual["All Contacts"], "Joe"},
		{"", usual["All Groups"], "Staff"},
		{"", usual["All Rooms"], "Room"},
	} {
		hits, total, err := h.f.People(t.Context(), ann, directory.PeopleQuery{Text: tt.text, List: tt.list})
		var names []string
		for _, u := range hits {
			names = append(names, u.Name)
		}
		if err != nil || strings.Join(names, " ") != tt.want || total != len(names) {
			t.Errorf("%q in list %d: %q of %d, %v; want %q", tt.text, tt.list, names, total, err, tt.want)
		}
	}
	hits, total, err := h.f.People(t.Context(), ann, directory.PeopleQuery{List: sales, Offset: 1, Limit: 1})
	if err != nil || total != 2 || len(hits) != 1 || hits[0].Name != "Dan" {
		t.Errorf("a page of the list: %+v of %d, %v", hits, total, err)
	}
	_, _, err = h.f.People(t.Context(), ann, directory.PeopleQuery{List: ann.ID})
	wantKind(t, "a list that is none", err, fault.NotFound)
	// showInAddressBook tells of whom the filters find.
	me := h.like(ann)
	all, global := "CN=All Address Lists,"+lists, "CN=Default Global Address List,CN=All Global Address Lists,"+lists
	for dn, want := range map[string]string{
		"CN=Ann," + base:          global + "|CN=All Users," + all + "|CN=Sales," + lists,
		"CN=Cid,OU=Sales," + base: global + "|CN=All Users," + all + "|CN=Unit," + lists,
		"CN=Dan," + base:          "CN=Sales," + lists + "|" + global + "|CN=All Users," + all,
		"CN=Joe," + base:          global + "|CN=All Contacts," + all,
	} {
		wanted := strings.Split(want, "|")
		slices.Sort(wanted)
		if got := me.values(dn, "showInAddressBook"); got != strings.Join(wanted, "|") {
			t.Errorf("%s is shown in %s, want %s", dn, got, want)
		}
	}
	if got := h.values("CN=Bob,"+base, "showInAddressBook"); got != "" {
		t.Errorf("a hidden one is shown in %s", got)
	}
	for filter, want := range map[string]string{
		"(showInAddressBook=" + global + ")":                      "Ann Cid Dan Joe Room Staff",
		"(SHOWINADDRESSBOOK=" + strings.ToLower(global) + ")":     "Ann Cid Dan Joe Room Staff",
		"(&(anr=an)(showInAddressBook=CN=All Users," + all + "))": "Ann",
		"(showInAddressBook=CN=Sales," + lists + ")":              "Ann Dan",
		"(&(mail=*)(!(showInAddressBook=" + global + ")))":        "Bob",
		"(&(mail=*)(!(showInAddressBook=*)))":                     "Bob",
		"(showInAddressBook=CN=None," + lists + ")":               "",
	} {
		var names []string
		for _, dn := range me.search(base, filter, tree.Sub) {
			name, _, _ := strings.Cut(strings.TrimPrefix(dn, "CN="), ",")
			names = append(names, name)
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s finds %s, want %s", filter, got, want)
		}
	}
	if _, err := h.f.AddressLists(t.Context(), directory.Principal{}); err == nil {
		t.Error("nobody reads the lists")
	}

	bob, err := h.f.UserByAddress(t.Context(), system, "bob@example.test")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what string
		as   directory.Principal
		id   directory.ObjectID
		size int
	}{
		{"her own", ann, ann.ID, len(photo)},
		{"a hidden one", ann, bob.ID, 0},
		{"a hidden one, for the product", system, bob.ID, 3},
		{"none", ann, sales, 0},
	} {
		p, err := h.f.Photo(t.Context(), tt.as, tt.id)
		if len(p) != tt.size || (tt.size == 0) != (fault.Of(err) == fault.NotFound && err != nil) {
			t.Errorf("photo, %s: %d bytes, %v", tt.what, len(p), err)
		}
	}
}

func testResources(t *testing.T, w TreeWorld) {
	h := start(t, w)
	d := h.f
	hall, err := d.AddUser(t.Context(), system, directory.NewUser{User: directory.User{
		Kind: directory.KindRoom, Address: "hall@example.test", Name: "Hall", Capacity: 40, Features: []string{"Projector", "projector", "video"},
	}})
	if err != nil || hall.Capacity != 40 || !slices.Equal(hall.Features, []string{"Projector", "video"}) {
		t.Fatalf("%+v, %v", hall, err)
	}
	car, err := d.AddUser(t.Context(), system, directory.NewUser{User: directory.User{Kind: directory.KindEquipment, Address: "car@example.test", Name: "Car"}})
	if err != nil || car.Kind != directory.KindEquipment || car.Mailbox == 0 || car.Enabled {
		t.Fatalf("%+v, %v", car, err)
	}
	car, err = d.UpdateUser(t.Context(), system, car.ID, func(u *directory.User) error { u.Capacity, u.Features = 5, []string{"electric"}; return nil })
	if err != nil || car.Kind != directory.KindEquipment || car.Capacity != 5 {
		t.Errorf("%+v, %v", car, err)
	}
	hits, total, err := d.People(t.Context(), system, directory.PeopleQuery{Text: "hall"})
	if err != nil || total != 1 || hits[0].Capacity != 40 || hits[0].Kind != directory.KindRoom {
		t.Errorf("the hall is found as %+v, %v", hits, err)
	}
	if got := h.search(base, "(&(msExchResourceCapacity>=10)(msExchResourceSearchProperties=PROJECTOR))", tree.Sub); len(got) != 1 {
		t.Errorf("rooms with a projector: %q", got)
	}
	_, err = d.AddUser(t.Context(), system, directory.NewUser{User: directory.User{Address: "x@example.test", Capacity: 3}})
	wantKind(t, "a person's capacity", err, fault.Invalid)
	all, err := d.Users(t.Context(), system, directory.Page{})
	if err != nil || len(all) != 2 {
		t.Errorf("users and rooms: %+v, %v", all, err)
	}
}
