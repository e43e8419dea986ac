package contentline

import "slices"

// Properties are the lines of a component or card, in order. What changes them
// leaves everything alone that it does not name, and what already says the same.
type Properties []*Property

// Prop gives the first property of that name, or nil.
func (ps *Properties) Prop(name string) *Property {
	for _, p := range *ps {
		if p.Is(name) {
			return p
		}
	}
	return nil
}

// All gives every property of that name.
func (ps *Properties) All(name string) []*Property {
	var all []*Property
	for _, p := range *ps {
		if p.Is(name) {
			all = append(all, p)
		}
	}
	return all
}

// Text is the value of a TEXT property; empty without it.
func (ps *Properties) Text(name string) string {
	if p := ps.Prop(name); p != nil {
		return Unescape(p.Value)
	}
	return ""
}

// SetText gives a TEXT property its value; an empty text removes it. The
// parameters that describe the old text go (ALTREP, LANGUAGE).
func (ps *Properties) SetText(name, text string) {
	if text == "" {
		ps.Remove(name)
		return
	}
	p := ps.Prop(name)
	switch {
	case p == nil:
		*ps = append(*ps, &Property{Name: name, Value: Escape(text)})
	case Unescape(p.Value) != text:
		p.Value = Escape(text)
		p.SetParam("ALTREP")
		p.SetParam("LANGUAGE")
	}
}

// SetValue gives a property its value as it is written, without parameters.
func (ps *Properties) SetValue(name, value string) {
	ps.Put(&Property{Name: name, Value: value})
}

// Put replaces the first property of the new one's name by it, in its place, or
// adds it; what says the same already stays.
func (ps *Properties) Put(p *Property) {
	for i, old := range *ps {
		if old.Is(p.Name) {
			if !old.Equal(p) {
				(*ps)[i] = p
			}
			return
		}
	}
	*ps = append(*ps, p)
}

// Remove takes away every property of that name.
func (ps *Properties) Remove(name string) {
	*ps = slices.DeleteFunc(*ps, func(p *Property) bool { return p.Is(name) })
}

// List reads all properties of a name as one list of texts (CATEGORIES,
// RESOURCES).
func (ps *Properties) List(name string) []string {
	var all []string
	for _, p := range ps.All(name) {
		for _, s := range List(p.Value) {
			if s != "" {
				all = append(all, s)
			}
		}
	}
	return all
}

// SetList gives a name one list; an empty one removes it.
func (ps *Properties) SetList(name string, list []string) {
	if slices.Equal(ps.List(name), list) {
		return
	}
	first := ps.Prop(name)
	if len(list) == 0 || first == nil {
		ps.Remove(name)
		if len(list) > 0 {
			*ps = append(*ps, &Property{Name: name, Value: JoinList(list)})
		}
		return
	}
	first.Value = JoinList(list)
	*ps = slices.DeleteFunc(*ps, func(p *Property) bool { return p.Is(name) && p != first })
}

// Clone copies the properties.
func (ps *Properties) Clone() Properties {
	var all Properties
	for _, p := range *ps {
		all = append(all, p.Clone())
	}
	return all
}

// Equal tells whether both say the same in the same order.
func (ps *Properties) Equal(other Properties) bool {
	return slices.EqualFunc(*ps, other, (*Property).Equal)
}
