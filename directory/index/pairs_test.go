package index

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestPairSet compares finding with looking at every pair, among hashes that are
// spread, heaped, and at both ends.
func TestPairSet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	hashes := []uint32{0, 1, 7, 1 << 31, 1<<32 - 2, 1<<32 - 1}
	for range 300 {
		hashes = append(hashes, r.Uint32())
	}
	var s pairSet
	var all []uint64
	for round := range 60 {
		var news []uint64
		for range 1 + r.IntN(3000) {
			h := hashes[r.IntN(len(hashes))]
			if r.IntN(2) == 0 { // a heap
				h = hashes[6]
			}
			news = append(news, pair(h, r.Uint32N(1<<20)))
		}
		slices.Sort(news)
		news = slices.Compact(news)
		s = s.with(news)
		all = append(all, news...)
		if round%10 != 9 {
			continue
		}
		for _, h := range hashes {
			want := map[uint64]bool{}
			for _, p := range all {
				if uint32(p>>32) == h {
					want[p] = true
				}
			}
			runs, count := s.equals(h)
			got := map[uint64]bool{}
			n := 0
			for _, run := range runs {
				n += len(run)
				for _, p := range run {
					got[p] = true
				}
			}
			if n != count || len(got) != len(want) {
				t.Fatalf("round %d, hash %x: %d pairs, said %d, want %d", round, h, len(got), count, len(want))
			}
			for p := range got {
				if !want[p] {
					t.Fatalf("hash %x: pair %x is of another", h, p)
				}
			}
		}
	}
}

// TestPiecesStayFew adds a little at a time, as changes do: a search looks into
// every piece.
func TestPiecesStayFew(t *testing.T) {
	for _, each := range []uint64{1, 14, 700, 1500} {
		var p pieces[uint64]
		const all = 300_000
		for n := uint64(0); n < all; {
			var news []uint64
			for range each {
				news = append(news, n)
				n++
			}
			p = with(p, news, comparePairs)
			if len(p) > 8 { // 300,000 is less than pieceMin * pieceRatio^5
				t.Fatalf("%d at a time: %d pieces of %d pairs", each, len(p), n)
			}
		}
	}
}
