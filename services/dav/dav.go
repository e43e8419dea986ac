// Package dav is the door for calendars, tasks and contacts: CalDAV (RFC 4791,
// 6638) and CardDAV (RFC 6352) on WebDAV (RFC 4918, 3744, 5689, 6578).
//
// Its law:
//
//   - It translates. Rights, rules and state are the store's and the
//     directory's; every call carries the principal that signed in.
//   - An object is given as its text says. What this door adds is what a reader
//     needs: zones that are named and not described, the vCard version asked for.
//   - What exists is in tables: methods (below), reports (report.go), properties
//     (properties.go). OPTIONS and supported-report-set tell those and nothing else.
//   - Everything read has a limit (xmlread.go, Max constants); XML has no DOCTYPE
//     and no entities of its own. Answers of many parts are written as they are
//     found; only pages are held.
//   - A condition (If-Match and its like) is asked inside of the store's change,
//     so of two writers with the same ETag one is refused.
//   - An answer that breaks after it began ends the connection, so that nobody
//     takes a part for the whole.
package dav

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/httpdoor"
	"waypost/store"
)

// Prefix is the folder of URLs that the door answers.
const Prefix = "/dav/"

// Limits of what is read.
const (
	MaxBody   = 4 << 20         // of a request that is XML
	MaxObject = store.MaxObject // of an event or a card
)

// WellKnown are the addresses at which clients look first (RFC 6764 section 5).
var WellKnown = []string{"/.well-known/caldav", "/.well-known/carddav"}

// Authenticator checks credentials. It is asked with every request, so it
// remembers proofs of recent sign-ins.
type Authenticator interface {
	SignIn(ctx context.Context, c directory.Credentials) (directory.Principal, error)
}

// People is what the door asks of the directory.
type People interface {
	User(ctx context.Context, as directory.Principal, id directory.ObjectID) (directory.User, error)
	UserByAddress(ctx context.Context, as directory.Principal, address string) (directory.User, error)
	People(ctx context.Context, as directory.Principal, q directory.PeopleQuery) ([]directory.User, int, error)
	Photo(ctx context.Context, as directory.Principal, id directory.ObjectID) ([]byte, error)
}

// Store is what the door asks of the mailbox store.
type Store interface {
	Mailbox(ctx context.Context, as directory.Principal, box store.MailboxID) (store.Mailbox, error)
	Settings(ctx context.Context, as directory.Principal, box store.MailboxID) (store.Settings, error)
	Folders(ctx context.Context, as directory.Principal, box store.MailboxID) ([]store.Folder, store.Seq, error)
	Folder(ctx context.Context, as directory.Principal, box store.MailboxID, id store.FolderID) (store.Folder, error)
	FolderByRole(ctx context.Context, as directory.Principal, box store.MailboxID, r store.Role) (store.Folder, error)
	CreateFolder(ctx context.Context, as directory.Principal, box store.MailboxID, f store.Folder) (store.Folder, error)
	RenameFolder(ctx context.Context, as directory.Principal, box store.MailboxID, id, parent store.FolderID, name string) (store.Folder, error)
	DeleteFolder(ctx context.Context, as directory.Principal, box store.MailboxID, id store.FolderID, deep bool) error
	Entries(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, after store.UID, limit int) (store.Folder, []store.Entry, error)
	Changes(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, since store.Position, limit int) (store.Changes, error)
	Copy(ctx context.Context, as directory.Principal, box store.MailboxID, from store.FolderID, items []store.ItemID, to store.FolderID) (store.PlaceResult, error)
	Move(ctx context.Context, as directory.Principal, box store.MailboxID, from store.FolderID, items []store.ItemID, to store.FolderID) (store.PlaceResult, error)
	store.Objects
	Subscribe(ctx context.Context, as directory.Principal, box store.MailboxID, f store.Folder, props store.FolderProps, url string) (store.Folder, error)
	Feeds(ctx context.Context, as directory.Principal, box store.MailboxID) ([]store.Feed, error)
}

// Scheduler is the role of meetings (RFC 6638): it writes events and tells those
// whom a change concerns, and knows when people are busy.
type Scheduler interface {
	// PutObject and RemoveObject are the store's for one's own mailbox; with quiet
	// nobody is told.
	PutObject(ctx context.Context, as directory.Principal, box store.MailboxID, p store.PutObject, quiet bool) (store.Put, error)
	RemoveObject(ctx context.Context, as directory.Principal, box store.MailboxID, r store.RemoveObject, quiet bool) (store.Seq, error)
	// FreeBusy tells when people are busy, as far as as may see it, in the order
	// asked for; at most 100 people.
	FreeBusy(ctx context.Context, as directory.Principal, addresses []string, from, to time.Time) ([]store.Availability, error)
}

// Options are the door's settings.
type Options struct {
	Realm string // of Basic sign-in; default "Waypost"
	Log   *slog.Logger
	// ClientAddr tells whose request it is; default the connection's peer.
	ClientAddr func(*http.Request) netip.Addr
	// Now is the clock; time.Now by default.
	Now func() time.Time
	// Scheduler sends invitations and knows who is busy; nil: nobody does, and
	// clients are told of no scheduling.
	Scheduler Scheduler
}

// Server is the door: an http.Handler for everything below Prefix.
type Server struct {
	opt     Options
	auth    Authenticator
	people  People
	store   Store
	methods map[string]handler

	mu    sync.Mutex
	paths map[pathKey]store.Folder // id and class of folders by their names in homes
}

type handler func(ctx context.Context, r *request) error

// New makes the door.
func New(mail Store, people People, auth Authenticator, opt Options) *Server {
	if opt.Realm == "" {
		opt.Realm = "Waypost"
	}
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	if opt.ClientAddr == nil {
		opt.ClientAddr = httpdoor.Peer
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	s := &Server{opt: opt, auth: auth, people: people, store: mail, paths: map[pathKey]store.Folder{}}
	s.methods = map[string]handler{
		http.MethodOptions: s.options,
		http.MethodGet:     s.get,
		http.MethodHead:    s.get,
		http.MethodPut:     s.put,
		http.MethodDelete:  s.remove,
		http.MethodPost:    s.post,
		"PROPFIND":         s.propfind,
		"PROPPATCH":        s.proppatch,
		"MKCALENDAR":       s.mkcol,
		"MKCOL":            s.mkcol,
		"COPY":             s.copyMove,
		"MOVE":             s.copyMove,
		"REPORT":           s.report,
	}
	return s
}

// Redirect answers the well-known addresses. 307 keeps the method with every
// client.
func Redirect(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, Prefix, http.StatusTemporaryRedirect)
}

// request is one request on its way through the door.
type request struct {
	server *Server
	http   *http.Request
	out    *output
	who    directory.Principal
	prefer preferences
	data   *dataRequest // what a report asks of objects' texts
	self   *directory.User
	feeds  map[store.FolderID]string // the addresses of calendars elsewhere, when asked for
	// blind is a PUT: what is there is seen by the change itself, and asking before
	// would only cost time.
	blind bool
	// trusting takes a folder for the one that is remembered by its name; who finds
	// nothing in it looks again.
	trusting bool
	err      error
}

// ServeHTTP answers one request and logs one line about it.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	begun := s.opt.Now()
	r := &request{server: s, http: hr, out: &output{w: w}, prefer: readPrefer(hr.Header)}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTime)) // the server takes it off for the next request
	log := s.opt.Log.With("proto", "dav")
	defer func() {
		p := recover()
		if p == http.ErrAbortHandler {
			panic(p)
		}
		if p != nil {
			r.err = fmt.Errorf("panic: %v", p)
			log.Error("panic in a request", "cmd", hr.Method, "panic", p, "stack", string(debug.Stack()))
			r.fail(r.err)
		}
		writeErr := r.out.close()
		level, attrs := slog.LevelInfo, []any{"cmd", hr.Method, "user", r.who.Address, "dur", s.opt.Now().Sub(begun), "result", r.out.code}
		if r.err != nil {
			attrs = append(attrs, "fault", fault.Of(r.err).String(), "err", r.err)
			if r.out.code == http.StatusInternalServerError {
				level = slog.LevelError
			}
		}
		if writeErr != nil {
			attrs = append(attrs, "write", writeErr)
		}
		log.Log(context.Background(), level, "command", attrs...)
		if r.out.broken {
			panic(http.ErrAbortHandler)
		}
	}()
	if r.err = s.serve(hr.Context(), r); r.err != nil {
		r.fail(r.err)
	}
}

func (s *Server) serve(ctx context.Context, r *request) error {
	run := s.methods[r.http.Method]
	if run == nil {
		r.out.header().Set("Allow", allowed(^kind(0)))
		return httpError(http.StatusMethodNotAllowed)
	}
	if err := s.signIn(ctx, r); err != nil {
		return err
	}
	r.out.header().Set("DAV", s.compliance())
	return run(ctx, r)
}

// compliance is the DAV header (RFC 4918 section 10.1; RFC 3744 section 7.2, RFC
// 5689 section 3.1, RFC 4791 section 5.1, RFC 6638 section 2, RFC 6352 section
// 6.1). Class 2, locks, is not claimed.
func (s *Server) compliance() string {
	classes := "1, 3, access-control, extended-mkcol, calendar-access, addressbook"
	if s.opt.Scheduler != nil {
		classes += ", calendar-auto-schedule"
	}
	return classes + ", calendarserver-principal-search, calendarserver-subscribed"
}

// options says what a resource is and allows (RFC 4918 section 9.1).
func (s *Server) options(ctx context.Context, r *request) error {
	on := ^kind(0)
	if res, err := s.lookup(ctx, r, r.http.URL.EscapedPath()); err == nil {
		on = res.kind
	}
	r.out.header().Set("Allow", allowed(on))
	return r.reply(http.StatusOK)
}

// allowed lists the methods that make sense on a kind of resource.
func allowed(on kind) string {
	list := []string{"OPTIONS", "PROPFIND", "REPORT"}
	for _, m := range []struct {
		on      kind
		methods string
	}{
		{anyObject, "GET, HEAD"},
		{isEvent | isCard, "PUT, DELETE, COPY, MOVE"},
		{isCalendar | isBook, "PROPPATCH, DELETE"},
		{isCalendarHome, "MKCALENDAR"},
		{isCalendarHome | isBookHome, "MKCOL"},
		{isOutbox, "POST"},
	} {
		if on&m.on != 0 {
			list = append(list, m.methods)
		}
	}
	return strings.Join(list, ", ")
}

// preferences are what the client would like (RFC 7240, RFC 8144).
type preferences struct{ minimal, representation, noRoot bool }

func readPrefer(h http.Header) (p preferences) {
	for _, line := range h.Values("Prefer") {
		for part := range strings.SplitSeq(line, ",") {
			name, _, _ := strings.Cut(part, ";")
			switch strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(name), " ", ""), `"`, "")) {
			case "return=minimal", "return-minimal":
				p.minimal = true
			case "return=representation", "return-representation":
				p.representation = true
			case "depth-noroot":
				p.noRoot = true
			}
		}
	}
	if h.Get("Brief") == "t" { // the header before RFC 7240, which Apple's programs send
		p.minimal = true
	}
	return p
}
