package index

import "slices"

// links hold, for each object, what it leads to and what leads to it: lists of
// ids in ascending order, one for each code. A list of up to maxInline lies in
// the object's block, a longer one by itself.
//
// A block is words in an arena page: the size class and the words in use, then
// for each list a head (code and length) and its ids, or the number of the long
// list.
type links struct {
	pages [][]uint32
	free  [classes][]uint32 // blocks by size class
	long  [][]uint32
	spare []uint32 // numbers of long lists not in use
}

// code is an attribute's number times two, plus one for the way back.
type code uint16

// children is the code of what lies directly below.
const children code = 1<<16 - 1

func forward(attr uint16) code { return code(attr) << 1 }
func back(attr uint16) code    { return code(attr)<<1 | 1 }

const (
	arenaPage = 1 << 16
	maxInline = 64
	isLong    = 1<<16 - 1
	classes   = 32
)

// sizes are the words of a block by size class: 4, 6, 8, 12, 16, 24, …
var sizes = func() (s [classes]int) {
	s[0], s[1] = 4, 6
	for i := 2; i < classes; i++ {
		s[i] = 2 * s[i-2]
	}
	return s
}()

func classOf(words int) int {
	for c, size := range sizes {
		if words <= size {
			return c
		}
	}
	return classes - 1
}

// alloc gives a block for so many words, the head among them.
func (l *links) alloc(words int) uint32 {
	c := classOf(words)
	if n := len(l.free[c]); n > 0 {
		ref := l.free[c][n-1]
		l.free[c] = l.free[c][:n-1]
		l.block(ref)[0] = uint32(c) << 24
		return ref
	}
	n := len(l.pages)
	if n == 0 || len(l.pages[n-1])+sizes[c] > arenaPage {
		l.pages = append(l.pages, make([]uint32, 0, max(arenaPage, sizes[c])))
		n++
		if n == 1 {
			l.pages[0] = l.pages[0][:1] // 0 is no block
		}
	}
	p := &l.pages[n-1]
	ref := uint32(n-1)<<16 | uint32(len(*p))
	*p = (*p)[:len(*p)+sizes[c]]
	l.block(ref)[0] = uint32(c) << 24
	return ref
}

// block gives the words from a block's beginning on.
func (l *links) block(ref uint32) []uint32 { return l.pages[ref>>16][ref&0xffff:] }

func (l *links) release(ref uint32) {
	c := l.block(ref)[0] >> 24
	l.free[c] = append(l.free[c], ref)
}

// each calls fn with every list of a block; they are good while the lock is
// held.
func (l *links) each(ref uint32, fn func(c code, ids []uint32)) {
	if ref == 0 {
		return
	}
	b := l.block(ref)
	b = b[1 : 1+b[0]&0xffffff]
	for len(b) > 0 {
		c, n := code(b[0]>>16), b[0]&0xffff
		if n == isLong {
			fn(c, l.long[b[1]])
			b = b[2:]
			continue
		}
		fn(c, b[1:1+n])
		b = b[1+n:]
	}
}

// list gives one list; it is good while the lock is held.
func (l *links) list(ref uint32, want code) []uint32 {
	if ref == 0 {
		return nil
	}
	b := l.block(ref)
	b = b[1 : 1+b[0]&0xffffff]
	for len(b) > 0 {
		c, n := code(b[0]>>16), b[0]&0xffff
		switch {
		case n == isLong && c == want:
			return l.long[b[1]]
		case n == isLong:
			b = b[2:]
		case c == want:
			return b[1 : 1+n]
		default:
			b = b[1+n:]
		}
	}
	return nil
}

// set replaces a list by ids, which it copies, and gives the block of now.
func (l *links) set(ref uint32, c code, ids []uint32) uint32 {
	// Everything else of the block, then this list.
	var words []uint32
	if ref != 0 {
		b := l.block(ref)
		b = b[1 : 1+b[0]&0xffffff]
		for len(b) > 0 {
			n := 1 + int(b[0]&0xffff)
			if b[0]&0xffff == isLong {
				n = 2
			}
			switch {
			case code(b[0]>>16) != c:
				words = append(words, b[:n]...)
			case b[0]&0xffff == isLong && len(ids) > maxInline/2:
				// It stays a long one: no need to write the block anew.
				l.long[b[1]] = append(l.long[b[1]][:0], ids...)
				return ref
			case b[0]&0xffff == isLong:
				l.long[b[1]] = nil
				l.spare = append(l.spare, b[1])
			}
			b = b[n:]
		}
	}
	switch {
	case len(ids) > maxInline:
		words = append(words, uint32(c)<<16|isLong, l.keep(slices.Clone(ids)))
	case len(ids) > 0:
		words = append(words, uint32(c)<<16|uint32(len(ids)))
		words = append(words, ids...)
	}
	return l.write(ref, words)
}

// keep gives a number to a long list.
func (l *links) keep(ids []uint32) uint32 {
	if n := len(l.spare); n > 0 {
		at := l.spare[n-1]
		l.spare = l.spare[:n-1]
		l.long[at] = ids
		return at
	}
	l.long = append(l.long, ids)
	return uint32(len(l.long) - 1)
}

// write puts words into a block, the one of before if they fit.
func (l *links) write(ref uint32, words []uint32) uint32 {
	if len(words) == 0 {
		if ref != 0 {
			l.release(ref)
		}
		return 0
	}
	if ref == 0 || classOf(len(words)+1) != int(l.block(ref)[0]>>24) {
		if ref != 0 {
			l.release(ref)
		}
		ref = l.alloc(len(words) + 1)
	}
	b := l.block(ref)
	b[0] = b[0]&0xff000000 | uint32(len(words))
	copy(b[1:], words)
	return ref
}

// add puts an id into a list; it tells whether it was not there.
func (l *links) add(ref *uint32, c code, id uint32) bool {
	ids := l.list(*ref, c)
	at, there := slices.BinarySearch(ids, id)
	if there {
		return false
	}
	if len(ids) > maxInline {
		if n := l.longOf(*ref, c); n >= 0 {
			l.long[n] = slices.Insert(l.long[n], at, id)
			return true
		}
	}
	*ref = l.set(*ref, c, slices.Insert(slices.Clone(ids), at, id))
	return true
}

// remove takes an id out of a list; it tells whether it was there.
func (l *links) remove(ref *uint32, c code, id uint32) bool {
	ids := l.list(*ref, c)
	at, there := slices.BinarySearch(ids, id)
	if !there {
		return false
	}
	if n := l.longOf(*ref, c); n >= 0 && len(ids) > maxInline/2+1 {
		l.long[n] = slices.Delete(l.long[n], at, at+1)
		return true
	}
	*ref = l.set(*ref, c, slices.Delete(slices.Clone(ids), at, at+1))
	return true
}

// longOf gives the number of a list that is a long one, else -1.
func (l *links) longOf(ref uint32, want code) int {
	if ref == 0 {
		return -1
	}
	b := l.block(ref)
	b = b[1 : 1+b[0]&0xffffff]
	for len(b) > 0 {
		n := int(b[0] & 0xffff)
		switch {
		case n == isLong && code(b[0]>>16) == want:
			return int(b[1])
		case n == isLong:
			b = b[2:]
		default:
			b = b[1+n:]
		}
	}
	return -1
}
