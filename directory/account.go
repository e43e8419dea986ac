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
	Hash      string   // argon2id, PHC form; "": nobody can sign in
	Former    []string // hashes of the last two passwords before, newest first
	// Known tells that the client's address signed in to this account before.
	Known bool
	// Missed counts failures from that known address since its last success.
	Missed int
	// Locked is how much longer the account or the client's address is slowed
	// down; 0 for not at all. It does not count for a known address.
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
type Backoff struct {
	Free    int
	Most    time.Duration
	Forgive time.Duration
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
