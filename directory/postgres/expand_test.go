//go:build !race

package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"waypost/directory"
	"waypost/directory/authn"
	"waypost/directory/postgres"
	"waypost/directory/tree"
	"waypost/internal/pgtest"
	"waypost/migrations"
)

// TestExpandIsFast: all pages of a group of 10,000 in groups in groups, and of
// one by filter that finds as many, in under 20 ms.
func TestExpandIsFast(t *testing.T) {
	if testing.Short() {
		t.Skip("adds 10,000 people")
	}
	const people, outside, teams = 9000, 1000, 100
	s, d := process(t, pgtest.New(t, migrations.Directory), authn.NewHasher(cheap))
	as := directory.System("test")
	if _, err := d.AddDomain(t.Context(), as, "example.test"); err != nil {
		t.Fatal(err)
	}
	const base = "DC=example,DC=test"
	add := func(dn string, lines ...string) postgres.NewEntry {
		name, err := tree.ParseDN(dn + "," + base)
		if err != nil {
			t.Fatal(err)
		}
		e := postgres.NewEntry{DN: name}
		for i := 0; i < len(lines); i += 2 {
			if n := len(e.Attributes); n > 0 && e.Attributes[n-1].Name == lines[i] {
				e.Attributes[n-1].Values = append(e.Attributes[n-1].Values, lines[i+1])
				continue
			}
			e.Attributes = append(e.Attributes, tree.Attribute{Name: lines[i], Values: []string{lines[i+1]}})
		}
		return e
	}
	var list []postgres.NewEntry
	members := make([][]string, teams)
	for i := range people + outside {
		dn := fmt.Sprintf("CN=p%d", i)
		if i < people {
			list = append(list, add(dn, "objectClass", "user", "sAMAccountName", fmt.Sprintf("p%d", i), "mail", fmt.Sprintf("p%d@example.test", i),
				"department", "All", "homeMDB", "CN=default,CN=Mailbox Databases,CN=Waypost,CN=Services,CN=Configuration,"+base))
		} else {
			list = append(list, add(dn, "objectClass", "contact", "mail", fmt.Sprintf("p%d@elsewhere.test", i), "department", "All",
				"targetAddress", fmt.Sprintf("SMTP:p%d@elsewhere.test", i)))
		}
		members[i%teams] = append(members[i%teams], "member", dn+","+base)
	}
	for i, m := range members {
		if i > 0 {
			m = append(m, "member", fmt.Sprintf("CN=team%d,%s", i-1, base)) // as deep as it gets
		}
		list = append(list, add(fmt.Sprintf("CN=team%d", i), append([]string{"objectClass", "group", "mail", fmt.Sprintf("team%d@example.test", i)}, m...)...))
	}
	list = append(list, add("CN=Dynamic", "objectClass", "msExchDynamicDistributionList", "displayName", "Dynamic", "mail", "dynamic@example.test", "msExchDynamicDLFilter", "(department=All)"))
	for len(list) > 0 {
		n := min(len(list), 2500)
		added, err := s.AddEntries(t.Context(), as, list[:n], tree.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range added {
			if a.Err != nil {
				t.Fatalf("%s: %v", list[i].DN, a.Err)
			}
		}
		list = list[n:]
	}
	for _, tt := range []struct {
		what, address string
		page          int
		limit         time.Duration
	}{
		{"nested 100 deep, in pages of 1,000", fmt.Sprintf("team%d@example.test", teams-1), 1000, 20 * time.Millisecond},
		{"nested 100 deep, in pages of 500", fmt.Sprintf("team%d@example.test", teams-1), 500, 20 * time.Millisecond},
		{"by filter, in pages of 1,000", "dynamic@example.test", 1000, 20 * time.Millisecond},
	} {
		r, err := d.Resolve(t.Context(), tt.address)
		if err != nil || r.Standing != directory.List {
			t.Fatalf("%s: %+v, %v", tt.address, r, err)
		}
		var first, best time.Duration
		// What else runs on the machine only adds: the best of many counts, and
		// as soon as it is good enough.
		for try := 0; try < 5 || best > tt.limit && try < 60; try++ {
			begun := time.Now()
			n, forwards := 0, 0
			for p := (directory.Page{Limit: tt.page}); ; {
				some, err := d.Expand(t.Context(), r.Group, p)
				if err != nil {
					t.Fatal(err)
				}
				for _, x := range some {
					if x.Forward != "" {
						forwards++
					}
				}
				if n += len(some); len(some) < p.Limit {
					break
				}
				p.After = some[len(some)-1].ID
			}
			took := time.Since(begun)
			if n != people+outside || forwards != outside {
				t.Fatalf("%s: %d members, %d elsewhere; want %d, %d", tt.what, n, forwards, people+outside, outside)
			}
			if try == 0 {
				first = took
			}
			if best == 0 || took < best {
				best = took
			}
		}
		t.Logf("%s: first %v, best %v", tt.what, first, best)
		if best > tt.limit {
			t.Errorf("%s: %v, want at most %v", tt.what, best, tt.limit)
		}
	}
}
