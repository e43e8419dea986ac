package signin_test

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"waypost/directory"
	"waypost/services/signin"
)

// TestOutside signs in through another provider, which is a second organisation's
// own server: so its side of OpenID Connect is tried by a library that is not ours.
func TestOutside(t *testing.T) {
	provider, ctx := open(t), t.Context()
	plain := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // a test's certificate
	outside := &signin.Outside{Name: "Other", Issuer: provider.url, Client: "here", ByAddress: true, HTTP: plain}
	s := open(t, func(o *signin.Options) { o.Outside = outside })
	secret, err := provider.dir.AddOAuthClient(ctx, system, directory.OAuthClient{
		ID: "here", Name: "Here", Redirects: []string{s.url + "/signin/outside/back"}, Confidential: true, Trusted: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	outside.Secret = secret

	// begin asks for sign-in through the provider and brings its answer.
	begin := func(b, at *browser) (back *url.URL) {
		t.Helper()
		r := b.post("/signin", "/signin/outside", url.Values{"computer": {"private"}})
		to, err := url.Parse(r.Header.Get("Location"))
		if err != nil || !strings.HasPrefix(to.String(), provider.url+"/oauth/authorize?") {
			t.Fatalf("sent to %q (%d)\n%s", r.Header.Get("Location"), r.StatusCode, b.last)
		}
		r = at.do(http.MethodGet, to.RequestURI(), nil)
		if back, err = url.Parse(r.Header.Get("Location")); err != nil || back.Query().Get("code") == "" {
			t.Fatalf("the provider answers %d %q\n%s", r.StatusCode, r.Header.Get("Location"), at.last)
		}
		return back
	}
	at := provider.browser(t).in()
	b := s.browser(t)
	back := begin(b, at)
	r := b.do(http.MethodGet, back.RequestURI(), nil)
	if r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "/account" {
		t.Fatalf("back: %d %q\n%s", r.StatusCode, r.Header.Get("Location"), b.last)
	}
	if b.do(http.MethodGet, "/account", nil); !strings.Contains(b.last, "other provider") {
		t.Errorf("the page of the account is\n%s", b.last)
	}

	// The answer is good once, and in the browser that asked alone.
	for what, try := range map[string]func() *http.Response{
		"again": func() *http.Response { return b.do(http.MethodGet, back.RequestURI(), nil) },
		"in another browser": func() *http.Response {
			return s.browser(t).do(http.MethodGet, begin(s.browser(t), at).RequestURI(), nil)
		},
		"with another state": func() *http.Response {
			other := s.browser(t)
			u := begin(other, at)
			v := u.Query()
			v.Set("state", "x")
			return other.do(http.MethodGet, u.Path+"?"+v.Encode(), nil)
		},
		"with another's code": func() *http.Response { // code injection: PKCE and nonce hold
			other := s.browser(t)
			u, stolen := begin(other, at), begin(s.browser(t), at)
			v := u.Query()
			v.Set("code", stolen.Query().Get("code"))
			return other.do(http.MethodGet, u.Path+"?"+v.Encode(), nil)
		},
		"of another provider": func() *http.Response {
			other := s.browser(t)
			u := begin(other, at)
			v := u.Query()
			v.Set("iss", "https://evil.test")
			return other.do(http.MethodGet, u.Path+"?"+v.Encode(), nil)
		},
	} {
		if r := try(); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("the answer %s: %d %q", what, r.StatusCode, r.Header.Get("Location"))
		}
	}

	// Who is linked comes in without by_address; nobody else does.
	outside.ByAddress = false
	b = s.browser(t)
	if r := b.do(http.MethodGet, begin(b, at).RequestURI(), nil); r.StatusCode != http.StatusSeeOther {
		t.Errorf("who is linked: %d", r.StatusCode)
	}
	bob := provider.browser(t)
	if r := bob.post("/signin", "/signin", url.Values{"user": {"bob@example.test"}, "password": {password}}); r.StatusCode != http.StatusSeeOther {
		t.Fatal(r.StatusCode)
	}
	b = s.browser(t)
	if r := b.do(http.MethodGet, begin(b, bob).RequestURI(), nil); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("who is not linked: %d", r.StatusCode)
	}
}
