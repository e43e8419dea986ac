package ldif

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
)

// width is where lines are folded, in bytes, a continuation's space included.
const width = 76

// Writer writes records. It begins with the version, and remembers the first
// error until Flush.
type Writer struct {
	out  *bufio.Writer
	line []byte
	some bool
}

// NewWriter writes to w. The caller calls Flush in the end.
func NewWriter(w io.Writer) *Writer { return &Writer{out: bufio.NewWriterSize(w, 256<<10)} }

// Flush writes what is held and gives the first error.
func (w *Writer) Flush() error {
	w.begin()
	return w.out.Flush()
}

func (w *Writer) begin() {
	if !w.some {
		w.some = true
		_, _ = w.out.WriteString("version: 1\n")
	}
}

// Continue leaves the version out, for what is added to a file.
func (w *Writer) Continue() { w.some = true }

// Comment writes a comment before the next record.
func (w *Writer) Comment(text string) error {
	w.begin()
	_ = w.out.WriteByte('\n')
	for l := range strings.Lines(text) {
		l = strings.Map(func(r rune) rune {
			if r < ' ' {
				return ' '
			}
			return r
		}, strings.TrimRight(l, "\r\n"))
		if _, err := w.out.WriteString("# " + l + "\n"); err != nil {
			return err
		}
	}
	return nil
}

// Write writes a record. What could not be read back is refused before anything
// of it is written.
func (w *Writer) Write(r *Record) error {
	if err := writable(r); err != nil {
		return err
	}
	w.begin()
	_ = w.out.WriteByte('\n')
	w.value("dn", r.DN)
	for _, c := range r.Controls {
		w.control(c)
	}
	switch r.Change {
	case Entry:
	default:
		w.value("changetype", r.Change.String())
	}
	switch r.Change {
	case Entry, Add:
		for _, a := range r.Attributes {
			for _, v := range a.Values {
				w.value(a.Name, v)
			}
		}
	case Modify:
		for _, m := range r.Mods {
			w.value(m.Op.String(), m.Name)
			for _, v := range m.Values {
				w.value(m.Name, v)
			}
			_, _ = w.out.WriteString("-\n")
		}
	case Rename:
		w.value("newrdn", r.NewRDN)
		old := "0"
		if r.DeleteOld {
			old = "1"
		}
		w.value("deleteoldrdn", old)
		if r.Superior != nil {
			w.value("newsuperior", *r.Superior)
		}
	case Delete:
	}
	_, err := w.out.Write(nil) // the first error stays
	return err
}

// writable tells whether a record is one that can be read back.
func writable(r *Record) error {
	name := func(n string) error {
		if !validDescription([]byte(n)) {
			return fmt.Errorf("LDIF: %q is no attribute description", n)
		}
		return nil
	}
	values := 0
	for _, a := range r.Attributes {
		if err := name(a.Name); err != nil {
			return err
		}
		switch strings.ToLower(a.Name) {
		case "dn", "changetype", "control":
			return fmt.Errorf("LDIF: no attribute can be called %s", a.Name)
		}
		values += len(a.Values)
	}
	for _, m := range r.Mods {
		if err := name(m.Name); err != nil {
			return err
		}
		if m.Op < 0 || int(m.Op) >= len(modWords) {
			return fmt.Errorf("LDIF: no modification %d", int(m.Op))
		}
	}
	switch {
	case (r.Change == Entry || r.Change == Add) && values == 0:
		return fmt.Errorf("LDIF: %q has no attributes", r.DN)
	case r.Change == Entry && len(r.Controls) > 0:
		return fmt.Errorf("LDIF: %q is no change and has controls", r.DN)
	case r.Change == Rename && r.NewRDN == "":
		return fmt.Errorf("LDIF: %q gets no new name", r.DN)
	case r.Change < Entry || r.Change > Rename:
		return fmt.Errorf("LDIF: no change %d", int(r.Change))
	}
	return nil
}

func (w *Writer) control(c Control) {
	w.line = append(w.line[:0], "control: "...)
	w.line = append(w.line, c.OID...)
	if c.Critical {
		w.line = append(w.line, " true"...)
	}
	if c.HasValue {
		w.line = appendSpec(w.line, c.Value)
	}
	w.fold()
}

// value writes one attrval-spec.
func (w *Writer) value(name, value string) {
	w.line = append(w.line[:0], name...)
	w.line = appendSpec(w.line, value)
	w.fold()
}

// appendSpec writes the value-spec of RFC 2849 behind b.
func appendSpec(b []byte, value string) []byte {
	switch {
	case value == "":
		return append(b, ':')
	case safe(value):
		return append(append(b, ": "...), value...)
	}
	b = append(b, ":: "...)
	return base64.StdEncoding.AppendEncode(b, []byte(value))
}

// safe tells whether a value is a SAFE-STRING that does not end with a space
// (RFC 2849 note 8).
func safe(v string) bool {
	switch v[0] {
	case ' ', ':', '<':
		return false
	}
	for i := range len(v) {
		if c := v[i]; c == 0 || c == '\n' || c == '\r' || c > 127 {
			return false
		}
	}
	return v[len(v)-1] != ' '
}

// fold writes the line, a continuation behind the width.
func (w *Writer) fold() {
	b, room := w.line, width
	for len(b) > room {
		_, _ = w.out.Write(b[:room])
		_, _ = w.out.WriteString("\n ")
		b, room = b[room:], width-1
	}
	_, _ = w.out.Write(b)
	_ = w.out.WriteByte('\n')
}
