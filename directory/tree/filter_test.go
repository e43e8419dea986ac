package tree

import (
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"waypost/directory/schema"
)

func TestParseFilter(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		// RFC 4515 §4.
		{"(cn=Babs Jensen)", "(cn=Babs Jensen)"},
		{"(!(cn=Tim Howes))", "(!(cn=Tim Howes))"},
		{"(&(objectClass=Person)(|(sn=Jensen)(cn=Babs J*)))", "(&(objectClass=Person)(|(sn=Jensen)(cn=Babs J*)))"},
		{"(o=univ*of*mich*)", "(o=univ*of*mich*)"},
		{"(seeAlso=)", "(seeAlso=)"},
		{"(cn:caseExactMatch:=Fred Flintstone)", "(cn:caseExactMatch:=Fred Flintstone)"},
		{"(cn:=Betty Rubble)", "(cn:=Betty Rubble)"},
		{"(sn:dn:2.4.6.8.10:=Barney Rubble)", "(sn:dn:2.4.6.8.10:=Barney Rubble)"},
		{"(o:dn:=Ace Industry)", "(o:dn:=Ace Industry)"},
		{"(:1.2.3:=Wilma Flintstone)", "(:1.2.3:=Wilma Flintstone)"},
		{"(:DN:2.4.6.8.10:=Dino)", "(:dn:2.4.6.8.10:=Dino)"},
		{`(o=Parens R Us \28for all your parenthetical needs\29)`, `(o=Parens R Us \28for all your parenthetical needs\29)`},
		{`(cn=*\2A*)`, `(cn=*\2a*)`},
		{`(filename=C:\5cMyFile)`, `(filename=C:\5cMyFile)`},
		{`(bin=\00\00\00\04)`, `(bin=\00\00\00\04)`},
		{`(sn=Lu\c4\8di\c4\87)`, "(sn=Lučić)"},
		{`(objectGUID=\d1\ff)`, `(objectGUID=\d1\ff)`},
		// RFC 4526.
		{"(&)", "(&)"},
		{"(|)", "(|)"},
		{"(uid>=5)", "(uid>=5)"},
		{"(uid<=5)", "(uid<=5)"},
		{"(cn~=x)", "(cn~=x)"},
		{"(cn=*)", "(cn=*)"},
		{"(cn=**)", "(cn=*)"},
		{"(cn=*a**b*)", "(cn=*a*b*)"},
		{"(userCertificate;binary=x)", "(userCertificate=x)"},
		// Forgiven.
		{"cn=x", "(cn=x)"},
		{" &(a=b)(c=d)", "(&(a=b)(c=d))"},
		{"!(a=b)", "(!(a=b))"},
		{"( & (a=b) (c=d) )", "(&(a=b)(c=d))"},
		{"(cn =x)", "(cn=x)"},
		{"(&(a=b)\n  (c=d)\n)\n", "(&(a=b)(c=d))"},
		{"(userAccountControl:1.2.840.113556.1.4.803:=2)", "(userAccountControl:1.2.840.113556.1.4.803:=2)"},
		// Wrong.
		{"", "!"},
		{"()", "!"},
		{"(", "!"},
		{")", "!"},
		{"(cn=x", "!"},
		{"(cn=x))", "!"},
		{"(cn=x)(cn=y)", "!"},
		{"(!)", "!"},
		{"(!(a=b)(c=d))", "!"},
		{"(=x)", "!"},
		{"(*=x)", "!"},
		{"(cn)", "!"},
		{"(cn=a(b)", "!"},
		{`(cn=\zz)`, "!"},
		{`(cn=\2)`, "!"},
		{`(cn=\`, "!"},
		{"(cn>x)", "!"},
		{"(cn>=x*)", "!"},
		{"(>=x)", "!"},
		{"(:=x)", "!"},
		{"(:dn:=x)", "!"},
		{"(cn:a:b:=x)", "!"},
		{"(cn::=x)", "!"},
		{"(cn:dn", "!"},
		{"(1a=x)", "!"},
		{"(cn=\x00)", "!"},
		{"(&(a=b)", "!"},
		{"(&(a=b)x)", "!"},
		{"(&((a=b)))", "!"},
	} {
		f, err := ParseFilter(tt.in)
		got := "!"
		if err == nil {
			got = f.String()
		}
		if got != tt.want {
			t.Errorf("ParseFilter(%q) = %q (%v), want %q", tt.in, got, err, tt.want)
		}
	}
}

func TestFilterLimits(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     Code // 0: none
	}{
		{"deepest", strings.Repeat("(!", MaxFilterDepth) + "(a=b)" + strings.Repeat(")", MaxFilterDepth), 0},
		{"too deep", strings.Repeat("(!", MaxFilterDepth+1) + "(a=b)" + strings.Repeat(")", MaxFilterDepth+1), ResultAdminLimit},
		{"deep without end", strings.Repeat("(&", 400_000), ResultAdminLimit},
		{"many", "(|" + strings.Repeat("(a=b)", MaxFilterParts-1) + ")", 0},
		{"too many", "(|" + strings.Repeat("(a=b)", MaxFilterParts) + ")", ResultAdminLimit},
		{"too many stars", "(a=" + strings.Repeat("*b", MaxFilterParts) + ")", ResultAdminLimit},
		{"too long", "(a=" + strings.Repeat("b", MaxFilterBytes) + ")", ResultAdminLimit},
	} {
		_, err := ParseFilter(tt.in)
		var r *Refusal
		if got := errors.As(err, &r); got != (tt.want != 0) || got && r.Code != tt.want {
			t.Errorf("%s: got %v, want code %d", tt.name, err, tt.want)
		}
	}
}

// Any filter is read back from its text, and go-ldap reads it alike.
func TestFilterTextIsReadBack(t *testing.T) {
	value := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ ()*\\a\x00]{0,5}`), rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 4), func(b []byte) string { return string(b) }))
	value = value.Filter(func(s string) bool { return !strings.ContainsRune(s, utf8.RuneError) || !utf8.ValidString(s) }) // go-ldap cannot read it
	some := value.Filter(func(s string) bool { return s != "" })
	name := rapid.SampledFrom([]string{"cn", "objectGUID", "1.2.3", "msDS-x"})
	var draw func(t *rapid.T, depth int) Filter
	draw = func(t *rapid.T, depth int) Filter {
		ops := []FilterOp{Equal, Substrings, GreaterOrEqual, LessOrEqual, Present, Approx, Extensible}
		if depth > 0 {
			ops = append(ops, And, Or, Not)
		}
		f := Filter{Op: rapid.SampledFrom(ops).Draw(t, "op")}
		switch f.Op {
		case And, Or, Not:
			n := 1
			if f.Op != Not {
				n = rapid.IntRange(1, 3).Draw(t, "parts") // go-ldap knows no (&)
			}
			for range n {
				f.Parts = append(f.Parts, draw(t, depth-1))
			}
			return f
		case Substrings:
			f.Any = rapid.SliceOfN(some, 1, 3).Draw(t, "any")
			f.Initial, f.Final = value.Draw(t, "initial"), value.Draw(t, "final")
		case Extensible:
			f.DNAttributes = rapid.Bool().Draw(t, "dn")
			f.Rule = rapid.SampledFrom([]string{"", "1.2.840.113556.1.4.803", "caseExactMatch"}).Draw(t, "rule")
			f.Value = value.Draw(t, "value")
		case Present:
		default:
			f.Value = value.Draw(t, "value")
		}
		f.Attribute = name.Draw(t, "attribute")
		return f
	}
	rapid.Check(t, func(t *rapid.T) {
		f := draw(t, 3)
		text := f.String()
		got, err := ParseFilter(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if diff := cmp.Diff(&f, got); diff != "" {
			t.Errorf("%q read back (-want +got):\n%s", text, diff)
		}
		peer, err := ldap.CompileFilter(text)
		if err != nil {
			t.Fatalf("go-ldap refuses %q: %v", text, err)
		}
		back, err := ldap.DecompileFilter(peer)
		if err != nil {
			t.Fatalf("go-ldap cannot write %q: %v", text, err)
		}
		again, err := ParseFilter(back)
		if err != nil {
			t.Fatalf("go-ldap's %q: %v", back, err)
		}
		if diff := cmp.Diff(&f, again); diff != "" {
			t.Errorf("%q, as go-ldap has it %q (-want +got):\n%s", text, back, diff)
		}
	})
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{
		"(cn=Babs Jensen)", "(&(objectClass=Person)(|(sn=Jensen)(cn=Babs J*)))", "(sn:dn:2.4.6.8.10:=Barney)", `(bin=\00\ff)`,
		"(&)", "cn=x", "( & (a=b) (!(c=d)) )", "(anr=jo sm)", "(member:1.2.840.113556.1.4.1941:=CN=x)", "(objectCategory=person)",
		"(uSNChanged>=5)", hex.EncodeToString([]byte("x")),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parsed, err := ParseFilter(s)
		if err != nil {
			return
		}
		text := parsed.String()
		again, err := ParseFilter(text)
		if err != nil && len(text) <= MaxFilterBytes {
			t.Fatalf("%q: %q: %v", s, text, err)
		}
		if err == nil && again.String() != text {
			t.Errorf("%q: %q read back as %q", s, text, again)
		}
		Match(parsed, testSchema, testEntry)
	})
}

// TestPrepareAlike: parts that ask for one text are prepared as each alone is.
func TestPrepareAlike(t *testing.T) {
	s := schema.Base()
	names := []string{"cn", "sn", "userPrincipalName", "nothing", "mailNickname", "member", "employeeNumber", "objectSid", "displayName", "legacyExchangeDN", "uid"}
	or := &Filter{Op: Or}
	for _, name := range names {
		or.Parts = append(or.Parts, Filter{Op: Substrings, Attribute: name, Initial: " Ä  b"})
	}
	or.Parts = append(or.Parts, Filter{Op: Substrings, Attribute: "cn", Initial: "other"}, Filter{Op: Substrings, Attribute: "cn", Initial: "other", Final: "x"})
	n := Prepare(s, or)
	for i := range or.Parts {
		if alone := Prepare(s, &or.Parts[i]); !reflect.DeepEqual(n.Parts[i], alone) {
			t.Errorf("%s: %+v beside others, %+v alone", or.Parts[i].Attribute, n.Parts[i], alone)
		}
	}
}
