package postgres_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waypost/directory"
	"waypost/directory/authn"
	"waypost/directory/postgres"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
)

var system = directory.System("test")

func checkSound(t *testing.T, s *postgres.Store) {
	t.Helper()
	findings, err := s.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		t.Errorf("unsound: %s", f)
	}
}

// catchUp waits until a process has seen what another has.
func catchUp(t *testing.T, behind, of *postgres.Store) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); behind.USN() < of.USN(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("a process is at %d, another at %d, for ten seconds", behind.USN(), of.USN())
		}
	}
}

// TestRandomChangesStaySound makes random changes at two processes at once and
// then verifies tables and both views.
func TestRandomChangesStaySound(t *testing.T) {
	dburl := pgtest.New(t, migrations.Directory)
	h := authn.NewHasher(cheap)
	a, _ := process(t, dburl, h)
	b, _ := process(t, dburl, h)
	ctx := t.Context()
	for _, d := range []string{"a.test", "b.test"} {
		if _, err := a.AddDomain(ctx, system, d); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	var made atomic.Int64
	for w, s := range []*postgres.Store{a, a, b, b} {
		r := rand.New(rand.NewPCG(seed, uint64(w)))
		wg.Go(func() {
			address := func() string { return fmt.Sprintf("n%d@%c.test", r.IntN(30), "ab"[r.IntN(2)]) }
			some := func() directory.ObjectID { return directory.ObjectID(r.Int64N(made.Load()+10) + 1) }
			for range 60 {
				var err error
				switch r.IntN(9) {
				case 0, 1, 2:
					_, err = s.AddUser(ctx, system, directory.NewUser{User: directory.User{
						Address: address(), Addresses: []string{address()}, OU: []string{"", "x", "x/y"}[r.IntN(3)], Name: "Same Name",
					}})
					made.Add(1)
				case 3:
					_, err = s.AddGroup(ctx, system, address(), "")
					made.Add(1)
				case 4:
					err = s.SetMembers(ctx, system, some(), []string{address()}, []string{address()})
				case 5:
					_, err = s.RenameUser(ctx, system, some(), address())
				case 6:
					if err = s.RemoveUser(ctx, system, some()); err != nil {
						err = s.RemoveGroup(ctx, system, some())
					}
				case 7:
					err = s.SetEnabled(ctx, system, some(), r.IntN(2) == 0)
				case 8:
					_, err = s.UpdateUser(ctx, system, some(), func(u *directory.User) error {
						u.Addresses, u.Hidden, u.OU = u.Addresses[:1], !u.Hidden, "z"
						return nil
					})
				}
				switch k := fault.Of(err); {
				case err == nil, k == fault.Exists, k == fault.NotFound, k == fault.Invalid:
				default:
					t.Errorf("unexpected: %v", err)
				}
			}
		})
	}
	wg.Wait()
	checkSound(t, a)
	catchUp(t, b, a)
	checkSound(t, b)
}

// TestCombinedWrites: writes that wait are committed together, each answered by
// itself, each with a USN of its own.
func TestCombinedWrites(t *testing.T) {
	dburl := pgtest.New(t, migrations.Directory)
	s, _ := process(t, dburl, authn.NewHasher(cheap))
	ctx := t.Context()
	if _, err := s.AddDomain(ctx, system, "a.test"); err != nil {
		t.Fatal(err)
	}
	const n = 200
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		usns  []directory.USN
		taken int
	)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	for i := range n {
		wg.Go(func() {
			// Every fourth collides, every fifth has gone away.
			c, address := ctx, fmt.Sprintf("u%d@a.test", i)
			switch {
			case i%4 == 0:
				address = "same@a.test"
			case i%5 == 0:
				c = ended
			}
			u, err := s.AddUser(c, system, directory.NewUser{User: directory.User{Address: address}})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				usns = append(usns, u.Changed)
				if c == ended {
					t.Errorf("%s was added for a caller who had gone", address)
				}
			case fault.Of(err) == fault.Exists:
				taken++
			case c != ended:
				t.Errorf("AddUser(%s): %v", address, err)
			}
		})
	}
	wg.Wait()
	slices.Sort(usns)
	if len(slices.Compact(slices.Clone(usns))) != len(usns) || taken != n/4-1 {
		t.Errorf("%d writes, %d collisions; want distinct USNs and %d collisions", len(usns), taken, n/4-1)
	}
	checkSound(t, s)
}

// TestLostWakeUp: a process that is not told looks by itself.
func TestLostWakeUp(t *testing.T) {
	dburl := pgtest.New(t, migrations.Directory)
	h := authn.NewHasher(cheap)
	s, _ := process(t, dburl, h)
	db, err := pgdb.Open(t.Context(), dburl, pgdb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	mute, err := postgres.Open(t.Context(), db, postgres.Options{Hash: h.Hash}) // never run: it notifies nobody
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mute.AddDomain(t.Context(), system, "a.test"); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for {
		if r, err := s.Resolve(t.Context(), "x@a.test"); err == nil && r.Standing == directory.Unknown {
			break
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal("the other process never looked")
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Logf("seen after %v", time.Since(begin))
}

// TestDatabasePutBack: when the database is restored to an older state, the view
// is read again and followers are told to begin anew.
func TestDatabasePutBack(t *testing.T) {
	dburl := pgtest.New(t, migrations.Directory)
	s, _ := process(t, dburl, authn.NewHasher(cheap))
	ctx := t.Context()
	if _, err := s.AddDomain(ctx, system, "a.test"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	began := make(chan struct{}, 100)
	go func() {
		ended <- s.Follow(ctx, -1, func([]directory.Change) error { began <- struct{}{}; return nil })
	}()
	<-began
	db, err := pgdb.Open(ctx, dburl, pgdb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, sql := range []string{
		`DELETE FROM directory.object WHERE id <> 1`,
		`DELETE FROM directory.change`,
		`UPDATE directory.object SET usn_changed = 1`,
		`UPDATE directory.forest SET usn = usn - 1`,
	} {
		if _, err := db.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-ended:
		if fault.Of(err) != fault.Resync {
			t.Errorf("the follower ended with %v, want Resync", err)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("the follower was not told")
	}
	if r, err := s.Resolve(ctx, "x@a.test"); err != nil || r.Standing != directory.Foreign {
		t.Errorf("the view still has what is not there: %+v, %v", r, err)
	}
	checkSound(t, s)
}

// proxy is a way to the database that can be blocked.
type proxy struct {
	l       net.Listener
	to      string
	blocked atomic.Bool
	mu      sync.Mutex
	conns   []net.Conn
}

// newProxy stands between a process and the database at dburl.
func newProxy(t *testing.T, dburl string) (p *proxy, through string) {
	t.Helper()
	u, err := url.Parse(dburl)
	if err != nil {
		t.Fatal(err)
	}
	network, to := "tcp", u.Host
	if host := u.Query().Get("host"); host != "" {
		port := u.Query().Get("port")
		if port == "" {
			port = "5432"
		}
		network, to = "unix", host+"/.s.PGSQL."+port
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p = &proxy{l: l, to: to}
	t.Cleanup(func() { _ = l.Close(); p.set(true) })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			if p.blocked.Load() {
				_ = in.Close()
				continue
			}
			out, err := net.Dial(network, to)
			if err != nil {
				_ = in.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, in, out)
			p.mu.Unlock()
			go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
		}
	}()
	q := u.Query()
	q.Del("host")
	q.Del("port")
	q.Set("sslmode", "disable")
	u.Host, u.RawQuery = l.Addr().String(), q.Encode()
	return p, u.String()
}

// set blocks or opens the way; blocking cuts what is connected.
func (p *proxy) set(blocked bool) {
	p.blocked.Store(blocked)
	if !blocked {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// TestCutOffAndBack cuts one of two processes off from the database while the
// other goes on writing: it refuses, and when it is back it has missed nothing.
func TestCutOffAndBack(t *testing.T) {
	dburl := pgtest.New(t, migrations.Directory)
	way, through := newProxy(t, dburl)
	h := authn.NewHasher(cheap)
	a, _ := process(t, dburl, h)
	b, near := process(t, through, h)
	ctx := t.Context()
	if _, err := a.AddDomain(ctx, system, "a.test"); err != nil {
		t.Fatal(err)
	}
	ann, err := a.AddUser(ctx, system, directory.NewUser{User: directory.User{Address: "ann@a.test"}, Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	const cut = 5 * time.Second
	g := authn.NewGate(near, authn.GateOptions{CutOff: cut})
	gateCtx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.Run(gateCtx) })
	defer func() { stop(); wg.Wait() }()
	await := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not within 30 s", what)
			}
		}
	}
	in := func() error {
		_, err := g.SignIn(ctx, directory.Credentials{Login: "ann@a.test", Password: "secret"})
		return err
	}
	await("signing in", func() bool { return in() == nil })

	way.set(true)
	// The other disables ann and makes more; this one cannot know.
	if err := a.SetEnabled(ctx, system, ann.ID, false); err != nil {
		t.Fatal(err)
	}
	const more = 300
	for i := range more {
		if _, err := a.AddUser(ctx, system, directory.NewUser{User: directory.User{Address: fmt.Sprintf("u%d@a.test", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	await("refusing", func() bool { return fault.Of(in()) == fault.Unavailable })
	if r, err := b.Resolve(ctx, "ann@a.test"); err != nil || r.Standing != directory.Person {
		t.Errorf("a process that is cut off forgot what it knew: %+v, %v", r, err)
	}
	if _, err := b.AddUser(ctx, system, directory.NewUser{User: directory.User{Address: "x@a.test"}}); fault.Of(err) != fault.Unavailable {
		t.Errorf("AddUser when cut off: %v, want Unavailable", err)
	}

	way.set(false)
	await("catching up", func() bool { return b.USN() >= a.USN() })
	for i := range more {
		if r, err := b.Resolve(ctx, fmt.Sprintf("u%d@a.test", i)); err != nil || r.Standing != directory.Person {
			t.Fatalf("u%d was missed: %+v, %v", i, r, err)
		}
	}
	await("hearing that ann is disabled", func() bool { return fault.Of(in()) == fault.Unauthenticated })
	if _, err := b.AddUser(ctx, system, directory.NewUser{User: directory.User{Address: "y@a.test"}}); err != nil {
		t.Errorf("AddUser when back: %v", err)
	}
	checkSound(t, b)
}

// TestSecretsStayInTheirTable: what others read of objects has no hash in it.
func TestSecretsStayInTheirTable(t *testing.T) {
	dburl := pgtest.New(t, migrations.Directory)
	s, _ := process(t, dburl, authn.NewHasher(cheap))
	ctx := t.Context()
	if _, err := s.AddDomain(ctx, system, "a.test"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddUser(ctx, system, directory.NewUser{User: directory.User{Address: "ann@a.test"}, Password: "secret"}); err != nil {
		t.Fatal(err)
	}
	db, err := pgdb.Open(ctx, dburl, pgdb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var all string
	if err := db.QueryRow(ctx, `SELECT string_agg(o::text, ' ') FROM directory.object o`).Scan(&all); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(all, "secret") || strings.Contains(all, "argon2") {
		t.Errorf("an object tells a secret: %s", all)
	}
	var hash string
	if err := db.QueryRow(ctx, `SELECT hash FROM directory.account`).Scan(&hash); err != nil || !strings.HasPrefix(hash, "$argon2id$") {
		t.Errorf("the account's hash is %q, %v", hash, err)
	}
	for _, table := range []string{"account", "signing_key"} {
		var public bool
		err := db.QueryRow(ctx, `SELECT coalesce(array_to_string(relacl, ',') ~ '(^|,)=', false) FROM pg_class WHERE oid = $1::regclass`, "directory."+table).Scan(&public)
		if err != nil || public {
			t.Errorf("everybody can read directory.%s: %v", table, err)
		}
	}
}

func BenchmarkAddUser(b *testing.B) {
	s, _ := process(b, pgtest.New(b, migrations.Directory), authn.NewHasher(cheap))
	if _, err := s.AddDomain(b.Context(), system, "a.test"); err != nil {
		b.Fatal(err)
	}
	var n atomic.Int64
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			b.SetParallelism(writers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.AddUser(b.Context(), system, directory.NewUser{User: directory.User{Address: fmt.Sprintf("u%d@a.test", n.Add(1))}}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkBulkAndResolve(b *testing.B) {
	s, _ := process(b, pgtest.New(b, migrations.Directory), authn.NewHasher(cheap))
	if _, err := s.AddDomain(b.Context(), system, "a.test"); err != nil {
		b.Fatal(err)
	}
	const size = 20000
	begin := time.Now()
	for i := 0; i < size; i += 5000 {
		list := make([]directory.NewUser, 5000)
		for j := range list {
			list[j].Address = fmt.Sprintf("u%d@a.test", i+j)
			list[j].Name = fmt.Sprintf("Given%d Family%d", i+j, (i+j)%500)
		}
		if _, err := s.AddUsers(b.Context(), system, list); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("%d users added in %v", size, time.Since(begin))
	b.Run("Resolve", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := s.Resolve(b.Context(), fmt.Sprintf("u%d@a.test", i%(2*size))); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("People", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, _, err := s.People(b.Context(), system, directory.PeopleQuery{Text: fmt.Sprintf("family%d", i%500), Limit: 20}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
