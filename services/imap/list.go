package imap

import (
	"context"
	"strings"

	"github.com/emersion/go-imap/v2"

	"waypost/store"
)

// listRequest is a LIST command (RFC 9051 section 6.3.9, RFC 5258).
type listRequest struct {
	reference string
	patterns  []string

	selectSubscribed, selectSpecialUse, recursive bool
	returnSubscribed, returnChildren              bool
	status                                        statusItems
	extended                                      bool
}

// list answers LIST.
func (c *conn) list(ctx context.Context) error {
	d := c.d
	var q listRequest
	d.SP()
	if d.Peek() == '(' {
		q.extended = true
		d.List(func() { c.listSelection(&q) })
		d.SP()
	}
	q.reference = d.ListMailbox()
	d.SP()
	if d.Peek() == '(' {
		q.extended = true
		d.List(func() { q.patterns = append(q.patterns, d.ListMailbox()) })
	} else {
		q.patterns = []string{d.ListMailbox()}
	}
	if d.TrySP() {
		q.extended = true
		if d.Word() != "RETURN" {
			d.Fail("expected RETURN")
		}
		d.SP()
		d.List(func() { c.listReturn(&q) })
	}
	if err := d.End(); err != nil {
		return err
	}
	if q.recursive && !q.selectSubscribed {
		return bad("", "RECURSIVEMATCH needs another selection") // RFC 5258 section 3
	}
	if len(q.patterns) > 50 {
		return no("LIMIT", "Too many patterns")
	}
	if !q.extended && q.patterns[0] == "" {
		// RFC 9051 section 6.3.9: a question for the delimiter only
		c.untagged("LIST (\\Noselect) \"" + delimiter + "\" \"\"\r\n")
		return nil
	}
	t, err := c.tree(ctx)
	if err != nil {
		return err
	}
	c.listTree(t, &q)
	return nil
}

func (c *conn) listSelection(q *listRequest) {
	switch c.d.Word() {
	case "SUBSCRIBED":
		q.selectSubscribed, q.returnSubscribed = true, true
	case "REMOTE": // there are none
	case "RECURSIVEMATCH":
		q.recursive = true
	case "SPECIAL-USE": // RFC 6154
		q.selectSpecialUse = true
	default:
		c.d.Fail("unknown selection option of LIST")
	}
}

func (c *conn) listReturn(q *listRequest) {
	switch c.d.Word() {
	case "SUBSCRIBED":
		q.returnSubscribed = true
	case "CHILDREN":
		q.returnChildren = true
	case "SPECIAL-USE": // always returned
	case "STATUS": // RFC 5819
		c.d.SP()
		q.status = c.readStatusItems()
	default:
		c.d.Fail("unknown return option of LIST")
	}
}

func (c *conn) listTree(t *tree, q *listRequest) {
	patterns := make([]string, len(q.patterns))
	for i, p := range q.patterns {
		patterns[i] = canonical(q.reference + p)
	}
	below := map[store.FolderID]bool{} // something selected is below
	selected := func(n *node) bool {
		return (!q.selectSubscribed || n.Subscribed) &&
			(!q.selectSpecialUse || specialUse[n.Role] != "")
	}
	if q.recursive {
		for i := len(t.nodes) - 1; i >= 0; i-- { // children before parents
			if n := &t.nodes[i]; selected(n) || below[n.ID] {
				below[n.Parent] = true
			}
		}
	}
	for i := range t.nodes {
		n := &t.nodes[i]
		match := false
		for _, p := range patterns {
			match = match || matches(p, n.path)
		}
		if !match || !selected(n) && !(q.recursive && below[n.ID]) {
			continue
		}
		c.tellList("LIST", n, q, q.recursive && below[n.ID])
		if q.status != 0 {
			if q.status&statusHighest != 0 {
				c.condstore = true
			}
			c.tellStatus(n, q.status)
		}
	}
}

// tellList writes one LIST or LSUB response.
func (c *conn) tellList(name string, n *node, q *listRequest, childInfo bool) {
	e := c.e
	attrs := make([]imap.Flag, 0, 4)
	if q.returnSubscribed && n.Subscribed {
		attrs = append(attrs, imap.Flag(imap.MailboxAttrSubscribed))
	}
	if n.children {
		attrs = append(attrs, imap.Flag(imap.MailboxAttrHasChildren))
	} else {
		attrs = append(attrs, imap.Flag(imap.MailboxAttrHasNoChildren))
	}
	if use, ok := specialUse[n.Role]; ok {
		attrs = append(attrs, imap.Flag(use))
	}
	c.untagged(name + " ")
	e.Flags(attrs)
	e.Raw(" \"" + delimiter + "\" ")
	e.Mailbox(n.path)
	if childInfo {
		e.Raw(" (\"CHILDINFO\" (\"SUBSCRIBED\"))") // RFC 5258 section 3.5
	}
	e.CRLF()
}

// matches tells whether a path fits a pattern (RFC 9051 section 6.3.9): "*" is
// anything, "%" anything without the delimiter. INBOX was folded in both before.
func matches(pattern, path string) bool {
	if len(path) == 5 && path == "INBOX" && len(pattern) > 0 && pattern[0] != '*' && pattern[0] != '%' {
		pattern = strings.ToUpper(pattern)
	}
	// The classic walk with one resumption point, which bounds the time to
	// pattern times path; a "%" may not cross a delimiter, so a "*" keeps its own.
	p, s := 0, 0
	star, starAt := -1, 0
	pct, pctAt := -1, 0
	for s < len(path) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, starAt, pct = p, s, -1
			p++
			continue
		case p < len(pattern) && pattern[p] == '%':
			pct, pctAt = p, s
			p++
			continue
		case p < len(pattern) && pattern[p] == path[s]:
			p++
			s++
			continue
		}
		if pct >= 0 && path[pctAt] != delimiter[0] {
			pctAt++
			p, s = pct+1, pctAt
			continue
		}
		if star >= 0 {
			starAt++
			p, s, pct = star+1, starAt, -1
			continue
		}
		return false
	}
	for p < len(pattern) && (pattern[p] == '*' || pattern[p] == '%') {
		p++
	}
	return p == len(pattern)
}
