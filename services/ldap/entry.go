package ldap

import (
	"strconv"

	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// entryEncoder writes entries as SearchResultEntry (RFC 4511 §4.5.2) straight
// into a buffer.
type entryEncoder struct {
	e         *ber.Encoder
	typesOnly bool
	shown     map[string]string // of selection
	ranges    []tree.Range      // of selection
	matched   []*tree.Node      // of the matched-values control
	schema    attributes
	extended  *extendedDN
	without   string // an attribute that was only read for us
}

func (x *entryEncoder) entry(entry *tree.Entry) {
	m := x.e.Begin(ber.ApplicationOf(4))
	if x.extended != nil {
		x.e.Octets(x.extended.entry(entry))
	} else {
		x.e.Octets(entry.DN)
	}
	list := x.e.Begin(ber.Sequence)
	for i := range entry.Attributes {
		a := &entry.Attributes[i]
		if x.without != "" && a.Name == x.without {
			continue
		}
		values := a.Values
		if x.matched != nil {
			if values = x.matching(a); len(values) == 0 {
				continue
			}
		}
		if x.extended != nil {
			values = x.extended.values(a.Name, values)
		}
		name := a.Name
		if s, ok := x.shown[name]; ok {
			name = s
		}
		if len(entry.Partial) > 0 || len(x.ranges) > 0 {
			p, asked := partOf(entry.Partial, a.Name), partOf(x.ranges, a.Name)
			switch {
			case p == nil && asked != nil: // all the values from there on
				name += rangeOption(&tree.Range{First: asked.First, Last: -1})
			case p != nil && asked == nil:
				// MS-ADTS 3.1.1.3.1.3.3: who did not ask for a part is given
				// the attribute without values beside it.
				x.attribute(name, nil)
				fallthrough
			case p != nil:
				name += rangeOption(p)
			}
		}
		x.attribute(name, values)
	}
	x.e.End(list)
	x.e.End(m)
}

func (x *entryEncoder) attribute(name string, values []string) {
	m := x.e.Begin(ber.Sequence)
	x.e.Octets(name)
	set := x.e.Begin(ber.Set)
	if !x.typesOnly {
		for _, v := range values {
			x.e.Octets(v)
		}
	}
	x.e.End(set)
	x.e.End(m)
}

func partOf(parts []tree.Range, name string) *tree.Range {
	for i := range parts {
		if parts[i].Name == name {
			return &parts[i]
		}
	}
	return nil
}

func rangeOption(p *tree.Range) string {
	last := "*"
	if p.Last >= 0 {
		last = strconv.Itoa(p.Last)
	}
	return ";range=" + strconv.Itoa(p.First) + "-" + last
}
