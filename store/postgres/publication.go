package postgres

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

const maxPublications = 100 // of a mailbox

// Publish gives a folder a secret: at least 128 random bits, of which only a hash
// is kept. Who has a copy of the database has no secret.
func (s *Store) Publish(ctx context.Context, as directory.Principal, box store.MailboxID, p store.Publication) (made store.Publication, secret string, err error) {
	defer fault.Wrap(&err, "publish folder %d of mailbox %d", p.Folder, box)
	switch p.Detail {
	case store.DetailFull, store.DetailLimited, store.DetailBusy:
	default:
		return made, "", fault.New(fault.Invalid, "others see full, limited or busy")
	}
	if len(p.Note) > 200 {
		return made, "", fault.New(fault.TooLarge, "a note has at most 200 bytes")
	}
	p.Note = clean(p.Note)
	secret = strings.ToLower(rand.Text())
	hash := sha256.Sum256([]byte(secret))
	_, err = s.change(ctx, as, box, changeOf{ids: 1, run: func(ctx context.Context, c *change) error {
		var class store.Class
		n := 0
		err := c.tx.QueryRow(ctx, `select class, (select count(*) from mail.publication where mailbox = $1)
			from mail.folder where mailbox = $1 and id = $2`, int64(box), int64(p.Folder)).Scan(&class, &n)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return noFolder()
		case err != nil:
			return err
		case n >= maxPublications:
			return fault.New(fault.Limit, "a mailbox has at most %d published folders", maxPublications)
		}
		switch {
		case class == store.ClassCalendar:
		case class == store.ClassContacts && p.Detail == store.DetailFull:
		default:
			return fault.New(fault.Invalid, "calendars are published, and address books as a whole")
		}
		made = p
		made.ID, made.Mailbox, made.Created = c.firstID, box, instant(time.Now())
		data, err := json.Marshal(published(made))
		if err != nil {
			return err
		}
		c.last.Queue("insert into mail.publication (mailbox, id, folder, hash, data) values ($1, $2, $3, $4, $5)",
			int64(box), made.ID, int64(p.Folder), hash[:], jsonText(data))
		return nil
	}})
	if err != nil {
		return store.Publication{}, "", err
	}
	return made, secret, nil
}

// publishedData is the part of a publication that is no column.
type publishedData struct {
	Owner   directory.ObjectID `json:"owner"`
	Detail  store.Detail       `json:"detail"`
	All     bool               `json:"all,omitempty"`
	Note    string             `json:"note,omitempty"`
	Created time.Time          `json:"created"`
}

func published(p store.Publication) publishedData {
	return publishedData{p.Owner, p.Detail, p.All, p.Note, p.Created}
}

func (h *home) scanPublication(row pgx.CollectableRow) (p store.Publication, err error) {
	var data []byte
	if err := row.Scan(&p.Mailbox, &p.ID, &p.Folder, &data); err != nil {
		return p, err
	}
	var d publishedData
	err = json.Unmarshal(data, &d)
	p.Home, p.Owner, p.Detail, p.All, p.Note, p.Created = h.name, d.Owner, d.Detail, d.All, d.Note, d.Created
	return p, err
}

// Publications lists what of a mailbox is published.
func (s *Store) Publications(ctx context.Context, as directory.Principal, box store.MailboxID) (list []store.Publication, err error) {
	defer fault.Wrap(&err, "publications of mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return nil, err
	}
	err = reading(ctx, func() error {
		rows, err := h.db.Query(ctx, "select mailbox, id, folder, data from mail.publication where mailbox = $1 order by id", int64(box))
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, h.scanPublication)
		return err
	})
	return list, err
}

// Unpublish makes a secret worthless.
func (s *Store) Unpublish(ctx context.Context, as directory.Principal, box store.MailboxID, id int64) (err error) {
	defer fault.Wrap(&err, "unpublish from mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return err
	}
	tag, err := h.db.Exec(ctx, "delete from mail.publication where mailbox = $1 and id = $2", int64(box), id)
	if err == nil && tag.RowsAffected() == 0 {
		err = fault.New(fault.NotFound, "no such publication")
	}
	return err
}

// Published finds what a secret opens, in whichever mailbox database it is.
func (s *Store) Published(ctx context.Context, secret string) (p store.Publication, err error) {
	defer fault.Wrap(&err, "published folder")
	hash := sha256.Sum256([]byte(secret))
	for _, h := range s.homes {
		var list []store.Publication
		err := reading(ctx, func() error {
			rows, err := h.db.Query(ctx, "select mailbox, id, folder, data from mail.publication where hash = $1", hash[:])
			if err != nil {
				return err
			}
			list, err = pgx.CollectRows(rows, h.scanPublication)
			return err
		})
		if err != nil {
			return p, err
		}
		if len(list) > 0 {
			return list[0], nil
		}
	}
	return p, fault.New(fault.NotFound, "nothing is published there")
}
