package eas

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/internal/zone"
	"waypost/services/eas/calendar"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// taskItems is the class Tasks (MS-ASTASK).
type taskItems struct{}

var taskBody = bodyTags{wbxml.TasksBody, wbxml.TasksBodySize, wbxml.TasksBodyTruncated}

var taskPattern = recurrenceTags{
	wbxml.TasksType, wbxml.TasksOccurrences, wbxml.TasksInterval, wbxml.TasksWeekOfMonth, wbxml.TasksDayOfWeek,
	wbxml.TasksDayOfMonth, wbxml.TasksMonthOfYear, wbxml.TasksUntil, wbxml.TasksCalendarType, wbxml.TasksFirstDayOfWeek,
}

// taskDone tells whether a task's text says that it is done.
func taskDone(text []byte) bool {
	_, c, err := openPart(text)
	return err == nil && calendar.Side{Zones: ical.ZonesOf(c, nil)}.ReadTask(c).Complete
}

func (taskItems) write(e *wbxml.Encoder, s *side, o *store.Object) error {
	t := &calendar.Task{Importance: 1}
	if root, c, err := openPart(o.Text); err == nil {
		t = s.calendarSide(ical.ZonesOf(root, s.zone)).ReadTask(c)
	}
	writeTask(e, s, t)
	return e.Err()
}

func writeTask(e *wbxml.Encoder, s *side, t *calendar.Task) {
	e.Text(wbxml.TasksSubject, t.Subject)
	e.Int(wbxml.TasksImportance, int64(t.Importance))
	e.Int(wbxml.TasksSensitivity, int64(t.Sensitive))
	// Wall time with a Z that is not meant, and the true time (MS-ASTASK 2.2.2.23).
	for _, d := range []struct {
		wall       time.Time
		local, utc wbxml.Tag
	}{{t.Start, wbxml.TasksStartDate, wbxml.TasksUtcStartDate}, {t.Due, wbxml.TasksDueDate, wbxml.TasksUtcDueDate}} {
		if !d.wall.IsZero() {
			e.Text(d.utc, zone.Instant(d.wall, s.zone).UTC().Format(dashed))
			e.Text(d.local, d.wall.Format(dashed))
		}
	}
	e.Bool(wbxml.TasksComplete, t.Complete)
	if t.Complete {
		done := t.Completed
		if done.IsZero() { // needed (MS-ASTASK 2.2.2.8)
			if done = s.now; !t.Due.IsZero() {
				done = t.Due
			}
		}
		e.Text(wbxml.TasksDateCompleted, done.UTC().Format(dashed))
	}
	e.Bool(wbxml.TasksReminderSet, !t.Reminder.IsZero())
	if !t.Reminder.IsZero() {
		e.Text(wbxml.TasksReminderTime, t.Reminder.UTC().Format(dashed))
	}
	writeList(e, wbxml.TasksCategories, wbxml.TasksCategory, t.Categories)
	if r := t.Recurrence; r != nil {
		e.Start(wbxml.TasksRecurrence)
		start := t.Start
		if start.IsZero() {
			start = t.Due
		}
		e.Text(wbxml.TasksStart, start.Format(dashed))
		until := ""
		if !r.Until.IsZero() {
			until = r.Until.Format(dashed)
		}
		s.writePattern(e, taskPattern, r, until)
		e.Bool(wbxml.TasksRegenerate, t.Regenerate)
		e.Int(wbxml.TasksDeadOccur, 0)
		e.End()
	}
	s.writeBody(e, bodyText{plain: t.Body}, taskBody)
}

func (taskItems) uid(_ *syncCommand, once string) string { return newUID(once) }

func (taskItems) edit(s *side, old *store.Object, c *syncCommand) (edited, error) {
	root := &ical.Component{}
	t := &calendar.Task{UID: s.made, Importance: 1}
	var part *ical.Component
	var parts []*ical.Component
	if old != nil {
		var err error
		if root, part, err = openPart(old.Text); err != nil {
			return edited{}, err
		}
		parts = []*ical.Component{part}
	}
	side := s.calendarSide(ical.ZonesOf(root, s.zone))
	if part != nil {
		t = side.ReadTask(part)
	}
	was := *t
	if err := readTask(s, c.data, t, old != nil); err != nil {
		return edited{}, err
	}
	if part != nil && part.Prop("RRULE") != nil && !was.Complete && t.Complete && c.data.Has(wbxml.TasksRecurrence, wbxml.TasksType) {
		if e, err := s.finishTask(side, root, old, &was, t); err != nil || e.text != nil {
			return e, err
		}
	}
	now, err := side.WriteTask(part, t)
	if err != nil {
		return edited{}, err
	}
	text := replaced(root, parts, []*ical.Component{now})
	if old == nil || !bytes.Equal(text, old.Text) {
		stamp([]*ical.Component{now}, s.now, false)
		text = calendarOf(root).Append(nil)
	}
	return edited{text: text, altered: taskDiffers(s, side, now, t)}, nil
}

// finishTask is a phone's word that a task is done which recurs: the item goes on
// as the next instance, and the one that is done becomes another item. A phone that
// does this itself changes the dates instead, and adds what is done (DeadOccur,
// MS-ASTASK 2.2.2.11). Nothing when there is no next one.
func (s *side) finishTask(side calendar.Side, root *ical.Component, old *store.Object, was, said *calendar.Task) (edited, error) {
	t := *said
	t.Complete, t.Completed = false, time.Time{}
	if t.Recurrence == nil { // of a dead occurrence the series keeps its rule
		t.Recurrence, t.Regenerate = was.Recurrence, was.Regenerate
	}
	parts := series(root)
	master := parts[0]
	for _, c := range parts {
		if c.Prop("RECURRENCE-ID") == nil {
			master = c
		}
	}
	now, err := side.WriteTask(master, &t)
	if err != nil {
		return edited{}, err
	}
	changed := slices.Clone(parts)
	changed[slices.Index(parts, master)] = now
	first := was.Start
	if first.IsZero() {
		first = was.Due
	}
	once := "task done " + itemID(old.Item) + " " + first.Format(compact)
	done, rest := side.Done(changed, said.Completed, newUID(once))
	if rest == nil {
		return edited{}, nil
	}
	stamp(done, s.now, true)
	stamp(rest, s.now, false)
	// The zones stay with both.
	text := replaced(root, parts, done)
	return edited{text: replaced(root, done, rest), altered: true, beside: text, besideOnce: once}, nil
}

func taskDiffers(s *side, side calendar.Side, now *ical.Component, said *calendar.Task) bool {
	show := func(t *calendar.Task) []byte {
		var out buffer
		e := wbxml.NewEncoder(&out)
		e.Start(wbxml.AirSyncApplicationData)
		writeTask(e, s, t)
		e.End()
		_ = e.Flush()
		return out
	}
	return !bytes.Equal(show(side.ReadTask(now)), show(said))
}

// readTask takes what a phone says into a task. A Change says all that the task
// has, but for body, subject and categories: what it leaves out is gone.
func readTask(s *side, data *wbxml.Node, t *calendar.Task, change bool) error {
	if n := data.Child(wbxml.TasksSubject); n != nil {
		t.Subject = n.Value()
	}
	for tag, f := range map[wbxml.Tag]struct {
		dst  *int
		most int
	}{wbxml.TasksImportance: {&t.Importance, 2}, wbxml.TasksSensitivity: {&t.Sensitive, 3}} {
		v, err := data.Int(tag, *f.dst)
		if err != nil {
			return err
		}
		*f.dst = min(max(v, 0), f.most)
	}
	if t.Sensitive == 1 {
		t.Sensitive = 2
	}
	for _, d := range []struct {
		wall       *time.Time
		local, utc wbxml.Tag
	}{{&t.Start, wbxml.TasksStartDate, wbxml.TasksUtcStartDate}, {&t.Due, wbxml.TasksDueDate, wbxml.TasksUtcDueDate}} {
		wall, err := s.taskDate(data, d.local, d.utc)
		if err != nil {
			return err
		}
		*d.wall = wall
	}
	t.Complete = data.Bool(wbxml.TasksComplete, t.Complete)
	if v := data.Get(wbxml.TasksDateCompleted); v != "" {
		at, ok := parseTime(v)
		if !ok {
			return fault.New(fault.Invalid, "DateCompleted is no time")
		}
		t.Completed = at
	} else if t.Complete && t.Completed.IsZero() {
		t.Completed = s.now.UTC().Truncate(time.Second)
	}
	if !t.Complete {
		t.Completed = time.Time{}
	}
	if err := readRing(data, t, change); err != nil {
		return err
	}
	if n := data.Child(wbxml.TasksCategories); n != nil {
		t.Categories = listOf(t.Categories, n, wbxml.TasksCategory)
	}
	t.Body = s.readBody(data, bodyText{plain: t.Body}, wbxml.TasksBody).plain
	return s.taskRecurrence(data, t)
}

// taskDate reads a day of a task: the wall time, or if only the other is there
// what the clock shows where the phone's owner is.
func (s *side) taskDate(data *wbxml.Node, local, utc wbxml.Tag) (time.Time, error) {
	for _, tag := range []wbxml.Tag{local, utc} {
		v := data.Get(tag)
		if v == "" {
			continue
		}
		t, ok := parseTime(v)
		if !ok {
			return t, fault.New(fault.Invalid, "%s is no time", tag.Name())
		}
		if tag == utc {
			t = zone.Wall(t, s.zone)
		}
		return t, nil
	}
	return time.Time{}, nil
}

// readRing reads the reminder (MS-ASTASK 2.2.2.20).
func readRing(data *wbxml.Node, t *calendar.Task, change bool) error {
	set := data.Get(wbxml.TasksReminderSet)
	at, ok := parseTime(data.Get(wbxml.TasksReminderTime))
	switch {
	case set != "" && set != "0" && set != "1":
		return fault.New(fault.Invalid, "ReminderSet is neither 0 nor 1")
	case set == "0", set == "" && !ok && change:
		t.Reminder = time.Time{}
	case ok:
		t.Reminder = at
	case set == "1" && t.Reminder.IsZero():
		return fault.New(fault.Invalid, "a reminder without its time")
	}
	return nil
}

// taskRecurrence reads the pattern. A dead occurrence is a copy of one that was
// done, which recurs no more (MS-ASTASK 2.2.2.9).
func (s *side) taskRecurrence(data *wbxml.Node, t *calendar.Task) error {
	n := data.Child(wbxml.TasksRecurrence)
	if n == nil || len(n.Children) == 0 || strings.TrimSpace(n.Get(wbxml.TasksDeadOccur)) == "1" {
		t.Recurrence, t.Regenerate = nil, false
		return nil
	}
	p, err := s.pattern(n, taskPattern, t.Recurrence)
	if err != nil {
		return err
	}
	if v := n.Get(wbxml.TasksUntil); v != "" {
		until, ok := parseTime(v)
		if !ok {
			return fault.New(fault.Invalid, "Until is no time")
		}
		p.Until = until
		if old := t.Recurrence; old != nil && old.Until.Truncate(24*time.Hour).Equal(until.Truncate(24*time.Hour)) {
			p.Until = old.Until
		}
	}
	if t.Start.IsZero() && t.Due.IsZero() {
		start, ok := parseTime(n.Get(wbxml.TasksStart))
		if !ok {
			return fault.New(fault.Invalid, "a task that recurs without a date")
		}
		t.Start = start
	}
	t.Recurrence, t.Regenerate = p, n.Bool(wbxml.TasksRegenerate, false)
	return nil
}
