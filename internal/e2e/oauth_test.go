package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
	"golang.org/x/oauth2"
)

// xoauth2 is the client's side of the older form of OAUTHBEARER.
type xoauth2 struct{ user, token string }

func (x xoauth2) Start() (string, []byte, error) {
	return "XOAUTH2", []byte("user=" + x.user + "\x01auth=Bearer " + x.token + "\x01\x01"), nil
}

func (xoauth2) Next([]byte) ([]byte, error) { return []byte{}, nil }

// consents signs a person in at the pages and consents to what a program asks for;
// it gives the code that comes back.
func (s *site) consents(user, ask string) string {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	c := &http.Client{
		Jar: jar, Transport: &http.Transport{TLSClientConfig: noVerify}, Timeout: 30 * time.Second,
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			if r.URL.Port() == "4711" { // the program's, which nobody needs here
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	page := func(r *http.Response, err error) (string, *http.Response) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			s.t.Fatal(err)
		}
		return string(b), r
	}
	field := regexp.MustCompile(`name="([^"]+)" value="([^"]*)"`)
	form := func(text string) url.Values {
		v := url.Values{}
		for _, m := range field.FindAllStringSubmatch(text, -1) {
			v.Set(m[1], strings.NewReplacer("&#43;", "+", "&amp;", "&").Replace(m[2]))
		}
		v.Del("computer")
		return v
	}
	text, r := page(c.Get(ask))
	v := form(text)
	v.Set("user", user+"@"+domain)
	v.Set("password", password)
	text, r = page(c.PostForm(r.Request.URL.ResolveReference(&url.URL{Path: "/signin"}).String(), v))
	if !strings.Contains(text, "Read, change and send your mail") {
		s.t.Fatalf("no consent is asked for at %s:\n%s", r.Request.URL.Path, text)
	}
	v = form(text)
	v.Set("answer", "allow")
	_, r = page(c.PostForm(r.Request.URL.ResolveReference(&url.URL{Path: "/oauth/authorize"}).String(), v))
	to, err := url.Parse(r.Header.Get("Location"))
	if err != nil || to.Query().Get("code") == "" || to.Query().Get("state") != "the state" {
		s.t.Fatalf("the program gets %d %s", r.StatusCode, r.Header.Get("Location"))
	}
	return to.Query().Get("code")
}

// TestOAuth: a program of golang.org/x/oauth2 gets a token that works at every door
// it was granted for until it is revoked, and nowhere within a second of that.
func TestOAuth(t *testing.T) {
	s := newSite(t)
	s.anyPorts()
	s.serve()
	s.organisation("ann", "bob")
	s.must("oauth", "client", "add", "mailer", "--name", "Mailer", "--redirect", "http://127.0.0.1/done")
	if out := s.must("oauth", "client", "list"); !strings.Contains(out, "Mailer") {
		t.Errorf("the list is\n%s", out)
	}
	base := "https://" + s.addr["https"]
	conf := &oauth2.Config{
		ClientID: "mailer", RedirectURL: "http://127.0.0.1:4711/done", Scopes: []string{"mail", "calendar", "offline_access"},
		Endpoint: oauth2.Endpoint{AuthURL: base + "/oauth/authorize", TokenURL: base + "/oauth/token", AuthStyle: oauth2.AuthStyleInParams},
	}
	verifier := oauth2.GenerateVerifier()
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: &http.Transport{TLSClientConfig: noVerify}})
	code := s.consents("ann", conf.AuthCodeURL("the state", oauth2.S256ChallengeOption(verifier)))
	token, err := conf.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	if token.RefreshToken == "" || token.TokenType != "Bearer" {
		t.Fatalf("the token is %+v", token)
	}
	// As its library would: a token that has expired is exchanged for another.
	token.Expiry = time.Now().Add(-time.Minute)
	if token, err = conf.TokenSource(ctx, token).Token(); err != nil {
		t.Fatal(err)
	}

	ann := "ann@" + domain
	imap := func(mech sasl.Client) (*imapclient.Client, error) {
		c, err := imapclient.DialTLS(s.addr["imaps"], &imapclient.Options{TLSConfig: noVerify})
		if err != nil {
			return nil, err
		}
		return c, c.Authenticate(mech)
	}
	mail := func(mech sasl.Client) error {
		c, err := gosmtp.DialTLS(s.addr["submissions"], noVerify)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.Auth(mech); err != nil {
			return err
		}
		return c.SendMail(ann, []string{"bob@" + domain}, strings.NewReader("From: "+ann+"\r\nSubject: by token\r\n\r\nhello\r\n"))
	}
	dav := func(path string) int {
		r, err := http.NewRequestWithContext(ctx, "PROPFIND", base+path, strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Depth", "0")
		r.Header.Set("Authorization", "Bearer "+token.AccessToken)
		resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: noVerify}}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusUnauthorized && len(resp.Header.Values("WWW-Authenticate")) != 2 {
			t.Errorf("DAV asks for %q", resp.Header.Values("WWW-Authenticate"))
		}
		return resp.StatusCode
	}
	bearer := func(user, token string) sasl.Client {
		return sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{Username: user, Token: token})
	}
	idle, err := imap(bearer(ann, token.AccessToken))
	if err != nil {
		t.Fatalf("IMAP by OAUTHBEARER: %v", err)
	}
	defer idle.Close()
	if _, err := idle.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	waiting, err := idle.Idle()
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan time.Time, 1)
	go func() { _ = waiting.Wait(); over <- time.Now() }()
	for what, mech := range map[string]sasl.Client{"OAUTHBEARER": bearer(ann, token.AccessToken), "XOAUTH2": xoauth2{ann, token.AccessToken}} {
		if err := mail(mech); err != nil {
			t.Errorf("submission by %s: %v", what, err)
		}
		c, err := imap(mech)
		if err != nil {
			t.Errorf("IMAP by %s: %v", what, err)
		}
		_ = c.Close()
	}
	for what, mech := range map[string]sasl.Client{
		"another's name": bearer("bob@"+domain, token.AccessToken), "no token": bearer(ann, "x"), "another's name by XOAUTH2": xoauth2{"bob@" + domain, token.AccessToken},
		"the refresh token": bearer(ann, token.RefreshToken),
	} {
		if c, err := imap(mech); err == nil {
			t.Errorf("IMAP lets in %s", what)
		} else if !strings.Contains(err.Error(), "AUTHENTICATIONFAILED") && !strings.Contains(err.Error(), "token") {
			t.Errorf("IMAP and %s: %v", what, err)
		} else {
			_ = c.Close()
		}
		if err := mail(mech); err == nil {
			t.Errorf("submission lets in %s", what)
		}
	}
	if got := dav("/dav/calendars/" + ann + "/"); got != http.StatusMultiStatus {
		t.Errorf("calendars: %d", got)
	}
	if got := dav("/dav/addressbooks/" + ann + "/"); got != http.StatusForbidden {
		t.Errorf("address books, for which nothing was granted: %d", got)
	}

	if out := s.must("session", "list", ann); !strings.Contains(out, "Mailer") {
		t.Errorf("the sessions are\n%s", out)
	}
	begun := time.Now()
	resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: noVerify}}).PostForm(base+"/oauth/revoke",
		url.Values{"client_id": {"mailer"}, "token": {token.RefreshToken}})
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("revoke: %v, %v", resp, err)
	}
	_ = resp.Body.Close()
	select {
	case at := <-over:
		if took := at.Sub(begun); took > time.Second {
			t.Errorf("IDLE ends %v after the token", took)
		}
	case <-time.After(10 * time.Second):
		t.Error("IDLE goes on after its token was revoked")
	}
	for what, err := range map[string]error{
		"IMAP":       func() error { _, err := imap(bearer(ann, token.AccessToken)); return err }(),
		"submission": mail(xoauth2{ann, token.AccessToken}),
		"DAV": func() error {
			if got := dav("/dav/calendars/" + ann + "/"); got != http.StatusUnauthorized {
				return nil
			}
			return fmt.Errorf("refused")
		}(),
		"refresh": func() error {
			old := *token
			old.Expiry = time.Now().Add(-time.Minute)
			_, err := conf.TokenSource(ctx, &old).Token()
			return err
		}(),
	} {
		if err == nil {
			t.Errorf("%s takes a revoked token", what)
		}
	}
}
