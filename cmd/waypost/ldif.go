package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"waypost/directory"
)

// readLDIF reads people from LDIF content records (RFC 2849): entries with a
// mail attribute of the classes user, person or inetOrgPerson. Other entries
// and attributes are passed over; URL values and change records are refused.
func readLDIF(r io.Reader, name string) ([]person, error) {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 64<<10), 4<<20)
	var all []person
	entry := map[string][]string{}
	first, line := 0, 0
	var attr, value string
	keep := func() error {
		if attr == "" {
			return nil
		}
		v := value
		switch {
		case strings.HasPrefix(v, "<"):
			return fmt.Errorf("%s, line %d: %s is a URL, which is not followed", name, line, attr)
		case strings.HasPrefix(v, ":"):
			b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(v[1:]))
			if err != nil {
				return fmt.Errorf("%s, line %d: %s: %w", name, line, attr, err)
			}
			v = string(b)
		}
		if strings.EqualFold(attr, "changetype") {
			return fmt.Errorf("%s, line %d: a change record; only content records can be imported", name, line)
		}
		key := strings.ToLower(attr)
		entry[key] = append(entry[key], strings.TrimLeft(v, " "))
		attr = ""
		return nil
	}
	end := func() error {
		if err := keep(); err != nil {
			return err
		}
		if u, ok := ldifPerson(entry); ok {
			all = append(all, person{first, u})
		}
		clear(entry)
		first = 0
		return nil
	}
	for sc.Scan() {
		line++
		text := strings.TrimRight(sc.Text(), "\r")
		switch {
		case text == "":
			if err := end(); err != nil {
				return nil, err
			}
		case text[0] == '#':
		case text[0] == ' ':
			value += text[1:]
		default:
			if err := keep(); err != nil {
				return nil, err
			}
			a, v, ok := strings.Cut(text, ":")
			if !ok {
				return nil, fmt.Errorf("%s, line %d: %q is no attribute line", name, line, text)
			}
			attr, _, _ = strings.Cut(a, ";")
			value = v
			if first == 0 {
				first = line
			}
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s, line %d: %w", name, line, err)
	}
	return all, end()
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
