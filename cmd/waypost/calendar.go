package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/internal/zone"
	"waypost/services/publish"
	"waypost/store"
)

type calendarCmd struct {
	List   ownListCmd   `cmd:"" help:"List somebody's calendars and task lists, with what they are subscribed to."`
	Create ownCreateCmd `cmd:"" help:"Make a calendar or, with --tasks, a task list."`
	Remove ownRemoveCmd `cmd:"" help:"Remove a calendar or task list. What is in it can be restored for a while."`
	Show   struct {
		Address  string `arg:"" help:"Whose."`
		Calendar string `arg:"" optional:"" help:"Its name or id; the standard calendar if not given."`
		From     string `help:"The first day; today if not given." placeholder:"2026-12-24"`
		Days     int    `help:"How many days of it." default:"14"`
	} `cmd:"" help:"Show a calendar and what is next in it."`
	Subscribe struct {
		Address string `arg:"" help:"For whom."`
		URL     string `arg:"" name:"url" help:"Where the calendar is: https, http or webcal."`
		Name    string `help:"What it is called; its server if not given."`
		Color   string `help:"Its colour." placeholder:"#RRGGBB"`
		Tasks   bool   `help:"A task list."`
	} `cmd:"" help:"Show somebody a calendar of the Internet, which is read again and again."`
	Unsubscribe struct {
		Address string `arg:"" help:"For whom."`
		URL     string `arg:"" name:"url" help:"The address that was subscribed to, or the calendar's name or id."`
	} `cmd:"" help:"End a subscription and remove its calendar."`
	Refresh struct {
		Address string `arg:"" help:"For whom."`
		URL     string `arg:"" optional:"" name:"url" help:"The address that was subscribed to, or the calendar's name or id; all of them if not given."`
	} `cmd:"" help:"Read calendars that somebody is subscribed to now."`
	Publish struct {
		Address  string `arg:"" help:"Whose."`
		Calendar string `arg:"" optional:"" help:"The calendar's name or id; the standard calendar if not given."`
		Detail   string `help:"What others see: full, limited (when, what and where) or busy." enum:"full,limited,busy" default:"busy"`
		All      bool   `help:"All of it, and not only from a year ago to two years ahead."`
		Note     string `help:"For whom it is, to know it again."`
	} `cmd:"" help:"Give a calendar a secret address, at which whoever knows it can read it. It is shown once."`
	Published publishedCmd `cmd:"" help:"List the calendars and address books of somebody that have secret addresses."`
	Unpublish unpublishCmd `cmd:"" help:"Make a secret address worthless."`
	Birthdays struct {
		State   string `arg:"" enum:"on,off" help:"on or off."`
		Address string `arg:"" help:"For whom."`
	} `cmd:"" help:"Show somebody the birthdays and anniversaries of all contacts as a calendar, or no longer."`
}

type addressBookCmd struct {
	List   ownListCmd   `cmd:"" help:"List somebody's address books."`
	Create ownCreateCmd `cmd:"" help:"Make an address book."`
	Remove ownRemoveCmd `cmd:"" help:"Remove an address book. What is in it can be restored for a while."`
	Show   struct {
		Address string `arg:"" help:"Whose."`
		Book    string `arg:"" optional:"" help:"Its name or id; the standard one if not given."`
		Find    string `help:"Only contacts with these words." placeholder:"WORDS"`
		Limit   int    `help:"How many." default:"100"`
	} `cmd:"" help:"Show the contacts of an address book."`
	Publish struct {
		Address string `arg:"" help:"Whose."`
		Book    string `arg:"" optional:"" help:"Its name or id; the standard one if not given."`
		Note    string `help:"For whom it is, to know it again."`
	} `cmd:"" help:"Give an address book a secret address, at which whoever knows it can read it. It is shown once."`
	Published publishedCmd `cmd:"" help:"List the calendars and address books of somebody that have secret addresses."`
	Unpublish unpublishCmd `cmd:"" help:"Make a secret address worthless."`
}

type ownListCmd struct {
	Address string `arg:"" help:"Whose."`
}

type ownCreateCmd struct {
	Address     string `arg:"" help:"Whose."`
	Name        string `arg:"" help:"What it is called."`
	Color       string `help:"Its colour." placeholder:"#RRGGBB"`
	Description string `help:"What it is for."`
	Zone        string `help:"Time zone of times without one, like Europe/Berlin."`
	Tasks       bool   `help:"A task list (of calendars only)."`
}

type ownRemoveCmd struct {
	Address string `arg:"" help:"Whose."`
	Name    string `arg:"" help:"Its name or id."`
}

type publishedCmd struct {
	Address string `arg:"" help:"Whose."`
}

type unpublishCmd struct {
	Address string `arg:"" help:"Whose."`
	ID      int64  `arg:"" name:"id" help:"Its number, as published lists it."`
}

// Which folders the two commands are about, the standard ones first.
var (
	calendarClasses = []store.Class{store.ClassCalendar, store.ClassTasks}
	bookClasses     = []store.Class{store.ClassContacts}
)

// ownFolder is a calendar, task list or address book as it is listed.
type ownFolder struct {
	ID         string
	Name       string
	Holds      store.Class
	Standard   bool
	Objects    int
	From       store.Origin `json:",omitempty"`
	Color      string       `json:",omitempty"`
	Zone       string       `json:",omitempty"`
	Busy       bool         // counts for free/busy
	Subscribed *ownFeed     `json:",omitempty"`
}

// ownFeed is what it is subscribed to.
type ownFeed struct {
	URL     string `json:"url"`
	Checked time.Time
	Changed time.Time
	Next    time.Time
	Fault   string
	Skipped int
}

// owned is somebody's folders of some classes.
type owned struct {
	as      directory.Principal
	box     store.MailboxID
	folders []store.Folder
	list    []ownFolder // of the same order
	feeds   []store.Feed
}

func (a *app) owned(ctx context.Context, address string, classes []store.Class) (*owned, error) {
	as, box, err := a.boxOf(ctx, address)
	if err != nil {
		return nil, err
	}
	if _, err := a.mail.Mailbox(ctx, as, box); err != nil { // makes it, if it is new
		return nil, err
	}
	all, _, err := a.mail.Folders(ctx, as, box)
	if err != nil {
		return nil, err
	}
	o := &owned{as: as, box: box}
	path := paths(all)
	var ids []store.FolderID
	for _, f := range all {
		if slices.Contains(classes, f.Class) {
			o.folders, ids = append(o.folders, f), append(ids, f.ID)
		}
	}
	props, err := a.mail.FolderProps(ctx, as, box, ids)
	if err != nil {
		return nil, err
	}
	if o.feeds, err = a.mail.Feeds(ctx, as, box); err != nil {
		return nil, err
	}
	for i, f := range o.folders {
		one := ownFolder{
			ID: f.ID.String(), Name: strings.Join(path[f.ID], "/"), Holds: f.Class, Standard: f.Role != store.RoleNone, Objects: f.Total, From: f.Origin,
			Color: props[i].Color, Zone: props[i].Zone, Busy: f.Class == store.ClassCalendar && !props[i].Transparent,
		}
		if s := o.feed(f.ID); s != nil {
			one.Subscribed = &ownFeed{s.URL, s.State.Checked, s.State.Changed, s.Due, s.State.Fault, s.State.Skipped}
		}
		o.list = append(o.list, one)
	}
	return o, nil
}

func (o *owned) feed(id store.FolderID) *store.Feed {
	if i := slices.IndexFunc(o.feeds, func(f store.Feed) bool { return f.Folder == id }); i >= 0 {
		return &o.feeds[i]
	}
	return nil
}

// find finds a folder by id, path or name, or what it is subscribed to; with an
// empty name the standard one.
func (o *owned) find(name string) (int, error) {
	var found []int
	for i, f := range o.list {
		switch {
		case name == "" && f.Standard, name != "" && strings.EqualFold(f.ID, name):
			return i, nil
		case strings.EqualFold(f.Name, name), f.Subscribed != nil && f.Subscribed.URL == name:
			found = append(found, i)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return 0, fault.New(fault.NotFound, "%s has none called %q", o.as.Address, name)
	}
	return 0, fault.New(fault.Conflict, "%s has several called %q; say its id", o.as.Address, name)
}

func (a *app) calendarList(ctx context.Context, c *cli) error {
	o, err := a.owned(ctx, c.Calendar.List.Address, calendarClasses)
	if err != nil {
		return err
	}
	rows := make([][]any, len(o.list))
	for i, f := range o.list {
		from, said := "-", ""
		switch {
		case f.From == store.OriginBirthdays:
			from = "contacts"
		case f.Subscribed != nil:
			from, said = f.Subscribed.URL, f.Subscribed.said()
		}
		rows[i] = []any{f.ID, f.Name, f.Holds, f.Objects, from, said}
	}
	return a.out.list(nonNil(o.list), []any{"Id", "Name", "Holds", "Objects", "From", "Read"}, rows)
}

// said is how the last reading went.
func (f *ownFeed) said() string {
	if f.Fault != "" {
		return fmt.Sprintf("%s; again %s", f.Fault, when(f.Next))
	}
	return when(f.Checked)
}

func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (a *app) bookList(ctx context.Context, c *cli) error {
	o, err := a.owned(ctx, c.AddressBook.List.Address, bookClasses)
	if err != nil {
		return err
	}
	rows := make([][]any, len(o.list))
	for i, f := range o.list {
		rows[i] = []any{f.ID, f.Name, f.Objects}
	}
	return a.out.list(nonNil(o.list), []any{"Id", "Name", "Contacts"}, rows)
}

func (a *app) calendarCreate(ctx context.Context, c *cli) error {
	class := store.ClassCalendar
	if c.Calendar.Create.Tasks {
		class = store.ClassTasks
	}
	return a.ownCreate(ctx, c.Calendar.Create, class)
}

func (a *app) bookCreate(ctx context.Context, c *cli) error {
	if c.AddressBook.Create.Tasks {
		return fault.New(fault.Invalid, "an address book holds no tasks")
	}
	return a.ownCreate(ctx, c.AddressBook.Create, store.ClassContacts)
}

func (a *app) ownCreate(ctx context.Context, in ownCreateCmd, class store.Class) error {
	o, err := a.owned(ctx, in.Address, nil)
	if err != nil {
		return err
	}
	f, err := a.mail.CreateFolder(ctx, o.as, o.box, store.Folder{Name: in.Name, Class: class, Subscribed: true})
	if err != nil {
		return err
	}
	_, err = a.mail.UpdateFolderProps(ctx, o.as, o.box, f.ID, func(p *store.FolderProps) error {
		p.Color, p.Description = in.Color, in.Description
		if in.Zone != "" {
			l := zone.Load(in.Zone)
			if l == nil {
				return fault.New(fault.Invalid, "no time zone is called %q", in.Zone)
			}
			p.Zone = l.String()
		}
		return nil
	})
	if err != nil { // what is half made goes again
		_ = a.mail.DeleteFolder(context.WithoutCancel(ctx), o.as, o.box, f.ID, false)
		return err
	}
	return a.out.done(map[string]any{"id": f.ID.String(), "name": f.Name, "holds": f.Class}, "Made %s (%s) for %s.", f.Name, f.ID, o.as.Address)
}

func (a *app) calendarRemove(ctx context.Context, c *cli) error {
	return a.ownRemove(ctx, c.Calendar.Remove.Address, c.Calendar.Remove.Name, calendarClasses)
}

func (a *app) bookRemove(ctx context.Context, c *cli) error {
	return a.ownRemove(ctx, c.AddressBook.Remove.Address, c.AddressBook.Remove.Name, bookClasses)
}

func (a *app) ownRemove(ctx context.Context, address, name string, classes []store.Class) error {
	o, err := a.owned(ctx, address, classes)
	if err != nil {
		return err
	}
	if name == "" {
		return fault.New(fault.Invalid, "say which one")
	}
	i, err := o.find(name)
	if err != nil {
		return err
	}
	f := o.list[i]
	if err := a.mail.DeleteFolder(ctx, o.as, o.box, o.folders[i].ID, false); err != nil {
		return err
	}
	if f.From != store.OriginOwn {
		return a.out.done(f, "Removed %s.", f.Name)
	}
	return a.out.done(f, "Removed %s with %s; waypost mailbox restore brings them back for a while.", f.Name, count(f.Objects, "object"))
}

// ownEvent is something in a calendar as it is shown.
type ownEvent struct {
	Starts, Ends time.Time
	AllDay       bool
	Summary      string
	Where        string
	Who          string // the organizer
	Status       string
}

func (a *app) calendarShow(ctx context.Context, c *cli) error {
	in := c.Calendar.Show
	o, err := a.owned(ctx, in.Address, calendarClasses)
	if err != nil {
		return err
	}
	i, err := o.find(in.Calendar)
	if err != nil {
		return err
	}
	f := o.list[i]
	from := time.Now()
	from = time.Date(from.Year(), from.Month(), from.Day(), 0, 0, 0, 0, time.Local)
	if in.From != "" {
		if from, err = time.ParseInLocation(time.DateOnly, in.From, time.Local); err != nil {
			return fault.New(fault.Invalid, "a day is like 2026-12-24")
		}
	}
	if in.Days < 1 || in.Days > 3660 {
		return fault.New(fault.Invalid, "1 to 3660 days are shown")
	}
	events, err := a.nextIn(ctx, o.as, o.box, o.folders[i].ID, from, from.AddDate(0, 0, in.Days), 500)
	if err != nil {
		return err
	}
	res := struct {
		ownFolder
		Events []ownEvent
	}{f, events}
	return a.out.show(res, func(w io.Writer) {
		fmt.Fprintf(w, "%s (%s) of %s, %s\n", f.Name, f.ID, o.as.Address, count(f.Objects, "object"))
		say := func(format string, args ...any) { fmt.Fprintf(w, "  "+format+"\n", args...) }
		switch {
		case f.From == store.OriginBirthdays:
			say("Birthdays and anniversaries of the contacts.")
		case f.Subscribed != nil:
			say("From %s, read %s.", f.Subscribed.URL, f.Subscribed.said())
			if f.Subscribed.Skipped > 0 {
				say("%s of it could not be taken.", count(f.Subscribed.Skipped, "part"))
			}
		}
		if f.Holds == store.ClassCalendar && !f.Busy {
			say("It does not count for free/busy.")
		}
		eventText(w, events)
	})
}

// eventText writes events as lines.
func eventText(w io.Writer, events []ownEvent) {
	for _, e := range events {
		at := e.Starts.Local().Format("2006-01-02 15:04") + e.Ends.Local().Format("-15:04")
		if e.AllDay {
			at = e.Starts.Format("2006-01-02") + " all day"
		}
		text := e.Summary
		for _, more := range []string{e.Where, e.Who, e.Status} {
			if more != "" {
				text += ", " + more
			}
		}
		fmt.Fprintf(w, "  %-22s  %s\n", at, text)
	}
	if len(events) == 0 {
		fmt.Fprintln(w, "  Nothing.")
	}
}

// nextIn gives what is in a calendar in a range of time.
func (a *app) nextIn(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, from, to time.Time, most int) ([]ownEvent, error) {
	list, err := a.mail.Occurrences(ctx, as, box, store.Between{Folders: []store.FolderID{folder}, From: from, To: to, Floating: time.Local, Limit: most})
	if err != nil {
		return nil, err
	}
	parts := map[store.ItemID][]*ical.Component{}
	var items []store.ItemID
	for _, o := range list {
		if _, ok := parts[o.Item]; !ok {
			parts[o.Item] = nil
			items = append(items, o.Item)
		}
	}
	for some := range slices.Chunk(items, 50) {
		texts, err := a.mail.Objects(ctx, as, box, some)
		if err != nil {
			return nil, err
		}
		for _, t := range texts {
			if t == nil {
				continue
			}
			if root, _, err := ical.Parse(t.Text, ical.Object); err == nil {
				for _, series := range ical.Series(root) {
					parts[t.Item] = append(parts[t.Item], series...)
				}
			}
		}
	}
	events := []ownEvent{}
	for _, o := range list {
		e := ownEvent{Starts: o.Starts, Ends: o.Ends, AllDay: o.AllDay}
		if c := instanceOf(parts[o.Item], o.Instance); c != nil {
			e.Summary, e.Where = c.Text("SUMMARY"), c.Text("LOCATION")
			if who, ok := c.Organizer(); ok {
				e.Who = who.Address
			}
		}
		switch {
		case o.Cancelled:
			e.Status = "cancelled"
		case o.Busy == store.BusyTentative:
			e.Status = "tentative"
		}
		events = append(events, e)
	}
	return events, nil
}

// instanceOf is the component that says what an instance is.
func instanceOf(parts []*ical.Component, instance string) (found *ical.Component) {
	for _, c := range parts {
		switch id := c.Prop("RECURRENCE-ID"); {
		case id == nil && found == nil:
			found = c
		case id != nil && instance != "" && id.Value == instance:
			return c
		}
	}
	return found
}

func (a *app) bookShow(ctx context.Context, c *cli) error {
	in := c.AddressBook.Show
	o, err := a.owned(ctx, in.Address, bookClasses)
	if err != nil {
		return err
	}
	i, err := o.find(in.Book)
	if err != nil {
		return err
	}
	if in.Limit < 1 || in.Limit > 1000 {
		return fault.New(fault.Invalid, "1 to 1000 contacts are shown")
	}
	found, err := a.mail.FindObjects(ctx, o.as, o.box, store.FindObjects{Folders: []store.FolderID{o.folders[i].ID}, Text: in.Find, Limit: in.Limit})
	if err != nil {
		return err
	}
	list := []ownContact{}
	for some := range slices.Chunk(found, 50) {
		var items []store.ItemID
		for _, x := range some {
			items = append(items, x.Item)
		}
		texts, err := a.mail.Objects(ctx, o.as, o.box, items)
		if err != nil {
			return err
		}
		for _, t := range texts {
			if t != nil {
				list = append(list, contactIn(t))
			}
		}
	}
	rows := make([][]any, len(list))
	for i, x := range list {
		rows[i] = []any{x.Name, strings.Join(x.Mail, ", "), strings.Join(x.Phone, ", ")}
	}
	return a.out.list(list, []any{"Name", "Mail", "Telephone"}, rows)
}

func (a *app) calendarPublish(ctx context.Context, c *cli) error {
	in := c.Calendar.Publish
	return a.publish(ctx, in.Address, in.Calendar, calendarClasses, store.Publication{Detail: store.Detail(in.Detail), All: in.All, Note: in.Note})
}

func (a *app) bookPublish(ctx context.Context, c *cli) error {
	in := c.AddressBook.Publish
	return a.publish(ctx, in.Address, in.Book, bookClasses, store.Publication{Detail: store.DetailFull, Note: in.Note})
}

func (a *app) publish(ctx context.Context, address, name string, classes []store.Class, p store.Publication) error {
	o, err := a.owned(ctx, address, classes)
	if err != nil {
		return err
	}
	i, err := o.find(name)
	if err != nil {
		return err
	}
	u, err := a.dir.UserByAddress(ctx, operator(), address)
	if err != nil {
		return err
	}
	p.Folder, p.Owner = o.folders[i].ID, u.ID
	made, secret, err := a.mail.Publish(ctx, o.as, o.box, p)
	if err != nil {
		return err
	}
	url := "https://" + a.cfg.Hostname + publish.Path(o.folders[i].Class, secret)
	res := struct {
		publicationJSON
		URL string `json:"url"`
	}{publicationOf(made, o), url}
	return a.out.done(res, "%s\nWhoever knows this address reads %s of %s. It is not shown again; waypost calendar unpublish %s %d ends it.", url, o.list[i].Name, o.as.Address, o.as.Address, made.ID)
}

// publicationJSON is a publication as it is listed.
type publicationJSON struct {
	ID      int64
	Folder  string
	Name    string
	Detail  store.Detail
	All     bool
	Note    string
	Created time.Time
}

func publicationOf(p store.Publication, o *owned) publicationJSON {
	name := ""
	if i := slices.IndexFunc(o.folders, func(f store.Folder) bool { return f.ID == p.Folder }); i >= 0 {
		name = o.list[i].Name
	}
	return publicationJSON{p.ID, p.Folder.String(), name, p.Detail, p.All, p.Note, p.Created}
}

func (a *app) calendarPublished(ctx context.Context, c *cli) error {
	return a.published(ctx, c.Calendar.Published.Address)
}

func (a *app) bookPublished(ctx context.Context, c *cli) error {
	return a.published(ctx, c.AddressBook.Published.Address)
}

func (a *app) published(ctx context.Context, address string) error {
	o, err := a.owned(ctx, address, slices.Concat(calendarClasses, bookClasses))
	if err != nil {
		return err
	}
	all, err := a.mail.Publications(ctx, o.as, o.box)
	if err != nil {
		return err
	}
	list := make([]publicationJSON, len(all))
	rows := make([][]any, len(all))
	for i, p := range all {
		x := publicationOf(p, o)
		list[i] = x
		rows[i] = []any{x.ID, x.Name, x.Detail, x.Note, when(x.Created)}
	}
	return a.out.list(list, []any{"Id", "Name", "Detail", "Note", "Made"}, rows)
}

func (a *app) calendarUnpublish(ctx context.Context, c *cli) error {
	return a.unpublish(ctx, c.Calendar.Unpublish)
}

func (a *app) bookUnpublish(ctx context.Context, c *cli) error {
	return a.unpublish(ctx, c.AddressBook.Unpublish)
}

func (a *app) unpublish(ctx context.Context, in unpublishCmd) error {
	as, box, err := a.boxOf(ctx, in.Address)
	if err != nil {
		return err
	}
	if err := a.mail.Unpublish(ctx, as, box, in.ID); err != nil {
		return err
	}
	return a.out.done(map[string]int64{"id": in.ID}, "The address of publication %d opens nothing any more.", in.ID)
}

func (a *app) calendarBirthdays(ctx context.Context, c *cli) error {
	in := c.Calendar.Birthdays
	as, box, err := a.boxOf(ctx, in.Address)
	if err != nil {
		return err
	}
	if err := a.mail.SetBirthdays(ctx, as, box, in.State == "on"); err != nil {
		return err
	}
	if in.State == "off" {
		return a.out.done(in, "%s has no calendar of birthdays.", as.Address)
	}
	return a.out.done(in, "%s has a calendar of birthdays; the running server keeps it in step with the contacts.", as.Address)
}
