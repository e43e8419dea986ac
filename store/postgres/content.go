package postgres

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
	"github.com/maypok86/otter/v2"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

// chunkSize is how much content one row of mail.blob holds before compression.
const chunkSize = 256 << 10

var (
	// The window is a chunk; more would only cost memory. Both are safe for
	// concurrent EncodeAll and DecodeAll.
	encoder, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(chunkSize), zstd.WithLowerEncoderMem(true))
	decoder, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(4*chunkSize))
)

// pack compresses a chunk, or gives it as it is when that is no longer.
func pack(raw []byte) []byte {
	if packed := encoder.EncodeAll(raw, make([]byte, 0, len(raw))); len(packed) < len(raw) {
		return packed
	}
	return raw
}

// unpack undoes pack; size is the length before compression.
func unpack(data []byte, size int64) ([]byte, error) {
	if int64(len(data)) == size {
		return append(make([]byte, 0, size), data...), nil
	}
	raw, err := decoder.DecodeAll(data, make([]byte, 0, size))
	if err == nil && int64(len(raw)) != size {
		err = errors.New("a chunk of content has the wrong length")
	}
	return raw, err
}

type chunkKey struct {
	hash [32]byte
	part int64
}

// chunkCache keeps decompressed chunks that were read.
type chunkCache struct {
	c *otter.Cache[chunkKey, []byte]
}

func newChunkCache(bytes int64) *chunkCache {
	if bytes < 0 {
		return &chunkCache{}
	}
	if bytes == 0 {
		bytes = defaultCache
	}
	return &chunkCache{otter.Must(&otter.Options[chunkKey, []byte]{
		MaximumWeight: uint64(bytes),
		Weigher:       func(_ chunkKey, b []byte) uint32 { return uint32(len(b) + 128) },
	})}
}

func (c *chunkCache) get(k chunkKey) ([]byte, bool) {
	if c.c == nil {
		return nil, false
	}
	return c.c.GetIfPresent(k)
}

func (c *chunkCache) put(k chunkKey, b []byte) {
	if c.c != nil {
		c.c.Set(k, b)
	}
}

// Content opens a message's bytes.
func (s *Store) Content(ctx context.Context, as directory.Principal, box store.MailboxID, item store.ItemID) (c store.Content, err error) {
	defer fault.Wrap(&err, "content of item %d of mailbox %d", item, box)
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return nil, err
	}
	if !x.all {
		seen, err := s.visibleItems(ctx, h, x, box, []store.ItemID{item})
		if err != nil {
			return nil, err
		}
		if seen[0] == 0 {
			return nil, fault.New(fault.NotFound, "no such message")
		}
	}
	m, err := s.message(ctx, h, box, item)
	if err != nil {
		return nil, err
	}
	return &content{s: s, h: h, ctx: ctx, prefix: m.Prefix, hash: m.blob, blobSize: m.blobSize}, nil
}

// content reads a prefix and the chunks after it.
type content struct {
	s        *Store
	h        *home
	ctx      context.Context // the interface is io.ReaderAt, which has none
	prefix   []byte
	hash     [32]byte
	blobSize int64
	last     atomic.Pointer[chunk] // for small reads one after another
}

type chunk struct {
	part int64
	data []byte
}

func (c *content) Size() int64 { return int64(len(c.prefix)) + c.blobSize }

// ReadAt reads as io.ReaderAt demands.
func (c *content) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fault.New(fault.Invalid, "a negative offset")
	}
	for n < len(p) {
		at := off + int64(n)
		if at >= c.Size() {
			return n, io.EOF
		}
		if at < int64(len(c.prefix)) {
			n += copy(p[n:], c.prefix[at:])
			continue
		}
		at -= int64(len(c.prefix))
		part := at / chunkSize
		data, err := c.chunk(part, (at+int64(len(p)-n)-1)/chunkSize)
		if err != nil {
			return n, err
		}
		if at-part*chunkSize >= int64(len(data)) {
			return n, errors.New("content is shorter than its size")
		}
		n += copy(p[n:], data[at-part*chunkSize:])
	}
	return n, nil
}

// readAhead bounds how many chunks one query reads.
const readAhead = 8

// chunk gives one chunk; the caller will want those up to last too.
func (c *content) chunk(part, last int64) ([]byte, error) {
	if l := c.last.Load(); l != nil && l.part == part {
		return l.data, nil
	}
	data, ok := c.s.chunks.get(chunkKey{c.hash, part})
	if !ok {
		last = min(last, part+readAhead-1, (c.blobSize-1)/chunkSize)
		if c.s.chunks.c == nil {
			last = part // there is nowhere to keep more
		}
		var err error
		if data, err = c.read(part, last); err != nil {
			return nil, err
		}
	}
	c.last.Store(&chunk{part, data})
	return data, nil
}

// read reads the chunks part to last, keeps them and gives the first.
func (c *content) read(part, last int64) (first []byte, err error) {
	err = reading(c.ctx, func() error {
		first, err = c.readOnce(part, last)
		return err
	})
	return first, err
}

func (c *content) readOnce(part, last int64) (first []byte, err error) {
	rows, err := c.h.db.Query(c.ctx, "select part, size, data from mail.blob where hash = $1 and part between $2 and $3",
		c.hash[:], part, last)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		v := rows.RawValues()
		if len(v[0]) != 4 || len(v[1]) != 8 {
			return nil, errFormat
		}
		at := int64(int32(uint32(v[0][0])<<24 | uint32(v[0][1])<<16 | uint32(v[0][2])<<8 | uint32(v[0][3])))
		data, err := unpack(v[2], int64Of(v[1]))
		if err != nil {
			return nil, err
		}
		c.s.chunks.put(chunkKey{c.hash, at}, data)
		if at == part {
			first = data
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if first == nil {
		return nil, fault.New(fault.NotFound, "the message is gone")
	}
	return first, nil
}

// warmBytes bounds what one Warm reads, compressed and decompressed alike.
const warmBytes = 16 << 20

// Warm reads the beginnings of messages into memory, in one question for all that
// are not there yet. It reads nothing where contents are not kept.
func (s *Store) Warm(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) (err error) {
	defer fault.Wrap(&err, "warm mailbox %d", box)
	h, x, err := s.enter(ctx, as, box)
	if err != nil || s.chunks.c == nil {
		return err
	}
	if !x.all {
		if items, err = s.visibleItems(ctx, h, x, box, items); err != nil {
			return err
		}
	}
	if _, err := s.Messages(ctx, as, box, items); err != nil {
		return err
	}
	var hashes [][]byte
	var bytes int64
	for _, item := range items {
		m := s.messages.get(messageKey{box, item})
		if m == nil || m.blobSize == 0 {
			continue
		}
		if _, ok := s.chunks.get(chunkKey{m.blob, 0}); ok {
			continue
		}
		if bytes += min(m.blobSize, chunkSize); bytes > warmBytes {
			break
		}
		hashes = append(hashes, m.blob[:])
	}
	if len(hashes) < 2 {
		return nil // one question either way
	}
	return s.firstChunks(ctx, h, hashes, func([32]byte, []byte) {})
}

// firstChunks reads the first chunks of contents in one question, keeps them in
// memory and gives each to fn, which may be called again for one.
func (s *Store) firstChunks(ctx context.Context, h *home, hashes [][]byte, fn func(hash [32]byte, data []byte)) error {
	return reading(ctx, func() error {
		rows, err := h.db.Query(ctx, "select hash, size, data from mail.blob where hash = any($1) and part = 0", hashes)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			v := rows.RawValues()
			if len(v[0]) != 32 || len(v[1]) != 8 {
				return errFormat
			}
			data, err := unpack(v[2], int64Of(v[1]))
			if err != nil {
				return err
			}
			hash := [32]byte(v[0])
			s.chunks.put(chunkKey{hash, 0}, data)
			fn(hash, data)
		}
		return rows.Err()
	})
}
