package directorytest

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"waypost/directory"
	"waypost/directory/authn"
	"waypost/internal/fault"
)

// soon is the promise: a change is seen everywhere within a second. The test
// allows more, because the machine is shared, but less than the three seconds
// after which a process looks by itself.
const soon = 2500 * time.Millisecond

func testProcesses(t *testing.T, w World) {
	a, b, ctx := w.Open(t), w.Open(t), t.Context()
	addDomain(t, a, "example.test")
	eventually(t, "a domain added elsewhere", soon, func() bool {
		return resolve(t, b, "x@example.test").Standing == directory.Unknown
	})
	ann := addUser(t, a, "ann@example.test", secret)
	eventually(t, "a user added elsewhere", soon, func() bool {
		return resolve(t, b, "ann@example.test").Target.ID == ann.ID
	})
	bob := addUser(t, b, "bob@example.test", secret)
	eventually(t, "a user added at the other", soon, func() bool {
		return resolve(t, a, "bob@example.test").Target.ID == bob.ID
	})
	g, err := b.AddGroup(ctx, system, "g@example.test", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.SetMembers(ctx, system, g.ID, []string{"ann@example.test", "bob@example.test"}, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a group filled elsewhere", soon, func() bool {
		x, err := a.Expand(ctx, g.ID, directory.Page{})
		return err == nil && len(x) == 2
	})
	// Passwords and states count everywhere at once, before any news arrive.
	if err := a.SetPassword(ctx, system, ann.ID, "another"); err != nil {
		t.Fatal(err)
	}
	_, err = signIn(t, b, "ann@example.test", secret, "")
	wantKind(t, "the old password elsewhere", err, fault.Unauthenticated)
	if _, err := signIn(t, b, "ann@example.test", "another", ""); err != nil {
		t.Errorf("the new password elsewhere: %v", err)
	}
	if err := a.SetEnabled(ctx, system, ann.ID, false); err != nil {
		t.Fatal(err)
	}
	_, err = signIn(t, b, "ann@example.test", "another", "")
	wantKind(t, "a disabled account elsewhere", err, fault.Unauthenticated)
	if err := b.RemoveUser(ctx, system, bob.ID); err != nil {
		t.Fatal(err)
	}
	_, err = signIn(t, a, "bob@example.test", secret, "")
	wantKind(t, "a removed account elsewhere", err, fault.Unauthenticated)

	// Many writers at both lose nothing.
	var wg sync.WaitGroup
	const each = 25
	for i, d := range []directory.Directory{a, a, b, b} {
		wg.Go(func() {
			for j := range each {
				address := string(rune('p'+i)) + string(rune('a'+j)) + "@example.test"
				if _, err := d.AddUser(ctx, system, directory.NewUser{User: directory.User{Address: address}}); err != nil {
					t.Errorf("AddUser(%s): %v", address, err)
					return
				}
				if r, err := d.Resolve(ctx, address); err != nil || r.Standing != directory.Person {
					t.Errorf("a writer does not see its own %s: %+v, %v", address, r, err)
				}
			}
		})
	}
	wg.Wait()
	for _, d := range []directory.Directory{a, b} {
		eventually(t, "all that was added", soon, func() bool {
			_, total, err := d.People(ctx, system, directory.PeopleQuery{Limit: 1})
			return err == nil && total == 4*each+2 // and ann, and the group
		})
	}
}

// gate starts one in front of d.
func gate(t testing.TB, d directory.Directory) *authn.Gate {
	g := authn.NewGate(d, authn.GateOptions{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return g
}

func testGate(t *testing.T, w World) {
	a, b, ctx := w.Open(t), w.Open(t), t.Context()
	addDomain(t, a, "example.test")
	ann := addUser(t, a, "ann@example.test", secret)
	bob := addUser(t, a, "bob@example.test", secret)
	gates := []*authn.Gate{gate(t, a), gate(t, b)}
	in := func(g *authn.Gate, login, password string) (directory.Principal, error) {
		return g.SignIn(ctx, credentials(login, password, "192.0.2.1"))
	}
	eventually(t, "the user at the second", soon, func() bool { return resolve(t, b, "bob@example.test").Target.ID == bob.ID })
	for i, g := range gates {
		if p, err := in(g, "ann@example.test", secret); err != nil || p != principal(ann) {
			t.Fatalf("SignIn at gate %d: %+v, %v", i, p, err)
		}
		if _, err := in(g, "bob@example.test", secret); err != nil {
			t.Fatal(err)
		}
		// What was proven before costs microseconds and no hash.
		before := w.Work()
		var took []time.Duration
		for range 500 {
			begin := time.Now()
			if _, err := in(g, "ann@example.test", secret); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(begin))
		}
		slices.Sort(took)
		if w.Work() != before || took[250] > 200*time.Microsecond {
			t.Errorf("repeated sign-ins took %v at the median and %d hashes", took[250], w.Work()-before)
		}
		_, err := in(g, "ann@example.test", secret+"x")
		wantKind(t, "a wrong password after a right one", err, fault.Unauthenticated)
		_, err = in(g, "ann@example.test"+secret, "")
		wantKind(t, "login and password shifted", err, fault.Unauthenticated)
	}

	session, err := a.SignIn(ctx, credentials("ann@example.test", secret, "192.0.2.1"))
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range gates {
		if p, err := g.Verify(ctx, session.Token); err != nil || p != principal(ann) {
			t.Errorf("Verify at gate %d: %+v, %v", i, p, err)
		}
		_, err := g.Verify(ctx, session.Token[:len(session.Token)-4]+"AAAA")
		wantKind(t, "Verify of a token with another signature", err, fault.Unauthenticated)
	}

	// A new name is seen by those who are signed in, without another hash.
	before := w.Work()
	if _, err := a.UpdateUser(ctx, system, ann.ID, func(u *directory.User) error { u.Name = "Ann Lee"; return nil }); err != nil {
		t.Fatal(err)
	}
	for _, g := range gates {
		eventually(t, "the new name", soon, func() bool {
			p, err := in(g, "ann@example.test", secret)
			return err == nil && p.Name == "Ann Lee" && p.Epoch == ann.Epoch
		})
	}
	if n := w.Work() - before; n != 0 {
		t.Errorf("a new name cost %d hashes", n)
	}

	// Each of these begins another epoch: contexts end, proofs and tokens with them.
	for _, change := range []struct {
		name string
		do   func() error
		undo func() error
	}{
		{"SetPassword", func() error { return a.SetPassword(ctx, system, ann.ID, "new") }, func() error { return a.SetPassword(ctx, system, ann.ID, secret) }},
		{"SetEnabled", func() error { return b.SetEnabled(ctx, system, ann.ID, false) }, func() error { return a.SetEnabled(ctx, system, ann.ID, true) }},
		{"roles", func() error {
			_, err := a.UpdateUser(ctx, system, ann.ID, func(u *directory.User) error { u.Roles = directory.RoleAdmin; return nil })
			return err
		}, nil},
		{"RemoveUser", func() error { return a.RemoveUser(ctx, system, ann.ID) }, nil},
	} {
		var open []context.Context
		var tokens []string
		for _, g := range gates {
			p, err := in(g, "ann@example.test", secret)
			if err != nil {
				t.Fatalf("before %s: %v", change.name, err)
			}
			s, err := a.SignIn(ctx, credentials("ann@example.test", secret, "192.0.2.1"))
			if err != nil {
				t.Fatalf("before %s: %v", change.name, err)
			}
			tokens = append(tokens, s.Token)
			c, cancel := g.Context(ctx, p)
			defer cancel()
			open = append(open, c)
			other, err := in(g, "bob@example.test", secret)
			if err != nil {
				t.Fatal(err)
			}
			c, cancel = g.Context(ctx, other)
			defer cancel()
			open = append(open, c)
		}
		if err := change.do(); err != nil {
			t.Fatalf("%s: %v", change.name, err)
		}
		for i, c := range open {
			if i%2 == 1 {
				continue
			}
			select {
			case <-c.Done():
				wantKind(t, change.name+": cause", context.Cause(c), fault.Unauthenticated)
			case <-time.After(soon):
				t.Errorf("%s: the context at gate %d goes on", change.name, i/2)
			}
			g := gates[i/2]
			_, err := g.Verify(ctx, tokens[i/2])
			wantKind(t, change.name+": Verify of a token from before", err, fault.Unauthenticated)
			if change.name != "roles" {
				_, err = in(g, "ann@example.test", secret)
				wantKind(t, change.name+": SignIn", err, fault.Unauthenticated)
			}
			if open[i+1].Err() != nil {
				t.Errorf("%s ended somebody else's context: %v", change.name, context.Cause(open[i+1]))
			}
		}
		if change.undo != nil {
			if err := change.undo(); err != nil {
				t.Fatal(err)
			}
			for _, g := range gates {
				eventually(t, "signing in again after "+change.name, soon, func() bool {
					_, err := in(g, "ann@example.test", secret)
					return err == nil
				})
			}
		}
	}
	// What has no account ends with its parent only.
	c, cancel := gates[0].Context(ctx, system)
	if c.Err() != nil {
		t.Error("the product's own context has ended")
	}
	cancel()
	if c.Err() == nil {
		t.Error("a cancelled context goes on")
	}
	// A principal of before the removal opens nothing any more.
	c, cancel = gates[0].Context(ctx, principal(ann))
	defer cancel()
	if c.Err() == nil {
		t.Error("a removed account's context is open")
	}
}
