// Package tree is the directory as LDAP sees it: distinguished names, filters,
// entries with attributes, and the operations on them. It holds nouns and
// rules without SQL and without sockets; directory/postgres implements Tree,
// services/ldap puts it on the wire.
//
// Its law is that of package directory: every operation takes who acts and
// checks its rights itself, and what may not be seen is told like what is not
// there. Attributes are named as the schema spells them, and options of an
// attribute description (";binary", ";range=0-9") never come this far.
package tree

import (
	"context"
	"time"

	"waypost/directory"
	"waypost/directory/schema"
)

// Scope is how far below its base a search looks (RFC 4511 §4.5.1.2; the values
// are the wire's).
type Scope int

const (
	// Base is the entry named alone.
	Base Scope = iota
	// One is the entries directly below it.
	One
	// Sub is the entry and all below it.
	Sub
)

// Attribute is an attribute with its values, in a stable order. Values are the
// bytes of LDAP's string form (binary for octet strings).
type Attribute struct {
	Name   string
	Values []string
}

// Entry is an object as a search shows it: what was asked for and what the
// reader may see of it.
type Entry struct {
	ID         directory.ObjectID
	GUID       [16]byte // objectGUID as LDAP shows its bytes
	DN         string   // RFC 4514
	USN        directory.USN
	Deleted    bool
	Attributes []Attribute
	// Partial are the attributes whose values were cut at Query.Range.
	Partial []Range
}

// Get gives the values of the attribute that the schema spells name.
func (e *Entry) Get(name string) []string {
	for i := range e.Attributes {
		if e.Attributes[i].Name == name {
			return e.Attributes[i].Values
		}
	}
	return nil
}

// Range is a part of an attribute's values: First to Last, counted from 0; Last
// -1 is the end (of an answer: these are the last ones there are).
type Range struct {
	Name        string
	First, Last int
}

// SortKey orders a search (RFC 2891).
type SortKey struct {
	Attribute string
	Rule      string // matching rule; "" for the attribute's own
	Reverse   bool
}

// Query is a search.
type Query struct {
	Base   DN
	Scope  Scope
	Filter *Filter
	// Attributes are those wanted: names, "*" for all user attributes, "+" for
	// all operational ones; empty is "*", "1.1" is none.
	Attributes []string
	TypesOnly  bool
	// Ranges are asked for by option; an attribute of more than MaxRange values
	// that is not among them is cut there (0: never).
	Ranges   []Range
	MaxRange int
	// Global is the global catalog: all naming contexts, the partial attribute
	// set, an empty base allowed.
	Global bool
	// Deleted shows tombstones too.
	Deleted bool
	// DomainScope leaves referrals to other naming contexts out.
	DomainScope bool
	// Limit ends the search with a fault of fault.Limit after so many entries;
	// 0 is none. Deadline ends it with ErrTimeLimit.
	Limit    int
	Deadline time.Time
	// After goes on behind an entry of an unsorted search: results come in the
	// order of ObjectID, so that pages meet each entry exactly once whatever is
	// written meanwhile.
	After directory.ObjectID
	// Sort orders the result. It needs the whole result at once, at most
	// MaxSorted entries (else fault.Limit).
	Sort []SortKey
	// Since shows only what changed after it (content sync, DirSync).
	Since directory.USN
}

// Modification is one part of a modify (RFC 4511 §4.6). Delete without Values
// removes the attribute.
type Modification struct {
	Op     ModOp
	Name   string
	Values []string
}

// ModOp is the operation of a modification; the values are the wire's.
type ModOp int

// The operations of RFC 4511 §4.6 and RFC 4525.
const (
	ModAdd ModOp = iota
	ModDelete
	ModReplace
	ModIncrement
)

// Options are what controls say about a write.
type Options struct {
	Assert     *Filter  // RFC 4528: else ResultAssertionFailed
	PreRead    []string // RFC 4527: attributes to give as they were before; nil: none
	PostRead   []string
	Permissive bool // to add what is there or delete what is not is no error
	Tree       bool // delete with everything below
	// From is where the client is, for the audit log.
	From string
}

// Written is the answer to a write.
type Written struct {
	ID   directory.ObjectID
	USN  directory.USN
	Pre  *Entry // when asked for
	Post *Entry
}

// Event is one step of a watched search.
type Event struct {
	// Entry is what entered the search or changed within it; nil for one that
	// left it (ID and GUID tell which) and for the end of the first phase.
	Entry *Entry
	ID    directory.ObjectID
	GUID  [16]byte
	Added bool // the entry was not in the search before
	Moved bool // only its DN changed
	USN   directory.USN
	// Present ends the first phase: everything that is there was shown, the
	// position is USN.
	Present bool
}

// Tree is the directory by name and attribute. Its methods are safe for
// concurrent use; a writer reads its own writes. Refusals are *Refusal.
type Tree interface {
	// Schema gives the schema of now. It is never changed, only replaced.
	Schema() *schema.Schema
	// Contexts are the naming contexts: the forest's domains, the configuration
	// and the schema, the forest's root domain first.
	Contexts() []DN
	// USN is the newest change.
	USN() directory.USN
	// Resolve gives the object's name now ("" and false when nobody has it).
	Resolve(id directory.ObjectID) (DN, bool)
	// Who finds the account that signs in with a DN; its credentials are then
	// checked with the UPN or address that it gives.
	Who(dn DN) (login string, ok bool)

	// Search calls fn with each entry, without any lock or transaction held.
	// An Entry is fn's to keep. A referral to be told comes as *Referral.
	Search(ctx context.Context, as directory.Principal, q *Query, fn func(*Entry) error) error
	// Compare tells whether the attribute has the value (RFC 4511 §4.10).
	Compare(ctx context.Context, as directory.Principal, dn DN, attribute, value string) (bool, error)
	// Watch is Search with Since that goes on: first what changed after
	// q.Since (all of it when 0), then Present, then every change until ctx
	// ends. A Since that is too old is fault.Resync.
	Watch(ctx context.Context, as directory.Principal, q *Query, fn func(*Event) error) error

	// AddEntry makes an object (RFC 4511 §4.7).
	AddEntry(ctx context.Context, as directory.Principal, dn DN, attributes []Attribute, o Options) (Written, error)
	// ModifyEntry changes attributes, all or none (RFC 4511 §4.6).
	ModifyEntry(ctx context.Context, as directory.Principal, dn DN, mods []Modification, o Options) (Written, error)
	// MoveEntry renames an object, and moves it with everything below when
	// superior is not nil (RFC 4511 §4.9).
	MoveEntry(ctx context.Context, as directory.Principal, dn DN, rdn RDN, deleteOld bool, superior *DN, o Options) (Written, error)
	// DeleteEntry removes a leaf, or with Options.Tree the whole subtree. It
	// stays as a tombstone for 180 days.
	DeleteEntry(ctx context.Context, as directory.Principal, dn DN, o Options) (Written, error)
	// ChangePassword sets a password. With old it is the account's own change,
	// without it a reset, which needs the right to. An empty new one is made
	// up and given back.
	ChangePassword(ctx context.Context, as directory.Principal, dn DN, old *string, new string) (made string, err error)
}
