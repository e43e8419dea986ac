package ldap

import (
	"context"
	"time"

	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// add makes an entry (RFC 4511 §4.7). A password among the attributes is set
// once the entry is there; when it is refused, the entry goes again.
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
		if !o.isPassword(a) {
			attributes = append(attributes, tree.Attribute{Name: a, Values: values})
			continue
		}
		if err := password.take(tree.Modification{Op: tree.ModReplace, Name: a, Values: values}); err != nil {
			return err
		}
	}
	if d.Close(&list); d.Err() != nil {
		return d.Err()
	}
	dn, err := target(name)
	if err != nil {
		return err
	}
	if password.new != nil {
		if err := password.allowed(o); err != nil {
			return err
		}
	}
	w, err := o.c.server.tree.AddEntry(o.ctx, o.who, dn, attributes, o.options())
	if err != nil {
		return err
	}
	if password.new != nil {
		if err := password.set(o, dn); err != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(o.ctx), 30*time.Second)
			defer cancel()
			if _, undo := o.c.server.tree.DeleteEntry(ctx, o.who, dn, tree.Options{From: o.c.from.String()}); undo != nil {
				o.c.server.cfg.Log.Error("entry without its password stays", "proto", "ldap", "user", o.who.Address, "err", undo)
			}
			return err
		}
	}
	o.tell(w)
	return nil
}
