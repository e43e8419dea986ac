package directorytest

import (
	"errors"
	"testing"

	"waypost/directory"
	"waypost/internal/fault"
)

// wantProblem wants a sign-in with the right password to be refused for why.
func wantProblem(t testing.TB, what string, err error, why directory.Problem) {
	t.Helper()
	var p *directory.SignInProblem
	if !errors.As(err, &p) || p.Why != why || fault.Of(err) != fault.Unauthenticated {
		t.Errorf("%s: got %v, want the problem %v", what, err, why)
	}
}
