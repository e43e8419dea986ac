package eas

import (
	"math"
	"slices"
	"time"

	"waypost/internal/fault"
	"waypost/store"
)

// What a phone holds, computed from its view.

// still stands for the time when an item will leave that is in the folder.
const still store.Seq = math.MaxInt64

// holds tells whether the phone has the item, given when it entered the folder,
// when it left, and when it was received.
func (v *view) holds(item store.ItemID, entered, left store.Seq, received time.Time) bool {
	if v.took(item, entered) {
		return false
	}
	if v.arrived(item, entered) {
		return true
	}
	if v.members != nil {
		return v.members.has(item)
	}
	if !v.started || after(entered, item, v.pos) || !v.inWindow(item, received) || v.missed(item, entered, left) {
		return false
	}
	if s := v.shift; s != nil && s.to > v.cutoff && received.Unix() < s.to {
		if entered > s.since || item < s.unloaded && entered <= s.upTo {
			return false
		}
	}
	if v.load != nil && entered <= v.load.upTo {
		return v.load.before != 0 && item >= v.load.before
	}
	return true
}

// inWindow tells whether an item of that age is in reach of the filter, as far
// as a move of the cut-off has got.
func (v *view) inWindow(item store.ItemID, received time.Time) bool {
	t := received.Unix()
	if s := v.shift; s != nil {
		if s.to != 0 && s.to > v.cutoff { // narrowing
			return t >= s.to || t >= v.cutoff && item > s.after
		}
		return t >= v.cutoff || t >= s.to && item <= s.after
	}
	return t >= v.cutoff
}

// toCome tells whether the download has yet to come to an item.
func (v *view) toCome(e *store.Entry) bool {
	l := v.load
	return l != nil && e.Entered <= l.upTo && (l.before == 0 || e.Item < l.before)
}

// wants tells whether a message that is new to the folder is sent now.
func (v *view) wants(item store.ItemID, received time.Time) bool {
	if s := v.shift; s != nil && s.to > v.cutoff {
		return received.Unix() >= s.to
	}
	return v.inWindow(item, received)
}

// maxStretches is how many stretches a view keeps. They are dropped when the
// phone has caught up; one that does not in so many answers begins anew.
const maxStretches = 1000

// reads notes that the journal is read on from the position, as it stands at a
// change.
func (v *view) reads(upTo store.Seq) error {
	n := len(v.stretches)
	switch {
	case n > 0 && v.stretches[n-1].upTo == upTo:
		return nil
	case n > 0 && v.stretches[n-1].from == v.pos: // nothing was taken of the last reading
		v.stretches[n-1].upTo = upTo
		return nil
	case n >= maxStretches:
		return fault.New(fault.Resync, "too long behind")
	}
	v.stretches = append(v.stretches, stretch{v.pos, upTo})
	return nil
}

// missed tells whether an item that came and went lies behind the position and
// yet was not told: it had gone when its arrival was passed.
func (v *view) missed(item store.ItemID, entered, left store.Seq) bool {
	for _, s := range slices.Backward(v.stretches) {
		if after(entered, item, s.from) {
			return left <= s.upTo
		}
	}
	return false
}

// passed drops the stretches of which no more can come: whatever leaves from
// the position on was there when they were read.
func (v *view) passed() {
	n := 0
	for n < len(v.stretches) && !v.pos.Less(store.After(v.stretches[n].upTo)) {
		n++
	}
	if v.stretches = v.stretches[n:]; len(v.stretches) == 0 {
		v.stretches = nil
	}
}

// hasEcho tells whether the change is the phone's own.
func (v *view) hasEcho(item store.ItemID, seq store.Seq) bool { return echoed(v.echoes, item, seq) }

// arrived tells whether the phone has an item that is new to the folder: it
// brought it itself, and has not taken it away again. Meanwhile the item may
// have been elsewhere; the phone was not told.
func (v *view) arrived(item store.ItemID, seq store.Seq) bool {
	came, went := store.Seq(0), store.Seq(0)
	for _, e := range v.echoes {
		if e.item != item || e.seq > seq {
			continue
		}
		if e.arrival {
			came = max(came, e.seq)
		}
		if e.left {
			went = max(went, e.seq)
		}
	}
	return came > went
}

// took tells whether the phone has taken an item away that entered at seq.
func (v *view) took(item store.ItemID, entered store.Seq) bool {
	for _, e := range v.echoes {
		if (e.left || e.back) && e.item == item && e.seq >= entered {
			return true
		}
	}
	return false
}

// resolve forgets the arrivals of an item up to seq: the state has come to
// them by itself, or they are past.
func (v *view) resolve(item store.ItemID, seq store.Seq) {
	for i := range v.echoes {
		if x := &v.echoes[i]; x.item == item && x.seq <= seq {
			x.arrival, x.back = false, false // pruned with the position
		}
	}
}

// prune drops the echoes that the position has passed. An arrival that was not
// met stays until all changes were read.
func (v *view) prune(caughtUp bool) {
	for i := range v.echoes {
		if e := &v.echoes[i]; e.arrival && !v.arrived(e.item, still) {
			e.arrival = false // it took the item away again
		}
	}
	keep := v.echoes[:0]
	for _, e := range v.echoes {
		waits := !caughtUp || v.load != nil && e.seq <= v.load.upTo // the download may come to it
		if after(e.seq, e.item, v.pos) || (e.arrival || e.back) && waits {
			keep = append(keep, e)
		}
	}
	if v.echoes = keep; len(keep) == 0 {
		v.echoes = nil
	}
}
