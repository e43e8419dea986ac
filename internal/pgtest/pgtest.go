// Package pgtest lends every test a migrated PostgreSQL database of its own.
//
// All test binaries of a run share one throw-away cluster in a folder under
// os.TempDir(), started by whoever comes first. It keeps nothing safe (fsync
// is off) and must never be used to measure or to test durability. Each binary
// holds a shared lock on the file "use" while it lives; a watchdog stops the
// server and removes its data once nobody has held it for a minute. To stop it
// at once: pg_ctl stop -D $TMPDIR/waypost-pgtest-UID/data (as the user who
// owns that folder).
//
// WAYPOST_TEST_POSTGRES names a server to use instead, as a superuser's URL.
// Without a PostgreSQL server a test is skipped, but fails when CI=true or
// WAYPOST_REQUIRE_POSTGRES is set.
package pgtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"waypost/internal/fault"
	"waypost/migrations"
)

var (
	serverOnce sync.Once
	serverURL  string
	errServer  error

	templates sync.Map // name -> *sync.Once
	number    atomic.Int64
)

// New makes a database with the schemas named, all three when none is, and
// gives its URL (a superuser's). The database is dropped when the test ends.
func New(t testing.TB, schemas ...migrations.Schema) string {
	t.Helper()
	if len(schemas) == 0 {
		schemas = migrations.Schemas()
	}
	admin := admin(t)
	template, err := makeTemplate(admin, schemas)
	if err != nil {
		t.Fatalf("pgtest: template database: %v", err)
	}
	return create(t, admin, template)
}

// Empty makes a database without any schema.
func Empty(t testing.TB) string {
	t.Helper()
	return create(t, admin(t), "template0")
}

// Admin gives the URL of the server's database "postgres", as a superuser.
func Admin(t testing.TB) string {
	t.Helper()
	return admin(t)
}

func admin(t testing.TB) string {
	t.Helper()
	serverOnce.Do(func() {
		if serverURL = os.Getenv("WAYPOST_TEST_POSTGRES"); serverURL == "" {
			serverURL, errServer = shared()
		}
	})
	switch {
	case errServer == nil:
		return serverURL
	case fault.Of(errServer) == fault.Unavailable && os.Getenv("CI") != "true" && os.Getenv("WAYPOST_REQUIRE_POSTGRES") == "":
		t.Skipf("no PostgreSQL for this test: %v", errServer)
	default:
		t.Fatalf("pgtest: %v", errServer)
	}
	return ""
}

func create(t testing.TB, admin, template string) string {
	t.Helper()
	name := fmt.Sprintf("t_%d_%d", os.Getpid(), number.Add(1))
	quoted := pgx.Identifier{name}.Sanitize()
	if err := exec(admin, fmt.Sprintf("create database %s template %s encoding 'UTF8' locale 'C'",
		quoted, pgx.Identifier{template}.Sanitize())); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if err := exec(admin, "drop database if exists "+quoted+" with (force)"); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	u, err := inDatabase(admin, name)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return u
}

// makeTemplate migrates a template database once for each content of the SQL
// files; later tests, also of other processes, copy it.
func makeTemplate(admin string, schemas []migrations.Schema) (string, error) {
	name, err := templateName(schemas)
	if err != nil {
		return "", err
	}
	type once struct {
		sync.Once
		err error
	}
	v, _ := templates.LoadOrStore(name, &once{})
	o := v.(*once)
	o.Do(func() { o.err = migrateTemplate(admin, name, schemas) })
	return name, o.err
}

func templateName(schemas []migrations.Schema) (string, error) {
	h := sha256.New()
	for _, s := range schemas {
		fmt.Fprintf(h, "schema %s\n", s)
		err := fs.WalkDir(s.Files(), ".", func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := fs.ReadFile(s.Files(), p)
			fmt.Fprintf(h, "%s %d\n%s", p, len(text), text)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return "tmpl_" + hex.EncodeToString(h.Sum(nil)[:12]), nil
}

func migrateTemplate(admin, name string, schemas []migrations.Schema) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, "select pg_advisory_lock(hashtext($1))", name); err != nil {
		return err
	}
	var there bool
	if err := c.QueryRow(ctx, "select exists (select from pg_database where datname = $1)", name).Scan(&there); err != nil || there {
		return err
	}
	// Built under another name: one that was not finished is never copied.
	raw := name + "_raw"
	quoted := pgx.Identifier{raw}.Sanitize()
	for _, sql := range []string{
		"drop database if exists " + quoted + " with (force)",
		"create database " + quoted + " template template0 encoding 'UTF8' locale 'C'",
	} {
		if _, err := c.Exec(ctx, sql); err != nil {
			return err
		}
	}
	u, err := inDatabase(admin, raw)
	if err != nil {
		return err
	}
	for _, s := range schemas {
		if err := migrations.Up(ctx, u, s); err != nil {
			return err
		}
	}
	_, err = c.Exec(ctx, "alter database "+quoted+" rename to "+pgx.Identifier{name}.Sanitize())
	return err
}

// exec runs one statement on a connection of its own. CREATE DATABASE is tried
// again while another session looks at the template.
func exec(admin, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	for {
		_, err = c.Exec(ctx, sql)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "55006" { // object_in_use
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func inDatabase(admin, name string) (string, error) {
	u, err := url.Parse(admin)
	if err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}
