package ldap

import (
	"errors"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/services/ldap/ber"
)

// oidPolicy is the password-policy control (draft-behera-ldap-password-policy-10
// §6), which SSSD and pam_ldap ask with.
const oidPolicy = "1.3.6.1.4.1.42.2.27.8.5.1"

// Errors of its response (§6.2).
const (
	policyExpired = 0
	policyLocked  = 1
	policyReset   = 2
)

func (o *op) readPolicy(controlValue) error {
	o.ctl.policy = true
	return nil
}

// tellPolicy adds the response control to what a bind says about a failure.
func (o *op) tellPolicy(err error) {
	if !o.ctl.policy {
		return
	}
	var e ber.Encoder
	m := e.Begin(ber.Sequence)
	var problem *directory.SignInProblem
	switch {
	case fault.Of(err) == fault.Limit:
		e.Int(ber.Context(1), policyLocked)
	case !errors.As(err, &problem):
	case problem.Why == directory.PasswordExpired:
		e.Int(ber.Context(1), policyExpired)
	case problem.Why == directory.MustChange:
		e.Int(ber.Context(1), policyReset)
	}
	e.End(m)
	o.controls = append(o.controls, responseControl{oidPolicy, string(e.Buf)})
}
