package imap

import (
	"slices"
	"sort"
	"strings"

	"github.com/emersion/go-imap/v2"

	"waypost/store"
)

// row is what a view keeps of a message.
type row struct {
	item    store.ItemID
	changed store.Seq // its mod-sequence, as far as the client was told
	uid     store.UID
	flags   uint16 // store.Flags, and gone
	words   uint16 // index of its keywords in view.words; 0: none
}

// gone marks a message that has left the folder while its sequence number still
// counts, because the client could not be told yet.
const gone = 1 << 15

func (r *row) system() store.Flags { return store.Flags(r.flags &^ gone) }
func (r *row) isGone() bool        { return r.flags&gone != 0 }

// view is the selected folder as the client knows it. rows[i] is the message
// with sequence number i+1. A view taken from the cache shares its rows and
// words with other connections until its first change.
type view struct {
	folder   store.Folder // as of pos
	path     string
	readOnly bool
	pos      store.Position
	rows     []row
	words    wordTable
	shared   bool // rows and words belong to the cache as well
	goneN    int  // rows marked gone
	highest  store.Seq

	// What the client was told: that there are exists rows (those behind are
	// new), and so many keywords in FLAGS. flagged are the messages whose marks
	// have changed since.
	exists  int
	told    int
	flagged []store.UID
}

// wordTable holds the distinct sets of keywords of a folder; index 0 is none.
type wordTable struct {
	sets  [][]string
	index map[string]uint16
	names []string // all keywords, sorted without regard to case
}

// maxWordSets bounds the table; a folder beyond it shows the keywords of its
// last set for what does not fit any more.
const maxWordSets = 1<<16 - 1

func (w *wordTable) get(i uint16) []string {
	if i == 0 {
		return nil
	}
	return w.sets[i-1]
}

// intern finds or adds a set, which is sorted.
func (w *wordTable) intern(set []string) uint16 {
	if len(set) == 0 {
		return 0
	}
	key := strings.Join(set, " ")
	if i, ok := w.index[key]; ok {
		return i
	}
	if len(w.sets) >= maxWordSets {
		return uint16(len(w.sets))
	}
	if w.index == nil {
		w.index = make(map[string]uint16)
	}
	w.sets = append(w.sets, slices.Clone(set))
	i := uint16(len(w.sets))
	w.index[key] = i
	for _, name := range set {
		if at, ok := w.find(name); !ok {
			w.names = slices.Insert(w.names, at, name)
		}
	}
	return i
}

func (w *wordTable) find(name string) (int, bool) {
	return slices.BinarySearchFunc(w.names, name, func(a, b string) int {
		return strings.Compare(strings.ToLower(a), strings.ToLower(b))
	})
}

// spelling gives a keyword as the folder spells it: keywords are the same in
// any case (RFC 9051 section 2.3.2).
func (w *wordTable) spelling(name string) string {
	if at, ok := w.find(name); ok {
		return w.names[at]
	}
	return name
}

func (w *wordTable) clone() wordTable {
	c := wordTable{sets: slices.Clip(slices.Clone(w.sets)), names: slices.Clone(w.names)}
	if w.index != nil {
		c.index = make(map[string]uint16, len(w.index))
		for k, v := range w.index {
			c.index[k] = v
		}
	}
	return c
}

// own makes the rows the view's own before they change.
func (v *view) own() {
	if v.shared {
		// A little room: the folder is likely to grow.
		rows := make([]row, len(v.rows), len(v.rows)+len(v.rows)/16+8)
		copy(rows, v.rows)
		v.rows, v.words, v.shared = rows, v.words.clone(), false
	}
}

// find gives the index of the row with a UID.
func (v *view) find(uid store.UID) (int, bool) {
	i := sort.Search(len(v.rows), func(i int) bool { return v.rows[i].uid >= uid })
	return i, i < len(v.rows) && v.rows[i].uid == uid
}

// maxUID is the UID that "*" stands for, 0 in an empty folder.
func (v *view) maxUID() uint32 {
	if v.exists == 0 {
		return 0
	}
	return uint32(v.rows[v.exists-1].uid)
}

// span is a run of rows, from index lo up to but not including hi.
type span struct{ lo, hi int }

// spans finds the rows of a set of sequence numbers or UIDs. A sequence number
// that does not exist is an error of the client (RFC 9051 section 9,
// seq-number), a UID that does not is ignored (section 6.4.9).
func (v *view) spans(set imap.NumSet, saved savedResult) ([]span, error) {
	var out []span
	n := v.exists
	add := func(lo, hi int) {
		if lo >= hi {
			return
		}
		if k := len(out); k > 0 && lo <= out[k-1].hi {
			out[k-1].hi = max(out[k-1].hi, hi)
			return
		}
		out = append(out, span{lo, hi})
	}
	switch set := set.(type) {
	case imap.SeqSet:
		ordered := slices.Clone(set)
		star := uint32(n)
		for i, r := range ordered {
			if r.Start == 0 {
				r.Start = star
			}
			if r.Stop == 0 {
				r.Stop = star
			}
			if r.Start > r.Stop {
				r.Start, r.Stop = r.Stop, r.Start
			}
			if r.Start == 0 || int64(r.Stop) > int64(n) {
				return nil, bad("", "No message with that sequence number")
			}
			ordered[i] = r
		}
		slices.SortFunc(ordered, func(a, b imap.SeqRange) int { return int(int64(a.Start) - int64(b.Start)) })
		for _, r := range ordered {
			add(int(r.Start)-1, int(r.Stop))
		}
	case imap.UIDSet:
		if imap.IsSearchRes(set) {
			set = saved.uids
		}
		ordered := slices.Clone(set)
		star := imap.UID(v.maxUID())
		for i, r := range ordered {
			if r.Start == 0 {
				r.Start = star
			}
			if r.Stop == 0 {
				r.Stop = star
			}
			if r.Start > r.Stop {
				r.Start, r.Stop = r.Stop, r.Start
			}
			ordered[i] = r
		}
		slices.SortFunc(ordered, func(a, b imap.UIDRange) int { return int(int64(a.Start) - int64(b.Start)) })
		for _, r := range ordered {
			lo, _ := v.find(store.UID(r.Start))
			hi, found := v.find(store.UID(r.Stop))
			if found {
				hi++
			}
			add(lo, min(hi, n))
		}
	}
	return out, nil
}

// indexes lists the rows of spans which are still there; missing tells whether
// some were gone.
func (v *view) indexes(spans []span) (list []int, missing bool) {
	total := 0
	for _, s := range spans {
		total += s.hi - s.lo
	}
	list = make([]int, 0, total)
	for _, s := range spans {
		for i := s.lo; i < s.hi; i++ {
			if v.rows[i].isGone() {
				missing = true
				continue
			}
			list = append(list, i)
		}
	}
	return list, missing
}

// items lists the items of rows.
func (v *view) items(list []int) []store.ItemID {
	items := make([]store.ItemID, len(list))
	for k, i := range list {
		items[k] = v.rows[i].item
	}
	return items
}

// uidSet makes a set of the UIDs of rows, which are in ascending order.
func (v *view) uidSet(list []int) imap.UIDSet {
	var s imap.UIDSet
	for k, i := range list {
		uid := imap.UID(v.rows[i].uid)
		// UIDs between two neighbouring rows belong to no message, but a range
		// may only span what was named: join consecutive numbers only.
		if n := len(s); k > 0 && s[n-1].Stop+1 == uid {
			s[n-1].Stop = uid
			continue
		}
		s = append(s, imap.UIDRange{Start: uid, Stop: uid})
	}
	return s
}

// seqSet makes a set of the sequence numbers of rows in ascending order.
func (v *view) seqSet(list []int) imap.SeqSet {
	var s imap.SeqSet
	for k, i := range list {
		seq := uint32(i) + 1
		if n := len(s); k > 0 && s[n-1].Stop+1 == seq {
			s[n-1].Stop = seq
			continue
		}
		s = append(s, imap.SeqRange{Start: seq, Stop: seq})
	}
	return s
}

// rowOf makes the row of an entry.
func (v *view) rowOf(e *store.Entry) row {
	return row{item: e.Item, changed: e.Changed, uid: e.UID, flags: uint16(e.Flags) &^ gone, words: v.words.intern(e.Keywords)}
}

// learn takes over what an entry says, without announcing it; it tells whether
// anything visible changed.
func (v *view) learn(i int, e *store.Entry) bool {
	if v.rows[i].changed == e.Changed {
		return false
	}
	v.own()
	was := v.rows[i]
	r := v.rowOf(e)
	r.flags |= was.flags & gone
	v.rows[i] = r
	v.highest = max(v.highest, e.Changed)
	return true
}
