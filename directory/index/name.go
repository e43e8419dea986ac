package index

import (
	"slices"
	"strings"
	"sync/atomic"

	"waypost/directory"
	"waypost/directory/schema"
	"waypost/directory/tree"
)

// maxDepth bounds every walk upwards: no name is longer.
const maxDepth = tree.MaxDNDepth + 2

// nameCache holds names of containers, so that a name is most often an RDN and
// one look here. Entries are replaced, never waited for.
type nameCache [1 << 12]atomic.Pointer[cachedName]

type cachedName struct {
	id   uint32
	when uint64 // Index.names at the time
	name string
}

// forget drops an object's name. The lock is held.
func (c *nameCache) forget(id uint32) {
	place := &c[id%uint32(len(c))]
	if was := place.Load(); was != nil && was.id == id {
		place.Store(nil)
	}
}

// nameOf gives an object's name as text; false when it or something above is
// not here. The root's is "". The lock is held for reading.
func (x *Index) nameOf(id uint32) (string, bool) {
	s := x.table.live(id)
	if s == nil {
		return "", false
	}
	if s.parent == 0 {
		return "", true
	}
	above, ok := x.container(s.parent, 0)
	if !ok {
		return "", false
	}
	return x.below(s, above), true
}

// below writes the name of an object in a container.
func (x *Index) below(s *slot, above string) string {
	attr, rdn := rdnOf(x.slabs.get(s.record))
	if s.flags&flagDomain != 0 && above == "" {
		return tree.DomainDN(rdn).String()
	}
	b := make([]byte, 0, len(rdn)+len(above)+8)
	b = append(b, x.info[attr].shown...)
	b = tree.AppendValue(b, rdn)
	if above != "" {
		b = append(append(b, ','), above...)
	}
	return text(b)
}

func (x *Index) container(id uint32, depth int) (string, bool) {
	when := x.names.Load()
	place := &x.cache[id%uint32(len(x.cache))]
	if c := place.Load(); c != nil && c.id == id && c.when == when {
		return c.name, true
	}
	s := x.table.live(id)
	switch {
	case s == nil || depth > maxDepth:
		return "", false
	case s.parent == 0:
		return "", true
	}
	above, ok := x.container(s.parent, depth+1)
	if !ok {
		return "", false
	}
	name := x.below(s, above)
	place.Store(&cachedName{id, when, name})
	return name, true
}

// dn is nameOf as a DN.
func (x *Index) dn(id uint32) (tree.DN, bool) {
	var dn tree.DN
	for range maxDepth {
		s := x.table.live(id)
		switch {
		case s == nil:
			return nil, false
		case s.parent == 0:
			return dn, true
		}
		attr, rdn := rdnOf(x.slabs.get(s.record))
		up := x.table.live(s.parent)
		if s.flags&flagDomain != 0 && up != nil && up.parent == 0 {
			return append(dn, tree.DomainDN(rdn)...), true
		}
		dn = append(dn, tree.RDN{{Attribute: x.info[attr].Name, Value: strings.Clone(rdn)}})
		id = s.parent
	}
	return nil, false
}

// child finds the object of an RDN below another.
func (x *Index) child(parent uint32, rdn tree.RDN) (uint32, bool) {
	if len(rdn) != 1 {
		return 0, false // objects have one naming attribute
	}
	key := rdn.Key()
	runs, _ := x.pairs.equals(x.hashName(parent, []byte(key)))
	var buf []byte
	for _, run := range runs {
		for _, p := range run {
			s := x.table.live(uint32(p))
			if s == nil || s.parent != parent {
				continue
			}
			attr, name := rdnOf(x.slabs.get(s.record))
			if buf = rdnKey(buf, x.info, attr, name); string(buf) == key {
				return uint32(p), true
			}
		}
	}
	return 0, false
}

// resolve finds the object of a name; matched is how many RDNs at the end of it
// are there. The empty name is the root's.
func (x *Index) resolve(dn tree.DN) (id uint32, matched int, ok bool) {
	if form, value := dn.Special(); form != "" {
		id, ok = x.special(dn, form, value)
		return id, 0, ok
	}
	root := x.root
	if root == 0 {
		return 0, 0, false
	}
	id = root
	rest := len(dn)
	if labels := dn.Labels(); len(labels) > 0 {
		for i := range labels { // the longest run that is a domain
			name := strings.Join(labels[i:], ".")
			domain, found := x.child(root, tree.RDN{{Attribute: "dc", Value: name}})
			if !found {
				if ascii, err := directory.FoldDomain(name); err == nil && ascii != name {
					domain, found = x.child(root, tree.RDN{{Attribute: "dc", Value: ascii}})
				}
			}
			if found {
				id, rest = domain, len(dn)-len(labels)+i
				break
			}
		}
	}
	for rest > 0 {
		below, found := x.child(id, dn[rest-1])
		if !found {
			break
		}
		id, rest = below, rest-1
	}
	return id, len(dn) - rest, rest == 0
}

// wellKnown are the containers' GUIDs (MS-ADTS 6.1.1.4) as objectGUID has them,
// for a domain whose wellKnownObjects does not name them.
var wellKnown = map[string]tree.AVA{
	"a9d1ca15768811d1aded00c04fd8d5cd": {Attribute: "cn", Value: "Users"},
	"aa312825768811d1aded00c04fd8d5cd": {Attribute: "cn", Value: "Computers"},
	"a361b2ffffd211d1aa4b00c04fd7d83a": {Attribute: "ou", Value: "Domain Controllers"},
	"18e2ea80684f11d2b9aa00c04f79f805": {Attribute: "cn", Value: "Deleted Objects"},
	"ab8153b7768811d1aded00c04fd8d5cd": {Attribute: "cn", Value: "LostAndFound"},
	"ab1d30f3768811d1aded00c04fd8d5cd": {Attribute: "cn", Value: "System"},
	"22b70c67d56e4efb91e9300fca3dc1aa": {Attribute: "cn", Value: "ForeignSecurityPrincipals"},
	"2fbac1870ade11d297c400c04fd8d5cd": {Attribute: "cn", Value: "Infrastructure"},
}

// special finds the object of AD's other forms of a base (MS-ADTS
// 3.1.1.3.1.2.4).
func (x *Index) special(dn tree.DN, form, value string) (uint32, bool) {
	switch form {
	case tree.ByGUID:
		return x.first(x.hashOf(x.guidAttr, []byte(value)), func(id uint32, _ *slot, r *record) bool { return r.guid == value })
	case tree.BySID:
		return x.bySID(value)
	}
	head, _, ok := x.resolve(dn[1:])
	if !ok {
		return 0, false
	}
	for _, attribute := range []string{"wellKnownObjects", "otherWellKnownObjects"} {
		a, ok := x.schema.Attribute(attribute)
		if !ok {
			continue
		}
		r := x.record(x.table.live(head))
		for values := r.find(uint16(a.Number)); len(values) > 0; {
			var v string
			v, values = x.value(values, &r)
			data, name, ok := schema.SplitDNData(v)
			if !ok || data != value {
				continue
			}
			if target, err := tree.ParseDN(name); err == nil {
				if form, _ := target.Special(); form == "" {
					id, _, ok := x.resolve(target)
					return id, ok
				}
			}
		}
	}
	ava, ok := wellKnown[hexOf(value)]
	if !ok {
		return 0, false
	}
	return x.child(head, tree.RDN{ava})
}

func hexOf(s string) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for i := range len(s) {
		b.WriteByte(digits[s[i]>>4])
		b.WriteByte(digits[s[i]&15])
	}
	return b.String()
}

// first finds the first object with a hash for which fn is true.
func (x *Index) first(hash uint32, fn func(id uint32, s *slot, r *record) bool) (uint32, bool) {
	runs, _ := x.pairs.equals(hash)
	for _, run := range runs {
		for _, p := range run {
			if s := x.table.live(uint32(p)); s != nil {
				if r := x.record(s); fn(uint32(p), s, &r) {
					return uint32(p), true
				}
			}
		}
	}
	return 0, false
}

func (x *Index) bySID(sid string) (uint32, bool) {
	if len(sid) < 12 {
		return 0, false
	}
	return x.first(x.hashOf(x.sidAttr, []byte(sid[len(sid)-4:])), func(id uint32, s *slot, r *record) bool {
		return x.sid(s, r) == sid
	})
}

// sid gives an object's objectSid, "" when it has none.
func (x *Index) sid(s *slot, r *record) string {
	if values := r.find(x.sidAttr); len(values) > 0 {
		v, _ := x.value(values, r)
		return v
	}
	if r.rid == 0 {
		return ""
	}
	domain, ok := x.domainSID(s.parent)
	if !ok || len(domain) < 8 || domain[1] >= 15 {
		return ""
	}
	b := make([]byte, 0, len(domain)+4)
	b = append(b, domain...)
	b[1]++
	return text(append(b, sidTail(r.rid)...))
}

// domainSID gives the SID of the domain that an object lies in.
func (x *Index) domainSID(id uint32) (string, bool) {
	for range maxDepth {
		s := x.table.live(id)
		if s == nil {
			return "", false
		}
		if s.flags&flagDomain != 0 {
			r := x.record(s)
			if values := r.find(x.sidAttr); len(values) > 0 {
				v, _ := x.value(values, &r)
				return v, true
			}
		}
		id = s.parent
	}
	return "", false
}

// Resolve finds the object of a name, also <GUID=>, <SID=> and <WKGUID=,>,
// tombstones among them; the empty name is the root's. When nobody has it,
// matched is the nearest name above that is there.
func (x *Index) Resolve(dn tree.DN) (id directory.ObjectID, matched tree.DN, ok bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n, depth, ok := x.resolve(dn)
	if !ok {
		return 0, slices.Clone(dn[len(dn)-depth:]), false
	}
	return objectID(n), nil, true
}

// Child finds what an RDN names right below an object, tombstones among it.
func (x *Index) Child(parent directory.ObjectID, rdn tree.RDN) (directory.ObjectID, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if parent < 1 || parent > MaxID {
		return 0, false
	}
	id, ok := x.child(uint32(parent), rdn)
	return objectID(id), ok
}

// SID gives an object's objectSid.
func (x *Index) SID(id directory.ObjectID) (string, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if id < 1 || id > MaxID {
		return "", false
	}
	s := x.table.live(uint32(id))
	if s == nil {
		return "", false
	}
	r := x.record(s)
	sid := strings.Clone(x.sid(s, &r))
	return sid, sid != ""
}

// DN gives an object's name now.
func (x *Index) DN(id directory.ObjectID) (tree.DN, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if id < 1 || id > MaxID {
		return nil, false
	}
	return x.dn(uint32(id))
}

// Name is DN as RFC 4514 text.
func (x *Index) Name(id directory.ObjectID) (string, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if id < 1 || id > MaxID {
		return "", false
	}
	return x.nameOf(uint32(id))
}

// Place gives where an object is; the Chain is the caller's.
func (x *Index) Place(id directory.ObjectID) (Place, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if id < 1 || id > MaxID || x.table.live(uint32(id)) == nil {
		return Place{}, false
	}
	var p Place
	x.place(&p, uint32(id), x.table.live(uint32(id)))
	return p, true
}

// place fills in p, whose Chain's memory is used again.
func (x *Index) place(p *Place, id uint32, s *slot) {
	p.ID, p.Class, p.Deleted = objectID(id), x.schema.Classes()[s.class], s.flags&flagDeleted != 0
	p.Chain, p.Last = p.Chain[:0], 0
	if p.Deleted {
		p.Last = objectID(x.lastPlace(id, s))
	}
	for up := s.parent; up != 0 && len(p.Chain) < maxDepth; {
		p.Chain = append(p.Chain, objectID(up))
		s := x.table.live(up)
		if s == nil {
			return
		}
		up = s.parent
	}
}

// lastPlace follows lastKnownParent to something that is not deleted.
func (x *Index) lastPlace(id uint32, s *slot) uint32 {
	c, ok := x.linkCode("lastKnownParent")
	own, known := x.schema.Attribute(schema.AccessControlEntry)
	for range maxDepth {
		if s == nil || !ok {
			return 0
		}
		if s.flags&flagDeleted == 0 {
			return id
		}
		r := x.record(s)
		up := x.links.list(s.links, c)
		if len(up) != 1 || known && len(r.find(uint16(own.Number))) > 0 {
			return 0
		}
		id = up[0]
		s = x.table.live(id)
	}
	return 0
}
