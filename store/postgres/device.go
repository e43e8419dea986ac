package postgres

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/store"
)

// maxDevice bounds what is kept of a device, in bytes.
const maxDevice = 64 << 10

// Devices lists the phones of a mailbox.
func (s *Store) Devices(ctx context.Context, as directory.Principal, box store.MailboxID) (list []store.Device, err error) {
	defer fault.Wrap(&err, "devices of mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return nil, err
	}
	err = reading(ctx, func() error {
		rows, err := h.db.Query(ctx, "select data from mail.device where mailbox = $1 order by id", int64(box))
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (d store.Device, err error) {
			var data []byte
			if err := row.Scan(&data); err != nil {
				return d, err
			}
			return d, json.Unmarshal(data, &d)
		})
		return err
	})
	return list, err
}

// Device gives a device; NotFound if it is new.
func (s *Store) Device(ctx context.Context, as directory.Principal, box store.MailboxID, id string) (d store.Device, err error) {
	defer fault.Wrap(&err, "device of mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return d, err
	}
	version, err := readDevice(ctx, h, box, id, &d)
	if err == nil && version == 0 {
		err = fault.New(fault.NotFound, "no such device")
	}
	return d, err
}

func readDevice(ctx context.Context, h *home, box store.MailboxID, id string, d *store.Device) (version int64, err error) {
	var data []byte
	err = reading(ctx, func() error {
		return h.db.QueryRow(ctx, "select version, data from mail.device where mailbox = $1 and id = $2", int64(box), clean(id)).Scan(&version, &data)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return version, json.Unmarshal(data, d)
}

// UpdateDevice changes a device, making it if new; fn may run again after a
// conflict with another request.
func (s *Store) UpdateDevice(ctx context.Context, as directory.Principal, box store.MailboxID, id string, fn func(*store.Device) error) (d store.Device, err error) {
	defer fault.Wrap(&err, "change device of mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return d, err
	}
	if id == "" || len(id) > 255 || id != clean(id) {
		return d, fault.New(fault.Invalid, "a device's id has 1 to 255 bytes of text")
	}
	for range casAttempts {
		d = store.Device{}
		version, err := readDevice(ctx, h, box, id, &d)
		if err != nil {
			return d, err
		}
		d.ID = id
		if err := fn(&d); err != nil {
			return d, err
		}
		d.ID = id
		data, err := json.Marshal(d)
		if err != nil {
			return d, err
		}
		if len(data) > maxDevice {
			return d, fault.New(fault.TooLarge, "a device says too much of itself")
		}
		saved, err := saveDevice(ctx, h, box, id, version, jsonText(data))
		if err != nil || saved {
			return d, err
		}
	}
	return d, fault.New(fault.Conflict, "the device keeps being changed by other requests")
}

func saveDevice(ctx context.Context, h *home, box store.MailboxID, id string, version int64, data string) (bool, error) {
	if version > 0 {
		tag, err := h.db.Exec(ctx, "update mail.device set version = version + 1, data = $4 where mailbox = $1 and id = $2 and version = $3",
			int64(box), id, version, data)
		return tag.RowsAffected() == 1, err
	}
	n := 0
	if err := h.db.QueryRow(ctx, "select count(*) from mail.device where mailbox = $1", int64(box)).Scan(&n); err != nil {
		return false, err
	}
	if n >= maxDevices {
		return false, fault.New(fault.Limit, "a mailbox has at most %d devices", maxDevices)
	}
	tag, err := h.db.Exec(ctx, "insert into mail.device (mailbox, id, version, data) values ($1, $2, 1, $3) on conflict do nothing",
		int64(box), id, data)
	return tag.RowsAffected() == 1, err
}

// RemoveDevice forgets a device and its sync states.
func (s *Store) RemoveDevice(ctx context.Context, as directory.Principal, box store.MailboxID, id string) (err error) {
	defer fault.Wrap(&err, "remove device of mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return err
	}
	found := false
	err = h.db.Tx(ctx, func(ctx context.Context, tx *pgdb.Tx) error {
		tag, err := tx.Exec(ctx, "delete from mail.device where mailbox = $1 and id = $2", int64(box), clean(id))
		if err != nil {
			return err
		}
		found = tag.RowsAffected() == 1
		_, err = tx.Exec(ctx, "delete from mail.sync_state where mailbox = $1 and client = $2", int64(box), clean(id))
		return err
	})
	if err == nil && !found {
		err = fault.New(fault.NotFound, "no such device")
	}
	return err
}
