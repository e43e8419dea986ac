package directory

import (
	"context"
	"time"
)

// Accounts is what is kept about signing in besides the password: policies, the
// state of an account, application passwords, the second factor, and the log of
// who changed what. People read and change what is their own; the rest needs an
// administrator or the right to reset the account's password.
type Accounts interface {
	// Policies lists the policies for passwords, the strongest first, the default
	// at the end.
	Policies(ctx context.Context, as Principal) ([]Policy, error)
	// SetPolicy makes a policy or replaces the one of its name; DefaultPolicy is
	// that of whom no other is for.
	SetPolicy(ctx context.Context, as Principal, p Policy) (Policy, error)
	RemovePolicy(ctx context.Context, as Principal, name string) error

	// AccountState tells how an account stands.
	AccountState(ctx context.Context, as Principal, id ObjectID) (AccountState, error)
	// SetMustChange demands a change of the password at the next sign-in, or no
	// more. To demand it ends what was granted.
	SetMustChange(ctx context.Context, as Principal, id ObjectID, must bool) error
	// SetExpires ends the account at a time; zero: never.
	SetExpires(ctx context.Context, as Principal, id ObjectID, at time.Time) error
	// Unlock forgives failed sign-ins.
	Unlock(ctx context.Context, as Principal, id ObjectID) error

	// AppPasswords lists an account's application passwords by age.
	AppPasswords(ctx context.Context, as Principal, id ObjectID) ([]AppPassword, error)
	// AddAppPassword makes one; its secret is never told again.
	AddAppPassword(ctx context.Context, as Principal, id ObjectID, name string) (a AppPassword, secret string, err error)
	// RemoveAppPassword revokes one by its name. What was granted to the account
	// ends; who shows another right password signs in again.
	RemoveAppPassword(ctx context.Context, as Principal, id ObjectID, name string) error

	// BeginFactor makes the secret of a second factor (TOTP, RFC 6238), which
	// counts from ConfirmFactor on.
	BeginFactor(ctx context.Context, as Principal, id ObjectID) (FactorKey, error)
	// ConfirmFactor turns the second factor on for who has shown a right code, and
	// gives codes that each work once instead of one.
	ConfirmFactor(ctx context.Context, as Principal, id ObjectID, code string) (recovery []string, err error)
	// RemoveFactor turns the second factor off.
	RemoveFactor(ctx context.Context, as Principal, id ObjectID) error

	// Audit reads the log of changes, newest first. Administrators only.
	Audit(ctx context.Context, as Principal, q AuditQuery) ([]AuditLine, error)
}

// DefaultPolicy names the policy of whom no other is for.
const DefaultPolicy = "default"

// Policy is what passwords must be (AD's fine-grained policies). The one that
// names the account itself goes before those that name groups it is in, these
// before those that name a container it is in, of which the nearest decides;
// among several of one kind the lowest Precedence does.
type Policy struct {
	Name       string
	ID         ObjectID // 0: of the default
	Precedence int      // 1 is the strongest; 0 for the default
	MinLength  int      // characters
	// History is how many passwords, the present one among them, must not come
	// back by their owner's own change.
	History int
	// MinAge is how old a password must be before its owner changes it again,
	// MaxAge how old it may get; 0: no bound.
	MinAge, MaxAge time.Duration
	// Complexity wants characters of three kinds and none of the account's names.
	Complexity bool
	// LockoutThreshold failed sign-ins lock the account for LockoutDuration (0:
	// until it is unlocked); LockoutWindow after the last one they are forgotten.
	// Threshold 0: the account is slowed down, longer after each failure, and
	// never locked.
	LockoutThreshold int
	LockoutDuration,
	LockoutWindow time.Duration
	// AppliesTo names people, groups and containers: as a DN, a mail address or,
	// to be set, as a path of organisational units.
	AppliesTo []string
}

// AccountState is how an account stands.
type AccountState struct {
	ID              ObjectID
	Enabled         bool
	Expires         time.Time // of the account; zero: never
	HasPassword     bool
	PasswordSet     time.Time
	PasswordExpires time.Time // zero: never
	MustChange      bool
	Locked          time.Duration // how much longer; 0: not
	Factor          bool          // a second factor is on
	Recovery        int           // recovery codes left
	AppPasswords    int
	Policy          string // whose name it is
}

// AppPassword is a password that the product made for one program of a person.
type AppPassword struct {
	Name     string
	Created  time.Time
	LastUsed time.Time // zero: never
	LastFrom string    // the client's address
	LastDoor string
}

// FactorKey is the secret of a second factor, to be scanned or typed.
type FactorKey struct {
	URL    string // otpauth://totp/…
	Secret string // base32
}

// String keeps the secret out of every log.
func (FactorKey) String() string { return "(secret)" }

// AuditQuery asks for lines of the audit log; what is zero asks nothing.
type AuditQuery struct {
	Object ObjectID  // what was changed
	Name   string    // or a part of its name, in any case
	By     string    // who changed it: a part of the name, in any case
	Since  time.Time // at or after
	Before int64     // lines with a smaller ID: the next page
	Limit  int       // at most 1,000; 0 means 100
}

// AuditLine is one change.
type AuditLine struct {
	ID        int64
	USN       USN
	At        time.Time
	By        ObjectID // 0: the product itself
	ByName    string
	From      string // the client's address, or what acted
	Operation string
	Object    ObjectID // 0 of several at once
	Name      string   // the object's name then
	Changes   map[string]AuditChange
}

// AuditChange is an attribute's values before and after; of secrets only that
// they changed is told.
type AuditChange struct{ Before, After []string }

type clientKey struct{}

// WithClient gives a context that says from where a change comes, for the audit
// log.
func WithClient(ctx context.Context, from string) context.Context {
	return context.WithValue(ctx, clientKey{}, from)
}

// ClientOf is what WithClient put into ctx; "" for nothing.
func ClientOf(ctx context.Context) string {
	from, _ := ctx.Value(clientKey{}).(string)
	return from
}
