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

// vigil is one wait: it sees every change of the mailbox from begin to end.
type vigil struct {
	s     *Server
	key   heldKey
	mine  <-chan struct{}
	watch store.Watcher
	until time.Time
}

// beginVigil takes the place of an earlier request of the same phone and begins
// to watch. The caller ends it.
func (s *Server) beginVigil(r *request, d time.Duration) (*vigil, error) {
	key := heldKey{r.box(), r.device.ID, r.cmd}
	mine, err := s.held.enter(key, s.opt.MaxHeld)
	if err != nil {
		return nil, err
	}
	return &vigil{s: s, key: key, mine: mine, watch: s.store.Watch(r.box()), until: time.Now().Add(d)}, nil
}

func (v *vigil) end() {
	v.watch.Close()
	v.s.held.leave(v.key, v.mine)
}

// wait returns true when ready says that there is an answer, and false when the
// time is up. It asks ready after each change of the mailbox, and misses none.
// A later request of the same phone, and the stop of the server, end it like
// the time; the end of ctx is an error. alive, if there, is asked now and then
// whether the phone is still there.
func (v *vigil) wait(ctx context.Context, ready func(context.Context) (bool, error), alive func() bool) (bool, error) {
	timer := time.NewTimer(v.next(alive))
	defer timer.Stop()
	for {
		select {
		case <-v.watch.C():
			if ok, err := ready(ctx); ok || err != nil && ctx.Err() == nil {
				return ok, err
			}
		case <-timer.C:
			if !time.Now().Before(v.until) {
				return false, nil
			}
			if !alive() {
				return false, errGone
			}
			timer.Reset(v.next(alive))
		case <-v.mine:
			return false, nil
		case <-v.s.stopping:
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

func (v *vigil) next(alive func() bool) time.Duration {
	d := time.Until(v.until)
	if alive != nil {
		d = min(d, v.s.aliveEvery)
	}
	return max(d, 0)
}

// errGone is the end of a wait whose phone has hung up.
var errGone = fault.New(fault.Unavailable, "the phone has gone")

// bind ends ctx with the account's epoch, where the sign-in can tell.
func (s *Server) bind(ctx context.Context, r *request) (context.Context, context.CancelFunc) {
	if b, ok := s.auth.(Binder); ok {
		return b.Context(ctx, r.who)
	}
	return context.WithCancel(ctx)
}

// holdHere waits on the request's own goroutine.
func (s *Server) holdHere(ctx context.Context, r *request, v *vigil, ready func(context.Context) (bool, error)) (bool, error) {
	ctx, release := s.bind(ctx, r)
	defer release()
	// The server's own deadlines are for requests that do not wait.
	rc := http.NewResponseController(r.out.w)
	deadline := v.until.Add(time.Minute)
	_ = rc.SetWriteDeadline(deadline) // a recorder in a test has none
	_ = rc.SetReadDeadline(deadline)
	return v.wait(ctx, ready, nil)
}
