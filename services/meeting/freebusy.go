package meeting

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/internal/zone"
	"waypost/store"
)

const (
	// MaxPeople whose time can be asked for at once.
	MaxPeople = 100
	// atOnce people are asked about, half of a process's connections.
	atOnce = 4
	// maxSpan of time that is told at once.
	maxSpan = 400 * 24 * time.Hour
	// maxSlots of one person.
	maxSlots = 10_000
	// maxDetails are the items of one person whose texts are read for details.
	maxDetails = 500
)

// FreeBusy tells when people are busy in a range of time, as far as as may see it,
// in the order asked for. More than MaxPeople are Limit.
func (s *Service) FreeBusy(ctx context.Context, as directory.Principal, addresses []string, from, to time.Time) ([]store.Availability, error) {
	switch {
	case as.ID == 0 && !as.Is(directory.RoleSystem):
		return nil, fault.New(fault.Denied, "sign in first")
	case len(addresses) > MaxPeople:
		return nil, fault.New(fault.Limit, "the time of at most %d people at once", MaxPeople)
	case !from.Before(to):
		return nil, fault.New(fault.Invalid, "the time ends before it begins")
	case to.Sub(from) > maxSpan:
		return nil, fault.New(fault.Limit, "at most %d days at once", int(maxSpan/(24*time.Hour)))
	}
	all := make([]store.Availability, len(addresses))
	errs := make([]error, len(addresses))
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i, address := range addresses {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			all[i], errs[i] = s.timeOf(ctx, as, address, from, to)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return all, nil
}

func (s *Service) timeOf(ctx context.Context, as directory.Principal, address string, from, to time.Time) (store.Availability, error) {
	a := store.Availability{Address: address, View: store.ViewNone, Zone: time.UTC}
	canonical, err := envelope.Canonical(address)
	if err != nil {
		return a, nil // nobody's
	}
	r, err := s.dir.Resolve(ctx, canonical)
	if err != nil {
		return a, ignoreInvalid(err)
	}
	if r.Standing != directory.Person {
		return a, nil
	}
	me := inside(r.Target)
	u, err := s.dir.User(ctx, system, r.Target.ID)
	if err != nil {
		return a, err
	}
	set, err := s.store.Settings(ctx, me, me.Mailbox)
	if err != nil {
		return a, err
	}
	a.Known, a.Name = true, u.Name
	views, err := s.viewsOf(ctx, as, me, u)
	if err != nil {
		return a, err
	}
	for _, v := range views {
		a.View = wider(a.View, v)
	}
	if a.View == store.ViewNone {
		return a, nil
	}
	a.Zone, a.Work = zoneOf(set.Calendar), workOf(set.Calendar)
	return a, s.fill(ctx, me, &a, views, from, to)
}

// viewsOf is what one sees of the calendars of another that count: everything of
// its own and of whom it acts for, else what it was given.
func (s *Service) viewsOf(ctx context.Context, as, me directory.Principal, u directory.User) (map[store.FolderID]store.View, error) {
	folders, err := s.calendars(ctx, me)
	if err != nil {
		return nil, err
	}
	whole := as.ID == u.ID || as.Is(directory.RoleSystem)
	if !whole {
		if whole, err = s.isDelegate(ctx, as.ID, u.ID); err != nil {
			return nil, err
		}
	}
	var rights map[store.FolderID]store.Rights
	if !whole {
		if rights, err = s.store.Views(ctx, as, me.Mailbox); err != nil {
			return nil, err
		}
	}
	views := make(map[store.FolderID]store.View, len(folders))
	for _, f := range folders {
		views[f] = store.ViewFull
		if !whole {
			views[f] = rights[f].View()
		}
	}
	return views, nil
}

var widths = map[store.View]int{store.ViewBusy: 1, store.ViewLimited: 2, store.ViewFull: 3}

func wider(v, w store.View) store.View {
	if widths[w] > widths[v] {
		return w
	}
	return v
}

// fill reads the calendars that count.
func (s *Service) fill(ctx context.Context, me directory.Principal, a *store.Availability, views map[store.FolderID]store.View, from, to time.Time) error {
	q := store.Between{From: from, To: to, Floating: a.Zone, Limit: maxSlots}
	for f, v := range views {
		if v != store.ViewNone {
			q.Folders = append(q.Folders, f)
		}
	}
	page, err := s.store.Occurrences(ctx, me, me.Mailbox, q)
	if err != nil {
		return err
	}
	a.Partly = len(page) == q.Limit
	page = slices.DeleteFunc(page, func(o store.Occurrence) bool { return o.Cancelled || o.Busy == store.BusyFree })
	told := slices.DeleteFunc(slices.Clone(page), func(o store.Occurrence) bool { return views[o.Folder] == store.ViewBusy })
	texts, err := s.details(ctx, me, told)
	if err != nil {
		return err
	}
	var plain []store.Slot // of calendars that show no more than that
	for _, o := range page {
		slot := store.Slot{Busy: o.Busy}
		slot.Start, slot.End = placed(o, a.Zone)
		if views[o.Folder] == store.ViewBusy {
			plain = append(plain, slot)
			continue
		}
		if d := texts[o.Item]; d != nil {
			if slot.Private = o.Private; !o.Private {
				slot.Summary, slot.Place = d.of(o.Instance)
			}
		}
		a.Slots = append(a.Slots, slot)
	}
	slices.SortStableFunc(plain, earlier)
	a.Slots = append(a.Slots, merge(plain)...)
	slices.SortStableFunc(a.Slots, earlier)
	return nil
}

func earlier(x, y store.Slot) int { return cmp.Or(x.Start.Compare(y.Start), x.End.Compare(y.End)) }

// calendars are the folders whose events make their owner busy.
func (s *Service) calendars(ctx context.Context, me directory.Principal) ([]store.FolderID, error) {
	all, _, err := s.store.Folders(ctx, me, me.Mailbox)
	if err != nil {
		return nil, err
	}
	var ids []store.FolderID
	for _, f := range all {
		if f.Class == store.ClassCalendar && len(ids) < 100 {
			ids = append(ids, f.ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	props, err := s.store.FolderProps(ctx, me, me.Mailbox, ids)
	if err != nil {
		return nil, err
	}
	var count []store.FolderID
	for i, id := range ids {
		if i >= len(props) || !props[i].Transparent {
			count = append(count, id)
		}
	}
	return count, nil
}

// placed is when an occurrence is, days and floating times where its owner is.
func placed(o store.Occurrence, l *time.Location) (start, end time.Time) {
	if !o.AllDay && !o.Floating {
		return o.Starts, o.Ends
	}
	if l == nil {
		l = time.UTC
	}
	return zone.Instant(o.Starts.UTC(), l), zone.Instant(o.Ends.UTC(), l)
}

// merge joins slots of the same kind that touch, so that nobody learns how many
// there are.
func merge(slots []store.Slot) []store.Slot {
	var all []store.Slot
	open := map[store.Busy]int{} // place in all, by kind
	for _, s := range slots {
		if i, ok := open[s.Busy]; ok && !s.Start.After(all[i].End) {
			if s.End.After(all[i].End) {
				all[i].End = s.End
			}
			continue
		}
		open[s.Busy] = len(all)
		all = append(all, s)
	}
	return all
}

// details are what an item says of itself, by instance.
type details struct {
	parts map[string]*ical.Component
	whole *ical.Component
}

func (d *details) of(instance string) (summary, place string) {
	c := d.parts[instance]
	if c == nil {
		c = d.whole
	}
	if c == nil {
		return "", ""
	}
	return c.Text("SUMMARY"), c.Text("LOCATION")
}

func (s *Service) details(ctx context.Context, me directory.Principal, page []store.Occurrence) (map[store.ItemID]*details, error) {
	all := map[store.ItemID]*details{}
	var items []store.ItemID
	for _, o := range page {
		if !slices.Contains(items, o.Item) && len(items) < maxDetails {
			items = append(items, o.Item)
		}
	}
	for len(items) > 0 {
		n := min(len(items), 50)
		objects, err := s.store.Objects(ctx, me, me.Mailbox, items[:n])
		if err != nil && fault.Of(err) != fault.Limit {
			return nil, err
		}
		items = items[n:]
		for _, o := range objects {
			if o == nil {
				continue
			}
			root, _, err := ical.Parse(o.Text, ical.Object)
			if err != nil {
				continue
			}
			d := &details{parts: map[string]*ical.Component{}}
			for _, cal := range root.Parts("VCALENDAR") {
				for _, c := range cal.Parts("VEVENT") {
					if id := c.Prop("RECURRENCE-ID"); id != nil {
						d.parts[id.Value] = c
					} else {
						d.whole = c
					}
				}
			}
			all[o.Item] = d
		}
	}
	return all, nil
}

// workOf are somebody's working hours.
func workOf(c store.CalendarSettings) []store.WorkHours {
	if len(c.Work) > 0 {
		return c.Work
	}
	var all []store.WorkHours
	for day := time.Monday; day <= time.Friday; day++ {
		all = append(all, store.WorkHours{Day: day, From: 9 * 60, To: 17 * 60})
	}
	return all
}
