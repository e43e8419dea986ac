package relay_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
	"github.com/jackc/pgx/v5"

	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/services/relay"
)

const sentMessage = "Received: ours\r\nSubject: hello\r\n\r\n.dot\r\n"

func routes(h *hop, domains ...string) func(*relay.Options) {
	return func(o *relay.Options) {
		o.Routes = map[string]string{"out.example": h.addr}
		for _, d := range domains {
			o.Routes[d] = h.addr
		}
	}
}

func TestHandsOn(t *testing.T) {
	h := newHop(t, nil)
	l := newLab(t, routes(h, "other.example"))
	l.run()
	l.put("1", "bob@example.test", "x@out.example", "y@OUT.example", "z@other.example", "alice@example.test", "x@out.example")
	l.put("1", "bob@example.test", "again@out.example")
	l.until("empty queue", l.empty)
	l.put("1", "bob@example.test", "again@out.example")
	time.Sleep(50 * time.Millisecond)
	got := h.messages()
	want := map[string]bool{
		"bob@example.test > x@out.example y@OUT.example\n" + sentMessage: true,
		"bob@example.test > z@other.example\n" + sentMessage:             true,
	}
	for _, m := range got {
		if !want[m] {
			t.Errorf("sent %q", m)
		}
		delete(want, m)
	}
	if len(want) != 0 {
		t.Errorf("not sent: %v", want)
	}
	if box := l.box("alice"); len(box) != 1 || box[0] != "Return-Path: <bob@example.test>\r\n"+sentMessage {
		t.Errorf("alice has %q", box)
	}
}

func TestLargeContent(t *testing.T) {
	h := newHop(t, nil)
	l := newLab(t, routes(h))
	l.run()
	var b strings.Builder
	for i := 0; b.Len() < 3<<20; i++ {
		fmt.Fprintf(&b, "line %d\r\n", i)
	}
	l.submit(envelope.Submission{Envelope: envelope.Envelope{ID: "big", From: "bob@example.test"}, To: []string{"x@out.example", "alice@example.test"}}, body(b.String()))
	l.until("empty queue", l.empty)
	if got := h.messages(); len(got) != 1 || got[0] != "bob@example.test > x@out.example\n"+b.String() {
		t.Error("the message is not the one that was sent")
	}
	if box := l.box("alice"); len(box) != 1 || !strings.HasSuffix(box[0], b.String()) {
		t.Error("the delivered message is not the one that was sent")
	}
}

// What goes out has CRLF only, whatever came in through other doors.
func TestBareLineEnds(t *testing.T) {
	h := newHop(t, nil)
	l := newLab(t, routes(h))
	l.run()
	l.submit(envelope.Submission{Envelope: envelope.Envelope{ID: "1", From: ""}, To: []string{"x@out.example"}}, "A: b\n\nx\n.\nMAIL FROM:<evil@out.example>\r.\r")
	l.until("empty queue", l.empty)
	if got, want := h.messages(), " > x@out.example\nA: b\r\n\r\nx\r\n.\r\nMAIL FROM:<evil@out.example>\r\n.\r\n"; len(got) != 1 || got[0] != want {
		t.Errorf("sent %q, want %q", got, want)
	}
}

func TestBounce(t *testing.T) {
	h := newHop(t, nil)
	l := newLab(t, routes(h))
	l.run()
	l.put("1", "bob@example.test", "no@out.example", "x@out.example", "nobody@example.test")
	l.until("empty queue", l.empty)
	box := l.box("bob")
	// Two domains, two notices.
	if len(box) != 2 || len(h.messages()) != 1 {
		t.Fatalf("bob has %q", box)
	}
	all := strings.Join(box, "")
	for _, want := range []string{
		"Return-Path: <>\r\n", "Final-Recipient: rfc822; no@out.example\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; " + h.addr,
		"Diagnostic-Code: smtp; 550 5.1.1 No such person\r\n", "Final-Recipient: rfc822; nobody@example.test\r\n",
		"Auto-Submitted: auto-replied\r\n", "Reporting-MTA: dns; mx.example.test\r\n", "\r\nReceived: ours\r\nSubject: hello\r\n",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	for _, m := range box {
		sum, err := mail.Parse(strings.NewReader(m))
		if err != nil || !sum.Has(mail.Report) || !sum.IsAutomatic() || len(sum.Root.Children) != 3 || len(sum.Defects) != 0 {
			t.Errorf("notice: %+v %v", sum, err)
		}
	}
}

// The null sender and strangers get no notice.
func TestNoBackscatter(t *testing.T) {
	h := newHop(t, nil)
	l := newLab(t, routes(h))
	l.run()
	l.put("1", "", "no@out.example")
	l.submit(envelope.Submission{Envelope: envelope.Envelope{ID: "2", From: "stranger@out.example"}, To: []string{"nobody@example.test"}}, "\r\n")
	l.until("two dead", func() bool {
		n, err := l.queue.Stats(context.Background())
		return err == nil && n[relay.Dead] == 2
	})
	if got := h.messages(); len(got) != 0 {
		t.Errorf("sent %q", got)
	}
	for _, e := range l.entries() {
		if e.To[0].State != relay.Dead || e.To[0].Last.Status != "5.1.1" {
			t.Errorf("entry %+v", e)
		}
	}
	l.clock.add(11 * 24 * time.Hour)
	if err := l.queue.Sweep(t.Context(), l.clock.now(), l.clock.now().Add(-5*24*time.Hour), l.clock.now()); err != nil || !l.empty() {
		t.Errorf("swept: %v, %+v", err, l.entries())
	}
}

func TestFiveDays(t *testing.T) {
	h := newHop(t, nil)
	l := newLab(t, routes(h))
	l.run()
	l.put("1", "bob@example.test", "later@out.example")
	l.put("2", "bob@example.test", "never@out.example")
	tried := func(id int64, n int) func() bool {
		return func() bool {
			e, err := l.queue.Show(context.Background(), admin, id)
			return err == nil && e.To[0].Attempts >= n && !e.To[0].Active
		}
	}
	l.until("first attempt", tried(1, 1))
	l.until("first attempt of the other", tried(2, 1))
	e, _ := l.queue.Show(t.Context(), admin, 1)
	if d := e.To[0].Next.Sub(l.clock.now()); d < 50*time.Second || d > 70*time.Second || e.To[0].Last.Code != 450 {
		t.Errorf("after the first attempt: %+v, next in %v", e.To[0], d)
	}
	h.mu.Lock()
	h.good = true
	h.mu.Unlock()
	start := l.clock.now()
	l.clock.add(2 * time.Minute)
	l.until("accepted", func() bool { return len(h.messages()) == 1 })
	attempts := 2
	for ; l.clock.now().Sub(start) < 6*24*time.Hour && !l.empty(); attempts++ {
		l.until("attempt", func() bool { return l.empty() || tried(2, attempts)() || len(l.entries()) > 1 })
		l.until("notices", func() bool {
			list := l.entries()
			return len(list) == 0 || len(list) == 1 && list[0].Key == "2"
		})
		if !l.empty() {
			e := l.entries()[0]
			l.clock.add(e.To[0].Next.Sub(l.clock.now()))
		}
	}
	if d := l.clock.now().Sub(start); d < 5*24*time.Hour-time.Hour || d > 5*24*time.Hour+time.Hour {
		t.Errorf("given up after %v", d)
	}
	if attempts < 40 || attempts > 90 {
		t.Errorf("%d attempts", attempts)
	}
	box := l.box("bob")
	all := strings.Join(box, "")
	if len(box) != 3 || strings.Count(all, "Action: delayed\r\n") != 2 || strings.Count(all, "Action: failed\r\nStatus: 4.4.7\r\n") != 1 || !strings.Contains(all, "Will-Retry-Until: ") {
		t.Errorf("bob has %d notices:\n%s", len(box), all)
	}
}

// A worker that died leaves its recipients due again after its lease.
func TestLease(t *testing.T) {
	l := newLab(t, nil)
	ctx := t.Context()
	l.put("1", "bob@example.test", "x@out.example", "alice@example.test")
	now := l.clock.now()
	take := func(at time.Time) []relay.Work {
		t.Helper()
		w, err := l.queue.Take(ctx, at, at.Add(time.Minute), 10, []string{"example.test"})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	first := take(now)
	if len(first) != 1 || len(first[0].To) != 1 || first[0].To[0].Address != "x@out.example" || string(first[0].Trace) != "Received: ours\r\n" {
		t.Fatalf("took %+v", first)
	}
	if again := take(now.Add(59 * time.Second)); len(again) != 0 {
		t.Errorf("taken twice: %+v", again)
	}
	if err := l.queue.Extend(ctx, first[0], now.Add(2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if again := take(now.Add(90 * time.Second)); len(again) != 0 {
		t.Errorf("taken in spite of the extension: %+v", again)
	}
	second := take(now.Add(3 * time.Minute))
	if len(second) != 1 || second[0].Lease == first[0].Lease {
		t.Fatalf("took %+v", second)
	}
	// The first worker was only slow: its word counts no more.
	done := []relay.Outcome{{ID: first[0].To[0].ID, Done: true}}
	if err := l.queue.Settle(ctx, first[0], now, done, nil); err != nil {
		t.Fatal(err)
	}
	if e := l.entries(); len(e) != 1 || len(e[0].To) != 2 {
		t.Errorf("entries %+v", e)
	}
	if err := l.queue.Settle(ctx, second[0], now, done, nil); err != nil {
		t.Fatal(err)
	}
	if e := l.entries(); len(e) != 1 || len(e[0].To) != 1 {
		t.Errorf("entries %+v", e)
	}
}

func TestStartTLS(t *testing.T) {
	cert := certificate(t)
	for _, tt := range []struct {
		name   string
		change func(*gosmtp.Server)
		want   bool
	}{
		{"offered", func(s *gosmtp.Server) { s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}} }, true},
		{"not offered", nil, false},
		{"broken", func(s *gosmtp.Server) {
			s.TLSConfig = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("none") }}
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHop(t, tt.change)
			l := newLab(t, routes(h))
			l.run()
			l.put("1", "bob@example.test", "x@out.example")
			l.until("empty queue", l.empty)
			if len(h.tls) != 1 || h.tls[0] != tt.want {
				t.Errorf("TLS %v, want %v", h.tls, tt.want)
			}
		})
	}
}

func TestUTF8(t *testing.T) {
	for _, able := range []bool{true, false} {
		h := newHop(t, func(s *gosmtp.Server) { s.EnableSMTPUTF8 = able })
		l := newLab(t, routes(h))
		l.run()
		l.put("1", "bob@example.test", "ü@out.example")
		l.until("empty queue", l.empty)
		if got := len(h.messages()); (got == 1) != able {
			t.Errorf("able %v: %d messages", able, got)
		}
		if box := strings.Join(l.box("bob"), ""); strings.Contains(box, "Final-Recipient: utf-8; ü@out.example\r\nAction: failed\r\nStatus: 5.6.7") == able {
			t.Errorf("able %v: bob has %s", able, box)
		}
	}
}

// A connection lost before the last reply leaves the message in the queue.
func TestConnectionLost(t *testing.T) {
	h := newHop(t, nil)
	l := newLab(t, routes(h))
	l.run()
	l.submit(envelope.Submission{Envelope: envelope.Envelope{ID: "1", From: "bob@example.test"}, To: []string{"x@out.example"}}, "DROP\r\n")
	l.until("an attempt", func() bool { e := l.entries(); return len(e) == 1 && e[0].To[0].Attempts == 1 })
	if last := l.entries()[0].To[0].Last; last.Status != "4.4.2" {
		t.Errorf("last %+v", last)
	}
}

func TestRoutes(t *testing.T) {
	h := newHop(t, nil)
	_, port, _ := net.SplitHostPort(h.addr)
	var p uint16
	fmt.Sscan(port, &p)
	here, dead := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	dns := names{
		mx: map[string][]*net.MX{
			"null.example":  {{Host: "."}},
			"order.example": {{Host: "good.example.", Pref: 20}, {Host: "dead.example.", Pref: 10}, {Host: "gone.example.", Pref: 5}},
			"loop.example":  {{Host: "MX.example.test.", Pref: 10}, {Host: "good.example.", Pref: 20}},
			"back.example":  {{Host: "mx.example.test.", Pref: 20}, {Host: "good.example.", Pref: 10}},
			"lost.example":  {{Host: "gone.example.", Pref: 1}},
			"slow.example":  {{Host: "slowhost.example.", Pref: 1}},
		},
		ip:   map[string][]netip.Addr{"good.example": {here}, "dead.example": {dead}, "nomx.example": {here}},
		away: map[string]bool{"away.example": true, "slowhost.example": true},
	}
	l := newLab(t, func(o *relay.Options) { o.Resolver, o.Port = dns, p })
	l.run()
	for _, tt := range []struct{ domain, status string }{
		{"order.example", ""},
		{"nomx.example", ""},
		{"back.example", ""},
		{"null.example", "5.1.10"},
		{"loop.example", "5.4.6"},
		{"lost.example", "5.1.2"},
		{"nxdomain.example", "5.1.2"},
		{"[127.0.0.1]", "5.1.2"},
		{"away.example", "4.4.3"},
		{"slow.example", "4.4.3"},
	} {
		before := len(h.messages())
		l.put("r."+strings.Trim(tt.domain, "[]"), "", "x@"+tt.domain)
		switch {
		case tt.status == "":
			l.until(tt.domain, func() bool { return len(h.messages()) == before+1 })
		default:
			l.until(tt.domain+" "+tt.status, func() bool {
				for _, e := range l.entries() {
					if e.To[0].Address == "x@"+tt.domain && e.To[0].Last.Status == tt.status {
						return (e.To[0].State == relay.Dead) == (tt.status[0] == '5')
					}
				}
				return false
			})
		}
	}
}

func TestSmartHost(t *testing.T) {
	h := newHop(t, nil)
	l := newLab(t, func(o *relay.Options) { o.SmartHost.Addr = h.addr })
	l.run()
	l.put("1", "bob@example.test", "x@anywhere.example")
	l.until("empty queue", l.empty)
	if len(h.messages()) != 1 {
		t.Error("not sent")
	}
}

// A list in the queue: who could not be reached waits by itself.
func TestList(t *testing.T) {
	l := newLab(t, nil)
	l.office.away = true
	l.run()
	l.put("1", "bob@example.test", "staff@example.test")
	l.until("away waits", func() bool {
		e := l.entries()
		return len(e) == 1 && len(e[0].To) == 1 && e[0].To[0].Address == "away@example.test"
	})
	if len(l.box("alice")) != 1 {
		t.Error("alice has nothing")
	}
	l.office.mu.Lock()
	l.office.away = false
	l.office.mu.Unlock()
	l.clock.add(time.Minute)
	l.until("empty queue", l.empty)
	if len(l.box("away")) != 1 || len(l.box("alice")) != 1 {
		t.Error("not once each")
	}
}

func TestOperating(t *testing.T) {
	h := newHop(t, nil)
	l := newLab(t, routes(h))
	ctx := t.Context()
	q := l.queue
	l.put("1", "bob@example.test", "x@out.example", "y@other.example")
	l.put("2", "carol@example.test", "x@out.example")
	if n, err := q.Hold(ctx, admin, 1); n != 2 || err != nil {
		t.Errorf("hold: %d, %v", n, err)
	}
	for _, tt := range []struct {
		f    relay.Filter
		want string
	}{
		{relay.Filter{}, "1 2"},
		{relay.Filter{State: relay.Held}, "1"},
		{relay.Filter{Domain: "other.example"}, "1"},
		{relay.Filter{From: "carol@example.test"}, "2"},
		{relay.Filter{Limit: 1}, "1"},
		{relay.Filter{After: 1}, "2"},
		{relay.Filter{State: relay.Dead}, ""},
	} {
		list, err := q.List(ctx, admin, tt.f)
		var got []string
		for _, e := range list {
			got = append(got, e.Key)
		}
		if strings.Join(got, " ") != tt.want || err != nil {
			t.Errorf("list %+v: %v, %v", tt.f, got, err)
		}
	}
	l.run()
	l.until("2 is sent", func() bool { return len(h.messages()) == 1 })
	if n, err := q.Release(ctx, admin, 0); n != 2 || err != nil {
		t.Errorf("release: %d, %v", n, err)
	}
	l.until("1 is sent, in part", func() bool { return len(h.messages()) == 2 })
	l.put("3", "bob@example.test", "never@out.example")
	var third int64
	for _, e := range l.entries() {
		if e.Key == "3" {
			third = e.ID
		}
	}
	tried := func(n int) func() bool {
		return func() bool {
			e, err := q.Show(ctx, admin, third)
			return err == nil && e.To[0].Attempts == n && !e.To[0].Active
		}
	}
	l.until("3 waits", tried(1))
	if n, err := q.Retry(ctx, admin, third, l.clock.now()); n != 1 || err != nil {
		t.Errorf("retry: %d, %v", n, err)
	}
	l.until("3 is tried again", tried(2))
	if _, err := q.Delete(ctx, admin, third); err != nil {
		t.Error(err)
	}
	if _, err := q.Show(ctx, admin, third); fault.Of(err) != fault.NotFound {
		t.Errorf("show: %v", err)
	}
	if _, err := q.Hold(ctx, admin, third); fault.Of(err) != fault.NotFound {
		t.Errorf("hold: %v", err)
	}
	nobody := admin
	nobody.Roles = 0
	if _, err := q.List(ctx, nobody, relay.Filter{}); fault.Of(err) != fault.Denied {
		t.Errorf("list by nobody: %v", err)
	}
}

// While PostgreSQL's sessions are being killed, every message is taken and
// handed on to its mailbox, and none stays.
func TestDatabaseKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("kills for two seconds")
	}
	l := newLab(t, func(o *relay.Options) { o.Now, o.Lease = time.Now, 2*time.Second })
	l.run()
	killer, err := pgx.Connect(t.Context(), l.url)
	if err != nil {
		t.Fatal(err)
	}
	defer killer.Close(context.Background())
	const n = 60
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < n; i += 4 {
				id := fmt.Sprintf("k%d", i)
				for range 50 { // as a mover would, until it is told that it is there
					err := l.Enqueue(context.Background(), envelope.Submission{
						Envelope: envelope.Envelope{ID: id, From: "bob@example.test", Trusted: true}, To: []string{"alice@example.test", "carol@example.test"},
					}, body("Subject: "+id+"\r\n\r\n"))
					if err == nil {
						break
					}
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	for range 10 {
		time.Sleep(100 * time.Millisecond)
		if _, err := killer.Exec(t.Context(), "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	l.until("empty queue", func() bool {
		list, err := l.queue.List(context.Background(), admin, relay.Filter{})
		return err == nil && len(list) == 0
	})
	if a, c := len(l.box("alice")), len(l.box("carol")); a != n || c != n {
		t.Errorf("alice has %d, carol %d of %d", a, c, n)
	}
}

// At the end a message under way is finished and noted as sent.
func TestEnd(t *testing.T) {
	h := newHop(t, nil)
	l := newLab(t, routes(h))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	l.submit(envelope.Submission{Envelope: envelope.Envelope{ID: "1"}, To: []string{"x@out.example"}}, "SLOW\r\n")
	l.until("work has begun", func() bool { e := l.entries(); return len(e) == 1 && e[0].To[0].Active })
	time.Sleep(50 * time.Millisecond)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(h.messages()) != 1 || !l.empty() {
		t.Errorf("sent %d, queue %+v", len(h.messages()), l.entries())
	}
}
