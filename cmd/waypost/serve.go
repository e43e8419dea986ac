package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"waypost/cmd/internal/roles"
	"waypost/internal/demo"
	"waypost/internal/fault"
	"waypost/internal/serve"
)

type serveCmd struct {
	Demo bool `help:"Make the demonstration organisation example.test; refuses doors beyond this machine."`
}

// serve runs every role in this process.
func (a *app) serve(ctx context.Context, c *cli) error {
	if c.Serve.Demo && a.cfg.SMTP.Postmaster == "" {
		a.cfg.SMTP.Postmaster = "postmaster@" + demo.Domain
	}
	// First of all: what follows must not touch the files of another one.
	unlock, err := lockData(a.cfg.Data)
	if err != nil {
		return err
	}
	defer unlock()
	p := roles.New("waypost", a.cfg)
	defer p.Close()
	if err := serve.Withdraw(a.cfg.Data); err != nil {
		return err
	}
	if a.cfg.Database.Private() {
		stop, err := roles.Private(ctx, a.cfg, p.Log, false)
		if err != nil {
			return err
		}
		p.OnClose(stop)
	} else if err := roles.Migrate(ctx, a.cfg); err != nil {
		return err
	}
	if err := p.Everything(ctx); err != nil {
		return err
	}
	if c.Serve.Demo {
		if open := p.BeyondLoopback(); len(open) > 0 {
			return fault.New(fault.Invalid, "--demo has passwords that everybody knows, and these doors are open to other machines: %s; listen on 127.0.0.1", strings.Join(open, ", "))
		}
	}
	return p.Run(ctx, func(ctx context.Context, addr map[string]string) error {
		if !c.Serve.Demo {
			return nil
		}
		a.dir, a.mail = p.Directory(), p.Mail()
		if err := a.makeDemo(ctx); err != nil {
			return fmt.Errorf("demonstration: %w", err)
		}
		printDemo(addr)
		return nil
	})
}

// printDemo tells how to try it.
func printDemo(addr map[string]string) {
	port := func(door string) string { _, p, _ := net.SplitHostPort(addr[door]); return p }
	fmt.Fprintf(os.Stdout, `
Waypost is running with the demonstration organisation %[1]s.

Accounts    alice, bob, carol, dave (people) and admin (administrator)
            address NAME@%[1]s, password %[2]s
Group       staff@%[1]s         Room  room1@%[1]s

Phone       account type Exchange (ActiveSync), e-mail alice@%[1]s,
            server 127.0.0.1:%[3]s, user name alice@%[1]s, TLS on;
            accept the self-signed certificate. An emulator on this machine
            can be pointed at that address; a real phone needs the server on
            your network: see docs/running.md.
Mail program
            IMAP   127.0.0.1 port %[4]s TLS (or %[5]s STARTTLS)
            SMTP   127.0.0.1 port %[6]s TLS (or %[7]s STARTTLS), sign in as alice@%[1]s
Try it      swaks --server 127.0.0.1:%[8]s --from you@example.net --to alice@%[1]s
            waypost mailbox show alice@%[1]s

Ctrl-C ends it.
`, demo.Domain, demo.Password, port("https"), port("imaps"), port("imap"), port("submissions"), port("submission"), port("smtp"))
}

type readyCmd struct {
	Wait time.Duration `help:"How long to wait." default:"0s"`
}

// ready exits 0 once every door answers.
func (a *app) ready(ctx context.Context, c *cli) error {
	ctx, cancel := context.WithTimeout(ctx, max(c.Ready.Wait, 3*time.Second))
	defer cancel()
	doors, err := serve.AwaitReady(ctx, a.cfg.Data)
	if err != nil {
		return err
	}
	return a.out.done(doors, "ready: %d doors answer", len(doors))
}
