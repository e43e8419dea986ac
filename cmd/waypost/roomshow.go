package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

// roomShow shows a room: what it is, who decides for it, how it answers, and who
// has it next.
func (a *app) roomShow(ctx context.Context, c *cli) error {
	in := c.Room.Show
	u, err := a.dir.UserByAddress(ctx, operator(), in.Address)
	if err != nil {
		return err
	}
	if !u.Kind.Resource() {
		return fault.New(fault.Invalid, "%s is neither a room nor equipment", in.Address)
	}
	if in.Days < 1 || in.Days > 3660 {
		return fault.New(fault.Invalid, "1 to 3660 days are shown")
	}
	as, box, err := a.boxOf(ctx, u.Address)
	if err != nil {
		return err
	}
	if _, err := a.mail.Mailbox(ctx, as, box); err != nil {
		return err
	}
	set, err := a.mail.Settings(ctx, as, box)
	if err != nil {
		return err
	}
	delegates, err := a.dir.Delegates(ctx, operator(), u.ID)
	if err != nil {
		return err
	}
	f, err := a.mail.FolderByRole(ctx, as, box, store.RoleCalendar)
	if err != nil {
		return err
	}
	now := time.Now()
	events, err := a.nextIn(ctx, as, box, f.ID, now, now.AddDate(0, 0, in.Days), 500)
	if err != nil {
		return err
	}
	res := struct {
		Room      directory.User
		Rules     store.Booking
		Zone      string
		Delegates []string
		Bookings  []ownEvent
	}{u, set.Calendar.Room, set.Calendar.Zone, []string{}, events}
	for _, d := range delegates {
		res.Delegates = append(res.Delegates, d.Address)
	}
	return a.out.show(res, func(w io.Writer) {
		about := []string{u.Name, u.Kind.String()}
		if u.Capacity > 0 {
			about = append(about, fmt.Sprintf("for %d", u.Capacity))
		}
		about = append(about, u.Features...)
		if u.Office != "" {
			about = append(about, u.Office)
		}
		fmt.Fprintln(w, strings.Join(about, ", "))
		ruleText(w, u.Address, set.Calendar, res.Delegates)
		fmt.Fprintf(w, "Booked in the next %s:\n", count(in.Days, "day"))
		eventText(w, events)
	})
}
