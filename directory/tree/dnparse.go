package tree

import (
	"encoding/hex"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"waypost/directory/schema"
)

// ParseDN reads a name; its attributes are then spelt as the schema does. It
// knows RFC 4514 §3, what RFC 2253 §4 asks to understand of older ones
// (semicolons, quotes, spaces around separators, "OID."), and AD's forms in
// angle brackets. A refusal is ResultInvalidDNSyntax.
func ParseDN(s string) (DN, error) {
	if len(s) > MaxDNBytes {
		return nil, Refuse(ResultInvalidDNSyntax, "a name has at most %d bytes", MaxDNBytes)
	}
	p := dnParser{s: s}
	p.spaces()
	if p.i == len(s) {
		return nil, nil
	}
	if s[p.i] == '<' {
		return parseSpecial(strings.TrimRight(s[p.i:], " "))
	}
	var dn DN
	for {
		if len(dn) == MaxDNDepth {
			return nil, Refuse(ResultInvalidDNSyntax, "a name has at most %d parts", MaxDNDepth)
		}
		rdn, err := p.rdn()
		if err != nil {
			return nil, err
		}
		dn = append(dn, rdn)
		if p.i == len(s) {
			return dn, nil
		}
		p.i++ // rdn ends at a comma or semicolon
	}
}

// ParseRDN reads one RDN, as newrdn of a modify DN has it (RFC 4511 §4.9).
func ParseRDN(s string) (RDN, error) {
	dn, err := ParseDN(s)
	if err != nil {
		return nil, err
	}
	if form, _ := dn.Special(); len(dn) != 1 || form != "" {
		return nil, Refuse(ResultInvalidDNSyntax, "one part of a name is wanted")
	}
	return dn[0], nil
}

type dnParser struct {
	s string
	i int
}

func (p *dnParser) fail(what string) error {
	return Refuse(ResultInvalidDNSyntax, "%s at byte %d of the name", what, p.i)
}

func (p *dnParser) spaces() {
	for p.i < len(p.s) && (p.s[p.i] == ' ' || p.s[p.i] == '\n' || p.s[p.i] == '\r') { // RFC 2253 §4
		p.i++
	}
}

func (p *dnParser) rdn() (RDN, error) {
	var rdn RDN
	for {
		if len(rdn) == maxAVAs {
			return nil, p.fail("too many values in one part")
		}
		name, err := p.attribute()
		if err != nil {
			return nil, err
		}
		value, err := p.value()
		if err != nil {
			return nil, err
		}
		name = attributeName(name)
		for _, a := range rdn {
			if strings.EqualFold(a.Attribute, name) {
				return nil, p.fail("an attribute twice in one part") // X.501 9.3
			}
		}
		rdn = append(rdn, AVA{name, value})
		if p.i == len(p.s) || p.s[p.i] != '+' {
			return rdn, nil
		}
		p.i++
	}
}

// attribute reads "type =" (RFC 4512 §1.4: descr or numericoid).
func (p *dnParser) attribute() (string, error) {
	p.spaces()
	start := p.i
	for p.i < len(p.s) && isKeyChar(p.s[p.i]) {
		p.i++
	}
	name := p.s[start:p.i]
	if len(name) > 4 && strings.EqualFold(name[:4], "oid.") { // RFC 2253 §4
		name = name[4:]
	}
	if !validType(name) {
		return "", p.fail("no attribute")
	}
	p.spaces()
	if p.i == len(p.s) || p.s[p.i] != '=' {
		return "", p.fail("no equals sign")
	}
	p.i++
	p.spaces()
	return name, nil
}

func isKeyChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.'
}

// validType tells whether name is a descr or a numericoid of RFC 4512 §1.4.
func validType(name string) bool {
	switch {
	case name == "":
		return false
	case name[0] >= '0' && name[0] <= '9':
		for arc := range strings.SplitSeq(name, ".") {
			if arc == "" || len(arc) > 1 && arc[0] == '0' || strings.Trim(arc, "0123456789") != "" {
				return false
			}
		}
		return strings.Contains(name, ".")
	default:
		for i := range len(name) {
			if !isKeyChar(name[i]) || name[i] == '.' {
				return false
			}
		}
		return name[0] != '-'
	}
}

// value reads a value up to the separator behind it.
func (p *dnParser) value() (string, error) {
	var v string
	var err error
	switch {
	case p.i < len(p.s) && p.s[p.i] == '#':
		v, err = p.hexValue()
	case p.i < len(p.s) && p.s[p.i] == '"':
		v, err = p.quoted()
	default:
		v, err = p.plain()
	}
	if err != nil {
		return "", err
	}
	if !utf8.ValidString(v) {
		return "", p.fail("text that is not UTF-8")
	}
	return v, nil
}

// plain reads a string of RFC 4514 §3; most have nothing to take away.
func (p *dnParser) plain() (string, error) {
	start := p.i
	for p.i < len(p.s) {
		switch c := p.s[p.i]; c {
		case ',', ';', '+':
			return strings.TrimRight(p.s[start:p.i], " \n\r"), nil
		case '"', '<', '>', '\\', 0:
			p.i = start
			return p.escaped()
		}
		p.i++
	}
	return strings.TrimRight(p.s[start:], " \n\r"), nil
}

func (p *dnParser) escaped() (string, error) {
	var b strings.Builder
	keep := 0 // b up to the last byte that is no trailing space
	for p.i < len(p.s) {
		c := p.s[p.i]
		switch c {
		case ',', ';', '+':
			return b.String()[:keep], nil
		case '"', '<', '>', 0:
			return "", p.fail("a character that must be escaped")
		case '\\':
			e, err := p.escape()
			if err != nil {
				return "", err
			}
			b.WriteByte(e)
			keep = b.Len()
			continue
		}
		b.WriteByte(c)
		if c != ' ' && c != '\n' && c != '\r' {
			keep = b.Len()
		}
		p.i++
	}
	return b.String()[:keep], nil
}

// quoted reads a value of RFC 2253 §3 in quotes.
func (p *dnParser) quoted() (string, error) {
	var b strings.Builder
	for p.i++; p.i < len(p.s); {
		switch c := p.s[p.i]; c {
		case '"':
			p.i++
			return b.String(), p.separator()
		case '\\':
			e, err := p.escape()
			if err != nil {
				return "", err
			}
			b.WriteByte(e)
		default:
			b.WriteByte(c)
			p.i++
		}
	}
	return "", p.fail("no closing quote")
}

// escape reads "\" with a special or a hex pair (RFC 4514 §3).
func (p *dnParser) escape() (byte, error) {
	if p.i+1 < len(p.s) {
		c := p.s[p.i+1]
		if strings.IndexByte(` "#+,;<=>\`, c) >= 0 {
			p.i += 2
			return c, nil
		}
		if p.i+2 < len(p.s) {
			var b [1]byte
			if _, err := hex.Decode(b[:], []byte(p.s[p.i+1:p.i+3])); err == nil {
				p.i += 3
				return b[0], nil
			}
		}
	}
	return 0, p.fail("a wrong escape")
}

// separator is what may stand behind a quoted or hexadecimal value.
func (p *dnParser) separator() error {
	p.spaces()
	if p.i < len(p.s) && strings.IndexByte(",;+", p.s[p.i]) < 0 {
		return p.fail("text behind a value")
	}
	return nil
}

// hexValue reads "#" and the BER encoding of a value (RFC 4514 §2.4).
func (p *dnParser) hexValue() (string, error) {
	p.i++
	start := p.i
	for p.i < len(p.s) && strings.IndexByte("0123456789abcdefABCDEF", p.s[p.i]) >= 0 {
		p.i++
	}
	raw, err := hex.DecodeString(p.s[start:p.i])
	if err != nil || len(raw) < 2 {
		return "", p.fail("a wrong hexadecimal value")
	}
	v, ok := berString(raw)
	if !ok {
		return "", p.fail("a hexadecimal value that is no string")
	}
	return v, p.separator()
}

// berString decodes one primitive string of BER: tag, definite length, bytes.
func berString(b []byte) (string, bool) {
	tag, length, body := b[0], int(b[1]), b[2:]
	if length >= 0x80 { // X.690 8.1.3.5; 8 KiB need no more than two bytes
		n := length & 0x7f
		if n == 0 || n > 2 || len(body) < n {
			return "", false
		}
		length = 0
		for _, c := range body[:n] {
			length = length<<8 | int(c)
		}
		body = body[n:]
	}
	if length != len(body) {
		return "", false
	}
	switch tag {
	case 4, 12, 18, 19, 22, 26, 27: // octets, UTF8, numeric, printable, IA5, visible, general
		return string(body), true
	case 20: // T61String, which everybody fills with Latin-1
		runes := make([]rune, len(body))
		for i, c := range body {
			runes[i] = rune(c)
		}
		return string(runes), true
	case 30: // BMPString
		if len(body)%2 != 0 {
			return "", false
		}
		units := make([]uint16, len(body)/2)
		for i := range units {
			units[i] = uint16(body[2*i])<<8 | uint16(body[2*i+1])
		}
		return string(utf16.Decode(units)), true
	case 28: // UniversalString
		if len(body)%4 != 0 {
			return "", false
		}
		var text []rune
		for i := 0; i < len(body); i += 4 {
			text = append(text, rune(uint32(body[i])<<24|uint32(body[i+1])<<16|uint32(body[i+2])<<8|uint32(body[i+3])))
		}
		return string(text), true
	}
	return "", false
}

// parseSpecial reads <GUID=…>, <SID=…> and <WKGUID=…,DN>.
func parseSpecial(s string) (DN, error) {
	wrong := Refuse(ResultInvalidDNSyntax, "a wrong name in angle brackets")
	inner, ok := strings.CutSuffix(s[1:], ">")
	if !ok {
		return nil, wrong
	}
	form, value, ok := strings.Cut(inner, "=")
	if !ok {
		return nil, wrong
	}
	switch strings.ToUpper(strings.TrimSpace(form)) {
	case "GUID":
		if g, ok := schema.ParseGUID(strings.TrimSpace(value)); ok {
			return DN{{{ByGUID, string(g[:])}}}, nil
		}
	case "SID":
		value = strings.TrimSpace(value)
		if b, ok := schema.ParseSid(value); ok {
			return DN{{{BySID, b}}}, nil
		}
		if raw, err := hex.DecodeString(value); err == nil && schema.FormatSid(string(raw)) != "" {
			return DN{{{BySID, string(raw)}}}, nil
		}
	case "WKGUID":
		id, name, ok := strings.Cut(value, ",")
		g, good := schema.ParseGUID(strings.TrimSpace(id))
		if !ok || !good {
			return nil, wrong
		}
		dn, err := ParseDN(name)
		if err != nil {
			return nil, err
		}
		if form, _ := dn.Special(); form != "" || len(dn) == 0 || len(dn) == MaxDNDepth {
			return nil, wrong
		}
		return dn.Child(RDN{{ByWellKnown, string(g[:])}}), nil
	}
	return nil, wrong
}

func hexOf(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) }
