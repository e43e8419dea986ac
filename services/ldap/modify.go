package ldap

import (
	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// modify changes an entry's attributes, all or none (RFC 4511 §4.6, RFC 4525).
// A password is set together with the rest.
func (o *op) modify() error {
	if err := o.mayWrite(); err != nil {
		return err
	}
	d := ber.NewDecoder(o.body)
	name := d.Octets()
	list := d.Inside(ber.Sequence)
	var mods []tree.Modification
	var password passwords
	var n counter
	rest := false // something besides a password
	for list.More() {
		s := list.Inside(ber.Sequence)
		how := s.Enum()
		if s.Err() != nil {
			return s.Err()
		}
		a, values, err := o.modified(name, &s, &n)
		if err != nil {
			return err
		}
		list.Close(&s)
		if how < int64(tree.ModAdd) || how > int64(tree.ModIncrement) {
			return refuse(codeProtocolError, "no such modification")
		}
		m := tree.Modification{Op: tree.ModOp(how), Name: a, Values: values}
		switch {
		case len(values) == 0 && m.Op != tree.ModDelete && m.Op != tree.ModReplace:
			return refuse(codeProtocolError, "%s: no value", a) // RFC 4511 §4.6
		case m.Op == tree.ModIncrement && len(values) != 1:
			return refuse(codeProtocolError, "%s: one value is needed", a) // RFC 4525 §3
		case o.isPassword(a):
			if err := password.take(m); err != nil {
				return err
			}
		default:
			rest = true
		}
		mods = append(mods, m)
	}
	if d.Close(&list); d.Err() != nil {
		return d.Err()
	}
	if name == "" {
		return o.operateRoot(mods)
	}
	dn, err := target(name)
	if err != nil {
		return err
	}
	if err := password.allowed(o); err != nil {
		return err
	}
	if len(mods) == 0 {
		return refuse(codeProtocolError, "nothing to modify")
	}
	w, err := o.c.server.tree.ModifyEntry(o.client(), o.who, dn, mods, o.options())
	if err != nil && !rest {
		return passwordError(err, password.old)
	}
	if err != nil {
		return err
	}
	o.tell(w)
	return nil
}

// modified reads the attribute of one modification. The rootDSE's operations
// are no attributes of the schema.
func (o *op) modified(entry string, d *ber.Decoder, n *counter) (string, []string, error) {
	if entry != "" {
		return o.readAttribute(d, n)
	}
	s := d.Inside(ber.Sequence)
	name := s.Octets()
	set := s.Inside(ber.Set)
	s.Close(&set)
	d.Close(&s)
	return name, []string{""}, d.Err()
}

// operateRoot carries out operations that are written to the rootDSE
// (directory-schema §7). The schema is always of now, so that the one that is
// common has nothing to do.
func (o *op) operateRoot(mods []tree.Modification) error {
	for _, m := range mods {
		if !sameName(m.Name, "schemaUpdateNow") {
			return refuse(codeUnwilling, "the rootDSE cannot be written")
		}
	}
	return nil
}
