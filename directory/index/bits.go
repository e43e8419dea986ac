package index

import "math/bits"

// bitmap is a set of ids, in pages that are there only where it has members.
type bitmap struct {
	pages []*[1024]uint64 // by id>>16
	count int
}

func (b *bitmap) has(id uint32) bool {
	hi := id >> 16
	return int(hi) < len(b.pages) && b.pages[hi] != nil && b.pages[hi][id>>6&1023]>>(id&63)&1 != 0
}

// add tells whether id was not in the set.
func (b *bitmap) add(id uint32) bool {
	hi := int(id >> 16)
	for hi >= len(b.pages) {
		b.pages = append(b.pages, nil)
	}
	if b.pages[hi] == nil {
		b.pages[hi] = new([1024]uint64)
	}
	w := &b.pages[hi][id>>6&1023]
	if *w>>(id&63)&1 != 0 {
		return false
	}
	*w |= 1 << (id & 63)
	b.count++
	return true
}

func (b *bitmap) remove(id uint32) {
	if b.has(id) {
		b.pages[id>>16][id>>6&1023] &^= 1 << (id & 63)
		b.count--
	}
}

// appendFrom appends members beginning with from, at most limit of them.
func (b *bitmap) appendFrom(dst []uint32, from uint32, limit int) []uint32 {
	word := from >> 6 & 1023
	mask := ^uint64(0) << (from & 63)
	for hi := from >> 16; int(hi) < len(b.pages); hi++ {
		if p := b.pages[hi]; p != nil {
			for ; word < 1024; word++ {
				for w := p[word] & mask; w != 0; w &= w - 1 {
					if limit--; limit < 0 {
						return dst
					}
					dst = append(dst, hi<<16|word<<6|uint32(bits.TrailingZeros64(w)))
				}
				mask = ^uint64(0)
			}
		}
		word, mask = 0, ^uint64(0)
	}
	return dst
}

// union makes the members of both.
func union(sets []*bitmap) *bitmap {
	var all bitmap
	for _, s := range sets {
		for hi, p := range s.pages {
			if p == nil {
				continue
			}
			for hi >= len(all.pages) {
				all.pages = append(all.pages, nil)
			}
			if all.pages[hi] == nil {
				all.pages[hi] = new([1024]uint64)
			}
			for i, w := range p {
				all.pages[hi][i] |= w
			}
		}
	}
	for _, p := range all.pages {
		if p != nil {
			for _, w := range p {
				all.count += bits.OnesCount64(w)
			}
		}
	}
	return &all
}
