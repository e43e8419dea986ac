package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"waypost/directory"
	"waypost/directory/access"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

type delegateCmd struct {
	Admin  string   `arg:"" optional:"" help:"Who may: the address or account of a person or group, or a DN."`
	On     string   `help:"Where: an organisational unit as a DN or a path (Sales/North), or a domain." placeholder:"OU"`
	Allow  []string `help:"What: reset-password, create-users, create-groups, manage-members, edit-users, full-control; several with commas." placeholder:"RIGHT"`
	List   bool     `help:"Show what is delegated, to everybody and everywhere or as ADMIN and --on say."`
	Revoke bool     `help:"Take back what --allow names, or everything."`
}

// delegation is an entry of an access-control list.
type delegation struct {
	On, Who, Entry string
}

func (a *app) delegate(ctx context.Context, c *cli) error {
	in := c.Delegate
	if in.List {
		return a.delegated(ctx, in)
	}
	if in.Admin == "" || in.On == "" || len(in.Allow) == 0 && !in.Revoke {
		return fault.New(fault.Invalid, "say who, --on which unit and --allow what, or --list; see: waypost delegate --help")
	}
	who, name, err := a.whoIs(ctx, in.Admin)
	if err != nil {
		return err
	}
	on, err := a.unit(in.On)
	if err != nil {
		return err
	}
	have, err := a.entriesOf(ctx, on)
	if err != nil {
		return err
	}
	named, err := access.Delegate(who, in.Allow...)
	if err != nil {
		return err
	}
	var texts []string
	for _, e := range named {
		texts = append(texts, e.String())
	}
	mod := tree.Modification{Op: tree.ModAdd, Name: access.AttributeName}
	if in.Revoke {
		mod.Op = tree.ModDelete
	}
	for _, h := range have {
		e, err := access.Parse(h)
		switch mine := err == nil && e.Who == who; {
		case in.Revoke && mine && (len(texts) == 0 || slices.Contains(texts, e.String())):
			mod.Values = append(mod.Values, h)
		case !in.Revoke && mine:
			texts = slices.DeleteFunc(texts, func(t string) bool { return t == e.String() })
		}
	}
	if !in.Revoke {
		mod.Values = texts
	}
	if len(mod.Values) > 0 {
		if _, err := a.tree().ModifyEntry(ctx, operator(), on, []tree.Modification{mod}, tree.Options{From: "command line"}); err != nil {
			return err
		}
	}
	res := struct {
		On, Who string
		Added   []string
		Removed []string
	}{On: on.String(), Who: name}
	if in.Revoke {
		res.Removed = mod.Values
		return a.out.done(res, "Took %s from %s on %s.", countOf(len(mod.Values), "entry", "entries"), name, on)
	}
	res.Added = mod.Values
	if len(mod.Values) == 0 {
		return a.out.done(res, "%s has that on %s already.", name, on)
	}
	return a.out.done(res, "%s may now on %s: %s.", name, on, strings.Join(in.Allow, ", "))
}

// whoIs finds a person or group, and the name to call it by.
func (a *app) whoIs(ctx context.Context, name string) (access.Who, string, error) {
	dn, err := a.named(ctx, name)
	if err != nil {
		return 0, "", err
	}
	var id directory.ObjectID
	err = a.tree().Search(ctx, operator(), &tree.Query{Base: dn, Scope: tree.Base, Attributes: []string{"1.1"}}, func(e *tree.Entry) error {
		id = e.ID
		return nil
	})
	if err == nil && id == 0 {
		err = fault.New(fault.NotFound, "nobody is called %s", name)
	}
	return access.Who(id), dn.String(), err
}

// unit reads a DN, a domain, or a path below the first domain.
func (a *app) unit(text string) (tree.DN, error) {
	if strings.Contains(text, "=") {
		return tree.ParseDN(text)
	}
	for _, dn := range a.tree().Contexts() {
		if labels := dn.Labels(); len(labels) == len(dn) && strings.EqualFold(strings.Join(labels, "."), text) {
			return dn, nil
		}
	}
	bases, err := a.bases("")
	if err != nil {
		return nil, err
	}
	dn := bases[0]
	for part := range strings.SplitSeq(text, "/") {
		if part = strings.TrimSpace(part); part == "" {
			return nil, fault.New(fault.Invalid, "%q is neither a DN nor a path like Sales/North nor a domain", text)
		}
		dn = dn.Child(tree.RDN{{Attribute: "ou", Value: part}})
	}
	return dn, nil
}

func (a *app) entriesOf(ctx context.Context, dn tree.DN) (list []string, err error) {
	found := false
	err = a.tree().Search(ctx, operator(), &tree.Query{Base: dn, Scope: tree.Base, Attributes: []string{access.AttributeName}}, func(e *tree.Entry) error {
		found, list = true, e.Get(access.AttributeName)
		return nil
	})
	if err == nil && !found {
		err = fault.New(fault.NotFound, "no entry %s", dn)
	}
	return list, err
}

// delegated lists the entries of all containers.
func (a *app) delegated(ctx context.Context, in delegateCmd) error {
	var who access.Who
	if in.Admin != "" {
		var err error
		if who, _, err = a.whoIs(ctx, in.Admin); err != nil {
			return err
		}
	}
	var bases []tree.DN
	scope := tree.Sub
	if in.On != "" {
		on, err := a.unit(in.On)
		if err != nil {
			return err
		}
		bases, scope = []tree.DN{on}, tree.Base
	} else {
		var err error
		if bases, err = a.bases(""); err != nil {
			return err
		}
	}
	list := []delegation{}
	seen := map[directory.ObjectID]bool{}
	for _, base := range bases {
		q := &tree.Query{Base: base, Scope: scope, DomainScope: true, Filter: &tree.Filter{Op: tree.Present, Attribute: access.AttributeName}, Attributes: []string{access.AttributeName}}
		if err := a.tree().Search(ctx, operator(), q, func(e *tree.Entry) error {
			if seen[e.ID] {
				return nil
			}
			seen[e.ID] = true
			for _, text := range e.Get(access.AttributeName) {
				x, err := access.Parse(text)
				if err != nil || in.Admin != "" && x.Who != who {
					continue
				}
				list = append(list, delegation{On: e.DN, Who: a.whoText(x.Who), Entry: text})
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return a.out.show(list, func(w io.Writer) {
		on := ""
		for _, d := range list {
			if d.On != on {
				on = d.On
				fmt.Fprintln(w, on)
			}
			_, rest, _ := strings.Cut(d.Entry, " ")
			_, rest, _ = strings.Cut(rest, " ")
			verb, _, _ := strings.Cut(d.Entry, " ")
			fmt.Fprintf(w, "  %-6s %s: %s\n", verb, d.Who, rest)
		}
		if len(list) == 0 {
			fmt.Fprintln(w, "(none)")
		}
	})
}

// whoText is the name of whom an entry is about.
func (a *app) whoText(w access.Who) string {
	if w > 0 {
		if dn, ok := a.tree().Resolve(directory.ObjectID(w)); ok {
			return dn.String()
		}
	}
	return w.String()
}
