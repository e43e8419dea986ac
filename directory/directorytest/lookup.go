package directorytest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"waypost/directory"
	"waypost/internal/fault"
)

func testGroups(t *testing.T, w World) {
	d, ctx := w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	ids := map[string]directory.ObjectID{}
	for _, n := range []string{"ann", "bob", "cat"} {
		ids[n] = addUser(t, d, n+"@example.test", "").ID
	}
	for _, n := range []string{"all", "staff", "board"} {
		g, err := d.AddGroup(ctx, system, n+"@example.test", "Group "+n)
		if err != nil || g.ID == 0 || g.Name != "Group "+n || g.Address != n+"@example.test" {
			t.Fatalf("AddGroup(%s) = %+v, %v", n, g, err)
		}
		ids[n] = g.ID
	}
	set := func(group string, add, remove []string) error {
		full := func(names []string) (all []string) {
			for _, n := range names {
				all = append(all, n+"@EXAMPLE.test")
			}
			return all
		}
		return d.SetMembers(ctx, system, ids[group], full(add), full(remove))
	}
	for group, members := range map[string][]string{"all": {"staff", "board", "ann"}, "staff": {"ann", "bob"}, "board": {"cat", "bob"}} {
		if err := set(group, members, nil); err != nil {
			t.Fatal(err)
		}
	}
	expand := func(group string) (names []string) {
		t.Helper()
		targets, err := d.Expand(ctx, ids[group], directory.Page{})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range targets {
			if x.Mailbox == 0 || x.HomeMDB != "default" {
				t.Errorf("Expand gave %+v", x)
			}
			names = append(names, x.Address[:3])
		}
		return names
	}
	if diff := cmp.Diff([]string{"ann", "bob", "cat"}, expand("all")); diff != "" {
		t.Errorf("nested groups expand to (-want +got):\n%s", diff)
	}
	for _, c := range [][2]string{{"staff", "staff"}, {"staff", "all"}} {
		wantKind(t, c[0]+" containing "+c[1], set(c[0], []string{c[1]}, nil), fault.Invalid)
	}
	if err := set("board", []string{"staff"}, nil); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "a circle of three", set("staff", []string{"all"}, nil), fault.Invalid)
	wantKind(t, "an unknown member", set("staff", []string{"nobody"}, nil), fault.NotFound)

	page, err := d.Expand(ctx, ids["all"], directory.Page{After: ids["ann"], Limit: 1})
	if err != nil || len(page) != 1 || page[0].ID != ids["bob"] {
		t.Errorf("Expand after ann, one at a time, gave %+v, %v", page, err)
	}
	if err := set("all", []string{"bob", "bob"}, []string{"ann", "cat"}); err != nil {
		t.Fatal(err)
	}
	g, err := d.Group(ctx, system, "ALL@example.test")
	var members []string
	for _, m := range g.Members {
		members = append(members, fmt.Sprint(m.Kind, " ", m.Address))
	}
	slices.Sort(members)
	want := []string{"group board@example.test", "group staff@example.test", "user bob@example.test"}
	if diff := cmp.Diff(want, members); diff != "" || err != nil || g.Count != 3 {
		t.Errorf("members (-want +got):\n%s%d, %v", diff, g.Count, err)
	}
	list, err := d.Groups(ctx, system, directory.Page{})
	if err != nil || len(list) != 3 || list[0].Count != 3 || list[0].Members != nil {
		t.Errorf("Groups = %+v, %v", list, err)
	}

	// Removing a member takes it out of its groups; removing a group leaves its members.
	if err := d.RemoveUser(ctx, system, ids["bob"]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ann", "cat"}, expand("all")); diff != "" {
		t.Errorf("after RemoveUser (-want +got):\n%s", diff)
	}
	if err := d.RemoveGroup(ctx, system, ids["staff"]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"cat"}, expand("all")); diff != "" {
		t.Errorf("after RemoveGroup (-want +got):\n%s", diff)
	}
	if r := resolve(t, d, "staff@example.test"); r.Standing != directory.Unknown {
		t.Errorf("a removed group resolves to %+v", r)
	}
	_, err = d.Expand(ctx, ids["staff"], directory.Page{})
	wantKind(t, "Expand of a removed group", err, fault.NotFound)
	wantKind(t, "RemoveGroup of a user", d.RemoveGroup(ctx, system, ids["ann"]), fault.NotFound)
	wantKind(t, "RemoveUser of a group", d.RemoveUser(ctx, system, ids["all"]), fault.NotFound)
}

func testPeople(t *testing.T, w World) {
	d, ctx := w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	for _, p := range [][4]string{
		{"joan.smith", "Joan Smith", "Joan", "Smith"},
		{"smithj", "Smith Joan", "Smith", "Joan"},
		{"zoe", "Zoë Åberg", "Zoë", "Åberg"},
		{"straub", "Max Strauß", "Max", "Strauß"},
	} {
		addUser(t, d, p[0]+"@example.test", "", named(p[1], p[2], p[3]), func(n *directory.NewUser) { n.Phone = "+1 " + p[0] })
	}
	addUser(t, d, "joker@example.test", "", named("Joker", "", ""), func(n *directory.NewUser) { n.Hidden = true })
	if _, err := d.AddGroup(ctx, system, "joiners@example.test", "All joiners"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"", []string{"All joiners", "Joan Smith", "Max Strauß", "Smith Joan", "Zoë Åberg"}},
		{"jo", []string{"All joiners", "Joan Smith", "Smith Joan"}},
		{"JO sm", []string{"Joan Smith", "Smith Joan"}},
		{"zoe ab", []string{"Zoë Åberg"}},
		{"ZOË", []string{"Zoë Åberg"}},
		{"strauss", []string{"Max Strauß"}},
		{"joan.smi", []string{"Joan Smith"}},
		{"joan.smith@example.test", []string{"Joan Smith"}},
		{"oan", nil},
		{"jo zz", nil},
		{"*", nil},
	} {
		hits, total, err := d.People(ctx, system, directory.PeopleQuery{Text: tt.text})
		var names []string
		for _, u := range hits {
			names = append(names, u.Name)
		}
		if diff := cmp.Diff(tt.want, names); diff != "" || err != nil || total != len(tt.want) {
			t.Errorf("People(%q), total %d (-want +got):\n%s%v", tt.text, total, diff, err)
		}
	}
	hits, total, err := d.People(ctx, system, directory.PeopleQuery{Text: "jo", Offset: 1, Limit: 1})
	if err != nil || total != 3 || len(hits) != 1 || hits[0].Name != "Joan Smith" || hits[0].Phone != "+1 joan.smith" {
		t.Errorf("the second hit of three: %+v, %d, %v", hits, total, err)
	}
	u, err := d.UserByAddress(ctx, system, "zoe@example.test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.UpdateUser(ctx, system, u.ID, func(u *directory.User) error { u.Name = "Zoe Berg"; u.Surname = "Berg"; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, total, err := d.People(ctx, system, directory.PeopleQuery{Text: "aberg"}); total != 0 || err != nil {
		t.Errorf("a name of before is still found: %d, %v", total, err)
	}
	if hits, _, err := d.People(ctx, system, directory.PeopleQuery{Text: "berg"}); len(hits) != 1 || err != nil {
		t.Errorf("a new name is not found: %v, %v", hits, err)
	}
}

func testResolve(t *testing.T, w World) {
	d, ctx := w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	addDomain(t, d, "xn--bcher-kva.test")
	ann := addUser(t, d, "ann@example.test", "", func(n *directory.NewUser) {
		n.Addresses, n.Quota = []string{"ann@bücher.test", "ann+vip@example.test"}, 5<<20
	})
	vip := addUser(t, d, "vip@example.test", "")
	_ = vip
	if r := resolve(t, d, "postmaster@example.test"); r.Standing != directory.Unknown {
		t.Errorf("without an administrator postmaster is %+v", r)
	}
	boss := addUser(t, d, "boss@example.test", "", admin)
	second := addUser(t, d, "second@example.test", "", admin)
	g, err := d.AddGroup(ctx, system, "abuse@bücher.test", "Abuse")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		address  string
		standing directory.Standing
		id       directory.ObjectID
	}{
		{"ann@example.test", directory.Person, ann.ID},
		{"ANN@Example.Test.", directory.Person, ann.ID},
		{`"ann"@example.test`, directory.Person, ann.ID},
		{`"a\nn"@example.test`, directory.Person, ann.ID},
		{"ann@bücher.test", directory.Person, ann.ID},
		{"ann@xn--bcher-kva.test", directory.Person, ann.ID},
		{"ann+lists@example.test", directory.Person, ann.ID},
		{"ann+vip@example.test", directory.Person, ann.ID},
		{"ann+a+b@bücher.test", directory.Person, ann.ID},
		{"+ann@example.test", directory.Unknown, 0},
		{"nobody@example.test", directory.Unknown, 0},
		{"nobody+ann@example.test", directory.Unknown, 0},
		{"ann@elsewhere.test", directory.Foreign, 0},
		{"ann@sub.example.test", directory.Foreign, 0},
		{"postmaster@elsewhere.test", directory.Foreign, 0},
		{"Postmaster@example.test", directory.Person, boss.ID},
		{"Postmaster", directory.Person, boss.ID},
		{"abuse+x@example.test", directory.Person, boss.ID},
		{"abuse@bücher.test", directory.List, g.ID},
	} {
		r, err := d.Resolve(ctx, tt.address)
		id := r.Target.ID + r.Group
		if err != nil || r.Standing != tt.standing || id != tt.id {
			t.Errorf("Resolve(%s) = %+v, %v; want standing %d, id %d", tt.address, r, err, tt.standing, tt.id)
		}
	}
	want := directory.Target{ID: ann.ID, Mailbox: ann.Mailbox, HomeMDB: "default", Address: "ann@example.test", Quota: 5 << 20}
	if r := resolve(t, d, "ann+x@example.test"); r.Target != want {
		t.Errorf("target %+v, want %+v", r.Target, want)
	}
	for _, bad := range []string{"", "ann", "@example.test", "ann@", "a\nb@example.test", "ann@[127.0.0.1]", "\xff@example.test"} {
		_, err := d.Resolve(ctx, bad)
		wantKind(t, fmt.Sprintf("Resolve(%q)", bad), err, fault.Invalid)
	}
	// Mail for a disabled user is taken; a disabled administrator has no duties.
	for _, u := range []directory.User{ann, boss} {
		if err := d.SetEnabled(ctx, system, u.ID, false); err != nil {
			t.Fatal(err)
		}
	}
	if r := resolve(t, d, "ann@example.test"); r.Standing != directory.Person {
		t.Errorf("a disabled user resolves to %+v", r)
	}
	if r := resolve(t, d, "postmaster@example.test"); r.Target.ID != second.ID {
		t.Errorf("postmaster is %+v, want the other administrator", r)
	}
}

func testResolveIsFast(t *testing.T, w World) {
	d := w.Open(t)
	addDomain(t, d, "example.test")
	const n = 50000
	users := make([]directory.NewUser, n)
	for i := range users {
		users[i].Address = fmt.Sprintf("user%05d@example.test", i)
		users[i].Name = fmt.Sprintf("User %05d", i)
	}
	begin := time.Now()
	w.Bulk(t, users)
	t.Logf("%d users added in %v", n, time.Since(begin))
	eventually(t, "the last user is found", 30*time.Second, func() bool {
		return resolve(t, d, users[n-1].Address).Standing == directory.Person
	})
	// Known, unknown and with detail, each asked once, as in a harvest attack.
	const asked = 2000
	took := make([]time.Duration, 0, asked)
	for i := range asked {
		address := users[i*n/asked].Address
		want := directory.Person
		switch i % 3 {
		case 1:
			address, want = "x"+address, directory.Unknown
		case 2:
			address = address[:9] + "+list" + address[9:]
		}
		begin := time.Now()
		r, err := d.Resolve(t.Context(), address)
		took = append(took, time.Since(begin))
		if err != nil || r.Standing != want {
			t.Fatalf("Resolve(%s) = %+v, %v", address, r, err)
		}
	}
	slices.Sort(took)
	median := took[asked/2]
	t.Logf("Resolve among %d users: median %v, 99th of 100 %v", n, median, took[asked*99/100])
	if median > time.Millisecond {
		t.Errorf("Resolve takes %v at the median, want at most 1 ms", median)
	}
}
