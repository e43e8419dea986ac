package ldap

import (
	"strings"
	"time"

	"waypost/directory/tree"
)

// contexts are the naming contexts as answers need them.
type contexts struct {
	read                                time.Time
	all                                 []string
	root, configuration, schema, domain string
	subschema                           tree.DN
	below                               map[string][]reference // by the base's Key
}

// reference tells of a naming context below a base.
type reference struct {
	url  string
	next bool // it is one level below
}

// contextsFor is how long contexts are taken for those of now: new domains are
// rare, and seen everywhere within a second.
const contextsFor = time.Second / 2

// contexts gives the naming contexts of now.
func (s *Server) contexts() *contexts {
	c := s.where.Load()
	if c == nil || time.Since(c.read) > contextsFor {
		c = s.readContexts()
		s.where.Store(c)
	}
	return c
}

func (s *Server) readContexts() *contexts {
	list := s.tree.Contexts()
	c := &contexts{read: time.Now(), below: map[string][]reference{}}
	heads := map[string]bool{}
	for _, dn := range list {
		heads[dn.Key()] = true
		text := dn.String()
		c.all = append(c.all, text)
		switch key := dn[0].Key(); {
		case key == "cn=configuration":
			c.configuration = text
		case key == "cn=schema":
			c.schema = text
			c.subschema = dn.Child(tree.RDN{{Attribute: "CN", Value: "Aggregate"}})
		case c.root == "":
			c.root, c.domain = text, strings.Join(dn.Labels(), ".")
		}
	}
	for _, dn := range list {
		url := s.url(dn, "")
		for base := dn.Parent(); len(base) > 0; base = base.Parent() {
			key := base.Key()
			c.below[key] = append(c.below[key], reference{url, len(base)+1 == len(dn)})
			if heads[key] {
				break // those above hear of that one
			}
		}
	}
	return c
}
