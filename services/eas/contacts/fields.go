package contacts

import (
	"slices"
	"strings"

	"waypost/internal/contentline"
	"waypost/internal/vcard"
)

// field is an element of one text and where in a card it is. bind finds that
// place before anything is changed, for a removed address moves the others up,
// and gives what writes there.
type field struct {
	name string
	read func(*vcard.Card) string
	bind func(*vcard.Card) (write func(string))
}

// fields is the whole table, in the order of MS-ASCNTC's elements.
var fields = slices.Concat(
	[]field{text("FileAs", "X-FILE-AS")},
	nameParts(),
	[]field{text("NickName", "NICKNAME")},
	[]field{part("CompanyName", "ORG", 0), part("Department", "ORG", 1), part("OfficeLocation", "ORG", 2), text("JobTitle", "TITLE")},
	[]field{nth("Email1Address", "EMAIL", 0), nth("Email2Address", "EMAIL", 1), nth("Email3Address", "EMAIL", 2)},
	[]field{nth("IMAddress", "IMPP", 0), nth("IMAddress2", "IMPP", 1), nth("IMAddress3", "IMPP", 2)},
	telephones(),
	addresses("Business", "work"), addresses("Home", "home"), addresses("Other", "other"),
	[]field{
		text("WebPage", "URL"), text("Spouse", "X-SPOUSE"), text("AssistantName", "X-ASSISTANT"), text("ManagerName", "X-MANAGER"),
		text("YomiFirstName", "X-PHONETIC-FIRST-NAME"), text("YomiLastName", "X-PHONETIC-LAST-NAME"), text("YomiCompanyName", "X-PHONETIC-ORG"),
		text("CustomerId", "X-CUSTOMER-ID"), text("GovernmentId", "X-GOVERNMENT-ID"), text("AccountName", "X-ACCOUNT-NAME"), text("MMS", "X-MMS"),
	},
)

// text is a property of one text.
func text(name, property string) field {
	return field{name, func(c *vcard.Card) string { return c.Text(property) }, func(c *vcard.Card) func(string) { return func(v string) { c.SetText(property, v) } }}
}

// nameParts are those of N.
func nameParts() []field {
	one := func(name string, get func(*vcard.Name) *string) field {
		return field{
			name,
			func(c *vcard.Card) string { n := c.Name(); return *get(&n) },
			func(c *vcard.Card) func(string) {
				return func(v string) {
					n := c.Name()
					composed := display(n)
					*get(&n) = v
					c.SetName(n)
					// A display name that was made of the parts follows them.
					if c.Text("FN") == composed {
						c.SetText("FN", display(n))
					}
				}
			},
		}
	}
	return []field{
		one("Title", func(n *vcard.Name) *string { return &n.Prefix }),
		one("FirstName", func(n *vcard.Name) *string { return &n.Given }),
		one("MiddleName", func(n *vcard.Name) *string { return &n.Additional }),
		one("LastName", func(n *vcard.Name) *string { return &n.Family }),
		one("Suffix", func(n *vcard.Name) *string { return &n.Suffix }),
	}
}

func display(n vcard.Name) string {
	parts := []string{n.Prefix, n.Given, n.Additional, n.Family, n.Suffix}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
}

// part is one field of a structured property.
func part(name, property string, at int) field {
	return field{
		name,
		func(c *vcard.Card) string {
			if p := c.Prop(property); p != nil {
				if all := contentline.Fields(p.Value); at < len(all) {
					return strings.TrimSpace(all[at])
				}
			}
			return ""
		},
		func(c *vcard.Card) func(string) {
			return func(v string) {
				p := c.Prop(property)
				if p == nil {
					p = &vcard.Property{Name: property}
					c.Properties = append(c.Properties, p)
				}
				putPart(p, at, v)
				if strings.Trim(p.Value, ";") == "" {
					remove(c, p)
				}
			}
		},
	}
}

func putPart(p *vcard.Property, at int, v string) {
	var all []string
	if p.Value != "" {
		all = contentline.Split(p.Value, ';') // the others keep their escapes
	}
	for len(all) <= at {
		all = append(all, "")
	}
	all[at] = contentline.Escape(v)
	p.Value = strings.Join(all, ";")
}

// remove takes a property out, and what Apple says of it beside.
func remove(c *vcard.Card, gone *vcard.Property) {
	if gone == nil {
		return
	}
	c.Properties = slices.DeleteFunc(c.Properties, func(p *vcard.Property) bool {
		return p == gone || gone.Group != "" && p.Group == gone.Group && p.Is("X-ABLabel")
	})
}

// nth is one of several properties of a name, the preferred first.
func nth(name, property string, at int) field {
	return slot(name, property, func(c *vcard.Card) *vcard.Property {
		if all := c.Sorted(property); at < len(all) {
			return all[at]
		}
		return nil
	})
}

// slot is a text in the property that find picks; types are those of a new one.
func slot(name, property string, find func(*vcard.Card) *vcard.Property, types ...string) field {
	return field{
		name,
		func(c *vcard.Card) string {
			p := find(c)
			if p == nil {
				return ""
			}
			v := strings.TrimSpace(contentline.Unescape(p.Value))
			if property == "TEL" && len(v) > 4 && strings.EqualFold(v[:4], "tel:") {
				v = v[4:]
			}
			return v
		},
		func(c *vcard.Card) func(string) {
			p := find(c)
			return func(v string) {
				switch {
				case v == "":
					remove(c, p)
					return
				case p == nil:
					p = &vcard.Property{Name: property}
					if len(types) > 0 {
						p.SetParam("TYPE", types...)
					}
					c.Properties = append(c.Properties, p)
				}
				p.Value = contentline.Escape(v)
				if strings.EqualFold(p.ParamText("VALUE"), "uri") && property == "TEL" {
					p.SetParam("VALUE")
				}
			}
		},
	}
}

// telephones: which of a card's numbers an element means. Every number is at
// most one element's; those that are none's are not shown, and stay.
func telephones() []field {
	kinds := []struct {
		name  string
		kind  string
		at    int
		types []string
	}{
		{"BusinessPhoneNumber", "work", 0, []string{"work", "voice"}},
		{"Business2PhoneNumber", "work", 1, []string{"work", "voice"}},
		{"BusinessFaxNumber", "work fax", 0, []string{"work", "fax"}},
		{"HomePhoneNumber", "home", 0, []string{"home", "voice"}},
		{"Home2PhoneNumber", "home", 1, []string{"home", "voice"}},
		{"HomeFaxNumber", "home fax", 0, []string{"home", "fax"}},
		{"MobilePhoneNumber", "cell", 0, []string{"cell"}},
		{"CarPhoneNumber", "car", 0, []string{"car"}},
		{"PagerNumber", "pager", 0, []string{"pager"}},
		{"RadioPhoneNumber", "radio", 0, []string{"x-radio"}},
		{"AssistantPhoneNumber", "assistant", 0, []string{"x-assistant"}},
		{"CompanyMainPhone", "main", 0, []string{"work", "x-company"}},
	}
	var all []field
	for _, k := range kinds {
		all = append(all, slot(k.name, "TEL", func(c *vcard.Card) *vcard.Property {
			n := k.at
			for _, p := range c.Sorted("TEL") {
				if telephone(p) != k.kind {
					continue
				}
				if n == 0 {
					return p
				}
				n--
			}
			return nil
		}, k.types...))
	}
	return all
}

// telephone is the kind of a number, by its types.
func telephone(p *vcard.Property) string {
	has := func(name string) bool { return vcard.HasType(p, name) }
	switch {
	case has("pager"):
		return "pager"
	case has("fax") && has("home"):
		return "home fax"
	case has("fax"):
		return "work fax"
	case has("cell"), has("iphone"):
		return "cell"
	case has("car"):
		return "car"
	case has("x-radio"), has("x-evolution-radio"):
		return "radio"
	case has("x-assistant"), has("x-evolution-assistant"):
		return "assistant"
	case has("x-company"), has("x-evolution-company"), has("main"):
		return "main"
	case has("work"):
		return "work"
	case has("home"), !has("other"):
		return "home" // what says nothing is somebody's own
	}
	return ""
}

// addresses are the parts of the first address of a kind.
func addresses(prefix, kind string) []field {
	find := func(c *vcard.Card) *vcard.Property {
		for _, p := range c.Sorted("ADR") {
			if place(p) == kind {
				return p
			}
		}
		return nil
	}
	var all []field
	for at, name := range map[int]string{2: "Street", 3: "City", 4: "State", 5: "PostalCode", 6: "Country"} {
		all = append(all, field{
			prefix + "Address" + name,
			func(c *vcard.Card) string {
				p := find(c)
				if p == nil {
					return ""
				}
				a := vcard.ParseAddress(p)
				return []string{2: a.Street, 3: a.Locality, 4: a.Region, 5: a.Code, 6: a.Country}[at]
			},
			func(c *vcard.Card) func(string) {
				bound := find(c)
				return func(v string) {
					p := bound
					if p == nil {
						p = find(c) // another part may have made it
					}
					if p == nil {
						p = &vcard.Property{Name: "ADR", Value: ";;;;;;"}
						p.SetParam("TYPE", kind)
						c.Properties = append(c.Properties, p)
					}
					putPart(p, at, v)
					p.SetParam("LABEL") // of the old address
					if strings.Trim(p.Value, ";") == "" {
						remove(c, p)
					} else if !slices.Contains(c.Properties, p) {
						c.Properties = append(c.Properties, p) // its last old part went first
					}
				}
			},
		})
	}
	slices.SortFunc(all, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return all
}

func place(p *vcard.Property) string {
	switch {
	case vcard.HasType(p, "work"):
		return "work"
	case vcard.HasType(p, "home"):
		return "home"
	}
	return "other"
}
