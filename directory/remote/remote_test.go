package remote_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"

	"waypost/directory"
	"waypost/directory/authn"
	"waypost/directory/directorytest"
	"waypost/directory/postgres"
	"waypost/directory/remote"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// start runs fn until the test ends.
func start(t testing.TB, fn func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = fn(ctx) })
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

// near is a directory process on a database.
func near(t testing.TB, url string, h *authn.Hasher) (*postgres.Store, directory.Directory) {
	t.Helper()
	db, err := pgdb.Open(t.Context(), url, pgdb.Options{Log: quiet, MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	store, err := postgres.Open(t.Context(), db, postgres.Options{Hash: h.Hash, Among: h.Among, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	start(t, store.Run)
	return store, authn.Near(store, authn.New(store, h, authn.Options{Log: quiet}))
}

// serve puts d on the network and gives its URL.
func serve(t testing.TB, d directory.Directory) (url string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := remote.NewServer(d, remote.ServerOptions{Log: quiet})
	stop = start(t, func(ctx context.Context) error { return s.Serve(ctx, l) })
	return "http://" + l.Addr().String(), stop
}

func dial(t testing.TB, urls ...string) *remote.Client {
	t.Helper()
	c, err := remote.New(remote.Options{URLs: urls, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	start(t, c.Run)
	return c
}

func TestDirectory(t *testing.T) {
	directorytest.Run(t, func(t testing.TB) directorytest.World {
		url := pgtest.New(t, migrations.Directory)
		h := authn.NewHasher(authn.Params{Memory: 1 << 10, Time: 1, Threads: 1})
		return directorytest.World{
			Open: func(t testing.TB) directory.Directory {
				_, d := near(t, url, h)
				at, _ := serve(t, d)
				return dial(t, at)
			},
			Bulk: func(t testing.TB, users []directory.NewUser) {
				store, _ := near(t, url, h)
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
