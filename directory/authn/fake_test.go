package authn

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
)

var (
	quiet = slog.New(slog.NewTextHandler(io.Discard, nil))
	cheap = Params{Memory: 64, Time: 1, Threads: 1}
)

// accounts is Accounts in memory, with one account "ann".
type accounts struct {
	mu            sync.Mutex
	acct          directory.Account
	keys          []directory.SigningKey
	fails         int
	failed, right []directory.Attempt
}

func (a *accounts) Account(_ context.Context, login, _ string) (directory.Account, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if login != "ann" {
		return directory.Account{}, nil
	}
	got := a.acct
	if got.Factor != nil {
		f := *got.Factor
		got.Factor = &f
	}
	return got, nil
}

func (a *accounts) Failed(_ context.Context, t directory.Attempt, _, _ directory.Backoff) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fails++
	a.failed = append(a.failed, t)
	return nil
}

func (a *accounts) Succeeded(_ context.Context, t directory.Attempt) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.right = append(a.right, t)
	return nil
}

func (a *accounts) Rehash(_ context.Context, _ directory.ObjectID, old, hash string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.acct.Hash == old {
		a.acct.Hash = hash
	}
	return nil
}

func (a *accounts) SigningKeys(_ context.Context, after time.Time) ([]directory.SigningKey, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found []directory.SigningKey
	for _, k := range a.keys {
		if k.Created.After(after) {
			found = append(found, k)
		}
	}
	slices.SortFunc(found, func(x, y directory.SigningKey) int { return y.Created.Compare(x.Created) })
	return found, nil
}

func (a *accounts) AddSigningKey(_ context.Context, k directory.SigningKey, unless, older time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, have := range a.keys {
		if have.Created.After(unless) {
			return nil
		}
	}
	a.keys = slices.DeleteFunc(append(a.keys, k), func(k directory.SigningKey) bool { return k.Created.Before(older) })
	return nil
}

func (a *accounts) UseFactor(_ context.Context, _ directory.ObjectID, step int64, recovery []byte) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.acct.Factor
	if f == nil {
		return false, nil
	}
	if recovery != nil {
		n := len(f.Recovery)
		f.Recovery = slices.DeleteFunc(slices.Clone(f.Recovery), func(d []byte) bool { return bytes.Equal(d, recovery) })
		return len(f.Recovery) < n, nil
	}
	if step <= f.Step {
		return false, nil
	}
	f.Step = step
	return true, nil
}

func (a *accounts) Renew(_ context.Context, _ directory.Principal, was, password string) (directory.Epoch, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if was != a.acct.Hash {
		return 0, fault.New(fault.Conflict, "changed")
	}
	hash, err := NewHasher(cheap).Hash(context.Background(), password, was)
	a.acct.Hash, a.acct.MustChange, a.acct.PasswordExpires = hash, false, time.Time{}
	a.acct.Principal.Epoch++
	return a.acct.Principal.Epoch, err
}

// source is Source with a feed that the test feeds.
type source struct {
	*Service
	accounts *accounts
	news     chan []directory.Change
	lose     chan struct{}                                                           // a send loses the feed
	signIn   func(context.Context, directory.Credentials) (directory.Session, error) // instead of the service's
	asked    int
	users    int
	follow   error // what Follow answers at once
	since    []directory.USN
	mu       sync.Mutex
}

func newSource(t testing.TB) *source {
	t.Helper()
	h := NewHasher(cheap)
	hash, err := h.Hash(t.Context(), "secret", "")
	if err != nil {
		t.Fatal(err)
	}
	a := &accounts{acct: directory.Account{
		Principal: directory.Principal{ID: 7, Mailbox: 3, HomeMDB: "default", Address: "ann@example.test", Name: "Ann", Epoch: 1},
		Enabled:   true, Hash: hash,
	}}
	return &source{Service: New(a, h, Options{Log: quiet}), accounts: a, news: make(chan []directory.Change), lose: make(chan struct{})}
}

func (s *source) SignIn(ctx context.Context, c directory.Credentials) (directory.Session, error) {
	s.mu.Lock()
	s.asked++
	fn := s.signIn
	s.mu.Unlock()
	if fn != nil {
		return fn(ctx, c)
	}
	return s.Service.SignIn(ctx, c)
}

func (s *source) Session(context.Context, string, directory.Place) (directory.SessionInfo, error) {
	return directory.SessionInfo{}, errSession
}

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *source) User(_ context.Context, _ directory.Principal, id directory.ObjectID) (directory.User, error) {
	s.mu.Lock()
	s.users++
	s.mu.Unlock()
	s.accounts.mu.Lock()
	defer s.accounts.mu.Unlock()
	p := s.accounts.acct.Principal
	if id != p.ID {
		return directory.User{}, fault.New(fault.NotFound, "no such user")
	}
	return directory.User{
		ID: p.ID, Mailbox: p.Mailbox, HomeMDB: p.HomeMDB, Address: p.Address, Name: p.Name, Roles: p.Roles,
		Epoch: p.Epoch, Enabled: s.accounts.acct.Enabled,
	}, nil
}

func (s *source) Follow(ctx context.Context, since directory.USN, fn func([]directory.Change) error) error {
	s.mu.Lock()
	s.since = append(s.since, since)
	err := s.follow
	s.follow = nil
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err := fn([]directory.Change{{USN: max(since, 100)}}); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.lose:
			return fault.New(fault.Unavailable, "lost")
		case n := <-s.news:
			if err := fn(n); err != nil {
				return err
			}
		}
	}
}

// epoch begins another epoch of ann and tells the feed.
func (s *source) epoch(usn directory.USN) {
	s.accounts.mu.Lock()
	s.accounts.acct.Principal.Epoch++
	e := s.accounts.acct.Principal.Epoch
	s.accounts.mu.Unlock()
	s.news <- []directory.Change{{USN: usn, ID: 7, Kind: directory.KindUser, Epoch: e, Enabled: true}}
	s.beat()
}

// beat returns when the gate has taken all news before.
func (s *source) beat() {
	s.news <- []directory.Change{{USN: 1000}}
	s.news <- []directory.Change{{USN: 1000}}
}

func startGate(t testing.TB, s Source, o GateOptions) *Gate {
	o.Log = quiet
	g := NewGate(s, o)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return g
}

func ann(password string) directory.Credentials {
	return directory.Credentials{Login: "ann", Password: password, Door: "test"}
}

func wantKind(t testing.TB, what string, err error, want fault.Kind) {
	t.Helper()
	if err == nil || fault.Of(err) != want {
		t.Errorf("%s: got %v, want a fault of kind %v", what, err, want)
	}
}
