// Package lmtp is the door to the mailboxes of this server (RFC 2033), and the
// client that other processes knock with.
//
// Its law: each recipient's 250 comes after the commit to its mailbox. A peer
// of ours names the message (XID) and says how many bytes of trace headers it
// put in front (XTRACE), and that its sender is one of ours (XOWN); only a peer
// may, since the id decides what counts as a repetition. Nothing is queued here: what cannot be stored is answered 4yz and
// stays with the client.
package lmtp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"
	"github.com/prometheus/client_golang/prometheus"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/smtpguard"
)

// Deliverer stores a message for several mailboxes; *delivery.Service does.
type Deliverer interface {
	DeliverFrom(ctx context.Context, env envelope.Envelope, to []directory.Target, body io.Reader) []error
}

// Directory tells whose an address is.
type Directory interface {
	Resolve(ctx context.Context, address string) (directory.Resolution, error)
	Expand(ctx context.Context, group directory.ObjectID, p directory.Page) ([]directory.Target, error)
	MaySendTo(ctx context.Context, from directory.Sender, group directory.ObjectID) ([]directory.Target, error)
}

// Options of the door.
type Options struct {
	Hostname string
	// TLS, if set, is used from the first byte; ClientAuth in it decides whether
	// strangers may connect. Links that leave loopback need it.
	TLS *tls.Config
	// TrustLoopback takes clients on loopback for peers.
	TrustLoopback bool
	MaxSize       int64 // bytes; 150 MiB when 0
	MaxConns      int   // 1,000 when 0
	Log           *slog.Logger
	Metrics       prometheus.Registerer
}

// Server is the door.
type Server struct {
	dir     Directory
	deliver Deliverer
	o       Options
	metrics *smtpguard.Metrics
}

// New makes the door.
func New(dir Directory, d Deliverer, o Options) *Server {
	if o.MaxSize == 0 {
		o.MaxSize = 150 << 20
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Server{dir: dir, deliver: d, o: o, metrics: smtpguard.NewMetrics(o.Metrics)}
}

// Serve answers connections of l until ctx ends; see smtpguard.Serve.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return smtpguard.Serve(ctx, l, smtpguard.Options{
		Proto: "lmtp", Hostname: s.o.Hostname, LMTP: true,
		TLS: s.o.TLS, Implicit: s.o.TLS != nil, TrustLoopback: s.o.TrustLoopback,
		MaxSize: s.o.MaxSize + headroom, MaxConns: s.o.MaxConns, MaxPerAddress: max(s.o.MaxConns, 1000),
		Log: s.o.Log, Metrics: s.metrics,
		Session: func(c *smtpguard.Conn) (gosmtp.Session, error) { return &session{srv: s, conn: c}, nil },
	})
}

// headroom is for the trace headers of a peer, in front of a message of the
// largest size.
const headroom = 128 << 10

// session is a conversation.
type session struct {
	srv  *Server
	conn *smtpguard.Conn

	mu sync.Mutex // a message cut off may still be running when RSET comes
	tx *transaction
}

type transaction struct {
	env   envelope.Envelope
	trace int64
	rcpts []rcpt
}

// rcpt is one accepted RCPT: a mailbox, or the mailboxes of a list.
type rcpt struct {
	name    string // as the library has it
	targets []directory.Target
}

// maxList bounds the members of a list in one transaction.
const maxList = 10_000

func (s *session) Reset()        { s.set(nil) }
func (s *session) Logout() error { s.set(nil); return nil }

func (s *session) set(tx *transaction) {
	s.mu.Lock()
	s.tx = tx
	s.mu.Unlock()
}

func (s *session) current() *transaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tx
}

// Mail begins a transaction.
func (s *session) Mail(string, *gosmtp.MailOptions) error {
	p, now := s.conn.Params(), time.Now()
	tx := &transaction{trace: p.Trace, env: envelope.Envelope{ID: p.ID, From: s.conn.Path(), UTF8: p.UTF8, Trusted: p.Own, Created: now}}
	if tx.env.ID == "" {
		tx.env.ID = envelope.NewID(now)
	}
	s.set(tx)
	return nil
}

// Rcpt looks a recipient up.
func (s *session) Rcpt(name string, _ *gosmtp.RcptOptions) error {
	ctx, tx := s.conn.Context(), s.current()
	r, err := s.srv.dir.Resolve(ctx, s.conn.Path())
	if err != nil {
		return smtpguard.Reply(err)
	}
	to := rcpt{name: name}
	switch r.Standing {
	case directory.Person:
		to.targets = []directory.Target{r.Target}
	case directory.List:
		approvers, err := s.srv.dir.MaySendTo(ctx, directory.Sender{Address: tx.env.From}, r.Group)
		if err != nil {
			return smtpguard.Reply(err)
		}
		if len(approvers) > 0 {
			return smtpguard.Errorf(550, [3]int{5, 7, 1}, "The list is moderated; send to it by SMTP")
		}
		for page := (directory.Page{Limit: 1000}); ; {
			some, err := s.srv.dir.Expand(ctx, r.Group, page)
			if err != nil {
				return smtpguard.Reply(err)
			}
			if slices.ContainsFunc(some, func(t directory.Target) bool { return t.Forward != "" }) {
				// Nothing is sent on from here: that is the transport's.
				return smtpguard.Errorf(550, [3]int{5, 7, 1}, "The list has members elsewhere; send to it by SMTP")
			}
			to.targets = append(to.targets, some...)
			if len(some) < page.Limit {
				break
			}
			if len(to.targets) > maxList {
				return smtpguard.Errorf(452, [3]int{4, 5, 3}, "List too long for one transaction")
			}
			page.After = some[len(some)-1].ID
		}
	case directory.Unknown:
		return smtpguard.Errorf(550, [3]int{5, 1, 1}, "No such user here")
	default:
		return smtpguard.Errorf(550, [3]int{5, 7, 1}, "Not a mailbox of ours")
	}
	tx.rcpts = append(tx.rcpts, to)
	return nil
}

// Data is not used: LMTPData is.
func (s *session) Data(io.Reader) error {
	return smtpguard.Errorf(451, [3]int{4, 3, 0}, "Not possible")
}

// LMTPData stores the message and tells each recipient's fate (RFC 2033
// section 4.2).
func (s *session) LMTPData(r io.Reader, status gosmtp.StatusCollector) error {
	tx := s.current()
	if tx == nil {
		return smtpguard.Errorf(503, [3]int{5, 5, 1}, "Transaction was reset")
	}
	env := tx.env
	env.Hop = s.hop(&env)
	if tx.trace > 0 {
		trace, err := envelope.Peel(r, tx.trace)
		if err != nil {
			return readError(err)
		}
		env.Trace = trace
	}
	var all []directory.Target
	for _, rc := range tx.rcpts {
		all = append(all, rc.targets...)
	}
	errs := s.srv.deliver.DeliverFrom(s.conn.Context(), env, all, r)
	for _, rc := range tx.rcpts {
		status.SetStatus(rc.name, outcome(env.ID, errs[:len(rc.targets)]))
		errs = errs[len(rc.targets):]
	}
	return nil
}

// outcome is the reply for a recipient that stands for several mailboxes: a
// failure that may pass comes first, since repeating doubles nothing.
func outcome(id string, errs []error) error {
	var worst *gosmtp.SMTPError
	for _, err := range errs {
		if err == nil {
			continue
		}
		if r := readError(err); worst == nil || r.Code < worst.Code {
			worst = r
		}
	}
	if worst == nil {
		return smtpguard.Errorf(250, [3]int{2, 1, 5}, "Delivered "+id)
	}
	return worst
}

// readError gives the reply for an error of the message's reader or of delivery.
func readError(err error) *gosmtp.SMTPError {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return smtpguard.Errorf(554, [3]int{5, 5, 2}, "Message cut off")
	}
	return smtpguard.Reply(err)
}

func (s *session) hop(env *envelope.Envelope) *envelope.Hop {
	h := &envelope.Hop{
		Helo: s.conn.Helo(), From: s.conn.Addr(), By: s.srv.o.Hostname, With: "LMTP", ID: env.ID, Time: time.Now(),
	}
	if env.UTF8 {
		h.With = "UTF8LMTP"
	}
	if t := s.conn.TLS(); t != nil {
		h.With += "S"
		h.TLS = tls.VersionName(t.Version) + " " + tls.CipherSuiteName(t.CipherSuite)
	}
	return h
}
