package signin

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
)

// authorization reads an authorization request (OAuth 2.1 section 4.1.1). While
// client and redirect are not known to be right, nothing is sent there: err is
// then shown here. After that, problem is what the program hears.
func (s *Server) authorization(q *request, v url.Values) (c directory.OAuthClient, a directory.Authorization, problem *directory.GrantProblem, err error) {
	bad := &directory.GrantProblem{Code: directory.InvalidRequest, Say: "no such client or redirect address"}
	for _, name := range []string{"client_id", "redirect_uri", "response_type", "scope", "state", "code_challenge", "code_challenge_method", "nonce"} {
		if len(v[name]) > 1 { // RFC 6749 section 3.1
			return c, a, nil, bad
		}
	}
	if c, err = s.dir.OAuthClient(q.http.Context(), v.Get("client_id")); err != nil {
		if fault.Of(err) == fault.NotFound {
			err = bad
		}
		return c, a, nil, err
	}
	a = directory.Authorization{
		Client: c.ID, Redirect: v.Get("redirect_uri"), Scope: c.ScopeOf(v.Get("scope")), Challenge: v.Get("code_challenge"),
		Nonce: v.Get("nonce"), Site: s.opt.Site, Place: q.at,
	}
	if !c.FitsRedirect(a.Redirect) {
		return c, a, nil, bad
	}
	raw, notBase64 := base64.RawURLEncoding.DecodeString(a.Challenge)
	switch {
	case v.Get("response_type") != "code":
		problem = &directory.GrantProblem{Code: "unsupported_response_type", Say: "response_type=code alone is supported"}
	case a.Challenge == "" || v.Get("code_challenge_method") != "S256" || notBase64 != nil || len(raw) != 32:
		problem = &directory.GrantProblem{Code: directory.InvalidRequest, Say: "PKCE with code_challenge_method=S256 is needed"}
	case a.Scope == "":
		problem = &directory.GrantProblem{Code: directory.InvalidScope, Say: "nothing that there is was asked for"}
	case len(a.Nonce) > 512 || len(v.Get("state")) > 2048:
		problem = &directory.GrantProblem{Code: directory.InvalidRequest, Say: "state or nonce is too long"}
	case v.Get("request") != "" || v.Get("request_uri") != "":
		problem = &directory.GrantProblem{Code: "request_not_supported", Say: "request objects are not supported"}
	}
	return c, a, problem, nil
}

// back sends the browser to the program (RFC 6749 sections 4.1.2 and 4.1.2.1, RFC
// 9207).
func (s *Server) back(q *request, a directory.Authorization, state string, add url.Values) error {
	u, err := url.Parse(a.Redirect)
	if err != nil {
		return err
	}
	v := u.Query()
	for name, value := range add {
		v[name] = value
	}
	if state != "" {
		v.Set("state", state)
	}
	v.Set("iss", s.opt.Site)
	u.RawQuery = v.Encode()
	s.policy(q, originOf(a.Redirect))
	return q.send(u.String())
}

func (s *Server) backWith(q *request, a directory.Authorization, state string, p *directory.GrantProblem) error {
	return s.back(q, a, state, url.Values{"error": {p.Code}, "error_description": {p.Say}})
}

// authorize asks who is signed in whether the program may; of the organisation's
// own, and of one that has as much already, nobody is asked.
func (s *Server) authorize(q *request) error {
	v := q.http.URL.Query()
	c, a, problem, err := s.authorization(q, v)
	if err != nil {
		return s.refuse(q, err)
	}
	if problem != nil {
		return s.backWith(q, a, v.Get("state"), problem)
	}
	prompt := strings.Fields(v.Get("prompt"))
	known := c.Trusted
	if !known && c.Confidential {
		// A public program may be another one that shows this one's name, so it is
		// asked about each time (RFC 8252 section 8.6).
		if known, err = s.dir.Consented(q.http.Context(), q.who, c.ID, a.Scope); err != nil {
			return err
		}
	}
	switch {
	case known && !slices.Contains(prompt, "consent"):
		return s.grant(q, a, v.Get("state"))
	case slices.Contains(prompt, "none"):
		return s.backWith(q, a, v.Get("state"), &directory.GrantProblem{Code: "consent_required", Say: "somebody must be asked"})
	}
	s.policy(q, originOf(a.Redirect))
	hidden := map[string]string{}
	for _, name := range []string{"client_id", "redirect_uri", "response_type", "scope", "state", "code_challenge", "code_challenge_method", "nonce"} {
		if v.Get(name) != "" {
			hidden[name] = v.Get(name)
		}
	}
	return s.show(q, http.StatusOK, "consent", &page{
		Title: "consent.title", Program: c.Name, Scopes: strings.Fields(a.Scope), Action: "/oauth/authorize", Hidden: hidden,
	})
}

// refuse shows here what cannot be sent to a program that nobody knows.
func (s *Server) refuse(q *request, err error) error {
	var p *directory.GrantProblem
	if !errors.As(err, &p) {
		return err
	}
	return s.show(q, http.StatusBadRequest, "message", &page{Title: "oauth.title", Error: q.text("oauth.client")})
}

func (s *Server) grant(q *request, a directory.Authorization, state string) error {
	code, err := s.dir.Authorize(q.http.Context(), q.who, a)
	var p *directory.GrantProblem
	if errors.As(err, &p) {
		return s.backWith(q, a, state, p)
	}
	if err != nil {
		return err
	}
	return s.back(q, a, state, url.Values{"code": {code}})
}

// consent takes the answer.
func (s *Server) consent(q *request) error {
	v := q.http.PostForm
	_, a, problem, err := s.authorization(q, v)
	switch {
	case err != nil:
		return s.refuse(q, err)
	case problem != nil:
		return s.backWith(q, a, v.Get("state"), problem)
	case v.Get("answer") != "allow":
		return s.backWith(q, a, v.Get("state"), &directory.GrantProblem{Code: directory.AccessDenied, Say: "the owner refused"})
	}
	return s.grant(q, a, v.Get("state"))
}

// exchange reads what a program's request says of it (RFC 6749 section 2.3.1).
func (s *Server) exchange(q *request) (directory.Exchange, error) {
	r := q.http
	if err := r.ParseForm(); err != nil {
		return directory.Exchange{}, &directory.GrantProblem{Code: directory.InvalidRequest, Say: "the form cannot be read"}
	}
	v := r.PostForm
	for name, values := range v {
		if len(values) > 1 {
			return directory.Exchange{}, &directory.GrantProblem{Code: directory.InvalidRequest, Say: name + " is there twice"}
		}
	}
	e := directory.Exchange{
		Client: v.Get("client_id"), Secret: v.Get("client_secret"), Grant: v.Get("grant_type"), Code: v.Get("code"), Verifier: v.Get("code_verifier"),
		Redirect: v.Get("redirect_uri"), Refresh: v.Get("refresh_token"), Device: v.Get("device_code"), Scope: v.Get("scope"),
		Site: s.opt.Site, Place: q.at,
	}
	if user, password, ok := r.BasicAuth(); ok {
		id, err1 := url.QueryUnescape(user)
		secret, err2 := url.QueryUnescape(password)
		if err1 != nil || err2 != nil || e.Client != "" && e.Client != id || e.Secret != "" {
			return e, &directory.GrantProblem{Code: directory.InvalidClient, Say: "the client names itself in two ways"}
		}
		e.Client, e.Secret = id, secret
	}
	return e, nil
}

// token is the token endpoint.
func (s *Server) token(q *request) error {
	e, err := s.exchange(q)
	if err != nil {
		return err
	}
	t, err := s.dir.Exchange(q.http.Context(), e)
	if err != nil {
		return err
	}
	out := map[string]any{
		"access_token": t.Access, "token_type": "Bearer", "expires_in": int(time.Until(t.Expires).Seconds()), "scope": t.Scope,
	}
	if t.Refresh != "" {
		out["refresh_token"] = t.Refresh
	}
	if t.ID != "" {
		out["id_token"] = t.ID
	}
	return q.json(http.StatusOK, out)
}

// revoke is RFC 7009.
func (s *Server) revoke(q *request) error {
	e, err := s.exchange(q)
	if err != nil {
		return err
	}
	token := q.http.PostForm.Get("token")
	if token == "" {
		return &directory.GrantProblem{Code: directory.InvalidRequest, Say: "token is missing"}
	}
	if err := s.dir.Revoke(q.http.Context(), e, token); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusOK)
	return nil
}

// beginDevice is RFC 8628 section 3.1.
func (s *Server) beginDevice(q *request) error {
	e, err := s.exchange(q)
	if err != nil {
		return err
	}
	scope := e.Scope
	d, err := s.dir.BeginDevice(q.http.Context(), e, scope)
	if err != nil {
		return err
	}
	return q.json(http.StatusOK, map[string]any{
		"device_code": d.Device, "user_code": d.User, "verification_uri": s.opt.Site + "/device",
		"verification_uri_complete": s.opt.Site + "/device?user_code=" + d.User,
		"expires_in":                int(time.Until(d.Expires).Seconds()), "interval": int(d.Interval.Seconds()),
	})
}

// failProgram answers a program with a fault (RFC 6749 section 5.2, RFC 6750
// section 3).
func (s *Server) failProgram(q *request, err error) {
	code, status, say := "server_error", statuses[fault.Of(err)], ""
	var g *directory.GrantProblem
	switch {
	case errors.As(err, &g):
		code, say, status = g.Code, g.Say, http.StatusBadRequest
		if code == directory.InvalidClient {
			status = http.StatusUnauthorized
			q.w.Header().Set("WWW-Authenticate", `Basic realm="waypost"`)
		}
	case fault.Of(err) == fault.Unauthenticated:
		code = "invalid_token"
		q.w.Header().Set("WWW-Authenticate", `Bearer realm="waypost", error="invalid_token"`)
	case fault.Of(err) == fault.Denied:
		code = "insufficient_scope"
		q.w.Header().Set("WWW-Authenticate", `Bearer realm="waypost", error="insufficient_scope"`)
	case fault.Of(err) == fault.Unavailable || fault.Of(err) == fault.Limit:
		code = "temporarily_unavailable"
	}
	body := map[string]string{"error": code}
	if say != "" {
		body["error_description"] = say
	}
	if err := q.json(status, body); err != nil {
		s.log.DebugContext(q.http.Context(), "an answer was not sent", "fault", err)
	}
}

// userInfo is OpenID Connect Core section 5.3.
func (s *Server) userInfo(q *request) error {
	token, ok := strings.CutPrefix(q.http.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return fault.New(fault.Unauthenticated, "a token is needed")
	}
	p, err := s.gate.Verify(q.http.Context(), token)
	if err != nil {
		return err
	}
	if !directory.HasScope(p.Scope, directory.ScopeOpenID) {
		return fault.New(fault.Denied, "the token is not for this")
	}
	out := map[string]any{"sub": directory.Subject(p.ID)}
	if p.May(directory.ScopeEmail) {
		out["email"], out["email_verified"] = p.Address, p.Address != ""
	}
	if p.May(directory.ScopeProfile) {
		out["name"] = p.Name
	}
	return q.json(http.StatusOK, out)
}

// keys is the key set (RFC 7517, RFC 8037).
func (s *Server) keys(q *request) error {
	keys, err := s.dir.Keys(q.http.Context())
	if err != nil {
		return err
	}
	set := make([]map[string]string, len(keys))
	for i, k := range keys {
		set[i] = map[string]string{
			"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": k.ID, "x": base64.RawURLEncoding.EncodeToString(k.Public),
		}
	}
	q.w.Header().Set("Cache-Control", "public, max-age=60") // a new key is published for two minutes before it signs
	return q.json(http.StatusOK, map[string]any{"keys": set})
}

// discovery is RFC 8414 and OpenID Connect Discovery.
func (s *Server) discovery(q *request) error {
	site := s.opt.Site
	q.w.Header().Set("Cache-Control", "public, max-age=300")
	return q.json(http.StatusOK, map[string]any{
		"issuer": site, "authorization_endpoint": site + "/oauth/authorize", "token_endpoint": site + "/oauth/token",
		"revocation_endpoint": site + "/oauth/revoke", "device_authorization_endpoint": site + "/oauth/device",
		"userinfo_endpoint": site + "/oauth/userinfo", "jwks_uri": site + "/oauth/jwks",
		"scopes_supported": directory.AllScopes(), "response_types_supported": []string{"code"}, "response_modes_supported": []string{"query"},
		"grant_types_supported":                      []string{"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"},
		"code_challenge_methods_supported":           []string{"S256"},
		"token_endpoint_auth_methods_supported":      []string{"none", "client_secret_basic", "client_secret_post"},
		"revocation_endpoint_auth_methods_supported": []string{"none", "client_secret_basic", "client_secret_post"},
		"subject_types_supported":                    []string{"public"}, "id_token_signing_alg_values_supported": []string{"EdDSA"},
		"claims_supported": []string{"sub", "iss", "aud", "exp", "iat", "nonce", "auth_time", "email", "email_verified", "name"},
		"authorization_response_iss_parameter_supported": true,
	})
}

// deviceForm asks for the code that a device shows.
func (s *Server) deviceForm(q *request) error {
	return s.show(q, http.StatusOK, "device", &page{Title: "device.title", User: q.http.URL.Query().Get("user_code")})
}

// device shows what the code asks for.
func (s *Server) device(q *request) error {
	code := q.http.PostForm.Get("user_code")
	d, err := s.dir.Device(q.http.Context(), q.who, code)
	switch {
	case err != nil && fault.Of(err) == fault.NotFound:
		return s.show(q, http.StatusNotFound, "device", &page{Title: "device.title", User: code, Error: q.text("device.wrong")})
	case err != nil && fault.Of(err) == fault.Limit:
		return s.show(q, http.StatusTooManyRequests, "device", &page{Title: "device.title", User: code, Error: q.text("signin.limit")})
	case err != nil:
		return err
	}
	return s.show(q, http.StatusOK, "consent", &page{
		Title: "consent.title", Program: d.Client.Name, Scopes: strings.Fields(d.Scope), Action: "/device/decide", Hidden: map[string]string{"user_code": code},
	})
}

func (s *Server) decideDevice(q *request) error {
	v := q.http.PostForm
	allow := v.Get("answer") == "allow"
	note := "nodevice"
	if allow {
		note = "device"
	}
	return s.done(q, s.dir.DecideDevice(q.http.Context(), q.who, v.Get("user_code"), allow), note)
}
