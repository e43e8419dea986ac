package wbxml

import (
	"bytes"
	"io"
	"iter"
	"strconv"
	"strings"

	"waypost/internal/fault"
)

// Node is an element with its content: a text, or bytes, or children. All of
// its methods work on a nil Node, which is an element that is not there.
type Node struct {
	Tag      Tag
	Text     string
	Bytes    []byte // content that travelled as OPAQUE; nil when it was text
	Sunk     any    // what the Sink made of a large opaque value; nil otherwise
	Children []*Node
}

// Sink takes an opaque value that is too large to hold, to be read before it
// returns; its result becomes the Node's Sunk. An error ends the decoding.
type Sink func(tag Tag, size int64, r io.Reader) (any, error)

// nodeCost is what a Node counts against Limits.Held besides its values.
const nodeCost = 128

// Tree reads the element entered last into a Node, or, at the beginning, the
// whole document. Opaque values above Limits.Inline go to the sink; without a
// sink they are held, up to Limits.Held. It gives nil after an error.
func (d *Decoder) Tree(sink Sink) *Node {
	held := int64(0)
	if len(d.stack) == 0 {
		if d.Next().Kind != Start {
			return nil
		}
	}
	n := d.tree(sink, &held)
	if d.err != nil {
		return nil
	}
	return n
}

// leaf reads an element that may have a value and no children.
func (d *Decoder) leaf(sink Sink) *Node {
	n := d.Tree(sink)
	if n != nil && len(n.Children) > 0 {
		d.fail(fault.Invalid, d.off, "elements inside %s, which has a value", n.Tag)
		return nil
	}
	return n
}

func (d *Decoder) tree(sink Sink, held *int64) *Node {
	n := &Node{Tag: d.in()}
	var text []string
	for {
		*held += nodeCost
		switch t := d.Next(); t.Kind {
		case Done:
			return nil
		case Start:
			child := d.tree(sink, held)
			if child == nil {
				return nil
			}
			n.Children = append(n.Children, child)
		case Text:
			if t.Text == "" {
				continue
			}
			*held += int64(len(t.Text))
			if text = append(text, t.Text); !d.fits(n.Tag, t, *held) {
				return nil
			}
		case Opaque:
			if !d.value(n, t, sink, held) {
				return nil
			}
		case End:
			return d.finish(n, strings.Join(text, ""), t.Offset)
		}
	}
}

func (d *Decoder) fits(tag Tag, t Token, held int64) bool {
	if held > d.lim.Held {
		d.fail(fault.TooLarge, t.Offset, "at %s the values exceed %d bytes", tag, d.lim.Held)
	}
	return d.err == nil
}

// value takes an opaque value into n.
func (d *Decoder) value(n *Node, t Token, sink Sink, held *int64) bool {
	if sink != nil && t.Size > d.lim.Inline {
		if n.Sunk != nil || n.Bytes != nil {
			d.fail(fault.Invalid, t.Offset, "two opaque values in %s", n.Tag)
			return false
		}
		v, err := sink(n.Tag, t.Size, d.Opaque())
		if err != nil && d.err == nil {
			d.err = err
		}
		n.Sunk = v
		return d.err == nil
	}
	if *held += t.Size; !d.fits(n.Tag, t, *held) {
		return false
	}
	// The buffer grows with what arrives, not with what the length promises.
	buf := bytes.NewBuffer(n.Bytes)
	if _, err := io.Copy(buf, d.Opaque()); err != nil {
		return false
	}
	n.Bytes = buf.Bytes()
	return true
}

func (d *Decoder) finish(n *Node, text string, at int64) *Node {
	if len(n.Bytes) == 0 {
		n.Bytes = nil // an opaque value of no bytes is an empty element
	}
	switch opaque := n.Bytes != nil || n.Sunk != nil; {
	case text == "" && (!opaque || len(n.Children) == 0):
	case opaque:
		d.fail(fault.Invalid, at, "an opaque value beside text or elements in %s", n.Tag)
		return nil
	case len(n.Children) == 0:
		n.Text = text
	case strings.TrimSpace(text) != "":
		d.fail(fault.Invalid, at, "text among the elements of %s", n.Tag)
		return nil
	}
	return n
}

// New makes an element with children; nil ones are left out.
func New(tag Tag, children ...*Node) *Node {
	return (&Node{Tag: tag}).Add(children...)
}

// NewText makes an element with text; an empty text makes an empty element.
func NewText(tag Tag, text string) *Node { return &Node{Tag: tag, Text: text} }

// NewInt makes an element with a number.
func NewInt[T ~int | ~int32 | ~int64 | ~uint8 | ~uint32](tag Tag, n T) *Node {
	return &Node{Tag: tag, Text: strconv.FormatInt(int64(n), 10)}
}

// NewBytes makes an element with an opaque value.
func NewBytes(tag Tag, b []byte) *Node { return &Node{Tag: tag, Bytes: b} }

// Add appends children, leaving out nil ones, and returns n.
func (n *Node) Add(children ...*Node) *Node {
	for _, c := range children {
		if c != nil {
			n.Children = append(n.Children, c)
		}
	}
	return n
}

// Child follows a path of elements, each time the first of its tag; nil when
// there is none.
func (n *Node) Child(path ...Tag) *Node {
	for _, tag := range path {
		if n == nil {
			return nil
		}
		var next *Node
		for _, c := range n.Children {
			if c.Tag == tag {
				next = c
				break
			}
		}
		n = next
	}
	return n
}

// Has tells whether the element at path is there.
func (n *Node) Has(path ...Tag) bool { return n.Child(path...) != nil }

// All steps through the children of one tag.
func (n *Node) All(tag Tag) iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		if n == nil {
			return
		}
		for _, c := range n.Children {
			if c.Tag == tag && !yield(c) {
				return
			}
		}
	}
}

// Value is the element's text; opaque content counts as text.
func (n *Node) Value() string {
	switch {
	case n == nil:
		return ""
	case n.Bytes != nil:
		return string(n.Bytes)
	default:
		return n.Text
	}
}

// Get is the Value of the element at path; "" when it is not there.
func (n *Node) Get(path ...Tag) string { return n.Child(path...).Value() }

// Int is the number in the child tag, or absent when there is none. A value
// that is no number of 32 bits is a fault of kind Invalid.
func (n *Node) Int(tag Tag, absent int) (int, error) {
	c := n.Child(tag)
	if c == nil {
		return absent, nil
	}
	v, err := strconv.ParseInt(strings.TrimSpace(c.Value()), 10, 32)
	if err != nil {
		return absent, fault.From(fault.Invalid, err, "%s is no number", tag)
	}
	return int(v), nil
}

// Bool is the truth value in the child tag, or absent when there is none. An
// empty element is true (MS-ASDTYPE 2.1), and so is what is not "0" or "false".
func (n *Node) Bool(tag Tag, absent bool) bool {
	c := n.Child(tag)
	if c == nil {
		return absent
	}
	v := strings.TrimSpace(c.Value())
	return v != "0" && !strings.EqualFold(v, "false")
}

// String is the element in the text form.
func (n *Node) String() string { return Format(n, 0) }
