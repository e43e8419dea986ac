package eas

import (
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// Status of a follow-up flag (MS-ASEMAIL 2.2.2.70).
const (
	flagClear    = 0
	flagComplete = 1
	flagActive   = 2
)

// writeFlag writes the follow-up flag; an empty element says that there is none
// (MS-ASEMAIL 2.2.2.34).
func writeFlag(e *wbxml.Encoder, n *store.Entry) {
	var f *store.FollowUp
	if n.Props != nil {
		f = n.Props.FollowUp
	}
	flagged := n.Flags&store.Flagged != 0
	if f == nil && flagged {
		f = &store.FollowUp{Type: "Flag for follow up"}
	}
	if f == nil || !flagged && !f.Complete {
		e.Empty(wbxml.EmailFlag)
		return
	}
	at := func(tag wbxml.Tag, t time.Time) {
		if !t.IsZero() {
			e.Text(tag, t.UTC().Format(dashed))
		}
	}
	e.Start(wbxml.EmailFlag)
	if f.Complete {
		e.Int(wbxml.EmailStatus, flagComplete)
	} else {
		e.Int(wbxml.EmailStatus, flagActive)
	}
	kind := f.Type
	if kind == "" {
		kind = "Flag for follow up"
	}
	e.Text(wbxml.EmailFlagType, kind)
	if f.Complete {
		at(wbxml.EmailCompleteTime, f.CompletedUTC)
	}
	if f.Subject != "" {
		e.Text(wbxml.TasksSubject, f.Subject)
	}
	if f.Complete {
		at(wbxml.TasksDateCompleted, f.Completed)
	}
	at(wbxml.TasksStartDate, f.Start)
	at(wbxml.TasksUtcStartDate, f.UTCStart)
	at(wbxml.TasksDueDate, f.Due)
	at(wbxml.TasksUtcDueDate, f.UTCDue)
	if !f.Reminder.IsZero() {
		e.Bool(wbxml.TasksReminderSet, true)
		at(wbxml.TasksReminderTime, f.Reminder)
	}
	at(wbxml.TasksOrdinalDate, f.Ordinal)
	if f.SubOrdinal != "" {
		e.Text(wbxml.TasksSubOrdinalDate, f.SubOrdinal)
	}
	e.End()
}

// readFlag reads a follow-up flag from a phone; nil means that there is none.
// A breach of MS-ASEMAIL 3.2.5.4.2 is Invalid.
func readFlag(n *wbxml.Node, now time.Time) (*store.FollowUp, error) {
	if len(n.Children) == 0 {
		return nil, nil
	}
	state, err := n.Int(wbxml.EmailStatus, flagActive)
	if err != nil {
		return nil, err
	}
	switch state {
	case flagClear:
		return nil, nil
	case flagComplete, flagActive:
	default:
		return nil, fault.New(fault.Invalid, "flag status %d", state)
	}
	f := &store.FollowUp{
		Complete: state == flagComplete, Type: cutText(n.Get(wbxml.EmailFlagType), 255),
		Subject: cutText(n.Get(wbxml.TasksSubject), 1024), SubOrdinal: cutText(n.Get(wbxml.TasksSubOrdinalDate), 255),
	}
	dates := 0
	for _, d := range []struct {
		tag    wbxml.Tag
		dst    *time.Time
		counts bool
	}{
		{wbxml.TasksStartDate, &f.Start, true},
		{wbxml.TasksUtcStartDate, &f.UTCStart, true},
		{wbxml.TasksDueDate, &f.Due, true},
		{wbxml.TasksUtcDueDate, &f.UTCDue, true},
		{wbxml.TasksDateCompleted, &f.Completed, false},
		{wbxml.EmailCompleteTime, &f.CompletedUTC, false},
		{wbxml.TasksReminderTime, &f.Reminder, false},
		{wbxml.TasksOrdinalDate, &f.Ordinal, false},
	} {
		text := n.Get(d.tag)
		if text == "" {
			continue
		}
		t, ok := parseTime(text)
		if !ok {
			return nil, fault.New(fault.Invalid, "%s is no time", d.tag.Name())
		}
		*d.dst = t
		if d.counts {
			dates++
		}
	}
	switch {
	case dates != 0 && dates != 4:
		return nil, fault.New(fault.Invalid, "the dates of a flag come together")
	case f.Due.Before(f.Start) || f.UTCDue.Before(f.UTCStart):
		return nil, fault.New(fault.Invalid, "a flag is due before its start")
	case n.Bool(wbxml.TasksReminderSet, false) && f.Reminder.IsZero():
		return nil, fault.New(fault.Invalid, "a reminder without its time")
	}
	if !n.Bool(wbxml.TasksReminderSet, !f.Reminder.IsZero()) {
		f.Reminder = time.Time{}
	}
	if f.Complete {
		// Both are required, but not every phone sends them.
		if f.CompletedUTC.IsZero() {
			f.CompletedUTC = now.UTC().Truncate(time.Second)
		}
		if f.Completed.IsZero() {
			f.Completed = f.CompletedUTC
		}
	}
	return f, nil
}

// parseTime reads both formats of MS-ASDTYPE 2.3, which phones mix.
func parseTime(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	for _, layout := range [...]string{
		"2006-01-02T15:04:05.999Z", "2006-01-02T15:04:05Z", "20060102T150405Z", "2006-01-02T15:04:05.999", "20060102T150405", "2006-01-02",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// cutText gives at most n bytes of s, at a character's end.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return string(trimRune([]byte(s[:n])))
}

// Categories are an item's keywords. A keyword is an atom of IMAP, so what an
// atom cannot hold is written as =XX, its bytes in hexadecimal.

// writeCategories writes them; always says so when there are none.
func writeCategories(e *wbxml.Encoder, n *store.Entry, always bool) {
	names := categories(n.Keywords)
	if len(names) == 0 && !always {
		return
	}
	e.Start(wbxml.EmailCategories)
	for _, c := range names {
		e.Text(wbxml.EmailCategory, c)
	}
	e.End()
}

func categories(keywords []string) []string {
	var names []string
	for _, k := range keywords {
		if k != "" && !isMachineKeyword(k) {
			names = append(names, categoryOf(k))
		}
	}
	return names
}

// isMachineKeyword tells whether a keyword is a mark of programs ($Forwarded),
// not a category of people.
func isMachineKeyword(k string) bool { return strings.HasPrefix(k, "$") || strings.HasPrefix(k, `\`) }

const hexDigits = "0123456789ABCDEF"

// keywordOf gives the keyword of a category; false when it is too long for one.
func keywordOf(category string) (string, bool) {
	var b strings.Builder
	for i := range len(category) {
		c := category[i]
		if c <= ' ' || c >= 0x7F || strings.IndexByte(`(){%*"\]=`, c) >= 0 || i == 0 && c == '$' {
			b.WriteByte('=')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
			continue
		}
		b.WriteByte(c)
	}
	s := b.String()
	return s, s != "" && len(s) <= 64
}

func categoryOf(keyword string) string {
	if !strings.Contains(keyword, "=") {
		return keyword
	}
	var b []byte
	for i := 0; i < len(keyword); i++ {
		if keyword[i] == '=' && i+2 < len(keyword) {
			h, l := strings.IndexByte(hexDigits, keyword[i+1]), strings.IndexByte(hexDigits, keyword[i+2])
			if h >= 0 && l >= 0 {
				b = append(b, byte(h<<4|l))
				i += 2
				continue
			}
		}
		b = append(b, keyword[i])
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}
