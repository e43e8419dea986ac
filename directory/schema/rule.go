package schema

import "strconv"

// Rule is a matching rule (RFC 4512 §4.1.3).
type Rule struct {
	Name, OID string
	Kind      RuleKind
	Syntax    Syntax // of the assertion value
	form      form
}

// RuleKind is what a rule does with a value and an assertion.
type RuleKind int

const (
	// RuleEqual compares keys.
	RuleEqual RuleKind = iota
	// RuleOrder compares Order keys; in an extensible filter it is "less than".
	RuleOrder
	// RuleSubstrings looks for parts.
	RuleSubstrings
	// RuleBitAnd wants all bits of the assertion set (MS-ADTS 3.1.1.3.4.4.1).
	RuleBitAnd
	// RuleBitOr wants any of them set.
	RuleBitOr
	// RuleInChain follows links of links (MS-ADTS 3.1.1.3.4.4.3).
	RuleInChain
	// RuleFirst compares the OID that a schema description begins with.
	RuleFirst
)

// OIDs of AD's matching rules (MS-ADTS 3.1.1.3.4.4).
const (
	BitAnd  = "1.2.840.113556.1.4.803"
	BitOr   = "1.2.840.113556.1.4.804"
	InChain = "1.2.840.113556.1.4.1941"
)

var ruleTable = []*Rule{
	// RFC 4517 §4.2.
	{"objectIdentifierMatch", "2.5.13.0", RuleEqual, ObjectIdentifier, name},
	{"distinguishedNameMatch", "2.5.13.1", RuleEqual, DistinguishedName, dn},
	{"caseIgnoreMatch", "2.5.13.2", RuleEqual, Unicode, textFolded},
	{"caseIgnoreOrderingMatch", "2.5.13.3", RuleOrder, Unicode, textFolded},
	{"caseIgnoreSubstringsMatch", "2.5.13.4", RuleSubstrings, Unicode, textFolded},
	{"caseExactMatch", "2.5.13.5", RuleEqual, CaseExact, textExact},
	{"caseExactOrderingMatch", "2.5.13.6", RuleOrder, CaseExact, textExact},
	{"caseExactSubstringsMatch", "2.5.13.7", RuleSubstrings, CaseExact, textExact},
	{"numericStringMatch", "2.5.13.8", RuleEqual, Numeric, digits},
	{"numericStringOrderingMatch", "2.5.13.9", RuleOrder, Numeric, digits},
	{"numericStringSubstringsMatch", "2.5.13.10", RuleSubstrings, Numeric, digits},
	{"booleanMatch", "2.5.13.13", RuleEqual, Boolean, truth},
	{"integerMatch", "2.5.13.14", RuleEqual, Integer, number64},
	{"integerOrderingMatch", "2.5.13.15", RuleOrder, Integer, number64},
	{"octetStringMatch", "2.5.13.17", RuleEqual, Octet, octets},
	{"octetStringOrderingMatch", "2.5.13.18", RuleOrder, Octet, octets},
	{"octetStringSubstringsMatch", "2.5.13.19", RuleSubstrings, Octet, octets},
	{"generalizedTimeMatch", "2.5.13.27", RuleEqual, GeneralizedTime, instant},
	{"generalizedTimeOrderingMatch", "2.5.13.28", RuleOrder, GeneralizedTime, instant},
	{"objectIdentifierFirstComponentMatch", "2.5.13.30", RuleFirst, ObjectIdentifier, name},
	{"caseExactIA5Match", "1.3.6.1.4.1.1466.109.114.1", RuleEqual, IA5, textExact},
	{"caseIgnoreIA5Match", "1.3.6.1.4.1.1466.109.114.2", RuleEqual, IA5, textIgnore},
	{"caseIgnoreIA5SubstringsMatch", "1.3.6.1.4.1.1466.109.114.3", RuleSubstrings, IA5, textIgnore},
	// RFC 4530 §2.2.
	{"uuidMatch", "1.3.6.1.1.16.2", RuleEqual, UUID, uuid},
	{"uuidOrderingMatch", "1.3.6.1.1.16.3", RuleOrder, UUID, uuid},
	// AD's; it lists them nowhere, clients know them by number.
	{"bitwiseAndMatch", BitAnd, RuleBitAnd, LargeInteger, number64},
	{"bitwiseOrMatch", BitOr, RuleBitOr, LargeInteger, number64},
	{"transitiveMatch", InChain, RuleInChain, DistinguishedName, dn},
	// The sort rule that AD's clients ask for: English (RFC 2891 with
	// MS-ADTS 3.1.1.3.4.1.13). Text sorts alike in every language here.
	{"englishOrderingMatch", "1.2.840.113556.1.4.1499", RuleOrder, Unicode, textFolded},
}

// plain is a syntax of each form, whose keys a rule of the form uses.
var plain = map[form]Syntax{
	textFolded: Unicode, textIgnore: Teletex, textExact: CaseExact, digits: Numeric, truth: Boolean,
	number64: LargeInteger, octets: Octet, name: ObjectIdentifier, instant: GeneralizedTime, dn: DistinguishedName, uuid: UUID,
}

var ruleNames = func() map[string]*Rule {
	m := map[string]*Rule{}
	for _, r := range ruleTable {
		m[r.OID], m[foldName(r.Name)] = r, r
	}
	return m
}()

// LookupRule finds a matching rule by name or OID.
func LookupRule(name string) (*Rule, bool) {
	r, ok := ruleNames[foldName(name)]
	return r, ok
}

// Rules are all matching rules.
func Rules() []*Rule { return ruleTable }

// Fits tells whether the rule can be used with values of the syntax.
func (r *Rule) Fits(s Syntax) bool {
	f := syntaxTable[s].form
	switch r.form {
	case textFolded, textIgnore, textExact:
		return f <= digits || f == name
	case digits:
		return f <= digits
	case number64:
		return f == number32 || f == number64
	case octets:
		return f == octets || f == sid || f <= textExact
	case dn:
		return f == dn
	case name:
		return f == name || r.Kind == RuleFirst && s >= AttributeTypeText
	default:
		return f == r.form
	}
}

// Key is the key of a value or an assertion under the rule; ok is false when it
// cannot be one.
func (r *Rule) Key(value string) (key string, ok bool) {
	s := plain[r.form]
	switch r.Kind {
	case RuleOrder:
		return s.Order(value)
	case RuleBitAnd, RuleBitOr:
		_, err := strconv.ParseInt(value, 10, 64)
		return value, err == nil
	default:
		if r.form != octets && r.form > textExact && s.Validate(value) != nil {
			return "", false
		}
		return s.Key(value), true
	}
}

// Part is the key of a part under a rule of substrings.
func (r *Rule) Part(part string, first, last bool) string {
	return plain[r.form].Part(part, first, last)
}

// Bits tells whether value has all (RuleBitAnd) or any (RuleBitOr) of the bits.
func (r *Rule) Bits(value string, bits int64) bool {
	n, err := strconv.ParseInt(value, 10, 64)
	switch {
	case err != nil:
		return false
	case r.Kind == RuleBitAnd:
		return n&bits == bits
	default:
		return n&bits != 0
	}
}
