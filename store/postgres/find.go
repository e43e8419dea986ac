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
// are in all. Words are looked for in the folded listing columns, anywhere in
// them; the texts of messages are not searched.
func (s *Store) FindMessages(ctx context.Context, as directory.Principal, box store.MailboxID, q store.Find) (list []store.Entry, total int, err error) {
	defer fault.Wrap(&err, "find in mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return nil, 0, err
	}
	words := strings.Fields(fold(q.Text))
	if len(words) > maxWords {
		words = words[:maxWords]
	}
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
	if q.Thread != 0 || len(words) > 0 {
		join = "join (select item as of_item, thread, subject, people, preview from mail.message where mailbox = $1) m on of_item = e.item"
	}
	if q.Thread != 0 {
		where = append(where, "m.thread = "+arg(int64(q.Thread)))
	}
	for _, w := range words {
		a := arg(w)
		where = append(where, fmt.Sprintf("(position(%[1]s in m.subject) > 0 or position(%[1]s in m.people) > 0 or position(%[1]s in m.preview) > 0)", a))
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
