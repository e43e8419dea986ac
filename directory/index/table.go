package index

import "slices"

// slot is an object's place in the table. One without a record holds what leads
// to an object that is not here.
type slot struct {
	record uint64 // in the slabs; 0: none
	parent uint32
	links  uint32 // block of link lists; 0: none
	class  uint16
	flags  uint16
}

const (
	flagDeleted uint16 = 1 << iota
	flagHead           // of a naming context
	flagCold           // has cold attributes
	flagDomain         // is a domainDNS
)

// table is the slots by ObjectID, in pages that are there only where an object
// is: ids are dense, but may begin anew far above (FirstMade).
type table struct {
	top   []*[256]*page // by id>>16
	used  []uint32      // which of these are there, ascending
	count int           // slots with a record
}

type page [256]slot

// get gives the slot of an id, nil when there never was one.
func (t *table) get(id uint32) *slot {
	hi := id >> 16
	if int(hi) >= len(t.top) || t.top[hi] == nil {
		return nil
	}
	p := t.top[hi][id>>8&255]
	if p == nil {
		return nil
	}
	return &p[id&255]
}

// live gives the slot of an id that has a record.
func (t *table) live(id uint32) *slot {
	if s := t.get(id); s != nil && s.record != 0 {
		return s
	}
	return nil
}

// at gives the slot of an id, made when there is none.
func (t *table) at(id uint32) *slot {
	hi := int(id >> 16)
	if hi >= len(t.top) {
		grown := make([]*[256]*page, hi+1)
		copy(grown, t.top)
		t.top = grown
	}
	if t.top[hi] == nil {
		t.top[hi] = new([256]*page)
		at, _ := slices.BinarySearch(t.used, uint32(hi)) //nolint:gosec // 16 bits
		t.used = slices.Insert(t.used, at, uint32(hi))   //nolint:gosec // 16 bits
	}
	p := &t.top[hi][id>>8&255]
	if *p == nil {
		*p = new(page)
	}
	return &(*p)[id&255]
}

// each calls fn with every slot that has a record, in order of id, beginning
// with from, until fn gives false.
func (t *table) each(from uint32, fn func(id uint32, s *slot) bool) {
	at, _ := slices.BinarySearch(t.used, from>>16)
	for _, hi := range t.used[at:] {
		mid := t.top[hi]
		for m := range uint32(256) {
			first := hi<<16 | m<<8
			if mid[m] == nil || first|255 < from {
				continue
			}
			for i := range mid[m] {
				id := first | uint32(i)
				if s := &mid[m][i]; s.record != 0 && id >= from && !fn(id, s) {
					return
				}
			}
		}
	}
}
