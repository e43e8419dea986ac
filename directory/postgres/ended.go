package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
)

const (
	// endedFor is how long a session's end is told again to who begins to follow:
	// longer than a token of it may live.
	endedFor = 15 * time.Minute
	// reapEvery is how often sessions are ended that nobody used for too long.
	reapEvery = time.Minute
	// endedNews is the notification of an end; those of changes are numbers.
	endedNews = "sessions"
)

// ended is one session that is over.
type ended struct {
	n  int64
	id directory.SessionID
	at time.Time
}

// endings are the ends that followers are told of.
type endings struct {
	mu     sync.Mutex
	n      int64 // the newest number that was read
	recent []ended
}

// after gives the ends after a number, and the newest one.
func (e *endings) after(n int64) (ids []directory.SessionID, now int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.recent {
		if one.n > n {
			ids = append(ids, one.id)
		}
	}
	return ids, e.n
}

// end ends the sessions that a condition finds; who has one is refused within a
// second wherever he is.
func (s *Store) end(ctx context.Context, where string, args ...any) (n int, err error) {
	defer fault.Wrap(&err, "end sessions")
	// Nobody waits for the counter row for nothing.
	var any bool
	if err := s.db.QueryRow(ctx, `SELECT EXISTS (SELECT FROM directory.session WHERE `+where+`)`, args...).Scan(&any); err != nil || !any {
		return 0, err
	}
	err = s.db.QueryRow(ctx, `
		WITH gone AS (DELETE FROM directory.session WHERE `+where+` RETURNING id),
		number AS (UPDATE directory.session_counter SET n = n + 1 RETURNING n),
		told AS (INSERT INTO directory.session_ended (n, session) SELECT number.n, gone.id FROM gone, number RETURNING 1)
		SELECT count(*) FROM told`, args...).Scan(&n)
	if err != nil || n == 0 {
		return n, err
	}
	s.notify.Notify(endedNews)
	return n, s.lookEnded(ctx)
}

// lookEnded reads what ended since the last look and wakes the followers.
func (s *Store) lookEnded(ctx context.Context) error {
	e := &s.endings
	e.mu.Lock()
	since := e.n
	e.mu.Unlock()
	rows, err := s.db.Query(ctx, `
		SELECT n, session, at FROM directory.session_ended WHERE n > $1 AND at > now() - $2::interval ORDER BY n`, since, endedFor)
	if err != nil {
		return err
	}
	news, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (one ended, err error) {
		err = r.Scan(&one.n, &one.id, &one.at)
		return one, err
	})
	if err != nil || len(news) == 0 {
		return err
	}
	e.mu.Lock()
	last := e.n // somebody else may have read some meanwhile
	for _, one := range news {
		if one.n > last {
			e.recent = append(e.recent, one)
			e.n = one.n
		}
	}
	for len(e.recent) > 0 && time.Since(e.recent[0].at) > 2*endedFor {
		e.recent = e.recent[1:]
	}
	e.mu.Unlock()
	s.feed.poke()
	return nil
}

// poke wakes the followers without a sign of life of the database.
func (f *feed) poke() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wake != nil {
		close(f.wake)
	}
	f.wake = make(chan struct{})
}

// reap ends sessions that are over by themselves, so that what they hold open
// ends too, and forgets what nobody asks for any more.
func (s *Store) reap(ctx context.Context) error {
	_, err := s.end(ctx, `id IN (SELECT s.id FROM directory.session s JOIN directory.account a ON a.object = s.object
		WHERE NOT (`+goodSession+`) LIMIT 1000)`)
	if err != nil {
		return err
	}
	b := &pgx.Batch{}
	b.Queue(`DELETE FROM directory.session_ended WHERE at < now() - interval '1 hour'`)
	b.Queue(`DELETE FROM directory.ticket WHERE until < now() - interval '1 hour'`)
	return s.db.Batch(ctx, b)
}

// keepReaping reaps until ctx ends.
func (s *Store) keepReaping(ctx context.Context) {
	tick := time.NewTicker(reapEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.reap(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "sessions that are over are not ended", "fault", err)
			}
		}
	}
}
