// Package access is who may do what in the directory: access-control entries on
// objects, inherited by everything below them.
//
// Its law is Active Directory's. What an object says itself goes before what it
// inherits, the nearer container before the farther one, and at one level
// denying before allowing; the first entry that speaks about a right decides,
// and what nobody speaks about is denied. Administrators and the product itself
// may do everything; secrets are nobody's to read (schema.Attribute.Secret).
// Objects that are themselves powerful (Object.Protected) inherit nothing that
// changes them, so that nobody rises by managing those above him. Who signed in
// with an application password, which a phone keeps, changes nothing of others.
package access

import (
	"waypost/directory"
	"waypost/directory/schema"
)

// Right is a set of rights.
type Right uint32

// The rights. Read and Write are about attributes, Create and DeleteChild about
// classes of children, the others about the object.
const (
	Read Right = 1 << iota
	Write
	Create      // a child
	DeleteChild // a child
	Delete      // the object itself
	Reset       // its password, without knowing the old one
	Members     // add and remove members, see hidden ones
	Secrets     // read confidential attributes, together with Read
	Control     // read and change access-control entries

	// Full is everything.
	Full = Read | Write | Create | DeleteChild | Delete | Reset | Members | Secrets | Control
)

// changing are the rights that a protected object does not inherit.
const changing = Full &^ Read

// Who is whom an entry is about: a user's or group's ObjectID, or one of the
// negative numbers below.
type Who directory.ObjectID

const (
	// Everyone is also who did not sign in.
	Everyone Who = -1 - iota
	// Authenticated is who signed in.
	Authenticated
	// Self is the object itself.
	Self
	// Owner is whom the object names in managedBy or owner (Object.Owned).
	Owner
)

// Entry is an access-control entry. Its zero lists mean all.
type Entry struct {
	Deny   bool
	Who    Who
	Rights Right
	// Attributes bound Read and Write: names, or sets of them ("@personal").
	Attributes []string
	// Children bound Create and DeleteChild to these classes of children (and
	// their subclasses).
	Children []string
	// This and Below tell where the entry counts: at the object that has it, at
	// everything below. Classes bounds both to objects of these classes (and
	// their subclasses).
	This, Below bool
	Classes     []string
}

// personal is what people keep up to date about themselves (AD's property set
// 77b5b886-944a-11d1-aebd-0000f80367c1).
var personal = []string{
	"assistant", "c", "co", "facsimileTelephoneNumber", "homePhone", "homePostalAddress", "info", "ipPhone",
	"jpegPhoto", "l", "labeledURI", "mobile", "otherFacsimileTelephoneNumber", "otherHomePhone", "otherIpPhone",
	"otherMobile", "otherPager", "otherTelephone", "pager", "personalTitle", "physicalDeliveryOfficeName",
	"postalAddress", "postalCode", "postOfficeBox", "preferredLanguage", "roomNumber", "st", "street", "streetAddress",
	"telephoneNumber", "thumbnailPhoto", "url", "userCertificate", "userSMIMECertificate", "wWWHomePage",
}

// sets are names for attributes that belong together, like AD's property sets.
var sets = map[string][]string{
	"@personal": personal,
	// What a help desk changes of a person: that, the names and the place in the
	// organisation. Neither addresses nor what the account may do.
	"@person": append([]string{
		"cn", "company", "department", "departmentNumber", "description", "displayName", "displayNamePrintable", "division",
		"employeeID", "employeeNumber", "employeeType", "generationQualifier", "givenName", "initials", "manager",
		"middleName", "msDS-PhoneticCompanyName", "msDS-PhoneticDepartment", "msDS-PhoneticDisplayName",
		"msDS-PhoneticFirstName", "msDS-PhoneticLastName", "o", "ou", "secretary", "sn", "title",
	}, personal...),
	// Who belongs to a group (bc0ac240-79a9-11d0-9020-00c04fc2d4cf).
	"@membership": {"member", "msDS-NonMembers", "nonSecurityMember"},
}

// Defaults are the entries of a new forest's root. Administrators need none,
// and who did not sign in gets none.
func Defaults() []Entry {
	return []Entry{
		{Who: Authenticated, Rights: Read, This: true, Below: true},
		{Who: Self, Rights: Write, Attributes: []string{"@personal"}, Below: true, Classes: []string{"user", "contact"}},
		{Who: Owner, Rights: Members, Below: true, Classes: []string{"group"}},
	}
}

// Object is what rights on an object depend on.
type Object struct {
	ID     directory.ObjectID
	Parent directory.ObjectID
	Class  *schema.Class // the most specific structural one
	// Listed: the object has entries of its own (Lists.Entries gives them).
	Listed bool
	// Owned: who acts, or a group of his, is in its managedBy or owner.
	Owned bool
	// Protected: an administrator, or a group that makes its members one.
	Protected bool
	// HiddenMembers: hideDLMembership is TRUE; only who may change the members
	// sees them.
	HiddenMembers bool
}

// Lists tell where objects are and what entries they have. They are read while
// a View is used and must not change meanwhile.
type Lists interface {
	// Up gives the container; 0 of the root.
	Up(id directory.ObjectID) directory.ObjectID
	// Entries are the object's own, nil for most.
	Entries(id directory.ObjectID) []Entry
}
