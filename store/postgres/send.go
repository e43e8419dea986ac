package postgres

import (
	"context"
	"slices"
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
	if err := checkTrack(o.Track); err != nil {
		return err
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
	x, err := s.newSends(as, box, []store.Outgoing{o})
	if err != nil {
		return sent, err
	}
	_, err = s.changeIn(ctx, h, box, changeOf{ids: x.ids(), first: x.first, run: func(ctx context.Context, c *change) error {
		if err := x.run(ctx, c); err != nil {
			return err
		}
		if !x.any() {
			return errNothing
		}
		return nil
	}})
	if err != nil {
		return store.Sent{}, err
	}
	if x.any() {
		s.announceOutbox(h)
	}
	return x.res[0], nil
}

// sends are messages to be sent, by one transaction that may do other things
// too. A nil one sends nothing.
type sends struct {
	s        *Store
	box      store.MailboxID
	outs     []store.Outgoing
	saves    []*addition // the copy that is kept of each, or nil
	batch    []*addition // those that are not nil
	contents []referred

	// Of one attempt.
	p       *adder
	known   map[string]store.ItemID // of earlier calls: the copy, 0 for none
	touched []store.Entry
	res     []store.Sent
	// recorded is the record of an earlier call.
	recorded int64
}

// newSends checks messages and does all work that needs no database.
func (s *Store) newSends(as directory.Principal, box store.MailboxID, outs []store.Outgoing) (*sends, error) {
	if len(outs) == 0 {
		return nil, nil
	}
	if len(outs) > maxSends {
		return nil, fault.New(fault.Limit, "more than %d messages to be sent at once", maxSends)
	}
	x := &sends{s: s, box: box, outs: outs}
	keys := make(map[string]bool, len(outs))
	for i := range outs {
		o := &outs[i]
		if err := checkOutgoing(o); err != nil {
			return nil, err
		}
		if keys[o.Key] {
			return nil, fault.New(fault.Invalid, "two messages to be sent have one key")
		}
		if o.Track != nil && len(outs) > 1 {
			return nil, fault.New(fault.Invalid, "what is recorded is sent alone")
		}
		keys[o.Key] = true
		var a *addition
		if o.SaveIn != 0 || o.SaveRole != store.RoleNone {
			var err error
			if a, err = s.prepare(box, &store.NewMessage{
				Folder: o.SaveIn, Role: o.SaveRole, Flags: store.Seen, Prefix: o.Prefix, Blob: o.Blob, Summary: o.Summary,
			}, as.Address); err != nil {
				return nil, err
			}
			a.once = sentKey(o)
			x.batch = append(x.batch, a)
		}
		x.saves = append(x.saves, a)
		content := referred{hash: o.Blob.Hash[:], size: o.Blob.Size}
		if o.Blob.Small != nil {
			content.chunk = pack(o.Blob.Small)
		}
		x.contents = append(x.contents, content)
	}
	return x, nil
}

// maxSends bounds the messages of one change: an invitation has one for each
// kind of recipient.
const maxSends = 1000

// sentKey is the key in mail.once.
func sentKey(o *store.Outgoing) string { return "s " + o.Key }

// ids is how many ids the change has to reserve.
func (x *sends) ids() int {
	if x == nil {
		return 0
	}
	return len(x.batch)
}

// first queues the look-ups.
func (x *sends) first(b *pgx.Batch) {
	if x == nil {
		return
	}
	x.known = make(map[string]store.ItemID)
	var keys []string
	var items []store.ItemID
	for i := range x.outs {
		o := &x.outs[i]
		keys, items = append(keys, sentKey(o)), append(items, o.Source, o.Remove)
	}
	if len(x.outs) == 1 && x.outs[0].Track != nil {
		x.recorded = 0
		b.Queue("select id from mail.submission where mailbox = $1 and key = $2 and not gone", int64(x.box), x.outs[0].Key).Query(func(rows pgx.Rows) error {
			_, err := pgx.ForEachRow(rows, []any{&x.recorded}, func() error { return nil })
			return err
		})
	}
	b.Queue("select key, item from mail.once where mailbox = $1 and key = any($2)", int64(x.box), keys).Query(func(rows pgx.Rows) error {
		var key string
		var item int64
		_, err := pgx.ForEachRow(rows, []any{&key, &item}, func() error {
			x.known[key] = store.ItemID(item)
			return nil
		})
		return err
	})
	queueItems(b, x.box, items, &x.touched)
	x.p = x.s.newAdder(nil, x.batch)
	if len(x.batch) == 0 { // only the contents
		x.p.boxes = []*boxAdder{{change: x.s.newChange(x.box, nil, nil)}}
	}
	x.p.extra = x.contents
	x.p.first(b)
}

// run writes what was not sent before. The first ids reserved are its.
func (x *sends) run(ctx context.Context, c *change) error {
	if x == nil {
		return nil
	}
	x.res = make([]store.Sent, len(x.outs))
	b := x.p.boxes[0]
	b.change, b.bytes, b.batch = c, 0, nil // counted below
	b.known = make(map[string]onceRow)
	x.p.extra = nil
	var fresh []int
	for i := range x.outs {
		item, known := x.known[sentKey(&x.outs[i])]
		x.res[i].Repeated = known
		if known {
			x.res[i].Submission = x.recorded
		}
		switch {
		case !known:
			fresh = append(fresh, i)
			x.p.extra = append(x.p.extra, x.contents[i])
		case item != 0 && x.saves[i] != nil:
			b.known[x.saves[i].once] = onceRow{item}
		default:
			continue
		}
		if x.saves[i] != nil {
			b.batch = append(b.batch, x.saves[i])
			x.res[i].Saved = &x.saves[i].res
		}
	}
	if err := b.repeats(ctx); err != nil {
		return err
	}
	b.batch = slices.DeleteFunc(b.batch, func(a *addition) bool { return a.res.Repeated })
	b.decide(&x.p.rows)
	if len(fresh) == 0 {
		return nil
	}
	for _, a := range b.batch {
		if a.err != nil {
			return a.err
		}
		c.used += a.size
		c.items++
	}
	if err := x.p.write(c.last); err != nil {
		return err
	}
	touched := index(x.touched)
	for _, i := range fresh {
		if err := c.send(&x.outs[i], x.saves[i] != nil, touched); err != nil {
			return err
		}
		if x.outs[i].Track != nil {
			x.res[i].Submission = int64(c.seq)
		}
	}
	return nil
}

// send writes one message to the outbox and does what it says with its source;
// kept tells that the copy has written its key.
func (c *change) send(o *store.Outgoing, kept bool, touched map[store.ItemID]*store.Entry) error {
	notBefore := o.NotBefore
	if notBefore.IsZero() {
		notBefore = minTime
	}
	c.last.Queue(`
		insert into mail.outbox (mailbox, key, sender, recipients, blob, blob_size, prefix, not_before)
		values ($1, $2, $3, $4, $5, $6, $7, $8)`,
		int64(c.box), o.Key, o.From, o.Recipients, o.Blob.Hash[:], o.Blob.Size, nonNil(o.Prefix), instant(notBefore))
	if !kept {
		c.last.Queue("insert into mail.once (mailbox, key, item, seq) values ($1, $2, 0, $3)", int64(c.box), sentKey(o), int64(c.seq))
	}
	if o.Track != nil {
		c.track(o, instant(o.NotBefore))
	}
	if e := touched[o.Remove]; e != nil {
		c.remove([]*store.Entry{e})
		delete(touched, o.Remove) // once
	}
	if e := touched[o.Source]; e != nil {
		return c.verb(e, o.SourceVerb)
	}
	return nil
}

// any tells whether the last run wrote something to the outbox.
func (x *sends) any() bool {
	return x != nil && slices.ContainsFunc(x.res, func(r store.Sent) bool { return !r.Repeated })
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
