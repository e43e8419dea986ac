package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/schema"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
)

const (
	// together is how many waiting writes one transaction takes.
	together = 50
	// queued bounds the writes that wait; more are told to come later.
	queued = 4096
	// writeTimeout bounds one transaction.
	writeTimeout = 2 * time.Minute
	// unseen is how long after the last sign of life of the database a write
	// waits for it: a little less than what a gate trusts without one, so that
	// its client hears of it.
	unseen = 25 * time.Second
)

// letGo makes PostgreSQL take the counter row from a process that has gone
// silent within a transaction, before those who wait for the row give up.
const letGo = `set_config('idle_in_transaction_session_timeout', '10s', true)`

// byIndex makes PostgreSQL find rows by their index, one after the other, for the
// rest of the transaction. Plans of foreign keys and statements are kept for a
// session: one that was made while a table had a few rows, or by somebody who
// cannot know how few changes there are, would read all of it every time.
const byIndex = `set_config('enable_seqscan', 'off', true) || set_config('enable_hashjoin', 'off', true) || set_config('enable_mergejoin', 'off', true)`

// writing is one change under way, inside a transaction that holds the counter
// row. All that it saves carries the one USN.
type writing struct {
	*pgdb.Tx
	store    *Store
	by       actor
	own      *ownWrites
	usn      directory.USN
	counters *counters
	schema   *schema.Schema
	domains  map[string]domainRef          // found so far
	homes    map[string]directory.ObjectID // mailbox databases found so far
	refs     map[string]int32              // link numbers found so far, see references

	// last, if not nil, takes what is written, to travel with the commit.
	last *later
	// before are the objects to be removed as they were when the row was taken.
	before *leaves
}

// later are statements that are still to be sent, and what is done when they were.
type later struct {
	pgx.Batch
	then []func()
	base directory.USN // the newest change before them
	// leaned are the objects that entries to be added are below of or linked to.
	leaned map[directory.ObjectID]bool
}

// send sends a writing's last statements, now or with the commit, and does then
// once they were. Who calls it asks the tables nothing afterwards.
func (w *writing) send(ctx context.Context, b *pgx.Batch, then func()) error {
	if w.last != nil {
		w.last.QueuedQueries = append(w.last.QueuedQueries, b.QueuedQueries...)
		w.last.then = append(w.last.then, then)
		return nil
	}
	if b.Len() > 0 {
		if err := w.Batch(ctx, b); err != nil {
			return err
		}
	}
	then()
	return nil
}

// flush sends them ahead of the commit.
func (l *later) flush(ctx context.Context, tx *pgdb.Tx) error {
	if l.Len() > 0 {
		if err := tx.Batch(ctx, &l.Batch); err != nil {
			return err
		}
	}
	l.done()
	l.Batch = pgx.Batch{}
	return nil
}

func (l *later) done() {
	for _, fn := range l.then {
		fn()
	}
	l.then = nil
}

func (s *Store) newWriting(tx *pgdb.Tx, by actor, usn directory.USN, c *counters) *writing {
	return &writing{
		Tx: tx, store: s, by: by, usn: usn, counters: c, schema: s.Schema(),
		own: newOwnWrites(0), domains: map[string]domainRef{}, homes: map[string]directory.ObjectID{}, refs: map[string]int32{},
	}
}

// counters is the row of directory.forest while it is held.
type counters struct {
	usn     directory.USN
	object  directory.ObjectID
	mailbox directory.MailboxID
}

func (w *writing) newObject() directory.ObjectID {
	w.counters.object++
	return w.counters.object
}

func (w *writing) newMailbox() directory.MailboxID {
	w.counters.mailbox++
	return w.counters.mailbox
}

// job is a write that waits. fn may run more than once and must set its
// results anew each time.
type job struct {
	ctx  context.Context
	by   actor
	fn   func(context.Context, *writing) error
	err  error
	done chan struct{} // closed when err is final
	lead chan struct{} // receives when this job's caller is to lead

	// With others of its kind it can be done at once, instead of by fn.
	add *adding
	del *deleting
}

// kinds of jobs.
const (
	alone = iota
	adds
	removes
)

func (j *job) kind() int {
	switch {
	case j.add != nil:
		return adds
	case j.del != nil:
		return removes
	}
	return alone
}

// run keeps a panic of one caller's function from the others' changes and from
// the queue; its caller gets it as an error.
func (j *job) run(ctx context.Context, w *writing) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a change of the directory: %v\n%s", p, debug.Stack())
		}
	}()
	return j.fn(ctx, w)
}

// succeeds runs a job by itself and tells whether it went well.
func (j *job) succeeds(ctx context.Context, w *writing) bool {
	j.err = j.run(ctx, w)
	return j.err == nil
}

type writeQueue struct {
	mu      sync.Mutex
	waiting []*job
	leading bool
}

// write runs fn in a transaction, together with others that wait, and returns
// when it is committed and in the view. An end of ctx while it is waiting
// leaves nothing behind; once begun it is carried to its end.
//
// There is no writer goroutine: whoever comes first leads, and hands over to
// the next who waits when its own job is done.
func (s *Store) write(ctx context.Context, by actor, fn func(context.Context, *writing) error) error {
	return s.do(&job{ctx: ctx, by: by, fn: fn})
}

func (s *Store) do(j *job) error {
	if j.by.from == "" {
		j.by.from = directory.ClientOf(j.ctx)
	}
	j.done, j.lead = make(chan struct{}), make(chan struct{}, 1)
	q := &s.writes
	q.mu.Lock()
	if len(q.waiting) >= queued {
		q.mu.Unlock()
		return fault.New(fault.Limit, "too many changes at once")
	}
	q.waiting = append(q.waiting, j)
	if !q.leading {
		q.leading = true
		j.lead <- struct{}{}
	}
	q.mu.Unlock()

	select {
	case <-j.done:
		return j.err
	case <-j.lead:
	}
	// The first batch holds j: it is the head of the queue.
	q.mu.Lock()
	n := min(len(q.waiting), together)
	batch := append([]*job(nil), q.waiting[:n]...)
	q.waiting = append(q.waiting[:0], q.waiting[n:]...)
	q.mu.Unlock()

	finish := s.commit(batch)

	// The next transaction runs while this process brings its view up.
	q.mu.Lock()
	if len(q.waiting) > 0 {
		q.waiting[0].lead <- struct{}{}
	} else {
		q.leading = false
	}
	q.mu.Unlock()
	finish()
	return j.err
}

// savepoints undo one job of several. A savepoint is made anew in the round trip
// that gives the one before up; after an undo it is still there.
type savepoints struct {
	tx     *pgdb.Tx
	needed bool
	there  bool // a savepoint is set
	clean  bool // nothing was done since
}

func (s *savepoints) set(ctx context.Context) error {
	if !s.needed || s.clean {
		s.clean = false
		return nil
	}
	sql := "savepoint job"
	if s.there {
		sql = "release savepoint job; " + sql
	}
	s.there = true
	_, err := s.tx.Exec(ctx, sql)
	return err
}

func (s *savepoints) back(ctx context.Context) error {
	s.clean = true
	_, err := s.tx.Exec(ctx, "rollback to savepoint job")
	return err
}

// commit runs the jobs in one transaction; finish waits until the view has it
// and answers each.
func (s *Store) commit(batch []*job) (finish func()) {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer s.whileSeen(cancel)()
	own, last, err := s.transact(ctx, partsOf(batch), true)
	if len(batch) > 1 && err != nil && ctx.Err() == nil && fault.Of(err) != fault.Unavailable || errors.Is(err, errApart) {
		own, last, err = s.transact(ctx, apart(batch), false)
	}
	if err != nil && ctx.Err() != nil && fault.Of(err) != fault.Unavailable {
		err = fault.From(fault.Unavailable, err, "the directory's database does not answer")
		for _, j := range batch {
			j.err = err
		}
	}
	return func() {
		defer cancel()
		s.show(ctx, batch, own, last, err)
	}
}

// errApart tells that jobs cannot be done at once: each goes alone.
var errApart = errors.New("to be done one by one")

// partsOf puts jobs that can be done at once together, additions before
// removals; nobody waits for one of them to ask for another.
func partsOf(batch []*job) (parts [][]*job) {
	var kinds [removes + 1][]*job
	for _, j := range batch {
		kinds[j.kind()] = append(kinds[j.kind()], j)
	}
	for _, list := range kinds[adds:] {
		if len(list) > 0 {
			parts = append(parts, list)
		}
	}
	return append(parts, apart(kinds[alone])...)
}

func apart(batch []*job) (parts [][]*job) {
	for i := range batch {
		parts = append(parts, batch[i:i+1])
	}
	return parts
}

// transact runs jobs in one transaction, those of a part at once. last is 0
// when nothing was written.
//
// With shared, additions and removals are judged by what there was when the row
// was taken, and what they write travels with the commit: two round trips for
// all. What then fails there fails for all of them, and is errApart.
func (s *Store) transact(ctx context.Context, parts [][]*job, shared bool) (own *ownWrites, last directory.USN, err error) {
	committed := false
	err = s.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		var c counters
		b := &pgx.Batch{}
		b.Queue(`SELECT usn, object, mailbox, ` + byIndex + `, ` + letGo + ` FROM directory.forest FOR UPDATE`).QueryRow(func(row pgx.Row) error {
			return row.Scan(&c.usn, &c.object, &c.mailbox, nil, nil)
		})
		var before *leaves
		if shared {
			before = s.leavesOf(parts)
			before.queue(b)
		}
		if err := tx.Batch(ctx, b); err != nil {
			return err
		}
		own, last = newOwnWrites(c.usn), 0
		own.all = true
		end := &later{base: c.usn, leaned: map[directory.ObjectID]bool{}}
		wrote := false
		undo := savepoints{tx: tx, needed: len(parts) > 1}
		for _, part := range parts {
			part = waited(part)
			if len(part) == 0 {
				continue
			}
			c.usn++
			w := s.newWriting(tx, part[0].by, c.usn, &c)
			switch j := part[0]; {
			case shared && j.kind() != alone:
				w.last, w.before = end, before
				if err := runTogether(ctx, w, part); err != nil {
					return err
				}
			default:
				if err := end.flush(ctx, tx); err != nil {
					return err
				}
				if err := undo.set(ctx); err != nil {
					return err
				}
				if j.succeeds(ctx, w) {
					break
				}
				if len(parts) == 1 {
					return j.err
				}
				if err := undo.back(ctx); err != nil {
					return errors.Join(j.err, err)
				}
			}
			if slices.ContainsFunc(part, func(j *job) bool { return j.err == nil }) {
				wrote = true
				end.then = append(end.then, func() { own.take(w.own) })
			}
		}
		if !wrote {
			return nil
		}
		last = c.usn
		end.Queue(`UPDATE directory.forest SET usn = $1, object = $2, mailbox = $3`, c.usn, c.object, c.mailbox)
		err := tx.SendBatchAndCommit(ctx, &end.Batch)
		if committed = tx.Committed(); err == nil {
			end.done()
		}
		return err
	})
	if err != nil && committed { // only what it told of itself was not understood
		s.log.Warn("reading what a change of the directory said", slog.Any("fault", err))
		own.all, err = false, nil
	}
	return own, last, err
}

// waited leaves out those whose callers went away.
func waited(part []*job) (left []*job) {
	for _, j := range part {
		if j.err = j.ctx.Err(); j.err == nil {
			left = append(left, j)
		}
	}
	return left
}

// runTogether does jobs of one kind at once. Its error is none of theirs.
func runTogether(ctx context.Context, w *writing, part []*job) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in changes of the directory: %v\n%s", p, debug.Stack())
		}
	}()
	if part[0].add != nil {
		list := make([]*adding, len(part))
		for i, j := range part {
			list[i] = j.add
			list[i].by = j.by
		}
		if err := w.addAll(ctx, list); err != nil {
			return err
		}
		for i, j := range part {
			j.err = list[i].d.err
		}
		return nil
	}
	list := make([]*deleting, len(part))
	for i, j := range part {
		list[i] = j.del
		list[i].by = j.by
	}
	if err := w.deleteAll(ctx, list); err != nil {
		return err
	}
	for i, j := range part {
		j.err = list[i].err
	}
	return nil
}

// whileSeen calls cancel once the database has been silent for too long, until
// the function that it gives is called. It is asked on another connection all
// the time while Run runs: a transaction that takes long is no sign.
func (s *Store) whileSeen(cancel func()) (end func()) {
	if !s.running.Load() {
		return func() {}
	}
	var t *time.Timer
	began := make(chan struct{})
	t = time.AfterFunc(max(0, unseen-s.feed.silent()), func() {
		<-began // t is set
		if left := unseen - s.feed.silent(); left > 0 {
			t.Reset(left)
		} else {
			cancel()
		}
	})
	close(began)
	return func() { t.Stop() }
}

// show brings what was committed into the view and answers the jobs.
func (s *Store) show(ctx context.Context, batch []*job, own *ownWrites, last directory.USN, err error) {
	if err == nil && last > 0 {
		// Committed: it stays so even if this process cannot see it yet.
		if s.applyOwn(ctx, own, last) {
			// Nobody else wrote: it is seen already.
		} else if err := s.look(ctx, last); err != nil {
			s.log.Warn("directory view falls behind", slog.Any("fault", err))
		}
		s.notify.Notify(strconv.FormatInt(int64(last), 10))
	}
	for _, j := range batch {
		if err != nil && j.err == nil {
			j.err = err
		}
		close(j.done)
	}
}
