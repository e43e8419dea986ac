package imap

import (
	"context"
	"slices"
	"strconv"

	"github.com/emersion/go-imap/v2"

	"waypost/store"
)

// itemsPage is how many items one call to the store changes. Calls end between
// pages when the connection does.
const itemsPage = 1000

// expunge answers EXPUNGE (RFC 9051 section 6.4.3).
func (c *conn) expunge(ctx context.Context) error {
	if err := c.d.End(); err != nil {
		return err
	}
	return c.expungeSpans(ctx, []span{{0, c.view.exists}})
}

// uidExpunge answers UID EXPUNGE (RFC 9051 section 6.4.9, RFC 4315 section 2.1).
func (c *conn) uidExpunge(ctx context.Context) error {
	c.d.SP()
	set := c.d.NumSet(true)
	if err := c.d.End(); err != nil {
		return err
	}
	spans, err := c.view.spans(set, c.saved)
	if err != nil {
		return err
	}
	return c.expungeSpans(ctx, spans)
}

func (c *conn) expungeSpans(ctx context.Context, spans []span) error {
	if c.view.readOnly {
		return errReadOnly
	}
	seq, err := c.removeMarked(ctx, spans)
	if err != nil {
		return err
	}
	if c.condstore && seq > 0 {
		c.okCode = "HIGHESTMODSEQ " + strconv.FormatInt(int64(seq), 10) // RFC 7162 section 3.2.10
	}
	return nil
}

var errReadOnly = no("", "The mailbox is selected read-only")

// removeMarked deletes the messages of the view that are marked deleted and lie
// in spans (nil: all). The view learns of it as of any change: from the store.
func (c *conn) removeMarked(ctx context.Context, spans []span) (store.Seq, error) {
	v := c.view
	if spans == nil {
		spans = []span{{0, v.exists}}
	}
	var items []store.ItemID
	for _, s := range spans {
		for i := s.lo; i < s.hi; i++ {
			if r := &v.rows[i]; r.system()&store.Deleted != 0 && !r.isGone() {
				items = append(items, r.item)
			}
		}
	}
	last := store.Seq(0)
	for page := range slices.Chunk(items, itemsPage) {
		seq, _, err := c.server.mail.Delete(ctx, c.who, c.box, v.folder.ID, page, true)
		if err != nil {
			return last, err
		}
		last = max(last, seq)
	}
	return last, nil
}

// savedResult is what "$" stands for (RFC 9051 section 6.4.4.1).
type savedResult struct {
	uids imap.UIDSet
}
