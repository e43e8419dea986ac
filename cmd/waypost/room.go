package main

import (
	"context"
	"strings"

	"waypost/directory"
	"waypost/internal/fault"
)

type roomCmd struct {
	Add struct {
		Address   string   `arg:"" help:"Its address."`
		Name      string   `required:"" help:"The name that others see."`
		Capacity  int      `help:"For how many people it is."`
		Feature   []string `help:"What it has, like projector; may be repeated." placeholder:"WORD"`
		Office    string   `help:"Where it is."`
		OU        string   `name:"ou" help:"Organisational unit, as a path: Sales/North."`
		Equipment bool     `help:"Equipment, like a car, and not a room."`
	} `cmd:"" help:"Add a room, or equipment, to be booked."`
	List struct {
		Capacity int      `help:"Only those for so many people, or more."`
		Feature  []string `help:"Only those that have it; may be repeated." placeholder:"WORD"`
	} `cmd:"" help:"List rooms and equipment."`
	Show struct {
		Address string `arg:"" help:"Which one."`
		Days    int    `help:"Bookings of so many days." default:"14"`
	} `cmd:"" help:"Show a room or equipment: how it answers, who decides for it, and its next bookings."`
	Set struct {
		Address  string   `arg:"" help:"Which one to change."`
		Name     *string  `help:"The name that others see."`
		Capacity *int     `help:"For how many people it is."`
		Feature  []string `help:"What it has, in place of what was said before; may be repeated." placeholder:"WORD"`
		Office   *string  `help:"Where it is."`
	} `cmd:"" help:"Change a room or equipment; what is not named stays."`
	Rules roomRulesCmd `cmd:"" help:"Show how a room answers who wants to book it, or change that; what is not named stays."`
}

func (a *app) roomAdd(ctx context.Context, c *cli) error {
	in := c.Room.Add
	u := directory.User{
		Kind: directory.KindRoom, Address: in.Address, Name: in.Name, Capacity: in.Capacity, Features: in.Feature, Office: in.Office, OU: in.OU,
	}
	if in.Equipment {
		u.Kind = directory.KindEquipment
	}
	got, err := a.dir.AddUser(ctx, operator(), directory.NewUser{User: u})
	if err != nil {
		return err
	}
	return a.out.done(got, "Added the %s %s.", got.Kind, got.Address)
}

func (a *app) roomList(ctx context.Context, c *cli) error {
	in := c.Room.List
	list := []directory.User{}
	for p := (directory.Page{Limit: 1000}); ; {
		page, err := a.dir.Users(ctx, operator(), p)
		if err != nil {
			return err
		}
		for _, u := range page {
			if u.Kind.Resource() && u.Capacity >= in.Capacity && hasFeatures(u.Features, in.Feature) {
				list = append(list, u)
			}
		}
		if len(page) < p.Limit {
			break
		}
		p.After = page[len(page)-1].ID
	}
	rows := make([][]any, len(list))
	for i, u := range list {
		capacity := any(u.Capacity)
		if u.Capacity == 0 {
			capacity = "-"
		}
		rows[i] = []any{u.Address, u.Name, u.Kind, capacity, strings.Join(u.Features, ", "), u.Office}
	}
	return a.out.list(list, []any{"Address", "Name", "Kind", "Capacity", "Features", "Where"}, rows)
}

func hasFeatures(have, want []string) bool {
	for _, w := range want {
		if len(without(have, w)) == len(have) {
			return false
		}
	}
	return true
}

func (a *app) roomSet(ctx context.Context, c *cli) error {
	in := c.Room.Set
	u, err := a.dir.UserByAddress(ctx, operator(), in.Address)
	if err != nil {
		return err
	}
	if !u.Kind.Resource() {
		return fault.New(fault.Invalid, "%s is neither a room nor equipment", in.Address)
	}
	got, err := a.dir.UpdateUser(ctx, operator(), u.ID, func(u *directory.User) error {
		if in.Name != nil {
			u.Name = *in.Name
		}
		if in.Office != nil {
			u.Office = *in.Office
		}
		if in.Capacity != nil {
			u.Capacity = *in.Capacity
		}
		if len(in.Feature) > 0 {
			u.Features = in.Feature
		}
		return nil
	})
	if err != nil {
		return err
	}
	return a.out.done(got, "Changed %s.", got.Address)
}
