package envelope

import (
	"errors"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Limits of RFC 5321 section 4.5.3.1, in octets.
const (
	MaxLocal  = 64
	MaxDomain = 255
	MaxPath   = 256
)

var (
	errSyntax  = errors.New("malformed address")
	errTooLong = errors.New("address too long")
)

// ParsePath reads a Reverse-path or Forward-path (RFC 5321 section 4.1.2) at
// the beginning of s and returns the address in canonical form (see Canonical)
// and what follows. "<>" gives "". A source route is read and ignored (section
// 4.1.1.3). An address without brackets is accepted, as most servers do; one
// without domain is only accepted for Postmaster (section 4.5.1) and comes back
// as "postmaster".
func ParsePath(s string) (addr, rest string, err error) {
	bracket := strings.HasPrefix(s, "<")
	if bracket {
		s = s[1:]
		if strings.HasPrefix(s, ">") {
			return "", s[1:], nil
		}
		if strings.HasPrefix(s, "@") {
			i := strings.IndexByte(s, ':')
			if i < 0 || i > MaxPath {
				return "", "", errSyntax
			}
			s = s[i+1:]
		}
	}
	local, s, err := parseLocal(s)
	if err != nil {
		return "", "", err
	}
	end := strings.IndexAny(s, "> \t")
	if end < 0 {
		end = len(s)
	}
	tail, rest := s[:end], s[end:]
	if bracket {
		if !strings.HasPrefix(rest, ">") {
			return "", "", errSyntax
		}
		rest = rest[1:]
	}
	if tail == "" && strings.EqualFold(local, "postmaster") {
		return "postmaster", rest, nil
	}
	domain, ok := strings.CutPrefix(tail, "@")
	if !ok {
		return "", "", errSyntax
	}
	addr, err = join(local, domain)
	return addr, rest, err
}

// Canonical gives an address the one form in which it is kept and compared:
// the local part quoted only if it must be, the domain as A-labels. Case is
// kept.
func Canonical(s string) (string, error) {
	addr, rest, err := ParsePath(s)
	if err == nil && (rest != "" || addr == "" || strings.HasPrefix(s, "<")) {
		err = errSyntax
	}
	return addr, err
}

func join(local, domain string) (string, error) {
	domain, err := checkDomain(domain)
	if err != nil {
		return "", err
	}
	switch {
	case local == "":
		return "", errSyntax
	case len(local) > MaxLocal, len(domain) > MaxDomain:
		return "", errTooLong
	}
	addr := quote(local) + "@" + domain
	if len(addr) > MaxPath-2 {
		return "", errTooLong
	}
	return addr, nil
}

// parseLocal reads a Local-part and returns its meaning, without quotes.
func parseLocal(s string) (local, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		i := 0
		for i < len(s) && (isAtext(s[i]) || s[i] == '.') {
			i++
		}
		// Empty atoms ("a..b", ".a") break the grammar, but are in use.
		return s[:i], s[i:], nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], nil
		case c == '\\' && i+1 < len(s):
			i++
			c = s[i]
			fallthrough
		default:
			if c < ' ' || c == 0x7f {
				return "", "", errSyntax
			}
			b.WriteByte(c)
		}
	}
	return "", "", errSyntax
}

func isAtext(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80 ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// quote writes a local part as RFC 5321 wants it.
func quote(local string) string {
	plain := true
	for i := 0; i < len(local); i++ {
		if !isAtext(local[i]) && local[i] != '.' {
			plain = false
			break
		}
	}
	if plain {
		return local
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(local); i++ {
		if local[i] == '"' || local[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(local[i])
	}
	b.WriteByte('"')
	return b.String()
}

// checkDomain checks a domain or address literal and gives its A-labels.
func checkDomain(d string) (string, error) {
	if lit, ok := strings.CutPrefix(d, "["); ok {
		lit, ok = strings.CutSuffix(lit, "]")
		if _, err := netip.ParseAddr(strings.TrimPrefix(lit, "IPv6:")); !ok || err != nil {
			return "", errSyntax
		}
		return d, nil
	}
	if !ASCII(d) {
		if !utf8.ValidString(d) {
			return "", errSyntax
		}
		a, err := idna.Lookup.ToASCII(d)
		if err != nil {
			return "", errSyntax
		}
		d = a
	}
	d = strings.TrimSuffix(d, ".")
	if d == "" {
		return "", errSyntax
	}
	for label := range strings.SplitSeq(d, ".") {
		if label == "" || len(label) > 63 {
			return "", errSyntax
		}
		for i := 0; i < len(label); i++ {
			c := label[i]
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return "", errSyntax
			}
		}
	}
	return d, nil
}

// Split gives the local part (still quoted) and the domain in lower case.
func Split(addr string) (local, domain string) {
	i := strings.LastIndexByte(addr, '@')
	if i < 0 {
		return addr, ""
	}
	return addr[:i], strings.ToLower(addr[i+1:])
}

// Domain gives the domain of an address in lower case.
func Domain(addr string) string {
	_, d := Split(addr)
	return d
}

// ASCII tells whether s has no byte above 127, so that no SMTPUTF8 is needed.
func ASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// invalidDomain is a domain that nobody has (RFC 6761 section 6.4).
const invalidDomain = "address.invalid"

// Undeliverable gives a well-formed address in place of one that is not, so
// that the queue can take it and tell its sender. IsUndeliverable knows it.
func Undeliverable(raw string) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, raw)
	if clean == "" {
		clean = "?"
	}
	return quote(clean[:min(len(clean), MaxLocal-4)]) + "@" + invalidDomain
}

// IsUndeliverable tells whether an address stands in for a malformed one.
func IsUndeliverable(addr string) bool { return Domain(addr) == invalidDomain }
