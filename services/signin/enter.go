package signin

import (
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
)

// form shows the form.
func (s *Server) form(q *request) error { return s.showForm(q, http.StatusOK, &page{}) }

func (s *Server) showForm(q *request, status int, p *page) error {
	p.Title, p.Script = "signin.title", true
	if s.opt.Outside != nil {
		p.Outside = s.opt.Outside.Name
	}
	s.policy(q, s.targetOf(q))
	return s.show(q, status, "signin", p)
}

// targetOf is the origin of the program that waits behind the sign-in, "" for none.
func (s *Server) targetOf(q *request) string {
	u, err := url.Parse(q.next)
	if err != nil || u.Path != "/oauth/authorize" {
		return ""
	}
	v := u.Query()
	c, err := s.dir.OAuthClient(q.http.Context(), v.Get("client_id"))
	if err != nil || !c.FitsRedirect(v.Get("redirect_uri")) {
		return ""
	}
	return originOf(v.Get("redirect_uri"))
}

// originOf is a redirect's origin as a policy names it.
func originOf(redirect string) string {
	u, err := url.Parse(redirect)
	switch {
	case err != nil:
		return ""
	case u.Scheme == "https" || u.Scheme == "http":
		return u.Scheme + "://" + u.Host
	}
	return u.Scheme + ":"
}

// wrongText is what is said after a failed first step: the same for whatever was
// wrong, until the password was right.
func (q *request) wrongText(err error) string {
	switch problemOf(err) {
	case directory.AccountDisabled:
		return q.text("signin.disabled")
	case directory.AccountExpired:
		return q.text("signin.expired")
	}
	switch fault.Of(err) {
	case fault.Limit:
		return q.text("signin.limit")
	case fault.Unauthenticated, fault.Invalid, fault.Denied:
		return q.text("signin.wrong")
	}
	return q.text("signin.unavailable")
}

// password is the first step.
func (s *Server) password(q *request) error {
	v := q.http.PostForm
	q.at.Private = v.Get("computer") == "private"
	e, err := s.dir.Enter(q.http.Context(), directory.Credentials{Login: v.Get("user"), Password: v.Get("password"), Door: "web"}, q.at)
	if err != nil {
		if fault.Of(err) == fault.Internal {
			return err
		}
		return s.showForm(q, statuses[fault.Of(err)], &page{User: v.Get("user"), Private: q.at.Private, Error: q.wrongText(err)})
	}
	return s.entered(q, e)
}

// entered goes on after a step. The secret that the browser held before is over:
// whoever planted it has nothing (session fixation).
func (s *Server) entered(q *request, e directory.Entry) error {
	if q.secret != "" && q.secret != e.Secret {
		if err := s.dir.Leave(q.http.Context(), q.secret); err != nil {
			return err
		}
	}
	until := time.Time{} // ends with the browser
	if q.at.Private && e.Needs == directory.NeedNothing {
		until = e.Until
	}
	s.setCookie(q, sessionCookie, e.Secret, until)
	next := q.next
	if next == "" {
		next = "/account"
	}
	switch e.Needs {
	case directory.NeedFactor:
		keys := ""
		if e.Passkeys {
			keys = "&keys=1"
		}
		return q.send("/signin/factor?next=" + url.QueryEscape(q.next) + keys)
	case directory.NeedPassword:
		return q.send("/signin/password?next=" + url.QueryEscape(q.next))
	}
	q.who = e.Principal
	s.log.InfoContext(q.http.Context(), "signed in", "proto", "signin", "user", e.Principal.Address, "from", q.at.From, "session", e.Principal.Session)
	return q.send(next)
}

func (s *Server) factorForm(q *request) error {
	return s.showFactor(q, http.StatusOK, "")
}

func (s *Server) showFactor(q *request, status int, wrong string) error {
	s.policy(q, s.targetOf(q))
	return s.show(q, status, "factor", &page{Title: "factor.title", Script: true, Passkeys: q.http.FormValue("keys") != "", Error: wrong})
}

// factor is the second step.
func (s *Server) factor(q *request) error {
	e, err := s.dir.EnterCode(q.http.Context(), q.secret, q.http.PostForm.Get("code"), q.at)
	if err != nil {
		switch {
		case problemOf(err) == directory.FactorWrong || problemOf(err) == directory.FactorNeeded:
			return s.showFactor(q, http.StatusUnauthorized, q.text("factor.wrong"))
		case fault.Of(err) == fault.Limit:
			return s.showFactor(q, http.StatusTooManyRequests, q.text("signin.limit"))
		}
		return err
	}
	return s.moved(q, e)
}

// moved goes on with a session that changed its secret: there is none to leave.
func (s *Server) moved(q *request, e directory.Entry) error {
	q.secret = ""
	q.at.Private = time.Until(e.Until) > 24*time.Hour // as it was begun
	return s.entered(q, e)
}

func (s *Server) changeForm(q *request) error {
	s.policy(q, s.targetOf(q))
	return s.show(q, http.StatusOK, "change", &page{Title: "change.title"})
}

// change is the forced change of the password.
func (s *Server) change(q *request) error {
	v := q.http.PostForm
	s.policy(q, s.targetOf(q))
	if v.Get("password") != v.Get("again") {
		return s.show(q, http.StatusBadRequest, "change", &page{Title: "change.title", Error: q.text("change.differ")})
	}
	e, err := s.dir.EnterPassword(q.http.Context(), q.secret, "", v.Get("password"), q.at)
	switch fault.Of(err) {
	case fault.Invalid, fault.TooLarge:
		if err != nil {
			return s.show(q, http.StatusBadRequest, "change", &page{Title: "change.title", Error: q.said(err)})
		}
	}
	if err != nil {
		return err
	}
	return s.moved(q, e)
}

// passkeyChallenge answers the script.
func (s *Server) passkeyChallenge(q *request) error {
	secret := ""
	if q.http.PostForm.Get("step") == "factor" {
		secret = q.secret
	}
	c, err := s.dir.BeginPasskey(q.http.Context(), secret, q.at)
	if err != nil {
		return err
	}
	return q.challenge(c)
}

func (q *request) challenge(c directory.Challenge) error {
	return q.json(http.StatusOK, map[string]any{"id": c.ID, "options": json.RawMessage(c.Options)})
}

func (q *request) json(status int, v any) error {
	q.w.Header().Set("Content-Type", "application/json")
	q.w.WriteHeader(status)
	return fault.From(fault.Unavailable, json.NewEncoder(q.w).Encode(v), "the client went away")
}

func (q *request) answer() directory.Answer {
	return directory.Answer{ID: q.http.PostForm.Get("challenge"), Response: []byte(q.http.PostForm.Get("response"))}
}

// passkey is the first step, or the second.
func (s *Server) passkey(q *request) error {
	v := q.http.PostForm
	q.at.Private = v.Get("computer") == "private"
	second := v.Get("step") == "factor"
	secret := ""
	if second {
		secret = q.secret
	}
	e, err := s.dir.EnterPasskey(q.http.Context(), secret, q.answer(), q.at)
	switch {
	case err != nil && fault.Of(err) == fault.Unauthenticated && second:
		return s.showFactor(q, http.StatusUnauthorized, q.text("passkey.failed"))
	case err != nil && fault.Of(err) == fault.Unauthenticated:
		text := q.text("passkey.failed")
		if problemOf(err) != 0 {
			text = q.wrongText(err)
		}
		return s.showForm(q, http.StatusUnauthorized, &page{Private: q.at.Private, Error: text})
	case err != nil:
		return err
	case second:
		return s.moved(q, e)
	}
	return s.entered(q, e)
}

func (s *Server) signOut(q *request) error {
	if err := s.dir.Leave(q.http.Context(), q.secret); err != nil {
		return err
	}
	s.setCookie(q, sessionCookie, "", time.Time{})
	s.setCookie(q, formCookie, "", time.Time{})
	q.w.Header().Set("Clear-Site-Data", `"cache", "storage"`)
	return q.send("/signedout")
}

func (s *Server) signedOut(q *request) error {
	return s.show(q, http.StatusOK, "signedout", &page{Title: "signedout.title"})
}
