package wbxml

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"waypost/internal/fault"
)

// The tokens of WBXML 1.3 that ActiveSync uses (MS-ASWBXML 2.1.2.1), and the
// bits of a tag's byte.
const (
	tokSwitchPage = 0x00
	tokEnd        = 0x01
	tokStrI       = 0x03
	tokOpaque     = 0xC3

	bitContent    = 0x40
	bitAttributes = 0x80
	maskToken     = 0x3F
)

// refused names the tokens that ActiveSync never uses.
var refused = map[byte]string{
	0x02: "ENTITY", 0x04: "LITERAL", 0x44: "LITERAL_C", 0x84: "LITERAL_A", 0xC4: "LITERAL_AC",
	0x40: "EXT_I_0", 0x41: "EXT_I_1", 0x42: "EXT_I_2", 0x43: "PI",
	0x80: "EXT_T_0", 0x81: "EXT_T_1", 0x82: "EXT_T_2", 0x83: "STR_T",
	0xC0: "EXT_0", 0xC1: "EXT_1", 0xC2: "EXT_2",
}

// Limits bounds what a Decoder takes. A zero field means its default.
type Limits struct {
	Depth    int   // open elements; 32
	Elements int   // elements in the document; 50,000
	Size     int64 // bytes of the document, header included; 160 MiB
	Text     int   // bytes of one element's text; 4 MiB
	Opaque   int64 // bytes of one opaque value; 150 MiB
	Held     int64 // bytes of text and opaque values that one tree holds; 16 MiB
	Inline   int64 // bytes above which Tree gives an opaque value to its Sink; 64 KiB
}

func (l Limits) withDefaults() Limits {
	set := func(v *int64, def int64) {
		if *v == 0 {
			*v = def
		}
	}
	if l.Depth == 0 {
		l.Depth = 32
	}
	if l.Elements == 0 {
		l.Elements = 50_000
	}
	if l.Text == 0 {
		l.Text = 4 << 20
	}
	set(&l.Size, 160<<20)
	set(&l.Opaque, 150<<20)
	set(&l.Held, 16<<20)
	set(&l.Inline, 64<<10)
	return l
}

// maxStringTable is the longest string table taken; it holds no more than the
// document's public id.
const maxStringTable = 256

// publicIDs are the document types that name ActiveSync. Phones send none (id
// 1, unknown); libwbxml names one by string-table index.
var publicIDs = []string{"-//MICROSOFT//DTD ActiveSync//EN", "-//AIRSYNC//DTD AirSync//EN"}

// SyntaxError says where a document breaks. A Decoder's error wraps one, in a
// fault of kind Invalid, or TooLarge when a limit was reached.
type SyntaxError struct {
	Offset int64 // of the byte at fault, from the document's start
	Page   byte  // the code page in force
	Msg    string
}

func (e *SyntaxError) Error() string {
	name := fmt.Sprintf("%d", e.Page)
	if int(e.Page) < len(pages) {
		name += " " + pages[e.Page].name
	}
	return fmt.Sprintf("wbxml: byte %d (code page %s): %s", e.Offset, name, e.Msg)
}

// TokenKind says what a Token is.
type TokenKind uint8

// The kinds of token. Done ends the document, or follows an error.
const (
	Done TokenKind = iota
	Start
	End
	Text
	Opaque
)

// Token is one step through a document. Every Start has its End, also where
// the element was sent without content.
type Token struct {
	Kind   TokenKind
	Tag    Tag    // of a Start or End; of a value, the element around it
	Text   string // of a Text
	Size   int64  // bytes of an Opaque, to be read with Decoder.Opaque
	Offset int64  // where the token begins
}

// Decoder reads one document. Not for use by several goroutines.
type Decoder struct {
	r        *bufio.Reader
	off      int64
	lim      Limits
	page     byte
	stack    []Tag
	elements int
	left     int64 // unread bytes of the current opaque value
	begun    bool
	fragment bool
	bare     bool // the open element came without content: its End is due
	over     bool
	err      error
}

// NewDecoder reads a document from r. It may read ahead of the document's end.
func NewDecoder(r io.Reader, lim Limits) *Decoder {
	return &Decoder{r: bufio.NewReaderSize(r, 4096), lim: lim.withDefaults()}
}

// NewFragmentDecoder reads a stream of elements that has no header and begins
// on code page 0.
func NewFragmentDecoder(r io.Reader, lim Limits) *Decoder {
	d := NewDecoder(r, lim)
	d.begun, d.fragment = true, true
	return d
}

// Err is the first error.
func (d *Decoder) Err() error { return d.err }

// Offset is the number of bytes consumed.
func (d *Decoder) Offset() int64 { return d.off }

func (d *Decoder) fail(kind fault.Kind, at int64, format string, args ...any) {
	if d.err == nil {
		e := &SyntaxError{Offset: at, Page: d.page, Msg: fmt.Sprintf(format, args...)}
		d.err = fault.From(kind, e, "invalid WBXML")
	}
}

// failRead keeps an error of the reader below. The end of the input inside a
// document is the sender's fault; all else is the connection's.
func (d *Decoder) failRead(err error) {
	if d.err != nil {
		return
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		where := "before the first element"
		if n := len(d.stack); n > 0 {
			where = "inside " + d.stack[n-1].String()
		}
		d.fail(fault.Invalid, d.off, "the input ends %s", where)
		return
	}
	d.err = fmt.Errorf("wbxml: byte %d: %w", d.off, err)
}

// room fails when n more bytes would exceed the document's limit.
func (d *Decoder) room(n int64) bool {
	if d.off+n > d.lim.Size {
		d.fail(fault.TooLarge, d.off, "the document is longer than %d bytes", d.lim.Size)
		return false
	}
	return true
}

func (d *Decoder) byte() (byte, bool) {
	if d.err != nil || !d.room(1) {
		return 0, false
	}
	b, err := d.r.ReadByte()
	if err != nil {
		d.failRead(err)
		return 0, false
	}
	d.off++
	return b, true
}

// uint reads an mb_u_int32: seven bits a byte, the first byte highest.
func (d *Decoder) uint(what string) (uint32, bool) {
	at, v := d.off, uint64(0)
	for range 5 {
		b, ok := d.byte()
		if !ok {
			return 0, false
		}
		if v = v<<7 | uint64(b&0x7F); v > 1<<32-1 {
			break
		}
		if b&0x80 == 0 {
			return uint32(v), true
		}
	}
	d.fail(fault.Invalid, at, "%s does not fit 32 bits", what)
	return 0, false
}

// header reads version, public id, charset and string table.
func (d *Decoder) header() bool {
	d.begun = true
	v, ok := d.byte()
	if !ok {
		return false
	}
	if v != 0x03 {
		d.fail(fault.Invalid, 0, "version byte %#02x is not WBXML 1.3", v)
		return false
	}
	at := d.off
	id, ok := d.uint("public id")
	if !ok {
		return false
	}
	var index uint32
	byIndex := id == 0
	if byIndex {
		if index, ok = d.uint("public id's index"); !ok {
			return false
		}
	} else if id != 1 {
		d.fail(fault.Invalid, at, "public id %d is not ActiveSync's", id)
		return false
	}
	at = d.off
	charset, ok := d.uint("charset")
	if !ok {
		return false
	}
	if charset != 106 {
		d.fail(fault.Invalid, at, "charset %d is not UTF-8 (106)", charset)
		return false
	}
	at = d.off
	n, ok := d.uint("string table's length")
	if !ok {
		return false
	}
	if n > maxStringTable {
		d.fail(fault.TooLarge, at, "string table of %d bytes", n)
		return false
	}
	table := make([]byte, n)
	for i := range table {
		if table[i], ok = d.byte(); !ok {
			return false
		}
	}
	if !byIndex {
		return true
	}
	if int64(index) < int64(len(table)) {
		name, _, _ := strings.Cut(string(table[index:]), "\x00")
		for _, known := range publicIDs {
			if strings.EqualFold(name, known) {
				return true
			}
		}
	}
	d.fail(fault.Invalid, at, "the document names another type than ActiveSync")
	return false
}

// Next steps to the next token; Done when the root element has ended, or after
// an error. What follows the root element is not read. An opaque value that was
// not read is passed over.
func (d *Decoder) Next() Token {
	if d.err != nil || d.over {
		return Token{}
	}
	if d.left > 0 {
		if _, err := io.Copy(io.Discard, d.Opaque()); err != nil {
			return Token{}
		}
	}
	if d.bare {
		return d.end(d.off)
	}
	if !d.begun && !d.header() {
		return Token{}
	}
	for {
		at := d.off
		if len(d.stack) == 0 && d.fragment {
			if _, err := d.r.Peek(1); err == io.EOF {
				d.over = true
				return Token{}
			}
		}
		b, ok := d.byte()
		if !ok {
			return Token{}
		}
		switch {
		case b == tokSwitchPage:
			if d.page, ok = d.byte(); !ok {
				return Token{}
			}
		case b == tokEnd:
			if len(d.stack) == 0 {
				d.fail(fault.Invalid, at, "END without an element")
				return Token{}
			}
			return d.end(at)
		case b == tokStrI || b == tokOpaque:
			if len(d.stack) == 0 {
				d.fail(fault.Invalid, at, "a value outside of any element")
				return Token{}
			}
			if b == tokStrI {
				return d.text(at)
			}
			return d.opaque(at)
		case refused[b] != "":
			d.fail(fault.Invalid, at, "token %s (%#02x) has no place in ActiveSync", refused[b], b)
			return Token{}
		case b&bitAttributes != 0:
			d.fail(fault.Invalid, at, "element with attributes (%#02x)", b)
			return Token{}
		default:
			return d.start(at, b)
		}
	}
}

func (d *Decoder) start(at int64, b byte) Token {
	if len(d.stack) >= d.lim.Depth {
		d.fail(fault.TooLarge, at, "more than %d elements deep", d.lim.Depth)
		return Token{}
	}
	if d.elements++; d.elements > d.lim.Elements {
		d.fail(fault.TooLarge, at, "more than %d elements", d.lim.Elements)
		return Token{}
	}
	t := Tag(d.page)<<8 | Tag(b&maskToken)
	d.stack = append(d.stack, t)
	d.bare = b&bitContent == 0
	return Token{Kind: Start, Tag: t, Offset: at}
}

func (d *Decoder) end(at int64) Token {
	n := len(d.stack) - 1
	t := d.stack[n]
	d.stack, d.bare = d.stack[:n], false
	d.over = n == 0 && !d.fragment
	return Token{Kind: End, Tag: t, Offset: at}
}

// in is the element around the current position.
func (d *Decoder) in() Tag { return d.stack[len(d.stack)-1] }

func (d *Decoder) text(at int64) Token {
	var long []byte
	for {
		part, err := d.r.ReadSlice(0)
		d.off += int64(len(part))
		if !d.room(0) {
			return Token{}
		}
		if len(long)+len(part) > d.lim.Text+1 {
			d.fail(fault.TooLarge, at, "text of %s is longer than %d bytes", d.in(), d.lim.Text)
			return Token{}
		}
		if err == nil && long == nil {
			return Token{Kind: Text, Tag: d.in(), Text: clean(part[:len(part)-1]), Offset: at}
		}
		long = append(long, part...)
		switch {
		case err == nil:
			return Token{Kind: Text, Tag: d.in(), Text: clean(long[:len(long)-1]), Offset: at}
		case !errors.Is(err, bufio.ErrBufferFull):
			d.failRead(err)
			return Token{}
		}
	}
}

func (d *Decoder) opaque(at int64) Token {
	n, ok := d.uint("opaque value's length")
	if !ok {
		return Token{}
	}
	if int64(n) > d.lim.Opaque {
		d.fail(fault.TooLarge, at, "opaque value of %s has %d bytes, more than %d", d.in(), n, d.lim.Opaque)
		return Token{}
	}
	if !d.room(int64(n)) {
		return Token{}
	}
	d.left = int64(n)
	return Token{Kind: Opaque, Tag: d.in(), Size: d.left, Offset: at}
}

// Opaque reads the value of the Opaque token that Next returned last. It is
// good until the next call of Next.
func (d *Decoder) Opaque() io.Reader { return (*opaqueReader)(d) }

type opaqueReader Decoder

func (o *opaqueReader) Read(p []byte) (int, error) {
	d := (*Decoder)(o)
	switch {
	case d.err != nil:
		return 0, d.err
	case d.left == 0:
		return 0, io.EOF
	case int64(len(p)) > d.left:
		p = p[:d.left]
	}
	n, err := d.r.Read(p)
	d.off += int64(n)
	d.left -= int64(n)
	if err != nil && d.left > 0 {
		d.failRead(err)
		return n, d.err
	}
	return n, nil
}

// Children steps through the elements inside the element that was entered
// last; before the first token that is the root alone. What the loop's body
// leaves unread of a child is passed over, so unknown elements need no code:
//
//	for tag := range d.Children() {
//		switch tag {
//		case wbxml.AirSyncSyncKey:
//			key = d.Text()
//		case wbxml.AirSyncCollections:
//			for tag := range d.Children() { … }
//		}
//	}
//	if err := d.Err(); err != nil { … }
//
// Leaving the loop early passes over the rest of the element.
func (d *Decoder) Children() iter.Seq[Tag] {
	return func(yield func(Tag) bool) {
		depth := len(d.stack)
		for {
			switch t := d.Next(); t.Kind {
			case Done, End:
				return
			case Text:
				if strings.TrimSpace(t.Text) != "" {
					d.fail(fault.Invalid, t.Offset, "text among the elements of %s", t.Tag)
				}
			case Opaque:
				d.fail(fault.Invalid, t.Offset, "opaque value among the elements of %s", t.Tag)
			case Start:
				more := yield(t.Tag)
				d.leave(depth)
				if !more {
					d.leave(depth - 1)
					return
				}
			}
		}
	}
}

// Skip passes over the rest of the element entered last, its End included.
func (d *Decoder) Skip() { d.leave(len(d.stack) - 1) }

func (d *Decoder) leave(depth int) {
	for len(d.stack) > max(depth, 0) && d.Next().Kind != Done {
	}
}

// Text reads the element entered last to its End and gives its text; opaque
// content counts as text, up to the limit of texts. An element inside it is an
// error.
func (d *Decoder) Text() string {
	n := d.leaf(nil)
	if n == nil {
		return ""
	}
	return n.Value()
}
