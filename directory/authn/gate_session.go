package authn

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
)

const (
	// endedFor is how long a session's end is remembered: longer than a token of it
	// may live.
	endedFor = tokenLife + leeway + 5*time.Minute
	// sessionAgain is how long a browser's secret is answered from memory, so that
	// the directory knows when it was used last.
	sessionAgain = 30 * time.Second
	maxSeats     = 50000
)

// seat is a browser's session that was good a moment ago.
type seat struct {
	info directory.SessionInfo
	at   time.Time
}

// over takes the end of a session from the feed, and gives the contexts to end;
// g.mu is held.
func (g *Gate) over(id directory.SessionID) (ended []*watch) {
	now := time.Now()
	g.ended[id] = now
	if len(g.ended)%1024 == 0 {
		for old, at := range g.ended {
			if now.Sub(at) > endedFor {
				delete(g.ended, old)
			}
		}
	}
	for w := range g.bySession[id] {
		ended = append(ended, w)
	}
	delete(g.bySession, id)
	return ended
}

// watchSession remembers that a context is of a session; g.mu is held.
func (g *Gate) watchSession(w *watch) {
	if w.session == 0 {
		return
	}
	if g.bySession[w.session] == nil {
		g.bySession[w.session] = make(map[*watch]struct{})
	}
	g.bySession[w.session][w] = struct{}{}
}

func (g *Gate) unwatchSession(w *watch) {
	delete(g.bySession[w.session], w)
	if len(g.bySession[w.session]) == 0 {
		delete(g.bySession, w.session)
	}
}

// isOver tells whether a session has ended; g.mu is held.
func (g *Gate) isOver(id directory.SessionID) bool {
	_, over := g.ended[id]
	return over && id != 0
}

// Browser gives the session whose secret a browser's cookie holds, for half a
// minute from memory: until it ends, as the feed tells. Unauthenticated when there
// is none.
func (g *Gate) Browser(ctx context.Context, secret string, at directory.Place) (directory.SessionInfo, error) {
	if err := g.open(ctx); err != nil {
		return directory.SessionInfo{}, err
	}
	if len(secret) > maxToken {
		return directory.SessionInfo{}, errSession
	}
	var key mac
	h := hmac.New(sha256.New, g.secret)
	h.Write([]byte("session\x00" + directory.ClientKey(at.From) + "\x00" + secret))
	h.Sum(key[:0])
	g.mu.Lock()
	if b, ok := g.seats[key]; ok {
		s := g.accounts[b.info.Principal.ID]
		if time.Since(b.at) < sessionAgain && !g.isOver(b.info.ID) && s != nil && !s.gone && !s.stale && s.epoch == b.info.Principal.Epoch {
			g.mu.Unlock()
			return b.info, nil
		}
		delete(g.seats, key)
	}
	g.asking++
	g.mu.Unlock()
	info, err := g.dir.Session(ctx, secret, at)
	g.mu.Lock()
	g.asking--
	var ended []*watch
	if err == nil {
		var s *standing
		switch s, ended = g.admit(info.Principal); {
		case s == nil || g.isOver(info.ID):
			info, err = directory.SessionInfo{}, errSession
		default:
			if len(g.seats) >= maxSeats {
				clear(g.seats)
			}
			g.seats[key] = seat{info, time.Now()}
		}
	}
	g.mu.Unlock()
	for _, w := range ended {
		w.end(errChanged)
	}
	return info, err
}

// Bearer checks an access token, and that it was granted for at least one of the
// things named.
func (g *Gate) Bearer(ctx context.Context, token string, scopes ...string) (directory.Principal, error) {
	p, err := g.Verify(ctx, token)
	if err != nil {
		return p, err
	}
	for _, scope := range scopes {
		if p.May(scope) {
			return p, nil
		}
	}
	return directory.Principal{}, ErrScope
}

// ErrScope is Bearer's for a good token that was granted for other things.
var ErrScope = fault.New(fault.Denied, "the token was not granted for this")
