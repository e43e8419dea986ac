// Package feed wakes those who wait for a mailbox to change.
//
// Its law: a change is announced after it is committed, and an announcement
// carries nothing but the mailbox and its newest number: whoever is woken reads
// the journal from the position it holds, so wake-ups may be merged, doubled or
// lost without harm. A waiter costs one small record and one channel, no
// goroutine and no database connection. Announcing never blocks.
//
// The hub knows one process. What other processes change, it hears from
// whoever feeds it (store/postgres: notifications, and every few seconds a
// comparison of all awaited mailboxes).
package feed

import (
	"sync"

	"waypost/store"
)

const shards = 64

// Hub connects announcements with waiters. The zero Hub is ready.
type Hub struct {
	shards [shards]shard
}

type shard struct {
	mu    sync.Mutex
	boxes map[store.MailboxID]*box
}

type box struct {
	seen     store.Seq // the newest change that the watchers were woken for; 0: unknown
	watchers map[*Watcher]struct{}
}

// Watcher waits for one mailbox; it is a store.Watcher.
type Watcher struct {
	hub *Hub
	id  store.MailboxID
	c   chan struct{}
}

var _ store.Watcher = (*Watcher)(nil)

func (h *Hub) shard(id store.MailboxID) *shard { return &h.shards[uint64(id)%shards] }

// Watch begins to watch a mailbox. The caller closes the Watcher.
func (h *Hub) Watch(id store.MailboxID) *Watcher {
	w := &Watcher{hub: h, id: id, c: make(chan struct{}, 1)}
	s := h.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[id]
	if b == nil {
		if s.boxes == nil {
			s.boxes = make(map[store.MailboxID]*box)
		}
		b = &box{watchers: make(map[*Watcher]struct{}, 1)}
		s.boxes[id] = b
	}
	b.watchers[w] = struct{}{}
	return w
}

// C receives when something may have changed since the last receive.
func (w *Watcher) C() <-chan struct{} { return w.c }

// Close ends the watch. It may be called again.
func (w *Watcher) Close() {
	s := w.hub.shard(w.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[w.id]
	if b == nil {
		return
	}
	delete(b.watchers, w)
	if len(b.watchers) == 0 {
		delete(s.boxes, w.id)
	}
}

// Announce tells that the mailbox has reached seq, and wakes its watchers
// unless they were woken for it before.
func (h *Hub) Announce(id store.MailboxID, seq store.Seq) {
	s := h.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[id]
	if b == nil || seq <= b.seen {
		return
	}
	b.seen = seq
	for w := range b.watchers {
		select {
		case w.c <- struct{}{}:
		default: // it has not yet looked at the wake-up before
		}
	}
}

// Awaited lists the mailboxes that are watched now.
func (h *Hub) Awaited() []store.MailboxID {
	var all []store.MailboxID
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		for id := range s.boxes {
			all = append(all, id)
		}
		s.mu.Unlock()
	}
	return all
}
