package imapwire

import (
	"errors"
	"io"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-imap/v2"
)

// bufferSize is what an Encoder borrows between two Flushes. It holds two TLS
// records.
const bufferSize = 32 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// Encoder writes responses. The first error of the destination is kept, and
// later calls do nothing.
type Encoder struct {
	// UTF8 is set while the client has enabled IMAP4rev2 or UTF8=ACCEPT:
	// mailbox names are plain UTF-8 and quoted strings may hold it (RFC 9051
	// section 5.1, RFC 6855 section 3). Otherwise names are modified UTF-7 and
	// other text becomes a literal.
	UTF8 bool

	w      io.Writer
	pooled *[bufferSize]byte
	buf    []byte // pooled[:n]
	err    error
	n      int64
}

// NewEncoder writes to w.
func NewEncoder(w io.Writer) *Encoder { return &Encoder{w: w} }

// Err gives the first error of the destination.
func (e *Encoder) Err() error { return e.err }

// Written counts the bytes handed to the destination.
func (e *Encoder) Written() int64 { return e.n }

// room makes place for n bytes, n far below bufferSize.
func (e *Encoder) room(n int) {
	if e.pooled == nil {
		e.pooled = buffers.Get().(*[bufferSize]byte)
		e.buf = e.pooled[:0]
	} else if len(e.buf)+n > bufferSize {
		e.write()
	}
}

func (e *Encoder) write() {
	if e.err == nil && len(e.buf) > 0 {
		n, err := e.w.Write(e.buf)
		e.n += int64(n)
		e.err = err
	}
	e.buf = e.buf[:0]
}

// Flush hands everything to the destination and gives the buffer back.
func (e *Encoder) Flush() error {
	if e.pooled != nil {
		e.write()
		buffers.Put(e.pooled)
		e.pooled, e.buf = nil, nil
	}
	return e.err
}

// Raw writes s as it is.
func (e *Encoder) Raw(s string) {
	for len(s) > bufferSize/2 {
		e.room(bufferSize / 2)
		e.buf = append(e.buf, s[:bufferSize/2]...)
		s = s[bufferSize/2:]
	}
	e.room(len(s))
	e.buf = append(e.buf, s...)
}

// RawBytes writes b as it is.
func (e *Encoder) RawBytes(b []byte) {
	for len(b) > bufferSize/2 {
		e.room(bufferSize / 2)
		e.buf = append(e.buf, b[:bufferSize/2]...)
		b = b[bufferSize/2:]
	}
	e.room(len(b))
	e.buf = append(e.buf, b...)
}

// Byte writes one byte: a space, a parenthesis.
func (e *Encoder) Byte(c byte) {
	e.room(1)
	e.buf = append(e.buf, c)
}

// SP writes a space.
func (e *Encoder) SP() { e.Byte(' ') }

// CRLF ends a line.
func (e *Encoder) CRLF() { e.Raw("\r\n") }

// NIL writes the absent value.
func (e *Encoder) NIL() { e.Raw("NIL") }

// Number writes a number.
func (e *Encoder) Number(n uint64) {
	e.room(20)
	e.buf = strconv.AppendUint(e.buf, n, 10)
}

// quotable tells whether s can be a quoted string. Long texts become literals,
// for some clients bound their lines.
func (e *Encoder) quotable(s string) bool {
	if len(s) > 1000 {
		return false
	}
	ascii := true
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 0x80:
			ascii = false
		case c == '\r', c == '\n', c == 0:
			return false
		}
	}
	return ascii || e.UTF8 && utf8.ValidString(s)
}

// String writes s as a quoted string, or as a literal where it must be one.
func (e *Encoder) String(s string) {
	if !e.quotable(s) {
		e.literal(s)
		return
	}
	e.room(2*len(s) + 2)
	b := append(e.buf, '"')
	from := 0
	for i := range len(s) {
		if c := s[i]; c == '"' || c == '\\' {
			b = append(append(b, s[from:i]...), '\\', c)
			from = i + 1
		}
	}
	e.buf = append(append(b, s[from:]...), '"')
}

func (e *Encoder) literal(s string) {
	nul := 0
	for i := range len(s) {
		if s[i] == 0 {
			nul++
		}
	}
	e.literalHeader("{", int64(len(s)-nul))
	if nul == 0 {
		e.Raw(s)
		return
	}
	for i := range len(s) { // a literal has no NUL (CHAR8)
		if s[i] != 0 {
			e.Byte(s[i])
		}
	}
}

func (e *Encoder) literalHeader(open string, size int64) {
	e.Raw(open)
	e.Number(uint64(size))
	e.Raw("}\r\n")
}

// NString writes s, or NIL if it is empty.
func (e *Encoder) NString(s string) {
	if s == "" {
		e.NIL()
		return
	}
	e.String(s)
}

// Text writes human-readable header text (a subject, a name): as it is when the
// client takes UTF-8, else as RFC 2047 encoded words if it is not ASCII.
func (e *Encoder) Text(s string) {
	if !e.UTF8 {
		s = EncodeHeader(s)
	}
	e.String(s)
}

// NText is Text, with NIL for nothing.
func (e *Encoder) NText(s string) {
	if s == "" {
		e.NIL()
		return
	}
	e.Text(s)
}

// Mailbox writes a mailbox name.
func (e *Encoder) Mailbox(name string) {
	if e.UTF8 {
		e.String(name)
		return
	}
	for i := range len(name) {
		if c := name[i]; c == '&' || c < 0x20 || c >= 0x7f {
			e.String(string(AppendUTF7(nil, name)))
			return
		}
	}
	e.String(name)
}

// Flags writes a list of flags in parentheses.
func (e *Encoder) Flags(flags []imap.Flag) {
	e.Byte('(')
	for i, f := range flags {
		if i > 0 {
			e.Byte(' ')
		}
		e.Raw(string(f))
	}
	e.Byte(')')
}

// UIDSet writes a set of UIDs, which must not be empty.
func (e *Encoder) UIDSet(s imap.UIDSet) {
	for i, r := range s {
		if i > 0 {
			e.Byte(',')
		}
		e.setRange(uint32(r.Start), uint32(r.Stop))
	}
}

// SeqSet writes a set of sequence numbers, which must not be empty.
func (e *Encoder) SeqSet(s imap.SeqSet) {
	for i, r := range s {
		if i > 0 {
			e.Byte(',')
		}
		e.setRange(r.Start, r.Stop)
	}
}

func (e *Encoder) setRange(start, stop uint32) {
	e.setNum(start)
	if stop != start {
		e.Byte(':')
		e.setNum(stop)
	}
}

func (e *Encoder) setNum(n uint32) {
	if n == 0 {
		e.Byte('*')
		return
	}
	e.Number(uint64(n))
}

// DateTime writes a quoted date-time (RFC 9051 section 4.3).
func (e *Encoder) DateTime(t time.Time) {
	e.room(32)
	e.buf = append(e.buf, '"')
	e.buf = t.AppendFormat(e.buf, dateTimeLayout)
	e.buf = append(e.buf, '"')
}

// BodySection writes BODY[...]<origin>; Peek is not shown (RFC 9051 section 7.5.2).
func (e *Encoder) BodySection(s *imap.FetchItemBodySection) {
	e.Raw("BODY[")
	e.partPath(s.Part)
	name := string(s.Specifier)
	fields := s.HeaderFields
	switch {
	case len(s.HeaderFields) > 0:
		name = "HEADER.FIELDS"
	case len(s.HeaderFieldsNot) > 0:
		name, fields = "HEADER.FIELDS.NOT", s.HeaderFieldsNot
	}
	if name != "" && len(s.Part) > 0 {
		e.Byte('.')
	}
	e.Raw(name)
	if len(fields) > 0 {
		e.Raw(" (")
		for i, f := range fields {
			if i > 0 {
				e.Byte(' ')
			}
			e.astring(f)
		}
		e.Byte(')')
	}
	e.Byte(']')
	e.origin(s.Partial)
}

// BinarySection writes BINARY[...]<origin> or BINARY.SIZE[...].
func (e *Encoder) BinarySection(name string, part []int, p *imap.SectionPartial) {
	e.Raw(name)
	e.Byte('[')
	e.partPath(part)
	e.Byte(']')
	e.origin(p)
}

func (e *Encoder) origin(p *imap.SectionPartial) {
	if p != nil {
		e.Byte('<')
		e.Number(uint64(p.Offset))
		e.Byte('>')
	}
}

func (e *Encoder) partPath(path []int) {
	for i, n := range path {
		if i > 0 {
			e.Byte('.')
		}
		e.Number(uint64(n))
	}
}

func (e *Encoder) astring(s string) {
	for i := range len(s) {
		if !isAStringChar(s[i]) {
			e.String(s)
			return
		}
	}
	if s == "" {
		e.String(s)
		return
	}
	e.Raw(s)
}

// LiteralBytes writes b, which has no NUL, as a literal.
func (e *Encoder) LiteralBytes(b []byte) {
	e.literalHeader("{", int64(len(b)))
	e.RawBytes(b)
}

// Literal writes a literal of size bytes from r. When r has fewer bytes the
// response cannot be completed: the error sticks, and the connection has to be
// closed.
func (e *Encoder) Literal(size int64, r io.Reader) { e.stream("{", size, r) }

// Literal8 is Literal for content that may hold NUL: ~{size} (RFC 9051 section 4.3).
func (e *Encoder) Literal8(size int64, r io.Reader) { e.stream("~{", size, r) }

func (e *Encoder) stream(open string, size int64, r io.Reader) {
	e.literalHeader(open, size)
	for left := size; left > 0 && e.err == nil; {
		e.room(bufferSize / 8)
		free := e.pooled[len(e.buf):]
		if int64(len(free)) > left {
			free = free[:left]
		}
		n, err := r.Read(free)
		e.buf = e.pooled[:len(e.buf)+n]
		left -= int64(n)
		if left > 0 && err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			e.err = err
		}
	}
}
