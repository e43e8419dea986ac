package signin

import (
	"bytes"
	"encoding/base64"
	"html/template"
	"image/png"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/boombuler/barcode"
	"github.com/boombuler/barcode/qr"

	"waypost/directory"
	"waypost/internal/fault"
)

// account shows one's own sessions, application passwords, passkeys, second step
// and password.
func (s *Server) account(q *request) error { return s.showAccount(q, http.StatusOK, "", "") }

// notes are what the page may say after a change, by the name in its address.
var notes = map[string]string{
	"sessions": "sessions.ended", "apps": "apps.removed", "passkey": "passkeys.added", "nopasskey": "passkeys.removed",
	"factor": "factor.removed", "password": "change.done", "device": "device.allowed", "nodevice": "device.refused",
}

func (s *Server) showAccount(q *request, status int, wrong, warning string) error {
	ctx, me := q.http.Context(), q.who.ID
	sessions, err := s.dir.SessionsOf(ctx, q.who, me)
	if err != nil {
		return err
	}
	apps, err := s.dir.AppPasswords(ctx, q.who, me)
	if err != nil {
		return err
	}
	keys, err := s.dir.Passkeys(ctx, q.who, me)
	if err != nil {
		return err
	}
	state, err := s.dir.AccountState(ctx, q.who, me)
	if err != nil {
		return err
	}
	p := &page{
		Title: "account.title", Script: true, Error: wrong, Warning: warning, Factor: state.Factor, Recovery: strconv.Itoa(state.Recovery),
		Address: q.who.Address,
	}
	if key := notes[q.http.URL.Query().Get("done")]; key != "" && wrong == "" {
		p.Note = q.text(key)
	}
	for _, n := range sessions {
		r := row{ID: strconv.FormatInt(int64(n.ID), 10), Title: browserOf(n.Agent), Used: when(n.Used), From: n.From, Current: n.ID == q.who.Session}
		how := make([]string, len(n.How))
		for i, h := range n.How {
			how[i] = q.text("how." + h)
		}
		switch {
		case n.Client != "":
			r.Title = n.Name
			how = append(how, n.Scope)
		case n.Private:
			how = append([]string{q.text("sessions.private")}, how...)
		default:
			how = append([]string{q.text("sessions.public")}, how...)
		}
		r.Detail = strings.Join(how, " · ")
		p.Sessions = append(p.Sessions, r)
	}
	for _, a := range apps {
		p.Apps = append(p.Apps, row{Title: a.Name, Detail: q.text("created", when(a.Created)), Used: q.used(a.LastUsed), From: a.LastFrom})
	}
	for _, k := range keys {
		p.Keys = append(p.Keys, row{
			ID: strconv.FormatInt(k.ID, 10), Title: k.Name, Detail: q.text("created", when(k.Created)), Used: q.used(k.LastUsed), From: k.LastFrom,
		})
	}
	return s.show(q, status, "account", p)
}

// when shows an instant so that nobody has to know whose noon it is.
func when(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") + " UTC" }

func (q *request) used(t time.Time) string {
	if t.IsZero() {
		return q.text("never")
	}
	return when(t)
}

// done goes back to the page after a change, or shows what was wrong with it.
func (s *Server) done(q *request, err error, note string) error {
	switch fault.Of(err) {
	case fault.Internal, fault.Unauthenticated:
		if err != nil {
			return err
		}
	}
	if err != nil {
		return s.showAccount(q, statuses[fault.Of(err)], q.said(err), "")
	}
	return q.send("/account?done=" + note)
}

func (s *Server) endSession(q *request) error {
	id, err := strconv.ParseInt(q.http.PostForm.Get("id"), 10, 64)
	if err != nil {
		return fault.New(fault.Invalid, "no such session")
	}
	return s.done(q, s.dir.EndSession(q.http.Context(), q.who, q.who.ID, directory.SessionID(id)), "sessions")
}

func (s *Server) endSessions(q *request) error {
	_, err := s.dir.EndSessions(q.http.Context(), q.who, q.who.ID, q.who.Session)
	return s.done(q, err, "sessions")
}

func (s *Server) addApp(q *request) error {
	a, secret, err := s.dir.AddAppPassword(q.http.Context(), q.who, q.who.ID, q.http.PostForm.Get("name"))
	if err != nil {
		return s.done(q, err, "")
	}
	host := hostOf(s.opt.Site[strings.Index(s.opt.Site, "//")+2:])
	// Phones know no common form for it; as text it can be copied.
	code, err := qrCode(a.Name + "\n" + host + "\n" + q.who.Address + "\n" + secret)
	if err != nil {
		return err
	}
	return s.show(q, http.StatusOK, "app", &page{Title: "apps.title", Secret: secret, QR: code})
}

func (s *Server) removeApp(q *request) error {
	return s.done(q, s.dir.RemoveAppPassword(q.http.Context(), q.who, q.who.ID, q.http.PostForm.Get("name")), "apps")
}

func (s *Server) newPasskey(q *request) error {
	c, err := s.dir.NewPasskey(q.http.Context(), q.who, q.who.ID, q.at)
	if err != nil {
		return err
	}
	return q.challenge(c)
}

func (s *Server) addPasskey(q *request) error {
	_, err := s.dir.AddPasskey(q.http.Context(), q.who, q.who.ID, q.http.PostForm.Get("name"), q.answer(), q.at)
	if fault.Of(err) == fault.Unauthenticated && err != nil { // a challenge that is over
		err = fault.From(fault.Invalid, err, "the passkey was not accepted")
	}
	return s.done(q, err, "passkey")
}

func (s *Server) removePasskey(q *request) error {
	id, err := strconv.ParseInt(q.http.PostForm.Get("id"), 10, 64)
	if err != nil {
		return fault.New(fault.Invalid, "no such passkey")
	}
	return s.done(q, s.dir.RemovePasskey(q.http.Context(), q.who, q.who.ID, id), "nopasskey")
}

func (s *Server) beginFactor(q *request) error {
	k, err := s.dir.BeginFactor(q.http.Context(), q.who, q.who.ID)
	if err != nil {
		return s.done(q, err, "")
	}
	return s.showFactorKey(q, http.StatusOK, k, "")
}

func (s *Server) showFactorKey(q *request, status int, k directory.FactorKey, wrong string) error {
	code, err := qrCode(k.URL)
	if err != nil {
		return err
	}
	return s.show(q, status, "totp", &page{Title: "factor.setup", Secret: k.Secret, URL: k.URL, QR: code, Error: wrong})
}

func (s *Server) confirmFactor(q *request) error {
	v := q.http.PostForm
	codes, err := s.dir.ConfirmFactor(q.http.Context(), q.who, q.who.ID, strings.TrimSpace(v.Get("code")))
	if fault.Of(err) == fault.Invalid && err != nil {
		return s.showFactorKey(q, http.StatusBadRequest, directory.FactorKey{URL: v.Get("url"), Secret: v.Get("secret")}, q.text("factor.wrong"))
	}
	if err != nil {
		return s.done(q, err, "")
	}
	return s.show(q, http.StatusOK, "recovery", &page{Title: "recovery.title", Codes: codes})
}

func (s *Server) removeFactor(q *request) error {
	return s.done(q, s.dir.RemoveFactor(q.http.Context(), q.who, q.who.ID), "factor")
}

// renew changes one's own password; the session goes on under another secret, and
// everything else is signed out.
func (s *Server) renew(q *request) error {
	v := q.http.PostForm
	if v.Get("password") != v.Get("again") {
		return s.showAccount(q, http.StatusBadRequest, q.text("change.differ"), "")
	}
	e, err := s.dir.EnterPassword(q.http.Context(), q.secret, v.Get("old"), v.Get("password"), q.at)
	switch {
	case err != nil && fault.Of(err) == fault.Unauthenticated:
		return s.showAccount(q, http.StatusUnauthorized, q.text("signin.wrong"), "")
	case err != nil:
		return s.done(q, err, "")
	}
	until := time.Time{}
	if time.Until(e.Until) > 24*time.Hour {
		until = e.Until
	}
	s.setCookie(q, sessionCookie, e.Secret, until)
	return q.send("/account?done=password")
}

// qrCode makes a picture of a text.
func qrCode(text string) (template.URL, error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return "", err
	}
	const scale = 6
	if code, err = barcode.Scale(code, code.Bounds().Dx()*scale, code.Bounds().Dy()*scale); err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := png.Encode(&b, code); err != nil {
		return "", err
	}
	return template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(b.Bytes())), nil //nolint:gosec // made here
}
