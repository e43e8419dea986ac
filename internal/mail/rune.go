package mail

import "unicode/utf8"

// CutRune gives the length of an unfinished rune at the end of b: what whoever reads
// text in pieces keeps for the next one.
func CutRune(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if c := b[len(b)-n]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(b[len(b)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}
