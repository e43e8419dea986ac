package index

import (
	"hash/maphash"
	"sync/atomic"
)

// The dictionary holds values that many objects have (departments, servers,
// towns): their records name them by number. It only grows, to a limit.
const (
	maxWords   = 1 << 16
	minWord    = 4 // a shorter value is no longer than its number
	maxWord    = 256
	doorkeeper = 1 << 16
	// enough sightings of a value make a word of it.
	enough = 12
)

// wordRDN is the value that is the same as the object's RDN.
const wordRDN = 0

type dictionary struct {
	words  []string // by number
	number map[string]uint32
	seed   maphash.Seed
	// seen counts values that are no words yet, so far as they do not meet in
	// one place: 8 bits of count below 24 of the value's hash.
	seen []atomic.Uint32
}

func newDictionary() dictionary {
	return dictionary{
		words: []string{""}, number: map[string]uint32{},
		seed: maphash.MakeSeed(), seen: make([]atomic.Uint32, doorkeeper),
	}
}

// frequent counts a value and tells when it has become a word.
func (d *dictionary) frequent(value string) bool {
	h := maphash.String(d.seed, value)
	place := &d.seen[h%doorkeeper]
	print := uint32(h>>40) << 8
	switch was := place.Load(); {
	case was&^0xff == print && was&0xff >= enough:
		place.Store(0)
		return true
	case was&^0xff == print:
		place.Store(was + 1)
	case was&0xff > 0:
		place.Store(was - 1) // of another value: whoever comes more often stays
	default:
		place.Store(print | 1)
	}
	return false
}

// learn makes words of values. The caller holds the lock.
func (d *dictionary) learn(values []string) {
	for _, v := range values {
		if _, known := d.number[v]; known || len(d.words) >= maxWords {
			continue
		}
		d.number[v] = uint32(len(d.words))
		d.words = append(d.words, v)
	}
}
