package signin_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"waypost/directory"
)

const sessionCookie = "__Host-waypost"

// TestForgery walks the routes that change something: no request that is not from a
// form of ours gets through, whoever is signed in.
func TestForgery(t *testing.T) {
	s := open(t)
	b := s.browser(t).in()
	b.do(http.MethodGet, "/account", nil)
	token := b.token()
	form := url.Values{"name": {"x"}, "id": {"1"}, "code": {"1"}, "user": {"ann@example.test"}, "password": {password}, "again": {password}, "old": {password}}
	ours := maps.Clone(form)
	ours.Set("token", token)
	elsewhere := s.browser(t)
	elsewhere.do(http.MethodGet, "/signin", nil)
	foreign := maps.Clone(form)
	foreign.Set("token", elsewhere.token())
	routes := s.server.Routes()
	if len(routes) < 18 {
		t.Fatalf("only %d routes: %v", len(routes), routes)
	}
	secret := b.cookie(sessionCookie)
	for _, path := range routes {
		for what, send := range map[string]func() *http.Response{
			"no token":               func() *http.Response { return b.do(http.MethodPost, path, form) },
			"another's token":        func() *http.Response { return b.do(http.MethodPost, path, foreign) },
			"a foreign origin":       func() *http.Response { return b.do(http.MethodPost, path, ours, "Origin", "https://evil.test") },
			"an origin of no name":   func() *http.Response { return b.do(http.MethodPost, path, ours, "Origin", "null") },
			"the origin without TLS": func() *http.Response { return b.do(http.MethodPost, path, ours, "Origin", "http"+s.url[5:]) },
			"another site":           func() *http.Response { return b.do(http.MethodPost, path, ours, "Sec-Fetch-Site", "cross-site") },
			"a sister site":          func() *http.Response { return b.do(http.MethodPost, path, ours, "Sec-Fetch-Site", "same-site") },
			"a body of text":         func() *http.Response { return b.do(http.MethodPost, path, ours, "Content-Type", "text/plain") },
			"a token in the address": func() *http.Response { return b.do(http.MethodPost, path+"?token="+token, form) },
			"GET":                    func() *http.Response { return b.do(http.MethodGet, path+"?"+ours.Encode(), nil) },
		} {
			r := send()
			form := what == "GET" && r.StatusCode == http.StatusOK // the form itself
			if r.StatusCode != http.StatusForbidden && r.StatusCode != http.StatusMethodNotAllowed && !form &&
				(what != "GET" || r.StatusCode != http.StatusBadRequest) {
				t.Errorf("%s with %s: %d", path, what, r.StatusCode)
			}
		}
	}
	if b.cookie(sessionCookie) != secret {
		t.Error("the session is another one")
	}
	if n, err := s.dir.Session(t.Context(), secret, directory.Place{}); err != nil {
		t.Errorf("the session after all that: %+v, %v", n, err)
	}
	if apps, err := s.dir.AppPasswords(t.Context(), system, s.ann.ID); err != nil || len(apps) != 0 {
		t.Errorf("application passwords: %v, %v", apps, err)
	}
}

// TestFixation: a secret that was there before signing in is worth nothing after it.
func TestFixation(t *testing.T) {
	s := open(t)
	thief := s.browser(t)
	thief.do(http.MethodGet, "/signin", nil)
	planted := thief.cookie("__Host-waypost-form")
	b := s.browser(t)
	u, _ := url.Parse(s.url)
	for name, value := range map[string]string{sessionCookie: planted, "__Host-waypost-form": planted} {
		b.http.Jar.SetCookies(u, []*http.Cookie{{Name: name, Value: value, Path: "/", Secure: true}})
	}
	b.in()
	if b.cookie(sessionCookie) == planted {
		t.Error("the planted secret is the session's")
	}
	thief.http.Jar.SetCookies(u, []*http.Cookie{{Name: sessionCookie, Value: planted, Path: "/", Secure: true}})
	if r := thief.do(http.MethodGet, "/account", nil); r.StatusCode != http.StatusSeeOther {
		t.Errorf("the thief gets %d", r.StatusCode)
	}
	// Who signs in again has another secret, and the one before is over.
	before := b.cookie(sessionCookie)
	b.in()
	if _, err := s.dir.Session(t.Context(), before, directory.Place{}); err == nil || b.cookie(sessionCookie) == before {
		t.Error("the secret before is good still")
	}
	// Signed out is signed out, for a copy of the cookie as well.
	stolen := b.cookie(sessionCookie)
	b.post("/account", "/signout", url.Values{})
	thief.http.Jar.SetCookies(u, []*http.Cookie{{Name: sessionCookie, Value: stolen, Path: "/", Secure: true}})
	if r := thief.do(http.MethodGet, "/account", nil); r.StatusCode != http.StatusSeeOther {
		t.Errorf("after sign-out the thief gets %d", r.StatusCode)
	}
}

func TestNoOpenRedirect(t *testing.T) {
	s := open(t)
	for _, next := range []string{
		"https://evil.test/", "//evil.test/", `\\evil.test\`, `/\evil.test`, "/account@evil.test", "javascript:alert(1)", "/account\r\nLocation: https://evil.test",
		"https:evil.test", "///evil.test", "/%09/evil.test", "/oauth/authorize/../../evil", "/account/apps/add", "/signout", "http://localhost@evil.test/account",
	} {
		b := s.browser(t)
		b.do(http.MethodGet, "/signin?next="+url.QueryEscape(next), nil)
		r := b.do(http.MethodPost, "/signin", url.Values{"token": {b.token()}, "next": {next}, "user": {"ann@example.test"}, "password": {password}})
		if to := r.Header.Get("Location"); r.StatusCode != http.StatusSeeOther || to != "/account" {
			t.Errorf("next=%q leads to %q (%d)", next, to, r.StatusCode)
		}
	}
	for next, want := range map[string]string{
		"/device?user_code=BCDF-GHJK": "/device?user_code=BCDF-GHJK", "/account?done=x": "/account", "/": "/",
		"/oauth/authorize?client_id=a&state=b": "/oauth/authorize?client_id=a&state=b",
	} {
		b := s.browser(t)
		r := b.post("/signin", "/signin", url.Values{"next": {next}, "user": {"ann@example.test"}, "password": {password}})
		if to := r.Header.Get("Location"); to != want {
			t.Errorf("next=%q leads to %q, want %q", next, to, want)
		}
	}
}

func TestHostHeader(t *testing.T) {
	s := open(t)
	b := s.browser(t).in()
	for _, host := range []string{"evil.test", "localhost.evil.test", "evil.test:443", "localhost@evil.test", "[::1", ""} {
		r := b.do(http.MethodGet, "/account", nil, "Host", host, "X-Forwarded-Host", "evil.test")
		if host == "" { // the client fills it in
			if r.StatusCode != http.StatusOK {
				t.Errorf("X-Forwarded-Host alone: %d", r.StatusCode)
			}
		} else if r.StatusCode != http.StatusForbidden && r.StatusCode != http.StatusBadRequest {
			t.Errorf("Host %q: %d", host, r.StatusCode)
		}
		if strings.Contains(b.last, "evil.test") && host == "" {
			t.Errorf("Host %q is on the page", host)
		}
	}
	b.do(http.MethodGet, "/.well-known/oauth-authorization-server", nil, "Host", "127.0.0.1")
	if !strings.Contains(b.last, `"issuer":"`+s.url+`"`) {
		t.Errorf("the issuer follows the Host header: %s", b.last)
	}
}

// TestBruteForce: one client that tries many accounts, and many clients that try
// one, are slowed down; the owner, from where he was before, is not.
func TestBruteForce(t *testing.T) {
	s := open(t)
	home := []string{"X-Test-From", "203.0.113.9"}
	b := s.browser(t)
	try := func(user, secret string, header ...string) int {
		return b.do(http.MethodPost, "/signin", url.Values{"token": {b.token()}, "user": {user}, "password": {secret}}, header...).StatusCode
	}
	b.do(http.MethodGet, "/signin", nil)
	if got := try("ann@example.test", password, home...); got != http.StatusSeeOther {
		t.Fatal(got)
	}
	count := func(user func(int) string, from func(int) string) (free int) {
		for i := range 200 {
			b = s.browser(t)
			b.do(http.MethodGet, "/signin", nil)
			switch got := try(user(i), fmt.Sprint("wrong ", i), "X-Test-From", from(i)); got {
			case http.StatusUnauthorized:
			case http.StatusTooManyRequests:
				return i
			default:
				t.Fatalf("try %d: %d", i, got)
			}
		}
		return 200
	}
	if n := count(func(i int) string { return fmt.Sprintf("user%d@example.test", i) }, func(int) string { return "198.51.100.1" }); n > 60 {
		t.Errorf("one client tried %d accounts", n)
	}
	if n := count(func(int) string { return "ann@example.test" }, func(i int) string { return fmt.Sprintf("198.51.%d.2", 100+i) }); n > 10 {
		t.Errorf("many clients tried one account %d times", n)
	}
	b = s.browser(t)
	b.do(http.MethodGet, "/signin", nil)
	if got := try("ann@example.test", password, home...); got != http.StatusSeeOther {
		t.Errorf("the owner at home gets %d", got)
	}
}

// TestAnswersAreAlike: nobody learns from the answer who has an account.
func TestAnswersAreAlike(t *testing.T) {
	s := open(t)
	if err := s.dir.SetEnabled(t.Context(), system, s.ann.ID, false); err != nil {
		t.Fatal(err)
	}
	var first string
	for _, user := range []string{"bob@example.test", "ann@example.test", "nobody@example.test", "x", strings.Repeat("x", 330), "bob@example.test\x00"} {
		b := s.browser(t)
		r := b.post("/signin", "/signin", url.Values{"user": {user}, "password": {"wrong"}})
		page := tokenField.ReplaceAllString(strings.ReplaceAll(b.last, user, "USER"), "")
		if r.StatusCode != http.StatusUnauthorized {
			t.Errorf("%.20q: %d", user, r.StatusCode)
		}
		if first == "" {
			first = page
		} else if page != first && !strings.ContainsAny(user, "\x00") && len(user) < 320 && user != "x" {
			t.Errorf("%.20q gets another page:\n%s", user, page)
		}
	}
}

// TestOtherPeoplesThings: ids of another account's things do nothing.
func TestOtherPeoplesThings(t *testing.T) {
	s, ctx := open(t), t.Context()
	e, err := s.dir.Enter(ctx, directory.Credentials{Login: "bob@example.test", Password: password, Door: "web"}, directory.Place{})
	if err != nil {
		t.Fatal(err)
	}
	b := s.browser(t).in()
	r := b.post("/account", "/account/sessions/end", url.Values{"id": {fmt.Sprint(e.Principal.Session)}})
	if r.StatusCode != http.StatusNotFound {
		t.Errorf("to end bob's session: %d", r.StatusCode)
	}
	if _, err := s.dir.Session(ctx, e.Secret, directory.Place{}); err != nil {
		t.Errorf("bob's session is over: %v", err)
	}
	if strings.Contains(b.last, "bob@") {
		t.Error("bob is on ann's page")
	}
	for _, path := range []string{"/account/sessions/end", "/account/passkeys/remove"} {
		if r := b.post("/account", path, url.Values{"id": {"x"}}); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s with a bad id: %d", path, r.StatusCode)
		}
	}
	big := url.Values{"name": {strings.Repeat("x", 1<<20)}}
	if r := b.post("/account", "/account/apps/add", big); r.StatusCode < 400 {
		t.Errorf("a form of a megabyte: %d", r.StatusCode)
	}
}
