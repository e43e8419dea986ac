package eas

import (
	"context"
	"time"

	"waypost/directory"
	"waypost/store"
)

// mailStore is what the mail commands need of the store; *postgres.Store of
// store/postgres is the real one.
type mailStore interface {
	stateStore
	itemStore

	Folders(ctx context.Context, as directory.Principal, box store.MailboxID) ([]store.Folder, store.Seq, error)
	FolderByRole(ctx context.Context, as directory.Principal, box store.MailboxID, r store.Role) (store.Folder, error)
	CountSince(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, cutoff time.Time) (int, error)
	FindMessages(ctx context.Context, as directory.Principal, box store.MailboxID, q store.Find) ([]store.Entry, int, error)
	DeleteFolder(ctx context.Context, as directory.Principal, box store.MailboxID, id store.FolderID, deep bool) error

	NewBlob(ctx context.Context, homeMDB string) (store.BlobWriter, error)
	Add(ctx context.Context, as directory.Principal, box store.MailboxID, m store.NewMessage) (store.Added, error)
	Flag(ctx context.Context, as directory.Principal, box store.MailboxID, c store.FlagChange) (store.FlagResult, error)
	Move(ctx context.Context, as directory.Principal, box store.MailboxID, from store.FolderID, items []store.ItemID, to store.FolderID) (store.PlaceResult, error)
	Delete(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, items []store.ItemID, onlyMarked bool) (store.Seq, []store.Tombstone, error)
	Empty(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID) error
	Send(ctx context.Context, as directory.Principal, box store.MailboxID, o store.Outgoing) (store.Sent, error)
	Watch(box store.MailboxID) store.Watcher
}

// itemStore reads items and their changes.
type itemStore interface {
	Folder(ctx context.Context, as directory.Principal, box store.MailboxID, id store.FolderID) (store.Folder, error)
	Newest(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, cutoff time.Time, upTo store.Seq, before store.ItemID, limit int) ([]store.Entry, error)
	Aged(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, from, to time.Time, after store.ItemID, limit int) ([]store.Entry, error)
	EntriesOf(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) ([]store.Entry, error)
	Changes(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, since store.Position, limit int) (store.Changes, error)
	Messages(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) ([]*store.Message, error)
	Content(ctx context.Context, as directory.Principal, box store.MailboxID, item store.ItemID) (store.Content, error)
	Warm(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) error
}

var _ mailStore = store.Store(nil)
