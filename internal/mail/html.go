package mail

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

const maxToken = 4 << 20 // bytes of one tag or run of text in HTML

// hidden elements have content that nobody sees.
var hidden = map[atom.Atom]bool{
	atom.Script: true, atom.Style: true, atom.Head: true, atom.Title: true, atom.Noscript: true,
	atom.Template: true, atom.Object: true, atom.Iframe: true, atom.Select: true, atom.Textarea: true, atom.Svg: true,
}

// blocks begin a new line; those that are true leave an empty line.
var blocks = map[atom.Atom]bool{
	atom.P: true, atom.H1: true, atom.H2: true, atom.H3: true, atom.H4: true, atom.H5: true, atom.H6: true,
	atom.Blockquote: true, atom.Table: true, atom.Ul: true, atom.Ol: true, atom.Dl: true, atom.Pre: true,
	atom.Div: false, atom.Tr: false, atom.Li: false, atom.Dt: false, atom.Dd: false, atom.Address: false,
	atom.Center: false, atom.Form: false, atom.Section: false, atom.Article: false, atom.Header: false,
	atom.Footer: false, atom.Hr: false, atom.Body: false, atom.Caption: false, atom.Fieldset: false,
}

// HTMLToText makes plain text of HTML, with LF line ends: at most limit bytes,
// without limit when it is 0. It reads no further than it needs. Errors of r
// end the text.
func HTMLToText(r io.Reader, limit int) string {
	w := textWriter{limit: limit}
	z := html.NewTokenizer(r)
	z.SetMaxBuf(maxToken)
	skip := 0 // open hidden elements
	var inside atom.Atom
	for !w.full {
		switch z.Next() {
		case html.ErrorToken:
			return w.text()
		case html.TextToken:
			if skip == 0 {
				w.write(z.Text())
			}
		case html.StartTagToken:
			name, _ := z.TagName()
			a := atom.Lookup(name)
			switch {
			case skip > 0:
				if a == inside {
					skip++
				} else if a == atom.Body && inside == atom.Head {
					skip = 0
				}
			case hidden[a]:
				skip, inside = 1, a
			default:
				w.tag(a, true)
			}
		case html.SelfClosingTagToken:
			name, _ := z.TagName()
			if skip == 0 {
				w.tag(atom.Lookup(name), true)
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			a := atom.Lookup(name)
			switch {
			case skip > 0:
				if a == inside {
					skip--
				}
			default:
				w.tag(a, false)
			}
		}
	}
	return w.text()
}

type textWriter struct {
	b     []byte
	limit int
	full  bool
	space bool // white space is due before the next word
	lines int  // line ends are due before the next word, at most 2
	pre   int
}

func (w *textWriter) tag(a atom.Atom, start bool) {
	switch a {
	case atom.Br:
		if w.lines == 0 && len(w.b) > 0 {
			w.lines = 1
		} else if len(w.b) > 0 {
			w.lines = 2
		}
		w.space = false
		return
	case atom.Td, atom.Th, atom.Img:
		w.space = true
		return
	case atom.Pre:
		if start {
			w.pre++
		} else if w.pre > 0 {
			w.pre--
		}
	}
	if wide, ok := blocks[a]; ok {
		n := 1
		if wide {
			n = 2
		}
		if len(w.b) > 0 {
			w.lines = max(w.lines, n)
		}
		w.space = false
		if a == atom.Li && start {
			w.word([]byte("- "))
		}
	}
}

func (w *textWriter) write(t []byte) {
	t = bytes.ToValidUTF8(t, []byte("\uFFFD"))
	for len(t) > 0 && !w.full {
		if w.pre > 0 {
			if t[0] == '\n' {
				w.lines = min(w.lines+1, 2)
				t = t[1:]
				continue
			}
			i := bytes.IndexByte(t, '\n')
			if i < 0 {
				i = len(t)
			}
			w.word(t[:i])
			t = t[i:]
			continue
		}
		i := 0
		for i < len(t) && !isHTMLSpace(t[i]) {
			i++
		}
		if i > 0 {
			w.word(t[:i])
		}
		for i < len(t) && isHTMLSpace(t[i]) {
			w.space = true
			i++
		}
		t = t[i:]
	}
}

func isHTMLSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' }

func (w *textWriter) word(t []byte) {
	switch {
	case w.lines > 0:
		w.b = append(w.b, "\n\n"[:w.lines]...)
	case w.space && len(w.b) > 0 && w.b[len(w.b)-1] != ' ':
		w.b = append(w.b, ' ')
	}
	w.lines, w.space = 0, false
	for len(t) > 0 {
		r, n := utf8.DecodeRune(t)
		switch {
		case r == 0xa0:
			w.b = append(w.b, ' ')
		case r < ' ' && r != '\t' && r != '\n', r == 0x7f, r == 0xfffe, r == 0xffff:
		default:
			w.b = utf8.AppendRune(w.b, r)
		}
		t = t[n:]
		if w.limit > 0 && len(w.b) >= w.limit {
			w.full = true
			return
		}
	}
}

func (w *textWriter) text() string {
	s := string(w.b)
	if w.limit > 0 {
		s = cutString(s, w.limit)
	}
	return strings.TrimSpace(s)
}

// TextToHTML makes a fragment of HTML of plain text: everything escaped, line
// ends and runs of spaces kept, addresses of the web made links.
func TextToHTML(s string) string {
	var b strings.Builder
	b.Grow(len(s) + len(s)/4)
	first := true
	for line := range strings.SplitSeq(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s), "\n") {
		if !first {
			b.WriteString("<br>\r\n")
		}
		first = false
		for line != "" {
			i := linkAt(line)
			escapeLine(&b, line[:i])
			line = line[i:]
			if line == "" {
				break
			}
			n := strings.IndexAny(line, " \t<>\"")
			if n < 0 {
				n = len(line)
			}
			n = len(strings.TrimRight(line[:n], ".,;:!?)]}'"))
			link := html.EscapeString(cleanLine(line[:n]))
			b.WriteString(`<a href="` + link + `">` + link + `</a>`)
			line = line[n:]
		}
	}
	return b.String()
}

// linkAt finds where the next address of the web begins in s, or its length.
func linkAt(s string) int {
	from := 0
	for {
		i := strings.Index(s[from:], "http")
		if i < 0 {
			return len(s)
		}
		i += from
		for _, scheme := range [...]string{"https://", "http://"} {
			if rest, ok := strings.CutPrefix(s[i:], scheme); ok && rest != "" && strings.IndexByte(" \t<>\".,;:!?)]}'", rest[0]) < 0 {
				return i
			}
		}
		from = i + 4
	}
}

func escapeLine(b *strings.Builder, s string) {
	space := true
	for _, r := range s {
		switch {
		case r == ' ' || r == '\t':
			if space {
				b.WriteString("&nbsp;")
			} else {
				b.WriteByte(' ')
			}
			space = !space
			continue
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '"':
			b.WriteString("&#34;")
		case r < ' ' || r == 0x7f || r == 0xfffe || r == 0xffff:
		default:
			b.WriteRune(r)
		}
		space = false
	}
}
