package directorytest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
)

func signIn(t testing.TB, d directory.Directory, login, password, from string) (directory.Session, error) {
	t.Helper()
	return d.SignIn(t.Context(), credentials(login, password, from))
}

func testSignIn(t *testing.T, w World) {
	d, ctx := w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	addDomain(t, d, "corp.other.test")
	ann := addUser(t, d, "ann@example.test", secret, admin, func(n *directory.NewUser) {
		n.Account, n.UPN, n.Addresses = "alee", "ann.lee@corp.other.test", []string{"a.l@example.test"}
	})
	addUser(t, d, "nopass@example.test", "")
	const latin1 = "gr\xfc\xdfe" // a browser of yesterday
	addUser(t, d, "latin1@example.test", latin1)
	if _, err := signIn(t, d, "latin1@example.test", latin1, ""); err != nil {
		t.Errorf("SignIn with a password that is not UTF-8: %v", err)
	}
	addUser(t, d, "room@example.test", "", func(n *directory.NewUser) { n.Kind = directory.KindRoom })
	off := addUser(t, d, "off@example.test", secret)
	if err := d.SetEnabled(ctx, system, off.ID, false); err != nil {
		t.Fatal(err)
	}
	for _, login := range []string{
		"ann@example.test", "ANN@Example.Test", "a.l@example.test", "ann.lee@corp.other.test",
		"alee", "ALee", `example\alee`, `EXAMPLE.TEST\alee`, "alee@example.test",
	} {
		s, err := signIn(t, d, login, secret, "192.0.2.1")
		if err != nil {
			t.Errorf("SignIn(%s): %v", login, err)
			continue
		}
		if want := principal(ann); s.Principal != want {
			t.Errorf("SignIn(%s) gave %+v, want %+v", login, s.Principal, want)
		}
		if life := time.Until(s.Expires); life < 9*time.Minute || life > 11*time.Minute || strings.Count(s.Token, ".") != 2 {
			t.Errorf("SignIn(%s): token %q for %v", login, s.Token, life)
		}
	}
	keys, err := d.Keys(ctx)
	if err != nil || len(keys) == 0 || len(keys[0].Public) != 32 || keys[0].ID == "" {
		t.Errorf("Keys = %v, %v", keys, err)
	}
	// Whatever is wrong, the reply is the same.
	var said string
	for name, c := range map[string][2]string{
		"wrong password":        {"ann@example.test", "wrong"},
		"password in capitals":  {"ann@example.test", strings.ToUpper(secret)},
		"unknown user":          {"nobody@example.test", secret},
		"unknown domain":        {"ann@elsewhere.test", secret},
		"other domain":          {`corp\alee`, secret},
		"disabled, wrong":       {"off@example.test", "wrong"},
		"without a password":    {"nopass@example.test", secret},
		"empty password":        {"ann@example.test", ""},
		"empty, none set":       {"nopass@example.test", ""},
		"room":                  {"room@example.test", secret},
		"empty login":           {"", secret},
		"detail":                {"ann+x@example.test", secret},
		"other bytes":           {"latin1@example.test", "gr\xe4\xdfe"},
		"not UTF-8":             {"\xff\xfe", secret},
		"very long":             {strings.Repeat("a", 1<<16), secret},
		"very long password":    {"ann@example.test", strings.Repeat("a", 1<<16)},
		"password with NUL":     {"ann@example.test", secret + "\x00"},
		"login with NUL":        {"ann@example.test\x00", secret},
		"domain and no account": {`example\`, secret},
	} {
		_, err := signIn(t, d, c[0], c[1], "192.0.2.9")
		wantKind(t, "SignIn with "+name, err, fault.Unauthenticated)
		if s := fault.Say(err); said != "" && s != said {
			t.Errorf("SignIn with %s says %q, others %q", name, s, said)
		} else {
			said = s
		}
	}
	_, err = signIn(t, d, "off@example.test", secret, "192.0.2.9")
	wantProblem(t, "SignIn of the disabled account", err, directory.AccountDisabled)
	if err := d.SetEnabled(ctx, system, off.ID, true); err != nil {
		t.Fatal(err)
	}
	if _, err := signIn(t, d, "off@example.test", secret, "192.0.2.1"); err != nil {
		t.Errorf("SignIn after SetEnabled: %v", err)
	}
	wantKind(t, "an empty password set", d.SetPassword(ctx, system, ann.ID, ""), fault.Invalid)
	wantKind(t, "a very long password set", d.SetPassword(ctx, system, ann.ID, strings.Repeat("x", 1000)), fault.TooLarge)
}

func testLockOut(t *testing.T, w World) {
	d, other, ctx := w.Open(t), w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	ann := addUser(t, d, "ann@example.test", secret)
	addUser(t, d, "bob@example.test", secret)

	// A phone with one of the last two passwords is not guessing.
	for _, p := range []string{"second", "third"} {
		if err := d.SetPassword(ctx, system, ann.ID, p); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		for _, p := range []string{secret, "second"} {
			_, err := signIn(t, d, "ann@example.test", p, "192.0.2.1")
			wantKind(t, "SignIn with a former password", err, fault.Unauthenticated)
		}
	}
	if _, err := signIn(t, d, "ann@example.test", "third", "192.0.2.1"); err != nil {
		t.Errorf("former passwords locked their owner out: %v", err)
	}

	// Guesses are: after the free ones the account is slowed down for strangers,
	// in every process and under every name; and an unknown name just so.
	stranger := func(i int) string { return fmt.Sprintf("198.51.100.%d", i%250+1) }
	for login, other2 := range map[string]string{"bob@example.test": "bob", "nobody@example.test": "Nobody@Example.test"} {
		if free := guess(t, d, func(int) string { return login }, stranger, 8); free != 6 {
			t.Errorf("%s was slowed down after %d guesses, want 6", login, free)
		}
		for _, at := range []directory.Directory{d, other} {
			_, err := signIn(t, at, login, secret, "203.0.113.1")
			wantKind(t, "SignIn of "+login+" while slowed down", err, fault.Limit)
		}
		_, err := signIn(t, d, other2, secret, "203.0.113.1")
		wantKind(t, "SignIn by another name while slowed down", err, fault.Limit)
	}
	eventually(t, "the lock-out ends", 20*time.Second, func() bool {
		_, err := signIn(t, other, "bob@example.test", secret, "203.0.113.1")
		return err == nil
	})

	// One client that guesses at many accounts is slowed down, of IPv6 its site.
	free := guess(t, d, func(i int) string { return fmt.Sprintf("no%d@example.test", i) },
		func(i int) string { return fmt.Sprintf("2001:db8::%x", i+1) }, 53)
	if free != 51 {
		t.Errorf("the client was slowed down after %d guesses, want 51", free)
	}
	_, err := signIn(t, other, "bob@example.test", secret, "2001:db8::ffff")
	wantKind(t, "SignIn from the same site", err, fault.Limit)
	if _, err = signIn(t, other, "bob@example.test", secret, "2001:db8:0:1::1"); err != nil {
		t.Errorf("SignIn from another site: %v", err)
	}
}

// guess tries wrong passwords until so many were counted, and tells how many
// were before the first one that was slowed down. The last one counted makes
// the next wait for seconds, so that a test has time to look.
func guess(t testing.TB, d directory.Directory, login, from func(int) string, counted int) (free int) {
	t.Helper()
	free = -1
	n := 0
	eventually(t, "guessing", time.Minute, func() bool {
		_, err := signIn(t, d, login(n), fmt.Sprint("guess ", n), from(n))
		switch fault.Of(err) {
		case fault.Limit:
			if free < 0 {
				free = n
			}
		case fault.Unauthenticated:
			n++
		default:
			t.Fatalf("a guess gave %v", err)
		}
		return n == counted
	})
	return free
}

func testKnownAddress(t *testing.T, w World) {
	d, other := w.Open(t), w.Open(t)
	addDomain(t, d, "example.test")
	addUser(t, d, "ann@example.test", secret)
	const home, attacker = "192.0.2.1", "198.51.100.1"
	if _, err := signIn(t, d, "ann@example.test", secret, home); err != nil {
		t.Fatal(err)
	}
	guess(t, d, func(int) string { return "ann@example.test" }, func(int) string { return attacker }, 8)
	_, err := signIn(t, d, "ann@example.test", secret, attacker)
	wantKind(t, "SignIn from the attacker", err, fault.Limit)
	for _, at := range []directory.Directory{d, other} {
		if _, err := signIn(t, at, "ann@example.test", secret, home); err != nil {
			t.Errorf("the lock-out shuts out an address that signed in before: %v", err)
		}
	}
	_, err = signIn(t, other, "ann@example.test", secret, attacker)
	wantKind(t, "SignIn from the attacker, afterwards", err, fault.Limit)
	// Its own failures slow it down, but never lock it out.
	for i := range 12 {
		_, err := signIn(t, d, "ann@example.test", fmt.Sprint("slip ", i), home)
		wantKind(t, "a slip at home", err, fault.Unauthenticated)
	}
	if _, err := signIn(t, d, "ann@example.test", secret, home); err != nil {
		t.Errorf("after many slips at home: %v", err)
	}
}

// testUnknownCostsTheSame counts the work, which is exact, and compares times
// only coarsely, because the machine is shared.
func testUnknownCostsTheSame(t *testing.T, w World) {
	d, ctx := w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	const rounds = 24
	for i := range rounds {
		addUser(t, d, fmt.Sprintf("known%d@example.test", i), secret)
	}
	off := addUser(t, d, "off@example.test", secret)
	if err := d.SetEnabled(ctx, system, off.ID, false); err != nil {
		t.Fatal(err)
	}
	addUser(t, d, "none@example.test", "")
	for _, login := range []string{"known0@example.test", "unknown@example.test", "unknown", `x\y`, "off@example.test", "none@example.test"} {
		for _, password := range []string{"wrong", secret} {
			before := w.Work()
			_, _ = signIn(t, d, login, password, "")
			if n := w.Work() - before; n != 1 {
				t.Errorf("SignIn(%s, %s) computed %d hashes, want 1", login, password, n)
			}
		}
	}
	known, unknown := make([]time.Duration, 0, 2*rounds), make([]time.Duration, 0, 2*rounds)
	measure := func(login string, into *[]time.Duration) {
		begin := time.Now()
		_, err := signIn(t, d, login, "wrong", "")
		*into = append(*into, time.Since(begin))
		wantKind(t, "SignIn", err, fault.Unauthenticated)
	}
	for i := range 2 * rounds {
		somebody, nobody := fmt.Sprintf("known%d@example.test", i%rounds), fmt.Sprintf("nobody%d@example.test", i%rounds)
		// Each goes first half of the time: what the one leaves behind, the
		// other meets.
		if i%2 == 0 {
			measure(somebody, &known)
			measure(nobody, &unknown)
		} else {
			measure(nobody, &unknown)
			measure(somebody, &known)
		}
	}
	// Whatever else the machine does only adds: the smallest tells the most.
	k, u := slices.Min(known), slices.Min(unknown)
	t.Logf("wrong password: %v for a known name, %v for an unknown one (at best)", k, u)
	if k > 3*u || u > 3*k {
		t.Errorf("a wrong password takes %v for a known name and %v for an unknown one", k, u)
	}
}

func testFeed(t *testing.T, w World) {
	d, other := w.Open(t), w.Open(t)
	addDomain(t, d, "example.test")
	eventually(t, "the domain at the other", soon, func() bool {
		return resolve(t, other, "x@example.test").Standing == directory.Unknown
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	news := make(chan directory.Change, 1000)
	follow := func(from directory.Directory, since directory.USN) <-chan error {
		ended := make(chan error, 1)
		go func() {
			ended <- from.Follow(ctx, since, func(changes []directory.Change) error {
				for _, c := range changes {
					news <- c
				}
				return nil
			})
		}()
		return ended
	}
	next := func(what string) directory.Change {
		t.Helper()
		for {
			select {
			case c := <-news:
				if c.Kind != 0 { // neither a beat nor the domain, which may still be news
					return c
				}
			case <-time.After(15 * time.Second):
				t.Fatalf("%s: the feed is silent", what)
			}
		}
	}
	ended := follow(other, -1)
	first := <-news
	if first.ID != 0 || first.USN == 0 {
		t.Errorf("the feed from now begins with %+v, want a beat", first)
	}
	ann := addUser(t, d, "ann@example.test", "")
	if c := next("AddUser"); c != (directory.Change{USN: ann.Changed, ID: ann.ID, Kind: directory.KindUser, Epoch: 1, Enabled: true}) {
		t.Errorf("AddUser told as %+v", c)
	}
	if err := d.SetPassword(t.Context(), system, ann.ID, secret); err != nil {
		t.Fatal(err)
	}
	if c := next("SetPassword"); c.ID != ann.ID || c.Epoch != 2 || c.USN <= ann.Changed {
		t.Errorf("SetPassword told as %+v", c)
	}
	if err := d.SetEnabled(t.Context(), system, ann.ID, false); err != nil {
		t.Fatal(err)
	}
	if c := next("SetEnabled"); c.ID != ann.ID || c.Epoch != 3 || c.Enabled {
		t.Errorf("SetEnabled told as %+v", c)
	}
	g, err := d.AddGroup(t.Context(), system, "g@example.test", "")
	if err != nil {
		t.Fatal(err)
	}
	if c := next("AddGroup"); c.ID != g.ID || c.Kind != directory.KindGroup || c.Epoch != 0 {
		t.Errorf("AddGroup told as %+v", c)
	}
	if err := d.SetMembers(t.Context(), system, g.ID, []string{"ann@example.test"}, nil); err != nil {
		t.Fatal(err)
	}
	next("SetMembers")
	if err := d.RemoveUser(t.Context(), system, ann.ID); err != nil {
		t.Fatal(err)
	}
	a, b := next("RemoveUser"), next("RemoveUser")
	if a.USN != b.USN || a.ID+b.ID != ann.ID+g.ID {
		t.Errorf("RemoveUser told as %+v, %+v: want user and group in one USN", a, b)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("Follow ended without an error")
	}

	// Who comes back later gets each object's newest change, and Gone as such.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	ended = follow(w.Open(t), first.USN)
	got := []directory.Change{next("later"), next("later")}
	if got[0].USN != a.USN || got[1].USN != a.USN || got[0].Gone == got[1].Gone {
		t.Errorf("coming back tells %+v", got)
	}
	cancel()
	<-ended
	// A follower that fails ends its feed with its own error.
	stop := fault.New(fault.Invalid, "stop")
	if err := d.Follow(t.Context(), 0, func([]directory.Change) error { return stop }); fault.Of(err) != fault.Invalid {
		t.Errorf("Follow with a failing function gave %v", err)
	}
}
