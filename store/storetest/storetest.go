// Package storetest is the one suite of behaviours that every store.Store must
// show. It uses nothing but the interface.
package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/store"
)

// Quota is the default quota of the mailboxes of a store under test, in bytes.
const Quota = 64 << 20

// Opened is a store under test.
type Opened struct {
	Store store.Store
	// Purge purges as if it were now.
	Purge func(now time.Time) error
	// Outbox lists what waits to be moved to the transport.
	Outbox func() ([]store.OutboxEntry, error)
}

// Run tests stores; open makes an empty one.
func Run(t *testing.T, open func(t *testing.T) Opened) {
	t.Run("Large", func(t *testing.T) { // alone, for it measures memory
		large(t, &suite{T: t, Opened: open(t), box: 1})
	})
	for _, tt := range []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"StandardFolders", standardFolders},
		{"Folders", folders},
		{"FolderChanges", folderChanges},
		{"DeleteFolder", deleteFolder},
		{"Add", add},
		{"AddInvalid", addInvalid},
		{"Once", once},
		{"AddCombined", addCombined},
		{"Entries", entriesPages},
		{"Changes", changes},
		{"ChangesOfOneSeq", changesOfOneSeq},
		{"ChangesBetweenPages", changesBetweenPages},
		{"MoveOutAndBack", moveOutAndBack},
		{"Floor", floor},
		{"Flag", flag},
		{"UnchangedSince", unchangedSince},
		{"Props", props},
		{"Copy", copies},
		{"Move", moves},
		{"DeleteAndRestore", deleteAndRestore},
		{"Purge", purge},
		{"Empty", empty},
		{"Newest", newest},
		{"Threads", threads},
		{"Quota", quota},
		{"Rights", rights},
		{"SingleInstance", singleInstance},
		{"Blobs", blobs},
		{"Warm", warm},
		{"Send", send},
		{"Find", find},
		{"Words", wordsOfMessages},
		{"WordsModel", wordsModel},
		{"Watch", watch},
		{"SyncStates", syncStates},
		{"Devices", devices},
		{"Settings", settings},
		{"PutObject", putObject},
		{"PutOnce", putOnce},
		{"PutIfFolder", putIfFolder},
		{"PutRace", putRace},
		{"ObjectLists", objectLists},
		{"Occurrences", occurrences},
		{"PlaceObjects", placeObjects},
		{"ObjectQuota", objectQuota},
		{"PutAndSend", putAndSend},
		{"FolderProps", folderProps},
		{"FedFolders", fedFolders},
		{"Publications", publications},
		{"BirthdaysFolder", birthdaysFolder},
		{"ShareMatrix", shareMatrix},
		{"ShareViews", shareViews},
		{"Subscriptions", subscriptions},
		{"ObjectModel", objectModel},
		{"Queries", queries},
		{"MailChanges", mailChanges},
		{"Uploads", uploads},
		{"Submissions", submissions},
		{"Model", model},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t, &suite{T: t, Opened: open(t), box: 1})
		})
	}
}

// suite is a store with the few steps that tests are made of. Its steps fail
// the test when they fail.
type suite struct {
	*testing.T
	Opened
	box store.MailboxID
}

// Owner is the principal that owns a mailbox.
func Owner(box store.MailboxID) directory.Principal {
	return directory.Principal{ID: directory.ObjectID(box), Mailbox: box, HomeMDB: "default", Address: fmt.Sprintf("user%d@example.test", box)}
}

func (b *suite) me() directory.Principal { return Owner(b.box) }

func (b *suite) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// wantFault checks the kind of an error.
func (b *suite) wantFault(err error, want fault.Kind) {
	b.Helper()
	if err == nil || fault.Of(err) != want {
		b.Fatalf("got error %v, want a fault of kind %v", err, want)
	}
}

// Text makes a message.
func Text(subject, body string, fields ...string) []byte {
	var m bytes.Buffer
	fmt.Fprintf(&m, "From: Ann <ann@example.org>\r\nTo: Bob <bob@example.test>\r\nSubject: %s\r\nDate: Mon, 02 Nov 2026 10:00:00 +0100\r\n", subject)
	for _, f := range fields {
		m.WriteString(f + "\r\n")
	}
	m.WriteString("\r\n" + body + "\r\n")
	return m.Bytes()
}

// Upload writes content and parses it on the way, as doors do.
func Upload(ctx context.Context, s store.Store, r io.Reader) (store.Blob, *mail.Summary, error) {
	w, err := s.NewBlob(ctx, "default")
	if err != nil {
		return store.Blob{}, nil, err
	}
	defer w.Abort()
	p := mail.NewParser()
	if _, err := io.Copy(io.MultiWriter(w, p), r); err != nil {
		return store.Blob{}, nil, err
	}
	blob, err := w.Close(ctx)
	return blob, p.Summary(), err
}

// message makes a NewMessage.
func (b *suite) message(raw []byte) store.NewMessage {
	b.Helper()
	blob, sum, err := Upload(b.Context(), b.Store, bytes.NewReader(raw))
	b.must(err)
	return store.NewMessage{Blob: blob, Summary: sum}
}

func (b *suite) add(m store.NewMessage) store.Added {
	b.Helper()
	a, err := b.Store.Add(b.Context(), b.me(), b.box, m)
	b.must(err)
	return a
}

// text adds a small message to the inbox.
func (b *suite) text(subject string, fields ...string) store.Added {
	b.Helper()
	return b.add(b.message(Text(subject, "body of "+subject, fields...)))
}

func (b *suite) folder(r store.Role) store.Folder {
	b.Helper()
	f, err := b.Store.FolderByRole(b.Context(), b.me(), b.box, r)
	b.must(err)
	return f
}

// read gives an item's content.
func (b *suite) read(item store.ItemID) []byte {
	b.Helper()
	c, err := b.Store.Content(b.Context(), b.me(), b.box, item)
	b.must(err)
	raw, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	b.must(err)
	return raw
}

func (b *suite) entries(f store.FolderID) []store.Entry {
	b.Helper()
	var all []store.Entry
	after := store.UID(0)
	for {
		_, page, err := b.Store.Entries(b.Context(), b.me(), b.box, f, after, 1000)
		b.must(err)
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		after = page[len(page)-1].UID
	}
}

func standardFolders(t *testing.T, b *suite) {
	m, err := b.Store.Mailbox(t.Context(), b.me(), b.box)
	b.must(err)
	if m.ID != b.box || m.Items != 0 || m.Quota != Quota || m.Created.IsZero() {
		t.Errorf("new mailbox: %+v", m)
	}
	list, seq, err := b.Store.Folders(t.Context(), b.me(), b.box)
	b.must(err)
	if seq == 0 {
		t.Error("the hierarchy has no number")
	}
	var got []string
	for _, f := range list {
		got = append(got, string(f.Role))
		if f.UIDValidity == 0 || f.UIDNext != 1 || f.Parent != 0 || f.Name == "" {
			t.Errorf("folder %+v", f)
		}
	}
	want := "inbox drafts sent trash junk outbox calendar contacts tasks notes journal"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("folders %q, want %q", s, want)
	}
}

func add(t *testing.T, b *suite) {
	raw := Text("hello", "the body")
	m := b.message(raw)
	m.Prefix = []byte("Return-Path: <ann@example.org>\r\n")
	m.Flags, m.Keywords = store.Seen, []string{"$Label2", "$Label1", "$Label1"}
	a := b.add(m)
	f := b.folder(store.RoleInbox)
	if a.Entry.UID != 1 || a.Entry.Folder != f.ID || a.UIDValidity != f.UIDValidity || int64(a.Thread) != int64(a.Entry.Item) {
		t.Errorf("added %+v", a)
	}
	got := b.entries(f.ID)
	if len(got) != 1 || fmt.Sprintf("%+v", got[0]) != fmt.Sprintf("%+v", a.Entry) {
		t.Errorf("entries %+v, want %+v", got, a.Entry)
	}
	if want := append(append([]byte{}, m.Prefix...), raw...); !bytes.Equal(b.read(a.Entry.Item), want) {
		t.Errorf("content %q, want %q", b.read(a.Entry.Item), want)
	}
	ms, err := b.Store.Messages(t.Context(), b.me(), b.box, []store.ItemID{a.Entry.Item, 999999})
	b.must(err)
	if ms[1] != nil || ms[0] == nil || ms[0].Summary.Subject != "hello" || !bytes.Equal(ms[0].Prefix, m.Prefix) || ms[0].Size != a.Entry.Size {
		t.Errorf("messages %+v", ms)
	}
	if f.Total != 1 || f.Unread != 0 || f.UIDNext != 2 || f.Size != a.Entry.Size {
		t.Errorf("folder %+v", f)
	}
}
