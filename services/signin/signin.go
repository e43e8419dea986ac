// Package signin shows the pages of sign-in and of one's own account, and speaks
// OAuth 2.1 and OpenID Connect to programs.
//
// Its law:
//
//   - It keeps nothing and decides nothing: who may enter, and what was granted,
//     the directory knows. A browser holds two cookies, both __Host-, HttpOnly and
//     SameSite=Lax: the session's secret, and a random one that its forms carry a
//     digest of.
//   - Every route is a row of a table. What changes anything is a POST of a form of
//     ours: with that digest, an Origin that is the site's own and no
//     Sec-Fetch-Site but same-origin. Programs' routes look at no cookie.
//   - Only hosts that were configured are answered. Where a browser goes next is one
//     of a few paths here, or a redirect address that a program has registered.
//   - A page needs no script, but for passkeys; the policy allows no other.
//   - No password, code, token or secret comes into a log, an address or a page,
//     but for those that are shown once to whose they are.
package signin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/httpdoor"
	"waypost/web/signin"
)

// Directory is what the pages need of it.
type Directory interface {
	directory.Sessions
	directory.Grants
	AccountState(ctx context.Context, as directory.Principal, id directory.ObjectID) (directory.AccountState, error)
	AppPasswords(ctx context.Context, as directory.Principal, id directory.ObjectID) ([]directory.AppPassword, error)
	AddAppPassword(ctx context.Context, as directory.Principal, id directory.ObjectID, name string) (directory.AppPassword, string, error)
	RemoveAppPassword(ctx context.Context, as directory.Principal, id directory.ObjectID, name string) error
	BeginFactor(ctx context.Context, as directory.Principal, id directory.ObjectID) (directory.FactorKey, error)
	ConfirmFactor(ctx context.Context, as directory.Principal, id directory.ObjectID, code string) ([]string, error)
	RemoveFactor(ctx context.Context, as directory.Principal, id directory.ObjectID) error
	Keys(ctx context.Context) ([]directory.Key, error)
}

// Gate is what stands before it. *authn.Gate is the real one.
type Gate interface {
	Browser(ctx context.Context, secret string, at directory.Place) (directory.SessionInfo, error)
	Verify(ctx context.Context, token string) (directory.Principal, error)
}

// Options of a Server.
type Options struct {
	// Site is the base URL of the organisation's front ends, the issuer of tokens:
	// https://mail.example.org.
	Site string
	// Hosts are further names, without ports, that browsers may use.
	Hosts      []string
	Log        *slog.Logger // slog.Default when nil
	ClientAddr func(r *http.Request) netip.Addr
	// Secure tells whether a request came by HTTPS; nil looks at the connection.
	Secure func(r *http.Request) bool
	// Outside, if not nil, lets people sign in through another OpenID provider.
	Outside *Outside
}

// Server answers the pages.
type Server struct {
	dir    Directory
	gate   Gate
	opt    Options
	log    *slog.Logger
	hosts  map[string]bool
	static http.Handler
	routes map[string]route
}

// New makes a server.
func New(dir Directory, gate Gate, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.ClientAddr == nil {
		o.ClientAddr = httpdoor.Peer
	}
	if o.Secure == nil {
		o.Secure = func(r *http.Request) bool { return r.TLS != nil }
	}
	u, err := url.Parse(o.Site)
	if err != nil || u.Hostname() == "" {
		return nil, fault.New(fault.Invalid, "sign-in needs the URL of the site, not %q", o.Site)
	}
	files, err := fs.Sub(signin.Files, "static")
	if err != nil {
		return nil, err
	}
	s := &Server{
		dir: dir, gate: gate, opt: o, log: o.Log, hosts: map[string]bool{strings.ToLower(u.Hostname()): true},
		static: http.StripPrefix(staticPrefix, http.FileServerFS(files)),
	}
	for _, h := range o.Hosts {
		s.hosts[strings.ToLower(h)] = true
	}
	s.routes = s.table()
	return s, nil
}

const (
	staticPrefix = "/signin/static/"
	// maxForm bounds a form's body in bytes; an authenticator's answer is the
	// largest thing in one.
	maxForm = 128 << 10

	sessionCookie = "__Host-waypost"
	formCookie    = "__Host-waypost-form"
)

// Prefixes are the paths that belong to this service: those that end in a slash
// stand for everything below.
func Prefixes() []string {
	return []string{
		"/signin", "/signin/", "/signout", "/signedout", "/account", "/account/", "/device", "/device/", "/oauth/",
		"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration",
	}
}

// route is one row of the table.
type route struct {
	run func(*Server, *request) error
	// machine: programs call it, without cookies.
	machine bool
	// in: only who is signed in; others are sent to the form and come back.
	in bool
}

// table is every route by method and path.
func (s *Server) table() map[string]route {
	t := map[string]route{
		"GET /signin":                    {run: (*Server).form},
		"POST /signin":                   {run: (*Server).password},
		"GET /signin/factor":             {run: (*Server).factorForm},
		"POST /signin/factor":            {run: (*Server).factor},
		"GET /signin/password":           {run: (*Server).changeForm},
		"POST /signin/password":          {run: (*Server).change},
		"POST /signin/passkey/challenge": {run: (*Server).passkeyChallenge},
		"POST /signin/passkey":           {run: (*Server).passkey},
		"POST /signout":                  {run: (*Server).signOut},
		"GET /signedout":                 {run: (*Server).signedOut},

		"GET /account":                     {run: (*Server).account, in: true},
		"POST /account/sessions/end":       {run: (*Server).endSession, in: true},
		"POST /account/sessions/end-all":   {run: (*Server).endSessions, in: true},
		"POST /account/apps/add":           {run: (*Server).addApp, in: true},
		"POST /account/apps/remove":        {run: (*Server).removeApp, in: true},
		"POST /account/passkeys/challenge": {run: (*Server).newPasskey, in: true},
		"POST /account/passkeys/add":       {run: (*Server).addPasskey, in: true},
		"POST /account/passkeys/remove":    {run: (*Server).removePasskey, in: true},
		"POST /account/factor/begin":       {run: (*Server).beginFactor, in: true},
		"POST /account/factor/confirm":     {run: (*Server).confirmFactor, in: true},
		"POST /account/factor/remove":      {run: (*Server).removeFactor, in: true},
		"POST /account/password":           {run: (*Server).renew, in: true},

		"GET /oauth/authorize":  {run: (*Server).authorize, in: true},
		"POST /oauth/authorize": {run: (*Server).consent, in: true},
		"GET /device":           {run: (*Server).deviceForm, in: true},
		"POST /device":          {run: (*Server).device, in: true},
		"POST /device/decide":   {run: (*Server).decideDevice, in: true},

		"POST /oauth/token":                           {run: (*Server).token, machine: true},
		"POST /oauth/revoke":                          {run: (*Server).revoke, machine: true},
		"POST /oauth/device":                          {run: (*Server).beginDevice, machine: true},
		"GET /oauth/userinfo":                         {run: (*Server).userInfo, machine: true},
		"GET /oauth/jwks":                             {run: (*Server).keys, machine: true},
		"GET /.well-known/oauth-authorization-server": {run: (*Server).discovery, machine: true},
		"GET /.well-known/openid-configuration":       {run: (*Server).discovery, machine: true},
	}
	if s.opt.Outside != nil {
		t["POST /signin/outside"] = route{run: (*Server).outside}
		t["GET "+outsideBack] = route{run: (*Server).outsideBack}
	}
	return t
}

// request is one request with what is known of who sends it.
type request struct {
	w    http.ResponseWriter
	http *http.Request
	lang string
	site string // the origin that the browser shows
	at   directory.Place

	form   string // the cookie that forms are bound to
	secret string // the session's
	who    directory.Principal
	next   string // where to go when signed in
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	q := &request{w: w, http: r}
	var err error
	defer func() {
		if p := recover(); p != nil {
			err = fault.New(fault.Internal, "internal error")
			s.log.ErrorContext(r.Context(), "panic", slog.String("proto", "signin"), slog.Any("fault", p), slog.String("stack", string(debug.Stack())))
			s.fail(q, err)
		}
		level, result := slog.LevelInfo, "ok"
		if err != nil {
			if result = fault.Of(err).String(); fault.Of(err) == fault.Internal {
				level = slog.LevelError
			}
		}
		// The path alone: an address may hold a code.
		s.log.LogAttrs(r.Context(), level, "request", slog.String("proto", "signin"), slog.String("cmd", r.Method+" "+r.URL.Path),
			slog.String("user", q.who.Address), slog.Duration("dur", time.Since(begin)), slog.String("result", result), slog.Any("fault", err))
	}()
	if err = s.serve(q); err != nil {
		s.fail(q, err)
	}
}

func (s *Server) serve(q *request) error {
	r := q.http
	q.lang = languageOf(r)
	host := hostOf(r.Host)
	if !s.hosts[host] {
		return fault.New(fault.Denied, "this server does not answer for that name")
	}
	scheme := "http"
	if s.opt.Secure(r) {
		scheme = "https"
	}
	q.site = scheme + "://" + r.Host
	q.at = directory.Place{From: s.opt.ClientAddr(r), Agent: r.UserAgent(), Site: q.site}
	s.headers(q)
	if strings.HasPrefix(r.URL.Path, staticPrefix) && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		q.w.Header().Set("Cache-Control", "public, max-age=3600")
		s.static.ServeHTTP(q.w, r)
		return nil
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	rt, ok := s.routes[method+" "+r.URL.Path]
	if !ok {
		return s.noRoute(q)
	}
	r.Body = http.MaxBytesReader(q.w, r.Body, maxForm)
	if rt.machine {
		return rt.run(s, q)
	}
	q.form, q.secret = cookie(r, formCookie), cookie(r, sessionCookie)
	if method == http.MethodPost {
		if err := s.ours(q); err != nil {
			return err
		}
	}
	if q.form == "" {
		raw := make([]byte, 32)
		_, _ = rand.Read(raw) // never fails
		q.form = base64.RawURLEncoding.EncodeToString(raw)
		s.setCookie(q, formCookie, q.form, time.Time{})
	}
	q.next = internal(r.FormValue("next"))
	if !rt.in {
		return rt.run(s, q)
	}
	n, err := s.gate.Browser(r.Context(), q.secret, q.at)
	switch {
	case fault.Of(err) == fault.Unauthenticated && err != nil:
		to := "/signin"
		if method == http.MethodGet {
			to += "?next=" + url.QueryEscape(internal(r.URL.RequestURI()))
		}
		return q.send(to)
	case err != nil:
		return err
	}
	q.who = n.Principal
	return rt.run(s, q)
}

// noRoute answers what is not in the table.
func (s *Server) noRoute(q *request) error {
	for _, m := range []string{http.MethodGet, http.MethodPost} {
		if _, ok := s.routes[m+" "+q.http.URL.Path]; ok {
			q.w.Header().Set("Allow", m)
			q.w.WriteHeader(http.StatusMethodNotAllowed)
			return nil
		}
	}
	if q.http.URL.Path == "/signin/" || q.http.URL.Path == "/account/" {
		return q.send(strings.TrimSuffix(q.http.URL.Path, "/"))
	}
	return fault.New(fault.NotFound, "no such page")
}

// ours tells whether a request that changes something comes from a form of ours.
func (s *Server) ours(q *request) error {
	stale := fault.New(fault.Denied, "the request does not come from a page of ours")
	if site := q.http.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return stale
	}
	if origin := q.http.Header.Get("Origin"); origin != "" && origin != q.site {
		return stale
	}
	mediaType, _, _ := strings.Cut(q.http.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(mediaType), "application/x-www-form-urlencoded") {
		return stale
	}
	if q.form == "" || subtle.ConstantTimeCompare([]byte(q.http.PostFormValue("token")), []byte(q.token())) != 1 {
		return stale
	}
	return nil
}

// token is what our forms carry: nobody makes it who does not know both cookies,
// which no script and no other site can read or set.
func (q *request) token() string {
	sum := sha256.Sum256([]byte("waypost form\x00" + q.form + "\x00" + q.secret))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// headers are on every page.
func (s *Server) headers(q *request) {
	h := q.w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Permissions-Policy", "publickey-credentials-get=(self), publickey-credentials-create=(self), camera=(), microphone=(), geolocation=()")
	s.policy(q, "")
}

// policy is the content security policy; target is where a form may lead besides
// here: browsers hold redirects after a form to it, too.
func (s *Server) policy(q *request, target string) {
	form := "form-action 'self'"
	if target != "" {
		form += " " + target
	}
	q.w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; font-src 'self'; img-src 'self' data:; script-src 'self'; "+
		"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; "+form)
}

func (s *Server) setCookie(q *request, name, value string, until time.Time) {
	c := &http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if value == "" {
		c.MaxAge = -1
	} else if !until.IsZero() {
		c.Expires = until
	}
	http.SetCookie(q.w, c)
}

func cookie(r *http.Request, name string) string {
	c, err := r.Cookie(name)
	if err != nil || len(c.Value) > 200 {
		return ""
	}
	return c.Value
}

// hostOf is the name in a Host header.
func hostOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

// nextPaths are where a browser may go once it is signed in; those with true keep
// their question.
var nextPaths = map[string]bool{"/": false, "/account": false, "/device": true, "/oauth/authorize": true}

// internal makes a path that is safe to go to of what was asked for; "" when there
// is none. It is put together anew from its parts, so that nothing else can be in it.
func internal(next string) string {
	u, err := url.Parse(next)
	if err != nil || next == "" || u.Scheme != "" || u.Host != "" || u.Opaque != "" || u.User != nil || len(next) > 4000 {
		return ""
	}
	keep, ok := nextPaths[u.Path]
	switch {
	case !ok:
		return ""
	case keep && u.RawQuery != "":
		return u.Path + "?" + u.Query().Encode()
	}
	return u.Path
}

// send sends the browser on by GET.
func (q *request) send(to string) error {
	http.Redirect(q.w, q.http, to, http.StatusSeeOther)
	return nil
}

// Who tells who a request's cookie signs in, for other doors of this front end.
// They must make sure by themselves that the request comes from a page of ours.
func (s *Server) Who(r *http.Request) (directory.Principal, error) {
	secret := cookie(r, sessionCookie)
	if secret == "" {
		return directory.Principal{}, fault.New(fault.Unauthenticated, "sign in")
	}
	n, err := s.gate.Browser(r.Context(), secret, directory.Place{From: s.opt.ClientAddr(r), Agent: r.UserAgent()})
	return n.Principal, err
}

// problemOf gives a sign-in's problem, 0 for none.
func problemOf(err error) directory.Problem {
	var p *directory.SignInProblem
	if errors.As(err, &p) {
		return p.Why
	}
	return 0
}

// Routes lists the routes, for tests that walk them: those that change something
// for a browser.
func (s *Server) Routes() (changing []string) {
	for name, rt := range s.routes {
		if path, ok := strings.CutPrefix(name, "POST "); ok && !rt.machine {
			changing = append(changing, path)
		}
	}
	slices.Sort(changing)
	return changing
}
