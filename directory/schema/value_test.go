package schema

import (
	"cmp"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"waypost/internal/fault"
)

func TestValidate(t *testing.T) {
	guid := "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"
	sid, _ := ParseSid("S-1-5-21-1-2-3-500")
	for _, tt := range []struct {
		syntax     Syntax
		good, fail []string
	}{
		{Unicode, []string{"x", "Zoë", " ", "a\nb"}, []string{"", "\xff", "a\x00b"}},
		{Boolean, []string{"TRUE", "FALSE"}, []string{"true", "1", ""}},
		{Integer, []string{"0", "-1", "2147483647", "-2147483648"}, []string{"", "2147483648", "1.0", "+1", "x", "0x1"}},
		{LargeInteger, []string{"9223372036854775807", "-1"}, []string{"9223372036854775808", "+1", ""}},
		{Octet, []string{"", "\xff\x00", guid}, nil},
		{Sid, []string{sid}, []string{"", "S-1-5-18", sid[:10], sid + "x"}},
		{ObjectIdentifier, []string{"user", "1.2.840.113556.1.5.9", "msDS-PasswordSettings"}, []string{"", "a b", "1..2", "(x)"}},
		{Numeric, []string{"12 34"}, []string{"", "12a"}},
		{Printable, []string{"Serial 12-3/4"}, []string{"", "Zoë"}},
		{IA5, []string{"/home/x"}, []string{"", "ä"}},
		{Teletex, []string{"/o=Org/cn=x", "ü"}, []string{"", "\xfe"}},
		{
			GeneralizedTime,
			[]string{"20260101000000.0Z", "20260101000000Z", "2026010100Z", "202601010000+0130", "20260101000000,5-05", "20161231235960Z"},
			[]string{"", "20260101000000", "20261301000000Z", "2026Z", "20260101000000.Z", "20260101000000.0", "20260230000000Z"},
		},
		{UTCTime, []string{"260101000000Z", "2601010000Z", "20260101000000Z"}, []string{"", "26Z"}},
		{UUID, []string{"01234567-89ab-CDEF-0123-456789abcdef"}, []string{"", "x", guid}},
		{DNBinary, []string{"B:4:0aFF:CN=x,DC=y"}, []string{"B:3:0aF:CN=x", "B:4:0aFG:CN=x", "CN=x", "B:99:00:CN=x", "B:-1::x"}},
		{DNString, []string{"S:5:a:b c:CN=x"}, []string{"S:1:ab:CN=x", ""}},
	} {
		for _, v := range tt.good {
			if err := tt.syntax.Validate(v); err != nil {
				t.Errorf("%v %q: %v", tt.syntax, v, err)
			}
		}
		for _, v := range tt.fail {
			if err := tt.syntax.Validate(v); fault.Of(err) != fault.Invalid || err == nil {
				t.Errorf("%v %q: got %v, want Invalid", tt.syntax, v, err)
			}
		}
	}
}

func TestCheckKeepsBounds(t *testing.T) {
	mail, _ := Base().Attribute("mail")
	if err := mail.Check(strings.Repeat("ä", 256)); err != nil {
		t.Errorf("256 characters: %v", err)
	}
	if err := mail.Check(strings.Repeat("x", 257)); fault.Of(err) != fault.TooLarge {
		t.Errorf("257 characters: %v", err)
	}
}

func TestKey(t *testing.T) {
	for _, tt := range []struct {
		syntax Syntax
		a, b   string
		want   bool
	}{
		{Unicode, "Zoë Müller", "zoe MULLER", true},
		{Unicode, "straße", "STRASSE", true},
		{Unicode, "ＡＢＣ", "abc", true}, // width
		{Unicode, "  a   b ", "A B", true},
		{Unicode, "ab", "a b", false},
		{Unicode, "Main St 1\r\nBerlin", "main st 1 berlin", true}, // RFC 4518 §2.2
		{Unicode, "soft\u00adhyphen", "softhyphen", true},
		{Unicode, "a\u00a0b\u200b", "a b", true},
		{CaseExact, "a\tb", "a b", true},
		{Unicode, "İstanbul", "istanbul", true},
		{Teletex, "/o=Org", "/O=ORG", true},
		{Teletex, "é", "e", false},
		{Teletex, "é", "E\u0301", true}, // composed or not
		{CaseExact, "A", "a", false},
		{IA5, "/Home", "/home", false},
		{Numeric, "12 3", "123", true},
		{Integer, "007", "7", true},
		{Integer, "-0", "0", true},
		{Boolean, "true", "TRUE", true},
		{Octet, "a", "A", false},
		{ObjectIdentifier, "USER", "user", true},
		{GeneralizedTime, "20260101000000.0Z", "202601010100+0100", true},
		{GeneralizedTime, "20260101003000Z", "2026010100.5Z", true},
		{GeneralizedTime, "20260101000000Z", "20260101000001Z", false},
		{UTCTime, "260101000000Z", "20260101000000.0Z", true},
		{UUID, "01234567-89AB-cdef-0123-456789abcdef", "01234567-89ab-cdef-0123-456789ABCDEF", true},
	} {
		if got := tt.syntax.Key(tt.a) == tt.syntax.Key(tt.b); got != tt.want {
			t.Errorf("%v %q and %q: got %t, want %t", tt.syntax, tt.a, tt.b, got, tt.want)
		}
	}
}

func TestAssertion(t *testing.T) {
	s := Base()
	guid, _ := ParseGUID("33221100-5544-7766-8899-aabbccddeeff")
	sid, _ := ParseSid("S-1-5-32-544")
	for _, tt := range []struct {
		attribute, value, want string
		ok                     bool
	}{
		{"objectGUID", "33221100-5544-7766-8899-aabbccddeeff", string(guid[:]), true},
		{"objectGUID", string(guid[:]), string(guid[:]), true},
		{"objectSid", "S-1-5-32-544", sid, true},
		{"objectSid", sid, sid, true},
		{"groupType", "2147483650", "-2147483646", true},
		{"groupType", "x", "", false},
		{"groupType", "4294967296", "", false},
		{"msExchHideFromAddressLists", "true", "TRUE", true},
		{"msExchHideFromAddressLists", "yes", "", false},
		{"cn", "", "", true},
		{"cn", "\xff", "\xff", false},
	} {
		a, _ := s.Attribute(tt.attribute)
		if got, ok := a.Assertion(tt.value); ok != tt.ok || ok && got != tt.want {
			t.Errorf("%s=%q: got %q, %t; want %q, %t", tt.attribute, tt.value, got, ok, tt.want, tt.ok)
		}
	}
}

func TestOrderIsThatOfIntegers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64().Draw(t, "a"), rapid.Int64().Draw(t, "b")
		x, _ := LargeInteger.Order(strconv.FormatInt(a, 10))
		y, _ := LargeInteger.Order(strconv.FormatInt(b, 10))
		if cmp.Compare(a, b) != strings.Compare(x, y) {
			t.Errorf("order of %d and %d", a, b)
		}
	})
	if _, ok := DistinguishedName.Order("x"); ok {
		t.Error("names of objects have an order")
	}
}

func TestTimeIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "seconds"), 0).UTC()
		if got, ok := ParseTime(FormatTime(at)); !ok || !got.Equal(at) {
			t.Errorf("%s: got %v, want %v", FormatTime(at), got, at)
		}
	})
}

func TestKeysAreStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := Syntax(rapid.IntRange(0, int(syntaxes)-1).Draw(t, "syntax"))
		v := rapid.String().Draw(t, "value")
		if key := x.Key(v); x.Text() && x.Key(key) != key {
			t.Errorf("%v: key of %q is %q, and of that %q", x, v, key, x.Key(key))
		}
	})
}

func TestPart(t *testing.T) {
	for _, tt := range []struct {
		part        string
		first, last bool
		want        string
	}{
		{" Müll", true, false, "mull"},
		{" Müll", false, false, " mull"},
		{"a   b ", false, true, "a b"},
		{"a  ", false, false, "a "},
		{"", false, false, ""},
		{" ", true, false, ""},
	} {
		if got := Unicode.Part(tt.part, tt.first, tt.last); got != tt.want {
			t.Errorf("Part(%q, %t, %t) = %q, want %q", tt.part, tt.first, tt.last, got, tt.want)
		}
	}
}

func TestGUIDAndSid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "guid"))
		if got, ok := ParseGUID(FormatGUID(g)); !ok || got != g {
			t.Errorf("%x: got %x", g, got)
		}
		parts := rapid.SliceOfN(rapid.Uint32(), 0, maxSidParts).Draw(t, "parts")
		text := "S-1-" + strconv.FormatUint(rapid.Uint64Range(0, 1<<32-1).Draw(t, "authority"), 10)
		for _, p := range parts {
			text += "-" + strconv.FormatUint(uint64(p), 10)
		}
		b, ok := ParseSid(text)
		if got := FormatSid(b); !ok || got != text {
			t.Errorf("%s: got %s", text, got)
		}
	})
	// MS-DTYP 2.4.2.1's order of bytes.
	b, _ := ParseSid("S-1-5-21-3623811015-3361044348-30300820-1013")
	if want := "\x01\x05\x00\x00\x00\x00\x00\x05\x15\x00\x00\x00\xc7\xf7\xfe\xd7\x7c\x77\x55\xc8\x94\x5a\xce\x01\xf5\x03\x00\x00"; b != want {
		t.Errorf("got %x, want %x", b, want)
	}
	g, _ := ParseGUID("{00112233-4455-6677-8899-aabbccddeeff}")
	if want := [16]byte{0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}; g != want {
		t.Errorf("got %x, want %x", g, want)
	}
	for _, bad := range []string{"", "S-1-", "S-1-x", "S-2-5", "S-1-5--1", "S-1-5-4294967296", "S-1-5" + strings.Repeat("-1", 16), "S-1-5-+1"} {
		if b, ok := ParseSid(bad); ok {
			t.Errorf("ParseSid(%q) = %x", bad, b)
		}
	}
}

func TestRules(t *testing.T) {
	for x := range syntaxes {
		for _, name := range []string{x.Equality(), x.Ordering(), x.Substring()} {
			r, ok := LookupRule(name)
			if name == "" {
				continue
			}
			if !ok {
				t.Errorf("%v: no rule %s", x, name)
			} else if !r.Fits(x) && x != DNBinary && x != DNString && x.OID() != SecurityDescriptor.OID() && x != AccessPoint {
				t.Errorf("%v: %s does not fit", x, name)
			}
		}
	}
	and, _ := LookupRule(BitAnd)
	or, _ := LookupRule("BITWISEORMATCH")
	for _, tt := range []struct {
		value   string
		bits    int64
		and, or bool
	}{
		{"514", 2, true, true},
		{"512", 2, false, false},
		{"512", 514, false, true},
		{"-2147483646", 2147483648, true, true},
		{"0", 0, true, false},
		{"x", 0, false, false},
	} {
		if a, o := and.Bits(tt.value, tt.bits), or.Bits(tt.value, tt.bits); a != tt.and || o != tt.or {
			t.Errorf("%s with %d: got %t, %t; want %t, %t", tt.value, tt.bits, a, o, tt.and, tt.or)
		}
	}
}

func BenchmarkKey(b *testing.B) {
	for name, value := range map[string]string{"ascii": "Alice.Example@Example.Test", "accents": "Zoë Müller-Ångström"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Unicode.Key(value)
			}
		})
	}
}
