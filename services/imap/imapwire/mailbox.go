package imapwire

import (
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Mailbox reads a mailbox name as UTF-8. INBOX in any case is "INBOX"
// (RFC 9051 section 5.1).
func (d *Decoder) Mailbox() string {
	name := d.decodeMailbox(d.AString())
	if strings.EqualFold(name, "INBOX") {
		return "INBOX"
	}
	return name
}

func (d *Decoder) decodeMailbox(s string) string {
	if d.err != nil {
		return ""
	}
	if !utf8.ValidString(s) {
		d.Fail("mailbox name is not UTF-8")
		return ""
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			d.Fail("control character in a mailbox name")
			return ""
		}
	}
	if d.UTF8 || !strings.Contains(s, "&") {
		return s
	}
	name, err := DecodeUTF7(s)
	if err != nil {
		d.Fail("mailbox name is not modified UTF-7")
		return ""
	}
	return name
}

// base64 with "," for "/" and no padding (RFC 3501 section 5.1.3).
var utf7Encoding = base64.NewEncoding(
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

var errUTF7 = errors.New("malformed modified UTF-7")

// DecodeUTF7 turns modified UTF-7 (RFC 3501 section 5.1.3) into UTF-8. It
// demands the one canonical form, so that a mailbox has one name.
func DecodeUTF7(s string) (string, error) {
	if strings.IndexByte(s, '&') < 0 {
		return s, nil
	}
	var b strings.Builder
	shifted := false // the previous run was base64: two must not touch
	for len(s) > 0 {
		if s[0] != '&' {
			b.WriteByte(s[0])
			s, shifted = s[1:], false
			continue
		}
		end := strings.IndexByte(s, '-')
		if end < 0 {
			return "", errUTF7
		}
		run := s[1:end]
		s = s[end+1:]
		if run == "" {
			b.WriteByte('&')
			shifted = false
			continue
		}
		raw, err := utf7Encoding.Strict().DecodeString(run)
		if err != nil || len(raw)%2 != 0 || shifted {
			return "", errUTF7
		}
		shifted = true
		units := make([]uint16, len(raw)/2)
		for i := range units {
			units[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
		}
		for i := 0; i < len(units); i++ {
			r := rune(units[i])
			if utf16.IsSurrogate(r) {
				if i+1 == len(units) {
					return "", errUTF7
				}
				i++
				if r = utf16.DecodeRune(r, rune(units[i])); r == utf8.RuneError {
					return "", errUTF7
				}
			}
			if r <= 0x7f { // ASCII represents itself; controls are in no name
				return "", errUTF7
			}
			b.WriteRune(r)
		}
	}
	return b.String(), nil
}

// AppendUTF7 appends the modified UTF-7 form of a name.
func AppendUTF7(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c == '&' {
			dst = append(dst, '&', '-')
			i++
			continue
		}
		if c >= 0x20 && c < 0x7f {
			dst = append(dst, c)
			i++
			continue
		}
		var raw []byte
		for i < len(s) && (s[i] < 0x20 || s[i] >= 0x7f) {
			r, n := utf8.DecodeRuneInString(s[i:])
			i += n
			for _, u := range utf16.AppendRune(nil, r) {
				raw = append(raw, byte(u>>8), byte(u))
			}
		}
		dst = append(dst, '&')
		dst = utf7Encoding.AppendEncode(dst, raw)
		dst = append(dst, '-')
	}
	return dst
}
