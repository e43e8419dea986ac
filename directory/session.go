package directory

import (
	"context"
	"net/netip"
	"time"
)

// SessionID names a session for ever; it is no secret.
type SessionID int64

// Sessions are where people are signed in: browsers, which hold a random secret
// in a cookie, and programs that were granted access (see Grants), which hold a
// refresh token. The directory keeps digests of these secrets only. A session is
// of one epoch of its account; the account's own change made from a session takes
// that session along into the next one.
type Sessions interface {
	// Enter checks a password as SignIn does and begins a session, which may need
	// more (Entry.Needs) before it is good for anything. It fails as SignIn does.
	Enter(ctx context.Context, c Credentials, at Place) (Entry, error)
	// EnterCode gives the code of the second factor, or a recovery code, to a
	// session that needs one. The secret changes.
	EnterCode(ctx context.Context, secret, code string, at Place) (Entry, error)
	// EnterPassword changes the password: of a session that needs another one, and
	// of one that is good, which shows the old password. Invalid when the policy
	// refuses it. The secret changes; all other sessions of the account end.
	EnterPassword(ctx context.Context, secret, old, password string, at Place) (Entry, error)
	// BeginPasskey makes a challenge for signing in with a passkey; with the secret
	// of a session that needs a second factor, by a passkey of its account.
	BeginPasskey(ctx context.Context, secret string, at Place) (Challenge, error)
	// EnterPasskey answers it.
	EnterPasskey(ctx context.Context, secret string, answer Answer, at Place) (Entry, error)
	// EnterOutside begins a session for whom an outside provider named, which the
	// caller has verified: the account that the provider's subject is linked to,
	// or, with a verified address, the one that has it, which is then linked.
	EnterOutside(ctx context.Context, o Identity, at Place) (Entry, error)

	// Session gives the session that has this secret and notes its use.
	// Unauthenticated when it is over or needs more.
	Session(ctx context.Context, secret string, at Place) (SessionInfo, error)
	// Leave ends the session that has this secret; none is no fault.
	Leave(ctx context.Context, secret string) error
	// SessionsOf lists an account's sessions, the last used first.
	SessionsOf(ctx context.Context, as Principal, id ObjectID) ([]SessionInfo, error)
	// EndSession ends one session of an account.
	EndSession(ctx context.Context, as Principal, id ObjectID, session SessionID) error
	// EndSessions ends all sessions of an account, but the one that is kept (0:
	// none), and gives their number.
	EndSessions(ctx context.Context, as Principal, id ObjectID, keep SessionID) (int, error)

	// Passkeys lists an account's passkeys by age.
	Passkeys(ctx context.Context, as Principal, id ObjectID) ([]Passkey, error)
	// NewPasskey makes a challenge for a passkey to be added.
	NewPasskey(ctx context.Context, as Principal, id ObjectID, at Place) (Challenge, error)
	// AddPasskey adds the one that answers it.
	AddPasskey(ctx context.Context, as Principal, id ObjectID, name string, answer Answer, at Place) (Passkey, error)
	// RemovePasskey removes one and ends the sessions that began with it.
	RemovePasskey(ctx context.Context, as Principal, id ObjectID, passkey int64) error
}

// Place is where somebody signs in.
type Place struct {
	From    netip.Addr // the client's address
	Agent   string     // what the browser or program calls itself
	Private bool       // a private computer, which stays signed in
	Site    string     // the origin that the browser shows, https://mail.example.org; passkeys are bound to it
}

// Need is what a session still wants.
type Need int

const (
	// NeedNothing: it is good.
	NeedNothing Need = iota
	// NeedFactor: a second factor.
	NeedFactor
	// NeedPassword: another password.
	NeedPassword
)

// Entry is a step of signing in that went well.
type Entry struct {
	Secret    string // for the browser, and nobody else; 256 random bits
	Needs     Need
	Principal Principal // zero while it needs something
	Until     time.Time // when it ends at the latest
	Passkeys  bool      // NeedFactor: a passkey will do
	Warning   string    // as Session.Warning
}

// String keeps the secret out of every log.
func (e Entry) String() string { return e.Principal.Address }

// SessionInfo is a session as its owner sees it.
type SessionInfo struct {
	ID        SessionID
	Principal Principal // from Session; zero in lists
	Created   time.Time
	Used      time.Time
	From      string // the address that used it last
	Agent     string
	Private   bool
	Until     time.Time // it ends then, or before when it is not used
	How       []string  // how it began: "pwd", "otp", "hwk" (RFC 8176), "ext"
	Client    string    // the program that was granted access; "" for a browser
	Name      string    // that program's name
	Scope     string    // what it was granted
}

// Challenge is what a browser's authenticator is asked.
type Challenge struct {
	ID      string // to be given back with the answer; good once
	Options []byte // JSON, for navigator.credentials
}

// Answer is an authenticator's.
type Answer struct {
	ID       string // the challenge's
	Response []byte // JSON of the PublicKeyCredential
}

// Passkey is a key that its owner's devices hold (WebAuthn).
type Passkey struct {
	ID       int64
	Name     string
	Created  time.Time
	LastUsed time.Time // zero: never
	LastFrom string
}

// Identity is somebody whom an outside OpenID provider named.
type Identity struct {
	Issuer  string
	Subject string
	Address string // the address that the provider has verified; "" for none
}
