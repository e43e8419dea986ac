package directory

import (
	"net/netip"
	"time"
)

// Account is what checking of a password needs to know. It stays inside the
// process that holds the directory's database.
type Account struct {
	Principal Principal // ID 0: nobody has this login
	Enabled   bool
	Expires   time.Time // of the account; zero: never
	Hash      string    // argon2id, PHC form; "": nobody can sign in
	Former    []string  // hashes of the last two passwords before, newest first
	// MustChange: the password is good for nothing but its own change.
	MustChange bool
	// PasswordExpires is when the password does; zero: never.
	PasswordExpires time.Time
	Apps            []AppDigest
	Factor          *Factor // nil: none is on
	// Law is the account's law of lock-out; nil for that of everybody.
	Law *Backoff
	// FactorLocked is how much longer codes are not even looked at.
	FactorLocked time.Duration
	// Noted: the object says that it is locked out (lockoutTime).
	Noted bool
	// Known tells that the client's address signed in to this account before.
	Known bool
	// Missed counts failures from that known address since its last success.
	Missed int
	// Locked is how much longer the account or the client's address is slowed
	// down; 0 for not at all. It does not count for a known address.
	Locked time.Duration
}

// AppDigest is an application password as it is stored.
type AppDigest struct {
	ID     int64
	Digest []byte // SHA-256
}

// Factor is a second factor (TOTP, RFC 6238) as it is stored.
type Factor struct {
	Secret []byte
	Step   int64 // the newest time step that was used
	// Recovery are digests of the codes that work once.
	Recovery [][]byte
	// Locked is how much longer wrong codes are not even looked at.
	Locked time.Duration
}

// String keeps the hashes out of every log.
func (a Account) String() string { return a.Principal.Address }

// Attempt names a sign-in for the lock-out.
type Attempt struct {
	ID     ObjectID // 0: nobody has this login
	Login  string
	Client string // ClientKey of the client's address; "" when it is not known
	Known  bool   // from Account
	Noted  bool   // from Account
	Factor bool   // the password was right and the second factor wrong
	App    int64  // the application password that was right; 0: the account's own
	Door   string
}

// ClientKey is how lock-out names a client: its address, of IPv6 the first 64
// bits, because a site has at least that many to itself.
func ClientKey(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	switch {
	case !a.IsValid():
		return ""
	case a.Is4():
		return a.String()
	}
	p, err := a.Prefix(64)
	if err != nil {
		return ""
	}
	return p.String()
}

// Backoff is a lock-out's law: so many failures are free, after them the wait
// doubles from one second up to Most, and one failure is forgiven every Forgive.
// With Hard, the account is shut for that long instead, and failures are
// forgotten when the last one is longer ago than Forgive.
type Backoff struct {
	Free    int
	Most    time.Duration
	Forgive time.Duration
	Hard    time.Duration
}

// SigningKey is a key that tokens are signed with.
type SigningKey struct {
	ID      string
	Seed    []byte // Ed25519 private seed
	Public  []byte
	Created time.Time
}

// String keeps the seed out of every log.
func (k SigningKey) String() string { return k.ID }
