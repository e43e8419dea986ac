package smtpguard

import "bytes"

// scanner watches the bytes of a message for line ends that are none and, in
// DATA, for its end (RFC 5321 sections 2.3.8 and 4.1.1.4). It keeps its state
// from one piece to the next.
type scanner struct {
	dots  bool // DATA: CRLF.CRLF ends the message
	state scanState
}

type scanState uint8

const (
	lineStart scanState = iota // a message begins at the start of a line
	inLine
	afterCR
	afterDot   // a dot at the start of a line
	afterDotCR // and a CR after it
)

// scan looks at b and returns how many bytes of it belong to the message, and
// whether the message ended there. bad means that a bare CR or LF stands after
// those bytes.
func (s *scanner) scan(b []byte) (n int, end, bad bool) {
	for n < len(b) {
		switch s.state {
		case afterCR, afterDotCR:
			if b[n] != '\n' {
				return n, false, true
			}
			n++
			if s.state == afterDotCR {
				s.state = lineStart
				return n, true, false
			}
			s.state = lineStart
			continue
		case lineStart:
			if s.dots && b[n] == '.' {
				s.state = afterDot
				n++
				continue
			}
		case afterDot:
			if b[n] == '\r' {
				s.state = afterDotCR
				n++
				continue
			}
		}
		s.state = inLine
		i := bytes.IndexByte(b[n:], '\n')
		line := b[n:]
		if i >= 0 {
			line = b[n : n+i]
		}
		if j := bytes.IndexByte(line, '\r'); j >= 0 {
			n += j + 1
			s.state = afterCR
			continue
		}
		n += len(line)
		if i >= 0 {
			return n, false, true
		}
	}
	return n, false, false
}

// open tells whether the bytes so far end in the middle of a line end.
func (s *scanner) open() bool { return s.state == afterCR || s.state == afterDotCR }
