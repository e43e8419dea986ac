// Package autodiscover tells phones and mail programs where their server is:
// the XML of Exchange ("POX", MS-ASCMD 2.2.1.1 for phones and MS-OXDSCLI for
// Outlook) and its JSON successor.
//
// Its law: XML answers come after a sign-in and speak of the one who signed in;
// without one the answer is 401, never a page. JSON answers need none, say the
// same for every address, and so reveal nobody. Whatever the phone's XML looks
// like, it gets XML back: framework errors travel in an answer of 200. Nothing
// is kept.
package autodiscover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/httpdoor"
)

// Prefix is the folder of URLs that the handler answers, compared without
// regard to case.
const Prefix = "/autodiscover/"

// Matches tells whether an URL path is the handler's.
func Matches(path string) bool {
	return len(path) >= len(Prefix) && strings.EqualFold(path[:len(Prefix)], Prefix)
}

// Authenticator checks credentials.
type Authenticator interface {
	SignIn(ctx context.Context, c directory.Credentials) (directory.Principal, error)
}

// People is what the handler asks of the directory.
type People interface {
	User(ctx context.Context, as directory.Principal, id directory.ObjectID) (directory.User, error)
}

// Protocol is a door that Outlook's set-up may be told of.
type Protocol struct {
	Type   string // "IMAP", "POP3" or "SMTP"
	Server string // host name
	Port   int
	TLS    bool // from the first byte; otherwise STARTTLS
}

// Options are the handler's settings. The zero value points at ActiveSync on
// the host that was asked.
type Options struct {
	// Site is the base URL of the front end without a final slash, such as
	// https://mail.example.test; empty: https and the host that was asked.
	Site      string
	Protocols []Protocol
	Realm     string // of Basic sign-in; default "Waypost"
	Log       *slog.Logger
	// ClientAddr tells whose request it is, and Secure whether it came by
	// HTTPS, perhaps to a proxy; default the connection's peer and its own TLS.
	ClientAddr func(*http.Request) netip.Addr
	Secure     func(*http.Request) bool
	Now        func() time.Time
}

// Handler answers everything below Prefix.
type Handler struct {
	opt    Options
	auth   Authenticator
	people People
}

// New makes the handler.
func New(people People, auth Authenticator, opt Options) *Handler {
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
	opt.Site = strings.TrimSuffix(opt.Site, "/")
	return &Handler{opt: opt, auth: auth, people: people}
}

// site is the base URL to send a client to.
func (h *Handler) site(r *http.Request) string {
	if h.opt.Site != "" {
		return h.opt.Site
	}
	return "https://" + r.Host
}

// activeSync is where phones find the ActiveSync door.
func (h *Handler) activeSync(r *http.Request) string {
	return h.site(r) + "/Microsoft-Server-ActiveSync"
}

// line is what is logged of a request.
type line struct {
	cmd, user, result string
	err               error
}

// ServeHTTP answers one request and logs one line about it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l, begun := &line{}, h.opt.Now()
	log := h.opt.Log.With("proto", "autodiscover")
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			log.Error("panic in a request", "cmd", l.cmd, "panic", p, "stack", string(debug.Stack()))
			l.result = "panic"
			w.WriteHeader(http.StatusInternalServerError)
		}
		attrs := []any{"cmd", l.cmd, "user", l.user, "dur", h.opt.Now().Sub(begun), "result", l.result}
		level := slog.LevelInfo
		if l.err != nil {
			attrs = append(attrs, "fault", fault.Of(l.err).String(), "err", l.err)
			if fault.Of(l.err) == fault.Internal {
				level = slog.LevelError
			}
		}
		log.Log(context.WithoutCancel(r.Context()), level, "request", attrs...)
	}()
	name := ""
	if Matches(r.URL.Path) {
		name = strings.ToLower(r.URL.Path[len(Prefix):])
	}
	w.Header().Set("Cache-Control", "private")
	switch {
	case name == "autodiscover.xml":
		l.cmd = "xml"
		h.xml(w, r, l)
	case name == "autodiscover.json" || strings.HasPrefix(name, "autodiscover.json/"):
		l.cmd = "json"
		h.json(w, r, l)
	default: // the SOAP form too: phones do not use it
		l.cmd, l.result = "unknown", "404"
		http.NotFound(w, r)
	}
}

// refusals has, for each kind of fault, the HTTP code of a refusal, or 0 and
// the ErrorCode of the answer (MS-OXDSCLI 2.2.4.1.1.2).
var refusals = map[fault.Kind]struct{ http, code int }{
	fault.Internal:        {0, errInternal},
	fault.Invalid:         {0, errRequest},
	fault.Unauthenticated: {http.StatusUnauthorized, 0},
	fault.Denied:          {http.StatusForbidden, 0},
	fault.NotFound:        {0, errAddress},
	fault.Exists:          {0, errInternal},
	fault.Conflict:        {http.StatusServiceUnavailable, 0},
	fault.OverQuota:       {0, errInternal},
	fault.TooLarge:        {0, errRequest},
	fault.Limit:           {http.StatusServiceUnavailable, 0},
	fault.Resync:          {0, errInternal},
	fault.Unavailable:     {http.StatusServiceUnavailable, 0},
}

// xml answers a POX request.
func (h *Handler) xml(w http.ResponseWriter, r *http.Request, l *line) {
	if r.Method == http.MethodGet && !h.opt.Secure(r) {
		// The redirect that a client follows from http://autodiscover.domain/.
		l.result = "302"
		http.Redirect(w, r, h.site(r)+"/autodiscover/autodiscover.xml", http.StatusFound)
		return
	}
	answer, err := h.pox(r, l)
	if code, ok := errors.AsType[poxError](err); ok {
		answer, err = h.errorAnswer(code), nil
		l.result = fmt.Sprint(code.code)
	}
	if err != nil {
		l.err = err
		refusal := refusals[fault.Of(err)]
		if refusal.http != 0 {
			h.refuse(w, l, refusal.http)
			return
		}
		answer = h.errorAnswer(poxError{code: refusal.code})
		l.result = fmt.Sprint(refusal.code)
	}
	if l.result == "" {
		l.result = "ok"
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	_, _ = w.Write([]byte(answer)) // a phone that has gone asks again
}

func (h *Handler) refuse(w http.ResponseWriter, l *line, code int) {
	l.result = fmt.Sprint(code)
	switch code {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%q", h.opt.Realm))
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "30")
	}
	w.WriteHeader(code)
}

// signIn gives the user whose credentials came along.
func (h *Handler) signIn(r *http.Request, l *line) (directory.User, error) {
	login, password, ok := httpdoor.Basic(r)
	if !ok {
		return directory.User{}, fault.New(fault.Unauthenticated, "no credentials")
	}
	who, err := h.auth.SignIn(r.Context(), directory.Credentials{
		Login: login, Password: password, From: h.opt.ClientAddr(r), Door: "autodiscover",
	})
	if err != nil {
		return directory.User{}, fmt.Errorf("sign in: %w", err)
	}
	l.user = who.Address
	return h.people.User(r.Context(), who, who.ID)
}
