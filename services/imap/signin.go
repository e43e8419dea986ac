package imap

import (
	"context"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
)

// maxFailures is how many wrong passwords end a connection.
const maxFailures = 5

// signIn checks a name and password and makes the connection theirs.
func (c *conn) signIn(ctx context.Context, login, password string) error {
	if !c.maySignIn() {
		return no("PRIVACYREQUIRED", "Start TLS first")
	}
	who, err := c.server.accounts.SignIn(ctx, directory.Credentials{
		Login: login, Password: password, From: c.from, Door: "imap",
	})
	if err != nil {
		c.failed(ctx, err)
		return err
	}
	return c.enter(ctx, who)
}

// enter makes the connection that of who, who has shown who he is. It is the one
// way from not authenticated to authenticated.
func (c *conn) enter(ctx context.Context, who directory.Principal) (err error) {
	if who.Mailbox == 0 {
		err = fault.New(fault.Denied, "This account has no mailbox")
	}
	if err == nil {
		_, err = c.server.mail.Mailbox(ctx, who, who.Mailbox)
	}
	if err != nil {
		c.failed(ctx, err)
		return err
	}
	c.who, c.box = who, who.Mailbox
	c.state = authenticated
	if c.guest {
		c.guest = false
		c.server.known(c.from)
	}
	live, cancel := c.server.accounts.Context(c.stop, who)
	forget := context.AfterFunc(live, func() {
		if c.stop.Err() == nil {
			c.cancel() // not by our own stop: what runs is no longer allowed
		}
	})
	c.unwatch = func() { forget(); cancel() }
	c.okCode = "CAPABILITY " + c.capabilities()
	c.okText = "Signed in"
	return nil
}

// epochEnded tells whether the account's change, and not the server's end, ends
// the connection.
func (c *conn) epochEnded() bool { return c.stop.Err() == nil && c.work.Err() != nil }

// failed makes a guesser wait: longer after each failure, and not at all after
// the last.
func (c *conn) failed(ctx context.Context, err error) {
	if k := fault.Of(err); k != fault.Unauthenticated && k != fault.Limit {
		return
	}
	c.failures++
	if c.failures >= maxFailures {
		c.bye = "Too many failures"
		return
	}
	t := time.NewTimer(c.server.cfg.FailureDelay * time.Duration(c.failures))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-c.stop.Done():
	}
}
