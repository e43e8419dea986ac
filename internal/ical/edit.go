package ical

import "slices"

// RemovePart takes a component out.
func (c *Component) RemovePart(part *Component) {
	c.Children = slices.DeleteFunc(c.Children, func(d *Component) bool { return d == part })
}
