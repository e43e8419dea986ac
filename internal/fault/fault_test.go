package fault

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestOf(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Kind
	}{
		{errors.New("x"), Internal},
		{New(NotFound, "no such folder"), NotFound},
		{fmt.Errorf("open: %w", From(OverQuota, errors.New("x"), "full")), OverQuota},
		{fmt.Errorf("wait: %w", context.DeadlineExceeded), Unavailable},
	} {
		if got := Of(tt.err); got != tt.want {
			t.Errorf("Of(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}
}

func TestSayKeepsTheInsideIn(t *testing.T) {
	inner := errors.New("relation mail.entry does not exist")
	if got := Say(fmt.Errorf("x: %w", inner)); got != "internal error" {
		t.Errorf("Say(unclassified) = %q", got)
	}
	if got := Say(From(NotFound, inner, "no such message")); got != "no such message" {
		t.Errorf("Say = %q", got)
	}
}

func TestWrapKeepsKind(t *testing.T) {
	f := func() (err error) {
		defer Wrap(&err, "rename folder %d", 4)
		return New(Exists, "taken")
	}
	if err := f(); Of(err) != Exists || err.Error() != "rename folder 4: taken" {
		t.Errorf("got %v (%v)", err, Of(err))
	}
}

func TestEveryKindHasAName(t *testing.T) {
	for _, k := range Kinds() {
		if k.String() == "" {
			t.Errorf("kind %d has no name", int(k))
		}
	}
}
