package smtpguard

import (
	"bytes"
	"net"
)

// Outgoing wraps a connection below the library's client and completes what
// the library writes: it knows no parameters of our own at MAIL, and calls us
// "localhost" in the EHLO before STARTTLS.
type Outgoing struct {
	net.Conn
	Name   string // in EHLO; "" leaves it
	Params string // appended to MAIL, with a leading space
}

var (
	mailFrom = []byte("MAIL FROM:<")
	ehloUs   = []byte("EHLO localhost\r\n")
	crlf     = []byte("\r\n")
)

// Write writes p, which the library writes one command at a time.
func (o *Outgoing) Write(p []byte) (int, error) {
	q := p
	switch {
	case o.Name != "" && bytes.Equal(p, ehloUs):
		q = []byte("EHLO " + o.Name + "\r\n")
	case o.Params != "" && bytes.HasPrefix(p, mailFrom) && bytes.HasSuffix(p, crlf) && bytes.Count(p, crlf) == 1:
		q = append(append(append([]byte(nil), p[:len(p)-2]...), o.Params...), crlf...)
		o.Params = ""
	default:
		return o.Conn.Write(p)
	}
	if _, err := o.Conn.Write(q); err != nil {
		return 0, err
	}
	return len(p), nil
}
