package schema

import (
	"slices"
	"strconv"
	"strings"
)

// The texts of the subschema subentry (RFC 4512 §4.2).

// AttributeTypes are the values of attributeTypes (RFC 4512 §4.1.2).
func (s *Schema) AttributeTypes() []string {
	list := make([]string, len(s.attributes))
	for i, a := range s.attributes {
		list[i] = a.String()
	}
	return list
}

// ObjectClasses are the values of objectClasses (RFC 4512 §4.1.1).
func (s *Schema) ObjectClasses() []string {
	list := make([]string, len(s.classes))
	for i, c := range s.classes {
		list[i] = c.String()
	}
	return list
}

// DITContentRules are the values of dITContentRules (RFC 4512 §4.1.6): which
// auxiliary classes instances of each structural class have from the first, and
// with them which attributes.
func (s *Schema) DITContentRules() []string {
	var list []string
	for _, c := range s.classes {
		if len(c.aux) == 0 || !c.Instantiable() {
			continue
		}
		d := newDescription(c.OID, c.Name)
		var aux, must, may []string
		for _, x := range c.aux {
			aux = append(aux, x.Name)
			must = append(must, x.Must...)
			may = append(may, x.May...)
		}
		d.oids("AUX", aux)
		d.oids("MUST", must)
		d.oids("MAY", may)
		list = append(list, d.end())
	}
	return list
}

// MatchingRules are the values of matchingRules (RFC 4512 §4.1.3).
func (s *Schema) MatchingRules() []string {
	var list []string
	for _, r := range ruleTable {
		d := newDescription(r.OID, r.Name)
		d.word("SYNTAX", r.Syntax.OID())
		list = append(list, d.end())
	}
	return list
}

// MatchingRuleUse are the values of matchingRuleUse (RFC 4512 §4.1.4), of the
// rules that attributes do not have by themselves.
func (s *Schema) MatchingRuleUse() []string {
	var list []string
	for _, r := range ruleTable {
		if r.Kind != RuleBitAnd && r.Kind != RuleBitOr && r.Kind != RuleInChain {
			continue
		}
		var names []string
		for _, a := range s.attributes {
			if r.Fits(a.Syntax) && !a.Secret {
				names = append(names, a.Name)
			}
		}
		d := newDescription(r.OID, r.Name)
		d.oids("APPLIES", names)
		list = append(list, d.end())
	}
	return list
}

// LDAPSyntaxes are the values of ldapSyntaxes (RFC 4512 §4.1.5).
func (s *Schema) LDAPSyntaxes() []string {
	var list []string
	seen := map[string]bool{}
	for x := range syntaxes {
		t := &syntaxTable[x]
		if seen[t.oid] {
			continue
		}
		seen[t.oid] = true
		d := newDescription(t.oid)
		d.quoted("DESC", t.desc)
		if x.Binary() {
			d.quoted("X-NOT-HUMAN-READABLE", "TRUE") // RFC 4520's practice, OpenLDAP's word
		}
		list = append(list, d.end())
	}
	return list
}

// String is the attribute's description (RFC 4512 §4.1.2). Like AD's it names
// no supertype; unlike AD's it names the matching rules.
func (a *Attribute) String() string {
	d := newDescription(a.OID, append([]string{a.Name}, a.Aliases...)...)
	d.quoted("DESC", a.Meaning)
	d.flag("OBSOLETE", a.Defunct)
	d.word("EQUALITY", a.Syntax.Equality())
	d.word("ORDERING", a.Syntax.Ordering())
	d.word("SUBSTR", a.Syntax.Substring())
	syntax := a.Syntax.OID()
	if a.RangeUpper > 0 && (a.Syntax.Text() || a.Syntax.Binary()) {
		syntax += "{" + strconv.Itoa(a.RangeUpper) + "}"
	}
	d.word("SYNTAX", syntax)
	d.flag("SINGLE-VALUE", a.Single)
	if a.Operational { // only these may be NO-USER-MODIFICATION
		d.flag("NO-USER-MODIFICATION", a.ServerOnly)
		d.word("USAGE", "directoryOperation")
	}
	return d.end()
}

// String is the class's description (RFC 4512 §4.1.1) without what its
// auxiliary classes bring: DITContentRules tells that.
func (c *Class) String() string {
	d := newDescription(c.OID, c.Name)
	d.quoted("DESC", c.Description)
	d.flag("OBSOLETE", c.Defunct)
	d.word("SUP", c.Super)
	switch c.Category {
	case Abstract:
		d.flag("ABSTRACT", true)
	case Auxiliary:
		d.flag("AUXILIARY", true)
	case Structural, Type88:
		d.flag("STRUCTURAL", true)
	}
	d.oids("MUST", c.Must)
	d.oids("MAY", c.May)
	return d.end()
}

// description builds "( oid NAME … )".
type description struct{ b strings.Builder }

func newDescription(oid string, names ...string) *description {
	d := &description{}
	d.b.WriteString("( " + oid)
	switch len(names) {
	case 0:
	case 1:
		d.quoted("NAME", names[0])
	default:
		d.b.WriteString(" NAME (")
		for _, n := range names {
			d.b.WriteString(" '" + n + "'")
		}
		d.b.WriteString(" )")
	}
	return d
}

// qd escapes a qdstring (RFC 4512 §4.1).
var qd = strings.NewReplacer(`\`, `\5C`, `'`, `\27`)

func (d *description) quoted(key, text string) {
	if text != "" {
		d.b.WriteString(" " + key + " '" + qd.Replace(text) + "'")
	}
}

func (d *description) word(key, word string) {
	if word != "" {
		d.b.WriteString(" " + key + " " + word)
	}
}

func (d *description) flag(key string, set bool) {
	if set {
		d.b.WriteString(" " + key)
	}
}

func (d *description) oids(key string, names []string) {
	names = slices.Clone(names)
	slices.Sort(names)
	switch names = slices.Compact(names); len(names) {
	case 0:
	case 1:
		d.word(key, names[0])
	default:
		d.b.WriteString(" " + key + " ( " + strings.Join(names, " $ ") + " )")
	}
}

func (d *description) end() string {
	d.b.WriteString(" )")
	return d.b.String()
}
