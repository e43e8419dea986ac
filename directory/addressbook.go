package directory

import (
	"context"

	"waypost/internal/fault"
)

// AddressBook is the part of the directory that says who may write to a list,
// and what people look up besides names.
type AddressBook interface {
	// MaySendTo tells whether a message of the sender may go to the group: a fault
	// of Denied, whose text is for the sender, when it may not. With approvers it
	// may when one of them says so. Every door that expands groups asks it, so that
	// all of them agree; only the queue keeps what waits for approval.
	MaySendTo(ctx context.Context, from Sender, group ObjectID) (approvers []Target, err error)
	// Photo gives the picture of somebody in the address list, a JPEG of at most
	// 100 KiB; NotFound when there is none.
	Photo(ctx context.Context, as Principal, id ObjectID) ([]byte, error)
	// Delegates gives the mailboxes of those who act for somebody (publicDelegates),
	// of groups among them the members. Only itself and who sees everything may ask.
	Delegates(ctx context.Context, as Principal, id ObjectID) ([]Target, error)
	// MemberOf gives the groups that somebody is in, with those that these are in.
	// Groups by filter are not among them. Only who sees everything may ask.
	MemberOf(ctx context.Context, as Principal, id ObjectID) ([]ObjectID, error)
	// AddressLists gives the address lists below the global one, by name.
	AddressLists(ctx context.Context, as Principal) ([]AddressList, error)
}

// Sender is whom a message comes from, as far as a door knows.
type Sender struct {
	Address string // of the envelope; "" is the null sender
	// Known: the address is the sender's own, because somebody signed in under
	// it or one of our own processes says so. Others can write any address.
	Known bool
}

// AddressList is a part of the global address list: whom its filter finds, and
// who names it in showInAddressBook.
type AddressList struct {
	ID     ObjectID
	Name   string
	Filter string // RFC 4515; "" finds nobody
	Base   string // DN below which it looks; "": everywhere
}

// The refusals of MaySendTo.
var (
	ErrNotAllowed  = fault.New(fault.Denied, "You are not allowed to send to this list")
	ErrRefused     = fault.New(fault.Denied, "This list takes no messages from you")
	ErrSignInFirst = fault.New(fault.Denied, "Only people of this organisation, signed in, may send to this list")
	// ErrModerated: nobody is there who could approve.
	ErrModerated = fault.New(fault.Denied, "This list is moderated, and has no moderator")
)

// GroupRules are what holds for a group: whom it consists of when a filter
// says so, and who may write to it.
type GroupRules struct {
	Filter        string   `json:",omitempty"` // of a group by filter (RFC 4515)
	Base          string   `json:",omitempty"` // DN below which it looks; "": everywhere
	Security      bool     `json:",omitempty"` // it can be given rights, not only mail
	HiddenMembers bool     `json:",omitempty"`
	Hidden        bool     `json:",omitempty"` // not shown in address lists
	Owners        []Member `json:",omitempty"` // who manage its members
	SignedInOnly  bool     `json:",omitempty"` // nothing from outside
	Allowed       []Member `json:",omitempty"` // if any: only they, and members of those that are groups, may send
	Refused       []Member `json:",omitempty"` // whatever else is said
	Moderated     bool     `json:",omitempty"` // what others than moderators and owners send waits for their approval
	Moderators    []Member `json:",omitempty"`
}
