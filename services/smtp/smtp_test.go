package smtp

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"waypost/internal/envelope"
	"waypost/internal/wiretest"
)

// The connections of a conversation are named after their doors, "mx" or "mx2".
func TestConversations(t *testing.T) {
	wiretest.Run(t, "testdata/*.txt", func(t *testing.T) wiretest.Peer {
		_, addrs := open(t, nil)
		return peer(addrs)
	})
}

var insecure = &tls.Config{InsecureSkipVerify: true}

func peer(addrs map[string]string) wiretest.Peer {
	return wiretest.Peer{
		Dial: func(t testing.TB, name string) net.Conn {
			name = strings.TrimRight(name, "0123456789")
			c, err := net.Dial("tcp", addrs[name])
			if err != nil {
				t.Fatal(err)
			}
			if name == "submissions" {
				return tls.Client(c, insecure)
			}
			return c
		},
		TLS: func(c net.Conn) net.Conn { return tls.Client(c, insecure) },
	}
}

// play plays lines against doors that the test holds.
func play(t *testing.T, addrs map[string]string, script string) {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "*.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for line := range strings.Lines(script) {
		f.WriteString(strings.TrimLeft(line, "\t "))
	}
	lines, err := wiretest.Read(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	wiretest.Play(t, lines, peer(addrs))
}

const toMX = `
	mx S: 220 …
	mx C: EHLO client.example
	mx S: …
	mx S: 250 LIMITS…
	mx C: MAIL FROM:<sender@out.example>
	mx S: 250 …
`

const message = `
	mx C: DATA
	mx S: 354 …
	mx C: Subject: hello
	mx C: 
	mx C: body
	mx C: .
`

func TestDelivery(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		boxes        map[string]int
		queue        []string
		tell         bool
		brokenQueue  bool
	}{
		{"to one", "mx C: RCPT TO:<Alice+x@EXAMPLE.test>\nmx S: 250 …\n" + message + "mx S: 250 2.0.0 Delivered as …", map[string]int{"alice": 1}, nil, false, false},
		{
			"to a person twice and to a list", `mx C: RCPT TO:<alice@example.test>
			mx S: 250 …
			mx C: RCPT TO:<alice@example.test>
			mx S: 250 …
			mx C: RCPT TO:<staff@example.test>
			mx S: 250 …
			` + message + "mx S: 250 …",
			map[string]int{"alice": 1, "bob": 1},
			nil, false, false,
		},
		{"to a large list", "mx C: RCPT TO:<everybody@example.test>\nmx S: 250 …\n" + message + "mx S: 250 2.0.0 Queued as …", nil, []string{"everybody@example.test"}, false, false},
		{"mailbox full", "mx C: RCPT TO:<full@example.test>\nmx S: 250 …\n" + message + "mx S: 452 4.2.2 mailbox full", nil, nil, false, false},
		{"mailbox gone", "mx C: RCPT TO:<gone@example.test>\nmx S: 250 …\n" + message + "mx S: 550 5.1.1 no mailbox", nil, nil, false, false},
		{"database away", "mx C: RCPT TO:<away@example.test>\nmx S: 250 …\n" + message + "mx S: 250 2.0.0 Queued as …", nil, []string{"away@example.test"}, false, false},
		{"database and queue away", "mx C: RCPT TO:<away@example.test>\nmx S: 250 …\n" + message + "mx S: 451 4.3.2 …", nil, nil, false, true},
		{
			"mixed", `mx C: RCPT TO:<bob@example.test>
			mx S: 250 …
			mx C: RCPT TO:<gone@example.test>
			mx S: 250 …
			` + message + "mx S: 250 2.0.0 Queued as …",
			map[string]int{"bob": 1},
			[]string{"gone@example.test"},
			true, false,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, addrs := open(t, nil)
			w.broken = tt.brokenQueue
			play(t, addrs, toMX+tt.script)
			for _, name := range people {
				got := w.box(name + "@example.test")
				if len(got) != tt.boxes[name] {
					t.Errorf("%s has %d messages, want %d", name, len(got), tt.boxes[name])
				}
				for _, m := range got {
					if !strings.HasPrefix(m, "Return-Path: <sender@out.example>\r\nReceived: from client.example ([127.0.0.1])\r\n\tby mx.example.test (Waypost) with ESMTP id ") ||
						!strings.HasSuffix(m, "\r\nSubject: hello\r\n\r\nbody\r\n") || !strings.Contains(m, "for <"+name+"@example.test>;") {
						t.Errorf("message:\n%s", m)
					}
				}
			}
			q := w.queued()
			switch {
			case len(tt.queue) == 0 && len(q) > 0, len(tt.queue) > 0 && len(q) != 1:
				t.Errorf("queue %+v", q)
			case len(q) == 1 && (strings.Join(q[0].To, " ") != strings.Join(tt.queue, " ") || q[0].body != "Subject: hello\r\n\r\nbody\r\n" || q[0].Trusted || q[0].Tell != tt.tell):
				t.Errorf("queued %+v, want to %q, from nobody known, to be told %v", q[0], tt.queue, tt.tell)
			}
		})
	}
}

const signedIn = `
	submissions S: 220 …
	submissions C: EHLO client.example
	submissions S: …
	submissions S: 250 LIMITS…
	submissions C: AUTH PLAIN AGFsaWNlAHNlY3JldA==
	submissions S: 235 …
	submissions C: MAIL FROM:<alice@example.test>
	submissions S: 250 …
`

func TestSubmission(t *testing.T) {
	for _, tt := range []struct{ name, head, want, reply string }{
		{
			"completed and stripped", "From: Alice <alice@example.test>|Bcc: bob@example.test,|\tcarol@out.example|To: x@out.example||text",
			"From: Alice <alice@example.test>|To: x@out.example|Date: …|Message-ID: <…@example.test>||text|", "250 2.0.0 Queued as …",
		},
		{
			"left alone", "Message-ID: <1@client>|Date: Fri, 21 Nov 1997 09:55:06 -0600|From: alice@example.test||",
			"Message-ID: <1@client>|Date: Fri, 21 Nov 1997 09:55:06 -0600|From: alice@example.test|||", "250 …",
		},
		{"no header", "just text|more", "From: <alice@example.test>|Date: …|Message-ID: …||just text|more|", "250 …"},
		{"only a body", "|text", "From: <alice@example.test>|Date: …|Message-ID: …||text|", "250 …"},
		{"somebody else", "From: bob@example.test||x", "", "550 5.7.1 …"},
		{"somebody else beside", "From: alice@example.test, bob@example.test||x", "", "550 5.7.1 …"},
		{"somebody else as sender", "From: alice@example.test|Sender: bob@example.test||x", "", "550 5.7.1 …"},
		{"two From fields", "From: alice@example.test|From: alice@example.test||x", "", "554 5.6.0 …"},
		{"a loop", strings.Repeat("Received: from x|", maxReceived+1) + "From: alice@example.test||x", "", "554 5.4.6 …"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, addrs := open(t, func(o *Options) { o.HideClients = true })
			script := signedIn + "submissions C: RCPT TO:<x@out.example>\nsubmissions S: 250 …\nsubmissions C: DATA\nsubmissions S: 354 …\n"
			for line := range strings.SplitSeq(tt.head, "|") {
				script += "submissions C: " + line + "\n"
			}
			play(t, addrs, script+"submissions C: .\nsubmissions S: "+tt.reply)
			q := w.queued()
			if tt.want == "" {
				if len(q) != 0 {
					t.Errorf("queued %+v", q)
				}
				return
			}
			if len(q) != 1 || !wiretest.Match(tt.want, strings.ReplaceAll(q[0].body, "\r\n", "|")) {
				t.Fatalf("queued %+v", q)
			}
			if trace := string(q[0].Trace); !strings.HasPrefix(trace, "Received: by mx.example.test (Waypost) with ESMTPSA id ") || !q[0].Trusted {
				t.Errorf("trace %q", trace)
			}
		})
	}
}

// Mixed recipients of a submission go to the queue in one commit.
func TestSubmissionMixed(t *testing.T) {
	w, addrs := open(t, nil)
	play(t, addrs, signedIn+`
		submissions C: RCPT TO:<bob@example.test>
		submissions S: 250 …
		submissions C: RCPT TO:<x@out.example>
		submissions S: 250 …
		submissions C: RCPT TO:<nobody@example.test>
		submissions S: 550 5.1.1 …
		submissions C: DATA
		submissions S: 354 …
		submissions C: .
		submissions S: 250 2.0.0 Queued as …
		`)
	if q := w.queued(); len(q) != 1 || strings.Join(q[0].To, " ") != "bob@example.test x@out.example" || len(w.box("bob@example.test")) != 0 {
		t.Errorf("queued %+v", q)
	}
}

func TestAccountEnds(t *testing.T) {
	w, addrs := open(t, nil)
	c := tls.Client(dialTest(t, addrs["submissions"]), insecure)
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 4096)
	say := func(s string) string {
		if s != "" {
			c.Write([]byte(s + "\r\n"))
		}
		n, err := c.Read(buf)
		if err != nil {
			return err.Error()
		}
		return string(buf[:n])
	}
	say("")
	say("EHLO x")
	if got := say("AUTH PLAIN AGFsaWNlAHNlY3JldA=="); !strings.HasPrefix(got, "235") {
		t.Fatal(got)
	}
	time.Sleep(20 * time.Millisecond)
	w.mu.Lock()
	w.ended()
	w.mu.Unlock()
	if got := say(""); !strings.HasPrefix(got, "421 4.7.0") {
		t.Errorf("got %q", got)
	}
}

func dialTest(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPeer(t *testing.T) {
	w, addrs := open(t, nil)
	c := &PeerClient{Hostname: "store.example.test", Servers: []string{"127.0.0.1:1", addrs["peer"]}}
	spool := envelope.NewSpool(t.TempDir())
	defer spool.Close()
	spool.Write([]byte("Subject: bare\n\n.\nx\r\n"))
	s := envelope.Submission{
		Envelope: envelope.Envelope{ID: "outbox.m1.7", From: "ü@example.test", Trace: []byte("Received: by store.example.test; now\r\n")},
		To:       []string{"nobody@example.test", `"a b"@out.example`},
	}
	for range 2 {
		if err := c.Enqueue(context.Background(), s, spool); err != nil {
			t.Fatal(err)
		}
	}
	q := w.queued()
	if len(q) != 1 || q[0].ID != s.ID || q[0].From != s.From || !q[0].UTF8 || strings.Join(q[0].To, " ") != strings.Join(s.To, " ") ||
		q[0].body != "Subject: bare\r\n\r\n.\r\nx\r\n" || !strings.HasSuffix(string(q[0].Trace), "\r\n"+string(s.Trace)) {
		t.Errorf("queued %+v", q)
	}
}

func TestHarvest(t *testing.T) {
	h, now := newHarvest(), time.Now()
	a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	for i := range banAfter {
		if got := h.count(a, now); got != (i+1 >= banAfter) {
			t.Fatalf("after %d: banned %v", i+1, got)
		}
	}
	if h.refuse(b, now) == "" || h.refuse(netip.MustParseAddr("2001:db8:0:1::1"), now) != "" {
		t.Error("the ban is not for the /64")
	}
	if h.refuse(a, now.Add(banWindow+time.Second)) != "" {
		t.Error("the ban does not end")
	}
}

// swaks is another implementation of the client's side.
func TestSwaks(t *testing.T) {
	swaks, err := exec.LookPath("swaks")
	if err != nil {
		t.Skip("swaks is not installed")
	}
	if out, err := exec.Command("perl", "-MNet::SSLeay", "-e", "1").CombinedOutput(); err != nil {
		t.Skipf("swaks speaks no TLS here (libnet-ssleay-perl): %s", out)
	}
	w, addrs := open(t, nil)
	for _, tt := range []struct {
		name, door string
		args       []string
		fails      bool
	}{
		{"plain", "mx", []string{"--to", "alice@example.test"}, false},
		{"TLS", "mx", []string{"--to", "alice@example.test", "--tls"}, false},
		{"pipelined", "mx", []string{"--to", "alice@example.test,bob@example.test", "--pipeline"}, false},
		{"relay", "mx", []string{"--to", "x@out.example"}, true},
		{"unknown", "mx", []string{"--to", "nobody@example.test"}, true},
		{"sign-in", "submission", []string{"--to", "x@out.example", "--from", "alice@example.test", "--tls", "--auth", "PLAIN", "--auth-user", "alice", "--auth-password", "secret"}, false},
		{"sign-in by LOGIN", "submissions", []string{"--to", "x@out.example", "--from", "alice@example.test", "--tls-on-connect", "--auth", "LOGIN", "--auth-user", "alice", "--auth-password", "secret"}, false},
		{"sign-in in clear", "submission", []string{"--to", "x@out.example", "--from", "alice@example.test", "--auth", "PLAIN", "--auth-user", "alice", "--auth-password", "secret"}, true},
		{"wrong password", "submission", []string{"--to", "x@out.example", "--from", "alice@example.test", "--tls", "--auth", "PLAIN", "--auth-user", "alice", "--auth-password", "guess"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(w.box("alice@example.test")) + len(w.queued())
			args := append([]string{"--server", addrs[tt.door], "--from", "s@out.example", "--helo", "client.example", "--timeout", "10"}, tt.args...)
			out, err := exec.Command(swaks, args...).CombinedOutput()
			if (err != nil) != tt.fails {
				t.Errorf("%v\n%s", err, out)
			}
			if after := len(w.box("alice@example.test")) + len(w.queued()); (after > before) == tt.fails {
				t.Errorf("%d messages before, %d after\n%s", before, after, out)
			}
		})
	}
}
