package eas

import (
	"context"
	"fmt"
	"net/http"
	"unicode/utf8"

	"waypost/directory"
)

// signIn checks the credentials that come with every request (MS-ASHTTP
// 2.2.1.1.2.2). Without them, and with wrong ones, the phone is asked again.
func (s *Server) signIn(ctx context.Context, r *request) error {
	r.from = s.opt.ClientAddr(r.http)
	user, password, ok := r.http.BasicAuth()
	if !ok {
		return httpError{http.StatusUnauthorized}
	}
	who, err := s.auth.SignIn(ctx, directory.Credentials{
		Login: credential(user), Password: credential(password), From: r.from, Door: "eas",
	})
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	r.who = who
	if r.who.Mailbox == 0 {
		return status(StatusUserHasNoMailbox)
	}
	return nil
}

// credential reads a user name or password, whose charset nobody declares:
// phones send UTF-8, desktop Outlook ISO 8859-1.
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
