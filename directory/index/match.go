package index

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/directory/schema"
	"waypost/directory/tree"
)

// node is a filter made ready for records: what tree.Node evaluates on values
// is here evaluated on their bytes where that is quicker. A test holds both
// against each other.
type node struct {
	*tree.Node
	parts []*node
	a     *attribute
	leaf  leaf
	// classes whose objects meet a leafClass, and the auxiliary class that does.
	classes []bool
	aux     int
	names   []bool // attributes of a leafBegins
	number  int64  // leafNumber's bound
	target  uint32 // leafLink's, leafSelf's; 0 is met by none
	code    code
	chain   *bitmap // leafChain: who leads to the target
}

// leaf is how a node that is no And, Or or Not is evaluated.
type leaf uint8

const (
	leafAny    leaf = iota // by tree.Node itself
	leafNever              // Undefined
	leafStored             // values of the record
	leafNamed              // and the RDN
	leafBegins             // any of several attributes begins with a text
	leafClass
	leafNumber // USNs and times of the record
	leafGUID
	leafSID
	leafSelf // distinguishedName
	leafLink
	leafLinked // presence of a link
	leafChain
	leafAll // presence of what every object has
)

// compile makes a node. The lock is held: names are resolved.
func (x *Index) compile(src *tree.Node) *node {
	n := &node{Node: src, aux: -1}
	if src.Undefined {
		n.leaf = leafNever
		return n
	}
	switch src.Op {
	case tree.And, tree.Or, tree.Not:
		for _, p := range src.Parts {
			n.parts = append(n.parts, x.compile(p))
		}
		if src.Op == tree.Or {
			x.fuse(n)
		}
		if src.Op == tree.And {
			slices.SortStableFunc(n.parts, func(a, b *node) int { return a.cost() - b.cost() })
		}
		return n
	}
	if src.Attribute == nil {
		return n
	}
	n.a = &x.info[src.Attribute.Number]
	x.compileLeaf(n)
	return n
}

// cost is what comes last in an And.
func (n *node) cost() int {
	switch {
	case n.parts != nil:
		return 3
	case n.leaf == leafAny:
		return 4
	case n.leaf == leafStored, n.leaf == leafNamed, n.leaf == leafBegins, n.leaf == leafLinked:
		return 2
	}
	return 1
}

func (x *Index) compileLeaf(n *node) {
	if n.Op == tree.Extensible && (n.DNAttributes || n.Rule != nil && n.Rule.Kind != schema.RuleInChain) {
		if !n.DNAttributes && n.a.made == notMade && !n.a.dn && (n.Rule.Kind == schema.RuleBitAnd || n.Rule.Kind == schema.RuleBitOr) {
			n.leaf = leafStored
		}
		return
	}
	if n.Rule != nil && n.Rule.Kind == schema.RuleInChain {
		x.compileChain(n)
		return
	}
	equal := n.Op == tree.Equal || n.Op == tree.Approx || n.Op == tree.Extensible
	switch n.a.made {
	case notMade:
		switch {
		case n.a.dn || n.a.Back():
			x.compileLink(n, equal)
		case x.naming[n.a.Number]:
			n.leaf = leafNamed
		default:
			n.leaf = leafStored
		}
	case madeName:
		n.leaf = leafNamed
	case madeObjectClass, madeStructuralClass, madeObjectCategory:
		x.compileClass(n, equal)
	case madeUSNCreated, madeUSNChanged, madeWhenCreated, madeWhenChanged:
		if n.Op == tree.Present {
			n.leaf = leafAll
		} else if n.bound() {
			n.leaf = leafNumber
		}
	case madeGUID:
		if n.Op == tree.Present {
			n.leaf = leafAll
		} else if equal {
			n.leaf = leafGUID
		}
	case madeSID:
		if equal {
			n.leaf = leafSID
		}
	case madeDN:
		switch {
		case n.Op == tree.Present:
			n.leaf = leafAll
		case equal:
			n.leaf = leafSelf
			n.target = x.target(n.Target)
		}
	default:
		if n.Op == tree.Present && (n.a.made == madeInstanceType || n.a.made == madeUUID || n.a.made == madeCanonical) {
			n.leaf = leafAll
		}
	}
}

// target resolves a name of a filter; nobody has 0.
func (x *Index) target(dn tree.DN) uint32 {
	if id, _, ok := x.resolve(dn); ok && id != x.root {
		return id
	}
	return 0
}

func (x *Index) compileLink(n *node, equal bool) {
	c, ok := n.a.code()
	switch {
	case !ok:
		n.leaf = leafLink // a back link that nothing leads to: no value ever
	case equal:
		n.leaf, n.code, n.target = leafLink, c, x.target(n.Target)
	case n.Op == tree.Present:
		n.leaf, n.code = leafLinked, c
	}
}

// code gives the list that holds an attribute's values.
func (a *attribute) code() (code, bool) {
	switch {
	case !a.Back():
		return forward(uint16(a.Number)), a.dn
	case a.other >= 0:
		return back(uint16(a.other)), true
	}
	return 0, false
}

func (x *Index) compileChain(n *node) {
	n.leaf, n.chain = leafChain, new(bitmap)
	c, ok := n.a.code()
	n.code, n.target = c, x.target(n.Target)
	if !ok || n.target == 0 {
		n.target = 0
		return
	}
	n.chain = x.closure(c^1, n.target, nil)
}

func (x *Index) compileClass(n *node, equal bool) {
	all := x.schema.Classes()
	n.classes = make([]bool, len(all))
	switch {
	case n.Op == tree.Present:
		n.leaf = leafAll
	case !equal:
	case n.a.made == madeObjectCategory:
		n.leaf = leafClass
		above := ""
		if n.Category == nil {
			above = "," + x.schemaName()
		}
		for i, c := range all {
			switch {
			case n.Category != nil:
				n.classes[i] = c.ObjectCategory() == n.Category
			default:
				dn, err := tree.ParseDN(categoryRDN(c) + above)
				n.classes[i] = err == nil && dn.Key() == n.Key
			}
		}
	default:
		n.leaf = leafClass
		wanted, ok := x.schema.Class(n.Key)
		if !ok {
			return
		}
		for i, c := range all {
			n.classes[i] = slices.Contains(c.Chain(), wanted)
		}
		if n.a.made == madeObjectClass {
			n.aux = wanted.Number
		}
	}
}

// bound reads the number that USNs or times are compared with.
func (n *node) bound() bool {
	when := n.a.made == madeWhenCreated || n.a.made == madeWhenChanged
	switch {
	case n.Op == tree.Extensible:
		return false
	case when:
		at, err := time.Parse("20060102150405.000000000", n.Key)
		if err != nil || n.Op == tree.Equal && at.Nanosecond() != 0 {
			return false
		}
		n.number = at.Unix()
		if n.Op == tree.GreaterOrEqual && at.Nanosecond() != 0 {
			n.number++
		}
		return n.Op != tree.Approx
	case n.Op == tree.GreaterOrEqual || n.Op == tree.LessOrEqual:
		n.number = int64(binary.BigEndian.Uint64([]byte(n.Key)) ^ 1<<63)
		return true
	case n.Op == tree.Equal:
		v, err := strconv.ParseInt(n.Key, 10, 64)
		n.number = v
		return err == nil
	}
	return false
}

// fuse makes one leafBegins of the parts that ask whether some attribute begins
// with the same text: that is what ANR is.
func (x *Index) fuse(or *node) {
	begins := func(n *node) bool {
		return n.Op == tree.Substrings && (n.leaf == leafStored || n.leaf == leafNamed) && n.a.fold == foldLower &&
			n.Initial != "" && len(n.Any) == 0 && n.Final == ""
	}
	var kept []*node
	for _, n := range or.parts {
		if !begins(n) {
			kept = append(kept, n)
			continue
		}
		at := slices.IndexFunc(kept, func(k *node) bool { return k.leaf == leafBegins && k.Initial == n.Initial })
		if at < 0 {
			at = len(kept)
			kept = append(kept, &node{Node: n.Node, leaf: leafBegins, names: make([]bool, len(x.info)), aux: -1})
		}
		kept[at].names[n.a.Number] = true
	}
	or.parts = kept
}

// subject is the object that a filter is evaluated on.
type subject struct {
	x      *Index
	id     uint32
	s      *slot
	r      record
	sight  Sight // nil: everything may be seen
	view   View  // nil: everything may be read
	global bool  // only the partial attribute set
	hides  hides
	buf    []byte
}

func (e *subject) reads(a *attribute) bool {
	return (e.view == nil || e.view.Reads(a.Attribute)) && (!e.global || a.catalog)
}

func (e *subject) eval(n *node) tree.Truth {
	switch {
	case n.leaf == leafNever:
		return tree.Undefined
	case n.Op == tree.And && n.a == nil:
		result := tree.True
		for _, p := range n.parts {
			switch e.eval(p) {
			case tree.False:
				return tree.False
			case tree.Undefined:
				result = tree.Undefined
			}
		}
		return result
	case n.Op == tree.Or && n.a == nil:
		result := tree.False
		for _, p := range n.parts {
			switch e.eval(p) {
			case tree.True:
				return tree.True
			case tree.Undefined:
				result = tree.Undefined
			}
		}
		return result
	case n.Op == tree.Not && n.a == nil:
		switch e.eval(n.parts[0]) {
		case tree.True:
			return tree.False
		case tree.False:
			return tree.True
		}
		return tree.Undefined
	case n.leaf == leafAny:
		return n.Evaluate(e.x.schema, e)
	case n.leaf == leafBegins:
		return truth(e.begins(n))
	case !e.reads(n.a):
		if n.Op == tree.Extensible && n.leaf == leafStored && n.Rule != nil {
			return tree.Undefined // a bit rule without a value
		}
		return tree.False
	}
	switch n.leaf {
	case leafStored, leafNamed:
		return e.stored(n)
	case leafClass:
		return truth(n.classes[e.s.class] || n.aux >= 0 && e.named(n.aux))
	case leafNumber:
		return truth(e.number(n))
	case leafGUID:
		return truth(e.r.guid == n.Key)
	case leafSID:
		sid := e.x.sid(e.s, &e.r)
		return truth(sid != "" && sid == n.Key)
	case leafSelf:
		return truth(n.target == e.id)
	case leafLink:
		_, there := slices.BinarySearch(e.x.links.list(e.s.links, n.code), n.target)
		return truth(there && n.target != 0 && !e.hides.value(n.code, n.target))
	case leafLinked:
		return truth(slices.ContainsFunc(e.x.links.list(e.s.links, n.code), func(id uint32) bool {
			return e.x.shown(id) && !e.hides.value(n.code, id)
		}))
	case leafChain:
		return truth(n.chain.has(e.id))
	}
	return tree.True // leafAll
}

func truth(b bool) tree.Truth {
	if b {
		return tree.True
	}
	return tree.False
}

// shown tells whether a link's target has a name.
func (x *Index) shown(id uint32) bool { return x.table.live(id) != nil }

// named tells whether the object names an auxiliary class itself.
func (e *subject) named(class int) bool {
	found := false
	each(e.r.extra, func(n uint16) { found = found || int(n) == class })
	return found
}

func (e *subject) number(n *node) bool {
	var v int64
	switch n.a.made {
	case madeUSNCreated:
		v = int64(e.r.created)
	case madeUSNChanged:
		v = int64(e.r.changed)
	case madeWhenCreated:
		v = e.r.createdAt
	default:
		v = e.r.changedAt
	}
	switch n.Op {
	case tree.GreaterOrEqual:
		return v >= n.number
	case tree.LessOrEqual:
		return v <= n.number
	}
	return v == n.number
}

// stored evaluates a leaf on the record's values.
func (e *subject) stored(n *node) tree.Truth {
	values := e.r.find(uint16(n.a.Number))
	named := n.leaf == leafNamed && e.s.parent != 0 && (n.a.made == madeName || int(e.r.rdnAttr) == n.a.Number)
	if n.Op == tree.Present {
		return truth(named || len(values) > 0 || e.s.flags&flagCold != 0 && e.r.isCold(uint16(n.a.Number)))
	}
	if named && e.meets(n, n.a, e.shownRDN()) {
		return tree.True
	}
	if n.Op == tree.Extensible && n.Rule != nil && len(values) == 0 && !named {
		return tree.Undefined // a bit rule without a value
	}
	for len(values) > 0 {
		var v string
		v, values = e.x.value(values, &e.r)
		if e.meets(n, n.a, v) {
			return tree.True
		}
	}
	return tree.False
}

// meets is tree.Node.MatchesValue with short cuts.
func (e *subject) meets(n *node, a *attribute, v string) bool {
	switch n.Op {
	case tree.Equal:
		switch a.fold {
		case foldRaw:
			return v == n.Key
		case foldLower:
			if equal, sure := equalFold(v, n.Key); sure {
				return equal
			}
			return a.Syntax.Key(v) == n.Key
		case foldInt:
			if plainInt(v) {
				return v == n.Key
			}
		}
	case tree.Substrings:
		e.buf = a.key(e.buf, v)
		return contains(e.buf, n.Node)
	}
	return n.MatchesValue(a.Attribute, v)
}

// equalFold compares a value with a key that is lower case; sure is false when
// the value has to be folded by its syntax first.
func equalFold(v, key string) (equal, sure bool) {
	if len(v) != len(key) {
		for i := range len(v) {
			if v[i] > '~' || v[i] <= ' ' {
				return false, false
			}
		}
		return false, true
	}
	last := byte(' ')
	for i := range len(v) {
		c := v[i]
		switch {
		case c < ' ' || c > '~' || c == ' ' && last == ' ':
			return false, false
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		if c != key[i] {
			// What has another letter here is another text, unless spaces or
			// letters that are not ASCII come.
			for _, c := range []byte(v[i:]) {
				if c > '~' || c <= ' ' {
					return false, false
				}
			}
			return false, true
		}
		last = c
	}
	return true, last != ' ' || v == ""
}

// contains is tree.Node's test of substrings on a folded value.
func contains(key []byte, n *tree.Node) bool {
	if len(key) < len(n.Initial) || string(key[:len(n.Initial)]) != n.Initial {
		return false
	}
	key = key[len(n.Initial):]
	if len(key) < len(n.Final) || string(key[len(key)-len(n.Final):]) != n.Final {
		return false
	}
	key = key[:len(key)-len(n.Final)]
	for _, part := range n.Any {
		at := strings.Index(text(key), part)
		if at < 0 {
			return false
		}
		key = key[at+len(part):]
	}
	return true
}

// begins evaluates a leafBegins: one walk over the record for all attributes.
func (e *subject) begins(n *node) bool {
	meets := func(a *attribute, v string) bool {
		// Most values differ in their first letter.
		if v != "" && v[0] < 0x80 && v[0] > ' ' && n.Initial[0] < 0x80 && v[0]|0x20 != n.Initial[0]|0x20 {
			return false
		}
		e.buf = a.key(e.buf, v)
		return len(e.buf) >= len(n.Initial) && string(e.buf[:len(n.Initial)]) == n.Initial && e.reads(a)
	}
	if e.s.parent != 0 {
		if n.names[e.x.nameAttr] && meets(&e.x.info[e.x.nameAttr], e.shownRDN()) {
			return true
		}
		if n.names[e.r.rdnAttr] && meets(&e.x.info[e.r.rdnAttr], e.shownRDN()) {
			return true
		}
	}
	for b := e.r.stored; len(b) > 0; {
		var attr uint16
		var values []byte
		attr, values, b = next(b)
		if !n.names[attr] {
			continue
		}
		for len(values) > 0 {
			var v string
			if v, values = e.x.value(values, &e.r); meets(&e.x.info[attr], v) {
				return true
			}
		}
	}
	return false
}

// Values is tree.Subject's.
func (e *subject) Values(a *schema.Attribute) []string {
	t := &e.x.info[a.Number]
	switch t.made {
	case madeTokenGroups, madeAllowed, madeAllowedChildren:
		return nil // of a base search's entry alone (MS-ADTS 3.1.1.3.1.3.1)
	}
	if a.Secret || !e.reads(t) {
		return nil
	}
	return e.values(t)
}

// InChain is tree.Subject's.
func (e *subject) InChain(a *schema.Attribute, to tree.DN) bool {
	t := &e.x.info[a.Number]
	c, ok := t.code()
	target := e.x.target(to)
	return ok && target != 0 && e.reads(t) && e.x.closure(c^1, target, e.hides.of(c)).has(e.id)
}

// Name is tree.Subject's.
func (e *subject) Name() tree.DN {
	dn, _ := e.x.dn(e.id)
	return dn
}
