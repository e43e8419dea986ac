package index

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/directory/schema"
	"waypost/directory/tree"
)

// batch is memory that the entries of one batch share.
type batch struct {
	entries    []tree.Entry
	attributes []tree.Attribute
	values     []string
	first      int // how many values the first entry is likely to have
}

// strings gives room for so many values.
func (b *batch) strings(n int) []string {
	if cap(b.values)-len(b.values) < n {
		b.values = make([]string, 0, max(n, min(2*cap(b.values), 4096), b.first))
	}
	from := len(b.values)
	b.values = b.values[:from+n]
	return b.values[from : from+n : from+n]
}

func (b *batch) one(v string) []string {
	s := b.strings(1)
	s[0] = v
	return s
}

// show makes the entry of a subject. The lock is held; the entry is good
// afterwards.
func (x *Index) show(b *batch, w *want, e *subject) *tree.Entry {
	if cap(b.entries) == len(b.entries) {
		b.entries = make([]tree.Entry, 0, min(max(1, 2*cap(b.entries)), 128))
	}
	if cap(b.attributes)-len(b.attributes) < w.each {
		b.attributes = make([]tree.Attribute, 0, min(max(w.each, 2*cap(b.attributes)), max(w.each, 1024)))
	}
	b.first = w.each + w.each/4
	start := len(b.attributes)
	b.entries = append(b.entries, tree.Entry{ID: objectID(e.id), USN: usn(e.r.changed), Deleted: e.s.flags&flagDeleted != 0})
	entry := &b.entries[len(b.entries)-1]
	copy(entry.GUID[:], e.r.guid)
	name, _ := x.nameOf(e.id)
	entry.DN = name
	put := func(a *attribute, values []string, total int) {
		if total == 0 || !e.reads(a) {
			return
		}
		if w.typesOnly {
			values = nil
		}
		b.attributes = append(b.attributes, tree.Attribute{Name: a.Name, Values: values})
	}
	for _, n := range w.made {
		a := &x.info[n]
		if a.made == notMade && n != int(e.r.rdnAttr) {
			continue // a naming attribute that is an ordinary one here
		}
		values := x.made(b, w, e, a, name)
		put(a, values, len(values))
	}
	for stored := e.r.stored; len(stored) > 0; {
		var n uint16
		var values []byte
		n, values, stored = next(stored)
		if !w.set[n] || n == x.sidAttr || n == e.r.rdnAttr {
			continue
		}
		a := &x.info[n]
		all := x.decode(b, values, &e.r)
		from, to := w.cut(entry, a, len(all))
		put(a, all[from:to], len(all))
	}
	if w.link {
		x.showLinks(b, w, e, entry, put)
	}
	entry.Attributes = slices.Clip(b.attributes[start:])
	return entry
}

// decode gives the values of a stored attribute.
func (x *Index) decode(b *batch, values []byte, r *record) []string {
	n := 0
	for rest := values; len(rest) > 0; n++ {
		v, behind := uvarint(rest)
		if v&1 == 0 {
			behind = behind[v>>1:]
		}
		rest = behind
	}
	all := b.strings(n)
	for i := range all {
		all[i], values = x.value(values, r)
	}
	return all
}

// showLinks shows what the object leads to and what leads to it.
func (x *Index) showLinks(b *batch, w *want, e *subject, entry *tree.Entry, put func(*attribute, []string, int)) {
	x.links.each(e.s.links, func(c code, ids []uint32) {
		n := int(c >> 1)
		if c == children {
			return
		}
		if c&1 != 0 {
			if n = x.info[n].other; n < 0 {
				return
			}
		}
		a := &x.info[n]
		if !w.set[n] || !e.reads(a) {
			return
		}
		total := len(ids)
		if x.ghosts.count > 0 && slices.ContainsFunc(ids, func(id uint32) bool { return !x.shown(id) }) {
			ids = slices.DeleteFunc(slices.Clone(ids), func(id uint32) bool { return !x.shown(id) })
			total = len(ids)
		}
		if closed := e.hides.of(c); c&1 != 0 && closed != nil && slices.ContainsFunc(ids, closed) {
			ids = slices.DeleteFunc(slices.Clone(ids), closed)
			total = len(ids)
		}
		from, to := w.cut(entry, a, total)
		if w.typesOnly {
			to = from
		}
		values := b.strings(to - from)[:0]
		for _, id := range ids[from:to] {
			if name, ok := x.nameOf(id); ok {
				values = append(values, name)
			}
		}
		put(a, values, total)
	})
}

// cut gives which values of so many are shown, and notes it in the entry when
// these are not all or when a range was asked for (MS-ADTS 3.1.1.3.1.3.3).
func (w *want) cut(entry *tree.Entry, a *attribute, total int) (from, to int) {
	from, to = 0, total
	asked := false
	for _, r := range w.ranges {
		if r.Name == a.Name {
			asked = true
			from = min(r.First, total)
			if r.Last >= 0 {
				to = min(r.Last+1, total)
			}
			to = max(to, from)
		}
	}
	if w.maxRange > 0 {
		to = min(to, from+w.maxRange)
	}
	if asked || to < total {
		last := to - 1
		if to == total {
			last = -1
		}
		entry.Partial = append(entry.Partial, tree.Range{Name: a.Name, First: from, Last: last})
	}
	return from, to
}

// values gives all of an attribute's values, for a filter.
func (e *subject) values(a *attribute) []string {
	var b batch
	x := e.x
	switch {
	case a.made != notMade:
		w := &want{}
		name := ""
		if a.made == madeDN || a.made == madeCanonical {
			name, _ = x.nameOf(e.id)
		}
		return x.made(&b, w, e, a, name)
	case a.dn || a.Back():
		c, ok := a.code()
		if !ok {
			return nil
		}
		var names []string
		for _, id := range x.links.list(e.s.links, c) {
			if name, ok := x.nameOf(id); ok && !e.hides.value(c, id) {
				names = append(names, name)
			}
		}
		return names
	}
	stored := x.decode(&b, e.r.find(uint16(a.Number)), &e.r)
	if int(e.r.rdnAttr) == a.Number && e.s.parent != 0 {
		return append([]string{e.shownRDN()}, stored...)
	}
	return stored
}

// made gives the values of an attribute that is not stored, or of the naming
// attribute.
func (x *Index) made(b *batch, w *want, e *subject, a *attribute, name string) []string {
	r := &e.r
	class := x.schema.Classes()[e.s.class]
	switch a.made {
	case notMade:
		return e.rdnValues(b, a)
	case madeName:
		return b.one(e.shownRDN())
	case madeObjectClass:
		return x.objectClass(b, class, r)
	case madeStructuralClass:
		chain := class.Chain()
		values := b.strings(len(chain))
		for i, c := range chain {
			values[len(chain)-1-i] = c.Name
		}
		return values
	case madeObjectCategory:
		return b.one(x.schemaNames().categories[class.Number])
	case madeDN:
		return b.one(name)
	case madeGUID:
		return b.one(r.guid)
	case madeUUID:
		return b.one(schema.FormatGUID([16]byte([]byte(r.guid))))
	case madeSID:
		if sid := x.sid(e.s, r); sid != "" {
			return b.one(sid)
		}
	case madeUSNCreated:
		return b.one(strconv.FormatUint(r.created, 10))
	case madeUSNChanged:
		return b.one(strconv.FormatUint(r.changed, 10))
	case madeWhenCreated:
		return b.one(timeText(r.createdAt))
	case madeWhenChanged:
		return b.one(timeText(r.changedAt))
	case madeInstanceType:
		// MS-ADTS 3.1.1.2.1: 1 head of a context, 4 writable here.
		if e.s.flags&flagHead != 0 {
			return b.one("5")
		}
		return b.one("4")
	case madeIsDeleted:
		if e.s.flags&flagDeleted != 0 {
			return b.one("TRUE")
		}
	case madeSubschema:
		return b.one(x.schemaNames().aggregate)
	case madeCanonical:
		return b.one(x.canonical(e.id))
	case madeHasSubordinates:
		if e.below(1) > 0 {
			return b.one("TRUE")
		}
		return b.one("FALSE")
	case madeNumSubordinates:
		return b.one(strconv.Itoa(e.below(math.MaxInt)))
	case madeParentGUID:
		if up := x.table.live(e.s.parent); up != nil && e.s.parent != x.root {
			above := x.record(up)
			return b.one(above.guid)
		}
	default:
		return x.madeSeldom(b, w, e, a, class)
	}
	return nil
}

// below counts what the reader sees directly below, up to a number.
func (e *subject) below(most int) (n int) {
	all := e.x.links.list(e.s.links, children)
	if e.sight == nil {
		return min(len(all), most)
	}
	var p Place
	for _, id := range all {
		if s := e.x.table.live(id); s != nil && n < most {
			if e.x.place(&p, id, s); e.sight.See(&p) != nil {
				n++
			}
		}
	}
	return n
}

// madeSeldom is made for what is asked of one object alone.
func (x *Index) madeSeldom(b *batch, w *want, e *subject, a *attribute, class *schema.Class) []string {
	var values []string
	switch a.made {
	case madeTokenGroups:
		if !w.base { // MS-ADTS 3.1.1.4.5.19: of a base search alone
			return nil
		}
		for _, id := range x.ids(x.groups(e.id, e.hides.closed), e.id) {
			s := x.table.live(uint32(id))
			r := x.record(s)
			if sid := x.sid(s, &r); sid != "" && !e.hides.member(uint32(id)) {
				values = append(values, sid)
			}
		}
	case madePrimaryToken:
		if group, ok := x.schema.Class("group"); ok && e.r.rid != 0 && class.IsA(group) {
			return b.one(strconv.FormatUint(uint64(e.r.rid), 10))
		}
	case madeAllowed:
		for n := range x.info {
			if class.Allows(x.info[n].Attribute) {
				values = append(values, x.info[n].Name)
			}
		}
	case madeAllowedChildren:
		for _, c := range x.schema.Classes() {
			if c.Instantiable() && c.MayBeUnder(class) {
				values = append(values, c.Name)
			}
		}
	}
	return values
}

// rdnValues are those of the naming attribute: the RDN, and what is stored of
// the same attribute besides.
func (e *subject) rdnValues(b *batch, a *attribute) []string {
	stored := e.r.find(uint16(a.Number))
	if len(stored) == 0 {
		return b.one(e.shownRDN())
	}
	return append([]string{e.shownRDN()}, e.x.decode(b, stored, &e.r)...)
}

// objectClass is schema.Shape's order: top first, the most specific class last,
// auxiliary classes behind top.
func (x *Index) objectClass(b *batch, class *schema.Class, r *record) []string {
	chain := class.Chain()
	n := len(chain)
	each(r.extra, func(uint16) { n++ })
	values := b.strings(n)
	for i, c := range chain {
		values[n-1-i] = c.Name
	}
	if extra := n - len(chain); extra > 0 {
		values[0] = chain[len(chain)-1].Name
		at := extra
		each(r.extra, func(c uint16) {
			values[at] = x.schema.Classes()[c].Name
			at--
		})
	}
	return values
}

func timeText(seconds int64) string { return schema.FormatTime(time.Unix(seconds, 0)) }

// categoryRDN names the schema object that objectCategory leads to.
func categoryRDN(c *schema.Class) string {
	return tree.RDN{{Attribute: "cn", Value: schema.CommonName(c.ObjectCategory().Name)}}.String()
}

// schemaName is the name of the schema container, which need not be an object.
func (x *Index) schemaName() string {
	for _, id := range x.heads {
		if s := x.table.live(id); s != nil && x.schema.Classes()[s.class].Name == "dMD" {
			if name, ok := x.nameOf(id); ok {
				return name
			}
		}
	}
	for _, id := range x.heads {
		if s := x.table.live(id); s != nil && s.flags&flagDomain != 0 {
			if name, ok := x.nameOf(id); ok {
				return "CN=Schema,CN=Configuration," + name
			}
		}
	}
	return "CN=Schema,CN=Configuration"
}

// schemaNames are names that every entry shows, made once.
type schemaNames struct {
	when       uint64
	classes    int
	aggregate  string
	categories []string // by class
}

func (x *Index) schemaNames() *schemaNames {
	when := x.names.Load()
	if n := x.fixed.Load(); n != nil && n.when == when && n.classes == len(x.classes) {
		return n
	}
	above := "," + x.schemaName()
	n := &schemaNames{when: when, classes: len(x.classes), aggregate: "CN=Aggregate" + above}
	for _, c := range x.schema.Classes() {
		n.categories = append(n.categories, categoryRDN(c)+above)
	}
	x.fixed.Store(n)
	return n
}

// canonical is MS-ADTS 3.1.1.4.5.6's canonicalName: example.test/Sales/Ann.
func (x *Index) canonical(id uint32) string {
	var parts []string
	domain := ""
	for range maxDepth {
		s := x.table.live(id)
		if s == nil || s.parent == 0 {
			break
		}
		_, rdn := rdnOf(x.slabs.get(s.record))
		if s.flags&flagDomain != 0 {
			domain = rdn
			break
		}
		parts = append(parts, strings.ReplaceAll(rdn, "/", `\/`))
		id = s.parent
	}
	slices.Reverse(parts)
	return domain + "/" + strings.Join(parts, "/")
}
