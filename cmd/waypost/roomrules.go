package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"waypost/directory"
	"waypost/directory/tree"
	"waypost/internal/fault"
	"waypost/internal/zone"
	"waypost/store"
)

// roomRulesCmd shows and changes how a room answers; store.Booking says what each
// rule means.
type roomRulesCmd struct {
	Address   string   `arg:"" help:"Which room or equipment."`
	Manual    *bool    `negatable:"" help:"Its delegates decide about every request; without, what keeps the rules is accepted at once."`
	Conflicts *bool    `negatable:"" help:"Bookings may meet others."`
	Days      *int     `help:"For how many days ahead it can be booked; -1 without limit, 0 for 365."`
	Minutes   *int     `help:"The longest booking; 0 without limit."`
	Recurring *bool    `negatable:"" help:"Series of meetings are taken, or not."`
	Percent   *int     `help:"So much of a series may meet other bookings; those instances alone are declined."`
	Instances *int     `help:"So many instances of a series may, whatever the percentage."`
	WorkOnly  *bool    `negatable:"" help:"Only in its working hours."`
	Who       []string `help:"Who may book: people and groups; everybody lets all of the organisation in." placeholder:"ADDRESS"`
	Outside   *bool    `negatable:"" help:"People of other organisations may book."`
	Ask       *bool    `negatable:"" help:"What breaks a rule waits for a delegate instead of being declined."`
	Text      *string  `help:"Added to its answers."`
	Zone      *string  `help:"Its time zone, like Europe/Berlin."`
	Delegate  []string `help:"Who decides for it, in place of those before; none for nobody." placeholder:"ADDRESS"`
}

func (a *app) roomRules(ctx context.Context, c *cli) error {
	in := c.Room.Rules
	u, err := a.dir.UserByAddress(ctx, operator(), in.Address)
	if err != nil {
		return err
	}
	if !u.Kind.Resource() {
		return fault.New(fault.Invalid, "%s is neither a room nor equipment", in.Address)
	}
	as, box, err := a.boxOf(ctx, u.Address)
	if err != nil {
		return err
	}
	if in.Zone != nil && *in.Zone != "" && zone.Load(*in.Zone) == nil {
		return fault.New(fault.Invalid, "no time zone is called %q", *in.Zone)
	}
	for _, who := range in.Who {
		if who == "everybody" {
			continue
		}
		if r, err := a.dir.Resolve(ctx, who); err != nil || r.Standing != directory.Person && r.Standing != directory.List {
			return fault.New(fault.NotFound, "nobody is called %s", who)
		}
	}
	if _, err := a.mail.Mailbox(ctx, as, box); err != nil {
		return err
	}
	if len(in.Delegate) > 0 {
		if err := a.setDelegates(ctx, u.ID, in.Delegate); err != nil {
			return err
		}
	}
	set, err := a.mail.UpdateSettings(ctx, as, box, func(s *store.Settings) error {
		in.apply(&s.Calendar)
		return nil
	})
	if err != nil {
		return err
	}
	delegates, err := a.dir.Delegates(ctx, operator(), u.ID)
	if err != nil {
		return err
	}
	res := struct {
		Address   string
		Rules     store.Booking
		Zone      string
		Delegates []string
	}{u.Address, set.Calendar.Room, set.Calendar.Zone, nil}
	for _, d := range delegates {
		res.Delegates = append(res.Delegates, d.Address)
	}
	return a.out.show(res, func(w io.Writer) { ruleText(w, u.Address, set.Calendar, res.Delegates) })
}

func (in *roomRulesCmd) apply(c *store.CalendarSettings) {
	b := &c.Room
	put(&b.Manual, in.Manual)
	put(&b.Conflicts, in.Conflicts)
	put(&b.Days, in.Days)
	put(&b.Minutes, in.Minutes)
	put(&b.Percent, in.Percent)
	put(&b.Instances, in.Instances)
	put(&b.WorkOnly, in.WorkOnly)
	put(&b.Outside, in.Outside)
	put(&b.Ask, in.Ask)
	put(&b.Text, in.Text)
	put(&c.Zone, in.Zone)
	if in.Recurring != nil {
		b.NoRecurring = !*in.Recurring
	}
	if len(in.Who) > 0 {
		b.Who = without(in.Who, "everybody")
	}
}

func put[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// ruleText says the rules in words.
func ruleText(w io.Writer, address string, c store.CalendarSettings, delegates []string) {
	b := c.Room
	say := func(format string, args ...any) { fmt.Fprintf(w, "  "+format+"\n", args...) }
	fmt.Fprintln(w, address)
	if b.Manual {
		say("Its delegates decide about every request.")
	} else {
		say("Requests that keep the rules are accepted at once.")
	}
	switch {
	case b.Conflicts:
		say("Bookings may meet others.")
	case b.Percent > 0 || b.Instances > 0:
		say("Of a series, %d percent or %d instances may meet other bookings.", b.Percent, b.Instances)
	}
	switch {
	case b.Days == 0:
		say("Up to 365 days ahead.")
	case b.Days > 0:
		say("Up to %d days ahead.", b.Days)
	}
	if b.Minutes > 0 {
		say("For at most %d minutes.", b.Minutes)
	}
	if b.NoRecurring {
		say("No series of meetings.")
	}
	if b.WorkOnly {
		say("In its working hours only.")
	}
	switch {
	case len(b.Who) > 0:
		say("Only for %s.", strings.Join(b.Who, ", "))
	case b.Outside:
		say("For everybody, people elsewhere too.")
	default:
		say("For everybody of the organisation.")
	}
	if b.Ask {
		say("What breaks a rule waits for a delegate.")
	}
	if c.Zone != "" {
		say("Its time zone is %s.", c.Zone)
	}
	if len(delegates) > 0 {
		say("Delegates: %s.", strings.Join(delegates, ", "))
	}
}

// setDelegates says who acts for somebody. It needs the tree, and a running
// program is not asked.
func (a *app) setDelegates(ctx context.Context, id directory.ObjectID, names []string) error {
	if err := a.openTree(ctx); err != nil {
		return err
	}
	to, err := a.recipients(ctx, names)
	if err != nil {
		return err
	}
	mod := tree.Modification{Op: tree.ModReplace, Name: "publicDelegates"}
	for _, t := range to {
		mod.Values = append(mod.Values, t.dn)
	}
	dn, ok := a.tree().Resolve(id)
	if !ok {
		return fault.New(fault.NotFound, "no such user")
	}
	_, err = a.tree().ModifyEntry(ctx, operator(), dn, []tree.Modification{mod}, tree.Options{From: "command line"})
	return err
}
