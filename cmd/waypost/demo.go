package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"waypost/directory"
	"waypost/internal/demo"
	"waypost/store"
)

// makeDemo makes the demonstration organisation, or what is missing of it.
func (a *app) makeDemo(ctx context.Context) error {
	if _, err := a.dir.AddDomain(ctx, operator(), demo.Domain); err != nil && !isExists(err) {
		return err
	}
	var members []string
	for _, p := range demo.People() {
		u := directory.NewUser{Password: demo.Password, User: directory.User{
			Kind: directory.KindUser, Address: p.Local + "@" + demo.Domain, Name: p.Name, Given: p.Given, Surname: p.Surname,
			Title: p.Title, Department: p.Department, Phone: p.Phone, Company: "Example Works", Enabled: true,
		}}
		if p.Admin {
			u.Roles = directory.RoleAdmin
		}
		if _, err := a.dir.AddUser(ctx, operator(), u); err != nil && !isExists(err) {
			return err
		}
		members = append(members, u.Address)
	}
	room := directory.NewUser{User: directory.User{Kind: directory.KindRoom, Address: "room1@" + demo.Domain, Name: "Room 1", Office: "Ground floor", Enabled: true}}
	if _, err := a.dir.AddUser(ctx, operator(), room); err != nil && !isExists(err) {
		return err
	}
	// The group comes last and tells that the rest is complete; what people made
	// of the organisation since is left alone.
	const staff = "staff@" + demo.Domain
	g, err := a.dir.Group(ctx, operator(), staff)
	if err == nil && g.Count > 0 {
		return nil
	}
	if err != nil && !isNotFound(err) {
		return err
	}
	if err := a.demoMail(ctx); err != nil {
		return err
	}
	if err := a.demoObjects(ctx); err != nil {
		return err
	}
	for _, p := range demo.People() {
		as, box, err := a.boxOf(ctx, p.Local+"@"+demo.Domain)
		if err != nil {
			return err
		}
		if err := a.mail.SetBirthdays(ctx, as, box, true); err != nil {
			return err
		}
	}
	if isNotFound(err) {
		if g, err = a.dir.AddGroup(ctx, operator(), staff, "Staff"); err != nil {
			return err
		}
	}
	return a.dir.SetMembers(ctx, operator(), g.ID, members, nil)
}

func (a *app) demoMail(ctx context.Context) error {
	all := demo.Messages(time.Now())
	bar := progress("making mail", int64(len(all)), false)
	for i, m := range all {
		as, box, err := a.boxOf(ctx, m.To+"@"+demo.Domain)
		if err != nil {
			return err
		}
		n := store.NewMessage{Role: store.RoleInbox, Received: m.Received, Once: fmt.Sprintf("demo %d", i)}
		if m.Folder == "sent" {
			n.Role = store.RoleSent
		}
		if m.Seen {
			n.Flags |= store.Seen
		}
		if m.Flagged {
			n.Flags |= store.Flagged
			n.Props = &store.Props{FollowUp: &store.FollowUp{Type: "Flag for follow up"}}
		}
		if _, err := a.addMessage(ctx, as, box, n, bytes.NewReader(m.Body), false); err != nil {
			return err
		}
		_ = bar.Add(1)
	}
	return bar.Finish()
}

// demoObjects fills calendars, address books, tasks and notes; the room has its
// bookings. Nobody is told: everybody's copy is written as it is after all answers.
func (a *app) demoObjects(ctx context.Context) error {
	all := demo.Objects(time.Now())
	bar := progress("making calendars and contacts", int64(len(all)), false)
	for _, o := range all {
		as, box, err := a.boxOf(ctx, o.To+"@"+demo.Domain)
		if err != nil {
			return err
		}
		_, err = a.mail.PutObject(ctx, as, box, store.PutObject{
			Role: store.Role(o.Role), UID: o.UID, Once: "demo " + o.UID,
			Edit: func(old *store.Object) (store.Edit, error) {
				if old != nil { // from another day
					return store.Edit{Text: old.Text}, nil
				}
				return store.Edit{Text: o.Text}, nil
			},
		})
		if err != nil {
			return err
		}
		_ = bar.Add(1)
	}
	return bar.Finish()
}
