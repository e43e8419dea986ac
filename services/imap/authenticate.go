package imap

import (
	"context"
	"encoding/base64"
	"strings"
)

// mechanisms are the SASL mechanisms, each a row: renderCapabilities announces
// them as AUTH=.
var mechanisms = map[string]func(*conn, context.Context, *exchange) error{
	"PLAIN": (*conn).saslPlain,
	"LOGIN": (*conn).saslLogin,
}

// tokenMechanisms are those for access tokens, where such are accepted.
var tokenMechanisms = map[string]func(*conn, context.Context, *exchange) error{
	"OAUTHBEARER": (*conn).saslOAuthBearer,
	"XOAUTH2":     (*conn).saslXOAuth2,
}

// exchange is the client's side of a SASL exchange.
type exchange struct {
	c       *conn
	initial []byte
	has     bool // initial is set
}

// authenticate answers AUTHENTICATE (RFC 9051 section 6.2.2) with an optional
// initial response (RFC 4959).
func (c *conn) authenticate(ctx context.Context) error {
	d := c.d
	d.SP()
	name := d.Word()
	x := &exchange{c: c}
	if d.TrySP() {
		x.has = true
		if word := d.RestOfLine(); word != "=" { // "=": empty
			var err error
			if x.initial, err = base64.StdEncoding.DecodeString(word); err != nil {
				return bad("", "Initial response is not base64")
			}
		}
	}
	if err := d.End(); err != nil {
		return err
	}
	run, ok := mechanisms[name]
	if !ok && c.server.bearers() != nil {
		run, ok = tokenMechanisms[name]
	}
	if !ok {
		return no("CANNOT", "No such mechanism")
	}
	if !c.maySignIn() {
		return no("PRIVACYREQUIRED", "Start TLS first")
	}
	return run(c, ctx, x)
}

// ask sends a challenge and reads the answer.
func (x *exchange) ask(challenge string) ([]byte, error) {
	if x.has {
		x.has = false
		return x.initial, nil
	}
	x.c.e.Raw("+ ")
	x.c.e.Raw(base64.StdEncoding.EncodeToString([]byte(challenge)))
	x.c.e.CRLF()
	if err := x.c.e.Flush(); err != nil {
		return nil, &fatalError{err}
	}
	line, err := x.c.d.RawLine()
	if err != nil {
		return nil, &fatalError{err}
	}
	if string(line) == "*" {
		return nil, bad("", "Cancelled")
	}
	b, err := base64.StdEncoding.AppendDecode(nil, line)
	if err != nil {
		return nil, bad("", "Answer is not base64")
	}
	return b, nil
}

// saslPlain is RFC 4616.
func (c *conn) saslPlain(ctx context.Context, x *exchange) error {
	b, err := x.ask("")
	if err != nil {
		return err
	}
	f := strings.Split(string(b), "\x00")
	if len(f) != 3 || f[1] == "" {
		return bad("", "Malformed answer")
	}
	if f[0] != "" && !strings.EqualFold(f[0], f[1]) {
		return no("AUTHORIZATIONFAILED", "Acting as another account is not possible")
	}
	return c.signIn(ctx, f[1], f[2])
}

// saslLogin is the mechanism LOGIN of draft-murchison-sasl-login, which old
// clients of Exchange know.
func (c *conn) saslLogin(ctx context.Context, x *exchange) error {
	user, err := x.ask("User Name\x00")
	if err != nil {
		return err
	}
	password, err := x.ask("Password\x00")
	if err != nil {
		return err
	}
	return c.signIn(ctx, string(user), string(password))
}
