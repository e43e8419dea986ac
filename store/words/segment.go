package words

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
)

// ErrFormat: bytes that are no segment's.
var ErrFormat = errors.New("not a segment of the index of words")

// Block is a run of a segment's terms with the items that have them. A block is
// read by itself: Terms alone tell where in Lists the items of a term are.
type Block struct {
	First, Last string // terms, with their field
	// Terms is, term after term, how many bytes it shares with the one before, how
	// many follow, these, and the length of its list.
	Terms []byte
	// Lists holds places of items in the segment, ascending, as differences.
	Lists []byte
}

// blockSize is what a block grows to, in bytes.
const blockSize = 48 << 10

// Builder makes blocks of terms that come in order.
type Builder struct {
	blocks []Block
	cur    Block
	last   []byte
	list   []byte
}

// Add takes the next term and the places of the items that have it.
func (b *Builder) Add(term []byte, places []uint32) {
	if len(b.cur.Terms)+len(b.cur.Lists) >= blockSize {
		b.flush()
	}
	if len(b.cur.Terms) == 0 {
		b.cur.First, b.last = string(term), b.last[:0]
	}
	shared := 0
	for shared < len(term) && shared < len(b.last) && term[shared] == b.last[shared] {
		shared++
	}
	b.list = b.list[:0]
	before := uint32(0)
	for _, p := range places {
		b.list = binary.AppendUvarint(b.list, uint64(p-before))
		before = p
	}
	b.cur.Terms = binary.AppendUvarint(b.cur.Terms, uint64(shared))
	b.cur.Terms = binary.AppendUvarint(b.cur.Terms, uint64(len(term)-shared))
	b.cur.Terms = append(b.cur.Terms, term[shared:]...)
	b.cur.Terms = binary.AppendUvarint(b.cur.Terms, uint64(len(b.list)))
	b.cur.Lists = append(b.cur.Lists, b.list...)
	b.last = append(b.last[:0], term...)
}

func (b *Builder) flush() {
	if len(b.cur.Terms) > 0 {
		b.cur.Last = string(b.last)
		b.blocks = append(b.blocks, b.cur)
	}
	b.cur = Block{}
}

// Blocks ends the segment.
func (b *Builder) Blocks() []Block {
	b.flush()
	return b.blocks
}

// Build makes a segment of items' terms, each sorted; places are their indexes.
func Build(docs [][]string) []Block {
	type pair struct {
		term  string
		place uint32
	}
	var all []pair
	for i, terms := range docs {
		for _, t := range terms {
			all = append(all, pair{t, uint32(i)}) //nolint:gosec // few
		}
	}
	slices.SortFunc(all, func(a, b pair) int { return cmp.Or(cmp.Compare(a.term, b.term), cmp.Compare(a.place, b.place)) })
	var b Builder
	var places []uint32
	for i, p := range all {
		places = append(places, p.place)
		if i+1 == len(all) || all[i+1].term != p.term {
			b.Add([]byte(p.term), places)
			places = places[:0]
		}
	}
	return b.Blocks()
}

// walk calls fn with every term and its list. The term is valid during the call.
func (b *Block) walk(fn func(term, list []byte) error) error {
	return b.terms(func(term []byte, from, to int) error {
		if to > len(b.Lists) {
			return ErrFormat
		}
		return fn(term, b.Lists[from:to])
	})
}

// terms calls fn with every term and where its list is.
func (b *Block) terms(fn func(term []byte, from, to int) error) error {
	var term []byte
	at := 0
	for rest := b.Terms; len(rest) > 0; {
		shared, n1 := binary.Uvarint(rest)
		if n1 <= 0 || shared > uint64(len(term)) {
			return ErrFormat
		}
		rest = rest[n1:]
		more, n2 := binary.Uvarint(rest)
		if n2 <= 0 || more > uint64(len(rest)-n2) {
			return ErrFormat
		}
		rest = rest[n2:]
		term = append(term[:shared], rest[:more]...)
		rest = rest[more:]
		size, n3 := binary.Uvarint(rest)
		if n3 <= 0 || len(term) == 0 || size > 1<<30 {
			return ErrFormat
		}
		rest = rest[n3:]
		if err := fn(term, at, at+int(size)); err != nil { //nolint:gosec // bounded above
			return err
		}
		at += int(size) //nolint:gosec // bounded above
	}
	return nil
}

// places calls fn with each place of a list.
func places(list []byte, fn func(uint32)) error {
	at := uint64(0)
	for len(list) > 0 {
		d, n := binary.Uvarint(list)
		if n <= 0 || d > 1<<32 {
			return ErrFormat
		}
		if at += d; at >= 1<<32 {
			return ErrFormat
		}
		fn(uint32(at)) //nolint:gosec // checked
		list = list[n:]
	}
	return nil
}

// Matcher looks through the terms of blocks for the needles of one text.
type Matcher struct {
	fields   []Field // sorted
	needles  []Needle
	parts    [][]byte // their words
	overfull bool
}

// NewMatcher looks for all of a text's words, each in any of the fields. With
// overfull it misses nothing: items with too many words are found too, and single
// letters in the middle of a word.
func NewMatcher(text string, overfull bool, fields ...Field) *Matcher {
	fields = slices.Clone(fields)
	slices.Sort(fields)
	return newMatcher(fields, overfull, Needles(text)...)
}

// NewMark looks for a mark.
func NewMark(mark string) *Matcher {
	return newMatcher([]Field{Mark}, false, Needle{Word: mark, Exact: true})
}

func newMatcher(fields []Field, overfull bool, needles ...Needle) *Matcher {
	m := &Matcher{fields: fields, needles: needles, overfull: overfull}
	for i, n := range m.needles {
		m.needles[i].Begin = n.Begin && !overfull
		m.parts = append(m.parts, []byte(n.Word))
	}
	return m
}

// Empty tells whether there is nothing to look for.
func (m *Matcher) Empty() bool { return len(m.needles) == 0 }

// Range is the terms from Low up to and without High.
type Range struct{ Low, High string }

// Ranges gives where the terms are that can match: whole fields where parts of
// words are looked for.
func (m *Matcher) Ranges() []Range {
	var list []Range
	if m.overfull {
		list = append(list, Range{string(rune(overfull)), string(rune(overfull + 1))})
	}
	for _, f := range m.fields {
		exact := true
		for _, n := range m.needles {
			exact = exact && n.Exact
		}
		if !exact {
			list = append(list, Range{string(rune(f)), string(rune(f + 1))})
			continue
		}
		for _, n := range m.needles {
			term := string(rune(f)) + n.Word
			list = append(list, Range{term, term + "\x00"})
		}
	}
	return list
}

// Hit is a term that matches: of which needle, and where the list is.
type Hit struct {
	Needle   int // -1: an item with too many words, which has every needle
	From, To int // of Block.Lists
}

// Hits finds what matches in a block, whose Lists need not be there.
func (m *Matcher) Hits(b *Block) (hits []Hit, err error) {
	err = b.terms(func(term []byte, from, to int) error {
		f, word := Field(term[0]), term[1:]
		if f == overfull {
			if m.overfull {
				hits = append(hits, Hit{-1, from, to})
			}
			return nil
		}
		if !slices.Contains(m.fields, f) {
			return nil
		}
		for i := range m.needles {
			if m.needles[i].match(word, m.parts[i]) {
				hits = append(hits, Hit{i, from, to})
			}
		}
		return nil
	})
	return hits, err
}

func (n *Needle) match(word, part []byte) bool {
	switch {
	case n.Exact:
		return bytes.Equal(word, part)
	case n.Begin:
		return bytes.HasPrefix(word, part)
	}
	return bytes.Contains(word, part)
}

// Found collects the items of one segment that have every needle.
type Found struct {
	has  [][]uint64 // by needle, a bit for each place
	size uint32
}

// NewFound begins a segment of size items.
func (m *Matcher) NewFound(size int) *Found {
	f := &Found{has: make([][]uint64, len(m.needles)), size: uint32(size)} //nolint:gosec // a segment is small
	for i := range f.has {
		f.has[i] = make([]uint64, (size+63)/64)
	}
	return f
}

// Add takes a hit's list from the block's Lists.
func (f *Found) Add(h Hit, lists []byte) error {
	if h.To > len(lists) {
		return ErrFormat
	}
	bad := false
	set := func(bits []uint64) error {
		return places(lists[h.From:h.To], func(p uint32) {
			if p >= f.size {
				bad = true
				return
			}
			bits[p/64] |= 1 << (p % 64)
		})
	}
	for i := range f.has {
		if h.Needle == i || h.Needle < 0 {
			if err := set(f.has[i]); err != nil {
				return err
			}
		}
	}
	if bad {
		return ErrFormat
	}
	return nil
}

// Places calls fn with each place that has every needle, ascending.
func (f *Found) Places(fn func(place int)) {
	if len(f.has) == 0 {
		return
	}
	for p := range f.size {
		all := true
		for _, bits := range f.has {
			if bits[p/64]&(1<<(p%64)) == 0 {
				all = false
				break
			}
		}
		if all {
			fn(int(p))
		}
	}
}
