package relay_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/services/relay"
)

const group = "moderated@example.test"

// askedLab is a lab where a message to the moderated group waits.
func askedLab(t *testing.T, env envelope.Envelope, text string) *lab {
	t.Helper()
	h := newHop(t, nil)
	l := newLab(t, routes(h, "there.test"))
	l.outside = h
	l.run()
	l.submit(envelope.Submission{Envelope: env, To: []string{group}}, body(text))
	l.until("a request", func() bool { return len(l.box("chair")) == 1 && len(h.messages()) == 1 })
	l.until("waiting", func() bool {
		e := l.entries()
		return len(e) == 1 && e[0].To[0].State == relay.Moderated && !e[0].To[0].Active
	})
	if got := l.box("alice"); len(got) != 0 {
		t.Fatalf("before anybody approved, alice has %q", got)
	}
	return l
}

func fromBob(id string) envelope.Envelope {
	return envelope.Envelope{ID: id, From: "bob@example.test", Trusted: true, Trace: []byte("Received: ours\r\n")}
}

const plainText = "From: bob@example.test\r\nSubject: =?utf-8?q?H=C3=A9llo?=\r\n\r\nthe text\r\n"

// address finds where a kind of decision goes in a request.
func address(t testing.TB, request, kind string) string {
	t.Helper()
	found := regexp.MustCompile(kind + `-[a-z2-7]{26}@example\.test`).FindString(request)
	if found == "" {
		t.Fatalf("no address to %s in\n%s", kind, request)
	}
	return found
}

// say sends a decision.
func (l *lab) say(id, from, to, header, text string) {
	l.t.Helper()
	l.submit(envelope.Submission{Envelope: envelope.Envelope{ID: id, From: from, Trusted: true}, To: []string{to}}, body("From: x\r\n"+header+"\r\n"+text))
}

func (l *lab) decided(want relay.Verdict) relay.Moderation {
	l.t.Helper()
	list, err := l.queue.Moderations(context.Background(), admin, relay.ModerationFilter{})
	if err != nil || len(list) != 1 || list[0].Verdict != want {
		l.t.Fatalf("moderations: %+v, %v; want one %q", list, err, want)
	}
	return list[0]
}

func TestModerationRequest(t *testing.T) {
	l := askedLab(t, fromBob("1"), plainText)
	m := l.box("chair")[0]
	for _, want := range []string{
		"Return-Path: <>\r\n", "Auto-Submitted: auto-generated\r\n", "From: \"Approval for " + group + "\" <postmaster@mx.example.test>\r\n",
		"From:     bob@example.test\r\n", "Subject:  Héllo\r\n", "Reply-To: <moderate-", "mailto:approve-", "mailto:reject-",
		"Content-Type: message/rfc822\r\n", "\r\n\r\nReceived: ours\r\n" + plainText,
	} {
		if !strings.Contains(m, want) {
			t.Errorf("no %q in\n%s", want, m)
		}
	}
	sum, err := mail.Parse(strings.NewReader(m))
	if err != nil || !sum.IsAutomatic() || len(sum.Defects) != 0 || sum.Envelope.Subject != "Approve for "+group+"? Héllo" {
		t.Errorf("the request is %+v, %v", sum, err)
	}
	if c := sum.Root.Children; len(c) != 2 || c[1].Envelope == nil || c[1].Envelope.Subject != "Héllo" {
		t.Errorf("the original is not in the request: %+v", c)
	}
	// Everybody has a token of his own.
	if address(t, m, "approve") == address(t, l.outside.messages()[0], "approve") {
		t.Error("two moderators have one token")
	}
	w := l.decided(relay.Undecided)
	if w.Group != group || w.From != "bob@example.test" || w.Subject != "Héllo" || w.Key != "1" || !slices.Equal(w.Moderators, []string{"chair@example.test", "mod@there.test"}) ||
		w.Expires.Sub(w.Created) != 5*24*time.Hour {
		t.Errorf("it waits as %+v", w)
	}
	for address, want := range map[string]bool{
		address(t, m, "approve"): true, strings.ToUpper(address(t, m, "reject")): true, address(t, m, "moderate"): true,
		"approve-aaaaaaaaaaaaaaaaaaaaaaaaaa@example.test": false, "approve@example.test": false, "x@example.test": false,
		strings.Replace(address(t, m, "approve"), "approve", "other", 1): false,
	} {
		if ok, err := l.Expects(t.Context(), address); ok != want || err != nil {
			t.Errorf("%s is expected: %t, %v", address, ok, err)
		}
	}
}

// Each way to decide, by mail.
func TestModerationByMail(t *testing.T) {
	for _, tt := range []struct {
		name, kind, header, text string
		want                     relay.Verdict
		told                     string // to the sender
		answer                   string // to the moderator
	}{
		{"approve", "approve", "Subject: Approve\r\n", "", relay.Approved, "", ""},
		{"approve, whatever is written", "approve", "", "reject", relay.Approved, "", ""},
		{"reject", "reject", "Subject: Reject\r\n", "", relay.Rejected, "550 5.7.1 A moderator of this list declined the message\r\n", ""},
		{
			"reject with a comment", "reject", "Content-Type: text/plain; charset=utf-8\r\n", "Not here,\r\nplease: très long.\r\n-- \r\nChair\r\n", relay.Rejected,
			"declined the message: Not here, please: très long.\r\n", "",
		},
		{"reply", "moderate", "", "\r\nApproved!\r\n\r\nOn Monday it was written:\r\n> APPROVE or REJECT\r\n", relay.Approved, "", ""},
		{"reply with a comment", "moderate", "", "reject: too long\r\n\r\n> x\r\n", relay.Rejected, "declined the message: too long\r\n", ""},
		{"a reply in HTML", "moderate", "Content-Type: text/html\r\n", "<p>Approve</p><blockquote>Reject</blockquote>", relay.Approved, "", ""},
		{"a reply that says nothing", "moderate", "", "Who is that?\r\n> APPROVE\r\n", relay.Undecided, "", "was not understood"},
		{"a quoted word", "moderate", "", "> APPROVE\r\n", relay.Undecided, "", "was not understood"},
		{"a vacation notice", "approve", "Auto-Submitted: auto-replied\r\n", "Approve", relay.Undecided, "", ""},
		{"a notice of an old program", "approve", "Precedence: bulk\r\n", "Approve", relay.Undecided, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := askedLab(t, fromBob("1"), plainText)
			l.say("d1", "chair@example.test", address(t, l.box("chair")[0], tt.kind), tt.header, tt.text)
			if tt.want == relay.Undecided {
				l.until("the decision was read", func() bool { return len(l.entries()) == 1 })
			} else {
				l.until("empty queue", l.empty)
			}
			m := l.decided(tt.want)
			if want := map[bool]string{true: "chair@example.test"}[tt.want != relay.Undecided]; m.By != want {
				t.Errorf("decided by %q, want %q", m.By, want)
			}
			members := l.box("alice")
			if tt.want == relay.Approved {
				if len(members) != 1 || members[0] != "Return-Path: <bob@example.test>\r\nReceived: ours\r\n"+plainText {
					t.Errorf("alice has %q", members)
				}
			} else if len(members) != 0 {
				t.Errorf("alice has %q", members)
			}
			told := strings.Join(l.box("bob"), "")
			if (tt.told == "") != (told == "") || !strings.Contains(told, tt.told) || tt.told != "" && !strings.Contains(told, "Final-Recipient: rfc822; "+group+"\r\nAction: failed\r\nStatus: 5.7.1\r\n") {
				t.Errorf("bob is told %q, want %q", told, tt.told)
			}
			l.until("no notice is left", func() bool { return len(l.entries()) == map[bool]int{true: 1}[tt.want == relay.Undecided] })
			answers := l.box("chair")[0:]
			got := ""
			for _, a := range answers {
				if !strings.Contains(a, "mailto:") {
					got += a
				}
			}
			if (tt.answer == "") != (got == "") || !strings.Contains(got, tt.answer) {
				t.Errorf("chair is answered %q, want %q", got, tt.answer)
			}
		})
	}
}

// The first decision counts; the second is told so, and the same mail again
// changes nothing.
func TestModerationTwice(t *testing.T) {
	l := askedLab(t, fromBob("1"), plainText)
	first, second := address(t, l.box("chair")[0], "approve"), address(t, l.outside.messages()[0], "reject")
	l.say("d1", "chair@example.test", first, "", "")
	l.until("empty queue", l.empty)
	l.say("d2", "mod@there.test", second, "", "")
	l.until("an answer", func() bool { return l.empty() && len(l.outside.messages()) == 3 })
	var answer string
	for _, m := range l.outside.messages() {
		if strings.Contains(m, "decided before") {
			answer = m
		}
	}
	if !strings.HasPrefix(answer, " > mod@there.test\n") || !strings.Contains(answer, "It was decided before: approved by chair@example.test, ") || !strings.Contains(answer, "Auto-Submitted: auto-replied\r\n") {
		t.Errorf("the second moderator is answered %q", answer)
	}
	if len(l.box("bob")) != 0 || len(l.box("alice")) != 1 {
		t.Errorf("bob has %q, alice %q", l.box("bob"), l.box("alice"))
	}
	m := l.decided(relay.Approved)
	if m, err := l.queue.Decide(t.Context(), relay.Decision{ID: m.ID, Verdict: relay.Rejected, By: "x", Cause: "d1"}, l.clock.now()); err != nil || m.Verdict != relay.Approved || m.By != "chair@example.test" {
		t.Errorf("a third decision gives %+v, %v", m, err)
	}
}

// A message is delivered once, and the decision counts, whatever ends in between.
func TestModerationRestart(t *testing.T) {
	h := newHop(t, nil)
	l := newLab(t, nil)
	work := func(until func() bool) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		r := relay.New(l.queue, l.office, l.office, relay.Options{Hostname: "mx.example.test", Now: l.clock.now, Poll: 10 * time.Millisecond, Routes: map[string]string{"there.test": h.addr}})
		go func() { done <- r.Run(ctx) }()
		l.until("done in this life", until)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	l.submit(envelope.Submission{Envelope: fromBob("1"), To: []string{group, "erin@example.test"}}, body(plainText))
	work(func() bool { return len(l.box("chair")) == 1 && len(l.box("erin")) == 1 })
	work(func() bool { return l.decided(relay.Undecided).ID != 0 })
	l.say("d1", "chair@example.test", address(t, l.box("chair")[0], "approve"), "", "")
	work(func() bool { return len(l.box("alice")) == 1 })
	if len(l.box("chair")) != 1 || len(l.box("bob")) != 0 {
		t.Errorf("chair has %q, bob %q", l.box("chair"), l.box("bob"))
	}
}

// What nobody decides goes back to senders whom somebody knows.
func TestModerationEnds(t *testing.T) {
	stranger := envelope.Envelope{ID: "1", From: "eve@there.test"}
	nobody := envelope.Envelope{ID: "1", Trusted: true}
	automatic := "Auto-Submitted: auto-generated\r\n" + plainText
	for _, tt := range []struct {
		name    string
		env     envelope.Envelope
		text    string
		verdict relay.Verdict
		told    string
	}{
		{"expired", fromBob("1"), plainText, relay.Expired, "550 5.7.1 Nobody approved the message in time"},
		{"expired, of a stranger", stranger, plainText, relay.Expired, ""},
		{"expired, of nobody", nobody, plainText, relay.Expired, ""},
		{"expired, of a machine", fromBob("1"), automatic, relay.Expired, ""},
		{"rejected, of a stranger", stranger, plainText, relay.Rejected, "550 5.7.1 A moderator of this list declined the message: no"},
		{"rejected, of nobody", nobody, plainText, relay.Rejected, ""},
		{"rejected, of a machine", fromBob("1"), automatic, relay.Rejected, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := askedLab(t, tt.env, tt.text)
			m := l.decided(relay.Undecided)
			if n, err := l.queue.Expire(t.Context(), l.clock.now().Add(5*24*time.Hour-time.Second)); n != 0 || err != nil {
				t.Fatalf("too early, %d expired, %v", n, err)
			}
			l.clock.add(5 * 24 * time.Hour)
			var err error
			if tt.verdict == relay.Expired {
				_, err = l.queue.Expire(t.Context(), l.clock.now())
			} else {
				_, err = l.queue.Moderate(t.Context(), admin, relay.Decision{ID: m.ID, Verdict: tt.verdict, Comment: "no"}, l.clock.now())
			}
			if err != nil {
				t.Fatal(err)
			}
			l.until("empty queue", l.empty)
			told := strings.Join(l.box("bob"), "")
			for _, m := range l.outside.messages() {
				if strings.Contains(m, " > eve@there.test\n") {
					told += m
				}
			}
			if (told == "") != (tt.told == "") || !strings.Contains(told, tt.told) {
				t.Errorf("told %q, want %q", told, tt.told)
			}
			if l.decided(tt.verdict); len(l.box("alice")) != 0 {
				t.Errorf("alice has %q", l.box("alice"))
			}
		})
	}
}

func TestModerationByAdministrator(t *testing.T) {
	l := askedLab(t, fromBob("1"), plainText)
	m := l.decided(relay.Undecided)
	if _, err := l.queue.Moderate(t.Context(), person2, relay.Decision{ID: m.ID, Verdict: relay.Approved}, l.clock.now()); fault.Of(err) != fault.Denied {
		t.Errorf("somebody approves: %v", err)
	}
	for i, verdict := range []relay.Verdict{relay.Approved, relay.Rejected, relay.Approved} {
		_, err := l.queue.Moderate(t.Context(), admin, relay.Decision{ID: m.ID, Verdict: verdict}, l.clock.now())
		if (fault.Of(err) == fault.Conflict && err != nil) != (i > 0) {
			t.Errorf("decision %d: %v", i+1, err)
		}
	}
	l.until("delivered", func() bool { return l.empty() && len(l.box("alice")) == 1 })
	if _, err := l.queue.Moderate(t.Context(), admin, relay.Decision{ID: 99, Verdict: relay.Approved}, l.clock.now()); fault.Of(err) != fault.NotFound {
		t.Errorf("what is not there is approved: %v", err)
	}
}

// What an administrator deletes is decided by nobody.
func TestModerationDeleted(t *testing.T) {
	l := askedLab(t, fromBob("1"), plainText)
	if _, err := l.queue.Delete(t.Context(), admin, l.entries()[0].ID); err != nil {
		t.Fatal(err)
	}
	l.say("d1", "chair@example.test", address(t, l.box("chair")[0], "approve"), "", "")
	l.until("an answer", func() bool { return l.empty() && len(l.box("chair")) == 2 })
	l.decided(relay.Deleted)
	if !strings.Contains(strings.Join(l.box("chair"), ""), "It was decided before: deleted.") {
		t.Errorf("chair has %q", l.box("chair"))
	}
}

// Whoever moderates no more decides no more, and a wrong token nothing.
func TestModerationByOthers(t *testing.T) {
	l := askedLab(t, fromBob("1"), plainText)
	l.say("d1", "erin@example.test", "approve-aaaaaaaaaaaaaaaaaaaaaaaaaa@example.test", "", "")
	l.until("a notice", func() bool { return len(l.box("erin")) == 1 && len(l.entries()) == 1 })
	if m := l.box("erin")[0]; !strings.Contains(m, "550 5.1.1") {
		t.Errorf("erin is told %q", m)
	}
	l.mu.Lock()
	l.gone = true
	l.mu.Unlock()
	l.say("d2", "chair@example.test", address(t, l.box("chair")[0], "approve"), "", "")
	l.until("an answer", func() bool { return len(l.box("chair")) == 2 && len(l.entries()) == 1 })
	l.decided(relay.Undecided)
}

// A group in a group asks for itself; groups in a circle end; nobody gets two.
func TestModerationNested(t *testing.T) {
	h := newHop(t, nil)
	l := newLab(t, routes(h, "there.test"))
	l.run()
	l.submit(envelope.Submission{Envelope: fromBob("1"), To: []string{"outer@example.test"}}, body(plainText))
	l.until("a request", func() bool { return len(l.box("chair")) == 1 && len(l.box("erin")) == 1 && len(h.messages()) == 2 })
	l.say("d1", "chair@example.test", address(t, l.box("chair")[0], "approve"), "", "")
	l.until("empty queue", l.empty)
	if len(l.box("alice")) != 1 || len(l.box("erin")) != 1 || len(l.box("chair")) != 1 {
		t.Errorf("alice has %d, erin %d, chair %d", len(l.box("alice")), len(l.box("erin")), len(l.box("chair")))
	}
	joe := 0
	for _, m := range h.messages() {
		if strings.Contains(m, "> joe@there.test\n") {
			joe++
		}
	}
	if joe != 1 {
		t.Errorf("joe, who is in both groups, has %d", joe)
	}
}

// A moderator's own message passes; a request that comes back to the group, by a
// moderator's forwarding, is asked about by nobody.
func TestModerationPasses(t *testing.T) {
	l := newLab(t, routes(newHop(t, nil), "there.test"))
	l.run()
	l.put("1", "chair@example.test", group)
	l.until("delivered", func() bool { return len(l.box("alice")) == 1 })
	l.submit(envelope.Submission{Envelope: envelope.Envelope{ID: "2"}, To: []string{group}}, "X-Waypost-Moderation: 1\r\n\r\nx\r\n")
	l.until("given up", func() bool {
		for _, e := range l.entries() {
			if e.Key == "2" {
				return e.To[0].State == relay.Dead
			}
		}
		return false
	})
	if got := l.box("chair"); len(got) != 0 {
		t.Errorf("chair has %q", got)
	}
}

// Large messages: whole up to 1 MiB, then the beginning of the text.
func TestModerationLarge(t *testing.T) {
	for size, whole := range map[int]bool{700 << 10: true, 3 << 20: false} {
		var b strings.Builder
		b.WriteString("From: bob@example.test\r\nSubject: big\r\n\r\n")
		for i := 0; b.Len() < size; i++ {
			fmt.Fprintf(&b, "line %d\r\n", i)
		}
		l := askedLab(t, fromBob("1"), b.String())
		m := l.box("chair")[0]
		if got := strings.Contains(m, b.String()); got != whole {
			t.Errorf("of %d bytes the request has all: %t", size, got)
		}
		if !strings.Contains(m, "line 1000\r\n") || len(m) > size+8<<10 {
			t.Errorf("of %d bytes the request has %d", size, len(m))
		}
		l.say("d1", "chair@example.test", address(t, m, "approve"), "", "")
		l.until("empty queue", l.empty)
		if got := l.box("alice"); len(got) != 1 || !strings.HasSuffix(got[0], b.String()) {
			t.Error("the delivered message is not the one that was sent")
		}
	}
}

// With many moderators the requests together stay bounded: what one moderator
// would get whole, each of twenty gets the beginning of.
func TestModerationMany(t *testing.T) {
	h := newHop(t, nil)
	l := newLab(t, routes(h, "there.test"))
	l.more = 20
	l.run()
	text := "From: bob@example.test\r\nSubject: big\r\n\r\n" + strings.Repeat("a line\r\n", 700<<7)
	l.submit(envelope.Submission{Envelope: fromBob("1"), To: []string{group}}, body(text))
	l.until("a request", func() bool { return len(l.box("chair")) == 1 })
	m := l.box("chair")[0]
	if !strings.Contains(m, "a line\r\n") || len(m) > 400<<10 {
		t.Errorf("a request of %d bytes, want the beginning of the message", len(m))
	}
}
