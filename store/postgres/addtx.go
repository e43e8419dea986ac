package postgres

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/store"
)

// errAllKnown ends a transaction in which nothing is left to add.
var errAllKnown = errors.New("nothing to add")

// addOnce adds a batch in one transaction of two round trips: counter and
// look-ups, then all rows and the commit. Messages that cannot be added (no
// such folder, over quota) get their own error and hurt nobody else.
func (s *Store) addOnce(ctx context.Context, h *home, box store.MailboxID, batch []*addition) error {
	var seq store.Seq
	attempt := func() error {
		return h.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
			c := &change{s: s, box: box, tx: tx, last: &pgx.Batch{}, folders: make(map[store.FolderID]*folderDelta)}
			p := newAdder(box, batch)
			p.c = c
			if err := c.begin(ctx, changeOf{ids: len(batch), first: p.first}, p.bytes, int64(len(batch))); err != nil {
				return err
			}
			seq = c.seq
			if err := p.repeats(ctx); err != nil {
				return err
			}
			p.decide()
			if len(p.rows.items) == 0 {
				return errAllKnown
			}
			p.write(nil)
			c.flush()
			return tx.SendBatchAndCommit(ctx, c.last)
		})
	}
	var err error
	for try := 0; ; try++ {
		err = attempt()
		if errors.Is(err, errNoMailbox) && try == 0 {
			if _, err := s.ensure(ctx, h, box); err != nil {
				return err
			}
			continue
		}
		if contentGone(err) && len(batch) == 1 && try < 3 {
			if batch[0].chunk == nil {
				return fault.From(fault.Unavailable, err, "the content was given up, send it again")
			}
			continue // it is inserted now
		}
		break
	}
	switch {
	case errors.Is(err, errAllKnown):
		return nil
	case err != nil:
		return err
	}
	s.announce(h, box, seq)
	return nil
}

// adder adds messages within a change.
type adder struct {
	c       *change
	box     store.MailboxID
	batch   []*addition
	bytes   int64
	known   map[string]onceRow // by key
	folders []store.Folder
	threads threads
	rows    addRows
}

type onceRow struct {
	item store.ItemID
	seq  store.Seq
}

func newAdder(box store.MailboxID, batch []*addition) *adder {
	p := &adder{box: box, batch: batch}
	for _, a := range batch {
		a.res, a.err = store.Added{}, nil
		p.bytes += a.size
	}
	return p
}

// first queues the look-ups.
func (p *adder) first(b *pgx.Batch) {
	box := int64(p.box)
	var keys, roles []string
	var folders []int64
	var threadKeys []*threadKeys
	for _, a := range p.batch {
		if a.once != "" {
			keys = append(keys, a.once)
		}
		switch {
		case a.m.Folder != 0:
			folders = append(folders, int64(a.m.Folder))
		case a.m.Role == store.RoleNone:
			roles = append(roles, string(store.RoleInbox))
		default:
			roles = append(roles, string(a.m.Role))
		}
		threadKeys = append(threadKeys, &a.keys)
	}
	p.known = nil
	if len(keys) > 0 {
		b.Queue("select key, item, seq from mail.once where mailbox = $1 and key = any($2)", box, keys).
			Query(func(rows pgx.Rows) error {
				p.known = make(map[string]onceRow)
				var key string
				var r onceRow
				_, err := pgx.ForEachRow(rows, []any{&key, &r.item, &r.seq}, func() error {
					p.known[key] = r
					return nil
				})
				return err
			})
	}
	b.Queue("select "+folderCols+" from mail.folder where mailbox = $1 and (id = any($2) or (role = any($3) and role <> ''))",
		box, folders, roles).
		Query(func(rows pgx.Rows) (err error) {
			p.folders, err = scanFolders(rows)
			return err
		})
	p.threads.queue(b, p.box, threadKeys)
}

// repeats answers those whose key was seen before with what came of the first.
func (p *adder) repeats(ctx context.Context) error {
	if len(p.known) == 0 {
		return nil
	}
	var items []store.ItemID
	for _, r := range p.known {
		items = append(items, r.item)
	}
	var found []store.Entry
	thread := make(map[store.ItemID]store.ThreadID)
	uidvalidity := make(map[store.FolderID]uint32)
	b := &pgx.Batch{}
	queueItems(b, p.box, items, &found)
	b.Queue("select item, thread from mail.message where mailbox = $1 and item = any($2)", int64(p.box), ids(items)).
		Query(func(rows pgx.Rows) error {
			var item, id int64
			_, err := pgx.ForEachRow(rows, []any{&item, &id}, func() error {
				thread[store.ItemID(item)] = store.ThreadID(id)
				return nil
			})
			return err
		})
	b.Queue("select id, uidvalidity from mail.folder where mailbox = $1 and id in (select folder from mail.entry where mailbox = $1 and item = any($2))",
		int64(p.box), ids(items)).
		Query(func(rows pgx.Rows) error {
			var id, validity int64
			_, err := pgx.ForEachRow(rows, []any{&id, &validity}, func() error {
				uidvalidity[store.FolderID(id)] = uint32(validity)
				return nil
			})
			return err
		})
	if err := p.c.tx.Batch(ctx, b); err != nil {
		return err
	}
	for _, a := range p.batch {
		r, ok := p.known[a.once]
		if !ok || a.once == "" {
			continue
		}
		a.res = store.Added{Entry: store.Entry{Item: r.item}, Thread: thread[r.item], Repeated: true}
		for i := range found {
			if found[i].Item == r.item {
				a.res.Entry = found[i]
				a.res.UIDValidity = uidvalidity[found[i].Folder]
			}
		}
	}
	return nil
}

func (p *adder) folder(m *store.NewMessage) *store.Folder {
	role := m.Role
	if role == store.RoleNone {
		role = store.RoleInbox
	}
	for i := range p.folders {
		if f := &p.folders[i]; m.Folder != 0 && f.ID == m.Folder || m.Folder == 0 && f.Role == role {
			return f
		}
	}
	return nil
}

// decide gives each message that can be added its place. begin has counted all
// of them, so the others are counted out again.
func (p *adder) decide() {
	c := p.c
	used := c.row.used - p.bytes // before this transaction
	next := c.firstID
	twice := make(map[string]*addition)
	for _, a := range p.batch {
		if !a.res.Repeated && a.err == nil {
			a.err = p.refuse(a, used)
		}
		if first := twice[a.once]; first != nil && a.once != "" && a.err == nil {
			a.res = first.res
			a.res.Repeated = true
		}
		if a.res.Repeated || a.err != nil {
			c.used -= a.size
			c.items--
			continue
		}
		f := p.folder(a.m)
		if a.m.Limit > 0 && a.m.Limit != c.row.quota {
			c.row.quota = a.m.Limit
			c.quota = &a.m.Limit
		}
		item := store.ItemID(next)
		next++
		thread := p.threads.find(&a.keys, a.received)
		if thread == 0 {
			thread = store.ThreadID(item)
		}
		e := store.Entry{
			Item: item, Folder: f.ID, UID: f.UIDNext, Flags: a.m.Flags, Keywords: a.keywords, Size: a.size,
			Received: a.received, Entered: c.seq, Changed: c.seq, Props: a.m.Props,
		}
		f.UIDNext++
		used += a.size
		d := c.folder(f.ID)
		d.uids++
		d.enter(&e)
		a.res = store.Added{Entry: e, UIDValidity: f.UIDValidity, Thread: thread}
		p.rows.add(a)
		p.threads.join(&a.keys, item, thread, a.received, func(key int64, item store.ItemID, people []int64) {
			p.rows.thread(key, item, thread, a.received, people)
		})
		if a.once != "" {
			twice[a.once] = a
		}
	}
}

// refuse tells why a message cannot be added.
func (p *adder) refuse(a *addition, used int64) error {
	f := p.folder(a.m)
	if f == nil {
		return noFolder()
	}
	if limit := p.c.limit(a.m.Limit); limit > 0 && used+a.size > limit {
		return overQuota()
	}
	if f.UIDNext == 1<<32-1 {
		return fault.New(fault.Limit, "the folder has no numbers left")
	}
	return nil
}

// addRows are the columns of what is inserted.
type addRows struct {
	items, folders, uids, sizes, threads, blobSizes []int64
	flags                                           []int32
	keywords, props                                 []*string
	received                                        []time.Time
	sent                                            []*time.Time
	blobs, prefixes, summaries                      [][]byte
	subjects, peoples, previews                     []string

	onceKeys  []string
	onceItems []int64

	keyKeys, keyItems, keyThreads []int64
	keyReceived                   []time.Time
	keyPeople                     []*string

	contents []content0
}

// content0 is a content that the transaction refers to.
type content0 struct {
	hash  []byte
	size  int64
	chunk []byte // nil: it was uploaded
}

func (r *addRows) add(a *addition) {
	e := &a.res.Entry
	r.items, r.folders, r.uids = append(r.items, int64(e.Item)), append(r.folders, int64(e.Folder)), append(r.uids, int64(e.UID))
	r.sizes, r.threads = append(r.sizes, e.Size), append(r.threads, int64(a.res.Thread))
	r.flags = append(r.flags, int32(e.Flags))
	r.keywords, r.props = append(r.keywords, keywordText(e.Keywords)), append(r.props, a.props)
	r.received, r.sent = append(r.received, e.Received), append(r.sent, a.sent)
	r.blobs, r.blobSizes = append(r.blobs, a.m.Blob.Hash[:]), append(r.blobSizes, a.m.Blob.Size)
	r.prefixes, r.summaries = append(r.prefixes, nonNil(a.m.Prefix)), append(r.summaries, a.summary)
	r.subjects, r.peoples, r.previews = append(r.subjects, a.subject), append(r.peoples, a.people), append(r.previews, a.preview)
	if a.once != "" {
		r.onceKeys, r.onceItems = append(r.onceKeys, a.once), append(r.onceItems, int64(e.Item))
	}
	r.content(&a.m.Blob, a.chunk)
}

func (r *addRows) content(b *store.Blob, chunk []byte) {
	r.contents = append(r.contents, content0{b.Hash[:], b.Size, chunk})
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func (r *addRows) thread(key int64, item store.ItemID, thread store.ThreadID, received time.Time, people []int64) {
	r.keyKeys, r.keyItems, r.keyThreads = append(r.keyKeys, key), append(r.keyItems, int64(item)), append(r.keyThreads, int64(thread))
	r.keyReceived, r.keyPeople = append(r.keyReceived, received), append(r.keyPeople, arrayText(people))
}

// arrayText writes numbers as PostgreSQL's text form of an array: arrays of
// arrays of different lengths cannot be parameters.
func arrayText(list []int64) *string {
	if len(list) == 0 {
		return nil
	}
	b := []byte{'{'}
	for i, n := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	text := string(append(b, '}'))
	return &text
}

// write queues the rows. Contents come first: they are the only rows that
// another mailbox's transaction may hold.
func (p *adder) write(more []content0) {
	b, box, seq, r := p.c.last, int64(p.box), int64(p.c.seq), &p.rows
	queueContents(b, append(r.contents, more...))
	if len(r.items) > 0 {
		b.Queue(`
			insert into mail.message (mailbox, item, thread, blob_size, sent, blob, prefix, summary, subject, people, preview)
			select $1, * from unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::bytea[], $7::bytea[],
				$8::bytea[], $9::text[], $10::text[], $11::text[])`,
			box, r.items, r.threads, r.blobSizes, r.sent, r.blobs, r.prefixes, r.summaries, r.subjects, r.peoples, r.previews)
		b.Queue(`
			insert into mail.entry (mailbox, entered_seq, changed_seq, item, folder, uid, received, size, flags, keywords, props)
			select $1, $2, $2, item, folder, uid, received, size, flags, string_to_array(keywords, ' '), props::jsonb
			from unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::bigint[], $8::int[], $9::text[], $10::text[])
				as u (item, folder, uid, received, size, flags, keywords, props)`,
			box, seq, r.items, r.folders, r.uids, r.received, r.sizes, r.flags, r.keywords, r.props)
	}
	if len(r.onceKeys) > 0 {
		b.Queue("insert into mail.once (mailbox, seq, key, item) select $1, $2, * from unnest($3::text[], $4::bigint[])",
			box, seq, r.onceKeys, r.onceItems)
	}
	if len(r.keyKeys) > 0 {
		b.Queue(`
			insert into mail.thread_key (mailbox, key, item, thread, received, people)
			select $1, key, item, thread, received, people::bigint[]
			from unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::text[]) as u (key, item, thread, received, people)
			on conflict do nothing`,
			box, r.keyKeys, r.keyItems, r.keyThreads, r.keyReceived, r.keyPeople)
	}
}

// queueContents inserts the small contents and locks all of them. Sorted, so
// that two transactions with the same contents wait for each other in order.
func queueContents(b *pgx.Batch, list []content0) {
	if len(list) == 0 {
		return
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(x, y content0) int {
		if c := bytes.Compare(x.hash, y.hash); c != 0 || (x.chunk == nil) == (y.chunk == nil) {
			return c
		}
		if x.chunk != nil {
			return -1 // the one with content is kept
		}
		return 1
	})
	list = slices.CompactFunc(list, func(x, y content0) bool { return bytes.Equal(x.hash, y.hash) })
	hashes, datas, others := [][]byte{}, [][]byte{}, [][]byte{}
	sizes := []int64{}
	for _, c := range list {
		if c.chunk == nil {
			others = append(others, c.hash)
			continue
		}
		hashes, sizes, datas = append(hashes, c.hash), append(sizes, c.size), append(datas, c.chunk)
	}
	b.Queue("select mail.put_blobs($1, $2, $3, $4)", hashes, sizes, datas, others)
}
