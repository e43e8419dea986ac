package imap

import (
	"context"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"

	"waypost/store"
)

// searchRequest is a SEARCH command (RFC 9051 section 6.4.4, RFC 4731).
type searchRequest struct {
	uid     bool
	esearch bool // an ESEARCH response is wanted
	imap.SearchOptions
	key    searchKey
	modSeq bool // the key MODSEQ occurs (RFC 7162 section 3.1.5)
}

// search answers SEARCH.
func (c *conn) search(ctx context.Context) error { return c.searchMessages(ctx, false) }

// uidSearch answers UID SEARCH.
func (c *conn) uidSearch(ctx context.Context) error { return c.searchMessages(ctx, true) }

func (c *conn) searchMessages(ctx context.Context, uid bool) (err error) {
	q := &searchRequest{uid: uid, esearch: c.rev2} // RFC 9051: always ESEARCH
	defer func() {
		// RFC 5182 section 2.1: a search that fails with NO saves the empty set.
		if q.ReturnSave && err != nil && replyFor(err).status == "NO" {
			c.saved = savedResult{}
		}
	}()
	if err := c.readSearch(q); err != nil {
		return err
	}
	list, err := c.runSearch(ctx, &q.key)
	if err != nil {
		return err
	}
	if q.ReturnSave {
		c.saveResult(q, list)
	}
	if q.modSeq {
		c.condstore = true
	}
	if q.esearch {
		c.tellESearch(q, list)
	} else {
		c.tellSearch(q, list)
	}
	return nil
}

// readSearch reads the command's arguments.
func (c *conn) readSearch(q *searchRequest) error {
	d := c.d
	d.SP()
	p := &searchParser{c: c, d: d, q: q}
	word, isWord := p.word()
	if isWord && word == "RETURN" {
		q.esearch = true
		d.SP()
		any := false
		d.List(func() {
			any = true
			switch d.Word() {
			case "MIN":
				q.ReturnMin = true
			case "MAX":
				q.ReturnMax = true
			case "ALL":
				q.ReturnAll = true
			case "COUNT":
				q.ReturnCount = true
			case "SAVE": // RFC 5182
				q.ReturnSave = true
			default:
				d.Fail("unknown return option of SEARCH")
			}
		})
		if !any {
			q.ReturnAll = true
		}
		d.SP()
		word, isWord = p.word()
	} else if q.esearch {
		q.ReturnAll = true
	}
	if isWord && word == "CHARSET" {
		d.SP()
		if err := p.charset(d.AString()); err != nil {
			return err
		}
		d.SP()
		word, isWord = p.word()
	}
	q.key = p.and(word, isWord)
	if err := d.End(); err != nil {
		return err
	}
	return p.err
}

// tellSearch writes the response of RFC 3501 section 7.2.5.
func (c *conn) tellSearch(q *searchRequest, list []int) {
	c.untagged("SEARCH")
	for _, i := range list {
		c.e.SP()
		c.e.Number(uint64(c.number(i, q.uid)))
	}
	if q.modSeq && len(list) > 0 { // RFC 7162 section 3.1.5
		c.e.Raw(" (MODSEQ ")
		c.e.Number(uint64(c.view.newest(list)))
		c.e.Byte(')')
	}
	c.e.CRLF()
}

// tellESearch writes ESEARCH (RFC 9051 section 7.3.4).
func (c *conn) tellESearch(q *searchRequest, list []int) {
	if q.ReturnSave && !q.ReturnMin && !q.ReturnMax && !q.ReturnAll && !q.ReturnCount {
		return // RFC 5182 section 2.1: the result is wanted nowhere but in "$"
	}
	e := c.e
	c.untagged("ESEARCH (TAG ")
	e.String(c.tag)
	e.Byte(')')
	if q.uid {
		e.Raw(" UID")
	}
	var shown []int // whose mod-sequences count
	if len(list) > 0 {
		first, last := list[0], list[len(list)-1]
		if q.ReturnMin {
			e.Raw(" MIN ")
			e.Number(uint64(c.number(first, q.uid)))
			shown = append(shown, first)
		}
		if q.ReturnMax {
			e.Raw(" MAX ")
			e.Number(uint64(c.number(last, q.uid)))
			shown = append(shown, last)
		}
		if q.ReturnAll {
			e.Raw(" ALL ")
			if q.uid {
				e.UIDSet(c.view.uidSet(list))
			} else {
				e.SeqSet(c.view.seqSet(list))
			}
		}
	}
	if q.ReturnCount {
		e.Raw(" COUNT ")
		e.Number(uint64(len(list)))
	}
	if q.modSeq && len(list) > 0 { // RFC 7162 section 3.1.10
		if q.ReturnAll || q.ReturnCount {
			shown = list
		}
		e.Raw(" MODSEQ ")
		e.Number(uint64(c.view.newest(shown)))
	}
	e.CRLF()
}

func (c *conn) number(i int, uid bool) uint32 {
	if uid {
		return uint32(c.view.rows[i].uid)
	}
	return uint32(i) + 1
}

func (v *view) newest(list []int) store.Seq {
	s := store.Seq(0)
	for _, i := range list {
		s = max(s, v.rows[i].changed)
	}
	return s
}

// saveResult keeps what "$" stands for from now on (RFC 5182 section 2.4).
func (c *conn) saveResult(q *searchRequest, list []int) {
	if (q.ReturnMin || q.ReturnMax) && !q.ReturnAll && !q.ReturnCount && len(list) > 0 {
		var ends []int
		if q.ReturnMin {
			ends = append(ends, list[0])
		}
		if q.ReturnMax {
			ends = append(ends, list[len(list)-1])
		}
		list = slices.Compact(ends)
	}
	c.saved = savedResult{c.view.uidSet(list)}
}

// searchPage is how many messages the wide keys look at at once.
const searchPage = 250

// runSearch finds the rows that a key matches, in ascending order. What the
// view alone decides is decided first; only for the rest are entries, then
// summaries, then contents read, page by page.
func (c *conn) runSearch(ctx context.Context, key *searchKey) ([]int, error) {
	v := c.view
	if err := c.askWords(ctx, key); err != nil {
		return nil, err
	}
	var list, open []int
	s := searched{conn: c, ctx: ctx}
	for i := range v.rows[:v.exists] {
		if v.rows[i].isGone() {
			continue
		}
		s.at(i)
		switch key.match(&s) {
		case yes:
			list = append(list, i)
		case unknown:
			open = append(open, i)
		}
	}
	if len(open) == 0 {
		return list, nil
	}
	for page := range slices.Chunk(open, searchPage) {
		found, err := c.searchPage(ctx, key, page)
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	slices.Sort(list)
	return list, nil
}

func (c *conn) searchPage(ctx context.Context, key *searchKey, page []int) (found []int, err error) {
	v := c.view
	levels := key.levels()
	if levels&levelEntry != 0 {
		list, err := c.server.mail.EntriesOf(ctx, c.who, c.box, v.items(page))
		if err != nil {
			return nil, err
		}
		entries := make(map[store.ItemID]*store.Entry, len(list))
		for i := range list {
			entries[list[i].Item] = &list[i]
		}
		var open []int
		s := searched{conn: c, ctx: ctx}
		for _, i := range page {
			s.at(i)
			if s.entry = entries[v.rows[i].item]; s.entry == nil {
				continue // gone: found by nothing
			}
			switch key.match(&s) {
			case yes:
				found = append(found, i)
			case unknown:
				open = append(open, i)
			}
		}
		if len(open) == 0 {
			return found, nil
		}
		more, err := c.searchMessagesOf(ctx, key, open, entries)
		return append(found, more...), err
	}
	return c.searchMessagesOf(ctx, key, page, nil)
}

func (c *conn) searchMessagesOf(ctx context.Context, key *searchKey, page []int, entries map[store.ItemID]*store.Entry) (found []int, err error) {
	v := c.view
	msgs, err := c.server.mail.Messages(ctx, c.who, c.box, v.items(page))
	if err != nil {
		return nil, err
	}
	for k, i := range page {
		if msgs[k] == nil {
			continue
		}
		s := searched{conn: c, ctx: ctx}
		s.at(i)
		s.entry, s.msg = entries[v.rows[i].item], msgs[k]
		r := key.match(&s)
		if r == unknown && s.err == nil {
			s.deep = true
			r = key.match(&s)
		}
		if s.err != nil {
			return nil, s.err
		}
		if r == yes {
			found = append(found, i)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// fold makes texts comparable: SEARCH ignores case (RFC 9051 section 6.4.4).
func fold(s string) string { return strings.ToLower(s) }
