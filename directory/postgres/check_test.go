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
	told := func(law string) (n int) {
		t.Helper()
		findings, err := s.Check(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range findings {
			if strings.Contains(f, law) {
				n++
			}
		}
		return n
	}
	const insert = `INSERT INTO directory.link (attribute, source, target, usn) VALUES (42, $1, $2, 1)`
	run(insert, users[0].ID, users[1].ID)
	run(insert, users[1].ID, users[0].ID)
	run(`DELETE FROM directory.object WHERE id = $1`, users[1].ID)
	const links, rows = "links lead from and to what is there", "names, accounts and values are of what is there"
	if n := told(links) + told(rows); n != 0 {
		t.Errorf("%d rows of what was removed are there still", n)
	}
	run(insert, users[0].ID, 1<<20)
	run(insert, 1<<20, users[0].ID)
	if n := told(links); n != 2 {
		t.Errorf("%d of 2 links that lead nowhere are found", n)
	}
	run(`INSERT INTO directory.name (kind, key, object) VALUES (1, 'nobody@a.test', 1 << 20)`)
	run(`INSERT INTO directory.account (object, hash, epoch, enabled, must_change) VALUES (1 << 20, '', 1, true, false)`)
	run(`INSERT INTO directory.cold (object, attribute, place, value) VALUES (1 << 20, 'info', 0, 'x')`)
	if n := told(rows); n != 3 {
		t.Errorf("%d of 3 rows of nobody are found", n)
	}
	run(`UPDATE directory.object SET parent = 1 << 20 WHERE id = $1`, users[0].ID)
	if n := told("every object hangs in the tree below the root"); n != 1 {
		t.Errorf("%d of 1 objects without a container are found", n)
	}
}
