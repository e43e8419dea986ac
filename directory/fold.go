package directory

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
	"golang.org/x/text/unicode/norm"

	"waypost/internal/fault"
)

// Limits of RFC 5321 §4.5.3.1, in bytes.
const (
	maxLocal   = 64
	maxDomain  = 255
	maxAddress = 254 // a path of 256 with its brackets
)

// Fold makes the key that names are compared by: NFC and lower case. It is
// bytewise stable, so that a database needs no locale.
func Fold(s string) string {
	if ascii(s) {
		return strings.ToLower(s)
	}
	return norm.NFC.String(strings.ToLower(norm.NFC.String(s)))
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// domains maps a domain to A-labels as a resolver does (UTS 46, not
// transitional) and refuses what is not letters, digits and hyphens.
var domains = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(true), idna.VerifyDNSLength(true))

// FoldDomain gives a domain in lower case and A-labels, without a final dot.
// Anything but a domain name (an address literal, say) is Invalid.
func FoldDomain(name string) (string, error) {
	if len(name) > maxDomain {
		return "", fault.New(fault.Invalid, "not a domain name")
	}
	key, err := domains.ToASCII(name)
	if err != nil {
		return "", fault.From(fault.Invalid, err, "not a domain name")
	}
	// Only now: other dots have become this one.
	key = strings.TrimSuffix(strings.ToLower(key), ".")
	if key == "" || strings.HasSuffix(key, ".") {
		return "", fault.New(fault.Invalid, "not a domain name")
	}
	return key, nil
}

// SplitAddress takes a mailbox of RFC 5321 §4.1.2 apart, a quoted local part
// without its quotes, the domain folded. The local part keeps its case.
func SplitAddress(address string) (local, domain string, err error) {
	at := strings.LastIndexByte(address, '@')
	if at < 1 || len(address) > maxAddress || !utf8.ValidString(address) {
		return "", "", fault.New(fault.Invalid, "not a mail address")
	}
	local = address[:at]
	if local[0] == '"' {
		if local, err = unquote(local); err != nil {
			return "", "", err
		}
	}
	if local == "" || len(local) > maxLocal || strings.ContainsFunc(local, unicode.IsControl) {
		return "", "", fault.New(fault.Invalid, "not a mail address")
	}
	if domain, err = FoldDomain(address[at+1:]); err != nil {
		return "", "", fault.New(fault.Invalid, "not a mail address")
	}
	return norm.NFC.String(local), domain, nil
}

// unquote reads a Quoted-string of RFC 5321 §4.1.2.
func unquote(s string) (string, error) {
	if len(s) < 3 || s[len(s)-1] != '"' {
		return "", fault.New(fault.Invalid, "not a mail address")
	}
	var b strings.Builder
	for i := 1; i < len(s)-1; i++ {
		switch s[i] {
		case '"':
			return "", fault.New(fault.Invalid, "not a mail address")
		case '\\':
			if i++; i == len(s)-1 {
				return "", fault.New(fault.Invalid, "not a mail address")
			}
		}
		b.WriteByte(s[i])
	}
	return b.String(), nil
}

// AddressKey is what addresses are compared by.
func AddressKey(address string) (string, error) {
	local, domain, err := SplitAddress(address)
	if err != nil {
		return "", err
	}
	return Fold(local) + "@" + domain, nil
}

// CleanAddress gives an address as the directory keeps it (local part in NFC,
// domain folded) and refuses what a person cannot be given: a local part that
// needs quotes (RFC 5321 §4.1.2, widened by RFC 6531 §3.3).
func CleanAddress(address string) (string, error) {
	local, domain, err := SplitAddress(address)
	if err != nil {
		return "", err
	}
	for _, atom := range strings.Split(local, ".") {
		if atom == "" || strings.ContainsFunc(atom, notAtom) {
			return "", fault.New(fault.Invalid, "%q cannot be a mail address here", address)
		}
	}
	return local + "@" + domain, nil
}

func notAtom(r rune) bool {
	switch {
	case r >= utf8.RuneSelf:
		return unicode.IsSpace(r) || !unicode.IsGraphic(r)
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	default:
		return !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
	}
}

// Words cuts text into the words that the address list is searched by: without
// case and accents, cut at everything that is neither letter nor digit.
func Words(text string) []string {
	if !ascii(text) {
		// A chain keeps state, so each call makes its own.
		bare := transform.Chain(norm.NFKD, runes.Remove(runes.In(unicode.Mn)), cases.Fold(), norm.NFC)
		folded, _, err := transform.String(bare, text)
		if err == nil {
			text = folded
		}
	}
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.Is(unicode.M, r)
	})
}
