// Package ber reads and writes the part of the Basic Encoding Rules that LDAP
// uses (RFC 4511 §5.1, ITU-T X.690): definite lengths, primitive strings, tags
// of one byte.
//
// Its law: a Decoder takes nothing for granted and allocates nothing; it never
// looks beyond the element it was given, and keeps its first error, so that
// callers chain reads and ask once. An Encoder appends to a buffer and cannot
// fail. Nothing here recurses, and nothing knows what the elements mean.
package ber

import "errors"

// Tag is an identifier octet: class, the bit for constructed, number.
type Tag byte

// The universal tags of RFC 4511.
const (
	Boolean    Tag = 0x01
	Integer    Tag = 0x02
	Octets     Tag = 0x04
	Null       Tag = 0x05
	Enumerated Tag = 0x0a
	Sequence   Tag = 0x30
	Set        Tag = 0x31
)

// Constructed is the bit of elements that are made of elements.
const Constructed Tag = 0x20

// Context is the context-specific primitive tag n (n < 31).
func Context(n int) Tag { return Tag(0x80 | n) }

// ContextOf is the context-specific constructed tag n (n < 31).
func ContextOf(n int) Tag { return Tag(0xa0 | n) }

// Application is the application-wide primitive tag n (n < 31).
func Application(n int) Tag { return Tag(0x40 | n) }

// ApplicationOf is the application-wide constructed tag n (n < 31).
func ApplicationOf(n int) Tag { return Tag(0x60 | n) }

// What is wrong with bytes that are not BER as LDAP has it.
var (
	ErrTruncated = errors.New("ber: an element is longer than what holds it")
	ErrTag       = errors.New("ber: not the element expected")
	ErrLength    = errors.New("ber: a length that LDAP does not allow")
	ErrInteger   = errors.New("ber: an integer of no or too many bytes")
	ErrBoolean   = errors.New("ber: a boolean is one byte")
	ErrTrailing  = errors.New("ber: more than the elements expected")
)

// header reads identifier and length octets at the beginning of b. more is true
// when b ends within them.
func header[B string | []byte](b B) (t Tag, head, length int, more bool, err error) {
	if len(b) == 0 {
		return 0, 0, 0, true, nil
	}
	t = Tag(b[0])
	if t&0x1f == 0x1f {
		return 0, 0, 0, false, ErrTag // tags of several bytes: LDAP has none
	}
	if len(b) < 2 {
		return 0, 0, 0, true, nil
	}
	n := int(b[1])
	if n < 0x80 {
		return t, 2, n, false, nil
	}
	n &= 0x7f
	if n == 0 {
		return 0, 0, 0, false, ErrLength // RFC 4511 §5.1: definite form only
	}
	// Lengths may be written with leading zeros (X.690 §8.1.3.5 note 2).
	if n > 8 {
		return 0, 0, 0, false, ErrLength
	}
	for i := range n {
		if 2+i >= len(b) {
			return 0, 0, 0, true, nil
		}
		if length > 1<<30 {
			return 0, 0, 0, false, ErrLength
		}
		length = length<<8 | int(b[2+i])
	}
	if length > 1<<30 {
		return 0, 0, 0, false, ErrLength
	}
	return t, 2 + n, length, false, nil
}

// Frame tells how many bytes the element at the beginning of b takes in all,
// header included; 0 when b is too short to tell. Bytes that cannot begin an
// element of the tag are an error.
func Frame(b []byte, want Tag) (size int, err error) {
	if len(b) > 0 && Tag(b[0]) != want {
		return 0, ErrTag
	}
	_, head, length, more, err := header(b)
	if more || err != nil {
		return 0, err
	}
	return head + length, nil
}
