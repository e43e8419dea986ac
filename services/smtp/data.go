package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/smtpguard"
)

const (
	// maxReceived hops mean a loop (RFC 5321 section 6.3).
	maxReceived = 100
	// maxDirect mailboxes are delivered to while the client waits. More go to
	// the queue in one commit.
	maxDirect = 100
)

// Data takes the message and hands it over. It may still be running when the
// next command comes, after a message that was cut off.
func (s *session) Data(r io.Reader) error {
	begun, tx := time.Now(), s.current()
	if tx == nil {
		return smtpguard.Errorf(503, [3]int{5, 5, 1}, "Transaction was reset")
	}
	spool := envelope.NewSpool(s.srv.o.Spool)
	defer spool.Close()
	result, err := s.take(tx, r, spool)
	if err == nil {
		err = smtpguard.Errorf(250, [3]int{2, 0, 0}, result+" as "+tx.env.ID)
	} else {
		result = "refused"
	}
	reply := readError(err)
	level := slog.LevelInfo
	if reply.Code/100 == 4 && fault.Of(err) == fault.Internal {
		level = slog.LevelError
	}
	s.srv.results.WithLabelValues(s.door.proto, result).Inc()
	attrs := []any{
		"proto", s.door.proto, "cmd", "DATA", "id", tx.env.ID,
		"user", s.who.Address, "remote", s.conn.Addr(), "from", tx.env.From, "to", envelope.ForLog(tx.to[:min(len(tx.to), 20)]...), "size", spool.Size(),
		"dur", time.Since(begun), "result", reply.Code, "reply", reply.Message,
	}
	if own := (*gosmtp.SMTPError)(nil); !errors.As(err, &own) {
		attrs = append(attrs, "fault", fault.Of(err), "err", err)
	}
	s.srv.o.Log.Log(s.conn.Context(), level, "message", attrs...)
	return reply
}

// readError gives the reply for a message that could not be read or handed over.
func readError(err error) *gosmtp.SMTPError {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, gosmtp.ErrDataReset) {
		return smtpguard.Errorf(554, [3]int{5, 5, 2}, "Message cut off")
	}
	return smtpguard.Reply(err)
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}

// take reads, checks and hands over; the result is for the log and the client.
func (s *session) take(tx *transaction, r io.Reader, spool *envelope.Spool) (result string, err error) {
	ctx := s.conn.Context()
	env := tx.env
	env.Hop = s.hop(&env)
	if tx.trace > 0 {
		if env.Trace, err = envelope.Peel(r, tx.trace); err != nil {
			return "", err
		}
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	if _, err := io.CopyBuffer(struct{ io.Writer }{spool}, r, *buf); err != nil {
		return "", err
	}
	h, err := envelope.ReadHeader(spool.Reader())
	if err != nil {
		return "", err
	}
	if !s.door.peers && h.Count("received") > maxReceived {
		return "", smtpguard.Errorf(554, [3]int{5, 4, 6}, "Mail loop: too many Received fields")
	}
	var body envelope.Body = spool
	if s.door.signIn {
		if body, err = s.submitted(ctx, tx, h, spool); err != nil {
			return "", err
		}
	}
	return s.handOver(ctx, tx, env, body)
}

// handOver commits the message: to mailboxes if it is for few of them and
// nobody else, to the queue otherwise.
func (s *session) handOver(ctx context.Context, tx *transaction, env envelope.Envelope, body envelope.Body) (string, error) {
	if tx.foreign > 0 {
		return "Queued", s.enqueue(ctx, env, tx.to, body)
	}
	targets, ok, err := s.targets(ctx, tx)
	switch {
	case err != nil:
		return "", err
	case !ok:
		return "Queued", s.enqueue(ctx, env, tx.to, body)
	case len(targets) == 0: // lists without members
		return "Dropped", nil
	}
	var (
		failed         []string
		final, passing *gosmtp.SMTPError
		full           = true // every failure is a full mailbox
	)
	for i, err := range s.srv.deliver.Deliver(ctx, env, targets, body) {
		if err == nil {
			continue
		}
		failed = append(failed, targets[i].Address)
		r := smtpguard.Reply(err)
		if r.Code/100 == 5 {
			final = r
		} else {
			passing = r
		}
		full = full && r.Code == 452 && r.EnhancedCode == [3]int{4, 2, 2}
	}
	none := len(failed) == len(targets)
	switch {
	case len(failed) == 0:
		return "Delivered", nil
	case none && passing == nil:
		return "", final
	case none && full && !s.door.signIn:
		return "", passing // the client keeps it, and its people hear of it from there
	}
	// Once somebody has it, whoever sent it must hear who has not.
	if final != nil {
		env.Tell = true // and is known no better for it
	}
	if err := s.enqueue(ctx, env, failed, body); err != nil {
		return "", err
	}
	return "Queued", nil
}

// forwarded tells of a member elsewhere, whom only the queue can serve.
func forwarded(t directory.Target) bool { return t.Forward != "" }

// targets are the mailboxes of a transaction, each once; not ok when there are
// too many to wait for, or others than mailboxes.
func (s *session) targets(ctx context.Context, tx *transaction) (list []directory.Target, ok bool, err error) {
	seen := make(map[directory.MailboxID]bool)
	add := func(some []directory.Target) {
		for _, t := range some {
			if !seen[t.Mailbox] {
				seen[t.Mailbox] = true
				list = append(list, t)
			}
		}
	}
	add(tx.persons)
	for _, group := range tx.lists {
		for page := (directory.Page{Limit: maxDirect}); ; {
			some, err := s.srv.dir.Expand(ctx, group, page)
			if err != nil {
				return nil, false, err
			}
			if add(some); len(list) > maxDirect || slices.ContainsFunc(some, forwarded) {
				return nil, false, nil
			}
			if len(some) < page.Limit {
				break
			}
			page.After = some[len(some)-1].ID
		}
	}
	return list, len(list) <= maxDirect, nil
}

func (s *session) enqueue(ctx context.Context, env envelope.Envelope, to []string, body envelope.Body) error {
	return s.srv.queue.Enqueue(ctx, envelope.Submission{Envelope: env, To: to}, body)
}

// hop describes how the message came in (RFC 3848, RFC 6531 section 4.3).
func (s *session) hop(env *envelope.Envelope) *envelope.Hop {
	h := &envelope.Hop{By: s.srv.o.Hostname, With: "SMTP", ID: env.ID, Time: time.Now()}
	if !(s.srv.o.HideClients && s.who.ID != 0) {
		h.Helo, h.From = s.conn.Helo(), s.conn.Addr()
	}
	switch {
	case env.UTF8:
		h.With = "UTF8SMTP"
	case s.conn.Extended():
		h.With = "ESMTP"
	}
	if t := s.conn.TLS(); t != nil {
		h.With += "S"
		h.TLS = tls.VersionName(t.Version) + " " + tls.CipherSuiteName(t.CipherSuite)
	}
	if s.who.ID != 0 {
		h.With += "A"
	}
	return h
}
