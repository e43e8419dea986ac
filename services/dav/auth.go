package dav

import (
	"context"
	"fmt"
	"net/http"
	"unicode/utf8"

	"waypost/directory"
	"waypost/internal/fault"
)

// signIn checks the credentials that come with every request (RFC 7617).
// Without them the client is asked.
func (s *Server) signIn(ctx context.Context, r *request) error {
	user, password, ok := r.http.BasicAuth()
	if !ok {
		return fault.New(fault.Unauthenticated, "sign in")
	}
	who, err := s.auth.SignIn(ctx, directory.Credentials{
		Login: credential(user), Password: credential(password), From: s.opt.ClientAddr(r.http), Door: "dav",
	})
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	r.who = who
	if who.Mailbox == 0 {
		return fault.New(fault.Denied, "this account has no mailbox")
	}
	return nil
}

// credential reads a user name or password: UTF-8 as asked for (RFC 7617 section
// 2.1), else ISO 8859-1.
func credential(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	latin := make([]rune, 0, len(s))
	for _, b := range []byte(s) {
		latin = append(latin, rune(b))
	}
	return string(latin)
}

// challenge asks for credentials.
func (s *Server) challenge(h http.Header) {
	h.Set("WWW-Authenticate", fmt.Sprintf(`Basic realm=%q, charset="UTF-8"`, s.opt.Realm))
}
