package directorytest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"waypost/directory"
	"waypost/directory/tree"
)

// Forest is an organisation that is also seen by name and attribute.
type Forest interface {
	directory.Directory
	Tree() tree.Tree
}

// TreeWorld is one organisation and the means to open it.
type TreeWorld struct {
	// Open starts another process on the organisation; it ends with the test.
	Open func(t testing.TB) Forest
	// Check answers with a line for everything that is not sound.
	Check func(t testing.TB) []string
}

// RunTree runs the suite of tree.Tree; open makes a new, empty organisation.
func RunTree(t *testing.T, open func(t testing.TB) TreeWorld) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, TreeWorld)
	}{
		{"NewForest", testNewForest},
		{"Add", testTreeAdd},
		{"Modify", testTreeModify},
		{"Addresses", testTreeAddresses},
		{"Accounts", testTreeAccounts},
		{"Passwords", testTreePasswords},
		{"UnknownLogins", testUnknownLogins},
		{"HelpDesk", testTreeHelpDesk},
		{"Links", testTreeLinks},
		{"Move", testTreeMove},
		{"OtherDomain", testTreeOtherDomain},
		{"Delete", testTreeDelete},
		{"Undelete", testTreeUndelete},
		{"Schema", testTreeSchema},
		{"Controls", testTreeControls},
		{"Cold", testTreeCold},
		{"Rights", testTreeRights},
		{"Escalation", testTreeEscalation},
		{"Hidden", testTreeHidden},
		{"Rise", testTreeRise},
		{"Revive", testTreeRevive},
		{"Unique", testTreeUnique},
		{"Watch", testTreeWatch},
		{"DynamicGroups", testDynamicGroups},
		{"SendTo", testSendTo},
		{"HiddenMembers", testHiddenMembers},
		{"Contacts", testContacts},
		{"Redirects", testRedirects},
		{"Delegates", testDelegates},
		{"AddressLists", testAddressLists},
		{"Resources", testResources},
		{"Processes", testTreeProcesses},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := open(t)
			c.run(t, w)
			for _, f := range w.Check(t) {
				t.Errorf("unsound: %s", f)
			}
		})
	}
}

// here is a conversation with one tree.
type here struct {
	testing.TB
	f  Forest
	tr tree.Tree
	as directory.Principal
}

const base = "DC=example,DC=test"

// start opens a process and makes a domain with two organisational units.
func start(t testing.TB, w TreeWorld) *here {
	t.Helper()
	f := w.Open(t)
	addDomain(t, f, "example.test")
	h := &here{TB: t, f: f, tr: f.Tree(), as: system}
	h.add("OU=Sales,"+base, "objectClass: organizationalUnit")
	h.add("OU=North,OU=Sales,"+base, "objectClass: organizationalUnit")
	return h
}

// like is h as somebody else.
func (h *here) like(as directory.Principal) *here { return &here{h.TB, h.f, h.tr, as} }

func (h *here) dn(s string) tree.DN {
	h.Helper()
	dn, err := tree.ParseDN(s)
	if err != nil {
		h.Fatalf("%s: %v", s, err)
	}
	return dn
}

// attributes reads lines "name: value".
func attributes(lines ...string) (list []tree.Attribute) {
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		i := slices.IndexFunc(list, func(a tree.Attribute) bool { return a.Name == name })
		if i < 0 {
			list, i = append(list, tree.Attribute{Name: name}), len(list)
		}
		list[i].Values = append(list[i].Values, value)
	}
	return list
}

// mods reads lines "op name: value"; values of lines that follow each other with
// the same op and name belong together.
func mods(lines ...string) (list []tree.Modification) {
	ops := map[string]tree.ModOp{"add": tree.ModAdd, "delete": tree.ModDelete, "replace": tree.ModReplace, "increment": tree.ModIncrement}
	for _, l := range lines {
		op, rest, _ := strings.Cut(l, " ")
		name, value, some := strings.Cut(rest, ": ")
		last := len(list) - 1
		if last < 0 || list[last].Op != ops[op] || list[last].Name != name {
			list, last = append(list, tree.Modification{Op: ops[op], Name: name}), last+1
		}
		if some {
			list[last].Values = append(list[last].Values, value)
		}
	}
	return list
}

func (h *here) tryAdd(dn string, lines ...string) (tree.Written, error) {
	h.Helper()
	return h.tr.AddEntry(h.Context(), h.as, h.dn(dn), attributes(lines...), tree.Options{})
}

func (h *here) add(dn string, lines ...string) directory.ObjectID {
	h.Helper()
	w, err := h.tryAdd(dn, lines...)
	if err != nil {
		h.Fatalf("add %s: %v", dn, err)
	}
	return w.ID
}

func (h *here) tryModify(dn string, lines ...string) error {
	h.Helper()
	_, err := h.tr.ModifyEntry(h.Context(), h.as, h.dn(dn), mods(lines...), tree.Options{})
	return err
}

func (h *here) modify(dn string, lines ...string) {
	h.Helper()
	if err := h.tryModify(dn, lines...); err != nil {
		h.Errorf("modify %s %q: %v", dn, lines, err)
	}
}

func (h *here) tryMove(dn, rdn, superior string) error {
	h.Helper()
	r, err := tree.ParseRDN(rdn)
	if err != nil {
		h.Fatal(err)
	}
	var up *tree.DN
	if superior != "" {
		to := h.dn(superior)
		up = &to
	}
	_, err = h.tr.MoveEntry(h.Context(), h.as, h.dn(dn), r, true, up, tree.Options{})
	return err
}

func (h *here) tryDelete(dn string, whole bool) error {
	h.Helper()
	_, err := h.tr.DeleteEntry(h.Context(), h.as, h.dn(dn), tree.Options{Tree: whole})
	return err
}

// search gives the names found, sorted.
func (h *here) search(base, filter string, scope tree.Scope, with ...func(*tree.Query)) (names []string) {
	h.Helper()
	f, err := tree.ParseFilter(filter)
	if err != nil {
		h.Fatalf("%s: %v", filter, err)
	}
	q := &tree.Query{Base: h.dn(base), Scope: scope, Filter: f}
	for _, fn := range with {
		fn(q)
	}
	if err := h.tr.Search(h.Context(), h.as, q, func(e *tree.Entry) error { names = append(names, e.DN); return nil }); err != nil {
		h.Errorf("search %s for %s: %v", base, filter, err)
	}
	slices.Sort(names)
	return names
}

// entry reads one entry, nil when it is not there.
func (h *here) entry(dn string, names ...string) (found *tree.Entry) {
	h.Helper()
	q := &tree.Query{Base: h.dn(dn), Scope: tree.Base, Filter: &tree.Filter{Op: tree.Present, Attribute: "objectClass"}, Attributes: names, Deleted: strings.HasPrefix(dn, "<GUID")}
	err := h.tr.Search(h.Context(), h.as, q, func(e *tree.Entry) error { found = e; return nil })
	if err != nil && codeOf(err) != tree.ResultNoSuchObject {
		h.Errorf("read %s: %v", dn, err)
	}
	return found
}

// values reads one attribute, sorted, joined by "|".
func (h *here) values(dn, attribute string) string {
	h.Helper()
	e := h.entry(dn, attribute)
	if e == nil {
		return "(no entry)"
	}
	v := slices.Clone(e.Get(attribute))
	slices.Sort(v)
	return strings.Join(v, "|")
}

func (h *here) want(dn, attribute, want string) {
	h.Helper()
	if got := h.values(dn, attribute); got != want {
		h.Errorf("%s of %s is %q, want %q", attribute, dn, got, want)
	}
}

// codeOf is the LDAP code of an error, 0 for none, -1 for another.
func codeOf(err error) tree.Code {
	var r *tree.Refusal
	switch {
	case err == nil:
		return 0
	case errors.As(err, &r):
		return r.Code
	}
	return -1
}

func (h *here) refused(what string, err error, want tree.Code) {
	h.Helper()
	if got := codeOf(err); got != want {
		h.Errorf("%s: got code %d (%v), want %d", what, got, err, want)
	}
}

// person adds somebody with a mailbox.
func (h *here) person(name, ou string, lines ...string) string {
	h.Helper()
	dn := fmt.Sprintf("CN=%s,%s", name, ou)
	h.add(dn, append([]string{
		"objectClass: user", "sAMAccountName: " + strings.ToLower(name), "mail: " + strings.ToLower(name) + "@example.test",
		"homeMDB: CN=default," + mdbs,
	}, lines...)...)
	return dn
}

const mdbs = "CN=Mailbox Databases,CN=Waypost,CN=Services,CN=Configuration," + base

// quoted is a password as unicodePwd has it.
func quoted(p string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(`"` + p + `"`)) {
		b.WriteByte(byte(u))
		b.WriteByte(byte(u >> 8))
	}
	return b.String()
}

func testNewForest(t *testing.T, w TreeWorld) {
	f := w.Open(t)
	tr := f.Tree()
	if got := tr.Contexts(); len(got) != 0 {
		t.Errorf("an empty forest has contexts %v", got)
	}
	addDomain(t, f, "example.test")
	addDomain(t, f, "eu.example.test")
	h := &here{TB: t, f: f, tr: tr, as: system}
	var contexts []string
	for _, dn := range tr.Contexts() {
		contexts = append(contexts, dn.String())
	}
	want := []string{base, "DC=eu," + base, "CN=Configuration," + base, "CN=Schema,CN=Configuration," + base}
	if !slices.Equal(contexts, want) {
		t.Errorf("contexts are %q, want %q", contexts, want)
	}
	for _, dn := range []string{
		"CN=Users," + base, "CN=Computers," + base, "OU=Domain Controllers," + base, "CN=Builtin," + base, "CN=System," + base,
		"CN=Deleted Objects," + base, "CN=LostAndFound," + base, "CN=Users,DC=eu," + base, "CN=Domain Users,CN=Users,DC=eu," + base,
		"CN=Schema,CN=Configuration," + base, "CN=Partitions,CN=Configuration," + base, "CN=Sites,CN=Configuration," + base,
		"CN=Services,CN=Configuration," + base, "CN=default," + mdbs, "CN=Person,CN=Schema,CN=Configuration," + base,
		"CN=Domain Admins,CN=Users," + base, "<WKGUID=A9D1CA15768811D1ADED00C04FD8D5CD," + base + ">",
	} {
		if h.entry(dn) == nil {
			t.Errorf("a new forest has no %s", dn)
		}
	}
	h.want("CN=eu.example.test,CN=Partitions,CN=Configuration,"+base, "nCName", "DC=eu,"+base)
	sid := h.values("CN=Domain Users,CN=Users,"+base, "objectSid")
	if len(sid) != 28 || sid[24:] != "\x01\x02\x00\x00" {
		t.Errorf("Domain Users has the SID %x", sid)
	}
	if other := h.values("CN=Domain Users,CN=Users,DC=eu,"+base, "objectSid"); other == sid || len(other) != 28 {
		t.Errorf("Domain Users of both domains have the SIDs %x and %x", sid, other)
	}
	for _, dn := range []string{"CN=Users," + base, "CN=Configuration," + base, "CN=Domain Users,CN=Users," + base, "CN=Waypost,CN=Services,CN=Configuration," + base} {
		h.refused("delete "+dn, h.tryDelete(dn, true), tree.ResultUnwillingToPerform)
		h.refused("rename "+dn, h.tryMove(dn, "CN=Other", ""), tree.ResultUnwillingToPerform)
	}
	// A domain by its name in the tree, and gone again.
	h.add("DC=us,"+base, "objectClass: domainDNS")
	if h.entry("CN=Users,DC=us,"+base) == nil {
		t.Error("a domain added by name has no containers")
	}
	h.refused("the domain again", func() error { _, err := h.tryAdd("DC=us,"+base, "objectClass: domainDNS"); return err }(), tree.ResultEntryAlreadyExists)
	h.add("CN=Ann,CN=Users,DC=us,"+base, "objectClass: user")
	h.refused("delete a domain with a user", h.tryDelete("DC=us,"+base, false), tree.ResultNotAllowedOnNonLeaf)
	h.refused("delete the user", h.tryDelete("CN=Ann,CN=Users,DC=us,"+base, false), 0)
	h.refused("delete the empty domain", h.tryDelete("DC=us,"+base, false), 0)
	if h.entry("DC=us,"+base) != nil {
		t.Error("a deleted domain is there")
	}
	// The first domain goes: the configuration moves to the next.
	if err := f.RemoveDomain(t.Context(), system, "example.test"); err != nil {
		t.Fatal(err)
	}
	if h.entry("CN=default,CN=Mailbox Databases,CN=Waypost,CN=Services,CN=Configuration,DC=eu,"+base) == nil {
		t.Error("the configuration went with the first domain")
	}
}
