package postgres_test

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"

	"waypost/directory"
	"waypost/directory/authn"
	"waypost/directory/directorytest"
	"waypost/directory/postgres"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
)

// cheap makes tests fast; that the product's costs work is tested in authn.
var cheap = authn.Params{Memory: 1 << 10, Time: 1, Threads: 1}

// process is one directory process on a database.
func process(t testing.TB, url string, h *authn.Hasher) (*postgres.Store, directory.Directory) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	ctx, cancel := context.WithCancel(context.Background())
	db, err := pgdb.Open(ctx, url, pgdb.Options{Log: log, MaxConns: 4})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	store, err := postgres.Open(ctx, db, postgres.Options{Hash: h.Hash, Among: h.Among, Log: log})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = store.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		db.Close()
	})
	return store, authn.Near(store, authn.New(store, h, authn.Options{Log: log}))
}

func TestDirectory(t *testing.T) {
	directorytest.Run(t, func(t testing.TB) directorytest.World {
		url := pgtest.New(t, migrations.Directory)
		h := authn.NewHasher(cheap)
		return directorytest.World{
			Open: func(t testing.TB) directory.Directory {
				_, d := process(t, url, h)
				return d
			},
			Bulk: func(t testing.TB, users []directory.NewUser) {
				store, _ := process(t, url, h)
				for len(users) > 0 {
					n := min(len(users), 5000)
					if _, err := store.AddUsers(t.Context(), directory.System("test"), users[:n]); err != nil {
						t.Fatal(err)
					}
					users = users[n:]
				}
			},
			Work: h.Work,
		}
	})
}
