package delivery

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/store"
)

// Outbox is where mailboxes leave what is to be sent; the store has one for
// each mailbox database. NextOutbox leases entries for a minute.
type Outbox interface {
	Homes() []string
	OutboxReady() <-chan struct{}
	NextOutbox(ctx context.Context, home string, limit int) ([]store.OutboxEntry, error)
	OutboxContent(ctx context.Context, home string, id int64) (store.Content, error)
	DoneOutbox(ctx context.Context, home string, id int64) error
}

// Directory tells whose an address is.
type Directory interface {
	Resolve(ctx context.Context, address string) (directory.Resolution, error)
	Expand(ctx context.Context, group directory.ObjectID, p directory.Page) ([]directory.Target, error)
	MaySendTo(ctx context.Context, from directory.Sender, group directory.ObjectID) ([]directory.Target, error)
}

// Deliverer puts a message into mailboxes, near or far.
type Deliverer interface {
	Deliver(ctx context.Context, env envelope.Envelope, to []directory.Target, body envelope.Body) []error
}

// Transport commits a message to the queue, near or far. Under an id that it
// has seen it changes nothing.
type Transport interface {
	Enqueue(ctx context.Context, s envelope.Submission, body envelope.Body) error
}

// MoverOptions of a mover.
type MoverOptions struct {
	Hostname string
	Poll     time.Duration // look without being woken; 1 s when 0
	Parallel int           // messages at once; 8 when 0
	Log      *slog.Logger
}

// Mover takes messages from the outbox: to mailboxes at once, everything else to
// the transport. Any number of movers may run.
type Mover struct {
	outbox    Outbox
	dir       Directory
	deliver   Deliverer
	transport Transport
	o         MoverOptions
}

// NewMover makes a mover.
func NewMover(o Outbox, dir Directory, d Deliverer, t Transport, opt MoverOptions) *Mover {
	if opt.Poll == 0 {
		opt.Poll = time.Second
	}
	if opt.Parallel == 0 {
		opt.Parallel = 8
	}
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	return &Mover{outbox: o, dir: dir, deliver: d, transport: t, o: opt}
}

const (
	// moveBatch entries are taken at a time, few enough to be done within their lease.
	moveBatch = 32
	// moveTimeout ends a hand-over before another mover may take the entry.
	moveTimeout = 50 * time.Second
	// maxNear members of a list are delivered to from here; larger lists are
	// expanded by the transport.
	maxNear = 100
)

// Run moves until ctx ends. What it was about is finished by whoever comes
// next, under the same id.
func (m *Mover) Run(ctx context.Context) error {
	for {
		moved := 0
		for _, home := range m.outbox.Homes() {
			n, err := m.round(ctx, home)
			if err != nil && ctx.Err() == nil {
				m.o.Log.Error("outbox", "proto", "mover", "cmd", "take", "home", home, "fault", fault.Of(err), "err", err)
			}
			moved += n
		}
		if moved > 0 && ctx.Err() == nil {
			continue
		}
		select {
		case <-m.outbox.OutboxReady():
		case <-time.After(m.o.Poll):
		case <-ctx.Done():
			return nil
		}
	}
}

// round takes some entries of a mailbox database and moves them.
func (m *Mover) round(ctx context.Context, home string) (int, error) {
	list, err := m.outbox.NextOutbox(ctx, home, moveBatch)
	if err != nil {
		return 0, err
	}
	slots := make(chan struct{}, m.o.Parallel)
	var wg sync.WaitGroup
	for _, e := range list {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			m.move(ctx, home, e)
		})
	}
	wg.Wait()
	return len(list), nil
}

// move hands one entry on and then removes it. Whatever fails, the entry stays
// and is taken again when its lease has run out.
func (m *Mover) move(ctx context.Context, home string, e store.OutboxEntry) {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	id := OutboxID(home, e)
	var near, queued int
	err := func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		near, queued, err = m.handOver(ctx, home, id, e)
		return err
	}()
	level, result := slog.LevelInfo, "moved"
	if err != nil {
		level, result = slog.LevelError, "later"
	}
	m.o.Log.Log(ctx, level, "message", "proto", "mover", "cmd", "move", "id", id, "from", e.From, "near", near, "queued", queued,
		"dur", time.Since(begun), "result", result, "err", err)
}

// OutboxID is the id of the message of an outbox entry. The time tells entries
// apart whose numbers were given out again after a database was restored.
func OutboxID(home string, e store.OutboxEntry) string {
	if !envelope.ValidID(home) || len(home) > 60 {
		home = hex.EncodeToString([]byte(home))
		home = home[:min(len(home), 60)]
	}
	return fmt.Sprintf("o:%s:%d:%x", home, e.ID, e.Created.UnixMilli())
}

func (m *Mover) handOver(ctx context.Context, home, id string, e store.OutboxEntry) (near, queued int, err error) {
	c, err := m.outbox.OutboxContent(ctx, home, e.ID)
	if err != nil {
		return 0, 0, err
	}
	body := stored{c}
	env := envelope.Envelope{
		ID: id, From: e.From, Trusted: true, Created: e.Created,
		Hop: &envelope.Hop{By: m.o.Hostname, ID: id, Time: e.Created},
	}
	targets, rest := m.sort(ctx, e.From, e.Recipients)
	if len(targets) > 0 {
		for i, err := range m.deliver.Deliver(ctx, env, targets, body) {
			if err != nil {
				// The relay tries again, or tells the sender.
				rest = append(rest, targets[i].Address)
				continue
			}
			near++
		}
	}
	if len(rest) > 0 {
		for _, addr := range append(rest, e.From) {
			env.UTF8 = env.UTF8 || !envelope.ASCII(addr)
		}
		if err := m.transport.Enqueue(ctx, envelope.Submission{Envelope: env, To: rest}, body); err != nil {
			return near, 0, err
		}
	}
	return near, len(rest), m.outbox.DoneOutbox(ctx, home, e.ID)
}

// sort gives the mailboxes that can be delivered to at once, each once, and
// the addresses for the transport, which forwards to people elsewhere. When in doubt the transport finds out.
func (m *Mover) sort(ctx context.Context, from string, recipients []string) (targets []directory.Target, rest []string) {
	seen := make(map[directory.MailboxID]bool)
	named := make(map[string]bool)
	add := func(some ...directory.Target) {
		for _, t := range some {
			if !seen[t.Mailbox] {
				seen[t.Mailbox] = true
				targets = append(targets, t)
			}
		}
	}
	for _, raw := range recipients {
		addr, err := envelope.Canonical(raw)
		if err != nil {
			addr = envelope.Undeliverable(raw)
		}
		if named[addr] {
			continue
		}
		named[addr] = true
		if err != nil {
			rest = append(rest, addr)
			continue
		}
		r, err := m.dir.Resolve(ctx, addr)
		switch {
		case err == nil && r.Standing == directory.Person && r.Forward == "":
			add(r.Target)
			continue
		case err == nil && r.Standing == directory.List:
			// Whoever may not send there, or not without approval, is the transport's.
			approvers, err := m.dir.MaySendTo(ctx, directory.Sender{Address: from, Known: true}, r.Group)
			if err != nil || len(approvers) > 0 {
				break
			}
			some, err := m.dir.Expand(ctx, r.Group, directory.Page{Limit: maxNear})
			if err == nil && len(some) < maxNear {
				for _, t := range some {
					if t.Forward != "" {
						rest = append(rest, t.Forward)
					}
					if t.Mailbox != 0 {
						add(t)
					}
				}
				continue
			}
		}
		rest = append(rest, addr)
	}
	return targets, rest
}

// stored is a message in the store.
type stored struct{ store.Content }

// Reader reads it from the beginning, in pieces that make few look-ups.
func (s stored) Reader() io.Reader {
	size := int(min(s.Size(), 256<<10))
	return bufio.NewReaderSize(io.NewSectionReader(s.Content, 0, s.Size()), size)
}
