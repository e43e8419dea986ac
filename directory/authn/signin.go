package authn

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
)

// Accounts is where sign-in keeps what must hold in every process.
// *directory/postgres.Store is the real one.
type Accounts interface {
	Account(ctx context.Context, login, client string) (directory.Account, error)
	Failed(ctx context.Context, t directory.Attempt, account, client directory.Backoff) error
	Succeeded(ctx context.Context, t directory.Attempt) error
	Rehash(ctx context.Context, id directory.ObjectID, old, hash string) error
	SigningKeys(ctx context.Context, after time.Time) ([]directory.SigningKey, error)
	AddSigningKey(ctx context.Context, k directory.SigningKey, unless, older time.Time) error
}

// The lock-out's laws. Against one account, strangers have about a hundred
// guesses a day in the long run.
var (
	accountBackoff = directory.Backoff{Free: 5, Most: 15 * time.Minute, Forgive: 15 * time.Minute}
	clientBackoff  = directory.Backoff{Free: 50, Most: 15 * time.Minute, Forgive: time.Minute}
)

const (
	// signInTimeout bounds one sign-in, also when the database does not answer.
	signInTimeout = 20 * time.Second
	maxLogin      = 320 // bytes: a local part and a domain
	maxPassword   = 512 // bytes
	// knownFree is how often a known address may fail before it is slowed down.
	knownFree = 10
	// knownDelay is how long it then waits at most; it is never refused, or
	// whoever shares the address could shut the owner out.
	knownDelay = 5 * time.Second
	// atOnce bounds the sign-ins under way for one account, or from one client,
	// that are not from a known address: all of them were let in before any was
	// counted.
	atOnce = 4
	// waitAtOnce bounds those from one known address.
	waitAtOnce = 8
)

var errWrong = fault.New(fault.Unauthenticated, "wrong user name or password")

// Options of a Service.
type Options struct {
	// Log hears of every sign-in that was computed; slog.Default when nil.
	Log *slog.Logger
}

// Service checks passwords and issues tokens.
type Service struct {
	accounts Accounts
	hasher   *Hasher
	log      *slog.Logger
	signer   signer

	mu   sync.Mutex
	busy map[string]int           // sign-ins under way by account and client
	slow map[string]chan struct{} // who holds it is a known address's one guess
}

// New makes the service. The hasher is the one whose Hash the directory uses.
func New(a Accounts, h *Hasher, o Options) *Service {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Service{
		accounts: a, hasher: h, log: o.Log, signer: signer{accounts: a},
		busy: make(map[string]int), slow: make(map[string]chan struct{}),
	}
}

// Near is a whole directory in this process.
func Near(objects directory.Objects, s *Service) directory.Directory {
	return near{objects, s}
}

type near struct {
	directory.Objects
	*Service
}

// USN is the position of the directory's view; directory/remote tells it with
// every answer, so that the far side knows how new the answer is.
func (n near) USN() directory.USN {
	if at, ok := n.Objects.(interface{ USN() directory.USN }); ok {
		return at.USN()
	}
	return 0
}

// SignIn checks credentials; see directory.Directory. An unknown login costs
// the same queries and the same hash as a wrong password, and is locked out by
// the same law.
func (s *Service) SignIn(ctx context.Context, c directory.Credentials) (_ directory.Session, err error) {
	begin := time.Now()
	defer func() { s.report(ctx, c, begin, err) }()
	if c.Login == "" || c.Password == "" || len(c.Login) > maxLogin || len(c.Password) > maxPassword {
		return directory.Session{}, errWrong
	}
	ctx, cancel := context.WithTimeout(ctx, signInTimeout)
	defer cancel()
	client := directory.ClientKey(c.From)
	a, err := s.accounts.Account(ctx, c.Login, client)
	if err != nil {
		return directory.Session{}, err
	}
	t := directory.Attempt{ID: a.Principal.ID, Login: c.Login, Client: client, Known: a.Known}
	leave, err := s.admit(ctx, a, t)
	if err != nil {
		return directory.Session{}, err
	}
	defer leave()

	through := common
	if a.Known {
		through = reserved
	}
	v, err := s.hasher.verify(ctx, through, c.Password, a.Hash, a.Former)
	if err != nil {
		return directory.Session{}, err
	}
	if v != right || !a.Enabled || a.Principal.ID == 0 {
		// A password of yesterday is a phone that does not know better, not a
		// guess. The account's state is told to nobody.
		if v == wrong {
			if err := s.accounts.Failed(ctx, t, accountBackoff, clientBackoff); err != nil {
				return directory.Session{}, err
			}
		}
		return directory.Session{}, errWrong
	}
	if err := s.accounts.Succeeded(ctx, t); err != nil {
		return directory.Session{}, err
	}
	if s.hasher.outdated(a.Hash) {
		s.upgrade(ctx, a, c.Password)
	}
	return s.signer.issue(ctx, a.Principal)
}

// upgrade stores the password with today's costs; sign-in does not fail for it.
func (s *Service) upgrade(ctx context.Context, a directory.Account, password string) {
	hash, err := s.hasher.Hash(ctx, password, "")
	if err == nil {
		err = s.accounts.Rehash(ctx, a.Principal.ID, a.Hash, hash)
	}
	if err != nil {
		s.log.WarnContext(ctx, "password hash not upgraded", slog.String("user", a.Principal.Address), slog.Any("fault", err))
	}
}

// admit lets a sign-in pass the lock-out, or refuses it, or makes it wait.
func (s *Service) admit(ctx context.Context, a directory.Account, t directory.Attempt) (leave func(), err error) {
	if a.Known {
		return s.queueKnown(ctx, a, t)
	}
	if a.Locked > 0 {
		wait := a.Locked.Round(time.Second)
		return nil, fault.New(fault.Limit, "too many failed sign-ins, try again in %v", max(wait, time.Second))
	}
	keys := []string{"account " + directory.Fold(t.Login)}
	if t.ID != 0 {
		keys[0] = pair(t.ID, "")
	}
	if t.Client != "" {
		keys = append(keys, "client "+t.Client)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, k := range keys {
		most := atOnce
		if i > 0 {
			most = 4 * atOnce // a client is perhaps a whole office
		}
		if s.busy[k] >= most {
			return nil, fault.New(fault.Limit, "too many sign-ins at once, try again later")
		}
	}
	for _, k := range keys {
		s.busy[k]++
	}
	return func() { s.release(keys) }, nil
}

func (s *Service) release(keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		if s.busy[k]--; s.busy[k] <= 0 {
			delete(s.busy, k)
		}
	}
}

// queueKnown lets an address that signed in before through at once, but one
// guess at a time and ever slower when it keeps failing.
func (s *Service) queueKnown(ctx context.Context, a directory.Account, t directory.Attempt) (leave func(), err error) {
	if a.Missed <= knownFree {
		return func() {}, nil
	}
	key := pair(t.ID, t.Client)
	s.mu.Lock()
	turn := s.slow[key]
	if turn == nil {
		turn = make(chan struct{}, 1)
		s.slow[key] = turn
	}
	if s.busy[key] >= waitAtOnce {
		s.mu.Unlock()
		return nil, fault.New(fault.Limit, "too many sign-ins at once, try again later")
	}
	s.busy[key]++
	s.mu.Unlock()
	out := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.busy[key]--; s.busy[key] <= 0 {
			delete(s.busy, key)
			delete(s.slow, key)
		}
	}
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		out()
		return nil, ctx.Err()
	}
	wait := knownDelay
	if n := a.Missed - knownFree; n < 8 {
		wait = min(knownDelay, 100*time.Millisecond<<n)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		<-turn
		out()
		return nil, ctx.Err()
	}
	return func() { <-turn; out() }, nil
}

func (s *Service) report(ctx context.Context, c directory.Credentials, begin time.Time, err error) {
	level, result := slog.LevelInfo, "ok"
	if err != nil {
		result = fault.Of(err).String()
		if k := fault.Of(err); k == fault.Internal || k == fault.Unavailable && !errors.Is(err, context.Canceled) {
			level = slog.LevelError
		}
	}
	attrs := []slog.Attr{
		slog.String("proto", c.Door), slog.String("cmd", "sign-in"), slog.String("user", clip(c.Login)),
		slog.String("from", c.From.String()), slog.Duration("dur", time.Since(begin)), slog.String("result", result),
	}
	if err != nil {
		attrs = append(attrs, slog.Any("fault", err))
	}
	s.log.LogAttrs(ctx, level, "sign-in", attrs...)
}

func clip(s string) string { return s[:min(len(s), maxLogin)] }

func pair(id directory.ObjectID, client string) string {
	return strconv.FormatInt(int64(id), 10) + " " + client
}
