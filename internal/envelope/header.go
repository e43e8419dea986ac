package envelope

import (
	"bytes"
	"io"
	"strings"
)

// MaxHeader is how much of a message's header is looked at, in bytes.
const MaxHeader = 256 << 10

// Field is one header field as written, folded lines and line end included.
type Field struct {
	Name string // lower case; "" for a line that is no field
	Raw  []byte
}

// Value is the field's body, unfolded and trimmed.
func (f Field) Value() string {
	_, v, _ := bytes.Cut(f.Raw, []byte(":"))
	v = bytes.ReplaceAll(v, []byte("\r\n"), nil)
	return strings.TrimSpace(string(v))
}

// Header is the header of a message.
type Header struct {
	Fields []Field
	End    int64 // length in bytes, without the empty line after it
	Ended  bool  // an empty line (or the end of the message) was seen within MaxHeader
}

// ReadHeader reads the header at the beginning of r. A line that cannot belong
// to a header ends it, as in most readers.
func ReadHeader(r io.Reader) (Header, error) {
	buf, err := readHead(r)
	if err != nil {
		return Header{}, err
	}
	var h Header
	for rest := buf; ; {
		line, after := cutLine(rest)
		switch {
		case len(line) == 0:
			h.Ended = len(buf) < MaxHeader
			return h, nil
		case len(bytes.TrimRight(line, "\r\n")) == 0:
			h.Ended = true
			return h, nil
		case line[0] == ' ' || line[0] == '\t':
			if len(h.Fields) == 0 {
				h.Ended = true
				return h, nil
			}
			f := &h.Fields[len(h.Fields)-1]
			f.Raw = buf[h.End-int64(len(f.Raw)) : h.End+int64(len(line))]
		default:
			name := fieldName(line)
			if name == "" {
				h.Ended = true
				return h, nil
			}
			h.Fields = append(h.Fields, Field{Name: name, Raw: line})
		}
		h.End += int64(len(line))
		rest = after
	}
}

// readHead reads to the empty line after a header, and some bytes more.
func readHead(r io.Reader) ([]byte, error) {
	buf := make([]byte, 0, 2<<10)
	for {
		from := max(0, len(buf)-3)
		n, err := r.Read(buf[len(buf):min(cap(buf), MaxHeader)])
		buf = buf[:len(buf)+n]
		fresh := buf[from:]
		switch {
		case bytes.Contains(fresh, []byte("\r\n\r\n")), bytes.Contains(fresh, []byte("\n\n")),
			len(buf) == MaxHeader, err == io.EOF:
			return buf, nil
		case err != nil:
			return nil, err
		case len(buf) == cap(buf):
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
	}
}

func cutLine(b []byte) (line, rest []byte) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return b, nil
	}
	return b[:i+1], b[i+1:]
}

// fieldName gives the name of a field in lower case, or "" if the line is none
// (RFC 5322 section 3.6.8; spaces before the colon are obsolete but in use).
func fieldName(line []byte) string {
	i := bytes.IndexByte(line, ':')
	if i <= 0 {
		return ""
	}
	name := bytes.TrimRight(line[:i], " \t")
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return ""
		}
	}
	return strings.ToLower(string(name))
}

// Count tells how often a field occurs.
func (h *Header) Count(name string) int {
	n := 0
	for _, f := range h.Fields {
		if f.Name == name {
			n++
		}
	}
	return n
}

// Get gives the value of the first field of that name.
func (h *Header) Get(name string) string {
	for _, f := range h.Fields {
		if f.Name == name {
			return f.Value()
		}
	}
	return ""
}

// Bytes writes the header again, without the empty line after it, leaving out
// fields for which drop holds.
func (h *Header) Bytes(drop func(name string) bool) []byte {
	b := make([]byte, 0, h.End+256)
	for _, f := range h.Fields {
		if !drop(f.Name) {
			b = append(b, f.Raw...)
		}
	}
	return b
}

// Peel splits trace headers of n bytes off the front of a message.
func Peel(r io.Reader, n int64) (trace []byte, err error) {
	trace = make([]byte, n)
	if _, err := io.ReadFull(r, trace); err != nil {
		return nil, err
	}
	return trace, nil
}
