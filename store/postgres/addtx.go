package postgres

import (
	"bytes"
	"cmp"
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

// addOnce adds a batch to one mailbox in one transaction of two round trips:
// counter and look-ups, then all rows and the commit. Messages that cannot be
// added (no such folder, over quota) get their own error and hurt nobody else.
func (s *Store) addOnce(ctx context.Context, h *home, batch []*addition) error {
	box := batch[0].box
	var seq store.Seq
	attempt := func() error {
		return h.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
			p := s.newAdder(tx, batch)
			c := p.boxes[0].change
			if err := c.begin(ctx, changeOf{ids: len(batch), first: p.first}, p.boxes[0].bytes, int64(len(batch))); err != nil {
				return err
			}
			seq = c.seq
			return p.finish(ctx)
		})
	}
	err := attempt()
	if errors.Is(err, errNoMailbox) {
		if err := s.ensure(ctx, h, box); err != nil {
			return err
		}
		err = attempt()
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

// addMany is addOnce for any number of mailboxes. A mailbox that somebody else
// is changing is left out rather than waited for, so that it holds up nobody
// else's mail; so is one that is not made yet. Those are given back.
func (s *Store) addMany(ctx context.Context, h *home, batch []*addition) (left []*addition, err error) {
	var done []*boxAdder
	err = h.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		left, done = nil, nil
		p := s.newAdder(tx, batch)
		b := &pgx.Batch{}
		p.begin(b)
		p.first(b)
		if err := tx.Batch(ctx, b); err != nil {
			return err
		}
		for _, x := range p.boxes {
			if x.seq == 0 {
				left = append(left, x.batch...)
			} else {
				done = append(done, x)
			}
		}
		p.boxes = done
		return p.finish(ctx)
	})
	switch {
	case errors.Is(err, errAllKnown):
		return left, nil
	case err != nil:
		return nil, err
	}
	for _, x := range done {
		s.announce(h, x.box, x.seq)
	}
	return left, nil
}

// adder adds messages to mailboxes within one transaction.
type adder struct {
	tx     *pgdb.Tx
	boxes  []*boxAdder       // by id
	extra  []referred        // contents that the transaction refers to besides
	locked map[[32]byte]bool // contents that are there
	rows   addRows
}

// boxAdder is the part of one mailbox. Its change has seq 0 until the counter
// row is taken.
type boxAdder struct {
	*change
	batch   []*addition
	bytes   int64
	known   map[string]onceRow // by key
	targets []target
	threads threads
}

type onceRow struct{ item store.ItemID }

// target is what the adder needs of a folder.
type target struct {
	id          store.FolderID
	role        string
	next        store.UID
	uidvalidity uint32
}

// newAdder sorts a batch by mailbox.
func (s *Store) newAdder(tx *pgdb.Tx, batch []*addition) *adder {
	p := &adder{tx: tx}
	last := &pgx.Batch{}
	for _, a := range batch {
		a.res, a.err = store.Added{}, nil
		at, ok := slices.BinarySearchFunc(p.boxes, a.box, func(x *boxAdder, box store.MailboxID) int { return cmp.Compare(x.box, box) })
		if !ok {
			p.boxes = slices.Insert(p.boxes, at, &boxAdder{change: s.newChange(a.box, tx, last)})
		}
		x := p.boxes[at]
		x.batch, x.bytes = append(x.batch, a), x.bytes+a.size
	}
	return p
}

// begin queues the taking of the counter rows.
func (p *adder) begin(b *pgx.Batch) {
	var list []counting
	for _, x := range p.boxes {
		list = append(list, counting{x.change, int64(len(x.batch)), x.bytes, int64(len(x.batch))})
	}
	queueCounters(b, list)
}

func (p *adder) box(id store.MailboxID) *boxAdder {
	at, _ := slices.BinarySearchFunc(p.boxes, id, func(x *boxAdder, id store.MailboxID) int { return cmp.Compare(x.box, id) })
	return p.boxes[at]
}

// first queues the look-ups.
func (p *adder) first(b *pgx.Batch) {
	var keys, roles []string
	var folders, keyBoxes, roleBoxes, folderBoxes, identifiers, threadBoxes, subjects, subjectBoxes []int64
	var hashes [][]byte
	for _, x := range p.boxes {
		box := int64(x.box)
		var wanted []*threadKeys
		for _, a := range x.batch {
			if a.once != "" {
				keys, keyBoxes = append(keys, a.once), append(keyBoxes, box)
			}
			if a.m.Folder != 0 {
				folders, folderBoxes = append(folders, int64(a.m.Folder)), append(folderBoxes, box)
			} else {
				roles, roleBoxes = append(roles, string(roleOf(a.m))), append(roleBoxes, box)
			}
			wanted = append(wanted, &a.keys)
			hashes = append(hashes, a.m.Blob.Hash[:])
		}
		byID, bySubject := x.threads.wanted(wanted)
		identifiers, threadBoxes = append(identifiers, byID...), fill(threadBoxes, box, len(byID))
		subjects, subjectBoxes = append(subjects, bySubject...), fill(subjectBoxes, box, len(bySubject))
	}
	for i := range p.extra {
		hashes = append(hashes, p.extra[i].hash)
	}
	// One statement for all that is looked up by key. It comes after the one
	// that waits for the counter row, for a statement sees what was committed
	// when it began. Contents that are there are locked against the collector.
	// lateral with offset 0 keeps the planner to one index look-up for each key:
	// a join of the tables would read them whole, for it knows nothing of how
	// many keys there are.
	b.Queue(`
		with content as (select hash from mail.blob where part = 0 and hash = any($1) for key share)
		select 'folder', u.mailbox, f.role, null::bytea, f.id, f.uidnext, f.uidvalidity
			from unnest($2::bigint[], $3::bigint[]) as u (mailbox, folder)
			cross join lateral (select * from mail.folder where mailbox = u.mailbox and id = u.folder and class = 'mail' offset 0) f
		union all select 'folder', u.mailbox, f.role, null, f.id, f.uidnext, f.uidvalidity
			from unnest($4::bigint[], $5::text[]) as u (mailbox, wanted)
			cross join lateral (select * from mail.folder where mailbox = u.mailbox and role = u.wanted and role <> '' and class = 'mail' offset 0) f
		union all select 'once', u.mailbox, u.known, null, o.item, 0, 0
			from unnest($6::bigint[], $7::text[]) as u (mailbox, known)
			cross join lateral (select item from mail.once where mailbox = u.mailbox and key = u.known offset 0) o
		union all select 'thread', u.mailbox, '', null, u.name, t.thread, 0
			from unnest($8::bigint[], $9::bigint[]) as u (mailbox, name)
			cross join lateral (select thread from mail.thread_key where mailbox = u.mailbox and key = u.name and item = 0 offset 0) t
		union all select 'content', 0, '', hash, 0, 0, 0 from content`,
		hashes, folderBoxes, folders, roleBoxes, roles, keyBoxes, keys, threadBoxes, identifiers).Query(p.looked)
	p.queueSubjects(b, subjectBoxes, subjects)
}

func fill(list []int64, n int64, count int) []int64 {
	for range count {
		list = append(list, n)
	}
	return list
}

// looked reads the answer of the look-up.
func (p *adder) looked(rows pgx.Rows) error {
	p.locked = make(map[[32]byte]bool)
	for _, x := range p.boxes {
		x.targets, x.known = nil, nil
	}
	var kind, text string
	var hash []byte
	var box, n, y, z int64
	_, err := pgx.ForEachRow(rows, []any{&kind, &box, &text, &hash, &n, &y, &z}, func() error {
		if kind == "content" {
			p.locked[[32]byte(hash)] = true
			return nil
		}
		x := p.box(store.MailboxID(box))
		switch kind {
		case "folder":
			id := store.FolderID(n)
			if !slices.ContainsFunc(x.targets, func(t target) bool { return t.id == id }) {
				x.targets = append(x.targets, target{id, text, store.UID(y), uint32(z)})
			}
		case "once":
			if x.known == nil {
				x.known = make(map[string]onceRow)
			}
			x.known[text] = onceRow{store.ItemID(n)}
		case "thread":
			x.threads.byID[n] = store.ThreadID(y)
		}
		return nil
	})
	return err
}

// finish decides, writes and commits.
func (p *adder) finish(ctx context.Context) error {
	for _, x := range p.boxes {
		if err := x.repeats(ctx); err != nil {
			return err
		}
		x.decide(&p.rows)
	}
	if len(p.rows.items) == 0 {
		return errAllKnown
	}
	last := p.boxes[0].last
	if err := p.write(last); err != nil {
		return err
	}
	changes := make([]*change, len(p.boxes))
	for i, x := range p.boxes {
		changes[i] = x.change
	}
	flush(last, changes...)
	return p.tx.SendBatchAndCommit(ctx, last)
}

// repeats answers those whose key was seen before with what came of the first.
func (x *boxAdder) repeats(ctx context.Context) error {
	if len(x.known) == 0 {
		return nil
	}
	var items []store.ItemID
	for _, r := range x.known {
		items = append(items, r.item)
	}
	var found []store.Entry
	thread := make(map[store.ItemID]store.ThreadID)
	uidvalidity := make(map[store.FolderID]uint32)
	b := &pgx.Batch{}
	queueItems(b, x.box, items, &found)
	b.Queue("select item, thread from mail.message where mailbox = $1 and item = any($2)", int64(x.box), ids(items)).
		Query(func(rows pgx.Rows) error {
			var item, id int64
			_, err := pgx.ForEachRow(rows, []any{&item, &id}, func() error {
				thread[store.ItemID(item)] = store.ThreadID(id)
				return nil
			})
			return err
		})
	b.Queue("select id, uidvalidity from mail.folder where mailbox = $1 and id in (select folder from mail.entry where mailbox = $1 and item = any($2))",
		int64(x.box), ids(items)).
		Query(func(rows pgx.Rows) error {
			var id, validity int64
			_, err := pgx.ForEachRow(rows, []any{&id, &validity}, func() error {
				uidvalidity[store.FolderID(id)] = uint32(validity)
				return nil
			})
			return err
		})
	if err := x.tx.Batch(ctx, b); err != nil {
		return err
	}
	for _, a := range x.batch {
		r, ok := x.known[a.once]
		if !ok || a.once == "" {
			continue
		}
		a.res = store.Added{Entry: store.Entry{Item: r.item}, Thread: thread[r.item], Repeated: true, Away: x.row.away}
		for i := range found {
			if found[i].Item == r.item {
				a.res.Entry = found[i]
				a.res.UIDValidity = uidvalidity[found[i].Folder]
			}
		}
	}
	return nil
}

// roleOf gives the role of the folder that a message without one named goes to.
func roleOf(m *store.NewMessage) store.Role {
	if m.Role == store.RoleNone {
		return store.RoleInbox
	}
	return m.Role
}

func (x *boxAdder) target(m *store.NewMessage) *target {
	role := roleOf(m)
	for i := range x.targets {
		if f := &x.targets[i]; m.Folder != 0 && f.id == m.Folder || m.Folder == 0 && f.role == string(role) {
			return f
		}
	}
	return nil
}

// decide gives each message that can be added its place. begin has counted all
// of them, so the others are counted out again.
func (x *boxAdder) decide(rows *addRows) {
	c := x.change
	used := c.row.used - x.bytes // before this transaction
	next := c.firstID
	twice := make(map[string]*addition)
	for _, a := range x.batch {
		if !a.res.Repeated && a.err == nil {
			a.err = x.refuse(a, used)
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
		f := x.target(a.m)
		item := store.ItemID(next)
		next++
		thread := x.threads.find(&a.keys, a.received)
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
		a.res = store.Added{Entry: e, UIDValidity: f.uidvalidity, Thread: thread, Away: c.row.away}
		rows.add(c, a)
		x.threads.join(&a.keys, item, thread, a.received, func(key int64, item store.ItemID, people []int64) {
			rows.thread(x.box, key, item, thread, a.received, people)
		})
		if a.once != "" {
			twice[a.once] = a
		}
	}
}

// refuse tells why a message cannot be added.
func (x *boxAdder) refuse(a *addition, used int64) error {
	f := x.target(a.m)
	if f == nil {
		return noFolder()
	}
	// Delivery asks the directory each time, so its 0 means the default; a door
	// that does not know leaves it at what was said last.
	if a.m.Limit > 0 || a.system {
		x.setQuota(a.m.Limit)
	}
	if limit := x.limit(); limit > 0 && used+a.size > limit {
		return overQuota()
	}
	if f.next == 1<<32-1 {
		return fault.New(fault.Limit, "the folder has no numbers left")
	}
	return nil
}

// addRows are the columns of what is inserted.
type addRows struct {
	boxes, seqs                                     []int64
	items, folders, uids, sizes, threads, blobSizes []int64
	flags                                           []int32
	keywords, props                                 []*string
	received                                        []time.Time
	sent                                            []*time.Time
	blobs, prefixes, summaries                      [][]byte
	subjects, peoples, previews                     []string

	onceKeys                       []string
	onceBoxes, onceSeqs, onceItems []int64

	keyBoxes, keyKeys, keyItems, keyThreads []int64
	keyReceived                             []time.Time
	keyPeople                               []*string

	contents []referred
}

// referred is a content that the transaction refers to.
type referred struct {
	hash  []byte
	size  int64
	chunk []byte // nil: it was uploaded
}

func (r *addRows) add(c *change, a *addition) {
	e := &a.res.Entry
	r.boxes, r.seqs = append(r.boxes, int64(c.box)), append(r.seqs, int64(c.seq))
	r.items, r.folders, r.uids = append(r.items, int64(e.Item)), append(r.folders, int64(e.Folder)), append(r.uids, int64(e.UID))
	r.sizes, r.threads = append(r.sizes, e.Size), append(r.threads, int64(a.res.Thread))
	r.flags = append(r.flags, int32(e.Flags))
	r.keywords, r.props = append(r.keywords, keywordText(e.Keywords)), append(r.props, a.props)
	r.received, r.sent = append(r.received, e.Received), append(r.sent, a.sent)
	r.blobs, r.blobSizes = append(r.blobs, a.m.Blob.Hash[:]), append(r.blobSizes, a.m.Blob.Size)
	r.prefixes, r.summaries = append(r.prefixes, nonNil(a.m.Prefix)), append(r.summaries, a.summary)
	r.subjects, r.peoples, r.previews = append(r.subjects, a.subject), append(r.peoples, a.people), append(r.previews, a.preview)
	if a.once != "" {
		r.onceBoxes, r.onceSeqs = append(r.onceBoxes, int64(c.box)), append(r.onceSeqs, int64(c.seq))
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

func (r *addRows) thread(box store.MailboxID, key int64, item store.ItemID, thread store.ThreadID, received time.Time, people []int64) {
	r.keyBoxes = append(r.keyBoxes, int64(box))
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
func (p *adder) write(last *pgx.Batch) error {
	r := &p.rows
	hashes, sizes, datas, err := missing(append(r.contents, p.extra...), p.locked)
	if err != nil {
		return err
	}
	last.Queue(`
		with content as (
			-- A content that somebody else made since the look-up is locked by
			-- the update, which changes nothing else of it.
			insert into mail.blob (hash, part, size, data)
			select h, 0, s, d from unnest($1::bytea[], $2::bigint[], $3::bytea[]) as u (h, s, d)
			on conflict (hash, part) do update set created = excluded.created),
		message as (
			insert into mail.message (mailbox, item, thread, blob_size, sent, blob, prefix, summary, subject, people, preview)
			select * from unnest($4::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::timestamptz[], $10::bytea[], $11::bytea[],
				$12::bytea[], $13::text[], $14::text[], $15::text[])),
		entry as (
			insert into mail.entry (mailbox, entered_seq, changed_seq, item, folder, uid, received, size, flags, keywords, props)
			select mailbox, seq, seq, item, folder, uid, received, size, flags, string_to_array(keywords, ' '), props::jsonb
			from unnest($4::bigint[], $5::bigint[], $6::bigint[], $16::bigint[], $17::bigint[], $18::timestamptz[], $19::bigint[], $20::int[],
				$21::text[], $22::text[]) as u (mailbox, seq, item, folder, uid, received, size, flags, keywords, props)),
		once as (
			insert into mail.once (mailbox, seq, key, item)
			select * from unnest($23::bigint[], $24::bigint[], $25::text[], $26::bigint[]))
		insert into mail.thread_key (mailbox, key, item, thread, received, people)
		select mailbox, key, item, thread, received, people::bigint[]
		from unnest($27::bigint[], $28::bigint[], $29::bigint[], $30::bigint[], $31::timestamptz[], $32::text[])
			as u (mailbox, key, item, thread, received, people)
		on conflict do nothing`,
		hashes, sizes, datas,
		r.boxes, r.seqs, r.items, r.threads, r.blobSizes, r.sent, r.blobs, r.prefixes, r.summaries, r.subjects, r.peoples, r.previews,
		r.folders, r.uids, r.received, r.sizes, r.flags, r.keywords, r.props,
		r.onceBoxes, r.onceSeqs, r.onceKeys, r.onceItems,
		r.keyBoxes, r.keyKeys, r.keyItems, r.keyThreads, r.keyReceived, r.keyPeople)
	return nil
}

// errContentGone: the collector took an uploaded content before it was referred to.
var errContentGone = fault.New(fault.Unavailable, "the content was given up, send it again")

// missing gives the contents that are not in the database yet, each once and
// sorted, so that two transactions with the same contents wait for each other in
// order.
func missing(list []referred, locked map[[32]byte]bool) (hashes [][]byte, sizes []int64, datas [][]byte, err error) {
	hashes, datas, sizes = [][]byte{}, [][]byte{}, []int64{}
	list = slices.Clone(list)
	slices.SortFunc(list, func(x, y referred) int { return bytes.Compare(x.hash, y.hash) })
	for i, c := range list {
		switch {
		case locked[[32]byte(c.hash)]:
		case c.chunk == nil:
			return nil, nil, nil, errContentGone
		case i > 0 && bytes.Equal(c.hash, list[i-1].hash):
		default:
			hashes, sizes, datas = append(hashes, c.hash), append(sizes, c.size), append(datas, c.chunk)
		}
	}
	return hashes, sizes, datas, nil
}
