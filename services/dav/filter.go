package dav

import (
	"encoding/xml"
	"net/http"
	"strings"
	"time"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"waypost/internal/contentline"
)

// collations are those of RFC 4791 section 7.5 and RFC 6352 section 8.3.
var collations = []string{"i;ascii-casemap", "i;octet", "i;unicode-casemap"}

// A test is what a filter wants of a text (RFC 4791 section 9.7.5, RFC 6352
// section 10.5.4).
type textMatch struct {
	fold   func(string) string
	text   string // folded
	how    string // equals, contains, starts-with, ends-with
	negate bool
}

func (m *textMatch) matches(s string) bool {
	s = m.fold(s)
	var is bool
	switch m.how {
	case "equals":
		is = s == m.text
	case "starts-with":
		is = strings.HasPrefix(s, m.text)
	case "ends-with":
		is = strings.HasSuffix(s, m.text)
	default:
		is = strings.Contains(s, m.text)
	}
	return is != m.negate
}

// timeRange is a time from one moment to before another; zero: open.
type timeRange struct{ from, to time.Time }

// paramFilter is what a filter wants of a parameter.
type paramFilter struct {
	name   string
	absent bool
	text   *textMatch
}

// propFilter is what a filter wants of a property. The texts and params of a
// card's are all wanted or any (RFC 6352 section 10.5.1); an event's has one text,
// and all is wanted.
type propFilter struct {
	name   string
	absent bool
	during *timeRange
	texts  []*textMatch
	params []paramFilter
	any    bool
}

// compFilter is what a filter wants of a component.
type compFilter struct {
	name   string
	absent bool
	during *timeRange
	props  []propFilter
	comps  []compFilter
}

// dialect is which of the two standards a filter is of.
type dialect struct {
	space     string
	collation string
}

var (
	calDialect  = dialect{nsCal, "i;ascii-casemap"}
	cardDialect = dialect{nsCard, "i;unicode-casemap"}
)

func (d dialect) name(local string) xml.Name { return xml.Name{Space: d.space, Local: local} }

func (d dialect) invalid(why string) error {
	if d.space == nsCard {
		return failed(http.StatusForbidden, d.name("supported-filter"), "%s", why)
	}
	return failed(http.StatusForbidden, d.name("valid-filter"), "%s", why)
}

func asciiFold(s string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, s)
}

// unicodeFold is i;unicode-casemap (RFC 5051) in effect: letters without case,
// composed and compatible forms alike.
func unicodeFold(s string) string { return norm.NFKD.String(cases.Fold().String(norm.NFKD.String(s))) }

func (d dialect) textMatch(n *node) (*textMatch, error) {
	if n == nil {
		return nil, nil
	}
	m := &textMatch{how: "contains", negate: n.attr("negate-condition") == "yes"}
	collation := n.attr("collation")
	if collation == "" || collation == "default" {
		collation = d.collation
	}
	switch collation {
	case "i;octet":
		m.fold = func(s string) string { return s }
	case "i;ascii-casemap":
		m.fold = asciiFold
	case "i;unicode-casemap":
		m.fold = unicodeFold
	default:
		return nil, failed(http.StatusForbidden, d.name("supported-collation"), "%s", collation)
	}
	switch how := n.attr("match-type"); how {
	case "":
	case "equals", "contains", "starts-with", "ends-with":
		m.how = how
	default:
		return nil, d.invalid("match-type " + how)
	}
	m.text = m.fold(n.rawText())
	return m, nil
}

// timeRange reads an element's start and end (RFC 4791 section 9.9).
func (d dialect) timeRange(n *node) (*timeRange, error) {
	if n == nil {
		return nil, nil
	}
	t := &timeRange{}
	for _, f := range []struct {
		name string
		to   *time.Time
	}{{"start", &t.from}, {"end", &t.to}} {
		v := n.attr(f.name)
		if v == "" {
			continue
		}
		at, err := time.Parse("20060102T150405Z", v)
		if err != nil {
			return nil, d.invalid("a time is written 20060102T150405Z")
		}
		*f.to = at
	}
	if t.from.IsZero() && t.to.IsZero() || !t.from.IsZero() && !t.to.IsZero() && !t.from.Before(t.to) {
		return nil, d.invalid("a time range needs a start before its end")
	}
	return t, nil
}

func (d dialect) param(n *node) (f paramFilter, err error) {
	f = paramFilter{name: n.attr("name"), absent: n.child(d.name("is-not-defined")) != nil}
	if f.name == "" {
		return f, d.invalid("a filter without a name")
	}
	f.text, err = d.textMatch(n.child(d.name("text-match")))
	return f, err
}

func (d dialect) prop(n *node) (f propFilter, err error) {
	f = propFilter{name: n.attr("name"), any: d.space == nsCard && n.attr("test") != "allof"}
	if f.name == "" {
		return f, d.invalid("a filter without a name")
	}
	for _, c := range n.children() {
		switch c.name {
		case d.name("is-not-defined"):
			f.absent = true
		case d.name("text-match"):
			m, err := d.textMatch(c)
			if err != nil {
				return f, err
			}
			f.texts = append(f.texts, m)
		case d.name("param-filter"):
			p, err := d.param(c)
			if err != nil {
				return f, err
			}
			f.params = append(f.params, p)
		case d.name("time-range"):
			if f.during, err = d.timeRange(c); err != nil {
				return f, err
			}
		default:
			return f, failed(http.StatusForbidden, d.name("supported-filter"), "%s", c.name.Local)
		}
	}
	return f, nil
}

// comp reads a comp-filter of CalDAV (RFC 4791 section 9.7.1).
func (d dialect) comp(n *node) (f compFilter, err error) {
	f = compFilter{name: strings.ToUpper(n.attr("name"))}
	if f.name == "" {
		return f, d.invalid("a filter without a name")
	}
	for _, c := range n.children() {
		switch c.name {
		case d.name("is-not-defined"):
			f.absent = true
		case d.name("time-range"):
			if f.during, err = d.timeRange(c); err != nil {
				return f, err
			}
		case d.name("prop-filter"):
			p, err := d.prop(c)
			if err != nil {
				return f, err
			}
			f.props = append(f.props, p)
		case d.name("comp-filter"):
			in, err := d.comp(c)
			if err != nil {
				return f, err
			}
			f.comps = append(f.comps, in)
		default:
			return f, failed(http.StatusForbidden, d.name("supported-filter"), "%s", c.name.Local)
		}
	}
	return f, nil
}

// among tells whether properties are as the filter wants. within judges a
// property that must be in a range of time.
func (f *propFilter) among(ps *contentline.Properties, within func(*contentline.Property, *timeRange) bool) bool {
	all := ps.All(f.name)
	if f.absent {
		return len(all) == 0
	}
	for _, p := range all {
		if f.of(p, within) {
			return true
		}
	}
	return false
}

// of tells whether one property is as the filter wants.
func (f *propFilter) of(p *contentline.Property, within func(*contentline.Property, *timeRange) bool) bool {
	if f.during != nil && (within == nil || !within(p, f.during)) {
		return false
	}
	if len(f.texts)+len(f.params) == 0 {
		return true
	}
	for _, m := range f.texts {
		if m.matches(contentline.Unescape(p.Value)) == f.any {
			return f.any
		}
	}
	for _, q := range f.params {
		if q.of(p) == f.any {
			return f.any
		}
	}
	return !f.any
}

func (f *paramFilter) of(p *contentline.Property) bool {
	param := p.Param(f.name)
	if f.absent || param == nil {
		return f.absent && param == nil
	}
	if f.text == nil {
		return true
	}
	for _, v := range param.Values {
		if f.text.matches(v) {
			return true
		}
	}
	return false
}
