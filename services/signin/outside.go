package signin

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"waypost/directory"
	"waypost/internal/fault"
)

// Outside is another OpenID provider that people may sign in through.
type Outside struct {
	Name   string // on the button
	Issuer string
	Client string
	Secret string
	// ByAddress lets in whose verified address at the provider is one of ours, and
	// links the two; without it only who is linked gets in.
	ByAddress bool
	// HTTP is http.DefaultClient when nil.
	HTTP *http.Client

	mu       sync.Mutex
	provider *oidc.Provider
}

const (
	outsideBack = "/signin/outside/back"
	// outsideCookie holds what binds the provider's answer to this browser: state,
	// nonce and PKCE's verifier.
	outsideCookie = "__Host-waypost-outside"
	outsideLife   = 10 * time.Minute
)

type outsideStep struct{ State, Nonce, Verifier, Next, Computer string }

// config finds the provider, once it can be reached.
func (o *Outside) config(ctx context.Context, site string) (*oidc.Provider, *oauth2.Config, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.provider == nil {
		p, err := oidc.NewProvider(o.context(ctx), o.Issuer)
		if err != nil {
			return nil, nil, fault.From(fault.Unavailable, err, "the other provider cannot be reached")
		}
		o.provider = p
	}
	return o.provider, &oauth2.Config{
		ClientID: o.Client, ClientSecret: o.Secret, Endpoint: o.provider.Endpoint(), RedirectURL: site + outsideBack,
		Scopes: []string{oidc.ScopeOpenID, "email", "profile"},
	}, nil
}

func (o *Outside) context(ctx context.Context) context.Context {
	if o.HTTP == nil {
		return oidc.ClientContext(ctx, &http.Client{Timeout: 10 * time.Second})
	}
	return oidc.ClientContext(ctx, o.HTTP)
}

func random() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	return base64.RawURLEncoding.EncodeToString(raw)
}

// outside sends the browser to the provider: code, PKCE, state and nonce (OpenID
// Connect Core section 3.1.2.1).
func (s *Server) outside(q *request) error {
	_, conf, err := s.opt.Outside.config(q.http.Context(), s.opt.Site)
	if err != nil {
		return s.showForm(q, http.StatusServiceUnavailable, &page{Error: q.text("signin.unavailable")})
	}
	step := outsideStep{State: random(), Nonce: random(), Verifier: oauth2.GenerateVerifier(), Next: q.next, Computer: q.http.PostForm.Get("computer")}
	raw, err := json.Marshal(step)
	if err != nil {
		return err
	}
	to := conf.AuthCodeURL(step.State, oidc.Nonce(step.Nonce), oauth2.S256ChallengeOption(step.Verifier))
	http.SetCookie(q.w, &http.Cookie{
		Name: outsideCookie, Value: base64.RawURLEncoding.EncodeToString(raw), Path: "/", Secure: true, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, MaxAge: int(outsideLife.Seconds()),
	})
	return q.send(to)
}

// outsideBack takes the provider's answer.
func (s *Server) outsideBack(q *request) error {
	fail := func(err error) error {
		s.log.WarnContext(q.http.Context(), "nobody came in from the other provider", "proto", "signin", "fault", err)
		return s.showForm(q, http.StatusUnauthorized, &page{Error: q.text("signin.outside.failed")})
	}
	c, err := q.http.Cookie(outsideCookie)
	if err != nil {
		return fail(err)
	}
	s.setCookie(q, outsideCookie, "", time.Time{})
	var step outsideStep
	raw, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err == nil {
		err = json.Unmarshal(raw, &step)
	}
	v := q.http.URL.Query()
	if err != nil || step.State == "" || v.Get("state") != step.State {
		return fail(fault.New(fault.Unauthenticated, "the answer is not of this browser's question"))
	}
	id, err := s.outsider(q.http.Context(), v, step)
	if err != nil {
		return fail(err)
	}
	q.next = internal(step.Next)
	q.at.Private = step.Computer == "private"
	e, err := s.dir.EnterOutside(q.http.Context(), id, q.at)
	if err != nil {
		return fail(err)
	}
	return s.entered(q, e)
}

// outsider exchanges the code and checks the id token (OpenID Connect Core section
// 3.1.3.7).
func (s *Server) outsider(ctx context.Context, v url.Values, step outsideStep) (id directory.Identity, err error) {
	o := s.opt.Outside
	if iss := v.Get("iss"); iss != "" && iss != o.Issuer { // RFC 9207
		return id, fault.New(fault.Unauthenticated, "another provider answered")
	}
	provider, conf, err := o.config(ctx, s.opt.Site)
	if err != nil {
		return id, err
	}
	token, err := conf.Exchange(o.context(ctx), v.Get("code"), oauth2.VerifierOption(step.Verifier))
	if err != nil {
		return id, err
	}
	raw, _ := token.Extra("id_token").(string)
	t, err := provider.Verifier(&oidc.Config{ClientID: o.Client}).Verify(o.context(ctx), raw)
	if err != nil {
		return id, err
	}
	if t.Nonce != step.Nonce {
		return id, fault.New(fault.Unauthenticated, "the id token is of another question")
	}
	var claims struct {
		Email    string `json:"email"`
		Verified bool   `json:"email_verified"`
	}
	if err := t.Claims(&claims); err != nil {
		return id, err
	}
	id = directory.Identity{Issuer: o.Issuer, Subject: t.Subject}
	if o.ByAddress && claims.Verified {
		id.Address = strings.TrimSpace(claims.Email)
	}
	return id, nil
}
