package eas

import (
	"context"
	"fmt"
	"net/http"

	"waypost/directory"
	"waypost/internal/httpdoor"
)

// signIn checks the credentials that come with every request (MS-ASHTTP
// 2.2.1.1.2.2). Without them, and with wrong ones, the phone is asked again.
func (s *Server) signIn(ctx context.Context, r *request) error {
	r.from = s.opt.ClientAddr(r.http)
	user, password, ok := httpdoor.Basic(r.http)
	if !ok {
		return httpError{http.StatusUnauthorized}
	}
	who, err := s.auth.SignIn(ctx, directory.Credentials{
		Login: user, Password: password, From: r.from, Door: "eas",
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
