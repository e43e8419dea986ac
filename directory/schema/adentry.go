package schema

import (
	"crypto/sha1" // RFC 9562 §5.5 makes UUIDs with it
	"encoding/hex"
	"strconv"
	"strings"

	"waypost/internal/fault"
)

// Field is an attribute of a schema object with its values.
type Field struct {
	Name   string
	Values []string
}

// Fields are the attributes of the attributeSchema object below the schema
// container (MS-ADTS 3.1.1.2.3), without those that need a name of an object or
// a change number.
func (a *Attribute) Fields() []Field {
	ad, om := a.Syntax.AD()
	f := schemaFields("attributeSchema", a.Name, a.OID, a.Meaning, a.Extension, a.Defunct)
	f.add("attributeID", a.OID)
	f.add("attributeSyntax", ad)
	f.add("oMSyntax", strconv.Itoa(om))
	if hexa := syntaxTable[a.Syntax].omObj; hexa != "" {
		raw, _ := hex.DecodeString(hexa) // of our own table; a test reads all
		f.add("oMObjectClass", string(raw))
	}
	f.add("isSingleValued", boolean(a.Single))
	f.add("searchFlags", strconv.FormatUint(uint64(a.SearchFlags), 10))
	f.add("systemFlags", strconv.Itoa(a.SystemFlags()))
	f.add("systemOnly", boolean(a.ServerOnly))
	if a.InGlobalCatalog {
		f.add("isMemberOfPartialAttributeSet", "TRUE")
	}
	if a.LinkID != 0 {
		f.add("linkID", strconv.Itoa(a.LinkID))
	}
	if a.RangeLower != 0 {
		f.add("rangeLower", strconv.Itoa(a.RangeLower))
	}
	if a.RangeUpper != 0 {
		f.add("rangeUpper", strconv.Itoa(a.RangeUpper))
	}
	return f
}

// Fields are the attributes of the classSchema object, as for an attribute.
// defaultObjectCategory is the name of ObjectCategory's schema object.
func (c *Class) Fields() []Field {
	f := schemaFields("classSchema", c.Name, c.OID, c.Description, c.Extension, c.Defunct)
	f.add("governsID", c.OID)
	f.add("objectClassCategory", strconv.Itoa(int(c.Category)))
	super := c.Super
	if super == "" {
		super = "top" // top is below itself
	}
	f.add("subClassOf", super)
	if c.rdn != nil {
		f.add("rDNAttID", c.rdn.Name)
	}
	prefix := func(plain, system string) string {
		if c.Extension {
			return plain
		}
		return system
	}
	f.add(prefix("mustContain", "systemMustContain"), c.Must...)
	f.add(prefix("mayContain", "systemMayContain"), c.May...)
	f.add(prefix("auxiliaryClass", "systemAuxiliaryClass"), c.Auxiliaries...)
	f.add(prefix("possSuperiors", "systemPossSuperiors"), c.Superiors...)
	return f
}

type fieldList []Field

func (f *fieldList) add(name string, values ...string) {
	if len(values) > 0 {
		*f = append(*f, Field{name, values})
	}
}

func schemaFields(class, name, oid, meaning string, extension, defunct bool) fieldList {
	var f fieldList
	f.add("objectClass", "top", class)
	f.add("cn", CommonName(name))
	f.add("name", CommonName(name))
	f.add("lDAPDisplayName", name)
	f.add("adminDisplayName", CommonName(name))
	if meaning != "" {
		f.add("adminDescription", meaning)
	}
	f.add("schemaIDGUID", string(idGUID(oid)))
	f.add("showInAdvancedViewOnly", "TRUE")
	if defunct {
		f.add("isDefunct", "TRUE")
	}
	if !extension && class == "classSchema" {
		f.add("systemFlags", "16")
	}
	return f
}

func boolean(b bool) string {
	if b {
		return "TRUE"
	}
	return "FALSE"
}

// idGUID is a schema object's schemaIDGUID, made of its OID (RFC 9562 §5.5 in
// the name space of OIDs), in objectGUID's order of bytes.
func idGUID(oid string) []byte {
	space := [16]byte{0x6b, 0xa7, 0xb8, 0x12, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8}
	sum := sha1.Sum(append(space[:], oid...))
	u := [16]byte(sum[:16])
	u[6], u[8] = u[6]&0x0f|0x50, u[8]&0x3f|0x80
	g := SwapGUID(u)
	return g[:]
}

// AttributeFrom makes an attribute of the values of an attributeSchema object,
// as an LDAP client adds it below the schema container; get gives the values of
// a name. Faults are Invalid.
func AttributeFrom(get func(name string) []string) (Attribute, error) {
	r := reader{get: get}
	a := Attribute{
		Name: r.text("lDAPDisplayName"), OID: r.text("attributeID"), Meaning: r.text("adminDescription"),
		Single: r.truth("isSingleValued"), InGlobalCatalog: r.truth("isMemberOfPartialAttributeSet"),
		SearchFlags: SearchFlags(r.number("searchFlags")), LinkID: r.number("linkID"),
		RangeLower: r.number("rangeLower"), RangeUpper: r.number("rangeUpper"),
		Constructed: r.number("systemFlags")&4 != 0, NotReplicated: r.number("systemFlags")&1 != 0,
		Defunct: r.truth("isDefunct"), ServerOnly: r.truth("systemOnly"), Extension: true,
	}
	a.Operational = a.Constructed
	if a.Name == "" {
		a.Name = displayName(r.text("cn"))
	}
	var ok bool
	ad, om := r.text("attributeSyntax"), r.number("oMSyntax")
	if a.Syntax, ok = syntaxByAD(ad, om, strings.ToUpper(hex.EncodeToString([]byte(r.text("oMObjectClass"))))); !ok && r.err == nil {
		r.err = fault.New(fault.Invalid, "attribute %s: no syntax %s with oMSyntax %d", a.Name, ad, om)
	}
	if (a.Name == "" || a.OID == "") && r.err == nil {
		r.err = fault.New(fault.Invalid, "an attribute needs lDAPDisplayName and attributeID")
	}
	return a, r.err
}

// ClassFrom makes a class of the values of a classSchema object. Faults are
// Invalid.
func ClassFrom(get func(name string) []string) (Class, error) {
	r := reader{get: get}
	both := func(plain, system string) []string { return union(get(plain), get(system)) }
	c := Class{
		Name: r.text("lDAPDisplayName"), OID: r.text("governsID"), Super: r.text("subClassOf"), RDN: r.text("rDNAttID"),
		Category: Category(r.number("objectClassCategory")), Description: r.text("adminDescription"),
		Must: both("mustContain", "systemMustContain"), May: both("mayContain", "systemMayContain"),
		Auxiliaries: both("auxiliaryClass", "systemAuxiliaryClass"), Superiors: both("possSuperiors", "systemPossSuperiors"),
		Defunct: r.truth("isDefunct"), Extension: true,
	}
	if c.Name == "" {
		c.Name = displayName(r.text("cn"))
	}
	if c.Super == "top" && c.Name == "top" { // AD has it below itself
		return Class{Name: "top", OID: c.OID, Category: c.Category, May: c.May, Auxiliaries: c.Auxiliaries, Superiors: c.Superiors, RDN: c.RDN, Must: c.Must}, r.err
	}
	switch {
	case r.err != nil:
	case c.Name == "" || c.OID == "" || c.Super == "":
		r.err = fault.New(fault.Invalid, "a class needs lDAPDisplayName, governsID and subClassOf")
	case c.Category < Type88 || c.Category > Auxiliary:
		r.err = fault.New(fault.Invalid, "class %s: objectClassCategory is 0 to 3", c.Name)
	}
	return c, r.err
}

// displayName is what AD makes lDAPDisplayName of when it is left out: the cn
// without hyphens, the first letter small (MS-ADTS 3.1.1.2.3.4).
func displayName(cn string) string {
	cn = strings.ReplaceAll(cn, "-", "")
	if cn == "" {
		return ""
	}
	return strings.ToLower(cn[:1]) + cn[1:]
}

// reader reads values and keeps the first fault.
type reader struct {
	get func(string) []string
	err error
}

func (r *reader) text(name string) string {
	if v := r.get(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

func (r *reader) truth(name string) bool {
	v := r.text(name)
	if v != "" && Boolean.Validate(v) != nil && r.err == nil {
		r.err = fault.New(fault.Invalid, "%s is TRUE or FALSE", name)
	}
	return v == "TRUE"
}

func (r *reader) number(name string) int {
	v := r.text(name)
	if v == "" {
		return 0
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil && r.err == nil {
		r.err = fault.From(fault.Invalid, err, "%s is a number", name)
	}
	return int(n)
}
