package index

import (
	"math"
	"slices"

	"waypost/directory"
	"waypost/directory/schema"
	"waypost/directory/tree"
)

// plan is where to look for what a filter finds: some objects of which the
// others are none. A nil plan is everywhere.
type plan struct {
	count int     // at most so many objects, some perhaps twice
	set   *bitmap // these; else fill appends them in no order
	fill  func(dst []uint32) []uint32
	also  []*bitmap // and they are in all of these
}

func nowhere() *plan { return &plan{fill: func(dst []uint32) []uint32 { return dst }} }

func some(ids []uint32) *plan {
	return &plan{count: len(ids), fill: func(dst []uint32) []uint32 { return append(dst, ids...) }}
}

// within plans a filter. What it refers to is good while the lock is held.
func (x *Index) within(n *node) *plan {
	switch {
	case n.leaf == leafNever:
		return nowhere()
	case n.a == nil && n.Op == tree.And:
		return x.withinAnd(n)
	case n.a == nil && n.Op == tree.Or && n.leaf == leafAny:
		return x.withinOr(n)
	}
	switch n.leaf {
	case leafStored, leafNamed:
		return x.withinStored(n)
	case leafBegins:
		return x.withinBegins(n)
	case leafClass:
		var sets []*bitmap
		for c, meets := range n.classes {
			if meets && x.classes[c].count > 0 {
				sets = append(sets, &x.classes[c])
			}
		}
		if n.aux >= 0 && x.extra[n.aux].count > 0 {
			sets = append(sets, &x.extra[n.aux])
		}
		return either(sets)
	case leafNumber:
		if n.a.made == madeUSNChanged && n.Op == tree.GreaterOrEqual {
			return x.since(directory.USN(n.number) - 1)
		}
	case leafGUID:
		return x.withHash(x.hashOf(x.guidAttr, []byte(n.Key)))
	case leafSID:
		if len(n.Key) < 4 {
			return nowhere()
		}
		return x.withHash(x.hashOf(x.sidAttr, []byte(n.Key[len(n.Key)-4:])))
	case leafSelf:
		return some([]uint32{n.target})
	case leafLink:
		if s := x.table.live(n.target); s != nil {
			return some(x.links.list(s.links, n.code^1))
		}
		return nowhere()
	case leafChain:
		return &plan{count: n.chain.count, set: n.chain}
	}
	return nil
}

func either(sets []*bitmap) *plan {
	switch len(sets) {
	case 0:
		return nowhere()
	case 1:
		return &plan{count: sets[0].count, set: sets[0]}
	}
	all := union(sets)
	return &plan{count: all.count, set: all}
}

// withinAnd takes the part that finds least, and the sets of the others.
func (x *Index) withinAnd(n *node) *plan {
	var best *plan
	var sets []*bitmap
	for _, part := range n.parts {
		p := x.within(part)
		if p == nil {
			continue
		}
		if p.set != nil {
			sets = append(sets, p.set)
		}
		sets = append(sets, p.also...)
		if best == nil || p.count < best.count {
			best = p
		}
	}
	if best == nil {
		return nil
	}
	and := *best
	and.also = nil
	if best.count > 64 {
		for _, s := range sets {
			if s != best.set {
				and.also = append(and.also, s)
			}
		}
	}
	return &and
}

func (x *Index) withinOr(n *node) *plan {
	var plans []*plan
	var sets []*bitmap
	count := 0
	for _, part := range n.parts {
		p := x.within(part)
		if p == nil {
			return nil
		}
		count += p.count
		plans = append(plans, p)
		if p.set != nil && len(p.also) == 0 {
			sets = append(sets, p.set)
		}
	}
	if len(sets) == len(plans) {
		return either(sets)
	}
	return &plan{count: count, fill: func(dst []uint32) []uint32 {
		for _, p := range plans {
			dst = p.appendTo(dst)
		}
		return dst
	}}
}

// appendTo appends the plan's objects.
func (p *plan) appendTo(dst []uint32) []uint32 {
	from := len(dst)
	if p.set != nil {
		dst = p.set.appendFrom(dst, 0, math.MaxInt)
	} else {
		dst = p.fill(dst)
	}
	if len(p.also) > 0 {
		kept := slices.DeleteFunc(dst[from:], p.outside)
		dst = dst[:from+len(kept)]
	}
	return dst
}

func (p *plan) outside(id uint32) bool {
	for _, s := range p.also {
		if !s.has(id) {
			return true
		}
	}
	return false
}

// withHash is who has a value with a hash.
func (x *Index) withHash(hashes ...uint32) *plan {
	var all [][]uint64
	count := 0
	for _, h := range hashes {
		runs, n := x.pairs.equals(h)
		all, count = append(all, runs...), count+n
	}
	return &plan{count: count, fill: func(dst []uint32) []uint32 {
		for _, run := range all {
			for _, p := range run {
				dst = append(dst, uint32(p))
			}
		}
		return dst
	}}
}

// between is who has a key in a range.
func (x *Index) between(group uint16, low, high uint64) *plan {
	runs, count := between(x.places, group, low, high)
	return &plan{count: count, fill: func(dst []uint32) []uint32 {
		for _, run := range runs {
			for _, p := range run {
				dst = append(dst, p.id())
			}
		}
		return dst
	}}
}

// begin is who has a key that begins with a text.
func (x *Index) begin(group uint16, text string) *plan {
	return x.between(group, key8([]byte(text), 0), key8([]byte(text), 0xff))
}

// has is who has the attribute, nil when that is not known.
func (x *Index) has(a *attribute) *plan {
	if x.naming[a.Number] || a.made != notMade {
		return nil
	}
	return &plan{count: x.present[a.Number].count, set: &x.present[a.Number]}
}

func (x *Index) withinStored(n *node) *plan {
	best := x.has(n.a)
	take := func(p *plan) {
		if p != nil && (best == nil || p.count < best.count) {
			best = p
		}
	}
	named := n.leaf == leafNamed
	switch {
	case n.Op == tree.Equal, n.Op == tree.Extensible && n.Rule == nil,
		n.Op == tree.Approx && (n.a.fold == foldRaw || n.a.fold == foldInt || n.a.Syntax == schema.Unicode):
		key := n.Key
		if n.Op == tree.Approx && n.a.Syntax == schema.Unicode {
			key = schema.FoldText(key)
		}
		switch {
		case named && n.a.made == madeName:
			take(x.withHash(x.hashOf(x.nameAttr, []byte(key))))
		case named && n.a.equal:
			take(x.withHash(x.hashOf(uint16(n.a.Number), []byte(key)), x.hashOf(x.nameAttr, []byte(schema.FoldText(key)))))
		case n.a.equal:
			take(x.withHash(x.hashOf(uint16(n.a.Number), []byte(key))))
		}
	case n.Op == tree.Substrings:
		if n.Initial != "" && n.a.group != 0 && (!named || n.a.group == groupNames) && n.a.fold == foldLower {
			take(x.begin(n.a.group, n.Initial))
		}
		take(x.withGrams(n))
	case n.Op == tree.GreaterOrEqual || n.Op == tree.LessOrEqual:
		if n.a.group == 0 || named && n.a.group != groupNames {
			break
		}
		key := key8([]byte(n.Key), 0)
		if n.Op == tree.GreaterOrEqual {
			take(x.between(n.a.group, key, math.MaxUint64))
		} else {
			take(x.between(n.a.group, 0, key))
		}
	}
	return best
}

// withGrams is who may have the parts of a Substrings somewhere.
func (x *Index) withGrams(n *node) *plan {
	if !n.a.gram {
		return nil
	}
	var grams []uint32
	add := func(part string) {
		gramsOf([]byte(part), func(g uint32) {
			if !slices.Contains(grams, g) && len(grams) < 32 {
				grams = append(grams, g)
			}
		})
	}
	add(n.Initial)
	for _, part := range n.Any {
		add(part)
	}
	add(n.Final)
	if len(grams) == 0 {
		return nil
	}
	return &plan{count: x.grams.count(grams), fill: func(dst []uint32) []uint32 { return x.grams.find(dst, grams) }}
}

// withinBegins is one range for all attributes that people are found by, and
// what the others need.
func (x *Index) withinBegins(n *node) *plan {
	plans := []*plan{x.begin(groupNames, n.Initial)}
	for attr, asked := range n.names {
		a := &x.info[attr]
		switch {
		case !asked, a.group == groupNames:
		case a.group != 0 && !x.naming[attr]:
			plans = append(plans, x.begin(a.group, n.Initial))
		default:
			p := x.has(a)
			if p == nil {
				return nil
			}
			plans = append(plans, p)
		}
	}
	all := &plan{fill: func(dst []uint32) []uint32 {
		for _, p := range plans {
			dst = p.appendTo(dst)
		}
		return dst
	}}
	for _, p := range plans {
		all.count += p.count
	}
	return all
}

// since is who changed after a USN.
func (x *Index) since(usn directory.USN) *plan {
	from, _ := slices.BinarySearch(x.history.usns, uint64(max(usn, 0))+1)
	return some(x.history.ids[from:])
}

// sorted brings candidates into order, each once, those after an id alone.
func sorted(ids []uint32, after uint32) []uint32 {
	if len(ids) < 1<<10 {
		slices.Sort(ids)
		ids = slices.Compact(ids)
		from, _ := slices.BinarySearch(ids, after+1)
		return ids[from:]
	}
	var set bitmap
	for _, id := range ids {
		set.add(id)
	}
	return set.appendFrom(ids[:0], after+1, math.MaxInt)
}
