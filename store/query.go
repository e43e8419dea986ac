package store

import (
	"context"
	"time"

	"waypost/directory"
)

// Queries are the store's verbs over the mail of a whole mailbox: folders of
// class mail and what is in them. A message with the Deleted flag is not seen by
// any of them, and one that is marked so counts as gone.
type Queries interface {
	// MailSeq is the newest change of any folder of mail or of the folder tree: what
	// Query, Threads and MailChanges depend on does not change while it stays.
	MailSeq(ctx context.Context, as directory.Principal, box MailboxID) (Seq, error)
	// Query finds messages. Anchor's absence is NotFound, a condition that cannot be
	// looked for is Invalid.
	Query(ctx context.Context, as directory.Principal, box MailboxID, q Query) (Found, error)
	// Matches gives which of items (at most 1,000) are found by where.
	Matches(ctx context.Context, as directory.Principal, box MailboxID, where *Condition, items []ItemID) ([]ItemID, error)
	// MailChanges lists a page of the changes of mail after since; Resync if it is
	// too old.
	MailChanges(ctx context.Context, as directory.Principal, box MailboxID, since MailPosition, limit int) (MailChanges, error)
	// Threads gives the items of conversations by Received, oldest first, in the
	// order asked for, nil where there is none. At most 1,000.
	Threads(ctx context.Context, as directory.Principal, box MailboxID, threads []ThreadID) ([][]ItemID, Seq, error)
	// ThreadCounts counts the visible messages and conversations of every folder of mail.
	ThreadCounts(ctx context.Context, as directory.Principal, box MailboxID) (map[FolderID]ThreadCount, error)
}

// Query asks for messages of a mailbox.
type Query struct {
	Where *Condition // nil: all
	Sort  []Sort     // then the newest item first
	// Collapse keeps only the first message of each conversation.
	Collapse bool
	// Position is where the answer begins; negative counts from the end.
	Position int
	// Anchor, if not 0, is the item from which AnchorOffset counts instead.
	Anchor       ItemID
	AnchorOffset int
	Limit        int  // at most 1,000; 0 means 100
	Total        bool // is wanted
	// Find asks where these items are in the whole answer.
	Find []ItemID
}

// Found is the answer to a Query.
type Found struct {
	Seq      Seq // MailSeq of the same moment
	Items    []ItemID
	Position int // of the first item
	Total    int // -1 when it was not asked for
	// At tells where those of Query.Find are that are in the answer.
	At map[ItemID]int
}

// Op joins conditions.
type Op int

// The ways to join conditions. OpTest is a condition without others in it.
const (
	OpTest Op = iota
	OpAnd
	OpOr
	OpNot // none of them
)

// Test is what a condition looks at.
type Test int

// The tests of messages.
const (
	TestFolder        Test = iota // in one of Folders
	TestNotFolder                 // in another folder than Folders
	TestBefore                    // received before Time
	TestAfter                     // received at or after Time
	TestMinSize                   // Size or more
	TestMaxSize                   // less than Size
	TestMark                      // has Mark
	TestAllInThread               // all messages of the conversation have Mark
	TestSomeInThread              // one of them has
	TestHasAttachment             // a file belongs to it
	TestText                      // Text in the field In
	TestHeader                    // has the field Header, with Text in it unless that is empty
	TestThread                    // in the conversation Thread
	testEnd
)

// Condition is a question about a message: a tree.
type Condition struct {
	Op Op
	Of []Condition // at most 1,000 tests and 16 levels in all

	Test    Test
	Folders []FolderID
	Time    time.Time
	Size    int64
	Mark    Mark
	In      Field
	Header  string
	Text    string // words that must all occur; between quotation marks as one
	Thread  ThreadID
}

// Mark is a flag, or a keyword when Flag is 0.
type Mark struct {
	Flag    Flags
	Keyword string
}

// Field is where text is looked for.
type Field int

// The fields of messages.
const (
	InAny Field = iota // addresses, subject and text
	InFrom
	InTo
	InCc
	InBcc
	InSubject
	InBody
)

// SortKey is what messages are sorted by.
type SortKey int

// The keys.
const (
	ByReceived SortKey = iota
	BySent
	BySize
	ByFrom // name, else address, of the first one
	ByTo
	BySubject // the base subject
	ByMark
	ByAllInThread
	BySomeInThread
	sortEnd
)

// Sort is one key of a sort.
type Sort struct {
	By   SortKey
	Mark Mark // of the last three
	Desc bool
}

// MailPosition is where a reader of MailChanges is. With At zero it has seen all
// up to Base. Otherwise it is on its way from Base, and has seen the changes
// before At: what is new to it is judged by Base until the way's end.
type MailPosition struct {
	Base Seq
	At   Position
}

// MailChanges is a page of what happened in a mailbox's mail.
type MailChanges struct {
	Created, Updated, Destroyed []ItemID
	// The conversations of these items, each in one list.
	CreatedThreads, UpdatedThreads, DestroyedThreads []ThreadID
	// ThreadsUnknown: of an item that is gone for long nobody knows the conversation.
	ThreadsUnknown bool
	Position       MailPosition
	More           bool
}

// ThreadCount counts what is visible in a folder.
type ThreadCount struct {
	Items, Unread          int // Unread: neither Seen nor Draft
	Threads, UnreadThreads int // conversations with such an item in this folder
}

// Upload is content that somebody brought, to be referred to within a day. Only
// who brought it sees it.
type Upload struct {
	ID   int64
	Size int64
	Type string // media type, as it came
}

// Uploads are the store's verbs for contents that are not yet part of anything.
type Uploads interface {
	// AddUpload keeps content for a day. Each person has UploadQuota in a mailbox;
	// beyond it the oldest go.
	AddUpload(ctx context.Context, as directory.Principal, box MailboxID, blob Blob, mediaType string) (Upload, error)
	// Upload opens it. The context bounds its reads too.
	Upload(ctx context.Context, as directory.Principal, box MailboxID, id int64) (Upload, Content, error)
}

// Submission is the record of a message that was sent with Outgoing.Track.
type Submission struct {
	ID         int64
	Item       ItemID
	Thread     ThreadID
	Identity   string
	From       string
	Recipients []string
	Params     []byte // what the client gave besides, JSON; its own business
	SendAt     time.Time
	Created    time.Time
	Canceled   bool
	Changed    Seq
}

// Pending tells that it still can be canceled.
func (s *Submission) Pending(now time.Time) bool { return !s.Canceled && s.SendAt.After(now) }

// Track asks for a record of a sending.
type Track struct {
	Item     ItemID
	Thread   ThreadID
	Identity string
	Params   []byte
}

// SubmissionChanges is what happened to the records after a Seq.
type SubmissionChanges struct {
	At      Seq
	Changed []Submission // created or canceled
	Gone    []int64
}

// Submissions are the store's verbs for the records of what was sent. The newest
// MaxSubmissions are kept.
type Submissions interface {
	// Submissions lists all records, newest first, and the newest change of them.
	Submissions(ctx context.Context, as directory.Principal, box MailboxID) ([]Submission, Seq, error)
	// SubmissionChanges lists what changed after since; Resync if too old.
	SubmissionChanges(ctx context.Context, as directory.Principal, box MailboxID, since Seq) (SubmissionChanges, error)
	// CancelSubmission takes a message back that was not sent yet; Conflict if it was.
	CancelSubmission(ctx context.Context, as directory.Principal, box MailboxID, id int64) error
	// ForgetSubmission removes a record; what it tells of goes on.
	ForgetSubmission(ctx context.Context, as directory.Principal, box MailboxID, id int64) error
}

// MaxSubmissions is how many records of sendings a mailbox keeps.
const MaxSubmissions = 1000

// UploadQuota bounds what one person has uploaded to one mailbox within a day.
const UploadQuota = 1 << 30
