package postgres

import (
	"slices"
	"sort"
	"strings"
)

// wordIndex finds entries by the beginning of a word. Most of it is a sorted
// slice; what was added since is a short unsorted one, merged in when it grows.
// Entries that died stay until then and are skipped.
type wordIndex struct {
	base  []wordRef
	fresh []wordRef
}

type wordRef struct {
	word string
	e    *entry
}

func (a wordRef) compare(b wordRef) int {
	if c := strings.Compare(a.word, b.word); c != 0 {
		return c
	}
	return int(a.e.id - b.e.id)
}

func (x *wordIndex) add(word string, e *entry) {
	if word != "" {
		x.fresh = append(x.fresh, wordRef{word, e})
	}
}

// settle merges when the unsorted part would slow the search down.
func (x *wordIndex) settle() {
	if len(x.fresh) >= max(2048, len(x.base)/16) {
		x.merge()
	}
}

func (x *wordIndex) merge() {
	slices.SortFunc(x.fresh, wordRef.compare)
	merged := make([]wordRef, 0, len(x.base)+len(x.fresh))
	take := func(r wordRef) {
		if !r.e.dead {
			merged = append(merged, r)
		}
	}
	rest := x.fresh
	for _, r := range x.base {
		for len(rest) > 0 && rest[0].compare(r) < 0 {
			take(rest[0])
			rest = rest[1:]
		}
		take(r)
	}
	for _, r := range rest {
		take(r)
	}
	x.base, x.fresh = merged, nil
}

// prefix calls fn with each living entry that has a word with this beginning;
// an entry with two such words comes twice.
func (x *wordIndex) prefix(p string, fn func(*entry)) {
	from := sort.Search(len(x.base), func(i int) bool { return x.base[i].word >= p })
	for _, r := range x.base[from:] {
		if !strings.HasPrefix(r.word, p) {
			break
		}
		if !r.e.dead {
			fn(r.e)
		}
	}
	for _, r := range x.fresh {
		if !r.e.dead && strings.HasPrefix(r.word, p) {
			fn(r.e)
		}
	}
}

// from gives the living entries in order, beginning with the offset-th.
func (x *wordIndex) from(offset, limit int) []*entry {
	fresh := slices.Clone(x.fresh)
	slices.SortFunc(fresh, wordRef.compare)
	var page []*entry
	take := func(r wordRef) bool {
		switch {
		case r.e.dead:
		case offset > 0:
			offset--
		default:
			page = append(page, r.e)
		}
		return len(page) < limit
	}
	for _, r := range x.base {
		for len(fresh) > 0 && fresh[0].compare(r) < 0 {
			if !take(fresh[0]) {
				return page
			}
			fresh = fresh[1:]
		}
		if !take(r) {
			return page
		}
	}
	for _, r := range fresh {
		if !take(r) {
			return page
		}
	}
	return page
}
