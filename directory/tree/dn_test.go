package tree

import (
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"pgregory.net/rapid"
)

func TestParseDN(t *testing.T) {
	deep := strings.Repeat("CN=a,", MaxDNDepth-1) + "CN=a"
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"  ", ""},
		{"cn=Alice,ou=Sales,dc=example,dc=test", "CN=Alice,OU=Sales,DC=example,DC=test"},
		// RFC 4514 §4.
		{"UID=jsmith,DC=example,DC=net", "UID=jsmith,DC=example,DC=net"},
		{"OU=Sales+CN=J.  Smith,DC=example,DC=net", "OU=Sales+CN=J.  Smith,DC=example,DC=net"},
		{`CN=James \"Jim\" Smith\, III,DC=example,DC=net`, `CN=James \"Jim\" Smith\, III,DC=example,DC=net`},
		{`CN=Before\0dAfter,DC=example,DC=net`, `CN=Before\0DAfter,DC=example,DC=net`},
		{"1.3.6.1.4.1.1466.0=#04024869", "1.3.6.1.4.1.1466.0=Hi"},
		{`CN=Lu\C4\8Di\C4\87`, "CN=Lučić"},
		// Spaces, quotes and semicolons of RFC 2253 §4.
		{` cn = Alice , ou= "Sales, North" ; DC=test `, `CN=Alice,OU=Sales\, North,DC=test`},
		{"OID.2.5.4.3=x", "CN=x"},
		{"commonName=x,organizationalUnitName=y", "CN=x,OU=y"},
		{"CN=a\n,CN=b", "CN=a,CN=b"},
		// What must and must not be escaped.
		{`CN=\ a\ `, `CN=\ a\ `},
		{`CN=\#a#`, `CN=\#a#`},
		{"CN=a=b", "CN=a=b"},
		{`CN=a\=b\+\;\<\>\\`, `CN=a=b\+\;\<\>\\`},
		{`CN=a\20\20`, `CN=a \ `},
		{`CN="a\"b"`, `CN=a\"b`},
		{`CN=old\0ADEL:33221100-5544-7766-8899-aabbccddeeff,CN=Deleted Objects`, `CN=old\0ADEL:33221100-5544-7766-8899-aabbccddeeff,CN=Deleted Objects`},
		{"CN=", "CN="},
		{"employeeNumber=7", "employeeNumber=7"},
		// Hexadecimal strings in BER: printable, BMP, T61, long form of length.
		{"CN=#130141", "CN=A"},
		{"CN=#1E0400480069", "CN=Hi"},
		{"CN=#1401E9", "CN=é"},
		{"CN=#0481024869 , CN=b", "CN=Hi,CN=b"},
		// AD's forms.
		{"<GUID=33221100-5544-7766-8899-aabbccddeeff>", "<GUID=33221100-5544-7766-8899-aabbccddeeff>"},
		{"<guid=00112233445566778899aabbccddeeff>", "<GUID=33221100-5544-7766-8899-aabbccddeeff>"},
		{"<SID=S-1-5-21-1-2-3-500>", "<SID=S-1-5-21-1-2-3-500>"},
		{"<SID=010200000000000520000000 20020000>", "!"},
		{"<SID=01020000000000052000000020020000>", "<SID=S-1-5-32-544>"},
		{"<WKGUID=a9d1ca15768811d1aded00c04fd8d5cd,DC=example,DC=test>", "<WKGUID=A9D1CA15768811D1ADED00C04FD8D5CD,DC=example,DC=test>"},
		// Limits.
		{deep, deep},
		{deep + ",CN=a", "!"},
		{"CN=" + strings.Repeat("a", MaxDNBytes), "!"},
		// Wrong.
		{"CN", "!"},
		{"=a", "!"},
		{"CN=a,", "!"},
		{",CN=a", "!"},
		{"CN=a,,CN=b", "!"},
		{"CN=a+", "!"},
		{"CN=a+CN=b", "!"},
		{`CN=a\`, "!"},
		{`CN=a\4`, "!"},
		{`CN=a\zz`, "!"},
		{`CN="a`, "!"},
		{`CN="a"b`, "!"},
		{"CN=a<b", "!"},
		{`CN=a"b`, "!"},
		{"CN=#", "!"},
		{"CN=#0", "!"},
		{"CN=#0402486", "!"},
		{"CN=#04034869", "!"},
		{"CN=#30024869", "!"},
		{"CN=#0480486900", "!"},
		{`CN=\FF`, "!"},
		{"1.02=a", "!"},
		{"1=a", "!"},
		{"-a=b", "!"},
		{"c n=b", "!"},
		{"<GUID=x>", "!"},
		{"<GUID=33221100-5544-7766-8899-aabbccddeeff", "!"},
		{"<SID=S-1-x>", "!"},
		{"<WKGUID=a9d1ca15768811d1aded00c04fd8d5cd>", "!"},
		{"<WKGUID=a9d1ca15768811d1aded00c04fd8d5cd,<GUID=00112233445566778899aabbccddeeff>>", "!"},
		{"<X=y>", "!"},
	} {
		dn, err := ParseDN(tt.in)
		got := dn.String()
		if err != nil {
			got = "!"
		}
		if got != tt.want {
			t.Errorf("ParseDN(%.60q) = %.80q (%v), want %.80q", tt.in, got, err, tt.want)
		}
	}
}

func parse(t *testing.T, s string) DN {
	t.Helper()
	dn, err := ParseDN(s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return dn
}

func TestDNEqual(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"CN=Alice,DC=test", "cn=ALICE,dc=TEST", true},
		{"2.5.4.3=Alice", "commonName=alice", true},
		{"CN=a   b", "CN=A B", true},
		{"CN=Zoë", "CN=ZOË", true},
		{"CN=Zoe\u0308", "CN=Zoë", true},
		{"CN=Zoë", "CN=Zoe", false}, // accents count in names
		{"OU=x+CN=y", "CN=Y+OU=X", true},
		{"OU=x+CN=y", "CN=y", false},
		{"CN=a,CN=b", `CN=a\,CN=b`, false},
		{"CN=a+OU=b", `CN=a\+ou=b`, false},
		{"CN=a", "OU=a", false},
		{"", "", true},
	} {
		a, b := parse(t, tt.a), parse(t, tt.b)
		if got := a.Equal(b); got != tt.want || got != (a.Key() == b.Key()) {
			t.Errorf("%s and %s: Equal %t, keys %q and %q, want %t", tt.a, tt.b, got, a.Key(), b.Key(), tt.want)
		}
	}
}

func TestDNRelations(t *testing.T) {
	dn, base := parse(t, "CN=a,OU=b,DC=eu,DC=example,DC=test"), parse(t, "ou=B,dc=EU,dc=example,dc=test")
	if !dn.Under(base) || !base.Under(base) || base.Under(dn) || !dn.Parent().Equal(base) || !base.Child(dn[0]).Equal(dn) {
		t.Error("what is under what")
	}
	if !dn.Under(nil) || DN(nil).Parent() != nil {
		t.Error("the empty name")
	}
	if got := strings.Join(dn.Labels(), "."); got != "eu.example.test" || !DomainDN("eu.example.test").Equal(base.Parent()) {
		t.Errorf("domain %q", got)
	}
	if _, err := ParseRDN("CN=a,CN=b"); err == nil {
		t.Error("two parts are one")
	}
	if r, err := ParseRDN("ou=x+cn=y"); err != nil || r.Key() != "+cn=y+ou=x" {
		t.Errorf("got %q, %v", r.Key(), err)
	}
	if got := parse(t, "CN=A B,DC=test").Key(); got != "cn=a b,dc=test" {
		t.Errorf("key %q", got)
	}
}

// Every name that can be is read back from its text.
func TestDNTextIsReadBack(t *testing.T) {
	types := []string{"cn", "ou", "dc", "uid", "employeeNumber", "1.2.3.4"}
	rapid.Check(t, func(t *rapid.T) {
		var dn DN
		for range rapid.IntRange(0, 5).Draw(t, "parts") {
			var rdn RDN
			for _, n := range rapid.Permutation(types).Draw(t, "types")[:rapid.IntRange(1, 2).Draw(t, "values")] {
				rdn = append(rdn, AVA{n, rapid.OneOf(rapid.String(), rapid.StringMatching(`[ #"+,;<=>\\a]{0,6}`)).Draw(t, "value")})
			}
			dn = append(dn, rdn)
		}
		text := dn.String()
		got, err := ParseDN(text)
		if err != nil {
			if len(text) > MaxDNBytes {
				return
			}
			t.Fatalf("%q: %v", text, err)
		}
		if got.String() != text || !got.Equal(dn) {
			t.Errorf("%q read back as %q", text, got)
		}
		// The peer reads it alike.
		peer, err := ldap.ParseDN(text)
		if err != nil {
			t.Fatalf("go-ldap refuses %q: %v", text, err)
		}
		if len(peer.RDNs) != len(dn) {
			t.Fatalf("go-ldap reads %q as %d parts", text, len(peer.RDNs))
		}
		for i, r := range peer.RDNs {
			for j, a := range r.Attributes {
				if a.Value != dn[i][j].Value {
					t.Errorf("%q: go-ldap reads value %q, want %q", text, a.Value, dn[i][j].Value)
				}
			}
		}
	})
}

func FuzzParseDN(f *testing.F) {
	for _, s := range []string{
		"CN=Alice,OU=Sales,DC=example,DC=test", `CN=James \"Jim\" Smith\, III,DC=example`, "1.2.3=#04024869", `CN="a,b";OU=c + DC=d`,
		"<GUID=33221100-5544-7766-8899-aabbccddeeff>", "<SID=S-1-5-32-544>", "<WKGUID=a9d1ca15768811d1aded00c04fd8d5cd,DC=x>", `CN=a\0ADEL:x`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		dn, err := ParseDN(s)
		if err != nil {
			return
		}
		text := dn.String()
		if len(text) > MaxDNBytes {
			return
		}
		again, err := ParseDN(text)
		if err != nil || !again.Equal(dn) || again.Key() != dn.Key() || again.String() != text {
			t.Errorf("%q: %q read back as %q: %v", s, text, again, err)
		}
	})
}

func BenchmarkParseDN(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseDN("CN=Alice Example,OU=North,OU=Sales,DC=example,DC=test"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDNKey(b *testing.B) {
	b.ReportAllocs()
	dn, _ := ParseDN("CN=Alice Example,OU=North,OU=Sales,DC=example,DC=test")
	for b.Loop() {
		dn.Key()
	}
}
