package ldap

import (
	"strings"

	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// The tags of RFC 4511 §4.5.1.7.
const (
	tagAnd        = ber.Tag(0xa0)
	tagOr         = ber.Tag(0xa1)
	tagNot        = ber.Tag(0xa2)
	tagEqual      = ber.Tag(0xa3)
	tagSubstrings = ber.Tag(0xa4)
	tagGreater    = ber.Tag(0xa5)
	tagLess       = ber.Tag(0xa6)
	tagPresent    = ber.Tag(0x87)
	tagApprox     = ber.Tag(0xa8)
	tagExtensible = ber.Tag(0xa9)
)

var (
	errTooDeep  = refuse(codeAdminLimit, "the filter is nested more than %d deep", tree.MaxFilterDepth)
	errTooMany  = refuse(codeAdminLimit, "the filter has more than %d parts", tree.MaxFilterParts)
	errNoFilter = refuse(codeProtocolError, "there is no such filter")
)

// readFilter reads a Filter (RFC 4511 §4.5.1.7). It keeps what it is in on a
// list of its own: a filter nested without end costs an error and no stack.
func readFilter(d *ber.Decoder) (tree.Filter, error) {
	type frame struct {
		f tree.Filter
		d ber.Decoder
	}
	var inside []frame
	parts := 0
	for {
		from := d
		if len(inside) > 0 {
			from = &inside[len(inside)-1].d
		}
		if parts++; parts > tree.MaxFilterParts {
			return tree.Filter{}, errTooMany
		}
		t, v := from.Any()
		if err := from.Err(); err != nil {
			return tree.Filter{}, err
		}
		var f tree.Filter
		switch t {
		case tagAnd, tagOr, tagNot:
			f.Op = tree.FilterOp(t & 0x1f)
			if t == tagNot && v == "" {
				return f, errNoFilter
			}
			if v != "" { // RFC 4526: none is true for and, false for or
				if len(inside) == tree.MaxFilterDepth {
					return f, errTooDeep
				}
				inside = append(inside, frame{f, ber.NewDecoder(v)})
				continue
			}
		default:
			n, err := readItem(t, v, &f, tree.MaxFilterParts-parts)
			if err != nil {
				return f, err
			}
			parts += n
		}
		// f is whole, and so may be what it is in.
		for {
			if len(inside) == 0 {
				return f, nil
			}
			top := &inside[len(inside)-1]
			top.f.Parts = append(top.f.Parts, f)
			if top.d.More() {
				if top.f.Op == tree.Not {
					return f, errNoFilter
				}
				break
			}
			f = top.f
			inside = inside[:len(inside)-1]
		}
	}
}

// readItem reads a filter that is not made of filters; more tells how many
// parts it has besides itself, of which there may be at most most.
func readItem(t ber.Tag, v string, f *tree.Filter, most int) (more int, err error) {
	d := ber.NewDecoder(v)
	switch t {
	case tagEqual, tagGreater, tagLess, tagApprox:
		f.Op = tree.FilterOp(t & 0x1f)
		f.Attribute, f.Value = plainName(d.Octets()), d.Octets()
	case tagPresent:
		f.Op = tree.Present
		f.Attribute = plainName(v)
		return 0, nil
	case tagSubstrings:
		f.Op = tree.Substrings
		f.Attribute = plainName(d.Octets())
		more, err = readSubstrings(&d, f, most)
	case tagExtensible:
		f.Op = tree.Extensible
		f.Rule, _ = d.Optional(ber.Context(1))
		f.Attribute, _ = d.Optional(ber.Context(2))
		f.Attribute = plainName(f.Attribute)
		f.Value = d.Value(ber.Context(3))
		f.DNAttributes = d.OptionalBool(ber.Context(4))
		if d.Err() == nil && f.Rule == "" && f.Attribute == "" {
			err = errNoFilter
		}
	default:
		err = errNoFilter // RFC 4511 §4.5.1.7: unrecognised, then Undefined; nobody sends it
	}
	if d.Err() != nil {
		err = d.Err()
	}
	return more, err
}

// readSubstrings reads SEQUENCE OF CHOICE { initial, any, final }.
func readSubstrings(d *ber.Decoder, f *tree.Filter, most int) (n int, err error) {
	in := d.Inside(ber.Sequence)
	for ended := false; in.More(); n++ {
		t, v := in.Any()
		switch {
		case in.Err() != nil:
		case n >= most:
			return n, errTooMany
		case t == ber.Context(0) && n == 0:
			f.Initial = v
		case t == ber.Context(1) && !ended:
			f.Any = append(f.Any, v)
		case t == ber.Context(2) && !ended:
			f.Final, ended = v, true
		default:
			return n, errNoFilter
		}
	}
	d.Close(&in)
	if d.Err() == nil && n == 0 {
		return n, errNoFilter
	}
	return n, nil
}

// plainName is an attribute description without ";binary", which changes
// nothing here (RFC 4522 §3). One with another option names no attribute.
func plainName(description string) string {
	if i := strings.IndexByte(description, ';'); i >= 0 && strings.EqualFold(description[i:], ";binary") {
		return description[:i]
	}
	return description
}
