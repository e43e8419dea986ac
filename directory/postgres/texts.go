package postgres

import (
	"encoding/binary"
	"hash/maphash"
	"unsafe"
)

const (
	// textParts is how many texts an object has together.
	textParts = 6
	// textPage is the size of the memory that texts are put into, in bytes.
	textPage = 1 << 20
)

// textAt is where the texts of an object are: page and offset.
type textAt uint64

// textStore keeps the texts of objects in large pieces of memory that are written
// once: an object costs the collector nothing, and a string of it needs no copy.
type textStore struct {
	pages [][]byte
	used  int // bytes
	freed int
}

// put keeps texts together.
func (t *textStore) put(parts ...string) textAt {
	var head [textParts * binary.MaxVarintLen32]byte
	n, size := 0, 0
	for _, p := range parts {
		n += binary.PutUvarint(head[n:], uint64(len(p)))
		size += len(p)
	}
	size += n
	last := len(t.pages) - 1
	if last < 0 || len(t.pages[last])+size > cap(t.pages[last]) {
		t.pages = append(t.pages, make([]byte, 0, max(textPage, size)))
		last++
	}
	page := t.pages[last]
	at := textAt(last)<<32 | textAt(len(page)) //nolint:gosec // both are far below 2^32
	page = append(page, head[:n]...)
	for _, p := range parts {
		page = append(page, p...)
	}
	t.pages[last] = page
	t.used += size
	return at
}

// read gives the texts in their order.
func (t *textStore) read(at textAt, into ...*string) {
	b := t.pages[at>>32][uint32(at):] //nolint:gosec // the lower half is the offset
	var sizes [textParts]int
	for i := range into {
		n, w := binary.Uvarint(b)
		sizes[i] = int(n) //nolint:gosec // a length that put wrote
		b = b[w:]
	}
	for i, p := range into {
		*p = ""
		if sizes[i] > 0 {
			*p = unsafe.String(&b[0], sizes[i]) // never written again
			b = b[sizes[i]:]
		}
	}
}

// free counts what is not used any more.
func (t *textStore) free(at textAt) {
	b := t.pages[at>>32][uint32(at):] //nolint:gosec // the lower half is the offset
	for range textParts {
		n, w := binary.Uvarint(b)
		t.freed += int(n) + w //nolint:gosec // a length that put wrote
		b = b[w:]
	}
}

// wasteful tells whether half of the memory is not used.
func (t *textStore) wasteful() bool { return t.freed > 16*textPage && t.freed > t.used/2 }

// nameTable finds objects by name keys. A cell has a hash and an id; the names
// themselves are the objects' texts.
type nameTable struct {
	seed  maphash.Seed
	cells []nameCell // a power of two
	full  int        // cells that are or were used
	count int
}

type nameCell struct{ hash, id uint32 }

const goneID = ^uint32(0)

func (t *nameTable) hash(kind nameKind, key string) uint32 {
	var h maphash.Hash
	h.SetSeed(t.seed)
	_ = h.WriteByte(byte(kind))
	_, _ = h.WriteString(key)
	return uint32(h.Sum64()) //nolint:gosec // half of it will do
}

func (t *nameTable) add(k nameKey, id uint32) {
	if 2*t.full >= len(t.cells) {
		t.grow()
	}
	h := t.hash(k.kind, k.key)
	for i := int(h) & (len(t.cells) - 1); ; i = (i + 1) & (len(t.cells) - 1) {
		if t.cells[i].id == 0 {
			t.cells[i] = nameCell{h, id}
			t.full++
			t.count++
			return
		}
	}
}

func (t *nameTable) grow() {
	old := t.cells
	if old == nil {
		t.seed = maphash.MakeSeed()
	}
	size := 1024
	for size < 4*t.count {
		size *= 2
	}
	t.cells, t.full = make([]nameCell, size), 0
	for _, c := range old {
		if c.id == 0 || c.id == goneID {
			continue
		}
		i := int(c.hash) & (size - 1)
		for t.cells[i].id != 0 {
			i = (i + 1) & (size - 1)
		}
		t.cells[i] = c
		t.full++
	}
}

func (t *nameTable) remove(k nameKey, id uint32) {
	if len(t.cells) == 0 {
		return
	}
	h := t.hash(k.kind, k.key)
	for i := int(h) & (len(t.cells) - 1); t.cells[i].id != 0; i = (i + 1) & (len(t.cells) - 1) {
		if c := &t.cells[i]; c.hash == h && c.id == id {
			c.id = goneID
			t.count--
			return
		}
	}
}

// find gives the object that has a name, 0 for none. namesOf gives the packed
// names of an object.
func (t *nameTable) find(kind nameKind, key string, namesOf func(uint32) string) uint32 {
	if len(t.cells) == 0 {
		return 0
	}
	h := t.hash(kind, key)
	for i := int(h) & (len(t.cells) - 1); t.cells[i].id != 0; i = (i + 1) & (len(t.cells) - 1) {
		c := t.cells[i]
		if c.hash != h || c.id == goneID {
			continue
		}
		for _, k := range unpackNames(namesOf(c.id)) {
			if k.kind == kind && k.key == key {
				return c.id
			}
		}
	}
	return 0
}
