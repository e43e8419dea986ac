package smtp

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/directory"
	"waypost/internal/fault"
)

// Bearers accept access tokens. The Authenticator may be one; then OAUTHBEARER and
// XOAUTH2 are announced.
type Bearers interface {
	Bearer(ctx context.Context, token string, scopes ...string) (directory.Principal, error)
}

func (s *Server) bearers() Bearers {
	b, _ := s.auth.(Bearers)
	return b
}

const xoauth2 = "XOAUTH2"

// bearerServer is OAUTHBEARER (RFC 7628), or XOAUTH2, its older form.
type bearerServer struct {
	session *session
	old     bool
	asked   bool
	failed  error // was told as JSON; the client's answer to it ends the exchange
}

// Next implements sasl.Server.
func (b *bearerServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case b.failed != nil:
		return nil, false, b.failed
	case response == nil && !b.asked:
		b.asked = true
		return []byte{}, false, nil
	}
	as, token, ok := b.read(string(response))
	if !ok {
		return nil, false, gosmtp.ErrAuthFailed
	}
	s := b.session
	begun := time.Now()
	who, err := s.srv.bearers().Bearer(s.conn.Context(), token, directory.ScopeMail)
	if err == nil && as != "" && !strings.EqualFold(as, who.Address) {
		err = fault.New(fault.Unauthenticated, "the token is another account's")
	}
	log := s.srv.o.Log.With("proto", s.door.proto, "cmd", "AUTH", "user", who.Address, "remote", s.conn.Addr(), "dur", time.Since(begun))
	if err == nil {
		log.Info("sign-in", "result", "ok")
		s.enter(who)
		return nil, true, nil
	}
	log.Info("sign-in", "result", "refused", "fault", fault.Of(err), "err", err)
	status := map[string]string{"status": "invalid_token", "schemes": "bearer", "scope": directory.ScopeMail}
	switch fault.Of(err) {
	case fault.Denied:
		status["status"] = "insufficient_scope"
	case fault.Unauthenticated:
	default:
		return nil, false, authReply(err)
	}
	b.failed = gosmtp.ErrAuthFailed
	raw, _ := json.Marshal(status) // texts
	return raw, false, nil
}

// read takes the client's response apart.
func (b *bearerServer) read(response string) (as, token string, ok bool) {
	header, rest, ok := strings.Cut(response, "\x01")
	pairs, whole := strings.CutSuffix(rest, "\x01\x01")
	if !ok || !whole {
		return "", "", false
	}
	if b.old {
		as, ok = strings.CutPrefix(header, "user=")
	} else if ok = strings.HasPrefix(header, "n,"); ok { // no channel binding (section 3.1)
		if who, named := strings.CutPrefix(strings.TrimSuffix(header[2:], ","), "a="); named {
			as = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(who)
		}
	}
	if !ok {
		return "", "", false
	}
	for _, pair := range strings.Split(pairs, "\x01") {
		value, isAuth := strings.CutPrefix(pair, "auth=")
		if scheme, t, both := strings.Cut(value, " "); isAuth && both && strings.EqualFold(scheme, "Bearer") {
			return as, strings.TrimSpace(t), true
		}
	}
	return "", "", false
}
