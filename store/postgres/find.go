package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/store"
)

const maxWords = 20

// FindMessages lists a page of what is found, newest first, and how many there
// are in all.
func (s *Store) FindMessages(ctx context.Context, as directory.Principal, box store.MailboxID, q store.Find) (list []store.Entry, total int, err error) {
	defer fault.Wrap(&err, "find in mailbox %d", box)
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return nil, 0, err
	}
	if !x.all {
		if q.Folders, err = x.searched(q.Folders); err != nil || len(q.Folders) == 0 {
			return nil, 0, err
		}
		q.Deep = false // what is below is shared by itself
	}
	words := strings.Fields(fold(q.Text))
	words = words[:min(len(words), maxWords)]
	args := []any{int64(box)}
	arg := func(v any) string {
		args = append(args, v)
		return fmt.Sprintf("$%d", len(args))
	}
	where := []string{"e.mailbox = $1"}
	switch {
	case len(q.Folders) > 0 && q.Deep:
		where = append(where, `e.folder in (
			with recursive below (id) as (
				select id from mail.folder where mailbox = $1 and id = any(`+arg(ids(q.Folders))+`)
				union select f.id from mail.folder f join below on f.mailbox = $1 and f.parent = below.id)
			select id from below)`)
	case len(q.Folders) > 0:
		where = append(where, "e.folder = any("+arg(ids(q.Folders))+")")
	case len(words) > 0:
		where = append(where, "e.folder in (select id from mail.folder where mailbox = $1 and class = 'mail' and role not in ('trash', 'junk'))")
	default:
		where = append(where, "e.folder in (select id from mail.folder where mailbox = $1 and class = 'mail')")
	}
	if !q.After.IsZero() {
		where = append(where, "e.received >= "+arg(from(q.After)))
	}
	if !q.Before.IsZero() {
		where = append(where, "e.received < "+arg(from(q.Before)))
	}
	join := ""
	if q.Thread != 0 {
		join = "join (select item as of_item, thread from mail.message where mailbox = $1) m on of_item = e.item"
		where = append(where, "m.thread = "+arg(int64(q.Thread)))
	}
	if len(words) > 0 {
		found, err := s.withWords(ctx, h, box, store.WordQuery{Text: q.Text, Fields: store.WordsAnywhere})
		if err != nil {
			return nil, 0, err
		}
		where = append(where, wordsOf(found, words, arg))
	}
	body := " from mail.entry e " + join + " where " + strings.Join(where, " and ")
	limit := page(q.Limit)
	paged := " order by e.received desc, e.item desc limit " + fmt.Sprint(limit) + " offset " + fmt.Sprint(max(q.Offset, 0))
	err = reading(ctx, func() error { return s.find(ctx, h, body, paged, args, limit, &list, &total) })
	if err != nil {
		return nil, 0, err
	}
	return list, total, nil
}

// wordsOf is the condition of having words: by the index, and for what is newer
// than it by the listing columns.
func wordsOf(found store.WithWords, words []string, arg func(any) string) string {
	indexed := among("e.item", found.Items, arg)
	if !found.Behind && !found.All {
		return indexed
	}
	return "(" + indexed + " or e.item > " + arg(int64(found.Upto)) +
		" and exists (select from mail.message m where m.mailbox = $1 and m.item = e.item and " + listed(words, arg, "m.subject", "m.people", "m.preview") + "))"
}

// listed is the condition that each word stands somewhere in the listing columns
// named.
func listed(words []string, arg func(any) string, columns ...string) string {
	all := make([]string, 0, len(words))
	for _, w := range words {
		a := arg(w)
		one := make([]string, 0, len(columns))
		for _, col := range columns {
			one = append(one, "position("+a+" in "+col+") > 0")
		}
		all = append(all, "("+strings.Join(one, " or ")+")")
	}
	return strings.Join(all, " and ")
}

// among is the condition that an item is one of those given, ascending. Few are
// found by their key; many are bits, so that no plan can be a bad one.
func among(item string, items []store.ItemID, arg func(any) string) string {
	if len(items) <= fewItems {
		return item + " = any(" + arg(ids(items)) + ")"
	}
	bits := make([]byte, items[len(items)-1]/8+1)
	for _, i := range items {
		bits[i/8] |= 1 << (i % 8)
	}
	return "case when " + item + " < " + arg(int64(len(bits))*8) + " then get_bit(" + arg(bits) + ", " + item + ") = 1 else false end"
}

const fewItems = 200

func (s *Store) find(ctx context.Context, h *home, body, paged string, args []any, limit int, list *[]store.Entry, total *int) error {
	return h.db.Snapshot(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		*list, *total = nil, 0
		b := &pgx.Batch{}
		b.Queue("select count(*)"+body, args...).QueryRow(func(row pgx.Row) error { return row.Scan(total) })
		b.Queue("select "+entryCols+body+paged, args...).
			Query(func(rows pgx.Rows) error { return entries(rows, list, limit) })
		return tx.SendBatchAndCommit(ctx, b)
	})
}
