package roles_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"waypost/cmd/internal/roles"
	"waypost/internal/config"
	"waypost/internal/fault"
	"waypost/internal/pgtest"
	"waypost/migrations"
)

// A program may be started before its database, and while that recovers from a
// crash: it waits, as long as it was told to.
func TestMigrateWaitsForTheDatabase(t *testing.T) {
	t.Parallel()
	at := pgtest.Empty(t)
	to, err := pgx.ParseConfig(at)
	if err != nil {
		t.Fatal(err)
	}
	// A port where nobody listens yet.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	cfg := config.Default()
	cfg.Database.QueueURL = "postgres://" + to.User + ":" + to.Password + "@" + addr + "/" + to.Database + "?sslmode=disable"

	cfg.Database.Wait = config.Duration(300 * time.Millisecond)
	begun := time.Now()
	err = roles.Migrate(t.Context(), cfg)
	if took := time.Since(begun); fault.Of(err) != fault.Unavailable || took < 300*time.Millisecond {
		t.Errorf("without a database: %v after %v, want Unavailable after 0.3 s", err, took)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	time.AfterFunc(700*time.Millisecond, func() { forward(ctx, t, addr, to) })
	cfg.Database.Wait = config.Duration(20 * time.Second)
	if err := roles.Migrate(t.Context(), cfg); err != nil {
		t.Fatalf("a database that came later: %v", err)
	}
	if v, err := migrations.Version(t.Context(), cfg.Database.QueueURL, migrations.Queue); err != nil || v != migrations.Queue.Newest() {
		t.Errorf("the schema has version %d, %v", v, err)
	}

	// What waiting does not mend is told at once.
	cfg.Database.QueueURL = "postgres://" + to.User + ":" + to.Password + "@" + addr + "/no_such_database?sslmode=disable"
	begun = time.Now()
	if err := roles.Migrate(t.Context(), cfg); err == nil || time.Since(begun) > 10*time.Second {
		t.Errorf("a database that does not exist: %v after %v, want an error at once", err, time.Since(begun))
	}
}

// forward passes connections to addr on to a server.
func forward(ctx context.Context, t *testing.T, addr string, to *pgx.ConnConfig) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	network, server := pgconn.NetworkAddress(to.Host, to.Port)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			s, err := net.Dial(network, server)
			if err != nil {
				return
			}
			defer s.Close()
			go func() { _, _ = io.Copy(s, c) }()
			_, _ = io.Copy(c, s)
		}()
	}
}
