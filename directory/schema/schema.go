// Package schema is what objects of the directory may be made of: attribute
// types and object classes with Active Directory's names, numbers and flags,
// their syntaxes and matching rules, and the words of RFC 4512 for them.
//
// Its law: a Schema is never changed, only replaced by one that knows more
// (Extend), so that it may be used without a lock and every *Attribute and
// *Class taken from it stays good. Numbers of attributes and classes are dense
// and stay what they were when a schema is extended. Nothing here knows an
// object; distinguished names are package tree's.
package schema

import (
	"strings"
	"sync"
)

// Schema is a set of attributes and classes.
type Schema struct {
	attributes []*Attribute // by Number
	classes    []*Class     // by Number
	byName     map[string]*Attribute
	classNamed map[string]*Class
	anr        []*Attribute
	links      map[int]*Attribute
}

// Base is the schema of a new forest: the attributes and classes of the two
// tables beside this file and what LDAP itself needs.
var Base = sync.OnceValue(loadBase)

// Attribute finds an attribute by one of its names, without case, or by its
// numeric OID (also "OID.1.2.3", as old names of objects have it). Options of a
// description (";binary") are not part of a name.
func (s *Schema) Attribute(name string) (*Attribute, bool) {
	a, ok := s.byName[name] // spelt as we do
	if !ok {
		a, ok = s.byName[foldName(name)]
	}
	return a, ok
}

// Class finds a class by its name, without case, or its numeric OID.
func (s *Schema) Class(name string) (*Class, bool) {
	c, ok := s.classNamed[name]
	if !ok {
		c, ok = s.classNamed[foldName(name)]
	}
	return c, ok
}

// foldName is how names of attributes and classes are compared: RFC 4512 §1.4
// lets them be ASCII alone.
func foldName(name string) string {
	name = strings.ToLower(name)
	return strings.TrimPrefix(name, "oid.")
}

// Attributes are all attributes; the index is Attribute.Number. The caller
// does not change the slice.
func (s *Schema) Attributes() []*Attribute { return s.attributes }

// Classes are all classes; the index is Class.Number. The caller does not
// change the slice.
func (s *Schema) Classes() []*Class { return s.classes }

// ANR are the attributes that ambiguous name resolution looks at, in order of
// Number.
func (s *Schema) ANR() []*Attribute { return s.anr }

// Link finds the attribute of a link id: forward links have even ones, the
// back link of n is n+1.
func (s *Schema) Link(id int) (*Attribute, bool) {
	a, ok := s.links[id]
	return a, ok
}

// index makes the look-ups. Numbers are given to those that have none yet.
func (s *Schema) index() {
	s.byName = make(map[string]*Attribute, 4*len(s.attributes))
	s.classNamed = make(map[string]*Class, 4*len(s.classes))
	s.links = map[int]*Attribute{}
	s.anr = nil
	for n, a := range s.attributes {
		a.Number = n
		s.byName[a.OID] = a
		s.byName[a.Name], s.byName[foldName(a.Name)] = a, a
		for _, alias := range a.Aliases {
			s.byName[foldName(alias)] = a
		}
		if a.LinkID != 0 {
			s.links[a.LinkID] = a
		}
		if a.ANR() {
			s.anr = append(s.anr, a)
		}
	}
	for n, c := range s.classes {
		c.Number = n
		s.classNamed[c.OID] = c
		s.classNamed[c.Name], s.classNamed[foldName(c.Name)] = c, c
	}
}
