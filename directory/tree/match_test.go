package tree

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waypost/directory/schema"
)

var testSchema = schema.Base()

// entry is a Subject over a map; chains are the names that links lead to.
type entry struct {
	dn     string
	values map[string][]string
	chains []string
}

func (e entry) Values(a *schema.Attribute) []string { return e.values[a.Name] }

func (e entry) Name() DN {
	dn, _ := ParseDN(e.dn)
	return dn
}

func (e entry) InChain(_ *schema.Attribute, to DN) bool {
	for _, c := range e.chains {
		if dn, err := ParseDN(c); err == nil && dn.Equal(to) {
			return true
		}
	}
	return false
}

var testGUID, _ = schema.ParseGUID("33221100-5544-7766-8899-aabbccddeeff")

var testEntry = entry{
	dn: "CN=Zoë Müller,OU=Sales,DC=example,DC=test",
	values: map[string][]string{
		"objectClass":           {"top", "person", "organizationalPerson", "user"},
		"objectCategory":        {"CN=Person,CN=Schema,CN=Configuration,DC=example,DC=test"},
		"cn":                    {"Zoë Müller"},
		"givenName":             {"Zoë"},
		"sn":                    {"Müller"},
		"displayName":           {"Zoë  Müller"},
		"mail":                  {"zoe@example.test"},
		"mailNickname":          {"zoe"},
		"proxyAddresses":        {"SMTP:zoe@example.test", "smtp:z.mueller@example.test", "X500:/o=Org/cn=zoe"},
		"legacyExchangeDN":      {"/o=Org/ou=First/cn=Recipients/cn=zoe"},
		"userAccountControl":    {"514"},
		"groupType":             {"-2147483646"},
		"uSNChanged":            {"1000"},
		"whenCreated":           {"20260101000000.0Z"},
		"objectGUID":            {string(testGUID[:])},
		"memberOf":              {"CN=Staff,OU=Groups,DC=example,DC=test"},
		"unixHomeDirectory":     {"/home/Zoe"},
		"accountExpires":        {"9223372036854775807"},
		"mDBUseDefaults":        {"TRUE"},
		"unicodePwd":            {"secret"},
		"telephoneNumber":       {"+49 30 1234"},
		"attributeTypes":        {"( 2.5.4.3 NAME 'cn' )"},
		"msDS-PhoneticLastName": {"myula"},
	},
	chains: []string{"CN=Everybody,OU=Groups,DC=example,DC=test"},
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		filter string
		want   Truth
	}{
		{"(objectClass=*)", True},
		{"(objectClass=USER)", True},
		{"(objectClass=group)", False},
		{"(objectClass=1.2.840.113556.1.5.9)", True},
		{"(2.5.4.0=person)", True},
		{"(cn=zoe muller)", True},
		{"(commonName=ZOË  MÜLLER)", True},
		{"(cn=Zoe)", False},
		{"(mail=ZOE@EXAMPLE.TEST)", True},
		{"(unixHomeDirectory=/home/Zoe)", True},
		{"(unixHomeDirectory=/home/zoe)", False},
		{"(mDBUseDefaults=true)", True},
		{"(mDBUseDefaults=yes)", Undefined},
		// Approximately is without case and accents.
		{"(unixHomeDirectory~=/home/zoe)", True},
		{"(cn~=ZOE MULLER)", True},
		{"(cn~=Zoey)", False},
		// Substrings.
		{"(cn=zo*)", True},
		{"(cn=*mull*)", True},
		{"(cn=*er)", True},
		{"(cn=z*e*m*r)", True},
		{"(cn=zo*zo*)", False},
		{"(cn=zoe muller*muller)", False}, // no overlap
		{"(displayName=zoe m*)", True},
		{"(proxyAddresses=smtp:z*)", True},
		{"(proxyAddresses=*EXAMPLE*)", True},
		{"(memberOf=CN=Staff*)", Undefined},
		{"(uSNChanged=10*)", Undefined},
		// Order.
		{"(uSNChanged>=1000)", True},
		{"(uSNChanged>=1001)", False},
		{"(uSNChanged<=1000)", True},
		{"(uSNChanged>=999)", True}, // by number, not by text
		{"(uSNChanged>=x)", Undefined},
		{"(cn>=y)", True},
		{"(cn<=y)", False},
		{"(whenCreated>=20251231235959.0Z)", True},
		{"(whenCreated>=202601010100+0100)", True},
		{"(whenCreated<=20251231235959Z)", False},
		{"(accountExpires>=9223372036854775807)", True},
		{"(memberOf>=CN=a)", Undefined},
		// AD's way with what is not there.
		{"(company=x)", False},
		{"(!(company=x))", True},
		{"(!(company=*))", True},
		{"(company>=a)", False},
		// What the schema does not know is Undefined, also in Not.
		{"(noSuch=x)", Undefined},
		{"(!(noSuch=x))", Undefined},
		{"(&(cn=zoe*)(noSuch=x))", Undefined},
		{"(|(cn=zoe*)(noSuch=x))", True},
		{"(&(cn=nobody)(noSuch=x))", False},
		{"(|(cn=nobody)(noSuch=x))", Undefined},
		{"(&)", True},
		{"(|)", False},
		{"(!(&))", False},
		// Secrets are not found.
		{"(unicodePwd=secret)", Undefined},
		{"(unicodePwd=*)", Undefined},
		{"(!(unicodePwd=x))", Undefined},
		// objectCategory by class or name.
		{"(objectCategory=person)", True},
		{"(objectCategory=User)", True},
		{"(objectCategory=contact)", True},
		{"(objectCategory=group)", False},
		{"(objectCategory=cn=person,cn=schema,cn=configuration,dc=example,dc=test)", True},
		{"(objectCategory=CN=Person,CN=Schema,CN=Configuration,DC=other)", False},
		{"(objectCategory=nonsense)", Undefined},
		// Names.
		{"(memberOf=cn=staff, ou=groups, dc=EXAMPLE,dc=test)", True},
		{"(memberOf=CN=Others,DC=test)", False},
		{"(memberOf=staff)", Undefined},
		// Bits.
		{"(userAccountControl:1.2.840.113556.1.4.803:=2)", True},
		{"(userAccountControl:1.2.840.113556.1.4.803:=514)", True},
		{"(userAccountControl:1.2.840.113556.1.4.803:=3)", False},
		{"(!(userAccountControl:1.2.840.113556.1.4.803:=3))", True},
		{"(userAccountControl:1.2.840.113556.1.4.804:=3)", True},
		{"(groupType:1.2.840.113556.1.4.803:=2147483648)", True},
		{"(groupType=2147483650)", True},
		{"(sAMAccountType:1.2.840.113556.1.4.803:=1)", Undefined},
		{"(!(sAMAccountType:1.2.840.113556.1.4.803:=1))", Undefined},
		{"(cn:1.2.840.113556.1.4.803:=1)", Undefined},
		{"(userAccountControl:1.2.840.113556.1.4.803:=x)", Undefined},
		// In chain.
		{"(memberOf:1.2.840.113556.1.4.1941:=CN=Everybody,OU=Groups,DC=example,DC=test)", True},
		{"(memberOf:1.2.840.113556.1.4.1941:=CN=Nobody,DC=test)", False},
		{"(cn:1.2.840.113556.1.4.1941:=CN=Nobody,DC=test)", Undefined},
		// Other extensible ones.
		{"(cn:=zoe muller)", True},
		{"(cn:caseExactMatch:=Zoë Müller)", True},
		{"(cn:caseExactMatch:=zoë müller)", False},
		{"(cn:2.5.13.2:=ZOE MULLER)", True},
		{"(cn:integerMatch:=5)", Undefined},
		{"(cn:noSuchMatch:=5)", Undefined},
		{"(ou:dn:=sales)", True},
		{"(ou:=sales)", False},
		{"(:dn:caseIgnoreMatch:=SALES)", True},
		{"(:caseIgnoreMatch:=zoe)", True}, // mailNickname
		{"(:caseIgnoreMatch:=nowhere)", False},
		{"(attributeTypes:objectIdentifierFirstComponentMatch:=2.5.4.3)", Undefined}, // the table has it as text
		// Octets, with AD's other ways to write them.
		{`(objectGUID=\00\11\22\33\44\55\66\77\88\99\aa\bb\cc\dd\ee\ff)`, True},
		{"(objectGUID=33221100-5544-7766-8899-aabbccddeeff)", True},
		{"(objectGUID=x)", False},
		// ANR.
		{"(anr=zo)", True},
		{"(anr=zoe muller)", True},
		{"(anr=mul zo)", True},
		{"(anr=zo mul)", True},
		{"(anr=zo mulx)", False},
		{"(anr==zoe)", True}, // givenName
		{"(anr==zo)", False},
		{"(anr=zo*)", True},
		{"(aNR=smtp:zoe)", True},
		{"(anr=z.mueller)", False}, // behind its type
		{"(anr=/o=Org/ou=First)", False},
		{"(anr=/o=org/ou=first/cn=recipients/cn=ZOE)", True},
		{"(anr=)", False},
		{"(anr=*)", False},
		{"(&(anr=zo)(mailNickname=*)(!(company=*)))", True},
	} {
		f, err := ParseFilter(tt.filter)
		if err != nil {
			t.Errorf("%s: %v", tt.filter, err)
			continue
		}
		if got := Prepare(testSchema, f).Evaluate(testSchema, testEntry); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.filter, got, tt.want)
		}
	}
}

func TestANRRewrite(t *testing.T) {
	f, err := ParseFilter("(&(anr=jo sm)(mail=*))")
	if err != nil {
		t.Fatal(err)
	}
	got := ExpandANR(f, testSchema).String()
	for _, part := range []string{"(&(|", "(displayName=jo sm*)", "(legacyExchangeDN=jo sm)", "(&(givenName=jo*)(sn=sm*))(&(givenName=sm*)(sn=jo*))", ")(mail=*))"} {
		if !strings.Contains(got, part) {
			t.Errorf("%s is not in %s", part, got)
		}
	}
	if want := "(&(anr=jo sm)(mail=*))"; f.String() != want {
		t.Errorf("the filter was changed: %s", f)
	}
	plain, _ := ParseFilter("(&(cn=a)(mail=*))")
	if ExpandANR(plain, testSchema) != plain {
		t.Error("a filter without ANR was copied")
	}
	many, err := ParseFilter("(|" + strings.Repeat("(anr=jo)", 9000) + ")")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(ExpandANR(many, testSchema).String()); n > 200_000 {
		t.Errorf("9,000 questions became %d bytes", n)
	}
	q, ok := (&Filter{Op: Equal, Attribute: "anr", Value: " = jo  sm x "}).ANR()
	if diff := cmp.Diff(ANR{Text: "jo  sm x", Exact: true, First: "jo", Rest: "sm x"}, q); !ok || diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// RFC 3876 §2: values by simple items.
func TestMatchesValue(t *testing.T) {
	a, _ := testSchema.Attribute("proxyAddresses")
	other, _ := testSchema.Attribute("mail")
	for _, tt := range []struct {
		filter string
		want   int
	}{
		{"(proxyAddresses=smtp:*)", 2},
		{"(proxyAddresses=*)", 3},
		{"(proxyAddresses=x500:/o=org/cn=zoe)", 1},
		{"(mail=*)", 0},
		{"(:caseIgnoreSubstringsMatch:=x)", 0},
		{"(:caseIgnoreMatch:=SMTP:zoe@example.test)", 1},
		{"(noSuch=*)", 0},
	} {
		f, err := ParseFilter(tt.filter)
		if err != nil {
			t.Fatal(err)
		}
		n, got := Prepare(testSchema, f), 0
		for _, v := range testEntry.values[a.Name] {
			if n.MatchesValue(a, v) {
				got++
			}
		}
		if got != tt.want {
			t.Errorf("%s: got %d values, want %d", tt.filter, got, tt.want)
		}
	}
	f, _ := ParseFilter("(mail=*)")
	if !Prepare(testSchema, f).MatchesValue(other, "x") {
		t.Error("presence of a value")
	}
}

func TestValues(t *testing.T) {
	for _, tt := range []struct {
		attribute, value string
		want             Code // 0: it may be
		same             string
	}{
		{"member", "CN=a,DC=test", 0, "cn=A , dc=TEST"},
		{"member", "nobody", ResultInvalidSyntax, "NOBODY"},
		{"otherWellKnownObjects", "B:4:00ff:CN=a", 0, "B:4:00FF:cn=A"},
		{"otherWellKnownObjects", "B:4:00ff:nobody", ResultInvalidSyntax, "B:4:00ff:nobody"},
		{"mail", "a@example.test", 0, "A@EXAMPLE.TEST"},
		{"mail", strings.Repeat("x", 257), ResultConstraintViolation, strings.Repeat("X", 257)},
		{"userAccountControl", "x", ResultInvalidSyntax, "x"},
	} {
		a, _ := testSchema.Attribute(tt.attribute)
		var got Code
		var r *Refusal
		if errors.As(CheckValue(a, tt.value), &r) {
			got = r.Code
		}
		if got != tt.want {
			t.Errorf("%s %.40q: got %d, want %d", tt.attribute, tt.value, got, tt.want)
		}
		if ValueKey(a, tt.value) != ValueKey(a, tt.same) {
			t.Errorf("%s: %.40q is not %.40q", tt.attribute, tt.value, tt.same)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	b.ReportAllocs()
	f, err := ParseFilter("(&(mailNickname=*)(|(mail=zoe@*)(sn=nobody))(!(userAccountControl:1.2.840.113556.1.4.803:=1)))")
	if err != nil {
		b.Fatal(err)
	}
	n := Prepare(testSchema, f)
	for b.Loop() {
		if n.Evaluate(testSchema, testEntry) != True {
			b.Fatal("not found")
		}
	}
}
