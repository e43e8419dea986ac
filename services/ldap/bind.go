package ldap

import (
	"context"
	"errors"
	"strings"
	"time"

	"waypost/directory"
	"waypost/directory/tree"
	"waypost/internal/fault"
	"waypost/services/ldap/ber"
)

// bind signs in or out (RFC 4511 §4.2). Whatever comes of it, what was under
// way has ended and nobody is signed in until it succeeds.
func (o *op) bind() error {
	c := o.c
	c.settle(o)
	c.signOut()
	o.who = c.who
	d := ber.NewDecoder(o.body)
	version, name := d.Int(), d.Octets()
	method, credentials := d.Any()
	if err := d.Err(); err != nil {
		return err
	}
	if version != 3 {
		return refuse(codeProtocolError, "only version 3 is spoken here")
	}
	switch method {
	case ber.Context(0):
		return o.bindSimple(name, credentials)
	case ber.ContextOf(3):
		return o.bindSASL(credentials)
	}
	return refuse(codeAuthMethod, "simple and SASL are the methods here")
}

// bindSimple is RFC 4513 §5.1.
func (o *op) bindSimple(name, password string) error {
	switch {
	case name == "" && password == "":
		return nil // §5.1.1: anonymous
	case password == "":
		// §5.1.2: a program that forgot to ask for the password would let
		// anyone in.
		return refuse(codeUnwilling, "a name needs a password")
	case name == "":
		return badCredentials
	}
	return o.signIn(o.c.login(name), password)
}

// login is what an account's name at a bind signs in with: a DN is that of an
// entry, everything else (address, UPN, DOMAIN\account) goes on as it is. So
// does a DN that nobody has, which then costs what a wrong password costs.
func (c *conn) login(name string) string {
	if !strings.ContainsAny(name, "=") {
		return name
	}
	dn, err := tree.ParseDN(name)
	if err != nil || len(dn) == 0 {
		return name
	}
	if login, ok := c.server.tree.Who(dn); ok {
		return login
	}
	return name
}

// Failures of a bind as Active Directory words them (directory-schema §17): 52e
// is told for everything that a right password was not shown for, 775 when the
// name or the client is slowed down, whether anybody has the name or not.
var (
	badCredentials = &refusal{codeInvalidCredentials, acceptError("52e")}
	slowedDown     = &refusal{codeInvalidCredentials, acceptError("775")}
)

// problemData are the codes for who showed the right password; a test keeps
// them total. AD has none for a second factor: "logon type not granted".
var problemData = map[directory.Problem]string{
	directory.AccountDisabled:   "533",
	directory.AccountExpired:    "701",
	directory.AppPasswordNeeded: "569",
	directory.FactorNeeded:      "569",
	directory.FactorWrong:       "569",
	directory.MustChange:        "773",
	directory.PasswordExpired:   "532",
}

func acceptError(data string) string {
	return "80090308: LdapErr: DSID-0C090447, comment: AcceptSecurityContext error, data " + data + ", v1db1"
}

// bindError is what a bind says about a failed sign-in.
func (o *op) bindError(err error) error {
	o.tellPolicy(err)
	var problem *directory.SignInProblem
	switch k := fault.Of(err); {
	case errors.As(err, &problem):
		return refuse(codeInvalidCredentials, "%s: %s", acceptError(problemData[problem.Why]), problem.Error())
	case k == fault.Unauthenticated || k == fault.Denied || k == fault.NotFound || k == fault.Invalid:
		return badCredentials
	case k == fault.Limit:
		return slowedDown
	}
	return err
}

var errPlainBind = refuse(codeConfidentiality, "start TLS first: a password is not sent in clear text over a network")

// signIn checks a name and password and makes the connection theirs.
func (o *op) signIn(login, password string) error {
	c := o.c
	if !c.private() {
		return errPlainBind
	}
	who, err := c.server.accounts.SignIn(o.ctx, directory.Credentials{
		Login: login, Password: password, From: c.from, Door: "ldap",
	})
	if err != nil {
		c.failed(o.ctx, err)
		return o.bindError(err)
	}
	c.welcome(who)
	return nil
}

// welcome makes the connection who's. It is the one way to be signed in.
func (c *conn) welcome(who directory.Principal) {
	c.who = who
	c.failures = 0
	live, cancel := c.server.accounts.Context(c.work, who)
	forget := context.AfterFunc(live, func() {
		if c.work.Err() != nil {
			return // the server's end, not the account's
		}
		why, text := codeStrongerAuth, "the account has changed, sign in again"
		if fault.Of(context.Cause(live)) == fault.Unavailable {
			why, text = codeUnavailable, "the directory cannot be reached"
		}
		// A write under way finishes: it may be what changed the account.
		c.end(why, text, true)
		c.cancelOps(errAbandoned, func(o *op) bool { return !o.kind.write })
	})
	c.unwatch = func() { forget(); cancel() }
}

func (c *conn) signOut() {
	if c.unwatch != nil {
		c.unwatch()
		c.unwatch = nil
	}
	c.who = directory.Principal{}
}

const (
	// maxFailures is how many wrong passwords in a row end a connection.
	maxFailures = 10
	// maxDelay bounds the wait after one of them, in FailureDelays.
	maxDelay = 5
)

// failed makes a guesser wait, longer after each failure in a row.
func (c *conn) failed(ctx context.Context, err error) {
	var problem *directory.SignInProblem
	if k := fault.Of(err); k != fault.Unauthenticated && k != fault.Limit || errors.As(err, &problem) {
		return // not a guess
	}
	if c.failures++; c.failures >= maxFailures {
		c.end(codeStrongerAuth, "too many failures", true)
		return
	}
	t := time.NewTimer(c.server.cfg.FailureDelay * time.Duration(min(c.failures, maxDelay)))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
