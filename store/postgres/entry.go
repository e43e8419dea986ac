package postgres

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/store"
)

// entryCols are read by scanEntry: by position and in binary, because lists of
// ten thousand of them are what doors ask for most.
const entryCols = "item, folder, uid, flags, size, received, entered_seq, changed_seq, array_to_string(keywords, ' '), props::text"

const entryWidth = 10

var errFormat = errors.New("PostgreSQL did not answer in the binary format")

func int64Of(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) }

// epoch is PostgreSQL's zero, 2000-01-01, in microseconds of Unix time.
const epoch = 946684800 * 1e6

func timeOf(b []byte) time.Time { return time.UnixMicro(int64Of(b) + epoch).UTC() }

// scanEntry reads the columns entryCols.
func scanEntry(v [][]byte, e *store.Entry) error {
	if len(v) < entryWidth || len(v[0]) != 8 || len(v[1]) != 8 || len(v[2]) != 8 || len(v[3]) != 4 ||
		len(v[4]) != 8 || len(v[5]) != 8 || len(v[6]) != 8 || len(v[7]) != 8 {
		return errFormat
	}
	e.Item = store.ItemID(int64Of(v[0]))
	e.Folder = store.FolderID(int64Of(v[1]))
	e.UID = store.UID(int64Of(v[2]))
	e.Flags = store.Flags(binary.BigEndian.Uint32(v[3]))
	e.Size = int64Of(v[4])
	e.Received = timeOf(v[5])
	e.Entered = store.Seq(int64Of(v[6]))
	e.Changed = store.Seq(int64Of(v[7]))
	e.Keywords, e.Props = nil, nil
	if len(v[8]) > 0 {
		e.Keywords = strings.Split(string(v[8]), " ")
	}
	if v[9] != nil {
		e.Props = new(store.Props)
		return json.Unmarshal(v[9], e.Props)
	}
	return nil
}

// entries collects rows of entryCols.
func entries(rows pgx.Rows, into *[]store.Entry, room int) error {
	defer rows.Close()
	list := (*into)[:0]
	if cap(list) == 0 {
		list = make([]store.Entry, 0, min(room, 256))
	}
	for rows.Next() {
		list = append(list, store.Entry{})
		if err := scanEntry(rows.RawValues(), &list[len(list)-1]); err != nil {
			return err
		}
	}
	*into = list
	return rows.Err()
}

func page(limit int) int {
	if limit <= 0 {
		return 100
	}
	return min(limit, maxPage)
}

// Entries lists a page of at most limit entries (20,000 at once) of a folder
// with UID > after in order of UID, with the folder as of the same moment.
func (s *Store) Entries(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, after store.UID, limit int) (f store.Folder, list []store.Entry, err error) {
	defer fault.Wrap(&err, "entries of folder %d of mailbox %d", folder, box)
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return f, nil, err
	}
	if err := x.mayRead(folder); err != nil {
		return f, nil, err
	}
	if limit <= 0 {
		limit = maxPage
	}
	limit = min(limit, maxEntries)
	err = s.retryMade(ctx, h, box, func() error {
		return h.db.Snapshot(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
			list = nil
			b := &pgx.Batch{}
			queueFolder(b, box, folder, &f)
			b.Queue("select "+entryCols+` from mail.entry
				where mailbox = $1 and folder = $2 and uid > $3 order by uid limit $4`,
				int64(box), int64(folder), int64(after), limit).
				Query(func(rows pgx.Rows) error { return entries(rows, &list, limit) })
			return tx.SendBatchAndCommit(ctx, b)
		})
	})
	x.show(&f)
	return f, list, err
}

// inFolder is enter for who reads one folder.
func (s *Store) inFolder(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID) (*home, error) {
	h, x, err := s.enter(ctx, as, box)
	if err == nil {
		err = x.mayRead(folder)
	}
	return h, err
}

// list runs one query of entryCols.
func (s *Store) list(ctx context.Context, h *home, room int, sql string, args ...any) (list []store.Entry, err error) {
	err = reading(ctx, func() error {
		rows, err := h.db.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		return entries(rows, &list, room)
	})
	return list, err
}

var (
	minTime = time.Date(-4000, 1, 1, 0, 0, 0, 0, time.UTC)
	maxTime = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
)

// from gives a cut-off, everything when t is zero.
func from(t time.Time) time.Time {
	if t.IsZero() || t.Before(minTime) {
		return minTime
	}
	return t
}

// Newest lists a page of at most limit entries received at or after cutoff
// that entered the folder at or before upTo, newest item first.
func (s *Store) Newest(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, cutoff time.Time, upTo store.Seq, before store.ItemID, limit int) (list []store.Entry, err error) {
	defer fault.Wrap(&err, "newest of folder %d of mailbox %d", folder, box)
	h, err := s.inFolder(ctx, as, box, folder)
	if err != nil {
		return nil, err
	}
	if before <= 0 {
		before = store.MaxItem
	}
	limit = page(limit)
	// In a wide window the newest items of the mailbox fill the page.
	list, err = s.list(ctx, h, limit, "select "+entryCols+` from (
			select * from mail.entry where mailbox = $1 and item < $5 order by item desc limit $7) e
		where folder = $2 and received >= $3 and entered_seq <= $4 order by item desc limit $6`,
		int64(box), int64(folder), from(cutoff), int64(upTo), int64(before), limit, 10*limit)
	if err != nil || len(list) == limit {
		return list, err
	}
	// In a narrow one its range of items, from an index alone, bounds the scan
	// in the order of items: else a window with less than a page would cost the
	// whole mailbox. (+ 0 keeps the planner from searching in that very order.)
	return s.list(ctx, h, limit, `
		with w as materialized (
			select min(item + 0) as lo, max(item + 0) as hi from mail.entry
			where mailbox = $1 and folder = $2 and received >= $3 and item < $5)
		select `+entryCols+` from mail.entry
		where mailbox = $1 and folder = $2 and received >= $3 and entered_seq <= $4
			and item <= (select hi from w) and item >= (select lo from w) order by item desc limit $6`,
		int64(box), int64(folder), from(cutoff), int64(upTo), int64(before), limit)
}

// Aged lists a page of entries whose Received is in [start, to), by Item.
func (s *Store) Aged(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, start, to time.Time, after store.ItemID, limit int) (list []store.Entry, err error) {
	defer fault.Wrap(&err, "aged of folder %d of mailbox %d", folder, box)
	h, err := s.inFolder(ctx, as, box, folder)
	if err != nil {
		return nil, err
	}
	limit = page(limit)
	return s.list(ctx, h, limit, `
		with w as materialized (
			select min(item + 0) as lo, max(item + 0) as hi from mail.entry
			where mailbox = $1 and folder = $2 and received >= $3 and received < $4)
		select `+entryCols+` from mail.entry
		where mailbox = $1 and folder = $2 and received >= $3 and received < $4 and item > $5
			and item >= (select lo from w) and item <= (select hi from w) order by item limit $6`,
		int64(box), int64(folder), from(start), from(to), int64(after), limit)
}

// CountSince counts the entries received at or after cutoff.
func (s *Store) CountSince(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, cutoff time.Time) (n int, err error) {
	defer fault.Wrap(&err, "count of folder %d of mailbox %d", folder, box)
	h, err := s.inFolder(ctx, as, box, folder)
	if err != nil {
		return 0, err
	}
	if cutoff.IsZero() {
		f, err := s.Folder(ctx, as, box, folder)
		return f.Total, err
	}
	err = reading(ctx, func() error {
		return h.db.QueryRow(ctx, "select count(*) from mail.entry where mailbox = $1 and folder = $2 and received >= $3",
			int64(box), int64(folder), from(cutoff)).Scan(&n)
	})
	return n, err
}

// EntriesOf gives the entries of items wherever they are, in the order asked
// for; items that are gone are left out.
func (s *Store) EntriesOf(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) (list []store.Entry, err error) {
	defer fault.Wrap(&err, "entries of mailbox %d", box)
	if len(items) > maxPage {
		return nil, fault.New(fault.Limit, "more than %d items at once", maxPage)
	}
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return nil, err
	}
	found, err := s.list(ctx, h, len(items), "select "+entryCols+" from mail.entry where mailbox = $1 and item = any($2)",
		int64(box), ids(items))
	if !x.all {
		found = slices.DeleteFunc(found, func(e store.Entry) bool { return x.mayRead(e.Folder) != nil })
	}
	if err != nil || len(found) == 0 {
		return nil, err
	}
	at := make(map[store.ItemID]int, len(found))
	for i := range found {
		at[found[i].Item] = i
	}
	list = make([]store.Entry, 0, len(found))
	for _, item := range items {
		if i, ok := at[item]; ok {
			list = append(list, found[i])
		}
	}
	return list, nil
}
