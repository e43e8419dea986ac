package smtpguard

import (
	"errors"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/internal/fault"
)

// replies is the table from kinds of fault to SMTP and LMTP replies (RFC 5321
// section 4.2, RFC 3463). A failure of ours is always temporary: the peer keeps
// the message and tries again.
var replies = map[fault.Kind]gosmtp.SMTPError{
	fault.Internal:        {Code: 451, EnhancedCode: gosmtp.EnhancedCode{4, 3, 0}, Message: "Internal error, try again later"},
	fault.Invalid:         {Code: 554, EnhancedCode: gosmtp.EnhancedCode{5, 6, 0}, Message: "Message not acceptable"},
	fault.Unauthenticated: {Code: 535, EnhancedCode: gosmtp.EnhancedCode{5, 7, 8}, Message: "Authentication credentials invalid"},
	fault.Denied:          {Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 7, 1}, Message: "Not authorised"},
	fault.NotFound:        {Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "No such user here"},
	fault.Exists:          {Code: 451, EnhancedCode: gosmtp.EnhancedCode{4, 3, 0}, Message: "Conflict, try again later"},
	fault.Conflict:        {Code: 451, EnhancedCode: gosmtp.EnhancedCode{4, 3, 0}, Message: "Conflict, try again later"},
	fault.OverQuota:       {Code: 452, EnhancedCode: gosmtp.EnhancedCode{4, 2, 2}, Message: "Mailbox full"},
	fault.TooLarge:        {Code: 552, EnhancedCode: gosmtp.EnhancedCode{5, 3, 4}, Message: "Message too big"},
	fault.Limit:           {Code: 451, EnhancedCode: gosmtp.EnhancedCode{4, 7, 0}, Message: "Too many requests, slow down"},
	fault.Resync:          {Code: 451, EnhancedCode: gosmtp.EnhancedCode{4, 3, 0}, Message: "Internal error, try again later"},
	fault.Unavailable:     {Code: 451, EnhancedCode: gosmtp.EnhancedCode{4, 3, 2}, Message: "Temporarily unavailable, try again later"},
}

// Reply gives the reply for an error: the error itself if it is one, otherwise
// the table's for its kind, with the fault's own text for the peer.
func Reply(err error) *gosmtp.SMTPError {
	var own *gosmtp.SMTPError
	if errors.As(err, &own) {
		return own
	}
	r, ok := replies[fault.Of(err)]
	if !ok {
		r = replies[fault.Internal]
	}
	var f *fault.Error
	if errors.As(err, &f) && f.Say != "" && f.Kind != fault.Internal {
		r.Message = clean(f.Say)
	}
	return &r
}

// Errorf makes a reply with code and status "x.y.z" written as three numbers.
func Errorf(code int, status [3]int, text string) *gosmtp.SMTPError {
	return &gosmtp.SMTPError{Code: code, EnhancedCode: status, Message: text}
}

// clean keeps a text on one line of printable ASCII.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\r' || r == '\n' || r == '\t':
			return ' '
		case r < ' ' || r > '~':
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), 400)]
}
