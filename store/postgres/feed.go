package postgres

import (
	"context"
	"encoding/json"
	"errors"
	neturl "net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

const (
	maxFeeds   = 50   // of a mailbox
	maxFeedURL = 2000 // bytes
)

// Subscribe makes a folder that shows an outside calendar.
func (s *Store) Subscribe(ctx context.Context, as directory.Principal, box store.MailboxID, f store.Folder, props store.FolderProps, url string) (made store.Folder, err error) {
	defer fault.Wrap(&err, "subscribe in mailbox %d", box)
	if f.Class != store.ClassCalendar && f.Class != store.ClassTasks {
		return made, fault.New(fault.Invalid, "only calendars and task lists are subscribed to")
	}
	if url == "" || len(url) > maxFeedURL || url != clean(url) || strings.ContainsAny(url, "\r\n") {
		return made, fault.New(fault.Invalid, "the address of a calendar has 1 to %d bytes of text", maxFeedURL)
	}
	switch u, err := neturl.Parse(url); {
	case err != nil, u.Host == "", !slices.Contains([]string{"http", "https", "webcal", "webcals"}, u.Scheme):
		return made, fault.New(fault.Invalid, "a calendar's address is like https://example.org/calendar.ics")
	}
	if f.Name, err = folderName(f.Name); err != nil {
		return made, err
	}
	props.Transparent = true
	if err := checkFolderProps(&props); err != nil {
		return made, err
	}
	f.Role, f.Origin = store.RoleNone, store.OriginFeed
	_, err = s.change(ctx, as, box, changeOf{ids: 1, run: func(ctx context.Context, c *change) error {
		n := 0
		if err := c.tx.QueryRow(ctx, "select count(*) from mail.feed where mailbox = $1", int64(box)).Scan(&n); err != nil {
			return err
		}
		if n >= maxFeeds {
			return fault.New(fault.Limit, "a mailbox has at most %d outside calendars", maxFeeds)
		}
		if made, err = c.createFed(ctx, f, props); err != nil {
			return err
		}
		c.last.Queue("insert into mail.feed (mailbox, folder, url, state) values ($1, $2, $3, '{}')", int64(box), int64(made.ID), url)
		return nil
	}})
	return made, err
}

const feedCols = "mailbox, folder, url, due, leased, state"

func (h *home) scanFeed(row pgx.CollectableRow) (f store.Feed, err error) {
	var leased *time.Time
	var state []byte
	if err := row.Scan(&f.Mailbox, &f.Folder, &f.URL, &f.Due, &leased, &state); err != nil {
		return f, err
	}
	if leased != nil {
		f.Leased = *leased
	}
	f.Home = h.name
	return f, json.Unmarshal(state, &f.State)
}

// Feeds lists a mailbox's outside calendars.
func (s *Store) Feeds(ctx context.Context, as directory.Principal, box store.MailboxID) (list []store.Feed, err error) {
	defer fault.Wrap(&err, "feeds of mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return nil, err
	}
	err = reading(ctx, func() error {
		rows, err := h.db.Query(ctx, "select "+feedCols+" from mail.feed where mailbox = $1 order by folder", int64(box))
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, h.scanFeed)
		return err
	})
	return list, err
}

// TakeFeed gives a feed to read until now+lease, and to nobody else meanwhile: the
// one of a folder or, with box 0, the one that is longest due. Nil when there is none.
func (s *Store) TakeFeed(ctx context.Context, name string, box store.MailboxID, folder store.FolderID, lease time.Duration) (f *store.Feed, err error) {
	defer fault.Wrap(&err, "take a feed")
	h, err := s.home(name)
	if err != nil {
		return nil, err
	}
	rows, err := h.db.Query(ctx, `
		update mail.feed set leased = now() + $3 where (mailbox, folder) = (
			select mailbox, folder from mail.feed
			where (leased is null or leased < now()) and ($1 = 0 and due <= now() or mailbox = $1 and folder = $2)
			order by due limit 1 for update skip locked)
		returning `+feedCols, int64(box), int64(folder), lease)
	if err != nil {
		return nil, err
	}
	one, err := pgx.CollectExactlyOneRow(rows, h.scanFeed)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return &one, err
}

// FeedDone keeps what became of a feed that was taken, and when it is due again.
// One that is no longer had is left alone.
func (s *Store) FeedDone(ctx context.Context, f *store.Feed) (err error) {
	defer fault.Wrap(&err, "feed of folder %d of mailbox %d", f.Folder, f.Mailbox)
	h, err := s.home(f.Home)
	if err != nil {
		return err
	}
	data, err := json.Marshal(f.State)
	if err != nil {
		return err
	}
	_, err = h.db.Exec(ctx, `update mail.feed set leased = null, due = $4, state = $5
		where mailbox = $1 and folder = $2 and leased = $3`, int64(f.Mailbox), int64(f.Folder), f.Leased, f.Due, jsonText(data))
	return err
}
