package directory

import (
	"time"

	"waypost/internal/fault"
)

// Problem is why right credentials let nobody in. It is told to nobody who did
// not show the right password.
type Problem int

// The problems, in the order in which they are looked for.
const (
	// AccountDisabled: somebody stopped sign-in.
	AccountDisabled Problem = iota + 1
	// AccountExpired: the account's last day has passed.
	AccountExpired
	// AppPasswordNeeded: the account has a second factor, which this door cannot
	// ask for: an application password is needed here.
	AppPasswordNeeded
	// FactorNeeded: the code of the second factor did not come along.
	FactorNeeded
	// FactorWrong: it did, and is wrong or was used before.
	FactorWrong
	// MustChange: the password must be changed first.
	MustChange
	// PasswordExpired: the password is older than its policy allows.
	PasswordExpired
	problems
)

var problemNames = [problems]string{
	"", "account disabled", "account expired", "application password needed", "second factor needed",
	"second factor wrong", "password must be changed", "password expired",
}

var problemTexts = [problems]string{
	"",
	"the account is disabled",
	"the account has expired",
	"the account has a second factor: an application password is needed here",
	"the code of the second factor is needed",
	"the code of the second factor is wrong",
	"the password must be changed before signing in",
	"the password has expired and must be changed",
}

// String gives the problem's name for logs and between processes.
func (p Problem) String() string {
	if p <= 0 || p >= problems {
		return "none"
	}
	return problemNames[p]
}

// Problems lists every problem, for tests that a door's table is total.
func Problems() []Problem {
	var all []Problem
	for p := AccountDisabled; p < problems; p++ {
		all = append(all, p)
	}
	return all
}

// SignInProblem is the fault of a sign-in with the right password that is
// refused nevertheless. fault.Of it is Unauthenticated.
type SignInProblem struct {
	Why Problem
	// Who showed the right password, where nothing but the password's age is in
	// the way (MustChange, PasswordExpired): who may change it. The zero
	// Principal otherwise, and from a directory in another process.
	Who Principal
}

// Error implements error.
func (p *SignInProblem) Error() string { return problemTexts[max(0, min(p.Why, problems-1))] }

// Unwrap gives the fault.
func (p *SignInProblem) Unwrap() error { return fault.New(fault.Unauthenticated, "%s", p.Error()) }

// Renewable tells whether a change of the password mends it.
func (p *SignInProblem) Renewable() bool { return p.Why == MustChange || p.Why == PasswordExpired }

// programs are the doors that programs sign in at by themselves, with a password
// that they keep: they cannot ask their owner for a second factor, and take
// application passwords.
var programs = map[string]bool{
	"imap": true, "pop3": true, "submission": true, "eas": true, "ldap": true, "dav": true,
	"caldav": true, "carddav": true, "autodiscover": true, "sieve": true, "jmap": true,
}

// Program tells whether the credentials came to a door for programs.
func (c Credentials) Program() bool { return programs[c.Door] }

// Session is a successful sign-in: a short-lived signed token (JWT, EdDSA) that
// every process verifies by itself with the key set and the account's epoch.
type Session struct {
	Principal Principal
	Token     string
	Expires   time.Time
	// Until is when the credentials stop to be good by themselves (the account or
	// the password expires); zero: never.
	Until time.Time
	// PasswordExpires is when the password does; zero: never.
	PasswordExpires time.Time
	// Warning is for the person who signed in, about a password that is to expire
	// within two weeks; "" for none.
	Warning string
}
