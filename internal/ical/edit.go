package ical

import (
	"slices"

	"waypost/internal/contentline"
)

// The editing helpers leave everything alone that they do not name, and what
// already says the same.

// Text is the value of a TEXT property; empty without it.
func (c *Component) Text(name string) string {
	if p := c.Prop(name); p != nil {
		return contentline.Unescape(p.Value)
	}
	return ""
}

// SetText gives a TEXT property its value; an empty text removes it. The
// parameters that describe the old text go (ALTREP, LANGUAGE).
func (c *Component) SetText(name, text string) {
	if text == "" {
		c.Remove(name)
		return
	}
	p := c.Prop(name)
	switch {
	case p == nil:
		c.Props = append(c.Props, &Property{Name: name, Value: contentline.Escape(text)})
	case contentline.Unescape(p.Value) != text:
		p.Value = contentline.Escape(text)
		p.SetParam("ALTREP")
		p.SetParam("LANGUAGE")
	}
}

// SetValue gives a property its value as it is written, without parameters.
func (c *Component) SetValue(name, value string) {
	c.Put(&Property{Name: name, Value: value})
}

// Put replaces the first property of the new one's name by it, in its place, or
// adds it; what says the same already stays.
func (c *Component) Put(p *Property) {
	for i, old := range c.Props {
		if old.Is(p.Name) {
			if !old.Equal(p) {
				c.Props[i] = p
			}
			return
		}
	}
	c.Props = append(c.Props, p)
}

// Remove takes away every property of that name.
func (c *Component) Remove(name string) {
	c.Props = slices.DeleteFunc(c.Props, func(p *Property) bool { return p.Is(name) })
}

// List reads all properties of a name as one list of texts (CATEGORIES,
// RESOURCES).
func (c *Component) List(name string) []string {
	var all []string
	for _, p := range c.All(name) {
		for _, s := range contentline.List(p.Value) {
			if s != "" {
				all = append(all, s)
			}
		}
	}
	return all
}

// SetList gives a name one list; an empty one removes it.
func (c *Component) SetList(name string, list []string) {
	if slices.Equal(c.List(name), list) {
		return
	}
	first := c.Prop(name)
	if len(list) == 0 || first == nil {
		c.Remove(name)
		if len(list) > 0 {
			c.Props = append(c.Props, &Property{Name: name, Value: contentline.JoinList(list)})
		}
		return
	}
	first.Value = contentline.JoinList(list)
	c.Props = slices.DeleteFunc(c.Props, func(p *Property) bool { return p.Is(name) && p != first })
}

// RemovePart takes a component out.
func (c *Component) RemovePart(part *Component) {
	c.Children = slices.DeleteFunc(c.Children, func(d *Component) bool { return d == part })
}
