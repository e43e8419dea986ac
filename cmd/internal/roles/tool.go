package roles

import (
	"context"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"waypost/directory"
	"waypost/directory/authn"
	dirpg "waypost/directory/postgres"
	"waypost/internal/config"
	"waypost/internal/fault"
	"waypost/internal/pgcluster"
	"waypost/internal/pgdb"
	"waypost/migrations"
	relaypg "waypost/services/relay/postgres"
	storepg "waypost/store/postgres"
)

// Version is what the program was built from.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value[:min(12, len(s.Value))]
			}
		}
		if info.Main.Version != "" {
			return info.Main.Version
		}
	}
	return "(development)"
}

// Private starts the private cluster, brings its schemas up to date and fills
// its addresses into the configuration. With join it uses the one of a running
// waypost serve where there is one. The caller calls stop.
func Private(ctx context.Context, cfg *config.Config, log *slog.Logger, join bool) (stop func(), err error) {
	if err := os.MkdirAll(cfg.Data, 0o755); err != nil {
		return nil, err
	}
	var names []string
	for _, s := range migrations.Schemas() {
		names = append(names, s.Role())
	}
	start := pgcluster.Start
	if join {
		start = pgcluster.Join
	}
	// Every role has a pool with two connections besides; some are for tools.
	c, err := start(ctx, pgcluster.Config{Dir: filepath.Join(cfg.Data, "pg"), Roles: names, MaxConns: 3*(cfg.Database.PoolSize+2) + 40, Log: log})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.Stop()
		}
	}()
	passwords := map[migrations.Schema]string{}
	for _, s := range migrations.Schemas() {
		passwords[s] = c.Password(s.Role())
	}
	current, err := prepare(ctx, c.AdminURL(), passwords)
	if err != nil {
		return nil, err
	}
	cfg.Database.AdminURL = c.AdminURL()
	cfg.Database.DirectoryURL = c.URL(migrations.Directory.Role())
	cfg.Database.MailURL = c.URL(migrations.Mail.Role())
	cfg.Database.QueueURL = c.URL(migrations.Queue.Role())
	if !current {
		if err := Migrate(ctx, cfg); err != nil {
			return nil, err
		}
	}
	return c.Stop, nil
}

// prepare makes the login roles and their schemas, unless that was done before:
// a running system is not touched. It tells whether every schema is the one
// that this program knows.
func prepare(ctx context.Context, admin string, passwords map[migrations.Schema]string) (current bool, err error) {
	done := true
	current = true
	for _, s := range migrations.Schemas() {
		v, err := migrations.Version(ctx, admin, s)
		if err != nil {
			return false, err
		}
		done = done && v > 0
		current = current && v == s.Newest()
	}
	if done {
		return current, nil
	}
	return false, migrations.Roles(ctx, admin, passwords)
}

// Migrate brings every schema that is configured up to date. A database that is
// not there yet is waited for.
func Migrate(ctx context.Context, cfg *config.Config) error {
	deadline := time.Now().Add(cfg.Database.Wait.D())
	up := func(url string, s migrations.Schema) error {
		for {
			err := migrations.Up(ctx, url, s)
			if !migrations.Away(err) || time.Now().After(deadline) {
				return err
			}
			select {
			case <-ctx.Done():
				return err
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
	if u := cfg.Database.DirectoryURL; u != "" {
		if err := up(u, migrations.Directory); err != nil {
			return err
		}
	}
	for _, u := range cfg.Database.Mail() {
		if err := up(u, migrations.Mail); err != nil {
			return err
		}
	}
	if u := cfg.Database.QueueURL; u != "" {
		return up(u, migrations.Queue)
	}
	return nil
}

// Need says what a command of the command line works on.
type Need struct {
	Directory, Mail, Queue bool
	// Tree is the directory by names and attributes, and in bulk: it is read
	// into this process. Without it a running program on this machine is asked.
	Tree bool
}

// Tool is what a command of the command line works with.
type Tool struct {
	Directory directory.Directory
	Bulk      *dirpg.Store // only with Need.Tree
	Mail      *storepg.Store
	Queue     *relaypg.Queue
	Close     func()
}

// OpenTool opens databases for a command. What it changes is announced to the
// running programs before Close returns.
func OpenTool(ctx context.Context, cfg *config.Config, log *slog.Logger, n Need) (_ *Tool, err error) {
	t := &Tool{}
	var closers []func()
	t.Close = func() {
		for i := len(closers) - 1; i >= 0; i-- {
			closers[i]()
		}
	}
	defer func() {
		if err != nil {
			t.Close()
		}
	}()
	open := func(name, url string) (*pgdb.DB, error) {
		if url == "" {
			return nil, fault.New(fault.Invalid, "no %s database is configured for this command", name)
		}
		db, err := pgdb.Open(ctx, url, pgdb.Options{Name: "waypost-tool", MaxConns: 4, Wait: cfg.Database.Wait.D(), Log: log})
		if err != nil {
			return nil, err
		}
		closers = append(closers, db.Close)
		return db, nil
	}
	// behind runs what follows other processes until Close.
	behind := func(run func(context.Context) error) {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan struct{})
		go func() { defer close(done); _ = run(ctx) }()
		closers = append(closers, func() { cancel(); <-done })
	}
	if n.Directory && !n.Tree {
		if c := bySocket(ctx, cfg, log); c != nil {
			closers = append(closers, c.Close)
			t.Directory = c
		}
	}
	if n.Directory && t.Directory == nil {
		db, err := open("directory", cfg.Database.DirectoryURL)
		if err != nil {
			return nil, err
		}
		hasher := authn.NewHasher(authn.Params{})
		if t.Bulk, err = dirpg.Open(ctx, db, dirpg.Options{Hash: hasher.Hash, Among: hasher.Among, Log: log}); err != nil {
			return nil, err
		}
		behind(t.Bulk.Run)
		t.Directory = authn.Near(t.Bulk, authn.New(t.Bulk, hasher, authn.Options{Log: log}))
	}
	if n.Mail {
		pools := map[string]*pgdb.DB{}
		for name, url := range cfg.Database.Mail() {
			if pools[name], err = open("mailbox", url); err != nil {
				return nil, err
			}
		}
		if t.Mail, err = storepg.New(pools, storeOptions(cfg, log, func() directory.Directory { return t.Directory })); err != nil {
			return nil, err
		}
		behind(t.Mail.Run)
	}
	if n.Queue {
		db, err := open("queue", cfg.Database.QueueURL)
		if err != nil {
			return nil, err
		}
		t.Queue = relaypg.New(db)
	}
	return t, nil
}

// Prepare makes the database roles of the configured URLs with their schemas,
// as the superuser of database.admin_url. It may be repeated, and sets the
// passwords anew.
func Prepare(ctx context.Context, cfg *config.Config) error {
	admin := cfg.Database.AdminURL
	if admin == "" {
		return missing("database.admin_url", "a superuser's URL, to make the roles")
	}
	for s, raw := range map[migrations.Schema]string{
		migrations.Directory: cfg.Database.DirectoryURL, migrations.Mail: cfg.Database.Mail()[storepg.DefaultHome], migrations.Queue: cfg.Database.QueueURL,
	} {
		if raw == "" {
			continue
		}
		u, err := url.Parse(raw)
		if err != nil || u.User == nil {
			return fault.New(fault.Invalid, "the URL of the %s database names no user", s)
		}
		if u.User.Username() != s.Role() {
			return fault.New(fault.Invalid, "the user of the %s database must be %s", s, s.Role())
		}
		pw, _ := u.User.Password()
		if err := migrations.Roles(ctx, admin, map[migrations.Schema]string{s: pw}); err != nil {
			return err
		}
	}
	return nil
}

// DatabaseSettings reads what doctor and the benchmark judge of the mailbox
// database's server.
func DatabaseSettings(ctx context.Context, cfg *config.Config) (map[string]string, error) {
	u := cfg.Database.Mail()[storepg.DefaultHome]
	if u == "" {
		u = cfg.Database.DirectoryURL
	}
	db, err := pgdb.Open(ctx, u, pgdb.Options{Name: "waypost-doctor", MaxConns: 1})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	out := map[string]string{}
	for _, k := range []string{"server_version", "fsync", "synchronous_commit", "full_page_writes", "data_checksums", "wal_level", "shared_buffers", "max_connections"} {
		var v string
		if err := db.QueryRow(ctx, "select current_setting($1, true)", k).Scan(&v); err != nil {
			return nil, err
		}
		out[k] = v
	}
	return out, nil
}
