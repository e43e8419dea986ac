package roles

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"waypost/directory"
	"waypost/internal/config"
	"waypost/internal/fault"
	"waypost/services/ldap"
)

// LDAP serves the directory to other programs. The directory must be near.
func (p *Program) LDAP(ctx context.Context) error {
	conf, err := p.tls()
	if err != nil {
		return err
	}
	c := p.Config.LDAP
	var external func(context.Context, []*x509.Certificate) (directory.Principal, error)
	if c.ClientCA != "" {
		if conf, err = withClientCA(conf, c.ClientCA); err != nil {
			return err
		}
		external = p.byCertificate
	}
	server, err := ldap.New(ldap.Config{
		Host: cmp.Or(c.Host, p.Config.Hostname), TLS: conf, External: external, PlainSignIn: c.Plaintext, Anonymous: c.Anonymous,
		ActiveDirectory: c.ActiveDirectory, MaxPage: c.MaxPage, MaxConns: p.Config.Limits.Connections,
		MaxPerAddress: p.Config.Limits.PerAddress, Log: p.Log, Metrics: p.Health.Registry,
	}, p.tree, p.gate)
	if err != nil {
		return err
	}
	for _, d := range []struct {
		name string
		at   config.Address
		door ldap.Door
	}{
		{"ldap", p.Config.Listen.LDAP, ldap.Door{}},
		{"ldaps", p.Config.Listen.LDAPS, ldap.Door{TLS: true}},
		{"gc", p.Config.Listen.GC, ldap.Door{Global: true}},
		{"gcs", p.Config.Listen.GCS, ldap.Door{TLS: true, Global: true}},
	} {
		if l, err := p.listen(ctx, d.name, d.at); err != nil {
			return err
		} else if l != nil {
			p.part(d.name, func(ctx context.Context) error { return server.ServeDoor(ctx, l, d.door) })
		}
	}
	return nil
}

// withClientCA asks for certificates of the authorities in file, without
// insisting on one.
func withClientCA(conf *tls.Config, file string) (*tls.Config, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ldap.client_ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fault.New(fault.Invalid, "ldap.client_ca: no certificate in %s", file)
	}
	conf = conf.Clone()
	conf.ClientCAs, conf.ClientAuth = pool, tls.VerifyClientCertIfGiven
	return conf, nil
}

// byCertificate signs in whose mail address the certificate names (RFC 5280
// §4.2.1.6, rfc822Name).
func (p *Program) byCertificate(ctx context.Context, chain []*x509.Certificate) (directory.Principal, error) {
	for _, address := range chain[0].EmailAddresses {
		u, err := p.dir.UserByAddress(ctx, directory.System("ldap"), address)
		switch {
		case fault.Of(err) == fault.NotFound:
		case err != nil:
			return directory.Principal{}, err
		case u.Kind == directory.KindUser && u.Enabled:
			return directory.Principal{
				ID: u.ID, Mailbox: u.Mailbox, HomeMDB: u.HomeMDB, Address: u.Address, Name: u.Name, Roles: u.Roles, Epoch: u.Epoch,
			}, nil
		}
	}
	return directory.Principal{}, fault.New(fault.Unauthenticated, "nobody has this certificate")
}
