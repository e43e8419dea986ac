// Package smtp is the transport's doors: port 25 for the organisation's own
// domains, submission for its people, and an inner door for its processes.
//
// Its law:
//
//   - 250 comes after the commit, to the mailboxes or to the queue. A message
//     that has to go to the queue for any recipient goes there for all that
//     were not delivered, under the same id, so no retry doubles it.
//   - Never an open relay: strangers reach our addresses only, and whoever
//     signed in sends under its own addresses only. Nobody signs in without
//     TLS, but on loopback where configured.
//   - A message is refused while its sender is still there to hear it, rather
//     than bounced later to somebody who may not have sent it.
//   - A message is never whole in memory: beyond 256 KiB it is a file without
//     name.
//
// The wire and its dangers are internal/smtpguard's.
package smtp

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"time"

	gosmtp "github.com/emersion/go-smtp"
	"github.com/prometheus/client_golang/prometheus"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/smtpguard"
)

// Directory tells whose an address is and who may write under it.
type Directory interface {
	Resolve(ctx context.Context, address string) (directory.Resolution, error)
	Expand(ctx context.Context, group directory.ObjectID, p directory.Page) ([]directory.Target, error)
	MaySendTo(ctx context.Context, from directory.Sender, group directory.ObjectID) ([]directory.Target, error)
	MaySendAs(ctx context.Context, as directory.Principal, address string) (bool, error)
}

// Authenticator checks credentials. Context gives a context that ends when the
// account may no longer go on under what it showed.
type Authenticator interface {
	SignIn(ctx context.Context, c directory.Credentials) (directory.Principal, error)
	Context(ctx context.Context, p directory.Principal) (context.Context, context.CancelFunc)
}

// Deliverer puts a message into mailboxes, near or far, and returns the error
// of each. Under the same id it can be asked again without doubling.
type Deliverer interface {
	Deliver(ctx context.Context, env envelope.Envelope, to []directory.Target, body envelope.Body) []error
}

// Queue commits a message for later. A second message of the same id is taken
// for the first and changes nothing.
type Queue interface {
	Enqueue(ctx context.Context, s envelope.Submission, body envelope.Body) error
	// Expects tells whether the queue gave an address that is nobody's to a
	// moderator, for the decision.
	Expects(ctx context.Context, address string) (bool, error)
}

// Options of the transport's doors.
type Options struct {
	Hostname string
	// Domain is that of a bare "Postmaster"; Hostname when empty.
	Domain string
	// Postmaster gets the mail for postmaster at Hostname and at those of our
	// domains where the address is nobody's (RFC 5321 section 4.5.1). When it is
	// empty, such mail is refused.
	Postmaster string

	TLS     *tls.Config // of the doors to the outside; nil: no STARTTLS and no sign-in
	PeerTLS *tls.Config // of the inner door, from the first byte; nil on loopback
	// LoopbackClear allows signing in without TLS on loopback.
	LoopbackClear bool
	// LoopbackPeers takes clients of the inner door on loopback for our own.
	LoopbackPeers bool
	// HideClients leaves the address of whoever signed in out of Received.
	HideClients bool

	MaxSize       int64  // bytes; 50 MiB when 0
	MaxRecipients int    // 1,000 when 0; never below 100
	MaxConns      int    // of each door; 1,000 when 0
	MaxPerAddress int    // 20 when 0; loopback is not counted
	Spool         string // folder of large messages while they come in; the system's when empty

	// Tarpit is the step by which the answers to unknown recipients slow down;
	// 1 s when 0.
	Tarpit time.Duration

	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Server is the doors of a transport.
type Server struct {
	dir     Directory
	auth    Authenticator
	deliver Deliverer
	queue   Queue
	o       Options
	harvest *harvest
	guard   *smtpguard.Metrics
	results *prometheus.CounterVec
}

// New makes the doors. auth may be nil where nobody signs in.
func New(dir Directory, auth Authenticator, d Deliverer, q Queue, o Options) *Server {
	if o.Domain == "" {
		o.Domain = o.Hostname
	}
	if o.MaxSize == 0 {
		o.MaxSize = 50 << 20
	}
	if o.MaxRecipients == 0 {
		o.MaxRecipients = 1000
	}
	o.MaxRecipients = max(o.MaxRecipients, 100) // RFC 5321 section 4.5.3.1.8
	if o.Tarpit == 0 {
		o.Tarpit = time.Second
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Server{
		dir: dir, auth: auth, deliver: d, queue: q, o: o, harvest: newHarvest(),
		guard: smtpguard.NewMetrics(o.Metrics),
		results: smtpguard.Register(o.Metrics, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waypost_smtp_messages_total", Help: "Messages by what became of them.",
		}, []string{"proto", "result"})),
	}
}

// door is what the doors differ in.
type door struct {
	proto    string
	signIn   bool // for our people
	implicit bool // TLS from the first byte
	peers    bool // for our processes
}

var (
	doorMX          = door{proto: "smtp"}
	doorSubmission  = door{proto: "submission", signIn: true}
	doorSubmissions = door{proto: "submissions", signIn: true, implicit: true}
	doorPeer        = door{proto: "peer", peers: true}
)

// ServeMX answers strangers with mail for us (port 25) until ctx ends.
func (s *Server) ServeMX(ctx context.Context, l net.Listener) error { return s.serve(ctx, l, doorMX) }

// ServeSubmission answers our people, with STARTTLS (port 587, RFC 6409).
func (s *Server) ServeSubmission(ctx context.Context, l net.Listener) error {
	return s.serve(ctx, l, doorSubmission)
}

// ServeSubmissions answers our people, with TLS throughout (port 465, RFC 8314).
func (s *Server) ServeSubmissions(ctx context.Context, l net.Listener) error {
	return s.serve(ctx, l, doorSubmissions)
}

// ServePeer answers our processes, which hand messages over for the queue.
func (s *Server) ServePeer(ctx context.Context, l net.Listener) error {
	return s.serve(ctx, l, doorPeer)
}

func (s *Server) serve(ctx context.Context, l net.Listener, d door) error {
	o := smtpguard.Options{
		Proto: d.proto, Hostname: s.o.Hostname, Postmaster: s.o.Domain,
		TLS: s.o.TLS, Implicit: d.implicit,
		MaxSize: s.o.MaxSize, MaxRecipients: s.o.MaxRecipients,
		MaxConns: s.o.MaxConns, MaxPerAddress: s.o.MaxPerAddress,
		Log: s.o.Log, Metrics: s.guard,
		Session: func(c *smtpguard.Conn) (gosmtp.Session, error) {
			return &session{srv: s, conn: c, door: d}, nil
		},
	}
	switch {
	case d.peers:
		o.TLS, o.Implicit, o.TrustLoopback = s.o.PeerTLS, s.o.PeerTLS != nil, s.o.LoopbackPeers
		o.MaxPerAddress = max(s.o.MaxConns, 1000)
		o.MaxRecipients, o.MaxSize = maxPeerRecipients, max(s.o.MaxSize, maxPeerSize)
	case !d.signIn:
		o.Refuse = func(a netip.Addr) string { return s.harvest.refuse(a, time.Now()) }
	}
	return smtpguard.Serve(ctx, l, o)
}

// What the mover may hand over in one transaction. It has nobody to tell that
// something is too much; the relay has.
const (
	maxPeerRecipients = 10_000
	maxPeerSize       = 512 << 20 // bytes
)
