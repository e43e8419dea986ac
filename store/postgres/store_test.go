package postgres

import (
	"testing"
	"time"

	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/store"
	"waypost/store/storetest"
)

func open(t testing.TB, url string, o Options) *Store {
	t.Helper()
	db, err := pgdb.Open(t.Context(), url, pgdb.Options{Name: "storetest"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s, err := New(map[string]*pgdb.DB{DefaultHome: db}, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Opened {
		url := pgtest.New(t, migrations.Mail)
		s := open(t, url, Options{Quota: storetest.Quota})
		return storetest.Opened{
			Store: s,
			Purge: func(now time.Time) error {
				_, err := s.PurgeOnce(t.Context(), DefaultHome, now, Retention{})
				return err
			},
			Outbox: func() ([]store.OutboxEntry, error) { return s.NextOutbox(t.Context(), DefaultHome, 100) },
		}
	})
}
