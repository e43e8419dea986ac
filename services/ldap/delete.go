package ldap

// delete removes an entry, with the tree-delete control everything below it too
// (RFC 4511 §4.8).
func (o *op) delete() error {
	if err := o.mayWrite(); err != nil {
		return err
	}
	dn, err := target(o.body)
	if err != nil {
		return err
	}
	w, err := o.c.server.tree.DeleteEntry(o.client(), o.who, dn, o.options())
	if err != nil {
		return err
	}
	o.tell(w)
	return nil
}
