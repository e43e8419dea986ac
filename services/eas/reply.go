package eas

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
)

// The media types of ActiveSync (MS-ASHTTP 2.2.2.1.2).
const (
	typeWBXML     = "application/vnd.ms-sync.wbxml"
	typeMultipart = "application/vnd.ms-sync.multipart"
)

// reply answers with a document.
func (r *request) reply(n *wbxml.Node) error {
	return r.stream(func(e *wbxml.Encoder) error {
		e.Node(n)
		return nil
	})
}

// stream answers with a document that fn writes. While it is small an error of
// fn is still told as one; after that it cuts the connection, so that the phone
// does not take half an answer for a whole one.
func (r *request) stream(fn func(e *wbxml.Encoder) error) error {
	r.out.header().Set("Content-Type", typeWBXML)
	e := wbxml.NewEncoder(r.out)
	err := fn(e)
	if err == nil {
		err = e.Flush()
	}
	if err != nil {
		return err
	}
	r.done("ok")
	return nil
}

// replyStatus answers with a document that holds a Status only.
func (r *request) replyStatus(status int) error {
	r.done(strconv.Itoa(status))
	return r.reply(wbxml.New(r.command.root, wbxml.NewInt(r.command.status, status)))
}

// replyEmpty answers with 200 and no body.
func (r *request) replyEmpty() error {
	r.done("ok")
	r.out.header().Del("Content-Type")
	return nil
}

// replyRaw answers with size bytes of another type (GetAttachment).
func (r *request) replyRaw(contentType string, size int64, body io.Reader) error {
	h := r.out.header()
	h.Set("Content-Type", contentType)
	if !r.out.zip && size > heldBack {
		h.Set("Content-Length", strconv.FormatInt(size, 10))
	}
	if _, err := io.CopyN(r.out, body, size); err != nil {
		return err
	}
	r.done("ok")
	return nil
}

// part is binary data of a multipart answer.
type part struct {
	size int64
	open func() (io.Reader, error)
}

// replyMultipart answers with a document and the parts that it refers to by
// number, the first being 1 (MS-ASCMD 2.2.1.10.1.1).
func (r *request) replyMultipart(doc *wbxml.Node, parts []part) error {
	first, err := wbxml.Marshal(doc)
	if err != nil {
		return err
	}
	sizes := []int64{int64(len(first))}
	for _, p := range parts {
		sizes = append(sizes, p.size)
	}
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(sizes)))
	offset := int64(4 + 8*len(sizes))
	for _, size := range sizes {
		if offset+size > 1<<32-1 {
			return fault.New(fault.TooLarge, "the answer is too large")
		}
		head = binary.LittleEndian.AppendUint32(head, uint32(offset))
		head = binary.LittleEndian.AppendUint32(head, uint32(size))
		offset += size
	}
	r.out.header().Set("Content-Type", typeMultipart)
	if _, err := r.out.Write(append(head, first...)); err != nil {
		return err
	}
	for i, p := range parts {
		body, err := p.open()
		if err != nil {
			return fmt.Errorf("part %d: %w", i+1, err)
		}
		if _, err := io.CopyN(r.out, body, p.size); err != nil {
			return fmt.Errorf("part %d: %w", i+1, err)
		}
	}
	r.done("ok")
	return nil
}

// done notes for the log what was answered; the first word counts.
func (r *request) done(result string) {
	if r.result == "" {
		r.result = result
	}
}

// fail answers with what err says, if there is still an answer to give.
func (r *request) fail(err error) {
	r.result = ""
	if !r.out.reset() {
		r.out.broken = true
		r.done("cut")
		return
	}
	r.out.header().Del("Content-Type")
	r.out.header().Del("Content-Length")
	if h, ok := errors.AsType[httpError](err); ok {
		r.code(h.code)
		return
	}
	kind := fault.Of(err)
	common, code := faults[kind].status, faults[kind].code
	if s, ok := errors.AsType[statusError](err); ok {
		common, code = s.status, httpCodes[s.status]
		if common == StatusRemoteWipeRequested && !r.query.hasKey {
			code = http.StatusForbidden // MS-ASCMD 2.2.2
		}
	} else if _, ok := errors.AsType[*wbxml.SyntaxError](err); ok && kind == fault.Invalid {
		common = StatusInvalidWBXML
	}
	if code == http.StatusServiceUnavailable {
		r.out.header().Set("Retry-After", "30")
	}
	// MS-ASCMD 2.2.2: a Status in the body from 14.0 on, an HTTP code before.
	// Sign-in is HTTP's own matter in every version.
	inBody := !r.before(wbxml.V140) && r.command != nil && r.command.root != 0
	if !inBody || code == http.StatusUnauthorized {
		r.code(code)
		return
	}
	if err := r.replyStatus(common); err != nil {
		r.code(http.StatusInternalServerError)
	}
}

// code answers with an HTTP code and no body.
func (r *request) code(code int) {
	if code == http.StatusUnauthorized { // MS-ASHTTP 2.2.2.1.1
		r.out.header().Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%q", r.server.opt.Realm))
	}
	r.out.code = code
	r.done(strconv.Itoa(code))
}
