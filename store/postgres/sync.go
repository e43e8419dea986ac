package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

func checkScope(client, scope string) error {
	if client == "" || len(client) > 255 || len(scope) > 255 || client != clean(client) || scope != clean(scope) {
		return fault.New(fault.Invalid, "a sync state is named by at most 255 bytes of text")
	}
	return nil
}

// SyncState reads a client's state; Generation 0 if there is none.
func (s *Store) SyncState(ctx context.Context, as directory.Principal, box store.MailboxID, client, scope string) (st store.SyncState, err error) {
	defer fault.Wrap(&err, "sync state of mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return st, err
	}
	if err := checkScope(client, scope); err != nil {
		return st, err
	}
	err = reading(ctx, func() error {
		return h.db.QueryRow(ctx, "select generation, data, previous from mail.sync_state where mailbox = $1 and client = $2 and scope = $3",
			int64(box), client, scope).Scan(&st.Generation, &st.Data, &st.Previous)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return store.SyncState{}, nil
	}
	return st, err
}

// SaveSyncState replaces generation was by was+1, keeping was as Previous.
func (s *Store) SaveSyncState(ctx context.Context, as directory.Principal, box store.MailboxID, client, scope string, was int64, data []byte, replaceOnly bool) (err error) {
	defer fault.Wrap(&err, "save sync state of mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return err
	}
	if err := checkScope(client, scope); err != nil {
		return err
	}
	if len(data) > maxState {
		return fault.New(fault.TooLarge, "a sync state has at most %d bytes", maxState)
	}
	sql := "update mail.sync_state set generation = $4 + 1, previous = data, data = $5, at = now() where mailbox = $1 and client = $2 and scope = $3 and generation = $4"
	switch {
	case replaceOnly:
		sql = "update mail.sync_state set data = $5, at = now() where mailbox = $1 and client = $2 and scope = $3 and generation = $4"
	case was == 0:
		sql = "insert into mail.sync_state (mailbox, client, scope, generation, data) values ($1, $2, $3, $4 + 1, $5) on conflict do nothing"
	}
	tag, err := h.db.Exec(ctx, sql, int64(box), client, scope, was, nonNil(data))
	if err == nil && tag.RowsAffected() == 0 {
		err = fault.New(fault.Conflict, "the sync state was replaced by another request")
	}
	return err
}

// DropSyncStates forgets a client's states whose scope begins with prefix.
func (s *Store) DropSyncStates(ctx context.Context, as directory.Principal, box store.MailboxID, client, prefix string) (err error) {
	defer fault.Wrap(&err, "drop sync states of mailbox %d", box)
	h, err := s.open(as, box)
	if err != nil {
		return err
	}
	if err := checkScope(client, prefix); err != nil {
		return err
	}
	_, err = h.db.Exec(ctx, "delete from mail.sync_state where mailbox = $1 and client = $2 and starts_with(scope, $3)", int64(box), client, prefix)
	return err
}
