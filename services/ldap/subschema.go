package ldap

import (
	"sync"

	"waypost/directory/schema"
	"waypost/directory/tree"
)

// subschema keeps the text of the schema, which is long, until there is another
// schema.
type subschema struct {
	mu   sync.Mutex
	of   *schema.Schema
	text []tree.Attribute
}

// subschemaDN is the name of the subschema subentry (directory-schema §20).
func (s *Server) subschemaDN() tree.DN { return s.contexts().subschema }

// subschemaEntry is the schema as RFC 4512 §4.2 writes it.
func (s *Server) subschemaEntry() localEntry {
	known := s.tree.Schema()
	s.schema.mu.Lock()
	defer s.schema.mu.Unlock()
	if s.schema.of != known || s.schema.text == nil {
		s.schema.of = known
		s.schema.text = []tree.Attribute{
			{Name: "attributeTypes", Values: known.AttributeTypes()},
			{Name: "objectClasses", Values: known.ObjectClasses()},
			{Name: "dITContentRules", Values: known.DITContentRules()},
			{Name: "ldapSyntaxes", Values: known.LDAPSyntaxes()},
			{Name: "matchingRules", Values: known.MatchingRules()},
			{Name: "matchingRuleUse", Values: known.MatchingRuleUse()},
		}
	}
	dn := s.subschemaDN()
	e := localEntry{name: dn.String(), dn: dn}
	started := []string{schema.FormatTime(s.started)}
	e.attributes = append(e.attributes,
		tree.Attribute{Name: "objectClass", Values: []string{"top", "subSchema"}},
		tree.Attribute{Name: "cn", Values: []string{"Aggregate"}},
		tree.Attribute{Name: "distinguishedName", Values: []string{e.name}},
		tree.Attribute{Name: "createTimeStamp", Values: started},
		tree.Attribute{Name: "modifyTimeStamp", Values: started},
		tree.Attribute{Name: "subSchemaSubEntry", Values: []string{e.name}},
	)
	e.attributes = append(e.attributes, s.schema.text...)
	return e
}

// isAggregate tells at a glance whether a name could be the subschema's.
func isAggregate(dn tree.DN) bool {
	return len(dn) > 2 && len(dn[0]) == 1 && sameName(dn[0][0].Value, "Aggregate")
}
