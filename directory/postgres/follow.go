package postgres

import (
	"context"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
)

const (
	// step bounds the changes read at once, so that one look after a bulk
	// import needs little memory.
	step = 5000
	// kept is how many changes the feed keeps in memory for its followers, at
	// times twice as many.
	kept = 8192
	// beatEvery is how often at most a follower hears a beat. One is sent when
	// the database was looked at and nothing is new (every three seconds), and
	// at no other time: it is a sign of life of the database, not of this
	// process. The promise of directory.Directory is ten seconds.
	beatEvery = 2 * time.Second
	// lookTimeout bounds one look at a database that does not answer.
	lookTimeout = 10 * time.Second
)

// fillGC is how much the heap may grow between two collections while everything
// is read, in percent: rows become garbage at once, and what stays has hardly a
// pointer to follow, so that collecting often costs little.
// finishGC is the same while the indexes are made of what was read: in few large
// pieces, and this is when most memory is in use.
const (
	fillGC   = 30
	finishGC = 10
)

// tightMemory keeps the memory near what is needed, until the function that it
// gives is called.
func tightMemory(percent int) (end func()) {
	was := debug.SetGCPercent(percent)
	if was >= 0 && was < percent {
		debug.SetGCPercent(was)
	}
	debug.FreeOSMemory()
	return func() {
		debug.SetGCPercent(was)
		debug.FreeOSMemory()
	}
}

// allTime lifts the limit on statements for the rest of a transaction that
// reads everything.
const allTime = `set_config('statement_timeout', '0', true)`

// fill reads everything from one snapshot, in place of what the view had.
func (s *Store) fill(ctx context.Context) error {
	select {
	case s.sync <- struct{}{}:
		defer func() { <-s.sync }()
	case <-ctx.Done():
		return ctx.Err()
	}
	defer tightMemory(fillGC)()
	var all *filled
	err := s.db.Snapshot(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		var usn directory.USN
		if err := tx.QueryRow(ctx, `SELECT usn, `+allTime+` FROM directory.forest`).Scan(&usn, nil); err != nil {
			return err
		}
		all = nil // of a try before
		var err error
		all, err = s.fillAll(ctx, tx, usn)
		return err
	})
	if err != nil {
		return err
	}
	defer tightMemory(finishGC)()
	if err := s.finish(ctx, all); err != nil {
		return err
	}
	s.whole = all.usn
	s.feed.reset(all.usn)
	return nil
}

// look brings the view to the newest committed USN, which is at least the one
// named when its writer has committed it.
func (s *Store) look(ctx context.Context, least directory.USN) error {
	select {
	case s.sync <- struct{}{}:
		defer func() { <-s.sync }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if least > 0 && s.view.now() >= least {
		return nil // somebody else's look saw it
	}
	for {
		changes, usn, more, err := s.readChanges(ctx)
		if err != nil {
			return err
		}
		s.feed.push(changes, usn)
		if !more {
			return nil
		}
	}
}

// readChanges applies the next changes to the view and gives them.
func (s *Store) readChanges(ctx context.Context) (changes []directory.Change, usn directory.USN, more bool, err error) {
	since := s.view.now()
	err = s.db.Snapshot(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		r, err := s.readFrom(ctx, tx, since, s.whole, s.feed.fresh())
		if err != nil {
			return err
		}
		if r.usn < since {
			// The database was put back to an older state under us.
			return fault.New(fault.Resync, "the directory went back from %d to %d: start again", since, r.usn)
		}
		changes, usn, more = r.changes, r.usn, r.more
		ids := make([]directory.ObjectID, 0, len(changes))
		for _, c := range changes {
			ids = append(ids, c.ID)
		}
		s.noteMoves(usn, ids, r.entries)
		s.view.apply(usn, ids, r.entries)
		return s.applyIndex(ctx, tx, r)
	})
	if err == nil && !more {
		s.whole = usn
	}
	return changes, usn, more, err
}

// changesSQL reads whole USNs, so that one is never cut in two.
const changesSQL = `
	SELECT usn, object, kind, gone, epoch, enabled FROM directory.change
	WHERE usn > $1 AND usn <= coalesce(
		(SELECT usn FROM directory.change WHERE usn > $1 ORDER BY usn, object OFFSET $2 - 1 LIMIT 1), 9223372036854775807)
	ORDER BY usn, object`

func scanChanges(rows pgx.Rows) ([]directory.Change, error) {
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (c directory.Change, err error) {
		err = r.Scan(&c.USN, &c.ID, &c.Kind, &c.Gone, &c.Epoch, &c.Enabled)
		return c, err
	})
}

// feed keeps the newest changes for followers and wakes them.
type feed struct {
	mu    sync.Mutex
	usn   directory.USN
	floor directory.USN // recent holds every change after it
	at    time.Time     // when the database was last seen
	tail  []directory.Change
	wake  chan struct{} // closed and replaced at every look
}

// reset begins at usn; followers of another history must begin anew.
func (f *feed) reset(usn directory.USN) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wake != nil {
		close(f.wake)
	}
	f.usn, f.floor, f.tail, f.at, f.wake = usn, usn, nil, time.Now(), make(chan struct{})
}

// push tells the followers; the view is at usn already.
func (f *feed) push(changes []directory.Change, usn directory.USN) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = time.Now()
	f.usn = usn
	f.tail = append(f.tail, changes...)
	if cut := len(f.tail) - kept; cut > kept { // not at every push: the rest is copied
		// Never inside one USN.
		f.floor = f.tail[cut-1].USN
		for cut < len(f.tail) && f.tail[cut].USN == f.floor {
			cut++
		}
		f.tail = slices.Clone(f.tail[cut:])
	}
	close(f.wake)
	f.wake = make(chan struct{})
}

// after gives the changes after since when memory holds them all.
func (f *feed) after(since directory.USN) (changes []directory.Change, usn directory.USN, wake <-chan struct{}, whole bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if since < f.floor {
		return nil, f.usn, f.wake, false
	}
	i, _ := slices.BinarySearchFunc(f.tail, since+1, func(c directory.Change, u directory.USN) int { return int(c.USN - u) })
	return slices.Clone(f.tail[i:]), f.usn, f.wake, true
}

func (f *feed) now() directory.USN {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.usn
}

func (f *feed) fresh() bool { return f.silent() < 2*lookEvery }

// silent is how long the database has not been seen.
func (f *feed) silent() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Since(f.at)
}

// Follow implements directory.Directory.
func (s *Store) Follow(ctx context.Context, since directory.USN, fn func([]directory.Change) error) error {
	if since < 0 {
		since = s.feed.now()
	}
	if since > s.feed.now() {
		// Another process told it, or the database was put back.
		if err := s.look(ctx, 0); err != nil {
			return err
		}
		if now := s.feed.now(); since > now {
			return fault.New(fault.Resync, "the directory is at %d, not yet at %d", now, since)
		}
	}
	var told time.Time
	var endedAt int64
	tell := func(changes []directory.Change) error {
		told = time.Now()
		return fn(changes)
	}
	if s.feed.fresh() {
		if err := tell([]directory.Change{{USN: since}}); err != nil {
			return err
		}
	}
	for {
		changes, usn, wake, whole := s.feed.after(since)
		// Ends of sessions have no USN: their line repeats where the follower is.
		ids, n := s.endings.after(endedAt)
		if endedAt = n; len(ids) > 0 {
			over := make([]directory.Change, len(ids))
			for i, id := range ids {
				over[i] = directory.Change{USN: since, Ended: id}
			}
			if err := tell(over); err != nil {
				return err
			}
		}
		if usn < since {
			return fault.New(fault.Resync, "the directory went back to %d", usn)
		}
		if !whole {
			var err error
			if changes, err = s.changesAfter(ctx, since, usn); err != nil {
				return err
			}
			if len(changes) == 0 {
				changes = []directory.Change{{USN: usn}}
			}
		}
		if len(changes) > 0 {
			if err := tell(changes); err != nil {
				return err
			}
			since = changes[len(changes)-1].USN
			continue
		}
		since = max(since, usn) // past numbers that left no trace
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
			if s.feed.now() == since && time.Since(told) >= beatEvery {
				if err := tell([]directory.Change{{USN: since}}); err != nil {
					return err
				}
			}
		}
	}
}

// changesAfter reads old changes from the log, no newer than the feed at now.
func (s *Store) changesAfter(ctx context.Context, since, now directory.USN) (changes []directory.Change, err error) {
	err = s.db.Snapshot(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		var floor directory.USN
		b := &pgx.Batch{}
		b.Queue(`SELECT floor FROM directory.forest`).QueryRow(func(r pgx.Row) error { return r.Scan(&floor) })
		b.Queue(changesSQL, since, step).Query(func(rows pgx.Rows) (err error) {
			changes, err = scanChanges(rows)
			return err
		})
		if err := tx.Batch(ctx, b); err != nil {
			return err
		}
		if since < floor && since > 0 {
			return fault.New(fault.Resync, "the change log begins after %d", floor)
		}
		return nil
	})
	return slices.DeleteFunc(changes, func(c directory.Change) bool { return c.USN > now }), err
}
