package orggen

import (
	"fmt"
	"strings"

	"waypost/internal/ldif"
)

// groups are laid out by how deep they nest, so that members come first:
// first[d] is the first of depth d; the query groups are behind all.
type groups struct {
	first  []int // by depth, and the end of the deepest
	large  []int // sizes of the first groups of depth 0
	chunks []chunk
	cycle  map[int]int // a group that has one of its own containers as member
}

// chunk is a part of a domain's people: "All employees" is made of them.
type chunk struct{ domain, from, to int }

// depths are the shares of the nesting depths 0 to 10.
var depths = []float64{70, 20, 7, 1, 0.8, 0.7, 0.1, 0.1, 0.1, 0.1, 0.1}

const (
	allCycles  = 5
	crossCount = 200
	emptyCount = 300
)

func (g *Generator) makeGroups() {
	x := &g.groups
	n := g.p.Groups
	queries := scaled(500, n, allGroups, 1)
	least := 5 + 2*len(g.domains) + 2
	counts := split(n-queries, depths)
	// Small organisations need their large groups all the same.
	need := []int{least, len(g.domains), 1}
	for d, m := range need {
		for counts[d] < m {
			most := 0
			for k := range counts {
				if counts[k] > counts[most] {
					most = k
				}
			}
			if d == most {
				break
			}
			counts[most]--
			counts[d]++
		}
	}
	at := 0
	for _, c := range counts {
		x.first = append(x.first, at)
		at += c
	}
	x.first = append(x.first, at)

	users := g.p.Users
	for _, size := range []int{120_000, 32_000, 21_000, 15_000, 11_000} {
		x.large = append(x.large, scaled(size, users, allUsers, 2))
	}
	parts := max(scaled(55, n, allGroups, 2)-1, len(g.domains)-1)
	weights := make([]float64, len(g.domains)-1)
	for d := range weights {
		weights[d] = float64(len(g.people.by[d+1]))
	}
	x.chunks = []chunk{{0, 0, len(g.people.by[0])}}
	for d, c := range split(parts, weights) {
		all := len(g.people.by[d+1])
		c = max(c, 1)
		for k := range c {
			x.chunks = append(x.chunks, chunk{d + 1, all * k / c, all * (k + 1) / c})
		}
	}
	x.cycle = map[int]int{}
	for k := range allCycles {
		up := x.first[1] + len(g.domains) + k
		if up >= x.first[2] {
			break
		}
		x.cycle[g.child(up, 1)] = up
	}
}

// depthOf is how deep a group nests; -1 for a query group.
func (g *Generator) depthOf(i int) int {
	first := g.groups.first
	if i >= first[len(first)-1] {
		return -1
	}
	d := 0
	for i >= first[d+1] {
		d++
	}
	return d
}

// child is the group that makes group i as deep as it is.
func (g *Generator) child(i, depth int) int {
	first := g.groups.first
	low, high := first[depth-1], first[depth]
	if depth == 1 {
		low = min(low+len(g.groups.large)+len(g.groups.chunks), high-1) // the large ones have their own containers
	}
	for depth > 1 && low == high { // nobody nests that deep
		depth--
		low, high = first[depth-1], first[depth]
	}
	r := g.rand("child", i)
	return low + r.intn(high-low)
}

func (g *Generator) groupDomain(i int) int {
	d := g.depthOf(i)
	first := g.groups.first
	switch large := len(g.groups.large); {
	case d == 0 && i < large, d == 2 && i == first[2]:
		return 0
	case d == 0 && i < large+len(g.groups.chunks):
		return g.groups.chunks[i-large].domain
	case d == 1 && i-first[1] < len(g.domains):
		return i - first[1]
	}
	r := g.rand("group domain", i)
	return weighted(&r, g.shares())
}

func (g *Generator) groupName(i int) string {
	d := g.depthOf(i)
	first := g.groups.first
	switch large := len(g.groups.large); {
	case d == 0 && i < large:
		return fmt.Sprintf("Everybody interested %d", i)
	case d == 0 && i < large+len(g.groups.chunks):
		return fmt.Sprintf("Employees %s part %d", strings.ToUpper(strings.SplitN(g.domains[g.groups.chunks[i-large].domain], ".", 2)[0]), i)
	case d == 1 && i-first[1] < len(g.domains):
		return fmt.Sprintf("All employees %s", g.domains[i-first[1]])
	case d == 2 && i == first[2]:
		return "All employees"
	}
	r := g.rand("group name", i)
	dep, c := pick(&r, departments), pick(&r, cities)
	switch r.intn(30) {
	case 0:
		return fmt.Sprintf("%s, %s %d", dep, c.name, i)
	case 1:
		return fmt.Sprintf("%s & %s (%d)", dep, pick(&r, departments), i)
	case 2:
		return fmt.Sprintf("Project %q %d", c.code, i)
	}
	return fmt.Sprintf("%s %s %d", dep, c.name, i)
}

func (g *Generator) groupDN(i int) string {
	domain := g.groupDomain(i)
	r := g.rand("group place", i)
	return "CN=" + escape(g.groupName(i)) + "," + g.place(&r, domain)
}

// members of group i, each once.
func (g *Generator) members(i, depth int) []string {
	x := &g.groups
	if depth == 0 {
		switch large := len(x.large); {
		case i < large:
			return g.usersOf(i, nil, min(x.large[i], g.p.Users), 0)
		case i < large+len(x.chunks):
			c := x.chunks[i-large]
			var list []string
			for _, u := range g.people.by[c.domain][c.from:c.to] {
				list = append(list, g.userDN(int(u)))
			}
			return list
		}
	}
	var inner []int
	switch {
	case depth == 1 && i-x.first[1] < len(g.domains):
		for k, c := range x.chunks {
			if c.domain == i-x.first[1] {
				inner = append(inner, len(x.large)+k)
			}
		}
	case depth == 2 && i == x.first[2]:
		for d := range g.domains {
			inner = append(inner, x.first[1]+d)
		}
	case depth > 0:
		inner = append(inner, g.child(i, depth))
		r := g.rand("more groups", i)
		for range r.geometric(0.6, 6) {
			if more := r.intn(x.first[depth]); more >= len(x.large)+len(x.chunks) {
				inner = appendNew(inner, more)
			}
		}
	}
	var list []string
	if up, ok := x.cycle[i]; ok {
		inner = appendNew(inner, up)
	}
	for _, j := range inner {
		list = append(list, g.groupDN(j))
	}
	if depth == 1 && i-x.first[1] < len(g.domains) || depth == 2 && i == x.first[2] {
		return list
	}
	if g.shuffle("empty groups", 0, g.p.Groups).at(i) < scaled(emptyCount, g.p.Groups, allGroups, 1) && depth == 0 && len(list) == 0 {
		return nil
	}
	r := g.rand("size", i)
	size := max(1, r.lognormal(8, 1.6)) - len(list)
	pool := g.people.by[g.groupDomain(i)]
	if g.shuffle("cross groups", 0, g.p.Groups).at(i) < scaled(crossCount, g.p.Groups, allGroups, 1) {
		pool = nil
	}
	most := len(pool)
	if pool == nil {
		most = g.p.Users
	}
	return append(list, g.usersOf(i, pool, min(size, most, 9_000), 0.05)...)
}

func appendNew(list []int, one int) []int {
	for _, have := range list {
		if have == one {
			return list
		}
	}
	return append(list, one)
}

// usersOf gives n people of a pool (nil: of all), some of them contacts.
func (g *Generator) usersOf(i int, pool []int32, n int, contacts float64) []string {
	if n <= 0 {
		return nil
	}
	size := len(pool)
	if pool == nil {
		size = g.p.Users
	}
	people, outside := g.shuffle("members", i, size), g.shuffle("outside members", i, g.p.Contacts)
	r := g.rand("kinds of members", i)
	list := make([]string, 0, n)
	for k := range n {
		switch {
		case contacts > 0 && k < g.p.Contacts && r.chance(contacts):
			list = append(list, g.contactDN(outside.at(k)))
		case pool == nil:
			list = append(list, g.userDN(people.at(k)))
		default:
			list = append(list, g.userDN(int(pool[people.at(k)])))
		}
	}
	return list
}

func (g *Generator) group(i int) *ldif.Record {
	depth := g.depthOf(i)
	domain := g.domains[g.groupDomain(i)]
	name := g.groupName(i)
	x := g.rand("group", i)
	local := fmt.Sprintf("dl-%d", i)
	if depth < 0 {
		return g.query(i, &x)
	}
	r := record(g.groupDN(i), "top", "group")
	set(r, "cn", name)
	set(r, "sAMAccountName", fmt.Sprintf("grp%06d", i))
	kind := map[bool]int{true: 8, false: 4}[x.chance(0.75)] // universal 45, domain local 15 of those that are not global
	if x.chance(0.4) {
		kind = 2
	}
	security := x.chance(0.4)
	if security {
		kind -= 1 << 31
	}
	set(r, "groupType", fmt.Sprint(kind))
	if x.chance(0.3) {
		set(r, "description", "Group "+fmt.Sprint(i)+" of "+domain)
	}
	if !security || x.chance(0.5) {
		g.groupMail(r, i, name, local, domain)
	}
	n := g.p.Groups
	if g.shuffle("owned", 0, n).at(i) < scaled(2000, n, allGroups, 1) {
		set(r, "managedBy", g.userDN(x.intn(g.p.Users)))
	}
	if g.shuffle("restricted", 0, n).at(i) < scaled(1500, n, allGroups, 1) {
		set(r, "authOrig", g.userDN(x.intn(g.p.Users)))
	}
	if g.shuffle("hidden members", 0, n).at(i) < scaled(400, n, allGroups, 1) {
		set(r, "hideDLMembership", "TRUE")
	}
	set(r, "member", g.members(i, depth)...)
	return r
}

func (g *Generator) groupMail(r *ldif.Record, i int, name, local, domain string) {
	set(r, "displayName", name)
	set(r, "mail", local+"@"+domain)
	set(r, "proxyAddresses", "SMTP:"+local+"@"+domain, fmt.Sprintf("smtp:list.%d@%s", i, g.domains[0]))
	set(r, "mailNickname", local)
	set(r, "legacyExchangeDN", fmt.Sprintf("/o=Corp/ou=SITE%02d/cn=Recipients/cn=%s", i%93, local))
}

// query is a group whose members a filter finds.
func (g *Generator) query(i int, x *rng) *ldif.Record {
	domain := g.domains[g.groupDomain(i)]
	name := g.groupName(i)
	r := record(g.groupDN(i), "top", "msExchDynamicDistributionList")
	set(r, "cn", name)
	g.groupMail(r, i, name, fmt.Sprintf("dl-%d", i), domain)
	c := pick(x, cities)
	set(r, "msExchDynamicDLFilter", "(&(objectCategory=person)(objectClass=user)(homeMDB=*)(c="+c.country+")(department="+pick(x, departments)+"))")
	set(r, "msExchDynamicDLBaseDN", domainDN(domain))
	return r
}
