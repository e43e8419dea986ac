package postgres

import (
	"testing"

	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
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
		return storetest.Opened{
			Store: open(t, url, Options{Quota: storetest.Quota}),
		}
	})
}
