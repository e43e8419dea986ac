package eas

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// Status values of Sync (MS-ASCMD 2.2.3.177.17).
const (
	syncOK              = 1
	syncBadKey          = 3
	syncProtocol        = 4
	syncServer          = 5
	syncConversion      = 6
	syncConflict        = 7
	syncNotFound        = 8
	syncCannot          = 9
	syncFoldersChanged  = 12
	syncNoCache         = 13
	syncBadInterval     = 14
	syncTooMany         = 15
	syncAgain           = 16
	maxSyncCommands     = 200 // MS-ASCMD 3.1.5.10
	maxSyncID           = 64
	maxSyncCategories   = 300
	syncInvalidMIMEBody = StatusInvalidMimeBodyCombination
	syncNoRecipients    = StatusInvalidRecipients
)

// commandFaults has the Status of one command for each kind of fault.
var commandFaults = map[fault.Kind]uint8{
	fault.Internal:        syncServer,
	fault.Invalid:         syncConversion,
	fault.Unauthenticated: syncServer,
	fault.Denied:          syncConversion,
	fault.NotFound:        syncNotFound,
	fault.Exists:          syncConflict,
	fault.Conflict:        syncConflict,
	fault.OverQuota:       syncCannot,
	fault.TooLarge:        syncConversion,
	fault.Limit:           syncServer,
	fault.Resync:          syncServer,
	fault.Unavailable:     syncServer,
}

type commandKind uint8

const (
	commandAdd commandKind = iota + 1
	commandChange
	commandDelete
	commandFetch
)

// syncCommand is a command of the phone on one item.
type syncCommand struct {
	kind     commandKind
	server   string // ServerId
	client   string // ClientId, of an Add
	class    string
	send     bool   // Email2:Send
	instance string // InstanceId: of one occurrence
	data     *wbxml.Node
	hash     uint64
	subject  uint64 // of what: a later command on the same makes an earlier one moot
	final    bool   // none on the same subject follows in the request
}

// readCommands reads Commands.
func readCommands(n *wbxml.Node) []syncCommand {
	if n == nil {
		return nil
	}
	var cs []syncCommand
	for _, c := range n.Children {
		k := syncCommand{
			server: c.Get(wbxml.AirSyncServerId), client: c.Get(wbxml.AirSyncClientId), class: c.Get(wbxml.AirSyncClass),
			send: c.Has(wbxml.Email2Send), instance: c.Get(wbxml.AirSyncBaseInstanceId), data: c.Child(wbxml.AirSyncApplicationData),
		}
		switch c.Tag {
		case wbxml.AirSyncAdd:
			k.kind = commandAdd
		case wbxml.AirSyncChange:
			k.kind = commandChange
		case wbxml.AirSyncDelete:
			k.kind = commandDelete
		case wbxml.AirSyncFetch:
			k.kind = commandFetch
		default:
			continue
		}
		k.send = k.send || k.data.Has(wbxml.Email2Send)
		k.hash, k.subject = hashCommand(&k)
		cs = append(cs, k)
	}
	markFinal(cs)
	return cs
}

func markFinal(cs []syncCommand) {
	seen := map[uint64]bool{}
	for i := range slices.Backward(cs) {
		cs[i].final = !seen[cs[i].subject]
		seen[cs[i].subject] = true
	}
}

// hashCommand tells a repeated command from a new one, and a command on the
// same marks of the same item from one on others. An Add is the phone's
// ClientId, whatever else it says.
func hashCommand(k *syncCommand) (hash, subject uint64) {
	h := sha256.New()
	h.Write([]byte{byte(k.kind)})
	if k.kind == commandAdd {
		h.Write([]byte(k.client))
		sum := binary.BigEndian.Uint64(h.Sum(nil))
		return sum, sum
	}
	h.Write([]byte(k.server))
	h.Write([]byte{0})
	h.Write([]byte(k.instance))
	h.Write([]byte{0, bit(k.send, 1)})
	of := sha256.New()
	of.Write(h.Sum(nil))
	if k.data != nil {
		for _, c := range k.data.Children {
			of.Write([]byte{byte(c.Tag >> 8), byte(c.Tag)})
		}
	}
	hashNode(h, k.data)
	return binary.BigEndian.Uint64(h.Sum(nil)), binary.BigEndian.Uint64(of.Sum(nil))
}

func hashNode(h interface{ Write([]byte) (int, error) }, n *wbxml.Node) {
	if n == nil {
		return
	}
	var b []byte
	b = binary.BigEndian.AppendUint16(b, uint16(n.Tag))
	b = append(b, strconv.Itoa(len(n.Text)+len(n.Bytes))...)
	b = append(b, ':')
	_, _ = h.Write(b)
	_, _ = h.Write([]byte(n.Text))
	_, _ = h.Write(n.Bytes)
	if s, ok := n.Sunk.(*spool); ok {
		_, _ = h.Write(s.sum[:])
	}
	for _, c := range n.Children {
		hashNode(h, c)
	}
	_, _ = h.Write([]byte{0xFF})
}

// executor carries out the commands of one collection.
type executor struct {
	mail     mailStore
	objects  objectStore
	meetings Meetings
	class    itemClass // nil for mail
	side     side      // of objects
	who      who
	folder   store.Folder
	version  wbxml.Version
	now      time.Time
	asMoves  bool
	chain    uint64
	client   string // the phone, for keys that make repeating safe
	compose  *composer

	view    view     // what the phone holds; its echoes grow
	done    record   // of an earlier request with the same key
	prior   []result // of an earlier try of this request
	results []result // of this request, in order of commands, Fetch left out
}

// record is what the commands did that came with a key before.
type record struct {
	byHash map[uint64]result
	last   map[uint64]uint64 // of each subject, the hash of what was done last
}

func recordOf(rs []result) record {
	d := record{map[uint64]result{}, map[uint64]uint64{}}
	for _, r := range rs {
		d.byHash[r.hash], d.last[r.subject] = r, r.hash
	}
	return d
}

// known tells whether a command was done before and need not be done again. The
// last one on a subject must have been the last then too: a phone that said on,
// and off, and did not hear of it, may now say on.
func (d *record) known(c *syncCommand) (result, bool) {
	r, ok := d.byHash[c.hash]
	return r, ok && (!c.final || d.last[c.subject] == c.hash)
}

// forget makes the earlier commands on a subject count as not done: one that
// comes again now follows another.
func (d *record) forget(subject uint64) {
	for h, r := range d.byHash {
		if r.subject == subject {
			delete(d.byHash, h)
		}
	}
}

// reply is what is said about a command in Responses.
type reply struct {
	command *syncCommand
	status  uint8
	item    store.ItemID
	fetched bool // the item's data follows
}

// run carries out the commands, without doing again what done has. Commands
// that are alike and neighbours are one call of the store.
func (x *executor) run(ctx context.Context, cs []syncCommand) ([]reply, error) {
	var replies []reply
	for i := 0; i < len(cs); {
		c := &cs[i]
		n := 1
		var err error
		r, known := x.done.known(c)
		switch k := len(x.results); {
		case c.kind == commandFetch:
			rep := reply{command: c, status: syncNotFound}
			if item, ok := parseItem(c.server); ok {
				rep.item, rep.status, rep.fetched = item, syncOK, true
			}
			replies = append(replies, rep)
			i++
			continue
		case k < len(x.prior):
			x.results = append(x.results, x.prior[k])
			known = true
		case known:
			x.results = append(x.results, r)
		case x.class != nil && (c.kind != commandDelete || c.instance != ""):
			err = x.putObject(ctx, c)
		case c.kind == commandAdd:
			err = x.add(ctx, c)
		case c.kind == commandChange && x.isContent(c):
			err = x.changeDraft(ctx, c)
		case c.kind == commandChange:
			n, err = x.change(ctx, cs[i:])
		default:
			n, err = x.remove(ctx, cs[i:])
		}
		if err != nil {
			return nil, err
		}
		for j := range n {
			r := x.results[len(x.results)-n+j]
			if said, ok := x.say(&cs[i+j], r); ok {
				replies = append(replies, said)
			}
		}
		if !known {
			for j := range n {
				x.done.forget(cs[i+j].subject)
			}
		}
		i += n
	}
	return replies, nil
}

// say tells whether a command is answered: success is silent, except of Add
// (MS-ASCMD 2.2.3.42.2).
func (x *executor) say(c *syncCommand, r result) (reply, bool) {
	said := c.kind == commandAdd || r.status != syncOK
	if x.class != nil && c.kind == commandChange && r.status == syncOK && bringsFiles(c) && x.version >= wbxml.V160 {
		r.item, said = itemOf(c), true // with the references of its files (MS-ASCMD 2.2.3.24)
	}
	return reply{command: c, status: r.status, item: r.item}, said
}

func itemOf(c *syncCommand) store.ItemID {
	item, _ := parseItem(c.server)
	return item
}

func (x *executor) failed(c *syncCommand, err error) error {
	kind := fault.Of(err)
	st := commandFaults[kind]
	if s, ok := statusOf(err); ok {
		st = uint8(s)
	} else if kind == fault.Unavailable || kind == fault.Internal {
		return err // the whole request is to be repeated
	}
	x.results = append(x.results, result{hash: c.hash, subject: c.subject, status: st})
	return nil
}

// echo notes that the phone itself made a change: was is the item's change
// before it.
func (x *executor) echo(item store.ItemID, seq, was store.Seq) echo {
	if seq == 0 || !x.view.knew(item, was) {
		return echo{}
	}
	e := echo{item: item, seq: seq}
	x.view.echoes = append(x.view.echoes, e)
	return e
}

// change applies marks: Read, Flag, Categories (MS-ASEMAIL 3.1.5.4.1). It takes
// as many of the first commands as ask for the same.
func (x *executor) change(ctx context.Context, cs []syncCommand) (int, error) {
	first := &cs[0]
	item, ok := parseItem(first.server)
	if !ok || first.data == nil {
		st := uint8(syncNotFound)
		if ok {
			st = syncConversion
		}
		x.results = append(x.results, result{hash: first.hash, subject: first.subject, status: st})
		return 1, nil
	}
	fc, err := x.marks(first.data)
	if err != nil {
		return 1, x.failed(first, err)
	}
	want := nodeHash(first.data)
	items := []store.ItemID{item}
	n := 1
	for ; n < len(cs); n++ {
		c := &cs[n]
		next, ok := parseItem(c.server)
		if c.kind != commandChange || !ok || c.data == nil || x.isContent(c) || nodeHash(c.data) != want || slices.Contains(items, next) {
			break
		}
		if _, known := x.done.known(c); known {
			break
		}
		items = append(items, next)
	}
	if fc.Set|fc.Clear == 0 && !fc.Replace && fc.Add == nil && fc.Props == nil {
		for i := range n { // nothing that we keep
			x.results = append(x.results, result{hash: cs[i].hash, subject: cs[i].subject, status: syncOK})
		}
		return n, nil
	}
	fc.Folder, fc.Items = x.folder.ID, items
	if fc.Replace {
		if n, err = x.keepMachineKeywords(ctx, &fc, n); err != nil {
			return 1, x.failed(first, err)
		}
	}
	res, err := x.mail.Flag(ctx, x.who.as, x.who.box, fc)
	if err != nil {
		if n > 1 { // find out whose fault it is
			return x.change(ctx, cs[:1])
		}
		return 1, x.failed(first, err)
	}
	at := make(map[store.ItemID]int, len(res.Entries))
	for i, e := range res.Entries {
		at[e.Item] = i
	}
	for i := range n {
		r := result{hash: cs[i].hash, subject: cs[i].subject, status: syncNotFound}
		if j, ok := at[fc.Items[i]]; ok {
			r.status, r.item = syncOK, fc.Items[i]
			if e := res.Entries[j]; res.Seq != 0 && e.Changed == res.Seq && j < len(res.Was) {
				r.echo = x.echo(e.Item, res.Seq, res.Was[j])
			}
		}
		x.results = append(x.results, r)
	}
	return n, nil
}

func nodeHash(n *wbxml.Node) [32]byte {
	h := sha256.New()
	hashNode(h, n)
	return [32]byte(h.Sum(nil))
}

// keepMachineKeywords makes a replacement of the categories leave the keywords
// alone that phones do not see. Those differ from item to item, so the call is
// cut down to the first.
func (x *executor) keepMachineKeywords(ctx context.Context, fc *store.FlagChange, n int) (int, error) {
	es, err := x.mail.EntriesOf(ctx, x.who.as, x.who.box, fc.Items)
	if err != nil {
		return n, err
	}
	for _, e := range es {
		for _, k := range e.Keywords {
			if isMachineKeyword(k) {
				for _, f := range es {
					if f.Item == fc.Items[0] {
						for _, k := range f.Keywords {
							if isMachineKeyword(k) {
								fc.Add = append(fc.Add, k)
							}
						}
					}
				}
				fc.Items = fc.Items[:1]
				return 1, nil
			}
		}
	}
	return n, nil
}

// marks reads what a Change does to marks.
func (x *executor) marks(data *wbxml.Node) (store.FlagChange, error) {
	var fc store.FlagChange
	if data.Has(wbxml.EmailRead) {
		if data.Bool(wbxml.EmailRead, false) {
			fc.Set |= store.Seen
		} else {
			fc.Clear |= store.Seen
		}
	}
	if f := data.Child(wbxml.EmailFlag); f != nil && x.version >= wbxml.V120 {
		follow, err := readFlag(f, x.now)
		if err != nil {
			return fc, err
		}
		if follow != nil && !follow.Complete {
			fc.Set |= store.Flagged
		} else {
			fc.Clear |= store.Flagged
		}
		fc.Props = func(_ store.ItemID, p *store.Props) *store.Props {
			q := store.Props{}
			if p != nil {
				q = *p
			}
			if q.FollowUp = follow; q == (store.Props{}) {
				return nil
			}
			return &q
		}
	}
	if c := data.Child(wbxml.EmailCategories); c != nil && x.version >= wbxml.V140 {
		fc.Replace = true
		for name := range c.All(wbxml.EmailCategory) {
			k, ok := keywordOf(strings.TrimSpace(name.Value()))
			if !ok || len(fc.Add) >= maxSyncCategories {
				return fc, fault.New(fault.Invalid, "category cannot be kept")
			}
			fc.Add = append(fc.Add, k)
		}
	}
	return fc, nil
}

// remove carries out as many of the first commands as are Delete. Items go to
// the trash, or for good when they are in it or the phone wants it so (MS-ASCMD
// 2.2.3.43).
func (x *executor) remove(ctx context.Context, cs []syncCommand) (int, error) {
	var items []store.ItemID
	at := map[store.ItemID]bool{}
	n := 0
	for ; n < len(cs) && cs[n].kind == commandDelete && cs[n].instance == ""; n++ {
		if _, known := x.done.known(&cs[n]); known {
			break
		}
		if item, ok := parseItem(cs[n].server); ok && !at[item] {
			at[item] = true
			items = append(items, item)
		}
	}
	gone := map[store.ItemID]store.Seq{}
	if len(items) > 0 {
		var err error
		if gone, err = x.discard(ctx, items); err != nil {
			if n > 1 {
				return x.remove(ctx, cs[:1])
			}
			if fault.Of(err) == fault.Denied && x.class != nil {
				return 1, x.undo(ctx, &cs[0], items[0], true)
			}
			return 1, x.failed(&cs[0], err)
		}
	}
	var missing []store.ItemID
	for _, i := range items {
		if _, ok := gone[i]; !ok {
			missing = append(missing, i)
		}
	}
	// What left this folder by another way is as the phone wants it. It need not
	// be told: it has dropped what left up to now, but not what is back already.
	elsewhere := map[store.ItemID]bool{}
	dropped := map[store.ItemID]store.Seq{}
	if len(missing) > 0 {
		f, err := x.mail.Folder(ctx, x.who.as, x.who.box, x.folder.ID)
		if err != nil {
			return 0, err
		}
		for _, i := range missing {
			dropped[i] = f.HighestSeq
		}
		es, err := x.mail.EntriesOf(ctx, x.who.as, x.who.box, missing)
		if err != nil {
			return 0, err
		}
		for _, e := range es {
			if elsewhere[e.Item] = e.Folder != x.folder.ID; !elsewhere[e.Item] {
				dropped[e.Item] = min(f.HighestSeq, e.Entered-1)
			}
		}
	}
	for i := range n {
		r := result{hash: cs[i].hash, subject: cs[i].subject, status: syncNotFound}
		item, _ := parseItem(cs[i].server)
		seq, ok := gone[item]
		if ok {
			r.status, r.item = syncOK, item
		} else if seq = dropped[item]; elsewhere[item] {
			r.status = syncOK
		}
		if seq != 0 {
			r.echo = echo{item: item, seq: seq, left: true}
			x.view.echoes = append(x.view.echoes, r.echo)
		}
		x.results = append(x.results, r)
	}
	return n, nil
}

// discard takes items out of the folder and gives the change of each.
func (x *executor) discard(ctx context.Context, items []store.ItemID) (map[store.ItemID]store.Seq, error) {
	if meets(&x.folder) && !phoneTells(x.version) {
		return x.cancel(ctx, items)
	}
	gone := map[store.ItemID]store.Seq{}
	// The trash is a folder of mail: objects that are deleted can be recovered.
	if x.asMoves && x.class == nil && x.folder.Role != store.RoleTrash {
		trash, err := x.mail.FolderByRole(ctx, x.who.as, x.who.box, store.RoleTrash)
		if err != nil {
			return nil, err
		}
		res, err := x.mail.Move(ctx, x.who.as, x.who.box, x.folder.ID, items, trash.ID)
		if err != nil {
			return nil, err
		}
		for _, p := range res.Placed {
			if !p.Absent {
				gone[p.Item] = res.Seq
			}
		}
		return gone, nil
	}
	seq, tombs, err := x.mail.Delete(ctx, x.who.as, x.who.box, x.folder.ID, items, false)
	if err != nil {
		return nil, err
	}
	for _, t := range tombs {
		gone[t.Item] = seq
	}
	return gone, nil
}
