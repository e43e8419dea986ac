package eas

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
)

// spoolMemory is how much of a message from a phone is held in memory; more
// goes to a file.
const spoolMemory = 1 << 20

// spool is a message on its way in, which has to be read more than once.
type spool struct {
	buf  []byte
	file *os.File // nil while it fits the memory
	size int64
	sum  [sha256.Size]byte
}

func (s *spool) ReadAt(p []byte, off int64) (int, error) {
	if s.file != nil {
		return s.file.ReadAt(p, off)
	}
	return bytes.NewReader(s.buf).ReadAt(p, off)
}

func (s *spool) reader() *io.SectionReader { return io.NewSectionReader(s, 0, s.size) }

// spooler makes spools and removes them at the end of a request.
type spooler struct{ all []*spool }

// take reads r to its end.
func (p *spooler) take(r io.Reader) (*spool, error) {
	s := &spool{}
	p.all = append(p.all, s)
	h := sha256.New()
	r = io.TeeReader(r, h)
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(r, spoolMemory+1))
	if err != nil {
		return nil, err
	}
	s.buf, s.size = buf.Bytes(), n
	if n > spoolMemory {
		if s.file, err = os.CreateTemp("", "waypost-eas-*"); err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		// Nobody else needs its name, and nothing of it stays behind.
		if err := os.Remove(s.file.Name()); err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		if _, err := s.file.Write(s.buf); err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		s.buf = nil
		rest, err := io.Copy(s.file, r)
		if err != nil {
			return nil, err
		}
		s.size += rest
	}
	h.Sum(s.sum[:0])
	return s, nil
}

// sink is a wbxml.Sink that spools large values.
func (p *spooler) sink(_ wbxml.Tag, _ int64, r io.Reader) (any, error) { return p.take(r) }

// value gives the content of an element as a spool, wherever it is.
func (p *spooler) value(n *wbxml.Node) (*spool, error) {
	if n == nil {
		return nil, fault.New(fault.Invalid, "no content")
	}
	if s, ok := n.Sunk.(*spool); ok {
		return s, nil
	}
	return spoolOf([]byte(n.Value())), nil
}

func spoolOf(b []byte) *spool { return &spool{buf: b, size: int64(len(b)), sum: sha256.Sum256(b)} }

func (p *spooler) close() {
	for _, s := range p.all {
		if s.file != nil {
			_ = s.file.Close() // removed already
		}
	}
	p.all = nil
}
