package schema

import (
	"slices"
	"strings"

	"waypost/internal/fault"
)

// Category is the kind of a class (MS-ADTS 3.1.1.2.4.8; the values are
// objectClassCategory's).
type Category int

const (
	// Type88 is of before X.500 (1993): it has instances like a structural one.
	Type88 Category = iota
	// Structural classes have instances.
	Structural
	// Abstract classes are only superclasses.
	Abstract
	// Auxiliary classes add attributes to instances of others.
	Auxiliary
)

// String gives the name that the table and RFC 4512 text use.
func (c Category) String() string {
	switch c {
	case Type88:
		return "type88"
	case Structural:
		return "structural"
	case Abstract:
		return "abstract"
	case Auxiliary:
		return "auxiliary"
	}
	return "unknown"
}

// Class is an object class. It is never changed once it is in a Schema.
type Class struct {
	Name     string // lDAPDisplayName
	OID      string
	Number   int // dense, from 0; its place in Schema.Classes
	Category Category
	Super    string // "" of top alone
	// What the class itself declares; the closures are methods.
	Auxiliaries, Must, May, Superiors []string
	RDN                               string // naming attribute; "" is the superclass's
	// CategoryClass names the class whose schema object is objectCategory of
	// the instances; "" is the class itself.
	CategoryClass string
	Description   string
	Defunct       bool
	Extension     bool // not part of Base

	chain     []*Class // itself first, top last
	aux       []*Class // with theirs
	must      []*Attribute
	allowed   set
	required  set
	superiors []*Class
	under     set // Numbers of classes that it may be under
	rdn       *Attribute
	category  *Class
}

// Chain is the class and its superclasses, itself first, top last.
func (c *Class) Chain() []*Class { return c.chain }

// Helpers are the auxiliary classes that come along, of superclasses too.
func (c *Class) Helpers() []*Class { return c.aux }

// Requires are the attributes that an instance must have, with the inherited
// ones, in order of Number.
func (c *Class) Requires() []*Attribute { return c.must }

// Allows tells whether an instance may have the attribute.
func (c *Class) Allows(a *Attribute) bool { return c.allowed.has(a.Number) }

// Naming is the attribute that names instances.
func (c *Class) Naming() *Attribute { return c.rdn }

// MayBeUnder tells whether an instance may lie directly below one of parent.
func (c *Class) MayBeUnder(parent *Class) bool { return c.under.has(parent.Number) }

// Above are the classes that instances may lie below, with the inherited ones.
func (c *Class) Above() []*Class { return c.superiors }

// ObjectCategory is the class whose schema object is objectCategory of the
// instances: Person for users and contacts.
func (c *Class) ObjectCategory() *Class { return c.category }

// Instantiable tells whether an object's most specific class may be c.
func (c *Class) Instantiable() bool {
	return (c.Category == Structural || c.Category == Type88) && !c.Defunct
}

// IsA tells whether c is other, one of its subclasses, or brings it along as an
// auxiliary class.
func (c *Class) IsA(other *Class) bool {
	return slices.Contains(c.chain, other) || slices.Contains(c.aux, other)
}

// Shape is what an object of some classes may and must have.
type Shape struct {
	Class   *Class   // the most specific structural class
	Extra   []*Class // auxiliary classes that the object names itself
	must    []*Attribute
	allowed set
}

// Allows tells whether the object may have the attribute.
func (s *Shape) Allows(a *Attribute) bool { return s.allowed.has(a.Number) }

// Requires are the attributes that the object must have, in order of Number.
func (s *Shape) Requires() []*Attribute { return s.must }

// ObjectClass gives the values of objectClass in AD's order: top first, the
// most specific class last, auxiliary classes that are not part of it before.
func (s *Shape) ObjectClass() []string {
	var names []string
	for _, c := range slices.Backward(s.Class.chain) {
		names = append(names, c.Name)
	}
	for _, x := range s.Extra {
		names = slices.Insert(names, 1, x.Name)
	}
	return names
}

// Shape finds what an object with these objectClass values may be (RFC 4512
// §2.4): exactly one most specific structural class, of which the superclasses
// may be named or not, and any auxiliary classes. A fault is Invalid.
func (s *Schema) Shape(names []string) (*Shape, error) {
	var shape Shape
	var named []*Class
	for _, n := range names {
		c, ok := s.Class(n)
		if !ok {
			return nil, fault.New(fault.Invalid, "no object class %q", n)
		}
		named = append(named, c)
		if !c.Instantiable() || (shape.Class != nil && slices.Contains(shape.Class.chain, c)) {
			continue
		}
		if shape.Class != nil && !slices.Contains(c.chain, shape.Class) {
			return nil, fault.New(fault.Invalid, "an object is a %s or a %s, not both", shape.Class.Name, c.Name)
		}
		shape.Class = c
	}
	if shape.Class == nil {
		return nil, fault.New(fault.Invalid, "objectClass has no structural class")
	}
	shape.allowed, shape.must = shape.Class.allowed, shape.Class.must
	required := shape.Class.required
	for _, c := range named {
		if shape.Class.IsA(c) {
			continue
		}
		if c.Category != Auxiliary {
			return nil, fault.New(fault.Invalid, "a %s is no %s", shape.Class.Name, c.Name)
		}
		if slices.Contains(shape.Extra, c) {
			continue
		}
		shape.Extra = append(shape.Extra, c)
		shape.allowed = shape.allowed.with(c.allowed)
		required = required.with(c.required)
	}
	if len(shape.Extra) > 0 {
		shape.must = s.attributesOf(required)
	}
	return &shape, nil
}

func (s *Schema) attributesOf(numbers set) []*Attribute {
	var list []*Attribute
	for _, a := range s.attributes {
		if numbers.has(a.Number) {
			list = append(list, a)
		}
	}
	return list
}

// set is a set of Numbers.
type set []uint64

func (s set) has(n int) bool { return n>>6 < len(s) && s[n>>6]>>(n&63)&1 != 0 }

func (s *set) add(n int) {
	for n>>6 >= len(*s) {
		*s = append(*s, 0)
	}
	(*s)[n>>6] |= 1 << (n & 63)
}

func (s set) with(other set) set {
	if len(other) > len(s) {
		s, other = other, s
	}
	both := slices.Clone(s)
	for i, w := range other {
		both[i] |= w
	}
	return both
}

// commonNames are the cn of schema objects that do not follow from the name.
var commonNames = map[string]string{
	"c": "Country-Name", "cn": "Common-Name", "co": "Text-Country", "dc": "Domain-Component",
	"l": "Locality-Name", "o": "Organization-Name", "ou": "Organizational-Unit-Name",
	"sn": "Surname", "st": "State-Or-Province-Name", "street": "Street-Address", "uid": "uid",
	"mail": "E-mail-Addresses", "member": "Member", "memberOf": "Is-Member-Of-DL",
	"name": "RDN", "distinguishedName": "Obj-Dist-Name", "streetAddress": "Address",
	"homePhone": "Phone-Home-Primary", "mobile": "Phone-Mobile-Primary", "pager": "Phone-Pager-Primary",
	"telephoneNumber": "Telephone-Number", "homeMDB": "Home-MDB", "homeMTA": "Home-MTA",
	"mailNickname": "ms-Exch-Mail-Nickname", "info": "Comment", "comment": "User-Comment",
	"sAMAccountName": "SAM-Account-Name", "sAMAccountType": "SAM-Account-Type",
	"uSNChanged": "USN-Changed", "uSNCreated": "USN-Created", "dMD": "DMD", "dITContentRules": "DIT-Content-Rules",
	"inetOrgPerson": "inetOrgPerson", "subSchema": "SubSchema",
}

// CommonName is the cn of the schema object of an attribute or class: the name
// with a hyphen before each word (organizationalUnit: Organizational-Unit).
func CommonName(name string) string {
	if cn, ok := commonNames[name]; ok {
		return cn
	}
	var b strings.Builder
	upper := func(i int) bool { return i < len(name) && name[i] >= 'A' && name[i] <= 'Z' }
	for i := range len(name) {
		switch {
		case i == 0 && !strings.HasPrefix(name, "ms"):
			b.WriteString(strings.ToUpper(name[:1]))
			continue
		case i > 0 && upper(i) && name[i-1] != '-' && (!upper(i-1) || (i+1 < len(name) && !upper(i+1) && name[i+1] != '-')):
			b.WriteByte('-')
		}
		b.WriteByte(name[i])
	}
	return b.String()
}
