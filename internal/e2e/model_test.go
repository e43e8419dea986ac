package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestModel: two phones of different versions, a CalDAV client and a CardDAV client
// change one mailbox at random and at the same time. Answers are lost, requests are
// repeated, and the program, PostgreSQL or one of its backends is killed. In the end
// all of them see the same, which is what a client sees that comes new; nothing is
// there twice, nothing that was answered is lost.
//
// WAYPOST_MODEL_CHANGES and WAYPOST_MODEL_KILLS make it longer, WAYPOST_MODEL_SEED
// repeats a run's choices (not what the machine makes of them).
func TestModel(t *testing.T) {
	s := newSite(t)
	s.freePorts()
	s.serve()
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return n
		}
		return otherwise
	}
	m := &world{t: t, s: s, changes: number("WAYPOST_MODEL_CHANGES", 1500), born: map[int]*thing{}}
	seed := uint64(number("WAYPOST_MODEL_SEED", int(time.Now().UnixNano()))) //nolint:gosec // any bits do
	kills := number("WAYPOST_MODEL_KILLS", 3)
	t.Logf("seed %d, %d changes, %d kills", seed, m.changes, kills)
	s.organisation("alice")
	m.open()

	rnd := rand.New(rand.NewPCG(seed, 0))
	versions := [][2]string{{"2.5", "16.1"}, {"14.1", "16.1"}, {"12.1", "14.1"}}[rnd.IntN(3)]
	var clients []client
	for i, v := range versions {
		clients = append(clients, m.newPhone(fmt.Sprintf("model%d", i), v, rand.New(rand.NewPCG(seed, uint64(10+i)))))
	}
	clients = append(clients,
		m.newReplica("CalDAV", rand.New(rand.NewPCG(seed, 20)), "e", "t"),
		m.newReplica("CardDAV", rand.New(rand.NewPCG(seed, 21)), "c"))
	begun := time.Now()
	var work sync.WaitGroup
	for _, c := range clients {
		work.Go(func() {
			for m.done.Load() < int64(m.changes) && !t.Failed() {
				c.step(true)
			}
		})
	}
	for k := range kills {
		// Evenly among the changes, at a moment that is not theirs.
		for m.done.Load() < int64(m.changes*(k+1)/(kills+1)) && !t.Failed() {
			time.Sleep(time.Duration(rnd.IntN(30)) * time.Millisecond)
		}
		what := killSomething(t, s, rnd)
		t.Logf("kill %d after %d changes: %s", k+1, m.done.Load(), what)
		if launch := s.launch[what]; launch != nil {
			<-s.proc[what].done
			launch()
		}
		s.await()
	}
	work.Wait()
	t.Logf("%d changes in %v", m.done.Load(), time.Since(begun).Round(time.Second))
	begun = time.Now()
	for range 3 { // what one has still to say the others hear in the next round
		for _, c := range clients {
			for range 1000 {
				if t.Failed() || !c.step(false) {
					break
				}
			}
			t.Logf("%s is up to date after %v", c.name(), time.Since(begun))
		}
	}
	if t.Failed() {
		return
	}
	m.compare(clients)
}

// client is one program that changes the mailbox.
type client interface {
	// step is one exchange with the server, with changes of its own or without. It
	// tells whether there may be more to hear.
	step(changes bool) bool
	name() string
	// view is what the client holds.
	view() map[int]seen
}

// seen is what a client shows of a thing, in words that all of them have.
type seen map[string]string

// world is the mailbox, and what is known of it from outside.
type world struct {
	t       *testing.T
	s       *site
	changes int
	places  []*place
	clock   atomic.Int64 // a moment is a number
	done    atomic.Int64 // changes that were made
	mu      sync.Mutex
	born    map[int]*thing
}

// place is a folder in both of its names.
type place struct {
	kind, name, path string
	phone            string // its id in ActiveSync
}

// thing is an event, task or card and what was written into it.
type thing struct {
	mu     sync.Mutex
	birth  int
	kind   string // e, t or c
	writes []*write
}

// write is one change by one client: of the words that it names, or the removal.
type write struct {
	who        string
	words      seen // nil: removal
	begin, end int64
	ok         bool // answered so; with end 0 nobody knows
	refused    bool
}

func (m *world) open() {
	home := "/dav/calendars/alice@" + domain + "/"
	cal := m.s.calendar(m.t, "alice")
	if code, body, err := m.s.dav("alice", "MKCALENDAR", home+"second/", ""); err != nil || code != http.StatusCreated {
		m.t.Fatalf("MKCALENDAR: %d %s %v", code, body, err)
	}
	p := m.s.phone("alice", "look", "14.1")
	m.prepare(p)
	_, body, err := m.s.dav("alice", "PROPFIND", home, "", "Depth", "1")
	if err != nil {
		m.t.Fatal(err)
	}
	tasks := ""
	for _, part := range strings.Split(body, "response>") {
		if h := calendarHref.FindStringSubmatch(part); h != nil && strings.Contains(part, "VTODO") {
			tasks = h[1]
		}
	}
	books := "/dav/addressbooks/alice@" + domain + "/"
	_, body, err = m.s.dav("alice", "PROPFIND", books, "", "Depth", "1")
	book := ""
	for _, h := range regexp.MustCompile(`href>([^<]*/addressbooks/[^<]+/[^<]+/)</`).FindAllStringSubmatch(body, -1) {
		if !strings.Contains(h[1], "directory") && book == "" {
			book = h[1]
		}
	}
	if err != nil || tasks == "" || book == "" {
		m.t.Fatalf("tasks %q, address book %q in %s, %v", tasks, book, body, err)
	}
	m.places = []*place{
		{kind: "e", name: "Calendar", path: cal, phone: p.folderOf("8")},
		{kind: "e", name: "second", path: home + "second/", phone: p.folderNamed("second")},
		{kind: "t", name: "Tasks", path: tasks, phone: p.folderOf("7")},
		{kind: "c", name: "Contacts", path: book, phone: p.folderOf("9")},
	}
	for _, at := range m.places {
		if at.phone == "" {
			m.t.Fatalf("no folder for %s among %v", at.name, p.folders)
		}
	}
}

func (m *world) prepare(p *phone) {
	m.t.Helper()
	eventually(m.t, 60*time.Second, "phone "+p.id, func() error {
		if err := p.provision(m.t.Context()); err != nil {
			return err
		}
		return p.folderSync(m.t.Context())
	})
}

// create makes a thing to be written.
func (m *world) create(kind string) *thing {
	m.mu.Lock()
	defer m.mu.Unlock()
	th := &thing{birth: len(m.born) + 1, kind: kind}
	m.born[th.birth] = th
	return th
}

func (m *world) thing(birth int) *thing {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.born[birth]
}

// begin notes a change that is about to be asked for.
func (m *world) begin(who string, th *thing, words seen) *write {
	w := &write{who: who, words: words, begin: m.clock.Add(1)}
	m.done.Add(1)
	th.mu.Lock()
	th.writes = append(th.writes, w)
	th.mu.Unlock()
	return w
}

// finish notes the first answer to it. What was asked for more than once may have
// been done before it was refused, unless sure.
func (m *world) finish(th *thing, w *write, ok, sure bool) {
	th.mu.Lock()
	defer th.mu.Unlock()
	if w.end != 0 {
		return
	}
	switch {
	case ok:
		w.ok, w.end = true, m.clock.Add(1)
	case sure:
		w.refused, w.end = true, m.clock.Add(1)
	}
}

// words for something new or changed; n makes them different from all others.
func (m *world) words(kind string, rnd *rand.Rand) seen {
	n := m.clock.Add(1)
	w := seen{"S": fmt.Sprint("s", n), "N": fmt.Sprint("n", n)}
	switch kind {
	case "e":
		w["L"] = fmt.Sprint("l", n)
		w["T"] = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n%200_000) * 15 * time.Minute).Format(compactTime)
	case "t":
		w["P"] = []string{"0", "1", "2"}[rnd.IntN(3)]
	case "c":
		w["M"] = fmt.Sprint("+49", 1_000_000+n)
		w["E"] = fmt.Sprintf("e%d@other.example", n)
	}
	return w
}

// some of the words.
func some(w seen, rnd *rand.Rand) seen {
	got := seen{}
	for _, k := range slices.Sorted(maps.Keys(w)) {
		if len(got) == 0 || rnd.IntN(2) == 0 {
			got[k] = w[k]
		}
	}
	return got
}

const compactTime = "20060102T150405Z"

func merged(a, b seen) seen {
	c := maps.Clone(a)
	maps.Copy(c, b)
	return c
}

// compare is the end: every client against one that comes new, all clients with
// each other, and everything with what was answered.
func (m *world) compare(clients []client) {
	t := m.t
	views := map[string]map[int]seen{}
	var names []string
	for _, c := range clients {
		views[c.name()] = c.view()
		names = append(names, c.name())
		if p, ok := c.(*modelPhone); ok {
			fresh := m.newPhone("fresh"+p.p.id, p.p.version, rand.New(rand.NewPCG(1, 1)))
			for fresh.step(false) {
			}
			p.sameAs(fresh)
		}
		if r, ok := c.(*davReplica); ok {
			r.sameAsServer()
		}
	}
	total := map[string]int{}
	for birth, th := range m.born {
		in := map[string]seen{}
		for _, name := range names {
			if (name == "CalDAV") == (th.kind == "c") && strings.HasSuffix(name, "DAV") {
				continue
			}
			if v, there := views[name][birth]; there {
				in[name] = v
			} else {
				in[name] = nil
			}
		}
		var first seen
		var from string
		for name, v := range in {
			if from == "" {
				first, from = v, name
			} else if !maps.Equal(first, v) {
				t.Errorf("thing %d: %s sees %v, %s sees %v\n%s", birth, from, first, name, v, th)
				break
			}
		}
		if first != nil {
			total[th.kind]++
		}
		th.check(t, first)
	}
	t.Logf("%d things were made, there are %v", len(m.born), total)
}

func (th *thing) String() string {
	var b strings.Builder
	for _, w := range th.writes {
		what := fmt.Sprint(map[string]string(w.words))
		if w.words == nil {
			what = "removes it"
		}
		fmt.Fprintf(&b, "  %d to %d %s ok=%v refused=%v: %s\n", w.begin, w.end, w.who, w.ok, w.refused, what)
	}
	return b.String()
}

// check compares what is there with what was answered: a word is what somebody
// wrote who was not followed by another one's write that was answered.
func (th *thing) check(t *testing.T, now seen) {
	t.Helper()
	removed, asked, made := false, false, false
	for i, w := range th.writes {
		if w.words == nil {
			removed, asked = removed || w.ok, asked || !w.refused
		}
		made = made || i == 0 && w.ok
	}
	switch {
	case now == nil && made && !asked:
		t.Errorf("thing %d is lost\n%s", th.birth, th)
	case now != nil && removed:
		t.Errorf("thing %d is there though its removal was answered: %v\n%s", th.birth, now, th)
	}
	for word, value := range now {
		var by *write
		for _, w := range th.writes {
			if w.words[word] == value && (by == nil || !w.refused) {
				by = w
			}
		}
		if by == nil || by.refused {
			t.Errorf("thing %d: nobody wrote %s=%q, or was told that it is not\n%s", th.birth, word, value, th)
			continue
		}
		for _, w := range th.writes {
			if v, wrote := w.words[word]; wrote && w.ok && v != value && by.end != 0 && w.begin > by.end && word != "P" {
				t.Errorf("thing %d: %s is %q, but %s wrote %q after it\n%s", th.birth, word, value, w.who, v, th)
				break
			}
		}
	}
}

var birthMark = regexp.MustCompile(`\b[etc](\d+)\b`)

func birthOf(text string) int {
	if f := birthMark.FindStringSubmatch(text); f != nil {
		n, _ := strconv.Atoi(f[1])
		return n
	}
	return 0
}

// fail tells of a failure from a client's goroutine.
func (m *world) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Errorf(format, args...)
}

var quietContext = context.Background()

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func pause(rnd *rand.Rand) { time.Sleep(time.Duration(20+rnd.IntN(100)) * time.Millisecond) }
