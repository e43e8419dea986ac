package access

import (
	"sync"

	"waypost/directory"
	"waypost/directory/schema"
)

// View is the rights of one principal, worked out as they are asked for and
// kept: objects of one class in one container share them, so that a search asks
// a map once for each entry. It is good for one state of the directory: whoever
// keeps one makes a new one when entries, groups or the tree have changed. It is
// safe for concurrent use.
type View struct {
	schema *schema.Schema
	who    map[Who]bool
	self   directory.ObjectID
	all    bool // may do everything
	app    bool // signed in with an application password
	lists  Lists
	full   *Permissions

	mu     sync.RWMutex
	shared map[place]*Permissions
	made   map[origin]*Permissions
	levels map[directory.ObjectID]*level
}

// place is what decides about objects without entries of their own.
type place struct {
	parent directory.ObjectID
	class  *schema.Class
	marks  uint8
}

const (
	markSelf uint8 = 1 << iota
	markOwner
	markProtected
	markHidden
)

// origin is what permissions are worked out of: most places have one of a few.
type origin struct {
	level *level
	class *schema.Class
	marks uint8
}

// level is a container's entries that are inherited and about this principal;
// up is the next one that has any.
type level struct {
	entries []Entry
	up      *level
}

// NewView makes the view of as, who is in all of groups (nested ones too). A
// zero principal is who did not sign in.
func NewView(s *schema.Schema, as directory.Principal, groups []directory.ObjectID, lists Lists) *View {
	v := &View{
		schema: s, lists: lists, self: as.ID,
		all:    as.Is(directory.RoleAdmin) || as.Is(directory.RoleSystem),
		app:    as.App,
		who:    map[Who]bool{Everyone: true},
		full:   fullPermissions(s),
		shared: map[place]*Permissions{},
		made:   map[origin]*Permissions{},
		levels: map[directory.ObjectID]*level{},
	}
	if as.ID != 0 {
		v.who[Authenticated], v.who[Who(as.ID)] = true, true
		for _, g := range groups {
			v.who[Who(g)] = true
		}
	}
	return v
}

// At gives the rights on an object. The answer is shared and not to be changed.
func (v *View) At(o Object) *Permissions {
	if v.all {
		return v.full
	}
	var marks uint8
	if o.ID == v.self && o.ID != 0 {
		marks |= markSelf
	}
	if o.Owned {
		marks |= markOwner
	}
	if o.Protected {
		marks |= markProtected
	}
	if o.HiddenMembers {
		marks |= markHidden
	}
	if o.Listed {
		return v.compute(o.Class, marks, v.lists.Entries(o.ID), v.level(o.Parent))
	}
	at := place{o.Parent, o.Class, marks}
	v.mu.RLock()
	p, ok := v.shared[at]
	v.mu.RUnlock()
	if ok {
		return p
	}
	from := origin{v.level(o.Parent), o.Class, marks}
	v.mu.Lock()
	defer v.mu.Unlock()
	if p, ok = v.made[from]; !ok {
		p = v.compute(o.Class, marks, nil, from.level)
		v.made[from] = p
	}
	v.shared[at] = p
	return p
}

// maxDepth bounds the way up, should the tree ever be wrong.
const maxDepth = 1000

// level gives the nearest level at or above a container.
func (v *View) level(id directory.ObjectID) *level {
	v.mu.RLock()
	l, ok := v.levels[id]
	v.mu.RUnlock()
	if ok {
		return l
	}
	// Read without the lock: Lists may have one of its own.
	var path []directory.ObjectID
	var own [][]Entry
	for at := id; at != 0 && len(path) < maxDepth; at = v.lists.Up(at) {
		path = append(path, at)
		own = append(own, v.concerning(v.lists.Entries(at)))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := len(path) - 1; i >= 0; i-- {
		known, ok := v.levels[path[i]]
		switch {
		case ok:
			l = known
			continue
		case len(own[i]) > 0:
			l = &level{own[i], l}
		}
		v.levels[path[i]] = l
	}
	return l
}

// concerning keeps the inherited entries that can be about the principal.
func (v *View) concerning(entries []Entry) []Entry {
	var kept []Entry
	for _, e := range entries {
		if e.Below && (e.Who == Self || e.Who == Owner || v.who[e.Who]) {
			kept = append(kept, e)
		}
	}
	return kept
}

// compute goes through all entries in their order.
func (v *View) compute(c *schema.Class, marks uint8, own []Entry, l *level) *Permissions {
	attributes, classes := len(v.schema.Attributes()), len(v.schema.Classes())
	b := builder{
		view: v, class: c, marks: marks, read: newVerdict(attributes), write: newVerdict(attributes),
		create: newVerdict(classes), deleteChild: newVerdict(classes),
	}
	b.level(own, false)
	for ; l != nil; l = l.up {
		b.level(l.entries, true)
	}
	return b.done()
}
