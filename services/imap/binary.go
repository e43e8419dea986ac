package imap

import (
	"bytes"
	"io"

	"github.com/emersion/go-imap/v2"

	"waypost/internal/mail"
	"waypost/services/imap/imapwire"
)

// decodable are the transfer encodings that BINARY can take off (RFC 3516
// section 4.3).
func decodable(encoding string) bool {
	switch encoding {
	case "", "7bit", "8bit", "binary", "base64", "quoted-printable", "x-uuencode", "uuencode", "x-uue", "uue":
		return true
	}
	return false
}

var errUnknownCTE = no("UNKNOWN-CTE", "A part has an unknown transfer encoding")

// decoded opens a part without its transfer encoding, afresh at each call; the
// empty path is the message itself. found is false when there is no such part.
func (f *fetched) decoded(path []int) (open func() io.Reader, found bool, err error) {
	if len(path) == 0 {
		return func() io.Reader { return &slice{f.content, 0, f.content.Size()} }, true, nil
	}
	part := mail.Find(f.summary().Root, path)
	if part == nil {
		return nil, false, nil
	}
	if part.IsMultipart() || part.IsMessage() {
		return func() io.Reader { return part.Raw(f.received()) }, true, nil
	}
	if !decodable(part.Encoding) {
		return nil, true, errUnknownCTE
	}
	return func() io.Reader { return part.Decoded(f.received()) }, true, nil
}

// measure counts the bytes of a decoded part, and whether NUL is among them. A
// literal's size comes before its content, so the part is decoded twice rather
// than held.
func measure(r io.Reader, skip, limit int64) (size int64, nul bool, err error) {
	buf := copyBuffers.Get().(*[32 << 10]byte)
	defer copyBuffers.Put(buf)
	pos := int64(0)
	for {
		n, err := r.Read(buf[:])
		lo, hi := max(skip-pos, 0), min(int64(n), limit-pos)
		if lo < hi {
			nul = nul || bytes.IndexByte(buf[lo:hi], 0) >= 0
			size += hi - lo
		}
		pos += int64(n)
		if err == io.EOF || err == nil && pos >= limit { //nolint:errorlint // by the contract of io.Reader
			return size, nul, nil
		}
		if err != nil {
			return 0, false, err
		}
	}
}

const noLimit = int64(1) << 62

// checkBinary finds unknown encodings before anything of a response is written.
func (f *fetched) checkBinary(q *fetchRequest) error {
	for i := range q.items {
		if it := &q.items[i]; it.kind == fetchBinary || it.kind == fetchBinarySize {
			if _, _, err := f.decoded(it.part); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeBinary writes BINARY[...] (RFC 9051 section 6.4.5, RFC 3516 section 4.2).
func (f *fetched) writeBinary(e *imapwire.Encoder, it *fetchItem) error {
	e.BinarySection("BINARY", it.part, it.partial)
	e.SP()
	open, found, err := f.decoded(it.part)
	if err != nil {
		return err
	}
	if !found {
		e.NIL()
		return nil
	}
	skip, limit := int64(0), noLimit
	if it.partial != nil {
		skip = it.partial.Offset
		limit = skip + min(it.partial.Size, noLimit-skip)
	}
	size, nul, err := measure(open(), skip, limit)
	if err != nil {
		return err
	}
	r := open()
	if skip > 0 && size > 0 {
		if _, err := io.CopyN(io.Discard, r, skip); err != nil {
			return err
		}
	}
	if nul { // RFC 3516 section 4.2: literal8 where there is a NUL
		e.Literal8(size, r)
	} else {
		e.Literal(size, r)
	}
	return e.Err()
}

// writeBinarySize writes BINARY.SIZE[...] (RFC 3516 section 4.3).
func (f *fetched) writeBinarySize(e *imapwire.Encoder, it *fetchItem) error {
	e.BinarySection("BINARY.SIZE", it.part, (*imap.SectionPartial)(nil))
	e.SP()
	open, found, err := f.decoded(it.part)
	if err != nil {
		return err
	}
	size := int64(0)
	if found {
		if size, _, err = measure(open(), 0, noLimit); err != nil {
			return err
		}
	}
	e.Number(uint64(size))
	return nil
}
