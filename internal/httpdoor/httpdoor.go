// Package httpdoor is what the doors over HTTP read alike of a request: whose it is,
// and what it shows to sign in.
package httpdoor

import (
	"net/http"
	"net/netip"
	"strings"
	"unicode/utf8"
)

// Peer is the address at the other end of the connection; not valid when it is no
// address.
func Peer(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// Basic gives the credentials of Basic sign-in (RFC 7617). Few clients say their
// charset: it is UTF-8 as section 2.1 asks for where it can be, else ISO 8859-1, as
// desktop Outlook sends it.
func Basic(r *http.Request) (user, password string, ok bool) {
	user, password, ok = r.BasicAuth()
	return text(user), text(password), ok
}

func text(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	latin := make([]rune, 0, len(s))
	for _, b := range []byte(s) {
		latin = append(latin, rune(b))
	}
	return string(latin)
}

// Bearer gives the access token (RFC 6750 section 2.1).
func Bearer(r *http.Request) (token string, ok bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "Bearer")
}
