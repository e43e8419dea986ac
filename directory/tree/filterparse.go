package tree

import (
	"encoding/hex"
	"strings"
)

// MaxFilterBytes bounds a filter's text.
const MaxFilterBytes = 1 << 20

// ParseFilter reads a filter of RFC 4515 §3, with RFC 4526's (&) and (|). Spaces
// between parts and missing outermost parentheses are forgiven, as by most. A
// refusal is ResultInvalidSyntax, or ResultAdminLimit past a limit.
func ParseFilter(s string) (*Filter, error) {
	if len(s) > MaxFilterBytes {
		return nil, Refuse(ResultAdminLimit, "a filter has at most %d bytes", MaxFilterBytes)
	}
	p := filterParser{s: s}
	p.spaces()
	if p.i < len(s) && s[p.i] != '(' {
		p.bare = true
	}
	return p.parse()
}

type filterParser struct {
	s    string
	i    int
	bare bool // no parentheses outside
	n    int  // parts so far
}

func (p *filterParser) fail(what string) error {
	return Refuse(ResultInvalidSyntax, "%s at byte %d of the filter", what, p.i)
}

func (p *filterParser) spaces() {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.i]) >= 0 {
		p.i++
	}
}

// parse keeps the sets that are open on a stack of its own: a filter nested a
// million deep is refused at MaxFilterDepth, whatever the goroutine's stack.
func (p *filterParser) parse() (*Filter, error) {
	var open []*Filter
	for {
		f, opened, err := p.begin(len(open))
		if err != nil {
			return nil, err
		}
		if opened {
			open = append(open, f)
		}
		// Close what ends here, as often as it does.
		for done := !opened; ; done = true {
			if done {
				if len(open) == 0 {
					return f, p.end()
				}
				top := open[len(open)-1]
				top.Parts = append(top.Parts, *f)
			}
			p.spaces()
			if p.i < len(p.s) && p.s[p.i] == '(' && !(open[len(open)-1].Op == Not && len(open[len(open)-1].Parts) == 1) {
				break
			}
			f = open[len(open)-1]
			if f.Op == Not && len(f.Parts) != 1 {
				return nil, p.fail("not without a filter")
			}
			open = open[:len(open)-1]
			if err := p.closed(p.bare && len(open) == 0); err != nil {
				return nil, err
			}
		}
	}
}

// begin reads "(" and an item with its ")", or the sign of a set.
func (p *filterParser) begin(depth int) (f *Filter, opened bool, err error) {
	p.spaces()
	outer := p.bare && depth == 0
	if !outer {
		if p.i == len(p.s) || p.s[p.i] != '(' {
			return nil, false, p.fail("no opening parenthesis")
		}
		p.i++
		p.spaces()
	}
	if p.n++; p.n > MaxFilterParts {
		return nil, false, Refuse(ResultAdminLimit, "a filter has at most %d parts", MaxFilterParts)
	}
	if p.i == len(p.s) {
		return nil, false, p.fail("the end")
	}
	if op := strings.IndexByte("&|!", p.s[p.i]); op >= 0 {
		if depth == MaxFilterDepth {
			return nil, false, Refuse(ResultAdminLimit, "a filter nests at most %d deep", MaxFilterDepth)
		}
		p.i++
		return &Filter{Op: FilterOp(op)}, true, nil
	}
	if f, err = p.item(); err != nil {
		return nil, false, err
	}
	return f, false, p.closed(outer)
}

// closed reads the parenthesis behind a filter.
func (p *filterParser) closed(bare bool) error {
	if bare {
		return nil
	}
	if p.i == len(p.s) || p.s[p.i] != ')' {
		return p.fail("no closing parenthesis")
	}
	p.i++
	return nil
}

func (p *filterParser) end() error {
	p.spaces()
	if p.i != len(p.s) {
		return p.fail("text behind the filter")
	}
	return nil
}

// item reads simple / present / substring / extensible.
func (p *filterParser) item() (*Filter, error) {
	start := p.i
	for p.i < len(p.s) && strings.IndexByte("=~<>:()", p.s[p.i]) < 0 {
		p.i++
	}
	f := &Filter{Op: Equal}
	name, _, _ := strings.Cut(strings.TrimRight(p.s[start:p.i], " "), ";") // options are not compared
	f.Attribute = name
	if name != "" && !validType(name) {
		return nil, p.fail("no attribute")
	}
	if p.i == len(p.s) {
		return nil, p.fail("no comparison")
	}
	switch p.s[p.i] {
	case '=':
		p.i++
		if name == "" {
			return nil, p.fail("no attribute")
		}
		return f, p.equalOrSubstrings(f)
	case ':':
		f.Op = Extensible
		if err := p.extension(f); err != nil {
			return nil, err
		}
	case '~':
		f.Op = Approx
	case '<':
		f.Op = LessOrEqual
	case '>':
		f.Op = GreaterOrEqual
	default:
		return nil, p.fail("no comparison")
	}
	if f.Op != Extensible {
		p.i++
		if p.i == len(p.s) || p.s[p.i] != '=' || name == "" {
			return nil, p.fail("no comparison")
		}
		p.i++
	}
	var err error
	if f.Value, err = p.assertion(); err != nil {
		return nil, err
	}
	if p.i < len(p.s) && p.s[p.i] == '*' {
		return nil, p.fail("an asterisk that must be escaped")
	}
	return f, nil
}

// extension reads [":dn"] [":" rule] ":=" behind the attribute.
func (p *filterParser) extension(f *Filter) error {
	for p.i < len(p.s) && p.s[p.i] == ':' {
		p.i++
		if p.i < len(p.s) && p.s[p.i] == '=' {
			p.i++
			if f.Attribute == "" && f.Rule == "" {
				return p.fail("neither attribute nor matching rule")
			}
			return nil
		}
		start := p.i
		for p.i < len(p.s) && isKeyChar(p.s[p.i]) {
			p.i++
		}
		word := p.s[start:p.i]
		switch {
		case strings.EqualFold(word, "dn") && !f.DNAttributes && f.Rule == "":
			f.DNAttributes = true
		case f.Rule == "" && validType(word):
			f.Rule = word
		default:
			return p.fail("a wrong matching rule")
		}
	}
	return p.fail("no comparison")
}

// equalOrSubstrings reads what stands behind "=".
func (p *filterParser) equalOrSubstrings(f *Filter) error {
	var parts []string
	for {
		part, err := p.assertion()
		if err != nil {
			return err
		}
		parts = append(parts, part)
		if p.i == len(p.s) || p.s[p.i] != '*' {
			break
		}
		p.i++
		if p.n++; p.n > MaxFilterParts {
			return Refuse(ResultAdminLimit, "a filter has at most %d parts", MaxFilterParts)
		}
	}
	if len(parts) == 1 {
		f.Value = parts[0]
		return nil
	}
	f.Op = Substrings
	f.Initial, f.Final = parts[0], parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		if part != "" { // "**" says no more than "*"
			f.Any = append(f.Any, part)
		}
	}
	if f.Initial == "" && f.Final == "" && len(f.Any) == 0 {
		f.Op = Present
	}
	return nil
}

// assertion reads assertionvalue: UTF-8 or any bytes with NUL ( ) * \ escaped.
func (p *filterParser) assertion() (string, error) {
	start := p.i
	for p.i < len(p.s) && strings.IndexByte("()*\\\x00", p.s[p.i]) < 0 {
		p.i++
	}
	if p.i == len(p.s) || p.s[p.i] == ')' || p.s[p.i] == '*' {
		return p.s[start:p.i], nil
	}
	var b strings.Builder
	b.WriteString(p.s[start:p.i])
	for p.i < len(p.s) {
		switch c := p.s[p.i]; c {
		case ')', '*':
			return b.String(), nil
		case '(', 0:
			return "", p.fail("a character that must be escaped")
		case '\\':
			var raw [1]byte
			if p.i+2 >= len(p.s) {
				return "", p.fail("a wrong escape")
			}
			if _, err := hex.Decode(raw[:], []byte(p.s[p.i+1:p.i+3])); err != nil {
				return "", p.fail("a wrong escape")
			}
			b.WriteByte(raw[0])
			p.i += 3
		default:
			b.WriteByte(c)
			p.i++
		}
	}
	return b.String(), nil
}

// String writes the filter as RFC 4515 §3 has it; ParseFilter reads it back.
func (f *Filter) String() string {
	var b strings.Builder
	f.write(&b)
	return b.String()
}

func (f *Filter) write(b *strings.Builder) {
	b.WriteByte('(')
	switch f.Op {
	case And, Or, Not:
		b.WriteByte("&|!"[f.Op])
		for i := range f.Parts {
			f.Parts[i].write(b)
		}
	case Equal, GreaterOrEqual, LessOrEqual, Approx:
		b.WriteString(f.Attribute)
		b.WriteString(map[FilterOp]string{Equal: "=", GreaterOrEqual: ">=", LessOrEqual: "<=", Approx: "~="}[f.Op])
		escapeAssertion(b, f.Value)
	case Present:
		b.WriteString(f.Attribute)
		b.WriteString("=*")
	case Substrings:
		b.WriteString(f.Attribute)
		b.WriteByte('=')
		escapeAssertion(b, f.Initial)
		b.WriteByte('*')
		for _, part := range f.Any {
			escapeAssertion(b, part)
			b.WriteByte('*')
		}
		escapeAssertion(b, f.Final)
	case Extensible:
		b.WriteString(f.Attribute)
		if f.DNAttributes {
			b.WriteString(":dn")
		}
		if f.Rule != "" {
			b.WriteByte(':')
			b.WriteString(f.Rule)
		}
		b.WriteString(":=")
		escapeAssertion(b, f.Value)
	}
	b.WriteByte(')')
}

// escapeAssertion writes a value; bytes that are not printable ASCII or UTF-8
// text are escaped too, so that the filter can be shown.
func escapeAssertion(b *strings.Builder, v string) {
	const hexits = "0123456789abcdef"
	text := strings.ToValidUTF8(v, "") == v
	for i := range len(v) {
		c := v[i]
		if c < ' ' || c == '(' || c == ')' || c == '*' || c == '\\' || c == 0x7f || c >= 0x80 && !text {
			b.WriteByte('\\')
			b.WriteByte(hexits[c>>4])
			b.WriteByte(hexits[c&15])
			continue
		}
		b.WriteByte(c)
	}
}
