package ldap

import (
	"context"
	"strings"

	"waypost/directory"
	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// mayWrite refuses changes at the global catalog.
func (o *op) mayWrite() error {
	if o.c.door.Global {
		return refuse(codeUnwilling, "the global catalog is read only")
	}
	return nil
}

// client is the operation's context, which tells the audit log where the change
// comes from.
func (o *op) client() context.Context { return directory.WithClient(o.ctx, o.c.from.String()) }

// counter bounds what one request has of attributes and values.
type counter struct{ attributes, values int }

func (n *counter) add(values int) error {
	n.attributes++
	n.values += values
	if n.attributes > maxAttributes || n.values > maxValues {
		return refuse(codeAdminLimit, "at most %d attributes and %d values at once", maxAttributes, maxValues)
	}
	return nil
}

// readAttribute reads SEQUENCE { type, vals SET OF value } and gives the type
// as the schema spells it.
func (o *op) readAttribute(d *ber.Decoder, n *counter) (name string, values []string, err error) {
	s := d.Inside(ber.Sequence)
	name = s.Octets()
	set := s.Inside(ber.Set)
	for set.More() {
		values = append(values, set.Octets())
		if len(values) > maxValues {
			break
		}
	}
	s.Close(&set)
	d.Close(&s)
	if err := d.Err(); err != nil && len(values) <= maxValues {
		return "", nil, err
	}
	if err := n.add(len(values)); err != nil {
		return "", nil, err
	}
	name, err = o.writtenName(name)
	return name, values, err
}

// writtenName is the schema's spelling of an attribute to be written.
func (o *op) writtenName(description string) (string, error) {
	name := plainName(description)
	if a, ok := o.c.server.tree.Schema().Attribute(name); ok {
		return a.Name, nil
	}
	return "", refuse(code(tree.ResultUndefinedType), "no attribute %.80q", description)
}

// isPassword tells whether writing the attribute sets a password.
func (o *op) isPassword(name string) bool {
	a, ok := o.c.server.tree.Schema().Attribute(name)
	return ok && a.Password()
}

// target reads the name of the entry to be written. The rootDSE is none.
func target(name string) (tree.DN, error) {
	dn, err := tree.ParseDN(name)
	if err == nil && len(dn) == 0 {
		err = refuse(codeUnwilling, "the rootDSE cannot be written")
	}
	return dn, err
}

// tell adds the pre- and post-read entries to the response (RFC 4527).
func (o *op) tell(w tree.Written) {
	if o.ctl.pre != nil && w.Pre != nil {
		o.controls = append(o.controls, responseControl{oidPreRead, readEntry(w.Pre)})
	}
	if o.ctl.post != nil && w.Post != nil {
		o.controls = append(o.controls, responseControl{oidPostRead, readEntry(w.Post)})
	}
}

// readEntry is the value of a read-entry control: a SearchResultEntry.
func readEntry(entry *tree.Entry) string {
	var e ber.Encoder
	x := entryEncoder{e: &e}
	x.entry(entry)
	return string(e.Buf)
}

func (o *op) readPreRead(v controlValue) (err error) {
	o.ctl.pre, err = o.readNames(v)
	return err
}

func (o *op) readPostRead(v controlValue) (err error) {
	o.ctl.post, err = o.readNames(v)
	return err
}

// readNames reads an AttributeSelection (RFC 4511 §4.5.1.8).
func (o *op) readNames(v controlValue) ([]string, error) {
	d := ber.NewDecoder(v.value)
	s := d.Inside(ber.Sequence)
	sel, err := o.readSelection(&s)
	if err != nil {
		return nil, err
	}
	d.Close(&s)
	return sel.names, d.Err()
}

// readAssertion reads a Filter (RFC 4528).
func (o *op) readAssertion(v controlValue) error {
	d := ber.NewDecoder(v.value)
	f, err := readFilter(&d)
	o.ctl.assert = &f
	return err
}

// assertBase checks the assertion against an entry that is only read.
func (o *op) assertBase(dn tree.DN) error {
	if o.ctl.assert == nil {
		return nil
	}
	holds := false
	q := &tree.Query{Base: dn, Filter: o.ctl.assert, Attributes: []string{"1.1"}, Global: o.c.door.Global, Deleted: o.ctl.deleted}
	err := o.c.server.tree.Search(o.ctx, o.who, q, func(*tree.Entry) error { holds = true; return nil })
	if err == nil && !holds {
		err = refuse(codeAssertionFailed, "the assertion does not hold")
	}
	return err
}

// sameName tells whether two names of attributes are one to LDAP.
func sameName(a, b string) bool { return a == b || strings.EqualFold(a, b) }
