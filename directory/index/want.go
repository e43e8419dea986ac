package index

import (
	"slices"
	"strings"
	"sync"

	"waypost/directory/tree"
)

// want is what a query asks to see.
type want struct {
	set  []bool // by attribute number
	made []int  // numbers of those wanted that are made, in the order shown
	link bool   // some link is wanted
	// each is how many attributes an entry is likely to have.
	each int
	// The rest differs from query to query.
	typesOnly bool
	ranges    []tree.Range
	maxRange  int
	base      bool // of one object alone: what is costly may be made
}

// shownFirst are made attributes in the order that entries begin with.
var shownFirst = []string{
	"objectClass", "cn", "ou", "dc", "distinguishedName", "instanceType", "whenCreated", "whenChanged",
	"uSNCreated", "uSNChanged", "name", "objectGUID", "objectSid", "objectCategory",
}

func (x *Index) wanted(q *tree.Query) *want {
	w := &want{set: make([]bool, len(x.info))}
	names := q.Attributes
	if len(names) == 0 {
		names = []string{"*"}
	}
	for _, name := range names {
		if name == "*" || name == "+" {
			for n := range x.info {
				a := &x.info[n]
				w.set[n] = w.set[n] || name == "*" && a.user || name == "+" && a.oper && a.made != madeTokenGroups
			}
			continue
		}
		if a, ok := x.schema.Attribute(name); ok && !a.Secret {
			w.set[a.Number] = true
		}
	}
	if q.Global {
		for n := range x.info {
			w.set[n] = w.set[n] && x.info[n].catalog
		}
	}
	for _, name := range shownFirst {
		if a, ok := x.schema.Attribute(name); ok && w.set[a.Number] && (x.info[a.Number].made != notMade || x.naming[a.Number]) {
			w.made = append(w.made, a.Number)
		}
	}
	for n := range x.info {
		a := &x.info[n]
		if !w.set[n] {
			continue
		}
		w.each++
		w.link = w.link || a.dn || a.Back()
		if (a.made != notMade || x.naming[n]) && !slices.Contains(w.made, n) {
			w.made = append(w.made, n)
		}
	}
	w.each = min(w.each, 48) // people have some 45
	return w
}

// ask adds ranges, and their attributes to what is shown.
func (x *Index) ask(w *want, ranges []tree.Range) {
	for _, r := range ranges {
		a, ok := x.schema.Attribute(r.Name)
		if !ok || a.Secret || r.First < 0 {
			continue
		}
		t := &x.info[a.Number]
		w.set[a.Number] = true
		w.link = w.link || t.dn || t.Back()
		w.ranges = append(w.ranges, tree.Range{Name: a.Name, First: r.First, Last: r.Last})
	}
}

// wants keeps what queries ask to see, for clients ask the same again and again.
type wants struct {
	mu   sync.RWMutex
	list map[string]*want
}

const maxWants = 256

func (x *Index) wantOf(q *tree.Query) want {
	key := strings.Join(q.Attributes, "\x00")
	if q.Global {
		key += "\x00\x00"
	}
	x.wants.mu.RLock()
	w, ok := x.wants.list[key]
	x.wants.mu.RUnlock()
	if !ok {
		w = x.wanted(q)
		x.wants.mu.Lock()
		if len(x.wants.list) >= maxWants || x.wants.list == nil {
			x.wants.list = map[string]*want{}
		}
		x.wants.list[key] = w
		x.wants.mu.Unlock()
	}
	mine := *w
	mine.typesOnly, mine.maxRange, mine.base = q.TypesOnly, q.MaxRange, q.Scope == tree.Base
	if len(q.Ranges) > 0 {
		mine.set = slices.Clone(mine.set)
		x.ask(&mine, q.Ranges)
	}
	return mine
}

// forgetWants is called when the schema or the naming attributes change.
func (x *Index) forgetWants() {
	x.wants.mu.Lock()
	defer x.wants.mu.Unlock()
	x.wants.list = nil
}
