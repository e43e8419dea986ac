package orggen

import (
	"fmt"
	"strings"

	"waypost/internal/ldif"
)

// Fault is something planted for tests to find.
type Fault struct {
	Kind    string
	DN      string
	Detail  string
	Refused bool // the record cannot be taken in by a directory
}

// brokenRecords is how many records there are that must be refused.
const brokenRecords = 24

// brokenKinds are the ways in which a record can be wrong, in turn.
var brokenKinds = []struct{ kind, detail string }{
	{"duplicate name", "the name of another entry"},
	{"duplicate address", "an address that another has"},
	{"duplicate account", "a sAMAccountName that another has"},
	{"bad UTF-8", "displayName is not UTF-8"},
	{"orphan link", "a member that is not there"},
	{"no parent", "a unit that is not there"},
	{"photo too large", "one byte more than thumbnailPhoto may have"},
	{"unknown attribute", "an attribute that is in no schema"},
}

// broken makes a record that must be refused.
func (g *Generator) broken(i int) *ldif.Record {
	name := fmt.Sprintf("Broken %d", i)
	dn := "CN=" + name + "," + g.units.dn[0]
	r := record(dn, "top", "person", "organizationalPerson", "user")
	set(r, "cn", name)
	set(r, "sAMAccountName", fmt.Sprintf("broken%d", i))
	other := g.user(int(g.people.person[i]))
	switch brokenKinds[i%len(brokenKinds)].kind {
	case "duplicate name":
		r.DN = other.DN
		r.Attributes[1].Values = other.Get("cn")
	case "duplicate address":
		set(r, "mail", g.user(0).Get("mail")...)
	case "duplicate account":
		r.Attributes[2].Values = other.Get("sAMAccountName")
	case "bad UTF-8":
		set(r, "displayName", "M\xfcller")
	case "orphan link":
		r.Attributes[0].Values = []string{"top", "group"}
		set(r, "groupType", "2")
		set(r, "member", "CN=Nobody "+fmt.Sprint(i)+","+g.rootDN())
	case "no parent":
		r.DN = "CN=" + name + ",OU=Nowhere," + g.rootDN()
	case "photo too large":
		set(r, "thumbnailPhoto", strings.Repeat("\xff", maxPhoto+1))
	case "unknown attribute":
		set(r, "noSuchAttribute", "1")
	}
	return r
}

// Planted lists what is wrong or odd on purpose.
func (g *Generator) Planted() []Fault {
	var list []Fault
	p := &g.people
	for _, k := range g.managerCycles() {
		a, b := g.userDN(int(p.person[k])), g.userDN(int(p.person[k+1]))
		list = append(list, Fault{Kind: "manager cycle", DN: a, Detail: b}, Fault{Kind: "manager cycle", DN: b, Detail: a})
	}
	for _, k := range p.person {
		if to, ok := p.forward[int(k)]; ok {
			kind := "forwarding chain"
			if p.forward[to] == int(k) {
				kind = "forwarding loop"
			}
			list = append(list, Fault{Kind: kind, DN: g.userDN(int(k)), Detail: g.userDN(to)})
		}
	}
	for i := range g.p.Groups {
		if up, ok := g.groups.cycle[i]; ok {
			list = append(list, Fault{Kind: "group cycle", DN: g.groupDN(i), Detail: g.groupDN(up)})
		}
	}
	if g.o.Photos > 0 {
		for n, k := range p.person[:min(len(p.person), 160)] {
			photo := ""
			if n >= 100 {
				photo = g.photo(int(k))
			}
			switch {
			case photo == "":
			case n < 100+exactMost:
				list = append(list, Fault{Kind: "largest photo", DN: g.userDN(int(k)), Detail: fmt.Sprint(len(photo))})
			case n >= 150 && n < 150+invalid:
				list = append(list, Fault{Kind: "invalid photo", DN: g.userDN(int(k)), Detail: "not a JPEG"})
			}
		}
	}
	if g.o.Broken {
		for i := range brokenRecords {
			k := brokenKinds[i%len(brokenKinds)]
			list = append(list, Fault{Kind: k.kind, DN: g.broken(i).DN, Detail: k.detail, Refused: true})
		}
	}
	return list
}
