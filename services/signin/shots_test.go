package signin_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"waypost/directory"
	"waypost/internal/browsertest"
)

// TestShots takes pictures of the pages in both themes and at three widths, and
// looks for what does not fit. They are kept only where WAYPOST_SHOTS says.
func TestShots(t *testing.T) {
	keep := os.Getenv("WAYPOST_SHOTS")
	s, ctx := open(t), t.Context()
	if _, err := s.dir.AddOAuthClient(ctx, system, directory.OAuthClient{ID: "thunder", Name: "Thunderbird", Redirects: []string{"http://127.0.0.1/"}}); err != nil {
		t.Fatal(err)
	}
	p := browsertest.Open(t).Page(t)
	look := func(name string) {
		t.Helper()
		for _, width := range []int{320, 768, 1440} {
			for _, dark := range []bool{false, true} {
				p.Look(width, 900, dark)
				if got := p.Eval(`document.documentElement.scrollWidth <= window.innerWidth`); got != "true" {
					t.Errorf("%s scrolls sideways at %d", name, width)
				}
				if keep != "" {
					theme := "light"
					if dark {
						theme = "dark"
					}
					p.Shot(filepath.Join(keep, fmt.Sprintf("%s-%d-%s.png", name, width, theme)))
				}
			}
		}
	}
	p.Go(s.url + "/signin")
	look("signin")
	fillIn(p, "ann@example.test", "wrong")
	p.Shows("not right")
	look("signin-wrong")
	p.Fill(`input[name="password"]`, password)
	p.Click(`form[action="/signin"] button`)
	p.At("/account")
	for _, name := range []string{"Ann's phone", "Thunderbird, office"} {
		if _, _, err := s.dir.AddAppPassword(ctx, system, s.ann.ID, name); err != nil {
			t.Fatal(err)
		}
	}
	p.Go(s.url + "/account")
	look("account")
	p.Click(`form[action="/account/factor/begin"] button`)
	p.Shows("Code that the app shows")
	look("factor-setup")
	p.Go(s.url + "/oauth/authorize?" + url.Values{
		"client_id": {"thunder"}, "redirect_uri": {"http://127.0.0.1:4711/"}, "response_type": {"code"}, "scope": {"mail calendar contacts offline_access"},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
	}.Encode())
	p.Shows("Thunderbird")
	look("consent")
	p.Go(s.url + "/account")
	p.Fill(`form[action="/account/apps/add"] input[name="name"]`, "Phone")
	p.Click(`form[action="/account/apps/add"] button`)
	p.Shows("It is not shown again")
	look("app-password")
	p.Go(s.url + "/device")
	p.Shows("Code on the device")
	look("device")
	p.Go(s.url + "/account")
	p.Click(`form[action="/signout"] button`)
	p.At("/signedout")
	look("signedout")
}
