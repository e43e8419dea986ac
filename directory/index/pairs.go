package index

import (
	"slices"
	"sort"
)

// pairs is the index for equality: a sorted set of (hash of attribute and key,
// id). A pair whose object has another value by now does no harm, since every
// candidate is looked at again; so pairs are only added, and those that lost
// their value are dropped when all is made anew (Index.rebuild).
//
// The set is kept in pieces, each a sorted list that is never changed; the last
// one takes the newest pairs, and pieces of like size are merged. Whoever holds
// a pieces value may read it without a lock.
type pieces[T any] [][]T

const (
	pieceMin   = 1024 // a last piece of this size is left alone
	pieceRatio = 4    // pieces differ by at least this
)

func pair(hash, id uint32) uint64 { return uint64(hash)<<32 | uint64(id) }

// with adds a sorted list without doubles to the last piece, or makes it a piece.
func with[T any](p pieces[T], news []T, compare func(a, b T) int) pieces[T] {
	if len(news) == 0 {
		return p
	}
	n := len(p)
	if n > 0 && len(p[n-1])+len(news) <= pieceMin {
		grown := slices.Clone(p)
		grown[n-1] = merge(p[n-1], news, compare)
		return grown
	}
	grown := append(slices.Clip(p), news)
	// What was the last piece until now was left alone too.
	for n := len(grown) - 1; n > 0; n-- {
		if len(grown[n-1]) < pieceRatio*len(grown[n]) {
			merged := merge(grown[n-1], grown[n], compare)
			grown = append(append(slices.Clone(grown[:n-1]), merged), grown[n+1:]...)
		}
	}
	return grown
}

// merge makes one sorted list of two, without doubles.
func merge[T any](a, b []T, compare func(a, b T) int) []T {
	out := make([]T, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch c := compare(a[0], b[0]); {
		case c < 0:
			out, a = append(out, a[0]), a[1:]
		case c > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, a[0]), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

func comparePairs(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// pairSet is the set of pairs, each piece with a table of where its hashes begin.
type pairSet struct {
	pieces[uint64]
	starts []starts
}

func newPairSet(p pieces[uint64]) pairSet { return pairSet{}.of(p) }

// with adds pairs, sorted and without doubles.
func (s pairSet) with(news []uint64) pairSet { return s.of(with(s.pieces, news, comparePairs)) }

// of makes a set of pieces, some of which may be s's.
func (s pairSet) of(p pieces[uint64]) pairSet {
	n := pairSet{p, make([]starts, len(p))}
	for i, list := range p {
		if i < len(s.pieces) && len(list) == len(s.pieces[i]) && &list[0] == &s.pieces[i][0] {
			n.starts[i] = s.starts[i]
		} else {
			n.starts[i] = startsOf(list)
		}
	}
	return n
}

// starts tells where in a list the pairs begin whose first bits are a number, so
// that a search touches few lines of memory. A guess by proportion would be far
// off: half of a directory has the same few classes, under the same few hashes.
type starts struct {
	shift uint // 64 less the bits
	at    []uint32
}

// startsEvery is how many pairs have one start, on the average.
const startsEvery = 64

func startsOf(list []uint64) (s starts) {
	s.shift = 64
	for n := len(list); n > startsEvery; n >>= 1 {
		s.shift--
	}
	if s.shift == 64 {
		return s
	}
	s.at = make([]uint32, 1<<(64-s.shift)+1)
	next := 0
	for i, p := range list {
		for at := int(p >> s.shift); next <= at; next++ {
			s.at[next] = uint32(i) //nolint:gosec // index.MaxID bounds ids, and memory their pairs
		}
	}
	for ; next < len(s.at); next++ {
		s.at[next] = uint32(len(list)) //nolint:gosec // as above
	}
	return s
}

// lower finds the first pair of the list not below p.
func (s *starts) lower(list []uint64, p uint64) int {
	lo, hi := 0, len(list)
	if s.at != nil {
		lo, hi = int(s.at[p>>s.shift]), int(s.at[p>>s.shift+1])
	}
	at, _ := slices.BinarySearch(list[lo:hi], p)
	return lo + at
}

// equals gives the runs of pairs with a hash, one of each piece.
func (s pairSet) equals(hash uint32) (runs [][]uint64, count int) {
	for i, list := range s.pieces {
		from := s.starts[i].lower(list, pair(hash, 0))
		to := from
		for to < len(list) && to < from+8 && uint32(list[to]>>32) == hash {
			to++
		}
		if to == from+8 {
			to = len(list)
			if hash != 1<<32-1 {
				to = s.starts[i].lower(list, pair(hash+1, 0))
			}
		}
		if to > from {
			runs, count = append(runs, list[from:to]), count+to-from
		}
	}
	return runs, count
}

// place is an entry of the ordered index: group (16 bits), the first 8 bytes of
// the key, attribute (16 bits), id. Text of all attributes that people are found
// by is one group, so that ANR is one range.
type place struct{ hi, lo uint64 }

func placeOf(group uint16, key uint64, attr uint16, id uint32) place {
	return place{uint64(group)<<48 | key>>16, key<<48 | uint64(attr)<<32 | uint64(id)}
}

func (p place) id() uint32 { return uint32(p.lo) }

func comparePlaces(a, b place) int {
	switch {
	case a.hi != b.hi:
		return comparePairs(a.hi, b.hi)
	default:
		return comparePairs(a.lo, b.lo)
	}
}

// between gives the runs of places of a group with keys from low to high, one
// of each piece.
func between(p pieces[place], group uint16, low, high uint64) (runs [][]place, count int) {
	first, last := placeOf(group, low, 0, 0), placeOf(group, high, 1<<16-1, 1<<32-1)
	for _, list := range p {
		from := sort.Search(len(list), func(i int) bool { return comparePlaces(list[i], first) >= 0 })
		to := from + sort.Search(len(list)-from, func(i int) bool { return comparePlaces(list[from+i], last) > 0 })
		if to > from {
			runs, count = append(runs, list[from:to]), count+to-from
		}
	}
	return runs, count
}

// key8 is the first 8 bytes of a key as a number; fill takes the place of those
// that a short key has not.
func key8(key []byte, fill byte) uint64 {
	var k uint64
	for i := range 8 {
		c := fill
		if i < len(key) {
			c = key[i]
		}
		k = k<<8 | uint64(c)
	}
	return k
}
