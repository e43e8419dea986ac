package ldap

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/services/ldap/ber"
)

// operation is a row of the table of operations.
type operation struct {
	name string // for the log and the metrics
	run  func(*op) error
	// response is the number of the response's application tag.
	response int
	on       applies // which controls it takes
	// alone: on the reading goroutine, when nothing else is under way. It waits
	// for the others itself.
	alone bool
	// write: in the order sent; never cut off halfway by the client's leaving.
	write bool
	// guest: allowed before sign-in.
	guest bool
	// free: takes no place among the operations under way.
	free bool
}

// operations is every operation there is but unbind and abandon, which have no
// response and are done while reading (RFC 4511 §4.2 to §4.12).
var operations map[ber.Tag]*operation

func init() { // for the handlers refer to the tables
	operations = map[ber.Tag]*operation{
		ber.ApplicationOf(0):  {name: "bind", run: (*op).bind, response: 1, on: onBind, alone: true, guest: true},
		ber.ApplicationOf(3):  {name: "search", run: (*op).search, response: 5, on: onSearch, guest: true},
		ber.ApplicationOf(6):  {name: "modify", run: (*op).modify, response: 7, on: onModify, write: true},
		ber.ApplicationOf(8):  {name: "add", run: (*op).add, response: 9, on: onAdd, write: true},
		ber.Application(10):   {name: "delete", run: (*op).delete, response: 11, on: onDelete, write: true},
		ber.ApplicationOf(12): {name: "modifydn", run: (*op).modifyDN, response: 13, on: onModifyDN, write: true},
		ber.ApplicationOf(14): {name: "compare", run: (*op).compare, response: 15, on: onCompare},
		tagExtended:           {name: "extended", run: (*op).unknownExtension, response: 24, guest: true},
	}
}

const (
	tagUnbind   = ber.Tag(0x42) // [APPLICATION 2], primitive
	tagAbandon  = ber.Tag(0x50) // [APPLICATION 16], primitive
	tagExtended = ber.Tag(0x77) // [APPLICATION 23]
)

// op is one operation under way.
type op struct {
	c    *conn
	id   int32
	kind *operation
	// body is the request: the content of protocolOp, or of an extended
	// request its value.
	body        string
	hasValue    bool // of an extended request
	rawControls string
	ctl         *controls
	who         directory.Principal
	start       time.Time

	ctx    context.Context
	cancel context.CancelCauseFunc
	place  bool          // it takes one of the places
	turn   chan struct{} // of a write: closed when the one before is done
	done   chan struct{} // closed at the end if somebody waits; of c.mu

	e ber.Encoder // answers not sent yet
	// Of the answer.
	matched  string
	extra    func(*ber.Encoder) // components behind LDAPResult
	controls []responseControl
	code     code
	entries  int
	watch    bool // a persistent search: it lasts until it is cut off; of c.mu
}

// responseControl is a control of a response.
type responseControl struct {
	oid, value string
}

// request is an LDAPMessage, read as far as every operation has it.
type request struct {
	id       int64
	tag      ber.Tag
	body     string
	controls string
}

// parseRequest reads the envelope (RFC 4511 §4.1.1).
func parseRequest(msg string) (r request, err error) {
	d := ber.NewDecoder(msg)
	s := d.Inside(ber.Sequence)
	r.id = s.Int()
	r.tag, r.body = s.Any()
	r.controls, _ = s.Optional(ber.ContextOf(0))
	d.Close(&s)
	return r, d.Err()
}

// buffers keep what answers were encoded in.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

const (
	// sendAt is how much is encoded before it is sent.
	sendAt = 32 << 10
	// keepAt bounds the buffers that are kept for others.
	keepAt = 64 << 10
)

// run executes the operation and sends its result.
func (o *op) run() {
	buf := buffers.Get().(*[]byte)
	o.e.Buf = (*buf)[:0]
	err := o.execute()
	o.conclude(err)
	if cap(o.e.Buf) <= keepAt {
		*buf = o.e.Buf[:0]
		buffers.Put(buf)
	}
	o.log(err)
}

func (o *op) execute() error {
	if o.turn != nil {
		select {
		case <-o.turn:
		case <-o.ctx.Done():
			return o.ctx.Err()
		}
	}
	// Who may not ask is told so before what is wrong with the question.
	if !o.kind.guest && !o.signedIn() {
		return errSignIn
	}
	if err := o.readControls(); err != nil {
		return err
	}
	return o.kind.run(o)
}

// errSignIn has the words by which clients of Active Directory know it.
var errSignIn = &refusal{codeOperationsError, "000004DC: LdapErr: DSID-0C090A37, comment: In order to perform this operation a successful bind must be completed on the connection., data 0, v1db1"}

// signedIn tells whether the tree may be asked.
func (o *op) signedIn() bool { return o.who.ID != 0 || o.who.Roles != 0 || o.c.server.cfg.Anonymous }

// conclude sends the result for what the operation returned.
func (o *op) conclude(err error) {
	if cause := context.Cause(o.ctx); err != nil && cause != nil && !o.kind.write {
		err = cause
	}
	var r result
	switch {
	case errors.Is(err, errAbandoned): // RFC 4511 §4.11: no response
		o.code = codeCanceled
		return
	case errors.Is(err, errAnswered):
		return
	case malformed(err):
		o.code = codeProtocolError
		o.c.end(codeProtocolError, "the request is not LDAP's BER: "+err.Error(), true)
		return
	case errors.Is(err, errCanceled):
		r = result{code: codeCanceled, text: "canceled"}
	default:
		r = o.c.server.resultOf(err)
	}
	if r.matched == "" {
		r.matched = o.matched
	}
	if err == nil && o.code != 0 {
		r.code = o.code // compareTrue and compareFalse
	}
	o.code = r.code
	o.c.forget(o)
	m := o.e.Begin(ber.Sequence)
	o.e.Int(ber.Integer, int64(o.id))
	x := o.e.Begin(ber.ApplicationOf(o.kind.response))
	r.appendTo(&o.e)
	if o.extra != nil {
		o.extra(&o.e)
	}
	o.e.End(x)
	appendControls(&o.e, o.controls)
	o.e.End(m)
	_ = o.send() // a connection that cannot be written to has ended by that
}

func appendControls(e *ber.Encoder, all []responseControl) {
	if len(all) == 0 {
		return
	}
	m := e.Begin(ber.ContextOf(0))
	for _, c := range all {
		x := e.Begin(ber.Sequence)
		e.Octets(c.oid)
		e.Octets(c.value)
		e.End(x)
	}
	e.End(m)
}

// send writes what was encoded to the client.
func (o *op) send() error {
	if len(o.e.Buf) == 0 {
		return nil
	}
	err := o.c.out.send(o.c.nc, o.e.Buf)
	o.e.Buf = o.e.Buf[:0]
	if err != nil {
		o.c.lost(err)
		return errAbandoned
	}
	return nil
}

// log writes the operation's line and counts it.
func (o *op) log(err error) {
	dur := time.Since(o.start)
	o.c.server.metrics.count(o, dur)
	// A line for every search would be most of the log: what went well and is
	// no sign-in is for those who ask for it.
	level := slog.LevelDebug
	switch {
	case o.code == codeOther:
		level = slog.LevelError
	case o.kind.alone || o.kind.write:
		level = slog.LevelInfo
	}
	log := o.c.server.cfg.Log
	if !log.Enabled(o.ctx, level) {
		return
	}
	who := o.who
	if o.kind.alone {
		who = o.c.who
	}
	attrs := []slog.Attr{
		slog.String("proto", "ldap"), slog.String("cmd", o.kind.name), slog.String("user", who.Address),
		slog.Duration("dur", dur), slog.String("result", o.code.String()), slog.String("from", o.c.from.String()),
		slog.String("id", o.c.name()+"."+strconv.Itoa(int(o.id))),
	}
	if o.kind.response == 5 {
		attrs = append(attrs, slog.Int("entries", o.entries))
	}
	if err != nil && !errors.Is(err, errAnswered) {
		var own *refusal
		if !errors.As(err, &own) {
			attrs = append(attrs, slog.String("fault", fault.Of(err).String()))
		}
		attrs = append(attrs, slog.String("err", err.Error()))
	}
	log.LogAttrs(o.ctx, level, "operation", attrs...)
}
