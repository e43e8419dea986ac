package ldap

import (
	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// readMatched reads the matched-values control: SEQUENCE OF SimpleFilterItem
// (RFC 3876 §2).
func (o *op) readMatched(v controlValue) error {
	d := ber.NewDecoder(v.value)
	list := d.Inside(ber.Sequence)
	for list.More() {
		t, item := list.Any()
		if list.Err() != nil {
			break
		}
		if len(o.ctl.matched) == tree.MaxFilterParts {
			return errTooMany
		}
		var f tree.Filter
		if t == tagAnd || t == tagOr || t == tagNot {
			return refuse(codeProtocolError, "matched values have simple filters only")
		}
		if _, err := readItem(t, item, &f, tree.MaxFilterParts); err != nil {
			return err
		}
		o.ctl.matched = append(o.ctl.matched, f)
	}
	d.Close(&list)
	return d.Err()
}

func (s *search) prepareMatched() {
	known := s.c.server.tree.Schema()
	for i := range s.ctl.matched {
		s.x.matched = append(s.x.matched, tree.Prepare(known, &s.ctl.matched[i]))
	}
}

// matching are the values that one of the filters is True for.
func (x *entryEncoder) matching(a *tree.Attribute) (values []string) {
	t, ok := x.schema.Attribute(a.Name)
	if !ok {
		return nil
	}
	for _, v := range a.Values {
		for _, n := range x.matched {
			if n.MatchesValue(t, v) {
				values = append(values, v)
				break
			}
		}
	}
	return values
}
