package main

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"waypost/directory"
	"waypost/directory/access"
	dirpg "waypost/directory/postgres"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
	"waypost/internal/ldif"
)

// item is a record as the directory takes it.
type item struct {
	line   int
	text   string // the DN as it was written
	entry  dirpg.NewEntry
	change *ldif.Record   // neither an entry nor an addition
	links  int            // how often it names other objects
	left   map[string]int // values left out, by why
	size   int
	err    error // why it cannot be taken
}

// Controls that change records may have (MS-ADTS 3.1.1.3.4.1).
const (
	controlTreeDelete = "1.2.840.113556.1.4.805"
	controlPermissive = "1.2.840.113556.1.4.1413"
	controlManageDSA  = "2.16.840.1.113730.3.4.2" // there are no referral objects here
)

// prepare makes an item of a record: the part of the work that needs no
// database.
func prepare(sch *schema.Schema, rec *ldif.Record) item {
	it := item{line: rec.Line, text: rec.DN}
	for _, c := range rec.Controls {
		switch c.OID {
		case controlTreeDelete, controlPermissive, controlManageDSA:
		default:
			if c.Critical {
				it.err = fault.New(fault.Invalid, "control %s is not known", c.OID)
			}
		}
	}
	if rec.Change != ldif.Entry && rec.Change != ldif.Add {
		it.change = rec
		return it
	}
	dn, err := tree.ParseDN(rec.DN)
	if err != nil {
		it.err = err
		return it
	}
	it.entry.DN = dn
	it.entry.Attributes = make([]tree.Attribute, 0, len(rec.Attributes))
	for _, a := range rec.Attributes {
		name, values, why := taken(sch, a.Name, a.Values)
		if why != "" {
			if it.left == nil {
				it.left = map[string]int{}
			}
			it.left[why] += len(a.Values) - len(values)
		}
		if len(values) == 0 {
			continue
		}
		if s, ok := sch.Attribute(name); ok {
			if name = s.Name; s.Syntax.DN() {
				it.links += len(values)
			}
		}
		for _, v := range values {
			it.size += len(v)
		}
		if i := slices.IndexFunc(it.entry.Attributes, func(x tree.Attribute) bool { return x.Name == name }); i >= 0 {
			it.entry.Attributes[i].Values = append(slices.Clip(it.entry.Attributes[i].Values), values...)
			continue
		}
		it.entry.Attributes = append(it.entry.Attributes, tree.Attribute{Name: name, Values: values})
	}
	return it
}

// taken tells which values of an attribute are taken over, and why others are
// left out: what every server keeps for itself is in many exports.
func taken(sch *schema.Schema, description string, values []string) (name string, left []string, why string) {
	name, options, has := strings.Cut(description, ";")
	if has && !strings.EqualFold(options, "binary") {
		return name, nil, "values in another language or with other options"
	}
	a, ok := sch.Attribute(name)
	switch {
	case !ok: // the directory says so
		return name, values, ""
	case a.Back(), a.ServerOnly, a.Constructed:
		return name, nil, "kept by the server: " + a.Name
	case a.Secret && !a.Password():
		return name, nil, "secrets of another server: " + a.Name
	case a.Name != "userPassword":
		return name, values, ""
	}
	clear := slices.DeleteFunc(slices.Clone(values), hashedPassword)
	if len(clear) < len(values) {
		why = "hashes of passwords"
	}
	return name, clear, why
}

// hashedPassword tells whether a password is another system's hash: "{SSHA}…".
func hashedPassword(v string) bool {
	scheme, _, ok := strings.Cut(v, "}")
	return ok && strings.HasPrefix(scheme, "{") && len(scheme) > 1 && len(scheme) < 20
}

// notCompared follow from others, or come back in another form.
var notCompared = map[string]bool{
	"userPassword": true, "unicodePwd": true, "objectCategory": true, "instanceType": true, "sAMAccountType": true, "systemFlags": true,
	"pwdLastSet": true, "lockoutTime": true, "nTSecurityDescriptor": true, "defaultObjectCategory": true, "schemaIDGUID": true,
}

// differs gives the attributes of which the directory lacks a value that the
// item has.
func (m *importer) differs(ctx context.Context, it *item) (names []string, err error) {
	var want []string
	for _, a := range it.entry.Attributes {
		want = append(want, a.Name)
	}
	found := false
	sch := m.dir.Schema()
	err = m.dir.Search(ctx, m.as, &tree.Query{Base: it.entry.DN, Scope: tree.Base, Attributes: want}, func(e *tree.Entry) error {
		found = true
		for _, a := range it.entry.Attributes {
			s, ok := sch.Attribute(a.Name)
			if !ok || notCompared[a.Name] || strings.EqualFold(s.Name, it.entry.DN[0][0].Attribute) {
				continue // the name led here
			}
			if !hasAll(s, e.Get(s.Name), a.Values) {
				names = append(names, s.Name)
			}
		}
		return nil
	})
	if err == nil && !found {
		err = fault.New(fault.NotFound, "no such object")
	}
	return names, err
}

// hasAll tells whether all values of want are among have, as the attribute
// compares them.
func hasAll(a *schema.Attribute, have, want []string) bool {
	key := func(v string) string {
		switch {
		case a.Name == "proxyAddresses", a.Name == "targetAddress", a.Name == "mail":
			kind, address, ok := strings.Cut(v, ":")
			if !ok {
				kind, address = "", v
			}
			if k, err := directory.AddressKey(address); err == nil {
				address = k
			}
			return directory.Fold(kind + ":" + address)
		case a.Syntax.DN():
			if dn, err := tree.ParseDN(v); err == nil {
				return dn.Key()
			}
		case a.Name == "userAccountControl" || a.Name == "groupType":
			if n, err := strconv.Atoi(v); err == nil {
				return strconv.Itoa(n &^ (0x10 | 0x800000 | 0x200 | 0x1000)) // states, and the kind that follows from the class
			}
		}
		return a.Syntax.Key(v)
	}
	keys := make(map[string]bool, len(have))
	for _, v := range have {
		keys[key(v)] = true
	}
	return !slices.ContainsFunc(want, func(v string) bool { return !keys[key(v)] })
}

// change carries a change record out. All of them may be repeated: what is
// done already is no mistake.
func (m *importer) change(ctx context.Context, it *item) error {
	if it.err != nil {
		return m.refuse(it, it.err)
	}
	dn, err := tree.ParseDN(it.change.DN)
	if err != nil {
		return m.refuse(it, err)
	}
	o := tree.Options{From: "import", Permissive: true}
	done := true
	switch it.change.Change {
	case ldif.Modify:
		var mods []tree.Modification
		for _, mod := range it.change.Mods {
			name, values, why := taken(m.dir.Schema(), mod.Name, mod.Values)
			if why != "" {
				m.Sum.LeftOut[why] += len(mod.Values) - len(values)
			}
			if why != "" && len(values) == 0 {
				continue
			}
			if strings.EqualFold(name, access.AttributeName) {
				if values, err = m.localRights(ctx, values); err != nil {
					return m.refuse(it, err)
				}
			}
			mods = append(mods, tree.Modification{Op: tree.ModOp(mod.Op), Name: name, Values: values})
		}
		if len(mods) > 0 {
			_, err = m.dir.ModifyEntry(ctx, m.as, dn, mods, o)
		}
	case ldif.Delete:
		o.Tree = slices.ContainsFunc(it.change.Controls, func(c ldif.Control) bool { return c.OID == controlTreeDelete })
		if _, err = m.dir.DeleteEntry(ctx, m.as, dn, o); fault.Of(err) == fault.NotFound && err != nil {
			err, done = nil, false
		}
	case ldif.Rename:
		done, err = m.rename(ctx, dn, it.change, o)
	case ldif.Entry, ldif.Add:
	}
	var r *tree.Refusal
	switch kind := fault.Of(err); {
	case err == nil && done:
		m.Sum.Changed++
	case err == nil:
		m.Sum.Present++
	case ctx.Err() != nil, !errors.As(err, &r) && (kind == fault.Unavailable || kind == fault.Internal):
		return err
	default:
		return m.refuse(it, err)
	}
	return nil
}

func (m *importer) rename(ctx context.Context, dn tree.DN, rec *ldif.Record, o tree.Options) (done bool, err error) {
	rdn, err := tree.ParseRDN(rec.NewRDN)
	if err != nil {
		return false, err
	}
	to := dn.Parent()
	var superior *tree.DN
	if rec.Superior != nil {
		up, err := tree.ParseDN(*rec.Superior)
		if err != nil {
			return false, err
		}
		superior, to = &up, up
	}
	_, err = m.dir.MoveEntry(ctx, m.as, dn, rdn, rec.DeleteOld, superior, o)
	if err == nil || fault.Of(err) != fault.NotFound {
		return true, err
	}
	// The one under the new name may be it, from a try before.
	there := false
	lookErr := m.dir.Search(ctx, m.as, &tree.Query{Base: to.Child(rdn), Scope: tree.Base, Attributes: []string{"1.1"}}, func(*tree.Entry) error {
		there = true
		return nil
	})
	if lookErr == nil && there {
		return false, nil
	}
	return false, err
}
