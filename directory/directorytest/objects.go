package directorytest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waypost/directory"
	"waypost/internal/fault"
)

func testDomains(t *testing.T, w World) {
	d, ctx := w.Open(t), t.Context()
	if dom := addDomain(t, d, "Example.TEST."); dom.Name != "example.test" || dom.ID == 0 || dom.Created.IsZero() {
		t.Errorf("AddDomain gave %+v", dom)
	}
	if dom := addDomain(t, d, "bücher.test"); dom.Name != "xn--bcher-kva.test" {
		t.Errorf("AddDomain(bücher.test) gave %+v", dom)
	}
	_, err := d.AddDomain(ctx, system, "EXAMPLE.test")
	wantKind(t, "AddDomain again", err, fault.Exists)
	for _, bad := range []string{"", "[192.0.2.1]", "a b", "-x.test", "a..b", "under_score.test"} {
		_, err := d.AddDomain(ctx, system, bad)
		wantKind(t, "AddDomain("+bad+")", err, fault.Invalid)
	}
	all, err := d.Domains(ctx, system)
	var names []string
	for _, d := range all {
		names = append(names, d.Name)
	}
	if diff := cmp.Diff([]string{"example.test", "xn--bcher-kva.test"}, names); diff != "" || err != nil {
		t.Errorf("Domains (-want +got):\n%s%v", diff, err)
	}

	u := addUser(t, d, "ann@example.test", "", func(n *directory.NewUser) { n.OU = "Sales/North" })
	wantKind(t, "RemoveDomain with a user", d.RemoveDomain(ctx, system, "example.test"), fault.Conflict)
	if _, err := d.RenameUser(ctx, system, u.ID, "ann@bücher.test"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "RemoveDomain with a secondary address", d.RemoveDomain(ctx, system, "example.test"), fault.Conflict)
	if err := d.RemoveUser(ctx, system, u.ID); err != nil {
		t.Fatal(err)
	}
	if err := d.RemoveDomain(ctx, system, "example.test"); err != nil {
		t.Errorf("RemoveDomain of an empty one: %v", err)
	}
	wantKind(t, "RemoveDomain again", d.RemoveDomain(ctx, system, "example.test"), fault.NotFound)
	if r := resolve(t, d, "ann@example.test"); r.Standing != directory.Foreign {
		t.Errorf("after RemoveDomain its addresses resolve to %+v, want Foreign", r)
	}
}

func testUsers(t *testing.T, w World) {
	d, ctx := w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	n := directory.NewUser{User: directory.User{
		Address: "Ann.Lee@example.test", Addresses: []string{"al@example.test"}, Name: "Ann Lee", Given: "Ann", Surname: "Lee",
		Title: "Head", Department: "Sales", Company: "Example", Office: "B 12", Phone: "+1 1", Mobile: "+1 2", HomePhone: "+1 3",
		OU: "Sales/North", Quota: 1 << 30, Roles: directory.RoleAdmin,
	}}
	u, err := d.AddUser(ctx, system, n)
	if err != nil {
		t.Fatal(err)
	}
	want := n.User
	want.ID, want.GUID, want.Mailbox, want.Created, want.Changed = u.ID, u.GUID, u.Mailbox, u.Created, u.Changed
	want.Kind, want.Enabled, want.Epoch, want.HomeMDB = directory.KindUser, true, 1, "default"
	want.UPN, want.Account = "Ann.Lee@example.test", "Ann.Lee"
	want.Addresses = []string{"Ann.Lee@example.test", "al@example.test"}
	if diff := cmp.Diff(want, u); diff != "" {
		t.Errorf("AddUser (-want +got):\n%s", diff)
	}
	if u.ID == 0 || len(u.GUID) != 36 || u.Mailbox == 0 || u.Created.IsZero() || u.Changed == 0 {
		t.Errorf("AddUser left out what it gives: %+v", u)
	}
	for _, name := range []string{"ann.lee@EXAMPLE.test", "AL@example.test", "ann.lee"} {
		got, err := d.UserByAddress(ctx, system, name)
		if diff := cmp.Diff(u, got); diff != "" || err != nil {
			t.Errorf("UserByAddress(%s) (-want +got):\n%s%v", name, diff, err)
		}
	}
	got, err := d.User(ctx, system, u.ID)
	if diff := cmp.Diff(u, got); diff != "" || err != nil {
		t.Errorf("User (-want +got):\n%s%v", diff, err)
	}

	up, err := d.UpdateUser(ctx, system, u.ID, func(u *directory.User) error {
		u.Name, u.OU, u.Quota, u.Hidden = "Ann Li", "Sales/South", 0, true
		return nil
	})
	if err != nil || up.Name != "Ann Li" || up.OU != "Sales/South" || up.Quota != 0 || !up.Hidden || up.Epoch != u.Epoch || up.Changed <= u.Changed {
		t.Errorf("UpdateUser gave %+v, %v", up, err)
	}
	stop := errors.New("stop")
	if _, err := d.UpdateUser(ctx, system, u.ID, func(u *directory.User) error { u.Name = "x"; return stop }); !errors.Is(err, stop) {
		t.Errorf("UpdateUser with a failing function gave %v", err)
	}
	for _, bad := range []struct {
		name string
		fn   func(*directory.User)
	}{
		{"control characters", func(u *directory.User) { u.Name = "a\x00b" }},
		{"foreign address", func(u *directory.User) { u.Addresses = append(u.Addresses, "a@elsewhere.test") }},
		{"kind", func(u *directory.User) { u.Kind = directory.KindRoom }},
		{"quota", func(u *directory.User) { u.Quota = -1 }},
		{"account", func(u *directory.User) { u.Account = "a/b" }},
		{"address", func(u *directory.User) { u.Address = "nothing" }},
	} {
		if _, err := d.UpdateUser(ctx, system, u.ID, func(u *directory.User) error { bad.fn(u); return nil }); err == nil {
			t.Errorf("UpdateUser with a bad %s succeeded", bad.name)
		}
	}
	if again, err := d.User(ctx, system, u.ID); err != nil || !cmp.Equal(up, again) {
		t.Errorf("refused changes left a trace (-want +got):\n%s%v", cmp.Diff(up, again), err)
	}

	room := addUser(t, d, "room1@example.test", "", func(n *directory.NewUser) { n.Kind = directory.KindRoom; n.Name = "Room 1" })
	if room.Kind != directory.KindRoom || room.Mailbox == 0 || room.Enabled || room.Epoch != 0 {
		t.Errorf("a room became %+v", room)
	}
	_, err = d.AddUser(ctx, system, directory.NewUser{User: directory.User{Address: "x@elsewhere.test"}})
	wantKind(t, "AddUser in a foreign domain", err, fault.NotFound)

	// Lists come in pages by id.
	for i := range 7 {
		addUser(t, d, fmt.Sprintf("u%d@example.test", i), "")
	}
	var seen []directory.ObjectID
	for p := (directory.Page{Limit: 4}); ; {
		page, err := d.Users(ctx, system, p)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, u := range page {
			seen = append(seen, u.ID)
		}
		p.After = seen[len(seen)-1]
	}
	if len(seen) != 9 || !slices.IsSorted(seen) {
		t.Errorf("paging saw %v, want 9 ids ascending", seen)
	}
	_, err = d.Users(ctx, system, directory.Page{Limit: 1001})
	wantKind(t, "a page of 1001", err, fault.Invalid)

	// Removing frees the names at once and the ids never.
	if err := d.RemoveUser(ctx, system, u.ID); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "RemoveUser again", d.RemoveUser(ctx, system, u.ID), fault.NotFound)
	_, err = d.User(ctx, system, u.ID)
	wantKind(t, "User after RemoveUser", err, fault.NotFound)
	if next := addUser(t, d, "ann.lee@example.test", ""); next.ID <= u.ID || next.Mailbox <= u.Mailbox {
		t.Errorf("ids of a removed user are used again: %+v after %+v", next, u)
	}
}

func testAddresses(t *testing.T, w World) {
	d, ctx := w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	addDomain(t, d, "other.test")
	u := addUser(t, d, "ann@example.test", "")
	u, err := d.UpdateUser(ctx, system, u.ID, func(u *directory.User) error {
		u.Addresses = append(u.Addresses, "ann@other.test", "Ann@Example.test", "søren@example.test")
		return nil
	})
	if diff := cmp.Diff([]string{"ann@example.test", "ann@other.test", "søren@example.test"}, u.Addresses); diff != "" || err != nil {
		t.Errorf("addresses (-want +got):\n%s%v", diff, err)
	}
	for _, a := range []string{"ANN@other.TEST", "so\u0308ren@example.test", "SØREN@example.test", "søren+news@example.test"} {
		r := resolve(t, d, a)
		if mine := r.Standing == directory.Person && r.Target.ID == u.ID; mine == (a == "so\u0308ren@example.test") {
			t.Errorf("Resolve(%q) = %+v", a, r) // ö is not ø
		}
	}
	epoch := u.Epoch
	u, err = d.UpdateUser(ctx, system, u.ID, func(u *directory.User) error { u.Addresses = u.Addresses[:1]; return nil })
	if err != nil || len(u.Addresses) != 1 || u.Epoch == epoch {
		t.Errorf("taking addresses away gave %+v, %v (want another epoch)", u, err)
	}
	if r := resolve(t, d, "ann@other.test"); r.Standing != directory.Unknown {
		t.Errorf("an address taken away resolves to %+v", r)
	}
	if addUser(t, d, "ann@other.test", "").ID == u.ID {
		t.Error("an address taken away is not free")
	}
}

func testRename(t *testing.T, w World) {
	d, ctx := w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	u := addUser(t, d, "ann@example.test", secret)
	for _, next := range []string{"ann.lee@example.test", "lee@example.test", "ann@example.test"} {
		got, err := d.RenameUser(ctx, system, u.ID, next)
		if err != nil || got.Address != next || got.UPN != next || got.Mailbox != u.Mailbox || got.Addresses[0] != next {
			t.Fatalf("RenameUser to %s gave %+v, %v", next, got, err)
		}
	}
	got, err := d.User(ctx, system, u.ID)
	if err != nil || len(got.Addresses) != 3 {
		t.Errorf("after three renames: %v, %v", got.Addresses, err)
	}
	for _, a := range got.Addresses {
		if r := resolve(t, d, a); r.Target.ID != u.ID || r.Target.Address != "ann@example.test" {
			t.Errorf("Resolve(%s) = %+v", a, r)
		}
		if s, err := d.SignIn(ctx, credentials(a, secret, "")); err != nil || s.Principal.ID != u.ID {
			t.Errorf("SignIn as %s after the rename: %+v, %v", a, s.Principal, err)
		}
	}
}

func testUnique(t *testing.T, w World) {
	d, ctx := w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	addDomain(t, d, "other.test")
	ann := addUser(t, d, "ann@example.test", "", func(n *directory.NewUser) { n.UPN = "a.lee@other.test" })
	if _, err := d.AddGroup(ctx, system, "staff@example.test", "Staff"); err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]directory.User{
		"address":              {Address: "ANN@example.test"},
		"secondary address":    {Address: "x@example.test", Addresses: []string{"ann@example.test"}},
		"group's address":      {Address: "staff@example.test"},
		"UPN":                  {Address: "x@example.test", UPN: "A.Lee@other.test"},
		"UPN of an address":    {Address: "x@example.test", UPN: "ann@example.test"},
		"address that is UPN":  {Address: "a.lee@other.test"},
		"account":              {Address: "x@example.test", Account: "ANN"},
		"account of the group": {Address: "x@example.test", Account: "Staff"},
	} {
		_, err := d.AddUser(ctx, system, directory.NewUser{User: n})
		wantKind(t, "AddUser with a taken "+name, err, fault.Exists)
	}
	_, err := d.AddGroup(ctx, system, "ann@example.test", "")
	wantKind(t, "AddGroup with a taken address", err, fault.Exists)
	_, err = d.RenameUser(ctx, system, ann.ID, "staff@example.test")
	wantKind(t, "RenameUser to a group's address", err, fault.Exists)
	if bob := addUser(t, d, "ann@other.test", ""); bob.Account == ann.Account || bob.Account == "" {
		t.Errorf("the same local part in another domain got account %q", bob.Account)
	}

	// Two at once cannot both have it.
	var wg sync.WaitGroup
	got := make([]error, 8)
	other := w.Open(t)
	for i := range got {
		wg.Go(func() {
			at := []directory.Directory{d, other}[i%2]
			_, got[i] = at.AddUser(ctx, system, directory.NewUser{User: directory.User{Address: "race@example.test"}})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range got {
		if err == nil {
			won++
		} else {
			wantKind(t, "AddUser in a race", err, fault.Exists)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d got the same address", won, len(got))
	}
}

func testUpdateAtOnce(t *testing.T, w World) {
	d, ctx := w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	u := addUser(t, d, "ann@example.test", "")
	other := w.Open(t)
	var wg sync.WaitGroup
	const each = 10
	for i := range 4 {
		at := []directory.Directory{d, other}[i%2]
		wg.Go(func() {
			for range each {
				_, err := at.UpdateUser(ctx, system, u.ID, func(u *directory.User) error {
					u.Title += "x"
					return nil
				})
				if err != nil {
					t.Errorf("UpdateUser: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if got, err := d.User(ctx, system, u.ID); err != nil || len(got.Title) != 4*each {
		t.Errorf("after %d updates at once the title has %d letters, %v", 4*each, len(got.Title), err)
	}
}
