package orggen

import (
	"fmt"
	"math"
	"slices"
	"sort"

	"waypost/internal/ldif"
)

// units are the organisational units, few enough to keep their names.
type units struct {
	parent []int32 // -1: the domain
	domain []uint8
	name   []string
	dn     []string
	level  []uint8
	empty  []bool // nobody is in it
	flat   int    // the one with very many people
	// By domain, those with people, and the sum of their weights so far.
	full   [][]int32
	weight [][]float64
}

// levels are the numbers of units at each depth in production, from the top.
var levels = []float64{10, 150, 1500, 4500, 5000, 1700, 130, 10}

// Numbers of the production profile that smaller ones are scaled from.
const (
	allUsers  = 280_000
	allGroups = 43_000
)

func (g *Generator) makeUnits() {
	u := &g.units
	n := g.p.Units
	counts := g.levelCounts()
	shares := g.shares()
	u.full, u.weight = make([][]int32, len(g.domains)), make([][]float64, len(g.domains))
	first, before := 0, 0 // of this level and the one above
	for level, count := range counts {
		for j := range count {
			i := first + j
			r := g.rand("unit", i)
			parent, domain := int32(-1), 0
			switch {
			case level == 0 && j < len(g.domains):
				domain = j
			case level == 0:
				domain = r.intn(len(g.domains))
			case level == 1 && j == 0:
				parent, domain = 1, 1 // the flat one, in the largest child domain
				u.flat = i
			case level == 1:
				domain = weighted(&r, shares)
				parent = int32(domain)
			default:
				parent = int32(before + r.intn(first-before))
				domain = int(u.domain[parent])
			}
			u.parent = append(u.parent, parent)
			u.domain = append(u.domain, uint8(domain))
			u.level = append(u.level, uint8(level+1))
			name := unitName(&r, i, level)
			if i == u.flat && level == 1 {
				name = "All Staff"
			}
			above := domainDN(g.domains[domain])
			if parent >= 0 {
				above = u.dn[parent]
			}
			u.name = append(u.name, name)
			u.dn = append(u.dn, "OU="+escape(name)+","+above)
			u.empty = append(u.empty, level > 0 && i != u.flat && r.chance(0.3*float64(n)/float64(max(n-counts[0], 1))))
		}
		before, first = first, first+count
	}
	for i := range n {
		if !u.empty[i] && i != u.flat {
			u.full[u.domain[i]] = append(u.full[u.domain[i]], int32(i))
		}
	}
	for d, list := range u.full {
		// Which unit is how large has nothing to do with where it is.
		s := g.shuffle("unit rank", d, len(list))
		sum := 0.0
		for k := range list {
			sum += 1 / float64(s.at(k)+1)
			u.weight[d] = append(u.weight[d], sum)
		}
	}
}

// levelCounts are the numbers of units at each level; the highest has one for
// each domain.
func (g *Generator) levelCounts() []int {
	top := len(g.domains)
	if g.p.Units == 13_000 && top <= 10 {
		top = 10
	}
	counts := append([]int{top}, split(g.p.Units-top, levels[1:])...)
	// A level without units is none: what is below it moves up.
	counts = slices.DeleteFunc(counts, func(n int) bool { return n == 0 })
	return counts
}

// shares are the domains' parts of the people: Zipf's below the root, which has
// service accounts only.
func (g *Generator) shares() []float64 {
	shares := make([]float64, len(g.domains))
	for i := 1; i < len(shares); i++ {
		shares[i] = 1 / float64(i)
	}
	shares[0] = 0.02
	return shares
}

func weighted(r *rng, weights []float64) int {
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	at := r.float() * sum
	for i, w := range weights {
		if at -= w; at < 0 {
			return i
		}
	}
	return len(weights) - 1
}

// unitName is unique by its number; some are hard to write in a name.
func unitName(r *rng, i, level int) string {
	c, d := pick(r, cities), pick(r, departments)
	if level == 0 {
		return fmt.Sprintf("Company %d", i+1)
	}
	switch r.intn(40) {
	case 0:
		return fmt.Sprintf("%s, %s %d", d, c.name, i)
	case 1:
		return fmt.Sprintf("R+D %d", i)
	case 2:
		return fmt.Sprintf("%s/%s %d", d, c.code, i)
	case 3:
		return fmt.Sprintf("%q %d", d, i)
	case 4:
		return fmt.Sprintf("%d %s ", i, d) // a space at its end
	case 5:
		return fmt.Sprintf("#%d %s", i, d)
	case 6:
		return fmt.Sprintf(`%s; <%s> \%d\`, d, c.code, i)
	case 7:
		name := fmt.Sprintf("%d %s for everything that has to do with %s and some more", i, d, d)
		return fmt.Sprintf("%-64.64s", name)[:63] + "x"
	case 8:
		return fmt.Sprintf("%s=%d", d, i)
	case 9:
		return fmt.Sprintf("%s (%s) %d", c.name, c.country, i)
	}
	return fmt.Sprintf("%s %s %d", d, c.code, i)
}

func (g *Generator) unit(i int) *ldif.Record {
	u := &g.units
	r := record(u.dn[i], "top", "organizationalUnit")
	set(r, "ou", u.name[i])
	x := g.rand("unit more", i)
	c := pick(&x, cities)
	if x.chance(0.3) {
		set(r, "description", "Unit "+fmt.Sprint(i)+" in "+c.name)
		set(r, "l", c.name)
		set(r, "c", c.country)
	}
	if x.chance(0.08) {
		link := ""
		for range x.between(1, 3) {
			link += "[LDAP://CN=" + g.policyName(x.intn(1000)) + ",CN=Policies,CN=System," + g.rootDN() + ";" + fmt.Sprint(x.intn(3)) + "]"
		}
		set(r, "gPLink", link)
	}
	return r
}

// place is a unit of a domain for something that nobody counts.
func (g *Generator) place(r *rng, domain int) string {
	list := g.units.full[domain]
	return g.units.dn[list[r.intn(len(list))]]
}

// home is the unit of somebody of a domain, by Zipf's law.
func (g *Generator) home(r *rng, domain int) int32 {
	sums := g.units.weight[domain]
	at := r.float() * sums[len(sums)-1]
	k := sort.SearchFloat64s(sums, math.Nextafter(at, math.Inf(1)))
	return g.units.full[domain][min(k, len(sums)-1)]
}
