package index

import (
	"encoding/binary"
	"unsafe"
)

// slabSize is large enough that the collector has few pointers to follow and
// small enough that an entry which somebody keeps holds little memory back.
const slabSize = 1 << 20

// slabs hold records. What was written is never changed, so that the strings of
// an entry can lie in a slab; a record's place is used again only when all of
// them are written anew (Index.rebuild).
type slabs struct {
	list  [][]byte
	total int // bytes of all records ever put
	dead  int // bytes of those that are not used any more
}

// put copies a record and gives its place, which is never 0. The writer alone
// calls it.
func (s *slabs) put(record []byte) uint64 {
	n := len(s.list)
	if n == 0 || cap(s.list[n-1])-len(s.list[n-1]) < len(record) {
		s.list = append(s.list, make([]byte, 0, max(slabSize, len(record))))
		n++
	}
	slab := &s.list[n-1]
	at := len(*slab)
	*slab = append(*slab, record...)
	s.total += len(record)
	return uint64(n)<<32 | uint64(at)
}

// get gives the record at a place, without its length.
func (s *slabs) get(place uint64) []byte {
	slab := s.list[place>>32-1][uint32(place):]
	n, size := binary.Uvarint(slab)
	return slab[size : size+int(n)]
}

// text shows bytes of a slab as a string; they never change.
func text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}

// uvarint reads a number of a record and gives what is behind it. Records are
// made by this package alone, so they are well formed.
func uvarint(b []byte) (uint64, []byte) {
	if b[0] < 0x80 {
		return uint64(b[0]), b[1:]
	}
	n, size := binary.Uvarint(b)
	return n, b[size:]
}
