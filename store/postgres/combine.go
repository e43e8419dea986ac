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
// one that came meanwhile. Messages to be added are combined so, and objects to
// be put, each kind by itself.
//
// A mailbox whose counter row somebody else holds leaves the shared transaction
// and waits for the row in one of its own, and its later additions wait behind
// that, so that a long change of one mailbox delays nobody else's mail.
type combiner[T combinable[T]] struct {
	mu      sync.Mutex
	waiting []T
	running int                      // shared transactions under way
	apart   map[store.MailboxID]bool // mailboxes that wait in one of their own
}

// combinable is what a combiner takes.
type combinable[T any] interface {
	comparable
	at() *slot[T]
	fail(error) // undoes what was set, and sets this
}

// slot is a combinable's place in a combiner.
type slot[T any] struct {
	box    store.MailboxID
	weight int           // bytes that it writes
	lead   chan turn[T]  // receives when this one's caller must run a transaction
	done   chan struct{} // closed when it is known what became of it
}

func (p *slot[T]) at() *slot[T] { return p }

// turn is a transaction to be run: additions to any mailboxes, or apart, those
// of one.
type turn[T any] struct {
	batch []T
	apart bool
}

// submit has a added, by this call or by another's. run runs a turn, sets what
// became of each addition, and gives back those whose mailbox was busy. An error
// says that it was not tried.
func (c *combiner[T]) submit(ctx context.Context, a T, run func(context.Context, turn[T]) (busy []T)) error {
	at := a.at()
	at.lead, at.done = make(chan turn[T], 1), make(chan struct{})
	c.mu.Lock()
	c.waiting = append(c.waiting, a)
	c.start()
	c.mu.Unlock()

	given := ctx.Done()
	for {
		select {
		case <-at.done:
			return nil
		case t := <-at.lead:
			c.run(ctx, t, run)
		case <-given:
			if c.withdraw(a) {
				return ctx.Err()
			}
			given = nil // it is in a transaction: the caller must hear what became of it
		}
	}
}

func (c *combiner[T]) run(ctx context.Context, t turn[T], run func(context.Context, turn[T]) []T) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), addTimeout)
	defer cancel()
	var busy []T
	returned := false
	defer func() { // after a panic too nobody waits for ever, or takes it for done
		for _, b := range t.batch {
			if slices.Contains(busy, b) {
				continue
			}
			if !returned {
				b.fail(fault.New(fault.Internal, "the transaction came to no end"))
			}
			close(b.at().done)
		}
		c.end(t, busy)
	}()
	busy = run(ctx, t)
	returned = true
}

// end hands over to others after a turn.
func (c *combiner[T]) end(t turn[T], busy []T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.apart {
		delete(c.apart, t.batch[0].at().box)
	} else {
		c.running--
	}
	for len(busy) > 0 {
		box := busy[0].at().box
		var own []T
		busy = slices.DeleteFunc(slices.Clone(busy), func(a T) bool {
			if a.at().box == box {
				own = append(own, a)
			}
			return a.at().box == box
		})
		if c.apart[box] { // an earlier one waits already: behind it
			c.waiting = append(own, c.waiting...)
			continue
		}
		if c.apart == nil {
			c.apart = make(map[store.MailboxID]bool)
		}
		c.apart[box] = true
		own[0].at().lead <- turn[T]{own, true}
	}
	c.start()
}

// start begins shared transactions as long as there are lanes and additions
// for them.
func (c *combiner[T]) start() {
	for c.running < lanes {
		batch := c.take()
		if len(batch) == 0 {
			return
		}
		c.running++
		batch[0].at().lead <- turn[T]{batch: batch}
	}
}

// take gives the next additions to share a transaction.
func (c *combiner[T]) take() (batch []T) {
	bytes := 0
	full := false
	c.waiting = slices.DeleteFunc(c.waiting, func(a T) bool {
		if full || c.apart[a.at().box] {
			return false
		}
		bytes += a.at().weight
		if full = len(batch) == combine || len(batch) > 0 && bytes > combineBytes; full {
			return false
		}
		batch = append(batch, a)
		return true
	})
	return batch
}

// withdraw takes an addition out again and tells whether that was in time.
func (c *combiner[T]) withdraw(a T) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slices.Index(c.waiting, a)
	if at < 0 {
		return false
	}
	c.waiting = slices.Delete(c.waiting, at, at+1)
	return true
}

// together runs one turn of a combiner: alone changes one mailbox, shared any
// number of them, and both set what became of each addition.
func together[T combinable[T]](ctx context.Context, t turn[T], alone func(context.Context, []T) error, shared func(context.Context, []T) ([]T, error)) (busy []T) {
	var err error
	if t.apart {
		err = alone(ctx, t.batch)
	} else {
		busy, err = shared(ctx, t.batch)
	}
	if err == nil {
		return busy
	}
	if fault.Of(err) == fault.Unavailable && !errors.Is(err, errContentGone) || len(t.batch) == 1 {
		for _, a := range t.batch {
			a.fail(err)
		}
		return nil
	}
	// One bad message hurts nobody else.
	for _, a := range t.batch {
		if err := alone(ctx, []T{a}); err != nil {
			a.fail(err)
		}
	}
	return nil
}
