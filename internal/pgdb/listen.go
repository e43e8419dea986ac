package pgdb

import (
	"context"
	"errors"
	"log/slog"
	"sort"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// quiet is how long a listener hears nothing before it asks the server for
	// a sign of life; half-open connections are found so.
	quiet = 15 * time.Second
	// reconnect bounds the pause between attempts to reach the server.
	reconnect = 3 * time.Second
	// notifyPending bounds the set of payloads that wait while the server is
	// away. Wake-ups may be lost: those who wait also look by themselves.
	notifyPending = 1 << 16
	// notifyPause is the least time between two sendings: a wake-up for every
	// change of a busy server would cost as much as the change. The first one
	// after a quiet moment goes at once.
	notifyPause = 5 * time.Millisecond
	// notifyPayload is PostgreSQL's limit in bytes (NOTIFY: less than 8000).
	notifyPayload = 7999
)

// Heard is what a listener tells. Its functions are called one after another,
// by the goroutine that listens, and must not block.
type Heard struct {
	// Notify gives one notification.
	Notify func(channel, payload string)
	// Connected tells that from now on nothing is missed. After a loss what
	// happened in between is unknown: look at everything once.
	Connected func()
	// Lost tells that the connection broke; it is being built up again.
	Lost func(err error)
}

// Listen hears the notifications of channels on a connection of its own until
// ctx ends, and returns ctx's error then. It reconnects by itself.
func (db *DB) Listen(ctx context.Context, channels []string, h Heard) error {
	for n := 0; ; n++ {
		err := db.listenOnce(ctx, channels, h, func() { n = 0 })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		db.log.WarnContext(ctx, "listener lost its connection", slog.String("db", db.name), slog.Any("fault", err))
		if h.Lost != nil {
			h.Lost(err)
		}
		if sleep(ctx, backoff(n, 50*time.Millisecond, reconnect)) != nil {
			return ctx.Err()
		}
	}
}

func (db *DB) listenOnce(ctx context.Context, channels []string, h Heard, connected func()) error {
	cfg := db.config("listener")
	// pgx calls this whenever it reads, also during LISTEN and Ping, so that
	// nothing queues up unseen.
	cfg.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) {
		if h.Notify != nil {
			h.Notify(n.Channel, n.Payload)
		}
	}
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return classify(err)
	}
	defer closeConn(c)
	var sql strings.Builder
	for _, name := range channels {
		sql.WriteString("listen " + pgx.Identifier{name}.Sanitize() + ";")
	}
	if _, err := c.Exec(ctx, sql.String(), pgx.QueryExecModeSimpleProtocol); err != nil {
		return classify(err)
	}
	connected()
	if h.Connected != nil {
		h.Connected()
	}
	for {
		err := waitFor(ctx, c)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded) && !c.IsClosed():
			if err := ping(ctx, c); err != nil {
				return classify(err)
			}
		default:
			return classify(err)
		}
	}
}

func waitFor(ctx context.Context, c *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, quiet)
	defer cancel()
	return c.PgConn().WaitForNotification(ctx)
}

func ping(ctx context.Context, c *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return c.Ping(ctx)
}

func closeConn(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx)
}

// Notifier sends notifications on one channel outside of any transaction.
// Equal payloads that wait together are sent once. Run must be running.
type Notifier struct {
	db      *DB
	channel string
	wake    chan struct{}

	mu      sync.Mutex
	pending map[string]struct{}
}

// Notifier makes a sender for channel.
func (db *DB) Notifier(channel string) *Notifier {
	return &Notifier{db: db, channel: channel, wake: make(chan struct{}, 1), pending: make(map[string]struct{})}
}

// Notify asks for payload to be sent soon. It never blocks. A payload that
// PostgreSQL would refuse (8000 bytes or more, not UTF-8) is dropped, and so
// is one beyond 65536 that wait while the server is away.
func (n *Notifier) Notify(payload string) {
	if len(payload) > notifyPayload || !utf8.ValidString(payload) || strings.IndexByte(payload, 0) >= 0 {
		n.db.log.Error("notification dropped: not a valid payload", slog.String("channel", n.channel))
		return
	}
	n.mu.Lock()
	if len(n.pending) < notifyPending {
		n.pending[payload] = struct{}{}
	}
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *Notifier) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.pending) == 0 {
		return nil
	}
	all := make([]string, 0, len(n.pending))
	for p := range n.pending {
		all = append(all, p)
	}
	clear(n.pending)
	sort.Strings(all)
	return all
}

// Run sends until ctx ends, then what is still waiting, and returns ctx's
// error. It keeps one connection, whose commits do not wait for the disk: a
// NOTIFY holds a lock on the whole database until its commit is over, and a
// notification need not survive a crash.
func (n *Notifier) Run(ctx context.Context) error {
	var c *pgx.Conn
	defer func() {
		if c != nil {
			closeConn(c)
		}
	}()
	for failed := 0; ; {
		stopping := false
		select {
		case <-n.wake:
		case <-ctx.Done():
			stopping = true
		}
		var err error
		if all := n.take(); all != nil {
			if c, err = n.send(ctx, c, all); err != nil && !stopping {
				for _, p := range all {
					n.Notify(p)
				}
			}
		}
		switch {
		case stopping:
			return ctx.Err()
		case err == nil:
			failed = 0
			_ = sleep(ctx, notifyPause)
		default:
			failed++
			n.db.log.WarnContext(ctx, "notifications wait", slog.String("db", n.db.name), slog.Any("fault", classify(err)))
			_ = sleep(ctx, backoff(failed, 20*time.Millisecond, reconnect))
		}
	}
}

// send delivers payloads and gives the connection to use next time.
func (n *Notifier) send(ctx context.Context, c *pgx.Conn, payloads []string) (*pgx.Conn, error) {
	limit := pingTimeout
	if ctx.Err() != nil {
		limit = time.Second
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if c == nil || c.IsClosed() {
		cfg := n.db.config("notifier")
		cfg.RuntimeParams["synchronous_commit"] = "off"
		fresh, err := pgx.ConnectConfig(ctx, cfg)
		if err != nil {
			return nil, err
		}
		c = fresh
	}
	if _, err := c.Exec(ctx, "select pg_notify($1, p) from unnest($2::text[]) p", n.channel, payloads); err != nil {
		closeConn(c)
		return nil, err
	}
	return c, nil
}
