package postgres

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/internal/pgdb"
	"waypost/store"
)

const (
	maxTests  = 1000 // conditions of one question
	maxLevels = 16
	maxSorts  = 16
	// firstChunk is how many rows a question that must see more than its window
	// reads first; each further reading takes four times as many.
	firstChunk = 256
)

// querier asks one question about a mailbox's mail within one snapshot.
type querier struct {
	s       *Store
	tx      *pgdb.Tx
	box     store.MailboxID
	seq     store.Seq
	floor   store.Seq // older positions are too old
	folders []int64   // of class mail
	highest map[store.FolderID]store.Seq
	last    store.ItemID // the newest that there may be
	words   map[*store.Condition]store.WithWords

	args  []any
	tests int
}

// querier reads what all questions about mail begin with.
func (s *Store) querier(ctx context.Context, tx *pgdb.Tx, box store.MailboxID) (*querier, error) {
	x := &querier{s: s, tx: tx, box: box, highest: make(map[store.FolderID]store.Seq), args: []any{int64(box)}}
	b := &pgx.Batch{}
	b.Queue("select hierarchy_seq, hierarchy_floor, next_id - 1 from mail.mailbox where id = $1", int64(box)).QueryRow(func(row pgx.Row) error {
		err := row.Scan(&x.seq, &x.floor, &x.last)
		if errors.Is(err, pgx.ErrNoRows) {
			return fault.New(fault.NotFound, "no such mailbox")
		}
		return err
	})
	b.Queue("select id, highest_seq, floor from mail.folder where mailbox = $1 and class = 'mail' order by id", int64(box)).
		Query(func(rows pgx.Rows) error {
			var id, highest, floor int64
			_, err := pgx.ForEachRow(rows, []any{&id, &highest, &floor}, func() error {
				x.folders = append(x.folders, id)
				x.highest[store.FolderID(id)] = store.Seq(highest)
				x.seq, x.floor = max(x.seq, store.Seq(highest)), max(x.floor, store.Seq(floor))
				return nil
			})
			return err
		})
	return x, tx.Batch(ctx, b)
}

// asking runs fn on a querier in a snapshot, again when a connection was lost.
func (s *Store) asking(ctx context.Context, as directory.Principal, box store.MailboxID, fn func(context.Context, *querier) error) error {
	h, err := s.open(as, box)
	if err != nil {
		return err
	}
	made := false
	for {
		missing := false
		err := reading(ctx, func() error {
			return h.db.Snapshot(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
				x, err := s.querier(ctx, tx, box)
				if missing = fault.Of(err) == fault.NotFound && err != nil; err != nil {
					return err
				}
				return fn(ctx, x)
			})
		})
		if !missing || made {
			return err
		}
		if err := s.ensure(ctx, h, box); err != nil {
			return err
		}
		made = true
	}
}

// arg adds an argument and gives its place.
func (x *querier) arg(v any) string {
	x.args = append(x.args, v)
	return fmt.Sprintf("$%d", len(x.args))
}

// visible is the body of every question: the messages of folders of mail that
// are not marked as deleted. (The trash holds other items too: they have no
// message.)
func (x *querier) visible(ctx context.Context, where *store.Condition) (string, error) {
	scope := ""
	if id := onlyFolder(where); id != 0 && slices.Contains(x.folders, int64(id)) {
		scope = "e.folder = " + x.arg(int64(id)) // its index gives the order too
	} else {
		scope = "e.folder = any(" + x.arg(x.folders) + ")"
	}
	cond := "true"
	if where != nil {
		var err error
		if cond, err = x.condition(ctx, where, 1); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf(` from mail.entry e join mail.message m on m.mailbox = e.mailbox and m.item = e.item
		where e.mailbox = $1 and %s and e.flags & %d = 0 and %s`, scope, store.Deleted, cond), nil
}

// onlyFolder is the folder that all found must be in, 0 when there is none.
func onlyFolder(c *store.Condition) store.FolderID {
	switch {
	case c == nil:
	case c.Op == store.OpTest && c.Test == store.TestFolder && len(c.Folders) == 1:
		return c.Folders[0]
	case c.Op == store.OpAnd:
		for i := range c.Of {
			if id := onlyFolder(&c.Of[i]); id != 0 {
				return id
			}
		}
	}
	return 0
}

// MailSeq is the newest change of mail.
func (s *Store) MailSeq(ctx context.Context, as directory.Principal, box store.MailboxID) (seq store.Seq, err error) {
	defer fault.Wrap(&err, "state of mail of mailbox %d", box)
	err = s.asking(ctx, as, box, func(_ context.Context, x *querier) error {
		seq = x.seq
		return nil
	})
	return seq, err
}

// Query finds messages.
func (s *Store) Query(ctx context.Context, as directory.Principal, box store.MailboxID, q store.Query) (found store.Found, err error) {
	defer fault.Wrap(&err, "query mailbox %d", box)
	if len(q.Sort) > maxSorts {
		return found, fault.New(fault.Limit, "more than %d keys to sort by", maxSorts)
	}
	q.Limit = page(q.Limit)
	words, err := s.conditionWords(ctx, as, box, q.Where)
	if err != nil {
		return found, err
	}
	err = s.asking(ctx, as, box, func(ctx context.Context, x *querier) error {
		x.words = words
		found = store.Found{Seq: x.seq, Total: -1}
		body, err := x.visible(ctx, q.Where)
		if err != nil {
			return err
		}
		l, err := x.list(ctx, &q, body)
		if err != nil {
			return err
		}
		return l.window(ctx, &q, &found)
	})
	if err != nil {
		return store.Found{}, err
	}
	return found, nil
}

// Matches gives which of items are found by where.
func (s *Store) Matches(ctx context.Context, as directory.Principal, box store.MailboxID, where *store.Condition, items []store.ItemID) (list []store.ItemID, err error) {
	defer fault.Wrap(&err, "match in mailbox %d", box)
	if len(items) > maxPage {
		return nil, fault.New(fault.Limit, "more than %d items at once", maxPage)
	}
	words, err := s.conditionWords(ctx, as, box, where)
	if err != nil {
		return nil, err
	}
	err = s.asking(ctx, as, box, func(ctx context.Context, x *querier) error {
		x.words, list = words, nil
		body, err := x.visible(ctx, where)
		if err != nil {
			return err
		}
		rows, err := x.tx.Query(ctx, "select e.item"+body+" and e.item = any("+x.arg(ids(items))+") order by e.item", x.args...)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, pgx.RowTo[store.ItemID])
		return err
	})
	return list, err
}

// hit is a row of an answer.
type hit struct {
	item   store.ItemID
	thread store.ThreadID
}

// hits is the whole ordered answer before threads are collapsed, of which as
// much is read as is needed.
type hits struct {
	x        *querier
	body     string
	bodyArgs []any
	by       string // the order in SQL
	args     []any  // of both
	all      []hit  // sorted here, when SQL cannot
}

// list prepares the ordered answer.
func (x *querier) list(ctx context.Context, q *store.Query, body string) (*hits, error) {
	l := &hits{x: x, body: body, bodyArgs: slices.Clone(x.args)}
	for _, k := range q.Sort {
		if sortedHere(k.By) {
			return l, l.sortHere(ctx, q)
		}
	}
	var by []string
	for i := range q.Sort {
		k := &q.Sort[i]
		col, err := x.sortColumn(k)
		if err != nil {
			return nil, err
		}
		if k.Desc {
			col += " desc"
		}
		by = append(by, col)
	}
	// What is sorted newest first needs no further key: the index has the item too.
	by = append(by, "e.item desc")
	l.by, l.args = " order by "+strings.Join(by, ", "), x.args
	return l, nil
}

// sortedHere tells what SQL cannot sort by: base subjects and the first of a
// list of addresses are made in Go.
func sortedHere(k store.SortKey) bool {
	return k == store.ByFrom || k == store.ByTo || k == store.BySubject
}

func (x *querier) sortColumn(k *store.Sort) (string, error) {
	switch k.By {
	case store.ByReceived:
		return "e.received", nil
	case store.BySent:
		return "coalesce(m.sent, e.received)", nil
	case store.BySize:
		return "e.size", nil
	case store.ByFrom, store.ByTo:
		return "m.summary", nil
	case store.BySubject:
		return "m.subject", nil
	case store.ByMark:
		return x.marked("e", k.Mark), nil
	case store.ByAllInThread:
		return "not " + x.inThread("not "+x.marked("t", k.Mark)), nil
	case store.BySomeInThread:
		return x.inThread(x.marked("t", k.Mark)), nil
	}
	return "", fault.New(fault.Invalid, "no such key to sort by")
}

// sortHere reads the whole answer with its keys and sorts it.
func (l *hits) sortHere(ctx context.Context, q *store.Query) error {
	cols := "e.item, m.thread"
	for i := range q.Sort {
		col, err := l.x.sortColumn(&q.Sort[i])
		if err != nil {
			return err
		}
		switch q.Sort[i].By {
		case store.ByFrom, store.ByTo, store.BySubject, store.BySize:
		case store.ByReceived, store.BySent:
			col = "(extract(epoch from " + col + ") * 1000000)::bigint"
		default:
			col = "(" + col + ")::int::bigint"
		}
		cols += ", " + col
	}
	rows, err := l.x.tx.Query(ctx, "select "+cols+l.body, l.x.args...)
	if err != nil {
		return err
	}
	type keyed struct {
		hit
		keys [][]byte
	}
	var list []keyed
	defer rows.Close()
	for rows.Next() {
		v := rows.RawValues()
		k := keyed{hit: hit{store.ItemID(int64Of(v[0])), store.ThreadID(int64Of(v[1]))}}
		for i := range q.Sort {
			key, err := sortKey(q.Sort[i].By, v[2+i])
			if err != nil {
				return err
			}
			k.keys = append(k.keys, key)
		}
		list = append(list, k)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b keyed) int {
		for i := range q.Sort {
			c := bytes.Compare(a.keys[i], b.keys[i])
			if q.Sort[i].Desc {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return cmp.Compare(b.item, a.item)
	})
	l.all = make([]hit, len(list))
	for i := range list {
		l.all[i] = list[i].hit
	}
	return nil
}

// sortKey makes bytes that compare as the key does.
func sortKey(by store.SortKey, raw []byte) ([]byte, error) {
	switch by {
	case store.BySubject:
		base, _ := mail.BaseSubject(string(raw))
		return []byte(fold(base)), nil
	case store.ByFrom, store.ByTo:
		sum, err := mail.DecodeSummary(raw)
		if err != nil {
			return nil, err
		}
		list := sum.From
		if by == store.ByTo {
			list = sum.To
		}
		return []byte(fold(firstName(list))), nil
	}
	if len(raw) != 8 {
		return nil, errFormat
	}
	// Big-endian with the sign turned round compares as the number does.
	return binary.BigEndian.AppendUint64(nil, uint64(int64Of(raw))^1<<63), nil
}

// firstName is the name, else the address, of the first of a list (RFC 8621
// section 4.4.2 says so of from and to).
func firstName(list []mail.Address) string {
	for _, a := range list {
		if a.IsGroupStart() || a.IsGroupEnd() {
			continue
		}
		if a.Name != "" {
			return a.Name
		}
		return a.Addr()
	}
	return ""
}

// read gives n rows from the one at offset.
func (l *hits) read(ctx context.Context, offset, n int) (list []hit, err error) {
	if l.all != nil {
		offset = min(offset, len(l.all))
		return l.all[offset:min(len(l.all), offset+n)], nil
	}
	rows, err := l.x.tx.Query(ctx, fmt.Sprintf("select e.item, m.thread%s%s limit %d offset %d", l.body, l.by, n, offset), l.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		v := rows.RawValues()
		list = append(list, hit{store.ItemID(int64Of(v[0])), store.ThreadID(int64Of(v[1]))})
	}
	return list, rows.Err()
}

// count counts the answer.
func (l *hits) count(ctx context.Context, q *store.Query) (n int, err error) {
	if l.all != nil && !q.Collapse {
		return len(l.all), nil
	}
	// A folder as it is was mailCounts before.
	if c := q.Where; c != nil && c.Op == store.OpTest && c.Test == store.TestFolder && len(c.Folders) == 1 {
		counts, err := l.x.threadCounts(ctx)
		if q.Collapse {
			return counts[c.Folders[0]].Threads, err
		}
		return counts[c.Folders[0]].Items, err
	}
	what := "count(*)"
	if q.Collapse {
		what = "count(distinct m.thread)"
	}
	err = l.x.tx.QueryRow(ctx, "select "+what+l.body, l.bodyArgs...).Scan(&n)
	return n, err
}

// window cuts the wanted piece out of the answer.
func (l *hits) window(ctx context.Context, q *store.Query, found *store.Found) (err error) {
	if q.Total || q.Position < 0 && q.Anchor == 0 {
		if found.Total, err = l.count(ctx, q); err != nil {
			return err
		}
	}
	start := q.Position
	if q.Anchor == 0 {
		if start < 0 {
			start = max(0, found.Total+start)
		}
		found.Position = start
	}
	find := make(map[store.ItemID]bool, len(q.Find))
	for _, item := range q.Find {
		find[item] = true
	}
	if len(find) > 0 {
		found.At = make(map[store.ItemID]int)
	}
	if q.Anchor == 0 && !q.Collapse && len(find) == 0 {
		rows, err := l.read(ctx, start, q.Limit)
		for _, r := range rows {
			found.Items = append(found.Items, r.item)
		}
		l.wanted(q, found)
		return err
	}
	seen := make(map[store.ThreadID]bool)
	var items []store.ItemID
	at := -1 // of the anchor
	for offset, n := 0, firstChunk; ; offset, n = offset+n, 4*n {
		rows, err := l.read(ctx, offset, n)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if q.Collapse {
				if seen[r.thread] {
					continue
				}
				seen[r.thread] = true
			}
			if r.item == q.Anchor {
				at = len(items)
			}
			if find[r.item] {
				found.At[r.item] = len(items)
				delete(find, r.item)
			}
			items = append(items, r.item)
		}
		if q.Anchor != 0 && at >= 0 {
			start = max(0, at+q.AnchorOffset)
		}
		if len(rows) < n || len(find) == 0 && (q.Anchor == 0 || at >= 0) && len(items) >= start+q.Limit {
			break
		}
	}
	if q.Anchor != 0 && at < 0 {
		return fault.New(fault.NotFound, "the anchor is not among what was found")
	}
	found.Position = start
	start = min(start, len(items))
	found.Items = items[start:min(len(items), start+q.Limit)]
	l.wanted(q, found)
	return nil
}

// wanted leaves the total out when only the window needed it.
func (l *hits) wanted(q *store.Query, found *store.Found) {
	if !q.Total {
		found.Total = -1
	}
}

// Threads gives the items of conversations, oldest first.
func (s *Store) Threads(ctx context.Context, as directory.Principal, box store.MailboxID, threads []store.ThreadID) (list [][]store.ItemID, seq store.Seq, err error) {
	defer fault.Wrap(&err, "threads of mailbox %d", box)
	if len(threads) > maxPage {
		return nil, 0, fault.New(fault.Limit, "more than %d threads at once", maxPage)
	}
	err = s.asking(ctx, as, box, func(ctx context.Context, x *querier) error {
		byThread := make(map[store.ThreadID][]store.ItemID, len(threads))
		body, err := x.visible(ctx, nil)
		if err != nil {
			return err
		}
		rows, err := x.tx.Query(ctx, "select e.item, m.thread"+body+" and m.thread = any("+x.arg(ids(threads))+") order by e.received, e.item", x.args...)
		if err != nil {
			return err
		}
		var h hit
		if _, err := pgx.ForEachRow(rows, []any{&h.item, &h.thread}, func() error {
			byThread[h.thread] = append(byThread[h.thread], h.item)
			return nil
		}); err != nil {
			return err
		}
		list, seq = make([][]store.ItemID, len(threads)), x.seq
		for i, t := range threads {
			list[i] = byThread[t]
		}
		return nil
	})
	return list, seq, err
}

// mailCounts are a mailbox's counts as of a change.
type mailCounts struct {
	seq    store.Seq
	counts map[store.FolderID]store.ThreadCount
}

// ThreadCounts counts visible messages and conversations.
func (s *Store) ThreadCounts(ctx context.Context, as directory.Principal, box store.MailboxID) (counts map[store.FolderID]store.ThreadCount, err error) {
	defer fault.Wrap(&err, "count threads of mailbox %d", box)
	err = s.asking(ctx, as, box, func(ctx context.Context, x *querier) error {
		counts, err = x.threadCounts(ctx)
		return err
	})
	return counts, err
}

// threadCounts counts, or remembers while nothing has changed: it costs a look at
// every message.
func (x *querier) threadCounts(ctx context.Context) (map[store.FolderID]store.ThreadCount, error) {
	if c, ok := x.s.counts.GetIfPresent(x.box); ok && c.seq == x.seq {
		return c.counts, nil
	}
	rows, err := x.tx.Query(ctx, fmt.Sprintf(`
		select e.folder, count(*), count(*) filter (where e.flags & %[1]d = 0), count(distinct m.thread),
			count(distinct m.thread) filter (where e.flags & %[1]d = 0)
		from mail.entry e join mail.message m on m.mailbox = e.mailbox and m.item = e.item
		where e.mailbox = $1 and e.folder = any($2) and e.flags & %[2]d = 0 group by e.folder`,
		store.Seen|store.Draft, store.Deleted), int64(x.box), x.folders)
	if err != nil {
		return nil, err
	}
	c := mailCounts{x.seq, make(map[store.FolderID]store.ThreadCount)}
	var id store.FolderID
	var n store.ThreadCount
	if _, err := pgx.ForEachRow(rows, []any{&id, &n.Items, &n.Unread, &n.Threads, &n.UnreadThreads}, func() error {
		c.counts[id] = n
		return nil
	}); err != nil {
		return nil, err
	}
	x.s.counts.Set(x.box, c)
	return c.counts, nil
}
