package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	wb "waypost/services/eas/wbxml"
)

// modelPhone is a phone in TestModel.
type modelPhone struct {
	m     *world
	p     *phone
	rnd   *rand.Rand
	colls []*modelColl
	made  int
	past  map[string][]string // what happened to an item, for failures
}

// note keeps what happened to an item.
func (p *modelPhone) note(id, format string, args ...any) {
	p.past[id] = append(p.past[id], fmt.Sprintf("%d: ", p.m.clock.Load())+fmt.Sprintf(format, args...))
}

func (p *modelPhone) story(id string, n *wb.Node) string {
	birth, _ := p.read("e", n)
	if birth == 0 {
		birth, _ = p.read("c", n)
	}
	return fmt.Sprintf("%s\n%v\n%s", n, p.m.thing(birth), strings.Join(p.past[id], "\n"))
}

// modelColl is a folder on it.
type modelColl struct {
	at     *place
	key    string
	items  map[string]*wb.Node
	told   map[string]bool // its data is the server's words
	heard  int64           // when it asked last
	sent   *modelSync      // not answered yet, or the answer was lost
	before *wb.Node        // an earlier request
}

type modelSync struct {
	req     *wb.Node
	changes []*phoneChange
	tries   int
	made    map[string]string // ServerIds of what it added, from an answer that was lost
}

type phoneChange struct {
	id, client string
	data       *wb.Node
	th         *thing
	w          *write
}

func (m *world) newPhone(id, version string, rnd *rand.Rand) *modelPhone {
	p := &modelPhone{m: m, past: map[string][]string{}, p: m.s.phone("alice", id, version), rnd: rnd}
	m.prepare(p.p)
	for _, at := range m.places {
		p.colls = append(p.colls, &modelColl{at: at, key: "0", items: map[string]*wb.Node{}, told: map[string]bool{}})
	}
	return p
}

func (p *modelPhone) name() string { return "phone " + p.p.version }

func (p *modelPhone) step(changes bool) bool {
	if changes {
		if p.rnd.IntN(12) == 0 {
			p.move()
			return true
		}
		p.sync(p.colls[p.rnd.IntN(len(p.colls))], true)
		return true
	}
	more := false
	for _, c := range p.colls {
		more = p.sync(c, false) || more
	}
	return more
}

// sync does one exchange. With changes it has some of its own, and answers are lost.
func (p *modelPhone) sync(c *modelColl, changes bool) bool {
	if c.sent == nil {
		c.sent = &modelSync{}
		if changes && c.key != "0" {
			c.sent.changes = p.think(c)
		}
		c.sent.req = p.request(c)
	}
	s := c.sent
	s.tries++
	asked := p.m.clock.Add(1)
	out, err := p.p.do(quietContext, "Sync", s.req)
	if err != nil {
		pause(p.rnd)
		return true // the same again
	}
	if out == nil {
		if len(s.changes) > 0 || c.key == "0" {
			p.m.fail("%s: an empty answer to %s", p.name(), s.req)
		}
		c.sent = nil
		return false
	}
	a := out.Child(wb.AirSyncCollections, wb.AirSyncCollection)
	switch st := a.Get(wb.AirSyncStatus); {
	case a == nil:
		if st := out.Get(wb.AirSyncStatus); st == "5" || st == "16" || st == "111" || st == "110" {
			pause(p.rnd)
			return true
		}
		p.m.fail("%s: %s for %s", p.name(), out, s.req)
		return false
	case st == "5" || st == "16":
		pause(p.rnd)
		return true
	case st != "1":
		p.m.fail("%s: Status %s of %s: %s for %s", p.name(), st, c.at.name, out, s.req)
		return false
	}
	p.learn(c, a)
	for _, cmd := range nodes(a.Child(wb.AirSyncCommands)) {
		p.note(cmd.Get(wb.AirSyncServerId), "heard %v in %s with key %s for %s", cmd.Tag, c.at.name, a.Get(wb.AirSyncSyncKey), c.key)
	}
	if changes {
		switch p.rnd.IntN(8) {
		case 0, 1: // the answer is lost
			return true
		case 2: // the request came twice
			if again, err := p.p.do(quietContext, "Sync", s.req); err == nil && again != nil {
				p.learn(c, again.Child(wb.AirSyncCollections, wb.AirSyncCollection))
			}
		case 3: // an old request comes late; nobody reads the answer
			if c.before != nil {
				_, _ = p.p.do(quietContext, "Sync", c.before)
			}
		}
	}
	return p.take(c, a, asked)
}

// learn notes what an answer says of changes, whether it reaches the phone or not.
func (p *modelPhone) learn(c *modelColl, a *wb.Node) {
	if a.Get(wb.AirSyncStatus) != "1" {
		return
	}
	s := c.sent
	if s.made == nil {
		s.made = map[string]string{}
	}
	for _, ch := range s.changes {
		st := "1"
		for r := range a.Child(wb.AirSyncResponses).All(wb.AirSyncAdd) {
			if ch.client == "" || r.Get(wb.AirSyncClientId) != ch.client {
				continue
			}
			id := r.Get(wb.AirSyncServerId)
			if st = r.Get(wb.AirSyncStatus); st == "1" && s.made[ch.client] != "" && s.made[ch.client] != id {
				p.m.fail("%s: %s was made as %s, then as %s", p.name(), ch.client, s.made[ch.client], id)
			}
			s.made[ch.client] = id
		}
		for _, tag := range []wb.Tag{wb.AirSyncChange, wb.AirSyncDelete} {
			for r := range a.Child(wb.AirSyncResponses).All(tag) {
				if ch.id != "" && r.Get(wb.AirSyncServerId) == ch.id {
					st = r.Get(wb.AirSyncStatus)
				}
			}
		}
		if st != "1" && st != "7" && st != "8" {
			p.m.fail("%s: Status %s of a change in %s: %s", p.name(), st, s.req, a)
		}
		// Somebody else may have changed or moved it: then it may be said that it is
		// removed when it is not.
		if ch.w.words == nil && ch.th.others(ch.w, c.heard) {
			st = "?"
		}
		p.m.finish(ch.th, ch.w, st == "1", (st == "7" || st == "8") && s.tries == 1)
	}
}

// take applies an answer as a phone does.
func (p *modelPhone) take(c *modelColl, a *wb.Node, asked int64) bool {
	key := a.Get(wb.AirSyncSyncKey)
	news := key != c.key
	changes := c.sent.changes
	c.key, c.before, c.sent, c.heard = key, c.sent.req, nil, asked
	refused := map[string]bool{}
	for r := range a.Child(wb.AirSyncResponses).All(wb.AirSyncAdd) {
		id := r.Get(wb.AirSyncServerId)
		if r.Get(wb.AirSyncStatus) != "1" {
			continue
		}
		if c.items[id] != nil {
			p.m.fail("%s: %s of %s is there already", p.name(), id, c.at.name)
		}
		for _, ch := range changes {
			if ch.client != "" && ch.client == r.Get(wb.AirSyncClientId) {
				c.items[id], c.told[id] = ch.data, false
				p.patch(c, id, r.Child(wb.AirSyncApplicationData))
			}
		}
	}
	for _, tag := range []wb.Tag{wb.AirSyncChange, wb.AirSyncDelete} {
		for r := range a.Child(wb.AirSyncResponses).All(tag) {
			id := r.Get(wb.AirSyncServerId)
			if st := r.Get(wb.AirSyncStatus); st != "1" {
				refused[id] = true
				p.note(id, "refused with %s in %s", st, c.at.name)
				if st == "8" {
					delete(c.items, id)
				}
			}
		}
	}
	for _, ch := range changes {
		switch {
		case ch.id == "" || refused[ch.id]:
		case ch.w.words == nil:
			delete(c.items, ch.id)
		case c.items[ch.id] != nil:
			c.told[ch.id] = false
			p.patch(c, ch.id, ch.data)
		}
	}
	if cmds := a.Child(wb.AirSyncCommands); cmds != nil {
		news = true
		for _, cmd := range cmds.Children {
			id := cmd.Get(wb.AirSyncServerId)
			p.note(id, "%v in %s with key %s", cmd.Tag, c.at.name, key)
			switch cmd.Tag {
			case wb.AirSyncAdd:
				if old := c.items[id]; old != nil {
					p.m.fail("%s: %s is added to %s again: %s", p.name(), id, c.at.name, p.story(id, cmd.Child(wb.AirSyncApplicationData)))
				}
				c.items[id], c.told[id] = cmd.Child(wb.AirSyncApplicationData), true
			case wb.AirSyncChange:
				if c.items[id] == nil {
					p.m.fail("%s: a change of %s in %s, which it does not have: %s", p.name(), id, c.at.name, p.story(id, cmd.Child(wb.AirSyncApplicationData)))
				}
				c.items[id], c.told[id] = cmd.Child(wb.AirSyncApplicationData), true // objects are told whole
			case wb.AirSyncDelete, wb.AirSyncSoftDelete:
				delete(c.items, id)
			}
		}
	}
	return news || a.Has(wb.AirSyncMoreAvailable)
}

func nodes(n *wb.Node) []*wb.Node {
	if n == nil {
		return nil
	}
	return n.Children
}

// patch puts some elements into what the phone has.
func (p *modelPhone) patch(c *modelColl, id string, data *wb.Node) {
	if data == nil {
		return
	}
	out := wb.New(wb.AirSyncApplicationData)
	for _, n := range c.items[id].Children {
		if !data.Has(n.Tag) {
			out.Add(n)
		}
	}
	c.items[id] = out.Add(data.Children...)
}

// others tells whether somebody else's change may stand between what a client knew
// and its own.
func (th *thing) others(mine *write, known int64) bool {
	th.mu.Lock()
	defer th.mu.Unlock()
	for _, w := range th.writes {
		if w != mine && !w.refused && (w.end == 0 || w.end >= known) {
			return true
		}
	}
	return false
}

func (p *modelPhone) request(c *modelColl) *wb.Node {
	n := wb.New(wb.AirSyncCollection)
	if p.p.version == "2.5" {
		n.Add(wb.NewText(wb.AirSyncClass, map[string]string{"e": "Calendar", "t": "Tasks", "c": "Contacts"}[c.at.kind]))
	}
	n.Add(wb.NewText(wb.AirSyncSyncKey, c.key), wb.NewText(wb.AirSyncCollectionId, c.at.phone))
	if c.key != "0" {
		n.Add(wb.New(wb.AirSyncDeletesAsMoves), wb.New(wb.AirSyncGetChanges), wb.NewInt(wb.AirSyncWindowSize, 5+p.rnd.IntN(50)))
		opt := wb.New(wb.AirSyncOptions, wb.NewText(wb.AirSyncFilterType, "0"))
		if p.p.version != "2.5" {
			opt.Add(wb.New(wb.AirSyncBaseBodyPreference, wb.NewText(wb.AirSyncBaseType, "1")))
		}
		n.Add(opt)
		if len(c.sent.changes) > 0 {
			cmds := wb.New(wb.AirSyncCommands)
			for _, ch := range c.sent.changes {
				switch {
				case ch.client != "":
					cmds.Add(wb.New(wb.AirSyncAdd, wb.NewText(wb.AirSyncClientId, ch.client), ch.data))
				case ch.w.words == nil:
					cmds.Add(wb.New(wb.AirSyncDelete, wb.NewText(wb.AirSyncServerId, ch.id)))
				default:
					cmds.Add(wb.New(wb.AirSyncChange, wb.NewText(wb.AirSyncServerId, ch.id), ch.data))
				}
			}
			n.Add(cmds)
		}
	}
	return wb.New(wb.AirSyncSync, wb.New(wb.AirSyncCollections, n))
}

// think decides what the phone's owner changes.
func (p *modelPhone) think(c *modelColl) (all []*phoneChange) {
	used := map[string]bool{}
	for range p.rnd.IntN(4) {
		id := ""
		if n := len(c.items); n > 0 && p.rnd.IntN(30+n) > 12 {
			skip := p.rnd.IntN(n)
			for _, one := range sorted(c.items) {
				if skip--; skip < 0 {
					id = one
					break
				}
			}
		}
		switch {
		case id == "":
			th := p.m.create(c.at.kind)
			words := p.m.words(c.at.kind, p.rnd)
			p.made++
			data := p.write(c.at.kind, words, th.birth, wb.New(wb.AirSyncApplicationData), true)
			all = append(all, &phoneChange{client: fmt.Sprint("new", p.made), data: data, th: th, w: p.m.begin(p.name(), th, merged(words, seen{"F": c.at.name}))})
		case used[id]:
		default:
			used[id] = true
			birth, _ := p.read(c.at.kind, c.items[id])
			th := p.m.thing(birth)
			if th == nil {
				p.m.fail("%s: what is %s?", p.name(), c.items[id])
				return all
			}
			p.note(id, "changed or deleted in %s with key %s", c.at.name, c.key)
			if p.rnd.IntN(5) == 0 {
				all = append(all, &phoneChange{id: id, th: th, w: p.m.begin(p.name(), th, nil)})
				continue
			}
			words := some(p.m.words(c.at.kind, p.rnd), p.rnd)
			all = append(all, &phoneChange{id: id, th: th, data: p.write(c.at.kind, words, birth, c.items[id], false), w: p.m.begin(p.name(), th, words)})
		}
	}
	return all
}

// move carries an appointment from one calendar to the other.
func (p *modelPhone) move() {
	i := p.rnd.IntN(2)
	from, to := p.colls[i], p.colls[1-i]
	if from.sent != nil || to.sent != nil || from.key == "0" || to.key == "0" || len(from.items) == 0 {
		return
	}
	ids := sorted(from.items)
	id := ids[p.rnd.IntN(len(ids))]
	birth, _ := p.read("e", from.items[id])
	th := p.m.thing(birth)
	w := p.m.begin(p.name(), th, seen{"F": to.at.name})
	req := wb.New(wb.MoveMoveItems, wb.New(wb.MoveMove, wb.NewText(wb.MoveSrcMsgId, id),
		wb.NewText(wb.MoveSrcFldId, from.at.phone), wb.NewText(wb.MoveDstFldId, to.at.phone)))
	for try := 1; ; try++ {
		out, err := p.p.do(quietContext, "MoveItems", req)
		st := ""
		if err == nil {
			st = out.Get(wb.MoveResponse, wb.MoveStatus)
		}
		if err != nil || st == "" || st == "7" {
			pause(p.rnd)
			continue
		}
		p.m.finish(th, w, st == "3", st != "3" && try == 1)
		p.note(id, "moved to %s: %s", to.at.name, st)
		if p.rnd.IntN(4) == 0 {
			continue // the answer is lost
		}
		if st == "3" {
			if to.items[id] == nil {
				to.items[id], to.told[id] = from.items[id], from.told[id]
			}
			delete(from.items, id)
		}
		return
	}
}

// write makes the elements for the words; of what is there, old phones say all again.
func (p *modelPhone) write(kind string, words seen, birth int, base *wb.Node, fresh bool) *wb.Node {
	v := p.p.version
	data := wb.New(wb.AirSyncApplicationData)
	put := func(n *wb.Node) { data.Add(n) }
	body := func(tag wb.Tag, text string) *wb.Node {
		if v == "2.5" {
			return wb.NewText(tag, text)
		}
		return wb.New(wb.AirSyncBaseBody, wb.NewText(wb.AirSyncBaseType, "1"), wb.NewText(wb.AirSyncBaseData, text))
	}
	mark := fmt.Sprint(kind, birth)
	for _, k := range []string{"S", "L", "T", "P", "M", "E", "N"} {
		val, ok := words[k]
		if !ok {
			continue
		}
		switch kind + k {
		case "eS":
			put(wb.NewText(wb.CalendarSubject, mark+" "+val))
		case "eL":
			if v == "16.1" {
				put(wb.New(wb.AirSyncBaseLocation, wb.NewText(wb.AirSyncBaseDisplayName, val)))
			} else {
				put(wb.NewText(wb.CalendarLocation, val))
			}
		case "eT":
			start, _ := time.Parse(compactTime, val)
			put(wb.NewText(wb.CalendarStartTime, val))
			put(wb.NewText(wb.CalendarEndTime, start.Add(time.Hour).Format(compactTime)))
		case "eN":
			put(body(wb.CalendarBody, val))
		case "tS":
			put(wb.NewText(wb.TasksSubject, mark+" "+val))
		case "tP":
			put(wb.NewText(wb.TasksImportance, val))
		case "tN":
			put(body(wb.TasksBody, val))
		case "cS":
			put(wb.NewText(wb.ContactsFirstName, val))
			put(wb.NewText(wb.ContactsLastName, mark))
			put(wb.NewText(wb.ContactsFileAs, mark+", "+val))
		case "cM":
			put(wb.NewText(wb.ContactsMobilePhoneNumber, val))
		case "cE":
			put(wb.NewText(wb.ContactsEmail1Address, val))
		case "cN":
			put(body(wb.ContactsBody, val))
		}
	}
	switch {
	case fresh && kind == "e":
		put(wb.NewText(wb.CalendarAllDayEvent, "0"))
		put(wb.NewText(wb.CalendarBusyStatus, "2"))
		if v == "16.1" {
			put(wb.NewText(wb.CalendarClientUid, mark+"-"+p.p.id))
		} else {
			put(wb.NewText(wb.CalendarUID, mark+"-"+p.p.id))
		}
	case fresh && kind == "t":
		put(wb.NewText(wb.TasksComplete, "0"))
	case !fresh && (v != "16.1" || kind != "e"):
		for _, n := range base.Children {
			if !data.Has(n.Tag) && n.Tag != wb.AirSyncBaseNativeBodyType {
				if n.Tag == wb.AirSyncBaseBody {
					n = body(0, n.Get(wb.AirSyncBaseData))
				}
				put(n)
			}
		}
	}
	return data
}

// read gives an item's words.
func (p *modelPhone) read(kind string, n *wb.Node) (int, seen) {
	v := seen{}
	set := func(k, val string) {
		if val = strings.TrimSpace(val); val != "" {
			v[k] = val
		}
	}
	text := n.Get(wb.AirSyncBaseBody, wb.AirSyncBaseData)
	var title string
	switch kind {
	case "e":
		if text == "" {
			text = n.Get(wb.CalendarBody)
		}
		title = n.Get(wb.CalendarSubject)
		set("L", n.Get(wb.CalendarLocation)+n.Get(wb.AirSyncBaseLocation, wb.AirSyncBaseDisplayName))
		set("T", n.Get(wb.CalendarStartTime))
	case "t":
		if text == "" {
			text = n.Get(wb.TasksBody)
		}
		title = n.Get(wb.TasksSubject)
		set("P", n.Get(wb.TasksImportance))
	case "c":
		if text == "" {
			text = n.Get(wb.ContactsBody)
		}
		title = n.Get(wb.ContactsLastName) + " " + n.Get(wb.ContactsFirstName)
		set("M", n.Get(wb.ContactsMobilePhoneNumber))
		mail := n.Get(wb.ContactsEmail1Address)
		if _, in, ok := strings.Cut(mail, "<"); ok {
			mail = strings.TrimSuffix(in, ">")
		}
		set("E", mail)
	}
	set("N", text)
	_, s, _ := strings.Cut(title, " ")
	set("S", s)
	return birthOf(title), v
}

func (p *modelPhone) view() map[int]seen {
	all := map[int]seen{}
	for _, c := range p.colls {
		for id, n := range c.items {
			birth, v := p.read(c.at.kind, n)
			if all[birth] != nil || birth == 0 {
				p.m.fail("%s has %d twice: %s %s", p.name(), birth, id, n)
			}
			v["F"] = c.at.name
			all[birth] = v
		}
	}
	return all
}

// sameAs compares what the server told with what it tells a new phone.
func (p *modelPhone) sameAs(fresh *modelPhone) {
	for i, c := range p.colls {
		f := fresh.colls[i]
		for id, n := range f.items {
			have := c.items[id]
			if have == nil {
				p.m.fail("%s lacks %s of %s: %s", p.name(), id, c.at.name, n)
				continue
			}
			if c.told[id] && have.String() != n.String() {
				p.m.fail("%s has of %s in %s\n%s\na new one\n%s", p.name(), id, c.at.name, have, n)
			}
		}
		for id, n := range c.items {
			if f.items[id] == nil {
				p.m.fail("%s still has %s in %s: %s", p.name(), id, c.at.name, n)
			}
		}
	}
}
