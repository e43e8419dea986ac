// Package words is what the store knows of words: how a text becomes words, and
// how many items' words become a segment that is searched without reading the
// items again. It does no I/O.
//
// Its law: the index may find too much, never too little. A text that has what is
// looked for has, for each of its words, a word that contains it; so a door that
// must match letter by letter looks at what was found and misses nothing. An item
// whose words are too many to keep is marked, so that such a door looks at it too.
package words

import (
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"waypost/internal/mail"
)

// Field says where in an item a word stands.
type Field byte

// The fields.
const (
	Bcc     Field = 'b'
	Cc      Field = 'c'
	From    Field = 'f'
	File    Field = 'n' // names of attachments
	Subject Field = 's'
	To      Field = 't'
	Body    Field = 'y' // text of every part that is text
	Header  Field = 'h' // names and values of the header's fields that people write
	Mark    Field = '@' // what is no word: HasFile

	// overfull marks an item with more words than are kept: a term of its own.
	overfull Field = '+'
)

// HasFile in Mark: the item has an attachment.
const HasFile = "file"

// Limits of what is kept of one item.
const (
	MaxText  = 4 << 20 // bytes of text
	MaxTerms = 20000

	// maxWord is the longest word that is one term, in runes. A longer one becomes
	// pieces of that length that begin every maxNeedle runes, so whatever is not
	// longer than maxNeedle is inside one of them.
	maxWord   = 40
	maxNeedle = 20
)

// Doc collects the words of one item.
type Doc struct {
	terms map[string]struct{}
	left  int64 // bytes of text that may still come
	full  bool
	buf   []byte
}

// NewDoc begins an item.
func NewDoc() *Doc { return &Doc{terms: map[string]struct{}{}, left: MaxText} }

// Add takes the words of a text.
func (d *Doc) Add(f Field, text string) { _ = d.Read(f, strings.NewReader(text)) }

// Mark adds a mark.
func (d *Doc) Mark(mark string) { d.word(Mark, []byte(mark)) }

// Read takes the words of a stream of UTF-8, as far as the limits go. The only
// error is r's.
func (d *Doc) Read(f Field, r io.Reader) error {
	s := splitter{emit: func(word []byte) { d.word(f, word) }}
	var buf [16 << 10]byte
	kept := 0
	for {
		n, err := r.Read(buf[kept:])
		if n > 0 {
			if d.left -= int64(n); d.left < 0 || d.full {
				d.full = true
				return nil
			}
		}
		n += kept
		whole := n
		if err == nil {
			whole -= mail.CutRune(buf[:n])
		}
		s.text(buf[:whole])
		kept = copy(buf[:], buf[whole:n])
		if err == io.EOF { //nolint:errorlint // by the contract of io.Reader
			s.end()
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (d *Doc) word(f Field, word []byte) {
	d.buf = append(append(d.buf[:0], byte(f)), word...)
	if _, ok := d.terms[string(d.buf)]; ok {
		return
	}
	if len(d.terms) >= MaxTerms {
		d.full = true
		return
	}
	d.terms[string(d.buf)] = struct{}{}
}

// Terms gives the item's words, each with its field before it, sorted.
func (d *Doc) Terms() []string {
	list := make([]string, 0, len(d.terms)+1)
	if d.full {
		list = append(list, string(rune(overfull)))
	}
	for t := range d.terms {
		list = append(list, t)
	}
	slices.Sort(list)
	return list
}

// splitter cuts a stream of text into folded words. Scripts without spaces
// between words give every pair of neighbouring characters, and the last one.
type splitter struct {
	emit func(word []byte)
	word []byte // the word so far: folded if it is ASCII, else as it came
	wide bool   // word is not ASCII
}

// maxRaw bounds a word that is being read, in bytes; the rest is another word, and
// what lies across the cut is not found.
const maxRaw = 1 << 10

func (s *splitter) text(b []byte) {
	for i := 0; i < len(b); {
		c := b[i]
		if c < utf8.RuneSelf {
			i++
			switch {
			case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
				s.word = append(s.word, c)
			case c >= 'A' && c <= 'Z':
				s.word = append(s.word, c+'a'-'A')
			default:
				s.end()
				continue
			}
		} else {
			r, n := utf8.DecodeRune(b[i:])
			if !(unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsNumber(r)) {
				s.end()
				i += n
				continue
			}
			s.word = append(s.word, b[i:i+n]...)
			s.wide = true
			i += n
		}
		if len(s.word) >= maxRaw {
			s.end()
		}
	}
}

// end ends a word.
func (s *splitter) end() {
	if len(s.word) == 0 {
		return
	}
	switch {
	case !s.wide && len(s.word) <= maxWord:
		s.emit(s.word)
	case !s.wide:
		pieces([]rune(string(s.word)), s.emit)
	default:
		s.unspaced(Fold(string(s.word)))
	}
	s.word, s.wide = s.word[:0], false
}

// unspaced cuts a folded word where a script that has no spaces begins and ends.
func (s *splitter) unspaced(word string) {
	runes := []rune(word)
	for len(runes) > 0 {
		n := 1
		for n < len(runes) && dense(runes[n]) == dense(runes[0]) {
			n++
		}
		if dense(runes[0]) {
			for i := range n {
				s.emit([]byte(string(runes[i:min(i+2, n)])))
			}
		} else {
			pieces(runes[:n], s.emit)
		}
		runes = runes[n:]
	}
}

func pieces(runes []rune, emit func([]byte)) {
	for {
		emit([]byte(string(runes[:min(len(runes), maxWord)])))
		if len(runes) <= maxWord {
			return
		}
		runes = runes[maxNeedle:]
	}
}

// dense tells whether r is of a script that is written without spaces between
// words.
func dense(r rune) bool {
	return r >= 0x0e00 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}

// Fold makes words comparable: without case, compatibility forms (NFKC) and the
// accents of Latin, Greek and Cyrillic letters.
func Fold(s string) string {
	s = norm.NFKD.String(cases.Fold().String(s))
	s = strings.Map(func(r rune) rune {
		if r >= 0x0300 && r <= 0x036f {
			return -1
		}
		return r
	}, s)
	return norm.NFC.String(cases.Fold().String(s))
}

// Needle is a word that is looked for.
type Needle struct {
	Word  string
	Exact bool // a whole term
	Begin bool // the beginning of one: a single letter; else any part of one
}

// Needles gives what a text must have for it to be found: all of them. No
// needles: the text has no words. Words beyond MaxNeedles are left out.
func Needles(text string) []Needle {
	var list []Needle
	s := splitter{}
	s.emit = func(word []byte) {
		n := Needle{Word: string(word)}
		runes := []rune(n.Word)
		switch {
		case len(runes) == 1:
			n.Begin = true
		case dense(runes[0]):
			n.Exact = true
		case len(runes) > maxNeedle:
			n.Word = string(runes[:maxNeedle])
		}
		if !slices.Contains(list, n) && len(list) < MaxNeedles {
			list = append(list, n)
		}
	}
	s.text([]byte(strings.ToValidUTF8(text, "")))
	s.end()
	// The last character of a run is in the pair before it.
	return slices.DeleteFunc(list, func(n Needle) bool {
		r, size := utf8.DecodeRuneInString(n.Word)
		return dense(r) && size == len(n.Word) && slices.ContainsFunc(list, func(o Needle) bool {
			return o.Exact && strings.HasSuffix(o.Word, n.Word)
		})
	})
}

// MaxNeedles bounds a question.
const MaxNeedles = 20
