package eas

import (
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

const (
	// heldBack is how much of an answer is kept until it is clear that it will
	// be whole: until then a failure can still be told instead.
	heldBack = 32 << 10
	// worthZipping is the size from which gzip is used.
	worthZipping = 1 << 10
)

// output is the answer on its way to the phone.
type output struct {
	w       http.ResponseWriter
	code    int
	buf     []byte
	zip     bool // the phone takes gzip
	gz      *gzip.Writer
	started bool // the header is out
	broken  bool // the answer failed after it had started
	taken   bool // the connection is not the HTTP server's any more
	err     error
}

func newOutput(w http.ResponseWriter, r *http.Request) *output {
	return &output{w: w, code: http.StatusOK, zip: acceptsGzip(r.Header.Get("Accept-Encoding"))}
}

func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, param, _ := strings.Cut(strings.TrimSpace(part), ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		q, ok := strings.CutPrefix(strings.TrimSpace(param), "q=")
		if v, err := strconv.ParseFloat(q, 64); ok && err == nil && v == 0 {
			return false
		}
		return true
	}
	return false
}

func (o *output) header() http.Header { return o.w.Header() }

// reset drops what was not sent yet; it tells whether the answer is still free.
func (o *output) reset() bool {
	if o.started {
		return false
	}
	o.buf = nil
	return true
}

// Write adds to the answer's body.
func (o *output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	if !o.started {
		if len(o.buf)+len(p) <= heldBack {
			o.buf = append(o.buf, p...)
			return len(p), nil
		}
		o.start(-1)
	}
	return o.send(p)
}

var zippers = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	return z
}}

// start sends the header and what was held back; size is the whole body's, or
// -1 when more is to come.
func (o *output) start(size int) {
	o.started = true
	h := o.header()
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "private")
	}
	if o.zip && (size < 0 || size >= worthZipping) && h.Get("Content-Type") != "" {
		h.Set("Content-Encoding", "gzip")
		h.Del("Content-Length")
		o.gz = zippers.Get().(*gzip.Writer)
		o.gz.Reset(o.w)
	} else if size >= 0 {
		h.Set("Content-Length", strconv.Itoa(size))
	}
	o.w.WriteHeader(o.code)
	buf := o.buf
	o.buf = nil
	if len(buf) > 0 {
		_, _ = o.send(buf)
	}
}

func (o *output) send(p []byte) (int, error) {
	var n int
	if o.gz != nil {
		n, o.err = o.gz.Write(p)
	} else {
		n, o.err = o.w.Write(p)
	}
	return n, o.err
}

// close sends what is left. It gives the first error of writing.
func (o *output) close() error {
	if !o.started {
		o.start(len(o.buf))
	}
	if o.gz != nil {
		err := o.gz.Close()
		if o.err == nil {
			o.err = err
		}
		o.gz.Reset(nil)
		zippers.Put(o.gz)
		o.gz = nil
	}
	return o.err
}
