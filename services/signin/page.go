package signin

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/language"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/web/messages"
	"waypost/web/signin"
)

var templates = template.Must(template.ParseFS(signin.Files, "templates/*.html"))

// page is what the templates show; each uses a part of it.
type page struct {
	Lang, Host, Title, Token, Next, Error, Note string
	Script, Private, Passkeys, Factor           bool
	User, Address, Outside, Warning             string
	Program, Action                             string
	Scopes, Codes                               []string
	Hidden                                      map[string]string
	Sessions, Apps, Keys                        []row
	Recovery, Secret, URL                       string
	QR                                          template.URL
}

// row is a line of a list.
type row struct {
	ID, Title, Detail, Used, From string
	Current                       bool
}

// T gives a text in the page's language.
func (p *page) T(key string, args ...string) string { return messages.Text(p.Lang, key, args...) }

// Dir is the direction of writing.
func (p *page) Dir() string {
	if messages.RightToLeft(p.Lang) {
		return "rtl"
	}
	return "ltr"
}

// tags are the languages that there are, English first.
var tags, matcher = func() ([]string, language.Matcher) {
	list := []string{"en"}
	for name := range messages.Languages {
		if name != "en" {
			list = append(list, name)
		}
	}
	slices.Sort(list[1:])
	parsed := make([]language.Tag, len(list))
	for i, name := range list {
		parsed[i] = language.Make(name)
	}
	return list, language.NewMatcher(parsed)
}()

// languageOf is the one of ours that the browser likes best (RFC 9110 section
// 12.5.4).
func languageOf(r *http.Request) string {
	wanted, _, err := language.ParseAcceptLanguage(r.Header.Get("Accept-Language"))
	if err != nil {
		return tags[0]
	}
	_, i, _ := matcher.Match(wanted...)
	return tags[i]
}

func (q *request) text(key string, args ...string) string { return messages.Text(q.lang, key, args...) }

// show answers with a page.
func (s *Server) show(q *request, status int, name string, p *page) error {
	p.Lang, p.Host, p.Token, p.Next = q.lang, hostOf(q.http.Host), q.token(), q.next
	if p.Address == "" {
		p.Address = q.who.Address
	}
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, p); err != nil {
		return err
	}
	q.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	q.w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	q.w.WriteHeader(status)
	_, err := q.w.Write(b.Bytes())
	return fault.From(fault.Unavailable, err, "the browser went away")
}

// statuses are the HTTP codes of faults.
var statuses = map[fault.Kind]int{
	fault.Internal: http.StatusInternalServerError, fault.Invalid: http.StatusBadRequest, fault.Unauthenticated: http.StatusUnauthorized,
	fault.Denied: http.StatusForbidden, fault.NotFound: http.StatusNotFound, fault.Exists: http.StatusConflict, fault.Conflict: http.StatusConflict,
	fault.OverQuota: http.StatusInsufficientStorage, fault.TooLarge: http.StatusRequestEntityTooLarge, fault.Limit: http.StatusTooManyRequests,
	fault.Resync: http.StatusServiceUnavailable, fault.Unavailable: http.StatusServiceUnavailable,
}

// fail answers with what went wrong.
func (s *Server) fail(q *request, err error) {
	var g *directory.GrantProblem
	if rt := s.routes[q.http.Method+" "+q.http.URL.Path]; rt.machine {
		s.failProgram(q, err)
		return
	}
	key := "failed"
	switch fault.Of(err) {
	case fault.Denied:
		key = "stale"
	case fault.Unauthenticated:
		key = "signin.over"
	case fault.Limit:
		key = "signin.limit"
	case fault.Unavailable:
		key = "signin.unavailable"
	}
	if errors.As(err, &g) {
		key = "oauth.client"
	}
	if err := s.show(q, statuses[fault.Of(err)], "message", &page{Title: "failed", Error: q.text(key)}); err != nil {
		s.log.DebugContext(q.http.Context(), "a page was not sent", "fault", err)
	}
}

// said is what a person may hear of a fault of what he entered himself.
func (q *request) said(err error) string {
	var f *fault.Error
	switch fault.Of(err) {
	case fault.Limit:
		return q.text("signin.limit")
	case fault.Unavailable, fault.Internal:
		return q.text("signin.unavailable")
	}
	if errors.As(err, &f) && f.Say != "" {
		return strings.ToUpper(f.Say[:1]) + f.Say[1:] + "."
	}
	return q.text("failed")
}

// browserOf names a browser as people know it.
func browserOf(agent string) string {
	on := ""
	for _, o := range []struct{ in, name string }{
		{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"}, {"Mac OS X", "macOS"}, {"CrOS", "ChromeOS"}, {"Linux", "Linux"},
	} {
		if strings.Contains(agent, o.in) {
			on = o.name
			break
		}
	}
	for _, b := range []struct{ in, name string }{
		{"Edg/", "Edge"}, {"OPR/", "Opera"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"}, {"Chrome/", "Chrome"}, {"CriOS/", "Chrome"}, {"Safari/", "Safari"},
	} {
		if strings.Contains(agent, b.in) {
			if on == "" {
				return b.name
			}
			return fmt.Sprintf("%s, %s", b.name, on)
		}
	}
	if name, _, _ := strings.Cut(agent, "/"); name != "" {
		return name
	}
	return "?"
}
