package mail

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// DecodeHeader turns the value of an unstructured field into text: encoded
// words are decoded (RFC 2047), also where writers broke its rules, and line
// ends and control characters become spaces. Neighbouring words in one charset
// are joined before the charset is applied, for those who cut characters in two.
func DecodeHeader(s string) string {
	if !strings.Contains(s, "=?") {
		return cleanLine(s)
	}
	var out strings.Builder
	var run []byte // bytes of the encoded words in a row
	charset := ""
	flush := func() {
		if len(run) > 0 {
			out.WriteString(decodeCharset(run, charset))
			run = run[:0]
		}
	}
	after := false // an encoded word came before, and only white space since
	gap := 0
	end := 0 // where the next "?=" is, so that each is searched for once
	for i := 0; i < len(s); {
		if s[i] == '=' && i+1 < len(s) && s[i+1] == '?' {
			if cs, data, n, ok := encodedWord(s, i, &end); ok {
				if after && !strings.EqualFold(cs, charset) {
					flush()
				}
				charset = cs
				if data != nil {
					run = append(run, data...)
				} else {
					flush()
					out.WriteString(decodeMixedQ(s[i:i+n], cs))
				}
				i += n
				gap = i
				after = true
				continue
			}
		}
		if after {
			if c := s[i]; c == ' ' || c == '\t' || c == '\r' || c == '\n' {
				i++
				continue
			}
			flush()
			after = false
			out.WriteString(s[gap:i])
		}
		out.WriteByte(s[i])
		i++
	}
	flush()
	return strings.TrimSpace(cleanLine(out.String()))
}

// encodedWord reads the encoded word in s at i, where there is "=?", and gives
// its bytes before the charset is applied and its length. The bytes are nil when
// it holds characters that are no longer encoded. next is where "?=" was found
// last; it only moves forward.
func encodedWord(s string, i int, next *int) (charset string, data []byte, n int, ok bool) {
	body := s[i+2:]
	charset, rest, found := strings.Cut(body, "?")
	if !found || charset == "" || len(rest) < 3 || rest[1] != '?' {
		return "", nil, 0, false
	}
	charset, _, _ = strings.Cut(charset, "*") // RFC 2231 section 5: a language
	if !isToken(charset) {
		return "", nil, 0, false
	}
	enc := rest[0]
	text := rest[2:]
	start := len(s) - len(text)
	if *next < start {
		if k := strings.Index(text, "?="); k >= 0 {
			*next = start + k
		} else {
			*next = len(s)
		}
	}
	if *next == len(s) {
		return "", nil, 0, false
	}
	text = s[start:*next]
	n = *next + 2 - i
	switch enc {
	case 'q', 'Q':
		if strings.IndexFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
			return charset, nil, n, true
		}
		data = decodeQ(text)
	case 'b', 'B':
		data = decodeB(text)
	default:
		return "", nil, 0, false
	}
	return charset, data, n, true
}

// decodeMixedQ reads a Q-encoded word in which some characters stand as they
// are. They were made UTF-8 with the rest of the header.
func decodeMixedQ(word, charset string) string {
	_, text, _ := strings.Cut(word[2:len(word)-2], "?")
	text = text[2:]
	var b strings.Builder
	for len(text) > 0 {
		n := 0
		for n < len(text) && text[n] < utf8.RuneSelf {
			n++
		}
		b.WriteString(decodeCharset(decodeQ(text[:n]), charset))
		text = text[n:]
		for n = 0; n < len(text) && text[n] >= utf8.RuneSelf; n++ {
		}
		b.WriteString(text[:n])
		text = text[n:]
	}
	return b.String()
}

func decodeQ(s string) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '_':
			out = append(out, ' ')
		case c == '=' && i+2 < len(s):
			h, ok1 := hexDigit(s[i+1])
			l, ok2 := hexDigit(s[i+2])
			if ok1 && ok2 {
				out = append(out, h<<4|l)
				i += 2
			} else {
				out = append(out, c)
			}
		default:
			out = append(out, c)
		}
	}
	return out
}

func decodeB(s string) []byte {
	clean := make([]byte, 0, len(s))
	for i := range len(s) {
		if base64Value[s[i]] < 64 {
			clean = append(clean, s[i])
		}
	}
	if len(clean)%4 == 1 {
		clean = clean[:len(clean)-1]
	}
	out := make([]byte, len(clean)/4*3+2)
	n, _ := base64.RawStdEncoding.Decode(out, clean)
	return out[:n]
}

// EncodeWord makes s fit for a place in a header that wants ASCII: unchanged
// when it is, otherwise as encoded words in UTF-8, separated by single spaces.
func EncodeWord(s string) string {
	s = cleanLine(s)
	ascii := !strings.Contains(s, "=?")
	for i := 0; i < len(s) && ascii; i++ {
		ascii = s[i] >= ' ' && s[i] < 0x7f
	}
	if ascii {
		return s
	}
	q := 0
	for i := range len(s) {
		if safeQ(s[i]) {
			q++
		} else {
			q += 3
		}
	}
	var b strings.Builder
	base := q > (len(s)+2)/3*6
	for s != "" {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		n := 0 // bytes of s for this word, whole characters
		for used := 0; n < len(s); {
			_, w := utf8.DecodeRuneInString(s[n:])
			switch {
			case base:
				used = (n + w + 2) / 3 * 4
			case safeQ(s[n]):
				used++
			default:
				used += 3 * w
			}
			if used > maxWord && n > 0 {
				break
			}
			n += w
		}
		if base {
			b.WriteString("=?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte(s[:n])))
		} else {
			b.WriteString("=?utf-8?q?")
			for i := range n {
				switch c := s[i]; {
				case c == ' ':
					b.WriteByte('_')
				case safeQ(c):
					b.WriteByte(c)
				default:
					b.WriteByte('=')
					b.WriteByte("0123456789ABCDEF"[c>>4])
					b.WriteByte("0123456789ABCDEF"[c&15])
				}
			}
		}
		b.WriteString("?=")
		s = s[n:]
	}
	return b.String()
}

// maxWord is the length of the text of an encoded word, such that a line with
// the name of a usual field and one word keeps to 76 columns (RFC 2047 section 2).
const maxWord = 64 - len("=?utf-8?q??=")

// safeQ says whether the Q encoding leaves c, or for the space its underscore,
// as it is, in a phrase too (RFC 2047 section 5, rule 3).
func safeQ(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == ' ' || c == '!' || c == '*' || c == '+' || c == '-' || c == '/'
}

// EncodeHeader makes one whole header field, with its line end, from a name
// and text in UTF-8: encoded where needed (RFC 2047) and folded at 78 columns
// where there is white space to fold at.
func EncodeHeader(name, text string) string {
	return FoldHeader(name, EncodeWord(text))
}

// FoldHeader writes a field whose value is already in its encoded form, folded
// at 78 columns (RFC 5322 section 2.2.3).
func FoldHeader(name, value string) string {
	var b strings.Builder
	b.WriteString(name)
	b.WriteByte(':')
	col := len(name) + 1
	value = cleanLine(value)
	for len(value) > 0 {
		// The next word with the white space before it.
		n := 0
		for n < len(value) && value[n] == ' ' {
			n++
		}
		for n < len(value) && value[n] != ' ' {
			n++
		}
		word := value[:n]
		value = value[n:]
		if word[0] != ' ' {
			word = " " + word
		}
		if strings.TrimLeft(word, " ") == "" {
			break // trailing white space
		}
		if col+len(word) > 78 && col > len(name)+1 {
			b.WriteString("\r\n")
			col = 0
		}
		b.WriteString(word)
		col += len(word)
	}
	b.WriteString("\r\n")
	return b.String()
}

// FormatAddress is a in the form that a header wants: ASCII except for an
// address that is itself internationalised.
func FormatAddress(a Address) string {
	name := a.Name
	if a.IsGroupStart() {
		name = a.Mailbox
	}
	if enc := EncodeWord(name); enc != name {
		name = enc
	} else {
		name = quotePhrase(name)
	}
	switch {
	case a.IsGroupStart():
		return name + ":"
	case a.IsGroupEnd():
		return ";"
	case a.Name == "":
		return a.Addr()
	}
	return name + " <" + a.Addr() + ">"
}

// FormatAddresses is a whole list in the form that a header wants.
func FormatAddresses(list []Address) string {
	var b strings.Builder
	comma := false
	for _, a := range list {
		switch {
		case a.IsGroupEnd():
			comma = true
		case comma:
			b.WriteString(", ")
		case b.Len() > 0:
			b.WriteByte(' ')
		}
		b.WriteString(FormatAddress(a))
		comma = !a.IsGroupStart()
	}
	return b.String()
}
