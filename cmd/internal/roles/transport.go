package roles

import (
	"context"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/services/delivery"
	"waypost/services/lmtp"
	"waypost/services/meeting"
	"waypost/services/smtp"
	"waypost/services/vacation"
)

// deliverer puts messages into mailboxes, near (delivery.Service) or far
// (lmtp.Client).
type deliverer interface {
	Deliver(ctx context.Context, env envelope.Envelope, to []directory.Target, body envelope.Body) []error
}

// deliverNear stores in this process.
func (p *Program) deliverNear() *delivery.Service {
	d := delivery.New(p.mail, delivery.Options{
		Calendars: p.meetings(), Away: vacation.New(p.mail, p.dir, vacation.Options{Log: p.Log}),
		MaxSize: int64(p.Config.SMTP.MaxMessageSize), Log: p.Log, Metrics: p.Health.Registry,
	})
	p.deliver = d
	return d
}

// meetings is the role that delivery and the doors to calendars share.
func (p *Program) meetings() *meeting.Service {
	return meeting.New(p.mail, p.dir, meeting.Options{Log: p.Log})
}

// deliverFar hands over to store servers.
func (p *Program) deliverFar() error {
	conf, err := p.linkClient("waypost-store", p.Config.Links.LMTP...)
	if err != nil {
		return err
	}
	c := lmtp.NewClient(lmtp.ClientOptions{
		Hostname: p.Config.SMTP.Hostname, Servers: p.storeServers, TLS: conf, Log: p.Log,
	})
	p.OnClose(c.Close)
	p.deliver = c
	return nil
}

// LMTP opens the door to the mailboxes for other programs.
func (p *Program) LMTP(ctx context.Context, d *delivery.Service) error {
	l, err := p.listen(ctx, "lmtp", p.Config.Listen.LMTP)
	if err != nil || l == nil {
		return err
	}
	o := lmtp.Options{
		Hostname: p.Config.SMTP.Hostname, MaxSize: int64(p.Config.SMTP.MaxMessageSize), TrustLoopback: true,
		MaxConns: p.Config.Limits.Connections, Log: p.Log, Metrics: p.Health.Registry,
	}
	if o.TLS, err = p.linkServer(p.Config.Listen.LMTP, "waypost-smtp"); err != nil {
		return err
	}
	server := lmtp.New(p.dir, d, o)
	p.part("lmtp", func(ctx context.Context) error { return server.Serve(ctx, l) })
	return nil
}

// Transport opens the doors for mail and runs the queue.
func (p *Program) Transport(ctx context.Context) error {
	conf, err := p.tls()
	if err != nil {
		return err
	}
	o := smtp.Options{
		Hostname: p.Config.SMTP.Hostname, Postmaster: p.Config.SMTP.Postmaster, TLS: conf, LoopbackClear: p.Config.Auth.PlaintextLoopback, LoopbackPeers: true,
		MaxSize: int64(p.Config.SMTP.MaxMessageSize), MaxRecipients: p.Config.SMTP.MaxRecipients,
		MaxConns: p.Config.Limits.Connections, MaxPerAddress: p.Config.Limits.PerAddress,
		Log: p.Log, Metrics: p.Health.Registry,
	}
	if o.PeerTLS, err = p.linkServer(p.Config.Listen.Relay, "waypost-store", "waypost-frontend"); err != nil {
		return err
	}
	server := smtp.New(p.dir, p.gate, p.deliver, p.queue, o)
	for _, d := range []struct {
		name  string
		addr  string
		serve func(context.Context, listener) error
	}{
		{"smtp", string(p.Config.Listen.SMTP), server.ServeMX},
		{"submission", string(p.Config.Listen.Submission), server.ServeSubmission},
		{"submissions", string(p.Config.Listen.Submissions), server.ServeSubmissions},
		{"relay", p.relayDoor(), server.ServePeer},
	} {
		l, err := p.doors.Listen(ctx, d.name, d.addr)
		if err != nil {
			return err
		}
		if l != nil {
			p.part(d.name, func(ctx context.Context) error { return d.serve(ctx, l) })
		}
	}
	return nil
}
