// Package birthdays is the role that keeps calendars of birthdays in step with
// their owners' contacts.
//
// Its law: it follows the journal of contacts and writes what follows from each
// contact as it is now. So it may be late, run twice or begin anew, and ends with
// the same; and nobody who writes a contact waits for it.
package birthdays

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

// Store is what the role asks of the mailbox store.
type Store interface {
	Homes() []string
	TakeBirthdays(ctx context.Context, home string, lease time.Duration) (*store.Birthdays, error)
	BirthdaysDone(ctx context.Context, b *store.Birthdays) error
	Folders(ctx context.Context, as directory.Principal, box store.MailboxID) ([]store.Folder, store.Seq, error)
	ObjectList(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, after store.ItemID, limit int) ([]*store.Object, error)
	ObjectsNamed(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, names []string) ([]*store.Object, error)
	Objects(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) ([]*store.Object, error)
	PutObject(ctx context.Context, as directory.Principal, box store.MailboxID, p store.PutObject) (store.Put, error)
	DropObjects(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, items []store.ItemID) (store.Seq, error)
}

const (
	look   = 10 * time.Second // for contacts that changed
	lease  = 10 * time.Minute
	within = 5 * time.Minute // one mailbox, less than the lease
	page   = 250             // contacts, each of them at most twice an event
)

// Service is the role.
type Service struct {
	store Store
	log   *slog.Logger
}

// New makes the role.
func New(mail Store, log *slog.Logger) *Service {
	if log == nil {
		log = slog.Default()
	}
	return &Service{mail, log.With("proto", "birthdays")}
}

// Run follows until ctx ends. Any number of processes may do so.
func (s *Service) Run(ctx context.Context) error {
	for {
		t := time.NewTimer(look/2 + rand.N(look))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		for _, home := range s.store.Homes() {
			if err := s.Follow(ctx, home); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "birthdays cannot be followed", "home", home, "err", err)
			}
		}
	}
}

// Follow brings everybody's calendar of birthdays in a mailbox database into step.
func (s *Service) Follow(ctx context.Context, home string) error {
	for ctx.Err() == nil {
		b, err := s.store.TakeBirthdays(ctx, home, lease)
		if err != nil || b == nil {
			return err
		}
		work, cancel := context.WithTimeout(ctx, within)
		err = s.follow(work, b)
		cancel()
		if err != nil { // the lease holds it back for a while
			s.log.WarnContext(ctx, "birthdays failed", "mailbox", b.Mailbox, "fault", fault.Of(err), "err", err)
			continue
		}
		if err := s.store.BirthdaysDone(ctx, b); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// one is a mailbox that is brought into step.
type one struct {
	*store.Birthdays
	store Store
	as    directory.Principal
	books map[store.FolderID]bool
}

func (s *Service) follow(ctx context.Context, b *store.Birthdays) error {
	w := &one{b, s.store, directory.System("birthdays"), map[store.FolderID]bool{}}
	w.as.Mailbox, w.as.HomeMDB = b.Mailbox, b.Home
	folders, _, err := s.store.Folders(ctx, w.as, b.Mailbox)
	if err != nil {
		return err
	}
	trashed := map[store.FolderID]bool{}
	there := false
	for _, f := range folders { // parents before children
		trashed[f.ID] = f.Role == store.RoleTrash || trashed[f.Parent]
		w.books[f.ID] = f.Class == store.ClassContacts && !trashed[f.ID]
		there = there || f.ID == b.Folder
	}
	switch {
	case !there: // it went meanwhile
		return nil
	case b.All:
		return w.all(ctx)
	}
	for items := b.Touched; len(items) > 0; items = items[min(page, len(items)):] {
		if err := w.contacts(ctx, items[:min(page, len(items))]); err != nil {
			return err
		}
	}
	return nil
}

// all compares every contact and every event.
func (w *one) all(ctx context.Context) error {
	alive := map[store.ItemID]bool{}
	for book, is := range w.books {
		if !is {
			continue
		}
		err := w.list(ctx, book, func(items []store.ItemID, _ []*store.Object) error {
			for _, item := range items {
				alive[item] = true
			}
			return w.contacts(ctx, items)
		})
		if err != nil {
			return err
		}
	}
	var gone []store.ItemID
	err := w.list(ctx, w.Folder, func(_ []store.ItemID, list []*store.Object) error {
		for _, o := range list {
			if item, ok := contactOf(o.Name); !ok || !alive[item] {
				gone = append(gone, o.Item)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.drop(ctx, gone)
}

func (w *one) list(ctx context.Context, folder store.FolderID, fn func([]store.ItemID, []*store.Object) error) error {
	for after := store.ItemID(0); ; {
		list, err := w.store.ObjectList(ctx, w.as, w.Mailbox, folder, after, page)
		if err != nil {
			return err
		}
		items := make([]store.ItemID, len(list))
		for i, o := range list {
			items[i], after = o.Item, o.Item
		}
		if len(list) > 0 {
			if err := fn(items, list); err != nil {
				return err
			}
		}
		if len(list) < page {
			return nil
		}
	}
}

// An event is named after its contact's id, which stays when the contact moves.
var kinds = []string{"birthday", "anniversary"}

func nameOf(item store.ItemID, kind string) string { return fmt.Sprintf("%d-%s.ics", item, kind) }

func contactOf(name string) (item store.ItemID, ok bool) {
	id, _, ok := strings.Cut(name, "-")
	if !ok {
		return 0, false
	}
	n := int64(0)
	_, err := fmt.Sscanf(id, "%d", &n)
	return store.ItemID(n), err == nil
}

// contacts writes the events of contacts as these are now, and drops those of
// contacts that are gone or have no such day any more.
func (w *one) contacts(ctx context.Context, items []store.ItemID) error {
	var names []string
	for _, item := range items {
		for _, kind := range kinds {
			names = append(names, nameOf(item, kind))
		}
	}
	have, err := w.store.ObjectsNamed(ctx, w.as, w.Mailbox, w.Folder, names)
	if err != nil {
		return err
	}
	there := map[string]store.ItemID{}
	for i, o := range have {
		if o != nil {
			there[names[i]] = o.Item
		}
	}
	err = store.EachObject(items, func(page []store.ItemID) ([]*store.Object, error) {
		return w.store.Objects(ctx, w.as, w.Mailbox, page)
	}, func(o *store.Object) error {
		if !w.books[o.Folder] {
			return nil
		}
		days, err := Days(o.Text)
		if err != nil { // the store has read it, so this is a limit; it has no days for us
			return nil
		}
		for _, d := range days {
			name := nameOf(o.Item, d.Kind)
			delete(there, name)
			uid := fmt.Sprintf("%s-%d-%d@waypost", d.Kind, w.Mailbox, o.Item)
			_, err := w.store.PutObject(ctx, w.as, w.Mailbox, store.PutObject{
				Folder: w.Folder, Name: name, UID: uid, Feed: true,
				Edit: func(*store.Object) (store.Edit, error) { return store.Edit{Text: d.Event(uid)}, nil },
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var gone []store.ItemID
	for _, item := range there {
		gone = append(gone, item)
	}
	return w.drop(ctx, gone)
}

func (w *one) drop(ctx context.Context, gone []store.ItemID) error {
	for len(gone) > 0 {
		n := min(1000, len(gone))
		if _, err := w.store.DropObjects(ctx, w.as, w.Mailbox, w.Folder, gone[:n]); err != nil {
			return err
		}
		gone = gone[n:]
	}
	return nil
}
