package index

import (
	"context"
	"time"

	"waypost/directory"
	"waypost/directory/schema"
	"waypost/directory/tree"
)

// MaxID is the highest ObjectID that the index holds. The counter in the
// database gives out dense numbers from 1; those from FirstMade on are free for
// objects that a process makes itself (schema entries).
const (
	MaxID     directory.ObjectID = 1<<32 - 2
	FirstMade directory.ObjectID = 1 << 31
)

// Object is what the index keeps of an object. Names are the schema's or an
// alias of them; an attribute or class that the schema does not know is a fault.
type Object struct {
	ID directory.ObjectID
	// Parent is the container; 0 for the root object alone, which has no name
	// and is never found. Domains are children of the root, their RDN is DC and
	// the whole DNS name.
	Parent           directory.ObjectID
	GUID             [16]byte // objectGUID in LDAP's order of bytes
	Created, Changed directory.USN
	// CreatedAt and ChangedAt are kept to the second.
	CreatedAt, ChangedAt time.Time
	Class                string   // most specific structural class
	Extra                []string // auxiliary classes that the object names itself
	RDN                  tree.AVA
	// RID is the relative identifier of a security principal. Its objectSid is
	// then made: the objectSid among the Attributes of the domain (the nearest
	// domainDNS above) with the RID behind. An objectSid among the object's own
	// Attributes (domains; BUILTIN groups) goes before.
	RID uint32
	// Attributes are the stored ones, their values raw as LDAP shows them.
	// Those that the index makes (objectGUID, whenChanged, name, the naming
	// attribute, …) and those of DN syntax are not among them.
	Attributes []tree.Attribute
	// Cold are attributes whose values lie in the database only. Their presence
	// can be asked for by a filter, their values cannot.
	Cold []string
	// Links are all values of attributes of DN syntax, by forward attribute,
	// with or without a link id. Targets that are not in the index are kept
	// and shown once they are. Back links are computed.
	Links []Link
	// KeepLinks leaves those of before, except for LinkChanges; Links is not
	// looked at. So a member can join a group of 100,000 without all of it.
	KeepLinks   bool
	LinkChanges []LinkChange
	// Deleted is a tombstone: found only by a query with Deleted.
	Deleted bool
}

// Link is an attribute of DN syntax with its values. They are a set: the index
// shows them in order of ObjectID.
type Link struct {
	Attribute string
	Targets   []directory.ObjectID
}

// LinkChange adds and removes values of an attribute of DN syntax.
type LinkChange struct {
	Attribute   string
	Add, Remove []directory.ObjectID
}

// Cold fetches the values of cold attributes of some objects. It is called
// without a lock, once for a batch of results. What is not in its answer is
// left out of the entry.
type Cold func(ctx context.Context, ids []directory.ObjectID, names []string) (map[directory.ObjectID][]tree.Attribute, error)

// Sight is what a reader may see. Its methods are called with the index's lock
// held for reading: they neither block nor call the index. A nil Sight sees all.
type Sight interface {
	// See gives what may be read of an object, nil when it may not be seen at
	// all. p is good during the call only. Attributes that may not be read are
	// not shown and a filter finds nothing in them.
	See(p *Place) View
}

// Hider is a Sight that hides single values of back links: what an object that
// may be read does not tell of another (memberOf of a group whose members are
// hidden).
type Hider interface {
	// Hides tells whether the objects that id leads to by a forward link keep
	// that to themselves; nil when no value of the attribute is hidden. The
	// function is called as See is.
	Hides(a *schema.Attribute) func(id directory.ObjectID) bool
}

// View tells which attributes of an object may be read.
type View interface {
	Reads(a *schema.Attribute) bool
}

// Place is what a Sight decides by.
type Place struct {
	ID    directory.ObjectID
	Class *schema.Class
	// Chain are the containers: nearest first, down from them the root last.
	Chain   []directory.ObjectID
	Deleted bool
	// Last is where a deleted object was last, or what is left of that above; 0
	// when it is gone, or when it or the object had entries of its own.
	Last directory.ObjectID
}

// Everything is the View that reads all attributes.
var Everything View = everything{}

type everything struct{}

func (everything) Reads(*schema.Attribute) bool { return true }
