package postgres

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"

	"golang.org/x/text/unicode/norm"

	"waypost/directory"
	"waypost/directory/access"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

const (
	// coldAt is the size of a value, in bytes, above which an attribute's values
	// lie in a table of their own.
	coldAt = 2 << 10
	// maxValue bounds one value, in bytes (photos are at most 100 KiB in AD).
	maxValue = 8 << 20
	// maxValues bounds the values of one attribute that is no link.
	maxValues = 5000
)

// encode gives a value as the attributes column keeps it; decode gives it back.
func encode(a *schema.Attribute, v string) string {
	if a.Syntax.Binary() {
		return base64.StdEncoding.EncodeToString([]byte(v))
	}
	return v
}

func decode(a *schema.Attribute, v string) string {
	if a.Syntax.Binary() {
		if raw, err := base64.StdEncoding.DecodeString(v); err == nil {
			return string(raw)
		}
	}
	return v
}

func encodeAll(a *schema.Attribute, values []string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = encode(a, v)
	}
	return out
}

func decodeAll(a *schema.Attribute, values []string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = decode(a, v)
	}
	return out
}

// writable finds an attribute that a client names in a write, and refuses those
// that clients never write (RFC 4512 §4.1.2, NO-USER-MODIFICATION).
func writable(sch *schema.Schema, name string) (*schema.Attribute, error) {
	a, ok := sch.Attribute(name)
	switch {
	case !ok:
		return nil, tree.Refuse(tree.ResultUndefinedType, "no attribute %q", name)
	case a.Back():
		return nil, tree.Refuse(tree.ResultUnwillingToPerform, "%s follows from the other side of the link", a.Name)
	case a.ServerOnly || a.Constructed:
		return nil, tree.Refuse(tree.ResultConstraintViolation, "%s is kept by the server", a.Name)
	case a.Secret && !a.Password():
		return nil, tree.Refuse(tree.ResultUnwillingToPerform, "%s cannot be set", a.Name)
	}
	return a, nil
}

// clean gives a value in the form that is stored (before encode) and refuses
// what the syntax or the bounds do not allow.
func clean(a *schema.Attribute, v string) (string, error) {
	switch {
	case len(v) > maxValue:
		return "", tree.Refuse(tree.ResultConstraintViolation, "%s: a value has at most %d bytes", a.Name, maxValue)
	case a.Syntax == schema.Boolean:
		v = strings.ToUpper(v)
	case a.Syntax.Text() && !a.Syntax.Binary():
		v = norm.NFC.String(v)
	case a.Syntax.Numbers():
		v = strings.TrimSpace(v)
	}
	if err := a.Check(v); err != nil {
		if fault.Of(err) == fault.TooLarge {
			return "", tree.Refuse(tree.ResultConstraintViolation, "%s", say(err))
		}
		return "", tree.Refuse(tree.ResultInvalidSyntax, "%s", say(err))
	}
	return special(a, v)
}

// say is the text of a fault for the peer.
func say(err error) string { return fault.Say(err) }

// special are the rules of single attributes beyond their syntax.
func special(a *schema.Attribute, v string) (string, error) {
	violated := func(format string, args ...any) (string, error) {
		return "", tree.Refuse(tree.ResultConstraintViolation, format, args...)
	}
	switch a.Name {
	case "sAMAccountName":
		if strings.ContainsFunc(v, forbiddenInSAM) || strings.HasSuffix(v, ".") {
			return violated("%q cannot be an account name", v)
		}
	case "userPrincipalName":
		upn, err := directory.CleanAddress(v)
		if err != nil {
			return violated("%q cannot be a user principal name", v)
		}
		return upn, nil
	case "mailNickname":
		if strings.ContainsFunc(v, func(r rune) bool { return unicode.IsSpace(r) || r == '@' }) {
			return violated("mailNickname has neither spaces nor @")
		}
	case "mail":
		address, err := cleanDomain(v)
		if err != nil {
			return violated("%q is not a mail address", v)
		}
		return address, nil
	case "proxyAddresses", "targetAddress":
		return cleanProxy(a.Name, v)
	case "accessControlEntry":
		e, err := access.Parse(v)
		if err != nil {
			return violated("%s", say(err))
		}
		return e.String(), nil
	case "waypostRoles":
		if roleNames[v] == 0 {
			return violated("no role %q", v)
		}
	}
	return v, nil
}

// cleanProxy checks one address with its type (MS-OXLDAP 2.2.3.4). Types are
// letters; upper case marks the primary address of the type.
func cleanProxy(name, v string) (string, error) {
	kind, address, ok := strings.Cut(v, ":")
	if !ok && name == "targetAddress" {
		kind, address, ok = "SMTP", v, true
	}
	if !ok || kind == "" || address == "" || strings.ContainsFunc(address, isControl) || strings.ContainsFunc(kind, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		return "", tree.Refuse(tree.ResultConstraintViolation, "%s: %q is not type:address", name, v)
	}
	if strings.EqualFold(kind, "smtp") {
		if kind != "smtp" {
			kind = "SMTP"
		}
		clean, err := cleanDomain(address)
		if err != nil {
			return "", tree.Refuse(tree.ResultConstraintViolation, "%s: %q is not a mail address", name, address)
		}
		address = clean
	}
	return kind + ":" + address, nil
}

// cleanDomain gives an address with its domain in A-labels. One whose local part
// wants quotes stays as it is.
func cleanDomain(address string) (string, error) {
	local, domain, err := directory.SplitAddress(address)
	if err == nil && !strings.ContainsAny(local, " \"") {
		address = local + "@" + domain
	}
	return address, err
}

// forbiddenInSAM are the characters that AD forbids in an account name.
func forbiddenInSAM(r rune) bool {
	return unicode.IsControl(r) || strings.ContainsRune(`"/\[]:;|=,+*?<>@`, r)
}

// cleanAll cleans the values of an attribute, none of them twice.
func cleanAll(a *schema.Attribute, values []string) ([]string, error) {
	switch {
	case len(values) > maxValues:
		return nil, tree.Refuse(tree.ResultAdminLimit, "%s: at most %d values", a.Name, maxValues)
	case a.Single && len(values) > 1:
		return nil, tree.Refuse(tree.ResultConstraintViolation, "%s has one value", a.Name)
	}
	out := make([]string, 0, len(values))
	seen := make(map[string]bool, len(values))
	for _, v := range values {
		v, err := clean(a, v)
		if err != nil {
			return nil, err
		}
		key := valueKey(a, v)
		if seen[key] {
			return nil, tree.Refuse(tree.ResultValueExists, "%s has a value twice", a.Name)
		}
		seen[key] = true
		out = append(out, v)
	}
	return out, nil
}

// valueKey is what two values of an attribute are compared by. Types of
// addresses do not count in case: an address is there once, primary or not.
func valueKey(a *schema.Attribute, v string) string {
	if a.Name == "proxyAddresses" {
		return directory.Fold(v)
	}
	return a.Syntax.Key(v)
}

// indexOf finds a value among others.
func indexOf(a *schema.Attribute, values []string, v string) int {
	key := valueKey(a, v)
	return slices.IndexFunc(values, func(have string) bool { return valueKey(a, have) == key })
}

// linkName reads a value of DN syntax. An OR-Name is a plain DN here.
func linkName(a *schema.Attribute, v string) (tree.DN, error) {
	dn, err := tree.ParseDN(v)
	if err != nil {
		return nil, tree.Refuse(tree.ResultInvalidSyntax, "%s: %s", a.Name, say(err))
	}
	if len(dn) == 0 {
		return nil, tree.Refuse(tree.ResultInvalidSyntax, "%s: an empty name", a.Name)
	}
	return dn, nil
}

// passwordOf reads a password as the attribute has it: unicodePwd is UTF-16LE
// in quotation marks (MS-ADTS 3.1.1.3.1.5.1), userPassword the text itself.
func passwordOf(a *schema.Attribute, v string) (string, error) {
	p := v
	if a.Name == "unicodePwd" {
		if len(v)%2 != 0 {
			return "", errQuoted
		}
		units := make([]uint16, len(v)/2)
		for i := range units {
			units[i] = uint16(v[2*i]) | uint16(v[2*i+1])<<8
		}
		p = string(utf16.Decode(units))
		if len(p) < 2 || p[0] != '"' || p[len(p)-1] != '"' {
			return "", errQuoted
		}
		p = p[1 : len(p)-1]
	}
	if err := checkPassword(p); err != nil {
		return "", tree.Refuse(tree.ResultConstraintViolation, "%s", say(err))
	}
	// RFC 2307's stored forms are not passwords.
	if a.Name == "userPassword" && strings.HasPrefix(p, "{") && strings.Contains(p, "}") {
		scheme, _, _ := strings.Cut(p[1:], "}")
		switch strings.ToUpper(scheme) {
		case "SSHA", "SHA", "SMD5", "MD5", "CRYPT", "ARGON2", "PBKDF2", "SSHA256", "SSHA512", "SHA256", "SHA512":
			return "", tree.Refuse(tree.ResultUnwillingToPerform, "a password is wanted, not its hash")
		}
	}
	return p, nil
}

var errQuoted = tree.Refuse(tree.ResultUnwillingToPerform, "unicodePwd is the password in quotation marks, as UTF-16LE")

func hexOf(b string) string { return strings.ToUpper(hex.EncodeToString([]byte(b))) }
