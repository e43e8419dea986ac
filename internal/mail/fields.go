package mail

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"
)

// Fields is a header block as it is stored, field by field and byte exact. Lines
// that belong to no field are kept where they are.
type Fields struct {
	raw  []byte
	list []rawField
}

type rawField struct {
	name       string // lower case; "" for lines that are no field
	start, end int    // in raw, line ends included
}

// maxHeaderRead bounds the header that ReadFields keeps in memory.
const maxHeaderRead = 4 << 20

// ReadFields reads the header block of a part; c is the message as received. A
// header beyond 4 MiB is cut there.
func ReadFields(c io.ReaderAt, p *Part) (Fields, error) {
	raw := make([]byte, min(p.BodyStart-p.HeaderStart, maxHeaderRead))
	n, err := c.ReadAt(raw, p.HeaderStart)
	if n == len(raw) {
		err = nil
	}
	return ParseFields(raw[:n]), err
}

// ParseFields divides a header block, which may end with the empty line.
func ParseFields(raw []byte) Fields {
	f := Fields{raw: raw}
	for i := 0; i < len(raw); {
		n, end := rawLine(raw[i:])
		next := i + end
		if n == 0 {
			break // the empty line
		}
		l := raw[i : i+n]
		k := len(f.list)
		switch {
		case (l[0] == ' ' || l[0] == '\t') && k > 0:
			f.list[k-1].end = next
		default:
			f.list = append(f.list, rawField{strings.ToLower(string(l[:fieldName(l)])), i, next})
		}
		i = next
	}
	return f
}

// rawLine gives the length of the first line of b without and with its line end.
func rawLine(b []byte) (n, end int) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		i = len(b)
	}
	if j := bytes.IndexByte(b[:i], '\r'); j >= 0 && j+1 < i {
		return j, j + 1 // a bare CR
	} else if j >= 0 {
		if i < len(b) {
			return j, i + 1
		}
		return j, j + 1
	}
	return i, min(i+1, len(b))
}

// Raw is the whole block as stored, with the empty line after it.
func (f Fields) Raw() []byte { return f.raw }

// Len is the number of fields.
func (f Fields) Len() int { return len(f.list) }

// At gives the name, in lower case, and the unfolded raw value of field i.
func (f Fields) At(i int) (name, value string) {
	e := f.list[i]
	return e.name, f.value(e)
}

func (f Fields) value(e rawField) string {
	b := f.raw[e.start:e.end]
	if e.name == "" {
		return ""
	}
	b = b[bytes.IndexByte(b, ':')+1:]
	v := headerString(unfold(b), "")
	if !utf8.ValidString(v) {
		v = strings.ToValidUTF8(v, "\uFFFD")
	}
	return v
}

// Get gives the unfolded raw value of the first field with the name, or "".
// DecodeHeader or ParseAddresses make sense of it.
func (f Fields) Get(name string) string {
	name = strings.ToLower(name)
	for _, e := range f.list {
		if e.name == name {
			return f.value(e)
		}
	}
	return ""
}

// Values gives the unfolded raw values of all fields with the name.
func (f Fields) Values(name string) []string {
	name = strings.ToLower(name)
	var all []string
	for _, e := range f.list {
		if e.name == name {
			all = append(all, f.value(e))
		}
	}
	return all
}

// Filter gives the fields that are among names, or with not those that are not
// among them, byte for byte and in their order, followed by an empty line: what
// IMAP's HEADER.FIELDS and HEADER.FIELDS.NOT ask for (RFC 9051 section 6.4.5.1).
func (f Fields) Filter(names []string, not bool) []byte {
	want := make(map[string]bool, len(names))
	for _, n := range names {
		want[strings.ToLower(n)] = true
	}
	out := make([]byte, 0, 512)
	for _, e := range f.list {
		if e.name != "" && want[e.name] != not {
			out = append(out, f.raw[e.start:e.end]...)
		}
	}
	if n := len(out); n > 0 && out[n-1] != '\n' && out[n-1] != '\r' {
		out = append(out, "\r\n"...)
	}
	return append(out, "\r\n"...)
}
