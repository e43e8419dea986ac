// Package fault says what went wrong in the product's own terms. The store, the
// directory and the role packages return faults of a few kinds; every protocol
// keeps one table from kinds to its own replies, so that one fault is IMAP's
// NO [OVERQUOTA], SMTP's 452 4.2.2, an ActiveSync status and an HTTP code.
//
// A fault has two texts: Say, for the peer, gives nothing away; Err, for the
// log, says everything. An error without a kind is ours (Internal), and the
// peer hears only that.
package fault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// Kind is what went wrong, as a caller can act on it.
type Kind int

const (
	// Internal is a failure of ours that nobody classified.
	Internal Kind = iota
	// Invalid: the request makes no sense, and repeating it will not help.
	Invalid
	// Unauthenticated: the credentials are wrong, expired or revoked.
	Unauthenticated
	// Denied: the caller is known and may not do this.
	Denied
	// NotFound: the thing named does not exist, or the caller may not know that it does.
	NotFound
	// Exists: a thing of that name is already there.
	Exists
	// Conflict: somebody else changed it first.
	Conflict
	// OverQuota: the mailbox is full.
	OverQuota
	// TooLarge: the thing exceeds a limit on its size.
	TooLarge
	// Limit: too many things, or too many requests; slow down or ask for less.
	Limit
	// Resync: the position named is older than what is kept; begin anew.
	Resync
	// Unavailable: it may work later; nothing was changed.
	Unavailable
	kinds
)

var names = [kinds]string{
	"internal", "invalid", "unauthenticated", "denied", "not found", "exists",
	"conflict", "over quota", "too large", "limit", "resync", "unavailable",
}

// String gives the kind's name for logs.
func (k Kind) String() string {
	if k < 0 || k >= kinds {
		return fmt.Sprintf("kind %d", int(k))
	}
	return names[k]
}

// LogValue is the kind's name, in every format of the log.
func (k Kind) LogValue() slog.Value { return slog.StringValue(k.String()) }

// Kinds lists every kind, for tests that a protocol's table is total.
func Kinds() []Kind {
	all := make([]Kind, kinds)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

// Error is a fault.
type Error struct {
	Kind Kind
	Say  string // for the peer; no secret, no internal name
	Err  error  // for the log; may be nil
}

func (e *Error) Error() string {
	switch {
	case e.Err == nil:
		return e.Say
	case e.Say == "":
		return e.Err.Error()
	default:
		return e.Say + ": " + e.Err.Error()
	}
}

func (e *Error) Unwrap() error { return e.Err }

// Is reports two faults equal when their kinds are, so that
// errors.Is(err, fault.New(fault.NotFound, "")) works; fault.Of is shorter.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && t.Err == nil && t.Say == ""
}

// New makes a fault with a text for the peer.
func New(k Kind, format string, args ...any) error {
	return &Error{Kind: k, Say: fmt.Sprintf(format, args...)}
}

// From gives err a kind and a text for the peer. A nil err stays nil.
func From(k Kind, err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: k, Say: fmt.Sprintf(format, args...), Err: err}
}

// Of tells the kind of err. The end of a context is Unavailable; an error that
// nobody classified is Internal.
func Of(err error) Kind {
	var f *Error
	switch {
	case errors.As(err, &f):
		return f.Kind
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Unavailable
	default:
		return Internal
	}
}

// Say gives the text for the peer: the fault's own, or a general one.
func Say(err error) string {
	var f *Error
	if errors.As(err, &f) && f.Say != "" {
		return f.Say
	}
	if Of(err) == Unavailable {
		return "temporarily unavailable"
	}
	return "internal error"
}

// Wrap adds where to a non-nil *err and keeps its kind. It is the first defer
// of a function: defer fault.Wrap(&err, "rename folder %v", id).
func Wrap(err *error, format string, args ...any) {
	if *err != nil {
		*err = fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), *err)
	}
}
