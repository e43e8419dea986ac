package ldap

import (
	"errors"
	"fmt"

	"waypost/directory/tree"
	"waypost/internal/fault"
	"waypost/services/ldap/ber"
)

// code is a result code (RFC 4511 §4.1.9 and the registry). Those that the tree
// refuses with are tree.Code and have the same numbers.
type code int

const (
	codeSuccess               code = 0
	codeOperationsError       code = 1
	codeProtocolError         code = 2
	codeTimeLimit             code = 3
	codeSizeLimit             code = 4
	codeCompareFalse          code = 5
	codeCompareTrue           code = 6
	codeAuthMethod            code = 7
	codeStrongerAuth          code = 8
	codeReferral              code = 10
	codeAdminLimit            code = 11
	codeCriticalExtension     code = 12
	codeConfidentiality       code = 13
	codeSASLInProgress        code = 14
	codeNoSuchAttribute       code = 16
	codeInappropriateMatching code = 18
	codeConstraintViolation   code = 19
	codeInvalidSyntax         code = 21
	codeNoSuchObject          code = 32
	codeInvalidDN             code = 34
	codeInappropriateAuth     code = 48
	codeInvalidCredentials    code = 49
	codeInsufficientAccess    code = 50
	codeBusy                  code = 51
	codeUnavailable           code = 52
	codeUnwilling             code = 53
	codeSortControlMissing    code = 60 // draft-ietf-ldapext-ldapv3-vlv-09
	codeOffsetRange           code = 61
	codeEntryExists           code = 68
	codeOther                 code = 80
	codeCanceled              code = 118 // RFC 3909
	codeNoSuchOperation       code = 119
	codeTooLate               code = 120
	codeCannotCancel          code = 121
	codeAssertionFailed       code = 122  // RFC 4528
	codeSyncRefreshRequired   code = 4096 // RFC 4533
)

// codeNames are the names of the codes that are ever sent, for logs and metrics.
var codeNames = map[code]string{
	0: "success", 1: "operationsError", 2: "protocolError", 3: "timeLimitExceeded", 4: "sizeLimitExceeded",
	5: "compareFalse", 6: "compareTrue", 7: "authMethodNotSupported", 8: "strongerAuthRequired", 10: "referral",
	11: "adminLimitExceeded", 12: "unavailableCriticalExtension", 13: "confidentialityRequired",
	14: "saslBindInProgress", 16: "noSuchAttribute", 17: "undefinedAttributeType", 18: "inappropriateMatching",
	19: "constraintViolation", 20: "attributeOrValueExists", 21: "invalidAttributeSyntax", 32: "noSuchObject",
	34: "invalidDNSyntax", 48: "inappropriateAuthentication", 49: "invalidCredentials",
	50: "insufficientAccessRights", 51: "busy", 52: "unavailable", 53: "unwillingToPerform",
	60: "sortControlMissing", 61: "offsetRangeError", 64: "namingViolation", 65: "objectClassViolation",
	66: "notAllowedOnNonLeaf", 67: "notAllowedOnRDN", 68: "entryAlreadyExists", 71: "affectsMultipleDSAs",
	80: "other", 118: "canceled", 119: "noSuchOperation", 120: "tooLate", 121: "cannotCancel",
	122: "assertionFailed", 4096: "e-syncRefreshRequired",
}

func (c code) String() string {
	if n, ok := codeNames[c]; ok {
		return n
	}
	return fmt.Sprintf("code %d", int(c))
}

// codes is the result code of each kind of fault; a test keeps it total. The
// tree usually says it more exactly, by a *tree.Refusal.
var codes = map[fault.Kind]code{
	fault.Internal:        codeOther,
	fault.Invalid:         codeUnwilling,
	fault.Unauthenticated: codeInvalidCredentials,
	fault.Denied:          codeInsufficientAccess,
	fault.NotFound:        codeNoSuchObject,
	fault.Exists:          codeEntryExists,
	fault.Conflict:        codeBusy,
	fault.OverQuota:       codeAdminLimit,
	fault.TooLarge:        codeAdminLimit,
	fault.Limit:           codeAdminLimit,
	fault.Resync:          codeSyncRefreshRequired,
	fault.Unavailable:     codeUnavailable,
}

// refusal is a result of the protocol itself.
type refusal struct {
	code code
	text string
}

func (r *refusal) Error() string { return r.code.String() + ": " + r.text }

func refuse(c code, format string, args ...any) error {
	return &refusal{c, fmt.Sprintf(format, args...)}
}

// Errors of operations that get no result or another one.
var (
	errAbandoned = errors.New("abandoned")
	errCanceled  = errors.New("canceled")
	// errAnswered is returned by an operation that has sent its result.
	errAnswered = errors.New("answered")
)

// result is an LDAPResult (RFC 4511 §4.1.9).
type result struct {
	code     code
	matched  string
	text     string
	referral []string
}

// malformed tells whether err is that of bytes that are no BER of LDAP.
func malformed(err error) bool {
	for _, e := range []error{ber.ErrTruncated, ber.ErrTag, ber.ErrLength, ber.ErrInteger, ber.ErrBoolean, ber.ErrTrailing} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// resultOf turns what an operation returned into its result.
func (s *Server) resultOf(err error) result {
	if err == nil {
		return result{}
	}
	var (
		own      *refusal
		refused  *tree.Refusal
		referral *tree.Referral
	)
	switch {
	case errors.As(err, &own):
		return result{code: own.code, text: own.text}
	case errors.As(err, &refused):
		return result{code: code(refused.Code), matched: refused.Matched.String(), text: fault.Say(err)}
	case errors.As(err, &referral):
		return result{code: codeReferral, text: "another naming context", referral: []string{s.url(referral.DN, referral.Host)}}
	}
	return result{code: codes[fault.Of(err)], text: fault.Say(err)}
}

// appendResult writes the components of LDAPResult.
func (r *result) appendTo(e *ber.Encoder) {
	e.Int(ber.Enumerated, int64(r.code))
	e.Octets(r.matched)
	e.Octets(r.text)
	if len(r.referral) > 0 {
		m := e.Begin(ber.ContextOf(3))
		for _, u := range r.referral {
			e.Octets(u)
		}
		e.End(m)
	}
}

// oidNotice names the Notice of Disconnection (RFC 4511 §4.4.1).
const oidNotice = "1.3.6.1.4.1.1466.20036"

// notice is the message that ends a connection.
func notice(c code, text string) []byte {
	var e ber.Encoder
	m := e.Begin(ber.Sequence)
	e.Int(ber.Integer, 0)
	x := e.Begin(ber.ApplicationOf(24))
	r := result{code: c, text: text}
	r.appendTo(&e)
	e.String(ber.Context(10), oidNotice)
	e.End(x)
	e.End(m)
	return e.Buf
}
