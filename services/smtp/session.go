package smtp

import (
	"context"
	"strings"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/smtpguard"
)

// session is a conversation at a door.
type session struct {
	srv     *Server
	conn    *smtpguard.Conn
	door    door
	who     directory.Principal // signed in; zero before
	standby context.CancelFunc  // ends the watch over who
	unknown int                 // recipients nobody has

	mu sync.Mutex // a message cut off may still be running when RSET comes
	tx *transaction
}

// transaction is what MAIL and RCPT have said.
type transaction struct {
	env     envelope.Envelope
	trace   int64 // bytes of trace headers in front, from a peer
	to      []string
	persons []directory.Target
	lists   []directory.ObjectID
	foreign int // recipients that only the queue can serve
}

// Reset forgets the transaction.
func (s *session) Reset() { s.set(nil) }

// Logout is the end of the conversation.
func (s *session) Logout() error {
	s.set(nil)
	if s.standby != nil {
		s.standby()
	}
	return nil
}

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
	ctx, from, p, now := s.conn.Context(), s.conn.Path(), s.conn.Params(), time.Now()
	tx := &transaction{env: envelope.Envelope{From: from, UTF8: p.UTF8, Created: now}}
	switch {
	case s.door.peers:
		if !s.conn.Peer() {
			return smtpguard.Errorf(530, [3]int{5, 7, 0}, "For our own processes only")
		}
		tx.env.ID, tx.trace, tx.env.Trusted = p.ID, p.Trace, true
	case s.door.signIn:
		if s.who.ID == 0 {
			return smtpguard.Errorf(530, [3]int{5, 7, 0}, "Authentication required")
		}
		// The null sender is for receipts and other automatic answers.
		if from != "" {
			if err := s.maySendAs(ctx, from); err != nil {
				return err
			}
		}
		tx.env.Trusted = true
	}
	if tx.env.ID == "" {
		tx.env.ID = envelope.NewID(now)
	}
	s.set(tx)
	return nil
}

// maySendAs answers nil when whoever signed in may write under address.
func (s *session) maySendAs(ctx context.Context, address string) error {
	ok, err := s.srv.dir.MaySendAs(ctx, s.who, address)
	if err != nil {
		return smtpguard.Reply(err)
	}
	if !ok {
		return smtpguard.Errorf(550, [3]int{5, 7, 1}, "You may not send as <"+printable(address)+">")
	}
	return nil
}

// Rcpt looks a recipient up and takes it or not.
func (s *session) Rcpt(string, *gosmtp.RcptOptions) error {
	ctx, tx, addr := s.conn.Context(), s.current(), s.conn.Path()
	if s.door.peers {
		// Whatever it is: the relay finds out, and tells the sender.
		tx.to, tx.foreign = append(tx.to, addr), tx.foreign+1
		return nil
	}
	r, err := s.resolve(ctx, addr)
	if err != nil {
		return smtpguard.Reply(err)
	}
	switch r.Standing {
	case directory.Person:
		if r.Forward != "" { // the relay redirects a copy
			tx.foreign++
			break
		}
		tx.persons = append(tx.persons, r.Target)
	case directory.List:
		approvers, err := s.srv.dir.MaySendTo(ctx, s.sender(tx), r.Group)
		if err != nil {
			return smtpguard.Reply(err)
		}
		if len(approvers) > 0 { // it waits in the queue
			tx.foreign++
			break
		}
		tx.lists = append(tx.lists, r.Group)
	case directory.Outside: // the relay forwards
		tx.foreign++
	case directory.Foreign:
		if !s.door.signIn {
			return s.deny(smtpguard.Errorf(550, [3]int{5, 7, 1}, "Relaying denied"))
		}
		tx.foreign++
	default:
		expected, err := s.srv.queue.Expects(ctx, addr)
		if err != nil {
			return smtpguard.Reply(err)
		}
		if !expected {
			return s.deny(smtpguard.Errorf(550, [3]int{5, 1, 1}, "No such user here"))
		}
		tx.foreign++
	}
	tx.to = append(tx.to, addr)
	return nil
}

// sender is whom the message comes from, as lists with restrictions see it.
func (s *session) sender(tx *transaction) directory.Sender {
	from := directory.Sender{Address: tx.env.From, Known: tx.env.Trusted}
	if from.Address == "" && s.who.ID != 0 {
		from.Address = s.who.Address
	}
	return from
}

// resolve asks the directory, and gives postmaster a home (RFC 5321 section 4.5.1).
func (s *session) resolve(ctx context.Context, addr string) (directory.Resolution, error) {
	r, err := s.srv.dir.Resolve(ctx, addr)
	if err != nil || r.Standing == directory.Person || r.Standing == directory.List || r.Standing == directory.Outside || s.srv.o.Postmaster == "" {
		return r, err
	}
	local, domain := envelope.Split(addr)
	if strings.EqualFold(local, "postmaster") &&
		(r.Standing == directory.Unknown || strings.EqualFold(domain, s.srv.o.Hostname) || strings.EqualFold(domain, s.srv.o.Domain)) {
		return s.srv.dir.Resolve(ctx, s.srv.o.Postmaster)
	}
	return r, nil
}

// deny answers a recipient that is refused. Whoever tries many is after our
// addresses: the answers slow down, then the connection ends.
func (s *session) deny(reply *gosmtp.SMTPError) error {
	s.unknown++
	if s.door.signIn {
		return reply
	}
	banned := s.srv.harvest.count(s.conn.Addr(), time.Now())
	if s.unknown > freeUnknown {
		wait := min(time.Duration(s.unknown-freeUnknown), maxTarpit) * s.srv.o.Tarpit
		s.conn.Flush()
		select {
		case <-time.After(wait):
		case <-s.conn.Context().Done():
		}
	}
	if banned || s.unknown >= maxUnknown {
		s.srv.o.Log.Warn("harvest", "proto", s.door.proto, "remote", s.conn.Addr(), "unknown", s.unknown)
		return smtpguard.Errorf(421, [3]int{4, 7, 0}, "Too many unknown recipients")
	}
	return reply
}

func printable(s string) string {
	if envelope.ASCII(s) {
		return s
	}
	return "address"
}
