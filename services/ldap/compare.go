package ldap

import (
	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// compare tells whether an entry's attribute has a value (RFC 4511 §4.10).
func (o *op) compare() error {
	d := ber.NewDecoder(o.body)
	name := d.Octets()
	s := d.Inside(ber.Sequence)
	attribute, value := plainName(s.Octets()), s.Octets()
	if d.Close(&s); d.Err() != nil {
		return d.Err()
	}
	dn, err := tree.ParseDN(name)
	if err != nil {
		return err
	}
	var same bool
	if len(dn) == 0 {
		f := tree.Filter{Op: tree.Equal, Attribute: attribute, Value: value}
		same = tree.Match(&f, o.c.server.tree.Schema(), o.c.rootDSE())
	} else {
		if err := o.assertBase(dn); err != nil {
			return err
		}
		if same, err = o.c.server.tree.Compare(o.ctx, o.who, dn, attribute, value); err != nil {
			return err
		}
	}
	o.code = codeCompareFalse
	if same {
		o.code = codeCompareTrue
	}
	return nil
}
