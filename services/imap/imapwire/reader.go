package imapwire

import (
	"bytes"
	"io"
)

// readerSize is the whole memory that a connection's reading side keeps while
// idle. Nearly every command fits; literals are read past it.
const readerSize = 512

// reader is a small buffered reader. It differs from bufio.Reader in size only:
// bufio's smallest useful buffer would be most of an idle connection's memory.
type reader struct {
	src  io.Reader
	r, w int
	buf  [readerSize]byte
}

func (r *reader) buffered() int { return r.w - r.r }

func (r *reader) fill() error {
	r.r, r.w = 0, 0
	for range 100 { // a Reader may return 0, nil; not for ever
		n, err := r.src.Read(r.buf[:])
		if n > 0 {
			r.w = n
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// Read implements io.Reader; large reads go around the buffer.
func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.r == r.w {
		if len(p) >= readerSize {
			return r.src.Read(p)
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf[r.r:r.w])
	r.r += n
	return n, nil
}

// appendLine appends the bytes up to and including the next LF to line, which
// may not grow beyond max bytes (ErrTooLong).
func (r *reader) appendLine(line []byte, max int) ([]byte, error) {
	for {
		if r.r == r.w {
			if err := r.fill(); err != nil {
				return line, err
			}
		}
		part := r.buf[r.r:r.w]
		i := bytes.IndexByte(part, '\n')
		if i >= 0 {
			part = part[:i+1]
		}
		if len(line)+len(part) > max {
			return line, ErrTooLong
		}
		line = append(line, part...)
		r.r += len(part)
		if i >= 0 {
			return line, nil
		}
	}
}
