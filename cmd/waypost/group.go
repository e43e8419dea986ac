package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"waypost/directory"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

func isExists(err error) bool   { return err != nil && fault.Of(err) == fault.Exists }
func isNotFound(err error) bool { return err != nil && fault.Of(err) == fault.NotFound }

type groupCmd struct {
	Add struct {
		Address string   `arg:"" help:"The group's address."`
		Name    string   `help:"The name that others see; the address if not given."`
		Member  []string `help:"The address of a member; may be repeated, and may be a group."`
		groupRules
	} `cmd:"" help:"Add a group, or members to one."`
	Set struct {
		Address string  `arg:"" help:"The group."`
		Name    *string `help:"The name that others see."`
		groupRules
	} `cmd:"" help:"Change what holds for a group; what is not named stays. A list takes the place of the one before, none empties it."`
	Remove struct {
		Address string   `arg:""`
		Member  []string `help:"Remove these members and keep the group."`
	} `cmd:"" help:"Remove a group, or members of one."`
	Show struct {
		Address string `arg:""`
	} `cmd:"" help:"Show a group, what holds for it, and its direct members."`
	List struct{} `cmd:"" help:"List the groups."`
}

func (a *app) groupAdd(ctx context.Context, c *cli) error {
	in := c.Group.Add
	if in.Name == "" {
		in.Name = in.Address
	}
	var mods []tree.Modification
	if !in.none() {
		if err := a.openTree(ctx); err != nil {
			return err
		}
		if in.Dynamic != nil {
			if len(in.Member) > 0 {
				return fault.New(fault.Invalid, "a group has members, or finds them by --dynamic")
			}
			if err := a.addDynamic(ctx, in.Address, in.Name, &in.groupRules); err != nil {
				return err
			}
			g, err := a.dir.Group(ctx, operator(), in.Address)
			if err != nil {
				return err
			}
			return a.out.done(g, "%s finds %s now.", g.Address, count(g.Count, "member"))
		}
		var err error
		if mods, err = a.mods(ctx, &in.groupRules); err != nil {
			return err
		}
	}
	g, err := a.dir.AddGroup(ctx, operator(), in.Address, in.Name)
	fresh := err == nil
	switch {
	case isExists(err) && len(in.Member) > 0:
		// The group may be there already: then this adds members to it.
		old, gerr := a.dir.Group(ctx, operator(), in.Address)
		if gerr != nil {
			return errors.Join(err, gerr)
		}
		g = old
	case err != nil:
		return err
	}
	if err := a.rule(ctx, in.Address, mods); err != nil {
		if fresh { // all or nothing
			err = errors.Join(err, a.dir.RemoveGroup(ctx, operator(), g.ID))
		}
		return err
	}
	if len(in.Member) > 0 {
		if err := a.dir.SetMembers(ctx, operator(), g.ID, in.Member, nil); err != nil {
			return err
		}
	}
	g, err = a.dir.Group(ctx, operator(), in.Address)
	if err != nil {
		return err
	}
	return a.out.done(g, "%s has %s.", g.Address, count(g.Count, "member"))
}

func (a *app) groupRemove(ctx context.Context, c *cli) error {
	in := c.Group.Remove
	g, err := a.dir.Group(ctx, operator(), in.Address)
	if err != nil {
		return err
	}
	if len(in.Member) > 0 {
		if err := a.dir.SetMembers(ctx, operator(), g.ID, nil, in.Member); err != nil {
			return err
		}
		return a.out.done(map[string]any{"group": g.Address, "removed": in.Member}, "Removed %s from %s.", count(len(in.Member), "member"), g.Address)
	}
	if err := a.dir.RemoveGroup(ctx, operator(), g.ID); err != nil {
		return err
	}
	return a.out.done(map[string]string{"removed": g.Address}, "Removed %s.", g.Address)
}

func (a *app) groupShow(ctx context.Context, c *cli) error {
	g, err := a.dir.Group(ctx, operator(), c.Group.Show.Address)
	if err != nil {
		return err
	}
	return a.out.show(g, func(w io.Writer) {
		fmt.Fprintf(w, "%s  %s  (%s)\n", g.Address, g.Name, count(g.Count, "member"))
		showRules(w, &g.GroupRules)
		for _, m := range g.Members {
			fmt.Fprintf(w, "  %-7s %-32s %s\n", m.Kind, m.Address, m.Name)
		}
	})
}

func (a *app) groupList(ctx context.Context, _ *cli) error {
	var all []directory.Group
	for p := (directory.Page{Limit: 1000}); ; {
		page, err := a.dir.Groups(ctx, operator(), p)
		if err != nil {
			return err
		}
		all = append(all, page...)
		if len(page) < p.Limit {
			break
		}
		p.After = page[len(page)-1].ID
	}
	rows := make([][]any, len(all))
	for i, g := range all {
		rows[i] = []any{g.Address, g.Name, g.Count}
	}
	return a.out.list(all, []any{"Address", "Name", "Members"}, rows)
}
