package dav

import (
	"context"
	"encoding/xml"
	"net/http"
	"slices"
	"strings"

	"waypost/directory"
	"waypost/internal/fault"
)

// maxPrincipals bounds the answer to a search.
const maxPrincipals = 100

// searched are the properties by which people are found (RFC 3744 section 9.5).
var searched = map[xml.Name]struct {
	text   string
	values func(u *directory.User) []string
}{
	davName("displayname"):               {"Name", func(u *directory.User) []string { return []string{u.Name} }},
	serverName("email-address-set"):      {"E-mail address", func(u *directory.User) []string { return addressesOf(*u) }},
	serverName("first-name"):             {"First name", func(u *directory.User) []string { return []string{u.Given} }},
	serverName("last-name"):              {"Last name", func(u *directory.User) []string { return []string{u.Surname} }},
	calName("calendar-user-type"):        {"Kind", func(u *directory.User) []string { return []string{userType(u.Kind)} }},
	calName("calendar-user-address-set"): {"Calendar address", func(u *directory.User) []string { return addressesOf(*u) }},
}

// searchable tells by which properties people are found (RFC 3744 section 9.5).
func (s *Server) searchable(_ context.Context, r *request, _ *resource, _ *node) error {
	var x xmlWriter
	x.begin(davName("principal-search-property-set"))
	for _, name := range sortedNames(searched) {
		x.open(davName("principal-search-property"))
		x.open(davName("prop"))
		x.empty(name)
		x.close(davName("prop"))
		x.text(davName("description"), searched[name].text)
		x.close(davName("principal-search-property"))
	}
	x.end(davName("principal-search-property-set"))
	r.out.code = http.StatusOK
	r.out.header().Set("Content-Type", xmlType)
	_, err := r.out.Write(x.b)
	return err
}

// principalSearch finds people (RFC 3744 section 9.4). What is looked for is the
// beginning of a word, as everywhere in the directory.
func (s *Server) principalSearch(ctx context.Context, r *request, _ *resource, n *node) error {
	if d := r.http.Header.Get("Depth"); d != "" && d != "0" {
		return fault.New(fault.Invalid, "principal-property-search has Depth 0")
	}
	type wish struct {
		text string
		by   []xml.Name
	}
	var wishes []wish
	for _, c := range n.children() {
		if c.name != davName("property-search") {
			continue
		}
		w := wish{text: strings.TrimPrefix(c.child(davName("match")).text(), "mailto:")}
		for _, p := range c.child(davName("prop")).children() {
			w.by = append(w.by, p.name)
		}
		if w.text == "" || len(w.by) == 0 {
			return fault.New(fault.Invalid, "what is looked for?")
		}
		wishes = append(wishes, w)
	}
	if len(wishes) == 0 || len(wishes) > 10 {
		return fault.New(fault.Invalid, "from one to ten things to look for")
	}
	anyOf := n.attr("test") == "anyof"
	fits := func(u *directory.User, w wish) bool {
		for _, name := range w.by {
			by, ok := searched[name]
			if !ok {
				continue // nobody has it (section 9.4)
			}
			for _, v := range by.values(u) {
				if strings.Contains(unicodeFold(v), unicodeFold(w.text)) {
					return true
				}
			}
		}
		return false
	}
	ask := wishes
	if !anyOf {
		// One is looked up, and seen whether the others fit; a kind finds nobody.
		slices.SortStableFunc(ask, func(a, b wish) int {
			return kindRank(a.by) - kindRank(b.by)
		})
		ask = ask[:1]
	}
	m := r.multistatus(readAsked(n))
	seen := map[directory.ObjectID]bool{}
	for _, w := range ask {
		people, _, err := s.people.People(ctx, r.who, directory.PeopleQuery{Text: w.text, Limit: maxPrincipals})
		if err != nil {
			return err
		}
		for i := range people {
			u := &people[i]
			ok := true
			if anyOf {
				ok = fits(u, w)
			} else {
				for _, w := range wishes {
					ok = ok && fits(u, w)
				}
			}
			if ok {
				if err := s.tellPerson(ctx, r, m, u, seen); err != nil {
					return err
				}
			}
		}
	}
	return m.end(nil)
}

func kindRank(by []xml.Name) int {
	if len(by) == 1 && by[0] == calName("calendar-user-type") {
		return 1
	}
	return 0
}

// tellPerson writes somebody who has a principal, once.
func (s *Server) tellPerson(ctx context.Context, r *request, m *multi, u *directory.User, seen map[directory.ObjectID]bool) error {
	if seen[u.ID] || len(seen) >= maxPrincipals || u.Kind == directory.KindGroup || u.Kind == directory.KindContact {
		return nil
	}
	seen[u.ID] = true
	o := owner{u.Address, u.Mailbox, u.ID}
	return m.add(ctx, &resource{kind: isPrincipal, href: o.principal(), owner: o})
}

// principalMatch gives the principals that are oneself (RFC 3744 section 9.3).
func (s *Server) principalMatch(ctx context.Context, r *request, _ *resource, n *node) error {
	m := r.multistatus(readAsked(n))
	if n.child(davName("self")) != nil {
		me := s.me(r)
		if err := m.add(ctx, &resource{kind: isPrincipal, href: me.principal(), owner: me}); err != nil {
			return err
		}
	}
	return m.end(nil)
}

// appleSearch is how Apple's programs complete names (calendarserver.org,
// calendarserver-principal-search).
func (s *Server) appleSearch(ctx context.Context, r *request, _ *resource, n *node) error {
	var words []string
	for _, c := range n.children() {
		if c.name == serverName("search-token") && c.text() != "" {
			words = append(words, c.text())
		}
	}
	if len(words) == 0 {
		return fault.New(fault.Invalid, "what is looked for?")
	}
	limit, err := readLimit(n.child(serverName("limit")), fault.New(fault.Invalid, "nresults is a number"))
	if err != nil {
		return err
	}
	if limit == 0 || limit > maxPrincipals {
		limit = maxPrincipals
	}
	people, _, err := s.people.People(ctx, r.who, directory.PeopleQuery{Text: strings.Join(words, " "), Limit: limit})
	if err != nil {
		return err
	}
	m := r.multistatus(readAsked(n))
	seen := map[directory.ObjectID]bool{}
	place := func(u *directory.User) bool {
		return u.Kind == directory.KindRoom || u.Kind == directory.KindEquipment
	}
	for i := range people {
		u := &people[i]
		switch n.attr("context") {
		case "location":
			if u.Kind != directory.KindRoom {
				continue
			}
		case "resource":
			if !place(u) {
				continue
			}
		case "user":
			if place(u) {
				continue
			}
		}
		if err := s.tellPerson(ctx, r, m, u, seen); err != nil {
			return err
		}
	}
	return m.end(nil)
}

// maxExpansions bounds the resources that one expand-property looks at.
const maxExpansions = 1000

// expandProperty gives properties, and those of the resources that they link to
// (RFC 3253 section 3.8).
func (s *Server) expandProperty(ctx context.Context, r *request, res *resource, n *node) error {
	m := r.multistatus(asked{})
	m.begin()
	left := maxExpansions
	if err := s.expand(ctx, r, &m.x, res, n, &left); err != nil {
		return err
	}
	return m.end(nil)
}

func (s *Server) expand(ctx context.Context, r *request, x *xmlWriter, res *resource, n *node, left *int) error {
	if *left--; *left < 0 {
		return fault.New(fault.Limit, "too much to expand")
	}
	x.open(davName("response"))
	x.href(res.href)
	x.open(davName("propstat"))
	x.open(davName("prop"))
	var missing []xml.Name
	for _, c := range n.children() {
		if c.name != davName("property") {
			continue
		}
		name := xml.Name{Space: nonEmpty(c.attr("namespace"), nsDAV), Local: c.attr("name")}
		if !isName(name.Local) {
			return fault.New(fault.Invalid, "not a name of a property")
		}
		p := liveProperties[name]
		if len(c.children()) == 0 || p == nil || p.links == nil || p.on&res.kind == 0 {
			dead, err := r.dead(ctx, res, asked{props: []xml.Name{name}})
			if err != nil {
				return err
			}
			mark := len(x.b)
			if err := r.writeProperty(ctx, x, res, name, dead, false); err != nil {
				x.b = x.b[:mark]
				missing = append(missing, name)
			}
			continue
		}
		links, err := p.links(ctx, r, res)
		if err != nil {
			missing = append(missing, name)
			continue
		}
		x.open(name)
		for _, l := range links {
			path, err := r.target(l)
			if err != nil || !strings.HasPrefix(path, Prefix) {
				continue // mailto: and the like
			}
			in, err := s.lookup(ctx, r, path)
			if err != nil {
				continue
			}
			if err := s.expand(ctx, r, x, in, c, left); err != nil {
				return err
			}
		}
		x.close(name)
	}
	x.close(davName("prop"))
	x.status(http.StatusOK)
	x.close(davName("propstat"))
	if len(missing) > 0 && !r.prefer.minimal {
		x.propstat(http.StatusNotFound, missing)
	}
	x.close(davName("response"))
	return nil
}

// isName tells a name that can be written as an element's.
func isName(s string) bool {
	return s != "" && len(s) <= 100 && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.'
	}) && (s[0] < '0' || s[0] > '9') && s[0] != '-' && s[0] != '.'
}
