package publish

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"waypost/internal/ical"
	"waypost/store"
)

// reducer leaves of events what others may see.
type reducer struct {
	detail store.Detail
	key    []byte // so that a UID tells nothing, and stays the same
}

// What tells when an event is, and whether one is busy then.
var when = []string{
	"DTSTAMP", "DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "EXRULE", "RECURRENCE-ID", "SEQUENCE", "STATUS", "TRANSP", "X-MICROSOFT-CDO-BUSYSTATUS",
}

// whatAndWhere is shown besides of what is limited.
var whatAndWhere = []string{"SUMMARY", "LOCATION"}

func private(class string) bool {
	switch strings.ToUpper(strings.TrimSpace(class)) {
	case "PRIVATE", "CONFIDENTIAL":
		return true
	}
	return false
}

// reduce gives what others see of an event with its overrides; nil when it is
// nothing. One private instance makes all of it private.
func (r *reducer) reduce(text []byte) ([]byte, error) {
	root, _, err := ical.Parse(text, ical.Object)
	if err != nil {
		return nil, err
	}
	out := &ical.Component{Name: "VCALENDAR"}
	out.SetValue("VERSION", "2.0")
	out.SetValue("PRODID", "-//Waypost//EN")
	detail, busy := r.detail, false
	var events []*ical.Component
	for _, cal := range root.Parts("VCALENDAR") {
		out.Children = append(out.Children, cal.Parts("VTIMEZONE")...)
		for _, c := range cal.Parts("VEVENT") {
			events = append(events, c)
			if private(c.Text("CLASS")) {
				detail = store.DetailBusy
			}
			busy = busy || state(c) != "Free"
		}
	}
	if len(events) == 0 || detail == store.DetailBusy && !busy {
		return nil, nil
	}
	for _, c := range events {
		out.Children = append(out.Children, r.event(c, detail))
	}
	return out.Append(nil), nil
}

func (r *reducer) event(c *ical.Component, detail store.Detail) *ical.Component {
	e := &ical.Component{Name: "VEVENT"}
	if detail == store.DetailFull {
		for _, p := range c.Properties.Clone() {
			own := strings.HasPrefix(strings.ToUpper(p.Name), "X-WAYPOST-")
			inline := p.Is("ATTACH") && (strings.EqualFold(p.ParamText("ENCODING"), "BASE64") || strings.HasPrefix(p.Value, "data:"))
			if !own && !inline && !p.Bad() {
				e.Properties = append(e.Properties, p)
			}
		}
		return e // reminders are the owner's
	}
	mac := hmac.New(sha256.New, r.key)
	mac.Write([]byte(c.Text("UID")))
	e.SetText("UID", fmt.Sprintf("%x", mac.Sum(nil)[:16]))
	for _, p := range c.Properties.Clone() {
		name := strings.ToUpper(p.Name)
		if slices.Contains(when, name) || detail == store.DetailLimited && slices.Contains(whatAndWhere, name) {
			e.Properties = append(e.Properties, p)
		}
	}
	if detail == store.DetailBusy {
		e.SetText("SUMMARY", state(c))
	}
	return e
}

// state says in a word what an event makes of its owner's time.
func state(c *ical.Component) string {
	switch strings.ToUpper(c.Text("X-MICROSOFT-CDO-BUSYSTATUS")) {
	case "FREE":
		return "Free"
	case "TENTATIVE":
		return "Tentative"
	case "OOF":
		return "Away"
	}
	switch {
	case strings.EqualFold(c.Text("TRANSP"), "TRANSPARENT"), strings.EqualFold(c.Text("STATUS"), "CANCELLED"):
		return "Free"
	case strings.EqualFold(c.Text("STATUS"), "TENTATIVE"):
		return "Tentative"
	}
	return "Busy"
}
