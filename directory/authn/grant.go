package authn

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"waypost/directory"
	"waypost/internal/fault"
)

const (
	codeLife   = time.Minute // of an authorization code
	deviceLife = 10 * time.Minute
	devicePoll = 5 * time.Second // RFC 8628 section 3.2
	// A grant without offline access ends with its first token; one with it when
	// it was not used for so long, and at the latest after a year.
	grantIdle, grantLife = 60 * 24 * time.Hour, 365 * 24 * time.Hour
	maxRedirects         = 20
	maxText              = 200 // characters
)

// The kinds of tickets of grants.
const (
	ticketCode   = "code"
	ticketDevice = "device"
)

// grantTicket is what an authorization or device code stands for.
type grantTicket struct {
	Client    string          `json:"client"`
	Redirect  string          `json:"redirect,omitempty"`
	Scope     string          `json:"scope"`
	Challenge string          `json:"challenge,omitempty"`
	Nonce     string          `json:"nonce,omitempty"`
	Epoch     directory.Epoch `json:"epoch,omitempty"`
	How       []string        `json:"how,omitempty"`
	AuthTime  int64           `json:"auth_time,omitempty"`
	// Of a device.
	User    string    `json:"user,omitempty"`
	State   string    `json:"state,omitempty"` // "", "allowed", "refused"
	Polled  time.Time `json:"polled,omitzero"`
	Seconds int       `json:"seconds,omitempty"` // between polls
}

func problem(code, say string) error { return &directory.GrantProblem{Code: code, Say: say} }

// OAuthClients implements directory.Grants.
func (s *Service) OAuthClients(ctx context.Context, as directory.Principal) ([]directory.OAuthClient, error) {
	return s.keep.OAuthClients(ctx, as)
}

// OAuthClient implements directory.Grants.
func (s *Service) OAuthClient(ctx context.Context, id string) (directory.OAuthClient, error) {
	c, err := s.keep.ClientBy(ctx, id)
	return c.OAuthClient, err
}

// AddOAuthClient implements directory.Grants.
func (s *Service) AddOAuthClient(ctx context.Context, as directory.Principal, c directory.OAuthClient) (secret string, err error) {
	if c.Name = strings.TrimSpace(c.Name); c.Name == "" || len(c.Name) > maxText {
		return "", fault.New(fault.Invalid, "a program has a name of 1 to %d characters", maxText)
	}
	if !validClientID(c.ID) {
		return "", fault.New(fault.Invalid, "a client id has 1 to 64 of a-z, 0-9, - and .")
	}
	if len(c.Redirects) > maxRedirects {
		return "", fault.New(fault.Limit, "at most %d redirect addresses", maxRedirects)
	}
	for _, r := range c.Redirects {
		if err := validRedirect(r); err != nil {
			return "", err
		}
	}
	for _, name := range c.Scopes {
		if !slices.Contains(directory.AllScopes(), name) {
			return "", fault.New(fault.Invalid, "no scope is called %q; there are: %s", name, strings.Join(directory.AllScopes(), " "))
		}
	}
	kept := directory.StoredClient{OAuthClient: c}
	if c.Confidential {
		secret, kept.Digest = newSecret()
	}
	if err := s.keep.KeepClient(ctx, as, kept); err != nil {
		return "", err
	}
	return secret, nil
}

func validClientID(id string) bool {
	// "waypost" is the audience of our own tokens: no id token may look like one.
	return id != "" && len(id) <= 64 && id != audience && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}

// validRedirect takes https, http to this machine, and an app's own scheme (RFC
// 8252 section 7), whole and without a fragment (RFC 6749 section 3.1.2).
func validRedirect(r string) error {
	u, err := url.Parse(r)
	switch {
	case err != nil || u.Fragment != "" || strings.Contains(r, "#") || u.User != nil || len(r) > 2000:
	case u.Scheme == "https" && u.Hostname() != "":
		return nil
	case u.Scheme == "http" && (u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback()):
		return nil
	case strings.Contains(u.Scheme, "."): // reverse domain name notation
		return nil
	}
	return fault.New(fault.Invalid, "%q is no redirect address: https://…, http://127.0.0.1/… or org.example.app:/…", r)
}

// RemoveOAuthClient implements directory.Grants.
func (s *Service) RemoveOAuthClient(ctx context.Context, as directory.Principal, id string) error {
	return s.keep.RemoveOAuthClient(ctx, as, id)
}

// Consented implements directory.Grants.
func (s *Service) Consented(ctx context.Context, as directory.Principal, client, scope string) (bool, error) {
	return s.keep.Consented(ctx, as, client, scope)
}

// mayGrant refuses who may let nobody in.
func mayGrant(as directory.Principal) error {
	if as.ID == 0 || as.App || as.Session == 0 {
		return fault.New(fault.Denied, "only who is signed in to a browser grants access")
	}
	return nil
}

// Authorize implements directory.Grants.
func (s *Service) Authorize(ctx context.Context, as directory.Principal, a directory.Authorization) (code string, err error) {
	if err := mayGrant(as); err != nil {
		return "", err
	}
	c, err := s.keep.ClientBy(ctx, a.Client)
	switch {
	case err != nil:
		return "", err
	case !c.FitsRedirect(a.Redirect):
		return "", fault.New(fault.Invalid, "this is no redirect address of the program")
	case !validChallenge(a.Challenge):
		return "", problem(directory.InvalidRequest, "PKCE with S256 is needed")
	}
	scope := c.ScopeOf(a.Scope)
	if scope == "" {
		return "", problem(directory.InvalidScope, "nothing that there is was asked for")
	}
	code, digest := newSecret()
	raw, err := json.Marshal(grantTicket{
		Client: c.ID, Redirect: a.Redirect, Scope: scope, Challenge: a.Challenge, Nonce: a.Nonce, Epoch: as.Epoch, AuthTime: s.now().Unix(),
	})
	if err != nil {
		return "", err
	}
	return code, s.keep.AddTicket(ctx, digest, directory.Ticket{Kind: ticketCode, Object: as.ID, Data: raw, Until: s.now().Add(codeLife)})
}

// validChallenge is RFC 7636 section 4.2: 43 characters of base64url.
func validChallenge(c string) bool {
	raw, err := base64.RawURLEncoding.DecodeString(c)
	return err == nil && len(raw) == sha256.Size
}

// verified is RFC 7636 section 4.6.
func verified(challenge, verifier string) bool {
	if len(verifier) < 43 || len(verifier) > 128 {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}

// client authenticates the program (RFC 6749 section 2.3); a public one names
// itself.
func (s *Service) client(ctx context.Context, e directory.Exchange) (directory.OAuthClient, error) {
	c, err := s.keep.ClientBy(ctx, e.Client)
	switch {
	case fault.Of(err) == fault.NotFound && err != nil:
		return c.OAuthClient, problem(directory.InvalidClient, "no such client")
	case err != nil:
		return c.OAuthClient, err
	case c.Confidential && subtle.ConstantTimeCompare(digestOf(e.Secret), c.Digest) != 1,
		!c.Confidential && e.Secret != "":
		return c.OAuthClient, problem(directory.InvalidClient, "no such client")
	}
	return c.OAuthClient, nil
}

// Exchange implements directory.Grants.
func (s *Service) Exchange(ctx context.Context, e directory.Exchange) (t directory.Tokens, err error) {
	c, err := s.client(ctx, e)
	if err != nil {
		return t, err
	}
	switch e.Grant {
	case "authorization_code":
		return s.exchangeCode(ctx, c, e)
	case "refresh_token":
		return s.exchangeRefresh(ctx, c, e)
	case "urn:ietf:params:oauth:grant-type:device_code":
		return s.exchangeDevice(ctx, c, e)
	case "":
		return t, problem(directory.InvalidRequest, "grant_type is missing")
	}
	return t, problem(directory.UnsupportedGrant, "this grant type is not supported")
}

var errGrant = problem(directory.InvalidGrant, "it is wrong, was used before, or is over")

// asGrant makes what was not found or is over the program's problem.
func asGrant(err error) error {
	switch fault.Of(err) {
	case fault.NotFound, fault.Unauthenticated:
		if err != nil {
			return errGrant
		}
	}
	return err
}

// exchangeCode is RFC 6749 section 4.1.3. A code that comes again has been stolen:
// what was granted for it ends (section 4.1.2).
func (s *Service) exchangeCode(ctx context.Context, c directory.OAuthClient, e directory.Exchange) (t directory.Tokens, err error) {
	digest := digestOf(e.Code)
	if digest == nil {
		return t, errGrant
	}
	ticket, err := s.keep.Ticket(ctx, ticketCode, digest)
	if err != nil {
		return t, asGrant(err)
	}
	var g grantTicket
	if err := json.Unmarshal(ticket.Data, &g); err != nil {
		return t, err
	}
	if g.Client != c.ID || g.Redirect != e.Redirect || !verified(g.Challenge, e.Verifier) {
		return t, errGrant
	}
	return s.grant(ctx, c, e, digest, ticket, g)
}

// grant begins the session that a ticket stands for, once.
func (s *Service) grant(ctx context.Context, c directory.OAuthClient, e directory.Exchange, digest []byte, ticket directory.Ticket, g grantTicket) (t directory.Tokens, err error) {
	if ticket.Session != 0 {
		_, err := s.keep.EndSessionsBy(ctx, []directory.SessionID{ticket.Session}, nil)
		if err != nil {
			return t, err
		}
		return t, errGrant
	}
	a, err := s.keep.AccountOf(ctx, ticket.Object, directory.ClientKey(e.Place.From))
	if err != nil {
		return t, asGrant(err)
	}
	if a.Principal.Epoch != g.Epoch || s.stands(a, directory.Credentials{}) != nil {
		return t, errGrant
	}
	refresh, secret := newSecret()
	now := s.now()
	n := directory.StoredSession{
		SessionInfo: directory.SessionInfo{
			Client: c.ID, Scope: g.Scope, How: []string{"grant"}, Private: true, Until: now.Add(grantLife),
			Agent: clipAgent(e.Place.Agent), From: directory.ClientKey(e.Place.From),
		},
		Idle: grantIdle,
	}
	if !directory.HasScope(g.Scope, directory.ScopeOffline) {
		n.Until, refresh = now.Add(tokenLife), ""
	}
	if !a.Expires.IsZero() && a.Expires.Before(n.Until) {
		n.Until = a.Expires
	}
	id, err := s.keep.AddSession(ctx, secret, a.Principal, n)
	if err != nil {
		return t, asGrant(err)
	}
	n.ID = id
	before, ok, err := s.keep.SpendTicket(ctx, digest, id)
	if err == nil && !ok {
		// Two came at once with one code: neither has anything.
		_, err = s.keep.EndSessionsBy(ctx, []directory.SessionID{id, before}, nil)
		err = cmpErr(err, errGrant)
	}
	if err != nil {
		return t, err
	}
	return s.tokens(ctx, c, e, a, n, g, refresh)
}

func cmpErr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// tokens makes the tokens of a grant. As an application password's owner, a
// program is no administrator and lets nobody in.
func (s *Service) tokens(ctx context.Context, c directory.OAuthClient, e directory.Exchange, a directory.Account, n directory.StoredSession, g grantTicket, refresh string) (t directory.Tokens, err error) {
	p := a.Principal
	p.App, p.Roles, p.Session, p.Scope = true, p.Roles&^directory.RoleAdmin, n.ID, n.Scope
	if e.Scope != "" {
		if p.Scope = narrowed(n.Scope, e.Scope); p.Scope == "" {
			return t, problem(directory.InvalidScope, "more is asked for than was granted")
		}
	}
	made, err := s.signer.issue(ctx, p, n.Until)
	if err != nil {
		return t, err
	}
	t = directory.Tokens{Access: made.Token, Expires: made.Expires, Refresh: refresh, Scope: p.Scope}
	if directory.HasScope(p.Scope, directory.ScopeOpenID) {
		t.ID, err = s.signer.idToken(ctx, e.Site, c.ID, a, g, p.Scope)
	}
	return t, err
}

// narrowed gives the scope that was asked for, "" when it is more than was granted
// (RFC 6749 section 6).
func narrowed(granted, asked string) string {
	for _, name := range strings.Fields(asked) {
		if !directory.HasScope(granted, name) {
			return ""
		}
	}
	return strings.Join(strings.Fields(asked), " ")
}

// exchangeRefresh is RFC 6749 section 6, with another refresh token each time. One
// that comes again ends the whole grant (OAuth 2.1 section 4.3.1).
func (s *Service) exchangeRefresh(ctx context.Context, c directory.OAuthClient, e directory.Exchange) (t directory.Tokens, err error) {
	digest := digestOf(e.Refresh)
	if digest == nil {
		return t, errGrant
	}
	n, err := s.keep.SessionBy(ctx, digest)
	if fault.Of(err) == fault.Unauthenticated && err != nil {
		id, found := s.keep.Reused(ctx, digest)
		if found == nil && id != 0 {
			s.log.WarnContext(ctx, "a refresh token was used twice: its grant is over", "client", c.ID, "session", id)
			_, found = s.keep.EndSessionsBy(ctx, []directory.SessionID{id}, nil)
		}
		return t, cmpErr(found, errGrant)
	}
	if err != nil {
		return t, err
	}
	if n.Client != c.ID || n.Client == "" || !directory.HasScope(n.Scope, directory.ScopeOffline) {
		return t, errGrant
	}
	if e.Scope != "" && narrowed(n.Scope, e.Scope) == "" {
		return t, problem(directory.InvalidScope, "more is asked for than was granted")
	}
	a, err := s.keep.AccountOf(ctx, n.Principal.ID, directory.ClientKey(e.Place.From))
	if err != nil {
		return t, asGrant(err)
	}
	if a.Principal.Epoch != n.Principal.Epoch {
		return t, errGrant
	}
	refresh, next := newSecret()
	n.Agent, n.From = clipAgent(e.Place.Agent), directory.ClientKey(e.Place.From)
	if err := s.keep.MoveSession(ctx, digest, next, a.Principal.Epoch, n); err != nil {
		return t, asGrant(err)
	}
	return s.tokens(ctx, c, e, a, n, grantTicket{AuthTime: n.Created.Unix()}, refresh)
}

// Revoke implements directory.Grants. What is no token of this client is revoked
// already (RFC 7009 section 2.2).
func (s *Service) Revoke(ctx context.Context, e directory.Exchange, token string) error {
	c, err := s.client(ctx, e)
	if err != nil {
		return err
	}
	if digest := digestOf(token); digest != nil {
		n, err := s.keep.SessionBy(ctx, digest)
		if fault.Of(err) == fault.Unauthenticated && err != nil {
			return nil
		}
		if err != nil || n.Client != c.ID {
			return err
		}
		_, err = s.keep.EndSessionsBy(ctx, []directory.SessionID{n.ID}, nil)
		return err
	}
	keys, err := s.signer.ready(ctx)
	if err != nil {
		return err
	}
	p, _, err := parse(token, func(id string) ed25519.PublicKey {
		for _, k := range keys {
			if k.ID == id {
				return k.Public
			}
		}
		return nil
	})
	if err != nil || p.Session == 0 {
		return nil
	}
	all, err := s.keep.SessionsOf(ctx, directory.System("oauth"), p.ID)
	if err != nil {
		return err
	}
	for _, n := range all {
		if n.ID == p.Session && n.Client == c.ID {
			_, err = s.keep.EndSessionsBy(ctx, []directory.SessionID{n.ID}, nil)
			return err
		}
	}
	return nil
}

// userLetters cannot be mistaken for each other and make no words (RFC 8628
// section 6.1). Eight of them are 34 bits, good for ten minutes, and guesses are
// counted.
const userLetters = "BCDFGHJKLMNPQRSTVWXZ"

func newUserCode() string {
	var code [8]byte
	for i := range code {
		var b [1]byte
		for {
			_, _ = rand.Read(b[:]) // never fails
			if int(b[0]) < 256/len(userLetters)*len(userLetters) {
				break
			}
		}
		code[i] = userLetters[int(b[0])%len(userLetters)]
	}
	return string(code[:4]) + "-" + string(code[4:])
}

// userCode reads one as people type it.
func userCode(typed string) string {
	code := strings.Map(func(r rune) rune {
		if strings.ContainsRune(userLetters, r) {
			return r
		}
		return -1
	}, strings.ToUpper(typed))
	if len(code) != 8 {
		return ""
	}
	return code[:4] + "-" + code[4:]
}

// BeginDevice implements directory.Grants (RFC 8628 section 3.1).
func (s *Service) BeginDevice(ctx context.Context, e directory.Exchange, scope string) (d directory.DeviceCodes, err error) {
	c, err := s.client(ctx, e)
	if err != nil {
		return d, err
	}
	if scope = c.ScopeOf(scope); scope == "" {
		return d, problem(directory.InvalidScope, "nothing that there is was asked for")
	}
	d.User, d.Interval, d.Expires = newUserCode(), devicePoll, s.now().Add(deviceLife)
	var digest []byte
	d.Device, digest = newSecret()
	raw, err := json.Marshal(grantTicket{Client: c.ID, Scope: scope, User: d.User, Seconds: int(devicePoll / time.Second)})
	if err != nil {
		return d, err
	}
	return d, s.keep.AddTicket(ctx, digest, directory.Ticket{Kind: ticketDevice, Label: d.User, Data: raw, Until: d.Expires})
}

// device finds what waits for a user code. Wrong codes count as wrong codes of a
// second factor do.
func (s *Service) device(ctx context.Context, as directory.Principal, typed string) (digest []byte, t directory.Ticket, g grantTicket, err error) {
	if err := mayGrant(as); err != nil {
		return nil, t, g, err
	}
	a, err := s.keep.AccountOf(ctx, as.ID, "")
	if err != nil {
		return nil, t, g, err
	}
	tries := directory.Attempt{ID: as.ID, Login: "device " + strconv.FormatInt(int64(as.ID), 10), Factor: true, Door: "web"}
	if a.FactorLocked > 0 {
		return nil, t, g, fault.New(fault.Limit, "too many wrong codes, try again later")
	}
	if digest, t, err = s.keep.TicketByLabel(ctx, ticketDevice, userCode(typed)); err != nil {
		if fault.Of(err) == fault.NotFound {
			if err := s.accounts.Failed(ctx, tries, FactorBackoff, ClientBackoff); err != nil {
				return nil, t, g, err
			}
		}
		return nil, t, g, err
	}
	return digest, t, g, json.Unmarshal(t.Data, &g)
}

// Device implements directory.Grants.
func (s *Service) Device(ctx context.Context, as directory.Principal, typed string) (d directory.DeviceRequest, err error) {
	_, _, g, err := s.device(ctx, as, typed)
	if err != nil {
		return d, err
	}
	c, err := s.keep.ClientBy(ctx, g.Client)
	return directory.DeviceRequest{Client: c.OAuthClient, Scope: g.Scope}, err
}

// DecideDevice implements directory.Grants.
func (s *Service) DecideDevice(ctx context.Context, as directory.Principal, typed string, allow bool) error {
	digest, t, g, err := s.device(ctx, as, typed)
	if err != nil {
		return err
	}
	if g.State != "" {
		return fault.New(fault.Conflict, "this was decided already")
	}
	g.State, g.Epoch, g.AuthTime = "refused", as.Epoch, s.now().Unix()
	if allow {
		g.State = "allowed"
	}
	raw, err := json.Marshal(g)
	if err != nil {
		return err
	}
	ok, err := s.keep.SetTicket(ctx, digest, t.Data, raw, as.ID)
	if err == nil && !ok {
		return fault.New(fault.Conflict, "try again")
	}
	return err
}

// exchangeDevice is RFC 8628 section 3.4 and 3.5.
func (s *Service) exchangeDevice(ctx context.Context, c directory.OAuthClient, e directory.Exchange) (t directory.Tokens, err error) {
	digest := digestOf(e.Device)
	if digest == nil {
		return t, errGrant
	}
	ticket, err := s.keep.Ticket(ctx, ticketDevice, digest)
	switch {
	case fault.Of(err) == fault.NotFound && err != nil:
		return t, problem(directory.ExpiredToken, "the code is over, begin anew")
	case err != nil:
		return t, err
	}
	var g grantTicket
	if err := json.Unmarshal(ticket.Data, &g); err != nil {
		return t, err
	}
	if g.Client != c.ID {
		return t, errGrant
	}
	switch g.State {
	case "allowed":
		return s.grant(ctx, c, e, digest, ticket, g)
	case "refused":
		return t, problem(directory.AccessDenied, "it was refused")
	}
	said := problem(directory.AuthorizationPending, "nobody has decided yet")
	now := s.now()
	if now.Sub(g.Polled) < time.Duration(g.Seconds)*time.Second-time.Second/2 {
		g.Seconds += int(devicePoll / time.Second)
		said = problem(directory.SlowDown, "ask less often")
	}
	g.Polled = now
	raw, err := json.Marshal(g)
	if err != nil {
		return t, err
	}
	// If somebody decided meanwhile, the next poll tells.
	if _, err := s.keep.SetTicket(ctx, digest, ticket.Data, raw, ticket.Object); err != nil {
		return t, err
	}
	return t, said
}

// idClaims are of OpenID Connect Core sections 2 and 5.1.
type idClaims struct {
	jwt.RegisteredClaims
	Nonce    string `json:"nonce,omitempty"`
	AuthTime int64  `json:"auth_time,omitempty"`
	Email    string `json:"email,omitempty"`
	Verified bool   `json:"email_verified,omitempty"`
	Name     string `json:"name,omitempty"`
}

// idToken makes an id token. Its audience is the program, so that nothing here
// takes it for an access token.
func (s *signer) idToken(ctx context.Context, site, client string, a directory.Account, g grantTicket, scope string) (string, error) {
	keys, err := s.ready(ctx)
	if err != nil {
		return "", err
	}
	now := time.Now()
	key := s.signing(keys, now)
	c := idClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: site, Audience: jwt.ClaimStrings{client}, Subject: directory.Subject(a.Principal.ID),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(tokenLife)),
		},
		Nonce: g.Nonce, AuthTime: g.AuthTime,
	}
	if directory.HasScope(scope, directory.ScopeEmail) {
		c.Email, c.Verified = a.Principal.Address, a.Principal.Address != ""
	}
	if directory.HasScope(scope, directory.ScopeProfile) {
		c.Name = a.Principal.Name
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, c)
	t.Header["kid"] = key.ID
	return t.SignedString(ed25519.NewKeyFromSeed(key.Seed))
}
