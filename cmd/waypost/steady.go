package main

import (
	"runtime/debug"
	"runtime/metrics"
)

// maxGarbage is how much garbage work in bulk lets lie around, in bytes.
const maxGarbage = 192 << 20

// steady keeps the garbage of work in bulk below a bound, however large the
// directory in memory becomes meanwhile: Go lets the heap double by itself.
type steady struct{ was, now int }

// keep looks how much memory is in use; it is called behind each batch.
func (s *steady) keep() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if live[0].Value.Kind() != metrics.KindUint64 {
		return
	}
	percent := 100
	if used := live[0].Value.Uint64(); used > maxGarbage {
		percent = max(int(100*maxGarbage/used), 10)
	}
	// Each change waits for a collection that is under way.
	if s.now != 0 && percent >= s.now-s.now/10 {
		return
	}
	was := debug.SetGCPercent(percent)
	if s.now == 0 {
		if s.was = was; was >= 0 && was < percent {
			debug.SetGCPercent(was) // as whoever started the program wants it
			percent = was
		}
	}
	s.now = percent
}

// end gives the memory back.
func (s *steady) end() {
	if s.now != 0 {
		debug.SetGCPercent(s.was)
	}
}
