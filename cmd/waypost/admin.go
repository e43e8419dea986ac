package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"waypost/cmd/internal/roles"
	"waypost/internal/config"
	"waypost/internal/fault"
	"waypost/internal/tlsconf"
	"waypost/migrations"
)

type migrateCmd struct {
	Roles bool `help:"Also make the database roles and their schemas, with the passwords of the URLs; needs database.admin_url. And the certificates of the links."`
}

// migrate brings every schema up to date, or the private cluster's.
func (a *app) migrate(ctx context.Context, c *cli) error {
	if err := a.join(ctx, quietLog()); err != nil {
		return err
	}
	defer a.more.close()
	if c.Migrate.Roles {
		if err := roles.Prepare(ctx, a.cfg); err != nil {
			return err
		}
		if err := a.makeLinks(); err != nil {
			return err
		}
	}
	if err := roles.Migrate(ctx, a.cfg); err != nil {
		return err
	}
	got := map[string]int64{}
	for s, url := range map[migrations.Schema]string{
		migrations.Directory: a.cfg.Database.DirectoryURL, migrations.Mail: a.cfg.Database.Mail()["default"], migrations.Queue: a.cfg.Database.QueueURL,
	} {
		if url == "" {
			continue
		}
		v, err := migrations.Version(ctx, url, s)
		if err != nil {
			return err
		}
		got[string(s)] = v
	}
	return a.out.show(got, func(w io.Writer) {
		for _, s := range migrations.Schemas() {
			if v, ok := got[string(s)]; ok {
				fmt.Fprintf(w, "%-10s version %d\n", s, v)
			}
		}
	})
}

type confCmd struct {
	Describe struct{} `cmd:"" help:"Print a configuration file with every key, its meaning and its default."`
	Check    struct{} `cmd:"" help:"Check the configuration and say what is wrong, by file, line and key."`
}

func (a *app) configDescribe(context.Context, *cli) error {
	_, err := fmt.Fprint(a.out.out, config.Describe())
	return err
}

// configCheck opens the files that the configuration names; what else may be
// wrong with it was refused before.
func (a *app) configCheck(context.Context, *cli) error {
	for _, p := range []struct{ cert, key, name string }{
		{a.cfg.TLS.Cert, a.cfg.TLS.Key, "tls.cert and tls.key"},
		{a.cfg.TLS.LinkCert, a.cfg.TLS.LinkKey, "tls.link_cert and tls.link_key"},
	} {
		if p.cert == "" {
			continue
		}
		if _, err := tls.LoadX509KeyPair(p.cert, p.key); err != nil {
			return fault.From(fault.Invalid, err, "%s", p.name)
		}
	}
	return a.out.done(map[string]string{"result": "ok"}, "The configuration is right.")
}

type linksCmd struct {
	Init struct{} `cmd:"" help:"Make the certificates by which the programs know each other, below DATA/links. May be repeated."`
}

func (a *app) linksInit(context.Context, *cli) error {
	if err := a.makeLinks(); err != nil {
		return err
	}
	dir := filepath.Join(a.cfg.Data, "links")
	return a.out.done(map[string]string{"links": dir}, "The certificates are in %s. Give each machine ca.pem and its own program's .pem and .key.", dir)
}

func (a *app) makeLinks() error {
	dir := filepath.Join(a.cfg.Data, "links")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	authority, err := tlsconf.OpenAuthority(dir)
	if err != nil {
		return fault.From(fault.Of(err), err, "certificates of the links in %s", dir)
	}
	for _, r := range tlsconf.Roles() {
		if err := authority.Issue(r); err != nil {
			return err
		}
	}
	return nil
}
