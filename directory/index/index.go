// Package index is the whole directory in memory, compact and searchable. It
// knows no SQL and no sockets: directory/postgres loads it, applies each change
// to it and asks it.
//
// Its laws. Records of objects are bytes in slabs that are never written again;
// the indexes for equality, order and substrings are sorted pieces that are
// never changed, only replaced. They say where to look: every candidate is
// looked at again, so an entry that lost its value does no harm. Readers hold a
// lock for a batch of at most a few thousand candidates, never while a caller's
// function runs; a writer holds it for a few objects at a time. So nobody waits
// long, an object is seen before or after a change but never half, and a search
// of several batches sees each object as it is when its turn comes.
//
// Inside, an object is named by 32 bits of its ObjectID.
package index

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"waypost/directory"
	"waypost/directory/schema"
)

// Index is the directory in memory. Its methods are safe for concurrent use.
type Index struct {
	writer sync.Mutex // held by whoever changes anything

	mu      sync.RWMutex // guards all below; see the package comment
	schema  *schema.Schema
	info    []attribute // by Number
	usn     directory.USN
	root    uint32 // the object without a parent, which domains lie below
	table   table
	slabs   slabs
	dict    dictionary
	links   links
	pairs   pairSet
	places  pieces[place]
	grams   gramIndex
	present []bitmap // by attribute: who has stored or cold values
	classes []bitmap // by class: whose most specific class it is
	deleted bitmap
	ghosts  bitmap   // who is not here, although links may lead there
	extra   []bitmap // by auxiliary class: who names it itself
	heads   []uint32 // of naming contexts
	naming  []bool   // by attribute: some object is named by it
	history history
	stale   int // pairs and places that may have lost their value

	cold Cold
	seed maphash.Seed
	// names counts the changes of names of containers, for the cache.
	names atomic.Uint64
	cache nameCache
	fixed atomic.Pointer[schemaNames]
	wants wants

	nameAttr, guidAttr, sidAttr, dcAttr uint16
}

// New makes an empty index. cold may be nil when no object has cold attributes.
func New(s *schema.Schema, cold Cold) *Index {
	x := &Index{cold: cold, seed: maphash.MakeSeed(), dict: newDictionary()}
	x.setSchema(s)
	return x
}

// Schema is the schema of now.
func (x *Index) Schema() *schema.Schema {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.schema
}

// SetSchema replaces the schema by one that was extended from it. Flags of an
// attribute that is in use already (indexed or not) are looked at by the next
// process.
func (x *Index) SetSchema(s *schema.Schema) {
	x.writer.Lock()
	defer x.writer.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.setSchema(s)
}

func (x *Index) setSchema(s *schema.Schema) {
	info := attributesOf(s)
	for n := range min(len(info), len(x.info)) {
		was := &x.info[n]
		info[n].equal, info[n].group, info[n].gram = was.equal, was.group, was.gram
	}
	x.schema, x.info = s, info
	x.forgetWants()
	grow := func(n int, list *[]bitmap) {
		*list = append(*list, make([]bitmap, max(0, n-len(*list)))...)
	}
	grow(len(info), &x.present)
	grow(len(s.Classes()), &x.classes)
	grow(len(s.Classes()), &x.extra)
	x.naming = append(x.naming, make([]bool, max(0, len(info)-len(x.naming)))...)
	for name, at := range map[string]*uint16{"name": &x.nameAttr, "objectGUID": &x.guidAttr, "objectSid": &x.sidAttr, "dc": &x.dcAttr} {
		if a, ok := s.Attribute(name); ok {
			*at = uint16(a.Number)
		}
	}
}

// USN is the newest change that was applied.
func (x *Index) USN() directory.USN {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.usn
}

// Len is the number of objects, tombstones among them.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.table.count
}

// record takes an object's record apart.
func (x *Index) record(s *slot) record { return parseRecord(x.slabs.get(s.record)) }

// history is who changed when, in order of USN. What changed again later is in
// it twice.
type history struct {
	usns []uint64
	ids  []uint32
}

func (h *history) add(usn uint64, id uint32) {
	h.usns, h.ids = append(h.usns, usn), append(h.ids, id)
}
