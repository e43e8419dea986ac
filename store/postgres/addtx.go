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
			if err := p.write(); err != nil {
				return err
			}
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
	extra   []referred // contents that the transaction refers to besides
	bytes   int64
	known   map[string]onceRow // by key
	folders []target
	locked  map[[32]byte]bool // contents that are there
	threads threads
	rows    addRows
}

type onceRow struct{ item store.ItemID }

// target is what the adder needs of a folder.
type target struct {
	id          store.FolderID
	role        string
	next        store.UID
	uidvalidity uint32
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
	var hashes [][]byte
	for i := range p.batch {
		hashes = append(hashes, p.batch[i].m.Blob.Hash[:])
	}
	for i := range p.extra {
		hashes = append(hashes, p.extra[i].hash)
	}
	wanted, subjects := p.threads.wanted(threadKeys)
	// One statement for all that is looked up by key. It comes after the one
	// that waits for the counter row, for a statement sees what was committed
	// when it began. Contents that are there are locked against the collector.
	b.Queue(`
		with content as (select hash from mail.blob where part = 0 and hash = any($6) for key share)
		select 'folder', role, null::bytea, id, uidnext, uidvalidity from mail.folder
			where mailbox = $1 and (id = any($2) or (role = any($3) and role <> ''))
		union all select 'once', key, null, item, 0, 0 from mail.once where mailbox = $1 and key = any($4)
		union all select 'thread', '', null, key, thread, 0 from mail.thread_key where mailbox = $1 and key = any($5) and item = 0
		union all select 'content', '', hash, 0, 0, 0 from content`,
		box, folders, roles, keys, wanted, hashes).Query(p.looked)
	p.threads.queueSubjects(b, p.box, subjects)
}

// looked reads the answer of the look-up.
func (p *adder) looked(rows pgx.Rows) error {
	p.folders, p.known, p.locked = nil, nil, nil
	var kind, text string
	var hash []byte
	var x, y, z int64
	_, err := pgx.ForEachRow(rows, []any{&kind, &text, &hash, &x, &y, &z}, func() error {
		switch kind {
		case "folder":
			p.folders = append(p.folders, target{store.FolderID(x), text, store.UID(y), uint32(z)})
		case "once":
			if p.known == nil {
				p.known = make(map[string]onceRow)
			}
			p.known[text] = onceRow{store.ItemID(x)}
		case "thread":
			p.threads.byID[x] = store.ThreadID(y)
		case "content":
			if p.locked == nil {
				p.locked = make(map[[32]byte]bool)
			}
			p.locked[[32]byte(hash)] = true
		}
		return nil
	})
	return err
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

func (p *adder) folder(m *store.NewMessage) *target {
	role := m.Role
	if role == store.RoleNone {
		role = store.RoleInbox
	}
	for i := range p.folders {
		if f := &p.folders[i]; m.Folder != 0 && f.id == m.Folder || m.Folder == 0 && f.role == string(role) {
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
		item := store.ItemID(next)
		next++
		thread := p.threads.find(&a.keys, a.received)
		if thread == 0 {
			thread = store.ThreadID(item)
		}
		e := store.Entry{
			Item: item, Folder: f.id, UID: f.next, Flags: a.m.Flags, Keywords: a.keywords, Size: a.size,
			Received: a.received, Entered: c.seq, Changed: c.seq, Props: a.m.Props,
		}
		f.next++
		used += a.size
		d := c.folder(f.id)
		d.uids++
		d.enter(&e)
		a.res = store.Added{Entry: e, UIDValidity: f.uidvalidity, Thread: thread}
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
	// Delivery asks the directory each time, so its 0 means the default; a door
	// that does not know leaves it at what was said last.
	if a.m.Limit > 0 || a.system {
		p.c.setQuota(a.m.Limit)
	}
	if limit := p.c.limit(); limit > 0 && used+a.size > limit {
		return overQuota()
	}
	if f.next == 1<<32-1 {
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

	contents []referred
}

// referred is a content that the transaction refers to.
type referred struct {
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
	r.contents = append(r.contents, referred{b.Hash[:], b.Size, chunk})
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

// write queues the rows, all in one statement: most of a short statement's
// cost is that it is one.
func (p *adder) write() error {
	r := &p.rows
	hashes, sizes, datas, err := p.contents(append(r.contents, p.extra...))
	if err != nil {
		return err
	}
	p.c.last.Queue(`
		with content as (
			-- A content that somebody else made since the look-up is locked by
			-- the update, which changes nothing else of it.
			insert into mail.blob (hash, part, size, data)
			select h, 0, s, d from unnest($3::bytea[], $4::bigint[], $5::bytea[]) as u (h, s, d)
			on conflict (hash, part) do update set created = excluded.created),
		message as (
			insert into mail.message (mailbox, item, thread, blob_size, sent, blob, prefix, summary, subject, people, preview)
			select $1, * from unnest($6::bigint[], $7::bigint[], $8::bigint[], $9::timestamptz[], $10::bytea[], $11::bytea[],
				$12::bytea[], $13::text[], $14::text[], $15::text[])),
		entry as (
			insert into mail.entry (mailbox, entered_seq, changed_seq, item, folder, uid, received, size, flags, keywords, props)
			select $1, $2, $2, item, folder, uid, received, size, flags, string_to_array(keywords, ' '), props::jsonb
			from unnest($6::bigint[], $16::bigint[], $17::bigint[], $18::timestamptz[], $19::bigint[], $20::int[], $21::text[], $22::text[])
				as u (item, folder, uid, received, size, flags, keywords, props)),
		once as (
			insert into mail.once (mailbox, seq, key, item) select $1, $2, * from unnest($23::text[], $24::bigint[]))
		insert into mail.thread_key (mailbox, key, item, thread, received, people)
		select $1, key, item, thread, received, people::bigint[]
		from unnest($25::bigint[], $26::bigint[], $27::bigint[], $28::timestamptz[], $29::text[]) as u (key, item, thread, received, people)
		on conflict do nothing`,
		int64(p.box), int64(p.c.seq), hashes, sizes, datas,
		r.items, r.threads, r.blobSizes, r.sent, r.blobs, r.prefixes, r.summaries, r.subjects, r.peoples, r.previews,
		r.folders, r.uids, r.received, r.sizes, r.flags, r.keywords, r.props,
		r.onceKeys, r.onceItems,
		r.keyKeys, r.keyItems, r.keyThreads, r.keyReceived, r.keyPeople)
	return nil
}

// errContentGone: the collector took an uploaded content before it was referred to.
var errContentGone = fault.New(fault.Unavailable, "the content was given up, send it again")

// contents gives what is not in the database yet, each once and sorted, so that
// two transactions with the same contents wait for each other in order.
func (p *adder) contents(list []referred) (hashes [][]byte, sizes []int64, datas [][]byte, err error) {
	hashes, datas, sizes = [][]byte{}, [][]byte{}, []int64{}
	list = slices.Clone(list)
	slices.SortFunc(list, func(x, y referred) int { return bytes.Compare(x.hash, y.hash) })
	for i, c := range list {
		switch {
		case p.locked[[32]byte(c.hash)]:
		case c.chunk == nil:
			return nil, nil, nil, errContentGone
		case i > 0 && bytes.Equal(c.hash, list[i-1].hash):
		default:
			hashes, sizes, datas = append(hashes, c.hash), append(sizes, c.size), append(datas, c.chunk)
		}
	}
	return hashes, sizes, datas, nil
}
