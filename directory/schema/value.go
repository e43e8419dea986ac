package schema

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
	"golang.org/x/text/unicode/norm"

	"waypost/internal/fault"
)

// Validate tells whether value is one of the syntax (RFC 4517 §3.3, MS-ADTS
// 3.1.1.2.2.4). Names of objects are only looked at by package tree.
func (s Syntax) Validate(value string) error {
	t := &syntaxTable[s]
	ok := true
	switch t.form {
	case textFolded, textIgnore:
		// RFC 4517 §3.3.6: a Directory String is UTF-8 and not empty.
		ok = value != "" && utf8.ValidString(value) && strings.IndexByte(value, 0) < 0
	case textExact:
		ok = value != "" && strings.IndexByte(value, 0) < 0
		switch s {
		case IA5:
			ok = ok && !strings.ContainsFunc(value, func(r rune) bool { return r >= utf8.RuneSelf })
		case Printable:
			ok = ok && !strings.ContainsFunc(value, func(r rune) bool { return !printable(r) })
		default:
			ok = ok && utf8.ValidString(value)
		}
	case digits:
		ok = value != "" && strings.Trim(value, "0123456789 ") == ""
	case truth:
		ok = value == "TRUE" || value == "FALSE" // RFC 4517 §3.3.3
	case number32:
		_, err := strconv.ParseInt(value, 10, 32)
		ok = err == nil && value[0] != '+'
	case number64:
		_, err := strconv.ParseInt(value, 10, 64)
		ok = err == nil && value[0] != '+'
	case sid:
		ok = validSid(value)
	case name:
		ok = validName(value) || validOID(value)
	case instant:
		_, ok = s.time(value)
	case uuid:
		_, ok = parseUUID(value)
	case dn:
		ok = utf8.ValidString(value)
	case dnData:
		_, _, ok = SplitDNData(value)
	case octets:
	}
	if !ok {
		return fault.New(fault.Invalid, "not a value of %s", t.desc)
	}
	return nil
}

// Check tells whether value may be one of the attribute: its syntax and its
// bounds (rangeLower, rangeUpper). The fault is Invalid; TooLarge tells that
// only the bound was exceeded.
func (a *Attribute) Check(value string) error {
	if err := a.Syntax.Validate(value); err != nil {
		return fault.From(fault.Invalid, err, "%s: not a value of %s", a.Name, syntaxTable[a.Syntax].desc)
	}
	n := 0
	switch {
	case a.RangeLower == 0 && a.RangeUpper == 0:
		return nil
	case a.Syntax.Numbers():
		v, _ := strconv.ParseInt(value, 10, 64) // Validate has read it
		if v < int64(a.RangeLower) || (a.RangeUpper != 0 && v > int64(a.RangeUpper)) {
			return fault.New(fault.TooLarge, "%s: not between %d and %d", a.Name, a.RangeLower, a.RangeUpper)
		}
		return nil
	case a.Syntax.Binary():
		n = len(value)
	case a.Syntax.Text():
		n = utf8.RuneCountInString(value)
	default:
		return nil
	}
	if n < a.RangeLower || (a.RangeUpper != 0 && n > a.RangeUpper) {
		return fault.New(fault.TooLarge, "%s: length %d is not between %d and %d", a.Name, n, a.RangeLower, a.RangeUpper)
	}
	return nil
}

// Key is what values are compared by for equality: two values are equal when
// their keys are. A value that the syntax does not allow is its own key. Names
// of objects are only folded here; package tree reads them.
func (s Syntax) Key(value string) string {
	switch syntaxTable[s].form {
	case textFolded, dn:
		return FoldText(value)
	case textIgnore:
		return foldCase(value)
	case textExact:
		if value = seen(value); !visible(value) {
			value = norm.NFC.String(value)
		}
		return spaces(value)
	case digits:
		return strings.ReplaceAll(value, " ", "")
	case truth:
		return strings.ToUpper(value)
	case number32, number64:
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			return strconv.FormatInt(n, 10)
		}
	case name:
		return foldName(value)
	case instant:
		if at, ok := s.time(value); ok {
			return timeKey(at)
		}
	case uuid:
		if b, ok := parseUUID(value); ok {
			return string(b[:])
		}
	case octets, sid, dnData:
	}
	return value
}

// Order gives a key whose bytes sort as the values do; ok is false for values
// that have no order.
func (s Syntax) Order(value string) (key string, ok bool) {
	t := &syntaxTable[s]
	if t.order == "" {
		return "", false
	}
	switch t.form {
	case number32, number64:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return "", false
		}
		return orderInt(n), true
	case instant:
		at, ok := s.time(value)
		return timeKey(at), ok
	default:
		return s.Key(value), true
	}
}

// Assertion gives the key of what a client compares with, which may be written
// in more ways than a value: a SID as text, an objectGUID with hyphens. ok is
// false when no value can be meant; the assertion is then Undefined (RFC 4511
// §4.5.1.7).
func (a *Attribute) Assertion(value string) (key string, ok bool) {
	switch syntaxTable[a.Syntax].form {
	case sid:
		if b, ok := ParseSid(value); ok {
			return b, true
		}
		return value, true
	case octets:
		if a.RangeUpper == 16 && len(value) == 36 {
			if guid, ok := ParseGUID(value); ok {
				return string(guid[:]), true
			}
		}
		return value, true
	case truth:
		value = strings.ToUpper(value)
	case name:
		value = strings.TrimSpace(value)
	case textFolded, textIgnore, textExact, digits:
		// An assertion may be empty or longer than any value; it is text anyway.
		return a.Syntax.Key(value), utf8.ValidString(value)
	case number32:
		// Clients write groupType as unsigned, too; its bits are meant.
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && n > math.MaxInt32 && n <= math.MaxUint32 {
			value = strconv.FormatInt(n-1<<32, 10)
		}
	case number64, instant, uuid, dn, dnData:
	}
	if a.Syntax.Validate(value) != nil {
		return "", false
	}
	return a.Syntax.Key(value), true
}

// orderInt makes an integer's bytes sort as it does.
func orderInt(n int64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n)^1<<63)
	return string(b[:])
}

// timeKey is one form for all ways to write an instant; its bytes sort.
func timeKey(t time.Time) string { return t.UTC().Format("20060102150405.000000000") }

// time reads Generalized Time (RFC 4517 §3.3.13) and UTC Time (§3.3.34).
func (s Syntax) time(value string) (time.Time, bool) {
	if s == UTCTime && len(value) > 2 {
		if at, ok := utcTime(value); ok {
			return at, true
		}
	}
	return ParseTime(value)
}

func utcTime(value string) (time.Time, bool) {
	for _, layout := range []string{"060102150405Z0700", "0601021504Z0700"} {
		if at, err := time.Parse(layout, value); err == nil {
			return at.UTC(), true // Go's pivot 69 is X.680's for all dates of use
		}
	}
	return time.Time{}, false
}

// ParseTime reads a Generalized Time (RFC 4517 §3.3.13): hours are needed,
// minutes and seconds may be left out, with a fraction of the last one.
func ParseTime(value string) (time.Time, bool) {
	whole, rest := value, ""
	if i := strings.IndexFunc(value, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		whole, rest = value[:i], value[i:]
	}
	var layout string
	unit := time.Second
	switch len(whole) {
	case 10:
		layout, unit = "2006010215", time.Hour
	case 12:
		layout, unit = "200601021504", time.Minute
	case 14:
		layout = "20060102150405"
	default:
		return time.Time{}, false
	}
	var part time.Duration
	if rest != "" && (rest[0] == '.' || rest[0] == ',') {
		n := 1
		scale := float64(unit)
		sum := 0.0
		for ; n < len(rest) && rest[n] >= '0' && rest[n] <= '9'; n++ {
			scale /= 10
			sum += scale * float64(rest[n]-'0')
		}
		if n == 1 || n > 20 {
			return time.Time{}, false
		}
		part, rest = time.Duration(sum+0.5), rest[n:]
	}
	zone := time.UTC
	switch {
	case rest == "Z":
	case len(rest) == 5 || len(rest) == 3:
		at, err := time.Parse("-0700"[:len(rest)], rest)
		if err != nil {
			return time.Time{}, false
		}
		_, offset := at.Zone()
		zone = time.FixedZone("", offset)
	default:
		return time.Time{}, false
	}
	leap := time.Duration(0)
	if len(whole) == 14 && whole[12:] == "60" { // a leap second is the next one
		whole, leap = whole[:12]+"59", time.Second
	}
	at, err := time.ParseInLocation(layout, whole, zone)
	if err != nil {
		return time.Time{}, false
	}
	return at.Add(part + leap).UTC(), true
}

// FormatTime writes a Generalized Time as AD does: 20260101000000.0Z.
func FormatTime(t time.Time) string { return t.UTC().Format("20060102150405") + ".0Z" }

// FoldText is the key of text of String(Unicode): without case, accents and
// width, spaces as RFC 4518 §2.6.1 has them (none at the ends, runs are one).
func FoldText(value string) string {
	value = seen(value)
	if visible(value) {
		return spaces(strings.ToLower(value))
	}
	t := folders.Get().(transform.Transformer)
	out, _, err := transform.String(t, value) // begins with a Reset
	folders.Put(t)
	if err == nil {
		value = out
	}
	return spaces(value)
}

// folders take case, marks and width away. A chain keeps state and is large, so
// that each is used by one at a time and again.
var folders = sync.Pool{New: func() any {
	return transform.Chain(norm.NFKD, runes.Remove(runes.In(unicode.Mn)), cases.Fold(), lower, norm.NFC)
}}

// lower comes behind cases.Fold, which exchanges Cherokee's cases.
var lower = runes.Map(unicode.ToLower)

// foldCase is the key of text of which only case does not count.
func foldCase(value string) string {
	value = seen(value)
	if visible(value) {
		return spaces(strings.ToLower(value))
	}
	return spaces(norm.NFC.String(lower.String(cases.Fold().String(norm.NFC.String(value)))))
}

// Part is the key of a part of text that is looked for within Key of a
// value; first and last tell that it is at the beginning or the end, where
// spaces do not count (RFC 4518 §2.6.1).
func (s Syntax) Part(part string, first, last bool) string {
	key := part
	switch syntaxTable[s].form {
	case textFolded, textIgnore, textExact:
		key = s.Key("x" + part + "x")
		key = key[1 : len(key)-1]
		if first {
			key = strings.TrimLeft(key, " ")
		}
		if last {
			key = strings.TrimRight(key, " ")
		}
	case digits:
		key = s.Key(part)
	default:
	}
	return key
}

// seen maps separators of words and lines to spaces and characters that nobody
// sees to nothing (RFC 4518 §2.2). It comes before everything else.
func seen(s string) string {
	if visible(s) || !strings.ContainsFunc(s, mapped) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r >= '\t' && r <= '\r', r == '\u0085', unicode.In(r, unicode.Zs, unicode.Zl, unicode.Zp):
			return ' '
		case mapped(r):
			return -1
		}
		return r
	}, s)
}

// mapped tells whether r is another separator than the space, or nothing to see.
func mapped(r rune) bool {
	if r < utf8.RuneSelf {
		return r < ' ' || r == 0x7f
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zs, unicode.Zl, unicode.Zp) || r == '\ufffc'
}

// spaces drops those at the ends and makes runs of them one (RFC 4518 §2.6.1).
func spaces(s string) string {
	if !strings.Contains(s, "  ") && (s == "" || s[0] != ' ' && s[len(s)-1] != ' ') {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for part := range strings.SplitSeq(s, " ") {
		if part == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(part)
	}
	return b.String()
}

// visible tells whether s is all printable ASCII and spaces, as most text is.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// printable is PrintableString's alphabet (RFC 4517 §3.3.29), with what AD
// lets through besides: @ and _ and & and $ of machine names.
func printable(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
		r < utf8.RuneSelf && strings.ContainsRune(" '()+,-./:=?@_&$*\"!#%;<>[]{}|~\\^`", r)
}

// validName is a descr of RFC 4512 §1.4 (AD has names with digits in front).
func validName(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != ';' {
			return false
		}
	}
	return true
}

// validOID is a numericoid of RFC 4512 §1.4.
func validOID(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	for arc := range strings.SplitSeq(s, ".") {
		if arc == "" || len(arc) > 1 && arc[0] == '0' || strings.Trim(arc, "0123456789") != "" {
			return false
		}
	}
	return true
}

// SplitDNData takes DN-Binary (B:count:hex:DN) or DN-String (S:count:text:DN)
// apart (MS-ADTS 3.1.1.2.2.4); data of DN-Binary is decoded.
func SplitDNData(value string) (data, name string, ok bool) {
	kind, rest, ok := strings.Cut(value, ":")
	if !ok || kind != "B" && kind != "S" {
		return "", "", false
	}
	count, rest, ok := strings.Cut(rest, ":")
	n, err := strconv.Atoi(count)
	if !ok || err != nil || n < 0 || n >= len(rest) || rest[n] != ':' {
		return "", "", false
	}
	data, name = rest[:n], rest[n+1:]
	if kind == "B" {
		raw, err := hex.DecodeString(data)
		if err != nil {
			return "", "", false
		}
		data = string(raw)
	}
	return data, name, utf8.ValidString(name)
}
