package ldap

import "waypost/services/ldap/ber"

// abandon cuts off an operation, which then gives no response (RFC 4511 §4.11).
// A write goes on, and what is no operation under way is ignored.
func (c *conn) abandon(body string) {
	id, ok := ber.ParseInt(body)
	if !ok {
		return
	}
	c.cancelOps(errAbandoned, func(o *op) bool { return int64(o.id) == id && !o.kind.write })
}
