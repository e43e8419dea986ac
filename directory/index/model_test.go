package index_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"waypost/directory"
	"waypost/directory/index"
	"waypost/directory/schema"
	"waypost/directory/tree"
)

// model is the directory as plain values; it finds everything by looking at
// everything, with nothing but tree.Match.
type model struct {
	schema  *schema.Schema
	objects map[directory.ObjectID]*index.Object
	usn     directory.USN
	next    directory.ObjectID
}

func (m *model) ids() []directory.ObjectID { return slices.Sorted(maps.Keys(m.objects)) }

func (m *model) dn(id directory.ObjectID) (tree.DN, bool) {
	var dn tree.DN
	for depth := 0; depth < 200; depth++ {
		o := m.objects[id]
		switch {
		case o == nil:
			return nil, false
		case o.Parent == 0:
			return dn, true
		case o.Class == "domainDNS":
			return append(dn, tree.DomainDN(o.RDN.Value)...), true
		}
		dn = append(dn, tree.RDN{o.RDN})
		id = o.Parent
	}
	return nil, false
}

// subject is tree.Subject on an object of the model.
type subject struct {
	see   *sight // nil: sees everything
	m     *model
	o     *index.Object
	view  index.View
	bound bool // the partial attribute set only
}

// shownRDN: a domain is kept under its DNS name, and called by its first label.
func shownRDN(o *index.Object) string {
	if o.Class == "domainDNS" {
		return strings.Split(o.RDN.Value, ".")[0]
	}
	return o.RDN.Value
}

func (s subject) Name() tree.DN {
	dn, _ := s.m.dn(s.o.ID)
	return dn
}

// targets are the values of an attribute of DN syntax.
func (s subject) targets(a *schema.Attribute) (ids []directory.ObjectID) {
	if !a.Back() {
		for _, l := range s.o.Links {
			if l.Attribute == a.Name {
				ids = append(ids, l.Targets...)
			}
		}
	} else if other, ok := s.m.schema.Link(a.LinkID ^ 1); ok {
		for _, id := range s.m.ids() {
			for _, l := range s.m.objects[id].Links {
				if l.Attribute == other.Name && slices.Contains(l.Targets, s.o.ID) {
					ids = append(ids, id)
				}
			}
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	return slices.DeleteFunc(ids, func(id directory.ObjectID) bool { return s.m.objects[id] == nil })
}

func (s subject) InChain(a *schema.Attribute, to tree.DN) bool {
	if !s.reads(a) || !a.Syntax.DN() || a.LinkID == 0 && len(s.targets(a)) == 0 {
		return false
	}
	met := map[directory.ObjectID]bool{}
	todo := []directory.ObjectID{s.o.ID}
	for len(todo) > 0 {
		at := subject{m: s.m, o: s.m.objects[todo[0]]}
		todo = todo[1:]
		for _, id := range at.targets(a) {
			if dn, ok := s.m.dn(id); ok && dn.Equal(to) {
				return true
			}
			if !met[id] {
				met[id] = true
				todo = append(todo, id)
			}
		}
	}
	return false
}

func (s subject) reads(a *schema.Attribute) bool {
	if a.Secret || s.view != nil && !s.view.Reads(a) {
		return false
	}
	if !s.bound || a.InGlobalCatalog || a.Operational || a.Constructed {
		return true
	}
	if other, ok := s.m.schema.Link(a.LinkID ^ 1); ok && a.Back() {
		return other.InGlobalCatalog
	}
	switch a.Name {
	case "distinguishedName", "instanceType", "uSNCreated", "uSNChanged", "isDeleted":
		return true
	}
	return false
}

func (s subject) sid() string {
	for _, a := range s.o.Attributes {
		if a.Name == "objectSid" {
			return a.Values[0]
		}
	}
	if s.o.RID == 0 {
		return ""
	}
	for id := s.o.Parent; id != 0; {
		up := s.m.objects[id]
		if up == nil {
			return ""
		}
		if up.Class == "domainDNS" {
			for _, a := range up.Attributes {
				if a.Name == "objectSid" {
					b := []byte(a.Values[0])
					b[1]++
					return string(binary.LittleEndian.AppendUint32(b, s.o.RID))
				}
			}
		}
		id = up.Parent
	}
	return ""
}

func (s subject) Values(a *schema.Attribute) []string {
	if !s.reads(a) {
		return nil
	}
	o := s.o
	class, _ := s.m.schema.Class(o.Class)
	one := func(v string) []string { return []string{v} }
	configuration := "CN=Schema,CN=Configuration,DC=example,DC=test"
	below := 0
	for _, other := range s.m.objects {
		if other.Parent == o.ID && s.m.seen(other, s.see) {
			below++
		}
	}
	switch a.Name {
	case "objectClass":
		shape, err := s.m.schema.Shape(append([]string{o.Class}, o.Extra...))
		if err != nil {
			panic(err)
		}
		return shape.ObjectClass()
	case "structuralObjectClass":
		var names []string
		for _, c := range slices.Backward(class.Chain()) {
			names = append(names, c.Name)
		}
		return names
	case "objectCategory":
		return one("CN=" + schema.CommonName(class.ObjectCategory().Name) + "," + configuration)
	case "name":
		return one(shownRDN(o))
	case "distinguishedName", "entryDN":
		return one(s.Name().String())
	case "objectGUID":
		return one(string(o.GUID[:]))
	case "entryUUID":
		return one(schema.FormatGUID(o.GUID))
	case "objectSid":
		if sid := s.sid(); sid != "" {
			return one(sid)
		}
		return nil
	case "uSNCreated":
		return one(strconv.Itoa(int(o.Created)))
	case "uSNChanged":
		return one(strconv.Itoa(int(o.Changed)))
	case "whenCreated", "createTimeStamp":
		return one(schema.FormatTime(o.CreatedAt))
	case "whenChanged", "modifyTimeStamp":
		return one(schema.FormatTime(o.ChangedAt))
	case "instanceType":
		if o.Class == "domainDNS" || o.Class == "configuration" {
			return one("5")
		}
		return one("4")
	case "isDeleted":
		if o.Deleted {
			return one("TRUE")
		}
		return nil
	case "subSchemaSubEntry":
		return one("CN=Aggregate," + configuration)
	case "hasSubordinates":
		return one(strings.ToUpper(strconv.FormatBool(below > 0)))
	case "numSubordinates", "msDS-Approx-Immed-Subordinates":
		return one(strconv.Itoa(below))
	case "primaryGroupToken":
		if o.Class == "group" && o.RID != 0 {
			return one(strconv.Itoa(int(o.RID)))
		}
		return nil
	}
	if a.Syntax.DN() {
		var names []string
		for _, id := range s.targets(a) {
			if dn, ok := s.m.dn(id); ok {
				names = append(names, dn.String())
			}
		}
		return names
	}
	var values []string
	if a.Name == o.RDN.Attribute {
		values = one(shownRDN(o))
	}
	for _, stored := range o.Attributes {
		if stored.Name == a.Name {
			for _, v := range stored.Values {
				if a.Name != o.RDN.Attribute || v != o.RDN.Value {
					values = append(values, v)
				}
			}
		}
	}
	if slices.Contains(o.Cold, a.Name) {
		values = append(values, "cold")
	}
	return values
}

// inScope tells whether an object is in the scope of a query.
func (m *model) inScope(o *index.Object, q *tree.Query, base directory.ObjectID) bool {
	head := func(o *index.Object) bool { return o.Class == "domainDNS" || o.Class == "configuration" }
	baseDN, _ := m.dn(base)
	dn, ok := m.dn(o.ID)
	if !ok {
		return false
	}
	switch q.Scope {
	case tree.Base:
		return o.ID == base
	case tree.One:
		if q.Global && base != rootID && head(o) && o.ID != base && len(dn) == len(baseDN)+1 && dn.Under(baseDN) {
			return true
		}
		return o.Parent == base && (!head(o) || q.Global)
	}
	if q.Global {
		return dn.Under(baseDN)
	}
	for at := o; at != nil; at = m.objects[at.Parent] {
		if at.ID == base {
			return true
		}
		if head(at) {
			return false
		}
	}
	return false
}

// seen tells whether a reader may know of an object.
func (m *model) seen(o *index.Object, sight *sight) bool {
	class, _ := m.schema.Class(o.Class)
	return sight == nil || sight.See(&index.Place{ID: o.ID, Class: class}) != nil
}

// search is the naive search.
func (m *model) search(q *tree.Query, sight *sight) (found []directory.ObjectID, refused tree.Code) {
	var base directory.ObjectID
	for _, id := range m.ids() {
		if dn, ok := m.dn(id); ok && dn.Equal(q.Base) {
			base = id
		}
	}
	if base == 0 || m.objects[base].Deleted && !q.Deleted || base == rootID && (!q.Global || q.Scope == tree.Base) ||
		base != rootID && !m.seen(m.objects[base], sight) {
		return nil, tree.ResultNoSuchObject
	}
	for _, id := range m.ids() {
		o := m.objects[id]
		if id == rootID || id <= q.After || o.Deleted && !q.Deleted || o.Changed <= q.Since && q.Since > 0 || !m.inScope(o, q, base) {
			continue
		}
		s := subject{m: m, o: o, bound: q.Global, see: sight}
		if sight != nil {
			class, _ := m.schema.Class(o.Class)
			if s.view = sight.See(&index.Place{ID: id, Class: class}); s.view == nil {
				continue
			}
		}
		if q.Filter != nil && !tree.Match(q.Filter, m.schema, s) {
			continue
		}
		if q.Limit > 0 && len(found) == q.Limit {
			return found, tree.ResultSizeLimit
		}
		found = append(found, id)
	}
	return found, 0
}

// sight hides some objects and, of others, some attributes.
type sight struct{ n uint64 }

type blind struct{ n uint64 }

func (s *sight) See(p *index.Place) index.View {
	switch (uint64(p.ID) * 0x9e3779b97f4a7c15 >> 60) ^ s.n&15 {
	case 0, 1:
		return nil
	case 2, 3, 4, 5, 6, 7:
		return index.Everything
	}
	return blind{s.n}
}

func (b blind) Reads(a *schema.Attribute) bool { return (uint64(a.Number)+b.n)%3 != 0 }

var words = []string{
	"Ann", "ann", "Anna Müller", "Muller", "muller", "Smith", "smithson", "Blacksmith", "smith  john", " smith", "José", "JOSE", "O'Neill",
	"a,b+c", "ﬁn", "Ⅷ", "straße", "STRASSE", "x", "", "smtp:ann@example.test", "SMTP:Ann@Example.test", "12", "012", "-5", "512", "514", "TRUE", "日本語", "ann smith",
	"tab\tbed", "e\u0301cole", "École",
}

func word(t *rapid.T, label string) string { return rapid.SampledFrom(words).Draw(t, label) }

func nonEmpty(t *rapid.T, label string) string { return cmp.Or(word(t, label), "Ann Smith") }

// object draws an object; its place among the others must be there.
func (m *model) object(t *rapid.T, id directory.ObjectID) index.Object {
	o := index.Object{ID: id}
	was := m.objects[id]
	m.usn += directory.USN(rapid.IntRange(1, 3).Draw(t, "usn"))
	o.Created, o.Changed = m.usn, m.usn
	if was != nil {
		o.Created = was.Created
	}
	o.CreatedAt = time.Unix(1_700_000_000+int64(o.Created), 0).UTC()
	o.ChangedAt = time.Unix(1_700_000_000+int64(o.Changed), 0).UTC()
	binary.LittleEndian.PutUint64(o.GUID[:], uint64(id)*0x9e3779b97f4a7c15)
	class := rapid.SampledFrom([]string{"user", "user", "user", "group", "group", "organizationalUnit", "container", "contact", "computer"}).Draw(t, "class")
	if was != nil {
		class = was.Class
	}
	o.Class = class
	o.RDN = tree.AVA{Attribute: "cn", Value: nonEmpty(t, "rdn") + rapid.SampledFrom([]string{"", " 1", "2", " b"}).Draw(t, "more")}
	if class == "organizationalUnit" {
		o.RDN.Attribute = "ou"
	}
	// A parent that is not below the object, with a free name there.
	for {
		parents := slices.DeleteFunc(m.ids(), func(p directory.ObjectID) bool {
			for at := p; at != 0 && m.objects[at] != nil; at = m.objects[at].Parent {
				if at == id {
					return true
				}
			}
			return p == rootID
		})
		o.Parent = rapid.SampledFrom(parents).Draw(t, "parent")
		free := true
		for _, other := range m.objects {
			if other.ID != id && other.Parent == o.Parent && (tree.RDN{other.RDN}).Key() == (tree.RDN{o.RDN}).Key() {
				free = false
			}
		}
		if free {
			break
		}
		o.RDN.Value += "'"
	}
	for _, name := range []string{"sn", "givenName", "displayName", "mail", "proxyAddresses", "sAMAccountName", "telephoneNumber", "description", "title", "userAccountControl", "legacyExchangeDN", "employeeID", "countryCode", "ou", "msExchMailboxGuid", "mailNickname", "department", "showInAdvancedViewOnly"} {
		if !rapid.Bool().Draw(t, name) {
			continue
		}
		a, _ := m.schema.Attribute(name)
		v := nonEmpty(t, name)
		switch a.Syntax {
		case schema.Integer, schema.Enumeration:
			v = rapid.SampledFrom([]string{"512", "514", "2", "0", "-1"}).Draw(t, name)
		case schema.Boolean:
			v = "TRUE"
		}
		values := []string{v}
		if !a.Single && rapid.Bool().Draw(t, "several") {
			if other := nonEmpty(t, name); a.Syntax.Key(other) != a.Syntax.Key(v) {
				values = append(values, other)
			}
		}
		o.Attributes = append(o.Attributes, tree.Attribute{Name: name, Values: values})
	}
	if rapid.IntRange(0, 5).Draw(t, "cold") == 0 {
		o.Cold = []string{"thumbnailPhoto"}
	}
	switch class {
	case "user", "group", "computer":
		o.RID = uint32(1000 + id)
		if rapid.Bool().Draw(t, "primary") {
			o.Attributes = append(o.Attributes, tree.Attribute{Name: "primaryGroupID", Values: []string{strconv.Itoa(1000 + rapid.IntRange(1, 12).Draw(t, "primary"))}})
		}
	}
	if rapid.IntRange(0, 4).Draw(t, "extra") == 0 && class == "user" {
		o.Extra = []string{"dynamicObject"}
		if _, ok := m.schema.Class("dynamicObject"); !ok {
			o.Extra = nil
		}
	}
	for _, name := range []string{"member", "manager", "managedBy", "seeAlso", "authOrig"} {
		most := 1
		if name == "member" {
			most = 5
		}
		var targets []directory.ObjectID
		for range rapid.IntRange(0, most).Draw(t, name) {
			targets = append(targets, directory.ObjectID(rapid.IntRange(2, int(m.next)+1).Draw(t, name)))
		}
		if name == "member" && rapid.IntRange(0, 9).Draw(t, "large") == 0 {
			for i := range 100 {
				targets = append(targets, directory.ObjectID(2+i))
			}
		}
		if len(targets) > 0 {
			slices.Sort(targets)
			o.Links = append(o.Links, index.Link{Attribute: name, Targets: slices.Compact(targets)})
		}
	}
	o.Deleted = rapid.IntRange(0, 9).Draw(t, "deleted") == 0
	return o
}

// remove takes an object and all links to it away.
func (m *model) remove(id directory.ObjectID) {
	delete(m.objects, id)
	for _, o := range m.objects {
		for i := range o.Links {
			o.Links[i].Targets = slices.DeleteFunc(slices.Clone(o.Links[i].Targets), func(t directory.ObjectID) bool { return t == id })
		}
	}
}

// keep notes an object as it is now.
func (m *model) keep(o index.Object) { m.objects[o.ID] = &o }

var filterAttributes = []string{
	"cn", "name", "ou", "sn", "givenName", "displayName", "mail", "proxyAddresses", "sAMAccountName", "telephoneNumber", "description",
	"title", "userAccountControl", "legacyExchangeDN", "employeeID", "countryCode", "msExchMailboxGuid", "objectClass", "objectCategory",
	"uSNChanged", "uSNCreated", "whenChanged", "whenCreated", "objectGUID", "objectSid", "entryUUID", "memberOf", "member", "manager", "directReports", "seeAlso",
	"distinguishedName", "isDeleted", "nonsense", "thumbnailPhoto", "hasSubordinates", "primaryGroupID", "anr", "managedObjects", "structuralObjectClass",
	"instanceType", "unicodePwd", "authOrig", "department", "mailNickname", "showInAdvancedViewOnly", "numSubordinates", "createTimeStamp", "primaryGroupToken",
}

// filter draws a filter, most often about something that is there.
func (m *model) filter(t *rapid.T, depth int) tree.Filter {
	if depth > 0 {
		switch op := rapid.IntRange(0, 7).Draw(t, "op"); op {
		case 0, 1, 2:
			f := tree.Filter{Op: tree.FilterOp(op)}
			n := 1
			if op < 2 {
				n = rapid.IntRange(0, 3).Draw(t, "parts")
			}
			for range n {
				f.Parts = append(f.Parts, m.filter(t, depth-1))
			}
			return f
		}
	}
	f := tree.Filter{Attribute: rapid.SampledFrom(filterAttributes).Draw(t, "attribute")}
	f.Value = word(t, "value")
	a, known := m.schema.Attribute(f.Attribute)
	ids := m.ids()
	o := m.objects[rapid.SampledFrom(ids).Draw(t, "like")]
	name, _ := m.dn(o.ID)
	switch {
	case !known:
	case a.Syntax.DN():
		f.Value = name.String()
		if f.Attribute == "objectCategory" {
			f.Value = rapid.SampledFrom([]string{"person", "group", "user", "CN=Person,CN=Schema,CN=Configuration,DC=example,DC=test", "cn=x"}).Draw(t, "category")
		}
	case a.Syntax == schema.ObjectIdentifier:
		f.Value = rapid.SampledFrom([]string{"user", "top", "PERSON", "group", "mailRecipient", "dynamicObject", "2.5.6.6", "?"}).Draw(t, "class")
	case rapid.IntRange(0, 3).Draw(t, "present") > 0:
		if values := (subject{m: m, o: o}).Values(a); o.ID != rootID && len(values) > 0 {
			f.Value = values[0]
		}
	}
	f.Op = rapid.SampledFrom([]tree.FilterOp{tree.Equal, tree.Equal, tree.Equal, tree.Substrings, tree.Substrings, tree.GreaterOrEqual, tree.LessOrEqual, tree.Present, tree.Approx, tree.Extensible}).Draw(t, "kind")
	if f.Attribute == "thumbnailPhoto" { // values of cold attributes are not found
		f.Op = tree.Present
	}
	switch f.Op {
	case tree.Substrings:
		runes := []rune(f.Value)
		from := rapid.IntRange(0, len(runes)).Draw(t, "from")
		to := rapid.IntRange(from, len(runes)).Draw(t, "to")
		part := string(runes[from:to])
		f.Value = ""
		switch rapid.IntRange(0, 3).Draw(t, "where") {
		case 0:
			f.Initial = string(runes[:to])
		case 1:
			f.Final = string(runes[from:])
		case 2:
			f.Any = []string{part}
		default:
			f.Initial, f.Any, f.Final = string(runes[:from]), []string{part}, string(runes[to:])
		}
	case tree.Extensible:
		f.Rule = rapid.SampledFrom([]string{"", schema.BitAnd, schema.BitOr, schema.InChain, "caseIgnoreMatch", "caseExactMatch", "integerOrderingMatch"}).Draw(t, "rule")
		f.DNAttributes = rapid.IntRange(0, 3).Draw(t, "dn") == 0
		switch f.Rule {
		case schema.BitAnd, schema.BitOr:
			f.Value = rapid.SampledFrom([]string{"2", "512", "3"}).Draw(t, "bits")
		case schema.InChain:
			f.Attribute = rapid.SampledFrom([]string{"memberOf", "member", "manager", "directReports"}).Draw(t, "chain")
			f.Value = name.String()
		case "caseIgnoreMatch":
			if rapid.Bool().Draw(t, "any attribute") {
				f.Attribute = ""
			}
		}
	}
	return f
}

func (m *model) query(t *rapid.T) *tree.Query {
	q := &tree.Query{Scope: tree.Scope(rapid.IntRange(0, 2).Draw(t, "scope")), Attributes: []string{"*", "+"}}
	base := rapid.SampledFrom(append(m.ids(), domainID, domainID, domainID, rootID)).Draw(t, "base")
	q.Base, _ = m.dn(base)
	if rapid.Bool().Draw(t, "all") {
		q.Scope, q.Base = tree.Sub, nil
	}
	q.Global = rapid.Bool().Draw(t, "global") || q.Base == nil
	q.Deleted = rapid.Bool().Draw(t, "deleted")
	if rapid.IntRange(0, 9).Draw(t, "filtered") > 0 {
		f := m.filter(t, 3)
		q.Filter = &f
	}
	switch rapid.IntRange(0, 6).Draw(t, "bound") {
	case 0:
		q.Limit = rapid.IntRange(1, 5).Draw(t, "limit")
	case 1:
		q.After = rapid.SampledFrom(m.ids()).Draw(t, "after")
	case 2:
		q.Since = directory.USN(rapid.IntRange(0, int(m.usn)).Draw(t, "since"))
	}
	return q
}

// compare holds the index against the model.
func (m *model) compare(t *rapid.T, x *index.Index) {
	q := m.query(t)
	var see *sight
	var seen index.Sight
	if rapid.Bool().Draw(t, "sight") {
		see = &sight{n: rapid.Uint64Range(0, 100).Draw(t, "who")}
		seen = see
	}
	want, refused := m.search(q, see)
	var got []directory.ObjectID
	err := x.Search(context.Background(), q, seen, func(e *tree.Entry) error {
		got = append(got, e.ID)
		m.compareEntry(t, q, see, e)
		return nil
	})
	var code tree.Code
	if r, ok := err.(*tree.Refusal); ok {
		code = r.Code
	} else if err != nil {
		t.Fatalf("search: %v", err)
	}
	if !slices.Equal(got, want) || code != refused {
		text := "none"
		if q.Filter != nil {
			text = q.Filter.String()
		}
		t.Fatalf("search of %v, scope %d, filter %s, %+v:\ngot  %v (%d)\nwant %v (%d)", q.Base, q.Scope, text, q, got, code, want, refused)
	}
	for _, id := range m.ids() {
		if ok, err := x.Matches(id, q, seen); q.Limit == 0 && q.After == 0 && q.Since == 0 && refused == 0 && (err != nil || ok != slices.Contains(want, id)) {
			t.Fatalf("%d matches %v: got %v %v", id, q.Filter, ok, err)
		}
	}
}

// skipped are attributes that the model does not make.
var skipped = map[string]bool{
	"allowedAttributes": true, "allowedChildClasses": true, "canonicalName": true, "parentGUID": true, "thumbnailPhoto": true,
	"tokenGroups": true, "tokenGroupsGlobalAndUniversal": true, "tokenGroupsNoGCAcceptable": true,
}

func (m *model) compareEntry(t *rapid.T, q *tree.Query, see *sight, e *tree.Entry) {
	o := m.objects[e.ID]
	s := subject{m: m, o: o, bound: q.Global, see: see}
	if see != nil {
		class, _ := m.schema.Class(o.Class)
		s.view = see.See(&index.Place{ID: e.ID, Class: class})
	}
	want, got := map[string][]string{}, map[string][]string{}
	for _, a := range m.schema.Attributes() {
		if values := s.Values(a); len(values) > 0 && !skipped[a.Name] {
			want[a.Name] = values
		}
	}
	for _, a := range e.Attributes {
		if _, twice := got[a.Name]; twice {
			t.Fatalf("%s is shown twice", a.Name)
		}
		if !skipped[a.Name] {
			got[a.Name] = a.Values
		}
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Fatalf("entry %d %s (-want +got):\n%s", e.ID, e.DN, diff)
	}
	if dn := s.Name().String(); e.DN != dn || e.GUID != o.GUID || e.USN != o.Changed || e.Deleted != o.Deleted {
		t.Fatalf("entry %d: %+v, want name %s", e.ID, e, dn)
	}
}

// step changes the directory.
func (m *model) step(t *rapid.T, x *index.Index) {
	var changed []index.Object
	var gone []directory.ObjectID
	for range rapid.IntRange(1, 4).Draw(t, "changes") {
		ids := slices.DeleteFunc(m.ids(), func(id directory.ObjectID) bool { return id <= 8 })
		switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
		case kind < 5 || len(ids) == 0:
			m.next++
			o := m.object(t, m.next)
			changed = append(changed, o)
			m.keep(o)
		case kind < 8:
			o := m.object(t, rapid.SampledFrom(ids).Draw(t, "id"))
			changed = append(changed, o)
			m.keep(o)
		case kind < 9:
			// Only some links change.
			o := *m.objects[rapid.SampledFrom(ids).Draw(t, "id")]
			m.usn++
			o.Changed, o.KeepLinks = m.usn, true
			o.ChangedAt = time.Unix(1_700_000_000+int64(o.Changed), 0).UTC()
			to := directory.ObjectID(rapid.IntRange(2, int(m.next)).Draw(t, "to"))
			from := directory.ObjectID(rapid.IntRange(2, int(m.next)).Draw(t, "from"))
			if to != from {
				o.LinkChanges = []index.LinkChange{{Attribute: "member", Add: []directory.ObjectID{to}, Remove: []directory.ObjectID{from}}}
			}
			changed = append(changed, o)
			links := slices.DeleteFunc(slices.Clone(o.Links), func(l index.Link) bool { return l.Attribute == "member" })
			var members []directory.ObjectID
			for _, l := range o.Links {
				if l.Attribute == "member" {
					members = slices.Clone(l.Targets)
				}
			}
			if to != from {
				members = slices.DeleteFunc(members, func(id directory.ObjectID) bool { return id == from || id == to })
				members = append(members, to)
			}
			o.Links = append(links, index.Link{Attribute: "member", Targets: members})
			o.KeepLinks, o.LinkChanges = false, nil
			m.keep(o)
		default:
			// A leaf goes; what was changed before it in this call too.
			id := rapid.SampledFrom(ids).Draw(t, "gone")
			leaf := !slices.ContainsFunc(changed, func(o index.Object) bool { return o.ID == id })
			for _, other := range m.objects {
				leaf = leaf && other.Parent != id
			}
			// Links that this very call makes to it would stay.
			for _, o := range changed {
				for _, l := range o.Links {
					leaf = leaf && !slices.Contains(l.Targets, id)
				}
				for _, l := range o.LinkChanges {
					leaf = leaf && !slices.Contains(l.Add, id)
				}
			}
			if leaf && len(changed) == 0 {
				gone = append(gone, id)
				m.remove(id)
			}
		}
		if len(gone) > 0 {
			break
		}
	}
	if err := x.Apply(m.usn, changed, gone); err != nil {
		t.Fatalf("apply: %v", err)
	}
}

func newModel() *model {
	m := &model{schema: schema.Base(), objects: map[directory.ObjectID]*index.Object{}, usn: 10, next: 8}
	base := func(id, parent directory.ObjectID, class, attr, rdn string) {
		o := index.Object{ID: id, Parent: parent, Class: class, RDN: tree.AVA{Attribute: attr, Value: rdn}, Created: m.usn, Changed: m.usn, CreatedAt: time.Unix(1_700_000_010, 0), ChangedAt: time.Unix(1_700_000_010, 0)}
		binary.LittleEndian.PutUint64(o.GUID[:], uint64(id))
		if class == "domainDNS" {
			o.Attributes = []tree.Attribute{{Name: "objectSid", Values: []string{sidOf(byte(id))}}}
		}
		m.keep(o)
	}
	base(rootID, 0, "top", "", "")
	base(domainID, rootID, "domainDNS", "dc", "example.test")
	base(euID, rootID, "domainDNS", "dc", "eu.example.test")
	base(4, domainID, "configuration", "cn", "Configuration")
	base(5, domainID, "organizationalUnit", "ou", "Sales")
	base(6, 5, "organizationalUnit", "ou", "North")
	base(7, euID, "container", "cn", "Users")
	base(8, 4, "container", "cn", "Sites")
	return m
}

// TestModel makes random directories and changes of them, and holds every
// answer of the index against a search that looks at everything.
func TestModel(t *testing.T) {
	cold := func(_ context.Context, ids []directory.ObjectID, names []string) (map[directory.ObjectID][]tree.Attribute, error) {
		values := map[directory.ObjectID][]tree.Attribute{}
		for _, id := range ids {
			values[id] = []tree.Attribute{{Name: names[0], Values: []string{fmt.Sprint("photo of ", id)}}}
		}
		return values, nil
	}
	rapid.Check(t, func(t *rapid.T) {
		m := newModel()
		for range rapid.IntRange(0, 12).Draw(t, "objects") {
			m.next++
			m.keep(m.object(t, m.next))
		}
		x := index.New(m.schema, cold)
		l := x.Load()
		for _, o := range m.objects {
			if err := l.Add([]index.Object{*o}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Done(m.usn); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			for range 6 {
				m.compare(t, x)
			}
			m.step(t, x)
		}
		for range 6 {
			m.compare(t, x)
		}
		if got := x.Len(); got != len(m.objects) {
			t.Fatalf("%d objects, want %d", got, len(m.objects))
		}
	})
}
