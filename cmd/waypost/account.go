package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
)

type unlockCmd struct {
	Address string `arg:"" help:"Whom to forgive."`
}

type expireCmd struct {
	Address string `arg:"" help:"Whose account."`
	On      string `help:"The first day on which nobody signs in any more (2027-01-31), or a moment (2027-01-31T12:00:00Z)." placeholder:"DATE" xor:"when"`
	Never   bool   `help:"It ends never." xor:"when"`
}

type appPasswordCmd struct {
	Add struct {
		Address string `arg:"" help:"Whose account."`
		Name    string `arg:"" help:"What it is for: 'Ann's phone'."`
	} `cmd:"" help:"Make a password for one program. It is shown once."`
	List struct {
		Address string `arg:"" help:"Whose account."`
	} `cmd:"" help:"List application passwords and when they were used last."`
	Remove struct {
		Address string `arg:"" help:"Whose account."`
		Name    string `arg:"" help:"Which one."`
	} `cmd:"" help:"Revoke an application password at once."`
}

type factorCmd struct {
	Enable struct {
		Address string `arg:"" help:"Whose account."`
		Code    string `help:"The code that the authenticator shows: turns it on." placeholder:"CODE"`
	} `cmd:"" help:"Begin a second factor (TOTP), or turn on the one begun with --code."`
	Disable struct {
		Address string `arg:"" help:"Whose account."`
	} `cmd:"" help:"Turn the second factor off."`
	Show struct {
		Address string `arg:"" help:"Whose account."`
	} `cmd:"" help:"Tell whether a second factor is on and how many recovery codes are left."`
}

func (a *app) userUnlock(ctx context.Context, c *cli) error {
	u, err := a.dir.UserByAddress(ctx, operator(), c.User.Unlock.Address)
	if err != nil {
		return err
	}
	if err := a.dir.Unlock(ctx, operator(), u.ID); err != nil {
		return err
	}
	return a.out.done(map[string]string{"unlocked": u.Address}, "%s may sign in again; what failed before is forgiven.", u.Address)
}

// readWhen reads a day of this machine's calendar, or a moment.
func readWhen(text string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", time.RFC3339} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fault.New(fault.Invalid, "%q is not a date like 2027-01-31 or 2027-01-31T12:00:00Z", text)
}

func (a *app) userExpire(ctx context.Context, c *cli) error {
	in := c.User.Expire
	if in.On == "" && !in.Never {
		return fault.New(fault.Invalid, "say --on DATE, or --never")
	}
	var at time.Time
	if !in.Never {
		var err error
		if at, err = readWhen(in.On); err != nil {
			return err
		}
	}
	u, err := a.dir.UserByAddress(ctx, operator(), in.Address)
	if err != nil {
		return err
	}
	if err := a.dir.SetExpires(ctx, operator(), u.ID, at); err != nil {
		return err
	}
	if in.Never {
		return a.out.done(map[string]any{"address": u.Address, "expires": nil}, "The account of %s ends never.", u.Address)
	}
	return a.out.done(map[string]any{"address": u.Address, "expires": at}, "The account of %s ends on %s.", u.Address, when(at))
}

func (a *app) appPasswordAdd(ctx context.Context, c *cli) error {
	in := c.User.AppPassword.Add
	u, err := a.dir.UserByAddress(ctx, operator(), in.Address)
	if err != nil {
		return err
	}
	got, secret, err := a.dir.AddAppPassword(ctx, operator(), u.ID, in.Name)
	if err != nil {
		return err
	}
	return a.out.done(struct {
		directory.AppPassword
		Address, Password string
	}{got, u.Address, secret},
		"%s\n\nThat is the password of %q for %s. It is not shown again.", secret, got.Name, u.Address)
}

func (a *app) appPasswordList(ctx context.Context, c *cli) error {
	u, err := a.dir.UserByAddress(ctx, operator(), c.User.AppPassword.List.Address)
	if err != nil {
		return err
	}
	all, err := a.dir.AppPasswords(ctx, operator(), u.ID)
	if err != nil {
		return err
	}
	rows := make([][]any, len(all))
	for i, p := range all {
		rows[i] = []any{p.Name, when(p.Created), when(p.LastUsed), p.LastDoor, p.LastFrom}
	}
	return a.out.list(all, []any{"Name", "Made", "Last used", "At", "From"}, rows)
}

func (a *app) appPasswordRemove(ctx context.Context, c *cli) error {
	in := c.User.AppPassword.Remove
	u, err := a.dir.UserByAddress(ctx, operator(), in.Address)
	if err != nil {
		return err
	}
	if err := a.dir.RemoveAppPassword(ctx, operator(), u.ID, in.Name); err != nil {
		return err
	}
	return a.out.done(map[string]string{"removed": in.Name, "address": u.Address}, "%q of %s lets nobody in any more.", in.Name, u.Address)
}

func (a *app) factorEnable(ctx context.Context, c *cli) error {
	in := c.User.TOTP.Enable
	u, err := a.dir.UserByAddress(ctx, operator(), in.Address)
	if err != nil {
		return err
	}
	if in.Code == "" {
		k, err := a.dir.BeginFactor(ctx, operator(), u.ID)
		if err != nil {
			return err
		}
		return a.out.done(k, "%s\n\nSecret: %s\n\nAdd it to an authenticator, then: waypost user totp enable %s --code CODE", k.URL, k.Secret, u.Address)
	}
	codes, err := a.dir.ConfirmFactor(ctx, operator(), u.ID, in.Code)
	if err != nil {
		return err
	}
	return a.out.show(map[string]any{"address": u.Address, "recovery": codes}, func(w io.Writer) {
		fmt.Fprintf(w, "The second factor of %s is on. Each of these codes works once instead of one; they are not shown again:\n\n", u.Address)
		for _, code := range codes {
			fmt.Fprintln(w, " ", code)
		}
		fmt.Fprintln(w, "\nPrograms that sign in by themselves need application passwords now: waypost user app-password add")
	})
}

func (a *app) factorDisable(ctx context.Context, c *cli) error {
	u, err := a.dir.UserByAddress(ctx, operator(), c.User.TOTP.Disable.Address)
	if err != nil {
		return err
	}
	if err := a.dir.RemoveFactor(ctx, operator(), u.ID); err != nil {
		return err
	}
	return a.out.done(map[string]string{"disabled": u.Address}, "The second factor of %s is off.", u.Address)
}

func (a *app) factorShow(ctx context.Context, c *cli) error {
	u, err := a.dir.UserByAddress(ctx, operator(), c.User.TOTP.Show.Address)
	if err != nil {
		return err
	}
	s, err := a.dir.AccountState(ctx, operator(), u.ID)
	if err != nil {
		return err
	}
	state := "off"
	if s.Factor {
		state = fmt.Sprintf("on, %s left", count(s.Recovery, "recovery code"))
	}
	return a.out.done(map[string]any{"address": u.Address, "enabled": s.Factor, "recovery": s.Recovery}, "The second factor of %s is %s.", u.Address, state)
}

// account tells how an account stands; nothing of a room.
func (a *app) account(ctx context.Context, u directory.User) (s directory.AccountState, err error) {
	if u.Kind != directory.KindUser {
		return s, nil
	}
	return a.dir.AccountState(ctx, operator(), u.ID)
}

// lines tells it to people.
func accountLines(s directory.AccountState) [][2]string {
	if s.ID == 0 {
		return nil
	}
	password := "none"
	if s.HasPassword {
		password = "set " + when(s.PasswordSet)
	}
	switch {
	case s.MustChange:
		password += ", must be changed at the next sign-in"
	case !s.PasswordExpires.IsZero() && s.PasswordExpires.Before(time.Now()):
		password += ", expired " + when(s.PasswordExpires)
	case !s.PasswordExpires.IsZero():
		password += ", expires " + when(s.PasswordExpires)
	}
	factor := "off"
	if s.Factor {
		factor = "on"
	}
	lines := [][2]string{
		{"Password", password},
		{"Password policy", s.Policy},
		{"Second factor", factor},
		{"App passwords", fmt.Sprint(s.AppPasswords)},
	}
	if !s.Expires.IsZero() {
		lines = append(lines, [2]string{"Account ends", when(s.Expires)})
	}
	if s.Locked > 0 {
		text := "for " + s.Locked.Round(time.Second).String()
		if s.Locked > 10*365*24*time.Hour {
			text = "until it is unlocked"
		}
		lines = append(lines, [2]string{"Locked", text})
	}
	return lines
}
