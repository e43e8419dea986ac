package schema

import (
	"slices"
	"strings"

	"waypost/internal/fault"
)

// Extension is what is added to a schema. An attribute or class whose OID is
// there already is a change of it, within AD's rules (MS-ADTS 3.1.1.2.5): of an
// attribute only SearchFlags, InGlobalCatalog, the range, Meaning and Defunct;
// of a class more May, Auxiliaries and Superiors, and Defunct.
type Extension struct {
	Attributes []Attribute
	Classes    []Class
}

// Extend gives a schema that has the extension too; s stays as it is. The
// numbers of s are kept, new ones follow. Nothing can be taken away. Faults are
// Invalid, and Exists when a name, OID or link id is taken.
func (s *Schema) Extend(x Extension) (*Schema, error) {
	next := &Schema{attributes: slices.Clone(s.attributes)}
	for _, c := range s.classes {
		copied := *c
		next.classes = append(next.classes, &copied)
	}
	next.index()
	for i := range x.Attributes {
		if err := next.addAttribute(x.Attributes[i]); err != nil {
			return nil, err
		}
	}
	for i := range x.Classes {
		if err := next.addClass(x.Classes[i]); err != nil {
			return nil, err
		}
	}
	next.index()
	if err := next.close(); err != nil {
		return nil, err
	}
	return next, nil
}

func checkNames(oid string, names ...string) error {
	if !validOID(oid) || !strings.Contains(oid, ".") {
		return fault.New(fault.Invalid, "%q is no object identifier", oid)
	}
	for _, n := range names {
		if !validName(n) || strings.ContainsAny(n, ";_") || validOID(n) {
			return fault.New(fault.Invalid, "%q cannot be a name in the schema", n)
		}
	}
	return nil
}

func (s *Schema) addAttribute(a Attribute) error {
	if err := checkNames(a.OID, append([]string{a.Name}, a.Aliases...)...); err != nil {
		return err
	}
	if old, ok := s.byName[a.OID]; ok {
		return s.changeAttribute(old, a)
	}
	for _, n := range append([]string{a.Name}, a.Aliases...) {
		if other, ok := s.Attribute(n); ok {
			return fault.New(fault.Exists, "attribute name %s is taken by %s", n, other.OID)
		}
	}
	if a.LinkID != 0 {
		if other, ok := s.links[a.LinkID]; ok {
			return fault.New(fault.Exists, "link id %d is taken by %s", a.LinkID, other.Name)
		}
		if _, ok := s.links[a.LinkID-1]; a.Back() && !ok {
			return fault.New(fault.Invalid, "attribute %s: no link %d that it could be the back of", a.Name, a.LinkID-1)
		}
		if !a.Syntax.DN() {
			return fault.New(fault.Invalid, "attribute %s: only names of objects are linked", a.Name)
		}
	}
	a.Extension = true
	a.ServerOnly = a.ServerOnly || a.Back() || a.Constructed
	s.attributes = append(s.attributes, &a)
	s.index()
	return nil
}

func (s *Schema) changeAttribute(old *Attribute, a Attribute) error {
	if foldName(a.Name) != foldName(old.Name) || a.Syntax != old.Syntax || a.Single != old.Single || a.LinkID != old.LinkID {
		return fault.New(fault.Exists, "attribute %s (%s) is there with another name, syntax, link or number of values", old.Name, old.OID)
	}
	changed := *old
	changed.SearchFlags, changed.InGlobalCatalog = a.SearchFlags, a.InGlobalCatalog
	changed.RangeLower, changed.RangeUpper = a.RangeLower, a.RangeUpper
	changed.Defunct = a.Defunct && old.Extension // AD keeps the base schema's
	if a.Meaning != "" {
		changed.Meaning = a.Meaning
	}
	s.attributes[old.Number] = &changed
	s.index()
	return nil
}

func (s *Schema) addClass(c Class) error {
	if err := checkNames(c.OID, c.Name); err != nil {
		return err
	}
	if old, ok := s.classNamed[c.OID]; ok {
		if foldName(c.Name) != foldName(old.Name) || c.Category != old.Category || foldName(c.Super) != foldName(old.Super) {
			return fault.New(fault.Exists, "class %s (%s) is there with another name, kind or superclass", old.Name, old.OID)
		}
		for _, n := range c.Must {
			if !containsFold(old.Must, n) {
				return fault.New(fault.Invalid, "class %s: what must be there cannot be changed", c.Name)
			}
		}
		old.May, old.Auxiliaries = union(old.May, c.May), union(old.Auxiliaries, c.Auxiliaries)
		old.Superiors = union(old.Superiors, c.Superiors)
		old.Defunct = c.Defunct && old.Extension
		return nil
	}
	if other, ok := s.Class(c.Name); ok {
		return fault.New(fault.Exists, "class name %s is taken by %s", c.Name, other.OID)
	}
	if c.Super == "" {
		return fault.New(fault.Invalid, "class %s has no superclass", c.Name)
	}
	c.Must, c.May = slices.Clone(c.Must), slices.Clone(c.May)
	c.Auxiliaries, c.Superiors = slices.Clone(c.Auxiliaries), slices.Clone(c.Superiors)
	c.Extension = true
	s.classes = append(s.classes, &c)
	s.index()
	return nil
}

func containsFold(list []string, name string) bool {
	return slices.ContainsFunc(list, func(n string) bool { return foldName(n) == foldName(name) })
}

func union(a, b []string) []string {
	a = slices.Clone(a)
	for _, n := range b {
		if !containsFold(a, n) {
			a = append(a, n)
		}
	}
	return a
}
