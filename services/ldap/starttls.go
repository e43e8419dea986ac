package ldap

import "errors"

// startTLS begins TLS (RFC 4511 §4.14, RFC 4513 §3.1.1). Who has signed in
// stays so: only a bind changes that (RFC 4513 §4).
func (o *op) startTLS() error {
	c := o.c
	if o.hasValue {
		return refuse(codeProtocolError, "StartTLS has no value")
	}
	if c.tls != nil {
		return refuse(codeOperationsError, "TLS is active already")
	}
	if c.server.cfg.TLS == nil {
		return refuse(codeUnavailable, "TLS is not available")
	}
	c.mu.Lock()
	others := len(c.ops) - 1
	c.mu.Unlock()
	if others > 0 {
		return refuse(codeOperationsError, "other operations are under way")
	}
	if c.w > c.r {
		// Anybody could have put it there: it must not be taken for what came
		// under TLS (RFC 4513 §3.1.1 forbids the client to send it).
		c.end(codeProtocolError, "clear text behind StartTLS", true)
		return refuse(codeOperationsError, "requests must wait for TLS")
	}
	c.running.Wait() // what has sent its result may not have ended yet
	o.extra = extensionName(oidStartTLS)
	o.conclude(nil)
	if c.ending() {
		return errAnswered
	}
	if err := c.handshake(o.ctx); err != nil {
		c.end(0, "", false) // nothing more can be said
		return errors.Join(errAnswered, err)
	}
	c.r, c.w = 0, 0
	return errAnswered
}
