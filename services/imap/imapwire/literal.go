package imapwire

import (
	"io"
)

// atLiteral tells whether a literal begins at the present position.
func (d *Decoder) atLiteral() bool { return d.hasTail && d.tail.at == d.pos }

// Literal announces what StreamLiteral would read.
type Literal struct {
	Size    int64
	NonSync bool // the client sends it without waiting
	Binary  bool // literal8: ~{n}, may hold NUL (RFC 3516, RFC 9051)
}

// PeekLiteral describes the literal that comes next, or fails. The client has
// not been asked for it yet: a command that returns an error now refuses it.
func (d *Decoder) PeekLiteral() Literal {
	if d.err != nil {
		return Literal{}
	}
	if !d.atLiteral() {
		d.Fail("expected a literal")
		return Literal{}
	}
	return Literal{Size: d.tail.size, NonSync: d.tail.nonSync, Binary: d.tail.binary}
}

// accept checks the literal at the present position and asks for it.
func (d *Decoder) accept(max int64) bool {
	if d.err != nil {
		return false
	}
	if d.tail.nonSync {
		max = min(max, d.limits.NonSync)
	}
	if d.tail.size > max {
		d.setErr(&TooBigError{Size: d.tail.size, Max: max})
		return false
	}
	if !d.tail.nonSync {
		if d.Continue == nil {
			d.Fail("no literal allowed here")
			return false
		}
		if err := d.Continue(); err != nil {
			d.fatal = err
			d.setErr(err)
			return false
		}
	}
	d.hasTail = false
	return true
}

// bufferedLiteral reads a literal into memory and the line that follows it.
func (d *Decoder) bufferedLiteral() []byte {
	if d.err != nil {
		return nil
	}
	if !d.atLiteral() || d.tail.binary {
		d.Fail("malformed literal")
		return nil
	}
	if !d.accept(int64(max(0, d.limits.Command-d.used))) {
		return nil
	}
	b := make([]byte, d.tail.size)
	if _, err := io.ReadFull(&d.r, b); err != nil {
		d.fatal = unexpected(err)
		d.setErr(d.fatal)
		return nil
	}
	d.used += len(b)
	if err := d.nextLine(); err != nil {
		d.setErr(err)
		return nil
	}
	for _, c := range b {
		if c == 0 { // CHAR8 has no NUL
			d.Fail("NUL in a literal")
			return nil
		}
	}
	return b
}

// LiteralReader streams a literal.
type LiteralReader struct {
	d    *Decoder
	left int64
	size int64
}

// Size is the literal's whole length in bytes.
func (l *LiteralReader) Size() int64 { return l.size }

// Read implements io.Reader. A stream that ends early is io.ErrUnexpectedEOF.
func (l *LiteralReader) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	if l.d.fatal != nil {
		return 0, l.d.fatal
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.d.r.Read(p)
	l.left -= int64(n)
	if err != nil {
		l.d.fatal = unexpected(err)
		return n, l.d.fatal
	}
	return n, nil
}

// StreamLiteral asks for the literal that comes next and gives it out as a
// stream of at most max bytes (*TooBigError, and nothing is asked for). The
// command goes on after the literal: call EndLiteral before reading further.
// What is left unread then, or at Finish, is skipped.
func (d *Decoder) StreamLiteral(max int64) *LiteralReader {
	if d.PeekLiteral(); !d.accept(max) {
		return nil
	}
	d.stream = &LiteralReader{d: d, left: d.tail.size, size: d.tail.size}
	d.pos = len(d.line)
	return d.stream
}

// EndLiteral goes on after a streamed literal with the rest of the command.
func (d *Decoder) EndLiteral() {
	if d.stream == nil {
		return
	}
	if err := d.endStream(); err != nil {
		d.setErr(err)
	}
}
