// Package meeting is what every door does with appointments that others are
// invited to: it tells those whom a change concerns, takes what others tell into
// the calendars of our people, lets rooms answer, and says when people are free.
//
// Promises:
//
//   - A change and its messages are written in one transaction of the mailbox, and
//     messages are the difference of the newest text and the new one. So a change
//     is told once, whatever crashes and however often a request comes.
//   - What comes by mail changes a calendar once: the delivery's id goes along, and
//     what is not newer changes nothing. The mail is in the inbox whatever becomes
//     of its calendar.
//   - A message that a room has dealt with goes from its inbox; it can be restored.
//   - A room answers by what its calendar holds at the commit: of two requests for
//     the same time one is accepted, however close they come.
//   - Nobody sees more of another one's time than the rights in its calendars allow.
//
// What messages say and mean is internal/itip.
package meeting

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"waypost/directory"
	"waypost/internal/itip"
	"waypost/store"
)

// Store is what meetings need of the mailbox store.
type Store interface {
	store.Objects
	Views(ctx context.Context, as directory.Principal, box store.MailboxID) (map[store.FolderID]store.Rights, error)
	Settings(ctx context.Context, as directory.Principal, box store.MailboxID) (store.Settings, error)
	Folders(ctx context.Context, as directory.Principal, box store.MailboxID) ([]store.Folder, store.Seq, error)
	FolderByRole(ctx context.Context, as directory.Principal, box store.MailboxID, r store.Role) (store.Folder, error)
	Delete(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, items []store.ItemID, onlyMarked bool) (store.Seq, []store.Tombstone, error)
	EntriesOf(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) ([]store.Entry, error)
	Messages(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) ([]*store.Message, error)
	Content(ctx context.Context, as directory.Principal, box store.MailboxID, item store.ItemID) (store.Content, error)
	NewBlob(ctx context.Context, homeMDB string) (store.BlobWriter, error)
	Send(ctx context.Context, as directory.Principal, box store.MailboxID, o store.Outgoing) (store.Sent, error)
	SyncState(ctx context.Context, as directory.Principal, box store.MailboxID, client, scope string) (store.SyncState, error)
	SaveSyncState(ctx context.Context, as directory.Principal, box store.MailboxID, client, scope string, was int64, data []byte, replaceOnly bool) error
}

// Directory is what meetings need of the directory.
type Directory interface {
	Resolve(ctx context.Context, address string) (directory.Resolution, error)
	Expand(ctx context.Context, group directory.ObjectID, p directory.Page) ([]directory.Target, error)
	MaySendTo(ctx context.Context, from directory.Sender, group directory.ObjectID) ([]directory.Target, error)
	User(ctx context.Context, as directory.Principal, id directory.ObjectID) (directory.User, error)
	Group(ctx context.Context, as directory.Principal, address string) (directory.Group, error)
	Delegates(ctx context.Context, as directory.Principal, id directory.ObjectID) ([]directory.Target, error)
}

// Options of the role.
type Options struct {
	Now func() time.Time
	Log *slog.Logger
}

// Service is the role.
type Service struct {
	store Store
	dir   Directory
	o     Options
}

// New makes the role.
func New(s Store, d Directory, o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Service{store: s, dir: d, o: o}
}

// PutObject is the store's, for an event or task that as writes into its own
// mailbox: whom the change concerns is told, or with quiet nobody, because the
// client does that itself. The text that is stored may differ from what Edit gave:
// SEQUENCE, answers, what only the organizer changes.
func (s *Service) PutObject(ctx context.Context, as directory.Principal, box store.MailboxID, p store.PutObject, quiet bool) (store.Put, error) {
	if res, err := s.putPrivate(ctx, as, box, p); !errors.Is(err, errConcerns) {
		return res, err
	}
	a, err := s.own(ctx, as, box)
	if err != nil {
		return store.Put{}, err
	}
	return s.put(ctx, a, p, quiet)
}

// PutObjectFor is PutObject by a delegate of the mailbox's owner, in its name.
func (s *Service) PutObjectFor(ctx context.Context, as directory.Principal, owner directory.Target, p store.PutObject, quiet bool) (store.Put, error) {
	a, err := s.delegate(ctx, as, owner)
	if err != nil {
		return store.Put{}, err
	}
	return s.put(ctx, a, p, quiet)
}

// RemoveObject is the store's, likewise: an organizer's meeting is cancelled, an
// invitation declined.
func (s *Service) RemoveObject(ctx context.Context, as directory.Principal, box store.MailboxID, r store.RemoveObject, quiet bool) (store.Seq, error) {
	a, err := s.own(ctx, as, box)
	if err != nil {
		return 0, err
	}
	return s.remove(ctx, a, r, quiet)
}

// RemoveObjectFor is RemoveObject by a delegate.
func (s *Service) RemoveObjectFor(ctx context.Context, as directory.Principal, owner directory.Target, r store.RemoveObject, quiet bool) (store.Seq, error) {
	a, err := s.delegate(ctx, as, owner)
	if err != nil {
		return 0, err
	}
	return s.remove(ctx, a, r, quiet)
}

// Respond answers an invitation. The item is the event in the calendar, or the
// mail that it came with; of a copy that as got as somebody's delegate, it answers
// for that one. What is declined goes from the calendar, and Item is 0 then.
func (s *Service) Respond(ctx context.Context, as directory.Principal, box store.MailboxID, item store.ItemID, answer itip.Answer) (store.Entry, error) {
	return s.respond(ctx, as, box, item, answer)
}
