package ldap

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	goldap "github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"

	"waypost/directory/tree"
)

func find(filter string, attributes ...string) *goldap.SearchRequest {
	return goldap.NewSearchRequest("DC=example,DC=test", goldap.ScopeWholeSubtree, goldap.NeverDerefAliases, 0, 0, false, filter, attributes, nil)
}

func rootDSE(t testing.TB, c *goldap.Conn, attributes ...string) *goldap.Entry {
	t.Helper()
	r, err := c.Search(goldap.NewSearchRequest("", goldap.ScopeBaseObject, 0, 0, 0, false, "(objectClass=*)", attributes, nil))
	if err != nil || len(r.Entries) != 1 {
		t.Fatalf("rootDSE: %v, %v", r, err)
	}
	return r.Entries[0]
}

func TestRootDSE(t *testing.T) {
	w := start(t)
	c := dial(t, w.addr)
	e := rootDSE(t, c)
	for _, name := range []string{
		"configurationNamingContext", "currentTime", "defaultNamingContext", "dnsHostName", "dsServiceName",
		"highestCommittedUSN", "ldapServiceName", "namingContexts", "rootDomainNamingContext", "schemaNamingContext",
		"serverName", "subschemaSubentry", "supportedControl", "supportedExtension", "supportedLDAPPolicies",
		"supportedLDAPVersion", "supportedSASLMechanisms", "isSynchronized", "isGlobalCatalogReady",
		"domainFunctionality", "forestFunctionality", "domainControllerFunctionality", "vendorName", "supportedFeatures",
	} {
		if e.GetAttributeValue(name) == "" {
			t.Errorf("the rootDSE has no %s", name)
		}
	}
	if got := e.GetAttributeValue("subschemaSubentry"); got != "CN=Aggregate,CN=Schema,CN=Configuration,DC=example,DC=test" {
		t.Errorf("subschemaSubentry: %s", got)
	}
	if e.GetAttributeValue("dsSchemaAttrCount") != "" || e.GetAttributeValue("supportedCapabilities") != "" {
		t.Error("what was not asked for is shown")
	}
	if got := rootDSE(t, c, "dsSchemaAttrCount", "DNSHOSTNAME"); len(got.Attributes) != 2 {
		t.Errorf("two were asked for: %v", got.Attributes)
	}
	if got := rootDSE(t, c, "1.1"); len(got.Attributes) != 0 {
		t.Errorf("none was asked for: %v", got.Attributes)
	}
	if got := rootDSE(t, dial(t, start(t, func(c *Config) { c.ActiveDirectory = true }).addr)).GetAttributeValues("supportedCapabilities"); len(got) == 0 || got[0] != "1.2.840.113556.1.4.800" {
		t.Errorf("capabilities: %v", got)
	}
	r, err := c.Search(goldap.NewSearchRequest("", goldap.ScopeBaseObject, 0, 0, 0, false, "(objectClass=person)", nil, nil))
	if err != nil || len(r.Entries) != 0 {
		t.Errorf("a filter that the rootDSE does not meet: %v, %v", r, err)
	}
	// The controls and extensions are those of the tables.
	if n := len(e.GetAttributeValues("supportedControl")); n != len(controlTable) {
		t.Errorf("%d controls are shown, %d known", n, len(controlTable))
	}
}

func TestSubschema(t *testing.T) {
	w := start(t)
	c := w.in(t)
	const name = "CN=Aggregate,CN=Schema,CN=Configuration,DC=example,DC=test"
	r, err := c.Search(goldap.NewSearchRequest(name, goldap.ScopeBaseObject, 0, 0, 0, false, "(objectClass=subschema)", []string{"attributeTypes", "objectClasses", "ldapSyntaxes", "matchingRules"}, nil))
	if err != nil || len(r.Entries) != 1 {
		t.Fatalf("%v, %v", r, err)
	}
	e := r.Entries[0]
	if n := len(e.GetAttributeValues("attributeTypes")); n < 500 {
		t.Errorf("%d attribute types", n)
	}
	if n := len(e.GetAttributeValues("objectClasses")); n < 100 {
		t.Errorf("%d classes", n)
	}
}

func TestSearch(t *testing.T) {
	w := start(t)
	c := w.in(t)
	for _, tt := range []struct {
		what    string
		req     *goldap.SearchRequest
		want    code
		dns     []string
		matched string
	}{
		{"equality", find("(mail=ANN@example.test)"), 0, []string{"CN=ann"}, ""},
		{"or", find("(|(cn=ann)(cn=bob))"), 0, []string{"CN=ann", "CN=bob"}, ""},
		{"and not", find("(&(objectClass=person)(!(cn=ann)))"), 0, []string{"CN=bob"}, ""},
		{"substrings", find("(mail=a*@*test)"), 0, []string{"CN=ann"}, ""},
		{"present", find("(sn=*)"), 0, []string{"CN=ann", "CN=bob"}, ""},
		{"greater", find("(sn>=b)"), 0, []string{"CN=bob"}, ""},
		{"approximately", find("(sn~=ANN)"), 0, []string{"CN=ann"}, ""},
		{"extensible", find("(sn:caseExactMatch:=ann)"), 0, []string{"CN=ann"}, ""},
		{"extensible with dn", find("(cn:dn:=ann)"), 0, []string{"CN=ann"}, ""},
		{"true and false", find("(&)"), 0, []string{"DC=example", "OU=People", "OU=Groups", "CN=ann", "CN=bob"}, ""},
		{"unknown attribute", find("(noSuchThing=x)"), 0, nil, ""},
		{"not of it", find("(!(noSuchThing=x))"), 0, nil, ""},
		{"base", goldap.NewSearchRequest("OU=People,DC=example,DC=test", goldap.ScopeBaseObject, 0, 0, 0, false, "(objectClass=*)", nil, nil), 0, []string{"OU=People"}, ""},
		{"one level", goldap.NewSearchRequest("OU=People,DC=example,DC=test", goldap.ScopeSingleLevel, 0, 0, 0, false, "(objectClass=*)", nil, nil), 0, []string{"CN=ann", "CN=bob"}, ""},
		{"no such base", goldap.NewSearchRequest("CN=x,OU=People,DC=example,DC=test", goldap.ScopeBaseObject, 0, 0, 0, false, "(objectClass=*)", nil, nil), codeNoSuchObject, nil, "OU=People,DC=example,DC=test"},
		{"no name", goldap.NewSearchRequest("what", goldap.ScopeBaseObject, 0, 0, 0, false, "(objectClass=*)", nil, nil), codeInvalidDN, nil, ""},
		{"everything", goldap.NewSearchRequest("", goldap.ScopeWholeSubtree, 0, 0, 0, false, "(objectClass=*)", nil, nil), codeNoSuchObject, nil, ""},
		{"size limit", goldap.NewSearchRequest("DC=example,DC=test", goldap.ScopeWholeSubtree, 0, 1, 0, false, "(sn=*)", nil, nil), codeSizeLimit, []string{"CN=ann"}, ""},
		{"size limit just met", goldap.NewSearchRequest("DC=example,DC=test", goldap.ScopeWholeSubtree, 0, 2, 0, false, "(sn=*)", nil, nil), 0, []string{"CN=ann", "CN=bob"}, ""},
		{"scope 3", goldap.NewSearchRequest("DC=example,DC=test", 3, 0, 0, 0, false, "(sn=*)", nil, nil), codeProtocolError, nil, ""},
	} {
		r, err := c.Search(tt.req)
		wantCode(t, tt.what, err, tt.want)
		var got []string
		if r != nil {
			for _, e := range r.Entries {
				first, _, _ := strings.Cut(e.DN, ",")
				got = append(got, first)
			}
		}
		if d := cmp.Diff(tt.dns, got); d != "" {
			t.Errorf("%s: %s", tt.what, d)
		}
		if e, ok := err.(*goldap.Error); ok && e.MatchedDN != tt.matched { //nolint:errorlint // as the library gives it
			t.Errorf("%s: matched %q, want %q", tt.what, e.MatchedDN, tt.matched)
		}
	}
}

func TestAnonymousSeesTheRootDSEOnly(t *testing.T) {
	w := start(t)
	c := dial(t, w.addr)
	_, err := c.Search(find("(cn=ann)"))
	wantCode(t, "search", err, codeOperationsError)
	wantCode(t, "add", c.Add(goldap.NewAddRequest("CN=x,DC=example,DC=test", nil)), codeOperationsError)
	wantCode(t, "delete", c.Del(goldap.NewDelRequest("CN=x,DC=example,DC=test", nil)), codeOperationsError)
	_, err = c.Compare("CN=ann,OU=People,DC=example,DC=test", "cn", "ann")
	wantCode(t, "compare", err, codeOperationsError)
	open := dial(t, start(t, func(c *Config) { c.Anonymous = true }).addr)
	if r, err := open.Search(find("(cn=ann)")); err != nil || len(r.Entries) != 1 {
		t.Errorf("where it is allowed: %v, %v", r, err)
	}
}

func TestAttributeSelection(t *testing.T) {
	w := start(t)
	w.tree.put("CN=x,OU=People,DC=example,DC=test", "objectClass", "person", "cn", "x", "userCertificate", "\x30\x00", "description", "d")
	c := w.in(t)
	for _, tt := range []struct {
		want []string
		ask  []string
	}{
		{[]string{"cn", "description"}, []string{"CN", "2.5.4.13"}},
		{[]string{"userCertificate;binary"}, []string{"userCertificate;binary"}},
		{[]string{"userCertificate"}, []string{"usercertificate"}},
		{nil, []string{"1.1"}},
		{nil, []string{"noSuchThing"}},
		{nil, []string{"cn;lang-de"}},
		{[]string{"cn"}, []string{"cn", "noSuchThing"}},
		{[]string{"cn"}, []string{"1.1", "commonName"}},
	} {
		r, err := c.Search(find("(cn=x)", tt.ask...))
		if err != nil || len(r.Entries) != 1 {
			t.Fatalf("%v: %v, %v", tt.ask, r, err)
		}
		var got []string
		for _, a := range r.Entries[0].Attributes {
			got = append(got, a.Name)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%v: %s", tt.ask, d)
		}
	}
	req := find("(cn=x)", "cn")
	req.TypesOnly = true
	r, err := c.Search(req)
	if err != nil || len(r.Entries[0].Attributes) != 1 || len(r.Entries[0].Attributes[0].Values) != 0 {
		t.Errorf("typesOnly: %v, %v", r, err)
	}
}

func TestRanges(t *testing.T) {
	w := start(t)
	pairs := []string{"objectClass", "group", "cn", "many"}
	for i := range 4321 {
		pairs = append(pairs, "member", fmt.Sprintf("CN=m%04d,DC=example,DC=test", i))
	}
	w.tree.put("CN=many,OU=Groups,DC=example,DC=test", pairs...)
	c := w.in(t)
	for _, tt := range []struct {
		ask, name string
		values    int
	}{
		{"member", "member;range=0-1499", 1500},
		{"member;range=1500-*", "member;range=1500-2999", 1500},
		{"member;range=3000-*", "member;range=3000-*", 1321},
		{"member;range=10-19", "member;range=10-19", 10},
		{"member;range=0-4000", "member;range=0-1499", 1500},
		{"objectClass;range=0-*", "objectClass;range=0-*", 1},
	} {
		r, err := c.Search(find("(cn=many)", tt.ask))
		if err != nil || len(r.Entries) != 1 {
			t.Fatal(tt.ask, err)
		}
		if got := len(r.Entries[0].GetAttributeValues(tt.name)); got != tt.values {
			var names []string
			for _, a := range r.Entries[0].Attributes {
				names = append(names, a.Name)
			}
			t.Errorf("%s: %d values in %s, want %d; there are %v", tt.ask, got, tt.name, tt.values, names)
		}
		if bare := slices.ContainsFunc(r.Entries[0].Attributes, func(a *goldap.EntryAttribute) bool { return a.Name == "member" }); bare != (tt.ask == "member") {
			t.Errorf("%s: the attribute without values is there: %v", tt.ask, bare)
		}
	}
}

func TestReferences(t *testing.T) {
	w := start(t)
	c := w.in(t)
	r, err := c.Search(find("(cn=ann)"))
	want := []string{"ldap://ldap.example.test/CN=Configuration,DC=example,DC=test", "ldap://ldap.example.test/DC=eu,DC=example,DC=test"}
	if err != nil || !slices.Equal(r.Referrals, want) {
		t.Errorf("references: %v, %v", r.Referrals, err)
	}
	req := find("(cn=ann)")
	req.Controls = []goldap.Control{goldap.NewControlString(oidDomainScope, true, "")}
	if r, err = c.Search(req); err != nil || len(r.Referrals) != 0 {
		t.Errorf("in the domain's scope: %v, %v", r, err)
	}
	req = goldap.NewSearchRequest("", goldap.ScopeWholeSubtree, 0, 0, 0, false, "(objectClass=domainDNS)", []string{"1.1"}, []goldap.Control{goldap.NewControlString(oidSearchOptions, true, "\x30\x03\x02\x01\x02")})
	if r, err = c.Search(req); err != nil || len(r.Entries) != 4 {
		t.Errorf("phantom root: %v, %v", r, err)
	}
}

func TestGlobalCatalog(t *testing.T) {
	w := start(t)
	c := dial(t, w.global)
	if err := c.Bind("ann", "secret"); err != nil {
		t.Fatal(err)
	}
	r, err := c.Search(goldap.NewSearchRequest("", goldap.ScopeWholeSubtree, 0, 0, 0, false, "(objectClass=domainDNS)", nil, nil))
	if err != nil || len(r.Entries) != 4 || len(r.Referrals) != 0 {
		t.Errorf("everything: %v, %v", r, err)
	}
	wantCode(t, "delete", c.Del(goldap.NewDelRequest("CN=bob,OU=People,DC=example,DC=test", nil)), codeUnwilling)
}

func TestWrites(t *testing.T) {
	w := start(t)
	c := w.in(t)
	const name = "CN=New,OU=People,DC=example,DC=test"
	add := goldap.NewAddRequest(name, nil)
	add.Attribute("objectClass", []string{"top", "person", "user"})
	add.Attribute("COMMONNAME", []string{"New"})
	add.Attribute("badPwdCount", []string{"4"})
	wantCode(t, "add", c.Add(add), codeSuccess)
	wantCode(t, "add again", c.Add(add), codeEntryExists)
	lost := goldap.NewAddRequest("CN=x,OU=Nowhere,DC=example,DC=test", nil)
	wantCode(t, "add below nothing", c.Add(lost), codeNoSuchObject)
	odd := goldap.NewAddRequest("CN=y,OU=People,DC=example,DC=test", nil)
	odd.Attribute("noSuchThing", []string{"x"})
	wantCode(t, "add with an unknown attribute", c.Add(odd), code(tree.ResultUndefinedType))

	mod := goldap.NewModifyRequest(name, nil)
	mod.Add("description", []string{"one"})
	mod.Replace("sn", []string{"Newman"})
	mod.Increment("badPwdCount", "3")
	wantCode(t, "modify", c.Modify(mod), codeSuccess)
	r, err := c.Search(find("(cn=New)"))
	if err != nil || len(r.Entries) != 1 || r.Entries[0].GetAttributeValue("badPwdCount") != "7" || r.Entries[0].GetAttributeValue("sn") != "Newman" {
		t.Fatalf("after modify: %v, %v", r, err)
	}
	twice := goldap.NewModifyRequest(name, nil)
	twice.Add("description", []string{"one"})
	wantCode(t, "a value twice", c.Modify(twice), code(tree.ResultValueExists))
	twice.Controls = []goldap.Control{goldap.NewControlString(oidPermissive, true, "")}
	wantCode(t, "a value twice, permissive", c.Modify(twice), codeSuccess)

	for _, tt := range []struct {
		attribute, value string
		want             bool
		code             code
	}{{"sn", "NEWMAN", true, 0}, {"sn", "other", false, 0}, {"mail", "x", false, codeNoSuchAttribute}} {
		got, err := c.Compare(name, tt.attribute, tt.value)
		wantCode(t, "compare", err, tt.code)
		if got != tt.want {
			t.Errorf("compare %s with %s: %v", tt.attribute, tt.value, got)
		}
	}
	move := goldap.NewModifyDNRequest(name, "CN=Newer", true, "OU=Groups,DC=example,DC=test")
	wantCode(t, "modifyDN", c.ModifyDN(move), codeSuccess)
	if r, err := c.Search(goldap.NewSearchRequest("CN=Newer,OU=Groups,DC=example,DC=test", 0, 0, 0, 0, false, "(objectClass=*)", nil, nil)); err != nil || len(r.Entries) != 1 {
		t.Errorf("after the move: %v, %v", r, err)
	}
	wantCode(t, "delete of a container", c.Del(goldap.NewDelRequest("OU=Groups,DC=example,DC=test", nil)), code(tree.ResultNotAllowedOnNonLeaf))
	wantCode(t, "tree delete", c.Del(goldap.NewDelRequest("OU=Groups,DC=example,DC=test", []goldap.Control{goldap.NewControlSubtreeDelete()})), codeSuccess)
	wantCode(t, "delete again", c.Del(goldap.NewDelRequest("OU=Groups,DC=example,DC=test", nil)), codeNoSuchObject)
	wantCode(t, "the rootDSE", c.Del(goldap.NewDelRequest("", nil)), codeUnwilling)
	update := goldap.NewModifyRequest("", nil)
	update.Add("schemaUpdateNow", []string{"1"})
	wantCode(t, "schemaUpdateNow", c.Modify(update), codeSuccess)
	readOnly := goldap.NewModifyRequest("", nil)
	readOnly.Replace("currentTime", []string{"1"})
	wantCode(t, "currentTime", c.Modify(readOnly), codeUnwilling)
}

func unicodePwd(s string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(`"` + s + `"`)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return string(b)
}

func TestPasswords(t *testing.T) {
	w := start(t)
	const bob = "CN=bob,OU=People,DC=example,DC=test"
	plain := w.in(t)
	reset := goldap.NewModifyRequest(bob, nil)
	reset.Replace("unicodePwd", []string{unicodePwd("resetted")})
	wantCode(t, "unicodePwd without TLS", plain.Modify(reset), codeUnwilling)

	c, err := goldap.DialURL("ldaps://"+w.secure, goldap.DialWithTLSConfig(clientTLS))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Bind("ann", "secret"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "reset", c.Modify(reset), codeSuccess)
	wantCode(t, "sign in after the reset", dial(t, w.addr).Bind("bob", "resetted"), codeSuccess)

	change := func(attribute, old, fresh string) error {
		m := goldap.NewModifyRequest(bob, nil)
		m.Delete(attribute, []string{old})
		m.Add(attribute, []string{fresh})
		return c.Modify(m)
	}
	wantCode(t, "change", change("unicodePwd", unicodePwd("resetted"), unicodePwd("changed")), codeSuccess)
	err = change("unicodePwd", unicodePwd("resetted"), unicodePwd("again"))
	if wantCode(t, "wrong old one", err, codeConstraintViolation); err != nil && !strings.Contains(err.Error(), "00000056") {
		t.Errorf("wrong old one: %v", err)
	}
	err = change("unicodePwd", unicodePwd("changed"), unicodePwd("x"))
	if wantCode(t, "too short", err, codeConstraintViolation); err != nil && !strings.Contains(err.Error(), "0000052D") {
		t.Errorf("too short: %v", err)
	}
	wantCode(t, "without quotes", change("unicodePwd", "changed", "again"), codeUnwilling)
	wantCode(t, "userPassword", change("userPassword", "changed", "by-user"), codeSuccess)
	hash := goldap.NewModifyRequest(bob, nil)
	hash.Replace("userPassword", []string{"{SSHA}abcdef"})
	wantCode(t, "a hash", c.Modify(hash), codeUnwilling)
	remove := goldap.NewModifyRequest(bob, nil)
	remove.Delete("userPassword", []string{"by-user"})
	wantCode(t, "removing it", c.Modify(remove), codeUnwilling)

	// RFC 3062.
	r, err := plain.PasswordModify(goldap.NewPasswordModifyRequest(bob, "", ""))
	if err != nil || r.GeneratedPassword != "made-up-1" {
		t.Errorf("a made-up password: %+v, %v", r, err)
	}
	_, err = plain.PasswordModify(goldap.NewPasswordModifyRequest("bob@example.test", "made-up-1", "by-mail"))
	wantCode(t, "by address", err, codeSuccess)
	_, err = plain.PasswordModify(goldap.NewPasswordModifyRequest("nobody@example.test", "", "whatever"))
	wantCode(t, "of nobody", err, codeNoSuchObject)
	_, err = plain.PasswordModify(goldap.NewPasswordModifyRequest("bob", "wrong", "whatever"))
	wantCode(t, "wrong old password", err, codeConstraintViolation)
	guest := dial(t, w.addr)
	_, err = guest.PasswordModify(goldap.NewPasswordModifyRequest("bob", "wrong", "by-guest"))
	wantCode(t, "by a guest with a wrong password", err, codeInvalidCredentials)
	_, err = guest.PasswordModify(goldap.NewPasswordModifyRequest("bob", "", "by-guest"))
	wantCode(t, "by a guest without a password", err, codeOperationsError)
	_, err = guest.PasswordModify(goldap.NewPasswordModifyRequest("bob", "by-mail", "by-guest"))
	wantCode(t, "by a guest", err, codeSuccess)
	wantCode(t, "the last one", guest.Bind("bob", "by-guest"), codeSuccess)

	// An add with a password: both or neither.
	add := goldap.NewAddRequest("CN=Pw,OU=People,DC=example,DC=test", nil)
	add.Attribute("objectClass", []string{"user"})
	add.Attribute("userPassword", []string{"x"})
	wantCode(t, "add with a bad password", c.Add(add), codeConstraintViolation)
	if r, err := c.Search(find("(cn:dn:=Pw)")); err != nil || len(r.Entries) != 0 {
		t.Errorf("it stays: %v, %v", r, err)
	}
}

func TestStartTLS(t *testing.T) {
	w := start(t)
	c := w.in(t)
	if err := c.StartTLS(clientTLS); err != nil {
		t.Fatal(err)
	}
	if r, err := c.WhoAmI(nil); err != nil || r.AuthzID != `u:EXAMPLE\ann` {
		t.Errorf("after StartTLS: %+v, %v", r, err)
	}
	// The library refuses to ask twice by itself.
	if _, err := c.Extended(goldap.NewExtendedRequest(oidStartTLS, nil)); codeOf(err) != codeOperationsError {
		t.Errorf("StartTLS twice: %v", err)
	}
	none := start(t, func(c *Config) { c.TLS = nil })
	_, err := dial(t, none.addr).Extended(goldap.NewExtendedRequest(oidStartTLS, nil))
	wantCode(t, "without a certificate", err, codeUnavailable)
	_, err = c.Extended(goldap.NewExtendedRequest("1.2.3.4", nil))
	wantCode(t, "an unknown extension", err, codeProtocolError)
}
