package eas

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"waypost/services/eas/wbxml"
)

// A phone's Ping or Sync is held for up to an hour, and net/http keeps some
// 20 KiB of buffers and stacks for a request that it is waiting for. So one that
// has nothing to say is parked: its connection is taken out of the HTTP server's
// hands, one small goroutine waits and writes the answer, and the server gets
// the connection back for the next request. Over HTTP/2, which shares a
// connection, it stays in its request.

// waiter is what a parked request waits for.
type waiter interface {
	// ready looks whether there is something to tell.
	ready(ctx context.Context) (bool, error)
	// answer tells it, or that there was nothing. It writes to the request's
	// output, which is not the one of before when the request was parked.
	answer(ctx context.Context) error
}

// park answers at once if there is something to tell, and otherwise waits for d.
func (s *Server) park(ctx context.Context, r *request, d time.Duration, w waiter) error {
	v, err := s.beginVigil(r, d)
	if err != nil {
		return err
	}
	ok, err := w.ready(ctx)
	if !ok && err == nil {
		if p := s.takeOver(r); p != nil {
			p.vigil, p.waiter = v, w
			go p.run()
			return nil
		}
		_, err = s.holdHere(ctx, r, v, w.ready)
	}
	v.end()
	if err != nil {
		return err
	}
	return w.answer(ctx)
}

// told answers with a document whose Status is logged.
func (r *request) told(n *wbxml.Node) error {
	r.done(n.Get(r.command.status))
	return r.reply(n)
}

// parked is a request whose connection is ours.
type parked struct {
	r      *request
	srv    *http.Server
	conn   net.Conn
	header []byte // of the answer, as set before
	zip    bool   // the phone takes gzip
	last   bool   // the connection ends with this answer
	vigil  *vigil
	waiter waiter
}

// takeOver takes the request's connection; nil when that cannot be.
func (s *Server) takeOver(r *request) *parked {
	srv, ok := r.http.Context().Value(http.ServerContextKey).(*http.Server)
	s.parking.Lock()
	defer s.parking.Unlock()
	if !ok || r.http.ProtoMajor != 1 || r.http.ProtoMinor < 1 || s.stopped() {
		return nil
	}
	if _, err := io.CopyN(io.Discard, r.http.Body, 4096); err != io.EOF {
		return nil // the rest of the body would be taken for the next request
	}
	last, zip := r.http.Close, r.out.zip
	var header bytes.Buffer
	_ = r.out.header().Write(&header) // a Buffer does not fail
	conn, buf, err := http.NewResponseController(r.out.w).Hijack()
	if err != nil {
		return nil
	}
	s.parked.Add(1)
	_ = conn.SetDeadline(time.Time{})
	r.out.taken = true
	r.slim()
	return &parked{r: r, srv: srv, conn: conn, header: header.Bytes(), zip: zip, last: last || buf.Reader.Buffered() > 0}
}

// slim lets go of what belongs to the HTTP request.
func (r *request) slim() {
	r.http, r.out = nil, nil
	id := string([]byte(r.query.deviceID)) // not a piece of the request line
	r.query = query{deviceID: id, hasKey: r.query.hasKey}
	r.device.Info, r.device.Secret = nil, nil
	r.device.ID = id
}

// run waits, answers and gives the connection back. Stop waits for it.
func (p *parked) run() {
	s := p.r.server
	defer s.parked.Done()
	back := false
	defer func() {
		if e := recover(); e != nil {
			p.r.log.Error("panic in a command", "cmd", p.r.cmd, "panic", e, "stack", string(debug.Stack()))
		}
		if back {
			giveBack(p.srv, p.conn)
		} else {
			p.conn.Close()
		}
	}()
	ctx, release := s.bind(context.Background(), p.r)
	defer release()
	_, err := p.watched(ctx)
	if err == errGone {
		p.r.err, p.r.result = err, "gone"
		p.r.finish(nil)
		return
	}
	back = p.tell(ctx, err) && !p.last && !s.stopped()
}

// watched waits, and stops watching before anything is written.
func (p *parked) watched(ctx context.Context) (bool, error) {
	defer p.vigil.end()
	return p.vigil.wait(ctx, p.waiter.ready, alive(p.conn))
}

// answerWithin is how long a phone may take to receive a piece of an answer.
const answerWithin = 30 * time.Second

// tell writes the answer, and tells whether all of it went out.
func (p *parked) tell(ctx context.Context, err error) bool {
	w := &answerWriter{p: p, header: http.Header{}, buf: bufio.NewWriter(timely{p.conn})}
	p.r.out = &output{w: w, code: http.StatusOK, zip: p.zip}
	if err == nil {
		err = p.waiter.answer(ctx)
	}
	if err != nil {
		p.r.err = err
		p.r.fail(err)
	}
	werr := p.r.out.close()
	if err := w.close(p.r.out.broken); werr == nil {
		werr = err
	}
	p.r.finish(werr)
	return werr == nil && !p.r.out.broken
}

// answerWriter writes the answer to a parked request.
type answerWriter struct {
	p       *parked
	header  http.Header
	buf     *bufio.Writer
	chunked bool
}

// timely gives each piece its time.
type timely struct{ net.Conn }

func (t timely) Write(p []byte) (int, error) {
	_ = t.SetWriteDeadline(time.Now().Add(answerWithin))
	return t.Conn.Write(p)
}

func (w *answerWriter) Header() http.Header { return w.header }

// WriteHeader writes the header; a body whose length it does not give follows
// in chunks (RFC 9112 section 7.1). buf keeps the first error.
func (w *answerWriter) WriteHeader(code int) {
	w.chunked = w.header.Get("Content-Length") == ""
	fmt.Fprintf(w.buf, "HTTP/1.1 %d %s\r\n", code, http.StatusText(code))
	fmt.Fprintf(w.buf, "Date: %s\r\n", time.Now().UTC().Format(http.TimeFormat))
	_, _ = w.buf.Write(w.p.header)
	_ = w.header.Write(w.buf)
	if w.chunked {
		_, _ = w.buf.WriteString("Transfer-Encoding: chunked\r\n")
	}
	if w.p.last {
		_, _ = w.buf.WriteString("Connection: close\r\n")
	}
	_, _ = w.buf.WriteString("\r\n")
}

func (w *answerWriter) Write(p []byte) (int, error) {
	if !w.chunked || len(p) == 0 {
		return w.buf.Write(p)
	}
	fmt.Fprintf(w.buf, "%x\r\n", len(p))
	n, err := w.buf.Write(p)
	_, _ = w.buf.WriteString("\r\n")
	return n, err
}

// close ends the answer; one that is broken has no last chunk.
func (w *answerWriter) close(broken bool) error {
	if w.chunked && !broken {
		_, _ = w.buf.WriteString("0\r\n\r\n")
	}
	err := w.buf.Flush()
	_ = w.p.conn.SetWriteDeadline(time.Time{})
	return err
}

// giveBack has srv serve a connection again that it served before.
func giveBack(srv *http.Server, c net.Conn) {
	l := &one{conn: c}
	_ = srv.Serve(l)   // returns at once, with the error of one
	if l.conn != nil { // srv is shutting down
		l.conn.Close()
	}
}

// one is a listener that accepts one connection.
type one struct{ conn net.Conn }

func (l *one) Accept() (net.Conn, error) {
	c := l.conn
	if l.conn = nil; c == nil {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l *one) Close() error   { return nil }
func (l *one) Addr() net.Addr { return &net.TCPAddr{} }
