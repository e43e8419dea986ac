package authn

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
)

func TestGateRefusesWhenCutOff(t *testing.T) {
	s := newSource(t)
	const cut = 150 * time.Millisecond
	g := startGate(t, s, GateOptions{CutOff: cut})
	p, err := g.SignIn(t.Context(), ann("secret"))
	if err != nil {
		t.Fatal(err)
	}
	session, err := s.Service.SignIn(t.Context(), ann("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Verify(t.Context(), session.Token); err != nil {
		t.Fatal(err)
	}
	open, cancel := g.Context(t.Context(), p)
	defer cancel()
	select {
	case <-open.Done():
	case <-time.After(20 * cut):
		t.Fatal("the context outlives the feed")
	}
	wantKind(t, "cause", context.Cause(open), fault.Unavailable)
	_, err = g.SignIn(t.Context(), ann("secret"))
	wantKind(t, "SignIn when cut off", err, fault.Unavailable)
	_, err = g.Verify(t.Context(), session.Token)
	wantKind(t, "Verify when cut off", err, fault.Unavailable)
	wantKind(t, "Ready when cut off", g.Ready(), fault.Unavailable)
	late, cancel := g.Context(t.Context(), p)
	defer cancel()
	wantKind(t, "a context when cut off", context.Cause(late), fault.Unavailable)

	asked := s.count()
	s.beat()
	if _, err := g.SignIn(t.Context(), ann("secret")); err != nil || s.count() != asked {
		t.Errorf("back again: %v, asked the directory %d times", err, s.count()-asked)
	}
}

func TestGateComesBackAndMissesNothing(t *testing.T) {
	s := newSource(t)
	g := startGate(t, s, GateOptions{})
	if _, err := g.SignIn(t.Context(), ann("secret")); err != nil {
		t.Fatal(err)
	}
	s.news <- []directory.Change{{USN: 120}}
	s.lose <- struct{}{}
	s.epoch(130)
	_, err := g.SignIn(t.Context(), directory.Credentials{Login: "ann", Password: "wrong"})
	wantKind(t, "SignIn", err, fault.Unauthenticated)
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := s.since[len(s.since)-1]; s.since[0] != -1 || last != 120 {
		t.Errorf("followed from %v, want first from now and then from 120", s.since)
	}
}

func TestGateForgetsEverythingAtResync(t *testing.T) {
	s := newSource(t)
	g := startGate(t, s, GateOptions{})
	p, err := g.SignIn(t.Context(), ann("secret"))
	if err != nil {
		t.Fatal(err)
	}
	open, cancel := g.Context(t.Context(), p)
	defer cancel()
	s.mu.Lock()
	s.follow = fault.New(fault.Resync, "too old")
	s.mu.Unlock()
	s.lose <- struct{}{}
	<-open.Done()
	s.beat()
	asked := s.count()
	if _, err := g.SignIn(t.Context(), ann("secret")); err != nil || s.count() != asked+1 {
		t.Errorf("after Resync: %v, asked %d times, want once", err, s.count()-asked)
	}
}

func TestGateSignInWhileTheEpochChanges(t *testing.T) {
	s := newSource(t)
	g := startGate(t, s, GateOptions{})
	// The directory checks the password in epoch 1; the news of epoch 2 is here
	// before its answer.
	s.signIn = func(ctx context.Context, c directory.Credentials) (directory.Session, error) {
		session, err := s.Service.SignIn(ctx, c)
		s.epoch(200)
		return session, err
	}
	_, err := g.SignIn(t.Context(), ann("secret"))
	wantKind(t, "SignIn overtaken by its end", err, fault.Unauthenticated)
	s.mu.Lock()
	s.signIn = nil
	s.mu.Unlock()
	if p, err := g.SignIn(t.Context(), ann("secret")); err != nil || p.Epoch != 2 {
		t.Errorf("SignIn again: %+v, %v", p, err)
	}
}

func TestGateAsksOnceForManyAtOnce(t *testing.T) {
	s := newSource(t)
	g := startGate(t, s, GateOptions{})
	let := make(chan struct{})
	s.signIn = func(ctx context.Context, c directory.Credentials) (directory.Session, error) {
		<-let
		return s.Service.SignIn(ctx, c)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := g.SignIn(t.Context(), ann("secret")); err != nil {
				t.Error(err)
			}
		})
	}
	for s.count() == 0 {
		time.Sleep(time.Millisecond)
	}
	close(let)
	wg.Wait()
	if n := s.count(); n != 1 {
		t.Errorf("50 sign-ins at once asked the directory %d times", n)
	}
}

func TestGateRemembersAWrongPasswordForAWhile(t *testing.T) {
	s := newSource(t)
	g := startGate(t, s, GateOptions{})
	for range 20 {
		_, err := g.SignIn(t.Context(), ann("wrong"))
		wantKind(t, "SignIn", err, fault.Unauthenticated)
	}
	if s.count() != 1 || s.accounts.fails != 1 {
		t.Errorf("the same wrong password 20 times asked %d times and counted %d failures, want 1 and 1", s.count(), s.accounts.fails)
	}
	// It may become right.
	hash, err := s.hasher.Hash(t.Context(), "wrong", "")
	if err != nil {
		t.Fatal(err)
	}
	s.accounts.mu.Lock()
	s.accounts.acct.Hash = hash
	s.accounts.mu.Unlock()
	s.epoch(300)
	if _, err := g.SignIn(t.Context(), ann("wrong")); err != nil {
		t.Errorf("a password that became right: %v", err)
	}
}

// TestGateRefusalOvertaken: a refusal from before a change is not remembered
// after it.
func TestGateRefusalOvertaken(t *testing.T) {
	s := newSource(t)
	g := startGate(t, s, GateOptions{})
	s.signIn = func(ctx context.Context, c directory.Credentials) (directory.Session, error) {
		s.epoch(400) // the news of the account overtake the answer
		return directory.Session{}, errWrong
	}
	_, err := g.SignIn(t.Context(), ann("secret"))
	wantKind(t, "SignIn", err, fault.Unauthenticated)
	s.mu.Lock()
	s.signIn = nil
	s.mu.Unlock()
	if _, err := g.SignIn(t.Context(), ann("secret")); err != nil {
		t.Errorf("SignIn again: %v", err)
	}
}

func TestGateIsBounded(t *testing.T) {
	s := newSource(t)
	s.signIn = func(_ context.Context, c directory.Credentials) (directory.Session, error) {
		var id directory.ObjectID
		_, _ = fmt.Sscan(c.Login, &id)
		return directory.Session{Principal: directory.Principal{ID: id, Epoch: 1}}, nil
	}
	g := startGate(t, s, GateOptions{Proofs: 10})
	for i := range 200 {
		if _, err := g.SignIn(t.Context(), directory.Credentials{Login: fmt.Sprint(i + 1), Password: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	g.mu.Lock()
	proofs, accounts := len(g.proofs), len(g.accounts)
	g.mu.Unlock()
	if proofs != 10 || accounts > 20 {
		t.Errorf("%d proofs and %d accounts remembered, want 10 and at most 20", proofs, accounts)
	}
	asked := s.count()
	for i := 190; i < 200; i++ {
		if _, err := g.SignIn(t.Context(), directory.Credentials{Login: fmt.Sprint(i + 1), Password: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if s.count() != asked {
		t.Errorf("the newest proofs were forgotten")
	}
	for i := range 20000 {
		g.mu.Lock()
		g.refuse(mac{byte(i), byte(i >> 8), 1}, errWrong)
		n := len(g.refused)
		g.mu.Unlock()
		if n > maxRefused {
			t.Fatalf("%d wrong passwords remembered", n)
		}
	}
}

func TestGateProofsDieOfAge(t *testing.T) {
	s := newSource(t)
	g := startGate(t, s, GateOptions{Idle: 50 * time.Millisecond})
	for range 2 {
		if _, err := g.SignIn(t.Context(), ann("secret")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(60 * time.Millisecond)
	}
	if s.count() != 2 {
		t.Errorf("asked %d times, want twice", s.count())
	}
}

func TestGateWaitsForItsFeed(t *testing.T) {
	g := NewGate(newSource(t), GateOptions{Log: quiet}) // never run
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := g.SignIn(ctx, ann("secret"))
	wantKind(t, "SignIn before the feed", err, fault.Unavailable)
	wantKind(t, "Ready before the feed", g.Ready(), fault.Unavailable)
}

func BenchmarkProof(b *testing.B) {
	g := startGate(b, newSource(b), GateOptions{})
	if _, err := g.SignIn(b.Context(), ann("secret")); err != nil {
		b.Fatal(err)
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := g.SignIn(b.Context(), ann("secret")); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	s := newSource(b)
	g := startGate(b, s, GateOptions{})
	session, err := s.Service.SignIn(b.Context(), ann("secret"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := g.Verify(b.Context(), session.Token); err != nil {
			b.Fatal(err)
		}
	}
}
