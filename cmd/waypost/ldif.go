package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"waypost/directory"
	"waypost/internal/ldif"
)

// readLDIF reads people from LDIF content records (RFC 2849): entries with a
// mail attribute of the classes user, person or inetOrgPerson. Other entries
// and attributes are passed over; URL values and change records are refused.
// The whole directory, not people alone, is taken by waypost directory import.
func readLDIF(r io.Reader, name string) ([]person, error) {
	var all []person
	for in := ldif.NewReader(r, ldif.Limits{}); ; {
		rec, err := in.Next()
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("%s, %w", name, err)
		case rec.Change != ldif.Entry:
			return nil, fmt.Errorf("%s, line %d: a change record; only content records can be imported", name, rec.Line)
		}
		entry := map[string][]string{}
		for _, a := range rec.Attributes {
			n, _, _ := strings.Cut(strings.ToLower(a.Name), ";")
			entry[n] = append(entry[n], a.Values...)
		}
		if u, ok := ldifPerson(entry); ok {
			all = append(all, person{rec.Line, u})
		}
	}
}

func ldifPerson(e map[string][]string) (directory.NewUser, bool) {
	one := func(names ...string) string {
		for _, n := range names {
			if v := e[n]; len(v) > 0 {
				return v[0]
			}
		}
		return ""
	}
	known := false
	for _, c := range e["objectclass"] {
		switch strings.ToLower(c) {
		case "user", "person", "inetorgperson", "organizationalperson":
			known = true
		case "computer", "group", "contact":
			return directory.NewUser{}, false
		}
	}
	if !known || one("mail") == "" {
		return directory.NewUser{}, false
	}
	u := directory.NewUser{User: directory.User{
		Kind: directory.KindUser, Enabled: true, Address: one("mail"), Name: one("displayname", "cn", "mail"),
		Given: one("givenname"), Surname: one("sn"), Title: one("title"), Department: one("department", "departmentnumber"),
		Company: one("company", "o"), Office: one("physicaldeliveryofficename"), Phone: one("telephonenumber"),
		Mobile: one("mobile"), HomePhone: one("homephone"), UPN: one("userprincipalname"), Account: one("samaccountname"),
	}}
	for _, p := range e["proxyaddresses"] {
		if kind, addr, ok := strings.Cut(p, ":"); ok && strings.EqualFold(kind, "smtp") && !strings.EqualFold(addr, u.Address) {
			u.Addresses = append(u.Addresses, addr)
		}
	}
	// A clear userPassword is taken over; a hash of another system is not.
	if pw := one("userpassword"); pw != "" && !strings.HasPrefix(pw, "{") {
		u.Password = pw
	}
	return u, true
}
