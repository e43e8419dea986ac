package imap

import (
	"context"
	"slices"

	"waypost/internal/fault"
	"waypost/store"
)

// wordHint is what the index of words says about a leaf: which messages may match.
// What it does not name, and what is not newer than it, need not be read.
type wordHint struct {
	query store.WordQuery
	found store.WithWords
	asked bool
}

func (h *wordHint) excludes(item store.ItemID) bool {
	if !h.asked || item > h.found.Upto {
		return false
	}
	_, ok := slices.BinarySearch(h.found.Items, item)
	return !ok
}

// hinted makes a leaf that reads the message, unless the index of words knows that
// it does not match.
func hinted(text string, fields store.WordField, test func(*searched, *fetched) (bool, error)) searchKey {
	h := &wordHint{query: store.WordQuery{Text: text, Fields: fields, Loose: true}}
	read := onContent(test)
	return searchKey{level: read.level, words: h, test: func(s *searched) verdict {
		if h.excludes(s.row.item) {
			return nope
		}
		return read.test(s)
	}}
}

// askWords asks the index of words about all leaves that it can help with.
func (c *conn) askWords(ctx context.Context, key *searchKey) error {
	for i := range key.kids {
		if err := c.askWords(ctx, &key.kids[i]); err != nil {
			return err
		}
	}
	h := key.words
	if h == nil || h.asked {
		return nil
	}
	found, err := c.server.mail.WithWords(ctx, c.who, c.box, h.query)
	switch {
	case fault.Of(err) == fault.Limit && err != nil:
		return nil // all messages are looked at, as without an index
	case err != nil:
		return err
	}
	h.found, h.asked = found, !found.All
	return nil
}
