package directory

import "time"

// StoredSession is a session as sign-in keeps it. It stays inside the process
// that holds the directory's database.
type StoredSession struct {
	SessionInfo
	Needs   Need
	Passkey int64 // it began with; 0 for none
	Idle    time.Duration
}

// Ticket is something that was given out and is good once.
type Ticket struct {
	Kind    string
	Object  ObjectID // 0: nobody's yet
	Data    []byte   // JSON
	Label   string   // a device's user code
	Until   time.Time
	Session SessionID // what came of it; it was used then
}

// StoredPasskey is a passkey as it is kept.
type StoredPasskey struct {
	Passkey
	Object     ObjectID
	Credential []byte
	Data       []byte // JSON
}

// StoredClient is an OAuth client with the digest of its secret.
type StoredClient struct {
	OAuthClient
	Digest []byte
}
