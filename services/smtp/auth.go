package smtp

import (
	"context"
	"errors"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/smtpguard"
)

// AuthMechanisms lists what may be used now; the library announces them.
func (s *session) AuthMechanisms() []string {
	if !s.mayAuth() {
		return nil
	}
	if s.srv.bearers() == nil {
		return []string{sasl.Plain, sasl.Login}
	}
	return []string{sasl.Plain, sasl.Login, sasl.OAuthBearer, xoauth2}
}

func (s *session) mayAuth() bool {
	return s.door.signIn && s.srv.auth != nil &&
		(s.conn.TLS() != nil || s.srv.o.LoopbackClear && s.conn.Addr().IsLoopback())
}

// Auth begins a sign-in (RFC 4954).
func (s *session) Auth(mech string) (sasl.Server, error) {
	switch {
	case !s.door.signIn || s.srv.auth == nil:
		return nil, smtpguard.Errorf(502, [3]int{5, 5, 1}, "No authentication here")
	case !s.mayAuth():
		// RFC 4954 section 6, RFC 3207 section 4.
		return nil, smtpguard.Errorf(538, [3]int{5, 7, 11}, "Encryption required for authentication")
	}
	switch mech {
	case sasl.Plain:
		return sasl.NewPlainServer(func(identity, login, password string) error {
			if identity != "" && identity != login {
				return gosmtp.ErrAuthFailed // nobody acts for somebody else
			}
			return s.signIn(login, password)
		}), nil
	case sasl.Login:
		return &loginServer{check: s.signIn}, nil
	case sasl.OAuthBearer, xoauth2:
		if s.srv.bearers() != nil {
			return &bearerServer{session: s, old: mech == xoauth2}, nil
		}
	}
	return nil, smtpguard.Errorf(504, [3]int{5, 5, 4}, "Mechanism not supported")
}

// signIn checks credentials and keeps who they belong to.
func (s *session) signIn(login, password string) error {
	begun := time.Now()
	who, err := s.srv.auth.SignIn(s.conn.Context(), directory.Credentials{
		Login: login, Password: password, From: s.conn.Addr(), Door: "submission",
	})
	log := s.srv.o.Log.With("proto", s.door.proto, "cmd", "AUTH", "user", login, "remote", s.conn.Addr(), "dur", time.Since(begun))
	if err != nil {
		log.Info("sign-in", "result", "refused", "fault", fault.Of(err), "err", err)
		return authReply(err)
	}
	log.Info("sign-in", "result", "ok")
	s.enter(who)
	return nil
}

// enter makes the session that of who, until what he showed is void.
func (s *session) enter(who directory.Principal) {
	ctx, cancel := s.srv.auth.Context(s.conn.Context(), who)
	stop := context.AfterFunc(ctx, s.conn.Expire)
	s.who, s.standby = who, func() { stop(); cancel() }
}

// authReply: only wrong credentials are 535; the library would make every other
// error a 454 with the error's own text.
func authReply(err error) error {
	var p *directory.SignInProblem
	if errors.As(err, &p) {
		code := [3]int{5, 7, 8}
		if p.Why == directory.AccountDisabled {
			code = [3]int{5, 7, 13} // RFC 5248's registry
		}
		return smtpguard.Errorf(535, code, "Sign-in refused: "+p.Error())
	}
	switch fault.Of(err) {
	case fault.Unauthenticated, fault.Denied, fault.NotFound, fault.Invalid:
		return gosmtp.ErrAuthFailed
	case fault.Limit:
		return smtpguard.Errorf(454, [3]int{4, 7, 0}, "Too many attempts, try again later")
	default:
		return smtpguard.Errorf(454, [3]int{4, 7, 0}, "Temporary authentication failure")
	}
}

// loginServer is the LOGIN mechanism, which old clients use
// (draft-murchison-sasl-login).
type loginServer struct {
	check func(login, password string) error
	login *string
	asked bool
}

var errTooMany = errors.New("unexpected response")

// Next takes a response and gives the next challenge.
func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case l.login == nil && response == nil && !l.asked:
		l.asked = true
		return []byte("Username:"), false, nil
	case l.login == nil:
		login := string(response)
		l.login = &login
		return []byte("Password:"), false, nil
	case l.check == nil:
		return nil, false, errTooMany
	}
	check := l.check
	l.check = nil
	if err := check(*l.login, string(response)); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}
