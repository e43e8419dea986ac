package dav

import (
	"net/http"
	"time"
)

// A request has to arrive within readTime, and a piece of an answer has to be
// taken within writeTime: nobody holds a connection by being slow for ever.
const (
	readTime  = 10 * time.Minute
	writeTime = 2 * time.Minute
)

// heldBack is how much of an answer is kept until it is clear that it will be
// whole: until then a failure can still be told instead.
const heldBack = 64 << 10

// output is the answer on its way to the client.
type output struct {
	w       http.ResponseWriter
	code    int
	buf     []byte
	started bool
	broken  bool // the answer failed after it had started
	err     error
}

func (o *output) header() http.Header { return o.w.Header() }

// Write adds to the answer's body.
func (o *output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	o.buf = append(o.buf, p...)
	if len(o.buf) > heldBack {
		o.flush()
	}
	return len(p), o.err
}

// reset drops what was not sent yet; it tells whether the answer is still free.
func (o *output) reset() bool {
	if o.started {
		o.broken = true
		return false
	}
	o.buf = o.buf[:0]
	return true
}

func (o *output) flush() {
	deadline := http.NewResponseController(o.w)
	_ = deadline.SetWriteDeadline(time.Now().Add(writeTime)) // a recorder of a test has none
	if !o.started {
		o.started = true
		if o.code == 0 {
			o.code = http.StatusOK
		}
		o.w.WriteHeader(o.code)
	}
	if len(o.buf) > 0 && o.err == nil {
		_, o.err = o.w.Write(o.buf)
		o.buf = o.buf[:0]
	}
}

func (o *output) close() error {
	if !o.broken {
		o.flush()
		_ = http.NewResponseController(o.w).SetWriteDeadline(time.Time{}) // the connection's next request has its own
	}
	return o.err
}

// reply answers with a code and no body.
func (r *request) reply(code int) error {
	r.out.code = code
	return nil
}
