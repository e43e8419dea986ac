package store

import "time"

// CalendarSettings are what an owner sets about time: when it works, who acts
// for it and, for a room, who may book it.
type CalendarSettings struct {
	Zone string `json:"zone,omitempty"` // IANA name; of working hours and floating times
	// Work are the working hours; empty: Monday to Friday, 9 to 17.
	Work []WorkHours `json:"work,omitempty"`
	// Copy gives the owner's delegates a copy of invitations and answers.
	Copy bool    `json:"copy,omitempty"`
	Room Booking `json:"room,omitzero"`
}

// WorkHours are the working hours of a day of the week, in minutes from midnight.
type WorkHours struct {
	Day  time.Weekday `json:"day"`
	From int          `json:"from"`
	To   int          `json:"to"`
}

// View is how much of somebody's time another one sees.
type View string

// The views, from the least.
const (
	ViewNone    View = "none"
	ViewBusy    View = "busy"    // when, and how busy
	ViewLimited View = "limited" // also what and where, but for what is private
	ViewFull    View = "full"    // everything but what is private
)

// Booking is how a room, or equipment, answers. Its zero value accepts what does
// not meet another booking, up to a year ahead.
type Booking struct {
	// Manual leaves all requests to its delegates; else a request that keeps the
	// rules is accepted at once.
	Manual bool `json:"manual,omitempty"`
	// Conflicts allows bookings that meet others.
	Conflicts bool `json:"conflicts,omitempty"`
	// Days ahead that it can be booked; 0: 365; negative: no limit.
	Days int `json:"days,omitempty"`
	// Minutes is the longest booking; 0: no limit.
	Minutes int `json:"minutes,omitempty"`
	// NoRecurring declines series.
	NoRecurring bool `json:"noRecurring,omitempty"`
	// Percent of the instances of a series may meet others, and Instances of them;
	// those are declined one by one and the series is accepted.
	Percent   int `json:"percent,omitempty"`
	Instances int `json:"instances,omitempty"`
	// WorkOnly declines what is outside of its working hours.
	WorkOnly bool `json:"workOnly,omitempty"`
	// Who may book, addresses of people and groups; empty: everybody of the
	// organisation. Outside lets others in too.
	Who     []string `json:"who,omitempty"`
	Outside bool     `json:"outside,omitempty"`
	// Ask has requests of those who may not book, or that break a rule other than
	// a conflict, wait for a delegate instead of being declined.
	Ask bool `json:"ask,omitempty"`
	// Text is added to its answers.
	Text string `json:"text,omitempty"`
}

// Slot is a piece of somebody's time. Details are empty where they may not be seen.
type Slot struct {
	Start, End     time.Time
	Busy           Busy
	Summary, Place string
	Private        bool
}

// Availability is one person's time, as another one may see it.
type Availability struct {
	Address string // as it was asked for
	Name    string
	View    View // ViewNone: nothing may be seen, or nobody is known by the address
	Known   bool // the address is a mailbox of ours
	Slots   []Slot
	Work    []WorkHours
	Zone    *time.Location
	// Partly says that there was more than can be told.
	Partly bool
}
