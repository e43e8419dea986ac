// Package ical is iCalendar (RFC 5545, with 7986 and 9073): reading, writing,
// changing and expanding it.
//
// Its law: the text is the truth. A calendar is components of properties in
// their order, nothing is dropped because it is not known, and a change touches
// only what it names. One bad line is kept and told, never a reason to refuse
// the rest; only limits are errors. Values are read when they are asked for.
//
// What writing normalises, and nothing else: line folding and ends, quotes, what
// internal/contentline says; a component's properties stand before the components
// in it; what is not closed is closed; vCalendar 1.0 becomes 2.0 (vcal1.go).
package ical

import (
	"errors"
	"io"
	"slices"
	"strings"

	"waypost/internal/contentline"
	"waypost/internal/fault"
)

// Property is one line of a component.
type Property = contentline.Property

// Param is a parameter of a property.
type Param = contentline.Param

// Problem says what was odd about a text that was read all the same.
type Problem = contentline.Problem

// Component is a calendar, an event, a task, an alarm …
type Component struct {
	Name string // as written; empty for what holds the parts of a text
	contentline.Properties
	Children []*Component
	Line     int // where it began in the text that was read; 0 for what was made. Says nothing of itself
}

// Limits bound what is read.
type Limits struct {
	contentline.Limits
	Depth      int // of components in components
	Components int
}

// Object are limits for what one door takes as one item or one message.
var Object = Limits{Limits: contentline.Limits{Size: 20 << 20, Lines: 200_000, Line: 16 << 20}, Depth: 8, Components: 20_000}

// Import are limits for a whole calendar that is imported.
var Import = Limits{Limits: contentline.Limits{Size: 256 << 20, Lines: 5_000_000, Line: 16 << 20}, Depth: 8, Components: 500_000}

// Parse reads a text: calendars one after the other, or parts without the
// calendar around them. They are the children of the nameless component that it
// gives, and lines outside of all components its properties.
func Parse(text []byte, limits Limits) (*Component, []Problem, error) {
	r := contentline.NewReader(text, limits.Limits)
	root := &Component{}
	open := []*Component{root}
	count := 0
	for {
		p, line, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, r.Problems(), err
		}
		top := open[len(open)-1]
		name := strings.TrimSpace(p.Value)
		switch {
		case p.Is("BEGIN") && p.Group == "" && name != "":
			if count++; count > limits.Components {
				return nil, r.Problems(), fault.New(fault.Limit, "more than %d calendar components", limits.Components)
			}
			if len(open) > limits.Depth {
				return nil, r.Problems(), fault.New(fault.Limit, "calendar components deeper than %d", limits.Depth)
			}
			c := &Component{Name: name, Line: line}
			top.Children = append(top.Children, c)
			open = append(open, c)
		case p.Is("END") && p.Group == "" && name != "":
			at := len(open) - 1
			for at > 0 && !open[at].Is(name) {
				at--
			}
			switch {
			case at == 0:
				r.Report(line, "END:%s without a beginning; left out", name)
				continue
			case at < len(open)-1:
				r.Report(line, "END:%s closes %s too", name, top.Name)
			}
			open = open[:at]
		default:
			top.Properties = append(top.Properties, p)
		}
	}
	if len(open) > 1 {
		r.Report(0, "%s is not closed", open[len(open)-1].Name)
	}
	for _, c := range root.Children {
		upgrade(c)
	}
	return root, r.Problems(), nil
}

// Append writes the component as canonical text.
func (c *Component) Append(dst []byte) []byte {
	if c.Name != "" {
		dst = contentline.Fold(dst, "BEGIN:"+c.Name)
	}
	for _, p := range c.Properties {
		dst = p.Append(dst)
	}
	for _, child := range c.Children {
		dst = child.Append(dst)
	}
	if c.Name != "" {
		dst = contentline.Fold(dst, "END:"+c.Name)
	}
	return dst
}

// String is the component's text.
func (c *Component) String() string { return string(c.Append(nil)) }

// Is compares the component's name as the standards do.
func (c *Component) Is(name string) bool { return strings.EqualFold(c.Name, name) }

// Parts gives every component in it of one of these names.
func (c *Component) Parts(names ...string) []*Component {
	var all []*Component
	for _, child := range c.Children {
		if slices.ContainsFunc(names, child.Is) {
			all = append(all, child)
		}
	}
	return all
}

// Clone copies the component and all that is in it.
func (c *Component) Clone() *Component {
	d := &Component{Name: c.Name, Properties: c.Properties.Clone()}
	for _, child := range c.Children {
		d.Children = append(d.Children, child.Clone())
	}
	return d
}

// Equal tells whether two components say the same in the same order.
func (c *Component) Equal(d *Component) bool {
	return c.Name == d.Name && c.Properties.Equal(d.Properties) &&
		slices.EqualFunc(c.Children, d.Children, (*Component).Equal)
}
