// Package orggen makes up an organisation: the directory of a company with
// domains, organisational units, people, groups, contacts, computers, sites and
// public folders, in sizes from 440 to 480,000 objects, to test and measure
// with.
//
// Its law: the same options give the same bytes. Every record is a function of
// the seed and of its own number, so that a generation can begin anywhere; what
// is kept meanwhile is a few bytes for each object (about 20 MB for 480,000).
// Parents come before their children, and links lead to what came before, but
// for the cycles that are planted on purpose (Planted tells of them). The
// numbers of objects are exactly the profile's.
package orggen

import (
	"fmt"
	"strings"

	"waypost/internal/fault"
	"waypost/internal/ldif"
)

// Profile is how much there is of everything.
type Profile struct {
	Name string
	Users, Groups, Folders, Computers, Units, Subnets, Sites,
	Children, // domains below the root domain
	Contacts, // are of the others
	Others int // contacts, domains, containers, printers, policies, names in the DNS
}

// The profiles by name.
var profiles = []Profile{
	{"tiny", 200, 40, 50, 20, 15, 8, 3, 1, 40, 104},
	{"lab", 14_000, 900, 2_000, 70, 100, 20, 9, 2, 15_000, 22_901},
	{"production", 280_000, 43_000, 33_000, 45_000, 13_000, 7_000, 187, 9, 30_000, 58_813},
}

// Named finds a profile; its fields may be changed to make one's own.
func Named(name string) (Profile, error) {
	var names []string
	for _, p := range profiles {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Profile{}, fault.New(fault.Invalid, "no profile %q; there are %s", name, strings.Join(names, ", "))
}

// Total is the number of objects.
func (p Profile) Total() int {
	return p.Users + p.Groups + p.Folders + p.Computers + p.Units + p.Subnets + p.Sites + p.Others
}

// Options say what is generated.
type Options struct {
	Profile Profile
	Seed    uint64
	// Root is the forest's root domain; "corp.test" if empty.
	Root string
	// Photos is the share of people with a photo, 0 to 1. In the real world it
	// is 0.6, which at 280,000 people is 1.2 GB.
	Photos float64
	// Passwords is how many people get a password (Password tells it). Each
	// costs whoever takes it in one slow hash, so that it is 0 for most uses.
	Passwords int
	// Broken adds records that a directory must refuse, beyond the profile.
	Broken bool
}

// Generator makes the records of one organisation. It is not changed by
// anything after New and safe for concurrent use.
type Generator struct {
	o        Options
	p        Profile
	domains  []string // the root first
	sections []section
	units    units
	people   people
	groups   groups
	folders  folders
	photos   photos
}

// section is a run of records of one kind.
type section struct {
	kind   string
	n      int
	record func(i int) *ldif.Record
}

// Limits of a profile of one's own.
const (
	maxUsers  = 4_000_000
	maxOthers = 4_000_000
)

// New prepares a generation.
func New(o Options) (*Generator, error) {
	p := o.Profile
	if o.Root == "" {
		o.Root = "corp.test"
	}
	o.Root = strings.ToLower(o.Root)
	for _, f := range []struct {
		name     string
		n, least int
		most     int
	}{
		{"users", p.Users, 20, maxUsers},
		{"groups", p.Groups, 10, maxOthers},
		{"folders", p.Folders, 0, maxOthers},
		{"computers", p.Computers, 0, maxOthers},
		{"units", p.Units, p.Children + 2, 65_000},
		{"subnets", p.Subnets, 0, 16_000},
		{"sites", p.Sites, 1, 5_000},
		{"child domains", p.Children, 1, len(childNames)},
		{"contacts", p.Contacts, 0, p.Others},
	} {
		if f.n < f.least || f.n > f.most {
			return nil, fault.New(fault.Invalid, "an organisation has from %d to %d %s, not %d", f.least, f.most, f.name, f.n)
		}
	}
	if o.Photos < 0 || o.Photos > 1 {
		return nil, fault.New(fault.Invalid, "the share of photos is between 0 and 1")
	}
	g := &Generator{o: o, p: p, domains: []string{o.Root}}
	for _, n := range childNames[:p.Children] {
		g.domains = append(g.domains, n+"."+o.Root)
	}
	g.makeUnits()
	g.makePeople()
	g.makeGroups()
	g.makeFolders()
	g.makePhotos()
	rest := g.rest()
	g.sections = []section{
		{"domain", len(g.domains), g.domain},
		{"container", len(containers), g.container},
		{"unit", p.Units, g.unit},
		{"site", p.Sites, g.site},
		{"site link", len(g.siteLinks()), g.siteLink},
		{"subnet", p.Subnets, g.subnet},
		{"user", p.Users, g.user},
		{"contact", p.Contacts, g.contact},
		{"computer", p.Computers, g.computer},
		{"group", p.Groups, g.group},
		{"folder", p.Folders, g.folder},
		{"other", rest, g.other},
	}
	if rest < 0 {
		return nil, fault.New(fault.Invalid, "%d other objects are too few: there are %d contacts, domains, containers and site links", p.Others, p.Others-rest)
	}
	if o.Broken {
		g.sections = append(g.sections, section{"broken", brokenRecords, g.broken})
	}
	return g, nil
}

// rest is how many other objects there are beyond those that are needed.
func (g *Generator) rest() int {
	return g.p.Others - len(g.domains) - len(containers) - len(g.siteLinks()) - g.p.Contacts
}

// Len is the number of records.
func (g *Generator) Len() int {
	n := 0
	for _, s := range g.sections {
		n += s.n
	}
	return n
}

// Counts are the numbers of records by kind, in order.
func (g *Generator) Counts() (kinds []string, n []int) {
	for _, s := range g.sections {
		kinds, n = append(kinds, s.kind), append(n, s.n)
	}
	return kinds, n
}

// From calls fn with the records from number first (0 for all) in order, until
// it fails. Record.Line is the number of the record, from 1.
func (g *Generator) From(first int, fn func(*ldif.Record) error) error {
	at := 0
	for _, s := range g.sections {
		for i := max(first-at, 0); i < s.n; i++ {
			r := s.record(i)
			r.Line = at + i + 1
			if err := fn(r); err != nil {
				return err
			}
		}
		at += s.n
	}
	return nil
}

// Password is what every person has who has one (Options.Passwords).
func (g *Generator) Password() string {
	r := g.rand("password", 0)
	return fmt.Sprintf("Way-%06d-post", r.intn(1_000_000))
}

// record begins a record of classes from top down.
func record(dn string, classes ...string) *ldif.Record {
	return &ldif.Record{DN: dn, Attributes: append(make([]ldif.Attribute, 0, 24), ldif.Attribute{Name: "objectClass", Values: classes})}
}

// set adds an attribute; empty values are left out.
func set(r *ldif.Record, name string, values ...string) {
	for _, v := range values {
		if v == "" {
			return
		}
	}
	if len(values) > 0 {
		r.Attributes = append(r.Attributes, ldif.Attribute{Name: name, Values: values})
	}
}
