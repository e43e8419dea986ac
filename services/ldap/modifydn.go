package ldap

import (
	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// modifyDN renames an entry, and moves it with everything below (RFC 4511
// §4.9).
func (o *op) modifyDN() error {
	if err := o.mayWrite(); err != nil {
		return err
	}
	d := ber.NewDecoder(o.body)
	name, newName, deleteOld := d.Octets(), d.Octets(), d.Bool()
	above, moved := d.Optional(ber.Context(0))
	if err := d.Err(); err != nil {
		return err
	}
	dn, err := target(name)
	if err != nil {
		return err
	}
	rdn, err := tree.ParseRDN(newName)
	if err != nil {
		return err
	}
	var superior *tree.DN
	if moved {
		to, err := target(above)
		if err != nil {
			return err
		}
		superior = &to
	}
	w, err := o.c.server.tree.MoveEntry(o.client(), o.who, dn, rdn, deleteOld, superior, o.options())
	if err != nil {
		return err
	}
	o.tell(w)
	return nil
}
