package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// hole is a way to a server that can be shut without a word: what is sent
// arrives nowhere, and no connection is told.
type hole struct {
	l    net.Listener
	mu   sync.Mutex
	open chan struct{} // closed while bytes pass
}

func newHole(t *testing.T, network, to string) *hole {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hole{l: l, open: make(chan struct{})}
	close(h.open)
	t.Cleanup(func() { _ = l.Close(); h.let(true) })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				far, err := net.Dial(network, to)
				if err != nil {
					_ = near.Close()
					return
				}
				go h.pass(near, far)
				h.pass(far, near)
			}()
		}
	}()
	return h
}

func (h *hole) pass(to, from net.Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		h.mu.Lock()
		open := h.open
		h.mu.Unlock()
		<-open
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_, _ = to.Close(), from.Close()
}

// let opens the way or shuts it.
func (h *hole) let(through bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.open:
		if !through {
			h.open = make(chan struct{})
		}
	default:
		if through {
			close(h.open)
		}
	}
}

// through gives a database's URL by way of a hole.
func through(t *testing.T, database string) (string, *hole) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	h := newHole(t, "unix", filepath.Join(q.Get("host"), ".s.PGSQL.5432"))
	q.Del("host")
	u.Host, u.RawQuery = h.l.Addr().String(), q.Encode()
	return u.String(), h
}

// bind signs in at a door.
func (s *site) bind(door, user, with string) (*goldap.Conn, error) {
	c, err := goldap.DialURL("ldaps://"+s.addr[door], goldap.DialWithTLSConfig(noVerify), goldap.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}))
	if err != nil {
		return nil, err
	}
	c.SetTimeout(time.Minute)
	if err := c.Bind(user+"@"+domain, with); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

const loadBase = "ou=Load,dc=example,dc=test"

// load writes at a door until ctx ends: people come, change and go. It signs in
// again when it has to. worst is the longest that a write took.
func (s *site) load(ctx context.Context, door, name string, worst, done *atomic.Int64) {
	var c *goldap.Conn
	for n := 0; ctx.Err() == nil; n++ {
		if c == nil {
			var err error
			if c, err = s.bind(door, "ann", password); err != nil {
				time.Sleep(200 * time.Millisecond)
				continue
			}
		}
		began := time.Now()
		dn := fmt.Sprintf("cn=%s %d,%s", name, n, loadBase)
		add := goldap.NewAddRequest(dn, nil)
		add.Attribute("objectClass", []string{"contact"})
		err := c.Add(add)
		if err == nil {
			change := goldap.NewModifyRequest(dn, nil)
			change.Replace("title", []string{"changed"})
			err = c.Modify(change)
		}
		if err == nil && n%3 == 0 {
			err = c.Del(goldap.NewDelRequest(dn, nil))
		}
		if err != nil {
			_ = c.Close()
			c = nil
			continue
		}
		worst.Store(max(worst.Load(), int64(time.Since(began))))
		done.Add(1)
		time.Sleep(10 * time.Millisecond)
	}
	if c != nil {
		_ = c.Close()
	}
}

// copier keeps a copy by content synchronization (RFC 4533), beginning again
// where it was whenever it loses its connection.
type copier struct {
	mu     sync.Mutex
	has    map[string]string // DN by UUID
	told   map[string]int    // how often an entry was told as one change left it
	cookie []byte
}

func (c *copier) run(ctx context.Context, s *site, door string) {
	for ctx.Err() == nil {
		conn, err := s.bind(door, "ann", password)
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		req := goldap.NewSearchRequest("dc=example,dc=test", goldap.ScopeWholeSubtree, goldap.NeverDerefAliases, 0, 0, false,
			"(objectClass=*)", []string{"uSNChanged"}, nil)
		c.mu.Lock()
		cookie := c.cookie
		c.mu.Unlock()
		r := conn.Syncrepl(ctx, req, 64, goldap.SyncRequestModeRefreshAndPersist, cookie, false)
		for r.Next() {
			c.take(r.Entry(), r.Controls())
		}
		_ = conn.Close()
	}
}

func (c *copier) take(e *goldap.Entry, controls []goldap.Control) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range controls {
		switch x := x.(type) {
		case *goldap.ControlSyncState:
			if e != nil {
				c.has[x.EntryUUID.String()] = e.DN
				c.told[e.DN+" "+e.GetAttributeValue("uSNChanged")]++
			}
			if len(x.Cookie) > 0 {
				c.cookie = x.Cookie
			}
		case *goldap.ControlSyncInfo:
			switch {
			case x.NewCookie != nil:
				c.cookie = x.NewCookie.Cookie
			case x.RefreshDelete != nil:
				c.cookie = x.RefreshDelete.Cookie
			case x.RefreshPresent != nil:
				c.cookie = x.RefreshPresent.Cookie
			case x.SyncIdSet != nil:
				for _, id := range x.SyncIdSet.SyncUUIDs {
					delete(c.has, id.String())
				}
				if len(x.SyncIdSet.Cookie) > 0 {
					c.cookie = x.SyncIdSet.Cookie
				}
			}
		}
	}
}

func (c *copier) names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Values(c.has))
}

// listing is everything that a door shows, one line a value.
func (s *site) listing(t *testing.T, door string) (lines, names []string) {
	t.Helper()
	c, err := s.bind(door, "ann", password)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // only read from
	req := goldap.NewSearchRequest("dc=example,dc=test", goldap.ScopeWholeSubtree, goldap.NeverDerefAliases, 0, 0, false,
		"(objectClass=*)", []string{"*", "+"}, nil)
	got, err := c.SearchWithPaging(req, 500)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range got.Entries {
		names = append(names, e.DN)
		for _, a := range e.Attributes {
			values := slices.Sorted(slices.Values(a.Values))
			lines = append(lines, fmt.Sprintf("%s %s %q", e.DN, a.Name, values))
		}
	}
	slices.Sort(lines)
	slices.Sort(names)
	return lines, names
}

// changed is what DirSync tells since a position, and the position after it.
func (s *site) changed(t *testing.T, door string, cookie []byte) (names []string, after []byte) {
	t.Helper()
	c, err := s.bind(door, "ann", password)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // only read from
	for more := int64(1); more != 0; {
		req := goldap.NewSearchRequest("dc=example,dc=test", goldap.ScopeWholeSubtree, goldap.NeverDerefAliases, 0, 0, false,
			"(objectClass=*)", []string{"cn"}, []goldap.Control{goldap.NewRequestControlDirSync(0, 0, cookie)})
		got, err := c.Search(req)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range got.Entries {
			names = append(names, e.DN)
		}
		x, ok := goldap.FindControl(got.Controls, goldap.ControlTypeDirSync).(*goldap.ControlDirSync)
		if !ok {
			t.Fatal("DirSync gives no position")
		}
		more, cookie = x.Flags, x.Cookie
	}
	slices.Sort(names)
	return names, cookie
}

// ready asks a program's health.
func ready(at string) error {
	c := http.Client{Timeout: 10 * time.Second}
	r, err := c.Get("http://" + at + "/readyz")
	if err != nil {
		return err
	}
	defer r.Body.Close() //nolint:errcheck // only read from
	text, _ := io.ReadAll(r.Body)
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", r.Status, text)
	}
	return nil
}

func codeOf(err error) uint16 {
	var e *goldap.Error
	if errors.As(err, &e) {
		return e.ResultCode
	}
	return 0
}

// TestCutOff: three directories on one database, of which one is cut off from it
// under load. It answers what it knows and says that it is behind, promises no
// change that it cannot keep, lets nobody in once it has heard nothing for half a
// minute, does not hold the others up, and when it is back has missed nothing.
func TestCutOff(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes more than a minute")
	}
	s := newSeparate(t)
	programs := t.TempDir()
	if err := os.Chmod(programs, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"waypost", "waypost-directory"} {
		if err := os.Symlink(filepath.Join(s.bin, name), filepath.Join(programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"second", "third"} {
		if err := os.Symlink(filepath.Join(s.bin, "waypost-directory"), filepath.Join(programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	s.bin = programs
	env := roleEnv(s.env, "directory")
	s.startAs(nil, env, "waypost-directory")
	if out, err := s.cliAt(filepath.Join(s.dir, "directory"), "", "ready", "--wait", "90s"); err != nil {
		t.Fatalf("not ready: %v\n%s\n%s", err, out, s.logTail())
	}
	s.organisation("ann", "bob", "eve", "joe")
	s.must("user", "set", "ann@"+domain, "--admin")

	var way *hole
	start := func(name string) {
		mine := slices.Clone(env)
		if name == "third" {
			for i, e := range mine {
				if u, ok := strings.CutPrefix(e, "WAYPOST_DATABASE_DIRECTORY_URL="); ok {
					u, way = through(t, u)
					mine[i] = "WAYPOST_DATABASE_DIRECTORY_URL=" + u
				}
			}
		}
		mine = append(mine, "WAYPOST_LISTEN_DIRECTORY=127.0.0.1:0")
		for _, d := range []string{"LDAP", "LDAPS", "GC", "GCS", "METRICS"} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			switch d {
			case "LDAPS":
				s.addr[name] = l.Addr().String()
			case "METRICS":
				s.addr[name+" health"] = l.Addr().String()
			}
			mine = append(mine, "WAYPOST_LISTEN_"+d+"="+l.Addr().String())
			_ = l.Close()
		}
		s.startAs(nil, mine, name)
	}
	start("second")
	start("third")
	for _, name := range []string{"second", "third"} {
		eventually(t, 60*time.Second, name, func() error { return ready(s.addr[name+" health"]) })
	}
	boss, err := s.bind("ldaps", "ann", password)
	if err != nil {
		t.Fatal(err)
	}
	defer boss.Close() //nolint:errcheck // only the test's
	unit := goldap.NewAddRequest(loadBase, nil)
	unit.Attribute("objectClass", []string{"organizationalUnit"})
	if err := boss.Add(unit); err != nil {
		t.Fatal(err)
	}

	// Copies are kept at the one that stays and at the one that is cut off.
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var all sync.WaitGroup
	copies := map[string]*copier{}
	for _, door := range []string{"ldaps", "third"} {
		c := &copier{has: map[string]string{}, told: map[string]int{}}
		copies[door] = c
		all.Go(func() { c.run(ctx, s, door) })
	}
	loading, unload := context.WithCancel(t.Context())
	defer unload()
	var writers sync.WaitGroup
	var worst, lost, done, aside atomic.Int64
	writers.Go(func() { s.load(loading, "ldaps", "one", &worst, &done) })
	writers.Go(func() { s.load(loading, "second", "two", &worst, &done) })
	for i := range 3 { // so that it is in the middle of something
		writers.Go(func() { s.load(loading, "third", fmt.Sprintf("three-%d", i), &lost, &aside) })
	}
	known, err := s.bind("third", "ann", password)
	if err != nil {
		t.Fatal(err)
	}
	defer known.Close() //nolint:errcheck // only the test's
	time.Sleep(3 * time.Second)
	before := done.Load()
	if before == 0 || aside.Load() == 0 {
		t.Fatalf("no load: %d, %d", before, aside.Load())
	}

	_, at := s.changed(t, "third", nil)
	way.let(false)
	cut := time.Now()
	// It answers from what it knows, at once.
	find := func(c *goldap.Conn, filter string) (int, error) {
		got, err := c.Search(goldap.NewSearchRequest("dc=example,dc=test", goldap.ScopeWholeSubtree, goldap.NeverDerefAliases, 0, 0, false, filter, []string{"cn"}, nil))
		if err != nil {
			return 0, err
		}
		return len(got.Entries), nil
	}
	if n, err := find(known, "(mail=bob@example.test)"); n != 1 || err != nil || time.Since(cut) > time.Second {
		t.Errorf("a search finds %d, %v, after %v", n, err, time.Since(cut))
	}
	// It says that it is behind.
	eventually(t, 10*time.Second, "the health of the one that is cut off", func() error {
		if ready(s.addr["third health"]) == nil {
			return errors.New("it says that it is ready")
		}
		return nil
	})
	// What is written at it is not promised.
	promised := make(chan error, 1)
	go func() {
		add := goldap.NewAddRequest("cn=Promised,"+loadBase, nil)
		add.Attribute("objectClass", []string{"contact"})
		promised <- known.Add(add)
	}()
	// Meanwhile accounts change elsewhere, seen at once there.
	mod := goldap.NewModifyRequest("cn=Eve,dc=example,dc=test", nil)
	mod.Replace("userAccountControl", []string{"514"})
	if err := boss.Modify(mod); err != nil {
		t.Errorf("disable eve: %v", err)
	}
	const other = "Waypost-demo-2"
	if _, err := boss.PasswordModify(goldap.NewPasswordModifyRequest("cn=Bob,dc=example,dc=test", "", other)); err != nil {
		t.Errorf("change bob's password: %v", err)
	}
	for _, door := range []string{"ldaps", "second"} {
		if _, err := s.bind(door, "bob", password); codeOf(err) != goldap.LDAPResultInvalidCredentials {
			t.Errorf("bob's old password at %s: %v", door, err)
		}
		if c, err := s.bind(door, "bob", other); err != nil {
			t.Errorf("bob's new password at %s: %v", door, err)
		} else {
			_ = c.Close()
		}
		if _, err := s.bind(door, "eve", password); codeOf(err) != goldap.LDAPResultInvalidCredentials {
			t.Errorf("eve, who was disabled, at %s: %v", door, err)
		}
	}
	// Nobody signs in anew where the passwords cannot be asked.
	for _, who := range [][2]string{{"eve", password}, {"bob", password}, {"bob", other}, {"joe", password}} {
		go func() {
			if _, err := s.bind("third", who[0], who[1]); err == nil {
				if time.Since(cut) < 40*time.Second {
					t.Errorf("%s signed in at the one that is cut off", who[0])
				}
			}
		}()
	}
	// After half a minute it lets go of everybody.
	eventually(t, 45*time.Second, "the end of what was granted before", func() error {
		if !known.IsClosing() {
			return errors.New("its connection goes on")
		}
		return nil
	})
	if took := time.Since(cut); took < 25*time.Second {
		t.Errorf("its connection ended after %v", took)
	}
	began := time.Now()
	if _, err := s.bind("third", "ann", password); codeOf(err) != goldap.LDAPResultUnavailable || time.Since(began) > 3*time.Second {
		t.Errorf("a known password after half a minute: %v, in %v", err, time.Since(began))
	}
	select {
	case err := <-promised:
		if err == nil {
			t.Error("it promised a change that it could not keep")
		}
	default:
	}
	during := done.Load() - before
	if during < 100 {
		t.Errorf("the others made %d changes only while one was cut off", during)
	}
	t.Logf("cut off for %v: the others made %d changes, the slowest took %v", time.Since(cut).Round(time.Second), during, time.Duration(worst.Load()).Round(time.Millisecond))
	if time.Duration(worst.Load()) > 15*time.Second {
		t.Errorf("a change elsewhere took %v", time.Duration(worst.Load()))
	}

	mark := goldap.NewAddRequest("cn=Mark,"+loadBase, nil)
	mark.Attribute("objectClass", []string{"contact"})
	if err := boss.Add(mark); err != nil {
		t.Fatal(err)
	}
	way.let(true)
	back := time.Now()
	eventually(t, 30*time.Second, "its health when it is back", func() error { return ready(s.addr["third health"]) })
	eventually(t, 30*time.Second, "what it had missed", func() error {
		c, err := s.bind("third", "ann", password)
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // only read from
		n, err := find(c, "(cn=Mark)")
		if err == nil && n == 0 {
			err = errors.New("it is not there")
		}
		return err
	})
	t.Logf("caught up in %v", time.Since(back).Round(10*time.Millisecond))
	for _, who := range [][2]string{{"eve", password}, {"bob", password}} {
		if _, err := s.bind("third", who[0], who[1]); codeOf(err) != goldap.LDAPResultInvalidCredentials {
			t.Errorf("%s at the one that is back: %v", who[0], err)
		}
	}
	if c, err := s.bind("third", "bob", other); err != nil {
		t.Errorf("bob's new password at the one that is back: %v", err)
	} else {
		_ = c.Close()
	}
	// It takes changes again.
	was := aside.Load()
	eventually(t, 30*time.Second, "changes at the one that is back", func() error {
		if aside.Load() == was {
			return errors.New("none")
		}
		return nil
	})
	time.Sleep(2 * time.Second)
	unload()
	writers.Wait()

	// All three have the same, and so has who followed.
	var lines, names []string
	eventually(t, 10*time.Second, "the same everywhere", func() error {
		lines, names = s.listing(t, "ldaps")
		for _, door := range []string{"second", "third"} {
			got, _ := s.listing(t, door)
			if !slices.Equal(got, lines) {
				return fmt.Errorf("%s has %d lines, not %d", door, len(got), len(lines))
			}
		}
		for door, c := range copies {
			if got := c.names(); !slices.Equal(got, names) {
				return fmt.Errorf("the copy at %s has %d entries, not %d", door, len(got), len(names))
			}
		}
		return nil
	})
	stop()
	all.Wait()
	told, _ := s.changed(t, "third", at)
	if elsewhere, _ := s.changed(t, "second", at); !slices.Equal(told, elsewhere) || len(told) < int(during) {
		t.Errorf("DirSync tells of %d at the one that was cut off, of %d elsewhere", len(told), len(elsewhere))
	}
	if once := slices.Compact(slices.Clone(told)); len(once) != len(told) {
		t.Errorf("DirSync tells of %d objects %d times", len(once), len(told))
	}
	for door, c := range copies {
		for what, n := range c.told {
			if n > 1 {
				t.Errorf("the copy at %s was told of %s %d times", door, what, n)
			}
		}
		t.Logf("the copy at %s has %d entries, told of %d changes", door, len(c.has), len(c.told))
	}
	if out, err := s.cli("", "directory", "check"); err != nil {
		t.Errorf("check: %v\n%s", err, out)
	}
}
