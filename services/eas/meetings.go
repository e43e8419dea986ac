package eas

import (
	"context"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/itip"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// Meetings is what the door asks of the role that tells others of a change and
// knows when people are free; services/meeting is the real one. With quiet
// nobody is told: before 16.0 the phone does that itself (MS-ASCAL 3.1.4.6).
type Meetings interface {
	PutObject(ctx context.Context, as directory.Principal, box store.MailboxID, p store.PutObject, quiet bool) (store.Put, error)
	RemoveObject(ctx context.Context, as directory.Principal, box store.MailboxID, r store.RemoveObject, quiet bool) (store.Seq, error)
	Respond(ctx context.Context, as directory.Principal, box store.MailboxID, item store.ItemID, answer itip.Answer) (store.Entry, error)
	FreeBusy(ctx context.Context, as directory.Principal, addresses []string, from, to time.Time) ([]store.Availability, error)
}

// alone is a door without the role: changes are kept, nobody is told.
type alone struct{ objectStore }

func (a alone) PutObject(ctx context.Context, as directory.Principal, box store.MailboxID, p store.PutObject, _ bool) (store.Put, error) {
	return a.objectStore.PutObject(ctx, as, box, p)
}

func (a alone) RemoveObject(ctx context.Context, as directory.Principal, box store.MailboxID, r store.RemoveObject, _ bool) (store.Seq, error) {
	return a.objectStore.RemoveObject(ctx, as, box, r)
}

func (alone) Respond(context.Context, directory.Principal, store.MailboxID, store.ItemID, itip.Answer) (store.Entry, error) {
	return store.Entry{}, fault.New(fault.Unavailable, "nobody takes answers to invitations here")
}

func (alone) FreeBusy(context.Context, directory.Principal, []string, time.Time, time.Time) ([]store.Availability, error) {
	return nil, nil
}

// meets tells whether others may have to hear of changes in a folder.
func meets(f *store.Folder) bool { return f.Class == store.ClassCalendar }

// phoneTells tells whether the phone itself tells others of what it changes.
func phoneTells(v wbxml.Version) bool { return v < wbxml.V160 }
