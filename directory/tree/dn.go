package tree

import (
	"slices"
	"strings"

	"waypost/directory"
	"waypost/directory/schema"
)

// AVA is an attribute with its value in a name.
type AVA struct{ Attribute, Value string }

// RDN is a relative distinguished name; more than one AVA is multi-valued.
type RDN []AVA

// DN is a distinguished name, most specific RDN first; the empty one is the
// rootDSE's. AD's other forms of a base begin with one RDN that has the
// Attribute ByGUID, BySID or ByWellKnown.
type DN []RDN

// Attributes of AD's forms of a base (MS-ADTS 3.1.1.3.1.2.4). The value of
// ByGUID and ByWellKnown is the 16 bytes as objectGUID has them, that of BySID
// the bytes of objectSid. Behind ByWellKnown comes the DN of the container
// whose wellKnownObjects are meant.
const (
	ByGUID      = "<GUID>"
	BySID       = "<SID>"
	ByWellKnown = "<WKGUID>"
)

// Limits of a name; what exceeds them is ResultInvalidDNSyntax.
const (
	MaxDNBytes = 8 << 10 // as text
	MaxDNDepth = 128     // RDNs
	maxAVAs    = 16      // of one RDN
)

// Special gives the form of a base that is not a name: ByGUID, BySID or
// ByWellKnown with its bytes; "" for a name.
func (dn DN) Special() (form, value string) {
	if len(dn) == 0 || len(dn[0]) != 1 {
		return "", ""
	}
	switch a := dn[0][0]; a.Attribute {
	case ByGUID, BySID, ByWellKnown:
		return a.Attribute, a.Value
	}
	return "", ""
}

// Parent is the name above; the empty name's is itself.
func (dn DN) Parent() DN {
	if len(dn) == 0 {
		return dn
	}
	return dn[1:]
}

// Child is the name of an entry directly below dn.
func (dn DN) Child(rdn RDN) DN {
	child := make(DN, 0, len(dn)+1)
	return append(append(child, rdn), dn...)
}

// Equal tells whether both name one object, however they are written.
func (dn DN) Equal(other DN) bool {
	return len(dn) == len(other) && slices.EqualFunc(dn, other, RDN.Equal)
}

// Equal tells whether both are one RDN: case, the order of its parts and the
// name used for an attribute do not count.
func (r RDN) Equal(other RDN) bool { return len(r) == len(other) && r.Key() == other.Key() }

// Under tells whether dn is base or lies somewhere below it.
func (dn DN) Under(base DN) bool {
	return len(dn) >= len(base) && dn[len(dn)-len(base):].Equal(base)
}

// Key is one text for every way to write the name. Keys of names below have it
// as their end, behind a comma that nothing within an RDN's key can be.
func (dn DN) Key() string {
	b := make([]byte, 0, 96)
	for i, r := range dn {
		if i > 0 {
			b = append(b, ',')
		}
		start := len(b)
		b = r.appendKey(b)
		if strings.ContainsAny(string(b[start:]), `\,`) {
			b = append(b[:start:start], keyEscaper.Replace(string(b[start:]))...)
		}
	}
	return string(b)
}

var keyEscaper = strings.NewReplacer(`\`, `\\`, `,`, `\,`)

// Key is one text for every way to write the RDN: "cn=" and the value folded as
// directory.Fold does. Several parts begin with "+" each, which no single one
// does.
func (r RDN) Key() string { return string(r.appendKey(nil)) }

func (r RDN) appendKey(b []byte) []byte {
	if len(r) == 1 {
		return r[0].appendKey(b)
	}
	parts := make([]string, len(r))
	for i, a := range r {
		parts[i] = strings.ReplaceAll(string(a.appendKey(nil)), "+", `\+`)
	}
	slices.Sort(parts)
	for _, part := range parts {
		b = append(append(b, '+'), part...)
	}
	return b
}

func (a AVA) appendKey(b []byte) []byte {
	switch a.Attribute {
	case ByGUID, BySID, ByWellKnown:
		b = append(append(b, a.Attribute...), '=')
		return append(b, a.Value...)
	}
	b = append(append(b, strings.ToLower(attributeName(a.Attribute))...), '=')
	return append(b, foldValue(a.Value)...)
}

// foldValue folds a value of a name: RFC 4518 §2.6.1's spaces, then as
// everything else that objects are found by. Accents count in names.
func foldValue(v string) string {
	if v == "" {
		return v
	}
	if strings.Contains(v, "  ") || strings.HasPrefix(v, " ") || strings.HasSuffix(v, " ") {
		v = strings.Join(strings.FieldsFunc(v, func(r rune) bool { return r == ' ' }), " ")
	}
	return directory.Fold(v)
}

// attributeName is the schema's spelling of a naming attribute, however it was
// named (commonName, 2.5.4.3); an unknown one stays.
func attributeName(name string) string {
	if a, ok := schema.Base().Attribute(name); ok {
		return a.Name
	}
	return name
}

// String writes the name as AD does (RFC 4514 §2 with upper-case short names);
// ParseDN reads it back.
func (dn DN) String() string {
	var b []byte
	if form, _ := dn.Special(); form != "" {
		return dn.specialString()
	}
	for i, r := range dn {
		if i > 0 {
			b = append(b, ',')
		}
		b = r.AppendTo(b)
	}
	return string(b)
}

// String writes one RDN.
func (r RDN) String() string { return string(r.AppendTo(nil)) }

// AppendTo writes the RDN behind b.
func (r RDN) AppendTo(b []byte) []byte {
	for i, a := range r {
		if i > 0 {
			b = append(b, '+')
		}
		b = append(b, DisplayName(a.Attribute)...)
		b = append(b, '=')
		b = AppendValue(b, a.Value)
	}
	return b
}

// DisplayName is how a naming attribute is written in a name: CN, OU, DC, UID
// and other short ones in upper case, the rest as the schema spells it.
func DisplayName(attribute string) string {
	switch attribute {
	case "cn":
		return "CN"
	case "ou":
		return "OU"
	case "dc":
		return "DC"
	}
	name := attributeName(attribute)
	if len(name) <= 3 {
		return strings.ToUpper(name)
	}
	return name
}

// AppendValue writes a value of a name behind b, escaped as RFC 4514 §2.4 asks.
func AppendValue(b []byte, v string) []byte {
	const hexits = "0123456789ABCDEF"
	for i := range len(v) {
		c := v[i]
		switch {
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', hexits[c>>4], hexits[c&15])
			continue
		case c == '"', c == '+', c == ',', c == ';', c == '<', c == '>', c == '\\',
			c == ' ' && (i == 0 || i == len(v)-1),
			c == '#' && i == 0:
			b = append(b, '\\')
		}
		b = append(b, c)
	}
	return b
}

func (dn DN) specialString() string {
	switch form, value := dn.Special(); {
	case form == ByGUID && len(value) == 16:
		return "<GUID=" + schema.FormatGUID([16]byte([]byte(value))) + ">"
	case form == BySID:
		return "<SID=" + schema.FormatSid(value) + ">"
	default:
		return "<WKGUID=" + hexOf(value) + "," + dn[1:].String() + ">"
	}
}

// DomainDN is the name of a domain's object: the run of its DC components.
func DomainDN(domain string) DN {
	if domain == "" {
		return nil
	}
	var dn DN
	for label := range strings.SplitSeq(domain, ".") {
		dn = append(dn, RDN{{Attribute: "dc", Value: label}})
	}
	return dn
}

// Labels gives the values of the DC components that the name ends with, so that
// the longest run that names a domain can be looked for: the first labels may
// belong to entries named by dc below the domain.
func (dn DN) Labels() []string {
	i := len(dn)
	for i > 0 && len(dn[i-1]) == 1 && strings.EqualFold(attributeName(dn[i-1][0].Attribute), "dc") {
		i--
	}
	var labels []string
	for _, r := range dn[i:] {
		labels = append(labels, r[0].Value)
	}
	return labels
}
