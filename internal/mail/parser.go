package mail

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

const (
	keepLine    = 1 << 10  // bytes of a body line that are kept to recognise a delimiter
	keepPlain   = 4 << 10  // bytes of plain text kept for the preview
	keepHTML    = 64 << 10 // bytes of HTML kept for the preview
	keepCal     = 2 << 10  // bytes of a calendar kept to find its method
	maxBoundary = 250
)

// Parser reads a message that is pushed into it in pieces of any size. It is
// used once: Write the bytes, then call Summary. It must not be copied.
type Parser struct {
	sum   Summary
	stack []frame

	pos     int64 // offset of the line being read
	lines   int64 // lines before it
	prevLen int64 // length of the line before it
	prevEOL int64 // length of that line's end

	held   []byte // beginning of the line being read, from earlier pieces
	heldN  int64  // its true length so far
	cr     bool   // the last piece ended with CR
	header bool   // the top frame is in its header
	first  bool   // no line of this header was read
	head   []byte // the header so far, line ends made LF

	delims   int // open multiparts, so that most lines need no look
	messages int // open embedded messages
	parts    int
	text     int // bytes of text still to be kept

	scratch *scratch
	capture *capture
	plain   capture
	html    capture
	cal     capture
	done    bool
}

type frame struct {
	part     *Part
	boundary string
	line     int64 // number of the first line of the body
	multi    bool
	embeds   bool // holds an embedded message that is being read
	closed   bool // its closing delimiter was seen
}

type capture struct {
	part *Part
	raw  []byte
	max  int
}

// scratch is memory that one parser after the other uses.
type scratch struct {
	head, plain, html, held []byte
	decoded                 [keepPlain]byte
	stack                   [8]frame
}

var scratches = sync.Pool{New: func() any { return &scratch{} }}

// NewParser returns a Parser at the beginning of a message.
func NewParser() *Parser {
	s := scratches.Get().(*scratch)
	p := &Parser{text: maxText, scratch: s, head: s.head, held: s.held[:0]}
	p.plain.raw, p.html.raw = s.plain[:0], s.html[:0]
	p.stack = s.stack[:0]
	p.sum.Importance = 1
	p.sum.Root = &Part{}
	p.open(p.sum.Root, 0)
	return p
}

// Write takes the next bytes of the message. It never fails.
func (p *Parser) Write(b []byte) (int, error) {
	n := len(b)
	lf := -1 // index of the next LF in b; kept so that many CR cost no second search
	off := 0
	for off < n {
		if p.cr {
			p.cr = false
			eol := int64(1)
			if b[off] == '\n' {
				eol = 2
				off++
			}
			p.endHeld(eol)
			continue
		}
		if lf < off {
			if i := bytes.IndexByte(b[off:], '\n'); i >= 0 {
				lf = off + i
			} else {
				lf = n
			}
		}
		end, eol := lf, 1
		if i := bytes.IndexByte(b[off:lf], '\r'); i >= 0 {
			end = off + i
			switch {
			case end+1 == n:
				p.hold(b[off:end])
				p.cr = true
				return n, nil
			case end+1 == lf:
				eol = 2
			}
		} else if lf == n {
			p.hold(b[off:])
			return n, nil
		}
		if p.heldN > 0 {
			p.hold(b[off:end])
			p.endHeld(int64(eol))
		} else {
			p.line(b[off:end], int64(end-off), int64(eol))
		}
		off = end + eol
	}
	return n, nil
}

// hold keeps the beginning of a line whose end is still to come.
func (p *Parser) hold(b []byte) {
	keep := keepLine
	switch {
	case p.header:
		keep = MaxHeader
	case p.capture != nil:
		keep = max(keep, p.capture.max)
	}
	if room := keep - len(p.held); room > 0 {
		p.held = append(p.held, b[:min(room, len(b))]...)
	}
	p.heldN += int64(len(b))
}

func (p *Parser) endHeld(eol int64) {
	l, n := p.held, p.heldN
	p.held, p.heldN = p.held[:0], 0
	p.line(l, n, eol)
}

// line takes one line of length n, of which l is kept, and its line end.
func (p *Parser) line(l []byte, n, eol int64) {
	p.dispatch(l, n, eol)
	p.pos += n + eol
	p.prevLen, p.prevEOL = n, eol
	p.lines++
}

func (p *Parser) dispatch(l []byte, n, eol int64) {
	switch {
	case p.delims > 0 && n > 2 && l[0] == '-' && l[1] == '-' && n == int64(len(l)) && p.delimiter(l, n+eol):
	case p.header:
		p.headerLine(l, n, eol)
	case p.capture != nil:
		p.captureLine(l)
	}
}

func (p *Parser) captureLine(l []byte) {
	c := p.capture
	c.raw = append(c.raw, l[:min(len(l), c.max)]...)
	c.raw = append(c.raw, '\n')
	if len(c.raw) >= c.max {
		p.capture = nil
	}
}

// headerLine takes one line of a header. A line that cannot belong to a header
// begins the body, as in most readers.
func (p *Parser) headerLine(l []byte, n, eol int64) {
	first := p.first
	p.first = false
	switch {
	case n == 0:
		p.endHeader(p.pos + eol)
	case l[0] == ' ' || l[0] == '\t', fieldName(l) > 0:
		p.keepHeader(l)
	case bytes.HasPrefix(l, []byte("From ")), first && bytes.HasPrefix(l, []byte(">From ")):
		// the separator of mbox files, left in by somebody
	default:
		p.defect("header ends without an empty line")
		p.endHeader(p.pos)
		p.dispatch(l, n, eol)
	}
}

func (p *Parser) keepHeader(l []byte) {
	room := MaxHeader - len(p.head)
	if room <= len(l) {
		p.defect("header too long")
		if room <= 1 {
			return
		}
		l = l[:room-1]
	}
	p.head = append(p.head, l...)
	p.head = append(p.head, '\n')
}

// delimiter acts on a delimiter line (RFC 2046 section 5.1.1) of any open
// multipart, the innermost first.
func (p *Parser) delimiter(l []byte, n int64) bool {
	l = bytes.TrimRight(l[2:], " \t")
	for i := len(p.stack) - 1; i >= 0; i-- {
		f := &p.stack[i]
		if !f.multi || f.closed || len(l) < len(f.boundary) || string(l[:len(f.boundary)]) != f.boundary {
			continue
		}
		switch string(l[len(f.boundary):]) {
		case "":
			p.endBodies(i + 1)
			p.child(p.pos + n)
			return true
		case "--":
			p.endBodies(i + 1)
			p.stack[i].closed = true
			p.delims--
			return true
		}
	}
	return false
}

// endBodies closes the frames from number n upwards before a delimiter, to
// which the line end before it belongs.
func (p *Parser) endBodies(n int) {
	lines := p.lines
	if p.prevLen == 0 {
		lines--
	}
	p.closeTo(n, p.pos-p.prevEOL, lines)
}

// child begins a part of the multipart on top.
func (p *Parser) child(start int64) {
	parent := p.stack[len(p.stack)-1].part
	if k := len(parent.Children); k > 0 {
		// A repeated delimiter opens no part.
		if last := parent.Children[k-1]; last.HeaderStart == last.BodyEnd && last.BodyEnd >= p.pos {
			parent.Children = parent.Children[:k-1]
			p.parts--
		}
	}
	if p.parts >= MaxParts {
		p.defect("too many parts")
		return
	}
	c := &Part{}
	parent.Children = append(parent.Children, c)
	p.open(c, start)
}

func (p *Parser) open(c *Part, start int64) {
	p.parts++
	c.HeaderStart, c.BodyStart, c.BodyEnd = start, -1, -1
	p.stack = append(p.stack, frame{part: c})
	p.header, p.first = true, true
	p.head = p.head[:0]
	p.capture = nil
}

// closeTo closes all frames from number n upwards, their bodies ending at end
// before line number lines.
func (p *Parser) closeTo(n int, end, lines int64) {
	p.capture = nil
	for len(p.stack) > n {
		f := &p.stack[len(p.stack)-1]
		c := f.part
		if p.header {
			// Ended within its header. An embedded message opens another frame.
			p.endHeader(max(end, c.HeaderStart))
			continue
		}
		end = max(end, c.BodyStart) // and so no part ends after its parent
		c.BodyEnd = end
		if c.Size() > 0 {
			c.Lines = lines - f.line
		}
		if f.multi {
			if !f.closed {
				p.delims--
				p.defect("multipart without its closing delimiter")
			}
			if len(c.Children) == 0 {
				p.defect("multipart without parts")
				c.Type, c.Subtype = "text", "plain"
			}
		}
		if f.embeds {
			p.messages--
		}
		*f = frame{}
		p.stack = p.stack[:len(p.stack)-1]
	}
	p.capture = nil
}

// endHeader reads the header of the top frame and decides what its body is.
func (p *Parser) endHeader(body int64) {
	p.header = false
	top := len(p.stack) - 1
	f := &p.stack[top]
	c := f.part
	c.BodyStart = body
	f.line = p.lines
	if body > p.pos {
		f.line++ // the empty line
	}
	p.readHeader(c, top)

	switch {
	case c.Type == "multipart":
		f.boundary = strings.TrimRight(c.Params["boundary"], " \t")
		switch {
		case len(p.stack) >= MaxDepth:
			p.defect("nested too deeply")
			c.Type, c.Subtype = "application", "octet-stream"
		case f.boundary == "" || len(f.boundary) > maxBoundary:
			p.defect("multipart without a boundary")
			c.Type, c.Subtype = "text", "plain"
		default:
			f.multi = true
			p.delims++
		}
	case c.IsMessage():
		c.Message = &Part{Type: "text", Subtype: "plain", Encoding: "7bit"}
		c.Envelope = &Envelope{}
		switch {
		case len(p.stack) >= MaxDepth || p.parts >= MaxParts:
			p.defect("nested too deeply")
		case !identity(c.Encoding):
			// RFC 2046 section 5.2.1 forbids it, and no offset can point into it.
			p.defect("embedded message is encoded")
		default:
			f.embeds = true
			p.messages++
			p.open(c.Message, body)
			return
		}
		c.Message.HeaderStart, c.Message.BodyStart, c.Message.BodyEnd = body, body, body
	case p.messages == 0:
		p.startCapture(c)
	}
}

func identity(encoding string) bool {
	switch encoding {
	case "base64", "quoted-printable", "x-uuencode", "uuencode", "x-uue", "x-yenc":
		return false
	}
	return true
}

// Summary ends the message and describes it. Further calls give the same.
func (p *Parser) Summary() *Summary {
	if p.done {
		return &p.sum
	}
	p.done = true
	if p.cr {
		p.endHeld(1)
	} else if p.heldN > 0 {
		p.endHeld(0)
	}
	p.closeTo(0, p.pos, p.lines)
	p.sum.Size, p.sum.Lines = p.pos, p.lines
	p.survey()
	// Only buffers of a usual size go back.
	s := p.scratch
	s.head, s.held, s.plain, s.html = p.head[:0], p.held[:0], p.plain.raw[:0], p.html.raw[:0]
	if cap(s.head)+cap(s.held)+cap(s.html) <= 2*keepHTML {
		clear(s.stack[:])
		scratches.Put(s)
	}
	p.held, p.head, p.stack, p.scratch, p.plain, p.html, p.cal = nil, nil, nil, nil, capture{}, capture{}, capture{}
	return &p.sum
}

func (p *Parser) defect(s string) {
	if len(p.sum.Defects) >= maxDefects {
		return
	}
	s = fmt.Sprintf("%s (at %d)", s, p.pos)
	p.sum.Defects = append(p.sum.Defects, s)
}
