package postgres

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

// addition is a message to be added, prepared as far as that goes without the
// counter row: encoded, folded, compressed, hashed.
type addition struct {
	slot[*addition]
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
}

func (a *addition) fail(err error) { a.res, a.err = store.Added{}, err }

// prepare checks a message and does all work that needs no database.
func (s *Store) prepare(box store.MailboxID, m *store.NewMessage, owner string) (*addition, error) {
	a := &addition{slot: slot[*addition]{box: box}, m: m, size: int64(len(m.Prefix)) + m.Blob.Size}
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
	a.weight = len(a.chunk) + len(a.summary) + len(m.Prefix)
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
	a, err := s.prepare(box, &m, as.Address)
	if err != nil {
		return added, err
	}
	a.system = as.Is(directory.RoleSystem)
	if err := ctx.Err(); err != nil {
		return added, err
	}
	err = h.adds.submit(ctx, a, func(ctx context.Context, t turn[*addition]) []*addition {
		return together(ctx, t,
			func(ctx context.Context, batch []*addition) error { return s.addOnce(ctx, h, batch) },
			func(ctx context.Context, batch []*addition) ([]*addition, error) { return s.addMany(ctx, h, batch) })
	})
	if err != nil {
		return added, err
	}
	return a.res, a.err
}
