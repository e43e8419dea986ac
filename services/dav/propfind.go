package dav

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

// page is how many objects are read at a time.
const page = 500

// propfind tells properties of a resource and of what is in it (RFC 4918 section
// 9.1).
func (s *Server) propfind(ctx context.Context, r *request) error {
	n, err := r.body()
	if err != nil {
		return err
	}
	if n != nil && n.name != davName("propfind") {
		return fault.New(fault.Invalid, "the request is no propfind")
	}
	depth, err := r.depth(-1)
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
	if depth < 0 && res.collection() {
		return failed(http.StatusForbidden, davName("propfind-finite-depth"), "ask with Depth 0 or 1")
	}
	m := r.multistatus(readAsked(n))
	if !r.prefer.noRoot || depth == 0 {
		if err := m.add(ctx, res); err != nil {
			return err
		}
	}
	if depth != 0 {
		err := s.members(ctx, r, res, func(in *resource) error { return m.add(ctx, in) })
		if errors.Is(err, errMore) {
			err = m.status(res.href, http.StatusInsufficientStorage, nil) // as RFC 6352 section 8.6.2 tells it
		}
		if err != nil {
			return err
		}
	}
	return m.end(nil)
}

// members gives what is in a collection, page by page.
func (s *Server) members(ctx context.Context, r *request, res *resource, give func(*resource) error) error {
	var list []*resource
	switch res.kind {
	case isRoot:
		list = []*resource{
			{kind: isPrincipals, href: Prefix + "principals/"}, {kind: isHomes, href: Prefix + "calendars/"}, {kind: isHomes, href: Prefix + "addressbooks/"},
		}
	case isPrincipals, isHomes: // one's own; others are found by principal-property-search
		me := s.me(r)
		switch res.href {
		case Prefix + "principals/":
			list = []*resource{{kind: isPrincipals, href: Prefix + "principals/users/"}}
		case Prefix + "calendars/":
			list = []*resource{{kind: isCalendarHome, href: me.calendars(), owner: me}}
		case Prefix + "addressbooks/":
			list = []*resource{{kind: isBookHome, href: me.books(), owner: me}}
		default:
			list = []*resource{{kind: isPrincipal, href: me.principal(), owner: me}}
		}
	case isCalendarHome, isBookHome:
		set := isCalendar
		if res.kind == isBookHome {
			set = isBook
		}
		var err error
		if list, err = s.collections(ctx, r, res.owner, set); err != nil {
			return err
		}
		if res.kind == isBookHome {
			list = append(list, &resource{kind: isDirectory, href: res.href + directorySegment + "/", owner: res.owner})
		} else if s.opt.Scheduler != nil {
			list = append(list, &resource{kind: isInbox, href: res.href + inboxSegment + "/", owner: res.owner},
				&resource{kind: isOutbox, href: res.href + outboxSegment + "/", owner: res.owner})
		}
	case isCalendar, isBook:
		return s.objects(ctx, r, res, func(list []*store.Object) error {
			for _, o := range list {
				if err := give(res.of(o)); err != nil {
					return err
				}
			}
			return nil
		})
	case isDirectory:
		return s.everybody(ctx, r, res, give)
	}
	for _, in := range list {
		if err := give(in); err != nil {
			return err
		}
	}
	return nil
}

// objects gives all objects of a folder without texts, page by page.
func (s *Server) objects(ctx context.Context, r *request, res *resource, give func([]*store.Object) error) error {
	var after store.ItemID
	for {
		list, err := s.store.ObjectList(ctx, r.who, res.owner.box, res.folder.ID, after, page)
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

// maxListed bounds how much of the address list is given as members of its
// collection; who has more people looks them up.
const maxListed = 5000

// errMore says that not everything was given.
var errMore = errors.New("there is more")

// everybody lists the global address list, as far as it is listed: errMore.
func (s *Server) everybody(ctx context.Context, r *request, res *resource, give func(*resource) error) error {
	for offset := 0; offset < maxListed; {
		people, total, err := s.people.People(ctx, r.who, directory.PeopleQuery{Offset: offset, Limit: page})
		if err != nil {
			return err
		}
		for i := range people {
			if people[i].Address == "" {
				continue
			}
			if err := give(res.ofPerson(&people[i])); err != nil {
				return err
			}
		}
		if offset += len(people); len(people) == 0 || offset >= total {
			return nil
		}
	}
	return errMore
}

// ofPerson is somebody of the address list in its collection.
func (r *resource) ofPerson(u *directory.User) *resource {
	return &resource{kind: isPerson, href: r.href + url.PathEscape(personName(u)), owner: r.owner, name: personName(u), person: u}
}
