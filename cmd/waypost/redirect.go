package main

import (
	"context"

	"waypost/directory"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// redirection are the flags of where a user's mail goes on to.
type redirection struct {
	Forward *string `help:"Where the user's mail goes instead: the address of a user, group or contact here; none ends it." placeholder:"ADDRESS"`
	Copy    *bool   `negatable:"" help:"Mail that is forwarded stays in the mailbox too, or not."`
}

func (r *redirection) none() bool { return r.Forward == nil && r.Copy == nil }

// redirect changes where a user's mail goes. It needs the tree, and a running
// program is not asked.
func (a *app) redirect(ctx context.Context, u *directory.User, r *redirection) error {
	if r.none() {
		return nil
	}
	if err := a.openTree(ctx); err != nil {
		return err
	}
	var mods []tree.Modification
	set := func(name string, values ...string) {
		mods = append(mods, tree.Modification{Op: tree.ModReplace, Name: name, Values: values})
	}
	if r.Forward != nil {
		to, err := a.recipients(ctx, []string{*r.Forward})
		if err != nil {
			return err
		}
		var values []string
		for _, t := range to {
			values = append(values, t.dn)
		}
		set("altRecipient", values...)
	}
	switch {
	case r.Copy == nil:
	case *r.Copy:
		set("deliverAndRedirect", "TRUE")
	default:
		set("deliverAndRedirect")
	}
	dn, ok := a.tree().Resolve(u.ID)
	if !ok {
		return fault.New(fault.NotFound, "no such user")
	}
	_, err := a.tree().ModifyEntry(ctx, operator(), dn, mods, tree.Options{From: "command line"})
	return err
}

// forwards says where mail to an address goes on to.
func (a *app) forwards(ctx context.Context, address string) (string, error) {
	r, err := a.dir.Resolve(ctx, address)
	if err != nil || r.Forward == "" {
		return "", err
	}
	if r.Standing == directory.Person {
		return r.Forward + ", and a copy here", nil
	}
	return r.Forward, nil
}
