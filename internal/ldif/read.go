package ldif

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strconv"
	"strings"
	"unsafe"

	"waypost/internal/fault"
)

// Limits bound what one record may be; 0 takes the default.
type Limits struct {
	Line   int // bytes of one physical line; 16 MiB
	Value  int // bytes of one value, unfolded and decoded; 16 MiB
	Record int // bytes of a whole record, unfolded and decoded; 128 MiB
	Values int // values, modifications and controls of one record; 1,000,000
}

func (l Limits) orDefault() Limits {
	for _, f := range []struct {
		n     *int
		usual int
	}{{&l.Line, 16 << 20}, {&l.Value, 16 << 20}, {&l.Record, 128 << 20}, {&l.Values, 1_000_000}} {
		if *f.n <= 0 {
			*f.n = f.usual
		}
	}
	return l
}

// Reader reads a file record by record. It is not safe for concurrent use.
type Reader struct {
	in     *bufio.Reader
	limits Limits
	line   int   // physical lines read
	offset int64 // bytes read
	err    error // what ended the input

	long  []byte // a physical line that did not fit the reader's buffer
	held  []byte // the logical line being put together
	text  []byte // what the record's strings are made of
	lines []line
	begun bool // something other than comments was there
}

// line is a logical line of a record: an attribute description and a value,
// both parts of Reader.text.
type line struct {
	number           int
	name, mid, value int // where they begin; mid is where the name ends
	end              int
	dash             bool // "-" alone
	encoded          bool // the value was base64
}

// NewReader reads from r.
func NewReader(r io.Reader, limits Limits) *Reader {
	return &Reader{in: bufio.NewReaderSize(r, 256<<10), limits: limits.orDefault()}
}

// Resume goes on at a place of a file that Offset and Line told before: the
// caller has moved the input there.
func Resume(r io.Reader, limits Limits, offset int64, lines int) *Reader {
	x := NewReader(r, limits)
	x.offset, x.line, x.begun = offset, lines, offset > 0
	return x
}

// Offset is how many bytes of the input are behind the last record or error,
// the blank line after it included.
func (r *Reader) Offset() int64 { return r.offset }

// Line is how many lines are.
func (r *Reader) Line() int { return r.line }

// Next gives the next record. The error is io.EOF at the end, a *SyntaxError
// about one record after which Next goes on, or what ended the input.
func (r *Reader) Next() (*Record, error) {
	for {
		start, wrong := r.collect()
		if wrong != nil {
			wrong.Start = start
			if r.err != nil && !errors.Is(r.err, io.EOF) {
				return nil, r.err
			}
			return nil, wrong
		}
		if len(r.lines) == 0 {
			if r.err != nil {
				return nil, r.err
			}
			continue
		}
		if r.err != nil && !errors.Is(r.err, io.EOF) {
			return nil, r.err // the record may lack its end
		}
		if !r.begun {
			r.begun = true
			if err := r.version(); err != nil {
				return nil, err
			}
			if len(r.lines) == 0 {
				continue
			}
		}
		if r.trailer() {
			continue
		}
		rec, wrong := r.record()
		if wrong != nil {
			wrong.Start = start
			return nil, wrong
		}
		rec.Line = r.lines[0].number
		return rec, nil
	}
}

// collect reads the lines of one record, up to a blank line or the end. After a
// mistake the rest of the record is passed over.
func (r *Reader) collect() (start int, wrong *SyntaxError) {
	r.lines, r.held = r.lines[:0], r.held[:0]
	r.text = make([]byte, 0, max(cap(r.text)/2, 1024)) // strings of the last record keep theirs
	number, comment, open := 0, false, false
	fail := func(line int, why string) {
		if wrong == nil {
			wrong = &SyntaxError{Line: line, DN: r.name(), Why: why}
			r.held = r.held[:0]
		}
	}
	finish := func() {
		if open && !comment && wrong == nil {
			if why := r.take(number); why != "" {
				fail(number, why)
			}
		}
		r.held, open = r.held[:0], false
	}
	for r.err == nil {
		b, tooLong := r.physical()
		if b == nil && r.err != nil && !tooLong {
			break
		}
		if start == 0 && len(b) > 0 && b[0] != '#' {
			start = r.line
		}
		switch {
		case len(b) == 0 && !tooLong:
			finish()
			if len(r.lines) > 0 || wrong != nil {
				return start, wrong
			}
			start = 0
			continue
		case b[0] == ' ': // RFC 2849 note 2: folding is undone before all else
			switch {
			case tooLong:
				fail(r.line, "a line is too long")
			case comment || wrong != nil:
			case !open:
				fail(r.line, "the continuation of no line")
			case len(r.held)+len(b) > 2*r.limits.Value+1024:
				fail(number, "a value is too long")
			default:
				r.held = append(r.held, b[1:]...)
			}
			continue
		}
		finish()
		number, comment, open = r.line, b[0] == '#', true
		switch {
		case comment:
		case tooLong:
			fail(r.line, "a line is too long")
		case wrong == nil:
			r.held = append(r.held, b...)
		}
	}
	finish()
	return start, wrong
}

// physical reads one line without its end; it is good until the next one. A
// line beyond the limit is read to its end and given cut.
func (r *Reader) physical() (b []byte, tooLong bool) {
	r.long = r.long[:0]
	for {
		part, err := r.in.ReadSlice('\n')
		r.offset += int64(len(part))
		if err == nil && len(r.long) == 0 {
			r.line++
			b = trimEnd(part)
			return b, len(b) > r.limits.Line
		}
		if len(r.long) <= r.limits.Line {
			r.long = append(r.long, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			r.err = err
			if len(r.long) == 0 {
				return nil, false
			}
		}
		r.line++
		b = trimEnd(r.long)
		return b, len(b) > r.limits.Line
	}
}

func trimEnd(b []byte) []byte {
	b = bytes.TrimSuffix(b, []byte{'\n'})
	return bytes.TrimSuffix(b, []byte{'\r'})
}

// take adds the logical line that is held; the answer is what is wrong with it.
func (r *Reader) take(number int) string {
	if len(r.lines) >= r.limits.Values {
		return "too many lines in one record"
	}
	if len(r.text)+len(r.held) > r.limits.Record {
		return "the record is too large"
	}
	b := r.held
	if len(b) == 1 && b[0] == '-' {
		r.lines = append(r.lines, line{number: number, dash: true})
		return ""
	}
	colon := bytes.IndexByte(b, ':')
	switch {
	case colon < 0:
		return strconv.Quote(shown(b)) + " is no attribute line"
	case !validDescription(b[:colon]):
		return strconv.Quote(shown(b[:colon])) + " is no attribute description"
	}
	l := line{number: number, name: len(r.text)}
	r.text = append(r.text, b[:colon]...)
	l.mid, l.value = len(r.text), len(r.text)
	b = b[colon+1:]
	switch {
	case len(b) > 0 && b[0] == '<':
		return string(r.text[l.name:l.mid]) + ": the value is a URL, which is not followed"
	case len(b) > 0 && b[0] == ':':
		l.encoded = true
		raw := bytes.TrimLeft(b[1:], " ")
		raw = bytes.TrimRight(raw, " ")
		var err error
		if r.text, err = base64.StdEncoding.AppendDecode(r.text, raw); err != nil {
			return string(r.text[l.name:l.mid]) + ": not base64"
		}
	default:
		b = bytes.TrimLeft(b, " ")
		if bytes.IndexByte(b, 0) >= 0 {
			return string(r.text[l.name:l.mid]) + ": NUL in a value that is not base64"
		}
		r.text = append(r.text, b...)
	}
	l.end = len(r.text)
	if l.end-l.value > r.limits.Value {
		return string(r.text[l.name:l.mid]) + ": the value is too long"
	}
	r.lines = append(r.lines, l)
	return ""
}

// shown is a part of a line for a message.
func shown(b []byte) string { return strings.ToValidUTF8(string(b[:min(len(b), 60)]), "?") }

// validDescription takes AttributeDescription of RFC 2849: a name or OID, then
// options; underscores too, which some servers have.
func validDescription(b []byte) bool {
	if len(b) == 0 || len(b) > 256 {
		return false
	}
	for i, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_':
		case (c == '-' || c == '.' || c == ';') && i > 0:
		case c == '=' && bytes.IndexByte(b[:i], ';') > 0: // ";range=0-1499"
		case c == '*' && bytes.IndexByte(b[:i], '=') > 0:
		default:
			return false
		}
	}
	return true
}

// name is the DN of the record being read, as far as there is one.
func (r *Reader) name() string {
	for _, l := range r.lines {
		if !l.dash && strings.EqualFold(string(r.text[l.name:l.mid]), "dn") {
			return string(r.text[l.value:l.end])
		}
	}
	return ""
}

// version takes the version-spec off; other versions than 1 end the reading,
// because nobody knows what they mean.
func (r *Reader) version() error {
	l := r.lines[0]
	if l.dash || !strings.EqualFold(string(r.text[l.name:l.mid]), "version") {
		return nil // the older form without it is accepted (RFC 2849 note 3)
	}
	if v := strings.TrimSpace(string(r.text[l.value:l.end])); v != "1" {
		r.err = fault.New(fault.Invalid, "line %d: version %q of LDIF; 1 is known", l.number, v[:min(len(v), 20)])
		return r.err
	}
	r.lines = r.lines[1:]
	return nil
}

// trailer tells whether the lines are what ldapsearch writes behind the entries
// ("search: 2", "result: 0 Success"): no record, and nothing to complain of.
func (r *Reader) trailer() bool {
	if len(r.lines) != 2 {
		return false
	}
	for i, want := range []string{"search", "result"} {
		if l := r.lines[i]; l.dash || string(r.text[l.name:l.mid]) != want {
			return false
		}
	}
	return true
}

// parts gives the strings of a record without copying: r.text is never written
// again, collect makes a new one.
func (r *Reader) parts(l line) (name, value string) {
	text := unsafe.String(unsafe.SliceData(r.text), len(r.text))
	return text[l.name:l.mid], text[l.value:l.end]
}
