package migrations_test

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"waypost/internal/fault"
	"waypost/internal/pgtest"
	"waypost/migrations"
)

func sqlFile(up string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte("-- +goose Up\n" + up + "\n")}
}

var twoFiles = fstest.MapFS{
	"00001_init.sql": sqlFile("create table a (id bigint primary key);\nselect pg_sleep(0.2);"),
	"00002_more.sql": sqlFile("create table b (id bigint primary key);\ninsert into b values (1);"),
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func TestUpConcurrently(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { errs[i] = migrations.UpFrom(t.Context(), url, migrations.Mail, twoFiles) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("process %d: %v", i, err)
		}
	}
	var rows int
	if err := connect(t, url).QueryRow(t.Context(), "select count(*) from mail.b").Scan(&rows); err != nil || rows != 1 {
		t.Errorf("mail.b has %d rows (%v), want 1", rows, err)
	}
	if v, err := migrations.Version(t.Context(), url, migrations.Mail); err != nil || v != 2 {
		t.Errorf("version %d (%v), want 2", v, err)
	}
	if v, err := migrations.Version(t.Context(), url, migrations.Queue); err != nil || v != 0 {
		t.Errorf("version of a schema never migrated: %d (%v), want 0", v, err)
	}
}

func TestUpFromEachVersion(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	first := fstest.MapFS{"00001_init.sql": twoFiles["00001_init.sql"]}
	for i, dir := range []fstest.MapFS{first, first, twoFiles, twoFiles} {
		if err := migrations.UpFrom(t.Context(), url, migrations.Queue, dir); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	if v, err := migrations.Version(t.Context(), url, migrations.Queue); err != nil || v != 2 {
		t.Errorf("version %d (%v), want 2", v, err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	if err := migrations.UpFrom(t.Context(), url, migrations.Mail, twoFiles); err != nil {
		t.Fatal(err)
	}
	older := fstest.MapFS{"00001_init.sql": twoFiles["00001_init.sql"]}
	err := migrations.UpFrom(t.Context(), url, migrations.Mail, older)
	if fault.Of(err) != fault.Unavailable {
		t.Fatalf("got %v, want Unavailable", err)
	}
	for _, want := range []string{"mail", "version 2", "up to 1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %q", err, want)
		}
	}
}

func TestFailedFileChangesNothing(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	bad := fstest.MapFS{
		"00001_init.sql": twoFiles["00001_init.sql"],
		"00002_bad.sql":  sqlFile("create table b (id bigint);\ncreate table b (id bigint);"),
	}
	if err := migrations.UpFrom(t.Context(), url, migrations.Mail, bad); err == nil {
		t.Fatal("a file that fails was accepted")
	}
	if v, err := migrations.Version(t.Context(), url, migrations.Mail); err != nil || v != 1 {
		t.Errorf("version %d (%v), want 1", v, err)
	}
	if err := migrations.UpFrom(t.Context(), url, migrations.Mail, twoFiles); err != nil {
		t.Errorf("after repair: %v", err)
	}
}

func TestEmbeddedFiles(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	for _, s := range migrations.Schemas() {
		if err := migrations.Up(t.Context(), url, s); err != nil {
			t.Errorf("%s again: %v", s, err)
		}
		if err := migrations.Check(t.Context(), url, s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestWrongDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, options, want string }{
		{"encoding", "encoding 'SQL_ASCII' locale 'C'", "SQL_ASCII"},
		{"locale", "encoding 'UTF8' locale 'C.UTF-8'", "C.UTF-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := connect(t, pgtest.Admin(t))
			name := "t_wrong_" + tt.name
			if _, err := c.Exec(t.Context(), "drop database if exists "+name); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Exec(t.Context(), "create database "+name+" template template0 "+tt.options); err != nil {
				t.Skipf("this server does not make such a database: %v", err)
			}
			t.Cleanup(func() { c.Exec(context.Background(), "drop database "+name+" with (force)") })
			u, _ := url.Parse(pgtest.Admin(t))
			u.Path = "/" + name
			err := migrations.UpFrom(t.Context(), u.String(), migrations.Mail, twoFiles)
			if fault.Of(err) != fault.Invalid || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "LOCALE 'C'") {
				t.Errorf("got %v, want a refusal that names %s and the command", err, tt.want)
			}
		})
	}
}

func TestUnreachableServerIsUnavailable(t *testing.T) {
	t.Parallel()
	err := migrations.Up(t.Context(), "postgres://nobody@127.0.0.1:1/x", migrations.Mail)
	if fault.Of(err) != fault.Unavailable {
		t.Errorf("got %v, want Unavailable", err)
	}
	if err := migrations.Up(t.Context(), "postgres://x", "other"); fault.Of(err) != fault.Invalid {
		t.Errorf("unknown schema: got %v, want Invalid", err)
	}
}

// The roles of a server are shared by its databases, so this test has the one
// use of them in this binary; a second run finds them already there.
func TestRoles(t *testing.T) {
	at := pgtest.Empty(t)
	words := map[migrations.Schema]string{}
	for _, s := range migrations.Schemas() {
		words[s] = "it's \\secret " + string(s)
	}
	for range 2 {
		if err := migrations.Roles(t.Context(), at, words); err != nil {
			t.Fatal(err)
		}
	}
	as := func(s migrations.Schema) string {
		u, _ := url.Parse(at)
		u.User = url.UserPassword(s.Role(), words[s])
		return u.String()
	}
	if err := migrations.UpFrom(t.Context(), as(migrations.Mail), migrations.Mail, twoFiles); err != nil {
		t.Fatalf("a role cannot migrate its own schema: %v", err)
	}
	if err := migrations.UpFrom(t.Context(), as(migrations.Queue), migrations.Queue, twoFiles); err != nil {
		t.Fatalf("a role cannot migrate its own schema: %v", err)
	}
	// The real files ask for no more than a role has.
	at2 := pgtest.Empty(t)
	if err := migrations.Roles(t.Context(), at2, words); err != nil {
		t.Fatal(err)
	}
	for _, s := range migrations.Schemas() {
		u, _ := url.Parse(at2)
		u.User = url.UserPassword(s.Role(), words[s])
		if err := migrations.Up(t.Context(), u.String(), s); err != nil {
			t.Errorf("%s: %v", s.Role(), err)
		}
	}
	c := connect(t, as(migrations.Queue))
	for _, sql := range []string{
		"select * from mail.a", "create table mail.x (i int)", "create schema other", "create table public.x (i int)",
		"create role other", "drop schema directory",
	} {
		if _, err := c.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: got %v, want permission denied", sql, err)
		}
	}
}
