package eas

import (
	"encoding/binary"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
)

const (
	defaultWindow = 100 // MS-ASCMD 2.2.3.199
	maxWindow     = 512
	maxCachedReq  = 64 << 10
)

// syncRequest is a Sync as the phone sent it, completed from what was kept of
// the one before.
type syncRequest struct {
	collections []syncCollection
	hold        time.Duration // Wait or HeartbeatInterval; 0: answer at once
	window      int           // of the whole answer; 0: no limit
	partial     bool
}

// syncCollection is a Collection of a Sync.
type syncCollection struct {
	id         string
	class      string
	key        string // "" for one that comes from the kept request
	getChanges bool
	asMoves    bool
	window     int
	options    *wbxml.Node // holds the Options; nil: as before
	convSet    bool
	conv       bool
	commands   []syncCommand
	ghosts     ghosts // counts with key 0 alone
}

// syncRefusal is a Status that answers a whole Sync.
type syncRefusal struct {
	status int
	limit  int // 0: none
}

func (e syncRefusal) Error() string { return "sync status " + itoa(e.status) }

func refuseSync(status int) error { return syncRefusal{status: status} }

// readSync reads the request's document (MS-ASCMD 2.2.1.21).
func (s *Server) readSync(n *wbxml.Node, v wbxml.Version) (*syncRequest, error) {
	q := &syncRequest{partial: n.Has(wbxml.AirSyncPartial)}
	wait, beat := n.Child(wbxml.AirSyncWait), n.Child(wbxml.AirSyncHeartbeatInterval)
	if v < wbxml.V121 {
		wait, beat, q.partial = nil, nil, false
	}
	if v < wbxml.V140 {
		beat = nil
	}
	if wait != nil && beat != nil {
		return nil, refuseSync(syncProtocol)
	}
	if err := s.readHold(q, wait, beat); err != nil {
		return nil, err
	}
	if v >= wbxml.V121 && n.Has(wbxml.AirSyncWindowSize) {
		q.window = window(n)
	}
	list := n.Child(wbxml.AirSyncCollections)
	if list == nil {
		switch {
		case !q.partial:
			return nil, refuseSync(syncProtocol)
		case q.hold == 0 && q.window == 0:
			return nil, refuseSync(syncNoCache) // Partial alone: MS-ASCMD 2.2.1.21.2
		}
	}
	commands := 0
	seen := map[string]bool{}
	for c := range list.All(wbxml.AirSyncCollection) {
		k, err := readCollection(c, v)
		if err != nil {
			return nil, refuseSync(syncProtocol)
		}
		if seen[k.id] {
			return nil, refuseSync(syncProtocol)
		}
		seen[k.id] = true
		if commands += len(k.commands); commands > maxSyncCommands {
			return nil, refuseSync(syncProtocol)
		}
		if q.collections = append(q.collections, k); len(q.collections) > s.opt.MaxFolders {
			return nil, syncRefusal{syncTooMany, s.opt.MaxFolders}
		}
	}
	return q, nil
}

// readHold reads how long the phone lets us wait for changes (MS-ASCMD
// 2.2.3.198, 2.2.3.88.2).
func (s *Server) readHold(q *syncRequest, wait, beat *wbxml.Node) error {
	n, unit := wait, time.Minute
	if beat != nil {
		n, unit = beat, time.Second
	}
	if n == nil {
		return nil
	}
	v, ok := parseUint(n.Value(), 1<<31)
	if !ok {
		return refuseSync(syncProtocol)
	}
	if v == 0 && beat == nil {
		return nil // "do not wait"
	}
	least, most := max(s.opt.MinHeartbeat, unit), min(s.opt.MaxHeartbeat, 59*time.Minute)
	switch d := time.Duration(v) * unit; {
	case d < least:
		return syncRefusal{syncBadInterval, int((least + unit - 1) / unit)}
	case d > most:
		return syncRefusal{syncBadInterval, int(most / unit)}
	default:
		q.hold = d
	}
	return nil
}

// window reads a WindowSize: 0 and more than 512 are 512.
func window(n *wbxml.Node) int {
	v, err := n.Int(wbxml.AirSyncWindowSize, defaultWindow)
	if err != nil || v <= 0 || v > maxWindow {
		return maxWindow
	}
	return v
}

func readCollection(n *wbxml.Node, v wbxml.Version) (syncCollection, error) {
	c := syncCollection{
		id: n.Get(wbxml.AirSyncCollectionId), class: n.Get(wbxml.AirSyncClass), key: strings.TrimSpace(n.Get(wbxml.AirSyncSyncKey)),
		asMoves: n.Bool(wbxml.AirSyncDeletesAsMoves, true), window: window(n),
		commands: readCommands(n.Child(wbxml.AirSyncCommands)),
	}
	bad := fault.New(fault.Invalid, "collection")
	if c.id == "" || len(c.id) > maxSyncID || c.key == "" || len(c.key) > maxSyncID || len(c.class) > maxSyncID {
		return c, bad
	}
	// MS-ASCMD 2.2.3.84: without the element changes are wanted, but at key 0.
	c.getChanges = n.Bool(wbxml.AirSyncGetChanges, c.key != "0")
	if c.key == "0" && (n.Bool(wbxml.AirSyncGetChanges, false) && v >= wbxml.V121 || len(c.commands) > 0) {
		return c, bad
	}
	if v >= wbxml.V140 && n.Has(wbxml.AirSyncConversationMode) {
		c.convSet, c.conv = true, n.Bool(wbxml.AirSyncConversationMode, false)
	}
	if n.Has(wbxml.AirSyncOptions) {
		c.options = n
		if _, err := readOptions(n, defaultOptions()); err != nil {
			return c, err
		}
	}
	c.ghosts = readGhosts(n)
	for _, k := range c.commands {
		if len(k.server) > maxSyncID || len(k.client) > maxSyncID || k.kind == commandAdd && k.client == "" || k.kind != commandAdd && k.server == "" {
			return c, bad
		}
	}
	return c, nil
}

// optionsFor gives the options that hold from this request on.
func (c *syncCollection) optionsFor(was options) options {
	o := was
	if c.options != nil {
		if n, err := readOptions(c.options, was); err == nil {
			o = n
		}
	}
	if c.convSet {
		o.conversations = c.conv
	}
	return o
}

// The last full request is kept for each phone, without its keys and commands,
// so that an empty or partial one can refer to it (MS-ASCMD 2.2.1.21.1, .2).
// The key of a collection is that of the last request, and follows from the
// collection's own state: the newest if the phone has used it, else the one
// before, whose answer is then given again.

const cachedVersion = 1

func (q *syncRequest) encode() []byte {
	b := []byte{cachedVersion}
	b = binary.AppendUvarint(b, uint64(q.hold/time.Second))
	b = binary.AppendUvarint(b, uint64(q.window))
	b = binary.AppendUvarint(b, uint64(len(q.collections)))
	for _, c := range q.collections {
		b = appendText(b, c.id)
		b = appendText(b, c.class)
		b = append(b, bit(c.getChanges, 1)|bit(c.asMoves, 2))
		b = binary.AppendUvarint(b, uint64(c.window))
	}
	return b
}

func decodeRequest(b []byte) (*syncRequest, bool) {
	r := &stateReader{b: b}
	if r.byte() != cachedVersion {
		return nil, false
	}
	q := &syncRequest{hold: time.Duration(r.uint()%3600) * time.Second, window: int(r.uint() % (maxWindow + 1))}
	for range r.count(4) {
		c := syncCollection{id: r.text(), class: r.text()}
		f := r.byte()
		c.getChanges, c.asMoves, c.window = f&1 != 0, f&2 != 0, min(max(int(r.uint()&0xFFFF), 1), maxWindow)
		q.collections = append(q.collections, c)
		if r.bad {
			return nil, false
		}
	}
	return q, !r.bad && len(r.b) == 0
}

// complete adds to a partial request what the kept one has besides.
func (q *syncRequest) complete(was *syncRequest) {
	have := map[string]bool{}
	for _, c := range q.collections {
		have[c.id] = true
	}
	for _, c := range was.collections {
		if !have[c.id] {
			q.collections = append(q.collections, c)
		}
	}
	if q.hold == 0 {
		q.hold = was.hold
	}
	if q.window == 0 {
		q.window = was.window
	}
	q.partial = false
}
