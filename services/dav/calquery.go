package dav

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"net/http"
	"slices"
	"time"

	"waypost/internal/fault"
	"waypost/internal/zone"
	"waypost/store"
)

func sortedNames[V any](m map[xml.Name]V) []xml.Name {
	var names []xml.Name
	for n := range m {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b xml.Name) int {
		return cmp.Or(cmp.Compare(a.Space, b.Space), cmp.Compare(a.Local, b.Local))
	})
	return names
}

const (
	// indexed is the longest range that is looked up by its occurrences; a longer
	// one is looked up by where objects begin and end.
	indexed = 400 * 24 * time.Hour
	// dayApart is how far an object's column may be off from where a floating
	// time is.
	dayApart = 26 * time.Hour
	// Texts are read so many, or so many bytes, at a time.
	textsAtOnce = 100
	bytesAtOnce = 8 << 20
)

// calendarQuery finds objects by a filter (RFC 4791 section 7.8).
func (s *Server) calendarQuery(ctx context.Context, r *request, res *resource, n *node) error {
	// Without the header it is 0 (RFC 3253 section 3.6), and nobody asks a
	// collection for nothing: who forgets it means what is in it.
	depth, err := r.depth(1)
	if err != nil {
		return err
	}
	top := n.child(calName("filter"), calName("comp-filter"))
	if top == nil {
		return calDialect.invalid("no filter")
	}
	f, err := calDialect.comp(top)
	if err != nil {
		return err
	}
	if f.name != "VCALENDAR" || f.during != nil {
		return calDialect.invalid("the outermost filter is of VCALENDAR")
	}
	floating, err := s.queryZone(ctx, r, res, n)
	if err != nil {
		return err
	}
	if r.data, err = readData(n.child(davName("prop")), floating); err != nil {
		return err
	}
	m := r.multistatus(readAsked(n))
	if depth != 0 { // the calendar itself is no calendar object
		err = s.matching(ctx, r, res, &calendarMatcher{filter: f, floating: floating}, func(o *store.Object) error { return m.add(ctx, res.of(o)) })
	}
	if err != nil {
		return err
	}
	if !m.begun {
		if other, err := s.again(ctx, r, res); err != nil {
			return err
		} else if other {
			return s.calendarQuery(ctx, r, res, n)
		}
	}
	return m.end(nil)
}

// queryZone is where floating times are: as the query says (RFC 4791 section
// 9.8), else as the calendar does.
func (s *Server) queryZone(ctx context.Context, r *request, res *resource, n *node) (*time.Location, error) {
	if tz := n.child(calName("timezone")); tz != nil {
		l, _, err := zoneIn(tz.rawText())
		return l, err
	}
	if id := n.child(calName("timezone-id")); id != nil { // RFC 7809 section 3.1.5
		if l := zone.Load(id.text()); l != nil {
			return l, nil
		}
		return nil, failed(http.StatusForbidden, calName("valid-timezone"), "no such zone")
	}
	return s.floating(ctx, r, res)
}

// verdict is what an object's columns say of it.
type verdict int

const (
	no verdict = iota
	yes
	maybe // its text has to be read
)

// matching gives the objects of a calendar that a filter wants. A range of time
// is looked up, kinds are columns; texts are read only where those do not decide
// or where the answer holds them.
func (s *Server) matching(ctx context.Context, r *request, res *resource, m *calendarMatcher, give func(*store.Object) error) error {
	judge := func(list []*store.Object, by func(*store.Object) verdict) error {
		var sure, unsure []*store.Object
		for _, o := range list {
			if o == nil || o.Folder != res.folder.ID {
				continue
			}
			switch v := by(o); {
			case v == no:
			case v == yes && r.data == nil:
				sure = append(sure, o)
			default:
				unsure = append(unsure, o)
			}
		}
		for _, o := range sure {
			if err := give(o); err != nil {
				return err
			}
		}
		return s.withTexts(ctx, r, res, unsure, func(o *store.Object) error {
			if by(o) == maybe {
				cal, err := parseCalendar(o.Text)
				if err != nil || !m.matches(cal) {
					return err
				}
			}
			return give(o)
		})
	}
	f := m.mainFilter()
	if f == nil {
		return s.objects(ctx, r, res, func(list []*store.Object) error {
			return judge(list, func(*store.Object) verdict { return maybe })
		})
	}
	exact := len(m.filter.props) == 0 && len(m.filter.comps) == 1 && len(f.props)+len(f.comps) == 0
	t := f.during
	if f.name == "VEVENT" && t != nil && !t.from.IsZero() && !t.to.IsZero() && t.to.Sub(t.from) <= indexed {
		return s.occurring(ctx, r, res, t, m.floating, func(list []*store.Object) error {
			return judge(list, func(*store.Object) verdict {
				if exact {
					return yes
				}
				return maybe
			})
		})
	}
	return s.objects(ctx, r, res, func(list []*store.Object) error {
		return judge(list, func(o *store.Object) verdict {
			v := byColumns(o, f)
			if v == yes && !exact {
				return maybe
			}
			return v
		})
	})
}

// mainFilter is the filter of the component that has to be there; nil when there
// is none.
func (m *calendarMatcher) mainFilter() *compFilter {
	for i := range m.filter.comps {
		if f := &m.filter.comps[i]; !f.absent && recurrable(f.name) {
			return f
		}
	}
	return nil
}

// byColumns judges an object by its kind, and by when it begins and ends.
func byColumns(o *store.Object, f *compFilter) verdict {
	if componentOf(o.Kind) != f.name {
		return no
	}
	t := f.during
	if t == nil {
		return yes
	}
	from, to := t.closed()
	if o.Starts.IsZero() { // it has no time: for tasks that means something
		if f.name == "VTODO" {
			return maybe
		}
		return no
	}
	if !o.Ends.IsZero() && o.Ends.Add(dayApart).Before(from) || o.Starts.Add(-dayApart).After(to) {
		return no
	}
	if f.name == "VEVENT" {
		switch {
		case t.to.IsZero() && (o.Ends.IsZero() || o.Ends.Add(-dayApart).After(from)),
			t.from.IsZero() && o.Starts.Add(dayApart).Before(to):
			return yes
		}
	}
	return maybe
}

// occurring gives the objects that occur in a range, each once, page by page.
func (s *Server) occurring(ctx context.Context, r *request, res *resource, t *timeRange, floating *time.Location, give func([]*store.Object) error) error {
	q := store.Between{Folders: []store.FolderID{res.folder.ID}, From: t.from, To: t.to, Floating: floating, Limit: page}
	var after store.ItemID
	for {
		list, err := s.store.Occurring(ctx, r.who, res.owner.box, q, after)
		if err != nil || len(list) == 0 {
			return err
		}
		if err := give(list); err != nil {
			return err
		}
		if len(list) < page {
			return nil
		}
		after = list[len(list)-1].Item
	}
}

// withTexts reads the texts of objects that have none yet, a few at a time. Those
// that are gone meanwhile are left out.
func (s *Server) withTexts(ctx context.Context, r *request, res *resource, list []*store.Object, give func(*store.Object) error) error {
	var without []*store.Object
	for _, o := range list {
		if o.Text == nil {
			without = append(without, o)
		} else if err := give(o); err != nil {
			return err
		}
	}
	list = without
	for len(list) > 0 {
		n, size := 0, int64(0)
		var items []store.ItemID
		for n < len(list) && n < textsAtOnce && (n == 0 || size+list[n].Size <= bytesAtOnce) {
			size += list[n].Size
			items = append(items, list[n].Item)
			n++
		}
		list = list[n:]
		objects, err := s.store.Objects(ctx, r.who, res.owner.box, items)
		if err != nil {
			return err
		}
		for _, o := range objects {
			if o == nil || o.Folder != res.folder.ID {
				continue
			}
			if err := give(o); err != nil {
				return err
			}
		}
	}
	return nil
}

// multiget gives the objects at a list of addresses (RFC 4791 section 7.9, RFC
// 6352 section 8.7).
func (s *Server) multiget(ctx context.Context, r *request, res *resource, n *node) error {
	var err error
	if r.data, err = readData(n.child(davName("prop")), time.UTC); err != nil {
		return err
	}
	if err := s.placeData(ctx, r, res); err != nil {
		return err
	}
	m := r.multistatus(readAsked(n))
	var names, hrefs []string
	flush := func() error {
		err := s.named(ctx, r, res, m, names, hrefs)
		names, hrefs = names[:0], hrefs[:0]
		return err
	}
	for _, h := range n.children() {
		if h.name != davName("href") {
			continue
		}
		name, err := s.member(r, res, h.text())
		if err != nil {
			// Not an address in this collection: told, and no reason to refuse the rest.
			if err := m.status(h.text(), http.StatusNotFound, nil); err != nil {
				return err
			}
			continue
		}
		names, hrefs = append(names, name), append(hrefs, h.text())
		if len(names) == textsAtOnce {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	return m.end(nil)
}

// placeData finds out where times without a zone are, if the texts that are asked
// for depend on it.
func (s *Server) placeData(ctx context.Context, r *request, res *resource) (err error) {
	if r.data != nil && res.is(isCalendar) && (r.data.expand != nil || r.data.limit != nil) {
		r.data.floating, err = s.floating(ctx, r, res)
	}
	return err
}

var errOutside = errors.New("not in this collection")

// member is the name of an object of a collection that an address means.
func (s *Server) member(r *request, res *resource, href string) (string, error) {
	path, err := r.target(href)
	if err != nil {
		return "", err
	}
	in, _, err := segments(res.href)
	if err != nil {
		return "", err
	}
	names, _, err := segments(path)
	if err != nil {
		return "", err
	}
	if len(names) != len(in)+1 || !slices.Equal(names[:len(in)], in) {
		return "", errOutside
	}
	return names[len(in)], nil
}

// named writes the objects of some names, and 404 for those that are not.
func (s *Server) named(ctx context.Context, r *request, res *resource, m *multi, names, hrefs []string) error {
	if len(names) == 0 {
		return nil
	}
	if res.is(isDirectory) {
		for i, name := range names {
			u, err := s.personNamed(ctx, r, name)
			switch {
			case err != nil:
				return err
			case u == nil:
				err = m.status(hrefs[i], http.StatusNotFound, nil)
			default:
				err = m.add(ctx, res.ofPerson(u))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	find := s.store.ObjectsNamed
	if r.data != nil {
		find = s.store.ObjectsNamedWithTexts // those that do not fit are asked for again
	}
	found, err := find(ctx, r.who, res.owner.box, res.folder.ID, names)
	if fault.Of(err) == fault.Limit && err != nil {
		found, err = s.store.ObjectsNamed(ctx, r.who, res.owner.box, res.folder.ID, names)
	}
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(found, func(o *store.Object) bool { return o != nil }) {
		if other, err := s.again(ctx, r, res); err != nil {
			return err
		} else if other {
			return s.named(ctx, r, res, m, names, hrefs)
		}
	}
	var list []*store.Object
	for i := range names {
		if i < len(found) && found[i] != nil {
			list = append(list, found[i])
		} else if err := m.status(hrefs[i], http.StatusNotFound, nil); err != nil {
			return err
		}
	}
	if r.data == nil {
		for _, o := range list {
			if err := m.add(ctx, res.of(o)); err != nil {
				return err
			}
		}
		return nil
	}
	return s.withTexts(ctx, r, res, list, func(o *store.Object) error { return m.add(ctx, res.of(o)) })
}
