package signin_test

import (
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"waypost/internal/browsertest"
)

func fillIn(p *browsertest.Page, user, secret string) {
	p.Fill(`input[name="user"]`, user)
	p.Fill(`input[name="password"]`, secret)
	p.Click(`form[action="/signin"] button`)
}

// TestBrowser goes the ways of people in a real Chromium.
func TestBrowser(t *testing.T) {
	s, ctx := open(t), t.Context()
	b := browsertest.Open(t)
	p := b.Page(t)
	p.Go(s.url + "/account")
	p.At("/signin")
	fillIn(p, "ann@example.test", "wrong")
	p.Shows("User name or password is not right")
	if got := p.Eval(`document.querySelector('input[name="user"]').value`); got != "ann@example.test" {
		t.Errorf("the user name is %q after a wrong password", got)
	}
	p.Click(`input[value="private"]`)
	p.Fill(`input[name="password"]`, password)
	p.Click(`form[action="/signin"] button`)
	p.At("/account")
	p.Shows("This session")
	p.Shows("Private computer")
	if got := p.Eval("document.cookie"); got != "" {
		t.Errorf("a script sees the cookies %q", got)
	}

	// A second factor is set up, and asked for from then on.
	p.Click(`form[action="/account/factor/begin"] button`)
	p.Shows("Code that the app shows")
	key := p.Eval(`document.querySelector('.secret code').innerText`)
	at := time.Now()
	code := func() string {
		text, err := totp.GenerateCode(key, at)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	p.Fill(`input[name="code"]`, "000000")
	p.Click(`form[action="/account/factor/confirm"] button`)
	p.Shows("The code is not right")
	p.Fill(`input[name="code"]`, code())
	p.Click(`form[action="/account/factor/confirm"] button`)
	p.Shows("Your recovery codes")
	recovery := p.Eval(`document.querySelector('.codes code').innerText`)

	other := b.Page(t)
	other.Go(s.url + "/signin")
	fillIn(other, "ann@example.test", password)
	other.At("/signin/factor")
	other.Fill(`input[name="code"]`, "000000")
	other.Click(`form[action="/signin/factor"] button`)
	other.Shows("The code is not right")
	at = at.Add(30 * time.Second)
	other.Fill(`input[name="code"]`, code())
	other.Click(`form[action="/signin/factor"] button`)
	other.At("/account")

	third := b.Page(t)
	third.Go(s.url + "/signin")
	fillIn(third, "ann@example.test", password)
	third.At("/signin/factor")
	third.Fill(`input[name="code"]`, recovery)
	third.Click(`form[action="/signin/factor"] button`)
	third.At("/account")

	// Sign-out everywhere else ends the others.
	p.Go(s.url + "/account")
	p.Click(`form[action="/account/sessions/end-all"] button`)
	p.Shows("Signed out.")
	for _, o := range []*browsertest.Page{other, third} {
		o.Go(s.url + "/account")
		o.At("/signin")
	}
	p.Go(s.url + "/account")
	p.Shows("This session")

	// A passkey signs in alone, and stands for the second step.
	p.Passkeys()
	p.Go(s.url + "/account")
	p.Fill(`form[action="/account/passkeys/add"] input[name="name"]`, "Laptop")
	p.Click(`form[action="/account/passkeys/add"] button`)
	p.Shows("The passkey is added.")
	p.Shows("Laptop")
	p.Click(`form[action="/signout"] button`)
	p.At("/signedout")
	p.Go(s.url + "/account")
	p.At("/signin")
	p.Click(`form[data-passkey] button`)
	p.At("/account")
	p.Shows("passkey")
	p.Click(`form[action="/signout"] button`)
	p.At("/signedout")
	p.Go(s.url + "/signin")
	fillIn(p, "ann@example.test", password)
	p.At("/signin/factor")
	p.Click(`form[data-passkey] button`)
	p.At("/account")

	// An application password is shown once.
	p.Fill(`form[action="/account/apps/add"] input[name="name"]`, "Phone")
	p.Click(`form[action="/account/apps/add"] button`)
	p.Shows("It is not shown again")
	secret := p.Eval(`document.querySelector('.secret code').innerText`)
	if got := p.Eval(`document.querySelector('.qr img').naturalWidth > 100`); got != "true" {
		t.Error("the QR code is not shown")
	}
	p.Click(`main a.btn`)
	p.At("/account")
	p.Shows("Phone")

	// The password must be changed.
	if err := s.dir.SetMustChange(ctx, system, s.ann.ID, true); err != nil {
		t.Fatal(err)
	}
	p.Go(s.url + "/account")
	p.At("/signin")
	fillIn(p, "ann@example.test", password)
	p.At("/signin/factor")
	p.Click(`form[data-passkey] button`)
	p.At("/signin/password")
	p.Fill(`input[name="password"]`, "short")
	p.Fill(`input[name="again"]`, "short")
	p.Click(`form[action="/signin/password"] button`)
	p.Shows("shorter than")
	p.Fill(`input[name="password"]`, "another horse 2")
	p.Fill(`input[name="again"]`, "another horse 3")
	p.Click(`form[action="/signin/password"] button`)
	p.Shows("not the same")
	p.Fill(`input[name="password"]`, "another horse 2")
	p.Fill(`input[name="again"]`, "another horse 2")
	p.Click(`form[action="/signin/password"] button`)
	p.At("/account")

	for _, word := range []string{password, "another horse", secret, key, recovery} {
		if text := s.log.String(); word == "" || len(text) == 0 || containsFold(text, word) {
			t.Errorf("the log has a secret in it, or nothing: %q", word)
		}
	}
}
