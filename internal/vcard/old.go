package vcard

import (
	"slices"
	"strings"

	"waypost/internal/contentline"
)

// upgrade makes a card of 3.0 of one of 2.1 (versit, 18 September 1996): parameters
// without a name get it (in cards of other versions too), and the separators of
// structured values that were not escaped then are. Quoted-printable and charsets are decoded by
// internal/contentline already.
func upgrade(c *Card) {
	version := c.Prop("VERSION")
	old := version != nil && strings.TrimSpace(version.Value) == "2.1"
	if old {
		version.Value = "3.0"
	}
	for _, p := range c.Properties {
		if old || slices.ContainsFunc(p.Params, func(param Param) bool { return param.Bare }) {
			upgradeParams(p)
		}
		if !old {
			continue
		}
		switch strings.ToUpper(p.Name) {
		case "N", "ADR", "ORG":
			fields := contentline.Split(p.Value, ';')
			for i, field := range fields {
				// Who escapes commas means those that are not escaped.
				if !strings.Contains(field, `\,`) {
					fields[i] = strings.ReplaceAll(field, ",", `\,`)
				}
			}
			p.Value = strings.Join(fields, ";")
		}
	}
}

// upgradeParams gathers types, and says the encoding as RFC 2426 does.
func upgradeParams(p *Property) {
	var params []Param
	types := -1
	for _, param := range p.Params {
		name, values := strings.ToUpper(param.Name), param.Values
		if param.Bare {
			values = strings.Split(param.Name, ",")
			switch name {
			case "7BIT", "8BIT":
				continue
			case "BASE64":
				name = "ENCODING"
			case "INLINE":
				continue
			case "URL", "CONTENT-ID", "CID":
				name = "VALUE"
			default:
				name = "TYPE"
			}
		}
		switch name {
		case "ENCODING":
			switch strings.ToUpper(strings.Join(values, ",")) {
			case "7BIT", "8BIT":
				continue
			case "BASE64", "B":
				values = []string{"b"}
			}
			params = append(params, Param{Name: "ENCODING", Values: values})
		case "VALUE":
			if v := strings.ToUpper(strings.Join(values, ",")); v == "INLINE" {
				continue
			} else if v == "URL" {
				values = []string{"uri"}
			}
			params = append(params, Param{Name: "VALUE", Values: values})
		case "TYPE":
			if types < 0 {
				types = len(params)
				params = append(params, Param{Name: "TYPE"})
			}
			params[types].Values = append(params[types].Values, values...)
		default:
			params = append(params, param)
		}
	}
	p.Params = params
}
