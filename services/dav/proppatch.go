package dav

import (
	"bytes"
	"context"
	"encoding/xml"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/internal/zone"
	"waypost/store"
)

// change is what a PROPPATCH, MKCALENDAR or MKCOL makes of a folder.
type change struct {
	props store.FolderProps
	name  *string // the new display name
	now   time.Time
	// subscribed: a calendar elsewhere is to be made, at source.
	subscribed bool
	source     string
}

// update is one property that a client sets, or removes.
type update struct {
	name   xml.Name
	value  *node
	remove bool
}

// updates reads the sets and removes of a request, in their order (RFC 4918
// section 14.19).
func updates(n *node) (list []update) {
	for _, c := range n.children() {
		remove := c.name == davName("remove")
		if !remove && c.name != davName("set") {
			continue
		}
		for _, p := range c.child(davName("prop")).children() {
			list = append(list, update{p.name, p, remove})
		}
	}
	return list
}

// apply does one update, or says why not.
func (c *change) apply(u update, on kind) error {
	p := liveProperties[u.name]
	if p != nil {
		if p.on&on == 0 || p.set == nil {
			return failed(http.StatusForbidden, davName("cannot-modify-protected-property"), "")
		}
		if u.remove {
			return p.set(nil, c)
		}
		return p.set(u.value, c)
	}
	key := keyOfName(u.name)
	if u.remove {
		delete(c.props.Dead, key)
		return nil
	}
	if c.props.Dead == nil {
		c.props.Dead = map[string]string{}
	}
	c.props.Dead[key] = standalone(u.value)
	return nil
}

// applyAll does all updates in order and gives the fault of each, nil where it
// would work.
func (c *change) applyAll(list []update, on kind) (errs []error, ok bool) {
	ok = true
	for _, u := range list {
		err := c.apply(u, on)
		errs = append(errs, err)
		ok = ok && err == nil
	}
	return errs, ok
}

// Dead properties are kept by "{namespace}name".
func keyOfName(n xml.Name) string { return "{" + n.Space + "}" + n.Local }

func nameOfKey(key string) xml.Name {
	space, local, _ := strings.Cut(strings.TrimPrefix(key, "{"), "}")
	return xml.Name{Space: space, Local: local}
}

// maxDead bounds the dead properties of a folder, keys included.
const maxDead = 64 << 10

// proppatch changes properties, all or none (RFC 4918 section 9.2).
func (s *Server) proppatch(ctx context.Context, r *request) error {
	n, err := r.rooted(davName("propertyupdate"))
	if err != nil {
		return err
	}
	res, err := s.lookup(ctx, r, r.http.URL.EscapedPath())
	if err != nil {
		return err
	}
	if !res.exists() {
		return errNothing(res.href)
	}
	list := updates(n)
	if len(list) == 0 {
		return fault.New(fault.Invalid, "nothing to change")
	}
	var errs []error
	if !res.is(kept) { // nothing but folders keeps properties
		for range list {
			errs = append(errs, failed(http.StatusForbidden, davName("cannot-modify-protected-property"), ""))
		}
		return r.patched(res.href, list, errs)
	}
	props, err := s.folderProps(ctx, r, res)
	if err != nil {
		return err
	}
	// First to see whether all of it works; then, with the newest properties, for good.
	trial := change{props: clone(*props), now: s.opt.Now()}
	errs, ok := trial.applyAll(list, res.kind)
	if ok && trial.name != nil && *trial.name != res.folder.Name {
		if _, err := s.store.RenameFolder(ctx, r.who, res.owner.box, res.folder.ID, res.folder.Parent, *trial.name); err != nil {
			ok = false
			for i, u := range list {
				if u.name == davName("displayname") {
					errs[i] = err
				}
			}
		}
	}
	if !ok {
		return r.patched(res.href, list, errs)
	}
	_, err = s.store.UpdateFolderProps(ctx, r.who, res.owner.box, res.folder.ID, func(p *store.FolderProps) error {
		c := change{props: clone(*p), now: s.opt.Now()}
		c.applyAll(list, res.kind)
		if err := c.fits(); err != nil {
			return err
		}
		*p = c.props
		return nil
	})
	if err != nil {
		return err
	}
	return r.patched(res.href, list, errs)
}

func clone(p store.FolderProps) store.FolderProps {
	dead := map[string]string{}
	for k, v := range p.Dead {
		dead[k] = v
	}
	p.Dead = dead
	return p
}

// fits tells whether there is room for the properties.
func (c *change) fits() error {
	size := len(c.props.Description) + len(c.props.Order) + len(c.props.Color)
	for k, v := range c.props.Dead {
		size += len(k) + len(v)
	}
	if size > maxDead {
		return httpError(http.StatusInsufficientStorage)
	}
	return nil
}

// patched answers with the fate of every property (RFC 4918 section 9.2.1).
func (r *request) patched(href string, list []update, errs []error) error {
	good := true
	for _, err := range errs {
		good = good && err == nil
	}
	if good && r.prefer.minimal { // RFC 8144 section 2.2
		r.out.header().Set("Preference-Applied", "return=minimal")
		return r.reply(http.StatusOK)
	}
	m := r.multistatus(asked{})
	r.prefer.minimal = false
	m.begin()
	m.x.open(davName("response"))
	m.x.href(href)
	m.x.fates(list, errs)
	m.x.close(davName("response"))
	return m.end(nil)
}

// fates writes a propstat for every property: its own error, 424 for those that
// others took along, 200.
func (x *xmlWriter) fates(list []update, errs []error) {
	good := true
	for _, err := range errs {
		good = good && err == nil
	}
	var same []xml.Name
	for i, u := range list {
		if errs[i] == nil {
			same = append(same, u.name)
			continue
		}
		x.open(davName("propstat"))
		x.open(davName("prop"))
		x.empty(u.name)
		x.close(davName("prop"))
		x.status(codeOf(errs[i]))
		if c := conditionOf(errs[i]); c != nil {
			x.open(davName("error"))
			x.condition(&condition{name: c.name})
			x.close(davName("error"))
		}
		x.close(davName("propstat"))
	}
	if len(same) > 0 {
		code := http.StatusOK
		if !good {
			code = http.StatusFailedDependency
		}
		x.propstat(code, same)
	}
}

var errValue = httpError(http.StatusConflict) // RFC 4918 section 9.2.1: semantics that make no sense

func setDisplayName(n *node, c *change) error {
	name := folderName(n.text())
	if name == "" {
		return errValue
	}
	c.name = &name
	return nil
}

// folderName makes a name of a folder from what a client calls it: at most 250
// bytes, no slash, no control characters.
func folderName(s string) string {
	s = strings.Map(func(c rune) rune {
		switch {
		case c == '/':
			return '∕' // division slash, which looks the same
		case c < 0x20 || c == 0x7f:
			return ' '
		}
		return c
	}, s)
	for len(s) > 250 {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return strings.TrimSpace(s)
}

var colour = regexp.MustCompile(`^#(?:[0-9A-Fa-f]{6}|[0-9A-Fa-f]{8})$`)

func setColor(n *node, c *change) error {
	v := n.text()
	if v != "" && !colour.MatchString(v) {
		return errValue
	}
	c.props.Color = strings.ToUpper(v)
	return nil
}

// setTimezone takes a calendar that describes one zone (RFC 4791 section 5.2.2).
func setTimezone(n *node, c *change) error {
	if n == nil || n.text() == "" {
		c.props.Zone = ""
		return nil
	}
	l, name, err := zoneIn(n.rawText())
	if err != nil {
		return err
	}
	if zone.Load(name) == nil {
		// A zone that nobody knows by name cannot be kept by name.
		if m := zone.Match(l, c.now.Year(), name); m != nil {
			name = m.String()
		} else {
			return failed(http.StatusForbidden, calName("valid-calendar-data"), "no known zone behaves like this one")
		}
	}
	c.props.Zone = zone.Load(name).String()
	return nil
}

// zoneIn reads the one VTIMEZONE of a calendar.
func zoneIn(text string) (*time.Location, string, error) {
	root, _, err := ical.Parse([]byte(text), ical.Object)
	if err != nil {
		return nil, "", err
	}
	var found []*ical.Component
	for _, cal := range root.Parts("VCALENDAR") {
		found = append(found, cal.Parts("VTIMEZONE")...)
	}
	if len(found) != 1 {
		return nil, "", failed(http.StatusForbidden, calName("valid-calendar-data"), "not one zone")
	}
	tzid := found[0].Text("TZID")
	l := ical.ZonesOf(root, nil).Location(tzid)
	if l == nil {
		return nil, "", failed(http.StatusForbidden, calName("valid-calendar-data"), "not a zone")
	}
	return l, l.String(), nil
}

func setTimezoneID(n *node, c *change) error { // RFC 7809 section 5.2
	id := n.text()
	l := zone.Load(id)
	if id != "" && l == nil {
		return failed(http.StatusForbidden, calName("valid-timezone"), "no such zone")
	}
	c.props.Zone = ""
	if l != nil {
		c.props.Zone = l.String()
	}
	return nil
}

func setTransparent(n *node, c *change) error { // RFC 6638 section 9.1
	switch {
	case n == nil, n.child(calName("opaque")) != nil:
		c.props.Transparent = false
	case n.child(calName("transparent")) != nil:
		c.props.Transparent = true
	default:
		return errValue
	}
	return nil
}

// mkcol makes a calendar or an address book: MKCALENDAR (RFC 4791 section 5.3.1),
// extended MKCOL (RFC 5689), and plain MKCOL in the home of address books.
func (s *Server) mkcol(ctx context.Context, r *request) error {
	n, err := r.body()
	if err != nil {
		if fault.Of(err) == fault.Invalid && !strings.Contains(r.http.Header.Get("Content-Type"), "xml") {
			return httpError(http.StatusUnsupportedMediaType) // RFC 4918 section 9.3.1
		}
		return err
	}
	calendar := r.http.Method == "MKCALENDAR"
	want := davName("mkcol")
	if calendar {
		want = calName("mkcalendar")
	}
	if n != nil && n.name != want {
		return httpError(http.StatusUnsupportedMediaType)
	}
	names, _, err := segments(r.http.URL.EscapedPath())
	if err != nil {
		return err
	}
	// A home and a name: anything deeper would be a collection in a collection
	// (RFC 4791 section 5.3.1.1, RFC 6352 section 5.2).
	if len(names) != 3 || names[0] != "calendars" && names[0] != "addressbooks" {
		if res, err := s.lookup(ctx, r, r.http.URL.EscapedPath()); err == nil && res.exists() {
			return httpError(http.StatusMethodNotAllowed)
		} else if _, orphan := err.(errNoParent); orphan { //nolint:errorlint // never wrapped
			return httpError(http.StatusConflict)
		}
		return failed(http.StatusForbidden, calName("calendar-collection-location-ok"), "")
	}
	res, err := s.lookup(ctx, r, r.http.URL.EscapedPath())
	switch {
	case err == nil && calendar:
		return failed(http.StatusMethodNotAllowed, davName("resource-must-be-null"), "")
	case err == nil:
		return httpError(http.StatusMethodNotAllowed) // RFC 4918 section 9.3.1
	case fault.Of(err) != fault.NotFound:
		return err
	}
	o, err := s.owner(ctx, r, names[1])
	if err != nil {
		return errNoParent{err}
	}
	list := updates(n)
	class, errs, list := s.classWanted(calendar, names[0], list)
	c := change{props: store.FolderProps{Path: names[2]}, now: s.opt.Now(), subscribed: asksSubscribed(list)}
	on := isCalendar
	if class == store.ClassContacts {
		on = isBook
	}
	name := names[2]
	if _, taken := store.ParseFolderID(names[2]); taken {
		return httpError(http.StatusForbidden) // ids are not for clients to choose
	}
	more, ok := c.applyAll(list[len(errs):], on)
	errs = append(errs, more...)
	for _, err := range errs {
		ok = ok && err == nil
	}
	if !ok {
		return r.notMade(calendar, list, errs)
	}
	if err := c.fits(); err != nil {
		return err
	}
	if c.name != nil {
		name = *c.name
	}
	if c.subscribed && c.source == "" {
		return failed(http.StatusForbidden, davName("valid-resourcetype"), "a calendar elsewhere has a source")
	}
	if err := s.makeFolder(ctx, r, o, class, folderName(name), &c); err != nil {
		return err
	}
	_ = res
	r.out.header().Set("Cache-Control", "no-cache")
	return r.reply(http.StatusCreated)
}

// classWanted reads which kind of folder is to be made. The updates that say so
// come first in the list it gives, with an error for each.
func (s *Server) classWanted(calendar bool, home string, list []update) (store.Class, []error, []update) {
	class := store.ClassCalendar
	if home == "addressbooks" {
		class = store.ClassContacts
	}
	var first, rest []update
	var errs []error
	is := home == "calendars" && calendar || home == "addressbooks" && !calendar && len(list) == 0
	for _, u := range list {
		switch u.name {
		case davName("resourcetype"):
			// RFC 5689 section 3.3: a kind that cannot be here.
			is = home == "calendars" && (u.value.child(calName("calendar")) != nil || u.value.child(subscribedType) != nil) ||
				home == "addressbooks" && u.value.child(cardName("addressbook")) != nil
		case calName("supported-calendar-component-set"):
			// A folder holds one kind. Of several the first is taken that is there,
			// events before tasks, for DAVx5 asks for all of them unless told not to.
			set := map[string]bool{}
			for _, comp := range u.value.children() {
				set[strings.ToUpper(comp.attr("name"))] = true
			}
			switch {
			case set["VEVENT"] || len(set) == 0:
			case set["VTODO"]:
				class = store.ClassTasks
			case set["VJOURNAL"]:
				class = store.ClassJournal
			default:
				first = append(first, u)
				errs = append(errs, failed(http.StatusForbidden, calName("supported-calendar-component"), ""))
				continue
			}
		default:
			rest = append(rest, u)
			continue
		}
		first = append(first, u)
		errs = append(errs, nil)
	}
	if !is {
		bad := failed(http.StatusForbidden, davName("valid-resourcetype"), "")
		at := -1
		for i, u := range first {
			if u.name == davName("resourcetype") {
				at = i
			}
		}
		if at < 0 {
			first, errs, at = append(first, update{name: davName("resourcetype")}), append(errs, nil), len(first)
		}
		errs[at] = bad
	}
	return class, errs, append(first, rest...)
}

// notMade answers with the fate of every property (RFC 4791 section 5.3.1, RFC
// 5689 section 3.4).
func (r *request) notMade(calendar bool, list []update, errs []error) error {
	root := davName("mkcol-response")
	if calendar {
		root = calName("mkcalendar-response")
	}
	r.out.code = http.StatusForbidden
	r.out.header().Set("Content-Type", xmlType)
	r.out.header().Set("Cache-Control", "no-cache")
	var x xmlWriter
	x.begin(root)
	x.fates(list, errs)
	x.end(root)
	_, err := r.out.Write(x.b)
	return err
}

// makeFolder makes a folder with what a client calls it and its address. The
// name of another folder is made a different one; of two clients that choose an
// address at once, the first has it.
func (s *Server) makeFolder(ctx context.Context, r *request, o owner, class store.Class, name string, c *change) error {
	if name == "" {
		name = "Folder"
	}
	var f store.Folder
	for i := 1; ; i++ {
		try := name
		if i > 1 {
			try = folderName(strings.TrimSpace(name[:min(len(name), 240)])) + " " + string(rune('0'+i))
		}
		var err error
		f, err = s.make(ctx, r, o, store.Folder{Name: strings.ToValidUTF8(try, ""), Class: class, Subscribed: true}, c)
		if err == nil {
			break
		}
		if k := fault.Of(err); k != fault.Exists && k != fault.Conflict || i == 9 {
			return err
		}
	}
	_, err := s.store.UpdateFolderProps(ctx, r.who, o.box, f.ID, func(p *store.FolderProps) error {
		was := p.Transparent
		*p = c.props
		p.Transparent = p.Transparent || was && c.subscribed
		return nil
	})
	if err == nil {
		var all []*resource
		if all, err = s.collections(ctx, r, o, isCalendar|isBook); err == nil {
			for _, other := range all {
				if other.props.Path == c.props.Path && other.folder.ID < f.ID {
					err = httpError(http.StatusMethodNotAllowed)
				}
			}
		}
	}
	if err != nil { // what is half made goes again
		_ = s.store.DeleteFolder(context.WithoutCancel(ctx), r.who, o.box, f.ID, true)
	}
	return err
}

// isBlank tells that there is nothing but space.
func isBlank(b []byte) bool { return len(bytes.TrimSpace(b)) == 0 }
