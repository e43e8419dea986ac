package postgres

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"waypost/directory"
)

// TestWordIndex compares the index with a plain list under random changes.
func TestWordIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			x     wordIndex
			alive []*entry
			next  directory.ObjectID
		)
		word := rapid.StringMatching(`[ab]{1,3}`)
		steps := rapid.IntRange(1, 60).Draw(t, "steps")
		for range steps {
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1, 2:
				next++
				e := &entry{id: next, order: word.Draw(t, "word")}
				x.add(e.order, e)
				alive = append(alive, e)
			case 3:
				if len(alive) > 0 {
					i := rapid.IntRange(0, len(alive)-1).Draw(t, "victim")
					alive[i].dead = true
					alive = slices.Delete(alive, i, i+1)
				}
			case 4:
				x.merge()
			case 5:
				p := word.Draw(t, "prefix")
				var got, want []directory.ObjectID
				x.prefix(p, func(e *entry) { got = append(got, e.id) })
				for _, e := range alive {
					if strings.HasPrefix(e.order, p) {
						want = append(want, e.id)
					}
				}
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Fatalf("prefix %q: got %v, want %v", p, got, want)
				}
			}
		}
		sorted := slices.Clone(alive)
		slices.SortFunc(sorted, func(a, b *entry) int { return wordRef{a.order, a}.compare(wordRef{b.order, b}) })
		offset, limit := rapid.IntRange(0, 10).Draw(t, "offset"), rapid.IntRange(1, 10).Draw(t, "limit")
		want := sorted[min(offset, len(sorted)):min(offset+limit, len(sorted))]
		if got := x.from(offset, limit); !slices.Equal(got, want) {
			t.Fatalf("from %d, %d: got %d entries, want %d", offset, limit, len(got), len(want))
		}
	})
}

// TestExpandTolerates: groups that contain each other, which only a damaged
// table can hold, end the expansion all the same.
func TestExpandTolerates(t *testing.T) {
	var v view
	ids := func(ids ...directory.ObjectID) []directory.ObjectID { return ids }
	v.reset(1, ids(1, 2, 3, 4), map[directory.ObjectID]*entry{
		1: {id: 1, family: group, kind: directory.KindGroup, members: ids(2, 3, 9)},
		2: {id: 2, family: group, kind: directory.KindGroup, members: ids(1, 2, 4)},
		3: {id: 3, kind: directory.KindUser, mailbox: 3},
		4: {id: 4, kind: directory.KindUser, mailbox: 4},
	})
	got := v.expand(v.objects[1])
	if len(got) != 2 || got[0].id != 3 || got[1].id != 4 {
		t.Errorf("a circle expands to %v", got)
	}
}
