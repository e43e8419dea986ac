package pgdb_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"waypost/internal/pgdb"
)

func wait[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("no %s within 10 s", what)
		panic("unreachable")
	}
}

func TestListenAndNotify(t *testing.T) {
	t.Parallel()
	db := open(t, pgdb.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	heard, connected, lost := make(chan string, 1000), make(chan bool, 10), make(chan error, 10)
	ended := make(chan error, 2)
	go func() {
		ended <- db.Listen(ctx, []string{"box", "Odd \" name"}, pgdb.Heard{
			Notify:    func(channel, payload string) { heard <- channel + ":" + payload },
			Connected: func() { connected <- true },
			Lost:      func(err error) { lost <- err },
		})
	}()
	n := db.Notifier("box")
	go func() { ended <- n.Run(ctx) }()
	wait(t, "connection", connected)

	n.Notify("1")
	if got := wait(t, "notification", heard); got != "box:1" {
		t.Errorf("heard %q", got)
	}
	must(t, db, `notify "Odd "" name", 'x'`)
	if got := wait(t, "notification", heard); got != "Odd \" name:x" {
		t.Errorf("heard %q", got)
	}

	// Many equal wake-ups become few.
	for range 10000 {
		n.Notify("2")
	}
	n.Notify("bad \x00")
	n.Notify("bad \xff")
	n.Notify("last")
	twos := 0
	for {
		got := wait(t, "notification", heard)
		if got == "box:last" {
			break
		}
		twos++
	}
	if twos < 1 || twos > 1000 {
		t.Errorf("%d notifications for 10000 equal wake-ups", twos)
	}

	// Both connections are cut; both come back.
	must(t, db, `select pg_terminate_backend(pid) from pg_stat_activity
		where datname = current_database() and application_name in ('waypost listener', 'waypost notifier')`)
	wait(t, "loss", lost)
	wait(t, "reconnection", connected)
	n.Notify("3")
	for got := ""; got != "box:3"; {
		got = wait(t, "notification after reconnection", heard)
	}

	cancel()
	for range 2 {
		if err := wait(t, "end", ended); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	}
}

// What was asked for before the end is sent.
func TestNotifierFlushesAtTheEnd(t *testing.T) {
	t.Parallel()
	db := open(t, pgdb.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	heard, connected := make(chan string, 10), make(chan bool, 1)
	done := make(chan error, 1)
	go func() {
		done <- db.Listen(ctx, []string{"box"}, pgdb.Heard{
			Notify:    func(_, p string) { heard <- p },
			Connected: func() { connected <- true },
		})
	}()
	wait(t, "connection", connected)
	over, stop := context.WithCancel(t.Context())
	stop()
	n := db.Notifier("box")
	n.Notify("final")
	if err := n.Run(over); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := wait(t, "notification", heard); got != "final" {
		t.Errorf("heard %q", got)
	}
	cancel()
	wait(t, "end", done)
}

func BenchmarkTx(b *testing.B) {
	db, err := pgdb.Open(b.Context(), benchURL(b), pgdb.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for _, way := range []string{"first statement, commit", "one batch"} {
		b.Run(way, func(b *testing.B) {
			for b.Loop() {
				if err := db.Tx(b.Context(), func(ctx context.Context, tx *pgdb.Tx) error {
					if way == "one batch" {
						return tx.SendBatchAndCommit(ctx, oneSelect())
					}
					_, err := tx.Exec(ctx, "select 1")
					return err
				}); err != nil {
					b.Fatal(fmt.Errorf("%s: %w", way, err))
				}
			}
		})
	}
}
