package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/internal/itip"
	wb "waypost/services/eas/wbxml"
	"waypost/store"
)

// scene is what happens to a meeting, step by step.
type scene struct {
	name   string
	doors  []string // that it begins from; empty: all
	forms  bool     // once for each of the other systems
	weekly bool
	guests []string
	steps  []step
}

// step is what somebody does, what goes out then, and what people's calendars hold
// in the end.
type step struct {
	name string
	do   func(*life, form)
	want []string // the messages, in order of their text
	// phone are those of phones before 16.0, which write them themselves; nil: the same.
	phone  []string
	copies []string // name: [event] [event]
	// onPhones are they where whoever acts has a phone; nil: the same. A phone
	// answers for an instance otherwise than a program that edits the text.
	onPhones []string
}

var allDoors = []string{"CalDAV", "2.5", "14.1", "16.1"}

var monday = time.Date(2027, 1, 11, 10, 0, 0, 0, time.UTC)

func create(l *life, _ form) { l.write(time.Time{}) }

func cancelAll(l *life, _ form) { l.remove() }

func moveInstance(l *life, _ form) {
	l.p.seq++
	l.p.moved[l.at(7, 0)] = l.at(7, 1)
	l.write(l.at(7, 0))
}

func cancelInstance(l *life, _ form) {
	l.p.seq++
	l.p.gone = append(l.p.gone, l.at(14, 0))
	l.write(l.at(14, 0))
}

func says(who, status string) func(*life, form) {
	return func(l *life, _ form) { l.answer(who, status, time.Time{}) }
}

// zoeSays is an answer from another system, of some minutes after now.
func zoeSays(id, status string, minutes int) func(*life, form) {
	return func(l *life, f form) {
		l.zoe(f, id, "REPLY", []string{"alice"}, status, f.event(l.p.uid, 0, l.now.Add(time.Duration(minutes)*time.Minute),
			"ORGANIZER:mailto:"+address("alice")+"\n", "ATTENDEE;PARTSTAT="+status+":mailto:zoe@other.example\n", f.time("DTSTART", l.p.start)))
	}
}

// zoeInvites sends one of zoe's meetings.
func zoeInvites(id, method string, seq, minutes, hours int, more ...string) func(*life, form) {
	return func(l *life, f form) {
		lines := []string{
			"SUMMARY:Hers\n", "ORGANIZER;CN=Zoe:mailto:zoe@other.example\n", "ATTENDEE;CN=Bob;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:" + address("bob") + "\n",
			f.time("DTSTART", l.at(0, hours)), f.time("DTEND", l.at(0, hours+1)),
		}
		if l.p.weekly && !slices.Contains(more, "instance") {
			lines = append(lines, "RRULE:FREQ=WEEKLY;COUNT=4\n")
		}
		for _, m := range more {
			if m == "instance" {
				lines[3], lines[4] = f.time("DTSTART", l.at(7, hours)), f.time("DTEND", l.at(7, hours+1))
				m = f.time("RECURRENCE-ID", l.at(7, 0))
			}
			lines = append(lines, m)
		}
		l.zoe(f, id, method, []string{"bob"}, "Hers", f.event(l.p.uid, seq, monday.AddDate(0, -1, 0).Add(time.Duration(minutes)*time.Minute), lines...))
	}
}

var scenes = []scene{
	{name: "single", guests: []string{"bob", "zoe@other.example"}, steps: []step{
		{
			name: "create", do: create,
			want:   []string{"REQUEST alice>bob,zoe@other.example [#0 0111T1000 Plan bob? zoe@other.example?]"},
			copies: []string{"alice: [0111T1000 Plan bob? zoe@other.example?]", "bob: [0111T1000 Plan bob? zoe@other.example?]"},
		},
		{
			name: "text", do: func(l *life, _ form) { l.p.title = "Plan B"; l.write(time.Time{}) },
			want:   []string{"REQUEST alice>bob,zoe@other.example [#0 0111T1000 Plan B bob? zoe@other.example?]"},
			copies: []string{"alice: [0111T1000 Plan B bob? zoe@other.example?]", "bob: [0111T1000 Plan B bob? zoe@other.example?]"},
		},
		{
			name: "time", do: func(l *life, _ form) { l.p.seq++; l.p.start = l.at(0, 2); l.write(time.Time{}) },
			want:   []string{"REQUEST alice>bob,zoe@other.example [#1 0111T1200 Plan B bob? zoe@other.example?]"},
			copies: []string{"alice: [0111T1200 Plan B bob? zoe@other.example?]", "bob: [0111T1200 Plan B bob? zoe@other.example?]"},
		},
		{
			name: "add", do: func(l *life, _ form) { l.p.guests = append(l.p.guests, "dave"); l.write(time.Time{}) },
			want: []string{
				"REQUEST alice>bob,zoe@other.example [#1 0111T1200 Plan B bob? dave? zoe@other.example?]",
				"REQUEST alice>dave [#1 0111T1200 Plan B bob? dave? zoe@other.example?]",
			},
			phone: []string{"REQUEST alice>bob,dave,zoe@other.example [#1 0111T1200 Plan B bob? dave? zoe@other.example?]"},
			copies: []string{
				"alice: [0111T1200 Plan B bob? dave? zoe@other.example?]",
				"bob: [0111T1200 Plan B bob? dave? zoe@other.example?]",
				"dave: [0111T1200 Plan B bob? dave? zoe@other.example?]",
			},
		},
		{
			name: "remove", do: func(l *life, _ form) {
				l.p.seq++
				l.p.guests = l.p.guests[1:]
				l.write(time.Time{})
				if l.phoneTells() {
					l.mail("alice", "CANCEL", []string{"bob"}, l.component(time.Time{}, "STATUS:CANCELLED\nATTENDEE:mailto:"+address("bob")+"\n"))
				}
			},
			want: []string{
				"CANCEL alice>bob [#2 0111T1200 Plan B bob?]",
				"REQUEST alice>dave,zoe@other.example [#2 0111T1200 Plan B dave? zoe@other.example?]",
			},
			phone: []string{
				"CANCEL alice>bob [#2 0111T1200 Plan B CANCELLED bob? dave? zoe@other.example?]",
				"REQUEST alice>dave,zoe@other.example [#2 0111T1200 Plan B dave? zoe@other.example?]",
			},
			copies: []string{
				"alice: [0111T1200 Plan B dave? zoe@other.example?]",
				"bob: [0111T1200 Plan B CANCELLED bob? dave? zoe@other.example?]",
				"dave: [0111T1200 Plan B dave? zoe@other.example?]",
			},
		},
		{
			name: "cancel", do: cancelAll,
			want:   []string{"CANCEL alice>dave,zoe@other.example [#3 0111T1200 Plan B CANCELLED dave? zoe@other.example?]"},
			copies: []string{"bob: [0111T1200 Plan B CANCELLED bob? dave? zoe@other.example?]", "dave: [0111T1200 Plan B CANCELLED dave? zoe@other.example?]"},
		},
	}},
	{name: "series", weekly: true, guests: []string{"bob", "zoe@other.example"}, steps: []step{
		{
			name: "create", do: create,
			want:   []string{"REQUEST alice>bob,zoe@other.example [#0 0111T1000 weekly Plan bob? zoe@other.example?]"},
			copies: []string{"alice: [0111T1000 weekly Plan bob? zoe@other.example?]", "bob: [0111T1000 weekly Plan bob? zoe@other.example?]"},
		},
		{
			name: "move one", do: moveInstance,
			want: []string{"REQUEST alice>bob,zoe@other.example [#1 @0118T1000 0118T1100 Plan bob? zoe@other.example?]"},
			copies: []string{
				"alice: [0111T1000 weekly Plan bob? zoe@other.example?] [@0118T1000 0118T1100 Plan bob? zoe@other.example?]",
				"bob: [0111T1000 weekly Plan bob? zoe@other.example?] [@0118T1000 0118T1100 Plan bob? zoe@other.example?]",
			},
		},
		{
			name: "cancel one", do: cancelInstance,
			want: []string{"CANCEL alice>bob,zoe@other.example [#2 @0125T1000 0125T1000 Plan CANCELLED bob? zoe@other.example?]"},
			copies: []string{
				"alice: [0111T1000 weekly -0125T1000 Plan bob? zoe@other.example?] [@0118T1000 0118T1100 Plan bob? zoe@other.example?]",
				"bob: [0111T1000 weekly -0125T1000 Plan bob? zoe@other.example?] [@0118T1000 0118T1100 Plan bob? zoe@other.example?]",
			},
		},
		{
			name: "text", do: func(l *life, _ form) { l.p.title = "Plan B"; l.write(time.Time{}) },
			want: []string{
				"REQUEST alice>bob,zoe@other.example [#2 0111T1000 weekly -0125T1000 Plan B bob? zoe@other.example?] [#1 @0118T1000 0118T1100 Plan B bob? zoe@other.example?]",
			},
			phone: []string{
				"REQUEST alice>bob,zoe@other.example [#2 0111T1000 weekly -0125T1000 Plan B bob? zoe@other.example?] [#2 @0118T1000 0118T1100 Plan B bob? zoe@other.example?]",
			},
			copies: []string{
				"alice: [0111T1000 weekly -0125T1000 Plan B bob? zoe@other.example?] [@0118T1000 0118T1100 Plan B bob? zoe@other.example?]",
				"bob: [0111T1000 weekly -0125T1000 Plan B bob? zoe@other.example?] [@0118T1000 0118T1100 Plan B bob? zoe@other.example?]",
			},
		},
		{
			name: "cancel", do: cancelAll,
			want:  []string{"CANCEL alice>bob,zoe@other.example [#3 0111T1000 Plan B CANCELLED bob? zoe@other.example?]"},
			phone: []string{"CANCEL alice>bob,zoe@other.example [#3 0111T1000 weekly -0125T1000 Plan B CANCELLED bob? zoe@other.example?]"},
			copies: []string{
				"bob: [0111T1000 weekly -0125T1000 Plan B CANCELLED bob? zoe@other.example?] [@0118T1000 0118T1100 Plan B CANCELLED bob? zoe@other.example?]",
			},
		},
	}},
	{name: "room", guests: []string{"bob", "room1"}, steps: []step{
		{
			name: "create", do: create,
			want:   []string{"REPLY room1>alice [#0 room1+]", "REQUEST alice>bob,room1 [#0 0111T1000 Plan bob? room1?]"},
			copies: []string{"alice: [0111T1000 Plan bob? room1+]", "bob: [0111T1000 Plan bob? room1?]", "room1: [0111T1000 Plan bob? room1+]"},
		},
		{
			name: "time", do: func(l *life, _ form) { l.p.seq++; l.p.start = l.at(0, 2); l.write(time.Time{}) },
			want:   []string{"REPLY room1>alice [#1 room1+]", "REQUEST alice>bob,room1 [#1 0111T1200 Plan bob? room1?]"},
			copies: []string{"alice: [0111T1200 Plan bob? room1+]", "bob: [0111T1200 Plan bob? room1?]", "room1: [0111T1200 Plan bob? room1+]"},
		},
		{
			name: "cancel", do: cancelAll,
			want:   []string{"CANCEL alice>bob,room1 [#2 0111T1200 Plan CANCELLED bob? room1+]"},
			phone:  []string{"CANCEL alice>bob,room1 [#2 0111T1200 Plan CANCELLED bob? room1?]"},
			copies: []string{"bob: [0111T1200 Plan CANCELLED bob? room1?]"},
		},
	}},
	{name: "answers", guests: []string{"bob", "dave"}, steps: []step{
		{
			name: "create", do: create,
			want:   []string{"REQUEST alice>bob,dave [#0 0111T1000 Plan bob? dave?]"},
			copies: []string{"alice: [0111T1000 Plan bob? dave?]", "bob: [0111T1000 Plan bob? dave?]", "dave: [0111T1000 Plan bob? dave?]"},
		},
		{
			name: "accept", do: says("bob", itip.Accepted),
			want:   []string{"REPLY bob>alice [#0 bob+]"},
			copies: []string{"alice: [0111T1000 Plan bob+ dave?]", "bob: [0111T1000 Plan bob+ dave?]", "dave: [0111T1000 Plan bob? dave?]"},
		},
		{
			name: "accept again", do: says("bob", itip.Accepted),
			phone:  []string{"REPLY bob>alice [#0 bob+]"},
			copies: []string{"alice: [0111T1000 Plan bob+ dave?]", "bob: [0111T1000 Plan bob+ dave?]", "dave: [0111T1000 Plan bob? dave?]"},
		},
		{
			name: "tentative", do: says("bob", itip.Tentative),
			want:   []string{"REPLY bob>alice [#0 bob~]"},
			copies: []string{"alice: [0111T1000 Plan bob~ dave?]", "bob: [0111T1000 Plan bob~ dave?]", "dave: [0111T1000 Plan bob? dave?]"},
		},
		{
			name: "dave declines", do: says("dave", itip.Declined),
			want:   []string{"REPLY dave>alice [#0 dave-]"},
			copies: []string{"alice: [0111T1000 Plan bob~ dave-]", "bob: [0111T1000 Plan bob~ dave?]"},
		},
		{
			name: "the time changes", do: func(l *life, _ form) { l.p.seq++; l.p.start = l.at(0, 2); l.write(time.Time{}) },
			want:   []string{"REQUEST alice>bob,dave [#1 0111T1200 Plan bob? dave?]"},
			copies: []string{"alice: [0111T1200 Plan bob? dave?]", "bob: [0111T1200 Plan bob? dave?]", "dave: [0111T1200 Plan bob? dave?]"},
		},
		{
			name: "bob accepts", do: says("bob", itip.Accepted),
			want:   []string{"REPLY bob>alice [#1 bob+]"},
			copies: []string{"alice: [0111T1200 Plan bob+ dave?]", "bob: [0111T1200 Plan bob+ dave?]", "dave: [0111T1200 Plan bob? dave?]"},
		},
	}},
	{name: "answers to a series", doors: []string{"CalDAV", "14.1", "16.1"}, weekly: true, guests: []string{"bob"}, steps: []step{
		{
			name: "create", do: create,
			want:   []string{"REQUEST alice>bob [#0 0111T1000 weekly Plan bob?]"},
			copies: []string{"alice: [0111T1000 weekly Plan bob?]", "bob: [0111T1000 weekly Plan bob?]"},
		},
		{
			name: "accept", do: says("bob", itip.Accepted),
			want:   []string{"REPLY bob>alice [#0 bob+]"},
			copies: []string{"alice: [0111T1000 weekly Plan bob+]", "bob: [0111T1000 weekly Plan bob+]"},
		},
		{
			name: "decline one", do: func(l *life, _ form) { l.answer("bob", itip.Declined, l.at(7, 0)) },
			want:     []string{"REPLY bob>alice [#0 @0118T1000 bob-]"},
			onPhones: []string{"alice: [0111T1000 weekly Plan bob+] [@0118T1000 0118T1000 Plan bob-]", "bob: [0111T1000 weekly -0118T1000 Plan bob+]"},
			copies: []string{
				"alice: [0111T1000 weekly Plan bob+] [@0118T1000 0118T1000 Plan bob-]",
				"bob: [0111T1000 weekly Plan bob+] [@0118T1000 0118T1000 Plan bob-]",
			},
		},
	}},
	{name: "proposal", doors: []string{"16.1"}, guests: []string{"bob"}, steps: []step{
		{
			name: "create", do: create,
			want:   []string{"REQUEST alice>bob [#0 0111T1000 Plan bob?]"},
			copies: []string{"alice: [0111T1000 Plan bob?]", "bob: [0111T1000 Plan bob?]"},
		},
		{
			name: "counter", do: func(l *life, _ form) {
				events := l.phone("bob", "16.1", "8")
				l.respond("bob", "16.1", wb.New(wb.MeetingResponseRequest, wb.NewText(wb.MeetingResponseUserResponse, "2"),
					wb.NewText(wb.MeetingResponseCollectionId, events.id), wb.NewText(wb.MeetingResponseRequestId, l.find(events)),
					wb.NewText(wb.MeetingResponseProposedStartTime, l.at(0, 4).Format(compactTime)), wb.NewText(wb.MeetingResponseProposedEndTime, l.at(0, 5).Format(compactTime)),
					wb.New(wb.MeetingResponseSendResponse)))
			},
			want:   []string{"COUNTER bob>alice [#0 0111T1400 Plan bob~]"},
			copies: []string{"alice: [0111T1000 Plan bob~]", "bob: [0111T1000 Plan bob~]"},
		},
		{
			name: "decline it", do: func(l *life, _ form) {
				o := l.object("alice", l.p.uid)
				if err := l.m.DeclineProposal(l.Context(), l.dir.as("alice"), l.dir.target("alice").Mailbox, o.Item, address("bob")); err != nil {
					l.Fatal(err)
				}
			},
			want:   []string{"DECLINECOUNTER alice>bob [#0 0111T1000 Plan bob~]"},
			copies: []string{"alice: [0111T1000 Plan bob~]", "bob: [0111T1000 Plan bob~]"},
		},
	}},
	{name: "answers from outside", doors: []string{"CalDAV", "16.1"}, forms: true, guests: []string{"zoe@other.example"}, steps: []step{
		{
			name: "create", do: create,
			want:   []string{"REQUEST alice>zoe@other.example [#0 0111T1000 Plan zoe@other.example?]"},
			copies: []string{"alice: [0111T1000 Plan zoe@other.example?]"},
		},
		{
			name: "accept", do: zoeSays("a", itip.Accepted, 5),
			copies: []string{"alice: [0111T1000 Plan zoe@other.example+]"},
		},
		{
			name: "twice", do: zoeSays("a2", itip.Accepted, 5),
			copies: []string{"alice: [0111T1000 Plan zoe@other.example+]"},
		},
		{
			name: "decline", do: zoeSays("b", itip.Declined, 30),
			copies: []string{"alice: [0111T1000 Plan zoe@other.example-]"},
		},
		{
			name: "an older one late", do: zoeSays("c", itip.Tentative, 20),
			copies: []string{"alice: [0111T1000 Plan zoe@other.example-]"},
		},
		{
			name: "counter", do: func(l *life, f form) {
				l.zoe(f, "d", "COUNTER", []string{"alice"}, "New time", f.event(l.p.uid, 0, l.now.Add(40*time.Minute), "ORGANIZER:mailto:"+address("alice")+"\n",
					"ATTENDEE;PARTSTAT=TENTATIVE:mailto:zoe@other.example\n", f.time("DTSTART", l.at(0, 3)), f.time("DTEND", l.at(0, 4))))
			},
			copies: []string{"alice: [0111T1000 Plan zoe@other.example~]"},
		},
	}},
	{name: "from outside", forms: true, steps: []step{
		{
			name: "invited", do: zoeInvites("a", "REQUEST", 0, 0, 0),
			copies: []string{"bob: [0111T1000 Hers bob?]"},
		},
		{
			name: "accept", do: says("bob", itip.Accepted),
			want:   []string{"REPLY bob>zoe@other.example [#0 bob+]"},
			copies: []string{"bob: [0111T1000 Hers bob+]"},
		},
		{
			name: "another text", do: zoeInvites("b", "REQUEST", 0, 10, 0, "LOCATION:Berlin\n"),
			copies: []string{"bob: [0111T1000 Hers bob+]"},
		},
		{
			name: "moved", do: zoeInvites("c", "REQUEST", 1, 20, 2),
			copies: []string{"bob: [0111T1200 Hers bob?]"},
		},
		{
			name: "an older one late", do: zoeInvites("d", "REQUEST", 0, 15, 5),
			copies: []string{"bob: [0111T1200 Hers bob?]"},
		},
		{
			name: "tentative", do: says("bob", itip.Tentative),
			want:   []string{"REPLY bob>zoe@other.example [#1 bob~]"},
			copies: []string{"bob: [0111T1200 Hers bob~]"},
		},
		{
			name: "cancelled", do: zoeInvites("e", "CANCEL", 2, 30, 2, "STATUS:CANCELLED\n"),
			copies: []string{"bob: [0111T1200 Hers CANCELLED bob~]"},
		},
		{
			name: "a request late", do: zoeInvites("f", "REQUEST", 1, 25, 2),
			copies: []string{"bob: [0111T1200 Hers CANCELLED bob~]"},
		},
	}},
	{name: "series from outside", forms: true, weekly: true, steps: []step{
		{
			name: "the move of one comes first", do: zoeInvites("b", "REQUEST", 1, 10, 1, "instance"),
			copies: []string{"bob: [@0118T1000 0118T1100 Hers bob?]"},
		},
		{
			name: "invited", do: zoeInvites("a", "REQUEST", 0, 0, 0),
			copies: []string{"bob: [0111T1000 weekly Hers bob?] [@0118T1000 0118T1100 Hers bob?]"},
		},
		{
			name: "accept", do: says("bob", itip.Accepted),
			want:     []string{"REPLY bob>zoe@other.example [#0 bob+]"},
			onPhones: []string{"bob: [0111T1000 weekly Hers bob+] [@0118T1000 0118T1100 Hers bob+]"},
			copies:   []string{"bob: [0111T1000 weekly Hers bob+] [@0118T1000 0118T1100 Hers bob?]"},
		},
		{
			name: "one is cancelled", do: zoeInvites("c", "CANCEL", 2, 20, 1, "instance", "STATUS:CANCELLED\n"),
			copies: []string{"bob: [0111T1000 weekly -0118T1000 Hers bob+]"},
		},
		{
			name: "cancelled", do: zoeInvites("d", "CANCEL", 3, 30, 0, "STATUS:CANCELLED\n"),
			copies: []string{"bob: [0111T1000 weekly -0118T1000 Hers CANCELLED bob+]"},
		},
	}},
	{name: "forwarded", doors: []string{"CalDAV", "16.1"}, guests: []string{"bob"}, steps: []step{
		{
			name: "create", do: create,
			want:   []string{"REQUEST alice>bob [#0 0111T1000 Plan bob?]"},
			copies: []string{"alice: [0111T1000 Plan bob?]", "bob: [0111T1000 Plan bob?]"},
		},
		{
			name: "bob forwards", do: func(l *life, _ form) {
				l.door, l.tries = "14.1", l.tries+1
				l.mail("bob", "REQUEST", []string{"carol"}, l.component(time.Time{}, ""))
				l.door = l.began
			},
			want:   []string{"REQUEST bob>carol [#0 0111T1000 Plan bob?]"},
			copies: []string{"alice: [0111T1000 Plan bob?]", "bob: [0111T1000 Plan bob?]", "carol: [0111T1000 Plan bob? carol?]"},
		},
		{
			name: "carol accepts", do: says("carol", itip.Accepted),
			want:   []string{"REPLY carol>alice [#0 carol+]"},
			copies: []string{"alice: [0111T1000 Plan bob? carol+]", "bob: [0111T1000 Plan bob?]", "carol: [0111T1000 Plan bob? carol+]"},
		},
	}},
	{name: "forwarded from outside", doors: []string{"CalDAV", "16.1"}, forms: true, steps: []step{
		{
			name: "zoe sends it to carol, who is not on the list", do: func(l *life, f form) {
				l.zoe(f, "a", "REQUEST", []string{"carol"}, "FW: Hers", f.event(l.p.uid, 0, monday.AddDate(0, -1, 0), "SUMMARY:Hers\n", "ORGANIZER;CN=Yan:mailto:yan@third.example\n",
					"ATTENDEE;PARTSTAT=ACCEPTED:mailto:zoe@other.example\n", f.time("DTSTART", l.p.start), f.time("DTEND", l.at(0, 1))))
			},
			copies: []string{"carol: [0111T1000 Hers carol? zoe@other.example+]"},
		},
		{
			name: "carol accepts", do: says("carol", itip.Accepted),
			want:   []string{"REPLY carol>yan@third.example [#0 carol+]"},
			copies: []string{"carol: [0111T1000 Hers carol+ zoe@other.example+]"},
		},
	}},
	{name: "delegate", doors: []string{"16.1"}, guests: []string{"bob"}, steps: []step{
		{
			name: "create", do: func(l *life, _ form) {
				l.dir.delegates["bob"] = []string{"carol"}
				l.copies(true)
				l.write(time.Time{})
			},
			want:   []string{"REQUEST alice>bob [#0 0111T1000 Plan bob?]", "copy of REQUEST alice>carol [#0 0111T1000 Plan bob?]"},
			copies: []string{"alice: [0111T1000 Plan bob?]", "bob: [0111T1000 Plan bob?]"},
		},
		{
			name: "carol answers for bob", do: func(l *life, _ form) {
				inbox := l.phone("carol", "16.1", typeInbox)
				for id, n := range inbox.items {
					if n.Has(wb.EmailMeetingRequest) {
						l.respond("carol", "16.1", wb.New(wb.MeetingResponseRequest, wb.NewText(wb.MeetingResponseUserResponse, "1"),
							wb.NewText(wb.MeetingResponseCollectionId, inbox.id), wb.NewText(wb.MeetingResponseRequestId, id), wb.New(wb.MeetingResponseSendResponse)))
						return
					}
				}
				l.Fatal("carol has no copy")
			},
			want:   []string{"REPLY bob>alice [#0 bob+(carol)]"},
			copies: []string{"alice: [0111T1000 Plan bob+(carol)]", "bob: [0111T1000 Plan bob+]"},
		},
		{
			name: "carol invites in bob's name", do: func(l *life, _ form) {
				text := "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//\r\nBEGIN:VEVENT\r\nUID:for-" + l.p.uid + "\r\nSUMMARY:His\r\nDTSTART:20270111T150000Z\r\nDTEND:20270111T160000Z\r\nATTENDEE:mailto:" + address("dave") + "\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
				l.again(func() bool {
					_, err := l.m.PutObjectFor(l.Context(), l.dir.as("carol"), l.dir.target("bob"), store.PutObject{
						Role: store.RoleCalendar, UID: "for-" + l.p.uid,
						Edit: func(*store.Object) (store.Edit, error) { return store.Edit{Text: []byte(text)}, nil },
					}, false)
					return err == nil
				})
			},
			want:   []string{"REQUEST bob>dave [#0 0111T1500 His dave?]"},
			copies: []string{"alice: [0111T1000 Plan bob+(carol)]", "bob: [0111T1000 Plan bob+]"},
		},
		{
			name: "off", do: func(l *life, _ form) { l.dir.delegates["bob"] = nil; l.copies(false) },
			copies: []string{"alice: [0111T1000 Plan bob+(carol)]", "bob: [0111T1000 Plan bob+]"},
		},
	}},
}

func (l *life) copies(on bool) {
	if _, err := l.store.UpdateSettings(l.Context(), l.dir.as("bob"), l.dir.target("bob").Mailbox, func(s *store.Settings) error {
		s.Calendar.Copy = on
		return nil
	}); err != nil {
		l.Fatal(err)
	}
}

// TestMeetingMatrix plays every scene from every door that it can begin from:
// smoothly, with every request and every delivery repeated, and with the program
// killed after every commit. The messages are the same each time and none goes out
// twice, and so are all copies in the end.
func TestMeetingMatrix(t *testing.T) {
	w := newStage(t)
	seen := map[string]*collection{}
	n := 0
	for _, sc := range scenes {
		doors := sc.doors
		if doors == nil {
			doors = allDoors
		}
		kinds := forms[:1]
		if sc.forms {
			kinds = forms
		}
		for _, door := range doors {
			for _, f := range kinds {
				for _, mo := range []mode{smooth, repeated, killed} {
					n++
					name := fmt.Sprintf("%s from %s", sc.name, door)
					if sc.forms {
						name += " with " + f.name
					}
					l := &life{
						mode: mo, door: door, began: door, seen: seen,
						p: plan{uid: fmt.Sprint("m", n), title: "Plan", start: monday, weekly: sc.weekly, guests: slices.Clone(sc.guests), moved: map[time.Time]time.Time{}},
					}
					t.Run(name+[]string{"", " repeated", " killed"}[mo], func(t *testing.T) { play(t, w, l, &sc, f) })
				}
			}
		}
	}
	if kills := w.store.kills.Load(); kills < 100 {
		t.Errorf("the program was killed %d times only", kills)
	}
}

func play(t *testing.T, w *stage, l *life, sc *scene, f form) {
	whole := w.TB
	w.TB, l.stage = t, w
	defer func() { l.sweep(); w.TB = whole }()
	for i := range sc.steps {
		s := &sc.steps[i]
		l.now = l.now.Add(time.Minute)
		s.do(l, f)
		if t.Failed() {
			return
		}
		got := noMailOf(l.carry())
		want := s.want
		if l.phoneTells() && s.phone != nil {
			want = s.phone
		}
		if os.Getenv("DUMP") != "" {
			dump := make([]string, 0)
			for _, name := range l.dir.names {
				if c := l.copyOf(name, l.p.uid); !strings.HasSuffix(c, "nothing") {
					dump = append(dump, c)
				}
			}
			fmt.Printf("DUMP|%s|%d|%s|%s|%d|%q|%q\n", sc.name, i, l.door, f.name, l.mode, got, dump)
			continue
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: what goes out is\n%q\nwant\n%q", s.name, got, want)
		}
		copies := s.copies
		if l.began != "CalDAV" && s.onPhones != nil {
			copies = s.onPhones
		}
		var have []string
		for _, name := range l.dir.names {
			if c := l.copyOf(name, l.p.uid); !strings.HasSuffix(c, "nothing") {
				have = append(have, c)
			}
		}
		if !slices.Equal(have, copies) {
			t.Errorf("%s: the copies are\n%q\nwant\n%q", s.name, have, copies)
		}
	}
}

// sweep clears everybody's calendar for the next life.
func (l *life) sweep() {
	for _, name := range l.dir.names {
		box := l.dir.target(name).Mailbox
		inbox, err := l.store.FolderByRole(l.Context(), l.dir.as(name), box, store.RoleInbox)
		if err != nil {
			l.Fatal(err)
		}
		_, mails, _ := l.store.Entries(l.Context(), l.dir.as(name), box, inbox.ID, 0, 100)
		for _, e := range mails {
			if _, _, err := l.store.Delete(l.Context(), l.dir.as(name), box, inbox.ID, []store.ItemID{e.Item}, false); err != nil {
				l.Error(err)
			}
		}
		for _, uid := range []string{l.p.uid, "for-" + l.p.uid} {
			if o := l.object(name, uid); o != nil {
				if _, err := l.store.RemoveObject(l.Context(), l.dir.as(name), l.dir.target(name).Mailbox, store.RemoveObject{Folder: o.Folder, Item: o.Item}); err != nil {
					l.Error(err)
				}
			}
		}
	}
}
