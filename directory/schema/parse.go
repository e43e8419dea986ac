package schema

import (
	"encoding/hex"
	"strconv"
	"strings"

	"waypost/internal/fault"
)

// maxDescription bounds the text of a definition, in bytes.
const maxDescription = 64 << 10

// ParseAttribute reads an attribute type description (RFC 4512 §4.1.2), as LDIF
// files with schema extensions have them. SUP takes the syntax and the rules
// from an attribute of s. Extensions (X-…) that are understood: X-AD-INDEX,
// X-AD-ANR, X-AD-GC with 'TRUE'. Faults are Invalid.
func (s *Schema) ParseAttribute(text string) (Attribute, error) {
	f, err := parseDescription(text)
	if err != nil {
		return Attribute{}, err
	}
	a := Attribute{OID: f.oid, Meaning: f.first("DESC"), Extension: true}
	names := f.values["NAME"]
	if len(names) == 0 {
		return a, fault.New(fault.Invalid, "attribute %s has no name", f.oid)
	}
	a.Name, a.Aliases = names[0], names[1:]
	if sup := f.first("SUP"); sup != "" {
		up, ok := s.Attribute(sup)
		if !ok {
			return a, fault.New(fault.Invalid, "attribute %s: no supertype %q", a.Name, sup)
		}
		a.Syntax, a.RangeUpper = up.Syntax, up.RangeUpper
	}
	if x := f.first("SYNTAX"); x != "" {
		x, bound, _ := strings.Cut(strings.Trim(x, "'"), "{") // some quote it
		if bound != "" {
			if a.RangeUpper, err = strconv.Atoi(strings.TrimSuffix(bound, "}")); err != nil {
				return a, fault.New(fault.Invalid, "attribute %s: wrong bound of the syntax", a.Name)
			}
		}
		var ok bool
		if a.Syntax, ok = syntaxFor(x, f.first("EQUALITY")); !ok {
			return a, fault.New(fault.Invalid, "attribute %s: no syntax %s", a.Name, x)
		}
	} else if f.first("SUP") == "" {
		return a, fault.New(fault.Invalid, "attribute %s has neither SYNTAX nor SUP", a.Name)
	}
	a.Single, a.ServerOnly, a.Defunct = f.has("SINGLE-VALUE"), f.has("NO-USER-MODIFICATION"), f.has("OBSOLETE")
	usage := f.first("USAGE")
	a.Operational = usage != "" && usage != "userApplications"
	if f.has("COLLECTIVE") {
		return a, fault.New(fault.Invalid, "attribute %s: there are no collective attributes here", a.Name)
	}
	for key, flag := range map[string]SearchFlags{"X-AD-INDEX": FlagIndex, "X-AD-ANR": FlagANR | FlagIndex} {
		if f.first(key) == "TRUE" {
			a.SearchFlags |= flag
		}
	}
	a.InGlobalCatalog = f.first("X-AD-GC") == "TRUE"
	return a, nil
}

// moreSyntaxes are syntaxes of RFC 4517 §3.3 and RFC 4523 §2 that values here
// have another's form for.
var moreSyntaxes = map[string]Syntax{
	"1.3.6.1.4.1.1466.115.121.1.50": Unicode,   // Telephone Number
	"1.3.6.1.4.1.1466.115.121.1.41": Unicode,   // Postal Address
	"1.3.6.1.4.1.1466.115.121.1.11": Printable, // Country String
	"1.3.6.1.4.1.1466.115.121.1.14": Unicode,   // Delivery Method
	"1.3.6.1.4.1.1466.115.121.1.22": Unicode,   // Facsimile Telephone Number
	"1.3.6.1.4.1.1466.115.121.1.39": Unicode,   // Other Mailbox
	"1.3.6.1.4.1.1466.115.121.1.51": Octet,     // Teletex Terminal Identifier
	"1.3.6.1.4.1.1466.115.121.1.52": Unicode,   // Telex Number
	"1.3.6.1.4.1.1466.115.121.1.34": Unicode,   // Name And Optional UID
	"1.3.6.1.4.1.1466.115.121.1.6":  IA5,       // Bit String
	"1.3.6.1.4.1.1466.115.121.1.5":  Octet,     // Binary
	"1.3.6.1.4.1.1466.115.121.1.8":  Octet,     // Certificate
	"1.3.6.1.4.1.1466.115.121.1.9":  Octet,     // Certificate List
	"1.3.6.1.4.1.1466.115.121.1.10": Octet,     // Certificate Pair
	"1.3.6.1.4.1.1466.115.121.1.23": Octet,     // Fax
	"1.3.6.1.4.1.1466.115.121.1.28": Octet,     // JPEG
	"1.3.6.1.4.1.1466.115.121.1.49": Octet,     // Supported Algorithm
	"1.3.6.1.1.1.0.0":               IA5,       // NIS netgroup triple (RFC 2307)
	"1.3.6.1.1.1.0.1":               IA5,       // boot parameter
}

// syntaxFor finds the syntax of a number, with the equality rule's view of case.
func syntaxFor(oid, equality string) (Syntax, bool) {
	x, ok := syntaxByOID(oid)
	if !ok {
		if x, ok = moreSyntaxes[oid]; !ok {
			return 0, false
		}
	}
	r, known := LookupRule(equality)
	switch {
	case !known || !x.Text():
	case r.form == textExact && x == Unicode:
		x = CaseExact
	case r.form == textFolded && (x == Printable || x == IA5), r.form == textIgnore:
		x = Teletex
	}
	return x, true
}

// ParseClass reads an object class description (RFC 4512 §4.1.1). X-AD-SUPERIOR
// names the classes that instances may lie below, X-AD-RDN the naming
// attribute. Faults are Invalid.
func ParseClass(text string) (Class, error) {
	f, err := parseDescription(text)
	if err != nil {
		return Class{}, err
	}
	c := Class{
		OID: f.oid, Description: f.first("DESC"), Super: f.first("SUP"), Must: f.values["MUST"], May: f.values["MAY"],
		Superiors: f.values["X-AD-SUPERIOR"], RDN: f.first("X-AD-RDN"), Category: Structural, Defunct: f.has("OBSOLETE"), Extension: true,
	}
	names := f.values["NAME"]
	switch {
	case len(names) == 0:
		return c, fault.New(fault.Invalid, "class %s has no name", f.oid)
	case len(f.values["SUP"]) > 1:
		return c, fault.New(fault.Invalid, "class %s: one superclass is wanted", names[0])
	case f.has("ABSTRACT"):
		c.Category = Abstract
	case f.has("AUXILIARY"):
		c.Category = Auxiliary
	}
	c.Name = names[0]
	if c.Super == "" {
		c.Super = "top"
	}
	return c, nil
}

// fields are the parts of a description by keyword; a flag has no values.
type fields struct {
	oid    string
	values map[string][]string
}

func (f fields) first(key string) string {
	if v := f.values[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (f fields) has(key string) bool {
	_, ok := f.values[key]
	return ok
}

// flags are the keywords without a value.
var flags = map[string]bool{
	"OBSOLETE": true, "SINGLE-VALUE": true, "COLLECTIVE": true, "NO-USER-MODIFICATION": true,
	"ABSTRACT": true, "STRUCTURAL": true, "AUXILIARY": true,
}

// parseDescription reads "( oid KEY value KEY ( value … ) … )".
func parseDescription(text string) (fields, error) {
	f := fields{values: map[string][]string{}}
	tokens, ok := tokenize(text)
	wrong := func(what string) (fields, error) {
		return f, fault.New(fault.Invalid, "schema description: %s", what)
	}
	if !ok || len(tokens) < 3 || tokens[0] != "(" || tokens[len(tokens)-1] != ")" {
		return wrong("it is not one pair of parentheses with words and quoted text in it")
	}
	f.oid = tokens[1]
	if !validOID(f.oid) {
		return wrong("it does not begin with a numeric object identifier")
	}
	tokens = tokens[2 : len(tokens)-1]
	for len(tokens) > 0 {
		key := strings.ToUpper(tokens[0])
		tokens = tokens[1:]
		if f.has(key) {
			return wrong(key + " is there twice")
		}
		f.values[key] = nil
		if flags[key] {
			continue
		}
		if len(tokens) == 0 {
			return wrong(key + " has no value")
		}
		if tokens[0] != "(" {
			f.values[key], tokens = []string{unquote(tokens[0])}, tokens[1:]
			continue
		}
		tokens = tokens[1:]
		for {
			if len(tokens) == 0 {
				return wrong(key + " has no end")
			}
			t := tokens[0]
			tokens = tokens[1:]
			if t == ")" {
				break
			}
			if t == "(" {
				return wrong(key + " nests")
			}
			if t != "$" {
				f.values[key] = append(f.values[key], unquote(t))
			}
		}
	}
	return f, nil
}

// tokenize cuts a description; quoted text keeps its first quote.
func tokenize(text string) (tokens []string, ok bool) {
	if len(text) > maxDescription {
		return nil, false
	}
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case ' ', '\t', '\r', '\n':
			i++
		case '(', ')', '$':
			tokens = append(tokens, text[i:i+1])
			i++
		case '\'':
			end := strings.IndexByte(text[i+1:], '\'')
			if end < 0 {
				return nil, false
			}
			tokens = append(tokens, text[i:i+1+end])
			i += end + 2
		default:
			end := strings.IndexAny(text[i:], " \t\r\n()$'")
			if end < 0 {
				end = len(text) - i
			}
			tokens = append(tokens, text[i:i+end])
			i += end
		}
	}
	return tokens, true
}

// unquote takes the first quote of a qdstring and its escapes away.
func unquote(token string) string {
	text, quoted := strings.CutPrefix(token, "'")
	if !quoted || !strings.Contains(text, `\`) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+2 < len(text) {
			if raw, err := hex.DecodeString(text[i+1 : i+3]); err == nil {
				b.WriteByte(raw[0])
				i += 2
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
