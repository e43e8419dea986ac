package postgres

import (
	"strconv"

	"waypost/directory"
	"waypost/directory/schema"
	"waypost/directory/tree"
)

// family is what the rules of accounts and mail make of an object's class.
type family uint8

const (
	other    family = iota
	domain          // a mail domain
	unit            // organizationalUnit
	person          // signs in, may have a mailbox: user, inetOrgPerson
	computer        // has an account name and a SID, signs in nowhere
	group
	contact // an outside address
	dynamic // a group whose members a filter finds
)

// families are the classes that have rules; subclasses follow theirs. The most
// specific comes first: a computer is a user to the schema.
var families = []struct {
	class string
	is    family
}{
	{"computer", computer},
	{classUser, person},
	{classGroup, group},
	{"contact", contact},
	{classDynamic, dynamic},
	{classDomain, domain},
	{classOU, unit},
}

// familyOf tells the family of a class.
func familyOf(sch *schema.Schema, class string) family {
	for _, f := range families { // without a look at the schema for nearly all objects
		if f.class == class {
			return f.is
		}
	}
	c, ok := sch.Class(class)
	if !ok {
		return other
	}
	for _, up := range c.Chain() {
		for _, f := range families {
			if f.class == up.Name {
				return f.is
			}
		}
	}
	return other
}

// principal tells whether objects of the family have a SID and an account name.
func (f family) principal() bool { return f == person || f == computer || f == group }

// namedBy gives the attribute that a name uses for an object of class: the
// class's own, and for an inetOrgPerson, which comes from other directories, uid
// as well (RFC 4519 §2.39).
func namedBy(sch *schema.Schema, class *schema.Class, attribute string) (*schema.Attribute, bool) {
	own := class.Naming()
	a, ok := sch.Attribute(attribute)
	if !ok || own == nil {
		return own, false
	}
	if a.Number == own.Number {
		return own, true
	}
	inet, ok := sch.Class("inetOrgPerson")
	return a, ok && class.IsA(inet) && a.Name == "uid"
}

// rdnKey is what names within a container are compared by.
func rdnKey(naming, rdn string) string {
	return tree.RDN{{Attribute: naming, Value: rdn}}.Key()
}

// groupType bits (MS-ADTS 2.2.12).
const (
	groupBuiltin     = 1
	groupGlobal      = 2
	groupDomainLocal = 4
	groupUniversal   = 8
	groupSecurity    = -1 << 31
)

// accountType is sAMAccountType of an object (MS-ADTS 2.2.13), "" for none.
func (o *object) accountType(f family) string {
	switch f {
	case person:
		return "805306368"
	case computer:
		return "805306369"
	case group:
		kind, _ := strconv.ParseInt(o.attrs.get("groupType"), 10, 64)
		n := int64(268435456)
		if kind&groupDomainLocal != 0 {
			n = 536870912
		}
		if kind&groupSecurity == 0 {
			n++
		}
		return strconv.FormatInt(n, 10)
	}
	return ""
}

// RIDs of built-in groups (MS-DTYP 2.4.2.4), and where those of our own begin.
const (
	ridUsers     = 513
	ridComputers = 515
	firstRID     = 1000
)

// settle gives an object what the server keeps of it: what follows from its
// class. Every way of writing passes here.
func (o *object) settle(f family) {
	if !f.principal() {
		return
	}
	o.attrs.set("sAMAccountType", o.accountType(f))
	if o.attrs.get("primaryGroupID") == "" {
		switch f {
		case person:
			o.attrs.set("primaryGroupID", strconv.Itoa(ridUsers))
		case computer:
			o.attrs.set("primaryGroupID", strconv.Itoa(ridComputers))
		}
	}
}

// sidBelow is the SID of account rid of a domain (MS-DTYP 2.4.2).
func sidBelow(domain []byte, rid uint32) []byte {
	if len(domain) < 8 {
		return nil
	}
	sid := append([]byte(nil), domain...)
	sid[1]++
	return append(sid, byte(rid), byte(rid>>8), byte(rid>>16), byte(rid>>24))
}

// ownSID is the SID that object id gets in a domain. An ObjectID is never given
// out twice, so neither is a SID.
func ownSID(domain []byte, id directory.ObjectID) []byte {
	return sidBelow(domain, uint32(firstRID+id)) //nolint:gosec // a forest has far fewer than 2^32 objects
}
