package wbxml

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Format gives the text form of an element. A positive longest leaves out
// values of more bytes, so that a log line shows structure and no letters;
// Parse reads back only what nothing was left out of.
//
// Opaque content is marked by a bare attribute: opaque when it is readable
// text, hex otherwise.
func Format(n *Node, longest int) string {
	var b strings.Builder
	format(&b, n, "", 0, longest)
	return b.String()
}

func format(b *strings.Builder, n *Node, page string, depth, longest int) {
	if n == nil {
		return
	}
	indent := strings.Repeat("  ", depth)
	name := n.Tag.Name()
	if n.Tag.PageName() != page {
		page = n.Tag.PageName()
		name = page + ":" + name
	}
	value := n.Value()
	switch {
	case n.Sunk != nil:
		fmt.Fprintf(b, "%s<%s sunk/>\n", indent, name)
	case len(n.Children) > 0:
		fmt.Fprintf(b, "%s<%s>\n", indent, name)
		for _, c := range n.Children {
			format(b, c, page, depth+1, longest)
		}
		fmt.Fprintf(b, "%s</%s>\n", indent, name)
	case value == "":
		fmt.Fprintf(b, "%s<%s/>\n", indent, name)
	case longest > 0 && len(value) > longest:
		fmt.Fprintf(b, "%s<%s size=%d/>\n", indent, name, len(value))
	case n.Bytes == nil:
		fmt.Fprintf(b, "%s<%s>%s</%s>\n", indent, name, escape.Replace(value), name)
	case cleanLen(n.Bytes) == len(n.Bytes):
		fmt.Fprintf(b, "%s<%s opaque>%s</%s>\n", indent, name, escape.Replace(value), name)
	default:
		fmt.Fprintf(b, "%s<%s hex>%x</%s>\n", indent, name, n.Bytes, name)
	}
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;",
	"\t", "&#9;", "\n", "&#10;", "\r", "&#13;")

var unescape = strings.NewReplacer("&amp;", "&", "&lt;", "<", "&gt;", ">",
	"&quot;", `"`, "&apos;", "'", "&#9;", "\t", "&#10;", "\n", "&#13;", "\r")

// Parse reads the text form: one element, with comments and white space around
// elements passed over. Beside opaque and hex it takes the attribute crlf, for
// mail written on lines of its own: the lines' common indentation is dropped,
// they end in CRLF, and the result travels as opaque content.
//
//	<Mime crlf>
//	  From: ann@example.test
//	  Subject: hello
//
//	  body
//	</Mime>
func Parse(s string) (*Node, error) {
	p := &parser{s: s}
	n, err := p.document()
	if err != nil {
		line := 1 + strings.Count(s[:p.i], "\n")
		return nil, fmt.Errorf("wbxml text, line %d: %w", line, err)
	}
	return n, nil
}

type parser struct {
	s string
	i int
}

func (p *parser) document() (*Node, error) {
	if err := p.space(); err != nil {
		return nil, err
	}
	n, err := p.element("", 0)
	if err != nil {
		return nil, err
	}
	if err := p.space(); err != nil {
		return nil, err
	}
	if p.i < len(p.s) {
		return nil, errors.New("text after the element")
	}
	return n, nil
}

// space passes over white space and comments.
func (p *parser) space() error {
	for {
		p.i = len(p.s) - len(strings.TrimLeft(p.s[p.i:], " \t\r\n"))
		if !strings.HasPrefix(p.s[p.i:], "<!--") {
			return nil
		}
		_, after, ok := strings.Cut(p.s[p.i:], "-->")
		if !ok {
			return errors.New("comment without end")
		}
		p.i = len(p.s) - len(after)
	}
}

// open reads "<name attribute/>" and gives the name as written, the tag, the
// attribute, and whether the element is closed already.
func (p *parser) open(page string) (name string, n *Node, attr string, closed bool, err error) {
	if !strings.HasPrefix(p.s[p.i:], "<") {
		return "", nil, "", false, errors.New("expected an element")
	}
	inside, after, ok := strings.Cut(p.s[p.i+1:], ">")
	if !ok {
		return "", nil, "", false, errors.New("'<' without '>'")
	}
	inside, closed = strings.CutSuffix(inside, "/")
	name, attr, _ = strings.Cut(strings.TrimSpace(inside), " ")
	elem := name
	if pg, e, ok := strings.Cut(name, ":"); ok {
		page, elem = pg, e
	}
	tag, ok := Lookup(page, elem)
	if !ok {
		return "", nil, "", false, fmt.Errorf("no element %q on page %q", elem, page)
	}
	p.i = len(p.s) - len(after)
	return name, &Node{Tag: tag}, strings.TrimSpace(attr), closed, nil
}

// maxTextDepth bounds the recursion; the text form is not for strangers.
const maxTextDepth = 256

func (p *parser) element(page string, depth int) (*Node, error) {
	if depth > maxTextDepth {
		return nil, errors.New("too deep")
	}
	name, n, attr, closed, err := p.open(page)
	if err != nil || closed {
		if err == nil && attr != "" {
			err = fmt.Errorf("an empty element has no attribute %q", attr)
		}
		return n, err
	}
	end := "</" + name + ">"
	before, after, ok := strings.Cut(p.s[p.i:], "<")
	if !ok {
		return nil, fmt.Errorf("no %s", end)
	}
	isLeaf := strings.HasPrefix("<"+after, end)
	if attr != "" || isLeaf && (strings.TrimSpace(before) != "" || !strings.Contains(before, "\n")) {
		if !isLeaf {
			return nil, fmt.Errorf("expected %s; a '<' in a value is &lt;", end)
		}
		if err := value(n, attr, before); err != nil {
			return nil, err
		}
		p.i += len(before) + len(end)
		return n, nil
	}
	for {
		if err := p.space(); err != nil {
			return nil, err
		}
		if strings.HasPrefix(p.s[p.i:], end) {
			p.i += len(end)
			return n, nil
		}
		if rest := p.s[p.i:]; !strings.HasPrefix(rest, "<") || strings.HasPrefix(rest, "</") {
			return nil, fmt.Errorf("expected %s or an element", end)
		}
		c, err := p.element(n.Tag.PageName(), depth+1)
		if err != nil {
			return nil, err
		}
		n.Children = append(n.Children, c)
	}
}

func value(n *Node, attr, raw string) error {
	if attr != "crlf" && strings.ContainsAny(raw, "\r\n") {
		return fmt.Errorf("a line break in a value of %v: write &#10;", n.Tag)
	}
	text := unescape.Replace(raw)
	switch attr {
	case "":
		if n.Text = text; clean(text) != text {
			return fmt.Errorf("%v has characters that cannot travel", n.Tag)
		}
	case "opaque":
		n.Bytes = []byte(text)
	case "hex":
		b, err := hex.DecodeString(strings.TrimSpace(raw))
		if err != nil {
			return fmt.Errorf("%v: %w", n.Tag, err)
		}
		n.Bytes = b
	case "crlf":
		n.Bytes = []byte(lines(text))
	default:
		return fmt.Errorf("%v: unknown attribute %q", n.Tag, attr)
	}
	if len(n.Bytes) == 0 {
		n.Bytes = nil
	}
	return nil
}

// lines drops the first line (after the opening tag), the last (before the
// closing one) and the common indentation, and ends each line in CRLF.
func lines(s string) string {
	all := strings.Split(s, "\n")
	if len(all) < 2 {
		return s
	}
	all = all[1 : len(all)-1]
	indent := -1
	for _, l := range all {
		if t := strings.TrimLeft(l, " "); t != "" && (indent < 0 || len(l)-len(t) < indent) {
			indent = len(l) - len(t)
		}
	}
	var b strings.Builder
	for _, l := range all {
		b.WriteString(strings.TrimSuffix(l[min(max(indent, 0), len(l)):], "\r"))
		b.WriteString("\r\n")
	}
	return b.String()
}
