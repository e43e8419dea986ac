package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-imap/v2"
	"golang.org/x/sync/errgroup"

	"waypost/internal/corpus"
	"waypost/internal/mail"
	"waypost/internal/mailfile"
	wb "waypost/services/eas/wbxml"
)

// letter is a message of the corpus with the manifest's reading of it.
type letter struct {
	path, subject, from string
	attachments         int
	doubtful            bool // the reading carries a flag: only presence is compared
	body                []byte
}

func letters(t *testing.T) []letter {
	t.Helper()
	dir := corpus.Dir(t)
	rows, err := corpus.Rows(dir, "mail")
	if err != nil {
		t.Fatal(err)
	}
	var all []letter
	for _, r := range rows {
		raw, err := os.ReadFile(filepath.Join(dir, r["path"]))
		if err != nil {
			t.Fatal(err)
		}
		// On the wire lines end in CRLF, and the last one ends.
		body, err := io.ReadAll(mailfile.NewCRLF(bytes.NewReader(raw)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(body, []byte("\r\n")) {
			body = append(body, "\r\n"...)
		}
		n, _ := strconv.Atoi(r["n_attachments"])
		all = append(all, letter{
			path: r["path"], subject: r["subject_decoded"], from: r["from_addr"], attachments: n,
			doubtful: r["reader_flags"] != "", body: body,
		})
	}
	return all
}

// corpusRun delivers the whole corpus to the users and checks every reading of it.
func corpusRun(t *testing.T, s *site, users []string) {
	all := letters(t)
	ctx := t.Context()

	// Every message goes to one user, every tenth to all of them.
	to := make([][]string, len(all))
	has := map[string]map[[32]byte]*letter{}
	for _, u := range users {
		has[u] = map[[32]byte]*letter{}
	}
	count := map[string]int{}
	for i := range all {
		who := []string{users[i%len(users)]}
		if i%10 == 0 {
			who = users
		}
		for _, u := range who {
			to[i] = append(to[i], u+"@"+domain)
			has[u][sha256.Sum256(all[i].body)] = &all[i]
			count[u]++
		}
	}
	const conns = 4
	var g errgroup.Group
	var mu sync.Mutex
	accepted := 0
	for c := range conns {
		g.Go(func() error {
			var mine []int
			for i := c; i < len(all); i += conns {
				mine = append(mine, i)
			}
			rcpt := make([][]string, len(mine))
			for k, i := range mine {
				rcpt[k] = to[i]
			}
			return deliver(s.addr["smtp"], "sender@example.net", rcpt,
				func(k int) io.Reader { return bytes.NewReader(all[mine[k]].body) },
				func(int) { mu.Lock(); accepted++; mu.Unlock() })
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatalf("after %d of %d: %v\n%s", accepted, len(all), err, s.logTail())
	}
	if accepted != len(all) {
		t.Fatalf("%d of %d accepted", accepted, len(all))
	}
	t.Logf("%d messages accepted", accepted)

	for _, u := range users {
		byID := readBack(t, s, u, has[u], count[u])
		for _, version := range []string{"2.5", "14.1", "16.1"} {
			compareOnPhone(ctx, t, s, u, version, byID)
		}
	}
}

// readBack reads a mailbox over IMAP: every message is there once, byte for
// byte, behind the trace headers. It gives the letters by EMAILID (RFC 8474).
func readBack(t *testing.T, s *site, user string, want map[[32]byte]*letter, n int) map[string]*letter {
	t.Helper()
	c := s.imap(user, nil)
	sel, err := c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		t.Fatal(err)
	}
	if int(sel.NumMessages) != n {
		t.Errorf("%s: %d messages, want %d", user, sel.NumMessages, n)
	}
	byUID := map[imap.UID]*letter{}
	seen := map[*letter]int{}
	// Pieces, so that the client does not hold the whole mailbox.
	for first := uint32(1); first <= sel.NumMessages; first += 200 {
		set := imap.SeqSet{}
		set.AddRange(first, min(first+199, sel.NumMessages))
		part := &imap.FetchItemBodySection{Peek: true}
		msgs, err := c.Fetch(set, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{part}, RFC822Size: true}).Collect()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range msgs {
			body := m.FindBodySection(part)
			if int64(len(body)) != m.RFC822Size {
				t.Errorf("%s UID %d: RFC822.SIZE %d, but %d bytes", user, m.UID, m.RFC822Size, len(body))
			}
			l := behindTrace(body, want)
			if l == nil {
				t.Errorf("%s UID %d: not what was sent: %.300q", user, m.UID, body)
				continue
			}
			byUID[m.UID] = l
			seen[l]++
		}
	}
	for _, l := range want {
		// The corpus has no two files alike but for line ends; those may meet here.
		if seen[l] == 0 {
			t.Errorf("%s: %s is missing", user, l.path)
		}
	}
	byID := map[string]*letter{}
	for uid, id := range emailIDs(t, s, user) {
		byID[id] = byUID[uid]
	}
	return byID
}

var traceLine = regexp.MustCompile(`(?i)^(return-path|received|delivered-to):`)

// behindTrace finds which letter stands behind the trace headers of body.
func behindTrace(body []byte, want map[[32]byte]*letter) *letter {
	for range 40 {
		if l := want[sha256.Sum256(body)]; l != nil {
			return l
		}
		if !traceLine.Match(body[:min(len(body), 40)]) && body[0] != ' ' && body[0] != '\t' {
			return nil
		}
		_, rest, ok := bytes.Cut(body, []byte("\r\n"))
		if !ok || len(rest) == 0 {
			return nil
		}
		body = rest
	}
	return nil
}

var emailIDLine = regexp.MustCompile(`UID (\d+).*EMAILID \(([^)]+)\)|EMAILID \(([^)]+)\).*UID (\d+)`)

// emailIDs asks for EMAILID, which the client library does not know.
func emailIDs(t *testing.T, s *site, user string) map[imap.UID]string {
	t.Helper()
	raw := rawIMAP(t, s, user, "SELECT INBOX", "UID FETCH 1:* (UID EMAILID)")
	out := map[imap.UID]string{}
	for _, line := range strings.Split(raw, "\r\n") {
		if m := emailIDLine.FindStringSubmatch(line); m != nil {
			uid, _ := strconv.Atoi(m[1] + m[4])
			out[imap.UID(uid)] = m[2] + m[3]
		}
	}
	return out
}

// rawIMAP says commands on a connection of its own and gives all that was heard.
func rawIMAP(t *testing.T, s *site, user string, commands ...string) string {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr["imap"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var script strings.Builder
	fmt.Fprintf(&script, "a0 LOGIN %s@%s %s\r\n", user, domain, password)
	for i, c := range commands {
		fmt.Fprintf(&script, "a%d %s\r\n", i+1, c)
	}
	script.WriteString("z LOGOUT\r\n")
	if _, err := io.WriteString(conn, script.String()); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "\r\na0 NO") {
		t.Fatalf("sign-in refused: %s", b)
	}
	return string(b)
}

// compareOnPhone syncs the inbox and compares with the manifest.
func compareOnPhone(ctx context.Context, t *testing.T, s *site, user, version string, byID map[string]*letter) {
	t.Helper()
	known, err := mail.CorpusDifferences()
	if err != nil {
		t.Fatal(err)
	}
	p := s.phone(user, "corpus"+strings.ReplaceAll(version, ".", ""), version)
	if err := p.provision(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.folderSync(ctx); err != nil {
		t.Fatal(err)
	}
	c := p.collection(p.folderOf(typeInbox))
	if err := c.drain(ctx); err != nil {
		t.Fatal(err)
	}
	if len(c.items) != len(byID) || len(c.doubles) > 0 {
		t.Errorf("%s over %s: %d items, want %d; doubled %v", user, version, len(c.items), len(byID), c.doubles)
	}
	wrong := 0
	differ := func(l *letter, field, got, want string) {
		if _, reason := known[[2]string{l.path, field}]; reason || l.doubtful {
			return
		}
		wrong++
		t.Errorf("%s over %s: %s: %s is %.200q, want %.200q", user, version, l.path, field, got, want)
	}
	for id, item := range c.items {
		l := byID[id]
		if l == nil {
			t.Errorf("%s over %s: item %s is not in the mailbox", user, version, id)
			continue
		}
		if got := item.Get(wb.EmailSubject); squash(got) != squash(l.subject) {
			differ(l, "subject_decoded", got, l.subject)
		}
		from := ""
		if list := mail.ParseAddresses(item.Get(wb.EmailFrom)); len(list) > 0 {
			from = list[0].Addr()
		}
		if !strings.EqualFold(from, l.from) && l.from != "" {
			differ(l, "from_addr", from, l.from)
		}
		if got := attachmentsOf(item); got != l.attachments {
			differ(l, "n_attachments", strconv.Itoa(got), strconv.Itoa(l.attachments))
		}
	}
	t.Logf("%s over %s: %d items compared, %d unexplained differences", user, version, len(c.items), wrong)
}

func attachmentsOf(item *wb.Node) int {
	for _, tag := range []wb.Tag{wb.AirSyncBaseAttachments, wb.EmailAttachments} {
		if a := item.Child(tag); a != nil {
			return len(slices.DeleteFunc(slices.Clone(a.Children), func(n *wb.Node) bool {
				return n.Tag != wb.AirSyncBaseAttachment && n.Tag != wb.EmailAttachment
			}))
		}
	}
	return 0
}

// squash drops what folding and cleaning may change: runs of white space and
// characters that XML cannot carry.
func squash(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return -1
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}
