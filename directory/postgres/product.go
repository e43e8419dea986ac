package postgres

import (
	"fmt"
	"sync"

	"waypost/directory/schema"
)

// productSchema is the base schema with what this product itself keeps of
// people: their roles, and what makes a mailbox a room's.
var productSchema = sync.OnceValue(func() *schema.Schema {
	base := schema.Base()
	x := schema.Extension{Attributes: []schema.Attribute{
		{
			Name: "waypostRoles", OID: "2.25.202478316459284771536081427109736154019", Syntax: schema.IA5,
			Meaning: "Rights over the whole organisation: admin", SearchFlags: schema.FlagIndex,
		},
		{
			// Exchange 2007's; the tables end with 2003.
			Name: "msExchResourceMetaData", OID: "1.2.840.113556.1.4.7000.102.50715", Syntax: schema.Unicode,
			Meaning: "What kind of resource a mailbox is for: ResourceType:Room, ResourceType:Equipment", SearchFlags: schema.FlagIndex,
			InGlobalCatalog: true,
		},
		{
			Name: "msExchResourceCapacity", OID: "1.2.840.113556.1.4.7000.102.50716", Syntax: schema.Integer, Single: true,
			Meaning: "How many people the room is for", InGlobalCatalog: true,
		},
	}}
	if c, ok := base.Class(classUser); ok {
		x.Classes = append(x.Classes, schema.Class{
			Name: c.Name, OID: c.OID, Category: c.Category, Super: c.Super,
			May: []string{"waypostRoles", "msExchResourceMetaData", "msExchResourceCapacity"},
		})
	}
	s, err := base.Extend(x)
	if err != nil {
		panic(fmt.Sprintf("directory/postgres: the product's own schema: %v", err)) // a test would have found it
	}
	return s
})

// productOwn tells whether an extension is the product's own, which no row of
// the directory says.
func productOwn(name string) bool {
	return name == "waypostRoles" || name == "msExchResourceMetaData" || name == "msExchResourceCapacity"
}
