package directorytest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"waypost/directory"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

func testTreeSchema(t *testing.T, w TreeWorld) {
	h := start(t, w)
	container := "CN=Schema,CN=Configuration," + base
	h.add("CN=Shoe-Size,"+container, "objectClass: attributeSchema", "lDAPDisplayName: shoeSize", "attributeID: 1.3.6.1.4.1.99999.1",
		"attributeSyntax: 2.5.5.9", "oMSyntax: 2", "isSingleValued: TRUE", "searchFlags: 1")
	h.add("CN=Runner,"+container, "objectClass: classSchema", "lDAPDisplayName: runner", "governsID: 1.3.6.1.4.1.99999.2",
		"objectClassCategory: 3", "subClassOf: top", "mayContain: shoeSize")
	if _, ok := h.tr.Schema().Attribute("shoesize"); !ok {
		t.Fatal("the new attribute is not in the schema")
	}
	ann := h.person("Ann", "OU=Sales,"+base)
	h.modify(ann, "add objectClass: runner", "add shoeSize: 42")
	if got := h.search(base, "(shoeSize=42)", tree.Sub); !slices.Equal(got, []string{ann}) {
		t.Errorf("found by the new attribute: %q", got)
	}
	h.refused("syntax of the new attribute", h.tryModify(ann, "replace shoeSize: x"), tree.ResultInvalidSyntax)
	for _, c := range []struct {
		what  string
		want  tree.Code
		dn    string
		lines []string
	}{
		{"the OID again", tree.ResultEntryAlreadyExists, "CN=Other,", []string{"objectClass: attributeSchema", "lDAPDisplayName: other", "attributeID: 1.3.6.1.4.1.99999.1", "attributeSyntax: 2.5.5.12", "oMSyntax: 64", "isSingleValued: TRUE"}},
		{"a name of the base schema", tree.ResultEntryAlreadyExists, "CN=Other,", []string{"objectClass: attributeSchema", "lDAPDisplayName: title", "attributeID: 1.3.6.1.4.1.99999.3", "attributeSyntax: 2.5.5.12", "oMSyntax: 64", "isSingleValued: TRUE"}},
		{"no such syntax", tree.ResultConstraintViolation, "CN=Other,", []string{"objectClass: attributeSchema", "lDAPDisplayName: other", "attributeID: 1.3.6.1.4.1.99999.3", "attributeSyntax: 2.5.5.99", "oMSyntax: 64", "isSingleValued: TRUE"}},
		{"a class of nothing", tree.ResultUnwillingToPerform, "CN=Other,", []string{"objectClass: classSchema", "lDAPDisplayName: other", "governsID: 1.3.6.1.4.1.99999.4", "objectClassCategory: 1", "subClassOf: nothing"}},
	} {
		_, err := h.tryAdd(c.dn+container, c.lines...)
		h.refused("schema: "+c.what, err, c.want)
	}
	h.refused("delete from the schema", h.tryDelete("CN=Shoe-Size,"+container, false), tree.ResultUnwillingToPerform)
	// Every process knows it, those that begin later too.
	other := w.Open(t)
	if _, ok := other.Tree().Schema().Attribute("shoeSize"); !ok {
		t.Error("another process does not know the new attribute")
	}
	if u, err := other.UserByAddress(t.Context(), system, "ann@example.test"); err != nil || u.Name != "Ann" {
		t.Errorf("another process has %+v, %v", u, err)
	}
}

func testTreeControls(t *testing.T, w TreeWorld) {
	h := start(t, w)
	ann := h.person("Ann", "OU=Sales,"+base, "title: Clerk")
	filter := func(s string) *tree.Filter {
		f, err := tree.ParseFilter(s)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	ctx := t.Context()
	_, err := h.tr.ModifyEntry(ctx, system, h.dn(ann), mods("replace title: Head"), tree.Options{Assert: filter("(title=Boss)")})
	h.refused("an assertion that does not hold", err, tree.ResultAssertionFailed)
	done, err := h.tr.ModifyEntry(ctx, system, h.dn(ann), mods("replace title: Head"), tree.Options{
		Assert: filter("(&(title=clerk)(homeMDB=CN=default," + mdbs + "))"), PreRead: []string{"title", "mail"}, PostRead: []string{"title"},
	})
	if err != nil || done.Pre == nil || done.Post == nil || done.USN == 0 || done.ID == 0 {
		t.Fatalf("modify gave %+v, %v", done, err)
	}
	if got := done.Pre.Get("title"); !slices.Equal(got, []string{"Clerk"}) || len(done.Pre.Attributes) != 2 {
		t.Errorf("the pre-read has %+v", done.Pre.Attributes)
	}
	if got := done.Post.Get("title"); !slices.Equal(got, []string{"Head"}) || done.Post.DN != ann {
		t.Errorf("the post-read has %+v", done.Post)
	}
	added, err := h.tr.AddEntry(ctx, system, h.dn("CN=Bob,OU=Sales,"+base), attributes("objectClass: user"), tree.Options{PostRead: []string{"objectGUID", "sAMAccountName"}})
	if err != nil || added.Post == nil || len(added.Post.Get("objectGUID")) != 1 {
		t.Errorf("add gave %+v, %v", added, err)
	}
	gone, err := h.tr.DeleteEntry(ctx, system, h.dn(ann), tree.Options{PreRead: []string{"*"}})
	if err != nil || gone.Pre == nil || gone.Pre.DN != ann {
		t.Errorf("delete gave %+v, %v", gone, err)
	}
	same := func(name, value string) {
		t.Helper()
		if ok, err := h.tr.Compare(ctx, system, h.dn("CN=Bob,OU=Sales,"+base), name, value); err != nil || !ok {
			t.Errorf("compare %s with %q: %v, %v", name, value, ok, err)
		}
	}
	same("sAMAccountName", "BOB")
	same("objectClass", "person")
	if ok, err := h.tr.Compare(ctx, system, h.dn("CN=Bob,OU=Sales,"+base), "sAMAccountName", "ann"); ok || err != nil {
		t.Errorf("compare with another value: %v, %v", ok, err)
	}
	for name, want := range map[string]tree.Code{"title": tree.ResultNoSuchAttribute, "shoeSize": tree.ResultUndefinedType, "unicodePwd": tree.ResultNoSuchAttribute} {
		_, err := h.tr.Compare(ctx, system, h.dn("CN=Bob,OU=Sales,"+base), name, "x")
		h.refused("compare "+name, err, want)
	}
}

func testTreeCold(t *testing.T, w TreeWorld) {
	h := start(t, w)
	photo := "\xff\xd8" + strings.Repeat("\x00photo", 2000)
	ann := h.person("Ann", "OU=Sales,"+base, "thumbnailPhoto: "+photo)
	h.want(ann, "thumbnailPhoto", photo)
	if got := h.search(base, "(thumbnailPhoto=*)", tree.Sub); !slices.Equal(got, []string{ann}) {
		t.Errorf("with a photo are %q", got)
	}
	if ok, err := h.tr.Compare(t.Context(), system, h.dn(ann), "thumbnailPhoto", photo); !ok || err != nil {
		t.Errorf("compare a photo: %v, %v", ok, err)
	}
	h.modify(ann, "replace thumbnailPhoto: small")
	h.want(ann, "thumbnailPhoto", "small")
	h.modify(ann, "replace thumbnailPhoto: "+photo+"2")
	h.want(ann, "thumbnailPhoto", photo+"2")
	h.modify(ann, "add userCertificate: "+photo, "add userCertificate: short")
	h.modify(ann, "add userCertificate: third", "delete userCertificate: "+photo)
	h.want(ann, "userCertificate", "short|third")
	h.refused("a photo again", h.tryModify(ann, "add thumbnailPhoto: x"), tree.ResultConstraintViolation)
	h.modify(ann, "delete thumbnailPhoto")
	h.want(ann, "thumbnailPhoto", "")
}

// testTreeRights tries every operation as every kind of caller.
func testTreeRights(t *testing.T, w TreeWorld) {
	h := start(t, w)
	sales, north := "OU=Sales,"+base, "OU=North,OU=Sales,"+base
	who := func(name string, lines ...string) directory.Principal {
		t.Helper()
		h.person(name, "CN=Users,"+base, append([]string{"unicodePwd: " + quoted(secret)}, lines...)...)
		u, err := h.f.UserByAddress(t.Context(), system, strings.ToLower(name)+"@example.test")
		if err != nil {
			t.Fatal(err)
		}
		return principal(u)
	}
	admin := who("Admin", "waypostRoles: admin")
	help := who("Help")     // resets passwords in Sales
	chief := who("Chief")   // full control of North, by a group in a group
	master := who("Master") // a member of Domain Admins
	owner := who("Owner")   // owns a list
	plain := who("Plain")   // nobody in particular
	h.modify("CN=Domain Admins,CN=Users,"+base, "add member: CN=Master,CN=Users,"+base)
	h.add("CN=Chiefs,CN=Users,"+base, "objectClass: group", "member: CN=Chief,CN=Users,"+base)
	outer := h.add("CN=Outer,CN=Users,"+base, "objectClass: group", "member: CN=Chiefs,CN=Users,"+base)
	h.modify(sales, fmt.Sprintf("add accessControlEntry: allow #%d reset-password,write attributes(lockoutTime,pwdLastSet) on below(user)", help.ID))
	h.modify(north, fmt.Sprintf("add accessControlEntry: allow #%d full on all", outer))
	h.add("CN=List,"+north, "objectClass: group", "mail: list@example.test", "managedBy: CN=Owner,CN=Users,"+base, "member: CN=Plain,CN=Users,"+base, "hideDLMembership: TRUE")
	ann := h.person("Ann", north, "title: Head", "unicodePwd: "+quoted(secret))
	annID, err := h.f.UserByAddress(t.Context(), system, "ann@example.test")
	if err != nil {
		t.Fatal(err)
	}
	callers := []struct {
		name string
		as   directory.Principal
	}{
		{"nobody", directory.Principal{}},
		{"stale", func() directory.Principal { p := plain; p.Epoch--; return p }()},
		{"pretender", func() directory.Principal { p := plain; p.Roles = directory.RoleAdmin; return p }()},
		{"plain", plain},
		{"self", principal(annID)},
		{"owner", owner},
		{"help", help},
		{"chief", chief},
		{"master", master},
		{"admin", admin},
		{"system", system},
	}
	const (
		signedIn = "pretender plain self owner help chief master admin system"
		powers   = "chief master admin system"
	)
	n := 0
	see := func(dn, attribute string) func(*here) error {
		return func(h *here) error {
			f, err := tree.ParseFilter("(" + attribute + "=*)")
			if err != nil {
				return err
			}
			found := 0
			err = h.tr.Search(t.Context(), h.as, &tree.Query{Base: h.dn(dn), Filter: f, Attributes: []string{attribute}}, func(e *tree.Entry) error {
				found += len(e.Attributes)
				return nil
			})
			if err == nil && found == 0 {
				return tree.Refuse(tree.ResultInsufficientAccess, "nothing seen")
			}
			return err
		}
	}
	for _, m := range []struct {
		what string
		may  string
		call func(*here) error
	}{
		{"read an entry", signedIn, see(ann, "title")},
		{"read hidden members", "owner chief master admin system", see("CN=List,"+north, "member")},
		{"read rights", "chief master admin system", see(north, "accessControlEntry")},
		{"compare", signedIn, func(h *here) error {
			_, err := h.tr.Compare(t.Context(), h.as, h.dn(ann), "title", "Head")
			return err
		}},
		{"add a user", powers, func(h *here) error {
			n++
			_, err := h.tryAdd(fmt.Sprintf("CN=N%d,%s", n, north), "objectClass: user")
			return err
		}},
		{"add a user elsewhere", "master admin system", func(h *here) error {
			n++
			_, err := h.tryAdd(fmt.Sprintf("CN=N%d,%s", n, sales), "objectClass: user")
			return err
		}},
		{"add a container in the configuration", "admin system", func(h *here) error {
			n++
			_, err := h.tryAdd(fmt.Sprintf("CN=N%d,CN=Services,CN=Configuration,%s", n, base), "objectClass: container")
			if h.as.ID == master.ID { // the first domain's administrators have the configuration, too
				return tree.Refuse(tree.ResultInsufficientAccess, "not looked at")
			}
			return err
		}},
		{"change the title", powers, func(h *here) error { n++; return h.tryModify(ann, fmt.Sprintf("replace title: T%d", n)) }},
		{"change the phone", "self " + powers, func(h *here) error { n++; return h.tryModify(ann, fmt.Sprintf("replace telephoneNumber: %d", n)) }},
		{"change rights", powers, func(h *here) error {
			return h.tryModify(north, fmt.Sprintf("replace accessControlEntry: allow #%d full on all", outer))
		}},
		{"change roles", "admin system", func(h *here) error { return h.tryModify(ann, "replace waypostRoles") }},
		{"reset a password", "help " + powers, func(h *here) error { return h.tryModify(ann, "replace userPassword: "+secret) }},
		{"force a change of the password", "help " + powers, func(h *here) error { return h.tryModify(ann, "replace pwdLastSet: -1") }},
		{"change members", "owner " + powers, func(h *here) error { return h.tryModify("CN=List,"+north, "replace member: CN=Plain,CN=Users,"+base) }},
		{"rename", powers, func(h *here) error { return h.tryMove(ann, "CN=Ann", north) }},
		{"move away", "master admin system", func(h *here) error {
			if err := h.tryMove(ann, "CN=Ann", sales); err != nil {
				return err
			}
			return h.like(system).tryMove("CN=Ann,"+sales, "CN=Ann", north)
		}},
		{"delete", powers, func(h *here) error {
			n++
			dn := fmt.Sprintf("CN=N%d,%s", n, north)
			h.like(system).add(dn, "objectClass: contact")
			return h.tryDelete(dn, false)
		}},
		{"delete a subtree", powers, func(h *here) error {
			n++
			dn := fmt.Sprintf("OU=N%d,%s", n, north)
			h.like(system).add(dn, "objectClass: organizationalUnit")
			h.like(system).add("CN=X,"+dn, "objectClass: contact")
			return h.tryDelete(dn, true)
		}},
		{"add a domain", "admin system", func(h *here) error {
			n++
			_, err := h.tryAdd(fmt.Sprintf("DC=d%d,%s", n, base), "objectClass: domainDNS")
			return err
		}},
	} {
		for _, c := range callers {
			// What was granted before a password was reset has ended.
			as := c.as
			if c.name == "self" {
				now, err := h.f.UserByAddress(t.Context(), system, "ann@example.test")
				if err != nil {
					t.Fatal(err)
				}
				as = principal(now)
			}
			err := m.call(h.like(as))
			may := slices.Contains(strings.Fields(m.may), c.name)
			switch k := fault.Of(err); {
			case may && err != nil:
				t.Errorf("%s as %s: %v", m.what, c.name, err)
			case !may && err == nil:
				t.Errorf("%s as %s was allowed", m.what, c.name)
			case !may && k != fault.Denied && k != fault.NotFound && k != fault.Unauthenticated:
				t.Errorf("%s as %s was refused with %v", m.what, c.name, err)
			}
		}
	}
}

// testTreeEscalation: who manages people does not become more than they are.
func testTreeEscalation(t *testing.T, w TreeWorld) {
	h := start(t, w)
	sales := "OU=Sales," + base
	h.person("Chief", "CN=Users,"+base)
	u, err := h.f.UserByAddress(t.Context(), system, "chief@example.test")
	if err != nil {
		t.Fatal(err)
	}
	h.modify(sales, fmt.Sprintf("add accessControlEntry: allow #%d full on all", u.ID))
	boss := h.person("Boss", sales, "waypostRoles: admin")
	c := h.like(principal(u))
	h.refused("make an administrator", func() error {
		_, err := c.tryAdd("CN=X,"+sales, "objectClass: user", "waypostRoles: admin")
		return err
	}(), tree.ResultInsufficientAccess)
	h.refused("reset an administrator's password", c.tryModify(boss, "replace userPassword: "+secret), tree.ResultInsufficientAccess)
	h.refused("delete an administrator", c.tryDelete(boss, false), tree.ResultInsufficientAccess)
	h.refused("move an administrator", c.tryMove(boss, "CN=Boss", "OU=North,"+sales), tree.ResultInsufficientAccess)
	h.refused("delete him with the subtree", c.tryDelete(sales, true), tree.ResultInsufficientAccess)
	h.refused("join the administrators", c.tryModify("CN=Domain Admins,CN=Users,"+base, "add member: CN=Chief,CN=Users,"+base), tree.ResultInsufficientAccess)
	h.refused("make itself an administrator", c.tryModify("CN=Chief,CN=Users,"+base, "add waypostRoles: admin"), tree.ResultInsufficientAccess)
}

func testTreeUnique(t *testing.T, w TreeWorld) {
	h := start(t, w)
	other := w.Open(t)
	for round, lines := range [][]string{
		{"objectClass: user", "mail: race@example.test"},
		{"objectClass: contact", "proxyAddresses: SMTP:a@example.test", "proxyAddresses: smtp:race2@example.test"},
		{"objectClass: user", "sAMAccountName: race3"},
		{"objectClass: user", "userPrincipalName: race4@example.test"},
	} {
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			wg.Go(func() {
				tr := []tree.Tree{h.tr, other.Tree()}[i%2]
				_, errs[i] = tr.AddEntry(t.Context(), system, h.dn(fmt.Sprintf("CN=R%d-%d,OU=Sales,%s", round, i, base)), attributes(lines...), tree.Options{})
			})
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			switch codeOf(err) {
			case 0:
				won++
			case tree.ResultConstraintViolation, tree.ResultEntryAlreadyExists:
				wantKind(t, "a name in a race", err, fault.Exists)
			default:
				t.Errorf("in a race: %v", err)
			}
		}
		if won != 1 {
			t.Errorf("%d of %d got %q", won, len(errs), lines)
		}
	}
}

// events collects what a watch tells.
type events struct {
	mu   sync.Mutex
	list []string
	usn  directory.USN
	err  error
	done chan struct{}
}

func (e *events) take(ev *tree.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.usn = ev.USN
	switch {
	case ev.Present:
		e.list = append(e.list, "present")
	case ev.Entry == nil:
		e.list = append(e.list, "left "+fmt.Sprint(ev.ID))
	default:
		word := "changed "
		if ev.Added {
			word = "added "
		} else if ev.Moved {
			word = "moved "
		}
		e.list = append(e.list, word+ev.Entry.DN)
	}
	return nil
}

func (e *events) has(line string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Contains(e.list, line)
}

func (h *here) watch(q *tree.Query) *events {
	ctx, cancel := context.WithCancel(h.Context())
	e := &events{done: make(chan struct{})}
	go func() {
		defer close(e.done)
		e.err = h.tr.Watch(ctx, h.as, q, e.take)
	}()
	h.Cleanup(func() { cancel(); <-e.done })
	return e
}

func testTreeWatch(t *testing.T, w TreeWorld) {
	h := start(t, w)
	sales := "OU=Sales," + base
	ann := h.person("Ann", sales, "title: Head")
	filter, err := tree.ParseFilter("(title=Head)")
	if err != nil {
		t.Fatal(err)
	}
	query := &tree.Query{Base: h.dn(sales), Scope: tree.Sub, Filter: filter, Attributes: []string{"title"}}
	e := h.watch(query)
	hear := func(e *events, line string) {
		t.Helper()
		eventually(t, "hear "+line, 5*time.Second, func() bool { return e.has(line) })
	}
	hear(e, "added "+ann)
	hear(e, "present")
	bob := h.person("Bob", "OU=North,"+sales)
	h.modify(bob, "replace title: Head")
	hear(e, "added "+bob)
	h.modify(bob, "replace title: head")
	hear(e, "changed "+bob)
	h.refused("move", h.tryMove("OU=North,"+sales, "OU=Nord", ""), 0)
	hear(e, "moved CN=Bob,OU=Nord,"+sales)
	e.mu.Lock()
	since := e.usn
	e.mu.Unlock()
	u, err := h.f.UserByAddress(t.Context(), system, "bob@example.test")
	if err != nil {
		t.Fatal(err)
	}
	h.refused("move away", h.tryMove("OU=Nord,"+sales, "OU=Nord", base), 0)
	hear(e, fmt.Sprint("left ", u.ID))
	h.refused("move back", h.tryMove("OU=Nord,"+base, "OU=Nord", sales), 0)
	annUser, err := h.f.UserByAddress(t.Context(), system, "ann@example.test")
	if err != nil {
		t.Fatal(err)
	}
	h.refused("delete", h.tryDelete(ann, false), 0)
	hear(e, fmt.Sprint("left ", annUser.ID))

	// Going on from a position tells what happened since, also in another process.
	for _, tr := range []*here{h, {t, nil, w.Open(t).Tree(), system}} {
		again := *query
		again.Since = since
		e := tr.watch(&again)
		hear(e, "present")
		if !e.has(fmt.Sprint("left ", annUser.ID)) {
			t.Errorf("after %d was heard %q, not that she left", since, e.list)
		}
		if e.has("changed " + ann) {
			t.Errorf("after %d was heard %q", since, e.list)
		}
	}
	future := *query
	future.Since = 1 << 40
	wantKind(t, "a position of the future", h.tr.Watch(t.Context(), system, &future, func(*tree.Event) error { return nil }), fault.Resync)
	// Who may not be here any more hears nothing more.
	p := h.person("Eve", sales, "unicodePwd: "+quoted(secret))
	eve, err := h.f.UserByAddress(t.Context(), system, "eve@example.test")
	if err != nil {
		t.Fatal(err)
	}
	e = h.like(principal(eve)).watch(query)
	hear(e, "present")
	h.modify(p, "replace userAccountControl: 514")
	select {
	case <-e.done:
		wantKind(t, "the watch of a disabled account", e.err, fault.Unauthenticated)
	case <-time.After(10 * time.Second):
		t.Error("a disabled account goes on watching")
	}
}

// testTreeProcesses: what one process writes the others see within a second.
func testTreeProcesses(t *testing.T, w TreeWorld) {
	h := start(t, w)
	others := []tree.Tree{w.Open(t).Tree(), w.Open(t).Tree()}
	for i := range 5 {
		dn := h.person(fmt.Sprintf("P%d", i), "OU=Sales,"+base)
		for _, tr := range others {
			o := &here{t, nil, tr, system}
			eventually(t, "see "+dn, time.Second, func() bool { return o.entry(dn) != nil })
		}
		h.modify(dn, "replace title: T")
		for _, tr := range others {
			o := &here{t, nil, tr, system}
			eventually(t, "see the change of "+dn, time.Second, func() bool { return o.values(dn, "title") == "T" })
		}
		// A writer finds what another has just made.
		o := &here{t, nil, others[i%2], system}
		o.add("CN=Below"+fmt.Sprint(i)+",OU=New"+fmt.Sprint(i)+","+o.container(i), "objectClass: contact")
	}
}

// container makes an organisational unit at the process and names its parent.
func (h *here) container(i int) string {
	h.Helper()
	h.add(fmt.Sprintf("OU=New%d,%s", i, base), "objectClass: organizationalUnit")
	return base
}
