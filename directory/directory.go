// Package directory is the organisation: its domains, people, groups, rooms and
// who may do what. It holds nouns, rights and faults; the SQL is in
// directory/postgres, checking of passwords and tokens in directory/authn, and
// the same methods over the network in directory/remote.
//
// Promises. Every method takes the acting principal and checks its rights
// itself; doors never do. Every change takes the next USN of the forest, in
// commit order, so a follower that holds a USN misses nothing. A writer reads
// its own writes. Unknown and forbidden names are not told apart.
package directory

import (
	"context"
	"net/netip"
	"time"
)

// ObjectID names an object of the directory for ever; it is never reused.
type ObjectID int64

// MailboxID names a mailbox in the whole organisation, across mailbox
// databases. The directory gives it out; it is never reused.
type MailboxID int64

// USN is the update sequence number: the directory's position of change.
type USN int64

// Epoch counts the changes of an account's password, state and rights to sign
// in. What was granted under another epoch is void.
type Epoch int64

// Kind is what an object is to mail.
type Kind int

const (
	// KindUser is a person (or service) with an account and a mailbox.
	KindUser Kind = iota + 1
	// KindRoom is a resource mailbox which nobody signs in to.
	KindRoom
	// KindGroup is a distribution list; its members may be groups.
	KindGroup
	// KindContact is somebody elsewhere: mail to it goes to an outside address.
	KindContact
	// KindEquipment is like a room: something to be booked.
	KindEquipment
)

// Resource tells whether it is a mailbox that nobody signs in to.
func (k Kind) Resource() bool { return k == KindRoom || k == KindEquipment }

// String gives the kind as the command line and JSON show it.
func (k Kind) String() string {
	switch k {
	case KindUser:
		return "user"
	case KindRoom:
		return "room"
	case KindGroup:
		return "group"
	case KindContact:
		return "contact"
	case KindEquipment:
		return "equipment"
	}
	return "unknown"
}

// Role is a set of rights over the whole organisation.
type Role uint32

const (
	// RoleAdmin may change every object and operate queues and devices.
	RoleAdmin Role = 1 << iota
	// RoleSystem is the product itself (delivery, purger, mover); never a person.
	RoleSystem
)

// Principal is who acts. The zero Principal may do nothing.
type Principal struct {
	ID      ObjectID
	Mailbox MailboxID // its own mailbox; 0 for none
	HomeMDB string    // the mailbox database that holds it
	Address string    // primary address, for logs and for From
	Name    string    // display name
	Roles   Role
	Epoch   Epoch
	// App: signed in by an application password, which acts with its owner's
	// rights but for an administrator's role, and changes nothing that lets
	// anybody in.
	App bool `json:",omitempty"`
	// Session is the session that it acts from; 0 when a password was shown.
	Session SessionID `json:",omitempty"`
	// Scope is what a program was granted that signed in for it, see May; "" is
	// everything.
	Scope string `json:",omitempty"`
}

// System is the product itself acting, e.g. System("delivery").
func System(name string) Principal {
	return Principal{Name: name, Roles: RoleSystem}
}

// Is tells whether p has all of the roles r.
func (p Principal) Is(r Role) bool { return r != 0 && p.Roles&r == r }

// MayUse tells whether p may open mailbox box: its owner, the product itself.
// Administrators read nobody's mail by being administrators.
func (p Principal) MayUse(box MailboxID) bool {
	return p.Is(RoleSystem) || (box != 0 && p.Mailbox == box)
}

// Domain is a mail domain that the organisation receives for.
type Domain struct {
	ID      ObjectID
	Name    string // lower case, A-labels
	Created time.Time
}

// User is a person or a room, with the attributes that address lists show.
type User struct {
	ID        ObjectID
	GUID      string // objectGUID, canonical text
	Kind      Kind   // KindUser, KindRoom or KindEquipment
	Address   string // primary address
	Addresses []string
	UPN       string // user principal name: what a person signs in with, besides any address
	Account   string // sAMAccountName
	Name      string // displayName
	Given     string
	Surname   string
	Title     string
	Department,
	Company,
	Office,
	Phone,
	Mobile,
	HomePhone string
	OU      string // the container, as a path "Sales/North"; "" is the domain itself
	Mailbox MailboxID
	HomeMDB string
	Quota   int64 // bytes; 0: the default of the mailbox database
	Enabled bool
	Hidden  bool // not shown in address lists
	// Capacity and Features are of rooms and equipment: how many people it is
	// for, and what it has ("projector").
	Capacity int      `json:",omitempty"`
	Features []string `json:",omitempty"`
	Roles    Role
	Epoch    Epoch
	Created  time.Time
	Changed  USN
}

// Group is a distribution list.
type Group struct {
	ID        ObjectID
	GUID      string
	Address   string
	Addresses []string
	Name      string
	Members   []Member // only from Directory.Group, not from lists
	Count     int      // direct members
	Changed   USN
	// The rest is told by Directory.Group alone.
	GroupRules
}

// Member is a direct member of a group.
type Member struct {
	ID      ObjectID
	Kind    Kind
	Address string
	Name    string
}

// Standing is what an address is to this organisation.
type Standing int

const (
	// Foreign: its domain is not ours; only our own people may send there.
	Foreign Standing = iota
	// Unknown: its domain is ours and nobody has it (550 5.1.1).
	Unknown
	// Person: it is a mailbox's.
	Person
	// List: it is a group's; Expand gives the mailboxes.
	List
	// Outside: it is one of ours, and mail to it goes on to Resolution.Forward:
	// a contact's, or that of a mailbox that redirects its mail.
	Outside
)

// Resolution is the answer to "who is this address?".
type Resolution struct {
	Standing Standing
	Target   Target   // for Person; for Outside its ID alone
	Group    ObjectID // for List
	// Forward is where mail goes on to: for Outside instead of into a mailbox, for
	// Person besides. It may be an address of ours.
	Forward string `json:",omitempty"`
}

// Target is a mailbox that mail is delivered to.
type Target struct {
	ID      ObjectID
	Mailbox MailboxID
	HomeMDB string
	Address string // the primary address
	Quota   int64  // bytes; 0: the default
	// Forward is where mail goes instead of into a mailbox, Mailbox then being 0,
	// or besides. Only Expand gives such targets.
	Forward string `json:",omitempty"`
}

// Credentials are what a client shows at a door.
type Credentials struct {
	Login    string // address, UPN, DOMAIN\account or account
	Password string
	From     netip.Addr // the client's address; lock-out counts it
	Door     string     // "imap", "eas", "submission"; see Program
	Factor   string     // code of the second factor, where the door asks for it
}

// String keeps the password out of every log.
func (c Credentials) String() string { return c.Login + " from " + c.From.String() }

// Key is a public key that tokens are verified with.
type Key struct {
	ID     string
	Public []byte // Ed25519
}

// Change is one line of the feed: an object changed at USN. For an account the
// epoch comes along, so that a follower can end what the change forbids.
type Change struct {
	USN     USN
	ID      ObjectID
	Kind    Kind // 0 for a domain, container or other object
	Gone    bool
	Epoch   Epoch // of accounts; 0 otherwise
	Enabled bool
	// Ended: what was granted under this id is over. ID is 0 then; the line has no USN of its own,
	// and at the start of a feed those of the last quarter of an hour are told
	// again.
	Ended SessionID `json:",omitempty"`
}

// Page asks for a part of a list. Limit is at most 1,000; 0 means 100.
type Page struct {
	After ObjectID // from the last item of the page before
	Limit int
}

// PeopleQuery searches the global address list.
type PeopleQuery struct {
	Text   string // prefix of a word of name, given, surname, alias or address; case and accents folded
	Offset int
	Limit  int // at most 1,000; 0 means 100
	// List bounds the search to an address list; 0 is the global one.
	List ObjectID `json:",omitempty"`
}

// NewUser is a user or room to be made. Address is required and its domain
// must be ours. An empty Password makes an account that nobody can sign in to.
type NewUser struct {
	User
	Password string
}

// Directory is the directory, near or far (directory/postgres with
// directory/authn in the process, or directory/remote). Doors declare the few
// methods of it that they need.
type Directory interface {
	Objects
	Sessions
	Grants

	// SignIn checks credentials. Failures are Unauthenticated (which never
	// reveals whether the account exists, nor by its timing; with the right
	// password it is a *SignInProblem), Limit when the account or address is
	// slowed down, Unavailable.
	SignIn(ctx context.Context, c Credentials) (Session, error)
	// RenewPassword is a person's own change of the password that c has, which
	// may have expired. It fails as SignIn does, and with Invalid when the policy
	// refuses the new one.
	RenewPassword(ctx context.Context, c Credentials, password string) (Session, error)
	// Keys gives the public keys that tokens are verified with.
	Keys(ctx context.Context) ([]Key, error)
}

// Objects is the directory without sign-in; directory/postgres has it.
type Objects interface {
	Accounts
	AddressBook

	// Resolve tells what an address is, ignoring case and a +detail. It must
	// answer in well under 20 ms under a harvest attack.
	Resolve(ctx context.Context, address string) (Resolution, error)
	// Expand gives the mailboxes of a group and its nested groups, each once,
	// at most limit (1,000) at a time in order of ID after the one named; for
	// contacts the address to forward to. A group by filter finds its members
	// when it is expanded: fault.Limit when they are too many.
	Expand(ctx context.Context, group ObjectID, p Page) ([]Target, error)
	// User gives a user by id.
	User(ctx context.Context, as Principal, id ObjectID) (User, error)
	// UserByAddress gives a user by any of its addresses, its UPN or account.
	UserByAddress(ctx context.Context, as Principal, address string) (User, error)
	// People searches the address list; total is the number of all hits.
	// Groups and contacts are hits too: a User of KindGroup or KindContact.
	People(ctx context.Context, as Principal, q PeopleQuery) (hits []User, total int, err error)
	// MaySendAs tells whether as may write address into From and MAIL FROM.
	MaySendAs(ctx context.Context, as Principal, address string) (bool, error)

	// Follow calls fn with every change after since, in order, and with the
	// newest USN at least every 10 seconds even if nothing changed (a beat has
	// no ID). It returns when ctx ends, fn fails or the source is lost. A
	// negative since is now: the first call is then a beat with the USN to go on
	// from. Resync means that since is too old: begin with nothing remembered.
	Follow(ctx context.Context, since USN, fn func([]Change) error) error

	AddDomain(ctx context.Context, as Principal, name string) (Domain, error)
	RemoveDomain(ctx context.Context, as Principal, name string) error
	Domains(ctx context.Context, as Principal) ([]Domain, error)

	AddUser(ctx context.Context, as Principal, u NewUser) (User, error)
	Users(ctx context.Context, as Principal, p Page) ([]User, error)
	// UpdateUser changes the attributes that fn changes; ID, GUID, Mailbox,
	// Epoch, Created and Changed stay. fn may run again after a conflict.
	UpdateUser(ctx context.Context, as Principal, id ObjectID, fn func(*User) error) (User, error)
	SetPassword(ctx context.Context, as Principal, id ObjectID, password string) error
	SetEnabled(ctx context.Context, as Principal, id ObjectID, enabled bool) error
	// RenameUser gives a new primary address; the old one stays a secondary.
	RenameUser(ctx context.Context, as Principal, id ObjectID, address string) (User, error)
	RemoveUser(ctx context.Context, as Principal, id ObjectID) error

	AddGroup(ctx context.Context, as Principal, address, name string) (Group, error)
	RemoveGroup(ctx context.Context, as Principal, id ObjectID) error
	Group(ctx context.Context, as Principal, address string) (Group, error)
	Groups(ctx context.Context, as Principal, p Page) ([]Group, error)
	// SetMembers adds and removes direct members by address. A group that
	// would contain itself is refused.
	SetMembers(ctx context.Context, as Principal, id ObjectID, add, remove []string) error
}
