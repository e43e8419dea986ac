package dav

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

// kind is what a resource is; a set of kinds says where something exists.
type kind uint32

const (
	isRoot         kind = 1 << iota // /dav/
	isPrincipals                    // /dav/principals/, /dav/principals/users/
	isHomes                         // /dav/calendars/, /dav/addressbooks/
	isPrincipal                     // /dav/principals/users/ADDRESS/
	isCalendarHome                  // /dav/calendars/ADDRESS/
	isBookHome                      // /dav/addressbooks/ADDRESS/
	isCalendar                      // …/NAME/
	isBook                          // …/NAME/
	isDirectory                     // …/directory/, the global address list
	isInbox                         // …/inbox/
	isOutbox                        // …/outbox/
	isEvent                         // an event, task or note
	isCard
	isPerson // of the global address list

	anyObject     = isEvent | isCard | isPerson
	anyCollection = ^anyObject
	anyBook       = isBook | isDirectory
)

// Names in homes that are no folder's.
const (
	directorySegment = "directory"
	inboxSegment     = "inbox"
	outboxSegment    = "outbox"
)

// resource is what an address names.
type resource struct {
	kind  kind
	href  string // escaped
	owner owner
	// folder is that of a calendar or book and what is in it.
	folder store.Folder
	props  *store.FolderProps // by folderProps
	name   string             // of an object
	// segment is the name in its home of a calendar or book, or of that it is in.
	segment string
	object  *store.Object   // nil: there is none of that name
	person  *directory.User // of isPerson; nil: there is none
}

// owner is whose a resource is.
type owner struct {
	address string // as in the URL
	box     store.MailboxID
	id      directory.ObjectID
}

func (o owner) path() string      { return url.PathEscape(o.address) + "/" }
func (o owner) principal() string { return Prefix + "principals/users/" + o.path() }
func (o owner) calendars() string { return Prefix + "calendars/" + o.path() }
func (o owner) books() string     { return Prefix + "addressbooks/" + o.path() }

// home is the home of calendars, or of address books.
func (o owner) home(k kind) string {
	if k&anyBook != 0 {
		return o.books()
	}
	return o.calendars()
}

// me is the one who asks.
func (s *Server) me(r *request) owner { return owner{r.who.Address, r.who.Mailbox, r.who.ID} }

func (r *resource) is(set kind) bool { return r.kind&set != 0 }
func (r *resource) collection() bool { return !r.is(anyObject) }

// exists is false for an address of an object at which there is none.
func (r *resource) exists() bool {
	return r.collection() || r.object != nil || r.person != nil
}

func errNothing(path string) error { return fault.New(fault.NotFound, "there is nothing at %s", path) }

// errNoParent is NotFound, and a conflict for who wants to make something there
// (RFC 4918 section 9.7.1).
type errNoParent struct{ error }

func (e errNoParent) Unwrap() error { return e.error }

// itemClasses are the classes of folders in a home, with what their objects are
// called in iCalendar.
var itemClasses = map[store.Class]string{
	store.ClassCalendar: "VEVENT",
	store.ClassTasks:    "VTODO",
	store.ClassJournal:  "VJOURNAL",
	store.ClassNotes:    "VJOURNAL",
}

func kindOfClass(c store.Class) (kind, bool) {
	if c == store.ClassContacts {
		return isBook, true
	}
	_, ok := itemClasses[c]
	return isCalendar, ok
}

// segments cuts an escaped path below Prefix into names. It refuses what is no
// name: "." and "..", control characters, what is not UTF-8; a slash that was
// escaped stays in its name, where no name matches it.
func segments(escaped string) (names []string, slash bool, err error) {
	bad := fault.New(fault.Invalid, "not an address of this server")
	rest, ok := strings.CutPrefix(escaped, Prefix)
	if !ok {
		if escaped+"/" == Prefix {
			return nil, false, nil
		}
		return nil, false, bad
	}
	rest, slash = strings.CutSuffix(rest, "/")
	if rest == "" {
		return nil, true, nil
	}
	for part := range strings.SplitSeq(rest, "/") {
		name, err := url.PathUnescape(part)
		if err != nil || name == "" || name == "." || name == ".." || !utf8.ValidString(name) ||
			strings.ContainsFunc(name, func(c rune) bool { return c < 0x20 || c == 0x7f }) {
			return nil, false, bad
		}
		names = append(names, name)
	}
	return names, slash, nil
}

// lookup finds what an escaped path names. An object that could be there and is
// not is given without one.
func (s *Server) lookup(ctx context.Context, r *request, escaped string) (*resource, error) {
	names, _, err := segments(escaped)
	if err != nil {
		return nil, err
	}
	top := ""
	if len(names) > 0 {
		top = names[0]
	}
	switch {
	case top == "calendars" && !r.who.May(directory.ScopeCalendar), top == "addressbooks" && !r.who.May(directory.ScopeContacts):
		// RFC 6750 section 3.1: the token was granted for other things.
		return nil, fault.New(fault.Denied, "the token was not granted for this")
	case top == "":
		return &resource{kind: isRoot, href: Prefix}, nil
	case top == "principals" && (len(names) == 1 || names[1] == "users"):
		if len(names) <= 2 {
			return &resource{kind: isPrincipals, href: Prefix + strings.Join(names, "/") + "/"}, nil
		}
		if len(names) == 3 {
			o, err := s.owner(ctx, r, names[2])
			return &resource{kind: isPrincipal, href: o.principal(), owner: o}, err
		}
	case top == "calendars" || top == "addressbooks":
		if len(names) == 1 {
			return &resource{kind: isHomes, href: Prefix + top + "/"}, nil
		}
		o, err := s.owner(ctx, r, names[1])
		if err != nil {
			return nil, errNoParent{err}
		}
		home := &resource{kind: isCalendarHome, href: o.calendars(), owner: o}
		if top == "addressbooks" {
			home = &resource{kind: isBookHome, href: o.books(), owner: o}
		}
		if len(names) == 2 {
			return home, nil
		}
		if len(names) > 4 {
			return nil, errNoParent{errNothing(escaped)}
		}
		in, err := s.inHome(ctx, r, home, names[2])
		if err != nil || len(names) == 3 {
			if err != nil && len(names) == 4 {
				err = errNoParent{err}
			}
			return in, err
		}
		return s.inCollection(ctx, r, in, names[3])
	}
	return nil, errNothing(escaped)
}

// owner finds whose an address in a path is.
func (s *Server) owner(ctx context.Context, r *request, address string) (owner, error) {
	if strings.EqualFold(address, r.who.Address) {
		return owner{address, r.who.Mailbox, r.who.ID}, nil
	}
	u, err := s.people.UserByAddress(ctx, r.who, address)
	if err != nil {
		return owner{}, err
	}
	return owner{address, u.Mailbox, u.ID}, nil
}

// inHome finds a collection of a home.
func (s *Server) inHome(ctx context.Context, r *request, home *resource, name string) (*resource, error) {
	href := home.href + url.PathEscape(name) + "/"
	switch {
	case home.kind == isBookHome && name == directorySegment:
		return &resource{kind: isDirectory, href: href, owner: home.owner}, nil
	case home.kind == isCalendarHome && s.opt.Scheduler != nil && name == inboxSegment:
		return &resource{kind: isInbox, href: href, owner: home.owner}, nil
	case home.kind == isCalendarHome && s.opt.Scheduler != nil && name == outboxSegment:
		return &resource{kind: isOutbox, href: href, owner: home.owner}, nil
	}
	f, err := s.folderNamed(ctx, r, home.owner, name)
	if err != nil {
		return nil, err
	}
	k, ok := kindOfClass(f.Class)
	if !ok || (k == isBook) != (home.kind == isBookHome) {
		return nil, errNothing(href)
	}
	return &resource{kind: k, href: href, owner: home.owner, folder: f, segment: name}, nil
}

// again looks whether a folder in which nothing was found is still the one of its
// name, and tells whether it is another.
func (s *Server) again(ctx context.Context, r *request, res *resource) (other bool, err error) {
	if !r.trusting || res.segment == "" {
		return false, nil
	}
	r.trusting = false
	f, err := s.folderNamed(ctx, r, res.owner, res.segment)
	if err != nil {
		return false, err
	}
	if other = f.ID != res.folder.ID; other {
		res.folder, res.props = f, nil
	}
	return other, nil
}

// pathKey names a folder by its name in a home.
type pathKey struct {
	box  store.MailboxID
	name string
}

// maxPaths bounds the memory of such names; it begins anew when it is full.
const maxPaths = 20_000

// folderNamed finds the folder of a name in a home: an id's text, or what a
// client chose. Which folder that is, and its class, is remembered: neither
// changes while the folder is there.
func (s *Server) folderNamed(ctx context.Context, r *request, o owner, name string) (store.Folder, error) {
	key := pathKey{o.box, name}
	s.mu.Lock()
	known := s.paths[key]
	s.mu.Unlock()
	if known.ID != 0 && r.trusting {
		return known, nil
	}
	id, isID := store.ParseFolderID(name)
	if !isID {
		id = known.ID
	}
	if id != 0 {
		f, err := s.store.Folder(ctx, r.who, o.box, id)
		if err == nil {
			s.remember(key, f)
		}
		if isID || err == nil || fault.Of(err) != fault.NotFound {
			return f, err
		}
		// That one is gone, and another may have its name.
	}
	all, err := s.collections(ctx, r, o, isCalendar|isBook)
	if err != nil {
		return store.Folder{}, err
	}
	for _, c := range all {
		if c.props.Path == name {
			s.remember(key, c.folder)
			return c.folder, nil
		}
	}
	return store.Folder{}, errNothing(name)
}

func (s *Server) remember(key pathKey, f store.Folder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.paths) >= maxPaths {
		clear(s.paths)
	}
	s.paths[key] = store.Folder{ID: f.ID, Class: f.Class}
}

// forget drops what is remembered of a folder that is gone.
func (s *Server) forget(o owner, id store.FolderID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, f := range s.paths {
		if key.box == o.box && f.ID == id {
			delete(s.paths, key)
		}
	}
}

// collections are the calendars or address books of a home, the standard ones
// first. What is in the trash is not shown.
func (s *Server) collections(ctx context.Context, r *request, o owner, set kind) ([]*resource, error) {
	folders, _, err := s.store.Folders(ctx, r.who, o.box)
	if err != nil {
		return nil, err
	}
	var list []*resource
	var ids []store.FolderID
	trashed := map[store.FolderID]bool{}
	for _, f := range folders { // parents before children
		if f.Role == store.RoleTrash || trashed[f.Parent] {
			trashed[f.ID] = true
			continue
		}
		k, ok := kindOfClass(f.Class)
		if !ok || k&set == 0 {
			continue
		}
		list = append(list, &resource{kind: k, owner: o, folder: f})
		ids = append(ids, f.ID)
	}
	const page = 1000
	for from := 0; from < len(ids); from += page {
		props, err := s.store.FolderProps(ctx, r.who, o.box, ids[from:min(from+page, len(ids))])
		if err != nil {
			return nil, err
		}
		for i := range props {
			c := list[from+i]
			c.props = &props[i]
			name := props[i].Path
			if name == "" {
				name = c.folder.ID.String()
			}
			c.href = o.home(c.kind) + url.PathEscape(name) + "/"
		}
	}
	slices.SortStableFunc(list, func(a, b *resource) int {
		rank := func(c *resource) int {
			if c.folder.Role == store.RoleNone {
				return 1
			}
			return 0
		}
		return rank(a) - rank(b)
	})
	return list, nil
}

// folderProps reads what clients keep about a calendar or book, once.
func (s *Server) folderProps(ctx context.Context, r *request, res *resource) (*store.FolderProps, error) {
	if res.props == nil {
		props, err := s.store.FolderProps(ctx, r.who, res.owner.box, []store.FolderID{res.folder.ID})
		if err != nil {
			return nil, err
		}
		if len(props) != 1 {
			return nil, errNothing(res.href)
		}
		res.props = &props[0]
	}
	return res.props, nil
}

// inCollection finds an object by its name.
func (s *Server) inCollection(ctx context.Context, r *request, in *resource, name string) (*resource, error) {
	res := in.with(name)
	if len(name) > 255 || strings.Contains(name, "/") {
		return nil, fault.New(fault.Invalid, "an object's name is at most 255 bytes without a slash")
	}
	switch in.kind {
	case isDirectory:
		u, err := s.personNamed(ctx, r, name)
		res.person = u
		return res, err
	case isInbox, isOutbox:
		return nil, errNothing(res.href)
	}
	if r.blind {
		return res, nil
	}
	find := s.store.ObjectsNamed
	if r.trusting {
		find = s.store.ObjectsNamedWithTexts // who only reads wants the text
	}
	found, err := find(ctx, r.who, in.owner.box, in.folder.ID, []string{name})
	if err != nil {
		return nil, err
	}
	if len(found) == 1 && found[0] != nil {
		res.object = found[0]
	} else if other, err := s.again(ctx, r, in); err != nil {
		return nil, err
	} else if other {
		return s.inCollection(ctx, r, in, name)
	}
	return res, nil
}

// with is the place of an object in a collection.
func (r *resource) with(name string) *resource {
	k := isEvent
	switch r.kind {
	case isBook:
		k = isCard
	case isDirectory:
		k = isPerson
	}
	return &resource{kind: k, href: r.href + url.PathEscape(name), owner: r.owner, folder: r.folder, props: r.props, name: name, segment: r.segment}
}

// of is an object in its collection.
func (r *resource) of(o *store.Object) *resource {
	res := r.with(o.Name)
	res.object = o
	return res
}

// text is the object's with its text; NotFound when it is gone.
func (s *Server) text(ctx context.Context, r *request, res *resource) (*store.Object, error) {
	if res.object == nil {
		return nil, errNothing(res.href)
	}
	if res.object.Text != nil {
		return res.object, nil
	}
	list, err := s.store.Objects(ctx, r.who, res.owner.box, []store.ItemID{res.object.Item})
	if err != nil {
		return nil, err
	}
	if len(list) != 1 || list[0] == nil || list[0].Folder != res.folder.ID {
		return nil, errNothing(res.href)
	}
	res.object = list[0]
	return list[0], nil
}

// etag is the version of an object (RFC 9110 section 8.8.3).
func (r *resource) etag() string {
	switch {
	case r.object != nil:
		return etagOf(r.object)
	case r.person != nil:
		return fmt.Sprintf(`"d%d"`, r.person.Changed)
	}
	return ""
}

func etagOf(o *store.Object) string {
	if o == nil {
		return ""
	}
	return `"` + strconv.FormatInt(int64(o.Version), 10) + `"`
}

// target reads an address that a client wrote in a header or in XML: a path, or
// a URI of this server.
func (r *request) target(href string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(href))
	if err != nil {
		return "", fault.From(fault.Invalid, err, "not an address")
	}
	if u.Host != "" && !strings.EqualFold(u.Host, r.http.Host) {
		return "", httpError(http.StatusBadGateway) // RFC 4918 section 9.8.5
	}
	return u.EscapedPath(), nil
}
