package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/internal/itip"
	"waypost/internal/zone"
	"waypost/store"
)

// mailboxSettingsCmd shows and changes what the owner of a mailbox can set about
// its time and its meetings.
type mailboxSettingsCmd struct {
	Address  string   `arg:"" help:"Whose mailbox."`
	Zone     *string  `help:"The time zone, like Europe/Berlin: of days, of times without a zone and of working hours."`
	Hours    []string `help:"Working hours in place of those before, like mon-thu=09:00-12:30, mon-thu=13:00-17:00 and fri=9-14; none for never, default for Monday to Friday from 9 to 17." placeholder:"DAYS=FROM-TO"`
	Copies   *bool    `name:"copies-to-delegates" negatable:"" help:"Delegates get a copy of invitations and answers."`
	Language *string  `help:"Of mail about meetings: en, de, fr, es, ja or ar."`
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func (a *app) mailboxSettings(ctx context.Context, c *cli) error {
	in := c.Mailbox.Settings
	as, box, err := a.boxOf(ctx, in.Address)
	if err != nil {
		return err
	}
	if in.Zone != nil && *in.Zone != "" && zone.Load(*in.Zone) == nil {
		return fault.New(fault.Invalid, "no time zone is called %q", *in.Zone)
	}
	if in.Language != nil && *in.Language != "" && !slices.Contains(itip.Languages(), *in.Language) {
		return fault.New(fault.Invalid, "the languages are %s", strings.Join(itip.Languages(), ", "))
	}
	work, err := workHours(in.Hours)
	if err != nil {
		return err
	}
	if _, err := a.mail.Mailbox(ctx, as, box); err != nil {
		return err
	}
	var set store.Settings
	if in.Zone == nil && len(in.Hours) == 0 && in.Copies == nil && in.Language == nil {
		set, err = a.mail.Settings(ctx, as, box)
	} else {
		set, err = a.mail.UpdateSettings(ctx, as, box, func(s *store.Settings) error {
			put(&s.Calendar.Zone, in.Zone)
			put(&s.Calendar.Copy, in.Copies)
			put(&s.Language, in.Language)
			if len(in.Hours) > 0 {
				s.Calendar.Work = work
			}
			return nil
		})
	}
	if err != nil {
		return err
	}
	res := struct {
		Address  string
		Zone     string
		Hours    []string
		Copies   bool `json:"CopiesToDelegates"`
		Language string
	}{in.Address, set.Calendar.Zone, hoursText(set.Calendar.Work), set.Calendar.Copy, set.Language}
	if res.Language == "" {
		res.Language = "en"
	}
	return a.out.show(res, func(w io.Writer) {
		fmt.Fprintln(w, res.Address)
		if res.Zone == "" {
			fmt.Fprintln(w, "  It has no time zone: UTC.")
		} else {
			fmt.Fprintf(w, "  Its time zone is %s.\n", res.Zone)
		}
		fmt.Fprintf(w, "  Working hours: %s.\n", strings.Join(res.Hours, ", "))
		if res.Copies {
			fmt.Fprintln(w, "  Its delegates get a copy of invitations and answers.")
		}
		fmt.Fprintf(w, "  Mail about meetings is in %s.\n", res.Language)
	})
}

// workHours reads "mon-fri=09:00-17:00", several of them. Nil are the usual hours.
func workHours(list []string) ([]store.WorkHours, error) {
	if len(list) == 0 || slices.Equal(list, []string{"default"}) {
		return nil, nil
	}
	if slices.Equal(list, []string{"none"}) {
		return []store.WorkHours{{}}, nil // a time of no length: else it would be the usual hours
	}
	var all []store.WorkHours
	for _, text := range list {
		bad := fault.New(fault.Invalid, "working hours are like mon-fri=09:00-17:00, not %q", text)
		days, hours, ok := strings.Cut(strings.ToLower(text), "=")
		from, to, ok2 := strings.Cut(hours, "-")
		first, last, several := strings.Cut(days, "-")
		if !several {
			last = first
		}
		begin, end := slices.Index(weekdays, first), slices.Index(weekdays, last)
		a, ok3 := minutesOf(from)
		b, ok4 := minutesOf(to)
		if !ok || !ok2 || !ok3 || !ok4 || begin < 0 || end < 0 || b <= a {
			return nil, bad
		}
		for day := begin; ; day = (day + 1) % 7 {
			all = append(all, store.WorkHours{Day: time.Weekday(day), From: a, To: b})
			if day == end {
				break
			}
		}
	}
	slices.SortStableFunc(all, func(x, y store.WorkHours) int { return (int(x.Day)*10_000 + x.From) - (int(y.Day)*10_000 + y.From) })
	for i := 1; i < len(all); i++ {
		if all[i].Day == all[i-1].Day && all[i].From < all[i-1].To {
			return nil, fault.New(fault.Invalid, "working hours of %s overlap", all[i].Day)
		}
	}
	return all, nil
}

// minutesOf reads 9, 09:30 or 24:00.
func minutesOf(text string) (int, bool) {
	h, m, cut := strings.Cut(strings.TrimSpace(text), ":")
	hour, err := strconv.Atoi(h)
	minute := 0
	if err == nil && cut {
		minute, err = strconv.Atoi(m)
	}
	n := 60*hour + minute
	return n, err == nil && hour >= 0 && minute >= 0 && minute < 60 && n <= 24*60
}

// hoursText says working hours as they are asked for.
func hoursText(work []store.WorkHours) []string {
	if len(work) == 0 {
		return []string{"mon-fri=09:00-17:00"}
	}
	var list []string
	for _, w := range work {
		if w.To > w.From {
			list = append(list, fmt.Sprintf("%s=%02d:%02d-%02d:%02d", weekdays[w.Day], w.From/60, w.From%60, w.To/60, w.To%60))
		}
	}
	if list == nil {
		list = []string{"none"}
	}
	return list
}
