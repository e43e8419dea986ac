package eas

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"waypost/store"
)

// The state of one synchronised collection (MS-ASCMD 3.1.5.4).
//
// The store keeps two generations of it, Data and Previous. A generation says
// what the phone holds after it has taken the response with that generation's
// key; nothing lists the items, all is computed from a position in the journal,
// a cursor of the first download and a cut-off of age. A position alone does not
// tell who was there: a phone that reads the journal in pieces is not told of
// what came and went before the piece was read. So the view notes when each
// piece was read, until the phone has caught up with that moment.
//
// A lost response makes the phone send the key before the newest again. It is
// answered from Previous, afresh, and the outcome becomes one more variant of
// the newest generation with a key of its own: so a key always means the same
// content, whichever of the answers reached the phone. What commands did is
// kept beside the variants, and is not done again.

const (
	stateVersion = 3
	maxVariants  = 8
	maxEchoes    = 20_000
	maxResults   = 400
)

// syncKey is a SyncKey taken apart. The zero syncKey is key "0".
type syncKey struct {
	chain   uint64 // random; tells keys of a dropped chain from ours
	gen     uint64
	variant uint32
}

// String gives the key as it travels, at most 64 characters.
func (k syncKey) String() string {
	if k == (syncKey{}) {
		return "0"
	}
	s := fmt.Sprintf("{%016x}%d", k.chain, k.gen)
	if k.variant > 0 {
		s += "." + strconv.FormatUint(uint64(k.variant), 10)
	}
	return s
}

// parseSyncKey reads a key; false for what was never one of ours.
func parseSyncKey(s string) (syncKey, bool) {
	if s == "0" {
		return syncKey{}, true
	}
	if len(s) > 64 || len(s) < 19 || s[0] != '{' || s[17] != '}' {
		return syncKey{}, false
	}
	var k syncKey
	raw, err := hex.DecodeString(s[1:17])
	if err != nil {
		return syncKey{}, false
	}
	k.chain = binary.BigEndian.Uint64(raw)
	num, variant, has := strings.Cut(s[18:], ".")
	if has {
		v, err := strconv.ParseUint(variant, 10, 32)
		if err != nil {
			return syncKey{}, false
		}
		k.variant = uint32(v)
	}
	k.gen, err = strconv.ParseUint(num, 10, 63)
	if err != nil || k.gen == 0 || k.String() != s {
		return syncKey{}, false
	}
	return k, true
}

func newChain() uint64 {
	var b [8]byte
	for {
		rand.Read(b[:]) // never fails
		if c := binary.BigEndian.Uint64(b[:]); c != 0 {
			return c
		}
	}
}

// echo is a change that the phone made itself and must not be told.
type echo struct {
	item store.ItemID
	seq  store.Seq
	// arrival: at seq the item came into this folder, and the phone knows it.
	arrival bool
	// stale: the phone knows the item, but not all of its marks: an arrival
	// that is told as a change.
	stale bool
	// left: at seq the phone took the item out of this folder, or it had gone
	// from there by then and the phone dropped it.
	left bool
	// back: the phone took the item away and may not; it is told as new.
	back bool
}

// download is the first load of a collection, newest item first.
type download struct {
	upTo   store.Seq    // items that entered later come as changes
	before store.ItemID // the next page's; 0 at the start
	sent   int64
}

// shift is a move of the cut-off that is under way.
type shift struct {
	to    int64        // Unix seconds, 0: everything
	after store.ItemID // items up to here were dealt with
	// unloaded: when a narrowing began, items below it that had entered up to
	// upTo were not downloaded, and those that it passes never are. 0: all were.
	unloaded store.ItemID
	upTo     store.Seq
	// since is when it began: what enters later below a narrowing one is not told.
	since store.Seq
}

// stretch is a piece of the journal that the phone was told before it had
// caught up: from a position to the next stretch, or to the view's, as the
// folder stood at upTo. What had come and gone by then was passed in silence.
type stretch struct {
	from store.Position
	upTo store.Seq
}

// view is what the phone holds, and the options it asked for.
type view struct {
	started bool
	pos     store.Position
	load    *download // nil when all was downloaded
	cutoff  int64     // Unix seconds; items received before it are not held; 0: none
	shift   *shift
	opts    options
	echoes  []echo
	// stretches lie before pos, the oldest first.
	stretches []stretch
	// members are the items that the phone holds, where that depends on what
	// they say and so cannot be computed; nil where it can.
	members *members
}

// result is the outcome of a command of the phone.
type result struct {
	hash    uint64 // of the command
	subject uint64 // of what it is about
	status  uint8
	item    store.ItemID // of an Add: the item made
	echo    echo         // seq 0: none
}

// variant is one answer to the key before: it may have reached the phone.
type variant struct {
	n uint32
	view
}

// generation is what the store keeps as one generation of a collection.
type generation struct {
	chain     uint64
	gen       uint64
	confirmed bool // the phone has used this generation's key
	next      uint32
	variants  []variant
	results   []result // of the commands sent with the key before
	moves     []echo   // by MoveItems, since, and of results not kept; the variants of then have them too
	// pending is a chain that key 0 began and no key was used of, with its
	// options and the moves since. The old chain stands until then.
	pending      uint64
	pendingOpts  options
	pendingMoves []echo
	// kept: this generation answers a request of the old chain that came when the
	// new one was pending. It may be one that was late on its way; but a phone that
	// has this generation's key has not begun anew.
	kept bool
}

func (g *generation) key(v uint32) syncKey { return syncKey{g.chain, g.gen, v} }

func (g *generation) variant(n uint32) *variant {
	for i := range g.variants {
		if g.variants[i].n == n {
			return &g.variants[i]
		}
	}
	return nil
}

// move notes moves of the phone. They concern the answers given so far, and
// those that are yet to be given to the key before; an answer given from here on
// has taken them into account.
func (g *generation) move(es []echo) {
	if len(g.variants) > 0 {
		g.moves = mergeEchoes(g.moves, es)
	}
	for i := range g.variants {
		g.variants[i].echoes = mergeEchoes(g.variants[i].echoes, es)
	}
	if g.pending != 0 {
		g.pendingMoves = mergeEchoes(g.pendingMoves, es)
	}
}

// record adds the results of a request that came again with more. Those on a
// subject with news take the place of what was kept of it; the echoes of that
// are kept, for they concern the key before.
func (g *generation) record(results []result) {
	news := map[uint64]bool{}
	for _, r := range results {
		if !slices.Contains(g.results, r) {
			news[r.subject] = true
		}
	}
	if len(news) == 0 {
		return
	}
	var echoes []echo
	g.results = slices.DeleteFunc(g.results, func(r result) bool {
		if news[r.subject] && r.echo.seq != 0 {
			echoes = append(echoes, r.echo)
		}
		return news[r.subject]
	})
	g.moves = mergeEchoes(g.moves, echoes)
	for _, r := range results {
		if news[r.subject] && len(g.results) < maxResults {
			g.results = append(g.results, r)
		}
	}
}

// add makes v a variant and gives its number; a variant that holds the same is
// used again, so that the same answer has the same key.
func (g *generation) add(v view) uint32 {
	want := encodeView(nil, &v)
	for i := range g.variants {
		if bytes.Equal(want, encodeView(nil, &g.variants[i].view)) {
			return g.variants[i].n
		}
	}
	n := g.next
	g.next++
	if len(g.variants) >= maxVariants {
		// The first answer and the latest are those that may have arrived.
		g.variants = slices.Delete(g.variants, 1, 2)
	}
	g.variants = append(g.variants, variant{n, v})
	return n
}

// origin is where a key was found.
type origin int

const (
	originNone   origin = iota // Status 3
	originNewest               // the key issued last
	originReplay               // the key before: its response was lost
)

// ledger is the store's state of a collection, read.
type ledger struct {
	folder   store.FolderID
	store    int64 // the store's generation, for its compare-and-swap
	newest   *generation
	previous *generation
}

// find tells what a key stands for. fresh means a chain that key 0 began.
func (l *ledger) find(k syncKey) (v view, from origin, fresh bool) {
	g, p := l.newest, l.previous
	if g == nil {
		return view{}, originNone, false
	}
	if g.pending != 0 && k.chain == g.pending {
		if k.gen == 1 && k.variant == 0 {
			return view{opts: g.pendingOpts, echoes: slices.Clone(g.pendingMoves)}, originNewest, true
		}
		return view{}, originNone, false
	}
	if k.chain != g.chain || k.chain == 0 {
		return view{}, originNone, false
	}
	switch k.gen {
	case g.gen:
		if x := g.variant(k.variant); x != nil {
			v = x.view.clone()
			return v, originNewest, false
		}
	case g.gen - 1:
		if p == nil || g.confirmed {
			break
		}
		if p.pending == k.chain {
			if k.variant != 0 {
				break
			}
			v = view{opts: p.pendingOpts, echoes: slices.Clone(p.pendingMoves)}
		} else if p.chain == k.chain && p.gen == k.gen {
			x := p.variant(k.variant)
			if x == nil {
				break
			}
			v = x.view.clone()
		} else {
			break
		}
		v.echoes = mergeEchoes(v.echoes, g.moves)
		for _, r := range g.results {
			if r.echo.seq != 0 {
				v.echoes = mergeEchoes(v.echoes, []echo{r.echo})
			}
		}
		return v, originReplay, false
	}
	return view{}, originNone, false
}

// knewAll tells whether the phone knew the item as of seq whichever answers
// have reached it.
func (l *ledger) knewAll(item store.ItemID, seq store.Seq) bool {
	g, p := l.newest, l.previous
	if g == nil || len(g.variants) == 0 || g.pending != 0 && !echoed(g.pendingMoves, item, seq) {
		return false
	}
	for i := range g.variants {
		if !g.variants[i].knew(item, seq) {
			return false
		}
	}
	switch {
	case g.confirmed || p == nil || echoed(g.moves, item, seq):
		return true
	case p.pending == g.chain: // it may be at its first key still
		return echoed(p.pendingMoves, item, seq)
	case p.chain != g.chain:
		return true
	}
	for i := range p.variants {
		if !p.variants[i].knew(item, seq) {
			return false
		}
	}
	return true
}

func echoed(es []echo, item store.ItemID, seq store.Seq) bool {
	for _, e := range es {
		if e.item == item && e.seq == seq && !e.stale {
			return true
		}
	}
	return false
}

// knew tells whether the phone has been told of the item's change at seq.
func (v *view) knew(item store.ItemID, seq store.Seq) bool {
	switch l := v.load; {
	case !v.started:
		return false
	case echoed(v.echoes, item, seq):
		return true
	case l != nil && seq <= l.upTo && (l.before == 0 || item < l.before):
		return false // the download has not come to it
	}
	return !after(seq, item, v.pos)
}

// after tells whether a change lies at the position or behind it.
func after(seq store.Seq, item store.ItemID, pos store.Position) bool {
	return !(store.Position{Seq: seq, Item: item}).Less(pos)
}

func (v view) clone() view {
	if v.load != nil {
		l := *v.load
		v.load = &l
	}
	if v.shift != nil {
		s := *v.shift
		v.shift = &s
	}
	v.echoes, v.stretches, v.members = slices.Clone(v.echoes), slices.Clone(v.stretches), v.members.clone()
	return v
}

// mergeEchoes appends those of more that are not there yet.
func mergeEchoes(es, more []echo) []echo {
	if len(more) == 0 {
		return es
	}
	seen := make(map[echo]bool, len(es)+len(more))
	for _, e := range es {
		seen[e] = true
	}
	for _, e := range more {
		if !seen[e] {
			seen[e] = true
			es = append(es, e)
		}
	}
	if n := len(es) - maxEchoes; n > 0 {
		es = slices.Delete(es, 0, n)
	}
	return es
}

// The encoding: what Ping reads (seen), a version byte, then numbers as varints and texts with their
// lengths. It is ours alone; a version that is not known reads as no state.

var errState = errors.New("eas: sync state cannot be read")

func (g *generation) encode() []byte {
	b := append(g.seen().append(nil), stateVersion)
	b = binary.AppendUvarint(b, g.chain)
	b = binary.AppendUvarint(b, g.gen)
	b = append(b, bit(g.confirmed, 1)|bit(g.kept, 2))
	b = binary.AppendUvarint(b, uint64(g.next))
	b = binary.AppendUvarint(b, uint64(len(g.variants)))
	for i := range g.variants {
		b = binary.AppendUvarint(b, uint64(g.variants[i].n))
		b = encodeView(b, &g.variants[i].view)
	}
	b = binary.AppendUvarint(b, uint64(len(g.results)))
	for _, r := range g.results {
		b = binary.BigEndian.AppendUint64(b, r.hash)
		b = binary.BigEndian.AppendUint64(b, r.subject)
		b = append(b, r.status)
		b = binary.AppendVarint(b, int64(r.item))
		b = encodeEcho(b, r.echo)
	}
	b = encodeEchoes(b, g.moves)
	b = binary.AppendUvarint(b, g.pending)
	if g.pending != 0 {
		b = encodeOptions(b, &g.pendingOpts)
		b = encodeEchoes(b, g.pendingMoves)
	}
	return b
}

// seen is what Ping must know: what the phone holds after the newest answer.
func (g *generation) seen() seen {
	if g.pending != 0 || len(g.variants) == 0 {
		return seen{More: true}
	}
	v := &g.variants[len(g.variants)-1].view
	return seen{Seq: v.pos.Seq, More: !v.started || v.load != nil || v.shift != nil || v.pos.Item != store.MaxItem}
}

func bit(on bool, b byte) byte {
	if on {
		return b
	}
	return 0
}

func encodeView(b []byte, v *view) []byte {
	b = append(b, bit(v.started, 1)|bit(v.load != nil, 2)|bit(v.shift != nil, 4)|bit(v.members != nil, 8))
	b = binary.AppendVarint(b, int64(v.pos.Seq))
	b = binary.AppendVarint(b, int64(v.pos.Item))
	b = binary.AppendVarint(b, v.cutoff)
	if v.load != nil {
		b = binary.AppendVarint(b, int64(v.load.upTo))
		b = binary.AppendVarint(b, int64(v.load.before))
		b = binary.AppendVarint(b, v.load.sent)
	}
	if v.shift != nil {
		b = binary.AppendVarint(b, v.shift.to)
		b = binary.AppendVarint(b, int64(v.shift.after))
		b = binary.AppendVarint(b, int64(v.shift.unloaded))
		b = binary.AppendVarint(b, int64(v.shift.upTo))
		b = binary.AppendVarint(b, int64(v.shift.since))
	}
	b = encodeOptions(b, &v.opts)
	b = encodeEchoes(b, v.echoes)
	b = binary.AppendUvarint(b, uint64(len(v.stretches)))
	for _, s := range v.stretches {
		b = binary.AppendVarint(b, int64(s.from.Seq))
		b = binary.AppendVarint(b, int64(s.from.Item))
		b = binary.AppendVarint(b, int64(s.upTo))
	}
	return v.members.append(b)
}

func encodeEcho(b []byte, e echo) []byte {
	b = append(b, bit(e.arrival, 1)|bit(e.stale, 2)|bit(e.left, 4)|bit(e.back, 8))
	b = binary.AppendVarint(b, int64(e.item))
	return binary.AppendVarint(b, int64(e.seq))
}

func encodeEchoes(b []byte, es []echo) []byte {
	b = binary.AppendUvarint(b, uint64(len(es)))
	for _, e := range es {
		b = encodeEcho(b, e)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// stateReader reads the encoding and keeps its first failure.
type stateReader struct {
	b       []byte
	bad     bool
	version byte // of the state
}

func (r *stateReader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *stateReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *stateReader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *stateReader) fixed() uint64 {
	if len(r.b) < 8 {
		r.bad, r.b = true, nil
		return 0
	}
	v := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// count reads a number of things of at least size bytes each.
func (r *stateReader) count(size int) int {
	n := r.uint()
	if n > uint64(len(r.b)/size) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(n)
}

func (r *stateReader) text() string {
	n := r.count(1)
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *stateReader) echo() echo {
	f := r.byte()
	return echo{arrival: f&1 != 0, stale: f&2 != 0, left: f&4 != 0, back: f&8 != 0, item: store.ItemID(r.int()), seq: store.Seq(r.int())}
}

func (r *stateReader) echoes() []echo {
	n := r.count(3)
	if n == 0 {
		return nil
	}
	es := make([]echo, n)
	for i := range es {
		es[i] = r.echo()
	}
	return es
}

func (r *stateReader) view() view {
	f := r.byte()
	v := view{started: f&1 != 0}
	v.pos = store.Position{Seq: store.Seq(r.int()), Item: store.ItemID(r.int())}
	v.cutoff = r.int()
	if f&2 != 0 {
		v.load = &download{store.Seq(r.int()), store.ItemID(r.int()), r.int()}
	}
	if f&4 != 0 {
		v.shift = &shift{r.int(), store.ItemID(r.int()), store.ItemID(r.int()), store.Seq(r.int()), store.Seq(r.int())}
	}
	v.opts = r.options()
	v.echoes = r.echoes()
	if n := r.count(3); n > 0 {
		v.stretches = make([]stretch, n)
		for i := range v.stretches {
			v.stretches[i] = stretch{store.Position{Seq: store.Seq(r.int()), Item: store.ItemID(r.int())}, store.Seq(r.int())}
		}
	}
	if f&8 != 0 {
		v.members = r.members()
	}
	return v
}

func decodeGeneration(b []byte) (*generation, error) {
	_, b, err := cutSeen(b)
	if err != nil {
		return nil, err
	}
	r := &stateReader{b: b}
	// Version 2 knew no ghosts.
	if r.version = r.byte(); r.version < 2 || r.version > stateVersion {
		return nil, errState
	}
	g := &generation{chain: r.uint(), gen: r.uint()}
	f := r.byte()
	g.confirmed, g.kept = f&1 != 0, f&2 != 0
	g.next = uint32(r.uint())
	for range r.count(6) {
		g.variants = append(g.variants, variant{uint32(r.uint()), r.view()})
		if r.bad {
			return nil, errState
		}
	}
	if n := r.count(21); n > 0 {
		g.results = make([]result, n)
		for i := range g.results {
			g.results[i] = result{r.fixed(), r.fixed(), r.byte(), store.ItemID(r.int()), r.echo()}
		}
	}
	g.moves = r.echoes()
	if g.pending = r.uint(); g.pending != 0 {
		g.pendingOpts = r.options()
		g.pendingMoves = r.echoes()
	}
	if r.bad || len(r.b) > 0 {
		return nil, errState
	}
	return g, nil
}

// readLedger reads what the store holds of a collection. A state of an unknown
// version counts as none: the phone begins anew.
func readLedger(f store.FolderID, s store.SyncState) *ledger {
	l := &ledger{folder: f, store: s.Generation}
	if s.Generation == 0 {
		return l
	}
	l.newest, _ = decodeGeneration(s.Data)
	if l.newest != nil && s.Previous != nil {
		l.previous, _ = decodeGeneration(s.Previous)
	}
	return l
}
