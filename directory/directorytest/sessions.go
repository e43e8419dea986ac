package directorytest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"waypost/directory"
	"waypost/internal/fault"
)

var desk = directory.Place{From: netip.MustParseAddr("192.0.2.7"), Agent: "Browser", Private: true, Site: "https://mail.example.test"}

func enter(t testing.TB, d directory.Directory, login, password string) (directory.Entry, error) {
	t.Helper()
	return d.Enter(t.Context(), directory.Credentials{Login: login, Password: password, Door: "web"}, desk)
}

// in gives a good session of who has no second factor.
func in(t testing.TB, d directory.Directory, login, password string) (directory.Entry, directory.Principal) {
	t.Helper()
	e, err := enter(t, d, login, password)
	if err != nil || e.Needs != directory.NeedNothing || e.Principal.Session == 0 {
		t.Fatalf("Enter(%s): %+v, %v", login, e, err)
	}
	return e, e.Principal
}

func testSessions(t *testing.T, w World) {
	a, b, ctx := w.Open(t), w.Open(t), t.Context()
	addDomain(t, a, "example.test")
	ann, bob := addUser(t, a, "ann@example.test", secret), addUser(t, a, "bob@example.test", secret)
	_, err := enter(t, a, "ann@example.test", "wrong")
	wantKind(t, "a wrong password", err, fault.Unauthenticated)
	_, err = enter(t, a, "nobody@example.test", "wrong")
	wantKind(t, "nobody", err, fault.Unauthenticated)

	one, p := in(t, a, "ann@example.test", secret)
	two, _ := in(t, a, "ann@example.test", secret)
	if one.Secret == two.Secret || one.Principal.Session == two.Principal.Session {
		t.Error("two sessions are one")
	}
	for _, d := range []directory.Directory{a, b} {
		n, err := d.Session(ctx, one.Secret, desk)
		if err != nil || n.Principal.ID != ann.ID || n.ID != p.Session || !n.Private || n.Agent != "Browser" {
			t.Errorf("Session: %+v, %v", n, err)
		}
		for _, bad := range []string{"", "x", one.Secret + "A", two.Secret[:20] + one.Secret[20:]} {
			_, err := d.Session(ctx, bad, desk)
			wantKind(t, "a wrong secret", err, fault.Unauthenticated)
		}
	}
	list, err := b.SessionsOf(ctx, p, ann.ID)
	if err != nil || len(list) != 2 {
		t.Fatalf("SessionsOf: %+v, %v", list, err)
	}
	_, other := in(t, a, "bob@example.test", secret)
	_, err = a.SessionsOf(ctx, other, ann.ID)
	wantKind(t, "another's sessions", err, fault.Denied)
	wantKind(t, "to end another's session", a.EndSession(ctx, other, ann.ID, p.Session), fault.Denied)
	wantKind(t, "to end another's as one's own", a.EndSession(ctx, other, bob.ID, p.Session), fault.NotFound)

	// What is open elsewhere ends with its session, and nothing else does.
	gates := []interface {
		Context(ctx context.Context, p directory.Principal) (context.Context, context.CancelFunc)
		Browser(ctx context.Context, secret string, at directory.Place) (directory.SessionInfo, error)
	}{gate(t, a), gate(t, b)}
	var open, stay []context.Context
	for _, g := range gates {
		if n, err := g.Browser(ctx, one.Secret, desk); err != nil || n.Principal.Session != p.Session {
			t.Fatalf("Browser: %+v, %v", n, err)
		}
		c, cancel := g.Context(ctx, p)
		defer cancel()
		open = append(open, c)
		c, cancel = g.Context(ctx, two.Principal)
		defer cancel()
		stay = append(stay, c)
	}
	begun := time.Now()
	if err := a.Leave(ctx, one.Secret); err != nil {
		t.Fatal(err)
	}
	for i, c := range open {
		select {
		case <-c.Done():
			if took := time.Since(begun); took > time.Second {
				t.Errorf("gate %d ends a session's context after %v", i, took)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("gate %d never ends a session's context", i)
		}
		if stay[i].Err() != nil {
			t.Errorf("gate %d ends the other session too", i)
		}
		_, err := gates[i].Browser(ctx, one.Secret, desk)
		wantKind(t, "a session that was left", err, fault.Unauthenticated)
		if _, err := gates[i].Browser(ctx, two.Secret, desk); err != nil {
			t.Errorf("the other session: %v", err)
		}
	}
	// Who begins to follow hears of it still.
	late := gate(t, b)
	eventually(t, "a gate that came later", soon, func() bool {
		c, cancel := late.Context(ctx, p)
		defer cancel()
		return c.Err() != nil
	})

	// Its own change takes a session along and ends the others; a change by somebody
	// else ends all.
	three, _ := in(t, a, "ann@example.test", secret)
	four, err := a.EnterPassword(ctx, two.Secret, secret, "another horse 2", desk)
	if err != nil || four.Secret == two.Secret {
		t.Fatalf("EnterPassword: %+v, %v", four, err)
	}
	for name, s := range map[string]string{"the old secret": two.Secret, "another session": three.Secret} {
		_, err := a.Session(ctx, s, desk)
		wantKind(t, name+" after a change of password", err, fault.Unauthenticated)
	}
	n, err := b.Session(ctx, four.Secret, desk)
	if err != nil {
		t.Errorf("the session that changed the password: %v", err)
	}
	_, err = a.EnterPassword(ctx, four.Secret, "wrong", "yet another 3", desk)
	wantKind(t, "a change without the old password", err, fault.Unauthenticated)
	if _, _, err := a.AddAppPassword(ctx, n.Principal, ann.ID, "phone"); err != nil {
		t.Fatal(err)
	}
	if err := a.RemoveAppPassword(ctx, n.Principal, ann.ID, "phone"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Session(ctx, four.Secret, desk); err != nil {
		t.Errorf("a session does not survive the end of an application password: %v", err)
	}
	if err := a.SetEnabled(ctx, system, ann.ID, false); err != nil {
		t.Fatal(err)
	}
	_, err = a.Session(ctx, four.Secret, desk)
	wantKind(t, "a disabled account's session", err, fault.Unauthenticated)
}

func testSessionSteps(t *testing.T, w World) {
	a, ctx := w.Open(t), t.Context()
	addDomain(t, a, "example.test")
	ann := addUser(t, a, "ann@example.test", secret)
	one, p := in(t, a, "ann@example.test", secret)
	key, err := a.BeginFactor(ctx, p, ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	code := func() string {
		text, err := totp.GenerateCode(key.Secret, at)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	recovery, err := a.ConfirmFactor(ctx, p, ann.ID, code())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Session(ctx, one.Secret, desk); err != nil {
		t.Errorf("the session that turned the second factor on: %v", err)
	}
	if err := a.SetMustChange(ctx, system, ann.ID, true); err != nil {
		t.Fatal(err)
	}
	e, err := enter(t, a, "ann@example.test", secret)
	if err != nil || e.Needs != directory.NeedFactor || e.Principal != (directory.Principal{}) {
		t.Fatalf("Enter: %+v, %v", e, err)
	}
	half := e.Secret
	_, err = a.Session(ctx, half, desk)
	wantKind(t, "half a session", err, fault.Unauthenticated)
	_, err = a.EnterPassword(ctx, half, secret, "another horse 2", desk)
	wantKind(t, "a new password without the second factor", err, fault.Unauthenticated)
	_, err = a.EnterCode(ctx, half, "000000", desk)
	var problem *directory.SignInProblem
	if !errors.As(err, &problem) || problem.Why != directory.FactorWrong {
		t.Errorf("a wrong code: %v", err)
	}
	at = at.Add(30 * time.Second)
	e, err = a.EnterCode(ctx, half, code(), desk)
	if err != nil || e.Needs != directory.NeedPassword || e.Secret == half {
		t.Fatalf("EnterCode: %+v, %v", e, err)
	}
	_, err = a.EnterCode(ctx, half, recovery[0], desk)
	wantKind(t, "the secret of the step before", err, fault.Unauthenticated)
	_, err = a.Session(ctx, e.Secret, desk)
	wantKind(t, "a session that needs a password", err, fault.Unauthenticated)
	_, err = a.EnterPassword(ctx, e.Secret, "", "short", desk)
	wantKind(t, "a password against the policy", err, fault.Invalid)
	done, err := a.EnterPassword(ctx, e.Secret, "", "another horse 2", desk)
	if err != nil || done.Needs != directory.NeedNothing {
		t.Fatalf("EnterPassword: %+v, %v", done, err)
	}
	if n, err := a.Session(ctx, done.Secret, desk); err != nil || len(n.How) != 2 {
		t.Errorf("Session: %+v, %v", n, err)
	}
	if e, err = enter(t, a, "ann@example.test", "another horse 2"); err != nil {
		t.Fatal(err)
	}
	if e, err = a.EnterCode(ctx, e.Secret, recovery[1], desk); err != nil || e.Needs != directory.NeedNothing {
		t.Errorf("a recovery code: %+v, %v", e, err)
	}
}

func pkce() (verifier, challenge string) {
	verifier = "0123456789-0123456789-0123456789-0123456789-x"
	sum := sha256.Sum256([]byte(verifier))
	return verifier, base64.RawURLEncoding.EncodeToString(sum[:])
}

func wantCode(t testing.TB, what string, err error, code string) {
	t.Helper()
	var p *directory.GrantProblem
	if !errors.As(err, &p) || p.Code != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func testGrants(t *testing.T, w World) {
	a, b, ctx := w.Open(t), w.Open(t), t.Context()
	addDomain(t, a, "example.test")
	ann := addUser(t, a, "ann@example.test", secret)
	_, p := in(t, a, "ann@example.test", secret)
	_, err := a.AddOAuthClient(ctx, p, directory.OAuthClient{ID: "mine", Name: "Mine"})
	wantKind(t, "a client added by anybody", err, fault.Denied)
	const redirect = "http://127.0.0.1/done"
	if _, err := a.AddOAuthClient(ctx, system, directory.OAuthClient{ID: "thunder", Name: "Thunder", Redirects: []string{redirect}}); err != nil {
		t.Fatal(err)
	}
	proxy, err := a.AddOAuthClient(ctx, system, directory.OAuthClient{
		ID: "proxy", Name: "Proxy", Redirects: []string{"https://proxy.example.test/back"}, Confidential: true, Scopes: []string{"openid", "email"},
	})
	if err != nil || proxy == "" {
		t.Fatal(proxy, err)
	}
	for _, bad := range []string{"http://example.test/", "https://x.test/#f", "javascript:alert(1)", "data:,x", "https://u@x.test/", "/x", "mail:/x"} {
		_, err := a.AddOAuthClient(ctx, system, directory.OAuthClient{ID: "bad", Name: "Bad", Redirects: []string{bad}})
		wantKind(t, "the redirect "+bad, err, fault.Invalid)
	}
	verifier, challenge := pkce()
	ask := directory.Authorization{Client: "thunder", Redirect: "http://127.0.0.1:4711/done", Scope: "mail offline_access nonsense", Challenge: challenge}
	for what, change := range map[string]func(*directory.Authorization){
		"another redirect":   func(r *directory.Authorization) { r.Redirect = "http://127.0.0.1:4711/other" },
		"another host":       func(r *directory.Authorization) { r.Redirect = "http://127.0.0.2.example.test:4711/done" },
		"no redirect":        func(r *directory.Authorization) { r.Redirect = "" },
		"no PKCE":            func(r *directory.Authorization) { r.Challenge = "" },
		"plain PKCE":         func(r *directory.Authorization) { r.Challenge = verifier },
		"nothing asked for":  func(r *directory.Authorization) { r.Scope = "nonsense" },
		"a longer redirect":  func(r *directory.Authorization) { r.Redirect += "/x" },
		"a redirect's query": func(r *directory.Authorization) { r.Redirect += "?x" },
	} {
		r := ask
		change(&r)
		if _, err := a.Authorize(ctx, p, r); fault.Of(err) != fault.Invalid || err == nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = a.Authorize(ctx, directory.Principal{ID: ann.ID, Epoch: ann.Epoch, App: true}, ask)
	wantKind(t, "an application password that grants", err, fault.Denied)

	exchange := directory.Exchange{Client: "thunder", Grant: "authorization_code", Verifier: verifier, Redirect: ask.Redirect, Place: desk, Site: desk.Site}
	code := func() string {
		t.Helper()
		code, err := a.Authorize(ctx, p, ask)
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	exchange.Code = code()
	for what, change := range map[string]func(*directory.Exchange){
		"another client":   func(e *directory.Exchange) { e.Client, e.Secret = "proxy", proxy },
		"another redirect": func(e *directory.Exchange) { e.Redirect = redirect },
		"no verifier":      func(e *directory.Exchange) { e.Verifier = "" },
		"the challenge":    func(e *directory.Exchange) { e.Verifier = challenge },
		"another code":     func(e *directory.Exchange) { e.Code, _ = pkce(); e.Code = e.Code[:43] },
	} {
		e := exchange
		change(&e)
		_, err := b.Exchange(ctx, e)
		wantCode(t, what, err, directory.InvalidGrant)
	}
	wrong := exchange
	wrong.Client, wrong.Secret = "proxy", "wrong"
	_, err = a.Exchange(ctx, wrong)
	wantCode(t, "a wrong secret", err, directory.InvalidClient)
	wrong.Client, wrong.Secret = "nobody", ""
	_, err = a.Exchange(ctx, wrong)
	wantCode(t, "no such client", err, directory.InvalidClient)

	tokens, err := b.Exchange(ctx, exchange)
	if err != nil || tokens.Access == "" || tokens.Refresh == "" || tokens.ID != "" || tokens.Scope != "mail offline_access" {
		t.Fatalf("Exchange: %+v, %v", tokens, err)
	}
	g := gate(t, b)
	got, err := g.Bearer(ctx, tokens.Access, directory.ScopeMail)
	if err != nil || got.ID != ann.ID || !got.App || got.Session == 0 || got.Scope != "mail offline_access" {
		t.Fatalf("Bearer: %+v, %v", got, err)
	}
	_, err = g.Bearer(ctx, tokens.Access, directory.ScopeCalendar)
	wantKind(t, "a token for other things", err, fault.Denied)
	if _, err := a.Authorize(ctx, got, ask); fault.Of(err) != fault.Denied {
		t.Errorf("a program that grants: %v", err)
	}
	if _, _, err := a.AddAppPassword(ctx, got, ann.ID, "x"); fault.Of(err) != fault.Denied {
		t.Errorf("a program that lets others in: %v", err)
	}

	// Rotation: the new one works, the old one ends everything.
	refresh := directory.Exchange{Client: "thunder", Grant: "refresh_token", Refresh: tokens.Refresh, Place: desk}
	more, err := a.Exchange(ctx, refresh)
	if err != nil || more.Refresh == tokens.Refresh || more.Access == "" {
		t.Fatalf("refresh: %+v, %v", more, err)
	}
	wide := refresh
	wide.Refresh, wide.Scope = more.Refresh, "mail calendar"
	_, err = a.Exchange(ctx, wide)
	wantCode(t, "more than was granted", err, directory.InvalidScope)
	open, cancel := g.Context(ctx, got)
	defer cancel()
	_, err = a.Exchange(ctx, refresh)
	wantCode(t, "a refresh token used twice", err, directory.InvalidGrant)
	select {
	case <-open.Done():
	case <-time.After(time.Second):
		t.Error("what the stolen grant holds open goes on after a second")
	}
	refresh.Refresh = more.Refresh
	_, err = a.Exchange(ctx, refresh)
	wantCode(t, "the newest token of a stolen grant", err, directory.InvalidGrant)
	_, err = g.Bearer(ctx, more.Access, directory.ScopeMail)
	wantKind(t, "an access token of a stolen grant", err, fault.Unauthenticated)

	// A code that comes twice ends what it gave; of many at once at most one has it.
	exchange.Code = code()
	if tokens, err = a.Exchange(ctx, exchange); err != nil {
		t.Fatal(err)
	}
	_, err = b.Exchange(ctx, exchange)
	wantCode(t, "a code used twice", err, directory.InvalidGrant)
	eventually(t, "the end of what it gave", time.Second, func() bool {
		_, err := g.Bearer(ctx, tokens.Access, directory.ScopeMail)
		return fault.Of(err) == fault.Unauthenticated && err != nil
	})
	exchange.Code = code()
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 8 {
		wg.Go(func() {
			if _, err := []directory.Directory{a, b}[i%2].Exchange(ctx, exchange); err == nil {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if won > 1 {
		t.Errorf("a code was exchanged %d times", won)
	}

	// Revocation by either token; of another's client it does nothing.
	for _, by := range []func(directory.Tokens) string{
		func(t directory.Tokens) string { return t.Access }, func(t directory.Tokens) string { return t.Refresh },
	} {
		exchange.Code = code()
		if tokens, err = a.Exchange(ctx, exchange); err != nil {
			t.Fatal(err)
		}
		if err := a.Revoke(ctx, directory.Exchange{Client: "proxy", Secret: proxy}, by(tokens)); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Bearer(ctx, tokens.Access, directory.ScopeMail); err != nil {
			t.Errorf("a token that another client revoked: %v", err)
		}
		if err := b.Revoke(ctx, directory.Exchange{Client: "thunder"}, by(tokens)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the end of a revoked token", time.Second, func() bool {
			_, err := g.Bearer(ctx, tokens.Access, directory.ScopeMail)
			return fault.Of(err) == fault.Unauthenticated && err != nil
		})
	}

	// The device flow.
	d := directory.Exchange{Client: "thunder", Place: desk}
	device, err := a.BeginDevice(ctx, d, "mail")
	if err != nil {
		t.Fatal(err)
	}
	d.Grant, d.Device = "urn:ietf:params:oauth:grant-type:device_code", device.Device
	_, err = a.Exchange(ctx, d)
	wantCode(t, "a device that nobody allowed", err, directory.AuthorizationPending)
	_, err = b.Exchange(ctx, d)
	wantCode(t, "a device that asks too often", err, directory.SlowDown)
	if r, err := b.Device(ctx, p, " "+device.User); err != nil || r.Client.Name != "Thunder" || r.Scope != "mail" {
		t.Errorf("Device: %+v, %v", r, err)
	}
	_, err = a.Device(ctx, p, "BBBB-BBBB")
	wantKind(t, "a wrong user code", err, fault.NotFound)
	if err := a.DecideDevice(ctx, p, device.User, true); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "a second decision", a.DecideDevice(ctx, p, device.User, false), fault.Conflict)
	if tokens, err = b.Exchange(ctx, d); err != nil || tokens.Refresh != "" {
		t.Fatalf("a device that was allowed: %+v, %v", tokens, err)
	}
	if _, err := g.Bearer(ctx, tokens.Access, directory.ScopeMail); err != nil {
		t.Error(err)
	}

	// Another password ends every grant, and so does the end of the program.
	exchange.Code = code()
	if tokens, err = a.Exchange(ctx, exchange); err != nil {
		t.Fatal(err)
	}
	if err := a.RemoveOAuthClient(ctx, system, "thunder"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the program's tokens", time.Second, func() bool {
		_, err := g.Bearer(ctx, tokens.Access, directory.ScopeMail)
		return fault.Of(err) == fault.Unauthenticated && err != nil
	})
}
