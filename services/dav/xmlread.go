package dav

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"

	"waypost/internal/fault"
)

// Limits of a request's XML.
const (
	maxDepth    = 32
	maxElements = 100_000
	maxAttrs    = 32
)

// node is an element.
type node struct {
	name    xml.Name
	attrs   []xml.Attr
	content []content
}

// content is an element or text.
type content struct {
	node *node
	text string
}

// body reads the request's XML; nil when there is none.
func (r *request) body() (*node, error) {
	root, err := readXML(http.MaxBytesReader(r.out.w, r.http.Body, MaxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, fault.New(fault.TooLarge, "the request is larger than %d bytes", MaxBody)
	}
	return root, err
}

// rooted reads XML that must be of one element.
func (r *request) rooted(names ...xml.Name) (*node, error) {
	root, err := r.body()
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if root != nil && root.name == n {
			return root, nil
		}
	}
	return nil, fault.New(fault.Invalid, "the request is not what this method takes")
}

// readXML reads a document into a tree; nil when there is none. A DOCTYPE, and
// with it every entity that is not XML's own, is refused (RFC 4918 section 20.6).
func readXML(from io.Reader) (*node, error) {
	d := xml.NewDecoder(from)
	var root *node
	var open []*node
	count := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if _, large := errors.AsType[*http.MaxBytesError](err); large {
				return nil, err
			}
			return nil, fault.From(fault.Invalid, err, "the XML is not well formed")
		}
		switch t := token.(type) {
		case xml.Directive:
			return nil, fault.New(fault.Invalid, "XML with a DOCTYPE is not taken")
		case xml.StartElement:
			if count++; count > maxElements || len(open) >= maxDepth || len(t.Attr) > maxAttrs {
				return nil, fault.New(fault.TooLarge, "the XML is too deep or has too many elements")
			}
			n := &node{name: t.Name}
			for _, a := range t.Attr {
				switch {
				case a.Name.Space == "xmlns" && a.Value == "":
					return nil, fault.New(fault.Invalid, "a namespace prefix must not be undeclared") // Namespaces in XML 1.0 section 2.2
				case a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns":
				default:
					n.attrs = append(n.attrs, a)
				}
			}
			// The decoder leaves a prefix that was never declared in place of a
			// namespace, which is a URI and so has a colon.
			if n.name.Space != "" && !strings.Contains(n.name.Space, ":") {
				return nil, fault.New(fault.Invalid, "the namespace prefix %q is not declared", n.name.Space)
			}
			switch {
			case len(open) > 0:
				top := open[len(open)-1]
				top.content = append(top.content, content{node: n})
			case root != nil:
				return nil, fault.New(fault.Invalid, "more than one document")
			default:
				root = n
			}
			open = append(open, n)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				top := open[len(open)-1]
				top.content = append(top.content, content{text: string(t)})
			} else if !isBlank(t) {
				return nil, fault.New(fault.Invalid, "text that is no XML")
			}
		}
	}
	return root, nil
}

// children are the elements in it.
func (n *node) children() []*node {
	if n == nil {
		return nil
	}
	var list []*node
	for _, c := range n.content {
		if c.node != nil {
			list = append(list, c.node)
		}
	}
	return list
}

// child finds an element by its way from n, or nil.
func (n *node) child(path ...xml.Name) *node {
	for _, name := range path {
		var found *node
		for _, c := range n.children() {
			if c.name == name {
				found = c
				break
			}
		}
		if found == nil {
			return nil
		}
		n = found
	}
	return n
}

// text is the text in the element, without the space around it.
func (n *node) text() string { return strings.TrimSpace(n.rawText()) }

// rawText is the text with its space.
func (n *node) rawText() string {
	if n == nil {
		return ""
	}
	if len(n.content) == 1 {
		return n.content[0].text
	}
	var b strings.Builder
	for _, c := range n.content {
		b.WriteString(c.text)
	}
	return b.String()
}

// attr is an attribute without a namespace.
func (n *node) attr(name string) string {
	if n == nil {
		return ""
	}
	for _, a := range n.attrs {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}
