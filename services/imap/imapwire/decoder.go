package imapwire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// Limits bound what a Decoder takes in. Zero values mean the defaults.
type Limits struct {
	// Command is the most bytes that one command's lines and buffered literals
	// may have together. Default 64 KiB.
	Command int
	// NonSync is the largest non-synchronizing literal taken. LITERAL- allows
	// 4096 (RFC 7888 section 5), the default.
	NonSync int64
	// Drain is how many bytes of a refused non-synchronizing literal are read
	// and thrown away; beyond it the connection has to be closed. Default 1 MiB.
	Drain int64
}

func (l Limits) withDefaults() Limits {
	if l.Command <= 0 {
		l.Command = 64 << 10
	}
	if l.NonSync <= 0 {
		l.NonSync = 4096
	}
	if l.Drain <= 0 {
		l.Drain = 1 << 20
	}
	return l
}

// ErrTooLong reports a command above Limits.Command. What follows in the stream
// is the rest of that command, so the connection has to be closed.
var ErrTooLong = errors.New("command too long")

// ErrDesync reports a refused literal that is too large to read past: the
// connection has to be closed, for what follows is not a command.
var ErrDesync = errors.New("refused literal too large to skip")

// SyntaxError is a violation of the grammar: the command gets a tagged BAD, the
// connection goes on.
type SyntaxError struct {
	Pos  int // offset in the present line
	Text string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.Text, e.Pos+1) }

// TooBigError is a literal above a limit: the command is refused and, if the
// client sends the literal all the same, Finish skips it.
type TooBigError struct{ Size, Max int64 }

func (e *TooBigError) Error() string {
	return fmt.Sprintf("literal of %d bytes is above the limit of %d", e.Size, e.Max)
}

// Decoder reads the commands of one client.
type Decoder struct {
	// Continue asks the client for a synchronizing literal: it writes and
	// flushes the continuation request ("+ ..."). Needed before literals.
	Continue func() error
	// UTF8 makes mailbox names plain UTF-8 (IMAP4rev2 or UTF8=ACCEPT is
	// enabled); otherwise they are modified UTF-7.
	UTF8 bool

	r      reader
	limits Limits
	line   []byte // the present line without its end
	used   int    // bytes of this command before line
	pos    int    // in line
	err    error
	depth  int

	tail    literal // the literal that the present line ends with
	hasTail bool
	stream  *LiteralReader // an open StreamLiteral
	fatal   error          // the stream is unusable
}

// literal is what {n}, {n+} or ~{n} says.
type literal struct {
	at      int // where its '{' or '~' stands in the line
	size    int64
	nonSync bool
	binary  bool
}

// NewDecoder reads commands from src.
func NewDecoder(src io.Reader, limits Limits) *Decoder {
	return &Decoder{r: reader{src: src}, limits: limits.withDefaults()}
}

// Buffered tells how many bytes have been read ahead: more than zero means that
// the client has sent its next command without waiting (pipelining).
func (d *Decoder) Buffered() int { return d.r.buffered() }

// Next reads the first line of the next command. An error is io.EOF, another
// error of the source, or ErrTooLong: none can be recovered from.
func (d *Decoder) Next() error {
	if cap(d.line) > 4*readerSize {
		d.line = nil // one long command must not cost memory for ever
	}
	d.used, d.err, d.depth, d.stream = 0, nil, 0, nil
	return d.nextLine()
}

func (d *Decoder) nextLine() error {
	if d.fatal != nil {
		return d.fatal
	}
	line, err := d.r.appendLine(d.line[:0], d.limits.Command-d.used)
	d.line, d.pos, d.hasTail = line, 0, false
	if err != nil {
		if len(line) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		d.fatal = err
		return err
	}
	d.used += len(line)
	line = line[:len(line)-1]
	line = bytes.TrimSuffix(line, []byte{'\r'})
	d.line = line
	d.tail, d.hasTail = trailingLiteral(line)
	return nil
}

// trailingLiteral finds the {n}, {n+} or ~{n} that ends a line. It looks at
// bytes only: framing must not depend on whether the command is understood.
func trailingLiteral(line []byte) (literal, bool) {
	if len(line) == 0 || line[len(line)-1] != '}' {
		return literal{}, false
	}
	i := bytes.LastIndexByte(line, '{')
	if i < 0 {
		return literal{}, false
	}
	digits := line[i+1 : len(line)-1]
	l := literal{at: i}
	if n := len(digits); n > 0 && digits[n-1] == '+' {
		l.nonSync, digits = true, digits[:n-1]
	}
	if len(digits) == 0 {
		return literal{}, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return literal{}, false
		}
		if l.size > (math.MaxInt64-9)/10 {
			l.size = math.MaxInt64 // certainly refused
			continue
		}
		l.size = l.size*10 + int64(c-'0')
	}
	if i > 0 && line[i-1] == '~' {
		l.binary = true
		l.at--
	}
	return l, true
}

// Finish ends a command, whether it was parsed or not: afterwards the stream
// stands at the next command. It returns ErrDesync or the source's error when
// that is impossible and the connection must be closed.
func (d *Decoder) Finish() error {
	if d.fatal != nil {
		return d.fatal
	}
	if d.stream != nil {
		if err := d.endStream(); err != nil {
			return err
		}
	}
	drained := int64(0)
	for d.hasTail {
		if !d.tail.nonSync {
			// The client waits for our leave; the tagged reply refuses it.
			d.hasTail = false
			return nil
		}
		if d.tail.size > d.limits.Drain-drained {
			d.fatal = ErrDesync
			return d.fatal
		}
		if _, err := io.CopyN(io.Discard, &d.r, d.tail.size); err != nil {
			d.fatal = unexpected(err)
			return d.fatal
		}
		drained += d.tail.size
		d.used = 0 // only Drain bounds what is thrown away
		if err := d.nextLine(); err != nil {
			return err
		}
		drained += int64(len(d.line))
	}
	return nil
}

// endStream skips what nobody read of a streamed literal and reads the line
// after it.
func (d *Decoder) endStream() error {
	if d.stream == nil {
		return nil
	}
	s := d.stream
	d.stream = nil
	if s.left > 0 {
		if _, err := io.CopyN(io.Discard, &d.r, s.left); err != nil {
			d.fatal = unexpected(err)
			return d.fatal
		}
		s.left = 0
	}
	return d.nextLine()
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Err gives the first error of this command.
func (d *Decoder) Err() error { return d.err }

// Fail records a violation of the grammar found by the caller, unless an error
// came before.
func (d *Decoder) Fail(format string, args ...any) {
	if d.err == nil {
		d.err = &SyntaxError{Pos: d.pos, Text: fmt.Sprintf(format, args...)}
	}
}

func (d *Decoder) setErr(err error) {
	if d.err == nil {
		d.err = err
	}
}

// End checks that the command ends here and returns the first error.
func (d *Decoder) End() error {
	if d.err == nil && d.stream != nil {
		if err := d.endStream(); err != nil {
			d.setErr(err)
		}
	}
	if d.err == nil && d.pos != len(d.line) {
		d.Fail("expected the end of the command")
	}
	return d.err
}

// AtEnd tells whether nothing is left of the command.
func (d *Decoder) AtEnd() bool { return d.err == nil && d.pos == len(d.line) }

// Peek gives the next byte, 0 at the end of the line or after an error.
func (d *Decoder) Peek() byte {
	if d.err != nil || d.pos >= len(d.line) {
		return 0
	}
	return d.line[d.pos]
}

// Try takes the byte c if it is next.
func (d *Decoder) Try(c byte) bool {
	if d.err == nil && d.pos < len(d.line) && d.line[d.pos] == c {
		d.pos++
		return true
	}
	return false
}

// Special expects the byte c.
func (d *Decoder) Special(c byte) {
	if !d.Try(c) {
		d.Fail("expected %q", c)
	}
}

// SP expects one space.
func (d *Decoder) SP() {
	if !d.Try(' ') {
		d.Fail("expected a space")
	}
}

// TrySP takes a space if one is next.
func (d *Decoder) TrySP() bool { return d.Try(' ') }

func isAtomChar(c byte) bool {
	switch c {
	case '(', ')', '{', ' ', '%', '*', '"', '\\', ']':
		return false
	}
	return c > 0x20 && c < 0x7f
}

func isAStringChar(c byte) bool { return c == ']' || isAtomChar(c) }

func isListChar(c byte) bool { return c == '%' || c == '*' || isAStringChar(c) }

func (d *Decoder) take(ok func(byte) bool, what string) []byte {
	if d.err != nil {
		return nil
	}
	start := d.pos
	for d.pos < len(d.line) && ok(d.line[d.pos]) {
		d.pos++
	}
	if d.pos == start {
		d.Fail("expected %s", what)
		return nil
	}
	return d.line[start:d.pos]
}

// Tag reads a command's tag.
func (d *Decoder) Tag() string {
	return string(d.take(func(c byte) bool { return c != '+' && isAStringChar(c) }, "a tag"))
}

// Atom reads an atom as it stands.
func (d *Decoder) Atom() string { return string(d.take(isAtomChar, "an atom")) }

// Word reads an atom and gives it in upper case: a command, a keyword of the
// grammar, an item's name.
func (d *Decoder) Word() string { return upper(d.take(isAtomChar, "a word")) }

// Name reads a name of ASCII letters, digits, '.', '-' and '=' in upper case: the
// names of FETCH and STATUS items, which a '[' or '(' may follow directly.
func (d *Decoder) Name() string {
	return upper(d.take(func(c byte) bool {
		return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '='
	}, "a name"))
}

func upper(b []byte) string {
	for _, c := range b {
		if c >= 'a' && c <= 'z' {
			return strings.ToUpper(string(b))
		}
	}
	return string(b)
}

// AString reads an atom or a string.
func (d *Decoder) AString() string {
	if c := d.Peek(); c == '"' || c == '{' || c == '~' && d.atLiteral() {
		return d.String()
	}
	return string(d.take(isAStringChar, "an atom or a string"))
}

// ListMailbox reads a mailbox pattern: list-char atoms or a string, decoded
// like Mailbox but without folding INBOX.
func (d *Decoder) ListMailbox() string {
	var s string
	if c := d.Peek(); c == '"' || c == '{' {
		s = d.String()
	} else {
		s = string(d.take(isListChar, "a mailbox pattern"))
	}
	return d.decodeMailbox(s)
}

// NString reads a string or NIL; ok is false for NIL.
func (d *Decoder) NString() (s string, ok bool) {
	if c := d.Peek(); c == '"' || c == '{' {
		return d.String(), d.err == nil
	}
	if w := d.Word(); d.err == nil && w != "NIL" {
		d.Fail("expected a string or NIL")
	}
	return "", false
}

// String reads a quoted string or a literal.
func (d *Decoder) String() string {
	switch d.Peek() {
	case '"':
		return d.quoted()
	case '{':
		return string(d.bufferedLiteral())
	}
	d.Fail("expected a string")
	return ""
}

// quoted accepts any 8-bit byte within the quotes, as RFC 9051 does for UTF-8;
// what must be valid UTF-8 is checked by what reads it.
func (d *Decoder) quoted() string {
	d.Special('"')
	if d.err != nil {
		return ""
	}
	rest := d.line[d.pos:]
	for i, c := range rest { // the common case: no escapes
		if c == '"' {
			d.pos += i + 1
			return string(rest[:i])
		}
		if c == '\\' || c == 0 || c == '\r' {
			break
		}
	}
	var b []byte
	for d.pos < len(d.line) {
		c := d.line[d.pos]
		d.pos++
		switch c {
		case '"':
			return string(b)
		case 0, '\r':
			d.Fail("control character in a quoted string")
			return ""
		case '\\':
			if d.pos >= len(d.line) {
				d.Fail("unfinished quoted string")
				return ""
			}
			c = d.line[d.pos]
			d.pos++
			if c != '"' && c != '\\' {
				d.Fail("only quote and backslash may be escaped")
				return ""
			}
		}
		b = append(b, c)
	}
	d.Fail("unfinished quoted string")
	return ""
}

// List reads "(" item *(SP item) ")", calling item for each; "()" is a list of
// none. An item must consume something.
func (d *Decoder) List(item func()) {
	d.Special('(')
	if d.err != nil {
		return
	}
	if d.Try(')') {
		return
	}
	for d.err == nil {
		item()
		if d.Try(')') {
			return
		}
		d.SP()
	}
}

// Enter guards a recursion of the caller (SEARCH keys): it fails beyond depth
// max. Each Enter that returns true is followed by Leave.
func (d *Decoder) Enter(max int) bool {
	if d.err != nil {
		return false
	}
	if d.depth >= max {
		d.Fail("nested too deeply")
		return false
	}
	d.depth++
	return true
}

// Leave ends what Enter began.
func (d *Decoder) Leave() { d.depth-- }

// RestOfLine takes what is left of the present line as it is: an initial
// response of AUTHENTICATE.
func (d *Decoder) RestOfLine() string {
	if d.err != nil {
		return ""
	}
	s := string(d.line[d.pos:])
	d.pos = len(d.line)
	return s
}

// RawLine reads a line that is not a command: an answer to a continuation
// request (AUTHENTICATE, IDLE). It is valid until the next read.
func (d *Decoder) RawLine() ([]byte, error) {
	d.used, d.pos, d.err = 0, 0, nil
	if err := d.nextLine(); err != nil {
		return nil, err
	}
	d.hasTail = false
	return d.line, nil
}
