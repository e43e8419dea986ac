// Package jmap is the door for programs that speak JMAP: the core (RFC 8620) and
// mail (RFC 8621). docs/jmap.md lists its methods and properties with their tests.
//
// Its law:
//
//   - It translates. Rights, rules and state are the store's and the directory's;
//     every call carries the principal that signed in.
//   - What exists is in tables: methods and capabilities (methods.go), properties
//     (each kind's file). The session object tells those and nothing else.
//   - get, changes, set, query and queryChanges are written once (standard.go,
//     query.go); a kind of records says only what is its own.
//   - States are change numbers of the store. A state is read before the records
//     that it is given with, so that a client asks again rather than too rarely.
//   - Everything read has a limit; answers of one request are bounded together.
//   - An account, record or blob that the caller may not see is told as one that
//     does not exist.
package jmap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/httpdoor"
	"waypost/store"
)

// The door's addresses. WellKnown is where clients look first (RFC 8620 section 2.2).
const (
	Prefix    = "/jmap/"
	WellKnown = "/.well-known/jmap"
)

// Limits (RFC 8620 section 2), and those of our own.
const (
	maxSizeUpload         = 150 << 20
	maxConcurrentUpload   = 4
	maxSizeRequest        = 10_000_000
	maxConcurrentRequests = 8
	maxCallsInRequest     = 64
	maxObjectsInGet       = 500
	maxObjectsInSet       = 500
	maxQuery              = 1000     // ids of one answer of /query
	maxChanges            = 1000     // of one answer of /changes
	maxResponse           = 64 << 20 // bytes of the answers to one request
	maxEvents             = 32       // open event sources of one account
)

// Authenticator checks credentials. It is asked with every request, so it
// remembers proofs of recent sign-ins.
type Authenticator interface {
	SignIn(ctx context.Context, c directory.Credentials) (directory.Principal, error)
	// Bearer checks an access token, which must be granted one of the scopes.
	Bearer(ctx context.Context, token string, scopes ...string) (directory.Principal, error)
	// Context ends when what was granted to the account no longer holds.
	Context(ctx context.Context, p directory.Principal) (context.Context, context.CancelFunc)
}

// People is what the door asks of the directory.
type People interface {
	User(ctx context.Context, as directory.Principal, id directory.ObjectID) (directory.User, error)
	MaySendAs(ctx context.Context, as directory.Principal, address string) (bool, error)
}

// Store is what the door asks of the mailbox store.
type Store interface {
	store.Queries
	store.Uploads
	store.Submissions
	Mailbox(ctx context.Context, as directory.Principal, box store.MailboxID) (store.Mailbox, error)
	Settings(ctx context.Context, as directory.Principal, box store.MailboxID) (store.Settings, error)
	UpdateSettings(ctx context.Context, as directory.Principal, box store.MailboxID, fn func(*store.Settings) error) (store.Settings, error)
	Watch(box store.MailboxID) store.Watcher
	Folders(ctx context.Context, as directory.Principal, box store.MailboxID) ([]store.Folder, store.Seq, error)
	Folder(ctx context.Context, as directory.Principal, box store.MailboxID, id store.FolderID) (store.Folder, error)
	FolderChanges(ctx context.Context, as directory.Principal, box store.MailboxID, since store.Seq) (store.FolderChanges, error)
	CreateFolder(ctx context.Context, as directory.Principal, box store.MailboxID, f store.Folder) (store.Folder, error)
	RenameFolder(ctx context.Context, as directory.Principal, box store.MailboxID, id, parent store.FolderID, name string) (store.Folder, error)
	DeleteFolder(ctx context.Context, as directory.Principal, box store.MailboxID, id store.FolderID, deep bool) error
	SubscribeFolder(ctx context.Context, as directory.Principal, box store.MailboxID, id store.FolderID, on bool) error
	FolderProps(ctx context.Context, as directory.Principal, box store.MailboxID, folders []store.FolderID) ([]store.FolderProps, error)
	UpdateFolderProps(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, fn func(*store.FolderProps) error) (store.FolderProps, error)
	EntriesOf(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) ([]store.Entry, error)
	Messages(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) ([]*store.Message, error)
	Content(ctx context.Context, as directory.Principal, box store.MailboxID, item store.ItemID) (store.Content, error)
	Warm(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) error
	NewBlob(ctx context.Context, homeMDB string) (store.BlobWriter, error)
	Add(ctx context.Context, as directory.Principal, box store.MailboxID, m store.NewMessage) (store.Added, error)
	Flag(ctx context.Context, as directory.Principal, box store.MailboxID, c store.FlagChange) (store.FlagResult, error)
	Move(ctx context.Context, as directory.Principal, box store.MailboxID, from store.FolderID, items []store.ItemID, to store.FolderID) (store.PlaceResult, error)
	Delete(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, items []store.ItemID, onlyMarked bool) (store.Seq, []store.Tombstone, error)
	Send(ctx context.Context, as directory.Principal, box store.MailboxID, o store.Outgoing) (store.Sent, error)
}

// Options are the door's settings.
type Options struct {
	Realm string // of Basic sign-in; default "Waypost"
	// Site is the base URL of the session object, "" for the one that was asked.
	Site string
	Log  *slog.Logger
	// ClientAddr tells whose request it is; default the connection's peer.
	ClientAddr func(*http.Request) netip.Addr
	// Secure tells whether it came by HTTPS; default whether the connection is TLS.
	Secure func(*http.Request) bool
	// Who tells whom the request's cookie signs in; nil: cookies do not count.
	Who func(*http.Request) (directory.Principal, error)
	// Now is the clock; time.Now by default.
	Now func() time.Time
}

// Server is the door: an http.Handler for everything below Prefix, and WellKnown.
type Server struct {
	opt    Options
	store  Store
	people People
	auth   Authenticator

	stopped chan struct{}
	stop    func()

	mu   sync.Mutex
	busy map[use]int
}

// use is what an account may do only so often at once.
type use struct {
	account directory.ObjectID
	limit   string
}

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
	if opt.Secure == nil {
		opt.Secure = func(r *http.Request) bool { return r.TLS != nil }
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	stopped := make(chan struct{})
	return &Server{
		opt: opt, store: mail, people: people, auth: auth, busy: map[use]int{},
		stopped: stopped, stop: sync.OnceFunc(func() { close(stopped) }),
	}
}

// door is the server as one person sees it.
type door struct {
	*Server
	who directory.Principal
	log *slog.Logger
}

// account is the text of a mailbox's id.
func account(box store.MailboxID) string { return "A" + strconv.FormatInt(int64(box), 10) }

// mailbox gives the mailbox of an account that the person may use.
func (d *door) mailbox(id string) (store.MailboxID, bool) {
	if d.who.Mailbox != 0 && id == account(d.who.Mailbox) {
		return d.who.Mailbox, true
	}
	return 0, false
}

// A request has to arrive within readTime, and a piece of an answer has to be
// taken within writeTime.
const (
	readTime  = 10 * time.Minute
	writeTime = 2 * time.Minute
)

// routes are the door's resources: what follows Prefix, the method, and whether a
// longer path belongs to it.
var routes = []struct {
	path, method string
	run          func(*door, context.Context, http.ResponseWriter, *http.Request) error
}{
	{"session", http.MethodGet, (*door).session},
	{"api", http.MethodPost, (*door).api},
	{"upload/", http.MethodPost, (*door).upload},
	{"download/", http.MethodGet, (*door).download},
	{"eventsource", http.MethodGet, (*door).events},
}

// ServeHTTP answers one request and logs one line about it.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	begun := s.opt.Now()
	out := &written{ResponseWriter: w}
	d := &door{Server: s, log: s.opt.Log.With("proto", "jmap")}
	control := http.NewResponseController(w)
	if hr.Method == http.MethodPost { // an event source is read from as long as it is open
		_ = control.SetReadDeadline(time.Now().Add(readTime)) // the server takes it off for the next request
	}
	var err error
	path := strings.TrimPrefix(hr.URL.Path, Prefix)
	if hr.URL.Path == WellKnown {
		path = "session"
	}
	defer func() {
		p := recover()
		if p == http.ErrAbortHandler {
			panic(p)
		}
		if p != nil {
			err = fmt.Errorf("panic: %v", p)
			d.log.Error("panic in a request", "cmd", path, "panic", p, "stack", string(debug.Stack()))
		}
		if err != nil {
			s.fail(out, err)
		}
		level, attrs := slog.LevelInfo, []any{"cmd", strings.SplitN(path, "/", 2)[0], "user", d.who.Address, "dur", s.opt.Now().Sub(begun), "result", out.code}
		if err != nil {
			attrs = append(attrs, "fault", fault.Of(err).String(), "err", err)
			if out.code == http.StatusInternalServerError {
				level = slog.LevelError
			}
		}
		d.log.Log(context.Background(), level, "command", attrs...)
		_ = control.SetWriteDeadline(time.Time{}) // the connection's next request has its own
	}()
	for _, r := range routes {
		if path != r.path && !(strings.HasSuffix(r.path, "/") && strings.HasPrefix(path, r.path)) {
			continue
		}
		if hr.Method != r.method && !(r.method == http.MethodGet && hr.Method == http.MethodHead && r.path != "eventsource") {
			out.Header().Set("Allow", r.method)
			err = &problem{Type: "about:blank", Status: http.StatusMethodNotAllowed}
			return
		}
		if d.who, err = s.signIn(hr); err == nil {
			err = r.run(d, hr.Context(), out, hr)
		}
		return
	}
	err = &problem{Type: "about:blank", Status: http.StatusNotFound}
}

// written remembers how an answer began.
type written struct {
	http.ResponseWriter
	code int
}

func (w *written) WriteHeader(code int) {
	w.code = code
	w.ResponseWriter.WriteHeader(code)
}

func (w *written) Write(p []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController find the connection.
func (w *written) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// fromOurPages tells whether a request can only have been made by a page of this
// site: the browser says so, or it has a header that other sites cannot send without
// being asked for (there is no CORS here). Only then does a cookie count.
func fromOurPages(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin"
	}
	return r.Header.Get("X-Waypost") != ""
}

// signIn checks the credentials that come with every request: Bearer (RFC 6750),
// Basic (RFC 7617), or the cookie of a page of ours.
func (s *Server) signIn(r *http.Request) (who directory.Principal, err error) {
	user, password, basic := httpdoor.Basic(r)
	token, bearer := httpdoor.Bearer(r)
	switch {
	case basic:
		who, err = s.auth.SignIn(r.Context(), directory.Credentials{
			Login: user, Password: password, From: s.opt.ClientAddr(r), Door: "jmap",
		})
	case bearer:
		who, err = s.auth.Bearer(r.Context(), token, directory.ScopeMail)
	case s.opt.Who != nil && fromOurPages(r):
		who, err = s.opt.Who(r)
	default:
		err = fault.New(fault.Unauthenticated, "sign in")
	}
	if err != nil {
		return directory.Principal{}, fmt.Errorf("sign in: %w", err)
	}
	return who, nil
}

// codes has the HTTP code of every kind of fault.
var codes = map[fault.Kind]int{
	fault.Internal:        http.StatusInternalServerError,
	fault.Invalid:         http.StatusBadRequest,
	fault.Unauthenticated: http.StatusUnauthorized,
	fault.Denied:          http.StatusForbidden,
	fault.NotFound:        http.StatusNotFound,
	fault.Exists:          http.StatusConflict,
	fault.Conflict:        http.StatusConflict,
	fault.OverQuota:       http.StatusInsufficientStorage,
	fault.TooLarge:        http.StatusRequestEntityTooLarge,
	fault.Limit:           http.StatusTooManyRequests,
	fault.Resync:          http.StatusConflict,
	fault.Unavailable:     http.StatusServiceUnavailable,
}

// fail answers with a problem, unless an answer has begun; that one is broken off,
// so that nobody takes a part for the whole.
func (s *Server) fail(w *written, err error) {
	if w.code != 0 {
		if w.code == http.StatusOK && !isEnded(err) {
			panic(http.ErrAbortHandler)
		}
		return
	}
	var p *problem
	if !errors.As(err, &p) {
		kind := fault.Of(err)
		p = &problem{Type: "about:blank", Status: codes[kind], Detail: fault.Say(err)}
	}
	h := w.Header()
	switch p.Status {
	case http.StatusUnauthorized:
		h.Add("WWW-Authenticate", fmt.Sprintf(`Basic realm=%q, charset="UTF-8"`, s.opt.Realm))
		h.Add("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q`, s.opt.Realm))
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", "30")
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	data, _ := encodeJSON(p)
	w.WriteHeader(p.Status)
	_, _ = w.Write(data)
}

func isEnded(err error) bool { return errors.Is(err, context.Canceled) }

// begin counts a use of the account; done takes it back.
func (d *door) begin(limit string, most int) (done func(), err error) {
	u := use{d.who.ID, limit}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy[u] >= most {
		return nil, limitProblem(limit)
	}
	d.busy[u]++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.busy[u]--; d.busy[u] == 0 {
			delete(d.busy, u)
		}
	}, nil
}

// api answers requests (RFC 8620 section 3).
func (d *door) api(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &problem{Type: errorURN + "notJSON", Status: 400, Detail: "a request is of type application/json"}
	}
	done, err := d.begin("maxConcurrentRequests", maxConcurrentRequests)
	if err != nil {
		return err
	}
	defer done()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSizeRequest))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return limitProblem("maxSizeRequest")
	}
	if err != nil {
		return fault.From(fault.Invalid, err, "the request did not arrive")
	}
	out, err := d.process(ctx, body)
	if err != nil {
		return err
	}
	return d.json(w, out)
}

// json answers with a document that nobody may keep.
func (d *door) json(w http.ResponseWriter, data []byte) error {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTime))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache, no-store, must-revalidate")
	_, err := w.Write(data)
	if err != nil {
		return fault.From(fault.Unavailable, err, "the client is gone")
	}
	return nil
}
