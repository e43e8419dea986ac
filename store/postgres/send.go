package postgres

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

const (
	maxRecipients = 10000
	maxAddress    = 1000 // bytes
)

// verbs are what may be done with the source of an outgoing message.
var verbs = map[string]store.Flags{
	"reply": store.Answered, "replyAll": store.Answered, "forward": store.Forwarded,
}

func checkOutgoing(o *store.Outgoing) error {
	switch {
	case o.Key == "" || len(o.Key) > maxOnce || o.Key != clean(o.Key):
		return fault.New(fault.Invalid, "the key of an outgoing message has 1 to %d bytes of text", maxOnce)
	case len(o.Recipients) == 0:
		return fault.New(fault.Invalid, "a message without recipients")
	case len(o.Recipients) > maxRecipients:
		return fault.New(fault.Limit, "more than %d recipients", maxRecipients)
	case o.Source != 0 && verbs[o.SourceVerb] == 0:
		return fault.New(fault.Invalid, "no such verb")
	case len(o.Prefix) > maxPrefix:
		return fault.New(fault.TooLarge, "the trace headers are too large")
	}
	for _, a := range append([]string{o.From}, o.Recipients...) {
		if len(a) > maxAddress || a != clean(a) || strings.ContainsAny(a, "\r\n") {
			return fault.New(fault.Invalid, "an address that makes no sense")
		}
	}
	return nil
}

// Send writes to the outbox and does what Outgoing says, in one transaction.
func (s *Store) Send(ctx context.Context, as directory.Principal, box store.MailboxID, o store.Outgoing) (sent store.Sent, err error) {
	defer fault.Wrap(&err, "send from mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return sent, err
	}
	if err := checkOutgoing(&o); err != nil {
		return sent, err
	}
	var batch []*addition // the copy that is kept, or none
	if o.SaveIn != 0 || o.SaveRole != store.RoleNone {
		a, err := s.prepare(box, &store.NewMessage{
			Folder: o.SaveIn, Role: o.SaveRole, Flags: store.Seen, Prefix: o.Prefix, Blob: o.Blob, Summary: o.Summary,
		}, as.Address)
		if err != nil {
			return sent, err
		}
		batch = []*addition{a}
	}
	content := referred{hash: o.Blob.Hash[:], size: o.Blob.Size}
	if o.Blob.Small != nil {
		content.chunk = pack(o.Blob.Small)
	}
	sent, err = s.sendOnce(ctx, h, box, &o, batch, content)
	if err != nil {
		return store.Sent{}, err
	}
	if !sent.Repeated {
		s.announceOutbox(h)
	}
	return sent, nil
}

func (s *Store) sendOnce(ctx context.Context, h *home, box store.MailboxID, o *store.Outgoing, batch []*addition, content referred) (sent store.Sent, err error) {
	key := "s " + o.Key
	var p *adder
	var touched []store.Entry
	var saved []int64 // of an earlier call: its item, 0 for none
	_, err = s.changeIn(ctx, h, box, changeOf{
		ids: len(batch),
		first: func(b *pgx.Batch) {
			saved = nil
			b.Queue("select item from mail.once where mailbox = $1 and key = $2", int64(box), key).Query(func(rows pgx.Rows) (err error) {
				saved, err = pgx.CollectRows(rows, pgx.RowTo[int64])
				return err
			})
			queueItems(b, box, []store.ItemID{o.Source, o.Remove}, &touched)
			p = s.newAdder(nil, batch)
			if len(batch) == 0 { // only the content
				p.boxes = []*boxAdder{{change: s.newChange(box, nil, nil)}}
			}
			p.extra = []referred{content}
			p.first(b)
		},
		run: func(ctx context.Context, c *change) error {
			sent = store.Sent{}
			x := p.boxes[0]
			x.change, x.bytes = c, 0 // counted below
			if len(saved) > 0 {
				sent.Repeated = true
				if saved[0] == 0 || len(batch) == 0 {
					return errNothing
				}
				batch[0].once = key
				x.known = map[string]onceRow{key: {item: store.ItemID(saved[0])}}
				if err := x.repeats(ctx); err != nil {
					return err
				}
				sent.Saved = &batch[0].res
				return errNothing
			}
			once := int64(0)
			if len(batch) > 0 {
				a := batch[0]
				if x.decide(&p.rows); a.err != nil {
					return a.err
				}
				c.used += a.size
				c.items++
				once = int64(a.res.Entry.Item)
				sent.Saved = &a.res
			}
			if err := p.write(c.last); err != nil {
				return err
			}
			notBefore := o.NotBefore
			if notBefore.IsZero() {
				notBefore = minTime
			}
			c.last.Queue(`
				insert into mail.outbox (mailbox, key, sender, recipients, blob, blob_size, prefix, not_before)
				values ($1, $2, $3, $4, $5, $6, $7, $8)`,
				int64(box), o.Key, o.From, o.Recipients, o.Blob.Hash[:], o.Blob.Size, nonNil(o.Prefix), instant(notBefore))
			c.last.Queue("insert into mail.once (mailbox, key, item, seq) values ($1, $2, $3, $4)", int64(box), key, once, int64(c.seq))
			for i := range touched {
				switch e := &touched[i]; e.Item {
				case o.Remove:
					c.remove([]*store.Entry{e})
				case o.Source:
					if err := c.verb(e, o.SourceVerb); err != nil {
						return err
					}
				}
			}
			return nil
		},
	})
	return sent, err
}

// verb marks an item as answered or forwarded.
func (c *change) verb(e *store.Entry, verb string) error {
	before := e.Flags
	e.Flags |= verbs[verb]
	if e.Props == nil {
		e.Props = &store.Props{}
	}
	e.Props.LastVerb, e.Props.LastVerbAt = verb, time.Now().UTC().Truncate(time.Second)
	d := c.folder(e.Folder)
	d.mark(before, -1)
	d.mark(e.Flags, 1)
	var w marks
	if err := w.add(e); err != nil {
		return err
	}
	w.write(c)
	return nil
}
