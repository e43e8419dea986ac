package roles

import (
	"context"
	"net"
)

// listener is net.Listener, named for tables of doors.
type listener = net.Listener

// Everything is all roles in one process: the directory, the store and the queue
// are near.
func (p *Program) Everything(ctx context.Context) error {
	if err := p.OpenDirectory(ctx); err != nil {
		return err
	}
	p.openGate()
	if err := p.serveSocket(); err != nil {
		return err
	}
	if err := p.OpenMail(ctx); err != nil {
		return err
	}
	near := p.deliverNear()
	if err := p.openQueue(ctx); err != nil {
		return err
	}
	if err := p.move(); err != nil {
		return err
	}
	p.maintain()
	if err := p.LMTP(ctx, near); err != nil {
		return err
	}
	for _, open := range []func(context.Context) error{p.Transport, p.Mailboxes, p.Frontend, p.LDAP} {
		if err := open(ctx); err != nil {
			return err
		}
	}
	return nil
}

// DirectoryServer is waypost-directory: it alone has the directory's database,
// and the LDAP doors.
func (p *Program) DirectoryServer(ctx context.Context) error {
	if err := p.OpenDirectory(ctx); err != nil {
		return err
	}
	p.openGate()
	if err := p.serveSocket(); err != nil {
		return err
	}
	if err := p.LDAP(ctx); err != nil {
		return err
	}
	return p.serveDirectory(ctx)
}

// StoreServer is waypost-store: LMTP, IMAP, maintenance and the mover.
func (p *Program) StoreServer(ctx context.Context) error {
	if err := p.farDirectory(ctx); err != nil {
		return err
	}
	if err := p.OpenMail(ctx); err != nil {
		return err
	}
	near := p.deliverNear()
	if err := p.move(); err != nil {
		return err
	}
	p.maintain()
	if err := p.LMTP(ctx, near); err != nil {
		return err
	}
	return p.Mailboxes(ctx)
}

// TransportServer is waypost-smtp: it has the queue and no mailbox.
func (p *Program) TransportServer(ctx context.Context) error {
	if err := p.farDirectory(ctx); err != nil {
		return err
	}
	if err := p.deliverFar(); err != nil {
		return err
	}
	if err := p.openQueue(ctx); err != nil {
		return err
	}
	return p.Transport(ctx)
}

// FrontendServer is waypost-frontend: phones and calendar programs over HTTPS.
func (p *Program) FrontendServer(ctx context.Context) error {
	if err := p.farDirectory(ctx); err != nil {
		return err
	}
	if err := p.OpenMail(ctx); err != nil {
		return err
	}
	return p.Frontend(ctx)
}
