// Package object reads what the store has to know of an object's text: what it
// is, its UID, when it is, the words it is found by. It does no I/O; what it
// costs is bounded for any text.
//
// The text stays the truth. What is made of it here can be made again at any
// time.
package object

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/internal/vcard"
	"waypost/store"
)

// maxUID bounds a UID in bytes: it is part of an index.
const maxUID = 1000

// Read is what is known of a text.
type Read struct {
	Kind  store.Kind // KindJournal may be a note: see In
	UID   string
	Text  []byte // canonical, with a UID
	Words string // what it shows of itself, to be searched
	Times
}

// Parse reads a text. A text without a UID gets the one given, or a new one.
// Faults are Invalid, TooLarge and Limit with a text that says what is wrong.
func Parse(text []byte, uid string, now time.Time) (*Read, error) {
	if len(text) > store.MaxObject {
		return nil, fault.New(fault.TooLarge, "the object is larger than %d bytes", store.MaxObject)
	}
	if isCard(text) {
		return parseCard(text, uid)
	}
	return parseCalendar(text, uid, now)
}

// isCard tells a vCard from a calendar by its first line.
func isCard(text []byte) bool {
	text = bytes.TrimLeft(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), " \t\r\n")
	const begin = "BEGIN:VCARD"
	return len(text) >= len(begin) && strings.EqualFold(string(text[:len(begin)]), begin)
}

// classes are the kinds that a folder takes.
var classes = map[store.Class][]store.Kind{
	store.ClassCalendar: {store.KindEvent},
	store.ClassTasks:    {store.KindTask},
	store.ClassJournal:  {store.KindJournal},
	store.ClassNotes:    {store.KindNote},
	store.ClassContacts: {store.KindCard, store.KindGroup},
}

// In is what an object of a kind is in a folder of a class: the same words are
// a note in one and a journal entry in another. False when it has no place there.
func In(class store.Class, kind store.Kind) (store.Kind, bool) {
	switch {
	case class == store.ClassNotes && kind == store.KindJournal:
		kind = store.KindNote
	case class == store.ClassJournal && kind == store.KindNote:
		kind = store.KindJournal
	}
	return kind, slices.Contains(classes[class], kind)
}

// Misplaced is the fault of an object that In finds no place for.
func Misplaced(class store.Class, kind store.Kind) error {
	return fault.New(fault.Invalid, "a folder of class %s takes no object of kind %s", class, kind)
}

// RoleOf is the standard folder of a kind.
func RoleOf(kind store.Kind) store.Role {
	switch kind {
	case store.KindEvent:
		return store.RoleCalendar
	case store.KindTask:
		return store.RoleTasks
	case store.KindJournal:
		return store.RoleJournal
	case store.KindNote:
		return store.RoleNotes
	default:
		return store.RoleContacts
	}
}

var kinds = map[string]store.Kind{"VEVENT": store.KindEvent, "VTODO": store.KindTask, "VJOURNAL": store.KindJournal}

// parseCalendar reads one event, task or journal entry with its overrides
// (RFC 4791 section 4.1).
func parseCalendar(text []byte, uid string, now time.Time) (*Read, error) {
	root, _, err := ical.Parse(text, ical.Object)
	if err != nil {
		return nil, err
	}
	calendar, err := oneCalendar(root)
	if err != nil {
		return nil, err
	}
	var parts []*ical.Component
	r := &Read{}
	for _, c := range calendar.Children {
		kind, ok := kinds[strings.ToUpper(c.Name)]
		switch {
		case !ok:
		case r.Kind != "" && kind != r.Kind:
			return nil, fault.New(fault.Invalid, "an object is of one kind, this one has a %s and a %s", r.Kind, kind)
		default:
			r.Kind = kind
			parts = append(parts, c)
		}
	}
	if len(parts) == 0 {
		return nil, fault.New(fault.Invalid, "there is no event, task or journal entry in the calendar")
	}
	if r.UID, err = uidOf(parts, uid); err != nil {
		return nil, err
	}
	r.Text = calendar.Append(nil)
	if len(r.Text) > store.MaxObject {
		return nil, fault.New(fault.TooLarge, "the object is larger than %d bytes", store.MaxObject)
	}
	r.Times = timesOf(calendar, parts, now)
	r.Words = calendarWords(parts)
	return r, nil
}

// oneCalendar gives the only calendar of a text. Parts without one around them
// get one.
func oneCalendar(root *ical.Component) (*ical.Component, error) {
	var loose []*ical.Component
	var calendar *ical.Component
	for _, c := range root.Children {
		switch {
		case !c.Is("VCALENDAR"):
			loose = append(loose, c)
		case calendar != nil:
			return nil, fault.New(fault.Invalid, "an object is one calendar, this text has several")
		default:
			calendar = c
		}
	}
	if calendar == nil && len(loose) > 0 {
		calendar = &ical.Component{Name: "VCALENDAR"}
		calendar.SetValue("VERSION", "2.0")
		calendar.SetValue("PRODID", "-//Waypost//EN")
	}
	if calendar == nil {
		return nil, fault.New(fault.Invalid, "this is no calendar")
	}
	calendar.Children = append(calendar.Children, loose...)
	return calendar, nil
}

// uidOf gives the UID of all parts. One that has none gets that of the others,
// when it is a change of one of their instances.
func uidOf(parts []*ical.Component, otherwise string) (string, error) {
	uid := ""
	var without []*ical.Component
	for _, c := range parts {
		switch one := strings.TrimSpace(c.Text("UID")); {
		case one == "":
			without = append(without, c)
		case uid == "":
			uid = one
		case uid != one:
			return "", fault.New(fault.Invalid, "an object has one UID, this one has several")
		}
	}
	if uid != "" || len(parts) > 1 {
		for _, c := range without {
			if c.Prop("RECURRENCE-ID") == nil && len(parts) > 1 {
				return "", fault.New(fault.Invalid, "an object has one UID, and a part of this one has none")
			}
		}
	}
	if uid == "" {
		if uid = otherwise; uid == "" {
			uid = NewUID()
		}
	}
	for _, c := range without {
		c.SetText("UID", uid)
	}
	return uid, checkUID(uid)
}

func checkUID(uid string) error {
	if len(uid) > maxUID {
		return fault.New(fault.Invalid, "the UID is longer than %d bytes", maxUID)
	}
	return nil
}

// NewUID makes a UID (RFC 7986 section 5.3: a random UUID).
func NewUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// parseCard reads one card and gives it in version 4.0.
func parseCard(text []byte, uid string) (*Read, error) {
	cards, _, err := vcard.Parse(text, vcard.Object)
	if err != nil {
		return nil, err
	}
	if len(cards) != 1 {
		return nil, fault.New(fault.Invalid, "an object is one card, this text has %d", len(cards))
	}
	card := cards[0].To("4.0")
	r := &Read{Kind: store.KindCard, UID: strings.TrimSpace(card.Text("UID"))}
	if card.IsGroup() {
		r.Kind = store.KindGroup
	}
	if r.UID == "" {
		if r.UID = uid; uid == "" {
			r.UID = "urn:uuid:" + NewUID() // RFC 6350 section 6.7.6: a URI
		}
		card.SetText("UID", r.UID)
	}
	if err := checkUID(r.UID); err != nil {
		return nil, err
	}
	r.Text = card.Append(nil)
	if len(r.Text) > store.MaxObject {
		return nil, fault.New(fault.TooLarge, "the object is larger than %d bytes", store.MaxObject)
	}
	r.Words = cardWords(card)
	return r, nil
}
