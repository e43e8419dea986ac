package eas

import (
	"bytes"
	"encoding/base64"
	goflag "flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"waypost/directory"
	"waypost/services/eas/wbxml"
)

// testPhone sends requests to a handler as a phone does.
type testPhone struct {
	h       http.Handler
	version wbxml.Version
	device  string

	multipart bool
}

func (p *testPhone) raw(cmd, contentType string, body []byte, params ...string) *httptest.ResponseRecorder {
	q := url.Values{"Cmd": {cmd}, "User": {"ann"}, "DeviceId": {p.device}, "DeviceType": {"SmartPhone"}}
	for i := 0; i+1 < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, Path+"?"+q.Encode(), bytes.NewReader(body))
	r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("ann:secret")))
	r.Header.Set("MS-ASProtocolVersion", p.version.String())
	if len(body) > 0 {
		r.Header.Set("Content-Type", contentType)
	}
	if p.multipart {
		r.Header.Set("MS-ASAcceptMultiPart", "T")
	}
	w := httptest.NewRecorder()
	p.h.ServeHTTP(w, r)
	return w
}

// do sends a document and gives the answer's; nil for an empty one.
func (p *testPhone) do(cmd string, n *wbxml.Node, params ...string) (*wbxml.Node, error) {
	var body []byte
	if n != nil {
		var err error
		if body, err = wbxml.Marshal(n); err != nil {
			return nil, err
		}
	}
	w := p.raw(cmd, typeWBXML, body, params...)
	if w.Code != http.StatusOK {
		return nil, fmt.Errorf("%s: HTTP %d", cmd, w.Code)
	}
	if w.Body.Len() == 0 {
		return nil, nil
	}
	d := wbxml.NewDecoder(w.Body, wbxml.Limits{})
	doc := d.Tree(nil)
	if err := d.Err(); err != nil {
		return nil, err
	}
	return doc, foreign(doc, p.version)
}

// must is do, given as text and answered as text.
func (p *testPhone) must(t *testing.T, cmd, doc string, params ...string) *wbxml.Node {
	t.Helper()
	var n *wbxml.Node
	if doc != "" {
		var err error
		if n, err = wbxml.Parse(doc); err != nil {
			t.Fatal(err)
		}
	}
	out, err := p.do(cmd, n, params...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// collection is the text of a Sync of one collection.
func collectionText(key, id, inner string) string {
	return "<AirSync:Sync><Collections><Collection><SyncKey>" + key + "</SyncKey><CollectionId>" + id + "</CollectionId>" + inner +
		"</Collection></Collections></AirSync:Sync>"
}

// sync sends a Sync of one collection and gives its Collection.
func (p *testPhone) sync(t *testing.T, key, id, inner string) *wbxml.Node {
	t.Helper()
	out := p.must(t, "Sync", collectionText(key, id, inner))
	return out.Child(wbxml.AirSyncCollections, wbxml.AirSyncCollection)
}

// prime begins a collection and gives its first key.
func (p *testPhone) prime(t *testing.T, id string) string {
	t.Helper()
	return p.sync(t, "0", id, "").Get(wbxml.AirSyncSyncKey)
}

func init() {
	// The seed is enough to repeat a failure.
	_ = goflag.Set("rapid.nofailfile", "true")
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func testServer(t testing.TB) (*memory, *Server) {
	m := newMemory()
	s := New(m, m, m, Options{Log: quiet()})
	t.Cleanup(s.Stop)
	return m, s
}

func plainMail(subject string) string {
	return strings.Join([]string{
		"From: Bob <bob@example.org>", "To: Ann <ann@example.test>", "Subject: " + subject,
		"Message-ID: <" + strings.ReplaceAll(subject, " ", ".") + "@example.org>", "Date: Mon, 2 Mar 2026 10:00:00 +0000", "", "Hello " + subject, "",
	}, "\n")
}

// annPrincipal is the one who signs in.
var annPrincipal = directory.Principal{ID: 1, Mailbox: 7, Address: "ann@example.test", Name: "Ann Miller"}
