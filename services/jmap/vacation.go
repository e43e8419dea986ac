package jmap

import (
	"context"
	"slices"
	"time"

	"waypost/store"
)

// maxNotice bounds a body of the absence notice in bytes.
const maxNotice = 64 << 10

// vacation is the one absence notice (RFC 8621 section 8).
var vacation = &kind{
	name:       "VacationResponse",
	state:      vacationState,
	properties: []string{"id", "isEnabled", "fromDate", "toDate", "subject", "textBody", "htmlBody"},
	all:        func(context.Context, *call) ([]string, error) { return []string{"singleton"}, nil },
	read: func(ctx context.Context, c *call, ids, _ []string) (map[string]object, error) {
		set, err := c.store.Settings(ctx, c.who, c.box)
		if err != nil || !slices.Contains(ids, "singleton") {
			return nil, err
		}
		return map[string]object{"singleton": vacationOf(&set.OutOfOffice)}, nil
	},
	mutable: []string{"isEnabled", "fromDate", "toDate", "subject", "textBody", "htmlBody"},
	unset:   object{"isEnabled": false},
	update: func(ctx context.Context, c *call, list []*update) {
		for _, u := range list {
			_, err := c.store.UpdateSettings(ctx, c.who, c.box, func(s *store.Settings) error { return setVacation(&s.OutOfOffice, u.changes) })
			u.err = unwrapped(err)
		}
	},
}

func vacationState(ctx context.Context, c *call) (string, error) {
	set, err := c.store.Settings(ctx, c.who, c.box)
	if err != nil {
		return "", err
	}
	return stateOf(set.OutOfOffice)
}

// vacationOf shows the notice for those outside, where there is one: JMAP has one
// text for everybody.
func vacationOf(o *store.OutOfOffice) object {
	v := object{
		"id": "singleton", "isEnabled": o.State != "", "fromDate": nil, "toDate": nil, "subject": orNil(o.Subject), "textBody": nil, "htmlBody": nil,
	}
	// Dates are kept while the notice is off.
	if o.State != "on" && !o.Start.IsZero() {
		v["fromDate"] = utcText(o.Start)
	}
	if o.State != "on" && !o.End.IsZero() {
		v["toDate"] = utcText(o.End)
	}
	m := o.Internal
	if o.Unknown.Text != "" {
		m = o.Unknown
	}
	if m.HTML {
		v["htmlBody"], v["textBody"] = orNil(m.Text), orNil(m.Plain)
	} else {
		v["textBody"] = orNil(m.Text)
	}
	return v
}

// setVacation changes the notice; the text is then the same for everybody.
func setVacation(o *store.OutOfOffice, changes map[string]any) error {
	now := vacationOf(o)
	for name, v := range changes {
		now[name] = v
	}
	var bad []string
	text := func(name string, most int) string {
		s, ok := now[name].(string)
		if !ok && now[name] != nil || len(s) > most {
			bad = append(bad, name)
		}
		return s
	}
	date := func(name string) (t time.Time) {
		if now[name] != nil {
			var ok bool
			if t, ok = parseUTC(now[name]); !ok {
				bad = append(bad, name)
			}
		}
		return t
	}
	on, ok := now["isEnabled"].(bool)
	if !ok {
		bad = append(bad, "isEnabled")
	}
	subject, plain, html := text("subject", 1000), text("textBody", maxNotice), text("htmlBody", maxNotice)
	from, to := date("fromDate"), date("toDate")
	if len(bad) > 0 {
		return invalidProperties("", bad...)
	}
	o.State, o.Start, o.End, o.Subject = "", from, to, subject
	switch {
	case on && (!from.IsZero() || !to.IsZero()):
		o.State = "timed"
	case on:
		o.State = "on"
	}
	m := store.OutOfMessage{Enabled: on, Text: plain}
	if html != "" {
		m = store.OutOfMessage{Enabled: on, Text: html, HTML: true, Plain: plain}
	}
	_, changesText := changes["textBody"]
	_, changesHTML := changes["htmlBody"]
	for _, at := range []*store.OutOfMessage{&o.Internal, &o.Known, &o.Unknown} {
		if at.Enabled = on; changesText || changesHTML || at.Text == "" {
			*at = m
		}
	}
	return nil
}
