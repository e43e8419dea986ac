package index

import (
	"cmp"
	"runtime"
	"slices"
	"sort"
	"sync"

	"waypost/directory"
	"waypost/internal/fault"
)

// Loader fills an empty index. Nothing is found before Done.
type Loader struct {
	x     *Index
	mu    sync.RWMutex // read: the dictionary is used; written: all of it
	pool  sync.Pool    // of *encoder
	links []linkRow
}

// linkRow is one id of one list.
type linkRow struct {
	of, id uint32
	code   code
}

// Load begins to fill the index, which must be empty and is not searched
// meanwhile.
func (x *Index) Load() *Loader {
	l := &Loader{x: x}
	l.pool.New = func() any { return &encoder{x: x} }
	return l
}

// Add takes objects in any order; several goroutines may call it at the same
// time, best with some hundred objects each. Everything is copied. A fault
// (Invalid) names the object; none of this call's are then added.
func (l *Loader) Add(objects []Object) error {
	e := l.pool.Get().(*encoder)
	defer l.pool.Put(e)
	e.info, e.schema, e.out, e.learn = l.x.info, l.x.schema, e.out[:0], e.learn[:0]
	ready := make([]encoded, 0, len(objects))
	rows := make([]linkRow, 0, 4*len(objects))
	l.mu.RLock()
	err := func() error {
		for i := range objects {
			done, err := e.object(&objects[i])
			if err != nil {
				return err
			}
			ready = append(ready, done)
			if rows, err = e.linkRows(rows, &objects[i]); err != nil {
				return err
			}
		}
		return nil
	}()
	l.mu.RUnlock()
	if err != nil {
		return err
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.x
	for _, r := range ready {
		s := x.table.at(r.id)
		if s.record != 0 {
			return fault.New(fault.Invalid, "object %d is loaded twice", r.id)
		}
		*s = slot{record: x.slabs.put(e.out[r.from:r.to]), parent: r.parent, class: r.class, flags: r.flags}
		x.table.count++
		if r.parent == 0 {
			x.root = r.id
		}
		x.named(r.rdnAttr, r.parent)
	}
	l.links = append(l.links, rows...)
	x.dict.learn(e.learn)
	return nil
}

// named notes that objects are named by an attribute.
func (x *Index) named(attr uint16, parent uint32) {
	if parent != 0 && !x.naming[attr] {
		x.naming[attr] = true
		x.forgetWants()
	}
}

// linkRows appends the object's links.
func (e *encoder) linkRows(rows []linkRow, o *Object) ([]linkRow, error) {
	for _, link := range o.Links {
		a, err := e.linkAttribute(o, link.Attribute)
		if err != nil {
			return nil, err
		}
		for _, t := range link.Targets {
			if t < 1 || t > MaxID {
				return nil, fault.New(fault.Invalid, "object %d: %s leads to %d", o.ID, link.Attribute, t)
			}
			rows = append(rows, linkRow{uint32(o.ID), uint32(t), forward(a)})
		}
	}
	return rows, nil
}

func (e *encoder) linkAttribute(o *Object, name string) (uint16, error) {
	a, ok := e.schema.Attribute(name)
	if !ok || !e.info[a.Number].dn || a.Back() {
		return 0, fault.New(fault.Invalid, "object %d: %q is no link", o.ID, name)
	}
	return uint16(a.Number), nil
}

// Done makes the indexes; usn is the directory's at the time of the snapshot
// that was loaded.
func (l *Loader) Done(usn directory.USN) error {
	x := l.x
	x.writer.Lock()
	defer x.writer.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	l.linkLists()
	x.usn = usn
	m := x.makeIndexes()
	m.put(x)
	return nil
}

// linkLists makes the lists of what leads where, both ways.
func (l *Loader) linkLists() {
	x := l.x
	rows := l.links
	l.links = nil
	n := len(rows)
	rows = slices.Grow(rows, n+x.table.count)
	for _, r := range rows[:n] {
		rows = append(rows, linkRow{r.id, r.of, r.code | 1})
	}
	x.table.each(0, func(id uint32, s *slot) bool {
		if s.parent != 0 {
			rows = append(rows, linkRow{s.parent, id, children})
		}
		return true
	})
	sortParallel(rows, func(a, b linkRow) int {
		if a.of != b.of {
			return cmp.Compare(a.of, b.of)
		}
		if a.code != b.code {
			return cmp.Compare(a.code, b.code)
		}
		return cmp.Compare(a.id, b.id)
	})
	var ids, words []uint32
	for len(rows) > 0 {
		of := rows[0].of
		words = words[:0]
		for len(rows) > 0 && rows[0].of == of {
			c := rows[0].code
			ids = ids[:0]
			for len(rows) > 0 && rows[0].of == of && rows[0].code == c {
				if len(ids) == 0 || ids[len(ids)-1] != rows[0].id {
					ids = append(ids, rows[0].id)
				}
				rows = rows[1:]
			}
			if len(ids) > maxInline {
				words = append(words, uint32(c)<<16|isLong, x.links.keep(slices.Clone(ids)))
			} else {
				words = append(append(words, uint32(c)<<16|uint32(len(ids))), ids...)
			}
		}
		s := x.table.at(of)
		s.links = x.links.write(0, words)
		if s.record == 0 {
			x.ghosts.add(of)
		}
	}
}

// sortParallel sorts with every processor.
func sortParallel[T any](list []T, compare func(a, b T) int) {
	parts := min(runtime.GOMAXPROCS(0), 8)
	if len(list) < 1<<14 || parts < 2 {
		slices.SortFunc(list, compare)
		return
	}
	var wait sync.WaitGroup
	var cuts [][]T
	for i := range parts {
		part := list[i*len(list)/parts : (i+1)*len(list)/parts]
		cuts = append(cuts, part)
		wait.Go(func() { slices.SortFunc(part, compare) })
	}
	wait.Wait()
	// The parts are merged from the end of a copy of the left one each time.
	for len(cuts) > 1 {
		n := len(cuts)
		left, right := slices.Clone(cuts[n-2]), cuts[n-1]
		out := list[len(list)-len(left)-len(right):]
		for at := range out {
			if len(left) > 0 && (len(right) == 0 || compare(right[0], left[0]) >= 0) {
				out[at], left = left[0], left[1:]
			} else {
				out[at], right = right[0], right[1:]
			}
		}
		cuts = append(cuts[:n-2], out)
	}
}

// placeBucket parts places by group and first letter, in their order.
func placeBucket(p place) int {
	if p.hi>>48 > groupNames {
		return 1 << 8
	}
	return int(p.hi >> 40 & 0xff)
}

// gather makes one sorted list without doubles of several, with every
// processor: elements are parted into buckets, which come in order, and each of
// these is sorted.
func gather[T comparable](lists [][]T, buckets int, bucket func(T) int, sort func([]T)) []T {
	ends := make([]int, buckets+1)
	for _, list := range lists {
		for _, v := range list {
			ends[bucket(v)+1]++
		}
	}
	for i := range buckets {
		ends[i+1] += ends[i]
	}
	all := make([]T, ends[buckets])
	at := slices.Clone(ends)
	for i, list := range lists {
		for _, v := range list {
			n := bucket(v)
			all[at[n]] = v
			at[n]++
		}
		lists[i] = nil
	}
	parts := make([][]T, buckets)
	work := make(chan int)
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for i := range work {
				part := all[ends[i]:ends[i+1]]
				sort(part)
				parts[i] = slices.Compact(part)
			}
		})
	}
	for i := range parts {
		work <- i
	}
	close(work)
	wait.Wait()
	n := 0
	for _, part := range parts {
		n += copy(all[n:], part)
	}
	return all[:n]
}

// indexes are what makeIndexes makes of the table.
type indexes struct {
	pairs   []uint64
	places  []place
	grams   []*gramPiece
	present []bitmap
	classes []bitmap
	extra   []bitmap
	deleted [1]bitmap
	heads   []uint32
	history history
}

// makeIndexes reads all records. The caller holds the writer's lock, so that
// nothing changes meanwhile.
func (x *Index) makeIndexes() *indexes {
	spans := slices.Clone(x.table.used)
	parts := make([]*indexes, len(spans))
	var wait sync.WaitGroup
	work := make(chan int)
	for range min(runtime.GOMAXPROCS(0), len(spans)) {
		wait.Go(func() {
			b := newGramBuilder()
			for i := range work {
				parts[i] = x.makeSpan(spans[i], b)
			}
		})
	}
	for i := range spans {
		work <- i
	}
	close(work)
	wait.Wait()

	all := &indexes{
		present: make([]bitmap, len(x.info)),
		classes: make([]bitmap, len(x.classes)), extra: make([]bitmap, len(x.extra)),
	}
	var pairLists [][]uint64
	var placeLists [][]place
	for i, p := range parts {
		pairLists, placeLists = append(pairLists, p.pairs), append(placeLists, p.places)
		all.grams = append(all.grams, p.grams...)
		hi := int(spans[i])
		attach(all.present, p.present, hi)
		attach(all.classes, p.classes, hi)
		attach(all.extra, p.extra, hi)
		attach(all.deleted[:], p.deleted[:], hi)
		all.heads = append(all.heads, p.heads...)
		all.history.usns = append(all.history.usns, p.history.usns...)
		all.history.ids = append(all.history.ids, p.history.ids...)
	}
	all.pairs = gather(pairLists, 256, func(p uint64) int { return int(p >> 56) }, slices.Sort)
	all.places = gather(placeLists, 1<<9, placeBucket, func(list []place) { slices.SortFunc(list, comparePlaces) })
	slices.SortFunc(all.grams, func(a, b *gramPiece) int { return cmp.Compare(b.size, a.size) })
	sort.Sort(&all.history)
	return all
}

// attach puts the pages of one span into whole sets.
func attach(all, part []bitmap, hi int) {
	for n := range part {
		if part[n].count == 0 {
			continue
		}
		for hi >= len(all[n].pages) {
			all[n].pages = append(all[n].pages, nil)
		}
		all[n].pages[hi] = part[n].pages[hi]
		all[n].count += part[n].count
	}
}

// makeSpan makes the indexes of the objects with ids of one upper half.
func (x *Index) makeSpan(hi uint32, b *gramBuilder) *indexes {
	part := &indexes{
		present: make([]bitmap, len(x.info)),
		classes: make([]bitmap, len(x.classes)), extra: make([]bitmap, len(x.extra)),
	}
	n := 0
	x.table.each(hi<<16, func(id uint32, _ *slot) bool {
		n++
		return id>>16 == hi
	})
	// So many are usual; to grow such lists would cost more than to make them.
	k := keys{pairs: make([]uint64, 0, 16*n), places: make([]place, 0, 12*n)}
	var buf []byte
	x.table.each(hi<<16, func(id uint32, s *slot) bool {
		if id>>16 != hi {
			return false
		}
		r := x.record(s)
		k.grams = k.grams[:0]
		buf = x.keysOf(&k, x.info, id, s.parent, &r, buf)
		b.begin(id)
		b.add(k.grams)
		part.mark(id, s, &r)
		part.history.add(r.changed, id)
		return true
	})
	part.pairs, part.places = k.pairs, k.places
	if p := b.piece(); p.size > 0 {
		part.grams = append(part.grams, p)
	}
	return part
}

// mark notes what an object is and has.
func (m *indexes) mark(id uint32, s *slot, r *record) {
	m.classes[s.class].add(id)
	each(r.extra, func(n uint16) { m.extra[n].add(id) })
	each(r.cold, func(n uint16) { m.present[n].add(id) })
	for b := r.stored; len(b) > 0; {
		var n uint16
		n, _, b = next(b)
		m.present[n].add(id)
	}
	if s.flags&flagDeleted != 0 {
		m.deleted[0].add(id)
	}
	if s.flags&flagHead != 0 {
		m.heads = append(m.heads, id)
	}
}

// each calls fn with the numbers of a list of a record.
func each(list []byte, fn func(n uint16)) {
	for len(list) > 0 {
		var n uint64
		n, list = uvarint(list)
		fn(uint16(n))
	}
}

// put makes the indexes those of x. The caller holds both locks.
func (m *indexes) put(x *Index) {
	x.pairs, x.places, x.grams = pairSet{}, nil, gramIndex{pieces: m.grams}
	if len(m.pairs) > 0 {
		x.pairs = newPairSet(pieces[uint64]{m.pairs})
	}
	if len(m.places) > 0 {
		x.places = pieces[place]{m.places}
	}
	x.present, x.classes, x.extra, x.deleted = m.present, m.classes, m.extra, m.deleted[0]
	x.heads, x.history, x.stale = m.heads, m.history, 0
	x.names.Add(1)
}

// Len, Less and Swap sort a history.
func (h *history) Len() int           { return len(h.ids) }
func (h *history) Less(i, j int) bool { return h.usns[i] < h.usns[j] }
func (h *history) Swap(i, j int) {
	h.usns[i], h.usns[j] = h.usns[j], h.usns[i]
	h.ids[i], h.ids[j] = h.ids[j], h.ids[i]
}
