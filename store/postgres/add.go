package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

// addition is a message to be added, prepared as far as that goes without the
// counter row: encoded, folded, compressed, hashed.
type addition struct {
	m        *store.NewMessage
	system   bool   // added by the product itself, not by the owner
	once     string // key in mail.once; "" for none
	keywords []string
	props    *string
	received time.Time
	size     int64
	summary  []byte
	subject  string
	people   string
	preview  string
	sent     *time.Time
	chunk    []byte // the small content, packed
	keys     threadKeys

	// What became of it.
	res store.Added
	err error

	// Of the combiner.
	lead  chan struct{} // receives when this one must run the next transaction
	done  chan struct{} // closed when res and err are set
	taken bool
}

// prepare checks a message and does all work that needs no database.
func (s *Store) prepare(m *store.NewMessage, owner string) (*addition, error) {
	a := &addition{m: m, size: int64(len(m.Prefix)) + m.Blob.Size}
	switch {
	case m.Summary == nil:
		return nil, fault.New(fault.Invalid, "a message without a summary")
	case len(m.Once) > maxOnce || m.Once != clean(m.Once):
		return nil, fault.New(fault.Invalid, "the key of a message has at most %d bytes of text", maxOnce)
	case len(m.Prefix) > maxPrefix:
		return nil, fault.New(fault.TooLarge, "the trace headers are too large")
	case a.size > s.opts.MaxMessage:
		return nil, fault.New(fault.TooLarge, "the message is larger than %d bytes", s.opts.MaxMessage)
	}
	var err error
	if a.keywords, err = keywords(m.Keywords); err != nil {
		return nil, err
	}
	if a.props, err = propsText(m.Props); err != nil {
		return nil, err
	}
	if m.Once != "" {
		a.once = "a " + m.Once
	}
	a.received = instant(m.Received)
	if a.summary, err = m.Summary.AppendBinary(nil); err != nil {
		return nil, err
	}
	a.subject, a.people, a.preview = fold(m.Summary.Subject), people(&m.Summary.Envelope), fold(m.Summary.Preview)
	if sent := m.Summary.Date; !sent.IsZero() && sent.After(minTime) && sent.Before(maxTime) {
		a.sent = &sent
	}
	a.keys = keysOf(m.Summary, owner)
	if m.Blob.Small != nil {
		a.chunk = pack(m.Blob.Small)
	}
	return a, nil
}

// instant makes a time what PostgreSQL keeps of it; zero is now.
func instant(t time.Time) time.Time {
	if t.IsZero() {
		t = time.Now()
	}
	if t.Before(minTime) {
		t = minTime
	}
	if t.After(maxTime) {
		t = maxTime
	}
	return t.Truncate(time.Microsecond).UTC()
}

func propsText(p *store.Props) (*string, error) {
	if p == nil || *p == (store.Props{}) {
		return nil, nil
	}
	data, err := json.Marshal(p)
	if err != nil {
		return nil, fault.From(fault.Invalid, err, "the properties make no sense")
	}
	if len(data) > 64<<10 {
		return nil, fault.New(fault.TooLarge, "the properties are too large")
	}
	text := jsonText(data)
	return &text, nil
}

func keywordText(list []string) *string {
	if len(list) == 0 {
		return nil
	}
	text := strings.Join(list, " ")
	return &text
}

// Add puts a message into a folder.
func (s *Store) Add(ctx context.Context, as directory.Principal, box store.MailboxID, m store.NewMessage) (added store.Added, err error) {
	defer fault.Wrap(&err, "add to mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return added, err
	}
	a, err := s.prepare(&m, as.Address)
	if err != nil {
		return added, err
	}
	a.system = as.Is(directory.RoleSystem)
	if err := ctx.Err(); err != nil {
		return added, err
	}
	return s.combiner.submit(ctx, box, a, func(ctx context.Context, batch []*addition) { s.addAll(ctx, h, box, batch) })
}

const (
	// combine bounds how many additions share a transaction.
	combine = 50
	// combineBytes bounds their contents together.
	combineBytes = 2 << 20
	// addTimeout bounds a combined transaction, which outlives the request of
	// the one that happens to run it.
	addTimeout = time.Minute
)

// combiner lets the additions that wait for one mailbox share a transaction.
// There is no goroutine of its own: the first that comes runs a transaction
// with all that wait by then, and hands over to the first that came meanwhile.
type combiner struct {
	mu    sync.Mutex
	boxes map[store.MailboxID]*queue // those with a transaction under way
}

type queue struct{ waiting []*addition }

func (c *combiner) submit(ctx context.Context, box store.MailboxID, a *addition, run func(context.Context, []*addition)) (store.Added, error) {
	a.lead, a.done = make(chan struct{}, 1), make(chan struct{})
	c.mu.Lock()
	if c.boxes == nil {
		c.boxes = make(map[store.MailboxID]*queue)
	}
	q, busy := c.boxes[box]
	if !busy {
		q = &queue{}
		c.boxes[box] = q
		a.lead <- struct{}{}
	}
	q.waiting = append(q.waiting, a)
	c.mu.Unlock()

	select {
	case <-a.done:
		return a.res, a.err
	case <-a.lead:
	case <-ctx.Done():
		if c.withdraw(box, q, a) {
			return store.Added{}, ctx.Err()
		}
		<-a.done // it is in a transaction: the caller must hear what became of it
		return a.res, a.err
	}

	batch := c.take(q)
	defer func() { // also after a panic nobody waits for ever
		for _, b := range batch {
			if b.err == nil && b.res.Entry.Item == 0 && !b.res.Repeated {
				b.err = fault.New(fault.Internal, "the transaction gave no answer")
			}
			close(b.done)
		}
		c.handOver(box, q)
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), addTimeout)
	defer cancel()
	run(ctx, batch)
	return a.res, a.err
}

// take gives the next additions to share a transaction.
func (c *combiner) take(q *queue) []*addition {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, bytes := 0, 0
	for n < len(q.waiting) && n < combine {
		a := q.waiting[n]
		if bytes += len(a.chunk) + len(a.summary) + len(a.m.Prefix); n > 0 && bytes > combineBytes {
			break
		}
		a.taken = true
		n++
	}
	batch := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	return batch
}

// handOver has the next one that waits go on.
func (c *combiner) handOver(box store.MailboxID, q *queue) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(q.waiting) == 0 {
		delete(c.boxes, box)
		return
	}
	q.waiting[0].lead <- struct{}{}
}

// withdraw takes an addition out again and tells whether that was in time.
func (c *combiner) withdraw(box store.MailboxID, q *queue, a *addition) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.taken {
		return false
	}
	for i, w := range q.waiting {
		if w == a {
			q.waiting = append(q.waiting[:i:i], q.waiting[i+1:]...)
			break
		}
	}
	select {
	case <-a.lead: // it was its turn: somebody else's now
		if len(q.waiting) == 0 {
			delete(c.boxes, box)
		} else {
			q.waiting[0].lead <- struct{}{}
		}
	default:
	}
	return true
}

// addAll adds a batch and sets what became of each.
func (s *Store) addAll(ctx context.Context, h *home, box store.MailboxID, batch []*addition) {
	err := s.addOnce(ctx, h, box, batch)
	if err == nil {
		return
	}
	if fault.Of(err) == fault.Unavailable && !errors.Is(err, errContentGone) || len(batch) == 1 {
		for _, a := range batch {
			a.res, a.err = store.Added{}, err
		}
		return
	}
	// One bad message hurts nobody else.
	for _, a := range batch {
		if err := s.addOnce(ctx, h, box, []*addition{a}); err != nil {
			a.res, a.err = store.Added{}, err
		}
	}
}
