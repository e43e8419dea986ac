package pgdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"waypost/internal/fault"
)

const (
	// attempts bounds how often one transaction is tried.
	attempts = 5
	// endTimeout bounds a COMMIT or ROLLBACK, which a cancelled request must
	// not interrupt: it would leave the outcome unknown without need.
	endTimeout = 15 * time.Second

	beginWrite    = "begin"
	beginSnapshot = "begin isolation level repeatable read read only"
)

var (
	errNested  = errors.New("pgdb: a transaction inside a transaction of the same database")
	errOver    = errors.New("pgdb: the transaction is over")
	errAborted = errors.New("pgdb: an earlier error aborted the transaction, nothing was committed")
)

// Tx is a transaction: the query methods and nothing else. It belongs to one
// goroutine and ends with the closure that it was given to.
//
// BEGIN travels together with the first statement, in one round trip.
type Tx struct {
	db      *DB
	conn    *pgxpool.Conn
	begin   string // not sent yet when not empty
	depth   int    // of savepoints
	over    bool
	done    bool  // certainly committed
	unknown bool  // perhaps committed
	err     error // the transaction cannot go on
}

type txKey struct{ db *DB }

func inTx(ctx context.Context, db *DB) bool { return ctx.Value(txKey{db}) != nil }

// Tx runs fn in a READ COMMITTED transaction and commits it when fn returns
// nil. An error or a panic rolls back. It takes a second attempt, up to five,
// when PostgreSQL sacrificed the transaction (serialization failure, deadlock)
// or the connection was lost before COMMIT was sent: so fn must set its results
// anew each time and change nothing outside the database. When the outcome of
// the COMMIT is unknown, the error is ErrCommitUnknown, an Unavailable fault.
//
// The context given to fn marks the transaction: using the DB itself or a
// second Tx of the same DB with it is an error, because it could wait for ever
// for a connection.
func (db *DB) Tx(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	return db.repeat(ctx, beginWrite, fn)
}

// Snapshot runs fn in a read-only transaction whose statements all see the
// same state. For a single statement Query is as good and cheaper.
func (db *DB) Snapshot(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	return db.repeat(ctx, beginSnapshot, fn)
}

func (db *DB) repeat(ctx context.Context, begin string, fn func(context.Context, *Tx) error) error {
	if inTx(ctx, db) {
		return errNested
	}
	for n := 1; ; n++ {
		again, err := db.once(ctx, begin, fn)
		if err == nil || !again || n == attempts || ctx.Err() != nil {
			return err
		}
		db.metrics.repeated.Inc()
		db.log.DebugContext(ctx, "transaction repeated", slog.String("db", db.name), slog.Int("attempt", n), slog.Any("fault", err))
		if sleep(ctx, backoff(n, 5*time.Millisecond, 200*time.Millisecond)) != nil {
			return err
		}
	}
}

// once makes one attempt and tells whether another is safe and sensible.
func (db *DB) once(ctx context.Context, begin string, fn func(context.Context, *Tx) error) (again bool, err error) {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return false, classify(err)
	}
	tx := &Tx{db: db, conn: conn, begin: begin}
	defer conn.Release() // after the roll-back; it drops a broken connection
	defer tx.rollback(ctx)
	err = fn(context.WithValue(ctx, txKey{db}, tx), tx)
	switch {
	case err == nil && tx.over: // SendBatchAndCommit; its error counts even when fn forgot it
		err = tx.err
	case err == nil:
		err = tx.commit(ctx)
	}
	switch {
	case err == nil:
		return false, nil
	case tx.unknown:
		db.metrics.unknown.Inc()
		return false, err
	case tx.done:
		return false, err
	}
	gone := conn.Conn().IsClosed() && lost(err) && !pgconn.Timeout(err) && !errors.Is(err, context.DeadlineExceeded)
	return repeatable(err) || gone, classify(err)
}

// first sends BEGIN with the statements of b and leaves their results to read.
func (tx *Tx) first(ctx context.Context, b *pgx.Batch) (pgx.BatchResults, error) {
	whole := &pgx.Batch{}
	whole.Queue(tx.begin)
	whole.QueuedQueries = append(whole.QueuedQueries, b.QueuedQueries...)
	res := tx.conn.SendBatch(ctx, whole)
	if _, err := res.Exec(); err != nil {
		_ = res.Close()
		tx.err = err
		return nil, classify(err)
	}
	tx.begin = ""
	return res, nil
}

// ready tells why no statement may be sent.
func (tx *Tx) ready() error {
	switch {
	case tx.over:
		return errOver
	case tx.err != nil:
		return classify(tx.err)
	}
	return nil
}

// alone sends BEGIN by itself, for what cannot travel in a batch.
func (tx *Tx) alone(ctx context.Context) error {
	if tx.begin == "" {
		return nil
	}
	if _, err := tx.conn.Exec(ctx, tx.begin, pgx.QueryExecModeSimpleProtocol); err != nil {
		tx.err = err
		return classify(err)
	}
	tx.begin = ""
	return nil
}

// start makes ready for a statement with these arguments and tells whether
// BEGIN still has to travel with it.
func (tx *Tx) start(ctx context.Context, args []any) (first bool, err error) {
	if err := tx.ready(); err != nil || tx.begin == "" {
		return false, err
	}
	if len(args) > 0 {
		switch args[0].(type) {
		case pgx.QueryExecMode, pgx.QueryResultFormats, pgx.QueryResultFormatsByOID:
			return false, tx.alone(ctx)
		}
	}
	return true, nil
}

// Exec runs one statement.
func (tx *Tx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	first, err := tx.start(ctx, args)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	if !first {
		tag, err := tx.conn.Exec(ctx, sql, args...)
		return tag, classify(err)
	}
	b := &pgx.Batch{}
	b.Queue(sql, args...)
	res, err := tx.first(ctx, b)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	tag, err := res.Exec()
	if closeErr := res.Close(); err == nil {
		err = closeErr
	}
	return tag, classify(err)
}

// Query runs one statement; its rows must be read or closed before the next.
func (tx *Tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	r, err := tx.query(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (tx *Tx) query(ctx context.Context, sql string, args []any) (*rows, error) {
	first, err := tx.start(ctx, args)
	if err != nil {
		return nil, err
	}
	if !first {
		r, err := tx.conn.Query(ctx, sql, args...)
		if err != nil {
			return nil, classify(err)
		}
		return &rows{Rows: r}, nil
	}
	b := &pgx.Batch{}
	b.Queue(sql, args...)
	res, err := tx.first(ctx, b)
	if err != nil {
		return nil, err
	}
	r, err := res.Query()
	if err != nil {
		_ = res.Close()
		return nil, classify(err)
	}
	return &rows{Rows: r, batch: res}, nil
}

// QueryRow runs one statement that gives one row; Scan must be called.
func (tx *Tx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	r, err := tx.query(ctx, sql, args)
	if err != nil {
		return errRow{err}
	}
	return firstRow{r}
}

// SendBatch sends statements in one round trip; its results must be closed
// before the next.
func (tx *Tx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	first, err := tx.start(ctx, nil)
	if err != nil {
		return pgx.FailedBatchResults(b, err)
	}
	if !first {
		return &batchResults{tx.conn.SendBatch(ctx, b)}
	}
	res, err := tx.first(ctx, b)
	if err != nil {
		return pgx.FailedBatchResults(b, err)
	}
	return &batchResults{res}
}

// Batch sends b, runs its callbacks and answers the first error.
func (tx *Tx) Batch(ctx context.Context, b *pgx.Batch) error {
	return tx.SendBatch(ctx, b).Close()
}

// CopyFrom loads rows into a table.
func (tx *Tx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	if err := tx.ready(); err != nil {
		return 0, err
	}
	if err := tx.alone(ctx); err != nil {
		return 0, err
	}
	n, err := tx.conn.CopyFrom(ctx, table, columns, src)
	return n, classify(err)
}

// Savepoint runs fn and undoes only its work when it fails; the transaction
// goes on, and the caller decides what the error means. It costs two round
// trips: a hot path puts its savepoints into a Batch itself.
func (tx *Tx) Savepoint(ctx context.Context, fn func(ctx context.Context) error) error {
	tx.depth++
	defer func() { tx.depth-- }()
	name := fmt.Sprintf("pgdb_%d", tx.depth)
	if _, err := tx.Exec(ctx, "savepoint "+name); err != nil {
		return err
	}
	if err := fn(ctx); err != nil {
		if _, undo := tx.Exec(ctx, "rollback to savepoint "+name); undo != nil {
			tx.err = undo
			return errors.Join(err, undo)
		}
		return err
	}
	_, err := tx.Exec(ctx, "release savepoint "+name)
	return err
}

// SendBatchAndCommit sends the last statements and COMMIT in one round trip;
// with a transaction that has not begun, BEGIN too. Results come by the
// callbacks of b, which run when the server has already decided: an error of a
// callback is returned and undoes nothing, so what must prevent the commit has
// to fail inside PostgreSQL. The transaction is over afterwards.
func (tx *Tx) SendBatchAndCommit(ctx context.Context, b *pgx.Batch) error {
	if err := tx.ready(); err != nil {
		return err
	}
	var (
		whole = &pgx.Batch{}
		said  error // by a callback
	)
	if tx.begin != "" {
		whole.Queue(tx.begin)
	}
	for _, q := range b.QueuedQueries {
		if fn := q.Fn; fn != nil {
			q.Fn = func(br pgx.BatchResults) error {
				if err := fn(br); err != nil && said == nil {
					said = err
				}
				return nil // go on reading until the answer to COMMIT
			}
		}
		whole.QueuedQueries = append(whole.QueuedQueries, q)
	}
	whole.Queue("commit").Exec(func(tag pgconn.CommandTag) error {
		tx.done = tag.String() == "COMMIT"
		return nil
	})
	ctx, cancel := endContext(ctx)
	defer cancel()
	err := tx.conn.SendBatch(ctx, whole).Close()
	tx.over, tx.begin = true, ""
	tx.err = tx.outcome(err, said)
	return tx.err
}

// Committed tells whether the transaction is certainly committed, which an error
// of SendBatchAndCommit leaves open.
func (tx *Tx) Committed() bool { return tx.done }

// commit ends the transaction.
func (tx *Tx) commit(ctx context.Context) error {
	if tx.err != nil {
		return classify(tx.err)
	}
	tx.over = true
	if tx.begin != "" {
		tx.done = true // nothing was sent, so there is nothing to commit
		return nil
	}
	ctx, cancel := endContext(ctx)
	defer cancel()
	tag, err := tx.conn.Exec(ctx, "commit", pgx.QueryExecModeSimpleProtocol)
	tx.done = err == nil && tag.String() == "COMMIT"
	return tx.outcome(err, nil)
}

// outcome judges the answer to a COMMIT.
func (tx *Tx) outcome(err, said error) error {
	switch {
	case tx.done:
		return classify(said)
	case err == nil && said != nil:
		err = said
	case err == nil:
		err = errAborted // the server answered ROLLBACK
	}
	switch {
	case pgconn.SafeToRetry(err): // nothing left this process
	case lost(err) || tx.conn.Conn().IsClosed():
		tx.unknown = true
		return fault.From(fault.Unavailable, fmt.Errorf("%w: %w", ErrCommitUnknown, err), "%s", says[fault.Unavailable])
	}
	return classify(err)
}

// rollback gives the connection back clean. It does nothing after a commit.
func (tx *Tx) rollback(ctx context.Context) {
	tx.over = true
	c := tx.conn.Conn()
	if c.IsClosed() || c.PgConn().TxStatus() == 'I' && !c.PgConn().IsBusy() {
		return
	}
	ctx, cancel := endContext(ctx)
	defer cancel()
	if _, err := tx.conn.Exec(ctx, "rollback", pgx.QueryExecModeSimpleProtocol); err != nil {
		_ = c.Close(ctx) // unread rows after a panic, say; the server rolls back
	}
}

func endContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
}

// backoff doubles from base to limit with the attempt n and takes a random
// part of it, so that those who collided once do not collide again.
func backoff(n int, base, limit time.Duration) time.Duration {
	d := limit
	if n < 20 {
		d = min(base<<n, limit)
	}
	return d/2 + rand.N(d/2+1)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
