// Package pgdb is the way to PostgreSQL: a pool, transactions as closures,
// wake-ups between processes, and errors sorted into faults. Only packages
// named postgres (and the tools around them) import it.
//
// Its law:
//
//   - Every error that leaves it is a fault where PostgreSQL told why: a
//     duplicate key is Exists, a server that is away, full or shutting down is
//     Unavailable. Anything else stays Internal. pgx.ErrNoRows passes through.
//   - A transaction is READ COMMITTED, never nests, and is repeated when
//     PostgreSQL or the connection gave up before COMMIT was sent. It is never
//     repeated when the outcome of the COMMIT is unknown: that is
//     ErrCommitUnknown, which is Unavailable.
//   - Statements and idle transactions have time limits on the server, so a
//     lost process holds no lock for long.
//   - Notifications are sent outside of transactions that change mail.
package pgdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"waypost/internal/fault"
)

// Options of a pool. The zero value is right for a role of the product.
type Options struct {
	// Name is shown by PostgreSQL as application_name and labels the metrics;
	// "waypost" when empty.
	Name string
	// MaxConns bounds the pool; 8 when zero. A Listener and a Notifier hold
	// one connection each besides it.
	MaxConns int
	// MinIdle connections are kept ready for a burst; 1 when zero.
	MinIdle int
	// StatementTimeout ends a statement; 30 s when zero, no limit when negative.
	StatementTimeout time.Duration
	// IdleInTransaction ends a session that sits in an open transaction;
	// 30 s when zero, no limit when negative.
	IdleInTransaction time.Duration
	// Wait is how long Open waits for a server that cannot be reached yet.
	Wait time.Duration
	// Metrics registers the pool's figures; nil leaves them out.
	Metrics prometheus.Registerer
	// Log hears of repeated transactions and lost listeners; slog.Default when nil.
	Log *slog.Logger
}

const (
	defaultMaxConns = 8
	defaultTimeout  = 30 * time.Second
	connectTimeout  = 10 * time.Second
	pingTimeout     = 5 * time.Second
)

// DB is a pool of connections to one database. Its methods are safe for
// concurrent use.
type DB struct {
	pool    *pgxpool.Pool
	log     *slog.Logger
	name    string
	metrics *metrics
}

// Open connects to the database at url (a postgres:// URL or a libpq keyword
// string). It answers Unavailable when the server cannot be reached within
// o.Wait, and Invalid when the url makes no sense.
func Open(ctx context.Context, url string, o Options) (*DB, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		// The error of pgx masks the password but names the rest.
		return nil, fault.From(fault.Invalid, err, "the database URL makes no sense")
	}
	if o.Name == "" {
		o.Name = "waypost"
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	cfg.MaxConns = int32(min(positive(o.MaxConns, defaultMaxConns), 1<<15))
	cfg.MinIdleConns = min(int32(positive(o.MinIdle, 1)), cfg.MaxConns)
	cfg.MaxConnLifetimeJitter = 10 * time.Minute
	cfg.PingTimeout = pingTimeout
	setSession(cfg.ConnConfig, o.Name, o.StatementTimeout, o.IdleInTransaction)
	cfg.AfterConnect = func(_ context.Context, c *pgx.Conn) error {
		scanUTC(c)
		return nil
	}

	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fault.From(fault.Invalid, err, "the database pool cannot be made")
	}
	db := &DB{pool: pool, log: o.Log, name: o.Name, metrics: newMetrics(o.Name, pool)}
	if err := db.await(ctx, o.Wait); err != nil {
		pool.Close()
		return nil, err
	}
	if err := db.metrics.register(o.Metrics); err != nil {
		pool.Close()
		return nil, err
	}
	return db, nil
}

// await pings until the server answers or wait has passed.
func (db *DB) await(ctx context.Context, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for n := 0; ; n++ {
		err := db.Ping(ctx)
		if err == nil || fault.Of(err) != fault.Unavailable || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		if sleep(ctx, backoff(n, 50*time.Millisecond, time.Second)) != nil {
			return err
		}
	}
}

func setSession(c *pgx.ConnConfig, name string, statement, idle time.Duration) {
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	p := c.RuntimeParams
	p["application_name"] = name
	p["timezone"] = "UTC"
	p["statement_timeout"] = milliseconds(statement)
	// Statements are short and reach rows by key whatever the values are;
	// planning them anew each time was a third of the server's processor time
	// under delivery.
	p["plan_cache_mode"] = "force_generic_plan"
	p["idle_in_transaction_session_timeout"] = milliseconds(idle)
}

// scanUTC makes timestamptz come back in UTC instead of the machine's zone.
func scanUTC(c *pgx.Conn) {
	c.TypeMap().RegisterType(&pgtype.Type{
		Name: "timestamptz", OID: pgtype.TimestamptzOID,
		Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
}

func milliseconds(d time.Duration) string {
	switch {
	case d == 0:
		d = defaultTimeout
	case d < 0:
		d = 0
	}
	return strconv.FormatInt(d.Milliseconds(), 10)
}

func positive(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// Close ends every connection and waits until those in use are given back.
func (db *DB) Close() {
	db.metrics.unregister()
	db.pool.Close()
}

// Name is the pool's name in metrics and in application_name.
func (db *DB) Name() string { return db.name }

// Ping asks the server for a sign of life. It is a readiness check.
func (db *DB) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return classify(db.pool.Ping(ctx))
}

// errInTx: a statement outside of the transaction would wait for a second
// connection of the same pool, and all of them may be waiting so.
var errInTx = errors.New("pgdb: inside a transaction only its Tx may be used")

func (db *DB) outside(ctx context.Context) error {
	if inTx(ctx, db) {
		return errInTx
	}
	return nil
}

// Exec runs one statement outside of any transaction.
func (db *DB) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if err := db.outside(ctx); err != nil {
		return pgconn.CommandTag{}, err
	}
	tag, err := db.pool.Exec(ctx, sql, args...)
	return tag, classify(err)
}

// Query runs one statement outside of any transaction. The rows hold a
// connection until they are closed: read them before writing to a peer.
func (db *DB) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := db.outside(ctx); err != nil {
		return nil, err
	}
	r, err := db.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, classify(err)
	}
	return &rows{Rows: r}, nil
}

// QueryRow runs one statement outside of any transaction.
func (db *DB) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if err := db.outside(ctx); err != nil {
		return errRow{err}
	}
	return row{db.pool.QueryRow(ctx, sql, args...)}
}

// SendBatch sends statements in one round trip. PostgreSQL runs them as one
// implicit transaction; results come by callbacks or in order.
func (db *DB) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if err := db.outside(ctx); err != nil {
		return pgx.FailedBatchResults(b, err)
	}
	return &batchResults{BatchResults: db.pool.SendBatch(ctx, b)}
}

// Batch sends b in one round trip, runs its callbacks and answers the first error.
func (db *DB) Batch(ctx context.Context, b *pgx.Batch) error {
	return db.SendBatch(ctx, b).Close()
}

// CopyFrom loads rows into a table outside of any transaction of the caller.
func (db *DB) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	if err := db.outside(ctx); err != nil {
		return 0, err
	}
	n, err := db.pool.CopyFrom(ctx, table, columns, src)
	return n, classify(err)
}

// Querier is what a DB and a Tx share.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error)
}

var (
	_ Querier = (*DB)(nil)
	_ Querier = (*Tx)(nil)
)

// config is a copy of the pool's connection settings for a connection that
// lives outside of it.
func (db *DB) config(suffix string) *pgx.ConnConfig {
	c := db.pool.Config().ConnConfig.Copy()
	c.RuntimeParams["application_name"] = fmt.Sprintf("%s %s", db.name, suffix)
	return c
}
