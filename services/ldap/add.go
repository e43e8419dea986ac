package ldap

import (
	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// add makes an entry (RFC 4511 §4.7), with its password if one is given.
func (o *op) add() error {
	if err := o.mayWrite(); err != nil {
		return err
	}
	d := ber.NewDecoder(o.body)
	name := d.Octets()
	list := d.Inside(ber.Sequence)
	var attributes []tree.Attribute
	var password passwords
	var n counter
	for list.More() {
		a, values, err := o.readAttribute(&list, &n)
		if err != nil {
			return err
		}
		if len(values) == 0 {
			return refuse(codeInvalidSyntax, "%s: no value", a)
		}
		if o.isPassword(a) {
			if err := password.take(tree.Modification{Op: tree.ModAdd, Name: a, Values: values}); err != nil {
				return err
			}
		}
		attributes = append(attributes, tree.Attribute{Name: a, Values: values})
	}
	if d.Close(&list); d.Err() != nil {
		return d.Err()
	}
	dn, err := target(name)
	if err != nil {
		return err
	}
	if err := password.allowed(o); err != nil {
		return err
	}
	w, err := o.c.server.tree.AddEntry(o.client(), o.who, dn, attributes, o.options())
	if err != nil {
		return err
	}
	o.tell(w)
	return nil
}
