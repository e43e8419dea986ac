package ldif

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// record makes a record of the lines collected.
func (r *Reader) record() (*Record, *SyntaxError) {
	p := parser{r: r, lines: r.lines, rec: &Record{}}
	p.whole()
	return p.rec, p.wrong
}

type parser struct {
	r     *Reader
	lines []line
	rec   *Record
	wrong *SyntaxError
}

func (p *parser) fail(number int, why string) {
	if p.wrong == nil {
		p.wrong = &SyntaxError{Line: number, DN: p.rec.DN, Why: why}
	}
}

// peek gives the next line, unless there is none or it is a dash.
func (p *parser) peek() (name, value string, ok bool) {
	if len(p.lines) == 0 || p.lines[0].dash {
		return "", "", false
	}
	name, value = p.r.parts(p.lines[0])
	return name, value, true
}

// want takes the next line, which must have a name.
func (p *parser) want(name string) (value string, ok bool) {
	got, value, ok := p.peek()
	if !ok || !strings.EqualFold(got, name) {
		p.fail(p.number(), name+" is wanted here")
		return "", false
	}
	p.lines = p.lines[1:]
	return value, true
}

// number is the line that comes next, or the last one.
func (p *parser) number() int {
	if len(p.lines) > 0 {
		return p.lines[0].number
	}
	return p.r.lines[len(p.r.lines)-1].number
}

func (p *parser) whole() {
	dn, ok := p.want("dn")
	if !ok {
		return
	}
	if !utf8.ValidString(dn) {
		p.fail(p.r.lines[0].number, "the name is not UTF-8")
		return
	}
	p.rec.DN = dn
	for {
		name, value, ok := p.peek()
		if !ok || !strings.EqualFold(name, "control") {
			break
		}
		if !p.control(value) {
			return
		}
		p.lines = p.lines[1:]
	}
	name, value, ok := p.peek()
	if !ok || !strings.EqualFold(name, "changetype") {
		if len(p.rec.Controls) > 0 {
			p.fail(p.number(), "changetype is wanted behind control")
			return
		}
		p.attributes()
		return
	}
	number := p.number()
	p.lines = p.lines[1:]
	switch strings.ToLower(strings.TrimRight(value, " ")) {
	case "add":
		p.rec.Change = Add
		p.attributes()
	case "delete":
		p.rec.Change = Delete
		p.end("delete")
	case "modify":
		p.rec.Change = Modify
		p.mods()
	case "modrdn", "moddn":
		p.rec.Change = Rename
		p.rename()
	default:
		p.fail(number, "changetype is add, delete, modify, modrdn or moddn")
	}
}

func (p *parser) end(what string) {
	if len(p.lines) > 0 {
		p.fail(p.number(), "nothing more is wanted in a record of type "+what)
	}
}

// control reads "control: OID [true|false] [:value]"; in the value's place may
// stand base64 behind two colons.
func (p *parser) control(text string) bool {
	number := p.number()
	var c Control
	head, rest, has := strings.Cut(text, ":")
	words := strings.Fields(head)
	if len(words) == 0 || len(words) > 2 || !validOID(words[0]) {
		p.fail(number, "control: an OID, true or false, and a value are wanted")
		return false
	}
	c.OID = words[0]
	if len(words) == 2 {
		switch strings.ToLower(words[1]) {
		case "true":
			c.Critical = true
		case "false":
		default:
			p.fail(number, "control: true or false is wanted behind the OID")
			return false
		}
	}
	if has {
		v, why := valueSpec(rest)
		if why != "" {
			p.fail(number, "control: "+why)
			return false
		}
		c.Value, c.HasValue = v, true
	}
	p.rec.Controls = append(p.rec.Controls, c)
	return true
}

func validOID(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if _, err := strconv.ParseUint(part, 10, 32); err != nil {
			return false
		}
	}
	return strings.Contains(s, ".")
}

// attributes reads attrval-specs up to the end.
func (p *parser) attributes() {
	if len(p.lines) == 0 {
		p.fail(p.number(), "an entry without attributes")
		return
	}
	var places map[string]int // once there are many
	for _, l := range p.lines {
		if l.dash {
			p.fail(l.number, "a hyphen ends the parts of a modify record only")
			return
		}
		name, value := p.r.parts(l)
		switch {
		case strings.EqualFold(name, "dn"):
			p.fail(l.number, "a second dn; a blank line is missing before it")
			return
		case strings.EqualFold(name, "changetype"), strings.EqualFold(name, "control"):
			p.fail(l.number, name+" stands before the attributes")
			return
		}
		at := -1
		if n := len(p.rec.Attributes); n > 0 && p.rec.Attributes[n-1].Name == name {
			at = n - 1
		} else if n < 16 {
			for i := range p.rec.Attributes {
				if strings.EqualFold(p.rec.Attributes[i].Name, name) {
					at = i
					break
				}
			}
		} else {
			if places == nil {
				places = make(map[string]int, 2*n)
				for i, a := range p.rec.Attributes {
					places[strings.ToLower(a.Name)] = i
				}
			}
			if i, ok := places[strings.ToLower(name)]; ok {
				at = i
			}
		}
		if at < 0 {
			if places != nil {
				places[strings.ToLower(name)] = len(p.rec.Attributes)
			}
			p.rec.Attributes = append(p.rec.Attributes, Attribute{Name: name})
			at = len(p.rec.Attributes) - 1
		}
		p.rec.Attributes[at].Values = append(p.rec.Attributes[at].Values, value)
	}
}

// mods reads mod-specs. The last hyphen may be missing, as ldapmodify has it.
func (p *parser) mods() {
	for len(p.lines) > 0 {
		word, name, ok := p.peek()
		op := modOp(word)
		if !ok || op < 0 {
			p.fail(p.number(), "add, delete, replace or increment is wanted here")
			return
		}
		if name = strings.TrimRight(name, " "); !validDescription([]byte(name)) {
			p.fail(p.number(), word+": an attribute is wanted")
			return
		}
		m := Mod{Op: op, Name: name}
		number := p.number()
		p.lines = p.lines[1:]
		for {
			got, value, ok := p.peek()
			if !ok {
				break
			}
			if !strings.EqualFold(got, name) {
				p.fail(p.number(), "a value of "+name+" or a hyphen is wanted")
				return
			}
			m.Values = append(m.Values, value)
			p.lines = p.lines[1:]
		}
		if len(p.lines) > 0 {
			p.lines = p.lines[1:] // the hyphen
		}
		if len(m.Values) == 0 && (op == ModAdd || op == ModIncrement) {
			p.fail(number, word+" "+name+": a value is wanted")
			return
		}
		p.rec.Mods = append(p.rec.Mods, m)
	}
}

func modOp(word string) ModOp {
	for i, w := range modWords {
		if strings.EqualFold(w, word) {
			return ModOp(i)
		}
	}
	return -1
}

func (p *parser) rename() {
	rdn, ok := p.want("newrdn")
	if !ok {
		return
	}
	if rdn == "" || !utf8.ValidString(rdn) {
		p.fail(p.r.lines[0].number, "newrdn: a name in UTF-8 is wanted")
		return
	}
	p.rec.NewRDN = rdn
	number := p.number()
	old, ok := p.want("deleteoldrdn")
	if !ok {
		return
	}
	switch strings.TrimRight(old, " ") {
	case "0":
	case "1":
		p.rec.DeleteOld = true
	default:
		p.fail(number, "deleteoldrdn is 0 or 1")
		return
	}
	if len(p.lines) > 0 {
		up, ok := p.want("newsuperior")
		if !ok {
			return
		}
		if !utf8.ValidString(up) {
			p.fail(number, "newsuperior: a name in UTF-8 is wanted")
			return
		}
		p.rec.Superior = &up
	}
	p.end("modrdn")
}
