package imap

import (
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/ianaindex"

	"waypost/internal/mail"
	"waypost/services/imap/imapwire"
	"waypost/store"
)

// maxSearchDepth bounds the nesting of keys.
const maxSearchDepth = 50

// searchParser reads search keys (RFC 9051 section 6.4.4).
type searchParser struct {
	c    *conn
	d    *imapwire.Decoder
	q    *searchRequest
	enc  encoding.Encoding // of strings; nil: UTF-8
	keys int
	err  error // a fault that is none of syntax
}

func imapFlag(s string) imap.Flag { return imap.Flag(s) }

// charset chooses how strings are read (section 6.4.4; RFC 6855 section 3
// forbids it once UTF-8 is agreed on).
func (p *searchParser) charset(name string) error {
	if p.c.utf8 && !p.c.rev2 {
		return bad("", "CHARSET is not allowed with UTF8=ACCEPT")
	}
	switch strings.ToUpper(name) {
	case "UTF-8", "US-ASCII":
		return nil
	}
	enc, err := ianaindex.MIME.Encoding(name)
	if err != nil || enc == nil {
		return no("BADCHARSET (UTF-8 US-ASCII)", "Unknown charset")
	}
	p.enc = enc
	return nil
}

// word reads a key's name if one is next; sets and lists have none.
func (p *searchParser) word() (string, bool) {
	c := p.d.Peek()
	if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
		return p.d.Word(), true
	}
	return "", false
}

// text reads a string in the search's charset.
func (p *searchParser) text() string {
	s := p.d.AString()
	if p.enc != nil {
		if t, err := p.enc.NewDecoder().String(s); err == nil {
			s = t
		}
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// and reads keys up to the end of the command or list; all of them must match.
func (p *searchParser) and(word string, isWord bool) searchKey {
	k := searchKey{op: '&'}
	for {
		k.kids = append(k.kids, p.key(word, isWord))
		if p.d.Err() != nil || !p.d.TrySP() {
			break
		}
		word, isWord = p.word()
	}
	if len(k.kids) == 1 {
		return k.kids[0]
	}
	byCost(k.kids)
	return k
}

// byCost puts the cheap ones first.
func byCost(kids []searchKey) {
	slices.SortStableFunc(kids, func(a, b searchKey) int { return int(a.levels()) - int(b.levels()) })
}

func (p *searchParser) next() searchKey {
	p.d.SP()
	word, isWord := p.word()
	return p.key(word, isWord)
}

// key reads one key, whose name has been read.
func (p *searchParser) key(word string, isWord bool) searchKey {
	d := p.d
	if !d.Enter(maxSearchDepth) {
		return searchKey{op: '&'}
	}
	defer d.Leave()
	if p.keys++; p.keys > 2000 {
		d.Fail("too many keys")
	}
	if !isWord {
		switch c := d.Peek(); {
		case c == '(':
			d.Special('(')
			word, isWord := p.word()
			k := p.and(word, isWord)
			d.Special(')')
			return k
		case c >= '0' && c <= '9', c == '*', c == '$':
			return p.set(false)
		}
		d.Fail("expected a search key")
		return searchKey{op: '&'}
	}
	if k, ok := plainKeys[word]; ok {
		return k
	}
	if read, ok := argumentKeys[word]; ok {
		d.SP()
		return read(p)
	}
	d.Fail("unknown search key")
	return searchKey{op: '&'}
}

// set reads a set and marks the rows that it names.
func (p *searchParser) set(uid bool) searchKey {
	v := p.c.view
	set := p.d.NumSet(uid)
	if p.d.Err() != nil {
		return searchKey{op: '&'}
	}
	if seqs, ok := set.(imap.SeqSet); ok {
		set = clipSeqs(seqs, uint32(v.exists)) // beyond the last message there are none
	}
	spans, err := v.spans(set, p.c.saved)
	if err != nil {
		return none
	}
	return leaf(levelView, func(s *searched) verdict {
		_, in := slices.BinarySearchFunc(spans, s.i, func(sp span, i int) int {
			switch {
			case i < sp.lo:
				return 1
			case i >= sp.hi:
				return -1
			}
			return 0
		})
		return known(in)
	})
}

func clipSeqs(set imap.SeqSet, last uint32) imap.SeqSet {
	var out imap.SeqSet
	for _, r := range set {
		if r.Start == 0 {
			r.Start = last
		}
		if r.Stop == 0 {
			r.Stop = last
		}
		if r.Start > r.Stop {
			r.Start, r.Stop = r.Stop, r.Start
		}
		if r.Start <= last && last > 0 {
			out = append(out, imap.SeqRange{Start: r.Start, Stop: min(r.Stop, last)})
		}
	}
	return out
}

var (
	every = onRow(func(*row) bool { return true })
	none  = onRow(func(*row) bool { return false })
)

// plainKeys are the keys without argument.
var plainKeys = map[string]searchKey{
	"ALL":        every,
	"ANSWERED":   flagKey(store.Answered, true),
	"DELETED":    flagKey(store.Deleted, true),
	"DRAFT":      flagKey(store.Draft, true),
	"FLAGGED":    flagKey(store.Flagged, true),
	"SEEN":       flagKey(store.Seen, true),
	"UNANSWERED": flagKey(store.Answered, false),
	"UNDELETED":  flagKey(store.Deleted, false),
	"UNDRAFT":    flagKey(store.Draft, false),
	"UNFLAGGED":  flagKey(store.Flagged, false),
	"UNSEEN":     flagKey(store.Seen, false),
	// RFC 3501: \Recent is on no message here
	"NEW": none, "RECENT": none, "OLD": every,
}

// argumentKeys are the keys with arguments; the space before has been read.
var argumentKeys map[string]func(*searchParser) searchKey

func init() { // NOT and OR read keys themselves: a literal would refer to itself
	address := func(list func(*mail.Summary) []mail.Address) func(*searchParser) searchKey {
		return func(p *searchParser) searchKey { return addressKey(list, p.text()) }
	}
	received := func(test func(received, arg int) bool) func(*searchParser) searchKey {
		return func(p *searchParser) searchKey {
			arg := day(p.d.Date())
			return onEntry(func(e *store.Entry) bool { return test(day(e.Received.UTC()), arg) })
		}
	}
	sent := func(test func(sent, arg int) bool) func(*searchParser) searchKey {
		return func(p *searchParser) searchKey {
			arg := day(p.d.Date())
			return sentKey(func(sent int) bool { return test(sent, arg) })
		}
	}
	before := func(a, b int) bool { return a < b }
	on := func(a, b int) bool { return a == b }
	since := func(a, b int) bool { return a >= b }
	within := func(test func(age time.Duration, arg time.Duration) bool) func(*searchParser) searchKey {
		return func(p *searchParser) searchKey { // RFC 5032
			arg := time.Duration(p.d.Number()) * time.Second
			now := time.Now()
			return onEntry(func(e *store.Entry) bool { return test(now.Sub(e.Received), arg) })
		}
	}
	argumentKeys = map[string]func(*searchParser) searchKey{
		"BCC":        address(func(m *mail.Summary) []mail.Address { return m.Bcc }),
		"CC":         address(func(m *mail.Summary) []mail.Address { return m.Cc }),
		"FROM":       address(func(m *mail.Summary) []mail.Address { return m.From }),
		"TO":         address(func(m *mail.Summary) []mail.Address { return m.To }),
		"SUBJECT":    func(p *searchParser) searchKey { return subjectKey(p.text()) },
		"BEFORE":     received(before),
		"ON":         received(on),
		"SINCE":      received(since),
		"SENTBEFORE": sent(before),
		"SENTON":     sent(on),
		"SENTSINCE":  sent(since),
		"OLDER":      within(func(age, arg time.Duration) bool { return age >= arg }),
		"YOUNGER":    within(func(age, arg time.Duration) bool { return age <= arg }),
		"BODY":       func(p *searchParser) searchKey { return bodyKey(p.text(), false) },
		"TEXT":       func(p *searchParser) searchKey { return bodyKey(p.text(), true) },
		"HEADER": func(p *searchParser) searchKey {
			name := p.d.AString()
			p.d.SP()
			return headerKey(name, p.text())
		},
		"KEYWORD":   func(p *searchParser) searchKey { return p.c.keywordKey(string(p.d.Flag()), true) },
		"UNKEYWORD": func(p *searchParser) searchKey { return p.c.keywordKey(string(p.d.Flag()), false) },
		"LARGER": func(p *searchParser) searchKey {
			n := int64(p.d.Number64())
			return onEntry(func(e *store.Entry) bool { return e.Size > n })
		},
		"SMALLER": func(p *searchParser) searchKey {
			n := int64(p.d.Number64())
			return onEntry(func(e *store.Entry) bool { return e.Size < n })
		},
		"UID":    func(p *searchParser) searchKey { return p.set(true) },
		"MODSEQ": (*searchParser).modSeq,
		"EMAILID": func(p *searchParser) searchKey { // RFC 8474 section 5.3
			id, _ := store.ParseItemID(p.d.AString()) // 0, which nothing has, for what is no id
			return onRow(func(r *row) bool { return r.item == id })
		},
		"THREADID": func(p *searchParser) searchKey {
			id, _ := store.ParseThreadID(p.d.AString())
			return leaf(levelMessage, func(s *searched) verdict {
				if s.msg == nil {
					return unknown
				}
				return known(id != 0 && s.msg.Thread == id)
			})
		},
		"NOT": func(p *searchParser) searchKey {
			word, isWord := p.word()
			return searchKey{op: '!', kids: []searchKey{p.key(word, isWord)}}
		},
		"OR": func(p *searchParser) searchKey {
			word, isWord := p.word()
			kids := []searchKey{p.key(word, isWord)}
			kids = append(kids, p.next())
			byCost(kids)
			return searchKey{op: '|', kids: kids}
		},
	}
}

func subjectKey(text string) searchKey {
	folded := fold(text)
	return onSummary(func(m *mail.Summary) bool { return strings.Contains(fold(m.Subject), folded) })
}

// modSeq reads MODSEQ ["entry" type] number (RFC 7162 section 3.1.5). There is
// one mod-sequence a message, so entry and type choose nothing.
func (p *searchParser) modSeq() searchKey {
	d := p.d
	if d.Peek() == '"' {
		_ = d.String()
		d.SP()
		switch d.Word() {
		case "ALL", "PRIV", "SHARED":
		default:
			d.Fail("unknown type of entry")
		}
		d.SP()
	}
	n := store.Seq(d.Number64())
	p.q.modSeq = true
	return onRow(func(r *row) bool { return r.changed >= n })
}
