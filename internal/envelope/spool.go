package envelope

import (
	"errors"
	"io"
	"os"
	"sync"
)

// MemoryLimit is how much of a message is kept in memory before the rest goes
// to an unlinked file.
const MemoryLimit = 256 << 10

var spoolBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}

// Spool keeps a message aside until it is committed elsewhere. It is written
// once, then read as often as needed; Close frees it. It is no durable place.
type Spool struct {
	dir  string
	mem  *[]byte
	file *os.File
	size int64
}

// NewSpool makes an empty spool whose file, if one is needed, is in dir (the
// system's folder for temporary files when empty).
func NewSpool(dir string) *Spool {
	return &Spool{dir: dir, mem: spoolBuffers.Get().(*[]byte)}
}

// Write adds to the spool.
func (s *Spool) Write(p []byte) (int, error) {
	if s.mem == nil {
		return 0, os.ErrClosed
	}
	rest := p
	if s.file == nil {
		n := min(MemoryLimit-len(*s.mem), len(p))
		*s.mem = append(*s.mem, p[:n]...)
		s.size += int64(n)
		if rest = p[n:]; len(rest) == 0 {
			return len(p), nil
		}
		f, err := os.CreateTemp(s.dir, "waypost-spool-*")
		if err != nil {
			return n, err
		}
		// Unlinked at once, so that a killed process leaves nothing behind.
		if err := os.Remove(f.Name()); err != nil {
			f.Close()
			return n, err
		}
		s.file = f
	}
	n, err := s.file.Write(rest)
	s.size += int64(n)
	return len(p) - len(rest) + n, err
}

// Size is the number of bytes written.
func (s *Spool) Size() int64 { return s.size }

// ReadAt reads from memory and file alike.
func (s *Spool) ReadAt(p []byte, off int64) (n int, err error) {
	if s.mem == nil {
		return 0, os.ErrClosed
	}
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	if off < int64(len(*s.mem)) {
		n = copy(p, (*s.mem)[off:])
	}
	if n < len(p) && s.file != nil {
		m, err := s.file.ReadAt(p[n:], off+int64(n)-int64(len(*s.mem)))
		return n + m, err
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Reader reads the spool from its beginning; each call gives a reader of its own.
func (s *Spool) Reader() io.Reader { return io.NewSectionReader(s, 0, s.size) }

// Close frees memory and file. Readers must not be used afterwards.
func (s *Spool) Close() error {
	if s.mem == nil {
		return nil
	}
	*s.mem = (*s.mem)[:0]
	spoolBuffers.Put(s.mem)
	s.mem = nil
	if s.file != nil {
		return s.file.Close()
	}
	return nil
}

// Body is a message that can be read several times.
type Body interface {
	// Reader reads it from the beginning.
	Reader() io.Reader
	// Size is its length in bytes.
	Size() int64
}

// Replaced is a body whose first bytes are replaced by others: how submission
// adds and strips headers without touching the rest.
type Replaced struct {
	Head []byte // instead of the first Skip bytes
	Skip int64
	Of   interface {
		io.ReaderAt
		Size() int64
	}
}

// Reader reads it from the beginning.
func (r *Replaced) Reader() io.Reader {
	rest := io.NewSectionReader(r.Of, r.Skip, max(0, r.Of.Size()-r.Skip))
	return io.MultiReader(&byteReader{b: r.Head}, rest)
}

// Size is its length in bytes.
func (r *Replaced) Size() int64 { return int64(len(r.Head)) + max(0, r.Of.Size()-r.Skip) }

type byteReader struct{ b []byte }

func (r *byteReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}
