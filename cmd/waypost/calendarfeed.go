package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"

	"waypost/cmd/internal/roles"
	"waypost/internal/fault"
	"waypost/internal/vcard"
	"waypost/services/webcal"
	"waypost/store"
)

func (a *app) calendarSubscribe(ctx context.Context, c *cli) error {
	in := c.Calendar.Subscribe
	if _, err := webcal.Address(in.URL); err != nil {
		return err
	}
	o, err := a.owned(ctx, in.Address, calendarClasses)
	if err != nil {
		return err
	}
	for _, f := range o.feeds {
		if f.URL == in.URL {
			return fault.New(fault.Exists, "%s is subscribed to it already", o.as.Address)
		}
	}
	name := in.Name
	if u, err := url.Parse(in.URL); err == nil && name == "" {
		name = u.Hostname()
	}
	class := store.ClassCalendar
	if in.Tasks {
		class = store.ClassTasks
	}
	f, err := a.mail.Subscribe(ctx, o.as, o.box, store.Folder{Name: name, Class: class, Subscribed: true}, store.FolderProps{Color: in.Color}, in.URL)
	if err != nil {
		return err
	}
	st, err := a.refresh(ctx, o, f.ID)
	res := struct {
		ID      string
		Name    string
		URL     string `json:"url"`
		Objects int
		Skipped int
		Fault   string
	}{f.ID.String(), f.Name, in.URL, st.Objects, st.Skipped, st.Fault}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case fault.Of(err) == fault.Conflict && err != nil: // the server was faster
		return a.out.done(res, "%s (%s) shows %s; it is being read.", f.Name, f.ID, in.URL)
	case err != nil:
		return a.out.done(res, "%s (%s) will show %s. It could not be read yet: %s. It is tried again.", f.Name, f.ID, in.URL, fault.Say(err))
	}
	return a.out.done(res, "%s (%s) shows %s: %s.", f.Name, f.ID, in.URL, readText(st))
}

// readText says what a reading brought.
func readText(st store.FeedState) string {
	text := count(st.Objects, "object")
	if st.Skipped > 0 {
		text += fmt.Sprintf(", %d could not be taken", st.Skipped)
	}
	return text
}

func (a *app) refresh(ctx context.Context, o *owned, folder store.FolderID) (store.FeedState, error) {
	role := webcal.New(a.mail, roles.Feeds(a.cfg), quietLog())
	return role.Refresh(ctx, cmp.Or(o.as.HomeMDB, "default"), o.box, folder)
}

func (a *app) calendarUnsubscribe(ctx context.Context, c *cli) error {
	in := c.Calendar.Unsubscribe
	o, err := a.owned(ctx, in.Address, calendarClasses)
	if err != nil {
		return err
	}
	i, err := o.find(in.URL)
	if err != nil {
		return err
	}
	if o.list[i].Subscribed == nil || in.URL == "" {
		return fault.New(fault.Invalid, "%s is not subscribed to %s; waypost calendar remove removes a calendar", o.as.Address, o.list[i].Name)
	}
	if err := a.mail.DeleteFolder(ctx, o.as, o.box, o.folders[i].ID, false); err != nil {
		return err
	}
	return a.out.done(o.list[i], "%s is not subscribed to %s any more.", o.as.Address, o.list[i].Subscribed.URL)
}

func (a *app) calendarRefresh(ctx context.Context, c *cli) error {
	in := c.Calendar.Refresh
	o, err := a.owned(ctx, in.Address, calendarClasses)
	if err != nil {
		return err
	}
	only := -1
	if in.URL != "" {
		if only, err = o.find(in.URL); err != nil {
			return err
		}
		if o.list[only].Subscribed == nil {
			return fault.New(fault.Invalid, "%s is no subscription", o.list[only].Name)
		}
	}
	type one struct {
		ID      string
		Name    string
		Objects int
		Skipped int
		Fault   string
	}
	list := []one{}
	rows := [][]any{}
	var failed error
	for i, f := range o.list {
		if f.Subscribed == nil || only >= 0 && i != only {
			continue
		}
		st, err := a.refresh(ctx, o, o.folders[i].ID)
		x, said := one{f.ID, f.Name, st.Objects, st.Skipped, ""}, readText(st)
		if err != nil {
			failed = errors.Join(failed, err)
			x.Fault = fault.Say(err)
			said = x.Fault
		}
		list, rows = append(list, x), append(rows, []any{f.ID, f.Name, said})
	}
	if err := a.out.list(list, []any{"Id", "Name", "Read"}, rows); err != nil {
		return err
	}
	if failed != nil {
		return fault.From(fault.Of(failed), failed, "not everything could be read")
	}
	return nil
}

// ownContact is somebody in an address book as it is listed.
type ownContact struct {
	Name  string
	Mail  []string
	Phone []string
	UID   string `json:"uid"`
}

func contactIn(o *store.Object) ownContact {
	x := ownContact{UID: o.UID}
	cards, _, err := vcard.Parse(o.Text, vcard.Object)
	if err != nil || len(cards) == 0 {
		return x
	}
	x.Name, x.Mail = cards[0].DisplayName(), cards[0].Emails()
	for _, p := range cards[0].Sorted("TEL") {
		x.Phone = append(x.Phone, p.Value)
	}
	return x
}
