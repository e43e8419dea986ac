package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
)

// TestTorture delivers a stream of messages and sends others from a phone while
// the program and PostgreSQL are killed at random moments. Afterwards every
// (message, recipient) that was answered with 250 is there exactly once, and
// every message of the phone, repeated until it was answered, arrived once. An
// event that was put over CalDAV has the text that was answered last.
//
// WAYPOST_TORTURE_KILLS sets how many kills (5 by default), WAYPOST_TORTURE_SEED
// repeats a run's choices.
func TestTorture(t *testing.T) {
	s := newSite(t)
	s.freePorts()
	s.serve()
	torture(t, s)
}

// TestTortureSeparate is the same with the four programs and a PostgreSQL of
// their own, any of which may be killed.
func TestTortureSeparate(t *testing.T) {
	s := newSeparate(t)
	s.startSeparate()
	torture(t, s)
}

func torture(t *testing.T, s *site) {
	kills := 5
	if n, err := strconv.Atoi(os.Getenv("WAYPOST_TORTURE_KILLS")); err == nil {
		kills = n
	}
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("WAYPOST_TORTURE_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("seed %d, %d kills", seed, kills)
	rnd := rand.New(rand.NewPCG(seed, 1))

	users := []string{"alice", "bob", "carol"}
	s.organisation(append(users, "dave")...)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	acks := &ledger{acked: map[string]int{}}
	var work sync.WaitGroup
	for i := range 3 {
		work.Go(func() { stream(ctx, s, i, users, acks) })
	}
	sent := &ledger{acked: map[string]int{}}
	work.Go(func() { phoneStream(ctx, s, sent) })
	events := &ledger{acked: map[string]int{}}
	cal := s.calendar(t, "carol")
	work.Go(func() { eventStream(ctx, s, cal, events) })

	for k := range kills {
		time.Sleep(time.Duration(300+rnd.IntN(1500)) * time.Millisecond)
		what := killSomething(t, s, rnd)
		t.Logf("kill %d: %s; %d acknowledged so far", k+1, what, acks.len())
		if launch := s.launch[what]; launch != nil {
			<-s.proc[what].done
			launch()
		}
		s.await()
	}
	time.Sleep(time.Second)
	stop()
	work.Wait()
	s.await()
	if acks.len() < 10*kills || sent.len() == 0 {
		t.Errorf("only %d deliveries and %d sends were acknowledged; the stream stood still\n%s", acks.len(), sent.len(), s.logTail())
	}

	// What the outbox and the queue hold arrives within moments.
	eventually(t, 60*time.Second, "the phone's messages arrive", func() error {
		got := subjects(t, s, "dave")
		for id := range sent.acked {
			if got[id] == 0 {
				return fmt.Errorf("%s is missing", id)
			}
		}
		return nil
	})
	for id, n := range subjects(t, s, "dave") {
		if n > 1 {
			t.Errorf("the phone's message %s arrived %d times", id, n)
		}
	}
	// A message that was taken into the queue is delivered when its store is back.
	eventually(t, 120*time.Second, "acknowledged messages arrive", func() error {
		missing := 0
		first := ""
		for _, u := range users {
			got := subjects(t, s, u)
			for key := range acks.acked {
				if id, who, _ := strings.Cut(key, " "); who == u && got[id] == 0 {
					missing++
					first = key
				}
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d lost, e.g. %s", missing, acks.len(), first)
		}
		return nil
	})
	for _, u := range users {
		for id, n := range subjects(t, s, u) {
			if n > 1 {
				t.Errorf("%s has %s %d times", u, id, n)
			}
		}
	}
	checkEvents(t, s, cal, events)
	t.Logf("%d deliveries, %d sends and %d events were acknowledged, each is there exactly once", acks.len(), sent.len(), events.len())
}

// eventStream puts events over CalDAV and writes each of them some times, every
// text until it is answered. events counts the answered texts by UID.
func eventStream(ctx context.Context, s *site, calendar string, events *ledger) {
	for n := 0; ctx.Err() == nil; {
		// Three texts of one event, one after the other: 0 1 2 0 1 2 ...
		id, text := fmt.Sprintf("event-%d", n/3), n%3+1
		size := 100
		if n%21 == 0 {
			size = 300_000 // more than one piece of content
		}
		body := fmt.Sprintf("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//torture//EN\r\nBEGIN:VEVENT\r\nUID:%s\r\nDTSTAMP:20260101T000000Z\r\n"+
			"DTSTART:20261124T100000Z\r\nRRULE:FREQ=DAILY;COUNT=3\r\nSUMMARY:text %d\r\nDESCRIPTION:%s\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n", id, text, strings.Repeat("x", size))
		code, _, err := s.dav("carol", "PUT", calendar+id+".ics", body)
		switch {
		case err == nil && (code == http.StatusCreated || code == http.StatusNoContent):
			events.add(id)
			n++
		default:
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// checkEvents: what was answered is there; of the last one, the text that was
// under way may be there too.
func checkEvents(t *testing.T, s *site, calendar string, events *ledger) {
	t.Helper()
	var got map[string]string
	eventually(t, 30*time.Second, "the calendar answers", func() (err error) {
		got, err = s.copies("carol", calendar)
		return err
	})
	if events.len() == 0 {
		t.Error("no event was acknowledged")
	}
	for id, n := range events.acked {
		text := got[id]
		if !strings.Contains(text, fmt.Sprintf("SUMMARY:text %d\n", n)) && (n == 3 || !strings.Contains(text, fmt.Sprintf("SUMMARY:text %d\n", n+1))) {
			t.Errorf("%s was answered %d times, its text is %.400q", id, n, text)
		}
	}
	if len(got) > events.len()+1 {
		t.Errorf("%d events, %d were acknowledged", len(got), events.len())
	}
}

type ledger struct {
	mu    sync.Mutex
	acked map[string]int
}

func (l *ledger) add(key string) { l.mu.Lock(); l.acked[key]++; l.mu.Unlock() }
func (l *ledger) len() int       { l.mu.Lock(); defer l.mu.Unlock(); return len(l.acked) }

// stream delivers messages until ctx ends. What was not answered is not sent
// again, so that whatever arrives twice is our doing.
func stream(ctx context.Context, s *site, lane int, users []string, acks *ledger) {
	for n := 0; ctx.Err() == nil; {
		var to [][]string
		var ids []string
		for range 20 {
			who := []string{users[n%len(users)] + "@" + domain}
			if n%5 == 0 {
				who = nil
				for _, u := range users {
					who = append(who, u+"@"+domain)
				}
			}
			to, ids = append(to, who), append(ids, fmt.Sprintf("torture-%d-%d", lane, n))
			n++
		}
		err := deliver(s.addr["smtp"], "sender@example.net", to, func(i int) io.Reader {
			size := 200
			if i%7 == 0 {
				size = 300_000 // large content takes another way into the store
			}
			return bytes.NewReader(mailText("sender@example.net", "list", ids[i], ids[i], strings.Repeat("text of "+ids[i]+"\n", 1+size/20)))
		}, func(i int) {
			for _, r := range to[i] {
				u, _, _ := strings.Cut(r, "@")
				acks.add(ids[i] + " " + u)
			}
		})
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

// phoneStream sends messages to dave, repeating each until it is answered.
func phoneStream(ctx context.Context, s *site, sent *ledger) {
	p := s.phone("alice", "torture", "14.1")
	ready := false
	for n := 0; ctx.Err() == nil; {
		if !ready {
			ready = p.provision(ctx) == nil
		}
		id := fmt.Sprintf("phone-%d", n)
		err := p.send(ctx, id, mailText("alice@"+domain, "dave@"+domain, id, id, "text"))
		switch {
		case err == nil, strings.Contains(err.Error(), "status 118"):
			sent.add(id)
			n++
			time.Sleep(20 * time.Millisecond)
		default:
			ready = ready && !strings.Contains(err.Error(), "status 14")
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// killSomething sends SIGKILL to a program, to PostgreSQL as a whole or to one
// of its backends, and says to which.
func killSomething(t *testing.T, s *site, rnd *rand.Rand) string {
	t.Helper()
	switch rnd.IntN(3) {
	case 0:
		names := slices.Sorted(maps.Keys(s.launch))
		name := names[rnd.IntN(len(names))]
		_ = s.proc[name].cmd.Process.Kill()
		return name
	case 1:
		pid := postmaster(t, s)
		// The whole of it at once, as a failing machine would.
		for _, child := range children(pid) {
			_ = syscall.Kill(child, syscall.SIGKILL)
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
		return "postgres"
	default:
		all := backends(postmaster(t, s))
		if len(all) == 0 {
			return "nothing"
		}
		_ = syscall.Kill(all[rnd.IntN(len(all))], syscall.SIGKILL)
		return "backend"
	}
}

func postmaster(t *testing.T, s *site) int {
	t.Helper()
	var pid int
	eventually(t, 30*time.Second, "PostgreSQL runs", func() error {
		files, _ := filepath.Glob(filepath.Join(s.dir, "[ep]*", "*", "postmaster.pid")) // pg, or external
		if len(files) == 0 {
			return fmt.Errorf("no postmaster.pid below %s", s.dir)
		}
		raw, err := os.ReadFile(files[0])
		if err != nil {
			return err
		}
		line, _, _ := strings.Cut(string(raw), "\n")
		if pid, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
			return err
		}
		return syscall.Kill(pid, 0)
	})
	return pid
}

func children(pid int) (all []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(raw), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			n, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			all = append(all, n)
		}
	}
	return all
}

// backends are the children that serve a connection.
func backends(pid int) (all []int) {
	for _, c := range children(pid) {
		raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", c))
		if strings.Contains(string(raw), "waypost") && !strings.Contains(string(raw), "/bin/") {
			all = append(all, c)
		}
	}
	return all
}

// subjects counts the messages of an inbox by subject.
func subjects(t *testing.T, s *site, user string) map[string]int {
	t.Helper()
	c := s.imap(user, nil)
	defer func() { _ = c.Close() }()
	sel, err := c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	if sel.NumMessages == 0 {
		return got
	}
	all := imap.SeqSet{}
	all.AddRange(1, 0)
	msgs, err := c.Fetch(all, &imap.FetchOptions{Envelope: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range msgs {
		got[m.Envelope.Subject]++
	}
	return got
}
