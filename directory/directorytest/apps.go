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
