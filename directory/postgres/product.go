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
		{
			Name: "msExchResourceSearchProperties", OID: "1.2.840.113556.1.4.7000.102.50717", Syntax: schema.Unicode,
			Meaning: "What a room or equipment has, to be searched for", SearchFlags: schema.FlagIndex, InGlobalCatalog: true,
		},
		{
			Name: "msExchEnableModeration", OID: ownArc + ".1", Syntax: schema.Boolean, Single: true,
			Meaning: "TRUE: what others than moderators and owners send to the group waits for approval",
		},
		{
			Name: "msExchModeratedByLink", OID: ownArc + ".2", Syntax: schema.DistinguishedName,
			Meaning: "Who moderates the group",
		},
	}}
	if c, ok := base.Class(classUser); ok {
		x.Classes = append(x.Classes, schema.Class{
			Name: c.Name, OID: c.OID, Category: c.Category, Super: c.Super,
			May: []string{"waypostRoles", "msExchResourceMetaData", "msExchResourceCapacity", "msExchResourceSearchProperties"},
		})
	}
	if c, ok := base.Class("contact"); ok { // as mail's other classes have it from msExchBaseClass
		x.Classes = append(x.Classes, schema.Class{
			Name: c.Name, OID: c.OID, Category: c.Category, Super: c.Super, May: []string{"msExchHideFromAddressLists"},
		})
	}
	for _, name := range []string{classGroup, classDynamic} {
		if c, ok := base.Class(name); ok {
			x.Classes = append(x.Classes, schema.Class{
				Name: c.Name, OID: c.OID, Category: c.Category, Super: c.Super,
				May: []string{"msExchEnableModeration", "msExchModeratedByLink"},
			})
		}
	}
	s, err := base.Extend(x)
	if err != nil {
		panic(fmt.Sprintf("directory/postgres: the product's own schema: %v", err)) // a test would have found it
	}
	return s
})

// ownArc is where the product's own numbers are: under a UUID (X.667).
const ownArc = "2.25.202478316459284771536081427109736154019"

// productOwn tells whether an extension is the product's own, which no row of
// the directory says.
func productOwn(name string) bool {
	switch name {
	case "waypostRoles", "msExchResourceMetaData", "msExchResourceCapacity", "msExchResourceSearchProperties",
		"msExchEnableModeration", "msExchModeratedByLink":
		return true
	}
	return false
}
