package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/smtp"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
)

// submit sends a message as one of our people, over TLS.
func (s *site) submit(user, to string, text []byte) error {
	conn, err := tls.Dial("tcp", s.addr["submissions"], noVerify)
	if err != nil {
		return err
	}
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Auth(smtp.PlainAuth("", user+"@"+domain, password, "localhost")); err != nil {
		return err
	}
	if err := c.Mail(user + "@" + domain); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// letterTo waits for the one message of an inbox that has a text in it.
func letterTo(t *testing.T, s *site, user, text string) (found string) {
	t.Helper()
	eventually(t, 30*time.Second, "a message to "+user+" with "+text, func() error {
		c, err := s.tryIMAP(user, nil)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		sel, err := c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait()
		if err != nil || sel.NumMessages == 0 {
			return fmt.Errorf("no message, %w", err)
		}
		all := imap.SeqSet{}
		all.AddRange(1, 0)
		section := &imap.FetchItemBodySection{Peek: true}
		msgs, err := c.Fetch(all, &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{section}}).Collect()
		if err != nil {
			return err
		}
		n := 0
		for _, m := range msgs {
			if b := string(m.FindBodySection(section)); strings.Contains(b, text) {
				found, n = b, n+1
			}
		}
		if n != 1 {
			return fmt.Errorf("%d of %d messages", n, len(msgs))
		}
		return nil
	})
	return found
}

// TestModeration: what strangers, our people and phones send to a moderated group
// waits, over the death of the program, until somebody decides.
func TestModeration(t *testing.T) {
	s := newSite(t)
	s.freePorts()
	s.serve()
	s.organisation("ann", "bob", "cid")
	board := "board@" + domain
	s.must("group", "add", board, "--name", "Board", "--member", "cid@"+domain)
	s.must("group", "set", board, "--moderator", "bob@"+domain)
	outside := func(from, to, subject, text string) error {
		body := string(mailText(from, to, subject, strings.ReplaceAll(subject, " ", "-"), text))
		return deliver(s.addr["smtp"], from, [][]string{{to}}, func(int) io.Reader { return strings.NewReader(body) }, func(int) {})
	}
	phone := s.phone("ann", "moderated", "14.1")
	for _, step := range []func(context.Context) error{phone.provision, phone.folderSync} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for what, err := range map[string]error{
		"outside":    outside("eve@example.net", board, "from outside", "text"),
		"submission": s.submit("ann", board, mailText("ann@"+domain, board, "from ann", "a1", "text")),
		"phone":      phone.send(t.Context(), "c1", mailText("ann@"+domain, board, "from a phone", "a2", "text")),
		"moderator":  s.submit("bob", board, mailText("bob@"+domain, board, "from bob", "b1", "text")),
	} {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	letterTo(t, s, "cid", "Subject: from bob\r\n") // needs nobody's approval
	ballots := map[string]string{}
	for _, subject := range []string{"from outside", "from ann", "from a phone"} {
		request := letterTo(t, s, "bob", "\r\nSubject: Approve for "+board+"? "+subject+"\r\n")
		ballots[subject] = regexp.MustCompile(`moderate-[a-z2-7]+@example\.test`).FindString(request)
	}
	if out := s.must("moderation", "list"); strings.Count(out, "waits") != 3 {
		t.Fatalf("the list is\n%s", out)
	}

	// Everything dies; what waits is there again, and the addresses work.
	_ = s.proc["waypost"].cmd.Process.Kill()
	<-s.proc["waypost"].done
	s.serve()
	if out := s.must("queue", "list", "--state", "moderated"); strings.Count(out, board) != 3 {
		t.Fatalf("the queue is\n%s", out)
	}
	approve := strings.Replace(ballots["from outside"], "moderate-", "approve-", 1)
	if err := outside("bob@"+domain, approve, "Approve", ""); err != nil {
		t.Fatal(err)
	}
	if err := outside("bob@"+domain, "approve-aaaaaaaaaaaaaaaaaaaaaaaaaa@"+domain, "Approve", ""); err == nil || !strings.Contains(err.Error(), "5.1.1") {
		t.Errorf("a guessed address: %v", err)
	}
	if err := s.submit("bob", ballots["from ann"], mailText("bob@"+domain, "x@"+domain, "Re: request", "b2", "REJECT: not for the board")); err != nil {
		t.Fatal(err)
	}
	bobs := s.phone("bob", "moderator", "14.1")
	if err := bobs.provision(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := bobs.send(t.Context(), "c2", mailText("bob@"+domain, ballots["from a phone"], "Re: request", "b3", "Approve\r\n\r\n> REJECT")); err != nil {
		t.Fatal(err)
	}
	got := letterTo(t, s, "cid", "Subject: from outside\r\n")
	if !strings.HasPrefix(got, "Return-Path: <eve@example.net>\r\n") || !strings.Contains(got, "Received: from sender.example.net") {
		t.Errorf("the approved message is\n%s", got)
	}
	letterTo(t, s, "cid", "Subject: from a phone\r\n")
	notice := letterTo(t, s, "ann", "declined the message: not for the board")
	if !strings.Contains(notice, "Status: 5.7.1\r\n") || !strings.Contains(notice, "Final-Recipient: rfc822; "+board) {
		t.Errorf("ann's notice is\n%s", notice)
	}
	eventually(t, 10*time.Second, "all is decided", func() error {
		if out := s.must("moderation", "list", "--all"); strings.Count(out, "approved by bob@"+domain) != 2 || strings.Count(out, "rejected by bob@"+domain) != 1 {
			return fmt.Errorf("the list is\n%s", out)
		}
		if out := s.must("queue", "list"); !strings.Contains(out, "(none)") {
			return fmt.Errorf("the queue is\n%s", out)
		}
		return nil
	})
	if n := subjects(t, s, "cid"); n["from ann"] != 0 || len(n) != 3 {
		t.Errorf("cid has %v", n)
	}

	// A command decides, once.
	if err := outside("eve@example.net", board, "once more", "text"); err != nil {
		t.Fatal(err)
	}
	letterTo(t, s, "bob", "? once more\r\n")
	s.must("moderation", "approve", "4")
	letterTo(t, s, "cid", "Subject: once more\r\n")
	if _, err := s.cli("", "moderation", "reject", "4"); err == nil || !strings.Contains(err.Error(), "decided before: approved by command line") {
		t.Errorf("a second decision: %v", err)
	}
}
