// Package postgres keeps the directory in PostgreSQL, schema directory.
//
// Its law:
//
//   - The tables are the truth. Every process keeps a compact view of them in
//     memory (name keys, ids, links, rights; not the wide attributes), filled
//     at the start from one snapshot and following the USNs since. Resolve,
//     Expand, MaySendAs and the search of the address list use nothing else.
//   - Any number of processes on one database accept writes. A write takes the
//     counter row first, so USNs become visible in order. Writes that wait for
//     it are combined into one transaction: entries that are added or removed at
//     once, what else there is each under a savepoint of its own.
//   - A writer returns after its own process's view has the change. Other
//     processes hear of it by NOTIFY at once and look by themselves every three
//     seconds at the latest.
//   - Every method checks the rights of who acts against the view, not against
//     what the caller says its roles are; only the product itself
//     (directory.RoleSystem) is taken at its word. Default deny.
//   - An object that is removed frees its names at once. Its ids are never used
//     again, so no right, token or mailbox passes on to a namesake.
//
// Lock order: the USN row, then the view's mutex; none is held while calling a
// follower.
package postgres

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"waypost/directory"
	"waypost/directory/index"
	"waypost/directory/schema"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
)

const (
	// channel is where processes wake each other after a commit.
	channel = "waypost_directory"
	// lookEvery bounds how late a process learns of a change when its wake-up
	// was lost.
	lookEvery = 3 * time.Second
	// goneFor is how long the change log remembers what was removed.
	goneFor = 180 * 24 * time.Hour
)

// Options of a Store.
type Options struct {
	// Hash makes the stored form of a password (authn.Hasher.Hash); like is the
	// stored form of the one before, or "". Needed.
	Hash func(ctx context.Context, password, like string) (string, error)
	// Among tells whether a password is one of these stored forms of one account
	// (authn.Hasher.Among). Without it, those that Hash makes with the same costs
	// are found.
	Among func(ctx context.Context, password string, stored []string) (bool, error)
	// Log is slog.Default when nil.
	Log *slog.Logger
}

// Store is the directory but for sign-in, which directory/authn adds on top of
// Account, Succeeded and Failed. Its methods are safe for concurrent use.
type Store struct {
	db     *pgdb.DB
	hash   func(ctx context.Context, password, like string) (string, error)
	among  func(ctx context.Context, password string, stored []string) (bool, error)
	log    *slog.Logger
	notify *pgdb.Notifier
	news   chan lockNews // of lock-outs, for Run
	wake   chan struct{} // somebody else committed

	schema  atomic.Pointer[schema.Schema]
	index   atomic.Pointer[index.Index]
	sights  sights
	founds  foundLists
	moves   moves
	refs    sync.Map // link numbers without AD's, by attribute, that are committed
	writes  writeQueue
	sync    chan struct{} // capacity 1: who holds it reads the change log
	running atomic.Bool   // Run is
	whole   directory.USN // all changes up to it are in the view; who holds sync reads it
	view    view
	feed    feed
	endings endings
	people  *otter.Cache[directory.ObjectID, *object] // as they were read; see object.as
}

// Open reads the whole directory (480,000 objects take seconds) and answers
// when the view is complete. Run must be running from then on.
func Open(ctx context.Context, db *pgdb.DB, o Options) (_ *Store, err error) {
	defer fault.Wrap(&err, "open the directory")
	if o.Hash == nil {
		return nil, errors.New("no way to hash passwords given")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	s := &Store{
		db: db, hash: o.Hash, among: o.Among, log: o.Log, news: make(chan lockNews, maxNews), notify: db.Notifier(channel),
		wake: make(chan struct{}, 1), sync: make(chan struct{}, 1),
		people: otter.Must(&otter.Options[directory.ObjectID, *object]{MaximumSize: keptPeople}),
	}
	s.schema.Store(productSchema())
	if err := s.fill(ctx); err != nil {
		return nil, err
	}
	if err := s.lookEnded(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Run keeps the view in step with the database until ctx ends, and returns its
// error then.
func (s *Store) Run(ctx context.Context) error {
	s.running.Store(true)
	defer s.running.Store(false)
	var owned sync.WaitGroup
	defer owned.Wait()
	owned.Go(func() { _ = s.notify.Run(ctx) })
	owned.Go(func() { s.noteLocks(ctx) })
	owned.Go(func() {
		_ = s.db.Listen(ctx, []string{channel}, pgdb.Heard{
			Notify:    func(_, payload string) { s.heard(payload) },
			Connected: s.poke,
		})
	})
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	prune := time.NewTicker(time.Hour)
	defer prune.Stop()
	ends := time.NewTicker(endsEvery)
	defer ends.Stop()
	owned.Go(func() { s.keepReaping(ctx) })
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
		case <-tick.C:
		case <-ends.C:
			if err := s.endAccounts(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "accounts that have expired are not ended", slog.Any("fault", err))
			}
		case <-prune.C:
			if err := s.prune(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "directory housekeeping failed", slog.Any("fault", err))
			}
		}
		err := s.lookSoon(ctx)
		if fault.Of(err) == fault.Resync {
			s.log.ErrorContext(ctx, "directory read again from the beginning", slog.Any("fault", err))
			err = s.fill(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "directory view falls behind", slog.Any("fault", err))
		}
	}
}

func (s *Store) lookSoon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	// First, because a look that goes well is a sign of life.
	if err := s.lookEnded(ctx); err != nil {
		return err
	}
	return s.look(ctx, 0)
}

// heard takes the notification of a change: its USN. What this process wrote
// itself it has seen already.
func (s *Store) heard(payload string) {
	if n, err := strconv.ParseInt(payload, 10, 64); err == nil && directory.USN(n) <= s.view.now() {
		return
	}
	s.poke()
}

func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// USN is the position of the view.
func (s *Store) USN() directory.USN { return s.view.now() }

// prune forgets what no follower and no sign-in needs any more.
func (s *Store) prune(ctx context.Context) error {
	if err := s.purge(ctx); err != nil {
		return err
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		// The counter row first, as every writer takes it.
		if _, err := tx.Exec(ctx, `SELECT FROM directory.forest FOR UPDATE`); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			WITH old AS (DELETE FROM directory.change c WHERE gone AND at < now() - $1::interval
				AND NOT EXISTS (SELECT FROM directory.object o WHERE o.id = c.object) RETURNING usn)
			UPDATE directory.forest SET floor = greatest(floor, (SELECT max(usn) FROM old)) WHERE EXISTS (SELECT FROM old)`, goneFor)
		return err
	})
	if err != nil {
		return err
	}
	// Logins that nobody has can be made up without end: an hour is enough.
	if _, err := s.db.Exec(ctx, `
		DELETE FROM directory.lockout WHERE until < now()
			AND last < now() - CASE WHEN key LIKE 'login %' THEN interval '1 hour' ELSE interval '1 day' END`); err != nil {
		return err
	}
	if _, err = s.db.Exec(ctx, `DELETE FROM directory.known_address WHERE last < now() - interval '90 days'`); err != nil {
		return err
	}
	if _, err = s.db.Exec(ctx, `DELETE FROM directory.unlinked WHERE at < now() - interval '1 hour'`); err != nil {
		return err
	}
	_, err = s.db.Exec(ctx, `DELETE FROM directory.audit WHERE at < now() - $1::interval`, auditFor)
	return err
}
