package eas

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"waypost/internal/fault"
	"waypost/store"
)

func TestSyncKey(t *testing.T) {
	for _, k := range []syncKey{{}, {1, 1, 0}, {1 << 63, 77, 3}, {^uint64(0), 1 << 62, 1<<32 - 1}} {
		got, ok := parseSyncKey(k.String())
		if !ok || got != k || len(k.String()) > 64 {
			t.Errorf("%v: %q reads as %v, %v", k, k, got, ok)
		}
	}
	for _, s := range []string{"", "1", "{}1", "{0000000000000001}0", "{0000000000000001}01", "{0000000000000001}1.0", "{000000000000000G}1", "{0000000000000001}1x"} {
		if k, ok := parseSyncKey(s); ok {
			t.Errorf("%q reads as %v", s, k)
		}
	}
}

func drawEchoes(t *rapid.T) []echo {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) echo {
		return echo{
			item: store.ItemID(rapid.Int64().Draw(t, "i")), seq: store.Seq(rapid.Int64().Draw(t, "s")),
			arrival: rapid.Bool().Draw(t, "a"), stale: rapid.Bool().Draw(t, "st"), left: rapid.Bool().Draw(t, "l"),
		}
	}), 0, 4).Draw(t, "echoes")
}

func drawOptions(t *rapid.T) options {
	o := defaultOptions()
	o.filter, o.mime, o.conversations = rapid.Byte().Draw(t, "f"), int8(rapid.Byte().Draw(t, "m")), rapid.Bool().Draw(t, "c")
	for range rapid.IntRange(0, 3).Draw(t, "n") {
		o.bodies = append(o.bodies, bodyPref{rapid.Byte().Draw(t, "k"), rapid.Int64().Draw(t, "z"), rapid.Bool().Draw(t, "b"), rapid.Byte().Draw(t, "p")})
	}
	return o
}

// TestStateRoundTrip: what is written is read.
func TestStateRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := &generation{
			chain: rapid.Uint64().Draw(t, "chain"), gen: rapid.Uint64().Draw(t, "gen"), confirmed: rapid.Bool().Draw(t, "ok"), kept: rapid.Bool().Draw(t, "kept"),
			next: rapid.Uint32().Draw(t, "next"), pending: rapid.Uint64().Draw(t, "pending"),
		}
		if g.pending != 0 {
			g.pendingOpts, g.pendingMoves = drawOptions(t), nonNil(drawEchoes(t))
		}
		g.moves = nonNil(drawEchoes(t))
		for range rapid.IntRange(0, 3).Draw(t, "variants") {
			v := view{started: rapid.Bool().Draw(t, "st"), cutoff: rapid.Int64().Draw(t, "cut"), opts: drawOptions(t), echoes: nonNil(drawEchoes(t))}
			v.pos = store.Position{Seq: store.Seq(rapid.Int64().Draw(t, "seq")), Item: store.ItemID(rapid.Int64().Draw(t, "item"))}
			if rapid.Bool().Draw(t, "load") {
				v.load = &download{5, 6, 7}
			}
			if rapid.Bool().Draw(t, "shift") {
				v.shift = &shift{1, 2, 3, 4, 5}
			}
			for i := range rapid.IntRange(0, 3).Draw(t, "stretches") {
				v.stretches = append(v.stretches, stretch{store.Position{Seq: store.Seq(i), Item: 9}, 8})
			}
			g.variants = append(g.variants, variant{rapid.Uint32().Draw(t, "n"), v})
		}
		for range rapid.IntRange(0, 3).Draw(t, "results") {
			g.results = append(g.results, result{1, 2, 3, 4, echo{item: 9, seq: 8}})
		}
		got, err := decodeGeneration(g.encode())
		if err != nil || !reflect.DeepEqual(got, g) {
			t.Fatalf("got %+v, %v\nwant %+v", got, err, g)
		}
	})
}

func nonNil(es []echo) []echo {
	if len(es) == 0 {
		return nil
	}
	return es
}

// FuzzState: no bytes make the reader fail otherwise than with an error, and
// what it accepts it writes the same.
func FuzzState(f *testing.F) {
	g := &generation{chain: 7, gen: 3, pending: 9, moves: []echo{{item: 1, seq: 2}}}
	g.add(view{started: true, load: &download{}, shift: &shift{}, opts: defaultOptions()})
	f.Add(g.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := decodeGeneration(b)
		if err != nil {
			return
		}
		again, err := decodeGeneration(g.encode())
		if err != nil || !reflect.DeepEqual(g, again) {
			t.Fatalf("%+v becomes %+v, %v", g, again, err)
		}
	})
}

// FuzzRequest: the same for the kept request.
func FuzzRequest(f *testing.F) {
	q := &syncRequest{hold: time.Minute, window: 9, collections: []syncCollection{{id: "F1", getChanges: true, window: 5}}}
	f.Add(q.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		q, ok := decodeRequest(b)
		if !ok {
			return
		}
		again, ok := decodeRequest(q.encode())
		if !ok || !reflect.DeepEqual(q, again) {
			t.Fatalf("%+v becomes %+v", q, again)
		}
	})
}

func TestFaultTablesAreTotal(t *testing.T) {
	for _, k := range fault.Kinds() {
		if commandFaults[k] == 0 {
			t.Errorf("Sync has no Status for %v", k)
		}
		if moveFaults[k] == 0 {
			t.Errorf("MoveItems has no Status for %v", k)
		}
		if itemFaults[k] == 0 {
			t.Errorf("ItemOperations has no Status for %v", k)
		}
	}
}
