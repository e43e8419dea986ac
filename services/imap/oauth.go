package imap

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"

	"waypost/directory"
	"waypost/internal/fault"
)

// Bearers accept access tokens. Accounts may be one; then OAUTHBEARER and XOAUTH2
// are announced.
type Bearers interface {
	// Bearer fails with Unauthenticated, Denied for a token that was granted for
	// other things, or Unavailable.
	Bearer(ctx context.Context, token string, scopes ...string) (directory.Principal, error)
}

// bearers gives who accepts access tokens, nil for nobody.
func (s *Server) bearers() Bearers {
	b, _ := s.accounts.(Bearers)
	return b
}

// saslOAuthBearer is RFC 7628: gs2-header, then key=value pairs between ^A.
func (c *conn) saslOAuthBearer(ctx context.Context, x *exchange) error {
	b, err := x.ask("")
	if err != nil {
		return err
	}
	header, rest, ok := strings.Cut(string(b), "\x01")
	if !ok || !strings.HasPrefix(header, "n,") { // no channel binding (section 3.1)
		return bad("", "Malformed answer")
	}
	var as string
	if who, ok := strings.CutPrefix(strings.TrimSuffix(strings.TrimPrefix(header, "n,"), ","), "a="); ok {
		as = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(who)
	}
	token, ok := bearerOf(rest, "\x01\x01")
	if !ok {
		return bad("", "Malformed answer")
	}
	return c.bearer(ctx, x, as, token)
}

// saslXOAuth2 is Google's older form, which Microsoft's programs use too:
// user=ADDRESS^Aauth=Bearer TOKEN^A^A.
func (c *conn) saslXOAuth2(ctx context.Context, x *exchange) error {
	b, err := x.ask("")
	if err != nil {
		return err
	}
	user, rest, ok := strings.Cut(string(b), "\x01")
	as, isUser := strings.CutPrefix(user, "user=")
	token, hasToken := bearerOf(rest, "\x01\x01")
	if !ok || !isUser || !hasToken {
		return bad("", "Malformed answer")
	}
	return c.bearer(ctx, x, as, token)
}

// bearerOf finds the token among key=value pairs.
func bearerOf(pairs, end string) (string, bool) {
	if !strings.HasSuffix(pairs, end) {
		return "", false
	}
	for _, pair := range strings.Split(strings.TrimSuffix(pairs, end), "\x01") {
		value, ok := strings.CutPrefix(pair, "auth=")
		if !ok {
			continue
		}
		if scheme, token, ok := strings.Cut(value, " "); ok && strings.EqualFold(scheme, "Bearer") {
			return strings.TrimSpace(token), true
		}
	}
	return "", false
}

// bearer signs in with a token. A refusal is told as JSON in a challenge, to which
// the client answers with anything (RFC 7628 section 3.2.3).
func (c *conn) bearer(ctx context.Context, x *exchange, as, token string) error {
	who, err := c.server.bearers().Bearer(ctx, token, directory.ScopeMail)
	if err == nil && as != "" && !strings.EqualFold(as, who.Address) {
		err = fault.New(fault.Unauthenticated, "The token is another account's")
	}
	if err == nil {
		return c.enter(ctx, who)
	}
	status := map[string]string{"status": "invalid_token", "scope": directory.ScopeMail}
	switch fault.Of(err) {
	case fault.Denied:
		status["status"] = "insufficient_scope"
	case fault.Unauthenticated:
	default:
		return err
	}
	raw, _ := json.Marshal(status) // two texts
	c.e.Raw("+ " + base64.StdEncoding.EncodeToString(raw))
	c.e.CRLF()
	if err := c.e.Flush(); err != nil {
		return &fatalError{err}
	}
	if _, err := c.d.RawLine(); err != nil {
		return &fatalError{err}
	}
	c.failed(ctx, fault.New(fault.Unauthenticated, "token"))
	return no("AUTHENTICATIONFAILED", "The token is not good here")
}
