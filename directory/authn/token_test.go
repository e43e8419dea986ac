package authn

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"waypost/directory"
	"waypost/internal/fault"
)

func TestTokens(t *testing.T) {
	s := newSource(t)
	g := startGate(t, s, GateOptions{})
	session, err := s.Service.SignIn(t.Context(), ann("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := g.Verify(t.Context(), session.Token); err != nil || p != session.Principal {
		t.Fatalf("Verify = %+v, %v; want %+v", p, err, session.Principal)
	}
	key := s.accounts.keys[0]
	now := time.Now()
	good := func() claims {
		return claims{
			RegisteredClaims: jwt.RegisteredClaims{
				Issuer: issuer, Audience: jwt.ClaimStrings{audience}, Subject: "7",
				IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(time.Minute)),
			},
			Epoch: 1,
		}
	}
	sign := func(method jwt.SigningMethod, kid string, with any, c claims) string {
		tok := jwt.NewWithClaims(method, c)
		tok.Header["kid"] = kid
		text, err := tok.SignedString(with)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	ours := ed25519.NewKeyFromSeed(key.Seed)
	_, theirs, _ := ed25519.GenerateKey(nil)
	if _, err := g.Verify(t.Context(), sign(jwt.SigningMethodEdDSA, key.ID, ours, good())); err != nil {
		t.Errorf("a good token: %v", err)
	}
	for name, token := range map[string]string{
		"empty":              "",
		"text":               "abc",
		"huge":               strings.Repeat("a", maxToken+1),
		"none":               sign(jwt.SigningMethodNone, key.ID, jwt.UnsafeAllowNoneSignatureType, good()),
		"HMAC of public key": sign(jwt.SigningMethodHS256, key.ID, []byte(key.Public), good()),
		"other key":          sign(jwt.SigningMethodEdDSA, key.ID, theirs, good()),
		"unknown key id":     sign(jwt.SigningMethodEdDSA, "nope", ours, good()),
		"expired":            sign(jwt.SigningMethodEdDSA, key.ID, ours, func() claims { c := good(); c.ExpiresAt = jwt.NewNumericDate(now.Add(-time.Minute)); return c }()),
		"without expiry":     sign(jwt.SigningMethodEdDSA, key.ID, ours, func() claims { c := good(); c.ExpiresAt = nil; return c }()),
		"from the future":    sign(jwt.SigningMethodEdDSA, key.ID, ours, func() claims { c := good(); c.IssuedAt = jwt.NewNumericDate(now.Add(time.Hour)); return c }()),
		"other issuer":       sign(jwt.SigningMethodEdDSA, key.ID, ours, func() claims { c := good(); c.Issuer = "x"; return c }()),
		"other audience":     sign(jwt.SigningMethodEdDSA, key.ID, ours, func() claims { c := good(); c.Audience = jwt.ClaimStrings{"x"}; return c }()),
		"without audience":   sign(jwt.SigningMethodEdDSA, key.ID, ours, func() claims { c := good(); c.Audience = nil; return c }()),
		"without a subject":  sign(jwt.SigningMethodEdDSA, key.ID, ours, func() claims { c := good(); c.Subject = ""; return c }()),
		"the product itself": sign(jwt.SigningMethodEdDSA, key.ID, ours, func() claims { c := good(); c.Subject = "0"; return c }()),
		"nobody's":           sign(jwt.SigningMethodEdDSA, key.ID, ours, func() claims { c := good(); c.Subject = "8"; return c }()),
		"without an epoch":   sign(jwt.SigningMethodEdDSA, key.ID, ours, func() claims { c := good(); c.Epoch = 0; return c }()),
	} {
		_, err := g.Verify(t.Context(), token)
		wantKind(t, "Verify of a token: "+name, err, fault.Unauthenticated)
	}
	// A role that no person can have is not taken from a token either.
	p, err := g.Verify(t.Context(), sign(jwt.SigningMethodEdDSA, key.ID, ours, func() claims { c := good(); c.Roles = ^directory.Role(0); return c }()))
	if err != nil || p.Is(directory.RoleSystem) {
		t.Errorf("a token with all roles gave %+v, %v", p, err)
	}
	s.epoch(500)
	_, err = g.Verify(t.Context(), session.Token)
	wantKind(t, "Verify in another epoch", err, fault.Unauthenticated)
}

func TestVerifyAsksAboutNewAccountsOnce(t *testing.T) {
	s := newSource(t)
	g := startGate(t, s, GateOptions{})
	session, err := s.Service.SignIn(t.Context(), ann("secret"))
	if err != nil {
		t.Fatal(err)
	}
	s.accounts.mu.Lock()
	s.accounts.acct.Principal.Epoch = 2 // before this gate began to listen
	s.accounts.mu.Unlock()
	for range 5 {
		_, err := g.Verify(t.Context(), session.Token)
		wantKind(t, "Verify of a token of a former epoch", err, fault.Unauthenticated)
	}
	if s.users != 1 {
		t.Errorf("asked the directory %d times, want once", s.users)
	}
}

func TestKeysRotate(t *testing.T) {
	s := newSource(t)
	g := startGate(t, s, GateOptions{})
	first, err := s.Service.SignIn(t.Context(), ann("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Verify(t.Context(), first.Token); err != nil {
		t.Fatal(err)
	}
	// A month later.
	age := func(d time.Duration) {
		s.accounts.mu.Lock()
		defer s.accounts.mu.Unlock()
		for i := range s.accounts.keys {
			s.accounts.keys[i].Created = s.accounts.keys[i].Created.Add(-d)
		}
		s.signer.mu.Lock()
		s.signer.at = time.Time{}
		s.signer.mu.Unlock()
		g.mu.Lock()
		g.keysAt = time.Time{}
		g.mu.Unlock()
	}
	kid := func(token string) string {
		tok, _, err := jwt.NewParser().ParseUnverified(token, &claims{})
		if err != nil {
			t.Fatal(err)
		}
		return tok.Header["kid"].(string)
	}
	age(rotate + time.Hour)
	second, err := s.Service.SignIn(t.Context(), ann("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if kid(second.Token) != kid(first.Token) {
		t.Error("a new key signs before anybody can have heard of it")
	}
	if keys, err := s.Keys(t.Context()); err != nil || len(keys) != 2 {
		t.Errorf("%d keys are published, %v; want both", len(keys), err)
	}
	age(settle + time.Second)
	third, err := s.Service.SignIn(t.Context(), ann("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if kid(third.Token) == kid(first.Token) {
		t.Error("the old key signs on")
	}
	for _, token := range []string{first.Token, third.Token} {
		if _, err := g.Verify(t.Context(), token); err != nil {
			t.Errorf("Verify while both keys are published: %v", err)
		}
	}
	age(24 * time.Hour)
	if keys, err := s.Keys(t.Context()); err != nil || len(keys) != 1 || keys[0].ID != kid(third.Token) {
		t.Errorf("a day later %v are published, %v; want the new one alone", keys, err)
	}
}
