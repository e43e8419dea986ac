package pgtest

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"waypost/migrations"
)

func TestNewLendsSeparateDatabases(t *testing.T) {
	var names [2]string
	for i := range names {
		t.Run("user", func(t *testing.T) {
			c, err := pgx.Connect(t.Context(), New(t, migrations.Mail, migrations.Queue))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(t.Context())
			var mail, queue, directory bool
			err = c.QueryRow(t.Context(), `select current_database(), to_regnamespace('mail') is not null,
				to_regnamespace('queue') is not null, to_regnamespace('directory') is not null`).Scan(&names[i], &mail, &queue, &directory)
			if err != nil || !mail || !queue || directory {
				t.Errorf("schemas mail=%t queue=%t directory=%t (%v), want the first two", mail, queue, directory, err)
			}
		})
	}
	if names[0] == names[1] {
		t.Errorf("both got %s", names[0])
	}
	c, err := pgx.Connect(t.Context(), Admin(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	var left int
	if err := c.QueryRow(t.Context(), "select count(*) from pg_database where datname = any($1)", names[:]).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d of the databases are left (%v)", left, err)
	}
}

func TestTemplateNameFollowsSchemas(t *testing.T) {
	one, err := templateName([]migrations.Schema{migrations.Mail})
	if err != nil {
		t.Fatal(err)
	}
	two, err := templateName([]migrations.Schema{migrations.Mail, migrations.Queue})
	if err != nil {
		t.Fatal(err)
	}
	again, _ := templateName([]migrations.Schema{migrations.Mail})
	if one == two || one != again {
		t.Errorf("names %s, %s, %s: want the first and last equal, the second not", one, two, again)
	}
}
