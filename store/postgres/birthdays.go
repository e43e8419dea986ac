package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/store"
)

// birthdaysName is what the calendar is called at first.
const birthdaysName = "Birthdays"

// SetBirthdays makes the calendar of birthdays, or removes it.
func (s *Store) SetBirthdays(ctx context.Context, as directory.Principal, box store.MailboxID, on bool) (err error) {
	defer fault.Wrap(&err, "birthdays of mailbox %d", box)
	var folder store.FolderID
	_, err = s.change(ctx, as, box, changeOf{ids: 1, run: func(ctx context.Context, c *change) error {
		err := c.tx.QueryRow(ctx, "select folder from mail.birthdays where mailbox = $1", int64(box)).Scan(&folder)
		switch {
		case err == nil || !errors.Is(err, pgx.ErrNoRows) || !on:
			return errors.Join(err, errNothing)
		}
		f := store.Folder{Name: birthdaysName, Class: store.ClassCalendar, Origin: store.OriginBirthdays, Subscribed: true}
		made, err := c.createFed(ctx, f, store.FolderProps{Transparent: true})
		if fault.Of(err) == fault.Exists && err != nil { // somebody's own
			f.Name += " (contacts)"
			made, err = c.createFed(ctx, f, store.FolderProps{Transparent: true})
		}
		if err != nil {
			return err
		}
		c.last.Queue("insert into mail.birthdays (mailbox, folder, seen) values ($1, $2, -1)", int64(box), int64(made.ID))
		return nil
	}})
	if err == nil && !on && folder != 0 {
		return s.DeleteFolder(ctx, as, box, folder, true)
	}
	return err
}

// maxTouched bounds what is looked at contact by contact; with more, everything is
// compared.
const maxTouched = 1000

// TakeBirthdays gives a calendar of birthdays that is behind, and to nobody else
// until now+lease. Nil when there is none.
func (s *Store) TakeBirthdays(ctx context.Context, name string, lease time.Duration) (b *store.Birthdays, err error) {
	defer fault.Wrap(&err, "take birthdays")
	h, err := s.home(name)
	if err != nil {
		return nil, err
	}
	b = &store.Birthdays{Home: h.name}
	var seen store.Seq
	err = h.db.QueryRow(ctx, `
		update mail.birthdays set leased = now() + $1 where mailbox = (
			select b.mailbox from mail.birthdays b
			where (leased is null or leased < now()) and (seen < 0
				or exists (select from mail.folder f where f.mailbox = b.mailbox and f.class = 'contacts' and f.highest_seq > b.seen)
				or exists (select from mail.mailbox m where m.id = b.mailbox and m.hierarchy_seq > b.seen))
			limit 1 for update skip locked)
		returning mailbox, folder, seen, leased`, lease).Scan(&b.Mailbox, &b.Folder, &seen, &b.Leased)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// A folder that went leaves no tombstones behind, so after a change of the tree
	// all is compared; likewise when tombstones since may be purged already.
	return b, h.db.Snapshot(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		batch := &pgx.Batch{}
		batch.Queue(`select seq, $2 < 0 or hierarchy_seq > $2 or exists (
				select from mail.folder f where f.mailbox = m.id and f.class = 'contacts' and f.floor > $2)
			from mail.mailbox m where id = $1`, int64(b.Mailbox), int64(seen)).
			QueryRow(func(row pgx.Row) error { return row.Scan(&b.At, &b.All) })
		batch.Queue(`
			select item from (select id from mail.folder where mailbox = $1 and class = 'contacts') f
				cross join lateral (select item from mail.entry where mailbox = $1 and folder = f.id and changed_seq > $2 limit $3) e
			union select item from (select id from mail.folder where mailbox = $1 and class = 'contacts') f
				cross join lateral (select item from mail.tombstone where mailbox = $1 and folder = f.id and left_seq > $2 limit $3) t`,
			int64(b.Mailbox), int64(seen), maxTouched+1).
			Query(func(rows pgx.Rows) (err error) {
				b.Touched, err = pgx.CollectRows(rows, pgx.RowTo[store.ItemID])
				return err
			})
		if err := tx.SendBatchAndCommit(ctx, batch); err != nil {
			return err
		}
		if len(b.Touched) > maxTouched {
			b.All = true
		}
		if b.All {
			b.Touched = nil
		}
		return nil
	})
}

// BirthdaysDone keeps how far a calendar of birthdays is. One that failed is tried
// again when its lease has ended.
func (s *Store) BirthdaysDone(ctx context.Context, b *store.Birthdays) (err error) {
	defer fault.Wrap(&err, "birthdays of mailbox %d", b.Mailbox)
	h, err := s.home(b.Home)
	if err != nil {
		return err
	}
	_, err = h.db.Exec(ctx, "update mail.birthdays set leased = null, seen = $3 where mailbox = $1 and leased = $2",
		int64(b.Mailbox), b.Leased, int64(b.At))
	return err
}

var _ store.Feeds = (*Store)(nil)
