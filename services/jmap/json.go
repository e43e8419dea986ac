package jmap

import (
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// object is a JSON object. Values are nil, bool, int64, float64, string, []any and
// object.
type object = map[string]any

const (
	maxDepth  = 64
	maxValues = 1 << 20 // in one document: what bounds its memory beside its length
)

// decodeJSON reads one I-JSON document (RFC 7493): UTF-8 without lone surrogates,
// no name twice in an object, numbers that a double holds.
func decodeJSON(data []byte) (v any, err error) {
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("not UTF-8")
	}
	d := decoder{data: data}
	defer func() {
		if f, ok := recover().(syntaxError); ok {
			v, err = nil, fmt.Errorf("at byte %d: %s", d.at, string(f))
		}
	}()
	v = d.value(0)
	d.space()
	if d.at != len(d.data) {
		d.fail("more after the end")
	}
	return v, nil
}

// syntaxError ends the decoder from any depth; it never leaves decodeJSON.
type syntaxError string

type decoder struct {
	data   []byte
	at     int
	values int
}

func (d *decoder) fail(what string) { panic(syntaxError(what)) }

func (d *decoder) space() {
	for d.at < len(d.data) && (d.data[d.at] == ' ' || d.data[d.at] == '\t' || d.data[d.at] == '\r' || d.data[d.at] == '\n') {
		d.at++
	}
}

// next gives the next byte that is no white space, 0 at the end.
func (d *decoder) next() byte {
	d.space()
	if d.at == len(d.data) {
		return 0
	}
	return d.data[d.at]
}

func (d *decoder) expect(c byte) {
	if d.next() != c {
		d.fail("expected " + strconv.QuoteRune(rune(c)))
	}
	d.at++
}

func (d *decoder) word(w string) {
	if len(d.data)-d.at < len(w) || string(d.data[d.at:d.at+len(w)]) != w {
		d.fail("no such word")
	}
	d.at += len(w)
}

func (d *decoder) value(depth int) any {
	if d.values++; d.values > maxValues {
		d.fail("too many values")
	}
	if depth > maxDepth {
		d.fail("nested too deep")
	}
	switch c := d.next(); {
	case c == '{':
		return d.object(depth)
	case c == '[':
		return d.array(depth)
	case c == '"':
		return d.string()
	case c == 't':
		d.word("true")
		return true
	case c == 'f':
		d.word("false")
		return false
	case c == 'n':
		d.word("null")
		return nil
	case c == '-' || c >= '0' && c <= '9':
		return d.number()
	}
	d.fail("no value")
	return nil
}

func (d *decoder) object(depth int) object {
	o := object{}
	d.at++
	if d.next() == '}' {
		d.at++
		return o
	}
	for {
		if d.next() != '"' {
			d.fail("expected a name")
		}
		name := d.string()
		if _, twice := o[name]; twice {
			d.fail("a name stands twice")
		}
		d.expect(':')
		o[name] = d.value(depth + 1)
		if d.next() == '}' {
			d.at++
			return o
		}
		d.expect(',')
	}
}

func (d *decoder) array(depth int) []any {
	list := []any{}
	d.at++
	if d.next() == ']' {
		d.at++
		return list
	}
	for {
		list = append(list, d.value(depth+1))
		if d.next() == ']' {
			d.at++
			return list
		}
		d.expect(',')
	}
}

func (d *decoder) string() string {
	d.at++
	start := d.at
	for d.at < len(d.data) && d.data[d.at] != '"' && d.data[d.at] != '\\' && d.data[d.at] >= ' ' {
		d.at++
	}
	if d.at < len(d.data) && d.data[d.at] == '"' {
		d.at++
		return string(d.data[start : d.at-1])
	}
	out := append([]byte(nil), d.data[start:d.at]...)
	for {
		if d.at >= len(d.data) || d.data[d.at] < ' ' {
			d.fail("a string without an end")
		}
		c := d.data[d.at]
		d.at++
		switch c {
		case '"':
			return string(out)
		case '\\':
			out = d.escape(out)
		default:
			out = append(out, c)
		}
	}
}

func (d *decoder) escape(out []byte) []byte {
	if d.at >= len(d.data) {
		d.fail("a string without an end")
	}
	c := d.data[d.at]
	d.at++
	switch c {
	case '"', '\\', '/':
		return append(out, c)
	case 'b':
		return append(out, '\b')
	case 'f':
		return append(out, '\f')
	case 'n':
		return append(out, '\n')
	case 'r':
		return append(out, '\r')
	case 't':
		return append(out, '\t')
	case 'u':
		r := d.hex()
		if utf16.IsSurrogate(r) {
			if len(d.data)-d.at < 2 || d.data[d.at] != '\\' || d.data[d.at+1] != 'u' {
				d.fail("half of a character")
			}
			d.at += 2
			if r = utf16.DecodeRune(r, d.hex()); r == utf8.RuneError {
				d.fail("half of a character")
			}
		}
		return utf8.AppendRune(out, r)
	}
	d.fail("no such escape")
	return nil
}

func (d *decoder) hex() rune {
	if len(d.data)-d.at < 4 {
		d.fail("a string without an end")
	}
	n, err := strconv.ParseUint(string(d.data[d.at:d.at+4]), 16, 16)
	if err != nil {
		d.fail("no such escape")
	}
	d.at += 4
	return rune(n)
}

func (d *decoder) digits() {
	start := d.at
	for d.at < len(d.data) && d.data[d.at] >= '0' && d.data[d.at] <= '9' {
		d.at++
	}
	if d.at == start {
		d.fail("no number")
	}
}

func (d *decoder) has(set string) bool {
	if d.at < len(d.data) {
		for i := range len(set) {
			if d.data[d.at] == set[i] {
				d.at++
				return true
			}
		}
	}
	return false
}

func (d *decoder) number() any {
	start := d.at
	d.has("-")
	if !d.has("0") {
		d.digits()
	}
	whole := true
	if d.has(".") {
		whole = false
		d.digits()
	}
	if d.has("eE") {
		whole = false
		d.has("+-")
		d.digits()
	}
	text := string(d.data[start:d.at])
	if whole {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) {
		d.fail("a number too large")
	}
	return f
}
