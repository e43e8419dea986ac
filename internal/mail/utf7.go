package mail

import (
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/transform"
)

// utf7 is the encoding of RFC 2152, for reading only. Ill-formed input is taken
// literally as far as it goes.
type utf7 struct{}

func (utf7) NewDecoder() *encoding.Decoder { return &encoding.Decoder{Transformer: &utf7Decoder{}} }
func (utf7) NewEncoder() *encoding.Encoder { return encoding.Replacement.NewEncoder() }

type utf7Decoder struct {
	shifted bool
	empty   bool // nothing since the shift
	bits    uint32
	n       uint
	high    rune // a high surrogate waiting for its second half
}

func (d *utf7Decoder) Reset() { *d = utf7Decoder{} }

func (d *utf7Decoder) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	put := func(r rune) { nDst += utf8.EncodeRune(dst[nDst:], r) }
	for nSrc < len(src) {
		if len(dst)-nDst < 2*utf8.UTFMax {
			return nDst, nSrc, transform.ErrShortDst
		}
		c := src[nSrc]
		nSrc++
		if !d.shifted {
			if c == '+' {
				*d = utf7Decoder{shifted: true, empty: true}
			} else if c < utf8.RuneSelf {
				dst[nDst] = c
				nDst++
			} else {
				put(utf8.RuneError)
			}
			continue
		}
		if v := base64Value[c]; v < 64 {
			d.empty = false
			d.bits = d.bits<<6 | uint32(v)
			d.n += 6
			if d.n >= 16 {
				d.n -= 16
				r := rune(d.bits >> d.n & 0xffff)
				switch {
				case d.high != 0:
					if p := utf16.DecodeRune(d.high, r); p != utf8.RuneError {
						put(p)
					} else {
						put(utf8.RuneError)
						if !utf16.IsSurrogate(r) {
							put(r)
						}
					}
					d.high = 0
				case utf16.IsSurrogate(r):
					d.high = r
				default:
					put(r)
				}
			}
			continue
		}
		d.shifted = false
		if d.high != 0 {
			put(utf8.RuneError)
		}
		switch {
		case d.empty && c == '-':
			put('+')
		case d.empty:
			put('+')
			nSrc--
		case c != '-':
			nSrc--
		}
		d.high = 0
	}
	if atEOF && d.shifted {
		if d.empty {
			if len(dst)-nDst < 1 {
				return nDst, nSrc, transform.ErrShortDst
			}
			put('+')
		}
		d.shifted = false
	}
	return nDst, nSrc, nil
}
