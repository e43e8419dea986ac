package index

import (
	"encoding/binary"
	"slices"
)

// Substrings are found by the runs of three bytes (grams) in the folded text of
// an object's attributes of name and address, all of them together. Bytes are
// put into 64 kinds first, so that there are 2^18 grams; as candidates are
// looked at again, a gram that stands for several does no harm.
const (
	gramKinds = 1 << 18
	gramSpan  = 1 << 16 // objects of a piece made at once
	// dirty objects are looked at one by one until there are so many.
	maxDirty = 1024
)

// kinds give a byte's kind: each letter and digit and the signs of addresses
// have their own.
var kinds = func() (k [256]uint32) {
	const own = "abcdefghijklmnopqrstuvwxyz0123456789 .-_@:/=+,'()&"
	for i := range k {
		k[i] = uint32(len(own)) + uint32(i)%(64-uint32(len(own)))
	}
	for i := range len(own) {
		k[own[i]] = uint32(i)
	}
	return k
}()

// gramsOf calls fn with each gram of a folded text.
func gramsOf(text []byte, fn func(gram uint32)) {
	if len(text) < 3 {
		return
	}
	g := kinds[text[0]]<<6 | kinds[text[1]]
	for _, c := range text[2:] {
		g = (g<<6 | kinds[c]) & (gramKinds - 1)
		fn(g)
	}
}

// gramPiece is an index of some objects' grams. It is never changed.
type gramPiece struct {
	grams  []uint32 // those that occur, ascending
	first  []uint32 // where in grams those begin that have the same first bits
	starts []uint32 // where their lists begin in data; one more for the end
	counts []uint32
	data   []byte // ids as differences to the one before, varints
	size   int    // ids in all lists
}

// gramGroup is how many bits of a gram gramPiece.first leaves out.
const gramGroup = 5

func (p *gramPiece) list(gram uint32) (count int, data []byte) {
	from, to := p.first[gram>>gramGroup], p.first[gram>>gramGroup+1]
	for i := from; i < to; i++ {
		if p.grams[i] == gram {
			return int(p.counts[i]), p.data[p.starts[i]:p.starts[i+1]]
		}
	}
	return 0, nil
}

// group makes first of grams.
func (p *gramPiece) group() {
	p.first = make([]uint32, gramKinds>>gramGroup+1)
	for _, g := range p.grams {
		p.first[g>>gramGroup+1]++
	}
	for i := range len(p.first) - 1 {
		p.first[i+1] += p.first[i]
	}
}

// appendIDs appends a list's ids. Here and in common the differences are read in
// place, and those of one and two bytes first: searches spend their time so.
func appendIDs(dst []uint32, data []byte) []uint32 {
	id := uint32(0)
	for i := 0; i < len(data); {
		d := uint32(data[i])
		i++
		if d >= 0x80 {
			d, i = longID(data, d, i)
		}
		id += d
		dst = append(dst, id)
	}
	return dst
}

// longID goes on reading a difference that begins with the byte before i.
func longID(data []byte, d uint32, i int) (uint32, int) {
	d &= 0x7f
	for shift := 7; i < len(data); shift += 7 {
		b := uint32(data[i])
		i++
		if d |= b & 0x7f << shift; b < 0x80 {
			break
		}
	}
	return d, i
}

// gramBuilder makes a piece from objects that come in order of id.
type gramBuilder struct {
	ids    []uint32
	ends   []uint32 // of each object in stream
	stream []uint32 // grams of all objects, each object's without doubles
	seen   []uint32 // by gram: the last object (its number here + 1) that has it
}

func newGramBuilder() *gramBuilder { return &gramBuilder{seen: make([]uint32, gramKinds)} }

func (b *gramBuilder) begin(id uint32) {
	b.ids = append(b.ids, id)
	b.ends = append(b.ends, uint32(len(b.stream)))
}

func (b *gramBuilder) add(text []byte) {
	me := uint32(len(b.ids))
	gramsOf(text, func(g uint32) {
		if b.seen[g] != me {
			b.seen[g] = me
			b.stream = append(b.stream, g)
		}
	})
	b.ends[me-1] = uint32(len(b.stream))
}

// piece makes the piece and empties the builder.
func (b *gramBuilder) piece() *gramPiece {
	counts := make([]uint32, gramKinds+1)
	for _, g := range b.stream {
		counts[g+1]++
	}
	p := &gramPiece{size: len(b.stream)}
	for g := range gramKinds {
		if n := counts[g+1]; n > 0 {
			p.grams, p.counts = append(p.grams, uint32(g)), append(p.counts, n)
		}
		counts[g+1] += counts[g]
	}
	// counts is now where each gram's list begins.
	sorted := make([]uint32, len(b.stream))
	from := uint32(0)
	for i, id := range b.ids {
		for _, g := range b.stream[from:b.ends[i]] {
			sorted[counts[g]] = id
			counts[g]++
		}
		from = b.ends[i]
	}
	p.starts = make([]uint32, 0, len(p.grams)+1)
	p.data = make([]byte, 0, len(sorted)+len(sorted)/4)
	for i := range p.grams {
		p.starts = append(p.starts, uint32(len(p.data)))
		last := uint32(0)
		for _, id := range sorted[:p.counts[i]] {
			p.data = binary.AppendUvarint(p.data, uint64(id-last))
			last = id
		}
		sorted = sorted[p.counts[i]:]
	}
	p.starts = append(p.starts, uint32(len(p.data)))
	p.data = slices.Clip(p.data)
	if cap(p.data) > len(p.data)+len(p.data)/16 {
		p.data = append(make([]byte, 0, len(p.data)), p.data...)
	}
	p.group()
	b.ids, b.ends, b.stream = b.ids[:0], b.ends[:0], b.stream[:0]
	clear(b.seen)
	return p
}

// mergeGrams makes one piece of two.
func mergeGrams(a, b *gramPiece) *gramPiece {
	p := &gramPiece{data: make([]byte, 0, len(a.data)+len(b.data))}
	put := func(gram uint32, ids []uint32) {
		p.grams, p.counts = append(p.grams, gram), append(p.counts, uint32(len(ids)))
		p.starts = append(p.starts, uint32(len(p.data)))
		last := uint32(0)
		for _, id := range ids {
			p.data = binary.AppendUvarint(p.data, uint64(id-last))
			last = id
		}
		p.size += len(ids)
	}
	var left, right []uint32
	for i, j := 0, 0; i < len(a.grams) || j < len(b.grams); {
		left, right = left[:0], right[:0]
		gram := uint32(gramKinds)
		if i < len(a.grams) {
			gram = a.grams[i]
		}
		if j < len(b.grams) {
			gram = min(gram, b.grams[j])
		}
		if i < len(a.grams) && a.grams[i] == gram {
			left = appendIDs(left, a.data[a.starts[i]:a.starts[i+1]])
			i++
		}
		if j < len(b.grams) && b.grams[j] == gram {
			right = appendIDs(right, b.data[b.starts[j]:b.starts[j+1]])
			j++
		}
		put(gram, mergeIDs(left, right))
	}
	p.starts = append(p.starts, uint32(len(p.data)))
	p.group()
	return p
}

func mergeIDs(a, b []uint32) []uint32 {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	out := make([]uint32, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] < b[0]:
			out, a = append(out, a[0]), a[1:]
		case a[0] > b[0]:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, a[0]), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// gramIndex is all pieces and the objects that are in none as they are now.
type gramIndex struct {
	pieces []*gramPiece // the larger ones first
	dirty  []uint32
}

// count bounds how many objects have all grams.
func (x *gramIndex) count(grams []uint32) int {
	n := len(x.dirty)
	for _, p := range x.pieces {
		least := -1
		for _, g := range grams {
			if c, _ := p.list(g); least < 0 || c < least {
				least = c
			}
		}
		n += max(least, 0)
	}
	return n
}

// find appends the objects that have all grams, in no order and some twice.
func (x *gramIndex) find(dst, grams []uint32) []uint32 {
	dst = append(dst, x.dirty...)
	type list struct {
		count int
		data  []byte
	}
	for _, p := range x.pieces {
		lists := make([]list, 0, len(grams))
		for _, g := range grams {
			n, data := p.list(g)
			lists = append(lists, list{n, data})
		}
		slices.SortFunc(lists, func(a, b list) int { return a.count - b.count })
		if lists[0].count == 0 {
			continue
		}
		start := len(dst)
		dst = appendIDs(dst, lists[0].data)
		for _, l := range lists[1:] {
			// To read a list that is much longer than what is left costs more
			// than to look at the objects.
			if left := len(dst) - start; left < 4 || l.count > readPerLook*left {
				break
			}
			dst = dst[:start+len(common(dst[start:], l.data))]
		}
	}
	return dst
}

// readPerLook is how many ids of a list are read in the time of a look at an
// object, which is seldom in the processor's cache.
const readPerLook = 64

// common keeps in a what a list has too.
func common(a []uint32, data []byte) []uint32 {
	if len(a) == 0 {
		return a
	}
	out, next := a[:0], 0
	id, want := uint32(0), a[0]
	for i := 0; i < len(data); {
		d := uint32(data[i])
		i++
		if d >= 0x80 {
			d, i = longID(data, d, i)
		}
		id += d
		for want < id {
			if next++; next == len(a) {
				return out
			}
			want = a[next]
		}
		if want == id {
			out = append(out, id)
		}
	}
	return out
}

// grow merges pieces of like size.
func (x *gramIndex) grow(p *gramPiece) {
	x.pieces = append(slices.Clone(x.pieces), p)
	for n := len(x.pieces); n > 1 && x.pieces[n-2].size < pieceRatio*x.pieces[n-1].size; n-- {
		x.pieces = append(x.pieces[:n-2], mergeGrams(x.pieces[n-2], x.pieces[n-1]))
	}
}
