package dav

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

// get gives an object (RFC 4791 section 5.3.4, RFC 6352 section 5.1).
func (s *Server) get(ctx context.Context, r *request) error {
	r.trusting = true
	res, err := s.lookup(ctx, r, r.http.URL.EscapedPath())
	if err != nil {
		return err
	}
	if res.collection() {
		r.out.header().Set("Allow", allowed(res.kind))
		return httpError(http.StatusMethodNotAllowed)
	}
	if !res.exists() {
		return errNothing(res.href)
	}
	c, err := r.conditions()
	if err != nil {
		return err
	}
	h := r.out.header()
	h.Set("ETag", res.etag())
	h.Set("Cache-Control", "private, no-cache")
	if res.is(isCard | isPerson) {
		h.Set("Vary", "Accept")
	}
	if c.cached(res.etag()) {
		return r.reply(http.StatusNotModified)
	}
	if err := c.check(res.etag()); err != nil {
		return err
	}
	return r.give(ctx, res, http.StatusOK)
}

// give answers with an object's text.
func (r *request) give(ctx context.Context, res *resource, code int) error {
	b, err := r.bodyOf(ctx, res, r.cardVersion())
	if err != nil {
		return err
	}
	if res.is(isEvent) {
		if tag, err := r.scheduleTag(ctx, res); err == nil && tag != "" {
			r.out.header().Set("Schedule-Tag", tag) // RFC 6638 section 8.2
		}
	}
	h := r.out.header()
	h.Set("ETag", res.etag())
	h.Set("Content-Type", res.contentType())
	h.Set("Content-Length", strconv.Itoa(len(b)))
	r.out.code = code
	if r.http.Method == http.MethodHead {
		return nil
	}
	_, err = r.out.Write(b)
	return err
}

// bodyOf is what a reader of an object gets.
func (r *request) bodyOf(ctx context.Context, res *resource, version string) ([]byte, error) {
	switch res.kind {
	case isPerson:
		return r.personCard(ctx, res.person, version)
	case isCard:
		o, err := r.server.text(ctx, r, res)
		if err != nil {
			return nil, err
		}
		return cardOut(o.Text, version)
	}
	o, err := r.server.text(ctx, r, res)
	if err != nil {
		return nil, err
	}
	return calendarOut(o.Text)
}

// put makes or replaces an object (RFC 4791 section 5.3.2, RFC 6352 section 6.3.2).
func (s *Server) put(ctx context.Context, r *request) error {
	r.blind, r.trusting = true, true
	res, err := s.lookup(ctx, r, r.http.URL.EscapedPath())
	if _, orphan := errors.AsType[errNoParent](err); orphan {
		return httpError(http.StatusConflict) // RFC 4918 section 9.7.1
	}
	if err != nil {
		return err
	}
	if res.collection() {
		r.out.header().Set("Allow", allowed(res.kind))
		return httpError(http.StatusMethodNotAllowed) // RFC 4918 section 9.7.2
	}
	if res.is(isPerson) {
		return fault.New(fault.Denied, "the address list is not written here")
	}
	if r.http.Header.Get("Content-Range") != "" {
		return httpError(http.StatusBadRequest) // RFC 9110 section 14.4
	}
	c, err := r.conditions()
	if err != nil {
		return err
	}
	sent, err := io.ReadAll(http.MaxBytesReader(r.out.w, r.http.Body, MaxObject))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return failed(http.StatusRequestEntityTooLarge, res.own("max-resource-size"), "at most %d bytes", MaxObject)
	}
	if err != nil {
		return fault.From(fault.Unavailable, err, "the text did not arrive whole")
	}
	in, err := res.incoming(r.http.Header.Get("Content-Type"), sent)
	if err != nil {
		return err
	}
	p := store.PutObject{
		Folder: res.folder.ID, Name: res.name,
		Edit: func(old *store.Object) (store.Edit, error) {
			if err := c.check(etagOf(old)); err != nil {
				return store.Edit{}, err
			}
			if err := r.sameSchedule(res, old); err != nil {
				return store.Edit{}, err
			}
			if old != nil && in.uid != "" && old.UID != in.uid {
				// RFC 4791 section 5.3.2.1: an object's UID does not change.
				return store.Edit{}, &condition{code: http.StatusConflict, name: res.own("no-uid-conflict"), href: res.href}
			}
			return store.Edit{Text: in.text}, nil
		},
	}
	if len(c.match) == 0 && slices.Contains(c.noneMatch, "*") {
		p.IfMatch = new(store.Seq) // a put that makes something new reads nothing before
	}
	u, err := r.userOf(ctx, res)
	if err != nil {
		return err // without the quota nothing is taken
	}
	p.Limit = u.Quota
	write := s.store.PutObject
	if s.schedules(r, res) {
		write = func(ctx context.Context, as directory.Principal, box store.MailboxID, p store.PutObject) (store.Put, error) {
			return s.opt.Scheduler.PutObject(ctx, as, box, p, false)
		}
	}
	done, err := write(ctx, r.who, res.owner.box, p)
	if fault.Of(err) == fault.NotFound && err != nil {
		s.forget(res.owner, res.folder.ID)
		if other, _ := s.again(ctx, r, res); other {
			p.Folder = res.folder.ID
			done, err = write(ctx, r.who, res.owner.box, p)
		}
		if fault.Of(err) == fault.NotFound && err != nil {
			return httpError(http.StatusConflict) // the collection is gone
		}
	}
	if err != nil {
		return s.whyNot(ctx, r, res, in.uid, err)
	}
	code := http.StatusNoContent
	if done.Created {
		code = http.StatusCreated
	}
	res.object = &done.Object
	if r.prefer.representation { // RFC 8144 section 3
		r.out.header().Set("Preference-Applied", "return=representation")
		r.out.header().Set("Content-Location", res.href)
		if code == http.StatusNoContent {
			code = http.StatusOK
		}
		return r.give(ctx, res, code)
	}
	// An ETag says that the text is stored as it was sent (RFC 4791 section 5.3.4).
	if given, err := r.bodyOf(ctx, res, in.version); err == nil && bytes.Equal(given, sent) {
		r.out.header().Set("ETag", res.etag())
	}
	if tag, err := r.scheduleTag(ctx, res); err == nil && tag != "" && res.is(isEvent) {
		r.out.header().Set("Schedule-Tag", tag)
	}
	return r.reply(code)
}

// schedules tells whether a change of an object may concern others.
func (s *Server) schedules(r *request, res *resource) bool {
	return s.opt.Scheduler != nil && res.is(isEvent) && res.owner.box == r.who.Mailbox
}

// own is a precondition of the resource's own standard, which both have.
func (r *resource) own(local string) (n nameOf) {
	if r.kind&(isEvent|isCalendar) != 0 {
		return calName(local)
	}
	return cardName(local)
}

// whyNot finds the precondition that a refusal of the store stands for.
func (s *Server) whyNot(ctx context.Context, r *request, res *resource, uid string, err error) error {
	if _, told := errors.AsType[*condition](err); told {
		return err
	}
	if _, told := errors.AsType[httpError](err); told {
		return err
	}
	switch fault.Of(err) {
	case fault.Conflict, fault.Exists:
		if r.blind && r.http.Header.Get("If-None-Match") != "" { // nobody looked yet whether it is there
			there, lost := s.store.ObjectsNamed(ctx, r.who, res.owner.box, res.folder.ID, []string{res.name})
			if lost != nil {
				return lost // not known: the client asks again, instead of taking a refusal for good
			}
			if len(there) == 1 && there[0] != nil {
				return errPrecondition
			}
		}
		// The UID is that of another object of the folder.
		c := &condition{code: http.StatusConflict, name: res.own("no-uid-conflict")}
		others, lost := s.store.ObjectsByUID(ctx, r.who, res.owner.box, res.folder.Class, uid)
		if fault.Of(lost) == fault.Unavailable && lost != nil {
			return lost
		}
		for _, o := range others {
			if o != nil && o.Folder == res.folder.ID {
				c.href = res.parent() + res.escaped(o.Name)
			}
		}
		if c.href == "" {
			return err
		}
		return c
	case fault.Invalid:
		name := calName("valid-calendar-data")
		if res.is(isCard) {
			name = cardName("valid-address-data")
		}
		return failed(http.StatusForbidden, name, "%s", fault.Say(err))
	case fault.TooLarge:
		return failed(http.StatusForbidden, res.own("max-resource-size"), "%s", fault.Say(err))
	}
	return err
}

// parent is the escaped path of the collection that an object is in.
func (r *resource) parent() string { return r.href[:strings.LastIndexByte(r.href, '/')+1] }

func (r *resource) escaped(name string) string {
	in := resource{href: "", kind: isCalendar}
	return in.with(name).href
}

// remove deletes an object or a collection (RFC 4918 section 9.6).
func (s *Server) remove(ctx context.Context, r *request) error {
	res, err := s.lookup(ctx, r, r.http.URL.EscapedPath())
	if err != nil {
		return err
	}
	c, err := r.conditions()
	if err != nil {
		return err
	}
	switch {
	case res.is(isCalendar | isBook):
		if depth, err := r.depth(-1); err != nil || depth != -1 {
			return httpError(http.StatusBadRequest) // RFC 4918 section 9.6.1
		}
		if err := s.store.DeleteFolder(ctx, r.who, res.owner.box, res.folder.ID, true); err != nil {
			return err
		}
		return r.reply(http.StatusNoContent)
	case !res.is(isEvent | isCard):
		return fault.New(fault.Denied, "this cannot be deleted")
	case !res.exists():
		return errNothing(res.href)
	}
	if err := c.check(res.etag()); err != nil {
		return err
	}
	gone := store.RemoveObject{
		Folder: res.folder.ID, Item: res.object.Item,
		Send: func(old *store.Object) ([]store.Outgoing, error) {
			if err := c.check(etagOf(old)); err != nil {
				return nil, err
			}
			return nil, r.sameSchedule(res, old)
		},
	}
	if s.schedules(r, res) {
		// RFC 6638 section 8.1: who asks for it deletes without a word to others.
		quiet := strings.EqualFold(r.http.Header.Get("Schedule-Reply"), "F")
		_, err = s.opt.Scheduler.RemoveObject(ctx, r.who, res.owner.box, gone, quiet)
	} else {
		_, err = s.store.RemoveObject(ctx, r.who, res.owner.box, gone)
	}
	if err != nil {
		return err
	}
	return r.reply(http.StatusNoContent)
}

// copyMove takes an object into another collection of the same owner (RFC 4918
// section 9.8 and 9.9). It keeps its name there: what an object is called in a
// folder is chosen once.
func (s *Server) copyMove(ctx context.Context, r *request) error {
	h := r.http.Header
	target, err := r.target(h.Get("Destination"))
	if err != nil || h.Get("Destination") == "" {
		if err == nil {
			err = fault.New(fault.Invalid, "where to?")
		}
		return err
	}
	res, err := s.lookup(ctx, r, r.http.URL.EscapedPath())
	if err != nil {
		return err
	}
	if !res.exists() {
		return errNothing(res.href)
	}
	if !res.is(isEvent | isCard) {
		return fault.New(fault.Denied, "only events and contacts can be copied and moved")
	}
	to, err := s.lookup(ctx, r, target)
	if _, orphan := errors.AsType[errNoParent](err); orphan {
		return httpError(http.StatusConflict)
	}
	if err != nil {
		return err
	}
	switch {
	case to.kind != res.kind || to.owner.box != res.owner.box:
		return failed(http.StatusForbidden, res.own(map[bool]string{true: "calendar-collection-location-ok", false: "addressbook-collection-location-ok"}[res.is(isEvent)]), "")
	case to.object != nil && to.object.Item == res.object.Item:
		return httpError(http.StatusForbidden) // RFC 4918 section 9.9.4: source and destination are the same
	case to.exists() && strings.EqualFold(strings.TrimSpace(h.Get("Overwrite")), "F"):
		return errPrecondition
	}
	c, err := r.conditions()
	if err != nil {
		return err
	}
	if err := c.check(res.etag()); err != nil {
		return err
	}
	return s.place(ctx, r, res, to)
}

// place puts an object at another address.
func (s *Server) place(ctx context.Context, r *request, res, to *resource) error {
	o, err := s.text(ctx, r, res)
	if err != nil {
		return err
	}
	move := r.http.Method == "MOVE"
	code := http.StatusCreated
	if to.exists() {
		code = http.StatusNoContent
	}
	// A move that keeps the name keeps the item.
	if move && to.name == res.name && to.folder.ID != res.folder.ID {
		if to.exists() {
			if err := s.drop(ctx, r, to); err != nil {
				return err
			}
		}
		if _, err := s.store.Move(ctx, r.who, res.owner.box, res.folder.ID, []store.ItemID{o.Item}, to.folder.ID); err != nil {
			return s.whyNot(ctx, r, to, o.UID, err)
		}
		return r.reply(code)
	}
	if to.folder.ID == res.folder.ID && !move {
		// RFC 4791 section 5.3.2.1: one object a collection has a UID.
		return &condition{code: http.StatusConflict, name: res.own("no-uid-conflict"), href: res.href}
	}
	if move && to.folder.ID == res.folder.ID {
		return s.rename(ctx, r, res, to, o, code)
	}
	if to.exists() && to.object.UID != o.UID {
		if err := s.drop(ctx, r, to); err != nil {
			return err
		}
	}
	_, err = s.store.PutObject(ctx, r.who, to.owner.box, store.PutObject{
		Folder: to.folder.ID, Name: to.name,
		Edit: func(*store.Object) (store.Edit, error) { return store.Edit{Text: o.Text}, nil },
	})
	if err != nil {
		return s.whyNot(ctx, r, to, o.UID, err)
	}
	if move {
		if err := s.drop(ctx, r, res); err != nil {
			return err
		}
	}
	return r.reply(code)
}

// rename gives an object another name in its folder. A name is chosen once, so
// the object goes and comes again: it is recoverable if that is cut short.
func (s *Server) rename(ctx context.Context, r *request, res, to *resource, o *store.Object, code int) error {
	if to.exists() {
		if err := s.drop(ctx, r, to); err != nil {
			return err
		}
	}
	if err := s.drop(ctx, r, res); err != nil {
		return err
	}
	_, err := s.store.PutObject(context.WithoutCancel(ctx), r.who, to.owner.box, store.PutObject{
		Folder: to.folder.ID, Name: to.name,
		Edit: func(*store.Object) (store.Edit, error) { return store.Edit{Text: o.Text}, nil },
	})
	if err != nil {
		return s.whyNot(ctx, r, to, o.UID, err)
	}
	return r.reply(code)
}

// drop removes an object that is still the one that was seen.
func (s *Server) drop(ctx context.Context, r *request, res *resource) error {
	v := res.object.Version
	_, err := s.store.RemoveObject(ctx, r.who, res.owner.box, store.RemoveObject{Folder: res.folder.ID, Item: res.object.Item, IfMatch: &v})
	if fault.Of(err) == fault.Conflict && err != nil {
		return errPrecondition
	}
	return err
}

// personNamed finds somebody of the address list by the name of the card.
func (s *Server) personNamed(ctx context.Context, r *request, name string) (*directory.User, error) {
	address, ok := strings.CutSuffix(name, ".vcf")
	if !ok {
		return nil, nil
	}
	people, _, err := s.people.People(ctx, r.who, directory.PeopleQuery{Text: address, Limit: 20})
	if err != nil {
		return nil, err
	}
	for i := range people {
		if strings.EqualFold(people[i].Address, address) {
			return &people[i], nil
		}
	}
	return nil, nil
}

func personName(u *directory.User) string { return u.Address + ".vcf" }
