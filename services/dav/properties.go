package dav

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/ical"
	"waypost/internal/zone"
	"waypost/store"
)

// property is a live property: where it exists and how its value is made.
type property struct {
	on  kind
	all bool // told to who asks for all (RFC 4918 section 9.1: not what is costly)
	// One of these gives the value: links, or whatever write writes.
	links func(ctx context.Context, r *request, res *resource) ([]string, error)
	write func(ctx context.Context, r *request, res *resource, x *xmlWriter) error
	// set, if not nil, takes a new value; nil of n removes it.
	set func(n *node, c *change) error
}

// errAbsent says that a resource has no value for a property.
var errAbsent = errors.New("no such property")

const (
	anything   = ^kind(0)
	kept       = isCalendar | isBook // what clients may change
	calendars  = isCalendar | isCalendarHome | isInbox | isOutbox
	reportable = isCalendar | anyBook
)

func text(fn func(res *resource) string) func(context.Context, *request, *resource, *xmlWriter) error {
	return func(_ context.Context, _ *request, res *resource, x *xmlWriter) error {
		s := fn(res)
		if s == "" {
			return errAbsent
		}
		x.escape(s, false)
		return nil
	}
}

// keptText gives what a client keeps about a folder.
func keptText(fn func(p *store.FolderProps) string) func(context.Context, *request, *resource, *xmlWriter) error {
	return func(ctx context.Context, r *request, res *resource, x *xmlWriter) error {
		p, err := r.server.folderProps(ctx, r, res)
		if err != nil {
			return err
		}
		return text(func(*resource) string { return fn(p) })(ctx, r, res, x)
	}
}

func link(fn func(r *request, res *resource) string) func(context.Context, *request, *resource) ([]string, error) {
	return func(_ context.Context, r *request, res *resource) ([]string, error) {
		return []string{fn(r, res)}, nil
	}
}

func raw(fn func(x *xmlWriter, res *resource)) func(context.Context, *request, *resource, *xmlWriter) error {
	return func(_ context.Context, _ *request, res *resource, x *xmlWriter) error {
		fn(x, res)
		return nil
	}
}

// liveProperties are all properties that the door knows, by name.
var liveProperties map[xml.Name]*property

// propertyOrder is the order in which all of them are told.
var propertyOrder []xml.Name

func init() {
	liveProperties = map[xml.Name]*property{}
	for _, set := range []map[xml.Name]*property{davProperties(), aclProperties(), calendarProperties(), cardProperties(), scheduleProperties(), subscribedProperties()} {
		for name, p := range set {
			liveProperties[name] = p
			propertyOrder = append(propertyOrder, name)
		}
	}
	slices.SortFunc(propertyOrder, func(a, b xml.Name) int {
		return cmp.Or(cmp.Compare(a.Space, b.Space), cmp.Compare(a.Local, b.Local))
	})
}

// davProperties are WebDAV's (RFC 4918 section 15, RFC 5397, RFC 6578, RFC 4331)
// and those of CalendarServer that everybody asks for.
func davProperties() map[xml.Name]*property {
	return map[xml.Name]*property{
		davName("resourcetype"): {on: anything, all: true, write: raw(writeResourceType)},
		davName("displayname"):  {on: anyCollection, all: true, write: writeDisplayName, set: setDisplayName},
		davName("getetag"):      {on: anyObject, all: true, write: text((*resource).etag)},
		davName("getcontenttype"): {on: anyObject, all: true, write: func(_ context.Context, _ *request, res *resource, x *xmlWriter) error {
			x.str(res.contentType())
			return nil
		}},
		davName("supportedlock"): {on: anything, all: true, write: raw(func(*xmlWriter, *resource) {})}, // none
		davName("current-user-principal"): {on: anything, links: link(func(r *request, _ *resource) string { // RFC 5397 section 3
			return r.server.me(r).principal()
		})},
		davName("supported-report-set"): {on: anything, write: raw(writeReports)}, // RFC 3253 section 3.1.5
		davName("sync-token"): {on: kept, write: text(func(res *resource) string { // RFC 6578 section 4
			return tokenAt(res.folder, store.After(res.folder.HighestSeq))
		})},
		serverName("getctag"): {on: kept, write: text(func(res *resource) string {
			return tokenAt(res.folder, store.After(res.folder.HighestSeq))
		})},
		davName("quota-used-bytes"): {on: isCalendarHome | isBookHome, write: quota(func(m store.Mailbox) int64 { return m.Used })},
		davName("quota-available-bytes"): {on: isCalendarHome | isBookHome, write: quota(func(m store.Mailbox) int64 {
			if m.Quota == 0 {
				return -1
			}
			return max(m.Quota-m.Used, 0)
		})},
	}
}

func quota(fn func(store.Mailbox) int64) func(context.Context, *request, *resource, *xmlWriter) error {
	return func(ctx context.Context, r *request, res *resource, x *xmlWriter) error {
		m, err := r.server.store.Mailbox(ctx, r.who, res.owner.box)
		if err != nil {
			return err
		}
		n := fn(m)
		if n < 0 {
			return errAbsent
		}
		x.str(strconv.FormatInt(n, 10))
		return nil
	}
}

func writeResourceType(x *xmlWriter, res *resource) {
	if res.kind&anyObject == 0 {
		x.empty(davName("collection"))
	}
	for _, t := range []struct {
		on   kind
		name xml.Name
	}{
		{isPrincipal, davName("principal")},
		{isCalendar, calName("calendar")},
		{anyBook, cardName("addressbook")},
		{isInbox, calName("schedule-inbox")},
		{isOutbox, calName("schedule-outbox")},
	} {
		if res.is(t.on) {
			x.empty(t.name)
		}
	}
	if res.is(isCalendar) && res.folder.Origin == store.OriginFeed {
		x.empty(subscribedType)
	}
}

func writeDisplayName(ctx context.Context, r *request, res *resource, x *xmlWriter) error {
	name := ""
	switch res.kind {
	case isRoot:
		name = "Waypost"
	case isCalendar, isBook:
		name = res.folder.Name
	case isDirectory:
		name = "Address list"
	case isInbox:
		name = "Inbox"
	case isOutbox:
		name = "Outbox"
	case isPrincipal, isCalendarHome, isBookHome:
		u, err := r.userOf(ctx, res)
		if err != nil {
			return err
		}
		name = cmp.Or(u.Name, u.Address)
	}
	if name == "" {
		return errAbsent
	}
	x.escape(name, false)
	return nil
}

// contentType is what GET says (RFC 5545 section 8.1, RFC 6350 section 10.1).
func (r *resource) contentType() string {
	switch {
	case r.kind != isEvent:
		return "text/vcard; charset=utf-8"
	case r.object == nil:
		return "text/calendar; charset=utf-8"
	}
	return "text/calendar; charset=utf-8; component=" + strings.ToLower(componentOf(r.object.Kind))
}

func componentOf(k store.Kind) string {
	switch k {
	case store.KindEvent:
		return "VEVENT"
	case store.KindTask:
		return "VTODO"
	}
	return "VJOURNAL"
}

// userOf is the person whose principal or home it is; one's own is asked for
// once a request.
func (r *request) userOf(ctx context.Context, res *resource) (directory.User, error) {
	if res.owner.id != r.who.ID {
		return r.server.people.User(ctx, r.who, res.owner.id)
	}
	if r.self == nil {
		u, err := r.server.people.User(ctx, r.who, r.who.ID)
		if err != nil {
			return u, err
		}
		r.self = &u
	}
	return *r.self, nil
}

// aclProperties are those of RFC 3744. Rights are the store's; what is told here
// is the owner's view, for nobody else comes in yet.
func aclProperties() map[xml.Name]*property {
	owned := anything &^ (isRoot | isPrincipals | isHomes | isDirectory | isPerson)
	none := func(context.Context, *request, *resource) ([]string, error) { return nil, nil }
	return map[xml.Name]*property{
		davName("owner"):         {on: owned, links: link(func(_ *request, res *resource) string { return res.owner.principal() })},
		davName("principal-URL"): {on: isPrincipal, links: link(func(_ *request, res *resource) string { return res.owner.principal() })},
		davName("principal-collection-set"): {on: anything, links: link(func(*request, *resource) string {
			return Prefix + "principals/users/"
		})},
		davName("alternate-URI-set"):          {on: isPrincipal, links: none},
		davName("group-member-set"):           {on: isPrincipal, links: none},
		davName("group-membership"):           {on: isPrincipal, links: none},
		davName("inherited-acl-set"):          {on: anything, links: none},
		davName("current-user-privilege-set"): {on: anything, write: writePrivileges},
		davName("supported-privilege-set"):    {on: anything, write: raw(writeSupportedPrivileges)},
		davName("acl"):                        {on: anything, write: writeACL},
		davName("acl-restrictions"): {on: anything, write: raw(func(x *xmlWriter, _ *resource) {
			x.empty(davName("grant-only"))
			x.empty(davName("no-invert"))
		})},
	}
}

// privileges are what the one who asks may do with a resource.
func (r *request) privileges(res *resource) []xml.Name {
	read := []xml.Name{davName("read"), davName("read-current-user-privilege-set")}
	if res.owner.id != r.who.ID || res.is(isDirectory|isPerson) {
		return read
	}
	all := append(read, davName("read-acl"))
	switch {
	case res.folder.Origin != store.OriginOwn: // what is in it comes from elsewhere
		if res.is(isCalendar) {
			all = append(all, davName("write-properties"))
		}
		return append(all, calName("read-free-busy"))
	case res.is(isOutbox):
		return append(all, calName("schedule-send"), calName("schedule-send-freebusy"), calName("schedule-send-invite"), calName("schedule-send-reply"))
	case res.is(isInbox):
		return append(all, calName("schedule-deliver"), calName("schedule-deliver-invite"), calName("schedule-deliver-reply"), calName("schedule-query-freebusy"))
	case res.is(isCalendarHome | isBookHome):
		return append(all, davName("bind"), davName("unbind"))
	case res.is(isPrincipal):
		return all
	}
	all = append(all, davName("write"), davName("write-properties"), davName("write-content"), davName("bind"), davName("unbind"))
	if res.is(isCalendar | isEvent) {
		all = append(all, calName("read-free-busy"))
	}
	return all
}

func writePrivileges(_ context.Context, r *request, res *resource, x *xmlWriter) error {
	x.privilegeList(r.privileges(res))
	return nil
}

func (x *xmlWriter) privilegeList(list []xml.Name) {
	for _, p := range list {
		x.open(davName("privilege"))
		x.empty(p)
		x.close(davName("privilege"))
	}
}

// writeACL writes the one entry that there is: the owner's (RFC 3744 section 5.5).
func writeACL(_ context.Context, r *request, res *resource, x *xmlWriter) error {
	if r.http == nil {
		return errAbsent
	}
	x.open(davName("ace"))
	x.open(davName("principal"))
	switch {
	case res.owner.id != 0:
		x.href(res.owner.principal())
	default:
		x.empty(davName("authenticated"))
	}
	x.close(davName("principal"))
	x.open(davName("grant"))
	x.privilegeList(r.privileges(res))
	x.close(davName("grant"))
	x.empty(davName("protected"))
	x.close(davName("ace"))
	return nil
}

// supportedPrivileges is the tree of privileges (RFC 3744 section 5.3, RFC 4791
// section 6.1.1).
var supportedPrivileges = []struct {
	name xml.Name
	text string
	in   []xml.Name
}{
	{davName("read"), "Read", []xml.Name{calName("read-free-busy")}},
	{davName("write"), "Write", []xml.Name{davName("write-properties"), davName("write-content"), davName("bind"), davName("unbind")}},
	{davName("read-acl"), "Read the rights", nil},
	{davName("read-current-user-privilege-set"), "Read one's own rights", nil},
}

func writeSupportedPrivileges(x *xmlWriter, _ *resource) {
	one := func(name xml.Name, text string, inner func()) {
		x.open(davName("supported-privilege"))
		x.privilegeList([]xml.Name{name})
		x.text(davName("description"), text)
		inner()
		x.close(davName("supported-privilege"))
	}
	one(davName("all"), "Everything", func() {
		for _, p := range supportedPrivileges {
			one(p.name, p.text, func() {
				for _, q := range p.in {
					one(q, strings.ReplaceAll(q.Local, "-", " "), func() {})
				}
			})
		}
	})
}

// calendarProperties are those of RFC 4791 section 5.2 and 6.2, and Apple's.
func calendarProperties() map[xml.Name]*property {
	return map[xml.Name]*property{
		calName("calendar-home-set"): {on: isPrincipal, links: link(func(_ *request, res *resource) string { return res.owner.calendars() })},
		calName("calendar-description"): {
			on: isCalendar, write: keptText(func(p *store.FolderProps) string { return p.Description }),
			set: func(n *node, c *change) error { c.props.Description = n.rawText(); return nil },
		},
		appleName("calendar-color"): {
			on: isCalendar | isBook, write: keptText(func(p *store.FolderProps) string { return p.Color }), set: setColor,
		},
		appleName("calendar-order"): {
			on: isCalendar | isBook, write: keptText(func(p *store.FolderProps) string { return p.Order }),
			set: func(n *node, c *change) error { c.props.Order = n.text(); return nil },
		},
		calName("calendar-timezone"): {on: isCalendar, write: writeTimezone, set: setTimezone},
		calName("calendar-timezone-id"): { // RFC 7809 section 5.2
			on: isCalendar, write: keptText(func(p *store.FolderProps) string { return p.Zone }), set: setTimezoneID,
		},
		calName("supported-calendar-component-set"): {on: isCalendar, all: true, write: raw(func(x *xmlWriter, res *resource) {
			x.attrs(calName("comp"), "name", itemClasses[res.folder.Class])
		})},
		calName("supported-calendar-component-sets"): {on: isCalendarHome, write: raw(func(x *xmlWriter, _ *resource) {
			for _, comp := range []string{"VEVENT", "VTODO", "VJOURNAL"} {
				x.open(calName("supported-calendar-component-set"))
				x.attrs(calName("comp"), "name", comp)
				x.close(calName("supported-calendar-component-set"))
			}
		})},
		calName("supported-calendar-data"): {on: isCalendar, write: raw(func(x *xmlWriter, _ *resource) {
			x.attrs(calName("calendar-data"), "content-type", "text/calendar", "version", "2.0")
		})},
		calName("max-resource-size"):       {on: isCalendar, write: text(func(*resource) string { return strconv.Itoa(MaxObject) })},
		calName("supported-collation-set"): {on: isCalendar, write: raw(func(x *xmlWriter, _ *resource) { x.collations(calName("supported-collation")) })},
		calName("calendar-data"):           {on: isEvent, write: writeCalendarData},
	}
}

func (x *xmlWriter) collations(name xml.Name) {
	for _, c := range collations {
		x.text(name, c)
	}
}

// cardProperties are those of RFC 6352 section 6.2 and 7.1.
func cardProperties() map[xml.Name]*property {
	return map[xml.Name]*property{
		cardName("addressbook-home-set"): {on: isPrincipal, links: link(func(_ *request, res *resource) string { return res.owner.books() })},
		// Where Apple's programs look people up (draft-daboo-carddav-directory-gateway).
		cardName("directory-gateway"): {on: isPrincipal | isBookHome, links: link(func(_ *request, res *resource) string {
			return res.owner.books() + directorySegment + "/"
		})},
		cardName("addressbook-description"): {
			on: isBook, write: keptText(func(p *store.FolderProps) string { return p.Description }),
			set: func(n *node, c *change) error { c.props.Description = n.rawText(); return nil },
		},
		cardName("supported-address-data"): {on: anyBook, write: raw(func(x *xmlWriter, _ *resource) {
			x.attrs(cardName("address-data-type"), "content-type", "text/vcard", "version", "3.0")
			x.attrs(cardName("address-data-type"), "content-type", "text/vcard", "version", "4.0")
		})},
		cardName("max-resource-size"):       {on: anyBook, write: text(func(*resource) string { return strconv.Itoa(MaxObject) })},
		cardName("supported-collation-set"): {on: anyBook, write: raw(func(x *xmlWriter, _ *resource) { x.collations(cardName("supported-collation")) })},
		cardName("address-data"):            {on: isCard | isPerson, write: writeAddressData},
	}
}

// scheduleProperties are those of RFC 6638 section 2.4 and 9, and the addresses
// of a person, which clients want without scheduling too.
func scheduleProperties() map[xml.Name]*property {
	ifScheduled := func(segment string) func(context.Context, *request, *resource) ([]string, error) {
		return func(_ context.Context, r *request, res *resource) ([]string, error) {
			if r.server.opt.Scheduler == nil {
				return nil, errAbsent
			}
			return []string{res.owner.calendars() + segment + "/"}, nil
		}
	}
	return map[xml.Name]*property{
		calName("calendar-user-address-set"): {on: isPrincipal, links: func(ctx context.Context, r *request, res *resource) ([]string, error) {
			u, err := r.userOf(ctx, res)
			if err != nil {
				return nil, err
			}
			var list []string
			for _, a := range addressesOf(u) {
				list = append(list, "mailto:"+a)
			}
			return append(list, res.owner.principal()), nil
		}},
		serverName("email-address-set"): {on: isPrincipal, write: func(ctx context.Context, r *request, res *resource, x *xmlWriter) error {
			u, err := r.userOf(ctx, res)
			if err != nil {
				return err
			}
			for _, a := range addressesOf(u) {
				x.text(serverName("email-address"), a)
			}
			return nil
		}},
		calName("calendar-user-type"): {on: isPrincipal, write: func(ctx context.Context, r *request, res *resource, x *xmlWriter) error {
			u, err := r.userOf(ctx, res)
			if err != nil {
				return err
			}
			x.str(userType(u.Kind))
			return nil
		}},
		calName("schedule-inbox-URL"):  {on: isPrincipal, links: ifScheduled(inboxSegment)},
		calName("schedule-outbox-URL"): {on: isPrincipal, links: ifScheduled(outboxSegment)},
		calName("schedule-default-calendar-URL"): {on: isInbox, links: func(ctx context.Context, r *request, res *resource) ([]string, error) {
			f, err := r.server.store.FolderByRole(ctx, r.who, res.owner.box, store.RoleCalendar)
			if err != nil {
				return nil, err
			}
			return []string{res.owner.calendars() + f.ID.String() + "/"}, nil
		}},
		calName("schedule-calendar-transp"): {on: isCalendar, write: writeTransparent, set: setTransparent},
		calName("schedule-tag"): {on: isEvent, write: func(ctx context.Context, r *request, res *resource, x *xmlWriter) error {
			tag, err := r.scheduleTag(ctx, res)
			if err != nil || tag == "" {
				return cmp.Or(err, errAbsent)
			}
			x.escape(tag, false)
			return nil
		}},
	}
}

// addressesOf are somebody's addresses, the primary first.
func addressesOf(u directory.User) []string {
	list := []string{u.Address}
	for _, a := range u.Addresses {
		if !slices.ContainsFunc(list, func(b string) bool { return strings.EqualFold(a, b) }) {
			list = append(list, a)
		}
	}
	return list
}

func userType(k directory.Kind) string { // RFC 5545 section 3.2.3
	switch k {
	case directory.KindRoom:
		return "ROOM"
	case directory.KindEquipment:
		return "RESOURCE"
	case directory.KindGroup:
		return "GROUP"
	}
	return "INDIVIDUAL"
}

// writeTimezone writes the calendar's zone as iCalendar (RFC 4791 section 5.2.2).
func writeTimezone(ctx context.Context, r *request, res *resource, x *xmlWriter) error {
	p, err := r.server.folderProps(ctx, r, res)
	if err != nil {
		return err
	}
	l := zone.Load(p.Zone)
	if p.Zone == "" || l == nil {
		return errAbsent
	}
	now := r.server.opt.Now()
	cal := &ical.Component{Name: "VCALENDAR"}
	cal.SetValue("VERSION", "2.0")
	cal.SetValue("PRODID", prodID)
	cal.Children = append(cal.Children, ical.TimeZone(l, p.Zone, now, now.AddDate(1, 0, 0)))
	x.escape(cal.String(), false)
	return nil
}

func writeTransparent(ctx context.Context, r *request, res *resource, x *xmlWriter) error {
	p, err := r.server.folderProps(ctx, r, res)
	if err != nil {
		return err
	}
	if p.Transparent {
		x.empty(calName("transparent"))
	} else {
		x.empty(calName("opaque"))
	}
	return nil
}

// floating is where a calendar's times without a zone are.
func (s *Server) floating(ctx context.Context, r *request, res *resource) (*time.Location, error) {
	p, err := s.folderProps(ctx, r, res)
	if err != nil {
		return nil, err
	}
	if l := zone.Load(p.Zone); l != nil {
		return l, nil
	}
	// Until the calendar has a zone: where the owner is (RFC 4791 section 9.8).
	if res.owner.box == r.who.Mailbox {
		set, err := s.store.Settings(ctx, r.who, r.who.Mailbox)
		if err != nil {
			return nil, err
		}
		if l := zone.Load(set.Calendar.Zone); l != nil {
			return l, nil
		}
	}
	return time.UTC, nil
}
