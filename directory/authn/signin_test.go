package authn

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"waypost/internal/fault"
)

func TestPHC(t *testing.T) {
	h := NewHasher(cheap)
	hash, err := h.Hash(t.Context(), "secret", "")
	if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Fatalf("Hash = %q, %v", hash, err)
	}
	p, err := parsePHC(hash)
	if err != nil || p.String() != hash {
		t.Errorf("parsePHC(%q) = %v, %v", hash, p, err)
	}
	if again, _ := h.Hash(t.Context(), "secret", ""); again == hash {
		t.Error("two hashes of a password are alike: no salt")
	}
	// The reference program argon2 gives this for "password", salt "somesalt".
	const reference = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	for password, want := range map[string]verdict{"password": right, "Password": wrong} {
		if v, err := h.verify(t.Context(), common, password, reference, nil); v != want || err != nil {
			t.Errorf("verify(%q) = %v, %v, want %v", password, v, err, want)
		}
	}
	if v, err := h.verify(t.Context(), common, "", "", nil); v != wrong || err != nil {
		t.Errorf("without a hash: %v, %v", v, err)
	}
}

func TestFormerPasswordsShareTheSalt(t *testing.T) {
	h := NewHasher(cheap)
	first, _ := h.Hash(t.Context(), "first", "")
	second, _ := h.Hash(t.Context(), "second", first)
	before := h.Work()
	if v, err := h.verify(t.Context(), common, "first", second, []string{first}); v != former || err != nil {
		t.Errorf("the former password is %v, %v", v, err)
	}
	if h.Work() != before+1 {
		t.Errorf("it took %d hashes", h.Work()-before)
	}
	dear := NewHasher(Params{Memory: 128, Time: 1, Threads: 1})
	other, _ := dear.Hash(t.Context(), "second", first)
	if strings.Split(other, "$")[4] == strings.Split(first, "$")[4] {
		t.Error("a salt was kept although the costs changed")
	}
}

func FuzzPHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4")
	f.Add("$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHQ$AA")
	f.Add("$$$$$")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePHC(s)
		if err == nil && (p.Memory > 1<<20 || p.Threads == 0 || p.Time == 0 || len(p.tag) != tagLen) {
			t.Errorf("%q was taken as %+v", s, p)
		}
	})
}

func TestHashIsUpgradedAtSignIn(t *testing.T) {
	s := newSource(t)
	old := s.accounts.acct.Hash
	s.Service = New(s.accounts, NewHasher(Params{Memory: 128, Time: 1, Threads: 1}), Options{Log: quiet})
	for range 2 {
		if _, err := s.SignIn(t.Context(), ann("secret")); err != nil {
			t.Fatal(err)
		}
	}
	if h := s.accounts.acct.Hash; h == old || !strings.Contains(h, "m=128,") {
		t.Errorf("the hash is still %q", h)
	}
}

// TestReservedLane: a known address signs in while strangers keep the pool and
// its queue full.
func TestReservedLane(t *testing.T) {
	h := NewHasher(Params{Memory: 1 << 10, Time: 1, Threads: 1})
	for range cap(h.common) {
		h.common <- struct{}{} // taken, for ever
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range queued {
		wg.Go(func() { _, _ = h.verify(ctx, common, "x", "", nil) })
	}
	for h.waiting.Load() < queued {
		time.Sleep(time.Millisecond)
	}
	_, err := h.verify(ctx, common, "x", "", nil)
	wantKind(t, "a stranger beyond the queue", err, fault.Limit)
	if v, err := h.verify(ctx, reserved, "x", "", nil); v != wrong || err != nil {
		t.Errorf("a known address: %v, %v", v, err)
	}
	cancel()
	wg.Wait()
}

// TestAtOnce: guesses that run at the same time are bounded, because all of
// them are let in before any is counted.
func TestAtOnce(t *testing.T) {
	s := newSource(t)
	for range cap(s.hasher.common) {
		s.hasher.common <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range atOnce {
		wg.Go(func() { _, _ = s.SignIn(ctx, ann(fmt.Sprint("guess", i))) })
	}
	for s.hasher.waiting.Load() < atOnce {
		time.Sleep(time.Millisecond)
	}
	_, err := s.SignIn(ctx, ann("one more"))
	wantKind(t, "one more at once", err, fault.Limit)
	cancel()
	wg.Wait()
	s.Service.mu.Lock()
	defer s.Service.mu.Unlock()
	if len(s.busy) != 0 || len(s.slow) != 0 {
		t.Errorf("left behind: %v, %v", s.busy, s.slow)
	}
}
