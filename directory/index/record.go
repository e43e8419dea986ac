package index

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"waypost/directory"
	"waypost/directory/schema"
	"waypost/internal/fault"
)

// record is an object's record taken apart; its parts lie in a slab. As bytes:
//
//	naming attribute, length of the RDN, RDN
//	GUID (16 bytes), uSNCreated, uSNChanged, whenCreated, whenChanged, RID
//	number of auxiliary classes, those; number of cold attributes, those
//	stored attributes in order of number: number, bytes of values, values
//	value: length*2 and the bytes, or a word's number*2+1
//
// All numbers are varints; times are seconds since 1970.
type record struct {
	rdnAttr              uint16
	rdn                  string
	guid                 string
	created, changed     uint64
	createdAt, changedAt int64
	rid                  uint32
	extra, cold          []byte // varints
	stored               []byte
}

func parseRecord(b []byte) (r record) {
	n, b := uvarint(b)
	r.rdnAttr = uint16(n)
	n, b = uvarint(b)
	r.rdn, b = text(b[:n]), b[n:]
	r.guid, b = text(b[:16]), b[16:]
	r.created, b = uvarint(b)
	r.changed, b = uvarint(b)
	at, size := binary.Varint(b)
	r.createdAt, b = at, b[size:]
	at, size = binary.Varint(b)
	r.changedAt, b = at, b[size:]
	n, b = uvarint(b)
	r.rid = uint32(n)
	r.extra, b = varints(b)
	r.cold, r.stored = varints(b)
	return r
}

// shownRDN is the RDN as an attribute shows it: a domain is kept under its whole
// DNS name, and its dc and name are the first label of that.
func (e *subject) shownRDN() string {
	if e.s.flags&flagDomain != 0 {
		return firstLabel(e.r.rdn)
	}
	return e.r.rdn
}

func firstLabel(domain string) string {
	label, _, _ := strings.Cut(domain, ".")
	return label
}

// rdnOf reads only the name of a record.
func rdnOf(b []byte) (attr uint16, rdn string) {
	n, b := uvarint(b)
	size, b := uvarint(b)
	return uint16(n), text(b[:size])
}

// varints cuts a counted list off.
func varints(b []byte) (list, rest []byte) {
	n, rest := uvarint(b)
	list = rest
	for range n {
		_, rest = uvarint(rest)
	}
	return list[:len(list)-len(rest)], rest
}

// next cuts the first stored attribute off.
func next(stored []byte) (attr uint16, values, rest []byte) {
	n, b := uvarint(stored)
	size, b := uvarint(b)
	return uint16(n), b[:size], b[size:]
}

// find gives the encoded values of a stored attribute.
func (r *record) find(attr uint16) []byte {
	for b := r.stored; len(b) > 0; {
		n, values, rest := next(b)
		if n >= attr {
			if n == attr {
				return values
			}
			return nil
		}
		b = rest
	}
	return nil
}

// isCold tells whether the values of attr lie in the database.
func (r *record) isCold(attr uint16) bool {
	for b := r.cold; len(b) > 0; {
		var n uint64
		if n, b = uvarint(b); n == uint64(attr) {
			return true
		}
	}
	return false
}

// value cuts the first value off.
func (x *Index) value(values []byte, r *record) (v string, rest []byte) {
	n, b := uvarint(values)
	switch {
	case n&1 == 0:
		n >>= 1
		return text(b[:n]), b[n:]
	case n>>1 == wordRDN:
		return r.rdn, b
	default:
		return x.dict.words[n>>1], b
	}
}

// encoder makes records. It belongs to one goroutine.
type encoder struct {
	x      *Index
	info   []attribute // of the schema of now
	schema *schema.Schema
	out    []byte // all records
	body   []byte
	attrs  []encoding
	learn  []string
}

type encoding struct {
	attr   uint16
	values []string
}

// encoded is an object made ready.
type encoded struct {
	id, parent uint32
	from, to   int // of encoder.out
	class      uint16
	rdnAttr    uint16
	flags      uint16
}

// object appends the object's record to e.out.
func (e *encoder) object(o *Object) (done encoded, err error) {
	bad := func(format string, args ...any) (encoded, error) {
		return encoded{}, fault.From(fault.Invalid, fault.New(fault.Invalid, format, args...), "object %d of the directory is not well formed", o.ID)
	}
	if o.ID < 1 || o.ID > MaxID || o.Parent < 0 || o.Parent > MaxID || o.ID == o.Parent {
		return bad("id %d below %d", o.ID, o.Parent)
	}
	class, ok := e.schema.Class(o.Class)
	if !ok {
		return bad("no class %q", o.Class)
	}
	done = encoded{id: uint32(o.ID), parent: uint32(o.Parent), class: uint16(class.Number)}
	if o.Deleted {
		done.flags |= flagDeleted
	}
	switch class.Name {
	case "domainDNS":
		done.flags |= flagHead | flagDomain
	case "configuration", "dMD":
		done.flags |= flagHead
	}
	b := e.body[:0]
	if o.Parent == 0 {
		b = append(b, 0, 0) // the root has no name
	} else {
		a, ok := e.schema.Attribute(o.RDN.Attribute)
		if !ok || o.RDN.Value == "" {
			return bad("named by %q", o.RDN.Attribute)
		}
		done.rdnAttr = uint16(a.Number)
		b = binary.AppendUvarint(b, uint64(a.Number))
		b = appendText(b, o.RDN.Value)
	}
	b = append(b, o.GUID[:]...)
	b = binary.AppendUvarint(b, uint64(o.Created))
	b = binary.AppendUvarint(b, uint64(o.Changed))
	b = binary.AppendVarint(b, o.CreatedAt.Unix())
	b = binary.AppendVarint(b, o.ChangedAt.Unix())
	b = binary.AppendUvarint(b, uint64(o.RID))
	b = binary.AppendUvarint(b, uint64(len(o.Extra)))
	for _, name := range o.Extra {
		c, ok := e.schema.Class(name)
		if !ok {
			return bad("no class %q", name)
		}
		b = binary.AppendUvarint(b, uint64(c.Number))
	}
	b = binary.AppendUvarint(b, uint64(len(o.Cold)))
	for _, name := range o.Cold {
		a, ok := e.schema.Attribute(name)
		if !ok {
			return bad("no attribute %q", name)
		}
		b = binary.AppendUvarint(b, uint64(a.Number))
		done.flags |= flagCold
	}
	if b, err = e.stored(b, o, done.rdnAttr); err != nil {
		return bad("%v", err)
	}
	e.body = b
	done.from = len(e.out)
	e.out = binary.AppendUvarint(e.out, uint64(len(b)))
	e.out = append(e.out, b...)
	done.to = len(e.out)
	return done, nil
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// stored appends the stored attributes.
func (e *encoder) stored(b []byte, o *Object, rdnAttr uint16) ([]byte, error) {
	e.attrs = e.attrs[:0]
	for i := range o.Attributes {
		a, ok := e.schema.Attribute(o.Attributes[i].Name)
		switch {
		case !ok:
			return nil, fault.New(fault.Invalid, "no attribute %q", o.Attributes[i].Name)
		case a.Secret || e.info[a.Number].made != notMade && a.Name != "objectSid":
			continue
		case e.info[a.Number].dn:
			return nil, fault.New(fault.Invalid, "%s: names of objects are links", a.Name)
		}
		e.attrs = append(e.attrs, encoding{uint16(a.Number), o.Attributes[i].Values})
	}
	slices.SortStableFunc(e.attrs, func(a, b encoding) int { return cmp.Compare(a.attr, b.attr) })
	for i := 0; i < len(e.attrs); {
		attr := e.attrs[i].attr
		b = binary.AppendUvarint(b, uint64(attr))
		// The size comes before the values, in as many bytes as it needs.
		start := len(b)
		for ; i < len(e.attrs) && e.attrs[i].attr == attr; i++ {
			for _, v := range e.attrs[i].values {
				if attr != rdnAttr || v != o.RDN.Value {
					b = e.value(b, v, o.RDN.Value)
				}
			}
		}
		var size [binary.MaxVarintLen64]byte
		n := binary.PutUvarint(size[:], uint64(len(b)-start))
		if len(b) == start { // nothing left of it
			b = b[:start-sizeOf(uint64(attr))]
			continue
		}
		b = slices.Insert(b, start, size[:n]...)
	}
	return b, nil
}

func sizeOf(n uint64) int {
	var b [binary.MaxVarintLen64]byte
	return binary.PutUvarint(b[:], n)
}

func (e *encoder) value(b []byte, v, rdn string) []byte {
	if v == rdn && len(v) > 1 {
		return append(b, wordRDN<<1|1)
	}
	if len(v) >= minWord && len(v) <= maxWord {
		if n, ok := e.x.dict.number[v]; ok {
			return binary.AppendUvarint(b, uint64(n)<<1|1)
		}
		if e.x.dict.frequent(v) {
			e.learn = append(e.learn, strings.Clone(v))
		}
	}
	b = binary.AppendUvarint(b, uint64(len(v))<<1)
	return append(b, v...)
}

func objectID(id uint32) directory.ObjectID { return directory.ObjectID(id) }

func usn(n uint64) directory.USN { return directory.USN(n) }
