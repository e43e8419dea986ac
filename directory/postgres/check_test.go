package postgres_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/authn"
	"waypost/internal/pgtest"
	"waypost/migrations"
)

// TestLinksWithoutEnds: no foreign key watches over links. What is removed takes
// them along all the same, and the check finds those that lead nowhere.
func TestLinksWithoutEnds(t *testing.T) {
	ctx, url := t.Context(), pgtest.New(t, migrations.Directory)
	s, _ := process(t, url, authn.NewHasher(cheap))
	if _, err := s.AddDomain(ctx, system, "example.test"); err != nil {
		t.Fatal(err)
	}
	users := make([]directory.User, 2)
	for i, address := range []string{"ann@example.test", "bob@example.test"} {
		var err error
		if users[i], err = s.AddUser(ctx, system, directory.NewUser{User: directory.User{Address: address}}); err != nil {
			t.Fatal(err)
		}
	}
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }()
	run := func(sql string, args ...any) {
		t.Helper()
		if _, err := c.Exec(ctx, sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	told := func() (n int) {
		t.Helper()
		findings, err := s.Check(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range findings {
			if strings.Contains(f, "links lead from and to what is there") {
				n++
			}
		}
		return n
	}
	const insert = `INSERT INTO directory.link (attribute, source, target, usn) VALUES (42, $1, $2, 1)`
	run(insert, users[0].ID, users[1].ID)
	run(insert, users[1].ID, users[0].ID)
	run(`DELETE FROM directory.object WHERE id = $1`, users[1].ID)
	if n := told(); n != 0 {
		t.Errorf("%d links of what was removed are there still", n)
	}
	run(insert, users[0].ID, 1<<20)
	run(insert, 1<<20, users[0].ID)
	if n := told(); n != 2 {
		t.Errorf("%d of 2 links that lead nowhere are found", n)
	}
}
