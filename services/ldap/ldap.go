// Package ldap is the LDAP door: LDAP v3 (RFC 4511 and family, with the
// controls and habits of Active Directory that clients rely on) over the
// directory's tree.
//
// The law of the package:
//
//   - A connection is one goroutine that reads, and one for each operation
//     under way, at most Config.MaxOperations. Bind and StartTLS run on the
//     reading one, when no other operation is under way (RFC 4511 §4.2.1,
//     §4.14.1). Writes of one connection happen in the order sent.
//   - One operation is one file with one method; the tables in operation.go,
//     extended.go and control.go say what there is, and the rootDSE is
//     published from the same tables. A handler reads its request from the
//     BER, makes its calls to the tree and returns; what it returns becomes the
//     result, by the table in result.go.
//   - Rights are the tree's: it is told who acts. This package only knows
//     whether somebody has signed in and whether the connection keeps secrets.
//   - A request's strings are parts of its one message, entries are encoded
//     straight into a buffer that is sent when it is full: nothing is kept that
//     grows with a result. Cookies carry the position themselves; only sorted
//     results are remembered, as identifiers, within a bound (resultset.go).
//   - Everything read has a limit and a deadline, everything written a deadline.
//     What is not BER as LDAP has it ends the connection with a Notice of
//     Disconnection; what is BER and makes no sense gets a result code. A panic
//     ends its connection only.
//
// To add an operation or control: write its file and its row of the table, and
// a conversation of the real clients to clients_test.go.
package ldap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waypost/directory"
)

// Accounts lets people in and tells when they must go; the gate of
// directory/authn is the real one.
type Accounts interface {
	// SignIn fails with Unauthenticated, Limit or Unavailable.
	SignIn(ctx context.Context, c directory.Credentials) (directory.Principal, error)
	// Context gives a context that ends when what was granted to p is void: its
	// password, state or rights changed, or this process has been cut off from
	// the directory for too long. The CancelFunc frees it.
	Context(ctx context.Context, p directory.Principal) (context.Context, context.CancelFunc)
}

// Config is how a Server behaves. Zero values mean the defaults named.
type Config struct {
	// Host is the server's DNS name, for dnsHostName and for referrals. Default
	// "localhost".
	Host string
	// TLS offers StartTLS, and is needed for ServeTLS. For EXTERNAL it must ask
	// for certificates (tls.VerifyClientCertIfGiven).
	TLS *tls.Config
	// External tells who signs in with a certificate (SASL EXTERNAL); the chain
	// begins with the client's and was verified by TLS. nil: EXTERNAL is not
	// offered.
	External func(ctx context.Context, chain []*x509.Certificate) (directory.Principal, error)
	// PlainSignIn allows sign-in without TLS from everywhere; by default only
	// clients on this machine may.
	PlainSignIn bool
	// Anonymous lets those who have not signed in ask the tree as the zero
	// Principal; by default they see the rootDSE only.
	Anonymous bool
	// ActiveDirectory publishes AD's capabilities in the rootDSE, upon which some
	// clients use habits of AD's only: ranges, ANR, unicodePwd (all of which are
	// understood in any case), and binds by NTLM (which are not).
	ActiveDirectory bool
	// MaxConns bounds all connections. Default 20,000.
	MaxConns int
	// MaxPerAddress bounds the connections from one address; this machine's own
	// are not counted. Default 1,000.
	MaxPerAddress int
	// MaxOperations bounds the operations under way of one connection; further
	// ones wait unread. Default 16.
	MaxOperations int
	// MaxWatches bounds the persistent searches of one connection (AD's
	// MaxNotificationPerConn). Default 5.
	MaxWatches int
	// MaxPage bounds the entries of a search without paging, and of a page (AD's
	// MaxPageSize). Default 1,000.
	MaxPage int
	// MaxRange bounds the values of one attribute that are given at once (AD's
	// MaxValRange). Default 1,500.
	MaxRange int
	// MaxMessage bounds a request, in bytes. Default 10 MiB.
	MaxMessage int
	// MaxGuestMessage is MaxMessage before somebody has signed in. Default
	// 256 KiB.
	MaxGuestMessage int
	// SearchTimeout bounds one search, or one page of it (AD's
	// MaxQueryDuration). Default 2 min.
	SearchTimeout time.Duration
	// IdleTimeout ends a silent connection on which nothing is under way (AD's
	// MaxConnIdleTime). Default 15 min.
	IdleTimeout time.Duration
	// ReadTimeout bounds the wait for the first request and for the rest of one
	// (AD's InitRecvTimeout). Default 2 min.
	ReadTimeout time.Duration
	// WriteTimeout bounds the writing of one buffer. Default 30 s.
	WriteTimeout time.Duration
	// FailureDelay is the wait after a wrong password, growing with each.
	// Default 1 s.
	FailureDelay time.Duration
	// Grace is what running operations get when the server stops. Default 5 s.
	Grace time.Duration
	// Log takes one line an operation. Default slog.Default().
	Log *slog.Logger
	// Metrics, if not nil, is where the metrics are registered.
	Metrics prometheus.Registerer
}

func (c Config) withDefaults() Config {
	wait := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	most := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	wait(&c.SearchTimeout, 2*time.Minute)
	wait(&c.IdleTimeout, 15*time.Minute)
	wait(&c.ReadTimeout, 2*time.Minute)
	wait(&c.WriteTimeout, 30*time.Second)
	wait(&c.FailureDelay, time.Second)
	wait(&c.Grace, 5*time.Second)
	most(&c.MaxConns, 20_000)
	most(&c.MaxPerAddress, 1_000)
	most(&c.MaxOperations, 16)
	most(&c.MaxWatches, 5)
	most(&c.MaxPage, 1_000)
	most(&c.MaxRange, 1_500)
	most(&c.MaxMessage, 10<<20)
	most(&c.MaxGuestMessage, 256<<10)
	c.MaxGuestMessage = min(c.MaxGuestMessage, c.MaxMessage)
	if c.Host == "" {
		c.Host = "localhost"
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

// Limits of one request besides its size; what exceeds them is answered with
// adminLimitExceeded.
const (
	maxControls   = 32     // of one message
	maxValues     = 50_000 // of one add or modify, and names of attributes wanted
	maxAttributes = 2_000  // attributes wanted, or attributes of an add or modify
)
