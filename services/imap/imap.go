// Package imap is the IMAP door: IMAP4rev2 (RFC 9051) and IMAP4rev1 (RFC 3501)
// with the extensions that CAPABILITY names, over the mailbox store.
//
// The law of the package:
//
//   - A connection is one goroutine, and one more while it idles. Only they
//     touch the connection's state; nothing is locked and no transaction is
//     open while bytes are written to a client.
//   - One command is one file with one method; the table in command.go says in
//     which states it may run, and CAPABILITY is published from the same table.
//     A handler reads its arguments, calls End, makes its calls to the store and
//     answers. What it returns becomes the tagged reply, by the table in
//     status.go.
//   - What a client knows of the selected folder is its view: one row of 24
//     bytes a message, in the order of the sequence numbers that the client
//     counts with. The view follows the journal of the store by position, and
//     only refresh changes it. Rows of messages that are gone stay until
//     EXPUNGE may be sent (RFC 9051 section 7.5.1).
//   - A message is never parsed here. Its structure comes from the Summary made
//     at delivery, its bytes are a slice of the stored content and pass through
//     a buffer of 32 KiB whatever their size.
//   - Everything read has a limit and a deadline. A panic ends its connection
//     only.
//
// To add a command: write its file, add its row to the table in command.go, a
// conversation to testdata, and its status texts, if any, to status.go.
package imap

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waypost/directory"
	"waypost/store"
)

// Accounts lets people in and tells when they must go; the gate of
// directory/authn is the real one.
type Accounts interface {
	// SignIn fails with Unauthenticated, Limit or Unavailable.
	SignIn(ctx context.Context, c directory.Credentials) (directory.Principal, error)
	// Context gives a context that ends when what was granted to p is void: its
	// password, state or rights changed, or this process has been cut off from
	// the directory for too long. The CancelFunc frees it.
	Context(ctx context.Context, p directory.Principal) (context.Context, context.CancelFunc)
}

// Folders are the methods of the store that concern the tree of folders.
type Folders interface {
	Mailbox(ctx context.Context, as directory.Principal, box store.MailboxID) (store.Mailbox, error)
	Watch(box store.MailboxID) store.Watcher
	Folders(ctx context.Context, as directory.Principal, box store.MailboxID) ([]store.Folder, store.Seq, error)
	CreateFolder(ctx context.Context, as directory.Principal, box store.MailboxID, f store.Folder) (store.Folder, error)
	RenameFolder(ctx context.Context, as directory.Principal, box store.MailboxID, id, parent store.FolderID, name string) (store.Folder, error)
	DeleteFolder(ctx context.Context, as directory.Principal, box store.MailboxID, id store.FolderID, deep bool) error
	SubscribeFolder(ctx context.Context, as directory.Principal, box store.MailboxID, id store.FolderID, on bool) error
}

// Reader are the methods of the store that read messages.
type Reader interface {
	Entries(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, after store.UID, limit int) (store.Folder, []store.Entry, error)
	EntriesOf(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) ([]store.Entry, error)
	Changes(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, since store.Position, limit int) (store.Changes, error)
	Messages(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) ([]*store.Message, error)
	Content(ctx context.Context, as directory.Principal, box store.MailboxID, item store.ItemID) (store.Content, error)
	WithWords(ctx context.Context, as directory.Principal, box store.MailboxID, q store.WordQuery) (store.WithWords, error)
}

// Writer are the methods of the store that change messages.
type Writer interface {
	NewBlob(ctx context.Context, homeMDB string) (store.BlobWriter, error)
	Add(ctx context.Context, as directory.Principal, box store.MailboxID, m store.NewMessage) (store.Added, error)
	Flag(ctx context.Context, as directory.Principal, box store.MailboxID, c store.FlagChange) (store.FlagResult, error)
	Copy(ctx context.Context, as directory.Principal, box store.MailboxID, from store.FolderID, items []store.ItemID, to store.FolderID) (store.PlaceResult, error)
	Move(ctx context.Context, as directory.Principal, box store.MailboxID, from store.FolderID, items []store.ItemID, to store.FolderID) (store.PlaceResult, error)
	Delete(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, items []store.ItemID, onlyMarked bool) (store.Seq, []store.Tombstone, error)
}

// Mailboxes is what the door needs of the store.
type Mailboxes interface {
	Folders
	Reader
	Writer
}

// Config is how a Server behaves. Zero values mean the defaults named.
type Config struct {
	// TLS offers STARTTLS, and is needed for ServeTLS.
	TLS *tls.Config
	// PlainSignIn allows sign-in without TLS from everywhere; by default only
	// clients on this machine may.
	PlainSignIn bool
	// MaxAppend is the largest message taken, in bytes. Default 150 MiB.
	MaxAppend int64
	// MaxConns bounds all connections. Default 20,000.
	MaxConns int
	// MaxUnauthenticated bounds the connections from one address on which
	// nobody has signed in. Default 20.
	MaxUnauthenticated int
	// SignInTimeout ends a connection on which nobody signs in. Default 2 min.
	SignInTimeout time.Duration
	// IdleTimeout ends a silent connection (RFC 9051 section 5.4 demands at
	// least 30 min). Default 31 min.
	IdleTimeout time.Duration
	// ReadTimeout bounds the wait for the rest of a command. Default 2 min.
	ReadTimeout time.Duration
	// WriteTimeout bounds the writing of one buffer. Default 2 min.
	WriteTimeout time.Duration
	// FailureDelay is the wait after a wrong password, growing with each.
	// Default 1 s.
	FailureDelay time.Duration
	// Grace is what running commands get when the server stops. Default 5 s.
	Grace time.Duration
	// ViewCache bounds the memory of the cache of folder views, in messages of
	// 24 bytes. Default 2 million (48 MiB).
	ViewCache int
	// Log takes one line a command. Default slog.Default().
	Log *slog.Logger
	// Metrics, if not nil, is where the metrics are registered.
	Metrics prometheus.Registerer
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.SignInTimeout, 2*time.Minute)
	def(&c.IdleTimeout, 31*time.Minute)
	def(&c.ReadTimeout, 2*time.Minute)
	def(&c.WriteTimeout, 2*time.Minute)
	def(&c.FailureDelay, time.Second)
	def(&c.Grace, 5*time.Second)
	if c.MaxAppend <= 0 {
		c.MaxAppend = 150 << 20
	}
	if c.MaxConns <= 0 {
		c.MaxConns = 20_000
	}
	if c.MaxUnauthenticated <= 0 {
		c.MaxUnauthenticated = 20
	}
	if c.ViewCache <= 0 {
		c.ViewCache = 2_000_000
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}
