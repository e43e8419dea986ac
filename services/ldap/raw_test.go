package ldap

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"waypost/services/ldap/ber"
)

// raw speaks LDAP byte by byte.
type raw struct {
	t  testing.TB
	c  net.Conn
	in []byte
}

func dialRaw(t testing.TB, addr string) *raw {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return &raw{t: t, c: c}
}

// message makes an LDAPMessage from a protocolOp and controls.
func message(id int64, op string, controls ...string) string {
	var e ber.Encoder
	m := e.Begin(ber.Sequence)
	e.Int(ber.Integer, id)
	e.Raw(op)
	if len(controls) > 0 {
		c := e.Begin(ber.ContextOf(0))
		for _, x := range controls {
			e.Raw(x)
		}
		e.End(c)
	}
	e.End(m)
	return string(e.Buf)
}

// element makes one.
func element(t ber.Tag, parts ...string) string {
	var e ber.Encoder
	m := e.Begin(t)
	for _, p := range parts {
		e.Raw(p)
	}
	e.End(m)
	return string(e.Buf)
}

func octets(s string) string { return element(ber.Octets, s) }
func integer(n int64) string {
	var e ber.Encoder
	e.Int(ber.Integer, n)
	return string(e.Buf)
}

func enumerated(n int64) string { return "\x0a" + integer(n)[1:] }

func boolean(b bool) string {
	if b {
		return "\x01\x01\xff"
	}
	return "\x01\x01\x00"
}

func controlOf(oid string, critical bool, value string) string {
	return element(ber.Sequence, octets(oid), boolean(critical), octets(value))
}

func bindOp(name, password string) string {
	return element(ber.ApplicationOf(0), integer(3), octets(name), element(ber.Context(0), password))
}

func searchOp(base string, scope int64, filter string, attributes ...string) string {
	var list string
	for _, a := range attributes {
		list += octets(a)
	}
	return element(ber.ApplicationOf(3), octets(base), enumerated(scope), enumerated(0), integer(0), integer(0), boolean(false), filter, element(ber.Sequence, list))
}

const anyObject = "\x87\x0bobjectClass"

func equal(attribute, value string) string {
	return element(ber.ContextOf(3), octets(attribute), octets(value))
}

func (r *raw) send(s string) {
	r.t.Helper()
	if _, err := io.WriteString(r.c, s); err != nil {
		r.t.Fatal(err)
	}
}

// response is a message of the server's.
type response struct {
	id       int64
	tag      ber.Tag
	body     string
	controls string
	code     code
	text     string
}

// receive reads one message; io.EOF is the end of the connection.
func (r *raw) receive() (response, error) {
	for {
		size, err := ber.Frame(r.in, ber.Sequence)
		if err != nil {
			return response{}, err
		}
		if size > 0 && size <= len(r.in) {
			msg := string(r.in[:size])
			r.in = r.in[size:]
			q, err := parseRequest(msg)
			x := response{id: q.id, tag: q.tag, body: q.body, controls: q.controls}
			if q.tag != ber.ApplicationOf(4) && q.tag != ber.ApplicationOf(19) && q.tag != ber.ApplicationOf(25) {
				d := ber.NewDecoder(q.body)
				x.code = code(d.Enum())
				d.Octets()
				x.text = d.Octets()
			}
			return x, err
		}
		b := make([]byte, 64<<10)
		n, err := r.c.Read(b)
		r.in = append(r.in, b[:n]...)
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				return response{}, io.EOF
			}
			return response{}, err
		}
	}
}

// want reads one message, which is a result with this id and code.
func (r *raw) want(id int64, c code) response {
	r.t.Helper()
	x, err := r.receive()
	if err != nil {
		r.t.Fatalf("message %d: %v", id, err)
	}
	if x.id != id || x.code != c {
		r.t.Errorf("message %d with %v (%s), want %d with %v", x.id, x.code, x.text, id, c)
	}
	return x
}

// results reads up to the result of a search, and gives the number of entries.
func (r *raw) results(id int64) (done response, entries []response) {
	r.t.Helper()
	for {
		x, err := r.receive()
		if err != nil {
			r.t.Fatalf("message %d: %v", id, err)
		}
		if x.id != id {
			r.t.Fatalf("message %d (%v), want %d", x.id, x.text, id)
		}
		if x.tag == ber.ApplicationOf(5) {
			return x, entries
		}
		entries = append(entries, x)
	}
}

// wantNotice reads the notice of disconnection and the end.
func (r *raw) wantNotice(what string, c code) {
	r.t.Helper()
	x, err := r.receive()
	if err != nil {
		r.t.Errorf("%s: %v, want a notice", what, err)
		return
	}
	if x.id != 0 || x.tag != ber.ApplicationOf(24) || x.code != c {
		r.t.Errorf("%s: message %d %x with %v (%s), want a notice with %v", what, x.id, x.tag, x.code, x.text, c)
	}
	if x, err := r.receive(); err == nil {
		r.t.Errorf("%s: the connection goes on with %d", what, x.id)
	}
}

func (r *raw) bind() {
	r.t.Helper()
	r.send(message(1, bindOp("ann", "secret")))
	r.want(1, codeSuccess)
}
