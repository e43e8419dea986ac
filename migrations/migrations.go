// Package migrations holds the SQL of the three schemas and applies it.
//
// Its law: files are numbered, embedded and forward only. Each schema has a
// version table of its own and may live in a database of its own. Any number
// of processes may call Up at once: a PostgreSQL advisory lock lets one work
// and the others find it done. A database whose schema is newer than the
// program is refused, and so is one that is not UTF8 with locale C.
package migrations

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"waypost/internal/fault"
)

//go:embed directory mail queue
var files embed.FS

// Schema names one of the three schemas; the text is its name in PostgreSQL.
type Schema string

// The schemas. No join crosses two of them.
const (
	Directory Schema = "directory"
	Mail      Schema = "mail"
	Queue     Schema = "queue"
)

// Schemas lists all of them.
func Schemas() []Schema { return []Schema{Directory, Mail, Queue} }

// Role is the login role that owns the schema in the private cluster.
func (s Schema) Role() string { return "waypost_" + string(s) }

func (s Schema) table() string { return string(s) + ".schema_version" }

func (s Schema) valid() error {
	if !slices.Contains(Schemas(), s) {
		return fault.New(fault.Invalid, "there is no schema %q", string(s))
	}
	return nil
}

// Files gives the schema's SQL files.
func (s Schema) Files() fs.FS {
	sub, err := fs.Sub(files, string(s))
	if err != nil {
		panic(err) // the name is not a path: a Schema made by hand
	}
	return sub
}

// Newest is the number of the newest file of the schema, 0 when it has none.
func (s Schema) Newest() int64 { return newest(s.Files()) }

func newest(dir fs.FS) int64 {
	names, err := fs.Glob(dir, "*.sql")
	if err != nil {
		return 0
	}
	var top int64
	for _, name := range names {
		number, _, _ := strings.Cut(path.Base(name), "_")
		if v, err := strconv.ParseInt(number, 10, 64); err == nil {
			top = max(top, v)
		}
	}
	return top
}

// Up brings the schema of the database at url to the newest version. It is
// idempotent and safe when several processes start at once. A schema newer
// than this program is Unavailable with a text that names both versions.
func Up(ctx context.Context, url string, s Schema) (err error) {
	if err := s.valid(); err != nil {
		return err
	}
	defer fault.Wrap(&err, "migrate schema %s", s)
	return up(ctx, url, s, s.Files())
}

func up(ctx context.Context, url string, s Schema, dir fs.FS) error {
	cfg, err := parse(url, s)
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	known := newest(dir)
	if at, err := version(ctx, db, s); err != nil {
		return err
	} else if at > known {
		return tooNew(s, at, known)
	} else if at == known && at > 0 {
		return nil // the usual start: no lock, no goose
	}
	if err := checkDatabase(ctx, db); err != nil {
		return err
	}

	// The lock belongs to this one session and goes with it.
	lock, err := db.Conn(ctx)
	if err != nil {
		return unavailable(err)
	}
	defer lock.Close()
	if _, err := lock.ExecContext(ctx, "select pg_advisory_lock($1)", lockKey(s)); err != nil {
		return unavailable(err)
	}
	defer unlock(lock, s)

	// Somebody may have been faster, with an older or a newer program.
	at, err := version(ctx, db, s)
	if err != nil {
		return err
	}
	if at > known {
		return tooNew(s, at, known)
	}
	if err := createSchema(ctx, db, s); err != nil {
		return err
	}
	return apply(ctx, db, s, dir)
}

func apply(ctx context.Context, db *sql.DB, s Schema, dir fs.FS) error {
	store, err := database.NewStore(database.DialectPostgres, s.table())
	if err != nil {
		return err
	}
	p, err := goose.NewProvider("", db, dir, goose.WithStore(store), goose.WithDisableGlobalRegistry(true))
	if errors.Is(err, goose.ErrNoMigrations) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return unavailable(err)
}

// Version tells which version the schema of the database at url has; 0 when
// it was never migrated.
func Version(ctx context.Context, url string, s Schema) (v int64, err error) {
	if err := s.valid(); err != nil {
		return 0, err
	}
	defer fault.Wrap(&err, "version of schema %s", s)
	cfg, err := parse(url, s)
	if err != nil {
		return 0, err
	}
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	return version(ctx, db, s)
}

// Check answers nil when the schema of the database at url is exactly the one
// this program knows; programs that must not migrate ask it at their start.
func Check(ctx context.Context, url string, s Schema) error {
	at, err := Version(ctx, url, s)
	switch known := s.Newest(); {
	case err != nil:
		return err
	case at > known:
		return tooNew(s, at, known)
	case at < known:
		return fault.New(fault.Unavailable,
			"schema %s is at version %d, this program needs version %d: run waypost migrate", s, at, known)
	}
	return nil
}

func version(ctx context.Context, db *sql.DB, s Schema) (int64, error) {
	var there bool
	err := db.QueryRowContext(ctx, "select to_regclass($1) is not null", s.table()).Scan(&there)
	if err != nil || !there {
		return 0, unavailable(err)
	}
	var v int64
	// goose writes one row a version, the first with number 0.
	err = db.QueryRowContext(ctx, "select coalesce(max(version_id), 0) from "+s.table()+" where is_applied").Scan(&v)
	return v, unavailable(err)
}

func tooNew(s Schema, at, known int64) error {
	return fault.New(fault.Unavailable,
		"schema %s is at version %d, this program knows versions up to %d: start a newer waypost", s, at, known)
}

// createSchema makes the schema unless it exists. IF NOT EXISTS would not do:
// it asks for the right to create even when there is nothing to create.
func createSchema(ctx context.Context, db *sql.DB, s Schema) error {
	var there bool
	err := db.QueryRowContext(ctx, "select exists (select from pg_namespace where nspname = $1)", string(s)).Scan(&there)
	if err != nil || there {
		return unavailable(err)
	}
	_, err = db.ExecContext(ctx, "create schema "+pgx.Identifier{string(s)}.Sanitize())
	return unavailable(err)
}

// checkDatabase refuses a database in which text would be sorted or stored
// otherwise than the product relies on.
func checkDatabase(ctx context.Context, db *sql.DB) error {
	var name, encoding, collate, ctype string
	err := db.QueryRowContext(ctx, `select datname, pg_encoding_to_char(encoding), datcollate, datctype
		from pg_database where datname = current_database()`).Scan(&name, &encoding, &collate, &ctype)
	if err != nil {
		return unavailable(err)
	}
	plain := func(locale string) bool { return locale == "C" || locale == "POSIX" }
	if encoding == "UTF8" && plain(collate) && plain(ctype) {
		return nil
	}
	return fault.New(fault.Invalid,
		"database %s has encoding %s and locale %s/%s, but UTF8 and locale C are needed; make it with: "+
			"CREATE DATABASE %s TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'",
		name, encoding, collate, ctype, pgx.Identifier{name}.Sanitize())
}

func parse(url string, s Schema) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fault.From(fault.Invalid, err, "the database URL makes no sense")
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 10 * time.Second
	}
	cfg.RuntimeParams["application_name"] = "waypost migrate"
	cfg.RuntimeParams["search_path"] = string(s)
	cfg.RuntimeParams["timezone"] = "UTC"
	// A migration, and the wait for somebody else's, take as long as they take.
	cfg.RuntimeParams["statement_timeout"] = "0"
	cfg.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	return cfg, nil
}

func lockKey(s Schema) int64 {
	h := fnv.New64a()
	h.Write([]byte("waypost migrations " + string(s)))
	return int64(h.Sum64())
}

func unlock(c *sql.Conn, s Schema) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	// Closing the session would do; this is sooner.
	_, _ = c.ExecContext(ctx, "select pg_advisory_unlock($1)", lockKey(s))
}

// unavailable gives the kind to errors of a server that is away. pgdb knows
// them better, but works on a pool that the schema may not be ready for.
func unavailable(err error) error {
	var connect *pgconn.ConnectError
	switch {
	case errors.As(err, &connect):
		return fault.From(fault.Unavailable, err, "the database cannot be reached")
	case Away(err):
		return fault.From(fault.Unavailable, err, "the database is not ready")
	}
	return err
}

// Away tells whether an error of this package comes from a server that does not
// answer, or not yet: it is starting, stopping, full, or its connection broke.
// Who waits a moment may see it back.
func Away(err error) bool {
	var (
		pg      *pgconn.PgError
		connect *pgconn.ConnectError
		network net.Error
	)
	switch {
	case errors.As(err, &pg): // a wrong password is an error of connecting too
		return strings.HasPrefix(pg.Code, "57P") || strings.HasPrefix(pg.Code, "53") || strings.HasPrefix(pg.Code, "08")
	case errors.As(err, &connect), errors.As(err, &network):
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, driver.ErrBadConn)
}

// Roles makes the login roles of the schemas named, each owning its schema and
// nothing else, in the database at url. The url is that of a superuser; it is
// how the private cluster separates the roles of the product. It is idempotent
// and sets the passwords anew.
func Roles(ctx context.Context, url string, passwords map[Schema]string) (err error) {
	defer fault.Wrap(&err, "make database roles")
	cfg, err := parse(url, "pg_catalog")
	if err != nil {
		return err
	}
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return unavailable(err)
	}
	defer c.Close(context.WithoutCancel(ctx))
	for s := range passwords {
		if err := s.valid(); err != nil {
			return err
		}
	}
	return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", lockKey("roles")); err != nil {
			return unavailable(err)
		}
		for s, password := range passwords {
			if err := role(ctx, tx, s, password); err != nil {
				return unavailable(err)
			}
		}
		// What older servers grant to everybody, and nobody here needs.
		_, err := tx.Exec(ctx, "revoke all on schema public from public")
		return unavailable(err)
	})
}

func role(ctx context.Context, tx pgx.Tx, s Schema, password string) error {
	name, schema := pgx.Identifier{s.Role()}.Sanitize(), pgx.Identifier{string(s)}.Sanitize()
	var there bool
	if err := tx.QueryRow(ctx, "select exists (select from pg_roles where rolname = $1)", s.Role()).Scan(&there); err != nil {
		return err
	}
	verb := "create"
	if there {
		verb = "alter"
	}
	// A role's password cannot be a parameter; format quotes it on the server.
	var statement string
	if err := tx.QueryRow(ctx,
		"select format('%s role %s login nosuperuser nocreatedb nocreaterole noreplication password %L', $1::text, $2::text, $3::text)",
		verb, name, password).Scan(&statement); err != nil {
		return err
	}
	for _, sql := range []string{
		statement,
		fmt.Sprintf("create schema if not exists %s authorization %s", schema, name),
		fmt.Sprintf("alter schema %s owner to %s", schema, name),
	} {
		if _, err := tx.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	return nil
}
