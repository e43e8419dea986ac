package ldap

import (
	"strings"

	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// extensionName writes the responseName of an extended response.
func extensionName(oid string) func(*ber.Encoder) {
	return func(e *ber.Encoder) { e.String(ber.Context(10), oid) }
}

// extensionValue writes the responseValue of an extended response.
func extensionValue(value string) func(*ber.Encoder) {
	return func(e *ber.Encoder) { e.String(ber.Context(11), value) }
}

// whoAmI tells who has signed in (RFC 4532), in AD's form u:DOMAIN\account; for
// those that have no account name as dn:.
func (o *op) whoAmI() error {
	if o.hasValue {
		return refuse(codeProtocolError, "Who am I has no value")
	}
	id := ""
	if o.who.ID != 0 {
		id = o.identity()
	}
	o.extra = extensionValue(id)
	return nil
}

func (o *op) identity() string {
	own, ok := o.c.server.tree.Resolve(o.who.ID)
	if !ok {
		return "u:" + o.who.Address
	}
	q := &tree.Query{
		Base: own, Filter: &tree.Filter{Op: tree.Present, Attribute: "objectClass"},
		Attributes: []string{"msDS-PrincipalName", "sAMAccountName"}, Limit: 2,
	}
	name := ""
	_ = o.c.server.tree.Search(o.ctx, o.who, q, func(e *tree.Entry) error {
		if v := e.Get("msDS-PrincipalName"); len(v) > 0 {
			name = v[0]
		} else if v := e.Get("sAMAccountName"); len(v) > 0 {
			if labels := own.Labels(); len(labels) > 0 {
				name = strings.ToUpper(labels[0]) + `\` + v[0]
			}
		}
		return nil
	})
	if name == "" {
		return "dn:" + own.String()
	}
	return "u:" + name
}
