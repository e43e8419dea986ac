package mail

import (
	"sort"
	"strconv"
	"strings"
)

// charSet is a set of bytes.
type charSet [256]bool

// setOf makes the set of the bytes from ' '+1 to last without those in except.
func setOf(last byte, except string) (t charSet) {
	for c := int(' ') + 1; c <= int(last); c++ {
		t[c] = c != 0x7f && strings.IndexByte(except, byte(c)) < 0
	}
	return t
}

var (
	tokenChars = setOf(0x7e, `()<>@,;:\"/[]?=`) // RFC 2045 section 5.1
	atomChars  = setOf(0xff, `()<>[]:;@\,."`)   // RFC 5322 section 3.2.3, RFC 6532 section 3.2
	wordChars  = setOf(0xff, `(),;:<>"@`)       // what an address parser takes in one go
)

func isToken(s string) bool {
	for i := range len(s) {
		if !tokenChars[s[i]] {
			return false
		}
	}
	return s != ""
}

// skipCFWS skips white space and comments (RFC 5322 section 3.2.2).
func skipCFWS(s string, i int) int {
	for i < len(s) {
		switch s[i] {
		case ' ', '\t', '\r', '\n':
			i++
		case '(':
			_, i = comment(s, i)
		default:
			return i
		}
	}
	return i
}

// comment reads a comment that begins at i and returns its inside and the index after it.
func comment(s string, i int) (string, int) {
	depth := 0
	start := i + 1
	for ; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			depth--
			if depth == 0 {
				return s[start:i], i + 1
			}
		}
	}
	return s[min(start, len(s)):], len(s)
}

// quoted reads a quoted string that begins at i, without its quotes, and the
// index after it. An unfinished one goes to the end.
func quoted(s string, i int) (string, int) {
	i++
	start := i
	for ; i < len(s); i++ {
		switch s[i] {
		case '"':
			return s[start:i], i + 1
		case '\\':
			goto slow
		}
	}
	return s[start:], len(s)
slow:
	var b strings.Builder
	b.WriteString(s[start:i])
	for ; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), i + 1
		case '\\':
			if i+1 < len(s) {
				i++
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), len(s)
}

// mimeValue reads a field such as Content-Type (RFC 2045 section 5.1): the
// value in lower case, and its parameters with RFC 2231 continuations and
// charsets resolved, and encoded words decoded though no standard allows them
// there. It takes what broken writers make of it: unquoted values with spaces,
// missing semicolons and quotes.
func mimeValue(s string) (string, map[string]string) {
	i := skipCFWS(s, 0)
	start := i
	for i < len(s) && s[i] != ';' && s[i] != '(' {
		i++
	}
	if eq := strings.IndexByte(s[start:i], '='); eq > 0 {
		if sp := strings.IndexAny(s[start:start+eq], " \t\r\n"); sp > 0 {
			i = start + sp // "text/plain charset=utf-8": a missing semicolon
		}
	}
	value := strings.ToLower(cleanLine(s[start:i]))
	i = skipCFWS(s, i)
	var params map[string]string
	var extended []extParam
	for i < len(s) && len(params)+len(extended) < maxParams {
		if s[i] == ';' {
			i = skipCFWS(s, i+1)
			continue
		}
		start = i
		for i < len(s) && s[i] != '=' && s[i] != ';' {
			i++
		}
		name := strings.ToLower(strings.TrimSpace(s[start:i]))
		if i == len(s) || s[i] == ';' {
			continue // no value: nothing to keep
		}
		i = skipCFWS(s, i+1)
		var v string
		isQuoted := i < len(s) && s[i] == '"'
		if isQuoted {
			v, i = quoted(s, i)
		} else {
			start = i
			for i < len(s) && s[i] != ';' && s[i] != '"' {
				i++
			}
			v = s[start:i]
			if p := strings.Index(v, " ("); p >= 0 {
				v = v[:p] // a comment
			}
			v = strings.TrimSpace(v)
		}
		i = skipCFWS(s, i)
		v = cutString(v, maxParam)
		if !isToken(name) {
			if f := strings.Fields(name); len(f) > 0 && isToken(f[len(f)-1]) {
				name = f[len(f)-1] // a missing semicolon
			} else {
				continue
			}
		}
		if base, rest, ok := strings.Cut(name, "*"); ok {
			if e, ok := newExtParam(base, rest, v); ok {
				extended = append(extended, e)
				continue
			}
		}
		if params == nil {
			params = make(map[string]string, 2)
		}
		if _, dup := params[name]; dup {
			continue
		}
		if strings.Contains(v, "=?") {
			v = DecodeHeader(v)
		}
		params[name] = cleanLine(v)
	}
	if len(extended) > 0 {
		if params == nil {
			params = make(map[string]string, 2)
		}
		joinExtended(params, extended)
	}
	return value, params
}

// extParam is one piece of a parameter after RFC 2231.
type extParam struct {
	name    string
	part    int // section 3; 0 also for a parameter in one piece
	encoded bool
	value   string
}

func newExtParam(name, rest, v string) (extParam, bool) {
	e := extParam{name: name, value: v}
	if rest == "" {
		e.encoded = true
		return e, name != ""
	}
	if r, ok := strings.CutSuffix(rest, "*"); ok {
		e.encoded, rest = true, r
	}
	n, err := strconv.Atoi(rest)
	if err != nil || n < 0 || name == "" {
		return e, false
	}
	e.part = n
	return e, true
}

func joinExtended(params map[string]string, list []extParam) {
	sort.SliceStable(list, func(i, j int) bool {
		if list[i].name != list[j].name {
			return list[i].name < list[j].name
		}
		return list[i].part < list[j].part
	})
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].name == list[0].name {
			n++
		}
		charset := ""
		var raw []byte
		last := -1
		for i, e := range list[:n] {
			if e.part == last {
				continue // the first of two pieces with one number counts
			}
			last = e.part
			v := e.value
			if i == 0 && e.encoded {
				if p := strings.SplitN(v, "'", 3); len(p) == 3 {
					charset, v = p[0], p[2]
				}
			}
			if e.encoded {
				raw = append(raw, unpercent(v)...)
			} else {
				raw = append(raw, v...)
			}
		}
		var s string
		if charset == "" {
			s = guess(raw, "")
			if strings.Contains(s, "=?") {
				s = DecodeHeader(s)
			}
		} else {
			s = decodeCharset(raw, charset)
		}
		// RFC 6266 style writers give both forms; the extended one is better.
		params[list[0].name] = cutString(cleanLine(s), maxParam)
		list = list[n:]
	}
}

func unpercent(s string) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			h, ok1 := hexDigit(s[i+1])
			l, ok2 := hexDigit(s[i+2])
			if ok1 && ok2 {
				out = append(out, h<<4|l)
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return out
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
