package ldap

import (
	"strconv"
	"strings"

	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// selection is which attributes a client wants (RFC 4511 §4.5.1.8).
type selection struct {
	names  []string     // as tree.Query.Attributes
	ranges []tree.Range // asked for by option
	// shown are the descriptions to answer with where they are not the name:
	// "userCertificate;binary" (RFC 4522 §3).
	shown map[string]string
}

// readSelection reads the elements of an AttributeSelection. Attributes that
// the schema does not know and options that do not exist select nothing.
func (o *op) readSelection(d *ber.Decoder) (sel selection, err error) {
	known := o.c.server.tree.Schema()
	n := 0
	for d.More() {
		description := d.Octets()
		if d.Err() != nil {
			return sel, d.Err()
		}
		if n++; n > maxAttributes {
			return sel, refuse(codeAdminLimit, "more than %d attributes", maxAttributes)
		}
		if description == "*" || description == "+" || description == "1.1" {
			sel.names = append(sel.names, description)
			continue
		}
		name, options, some := strings.Cut(description, ";")
		if a, ok := known.Attribute(name); ok {
			name = a.Name
		} else if !rootOnly[strings.ToLower(name)] {
			continue
		}
		if some && !sel.option(name, options) {
			continue
		}
		sel.names = append(sel.names, name)
	}
	if n > 0 && len(sel.names) == 0 {
		sel.names = append(sel.names, "1.1") // nothing, not everything
	}
	return sel, nil
}

// option takes the options of a description; false is one that does not exist.
func (sel *selection) option(name, options string) bool {
	for option := range strings.SplitSeq(options, ";") {
		switch {
		case strings.EqualFold(option, "binary"):
			if sel.shown == nil {
				sel.shown = map[string]string{}
			}
			sel.shown[name] = name + ";binary"
		case len(option) > 6 && strings.EqualFold(option[:6], "range="):
			r, ok := parseRange(option[6:])
			if !ok {
				return false
			}
			r.Name = name
			sel.ranges = append(sel.ranges, r)
		default:
			return false
		}
	}
	return true
}

// parseRange reads "0-1499" or "1500-*" (MS-ADTS 3.1.1.3.1.3.3).
func parseRange(s string) (r tree.Range, ok bool) {
	from, to, ok := strings.Cut(s, "-")
	first, err := strconv.ParseInt(from, 10, 32)
	if !ok || err != nil || first < 0 {
		return r, false
	}
	r.First, r.Last = int(first), -1
	if to != "*" {
		last, err := strconv.ParseInt(to, 10, 32)
		if err != nil || last < first {
			return r, false
		}
		r.Last = int(last)
	}
	return r, true
}

// wants tells whether all is wanted, or the attribute of this name.
func (sel *selection) wants(name string) bool {
	if len(sel.names) == 0 {
		return true
	}
	for _, n := range sel.names {
		if n == "*" || n == "+" || sameName(n, name) {
			return true
		}
	}
	return false
}
