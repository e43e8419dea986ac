package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/smtpguard"
)

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

// SmartHost is a server that takes all mail for outside.
type SmartHost struct {
	Addr           string // host:port; "" for none
	User, Password string
	ImplicitTLS    bool
	Verify         bool // its certificate must be good
	AllowClear     bool // the password may go without TLS (loopback)
}

// Options of the relay.
type Options struct {
	Hostname   string // in EHLO, Received and notices
	Postmaster string // From of notices; postmaster@Hostname when empty

	Resolver  Resolver // net.DefaultResolver when nil
	Port      uint16   // of other servers; 25 when 0
	SmartHost SmartHost
	// Routes are domains (lower case) with a server of their own, host:port.
	Routes map[string]string
	// TLS is the base of the configuration towards other servers; may be nil.
	TLS *tls.Config

	Workers      int           // connections and deliveries at once; 32 when 0
	PerDomain    int           // to one domain at once; 20 when 0
	DialTimeout  time.Duration // 30 s when 0
	ReplyTimeout time.Duration // 5 minutes when 0 (RFC 5321 section 4.5.3.2)
	Lease        time.Duration // how soon what a dead process was working on goes on; prolonged while it lives; 45 s when 0
	Poll         time.Duration // look for other processes' messages; 1 s when 0
	Moderation   time.Duration // how long a message waits for moderators; 5 days when 0

	Now     func() time.Time // time.Now when nil
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Relay is the role.
type Relay struct {
	queue   Queue
	dir     Directory
	deliver Deliverer
	o       Options
	woken   chan struct{}

	mu     sync.Mutex
	active map[string]int // jobs by domain

	results *prometheus.CounterVec
	waiting *prometheus.GaugeVec
}

const (
	maxUnits  = 10                  // messages that one job takes over one connection
	seenLife  = 30 * 24 * time.Hour // longer than a message lives anywhere
	deadLife  = 5 * 24 * time.Hour  // after a message's end
	sweepTime = 10 * time.Minute
)

// New makes the relay. Run empties the queue; Enqueue works without it.
func New(q Queue, dir Directory, d Deliverer, o Options) *Relay {
	if o.Postmaster == "" {
		o.Postmaster = "postmaster@" + o.Hostname
	}
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Port == 0 {
		o.Port = 25
	}
	o.Workers, o.PerDomain = or(o.Workers, 32), or(o.PerDomain, 20)
	o.DialTimeout, o.ReplyTimeout = or(o.DialTimeout, 30*time.Second), or(o.ReplyTimeout, 5*time.Minute)
	o.Lease, o.Poll = or(o.Lease, 45*time.Second), or(o.Poll, time.Second)
	o.Moderation = or(o.Moderation, 5*24*time.Hour)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	r := &Relay{
		queue: q, dir: dir, deliver: d, o: o,
		woken: make(chan struct{}, 1), active: make(map[string]int),
		results: smtpguard.Register(o.Metrics, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waypost_queue_attempts_total", Help: "Attempts to hand a recipient on, by result.",
		}, []string{"result"})),
		waiting: smtpguard.Register(o.Metrics, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "waypost_queue_recipients", Help: "Recipients in the queue, by state.",
		}, []string{"state"})),
	}
	return r
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Enqueue commits a message to the queue. A second message of the same id
// changes nothing. It asks again by itself when the database was lost for a
// moment.
func (r *Relay) Enqueue(ctx context.Context, s envelope.Submission, body envelope.Body) (err error) {
	now := r.o.Now()
	n := Message{Envelope: s.Envelope, Due: now, Expires: now.Add(Life)}
	if n.Created.IsZero() {
		n.Created = now
	}
	if s.NotBefore.After(now) {
		n.Due, n.Expires = s.NotBefore, s.NotBefore.Add(Life)
	}
	if s.From == "" {
		n.Expires = n.Due.Add(bounceLife)
	}
	seen := make(map[string]bool, len(s.To))
	for _, addr := range s.To {
		if !seen[addr] {
			seen[addr] = true
			n.To = append(n.To, Address{addr, envelope.Domain(addr)})
		}
	}
	if len(n.To) == 0 {
		return fault.New(fault.Invalid, "no recipients")
	}
	if !envelope.ValidID(n.ID) {
		return fault.New(fault.Invalid, "bad message id")
	}
	err = patiently(ctx, 2*time.Second, func() error {
		fresh, err := r.queue.Put(ctx, n, body)
		if err == nil && !fresh {
			r.o.Log.Info("queued before", "proto", "relay", "cmd", "enqueue", "id", n.ID)
		}
		return err
	})
	if err == nil {
		r.Wake()
	}
	return err
}

// patiently repeats do while it is Unavailable, for at most the time given.
func patiently(ctx context.Context, limit time.Duration, do func() error) error {
	until := time.Now().Add(limit)
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := do()
		if err == nil || fault.Of(err) != fault.Unavailable || time.Now().Add(wait).After(until) || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// Wake makes Run look at the queue at once.
func (r *Relay) Wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

// Run empties the queue until ctx ends, and returns when its workers have
// ended. What they leave is due again when its lease has run out.
func (r *Relay) Run(ctx context.Context) error {
	// A message under way is finished rather than broken off: its last reply
	// decides whether it is sent again.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait() // before stop
	context.AfterFunc(ctx, func() { time.AfterFunc(grace, stop) })
	wg.Go(func() { r.keepHouse(ctx) })
	slots := make(chan struct{}, r.o.Workers)
	for {
		n, err := r.round(ctx, work, slots, &wg)
		if err != nil && ctx.Err() == nil {
			r.o.Log.Error("queue", "proto", "relay", "cmd", "take", "fault", fault.Of(err), "err", err)
		}
		if n > 0 && ctx.Err() == nil {
			continue
		}
		select {
		case <-r.woken:
		case <-time.After(r.o.Poll):
		case <-ctx.Done():
			return nil
		}
	}
}

// grace is how long messages under way may take at the end.
const grace = 5 * time.Second

// round takes what is due and starts jobs, as far as there are free workers.
func (r *Relay) round(ctx, work context.Context, slots chan struct{}, wg *sync.WaitGroup) (int, error) {
	free := cap(slots) - len(slots)
	if free == 0 {
		select { // a job ends and wakes us
		case <-r.woken:
		case <-time.After(r.o.Poll):
		case <-ctx.Done():
		}
		return 1, nil
	}
	now := r.o.Now()
	list, err := r.queue.Take(ctx, now, now.Add(r.o.Lease), free, r.busy())
	if err != nil {
		return 0, err
	}
	total := len(list)
	for len(list) > 0 {
		n := 1
		for n < len(list) && n < maxUnits && list[n].Domain == list[0].Domain {
			n++
		}
		job := list[:n:n]
		list = list[n:]
		r.count(job[0].Domain, 1)
		slots <- struct{}{}
		wg.Go(func() {
			defer func() {
				<-slots
				r.count(job[0].Domain, -1)
				r.Wake()
			}()
			r.job(work, job)
		})
	}
	return total, nil
}

func (r *Relay) count(domain string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.active[domain] += n; r.active[domain] == 0 {
		delete(r.active, domain)
	}
}

func (r *Relay) busy() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	for d, n := range r.active {
		if n >= r.o.PerDomain {
			list = append(list, d)
		}
	}
	return list
}

// keepHouse counts and sweeps now and then.
func (r *Relay) keepHouse(ctx context.Context) {
	count := time.NewTicker(10 * time.Second)
	defer count.Stop()
	var swept time.Time
	for {
		if n, err := r.queue.Stats(ctx); err == nil {
			for state, k := range n {
				r.waiting.WithLabelValues(string(state)).Set(float64(k))
			}
		}
		if n, err := r.queue.Expire(ctx, r.o.Now()); err != nil && ctx.Err() == nil {
			r.o.Log.Warn("queue", "proto", "moderation", "cmd", "expire", "err", err)
		} else if n > 0 {
			r.o.Log.Info("nobody decided", "proto", "moderation", "cmd", "expire", "messages", n)
			r.Wake()
		}
		if now := r.o.Now(); now.Sub(swept) > sweepTime {
			swept = now
			if err := r.queue.Sweep(ctx, now.Add(-seenLife), now.Add(-deadLife), now.Add(-keptDecisions)); err != nil && ctx.Err() == nil {
				r.o.Log.Warn("queue", "proto", "relay", "cmd", "sweep", "err", err)
			}
		}
		select {
		case <-count.C:
		case <-ctx.Done():
			return
		}
	}
}

// holding prolongs the leases of a job until it is done.
func (r *Relay) holding(ctx context.Context, job []Work) (done func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(r.o.Lease / 3)
		defer t.Stop()
		for {
			select {
			case <-t.C:
			case <-ctx.Done():
				return
			}
			for _, w := range job {
				if err := r.queue.Extend(ctx, w, r.o.Now().Add(r.o.Lease)); err != nil && !errors.Is(err, context.Canceled) {
					r.o.Log.Warn("queue", "proto", "relay", "cmd", "extend", "id", w.ID, "err", err)
				}
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

func addresses(list []Recipient) []string {
	var a []string
	for _, r := range list {
		a = append(a, r.Address)
	}
	return slices.Clip(a)
}
