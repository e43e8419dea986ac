package roles

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"strings"

	"waypost/services/delivery"
	"waypost/services/relay"
	relaypg "waypost/services/relay/postgres"
	"waypost/services/smtp"
)

// openQueue opens the queue and runs the relay that empties it.
func (p *Program) openQueue(ctx context.Context) error {
	if p.Config.Database.QueueURL == "" {
		return missing("database.queue_url", "the queue's database")
	}
	db, err := p.database(ctx, "queue", p.Config.Database.QueueURL)
	if err != nil {
		return err
	}
	c := p.Config.SMTP
	r := relay.New(relaypg.New(db), p.dir, p.deliver, relay.Options{
		Hostname: c.Hostname, Port: uint16(c.OutboundPort), Resolver: resolver(c.DNS), Moderation: c.Moderation.D(),
		SmartHost: relay.SmartHost{
			Addr: c.SmartHost, User: c.SmartHostUser, Password: c.SmartHostPass,
			ImplicitTLS: portOf(c.SmartHost) == 465, Verify: !loopback(c.SmartHost), AllowClear: loopback(c.SmartHost),
		},
		TLS: &tls.Config{MinVersion: tls.VersionTLS12}, Log: p.Log, Metrics: p.Health.Registry,
	})
	p.queue = r
	p.part("relay", r.Run)
	return nil
}

func portOf(addr string) int {
	_, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(port)
	return n
}

// resolver asks the name server at addr, or the system's.
func resolver(addr string) relay.Resolver {
	if addr == "" {
		return nil
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}}
}

// move runs the mover: what mailboxes send goes to mailboxes here, or to the
// transport, near or far.
func (p *Program) move() error {
	var transport delivery.Transport = p.queue
	if p.queue == nil {
		servers := strings.Fields(p.Config.Links.Relay)
		conf, err := p.linkClient("waypost-smtp", servers...)
		if err != nil {
			return err
		}
		transport = &smtp.PeerClient{Hostname: p.Config.SMTP.Hostname, Servers: servers, TLS: conf}
	}
	m := delivery.NewMover(p.mail, p.dir, p.deliver, transport, delivery.MoverOptions{Hostname: p.Config.SMTP.Hostname, Log: p.Log})
	p.part("mover", m.Run)
	return nil
}

// relayDoor is the inner door's address; in one process nobody knocks there.
func (p *Program) relayDoor() string {
	if p.role() == "waypost" {
		return ""
	}
	return string(p.Config.Listen.Relay)
}
