// Package store is the mailbox store: mailboxes, folders, items and the one
// journal of their changes. It holds the nouns, the verbs' arguments and the
// faults; the SQL is in store/postgres, the waking of those who wait in
// store/feed. No word of any protocol appears here.
//
// Promises:
//
//   - A method that returned without error is committed to disk. One that
//     returned an error changed nothing, except Unavailable after a lost
//     connection during commit, where the caller repeats under the same Once.
//   - Every change in a mailbox takes the next number (Seq) of that mailbox, in
//     the same transaction; numbers become visible in order. A Position names a
//     point in that order, so a reader that holds one misses nothing. A
//     position older than what is kept is answered with Resync.
//   - Item and folder ids are never reused and survive rename and moves. A copy
//     is a new item. An item is in exactly one folder.
//   - A message's content and its Summary never change.
//   - What a user deletes for good is recoverable until the purger takes it.
//   - Every method takes the acting principal and checks its rights; what it
//     may not see is NotFound or Denied.
//   - The cost of a read follows what is asked for, never the size of the
//     mailbox, and every list is paged.
package store

import (
	"context"
	"io"
	"time"

	"waypost/directory"
	"waypost/internal/mail"
)

// MailboxID names a mailbox; the directory gives it out.
type MailboxID = directory.MailboxID

// FolderID names a folder of a mailbox; from the same counter as ItemID.
type FolderID int64

// ItemID names an item of a mailbox.
type ItemID int64

// ThreadID names a conversation of a mailbox. It never changes.
type ThreadID int64

// UID is an item's number in its folder: ascending in the order of arrival
// there, never reused while the folder's UIDValidity stands.
type UID uint32

// Seq is a change number of a mailbox. It fits 63 bits, as modification
// sequences do. Zero is before every change.
type Seq int64

// Position is a point in the journal of a folder: everything with a smaller
// (Seq, Item) has been seen. One transaction may change many items under one
// Seq, hence the pair.
type Position struct {
	Seq  Seq
	Item ItemID
}

// Class is what a folder holds.
type Class string

// The classes of folders.
const (
	ClassMail     Class = "mail"
	ClassCalendar Class = "calendar"
	ClassContacts Class = "contacts"
	ClassTasks    Class = "tasks"
	ClassNotes    Class = "notes"
	ClassJournal  Class = "journal"
)

// Role marks the standard folders; a mailbox has at most one of each.
type Role string

// The standard folders. A new mailbox has all of them except RoleArchive.
const (
	RoleNone     Role = ""
	RoleInbox    Role = "inbox"
	RoleDrafts   Role = "drafts"
	RoleSent     Role = "sent"
	RoleTrash    Role = "trash"
	RoleJunk     Role = "junk"
	RoleArchive  Role = "archive"
	RoleOutbox   Role = "outbox"
	RoleCalendar Role = "calendar"
	RoleContacts Role = "contacts"
	RoleTasks    Role = "tasks"
	RoleNotes    Role = "notes"
	RoleJournal  Role = "journal"
)

// Flags are an item's system flags.
type Flags uint32

// The system flags. Other keywords are in Entry.Keywords.
const (
	Seen Flags = 1 << iota
	Answered
	Flagged
	Deleted
	Draft
	Forwarded
	MDNSent
	Junk
	NotJunk
	Phishing
)

// Mailbox is a mailbox as a whole.
type Mailbox struct {
	ID          MailboxID
	Seq         Seq   // the newest change
	Hierarchy   Seq   // the newest change of the folder tree
	Used        int64 // bytes, each item counted whole
	Items       int64
	Quota       int64 // bytes; 0: no limit
	Recoverable int64 // bytes deleted for good and not yet purged
	Created     time.Time
}

// Folder is a folder and its counts, as of one moment.
type Folder struct {
	ID          FolderID
	Parent      FolderID // 0: the root
	Name        string   // NFC, without "/" or control characters, at most 250 bytes
	Role        Role
	Class       Class
	Origin      Origin // of what is in it; OriginOwn for nearly all
	UIDValidity uint32
	UIDNext     UID
	HighestSeq  Seq // the newest change in this folder
	Floor       Seq // positions below it are answered with Resync
	Total       int
	Unread      int   // without Seen
	Deleted     int   // with Deleted
	Size        int64 // bytes
	Subscribed  bool
	Changed     Seq    // the newest change of name, parent, role or subscription
	Created     Seq    // the change that made it
	Rights      Rights // of who asked
}

// Entry is an item's narrow, changing part: where it is and how it is marked.
type Entry struct {
	Item     ItemID
	Folder   FolderID
	UID      UID
	Flags    Flags
	Keywords []string // sorted, each at most 64 bytes, at most 64 of them; never system flags
	Size     int64    // bytes, trace headers included
	Received time.Time
	Entered  Seq    // when it came into this folder
	Changed  Seq    // its newest change
	Props    *Props // nil for most
}

// Props are marks of an item that few items have.
type Props struct {
	FollowUp *FollowUp `json:"followUp,omitempty"`
	// LastVerb is what its owner last did with it: "reply", "replyAll", "forward".
	LastVerb   string    `json:"lastVerb,omitempty"`
	LastVerbAt time.Time `json:"lastVerbAt,omitzero"`
}

// FollowUp is a follow-up flag: its dates are the owner's, kept as they came.
type FollowUp struct {
	Complete  bool      `json:"complete,omitempty"`
	Type      string    `json:"type,omitempty"` // "Flag for follow up"
	Subject   string    `json:"subject,omitempty"`
	Start     time.Time `json:"start,omitzero"` // local wall time, written as UTC
	Due       time.Time `json:"due,omitzero"`
	UTCStart  time.Time `json:"utcStart,omitzero"`
	UTCDue    time.Time `json:"utcDue,omitzero"`
	Completed time.Time `json:"completed,omitzero"`
	// CompletedUTC is the true instant of completion.
	CompletedUTC time.Time `json:"completedUTC,omitzero"`
	Reminder     time.Time `json:"reminder,omitzero"`
	Ordinal      time.Time `json:"ordinal,omitzero"`
	SubOrdinal   string    `json:"subOrdinal,omitempty"`
}

// Message is an item's wide, immutable part.
type Message struct {
	Item    ItemID
	Thread  ThreadID
	Size    int64         // bytes, trace headers included
	Prefix  []byte        // the trace headers that delivery added; not in the blob
	Summary *mail.Summary // shared and read-only; its offsets count from the end of Prefix
}

// Tombstone says that an item left a folder (moved away or deleted).
type Tombstone struct {
	Item     ItemID
	UID      UID
	Name     string // of an object, as it was in that folder; empty for a message
	Entered  Seq
	Left     Seq
	Received time.Time
}

// Changes is a page of what happened in a folder after a Position.
type Changes struct {
	Since   Position    // the position asked for
	Folder  Folder      // from the same snapshot
	Changed []Entry     // IsNew tells which are new to the folder; each arrival is told as new once
	Gone    []Tombstone // of items that had entered before Since, by (Left, Item); apply them before Changed
	// Position is where the next page begins; with More false it is
	// (Folder.HighestSeq, max), and a later call returns only later changes.
	Position Position
	More     bool
}

// FolderChanges is what happened to the folder tree after a Seq.
type FolderChanges struct {
	At      Seq // the hierarchy's position of this answer
	Changed []Folder
	Gone    []FolderID
}

// Content is the bytes of a message: the trace headers and what was received.
// ReadAt may be called concurrently; it reads only the chunks it needs.
type Content interface {
	io.ReaderAt
	Size() int64
}

// Blob is content that was written to the store and is not yet referred to. A
// blob that nothing refers to for a day is collected.
type Blob struct {
	Hash  [32]byte
	Size  int64
	Small []byte // content of a small blob that is written along with what refers to it; nil for others
}

// BlobWriter takes content of any size in pieces, compressing chunk by chunk.
type BlobWriter interface {
	io.Writer
	// Close ends the content. After it the blob may be referred to.
	Close(ctx context.Context) (Blob, error)
	// Abort drops it; after Close it does nothing.
	Abort()
}

// NewMessage is a message to be put into a folder.
type NewMessage struct {
	Folder   FolderID // 0: by Role
	Role     Role     // used when Folder is 0; RoleNone then means the inbox
	Flags    Flags
	Keywords []string
	Props    *Props
	Received time.Time // zero: now
	Prefix   []byte    // trace headers, CRLF lines
	Blob     Blob
	Summary  *mail.Summary // of the blob's content
	// Once, if not empty, makes the call safe to repeat: a second call with the
	// same Once (at most 255 bytes) in this mailbox stores nothing and returns
	// the entry of the first, with Repeated set. Kept for 30 days.
	Once string
	// Limit is the mailbox's quota in bytes as the directory says it; 0: the
	// default. A delivery over quota is OverQuota and stores nothing.
	Limit int64
}

// Added is the result of adding an item.
type Added struct {
	Entry       Entry
	UIDValidity uint32
	Thread      ThreadID
	Repeated    bool // Once was seen before; Entry.Item may have moved or be gone (Entry.Folder 0)
	Away        bool // the mailbox has an absence notice (Settings.OutOfOffice)
}

// FlagChange changes marks of items of one folder.
type FlagChange struct {
	Folder  FolderID
	Items   []ItemID
	Set     Flags // taken after Clear
	Clear   Flags // ^Flags(0) with ClearKeywords replaces all
	Add     []string
	Remove  []string
	Replace bool // of keywords: drop those not in Add
	// UnchangedSince, if not nil, leaves alone the items changed after it.
	UnchangedSince *Seq
	// Props, if not nil, may change each item's Props (nil to clear them).
	Props func(ItemID, *Props) *Props
}

// FlagResult is the outcome of a FlagChange.
type FlagResult struct {
	Seq      Seq     // of this change; 0 if nothing changed
	Entries  []Entry // every item named that exists, as it is now
	Modified []ItemID
	// Was holds the Changed of each of Entries before this call, so that a
	// client's own change is not told to it again.
	Was []Seq
}

// Placed is one item's way into a folder.
type Placed struct {
	Item   ItemID // the source
	UID    UID    // in the source folder
	To     ItemID // equals Item for a move; a new item for a copy
	ToUID  UID
	Was    Seq // the source's Changed before
	Absent bool
	There  bool // by a move: it was in the destination before and stays as it is
}

// PlaceResult is the outcome of a copy or a move.
type PlaceResult struct {
	Seq         Seq
	UIDValidity uint32 // of the destination
	Placed      []Placed
}

// Outgoing is a message to be sent from a mailbox, written to its outbox in the
// same transaction as what else it changes.
type Outgoing struct {
	// Key makes sending safe to repeat; unique in the mailbox, kept 30 days.
	Key        string
	From       string // envelope sender; may be empty for automatic replies
	Recipients []string
	Prefix     []byte
	Blob       Blob
	Summary    *mail.Summary
	SaveIn     FolderID // 0: by SaveRole
	SaveRole   Role     // RoleNone: no copy is kept
	NotBefore  time.Time
	// Source, if set, is marked as answered or forwarded.
	Source     ItemID
	SourceVerb string // "reply", "replyAll", "forward"
	// Remove, if set, is deleted (a draft that was sent).
	Remove ItemID
	// Track, if set, has a record kept of it (see Submissions).
	Track *Track
}

// Sent is the outcome of Send.
type Sent struct {
	Repeated   bool // Key was seen before; nothing was done
	Saved      *Added
	Submission int64 // the id of the record, with Track
}

// OutboxEntry is a message waiting to be moved to the transport's queue.
type OutboxEntry struct {
	Mailbox    MailboxID
	ID         int64 // unique in the mailbox database
	From       string
	Recipients []string
	NotBefore  time.Time
	Created    time.Time
}

// Find looks for messages of a mailbox.
type Find struct {
	Folders []FolderID // empty: all mail folders but the trash and junk when Text is given
	Deep    bool       // also in the folders below
	Text    string     // words, or parts of them, that all must occur in the message
	After   time.Time  // received at or after
	Before  time.Time  // received before
	Thread  ThreadID   // 0: any
	Offset  int
	Limit   int // at most 1,000; 0 means 100
}

// Device is a phone's partnership with a mailbox.
type Device struct {
	ID         string            `json:"id"`   // as the device names itself, folded to lower case
	Type       string            `json:"type"` // "iPhone"
	Agent      string            `json:"agent,omitempty"`
	Version    string            `json:"version,omitempty"` // of the protocol
	Info       map[string]string `json:"info,omitempty"`    // model, os, phone number … as it says
	PolicyKey  uint32            `json:"policyKey,omitempty"`
	Pending    uint32            `json:"pending,omitempty"` // a policy key not yet acknowledged
	PolicyHash string            `json:"policyHash,omitempty"`
	PolicyAt   time.Time         `json:"policyAt,omitzero"`
	Blocked    bool              `json:"blocked,omitempty"`
	// Wipe is "", "pending", "sent", "done" or "failed"; WipeAccount asks for
	// the account's data only.
	Wipe        string    `json:"wipe,omitempty"`
	WipeAccount bool      `json:"wipeAccount,omitempty"`
	WipeAt      time.Time `json:"wipeAt,omitzero"`
	Secret      []byte    `json:"secret,omitempty"` // recovery password, sealed
	FirstSeen   time.Time `json:"firstSeen"`
	LastSeen    time.Time `json:"lastSeen"`
	LastFrom    string    `json:"lastFrom,omitempty"` // network address
}

// SyncState is a client's state of one collection. Data is opaque to the
// store, at most 1 MiB. The last two generations are kept.
type SyncState struct {
	Generation int64 // 0: there is none
	Data       []byte
	Previous   []byte // of generation Generation-1; nil if there is none
}

// OutOfOffice is a mailbox's absence notice.
type OutOfOffice struct {
	State    string       `json:"state,omitempty"` // "", "on", "timed"
	Start    time.Time    `json:"start,omitzero"`
	End      time.Time    `json:"end,omitzero"`
	Internal OutOfMessage `json:"internal,omitzero"`
	Known    OutOfMessage `json:"known,omitzero"`    // outside, known to the owner
	Unknown  OutOfMessage `json:"unknown,omitzero"`  // outside, unknown
	Subject  string       `json:"subject,omitempty"` // of the notice; "" for one that is made
}

// OutOfMessage is the notice for one audience.
type OutOfMessage struct {
	Enabled bool   `json:"enabled,omitempty"`
	Text    string `json:"text,omitempty"`
	HTML    bool   `json:"html,omitempty"`
	Plain   string `json:"plain,omitempty"` // the same without HTML, where Text is HTML
}

// Settings are what an owner sets about a mailbox.
type Settings struct {
	OutOfOffice OutOfOffice      `json:"outOfOffice,omitzero"`
	Calendar    CalendarSettings `json:"calendar,omitzero"`
	// Language is that of what the product writes in the owner's name, as BCP 47
	// names it; empty: English.
	Language string `json:"language,omitempty"`
	// Identities are what the owner says of the addresses that it sends from.
	Identities []Identity `json:"identities,omitempty"`
}

// Identity is an address to send from, with what belongs to it. One whose ID the
// directory's addresses give is about such an address; others the owner made.
type Identity struct {
	ID            string         `json:"id"`
	Name          string         `json:"name,omitempty"`
	Email         string         `json:"email"`
	ReplyTo       []mail.Address `json:"replyTo,omitempty"`
	Bcc           []mail.Address `json:"bcc,omitempty"`
	TextSignature string         `json:"text,omitempty"`
	HTMLSignature string         `json:"html,omitempty"`
}

// Recoverable is an item that was deleted for good.
type Recoverable struct {
	Item     ItemID
	Folder   FolderID // where it was
	Size     int64
	Received time.Time
	Gone     time.Time
}

// Watcher tells when a mailbox changed. It may wake without cause, but misses
// no change made after it was opened for longer than three seconds. It costs no
// database connection.
type Watcher interface {
	// C receives when something may have changed since the last receive.
	C() <-chan struct{}
	// Close ends it.
	Close()
}

// Store is the whole of it, as store/postgres makes it. Doors declare the few
// methods that they need.
type Store interface {
	Objects
	Feeds
	Queries
	Uploads
	Submissions
	Sharing

	// Mailbox opens a mailbox, making it with its standard folders if new.
	Mailbox(ctx context.Context, as directory.Principal, box MailboxID) (Mailbox, error)
	Settings(ctx context.Context, as directory.Principal, box MailboxID) (Settings, error)
	UpdateSettings(ctx context.Context, as directory.Principal, box MailboxID, fn func(*Settings) error) (Settings, error)
	// Watch begins to watch a mailbox; the caller closes the Watcher.
	Watch(box MailboxID) Watcher

	// Folders lists all folders, parents before children, and the hierarchy's Seq.
	Folders(ctx context.Context, as directory.Principal, box MailboxID) ([]Folder, Seq, error)
	Folder(ctx context.Context, as directory.Principal, box MailboxID, id FolderID) (Folder, error)
	FolderByRole(ctx context.Context, as directory.Principal, box MailboxID, r Role) (Folder, error)
	// FolderChanges lists what changed in the tree after since; Resync if too old.
	FolderChanges(ctx context.Context, as directory.Principal, box MailboxID, since Seq) (FolderChanges, error)
	CreateFolder(ctx context.Context, as directory.Principal, box MailboxID, f Folder) (Folder, error)
	// RenameFolder gives a folder another parent and name. Standard folders
	// cannot be moved or renamed (Denied).
	RenameFolder(ctx context.Context, as directory.Principal, box MailboxID, id, parent FolderID, name string) (Folder, error)
	// DeleteFolder deletes a folder with all below it when deep is set, and
	// refuses one that has children otherwise (Conflict). Its items become
	// recoverable. Standard folders are Denied.
	DeleteFolder(ctx context.Context, as directory.Principal, box MailboxID, id FolderID, deep bool) error
	SubscribeFolder(ctx context.Context, as directory.Principal, box MailboxID, id FolderID, on bool) error

	// Entries lists a page of at most limit entries of a folder with UID > after
	// in order of UID, with the folder as of the same moment.
	Entries(ctx context.Context, as directory.Principal, box MailboxID, folder FolderID, after UID, limit int) (Folder, []Entry, error)
	// Newest lists a page of at most limit entries received at or after cutoff
	// (zero: all) that entered the folder at or before upTo, newest item first,
	// with Item < before (0: from the newest).
	Newest(ctx context.Context, as directory.Principal, box MailboxID, folder FolderID, cutoff time.Time, upTo Seq, before ItemID, limit int) ([]Entry, error)
	// Aged lists a page of entries whose Received is in [from, to): those that a
	// moving cut-off passes, by Item after the one named.
	Aged(ctx context.Context, as directory.Principal, box MailboxID, folder FolderID, from, to time.Time, after ItemID, limit int) ([]Entry, error)
	// CountSince counts the entries received at or after cutoff (zero: all).
	CountSince(ctx context.Context, as directory.Principal, box MailboxID, folder FolderID, cutoff time.Time) (int, error)
	// EntriesOf gives the entries of items wherever they are, in the order asked
	// for; items that are gone are left out. At most 1,000.
	EntriesOf(ctx context.Context, as directory.Principal, box MailboxID, items []ItemID) ([]Entry, error)
	// Changes lists a page of the changes of a folder after since.
	Changes(ctx context.Context, as directory.Principal, box MailboxID, folder FolderID, since Position, limit int) (Changes, error)
	// Messages gives the wide parts of items, in the order asked for, nil where
	// an item is gone. At most 1,000 at a time; answered from a cache when warm.
	Messages(ctx context.Context, as directory.Principal, box MailboxID, items []ItemID) ([]*Message, error)
	// Content opens a message's bytes. The context bounds its reads too.
	Content(ctx context.Context, as directory.Principal, box MailboxID, item ItemID) (Content, error)
	// Warm reads the beginnings of at most 1,000 messages ahead, so that opening
	// them afterwards asks little or nothing; those that are gone are left out.
	Warm(ctx context.Context, as directory.Principal, box MailboxID, items []ItemID) error
	// FindMessages lists a page of what is found, newest first, and how many
	// there are in all.
	FindMessages(ctx context.Context, as directory.Principal, box MailboxID, q Find) ([]Entry, int, error)
	// WithWords gives the messages that have all words of a text, from the index
	// of words, in folders or recoverable.
	WithWords(ctx context.Context, as directory.Principal, box MailboxID, q WordQuery) (WithWords, error)

	// NewBlob begins to write content. homeMDB is the mailbox database.
	NewBlob(ctx context.Context, homeMDB string) (BlobWriter, error)
	// Add puts a message into a folder.
	Add(ctx context.Context, as directory.Principal, box MailboxID, m NewMessage) (Added, error)
	// Flag changes marks.
	Flag(ctx context.Context, as directory.Principal, box MailboxID, c FlagChange) (FlagResult, error)
	// Copy makes new items in another folder, all or none.
	Copy(ctx context.Context, as directory.Principal, box MailboxID, from FolderID, items []ItemID, to FolderID) (PlaceResult, error)
	// Move takes items to another folder, all that exist; from 0 takes each from
	// wherever it is. Moving an item to where it is changes nothing.
	Move(ctx context.Context, as directory.Principal, box MailboxID, from FolderID, items []ItemID, to FolderID) (PlaceResult, error)
	// Delete makes items of a folder recoverable. With onlyMarked it leaves
	// those without the Deleted flag alone. It returns those that were deleted.
	Delete(ctx context.Context, as directory.Principal, box MailboxID, folder FolderID, items []ItemID, onlyMarked bool) (Seq, []Tombstone, error)
	// Empty makes all items of a folder recoverable, in pages.
	Empty(ctx context.Context, as directory.Principal, box MailboxID, folder FolderID) error
	Recoverables(ctx context.Context, as directory.Principal, box MailboxID, after ItemID, limit int) ([]Recoverable, error)
	// Restore brings recoverable items back into a folder (0: where they were,
	// or the inbox).
	Restore(ctx context.Context, as directory.Principal, box MailboxID, items []ItemID, to FolderID) error

	// Send writes to the outbox and does what Outgoing says, in one transaction.
	Send(ctx context.Context, as directory.Principal, box MailboxID, o Outgoing) (Sent, error)

	// SyncState reads a client's state; Generation 0 if there is none.
	SyncState(ctx context.Context, as directory.Principal, box MailboxID, client, scope string) (SyncState, error)
	// SaveSyncState replaces generation was by was+1, keeping was as Previous;
	// Conflict if the state has another generation by now. With replaceOnly the
	// generation stays was and only Data changes.
	SaveSyncState(ctx context.Context, as directory.Principal, box MailboxID, client, scope string, was int64, data []byte, replaceOnly bool) error
	// DropSyncStates forgets a client's states whose scope begins with prefix.
	DropSyncStates(ctx context.Context, as directory.Principal, box MailboxID, client, prefix string) error

	Devices(ctx context.Context, as directory.Principal, box MailboxID) ([]Device, error)
	// Device gives a device; NotFound if it is new.
	Device(ctx context.Context, as directory.Principal, box MailboxID, id string) (Device, error)
	// UpdateDevice changes a device, making it if new (at most 100 a mailbox).
	UpdateDevice(ctx context.Context, as directory.Principal, box MailboxID, id string, fn func(*Device) error) (Device, error)
	RemoveDevice(ctx context.Context, as directory.Principal, box MailboxID, id string) error
}
