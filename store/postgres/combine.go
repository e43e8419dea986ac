package postgres

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"waypost/internal/fault"
	"waypost/store"
)

const (
	// combine bounds how many additions share a transaction.
	combine = 50
	// combineBytes bounds their contents together.
	combineBytes = 2 << 20
	// addTimeout bounds a combined transaction, which outlives the request of
	// the one that happens to run it.
	addTimeout = time.Minute
)

// lanes is how many transactions of additions a process runs at a time in a
// mailbox database. On two cores one lane is fastest (measured with 8 and 32
// writers: 1,000/s against 750/s with four): what it loses while it waits for
// the disk it wins by filling the next transaction.
var lanes = min(max(runtime.NumCPU()/4, 1), 4)

// combiner lets the additions that wait for a mailbox database share
// transactions, whatever their mailboxes: most of the cost of a small
// transaction is that it is one. There is no goroutine of its own: the first
// that comes runs a transaction with all that wait by then, and hands over to
// one that came meanwhile.
//
// A mailbox whose counter row somebody else holds leaves the shared transaction
// and waits for the row in one of its own, and its later additions wait behind
// that, so that a long change of one mailbox delays nobody else's mail.
type combiner struct {
	mu      sync.Mutex
	waiting []*addition
	running int                      // shared transactions under way
	apart   map[store.MailboxID]bool // mailboxes that wait in one of their own
}

// turn is a transaction to be run: additions to any mailboxes, or apart, those
// of one.
type turn struct {
	batch []*addition
	apart bool
}

// submit has a added, by this call or by another's. run runs a turn, sets what
// became of each addition, and gives back those whose mailbox was busy.
func (c *combiner) submit(ctx context.Context, a *addition, run func(context.Context, turn) (busy []*addition)) (store.Added, error) {
	a.lead, a.done = make(chan turn, 1), make(chan struct{})
	c.mu.Lock()
	c.waiting = append(c.waiting, a)
	c.start()
	c.mu.Unlock()

	given := ctx.Done()
	for {
		select {
		case <-a.done:
			return a.res, a.err
		case t := <-a.lead:
			c.run(ctx, t, run)
		case <-given:
			if c.withdraw(a) {
				return store.Added{}, ctx.Err()
			}
			given = nil // it is in a transaction: the caller must hear what became of it
		}
	}
}

func (c *combiner) run(ctx context.Context, t turn, run func(context.Context, turn) []*addition) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), addTimeout)
	defer cancel()
	var busy []*addition
	returned := false
	defer func() { // after a panic too nobody waits for ever, or takes it for done
		for _, b := range t.batch {
			if slices.Contains(busy, b) {
				continue
			}
			if !returned {
				b.res, b.err = store.Added{}, fault.New(fault.Internal, "the transaction came to no end")
			}
			close(b.done)
		}
		c.end(t, busy)
	}()
	busy = run(ctx, t)
	returned = true
}

// end hands over to others after a turn.
func (c *combiner) end(t turn, busy []*addition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.apart {
		delete(c.apart, t.batch[0].box)
	} else {
		c.running--
	}
	for len(busy) > 0 {
		box := busy[0].box
		var own []*addition
		busy = slices.DeleteFunc(slices.Clone(busy), func(a *addition) bool {
			if a.box == box {
				own = append(own, a)
			}
			return a.box == box
		})
		if c.apart[box] { // an earlier one waits already: behind it
			c.waiting = append(own, c.waiting...)
			continue
		}
		if c.apart == nil {
			c.apart = make(map[store.MailboxID]bool)
		}
		c.apart[box] = true
		own[0].lead <- turn{own, true}
	}
	c.start()
}

// start begins shared transactions as long as there are lanes and additions
// for them.
func (c *combiner) start() {
	for c.running < lanes {
		batch := c.take()
		if len(batch) == 0 {
			return
		}
		c.running++
		batch[0].lead <- turn{batch: batch}
	}
}

// take gives the next additions to share a transaction.
func (c *combiner) take() (batch []*addition) {
	bytes := 0
	full := false
	c.waiting = slices.DeleteFunc(c.waiting, func(a *addition) bool {
		if full || c.apart[a.box] {
			return false
		}
		bytes += len(a.chunk) + len(a.summary) + len(a.m.Prefix)
		if full = len(batch) == combine || len(batch) > 0 && bytes > combineBytes; full {
			return false
		}
		batch = append(batch, a)
		return true
	})
	return batch
}

// withdraw takes an addition out again and tells whether that was in time.
func (c *combiner) withdraw(a *addition) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slices.Index(c.waiting, a)
	if at < 0 {
		return false
	}
	c.waiting = slices.Delete(c.waiting, at, at+1)
	return true
}

// addTurn runs one turn of a combiner and sets what became of each addition.
func (s *Store) addTurn(ctx context.Context, h *home, t turn) (busy []*addition) {
	var err error
	if t.apart {
		err = s.addOnce(ctx, h, t.batch[0].box, t.batch)
	} else {
		busy, err = s.addMany(ctx, h, t.batch)
	}
	if err == nil {
		return busy
	}
	if fault.Of(err) == fault.Unavailable && !errors.Is(err, errContentGone) || len(t.batch) == 1 {
		for _, a := range t.batch {
			a.res, a.err = store.Added{}, err
		}
		return nil
	}
	// One bad message hurts nobody else.
	for _, a := range t.batch {
		if err := s.addOnce(ctx, h, a.box, []*addition{a}); err != nil {
			a.res, a.err = store.Added{}, err
		}
	}
	return nil
}
