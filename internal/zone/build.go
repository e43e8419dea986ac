package zone

import (
	"encoding/binary"
	"slices"
	"time"
)

// Transition is a moment from which on an offset holds.
type Transition struct {
	At     int64 // seconds since 1970, UTC
	Offset int   // seconds east of UTC
	DST    bool
	Abbrev string
}

// maxTransitions bounds a zone made from foreign rules.
const maxTransitions = 2000

// Build makes a zone of transitions; before the first, the offset first holds.
// It gives nil when there are too many of them or too many kinds.
func Build(name string, first int, transitions []Transition) *time.Location {
	transitions = slices.Clone(transitions)
	slices.SortStableFunc(transitions, func(a, b Transition) int {
		switch {
		case a.At < b.At:
			return -1
		case a.At > b.At:
			return 1
		}
		return 0
	})
	if len(transitions) > maxTransitions {
		return nil
	}
	// RFC 8536. Type 0 is used by no transition: so it holds before the first.
	type kind struct {
		offset int
		dst    bool
		abbrev string
	}
	kinds := []kind{{first, false, ""}}
	var indexes []byte
	var at []int64
	for i, t := range transitions {
		if i+1 < len(transitions) && transitions[i+1].At == t.At {
			continue // the later of two at once holds
		}
		k := kind{t.Offset, t.DST, abbrev(t.Abbrev)}
		index := slices.Index(kinds[1:], k) + 1
		if index == 0 {
			index = len(kinds)
			kinds = append(kinds, k)
		}
		if index > 255 {
			return nil
		}
		indexes, at = append(indexes, byte(index)), append(at, t.At)
	}
	var names []byte
	nameAt := make([]int, len(kinds))
	for i, k := range kinds {
		nameAt[i] = len(names)
		if nameAt[i] > 255 {
			return nil
		}
		names = append(append(names, k.abbrev...), 0)
	}
	header := func(dst []byte, times, types, chars int) []byte {
		dst = append(dst, "TZif2"...)
		dst = append(dst, make([]byte, 15)...)
		for _, n := range []int{0, 0, 0, times, types, chars} {
			dst = binary.BigEndian.AppendUint32(dst, uint32(n)) //nolint:gosec // bounded above
		}
		return dst
	}
	data := header(nil, 0, 1, 1) // the short block of version 1 is not read
	data = append(data, make([]byte, 7)...)
	data = header(data, len(at), len(kinds), len(names))
	for _, t := range at {
		data = binary.BigEndian.AppendUint64(data, uint64(t)) //nolint:gosec // two's complement is meant
	}
	data = append(data, indexes...)
	for i, k := range kinds {
		data = binary.BigEndian.AppendUint32(data, uint32(int32(k.offset))) //nolint:gosec // two's complement is meant
		dst := byte(0)
		if k.dst {
			dst = 1
		}
		data = append(data, dst, byte(nameAt[i]))
	}
	data = append(append(data, names...), "\n\n"...)
	l, err := time.LoadLocationFromTZData(name, data)
	if err != nil {
		return nil
	}
	return l
}

// abbrev keeps what a format of fixed tables can hold.
func abbrev(s string) string {
	b := make([]byte, 0, 8)
	for i := 0; i < len(s) && len(b) < 8; i++ {
		if c := s[i]; c > ' ' && c < 0x7f {
			b = append(b, c)
		}
	}
	return string(b)
}
