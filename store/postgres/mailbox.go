package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/store"
)

const mailboxCols = "id, seq, hierarchy_seq, used, items, quota, recoverable, created"

// Mailbox opens a mailbox, making it with its standard folders if new.
func (s *Store) Mailbox(ctx context.Context, as directory.Principal, box store.MailboxID) (m store.Mailbox, err error) {
	defer fault.Wrap(&err, "open mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return m, err
	}
	for {
		err = reading(ctx, func() error {
			return h.db.QueryRow(ctx, "select "+mailboxCols+" from mail.mailbox where id = $1", int64(box)).
				Scan(&m.ID, &m.Seq, &m.Hierarchy, &m.Used, &m.Items, &m.Quota, &m.Recoverable, &m.Created)
		})
		if !errors.Is(err, pgx.ErrNoRows) {
			break
		}
		if err := s.ensure(ctx, h, box); err != nil {
			return m, err
		}
	}
	if m.Quota == 0 {
		m.Quota = s.opts.Quota
	}
	return m, err
}

// standard are the folders of a new mailbox; their ids are 1, 2, 3 …
var standard = []struct {
	name  string
	role  store.Role
	class store.Class
}{
	{"Inbox", store.RoleInbox, store.ClassMail},
	{"Drafts", store.RoleDrafts, store.ClassMail},
	{"Sent Items", store.RoleSent, store.ClassMail},
	{"Deleted Items", store.RoleTrash, store.ClassMail},
	{"Junk E-mail", store.RoleJunk, store.ClassMail},
	{"Outbox", store.RoleOutbox, store.ClassMail},
	{"Calendar", store.RoleCalendar, store.ClassCalendar},
	{"Contacts", store.RoleContacts, store.ClassContacts},
	{"Tasks", store.RoleTasks, store.ClassTasks},
	{"Notes", store.RoleNotes, store.ClassNotes},
	{"Journal", store.RoleJournal, store.ClassJournal},
}

// ensure makes a mailbox with its standard folders unless it is there.
func (s *Store) ensure(ctx context.Context, h *home, box store.MailboxID) error {
	now := time.Now().Unix()
	return h.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		tag, err := tx.Exec(ctx, `
			insert into mail.mailbox (id, seq, hierarchy_seq, next_id, next_uidvalidity)
			values ($1, 1, 1, $2, $3) on conflict (id) do nothing`,
			int64(box), int64(len(standard)+1), now+1)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		var ids []int64
		var names, keys, roles, classes []string
		for i, f := range standard {
			ids = append(ids, int64(i+1))
			names, keys = append(names, f.name), append(keys, nameKey(f.name))
			roles, classes = append(roles, string(f.role)), append(classes, string(f.class))
		}
		_, err = tx.Exec(ctx, `
			insert into mail.folder (mailbox, id, parent, uidvalidity, highest_seq, created_seq, changed_seq,
				subscribed, name, name_key, role, class)
			select $1, id, 0, $2, 1, 1, 1, true, name, key, role, class
			from unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[]) as u (id, name, key, role, class)`,
			int64(box), now, ids, names, keys, roles, classes)
		return err
	})
}

// retryMade runs a read, and again when it found nothing: perhaps the mailbox was
// not made yet, and whoever makes it now may be another process.
func (s *Store) retryMade(ctx context.Context, h *home, box store.MailboxID, read func() error) error {
	fn := func() error { return reading(ctx, read) }
	err := fn()
	if fault.Of(err) != fault.NotFound {
		return err
	}
	if ensureErr := s.ensure(ctx, h, box); ensureErr != nil {
		return errors.Join(ensureErr, err)
	}
	return fn()
}

// Settings reads what the owner set.
func (s *Store) Settings(ctx context.Context, as directory.Principal, box store.MailboxID) (set store.Settings, err error) {
	defer fault.Wrap(&err, "settings of mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return set, err
	}
	_, err = readSettings(ctx, h, box, &set)
	return set, err
}

func readSettings(ctx context.Context, h *home, box store.MailboxID, set *store.Settings) (version int64, err error) {
	var data []byte
	err = reading(ctx, func() error {
		return h.db.QueryRow(ctx, "select version, data from mail.settings where mailbox = $1", int64(box)).Scan(&version, &data)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return version, json.Unmarshal(data, set)
}

// maxSettings bounds a mailbox's settings in bytes.
const maxSettings = 1 << 20

// UpdateSettings changes what the owner set; fn may run again after a conflict.
func (s *Store) UpdateSettings(ctx context.Context, as directory.Principal, box store.MailboxID, fn func(*store.Settings) error) (set store.Settings, err error) {
	defer fault.Wrap(&err, "change settings of mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return set, err
	}
	if err := s.ensure(ctx, h, box); err != nil {
		return set, err
	}
	for range casAttempts {
		set = store.Settings{}
		version, err := readSettings(ctx, h, box, &set)
		if err != nil {
			return set, err
		}
		if err := fn(&set); err != nil {
			return set, err
		}
		data, err := json.Marshal(set)
		if err != nil {
			return set, err
		}
		if len(data) > maxSettings {
			return set, fault.New(fault.TooLarge, "the settings are too large")
		}
		written, err := writeSettings(ctx, h, box, version, data, set.OutOfOffice.State != "")
		if err != nil || written {
			return set, err
		}
	}
	return set, fault.New(fault.Conflict, "the settings keep being changed by others")
}

// writeSettings replaces the settings that had a version. Whether there is an absence
// notice stands in the counter row too, where a delivery sees it for nothing.
func writeSettings(ctx context.Context, h *home, box store.MailboxID, version int64, data []byte, away bool) (written bool, err error) {
	err = h.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		written = false
		b := &pgx.Batch{}
		b.Queue("select from mail.mailbox where id = $1 for update", int64(box)) // first, as everywhere
		b.Queue(`
			insert into mail.settings as s (mailbox, version, data) values ($1, $2 + 1, $3)
			on conflict (mailbox) do update set version = excluded.version, data = excluded.data where s.version = $2`,
			int64(box), version, jsonText(data)).
			Exec(func(tag pgconn.CommandTag) error {
				written = tag.RowsAffected() == 1
				return nil
			})
		b.Queue(`
			update mail.mailbox set away = $3 where id = $1 and away <> $3
				and exists (select from mail.settings where mailbox = $1 and version = $2 + 1)`, int64(box), version, away)
		return tx.SendBatchAndCommit(ctx, b)
	})
	return written, err
}

// casAttempts bounds how often a compare-and-swap is tried.
const casAttempts = 20

// jsonText makes JSON fit for jsonb, which has no NUL.
func jsonText(data []byte) string {
	return strings.ReplaceAll(string(data), `\u0000`, "")
}
