package directorytest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
)

// operator acts for whoever runs the system: policies are for him, too.
var operator = func() directory.Principal {
	p := directory.System("operator")
	p.Roles |= directory.RoleAdmin
	return p
}()

// wantProblem wants a sign-in with the right password to be refused for why.
func wantProblem(t testing.TB, what string, err error, why directory.Problem) {
	t.Helper()
	var p *directory.SignInProblem
	if !errors.As(err, &p) || p.Why != why || fault.Of(err) != fault.Unauthenticated {
		t.Errorf("%s: got %v, want the problem %v", what, err, why)
	}
}

func setPolicy(t testing.TB, d directory.Directory, p directory.Policy) directory.Policy {
	t.Helper()
	got, err := d.SetPolicy(t.Context(), operator, p)
	if err != nil {
		t.Fatalf("SetPolicy(%+v): %v", p, err)
	}
	return got
}

// known waits until a process knows a person.
func known(t testing.TB, d directory.Directory, address string) {
	t.Helper()
	eventually(t, address+" in the other process", soon, func() bool { return resolve(t, d, address).Standing == directory.Person })
}

// at is a sign-in at a door.
func at(t testing.TB, d directory.Directory, door, login, password, factor string) (directory.Session, error) {
	t.Helper()
	c := credentials(login, password, "192.0.2.1")
	c.Door, c.Factor = door, factor
	return d.SignIn(t.Context(), c)
}

func testPolicies(t *testing.T, w World) {
	d, other, ctx := w.Open(t), w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	ann := addUser(t, d, "ann@example.test", "")
	bob := addUser(t, d, "bob@example.test", "", func(n *directory.NewUser) { n.OU = "Sales/North" })
	carl := addUser(t, d, "carl@example.test", "", func(n *directory.NewUser) { n.OU = "Sales" })
	g, err := d.AddGroup(ctx, system, "staff@example.test", "Staff")
	if err != nil {
		t.Fatal(err)
	}
	outer, err := d.AddGroup(ctx, system, "all@example.test", "All")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct {
		id  directory.ObjectID
		who string
	}{{g.ID, "bob@example.test"}, {outer.ID, "staff@example.test"}} {
		if err := d.SetMembers(ctx, system, m.id, []string{m.who}, nil); err != nil {
			t.Fatal(err)
		}
	}
	policyOf := func(from directory.Directory, id directory.ObjectID) string {
		t.Helper()
		s, err := from.AccountState(ctx, system, id)
		if err != nil && (from == d || fault.Of(err) != fault.NotFound) { // the other may not know yet
			t.Fatal(err)
		}
		return s.Policy
	}
	want := func(what string, ann1, bob1, carl1 string) {
		t.Helper()
		for _, from := range []directory.Directory{d, other} {
			var got [3]string
			eventually(t, what, soon, func() bool {
				got = [3]string{policyOf(from, ann.ID), policyOf(from, bob.ID), policyOf(from, carl.ID)}
				return from == d || got == [3]string{ann1, bob1, carl1}
			})
			if got != [3]string{ann1, bob1, carl1} {
				t.Errorf("%s: the policies are %q, want %q", what, got, []string{ann1, bob1, carl1})
			}
		}
	}
	want("nothing set", "default", "default", "default")
	setPolicy(t, d, directory.Policy{Name: "sales", Precedence: 20, MinLength: 10, AppliesTo: []string{"Sales"}})
	want("a unit", "default", "sales", "sales")
	setPolicy(t, d, directory.Policy{Name: "north", Precedence: 30, MinLength: 11, AppliesTo: []string{"OU=North,OU=Sales,DC=example,DC=test"}})
	want("the nearest unit", "default", "north", "sales")
	setPolicy(t, d, directory.Policy{Name: "all", Precedence: 90, MinLength: 12, AppliesTo: []string{"all@example.test"}})
	want("a group, nested", "default", "all", "sales")
	setPolicy(t, d, directory.Policy{Name: "staff", Precedence: 80, MinLength: 13, AppliesTo: []string{"staff@example.test"}})
	want("the lower precedence", "default", "staff", "sales")
	setPolicy(t, d, directory.Policy{Name: "bob", Precedence: 99, MinLength: 14, AppliesTo: []string{"bob@example.test"}})
	want("the account itself", "default", "bob", "sales")

	list, err := d.Policies(ctx, operator)
	var names []string
	for _, p := range list {
		names = append(names, p.Name)
	}
	if wanted := []string{"sales", "north", "staff", "all", "bob", "default"}; err != nil || !slices.Equal(names, wanted) {
		t.Errorf("Policies gave %q, %v, want %q", names, err, wanted)
	}
	full := directory.Policy{
		Name: "all", Precedence: 5, MinLength: 9, History: 7, MinAge: time.Hour, MaxAge: 90 * 24 * time.Hour, Complexity: true,
		LockoutThreshold: 4, LockoutDuration: time.Hour, LockoutWindow: 10 * time.Minute, AppliesTo: []string{"ann@example.test", "staff@example.test"},
	}
	got := setPolicy(t, d, full)
	full.ID = got.ID
	if len(got.AppliesTo) != 2 || !strings.Contains(strings.Join(got.AppliesTo, " "), ",DC=example,DC=test") {
		t.Errorf("the policy is for %q", got.AppliesTo)
	}
	got.AppliesTo, full.AppliesTo = nil, nil
	if fmt.Sprint(got) != fmt.Sprint(full) {
		t.Errorf("SetPolicy gave %+v, want %+v", got, full)
	}
	def := setPolicy(t, d, directory.Policy{Name: "default", MinLength: 9, History: 3, MaxAge: 24 * time.Hour, LockoutWindow: time.Minute})
	if def.MinLength != 9 || def.History != 3 || def.MaxAge != 24*time.Hour || def.LockoutThreshold != 0 {
		t.Errorf("the default is %+v", def)
	}
	for _, name := range []string{"all", "bob", "staff", "north", "default"} {
		if err := d.RemovePolicy(ctx, operator, name); err != nil {
			t.Errorf("RemovePolicy(%s): %v", name, err)
		}
	}
	want("removed", "default", "sales", "sales")
	for what, p := range map[string]directory.Policy{
		"without precedence":       {Name: "x", MinLength: 8},
		"for nobody there is":      {Name: "x", Precedence: 1, AppliesTo: []string{"nobody@example.test"}},
		"a negative length":        {Name: "x", Precedence: 1, MinLength: -1},
		"a history without end":    {Name: "x", Precedence: 1, History: 1000000},
		"ages that exclude":        {Name: "x", Precedence: 1, MinAge: time.Hour, MaxAge: time.Minute},
		"a window past the lock":   {Name: "x", Precedence: 1, LockoutThreshold: 1, LockoutDuration: time.Minute, LockoutWindow: time.Hour},
		"the default for somebody": {Name: "default", AppliesTo: []string{"ann@example.test"}},
	} {
		if _, err := d.SetPolicy(ctx, operator, p); fault.Of(err) != fault.Invalid && fault.Of(err) != fault.NotFound {
			t.Errorf("a policy %s: %v", what, err)
		}
	}
	if _, err := d.SetPolicy(ctx, principal(ann), directory.Policy{Name: "x", Precedence: 1}); err == nil {
		t.Error("a person made a policy")
	}
	if _, err := d.Policies(ctx, principal(ann)); fault.Of(err) != fault.Denied {
		t.Errorf("a person lists the policies: %v", err)
	}
}

func testPasswordRules(t *testing.T, w World) {
	d, ctx := w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	setPolicy(t, d, directory.Policy{Name: "default", MinLength: 10, History: 4, Complexity: true, MinAge: time.Hour})
	refused := func(what string, err error, says string) {
		t.Helper()
		if fault.Of(err) != fault.Invalid || !strings.Contains(fault.Say(err), says) {
			t.Errorf("%s: got %v, want %q", what, err, says)
		}
	}
	_, err := d.AddUser(ctx, operator, directory.NewUser{User: directory.User{Address: "x@example.test", Name: "X"}, Password: "Short-1"})
	refused("a new user", err, "10 characters")
	ann := addUser(t, d, "ann@example.test", "First-pass-77", named("Annabel Lee", "", ""))
	for password, says := range map[string]string{
		"Sh0rt-one":      "10 characters",
		"alllowercase":   "three kinds",
		"Annabel-12345":  "part of the name",
		"Basketball1234": "guessed first",
	} {
		refused("a reset to "+password, d.SetPassword(ctx, operator, ann.ID, password), says)
	}
	as := principal(ann)
	refused("a change too early", d.SetPassword(ctx, as, ann.ID, "Second-pass-77"), "less than")
	if err := d.SetPassword(ctx, operator, ann.ID, "Second-pass-77"); err != nil {
		t.Fatalf("a reset: %v", err)
	}
	if err := d.SetPassword(ctx, operator, ann.ID, "Second-pass-77"); err != nil {
		t.Errorf("a reset to the same: %v", err)
	}
	setPolicy(t, d, directory.Policy{Name: "default", MinLength: 10, History: 4})
	change := func(password string) error {
		t.Helper()
		u, err := d.User(ctx, system, ann.ID)
		if err != nil {
			t.Fatal(err)
		}
		return d.SetPassword(ctx, principal(u), ann.ID, password)
	}
	before := w.Work()
	refused("the present one again", change("Second-pass-77"), "used before")
	if n := w.Work() - before; n != 1 {
		t.Errorf("the history cost %d hashes, want 1", n)
	}
	refused("the one before", change("First-pass-77"), "used before")
	for i := range 4 {
		if err := change(fmt.Sprintf("Another-pass-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	refused("the fourth newest", change("Another-pass-0"), "used before")
	if err := change("First-pass-77"); err != nil {
		t.Errorf("one that is forgotten: %v", err)
	}
	// The last two still count as no guess.
	for range 8 {
		_, err := signIn(t, d, "ann@example.test", "Another-pass-2", "192.0.2.77")
		wantKind(t, "SignIn with a former password", err, fault.Unauthenticated)
	}
	if _, err := signIn(t, d, "ann@example.test", "First-pass-77", "192.0.2.77"); err != nil {
		t.Errorf("former passwords locked their owner out: %v", err)
	}
}

func testMustChange(t *testing.T, w World) {
	d, other, ctx := w.Open(t), w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	ann := addUser(t, d, "ann@example.test", secret)
	if err := d.SetMustChange(ctx, operator, ann.ID, true); err != nil {
		t.Fatal(err)
	}
	known(t, other, "ann@example.test")
	for _, from := range []directory.Directory{d, other} {
		_, err := signIn(t, from, "ann@example.test", secret, "192.0.2.1")
		wantProblem(t, "SignIn with a password that must be changed", err, directory.MustChange)
		_, err = signIn(t, from, "ann@example.test", "wrong", "192.0.2.1")
		wantKind(t, "SignIn with a wrong one", err, fault.Unauthenticated)
		if p := (*directory.SignInProblem)(nil); errors.As(err, &p) {
			t.Error("a wrong password tells how the account stands")
		}
	}
	if s, err := d.AccountState(ctx, operator, ann.ID); err != nil || !s.MustChange {
		t.Errorf("AccountState = %+v, %v", s, err)
	}
	renew := func(old, password string) (directory.Session, error) {
		return other.RenewPassword(ctx, credentials("ann@example.test", old, "192.0.2.1"), password)
	}
	_, err := renew("wrong", "brand new 22")
	wantKind(t, "RenewPassword with a wrong old one", err, fault.Unauthenticated)
	_, err = renew(secret, "short")
	wantKind(t, "RenewPassword with a short one", err, fault.Invalid)
	_, err = renew(secret, secret)
	wantKind(t, "RenewPassword with the same", err, fault.Invalid)
	s, err := renew(secret, "brand new 22")
	if err != nil || s.Token == "" || s.Principal.Address != "ann@example.test" {
		t.Fatalf("RenewPassword = %v, %v", s.Principal, err)
	}
	got, err := signIn(t, d, "ann@example.test", "brand new 22", "192.0.2.1")
	if err != nil || got.Principal != s.Principal {
		t.Errorf("SignIn after it: %+v, %v, want %+v", got.Principal, err, s.Principal)
	}
	if err := d.SetMustChange(ctx, operator, ann.ID, true); err != nil {
		t.Fatal(err)
	}
	if err := d.SetMustChange(ctx, operator, ann.ID, false); err != nil {
		t.Fatal(err)
	}
	if _, err := signIn(t, d, "ann@example.test", "brand new 22", "192.0.2.1"); err != nil {
		t.Errorf("SignIn when it need not be changed: %v", err)
	}
	room := addUser(t, d, "room@example.test", "", func(n *directory.NewUser) { n.Kind = directory.KindRoom })
	wantKind(t, "SetMustChange of a room", d.SetMustChange(ctx, operator, room.ID, true), fault.Invalid)
	wantKind(t, "SetMustChange by oneself", d.SetMustChange(ctx, got.Principal, ann.ID, false), fault.Unauthenticated)
}

func testExpiry(t *testing.T, w World) {
	d, ctx := w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	ann := addUser(t, d, "ann@example.test", secret)
	s, err := signIn(t, d, "ann@example.test", secret, "")
	if err != nil || !s.PasswordExpires.IsZero() || s.Warning != "" || !s.Until.IsZero() {
		t.Errorf("a session without an end is %+v, %v", s, err)
	}
	const day = 24 * time.Hour
	for _, tt := range []struct {
		age     time.Duration
		warning string
	}{{5*day + time.Hour, "your password expires in 5 days"}, {day + time.Hour, "your password expires tomorrow"}, {time.Hour, "your password expires today"}, {30 * day, ""}} {
		setPolicy(t, d, directory.Policy{Name: "default", MinLength: 8, MaxAge: tt.age})
		s, err := signIn(t, d, "ann@example.test", secret, "")
		if err != nil || s.Warning != tt.warning || s.PasswordExpires.IsZero() || s.Until != s.PasswordExpires {
			t.Errorf("%v before the end: %q until %v (%v), want %q", tt.age, s.Warning, s.Until, err, tt.warning)
		}
	}
	setPolicy(t, d, directory.Policy{Name: "default", MinLength: 8, MaxAge: time.Millisecond})
	_, err = signIn(t, d, "ann@example.test", secret, "")
	wantProblem(t, "SignIn with an expired password", err, directory.PasswordExpired)
	_, err = signIn(t, d, "ann@example.test", "wrong", "")
	if p := (*directory.SignInProblem)(nil); errors.As(err, &p) {
		t.Error("a wrong password tells how the account stands")
	}
	if _, err := d.RenewPassword(ctx, credentials("ann@example.test", secret, ""), "brand new 33"); err != nil {
		t.Errorf("RenewPassword of an expired one: %v", err)
	}
	setPolicy(t, d, directory.Policy{Name: "default", MinLength: 8})

	end := time.Now().Add(time.Hour)
	if err := d.SetExpires(ctx, operator, ann.ID, end); err != nil {
		t.Fatal(err)
	}
	if s, err = signIn(t, d, "ann@example.test", "brand new 33", ""); err != nil || s.Until.Sub(end).Abs() > time.Second {
		t.Errorf("before the account's end: until %v, %v, want %v", s.Until, err, end)
	}
	if err := d.SetExpires(ctx, operator, ann.ID, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	_, err = signIn(t, d, "ann@example.test", "brand new 33", "")
	wantProblem(t, "SignIn to an account that has ended", err, directory.AccountExpired)
	if _, err := d.User(ctx, s.Principal, ann.ID); fault.Of(err) != fault.Unauthenticated {
		t.Errorf("who was signed in before still reads: %v", err)
	}
	if err := d.SetExpires(ctx, operator, ann.ID, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err = signIn(t, d, "ann@example.test", "brand new 33", ""); err != nil {
		t.Errorf("SignIn to an account that ends never: %v", err)
	}
}

// testAccountEnds: what was granted to an account ends soon after the account.
func testAccountEnds(t *testing.T, w World) {
	d, other, ctx := w.Open(t), w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	ann := addUser(t, d, "ann@example.test", secret)
	known(t, other, "ann@example.test")
	g := gate(t, other)
	if err := d.SetExpires(ctx, operator, ann.ID, time.Now().Add(5*time.Second)); err != nil {
		t.Fatal(err)
	}
	var live directory.Principal
	eventually(t, "signing in at the gate", soon, func() bool {
		p, err := g.SignIn(ctx, credentials("ann@example.test", secret, ""))
		live = p
		return err == nil
	})
	c, cancel := g.Context(ctx, live)
	defer cancel()
	if c.Err() != nil {
		t.Fatalf("the context has ended: %v", context.Cause(c))
	}
	eventually(t, "a refusal at the gate", 15*time.Second, func() bool {
		_, err := g.SignIn(ctx, credentials("ann@example.test", secret, ""))
		var p *directory.SignInProblem
		return errors.As(err, &p) && p.Why == directory.AccountExpired
	})
	select {
	case <-c.Done():
	case <-time.After(40 * time.Second):
		t.Error("an expired account's context goes on")
	}
}

func testLockOutByPolicy(t *testing.T, w World) {
	d, other, ctx := w.Open(t), w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	ann := addUser(t, d, "ann@example.test", secret)
	known(t, other, "ann@example.test")
	setPolicy(t, d, directory.Policy{Name: "default", MinLength: 8, LockoutThreshold: 3})
	for i := range 3 {
		_, err := signIn(t, d, "ann@example.test", fmt.Sprint("guess ", i), fmt.Sprintf("198.51.100.%d", i+1))
		wantKind(t, "a guess", err, fault.Unauthenticated)
	}
	for _, from := range []directory.Directory{d, other} {
		_, err := signIn(t, from, "ann@example.test", secret, "203.0.113.9")
		wantKind(t, "SignIn while locked", err, fault.Limit)
	}
	s, err := d.AccountState(ctx, operator, ann.ID)
	if err != nil || s.Locked < 24*time.Hour {
		t.Errorf("locked for %v, %v", s.Locked, err)
	}
	eventually(t, "the lock-out in the audit log", soon, func() bool {
		lines, err := d.Audit(ctx, operator, directory.AuditQuery{Object: ann.ID})
		return err == nil && slices.ContainsFunc(lines, func(l directory.AuditLine) bool {
			return l.Operation == "lock out" && l.From == "198.51.100.3" && len(l.Changes["lockoutTime"].After) == 1
		})
	})
	if err := other.Unlock(ctx, operator, ann.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := signIn(t, d, "ann@example.test", secret, "203.0.113.9"); err != nil {
		t.Errorf("SignIn after Unlock: %v", err)
	}
}
