package store

import (
	"context"
	"time"

	"waypost/directory"
)

// Origin says where what is in a folder comes from, when it is not its owner who
// writes it. Such a folder is fed: only who feeds it puts and removes objects,
// everybody else is Denied. Its name, its properties and the marks of what is in it
// are the owner's, and who deletes the folder ends its feeding. What leaves it is
// gone at once, for it can be had again.
type Origin string

// The origins of folders.
const (
	OriginOwn       Origin = ""
	OriginFeed      Origin = "feed"      // an outside calendar
	OriginBirthdays Origin = "birthdays" // the owner's contacts
)

// Feed is an outside calendar that a folder shows.
type Feed struct {
	Mailbox MailboxID
	Home    string // the mailbox database
	Folder  FolderID
	URL     string
	Due     time.Time // when it is read next
	State   FeedState

	Leased time.Time // set by TakeFeed
}

// FeedState is what the last reading of a feed said.
type FeedState struct {
	Checked  time.Time     `json:"checked,omitzero"` // the last reading that worked
	Changed  time.Time     `json:"changed,omitzero"` // the last one that changed anything
	ETag     string        `json:"etag,omitempty"`
	Modified string        `json:"modified,omitempty"` // Last-Modified, as it came
	Digest   []byte        `json:"digest,omitempty"`   // of the content
	Every    time.Duration `json:"every,omitempty"`    // what the feed asks for
	Failures int           `json:"failures,omitempty"` // since the last that worked
	Fault    string        `json:"fault,omitempty"`    // of the last failure, for its owner
	Objects  int           `json:"objects"`
	Skipped  int           `json:"skipped,omitempty"` // that could not be taken
}

// Birthdays is a calendar of birthdays that is behind its owner's contacts.
type Birthdays struct {
	Mailbox MailboxID
	Home    string
	Folder  FolderID
	// All: everything is to be compared. Else Touched are the contacts that
	// something happened to, perhaps more than once and perhaps gone.
	All     bool
	Touched []ItemID
	At      Seq // what it is up to date with once that is done

	Leased time.Time
}

// Detail is how much of a calendar others see.
type Detail string

// The details of a publication.
const (
	DetailFull    Detail = "full"    // everything but reminders; private events as busy
	DetailLimited Detail = "limited" // when, what and where
	DetailBusy    Detail = "busy"    // when somebody is busy
)

// Publication is a folder that everybody may read who knows its secret.
type Publication struct {
	ID      int64
	Mailbox MailboxID
	Home    string
	Folder  FolderID
	Owner   directory.ObjectID // whose it is: it ends while the account is disabled
	Detail  Detail
	All     bool // not only from a year ago to two years ahead
	Note    string
	Created time.Time
}

// Feeds are the verbs for fed and published folders.
type Feeds interface {
	// Subscribe makes a folder that shows an outside calendar. Parent, Name, Class
	// (calendar or tasks) and props count; it does not count for free/busy unless
	// props are changed afterwards.
	Subscribe(ctx context.Context, as directory.Principal, box MailboxID, f Folder, props FolderProps, url string) (Folder, error)
	// Feeds lists a mailbox's outside calendars.
	Feeds(ctx context.Context, as directory.Principal, box MailboxID) ([]Feed, error)
	// SetBirthdays makes the calendar of birthdays, or removes it.
	SetBirthdays(ctx context.Context, as directory.Principal, box MailboxID, on bool) error
	// DropObjects removes objects of a fed folder for good; for who feeds it.
	DropObjects(ctx context.Context, as directory.Principal, box MailboxID, folder FolderID, items []ItemID) (Seq, error)

	// Publish gives a folder a secret, which is told this once.
	Publish(ctx context.Context, as directory.Principal, box MailboxID, p Publication) (Publication, string, error)
	Publications(ctx context.Context, as directory.Principal, box MailboxID) ([]Publication, error)
	Unpublish(ctx context.Context, as directory.Principal, box MailboxID, id int64) error
}
