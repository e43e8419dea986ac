package wbxml

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// Encoder writes one document. Not for use by several goroutines. It keeps its
// first error; Flush reports it.
type Encoder struct {
	w       *bufio.Writer
	page    byte
	depth   int
	pending bool // the open element's tag is not written yet: content or not?
	tag     Tag
	begun   bool
	ended   bool
	inText  bool
	err     error
}

// NewEncoder writes a document to w, through a small buffer: call Flush at the
// end. The header goes out with the first element.
func NewEncoder(w io.Writer) *Encoder {
	return &Encoder{w: bufio.NewWriterSize(w, 4096)}
}

// Err is the first error so far.
func (e *Encoder) Err() error { return e.err }

// Begun tells whether an element was written, so that it is too late for
// another kind of answer.
func (e *Encoder) Begun() bool { return e.begun }

func (e *Encoder) fail(err error) {
	if e.err == nil && err != nil {
		e.err = fmt.Errorf("wbxml: encode: %w", err)
	}
}

func (e *Encoder) put(b ...byte) {
	if e.err == nil {
		_, err := e.w.Write(b)
		e.fail(err)
	}
}

// settle writes the tag that waits for its content bit.
func (e *Encoder) settle(content bool) {
	if !e.pending {
		return
	}
	e.pending = false
	if p := e.tag.Page(); p != e.page {
		e.put(tokSwitchPage, p)
		e.page = p
	}
	b := e.tag.Token()
	if content {
		b |= bitContent
	}
	e.put(b)
}

// Start opens an element. When its End follows at once the element is written
// without content.
func (e *Encoder) Start(tag Tag) {
	switch {
	case e.inText:
		e.fail(errors.New("element inside text"))
		return
	case e.ended:
		e.fail(fmt.Errorf("%v after the root element", tag))
		return
	case tag.Token() < 5 || tag.Token() > maskToken:
		e.fail(fmt.Errorf("no element has token %#02x", tag.Token()))
		return
	}
	if !e.begun {
		// MS-ASWBXML 2.1.2: WBXML 1.3, public id 1 (unknown), UTF-8, no string table.
		e.put(0x03, 0x01, 0x6A, 0x00)
		e.begun = true
	}
	e.settle(true)
	e.tag, e.pending = tag, true
	e.depth++
}

// End closes the element opened last.
func (e *Encoder) End() {
	if e.depth == 0 || e.inText {
		e.fail(errors.New("end without an element"))
		return
	}
	if e.pending {
		e.settle(false)
	} else {
		e.put(tokEnd)
	}
	e.depth--
	e.ended = e.depth == 0
}

// Empty writes an element without content.
func (e *Encoder) Empty(tag Tag) {
	e.Start(tag)
	e.End()
}

// Text writes an element with text, cleaned of what may not travel. An empty
// text makes an empty element.
func (e *Encoder) Text(tag Tag, text string) {
	e.Start(tag)
	if text = clean(text); text != "" {
		e.settle(true)
		e.put(tokStrI)
		if e.err == nil {
			_, err := e.w.WriteString(text)
			e.fail(err)
		}
		e.put(0)
	}
	e.End()
}

// Int writes an element with a number.
func (e *Encoder) Int(tag Tag, n int64) { e.Text(tag, strconv.FormatInt(n, 10)) }

// Bool writes an element with "1" or "0".
func (e *Encoder) Bool(tag Tag, v bool) {
	if v {
		e.Text(tag, "1")
	} else {
		e.Text(tag, "0")
	}
}

// TextWriter opens an element and gives a writer for its text, which closes
// the element. Text may come in any pieces; it is cleaned like Text's.
func (e *Encoder) TextWriter(tag Tag) io.WriteCloser {
	e.Start(tag)
	e.inText = true
	return &textWriter{e: e}
}

// TextFrom writes an element with the text that r gives.
func (e *Encoder) TextFrom(tag Tag, r io.Reader) {
	w := e.TextWriter(tag)
	_, err := io.Copy(w, r)
	e.fail(err)
	e.fail(w.Close())
}

type textWriter struct {
	e       *Encoder
	rest    [utf8.UTFMax]byte // the begun character at the end of the last piece
	n       int
	written bool
	closed  bool
}

func (t *textWriter) Write(p []byte) (int, error) {
	if t.closed {
		return 0, errors.New("wbxml: write after close")
	}
	total := len(p)
	if t.n > 0 { // rare: a piece ended inside a character
		p = append(append(make([]byte, 0, t.n+len(p)), t.rest[:t.n]...), p...)
	}
	k := whole(p)
	t.put(p[:k])
	t.n = copy(t.rest[:], p[k:])
	return total, t.e.err
}

// whole is the length of p without a character begun at its end.
func whole(p []byte) int {
	for i := len(p) - 1; i >= 0 && i >= len(p)-utf8.UTFMax+1; i-- {
		if utf8.RuneStart(p[i]) {
			if !utf8.FullRune(p[i:]) {
				return i
			}
			break
		}
	}
	return len(p)
}

// put writes whole characters.
func (t *textWriter) put(p []byte) {
	for len(p) > 0 && t.e.err == nil {
		n := cleanLen(p)
		if n > 0 {
			t.raw(p[:n])
			p = p[n:]
			continue
		}
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError && n == 1 {
			t.raw([]byte("\uFFFD"))
		}
		p = p[n:]
	}
}

func (t *textWriter) raw(p []byte) {
	if !t.written {
		t.written = true
		t.e.settle(true)
		t.e.put(tokStrI)
	}
	t.e.put(p...)
}

func (t *textWriter) Close() error {
	if t.closed {
		return t.e.err
	}
	t.closed = true
	t.put(t.rest[:t.n])
	if t.written {
		t.e.put(0)
	}
	t.e.inText = false
	t.e.End()
	return t.e.err
}

// Opaque writes an element with the n bytes that r gives. When r gives fewer
// the document is lost, and the error is kept. No bytes make an empty element.
func (e *Encoder) Opaque(tag Tag, n int64, r io.Reader) {
	e.Start(tag)
	switch {
	case n < 0 || n > 1<<32-1:
		e.fail(fmt.Errorf("opaque value of %d bytes", n))
	case n > 0:
		e.settle(true)
		e.put(tokOpaque)
		e.uint(uint32(n))
		if e.err == nil {
			got, err := io.CopyN(e.w, r, n)
			if err != nil {
				e.fail(fmt.Errorf("%v has %d bytes of %d: %w", tag, got, n, err))
			}
		}
	}
	e.End()
}

// Bytes writes an element with an opaque value.
func (e *Encoder) Bytes(tag Tag, b []byte) {
	e.Start(tag)
	if len(b) > 0 {
		e.settle(true)
		e.put(tokOpaque)
		e.uint(uint32(len(b)))
		e.put(b...)
	}
	e.End()
}

func (e *Encoder) uint(n uint32) {
	var b [5]byte
	i := len(b) - 1
	b[i] = byte(n & 0x7F)
	for n >>= 7; n > 0; n >>= 7 {
		i--
		b[i] = byte(n&0x7F) | 0x80
	}
	e.put(b[i:]...)
}

// Node writes an element with all that it holds; nil writes nothing. A value
// that went to a Sink cannot be written.
func (e *Encoder) Node(n *Node) {
	switch {
	case n == nil:
	case n.Sunk != nil:
		e.fail(fmt.Errorf("%v is held elsewhere", n.Tag))
	case n.Bytes != nil:
		e.Bytes(n.Tag, n.Bytes)
	case len(n.Children) == 0:
		e.Text(n.Tag, n.Text)
	default:
		e.Start(n.Tag)
		for _, c := range n.Children {
			e.Node(c)
		}
		e.End()
	}
}

// Flush writes out what is buffered and gives the first error. An element left
// open is one.
func (e *Encoder) Flush() error {
	if e.depth > 0 {
		e.fail(fmt.Errorf("%d elements left open", e.depth))
	}
	if e.err == nil {
		e.fail(e.w.Flush())
	}
	return e.err
}

// Marshal gives the document whose root is n.
func Marshal(n *Node) ([]byte, error) {
	var b appender
	e := NewEncoder(&b)
	e.Node(n)
	if err := e.Flush(); err != nil {
		return nil, err
	}
	return b, nil
}

type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}
