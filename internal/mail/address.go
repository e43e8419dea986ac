package mail

import (
	"strings"
	"unicode/utf8"
)

// MissingHost stands for the domain of an address that was written without one.
const MissingHost = "MISSING_DOMAIN"

// Address is one entry of an address list. As in IMAP's ENVELOPE (RFC 9051
// section 7.5.2) a group is a start entry, with Host empty and the group's name
// as Mailbox, its members, and an end entry with both empty.
type Address struct {
	Name    string // display name, decoded
	Mailbox string // local part, unquoted
	Host    string // domain, or MissingHost
}

// IsGroupStart and IsGroupEnd say that a is no address but the border of a group.
func (a Address) IsGroupStart() bool { return a.Host == "" && a.Mailbox != "" }

// IsGroupEnd says that a closes a group.
func (a Address) IsGroupEnd() bool { return a.Host == "" && a.Mailbox == "" }

// Addr is the address as local@host, the local part quoted where it must be;
// it is empty for the borders of a group.
func (a Address) Addr() string {
	if a.Host == "" {
		return ""
	}
	local := a.Mailbox
	if !isDotAtom(local) {
		local = quote(local)
	}
	if a.Host == MissingHost {
		if a.Mailbox == "" {
			return ""
		}
		return local
	}
	return local + "@" + a.Host
}

// String is the address for a header or a person, in UTF-8: a name that is no
// plain phrase is quoted. See FormatAddress for the encoded form.
func (a Address) String() string {
	switch {
	case a.IsGroupStart():
		return quotePhrase(a.Mailbox) + ":"
	case a.IsGroupEnd():
		return ";"
	case a.Name == "":
		return a.Addr()
	}
	return quotePhrase(a.Name) + " <" + a.Addr() + ">"
}

func isDotAtom(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		if !atomChars[s[i]] && s[i] != '.' {
			return false
		}
	}
	return true
}

func quotePhrase(s string) string {
	for i := range len(s) {
		if !atomChars[s[i]] && s[i] != ' ' {
			return quote(s)
		}
	}
	return s
}

func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\r', '\n', 0:
			b.WriteByte(' ')
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// ParseAddresses reads an address list (RFC 5322 section 3.4 with the obsolete
// forms of 4.4, and what people write instead). It never fails: what cannot be
// understood becomes the name of an address with MissingHost, or is skipped. At
// most MaxAddresses entries are returned.
func ParseAddresses(s string) []Address { return parseAddresses(s, MaxAddresses) }

func parseAddresses(s string, limit int) []Address {
	p := addressParser{s: s, limit: limit}
	p.list()
	return p.out
}

type addressParser struct {
	s     string
	i     int
	out   []Address
	limit int

	words    []word // of the address being read
	angle    string // what stood between < and >
	hasAngle bool
	comment  string
	unclosed bool // there is no further closing bracket
}

type word struct {
	text   string
	quoted bool
	spaced bool // white space before it
}

// word keeps one word of the address; nobody's has more than a few.
func (p *addressParser) word(w word) {
	if len(p.words) < 256 {
		p.words = append(p.words, w)
	}
}

func (p *addressParser) list() {
	group := false
	spaced := false
	for p.i < len(p.s) && len(p.out) < p.limit {
		switch c := p.s[p.i]; c {
		case ' ', '\t', '\r', '\n':
			p.i++
			spaced = true
			continue
		case '(':
			var text string
			text, p.i = comment(p.s, p.i)
			if text = strings.TrimSpace(text); text != "" {
				p.comment = text
			}
			spaced = true
			continue
		case '>':
			p.i++ // no bracket was opened
		case ',':
			p.i++
			p.flush()
		case ';':
			p.i++
			p.flush()
			if group {
				group = false
				p.add(Address{})
			}
		case ':':
			p.i++
			switch {
			case !group && !p.hasAngle && len(p.words) > 0 && !p.hasAt():
				group = true
				p.add(Address{Mailbox: p.phrase()})
				p.reset()
			case len(p.words) > 0 || p.hasAngle:
				p.word(word{text: ":", spaced: spaced})
			}
		case '<':
			if p.hasAngle {
				p.flush() // <a@b> <c@d>: a comma is missing
			}
			p.hasAngle = true
			p.readAngle()
		case '"':
			var text string
			text, p.i = quoted(p.s, p.i)
			p.word(word{text, true, spaced})
		default:
			start := p.i
			p.i++
			if c != '@' {
				for p.i < len(p.s) && wordChars[p.s[p.i]] {
					p.i++
				}
			}
			p.word(word{p.s[start:p.i], false, spaced})
		}
		spaced = false
	}
	p.flush()
	if group {
		p.add(Address{})
	}
}

// readAngle reads to the closing bracket; a missing one ends at the comma.
func (p *addressParser) readAngle() {
	i := p.i + 1
	start := i
	if p.unclosed {
		i = len(p.s) // hostile lists must not cost a search for each bracket
	}
	for i < len(p.s) && p.s[i] != '>' {
		if p.s[i] == '"' {
			_, i = quoted(p.s, i)
			continue
		}
		i++
	}
	if i >= len(p.s) {
		p.unclosed = true
		i = len(p.s)
		if c := strings.IndexByte(p.s[start:], ','); c >= 0 {
			i = start + c
		}
		p.angle, p.i = p.s[start:i], i
		return
	}
	p.angle, p.i = p.s[start:i], i+1
}

func (p *addressParser) hasAt() bool {
	for _, w := range p.words {
		if w.text == "@" && !w.quoted {
			return true
		}
	}
	return false
}

func (p *addressParser) phrase() string {
	var b strings.Builder
	for i, w := range p.words {
		if i > 0 && (w.spaced || w.quoted || p.words[i-1].quoted) {
			b.WriteByte(' ')
		}
		b.WriteString(w.text)
	}
	return phraseText(b.String())
}

func phraseText(s string) string {
	if strings.Contains(s, "=?") {
		s = DecodeHeader(s)
	}
	return strings.TrimSpace(cleanLine(s))
}

func (p *addressParser) add(a Address) {
	if len(p.out) < p.limit {
		p.out = append(p.out, a)
	}
}

func (p *addressParser) reset() {
	p.words = p.words[:0]
	p.angle, p.hasAngle, p.comment = "", false, ""
}

func (p *addressParser) flush() {
	defer p.reset()
	if p.hasAngle {
		local, host, ok := splitAddr(p.angle)
		name := p.phrase()
		if name == "" {
			name = phraseText(p.comment)
		}
		switch {
		case !ok && local == "" && name == "":
			return
		case !ok && local == "" && p.hasAt():
			// "user@host <>": the address took the place of the name
			local, host, _ = splitAddr(name)
			name = ""
		}
		p.add(Address{Name: name, Mailbox: local, Host: host})
		return
	}
	if len(p.words) == 0 {
		return
	}
	if !p.hasAt() {
		if len(p.words) == 1 {
			if w := p.words[0]; !w.quoted && !strings.Contains(w.text, "=?") {
				p.add(Address{Name: phraseText(p.comment), Mailbox: cleanLine(w.text), Host: MissingHost})
				return
			} else if local, host, ok := splitAddr(w.text); w.quoted && ok && isDotAtom(host) {
				p.add(Address{Name: phraseText(p.comment), Mailbox: local, Host: host})
				return
			}
		}
		p.add(Address{Name: p.phrase(), Host: MissingHost})
		return
	}
	// An address without brackets; words before it are a name.
	at := 0
	for i, w := range p.words {
		if w.text == "@" && !w.quoted {
			at = i
		}
	}
	first := at
	for first > 0 && (first == at || !p.words[first].spaced || strings.HasSuffix(p.words[first-1].text, ".") && !p.words[first-1].quoted) {
		first--
	}
	var local, host strings.Builder
	for _, w := range p.words[first:at] {
		local.WriteString(w.text)
	}
	rest := p.words[at+1:]
	n := 0
	for n < len(rest) && (n == 0 || !rest[n].spaced || strings.HasPrefix(rest[n].text, ".") || strings.HasSuffix(rest[n-1].text, ".")) {
		host.WriteString(rest[n].text)
		n++
	}
	name := phraseText(p.comment)
	if first > 0 {
		p.words = p.words[:first]
		if n := p.phrase(); n != "" {
			name = n
		}
	}
	p.add(Address{Name: name, Mailbox: cleanLine(local.String()), Host: hostText(host.String())})
}

// splitAddr cuts an addr-spec, perhaps with an obsolete route before it.
func splitAddr(s string) (local, host string, ok bool) {
	s = strings.Trim(s, " \t\r\n")
	s = strings.TrimLeft(s, "<")
	if strings.HasPrefix(s, "@") { // RFC 5322 section 4.4 obs-route
		if _, rest, found := strings.Cut(s, ":"); found {
			s = rest
		}
	}
	if len(s) > 7 && strings.EqualFold(s[:7], "mailto:") {
		s = s[7:]
	}
	var b strings.Builder
	at := -1
	for i := 0; i < len(s); {
		switch s[i] {
		case '"':
			var t string
			t, i = quoted(s, i)
			b.WriteString(t)
			continue
		case '(':
			_, i = comment(s, i)
			continue
		case ' ', '\t', '\r', '\n':
			i++
			continue
		case '@':
			at = b.Len()
		}
		b.WriteByte(s[i])
		i++
	}
	t := b.String()
	if at < 0 {
		return cleanLine(t), MissingHost, false
	}
	return cleanLine(t[:at]), hostText(t[at+1:]), true
}

func hostText(s string) string {
	s = strings.Trim(cleanLine(s), " ")
	if s == "" {
		return MissingHost
	}
	return s
}

// MessageIDs finds the message identifiers in a field such as References, in
// order and without their angle brackets. Words without brackets count when
// there are no brackets at all.
func MessageIDs(s string) []string {
	var ids []string
	if !strings.Contains(s, "<") {
		for w := range strings.FieldsFuncSeq(cleanLine(s), func(r rune) bool { return r == ' ' || r == ',' }) {
			if w = strings.Trim(w, "<>"); w != "" && strings.Contains(w, "@") && len(ids) < maxIDs {
				ids = append(ids, w)
			}
		}
		return ids
	}
	for len(ids) < maxIDs {
		i := strings.IndexByte(s, '<')
		if i < 0 {
			break
		}
		s = s[i+1:]
		j := strings.IndexAny(s, "<>")
		if j < 0 {
			j = len(s)
		}
		if id := strings.Join(strings.Fields(cleanLine(s[:j])), ""); id != "" && utf8.ValidString(id) {
			ids = append(ids, id)
		}
		s = s[j:]
	}
	return ids
}
