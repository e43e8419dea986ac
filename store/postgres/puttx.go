package postgres

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/store"
	"waypost/store/object"
)

// putOnce writes puts of one mailbox in one transaction of two round trips, with
// what is to be sent, nil for nothing. What cannot be written gets its own error
// and hurts nobody else, but with something to send it is all or nothing.
func (s *Store) putOnce(ctx context.Context, h *home, batch []*put, x *sends) error {
	box := batch[0].box
	var p *putter
	_, err := s.changeIn(ctx, h, box, changeOf{
		ids: len(batch) + x.ids(),
		first: func(b *pgx.Batch) {
			p = s.newPutter(nil, batch)
			p.first(b)
			x.first(b)
		},
		run: func(ctx context.Context, c *change) error {
			b := p.boxes[0]
			b.change, b.bytes, b.items = c, 0, 0
			b.decide(&p.rows, c.firstID+int64(x.ids()))
			if x != nil {
				if a := batch[0]; a.err != nil || a.stale || a.seen != 0 {
					return errNothing
				}
				if err := x.run(ctx, c); err != nil {
					return err
				}
			} else if p.rows.empty() {
				return errNothing
			}
			return p.write(c.last)
		},
	})
	return err
}

// putMany is putOnce for any number of mailboxes, as addMany is addOnce.
func (s *Store) putMany(ctx context.Context, h *home, batch []*put) (left []*put, err error) {
	var done []*boxPutter
	err = h.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		left, done = nil, nil
		b := &pgx.Batch{}
		p := s.newPutter(tx, batch)
		var list []counting
		for _, x := range p.boxes {
			for _, a := range x.batch {
				x.bytes += a.grows()
				x.items += a.adds()
			}
			list = append(list, counting{x.change, int64(len(x.batch)), x.bytes, x.items})
		}
		queueCounters(b, list)
		p.first(b)
		if err := tx.Batch(ctx, b); err != nil {
			return err
		}
		var changes []*change
		for _, x := range p.boxes {
			if x.seq == 0 {
				left = append(left, x.batch...)
				continue
			}
			x.decide(&p.rows, x.firstID)
			done, changes = append(done, x), append(changes, x.change)
		}
		if p.rows.empty() {
			return errAllKnown
		}
		last := p.boxes[0].last
		if err := p.write(last); err != nil {
			return err
		}
		flush(last, changes...)
		return tx.SendBatchAndCommit(ctx, last)
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

// putter writes objects to mailboxes within one transaction.
type putter struct {
	boxes  []*boxPutter      // by id
	locked map[[32]byte]bool // contents that are there
	rows   putRows
}

// boxPutter is the part of one mailbox.
type boxPutter struct {
	*change
	batch        []*put
	bytes, items int64 // that were counted already
	known        map[string]store.ItemID
	targets      map[store.FolderID]*putTarget
	rows         map[store.ItemID]*current
	entries      map[store.ItemID]store.Entry
}

// putTarget is what the putter needs of a folder, with the names there that the
// batch is about.
type putTarget struct {
	class       store.Class
	fed         bool
	next        store.UID
	highest     store.Seq // the newest change, those of this transaction included
	names, uids map[string]store.ItemID
}

// current is the newest state of an object that exists.
type current struct {
	folder  store.FolderID
	version store.Seq
}

func (s *Store) newPutter(tx *pgdb.Tx, batch []*put) *putter {
	p := &putter{}
	last := &pgx.Batch{}
	for _, a := range batch {
		a.fail(nil)
		at, ok := slices.BinarySearchFunc(p.boxes, a.box, func(x *boxPutter, box store.MailboxID) int { return cmp.Compare(x.box, box) })
		if !ok {
			p.boxes = slices.Insert(p.boxes, at, &boxPutter{change: s.newChange(a.box, tx, last)})
		}
		p.boxes[at].batch = append(p.boxes[at].batch, a)
	}
	return p
}

func (p *putter) box(id int64) *boxPutter {
	at, _ := slices.BinarySearchFunc(p.boxes, store.MailboxID(id), func(x *boxPutter, box store.MailboxID) int { return cmp.Compare(x.box, box) })
	return p.boxes[at]
}

// first queues the look-ups, only those that this batch needs; adder.first says
// why they look as they do.
func (p *putter) first(b *pgx.Batch) {
	var folderBoxes, folders, newBoxes, newFolders, oldBoxes, olds, onceBoxes []int64
	var names, uids, onces []string
	var hashes [][]byte
	p.locked = make(map[[32]byte]bool)
	for _, x := range p.boxes {
		x.known, x.targets = make(map[string]store.ItemID), make(map[store.FolderID]*putTarget)
		x.rows, x.entries = make(map[store.ItemID]*current), make(map[store.ItemID]store.Entry)
		box := int64(x.box)
		for _, a := range x.batch {
			if x.targets[a.folder] == nil {
				x.target(int64(a.folder))
				folderBoxes, folders = append(folderBoxes, box), append(folders, int64(a.folder))
			}
			if a.old != nil {
				oldBoxes, olds = append(oldBoxes, box), append(olds, int64(a.old.Item))
			} else {
				newBoxes, newFolders = append(newBoxes, box), append(newFolders, int64(a.folder))
				names, uids = append(names, a.name), append(uids, a.read.UID)
			}
			if a.once != "" {
				onceBoxes, onces = append(onceBoxes, box), append(onces, a.once)
			}
			if a.blob != nil {
				hashes = append(hashes, a.blob.Hash[:])
			}
		}
	}
	sql, args := `
		select 'folder', u.mailbox, f.class, f.origin <> '', f.id, f.uidnext, f.highest_seq
			from unnest($1::bigint[], $2::bigint[]) as u (mailbox, folder)
			cross join lateral (select * from mail.folder where mailbox = u.mailbox and id = u.folder offset 0) f`, []any{folderBoxes, folders}
	if len(newBoxes) > 0 {
		sql += `
		union all select 'name', u.mailbox, u.name, false, o.item, u.folder, 0
			from unnest($3::bigint[], $4::bigint[], $5::text[]) as u (mailbox, folder, name)
			cross join lateral (select item from mail.object where mailbox = u.mailbox and folder = u.folder and name = u.name offset 0) o
		union all select 'uid', u.mailbox, u.uid, false, o.item, u.folder, 0
			from unnest($3::bigint[], $4::bigint[], $6::text[]) as u (mailbox, folder, uid)
			cross join lateral (select item from mail.object where mailbox = u.mailbox and folder = u.folder and uid = u.uid offset 0) o`
		args = append(args, newBoxes, newFolders, names, uids)
	}
	b.Queue(sql, args...).Query(p.looked)
	if len(olds) > 0 {
		b.Queue("select "+entryCols+`, u.box, o.object_folder, o.object_version from unnest($1::bigint[], $2::bigint[]) as u (box, id)
			cross join lateral (select * from mail.entry where mailbox = u.box and item = u.id offset 0) e
			cross join lateral (select folder as object_folder, version as object_version from mail.object
				where mailbox = u.box and item = u.id and folder is not null offset 0) o`, oldBoxes, olds).Query(p.found)
	}
	if len(onces) > 0 {
		b.Queue(`select 'once', u.mailbox, u.key, false, o.item, 0::bigint, 0::bigint
			from unnest($1::bigint[], $2::text[]) as u (mailbox, key)
			cross join lateral (select item from mail.once where mailbox = u.mailbox and key = u.key offset 0) o`, onceBoxes, onces).Query(p.looked)
	}
	if len(hashes) > 0 {
		b.Queue("select hash from mail.blob where part = 0 and hash = any($1) for key share", hashes).Query(func(rows pgx.Rows) error {
			var hash []byte
			_, err := pgx.ForEachRow(rows, []any{&hash}, func() error {
				p.locked[[32]byte(hash)] = true
				return nil
			})
			return err
		})
	}
}

func (p *putter) looked(rows pgx.Rows) error {
	var kind, text string
	var fed bool
	var box, n, y, z int64
	_, err := pgx.ForEachRow(rows, []any{&kind, &box, &text, &fed, &n, &y, &z}, func() error {
		x := p.box(box)
		switch kind {
		case "folder":
			f := x.target(n)
			f.class, f.fed, f.next, f.highest = store.Class(text), fed, store.UID(y), store.Seq(z)
		case "name":
			x.target(y).names[text] = store.ItemID(n)
		case "uid":
			x.target(y).uids[text] = store.ItemID(n)
		case "once":
			x.known[text] = store.ItemID(n)
		}
		return nil
	})
	return err
}

// found notes the objects that are replaced, as they are now.
func (p *putter) found(rows pgx.Rows) error {
	defer rows.Close()
	for rows.Next() {
		var e store.Entry
		v := rows.RawValues()
		if err := scanEntry(v, &e); err != nil {
			return err
		}
		x := p.box(int64Of(v[entryWidth]))
		x.entries[e.Item] = e
		x.rows[e.Item] = &current{store.FolderID(int64Of(v[entryWidth+1])), store.Seq(int64Of(v[entryWidth+2]))}
	}
	return rows.Err()
}

func (x *boxPutter) target(id int64) *putTarget {
	f := x.targets[store.FolderID(id)]
	if f == nil {
		f = &putTarget{names: make(map[string]store.ItemID), uids: make(map[string]store.ItemID)}
		x.targets[store.FolderID(id)] = f
	}
	return f
}

// decide gives each put that can be written its place. What was counted and
// cannot be written is counted out again.
func (x *boxPutter) decide(rows *putRows, next int64) {
	c := x.change
	used := c.row.used - x.bytes // before this transaction
	counted := x.items != 0 || x.bytes != 0
	for _, a := range x.batch {
		ok := x.judge(a, used)
		switch {
		case ok && !counted:
			c.used += a.grows()
			c.items += a.adds()
		case !ok && counted:
			c.used -= a.grows()
			c.items -= a.adds()
		}
		if !ok {
			continue
		}
		used += a.grows()
		if a.old != nil {
			x.replace(a, rows)
		} else {
			x.create(a, store.ItemID(next), rows)
			next++
		}
		if a.once != "" {
			x.known[a.once] = a.res.Entry.Item
			rows.once(c, a)
		}
	}
}

// judge tells whether a put is to be written, and what else becomes of it.
func (x *boxPutter) judge(a *put, used int64) bool {
	if item, ok := x.known[a.once]; ok && a.once != "" {
		a.seen = item
		return false
	}
	f := x.target(int64(a.folder))
	if f.next == 0 {
		a.err = noFolder()
		return false
	}
	if f.fed != (a.p.Feed && a.system) {
		a.err = errFed()
		return false
	}
	if a.p.IfFolder != nil && f.highest > *a.p.IfFolder {
		a.err = fault.New(fault.Conflict, "the folder changed meanwhile")
		return false
	}
	if a.old != nil {
		now := x.rows[a.old.Item]
		if now == nil || now.folder != a.folder || now.version != a.old.Version {
			a.stale = true
			return false
		}
	}
	if a.same {
		return true
	}
	kind, ok := object.In(f.class, a.read.Kind)
	if !ok {
		a.err = object.Misplaced(f.class, a.read.Kind)
		return false
	}
	a.read.Kind = kind
	if a.old == nil {
		_, named := f.names[a.name]
		_, known := f.uids[a.read.UID]
		switch {
		case (named || known) && a.p.IfMatch != nil:
			a.err = changedMeanwhile() // it must not exist
		case named, known && a.p.UID != "":
			a.stale = true
		case known:
			a.err = fault.New(fault.Conflict, "the folder has an object with this UID already")
		}
		if named || known {
			return false
		}
	}
	if a.p.Limit > 0 || a.system && !a.p.Feed {
		x.setQuota(a.p.Limit)
	}
	switch limit := x.limit(); {
	case limit > 0 && a.grows() > 0 && used+a.grows() > limit:
		a.err = overQuota()
	case a.old == nil && f.next == 1<<32-1:
		a.err = fault.New(fault.Limit, "the folder has no numbers left")
	}
	return a.err == nil
}

// object is what the store knows of a put after it.
func (a *put) object(item store.ItemID, name string, seq store.Seq) store.Object {
	return store.Object{
		Item: item, Folder: a.folder, Kind: a.read.Kind, UID: a.read.UID, Name: name, Version: seq,
		Size: a.size, Starts: a.read.Starts, Ends: a.read.Ends, Text: a.read.Text,
	}
}

func (x *boxPutter) create(a *put, item store.ItemID, rows *putRows) {
	f := x.targets[a.folder]
	e := store.Entry{
		Item: item, Folder: a.folder, UID: f.next, Flags: store.Seen, Size: a.size,
		Received: instant(a.now), Entered: x.seq, Changed: x.seq,
	}
	f.next++
	f.highest = x.seq
	f.names[a.name], f.uids[a.read.UID] = item, item
	d := x.folder(a.folder)
	d.uids++
	d.enter(&e)
	a.res = store.Put{Entry: e, Object: a.object(item, a.name, x.seq), Created: true, Changed: true}
	rows.new.add(x.box, a)
	var creator *int64 // null: the owner
	if id := int64(a.who.who); id != 0 {
		creator = &id
	}
	rows.creators = append(rows.creators, creator)
	rows.uids, rows.received = append(rows.uids, int64(e.UID)), append(rows.received, e.Received)
	rows.uidTexts, rows.names = append(rows.uidTexts, a.read.UID), append(rows.names, a.name)
	rows.wrote(x.box, a)
}

func (x *boxPutter) replace(a *put, rows *putRows) {
	e := x.entries[a.old.Item]
	a.res = store.Put{Entry: e, Object: a.old.Object, Was: e.Changed}
	if a.same {
		return
	}
	x.targets[a.folder].highest = x.seq
	d := x.folder(a.folder)
	d.size += a.grows()
	x.rows[a.old.Item].version = x.seq
	e.Changed, e.Size = x.seq, a.size
	a.res.Entry, a.res.Object, a.res.Changed = e, a.object(e.Item, a.old.Name, x.seq), true
	rows.old.add(x.box, a)
	if a.old.blob != nil {
		rows.dropped = append(rows.dropped, a.old.blob)
	}
	rows.wrote(x.box, a)
}

// wideRows are the columns of objects.
type wideRows struct {
	boxes, items, folders, versions, sizes []int64
	starts, ends, from, to                 []*time.Time
	kinds, searches                        []string
	blobs, texts                           [][]byte // of each row one is nil
}

func (r *wideRows) add(box store.MailboxID, a *put) {
	o := &a.res.Object
	r.boxes, r.items, r.folders = append(r.boxes, int64(box)), append(r.items, int64(o.Item)), append(r.folders, int64(o.Folder))
	r.versions, r.sizes = append(r.versions, int64(o.Version)), append(r.sizes, o.Size)
	r.starts, r.ends = append(r.starts, orNull(o.Starts)), append(r.ends, orNull(o.Ends))
	from, to := window(&a.read.Times)
	r.from, r.to = append(r.from, from), append(r.to, to)
	r.kinds, r.searches = append(r.kinds, string(o.Kind)), append(r.searches, a.search)
	if a.blob != nil {
		r.blobs, r.texts = append(r.blobs, a.blob.Hash[:]), append(r.texts, nil)
	} else {
		r.blobs, r.texts = append(r.blobs, nil), append(r.texts, a.read.Text)
	}
}

// orNull is a time as PostgreSQL keeps it, null for none.
func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = instant(t)
	return &t
}

// window is the time for which mail.occurrence holds an object's occurrences,
// null for all.
func window(t *object.Times) (from, to *time.Time) {
	if t.Whole || t.Starts.IsZero() {
		return nil, nil
	}
	return orNull(t.From), orNull(t.To)
}

// occurrenceRows are the columns of mail.occurrence.
type occurrenceRows struct {
	boxes, items, folders []int64
	starts, ends          []time.Time
	flags                 []int32
	instances             []string
}

func (r *occurrenceRows) add(box store.MailboxID, item store.ItemID, folder store.FolderID, list []store.Occurrence) {
	for i := range list {
		o := &list[i]
		r.boxes, r.items, r.folders = append(r.boxes, int64(box)), append(r.items, int64(item)), append(r.folders, int64(folder))
		r.starts, r.ends = append(r.starts, instant(o.Starts)), append(r.ends, instant(o.Ends))
		r.flags, r.instances = append(r.flags, occurrenceFlags(o)), append(r.instances, clean(o.Instance))
	}
}

// putRows are the columns of what is written.
type putRows struct {
	new, old        wideRows
	uids            []int64
	creators        []*int64
	received        []time.Time
	uidTexts, names []string
	dropped         [][]byte // contents that were replaced
	occurrences     occurrenceRows
	contents        []referred

	onceBoxes, onceSeqs, onceItems []int64
	onceKeys                       []string
}

func (r *putRows) empty() bool { return len(r.new.boxes)+len(r.old.boxes)+len(r.onceBoxes) == 0 }

func (r *putRows) wrote(box store.MailboxID, a *put) {
	r.occurrences.add(box, a.res.Object.Item, a.folder, a.read.Occurrences)
	if a.blob != nil {
		r.contents = append(r.contents, referred{a.blob.Hash[:], a.blob.Size, a.chunk})
	}
}

func (r *putRows) once(c *change, a *put) {
	r.onceBoxes, r.onceSeqs = append(r.onceBoxes, int64(c.box)), append(r.onceSeqs, int64(c.seq))
	r.onceItems, r.onceKeys = append(r.onceItems, int64(a.res.Entry.Item)), append(r.onceKeys, a.once)
}

// write queues the rows: what is replaced first, for new occurrences may have
// the keys of old ones. What few puts have is in statements of its own: a part
// of a statement costs its share also when it has nothing to do.
func (p *putter) write(last *pgx.Batch) error {
	r := &p.rows
	if len(r.contents) > 0 {
		hashes, sizes, datas, err := missing(r.contents, p.locked)
		if err != nil {
			return err
		}
		last.Queue(`
			insert into mail.blob (hash, part, size, data)
			select h, 0, s, d from unnest($1::bytea[], $2::bigint[], $3::bytea[]) as u (h, s, d)
			on conflict (hash, part) do update set created = excluded.created`, hashes, sizes, datas)
	}
	if len(r.dropped) > 0 {
		last.Queue(`
			insert into mail.blob_check (hash) select distinct h from unnest($1::bytea[]) as d (h) order by h
			on conflict (hash) do update set at = now()`, r.dropped)
	}
	if len(r.onceBoxes) > 0 {
		last.Queue(`
			insert into mail.once (mailbox, seq, item, key)
			select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[])`, r.onceBoxes, r.onceSeqs, r.onceItems, r.onceKeys)
	}
	if o := &r.old; len(o.boxes) > 0 {
		last.Queue(`
			with u as (
				select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::timestamptz[],
					$7::timestamptz[], $8::timestamptz[], $9::text[], $10::text[], $11::bytea[], $12::bytea[])
				as u (box, id, seq, size, starts, ends, expanded_from, expanded_to, kind, search, blob, text)),
			object as (
				update mail.object o set version = u.seq, blob_size = u.size, starts = u.starts, ends = u.ends,
					expanded_from = u.expanded_from, expanded_to = u.expanded_to, kind = u.kind, search = u.search, blob = u.blob, text = u.text
				from u where o.mailbox = u.box and o.item = u.id),
			entry as (
				update mail.entry e set changed_seq = u.seq, size = u.size from u where e.mailbox = u.box and e.item = u.id)
			delete from mail.occurrence o using u where o.mailbox = u.box and o.item = u.id`,
			o.boxes, o.items, o.versions, o.sizes, o.starts, o.ends, o.from, o.to, o.kinds, o.searches, o.blobs, o.texts)
	}
	n, t := &r.new, &r.occurrences
	const occurrences = `
		insert into mail.occurrence (mailbox, item, folder, starts, ends, flags, instance)
		select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::int[], $7::text[])`
	args := []any{t.boxes, t.items, t.folders, t.starts, t.ends, t.flags, t.instances}
	switch {
	case len(n.boxes) > 0:
		last.Queue(`
			with object as (
				insert into mail.object (mailbox, item, folder, version, blob_size, starts, ends, expanded_from, expanded_to, kind, search, blob, text, uid, name, creator)
				select * from unnest($8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::timestamptz[], $14::timestamptz[],
					$15::timestamptz[], $16::timestamptz[], $17::text[], $18::text[], $19::bytea[], $20::bytea[], $21::text[], $22::text[], $26::bigint[])),
			entry as (
				insert into mail.entry (mailbox, item, folder, entered_seq, changed_seq, size, uid, received, flags)
				select mailbox, item, folder, seq, seq, size, uid, received, $25
				from unnest($8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $23::bigint[], $24::timestamptz[])
					as u (mailbox, item, folder, seq, size, uid, received))`+occurrences,
			append(args, n.boxes, n.items, n.folders, n.versions, n.sizes, n.starts, n.ends, n.from, n.to, n.kinds, n.searches, n.blobs, n.texts,
				r.uidTexts, r.names, r.uids, r.received, int32(store.Seen), r.creators)...)
	case len(t.boxes) > 0:
		last.Queue(occurrences, args...)
	}
	return nil
}
