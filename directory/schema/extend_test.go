package schema

import (
	"testing"

	"waypost/internal/fault"
)

func TestExtend(t *testing.T) {
	base := Base()
	badge, err := base.ParseAttribute(`( 1.3.6.1.4.1.99999.1 NAME 'exampleBadge' DESC 'it\27s a badge' EQUALITY caseExactMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15{20} SINGLE-VALUE X-ORIGIN 'test' X-AD-GC 'TRUE' )`)
	if err != nil {
		t.Fatal(err)
	}
	if badge.Meaning != "it's a badge" || badge.Syntax != CaseExact || badge.RangeUpper != 20 || !badge.InGlobalCatalog {
		t.Errorf("read as %+v", badge)
	}
	helper, err := ParseClass(`( 1.3.6.1.4.1.99999.2 NAME 'exampleStaff' SUP top AUXILIARY MAY ( exampleBadge $ uid ) )`)
	if err != nil {
		t.Fatal(err)
	}
	s, err := base.Extend(Extension{
		Attributes: []Attribute{badge},
		Classes: []Class{
			helper,
			{Name: "user", OID: class(t, base, "user").OID, Category: Structural, Super: "organizationalPerson", Auxiliaries: []string{"exampleStaff"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if a := attribute(t, s, "EXAMPLEbadge"); a.Number != len(base.Attributes()) || !class(t, s, "inetOrgPerson").Allows(a) {
		t.Errorf("the new attribute %+v is not for everybody", a)
	}
	if _, ok := base.Attribute("exampleBadge"); ok {
		t.Error("the base schema was changed")
	}
	for n, a := range base.Attributes() {
		if s.Attributes()[n] != a {
			t.Errorf("%s moved", a.Name)
		}
	}
	if class(t, base, "user") == class(t, s, "user") || len(class(t, base, "user").Auxiliaries) == len(class(t, s, "user").Auxiliaries) {
		t.Error("the base's user has the new helper")
	}

	// Twice is no mistake.
	again, err := s.Extend(Extension{Attributes: []Attribute{badge}, Classes: []Class{helper}})
	if err != nil || len(again.Attributes()) != len(s.Attributes()) || len(again.Classes()) != len(s.Classes()) {
		t.Errorf("extended again: %v", err)
	}
}

func TestExtendRefuses(t *testing.T) {
	base := Base()
	ok := Attribute{Name: "exampleA", OID: "1.3.6.1.4.1.99999.3"}
	for _, tt := range []struct {
		name string
		x    Extension
		want fault.Kind
	}{
		{"name taken", Extension{Attributes: []Attribute{{Name: "Mail", OID: ok.OID}}}, fault.Exists},
		{"alias taken", Extension{Attributes: []Attribute{{Name: "exampleA", Aliases: []string{"surname"}, OID: ok.OID}}}, fault.Exists},
		{"number taken", Extension{Attributes: []Attribute{{Name: "exampleA", OID: "2.5.4.3"}}}, fault.Exists},
		{"other syntax", Extension{Attributes: []Attribute{{Name: "cn", OID: "2.5.4.3", Syntax: Octet, Single: true}}}, fault.Exists},
		{"no number", Extension{Attributes: []Attribute{{Name: "exampleA"}}}, fault.Invalid},
		{"wrong number", Extension{Attributes: []Attribute{{Name: "exampleA", OID: "1.02.3"}}}, fault.Invalid},
		{"wrong name", Extension{Attributes: []Attribute{{Name: "a b", OID: ok.OID}}}, fault.Invalid},
		{"name like a number", Extension{Attributes: []Attribute{{Name: "1.2", OID: ok.OID}}}, fault.Invalid},
		{"link taken", Extension{Attributes: []Attribute{{Name: "exampleA", OID: ok.OID, Syntax: DistinguishedName, LinkID: 2}}}, fault.Exists},
		{"link of text", Extension{Attributes: []Attribute{{Name: "exampleA", OID: ok.OID, LinkID: 9000}}}, fault.Invalid},
		{"back of nothing", Extension{Attributes: []Attribute{{Name: "exampleA", OID: ok.OID, Syntax: DistinguishedName, LinkID: 9001}}}, fault.Invalid},
		{"unknown attribute", Extension{Classes: []Class{{Name: "exampleC", OID: ok.OID, Super: "top", May: []string{"nothing"}}}}, fault.Invalid},
		{"unknown superclass", Extension{Classes: []Class{{Name: "exampleC", OID: ok.OID, Super: "nothing"}}}, fault.Invalid},
		{"unknown superior", Extension{Classes: []Class{{Name: "exampleC", OID: ok.OID, Super: "top", Superiors: []string{"nothing"}}}}, fault.Invalid},
		{"above itself", Extension{Classes: []Class{
			{Name: "exampleC", OID: ok.OID, Super: "exampleD"}, {Name: "exampleD", OID: ok.OID + ".1", Super: "exampleC"},
		}}, fault.Invalid},
		{"class name taken", Extension{Classes: []Class{{Name: "USER", OID: ok.OID, Super: "top"}}}, fault.Exists},
		{"more must", Extension{Classes: []Class{{Name: "group", OID: class(t, base, "group").OID, Super: "top", Category: Structural, Must: []string{"mail"}}}}, fault.Invalid},
	} {
		if _, err := base.Extend(tt.x); err == nil || fault.Of(err) != tt.want {
			t.Errorf("%s: got %v (%v), want %v", tt.name, err, fault.Of(err), tt.want)
		}
	}
	for _, text := range []string{
		"", "()", "( 1.2.3 )", "( x NAME 'x' )", "( 1.2.3 NAME 'x' SYNTAX 1.2.3.4 )", "( 1.2.3 NAME 'x' )", "( 1.2.3 NAME 'x SYNTAX 1 )",
		"( 1.2.3 NAME 'x' NAME 'y' )", "( 1.2.3 NAME ( ( 'x' ) ) )", "( 1.2.3 NAME", "( 1.2.3 NAME 'x' SUP nothing )",
		"( 1.2.3 NAME 'x' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15{x} )", "( 1.2.3 NAME ( 'x' )",
	} {
		if a, err := base.ParseAttribute(text); err == nil {
			t.Errorf("ParseAttribute(%q) = %+v", text, a)
		}
	}
}

func FuzzParseAttribute(f *testing.F) {
	s := Base()
	f.Add(attributeText(s, "cn"))
	f.Add(attributeText(s, "entryUUID"))
	f.Add(`( 1.2.3 NAME ( 'a' 'b' ) SUP name X-ORIGIN ( 'x' 'y\27' ) )`)
	f.Fuzz(func(t *testing.T, text string) {
		a, err := s.ParseAttribute(text)
		if err != nil {
			return
		}
		if _, err := s.Extend(Extension{Attributes: []Attribute{a}}); err != nil {
			return
		}
		b, err := s.ParseAttribute(a.String())
		if err != nil || b.Name != a.Name || b.Single != a.Single || b.Meaning != a.Meaning {
			t.Errorf("%q: %s read back as %s: %v", text, &a, &b, err)
		}
	})
}

func attributeText(s *Schema, name string) string {
	a, _ := s.Attribute(name)
	return a.String()
}
