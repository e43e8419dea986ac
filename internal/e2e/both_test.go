package e2e

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	wb "waypost/services/eas/wbxml"
)

func mailText(from, to, subject, id, text string) []byte {
	return []byte(strings.ReplaceAll(fmt.Sprintf("From: %s\nTo: %s\nSubject: %s\nMessage-ID: <%s@sender.example.net>\nDate: %s\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n%s\n",
		from, to, subject, id, time.Now().Format(time.RFC1123Z), text), "\n", "\r\n"))
}

// watcher is an IMAP connection that idles and tells what it hears.
type watcher struct {
	c       *imapclient.Client
	exists  chan uint32
	expunge chan uint32
	flags   chan []imap.Flag
	idle    *imapclient.IdleCommand
}

func watch(t *testing.T, s *site, user, folder string) *watcher {
	t.Helper()
	w := &watcher{exists: make(chan uint32, 100), expunge: make(chan uint32, 100), flags: make(chan []imap.Flag, 100)}
	w.c = s.imap(user, &imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(d *imapclient.UnilateralDataMailbox) {
			if d.NumMessages != nil {
				w.exists <- *d.NumMessages
			}
		},
		Expunge: func(n uint32) { w.expunge <- n },
		Fetch: func(m *imapclient.FetchMessageData) {
			if b, err := m.Collect(); err == nil && b.Flags != nil {
				w.flags <- b.Flags
			}
		},
	}})
	if _, err := w.c.Select(folder, nil).Wait(); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.idle, err = w.c.Idle(); err != nil {
		t.Fatal(err)
	}
	return w
}

// within waits for something that an idling connection must hear in a second.
func within[T any](t *testing.T, what string, c <-chan T, ok func(T) bool) {
	t.Helper()
	limit := time.After(time.Second)
	for {
		select {
		case v := <-c:
			if ok(v) {
				return
			}
		case <-limit:
			t.Fatalf("%s: not heard within a second", what)
		}
	}
}

func anyOf[T any](T) bool { return true }

// bothWays changes mail on the phone and sees it over IMAP, and the other way
// round, each pushed within a second.
func bothWays(t *testing.T, s *site, version string) {
	ctx := t.Context()
	user := "carol"
	p := s.phone(user, "both"+strings.ReplaceAll(version, ".", ""), version)
	for _, step := range []func(context.Context) error{p.provision, p.folderSync} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	inbox := p.collection(p.folderOf(typeInbox))
	trash := p.collection(p.folderOf(typeDeleted))
	for _, c := range []*collection{inbox, trash} {
		if err := c.drain(ctx); err != nil {
			t.Fatal(err)
		}
	}
	w := watch(t, s, user, "INBOX")
	subject := "both ways " + version

	// A message arrives: the idling program and the waiting phone hear of it.
	ping := make(chan string, 1)
	pinged := func() {
		status, err := p.ping(ctx, 60*time.Second, inbox.id)
		if err != nil {
			status = err.Error()
		}
		ping <- status
	}
	go pinged()
	time.Sleep(200 * time.Millisecond) // so that the Ping waits
	body := mailText("Eve <eve@example.net>", user+"@"+domain, subject, "both"+version, "Hello.")
	if err := deliver(s.addr["smtp"], "eve@example.net", [][]string{{user + "@" + domain}}, func(int) io.Reader { return strings.NewReader(string(body)) }, func(int) {}); err != nil {
		t.Fatal(err)
	}
	within(t, "EXISTS after delivery", w.exists, anyOf[uint32])
	within(t, "Ping after delivery", ping, func(s string) bool {
		if s != "2" {
			t.Errorf("Ping answered %s", s)
		}
		return true
	})
	if err := inbox.drain(ctx); err != nil {
		t.Fatal(err)
	}
	id := inbox.find(subject)
	if id == "" {
		t.Fatalf("%q is not on the phone", subject)
	}
	if got := inbox.items[id].Get(wb.EmailRead); got != "0" {
		t.Errorf("Read is %q on the phone before it was read", got)
	}

	// Read on the phone, seen by the program.
	read := wb.New(wb.AirSyncChange, wb.NewText(wb.AirSyncServerId, id), wb.New(wb.AirSyncApplicationData, wb.NewText(wb.EmailRead, "1")))
	if _, err := inbox.sync(ctx, read); err != nil {
		t.Fatal(err)
	}
	within(t, `\Seen after it was read on the phone`, w.flags, func(f []imap.Flag) bool { return slices.Contains(f, imap.FlagSeen) })

	// Flagged by the program, seen on the phone.
	other := s.imap(user, nil)
	if _, err := other.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	found, err := other.UIDSearch(&imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: subject}}}, nil).Wait()
	if err != nil || len(found.AllUIDs()) != 1 {
		t.Fatalf("SEARCH: %v %v", found, err)
	}
	uid := imap.UIDSetNum(found.AllUIDs()[0])
	if err := inbox.drain(ctx); err != nil {
		t.Fatal(err)
	}
	go pinged()
	time.Sleep(200 * time.Millisecond)
	if err := other.Store(uid, &imap.StoreFlags{Op: imap.StoreFlagsDel, Flags: []imap.Flag{imap.FlagSeen}, Silent: true}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	within(t, "Ping after a mark by IMAP", ping, anyOf[string])
	if err := inbox.drain(ctx); err != nil {
		t.Fatal(err)
	}
	if got := inbox.items[id].Get(wb.EmailRead); got != "0" {
		t.Errorf("Read is %q on the phone after the program took it back", got)
	}

	// Moved on the phone to a folder that the program made.
	folder := "Folder " + strings.ReplaceAll(version, ".", "")
	if err := other.Create(folder, nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := p.folderSync(ctx); err != nil {
		t.Fatal(err)
	}
	dst := p.folderNamed(folder)
	if dst == "" {
		t.Fatalf("folder %q is not on the phone: %v", folder, p.folders)
	}
	for len(w.expunge) > 0 {
		<-w.expunge
	}
	moved, err := p.do(ctx, "MoveItems", wb.New(wb.MoveMoveItems, wb.New(wb.MoveMove, wb.NewText(wb.MoveSrcMsgId, id), wb.NewText(wb.MoveSrcFldId, inbox.id), wb.NewText(wb.MoveDstFldId, dst))))
	if err != nil || moved.Get(wb.MoveResponse, wb.MoveStatus) != "3" {
		t.Fatalf("MoveItems: %v %v", moved, err)
	}
	delete(inbox.items, id) // a phone takes away what it moved; the server does not tell it again
	within(t, "EXPUNGE after the phone moved it", w.expunge, anyOf[uint32])
	if st, err := other.Status(folder, &imap.StatusOptions{NumMessages: true}).Wait(); err != nil || *st.NumMessages != 1 {
		t.Errorf("STATUS after the move: %+v %v", st, err)
	}

	// The program moves it back; on the phone it is in the inbox again, once.
	if _, err := other.Select(folder, nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Move(imap.SeqSetNum(1), "INBOX").Wait(); err != nil {
		t.Fatal(err)
	}
	if err := inbox.drain(ctx); err != nil {
		t.Fatal(err)
	}
	id = inbox.find(subject)
	if id == "" {
		t.Fatal("the message that was moved back is not on the phone")
	}

	// Deleted on the phone: in Deleted Items everywhere.
	if _, err := inbox.sync(ctx, wb.New(wb.AirSyncDelete, wb.NewText(wb.AirSyncServerId, id))); err != nil {
		t.Fatal(err)
	}
	delete(inbox.items, id)
	if err := trash.drain(ctx); err != nil {
		t.Fatal(err)
	}
	if trash.find(subject) == "" {
		t.Error("deleted on the phone, but not in its Deleted Items")
	}
	if _, err := other.Select(trashOf(t, other), nil).Wait(); err != nil {
		t.Fatal(err)
	}
	found, err = other.UIDSearch(&imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: subject}}}, nil).Wait()
	if err != nil || len(found.AllUIDs()) != 1 {
		t.Fatalf("in the trash: %v %v", found, err)
	}
	// And expunged by the program: gone from the phone.
	uid = imap.UIDSetNum(found.AllUIDs()[0])
	if err := other.Store(uid, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}, Silent: true}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if err := other.UIDExpunge(uid).Close(); err != nil {
		t.Fatal(err)
	}
	if err := trash.drain(ctx); err != nil {
		t.Fatal(err)
	}
	if trash.find(subject) != "" {
		t.Error("expunged by IMAP, but still on the phone")
	}
	for _, c := range []*collection{inbox, trash} {
		if len(c.doubles) > 0 {
			t.Errorf("doubled on the phone: %v", c.doubles)
		}
	}
	_ = w.idle.Close()
}

func trashOf(t *testing.T, c *imapclient.Client) string {
	t.Helper()
	list, err := c.List("", "*", &imap.ListOptions{ReturnSpecialUse: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range list {
		if slices.Contains(l.Attrs, imap.MailboxAttrTrash) {
			return l.Mailbox
		}
	}
	t.Fatal("no folder has \\Trash")
	return ""
}

// answered sends from the phone and from the mail program, to people here; each
// copy arrives once, a repeated SendMail is one message.
func answered(t *testing.T, s *site) {
	ctx := t.Context()
	p := s.phone("alice", "sender", "14.1")
	for _, step := range []func(context.Context) error{p.provision, p.folderSync} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	w := watch(t, s, "bob", "INBOX")
	for range 3 { // the answer was lost twice
		err := p.send(ctx, "client-1", mailText("alice@"+domain, "bob@"+domain, "from the phone", "sent1", "Hi Bob"))
		if err != nil && !strings.Contains(err.Error(), "status 118") {
			t.Fatal(err)
		}
	}
	within(t, "EXISTS after SendMail", w.exists, anyOf[uint32])
	_ = w.idle.Close()
	count := func(user, folder, subject string) int {
		c := s.imap(user, nil)
		if _, err := c.Select(folder, nil).Wait(); err != nil {
			t.Fatal(err)
		}
		found, err := c.UIDSearch(&imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: subject}}}, nil).Wait()
		if err != nil {
			t.Fatal(err)
		}
		return len(found.AllUIDs())
	}
	time.Sleep(500 * time.Millisecond) // time for a second copy to show itself
	if n := count("bob", "INBOX", "from the phone"); n != 1 {
		t.Errorf("bob has %d copies, want 1", n)
	}
	sent := p.collection(p.folderOf(typeSent))
	if err := sent.drain(ctx); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, d := range sent.items {
		if d.Get(wb.EmailSubject) == "from the phone" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d copies in Sent Items, want 1", n)
	}
}
