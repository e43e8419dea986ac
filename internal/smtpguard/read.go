package smtpguard

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"runtime/debug"
)

// Read gives the library one command, or bytes of a message up to its end.
func (c *Conn) Read(p []byte) (n int, err error) {
	defer func() {
		if r := recover(); r != nil {
			c.srv.Log.Error("panic", "proto", c.srv.Proto, "remote", c.remote, "panic", r, "stack", string(debug.Stack()))
			c.dead, n, err = true, 0, io.EOF
		}
	}()
	if len(p) == 0 {
		return 0, nil
	}
	if c.pending != "" {
		n = copy(p, c.pending)
		c.pending = c.pending[n:]
		return n, nil
	}
	if c.fatal != nil && !c.hasReply() {
		return 0, c.fatal
	}
	switch c.mode {
	case modeChunk:
		if c.chunk > 0 && c.fatal == nil {
			return c.readChunk(p)
		}
		c.mode = modeCommand
	case modeData:
		if c.fatal == nil {
			return c.readData(p)
		}
		c.mode = modeCommand
	}
	c.settle()
	if c.mode == modeData {
		return c.readData(p)
	}
	for {
		if c.dead {
			c.Flush()
			return 0, io.EOF
		}
		line, ok := c.readLine()
		if !ok {
			continue
		}
		if c.mode == modeAuth {
			c.mode = modeCommand
			c.begin("AUTH", true)
			line = authLine(line)
		} else if line = c.command(line); line == "" {
			c.answered()
			continue
		}
		c.pending = line + "\r\n"
		n = copy(p, c.pending)
		c.pending = c.pending[n:]
		return n, nil
	}
}

// readLine reads a command line. When it returns false there is none: it has
// answered, or the connection is dead.
func (c *Conn) readLine() (string, bool) {
	b, err := c.br.ReadSlice('\n')
	switch {
	case err == nil && len(b) > maxLine, errors.Is(err, bufio.ErrBufferFull):
		c.begin("", false)
		c.doom(500, "5.5.2", "Line too long")
		return "", false
	case err == nil && c.mode != modeAuth && len(b) > maxCommand && !(len(b) > 5 && asciiFold(b[:5], "AUTH ")):
		c.begin("", false)
		c.fail(500, "5.5.2", "Line too long")
		return "", false
	case err == nil && (len(b) < 2 || b[len(b)-2] != '\r'):
		c.begin("", false)
		if c.mode == modeAuth { // the library waits for an answer
			return "*", true
		}
		c.fail(500, "5.5.2", "Lines must end with CRLF")
		return "", false
	case err == nil:
		return string(b[:len(b)-2]), true
	case c.srv.closing.Load() && isTimeout(err):
		c.begin("", false)
		c.doom(421, "4.3.2", "Service shutting down")
	case c.expired.Load() && isTimeout(err):
		c.begin("", false)
		c.doom(421, "4.7.0", "Sign in again")
	case isTimeout(err):
		c.begin("", false)
		c.doom(421, "4.4.2", "Idle too long")
	}
	c.dead = true
	return "", false
}

func asciiFold(b []byte, s string) bool {
	for i := range b {
		if b[i]&^0x20 != s[i]&^0x20 {
			return false
		}
	}
	return true
}

// readData gives the library bytes of a message, dots and end included.
func (c *Conn) readData(p []byte) (int, error) {
	b, err := c.peek(p)
	if err != nil {
		return 0, err
	}
	n, end, bad := c.scan.scan(b)
	if n == 0 && bad {
		return 0, c.abort(554, [3]int{5, 5, 2}, bareText)
	}
	copy(p, b[:n])
	c.br.Discard(n)
	if end {
		c.mode = modeCommand
	}
	return n, nil
}

// readChunk gives the library bytes of a chunk.
func (c *Conn) readChunk(p []byte) (int, error) {
	b, err := c.peek(p[:min(int64(len(p)), c.chunk)])
	if err != nil {
		return 0, err
	}
	n, _, bad := c.scan.scan(b)
	if n == 0 && bad || int64(n) == c.chunk && c.final && c.scan.open() {
		return 0, c.abort(554, [3]int{5, 5, 2}, bareText)
	}
	copy(p, b[:n])
	c.br.Discard(n)
	c.chunk -= int64(n)
	return n, nil
}

// peek waits for bytes of a message and gives at most len(p) of them. The end
// of the connection must not look like the end of the message: within a chunk
// the library would take an EOF for it.
func (c *Conn) peek(p []byte) ([]byte, error) {
	if _, err := c.br.Peek(1); err != nil {
		if isTimeout(err) {
			return nil, c.abort(421, [3]int{4, 4, 2}, "Message stalled")
		}
		return nil, c.abort(421, [3]int{4, 4, 2}, "Connection lost")
	}
	return c.br.Peek(min(c.br.Buffered(), len(p)))
}

// abort ends the message under way and, after the library's reply, the connection.
func (c *Conn) abort(code int, status [3]int, text string) error {
	c.dead = true
	c.mu.Lock()
	c.replied = false
	c.mu.Unlock()
	c.fatal = Errorf(code, status, text)
	return c.fatal
}

func (c *Conn) hasReply() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.replied
}

// skip reads a chunk away.
func (c *Conn) skip(size int64) {
	c.mode = modeChunk
	if _, err := io.CopyN(io.Discard, c.br, size); err != nil {
		c.dead = true
	}
	c.mode = modeCommand
}

// buffered tells whether input is waiting that the peer sent too early.
func (c *Conn) buffered() bool { return c.br.Buffered() > 0 }

func isTimeout(err error) bool {
	var t net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
