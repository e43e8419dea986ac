package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"waypost/directory"
	"waypost/internal/fault"
)

type oauthCmd struct {
	Client struct {
		Add struct {
			ID           string   `arg:"" help:"Its client_id: a-z, 0-9, - and ."`
			Name         string   `help:"What people see when it asks for access." required:"" placeholder:"NAME"`
			Redirect     []string `help:"Where browsers may be sent back to, letter by letter; of http://127.0.0.1/… any port." placeholder:"URL"`
			Scope        []string `help:"What it may ask for: mail, calendar, contacts, offline_access, openid, profile, email. None: all." placeholder:"SCOPE"`
			Confidential bool     `help:"It is a server that keeps a secret, which is printed once."`
			Trusted      bool     `help:"It is the organisation's own: people are not asked to consent."`
		} `cmd:"" help:"Let a program ask for access (OAuth 2.1, code with PKCE or device flow)."`
		List   struct{} `cmd:"" help:"List the programs that may ask."`
		Remove struct {
			ID string `arg:"" help:"Its client_id."`
		} `cmd:"" help:"Remove a program; what it was granted ends at once."`
	} `cmd:"" help:"Programs that may ask for access."`
}

type sessionCmd struct {
	List struct {
		Address string `arg:"" help:"Whose account."`
	} `cmd:"" help:"List where somebody is signed in: browsers, and programs that were granted access."`
	End struct {
		Address string `arg:"" help:"Whose account."`
		Session int64  `help:"This one alone; without, all of them." placeholder:"NUMBER"`
	} `cmd:"" help:"Sign somebody out, everywhere, within a second."`
}

func (a *app) clientAdd(ctx context.Context, c *cli) error {
	in := c.OAuth.Client.Add
	secret, err := a.dir.AddOAuthClient(ctx, operator(), directory.OAuthClient{
		ID: in.ID, Name: in.Name, Redirects: in.Redirect, Scopes: in.Scope, Confidential: in.Confidential, Trusted: in.Trusted,
	})
	if err != nil {
		return err
	}
	if secret == "" {
		return a.out.done(map[string]string{"client": in.ID}, "%s may ask for access.", in.ID)
	}
	return a.out.show(map[string]string{"client": in.ID, "secret": secret}, func(w io.Writer) {
		fmt.Fprintf(w, "%s may ask for access. Its secret, which is not shown again:\n\n%s\n", in.ID, secret)
	})
}

func (a *app) clientList(ctx context.Context, _ *cli) error {
	all, err := a.dir.OAuthClients(ctx, operator())
	if err != nil {
		return err
	}
	rows := make([][]any, len(all))
	for i, c := range all {
		kind := "public"
		if c.Confidential {
			kind = "confidential"
		}
		if c.Trusted {
			kind += ", trusted"
		}
		rows[i] = []any{c.ID, c.Name, kind, strings.Join(c.Scopes, " "), strings.Join(c.Redirects, " ")}
	}
	return a.out.list(all, []any{"Client", "Name", "Kind", "Scopes", "Redirects"}, rows)
}

func (a *app) clientRemove(ctx context.Context, c *cli) error {
	id := c.OAuth.Client.Remove.ID
	if err := a.dir.RemoveOAuthClient(ctx, operator(), id); err != nil {
		return err
	}
	return a.out.done(map[string]string{"removed": id}, "%s is removed, and what it was granted is over.", id)
}

func (a *app) sessionList(ctx context.Context, c *cli) error {
	u, err := a.dir.UserByAddress(ctx, operator(), c.Session.List.Address)
	if err != nil {
		return err
	}
	all, err := a.dir.SessionsOf(ctx, operator(), u.ID)
	if err != nil {
		return err
	}
	rows := make([][]any, len(all))
	for i, n := range all {
		what := n.Agent
		if n.Client != "" {
			what = n.Name + " (" + n.Scope + ")"
		}
		rows[i] = []any{n.ID, what, strings.Join(n.How, " "), n.From, n.Created.Local().Format("2006-01-02 15:04"), n.Used.Local().Format("2006-01-02 15:04")}
	}
	return a.out.list(all, []any{"Session", "Browser or program", "How", "From", "Since", "Last used"}, rows)
}

func (a *app) sessionEnd(ctx context.Context, c *cli) error {
	in := c.Session.End
	u, err := a.dir.UserByAddress(ctx, operator(), in.Address)
	if err != nil {
		return err
	}
	n := 1
	switch {
	case in.Session < 0:
		return fault.New(fault.Invalid, "a session has a number above 0")
	case in.Session > 0:
		err = a.dir.EndSession(ctx, operator(), u.ID, directory.SessionID(in.Session))
	default:
		n, err = a.dir.EndSessions(ctx, operator(), u.ID, 0)
	}
	if err != nil {
		return err
	}
	return a.out.done(map[string]any{"ended": n, "address": u.Address}, "%d sessions of %s are over.", n, u.Address)
}
