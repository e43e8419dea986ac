// Package directorytest is the one suite that every implementation of
// directory.Directory passes: directory/postgres with directory/authn, and
// directory/remote in front of them.
//
// Its law: a test uses nothing but the interface (and World), prints what it
// gave, got and wanted, and waits for events, never for a time to pass by.
package directorytest

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
)

// World is one organisation: a database and the means to open it.
type World struct {
	// Open starts another process on the organisation; it ends with the test.
	Open func(t testing.TB) directory.Directory
	// Bulk adds many users without passwords as fast as it can.
	Bulk func(t testing.TB, users []directory.NewUser)
	// Work counts the password hashes computed in the whole world so far.
	Work func() int64
}

// Run runs the suite; open makes a new, empty organisation.
func Run(t *testing.T, open func(t testing.TB) World) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, World)
	}{
		{"Domains", testDomains},
		{"Users", testUsers},
		{"Addresses", testAddresses},
		{"Rename", testRename},
		{"Unique", testUnique},
		{"UpdateAtOnce", testUpdateAtOnce},
		{"Groups", testGroups},
		{"People", testPeople},
		{"Resolve", testResolve},
		{"ResolveIsFast", testResolveIsFast},
		{"Rights", testRights},
		{"SignIn", testSignIn},
		{"LockOut", testLockOut},
		{"KnownAddress", testKnownAddress},
		{"UnknownCostsTheSame", testUnknownCostsTheSame},
		{"Feed", testFeed},
		{"Processes", testProcesses},
		{"Gate", testGate},
		{"Policies", testPolicies},
		{"PasswordRules", testPasswordRules},
		{"MustChange", testMustChange},
		{"Expiry", testExpiry},
		{"AccountEnds", testAccountEnds},
		{"LockOutByPolicy", testLockOutByPolicy},
		{"AppPasswords", testAppPasswords},
		{"Factor", testFactor},
		{"Audit", testAudit},
		{"GateAccounts", testGateAccounts},
		{"Sessions", testSessions},
		{"SessionSteps", testSessionSteps},
		{"Grants", testGrants},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, open(t))
		})
	}
}

var system = directory.System("directorytest")

const secret = "correct horse 1"

func addDomain(t testing.TB, d directory.Directory, name string) directory.Domain {
	t.Helper()
	dom, err := d.AddDomain(t.Context(), system, name)
	if err != nil {
		t.Fatalf("AddDomain(%s): %v", name, err)
	}
	return dom
}

func addUser(t testing.TB, d directory.Directory, address, password string, with ...func(*directory.NewUser)) directory.User {
	t.Helper()
	n := directory.NewUser{User: directory.User{Address: address}, Password: password}
	for _, fn := range with {
		fn(&n)
	}
	u, err := d.AddUser(t.Context(), system, n)
	if err != nil {
		t.Fatalf("AddUser(%s): %v", address, err)
	}
	return u
}

func admin(n *directory.NewUser) { n.Roles = directory.RoleAdmin }

func named(name, given, surname string) func(*directory.NewUser) {
	return func(n *directory.NewUser) { n.Name, n.Given, n.Surname = name, given, surname }
}

func wantKind(t testing.TB, what string, err error, want fault.Kind) {
	t.Helper()
	if err == nil || fault.Of(err) != want {
		t.Errorf("%s: got %v, want a fault of kind %v", what, err, want)
	}
}

// principal is u as it acts when it has just signed in.
func principal(u directory.User) directory.Principal {
	return directory.Principal{ID: u.ID, Mailbox: u.Mailbox, HomeMDB: u.HomeMDB, Address: u.Address, Name: u.Name, Roles: u.Roles, Epoch: u.Epoch}
}

func credentials(login, password, from string) directory.Credentials {
	c := directory.Credentials{Login: login, Password: password, Door: "test"}
	if from != "" {
		c.From = netip.MustParseAddr(from)
	}
	return c
}

func resolve(t testing.TB, d directory.Directory, address string) directory.Resolution {
	t.Helper()
	r, err := d.Resolve(t.Context(), address)
	if err != nil {
		t.Fatalf("Resolve(%s): %v", address, err)
	}
	return r
}

// eventually asks until ok answers true, for at most within.
func eventually(t testing.TB, what string, within time.Duration, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %v", what, within)
		case <-tick.C:
		}
	}
}
