package imap

import (
	"testing"

	"waypost/directory"
)

// A right password that is refused is told why, in words and a code of RFC 5530.
func TestEveryProblemHasACode(t *testing.T) {
	for _, p := range directory.Problems() {
		err := &directory.SignInProblem{Why: p}
		if r := replyFor(err); problemCodes[p] == "" || r != (reply{"NO", problemCodes[p], err.Error()}) {
			t.Errorf("%v is told as %+v", p, r)
		}
	}
	if len(problemCodes) != len(directory.Problems()) {
		t.Error("the table names problems that do not exist")
	}
}
