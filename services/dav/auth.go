package dav

import (
	"context"
	"fmt"
	"net/http"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/httpdoor"
)

// Bearers accept access tokens (RFC 6750). The Authenticator may be one.
type Bearers interface {
	Bearer(ctx context.Context, token string, scopes ...string) (directory.Principal, error)
}

func (s *Server) bearers() Bearers {
	b, _ := s.auth.(Bearers)
	return b
}

// signIn checks the credentials that come with every request (RFC 7617, RFC 6750).
// Without them the client is asked.
func (s *Server) signIn(ctx context.Context, r *request) error {
	if token, ok := httpdoor.Bearer(r.http); ok && s.bearers() != nil {
		// What the token was granted for is looked at where a collection is opened:
		// a program may have calendars and no contacts.
		who, err := s.bearers().Bearer(ctx, token, directory.ScopeCalendar, directory.ScopeContacts)
		if err != nil {
			return fmt.Errorf("bearer: %w", err)
		}
		r.who = who
		return s.hasMailbox(r)
	}
	user, password, ok := httpdoor.Basic(r.http)
	if !ok {
		return fault.New(fault.Unauthenticated, "sign in")
	}
	who, err := s.auth.SignIn(ctx, directory.Credentials{
		Login: user, Password: password, From: s.opt.ClientAddr(r.http), Door: "dav",
	})
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	r.who = who
	return s.hasMailbox(r)
}

func (s *Server) hasMailbox(r *request) error {
	if r.who.Mailbox == 0 {
		return fault.New(fault.Denied, "this account has no mailbox")
	}
	return nil
}

// challenge asks for credentials.
func (s *Server) challenge(h http.Header) {
	h.Set("WWW-Authenticate", fmt.Sprintf(`Basic realm=%q, charset="UTF-8"`, s.opt.Realm))
	if s.bearers() != nil {
		h.Add("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q`, s.opt.Realm))
	}
}
