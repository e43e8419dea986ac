package postgres

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"hash"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/store"
)

// smallBlob is the greatest content that is kept in memory until it is written
// in the transaction of what refers to it, in bytes.
const smallBlob = 64 << 10

// NewBlob begins to write content. The context bounds the writing too.
func (s *Store) NewBlob(ctx context.Context, homeMDB string) (store.BlobWriter, error) {
	h, err := s.home(homeMDB)
	if err != nil {
		return nil, err
	}
	return &blobWriter{s: s, h: h, ctx: ctx, sum: sha256.New()}, nil
}

// blobWriter holds at most one chunk. The hash is known only at the end, so the
// chunks of large content are written under a random name and renamed then;
// what a crash leaves behind is in mail.blob_check and collected a day later.
//
// These transactions do not wait for the disk (synchronous_commit is off): the
// commit of the message that refers to the content does, and it flushes the
// log up to itself, which is after everything written here.
type blobWriter struct {
	s    *Store
	h    *home
	ctx  context.Context // Write has none
	sum  hash.Hash
	buf  []byte
	size int64
	name [32]byte // while the hash is unknown
	part int      // chunks written
	err  error
	done bool
}

func (w *blobWriter) Write(p []byte) (n int, err error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.done {
		return 0, fault.New(fault.Invalid, "written after the end")
	}
	if w.size+int64(len(p)) > w.s.opts.MaxMessage {
		w.err = fault.New(fault.TooLarge, "the message is larger than %d bytes", w.s.opts.MaxMessage)
		return 0, w.err
	}
	w.sum.Write(p)
	w.size += int64(len(p))
	n = len(p)
	for len(p) > 0 {
		if len(w.buf) == chunkSize {
			if w.err = w.writeChunk(); w.err != nil {
				return 0, w.err
			}
		}
		k := min(len(p), chunkSize-len(w.buf))
		w.buf = append(w.buf, p[:k]...)
		p = p[k:]
	}
	return n, nil
}

// transact runs statements in a transaction whose commit is not waited for.
func (w *blobWriter) transact(ctx context.Context, fill func(*pgx.Batch)) error {
	return w.h.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		b := &pgx.Batch{}
		b.Queue("set local synchronous_commit = off")
		fill(b)
		return tx.SendBatchAndCommit(ctx, b)
	})
}

const insertChunk = "insert into mail.blob (hash, part, size, data) values ($1, $2, $3, $4)"

// checkLater has the collector look at a content a day from now.
const checkLater = "insert into mail.blob_check (hash) values ($1) on conflict (hash) do update set at = now()"

func (w *blobWriter) writeChunk() error {
	if w.part == 0 {
		rand.Read(w.name[:])
	}
	data := pack(w.buf)
	err := w.transact(w.ctx, func(b *pgx.Batch) {
		if w.part == 0 {
			b.Queue(checkLater, w.name[:])
		}
		b.Queue(insertChunk, w.name[:], w.part, int64(len(w.buf)), data)
	})
	if err != nil {
		return err
	}
	w.part++
	w.buf = w.buf[:0]
	return nil
}

// Close ends the content. After it the blob may be referred to.
func (w *blobWriter) Close(ctx context.Context) (b store.Blob, err error) {
	defer fault.Wrap(&err, "end of content")
	switch {
	case w.err != nil:
		w.Abort()
		return b, w.err
	case w.done:
		return b, fault.New(fault.Invalid, "ended twice")
	}
	b.Size = w.size
	w.sum.Sum(b.Hash[:0])
	if w.part == 0 && w.size <= smallBlob {
		w.done = true
		b.Small = slices.Clip(w.buf)
		if b.Small == nil {
			b.Small = []byte{}
		}
		return b, nil
	}
	if err := w.finish(ctx, b.Hash); err != nil {
		w.Abort()
		return store.Blob{}, err
	}
	w.done = true
	return b, nil
}

// finish writes the last chunk and gives the content its real name, unless the
// database has it already.
func (w *blobWriter) finish(ctx context.Context, hash [32]byte) error {
	if w.part > 0 && len(w.buf) > 0 {
		if err := w.writeChunk(); err != nil {
			return err
		}
	}
	var data []byte
	if w.part == 0 {
		data = pack(w.buf) // one chunk, never written under another name
	}
	for range 5 {
		there := false
		err := w.transactChecked(ctx, hash, func(ctx context.Context, tx *pgdb.Tx) error {
			// Locked, it stays for a day from now: the collector looks at
			// blob_check again when it has the lock.
			tag, err := tx.Exec(ctx, "select from mail.blob where hash = $1 and part = 0 for key share", hash[:])
			there = err == nil && tag.RowsAffected() == 1
			return err
		}, func(b *pgx.Batch) {
			switch {
			case there && w.part > 0:
				b.Queue("delete from mail.blob where hash = $1", w.name[:])
				b.Queue("delete from mail.blob_check where hash = $1", w.name[:])
			case there:
			case w.part > 0:
				b.Queue("update mail.blob set hash = $2 where hash = $1", w.name[:], hash[:])
				b.Queue("delete from mail.blob_check where hash = $1", w.name[:])
			default:
				b.Queue(insertChunk, hash[:], 0, int64(len(w.buf)), data)
			}
		})
		if fault.Of(err) != fault.Exists { // somebody wrote the same at the same time
			return err
		}
	}
	return fault.New(fault.Unavailable, "the content cannot be stored now")
}

func (w *blobWriter) transactChecked(ctx context.Context, hash [32]byte, look func(context.Context, *pgdb.Tx) error, fill func(*pgx.Batch)) error {
	return w.h.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		if err := look(ctx, tx); err != nil {
			return err
		}
		b := &pgx.Batch{}
		b.Queue("set local synchronous_commit = off")
		b.Queue(checkLater, hash[:])
		fill(b)
		return tx.SendBatchAndCommit(ctx, b)
	})
}

// Abort drops the content; after Close it does nothing.
func (w *blobWriter) Abort() {
	if w.done {
		return
	}
	w.done = true
	w.buf = nil
	if w.part == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), 10*time.Second)
	defer cancel()
	// A failure is no harm: the collector comes tomorrow.
	_ = w.transact(ctx, func(b *pgx.Batch) {
		b.Queue("delete from mail.blob where hash = $1", w.name[:])
		b.Queue("delete from mail.blob_check where hash = $1", w.name[:])
	})
}
