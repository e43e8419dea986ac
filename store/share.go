package store

import (
	"context"
	"strings"

	"waypost/directory"
)

// Rights are what somebody may do with a folder of another one and with what is
// in it. The numbers are those of PidTagMemberRights (MS-OXCPERM 2.2.7) but for
// RightPrivate.
type Rights uint32

// The single rights.
const (
	RightRead       Rights = 0x1    // items as they are
	RightCreate     Rights = 0x2    // new items
	RightEditOwn    Rights = 0x8    // those that it made itself
	RightDeleteOwn  Rights = 0x10   // likewise
	RightEditAll    Rights = 0x20   //
	RightDeleteAll  Rights = 0x40   //
	RightSubfolders Rights = 0x80   // make folders below
	RightOwner      Rights = 0x100  // the folder itself: name, properties, rights of others, deletion
	RightContact    Rights = 0x200  // it is named as who answers for the folder; it gives nothing
	RightVisible    Rights = 0x400  // sees that the folder is there; without it nothing else counts but free/busy
	RightFreeBusy   Rights = 0x800  // of a calendar, when its owner is busy
	RightDetails    Rights = 0x1000 // also what and where
	// RightPrivate lets it see and change what is marked private or confidential
	// like everything else; others see only that something is there.
	RightPrivate Rights = 0x10000

	// RightsAll are an owner's in its own mailbox.
	RightsAll = RightRead | RightCreate | RightEditOwn | RightDeleteOwn | RightEditAll | RightDeleteAll |
		RightSubfolders | RightOwner | RightContact | RightVisible | RightFreeBusy | RightDetails | RightPrivate
)

// Has tells whether r has all of the rights.
func (r Rights) Has(all Rights) bool { return r&all == all }

// View is how much of a calendar r lets see.
func (r Rights) View() View {
	switch {
	case r.Has(RightRead):
		return ViewFull
	case r.Has(RightDetails):
		return ViewLimited
	case r.Has(RightFreeBusy):
		return ViewBusy
	}
	return ViewNone
}

// ShareRole is a usual set of rights, by its name in Exchange.
type ShareRole struct {
	Name   string
	Rights Rights
}

const own = RightEditOwn | RightDeleteOwn

// ShareRoles are Exchange's, the strongest first; the last two before None are of
// calendars alone. What is none of them is custom.
var ShareRoles = []ShareRole{
	{"owner", RightsAll &^ (RightPrivate | RightFreeBusy | RightDetails)},
	{"publishing-editor", RightRead | RightCreate | RightSubfolders | RightVisible | own | RightEditAll | RightDeleteAll},
	{"editor", RightRead | RightCreate | RightVisible | own | RightEditAll | RightDeleteAll},
	{"publishing-author", RightRead | RightCreate | RightSubfolders | RightVisible | own},
	{"author", RightRead | RightCreate | RightVisible | own},
	{"nonediting-author", RightRead | RightCreate | RightVisible | RightDeleteOwn},
	{"reviewer", RightRead | RightVisible},
	{"contributor", RightCreate | RightVisible},
	{"free-busy-details", RightFreeBusy | RightDetails | RightVisible},
	{"free-busy", RightFreeBusy | RightVisible},
	{"none", 0},
}

// RightNames are the single rights by name, in the order in which they are shown.
var RightNames = []ShareRole{
	{"create", RightCreate},
	{"read", RightRead},
	{"subfolders", RightSubfolders},
	{"owner", RightOwner},
	{"contact", RightContact},
	{"edit-own", RightEditOwn},
	{"edit-all", RightEditAll},
	{"delete-own", RightDeleteOwn},
	{"delete-all", RightDeleteAll},
	{"visible", RightVisible},
	{"free-busy", RightFreeBusy},
	{"details", RightDetails},
	{"private", RightPrivate},
}

// Role names the role that r is, "custom" if none; that private items are seen
// does not count.
func (r Rights) Role() string {
	for _, role := range ShareRoles {
		if r&^RightPrivate == role.Rights {
			return role.Name
		}
	}
	return "custom"
}

// String lists the single rights.
func (r Rights) String() string {
	var names []string
	for _, n := range RightNames {
		if r.Has(n.Rights) {
			names = append(names, n.Name)
		}
	}
	return strings.Join(names, ",")
}

// ParseRights reads a role's name, or single rights with commas between them. An
// empty text is nothing that can be read.
func ParseRights(s string) (r Rights, ok bool) {
	for _, role := range ShareRoles {
		if strings.EqualFold(s, role.Name) || strings.EqualFold(s, strings.ReplaceAll(role.Name, "-", "")) {
			return role.Rights, true
		}
	}
	for name := range strings.SplitSeq(s, ",") {
		ok = false
		for _, n := range RightNames {
			if strings.EqualFold(strings.TrimSpace(name), n.Name) {
				r, ok = r|n.Rights, true
			}
		}
		if !ok {
			return 0, false
		}
	}
	return r, true
}

// Whom rights are given to besides people and groups.
const (
	// Everyone is all of the organisation who are signed in: what Exchange calls
	// Default.
	Everyone directory.ObjectID = 0
	// Anonymous is nobody that signs in. No right is given to it; the word is what a
	// calendar's secret feed is read as.
	Anonymous directory.ObjectID = -1
)

// Grant gives somebody rights in a folder. A person's own grant counts alone;
// without one, those of all groups that it is in count together; without any, that
// of Everyone does (MS-OXCPERM 3.1.4.1). So a grant of no rights shuts somebody out.
type Grant struct {
	To     directory.ObjectID // a person, a group or Everyone
	Rights Rights
}

// Shared is a folder of another mailbox with the rights that one has there.
type Shared struct {
	Owner  directory.ObjectID
	Box    MailboxID
	Folder Folder // Rights are those of who asks
}

// Subscription is a folder of another mailbox that somebody wants to see among its
// own. It is gone from its lists while the rights to see it are.
type Subscription struct {
	// ID is from the counter of one's own mailbox, so that it is never that of a
	// folder there.
	ID FolderID
	Shared
	Name  string      // empty: the folder's
	Props FolderProps // one's own colour and order; nothing else of it counts
}

// Sharing are the store's verbs for folders that several use. All other verbs take
// another one's mailbox too, as far as rights were given: what somebody may not see
// is NotFound, what it may see and not do Denied. Mailboxes, settings, devices,
// sync states, recoverable items and the outbox are nobody's but the owner's.
type Sharing interface {
	// Grants lists who has rights in a folder. Only who has RightOwner asks.
	Grants(ctx context.Context, as directory.Principal, box MailboxID, folder FolderID) ([]Grant, error)
	// SetGrant gives rights, or other ones. owner is whose mailbox it is. At most
	// 1,000 a folder.
	SetGrant(ctx context.Context, as directory.Principal, box MailboxID, owner directory.ObjectID, folder FolderID, g Grant) error
	// RemoveGrant takes a grant away; from then on what its groups or Everyone may
	// counts.
	RemoveGrant(ctx context.Context, as directory.Principal, box MailboxID, folder FolderID, to directory.ObjectID) error
	// Views tells what as sees of the calendars of a mailbox. One whose owner said
	// nothing to Everyone shows when it is busy.
	Views(ctx context.Context, as directory.Principal, box MailboxID) (map[FolderID]Rights, error)

	// SharedWith lists the folders that were given to as or a group that it is in,
	// by owner; those that Everyone has are found by their owner.
	SharedWith(ctx context.Context, as directory.Principal) ([]Shared, error)
	// Subscriptions lists those of as that it may see, by ID.
	Subscriptions(ctx context.Context, as directory.Principal) ([]Subscription, error)
	// SubscribeShared makes one, at most 500; the one that there is if there is.
	SubscribeShared(ctx context.Context, as directory.Principal, s Subscription) (Subscription, error)
	// UpdateSubscription changes name and properties.
	UpdateSubscription(ctx context.Context, as directory.Principal, id FolderID, fn func(*Subscription) error) (Subscription, error)
	UnsubscribeShared(ctx context.Context, as directory.Principal, id FolderID) error
}
