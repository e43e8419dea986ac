package autodiscover

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
)

type fake struct{ err error }

func (f fake) SignIn(_ context.Context, c directory.Credentials) (directory.Principal, error) {
	if f.err != nil {
		return directory.Principal{}, f.err
	}
	if c.Password != "secret" && c.Password != "sécret" {
		return directory.Principal{}, fault.New(fault.Unauthenticated, "no")
	}
	p := directory.Principal{ID: 1, Mailbox: 7, Address: "ann@example.test"}
	if c.Login == "none" {
		p.ID = 2
	}
	return p, nil
}

func (fake) User(_ context.Context, _ directory.Principal, id directory.ObjectID) (directory.User, error) {
	u := directory.User{ID: id, Name: "Ann <&> Miller", Address: "ann@example.test", Addresses: []string{"ann@example.test", "Miller@example.test"}, Mailbox: 7}
	if id == 2 {
		u.Mailbox = 0
	}
	return u, nil
}

func newHandler(f fake) *Handler {
	return New(f, f, Options{
		Site: "https://mail.example.test/", Log: slog.New(slog.DiscardHandler),
		Protocols: []Protocol{{"IMAP", "mail.example.test", 993, true}, {"SMTP", "mail.example.test", 587, false}},
		Now:       func() time.Time { return time.Date(2026, 11, 24, 9, 8, 7, 600, time.UTC) },
		Secure:    func(r *http.Request) bool { return r.Host != "plain.example.test" },
	})
}

func ask(h http.Handler, method, path, login, password, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if login != "" {
		r.SetBasicAuth(login, password)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func request(schema, accept, address string) string {
	s := `<?xml version="1.0" encoding="utf-8"?><Autodiscover xmlns="` + schema + `"><Request><EMailAddress>` + address + `</EMailAddress>`
	if accept != "" {
		s += `<AcceptableResponseSchema>` + accept + `</AcceptableResponseSchema>`
	}
	return s + `</Request></Autodiscover>`
}

const requestForMobile = "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/requestschema/2006"

type answer struct {
	XMLName  xml.Name
	Response struct {
		XMLName xml.Name
		User    struct{ DisplayName, EMailAddress string }
		URL     string `xml:"Action>Settings>Server>Url"`
		Type    string `xml:"Action>Settings>Server>Type"`
		Error   struct {
			Time      string `xml:",attr"`
			ErrorCode int
		}
		Account struct {
			Protocol []struct{ Type, Server, Port, LoginName, SSL, Encryption string }
		}
	}
}

func TestPOX(t *testing.T) {
	for _, tt := range []struct {
		name, method, login, password, body string
		code                                int
		errorCode                           int
	}{
		{"a phone", "POST", "ann", "secret", request(requestForMobile, schemaMobile, "ann@example.test"), 200, 0},
		{"another address of hers", "POST", "ann", "secret", request(requestForMobile, schemaMobile, " MILLER@example.test\n"), 200, 0},
		{"Latin-1", "POST", "ann", "s\xe9cret", request(requestForMobile, schemaMobile, "ann@example.test"), 200, 0},
		{"no schema", "POST", "ann", "secret", request("", "", "ann@example.test"), 200, 0},
		{"no sign-in", "POST", "", "", request(requestForMobile, schemaMobile, "ann@example.test"), 401, 0},
		{"wrong password", "POST", "ann", "x", request(requestForMobile, schemaMobile, "ann@example.test"), 401, 0},
		{"no sign-in, GET", "GET", "", "", "", 401, 0},
		{"GET", "GET", "ann", "secret", "", 200, errRequest},
		{"somebody else", "POST", "ann", "secret", request(requestForMobile, schemaMobile, "bob@example.test"), 200, errAddress},
		{"no address", "POST", "ann", "secret", request(requestForMobile, schemaMobile, ""), 200, errRequest},
		{"other schema", "POST", "ann", "secret", request(requestForMobile, "http://example.test/x", "ann@example.test"), 200, errSchema},
		{"Outlook without a schema", "POST", "ann", "secret", request(requestForOutlook, "", "ann@example.test"), 200, errRequest},
		{"no mailbox", "POST", "none", "secret", request(requestForMobile, schemaMobile, "ann@example.test"), 200, errNothing},
		{"no XML", "POST", "ann", "secret", "{}<", 200, errRequest},
		{"nothing", "POST", "ann", "secret", "", 200, errRequest},
		{"too large", "POST", "ann", "secret", request(requestForMobile, schemaMobile, strings.Repeat("a", maxRequest)), 200, errRequest},
	} {
		w := ask(newHandler(fake{}), tt.method, "/Autodiscover/AutoDiscover.XML", tt.login, tt.password, tt.body)
		if w.Code != tt.code {
			t.Errorf("%s: code %d, want %d", tt.name, w.Code, tt.code)
			continue
		}
		if tt.code == 401 {
			if got := w.Header().Get("WWW-Authenticate"); got != `Basic realm="Waypost"` {
				t.Errorf("%s: challenge %q", tt.name, got)
			}
			continue
		}
		var a answer
		if err := xml.Unmarshal(w.Body.Bytes(), &a); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if a.XMLName.Space != schemaAnswer || a.Response.Error.ErrorCode != tt.errorCode {
			t.Errorf("%s: %s", tt.name, w.Body)
		}
		if tt.errorCode != 0 {
			if a.Response.Error.Time != "09:08:07.0000006" {
				t.Errorf("%s: time %q", tt.name, a.Response.Error.Time)
			}
			continue
		}
		if a.Response.XMLName.Space != schemaMobile || a.Response.Type != "MobileSync" ||
			a.Response.URL != "https://mail.example.test/Microsoft-Server-ActiveSync" ||
			a.Response.User.EMailAddress != "ann@example.test" || a.Response.User.DisplayName != "Ann <&> Miller" {
			t.Errorf("%s: %s", tt.name, w.Body)
		}
	}
}

func TestOutlook(t *testing.T) {
	w := ask(newHandler(fake{}), "POST", "/autodiscover/autodiscover.xml", "ann", "secret", request(requestForOutlook, schemaOutlook, "ann@example.test"))
	var a answer
	if err := xml.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatal(err)
	}
	p := a.Response.Account.Protocol
	if a.Response.XMLName.Space != schemaOutlook || len(p) != 2 {
		t.Fatalf("%s", w.Body)
	}
	if p[0].Type != "IMAP" || p[0].Port != "993" || p[0].Encryption != "SSL" || p[1].Encryption != "TLS" || p[1].LoginName != "ann@example.test" {
		t.Errorf("%+v", p)
	}
}

func TestJSON(t *testing.T) {
	h := New(fake{}, fake{}, Options{Log: slog.New(slog.DiscardHandler)})
	for _, tt := range []struct {
		path string
		code int
		want string
	}{
		{"/autodiscover/autodiscover.json?Email=x@y.test&Protocol=ActiveSync&RedirectCount=1", 200, `{"Protocol":"ActiveSync","Url":"https://example.com/Microsoft-Server-ActiveSync"}`},
		{"/autodiscover/autodiscover.json/v1.0/nobody@example.test?protocol=autodiscoverv1", 200, `{"Protocol":"AutodiscoverV1","Url":"https://example.com/autodiscover/autodiscover.xml"}`},
		{"/autodiscover/autodiscover.json?Protocol=EWS", 400, "InvalidProtocol"},
		{"/autodiscover/autodiscover.json", 400, "MandatoryParameterMissing"},
		{"/autodiscover/autodiscover.svc", 404, ""},
		{"/elsewhere", 404, ""},
	} {
		w := ask(h, "GET", tt.path, "", "", "")
		if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s: %d %s", tt.path, w.Code, w.Body)
		}
		if tt.code != 404 && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %s", tt.path, w.Body)
		}
	}
	if w := ask(h, "POST", "/autodiscover/autodiscover.json?Protocol=ActiveSync", "", "", ""); w.Code != 405 {
		t.Errorf("POST: %d", w.Code)
	}
}

func TestRedirectFromPlainHTTP(t *testing.T) {
	r := httptest.NewRequest("GET", "http://plain.example.test/autodiscover/autodiscover.xml", nil)
	w := httptest.NewRecorder()
	newHandler(fake{}).ServeHTTP(w, r)
	if got := w.Header().Get("Location"); w.Code != 302 || got != "https://mail.example.test/autodiscover/autodiscover.xml" {
		t.Errorf("%d %s", w.Code, got)
	}
}

func TestEveryFaultHasAnAnswer(t *testing.T) {
	for _, k := range fault.Kinds() {
		refusal, ok := refusals[k]
		if !ok || (refusal.http == 0) == (refusal.code == 0) || refusal.code != 0 && errorTexts[refusal.code] == "" {
			t.Errorf("%v: %+v", k, refusal)
		}
		w := ask(newHandler(fake{fault.New(k, "told")}), "POST", "/autodiscover/autodiscover.xml", "ann", "secret", "")
		if refusal.http != 0 && w.Code != refusal.http {
			t.Errorf("%v: code %d", k, w.Code)
		}
	}
}

func TestOneLineARequest(t *testing.T) {
	var log bytes.Buffer
	h := New(fake{}, fake{}, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	ask(h, "POST", "/autodiscover/autodiscover.xml", "ann", "secret", request(requestForMobile, schemaMobile, "ann@example.test"))
	for _, want := range []string{"proto=autodiscover", "cmd=mobilesync", "user=ann@example.test", "result=ok"} {
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(request(requestForMobile, schemaMobile, "ann@example.test"))
	f.Add(request(requestForOutlook, schemaOutlook, "ann@example.test"))
	f.Add("<a><EMailAddress>x<b/>y</EMailAddress>")
	h := newHandler(fake{})
	f.Fuzz(func(t *testing.T, body string) {
		w := ask(h, "POST", "/autodiscover/autodiscover.xml", "ann", "secret", body)
		var a answer
		if err := xml.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != 200 {
			t.Errorf("%q: %d, %v", body, w.Code, err)
		}
	})
}
