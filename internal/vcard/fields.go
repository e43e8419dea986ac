package vcard

import (
	"encoding/base64"
	"slices"
	"strings"

	"waypost/internal/contentline"
)

// Name is the structured name (RFC 6350 section 6.2.2); several of one kind are
// in one text, separated by spaces.
type Name struct{ Family, Given, Additional, Prefix, Suffix string }

// Name reads N.
func (c *Card) Name() Name {
	p := c.Prop("N")
	if p == nil {
		return Name{}
	}
	f := fields(p.Value, 5)
	return Name{f[0], f[1], f[2], f[3], f[4]}
}

// SetName writes N, unless it says so already.
func (c *Card) SetName(n Name) {
	p := c.Prop("N")
	if p != nil && c.Name() == n {
		return
	}
	if p == nil {
		p = &Property{Name: "N"}
		c.Properties = append(c.Properties, p)
	}
	p.SetParam("SORT-AS")
	p.Value = contentline.JoinFields([]string{n.Family, n.Given, n.Additional, n.Prefix, n.Suffix})
}

// fields reads a structured value of at least so many fields. In each, a list
// becomes one text.
func fields(value string, least int) []string {
	parts := contentline.Split(value, ';')
	for i, part := range parts {
		list := slices.DeleteFunc(contentline.List(part), func(s string) bool { return s == "" })
		parts[i] = strings.TrimSpace(strings.Join(list, " "))
	}
	for len(parts) < least {
		parts = append(parts, "")
	}
	return parts
}

// DisplayName is FN, or what stands for it: the name's parts, the nickname, the
// organization, an address.
func (c *Card) DisplayName() string {
	if fn := strings.TrimSpace(c.Text("FN")); fn != "" {
		return fn
	}
	n := c.Name()
	if s := strings.Join(slices.DeleteFunc([]string{n.Prefix, n.Given, n.Additional, n.Family, n.Suffix}, func(s string) bool { return s == "" }), " "); s != "" {
		return s
	}
	for _, name := range []string{"NICKNAME", "ORG", "EMAIL", "TEL"} {
		if p := c.Prop(name); p != nil {
			if s := strings.TrimSpace(strings.Join(slices.DeleteFunc(contentline.Fields(p.Value), func(s string) bool { return s == "" }), ", ")); s != "" {
				return s
			}
		}
	}
	return ""
}

// Sorted gives every property of a name, the preferred first and otherwise in
// order.
func (c *Card) Sorted(name string) []*Property {
	all := c.All(name)
	rank := func(p *Property) int {
		if HasType(p, "pref") {
			return 0
		}
		return pref(p)
	}
	slices.SortStableFunc(all, func(p, q *Property) int { return rank(p) - rank(q) })
	return all
}

// Emails are the mail addresses, the preferred first.
func (c *Card) Emails() []string {
	var all []string
	for _, p := range c.Sorted("EMAIL") {
		text := strings.TrimSpace(contentline.Unescape(p.Value))
		if text, _ = cutFold(text, "mailto:"); text != "" {
			all = append(all, text)
		}
	}
	return all
}

// Address is a postal address (RFC 6350 section 6.3.1).
type Address struct{ POBox, Extended, Street, Locality, Region, Code, Country string }

// ParseAddress reads ADR.
func ParseAddress(p *Property) Address {
	f := fields(p.Value, 7)
	return Address{f[0], f[1], f[2], f[3], f[4], f[5], f[6]}
}

// Value is the address as ADR has it.
func (a Address) Value() string {
	return contentline.JoinFields([]string{a.POBox, a.Extended, a.Street, a.Locality, a.Region, a.Code, a.Country})
}

// Label is what the owner calls a property: Apple writes it beside, in the same
// group, and its own words in brackets.
func (c *Card) Label(p *Property) string {
	if p.Group == "" {
		return ""
	}
	for _, q := range c.All("X-ABLabel") {
		if q.Group == p.Group {
			text := contentline.Unescape(q.Value)
			if inner, found := strings.CutPrefix(text, "_$!<"); found {
				text = strings.TrimSuffix(inner, ">!$_")
			}
			return text
		}
	}
	return ""
}

// Photo is the picture in the card and its media type; false when there is none,
// or only a link to one.
func (c *Card) Photo() (data []byte, media string, ok bool) {
	for _, p := range c.Sorted("PHOTO") {
		q := p.Clone()
		if q.Param("ENCODING") != nil {
			binaryTo4(q)
		}
		rest, found := cutFold(q.Value, "data:")
		head, text, comma := strings.Cut(rest, ",")
		head, encoded := strings.CutSuffix(head, ";base64")
		if !found || !comma || !encoded {
			continue
		}
		if data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text)); err == nil {
			return data, head, true
		}
	}
	return nil, "", false
}

// SetPhoto puts a picture into the card in place of all others; without data it
// only takes them out.
func (c *Card) SetPhoto(data []byte, media string) {
	if old, kind, ok := c.Photo(); ok && slices.Equal(old, data) && kind == media {
		return
	}
	c.Remove("PHOTO")
	if len(data) == 0 {
		return
	}
	p := &Property{Name: "PHOTO", Value: "data:" + media + ";base64," + base64.StdEncoding.EncodeToString(data)}
	if c.Version() != "4.0" {
		binaryTo3(p)
	}
	c.Properties = append(c.Properties, p)
}

// IsGroup tells a list of members from a person.
func (c *Card) IsGroup() bool {
	kind := c.Text("KIND")
	if kind == "" {
		kind = c.Text("X-ADDRESSBOOKSERVER-KIND")
	}
	return strings.EqualFold(kind, "group")
}
