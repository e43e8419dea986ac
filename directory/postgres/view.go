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

// entry is what the view knows of an object. It is made when somebody asks and
// never changed; its texts lie in memory that is never written again, so that
// it may be used after the lock is released.
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
	protected   bool // see object.protected
	hideMembers bool
	forwards    bool // mail goes to an outside address, unless there is a mailbox
	family      family
	expires     int64 // Unix seconds at which the account ends; 0: never
	class       string
	rdn         string
	address     string
	name        string
	homeMDB     string
	terms       string // folded words, each once, separated by blanks
	order       string // folded name, what the address list is sorted by
	names       string // name keys, see packNames
	acl         []access.Entry
	members     []uint32 // of a group, ascending; owners: managedBy and owner
	owners      []uint32
}

func (e *entry) listed() bool { return e.kind != 0 && !e.hidden && e.address != "" }

func (e *entry) target() directory.Target {
	return directory.Target{ID: e.id, Mailbox: e.mailbox, HomeMDB: e.homeMDB, Address: e.address, Quota: e.quota}
}

func (e *entry) keys() []nameKey { return unpackNames(e.names) }

// packNames writes name keys as the column names has them: each a digit for its
// kind and the key, one a line. Keys have no line ends: they are folded names.
func packNames(keys []nameKey) string {
	var b strings.Builder
	for i, k := range keys {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteByte('0' + byte(k.kind))
		b.WriteString(strings.ReplaceAll(k.key, "\n", " "))
	}
	return b.String()
}

func unpackNames(names string) (keys []nameKey) {
	for line := range strings.SplitSeq(names, "\n") {
		if line != "" {
			keys = append(keys, nameKey{nameKind(line[0] - '0'), line[1:]})
		}
	}
	return keys
}

// slot is an entry without its texts and lists. Slots have no pointers, so that
// the collector has nothing to do with them.
type slot struct {
	usn     directory.USN
	mailbox directory.MailboxID
	epoch   directory.Epoch
	expires int64
	text    textAt
	quota   uint32 // KiB
	parent  uint32
	class   uint16
	home    uint16
	roles   uint8
	kind    uint8
	family  family
	flags   uint8
}

const (
	slotThere uint8 = 1 << iota
	slotEnabled
	slotHidden
	slotProtected
	slotHideMembers
	slotListed // has members, owners or access-control entries
	slotForwards
)

// pageSlots is how many slots are allocated together; ids are dense.
const pageSlots = 4096

// entryLists are what few objects have.
type entryLists struct {
	acl             []access.Entry
	members, owners []uint32
}

// view is the directory in memory, as far as sign-in, delivery and the address
// list need it; the attributes are the index's.
type view struct {
	mu     sync.RWMutex
	usn    directory.USN
	slots  []*[pageSlots]slot
	texts  textStore
	names  nameTable
	lists  map[uint32]*entryLists
	admins []directory.ObjectID // enabled administrators with a mailbox
	words  wordIndex
	byName wordIndex
	listed int
	dict   dictionary // home databases and classes
}

// dictionary numbers strings that most objects share.
type dictionary struct {
	list []string
	at   map[string]uint16
}

// number gives the string's; when there are too many, all others share one that
// stands for none.
func (d *dictionary) number(s string) uint16 {
	if d.at == nil {
		d.at, d.list = map[string]uint16{"": 0}, []string{""}
	}
	n, ok := d.at[s]
	if !ok && len(d.list) < 1<<16 {
		n = uint16(len(d.list)) //nolint:gosec // just compared
		d.at[strings.Clone(s)] = n
		d.list = append(d.list, strings.Clone(s))
	}
	return n
}

// filling is a view that is being filled; finish puts it in the place of another.
type filling struct{ v *view }

// wordsEach is how many words an object has in the address list, more or less.
const wordsEach = 6

// newFilling begins a view for about so many objects.
func newFilling(objects int) *filling {
	objects = min(max(objects, 0), 1<<20)
	v := &view{lists: map[uint32]*entryLists{}}
	v.words.fresh = make([]wordRef, 0, wordsEach*objects)
	v.byName.fresh = make([]wordRef, 0, objects)
	return &filling{v}
}

// add takes one entry.
func (f *filling) add(e *entry) { f.v.put(e) }

// index makes the indexes of words, which takes a while.
func (f *filling) index() {
	f.v.words.merge()
	f.v.byName.merge()
}

// finish replaces everything in v.
func (f *filling) finish(v *view, usn directory.USN) {
	n := f.v
	v.mu.Lock()
	defer v.mu.Unlock()
	v.slots, v.texts, v.names, v.lists, v.admins = n.slots, n.texts, n.names, n.lists, n.admins
	v.words, v.byName, v.listed, v.dict = n.words, n.byName, n.listed, n.dict
	v.usn = usn
}

func (v *view) now() directory.USN {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.usn
}

// slot gives the place of an object, nil when it is not there.
func (v *view) slot(id directory.ObjectID) *slot {
	page := int(id) / pageSlots
	if id <= 0 || page >= len(v.slots) || v.slots[page] == nil {
		return nil
	}
	if s := &v.slots[page][int(id)%pageSlots]; s.flags&slotThere != 0 {
		return s
	}
	return nil
}

// entry makes the entry of an object. The lock is held.
func (v *view) entry(id directory.ObjectID) *entry {
	s := v.slot(id)
	if s == nil {
		return nil
	}
	e := &entry{
		id: id, parent: directory.ObjectID(s.parent), usn: s.usn, mailbox: s.mailbox, quota: int64(s.quota) << 10, epoch: s.epoch,
		roles: directory.Role(s.roles), kind: directory.Kind(s.kind), expires: s.expires, family: s.family,
		enabled: s.flags&slotEnabled != 0, hidden: s.flags&slotHidden != 0,
		protected: s.flags&slotProtected != 0, hideMembers: s.flags&slotHideMembers != 0,
		forwards: s.flags&slotForwards != 0,
		class:    v.dict.list[s.class], homeMDB: v.dict.list[s.home],
	}
	v.texts.read(s.text, &e.rdn, &e.address, &e.name, &e.order, &e.terms, &e.names)
	if s.flags&slotListed != 0 {
		l := v.lists[uint32(id)] //nolint:gosec // index.MaxID bounds ids
		e.acl, e.members, e.owners = l.acl, l.members, l.owners
	}
	return e
}

func (v *view) get(id directory.ObjectID) *entry {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.entry(id)
}

// spot gives what an object is, without what is above it.
func (v *view) spot(id directory.ObjectID) (spot, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	s := v.slot(id)
	if s == nil {
		return spot{}, false
	}
	var rdn, skip string
	v.texts.read(s.text, &rdn, &skip, &skip, &skip, &skip, &skip)
	return spot{id: id, class: v.dict.list[s.class], rdn: rdn, kind: directory.Kind(s.kind)}, true
}

// named finds who has a name. The lock is held.
func (v *view) named(kind nameKind, key string) *entry {
	id := v.names.find(kind, key, v.namesOf)
	if id == 0 {
		return nil
	}
	return v.entry(directory.ObjectID(id))
}

func (v *view) find(kind nameKind, key string) *entry {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.named(kind, key)
}

// namesOf gives the packed name keys of an object.
func (v *view) namesOf(id uint32) string {
	s := v.slot(directory.ObjectID(id))
	if s == nil {
		return ""
	}
	var skip, names string
	v.texts.read(s.text, &skip, &skip, &skip, &skip, &skip, &names)
	return names
}

// apply replaces the entries of ids by fresh (those missing are gone) and moves
// to usn.
func (v *view) apply(usn directory.USN, ids []directory.ObjectID, fresh map[directory.ObjectID]*entry) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, id := range ids {
		v.remove(id)
	}
	for _, id := range ids {
		if e := fresh[id]; e != nil {
			v.put(e)
		}
	}
	v.words.settle()
	v.byName.settle()
	if v.texts.wasteful() {
		v.compact()
	}
	v.usn = usn
}

func (v *view) remove(id directory.ObjectID) {
	e := v.entry(id)
	if e == nil {
		return
	}
	n := uint32(id) //nolint:gosec // index.MaxID bounds ids
	for _, k := range e.keys() {
		v.names.remove(k, n)
	}
	if e.listed() {
		v.listed--
		v.words.drop(n)
		v.byName.drop(n)
	}
	v.admins = slices.DeleteFunc(v.admins, func(a directory.ObjectID) bool { return a == id })
	delete(v.lists, n)
	s := v.slot(id)
	v.texts.free(s.text)
	*s = slot{}
}

func (v *view) put(e *entry) {
	page := int(e.id) / pageSlots
	for page >= len(v.slots) {
		v.slots = append(v.slots, nil)
	}
	if v.slots[page] == nil {
		v.slots[page] = new([pageSlots]slot)
	}
	n := uint32(e.id) //nolint:gosec // index.MaxID bounds ids
	s := &v.slots[page][int(e.id)%pageSlots]
	*s = slot{
		usn: e.usn, mailbox: e.mailbox, epoch: e.epoch, expires: e.expires,
		quota: uint32(e.quota >> 10), parent: uint32(e.parent), //nolint:gosec // 31 bits of KiB; index.MaxID bounds ids
		class: v.dict.number(e.class), home: v.dict.number(e.homeMDB),
		roles: uint8(e.roles), kind: uint8(e.kind), family: e.family, flags: slotThere, //nolint:gosec // few of both
		text: v.texts.put(e.rdn, e.address, e.name, e.order, e.terms, e.names),
	}
	for flag, on := range map[uint8]bool{slotEnabled: e.enabled, slotHidden: e.hidden, slotProtected: e.protected, slotHideMembers: e.hideMembers, slotForwards: e.forwards} {
		if on {
			s.flags |= flag
		}
	}
	if len(e.acl)+len(e.members)+len(e.owners) > 0 {
		s.flags |= slotListed
		v.lists[n] = &entryLists{e.acl, e.members, e.owners}
	}
	for _, k := range e.keys() {
		v.names.add(k, n)
	}
	if e.roles&directory.RoleAdmin != 0 && e.enabled && e.mailbox != 0 {
		at, _ := slices.BinarySearch(v.admins, e.id)
		v.admins = slices.Insert(v.admins, at, e.id)
	}
	if e.listed() {
		v.listed++
		// The words of the texts that are kept anyway, not those of the row.
		var order, terms, skip string
		v.texts.read(s.text, &skip, &skip, &skip, &order, &terms, &skip)
		for w := range strings.SplitSeq(terms, " ") {
			v.words.add(w, n)
		}
		v.byName.add(order, n)
	}
}

// compact copies all texts, so that those of changed objects go.
func (v *view) compact() {
	var fresh textStore
	for _, page := range v.slots {
		if page == nil {
			continue
		}
		for i := range page {
			if s := &page[i]; s.flags&slotThere != 0 {
				var t [textParts]string
				v.texts.read(s.text, &t[0], &t[1], &t[2], &t[3], &t[4], &t[5])
				s.text = fresh.put(t[:]...)
			}
		}
	}
	v.texts = fresh
}

// domainOf climbs from e to the domain that it lives in; nil for none.
func (v *view) domainOf(e *entry) *entry {
	for depth := 0; e != nil && depth < maxDepth; depth++ {
		if e.family == domain {
			return e
		}
		e = v.entry(e.parent)
	}
	return nil
}

// path gives the organisational units from the domain down to e's parent.
func (v *view) path(e *entry) string {
	var up []string
	p := v.entry(e.parent)
	for depth := 0; p != nil && p.family == unit && depth < maxDepth; depth++ {
		up = append(up, p.rdn)
		p = v.entry(p.parent)
	}
	slices.Reverse(up)
	return strings.Join(up, "/")
}

// walked is what a walk through a group met.
type walked struct {
	found  []uint32 // what mail reaches
	seen   bits     // everything on the way
	groups []uint32 // the groups inside it
	asked  []uint32 // groups by filter whose members are not known yet
}

// walk gives what mail to a group reaches, those with id greater than after: the
// mailboxes and outside addresses in it and in the groups inside it, each once,
// by id; groups that are shut stand for themselves. Groups that contain each other
// do no harm. made has the members of groups by filter.
func (v *view) walk(list *entry, after directory.ObjectID, made map[uint32][]uint32, shut map[uint32]bool) (w walked) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	w.seen = newBits(len(v.slots) * pageSlots)
	w.seen.set(uint32(list.id)) //nolint:gosec // index.MaxID bounds ids
	var todo [][]uint32
	open := func(id uint32, f family, members []uint32) {
		if f == dynamic {
			var ok bool
			if members, ok = made[id]; !ok {
				w.asked = append(w.asked, id)
			}
		}
		todo = append(todo, members)
	}
	open(uint32(list.id), list.family, list.members) //nolint:gosec // index.MaxID bounds ids
	for len(todo) > 0 {
		members := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, id := range members {
			s := v.slot(directory.ObjectID(id))
			if s == nil || !w.seen.set(id) {
				continue
			}
			reached := s.mailbox != 0 || s.flags&slotForwards != 0
			if s.family == group || s.family == dynamic {
				reached = shut[id]
				w.groups = append(w.groups, id)
				if !reached {
					var own []uint32
					if l := v.lists[id]; l != nil {
						own = l.members
					}
					open(id, s.family, own)
				}
			}
			if reached && directory.ObjectID(id) > after {
				w.found = append(w.found, id)
			}
		}
	}
	slices.Sort(w.found)
	return w
}

// targets gives where mail to objects goes, those that are gone left out; to a
// group it is forwarded. For outside addresses Forward is for the caller to fill in.
func (v *view) targets(ids []uint32) []directory.Target {
	v.mu.RLock()
	defer v.mu.RUnlock()
	targets := make([]directory.Target, 0, len(ids))
	for _, id := range ids {
		s := v.slot(directory.ObjectID(id))
		if s == nil {
			continue
		}
		t := directory.Target{ID: directory.ObjectID(id), Mailbox: s.mailbox, HomeMDB: v.dict.list[s.home], Quota: int64(s.quota) << 10}
		var skip string
		v.texts.read(s.text, &skip, &t.Address, &skip, &skip, &skip, &skip)
		if isGroup(s.family) {
			t.Forward = t.Address
			t.Mailbox, t.HomeMDB, t.Quota = 0, "", 0
		}
		targets = append(targets, t)
	}
	return targets
}

// bits is a set of ids.
type bits []uint64

func newBits(n int) bits { return make(bits, n/64+1) }

// set puts an id in and tells whether it is new.
func (b bits) set(id uint32) bool {
	w, m := int(id>>6), uint64(1)<<(id&63)
	if w >= len(b) || b[w]&m != 0 {
		return false
	}
	b[w] |= m
	return true
}

// has tells whether an id is in.
func (b bits) has(id uint32) bool { return int(id>>6) < len(b) && b[id>>6]&(1<<(id&63)) != 0 }
