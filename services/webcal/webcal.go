// Package webcal is the role that keeps folders in step with the outside calendars
// that their owners subscribed to.
//
// Its law:
//
//   - An address is the owner's word, and so a stranger's: it is followed to the
//     Internet and nowhere else (guard.go), and everything that comes has a limit.
//   - Only what changed is written, so that phones and calendar programs are told
//     of nothing else. An object is known by its UID.
//   - A calendar that cannot be read stays as it was, and its owner is told why.
//   - Nothing in a feed is a message: no invitation in it is answered or sent.
package webcal

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

// Store is what the role asks of the mailbox store.
type Store interface {
	Homes() []string
	TakeFeed(ctx context.Context, home string, box store.MailboxID, folder store.FolderID, lease time.Duration) (*store.Feed, error)
	FeedDone(ctx context.Context, f *store.Feed) error
	ObjectList(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, after store.ItemID, limit int) ([]*store.Object, error)
	Objects(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) ([]*store.Object, error)
	PutObject(ctx context.Context, as directory.Principal, box store.MailboxID, p store.PutObject) (store.Put, error)
	DropObjects(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, items []store.ItemID) (store.Seq, error)
}

// Times between two readings of a calendar.
const (
	Often   = 15 * time.Minute
	Usual   = 4 * time.Hour
	Seldom  = 7 * 24 * time.Hour
	maxWait = 24 * time.Hour // after failures

	look    = 15 * time.Second // for what is due
	lease   = 15 * time.Minute
	within  = 10 * time.Minute // one calendar, less than the lease
	readers = 4
)

// Service reads calendars.
type Service struct {
	store   Store
	fetcher *fetcher
	log     *slog.Logger
	now     func() time.Time
	// heavy is held by the one calendar that is taken apart; others are fetched
	// meanwhile.
	heavy chan struct{}
}

// New makes the role.
func New(mail Store, n Network, log *slog.Logger) *Service {
	if log == nil {
		log = slog.Default()
	}
	return &Service{store: mail, fetcher: newFetcher(n), log: log.With("proto", "webcal"), now: time.Now, heavy: make(chan struct{}, 1)}
}

// Run reads what is due until ctx ends. Any number of processes may do so.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for range readers {
		g.Go(func() error {
			for {
				t := time.NewTimer(look/2 + rand.N(look))
				select {
				case <-ctx.Done():
					t.Stop()
					return ctx.Err()
				case <-t.C:
				}
				for _, home := range s.store.Homes() {
					for s.next(ctx, home) {
					}
				}
			}
		})
	}
	return g.Wait()
}

// next reads one that is due, and tells whether there was one.
func (s *Service) next(ctx context.Context, home string) bool {
	f, err := s.store.TakeFeed(ctx, home, 0, 0, lease)
	if err != nil || f == nil {
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "no calendar can be taken", "home", home, "err", err)
		}
		return false
	}
	_ = s.read(ctx, f)
	return ctx.Err() == nil
}

// Refresh reads the calendar of a folder now, and tells what became of it. Conflict:
// somebody else reads it.
func (s *Service) Refresh(ctx context.Context, home string, box store.MailboxID, folder store.FolderID) (store.FeedState, error) {
	f, err := s.store.TakeFeed(ctx, home, box, folder, lease)
	if err != nil {
		return store.FeedState{}, err
	}
	if f == nil {
		return store.FeedState{}, fault.New(fault.Conflict, "the calendar is being read already")
	}
	err = s.read(ctx, f)
	return f.State, err
}

// read brings a folder into step and keeps what became of it.
func (s *Service) read(ctx context.Context, f *store.Feed) error {
	begun := s.now()
	work, cancel := context.WithTimeout(ctx, within)
	d, err := s.update(work, f)
	cancel()
	now := s.now()
	st := &f.State
	if err == nil {
		st.Checked, st.Failures, st.Fault = now, 0, ""
		f.Due = now.Add(spread(every(st.Every)))
	} else {
		st.Failures++
		st.Fault = fault.Say(err)
		f.Due = now.Add(spread(backOff(st.Failures)))
	}
	if ctx.Err() != nil { // the program ends: as if nothing had been tried
		f.Due = begun
		st.Failures = max(0, st.Failures-1)
	}
	s.log.InfoContext(ctx, "calendar read", "mailbox", f.Mailbox, "folder", f.Folder, "dur", now.Sub(begun),
		"put", d.put, "dropped", d.dropped, "skipped", st.Skipped, "fault", fault.Of(err), "err", err)
	done, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(err, s.store.FeedDone(done, f))
}

// every is the time between two readings: what the calendar asks for, within bounds.
func every(asked time.Duration) time.Duration {
	if asked <= 0 {
		return Usual
	}
	return min(max(asked, Often), Seldom)
}

func backOff(failures int) time.Duration {
	return min(Often<<min(failures-1, 10), maxWait)
}

// spread keeps those who subscribed at the same moment apart.
func spread(d time.Duration) time.Duration { return d + rand.N(d/10) }

func (s *Service) update(ctx context.Context, f *store.Feed) (d diff, err error) {
	st := &f.State
	etag, modified := st.ETag, st.Modified
	if st.Failures > 0 { // the last one may have been taken in half
		etag, modified = "", ""
	}
	got, err := s.fetcher.fetch(ctx, f.URL, etag, modified)
	if err != nil || got.body == nil {
		return d, err
	}
	sum := sha256.Sum256(got.body)
	if st.Failures > 0 || string(sum[:]) != string(st.Digest) {
		select {
		case s.heavy <- struct{}{}:
			defer func() { <-s.heavy }()
		case <-ctx.Done():
			return d, ctx.Err()
		}
		if d, err = s.apply(ctx, f, got.body); err != nil {
			return d, err
		}
		if d.put+d.dropped > 0 {
			st.Changed = s.now()
		}
		st.Digest, st.Objects, st.Skipped, st.Every = sum[:], d.objects, d.skipped, d.every
	}
	st.ETag, st.Modified = got.etag, got.modified
	return d, nil
}
