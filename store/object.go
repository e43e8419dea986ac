package store

import (
	"context"
	"time"

	"waypost/directory"
)

// Kind is what an object is. A folder takes the kinds of its class only:
// ClassCalendar events, ClassTasks tasks, ClassContacts cards and groups,
// ClassNotes notes, ClassJournal journal entries.
type Kind string

// The kinds of objects.
const (
	KindEvent   Kind = "event"   // VEVENT, one UID with all its overrides
	KindTask    Kind = "task"    // VTODO, likewise
	KindJournal Kind = "journal" // VJOURNAL
	KindNote    Kind = "note"    // VJOURNAL in a folder of notes
	KindCard    Kind = "card"    // vCard
	KindGroup   Kind = "group"   // vCard with KIND:group
)

// MaxObject bounds an object's text in bytes.
const MaxObject = 20 << 20

// Object is the wide part of an item that is no message: an event, a task, a
// card, a note. Unlike a message's it is replaced by edits.
type Object struct {
	Item    ItemID
	Folder  FolderID
	Kind    Kind
	UID     string // iCalendar's or vCard's; one object a folder has it
	Name    string // in DAV; chosen by the client that made it, else by the store; one object a folder has it
	Version Seq    // the change that wrote this text: the ETag
	Size    int64  // bytes of Text
	// Starts and Ends are those of the first and the last occurrence. Zero
	// Starts: it has no time; zero Ends: it goes on for ever. Days and floating
	// times are their digits as UTC.
	Starts, Ends time.Time
	// Text is iCalendar 2.0 or vCard 4.0 in canonical form, with every property
	// that anybody wrote. Nil where a list leaves it out. Read-only.
	Text []byte
}

// Edit is what becomes of an object.
type Edit struct {
	Text []byte // the whole new text; equal to the old one: the object is left alone
	// Send is written to the outbox in the same transaction.
	Send []Outgoing
}

// PutObject makes or replaces one object.
type PutObject struct {
	Folder FolderID // 0: by Role
	Role   Role     // used when Folder is 0
	// Which object: Item; or the one with Name; or the one with UID; else a new one.
	Item ItemID
	Name string // at most 255 bytes, without "/" or control characters; also the name of a new one
	UID  string
	// IfMatch, if not nil, is the version that the object must have, 0 for
	// none: it must not exist. Else the call is Conflict.
	IfMatch *Seq
	// IfFolder, if not nil, is the newest change that the folder may have, else the
	// call is Conflict; what was written before in the same transaction counts. So
	// a room that looked at its occurrences answers by what it saw, or looks again.
	IfFolder *Seq
	// Edit gives the new text from the newest one, nil for a new object. It may
	// be called again and must have no effects. What it returns as an error ends
	// the call with it.
	Edit func(old *Object) (Edit, error)
	// Once, as in NewMessage, makes the call safe to repeat.
	Once string
	// Limit is the mailbox's quota in bytes, as in NewMessage; only its owner says it.
	Limit int64
	// Feed: into a folder that is fed, by who feeds it. Everybody else is Denied there.
	Feed bool
	// ForOwner says that as, who is not the owner, may send in the owner's name:
	// the directory says so. Without it an Edit of somebody else that sends is Denied.
	ForOwner bool
}

// Put is the outcome of PutObject.
type Put struct {
	Entry   Entry
	Object  Object
	Created bool
	// Changed tells whether anything was written. An edit that leaves the text
	// as it is takes no change number.
	Changed  bool
	Repeated bool // Once was seen before; Entry.Item may have moved or be gone (Entry.Folder 0)
	Was      Seq  // the entry's Changed before; 0 for a new one
}

// RemoveObject deletes one object.
type RemoveObject struct {
	Folder  FolderID
	Item    ItemID
	IfMatch *Seq // as in PutObject
	// Send, if not nil, gives what is written to the outbox in the same
	// transaction, from the object that goes.
	Send     func(old *Object) ([]Outgoing, error)
	ForOwner bool // as in PutObject
}

// Busy is what an occurrence says of its owner's time.
type Busy int

// The states of free/busy.
const (
	BusyFree Busy = iota
	BusyTentative
	BusyBusy
	BusyOut
	BusyElsewhere
)

// Occurrence is one instance of an object in time.
type Occurrence struct {
	Item   ItemID
	Folder FolderID
	// Starts and Ends of a day or a floating time are its digits as UTC.
	Starts, Ends time.Time
	Instance     string // its RECURRENCE-ID as written in the text; empty for what does not recur
	AllDay       bool
	Floating     bool // days are floating too
	Busy         Busy
	Cancelled    bool
	Private      bool
}

// Between asks for occurrences in a range of time.
type Between struct {
	Folders []FolderID // at most 100
	// Occurrences that end after From and start before To, or last no time and
	// start at From. Floating ones are placed in Floating, nil for UTC.
	From, To time.Time
	Floating *time.Location
	After    *Occurrence // the last one of the page before
	Limit    int         // at most 10,000; 0 means 1,000
}

// FindObjects asks for objects by words.
type FindObjects struct {
	Folders []FolderID // empty: all of the kinds' folders but the trash
	Kinds   []Kind     // empty: all
	Text    string     // words that all must occur in what the object shows of itself; folded
	After   ItemID     // of the page before
	Limit   int        // at most 1,000; 0 means 100
}

// FolderProps are what clients keep about a folder beside its name.
type FolderProps struct {
	Color       string `json:"color,omitempty"` // "#RRGGBB" or "#RRGGBBAA"
	Order       string `json:"order,omitempty"`
	Description string `json:"description,omitempty"`
	Zone        string `json:"zone,omitempty"` // IANA name; of floating times
	// Path is the last part of the folder's address in DAV when a client chose it;
	// else that is the id's text, so Path never looks like one.
	Path string `json:"path,omitempty"`
	// Transparent folders do not count for free/busy (RFC 6638 section 9.1).
	Transparent bool `json:"transparent,omitempty"`
	// Dead are WebDAV's dead properties: XML by "{namespace}name". At most 64 KiB together.
	Dead map[string]string `json:"dead,omitempty"`
}

// Objects are the store's verbs for items that are no messages. Where they are,
// their marks, moves, deletion, recovery and changes are those of all items:
// Store's Entries, Changes, Move, Copy, Delete and Restore do it. A move or copy
// into a folder that has the UID already is Conflict, into one of another class
// Invalid; a name that is taken there is replaced.
type Objects interface {
	// PutObject makes or replaces an object.
	PutObject(ctx context.Context, as directory.Principal, box MailboxID, p PutObject) (Put, error)
	// RemoveObject makes an object recoverable.
	RemoveObject(ctx context.Context, as directory.Principal, box MailboxID, r RemoveObject) (Seq, error)
	// Objects gives objects with their texts, in the order asked for, nil where
	// one is gone. At most 1,000, and at most 32 MiB of text at a time: more is
	// Limit with what fits, so ask for fewer.
	Objects(ctx context.Context, as directory.Principal, box MailboxID, items []ItemID) ([]*Object, error)
	// ObjectsOf is Objects without texts.
	ObjectsOf(ctx context.Context, as directory.Principal, box MailboxID, items []ItemID) ([]*Object, error)
	// ObjectsNamed finds objects of a folder by name, without texts, in the order
	// asked for, nil where there is none. At most 1,000.
	ObjectsNamed(ctx context.Context, as directory.Principal, box MailboxID, folder FolderID, names []string) ([]*Object, error)
	// ObjectsNamedWithTexts is ObjectsNamed with texts, limited as Objects is.
	ObjectsNamedWithTexts(ctx context.Context, as directory.Principal, box MailboxID, folder FolderID, names []string) ([]*Object, error)
	// ObjectsByUID finds the objects with a UID in all folders of a class but
	// the trash and those that are fed, without texts.
	ObjectsByUID(ctx context.Context, as directory.Principal, box MailboxID, class Class, uid string) ([]*Object, error)
	// ObjectList lists a page of a folder's objects without texts, by item after
	// the one named.
	ObjectList(ctx context.Context, as directory.Principal, box MailboxID, folder FolderID, after ItemID, limit int) ([]*Object, error)
	// Occurrences lists a page of occurrences by (Starts, Item, Instance).
	Occurrences(ctx context.Context, as directory.Principal, box MailboxID, q Between) ([]Occurrence, error)
	// Occurring lists a page of the objects that Occurrences would tell of, each
	// once, by item after the one named, at most 1,000. q.After is not looked at.
	// Texts of more than 4 KiB may be left out, so ask for those with Objects.
	Occurring(ctx context.Context, as directory.Principal, box MailboxID, q Between, after ItemID) ([]*Object, error)
	// FindObjects lists a page of what is found, without texts, by item.
	FindObjects(ctx context.Context, as directory.Principal, box MailboxID, q FindObjects) ([]*Object, error)

	// FolderProps gives the properties of folders, in the order asked for.
	FolderProps(ctx context.Context, as directory.Principal, box MailboxID, folders []FolderID) ([]FolderProps, error)
	// UpdateFolderProps changes them; a change of the folder, which its watchers see.
	UpdateFolderProps(ctx context.Context, as directory.Principal, box MailboxID, folder FolderID, fn func(*FolderProps) error) (FolderProps, error)
}
