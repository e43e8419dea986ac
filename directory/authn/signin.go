package authn

import (
	"context"
	"errors"
	"fmt"
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
	// UseFactor uses up a time step (or the recovery code with the digest), and
	// tells whether nobody did before.
	UseFactor(ctx context.Context, id directory.ObjectID, step int64, recovery []byte) (bool, error)
	// Renew is an account's own change of the password whose stored form is was,
	// by its policy. It gives the account's epoch after it.
	Renew(ctx context.Context, who directory.Principal, was, password string) (directory.Epoch, error)
}

// The lock-out's laws. Against one account, strangers have about a hundred
// guesses a day in the long run.
var (
	AccountBackoff = directory.Backoff{Free: 5, Most: 15 * time.Minute, Forgive: 15 * time.Minute}
	ClientBackoff  = directory.Backoff{Free: 50, Most: 15 * time.Minute, Forgive: time.Minute}
	FactorBackoff  = directory.Backoff{Free: 5, Most: 15 * time.Minute, Forgive: 15 * time.Minute}
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
	// Now is the clock of what expires and of second factors; time.Now when nil.
	Now func() time.Time
}

// Service checks passwords and issues tokens.
type Service struct {
	accounts Accounts
	hasher   *Hasher
	log      *slog.Logger
	now      func() time.Time
	signer   signer
	keep     Keeper // nil where there is none: without sessions then

	mu   sync.Mutex
	busy map[string]int           // sign-ins under way by account and client
	slow map[string]chan struct{} // who holds it is a known address's one guess
}

// New makes the service. The hasher is the one whose Hash the directory uses.
func New(a Accounts, h *Hasher, o Options) *Service {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	keep, _ := a.(Keeper)
	return &Service{
		keep:     keep,
		accounts: a, hasher: h, log: o.Log, now: o.Now, signer: signer{accounts: a},
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
	defer func() { s.report(ctx, "sign-in", c, begin, err) }()
	ctx, cancel := context.WithTimeout(ctx, signInTimeout)
	defer cancel()
	a, err := s.check(ctx, c)
	if err != nil {
		return directory.Session{}, err
	}
	return s.session(ctx, a)
}

// session makes the session of an account whose credentials were right.
func (s *Service) session(ctx context.Context, a directory.Account) (directory.Session, error) {
	expires := a.PasswordExpires
	if a.Principal.App {
		expires = time.Time{} // it is not the password that was shown
	}
	until := a.Expires
	if !expires.IsZero() && (until.IsZero() || expires.Before(until)) {
		until = expires
	}
	got, err := s.signer.issue(ctx, a.Principal, until)
	if err != nil {
		return directory.Session{}, err
	}
	got.PasswordExpires, got.Warning = expires, warning(expires.Sub(s.now()), expires.IsZero())
	return got, nil
}

// warn is how long before a password expires its owner is told.
const warn = 14 * 24 * time.Hour

func warning(left time.Duration, never bool) string {
	const day = 24 * time.Hour
	switch {
	case never || left > warn:
		return ""
	case left < day:
		return "your password expires today"
	case left < 2*day:
		return "your password expires tomorrow"
	}
	return fmt.Sprintf("your password expires in %d days", left/day)
}

// check tells whose credentials are right and that they may sign in. With a
// *directory.SignInProblem the account is given, too.
func (s *Service) check(ctx context.Context, c directory.Credentials) (a directory.Account, err error) {
	if c.Login == "" || c.Password == "" || len(c.Login) > maxLogin || len(c.Password) > maxPassword || len(c.Factor) > maxFactor {
		return a, errWrong
	}
	client := directory.ClientKey(c.From)
	if a, err = s.accounts.Account(ctx, c.Login, client); err != nil {
		return a, err
	}
	t := directory.Attempt{ID: a.Principal.ID, Login: c.Login, Client: client, Known: a.Known, Noted: a.Noted, Door: c.Door}
	if t.App = appOf(a.Apps, c.Password); t.App != 0 && t.ID != 0 && c.Program() {
		// 128 bits are not guessed: no lock-out and no slow hash is in the way.
		a.Principal.App, a.Principal.Roles = true, a.Principal.Roles&^directory.RoleAdmin
		if err := s.stands(a, directory.Credentials{}); err != nil {
			return a, err
		}
		return a, s.accounts.Succeeded(ctx, t)
	}
	t.App = 0
	leave, err := s.admit(ctx, a, t)
	if err != nil {
		return a, err
	}
	defer leave()

	through := common
	if a.Known {
		through = reserved
	}
	v, err := s.hasher.verify(ctx, through, c.Password, a.Hash, a.Former)
	if err != nil {
		return a, err
	}
	if v != right || a.Principal.ID == 0 {
		// A password of yesterday is a phone that does not know better, not a
		// guess.
		if v == wrong {
			if err := s.failed(ctx, a, t); err != nil {
				return a, err
			}
		}
		return a, errWrong
	}
	if err := s.stands(a, c); err != nil {
		return a, err
	}
	if a.Factor != nil {
		if err := s.factor(ctx, a, t, c.Factor); err != nil {
			return a, err
		}
	}
	if err := s.accounts.Succeeded(ctx, t); err != nil {
		return a, err
	}
	if s.hasher.outdated(a.Hash) {
		if hash := s.upgrade(ctx, a, c.Password); hash != "" {
			a.Hash = hash
		}
	}
	switch {
	case a.MustChange:
		return a, &directory.SignInProblem{Why: directory.MustChange, Who: a.Principal}
	case !a.PasswordExpires.IsZero() && !a.PasswordExpires.After(s.now()):
		return a, &directory.SignInProblem{Why: directory.PasswordExpired, Who: a.Principal}
	}
	return a, nil
}

// maxFactor bounds the code of a second factor in bytes.
const maxFactor = 64

// stands tells whether the account is open at the door, after the right
// password alone.
func (s *Service) stands(a directory.Account, c directory.Credentials) error {
	switch {
	case !a.Enabled:
		return &directory.SignInProblem{Why: directory.AccountDisabled}
	case !a.Expires.IsZero() && !a.Expires.After(s.now()):
		return &directory.SignInProblem{Why: directory.AccountExpired}
	case a.Factor != nil && c.Program():
		return &directory.SignInProblem{Why: directory.AppPasswordNeeded}
	}
	return nil
}

// factor asks for the second factor. Wrong codes are counted by a law of their
// own, which no known address is free of: who is here has the password.
func (s *Service) factor(ctx context.Context, a directory.Account, t directory.Attempt, code string) error {
	if code == "" {
		return &directory.SignInProblem{Why: directory.FactorNeeded}
	}
	if wait := a.Factor.Locked.Round(time.Second); a.Factor.Locked > 0 {
		return fault.New(fault.Limit, "too many wrong codes, try again in %v", max(wait, time.Second))
	}
	if u, ok := matchCode(a.Factor, code, s.now()); ok {
		fresh, err := s.accounts.UseFactor(ctx, t.ID, u.step, u.recovery)
		if err != nil || fresh {
			return err
		}
	}
	t.Factor = true
	if err := s.failed(ctx, a, t); err != nil {
		return err
	}
	return &directory.SignInProblem{Why: directory.FactorWrong}
}

// failed counts a failure by the account's law.
func (s *Service) failed(ctx context.Context, a directory.Account, t directory.Attempt) error {
	law := AccountBackoff
	if a.Law != nil {
		law = *a.Law
	}
	if t.Factor {
		law = FactorBackoff
	}
	return s.accounts.Failed(ctx, t, law, ClientBackoff)
}

// RenewPassword implements directory.Directory.
func (s *Service) RenewPassword(ctx context.Context, c directory.Credentials, password string) (_ directory.Session, err error) {
	begin := time.Now()
	defer func() { s.report(ctx, "renew password", c, begin, err) }()
	ctx, cancel := context.WithTimeout(ctx, signInTimeout)
	defer cancel()
	a, err := s.check(ctx, c)
	var p *directory.SignInProblem
	if err != nil && (!errors.As(err, &p) || !p.Renewable()) {
		return directory.Session{}, err
	}
	if a.Principal.App {
		return directory.Session{}, fault.New(fault.Denied, "an application password changes no password")
	}
	if ctx = directory.WithClient(ctx, directory.ClientKey(c.From)); len(password) > maxPassword {
		return directory.Session{}, fault.New(fault.TooLarge, "a password has at most %d bytes", maxPassword)
	}
	if a.Principal.Epoch, err = s.accounts.Renew(ctx, a.Principal, a.Hash, password); err != nil {
		return directory.Session{}, err
	}
	a.PasswordExpires = time.Time{} // the next sign-in tells
	return s.session(ctx, a)
}

// upgrade stores the password with today's costs; sign-in does not fail for it.
func (s *Service) upgrade(ctx context.Context, a directory.Account, password string) (hash string) {
	hash, err := s.hasher.Hash(ctx, password, "")
	if err == nil {
		err = s.accounts.Rehash(ctx, a.Principal.ID, a.Hash, hash)
	}
	if err != nil {
		s.log.WarnContext(ctx, "password hash not upgraded", slog.String("user", a.Principal.Address), slog.Any("fault", err))
		return ""
	}
	return hash
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

func (s *Service) report(ctx context.Context, cmd string, c directory.Credentials, begin time.Time, err error) {
	level, result := slog.LevelInfo, "ok"
	if err != nil {
		result = fault.Of(err).String()
		var p *directory.SignInProblem
		if errors.As(err, &p) {
			result = p.Why.String()
		}
		if k := fault.Of(err); k == fault.Internal || k == fault.Unavailable && !errors.Is(err, context.Canceled) {
			level = slog.LevelError
		}
	}
	attrs := []slog.Attr{
		slog.String("proto", c.Door), slog.String("cmd", cmd), slog.String("user", clip(c.Login)),
		slog.String("from", c.From.String()), slog.Duration("dur", time.Since(begin)), slog.String("result", result),
	}
	if err != nil {
		attrs = append(attrs, slog.Any("fault", err))
	}
	s.log.LogAttrs(ctx, level, cmd, attrs...)
}

func clip(s string) string { return s[:min(len(s), maxLogin)] }

func pair(id directory.ObjectID, client string) string {
	return strconv.FormatInt(int64(id), 10) + " " + client
}
