package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/store"
)

// maxMediaType bounds a media type in bytes.
const maxMediaType = 255

// AddUpload keeps content for a day.
func (s *Store) AddUpload(ctx context.Context, as directory.Principal, box store.MailboxID, blob store.Blob, mediaType string) (u store.Upload, err error) {
	defer fault.Wrap(&err, "upload to mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return u, err
	}
	if len(mediaType) > maxMediaType || mediaType != clean(mediaType) {
		return u, fault.New(fault.Invalid, "that is no media type")
	}
	var chunk []byte
	if blob.Small != nil {
		chunk = pack(blob.Small)
	}
	u = store.Upload{ID: rand.Int64N(1<<62) + 1, Size: blob.Size, Type: mediaType}
	err = h.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		var there bool
		err := tx.QueryRow(ctx, "select true from mail.blob where hash = $1 and part = 0 for key share", blob.Hash[:]).Scan(&there)
		switch {
		case err == nil:
		case !errors.Is(err, pgx.ErrNoRows):
			return err
		case chunk == nil:
			return fault.New(fault.Unavailable, "the content is gone, upload it again")
		}
		b := &pgx.Batch{}
		if !there {
			b.Queue(insertChunk+" on conflict do nothing", blob.Hash[:], 0, blob.Size, chunk)
		}
		b.Queue("insert into mail.upload (mailbox, owner, id, size, blob, type) values ($1, $2, $3, $4, $5, $6)",
			int64(box), int64(as.ID), u.ID, u.Size, blob.Hash[:], u.Type)
		// RFC 8620 section 6: over quota, the oldest go until there is room.
		b.Queue(`
			with gone as (
				delete from mail.upload where mailbox = $1 and owner = $2 and id in (
					select id from (
						select id, sum(size) over (order by at desc, id) as upto from mail.upload
						where mailbox = $1 and owner = $2) o
					where upto > $3 and id <> $4)
				returning blob)
			insert into mail.blob_check (hash) select distinct blob from gone on conflict (hash) do update set at = now()`,
			int64(box), int64(as.ID), int64(store.UploadQuota), u.ID)
		return tx.SendBatchAndCommit(ctx, b)
	})
	if err != nil {
		return store.Upload{}, err
	}
	return u, nil
}

// Upload opens what somebody uploaded.
func (s *Store) Upload(ctx context.Context, as directory.Principal, box store.MailboxID, id int64) (u store.Upload, c store.Content, err error) {
	defer fault.Wrap(&err, "upload %d of mailbox %d", id, box)
	h, err := s.open(as, box)
	if err != nil {
		return u, nil, err
	}
	out := &content{s: s, h: h, ctx: ctx}
	var hash []byte
	err = reading(ctx, func() error {
		return h.db.QueryRow(ctx, "select id, size, type, blob from mail.upload where mailbox = $1 and owner = $2 and id = $3",
			int64(box), int64(as.ID), id).Scan(&u.ID, &u.Size, &u.Type, &hash)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return u, nil, fault.New(fault.NotFound, "no such upload")
	}
	if err != nil {
		return u, nil, err
	}
	copy(out.hash[:], hash)
	out.blobSize = u.Size
	return u, out, nil
}

// purgeUploads forgets what was uploaded before.
func purgeUploads(ctx context.Context, h *home, until time.Time) (n int, err error) {
	err = alone(ctx, h, func(ctx context.Context, tx *pgdb.Tx) error {
		return tx.QueryRow(ctx, `
			with gone as (
				delete from mail.upload where ctid = any(array(select ctid from mail.upload where at < $1 limit $2)) returning blob),
			later as (
				insert into mail.blob_check (hash) select distinct blob from gone on conflict (hash) do update set at = now())
			select count(*) from gone`, until, sweepBatch).Scan(&n)
	})
	return n, err
}
