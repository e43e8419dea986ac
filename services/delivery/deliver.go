// Package delivery is the role that puts messages into mailboxes, whatever door
// they came through, and the mover that takes messages from the outbox of
// mailboxes to the transport.
//
// Its law: a message's bytes are read once, for any number of recipients, and
// stored once in each mailbox database, while they are being parsed. A
// recipient's error is nil only after the message is committed to its mailbox.
// Every delivery carries the id of the message, so that it can be repeated
// without doubling it: a caller that is in doubt delivers again. What a message
// has for its recipient's calendar is handed on after that, and never costs the
// mail. An outbox row is deleted only after each of its recipients is committed
// elsewhere, to a mailbox or to the queue.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/internal/smtpguard"
	"waypost/store"
)

// Store is what delivery needs of the mailbox store.
type Store interface {
	NewBlob(ctx context.Context, homeMDB string) (store.BlobWriter, error)
	Add(ctx context.Context, as directory.Principal, box store.MailboxID, m store.NewMessage) (store.Added, error)
}

// Calendars takes what is for a recipient's calendar out of a message that was put
// into its mailbox just now, or whose delivery is repeated: it is called at least
// once for each delivery. Unavailable asks for the delivery to be repeated.
type Calendars interface {
	Delivered(ctx context.Context, to directory.Target, env envelope.Envelope, item store.ItemID, m store.NewMessage) error
}

// Away answers mail for those who are away: it is called for each delivery to a
// mailbox with an absence notice, as Calendars is.
type Away interface {
	Answer(ctx context.Context, to directory.Target, env envelope.Envelope, item store.ItemID, m store.NewMessage) error
}

// Options of the role.
type Options struct {
	// Away, if set, is told of messages to mailboxes with an absence notice.
	Away Away
	// Calendars, if set, is told of every message that was stored.
	Calendars Calendars
	MaxSize   int64 // bytes of a message as it came in; 150 MiB when 0
	Parallel  int   // recipients of a message that are stored at once; 8 when 0
	Log       *slog.Logger
	Metrics   prometheus.Registerer
}

// Service delivers to mailboxes whose databases this process reaches.
type Service struct {
	store   Store
	o       Options
	results *prometheus.CounterVec
	seconds prometheus.Histogram
}

// New makes the role.
func New(s Store, o Options) *Service {
	if o.MaxSize == 0 {
		o.MaxSize = 150 << 20
	}
	if o.Parallel == 0 {
		o.Parallel = 8
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	d := &Service{
		store: s, o: o,
		results: smtpguard.Register(o.Metrics, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waypost_deliveries_total", Help: "Recipients by result.",
		}, []string{"result"})),
		seconds: smtpguard.Register(o.Metrics, prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "waypost_delivery_seconds", Help: "Time to store a message for one recipient, from its first byte.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30},
		})),
	}
	return d
}

// Deliver stores a message for each target and returns their errors in the
// same order. OverQuota and Unavailable may pass; NotFound and TooLarge do not.
func (d *Service) Deliver(ctx context.Context, env envelope.Envelope, to []directory.Target, body envelope.Body) []error {
	return d.DeliverFrom(ctx, env, to, body.Reader())
}

// DeliverFrom is Deliver for a body that can be read only once. An error of the
// reader is every recipient's, as it is.
func (d *Service) DeliverFrom(ctx context.Context, env envelope.Envelope, to []directory.Target, body io.Reader) []error {
	begun := time.Now()
	errs := make([]error, len(to))
	first := make(map[directory.MailboxID]int, len(to)) // a mailbox may be named twice
	blobs := make(map[string]*blob)
	defer func() {
		for _, b := range blobs {
			b.abort()
		}
	}()
	for i, t := range to {
		if t.Mailbox == 0 {
			errs[i] = fault.New(fault.NotFound, "no mailbox")
			continue
		}
		if _, ok := first[t.Mailbox]; !ok {
			first[t.Mailbox] = i
		}
		if blobs[t.HomeMDB] == nil {
			w, err := d.store.NewBlob(ctx, t.HomeMDB)
			blobs[t.HomeMDB] = &blob{w: w, err: err}
		}
	}

	sum, err := d.read(body, blobs)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		d.log(ctx, env, to, errs, begun)
		return errs
	}
	for _, b := range blobs {
		b.close(ctx)
	}

	received := begun
	if env.Hop != nil {
		received = env.Hop.Time
	}
	limit := make(chan struct{}, d.o.Parallel)
	var wg sync.WaitGroup
	for box, i := range first {
		one := func() {
			t, b := to[i], blobs[to[i].HomeMDB]
			if errs[i] = b.err; errs[i] == nil {
				errs[i] = d.add(ctx, env, t, store.NewMessage{
					Received: received,
					Prefix:   env.Prefix(t.Address),
					Blob:     b.blob,
					Summary:  sum,
					Once:     once(env.ID, box),
					Limit:    t.Quota,
				})
			}
		}
		if len(first) == 1 {
			one()
			break
		}
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			one()
		})
	}
	wg.Wait()
	for i, t := range to {
		if j, ok := first[t.Mailbox]; ok && j != i {
			errs[i] = errs[j]
		}
	}
	d.log(ctx, env, to, errs, begun)
	return errs
}

func once(id string, box directory.MailboxID) string {
	return id + "/" + strconv.FormatInt(int64(box), 10)
}

// headroom is for the headers that submission adds to a message of the largest
// size.
const headroom = 64 << 10

var errTooLarge = fault.New(fault.TooLarge, "message too big")

// read passes the body through the parser into all blobs. A blob that fails
// does not hold the others up.
func (d *Service) read(body io.Reader, blobs map[string]*blob) (*mail.Summary, error) {
	p := mail.NewParser()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	var size int64
	for {
		n, err := body.Read(*buf)
		b := (*buf)[:n]
		if size += int64(n); size > d.o.MaxSize+headroom {
			return nil, errTooLarge
		}
		p.Write(b)
		for _, w := range blobs {
			w.write(b)
		}
		if errors.Is(err, io.EOF) {
			return p.Summary(), nil
		}
		if err != nil {
			return nil, err
		}
	}
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// add stores the message for one mailbox. After a lost connection nobody knows
// whether it was stored; under the same Once asking again tells.
func (d *Service) add(ctx context.Context, env envelope.Envelope, t directory.Target, m store.NewMessage) error {
	as := directory.System("delivery")
	as.Mailbox, as.HomeMDB = t.Mailbox, t.HomeMDB
	for wait := 20 * time.Millisecond; ; wait *= 4 {
		added, err := d.store.Add(ctx, as, t.Mailbox, m)
		if err == nil {
			err = d.after(ctx, env, t, added, m)
		}
		if err == nil || fault.Of(err) != fault.Unavailable || wait > time.Second {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// after lets the recipient's calendar have its part of what was stored, and who is
// away answer. The mail is stored: only what may pass is told, so that the delivery is
// repeated, and what never will is for the log.
func (d *Service) after(ctx context.Context, env envelope.Envelope, t directory.Target, added store.Added, m store.NewMessage) error {
	if d.o.Calendars != nil {
		if err := d.part(ctx, "calendar", d.o.Calendars.Delivered, env, t, added.Entry.Item, m); err != nil {
			return err
		}
	}
	if d.o.Away != nil && added.Away {
		return d.part(ctx, "away", d.o.Away.Answer, env, t, added.Entry.Item, m)
	}
	return nil
}

func (d *Service) part(ctx context.Context, name string, fn func(context.Context, directory.Target, envelope.Envelope, store.ItemID, store.NewMessage) error,
	env envelope.Envelope, t directory.Target, item store.ItemID, m store.NewMessage,
) (err error) {
	defer func() {
		if p := recover(); p != nil {
			d.o.Log.ErrorContext(ctx, name, "proto", "delivery", "cmd", name, "id", env.ID, "user", t.Address, "err", fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
			err = nil
		}
	}()
	if err = fn(ctx, t, env, item, m); err == nil || fault.Of(err) == fault.Unavailable {
		return err
	}
	d.o.Log.ErrorContext(ctx, name, "proto", "delivery", "cmd", name, "id", env.ID, "user", t.Address, "fault", fault.Of(err), "err", err)
	return nil
}

func (d *Service) log(ctx context.Context, env envelope.Envelope, to []directory.Target, errs []error, begun time.Time) {
	dur := time.Since(begun)
	for i, t := range to {
		level, result := slog.LevelInfo, "stored"
		attrs := []slog.Attr{
			slog.String("proto", "delivery"), slog.String("cmd", "deliver"), slog.String("id", env.ID),
			slog.String("from", env.From), slog.String("user", t.Address), slog.Duration("dur", dur),
		}
		if err := errs[i]; err != nil {
			result = fault.Of(err).String()
			attrs = append(attrs, slog.String("fault", result), slog.String("err", err.Error()))
			if fault.Of(err) == fault.Internal {
				level = slog.LevelError
			}
			result = "failed"
			d.results.WithLabelValues(fault.Of(err).String()).Inc()
		} else {
			d.results.WithLabelValues("stored").Inc()
			d.seconds.Observe(dur.Seconds())
		}
		d.o.Log.LogAttrs(ctx, level, "message", append(attrs, slog.String("result", result))...)
	}
}

// blob is the content in one mailbox database.
type blob struct {
	w    store.BlobWriter
	blob store.Blob
	err  error
}

func (b *blob) write(p []byte) {
	if b.err == nil {
		_, b.err = b.w.Write(p)
	}
}

func (b *blob) close(ctx context.Context) {
	if b.err == nil {
		b.blob, b.err = b.w.Close(ctx)
	}
}

func (b *blob) abort() {
	if b.w != nil {
		b.w.Abort()
	}
}
