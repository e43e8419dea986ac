package postgres

import (
	"slices"
	"strings"
	"sync"

	"waypost/directory"
	"waypost/directory/access"
)

// nameKind is the kind of a name key (directory.name.kind).
type nameKind uint8

const (
	nameAddress nameKind = iota + 1
	nameUPN
	nameAccount
	nameProxy
	nameDomain
)

type nameKey struct {
	kind nameKind
	key  string
}

// entry is what the view knows of an object. It is never changed, only
// replaced, so that it may be used after the lock is released; dead alone is
// set under the lock, and read under it.
type entry struct {
	id, parent  directory.ObjectID
	usn         directory.USN
	mailbox     directory.MailboxID
	quota       int64
	epoch       directory.Epoch // 0: no account
	roles       directory.Role
	kind        directory.Kind
	enabled     bool
	hidden      bool
	dead        bool
	family      family
	class       string
	rdn         string
	acl         []access.Entry // of its own
	owners      []directory.ObjectID
	protected   bool // see object.protected
	hideMembers bool
	expires     int64 // Unix seconds at which the account ends; 0: never
	address     string
	name        string
	homeMDB     string
	terms       string // folded words, each once, separated by blanks
	order       string // folded name, what the address list is sorted by
	keys        []nameKey
	members     []directory.ObjectID // of a group, ascending
}

func (e *entry) listed() bool { return e.kind != 0 && !e.hidden && e.address != "" }

func (e *entry) target() directory.Target {
	return directory.Target{ID: e.id, Mailbox: e.mailbox, HomeMDB: e.homeMDB, Address: e.address, Quota: e.quota}
}

// view is the directory in memory.
type view struct {
	mu      sync.RWMutex
	usn     directory.USN
	objects map[directory.ObjectID]*entry
	names   map[nameKey]*entry
	admins  []*entry // enabled administrators with a mailbox, by id
	words   wordIndex
	byName  wordIndex
	listed  int
	strings map[string]string // home databases and classes, each kept once
}

// reset replaces everything.
func (v *view) reset(usn directory.USN, ids []directory.ObjectID, all map[directory.ObjectID]*entry) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.objects = make(map[directory.ObjectID]*entry, len(ids))
	v.names = make(map[nameKey]*entry, 3*len(ids))
	v.strings = make(map[string]string)
	v.admins, v.listed, v.words, v.byName = nil, 0, wordIndex{}, wordIndex{}
	for _, id := range ids {
		v.add(all[id])
	}
	v.words.settle()
	v.byName.settle()
	v.usn = usn
}

func (v *view) now() directory.USN {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.usn
}

func (v *view) get(id directory.ObjectID) *entry {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.objects[id]
}

func (v *view) find(kind nameKind, key string) *entry {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.names[nameKey{kind, key}]
}

// apply replaces the entries of ids by fresh (those missing are gone) and moves
// to usn.
func (v *view) apply(usn directory.USN, ids []directory.ObjectID, fresh map[directory.ObjectID]*entry) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, id := range ids {
		v.remove(v.objects[id])
	}
	for _, id := range ids {
		if e := fresh[id]; e != nil {
			v.add(e)
		}
	}
	v.words.settle()
	v.byName.settle()
	v.usn = usn
}

func (v *view) remove(e *entry) {
	if e == nil {
		return
	}
	e.dead = true
	delete(v.objects, e.id)
	for _, k := range e.keys {
		if v.names[k] == e { // it may have passed on to another already
			delete(v.names, k)
		}
	}
	if e.listed() {
		v.listed--
	}
	v.admins = slices.DeleteFunc(v.admins, func(a *entry) bool { return a == e })
}

func (v *view) add(e *entry) {
	e.homeMDB, e.class = v.once(e.homeMDB), v.once(e.class)
	v.objects[e.id] = e
	for _, k := range e.keys {
		v.names[k] = e
	}
	if e.roles&directory.RoleAdmin != 0 && e.enabled && e.mailbox != 0 {
		at, _ := slices.BinarySearchFunc(v.admins, e.id, func(a *entry, id directory.ObjectID) int { return int(a.id - id) })
		v.admins = slices.Insert(v.admins, at, e)
	}
	if e.listed() {
		v.listed++
		for w := range strings.SplitSeq(e.terms, " ") {
			v.words.add(w, e)
		}
		v.byName.add(e.order, e)
	}
}

// once keeps strings that most objects share a single time.
func (v *view) once(s string) string {
	if kept, ok := v.strings[s]; ok {
		return kept
	}
	if len(v.strings) < 10000 {
		v.strings[s] = s
	}
	return s
}

// domainOf climbs from e to the domain that it lives in; nil for none.
func (v *view) domainOf(e *entry) *entry {
	for depth := 0; e != nil && depth < maxDepth; depth++ {
		if e.family == domain {
			return e
		}
		e = v.objects[e.parent]
	}
	return nil
}

// path gives the organisational units from the domain down to e's parent.
func (v *view) path(e *entry) string {
	var up []string
	p := v.objects[e.parent]
	for depth := 0; p != nil && p.family == unit && depth < maxDepth; depth++ {
		up = append(up, p.rdn)
		p = v.objects[p.parent]
	}
	slices.Reverse(up)
	return strings.Join(up, "/")
}

// expand gives the mailboxes in a group and the groups inside it, each once, by
// id. Groups that contain each other do no harm.
func (v *view) expand(list *entry) []*entry {
	v.mu.RLock()
	defer v.mu.RUnlock()
	seen := map[directory.ObjectID]bool{list.id: true}
	todo := []*entry{list}
	var found []*entry
	for len(todo) > 0 {
		g := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, id := range g.members {
			e := v.objects[id]
			if e == nil || seen[id] {
				continue
			}
			seen[id] = true
			switch {
			case e.family == group:
				todo = append(todo, e)
			case e.mailbox != 0:
				found = append(found, e)
			}
		}
	}
	slices.SortFunc(found, func(a, b *entry) int { return int(a.id - b.id) })
	return found
}
