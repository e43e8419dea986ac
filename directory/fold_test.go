package directory

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"waypost/internal/fault"
)

func TestAddressKey(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"Ann@Example.TEST", "ann@example.test"},
		{"ann@example.test.", "ann@example.test"},
		{"ÄNN@bücher.test", "änn@xn--bcher-kva.test"},
		{"a\u0308nn@bu\u0308cher.test", "änn@xn--bcher-kva.test"},
		{`"ann"@example.test`, "ann@example.test"},
		{`"a\"b"@example.test`, `a"b@example.test`},
		{`"a@b"@example.test`, "a@b@example.test"},
		{"o'neil+x@example.test", "o'neil+x@example.test"},
		{"ann@faß.test", "ann@xn--fa-hia.test"},
		{"", ""},
		{"ann", ""},
		{"@example.test", ""},
		{"ann@", ""},
		{"ann@.", ""},
		{`""@example.test`, ""},
		{`"a"b"@example.test`, ""},
		{`"a\"@example.test`, ""},
		{"ann@[127.0.0.1]", ""},
		{"ann@exa mple.test", ""},
		{"a\x00b@example.test", ""},
		{"a\rb@example.test", ""},
		{"\xff@example.test", ""},
		{strings.Repeat("a", 65) + "@example.test", ""},
		{"a@" + strings.Repeat("a.", 130) + "test", ""},
	} {
		got, err := AddressKey(tt.in)
		if got != tt.want || (err == nil) != (tt.want != "") || err != nil && fault.Of(err) != fault.Invalid {
			t.Errorf("AddressKey(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
		}
	}
}

func TestCleanAddress(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"Ann.Lee@Example.TEST", "Ann.Lee@example.test"},
		{"søren@example.test", "søren@example.test"},
		{`"ann"@example.test`, "ann@example.test"},
		{`"a b"@example.test`, ""},
		{"a..b@example.test", ""},
		{".a@example.test", ""},
		{"a,b@example.test", ""},
		{"a\u2028b@example.test", ""},
		{"a\u200bb@example.test", ""},
	} {
		got, err := CleanAddress(tt.in)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("CleanAddress(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
		}
	}
}

func TestWords(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"Ann Lee":                 "ann lee",
		"  Zoë  ÅBERG ":           "zoe aberg",
		"Strauß":                  "strauss",
		"O'Neil-Smith, J. (Ext.)": "o neil smith j ext",
		"Ⅷ ﬁn":                    "viii fin",
		"Łukasz":                  "łukasz",
		"山田 太郎":                   "山田 太郎",
		"Иван":                    "иван",
		"room 12b":                "room 12b",
	} {
		if got := strings.Join(Words(in), " "); got != want {
			t.Errorf("Words(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestClientKey(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1":         "192.0.2.1",
		"::ffff:192.0.2.1":  "192.0.2.1",
		"2001:db8:1:2:3::4": "2001:db8:1:2::/64",
		"fe80::1%eth0":      "fe80::/64",
		"::1":               "::/64",
	} {
		if got := ClientKey(netip.MustParseAddr(in)); got != want {
			t.Errorf("ClientKey(%s) = %q, want %q", in, got, want)
		}
	}
	if got := ClientKey(netip.Addr{}); got != "" {
		t.Errorf("ClientKey of no address = %q", got)
	}
}

func TestSecretsStayOutOfLogs(t *testing.T) {
	c := Credentials{Login: "ann", Password: "secret"}
	a := Account{Hash: "secret", Former: []string{"secret"}}
	k := SigningKey{ID: "1", Seed: []byte("secret")}
	for _, s := range []string{c.String(), a.String(), k.String()} {
		if strings.Contains(s, "secret") {
			t.Errorf("%q tells a secret", s)
		}
	}
}

// FuzzAddress: a key is the key of itself, whatever comes in, and what can be
// given to a person can be found again.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"Ann@Example.test", `"a\ b"@bücher.test`, "a+b@x", "@@", "\"", "a@xn--bcher-kva.test", "ß@ß.test", "İ@example.test", "ǰ\u0323@x.test"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		clean, err := CleanAddress(s)
		if err != nil {
			return
		}
		key, err := AddressKey(clean)
		if err != nil || !utf8.ValidString(key) {
			t.Fatalf("CleanAddress(%q) = %q, whose key is %q, %v", s, clean, key, err)
		}
		if again, err := CleanAddress(clean); again != clean || err != nil {
			t.Errorf("CleanAddress(%q) = %q, %v", clean, again, err)
		}
		if of, err := AddressKey(s); of != key || err != nil {
			t.Errorf("AddressKey(%q) = %q, of its clean form %q", s, of, key)
		}
	})
}

func FuzzWords(f *testing.F) {
	f.Add("Ann Lee")
	f.Add("Zoë Åberg ﬁ")
	f.Fuzz(func(t *testing.T, s string) {
		words := Words(s)
		for _, w := range words {
			if w == "" || strings.ContainsAny(w, " \x00") {
				t.Errorf("Words(%q) has %q", s, w)
			}
		}
		if again := Words(strings.Join(words, " ")); !slices.Equal(again, words) && utf8.ValidString(s) {
			t.Errorf("Words(%q) = %q, again %q", s, words, again)
		}
	})
}
