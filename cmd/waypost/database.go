package main

import (
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"waypost/internal/fault"
	"waypost/internal/pgcluster"
)

type databaseCmd struct {
	Program []string `arg:"" passthrough:"" help:"A program of PostgreSQL and its arguments: pg_dump, pg_restore, pg_basebackup, psql."`
}

// database runs a program of PostgreSQL as the superuser of the private cluster,
// or of database.admin_url. Its output and exit are the program's own.
func (a *app) database(ctx context.Context, c *cli) error {
	if err := a.join(ctx, quietLog()); err != nil {
		return err
	}
	defer a.more.close()
	if a.cfg.Database.AdminURL == "" {
		return fault.New(fault.Invalid, "database.admin_url is not set: for a PostgreSQL of your own, use its programs themselves or set it")
	}
	env, err := pgEnv(a.cfg.Database.AdminURL)
	if err != nil {
		return err
	}
	name, err := a.pgProgram(ctx, c.Database.Program[0])
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, name, c.Database.Program[1:]...) //nolint:gosec // the operator's own command
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Run(); err != nil {
		return fault.From(fault.Internal, err, "%s", filepath.Base(name))
	}
	return nil
}

// pgProgram finds a program: that of the private cluster's own version first,
// for Debian keeps several beside each other.
func (a *app) pgProgram(ctx context.Context, name string) (string, error) {
	version, err := os.ReadFile(filepath.Join(a.cfg.Data, "pg", "pgdata", "PG_VERSION"))
	if err == nil && !strings.Contains(name, "/") {
		path := filepath.Join("/usr/lib/postgresql", strings.TrimSpace(string(version)), "bin", name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		if b, ferr := pgcluster.Find(ctx); ferr == nil {
			path, err = exec.LookPath(b.Path(name))
		}
	}
	if err != nil {
		return "", fault.From(fault.NotFound, err, "there is no program %s", name)
	}
	return path, nil
}

// pgEnv says by libpq's variables what a URL says: a password must not be seen
// in the list of processes.
func pgEnv(raw string) ([]string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.User == nil {
		return nil, fault.New(fault.Invalid, "database.admin_url names no user")
	}
	password, _ := u.User.Password()
	host, port := u.Hostname(), u.Port()
	if h := u.Query().Get("host"); h != "" {
		host = h
	}
	env := []string{"PGHOST=" + host, "PGUSER=" + u.User.Username(), "PGPASSWORD=" + password, "PGDATABASE=" + strings.TrimPrefix(u.Path, "/")}
	if port != "" {
		env = append(env, "PGPORT="+port)
	} else {
		env = append(env, "PGPORT=5432")
	}
	for _, k := range []string{"sslmode", "sslrootcert"} {
		if v := u.Query().Get(k); v != "" {
			env = append(env, "PG"+strings.ToUpper(k)+"="+v)
		}
	}
	return env, nil
}
