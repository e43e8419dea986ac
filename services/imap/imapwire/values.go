package imapwire

import (
	"math"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
)

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func (d *Decoder) number(max uint64) uint64 {
	digits := d.take(isDigit, "a number")
	n := uint64(0)
	for _, c := range digits {
		v := uint64(c - '0')
		if n > (max-v)/10 {
			d.Fail("number too large")
			return 0
		}
		n = n*10 + v
	}
	return n
}

// Number reads a number of 32 bits.
func (d *Decoder) Number() uint32 { return uint32(d.number(math.MaxUint32)) }

// Number64 reads a number of 63 bits (RFC 9051 number64, RFC 7162 mod-sequence).
func (d *Decoder) Number64() uint64 { return d.number(math.MaxInt64) }

// setNum reads nz-number or "*", which is 0.
func (d *Decoder) setNum() uint32 {
	if d.Try('*') {
		return 0
	}
	n := d.Number()
	if n == 0 {
		d.Fail("expected a number above zero or *")
	}
	return n
}

// setRange reads a set's element; a reversed range is put in order.
func (d *Decoder) setRange() (start, stop uint32) {
	start = d.setNum()
	stop = start
	if d.Try(':') {
		stop = d.setNum()
	}
	return start, stop
}

// SeqSet reads a set of message sequence numbers; 0 in a range stands for "*".
func (d *Decoder) SeqSet() imap.SeqSet {
	var s imap.SeqSet
	for d.err == nil {
		start, stop := d.setRange()
		if d.err != nil {
			return nil
		}
		s.AddRange(start, stop)
		if !d.Try(',') {
			break
		}
	}
	return s
}

// UIDSet reads a set of UIDs.
func (d *Decoder) UIDSet() imap.UIDSet {
	var s imap.UIDSet
	for d.err == nil {
		start, stop := d.setRange()
		if d.err != nil {
			return nil
		}
		s.AddRange(imap.UID(start), imap.UID(stop))
		if !d.Try(',') {
			break
		}
	}
	return s
}

// NumSet reads a set of UIDs or sequence numbers, or "$", the saved result of a
// search (RFC 9051 section 6.4.4.1), which is imap.SearchRes whatever uid says.
func (d *Decoder) NumSet(uid bool) imap.NumSet {
	if d.Try('$') {
		return imap.SearchRes()
	}
	if uid {
		return d.UIDSet()
	}
	return d.SeqSet()
}

// Flag reads a flag or keyword: "\" atom, or an atom.
func (d *Decoder) Flag() imap.Flag {
	if d.Try('\\') {
		if d.Try('*') {
			return imap.FlagWildcard
		}
		return imap.Flag("\\" + d.Atom())
	}
	return imap.Flag(d.Atom())
}

// FlagList reads a list of flags in parentheses.
func (d *Decoder) FlagList() []imap.Flag {
	var flags []imap.Flag
	d.List(func() { flags = append(flags, d.Flag()) })
	return flags
}

// Flags reads a list of flags, or flags separated by spaces up to the command's
// end, both of which STORE allows.
func (d *Decoder) Flags() []imap.Flag {
	if d.Peek() == '(' {
		return d.FlagList()
	}
	flags := []imap.Flag{d.Flag()}
	for d.TrySP() {
		flags = append(flags, d.Flag())
	}
	return flags
}

// Date reads a date (d-Mon-yyyy, quoted or not) as midnight UTC.
func (d *Decoder) Date() time.Time {
	var s string
	if d.Peek() == '"' {
		s = d.quoted()
	} else {
		s = d.Atom()
	}
	if d.err != nil {
		return time.Time{}
	}
	t, err := time.Parse("2-Jan-2006", s)
	if err != nil {
		d.Fail("expected a date like 1-Feb-2003")
		return time.Time{}
	}
	return t
}

const dateTimeLayout = "_2-Jan-2006 15:04:05 -0700"

// DateTime reads a quoted date-time (RFC 9051 section 4.3).
func (d *Decoder) DateTime() time.Time {
	s := d.quoted()
	if d.err != nil {
		return time.Time{}
	}
	t, err := time.Parse(dateTimeLayout, s)
	if err != nil {
		// Clients are seen to leave out the padding of the day.
		t, err = time.Parse("2-Jan-2006 15:04:05 -0700", strings.TrimSpace(s))
	}
	if err != nil {
		d.Fail("expected a date and time like \" 1-Feb-2003 04:05:06 +0000\"")
		return time.Time{}
	}
	return t
}

// partPath reads 1*("." nz-number) or nothing; more tells that a "." follows
// which no number did.
func (d *Decoder) partPath() (path []int, more bool) {
	for isDigit(d.Peek()) {
		n := d.Number()
		if n == 0 || n > math.MaxInt32 {
			d.Fail("expected a part number above zero")
		}
		if len(path) >= 128 {
			d.Fail("part number too deep")
		}
		if d.err != nil {
			return nil, false
		}
		path = append(path, int(n))
		if !d.Try('.') {
			return path, false
		}
		more = true
	}
	return path, more
}

// BodySection reads "[" section "]" ["<" partial ">"] after BODY or BODY.PEEK
// (RFC 9051 section 9: section, section-spec).
func (d *Decoder) BodySection() *imap.FetchItemBodySection {
	s := &imap.FetchItemBodySection{}
	d.Special('[')
	var dot bool
	s.Part, dot = d.partPath()
	if dot || len(s.Part) == 0 && d.Peek() != ']' {
		switch name := d.Name(); name {
		case "HEADER":
			s.Specifier = imap.PartSpecifierHeader
		case "HEADER.FIELDS", "HEADER.FIELDS.NOT":
			s.Specifier = imap.PartSpecifierHeader
			d.SP()
			var fields []string
			d.List(func() { fields = append(fields, d.AString()) })
			if len(fields) == 0 {
				d.Fail("expected header field names")
			}
			if name == "HEADER.FIELDS" {
				s.HeaderFields = fields
			} else {
				s.HeaderFieldsNot = fields
			}
		case "TEXT":
			s.Specifier = imap.PartSpecifierText
		case "MIME":
			s.Specifier = imap.PartSpecifierMIME
			if len(s.Part) == 0 {
				d.Fail("MIME needs a part number")
			}
		default:
			d.Fail("unknown section")
		}
	}
	d.Special(']')
	s.Partial = d.partial()
	return s
}

// BinarySection reads "[" [part numbers] "]" after BINARY, BINARY.PEEK and
// BINARY.SIZE (RFC 9051 section 9: section-binary).
func (d *Decoder) BinarySection() []int {
	d.Special('[')
	path, dot := d.partPath()
	if dot {
		d.Fail("expected a part number")
	}
	d.Special(']')
	return path
}

// Partial reads ["<" number "." nz-number ">"].
func (d *Decoder) Partial() *imap.SectionPartial { return d.partial() }

func (d *Decoder) partial() *imap.SectionPartial {
	if !d.Try('<') {
		return nil
	}
	p := &imap.SectionPartial{Offset: int64(d.Number64())}
	d.Special('.')
	p.Size = int64(d.Number64())
	if p.Size == 0 {
		d.Fail("expected a size above zero")
	}
	d.Special('>')
	return p
}
