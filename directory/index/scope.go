package index

import (
	"slices"

	"waypost/directory/tree"
)

// scope is which objects a search is among.
type scope struct {
	x      *Index
	kind   tree.Scope
	base   uint32
	global bool
	heads  []uint32 // of other contexts that belong to it, of a global search
	// memo says of some containers whether what lies in them is in the scope.
	memo  [64]memo
	names uint64
}

type memo struct {
	id uint32
	in bool
}

// newScope resolves what of other contexts belongs to a global search: heads
// below the base by name, although their objects may lie elsewhere in the tree.
func (x *Index) newScope(base uint32, q *tree.Query) *scope {
	sc := &scope{x: x, kind: q.Scope, base: base, global: q.Global, names: x.names.Load()}
	if !q.Global || q.Scope == tree.Base || base == x.root {
		return sc
	}
	above, _ := x.dn(base)
	for _, id := range x.heads {
		dn, ok := x.dn(id)
		if ok && id != base && dn.Under(above) && (q.Scope == tree.Sub || len(dn) == len(above)+1) {
			sc.heads = append(sc.heads, id)
		}
	}
	return sc
}

// has tells whether an object is in the scope.
func (sc *scope) has(id uint32, s *slot) bool {
	head := s.flags&flagHead != 0
	switch sc.kind {
	case tree.Base:
		return id == sc.base
	case tree.One:
		return s.parent == sc.base && (!head || sc.global) || head && slices.Contains(sc.heads, id)
	}
	return sc.in(id, s, 0)
}

// in tells whether an object is the base or below it.
func (sc *scope) in(id uint32, s *slot, depth int) bool {
	switch {
	case id == sc.base:
		return true
	case s.flags&flagHead != 0 && sc.base != sc.x.root:
		return slices.Contains(sc.heads, id)
	case s.parent == 0 || depth > maxDepth:
		return false
	}
	m := &sc.memo[s.parent%uint32(len(sc.memo))]
	if m.id != s.parent {
		up := sc.x.table.live(s.parent)
		in := up != nil && sc.in(s.parent, up, depth+1)
		m.id, m.in = s.parent, in
	}
	return m.in
}

// fresh forgets the memo when a container was moved since.
func (sc *scope) fresh() {
	if names := sc.x.names.Load(); names != sc.names {
		sc.memo, sc.names = [64]memo{}, names
	}
}

// large guesses from some objects whether much of the directory is in the scope,
// so that to gather it would be of no use.
func (sc *scope) large() bool {
	if sc.kind != tree.Sub {
		return false
	}
	met, in := 0, 0
	for _, hi := range sc.x.table.used {
		last := hi<<16 | 1<<16 - 1
		for id := hi << 16; id < last; id += 1021 {
			if s := sc.x.table.live(id); s != nil {
				met++
				if sc.in(id, s, 0) {
					in++
				}
			}
		}
		if met >= 64 {
			break
		}
	}
	return in*8 > met
}

// objects gives all that are in the scope, in no order; false when these are
// more than limit.
func (sc *scope) objects(limit int) ([]uint32, bool) {
	x := sc.x
	base := x.table.live(sc.base)
	switch sc.kind {
	case tree.Base:
		return []uint32{sc.base}, true
	case tree.One:
		below := x.links.list(base.links, children)
		if len(below)+len(sc.heads) > limit {
			return nil, false
		}
		return append(slices.Clone(below), sc.heads...), true
	}
	all := append([]uint32{sc.base}, sc.heads...)
	for i := 0; i < len(all); i++ {
		s := x.table.live(all[i])
		if s == nil {
			continue
		}
		below := x.links.list(s.links, children)
		if len(all)+len(below) > limit {
			return nil, false
		}
		for _, id := range below {
			if s := x.table.live(id); s != nil && (s.flags&flagHead == 0 || sc.base == x.root) {
				all = append(all, id)
			}
		}
	}
	return all, true
}
