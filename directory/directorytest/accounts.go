package directorytest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

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
		if err != nil {
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

func testAppPasswords(t *testing.T, w World) {
	d, other, ctx := w.Open(t), w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	ann := addUser(t, d, "ann@example.test", secret, admin)
	known(t, other, "ann@example.test")
	as := principal(ann)
	_, pw, err := d.AddAppPassword(ctx, as, ann.ID, "Phone")
	if err != nil || len(strings.ReplaceAll(pw, "-", "")) != 26 {
		t.Fatalf("AddAppPassword = %q, %v", pw, err)
	}
	_, _, err = d.AddAppPassword(ctx, as, ann.ID, "phone")
	wantKind(t, "a second one of the name", err, fault.Exists)
	_, _, err = d.AddAppPassword(ctx, as, ann.ID, " ")
	wantKind(t, "one without a name", err, fault.Invalid)
	if _, _, err := d.AddAppPassword(ctx, as, ann.ID, "Laptop"); err != nil {
		t.Fatal(err)
	}
	before := w.Work()
	for _, typed := range []string{pw, strings.ToUpper(pw), strings.ReplaceAll(pw, "-", ""), strings.ReplaceAll(pw, "-", " ")} {
		for _, door := range []string{"imap", "submission", "eas", "ldap", "dav"} {
			s, err := at(t, other, door, "ann@example.test", typed, "")
			if err != nil || !s.Principal.App || s.Principal.ID != ann.ID || s.Principal.Roles != 0 {
				t.Errorf("%s with %q: %+v, %v", door, typed, s.Principal, err)
			}
		}
	}
	if n := w.Work() - before; n != 0 {
		t.Errorf("application passwords cost %d slow hashes", n)
	}
	_, err = at(t, d, "web", "ann@example.test", pw, "")
	wantKind(t, "an application password on the web", err, fault.Unauthenticated)
	s, err := at(t, d, "imap", "ann@example.test", pw, "")
	if err != nil {
		t.Fatal(err)
	}
	app := s.Principal
	if _, err := d.User(ctx, app, ann.ID); err != nil {
		t.Errorf("it reads its owner: %v", err)
	}
	c := credentials("ann@example.test", pw, "192.0.2.1")
	c.Door = "imap"
	_, renewed := d.RenewPassword(ctx, c, "brand new 44")
	_, _, added := d.AddAppPassword(ctx, app, ann.ID, "another")
	_, begun := d.BeginFactor(ctx, app, ann.ID)
	_, listed := d.Users(ctx, app, directory.Page{})
	for what, err := range map[string]error{
		"renews the password": renewed, "adds another": added, "begins a factor": begun, "reads as an administrator": listed,
		"sets the password": d.SetPassword(ctx, app, ann.ID, "brand new 44"),
		"removes another":   d.RemoveAppPassword(ctx, app, ann.ID, "Laptop"),
		"turns off the factor": func() error {
			return d.RemoveFactor(ctx, app, ann.ID)
		}(),
	} {
		wantKind(t, "an application password "+what, err, fault.Denied)
	}
	list, err := d.AppPasswords(ctx, as, ann.ID)
	if err != nil || len(list) != 2 || list[0].Name != "Phone" || list[0].LastUsed.IsZero() || list[0].LastFrom != "192.0.2.1" || list[0].LastDoor != "imap" || !list[1].LastUsed.IsZero() {
		t.Errorf("AppPasswords = %+v, %v", list, err)
	}
	// A lock-out keeps guesses away, and this is none.
	for i := range 8 {
		_, _ = signIn(t, d, "ann@example.test", fmt.Sprint("guess ", i), "198.51.100.1")
	}
	c.From, c.Password = credentials("x", "x", "203.0.113.5").From, pw
	if _, err := d.SignIn(ctx, c); err != nil {
		t.Errorf("an application password while its account is slowed down: %v", err)
	}
	bob := addUser(t, d, "bob@example.test", secret)
	wantKind(t, "somebody else's removed", d.RemoveAppPassword(ctx, principal(bob), ann.ID, "Phone"), fault.Denied)
	_, err = d.AppPasswords(ctx, principal(bob), ann.ID)
	wantKind(t, "somebody else's listed", err, fault.Denied)
	_, err = at(t, d, "imap", "bob@example.test", pw, "")
	wantKind(t, "an application password of another's", err, fault.Unauthenticated)

	if err := d.RemoveAppPassword(ctx, as, ann.ID, "phone"); err != nil {
		t.Fatal(err)
	}
	_, err = at(t, other, "imap", "ann@example.test", pw, "")
	wantKind(t, "a revoked one", err, fault.Unauthenticated)
	if _, err := d.User(ctx, app, ann.ID); fault.Of(err) != fault.Unauthenticated {
		t.Errorf("who signed in with it before still reads: %v", err)
	}
	wantKind(t, "one that is not there", d.RemoveAppPassword(ctx, operator, ann.ID, "phone"), fault.NotFound)
}

func testFactor(t *testing.T, w World) {
	d, other, ctx := w.Open(t), w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	ann := addUser(t, d, "ann@example.test", secret)
	known(t, other, "ann@example.test")
	k, err := d.BeginFactor(ctx, operator, ann.ID)
	if err != nil || !strings.HasPrefix(k.URL, "otpauth://totp/Waypost:ann@example.test?") || len(k.Secret) != 32 {
		t.Fatalf("BeginFactor = %q %q, %v", k.URL, k.Secret, err)
	}
	if strings.Contains(fmt.Sprint(k), k.Secret) {
		t.Error("the secret comes into a log")
	}
	if _, err := at(t, d, "web", "ann@example.test", secret, ""); err != nil {
		t.Errorf("a second factor that was only begun is asked for: %v", err)
	}
	code := func(ahead int) string {
		t.Helper()
		c, err := totp.GenerateCode(k.Secret, time.Now().Add(time.Duration(ahead)*30*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	_, err = d.ConfirmFactor(ctx, operator, ann.ID, "000000000")
	wantKind(t, "ConfirmFactor with a wrong code", err, fault.Invalid)
	recovery, err := d.ConfirmFactor(ctx, operator, ann.ID, code(0))
	if err != nil || len(recovery) != 10 {
		t.Fatalf("ConfirmFactor = %d codes, %v", len(recovery), err)
	}
	_, err = d.BeginFactor(ctx, operator, ann.ID)
	wantKind(t, "BeginFactor of one that is on", err, fault.Exists)

	_, err = at(t, other, "web", "ann@example.test", secret, "")
	wantProblem(t, "the password alone", err, directory.FactorNeeded)
	_, err = at(t, other, "web", "ann@example.test", "wrong", code(1))
	wantKind(t, "a wrong password", err, fault.Unauthenticated)
	if p := (*directory.SignInProblem)(nil); errors.As(err, &p) {
		t.Error("a wrong password tells of the second factor")
	}
	for _, door := range []string{"imap", "ldap", "eas", "submission"} {
		_, err = at(t, d, door, "ann@example.test", secret, code(1))
		wantProblem(t, "the password at "+door, err, directory.AppPasswordNeeded)
	}
	next := code(1)
	s, err := at(t, other, "web", "ann@example.test", secret, next)
	if err != nil || s.Principal.App {
		t.Errorf("password and code: %+v, %v", s.Principal, err)
	}
	_, err = at(t, d, "web", "ann@example.test", secret, next)
	wantProblem(t, "a code a second time, elsewhere", err, directory.FactorWrong)
	if _, err = at(t, d, "web", "ann@example.test", secret, strings.ToUpper(recovery[3])); err != nil {
		t.Errorf("a recovery code: %v", err)
	}
	_, err = at(t, other, "web", "ann@example.test", secret, recovery[3])
	wantProblem(t, "a recovery code a second time", err, directory.FactorWrong)
	if s, err := d.AccountState(ctx, operator, ann.ID); err != nil || !s.Factor || s.Recovery != 9 {
		t.Errorf("AccountState = %+v, %v", s, err)
	}
	_, pw, err := d.AddAppPassword(ctx, operator, ann.ID, "phone")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := at(t, other, "imap", "ann@example.test", pw, ""); err != nil {
		t.Errorf("an application password beside a second factor: %v", err)
	}
	// Codes are not guessed, not even from an address that signed in before.
	limited := false
	for i := 0; i < 12 && !limited; i++ {
		_, err := at(t, d, "web", "ann@example.test", secret, fmt.Sprintf("%06d", i))
		limited = fault.Of(err) == fault.Limit
	}
	if !limited {
		t.Error("a dozen wrong codes and no end")
	}
	if err := d.RemoveFactor(ctx, operator, ann.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := at(t, other, "web", "ann@example.test", secret, ""); err != nil {
		t.Errorf("after RemoveFactor: %v", err)
	}
	wantKind(t, "RemoveFactor of none", d.RemoveFactor(ctx, operator, ann.ID), fault.NotFound)
}

func testAudit(t *testing.T, w World) {
	d, ctx := w.Open(t), directory.WithClient(t.Context(), "192.0.2.44")
	addDomain(t, d, "example.test")
	boss := addUser(t, d, "boss@example.test", secret, admin)
	as := principal(boss)
	const first, second = "Hush-hush-1984", "Hush-hush-1985"
	u, err := d.AddUser(ctx, as, directory.NewUser{User: directory.User{Address: "ann@example.test", Name: "Ann"}, Password: first})
	if err != nil {
		t.Fatal(err)
	}
	k, err := d.BeginFactor(ctx, as, u.ID)
	if err != nil {
		t.Fatal(err)
	}
	_, app, err := d.AddAppPassword(ctx, as, u.ID, "phone")
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"UpdateUser": func() error {
			_, err := d.UpdateUser(ctx, as, u.ID, func(u *directory.User) error { u.Title = "Head"; return nil })
			return err
		}(),
		"SetPassword":       d.SetPassword(ctx, as, u.ID, second),
		"SetEnabled":        d.SetEnabled(ctx, as, u.ID, false),
		"SetMustChange":     d.SetMustChange(ctx, as, u.ID, true),
		"SetExpires":        d.SetExpires(ctx, as, u.ID, time.Now().Add(time.Hour)),
		"Unlock":            d.Unlock(ctx, as, u.ID),
		"RemoveAppPassword": d.RemoveAppPassword(ctx, as, u.ID, "phone"),
		"RenameUser": func() error {
			_, err := d.RenameUser(ctx, as, u.ID, "ann.lee@example.test")
			return err
		}(),
	} {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if err := d.RemoveUser(ctx, as, u.ID); err != nil {
		t.Fatal(err)
	}
	lines, err := d.Audit(ctx, as, directory.AuditQuery{Object: u.ID})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]directory.AuditLine{}
	for _, l := range lines {
		seen[l.Operation] = l
		if l.By != boss.ID || l.ByName != "boss@example.test" || l.From != "192.0.2.44" || time.Since(l.At).Abs() > time.Minute || l.Object != u.ID || l.USN == 0 {
			t.Errorf("a line says %+v", l)
		}
	}
	for _, op := range []string{
		"add user", "begin second factor", "add application password", "change user", "set password", "demand change of password",
		"set end of account", "unlock", "remove application password", "rename user", "remove user",
	} {
		if _, ok := seen[op]; !ok {
			t.Errorf("%q is not in the log: %+v", op, lines)
		}
	}
	if len(lines) > 0 && lines[0].Operation != "remove user" {
		t.Errorf("the newest line is %+v", lines[0])
	}
	title, found := directory.AuditChange{}, false
	for _, l := range lines {
		if c, ok := l.Changes["title"]; ok && l.Operation == "change user" {
			title, found = c, true
		}
	}
	if !found || len(title.Before) != 0 || !slices.Equal(title.After, []string{"Head"}) {
		t.Errorf("the title's change is told as %+v", title)
	}
	all, err := d.Audit(ctx, as, directory.AuditQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	for what, s := range map[string]string{"a password": first, "the next": second, "an application password": app, "a factor's secret": k.Secret, "a hash": "$argon2id"} {
		if strings.Contains(string(raw), s) {
			t.Errorf("%s is in the audit log", what)
		}
	}
	for what, q := range map[string]directory.AuditQuery{
		"by name":       {By: "BOSS@"},
		"by object":     {Name: "ann@EXAMPLE"},
		"since":         {By: "boss", Since: time.Now().Add(-time.Minute)},
		"the next page": {By: "boss", Before: lines[0].ID, Limit: 3},
	} {
		if got, err := d.Audit(ctx, as, q); err != nil || len(got) == 0 || q.Limit > 0 && len(got) != q.Limit {
			t.Errorf("asked %s: %d lines, %v", what, len(got), err)
		}
	}
	for what, q := range map[string]directory.AuditQuery{
		"nobody": {By: "nobody"}, "the future": {Since: time.Now().Add(time.Hour)}, "a pattern": {By: "b%s"},
	} {
		if got, err := d.Audit(ctx, as, q); err != nil || len(got) != 0 {
			t.Errorf("asked for %s: %d lines, %v", what, len(got), err)
		}
	}
	carl := addUser(t, d, "carl@example.test", secret)
	_, err = d.Audit(ctx, principal(carl), directory.AuditQuery{})
	wantKind(t, "the log read by a person", err, fault.Denied)
}

// testGateAccounts: what a gate remembers knows of passwords for programs, of
// codes that work once, and of credentials that end.
func testGateAccounts(t *testing.T, w World) {
	d, ctx := w.Open(t), t.Context()
	addDomain(t, d, "example.test")
	ann := addUser(t, d, "ann@example.test", secret, admin)
	g := gate(t, d)
	in := func(door, password string) (directory.Principal, error) {
		t.Helper()
		c := credentials("ann@example.test", password, "192.0.2.1")
		c.Door = door
		return g.SignIn(ctx, c)
	}
	_, pw, err := d.AddAppPassword(ctx, operator, ann.ID, "phone")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from memory
		if p, err := in("imap", pw); err != nil || !p.App || p.Roles != 0 {
			t.Errorf("an application password at the gate: %+v, %v", p, err)
		}
		if p, err := in("imap", secret); err != nil || p.App || p.Roles != directory.RoleAdmin {
			t.Errorf("the password at the gate: %+v, %v", p, err)
		}
		_, err := in("web", pw)
		wantKind(t, "an application password on the web", err, fault.Unauthenticated)
	}
	c := credentials("ann@example.test", pw, "192.0.2.1")
	c.Door = "imap"
	s, err := d.SignIn(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := g.Verify(ctx, s.Token); err != nil || p != s.Principal || !p.App {
		t.Errorf("its token is %+v, %v", p, err)
	}
	if err := d.SetMustChange(ctx, operator, ann.ID, true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the demand at the gate", soon, func() bool {
		_, err := in("imap", secret)
		p := (*directory.SignInProblem)(nil)
		return errors.As(err, &p) && p.Why == directory.MustChange
	})
	c = credentials("ann@example.test", secret, "192.0.2.1")
	renewed, err := g.RenewPassword(ctx, c, "brand new 55")
	if err != nil {
		t.Fatal(err)
	}
	if p, err := g.Verify(ctx, renewed.Token); err != nil || p.ID != ann.ID {
		t.Errorf("the token after RenewPassword: %v", err)
	}
	if _, err := in("imap", "brand new 55"); err != nil {
		t.Errorf("the new password: %v", err)
	}
}
