package wbxml

import (
	"strings"
	"unicode/utf8"
)

// legal tells whether XML 1.0 allows the character (XML 1.0 section 2.2).
func legal(r rune) bool {
	switch {
	case r >= 0x20:
		return r != 0xFFFE && r != 0xFFFF
	default:
		return r == '\t' || r == '\n' || r == '\r'
	}
}

// cleanLen is the length of b's beginning that needs no cleaning.
func cleanLen[T ~string | ~[]byte](b T) int {
	for i := 0; i < len(b); {
		if c := b[i]; c < utf8.RuneSelf {
			if !legal(rune(c)) {
				return i
			}
			i++
			continue
		}
		r, n := decodeRune(b[i:])
		if r == utf8.RuneError && n == 1 || !legal(r) {
			return i
		}
		i += n
	}
	return len(b)
}

func decodeRune[T ~string | ~[]byte](b T) (rune, int) {
	return utf8.DecodeRuneInString(string(b[:min(len(b), utf8.UTFMax)]))
}

// clean gives b as text that may travel: without NUL and the other characters
// that XML forbids, and with U+FFFD for each byte that is no UTF-8.
func clean[T ~string | ~[]byte](b T) string {
	i := cleanLen(b)
	if i == len(b) {
		return string(b)
	}
	var s strings.Builder
	s.Grow(len(b))
	for {
		s.WriteString(string(b[:i]))
		if b = b[i:]; len(b) == 0 {
			return s.String()
		}
		r, n := decodeRune(b)
		if r == utf8.RuneError && n == 1 {
			s.WriteRune(utf8.RuneError)
		}
		b = b[n:]
		i = cleanLen(b)
	}
}
