package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/maypok86/otter/v2"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/store"
)

// message is the wide part of an item with what only the store may know.
type message struct {
	store.Message
	blob     [32]byte
	blobSize int64
	weight   uint32
}

const messageCols = "item, thread, blob_size, blob, prefix, summary"

// scanMessage reads messageCols from raw values.
func scanMessage(v [][]byte) (*message, error) {
	if len(v) < 6 || len(v[0]) != 8 || len(v[1]) != 8 || len(v[2]) != 8 || len(v[3]) != 32 {
		return nil, errFormat
	}
	m := &message{blobSize: int64Of(v[2])}
	m.Item, m.Thread = store.ItemID(int64Of(v[0])), store.ThreadID(int64Of(v[1]))
	copy(m.blob[:], v[3])
	m.Prefix = append([]byte(nil), v[4]...)
	m.Size = int64(len(m.Prefix)) + m.blobSize
	var err error
	m.Summary, err = mail.DecodeSummary(v[5])
	// Decoded, a summary takes about three times its binary form.
	m.weight = uint32(512 + len(v[4]) + 3*len(v[5]))
	return m, err
}

type messageKey struct {
	box  store.MailboxID
	item store.ItemID
}

// messageCache keeps messages that were read. They never change and item ids
// are never reused, so it needs no invalidation.
type messageCache struct {
	c *otter.Cache[messageKey, *message]
}

const defaultCache = 64 << 20

func newMessageCache(bytes int64) *messageCache {
	if bytes < 0 {
		return &messageCache{}
	}
	if bytes == 0 {
		bytes = defaultCache
	}
	return &messageCache{otter.Must(&otter.Options[messageKey, *message]{
		MaximumWeight: uint64(bytes),
		Weigher:       func(_ messageKey, m *message) uint32 { return m.weight },
	})}
}

func (c *messageCache) get(k messageKey) *message {
	if c.c == nil {
		return nil
	}
	m, _ := c.c.GetIfPresent(k)
	return m
}

func (c *messageCache) put(k messageKey, m *message) {
	if c.c != nil {
		c.c.Set(k, m)
	}
}

// Messages gives the wide parts of items, in the order asked for, nil where an
// item is gone. An item that is recoverable still has its message.
func (s *Store) Messages(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) (list []*store.Message, err error) {
	defer fault.Wrap(&err, "messages of mailbox %d", box)
	if len(items) > maxPage {
		return nil, fault.New(fault.Limit, "more than %d items at once", maxPage)
	}
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return nil, err
	}
	if !x.all {
		if items, err = s.visibleItems(ctx, h, x, box, items); err != nil {
			return nil, err
		}
	}
	list = make([]*store.Message, len(items))
	var missing []int64
	for i, item := range items {
		if item == 0 {
			continue // another one's
		}
		if m := s.messages.get(messageKey{box, item}); m != nil {
			list[i] = &m.Message
		} else {
			missing = append(missing, int64(item))
		}
	}
	if missing == nil {
		return list, nil
	}
	found := make(map[store.ItemID]*message, len(missing))
	if err := s.readMessages(ctx, h, box, missing, func(m *message) { found[m.Item] = m }); err != nil {
		return nil, err
	}
	for i, item := range items {
		if list[i] != nil {
			continue
		}
		if m := found[item]; m != nil {
			list[i] = &m.Message
		}
	}
	return list, nil
}

func (s *Store) readMessages(ctx context.Context, h *home, box store.MailboxID, items []int64, fn func(*message)) error {
	return reading(ctx, func() error {
		rows, err := h.db.Query(ctx, "select "+messageCols+" from mail.message where mailbox = $1 and item = any($2)", int64(box), items)
		if err != nil {
			return err
		}
		return s.collectMessages(rows, box, fn)
	})
}

func (s *Store) collectMessages(rows pgx.Rows, box store.MailboxID, fn func(*message)) error {
	defer rows.Close()
	for rows.Next() {
		m, err := scanMessage(rows.RawValues())
		if err != nil {
			return err
		}
		s.messages.put(messageKey{box, m.Item}, m)
		fn(m)
	}
	return rows.Err()
}

// message gives one message, from memory when it is there.
func (s *Store) message(ctx context.Context, h *home, box store.MailboxID, item store.ItemID) (m *message, err error) {
	if m = s.messages.get(messageKey{box, item}); m != nil {
		return m, nil
	}
	err = s.readMessages(ctx, h, box, []int64{int64(item)}, func(found *message) { m = found })
	if err == nil && m == nil {
		err = fault.New(fault.NotFound, "no such message")
	}
	return m, err
}
