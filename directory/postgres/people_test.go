package postgres_test

import (
	"testing"

	"waypost/directory"
	"waypost/directory/authn"
	"waypost/directory/postgres"
	"waypost/internal/pgtest"
	"waypost/migrations"
)

// TestUserIsOfNow asks for a person again and again, here and at another process,
// while everything about it changes: what is kept of people is never older than
// the view.
func TestUserIsOfNow(t *testing.T) {
	dburl := pgtest.New(t, migrations.Directory)
	s, _ := process(t, dburl, authn.NewHasher(cheap))
	other, _ := process(t, dburl, authn.NewHasher(cheap))
	ctx := t.Context()
	if _, err := s.AddDomain(ctx, system, "a.test"); err != nil {
		t.Fatal(err)
	}
	u, err := s.AddUser(ctx, system, directory.NewUser{User: directory.User{Kind: directory.KindUser, Address: "anna@a.test", Name: "Anna"}, Password: "a good long one"})
	if err != nil {
		t.Fatal(err)
	}
	set := func(fn func(*directory.User)) func() error {
		return func() error {
			_, err := s.UpdateUser(ctx, system, u.ID, func(u *directory.User) error { fn(u); return nil })
			return err
		}
	}
	for _, step := range []struct {
		what string
		do   func() error
		want func(directory.User) bool
	}{
		{"nothing yet", func() error { return nil }, func(u directory.User) bool { return u.Name == "Anna" && u.Enabled }},
		{"another name", set(func(u *directory.User) { u.Name = "Anne" }), func(u directory.User) bool { return u.Name == "Anne" }},
		{
			"another address", set(func(u *directory.User) { u.Address = "anne@a.test" }),
			func(u directory.User) bool { return u.Address == "anne@a.test" && len(u.Addresses) == 2 },
		},
		{"disabled", func() error { return s.SetEnabled(ctx, system, u.ID, false) }, func(u directory.User) bool { return !u.Enabled }},
		{"enabled", func() error { return s.SetEnabled(ctx, system, u.ID, true) }, func(u directory.User) bool { return u.Enabled }},
		{"another unit", set(func(u *directory.User) { u.OU = "North" }), func(u directory.User) bool { return u.OU == "North" }},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		catchUp(t, other, s)
		for range 2 {
			for i, at := range []*postgres.Store{s, other} {
				got, err := at.User(ctx, system, u.ID)
				if err != nil || !step.want(got) {
					t.Errorf("%s, process %d: %+v, %v", step.what, i, got, err)
				}
				got.Addresses[0] = "somebody@else.test" // what a caller does to its own copy
			}
		}
	}
}
