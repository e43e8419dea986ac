package schema

import "strconv"

// secrets are kept where no reader comes; what is written to the first two
// sets the account's password.
var secrets = map[string]bool{
	"unicodePwd": true, "userPassword": true, "dBCSPwd": true, "ntPwdHistory": true, "lmPwdHistory": true,
	"supplementalCredentials": true, "trustAuthIncoming": true, "trustAuthOutgoing": true,
	"currentValue": true, "priorValue": true, "initialAuthIncoming": true, "initialAuthOutgoing": true,
}

// serverOnly are attributes that the server keeps, besides the constructed ones
// and the back links (MS-ADTS 3.1.1.5.3.2 names most of them).
var serverOnly = map[string]bool{
	"objectGUID": true, "objectSid": true, "uSNCreated": true, "uSNChanged": true, "whenCreated": true,
	"whenChanged": true, "distinguishedName": true, "name": true, "replPropertyMetaData": true,
	"badPwdCount": true, "badPasswordTime": true, "lastLogon": true, "lastLogonTimestamp": true,
	"lastLogoff": true, "logonCount": true, "sAMAccountType": true, "isRecycled": true,
	"lastKnownParent": true, "msDS-LastKnownRDN": true,
}

// automatic are attributes that classes require and the server gives when the
// client did not (MS-ADTS 3.1.1.5.2.4).
var automatic = map[string]bool{
	"objectCategory": true, "nTSecurityDescriptor": true, "instanceType": true, "objectSid": true,
	"sAMAccountName": true, "groupType": true,
}

// fragments are what people look for from the middle, (cn=*smith*), though AD
// has no index for it.
var fragments = map[string]bool{"mail": true, "displayName": true, "sAMAccountName": true, "proxyAddresses": true, "cn": true}

// aliases are the long names of RFC 4519 §2, RFC 4524 §2 and RFC 2798 for
// attributes that AD has under a short one.
var aliases = map[string][]string{
	"cn": {"commonName"}, "sn": {"surname"}, "l": {"localityName"}, "st": {"stateOrProvinceName"},
	"o": {"organizationName"}, "ou": {"organizationalUnitName"}, "c": {"countryName"},
	"dc": {"domainComponent"}, "uid": {"userid"}, "mail": {"rfc822Mailbox"}, "givenName": {"gn"},
	"mobile": {"mobileTelephoneNumber"}, "pager": {"pagerTelephoneNumber"}, "homePhone": {"homeTelephoneNumber"},
	"facsimileTelephoneNumber": {"fax"}, "co": {"friendlyCountryName"},
}

// categories are the classes whose instances share objectCategory with another
// class (MS-ADTS 3.1.1.2.4.8, defaultObjectCategory).
var categories = map[string]string{
	"user": "person", "contact": "person", "inetOrgPerson": "person", "organizationalPerson": "person",
	"domain": "domainDNS",
}

// AccessControlEntry names the attribute in which administrators see and change
// who may do what at an object, as text (package access). AD's own form,
// nTSecurityDescriptor, is not one that people read.
const AccessControlEntry = "accessControlEntry"

// operational are the attributes that LDAP itself needs and AD has not, or has
// only in its rootDSE. Those of AD are in the table (createTimeStamp,
// modifyTimeStamp, subSchemaSubEntry, structuralObjectClass).
var operational = []Attribute{
	// RFC 4512 §3.4.
	kept("creatorsName", "2.5.18.3", DistinguishedName, true, "Who made the entry"),
	kept("modifiersName", "2.5.18.4", DistinguishedName, true, "Who changed the entry last"),
	kept("governingStructureRule", "2.5.21.10", Integer, true, "Structure rule of the entry; none here"),
	kept("hasSubordinates", "2.5.18.9", Boolean, true, "Whether there are entries below"),
	kept("numSubordinates", "1.3.1.1.4.1.453.16.2.103", Integer, true, "How many entries are directly below"),
	// Ours; its number is made of a UUID (ITU-T X.667 §7).
	{
		Name: AccessControlEntry, OID: "2.25.202478316459284771536081427109736154018", Syntax: Unicode,
		Operational: true, Meaning: "Who may do what here and below, one entry a value",
	},
	// RFC 5020, RFC 4530.
	kept("entryDN", "1.3.6.1.1.20", DistinguishedName, true, "Name of the entry, for filters"),
	kept("entryUUID", "1.3.6.1.1.16.4", UUID, true, "objectGUID as text, for ever the same"),
	// RFC 4512 §4.2.
	kept("matchingRules", "2.5.21.4", MatchingRuleText, false, "Matching rules of the schema"),
	kept("matchingRuleUse", "2.5.21.8", MatchingRuleUseText, false, "What each matching rule can be used with"),
	kept("ldapSyntaxes", "1.3.6.1.4.1.1466.101.120.16", SyntaxText, false, "Syntaxes of the schema"),
	// RFC 4512 §5.1, RFC 3045.
	kept("namingContexts", "1.3.6.1.4.1.1466.101.120.5", DistinguishedName, false, "Naming contexts of this server"),
	kept("altServer", "1.3.6.1.4.1.1466.101.120.6", IA5, false, "Servers to ask when this one is gone"),
	kept("supportedExtension", "1.3.6.1.4.1.1466.101.120.7", ObjectIdentifier, false, "Extended operations"),
	kept("supportedControl", "1.3.6.1.4.1.1466.101.120.13", ObjectIdentifier, false, "Controls"),
	kept("supportedSASLMechanisms", "1.3.6.1.4.1.1466.101.120.14", Unicode, false, "SASL mechanisms"),
	kept("supportedLDAPVersion", "1.3.6.1.4.1.1466.101.120.15", Integer, false, "Versions of LDAP"),
	kept("supportedFeatures", "1.3.6.1.4.1.4203.1.3.5", ObjectIdentifier, false, "Features"),
	kept("vendorName", "1.3.6.1.1.4", CaseExact, true, "Who made the server"),
	kept("vendorVersion", "1.3.6.1.1.5", CaseExact, true, "Version of the server"),
}

func kept(name, oid string, syntax Syntax, single bool, meaning string) Attribute {
	return Attribute{
		Name: name, OID: oid, Syntax: syntax, Single: single, Meaning: meaning,
		Constructed: true, Operational: true, ServerOnly: true,
	}
}

// What the tables' classes lack.
var (
	// The tables leave out who may have these, and what only LDAP has.
	moreMay = map[string][]string{
		"top":                         {AccessControlEntry, "creatorsName", "modifiersName", "hasSubordinates", "numSubordinates", "entryDN", "entryUUID", "parentGUID", "governingStructureRule"},
		"subSchema":                   {"matchingRules", "matchingRuleUse", "ldapSyntaxes"},
		"mailRecipient":               {"msExchRequireAuthToSendTo"},
		"msExchMailStorage":           {"delegateUser", "msExchMailboxFolderSet"},
		"msExchCustomAttributes":      customAttributes(),
		"msExchMessageDeliveryConfig": {"msExchSMTPGlobalIPAcceptList", "msExchSMTPGlobalIPDenyList", "msExchTurfListNames", "msExchSmtpConnectionTurfListDNS", "msExchSmtpConnectionTurfListResponse"},
		"msExchConnectionAgreement":   {"msExchServer1ObjectMatch", "msExchServer2ObjectMatch"},
		"interSiteTransport":          {"siteLinkList"},
		"rIDManager":                  {"rIDAllocationPool", "rIDNextRID"},
	}
	// The forest's domains lie directly below its root, which has the class top.
	moreSuperiors = map[string][]string{
		"domainDNS": {"top"}, "container": {"top"}, "organizationalUnit": {"top"},
		"user": {"container"}, "contact": {"container"},
	}
)

// customAttributes are extensionAttribute1 to 15.
func customAttributes() []string {
	var names []string
	for n := range 15 {
		names = append(names, "extensionAttribute"+strconv.Itoa(n+1))
	}
	return names
}
