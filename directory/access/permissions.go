package access

import (
	"slices"

	"waypost/directory/schema"
)

// AttributeName is the attribute that holds an object's entries as text. Read
// and Write do not reach it; Control does.
const AttributeName = schema.AccessControlEntry

// Permissions are the rights on an object. They are never changed.
type Permissions struct {
	rights      Right // of those about the whole object
	read, write bits  // by Attribute.Number
	create,
	deleteChild bits // by Class.Number
	hidden bool // members are
	any    bool
}

// Visible tells whether the object may be known of at all.
func (p *Permissions) Visible() bool { return p.any }

// May tells whether all of the rights about the object as a whole are there;
// Read, Write, Create and DeleteChild are asked for with the methods.
func (p *Permissions) May(r Right) bool { return r&^p.rights == 0 }

// Read tells whether the attribute may be read, found and compared.
func (p *Permissions) Read(a *schema.Attribute) bool {
	switch {
	case a.Secret:
		return false
	case a.Name == AttributeName:
		return p.May(Control)
	case a.Confidential() && !p.May(Secrets):
		return false
	case p.hidden && membership(a):
		return p.May(Members)
	}
	return p.read.has(a.Number)
}

// Write tells whether the attribute may be changed. A password is reset;
// whether somebody may change his own, which he knows, is not asked here.
func (p *Permissions) Write(a *schema.Attribute) bool {
	switch {
	case a.Password():
		return p.May(Reset)
	case a.Secret:
		return false
	case a.Name == AttributeName:
		return p.May(Control)
	case membership(a) && p.May(Members):
		return true
	}
	return p.write.has(a.Number)
}

// Create tells whether a child of the class may be made or moved here. Who may
// make it may give it every attribute at that moment but AttributeName.
func (p *Permissions) Create(c *schema.Class) bool { return p.create.has(c.Number) }

// DeleteChild tells whether a child of the class may be deleted or moved away;
// Delete at the child itself will do, too.
func (p *Permissions) DeleteChild(c *schema.Class) bool { return p.deleteChild.has(c.Number) }

// MayDelete tells whether an object with the permissions at may be deleted, or
// moved away from below one with the permissions above (MS-ADTS 3.1.1.5.5.1):
// either will do, but what is protected needs its own.
func MayDelete(o Object, at, above *Permissions) bool {
	return at.May(Delete) || !o.Protected && above.DeleteChild(o.Class)
}

func membership(a *schema.Attribute) bool { return slices.Contains(sets["@membership"], a.Name) }

// bits is a set of Numbers.
type bits []uint64

func newBits(n int) bits { return make(bits, (n+63)/64) }

func (b bits) has(n int) bool { return n>>6 < len(b) && b[n>>6]>>(n&63)&1 != 0 }

func (b bits) add(n int) { b[n>>6] |= 1 << (n & 63) }

func (b bits) fill(n int) {
	for i := range n {
		b.add(i)
	}
}

func (b bits) empty() bool {
	for _, w := range b {
		if w != 0 {
			return false
		}
	}
	return true
}

// verdict is what was decided about one right for each Number.
type verdict struct{ decided, allowed bits }

func newVerdict(n int) verdict { return verdict{newBits(n), newBits(n)} }

// rule decides about those of which that nobody has decided before.
func (v verdict) rule(which bits, allow bool) {
	for i, w := range which {
		w &^= v.decided[i]
		v.decided[i] |= w
		if allow {
			v.allowed[i] |= w
		}
	}
}

func fullPermissions(s *schema.Schema) *Permissions {
	p := &Permissions{rights: Full, any: true}
	p.read, p.create = newBits(len(s.Attributes())), newBits(len(s.Classes()))
	p.read.fill(len(s.Attributes()))
	p.create.fill(len(s.Classes()))
	p.write, p.deleteChild = p.read, p.create
	return p
}

// builder goes through the entries that are about an object, the strongest
// first.
type builder struct {
	view  *View
	class *schema.Class
	marks uint8

	decided, allowed    Right
	read, write         verdict
	create, deleteChild verdict
}

// level adds the entries of one level: its denials first.
func (b *builder) level(entries []Entry, inherited bool) {
	for _, deny := range []bool{true, false} {
		for i := range entries {
			if e := &entries[i]; e.Deny == deny && b.concerns(e, inherited) {
				b.add(e, inherited)
			}
		}
	}
}

func (b *builder) concerns(e *Entry, inherited bool) bool {
	if inherited && !e.Below || !inherited && !e.This {
		return false
	}
	switch e.Who {
	case Self:
		if b.marks&markSelf == 0 {
			return false
		}
	case Owner:
		if b.marks&markOwner == 0 {
			return false
		}
	default:
		if !b.view.who[e.Who] {
			return false
		}
	}
	return len(e.Classes) == 0 || slices.ContainsFunc(e.Classes, func(name string) bool {
		c, ok := b.view.schema.Class(name)
		return ok && b.class != nil && slices.Contains(b.class.Chain(), c)
	})
}

func (b *builder) add(e *Entry, inherited bool) {
	r := e.Rights
	if !e.Deny && e.Who != Self && (inherited && b.marks&markProtected != 0 || b.view.app) {
		r &^= changing
	}
	news := r &^ b.decided &^ (Read | Write | Create | DeleteChild)
	b.decided |= news
	if !e.Deny {
		b.allowed |= news
	}
	if r&(Read|Write) != 0 {
		which := b.view.attributes(e.Attributes)
		if r&Read != 0 {
			b.read.rule(which, !e.Deny)
		}
		if r&Write != 0 {
			b.write.rule(which, !e.Deny)
		}
	}
	if r&(Create|DeleteChild) != 0 {
		which := b.view.classes(e.Children)
		if r&Create != 0 {
			b.create.rule(which, !e.Deny)
		}
		if r&DeleteChild != 0 {
			b.deleteChild.rule(which, !e.Deny)
		}
	}
}

func (b *builder) done() *Permissions {
	p := &Permissions{
		rights: b.allowed, read: b.read.allowed, write: b.write.allowed,
		create: b.create.allowed, deleteChild: b.deleteChild.allowed, hidden: b.marks&markHidden != 0,
	}
	p.any = p.rights != 0 || !p.read.empty() || !p.write.empty() || !p.create.empty() || !p.deleteChild.empty()
	return p
}

// attributes are the Numbers of a list of names and sets; none means all. A name
// that the schema does not have is nobody's attribute.
func (v *View) attributes(names []string) bits {
	which := newBits(len(v.schema.Attributes()))
	if len(names) == 0 {
		which.fill(len(v.schema.Attributes()))
	}
	for _, n := range names {
		list, ok := sets[n]
		if !ok {
			list = []string{n}
		}
		for _, n := range list {
			if a, ok := v.schema.Attribute(n); ok {
				which.add(a.Number)
			}
		}
	}
	return which
}

// classes are the Numbers of classes and their subclasses; none means all.
func (v *View) classes(names []string) bits {
	all := v.schema.Classes()
	which := newBits(len(all))
	if len(names) == 0 {
		which.fill(len(all))
	}
	for _, n := range names {
		named, ok := v.schema.Class(n)
		if !ok {
			continue
		}
		for _, c := range all {
			if slices.Contains(c.Chain(), named) {
				which.add(c.Number)
			}
		}
	}
	return which
}
