package index

// hides is what a reader's sight keeps from it of the back link memberOf, nil
// for nothing. Only this one is hidden by what it comes from; other back links
// are never.
type hides struct {
	closed func(id uint32) bool
	code   code // of memberOf
}

// hidesOf asks the sight. The lock is held.
func (x *Index) hidesOf(sight Sight) (h hides) {
	hider, ok := sight.(Hider)
	if !ok {
		return h
	}
	a, ok := x.schema.Attribute("memberOf")
	if !ok {
		return h
	}
	fn := hider.Hides(a)
	c, ok := x.info[a.Number].code()
	if fn == nil || !ok {
		return h
	}
	h.code = c
	h.closed = func(id uint32) bool { return fn(objectID(id)) }
	return h
}

// of gives what is closed to lists of a code, forward and back; nil for nothing.
func (h hides) of(c code) func(uint32) bool {
	if h.closed == nil || c>>1 != h.code>>1 {
		return nil
	}
	return h.closed
}

// value tells whether a value of lists of a code is hidden: a group, of memberOf.
func (h hides) value(c code, id uint32) bool {
	return h.closed != nil && c == h.code && h.closed(id)
}

// member tells whether a group hides who is in it.
func (h hides) member(id uint32) bool { return h.closed != nil && h.closed(id) }

// closeChains works the chains of a filter out again so that none passes
// through a group whose members are hidden.
func (x *Index) closeChains(n *node, h hides) {
	if h.closed == nil {
		return
	}
	for _, p := range n.parts {
		x.closeChains(p, h)
	}
	if n.leaf == leafChain && n.target != 0 && h.of(n.code) != nil {
		closed := h.closed
		if n.code != h.code { // what a hidden group itself is in is no secret
			closed = func(id uint32) bool { return id != n.target && h.closed(id) }
		}
		n.chain = x.closure(n.code^1, n.target, closed)
	}
}
