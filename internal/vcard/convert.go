package vcard

import (
	"slices"
	"strconv"
	"strings"

	"waypost/internal/contentline"
)

// To gives the card in a version, "3.0" or "4.0"; itself when it is of that
// version. What the other version has a word for is said in it, everything else
// stays as it is: readers pass over what they do not know.
func (c *Card) To(version string) *Card {
	if c.Version() == version {
		return c
	}
	d := &Card{Properties: c.Properties.Clone()}
	if version == "4.0" {
		d.to4()
	} else {
		d.to3()
	}
	return d
}

// renamed has the names that differ: those of 3.0 are Apple's and Evolution's.
var renamed = []struct{ three, four string }{
	{"X-ADDRESSBOOKSERVER-KIND", "KIND"},
	{"X-ADDRESSBOOKSERVER-MEMBER", "MEMBER"},
	{"X-ANNIVERSARY", "ANNIVERSARY"},
	{"X-GENDER", "GENDER"},
}

func (c *Card) setVersion(version string) {
	c.Properties = slices.DeleteFunc(c.Properties, func(p *Property) bool { return p.Is("VERSION") })
	// RFC 6350 section 6.7.9: immediately after BEGIN.
	c.Properties = slices.Insert(c.Properties, 0, &Property{Name: "VERSION", Value: version})
}

func (c *Card) to4() {
	c.setVersion("4.0")
	c.labelsToAddresses()
	if p := c.Prop("SORT-STRING"); p != nil {
		if n := c.Prop("N"); n != nil && n.Param("SORT-AS") == nil {
			n.SetParam("SORT-AS", contentline.Unescape(p.Value))
			c.Remove("SORT-STRING")
		}
	}
	for _, p := range c.Properties {
		for _, r := range renamed {
			if p.Is(r.three) {
				p.Name = r.four
			}
		}
		prefTo4(p)
		switch strings.ToUpper(p.Name) {
		case "PHOTO", "LOGO", "SOUND", "KEY":
			binaryTo4(p)
		case "GEO":
			if fields := contentline.Fields(p.Value); len(fields) == 2 {
				p.Value = "geo:" + strings.TrimSpace(fields[0]) + "," + strings.TrimSpace(fields[1])
			}
		case "TZ":
			if p.Param("VALUE") == nil && offset(p.Value) {
				p.SetParam("VALUE", "utc-offset")
				p.Value = strings.ReplaceAll(p.Value, ":", "")
			}
		case "BDAY", "ANNIVERSARY", "DEATHDATE":
			dateTo4(p)
		case "REV":
			p.Value = compact(p.Value)
		case "AGENT":
			p.Name = "RELATED"
			p.SetParam("TYPE", "agent")
			if v := p.ParamText("VALUE"); !strings.EqualFold(v, "uri") {
				p.SetParam("VALUE", "text")
			}
		case "MEMBER":
			p.SetParam("VALUE")
		}
	}
	if c.Prop("FN") == nil {
		// RFC 6350 section 6.2.1: there has to be one.
		c.Properties = slices.Insert(c.Properties, 1, &Property{Name: "FN", Value: contentline.Escape(c.DisplayName())})
	}
}

func (c *Card) to3() {
	c.setVersion("3.0")
	c.addressesToLabels()
	if n := c.Prop("N"); n != nil && c.Prop("SORT-STRING") == nil {
		if as := n.ParamText("SORT-AS"); as != "" {
			n.SetParam("SORT-AS")
			c.Properties = append(c.Properties, &Property{Name: "SORT-STRING", Value: contentline.Escape(as)})
		}
	}
	best := c.preferred()
	for _, p := range c.Properties {
		for _, r := range renamed {
			if p.Is(r.four) {
				p.Name = r.three
			}
		}
		prefTo3(p, best)
		switch strings.ToUpper(p.Name) {
		case "PHOTO", "LOGO", "SOUND", "KEY":
			binaryTo3(p)
		case "GEO":
			if rest, found := cutFold(p.Value, "geo:"); found {
				place, _, _ := strings.Cut(rest, ";")
				if lat, lon, ok := strings.Cut(place, ","); ok && !strings.Contains(lon, ",") {
					p.Value = lat + ";" + lon
					p.SetParam("VALUE")
				}
			}
		case "TZ":
			if strings.EqualFold(p.ParamText("VALUE"), "utc-offset") {
				p.SetParam("VALUE")
			}
		case "TEL":
			if rest, found := cutFold(p.Value, "tel:"); found {
				p.SetParam("VALUE")
				p.Value = contentline.Escape(rest)
			}
		case "BDAY", "X-ANNIVERSARY", "DEATHDATE":
			dateTo3(p)
		case "RELATED":
			if strings.EqualFold(p.ParamText("TYPE"), "agent") {
				p.Name = "AGENT"
				p.SetParam("TYPE")
				if strings.EqualFold(p.ParamText("VALUE"), "text") {
					p.SetParam("VALUE")
				} else {
					p.SetParam("VALUE", "uri")
				}
			}
		}
	}
	if c.Prop("N") == nil {
		// RFC 2426 section 3.1.2: there has to be one.
		c.Properties = slices.Insert(c.Properties, 1, &Property{Name: "N", Value: contentline.Escape(c.DisplayName()) + ";;;;"})
	}
	if c.Prop("FN") == nil {
		c.Properties = slices.Insert(c.Properties, 1, &Property{Name: "FN", Value: contentline.Escape(c.DisplayName())})
	}
}

func cutFold(s, prefix string) (string, bool) {
	if len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		return s[len(prefix):], true
	}
	return s, false
}

// types are the values of TYPE, also of several TYPE parameters.
func types(p *Property) []string {
	var all []string
	for _, param := range p.Params {
		if strings.EqualFold(param.Name, "TYPE") && !param.Bare {
			for _, v := range param.Values {
				// TYPE="home,work" is a list in quotes (RFC 6350 section 5.6).
				all = append(all, strings.Split(v, ",")...)
			}
		}
	}
	return all
}

// HasType tells whether the property is of a type.
func HasType(p *Property, name string) bool {
	return slices.ContainsFunc(types(p), func(t string) bool { return strings.EqualFold(t, name) })
}

func dropType(p *Property, name string) {
	var params []Param
	for _, param := range p.Params {
		if strings.EqualFold(param.Name, "TYPE") && !param.Bare {
			var values []string
			for _, v := range param.Values {
				kept := slices.DeleteFunc(strings.Split(v, ","), func(t string) bool { return strings.EqualFold(t, name) })
				if len(kept) > 0 {
					values = append(values, strings.Join(kept, ","))
				}
			}
			if len(values) == 0 {
				continue
			}
			param.Values = values
		}
		params = append(params, param)
	}
	p.Params = params
}

func addType(p *Property, name string) {
	for i := len(p.Params) - 1; i >= 0; i-- {
		if strings.EqualFold(p.Params[i].Name, "TYPE") && !p.Params[i].Bare {
			p.Params[i].Values = append(p.Params[i].Values, name)
			return
		}
	}
	p.SetParam("TYPE", name)
}

// prefTo4: TYPE=pref is PREF=1 (RFC 6350 section 5.3).
func prefTo4(p *Property) {
	if HasType(p, "pref") {
		dropType(p, "pref")
		if p.Param("PREF") == nil {
			p.SetParam("PREF", "1")
		}
	}
}

func pref(p *Property) int {
	n, err := strconv.Atoi(p.ParamText("PREF"))
	if err != nil || n < 1 || n > 100 {
		return 101
	}
	return n
}

// preferred is the smallest PREF of each name.
func (c *Card) preferred() map[string]int {
	best := map[string]int{}
	for _, p := range c.Properties {
		name := strings.ToUpper(p.Name)
		if n := pref(p); n <= 100 && (best[name] == 0 || n < best[name]) {
			best[name] = n
		}
	}
	return best
}

// prefTo3 marks the most preferred of each name. A PREF other than 1 stays
// beside it, for the way back.
func prefTo3(p *Property, best map[string]int) {
	n := pref(p)
	if n > 100 {
		return
	}
	if n == best[strings.ToUpper(p.Name)] && !HasType(p, "pref") {
		addType(p, "pref")
	}
	if n == 1 && HasType(p, "pref") {
		p.SetParam("PREF")
	}
}

// binaryTo4: data in the line become a data URI (RFC 6350 section 6.2.4).
func binaryTo4(p *Property) {
	kind := p.ParamText("TYPE")
	media := mediaOf(p.Name, kind)
	switch {
	case strings.EqualFold(p.ParamText("ENCODING"), "b"), strings.EqualFold(p.ParamText("ENCODING"), "base64"):
		p.SetParam("ENCODING")
		p.SetParam("VALUE")
		if media == "" {
			media = sniff(p.Value)
		} else {
			p.SetParam("TYPE")
		}
		p.Value = "data:" + media + ";base64," + p.Value
	case strings.EqualFold(p.ParamText("VALUE"), "uri"):
		p.SetParam("VALUE")
		if media != "" {
			p.SetParam("TYPE")
			p.SetParam("MEDIATYPE", media)
		}
	}
}

func binaryTo3(p *Property) {
	rest, found := cutFold(p.Value, "data:")
	head, data, comma := strings.Cut(rest, ",")
	media, base64 := strings.CutSuffix(head, ";base64")
	switch {
	case found && comma && base64:
		p.Value = data
		p.SetParam("VALUE")
		p.SetParam("MEDIATYPE")
		p.SetParam("ENCODING", "b")
		if kind := kindOf(media); kind != "" {
			p.SetParam("TYPE", kind)
		}
	case strings.Contains(p.Value, ":") && !strings.EqualFold(p.ParamText("VALUE"), "text"):
		p.SetParam("VALUE", "uri")
		if kind := kindOf(p.ParamText("MEDIATYPE")); kind != "" && p.Param("TYPE") == nil {
			p.SetParam("MEDIATYPE")
			p.SetParam("TYPE", kind)
		}
	}
}

// mediaOf turns 3.0's TYPE (JPEG) into a media type.
func mediaOf(name, kind string) string {
	kind = strings.ToLower(kind)
	switch {
	case kind == "" || strings.ContainsAny(kind, ",; "):
		return ""
	case strings.Contains(kind, "/"):
		return kind
	case kind == "jpg":
		kind = "jpeg"
	case kind == "x509":
		return "application/pkix-cert"
	case kind == "pgp":
		return "application/pgp-keys"
	}
	switch strings.ToUpper(name) {
	case "PHOTO", "LOGO":
		return "image/" + kind
	case "SOUND":
		return "audio/" + kind
	}
	return ""
}

func kindOf(media string) string {
	media, _, _ = strings.Cut(strings.ToLower(media), ";")
	switch media {
	case "application/pkix-cert":
		return "X509"
	case "application/pgp-keys":
		return "PGP"
	case "", "application/octet-stream":
		return ""
	}
	main, sub, found := strings.Cut(media, "/")
	if found && (main == "image" || main == "audio") {
		return strings.ToUpper(sub)
	}
	return media
}

// sniff tells pictures apart by how their base64 begins.
func sniff(data string) string {
	for begin, media := range map[string]string{"/9j/": "image/jpeg", "iVBORw0KGgo": "image/png", "R0lGOD": "image/gif"} {
		if strings.HasPrefix(data, begin) {
			return media
		}
	}
	return "application/octet-stream"
}

func offset(s string) bool {
	s = strings.ReplaceAll(s, ":", "")
	if len(s) != 5 || s[0] != '+' && s[0] != '-' {
		return false
	}
	_, err := strconv.Atoi(s[1:])
	return err == nil
}

// labelsToAddresses: 3.0's LABEL is a parameter of ADR in 4.0 (RFC 6350 section
// 6.3.1): of the address of the same types.
func (c *Card) labelsToAddresses() {
	kept := c.Properties[:0]
	for _, label := range c.Properties {
		if !label.Is("LABEL") {
			kept = append(kept, label)
			continue
		}
		text := contentline.Unescape(label.Value)
		adr := slices.IndexFunc(c.All("ADR"), func(p *Property) bool {
			return p.Group == label.Group && p.Param("LABEL") == nil && sameTypes(p, label)
		})
		if adr >= 0 {
			c.All("ADR")[adr].SetParam("LABEL", text)
			continue
		}
		label.Name, label.Value = "ADR", ";;;;;;"
		label.SetParam("LABEL", text)
		kept = append(kept, label)
	}
	c.Properties = kept
}

func sameTypes(p, q *Property) bool {
	sorted := func(p *Property) []string {
		all := types(p)
		for i := range all {
			all[i] = strings.ToLower(all[i])
		}
		slices.Sort(all)
		return slices.DeleteFunc(slices.Compact(all), func(t string) bool { return t == "pref" })
	}
	return slices.Equal(sorted(p), sorted(q))
}

func (c *Card) addressesToLabels() {
	var all []*Property
	for _, p := range c.Properties {
		text := p.ParamText("LABEL")
		if !p.Is("ADR") || text == "" {
			all = append(all, p)
			continue
		}
		p.SetParam("LABEL")
		label := p.Clone()
		label.Name, label.Value = "LABEL", contentline.Escape(text)
		if strings.Trim(p.Value, "; ") != "" {
			all = append(all, p)
		}
		all = append(all, label)
	}
	c.Properties = all
}
