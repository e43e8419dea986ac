package imap

import (
	"io"

	"github.com/emersion/go-imap/v2"

	"waypost/internal/mail"
	"waypost/services/imap/imapwire"
)

// slice reads a part of a message's content.
type slice struct {
	c       io.ReaderAt
	off, to int64
}

func (s *slice) Read(p []byte) (int, error) {
	left := s.to - s.off
	if left <= 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > left {
		p = p[:left]
	}
	n, err := s.c.ReadAt(p, s.off)
	s.off += int64(n)
	if n == len(p) {
		err = nil
	}
	return n, err
}

// received is the message as it was received, without the trace headers before
// it: what the offsets of a Summary count in.
func (f *fetched) received() io.ReaderAt {
	p := int64(len(f.msg.Prefix))
	if p == 0 {
		return f.content
	}
	return io.NewSectionReader(f.content, p, f.content.Size()-p)
}

// section finds where in the content a section lies (RFC 9051 section 6.4.5);
// ok is false when there is no such part. Fields of a header are another matter.
func (f *fetched) section(s *imap.FetchItemBodySection) (from, to int64, ok bool) {
	root := f.summary().Root
	prefix, size := int64(len(f.msg.Prefix)), f.content.Size()
	if len(s.Part) == 0 {
		switch s.Specifier {
		case imap.PartSpecifierHeader:
			return 0, prefix + root.BodyStart, true // trace headers are headers
		case imap.PartSpecifierText:
			return prefix + root.BodyStart, size, true
		}
		return 0, size, true
	}
	part := mail.Find(root, s.Part)
	if part == nil {
		return 0, 0, false
	}
	switch s.Specifier {
	case imap.PartSpecifierMIME:
		return prefix + part.HeaderStart, prefix + part.BodyStart, true
	case imap.PartSpecifierHeader, imap.PartSpecifierText:
		// "only if the part is MESSAGE/RFC822 or MESSAGE/GLOBAL"
		m := part.Message
		if m == nil {
			return 0, 0, false
		}
		if s.Specifier == imap.PartSpecifierHeader {
			return prefix + m.HeaderStart, prefix + m.BodyStart, true
		}
		return prefix + m.BodyStart, prefix + m.BodyEnd, true
	}
	return prefix + part.BodyStart, prefix + part.BodyEnd, true
}

// clip cuts a range to what a partial asks for (RFC 9051 section 6.4.5: beyond
// the end is an empty string).
func clip(from, to int64, p *imap.SectionPartial) (int64, int64) {
	if p == nil {
		return from, to
	}
	if p.Offset >= to-from {
		return to, to
	}
	from += p.Offset
	if p.Size < to-from {
		to = from + p.Size
	}
	return from, to
}

// writeSection writes BODY[...] as a slice of the content.
func (f *fetched) writeSection(e *imapwire.Encoder, it *fetchItem) error {
	s := it.section
	if it.name != "" {
		e.Raw(it.name)
	} else {
		e.BodySection(s)
	}
	e.SP()
	from, to, ok := f.section(s)
	if !ok {
		e.NIL()
		return nil
	}
	if len(s.HeaderFields) > 0 || len(s.HeaderFieldsNot) > 0 {
		b, err := f.headerFields(from, to, s)
		if err != nil {
			return err
		}
		lo, hi := clip(0, int64(len(b)), s.Partial)
		e.LiteralBytes(b[lo:hi])
		return nil
	}
	from, to = clip(from, to, s.Partial)
	f.reader = slice{f.content, from, max(from, to)}
	e.Literal(max(from, to)-from, &f.reader)
	return e.Err()
}

// maxHeader bounds the header that is held in memory to choose fields from it.
const maxHeader = 4 << 20

func (f *fetched) headerFields(from, to int64, s *imap.FetchItemBodySection) ([]byte, error) {
	raw := make([]byte, min(to-from, maxHeader))
	f.reader = slice{f.content, from, from + int64(len(raw))}
	if _, err := io.ReadFull(&f.reader, raw); err != nil {
		return nil, err
	}
	if len(s.HeaderFields) > 0 {
		return mail.ParseFields(raw).Filter(s.HeaderFields, false), nil
	}
	return mail.ParseFields(raw).Filter(s.HeaderFieldsNot, true), nil
}
