package authn

import (
	"container/list"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
)

// mac is an HMAC over a login and a password under the process's secret: it
// says nothing without that, and that dies with the process.
type mac [sha256.Size]byte

// proof is a password that was right in one epoch.
type proof struct {
	key   mac
	of    *standing
	epoch directory.Epoch
	used  time.Time
	place *list.Element
	until time.Time // it is no proof from then on; zero: never
	app   bool      // an application password
}

// refusal is a password that was refused, and why.
type refusal struct {
	at  time.Time
	err error
}

// good tells whether p still proves something; g.mu is held.
func (g *Gate) good(p *proof) bool {
	return p != nil && !p.of.gone && p.epoch == p.of.epoch && time.Since(p.used) < g.o.Idle &&
		(p.until.IsZero() || time.Now().Before(p.until))
}

// as is who as p shows him: an application password is less than its owner.
func (p *proof) as(who directory.Principal) directory.Principal {
	if p.app {
		who.App, who.Roles = true, who.Roles&^directory.RoleAdmin
	}
	return who
}

// flight is one sign-in under way which others with the same password join.
type flight struct {
	done chan struct{}
	who  directory.Principal
	err  error
}

const (
	// refusedFor is how long a wrong password is refused again without another
	// computation; a phone repeats it every few seconds, and that is no guess.
	refusedFor = 30 * time.Second
	// maxRefused bounds the wrong passwords remembered.
	maxRefused = 10000
	// appsAgain is how long an application password is answered from memory, so
	// that the directory knows when it was used last.
	appsAgain = time.Hour
	// ownAgain is the same for the account's own password: a policy that lets it
	// expire sooner is heard of then.
	ownAgain = 7 * 24 * time.Hour
)

func (g *Gate) mac(c directory.Credentials) (m mac) {
	h := hmac.New(sha256.New, g.secret)
	var n [9]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(c.Login)))
	if c.Program() { // where other passwords are right
		n[8] = 1
	}
	h.Write(n[:])
	h.Write([]byte(c.Login))
	h.Write([]byte(c.Password))
	h.Sum(m[:0])
	return m
}

// SignIn answers a password that was right before from memory, in microseconds
// and without the directory; otherwise it asks the directory. See
// directory.Directory for its faults; Unavailable when the gate is cut off.
func (g *Gate) SignIn(ctx context.Context, c directory.Credentials) (directory.Principal, error) {
	if err := g.open(ctx); err != nil {
		return directory.Principal{}, err
	}
	if len(c.Login) > maxLogin || len(c.Password) > maxPassword {
		return directory.Principal{}, errWrong
	}
	if c.Factor != "" {
		// It is good once, and so is the answer.
		got, err := g.Session(ctx, c)
		return got.Principal, err
	}
	key := g.mac(c)
	for {
		g.mu.Lock()
		if p := g.proofs[key]; g.good(p) {
			p.used = time.Now()
			g.byProof.MoveToFront(p.place)
			g.byUse.MoveToFront(p.of.use)
			who, stale := p.as(p.of.who), p.of.stale
			p.of.stale = false // one asks, the others go on
			g.mu.Unlock()
			if stale {
				who, err := g.refresh(ctx, who)
				return p.as(who), err
			}
			return who, nil
		}
		if r, ok := g.refused[key]; ok && time.Since(r.at) < refusedFor {
			g.mu.Unlock()
			return directory.Principal{}, r.err
		}
		f := g.flights[key]
		if f == nil {
			f = &flight{done: make(chan struct{})}
			g.flights[key] = f
			g.asking++
			at := g.changes
			g.mu.Unlock()
			g.ask(ctx, key, at, f, c)
			return f.who, f.err
		}
		g.mu.Unlock()
		select {
		case <-f.done:
			if !isEnded(f.err) {
				return f.who, f.err
			}
			// The one who asked went away: ask again.
		case <-ctx.Done():
			return directory.Principal{}, ctx.Err()
		}
	}
}

// ask signs in at the directory and remembers the outcome; at is how many
// changes had been heard when it began.
func (g *Gate) ask(ctx context.Context, key mac, at int64, f *flight, c directory.Credentials) {
	defer close(f.done)
	session, err := g.dir.SignIn(ctx, c)
	g.mu.Lock()
	g.asking--
	if g.flights[key] == f {
		delete(g.flights, key)
	}
	if err != nil {
		if fault.Of(err) == fault.Unauthenticated && at == g.changes {
			g.refuse(key, err)
		}
		g.mu.Unlock()
		f.err = err
		return
	}
	s, ended := g.admit(session.Principal)
	if s == nil {
		f.err = errWrong // it changed while the password was checked
	} else {
		f.who = session.Principal
		g.remember(key, s, session)
	}
	g.mu.Unlock()
	for _, w := range ended {
		w.end(errChanged)
	}
}

// admit takes note of who has just signed in; nil when that is over already. It
// gives the contexts to end; g.mu is held.
func (g *Gate) admit(who directory.Principal) (s *standing, ended []*watch) {
	s = g.account(who.ID)
	if who.Epoch > s.epoch {
		s.epoch = who.Epoch
	}
	ended = g.expire(s)
	if s.gone || who.Epoch != s.epoch {
		return nil, ended
	}
	if !who.App { // whose roles are less
		s.who, s.stale = who, false
	} else if s.who.ID == 0 {
		s.who, s.stale = who, true
		s.who.App = false
	}
	return s, ended
}

// Session is SignIn for doors that people sign in at: it asks the directory
// every time, and gives the token and what the person is to be told.
func (g *Gate) Session(ctx context.Context, c directory.Credentials) (directory.Session, error) {
	return g.enter(ctx, func() (directory.Session, error) { return g.dir.SignIn(ctx, c) })
}

// RenewPassword is a person's own change of a password; see directory.Directory.
func (g *Gate) RenewPassword(ctx context.Context, c directory.Credentials, password string) (directory.Session, error) {
	return g.enter(ctx, func() (directory.Session, error) { return g.dir.RenewPassword(ctx, c, password) })
}

// enter asks the directory to let somebody in.
func (g *Gate) enter(ctx context.Context, ask func() (directory.Session, error)) (directory.Session, error) {
	if err := g.open(ctx); err != nil {
		return directory.Session{}, err
	}
	g.mu.Lock()
	g.asking++
	g.mu.Unlock()
	session, err := ask()
	g.mu.Lock()
	g.asking--
	var ended []*watch
	if err == nil {
		var s *standing
		if s, ended = g.admit(session.Principal); s == nil {
			session, err = directory.Session{}, errWrong
		}
	}
	g.mu.Unlock()
	for _, w := range ended {
		w.end(errChanged)
	}
	return session, err
}

// remember keeps a proof; g.mu is held.
func (g *Gate) remember(key mac, s *standing, from directory.Session) {
	if p := g.proofs[key]; p != nil {
		g.drop(p)
	}
	p := &proof{key: key, of: s, epoch: s.epoch, used: time.Now(), until: from.Until, app: from.Principal.App}
	again := p.used.Add(ownAgain)
	if p.app {
		again = p.used.Add(appsAgain)
	}
	if p.until.IsZero() || again.Before(p.until) {
		p.until = again
	}
	p.place = g.byProof.PushFront(p)
	g.proofs[key] = p
	s.proofs[p] = struct{}{}
	for len(g.proofs) > g.o.Proofs {
		g.drop(g.byProof.Back().Value.(*proof))
	}
	// Those that died of age; the oldest are at the back.
	for range 2 {
		if last := g.byProof.Back().Value.(*proof); time.Since(last.used) > g.o.Idle {
			g.drop(last)
		}
	}
}

// drop forgets a proof; g.mu is held.
func (g *Gate) drop(p *proof) {
	delete(g.proofs, p.key)
	delete(p.of.proofs, p)
	g.byProof.Remove(p.place)
}

// refuse remembers a wrong password for a while; g.mu is held.
func (g *Gate) refuse(key mac, err error) {
	if len(g.refused) >= maxRefused {
		clear(g.refused)
	}
	g.refused[key] = refusal{time.Now(), err}
}

// refresh reads a principal again whose attributes changed in the same epoch
// (its name, address or home). Without the directory the old one serves on: its
// epoch is what counts.
func (g *Gate) refresh(ctx context.Context, who directory.Principal) (directory.Principal, error) {
	u, err := g.dir.User(ctx, directory.System("gate"), who.ID)
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.accounts[who.ID]
	switch {
	case s == nil:
		return who, nil
	case err != nil && fault.Of(err) == fault.NotFound:
		return directory.Principal{}, errChanged
	case err != nil:
		s.stale = true
		return who, nil
	case u.Epoch != who.Epoch || !u.Enabled:
		return directory.Principal{}, errWrong // the feed is about to tell
	}
	stale := s.stale // changed again meanwhile
	s.learn(u)
	s.stale = stale
	return s.who, nil
}
