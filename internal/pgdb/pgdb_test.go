package pgdb_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"

	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
)

func open(t *testing.T, o pgdb.Options) *pgdb.DB {
	t.Helper()
	db, err := pgdb.Open(t.Context(), pgtest.Empty(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	must(t, db, "create table t (id bigint primary key, n int not null default 0)")
	return db
}

func must(t *testing.T, db pgdb.Querier, sql string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func count(t *testing.T, db *pgdb.DB) int {
	t.Helper()
	var n int
	if err := db.QueryRow(t.Context(), "select count(*) from t").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSessionSettings(t *testing.T) {
	t.Parallel()
	db := open(t, pgdb.Options{Name: "waypost-test", StatementTimeout: 12 * time.Second})
	for _, tt := range []struct{ name, want string }{
		{"application_name", "waypost-test"},
		{"TimeZone", "UTC"},
		{"statement_timeout", "12s"},
		{"idle_in_transaction_session_timeout", "30s"},
		{"transaction_isolation", "read committed"},
	} {
		var got string
		if err := db.QueryRow(t.Context(), "select current_setting($1)", tt.name).Scan(&got); err != nil || got != tt.want {
			t.Errorf("%s = %q (%v), want %q", tt.name, got, err, tt.want)
		}
	}
	var now time.Time
	if err := db.QueryRow(t.Context(), "select now()").Scan(&now); err != nil || now.Location() != time.UTC {
		t.Errorf("time in %v (%v), want UTC", now.Location(), err)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	db := open(t, pgdb.Options{StatementTimeout: 300 * time.Millisecond})
	must(t, db, "insert into t values (1)")
	must(t, db, "create table child (id bigint references t)")
	for _, tt := range []struct {
		sql  string
		want fault.Kind
	}{
		{"insert into t values (1)", fault.Exists},
		{"insert into child values (99)", fault.Conflict},
		{"select pg_sleep(5)", fault.Unavailable},
		{"select 1/0", fault.Internal},
		{"select pg_terminate_backend(pg_backend_pid())", fault.Unavailable},
		{"do $$ begin raise sqlstate '53300'; end $$", fault.Unavailable},
		{"do $$ begin raise sqlstate '40001'; end $$", fault.Unavailable},
		{"do $$ begin raise sqlstate '57P03'; end $$", fault.Unavailable},
	} {
		for _, way := range []struct {
			name string
			run  func() error
		}{
			{"Exec", func() error { _, err := db.Exec(t.Context(), tt.sql); return err }},
			{"QueryRow", func() error { var x any; return db.QueryRow(t.Context(), tt.sql).Scan(&x) }},
			{"Query", func() error {
				r, err := db.Query(t.Context(), tt.sql)
				if err != nil {
					return err
				}
				_, err = pgx.CollectRows(r, pgx.RowToMap)
				return err
			}},
			{"Batch", func() error { b := &pgx.Batch{}; b.Queue(tt.sql); return db.Batch(t.Context(), b) }},
			{"Tx", func() error {
				return db.Tx(t.Context(), func(ctx context.Context, tx *pgdb.Tx) error {
					_, err := tx.Exec(ctx, tt.sql)
					return err
				})
			}},
			{"last batch", func() error {
				return db.Tx(t.Context(), func(ctx context.Context, tx *pgdb.Tx) error {
					b := &pgx.Batch{}
					b.Queue(tt.sql)
					return tx.SendBatchAndCommit(ctx, b)
				})
			}},
		} {
			err := way.run()
			if err == nil || fault.Of(err) != tt.want {
				t.Errorf("%s %s: got %v (%v), want %v", way.name, tt.sql, fault.Of(err), err, tt.want)
			}
			if strings.Contains(fault.Say(err), "SQL") {
				t.Errorf("the peer would hear %q", fault.Say(err))
			}
		}
	}
	var x int
	if err := db.QueryRow(t.Context(), "select 1 where false").Scan(&x); !errors.Is(err, pgx.ErrNoRows) {
		t.Errorf("no rows: got %v", err)
	}
	err := db.QueryRow(t.Context(), "insert into t values (1) returning id").Scan(&x)
	if pgdb.Constraint(err) != "t_pkey" || pgdb.Code(err) != "23505" {
		t.Errorf("constraint %q code %q of %v", pgdb.Constraint(err), pgdb.Code(err), err)
	}
}

func TestOpenFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		url  string
		want fault.Kind
	}{
		{"postgres://u:secret@127.0.0.1:1/x", fault.Unavailable},
		{"postgres://u@/x?host=/nonexistent", fault.Unavailable},
		{"postgres://u:secret@127.0.0.1:port/x", fault.Invalid},
	} {
		_, err := pgdb.Open(t.Context(), tt.url, pgdb.Options{})
		if fault.Of(err) != tt.want {
			t.Errorf("%s: got %v, want %v", tt.url, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

// The first statement carries BEGIN with it, whichever way it is sent.
func TestTxFirstStatement(t *testing.T) {
	t.Parallel()
	db := open(t, pgdb.Options{})
	stop := errors.New("stop")
	batch := func(sql ...string) *pgx.Batch {
		b := &pgx.Batch{}
		for _, s := range sql {
			b.Queue(s)
		}
		return b
	}
	for i, tt := range []struct {
		name string
		run  func(ctx context.Context, tx *pgdb.Tx, id int) error
	}{
		{"Exec", func(ctx context.Context, tx *pgdb.Tx, id int) error {
			_, err := tx.Exec(ctx, "insert into t values ($1)", id)
			return err
		}},
		{"Exec with mode", func(ctx context.Context, tx *pgdb.Tx, id int) error {
			_, err := tx.Exec(ctx, "insert into t values ($1)", pgx.QueryExecModeExec, id)
			return err
		}},
		{"Exec with names", func(ctx context.Context, tx *pgdb.Tx, id int) error {
			_, err := tx.Exec(ctx, "insert into t values (@id)", pgx.NamedArgs{"id": id})
			return err
		}},
		{"QueryRow", func(ctx context.Context, tx *pgdb.Tx, id int) error {
			var got int
			err := tx.QueryRow(ctx, "insert into t values ($1) returning id", id).Scan(&got)
			if err == nil && got != id {
				return fmt.Errorf("got %d", got)
			}
			return err
		}},
		{"Query", func(ctx context.Context, tx *pgdb.Tx, id int) error {
			r, err := tx.Query(ctx, "insert into t values ($1) returning id", id)
			if err != nil {
				return err
			}
			got, err := pgx.CollectRows(r, pgx.RowTo[int])
			if err == nil && (len(got) != 1 || got[0] != id) {
				return fmt.Errorf("got %v", got)
			}
			return err
		}},
		{"Batch", func(ctx context.Context, tx *pgdb.Tx, id int) error {
			b := &pgx.Batch{}
			var got int
			b.Queue("insert into t values ($1) returning id", id).QueryRow(func(r pgx.Row) error { return r.Scan(&got) })
			b.Queue("select 1")
			err := tx.Batch(ctx, b)
			if err == nil && got != id {
				return fmt.Errorf("got %d", got)
			}
			return err
		}},
		{"SendBatch", func(ctx context.Context, tx *pgdb.Tx, id int) error {
			b := &pgx.Batch{}
			b.Queue("insert into t values ($1) returning id", id)
			b.Queue("select 7")
			res := tx.SendBatch(ctx, b)
			var got, seven int
			err := errors.Join(res.QueryRow().Scan(&got), res.QueryRow().Scan(&seven), res.Close())
			if err == nil && (got != id || seven != 7) {
				return fmt.Errorf("got %d, %d", got, seven)
			}
			return err
		}},
		{"CopyFrom", func(ctx context.Context, tx *pgdb.Tx, id int) error {
			_, err := tx.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"id"}, pgx.CopyFromRows([][]any{{id}}))
			return err
		}},
		{"Savepoint", func(ctx context.Context, tx *pgdb.Tx, id int) error {
			err := tx.Savepoint(ctx, func(ctx context.Context) error {
				_, err := tx.Exec(ctx, "insert into t values ($1), ($1)", id)
				return err
			})
			if fault.Of(err) != fault.Exists {
				return fmt.Errorf("inside: %w", err)
			}
			return tx.Savepoint(ctx, func(ctx context.Context) error {
				_, err := tx.Exec(ctx, "insert into t values ($1)", id)
				return err
			})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, then := range []error{stop, nil} {
				err := db.Tx(t.Context(), func(ctx context.Context, tx *pgdb.Tx) error {
					if err := tt.run(ctx, tx, i); err != nil {
						return err
					}
					if _, err := tx.Exec(ctx, "update t set n = 1 where id = $1", i); err != nil {
						return err
					}
					return then
				})
				if !errors.Is(err, then) {
					t.Fatalf("got %v, want %v", err, then)
				}
				var rows, n int
				if err := db.QueryRow(t.Context(), "select count(*), coalesce(max(n), 0) from t where id = $1", i).Scan(&rows, &n); err != nil {
					t.Fatal(err)
				}
				if want := map[bool]int{true: 0, false: 1}[then == stop]; rows != want || n != want {
					t.Errorf("after %v: %d rows, n %d, want %d", then, rows, n, want)
				}
			}
		})
	}
	if err := db.Tx(t.Context(), func(context.Context, *pgdb.Tx) error { return nil }); err != nil {
		t.Errorf("empty transaction: %v", err)
	}
	for _, b := range []*pgx.Batch{batch("insert into t values (100)"), batch()} {
		if err := db.Tx(t.Context(), func(ctx context.Context, tx *pgdb.Tx) error { return tx.SendBatchAndCommit(ctx, b) }); err != nil {
			t.Errorf("batch of %d: %v", b.Len(), err)
		}
	}
}

func TestTxNeverNests(t *testing.T) {
	t.Parallel()
	db, other := open(t, pgdb.Options{MaxConns: 1}), open(t, pgdb.Options{MaxConns: 1})
	err := db.Tx(t.Context(), func(ctx context.Context, tx *pgdb.Tx) error {
		if err := db.Tx(ctx, func(context.Context, *pgdb.Tx) error { return nil }); err == nil {
			t.Error("a nested transaction was accepted")
		}
		if _, err := db.Exec(ctx, "select 1"); err == nil {
			t.Error("a statement beside the transaction was accepted")
		}
		if err := db.Batch(ctx, &pgx.Batch{}); err == nil {
			t.Error("a batch beside the transaction was accepted")
		}
		return other.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
			_, err := tx.Exec(ctx, "insert into t values (1)")
			return err
		})
	})
	if err != nil {
		t.Error(err)
	}
}

func TestTxPanicRollsBack(t *testing.T) {
	t.Parallel()
	db := open(t, pgdb.Options{MaxConns: 1})
	for _, unread := range []bool{false, true} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_ = db.Tx(t.Context(), func(ctx context.Context, tx *pgdb.Tx) error {
				must(t, tx, "insert into t values (1)")
				if unread {
					_, _ = tx.Query(ctx, "select generate_series(1, 100000)")
				}
				panic("bug")
			})
		}()
		if n := count(t, db); n != 0 {
			t.Errorf("%d rows are left", n)
		}
	}
}

func TestTxSwallowedErrorIsNotACommit(t *testing.T) {
	t.Parallel()
	db := open(t, pgdb.Options{})
	for _, first := range []string{"insert into t values (1)", "select 1/0", "select nonsense"} {
		err := db.Tx(t.Context(), func(ctx context.Context, tx *pgdb.Tx) error {
			_, _ = tx.Exec(ctx, first)
			_, _ = tx.Exec(ctx, "select 1/0")
			return nil
		})
		if err == nil || count(t, db) != 0 {
			t.Errorf("%s: got %v and %d rows, want an error and none", first, err, count(t, db))
		}
	}
}

func TestSendBatchAndCommit(t *testing.T) {
	t.Parallel()
	db := open(t, pgdb.Options{})
	said := errors.New("said by a callback")
	for _, tt := range []struct {
		name     string
		first    string // before, in a round trip of its own
		last     []string
		callback error
		want     func(error) bool
		rows     int
	}{
		{"all at once", "", []string{"insert into t values (1)", "insert into t values (2)"}, nil, func(err error) bool { return err == nil }, 2},
		{"after another", "insert into t values (1)", []string{"insert into t values (2)"}, nil, func(err error) bool { return err == nil }, 2},
		{"failing", "insert into t values (1)", []string{"insert into t values (2)", "insert into t values (1)", "insert into t values (3)"}, nil, func(err error) bool { return fault.Of(err) == fault.Exists }, 0},
		{"failing at once", "", []string{"insert into t values (2)", "select 1/0"}, nil, func(err error) bool { return pgdb.Code(err) == "22012" }, 0},
		{"not understood", "", []string{"insert into t values (2)", "select nonsense"}, nil, func(err error) bool { return pgdb.Code(err) == "42703" }, 0},
		{"a callback's error undoes nothing", "", []string{"insert into t values (1)", "insert into t values (2)"}, said, func(err error) bool { return errors.Is(err, said) }, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			must(t, db, "truncate t")
			runs, called := 0, 0
			err := db.Tx(t.Context(), func(ctx context.Context, tx *pgdb.Tx) error {
				runs++
				if tt.first != "" {
					must(t, tx, tt.first)
				}
				b := &pgx.Batch{}
				for _, sql := range tt.last {
					b.Queue(sql).Exec(func(pgconn.CommandTag) error { called++; return tt.callback })
				}
				err := tx.SendBatchAndCommit(ctx, b)
				if _, again := tx.Exec(ctx, "select 1"); again == nil {
					t.Error("a statement after the commit was accepted")
				}
				if tt.rows == 0 {
					return nil // forgetting the error must not turn it into success
				}
				return err
			})
			if !tt.want(err) {
				t.Errorf("got %v", err)
			}
			if n := count(t, db); n != tt.rows || runs != 1 {
				t.Errorf("%d rows after %d runs, want %d after 1", n, runs, tt.rows)
			}
			if tt.rows > 0 && called != len(tt.last) {
				t.Errorf("%d callbacks, want %d", called, len(tt.last))
			}
		})
	}
}

func TestDeferredConstraintFailsTheCommit(t *testing.T) {
	t.Parallel()
	db := open(t, pgdb.Options{})
	must(t, db, "alter table t add unique (n) deferrable initially deferred")
	err := db.Tx(t.Context(), func(ctx context.Context, tx *pgdb.Tx) error {
		_, err := tx.Exec(ctx, "insert into t values (1, 5), (2, 5)")
		return err
	})
	if fault.Of(err) != fault.Exists || count(t, db) != 0 {
		t.Errorf("commit: got %v, want Exists", err)
	}
	err = db.Tx(t.Context(), func(ctx context.Context, tx *pgdb.Tx) error {
		b := &pgx.Batch{}
		b.Queue("insert into t values (1, 5), (2, 5)")
		return tx.SendBatchAndCommit(ctx, b)
	})
	if fault.Of(err) != fault.Exists || errors.Is(err, pgdb.ErrCommitUnknown) || count(t, db) != 0 {
		t.Errorf("last batch: got %v, want Exists", err)
	}
}

func TestTxRepeats(t *testing.T) {
	t.Parallel()
	db := open(t, pgdb.Options{MaxConns: 4})
	must(t, db, "insert into t values (1), (2)")

	// A real deadlock: two transactions update two rows in opposite order.
	must(t, db, "alter database "+dbName(t, db)+" set deadlock_timeout = '50ms'")
	var wg sync.WaitGroup
	runs := make([]int, 2)
	var meet sync.WaitGroup
	meet.Add(2)
	for i := range runs {
		wg.Go(func() {
			err := db.Tx(t.Context(), func(ctx context.Context, tx *pgdb.Tx) error {
				runs[i]++
				if _, err := tx.Exec(ctx, "update t set n = n + 1 where id = $1", 1+i); err != nil {
					return err
				}
				if runs[i] == 1 {
					meet.Done()
					meet.Wait()
				}
				_, err := tx.Exec(ctx, "update t set n = n + 1 where id = $1", 2-i)
				return err
			})
			if err != nil {
				t.Errorf("transaction %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	var sum int
	if err := db.QueryRow(t.Context(), "select sum(n) from t").Scan(&sum); err != nil || sum != 4 || runs[0]+runs[1] < 3 {
		t.Errorf("sum %d (%v) after %v runs, want 4 with at least one repeated", sum, err, runs)
	}

	// It gives up in the end.
	tries := 0
	err := db.Tx(t.Context(), func(ctx context.Context, tx *pgdb.Tx) error {
		tries++
		_, err := tx.Exec(ctx, "do $$ begin raise sqlstate '40001'; end $$")
		return err
	})
	if fault.Of(err) != fault.Unavailable || tries < 3 {
		t.Errorf("got %v after %d tries", err, tries)
	}
}

func dbName(t *testing.T, db *pgdb.DB) string {
	t.Helper()
	var name string
	if err := db.QueryRow(t.Context(), "select current_database()").Scan(&name); err != nil {
		t.Fatal(err)
	}
	return pgx.Identifier{name}.Sanitize()
}

// A backend that dies before COMMIT was sent costs a repetition, not an error.
func TestTxSurvivesLostBackend(t *testing.T) {
	t.Parallel()
	db := open(t, pgdb.Options{})
	for _, last := range []bool{false, true} {
		must(t, db, "truncate t")
		tries := 0
		err := db.Tx(t.Context(), func(ctx context.Context, tx *pgdb.Tx) error {
			tries++
			var pid int
			if err := tx.QueryRow(ctx, "insert into t values (1) returning pg_backend_pid()").Scan(&pid); err != nil {
				return err
			}
			if tries == 1 {
				must(t, db, "select pg_terminate_backend($1, 5000)", pid)
			}
			if _, err := tx.Exec(ctx, "insert into t values (2)"); err != nil || !last {
				return err
			}
			b := &pgx.Batch{}
			b.Queue("insert into t values (3)")
			return tx.SendBatchAndCommit(ctx, b)
		})
		if err != nil || tries != 2 {
			t.Errorf("got %v after %d tries, want success after 2", err, tries)
		}
	}
}

// When the connection is lost with the COMMIT under way, nothing is repeated.
func TestCommitUnknown(t *testing.T) {
	t.Parallel()
	db := open(t, pgdb.Options{})
	// The deferred trigger runs within COMMIT and ends its own backend.
	must(t, db, `create function die() returns trigger language plpgsql as
		$$ begin perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(5); return null; end $$`)
	must(t, db, `create constraint trigger die after insert on t deferrable initially deferred
		for each row execute function die()`)
	for _, last := range []bool{false, true} {
		tries := 0
		err := db.Tx(t.Context(), func(ctx context.Context, tx *pgdb.Tx) error {
			tries++
			if last {
				b := &pgx.Batch{}
				b.Queue("insert into t values (1)")
				return tx.SendBatchAndCommit(ctx, b)
			}
			_, err := tx.Exec(ctx, "insert into t values (1)")
			return err
		})
		if !errors.Is(err, pgdb.ErrCommitUnknown) || fault.Of(err) != fault.Unavailable || tries != 1 {
			t.Errorf("got %v after %d tries, want ErrCommitUnknown after 1", err, tries)
		}
	}
}

func TestSnapshotSeesOneState(t *testing.T) {
	t.Parallel()
	db := open(t, pgdb.Options{})
	err := db.Snapshot(t.Context(), func(ctx context.Context, tx *pgdb.Tx) error {
		var before, after int
		if err := tx.QueryRow(ctx, "select count(*) from t").Scan(&before); err != nil {
			return err
		}
		must(t, db, "insert into t values (1)")
		if err := tx.QueryRow(ctx, "select count(*) from t").Scan(&after); err != nil {
			return err
		}
		if before != after {
			t.Errorf("saw %d, then %d", before, after)
		}
		if _, err := tx.Exec(ctx, "insert into t values (2)"); err == nil {
			t.Error("a snapshot could write")
		}
		return errors.New("end")
	})
	if err == nil {
		t.Error("no error")
	}
}

func TestCancelledContext(t *testing.T) {
	t.Parallel()
	db := open(t, pgdb.Options{MaxConns: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	tries := 0
	err := db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		tries++
		_, err := tx.Exec(ctx, "select pg_sleep(10)")
		return err
	})
	if fault.Of(err) != fault.Unavailable || tries != 1 {
		t.Errorf("got %v after %d tries", err, tries)
	}
	if n := count(t, db); n != 0 { // the pool is usable again
		t.Errorf("%d rows", n)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	db := open(t, pgdb.Options{Name: "mail", Metrics: reg})
	other, err := pgdb.Open(t.Context(), pgtest.Empty(t), pgdb.Options{Name: "queue", Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	got, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 9 {
		t.Errorf("%d families, want 9", len(got))
	}
	for _, f := range got {
		if !strings.HasPrefix(f.GetName(), "waypost_db_") || len(f.GetMetric()) != 2 {
			t.Errorf("%s has %d series, want 2", f.GetName(), len(f.GetMetric()))
		}
	}
	other.Close()
	db.Close()
	if got, err = reg.Gather(); err != nil || len(got) != 0 {
		t.Errorf("%d families after Close (%v)", len(got), err)
	}
}
