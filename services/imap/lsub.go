package imap

import (
	"context"
	"strings"
)

// lsub answers LSUB (RFC 3501 section 6.3.9): the subscribed mailboxes, and with
// "%" those above a subscribed one as \Noselect.
func (c *conn) lsub(ctx context.Context) error {
	d := c.d
	d.SP()
	reference := d.ListMailbox()
	d.SP()
	pattern := d.ListMailbox()
	if err := d.End(); err != nil {
		return err
	}
	t, err := c.tree(ctx)
	if err != nil {
		return err
	}
	pattern = canonical(reference + pattern)
	for i := range t.nodes {
		n := &t.nodes[i]
		if !matches(pattern, n.path) {
			continue
		}
		if n.Subscribed {
			c.tellList("LSUB", n, &listRequest{}, false)
			continue
		}
		if strings.HasSuffix(pattern, "%") && t.subscribedBelow(n) {
			c.untagged("LSUB (\\Noselect) \"" + delimiter + "\" ")
			c.e.Mailbox(n.path)
			c.e.CRLF()
		}
	}
	return nil
}

func (t *tree) subscribedBelow(n *node) bool {
	for i := range t.nodes {
		if t.nodes[i].Subscribed && strings.HasPrefix(t.nodes[i].path, n.path+delimiter) {
			return true
		}
	}
	return false
}
