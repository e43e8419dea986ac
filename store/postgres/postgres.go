// Package postgres keeps the mailbox store in PostgreSQL. It implements
// store.Store and is the only SQL on the tables of the schema mail.
//
// Its laws:
//
//   - A transaction that changes a mailbox begins with
//     update mail.mailbox set seq = seq + 1 (see change.go). The lock of that
//     row is held until the commit is on disk, so the mailbox's numbers become
//     visible in order, and everything else of the mailbox needs no lock.
//     Whoever changes several mailboxes takes them in the order of their ids.
//   - A reader takes the folder's row and the entries from one snapshot.
//   - Commit, then announce: watchers are woken after the commit; a wake-up
//     carries no data.
//   - No query per item: sets travel as arrays, pages have limits.
//   - What is immutable (messages, content) may be answered from memory, after
//     the rights were checked. What can change never is.
//   - Rows are read completely before the caller sees any of them: no
//     transaction is open while somebody writes to a peer.
package postgres

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/errgroup"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/store"
	"waypost/store/feed"
)

// DefaultHome names the mailbox database of whoever has no other.
const DefaultHome = "default"

// Limits of a mailbox.
const (
	maxPage     = 1000  // items of most lists
	maxEntries  = 20000 // entries of one page of Entries
	maxItems    = 50000 // items of one change
	maxFolders  = 5000
	maxDepth    = 32
	maxName     = 250     // bytes of a folder's name
	maxKeywords = 64      // of an item
	maxKeyword  = 64      // bytes
	maxOnce     = 255     // bytes of NewMessage.Once and Outgoing.Key
	maxPrefix   = 1 << 20 // bytes of trace headers
	maxState    = 1 << 20 // bytes of a sync state
	maxDevices  = 100
)

// Options of a Store. The zero value is right.
type Options struct {
	// Quota is the default size of a mailbox in bytes; 0: no limit.
	Quota int64
	// RecoverableQuota is what a mailbox may hold in deleted items; beyond it
	// the purger takes the oldest. 0 means 5 GiB.
	RecoverableQuota int64
	// MaxMessage bounds one message in bytes; 0 means 256 MiB.
	MaxMessage int64
	// MessageCache and ContentCache bound the memory in bytes that keeps what
	// was read, 64 MiB each when 0, none when negative.
	MessageCache, ContentCache int64
	// Groups tells which groups somebody is in, those that these are in among them;
	// nil: none. The answer is kept for three seconds.
	Groups func(ctx context.Context, id directory.ObjectID) ([]directory.ObjectID, error)
	// Log hears what the background work meets; slog.Default when nil.
	Log *slog.Logger
}

// Store is the mailbox store. Its methods are safe for concurrent use.
type Store struct {
	homes    map[string]*home
	hub      feed.Hub
	messages *messageCache
	chunks   *chunkCache
	opts     Options
	log      *slog.Logger
	counts   *otter.Cache[store.MailboxID, mailCounts]
	origin   string // names this Store in notifications
	groups   groups
	whereMu  sync.Mutex
	where    map[store.MailboxID]*home // of shared mailboxes, when there are several databases
	outbox   chan struct{}
	merging  sync.Mutex // of the index of words
}

// home is a mailbox database.
type home struct {
	name   string
	db     *pgdb.DB
	notify *pgdb.Notifier
	adds   combiner[*addition]
	puts   combiner[*put]
	stale  stale // for the index of words
}

var _ store.Store = (*Store)(nil)

// New makes a store over the mailbox databases named; there must be one called
// "default". The pools stay the caller's. Run must be running for changes to be
// heard between processes.
func New(pools map[string]*pgdb.DB, o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.RecoverableQuota == 0 {
		o.RecoverableQuota = 5 << 30
	}
	if o.MaxMessage == 0 {
		o.MaxMessage = 256 << 20
	}
	if pools[DefaultHome] == nil {
		return nil, fault.New(fault.Invalid, "there is no mailbox database called %q", DefaultHome)
	}
	s := &Store{
		homes:    make(map[string]*home, len(pools)),
		messages: newMessageCache(o.MessageCache),
		chunks:   newChunkCache(o.ContentCache),
		counts:   otter.Must(&otter.Options[store.MailboxID, mailCounts]{MaximumSize: 10_000}),
		opts:     o,
		log:      o.Log,
		outbox:   make(chan struct{}, 1),
		origin:   strconv.FormatUint(rand.Uint64(), 36),
	}
	for name, db := range pools {
		s.homes[name] = &home{name: name, db: db, notify: db.Notifier(channel)}
	}
	return s, nil
}

// open checks that as may use the whole mailbox and gives the database that holds it.
func (s *Store) open(as directory.Principal, box store.MailboxID) (*home, error) {
	if box <= 0 || !as.MayUse(box) {
		return nil, fault.New(fault.NotFound, "no such mailbox")
	}
	name := DefaultHome
	if as.Mailbox == box && as.HomeMDB != "" {
		name = as.HomeMDB
	}
	return s.home(name)
}

func (s *Store) home(name string) (*home, error) {
	if name == "" {
		name = DefaultHome
	}
	h := s.homes[name]
	if h == nil {
		return nil, fault.From(fault.Unavailable, fault.New(fault.Internal, "no pool for mailbox database %q", name), "the mailbox cannot be reached")
	}
	return h, nil
}

// Homes names the mailbox databases.
func (s *Store) Homes() []string {
	names := make([]string, 0, len(s.homes))
	for name := range s.homes {
		names = append(names, name)
	}
	return names
}

// channel carries "origin mailbox seq" between processes.
const channel = "waypost_mail"

// pollEvery bounds how long a lost notification delays anybody.
const pollEvery = 3 * time.Second

// Watch begins to watch a mailbox; the caller closes the Watcher.
func (s *Store) Watch(box store.MailboxID) store.Watcher { return s.hub.Watch(box) }

// announce tells this process and the others that a change was committed.
func (s *Store) announce(h *home, box store.MailboxID, seq store.Seq) {
	s.hub.Announce(box, seq)
	h.stale.note(box, 1)
	h.notify.Notify(s.origin + " " + strconv.FormatInt(int64(box), 36) + " " + strconv.FormatInt(int64(seq), 36))
}

// Run carries changes between processes until ctx ends: it sends what this
// Store announces, hears what others do, and every three seconds compares the
// numbers of all awaited mailboxes, so that a lost notification delays nobody
// for longer. It holds two connections for each mailbox database.
func (s *Store) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, h := range s.homes {
		poll := make(chan struct{}, 1)
		g.Go(func() error { return h.notify.Run(ctx) })
		g.Go(func() error {
			return h.db.Listen(ctx, []string{channel}, pgdb.Heard{
				Notify: func(_, payload string) { s.heard(h, payload) },
				Connected: func() {
					select {
					case poll <- struct{}{}:
					default:
					}
				},
			})
		})
		g.Go(func() error { return s.poll(ctx, h, poll) })
	}
	err := g.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (s *Store) heard(h *home, payload string) {
	origin, rest, _ := strings.Cut(payload, " ")
	id, at, _ := strings.Cut(rest, " ")
	box, err1 := strconv.ParseInt(id, 36, 64)
	seq, err2 := strconv.ParseInt(at, 36, 64)
	if origin != s.origin && rest == outboxWord {
		s.wakeMover()
	}
	if origin == s.origin || err1 != nil || err2 != nil {
		return
	}
	s.hub.Announce(store.MailboxID(box), store.Seq(seq))
	h.stale.note(store.MailboxID(box), 1)
}

// poll compares the counters of all awaited mailboxes in one query.
func (s *Store) poll(ctx context.Context, h *home, now <-chan struct{}) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-now:
		case <-tick.C:
		}
		err := s.compare(ctx, h)
		if err != nil && !failing && ctx.Err() == nil {
			s.log.WarnContext(ctx, "watched mailboxes cannot be compared", slog.String("home", h.name), slog.Any("fault", err))
		}
		failing = err != nil
	}
}

func (s *Store) compare(ctx context.Context, h *home) error {
	awaited := s.hub.Awaited()
	for len(awaited) > 0 {
		page := awaited[:min(len(awaited), 5000)]
		awaited = awaited[len(page):]
		rows, err := h.db.Query(ctx, "select id, seq from mail.mailbox where id = any($1)", ids(page))
		if err != nil {
			return err
		}
		for rows.Next() {
			var box, seq int64
			if err := rows.Scan(&box, &seq); err != nil {
				rows.Close()
				return err
			}
			s.hub.Announce(store.MailboxID(box), store.Seq(seq))
		}
		rows.Close()
		if err := rows.Err(); err != nil {
			return err
		}
	}
	return nil
}

// ids gives numbers of any kind as PostgreSQL's bigint[].
func ids[T ~int64](list []T) []int64 {
	all := make([]int64, len(list))
	for i, id := range list {
		all[i] = int64(id)
	}
	return all
}

// reading runs a read, and again when its connection turned out to be lost:
// after the server restarted, every idle connection of the pool is.
func reading(ctx context.Context, read func() error) error {
	start := time.Now()
	for n := 0; ; n++ {
		err := read()
		if err == nil || n == 3 || ctx.Err() != nil || fault.Of(err) != fault.Unavailable || time.Since(start) > 5*time.Second {
			return err
		}
		time.Sleep(time.Duration(n) * 20 * time.Millisecond)
	}
}
