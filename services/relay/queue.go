// Package relay is the transport's outbound queue and the role that empties it:
// to the servers of other domains, and to mailboxes that could not be reached
// when the message came.
//
// Its law:
//
//   - A message is in the queue or handed on, and its id decides which message
//     it is: taking it again changes nothing.
//   - Each recipient is worked on by one worker at a time, under a lease that
//     runs out. A worker that dies leaves the recipient due again, so the worst
//     that a crash does is what SMTP itself makes unavoidable, a second copy to
//     a foreign server whose 250 was lost. Mailboxes know the message's id.
//   - What became of a recipient and the notice about it are one transaction.
//   - The null sender is told nothing, and neither is a stranger, whom nobody
//     identified: what cannot be delivered for them stays as dead for an
//     administrator to see.
//   - A message to a moderated group waits here until one of those who were asked,
//     or time, decides; see moderation.go. Every door leaves such messages to the
//     queue. What a machine sent decides nothing.
//   - Nothing is open in the database while a peer is written to.
package relay

import (
	"context"
	"fmt"
	"time"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
)

// Queue is where messages wait; services/relay/postgres keeps it.
type Queue interface {
	// Put commits a message. It answers false when its id was seen before.
	Put(ctx context.Context, n Message, body envelope.Body) (bool, error)
	// Take leases due recipients until the time given, none of the domains
	// named, grouped by message and domain: at most limit groups.
	Take(ctx context.Context, now, until time.Time, limit int, busy []string) ([]Work, error)
	// Extend prolongs the lease of work not yet settled.
	Extend(ctx context.Context, w Work, until time.Time) error
	// Content opens the bytes of a message. The context bounds its reads too.
	Content(ctx context.Context, w Work) envelope.Body
	// Settle writes what became of recipients, and notices about it, in one
	// transaction. Recipients whose lease is another's by now are left alone.
	Settle(ctx context.Context, w Work, now time.Time, outcomes []Outcome, notices []Notice) error
	// Add gives a message further recipients, which are due at once.
	Add(ctx context.Context, message int64, to []Address, now time.Time) error
	// Waiting counts the messages that wait for the moderators of a group.
	Waiting(ctx context.Context, group string) (int, error)
	// Ballot tells what a moderator's token decides, and whose it is; NotFound.
	Ballot(ctx context.Context, t Token) (m Moderation, who string, err error)
	// Decide writes the first decision; a later one changes nothing. It gives what
	// stands. The message goes on, or back to its sender, by its recipient's verdict.
	Decide(ctx context.Context, d Decision, now time.Time) (Moderation, error)
	// Expire decides what waited until now.
	Expire(ctx context.Context, now time.Time) (int64, error)
	// Next is when the next recipient is due; zero if none waits.
	Next(ctx context.Context) (time.Time, error)
	// Stats counts the recipients by state.
	Stats(ctx context.Context) (map[State]int, error)
	// Sweep forgets ids seen before the first time, dead messages that expired
	// before the second, and decisions made before the third.
	Sweep(ctx context.Context, seen, dead, decided time.Time) error
}

// State is where a recipient stands.
type State string

// The states of a recipient. One that was handed on is no longer there.
const (
	Queued State = "queued" // waiting for its time, or being worked on
	Held   State = "held"   // by an administrator
	Dead   State = "dead"   // given up, and nobody to tell

	Moderated State = "moderated" // waits for a moderator
	Done      State = "done"      // handed on, and may not come again by way of another group
)

// Address is a recipient and the domain that its mail goes to.
type Address struct{ Addr, Domain string }

// Message is a message for the queue.
type Message struct {
	envelope.Envelope
	To      []Address
	Due     time.Time
	Expires time.Time
}

// Notice is a message about another, for its sender.
type Notice struct {
	Message
	Body []byte
}

// Work is one message for recipients of one domain, leased.
type Work struct {
	Message int64
	Lease   string
	Domain  string
	envelope.Envelope
	Size    int64
	Expires time.Time
	To      []Recipient
}

// Recipient is one recipient of a message.
type Recipient struct {
	ID       int64
	Address  string
	Attempts int // before this one
	Warned   int // delay notices sent
	// Listed: it came out of a group, so it stays as Done.
	Listed  bool
	Verdict Verdict // of a moderator
	Comment string
}

// Outcome is what became of one recipient.
type Outcome struct {
	ID     int64
	Done   bool  // handed on, or told to its sender: the row goes
	State  State // otherwise
	Due    time.Time
	Warned int
	Last   Last
	Listed bool   // Done, and stays for as long as the message
	Asked  *Asked // Moderated: whom, and what
}

// Last is the last answer of a server.
type Last struct {
	At     time.Time `json:"at,omitzero"`
	Code   int       `json:"code,omitempty"`   // of SMTP; 0: there was none
	Status string    `json:"status,omitempty"` // "4.2.2"
	Text   string    `json:"text,omitempty"`
	Host   string    `json:"host,omitempty"`
}

func (l Last) String() string {
	switch {
	case l.Code != 0:
		return fmt.Sprintf("%d %s %s", l.Code, l.Status, l.Text)
	default:
		return l.Text
	}
}

// Entry is a message as an administrator sees it.
type Entry struct {
	ID      int64       `json:"id"`
	Key     string      `json:"key"` // the id in logs and Received fields
	From    string      `json:"from"`
	Size    int64       `json:"size"`
	Created time.Time   `json:"created"`
	Expires time.Time   `json:"expires"`
	To      []EntryRcpt `json:"to"`
}

// EntryRcpt is a recipient as an administrator sees it.
type EntryRcpt struct {
	Address  string    `json:"address"`
	State    State     `json:"state"`
	Next     time.Time `json:"next,omitzero"`
	Active   bool      `json:"active,omitempty"` // being worked on
	Attempts int       `json:"attempts"`
	Last     Last      `json:"last,omitzero"`
}

// Filter chooses messages. Empty fields choose all.
type Filter struct {
	State  State
	Domain string // of a recipient
	From   string
	After  int64 // id of the last entry of the page before
	Limit  int   // at most 1,000; 0 means 100
}

// MayOperate answers nil when as may see and operate the queue.
func MayOperate(as directory.Principal) error {
	if as.Is(directory.RoleAdmin) || as.Is(directory.RoleSystem) {
		return nil
	}
	return fault.New(fault.Denied, "only administrators operate the queue")
}
