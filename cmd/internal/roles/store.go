package roles

import (
	"context"

	"waypost/services/imap"
)

// Mailboxes serves mail programs over IMAP.
func (p *Program) Mailboxes(ctx context.Context) error {
	conf, err := p.tls()
	if err != nil {
		return err
	}
	server, err := imap.New(imap.Config{
		TLS: conf, MaxAppend: int64(p.Config.SMTP.MaxMessageSize), MaxConns: p.Config.Limits.Connections,
		Log: p.Log, Metrics: p.Health.Registry,
	}, p.mail, p.gate)
	if err != nil {
		return err
	}
	if l, err := p.listen(ctx, "imap", p.Config.Listen.IMAP); err != nil {
		return err
	} else if l != nil {
		p.part("imap", func(ctx context.Context) error { return server.Serve(ctx, l) })
	}
	if l, err := p.listen(ctx, "imaps", p.Config.Listen.IMAPS); err != nil {
		return err
	} else if l != nil {
		p.part("imaps", func(ctx context.Context) error { return server.ServeTLS(ctx, l) })
	}
	return nil
}
