package main

import (
	"context"
	"strings"

	"waypost/directory"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

type contactCmd struct {
	Add struct {
		Address    string   `arg:"" help:"The address elsewhere that mail goes to."`
		Name       string   `required:"" help:"The name that others see."`
		Given      string   `help:"Given name."`
		Surname    string   `help:"Family name."`
		Alias      []string `help:"An address of ours from which mail is forwarded; may be repeated." placeholder:"ADDRESS"`
		Title      string   `help:"Position."`
		Department string   `help:"Department."`
		Company    string   `help:"Company."`
		Phone      string   `help:"Telephone at work."`
		Mobile     string   `help:"Mobile telephone."`
		OU         string   `name:"ou" help:"Where to keep it: a unit as a path (Sales/North), a domain or a DN; the first domain if not given."`
		Hidden     bool     `help:"Not shown in address lists."`
	} `cmd:"" help:"Add somebody elsewhere to the address list. Mail to its addresses here, and to groups it is in, is sent on."`
	List   struct{} `cmd:"" help:"List the contacts."`
	Remove struct {
		Address string `arg:""`
	} `cmd:"" help:"Remove a contact."`
}

// contactJSON is a contact as it is listed.
type contactJSON struct {
	Name, Address string
	Aliases       []string
	DN            string `json:"dn"`
}

const contactClass = "contact"

func (a *app) contactAdd(ctx context.Context, c *cli) error {
	in := c.Contact.Add
	address, err := directory.CleanAddress(in.Address)
	if err != nil {
		return err
	}
	if r, err := a.dir.Resolve(ctx, address); err != nil || r.Standing != directory.Foreign {
		return fault.New(fault.Invalid, "%s is an address of ours; a contact has one elsewhere", address)
	}
	var below tree.DN
	if in.OU != "" {
		below, err = a.unit(in.OU)
	} else {
		var bases []tree.DN
		if bases, err = a.bases(""); err == nil {
			below = bases[0]
		}
	}
	if err != nil {
		return err
	}
	local, _, _ := directory.SplitAddress(address)
	attributes := []tree.Attribute{
		{Name: "objectClass", Values: []string{"top", "person", "organizationalPerson", contactClass}},
		{Name: "targetAddress", Values: []string{"SMTP:" + address}},
	}
	for _, f := range []struct{ name, value string }{
		{"displayName", in.Name},
		{"givenName", in.Given},
		{"sn", in.Surname},
		{"mail", address},
		{"mailNickname", local},
		{"title", in.Title},
		{"department", in.Department},
		{"company", in.Company},
		{"telephoneNumber", in.Phone},
		{"mobile", in.Mobile},
	} {
		if f.value != "" {
			attributes = append(attributes, tree.Attribute{Name: f.name, Values: []string{f.value}})
		}
	}
	if in.Hidden {
		attributes = append(attributes, tree.Attribute{Name: "msExchHideFromAddressLists", Values: []string{"TRUE"}})
	}
	x := contactJSON{Name: in.Name, Address: address, Aliases: []string{}}
	proxies := tree.Attribute{Name: "proxyAddresses", Values: []string{"SMTP:" + address}}
	for _, alias := range in.Alias {
		if alias, err = directory.CleanAddress(alias); err != nil {
			return err
		}
		proxies.Values = append(proxies.Values, "smtp:"+alias)
		x.Aliases = append(x.Aliases, alias)
	}
	dn := below.Child(tree.RDN{{Attribute: "cn", Value: in.Name}})
	if _, err := a.tree().AddEntry(ctx, operator(), dn, append(attributes, proxies), tree.Options{From: "command line"}); err != nil {
		return err
	}
	x.DN = dn.String()
	return a.out.done(x, "Added %s.", address)
}

// contacts gives those that a filter finds.
func (a *app) contacts(ctx context.Context) ([]contactJSON, error) {
	bases, err := a.bases("")
	if err != nil {
		return nil, err
	}
	list := []contactJSON{}
	for _, base := range bases {
		q := &tree.Query{
			Base: base, Scope: tree.Sub, DomainScope: true, Attributes: []string{"displayName", "cn", "mail", "targetAddress", "proxyAddresses"},
			Filter: &tree.Filter{Op: tree.Equal, Attribute: "objectClass", Value: contactClass},
		}
		if err := a.tree().Search(ctx, operator(), q, func(e *tree.Entry) error {
			x := contactJSON{DN: e.DN, Aliases: []string{}}
			for _, name := range append(e.Get("displayName"), e.Get("cn")...) {
				if x.Name == "" {
					x.Name = name
				}
			}
			for _, t := range append(e.Get("targetAddress"), e.Get("mail")...) {
				if x.Address == "" {
					x.Address = strings.TrimPrefix(strings.TrimPrefix(t, "SMTP:"), "smtp:")
				}
			}
			for _, p := range e.Get("proxyAddresses") {
				if kind, address, _ := strings.Cut(p, ":"); strings.EqualFold(kind, "smtp") && !strings.EqualFold(address, x.Address) {
					x.Aliases = append(x.Aliases, address)
				}
			}
			list = append(list, x)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (a *app) contactList(ctx context.Context, _ *cli) error {
	list, err := a.contacts(ctx)
	if err != nil {
		return err
	}
	rows := make([][]any, len(list))
	for i, x := range list {
		rows[i] = []any{x.Address, x.Name, strings.Join(x.Aliases, ", ")}
	}
	return a.out.list(list, []any{"Address", "Name", "Also here as"}, rows)
}

func (a *app) contactRemove(ctx context.Context, c *cli) error {
	dn, err := a.named(ctx, c.Contact.Remove.Address)
	if err != nil {
		return err
	}
	is := false
	q := &tree.Query{Base: dn, Scope: tree.Base, Filter: &tree.Filter{Op: tree.Equal, Attribute: "objectClass", Value: contactClass}, Attributes: []string{"1.1"}}
	if err := a.tree().Search(ctx, operator(), q, func(*tree.Entry) error { is = true; return nil }); err != nil {
		return err
	}
	if !is {
		return fault.New(fault.NotFound, "%s is no contact", c.Contact.Remove.Address)
	}
	if _, err := a.tree().DeleteEntry(ctx, operator(), dn, tree.Options{From: "command line"}); err != nil {
		return err
	}
	return a.out.done(map[string]string{"removed": dn.String()}, "Removed %s.", c.Contact.Remove.Address)
}
