package calendar

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"waypost/internal/corpus"
	"waypost/internal/ical"
)

const task = `
BEGIN:VTODO
UID:t1
SUMMARY;LANGUAGE=de:Steuer
DTSTART;VALUE=DATE:20240501
DUE;TZID=Europe/Berlin:20240531T180000
PRIORITY:3
CLASS:PRIVATE
CATEGORIES:A
RRULE:FREQ=YEARLY;UNTIL=20300531
X-KEPT:yes
BEGIN:VALARM
ACTION:DISPLAY
DESCRIPTION:x
TRIGGER;RELATED=END:-PT1H
END:VALARM
END:VTODO
`

func TestTask(t *testing.T) {
	parts, zones := parse(t, task)
	s := side(zones, "ann@ex.test")
	want := &Task{
		UID: "t1", Subject: "Steuer", Categories: []string{"A"}, Importance: 2, Sensitive: 2, Start: time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC),
		Due: time.Date(2024, 5, 31, 18, 0, 0, 0, time.UTC), Reminder: time.Date(2024, 5, 31, 17, 0, 0, 0, berlin),
		Recurrence: &Recurrence{Type: TypeYearly, Interval: 1, DayOfMonth: 1, MonthOfYear: 5, FirstDay: time.Monday, Until: time.Date(2030, 5, 31, 0, 0, 0, 0, time.UTC)},
	}
	if got := s.ReadTask(parts[0]); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	before := text(parts)
	alarm := "BEGIN:VALARM\nACTION:DISPLAY\nDESCRIPTION:x\nTRIGGER;RELATED=END:-PT1H\nEND:VALARM\n"
	for _, row := range []struct {
		name      string
		change    func(*Task)
		old, then string
	}{
		{"nothing", func(*Task) {}, "", ""},
		{"subject", func(k *Task) { k.Subject = "x" }, "SUMMARY;LANGUAGE=de:Steuer", "SUMMARY:x"},
		{"low", func(k *Task) { k.Importance = 0 }, "PRIORITY:3", "PRIORITY:9"},
		{"due another day", func(k *Task) { k.Due, k.Reminder = k.Due.AddDate(0, 0, 1), k.Reminder.AddDate(0, 0, 1) }, "20240531T180000", "20240601T180000"},
		{"begins another day", func(k *Task) { k.Start, k.Recurrence.DayOfMonth = k.Start.AddDate(0, 0, 1), 2 }, "VALUE=DATE:20240501", "VALUE=DATE:20240502"},
		{"no beginning", func(k *Task) { k.Start, k.Recurrence.DayOfMonth = time.Time{}, 31 }, "DTSTART;VALUE=DATE:20240501\n", ""},
		{"done", func(k *Task) { k.Complete, k.Completed = true, time.Date(2024, 5, 3, 0, 0, 0, 0, time.UTC) }, "BEGIN:VALARM", "STATUS:COMPLETED\nPERCENT-COMPLETE:100\nCOMPLETED:20240503T000000Z\nBEGIN:VALARM"},
		{"no reminder", func(k *Task) { k.Reminder = time.Time{} }, alarm, ""},
		{"another reminder", func(k *Task) { k.Reminder = time.Date(2024, 5, 30, 7, 0, 0, 0, time.UTC) }, alarm, "BEGIN:VALARM\nACTION:DISPLAY\nTRIGGER;VALUE=DATE-TIME:20240530T070000Z\nDESCRIPTION:Steuer\nEND:VALARM\n"},
		{"rule", func(k *Task) { k.Recurrence.Interval = 2 }, "FREQ=YEARLY;UNTIL=20300531", "FREQ=YEARLY;UNTIL=20300531;INTERVAL=2;BYMONTHDAY=1;BYMONTH=5"},
		{"no rule", func(k *Task) { k.Recurrence = nil }, "RRULE:FREQ=YEARLY;UNTIL=20300531\n", ""},
		{"regenerates", func(k *Task) { k.Regenerate = true }, "BEGIN:VALARM", "X-WAYPOST-REGENERATE:TRUE\nBEGIN:VALARM"},
	} {
		now := s.ReadTask(parts[0])
		row.change(now)
		out, err := s.WriteTask(parts[0], now)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if got, want := text([]*ical.Component{out}), strings.Replace(before, row.old, row.then, 1); got != want {
			t.Errorf("%s: got\n%s", row.name, got)
		}
		if again := s.ReadTask(out); again.Complete != now.Complete || !again.Reminder.Equal(now.Reminder) || !again.Due.Equal(now.Due) || !again.Start.Equal(now.Start) || !again.Recurrence.equal(now.Recurrence) {
			t.Errorf("%s: said\n%+v\nand came back as\n%+v", row.name, now, again)
		}
	}
	// Only the beginning moves: the alarm and the rule stay where they were.
	moved := s.ReadTask(parts[0])
	moved.Start, moved.Due = moved.Start.AddDate(0, 0, 3), moved.Due.AddDate(0, 0, 3)
	if out, err := s.WriteTask(parts[0], moved); err != nil || !reflect.DeepEqual(s.ReadTask(out).Recurrence, moved.Recurrence) || !s.ReadTask(out).Reminder.Equal(moved.Reminder) {
		t.Errorf("moved: %v\n%v", out, err)
	}
	undone := s.ReadTask(parts[0])
	undone.Complete = true
	finished, err := s.WriteTask(parts[0], undone)
	if err != nil {
		t.Fatal(err)
	}
	undone.Complete = false
	if out, err := s.WriteTask(finished, undone); err != nil || s.ReadTask(out).Complete {
		t.Errorf("not undone: %v %v", out, err)
	}
	for name, bad := range map[string]*Task{
		"due too early": {Start: time.Unix(86400, 0), Due: time.Unix(0, 0)},
		"no date":       {Recurrence: &Recurrence{Type: TypeDaily, Interval: 1}},
	} {
		if _, err := s.WriteTask(nil, bad); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// Every task of the corpus is read and written back without a letter changed;
// made anew it says the same.
func TestTaskCorpus(t *testing.T) {
	count := 0
	for row, data := range corpus.Each(t, "ics") {
		root, _, err := ical.Parse(data, ical.Import)
		if err != nil {
			continue
		}
		s := side(ical.ZonesOf(root, berlin), "ann@ex.test")
		for _, parts := range ical.Series(root) {
			if !parts[0].Is("VTODO") {
				continue
			}
			count++
			k := s.ReadTask(parts[0])
			out, err := s.WriteTask(parts[0], k)
			if err != nil {
				continue // due before it begins
			}
			if before, after := text(parts[:1]), text([]*ical.Component{out}); before != after {
				t.Errorf("%s: what said the same changed\n%s\nto\n%s", row["path"], before, after)
			}
			made, err := s.WriteTask(nil, k)
			if err != nil {
				t.Errorf("%s: %v", row["path"], err)
				continue
			}
			again := s.ReadTask(made)
			again.Partial = k.Partial
			if !k.Recurrence.equal(again.Recurrence) || !k.Reminder.Equal(again.Reminder) || !k.Completed.Equal(again.Completed) {
				t.Errorf("%s: said\n%+v\nand made anew\n%+v", row["path"], k, again)
			}
			k.Recurrence, again.Recurrence, k.Reminder, again.Reminder, k.Completed, again.Completed = nil, nil, time.Time{}, time.Time{}, time.Time{}, time.Time{}
			if !reflect.DeepEqual(k, again) {
				t.Errorf("%s: said\n%+v\nand made anew\n%+v", row["path"], k, again)
			}
		}
	}
	t.Logf("%d tasks", count)
	if count < 20 {
		t.Error("too few")
	}
}
