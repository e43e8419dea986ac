package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/zone"
	"waypost/store"
)

// FolderProps gives the properties of folders, in the order asked for.
func (s *Store) FolderProps(ctx context.Context, as directory.Principal, box store.MailboxID, folders []store.FolderID) (list []store.FolderProps, err error) {
	defer fault.Wrap(&err, "properties of folders of mailbox %d", box)
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return nil, err
	}
	for _, f := range folders {
		if err := x.may(f, 0); err != nil {
			return nil, err
		}
	}
	if len(folders) > maxFolders {
		return nil, fault.New(fault.Limit, "more than %d folders at once", maxFolders)
	}
	byID := make(map[store.FolderID]store.FolderProps)
	err = reading(ctx, func() error {
		rows, err := h.db.Query(ctx, "select folder, data from mail.folder_props where mailbox = $1 and folder = any($2)", int64(box), ids(folders))
		if err != nil {
			return err
		}
		var id int64
		var data []byte
		_, err = pgx.ForEachRow(rows, []any{&id, &data}, func() error {
			var p store.FolderProps
			err := json.Unmarshal(data, &p)
			byID[store.FolderID(id)] = p
			return err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	list = make([]store.FolderProps, len(folders))
	for i, id := range folders {
		list[i] = byID[id]
	}
	return list, nil
}

// UpdateFolderProps changes the properties of a folder; fn may run again.
func (s *Store) UpdateFolderProps(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, fn func(*store.FolderProps) error) (p store.FolderProps, err error) {
	defer fault.Wrap(&err, "change properties of folder %d of mailbox %d", folder, box)
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return p, err
	}
	if err := x.may(folder, store.RightOwner); err != nil {
		return p, err
	}
	_, err = s.changeIn(ctx, h, box, changeOf{run: func(ctx context.Context, c *change) error {
		p = store.FolderProps{}
		var was []byte
		err := c.tx.QueryRow(ctx, `select p.data from mail.folder f left join mail.folder_props p on p.mailbox = f.mailbox and p.folder = f.id
			where f.mailbox = $1 and f.id = $2`, int64(box), int64(folder)).Scan(&was)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return noFolder()
		case err != nil:
			return err
		case was != nil:
			if err := json.Unmarshal(was, &p); err != nil {
				return err
			}
		}
		before, err := json.Marshal(p)
		if err != nil {
			return err
		}
		if err := fn(&p); err != nil {
			return err
		}
		if err := checkFolderProps(&p); err != nil {
			return err
		}
		data, err := json.Marshal(p)
		if err != nil {
			return err
		}
		if string(data) == string(before) {
			return errNothing
		}
		c.hierarchy = true
		c.last.Queue(`insert into mail.folder_props (mailbox, folder, data) values ($1, $2, $3)
			on conflict (mailbox, folder) do update set data = excluded.data`, int64(box), int64(folder), jsonText(data))
		c.last.Queue("update mail.folder set changed_seq = $3 where mailbox = $1 and id = $2", int64(box), int64(folder), int64(c.seq))
		return nil
	}})
	if err != nil {
		return store.FolderProps{}, err
	}
	return p, nil
}

var colour = regexp.MustCompile(`^#[0-9A-Fa-f]{6}([0-9A-Fa-f]{2})?$`)

func checkFolderProps(p *store.FolderProps) error {
	switch {
	case p.Color != "" && !colour.MatchString(p.Color):
		return fault.New(fault.Invalid, "a colour is #RRGGBB or #RRGGBBAA")
	case len(p.Order) > 64:
		return fault.New(fault.TooLarge, "the order of a folder has at most 64 bytes")
	case len(p.Description) > 10_000:
		return fault.New(fault.TooLarge, "the description of a folder has at most 10,000 bytes")
	case p.Zone != "" && (len(p.Zone) > 100 || zone.Load(p.Zone) == nil):
		return fault.New(fault.Invalid, "there is no such time zone")
	}
	size := 0
	for name, value := range p.Dead {
		size += len(name) + len(value)
	}
	if size > 64<<10 {
		return fault.New(fault.TooLarge, "the properties of a folder have at most 64 KiB")
	}
	p.Order, p.Description = clean(p.Order), clean(p.Description)
	return nil
}
