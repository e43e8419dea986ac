// Package pgcluster keeps the private PostgreSQL cluster of waypost serve:
// finds the server, makes the cluster, starts it, watches over it and stops it.
//
// Its law:
//
//   - Nothing is ever risked for speed: fsync, synchronous_commit and
//     full_page_writes are on, and data checksums too.
//   - One process owns a cluster, by a lock that dies with it. Whatever runs on
//     the data folder without an owner is what a killed owner left behind; it
//     is stopped cleanly before a new server starts.
//   - A killed server comes back, with growing pauses, for as long as the
//     owner lives. A clean stop takes seconds.
//   - Nobody but the owner's roles gets in: a socket in a folder of mode 0700,
//     scram passwords, no network.
//   - As root the server runs as the system user postgres, or as the user who
//     owns the data folder already.
package pgcluster

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/internal/fault"
)

const (
	// superuser and database are the names inside the cluster.
	superuser = "postgres"
	database  = "waypost"

	startTimeout = 5 * time.Minute // crash recovery replays at most max_wal_size
	fastStop     = 6 * time.Second // then it is stopped without a checkpoint
	hardStop     = 2 * time.Second // then it is killed; the WAL has everything
)

// Config of a cluster.
type Config struct {
	// Dir holds everything of the cluster; it is made when missing.
	Dir string
	// Roles may sign in besides the superuser; whoever starts the cluster
	// creates them.
	Roles []string
	// MaxConns bounds the sessions; 64 when zero.
	MaxConns int
	// Log hears of starts, stops and what the server says; slog.Default when nil.
	Log *slog.Logger
}

// Cluster is a running cluster, or one that is being brought back.
type Cluster struct {
	cfg    Config
	bin    Binaries
	acc    Account
	home   string // Config.Dir with symbolic links resolved
	socket string
	secret []byte
	lock   *os.File
	log    *slog.Logger

	quit     chan struct{}
	quitOnce sync.Once
	done     chan struct{}

	mu     sync.Mutex
	server *server // nil between two
}

// Start makes the cluster when it is missing, starts it and returns when it
// answers. It refuses with Conflict when another process owns it, and with
// Unavailable and what to do when no server fits. The caller must call Stop.
func Start(ctx context.Context, cfg Config) (_ *Cluster, err error) {
	defer fault.Wrap(&err, "private PostgreSQL cluster in %s", cfg.Dir)
	c, err := prepare(cfg)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.lock.Close()
		}
	}()
	if c.bin, err = c.binaries(ctx); err != nil {
		return nil, err
	}
	if err := c.init(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	s, err := c.launch(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.createDatabase(ctx); err != nil {
		s.stop(c.log)
		return nil, err
	}
	c.log.InfoContext(ctx, "database started", slog.Int("pid", s.pid()), slog.Int("major", c.bin.Major), slog.Duration("dur", time.Since(began)))
	go c.supervise(s)
	return c, nil
}

// Join gives the URLs of a cluster whose owner is another process, or starts
// it: so that a command works whether or not waypost serve is running. Stop
// ends only what Join started.
func Join(ctx context.Context, cfg Config) (*Cluster, error) {
	c, err := Start(ctx, cfg)
	if fault.Of(err) != fault.Conflict {
		return c, err
	}
	acc, err := ServerAccount()
	if err != nil {
		return nil, err
	}
	c = &Cluster{cfg: cfg, acc: acc, log: logger(cfg)}
	if c.home, err = filepath.EvalSymlinks(cfg.Dir); err != nil {
		return nil, err
	}
	if c.secret, err = readSecret(c.home); err != nil {
		return nil, err
	}
	for {
		// The socket's folder is named in the fifth line of postmaster.pid once
		// the server has made it.
		if lines := pidFile(c.home); len(lines) > 4 && lines[4] != "" {
			c.socket = lines[4]
			if err = c.Health(ctx); err == nil {
				return c, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, fault.From(fault.Unavailable, errors.Join(ctx.Err(), err), "the cluster in %s has an owner but does not answer", cfg.Dir)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func logger(cfg Config) *slog.Logger {
	if cfg.Log != nil {
		return cfg.Log
	}
	return slog.Default()
}

// prepare takes the lock and readies the folders.
func prepare(cfg Config) (*Cluster, error) {
	c := &Cluster{cfg: cfg, log: logger(cfg), quit: make(chan struct{}), done: make(chan struct{})}
	var err error
	if c.acc, c.home, err = settle(cfg.Dir, c.log); err != nil {
		return nil, err
	}
	if c.lock, err = takeLock(c.home); err != nil {
		return nil, err
	}
	if c.socket, err = socketDir(c.home, c.acc); err == nil {
		c.secret, err = makeSecret(c.home)
	}
	if err != nil {
		c.lock.Close()
		return nil, err
	}
	return c, nil
}

// URL is how role reaches the product's database.
func (c *Cluster) URL(role string) string { return c.url(role, database) }

// AdminURL is how the superuser reaches the product's database.
func (c *Cluster) AdminURL() string { return c.url(superuser, database) }

func (c *Cluster) url(role, db string) string {
	return (&url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(role, c.Password(role)),
		Path:     "/" + db,
		RawQuery: url.Values{"host": {c.socket}, "sslmode": {"disable"}}.Encode(),
	}).String()
}

// Password of a role, derived from the cluster's secret.
func (c *Cluster) Password(role string) string {
	h := hmac.New(sha256.New, c.secret)
	h.Write([]byte("role " + role))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

const secretFile = "secret"

func readSecret(home string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(home, secretFile))
	if err != nil {
		return nil, err
	}
	secret, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(secret) < 16 {
		return nil, fmt.Errorf("%s is damaged", filepath.Join(home, secretFile))
	}
	return secret, nil
}

// makeSecret reads the secret or makes it. It belongs to this process's user,
// and is on disk before the cluster that depends on it.
func makeSecret(home string) ([]byte, error) {
	secret, err := readSecret(home)
	if !errors.Is(err, os.ErrNotExist) {
		return secret, err
	}
	if _, err := os.Stat(filepath.Join(home, dataDir, "PG_VERSION")); err == nil {
		return nil, fmt.Errorf("%s is missing, but there is a cluster made with it", filepath.Join(home, secretFile))
	}
	secret = make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	return secret, writeFile(filepath.Join(home, secretFile), hex.EncodeToString(secret)+"\n", 0o600, nil)
}

// Health tells whether the server answers. It is a readiness check.
func (c *Cluster) Health(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.url(superuser, "postgres"))
	if err != nil {
		return fault.From(fault.Unavailable, err, "the database does not answer")
	}
	return conn.Close(ctx)
}

func (c *Cluster) createDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.url(superuser, "postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var there bool
	if err := conn.QueryRow(ctx, "select exists (select from pg_database where datname = $1)", database).Scan(&there); err != nil || there {
		return err
	}
	_, err = conn.Exec(ctx, "create database "+database+" template template0 encoding 'UTF8' locale 'C'")
	return err
}

// Pid is the server's process id, 0 while it is being brought back.
func (c *Cluster) Pid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil {
		return 0
	}
	return c.server.pid()
}

// Stop ends the server cleanly and gives up the lock. It takes at most about
// nine seconds, and may be called more than once.
func (c *Cluster) Stop() {
	if c.quit == nil { // joined, not owned
		return
	}
	c.quitOnce.Do(func() { close(c.quit) })
	<-c.done
}
