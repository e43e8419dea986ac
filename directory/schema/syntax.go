package schema

// Syntax is what values of an attribute look like. The set is fixed: an
// extension brings attributes and classes, not syntaxes.
type Syntax uint8

// AD's syntaxes (MS-ADTS 3.1.1.2.2.2) and the few that only LDAP has.
const (
	Unicode Syntax = iota
	Boolean
	Integer
	Enumeration
	LargeInteger
	Octet
	Sid
	ObjectIdentifier
	Numeric
	Printable
	IA5
	Teletex
	CaseExact
	UTCTime
	GeneralizedTime
	SecurityDescriptor
	DistinguishedName
	DNBinary
	ORName
	DNString
	AccessPoint
	PresentationAddress
	ReplicaLink
	UUID
	AttributeTypeText
	ObjectClassText
	MatchingRuleText
	MatchingRuleUseText
	ContentRuleText
	SyntaxText
	syntaxes
)

// form is how values of a syntax are read and compared.
type form uint8

const (
	textFolded form = iota // without case, accents and width
	textIgnore             // without case
	textExact
	digits // spaces do not count
	truth
	number32
	number64
	octets
	sid
	name // of an attribute or class, or an OID
	instant
	dn
	dnData // a DN with data: B:count:hex:DN or S:count:text:DN
	uuid
)

type syntaxInfo struct {
	name  string // the table's
	ad    string // attributeSyntax
	om    int    // oMSyntax
	omObj string // oMObjectClass, hexadecimal
	oid   string // of LDAP
	desc  string
	form  form
	equal,
	order,
	sub string // matching rules
}

// The table is MS-ADTS 3.1.1.2.2.2 with RFC 4517 §3.3's names.
var syntaxTable = [syntaxes]syntaxInfo{
	Unicode:             {"String(Unicode)", "2.5.5.12", 64, "", "1.3.6.1.4.1.1466.115.121.1.15", "Directory String", textFolded, "caseIgnoreMatch", "caseIgnoreOrderingMatch", "caseIgnoreSubstringsMatch"},
	Boolean:             {"Boolean", "2.5.5.8", 1, "", "1.3.6.1.4.1.1466.115.121.1.7", "Boolean", truth, "booleanMatch", "", ""},
	Integer:             {"Integer", "2.5.5.9", 2, "", "1.3.6.1.4.1.1466.115.121.1.27", "INTEGER", number32, "integerMatch", "integerOrderingMatch", ""},
	Enumeration:         {"Enumeration", "2.5.5.9", 10, "", "1.3.6.1.4.1.1466.115.121.1.27", "INTEGER", number32, "integerMatch", "integerOrderingMatch", ""},
	LargeInteger:        {"LargeInteger", "2.5.5.16", 65, "", "1.2.840.113556.1.4.906", "Large Integer", number64, "integerMatch", "integerOrderingMatch", ""},
	Octet:               {"String(Octet)", "2.5.5.10", 4, "", "1.3.6.1.4.1.1466.115.121.1.40", "Octet String", octets, "octetStringMatch", "octetStringOrderingMatch", "octetStringSubstringsMatch"},
	Sid:                 {"String(Sid)", "2.5.5.17", 4, "", "1.3.6.1.4.1.1466.115.121.1.40", "Octet String", sid, "octetStringMatch", "octetStringOrderingMatch", ""},
	ObjectIdentifier:    {"String(Object-Identifier)", "2.5.5.2", 6, "", "1.3.6.1.4.1.1466.115.121.1.38", "OID", name, "objectIdentifierMatch", "", ""},
	Numeric:             {"String(Numeric)", "2.5.5.6", 18, "", "1.3.6.1.4.1.1466.115.121.1.36", "Numeric String", digits, "numericStringMatch", "numericStringOrderingMatch", "numericStringSubstringsMatch"},
	Printable:           {"String(Printable)", "2.5.5.5", 19, "", "1.3.6.1.4.1.1466.115.121.1.44", "Printable String", textExact, "caseExactMatch", "caseExactOrderingMatch", "caseExactSubstringsMatch"},
	IA5:                 {"String(IA5)", "2.5.5.5", 22, "", "1.3.6.1.4.1.1466.115.121.1.26", "IA5 String", textExact, "caseExactIA5Match", "caseExactOrderingMatch", "caseExactSubstringsMatch"},
	Teletex:             {"String(Teletex)", "2.5.5.4", 20, "", "1.2.840.113556.1.4.905", "Case Ignore String", textIgnore, "caseIgnoreMatch", "caseIgnoreOrderingMatch", "caseIgnoreSubstringsMatch"},
	CaseExact:           {"String(Case)", "2.5.5.3", 27, "", "1.2.840.113556.1.4.1362", "Case Exact String", textExact, "caseExactMatch", "caseExactOrderingMatch", "caseExactSubstringsMatch"},
	UTCTime:             {"String(UTC-Time)", "2.5.5.11", 23, "", "1.3.6.1.4.1.1466.115.121.1.53", "UTC Time", instant, "generalizedTimeMatch", "generalizedTimeOrderingMatch", ""},
	GeneralizedTime:     {"String(Generalized-Time)", "2.5.5.11", 24, "", "1.3.6.1.4.1.1466.115.121.1.24", "Generalized Time", instant, "generalizedTimeMatch", "generalizedTimeOrderingMatch", ""},
	SecurityDescriptor:  {"String(NT-Sec-Desc)", "2.5.5.15", 66, "", "1.2.840.113556.1.4.907", "Security Descriptor", octets, "octetStringMatch", "", ""},
	DistinguishedName:   {"Object(DS-DN)", "2.5.5.1", 127, "2B0C0287731C00854A", "1.3.6.1.4.1.1466.115.121.1.12", "DN", dn, "distinguishedNameMatch", "", ""},
	DNBinary:            {"Object(DN-Binary)", "2.5.5.7", 127, "2A864886F7140101010B", "1.2.840.113556.1.4.903", "DN With Binary", dnData, "octetStringMatch", "", ""},
	ORName:              {"Object(OR-Name)", "2.5.5.7", 127, "56060102050B1D", "1.2.840.113556.1.4.1221", "OR Name", dn, "distinguishedNameMatch", "", ""},
	DNString:            {"Object(DN-String)", "2.5.5.14", 127, "2A864886F7140101010C", "1.2.840.113556.1.4.904", "DN With String", dnData, "octetStringMatch", "", ""},
	AccessPoint:         {"Object(Access-Point)", "2.5.5.14", 127, "2B0C0287731C00853E", "1.3.6.1.4.1.1466.115.121.1.2", "Access Point", textIgnore, "caseIgnoreMatch", "", ""},
	PresentationAddress: {"Object(Presentation-Address)", "2.5.5.13", 127, "2B0C0287731C00855C", "1.3.6.1.4.1.1466.115.121.1.43", "Presentation Address", textIgnore, "caseIgnoreMatch", "", ""},
	ReplicaLink:         {"Object(Replica-Link)", "2.5.5.10", 127, "2A864886F71401010106", "1.3.6.1.4.1.1466.115.121.1.40", "Octet String", octets, "octetStringMatch", "", ""},
	UUID:                {"UUID", "2.5.5.12", 64, "", "1.3.6.1.1.16.1", "UUID", uuid, "uuidMatch", "uuidOrderingMatch", ""},
	AttributeTypeText:   {"AttributeTypeDescription", "2.5.5.12", 64, "", "1.3.6.1.4.1.1466.115.121.1.3", "Attribute Type Description", textIgnore, "objectIdentifierFirstComponentMatch", "", ""},
	ObjectClassText:     {"ObjectClassDescription", "2.5.5.12", 64, "", "1.3.6.1.4.1.1466.115.121.1.37", "Object Class Description", textIgnore, "objectIdentifierFirstComponentMatch", "", ""},
	MatchingRuleText:    {"MatchingRuleDescription", "2.5.5.12", 64, "", "1.3.6.1.4.1.1466.115.121.1.30", "Matching Rule Description", textIgnore, "objectIdentifierFirstComponentMatch", "", ""},
	MatchingRuleUseText: {"MatchingRuleUseDescription", "2.5.5.12", 64, "", "1.3.6.1.4.1.1466.115.121.1.31", "Matching Rule Use Description", textIgnore, "objectIdentifierFirstComponentMatch", "", ""},
	ContentRuleText:     {"DITContentRuleDescription", "2.5.5.12", 64, "", "1.3.6.1.4.1.1466.115.121.1.16", "DIT Content Rule Description", textIgnore, "objectIdentifierFirstComponentMatch", "", ""},
	SyntaxText:          {"LDAPSyntaxDescription", "2.5.5.12", 64, "", "1.3.6.1.4.1.1466.115.121.1.54", "LDAP Syntax Description", textIgnore, "objectIdentifierFirstComponentMatch", "", ""},
}

// String gives the syntax's name of AD, "String(Unicode)".
func (s Syntax) String() string { return syntaxTable[s].name }

// OID is the syntax's number in LDAP; several of AD's syntaxes share one.
func (s Syntax) OID() string { return syntaxTable[s].oid }

// AD gives attributeSyntax and oMSyntax.
func (s Syntax) AD() (attributeSyntax string, oMSyntax int) {
	return syntaxTable[s].ad, syntaxTable[s].om
}

// Binary tells whether values are arbitrary bytes: they are base64 where text
// is kept (JSON, LDIF).
func (s Syntax) Binary() bool {
	f := syntaxTable[s].form
	return f == octets || f == sid
}

// DN tells whether values are names of objects and nothing else.
func (s Syntax) DN() bool { return syntaxTable[s].form == dn }

// Text tells whether values are character strings: substrings and prefixes of
// them can be looked for.
func (s Syntax) Text() bool { return syntaxTable[s].form <= digits }

// Numbers tells whether values are integers.
func (s Syntax) Numbers() bool {
	f := syntaxTable[s].form
	return f == number32 || f == number64
}

// Ordered tells whether values have an order (>=, <=, sorting).
func (s Syntax) Ordered() bool { return syntaxTable[s].order != "" }

// Equality, Ordering and Substring give the names of the syntax's matching
// rules, "" for none.
func (s Syntax) Equality() string { return syntaxTable[s].equal }

// Ordering is described at Equality.
func (s Syntax) Ordering() string { return syntaxTable[s].order }

// Substring is described at Equality.
func (s Syntax) Substring() string { return syntaxTable[s].sub }

// syntaxByAD finds a syntax by attributeSyntax and oMSyntax; the object class
// tells those of oMSyntax 127 with one number apart.
func syntaxByAD(ad string, om int, omObj string) (Syntax, bool) {
	found, ok := Syntax(0), false
	for s := range UUID {
		t := &syntaxTable[s]
		if t.ad != ad || t.om != om || s == Sid && ad != "2.5.5.17" {
			continue
		}
		if omObj == "" || t.omObj == omObj {
			return s, true
		}
		if !ok {
			found, ok = s, true
		}
	}
	return found, ok && omObj == ""
}

// syntaxByOID finds the plainest syntax of an LDAP number.
func syntaxByOID(oid string) (Syntax, bool) {
	for s := range syntaxes {
		if syntaxTable[s].oid == oid {
			return s, true
		}
	}
	return 0, false
}

func syntaxByName(name string) (Syntax, bool) {
	for s := range syntaxes {
		if syntaxTable[s].name == name {
			return s, true
		}
	}
	return 0, false
}
