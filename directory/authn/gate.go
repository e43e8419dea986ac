package authn

import (
	"container/list"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
)

const (
	// cutOff is how long a gate trusts what it knows without hearing the feed.
	cutOff = 30 * time.Second
	// idle is how long a proof lives unused; longer than a phone's longest
	// heartbeat, an hour.
	idle = 90 * time.Minute
	// defaultProofs bounds the proofs remembered; one takes about 300 bytes.
	defaultProofs = 200000
	// startWait is how long a sign-in waits for the feed to begin.
	startWait = 5 * time.Second
	// keysAgain bounds how often an unknown key id makes the gate ask.
	keysAgain = 5 * time.Second
)

// Source is what a gate needs of a directory.
type Source interface {
	SignIn(ctx context.Context, c directory.Credentials) (directory.Session, error)
	RenewPassword(ctx context.Context, c directory.Credentials, password string) (directory.Session, error)
	Keys(ctx context.Context) ([]directory.Key, error)
	Follow(ctx context.Context, since directory.USN, fn func([]directory.Change) error) error
	User(ctx context.Context, as directory.Principal, id directory.ObjectID) (directory.User, error)
	Session(ctx context.Context, secret string, at directory.Place) (directory.SessionInfo, error)
}

// GateOptions of a Gate; the zero value is right for the product.
type GateOptions struct {
	Log    *slog.Logger  // slog.Default when nil
	CutOff time.Duration // 30 s when 0
	Idle   time.Duration // of a proof; 90 min when 0
	Proofs int           // how many are remembered; 200,000 when 0
}

// Gate stands in front of a directory in every process that signs people in.
// Its methods are safe for concurrent use; Run must be running.
type Gate struct {
	dir    Source
	log    *slog.Logger
	o      GateOptions
	secret []byte // of this process; keys the proofs
	begun  chan struct{}

	mu       sync.Mutex
	heard    time.Time // the feed's last sign of life; zero before the first
	usn      directory.USN
	asking   int // questions to the directory under way
	accounts map[directory.ObjectID]*standing
	byUse    *list.List // of *standing, newest first
	proofs   map[mac]*proof
	byProof  *list.List // of *proof, newest first
	refused  map[mac]refusal
	changes  int64 // of accounts heard; a refusal from before one is not remembered
	flights  map[mac]*flight
	keys     map[string]ed25519.PublicKey
	keysAt   time.Time

	ended     map[directory.SessionID]time.Time // sessions that are over, for a while
	bySession map[directory.SessionID]map[*watch]struct{}
	seats     map[mac]seat
}

// standing is what the gate knows of an account.
type standing struct {
	who     directory.Principal // zero while only the epoch is known
	epoch   directory.Epoch
	gone    bool
	stale   bool // attributes changed since who was read
	proofs  map[*proof]struct{}
	watches map[*watch]struct{}
	use     *list.Element
	id      directory.ObjectID
}

// watch is a context that ends with the account's epoch.
type watch struct {
	epoch   directory.Epoch
	session directory.SessionID // 0: none
	end     context.CancelCauseFunc
}

// NewGate makes a gate for one process.
func NewGate(dir Source, o GateOptions) *Gate {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.CutOff == 0 {
		o.CutOff = cutOff
	}
	if o.Idle == 0 {
		o.Idle = idle
	}
	if o.Proofs == 0 {
		o.Proofs = defaultProofs
	}
	g := &Gate{dir: dir, log: o.Log, o: o, secret: make([]byte, 32), begun: make(chan struct{})}
	_, _ = rand.Read(g.secret)
	g.ended, g.bySession = make(map[directory.SessionID]time.Time), make(map[directory.SessionID]map[*watch]struct{})
	g.forget()
	return g
}

// forget begins with nothing remembered.
func (g *Gate) forget() {
	g.accounts, g.byUse = make(map[directory.ObjectID]*standing), list.New()
	g.proofs, g.byProof = make(map[mac]*proof), list.New()
	g.refused, g.flights = make(map[mac]refusal), make(map[mac]*flight)
	g.keys = make(map[string]ed25519.PublicKey)
	g.seats = make(map[mac]seat)
}

var (
	errCut     = fault.New(fault.Unavailable, "the directory cannot be reached")
	errChanged = fault.New(fault.Unauthenticated, "the account has changed, sign in again")
)

// Run follows the directory's feed until ctx ends, and returns its error then.
// It comes back by itself when the feed is lost.
func (g *Gate) Run(ctx context.Context) error {
	var owned sync.WaitGroup
	defer owned.Wait()
	owned.Go(func() { g.guard(ctx) })
	since := directory.USN(-1)
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		err := g.dir.Follow(ctx, since, func(changes []directory.Change) error {
			pause = minPause
			since = changes[len(changes)-1].USN
			g.hear(changes)
			return nil
		})
		if ctx.Err() != nil {
			g.endAll(errCut)
			return ctx.Err()
		}
		if fault.Of(err) == fault.Resync {
			g.endAll(errChanged)
			g.mu.Lock()
			g.forget()
			g.mu.Unlock()
			since = -1
		}
		g.log.WarnContext(ctx, "the directory's feed is lost", slog.Any("fault", err))
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

const (
	minPause = 50 * time.Millisecond
	maxPause = 2 * time.Second
)

// guard ends every context once the feed has been silent for too long: the
// accounts may have been closed meanwhile.
func (g *Gate) guard(ctx context.Context) {
	tick := time.NewTicker(max(g.o.CutOff/30, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			g.mu.Lock()
			cut := !g.heard.IsZero() && g.cut()
			g.mu.Unlock()
			if cut {
				g.endAll(errCut)
			}
		}
	}
}

// cut tells whether the gate is cut off; g.mu is held.
func (g *Gate) cut() bool { return time.Since(g.heard) > g.o.CutOff }

// hear takes news from the feed.
func (g *Gate) hear(changes []directory.Change) {
	g.mu.Lock()
	if g.heard.IsZero() {
		close(g.begun)
	}
	g.heard = time.Now()
	var ended []*watch
	for _, c := range changes {
		g.usn = max(g.usn, c.USN)
		if c.Ended != 0 {
			ended = append(ended, g.over(c.Ended)...)
		}
		if c.ID == 0 {
			continue
		}
		if c.Epoch != 0 || c.Gone {
			clear(g.refused) // what was wrong may be right now
			g.changes++
		}
		s := g.accounts[c.ID]
		switch {
		case s == nil && (g.asking == 0 || c.Epoch == 0 && !c.Gone):
			continue // nothing here depends on it
		case s == nil:
			s = g.account(c.ID)
		}
		s.gone = s.gone || c.Gone
		if c.Epoch > s.epoch {
			s.epoch = c.Epoch
		}
		s.stale = true
		ended = append(ended, g.expire(s)...)
	}
	g.mu.Unlock()
	for _, w := range ended {
		w.end(errChanged)
	}
}

// expire drops what was granted to s in other epochs, and gives the contexts to
// end; g.mu is held.
func (g *Gate) expire(s *standing) (ended []*watch) {
	for p := range s.proofs {
		if s.gone || p.epoch != s.epoch {
			g.drop(p)
		}
	}
	for w := range s.watches {
		if s.gone || w.epoch != s.epoch {
			delete(s.watches, w)
			ended = append(ended, w)
		}
	}
	return ended
}

func (g *Gate) endAll(cause error) {
	g.mu.Lock()
	var ended []*watch
	for _, s := range g.accounts {
		for w := range s.watches {
			ended = append(ended, w)
		}
		clear(s.watches)
	}
	g.mu.Unlock()
	for _, w := range ended {
		w.end(cause)
	}
}

// account gives what is known of id, newly made if nothing was; g.mu is held.
// Accounts that nothing depends on are forgotten when there are many.
func (g *Gate) account(id directory.ObjectID) *standing {
	if s := g.accounts[id]; s != nil {
		g.byUse.MoveToFront(s.use)
		return s
	}
	s := &standing{id: id, proofs: make(map[*proof]struct{}), watches: make(map[*watch]struct{})}
	s.use = g.byUse.PushFront(s)
	g.accounts[id] = s
	if g.asking > 0 {
		return s // who asks may rely on any of them
	}
	for try := 0; try < 8 && len(g.accounts) > 2*g.o.Proofs; try++ {
		old := g.byUse.Back().Value.(*standing)
		if old == s || len(old.proofs) > 0 || len(old.watches) > 0 {
			g.byUse.MoveToFront(old.use)
			continue
		}
		g.byUse.Remove(old.use)
		delete(g.accounts, old.id)
	}
	return s
}

// open waits for the feed to begin and refuses when it is lost.
func (g *Gate) open(ctx context.Context) error {
	select {
	case <-g.begun:
	default:
		wait := time.NewTimer(startWait)
		defer wait.Stop()
		select {
		case <-g.begun:
		case <-wait.C:
			return errCut
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cut() {
		return errCut
	}
	return nil
}

// Ready tells why the gate refuses everything; nil when it does not.
func (g *Gate) Ready() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.heard.IsZero() || g.cut() {
		return errCut
	}
	return nil
}

// Context gives a context that ends, within a second, when the account of p
// changes its epoch (password, state, roles) or is removed, and when the gate
// is cut off from the directory. context.Cause tells why, as a fault. The
// product itself and the zero Principal have no account: theirs ends with ctx.
func (g *Gate) Context(ctx context.Context, p directory.Principal) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	if p.ID == 0 {
		return ctx, func() { end(context.Canceled) }
	}
	g.mu.Lock()
	s := g.account(p.ID)
	if p.Epoch > s.epoch {
		s.epoch = p.Epoch
	}
	var refuse error
	switch {
	case g.heard.IsZero() || g.cut():
		refuse = errCut
	case s.gone || p.Epoch != s.epoch || g.isOver(p.Session):
		refuse = errChanged
	}
	w := &watch{epoch: p.Epoch, session: p.Session, end: end}
	if refuse == nil {
		s.watches[w] = struct{}{}
		g.watchSession(w)
	}
	ended := g.expire(s)
	g.mu.Unlock()
	for _, w := range ended {
		w.end(errChanged)
	}
	if refuse != nil {
		end(refuse)
	}
	return ctx, func() {
		end(context.Canceled)
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(s.watches, w)
		g.unwatchSession(w)
	}
}

// Verify checks a token by its signature and its account's epoch. It asks the
// directory only about an account or a key that this process has not met.
func (g *Gate) Verify(ctx context.Context, token string) (p directory.Principal, err error) {
	if err := g.open(ctx); err != nil {
		return p, err
	}
	var unavailable error
	p, _, err = parse(token, func(id string) ed25519.PublicKey {
		k, err := g.key(ctx, id)
		unavailable = err
		return k
	})
	if unavailable != nil {
		return directory.Principal{}, unavailable
	}
	if err != nil {
		return directory.Principal{}, err
	}
	if err := g.meet(ctx, p); err != nil {
		return directory.Principal{}, err
	}
	return p, nil
}

// key gives a public key, nil when nobody has it.
func (g *Gate) key(ctx context.Context, id string) (ed25519.PublicKey, error) {
	g.mu.Lock()
	k := g.keys[id]
	again := time.Since(g.keysAt) > keysAgain
	g.mu.Unlock()
	if k != nil || !again {
		return k, nil
	}
	all, err := g.dir.Keys(ctx)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.keys) // a key that is no longer published is no longer good
	for _, k := range all {
		if len(k.Public) == ed25519.PublicKeySize {
			g.keys[k.ID] = k.Public
		}
	}
	g.keysAt = time.Now()
	return g.keys[id], nil
}

// meet checks the epoch of p against the account's, and asks the directory when
// the account is new here.
func (g *Gate) meet(ctx context.Context, p directory.Principal) error {
	g.mu.Lock()
	s := g.accounts[p.ID]
	if s == nil || s.who.ID == 0 {
		g.asking++
		g.mu.Unlock()
		u, err := g.dir.User(ctx, directory.System("gate"), p.ID)
		g.mu.Lock()
		g.asking--
		switch {
		case fault.Of(err) == fault.NotFound && err != nil:
			g.mu.Unlock()
			return errChanged
		case err != nil:
			g.mu.Unlock()
			return err
		}
		s = g.account(p.ID)
		s.learn(u)
	}
	if p.Epoch > s.epoch {
		s.epoch = p.Epoch // the token is newer than the feed
	}
	ok := !s.gone && p.Epoch == s.epoch && !g.isOver(p.Session)
	ended := g.expire(s)
	g.mu.Unlock()
	for _, w := range ended {
		w.end(errChanged)
	}
	if !ok {
		return errChanged
	}
	return nil
}

// learn takes a user as the directory gave it.
func (s *standing) learn(u directory.User) {
	s.stale = false
	if u.Epoch >= s.epoch {
		s.epoch = u.Epoch
	}
	s.who = directory.Principal{
		ID: u.ID, Mailbox: u.Mailbox, HomeMDB: u.HomeMDB, Address: u.Address, Name: u.Name,
		Roles: u.Roles &^ directory.RoleSystem, Epoch: u.Epoch,
	}
}

// isEnded tells the end of a context from a fault of the directory.
func isEnded(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
