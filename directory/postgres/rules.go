package postgres

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"waypost/directory"
	"waypost/directory/tree"
)

func isControl(r rune) bool { return unicode.IsControl(r) }

// computedControl are bits of userAccountControl that tell a state and are not
// set (MS-ADTS 2.2.16: LOCKOUT, PASSWORD_EXPIRED).
const computedControl = 0x10 | 0x800000

// cleanControl checks userAccountControl: one kind of account, which cannot be
// another family's.
func cleanControl(n, base int) (int, error) {
	if n < 0 {
		return 0, tree.Refuse(tree.ResultConstraintViolation, "userAccountControl is not negative")
	}
	n &^= computedControl
	const kinds = controlNormal | 0x800 | controlMachine | controlServer
	switch n & kinds {
	case 0:
		n |= base
	case base:
	case controlServer:
		if base != controlMachine {
			return 0, tree.Refuse(tree.ResultConstraintViolation, "userAccountControl: not this kind of account")
		}
	default:
		return 0, tree.Refuse(tree.ResultConstraintViolation, "userAccountControl: not this kind of account")
	}
	return n, nil
}

// neverExpires is AD's largest number; 0 means the same (accountExpires).
const neverExpires = 1<<63 - 1

func readExpires(v string) (*time.Time, error) {
	if v == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	switch {
	case err != nil || n < 0:
		return nil, tree.Refuse(tree.ResultConstraintViolation, "accountExpires counts 100 ns since 1601")
	case n == 0 || n == neverExpires:
		return nil, nil
	}
	t := timeOfFile(n)
	if t.Year() > 9999 || t.Year() < 1601 {
		return nil, nil // past what a time can say: never
	}
	return &t, nil
}

// checkGroupType wants one scope (MS-ADTS 2.2.12).
func checkGroupType(v string) error {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return tree.Refuse(tree.ResultInvalidSyntax, "groupType is a number")
	}
	switch n &^ groupSecurity {
	case groupGlobal, groupDomainLocal, groupUniversal:
		return nil
	}
	return tree.Refuse(tree.ResultUnwillingToPerform, "groupType has one scope: 2 global, 4 domain local or 8 universal, and -2147483648 for security")
}

// addressRules keep mail, proxyAddresses and legacyExchangeDN together whatever
// of them was written (directory-schema §4): one primary address of a type,
// mail is the primary SMTP address, what was primary stays a secondary one, and
// an old legacyExchangeDN stays an X500 address.
func (o *object) addressRules(before attributes, touched map[string]bool) error {
	a := o.attrs
	proxies := slices.Clone(a["proxyAddresses"])
	if touched["legacyExchangeDN"] {
		if old := before.get("legacyExchangeDN"); old != "" && old != a.get("legacyExchangeDN") {
			proxies = addProxy(proxies, "X500", old)
		}
	}
	if !touched["mail"] && !touched["proxyAddresses"] {
		a.set("proxyAddresses", proxies...)
		return nil
	}
	mail := a.get("mail")
	if touched["mail"] && touched["proxyAddresses"] && mail == before.get("mail") && len(before) > 0 {
		mail = "" // written as it was: the addresses decide
	}
	switch {
	case touched["mail"] && mail != "":
		proxies = promote(proxies, mail)
	case touched["mail"] && !touched["proxyAddresses"] && mail == "":
		proxies = slices.DeleteFunc(proxies, isSMTP)
	}
	var primary string
	smtp := 0
	types := map[string]bool{}
	for _, p := range proxies {
		kind, address, _ := strings.Cut(p, ":")
		if isSMTP(p) {
			smtp++
		}
		if kind != strings.ToUpper(kind) || kind == "X500" { // old names are all X500, all upper case
			continue
		}
		if types[kind] {
			return tree.Refuse(tree.ResultConstraintViolation, "proxyAddresses: two primary addresses of type %s", kind)
		}
		types[kind] = true
		if kind == "SMTP" {
			primary = address
		}
	}
	if smtp > 0 && primary == "" {
		if smtp > 1 {
			return tree.Refuse(tree.ResultConstraintViolation, "proxyAddresses: no primary SMTP address")
		}
		i := slices.IndexFunc(proxies, isSMTP)
		_, primary, _ = strings.Cut(proxies[i], ":")
		proxies[i] = "SMTP:" + primary
	}
	// The old primary address stays when another took its place.
	if old := before.get("mail"); old != "" && primary != "" && touched["mail"] && directory.Fold(old) != directory.Fold(primary) {
		if key := directory.Fold("smtp:" + old); !slices.ContainsFunc(proxies, func(p string) bool { return directory.Fold(p) == key }) {
			proxies = append(proxies, "smtp:"+old)
		}
	}
	if len(proxies) > maxAddresses {
		return tree.Refuse(tree.ResultAdminLimit, "at most %d addresses", maxAddresses)
	}
	a.set("proxyAddresses", proxies...)
	a.set("mail", primary)
	return nil
}

func isSMTP(p string) bool { return len(p) > 5 && strings.EqualFold(p[:5], "smtp:") }

// promote makes address the primary SMTP one; the others become secondary.
func promote(proxies []string, address string) []string {
	key := directory.Fold("smtp:" + address)
	out := []string{"SMTP:" + address}
	for _, p := range proxies {
		switch {
		case directory.Fold(p) == key:
		case strings.HasPrefix(p, "SMTP:"):
			out = append(out, "smtp:"+p[5:])
		default:
			out = append(out, p)
		}
	}
	return out
}

// addProxy adds an address unless it is there with any type in any case.
func addProxy(proxies []string, kind, address string) []string {
	key := directory.Fold(kind + ":" + address)
	if slices.ContainsFunc(proxies, func(p string) bool { return directory.Fold(p) == key }) {
		return proxies
	}
	return append(proxies, kind+":"+address)
}

// mailboxRules are what an object with a mailbox must have: an address of ours
// to be reached at, and an alias.
func (o *object) mailboxRules(ours func(domain string) bool) error {
	if o.home == 0 {
		return nil
	}
	address := o.attrs.get("mail")
	if address == "" {
		return tree.Refuse(tree.ResultConstraintViolation, "a mailbox needs a primary SMTP address")
	}
	local, domain, err := directory.SplitAddress(address)
	if err != nil || !ours(domain) {
		return tree.Refuse(tree.ResultConstraintViolation, "the primary address of a mailbox is in one of our domains")
	}
	if o.attrs.get("mailNickname") == "" {
		o.attrs.set("mailNickname", accountBase(local))
	}
	if o.attrs.get("displayName") == "" {
		o.attrs.set("displayName", o.rdn)
	}
	return nil
}
