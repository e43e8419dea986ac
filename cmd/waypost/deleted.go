package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/config"
	"waypost/internal/fault"
	"waypost/store"
)

type deletedCmd struct {
	Address string `arg:"" help:"Whose mailbox."`
}

type restoreCmd struct {
	Address string          `arg:"" help:"Whose mailbox."`
	ID      []string        `arg:"" optional:"" help:"Numbers of items as mailbox deleted shows them."`
	Since   config.Duration `help:"Everything deleted within this time, like 24h or 3d." placeholder:"TIME"`
	Folder  string          `help:"Put them into this folder instead of where they were."`
}

// lost is an item deleted for good, as it is shown.
type lost struct {
	ID       store.ItemID `json:"id"`
	Folder   string       `json:"folder"`
	From     string       `json:"from"`
	Subject  string       `json:"subject"`
	Size     int64        `json:"size"`
	Received time.Time    `json:"received"`
	Deleted  time.Time    `json:"deleted"`
}

const pageOfItems = 500

// mailboxDeleted lists what was deleted for good and can still be brought back.
func (a *app) mailboxDeleted(ctx context.Context, c *cli) error {
	as, box, err := a.boxOf(ctx, c.Mailbox.Deleted.Address)
	if err != nil {
		return err
	}
	list, _, err := a.mail.Folders(ctx, as, box)
	if err != nil {
		return err
	}
	path := paths(list)
	all := []lost{}
	err = a.eachDeleted(ctx, as, box, func(page []store.Recoverable) error {
		ids := make([]store.ItemID, len(page))
		for i, r := range page {
			ids[i] = r.Item
		}
		messages, err := a.mail.Messages(ctx, as, box, ids)
		if err != nil {
			return err
		}
		for i, r := range page {
			l := lost{ID: r.Item, Folder: strings.Join(path[r.Folder], "/"), Size: r.Size, Received: r.Received, Deleted: r.Gone}
			if m := messages[i]; m != nil && m.Summary != nil {
				l.Subject = m.Summary.Subject
				if len(m.Summary.From) > 0 {
					l.From = m.Summary.From[0].Addr()
				}
			}
			all = append(all, l)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(a, b lost) int { return b.Deleted.Compare(a.Deleted) })
	rows := make([][]any, len(all))
	for i, l := range all {
		rows[i] = []any{l.ID, when(l.Deleted), l.Folder, l.From, shorten(l.Subject, 50), bytesText(l.Size)}
	}
	return a.out.list(all, []any{"ID", "Deleted", "Folder", "From", "Subject", "Size"}, rows)
}

func (a *app) eachDeleted(ctx context.Context, as directory.Principal, box store.MailboxID, fn func([]store.Recoverable) error) error {
	for after := store.ItemID(0); ; {
		page, err := a.mail.Recoverables(ctx, as, box, after, pageOfItems)
		if err != nil {
			return err
		}
		if len(page) > 0 {
			after = page[len(page)-1].Item
			if err := fn(page); err != nil {
				return err
			}
		}
		if len(page) < pageOfItems {
			return nil
		}
	}
}

// mailboxRestore brings items back, by number or by when they were deleted.
func (a *app) mailboxRestore(ctx context.Context, c *cli) error {
	in := c.Mailbox.Restore
	if len(in.ID) == 0 && in.Since == 0 {
		return fault.New(fault.Invalid, "name items, or say --since; see: waypost mailbox deleted %s", in.Address)
	}
	as, box, err := a.boxOf(ctx, in.Address)
	if err != nil {
		return err
	}
	var items []store.ItemID
	wanted := map[store.ItemID]bool{} // to whether it was found
	for _, text := range in.ID {
		id, ok := store.ParseItemID(text)
		if !ok {
			return fault.New(fault.Invalid, "%q is not an item's number; see: waypost mailbox deleted %s", text, in.Address)
		}
		wanted[id] = false
	}
	err = a.eachDeleted(ctx, as, box, func(page []store.Recoverable) error {
		for _, r := range page {
			_, named := wanted[r.Item]
			if named {
				wanted[r.Item] = true
			}
			if named || in.Since > 0 && time.Since(r.Gone) <= in.Since.D() {
				items = append(items, r.Item)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for id, found := range wanted {
		if !found {
			return fault.New(fault.NotFound, "no deleted item has the number %s; see: waypost mailbox deleted %s", id, in.Address)
		}
	}
	to := store.FolderID(0)
	if in.Folder != "" {
		list, _, err := a.mail.Folders(ctx, as, box)
		if err != nil {
			return err
		}
		f, err := (&folders{a: a, as: as, box: box, list: list}).at(ctx, strings.Split(in.Folder, "/"))
		if err != nil {
			return err
		}
		to = f.ID
	}
	for chunk := range slices.Chunk(items, pageOfItems) {
		if err := a.mail.Restore(ctx, as, box, chunk, to); err != nil {
			return err
		}
	}
	return a.out.done(map[string]int{"restored": len(items)}, "Restored %s.", count(len(items), "item"))
}

// shorten keeps a table's line within the screen.
func shorten(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
