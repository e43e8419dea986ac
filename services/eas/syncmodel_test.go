package eas

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"waypost/directory"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// modelPhone keeps what a phone would: it believes the answers that reach it,
// and asks again when one does not.
type modelPhone struct {
	t     *rapid.T
	phone testPhone
	mem   *memory
	colls map[string]*modelColl
	old   []*wbxml.Node // requests of long ago
	made  int
	kept  map[store.ItemID]string // what another door wrote into objects
	dice  *rand.Rand              // decides instead of rapid, in the middle of a request
}

type modelColl struct {
	id      string
	key     string
	filter  int
	sent    bool // the filter was told
	items   map[string]modelItem
	pending []*wbxml.Node // commands not yet confirmed
	drafts  map[string]bool
	class   store.Class
}

// words is the element of an object that the model writes and compares.
func (c *modelColl) words() wbxml.Tag {
	if c.class == store.ClassContacts {
		return wbxml.ContactsFirstName
	}
	return wbxml.CalendarSubject
}

type modelItem struct {
	read    bool
	flag    bool
	subject string // of an object
}

// TestSyncModel: whatever is lost, repeated, doubled or changed in between, the
// phone ends with exactly what its folders hold.
func TestSyncModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory()
		now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
		// Two processes over one store, which share nothing else.
		var doors []*Server
		for range 2 {
			s := New(m, m, m, Options{Log: quiet(), Now: func() time.Time { return now }})
			defer s.Stop()
			doors = append(doors, s)
		}
		version := rapid.SampledFrom([]wbxml.Version{wbxml.V25, wbxml.V121, wbxml.V141, wbxml.V161}).Draw(t, "version")
		p := &modelPhone{t: t, phone: testPhone{h: doors[0], version: version, device: "m"}, mem: m, colls: map[string]*modelColl{}, kept: map[store.ItemID]string{}}
		ids := []string{"F1", "F2", "F4", "F7", "F8", "F11"}
		for _, id := range ids {
			f, _ := parseFolderID(id)
			p.colls[id] = &modelColl{id: id, key: "0", items: map[string]modelItem{}, drafts: map[string]bool{}, class: m.folderOf(f).Class}
		}
		pick := func() *modelColl { return p.colls[rapid.SampledFrom(ids).Draw(t, "folder")] }
		steps := rapid.IntRange(5, 60).Draw(t, "steps")
		for range steps {
			p.phone.h = doors[p.draw(len(doors), "process")]
			switch rapid.IntRange(0, 15).Draw(t, "step") {
			case 0, 1, 2:
				p.server()
			case 3:
				p.moveItem(pick(), pick())
			case 4:
				c := pick()
				c.filter, c.sent = rapid.SampledFrom([]int{0, 1, 3, 5}).Draw(t, "filter"), false
				if c.class != store.ClassMail && c.filter > 0 && c.filter < 4 {
					c.filter += 3
				}
			case 5:
				p.change(pick())
			case 6:
				p.deleteOne(pick())
			case 7:
				if rapid.IntRange(0, 5).Draw(t, "restart") == 0 {
					c := pick()
					c.key, c.items, c.pending, c.sent = "0", map[string]modelItem{}, nil, false
				}
			case 8:
				if len(p.old) > 0 {
					req := p.old[p.draw(len(p.old), "old")]
					out, _ := p.do("Sync", req, true)
					where := []wbxml.Tag{wbxml.AirSyncCollections, wbxml.AirSyncCollection}
					t.Logf("an old Sync %s: %s", short(req.Child(where...)), short(out.Child(where...)))
				}
			case 9:
				if c := pick(); c.class != store.ClassMail {
					p.addObject(c)
				} else {
					p.addDraft()
				}
			case 10:
				now = now.AddDate(0, 0, rapid.IntRange(0, 2).Draw(t, "days"))
			case 11:
				m.conflicts = rapid.IntRange(0, 2).Draw(t, "conflicts")
				p.sync(pick(), true)
			case 12:
				m.failures = 1
				p.sync(pick(), true)
			default:
				p.sync(pick(), true)
			}
			m.conflicts, m.failures = 0, 0
		}
		for _, id := range ids {
			c := p.colls[id]
			for range 400 {
				if !p.sync(c, false) && len(c.pending) == 0 {
					break
				}
			}
		}
		for _, id := range ids {
			p.compare(p.colls[id], now)
		}
	})
}

func (p *modelPhone) draw(n int, label string) int {
	if p.dice != nil {
		return p.dice.IntN(n)
	}
	return rapid.IntRange(0, n-1).Draw(p.t, label)
}

// do sends a request. With losses, now and then things happen on the server
// while it is being answered.
func (p *modelPhone) do(cmd string, req *wbxml.Node, losses bool) (*wbxml.Node, error) {
	if losses && p.draw(3, "disturbed") == 0 {
		dice := rand.New(rand.NewPCG(uint64(p.draw(1<<30, "dice")), 0))
		p.mem.between = func() {
			if p.dice = dice; dice.IntN(3) == 0 {
				p.server()
			}
			p.dice = nil
		}
	}
	out, err := p.phone.do(cmd, req)
	p.mem.between = nil
	return out, err
}

func (p *modelPhone) folder(id string) store.FolderID {
	f, _ := parseFolderID(id)
	return f
}

// server changes something behind the phone's back.
func (p *modelPhone) server() {
	if p.draw(2, "objects") == 0 {
		p.serverObject()
		return
	}
	folder := p.folder([]string{"F1", "F2", "F4"}[p.draw(3, "where")])
	ctx, as := context.Background(), directory.System("test")
	switch p.draw(4, "server") {
	case 0, 1:
		for range p.draw(6, "mails") {
			p.made++
			age := time.Duration(p.draw(50, "age"))*24*time.Hour + 12*time.Hour
			i := p.mem.put(folder, plainMail(fmt.Sprint("mail ", p.made)), time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC).Add(-age), 0)
			p.t.Logf("%s comes into F%d at %d", itemID(i), folder, p.mem.seq)
		}
	case 2:
		if i, at := p.any(false); i != 0 {
			fc := store.FlagChange{Folder: at, Items: []store.ItemID{i}, Set: store.Seen}
			if p.draw(2, "clear") == 0 {
				fc.Set, fc.Clear = store.Flagged, store.Seen
			}
			_, _ = p.mem.Flag(ctx, as, 7, fc)
			p.t.Logf("%s in F%d is marked at %d", itemID(i), at, p.mem.seq)
		}
	case 3:
		if i, at := p.any(false); i != 0 {
			if p.draw(3, "gone") == 0 {
				_, _, _ = p.mem.Delete(ctx, as, 7, at, []store.ItemID{i}, false)
				p.t.Logf("%s goes from F%d at %d", itemID(i), at, p.mem.seq)
			} else {
				_, _ = p.mem.Move(ctx, as, 7, at, []store.ItemID{i}, folder)
				p.t.Logf("%s goes from F%d to F%d at %d", itemID(i), at, folder, p.mem.seq)
			}
		}
	}
}

// any picks an item of the mailbox.
func (p *modelPhone) any(object bool) (store.ItemID, store.FolderID) {
	var ids []store.ItemID
	for i, it := range p.mem.items {
		if !it.gone && (it.obj != nil) == object {
			ids = append(ids, i)
		}
	}
	if len(ids) == 0 {
		return 0, 0
	}
	slices.Sort(ids)
	i := ids[p.draw(len(ids), "item")]
	return i, p.mem.items[i].e.Folder
}

func (c *modelColl) ids() []string { return slices.Sorted(maps.Keys(c.items)) }

func (p *modelPhone) change(c *modelColl) {
	if len(c.items) == 0 || c.key == "0" {
		return
	}
	id := rapid.SampledFrom(c.ids()).Draw(p.t, "changed")
	if c.drafts[id] {
		return
	}
	it := c.items[id]
	data := wbxml.New(wbxml.AirSyncApplicationData)
	if c.class != store.ClassMail {
		p.made++
		it.subject = fmt.Sprint("phone ", p.made)
		data.Add(wbxml.NewText(c.words(), it.subject))
	} else if p.draw(2, "what") == 0 || p.phone.version < wbxml.V120 {
		it.read = !it.read
		data.Add(wbxml.NewInt(wbxml.EmailRead, map[bool]int{true: 1}[it.read]))
	} else {
		it.flag = !it.flag
		f := wbxml.New(wbxml.EmailFlag)
		if it.flag {
			f.Add(wbxml.NewText(wbxml.EmailStatus, "2"), wbxml.NewText(wbxml.EmailFlagType, "for Follow Up"))
		}
		data.Add(f)
	}
	c.items[id] = it
	if p.draw(2, "coalesce") == 0 { // some phones keep only what they said last of an item
		c.pending = slices.DeleteFunc(c.pending, func(o *wbxml.Node) bool {
			return o.Get(wbxml.AirSyncServerId) == id && o.Tag == wbxml.AirSyncChange && o.Child(wbxml.AirSyncApplicationData).Children[0].Tag == data.Children[0].Tag
		})
	}
	c.pending = append(c.pending, wbxml.New(wbxml.AirSyncChange, wbxml.NewText(wbxml.AirSyncServerId, id), data))
}

func (p *modelPhone) deleteOne(c *modelColl) {
	if len(c.items) == 0 || c.key == "0" {
		return
	}
	id := rapid.SampledFrom(c.ids()).Draw(p.t, "deleted")
	delete(c.items, id)
	c.pending = append(c.pending, wbxml.New(wbxml.AirSyncDelete, wbxml.NewText(wbxml.AirSyncServerId, id)))
}

func (p *modelPhone) addDraft() {
	c := p.colls["F2"]
	if p.phone.version < wbxml.V160 || c.key == "0" {
		return
	}
	p.made++
	c.pending = append(c.pending, wbxml.New(wbxml.AirSyncAdd, wbxml.NewText(wbxml.AirSyncClientId, fmt.Sprint("c", p.made)),
		wbxml.New(wbxml.AirSyncApplicationData, wbxml.NewText(wbxml.EmailTo, "bob@example.org"),
			wbxml.NewText(wbxml.EmailSubject, fmt.Sprint("draft ", p.made)))))
}

// moveItem moves an item, asking until it is answered.
func (p *modelPhone) moveItem(from, to *modelColl) {
	if from == to || from.class != to.class || len(from.items) == 0 || from.key == "0" || to.key == "0" || len(from.pending) > 0 || len(to.pending) > 0 {
		return
	}
	id := rapid.SampledFrom(from.ids()).Draw(p.t, "moved")
	req := wbxml.New(wbxml.MoveMoveItems, wbxml.New(wbxml.MoveMove, wbxml.NewText(wbxml.MoveSrcMsgId, id),
		wbxml.NewText(wbxml.MoveSrcFldId, from.id), wbxml.NewText(wbxml.MoveDstFldId, to.id)))
	out, err := p.do("MoveItems", req, true)
	p.t.Logf("phone moves %s from %s to %s", id, from.id, to.id)
	for err == nil && p.draw(3, "lost move") == 0 {
		if p.draw(2, "meanwhile") == 0 {
			p.server()
		}
		out, err = p.do("MoveItems", req, true)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Logf("moved: Status %s, at %d", out.Get(wbxml.MoveResponse, wbxml.MoveStatus), p.mem.seq)
	if out.Get(wbxml.MoveResponse, wbxml.MoveStatus) == "3" {
		to.items[id] = from.items[id]
		to.drafts[id] = from.drafts[id]
		delete(from.items, id)
	}
}

// sync sends one Sync; it tells whether it brought anything. With losses the
// request or the answer may be lost, or the request arrive twice.
func (p *modelPhone) sync(c *modelColl, losses bool) bool {
	n := wbxml.New(wbxml.AirSyncCollection)
	if p.phone.version < wbxml.V121 {
		n.Add(wbxml.NewText(wbxml.AirSyncClass, served[c.class].name))
	}
	n.Add(wbxml.NewText(wbxml.AirSyncSyncKey, c.key), wbxml.NewText(wbxml.AirSyncCollectionId, c.id))
	sent := 0
	if c.key == "0" && c.class != store.ClassMail {
		n.Add(wbxml.New(wbxml.AirSyncSupported)) // what is left out stays
	}
	if c.key != "0" {
		window := rapid.IntRange(1, 8).Draw(p.t, "window")
		n.Add(wbxml.NewInt(wbxml.AirSyncWindowSize, window))
		if !c.sent {
			n.Add(wbxml.New(wbxml.AirSyncOptions, wbxml.NewInt(wbxml.AirSyncFilterType, c.filter)))
		}
		if sent = len(c.pending); sent > 0 {
			n.Add(wbxml.New(wbxml.AirSyncCommands, c.pending...))
		}
	}
	req := wbxml.New(wbxml.AirSyncSync, wbxml.New(wbxml.AirSyncCollections, n))
	if losses && p.draw(6, "request lost") == 0 {
		return false
	}
	broken := p.mem.failures > 0
	out, err := p.do("Sync", req, losses)
	p.t.Logf("Sync %s: %s", short(n), short(out.Child(wbxml.AirSyncCollections, wbxml.AirSyncCollection)))
	broken = broken && p.mem.failures == 0
	if broken && (err != nil || out.Get(wbxml.AirSyncStatus) != "") {
		return true // the server fell over it; the phone tries again
	}
	if err != nil {
		p.t.Fatal(err)
	}
	if losses {
		switch { // a late key 0 cannot be told from a phone that begins anew
		case c.key == "0":
		case len(p.old) < 20:
			p.old = append(p.old, req)
		default:
			p.old[p.draw(20, "slot")] = req
		}
		switch p.draw(6, "answer") {
		case 0, 1:
			p.t.Logf("the answer is lost")
			return true
		case 2:
			p.mem.failures = 0
			again, err := p.do("Sync", req, true) // came twice; the second answer is lost
			if err != nil {
				p.t.Fatal(err)
			}
			p.t.Logf("twice: %s", short(again.Child(wbxml.AirSyncCollections, wbxml.AirSyncCollection)))
		}
	}
	if out == nil {
		if sent > 0 {
			p.t.Fatalf("commands and an empty answer")
		}
		if c.key == "0" {
			p.t.Fatalf("key 0 and an empty answer")
		}
		c.sent = true
		return false
	}
	if st := out.Get(wbxml.AirSyncStatus); st != "" {
		p.t.Fatalf("Status %s for\n%s", st, req)
	}
	return p.take(c, out.Child(wbxml.AirSyncCollections, wbxml.AirSyncCollection), req, sent)
}

func (p *modelPhone) take(c *modelColl, a, req *wbxml.Node, sent int) bool {
	if st := a.Get(wbxml.AirSyncStatus); st != "1" {
		p.t.Fatalf("Collection Status %s for\n%s", st, req)
	}
	key := a.Get(wbxml.AirSyncSyncKey)
	if c.key != "0" {
		c.sent = true
	}
	news := c.key != key
	c.key = key
	mine := c.pending // a Delete of the server's may cross one of its own
	c.pending = c.pending[sent:]
	for _, r := range children(a.Child(wbxml.AirSyncResponses)) {
		id, st := r.Get(wbxml.AirSyncServerId), r.Get(wbxml.AirSyncStatus)
		switch {
		case r.Tag == wbxml.AirSyncAdd && st == "1":
			if _, ok := c.items[id]; ok {
				p.t.Fatalf("draft %s twice", id)
			}
			c.items[id] = modelItem{read: true}
			if c.class == store.ClassMail {
				c.drafts[id] = true
				break
			}
			for _, o := range mine {
				if o.Get(wbxml.AirSyncClientId) == r.Get(wbxml.AirSyncClientId) {
					c.items[id] = modelItem{subject: o.Get(wbxml.AirSyncApplicationData, c.words())}
				}
			}
		case r.Tag == wbxml.AirSyncAdd:
			p.t.Fatalf("draft refused: %s", r)
		case st == "7" && c.class != store.ClassMail: // the server's is told
		case st != "8":
			p.t.Fatalf("command refused: %s for\n%s", r, req)
		}
	}
	if cmds := a.Child(wbxml.AirSyncCommands); cmds != nil && len(cmds.Children) == 0 {
		p.t.Fatalf("empty Commands")
	}
	told := map[string]bool{}
	for _, r := range children(a.Child(wbxml.AirSyncCommands)) {
		id := r.Get(wbxml.AirSyncServerId)
		if told[id] {
			p.t.Fatalf("item %s twice in one answer", id)
		}
		told[id] = true
		it, have := c.items[id]
		waits := slices.ContainsFunc(c.pending, func(n *wbxml.Node) bool { return n.Get(wbxml.AirSyncServerId) == id })
		data := r.Child(wbxml.AirSyncApplicationData)
		set := func() {
			if waits {
				return // its own change is on its way and wins
			}
			if c.class != store.ClassMail {
				it.subject = data.Get(c.words())
			}
			it.read = data.Bool(wbxml.EmailRead, it.read)
			if f := data.Child(wbxml.EmailFlag); f != nil {
				it.flag = f.Get(wbxml.EmailStatus) == "2"
			}
			c.items[id] = it
		}
		switch r.Tag {
		case wbxml.AirSyncAdd:
			if have {
				p.t.Fatalf("folder %s: Add of %s, which the phone has", c.id, id)
			}
			if !waits {
				set()
			}
		case wbxml.AirSyncChange:
			if !have && !waits {
				p.t.Fatalf("folder %s: Change of %s, which the phone does not have", c.id, id)
			}
			if have {
				set()
			}
		case wbxml.AirSyncDelete, wbxml.AirSyncSoftDelete:
			if !have && !slices.ContainsFunc(mine, func(n *wbxml.Node) bool { return n.Get(wbxml.AirSyncServerId) == id }) {
				p.t.Fatalf("folder %s: %v of %s, which the phone does not have", c.id, r.Tag, id)
			}
			delete(c.items, id)
		}
	}
	return news
}

// short writes a collection in a line: + is an Add, ~ a Change, - a Delete.
func short(c *wbxml.Node) string {
	if c == nil {
		return "nothing"
	}
	sign := map[wbxml.Tag]string{wbxml.AirSyncAdd: "+", wbxml.AirSyncChange: "~", wbxml.AirSyncDelete: "-", wbxml.AirSyncSoftDelete: "soft-"}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", c.Get(wbxml.AirSyncCollectionId), c.Get(wbxml.AirSyncSyncKey))
	if f := c.Get(wbxml.AirSyncOptions, wbxml.AirSyncFilterType); f != "" {
		fmt.Fprintf(&b, " filter %s", f)
	}
	for _, part := range []wbxml.Tag{wbxml.AirSyncResponses, wbxml.AirSyncCommands} {
		for _, r := range children(c.Child(part)) {
			fmt.Fprintf(&b, " %s%s%s", sign[r.Tag], r.Get(wbxml.AirSyncServerId), r.Get(wbxml.AirSyncClientId))
			if st := r.Get(wbxml.AirSyncStatus); st != "" {
				fmt.Fprintf(&b, " (Status %s)", st)
			}
		}
	}
	if c.Has(wbxml.AirSyncMoreAvailable) {
		b.WriteString(" and more")
	}
	return b.String()
}

func children(n *wbxml.Node) []*wbxml.Node {
	if n == nil {
		return nil
	}
	return n.Children
}

// compare holds the phone against the folder.
func (p *modelPhone) compare(c *modelColl, now time.Time) {
	want := map[string]modelItem{}
	cutoff := filterStart(uint8(c.filter), now)
	if c.class != store.ClassMail {
		p.compareObjects(c, now)
		return
	}
	for i, it := range p.mem.items {
		if it.gone || it.e.Folder != p.folder(c.id) || it.e.Received.Unix() < cutoff {
			continue
		}
		w := modelItem{read: it.e.Flags&store.Seen != 0, flag: it.e.Flags&store.Flagged != 0 && p.phone.version >= wbxml.V120}
		want[itemID(i)] = w
	}
	if !maps.Equal(want, c.items) {
		var lines []string
		for _, id := range slices.Sorted(maps.Keys(want)) {
			if got, ok := c.items[id]; !ok || got != want[id] {
				lines = append(lines, fmt.Sprintf("item %s: got %v %v, want %v", id, ok, got, want[id]))
			}
		}
		for _, id := range c.ids() {
			if _, ok := want[id]; !ok {
				lines = append(lines, fmt.Sprintf("item %s: too much", id))
			}
		}
		p.t.Fatalf("folder %s, filter %d:\n%s", c.id, c.filter, strings.Join(lines, "\n"))
	}
}

const modelCard = "BEGIN:VCARD\nVERSION:4.0\nUID:u%[1]d\nN:;%[2]s;;;\nFN:%[2]s\nX-KEPT:0\nEND:VCARD\n"

const modelEvent = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\nBEGIN:VEVENT\nUID:u%d\nDTSTAMP:20260101T000000Z\nDTSTART:%[3]s\nDURATION:PT1H\n" +
	"SUMMARY:%[2]s\nX-KEPT:0\nEND:VEVENT\nEND:VCALENDAR\n"

// serverObject changes objects by another door: words that the phone sees, when
// they are, and a property that it has never heard of.
func (p *modelPhone) serverObject() {
	folders := []string{"F7", "F11", "F8"}
	folder := p.folder(folders[p.draw(3, "where")])
	when := func() string {
		return mailNow.AddDate(0, 0, 10-p.draw(120, "age")).Format(compact)
	}
	i, at := p.any(true)
	kind := p.draw(7, "server object")
	if i == 0 && kind > 1 {
		return
	}
	switch kind {
	case 0, 1:
		p.made++
		text := modelEvent
		if p.mem.folderOf(folder).Class == store.ClassContacts {
			text = modelCard
		}
		text = fmt.Sprintf(text+"%.[3]0s", p.made, fmt.Sprint("door ", p.made), when())
		i = p.mem.object(folder, text)
		p.t.Logf("%s is put into F%d at %d", itemID(i), folder, p.mem.seq)
	case 2, 3, 4:
		p.made++
		tag := []string{"SUMMARY", "X-KEPT", "DTSTART"}[kind-2]
		value := fmt.Sprint("door ", p.made)
		switch {
		case kind == 3:
			value = fmt.Sprint(p.made)
			if strings.Contains(p.mem.text(i), "\nX-KEPT:") { // one that the phone made has none
				p.kept[i] = value
			}
		case kind == 4:
			value = when()
		case p.mem.folderOf(at).Class == store.ClassContacts:
			tag, value = "N", ";"+value+";;;"
		}
		_ = p.mem.rewrite(i, func(text string) string {
			lines := strings.Split(text, "\n")
			for j, l := range lines {
				if strings.HasPrefix(l, tag+":") {
					lines[j] = tag + ":" + value
				}
			}
			return strings.Join(lines, "\n")
		})
		p.t.Logf("%s in F%d: %s is %s at %d", itemID(i), at, tag, value, p.mem.seq)
	case 5:
		_, _, _ = p.mem.Delete(context.Background(), directory.System("test"), 7, at, []store.ItemID{i}, false)
		p.t.Logf("%s goes from F%d at %d", itemID(i), at, p.mem.seq)
	case 6:
		if p.mem.folderOf(at).Class == p.mem.folderOf(folder).Class {
			_, _ = p.mem.Move(context.Background(), directory.System("test"), 7, at, []store.ItemID{i}, folder)
			p.t.Logf("%s goes from F%d to F%d at %d", itemID(i), at, folder, p.mem.seq)
		}
	}
}

func (p *modelPhone) addObject(c *modelColl) {
	if c.key == "0" {
		return
	}
	p.made++
	data := wbxml.New(wbxml.AirSyncApplicationData, wbxml.NewText(c.words(), fmt.Sprint("phone ", p.made)))
	if c.class == store.ClassCalendar {
		at := mailNow.AddDate(0, 0, 5-p.draw(60, "day"))
		data.Add(wbxml.NewText(wbxml.CalendarStartTime, at.Format(compact)), wbxml.NewText(wbxml.CalendarEndTime, at.Add(time.Hour).Format(compact)))
	}
	c.pending = append(c.pending, wbxml.New(wbxml.AirSyncAdd, wbxml.NewText(wbxml.AirSyncClientId, fmt.Sprint("c", p.made)), data))
}

// compareObjects holds the phone against a folder of objects, and the folder
// against what the other door wrote that the phone does not know.
func (p *modelPhone) compareObjects(c *modelColl, now time.Time) {
	want := map[string]modelItem{}
	cutoff := int64(0)
	if c.class == store.ClassCalendar && c.filter != 0 {
		cutoff = filterStart(uint8(c.filter), now.Truncate(24*time.Hour))
	}
	for i, it := range p.mem.items {
		if it.gone || it.e.Folder != p.folder(c.id) {
			continue
		}
		text := p.mem.text(i)
		line := func(tag string) string {
			_, rest, _ := strings.Cut(text, "\n"+tag+":")
			v, _, _ := strings.Cut(rest, "\n")
			return v
		}
		if kept := p.kept[i]; kept != "" && line("X-KEPT") != kept {
			p.t.Fatalf("%s: X-KEPT is %q, want %q", itemID(i), line("X-KEPT"), kept)
		}
		subject := line("SUMMARY")
		if c.class == store.ClassContacts {
			subject = strings.Split(line("N"), ";")[1]
		}
		if cutoff == 0 || it.obj.Ends.Unix() >= cutoff {
			want[itemID(i)] = modelItem{subject: subject}
		}
	}
	if !maps.Equal(want, c.items) {
		p.t.Fatalf("folder %s, filter %d:\ngot  %v\nwant %v", c.id, c.filter, c.items, want)
	}
}
