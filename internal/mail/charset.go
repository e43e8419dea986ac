package mail

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
	"golang.org/x/text/transform"
)

// aliases are the charsets whose names the indexes lack, or know as something
// narrower than what writers mean.
var aliases = map[string]encoding.Encoding{
	"utf-7": utf7{}, "utf7": utf7{}, "unicode-1-1-utf-7": utf7{}, "x-unicode-1-1-utf-7": utf7{}, "csunicode11utf7": utf7{},
	"iso-8859-1": charmap.Windows1252, "latin1": charmap.Windows1252, "latin-1": charmap.Windows1252,
	"iso8859-1": charmap.Windows1252, "iso_8859-1": charmap.Windows1252, "8859-1": charmap.Windows1252,
	"cp1252": charmap.Windows1252, "ansi": charmap.Windows1252, "iso-8859-8-i": charmap.ISO8859_8, "iso-8859-8-e": charmap.ISO8859_8,
	"437": charmap.CodePage437, "cp437": charmap.CodePage437, "cp-437": charmap.CodePage437,
	"850": charmap.CodePage850, "cp850": charmap.CodePage850, "cp-850": charmap.CodePage850,
	"cp852": charmap.CodePage852, "cp866": charmap.CodePage866, "cp-866": charmap.CodePage866,
	"cp1250": charmap.Windows1250, "cp1251": charmap.Windows1251, "cp-1251": charmap.Windows1251,
	"gb2312": simplifiedchinese.GB18030, "gbk": simplifiedchinese.GB18030, "cp936": simplifiedchinese.GB18030,
	"x-gbk": simplifiedchinese.GB18030, "hz-gb-2312": simplifiedchinese.HZGB2312,
	"ks_c_5601-1987": korean.EUCKR, "cp949": korean.EUCKR, "x-windows-949": korean.EUCKR,
	"cp932": japanese.ShiftJIS, "sjis": japanese.ShiftJIS, "shift-jis": japanese.ShiftJIS, "windows-31j": japanese.ShiftJIS,
	"iso-2022-jp": japanese.ISO2022JP, "iso-2022-jp-1": japanese.ISO2022JP, "iso-2022-jp-2": japanese.ISO2022JP,
	"iso-2022-jp-ms": japanese.ISO2022JP, "cp50220": japanese.ISO2022JP, "cp50221": japanese.ISO2022JP,
	"eucjp": japanese.EUCJP, "euckr": korean.EUCKR,
	"utf-16":   unicode.UTF16(unicode.LittleEndian, unicode.UseBOM),
	"utf-16le": unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM),
	"utf-16be": unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM),
	"utf-32":   utf32.UTF32(utf32.BigEndian, utf32.UseBOM),
	"utf-32le": utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM),
	"utf-32be": utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM),
}

// undeclared are names that say nothing.
var undeclared = map[string]bool{
	"": true, "us-ascii": true, "ascii": true, "usascii": true, "ansi_x3.4-1968": true, "iso646-us": true,
	"unknown-8bit": true, "x-unknown": true, "unknown": true, "default": true, "8bit": true, "7bit": true,
	"binary": true, "none": true, "user-defined": true, "x-user-defined": true, "_autodetect": true,
}

var utf8Names = map[string]bool{"utf-8": true, "utf8": true, "unicode-1-1-utf-8": true, "utf-8-purple": true, "cp65001": true, "x-utf_8j": true}

// lookupCharset finds an encoding by the name a message gives. It is nil when
// the text is to be taken as UTF-8 or guessed at: known says which.
func lookupCharset(name string) (enc encoding.Encoding, isUTF8 bool) {
	name = strings.ToLower(strings.Trim(name, " \t\"'"))
	switch {
	case undeclared[name]:
		return nil, false
	case utf8Names[name]:
		return nil, true
	}
	if e, ok := aliases[name]; ok {
		return e, false
	}
	tries := [...]string{name, strings.ReplaceAll(name, "_", "-")}
	for _, n := range tries {
		if e, err := htmlindex.Get(n); err == nil && e != nil && e != encoding.Replacement {
			if e == unicode.UTF8 {
				return nil, true
			}
			return e, false
		}
	}
	if e, err := htmlindex.Get("windows-" + strings.TrimPrefix(strings.TrimPrefix(name, "cp"), "-")); err == nil {
		return e, false
	}
	if e, err := ianaindex.MIME.Encoding(name); err == nil && e != nil {
		return e, false
	}
	return nil, false
}

// decodeCharset makes text of raw bytes; it is best effort and never fails.
func decodeCharset(raw []byte, name string) string {
	enc, isUTF8 := lookupCharset(name)
	switch {
	case isUTF8:
		if utf8.Valid(raw) {
			return string(raw)
		}
		return mixed(raw, plausibleUTF8(raw))
	case enc == nil:
		return guess(raw, "")
	}
	out, err := enc.NewDecoder().Bytes(raw)
	if err != nil {
		return guess(raw, "")
	}
	return string(out)
}

// guess makes text of bytes whose charset nobody declared: UTF-8 if they are
// valid as that, ISO-2022-JP if they switch to it, the charset that is hinted
// at, or else what guessLegacy says.
func guess(raw []byte, hint string) string {
	if bytes.Contains(raw, []byte("\x1b$")) {
		if out, err := japanese.ISO2022JP.NewDecoder().Bytes(raw); err == nil {
			return string(out)
		}
	}
	if utf8.Valid(raw) {
		return string(raw)
	}
	if enc, isUTF8 := lookupCharset(hint); enc != nil {
		if out, err := enc.NewDecoder().Bytes(raw); err == nil && !bytes.ContainsRune(out, utf8.RuneError) {
			return string(out)
		}
	} else if isUTF8 {
		return mixed(raw, plausibleUTF8(raw))
	}
	if plausibleUTF8(raw) {
		return mixed(raw, true)
	}
	out, _ := guessLegacy(raw).NewDecoder().Bytes(raw)
	return string(out)
}

// guessLegacy chooses the charset of 8-bit bytes that are not UTF-8. Japanese
// is told by its kana, of which any text has many and no other charset makes
// such pairs of bytes; all else is taken as windows-1252.
func guessLegacy(raw []byte) encoding.Encoding {
	for _, enc := range [...]encoding.Encoding{japanese.ShiftJIS, japanese.EUCJP} {
		out, err := enc.NewDecoder().Bytes(raw)
		if err != nil {
			continue
		}
		kana, other, bad := 0, 0, 0
		for _, r := range string(out) {
			switch {
			case r == utf8.RuneError:
				bad++
			case r >= 0x3040 && r <= 0x30ff:
				kana++
			case r >= utf8.RuneSelf:
				other++
			}
		}
		if kana >= 3 && kana*4 >= other && (bad <= 1 || bad*20 <= kana) {
			return enc
		}
	}
	return charmap.Windows1252
}

// plausibleUTF8 says whether invalid UTF-8 was meant to be UTF-8 all the same:
// most of its sequences are right.
func plausibleUTF8(b []byte) bool {
	good, bad := 0, 0
	for len(b) > 0 {
		if b[0] < utf8.RuneSelf {
			b = b[1:]
			continue
		}
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n <= 1 {
			bad++
		} else {
			good++
		}
		b = b[n:]
	}
	return good > 0 && good >= bad
}

// mixed takes b as UTF-8 with the invalid bytes replaced, or else as windows-1252.
func mixed(b []byte, isUTF8 bool) string {
	if isUTF8 {
		return strings.ToValidUTF8(string(b), string(utf8.RuneError))
	}
	out, _ := charmap.Windows1252.NewDecoder().Bytes(b)
	return string(out)
}

// cleanLine makes s fit for a line of text: valid UTF-8, control characters
// and line ends replaced by spaces. Text that is fine is returned as it is.
func cleanLine(s string) string {
	ok := true
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= 0x7f {
			ok = false
			break
		}
	}
	if ok {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for _, r := range s {
		switch {
		case r == 0, r == 0xfffe, r == 0xffff:
		case r < ' ' || r == 0x7f:
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// cleaner is a transformer that makes text valid UTF-8 without the characters
// that XML 1.0 forbids; a form feed becomes a space.
type cleaner struct{ transform.NopResetter }

func (cleaner) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		c := src[nSrc]
		if c < utf8.RuneSelf {
			if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
				if c != '\f' && c != '\v' {
					nSrc++
					continue
				}
				c = ' '
			}
			if nDst == len(dst) {
				return nDst, nSrc, transform.ErrShortDst
			}
			dst[nDst] = c
			nDst++
			nSrc++
			continue
		}
		if !atEOF && !utf8.FullRune(src[nSrc:]) {
			return nDst, nSrc, transform.ErrShortSrc
		}
		r, n := utf8.DecodeRune(src[nSrc:])
		if r == 0xfffe || r == 0xffff {
			nSrc += n
			continue
		}
		if nDst+utf8.RuneLen(r) > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += utf8.EncodeRune(dst[nDst:], r)
		nSrc += n
	}
	return nDst, nSrc, nil
}
