package directorytest

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"waypost/directory"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// testTreePasswords: policies as LDAP sees and makes them, and what it tells of
// an account that follows from them.
func testTreePasswords(t *testing.T, w TreeWorld) {
	h := start(t, w)
	const sales = "OU=Sales," + base
	const expires, control, pso = "msDS-UserPasswordExpiryTimeComputed", "msDS-User-Account-Control-Computed", "msDS-ResultantPSO"
	ann := h.person("Ann", sales, "unicodePwd: "+quoted(secret))
	h.want(ann, expires, fmt.Sprint(math.MaxInt64))
	h.want(ann, control, "0")
	h.want(ann, pso, "")

	strict := "CN=strict,CN=Password Settings Container,CN=System," + base
	h.add(strict, "objectClass: msDS-PasswordSettings", "msDS-PasswordSettingsPrecedence: 7", "msDS-PasswordReversibleEncryptionEnabled: FALSE",
		"msDS-PasswordHistoryLength: 3", "msDS-PasswordComplexityEnabled: TRUE", "msDS-MinimumPasswordLength: 12", "msDS-MinimumPasswordAge: 0",
		"msDS-MaximumPasswordAge: -36288000000000", "msDS-LockoutThreshold: 3", "msDS-LockoutDuration: -18000000000", "msDS-LockoutObservationWindow: -18000000000",
		"msDS-PSOAppliesTo: "+ann)
	h.want(ann, pso, strict)
	h.want(ann, "msDS-PSOApplied", strict)
	list, err := h.f.Policies(t.Context(), operator)
	if err != nil || len(list) != 2 || list[0].MaxAge != 42*24*time.Hour || list[0].LockoutDuration != 30*time.Minute || list[0].LockoutThreshold != 3 || !list[0].Complexity {
		t.Errorf("LDAP's policy is %+v, %v", list, err)
	}
	h.modify(base, "replace minPwdLength: 9", "replace pwdProperties: 1", "replace maxPwdAge: -9223372036854775808")
	if list, err = h.f.Policies(t.Context(), operator); err != nil || list[1].MinLength != 9 || !list[1].Complexity || list[1].MaxAge != 0 {
		t.Errorf("the default by LDAP is %+v, %v", list[1], err)
	}

	// What breaks the policy says so as AD does.
	admin := h.like(operator)
	for what, err := range map[string]error{
		"a short reset":  admin.tryModify(ann, "replace unicodePwd: "+quoted("Sh0rt-one")),
		"a plain reset":  admin.tryModify(ann, "replace unicodePwd: "+quoted("only lower case")),
		"a common reset": admin.tryModify(ann, "replace unicodePwd: "+quoted("Christopher-12")),
		"a reused one":   admin.tryModify(ann, "delete unicodePwd: "+quoted(secret), "add unicodePwd: "+quoted(secret)),
		"a new account": func() error {
			_, err := admin.tryAdd("CN=Bob,"+sales, "objectClass: user", "sAMAccountName: bob", "unicodePwd: "+quoted("12345678"))
			return err
		}(),
	} {
		h.refused(what, err, tree.ResultConstraintViolation)
		if !strings.HasPrefix(fault.Say(err), "0000052D: ") {
			t.Errorf("%s says %q", what, fault.Say(err))
		}
	}
	admin.modify(ann, "replace unicodePwd: "+quoted("Fine-password-1"), "replace pwdLastSet: 0")
	h.want(ann, "pwdLastSet", "0")
	h.want(ann, expires, "0")
	h.want(ann, control, "8388608")
	_, err = h.f.SignIn(t.Context(), credentials("ann@example.test", "Fine-password-1", ""))
	wantProblem(t, "SignIn after a reset that is to be changed", err, directory.MustChange)
	admin.modify(ann, "delete unicodePwd: "+quoted("Fine-password-1"), "add unicodePwd: "+quoted("Fine-password-2"))
	if _, err = h.f.SignIn(t.Context(), credentials("ann@example.test", "Fine-password-2", "")); err != nil {
		t.Errorf("SignIn after the change: %v", err)
	}
	h.want(ann, control, "0")
	h.modify(ann, "replace userAccountControl: 66048")
	h.want(ann, expires, fmt.Sprint(math.MaxInt64))
	h.modify(ann, "replace userAccountControl: 512")

	// Guesses at the old password are guesses.
	u, err := h.f.UserByAddress(t.Context(), system, "ann@example.test")
	if err != nil {
		t.Fatal(err)
	}
	carl := h.person("Carl", sales, "unicodePwd: "+quoted(secret))
	other, err := h.f.SignIn(t.Context(), credentials("carl@example.test", secret, ""))
	if err != nil {
		t.Fatalf("%s: %v", carl, err)
	}
	guesser := h.like(other.Principal)
	for i := range 3 {
		h.refused("a guess", guesser.tryModify(ann, "delete unicodePwd: "+quoted(fmt.Sprint("guess ", i)), "add unicodePwd: "+quoted("Fine-password-3")), tree.ResultConstraintViolation)
	}
	wantKind(t, "one more", guesser.tryModify(ann, "delete unicodePwd: "+quoted("Fine-password-2"), "add unicodePwd: "+quoted("Fine-password-3")), fault.Limit)
	_, err = h.f.SignIn(t.Context(), credentials("ann@example.test", "Fine-password-2", "203.0.113.4"))
	wantKind(t, "SignIn after the guesses", err, fault.Limit)
	eventually(t, "lockoutTime", soon, func() bool { return h.values(ann, "lockoutTime") != "" })
	h.want(ann, control, "16")
	h.modify(ann, "replace lockoutTime: 0")
	h.want(ann, control, "0")
	if _, err = h.f.SignIn(t.Context(), credentials("ann@example.test", "Fine-password-2", "203.0.113.4")); err != nil {
		t.Errorf("SignIn after lockoutTime 0: %v", err)
	}

	// Secrets of sign-in are nowhere in the tree, and their changes are in the log.
	if _, _, err := h.f.AddAppPassword(t.Context(), operator, u.ID, "xyzzy"); err != nil {
		t.Fatal(err)
	}
	app, _ := h.f.AppPasswords(t.Context(), operator, u.ID)
	if len(app) != 1 {
		t.Errorf("application passwords: %+v", app)
	}
	if e := h.entry(ann, "*", "+"); strings.Contains(fmt.Sprint(e.Attributes), "xyzzy") {
		t.Error("application passwords are attributes")
	}
	lines, err := h.f.Audit(t.Context(), operator, directory.AuditQuery{Object: u.ID, Limit: 1000})
	reset := false
	for _, l := range lines {
		_, ok := l.Changes["password"]
		reset = reset || ok && l.Operation == "modify" && l.Name == ann
	}
	if err != nil || !reset {
		t.Errorf("a reset by LDAP is not in the log: %v", err)
	}
}

// testTreeHelpDesk: who may reset passwords of a unit sees to its accounts, and
// to no others.
func testTreeHelpDesk(t *testing.T, w TreeWorld) {
	h := start(t, w)
	const sales = "OU=Sales," + base
	h.person("Help", "CN=Users,"+base, "unicodePwd: "+quoted(secret))
	ann := h.person("Ann", sales, "unicodePwd: "+quoted(secret))
	h.person("Boss", sales, "waypostRoles: admin")
	h.person("Bob", "CN=Users,"+base)
	who := func(name string) directory.User {
		t.Helper()
		u, err := h.f.UserByAddress(t.Context(), system, name+"@example.test")
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	help := who("help")
	h.modify(sales, fmt.Sprintf("add accessControlEntry: allow #%d reset-password on below(user)", help.ID))
	as, ctx := principal(help), t.Context()
	for what, err := range map[string]error{
		"SetMustChange":  h.f.SetMustChange(ctx, as, who("ann").ID, true),
		"Unlock":         h.f.Unlock(ctx, as, who("ann").ID),
		"AccountState":   func() error { _, err := h.f.AccountState(ctx, as, who("ann").ID); return err }(),
		"AddAppPassword": func() error { _, _, err := h.f.AddAppPassword(ctx, as, who("ann").ID, "x"); return err }(),
	} {
		if err != nil {
			t.Errorf("%s of %s: %v", what, ann, err)
		}
	}
	for _, name := range []string{"boss", "bob"} {
		id := who(name).ID
		for what, err := range map[string]error{
			"SetMustChange": h.f.SetMustChange(ctx, as, id, true),
			"Unlock":        h.f.Unlock(ctx, as, id),
			"AccountState":  func() error { _, err := h.f.AccountState(ctx, as, id); return err }(),
			"BeginFactor":   func() error { _, err := h.f.BeginFactor(ctx, as, id); return err }(),
			"SetExpires":    h.f.SetExpires(ctx, as, id, time.Time{}),
		} {
			wantKind(t, what+" of "+name, err, fault.Denied)
		}
	}
}

// testUnknownLogins: how soon a name is locked out does not tell whether anybody
// has it, though the policies of units differ from the default.
func testUnknownLogins(t *testing.T, w TreeWorld) {
	h := start(t, w)
	other := w.Open(t)
	const sales = "OU=Sales," + base
	for _, name := range []string{"Ann", "Bob"} {
		h.person(name, sales, "unicodePwd: "+quoted(secret))
	}
	h.add("CN=strict,CN=Password Settings Container,CN=System,"+base, "objectClass: msDS-PasswordSettings", "msDS-PasswordSettingsPrecedence: 7",
		"msDS-PasswordReversibleEncryptionEnabled: FALSE", "msDS-PasswordHistoryLength: 0", "msDS-PasswordComplexityEnabled: FALSE",
		"msDS-MinimumPasswordLength: 8", "msDS-MinimumPasswordAge: 0", "msDS-MaximumPasswordAge: -9223372036854775808", "msDS-LockoutThreshold: 3",
		"msDS-LockoutDuration: -18000000000", "msDS-LockoutObservationWindow: -18000000000", "msDS-PSOAppliesTo: "+sales)
	eventually(t, "the policy at the other", soon, func() bool {
		list, err := other.Policies(t.Context(), operator)
		return err == nil && len(list) == 2
	})
	for n, login := range []string{"ann@example.test", "nobody@example.test", "no-one@example.test", "nemo", `EXAMPLE\niemand`} {
		for i := range 5 {
			at := []Forest{h.f, other}[i%2]
			_, err := at.SignIn(t.Context(), credentials(login, "wrong", fmt.Sprintf("198.51.%d.%d", 100+n, i+1)))
			want := fault.Unauthenticated
			if i >= 3 {
				want = fault.Limit
			}
			wantKind(t, fmt.Sprintf("guess %d at %s", i+1, login), err, want)
		}
	}
}
