package dav

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"

	"waypost/internal/fault"
)

// codes has the HTTP code of every kind of fault.
var codes = map[fault.Kind]int{
	fault.Internal:        http.StatusInternalServerError,
	fault.Invalid:         http.StatusBadRequest,
	fault.Unauthenticated: http.StatusUnauthorized,
	fault.Denied:          http.StatusForbidden,
	fault.NotFound:        http.StatusNotFound,
	fault.Exists:          http.StatusConflict,
	fault.Conflict:        http.StatusConflict,
	fault.OverQuota:       http.StatusInsufficientStorage,
	fault.TooLarge:        http.StatusRequestEntityTooLarge,
	fault.Limit:           http.StatusTooManyRequests,
	fault.Resync:          http.StatusForbidden,
	fault.Unavailable:     http.StatusServiceUnavailable,
}

// httpError is an answer by code alone.
type httpError int

func (e httpError) Error() string { return http.StatusText(int(e)) }

// condition is a precondition or postcondition that failed (RFC 4918 section 16):
// a code and an element in DAV:error, with a link in it where the standard wants
// one.
type condition struct {
	code int
	name xml.Name
	href string
	text string // for people
}

func (e *condition) Error() string {
	if e.text != "" {
		return fmt.Sprintf("%s: %s", e.name.Local, e.text)
	}
	return e.name.Local
}

func failed(code int, name xml.Name, format string, args ...any) error {
	return &condition{code: code, name: name, text: fmt.Sprintf(format, args...)}
}

// errPrecondition is a failed If-Match or If-None-Match (RFC 9110 section 13).
var errPrecondition = httpError(http.StatusPreconditionFailed)

// codeOf is the HTTP code that tells of an error.
func codeOf(err error) int {
	var c *condition
	var h httpError
	switch {
	case errors.As(err, &c):
		return c.code
	case errors.As(err, &h):
		return int(h)
	}
	return codes[fault.Of(err)]
}

// conditionOf is the precondition element that belongs to an error, if any.
func conditionOf(err error) *condition {
	var c *condition
	if errors.As(err, &c) {
		return c
	}
	switch fault.Of(err) {
	case fault.Denied:
		return &condition{name: davName("need-privileges")} // RFC 3744 section 7.1.1
	case fault.OverQuota:
		return &condition{name: davName("quota-not-exceeded")} // RFC 4331 section 6
	case fault.Resync:
		return &condition{name: davName("valid-sync-token")} // RFC 6578 section 3.2
	}
	return nil
}

// fail answers with an error, unless half of an answer is out already.
func (r *request) fail(err error) {
	if !r.out.reset() {
		return
	}
	h := r.out.header()
	r.out.code = codeOf(err)
	switch r.out.code {
	case http.StatusUnauthorized:
		r.server.challenge(h)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", "30")
	}
	h.Del("ETag")
	c := conditionOf(err)
	if c == nil {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		text := http.StatusText(r.out.code)
		if fault.Of(err) != fault.Internal {
			text = fault.Say(err)
		}
		_, _ = r.out.Write([]byte(text + "\n"))
		return
	}
	h.Set("Content-Type", xmlType)
	var x xmlWriter
	x.begin(davName("error"))
	x.condition(c)
	x.end(davName("error"))
	_, _ = r.out.Write(x.b)
}

// condition writes the element of a failed precondition.
func (x *xmlWriter) condition(c *condition) {
	if c.href == "" {
		x.empty(c.name)
	} else {
		x.open(c.name)
		x.href(c.href)
		x.close(c.name)
	}
	if c.text != "" {
		x.text(davName("responsedescription"), c.text)
	}
}
