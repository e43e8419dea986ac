package index_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waypost/directory"
	"waypost/directory/index"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

func search(tb testing.TB, x *index.Index, q *tree.Query) (entries []*tree.Entry, err error) {
	tb.Helper()
	err = x.Search(context.Background(), q, nil, func(e *tree.Entry) error {
		entries = append(entries, e)
		return nil
	})
	return entries, err
}

// code is the LDAP result of an error, 0 for none.
func code(tb testing.TB, err error) tree.Code {
	tb.Helper()
	if err == nil {
		return 0
	}
	var r *tree.Refusal
	if !errors.As(err, &r) {
		tb.Fatalf("error %v is no refusal", err)
	}
	return r.Code
}

func everything(f *tree.Filter) *tree.Query {
	return &tree.Query{Scope: tree.Sub, Global: true, Filter: f, Attributes: []string{"1.1"}}
}

// TestOrganisation asks the simulated organisation what its generator knows.
func TestOrganisation(t *testing.T) {
	o, x := organisationLoaded(t)
	if x.Len() != len(o.objects) || x.USN() != o.usn {
		t.Errorf("%d objects at %d, want %d at %d", x.Len(), x.USN(), len(o.objects), o.usn)
	}
	for _, id := range []directory.ObjectID{o.people[0], o.people[17], o.people[len(o.people)-1]} {
		for _, name := range []string{"mail", "sAMAccountName", "userPrincipalName", "proxyAddresses", "legacyExchangeDN"} {
			if got := x.Find(name, value(o, id, name)); !slices.Equal(got, []directory.ObjectID{id}) {
				t.Errorf("%s=%s: got %v, want %d", name, value(o, id, name), got, id)
			}
		}
		name, ok := x.DN(id)
		if got, _, found := x.Resolve(name); !ok || !found || got != id {
			t.Errorf("%v: got %d %v, want %d", name, got, found, id)
		}
		for _, text := range []string{
			"<GUID=" + schema.FormatGUID(o.objects[id-1].GUID) + ">",
			"<SID=" + schema.FormatSid(sid(t, x, id)) + ">",
		} {
			if got, _, ok := x.Resolve(dn(t, text)); !ok || got != id {
				t.Errorf("%s: got %d %v, want %d", text, got, ok, id)
			}
		}
	}
	if got, _, ok := x.Resolve(dn(t, "<WKGUID=A9D1CA15768811D1ADED00C04FD8D5CD,DC=example,DC=test>")); !ok || o.objects[got-1].RDN.Value != "Users" {
		t.Errorf("the container of users: got %d %v", got, ok)
	}
	if _, matched, ok := x.Resolve(dn(t, "CN=nobody,OU=nowhere,CN=Users,DC=example,DC=test")); ok || matched.String() != "CN=Users,DC=example,DC=test" {
		t.Errorf("a name that nobody has: matched %v %v", matched, ok)
	}
	if _, _, ok := x.Resolve(dn(t, "CN=Users,DC=eu,DC=example,DC=test")); ok {
		t.Error("a container of another domain is found in this one")
	}
}

func sid(t *testing.T, x *index.Index, id directory.ObjectID) string {
	e, err := x.Get(context.Background(), id, &tree.Query{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e.Get("objectSid")[0]
}

// TestPages walks everything in pages while others write.
func TestPages(t *testing.T) {
	o := generate(2000)
	x := load(t, o, nil)
	seen := map[directory.ObjectID]int{}
	q := everything(filter(t, "(objectClass=*)"))
	q.Limit = 100
	usn := o.usn
	for pages := 0; ; pages++ {
		entries, err := search(t, x, q)
		for _, e := range entries {
			seen[e.ID]++
			q.After = e.ID
		}
		if err == nil {
			break
		}
		if code(t, err) != tree.ResultSizeLimit || fault.Of(err) != fault.Limit || len(entries) != 100 {
			t.Fatalf("page %d: %d entries, %v", pages, len(entries), err)
		}
		usn++
		obj := o.objects[1000+pages]
		obj.Changed = usn
		if err := x.Apply(usn, []index.Object{obj}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, obj := range o.objects[1:] {
		if seen[obj.ID] != 1 {
			t.Errorf("%d is met %d times", obj.ID, seen[obj.ID])
		}
	}
}

func TestRanges(t *testing.T) {
	o, x := organisationLoaded(t)
	members := len(x.Linked(o.groups[0], "member"))
	if members < 20 {
		t.Fatalf("%d members", members)
	}
	all, err := x.Get(context.Background(), o.groups[0], &tree.Query{Attributes: []string{"member"}}, nil)
	if err != nil || len(all.Get("member")) != members || all.Partial != nil {
		t.Fatalf("without a limit: %d members, %v, %v", len(all.Get("member")), all.Partial, err)
	}
	for _, c := range []struct {
		first, last, max, from, to, end int
	}{
		{-1, 0, 10, 0, 10, 9},
		{0, -1, 10, 0, 10, 9},
		{5, 7, 10, 5, 8, 7},
		{10, -1, 0, 10, members, -1},
		{10, members + 5, 0, 10, members, -1},
		{members - 3, -1, 10, members - 3, members, -1},
		{0, members - 1, 0, 0, members, -1},
		{members + 5, -1, 10, members, members, -1},
	} {
		q := &tree.Query{Attributes: []string{"member"}, MaxRange: c.max}
		if c.first >= 0 {
			q.Ranges = []tree.Range{{Name: "member", First: c.first, Last: c.last}}
		}
		e, err := x.Get(context.Background(), o.groups[0], q, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := e.Get("member"), all.Get("member")[c.from:c.to]; !slices.Equal(got, want) {
			t.Errorf("%+v: %d values, want %d", c, len(got), len(want))
		}
		if want := (tree.Range{Name: "member", First: c.from, Last: c.end}); !slices.Equal(e.Partial, []tree.Range{want}) {
			t.Errorf("%+v: got %v, want %v", c, e.Partial, want)
		}
	}
}

func TestSorted(t *testing.T) {
	_, x := organisationLoaded(t)
	q := &tree.Query{Scope: tree.Sub, Global: true, Filter: filter(t, "(&(objectClass=user)(sn=smith))"), Attributes: []string{"givenName", "title"}, Sort: []tree.SortKey{{Attribute: "givenName", Reverse: true}, {Attribute: "title"}}}
	entries, err := search(t, x, q)
	if err != nil || len(entries) < 5 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	key := func(e *tree.Entry, name string) string { return schema.FoldText(e.Get(name)[0]) }
	for i := range entries[1:] {
		a, b := entries[i], entries[i+1]
		ga, gb := key(a, "givenName"), key(b, "givenName")
		ta, tb := key(a, "title"), key(b, "title")
		if ga < gb || ga == gb && (ta > tb || ta == tb && a.ID > b.ID) {
			t.Errorf("%d comes before %d", a.ID, b.ID)
		}
	}
	q.Limit = 3
	first, err := search(t, x, q)
	if code(t, err) != tree.ResultSizeLimit || len(first) != 3 || first[2].ID != entries[2].ID {
		t.Errorf("limited: %d entries, %v", len(first), err)
	}
	q.Sort = []tree.SortKey{{Attribute: "nonsense"}}
	if _, err = search(t, x, q); code(t, err) != tree.ResultNoSuchAttribute {
		t.Errorf("by an unknown attribute: %v", err)
	}
	q.Sort = []tree.SortKey{{Attribute: "member"}}
	if _, err = search(t, x, q); code(t, err) != tree.ResultInappropriateMatching {
		t.Errorf("by an attribute without order: %v", err)
	}
}

func TestGroups(t *testing.T) {
	o, x := organisationLoaded(t)
	// Each of the ring's groups is in every other, and all their people in all.
	ring := o.groups[6:26]
	members := x.Members(ring[0])
	for _, g := range ring[1:] {
		if !slices.Contains(members, g) {
			t.Errorf("%d is not in the ring", g)
		}
	}
	if slices.Contains(members, ring[0]) {
		t.Error("the group itself is among its members")
	}
	if top := x.Members(o.groups[1]); len(top) != len(members)+1 {
		t.Errorf("the group of the ring has %d members, want %d", len(top), len(members)+1)
	}
	person := members[len(members)-1]
	in := x.Groups(person)
	primary := x.Find("cn", "Domain Users")[0]
	for _, g := range append(slices.Clone(ring), o.groups[1], primary) {
		up, _ := x.Place(person)
		if g == primary && slices.Contains(up.Chain, euID) {
			continue // the RID means a group of its own domain
		}
		if !slices.Contains(in, g) {
			t.Errorf("%d is not in %d", person, g)
		}
	}
	name, _ := x.Name(ring[3])
	entries, err := search(t, x, everything(&tree.Filter{Op: tree.Extensible, Attribute: "memberOf", Rule: schema.InChain, Value: name}))
	if err != nil || len(entries) != len(members)+1 { // the ring leads back to it
		t.Errorf("in chain of %s: %d entries, %v, want %d", name, len(entries), err, len(members)+1)
	}
	q := &tree.Query{Attributes: []string{"tokenGroups", "memberOf"}}
	e, err := x.Get(context.Background(), person, q, nil)
	if err != nil || len(e.Get("tokenGroups")) != len(in) || len(e.Get("memberOf")) >= len(in) {
		t.Errorf("tokens %d, direct %d, groups %d, %v", len(e.Get("tokenGroups")), len(e.Get("memberOf")), len(in), err)
	}
}

func TestRefusals(t *testing.T) {
	_, x := organisationLoaded(t)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	all := everything(nil)
	if err := x.Search(ended, all, nil, func(*tree.Entry) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
	all.Deadline = time.Now().Add(-time.Second)
	if _, err := search(t, x, all); code(t, err) != tree.ResultTimeLimit || fault.Of(err) != fault.Limit {
		t.Errorf("late: %v", err)
	}
	mine := errors.New("mine")
	if err := x.Search(context.Background(), everything(nil), nil, func(*tree.Entry) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("fn's own: %v", err)
	}
	_, err := search(t, x, &tree.Query{Base: dn(t, "CN=x,CN=y,CN=Users,DC=example,DC=test")})
	var r *tree.Refusal
	if !errors.As(err, &r) || r.Code != tree.ResultNoSuchObject || r.Matched.String() != "CN=Users,DC=example,DC=test" {
		t.Errorf("no such object: %+v", r)
	}
	for _, c := range []struct {
		name string
		o    index.Object
	}{
		{"class", index.Object{ID: 9_000_000, Parent: 2, Class: "nonsense", RDN: tree.AVA{Attribute: "cn", Value: "x"}}},
		{"attribute", index.Object{ID: 9_000_000, Parent: 2, Class: "user", RDN: tree.AVA{Attribute: "cn", Value: "x"}, Attributes: []tree.Attribute{{Name: "nonsense", Values: []string{"1"}}}}},
		{"name as text", index.Object{ID: 9_000_000, Parent: 2, Class: "user", RDN: tree.AVA{Attribute: "cn", Value: "x"}, Attributes: []tree.Attribute{{Name: "manager", Values: []string{"CN=x"}}}}},
		{"no name", index.Object{ID: 9_000_000, Parent: 2, Class: "user"}},
		{"back link", index.Object{ID: 9_000_000, Parent: 2, Class: "user", RDN: tree.AVA{Attribute: "cn", Value: "x"}, Links: []index.Link{{Attribute: "memberOf", Targets: []directory.ObjectID{5}}}}},
		{"id", index.Object{ID: -1, Parent: 2, Class: "user", RDN: tree.AVA{Attribute: "cn", Value: "x"}}},
	} {
		n := x.Len()
		if err := x.Apply(1, []index.Object{c.o}, nil); fault.Of(err) != fault.Invalid || x.Len() != n {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestUpkeep changes so much that everything is made anew, more than once, and
// holds the index against one that is loaded with the outcome.
func TestUpkeep(t *testing.T) {
	o := generate(2000)
	x := load(t, o, nil)
	usn := o.usn
	n := 40
	if testing.Short() {
		n = 8
	}
	for round := range n {
		var changed []index.Object
		for i := range o.people {
			obj := &o.objects[o.people[i]-1]
			obj.Attributes = slices.Clone(obj.Attributes)
			for j := range obj.Attributes {
				switch obj.Attributes[j].Name {
				case "mail", "displayName", "sn":
					obj.Attributes[j].Values = []string{fmt.Sprintf("%s%d-%d", obj.Attributes[j].Name, round, i)}
				}
			}
			usn++
			obj.Changed = usn
			changed = append(changed, *obj)
		}
		if err := x.Apply(usn, changed, nil); err != nil {
			t.Fatal(err)
		}
	}
	fresh := load(t, o, nil)
	for _, text := range []string{
		"(mail=mail%d-17)", "(mail=mail0-17)", "(anr=displayname%d-1)", "(sn=*%d-55*)", "(displayName=*name0-5*)", "(uSNChanged>=1)", "(objectClass=user)",
	} {
		if slices.Contains([]byte(text), '%') {
			text = fmt.Sprintf(text, n-1)
		}
		got, err := search(t, x, everything(filter(t, text)))
		want, _ := search(t, fresh, everything(filter(t, text)))
		if err != nil || len(got) != len(want) {
			t.Errorf("%s: %d entries, %v, want %d", text, len(got), err, len(want))
		}
		for i := range min(len(got), len(want)) {
			if got[i].ID != want[i].ID || got[i].DN != want[i].DN {
				t.Errorf("%s: got %v, want %v", text, got[i], want[i])
			}
		}
	}
}

// TestConcurrent searches while others write. A person's mail and displayName
// are changed together, so nobody may see one without the other; the race
// detector looks at the rest.
func TestConcurrent(t *testing.T) {
	o := generate(2000)
	x := load(t, o, nil)
	var stop atomic.Bool
	var wait sync.WaitGroup
	var searches atomic.Int64
	for i := range 3 {
		wait.Go(func() {
			for round := 0; !stop.Load() || round == 0; round++ {
				text := []string{"(anr=mate)", "(displayName=*mate*)", "(&(objectClass=user)(!(mail=nobody)))", "(memberOf=*)"}[(i+round)%4]
				q := &tree.Query{Scope: tree.Sub, Global: true, Filter: filter(t, text), Attributes: []string{"mail", "displayName", "manager", "memberOf"}}
				err := x.Search(context.Background(), q, nil, func(e *tree.Entry) error {
					var a, b int
					name := e.Get("displayName")
					if len(name) == 0 {
						return nil
					}
					if n, _ := fmt.Sscanf(name[0], "mate %d", &a); n == 1 {
						if _, err := fmt.Sscanf(e.Get("mail")[0], "mate%d@", &b); err != nil || a != b {
							return fmt.Errorf("%s has the address %v", name[0], e.Get("mail"))
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				x.Members(o.groups[1])
				x.Find("sAMAccountName", "u000001")
				searches.Add(1)
			}
		})
	}
	usn := o.usn
	for round := range 400 {
		obj := o.objects[o.people[round%len(o.people)]-1]
		obj.Attributes = slices.Clone(obj.Attributes)
		for j := range obj.Attributes {
			switch obj.Attributes[j].Name {
			case "mail":
				obj.Attributes[j].Values = []string{fmt.Sprintf("mate%d@example.test", round)}
			case "displayName":
				obj.Attributes[j].Values = []string{fmt.Sprintf("mate %d", round)}
			}
		}
		usn++
		obj.Changed = usn
		var gone []directory.ObjectID
		moved := o.objects[o.ous[len(o.ous)-1-round%5]-1]
		moved.Parent = o.ous[round%7]
		usn++
		moved.Changed = usn
		if round%10 == 9 {
			gone = append(gone, o.people[len(o.people)-1-round/10])
		}
		if err := x.Apply(usn, []index.Object{obj, moved}, gone); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	wait.Wait()
	if searches.Load() == 0 {
		t.Error("nothing was searched")
	}
}

// TestCold fetches what is not in memory once for a batch.
func TestCold(t *testing.T) {
	calls := 0
	x := load(t, generate(2000), func(_ context.Context, ids []directory.ObjectID, names []string) (map[directory.ObjectID][]tree.Attribute, error) {
		calls++
		values := map[directory.ObjectID][]tree.Attribute{}
		for _, id := range ids {
			values[id] = []tree.Attribute{{Name: "thumbnailPhoto", Values: []string{fmt.Sprint(id)}}, {Name: "userCertificate", Values: []string{"not asked for"}}}
		}
		if !slices.Equal(names, []string{"thumbnailPhoto"}) {
			t.Errorf("asked for %v", names)
		}
		return values, nil
	})
	q := everything(filter(t, "(thumbnailPhoto=*)"))
	q.Attributes, q.Base, q.Global = []string{"thumbnailPhoto"}, dn(t, "DC=example,DC=test"), false
	entries, err := search(t, x, q)
	if err != nil || len(entries) == 0 || calls != (len(entries)+127)/128 {
		t.Fatalf("%d entries by %d calls, %v", len(entries), calls, err)
	}
	for _, e := range entries {
		if len(e.Attributes) != 1 || e.Get("thumbnailPhoto")[0] != fmt.Sprint(e.ID) {
			t.Errorf("entry %d: %v", e.ID, e.Attributes)
		}
	}
	q.TypesOnly = true
	calls = 0
	if entries, _ = search(t, x, q); calls != 0 || len(entries[0].Attributes) != 1 || entries[0].Attributes[0].Values != nil {
		t.Errorf("types only: %d calls, %v", calls, entries[0])
	}
}
