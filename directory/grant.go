package directory

import (
	"context"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/internal/fault"
)

// Grants is the authorization server (OAuth 2.1): programs that may ask for
// access, and what they were granted. What is granted is a session with a client
// and a scope. Faults that the program is to hear of are a *GrantProblem.
type Grants interface {
	// OAuthClients lists the programs that may ask.
	OAuthClients(ctx context.Context, as Principal) ([]OAuthClient, error)
	// OAuthClient gives one by its id, for whoever asks.
	OAuthClient(ctx context.Context, id string) (OAuthClient, error)
	// AddOAuthClient makes one; of a confidential one the secret is never told again.
	AddOAuthClient(ctx context.Context, as Principal, c OAuthClient) (secret string, err error)
	// RemoveOAuthClient removes one and ends what it was granted.
	RemoveOAuthClient(ctx context.Context, as Principal, id string) error

	// Authorize grants what a person has consented to, and gives a code that its
	// program exchanges within a minute.
	Authorize(ctx context.Context, as Principal, a Authorization) (code string, err error)
	// Consented tells whether this program has as much already.
	Consented(ctx context.Context, as Principal, client, scope string) (bool, error)
	// Exchange gives tokens for a code, a refresh token or a device code.
	Exchange(ctx context.Context, e Exchange) (Tokens, error)
	// Revoke ends the grant that a token, of either kind, is of (RFC 7009).
	Revoke(ctx context.Context, e Exchange, token string) error
	// BeginDevice makes the codes of the device flow (RFC 8628).
	BeginDevice(ctx context.Context, e Exchange, scope string) (DeviceCodes, error)
	// Device tells what a user code asks for.
	Device(ctx context.Context, as Principal, userCode string) (DeviceRequest, error)
	// DecideDevice allows or refuses it.
	DecideDevice(ctx context.Context, as Principal, userCode string, allow bool) error
}

// Scopes that a program may be granted, and OpenID Connect's own.
const (
	ScopeMail     = "mail"     // IMAP, submission, JMAP's mail
	ScopeCalendar = "calendar" // CalDAV, JMAP's calendars and tasks
	ScopeContacts = "contacts" // CardDAV, JMAP's contacts
	ScopeOffline  = "offline_access"
	ScopeOpenID   = "openid"
	ScopeProfile  = "profile"
	ScopeEmail    = "email"
)

// AllScopes lists them.
func AllScopes() []string {
	return []string{ScopeMail, ScopeCalendar, ScopeContacts, ScopeOffline, ScopeOpenID, ScopeProfile, ScopeEmail}
}

// HasScope tells whether a scope (RFC 6749 section 3.3) has the name in it.
func HasScope(scope, name string) bool { return slices.Contains(strings.Fields(scope), name) }

// May tells whether p, who may have signed in through a program with a limited
// scope, may use what the scope's name stands for.
func (p Principal) May(scope string) bool { return p.Scope == "" || HasScope(p.Scope, scope) }

// Subject is how an account is called to programs: always the same, and no name.
func Subject(id ObjectID) string { return "u" + strconv.FormatInt(int64(id), 10) }

// OAuthClient is a program that may ask for access.
type OAuthClient struct {
	ID        string
	Name      string
	Redirects []string // exact; of http://127.0.0.1 and http://[::1] any port (RFC 8252 section 7.3)
	Scopes    []string // what it may ask for; none: all of them
	// Confidential: it keeps a secret, as a server can.
	Confidential bool
	// Trusted: the organisation's own; nobody is asked to consent.
	Trusted bool
	Created time.Time
}

// FitsRedirect tells whether a redirect is one that the client registered: letter
// by letter, but for the port of a loopback address (OAuth 2.1 section 8.4.2, RFC
// 8252 section 7.3).
func (c OAuthClient) FitsRedirect(redirect string) bool {
	if slices.Contains(c.Redirects, redirect) {
		return redirect != ""
	}
	want, ok := withoutPort(redirect)
	return ok && slices.ContainsFunc(c.Redirects, func(r string) bool {
		have, ok := withoutPort(r)
		return ok && have == want
	})
}

func withoutPort(redirect string) (string, bool) {
	u, err := url.Parse(redirect)
	if err != nil || u.Scheme != "http" || u.User != nil || u.Fragment != "" {
		return "", false
	}
	ip := net.ParseIP(u.Hostname())
	if ip == nil || !ip.IsLoopback() {
		return "", false
	}
	u.Host = ip.String()
	return u.String(), true
}

// ScopeOf keeps of a scope what the client may ask for, in order and once.
func (c OAuthClient) ScopeOf(scope string) string {
	var kept []string
	for _, name := range AllScopes() {
		if HasScope(scope, name) && (len(c.Scopes) == 0 || slices.Contains(c.Scopes, name)) {
			kept = append(kept, name)
		}
	}
	return strings.Join(kept, " ")
}

// Authorization is what a person consents to.
type Authorization struct {
	Client    string
	Redirect  string
	Scope     string
	Challenge string // PKCE, S256 (RFC 7636)
	Nonce     string // OpenID Connect's
	Site      string // the issuer
	Place     Place
}

// Exchange is a program that comes for tokens.
type Exchange struct {
	Client   string
	Secret   string // of a confidential client
	Grant    string // grant_type
	Code     string
	Verifier string // PKCE
	Redirect string
	Refresh  string
	Device   string // device_code
	Scope    string // fewer than were granted
	Site     string // the issuer of id tokens
	Place    Place
}

// String keeps the secrets out of every log.
func (e Exchange) String() string { return e.Client + " " + e.Grant }

// Tokens are what a program gets.
type Tokens struct {
	Access  string
	Expires time.Time
	Refresh string // "" unless offline access was granted
	ID      string // the id token; "" without openid
	Scope   string
}

// String keeps the tokens out of every log.
func (t Tokens) String() string { return t.Scope }

// DeviceCodes begin the device flow.
type DeviceCodes struct {
	Device   string // the program's secret
	User     string // what the person types, like BCDF-GHJK
	Expires  time.Time
	Interval time.Duration
}

// String keeps the codes out of every log.
func (DeviceCodes) String() string { return "(codes)" }

// DeviceRequest is a program on a device that waits for a person.
type DeviceRequest struct {
	Client OAuthClient
	Scope  string
}

// GrantProblem is a fault that a program hears of by its code (RFC 6749 section
// 5.2, RFC 8628 section 3.5).
type GrantProblem struct {
	Code string
	Say  string
}

// The codes.
const (
	InvalidRequest       = "invalid_request"
	InvalidClient        = "invalid_client"
	InvalidGrant         = "invalid_grant"
	InvalidScope         = "invalid_scope"
	UnauthorizedClient   = "unauthorized_client"
	UnsupportedGrant     = "unsupported_grant_type"
	AccessDenied         = "access_denied"
	AuthorizationPending = "authorization_pending"
	SlowDown             = "slow_down"
	ExpiredToken         = "expired_token"
)

// Error implements error.
func (p *GrantProblem) Error() string { return p.Code + ": " + p.Say }

// Unwrap gives the fault.
func (p *GrantProblem) Unwrap() error {
	if p.Code == InvalidClient {
		return fault.New(fault.Unauthenticated, "%s", p.Say)
	}
	return fault.New(fault.Invalid, "%s", p.Say)
}
