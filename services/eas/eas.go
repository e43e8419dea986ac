// Package eas is the ActiveSync door: Exchange ActiveSync 2.5 to 16.1 over HTTP
// (MS-ASHTTP, MS-ASCMD), for phones.
//
// Its law:
//
//   - It translates. Rights, rules and state are the store's and the
//     directory's; every call carries the principal that signed in.
//   - Which commands exist, and for which versions, is one table (commands.go).
//     OPTIONS advertises that table and nothing else.
//   - A request passes one gate: sign-in, query, command, device, wipe, block,
//     policy; then its handler runs. A handler gives its answer through the
//     request's reply methods, or returns an error, which the tables in
//     status.go turn into a Status (from 14.0) or an HTTP code (before).
//   - Answers go out while the store is not being asked: no transaction and no
//     lock is held while writing to a phone.
//   - Every key that a client may repeat is answered the same: of each state
//     the last two generations are kept.
//   - A panic ends its request alone and is logged with its stack.
package eas

import (
	"context"
	"errors"
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
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// Path is where phones look for the door. It is compared without regard to case.
const Path = "/Microsoft-Server-ActiveSync"

// Matches tells whether an URL path is the door's.
func Matches(path string) bool {
	return strings.EqualFold(strings.TrimSuffix(path, "/"), Path)
}

// Authenticator checks credentials. It is asked with every request, so it
// remembers proofs of recent sign-ins.
type Authenticator interface {
	SignIn(ctx context.Context, c directory.Credentials) (directory.Principal, error)
}

// Binder is an Authenticator that can also end what an account is doing: the
// context it returns ends when the account's epoch changes, with a fault as its
// cause. Held requests are bound where it is there.
type Binder interface {
	Context(ctx context.Context, p directory.Principal) (context.Context, context.CancelFunc)
}

// People is what the door asks of the directory.
type People interface {
	User(ctx context.Context, as directory.Principal, id directory.ObjectID) (directory.User, error)
	People(ctx context.Context, as directory.Principal, q directory.PeopleQuery) ([]directory.User, int, error)
	Photo(ctx context.Context, as directory.Principal, id directory.ObjectID) ([]byte, error)
	senders
}

// Store is what the door asks of the mailbox store; each part is declared
// beside the commands that use it.
type Store interface {
	deviceStore
	stateStore
	folderStore
	settingsStore
	watchStore
	mailStore
	objectStore
}

// stateStore keeps what each phone holds. The client is its device's id, the
// scope a collection.
type stateStore interface {
	SyncState(ctx context.Context, as directory.Principal, box store.MailboxID, client, scope string) (store.SyncState, error)
	SaveSyncState(ctx context.Context, as directory.Principal, box store.MailboxID, client, scope string, was int64, data []byte, replaceOnly bool) error
	DropSyncStates(ctx context.Context, as directory.Principal, box store.MailboxID, client, prefix string) error
}

// Options are the door's settings. The zero value serves every version, asks
// for no policy and logs to slog's default.
type Options struct {
	Versions []wbxml.Version // offered, ascending; default 2.5, 12.0, 12.1, 14.0, 14.1, 16.0, 16.1
	Policy   *Policy         // the organisation's; nil: none
	Realm    string          // of Basic sign-in; default "Waypost"
	Log      *slog.Logger
	// Seal encrypts a device's recovery password for the administrator; nil
	// turns recovery off.
	Seal func([]byte) ([]byte, error)
	// MinHeartbeat and MaxHeartbeat bound how long a request is held; 60 s and
	// 3540 s by default (MS-ASCMD 2.2.3.88).
	MinHeartbeat, MaxHeartbeat time.Duration
	MaxFolders                 int // in one Ping or Sync; default 300
	MaxHeld                    int // held requests of all phones; default 100,000
	// ClientAddr tells whose request it is; default the connection's peer.
	ClientAddr func(*http.Request) netip.Addr
	// Now is the clock; time.Now by default.
	Now func() time.Time
	// Meetings tells others of changes; nil: nobody does.
	Meetings Meetings
	// Zone is where days and times without a zone are, in folders that have none
	// of their own; UTC by default.
	Zone *time.Location
}

func (o Options) withDefaults() Options {
	if len(o.Versions) == 0 {
		o.Versions = []wbxml.Version{wbxml.V25, wbxml.V120, wbxml.V121, wbxml.V140, wbxml.V141, wbxml.V160, wbxml.V161}
	}
	if o.Realm == "" {
		o.Realm = "Waypost"
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.MinHeartbeat == 0 {
		o.MinHeartbeat = 60 * time.Second
	}
	if o.MaxHeartbeat == 0 {
		o.MaxHeartbeat = 3540 * time.Second
	}
	if o.MaxFolders == 0 {
		o.MaxFolders = 300
	}
	if o.MaxHeld == 0 {
		o.MaxHeld = 100_000
	}
	if o.ClientAddr == nil {
		o.ClientAddr = httpdoor.Peer
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	return o
}

// Server is the door: an http.Handler for Path.
type Server struct {
	opt      Options
	auth     Authenticator
	people   People
	store    Store
	commands []command
	held     *held
	locks    locks // of phones that synchronise

	aliveEvery time.Duration // how often a parked phone is looked for
	parking    sync.Mutex    // between the last to park and Stop
	parked     sync.WaitGroup
	stopping   chan struct{}
	stop       sync.Once
}

// New makes the door.
func New(mail Store, people People, auth Authenticator, opt Options) *Server {
	s := &Server{
		opt: opt.withDefaults(), auth: auth, people: people, store: mail,
		held: newHeld(), stopping: make(chan struct{}), aliveEvery: 30 * time.Second,
	}
	if s.opt.Meetings == nil {
		s.opt.Meetings = alone{mail}
	}
	s.commands = s.table()
	return s
}

// Stop ends every held request politely and returns when the parked ones are
// answered. The HTTP server's Shutdown then finds nothing that it must wait for.
func (s *Server) Stop() {
	s.stop.Do(func() {
		s.parking.Lock()
		defer s.parking.Unlock()
		close(s.stopping)
	})
	s.parked.Wait()
}

func (s *Server) stopped() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

func (s *Server) offers(v wbxml.Version) bool {
	for _, o := range s.opt.Versions {
		if o == v {
			return true
		}
	}
	return false
}

// ServeHTTP answers one request and logs one line about it.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	out := newOutput(w, hr)
	r := &request{
		server: s, http: hr, begun: s.opt.Now(), out: out,
		log: s.opt.Log.With("proto", "eas"), cmd: hr.Method,
	}
	defer func() {
		p := recover()
		if p == http.ErrAbortHandler {
			panic(p)
		}
		if p != nil {
			r.err = fmt.Errorf("panic: %v", p)
			r.log.Error("panic in a command", "cmd", r.cmd, "panic", p, "stack", string(debug.Stack()))
			r.fail(r.err)
		}
		if out.taken {
			return // the answer is another goroutine's
		}
		err := r.out.close()
		r.finish(err)
		if r.out.broken { // half an answer went out: the phone must not take it for whole
			panic(http.ErrAbortHandler)
		}
	}()
	if err := s.serve(hr.Context(), r); err != nil {
		r.err = err
		r.fail(err)
	}
}

// serve is the gate that every request passes.
func (s *Server) serve(ctx context.Context, r *request) error {
	if !Matches(r.http.URL.Path) {
		return httpError{http.StatusNotFound}
	}
	if r.http.Method != http.MethodOptions && r.http.Method != http.MethodPost {
		r.out.header().Set("Allow", "OPTIONS,POST")
		return httpError{http.StatusNotImplemented} // MS-ASHTTP 2.2.2.1.1
	}
	if err := s.signIn(ctx, r); err != nil {
		return err
	}
	if r.http.Method == http.MethodOptions {
		return s.options(r)
	}
	if err := s.identify(ctx, r); err != nil {
		return err
	}
	if err := s.admit(r); err != nil {
		return err
	}
	return r.command.run(ctx, r)
}

// identify reads the query and finds command, version and device.
func (s *Server) identify(ctx context.Context, r *request) error {
	q, err := parseQuery(r.http.URL.RawQuery, r.http.Header)
	if err != nil {
		return err
	}
	r.query, r.version = q, q.version
	r.command = s.find(q)
	if r.command == nil {
		r.cmd = "unknown"
		return httpError{http.StatusNotImplemented}
	}
	r.cmd = r.command.name
	if err := s.loadDevice(ctx, r); err != nil {
		return err
	}
	if r.version == 0 {
		// The header is missing: what the device spoke last (MS-ASHTTP 2.2.1.1.2.4
		// requires it, so there is nobody to follow).
		if r.version, _ = wbxml.ParseVersion(r.device.Version); r.version == 0 {
			r.version = wbxml.V25
		}
	}
	if !s.offers(r.version) || !r.command.in(r.version) {
		return status(StatusVersionNotSupported)
	}
	return s.noteDevice(ctx, r)
}

// request is one request on its way through the door.
type request struct {
	server  *Server
	http    *http.Request
	out     *output
	log     *slog.Logger
	begun   time.Time
	cmd     string // for the log
	command *command
	query   query
	version wbxml.Version
	who     directory.Principal
	from    netip.Addr
	device  store.Device // as it was when the request came
	result  string       // for the log: the Status or HTTP code that was answered
	err     error
}

// box is the mailbox of the one who signed in.
func (r *request) box() store.MailboxID { return r.who.Mailbox }

// client names the phone to the store's sync states.
func (r *request) client() string { return "eas/" + r.device.ID }

// before tells whether the phone speaks an older version than v.
func (r *request) before(v wbxml.Version) bool { return r.version < v }

// finish logs the request.
func (r *request) finish(writeErr error) {
	level, attrs := slog.LevelInfo, []any{
		"cmd", r.cmd, "user", r.who.Address, "device", r.device.ID, "version", r.version.String(),
		"dur", r.server.opt.Now().Sub(r.begun), "result", r.result,
	}
	if r.err != nil {
		attrs = append(attrs, "fault", fault.Of(r.err).String(), "err", r.err)
		if _, known := errors.AsType[statusError](r.err); !known && fault.Of(r.err) == fault.Internal {
			if _, plain := errors.AsType[httpError](r.err); !plain {
				level = slog.LevelError
			}
		}
	}
	if writeErr != nil {
		attrs = append(attrs, "write", writeErr)
	}
	r.log.Log(context.Background(), level, "command", attrs...)
}
