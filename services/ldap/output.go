package ldap

import (
	"net"
	"sync"
	"time"
)

// maxPending is how much may wait for a client that does not read fast enough
// before operations wait too.
const maxPending = 256 << 10

// output is what a connection's operations write to. Who comes while another
// writes leaves its bytes to that one, so that answers to many requests go out
// together; nothing is held by those who do not write, and nothing is kept when
// nobody does.
type output struct {
	mu      sync.Mutex
	drained sync.Cond // of mu: pending has been taken
	pending []byte
	writing bool
	err     error // of the first write that failed
	timeout time.Duration
}

func (o *output) init(timeout time.Duration) {
	o.drained.L = &o.mu
	o.timeout = timeout
}

// send writes b, or leaves it to who writes now; b is the caller's again.
func (o *output) send(nc net.Conn, b []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing && len(o.pending) > maxPending {
		o.drained.Wait()
	}
	if o.err != nil {
		return o.err
	}
	if o.writing {
		o.pending = append(o.pending, b...)
		return nil
	}
	o.writing = true
	for len(b) > 0 && o.err == nil {
		o.mu.Unlock()
		err := write(nc, b, o.timeout)
		o.mu.Lock()
		o.err = err
		b, o.pending = o.pending, nil
		o.drained.Broadcast()
	}
	o.writing = false
	return o.err
}

// flush waits until everything that was sent is written.
func (o *output) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing {
		o.drained.Wait()
	}
}

// chunk is how much is written under one deadline.
const chunk = 64 << 10

func write(nc net.Conn, b []byte, timeout time.Duration) error {
	for len(b) > 0 {
		part := b[:min(len(b), chunk)]
		if err := nc.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
			return err
		}
		if _, err := nc.Write(part); err != nil {
			return err
		}
		b = b[len(part):]
	}
	return nil
}
