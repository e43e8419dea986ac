package contentline

import (
	"strings"
	"unicode/utf8"
)

// width is how many octets a line has at most, its end not counted (RFC 5545
// section 3.1, RFC 6350 section 3.2).
const width = 75

// Append writes the property as a canonical line, folded, with CRLF.
func (p *Property) Append(dst []byte) []byte {
	var line []byte
	if p.Bad() {
		return Fold(dst, p.Value)
	}
	if p.Group != "" {
		line = append(append(line, p.Group...), '.')
	}
	line = append(line, p.Name...)
	for _, param := range p.Params {
		line = append(append(line, ';'), param.Name...)
		if param.Bare {
			continue
		}
		line = append(line, '=')
		for i, v := range param.Values {
			if i > 0 {
				line = append(line, ',')
			}
			line = appendParamValue(line, v)
		}
	}
	line = append(append(line, ':'), p.Value...)
	return Fold(dst, string(line))
}

var carets = strings.NewReplacer("^", "^^", "\r\n", "^n", "\n", "^n", "\r", "^n", `"`, "^'")

// appendParamValue quotes and escapes what has to be (RFC 5545 section 3.2, RFC
// 6868 section 3.1).
func appendParamValue(dst []byte, value string) []byte {
	value = carets.Replace(value)
	// A backslash at the end would take the separator with it in many a reader.
	if strings.ContainsAny(value, `;:,\`) || value != strings.TrimSpace(value) {
		dst = append(append(dst, '"'), value...)
		return append(dst, '"')
	}
	return append(dst, value...)
}

// Fold writes one line, cut where it is too long but never inside a character.
// A line break in it, which no value may have, becomes a space.
func Fold(dst []byte, line string) []byte {
	if strings.ContainsAny(line, "\r\n") {
		line = strings.NewReplacer("\r\n", " ", "\r", " ", "\n", " ").Replace(line)
	}
	for room := width; len(line) > room; room = width - 1 {
		cut := room
		for cut > room-utf8.UTFMax && !utf8.RuneStart(line[cut]) {
			cut--
		}
		dst = append(append(dst, line[:cut]...), "\r\n "...)
		line = line[cut:]
	}
	return append(append(dst, line...), "\r\n"...)
}
