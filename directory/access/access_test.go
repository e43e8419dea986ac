package access

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"waypost/directory"
	"waypost/directory/schema"
	"waypost/internal/fault"
)

var base = schema.Base()

func class(name string) *schema.Class {
	c, ok := base.Class(name)
	if !ok {
		panic("no class " + name)
	}
	return c
}

func attribute(name string) *schema.Attribute {
	a, ok := base.Attribute(name)
	if !ok {
		panic("no attribute " + name)
	}
	return a
}

// forest is a tree in a map. The numbers of the objects are those of the tests.
type forest struct {
	up      map[directory.ObjectID]directory.ObjectID
	entries map[directory.ObjectID][]Entry
}

func (f forest) Up(id directory.ObjectID) directory.ObjectID { return f.up[id] }
func (f forest) Entries(id directory.ObjectID) []Entry       { return f.entries[id] }

// The organisation of the tests:
//
//	1 root, 2 example.test, 10 Sales, 11 Sales/North, 20 Engineering
//	100 ann in Sales, 101 nora in North, 102 eve in Engineering, 103 root's admin in Sales
//	200 group in Sales, 201 the help desk's group in Engineering
const (
	root, domain, sales, north, engineering = 1, 2, 10, 11, 20
	ann, nora, eve, boss                    = 100, 101, 102, 103
	staff, helpdesk                         = 200, 201
)

func organisation(entries map[directory.ObjectID][]string) forest {
	f := forest{
		up: map[directory.ObjectID]directory.ObjectID{
			domain: root, sales: domain, north: sales, engineering: domain,
			ann: sales, nora: north, eve: engineering, boss: sales, staff: sales, helpdesk: engineering,
		},
		entries: map[directory.ObjectID][]Entry{root: Defaults()},
	}
	for id, texts := range entries {
		for _, text := range texts {
			e, err := Parse(text)
			if err != nil {
				panic(err)
			}
			f.entries[id] = append(f.entries[id], e)
		}
	}
	return f
}

var classes = map[directory.ObjectID]string{
	root: "top", domain: "domainDNS", sales: "organizationalUnit", north: "organizationalUnit", engineering: "organizationalUnit",
	ann: "user", nora: "inetOrgPerson", eve: "user", boss: "user", staff: "group", helpdesk: "group",
}

func (f forest) object(id directory.ObjectID) Object {
	return Object{ID: id, Parent: f.up[id], Class: class(classes[id]), Listed: len(f.entries[id]) > 0, Protected: id == boss}
}

func user(id directory.ObjectID) directory.Principal { return directory.Principal{ID: id} }

// deeds are what the matrix tries, each as an LDAP operation would ask for it.
var deeds = map[string]func(p *Permissions) bool{
	"see":          (*Permissions).Visible,
	"read":         func(p *Permissions) bool { return p.Read(attribute("mail")) },
	"secret":       func(p *Permissions) bool { return p.Read(attribute("unicodePwd")) },
	"entries":      func(p *Permissions) bool { return p.Read(attribute(AttributeName)) },
	"phone":        func(p *Permissions) bool { return p.Write(attribute("telephoneNumber")) },
	"title":        func(p *Permissions) bool { return p.Write(attribute("title")) },
	"mail":         func(p *Permissions) bool { return p.Write(attribute("mail")) },
	"account":      func(p *Permissions) bool { return p.Write(attribute("userAccountControl")) },
	"unlock":       func(p *Permissions) bool { return p.Write(attribute("lockoutTime")) },
	"password":     func(p *Permissions) bool { return p.Write(attribute("unicodePwd")) },
	"members":      func(p *Permissions) bool { return p.Write(attribute("member")) },
	"add user":     func(p *Permissions) bool { return p.Create(class("user")) },
	"add person":   func(p *Permissions) bool { return p.Create(class("inetOrgPerson")) },
	"add group":    func(p *Permissions) bool { return p.Create(class("group")) },
	"add OU":       func(p *Permissions) bool { return p.Create(class("organizationalUnit")) },
	"remove user":  func(p *Permissions) bool { return p.DeleteChild(class("user")) },
	"remove group": func(p *Permissions) bool { return p.DeleteChild(class("group")) },
	"delete":       func(p *Permissions) bool { return p.May(Delete) },
	"delegate":     func(p *Permissions) bool { return p.Write(attribute(AttributeName)) },
}

// The matrix: every deed at every kind of object as every kind of caller. A row
// names what is allowed; everything else must be refused.
func TestMatrix(t *testing.T) {
	f := organisation(nil)
	hand := func(to Who, at directory.ObjectID, presets ...string) {
		list, err := Delegate(to, presets...)
		if err != nil {
			t.Fatal(err)
		}
		f.entries[at] = append(f.entries[at], list...)
	}
	const (
		resetter, creator, groupKeeper, memberKeeper, editor, deputy = 300, 301, 302, 303, 304, 305
	)
	hand(helpdesk, sales, "reset-password")
	hand(creator, sales, "create-users")
	hand(groupKeeper, sales, "create-groups")
	hand(memberKeeper, sales, "manage-members")
	hand(editor, sales, "edit-users")
	hand(deputy, sales, "full-control")

	const read = "see,read"
	everything := "see,read,entries,phone,title,mail,account,unlock,password,members,add user,add person,add group,add OU,remove user,remove group,delete,delegate"
	for _, tt := range []struct {
		caller string
		as     directory.Principal
		groups []directory.ObjectID
		may    map[directory.ObjectID]string // by object; the rest is other
		other  string
	}{
		{"who did not sign in", directory.Principal{}, nil, nil, ""},
		{"ann", user(ann), nil, map[directory.ObjectID]string{ann: read + ",phone"}, read},
		{"nora, an inetOrgPerson", user(nora), nil, map[directory.ObjectID]string{nora: read + ",phone"}, read},
		{"the help desk, by group", user(resetter), []directory.ObjectID{helpdesk}, map[directory.ObjectID]string{
			ann: read + ",unlock,password", nora: read + ",unlock,password",
		}, read},
		{"who makes users", user(creator), nil, map[directory.ObjectID]string{
			sales: read + ",add user,add person,remove user", north: read + ",add user,add person,remove user",
			ann: read + ",add user,add person,remove user", nora: read + ",add user,add person,remove user",
			staff: read + ",add user,add person,remove user", // the schema lets nobody be below them
		}, read},
		{"who makes groups", user(groupKeeper), nil, map[directory.ObjectID]string{
			sales: read + ",add group,remove group", north: read + ",add group,remove group",
			ann: read + ",add group,remove group", nora: read + ",add group,remove group", staff: read + ",add group,remove group",
		}, read},
		{"who manages members", user(memberKeeper), nil, map[directory.ObjectID]string{staff: read + ",members"}, read},
		{"who edits users", user(editor), nil, map[directory.ObjectID]string{
			ann: read + ",phone,title", nora: read + ",phone,title",
		}, read},
		{"the department's deputy", user(deputy), nil, map[directory.ObjectID]string{
			sales: everything, north: everything, ann: everything, nora: everything, staff: everything,
			// boss is an administrator: protected, though in Sales.
		}, read},
		{"an administrator", directory.Principal{ID: boss, Roles: directory.RoleAdmin}, nil, nil, everything},
		{"the product", directory.System("test"), nil, nil, everything},
	} {
		v := NewView(base, tt.as, tt.groups, f)
		for id := range classes {
			may, ok := tt.may[id]
			if !ok {
				may = tt.other
			}
			for deed, ask := range deeds {
				want := slices.Contains(strings.Split(may, ","), deed)
				if got := ask(v.At(f.object(id))); got != want {
					t.Errorf("%s at %s %d: %s is %t, want %t", tt.caller, classes[id], id, deed, got, want)
				}
			}
		}
	}
}

// The order of MS-ADTS 5.1.3.3.2: explicit before inherited, near before far,
// deny before allow at one level.
func TestOrder(t *testing.T) {
	title, phone := attribute("title"), attribute("telephoneNumber")
	for _, tt := range []struct {
		name    string
		entries map[directory.ObjectID][]string
		title   bool // may eve write ann's title
		phone   bool
	}{
		{"nothing", nil, false, false},
		{"allowed above", map[directory.ObjectID][]string{domain: {"allow #102 write on below"}}, true, true},
		{"only here", map[directory.ObjectID][]string{sales: {"allow #102 write on this"}}, false, false},
		{"denied at the same level, either order", map[directory.ObjectID][]string{
			sales: {"allow #102 write on all", "deny #102 write attributes(title) on all"},
		}, false, true},
		{"nearer deny", map[directory.ObjectID][]string{
			domain: {"allow #102 write on all"}, sales: {"deny #102 write attributes(telephoneNumber) on all"},
		}, true, false},
		{"nearer allow", map[directory.ObjectID][]string{
			domain: {"deny #102 write on all"}, sales: {"allow #102 write attributes(title) on all"},
		}, true, false},
		{"explicit allow beats inherited deny", map[directory.ObjectID][]string{
			sales: {"deny #102 write on all"}, ann: {"allow #102 write attributes(title) on this"},
		}, true, false},
		{"explicit deny", map[directory.ObjectID][]string{
			sales: {"allow #102 write on all"}, ann: {"deny authenticated write attributes(title) on this"},
		}, false, true},
		{"own entry that is not about itself", map[directory.ObjectID][]string{ann: {"allow #102 write on below"}}, false, false},
		{"other class", map[directory.ObjectID][]string{sales: {"allow #102 write on below(group)"}}, false, false},
		{"superclass", map[directory.ObjectID][]string{sales: {"allow #102 write on below(person)"}}, true, true},
		{"subclass", map[directory.ObjectID][]string{sales: {"allow #102 write on below(inetOrgPerson)"}}, false, false},
		{"other person", map[directory.ObjectID][]string{sales: {"allow #101 write on below"}}, false, false},
		{"by group", map[directory.ObjectID][]string{sales: {"allow #201 write on below"}}, true, true},
		{"set", map[directory.ObjectID][]string{sales: {"allow #102 write attributes(@personal) on below"}}, false, true},
		{"everyone", map[directory.ObjectID][]string{sales: {"allow everyone write on below"}}, true, true},
		{"self is another", map[directory.ObjectID][]string{sales: {"allow self write on below"}}, false, false},
	} {
		f := organisation(tt.entries)
		p := NewView(base, user(eve), []directory.ObjectID{helpdesk}, f).At(f.object(ann))
		if got := p.Write(title); got != tt.title {
			t.Errorf("%s: title %t, want %t", tt.name, got, tt.title)
		}
		if got := p.Write(phone); got != tt.phone {
			t.Errorf("%s: phone %t, want %t", tt.name, got, tt.phone)
		}
	}
}

func TestDeniedReadingHides(t *testing.T) {
	f := organisation(map[directory.ObjectID][]string{engineering: {"deny #100 read on all"}})
	v := NewView(base, user(ann), nil, f)
	for id, want := range map[directory.ObjectID]bool{engineering: false, eve: false, sales: true, nora: true} {
		if got := v.At(f.object(id)).Visible(); got != want {
			t.Errorf("%d visible: %t, want %t", id, got, want)
		}
	}
}

func TestConfidential(t *testing.T) {
	s, err := base.Extend(schema.Extension{Attributes: []schema.Attribute{{
		Name: "exampleSalary", OID: "1.3.6.1.4.1.99999.7", Syntax: schema.Integer, SearchFlags: schema.FlagConfidential,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	salary, _ := s.Attribute("exampleSalary")
	f := organisation(map[directory.ObjectID][]string{sales: {"allow #102 confidential on below"}})
	for as, want := range map[directory.ObjectID]bool{eve: true, nora: false, ann: false} {
		if got := NewView(s, user(as), nil, f).At(f.object(ann)).Read(salary); got != want {
			t.Errorf("%d reads it: %t, want %t", as, got, want)
		}
	}
	if !NewView(s, directory.Principal{ID: boss, Roles: directory.RoleAdmin}, nil, f).At(f.object(ann)).Read(salary) {
		t.Error("an administrator does not read it")
	}
}

func TestDeletingWhatIsProtected(t *testing.T) {
	f := organisation(map[directory.ObjectID][]string{sales: {"allow #102 delete-child children(user) on all"}, staff: {"allow #102 delete on this"}})
	v := NewView(base, user(eve), nil, f)
	for id, want := range map[directory.ObjectID]bool{ann: true, nora: true, boss: false, staff: true, eve: false, sales: false} {
		o := f.object(id)
		if got := MayDelete(o, v.At(o), v.At(f.object(o.Parent))); got != want {
			t.Errorf("%d: %t, want %t", id, got, want)
		}
	}
}

func TestGroupsOfOwners(t *testing.T) {
	f := organisation(nil)
	member := attribute("member")
	for _, tt := range []struct {
		name             string
		as               directory.ObjectID
		owned, protected bool
		read, write      bool
	}{
		{"anybody", ann, false, false, false, false},
		{"owner", eve, true, false, true, true},
		{"owner of a group that makes administrators", eve, true, true, false, false},
	} {
		o := f.object(staff)
		o.HiddenMembers, o.Owned, o.Protected = true, tt.owned, tt.protected
		p := NewView(base, user(tt.as), nil, f).At(o)
		if p.Read(member) != tt.read || p.Write(member) != tt.write {
			t.Errorf("%s: reads %t writes %t", tt.name, p.Read(member), p.Write(member))
		}
		if !p.Read(attribute("mail")) || p.Write(attribute("mail")) {
			t.Errorf("%s: the rest of the group", tt.name)
		}
	}
	if p := NewView(base, user(ann), nil, f).At(f.object(staff)); !p.Read(member) {
		t.Error("members that are not hidden are")
	}
}

// Shared answers are those that would be worked out alone, whatever was asked
// before and by how many at once.
func TestViewsRemember(t *testing.T) {
	f := organisation(map[directory.ObjectID][]string{
		domain: {"allow #201 write attributes(@person) on below(user)"}, north: {"deny #102 read attributes(mail) on all"}, nora: {"allow #102 delete on this"},
	})
	v := NewView(base, user(eve), []directory.ObjectID{helpdesk}, f)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				for id := range classes {
					fresh := NewView(base, user(eve), []directory.ObjectID{helpdesk}, f)
					for deed, ask := range deeds {
						if got, want := ask(v.At(f.object(id))), ask(fresh.At(f.object(id))); got != want {
							t.Errorf("%s at %d: %t, alone %t", deed, id, got, want)
						}
					}
				}
			}
		})
	}
	wg.Wait()
}

func drawEntry(t *rapid.T) Entry {
	names := func(from ...string) *rapid.Generator[[]string] {
		return rapid.Map(rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, 3, rapid.ID), func(s []string) []string {
			if len(s) == 0 {
				return nil
			}
			return s
		})
	}
	e := Entry{
		Deny:       rapid.Bool().Draw(t, "deny"),
		Who:        rapid.OneOf(rapid.SampledFrom([]Who{Everyone, Authenticated, Self, Owner}), rapid.Map(rapid.Int64Min(1), func(n int64) Who { return Who(n) })).Draw(t, "who"),
		Rights:     Right(rapid.Uint32Range(1, uint32(Full)).Draw(t, "rights")),
		Attributes: names("cn", "mail", "@personal", "telephoneNumber").Draw(t, "attributes"),
		Children:   names("user", "group", "organizationalUnit").Draw(t, "children"),
		This:       rapid.Bool().Draw(t, "this"),
		Classes:    names("user", "contact").Draw(t, "classes"),
	}
	e.Below = !e.This || rapid.Bool().Draw(t, "below")
	return e
}

func TestTextIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEntry(t)
		got, err := Parse(e.String())
		if err != nil {
			t.Fatalf("%s: %v", e, err)
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", e, diff)
		}
	})
}

// What is decided does not depend on the order in which one object's entries
// are listed, and one more denial never allows more.
func TestDenialsOnlyTakeAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := organisation(nil)
		var list []Entry
		for range rapid.IntRange(0, 4).Draw(t, "entries") {
			e := drawEntry(t)
			e.Who = rapid.SampledFrom([]Who{Authenticated, eve, nora}).Draw(t, "who")
			list = append(list, e)
		}
		ask := func(entries []Entry) string {
			f.entries[sales] = entries
			p := NewView(base, user(eve), nil, f).At(f.object(ann))
			return fmt.Sprint(p.rights, p.read, p.write, p.create, p.deleteChild)
		}
		before := ask(list)
		if after := ask(rapid.Permutation(list).Draw(t, "order")); after != before {
			t.Errorf("another order: %s, before %s", after, before)
		}
		f.entries[sales] = list
		p := NewView(base, user(eve), nil, f).At(f.object(ann))
		no := drawEntry(t)
		no.Deny = true
		f.entries[sales] = append(slices.Clone(list), no)
		q := NewView(base, user(eve), nil, f).At(f.object(ann))
		for deed, ask := range deeds {
			if ask(q) && !ask(p) {
				t.Errorf("%s allowed by %s", deed, no)
			}
		}
	})
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", "allow", "allow everyone read", "allow everyone read on", "allow everyone read on nowhere", "permit everyone read on all",
		"allow nobody read on all", "allow #0 read on all", "allow #-1 read on all", "allow #x read on all", "allow everyone fly on all",
		"allow everyone read, on all", "allow everyone read attributes() on all", "allow everyone read attributes(cn on all",
		"allow everyone read children(user) attributes(cn) on all", "allow everyone read on all(", "allow everyone read on all()",
		"allow everyone read on all(user) now", "allow everyone read attributes(a(b)) on all", "allow everyone read attributes(cn)", strings.Repeat("x ", MaxEntryBytes),
	} {
		if e, err := Parse(text); fault.Of(err) != fault.Invalid || err == nil {
			t.Errorf("Parse(%.60q) = %v, %v", text, e, err)
		}
	}
	for text, want := range map[string]string{
		"allow  everyone read  attributes(MAIL,commonName) on all(USER)": "allow everyone read attributes(mail,cn) on all(user)",
		"allow #7 create children(USER) on this":                         "allow #7 create children(user) on this",
		"allow #7 read attributes(nothing) on this":                      "",
		"allow #7 create children(nothing) on this":                      "",
		"allow #7 read on all(nothing)":                                  "",
		"allow #7 delete attributes(cn) on all":                          "",
		"allow #7 read children(user) on all":                            "",
		"allow #7 read attributes(@nothing) on all":                      "",
	} {
		e, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if e, err = e.Check(base); err == nil != (want != "") || err == nil && e.String() != want {
			t.Errorf("%s: got %s (%v), want %q", text, e, err, want)
		}
	}
}

func TestNamesInTheTables(t *testing.T) {
	for set, names := range sets {
		for _, n := range names {
			if a, ok := base.Attribute(n); !ok || a.Name != n {
				t.Errorf("%s: no attribute %s", set, n)
			}
		}
	}
	for _, list := range [][]Entry{Defaults(), must(Delegate(7, Presets()...))} {
		for _, e := range list {
			if got, err := e.Check(base); err != nil || got.String() != e.String() {
				t.Errorf("%s: %s, %v", e, got, err)
			}
		}
	}
	if _, err := Delegate(7, "everything"); fault.Of(err) != fault.Invalid {
		t.Errorf("got %v", err)
	}
}

func must(list []Entry, err error) []Entry {
	if err != nil {
		panic(err)
	}
	return list
}

func FuzzParse(f *testing.F) {
	for _, e := range append(Defaults(), must(Delegate(7, Presets()...))...) {
		f.Add(e.String())
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(e.String())
		if err != nil || !cmp.Equal(e, again) {
			t.Errorf("%q: %s read back as %s: %v", text, e, again, err)
		}
	})
}

// What a search asks for each entry.
func BenchmarkAt(b *testing.B) {
	f := organisation(nil)
	v := NewView(base, user(eve), []directory.ObjectID{helpdesk}, f)
	o, mail := f.object(ann), attribute("mail")
	b.ReportAllocs()
	for b.Loop() {
		if !v.At(o).Read(mail) {
			b.Fatal("cannot read")
		}
	}
}
