package authn

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"pgregory.net/rapid"

	"waypost/directory"
	"waypost/internal/fault"
)

// clock is a clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func problemOf(err error) directory.Problem {
	var p *directory.SignInProblem
	if !errors.As(err, &p) {
		return 0
	}
	return p.Why
}

func TestEveryProblemHasWords(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range directory.Problems() {
		err := &directory.SignInProblem{Why: p}
		if err.Error() == "" || p.String() == "none" || seen[err.Error()] || fault.Of(err) != fault.Unauthenticated || fault.Say(err) != err.Error() {
			t.Errorf("problem %d says %q and is called %q", p, err.Error(), p)
		}
		seen[err.Error()] = true
	}
}

// TestStateAfterTheRightPasswordOnly walks through an account's states with a
// clock of its own.
func TestStateAfterTheRightPasswordOnly(t *testing.T) {
	c := &clock{now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	for _, tt := range []struct {
		name string
		make func(a *directory.Account)
		door string
		want directory.Problem
		then time.Duration // the clock moves before the sign-in
	}{
		{"open", func(*directory.Account) {}, "web", 0, 0},
		{"disabled", func(a *directory.Account) { a.Enabled = false }, "web", directory.AccountDisabled, 0},
		{"ends later", func(a *directory.Account) { a.Expires = c.now.Add(time.Hour) }, "web", 0, 59 * time.Minute},
		{"has ended", func(a *directory.Account) { a.Expires = c.now.Add(time.Hour) }, "web", directory.AccountExpired, time.Hour},
		{"password expires later", func(a *directory.Account) { a.PasswordExpires = c.now.Add(time.Hour) }, "imap", 0, 59 * time.Minute},
		{"password has expired", func(a *directory.Account) { a.PasswordExpires = c.now.Add(time.Hour) }, "imap", directory.PasswordExpired, time.Hour},
		{"must change", func(a *directory.Account) { a.MustChange = true }, "imap", directory.MustChange, 0},
		{"disabled goes first", func(a *directory.Account) { a.Enabled, a.MustChange = false, true }, "imap", directory.AccountDisabled, 0},
		{"a factor at a program's door", func(a *directory.Account) { a.Factor = &directory.Factor{} }, "eas", directory.AppPasswordNeeded, 0},
		{"a factor", func(a *directory.Account) { a.Factor = &directory.Factor{} }, "web", directory.FactorNeeded, 0},
		{"a factor goes before the password's age", func(a *directory.Account) { a.Factor, a.MustChange = &directory.Factor{}, true }, "web", directory.FactorNeeded, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSource(t)
			s.Service.now = c.Now
			tt.make(&s.accounts.acct)
			c.move(tt.then)
			cr := ann("secret")
			cr.Door = tt.door
			before := s.hasher.Work()
			_, err := s.SignIn(t.Context(), cr)
			if got := problemOf(err); got != tt.want || tt.want == 0 && err != nil {
				t.Errorf("got %v (%v), want %v", err, got, tt.want)
			}
			cr.Password = "wrong"
			_, err = s.SignIn(t.Context(), cr)
			if !errors.Is(err, errWrong) || problemOf(err) != 0 {
				t.Errorf("a wrong password got %v", err)
			}
			if n := s.hasher.Work() - before; n != 2 {
				t.Errorf("two sign-ins computed %d hashes", n)
			}
			if s.accounts.fails != 1 {
				t.Errorf("%d failures were counted, want that of the wrong password", s.accounts.fails)
			}
		})
	}
}

// TestCodes: a code is good within a step either way, once, and never again
// after a later one.
func TestCodes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		_, secret, err := NewFactor("Waypost", "ann@example.test")
		if err != nil {
			r.Fatal(err)
		}
		text := readable.EncodeToString(secret)
		now := time.Unix(rapid.Int64Range(1e9, 4e9).Draw(r, "now"), 0)
		off := rapid.IntRange(-4, 4).Draw(r, "off")
		code, err := totp.GenerateCode(text, now.Add(time.Duration(off)*period*time.Second))
		if err != nil {
			r.Fatal(err)
		}
		step, ok := MatchFactor(secret, code, now, 0)
		if off >= -skew && off <= skew {
			if want := now.Unix()/period + int64(off); !ok || step != want {
				r.Fatalf("a code %d steps off: step %d, %v, want %d", off, step, ok, want)
			}
			if _, again := MatchFactor(secret, code, now, step); again {
				r.Fatal("a code is good twice")
			}
		} else if ok && step == now.Unix()/period+int64(off) {
			r.Fatalf("a code %d steps off is taken", off)
		}
	})
	// RFC 6238 appendix B, the last six digits.
	secret := []byte("12345678901234567890")
	for at, code := range map[int64]string{59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130"} {
		if step, ok := MatchFactor(secret, code[:3]+" "+code[3:], time.Unix(at, 0), 0); !ok || step != at/period {
			t.Errorf("RFC 6238's code at %d: %d, %v", at, step, ok)
		}
	}
	for _, code := range []string{"", "28708", "2870822", "abcdef", "٢٨٧٠٨٢"} {
		if _, ok := MatchFactor(secret, code, time.Unix(59, 0), 0); ok {
			t.Errorf("the code %q is taken", code)
		}
	}
}

func TestRecoveryCodes(t *testing.T) {
	codes, digests := NewRecovery()
	f := &directory.Factor{Secret: []byte("12345678901234567890"), Recovery: digests}
	seen := map[string]bool{}
	for i, code := range codes {
		if seen[code] || len(strings.Split(code, "-")) != 4 {
			t.Errorf("code %d is %q", i, code)
		}
		seen[code] = true
		for _, typed := range []string{code, strings.ToUpper(code), strings.ReplaceAll(code, "-", "")} {
			u, ok := matchCode(f, typed, time.Unix(59, 0))
			if !ok || string(u.recovery) != string(digests[i]) {
				t.Errorf("%q is not taken", typed)
			}
		}
	}
	if _, ok := matchCode(f, "aaaa-aaaa-aaaa-aaaa", time.Unix(59, 0)); ok {
		t.Error("any code is taken")
	}
}

func TestAppPasswordsAreRead(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		secret, digest := NewAppPassword()
		_, other := NewAppPassword()
		list := []directory.AppDigest{{ID: 3, Digest: other}, {ID: 4, Digest: digest}}
		typed := strings.Map(func(c rune) rune {
			if c == '-' {
				return rapid.SampledFrom([]rune{'-', ' ', -1}).Draw(r, "gap")
			}
			if rapid.Bool().Draw(r, "upper") {
				return rune(strings.ToUpper(string(c))[0])
			}
			return c
		}, secret)
		if got := appOf(list, typed); got != 4 {
			r.Fatalf("%q as %q is %d, want 4", secret, typed, got)
		}
		wrong := []byte(secret)
		i := rapid.IntRange(0, 20).Draw(r, "at")
		if wrong[i] == '-' || wrong[i] == 'a' {
			return
		}
		wrong[i] = 'a'
		if got := appOf(list, string(wrong)); got != 0 {
			r.Fatalf("%q is %d", wrong, got)
		}
	})
	for _, text := range []string{"", "secret", strings.Repeat("a", 512), strings.Repeat("a", 26) + "="} {
		if got := appOf([]directory.AppDigest{{ID: 1, Digest: make([]byte, 32)}}, text); got != 0 {
			t.Errorf("%q is application password %d", text, got)
		}
	}
}

func TestAcceptable(t *testing.T) {
	for _, tt := range []struct {
		password string
		p        directory.Policy
		names    []string
		says     string
	}{
		{"correct horse battery", directory.Policy{MinLength: 12}, nil, ""},
		{"kurz-7Äö", directory.Policy{MinLength: 8}, nil, ""}, // characters, not bytes
		{"kurz7Äö", directory.Policy{MinLength: 8}, nil, "8 characters"},
		{"PASSWORD", directory.Policy{}, nil, "guessed"},
		{"Password1!", directory.Policy{}, nil, "guessed"},
		{"password12345", directory.Policy{}, nil, ""},
		{"qwerty", directory.Policy{}, nil, "guessed"},
		{"basketball99", directory.Policy{}, nil, "guessed"},
		{"12345678", directory.Policy{}, nil, "guessed"},
		{"zuqwe-lo", directory.Policy{Complexity: true}, nil, "three kinds"},
		{"Zuqwe-lo", directory.Policy{Complexity: true}, nil, ""},
		{"Zu7-annabel", directory.Policy{Complexity: true}, []string{"Annabel Lee"}, "part of the name"},
		{"Zu7-annab", directory.Policy{Complexity: true}, []string{"Annabel Lee", "al"}, ""},
		{"Zu7-annabel", directory.Policy{}, []string{"Annabel Lee"}, ""},
		{"漢字パスワード8", directory.Policy{Complexity: true, MinLength: 8}, nil, "three kinds"},
	} {
		err := Acceptable(tt.p, tt.password, tt.names...)
		if tt.says == "" && err != nil || tt.says != "" && (fault.Of(err) != fault.Invalid || !strings.Contains(fault.Say(err), tt.says)) {
			t.Errorf("%q under %+v: got %v, want %q", tt.password, tt.p, err, tt.says)
		}
	}
}

// TestAmong: the history costs one computation while salt and costs stay, and
// never more than four.
func TestAmong(t *testing.T) {
	h := NewHasher(cheap)
	var hashes []string
	last := ""
	for _, p := range []string{"one", "two", "three"} {
		last, _ = h.Hash(t.Context(), p, last)
		hashes = append(hashes, last)
	}
	for password, want := range map[string]bool{"one": true, "three": true, "four": false} {
		before := h.Work()
		if got, err := h.Among(t.Context(), password, hashes); got != want || err != nil || h.Work() != before+1 {
			t.Errorf("%q: %v, %v with %d hashes, want %v with 1", password, got, err, h.Work()-before, want)
		}
	}
	old := NewHasher(Params{Memory: 128, Time: 1, Threads: 1})
	for range 10 {
		hash, _ := old.Hash(t.Context(), "ancient", "")
		hashes = append(hashes, hash, "damaged", "")
	}
	before := h.Work()
	if got, err := h.Among(t.Context(), "ancient", hashes); !got || err != nil || h.Work()-before > amongSalts {
		t.Errorf("with other costs: %v, %v with %d hashes", got, err, h.Work()-before)
	}
}

// TestGateForgetsInTime: what ends by itself is no proof afterwards.
func TestGateForgetsInTime(t *testing.T) {
	s := newSource(t)
	g := startGate(t, s, GateOptions{})
	s.accounts.mu.Lock()
	s.accounts.acct.PasswordExpires = time.Now().Add(300 * time.Millisecond)
	s.accounts.mu.Unlock()
	if _, err := g.SignIn(t.Context(), ann("secret")); err != nil {
		t.Fatal(err)
	}
	if _, err := g.SignIn(t.Context(), ann("secret")); err != nil || s.count() != 1 {
		t.Errorf("the second sign-in: %v, asked %d times", err, s.count())
	}
	time.Sleep(time.Until(s.accounts.acct.PasswordExpires) + time.Millisecond)
	for range 2 { // the second refusal is from memory and the same
		if _, err := g.SignIn(t.Context(), ann("secret")); problemOf(err) != directory.PasswordExpired {
			t.Errorf("after the end: %v", err)
		}
	}
	if n := s.count(); n != 2 {
		t.Errorf("the directory was asked %d times, want 2", n)
	}
}

// TestGateAndCodes: a code that works once is never answered from memory.
func TestGateAndCodes(t *testing.T) {
	s := newSource(t)
	g := startGate(t, s, GateOptions{})
	_, secret, err := NewFactor("Waypost", "ann")
	if err != nil {
		t.Fatal(err)
	}
	s.accounts.mu.Lock()
	s.accounts.acct.Factor = &directory.Factor{Secret: secret}
	s.accounts.mu.Unlock()
	c := ann("secret")
	c.Door = "web"
	if _, err := g.SignIn(t.Context(), c); problemOf(err) != directory.FactorNeeded {
		t.Errorf("without a code: %v", err)
	}
	if c.Factor, err = totp.GenerateCode(readable.EncodeToString(secret), time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Session(t.Context(), c); err != nil {
		t.Errorf("with a code: %v", err)
	}
	if _, err := g.SignIn(t.Context(), c); problemOf(err) != directory.FactorWrong {
		t.Errorf("with the code again: %v", err)
	}
	c.Factor = ""
	if _, err := g.SignIn(t.Context(), c); problemOf(err) != directory.FactorNeeded {
		t.Errorf("the password alone afterwards: %v", err)
	}
}
