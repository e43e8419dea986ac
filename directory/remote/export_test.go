package remote

import (
	"testing"

	"waypost/internal/fault"
)

// Methods are the names that a peer may call.
func Methods() map[string]bool {
	all := map[string]bool{"Follow": true}
	for name := range methods {
		all[name] = true
	}
	return all
}

func TestStatusIsTotal(t *testing.T) {
	for _, k := range fault.Kinds() {
		if code := status[k]; code < 400 || code > 599 {
			t.Errorf("no HTTP status for %v", k)
		}
		if kinds[k.String()] != k {
			t.Errorf("kind %v is not found by its name", k)
		}
	}
}
