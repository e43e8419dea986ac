package imap

import (
	"bufio"
	"fmt"
	"math/rand"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"waypost/store"
)

// mirror is a client that believes what it is told, and checks that it can.
type mirror struct {
	*raw
	uids  []uint32 // by sequence number; 0 where none was told
	flags []string // by sequence number; "?" where none were told
	log   []string
}

var (
	countLine = regexp.MustCompile(`^\* (\d+) (EXISTS|EXPUNGE)$`)
	fetchLine = regexp.MustCompile(`^\* (\d+) FETCH \((?:UID (\d+) ?)?(?:FLAGS \(([^)]*)\))?.*\)$`)
)

// do sends a command and takes in what comes with its reply.
func (m *mirror) do(cmd string) {
	m.t.Helper()
	m.log = append(m.log, "C: "+cmd)
	m.send("z " + cmd + "\r\n")
	if cmd == "IDLE" {
		m.send("DONE\r\n")
	}
	word, _, _ := strings.Cut(cmd, " ")
	quiet := word == "FETCH" || word == "STORE" || word == "SEARCH"
	for {
		l := m.line()
		m.log = append(m.log, "S: "+l)
		if strings.HasPrefix(l, "z ") {
			return
		}
		if f := countLine.FindStringSubmatch(l); f != nil {
			n, _ := strconv.Atoi(f[1])
			if f[2] == "EXPUNGE" {
				if quiet || n < 1 || n > len(m.uids) {
					m.fail("EXPUNGE %d of %d during %s", n, len(m.uids), word)
				}
				m.uids, m.flags = slices.Delete(m.uids, n-1, n), slices.Delete(m.flags, n-1, n)
				continue
			}
			if n < len(m.uids) {
				m.fail("EXISTS fell from %d to %d", len(m.uids), n)
			}
			for len(m.uids) < n {
				m.uids, m.flags = append(m.uids, 0), append(m.flags, "?")
			}
			continue
		}
		f := fetchLine.FindStringSubmatch(l)
		if f == nil {
			continue
		}
		n, _ := strconv.Atoi(f[1])
		if n < 1 || n > len(m.uids) {
			m.fail("FETCH of %d among %d", n, len(m.uids))
		}
		if f[2] != "" {
			uid, _ := strconv.ParseUint(f[2], 10, 32)
			if old := m.uids[n-1]; old != 0 && old != uint32(uid) {
				m.fail("message %d changed its UID from %d to %d", n, old, uid)
			}
			m.uids[n-1] = uint32(uid)
		}
		if strings.Contains(l, "FLAGS (") {
			m.flags[n-1] = f[3]
		}
	}
}

func (m *mirror) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(m.log[max(0, len(m.log)-40):], "\n"))
}

// Two clients and deliveries change a folder at random. Whatever the order, the
// numbers that a client was told add up, and in the end it knows the folder.
func TestViewFollowsTheStore(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 8
	}
	for seed := range int64(rounds) {
		t.Run(strconv.FormatInt(seed, 10), func(t *testing.T) {
			r := rand.New(rand.NewSource(seed))
			s := newMemStore()
			s.page = 1 + r.Intn(4) // many pages
			d := open(t, testConfig(), s, s, nil)
			ann := people["ann"]
			for range r.Intn(6) {
				s.deliver(t, ann, "Subject: x\r\n\r\nbody\r\n")
			}
			var clients []*mirror
			for range 2 {
				c := &mirror{raw: dialRaw(t, d)}
				c.r = bufio.NewReader(c.nc)
				c.do("LOGIN ann secret")
				c.do("SELECT INBOX")
				clients = append(clients, c)
			}
			inbox := func() (*memFolder, *memFolder) {
				var in, other *memFolder
				for _, f := range s.box(ann.Mailbox).folders {
					switch f.Role {
					case store.RoleInbox:
						in = f
					case store.RoleDrafts:
						other = f
					}
				}
				return in, other
			}
			some := func(f *memFolder) (items []store.ItemID) {
				s.mu.Lock()
				defer s.mu.Unlock()
				for _, it := range f.items {
					if r.Intn(3) == 0 {
						items = append(items, it.entry.Item)
					}
				}
				return items
			}
			in, other := inbox()
			for range 60 {
				switch r.Intn(9) {
				case 0, 1:
					s.deliver(t, ann, "Subject: x\r\n\r\nbody\r\n")
				case 2:
					_, _ = s.Flag(t.Context(), ann, ann.Mailbox, store.FlagChange{
						Folder: in.ID, Items: some(in), Set: store.Flags(1 << r.Intn(5)), Clear: store.Flags(1 << r.Intn(5)),
						Add: []string{fmt.Sprintf("k%d", r.Intn(4))},
					})
				case 3:
					_, _, _ = s.Delete(t.Context(), ann, ann.Mailbox, in.ID, some(in), false)
				case 4:
					_, _ = s.Move(t.Context(), ann, ann.Mailbox, in.ID, some(in), other.ID)
				case 5:
					_, _ = s.Move(t.Context(), ann, ann.Mailbox, other.ID, some(other), in.ID)
				case 6:
					if r.Intn(4) == 0 {
						s.forget(ann.Mailbox, "Inbox")
					}
				}
				c := clients[r.Intn(2)]
				n := max(1, len(c.uids))
				cmds := []string{
					"NOOP", "FETCH 1:* (UID FLAGS)", "UID FETCH 1:* (FLAGS)", "SEARCH ALL", "UID SEARCH ALL", "EXPUNGE", "IDLE",
					fmt.Sprintf("STORE %d +FLAGS (\\Deleted)", 1+r.Intn(n)),
					fmt.Sprintf("STORE %d FLAGS (k%d)", 1+r.Intn(n), r.Intn(5)),
					fmt.Sprintf("STORE 1:%d +FLAGS.SILENT (\\Seen)", 1+r.Intn(n)),
					fmt.Sprintf("FETCH %d BODY[]<0.1>", 1+r.Intn(n)),
					fmt.Sprintf("COPY %d INBOX", 1+r.Intn(n)),
					fmt.Sprintf("MOVE %d Drafts", 1+r.Intn(n)),
					"APPEND INBOX {1+}\r\nx",
				}
				c.do(cmds[r.Intn(len(cmds))])
				for i := range c.flags { // after SILENT the client would compute them
					if strings.Contains(c.log[len(c.log)-1], "SILENT") {
						c.flags[i] = "?"
					}
				}
			}
			for _, c := range clients {
				c.do("NOOP")
				known := slices.Clone(c.uids)
				c.do("FETCH 1:* (UID FLAGS)")
				s.mu.Lock()
				var want []uint32
				for _, it := range in.items {
					want = append(want, uint32(it.entry.UID))
				}
				s.mu.Unlock()
				if len(want) == 0 {
					c.uids = nil // FETCH 1:* of nothing is BAD
				}
				if !slices.Equal(c.uids, want) || len(known) != len(want) {
					c.fail("the client ends with %v, the store with %v", c.uids, want)
				}
			}
		})
	}
}
