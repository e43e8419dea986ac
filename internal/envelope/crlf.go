package envelope

import (
	"bytes"
	"io"
)

// CRLF gives a reader that turns every bare CR and bare LF of r into CRLF, so
// that nothing we send on can be taken for another end of data (smuggling).
// Doors that take mail from the network refuse such bytes instead.
func CRLF(r io.Reader) io.Reader { return &crlf{r: r} }

type crlf struct {
	r   io.Reader
	in  [4096]byte
	out []byte // not yet handed out, within buf
	buf []byte
	cr  bool // the last byte read was a CR whose CRLF is out already
	err error
}

func (c *crlf) Read(p []byte) (int, error) {
	for len(c.out) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		var n int
		n, c.err = c.r.Read(c.in[:])
		c.fill(c.in[:n])
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

func (c *crlf) fill(b []byte) {
	c.buf = c.buf[:0]
	for len(b) > 0 {
		if c.cr {
			c.cr = false
			if b[0] == '\n' {
				b = b[1:]
				continue
			}
		}
		i := bytes.IndexAny(b, "\r\n")
		if i < 0 {
			c.buf = append(c.buf, b...)
			break
		}
		c.buf = append(c.buf, b[:i]...)
		c.buf = append(c.buf, '\r', '\n')
		c.cr = b[i] == '\r'
		b = b[i+1:]
	}
	c.out = c.buf
}
