// Package itip is how people agree on appointments (iTIP, RFC 5546), in mail
// (iMIP, RFC 6047): what a change of one copy means for the others, and what a
// message from another one means for one's own. It does no I/O: texts in, texts
// and messages out.
//
// Its law: a copy's text is the truth, and messages are the difference of two
// texts. Who writes the same again tells nobody anything. The organizer's word
// counts for when and what, an attendee's for its own answer; everything else in a
// copy (alarms, categories, what is not known) is its owner's and stays where it is.
// What is older than what is known changes nothing (SEQUENCE, then DTSTAMP), so
// messages may come twice, late and in any order.
package itip

import (
	"strings"
	"time"

	"waypost/internal/ical"
)

// Side is the mailbox whose copy changes, and who changes it.
type Side struct {
	Address string   // the owner's primary address
	Aliases []string // its others
	Name    string
	// SentBy is the delegate who acts for the owner; empty: itself.
	SentBy string
	Now    time.Time
	// Canon gives one form for all addresses of somebody; nil: lower case.
	Canon func(address string) string
	// Zone is whose time a floating one is; nil: UTC.
	Zone *time.Location
	// Quiet says that the owner's program tells others itself, with numbers of its
	// own: answers to any of them count.
	Quiet bool
	// Members are the people of groups that are invited, by the group's canonical
	// address: they are invited beside it.
	Members map[string][]Person
}

// Person is an address and the name to call it by.
type Person struct{ Address, Name string }

// Kind is what a message is about, for the words in its mail.
type Kind int

// The kinds of messages.
const (
	Invitation Kind = iota
	Update
	Cancellation
	Reply
	Proposal
	ProposalDeclined
	Question // REFRESH
)

// Message is what others are told.
type Message struct {
	Kind     Kind
	Method   string // of iTIP
	From     Person // the owner of the copy that changed
	Sender   string // who acts for it; empty: itself
	To       []Person
	Calendar *ical.Component // VCALENDAR with METHOD
	Comment  string
	// Language of the words that people read, as BCP 47 names it; empty: English.
	Language string
	// Automatic says that no person wrote it: a room answers.
	Automatic bool
}

// Result is what becomes of a copy and what others are told.
type Result struct {
	// Text is the copy's new text; nil leaves it as it is.
	Text []byte
	// Remove says that the copy goes.
	Remove   bool
	Messages []Message
	// Remember, if not nil, is to be kept where no calendar shows it, and to be
	// given with the next message about the event as long as there is no copy.
	Remember []byte
	// Why says in a word what was done, for logs.
	Why string
}

// Answers, as PARTSTAT has them (RFC 5545 section 3.2.12).
const (
	NeedsAction = "NEEDS-ACTION"
	Accepted    = "ACCEPTED"
	Declined    = "DECLINED"
	Tentative   = "TENTATIVE"
	Delegated   = "DELEGATED"
)

func (s Side) canon(address string) string {
	if s.Canon != nil {
		return s.Canon(address)
	}
	return strings.ToLower(address)
}

// Mine tells whether an address is the owner's.
func (s Side) Mine(address string) bool {
	if address == "" {
		return false
	}
	c := s.canon(address)
	if c == s.canon(s.Address) {
		return true
	}
	for _, a := range s.Aliases {
		if c == s.canon(a) {
			return true
		}
	}
	return false
}

func (s Side) self() Person { return Person{s.Address, s.Name} }

func (s Side) sender() string {
	if s.SentBy == "" || s.Mine(s.SentBy) {
		return ""
	}
	return s.SentBy
}

// addressable tells whether somebody can be told by mail.
func addressable(who ical.Person) bool {
	at := strings.IndexByte(who.Address, '@')
	return at > 0 && at < len(who.Address)-1 && !strings.Contains(who.Address, ":") && !strings.ContainsAny(who.Address, " \r\n<>,;")
}
