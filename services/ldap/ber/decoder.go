package ber

// Decoder reads the elements of a string of bytes one after the other. Values
// are parts of that string, never copies. After the first error everything it
// gives is zero.
type Decoder struct {
	rest string
	err  error
}

// NewDecoder reads the elements of s.
func NewDecoder(s string) Decoder { return Decoder{rest: s} }

// Err is the first error.
func (d *Decoder) Err() error { return d.err }

// Fail makes err the error, unless there is one already.
func (d *Decoder) Fail(err error) {
	if d.err == nil {
		d.err, d.rest = err, ""
	}
}

// More tells whether there is another element.
func (d *Decoder) More() bool { return d.rest != "" }

// Peek gives the next element's tag, 0 when there is none.
func (d *Decoder) Peek() Tag {
	if d.rest == "" {
		return 0
	}
	return Tag(d.rest[0])
}

// Rest is what was not read yet.
func (d *Decoder) Rest() string { return d.rest }

// Any reads an element whatever it is.
func (d *Decoder) Any() (t Tag, value string) {
	if d.err != nil {
		return 0, ""
	}
	t, head, length, more, err := header(d.rest)
	switch {
	case err != nil:
		d.Fail(err)
		return 0, ""
	case more || length > len(d.rest)-head:
		d.Fail(ErrTruncated)
		return 0, ""
	}
	value = d.rest[head : head+length]
	d.rest = d.rest[head+length:]
	return t, value
}

// Value reads an element of the tag.
func (d *Decoder) Value(want Tag) string {
	if d.err == nil && d.Peek() != want {
		d.Fail(ErrTag)
	}
	_, v := d.Any()
	return v
}

// Optional reads an element of the tag if it comes next.
func (d *Decoder) Optional(want Tag) (value string, ok bool) {
	if d.err != nil || d.Peek() != want {
		return "", false
	}
	v := d.Value(want)
	return v, d.err == nil
}

// Octets reads an OCTET STRING.
func (d *Decoder) Octets() string { return d.Value(Octets) }

// Inside reads an element of the tag and gives a decoder of what is in it; an
// error there is not yet one here (see Close).
func (d *Decoder) Inside(want Tag) Decoder {
	v := d.Value(want)
	return Decoder{rest: v, err: d.err}
}

// Close ends an inner decoder: its error is d's. What it did not read is
// ignored, as RFC 4511 §4 wants of components that came later than the reader.
func (d *Decoder) Close(inner *Decoder) {
	if inner.err != nil {
		d.Fail(inner.err)
	}
}

// End makes it an error that there is anything left, and gives the first error.
func (d *Decoder) End() error {
	if d.err == nil && d.rest != "" {
		d.Fail(ErrTrailing)
	}
	return d.err
}

// Int reads an INTEGER of at most 8 bytes (X.690 §8.3).
func (d *Decoder) Int() int64 { return d.int(Integer) }

// Enum reads an ENUMERATED.
func (d *Decoder) Enum() int64 { return d.int(Enumerated) }

func (d *Decoder) int(t Tag) int64 {
	v := d.Value(t)
	if d.err != nil {
		return 0
	}
	n, ok := ParseInt(v)
	if !ok {
		d.Fail(ErrInteger)
	}
	return n
}

// ParseInt reads the content of an INTEGER.
func ParseInt(v string) (n int64, ok bool) {
	if v == "" || len(v) > 8 {
		return 0, false
	}
	n = int64(int8(v[0]))
	for i := 1; i < len(v); i++ {
		n = n<<8 | int64(v[i])
	}
	return n, true
}

// Bool reads a BOOLEAN.
func (d *Decoder) Bool() bool { return d.boolean(d.Value(Boolean)) }

// OptionalBool reads a BOOLEAN of the tag if it comes next; false otherwise.
func (d *Decoder) OptionalBool(t Tag) bool {
	v, ok := d.Optional(t)
	return ok && d.boolean(v)
}

func (d *Decoder) boolean(v string) bool {
	if d.err != nil {
		return false
	}
	if len(v) != 1 {
		d.Fail(ErrBoolean)
		return false
	}
	return v[0] != 0 // RFC 4511 §5.1 wants 0xff; older clients send 1
}
