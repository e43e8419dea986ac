package contentline

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/ianaindex"

	"waypost/internal/fault"
)

// Limits bound what is read; going over one is TooLarge or Limit.
type Limits struct {
	Size  int // bytes in all
	Lines int // content lines
	Line  int // bytes of one content line after unfolding
}

// Problem says what was odd about a line that was kept all the same.
type Problem struct {
	Line int // counted from 1, in the text as it came
	Text string
}

func (p Problem) String() string { return fmt.Sprintf("line %d: %s", p.Line, p.Text) }

// Reader gives the content lines of a text one after the other.
type Reader struct {
	rest     []byte
	limits   Limits
	line     int // the number of the next physical line
	count    int
	long     bool // a line went over its limit
	problems []Problem
	err      error
}

// maxProblems bounds the list of what was odd; more says nothing new.
const maxProblems = 100

// NewReader reads text, which must not change meanwhile.
func NewReader(text []byte, limits Limits) *Reader {
	r := &Reader{rest: bytes.TrimPrefix(text, []byte("\ufeff")), limits: limits, line: 1}
	if len(text) > limits.Size {
		r.err = fault.New(fault.TooLarge, "more than %d bytes of calendar or contact data", limits.Size)
	}
	return r
}

// Problems are what was odd so far, in order.
func (r *Reader) Problems() []Problem { return r.problems }

// Report adds what a reader above found odd about the newest line.
func (r *Reader) Report(line int, format string, args ...any) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, Problem{line, fmt.Sprintf(format, args...)})
	}
}

// physical takes the next line off the text; lines end with CRLF, LF or CR.
func (r *Reader) physical() []byte {
	r.line++
	end := bytes.IndexByte(r.rest, '\n')
	if end < 0 {
		end = len(r.rest)
	}
	if cr := bytes.IndexByte(r.rest[:end], '\r'); cr >= 0 {
		end = cr
	}
	if end == len(r.rest) {
		line := r.rest
		r.rest = nil
		return line
	}
	line := r.rest[:end]
	// Some files went through two conversions and have CR CR LF.
	if after := bytes.TrimLeft(r.rest[end:], "\r"); len(after) > 0 && after[0] == '\n' {
		end = len(r.rest) - len(after)
	}
	r.rest = r.rest[end+1:]
	return line
}

func continues(rest []byte) bool { return len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') }

// Next gives the next property and the number of its line; io.EOF at the end.
func (r *Reader) Next() (*Property, int, error) {
	for r.err == nil {
		if len(r.rest) == 0 {
			r.err = io.EOF
			break
		}
		number := r.line
		line := r.physical()
		if len(bytes.TrimLeft(line, " \t\x00")) == 0 && !continues(r.rest) {
			continue // empty lines say nothing
		}
		if r.count++; r.count > r.limits.Lines {
			r.err = fault.New(fault.Limit, "more than %d lines of calendar or contact data", r.limits.Lines)
			break
		}
		// Unfolded as bytes, for some fold inside a character (RFC 5545 section 3.1).
		if continues(r.rest) && !softBreak(line) {
			line = bytes.Clone(line)
			for continues(r.rest) && !softBreak(line) {
				line = append(line, r.physical()[1:]...)
				if len(line) > r.limits.Line {
					break
				}
			}
		}
		p := r.parse(line, number)
		if r.long || len(line) > r.limits.Line {
			r.err = fault.New(fault.TooLarge, "line %d has more than %d bytes", number, r.limits.Line)
			break
		}
		if p != nil {
			return p, number, nil
		}
	}
	return nil, r.line, r.err
}

// softBreak tells a quoted-printable line that goes on by its own means: a
// space at the beginning of the next belongs to the text (vCard 2.1 section 2.1.3).
func softBreak(line []byte) bool {
	if !bytes.HasSuffix(line, []byte("=")) {
		return false
	}
	head, _, _ := bytes.Cut(line, []byte(":"))
	return bytes.Contains(bytes.ToUpper(head), []byte("QUOTED-PRINTABLE"))
}

func (r *Reader) parse(raw []byte, number int) *Property {
	raw = bytes.TrimLeft(raw, " \t")
	p, value, ok := cut(raw)
	if !ok {
		// Perhaps it is one without what does not belong there.
		text, _ := r.text(raw, "", number)
		text = strings.Trim(text, " \t")
		if text == "" {
			return nil
		}
		if p, value, ok = cut([]byte(text)); !ok {
			r.Report(number, "no content line; kept as it is")
			return &Property{Value: text}
		}
	}
	encoding, charset := p.encoding(), p.ParamText("CHARSET")
	switch {
	case strings.EqualFold(encoding, "QUOTED-PRINTABLE"):
		value = r.quotedPrintable(bytes.Clone(value))
		p.dropEncoding()
		p.SetParam("CHARSET")
		text, _ := r.text(value, charset, number)
		p.Value = breaks.Replace(text)
		return p
	case strings.EqualFold(encoding, "BASE64"), strings.EqualFold(encoding, "B"):
		value = r.base64(bytes.Clone(value))
	}
	text, converted := r.text(value, charset, number)
	if converted {
		p.SetParam("CHARSET")
	}
	p.Value = breaks.Replace(text)
	return p
}

// breaks are line breaks that a decoded value has; the TEXT type escapes them.
var breaks = strings.NewReplacer("\r\n", `\n`, "\n", `\n`, "\r", `\n`)

// encoding is how the value is written; vCard 2.1 may say it without a name.
func (p *Property) encoding() string {
	if e := p.Param("ENCODING"); e != nil {
		return strings.Join(e.Values, ",")
	}
	for _, param := range p.Params {
		if param.Bare && (strings.EqualFold(param.Name, "QUOTED-PRINTABLE") || strings.EqualFold(param.Name, "BASE64")) {
			return param.Name
		}
	}
	return ""
}

func (p *Property) dropEncoding() {
	kept := p.Params[:0]
	for _, param := range p.Params {
		if strings.EqualFold(param.Name, "ENCODING") || param.Bare && strings.EqualFold(param.Name, "QUOTED-PRINTABLE") {
			continue
		}
		kept = append(kept, param)
	}
	p.Params = kept
}

// quotedPrintable decodes a value, joining the lines that soft breaks cut. A
// soft break's next line need not begin with a space (vCard 2.1 section 2.1.3).
// What is not well-formed is kept.
func (r *Reader) quotedPrintable(value []byte) []byte {
	for bytes.HasSuffix(value, []byte("=")) && len(r.rest) > 0 && !r.long {
		value = append(value[:len(value)-1], r.physical()...)
		r.long = len(value) > r.limits.Line
	}
	value = bytes.TrimSuffix(value, []byte("="))
	out := value[:0]
	for i := 0; i < len(value); i++ {
		if value[i] == '=' && i+2 < len(value) {
			hi, lo := unhex(value[i+1]), unhex(value[i+2])
			if hi >= 0 && lo >= 0 {
				out = append(out, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		out = append(out, value[i])
	}
	return out
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// base64 joins lines that were cut without folding, as some old programs do.
func (r *Reader) base64(value []byte) []byte {
	for len(r.rest) > 0 && !r.long {
		end := bytes.IndexAny(r.rest, "\r\n")
		if end < 0 {
			end = len(r.rest)
		}
		if next := r.rest[:end]; end == 0 || !onlyBase64(next) {
			break
		}
		value = append(value, r.physical()...)
		r.long = len(value) > r.limits.Line
	}
	out := value[:0]
	for _, c := range value {
		if c != ' ' && c != '\t' {
			out = append(out, c)
		}
	}
	return out
}

// onlyBase64 must not take BEGIN or another lone word for data, so the whole
// line has to be long, or padded.
func onlyBase64(line []byte) bool {
	line = bytes.TrimRight(line, " \t")
	if len(line) < 40 && !bytes.HasSuffix(line, []byte("=")) || len(line)%4 != 0 {
		return false
	}
	_, err := base64.StdEncoding.DecodeString(string(line))
	return err == nil
}

// text makes valid UTF-8 without control characters of bytes.
func (r *Reader) text(b []byte, charset string, number int) (text string, converted bool) {
	switch {
	case charset != "" && !strings.EqualFold(charset, "UTF-8") && !strings.EqualFold(charset, "US-ASCII"):
		// Some say a charset and write UTF-8; what is UTF-8 with characters beyond
		// ASCII is so hardly by chance.
		if enc, err := ianaindex.MIME.Encoding(charset); err == nil && enc != nil && (!utf8.Valid(b) || ascii(b)) {
			if decoded, err := enc.NewDecoder().Bytes(b); err == nil {
				b, converted = decoded, true
			}
		} else if utf8.Valid(b) {
			converted = true
		}
	case charset != "":
		converted = true
	}
	if !utf8.Valid(b) {
		r.Report(number, "not UTF-8; read as Windows-1252")
		b, _ = charmap.Windows1252.NewDecoder().Bytes(b)
		converted = true
	}
	if bytes.ContainsFunc(b, control) {
		r.Report(number, "control characters left out")
		b = bytes.Map(func(c rune) rune {
			if control(c) {
				return -1
			}
			return c
		}, b)
	}
	return string(b), converted
}

// control tells characters that neither RFC 5545 (section 3.1, CONTROL) nor XML
// 1.0 (section 2.2) allows. Line breaks are left to who reads them.
func control(c rune) bool {
	return c < 0x20 && c != '\t' && c != '\n' && c != '\r' || c == 0x7f || c == 0xfffe || c == 0xffff
}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// cut finds name, parameters and value. A quote that is never closed is an
// ordinary character.
func cut(line []byte) (p *Property, value []byte, ok bool) {
	end := bytes.IndexAny(line, ";:")
	if end <= 0 {
		return nil, nil, false
	}
	name := string(bytes.TrimRight(line[:end], " \t"))
	p = &Property{Name: name}
	if group, rest, found := strings.Cut(name, "."); found {
		p.Group, p.Name = group, rest
		if !isName(group) {
			return nil, nil, false
		}
	}
	if !isName(p.Name) {
		return nil, nil, false
	}
	rest := line[end:]
	for rest[0] == ';' {
		var param Param
		if param, rest, ok = cutParam(rest[1:]); !ok {
			return nil, nil, false
		}
		if param.Name != "" {
			p.Params = append(p.Params, param)
		}
		if len(rest) == 0 {
			return nil, nil, false
		}
	}
	return p, rest[1:], true
}

// isName is more generous than RFC 5545's iana-token, for the sake of X_NAMES
// and names in other alphabets; what would read back differently is none.
func isName(s string) bool {
	if s == "" || !utf8.ValidString(s) {
		return false
	}
	for _, c := range s {
		if c <= ' ' || c == 0x7f || strings.ContainsRune(`:;,="\`, c) || control(c) {
			return false
		}
	}
	return true
}

func cutParam(b []byte) (param Param, rest []byte, ok bool) {
	end := bytes.IndexAny(b, "=;:")
	if end < 0 {
		return param, nil, false
	}
	param.Name = string(bytes.TrimSpace(b[:end]))
	if b[end] != '=' {
		param.Bare = true
		// TEL;FAX,WORK: several of them.
		return param, b[end:], param.Name == "" || !slices.ContainsFunc(strings.Split(param.Name, ","), func(s string) bool { return !isName(s) })
	}
	if !isName(param.Name) {
		return param, nil, false
	}
	b = b[end+1:]
	for {
		var value string
		if value, b, ok = cutParamValue(b); !ok {
			return param, nil, false
		}
		param.Values = append(param.Values, value)
		if b[0] != ',' {
			return param, b, true
		}
		b = b[1:]
	}
}

var uncaret = strings.NewReplacer("^^", "^", "^n", "\n", "^'", `"`)

// cutParamValue ends at the comma, semicolon or colon after the value.
func cutParamValue(b []byte) (value string, rest []byte, ok bool) {
	if len(b) > 0 && b[0] == '"' {
		if end := bytes.IndexByte(b[1:], '"'); end >= 0 {
			quoted, after := b[1:1+end], b[2+end:]
			if len(after) > 0 && bytes.IndexByte([]byte(",;:"), after[0]) >= 0 {
				return paramText(quoted), after, true
			}
		}
	}
	end := bytes.IndexAny(b, ",;:")
	// Some escape in parameters as in texts, where quotes are due.
	for end > 0 && b[end] != ':' && b[end-1] == '\\' {
		more := bytes.IndexAny(b[end+1:], ",;:")
		if more < 0 {
			return "", nil, false
		}
		end += 1 + more
	}
	if end < 0 {
		return "", nil, false
	}
	return paramText(bytes.TrimSpace(b[:end])), b[end:], true
}

// paramText decodes RFC 6868. Readers of older formats meet a caret so seldom
// that one rule for all is kinder than three.
func paramText(b []byte) string {
	if !utf8.Valid(b) {
		b, _ = charmap.Windows1252.NewDecoder().Bytes(b)
	}
	s := uncaret.Replace(string(b))
	return strings.Map(func(c rune) rune {
		if control(c) || c == '\r' {
			return -1
		}
		return c
	}, s)
}
