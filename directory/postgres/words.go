package postgres

import (
	"cmp"
	"slices"
	"sort"
	"strings"
)

// wordIndex finds objects by the beginning of a word. Most of it is sorted: the
// words, one behind the other in one text, and the objects of each. What was
// added since is a short unsorted list; objects that changed since are skipped
// in the sorted part.
type wordIndex struct {
	text  string
	ends  []uint32 // of each word in text
	first []uint32 // where the ids of each word begin; one more at the end
	ids   []uint32
	fresh []wordRef
	// stale counts how often an object changed since the last merge: its ids in
	// the sorted part do not count, nor do words that were added before.
	stale map[uint32]uint32
}

type wordRef struct {
	word    string
	id, was uint32 // was is the object's count in stale
}

func (a wordRef) compare(b wordRef) int {
	if c := strings.Compare(a.word, b.word); c != 0 {
		return c
	}
	return cmp.Compare(a.id, b.id)
}

// add takes a word of an object.
func (x *wordIndex) add(word string, id uint32) {
	if word != "" {
		x.fresh = append(x.fresh, wordRef{word, id, x.stale[id]})
	}
}

// drop forgets the words of an object.
func (x *wordIndex) drop(id uint32) {
	if x.stale == nil {
		x.stale = map[uint32]uint32{}
	}
	x.stale[id]++
}

// good tells whether an added word still counts.
func (x *wordIndex) good(r wordRef) bool { return r.was == x.stale[r.id] }

// settle merges when the unsorted part would slow the search down.
func (x *wordIndex) settle() {
	if len(x.fresh)+len(x.stale) >= max(2048, len(x.ids)/16) {
		x.merge()
	}
}

// word is the i-th of the sorted part.
func (x *wordIndex) word(i int) string {
	from := uint32(0)
	if i > 0 {
		from = x.ends[i-1]
	}
	return x.text[from:x.ends[i]]
}

// merge sorts everything.
func (x *wordIndex) merge() {
	x.fresh = slices.DeleteFunc(x.fresh, func(r wordRef) bool { return !x.good(r) })
	slices.SortFunc(x.fresh, wordRef.compare)
	var (
		text  strings.Builder
		ends  = make([]uint32, 0, len(x.ends)+len(x.fresh)/2)
		first = make([]uint32, 0, len(x.ends)+len(x.fresh)/2+1)
		ids   = make([]uint32, 0, len(x.ids)+len(x.fresh))
		last  string
	)
	text.Grow(len(x.text) + 8*len(x.fresh))
	put := func(word string, id uint32) {
		if len(ends) == 0 || word != last {
			text.WriteString(word)
			ends = append(ends, uint32(text.Len())) //nolint:gosec // far below 4 GiB
			first = append(first, uint32(len(ids))) //nolint:gosec // below 2^32 words
			last = word
		}
		ids = append(ids, id)
	}
	rest := x.fresh
	for i := range x.ends {
		w := x.word(i)
		for _, id := range x.ids[x.first[i]:x.first[i+1]] {
			for len(rest) > 0 && rest[0].compare(wordRef{word: w, id: id}) < 0 {
				put(rest[0].word, rest[0].id)
				rest = rest[1:]
			}
			if x.stale[id] == 0 {
				put(w, id)
			}
		}
	}
	for _, r := range rest {
		put(r.word, r.id)
	}
	first = append(first, uint32(len(ids))) //nolint:gosec // below 2^32 words
	x.text, x.ends, x.first, x.ids, x.fresh, x.stale = text.String(), slices.Clip(ends), slices.Clip(first), slices.Clip(ids), nil, nil
}

// prefix calls fn with each object that has a word with this beginning; an
// object with two such words comes twice.
func (x *wordIndex) prefix(p string, fn func(uint32)) {
	for i := sort.Search(len(x.ends), func(i int) bool { return x.word(i) >= p }); i < len(x.ends); i++ {
		if !strings.HasPrefix(x.word(i), p) {
			break
		}
		for _, id := range x.ids[x.first[i]:x.first[i+1]] {
			if x.stale[id] == 0 {
				fn(id)
			}
		}
	}
	for _, r := range x.fresh {
		if strings.HasPrefix(r.word, p) && x.good(r) {
			fn(r.id)
		}
	}
}

// from gives the objects in order, beginning with the offset-th.
func (x *wordIndex) from(offset, limit int) (page []uint32) {
	fresh := slices.DeleteFunc(slices.Clone(x.fresh), func(r wordRef) bool { return !x.good(r) })
	slices.SortFunc(fresh, wordRef.compare)
	take := func(id uint32) bool {
		if offset > 0 {
			offset--
		} else {
			page = append(page, id)
		}
		return len(page) < limit
	}
	for i := range x.ends {
		w := x.word(i)
		for _, id := range x.ids[x.first[i]:x.first[i+1]] {
			for len(fresh) > 0 && fresh[0].compare(wordRef{word: w, id: id}) < 0 {
				if !take(fresh[0].id) {
					return page
				}
				fresh = fresh[1:]
			}
			if x.stale[id] == 0 && !take(id) {
				return page
			}
		}
	}
	for _, r := range fresh {
		if !take(r.id) {
			return page
		}
	}
	return page
}
