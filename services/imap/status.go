package imap

import (
	"errors"
	"fmt"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/services/imap/imapwire"
)

// reply is a tagged reply other than OK: an error of the protocol itself.
type reply struct {
	status string // NO or BAD
	code   string // response code without brackets (RFC 9051 section 7.1), or ""
	text   string
}

func (r *reply) Error() string {
	if r.code != "" {
		return r.status + " [" + r.code + "] " + r.text
	}
	return r.status + " " + r.text
}

func no(code, format string, args ...any) error {
	return &reply{"NO", code, fmt.Sprintf(format, args...)}
}

func bad(code, format string, args ...any) error {
	return &reply{"BAD", code, fmt.Sprintf(format, args...)}
}

func isReply(err error) bool {
	var r *reply
	return errors.As(err, &r)
}

// fatalError ends the connection without a tagged reply, for none can be sent
// or none would be understood.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }
func (e *fatalError) Unwrap() error { return e.err }

func isFatal(err error) bool {
	if err == nil {
		return false
	}
	var f *fatalError
	return errors.As(err, &f)
}

// errAnswered is returned by a command that has sent its tagged reply.
var errAnswered = errors.New("answered")

// codes is the response code of each kind of fault (RFC 9051 section 7.1, RFC
// 5530); a test keeps it total. A command may choose a better one by looking at
// the kind itself (TRYCREATE, EXPUNGEISSUED).
var codes = map[fault.Kind]string{
	fault.Internal:        "SERVERBUG",
	fault.Invalid:         "CANNOT",
	fault.Unauthenticated: "AUTHENTICATIONFAILED",
	fault.Denied:          "NOPERM",
	fault.NotFound:        "NONEXISTENT",
	fault.Exists:          "ALREADYEXISTS",
	fault.Conflict:        "INUSE",
	fault.OverQuota:       "OVERQUOTA",
	fault.TooLarge:        "TOOBIG", // RFC 7889
	fault.Limit:           "LIMIT",
	fault.Resync:          "UNAVAILABLE",
	fault.Unavailable:     "UNAVAILABLE",
}

// problemCodes are those of sign-ins that a right password was shown for (RFC
// 5530 section 3).
var problemCodes = map[directory.Problem]string{
	directory.AccountDisabled:   "CONTACTADMIN",
	directory.AccountExpired:    "EXPIRED",
	directory.AppPasswordNeeded: "AUTHORIZATIONFAILED",
	directory.FactorNeeded:      "AUTHORIZATIONFAILED",
	directory.FactorWrong:       "AUTHORIZATIONFAILED",
	directory.MustChange:        "EXPIRED",
	directory.PasswordExpired:   "EXPIRED",
}

// replyFor turns what a command returned into its tagged reply.
func replyFor(err error) reply {
	if err == nil {
		return reply{}
	}
	var (
		r      *reply
		syntax *imapwire.SyntaxError
		tooBig *imapwire.TooBigError
		signIn *directory.SignInProblem
	)
	switch {
	case errors.As(err, &signIn):
		return reply{"NO", problemCodes[signIn.Why], sayable(signIn.Error())}
	case errors.As(err, &r):
		return *r
	case errors.As(err, &syntax):
		return reply{"BAD", "", "Syntax: " + syntax.Error()}
	case errors.As(err, &tooBig):
		return reply{"BAD", "TOOBIG", "Literal too large"}
	}
	return reply{"NO", codes[fault.Of(err)], sayable(fault.Say(err))}
}

// sayable makes a text fit for a line of resp-text.
func sayable(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	if len(b) == 0 {
		return "failed"
	}
	return string(b)
}
