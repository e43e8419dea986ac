package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/config"
	"waypost/internal/fault"
)

type policyCmd struct {
	List struct{} `cmd:"" help:"List the policies for passwords, the strongest first."`
	Show struct {
		Name string `arg:"" optional:"" help:"The policy; default: that of whom no other is for."`
		Of   string `help:"The policy that is for a person." placeholder:"ADDRESS"`
	} `cmd:"" help:"Show a policy, or the one that is for a person."`
	Set struct {
		Name       string           `arg:"" help:"The policy, made when it is not there; default: that of whom no other is for."`
		Precedence *int             `help:"Of several for one account the lowest counts; 1 is the strongest." placeholder:"N"`
		MinLength  *int             `help:"Least characters of a password." placeholder:"N"`
		History    *int             `help:"How many passwords must not come back." placeholder:"N"`
		MinAge     *config.Duration `help:"How old a password is before its owner changes it again, like 1d; 0s: no bound." placeholder:"TIME"`
		MaxAge     *config.Duration `help:"How old a password gets, like 180d; 0s: it never expires." placeholder:"TIME"`
		Complexity *bool            `negatable:"" help:"Characters of three kinds, and no part of the name, or not."`
		Attempts   *int             `help:"So many failures lock the account; 0: it is slowed down and never locked." placeholder:"N"`
		LockFor    *config.Duration `help:"How long it is locked, like 30m; 0s: until it is unlocked." placeholder:"TIME"`
		Window     *config.Duration `help:"How long a failure counts, like 30m." placeholder:"TIME"`
		For        []string         `help:"Whom it is for besides: an address, account, DN or path of organisational units (Sales/North); may be repeated." placeholder:"WHOM" sep:"none"`
		NotFor     []string         `help:"Whom it is for no more; as list or show tell it." placeholder:"WHOM" sep:"none"`
	} `cmd:"" help:"Make or change a policy; what is not named stays."`
	Remove struct {
		Name string `arg:"" help:"The policy."`
	} `cmd:"" help:"Remove a policy; of the default, what differs from the product's own."`
}

// policyRow is a policy as JSON has it: times as the configuration writes them.
type policyRow struct {
	Name       string
	Precedence int
	MinLength  int
	History    int
	MinAge     string
	MaxAge     string
	Complexity bool
	Attempts   int
	LockFor    string
	Window     string
	AppliesTo  []string
}

func rowOf(p directory.Policy) policyRow {
	text := func(d time.Duration) string { return config.Duration(d).String() }
	return policyRow{
		p.Name, p.Precedence, p.MinLength, p.History, text(p.MinAge), text(p.MaxAge), p.Complexity,
		p.LockoutThreshold, text(p.LockoutDuration), text(p.LockoutWindow), p.AppliesTo,
	}
}

func (a *app) policyList(ctx context.Context, _ *cli) error {
	all, err := a.dir.Policies(ctx, operator())
	if err != nil {
		return err
	}
	rows, plain := make([][]any, len(all)), make([]policyRow, len(all))
	for i, p := range all {
		plain[i] = rowOf(p)
		precedence := "-"
		if p.Precedence > 0 {
			precedence = fmt.Sprint(p.Precedence)
		}
		rows[i] = []any{p.Name, precedence, p.MinLength, p.History, ageText(p.MaxAge), lockText(p), strings.Join(p.AppliesTo, "\n")}
	}
	return a.out.list(plain, []any{"Policy", "Precedence", "Length", "History", "Expires after", "Locked", "For"}, rows)
}

func ageText(d time.Duration) string {
	if d == 0 {
		return "never"
	}
	return config.Duration(d).String()
}

func lockText(p directory.Policy) string {
	switch {
	case p.LockoutThreshold == 0:
		return "never, slowed down"
	case p.LockoutDuration == 0:
		return fmt.Sprintf("after %d, until unlocked", p.LockoutThreshold)
	}
	return fmt.Sprintf("after %d, for %s", p.LockoutThreshold, config.Duration(p.LockoutDuration))
}

// policyNamed finds a policy by its name in any case.
func (a *app) policyNamed(ctx context.Context, name string) (directory.Policy, error) {
	all, err := a.dir.Policies(ctx, operator())
	if err != nil {
		return directory.Policy{}, err
	}
	for _, p := range all {
		if strings.EqualFold(p.Name, name) {
			return p, nil
		}
	}
	return directory.Policy{}, fault.New(fault.NotFound, "no policy is called %q; see: waypost policy list", name)
}

func (a *app) policyShow(ctx context.Context, c *cli) error {
	in := c.Policy.Show
	name := in.Name
	switch {
	case in.Of != "" && name != "":
		return fault.New(fault.Invalid, "name a policy or a person, not both")
	case in.Of != "":
		u, err := a.dir.UserByAddress(ctx, operator(), in.Of)
		if err != nil {
			return err
		}
		s, err := a.dir.AccountState(ctx, operator(), u.ID)
		if err != nil {
			return err
		}
		name = s.Policy
	case name == "":
		name = directory.DefaultPolicy
	}
	p, err := a.policyNamed(ctx, name)
	if err != nil {
		return err
	}
	return a.out.show(rowOf(p), func(w io.Writer) {
		for _, f := range [][2]string{
			{"Policy", p.Name},
			{"Precedence", fmt.Sprint(p.Precedence)},
			{"Least length", count(p.MinLength, "character")},
			{"History", count(p.History, "password")},
			{"Least age", config.Duration(p.MinAge).String()},
			{"Expires after", ageText(p.MaxAge)},
			{"Complexity", fmt.Sprint(p.Complexity)},
			{"Locked", lockText(p)},
			{"Failures count", config.Duration(p.LockoutWindow).String()},
		} {
			fmt.Fprintf(w, "%-15s %s\n", f[0], f[1])
		}
		for _, name := range p.AppliesTo {
			fmt.Fprintf(w, "%-15s %s\n", "For", name)
		}
	})
}

func (a *app) policySet(ctx context.Context, c *cli) error {
	in := c.Policy.Set
	p, err := a.policyNamed(ctx, in.Name)
	if fault.Of(err) == fault.NotFound && err != nil {
		// A new one begins as the default is.
		if p, err = a.policyNamed(ctx, directory.DefaultPolicy); err == nil {
			p.Name, p.ID, p.Precedence = in.Name, 0, 100
		}
	}
	if err != nil {
		return err
	}
	for _, f := range []struct{ from, to *int }{
		{in.Precedence, &p.Precedence},
		{in.MinLength, &p.MinLength},
		{in.History, &p.History},
		{in.Attempts, &p.LockoutThreshold},
	} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	for _, f := range []struct {
		from *config.Duration
		to   *time.Duration
	}{
		{in.MinAge, &p.MinAge},
		{in.MaxAge, &p.MaxAge},
		{in.LockFor, &p.LockoutDuration},
		{in.Window, &p.LockoutWindow},
	} {
		if f.from != nil {
			*f.to = f.from.D()
		}
	}
	if in.LockFor != nil && in.Window == nil && p.LockoutDuration > 0 {
		p.LockoutWindow = min(p.LockoutWindow, p.LockoutDuration)
	}
	if in.Complexity != nil {
		p.Complexity = *in.Complexity
	}
	for _, name := range in.NotFor {
		left := without(p.AppliesTo, name)
		if len(left) == len(p.AppliesTo) {
			return fault.New(fault.NotFound, "the policy %s is not for %q", p.Name, name)
		}
		p.AppliesTo = left
	}
	p.AppliesTo = append(slices.Clone(p.AppliesTo), in.For...)
	got, err := a.dir.SetPolicy(ctx, operator(), p)
	if err != nil {
		return err
	}
	return a.out.done(rowOf(got), "The policy %s is set.", got.Name)
}

func (a *app) policyRemove(ctx context.Context, c *cli) error {
	name := c.Policy.Remove.Name
	if err := a.dir.RemovePolicy(ctx, operator(), name); err != nil {
		return err
	}
	return a.out.done(map[string]string{"removed": name}, "Removed the policy %s.", name)
}
