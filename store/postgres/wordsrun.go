package postgres

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/store"
)

const (
	// wordsSoon: a mailbox that changed so often is read at the next turn; any other
	// within wordsLate, so that the mail of a quiet one becomes few segments. Who
	// asks meanwhile reads what is new at once.
	wordsSoon = 64
	wordsLate = 30 * time.Second
	// wordsSweep is how often all mailboxes are looked at for what was missed.
	wordsSweep = time.Minute
	// wordsMost mailboxes are found by one sweep.
	wordsMost = 10000
)

// stale are the mailboxes of a database with messages that may not be in the
// index of words.
type stale struct {
	mu      sync.Mutex
	running bool
	boxes   map[store.MailboxID]*staleBox
	behind  int64 // messages, counted by the last sweep
}

type staleBox struct {
	changes int
	due     time.Time
}

// note remembers that a mailbox changed.
func (w *stale) note(box store.MailboxID, changes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.running {
		return
	}
	b := w.boxes[box]
	if b == nil {
		// Not all at the same moment, and not in two processes at once.
		b = &staleBox{due: time.Now().Add(wordsLate/2 + rand.N(wordsLate/2))}
		w.boxes[box] = b
	}
	b.changes += changes
}

// take gives the mailboxes whose turn it is.
func (w *stale) take() (list []store.MailboxID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for box, b := range w.boxes {
		if b.changes >= wordsSoon || now.After(b.due) {
			list = append(list, box)
			delete(w.boxes, box)
		}
	}
	return list
}

// WordsBehind is the number of messages that are not in the index of words yet,
// as of the last minute.
func (s *Store) WordsBehind() int64 {
	n := int64(0)
	for _, h := range s.homes {
		h.stale.mu.Lock()
		n += h.stale.behind
		h.stale.mu.Unlock()
	}
	return n
}

// IndexWords reads what arrives into the index of words until ctx ends. One
// process for each mailbox database is enough; several do no harm. It takes one
// connection and, while mail comes in, half of a processor at most.
func (s *Store) IndexWords(ctx context.Context) error {
	var wait sync.WaitGroup
	for _, h := range s.homes {
		wait.Go(func() { s.indexHome(ctx, h) })
	}
	wait.Wait()
	return ctx.Err()
}

func (s *Store) indexHome(ctx context.Context, h *home) {
	h.stale.mu.Lock()
	h.stale.running, h.stale.boxes = true, map[store.MailboxID]*staleBox{}
	h.stale.mu.Unlock()
	swept := time.Time{}
	failing := false
	told := func(err error) {
		if err != nil && ctx.Err() == nil && !failing {
			s.log.WarnContext(ctx, "the index of words is not filled", slog.String("home", h.name), slog.Any("fault", err))
		}
		failing = err != nil
	}
	for ctx.Err() == nil {
		if time.Since(swept) > wordsSweep {
			told(s.sweepWords(ctx, h))
			swept = time.Now().Add(rand.N(wordsSweep / 4))
		}
		for _, box := range h.stale.take() {
			for more := true; more && ctx.Err() == nil; {
				begun := time.Now()
				var err error
				more, err = s.fillWords(ctx, h, box, 2*fillBatch)
				if told(err); err != nil {
					break
				}
				// Delivery goes first.
				pause(ctx, time.Since(begun))
			}
		}
		pause(ctx, time.Second)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// sweepWords finds mailboxes that are behind, whatever the reason, and counts.
func (s *Store) sweepWords(ctx context.Context, h *home) error {
	rows, err := h.db.Query(ctx, `
		select m.id, m.next_id - 1 - coalesce(p.upto, 0) as behind, sum(m.next_id - 1 - coalesce(p.upto, 0)) over ()
		from mail.mailbox m left join mail.words_position p on p.mailbox = m.id
		where m.next_id - 1 > coalesce(p.upto, 0)
		order by behind desc limit $1`, wordsMost)
	if err != nil {
		return err
	}
	var box, behind, sum, all int64
	if _, err := pgx.ForEachRow(rows, []any{&box, &behind, &sum}, func() error {
		h.stale.note(store.MailboxID(box), int(min(behind, wordsSoon)))
		all = sum
		return nil
	}); err != nil {
		return err
	}
	h.stale.mu.Lock()
	h.stale.behind = all
	h.stale.mu.Unlock()
	return nil
}
