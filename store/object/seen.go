package object

import (
	"bytes"
	"slices"
	"strings"

	"waypost/internal/contentline"
	"waypost/internal/ical"
	"waypost/internal/vcard"
	"waypost/store"
)

// Private tells whether a text, or a part of it, is marked private or confidential
// (RFC 5545 section 3.8.1.3). What cannot be read is private.
func Private(text []byte) bool {
	if !marked(text) {
		return false
	}
	if isCard(text) {
		cards, _, err := vcard.Parse(text, vcard.Object)
		return err != nil || len(cards) != 1 || isPrivate(cards[0].Text("CLASS"))
	}
	_, parts, err := partsOf(text)
	if err != nil {
		return true
	}
	for _, c := range parts {
		if isPrivate(c.Text("CLASS")) {
			return true
		}
	}
	return false
}

// marked is false for most texts without reading them: what is canonical writes
// no name across two lines.
func marked(text []byte) bool { return bytes.Contains(bytes.ToUpper(text), []byte("CLASS")) }

func isPrivate(class string) bool {
	return class != "" && !strings.EqualFold(strings.TrimSpace(class), "PUBLIC")
}

// What stays of a part that is not seen whole: when it is and how busy it makes.
var (
	busyStays = map[string]bool{
		"UID": true, "DTSTAMP": true, "DTSTART": true, "DTEND": true, "DURATION": true, "RRULE": true, "RDATE": true,
		"EXRULE": true, "EXDATE": true, "RECURRENCE-ID": true, "TRANSP": true, "STATUS": true, "SEQUENCE": true,
		"LAST-MODIFIED": true, "CLASS": true, "X-MICROSOFT-CDO-BUSYSTATUS": true, "X-MICROSOFT-CDO-ALLDAYEVENT": true,
	}
	limitedStays  = map[string]bool{"SUMMARY": true, "LOCATION": true}
	calendarStays = map[string]bool{"VERSION": true, "PRODID": true, "CALSCALE": true}
	// Of a task, note or card that is private only that it is there.
	hiddenStays = map[string]bool{
		"UID": true, "DTSTAMP": true, "RECURRENCE-ID": true, "CLASS": true, "VERSION": true, "KIND": true,
	}
)

// Seen gives an object's text as somebody with rights in its folder sees it. Of
// what is private others see that something is there; less is seen of everything by
// who sees only when the owner is busy.
func Seen(text []byte, r store.Rights) ([]byte, error) {
	view := r.View()
	if view == store.ViewFull && (r.Has(store.RightPrivate) || !marked(text)) {
		return text, nil
	}
	if isCard(text) {
		cards, _, err := vcard.Parse(text, vcard.Object)
		if err != nil || len(cards) != 1 {
			return nil, err
		}
		card := cards[0]
		if view == store.ViewFull && !isPrivate(card.Text("CLASS")) {
			return text, nil
		}
		card.Properties = kept(card.Properties, hiddenStays)
		card.SetText("FN", "Private")
		return card.Append(nil), nil
	}
	root, _, err := partsOf(text)
	if err != nil {
		return nil, err
	}
	changed := view != store.ViewFull
	for _, calendar := range root.Children {
		var children []*ical.Component
		for _, c := range calendar.Children {
			if kind, ok := kinds[strings.ToUpper(c.Name)]; ok {
				private := isPrivate(c.Text("CLASS")) && !r.Has(store.RightPrivate)
				changed = changed || private
				lessen(c, kind, view, private)
			} else if !c.Is("VTIMEZONE") && view != store.ViewFull {
				continue
			}
			children = append(children, c)
		}
		calendar.Children = children
	}
	if !changed {
		return text, nil
	}
	for _, calendar := range root.Children {
		calendar.Properties = kept(calendar.Properties, calendarStays)
	}
	return root.Append(nil), nil
}

// lessen takes from a part what is not seen.
func lessen(c *ical.Component, kind store.Kind, view store.View, private bool) {
	if view == store.ViewFull && !private {
		return
	}
	c.Children = nil // alarms are the owner's
	title := "Busy"
	if private {
		title = "Private"
	}
	switch {
	case kind != store.KindEvent:
		c.Properties = kept(c.Properties, hiddenStays)
	case view == store.ViewLimited && !private:
		c.Properties = kept(c.Properties, busyStays, limitedStays)
		return
	default:
		c.Properties = kept(c.Properties, busyStays)
	}
	c.SetText("SUMMARY", title)
}

func kept(list contentline.Properties, names ...map[string]bool) (all contentline.Properties) {
	for _, p := range list {
		name := strings.ToUpper(p.Name)
		if slices.ContainsFunc(names, func(set map[string]bool) bool { return set[name] }) {
			all = append(all, p)
		}
	}
	return all
}
