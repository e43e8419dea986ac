package autodiscover

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"waypost/directory"
	"waypost/internal/fault"
)

type fakes struct{}

func (fakes) SignIn(_ context.Context, c directory.Credentials) (directory.Session, error) {
	if c.Login == "ann@example.test" && c.Password == "pässword" {
		return directory.Session{Principal: directory.Principal{ID: 7, Address: c.Login}}, nil
	}
	return directory.Session{}, fault.New(fault.Unauthenticated, "no")
}

func (fakes) User(context.Context, directory.Principal, directory.ObjectID) (directory.User, error) {
	return directory.User{Name: "Ann <Lee> & Co", Address: "ann.lee@example.test"}, nil
}

func server() *Server {
	return New(fakes{}, fakes{}, Options{Host: func(r *http.Request) string { return "mail.example.test" }, IMAPSPort: 993, SubmissionPort: 465})
}

func ask(t *testing.T, method, path, body string, signedIn bool) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if signedIn {
		r.SetBasicAuth("ann@example.test", "pässword")
	}
	w := httptest.NewRecorder()
	server().ServeHTTP(w, r)
	return w
}

const mobileRequest = `<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/mobilesync/requestschema/2006"><Request>
<EMailAddress>ann@example.test</EMailAddress>
<AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006</AcceptableResponseSchema>
</Request></Autodiscover>`

func TestPOX(t *testing.T) {
	outlook := strings.ReplaceAll(strings.ReplaceAll(mobileRequest, "mobilesync", "outlook"), "outlook/responseschema/2006", "outlook/responseschema/2006a")
	for _, tt := range []struct {
		name, body string
		signedIn   bool
		status     int
		want       []string
	}{
		{"no sign-in", mobileRequest, false, 401, nil},
		{"mobilesync", mobileRequest, true, 200, []string{
			`<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"><Response xmlns="http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006"><Culture>en:us</Culture>`,
			`<DisplayName>Ann &lt;Lee&gt; &amp; Co</DisplayName><EMailAddress>ann.lee@example.test</EMailAddress>`,
			`<Server><Type>MobileSync</Type><Url>https://mail.example.test/Microsoft-Server-ActiveSync</Url><Name>https://mail.example.test/Microsoft-Server-ActiveSync</Name></Server>`,
		}},
		{"no schema but a mobilesync request", strings.ReplaceAll(mobileRequest, "AcceptableResponseSchema", "Other"), true, 200, []string{"MobileSync"}},
		{"broken namespaces", `<Autodiscover><Request><EMailAddress>ann@example.test</EMailAddress><AcceptableResponseSchema>` + mobileSchema + `</AcceptableResponseSchema></Request></Autodiscover>`, true, 200, []string{"MobileSync"}},
		{"outlook", outlook, true, 200, []string{`<Type>IMAP</Type><Server>mail.example.test</Server><Port>993</Port>`, `<Type>SMTP</Type>`, `<Type>MobileSync</Type>`}},
		{"another schema", strings.ReplaceAll(mobileRequest, "responseschema/2006<", "responseschema/2099<"), true, 200, []string{"<ErrorCode>601</ErrorCode>"}},
		{"not XML", "hello", true, 200, []string{"<ErrorCode>600</ErrorCode>"}},
		{"empty", "", true, 200, []string{"<ErrorCode>600</ErrorCode>"}},
		{"document type", `<!DOCTYPE a [<!ENTITY x "y">]>` + mobileRequest, true, 200, []string{"<ErrorCode>600</ErrorCode>"}},
		{"too deep", strings.Repeat("<Autodiscover>", 1000), true, 200, []string{"<ErrorCode>600</ErrorCode>"}},
		{"too long", mobileRequest + strings.Repeat(" ", maxBody), true, 200, []string{"<ErrorCode>600</ErrorCode>"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := ask(t, "POST", "/autodiscover/Autodiscover.xml", tt.body, tt.signedIn)
			if w.Code != tt.status {
				t.Fatalf("status %d, want %d", w.Code, tt.status)
			}
			if w.Code == 401 && w.Header().Get("WWW-Authenticate") == "" {
				t.Error("401 without WWW-Authenticate")
			}
			for _, s := range tt.want {
				if !strings.Contains(w.Body.String(), s) {
					t.Errorf("answer lacks %s\n%s", s, w.Body)
				}
			}
		})
	}
}

func TestLatin1SignIn(t *testing.T) {
	r := httptest.NewRequest("POST", "/autodiscover/autodiscover.xml", strings.NewReader(mobileRequest))
	r.SetBasicAuth("ann@example.test", "p\xe4ssword")
	w := httptest.NewRecorder()
	server().ServeHTTP(w, r)
	if w.Code != 200 {
		t.Errorf("status %d", w.Code)
	}
}

func TestJSON(t *testing.T) {
	for _, tt := range []struct {
		path   string
		status int
		want   string
	}{
		{"/autodiscover/autodiscover.json?Email=ann@example.test&Protocol=ActiveSync", 200, `"Url":"https://mail.example.test/Microsoft-Server-ActiveSync"`},
		{"/autodiscover/autodiscover.json/v1.0/nobody@example.test?protocol=activesync", 200, `"Protocol":"ActiveSync"`},
		{"/Autodiscover/Autodiscover.json?Protocol=AutodiscoverV1", 200, `"Url":"https://mail.example.test/autodiscover/autodiscover.xml"`},
		{"/autodiscover/autodiscover.json?Protocol=EWS", 400, `"ErrorCode":"InvalidProtocol"`},
		{"/autodiscover/autodiscover.json", 400, `"ErrorCode":"MandatoryParameterMissing"`},
	} {
		w := ask(t, "GET", tt.path, "", false)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s: %d %s, want %d with %s", tt.path, w.Code, w.Body, tt.status, tt.want)
		}
	}
	if w := ask(t, "POST", "/autodiscover/autodiscover.json?Protocol=ActiveSync", "", false); w.Code != 405 {
		t.Errorf("POST: %d, want 405", w.Code)
	}
	if w := ask(t, "GET", "/autodiscover/autodiscover.svc", "", false); w.Code != 404 {
		t.Errorf("SOAP: %d, want 404", w.Code)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(mobileRequest))
	f.Add([]byte("<Autodiscover><EMailAddress>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := readRequest(strings.NewReader(string(b)))
		if err == nil && len(q.address)+len(q.schema) > 2*len(b)+8 {
			t.Errorf("%d bytes from %d", len(q.address)+len(q.schema), len(b))
		}
	})
}
