package tree

import (
	"fmt"

	"waypost/internal/fault"
)

// Code is an LDAP result code (RFC 4511 appendix A and the registry).
type Code int

// The codes that the tree itself refuses with.
const (
	ResultTimeLimit             Code = 3
	ResultSizeLimit             Code = 4
	ResultStrongerAuthRequired  Code = 8
	ResultReferral              Code = 10
	ResultAdminLimit            Code = 11
	ResultNoSuchAttribute       Code = 16
	ResultUndefinedType         Code = 17
	ResultInappropriateMatching Code = 18
	ResultConstraintViolation   Code = 19
	ResultValueExists           Code = 20
	ResultInvalidSyntax         Code = 21
	ResultNoSuchObject          Code = 32
	ResultInvalidDNSyntax       Code = 34
	ResultInappropriateAuth     Code = 48
	ResultInsufficientAccess    Code = 50
	ResultBusy                  Code = 51
	ResultUnavailable           Code = 52
	ResultUnwillingToPerform    Code = 53
	ResultNamingViolation       Code = 64
	ResultObjectClassViolation  Code = 65
	ResultNotAllowedOnNonLeaf   Code = 66
	ResultNotAllowedOnRDN       Code = 67
	ResultEntryAlreadyExists    Code = 68
	ResultAffectsMultipleDSAs   Code = 71
	ResultOther                 Code = 80
	ResultAssertionFailed       Code = 122
)

// Refusal is a fault with LDAP's own word for it, which is finer than
// fault.Kind. fault.Of gives its kind, fault.Say its text.
type Refusal struct {
	Code    Code
	Matched DN // of ResultNoSuchObject: the nearest entry above that is there
	fault   error
}

// Refuse makes a refusal; text is for the peer.
func Refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, fault: fault.New(kindOf(code), format, args...)}
}

// Error implements error.
func (r *Refusal) Error() string { return fmt.Sprintf("%v (LDAP %d)", r.fault, int(r.Code)) }

// Unwrap gives the fault.
func (r *Refusal) Unwrap() error { return r.fault }

func kindOf(c Code) fault.Kind {
	switch c {
	case ResultNoSuchObject, ResultNoSuchAttribute:
		return fault.NotFound
	case ResultEntryAlreadyExists, ResultValueExists:
		return fault.Exists
	case ResultInsufficientAccess, ResultStrongerAuthRequired:
		return fault.Denied
	case ResultInappropriateAuth:
		return fault.Unauthenticated
	case ResultTimeLimit, ResultSizeLimit, ResultAdminLimit:
		return fault.Limit
	case ResultAssertionFailed:
		return fault.Conflict
	case ResultBusy, ResultUnavailable:
		return fault.Unavailable
	case ResultOther:
		return fault.Internal
	}
	return fault.Invalid
}

// Referral tells that another naming context goes on from here. Search gives it
// as an error when the base itself lies elsewhere.
type Referral struct {
	DN   DN
	Host string // "" for ourselves
}

// Error implements error.
func (r *Referral) Error() string { return "referred to another naming context" }
