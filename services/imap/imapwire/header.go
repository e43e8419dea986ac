package imapwire

import (
	"mime"
	"strings"
	"unicode/utf8"
)

// EncodeHeader turns header text into what a client without UTF-8 understands:
// ASCII stays, anything else becomes RFC 2047 encoded words. Line ends, which
// listing text should not have, become spaces.
func EncodeHeader(s string) string {
	ascii, broken := true, false
	for i := range len(s) {
		switch c := s[i]; {
		case c >= utf8.RuneSelf:
			ascii = false
		case c == '\r' || c == '\n' || c == 0:
			broken = true
		}
	}
	if broken {
		s = strings.Map(func(r rune) rune {
			if r == '\r' || r == '\n' || r == 0 {
				return ' '
			}
			return r
		}, s)
	}
	if ascii {
		return s
	}
	// Base64 is shorter as soon as a third of the bytes are not ASCII.
	other := 0
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			other++
		}
	}
	if other*3 > len(s) {
		return mime.BEncoding.Encode("utf-8", s)
	}
	return mime.QEncoding.Encode("utf-8", s)
}
