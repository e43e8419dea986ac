package smtp

import (
	"errors"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/directory"
)

// A right password that is refused is told why, with 535 (RFC 4954 section 6).
func TestEveryProblemHasAReply(t *testing.T) {
	for _, p := range directory.Problems() {
		problem := &directory.SignInProblem{Why: p}
		var r *gosmtp.SMTPError
		if err := authReply(problem); !errors.As(err, &r) || r.Code != 535 || r.EnhancedCode[0] != 5 || !strings.Contains(r.Message, problem.Error()) {
			t.Errorf("%v is told as %v", p, err)
		}
	}
}
