package ber

import "slices"

// Encoder appends elements to Buf. Lengths are minimal, as DER wants them.
type Encoder struct{ Buf []byte }

// Begin opens an element; End closes the one that mark is of. Between the two
// its content is appended.
func (e *Encoder) Begin(t Tag) (mark int) {
	e.Buf = append(e.Buf, byte(t), 0)
	return len(e.Buf)
}

// End writes the length of the element that Begin opened. Content of 128 bytes
// and more is moved to make room for a longer length.
func (e *Encoder) End(mark int) {
	n := len(e.Buf) - mark
	if n < 0x80 {
		e.Buf[mark-1] = byte(n)
		return
	}
	size := lengthBytes(n)
	e.Buf = slices.Grow(e.Buf, size)
	e.Buf = e.Buf[:len(e.Buf)+size]
	copy(e.Buf[mark+size:], e.Buf[mark:len(e.Buf)-size])
	e.Buf[mark-1] = byte(0x80 | size)
	for i := range size {
		e.Buf[mark+i] = byte(n >> (8 * (size - 1 - i)))
	}
}

func lengthBytes(n int) int {
	switch {
	case n < 1<<8:
		return 1
	case n < 1<<16:
		return 2
	case n < 1<<24:
		return 3
	}
	return 4
}

// String appends a primitive element with the bytes of s.
func (e *Encoder) String(t Tag, s string) {
	e.length(t, len(s))
	e.Buf = append(e.Buf, s...)
}

// Octets appends an OCTET STRING.
func (e *Encoder) Octets(s string) { e.String(Octets, s) }

func (e *Encoder) length(t Tag, n int) {
	if n < 0x80 {
		e.Buf = append(e.Buf, byte(t), byte(n))
		return
	}
	size := lengthBytes(n)
	e.Buf = append(e.Buf, byte(t), byte(0x80|size))
	for i := size - 1; i >= 0; i-- {
		e.Buf = append(e.Buf, byte(n>>(8*i)))
	}
}

// Int appends an INTEGER or another element with an integer's content.
func (e *Encoder) Int(t Tag, n int64) {
	size := 1
	for v := n; v > 127 || v < -128; v >>= 8 {
		size++
	}
	e.Buf = append(e.Buf, byte(t), byte(size))
	for i := size - 1; i >= 0; i-- {
		e.Buf = append(e.Buf, byte(n>>(8*i)))
	}
}

// Bool appends a BOOLEAN.
func (e *Encoder) Bool(t Tag, v bool) {
	b := byte(0)
	if v {
		b = 0xff
	}
	e.Buf = append(e.Buf, byte(t), 1, b)
}

// Raw appends bytes that are elements already.
func (e *Encoder) Raw(s string) { e.Buf = append(e.Buf, s...) }
