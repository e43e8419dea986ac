package httpdoor

import (
	"encoding/base64"
	"net/http"
	"testing"
)

func TestCredentials(t *testing.T) {
	for _, tt := range []struct {
		header, user, password, token string
	}{
		{"Basic " + base64.StdEncoding.EncodeToString([]byte("jörg:grün:x")), "jörg", "grün:x", ""},
		{"basic " + base64.StdEncoding.EncodeToString([]byte("j\xf6rg:gr\xfcn")), "jörg", "grün", ""},
		{"BEARER  abc ", "", "", "abc"},
		{"Bearer", "", "", ""},
		{"", "", "", ""},
	} {
		r := &http.Request{Header: http.Header{"Authorization": {tt.header}}}
		user, password, basic := Basic(r)
		token, bearer := Bearer(r)
		if user != tt.user || password != tt.password || basic != (tt.user != "") || bearer != (tt.token != "") || bearer && token != tt.token {
			t.Errorf("%q: %q %q %v, %q %v", tt.header, user, password, basic, token, bearer)
		}
	}
}

func TestPeer(t *testing.T) {
	for addr, want := range map[string]string{"192.0.2.1:5": "192.0.2.1", "[::ffff:192.0.2.1]:5": "192.0.2.1", "[2001:db8::1]:5": "2001:db8::1", "@": "invalid IP"} {
		if got := Peer(&http.Request{RemoteAddr: addr}).String(); got != want {
			t.Errorf("%s: %s", addr, got)
		}
	}
}
