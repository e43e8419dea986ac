package schema

import (
	"slices"
	"strings"
	"testing"

	"waypost/internal/fault"
)

func attribute(t *testing.T, s *Schema, name string) *Attribute {
	t.Helper()
	a, ok := s.Attribute(name)
	if !ok {
		t.Fatalf("no attribute %q", name)
	}
	return a
}

func class(t *testing.T, s *Schema, name string) *Class {
	t.Helper()
	c, ok := s.Class(name)
	if !ok {
		t.Fatalf("no class %q", name)
	}
	return c
}

func TestBaseHasTheWholeTables(t *testing.T) {
	s := Base()
	if got, want := len(s.Attributes()), 572+len(operational); got != want {
		t.Errorf("attributes: got %d, want %d", got, want)
	}
	if got := len(s.Classes()); got != 133 {
		t.Errorf("classes: got %d, want 133", got)
	}
	for n, a := range s.Attributes() {
		if a.Number != n || a.Name == "" || !validOID(a.OID) {
			t.Errorf("attribute %d: %+v", n, a)
		}
		if back, ok := s.Link(a.LinkID - 1); a.Back() && ok && !back.Forward() {
			t.Errorf("%s is the back of %s", a.Name, back.Name)
		}
	}
	for _, a := range s.Attributes() {
		if !slices.ContainsFunc(s.Classes(), func(c *Class) bool { return c.Allows(a) }) && !rootOnly[a.Name] {
			t.Errorf("no class may have %s", a.Name)
		}
	}
	for n, c := range s.Classes() {
		if c.Number != n || c.Chain()[len(c.Chain())-1].Name != "top" {
			t.Errorf("class %d: %s", n, c.Name)
		}
		if c.Instantiable() && c.Naming() == nil {
			t.Errorf("class %s has no naming attribute", c.Name)
		}
	}
}

// rootOnly are the attributes of the rootDSE, which has no class.
var rootOnly = map[string]bool{
	"namingContexts": true, "altServer": true, "supportedExtension": true, "supportedControl": true, "supportedSASLMechanisms": true,
	"supportedLDAPVersion": true, "supportedFeatures": true, "vendorName": true, "vendorVersion": true,
}

func TestAttributeFacts(t *testing.T) {
	s := Base()
	for _, tt := range []struct {
		name string
		fact string
		ok   func(a *Attribute) bool
	}{
		{"MAIL", "as Exchange prepares it", func(a *Attribute) bool {
			return a.ANR() && a.Indexed() && a.SearchFlags == 5 && a.RangeUpper == 256 && a.Single
		}},
		{"0.9.2342.19200300.100.1.3", "by number", func(a *Attribute) bool { return a.Name == "mail" }},
		{"OID.2.5.4.3", "by number, the old way", func(a *Attribute) bool { return a.Name == "cn" }},
		{"commonName", "by its long name", func(a *Attribute) bool { return a.Name == "cn" }},
		{"company", "in the catalog with Exchange", func(a *Attribute) bool { return a.InGlobalCatalog }},
		{"thumbnailPhoto", "not in the catalog", func(a *Attribute) bool { return !a.InGlobalCatalog && a.Syntax == Octet }},
		{"member", "forward link", func(a *Attribute) bool { return a.Forward() && a.LinkID == 2 && !a.ServerOnly }},
		{"memberOf", "back link", func(a *Attribute) bool { return a.Back() && a.ServerOnly && !a.Constructed }},
		{"unicodePwd", "secret", func(a *Attribute) bool { return a.Secret && a.Password() }},
		{"supplementalCredentials", "secret", func(a *Attribute) bool { return a.Secret && !a.Password() }},
		{"subschemaSubentry", "operational", func(a *Attribute) bool { return a.Operational && a.Constructed }},
		{"createTimestamp", "operational", func(a *Attribute) bool { return a.Operational }},
		{"whenCreated", "shown by all, kept by the server", func(a *Attribute) bool { return !a.Operational && a.ServerOnly }},
		{"objectSid", "automatic", func(a *Attribute) bool { return a.Automatic && a.Syntax == Sid }},
		{"legacyExchangeDN", "kept on tombstones", func(a *Attribute) bool { return a.OnTombstone() && a.Syntax == Teletex }},
		{"entryUUID", "operational", func(a *Attribute) bool { return a.Syntax == UUID }},
	} {
		if a := attribute(t, s, tt.name); !tt.ok(a) {
			t.Errorf("%s: not %s: %+v", tt.name, tt.fact, *a)
		}
	}
	if a, ok := s.Attribute("noSuchAttribute"); ok {
		t.Errorf("got %v", a)
	}
	if got := len(s.ANR()); got != 15 {
		t.Errorf("ANR attributes: got %d, want 15", got)
	}
}

func TestClassClosure(t *testing.T) {
	s := Base()
	user := class(t, s, "user")
	for _, name := range []string{"cn", "mail", "proxyAddresses", "homeMDB", "extensionAttribute1", "uidNumber", "sn", "description", "thumbnailPhoto", "userPassword", AccessControlEntry} {
		if !user.Allows(attribute(t, s, name)) {
			t.Errorf("user may not have %s", name)
		}
	}
	if user.Allows(attribute(t, s, "member")) {
		t.Error("user may have member")
	}
	var must []string
	for _, a := range user.Requires() {
		must = append(must, a.Name)
	}
	if want := []string{"objectClass", "objectCategory", "cn", "objectSid", "instanceType", "nTSecurityDescriptor", "sAMAccountName"}; !slices.Equal(must, want) {
		t.Errorf("user must have %v, want %v", must, want)
	}
	for _, tt := range []struct {
		class, parent string
		want          bool
	}{
		{"user", "organizationalUnit", true},
		{"user", "domainDNS", true},
		{"user", "container", true},
		{"inetOrgPerson", "organizationalUnit", true},
		{"user", "user", false},
		{"user", "group", false},
		{"organizationalUnit", "domainDNS", true},
		{"organizationalUnit", "container", false},
		{"domainDNS", "top", true},
		{"contact", "organizationalUnit", true},
		{"msExchDynamicDistributionList", "organizationalUnit", true},
	} {
		if got := class(t, s, tt.class).MayBeUnder(class(t, s, tt.parent)); got != tt.want {
			t.Errorf("%s under %s: got %t, want %t", tt.class, tt.parent, got, tt.want)
		}
	}
	for name, want := range map[string]string{"user": "Person", "contact": "Person", "inetOrgPerson": "Person", "computer": "Computer", "group": "Group", "organizationalUnit": "Organizational-Unit", "domainDNS": "Domain-DNS", "publicFolder": "Public-Folder", "msExchDynamicDistributionList": "ms-Exch-Dynamic-Distribution-List"} {
		if got := CommonName(class(t, s, name).ObjectCategory().Name); got != want {
			t.Errorf("category of %s: got %s, want %s", name, got, want)
		}
	}
	if !user.IsA(class(t, s, "mailRecipient")) || !user.IsA(class(t, s, "person")) || user.IsA(class(t, s, "group")) {
		t.Error("what a user is")
	}
}

func TestShape(t *testing.T) {
	s := Base()
	for _, tt := range []struct{ classes, want string }{
		{"user", "top person organizationalPerson user"},
		{"top person organizationalPerson user", "top person organizationalPerson user"},
		{"USER", "top person organizationalPerson user"},
		{"inetOrgPerson person", "top person organizationalPerson user inetOrgPerson"},
		{"container dynamicObject", "top dynamicObject container"},
		{"user mailRecipient", "top person organizationalPerson user"}, // comes along anyway
		{"user group", ""},
		{"top", ""},
		{"posixAccount", ""},
		{"nothing", ""},
		{"", ""},
	} {
		shape, err := s.Shape(strings.Fields(tt.classes))
		got := ""
		if err == nil {
			got = strings.Join(shape.ObjectClass(), " ")
		} else if fault.Of(err) != fault.Invalid {
			t.Errorf("%q: %v", tt.classes, err)
		}
		if got != tt.want {
			t.Errorf("Shape(%q) = %q (%v), want %q", tt.classes, got, err, tt.want)
		}
	}
	shape, err := s.Shape([]string{"container", "posixAccount"})
	if err != nil || !shape.Allows(attribute(t, s, "uidNumber")) {
		t.Errorf("an auxiliary class brings no attribute: %v", err)
	}
}

// What a schema says of itself can be read back, as text and as objects.
func TestDescriptionsAreReadBack(t *testing.T) {
	s := Base()
	for _, a := range s.Attributes() {
		got, err := s.ParseAttribute(a.String())
		if err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		if got.Name != a.Name || got.OID != a.OID || got.Syntax.OID() != a.Syntax.OID() || got.Single != a.Single ||
			got.Operational != a.Operational || got.Meaning != a.Meaning || !slices.Equal(got.Aliases, a.Aliases) {
			t.Errorf("%s\nread back as %s", a, &got)
		}
		got, err = AttributeFrom(getter(a.Fields()))
		if err != nil {
			t.Fatalf("%s: %v", a.Name, err)
		}
		if got.Syntax != a.Syntax && a.Syntax < UUID || got.SearchFlags != a.SearchFlags || got.LinkID != a.LinkID || got.RangeUpper != a.RangeUpper ||
			got.InGlobalCatalog != a.InGlobalCatalog || got.Constructed != a.Constructed || got.Single != a.Single {
			t.Errorf("%s: object read back as %+v", a.Name, got)
		}
		for _, f := range a.Fields() {
			checkValues(t, s, f)
		}
	}
	for _, c := range s.Classes() {
		got, err := ParseClass(c.String())
		if err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		if got.Name != c.Name || got.OID != c.OID || len(got.Must) != len(c.Must) || len(got.May) != len(c.May) {
			t.Errorf("%s\nread back as %s", c, &got)
		}
		got, err = ClassFrom(getter(c.Fields()))
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		if !slices.Equal(got.May, c.May) || !slices.Equal(got.Superiors, c.Superiors) || got.Category != c.Category || !slices.Equal(got.Auxiliaries, c.Auxiliaries) {
			t.Errorf("%s: object read back as %+v", c.Name, got)
		}
		for _, f := range c.Fields() {
			checkValues(t, s, f)
		}
	}
	for _, list := range [][]string{s.DITContentRules(), s.MatchingRules(), s.MatchingRuleUse(), s.LDAPSyntaxes()} {
		for _, text := range list {
			if _, err := parseDescription(text); err != nil {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
}

func getter(fields []Field) func(string) []string {
	return func(name string) []string {
		for _, f := range fields {
			if f.Name == name {
				return f.Values
			}
		}
		return nil
	}
}

func checkValues(t *testing.T, s *Schema, f Field) {
	t.Helper()
	a := attribute(t, s, f.Name)
	for _, v := range f.Values {
		if err := a.Check(v); err != nil {
			t.Errorf("%s %q: %v", f.Name, v, err)
		}
	}
	if a.Single && len(f.Values) > 1 {
		t.Errorf("%s has %d values", f.Name, len(f.Values))
	}
}

func TestDescriptionText(t *testing.T) {
	s := Base()
	got := attribute(t, s, "cn").String()
	want := `( 2.5.4.3 NAME ( 'cn' 'commonName' ) DESC 'Common name\3B RDN of users, groups, contacts, containers, computers' EQUALITY caseIgnoreMatch ORDERING caseIgnoreOrderingMatch SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15{64} SINGLE-VALUE )`
	if got != strings.ReplaceAll(want, `\3B`, ";") {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := attribute(t, s, "entryUUID").String(); !strings.HasSuffix(got, "SINGLE-VALUE NO-USER-MODIFICATION USAGE directoryOperation )") {
		t.Errorf("got %s", got)
	}
}

func TestCommonNamesAreUnique(t *testing.T) {
	s := Base()
	seen := map[string]string{}
	add := func(name string) {
		cn := strings.ToLower(CommonName(name))
		if other, ok := seen[cn]; ok {
			t.Errorf("%s and %s are both %s", name, other, cn)
		}
		seen[cn] = name
	}
	for _, a := range s.Attributes() {
		add(a.Name)
	}
	for _, c := range s.Classes() {
		add(c.Name)
	}
}
