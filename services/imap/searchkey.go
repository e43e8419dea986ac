package imap

import (
	"context"
	"strings"
	"time"

	"waypost/internal/mail"
	"waypost/store"
)

// verdict is what is known of a message: three-valued, so that a key that needs
// more than is at hand leaves the question open instead of reading it.
type verdict uint8

const (
	nope verdict = iota
	yes
	unknown
)

func known(b bool) verdict {
	if b {
		return yes
	}
	return nope
}

// levels are the sources that keys are decided from, cheapest first.
type levels uint8

const (
	levelView levels = 1 << iota
	levelEntry
	levelMessage
	levelContent
)

// searched is one message under a search, with what was read of it so far.
type searched struct {
	conn  *conn
	ctx   context.Context
	i     int // index of the row
	row   *row
	entry *store.Entry   // nil: not read
	msg   *store.Message // nil: not read
	deep  bool           // content may be read
	text  *fetched       // opened content
	err   error
}

func (s *searched) at(i int) {
	s.i, s.row = i, &s.conn.view.rows[i]
	s.entry, s.msg, s.deep, s.text = nil, nil, false, nil
}

// searchKey is a node of a search.
type searchKey struct {
	level levels
	test  func(*searched) verdict // leaf
	words *wordHint               // of a leaf that the index of words can answer with no
	op    byte                    // '&', '|', '!' for inner nodes
	kids  []searchKey
}

func leaf(l levels, test func(*searched) verdict) searchKey { return searchKey{level: l, test: test} }

// levels is what the leaves need altogether.
func (k *searchKey) levels() levels {
	l := k.level
	for i := range k.kids {
		l |= k.kids[i].levels()
	}
	return l
}

// match decides a key. Cheap children stand first in an "and" or "or", and what
// they decide needs no look at the others.
func (k *searchKey) match(s *searched) verdict {
	switch k.op {
	case '&', '|':
		decided := nope // of "and"; "or" is decided by yes
		if k.op == '|' {
			decided = yes
		}
		open := false
		for i := range k.kids {
			switch v := k.kids[i].match(s); v {
			case decided:
				return decided
			case unknown:
				open = true
			}
		}
		switch {
		case open:
			return unknown
		case k.op == '|':
			return nope
		}
		return yes
	case '!':
		switch k.kids[0].match(s) {
		case yes:
			return nope
		case nope:
			return yes
		}
		return unknown
	}
	return k.test(s)
}

// onRow makes a leaf that the view decides.
func onRow(test func(*row) bool) searchKey {
	return leaf(levelView, func(s *searched) verdict { return known(test(s.row)) })
}

func flagKey(f store.Flags, want bool) searchKey {
	return onRow(func(r *row) bool { return r.system()&f != 0 == want })
}

func (c *conn) keywordKey(word string, want bool) searchKey {
	if f, ok := systemFlag(imapFlag(word)); ok {
		return flagKey(f, want)
	}
	return leaf(levelView, func(s *searched) verdict {
		for _, w := range s.conn.view.words.get(s.row.words) {
			if strings.EqualFold(w, word) {
				return known(want)
			}
		}
		return known(!want)
	})
}

func onEntry(test func(*store.Entry) bool) searchKey {
	return leaf(levelEntry, func(s *searched) verdict {
		if s.entry == nil {
			return unknown
		}
		return known(test(s.entry))
	})
}

func onSummary(test func(*mail.Summary) bool) searchKey {
	return leaf(levelMessage, func(s *searched) verdict {
		if s.msg == nil {
			return unknown
		}
		f := fetched{msg: s.msg}
		return known(test(f.summary()))
	})
}

// onContent makes a leaf that reads the message.
func onContent(test func(*searched, *fetched) (bool, error)) searchKey {
	return leaf(levelContent, func(s *searched) verdict {
		if s.msg == nil || !s.deep || s.err != nil {
			return unknown
		}
		f, err := s.open()
		if err == nil {
			var ok bool
			if ok, err = test(s, f); err == nil {
				return known(ok)
			}
		}
		s.err = err
		return unknown
	})
}

func (s *searched) open() (*fetched, error) {
	if s.text != nil {
		return s.text, nil
	}
	content, err := s.conn.server.mail.Content(s.ctx, s.conn.who, s.conn.box, s.row.item)
	if err != nil {
		return nil, err
	}
	s.text = &fetched{row: s.row, msg: s.msg, content: content}
	return s.text, nil
}

// day is a date without time and zone, as RFC 9051 section 6.4.4 compares them.
func day(t time.Time) int {
	y, m, d := t.Date()
	return y*10000 + int(m)*100 + d
}

// sentKey compares the day of the Date field, in the zone that it names.
func sentKey(test func(sent int) bool) searchKey {
	return onSummary(func(m *mail.Summary) bool { return !m.Date.IsZero() && test(day(m.Date)) })
}

func addressKey(list func(*mail.Summary) []mail.Address, text string) searchKey {
	text = fold(text)
	return onSummary(func(m *mail.Summary) bool { return addressesContain(list(m), text) })
}

func addressesContain(list []mail.Address, folded string) bool {
	for i := range list {
		if strings.Contains(fold(list[i].String()), folded) {
			return true
		}
	}
	return folded == "" && len(list) > 0
}

// headerKey is HEADER: fields that the summary has are looked up there.
func headerKey(name, text string) searchKey {
	folded := fold(text)
	one := func(get func(*mail.Summary) string) searchKey {
		return onSummary(func(m *mail.Summary) bool {
			v := get(m)
			return v != "" && strings.Contains(fold(v), folded)
		})
	}
	switch fold(name) {
	case "message-id":
		return one(func(m *mail.Summary) string { return m.MessageID })
	case "in-reply-to":
		return one(func(m *mail.Summary) string { return m.InReplyTo })
	case "subject":
		return one(func(m *mail.Summary) string { return m.Subject })
	}
	test := func(_ *searched, f *fetched) (bool, error) {
		h, err := f.fields()
		if err != nil {
			return false, err
		}
		for _, v := range h.Values(name) {
			if strings.Contains(fold(mail.DecodeHeader(v)), folded) {
				return true, nil
			}
		}
		return false, nil
	}
	if mail.MachineField(name) || folded == "" {
		return onContent(test)
	}
	return hinted(text, store.WordsHeader, test)
}

// fields reads the header of the message, trace headers included.
func (f *fetched) fields() (mail.Fields, error) {
	size := int64(len(f.msg.Prefix)) + f.summary().Root.BodyStart
	raw := make([]byte, min(size, maxHeader, f.content.Size()))
	n, err := f.content.ReadAt(raw, 0)
	if n == len(raw) {
		err = nil
	}
	return mail.ParseFields(raw[:n]), err
}
