package directorytest

import (
	"context"
	"slices"
	"strings"
	"testing"

	"waypost/directory"
	"waypost/internal/fault"
)

// testRights tries every method as every kind of caller.
func testRights(t *testing.T, w World) {
	d, ctx := w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	ann := addUser(t, d, "ann@example.test", "")
	bob := addUser(t, d, "bob@example.test", "")
	hid := addUser(t, d, "hid@example.test", "", func(n *directory.NewUser) { n.Hidden = true })
	adm := addUser(t, d, "adm@example.test", "", admin)
	off := addUser(t, d, "off@example.test", "", admin)
	if err := d.SetEnabled(ctx, system, off.ID, false); err != nil {
		t.Fatal(err)
	}
	off, err := d.User(ctx, system, off.ID)
	if err != nil {
		t.Fatal(err)
	}
	g, err := d.AddGroup(ctx, system, "g@example.test", "G")
	if err != nil {
		t.Fatal(err)
	}

	person := principal(ann)
	callers := []struct {
		name string
		as   directory.Principal
	}{
		{"nobody", directory.Principal{}},
		{"stranger", directory.Principal{ID: 1 << 40, Epoch: 1, Roles: directory.RoleAdmin}},
		{"disabled", principal(off)},
		{"stale", func() directory.Principal { p := person; p.Epoch--; return p }()},
		{"pretender", func() directory.Principal { p := person; p.Roles = directory.RoleAdmin; return p }()},
		{"person", person},
		{"admin", principal(adm)},
		{"system", system},
	}
	const (
		signedIn = "person pretender admin system"
		trusted  = "admin system"
	)
	for _, m := range []struct {
		method string
		may    string
		call   func(context.Context, directory.Principal) error
	}{
		{"User of oneself", signedIn, func(ctx context.Context, as directory.Principal) error {
			_, err := d.User(ctx, as, ann.ID)
			return err
		}},
		{"User of another", signedIn, func(ctx context.Context, as directory.Principal) error {
			_, err := d.User(ctx, as, bob.ID)
			return err
		}},
		{"UserByAddress", signedIn, func(ctx context.Context, as directory.Principal) error {
			_, err := d.UserByAddress(ctx, as, bob.Address)
			return err
		}},
		{"User hidden", trusted, func(ctx context.Context, as directory.Principal) error {
			_, err := d.User(ctx, as, hid.ID)
			return err
		}},
		{"People", signedIn, func(ctx context.Context, as directory.Principal) error {
			_, _, err := d.People(ctx, as, directory.PeopleQuery{Text: "b"})
			return err
		}},
		{"MaySendAs", signedIn, func(ctx context.Context, as directory.Principal) error {
			_, err := d.MaySendAs(ctx, as, "ann@example.test")
			return err
		}},
		{"Delegates of another", trusted, func(ctx context.Context, as directory.Principal) error {
			_, err := d.Delegates(ctx, as, bob.ID)
			return err
		}},
		{"Delegates of oneself", signedIn, func(ctx context.Context, as directory.Principal) error {
			_, err := d.Delegates(ctx, as, ann.ID)
			return err
		}},
		{"MemberOf", trusted, func(ctx context.Context, as directory.Principal) error {
			_, err := d.MemberOf(ctx, as, ann.ID)
			return err
		}},
		{"Group", signedIn, func(ctx context.Context, as directory.Principal) error {
			_, err := d.Group(ctx, as, g.Address)
			return err
		}},
		{"Groups", trusted, func(ctx context.Context, as directory.Principal) error {
			_, err := d.Groups(ctx, as, directory.Page{})
			return err
		}},
		{"Users", trusted, func(ctx context.Context, as directory.Principal) error {
			_, err := d.Users(ctx, as, directory.Page{})
			return err
		}},
		{"Domains", trusted, func(ctx context.Context, as directory.Principal) error {
			_, err := d.Domains(ctx, as)
			return err
		}},
		{"AddDomain, RemoveDomain", trusted, func(ctx context.Context, as directory.Principal) error {
			if _, err := d.AddDomain(ctx, as, "more.test"); err != nil {
				return err
			}
			return d.RemoveDomain(ctx, as, "more.test")
		}},
		{"RemoveDomain", trusted, func(ctx context.Context, as directory.Principal) error {
			if err := d.RemoveDomain(ctx, as, "none.test"); fault.Of(err) != fault.NotFound {
				return err
			}
			return nil
		}},
		{"AddUser, RemoveUser", trusted, func(ctx context.Context, as directory.Principal) error {
			u, err := d.AddUser(ctx, as, directory.NewUser{User: directory.User{Address: "x@example.test"}})
			if err != nil {
				return err
			}
			return d.RemoveUser(ctx, as, u.ID)
		}},
		{"RemoveUser", trusted, func(ctx context.Context, as directory.Principal) error {
			if err := d.RemoveUser(ctx, as, 1<<40); fault.Of(err) != fault.NotFound {
				return err
			}
			return nil
		}},
		{"UpdateUser", trusted, func(ctx context.Context, as directory.Principal) error {
			_, err := d.UpdateUser(ctx, as, bob.ID, func(u *directory.User) error { u.Title += "."; return nil })
			return err
		}},
		{"UpdateUser of oneself", trusted, func(ctx context.Context, as directory.Principal) error {
			_, err := d.UpdateUser(ctx, as, ann.ID, func(u *directory.User) error { u.Title += "."; return nil })
			return err
		}},
		{"RenameUser", trusted, func(ctx context.Context, as directory.Principal) error {
			_, err := d.RenameUser(ctx, as, bob.ID, "bob2@example.test")
			return err
		}},
		{"SetEnabled", trusted, func(ctx context.Context, as directory.Principal) error {
			return d.SetEnabled(ctx, as, bob.ID, true)
		}},
		{"SetPassword of another", trusted, func(ctx context.Context, as directory.Principal) error {
			return d.SetPassword(ctx, as, bob.ID, secret)
		}},
		{"AddGroup, RemoveGroup", trusted, func(ctx context.Context, as directory.Principal) error {
			g, err := d.AddGroup(ctx, as, "h@example.test", "H")
			if err != nil {
				return err
			}
			return d.RemoveGroup(ctx, as, g.ID)
		}},
		{"RemoveGroup", trusted, func(ctx context.Context, as directory.Principal) error {
			if err := d.RemoveGroup(ctx, as, 1<<40); fault.Of(err) != fault.NotFound {
				return err
			}
			return nil
		}},
		{"SetMembers", trusted, func(ctx context.Context, as directory.Principal) error {
			return d.SetMembers(ctx, as, g.ID, []string{"bob@example.test"}, nil)
		}},
	} {
		for _, c := range callers {
			err := m.call(ctx, c.as)
			allowed := slices.Contains(strings.Fields(m.may), c.name)
			switch k := fault.Of(err); {
			case allowed && err != nil:
				t.Errorf("%s as %s: %v", m.method, c.name, err)
			case !allowed && err == nil:
				t.Errorf("%s as %s was allowed", m.method, c.name)
			case !allowed && k != fault.Denied && k != fault.Unauthenticated && k != fault.NotFound:
				t.Errorf("%s as %s: got %v, want Denied", m.method, c.name, err)
			}
		}
	}

	// What others are told, and what not.
	got, err := d.User(ctx, person, adm.ID)
	if err != nil || got.Name != adm.Name || got.Roles != 0 || got.Epoch != 0 || got.HomeMDB != "" || got.UPN != "" || got.Account != "" {
		t.Errorf("a person sees of another %+v, %v", got, err)
	}
	for _, tt := range []struct {
		address string
		want    bool
	}{
		{"ann@example.test", true},
		{"Ann+news@EXAMPLE.test", true},
		{"bob@example.test", false},
		{"g@example.test", false},
		{"nobody@example.test", false},
		{"ann@elsewhere.test", false},
		{"", false},
	} {
		may, err := d.MaySendAs(ctx, person, tt.address)
		if err != nil || may != tt.want {
			t.Errorf("MaySendAs(%q) = %v, %v; want %v", tt.address, may, err, tt.want)
		}
	}
	if may, err := d.MaySendAs(ctx, principal(adm), "ann@example.test"); may || err != nil {
		t.Errorf("an administrator may send as anybody: %v, %v", may, err)
	}
	if may, err := d.MaySendAs(ctx, system, "ann@example.test"); !may || err != nil {
		t.Errorf("the product may not send as anybody: %v, %v", may, err)
	}
	if err := d.SetPassword(ctx, person, ann.ID, "a new secret"); err != nil {
		t.Errorf("SetPassword of oneself: %v", err)
	}
	wantKind(t, "SetPassword with what was granted before", d.SetPassword(ctx, person, ann.ID, secret), fault.Unauthenticated)
}
