// Package contentline reads and writes the lines that iCalendar and vCard are
// made of: NAME;PARAM=value:VALUE, folded (RFC 5545 section 3.1, RFC 6350
// section 3.2). What the names mean is the business of internal/ical and
// internal/vcard.
//
// Its law: nothing is lost and nothing is refused. Names keep their letters,
// parameters and values their order; a line that is no content line is kept as
// it is and told (Problem). Only what a reader could not have meant is
// normalised: where lines are folded and how they end, quotes that a parameter
// does not need, control characters (XML, and so CalDAV, cannot carry them), and
// text that is not UTF-8 (read as Windows-1252). The only errors are limits.
package contentline

import (
	"slices"
	"strings"
)

// Property is one line.
type Property struct {
	Group  string // vCard: what stands before the dot (RFC 6350 section 3.3)
	Name   string // as written; empty for a line that is no content line
	Params []Param
	Value  string // as written, escapes and all; of a line that is none, the whole line
}

// Param is a parameter of a property.
type Param struct {
	Name   string // as written
	Values []string
	// Bare is a vCard 2.1 parameter without a name (TEL;HOME:): Name holds it.
	Bare bool
}

// Bad tells whether the line is no content line but kept all the same.
func (p *Property) Bad() bool { return p.Name == "" }

// Is compares the property's name as the standards do.
func (p *Property) Is(name string) bool { return strings.EqualFold(p.Name, name) }

// Param gives the first parameter of that name, or nil.
func (p *Property) Param(name string) *Param {
	for i := range p.Params {
		if strings.EqualFold(p.Params[i].Name, name) && !p.Params[i].Bare {
			return &p.Params[i]
		}
	}
	return nil
}

// ParamText is the text of a parameter that has one value; empty without it. A
// comma that should have been quoted is taken as part of it.
func (p *Property) ParamText(name string) string {
	if param := p.Param(name); param != nil {
		return strings.Join(param.Values, ",")
	}
	return ""
}

// SetParam gives the parameter these values, in its place or at the end;
// without values it is removed.
func (p *Property) SetParam(name string, values ...string) {
	switch param := p.Param(name); {
	case len(values) == 0:
		p.Params = slices.DeleteFunc(p.Params, func(q Param) bool { return !q.Bare && strings.EqualFold(q.Name, name) })
	case param != nil:
		param.Values = values
	default:
		p.Params = append(p.Params, Param{Name: name, Values: values})
	}
}

// Clone copies the property.
func (p *Property) Clone() *Property {
	q := *p
	q.Params = slices.Clone(p.Params)
	for i := range q.Params {
		q.Params[i].Values = slices.Clone(q.Params[i].Values)
	}
	return &q
}

// Equal tells whether two properties say the same in the same order.
func (p *Property) Equal(q *Property) bool {
	return p.Group == q.Group && p.Name == q.Name && p.Value == q.Value &&
		slices.EqualFunc(p.Params, q.Params, func(a, b Param) bool {
			return a.Name == b.Name && a.Bare == b.Bare && slices.Equal(a.Values, b.Values)
		})
}
