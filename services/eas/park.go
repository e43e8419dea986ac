package eas

import (
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

// A phone's Ping is held for up to an hour, and net/http keeps some 20 KiB of
// buffers and stacks for a request that it is waiting for. So a Ping that has
// nothing to say is parked: its connection is taken out of the HTTP server's
// hands, one small goroutine waits and writes the answer, and the server gets
// the connection back for the next request. Over HTTP/2, which shares a
// connection, a Ping stays in its request.

// waiter is what a parked request waits for.
type waiter interface {
	// ready looks whether there is something to tell.
	ready(ctx context.Context) (bool, error)
	// answer tells it, or that there was nothing.
	answer() *wbxml.Node
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
	return r.told(w.answer())
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
	last := r.http.Close
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
	return &parked{r: r, srv: srv, conn: conn, header: header.Bytes(), last: last || buf.Reader.Buffered() > 0}
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
	_, err := p.watched(ctx)
	release()
	if err == errGone {
		p.r.err, p.r.result = err, "gone"
		p.r.finish(nil)
		return
	}
	back = p.tell(err) && !p.last && !s.stopped()
}

// watched waits, and stops watching before anything is written.
func (p *parked) watched(ctx context.Context) (bool, error) {
	defer p.vigil.end()
	return p.vigil.wait(ctx, p.waiter.ready, alive(p.conn))
}

// answerWithin is how long a phone may take to receive an answer.
const answerWithin = 30 * time.Second

// tell writes the answer, and tells whether it went out.
func (p *parked) tell(err error) bool {
	w := &answerWriter{header: http.Header{}, code: http.StatusOK}
	p.r.out = &output{w: w, code: http.StatusOK}
	if err != nil {
		p.r.err = err
		p.r.fail(err)
	} else if err = p.r.told(p.waiter.answer()); err != nil {
		p.r.err = err
		p.r.fail(err)
	}
	_ = p.r.out.close() // into memory
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", w.code, http.StatusText(w.code))
	fmt.Fprintf(&b, "Date: %s\r\n", time.Now().UTC().Format(http.TimeFormat))
	b.Write(p.header)
	_ = w.header.Write(&b)
	if p.last {
		b.WriteString("Connection: close\r\n")
	}
	b.WriteString("\r\n")
	b.Write(w.body.Bytes())
	_ = p.conn.SetWriteDeadline(time.Now().Add(answerWithin))
	_, werr := p.conn.Write(b.Bytes())
	_ = p.conn.SetWriteDeadline(time.Time{})
	p.r.finish(werr)
	return werr == nil
}

// answerWriter collects a small answer.
type answerWriter struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (w *answerWriter) Header() http.Header         { return w.header }
func (w *answerWriter) WriteHeader(code int)        { w.code = code }
func (w *answerWriter) Write(p []byte) (int, error) { return w.body.Write(p) }

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
