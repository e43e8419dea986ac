package mail

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// summaryVersion begins every encoded Summary. A decoder reads all versions
// that were ever written.
const summaryVersion = 1

// noTime stands for the zero time.
const noTime = -1 << 62

var errSummary = errors.New("mail: malformed summary")

// AppendBinary appends s in a compact encoding of our own, which DecodeSummary
// reads. Equal summaries have equal encodings. The layout, all numbers as
// varints and all texts preceded by their length: version; the numbers of
// addresses, parts and texts in lists, so that the decoder allocates each kind
// once; the scalars; the envelope; the lists; the tree of parts in the order of
// the bytes.
func (s *Summary) AppendBinary(b []byte) ([]byte, error) {
	if s.Root == nil {
		return b, errors.New("mail: summary without a root")
	}
	var c counts
	c.envelope(&s.Envelope)
	c.addresses += len(s.ReceiptTo)
	c.strings += len(s.References) + len(s.Defects)
	s.Root.Walk(func(p *Part, depth int) bool {
		c.parts++
		c.depth = max(c.depth, depth)
		c.children += len(p.Children)
		c.strings += len(p.Language)
		if p.Envelope != nil {
			c.envelope(p.Envelope)
		}
		return true
	})
	if c.depth > maxDecodeDepth {
		return b, fmt.Errorf("mail: summary nested %d deep", c.depth)
	}
	e := encoder{append(b, summaryVersion)}
	e.uint(c.addresses)
	e.uint(c.parts)
	e.uint(c.children)
	e.uint(c.strings)
	e.int(s.Size)
	e.int(s.Lines)
	e.uint(s.Attachments)
	e.b = append(e.b, byte(s.Importance))
	e.uint(int(s.Flags))
	e.envelope(&s.Envelope)
	for _, t := range s.texts() {
		e.string(*t)
	}
	e.addresses(s.ReceiptTo)
	e.strings(s.References)
	e.strings(s.Defects)
	e.part(s.Root, 0)
	return e.b, nil
}

func (s *Summary) texts() [7]*string {
	return [...]*string{
		&s.Preview, &s.AutoSubmitted, &s.Precedence, &s.ListID,
		&s.CalendarMethod, &s.ThreadTopic, &s.ThreadIndex,
	}
}

func (p *Part) texts() [8]*string {
	return [...]*string{&p.Type, &p.Subtype, &p.Encoding, &p.ID, &p.Description, &p.Disposition, &p.Location, &p.MD5}
}

func (e *Envelope) texts() [4]*string {
	return [...]*string{&e.DateText, &e.Subject, &e.InReplyTo, &e.MessageID}
}

func (e *Envelope) lists() [6]*[]Address {
	return [...]*[]Address{&e.From, &e.Sender, &e.ReplyTo, &e.To, &e.Cc, &e.Bcc}
}

type counts struct{ addresses, parts, children, strings, depth int }

func (c *counts) envelope(e *Envelope) {
	for _, l := range e.lists() {
		c.addresses += len(*l)
	}
}

type encoder struct{ b []byte }

func (e *encoder) uint(n int)  { e.b = binary.AppendUvarint(e.b, uint64(n)) }
func (e *encoder) int(n int64) { e.b = binary.AppendVarint(e.b, n) }
func (e *encoder) string(s string) {
	e.uint(len(s))
	e.b = append(e.b, s...)
}

func (e *encoder) strings(l []string) {
	e.uint(len(l))
	for _, s := range l {
		e.string(s)
	}
}

func (e *encoder) addresses(l []Address) {
	e.uint(len(l))
	for _, a := range l {
		e.string(a.Name)
		e.string(a.Mailbox)
		e.string(a.Host)
	}
}

func (e *encoder) envelope(v *Envelope) {
	if v.Date.IsZero() {
		e.int(noTime)
		e.int(0)
	} else {
		_, off := v.Date.Zone()
		e.int(v.Date.Unix())
		e.int(int64(off / 60))
	}
	for _, t := range v.texts() {
		e.string(*t)
	}
	for _, l := range v.lists() {
		e.addresses(*l)
	}
}

func (e *encoder) params(m map[string]string) {
	e.uint(len(m))
	if len(m) == 1 {
		for k, v := range m {
			e.string(k)
			e.string(v)
		}
		return
	}
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		e.string(k)
		e.string(m[k])
	}
}

func (e *encoder) part(p *Part, base int64) {
	for _, t := range p.texts() {
		e.string(*t)
	}
	e.params(p.Params)
	e.params(p.DispParams)
	e.strings(p.Language)
	e.int(p.HeaderStart - base)
	e.int(p.BodyStart - p.HeaderStart)
	e.int(p.BodyEnd - p.BodyStart)
	e.int(p.Lines)
	e.uint(len(p.Children))
	for _, c := range p.Children {
		e.part(c, p.BodyStart)
	}
	if p.Message == nil || p.Envelope == nil {
		e.uint(0)
		return
	}
	e.uint(1)
	e.envelope(p.Envelope)
	e.part(p.Message, p.BodyStart)
}

const maxDecodeDepth = 2 * MaxDepth

// DecodeSummary reads what AppendBinary wrote. The Summary keeps a copy of b
// that its texts share. Any other bytes are an error.
func DecodeSummary(b []byte) (*Summary, error) {
	if len(b) == 0 || b[0] != summaryVersion {
		return nil, fmt.Errorf("%w: unknown version", errSummary)
	}
	d := &summaryDecoder{s: string(b[1:])}
	d.freeAddresses = make([]Address, d.count(3))
	d.freeParts = make([]Part, d.count(8))
	d.freeChildren = make([]*Part, d.count(1))
	d.freeStrings = make([]string, d.count(1))
	s := &Summary{}
	s.Size = d.int()
	s.Lines = d.int()
	s.Attachments = int(d.uint())
	s.Importance = int8(d.byte())
	s.Flags = Flags(d.uint())
	d.envelope(&s.Envelope)
	for _, t := range s.texts() {
		*t = d.string()
	}
	s.ReceiptTo = d.addresses()
	s.References = d.strings()
	s.Defects = d.strings()
	s.Root = d.part(0, 0)
	if d.bad || d.s != "" {
		return nil, errSummary
	}
	return s, nil
}

// summaryDecoder reads the encoding; s is what is still to be read; bad keeps the first fault.
type summaryDecoder struct {
	s   string
	bad bool

	freeAddresses []Address
	freeParts     []Part
	freeChildren  []*Part
	freeStrings   []string
}

func (d *summaryDecoder) fail() {
	d.bad = true
	d.s = ""
}

func (d *summaryDecoder) byte() byte {
	if d.s == "" {
		d.fail()
		return 0
	}
	c := d.s[0]
	d.s = d.s[1:]
	return c
}

func (d *summaryDecoder) uint() uint64 {
	if d.s != "" && d.s[0] < 0x80 {
		c := d.s[0]
		d.s = d.s[1:]
		return uint64(c)
	}
	var n uint64
	for i := range min(len(d.s), binary.MaxVarintLen64) {
		c := d.s[i]
		if i == 9 && c > 1 {
			break
		}
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.s = d.s[i+1:]
			return n
		}
	}
	d.fail()
	return 0
}

func (d *summaryDecoder) int() int64 {
	n := d.uint()
	return int64(n>>1) ^ -int64(n&1)
}

// count reads the number of things of at least size bytes each.
func (d *summaryDecoder) count(size int) int {
	n := d.uint()
	if n > uint64(len(d.s)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *summaryDecoder) string() string {
	if s := d.s; len(s) > 0 { // nearly all are short
		if n := int(s[0]); n < 0x80 && n < len(s) {
			d.s = s[1+n:]
			return s[1 : 1+n]
		}
	}
	n := d.uint()
	if n > uint64(len(d.s)) {
		d.fail()
		return ""
	}
	t := d.s[:n]
	d.s = d.s[n:]
	return t
}

// take cuts n things off a free list; more than were announced is a fault.
func take[T any](d *summaryDecoder, free *[]T, n int) []T {
	if n == 0 {
		return nil
	}
	if n > len(*free) {
		d.fail()
		return nil
	}
	t := (*free)[:n:n]
	*free = (*free)[n:]
	return t
}

func (d *summaryDecoder) strings() []string {
	l := take(d, &d.freeStrings, d.count(1))
	for i := range l {
		l[i] = d.string()
	}
	return l
}

func (d *summaryDecoder) addresses() []Address {
	l := take(d, &d.freeAddresses, d.count(3))
	for i := range l {
		l[i] = Address{d.string(), d.string(), d.string()}
	}
	return l
}

func (d *summaryDecoder) envelope(v *Envelope) {
	sec, off := d.int(), d.int()
	if sec != noTime {
		if off <= -24*60 || off >= 24*60 || sec < -1<<40 || sec > 1<<40 {
			d.fail()
			return
		}
		v.Date = time.Unix(sec, 0).In(zone(int(off)))
	}
	for _, t := range v.texts() {
		*t = d.string()
	}
	for _, l := range v.lists() {
		*l = d.addresses()
	}
}

func (d *summaryDecoder) params() map[string]string {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	m := make(map[string]string, n)
	for range n {
		k := d.string()
		m[k] = d.string()
	}
	return m
}

func (d *summaryDecoder) part(base int64, depth int) *Part {
	one := take(d, &d.freeParts, 1)
	if len(one) == 0 || depth > maxDecodeDepth {
		d.fail()
		return nil
	}
	p := &one[0]
	for _, t := range p.texts() {
		*t = d.string()
	}
	p.Params = d.params()
	p.DispParams = d.params()
	p.Language = d.strings()
	p.HeaderStart = base + d.int()
	p.BodyStart = p.HeaderStart + d.int()
	p.BodyEnd = p.BodyStart + d.int()
	p.Lines = d.int()
	if p.HeaderStart < base || p.BodyStart < p.HeaderStart || p.BodyEnd < p.BodyStart || p.BodyEnd < 0 {
		d.fail()
		return nil
	}
	p.Children = take(d, &d.freeChildren, d.count(8))
	for i := range p.Children {
		if p.Children[i] = d.part(p.BodyStart, depth+1); p.Children[i] == nil {
			return nil
		}
	}
	switch d.uint() {
	case 0:
	case 1:
		p.Envelope = &Envelope{}
		d.envelope(p.Envelope)
		if p.Message = d.part(p.BodyStart, depth+1); p.Message == nil {
			return nil
		}
	default:
		d.fail()
	}
	if p.IsMessage() != (p.Message != nil) || p.IsMultipart() != (len(p.Children) > 0) {
		d.fail()
	}
	return p
}
