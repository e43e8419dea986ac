package dav

import (
	"encoding/xml"
	"strconv"
	"strings"
	"unicode/utf8"
)

const xmlType = `application/xml; charset="utf-8"`

// The namespaces that the door speaks.
const (
	nsDAV     = "DAV:"
	nsCal     = "urn:ietf:params:xml:ns:caldav"
	nsCard    = "urn:ietf:params:xml:ns:carddav"
	nsServer  = "http://calendarserver.org/ns/"
	nsApple   = "http://apple.com/ns/ical/"
	declareNS = ` xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:A="urn:ietf:params:xml:ns:carddav" xmlns:S="http://calendarserver.org/ns/" xmlns:I="http://apple.com/ns/ical/"`
)

var prefixes = map[string]string{nsDAV: "D:", nsCal: "C:", nsCard: "A:", nsServer: "S:", nsApple: "I:"}

func davName(local string) xml.Name    { return xml.Name{Space: nsDAV, Local: local} }
func calName(local string) xml.Name    { return xml.Name{Space: nsCal, Local: local} }
func cardName(local string) xml.Name   { return xml.Name{Space: nsCard, Local: local} }
func serverName(local string) xml.Name { return xml.Name{Space: nsServer, Local: local} }
func appleName(local string) xml.Name  { return xml.Name{Space: nsApple, Local: local} }

// xmlWriter builds XML. Elements of the namespaces above have the prefixes that
// begin declares; others declare their own.
type xmlWriter struct{ b []byte }

func (x *xmlWriter) str(s string) { x.b = append(x.b, s...) }

// begin opens a document.
func (x *xmlWriter) begin(name xml.Name) {
	x.str(`<?xml version="1.0" encoding="utf-8"?>` + "\n<" + prefixes[name.Space] + name.Local + declareNS + ">")
}

// end closes it.
func (x *xmlWriter) end(name xml.Name) {
	x.close(name)
	x.str("\n")
}

// tag writes a name and its namespace.
func (x *xmlWriter) tag(name xml.Name) {
	switch p := prefixes[name.Space]; {
	case p != "":
		x.str(p + name.Local)
	case name.Space == "":
		x.str(name.Local)
	default:
		x.str("x:" + name.Local + ` xmlns:x="`)
		x.escape(name.Space, true)
		x.str(`"`)
	}
}

func (x *xmlWriter) open(name xml.Name) {
	x.str("<")
	x.tag(name)
	x.str(">")
}

func (x *xmlWriter) close(name xml.Name) {
	x.str("</")
	switch p := prefixes[name.Space]; {
	case p != "":
		x.str(p)
	case name.Space != "":
		x.str("x:")
	}
	x.str(name.Local + ">")
}

func (x *xmlWriter) empty(name xml.Name) {
	x.str("<")
	x.tag(name)
	x.str("/>")
}

// text writes an element of text.
func (x *xmlWriter) text(name xml.Name, text string) {
	x.open(name)
	x.escape(text, false)
	x.close(name)
}

// href writes a link; path is escaped for URLs already.
func (x *xmlWriter) href(path string) { x.text(davName("href"), path) }

// attrs writes an empty element with attributes: name, value, name, value …
func (x *xmlWriter) attrs(name xml.Name, pairs ...string) {
	x.str("<")
	x.tag(name)
	for i := 0; i+1 < len(pairs); i += 2 {
		x.str(" " + pairs[i] + `="`)
		x.escape(pairs[i+1], true)
		x.str(`"`)
	}
	x.str("/>")
}

// escape writes text. A carriage return is a reference, or the reader would take
// it away (XML section 2.11); what XML cannot carry is replaced.
func (x *xmlWriter) escape(s string, attr bool) { x.b = appendEscaped(x.b, s, attr) }

// escapeBytes is escape for the text of an element.
func (x *xmlWriter) escapeBytes(b []byte) { x.b = appendEscaped(x.b, b, false) }

func appendEscaped[T string | []byte](to []byte, s T, attr bool) []byte {
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '&' && c != '<' && c != '>' && c != '"' {
			i++
			continue
		}
		width, with := 1, ""
		switch {
		case c == '&':
			with = "&amp;"
		case c == '<':
			with = "&lt;"
		case c == '>':
			with = "&gt;"
		case c == '\r':
			with = "&#13;"
		case attr && c == '"':
			with = "&quot;"
		case attr && c == '\n':
			with = "&#10;"
		case attr && c == '\t':
			with = "&#9;"
		case c == '"' || c == '\n' || c == '\t':
		case c < 0x20:
			with = "\uFFFD"
		default:
			var r rune
			r, width = utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			if r == utf8.RuneError && width == 1 || r == 0xFFFE || r == 0xFFFF {
				with = "\uFFFD"
			}
		}
		if with != "" {
			to = append(to, s[from:i]...)
			to = append(to, with...)
			from = i + width
		}
		i += width
	}
	return append(to, s[from:]...)
}

// node writes an element as it was read.
func (x *xmlWriter) node(n *node) {
	x.str("<")
	x.tag(n.name)
	for i, a := range n.attrs {
		x.str(" ")
		switch a.Name.Space {
		case "":
			x.str(a.Name.Local)
		case "http://www.w3.org/XML/1998/namespace", "xml":
			x.str("xml:" + a.Name.Local)
		default:
			prefix := "a" + strconv.Itoa(i)
			x.str("xmlns:" + prefix + `="`)
			x.escape(a.Name.Space, true)
			x.str(`" ` + prefix + ":" + a.Name.Local)
		}
		x.str(`="`)
		x.escape(a.Value, true)
		x.str(`"`)
	}
	x.str(">")
	for _, c := range n.content {
		if c.node != nil {
			x.node(c.node)
		} else {
			x.escape(c.text, false)
		}
	}
	x.close(n.name)
}

// standalone is an element that is whole without the document around it.
func standalone(n *node) string {
	var x xmlWriter
	x.node(n)
	s := string(x.b)
	// The outermost element declares what begin would have.
	at := strings.IndexAny(s, " />")
	return s[:at] + declareNS + s[at:]
}
