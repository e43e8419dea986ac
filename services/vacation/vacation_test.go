package vacation

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/store"
	"waypost/store/postgres"
	"waypost/store/storetest"
)

type people struct{}

func (people) User(_ context.Context, _ directory.Principal, id directory.ObjectID) (directory.User, error) {
	if id != 1 {
		return directory.User{}, fault.New(fault.NotFound, "nobody")
	}
	return directory.User{ID: 1, Name: "Jörg Away", Address: "joerg@example.test", Addresses: []string{"joerg@example.test", "old@example.test"}}, nil
}

func (people) Resolve(_ context.Context, address string) (directory.Resolution, error) {
	if strings.HasSuffix(address, "@example.test") {
		return directory.Resolution{Standing: directory.Person}, nil
	}
	return directory.Resolution{Standing: directory.Unknown}, nil
}

// TestAnswer: who hears of an absence, and of what, with the real store.
func TestAnswer(t *testing.T) {
	db, err := pgdb.Open(t.Context(), pgtest.New(t, migrations.Mail), pgdb.Options{Name: "vacation"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s, err := postgres.New(map[string]*pgdb.DB{postgres.DefaultHome: db}, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 12, 24, 9, 0, 0, 0, time.UTC)
	v := New(s, people{}, Options{Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	owner := storetest.Owner(1)
	to := directory.Target{ID: 1, Mailbox: 1, HomeMDB: "default", Address: "joerg@example.test"}
	set := func(fn func(*store.OutOfOffice)) {
		t.Helper()
		if _, err := s.UpdateSettings(t.Context(), owner, 1, func(set *store.Settings) error {
			fn(&set.OutOfOffice)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	deliver := func(env envelope.Envelope, header string) (away bool) {
		t.Helper()
		raw := header + "\r\n\r\nHello\r\n"
		blob, sum, err := storetest.Upload(t.Context(), s, strings.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		m := store.NewMessage{Blob: blob, Summary: sum, Prefix: []byte("Return-Path: <>\r\n")}
		added, err := s.Add(t.Context(), owner, 1, m)
		if err != nil {
			t.Fatal(err)
		}
		if !added.Away {
			return false
		}
		if err := v.Answer(t.Context(), to, env, added.Entry.Item, m); err != nil {
			t.Fatal(err)
		}
		return true
	}
	told := func() (list []string) {
		t.Helper()
		out, err := s.NextOutbox(t.Context(), postgres.DefaultHome, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range out {
			if o.From != "" {
				t.Errorf("sent from %q", o.From)
			}
			list = append(list, o.Recipients...)
		}
		return list
	}
	const toMe = "\r\nTo: Jörg <JOERG@example.test>\r\nSubject: Question\r\nMessage-ID: <q@example.net>"

	if deliver(envelope.Envelope{From: "ann@example.net"}, "From: ann@example.net"+toMe) {
		t.Error("away without a notice")
	}
	set(func(o *store.OutOfOffice) {
		o.State, o.Start, o.End = "timed", now.Add(-time.Hour), now.Add(48*time.Hour)
		o.Internal = store.OutOfMessage{Enabled: true, Text: "Skiing until Monday"}
		o.Known = store.OutOfMessage{Enabled: true, Text: "<p>Away &amp; known</p>", HTML: true}
		o.Unknown = store.OutOfMessage{Enabled: true, Text: "Away"}
	})
	for _, tt := range []struct {
		name, from, header string
		trusted            bool
	}{
		{"null sender", "", "From: x@example.net" + toMe, false},
		{"automatic", "a1@example.net", "From: a1@example.net\r\nAuto-Submitted: auto-replied" + toMe, false},
		{"bulk", "a2@example.net", "From: a2@example.net\r\nPrecedence: bulk" + toMe, false},
		{"list", "a3@example.net", "From: a3@example.net\r\nList-Unsubscribe: <mailto:x@example.net>" + toMe, false},
		{"suppressed", "a4@example.net", "From: a4@example.net\r\nX-Auto-Response-Suppress: DR, OOF" + toMe, false},
		{"machine", "noreply@example.net", "From: noreply@example.net" + toMe, false},
		{"bounces", "x-bounces@example.net", "From: a5@example.net" + toMe, false},
		{"to a list", "a6@example.net", "From: a6@example.net\r\nTo: staff@example.test\r\nSubject: x", false},
		{"oneself", "old@example.test", "From: old@example.test" + toMe, true},
		{"report", "a7@example.net", "From: a7@example.net\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=x" + toMe +
			"\r\n\r\n--x\r\n\r\nfailed\r\n--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; example.net\r\n--x--", false},
	} {
		if !deliver(envelope.Envelope{From: tt.from, Trusted: tt.trusted}, tt.header) {
			t.Errorf("%s: not seen as away", tt.name)
		}
		if got := told(); got != nil {
			t.Fatalf("%s: told %v", tt.name, got)
		}
	}
	if _, err := s.PutObject(t.Context(), owner, 1, store.PutObject{Role: store.RoleContacts, Edit: storetest.SetText(storetest.Card("known", "Known", "EMAIL:known@example.net"))}); err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"ann@example.net": "Away", "known@example.net": "<p>Away &amp; known</p>", "bob@example.test": "Skiing", "forged@example.test": "Away"}
	for range 2 { // the second time nobody is told again
		for from := range texts {
			deliver(envelope.Envelope{From: from, Trusted: from == "bob@example.test"}, "From: "+from+toMe)
		}
	}
	out, err := s.NextOutbox(t.Context(), postgres.DefaultHome, 100)
	if err != nil || len(out) != len(texts) {
		t.Fatalf("%d answers, %v", len(out), err)
	}
	for _, o := range out {
		c, err := s.OutboxContent(t.Context(), postgres.DefaultHome, o.ID)
		if err != nil {
			t.Fatal(err)
		}
		raw := make([]byte, c.Size())
		if _, err := c.ReadAt(raw, 0); err != nil {
			t.Fatal(err)
		}
		text := string(raw)
		sum, _ := mail.Parse(strings.NewReader(text))
		if !strings.Contains(text, texts[o.Recipients[0]]) {
			t.Errorf("%s is told %s", o.Recipients[0], text)
		}
		if sum.AutoSubmitted != "auto-replied" || sum.InReplyTo != "<q@example.net>" || sum.Subject != "Automatic reply: Question" || sum.From[0].String() != "Jörg Away <joerg@example.test>" {
			t.Errorf("answer: %s", text)
		}
	}
	// Later, or switched off, nobody is told; another notice is told again.
	now = now.Add(72 * time.Hour)
	deliver(envelope.Envelope{From: "late@example.net"}, "From: late@example.net"+toMe)
	set(func(o *store.OutOfOffice) { o.State = "" })
	if deliver(envelope.Envelope{From: "late@example.net"}, "From: late@example.net"+toMe) {
		t.Error("still away")
	}
	set(func(o *store.OutOfOffice) { o.State = "on"; o.Unknown.Text = "Away for longer" })
	deliver(envelope.Envelope{From: "ann@example.net"}, "From: ann@example.net"+toMe)
	if got := told(); len(got) != 1 || got[0] != "ann@example.net" { // those before are leased
		t.Errorf("told %v", got)
	}
}
