package postgres_test

import (
	"testing"

	"waypost/directory"
	"waypost/directory/authn"
	"waypost/directory/directorytest"
	"waypost/directory/postgres"
	"waypost/directory/tree"
	"waypost/internal/pgtest"
	"waypost/migrations"
)

// forest is a process with both of its faces.
type forest struct {
	directory.Directory
	store *postgres.Store
}

func (f forest) Tree() tree.Tree { return f.store.Tree() }

func TestTree(t *testing.T) {
	directorytest.RunTree(t, func(t testing.TB) directorytest.TreeWorld {
		url := pgtest.New(t, migrations.Directory)
		h := authn.NewHasher(cheap)
		var first *postgres.Store
		return directorytest.TreeWorld{
			Open: func(t testing.TB) directorytest.Forest {
				s, d := process(t, url, h)
				if first == nil {
					first = s
				}
				return forest{d, s}
			},
			Check: func(t testing.TB) []string {
				findings, err := first.Check(t.Context())
				if err != nil {
					t.Error(err)
				}
				return findings
			},
		}
	})
}
