package pgdb_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"waypost/internal/pgtest"
)

func benchURL(b *testing.B) string { return pgtest.Empty(b) }

func oneSelect() *pgx.Batch {
	batch := &pgx.Batch{}
	batch.Queue("select 1")
	return batch
}
