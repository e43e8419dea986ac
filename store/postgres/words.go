package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/store"
	"waypost/store/words"
)

const (
	// catchUp is how long a question waits for the index to have what came last.
	catchUp = 300 * time.Millisecond
	// maxHits bounds the lists that one question reads, in bytes.
	maxHits = 64 << 20
)

// WithWords gives the messages whose words contain all words of a text.
func (s *Store) WithWords(ctx context.Context, as directory.Principal, box store.MailboxID, q store.WordQuery) (found store.WithWords, err error) {
	defer fault.Wrap(&err, "find words in mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return found, err
	}
	return s.withWords(ctx, h, box, q)
}

var wordFields = map[store.WordField]words.Field{
	store.WordsSubject: words.Subject, store.WordsFrom: words.From, store.WordsTo: words.To,
	store.WordsCc: words.Cc, store.WordsBcc: words.Bcc, store.WordsBody: words.Body, store.WordsFile: words.File,
	store.WordsHeader: words.Header,
}

func (s *Store) withWords(ctx context.Context, h *home, box store.MailboxID, q store.WordQuery) (found store.WithWords, err error) {
	return s.matching(ctx, h, box, matcher(q))
}

// matching asks the index, which gets what came last before.
func (s *Store) matching(ctx context.Context, h *home, box store.MailboxID, m *words.Matcher) (found store.WithWords, err error) {
	if m.Empty() {
		found.All = true
		return found, nil
	}
	behind, err := s.caughtUp(ctx, h, box)
	if err != nil {
		return found, err
	}
	err = reading(ctx, func() error {
		found = store.WithWords{Behind: behind}
		return h.db.Snapshot(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
			return lookUpWords(ctx, tx, box, m, &found)
		})
	})
	return found, err
}

func matcher(q store.WordQuery) *words.Matcher {
	var fields []words.Field
	for bit, f := range wordFields {
		if q.Fields&bit != 0 {
			fields = append(fields, f)
		}
	}
	return words.NewMatcher(q.Text, q.Loose, fields...)
}

// segment is one that is being searched.
type segment struct {
	items []int64
	found *words.Found
	hits  map[int32][]words.Hit // by block
}

func lookUpWords(ctx context.Context, tx *pgdb.Tx, box store.MailboxID, m *words.Matcher, found *store.WithWords) error {
	var lo, hi [][]byte
	for _, r := range m.Ranges() {
		lo, hi = append(lo, []byte(r.Low)), append(hi, []byte(r.High))
	}
	segments := map[int64]*segment{}
	var order []int64
	b := &pgx.Batch{}
	b.Queue("select upto from mail.words_position where mailbox = $1", int64(box)).QueryRow(func(row pgx.Row) error {
		err := row.Scan(&found.Upto)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	b.Queue("select segment, docs, items from mail.words_segment where mailbox = $1 order by segment", int64(box)).Query(func(rows pgx.Rows) error {
		var id int64
		var docs int
		var data []byte
		_, err := pgx.ForEachRow(rows, []any{&id, &docs, &data}, func() error {
			items, err := unpackItems(data, docs)
			segments[id] = &segment{items: items, found: m.NewFound(len(items)), hits: map[int32][]words.Hit{}}
			order = append(order, id)
			return err
		})
		return err
	})
	var hit struct {
		segments []int64
		blocks   []int32
	}
	b.Queue(`
		select segment, block, terms_size, terms from mail.words_block w
		where mailbox = $1 and exists (
			select from unnest($2::bytea[], $3::bytea[]) as r (low, high) where w.last >= r.low and w.first < r.high)`,
		int64(box), lo, hi).Query(func(rows pgx.Rows) error {
		var id, size int64
		var block int32
		var data []byte
		_, err := pgx.ForEachRow(rows, []any{&id, &block, &size, &data}, func() error {
			terms, err := unpack(data, size)
			if err != nil {
				return err
			}
			hits, err := m.Hits(&words.Block{Terms: terms})
			if seg := segments[id]; seg != nil && len(hits) > 0 {
				seg.hits[block] = hits
				hit.segments, hit.blocks = append(hit.segments, id), append(hit.blocks, block)
			}
			return err
		})
		return err
	})
	if err := tx.Batch(ctx, b); err != nil {
		return err
	}
	if len(hit.segments) == 0 || m.Empty() {
		return nil
	}
	rows, err := tx.Query(ctx, `
		select segment, block, lists_size, lists from mail.words_block
		join unnest($2::bigint[], $3::int[]) as u (s, b) on segment = s and block = b
		where mailbox = $1`, int64(box), hit.segments, hit.blocks)
	if err != nil {
		return err
	}
	var id, size int64
	var block int32
	var data []byte
	read := 0
	if _, err := pgx.ForEachRow(rows, []any{&id, &block, &size, &data}, func() error {
		lists, err := unpack(data, size)
		if err != nil {
			return err
		}
		if read += len(lists); read > maxHits {
			return fault.New(fault.Limit, "too many words fit; look for longer ones")
		}
		seg := segments[id]
		for _, hit := range seg.hits[block] {
			if err := seg.found.Add(hit, lists); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for _, id := range order {
		seg := segments[id]
		seg.found.Places(func(p int) { found.Items = append(found.Items, store.ItemID(seg.items[p])) })
	}
	return nil
}

// caughtUp gives the index what came last, as far as that takes a moment only, and
// tells whether something is left.
func (s *Store) caughtUp(ctx context.Context, h *home, box store.MailboxID) (behind bool, err error) {
	begun := time.Now()
	for {
		behind, err := s.fillWords(ctx, h, box, fillBatch)
		if err != nil || !behind || time.Since(begun) > catchUp {
			return behind, err
		}
	}
}

func packItems(items []int64) []byte {
	var b []byte
	before := int64(0)
	for _, i := range items {
		b = binary.AppendUvarint(b, uint64(i-before)) //nolint:gosec // ascending
		before = i
	}
	return b
}

func unpackItems(data []byte, docs int) ([]int64, error) {
	if docs < 0 || docs > len(data) {
		return nil, errFormat
	}
	items := make([]int64, 0, docs)
	at := int64(0)
	for len(data) > 0 {
		d, n := binary.Uvarint(data)
		if n <= 0 || d == 0 || len(items) == docs {
			return nil, errFormat
		}
		at += int64(d) //nolint:gosec // an id
		items = append(items, at)
		data = data[n:]
	}
	if len(items) != docs {
		return nil, errFormat
	}
	return items, nil
}
