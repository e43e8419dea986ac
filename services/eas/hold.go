package eas

import (
	"context"
	"net/http"
	"sync"
	"time"

	"waypost/internal/fault"
	"waypost/store"
)

type watchStore interface {
	Watch(box store.MailboxID) store.Watcher
}

// held are the requests that wait for something to happen, at most one of each
// kind for a phone. A waiter costs its goroutine and no database connection.
type held struct {
	mu sync.Mutex
	by map[heldKey]chan struct{}
}

type heldKey struct {
	box    store.MailboxID
	device string
	cmd    string
}

func newHeld() *held { return &held{by: map[heldKey]chan struct{}{}} }

// enter registers a request and ends the one of the same phone that was held
// before. The channel closes when a later one does the same.
func (h *held) enter(k heldKey, most int) (<-chan struct{}, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before, ok := h.by[k]
	if !ok && len(h.by) >= most {
		return nil, fault.New(fault.Limit, "too many waiting phones")
	}
	if ok {
		close(before)
	}
	mine := make(chan struct{})
	h.by[k] = mine
	return mine, nil
}

func (h *held) leave(k heldKey, mine <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.by[k] == mine {
		delete(h.by, k)
	}
}

// hold waits until ready says that there is an answer (true), or the time is up
// (false). It asks ready at once and after each change of the mailbox, and
// misses none. A later request of the same phone, and the stop of the server,
// end it like the time. The caller lets go of its buffers before.
func (s *Server) hold(ctx context.Context, r *request, d time.Duration, ready func(context.Context) (bool, error)) (bool, error) {
	if b, ok := s.auth.(Binder); ok {
		bound, release := b.Context(ctx, r.who)
		defer release()
		ctx = bound
	}
	key := heldKey{r.box(), r.device.ID, r.cmd}
	mine, err := s.held.enter(key, s.opt.MaxHeld)
	if err != nil {
		return false, err
	}
	defer s.held.leave(key, mine)
	w := s.store.Watch(r.box())
	defer w.Close()
	// The server's own deadlines are for requests that do not wait.
	rc := http.NewResponseController(r.out.w)
	until := time.Now().Add(d + time.Minute)
	_ = rc.SetWriteDeadline(until) // a recorder in a test has none
	_ = rc.SetReadDeadline(until)
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		ok, err := ready(ctx)
		if ok || err != nil && ctx.Err() == nil {
			return ok, err
		}
		select {
		case <-w.C():
		case <-timer.C:
			return false, nil
		case <-mine:
			return false, nil
		case <-s.stopping:
			return false, nil
		case <-ctx.Done():
			if r.http.Context().Err() == nil { // the account's epoch has changed
				return false, fault.New(fault.Unauthenticated, "sign in again")
			}
			return false, ctx.Err() // the phone has gone
		}
	}
}
