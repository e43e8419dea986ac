package postgres

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/internal/pgdb"
	"waypost/store"
	"waypost/store/words"
)

const (
	fillBatch    = 128      // messages of one segment that is written first
	fillBytes    = 16 << 20 // of messages of one such segment, about
	contentBytes = 8 << 20  // of contents that are held at once
	tierFactor   = 8        // so many segments of one size become one
	maxSegment   = 32 << 10 // items from which a segment stays as it is
)

// fillWords reads messages that are not in the index into a new segment; more
// tells that others are left. Two processes may do the same at once: the position
// lets one of them write.
func (s *Store) fillWords(ctx context.Context, h *home, box store.MailboxID, batch int) (more bool, err error) {
	var from, upto int64
	var list []*message
	read := func(ctx context.Context, tx *pgdb.Tx) error {
		list = nil
		b := &pgx.Batch{}
		b.Queue("select coalesce((select upto from mail.words_position where mailbox = $1), 0), coalesce((select next_id - 1 from mail.mailbox where id = $1), 0)", int64(box)).
			QueryRow(func(row pgx.Row) error { return row.Scan(&from, &upto) })
		b.Queue(`
			select `+messageCols+` from mail.message
			where mailbox = $1 and item > coalesce((select upto from mail.words_position where mailbox = $1), 0)
			order by item limit $2`, int64(box), batch).
			Query(func(rows pgx.Rows) error {
				return s.collectMessages(rows, box, func(m *message) { list = append(list, m) })
			})
		return tx.Batch(ctx, b)
	}
	if err := reading(ctx, func() error { return h.db.Snapshot(ctx, read) }); err != nil {
		return false, err
	}
	if upto <= from {
		return false, nil
	}
	var size int64
	for i, m := range list {
		if size += m.blobSize; size > fillBytes && i > 0 {
			list = list[:i]
			more = true
			break
		}
	}
	if more = more || len(list) == batch; more {
		upto = int64(list[len(list)-1].Item)
	}
	items, docs, err := s.messageWords(ctx, h, box, list)
	if err != nil {
		return false, err
	}
	err = s.writeWords(ctx, h, box, from, upto, items, words.Build(docs))
	if errors.Is(err, errOvertaken) {
		return true, nil // perhaps not as far
	}
	if err == nil && len(items) > 0 {
		err = s.mergeWords(ctx, h, box)
	}
	return more, err
}

// messageWords gives the words of messages.
func (s *Store) messageWords(ctx context.Context, h *home, box store.MailboxID, list []*message) (items []int64, docs [][]string, err error) {
	err = s.contents(ctx, h, list, func(m *message, c io.ReaderAt) error {
		d := words.NewDoc()
		if m.Summary.Attachments > 0 {
			d.Mark(words.HasFile)
		}
		if err := eachText(m.Summary, c, d.Read); err != nil {
			if ctx.Err() != nil || fault.Of(err) == fault.Unavailable {
				return err
			}
			// One message that cannot be read must not keep the others out.
			s.log.WarnContext(ctx, "a message is found by a part of its words only", slog.Int64("mailbox", int64(box)), slog.Int64("item", int64(m.Item)), slog.Any("fault", err))
		}
		items, docs = append(items, int64(m.Item)), append(docs, d.Terms())
		return nil
	})
	return items, docs, err
}

// contents calls fn with each message and its content as received. Small contents
// are read some at a time, in one question for at most contentBytes.
func (s *Store) contents(ctx context.Context, h *home, list []*message, fn func(m *message, c io.ReaderAt) error) error {
	for len(list) > 0 {
		first := map[[32]byte][]byte{}
		var hashes [][]byte
		size, n := int64(0), 0
		for ; n < len(list); n++ {
			m := list[n]
			if data, ok := s.chunks.get(chunkKey{m.blob, 0}); ok {
				first[m.blob] = data
				continue
			}
			if m.blobSize == 0 || m.blobSize > chunkSize {
				continue // none, or read chunk by chunk
			}
			if size += m.blobSize; size > contentBytes {
				break
			}
			hashes = append(hashes, m.blob[:])
		}
		if len(hashes) > 0 {
			if err := s.firstChunks(ctx, h, hashes, func(hash [32]byte, data []byte) { first[hash] = data }); err != nil {
				return err
			}
		}
		for _, m := range list[:n] {
			var c io.ReaderAt = &content{s: s, h: h, ctx: ctx, hash: m.blob, blobSize: m.blobSize}
			if data, ok := first[m.blob]; ok && int64(len(data)) == m.blobSize {
				c = bytes.NewReader(data)
			}
			if err := fn(m, c); err != nil {
				return err
			}
		}
		list = list[n:]
	}
	return nil
}

// eachText calls fn with every text of a message by which it is found; c is its
// content as received.
func eachText(sum *mail.Summary, c io.ReaderAt, fn func(words.Field, io.Reader) error) (err error) {
	add := func(f words.Field, text string) {
		if err == nil && text != "" {
			err = fn(f, strings.NewReader(text))
		}
	}
	people := func(f words.Field, list []mail.Address) {
		for _, a := range list {
			add(f, a.Name)
			if !a.IsGroupStart() && !a.IsGroupEnd() {
				add(f, strings.TrimSuffix(a.Addr(), "@"+mail.MissingHost))
			}
		}
	}
	header := func(p *mail.Part) {
		if err != nil {
			return
		}
		var fields mail.Fields
		if fields, err = mail.ReadFields(c, p); err != nil {
			return
		}
		for i := range fields.Len() {
			if name, value := fields.At(i); !mail.MachineField(name) {
				add(words.Header, name+": "+mail.DecodeHeader(value))
			}
		}
	}
	add(words.Subject, sum.Subject)
	people(words.From, sum.From)
	people(words.From, sum.Sender)
	people(words.To, sum.To)
	people(words.Cc, sum.Cc)
	people(words.Bcc, sum.Bcc)
	header(sum.Root)
	sum.Root.Walk(func(p *mail.Part, _ int) bool {
		add(words.File, p.Filename())
		switch {
		case err != nil:
		case p.IsMessage():
			if e := p.Envelope; e != nil {
				add(words.Body, e.Subject)
				people(words.Body, e.From)
				people(words.Body, e.To)
				people(words.Body, e.Cc)
			}
			if p.Message != nil {
				header(p.Message)
			}
		case p.Type != "text":
		case p.Subtype == "html":
			add(words.Body, mail.HTMLToText(p.Text(c), words.MaxText+1))
		default:
			err = fn(words.Body, p.Text(c))
		}
		return err == nil
	})
	return err
}

// errOvertaken: somebody else wrote the same meanwhile.
var errOvertaken = errors.New("the index was written by somebody else")

// writeWords adds a segment; errOvertaken if the position is no longer from. Its commit is
// not waited for: what is lost is made again.
func (s *Store) writeWords(ctx context.Context, h *home, box store.MailboxID, from, upto int64, items []int64, blocks []words.Block) error {
	return h.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		b := &pgx.Batch{}
		b.Queue("set local synchronous_commit = off")
		moved := false
		b.Queue(`
			insert into mail.words_position as p (mailbox, upto) values ($1, $3)
			on conflict (mailbox) do update set upto = $3 where p.upto = $2`, int64(box), from, upto).
			Exec(func(tag pgconn.CommandTag) error { moved = tag.RowsAffected() == 1; return nil })
		if err := tx.Batch(ctx, b); err != nil {
			return err
		}
		if !moved {
			return errOvertaken
		}
		if len(items) == 0 {
			return nil
		}
		b = &pgx.Batch{}
		queueSegment(b, box, items, blocks)
		return tx.SendBatchAndCommit(ctx, b)
	})
}

func queueSegment(b *pgx.Batch, box store.MailboxID, items []int64, blocks []words.Block) {
	b.Queue("insert into mail.words_segment (mailbox, segment, docs, items) values ($1, $2, $3, $4)",
		int64(box), items[0], len(items), packItems(items))
	var numbers, termSizes, listSizes []int32
	var first, last, terms, lists [][]byte
	for i := range blocks {
		w := &blocks[i]
		numbers = append(numbers, int32(i))                //nolint:gosec // few
		termSizes = append(termSizes, int32(len(w.Terms))) //nolint:gosec // a block is small
		listSizes = append(listSizes, int32(len(w.Lists))) //nolint:gosec // bounded by a segment's items
		first, last = append(first, []byte(w.First)), append(last, []byte(w.Last))
		terms, lists = append(terms, pack(w.Terms)), append(lists, pack(w.Lists))
	}
	b.Queue(`
		insert into mail.words_block (mailbox, segment, block, terms_size, lists_size, first, last, terms, lists)
		select $1, $2, * from unnest($3::int[], $4::int[], $5::int[], $6::bytea[], $7::bytea[], $8::bytea[], $9::bytea[])`,
		int64(box), items[0], numbers, termSizes, listSizes, first, last, terms, lists)
}

// mergeWords makes one segment of several of about the same size, so that a
// mailbox has few; an item is written anew a handful of times in all.
func (s *Store) mergeWords(ctx context.Context, h *home, box store.MailboxID) error {
	var ids []int64
	var docs []int
	rows, err := h.db.Query(ctx, "select segment, docs from mail.words_segment where mailbox = $1 order by segment desc", int64(box))
	if err != nil {
		return err
	}
	var id int64
	var count int
	if _, err := pgx.ForEachRow(rows, []any{&id, &count}, func() error {
		ids, docs = append(ids, id), append(docs, count)
		return nil
	}); err != nil {
		return err
	}
	n := mergeable(docs)
	if n == 0 {
		return nil
	}
	ids = ids[:n]
	slices.Reverse(ids)
	err = s.mergeSegments(ctx, h, box, ids)
	if errors.Is(err, errOvertaken) {
		return nil
	}
	return err
}

// mergeable tells how many of the newest segments become one, given their items
// from the newest on: those of the smallest size and everything newer, when there
// are enough of that size. 0: none.
func mergeable(docs []int) int {
	for tier := tierFactor; ; tier *= tierFactor {
		n := 0
		for n < len(docs) && docs[n] < tier {
			n++
		}
		switch {
		case n >= tierFactor:
			// Everything below the next size at once, if that is more: one writing
			// instead of two.
			return n
		case tier > maxSegment:
			return 0
		}
	}
}

func (s *Store) mergeSegments(ctx context.Context, h *home, box store.MailboxID, ids []int64) error {
	s.merging.Lock() // one at a time: a merge is held in memory
	defer s.merging.Unlock()
	var inputs []words.Input
	var items, all []int64
	read := func(ctx context.Context, tx *pgdb.Tx) error {
		inputs, items, all = nil, nil, nil
		at := map[int64]int{}
		of := map[int64][]int64{}
		b := &pgx.Batch{}
		b.Queue("select segment, docs, items from mail.words_segment where mailbox = $1 and segment = any($2) order by segment", int64(box), ids).
			Query(func(rows pgx.Rows) error {
				var id int64
				var docs int
				var data []byte
				_, err := pgx.ForEachRow(rows, []any{&id, &docs, &data}, func() error {
					list, err := unpackItems(data, docs)
					at[id], of[id] = len(inputs), list
					inputs, all = append(inputs, words.Input{}), append(all, list...)
					return err
				})
				return err
			})
		b.Queue("select segment, terms_size, lists_size, first, last, terms, lists from mail.words_block where mailbox = $1 and segment = any($2) order by segment, block", int64(box), ids).
			Query(func(rows pgx.Rows) error {
				var id, termSize, listSize int64
				var first, last, terms, lists []byte
				_, err := pgx.ForEachRow(rows, []any{&id, &termSize, &listSize, &first, &last, &terms, &lists}, func() error {
					i, ok := at[id]
					rawTerms, err1 := unpack(terms, termSize)
					rawLists, err2 := unpack(lists, listSize)
					if err := errors.Join(err1, err2); err != nil || !ok {
						return errors.Join(err, errFormat)
					}
					inputs[i].Blocks = append(inputs[i].Blocks, words.Block{First: string(first), Last: string(last), Terms: rawTerms, Lists: rawLists})
					return nil
				})
				return err
			})
		if err := tx.Batch(ctx, b); err != nil {
			return err
		}
		if len(inputs) != len(ids) || !slices.IsSorted(all) {
			return errOvertaken
		}
		there := map[int64]bool{}
		rows, err := tx.Query(ctx, "select item from mail.message where mailbox = $1 and item = any($2)", int64(box), all)
		if err != nil {
			return err
		}
		var item int64
		if _, err := pgx.ForEachRow(rows, []any{&item}, func() error { there[item] = true; return nil }); err != nil {
			return err
		}
		for _, id := range ids {
			in := &inputs[at[id]]
			for _, item := range of[id] {
				if !there[item] {
					in.Place = append(in.Place, -1)
					continue
				}
				in.Place = append(in.Place, int32(len(items))) //nolint:gosec // bounded by segments
				items = append(items, item)
			}
		}
		return nil
	}
	if err := h.db.Snapshot(ctx, read); err != nil {
		return err
	}
	blocks, err := words.Merge(inputs)
	if err != nil {
		return err
	}
	return h.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		b := &pgx.Batch{}
		b.Queue("set local synchronous_commit = off")
		b.Queue("select from mail.words_position where mailbox = $1 for update", int64(box))
		gone := int64(0)
		b.Queue("delete from mail.words_segment w using unnest($2::bigint[], $3::int[]) as u (s, d) where mailbox = $1 and segment = s and docs = d", int64(box), ids, docsOf(inputs)).
			Exec(func(tag pgconn.CommandTag) error { gone = tag.RowsAffected(); return nil })
		b.Queue("delete from mail.words_block where mailbox = $1 and segment = any($2)", int64(box), ids)
		if err := tx.Batch(ctx, b); err != nil {
			return err
		}
		if gone != int64(len(ids)) {
			return errOvertaken
		}
		if len(items) == 0 {
			return nil
		}
		b = &pgx.Batch{}
		queueSegment(b, box, items, blocks)
		return tx.SendBatchAndCommit(ctx, b)
	})
}

func docsOf(inputs []words.Input) []int32 {
	list := make([]int32, 0, len(inputs))
	for _, in := range inputs {
		list = append(list, int32(len(in.Place))) //nolint:gosec // bounded by segments
	}
	return list
}
