package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"waypost/directory"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

type addressListCmd struct {
	Add struct {
		Name   string `arg:"" help:"What people see."`
		Filter string `required:"" help:"Who is in it (RFC 4515), like '(department=Sales)'." placeholder:"FILTER"`
		Base   string `help:"Where to look: a DN, a domain, or a unit as a path; everywhere if not given." placeholder:"OU"`
	} `cmd:"" help:"Add an address list: whom a filter finds, and who names the list in showInAddressBook."`
	List struct{} `cmd:"" help:"List the address lists."`
	Show struct {
		Name  string `arg:"" help:"The list."`
		Text  string `help:"Only entries with words that begin so."`
		Limit int    `default:"100" help:"How many at most."`
	} `cmd:"" help:"Show who is in an address list."`
	Remove struct {
		Name string `arg:""`
	} `cmd:"" help:"Remove an address list. Nobody leaves the global one by it."`
}

// listPieces is where address lists are.
var listPieces = []piece{
	{"CN=Address Lists Container", "addressBookContainer", []string{"displayName: Address Lists"}},
	{"CN=All Address Lists,CN=Address Lists Container", "addressBookContainer", []string{"displayName: All Address Lists"}},
}

// addressLists is the container, made if it is not there.
func (a *app) addressLists(ctx context.Context) (tree.DN, error) {
	bases, err := a.bases("")
	if err != nil {
		return nil, err
	}
	config := bases[0].Child(tree.RDN{{Attribute: "cn", Value: "Configuration"}})
	if err := a.pieces(ctx, &prepared{}, config, "", listPieces); err != nil {
		return nil, err
	}
	return config.Child(tree.RDN{{Attribute: "cn", Value: "Address Lists Container"}}).Child(tree.RDN{{Attribute: "cn", Value: "All Address Lists"}}), nil
}

func (a *app) addressListAdd(ctx context.Context, c *cli) error {
	in := c.AddressList.Add
	if _, err := tree.ParseFilter(in.Filter); err != nil {
		return err
	}
	up, err := a.addressLists(ctx)
	if err != nil {
		return err
	}
	attributes := []tree.Attribute{
		{Name: "objectClass", Values: []string{"top", "addressBookContainer"}},
		{Name: "displayName", Values: []string{in.Name}},
		{Name: "purportedSearch", Values: []string{in.Filter}},
	}
	if in.Base != "" {
		base, err := a.unit(in.Base)
		if err != nil {
			return err
		}
		attributes = append(attributes, tree.Attribute{Name: "msExchSearchBase", Values: []string{base.String()}})
	}
	if _, err := a.tree().AddEntry(ctx, operator(), up.Child(tree.RDN{{Attribute: "cn", Value: in.Name}}), attributes, tree.Options{From: "command line"}); err != nil {
		return err
	}
	l, err := a.addressList(ctx, in.Name)
	if err != nil {
		return err
	}
	_, total, err := a.dir.People(ctx, operator(), directory.PeopleQuery{List: l.ID, Limit: 1})
	if err != nil {
		return err
	}
	return a.out.done(l, "Added the address list %s, with %s in it.", l.Name, countOf(total, "entry", "entries"))
}

// addressList finds a list by its name.
func (a *app) addressList(ctx context.Context, name string) (l directory.AddressList, err error) {
	all, err := a.dir.AddressLists(ctx, operator())
	if err != nil {
		return l, err
	}
	for _, l := range all {
		if directory.Fold(l.Name) == directory.Fold(name) {
			return l, nil
		}
	}
	return l, fault.New(fault.NotFound, "no address list %s; see: waypost addresslist list", name)
}

func (a *app) addressListList(ctx context.Context, _ *cli) error {
	all, err := a.dir.AddressLists(ctx, operator())
	if err != nil {
		return err
	}
	rows := make([][]any, len(all))
	for i, l := range all {
		rows[i] = []any{l.Name, shorten(l.Filter, 60), l.Base}
	}
	return a.out.list(all, []any{"Name", "Filter", "Below"}, rows)
}

func (a *app) addressListShow(ctx context.Context, c *cli) error {
	in := c.AddressList.Show
	l, err := a.addressList(ctx, in.Name)
	if err != nil {
		return err
	}
	res := struct {
		directory.AddressList
		Total   int
		Entries []directory.User
	}{AddressList: l, Entries: []directory.User{}}
	for len(res.Entries) < in.Limit {
		page, total, err := a.dir.People(ctx, operator(), directory.PeopleQuery{Text: in.Text, List: l.ID, Offset: len(res.Entries), Limit: min(1000, in.Limit-len(res.Entries))})
		if err != nil {
			return err
		}
		res.Total = total
		res.Entries = append(res.Entries, page...)
		if len(page) == 0 {
			break
		}
	}
	return a.out.show(res, func(w io.Writer) {
		fmt.Fprintf(w, "%s  %s  (%s)\n", l.Name, strings.TrimSpace(l.Filter+" "+l.Base), countOf(res.Total, "entry", "entries"))
		for _, u := range res.Entries {
			fmt.Fprintf(w, "  %-9s %-32s %s\n", u.Kind, u.Address, u.Name)
		}
		if n := res.Total - len(res.Entries); n > 0 {
			fmt.Fprintf(w, "  and %d more; see --limit\n", n)
		}
	})
}

func (a *app) addressListRemove(ctx context.Context, c *cli) error {
	l, err := a.addressList(ctx, c.AddressList.Remove.Name)
	if err != nil {
		return err
	}
	dn, ok := a.tree().Resolve(l.ID)
	if !ok {
		return fault.New(fault.NotFound, "no address list %s", l.Name)
	}
	if _, err := a.tree().DeleteEntry(ctx, operator(), dn, tree.Options{From: "command line"}); err != nil {
		return err
	}
	return a.out.done(map[string]string{"removed": l.Name}, "Removed the address list %s.", l.Name)
}
